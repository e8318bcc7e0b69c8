//! Messages to send.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Line, Message, Method, StartLine, StatusCode, index, range};
use crate::error::{Error, ParseError, Result};
use crate::header_field::HeaderValue;
use crate::sip::header::{FieldName, Name, NameAddr, is_token, quote};

/// Writes one message: first line, headers in the order in which they are given, body.
///
/// Values are [`HeaderValue`]s, numbers, or copied from a message that was read, so none can end its line early.
/// `Content-Length` is written by [`MessageBuilder::build`]; one that is given as a field is left out.
///
/// ```
/// use codex_core_sip::header_field::HeaderValue;
/// use codex_core_sip::sip::{MessageBuilder, Method, Name};
///
/// let bytes = MessageBuilder::request(&Method::Options, "sip:edge.example.com")?
///     .field(Name::Via, HeaderValue::from_static("SIP/2.0/WSS kq3.invalid;branch=z9hG4bK1"))
///     .field(Name::From, HeaderValue::from_static("<sip:kq@example.com>;tag=1"))
///     .field(Name::To, HeaderValue::from_static("<sip:edge.example.com>"))
///     .field(Name::CallId, HeaderValue::from_static("kqzmwbtr-1"))
///     .field(Name::CSeq, HeaderValue::from_static("1 OPTIONS"))
///     .number(Name::MaxForwards, 70)
///     .build();
/// assert!(bytes.starts_with(b"OPTIONS sip:edge.example.com SIP/2.0\r\nVia: "));
/// assert!(bytes.ends_with(b"\r\nContent-Length: 0\r\n\r\n"));
/// # Ok::<(), codex_core_sip::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MessageBuilder {
    head: Vec<u8>,
    /// Where a To tag goes: the end of the To value of a response, until it has a tag.
    tag_at: Option<usize>,
    body: Bytes,
}

/// Room for the head of a usual message.
const HEAD_BYTES: usize = 1536;

