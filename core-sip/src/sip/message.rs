//! The wire format (RFC 3261 §7, §25): one received message, read in one pass, and the builder of messages to send.
//!
//! A [`Message`] owns the received bytes and one index of its header lines, made in a single pass; that index is its
//! only allocation. Values are found, trimmed and unfolded when they are asked for. Nothing is ever written back other
//! than it came: [`Message::as_bytes`] is what was received.
//!
//! **Text.** SIP is UTF-8. A value that is not is handed out with U+FFFD in the place of what is not text; its bytes
//! are there as [`Message::header_bytes`] and are what a response carries back. Where a wrong character would make
//! two elements take the same thing for different things (Call-ID, tags, URIs) it is an error.
//!
//! **Strict where leniency is dangerous.** A message is refused if two elements could read it differently: bare CR or
//! LF, NUL outside a quoted pair, white space in the start line, a Content-Length that does not fit, one of the headers
//! that identify dialog and transaction missing or doubled, a Call-ID of several words, numbers out of range, CSeq and
//! request of different methods.

mod builder;
mod check;
mod edit;
pub(crate) mod index;
mod method;
mod status;
#[cfg(test)]
mod tests;
mod typed;

use core::fmt;
use core::ops::Range;
use std::borrow::Cow;

use bytes::Bytes;

pub use builder::{MessageBuilder, name_addr_value};
pub use edit::MessageEdit;
pub use method::Method;
pub use status::StatusCode;

use crate::error::ParseError;
use crate::sip::header::{
    CSeq, ContentType, Elements, Name, NameAddr, Via, find_byte, first_that, is_blank, parse_decimal, skip_blanks,
};

/// How large a message may be. What is larger is refused with the rule [`LIMIT_RULE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole message, in bytes; 65 536 by default. Never more than 4 GiB − 1, whatever is set.
    pub message_bytes: usize,
    /// Header lines, 256 by default; a folded header counts as one. Never more than 65 535, whatever is set.
    pub header_count: usize,
    /// One header line with its name and its folds, in bytes; 16 384 by default. Never more than 64 KiB for the name.
    pub header_bytes: usize,
    /// The start line, in bytes; 8 192 by default.
    pub start_line_bytes: usize,
    /// Parts of one multipart body (RFC 5621), 32 by default.
    pub multipart_parts: usize,
    /// How deep multipart bodies may stand in each other, 4 by default; 1 is a multipart body without another in it.
    pub multipart_nesting: usize,
}

impl Limits {
    /// What [`Limits::default`] gives.
    pub const DEFAULT: Self = Self {
        message_bytes: 64 * 1024,
        header_count: 256,
        header_bytes: 16 * 1024,
        start_line_bytes: 8 * 1024,
        multipart_parts: 32,
        multipart_nesting: 4,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The rule that a [`ParseError`] names when the version is not `SIP/2.0`: answer 505.
pub const VERSION_RULE: &str = "RFC 3261 §7.1 SIP-Version";

/// The rule that a [`ParseError`] names when a limit of [`Limits`] is exceeded: answer 513.
pub const LIMIT_RULE: &str = "RFC 3261 §21.5.7 (message too large)";

/// The status with which to answer a request that could not be read, if it can be answered at all
/// (see [`Message::parse_for_rejection`]): 505, 513 or 400.
#[must_use]
pub fn rejection_status(error: &ParseError) -> StatusCode {
    match error.rule {
        VERSION_RULE => StatusCode::VERSION_NOT_SUPPORTED,
        LIMIT_RULE => StatusCode::MESSAGE_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// One received message.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    lines: Vec<Line>,
    body: (u32, u32),
    first: FirstLines,
    /// The CSeq number of a message whose headers were checked; `None` after [`Message::parse_for_rejection`].
    checked_cseq: Option<u32>,
}

/// The names that are asked for most stand first among [`Name`]; their first lines are found without a search.
const FREQUENT: usize = Name::ContentLength as usize + 1;

/// Where in the index the first header of each frequent name stands; `NO_LINE` for those that are missing.
type FirstLines = [u16; FREQUENT];

const NO_LINE: u16 = u16::MAX;

#[derive(Debug, Clone)]
enum StartLine {
    Request { method: Method, uri: (u32, u32) },
    Response { status: StatusCode, reason: (u32, u32) },
}

/// One header line, 16 bytes. Offsets are 32 bits wide since no message is larger.
#[derive(Debug, Clone, Copy)]
struct Line {
    name_start: u32,
    /// After the colon; blanks and folds come first.
    value_start: u32,
    /// At the CR that ends the header.
    value_end: u32,
    name_len: u16,
    name: Option<Name>,
    folded: bool,
}

impl Line {
    fn name_range(&self) -> Range<usize> {
        let start = self.name_start as usize;
        start..start + usize::from(self.name_len)
    }
}

fn range((start, end): (u32, u32)) -> Range<usize> {
    start as usize..end as usize
}

const fn error(problem: &'static str, rule: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule, offset }
}

#[inline]
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

const CALL_ID_RULE: &str = "RFC 3261 §20.8";

/// Whether `value` is one word without control characters, as a Call-ID is.
fn check_call_id(value: &[u8]) -> Result<(), ParseError> {
    if value.is_empty() {
        return Err(error("the Call-ID is empty", CALL_ID_RULE, 0));
    }
    let word = first_that(value, 0, |b| b <= b' ' || b == 0x7f);
    if word < value.len() {
        return Err(error("the Call-ID holds white space or control characters", CALL_ID_RULE, word));
    }
    Ok(())
}

/// A value whose folds are each one space (RFC 3261 §7.3.1).
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut flat = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&b) = value.get(at) {
        if b == b'\r' || b == b'\n' {
            while flat.last().is_some_and(|&b| b == b' ' || b == b'\t') {
                flat.pop();
            }
            while value.get(at).copied().is_some_and(is_blank) {
                at += 1;
            }
            flat.push(b' ');
        } else {
            flat.push(b);
            at += 1;
        }
    }
    flat
}

fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        // First the quick check that nearly every value passes.
        Cow::Borrowed(bytes) => {
            core::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
        }
        Cow::Owned(bytes) => {
            Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
        }
    }
}

