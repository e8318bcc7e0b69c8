//! What a careful element thinks of one message: whether it can be read at all, and what an application would say to it.
//!
//! The example `sip_lint` prints it for a file.

use bytes::Bytes;

use crate::error::ParseError;
use crate::sip::header::{Name, is_token_byte};
use crate::sip::message::index::{NO_EMPTY_LINE, parse_text_copy};
use crate::sip::message::{Limits, Message, Method};
use crate::sip::sdp::SessionDescription;
use crate::sip::uri::Uri;

/// Request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It begins with a method.
    Request,
    /// It begins with a version.
    Response,
}

impl Kind {
    /// `request` or `response`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }

    /// What the first line looks like, also where it is wrong; `None` if there is none.
    fn of(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
        let response = bytes[start..].get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"SIP/"));
        Some(if response { Self::Response } else { Self::Request })
    }
}

/// What was found out about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Request or response, as far as its first line tells; `None` if there is none.
    pub kind: Option<Kind>,
    /// Why a careful element answers 400, 505 or 513 or drops it. `None` if it can be read.
    pub error: Option<ParseError>,
    /// What an element may do about a message that can be read: 406, 415, 416, 420, 483, or what is only unusual.
    pub notes: Vec<&'static str>,
}

impl Report {
    /// Whether the message can be read.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }
}

/// Examines the bytes of one message, as a transport handed them over.
///
/// Two things that no transport hands over are forgiven, since files that hold messages have them, such as the archive
/// of RFC 5118, and both are noted: line ends that are LF throughout (a file with a single CR is taken at its word), with
/// which a `Content-Length` cannot be held against the body; and that the empty line after the headers is missing at the
/// very end of a message that says that it has no body.
#[must_use]
pub fn examine(bytes: &Bytes, limits: &Limits) -> Report {
    let mut notes = Vec::new();
    let kind = Kind::of(bytes);
    let text_copy = bytes.len() <= limits.message_bytes && bytes.contains(&b'\n') && !bytes.contains(&b'\r');
    let result = read(bytes, limits, text_copy, &mut notes).and_then(|message| {
        message.check()?;
        Ok(message)
    });
    let error = match result {
        Ok(message) => {
            let more = message.as_bytes().len() > message.body_end();
            if more && !text_copy {
                notes.push("bytes follow the body: on a stream the next message");
            }
            add_notes(&message, limits, &mut notes);
            None
        }
        Err(error) => Some(error),
    };
    Report { kind, error, notes }
}

fn read(bytes: &Bytes, limits: &Limits, text_copy: bool, notes: &mut Vec<&'static str>) -> Result<Message, ParseError> {
    let bytes = if text_copy {
        notes.push("its line ends are LF: taken for a text copy, whose lines were sent with CR LF");
        let mut converted = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        for &b in bytes {
            if b == b'\n' {
                converted.push(b'\r');
            }
            converted.push(b);
        }
        Bytes::from(converted)
    } else {
        bytes.clone()
    };
    let parse =
        |bytes: Bytes| if text_copy { parse_text_copy(bytes, limits) } else { Message::parse_with(bytes, limits) };
    match parse(bytes.clone()) {
        Err(error) if error.problem == NO_EMPTY_LINE && bytes.ends_with(b"\r\n") => {
            let closed = Bytes::from([&bytes[..], b"\r\n"].concat());
            match parse(closed) {
                Ok(message) if message.number(Name::ContentLength, 0) == Some(Ok(0)) => {
                    notes.push("the empty line after the headers is missing at the end; a stream waits for it");
                    Ok(message)
                }
                _ => Err(error),
            }
        }
        result => result,
    }
}

