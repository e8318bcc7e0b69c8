//! Multipart bodies (RFC 5621, RFC 2046 §5.1): parts are found when they are asked for and borrow from the message.

use std::borrow::Cow;

use memchr::memmem;

use crate::error::ParseError;
use crate::sip::header::{ContentType, Name, is_token_byte};
use crate::sip::message::{LIMIT_RULE, Limits, Message};

const RULE: &str = "RFC 2046 §5.1.1";

const fn error(problem: &'static str, rule: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule, offset }
}

/// One part of a multipart body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    head: &'a [u8],
    body: &'a [u8],
    /// How many multipart bodies stand round it.
    depth: usize,
}

impl<'a> Part<'a> {
    /// The bytes of the body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The value of the first header whose name is `name`, unfolded and trimmed; long and compact names find each other.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<Cow<'a, str>> {
        header_lines(self.head).find(|(n, _)| Name::from_bytes(n) == Some(name)).map(|(_, value)| value_text(value))
    }

    /// The `Content-Type`; `text/plain` where there is none (RFC 2046 §5.1), `None` where it is malformed.
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType<'a>> {
        let value = self.header(Name::ContentType).unwrap_or(Cow::Borrowed("text/plain"));
        ContentType::parse(value).ok()
    }

    /// The parts of this part, if it is multipart itself.
    ///
    /// # Errors
    ///
    /// As [`Message::parts`].
    #[must_use]
    pub fn parts(&self, limits: &Limits) -> Option<Result<Vec<Part<'a>>, ParseError>> {
        let content_type = self.content_type()?;
        let multipart = content_type.kind().eq_ignore_ascii_case("multipart");
        multipart.then(|| split(self.body, &content_type, self.depth + 1, limits))
    }
}

impl Message {
    /// The parts of a multipart body, one level deep; `None` if the body is not multipart. A session description in a
    /// part is found with `parts.iter().find(|p| p.content_type().is_some_and(|t| t.is("application/sdp")))`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if there is no boundary, the body does not end with its closing delimiter, a part has no end of
    /// its headers, or there are more parts or more levels than allowed.
    #[must_use]
    pub fn parts(&self, limits: &Limits) -> Option<Result<Vec<Part<'_>>, ParseError>> {
        let content_type = self.content_type()?;
        let multipart = content_type.kind().eq_ignore_ascii_case("multipart");
        multipart.then(|| split(self.body(), &content_type, 1, limits))
    }
}

fn split<'a>(
    body: &'a [u8],
    content_type: &ContentType<'_>,
    depth: usize,
    limits: &Limits,
) -> Result<Vec<Part<'a>>, ParseError> {
    if depth > limits.multipart_nesting {
        return Err(error("multipart bodies stand in each other deeper than allowed", LIMIT_RULE, 0));
    }
    let boundary = content_type.param("boundary").flatten().unwrap_or_default();
    if boundary.is_empty() || boundary.len() > 70 || boundary.ends_with(' ') {
        return Err(error("the boundary has 1 to 70 characters", RULE, 0));
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    // The first delimiter may open the body, without the line break that belongs to every other.
    let first = if body.starts_with(&delimiter.as_bytes()[2..]) {
        Some((0, delimiter.len() - 2))
    } else {
        next_delimiter(&finder, body, 0)
    };
    let mut at = match first.map(|(start, after)| (start, line_after(body, after))) {
        Some((_, Some(Delimiter::Opens(at)))) => at,
        Some((_, Some(Delimiter::Closes))) => return Err(error("a multipart body has no part", RULE, 0)),
        _ => return Err(error("the boundary does not occur in the body", RULE, 0)),
    };
    loop {
        // Two bytes back, since the line break that ends a delimiter may begin the next one: an empty part.
        let Some((end, after)) = next_delimiter(&finder, body, at - 2) else {
            return Err(error("a multipart body does not end with its delimiter", RULE, body.len()));
        };
        if parts.len() == limits.multipart_parts {
            return Err(error("more parts than allowed", LIMIT_RULE, at));
        }
        parts.push(part(&body[at..end.max(at)], at, depth)?);
        match line_after(body, after) {
            Some(Delimiter::Opens(next)) => at = next,
            _ => return Ok(parts),
        }
    }
}

enum Delimiter {
    /// A part begins here.
    Opens(usize),
    /// It was the last.
    Closes,
}

/// Finds a delimiter that is a whole line; a longer boundary that begins alike is not it.
fn next_delimiter(finder: &memmem::Finder<'_>, body: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + finder.find(&body[at..])?;
        let after = start + finder.needle().len();
        if line_after(body, after).is_some() {
            return Some((start, after));
        }
        at = after;
    }
}

/// What the line is of which `after` is the end of the boundary: `--`, padding and a line break may follow.
fn line_after(body: &[u8], after: usize) -> Option<Delimiter> {
    let closes = body[after..].starts_with(b"--");
    let mut at = after + if closes { 2 } else { 0 };
    while matches!(body.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    match &body[at..] {
        [b'\r', b'\n', ..] if closes => Some(Delimiter::Closes),
        [b'\r', b'\n', ..] => Some(Delimiter::Opens(at + 2)),
        [] if closes => Some(Delimiter::Closes),
        _ => None,
    }
}

fn part(bytes: &[u8], offset: usize, depth: usize) -> Result<Part<'_>, ParseError> {
    if let Some(body) = bytes.strip_prefix(b"\r\n") {
        return Ok(Part { head: b"", body, depth });
    }
    // The line break before the delimiter is not part of the body, so headers alone end without an empty line.
    let (head, body) = match memmem::find(bytes, b"\r\n\r\n") {
        Some(end) => (&bytes[..end], &bytes[end + 4..]),
        None => (bytes.strip_suffix(b"\r\n").unwrap_or(bytes), &b""[..]),
    };
    let valid = header_lines(head).all(|(name, _)| !name.is_empty() && name.iter().copied().all(is_token_byte));
    if valid { Ok(Part { head, body, depth }) } else { Err(error("a header of a part is malformed", RULE, offset)) }
}

