//! URIs: `sip`, `sips` (RFC 3261 §19.1), `tel` (RFC 3966), and any other scheme, kept as it is.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use crate::error::ParseError;
use crate::ordered::OrderedMap;
use crate::sip::header::class::Classes;
use crate::sip::header::{Span, class, class_end, find_byte, first_that, host_end, parse_ipv6, parse_port};

/// A URI. `Display` writes it as it was read.
///
/// `==` compares what is written; [`Uri::equivalent`] compares what is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: Box<str>,
    parts: Parts,
}

/// A URI that borrows its text: read in one pass, without memory of its own. [`Uri`] keeps it for longer.
///
/// `==` compares what is written; [`UriRef::equivalent`] compares what is meant.
///
/// ```
/// use codex_core_sip::sip::uri::UriRef;
///
/// let uri = UriRef::parse("sip:kq@example.com:5061;transport=ws")?;
/// assert_eq!((uri.user(), uri.host(), uri.port()), (Some("kq"), "example.com", Some(5061)));
/// assert_eq!(uri.to_uri().to_string(), uri.as_str());
/// # Ok::<(), codex_core_sip::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UriRef<'a> {
    text: &'a str,
    parts: Parts,
}

/// Where the parts of a URI stand. 32 bits are enough for what comes in messages; longer text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Parts {
    kind: Kind,
    port: Option<u16>,
    scheme: u32,
    user: Option<Span>,
    password: Option<Span>,
    host: Span,
    params: Span,
    headers: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sip,
    Tel,
    Other,
}

const SIP_URI: &str = "RFC 3261 §19.1.1";

const fn error(problem: &'static str, rule: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule, offset }
}

/// Whether `b` may stand unescaped in the user part (RFC 3261 §25.1).
fn is_user_byte(b: u8) -> bool {
    class::TABLE[usize::from(b)] & class::USER != 0
}

