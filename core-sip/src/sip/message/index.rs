//! The one pass over a message that finds its start line and header lines and refuses what is dangerous.

use bytes::Bytes;

use super::{
    FREQUENT, LIMIT_RULE, Limits, Line, Message, Method, NO_LINE, StartLine, StatusCode, VERSION_RULE, check_call_id,
    error, range, trim,
};
use crate::error::ParseError;
use crate::sip::header::{
    Name, NameWords, class, class_end, cseq_parts, find_byte, first_that, is_token, parse_decimal, word,
};
use crate::sip::uri;

/// Headers of which a message holds at most one. Two of them are how two elements come to see two messages in one.
/// All stand among the frequent names; a bit for each.
const SINGLE: u32 = bit(Name::From)
    | bit(Name::To)
    | bit(Name::CallId)
    | bit(Name::CSeq)
    | bit(Name::MaxForwards)
    | bit(Name::ContentLength)
    | bit(Name::ContentType);

const fn bit(name: Name) -> u32 {
    1 << name as u32
}

/// Mandatory besides Via. Max-Forwards is mandatory too, but elements of RFC 2543 leave it out and RFC 3261 §16.3
/// lets such requests pass.
const MANDATORY: [(Name, &str); 4] = [
    (Name::From, "From is missing"),
    (Name::To, "To is missing"),
    (Name::CallId, "Call-ID is missing"),
    (Name::CSeq, "CSeq is missing"),
];

/// The problem of a message that ends within its headers or without the empty line after them.
pub(crate) const NO_EMPTY_LINE: &str = "the header ends without an empty line";

/// Bytes of a message for which the index reserves room for one header; shorter headers make it grow.
const BYTES_PER_HEADER: usize = 40;

pub(super) fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    if bytes.len() > limits.message_bytes.min(u32::MAX as usize) {
        return Err(error("the message is larger than allowed", LIMIT_RULE, limits.message_bytes));
    }
    let mut message = read_head(bytes, limits, true)?;
    check(&mut message, true)?;
    Ok(message)
}

/// Reads a copy of a message in which bytes do not count, since its line ends are not those that were sent: a
/// `Content-Length` beyond its end is no error.
pub(crate) fn parse_text_copy(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    let mut message = read_head(bytes, limits, true)?;
    check(&mut message, false)?;
    Ok(message)
}

pub(super) fn parse_for_rejection(mut bytes: Bytes, limits: &Limits) -> Option<Message> {
    bytes.truncate(limits.message_bytes.min(u32::MAX as usize));
    let mut message = read_head(bytes, limits, false).ok()?;
    let method = message.method()?;
    let single = |name: Name| message.lines.iter().filter(|line| line.name == Some(name)).count() == 1;
    if *method == Method::Ack || !MANDATORY.into_iter().all(|(name, _)| single(name)) || message.top_via().is_err() {
        return None;
    }
    message.body = (0, 0);
    Some(message)
}

/// Offsets fit since no message is larger than `u32::MAX`; that is checked before.
const fn offset(at: usize) -> u32 {
    at as u32
}

/// Where the first byte below 16 stands from `at` on, or the end: CR, LF, NUL, a tab, or a control character.
#[inline]
fn control_at(bytes: &[u8], mut at: usize) -> usize {
    let (words, rest) = bytes.get(at..).unwrap_or_default().as_chunks::<{ word::BYTES }>();
    for eight in words {
        if let Some(n) = word::position_below(u64::from_le_bytes(*eight), 16) {
            return at + n;
        }
        at += word::BYTES;
    }
    at + rest.iter().position(|&b| b < 16).unwrap_or(rest.len())
}

/// Finds the CR of the CR LF that ends the line in which `from` stands. `quotes` are those of the header's value, `None`
/// in the start line.
#[inline]
fn line_end(bytes: &[u8], from: usize, mut quotes: Option<&mut Quotes>) -> Result<usize, ParseError> {
    const RULE: &str = "RFC 3261 §7";
    let mut at = from;
    loop {
        let found = control_at(bytes, at);
        match bytes.get(found) {
            Some(b'\r') if bytes.get(found + 1) == Some(&b'\n') => return Ok(found),
            Some(b'\r') => return Err(error("a CR without LF", RULE, found)),
            Some(b'\n') => return Err(error("an LF without CR", RULE, found)),
            Some(0) if !quotes.as_mut().is_some_and(|quotes| quotes.escape(bytes, found)) => {
                return Err(error("a NUL outside a quoted pair", "RFC 3261 §25.1", found));
            }
            // Other control characters are left to those who look at the value.
            Some(_) => at = found + 1,
            None => return Err(error(NO_EMPTY_LINE, RULE, bytes.len())),
        }
    }
}

