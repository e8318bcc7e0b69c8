//! Exit statuses, as `--help` lists them.

use codex_core_sip::{CallRefusal, Error};
use codex_web_widget::{KeyProblems, Text};

use crate::details;

/// What kind of thing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unexpected,
    Settings,
    Connection,
    Tls,
    WebSocket,
    Registration,
    Call,
    Audio,
    Device,
    NobodyCalled,
    Api,
    Stun,
    Interrupted,
}

impl Kind {
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Unexpected => 1,
            Self::Settings => 3,
            Self::Connection => 4,
            Self::Tls => 5,
            Self::WebSocket => 6,
            Self::Registration => 7,
            Self::Call => 8,
            Self::Audio => 9,
            Self::Device => 10,
            Self::NobodyCalled => 11,
            Self::Api => 12,
            Self::Stun => 13,
            Self::Interrupted => 130,
        }
    }

    /// For `--json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Settings => "settings",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Registration => "registration",
            Self::Call => "call",
            Self::Audio => "audio",
            Self::Device => "device",
            Self::NobodyCalled => "nobody_called",
            Self::Api => "api",
            Self::Stun => "stun",
            Self::Interrupted => "interrupted",
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Configuration { .. }
            | Error::CustomerData { .. }
            | Error::CustomerDataTooLarge { .. }
            | Error::HeaderNotAllowed { .. } => Self::Settings,
            Error::NameResolution { .. }
            | Error::Connect { .. }
            | Error::FlowLost { .. }
            | Error::FlowLostDuringSetup
            | Error::Timeout { .. } => Self::Connection,
            Error::Tls { .. } => Self::Tls,
            Error::WebSocketRefused { .. } | Error::SubprotocolRefused { .. } | Error::NotWebSocket { .. } => {
                Self::WebSocket
            }
            Error::RegistrationRefused { .. } => Self::Registration,
            Error::CallRefused { refusal: CallRefusal::NotAcceptable, .. } | Error::Media { .. } => Self::Audio,
            Error::CallRefused { .. } => Self::Call,
            Error::Audio { .. } => Self::Device,
            _ => Self::Unexpected,
        }
    }

    /// Of an error that ended a call: where the connection broke, so did the call.
    pub(crate) fn in_call(error: &Error) -> Self {
        match error {
            Error::FlowLost { .. } | Error::FlowLostDuringSetup => Self::Call,
            error => Self::of(error),
        }
    }
}

/// Why the program ends with a status other than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    Keys(KeyProblems),
    Client(Error),
    /// What ended a call.
    InCall(Error),
    /// Another thing, in words.
    Other(Kind, Text),
    /// The doctor has said it.
    Explained(Kind),
}

impl Failure {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Keys(_) => Kind::Settings,
            Self::Client(error) => Kind::of(error),
            Self::InCall(error) => Kind::in_call(error),
            Self::Other(kind, _) | Self::Explained(kind) => *kind,
        }
    }

    pub(crate) fn status(&self) -> u8 {
        self.kind().status()
    }

    /// The client's error, if it is one.
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Self::Client(error) | Self::InCall(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn is_explained(&self) -> bool {
        matches!(self, Self::Explained(_))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<KeyProblems> for Failure {
    fn from(problems: KeyProblems) -> Self {
        Self::Keys(problems)
    }
}

impl From<codex_web_widget::Error> for Failure {
    fn from(error: codex_web_widget::Error) -> Self {
        match error {
            codex_web_widget::Error::Keys(problems) => Self::Keys(problems),
            codex_web_widget::Error::Client(error) => Self::Client(error),
            codex_web_widget::Error::Names(error) => Self::Other(Kind::Settings, details::of_api(&error)),
            other => Self::Other(Kind::Settings, Text::new(other.to_string(), details::quoted(&other.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_in_a_call_breaks_the_call() {
        let lost = || Error::FlowLost { problem: "gone".to_owned() };
        assert_eq!((Failure::Client(lost()).status(), Failure::InCall(lost()).status()), (4, 8));
        let media = Error::Media { fault: codex_core_sip::MediaFault::IceFailed };
        assert_eq!(Failure::InCall(media).status(), 9);
    }
}
