//! stub to be replaced
use crate::arguments::Arguments; use crate::exit::Failure; use crate::screen::Screen;
pub(crate) async fn run(_a: &Arguments, _s: &Screen) -> Result<(), Failure> { Err(Failure::Explained(crate::exit::Kind::Unexpected)) }