impl<'a> UriRef<'a> {
    /// Reads a URI.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it has no scheme, holds a character that a URI cannot hold (white space, control characters,
    /// quotes, angle brackets, anything outside ASCII), a broken escape, a port above 65535, an empty part, or one of
    /// the parameters that routing stands on twice.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let bytes = text.as_bytes();
        if u32::try_from(bytes.len()).is_err() {
            return Err(error("the URI is too long", "RFC 3986 §2", 0));
        }
        let mut escaped = false;
        match read(bytes, &mut escaped) {
            Ok(parts) if !escaped => Ok(Self { text, parts }),
            Ok(parts) => check_bytes(bytes).map(|()| Self { text, parts }),
            // What stands in no URI at all is the better reason.
            Err(reason) => Err(check_bytes(bytes).err().unwrap_or(reason)),
        }
    }

    /// The URI with memory of its own.
    #[must_use]
    pub fn to_uri(self) -> Uri {
        Uri { text: self.text.into(), parts: self.parts }
    }

    /// The URI as it was read.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The scheme as it is written, without `:`. Compare without regard to case.
    #[must_use]
    pub fn scheme(self) -> &'a str {
        &self.text[..self.parts.scheme as usize]
    }

    /// Whether it is `sip` or `sips`.
    #[must_use]
    pub fn is_sip(self) -> bool {
        self.parts.kind == Kind::Sip
    }

    /// Whether it is `sips`.
    #[must_use]
    pub fn is_sips(self) -> bool {
        self.scheme().eq_ignore_ascii_case("sips")
    }

    /// What follows the scheme, as it is written.
    #[must_use]
    pub fn after_scheme(self) -> &'a str {
        &self.text[self.parts.scheme as usize + 1..]
    }

    /// The user part as it is written, escapes included; of a `tel` URI the number.
    #[must_use]
    pub fn user(self) -> Option<&'a str> {
        self.parts.user.map(|span| span.of(self.text))
    }

    /// The user part without escapes.
    #[must_use]
    pub fn user_unescaped(self) -> Option<Cow<'a, str>> {
        self.user().map(unescape)
    }

    /// The password as it is written (RFC 3261 §19.1.1 advises against its use).
    #[must_use]
    pub fn password(self) -> Option<&'a str> {
        self.parts.password.map(|span| span.of(self.text))
    }

    /// The host of a `sip` or `sips` URI, an IPv6 address in its brackets; empty for other schemes.
    #[must_use]
    pub fn host(self) -> &'a str {
        self.parts.host.of(self.text)
    }

    /// The port, if one is written.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        self.parts.port
    }

    /// The parameters in order, as they are written: name and value.
    pub fn params(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        self.parts.params.of(self.text).split(';').skip(1).map(split_pair)
    }

    /// A parameter by name, without escapes: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(self, name: &str) -> Option<Option<Cow<'a, str>>> {
        self.params().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.map(unescape))
    }

    /// The headers (what follows `?`) in order, as they are written: name and value.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.parts
            .headers
            .map(|start| self.text[start as usize..].split('&'))
            .into_iter()
            .flatten()
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// Whether both mean the same (RFC 3261 §19.1.4, RFC 3966 §4; other schemes: the same text after the scheme).
    ///
    /// Not transitive, as the RFC has it: a parameter that only one of them has is ignored, except `user`, `ttl`,
    /// `method`, `maddr` and `transport`.
    #[must_use]
    pub fn equivalent(self, other: UriRef<'_>) -> bool {
        if self.parts.kind != other.parts.kind || !self.scheme().eq_ignore_ascii_case(other.scheme()) {
            return false;
        }
        match self.parts.kind {
            Kind::Other => self.after_scheme() == other.after_scheme(),
            Kind::Tel => {
                plain_number(self.user()).eq(plain_number(other.user()))
                    && self.comparable_params() == other.comparable_params()
            }
            Kind::Sip => {
                self.user().map(normalized) == other.user().map(normalized)
                    && self.password().map(normalized) == other.password().map(normalized)
                    && self.same_host(other)
                    && self.parts.port == other.parts.port
                    && self.same_params(other)
                    && self.comparable_headers() == other.comparable_headers()
            }
        }
    }

    /// IPv6 addresses may be written in several ways (RFC 4291 §2.2).
    fn same_host(self, other: UriRef<'_>) -> bool {
        fn address(host: &str) -> Option<core::net::Ipv6Addr> {
            parse_ipv6(host.strip_prefix('[')?.strip_suffix(']')?)
        }
        let (ours, theirs) = (self.host(), other.host());
        ours.eq_ignore_ascii_case(theirs) || address(ours).is_some_and(|ours| address(theirs) == Some(ours))
    }

    fn same_params(self, other: UriRef<'_>) -> bool {
        let (ours, theirs) = (self.comparable_params(), other.comparable_params());
        let decides = |name: &str| matches!(name, "user" | "ttl" | "method" | "maddr" | "transport");
        ours.iter().all(|(name, value)| theirs.get(name).map_or(!decides(name), |v| v == value))
            && theirs.keys().all(|name| ours.contains_key(name) || !decides(name))
    }

    fn comparable_params(self) -> OrderedMap<String, Option<String>> {
        let mut params = OrderedMap::new();
        for (name, value) in self.params() {
            let name = normalized(name).to_ascii_lowercase();
            let mut value = value.map(|v| normalized(v).to_ascii_lowercase());
            // These two hold telephone numbers, in which separators mean nothing (RFC 3966 §4); a context that is a
            // domain holds none that matter.
            if self.parts.kind == Kind::Tel
                && (name == "ext" || name == "phone-context" && value.as_ref().is_some_and(|v| v.starts_with('+')))
                && let Some(number) = &mut value
            {
                number.retain(|c| !matches!(c, '-' | '.' | '(' | ')'));
            }
            // The first of several counts.
            let is_first = !params.contains_key(&name);
            if is_first {
                params.insert(name, value);
            }
        }
        params
    }

    fn comparable_headers(self) -> Vec<(String, String)> {
        let mut headers: Vec<_> =
            self.headers().map(|(n, v)| (normalized(n).to_ascii_lowercase(), normalized(v).into_owned())).collect();
        headers.sort_unstable();
        headers
    }
}

