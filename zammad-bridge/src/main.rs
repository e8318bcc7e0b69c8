//! The program `codex-zammad-bridge`. See `codex-zammad-bridge --help`.

mod commands;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::{Arguments, run};

/// What the program was asked was done, but something is wrong.
const FAILED: u8 = 1;
/// The program was asked, or set up, wrongly; nothing was done.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            // If nobody reads the message there is nobody to tell.
            let _ = writeln!(std::io::stderr().lock(), "codex-zammad-bridge: {error}");
            let is_wrongly_set = matches!(
                error,
                codex_zammad_bridge::Error::Settings { .. } | codex_zammad_bridge::Error::Configuration { .. }
            );
            ExitCode::from(if is_wrongly_set { WRONG_SETTINGS } else { FAILED })
        }
    }
}