/// The header lines of a part: name, and value with its folds.
fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        let line = loop {
            match memmem::find(&rest[end..], b"\r\n") {
                None => break core::mem::take(&mut rest),
                Some(n) if matches!(rest.get(end + n + 2), Some(b' ' | b'\t')) => end += n + 2,
                Some(n) => {
                    let line = &rest[..end + n];
                    rest = &rest[end + n + 2..];
                    break line;
                }
            }
        };
        let colon = memchr::memchr(b':', line).unwrap_or(0);
        Some((line[..colon].trim_ascii_end(), line.get(colon + 1..).unwrap_or_default()))
    })
}

fn value_text(value: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value.trim_ascii());
    if text.contains("\r\n") {
        Cow::Owned(text.split("\r\n").map(str::trim).collect::<Vec<_>>().join(" "))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn message(content_type: &str, body: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "MESSAGE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
             To: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\nContent-Type: {content_type}\r\n\r\n{body}"
        )))
        .unwrap()
    }

    #[test]
    fn parts_are_found() {
        let body = "preamble\r\n--b \r\nContent-Type: application/sdp\r\nc:\r\n x/y\r\n\r\nv=0\r\n\r\n--bb\r\n--b\r\n\r\nplain\r\n\
                    --b\r\nContent-ID: <1>\r\n\r\n--b\r\n--b\r\nContent-Type: multipart/alternative;boundary=\"in ner\"\r\n\r\n\
                    --in ner\r\n\r\n1\r\n--in ner\r\n\r\n2\r\n--in ner--\r\n\r\n--b--\r\nepilogue";
        let message = message("multipart/mixed ; boundary=b", body);
        let parts = message.parts(&Limits::DEFAULT).unwrap().unwrap();
        let bodies: Vec<_> = parts[..4].iter().map(|p| p.body()).collect();
        assert_eq!(bodies, [&b"v=0\r\n\r\n--bb"[..], b"plain", b"", b""]);
        assert!(parts[0].content_type().unwrap().is("application/sdp"));
        assert!(parts[1].content_type().unwrap().is("text/plain"));
        assert_eq!(parts[2].header(Name::ContentId).as_deref(), Some("<1>"));
        assert!(parts[0].parts(&Limits::DEFAULT).is_none());
        let inner = parts[4].parts(&Limits::DEFAULT).unwrap().unwrap();
        assert_eq!(inner.iter().map(|p| p.body()).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn what_is_no_multipart_body_is_refused() {
        for (content_type, body) in [
            ("multipart/mixed", "--b\r\n\r\nx\r\n--b--"),
            ("multipart/mixed;boundary=b", ""),
            ("multipart/mixed;boundary=b", "--b--"),
            ("multipart/mixed;boundary=b", "--b"),
            ("multipart/mixed;boundary=b", "--b\r\n\r\nx"),
            ("multipart/mixed;boundary=b", "--b\r\nno colon\r\n\r\nx\r\n--b--"),
            ("multipart/mixed;boundary=b", "--c\r\n\r\nx\r\n--c--"),
        ] {
            assert!(message(content_type, body).parts(&Limits::DEFAULT).unwrap().is_err(), "{content_type} {body}");
        }
        assert!(message("text/plain", "x").parts(&Limits::DEFAULT).is_none());
        let long = format!("multipart/mixed;boundary={}", "b".repeat(71));
        assert!(message(&long, "").parts(&Limits::DEFAULT).unwrap().is_err());
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { multipart_parts: 2, multipart_nesting: 1, ..Limits::DEFAULT };
        let parts = |count: usize| "--b\r\n\r\nx\r\n".repeat(count) + "--b--";
        assert!(message("multipart/mixed;boundary=b", &parts(2)).parts(&limits).unwrap().is_ok());
        let error = message("multipart/mixed;boundary=b", &parts(3)).parts(&limits).unwrap().unwrap_err();
        assert_eq!(error.rule, LIMIT_RULE);
        let nested = "--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--";
        let message = message("multipart/mixed;boundary=b", nested);
        let parts = message.parts(&limits).unwrap().unwrap();
        assert_eq!(parts[0].parts(&limits).unwrap().unwrap_err().rule, LIMIT_RULE);
        assert_eq!(parts[0].parts(&Limits::DEFAULT).unwrap().unwrap()[0].body(), b"x");
    }

    proptest! {
        #[test]
        fn any_body_does_no_harm(body in "(--b|--|-|b|\r\n|\r|\n|:|x|c| |\t){0,60}") {
            if let Some(Ok(parts)) = message("multipart/mixed;boundary=b", &body).parts(&Limits::DEFAULT) {
                for part in parts {
                    let _ = (part.header(Name::ContentType), part.content_type(), part.parts(&Limits::DEFAULT));
                }
            }
        }
    }
}