impl Message {
    /// Reads one message that came in one piece, as a WebSocket gives it (RFC 7118 §5), within [`Limits::DEFAULT`].
    /// `Content-Length` may be missing; what follows the length that it gives belongs to no message (RFC 3261 §18.3).
    ///
    /// # Errors
    ///
    /// [`ParseError`] with the rule that was broken. [`rejection_status`] tells how to answer.
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        Self::parse_with(bytes, &Limits::DEFAULT)
    }

    /// Reads one message within `limits`.
    ///
    /// # Errors
    ///
    /// As [`Message::parse`].
    pub fn parse_with(bytes: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        index::parse(bytes, limits)
    }

    /// Reads a **request** that [`Message::parse_with`] refused, only so that it can be answered with
    /// [`rejection_status`]: neither its version nor the presence and the values of its headers are checked, and it
    /// has no body. `None` where it is no request, has no headers that a response could be sent by (Via, From, To,
    /// Call-ID, CSeq, each but Via once), is an ACK, or exceeds the limits by more than its body: such a message is
    /// dropped.
    #[must_use]
    pub fn parse_for_rejection(bytes: Bytes, limits: &Limits) -> Option<Self> {
        index::parse_for_rejection(bytes, limits)
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI as it is written.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => core::str::from_utf8(&self.bytes[range(*uri)]).ok(),
            StartLine::Response { .. } => None,
        }
    }

    /// The response's status code.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(*status),
        }
    }

    /// The response's reason phrase; may be empty. Where it is not UTF-8, what stands before that.
    #[must_use]
    pub fn reason_phrase(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { reason, .. } => {
                self.bytes[range(*reason)].utf8_chunks().next().map_or(Some(""), |chunk| Some(chunk.valid()))
            }
        }
    }

    #[inline]
    fn value_bytes(&self, line: &Line) -> Cow<'_, [u8]> {
        let value = trim(&self.bytes[line.value_start as usize..line.value_end as usize]);
        // What was only folded before its value (`To:\r\n <sip:…>`) needs no copy.
        if line.folded && find_byte(value, 0, b'\r').is_some() {
            Cow::Owned(unfold(value))
        } else {
            Cow::Borrowed(value)
        }
    }

    /// The value with the CR LF after it, where the two stand together: no fold, and no blank at its end.
    #[inline]
    fn value_with_line_end(&self, line: &Line) -> Option<&[u8]> {
        let (start, end) = (line.value_start as usize, line.value_end as usize);
        if line.folded || start == end || is_blank(self.bytes[end - 1]) {
            return None;
        }
        Some(&self.bytes[skip_blanks(&self.bytes, start)..end + 2])
    }

    fn value(&self, line: &Line) -> Cow<'_, str> {
        text(self.value_bytes(line))
    }

    fn name_str(&self, line: &Line) -> &str {
        core::str::from_utf8(&self.bytes[line.name_range()]).unwrap_or_default()
    }

    fn first(&self, name: Name) -> Option<&Line> {
        match self.first.get(name as usize) {
            Some(&at) => self.lines.get(usize::from(at)),
            None => self.lines.iter().find(|line| line.name == Some(name)),
        }
    }

    fn required(&self, name: Name) -> Result<&Line, ParseError> {
        self.first(name).ok_or_else(|| error("a mandatory header is missing", "RFC 3261 §8.1.1", 0))
    }

    /// Counts the offset of an error in the value of `line` from the start of the message.
    fn located<'a>(&'a self, line: &'a Line) -> impl Fn(ParseError) -> ParseError {
        move |e| {
            let start = line.value_start as usize;
            let blanks = self.bytes[start..line.value_end as usize].iter().take_while(|b| is_blank(**b)).count();
            ParseError { offset: start + blanks + e.offset, ..e }
        }
    }

    /// The value of the first header of that name: unfolded, without the blanks round it. Compact forms are found too.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<Cow<'_, str>> {
        self.first(name).map(|line| self.value(line))
    }

    /// The value of the first header of that name, unfolded and trimmed, as bytes.
    #[must_use]
    pub fn header_bytes(&self, name: Name) -> Option<Cow<'_, [u8]>> {
        self.first(name).map(|line| self.value_bytes(line))
    }

    /// The values of all header lines of that name, in order.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = Cow<'_, str>> {
        self.lines.iter().filter(move |line| line.name == Some(name)).map(|line| self.value(line))
    }

    /// The value of the first header whose name is `name`, without regard to case; compact forms and long forms find
    /// each other.
    #[must_use]
    pub fn header_named(&self, name: &str) -> Option<Cow<'_, str>> {
        match Name::parse(name) {
            Some(known) => self.header(known),
            None => self
                .lines
                .iter()
                .find(|line| line.name.is_none() && self.bytes[line.name_range()].eq_ignore_ascii_case(name.as_bytes()))
                .map(|line| self.value(line)),
        }
    }

    /// All header lines in order: the name as it is written, and the value.
    pub fn header_lines(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.lines.iter().map(|line| (self.name_str(line), self.value(line)))
    }

    /// All header lines in order: the name as it is written, and the value, unfolded and trimmed, as bytes.
    pub fn header_lines_bytes(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.lines.iter().map(|line| (self.name_str(line), self.value_bytes(line)))
    }

    /// The elements of the comma lists in all headers of that name, in order, without empty ones. For headers whose
    /// grammar is a comma list (Via, Route, Contact, Allow, Supported …), which Date and the credentials are not.
    pub fn list(&self, name: Name) -> impl Iterator<Item = Cow<'_, str>> {
        self.headers(name).flat_map(Elements::new).filter(|element| !element.is_empty())
    }

    /// Whether one element of a list of tokens is `token`, without regard to case: `has_token(Name::Supported, "100rel")`.
    #[must_use]
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token))
    }

    /// The header's value as a number of at most `max`; blanks, a comment and parameters may follow it, as in
    /// `Retry-After`. `None` where there is no such header.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the value does not begin with a number, or the number is larger.
    pub fn number(&self, name: Name, max: u64) -> Option<Result<u64, ParseError>> {
        let line = self.first(name)?;
        let value = self.value_bytes(line);
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        let ends = value.get(digits).is_none_or(|&b| is_blank(b) || matches!(b, b';' | b'('));
        Some(
            parse_decimal(&value[..digits], max)
                .filter(|_| ends)
                .ok_or_else(|| self.located(line)(error("not a number in range", "RFC 3261 §25.1", 0))),
        )
    }

    /// The topmost `Via`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is malformed.
    pub fn top_via(&self) -> Result<Via<'_>, ParseError> {
        let line = self.required(Name::Via)?;
        let first = Elements::new(self.value(line)).next().unwrap_or_default();
        Via::parse(first).map_err(self.located(line))
    }

    /// The `From`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is malformed.
    pub fn from(&self) -> Result<NameAddr<'_>, ParseError> {
        self.name_addr(Name::From)
    }

    /// The `To`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is malformed.
    pub fn to(&self) -> Result<NameAddr<'_>, ParseError> {
        self.name_addr(Name::To)
    }

    fn name_addr(&self, name: Name) -> Result<NameAddr<'_>, ParseError> {
        let line = self.required(name)?;
        NameAddr::parse(self.value(line)).map_err(self.located(line))
    }

    /// The `Call-ID`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not UTF-8; after [`Message::parse_for_rejection`] also if it is empty or holds white space
    /// or control characters, with which [`Message::parse`] lets no message pass.
    pub fn call_id(&self) -> Result<&str, ParseError> {
        let line = self.required(Name::CallId)?;
        let value = trim(&self.bytes[line.value_start as usize..line.value_end as usize]);
        if self.checked_cseq.is_none() {
            check_call_id(value).map_err(self.located(line))?;
        }
        core::str::from_utf8(value).map_err(|_| self.located(line)(error("the Call-ID is not UTF-8", CALL_ID_RULE, 0)))
    }

    /// The `CSeq`.
    ///
    /// # Errors
    ///
    /// None after [`Message::parse`], which has checked it; after [`Message::parse_for_rejection`] [`ParseError`] if it
    /// is malformed.
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        if let (Some(number), StartLine::Request { method, .. }) = (self.checked_cseq, &self.start) {
            return Ok(CSeq { number, method: method.clone() });
        }
        let line = self.required(Name::CSeq)?;
        CSeq::parse(&self.value(line)).map_err(self.located(line))
    }

    /// All `Contact`s.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed or empty.
    pub fn contacts(&self) -> Result<Vec<NameAddr<'_>>, ParseError> {
        self.addresses(Name::Contact)
    }

    /// The `Contact`s one by one, without a list of them. See [`Message::address_iter`].
    pub fn contact_iter(&self) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.address_iter(Name::Contact)
    }

    /// The addresses in all headers of that name: Contact, Route, Record-Route, Path, P-Asserted-Identity ….
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed or empty.
    pub fn addresses(&self, name: Name) -> Result<Vec<NameAddr<'_>>, ParseError> {
        self.address_iter(name).collect()
    }

    /// The addresses in all headers of that name one by one, each read when it is asked for, without a list of them. One
    /// that is malformed or empty is an error, and does not keep from those after it.
    pub fn address_iter(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.elements(name).map(|(line, element)| NameAddr::parse(element).map_err(self.located(line)))
    }

    /// The elements of the comma lists in all headers of that name, with the line in which each stands.
    fn elements(&self, name: Name) -> impl Iterator<Item = (&Line, Cow<'_, str>)> {
        // Before the first there is none; where that is known and missing, there is nothing to look through.
        let from = self.first.get(name as usize).map_or(0, |&at| usize::from(at));
        let mut lines = self.lines.get(from..).unwrap_or_default().iter();
        let mut current: Option<(&Line, Elements<'_>)> = None;
        core::iter::from_fn(move || {
            loop {
                if let Some((line, elements)) = &mut current
                    && let Some(element) = elements.next()
                {
                    return Some((*line, element));
                }
                let line = lines.find(|line| line.name == Some(name))?;
                current = Some((line, Elements::new(self.value(line))));
            }
        })
    }

    /// All `Via`s.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed or empty.
    pub fn vias(&self) -> Result<Vec<Via<'_>>, ParseError> {
        self.via_iter().collect()
    }

    /// The `Via`s one by one, each read when it is asked for, without a list of them. One that is malformed or empty is
    /// an error, and does not keep from those after it.
    pub fn via_iter(&self) -> impl Iterator<Item = Result<Via<'_>, ParseError>> {
        self.elements(Name::Via).map(|(line, element)| Via::parse(element).map_err(self.located(line)))
    }

    /// The `Content-Type`; `None` if there is none or it is malformed (the body is then of no known type).
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType<'_>> {
        self.header(Name::ContentType).and_then(|value| ContentType::parse(value).ok())
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[range(self.body)]
    }

    /// Where the body ends, from the start of what was received.
    pub(crate) fn body_end(&self) -> usize {
        self.body.1 as usize
    }

    /// The body, sharing the message's memory.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(range(self.body))
    }

    /// Reads everything that this crate has a type for, as a careful element does before it acts on a message
    /// (RFC 4475 §3): the Request-URI, every address, Via, list, number, date and credential. [`Message::parse`] has
    /// checked only what identifies dialog and transaction, and leaves the rest until it is asked for.
    ///
    /// # Errors
    ///
    /// [`ParseError`] of the first header that is malformed, out of range, doubled, or missing though its method makes
    /// it mandatory: answer 400.
    pub fn check(&self) -> Result<(), ParseError> {
        check::check(self)
    }

    /// What was received.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Start line, header names and body size: values may be secret or personal.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Names<'a>(&'a Message);
        impl fmt::Debug for Names<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.0.lines.iter().map(|line| self.0.name_str(line))).finish()
            }
        }
        let mut out = f.debug_struct("Message");
        match &self.start {
            StartLine::Request { method, .. } => out.field("method", method),
            StartLine::Response { status, .. } => out.field("status", &status.as_u16()),
        };
        out.field("headers", &Names(self)).field("body_bytes", &self.body().len()).finish()
    }
}
