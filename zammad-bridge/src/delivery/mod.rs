//! Delivery to Zammad: what is sent when, and what comes of it.
//!
//! [`Dispatcher`] has a link to each Zammad on each channel (caller log, tickets). A link takes what is due from the store,
//! sends at most [`ZammadSettings::concurrency`] steps at a time, and reports; a slot is free again only when the report
//! is on disk. Steps of one call go in order, since the store leases only the next one.
//!
//! | fault | what happens |
//! |---|---|
//! | [`FaultScope::Event`]: this step failed | backoff with full jitter; after `max_attempts` the dead-letter shelf |
//! | [`FaultScope::Poison`]: no repeat will help | the dead-letter shelf at once |
//! | [`FaultScope::Outage`]: Zammad is away or overloaded | the circuit opens, one probe at a time, nothing is counted |
//! | [`FaultScope::Refusal`]: a person must act | likewise, with a loud reason and longer waits |

mod backoff;
mod caller_log;
mod circuit;
mod dispatcher;
mod http_zammad;
mod link;
mod port;
mod settings;
mod system_random;
mod tickets;

pub use self::circuit::CircuitState;
pub use self::dispatcher::{Dispatcher, LinkWatcher};
pub use self::http_zammad::HttpZammad;
pub use self::link::LinkStatus;
#[cfg(feature = "mock")]
pub use self::port::MockZammad;
pub use self::port::{
    CallerLogRow, CtiEvent, CtiEventKind, CtiReply, CustomerSearch, DeliveryFault, FaultScope, NewTicket, TicketNote,
    Zammad,
};
pub use self::settings::{CustomerLookup, ZammadSettings};
pub use self::system_random::SystemRandom;
pub use crate::record::{FromStyle, RecordLanguage};