impl Uri {
    /// Reads a URI and keeps a copy of its text. [`UriRef::parse`] reads without.
    ///
    /// # Errors
    ///
    /// As [`UriRef::parse`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        UriRef::parse(text).map(UriRef::to_uri)
    }

    /// The URI, borrowed: it is copied without memory.
    #[must_use]
    pub fn borrowed(&self) -> UriRef<'_> {
        UriRef { text: &self.text, parts: self.parts }
    }

    /// The URI as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme as it is written, without `:`. Compare without regard to case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.borrowed().scheme()
    }

    /// Whether it is `sip` or `sips`.
    #[must_use]
    pub fn is_sip(&self) -> bool {
        self.borrowed().is_sip()
    }

    /// Whether it is `sips`.
    #[must_use]
    pub fn is_sips(&self) -> bool {
        self.borrowed().is_sips()
    }

    /// What follows the scheme, as it is written.
    #[must_use]
    pub fn after_scheme(&self) -> &str {
        self.borrowed().after_scheme()
    }

    /// The user part as it is written, escapes included; of a `tel` URI the number.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.borrowed().user()
    }

    /// The user part without escapes.
    #[must_use]
    pub fn user_unescaped(&self) -> Option<Cow<'_, str>> {
        self.borrowed().user_unescaped()
    }

    /// The password as it is written (RFC 3261 §19.1.1 advises against its use).
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.borrowed().password()
    }

    /// The host of a `sip` or `sips` URI, an IPv6 address in its brackets; empty for other schemes.
    #[must_use]
    pub fn host(&self) -> &str {
        self.borrowed().host()
    }

    /// The port, if one is written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The parameters in order, as they are written: name and value.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.borrowed().params()
    }

    /// A parameter by name, without escapes: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        self.borrowed().param(name)
    }

    /// The headers (what follows `?`) in order, as they are written: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.borrowed().headers()
    }

    /// Whether both mean the same: see [`UriRef::equivalent`].
    #[must_use]
    pub fn equivalent(&self, other: &Self) -> bool {
        self.borrowed().equivalent(other.borrowed())
    }
}