/// Follows the quoted strings of one value, only as far as it is asked and each byte once, however often it is asked.
struct Quotes {
    at: usize,
    quoted: bool,
    escaped: bool,
}

impl Quotes {
    const fn new(value_start: usize) -> Self {
        Self { at: value_start, quoted: false, escaped: false }
    }

    /// Whether the byte at `at` is the second half of a quoted pair of a quoted string, the one place where RFC 3261
    /// allows control characters.
    #[cold]
    fn escape(&mut self, bytes: &[u8], at: usize) -> bool {
        for &b in &bytes[self.at..at] {
            match b {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ => {}
            }
        }
        self.at = at;
        self.escaped
    }
}

fn read_head(bytes: Bytes, limits: &Limits, strict: bool) -> Result<Message, ParseError> {
    let all: &[u8] = &bytes;
    let mut at = 0;
    // Empty lines before the start line are ignored (RFC 3261 §7.5).
    while all[at..].starts_with(b"\r\n") {
        at += 2;
    }
    if at == all.len() {
        return Err(error("there is no start line", "RFC 3261 §7", at));
    }
    let end = line_end(all, at, None)?;
    if end - at > limits.start_line_bytes {
        return Err(error("the start line is longer than allowed", LIMIT_RULE, at));
    }
    let start = start_line(all, at, end, strict)?;
    at = end + 2;

    let mut lines = Vec::with_capacity((all.len() / BYTES_PER_HEADER).clamp(8, 64));
    let most = limits.header_count.min(usize::from(NO_LINE));
    let mut first = [NO_LINE; FREQUENT];
    let mut doubled = None;
    loop {
        if all[at..].starts_with(b"\r\n") {
            at += 2;
            break;
        }
        if lines.len() == most {
            return Err(error("more headers than allowed", LIMIT_RULE, at));
        }
        let line = header_line(all, at)?;
        let next = line.value_end as usize + 2;
        if next - 2 - at > limits.header_bytes {
            return Err(error("a header is longer than allowed", LIMIT_RULE, at));
        }
        if let Some(name) = line.name
            && let Some(first) = first.get_mut(name as usize)
        {
            if *first == NO_LINE {
                // There are fewer lines than `NO_LINE`.
                *first = lines.len() as u16;
            } else if SINGLE & bit(name) != 0 {
                doubled = doubled.or(Some(at));
            }
        }
        lines.push(line);
        at = next;
    }
    if let Some(at) = doubled.filter(|_| strict) {
        return Err(error("a header that may occur once occurs twice", "RFC 3261 §7.3.1", at));
    }
    let body = (offset(at), offset(all.len()));
    Ok(Message { start, lines, body, first, checked_cseq: None, bytes })
}

#[inline]
fn header_line(bytes: &[u8], start: usize) -> Result<Line, ParseError> {
    let (name, name_end, value_start) = match plain_name(bytes, start) {
        Some((name, colon)) => (name, colon, colon + 1),
        None => any_name(bytes, start)?,
    };
    let name_len =
        u16::try_from(name_end - start).map_err(|_| error("a header name is too long", LIMIT_RULE, start))?;
    let mut quotes = Quotes::new(value_start);
    let mut end = line_end(bytes, value_start, Some(&mut quotes))?;
    let mut folded = false;
    while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
        folded = true;
        end = line_end(bytes, end + 2, Some(&mut quotes))?;
    }
    Ok(Line {
        name_start: offset(start),
        value_start: offset(value_start),
        value_end: offset(end),
        name_len,
        name,
        folded,
    })
}

