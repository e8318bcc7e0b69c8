//! The `Reason` header (RFC 3326).

use crate::header_field::HeaderField;
use crate::sip::header::{Name, quote, unquote};
use crate::sip::message::Message;

use super::request::field;

/// Q.850 cause 16, normal call clearing.
const NORMAL_CLEARING: u16 = 16;

/// Why a request ended something, in the sender's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) cause: Option<u16>,
    pub(super) text: Option<String>,
}

impl Reason {
    /// The first `Reason` value with a cause, of any protocol, and its text; if it has none, the first text there is.
    pub(super) fn of(message: &Message) -> Self {
        // A message holds few; what comes after the first eight is not looked at.
        let reasons: Vec<Self> = message.list(Name::Reason).take(8).map(|value| Self::parse(&value)).collect();
        let first = reasons.iter().find(|reason| reason.cause.is_some());
        let text = first.and_then(|reason| reason.text.clone());
        Self {
            cause: first.and_then(|reason| reason.cause),
            text: text.or_else(|| reasons.into_iter().find_map(|reason| reason.text)),
        }
    }

    fn parse(value: &str) -> Self {
        let mut reason = Self::default();
        for parameter in split_parameters(value).into_iter().skip(1) {
            let Some((name, text)) = parameter.split_once('=') else { continue };
            let (name, text) = (name.trim(), text.trim());
            if name.eq_ignore_ascii_case("cause") {
                reason.cause = reason.cause.or_else(|| text.parse().ok());
            } else if name.eq_ignore_ascii_case("text") && reason.text.is_none() {
                let text = unquote(text);
                reason.text = (!text.is_empty()).then(|| text.into_owned());
            }
        }
        reason
    }
}

/// The `Reason` of a BYE that a person or program asked for.
pub(super) fn of_hangup(text: &str) -> HeaderField {
    field("Reason", &format!("Q.850;cause={NORMAL_CLEARING};text={}", quote(text)))
}

/// The `Reason` of a message that stands for the SIP status `cause`.
pub(super) fn of_status(cause: u16, text: &str) -> HeaderField {
    field("Reason", &format!("SIP;cause={cause};text={}", quote(text)))
}

/// Splits at semicolons outside of quotes.
fn split_parameters(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read() {
        for (value, cause, text) in [
            ("Q.850;cause=16;text=\"Normal; \\\"call\\\" clearing\"", Some(16), Some("Normal; \"call\" clearing")),
            ("SIP ; cause = 200 ; text=\"Call completed elsewhere\"", Some(200), Some("Call completed elsewhere")),
            ("SIP;cause=70000", None, None),
            ("preemption", None, None),
            ("SIP;text=unquoted;cause=600", Some(600), Some("unquoted")),
            ("", None, None),
        ] {
            assert_eq!(Reason::parse(value), Reason { cause, text: text.map(str::to_owned) }, "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = "тест \"q\" \\ ;cause=1";
        let written = of_hangup(text);
        assert_eq!(
            Reason::parse(written.value.as_str()),
            Reason { cause: Some(NORMAL_CLEARING), text: Some(text.to_owned()) }
        );
    }
}