/// Finds the parts of a URI and refuses whatever stands in none of them; only that `%` is followed by two hexadecimal
/// digits is not looked at, and `escaped` is set where there may be one.
#[inline]
fn read(bytes: &[u8], escaped: &mut bool) -> Result<Parts, ParseError> {
    if bytes.starts_with(b"sip:") && bytes.len() > 4 {
        return read_sip(bytes, 3, escaped);
    }
    let scheme = first_that(bytes, 0, |b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')));
    if scheme == 0 || !bytes[0].is_ascii_alphabetic() || bytes.get(scheme) != Some(&b':') {
        return Err(error("a URI begins with a scheme and `:`", "RFC 3986 §3.1", 0));
    }
    let rest = scheme + 1;
    if rest == bytes.len() {
        return Err(error("nothing follows the scheme", "RFC 3986 §3", rest));
    }
    let name = &bytes[..scheme];
    if name.eq_ignore_ascii_case(b"sip") || name.eq_ignore_ascii_case(b"sips") {
        read_sip(bytes, scheme, escaped)
    } else if name.eq_ignore_ascii_case(b"tel") {
        read_tel(bytes, scheme, escaped)
    } else {
        *escaped = true;
        Ok(Parts {
            kind: Kind::Other,
            port: None,
            scheme: offset(scheme),
            user: None,
            password: None,
            host: Span::new(rest, rest),
            params: Span::new(bytes.len(), bytes.len()),
            headers: None,
        })
    }
}

/// Offsets fit, see [`Span::new`].
const fn offset(at: usize) -> u32 {
    at as u32
}

/// Where the bytes from `at` on end that are escapes or of the classes in `mask`.
#[inline]
fn part_end(bytes: &[u8], at: usize, mask: Classes, escaped: &mut bool) -> usize {
    let end = class_end(bytes, at, mask);
    if bytes.get(end) != Some(&b'%') {
        return end;
    }
    *escaped = true;
    class_end(bytes, end, mask | class::PERCENT)
}

#[inline]
fn read_sip(bytes: &[u8], scheme: usize, escaped: &mut bool) -> Result<Parts, ParseError> {
    let start = scheme + 1;
    let mut host = start;
    let mut user = None;
    let mut password = None;
    // Nearly every URI ends its user part, or its host, at the first character that no user part holds.
    let end = part_end(bytes, start, class::USER, escaped);
    let sign = match bytes.get(end) {
        Some(b'@') => Some(end),
        None => None,
        // A port and no password: were there an `@` further on, the password before it would hold what none may.
        Some(b':') if matches!(bytes.get(digits_end(bytes, end + 1)), None | Some(b';' | b'?')) => None,
        Some(_) => find_byte(bytes, end, b'@'),
    };
    if let Some(sign) = sign {
        let colon = if bytes[end] == b':' { end } else { sign };
        if end == start && (colon == start || sign == start) {
            return Err(error("the user part is empty", SIP_URI, start));
        }
        if end < colon {
            return Err(error("the user part holds a character that must be escaped", SIP_URI, end));
        }
        user = Some(Span::new(start, colon));
        if colon < sign {
            if let Some(n) = bytes[colon + 1..sign]
                .iter()
                .position(|&b| b != b'%' && (!is_user_byte(b) || matches!(b, b';' | b'?' | b'/')))
            {
                return Err(error("the password holds a character that must be escaped", SIP_URI, colon + 1 + n));
            }
            *escaped = true;
            password = Some(Span::new(colon + 1, sign));
        }
        host = sign + 1;
    }
    let host_end = host_end(bytes, host, SIP_URI)?;
    let mut at = host_end;
    let mut port = None;
    if bytes.get(at) == Some(&b':') {
        let digits = at + 1;
        at = digits_end(bytes, digits);
        port =
            Some(parse_port(&bytes[digits..at]).ok_or_else(|| error("the port is not 0 to 65535", SIP_URI, digits))?);
    }
    let params = at;
    let mut headers = None;
    if at < bytes.len() {
        if !matches!(bytes[at], b';' | b'?') {
            return Err(error("expected `;`, `?` or the end after the host", SIP_URI, at));
        }
        at = check_params(bytes, params, escaped)?;
        if at < bytes.len() {
            if bytes[at] != b'?' {
                return Err(error(UNESCAPED_PARAM, SIP_URI, at));
            }
            *escaped = true;
            check_headers(bytes, at + 1)?;
            headers = Some(offset(at + 1));
        }
    }
    Ok(Parts {
        kind: Kind::Sip,
        port,
        scheme: offset(scheme),
        user,
        password,
        host: Span::new(host, host_end),
        params: Span::new(params, at),
        headers,
    })
}

#[inline]
fn digits_end(bytes: &[u8], at: usize) -> usize {
    first_that(bytes, at, |b| !b.is_ascii_digit())
}

fn read_tel(bytes: &[u8], scheme: usize, escaped: &mut bool) -> Result<Parts, ParseError> {
    let start = scheme + 1;
    let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
    let number = &bytes[start..end];
    if let Some(at) = number
        .iter()
        .position(|&b| !(b.is_ascii_hexdigit() || matches!(b, b'+' | b'*' | b'#' | b'-' | b'.' | b'(' | b')' | b'%')))
    {
        return Err(error("this is no character of a telephone number", "RFC 3966 §3", start + at));
    }
    if !number.iter().any(|b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')) {
        return Err(error("the telephone number is empty", "RFC 3966 §3", start));
    }
    *escaped = true;
    let after = check_params(bytes, end, escaped)?;
    if after < bytes.len() {
        return Err(error(UNESCAPED_PARAM, SIP_URI, after));
    }
    Ok(Parts {
        kind: Kind::Tel,
        port: None,
        scheme: offset(scheme),
        user: Some(Span::new(start, end)),
        password: None,
        host: Span::new(end, end),
        params: Span::new(end, bytes.len()),
        headers: None,
    })
}

impl fmt::Display for UriRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl From<UriRef<'_>> for Uri {
    fn from(uri: UriRef<'_>) -> Self {
        uri.to_uri()
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Uri {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

fn split_pair(pair: &str) -> (&str, Option<&str>) {
    pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)))
}

/// Whether every byte may stand in a URI and every `%` is followed by two hexadecimal digits.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<(), ParseError> {
    // Most URIs hold no escape, and then this one look at each byte is all.
    if first_that(bytes, 0, |b| class::TABLE[usize::from(b)] & class::URI == 0 || b == b'%') == bytes.len() {
        return Ok(());
    }
    for (at, &b) in bytes.iter().enumerate() {
        if class::TABLE[usize::from(b)] & class::URI == 0 && b != b'#' {
            return Err(error("this character cannot stand in a URI unescaped", "RFC 3986 §2", at));
        }
        if b == b'%' && !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(error("`%` must be followed by two hexadecimal digits", "RFC 3986 §2.1", at));
        }
    }
    Ok(())
}