/// The name at the start of a line that a `:` follows at once, and where that is; the name is `None` if it is a token but
/// not known. Other lines, and what is too near to the end to be read by words, are left to [`any_name`].
#[inline]
fn plain_name(bytes: &[u8], start: usize) -> Option<(Option<Name>, usize)> {
    let mut words = NameWords::default();
    for n in 0..words.len() {
        let at = start + word::BYTES * n;
        let eight = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        if let Some(before) = word::position_of(eight, b':') {
            words[n] = eight & ((1 << (8 * before)) - 1);
            let colon = at + before;
            let name = &bytes[start..colon];
            let known = Name::from_words(&words, name);
            return (known.is_some() || is_token(name)).then_some((known, colon));
        }
        words[n] = eight;
    }
    None
}

/// Reads the name of a header line by the grammar: the name if it is known, its end, and where the value begins.
fn any_name(bytes: &[u8], start: usize) -> Result<(Option<Name>, usize, usize), ParseError> {
    const RULE: &str = "RFC 3261 §7.3.1";
    let end = class_end(bytes, start, class::TOKEN);
    let name = &bytes[start..end];
    if name.is_empty() && start == bytes.len() {
        return Err(error(NO_EMPTY_LINE, RULE, start));
    }
    if name.is_empty() {
        return Err(error("a header line begins with its name", RULE, end));
    }
    let colon = first_that(bytes, end, |b| !matches!(b, b' ' | b'\t'));
    if bytes.get(colon) != Some(&b':') {
        return Err(error("expected `:` after the header name", RULE, colon));
    }
    Ok((Name::from_bytes(name), end, colon + 1))
}

fn start_line(bytes: &[u8], start: usize, end: usize, strict: bool) -> Result<StartLine, ParseError> {
    let line = &bytes[start..end];
    let first = find_byte(line, 0, b' ').unwrap_or(line.len());
    if line[..first].contains(&b'/') {
        return status_line(line, first, start);
    }
    const RULE: &str = "RFC 3261 §7.1";
    let known = Method::known(&line[..first]);
    if known.is_none() && !is_token(&line[..first]) {
        return Err(error("the method is not a token", RULE, start));
    }
    let Some(second) = find_byte(line, first + 1, b' ') else {
        return Err(error("a request line has three parts: method, URI, version", RULE, end));
    };
    let version = &line[second + 1..];
    check_version(version, start + second + 1).or_else(|e| if strict { Err(e) } else { Ok(()) })?;
    let request_uri = &line[first + 1..second];
    if strict {
        check_request_uri(request_uri).map_err(|e| ParseError { offset: start + first + 1 + e.offset, ..e })?;
    }
    let method = match known {
        Some(method) => method,
        // The bytes were checked to be a token, which is ASCII.
        None => Method::parse(core::str::from_utf8(&line[..first]).unwrap_or_default())
            .map_err(|e| ParseError { offset: start, ..e })?,
    };
    Ok(StartLine::Request { method, uri: (offset(start + first + 1), offset(start + second)) })
}

fn status_line(line: &[u8], first: usize, start: usize) -> Result<StartLine, ParseError> {
    const RULE: &str = "RFC 3261 §7.2";
    check_version(&line[..first], start)?;
    let code_start = first + 1;
    let rest = line.get(code_start..).unwrap_or_default();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let status = parse_decimal(&rest[..digits], 699)
        .filter(|_| digits == 3)
        .and_then(|code| u16::try_from(code).ok())
        .and_then(StatusCode::new)
        .ok_or_else(|| error("the status code is not 100 to 699", RULE, start + code_start))?;
    // The blank after the code is mandatory, the phrase is not; that the blank is missing too is harmless.
    let reason = match rest.get(3) {
        None => code_start + 3,
        Some(b' ') => code_start + 4,
        Some(_) => return Err(error("expected a blank after the status code", RULE, start + code_start + 3)),
    };
    Ok(StartLine::Response { status, reason: (offset(start + reason), offset(start + line.len())) })
}

fn check_version(version: &[u8], at: usize) -> Result<(), ParseError> {
    if version == b"SIP/2.0" || version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let numbers = version.get(..4).filter(|p| p.eq_ignore_ascii_case(b"SIP/")).map(|_| &version[4..]);
    let other_version = numbers.and_then(|n| n.iter().position(|&b| b == b'.').map(|dot| (&n[..dot], &n[dot + 1..])));
    match other_version {
        Some((major, minor))
            if !major.is_empty() && !minor.is_empty() && major.iter().chain(minor).all(u8::is_ascii_digit) =>
        {
            Err(error("the version is not SIP/2.0", VERSION_RULE, at))
        }
        _ => Err(error("expected SIP/2.0", "RFC 3261 §7.1", at)),
    }
}

