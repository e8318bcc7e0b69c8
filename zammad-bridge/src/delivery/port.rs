//! The port [`Zammad`]: what the bridge asks of one Zammad.

use core::fmt;
use core::time::Duration;

use async_trait::async_trait;

use crate::store::TicketId;

/// What a CTI request reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CtiEventKind {
    /// `newCall`
    NewCall,
    /// `answer`
    Answer,
    /// `hangup`
    Hangup,
}

impl CtiEventKind {
    /// The parameter `event`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewCall => "newCall",
            Self::Answer => "answer",
            Self::Hangup => "hangup",
        }
    }
}

/// A CTI request: parameters as Zammad takes them, all of them texts, none longer than Zammad's column.
#[derive(Clone, PartialEq, Eq)]
pub struct CtiEvent {
    /// `event`
    pub kind: CtiEventKind,
    /// `callId`, at most 250 characters.
    pub call_id: String,
    /// `direction`: `in` or `out`.
    pub direction: &'static str,
    /// `from`, at most 100 characters.
    pub from: String,
    /// `to`, at most 100 characters.
    pub to: String,
    /// `user`, at most 250 characters; not sent if absent. On `answer` it overwrites what newCall said.
    pub user: Option<String>,
    /// `cause`, at most 500 characters; on `hangup` only.
    pub cause: Option<String>,
}

impl fmt::Debug for CtiEvent {
    /// Kind and call; nothing of who calls.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CtiEvent").field("kind", &self.kind).field("call_id", &self.call_id).finish_non_exhaustive()
    }
}

/// What Zammad answered to a CTI request that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CtiReply {
    /// It is done.
    Taken {
        /// `action` and what goes with it, as JSON, if there was one.
        action: Option<String>,
    },
    /// A newCall whose callId is there already: as good as done.
    AlreadyExists,
    /// An answer or hangup that ended in an opaque error: most likely Zammad does not know the call.
    UnknownCall {
        /// What Zammad answered.
        answer: String,
    },
}

/// A row of Zammad's caller log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerLogRow {
    /// `call_id`
    pub call_id: String,
    /// `newCall`, `answer` or `hangup`.
    pub state: String,
}

/// A ticket to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// The title, in which [`mark`](Self::mark) stands.
    pub title: String,
    /// The group's name.
    pub group: String,
    /// What Zammad takes as the customer: an id, or `guess:<email>`.
    pub customer: String,
    /// The text.
    pub body: String,
    /// What tells this ticket from every other: searched for before one is made.
    pub mark: String,
    /// Whether the caller wrote it (`Customer`), as an incoming call.
    pub from_customer: bool,
}

impl fmt::Debug for NewTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTicket").field("mark", &self.mark).field("group", &self.group).finish_non_exhaustive()
    }
}

/// A note to be written on a ticket, internal.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketNote {
    /// The ticket.
    pub ticket: TicketId,
    /// The subject, by which a note that is there already is recognised.
    pub subject: String,
    /// The text.
    pub body: String,
}

impl fmt::Debug for TicketNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketNote")
            .field("ticket", &self.ticket)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Whom a search for a customer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerSearch {
    /// Nobody: one may be made.
    Nobody,
    /// The one with this id.
    One(i64),
    /// Several who are alike: none of them is certain to be the caller, and one more would make it worse.
    Several,
}

/// How far a fault reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultScope {
    /// This event alone may be the reason.
    Event,
    /// This event is wrong and no repeat will make it right.
    Poison,
    /// Zammad as a whole cannot be reached or is overloaded; it will come back.
    Outage,
    /// Zammad as a whole refuses us until a person does something.
    Refusal,
}

/// Why Zammad did not take something. Texts hold no secret and no customer's data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{zammad}: {problem}{}", remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct DeliveryFault {
    /// The Zammad's name in the configuration.
    pub zammad: String,
    /// How far it reaches.
    pub scope: FaultScope,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub problem: String,
    /// What a person can do.
    pub remedy: Option<String>,
    /// How long Zammad asked to wait.
    pub retry_after: Option<Duration>,
    /// Whether Zammad may have taken it all the same: the request went out and no answer came back.
    pub uncertain: bool,
}

/// One Zammad.
///
/// # Errors
///
/// All methods fail with [`DeliveryFault`], within a deadline of their own.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Zammad: Send + Sync {
    /// Sends a CTI request.
    async fn send(&self, event: &CtiEvent) -> Result<CtiReply, DeliveryFault>;

    /// The newest rows of the caller log. A row proves that Zammad has the event; the want of one proves nothing. Empty
    /// without access to REST.
    async fn caller_log(&self) -> Result<Vec<CallerLogRow>, DeliveryFault>;

    /// The ticket with this mark.
    async fn find_ticket(&self, mark: &str) -> Result<Option<TicketId>, DeliveryFault>;

    /// Makes a ticket.
    async fn create_ticket(&self, ticket: &NewTicket) -> Result<TicketId, DeliveryFault>;

    /// Whether the ticket has an article with this subject.
    async fn has_note(&self, ticket: TicketId, subject: &str) -> Result<bool, DeliveryFault>;

    /// Writes a note.
    async fn add_note(&self, note: &TicketNote) -> Result<(), DeliveryFault>;

    /// The users whose `field` (such as `login`) is exactly `value`.
    async fn find_customer(&self, field: &str, value: &str) -> Result<CustomerSearch, DeliveryFault>;

    /// Makes a customer whose `field` is `value`, with this name, after a search found [`CustomerSearch::Nobody`].
    async fn create_customer(&self, field: &str, value: &str, name: Option<&str>) -> Result<i64, DeliveryFault>;
}
