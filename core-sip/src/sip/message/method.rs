//! Request methods.

use core::fmt;

use crate::error::ParseError;
use crate::sip::header::is_token;

/// A request method (RFC 3261 §7.1). Methods are compared with regard to case, as the RFC has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261 §13.
    Invite,
    /// RFC 3261 §17.1.1.3.
    Ack,
    /// RFC 3261 §15.
    Bye,
    /// RFC 3261 §9.
    Cancel,
    /// RFC 3261 §10.
    Register,
    /// RFC 3261 §11.
    Options,
    /// RFC 6086.
    Info,
    /// RFC 3311.
    Update,
    /// RFC 3262.
    Prack,
    /// RFC 3515.
    Refer,
    /// RFC 6665.
    Notify,
    /// RFC 6665.
    Subscribe,
    /// RFC 3428.
    Message,
    /// RFC 3903.
    Publish,
    /// Any other. [`Method::parse`] makes it of valid tokens that are none of the above; whatever else is put into it
    /// by hand is refused when a message is built.
    Other(Box<str>),
}

impl Method {
    /// Reads a method.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if `text` is not a token of RFC 3261 §25.1.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(known) = Self::known(text.as_bytes()) {
            Ok(known)
        } else if is_token(text.as_bytes()) {
            Ok(Self::Other(text.into()))
        } else {
            Err(ParseError { problem: "the method is not a token", rule: "RFC 3261 §25.1", offset: 0 })
        }
    }

    pub(super) fn known(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"INFO" => Self::Info,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            b"REFER" => Self::Refer,
            b"NOTIFY" => Self::Notify,
            b"SUBSCRIBE" => Self::Subscribe,
            b"MESSAGE" => Self::Message,
            b"PUBLISH" => Self::Publish,
            _ => return None,
        })
    }

    /// The method as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Subscribe => "SUBSCRIBE",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other(text) => text,
        }
    }

    /// Whether a response to it can make a dialog: INVITE (RFC 3261 §12.1), SUBSCRIBE and NOTIFY (RFC 6665 §4.4.1),
    /// REFER (RFC 3515 §2.4.6).
    #[must_use]
    pub fn forms_dialog(&self) -> bool {
        matches!(self, Self::Invite | Self::Subscribe | Self::Notify | Self::Refer)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