fn check_request_uri(request_uri: &[u8]) -> Result<(), ParseError> {
    // Most are `sip:`, hold no escape and no `?`, and then this is all.
    if let [b's', b'i', b'p', b':', _, ..] = request_uri
        && class_end(request_uri, 4, class::PLAIN_URI) == request_uri.len()
    {
        return Ok(());
    }
    uri::check_bytes(request_uri)?;
    let scheme = request_uri.iter().position(|&b| b == b':').unwrap_or(0);
    let scheme_valid = request_uri[..scheme].first().is_some_and(u8::is_ascii_alphabetic)
        && request_uri[..scheme].iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme_valid || scheme + 1 == request_uri.len() {
        return Err(error("the Request-URI has no scheme", "RFC 3261 §25.1", 0));
    }
    let is_sip =
        request_uri[..scheme].eq_ignore_ascii_case(b"sip") || request_uri[..scheme].eq_ignore_ascii_case(b"sips");
    if is_sip {
        // `?` may stand in the user part; after the host it begins headers, which no Request-URI may have.
        let host = find_byte(request_uri, 0, b'@').unwrap_or(0);
        if let Some(at) = find_byte(request_uri, host, b'?') {
            return Err(error("a Request-URI has no headers", "RFC 3261 §19.1.1", at));
        }
    }
    Ok(())
}

/// Everything that must hold of the headers before a transaction may see the message.
fn check(message: &mut Message, exact_length: bool) -> Result<(), ParseError> {
    let head_end = range(message.body).start;
    let line_of = |name: Name| message.first(name);
    if line_of(Name::Via).is_none() {
        return Err(error("Via is missing", "RFC 3261 §8.1.1.7", head_end));
    }
    let value_of = |line: &Line| trim(&message.bytes[line.value_start as usize..line.value_end as usize]);
    for (name, problem) in MANDATORY {
        let line = line_of(name).ok_or_else(|| error(problem, "RFC 3261 §8.1.1", head_end))?;
        if value_of(line).is_empty() {
            return Err(error("a mandatory header is empty", "RFC 3261 §8.1.1", line.name_start as usize));
        }
    }
    if let Some(line) = line_of(Name::CallId) {
        check_call_id(value_of(line)).map_err(message.located(line))?;
    }
    let mut checked_cseq = None;
    if let Some(line) = line_of(Name::CSeq) {
        let at = line.value_start as usize;
        let value = value_of(line);
        let (number, method) = cseq_parts(value).map_err(|e| ParseError { offset: at, ..e })?;
        if let StartLine::Request { method: requested, .. } = &message.start
            && requested.as_str().as_bytes() != &value[method]
        {
            return Err(error("CSeq and request line name different methods", "RFC 3261 §8.1.1.5", at));
        }
        checked_cseq = Some(number);
    }
    if let Some(line) = line_of(Name::MaxForwards)
        && parse_decimal(value_of(line), 255).is_none()
    {
        return Err(error("Max-Forwards is not 0 to 255", "RFC 3261 §20.22", line.value_start as usize));
    }
    if let Some(line) = line_of(Name::ContentLength) {
        let at = line.value_start as usize;
        let available = message.bytes.len() - head_end;
        let length = parse_decimal(value_of(line), u64::from(u32::MAX))
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| error("Content-Length is not a number", "RFC 3261 §20.14", at))?;
        if length > available && exact_length {
            return Err(error("Content-Length is larger than the body", "RFC 3261 §18.3", at));
        }
        let end = offset(head_end + length.min(available));
        message.body.1 = end;
    }
    message.checked_cseq = checked_cseq;
    Ok(())
}

/// The bytes that a request line may be built of, checked where a request is built.
pub(super) fn check_outgoing_uri(uri: &str) -> Result<(), ParseError> {
    check_request_uri(uri.as_bytes())?;
    debug_assert!(uri.bytes().all(|b| class::TABLE[usize::from(b)] & class::URI != 0 || b == b'#'));
    Ok(())
}
