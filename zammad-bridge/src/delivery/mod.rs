//! Delivery to Zammad: the port [`Zammad`], and what is sent when.

mod port;
mod settings;

#[cfg(feature = "mock")]
pub use self::port::MockZammad;
pub use self::port::{
    CallerLogRow, CtiEvent, CtiEventKind, CtiReply, DeliveryFault, FaultScope, NewTicket, TicketNote, Zammad,
};
pub use self::settings::{CustomerLookup, FromStyle, RecordLanguage, ZammadSettings};
