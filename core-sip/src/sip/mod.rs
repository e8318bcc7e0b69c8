//! SIP without I/O and without a clock.

pub mod dialog;
pub mod digest;
pub mod header;
pub mod ladder;
pub mod lint;
pub mod message;
pub mod multipart;
pub mod registrar;
pub mod registration;
#[cfg(feature = "rsip")]
pub mod rsip_interop;
pub mod sdp;
pub mod transaction;
pub mod uri;
pub mod user_agent;

pub use header::{CSeq, ContentType, Name, NameAddr, Via};
pub use message::{Limits, Message, MessageBuilder, Method, StatusCode};
pub use uri::{Uri, UriRef};