/// Parameters that change where a request goes; that one of them occurs twice is how two elements come to disagree.
const ROUTING_PARAMS: [&str; 6] = ["lr", "ttl", "user", "maddr", "method", "transport"];

const UNESCAPED_PARAM: &str = "a parameter of the URI holds a character that must be escaped";

/// Checks the parameters from `at` on and tells where they end: before `?` or a character that no parameter holds, or at
/// the end.
fn check_params(bytes: &[u8], mut at: usize, escaped: &mut bool) -> Result<usize, ParseError> {
    let first = at;
    // Names that are the same are of the same length; a bit for each length that was seen.
    let mut lengths = 0_u32;
    let mut same_length = false;
    while bytes.get(at) == Some(&b';') {
        let start = at + 1;
        let equals = part_end(bytes, start, class::URI_PARAM, escaped);
        let mut end = equals;
        if bytes.get(equals) == Some(&b'=') {
            // `=` in a value is against the grammar, but base64 in parameters is common and nothing is mistaken by it.
            while bytes.get(end) == Some(&b'=') {
                end = part_end(bytes, end + 1, class::URI_PARAM, escaped);
            }
            if end == equals + 1 {
                return Err(error("a parameter of the URI has `=` but no value", SIP_URI, end));
            }
        }
        if equals == start {
            return Err(error("a parameter of the URI has no name", SIP_URI, start));
        }
        let length = 1_u32.checked_shl((equals - start) as u32).unwrap_or_default();
        same_length |= lengths & length != 0;
        lengths |= length;
        at = end;
    }
    if same_length {
        check_doubled(bytes, first, at)?;
    }
    Ok(at)
}

/// Refuses one of [`ROUTING_PARAMS`] that occurs twice in the parameters from `first` to `end`.
#[cold]
fn check_doubled(bytes: &[u8], first: usize, end: usize) -> Result<(), ParseError> {
    let mut seen = [false; ROUTING_PARAMS.len()];
    let mut at = first;
    for param in bytes[first..end].split(|&b| b == b';').skip(1) {
        let start = at + 1;
        at = start + param.len();
        let name = param.split(|&b| b == b'=').next().unwrap_or_default();
        if let Some(n) = ROUTING_PARAMS.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            && core::mem::replace(&mut seen[n], true)
        {
            return Err(error("a parameter of the URI occurs twice", SIP_URI, start));
        }
    }
    Ok(())
}

