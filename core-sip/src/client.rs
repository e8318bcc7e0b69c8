//! The client: one handle, commands in, events out.
//!
//! [`ClientSession`] holds every rule and does no I/O; it is what native programs and browsers share. With the feature
//! `client`, `CodexSipClient` drives it on tokio.

mod session;

#[cfg(feature = "client")]
mod driver;
#[cfg(feature = "client")]
mod handle;
#[cfg(feature = "client")]
mod network_watch;

pub use session::{
    AcceptCall, ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, DTMF_DURATION, FIRST_METRICS_AFTER,
    MEDIA_PREPARATION_TIMEOUT, METRICS_INTERVAL, MediaCommand, MediaReply, PREPARED_FOR, Reply, StartCall,
    dtmf_of_info,
};

#[cfg(feature = "client")]
pub use driver::{Direction, TracedMessage};
#[cfg(feature = "client")]
pub use handle::{CodexSipClient, CodexSipClientBuilder, EventStream};