fn add_notes(message: &Message, limits: &Limits, notes: &mut Vec<&'static str>) {
    let mut note = |holds: bool, text: &'static str| {
        if holds {
            notes.push(text);
        }
    };
    let has = |name| message.header(name).is_some();
    if let Some(method) = message.method() {
        note(matches!(method, Method::Other(_)), "405 or 501 where this method is not known");
        let uri = message.request_uri().and_then(|uri| Uri::parse(uri).ok());
        let usual = uri.is_some_and(|uri| uri.is_sip() || uri.scheme().eq_ignore_ascii_case("tel"));
        note(!usual, "416 where the scheme of the Request-URI is not known");
        note(has(Name::Require), "420 where an extension in Require is not known");
        note(has(Name::ProxyRequire), "420 from a proxy that does not know an extension in Proxy-Require");
        note(!has(Name::MaxForwards), "no Max-Forwards, as before RFC 3261");
        note(message.number(Name::MaxForwards, 0) == Some(Ok(0)), "483 from a proxy: Max-Forwards is 0");
        note(*method == Method::Invite && !has(Name::Contact), "an INVITE without Contact, as before RFC 3261");
        note(
            *method == Method::Invite && message.accepts("application/sdp") == Ok(false),
            "406: Accept leaves out application/sdp",
        );
        let aor = message.to().ok().and_then(|to| to.parse_uri().ok());
        let no_aor = *method == Method::Register && !aor.is_some_and(|uri| uri.is_sip());
        note(no_aor, "a registrar refuses an address of record that is no SIP URI");
        let credentials = [Name::Authorization, Name::ProxyAuthorization];
        let unknown = |value: &str| !value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("Digest"));
        note(
            credentials.into_iter().any(|name| message.headers(name).any(|value| unknown(&value))),
            "credentials of another scheme than Digest do not count",
        );
    } else {
        note(message.vias().is_ok_and(|vias| vias.len() > 1), "more than one Via: an endpoint discards this response");
    }
    match message.top_via().ok().as_ref().map(|via| via.branch()) {
        Some(Some("z9hG4bK")) => {
            note(true, "the branch is the magic cookie alone: 400, or matched by the rules of RFC 2543");
        }
        Some(Some(branch)) if branch.starts_with("z9hG4bK") => {}
        _ => note(true, "no branch of RFC 3261: matched by the rules of RFC 2543"),
    }
    note(message.from().is_ok_and(|from| from.tag().is_none()), "From has no tag, as before RFC 3261");
    note(
        message.call_id().is_ok_and(|id| !id.bytes().all(|b| is_token_byte(b) || b"()<>:\\\"/[]?{}@".contains(&b))),
        "the Call-ID holds characters that its grammar has not",
    );
    note(message.header_lines_bytes().any(|(_, value)| core::str::from_utf8(&value).is_err()), "a header is not UTF-8");
    note_body(message, limits, &mut note);
}

fn note_body(message: &Message, limits: &Limits, note: &mut impl FnMut(bool, &'static str)) {
    if message.body().is_empty() {
        return;
    }
    let Some(content_type) = message.content_type() else {
        note(true, "a body without Content-Type");
        return;
    };
    if let Some(parts) = message.parts(limits) {
        note(parts.is_err(), "400 where the multipart body is read: it is malformed");
    } else if content_type.is("application/sdp") {
        let sdp = core::str::from_utf8(message.body()).is_ok_and(|text| SessionDescription::parse(text).is_ok());
        note(!sdp, "400 or 488 where the session description is read: it is malformed");
    } else {
        note(message.is_request(), "415 where this type of body is not known");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: &str = "OPTIONS sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h.example.com;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

    fn report(text: &str) -> Report {
        examine(&Bytes::copy_from_slice(text.as_bytes()), &Limits::DEFAULT)
    }

    #[test]
    fn a_plain_message_has_no_notes() {
        assert_eq!(report(REQUEST), Report { kind: Some(Kind::Request), error: None, notes: Vec::new() });
    }

    #[test]
    fn a_text_copy_is_read_as_one() {
        let copy = REQUEST.replace("\r\n", "\n");
        assert!(report(&copy).is_ok() && report(&copy).notes.len() == 1);
        let long = copy.replace("Length: 0", "Length: 5");
        assert!(report(&long).is_ok(), "bytes do not count in a text copy");
        let short = [&copy, "v=0\n"].concat();
        assert_eq!(report(&short).notes.len(), 1, "nor is there a message after its body");
        assert!(!report(&long.replacen('\n', "\r\n", 1)).is_ok(), "one CR LF and it is taken at its word");
        assert!(!report(&copy.replace("CSeq: 1", "CSeq: x")).is_ok());
    }

    #[test]
    fn a_missing_empty_line_is_forgiven_only_where_nothing_can_follow() {
        let open = REQUEST.strip_suffix("\r\n").unwrap();
        assert!(report(open).is_ok() && report(open).notes.len() == 1);
        for text in [
            open.strip_suffix("\r\n").unwrap().to_owned(),
            open.strip_suffix("\n").unwrap().to_owned(),
            open.replace("Content-Length: 0\r\n", ""),
            open.replace("Length: 0", "Length: 1"),
        ] {
            assert!(!report(&text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = examine(&Bytes::from(bytes), &Limits::DEFAULT);
        }

        #[test]
        fn any_change_does_no_harm(at in 0..REQUEST.len(), change in "\\PC{0,3}|[\r\n\0\t\"<>;,]{1,3}", cut in 0_usize..4) {
            let end = (at + cut).min(REQUEST.len());
            let text = [&REQUEST[..at], &change, &REQUEST[end..]].concat();
            let report = examine(&Bytes::from(text.clone()), &Limits::DEFAULT);
            if let Some(error) = report.error {
                prop_assert!(error.rule.starts_with("RFC "), "{}", error);
            } else if report.notes.is_empty() {
                prop_assert!(Message::parse(Bytes::from(text)).is_ok());
            }
        }
    }
}