fn check_headers(bytes: &[u8], start: usize) -> Result<(), ParseError> {
    let mut at = start;
    loop {
        let end = memchr::memchr(b'&', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let pair = &bytes[at..end];
        match memchr::memchr(b'=', pair) {
            None | Some(0) => return Err(error("a header of the URI is not name=value", SIP_URI, at)),
            Some(_) => {}
        }
        if let Some(n) = pair.iter().position(|&b| {
            !(b.is_ascii_alphanumeric()
                || matches!(b, b'%' | b'=' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
                || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$'))
        }) {
            return Err(error("a header of the URI holds a character that must be escaped", SIP_URI, at + n));
        }
        if end == bytes.len() {
            return Ok(());
        }
        at = end + 1;
    }
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn escaped_byte(bytes: &[u8], at: usize) -> Option<u8> {
    if bytes.get(at) != Some(&b'%') {
        return None;
    }
    Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?)
}

/// `text` with every `%HH` resolved (RFC 3986 §2.1). Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if let Some(value) = escaped_byte(bytes, at) {
            plain.push(value);
            at += 3;
        } else {
            plain.push(b);
            at += 1;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// `text` as it stands in the user part of a `sip` URI: everything that may not stand there as it is becomes `%HH`.
#[must_use]
pub fn escape_user(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(text.len());
    for &b in text.as_bytes() {
        if is_user_byte(b) {
            escaped.push(char::from(b));
        } else {
            escaped.push('%');
            escaped.push(char::from(HEX[usize::from(b >> 4)]));
            escaped.push(char::from(HEX[usize::from(b & 15)]));
        }
    }
    escaped
}

/// `text` as it stands in the value of a header of a URI (RFC 3261 §25.1, `hvalue`): what is not unreserved becomes `%HH`.
pub(crate) fn escape_header(text: &str) -> String {
    use core::fmt::Write as _;

    let mut escaped = String::with_capacity(text.len() + 8);
    for &b in text.as_bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')') {
            escaped.push(char::from(b));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{b:02X}");
        }
    }
    escaped
}

/// Resolves the escapes of what is not reserved and writes the others in upper case, so that equal text means equal
/// (RFC 3261 §19.1.4: a character outside of `reserved` equals its escape, others do not).
fn normalized(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        match escaped_byte(bytes, at) {
            Some(value) => {
                let reserved = matches!(value, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',');
                let plain = value.is_ascii_graphic() && !reserved && value != b'%';
                if plain {
                    out.push(char::from(value));
                } else {
                    out.push_str(&text[at..at + 3].to_ascii_uppercase());
                }
                at += 3;
            }
            None => {
                out.push(char::from(b));
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// A telephone number without its visual separators, in lower case (RFC 3966 §4).
fn plain_number(number: Option<&str>) -> impl Iterator<Item = u8> {
    number.unwrap_or("").bytes().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')).map(|b| b.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn parts_are_found() {
        // text, scheme, user, password, host, port
        let cases = [
            ("sip:alice@atlanta.com", "sip", Some("alice"), None, "atlanta.com", None),
            ("SIPS:a:b@h:5061;transport=tcp?x=y&z=", "SIPS", Some("a"), Some("b"), "h", Some(5061)),
            ("sip:[2001:db8::1]:5060;lr", "sip", None, None, "[2001:db8::1]", Some(5060)),
            ("sip:a@[2001:db8:::192.0.2.1]", "sip", Some("a"), None, "[2001:db8:::192.0.2.1]", None),
            (
                "sip:user;par=u%40example.net@example.com",
                "sip",
                Some("user;par=u%40example.net"),
                None,
                "example.com",
                None,
            ),
            (
                "sip:sips%3Auser%40example.com@example.net",
                "sip",
                Some("sips%3Auser%40example.com"),
                None,
                "example.net",
                None,
            ),
            (
                "sip:+1-212-555-1212:1234@gateway.com;user=phone",
                "sip",
                Some("+1-212-555-1212"),
                Some("1234"),
                "gateway.com",
                None,
            ),
            ("tel:+358-555-1234567;postd=pp22", "tel", Some("+358-555-1234567"), None, "", None),
            ("urn:service:sos", "urn", None, None, "", None),
            ("isbn:2983792873", "isbn", None, None, "", None),
            ("http://www.example.com/a?b", "http", None, None, "", None),
        ];
        for (text, scheme, user, password, host, port) in cases {
            let uri = uri(text);
            assert_eq!((uri.scheme(), uri.user(), uri.password()), (scheme, user, password), "{text}");
            assert_eq!((uri.host(), uri.port(), uri.to_string().as_str()), (host, port, text), "{text}");
        }
        let full = uri("sip:%41@h;a;b=%20;transport=ws?To=sip:b%40h&X=");
        assert_eq!(full.user_unescaped().as_deref(), Some("A"));
        assert_eq!(full.params().collect::<Vec<_>>(), [("a", None), ("b", Some("%20")), ("transport", Some("ws"))]);
        assert_eq!(
            (full.param("A"), full.param("B").flatten().as_deref(), full.param("c")),
            (Some(None), Some(" "), None)
        );
        assert_eq!(full.headers().collect::<Vec<_>>(), [("To", "sip:b%40h"), ("X", "")]);
        // The same name twice only matters where routing stands on it.
        assert_eq!(uri("sip:h:5060;ab;cd;ab=1").params().count(), 3);
        assert_eq!(uri("tel:7;phone-context=+1").param("phone-context").flatten().as_deref(), Some("+1"));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            ":",
            "sip",
            "sip:",
            "bob",
            "1sip:a",
            "sip:@h",
            "sip:a@",
            "sip:a@@h",
            "sip:a b@h",
            "sip:a@h:",
            "sip:a@h:65536",
            "sip:a@h:x",
            "sip:a@h;",
            "sip:a@h;;lr",
            "sip:a@h;=x",
            "sip:a@h;x=",
            "sip:a@h;lr;LR",
            "sip:a@h;lr=1;ab;x;lr",
            "sip:h:5060;x=a@b",
            "sip:h:5060?x=a@b",
            "sip:h:5060;x@b",
            "sip:a@h;transport=ws;transport=wss",
            "sip:a@h?",
            "sip:a@h?x",
            "sip:a@h?=x",
            "sip:%4@h",
            "sip:%zz@h",
            "sip:a%",
            "sip:ö@h",
            "sip:\"a\"@h",
            "<sip:a@h>",
            "sip:[::1",
            "sip:[::g]",
            "sip:[2001:db8:::1]",
            "sip:[::::192.0.2.1]",
            "sip:::1",
            "sip:a@h/x",
            "sip:a#b@h",
            "sip:a@h\r\n",
            "sip:a\0@h",
            "tel:",
            "tel:+",
            "tel:Ж",
            "tel:+7x",
            "sip:a@h?x=y&",
            "sip:a:b;c@h",
        ] {
            assert!(Uri::parse(text).is_err(), "{text:?}");
        }
    }

    /// The examples of RFC 3261 §19.1.4 and the rules that they stand for.
    #[test]
    fn equivalence_is_that_of_the_rfc() {
        let cases = [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
                true,
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
                true,
            ),
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
            ("sip:a@h", "sips:a@h", false),
            ("sip:a@h;maddr=x", "sip:a@h", false),
            ("sip:a%3ab@h", "sip:a%3Ab@h", true),
            ("sip:a%2fb@h", "sip:a/b@h", false),
            ("sip:a:pw@h", "sip:a@h", false),
            ("sip:a@h;x=%5B1%5D", "sip:a@h;x=[1]", true),
            ("sip:a%25@h", "sip:a%2525@h", false),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0:0::1]", true),
            ("sip:a@[2001:db8::192.0.2.1]", "sip:a@[2001:db8:::192.0.2.1]", true),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]", false),
            ("sip:a@h?To=x&X=y", "sip:a@h?x=y&TO=x", true),
            ("sip:a@h?X=y", "sip:a@h?X=Y", false),
            ("sip:a@h;lr", "sip:a@h;LR", true),
            ("sip:a@h;user=phone", "sip:a@h", false),
            ("sip:a@h;ttl=1", "sip:a@h", false),
            ("sip:a@h;method=INVITE", "sip:a@h", false),
            ("sip:h", "sip:a@h", false),
            ("tel:+7-495-1", "TEL:+74951", true),
            ("tel:+1;ext=1-2", "tel:+1;EXT=12", true),
            ("tel:1;phone-context=+7(495)", "tel:1;phone-context=+7495", true),
            ("tel:1;phone-context=a-b.example", "tel:1;phone-context=ab.example", false),
            ("tel:1;phone-context=A.example;x=y", "tel:1;x=Y;phone-context=a.example", true),
            ("tel:+1", "tel:1", false),
            ("tel:1;phone-context=+7", "tel:1", false),
            ("urn:a:B", "URN:a:B", true),
            ("urn:a:B", "urn:a:b", false),
        ];
        for (a, b, same) in cases {
            assert_eq!(uri(a).equivalent(&uri(b)), same, "{a} {b}");
            assert_eq!(uri(b).equivalent(&uri(a)), same, "{b} {a}");
            assert!(uri(a).equivalent(&uri(a)));
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "(sip|sips|tel|urn):[ -~ж]{0,40}") {
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert_eq!(uri.to_string(), text);
                prop_assert!(uri.equivalent(&uri));
                let _ = (uri.params().count(), uri.headers().count(), uri.user_unescaped());
            }
        }

        #[test]
        fn any_user_can_be_escaped(user in ".{1,20}") {
            let uri = Uri::parse(&format!("sip:{}@h", escape_user(&user))).unwrap();
            prop_assert_eq!(uri.user_unescaped().unwrap(), user);
        }
    }
}