impl MessageBuilder {
    /// A request of `method` to `uri`, without any header.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if `uri` has no scheme or holds anything that a Request-URI cannot hold (blanks, control
    /// characters, quotes, angle brackets, headers), or if `method` is [`Method::Other`] of something that is no token.
    pub fn request(method: &Method, uri: &str) -> Result<Self> {
        index::check_outgoing_uri(uri)?;
        if !is_token(method.as_str().as_bytes()) {
            return Err(Error::Malformed(ParseError {
                problem: "the method is not a token",
                rule: "RFC 3261 §7.1",
                offset: 0,
            }));
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(uri.as_bytes());
        head.extend_from_slice(b" SIP/2.0\r\n");
        Ok(Self { head, tag_at: None, body: Bytes::new() })
    }

    /// A response without any header. Without `reason` the code's own phrase is used; control characters in it become
    /// blanks.
    #[must_use]
    pub fn status_line(status: StatusCode, reason: Option<&str>) -> Self {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(b"SIP/2.0 ");
        push_number(&mut head, u64::from(status.as_u16()));
        head.push(b' ');
        match reason {
            Some(reason) => head.extend_from_slice(HeaderValue::sanitized(reason).as_str().as_bytes()),
            None => head.extend_from_slice(status.default_reason().as_bytes()),
        }
        head.extend_from_slice(b"\r\n");
        Self { head, tag_at: None, body: Bytes::new() }
    }

    /// A response to the request `to` (RFC 3261 §8.2.6): its Via, From, To, Call-ID and CSeq are copied byte for byte,
    /// but unfolded; into a 100 also its Timestamp; into 101 to 299 also its Record-Route, if the request can form a
    /// dialog (§12.1.1). `reason` as in [`MessageBuilder::status_line`].
    #[must_use]
    pub fn response(to: &Message, status: StatusCode, reason: Option<&str>) -> Self {
        let mut builder = Self::status_line(status, reason);
        let in_dialog = (101..300).contains(&status.as_u16()) && to.method().is_some_and(Method::forms_dialog);
        for line in &to.lines {
            match line.name {
                Some(Name::Via | Name::From | Name::CallId | Name::CSeq) => builder.copy_line(to, line),
                Some(Name::To) => {
                    builder.copy_line(to, line);
                    if NameAddr::parse(to.value(line)).is_ok_and(|addr| addr.tag().is_none()) {
                        builder.tag_at = Some(builder.head.len() - 2);
                    }
                }
                Some(Name::RecordRoute) if in_dialog => builder.copy_line(to, line),
                Some(Name::Timestamp) if status == StatusCode::TRYING => builder.copy_line(to, line),
                _ => {}
            }
        }
        builder
    }

    /// A message with everything that `message` holds, written anew: its start line, its headers in order, with long
    /// names and unfolded, and its body. Where nothing is to be added, [`Message::as_bytes`] is the message without any
    /// work, and [`Message::edit`] changes some headers and leaves the others byte for byte.
    #[must_use]
    pub fn from_message(message: &Message) -> Self {
        const CONTENT_LENGTH: usize = b"Content-Length: 4294967295\r\n".len();
        // Exactly enough for what was sent with long names, `Name: value` and Content-Length, as most messages are.
        let has_length = message.first(Name::ContentLength).is_some();
        let mut size = message.body_end() + if has_length { 0 } else { CONTENT_LENGTH };
        for line in &message.lines {
            if line.name_len == 1 {
                size += line.name.map_or(0, |name| name.as_str().len());
            }
        }
        let mut head = Vec::with_capacity(size);
        match &message.start {
            StartLine::Request { method, uri } => {
                head.extend_from_slice(method.as_str().as_bytes());
                head.push(b' ');
                head.extend_from_slice(&message.bytes[range(*uri)]);
                head.extend_from_slice(b" SIP/2.0\r\n");
            }
            StartLine::Response { status, reason } => {
                head.extend_from_slice(b"SIP/2.0 ");
                push_number(&mut head, u64::from(status.as_u16()));
                head.push(b' ');
                head.extend_from_slice(&message.bytes[range(*reason)]);
                head.extend_from_slice(b"\r\n");
            }
        }
        let mut builder = Self { head, tag_at: None, body: message.body_bytes() };
        for line in message.lines.iter().filter(|line| line.name != Some(Name::ContentLength)) {
            builder.copy_line(message, line);
        }
        builder
    }

    fn copy_line(&mut self, from: &Message, line: &Line) {
        match line.name {
            Some(name) => self.head.extend_from_slice(name.line_start().as_bytes()),
            None => {
                self.head.extend_from_slice(&from.bytes[line.name_range()]);
                self.head.extend_from_slice(b": ");
            }
        }
        match from.value_with_line_end(line) {
            Some(value) => self.head.extend_from_slice(value),
            None => {
                self.head.extend_from_slice(&from.value_bytes(line));
                self.head.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Adds `;tag=` to the To of a response that has none yet; does nothing otherwise. What is no token is not a tag
    /// and is left out (tags that we draw are letters and digits).
    #[must_use]
    pub fn to_tag(mut self, tag: &str) -> Self {
        if is_token(tag.as_bytes())
            && let Some(at) = self.tag_at.take()
        {
            let param = [b";tag=", tag.as_bytes()].concat();
            self.head.splice(at..at, param);
        }
        self
    }

    /// Adds a header.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a value is made for one header")]
    pub fn field(self, name: impl Into<FieldName>, value: HeaderValue) -> Self {
        let name = name.into();
        self.push(&name, value.as_str().as_bytes())
    }

    fn push(mut self, name: &FieldName, value: &[u8]) -> Self {
        if *name != FieldName::Known(Name::ContentLength) {
            self.head.extend_from_slice(name.as_str().as_bytes());
            self.head.extend_from_slice(b": ");
            self.head.extend_from_slice(value);
            self.head.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Adds a header whose value is a number.
    #[must_use]
    pub fn number(self, name: Name, n: u64) -> Self {
        let mut digits = Vec::with_capacity(20);
        push_number(&mut digits, n);
        self.push(&FieldName::Known(name), &digits)
    }

    /// Adds `CSeq`.
    #[must_use]
    pub fn cseq(mut self, number: u32, method: &Method) -> Self {
        if is_token(method.as_str().as_bytes()) {
            self.head.extend_from_slice(b"CSeq: ");
            push_number(&mut self.head, u64::from(number));
            self.head.push(b' ');
            self.head.extend_from_slice(method.as_str().as_bytes());
            self.head.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Adds all headers of that name that `message` has, in order, unfolded: as ACK and CANCEL take Via and Route from
    /// their INVITE.
    #[must_use]
    pub fn copy(mut self, message: &Message, name: Name) -> Self {
        if name != Name::ContentLength {
            for line in message.lines.iter().filter(|line| line.name == Some(name)) {
                self.copy_line(message, line);
            }
        }
        self
    }

    /// Sets the body and adds its `Content-Type`.
    #[must_use]
    pub fn body(self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.field(Name::ContentType, content_type).untyped_body(body)
    }

    /// Sets the body and nothing else, for when `Content-Type` is among the fields already.
    #[must_use]
    pub fn untyped_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The message, in memory of exactly its size: messages are kept for as long as their transaction lasts.
    #[must_use]
    pub fn build(mut self) -> Bytes {
        const LENGTH: &[u8] = b"Content-Length: ";
        const END: &[u8] = b"\r\n\r\n";
        let digits = self.body.len().checked_ilog10().map_or(1, |digits| digits as usize + 1);
        self.head.reserve_exact(LENGTH.len() + digits + END.len() + self.body.len());
        self.head.extend_from_slice(LENGTH);
        push_number(&mut self.head, self.body.len() as u64);
        self.head.extend_from_slice(END);
        self.head.extend_from_slice(&self.body);
        self.head.shrink_to_fit();
        Bytes::from(self.head)
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten is a digit.
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The value of a From, To, Contact or Refer-To: `"display name" <uri>` and parameters.
///
/// # Errors
///
/// [`Error::Malformed`] if `uri` cannot stand in angle brackets; [`Error::HeaderNotAllowed`] if `params`, which are
/// written as they are (`;tag=1`), hold control characters.
pub fn name_addr_value(name: Name, display_name: Option<&str>, uri: &str, params: &str) -> Result<HeaderValue> {
    crate::sip::uri::check_bytes(uri.as_bytes())?;
    let display: Cow<'_, str> = match display_name.filter(|text| !text.is_empty()) {
        Some(text) => Cow::Owned(quote(text) + " "),
        None => Cow::Borrowed(""),
    };
    HeaderValue::new(name.as_str(), format!("{display}<{uri}>{params}"))
}
