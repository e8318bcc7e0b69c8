//! Why a call ended, in Zammad's words.

use serde::{Deserialize, Serialize};

use super::fact::{CallStatus, Direction};

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndCause {
    /// It was answered and somebody hung up.
    NormalClearing,
    /// The caller gave up before an answer.
    Cancel,
    /// Nobody answered in time.
    NoAnswer,
    /// The far end was busy or declined.
    Busy,
    /// There is no such party.
    NotFound,
    /// It could not be set up for another reason.
    Congestion,
    /// Its end was never heard of; the bridge closed the record.
    NeverEnded,
}

impl EndCause {
    /// The cause of a final status. Where jambonz' word covers several cases the SIP status tells them apart.
    #[must_use]
    pub const fn of(status: CallStatus, sip_status: Option<u16>, direction: Direction) -> Self {
        match (status, sip_status) {
            (CallStatus::Completed, _) => Self::NormalClearing,
            (CallStatus::Busy, _) | (CallStatus::Failed | CallStatus::NoAnswer, Some(486 | 600 | 603)) => Self::Busy,
            (_, Some(404 | 410 | 484 | 485 | 604)) => Self::NotFound,
            (_, Some(487)) => Self::Cancel,
            (_, Some(408 | 480)) => Self::NoAnswer,
            (CallStatus::NoAnswer, _) => match direction {
                // Unanswered calls to an application end because the caller cancels.
                Direction::Inbound => Self::Cancel,
                Direction::Outbound => Self::NoAnswer,
            },
            _ => Self::Congestion,
        }
    }

    /// The parameter `cause` of Zammad's hangup. Zammad has words of its own for these; `None` for
    /// [`NeverEnded`](Self::NeverEnded), whose text depends on the language.
    #[must_use]
    pub const fn zammad_name(self) -> Option<&'static str> {
        Some(match self {
            Self::NormalClearing => "normalClearing",
            Self::Cancel => "cancel",
            Self::NoAnswer => "noAnswer",
            Self::Busy => "busy",
            Self::NotFound => "notFound",
            Self::Congestion => "congestion",
            Self::NeverEnded => return None,
        })
    }
}
