//! Header names and the typed values of the headers that routing and dialogs stand on.
//!
//! Typed values borrow from the message that they were read from; only a folded value (RFC 3261 §7.3.1) is copied.

mod date;
mod value;

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;
use std::borrow::Cow;

pub use date::SipDate;
pub use value::{
    DialogReference, Event, MAX_DELTA_SECONDS, Preference, RAck, Reason, Refresher, RetryAfter, SessionExpires,
    TokenParams, Warning, parse_delta_seconds, parse_qvalue,
};

use class::Classes;

use crate::error::ParseError;
use crate::header_field::HeaderName;
use crate::sip::message::Method;
use crate::sip::uri::{Uri, UriRef};

macro_rules! names {
    ($($variant:ident $long:literal $($compact:literal)?,)*) => {
        /// A header name that this crate knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = concat!("`", $long, "`" $(, ", compact form `", $compact, "`")?, ".")] $variant,)*
        }

        impl Name {
            /// Every name, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const LINE_STARTS: &'static [&'static str] = &[$(concat!($long, ": "),)*];

            /// How a header line of this name begins: the long form, colon, blank.
            #[inline]
            pub(crate) const fn line_start(self) -> &'static str {
                // The variants are numbered in the order of the list.
                Self::LINE_STARTS[self as usize]
            }

            /// The long form as the RFCs write it.
            #[inline]
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                let start = self.line_start();
                start.split_at(start.len() - ": ".len()).0
            }

            /// The compact form (RFC 3261 §7.3.3), if there is one.
            #[must_use]
            pub const fn compact(self) -> Option<&'static str> {
                match self {
                    $($(Self::$variant => Some($compact),)?)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq",
    Contact "Contact" "m",
    RecordRoute "Record-Route",
    Route "Route",
    MaxForwards "Max-Forwards",
    ContentType "Content-Type" "c",
    ContentLength "Content-Length" "l",
    ContentEncoding "Content-Encoding" "e",
    ContentDisposition "Content-Disposition",
    ContentLanguage "Content-Language",
    ContentId "Content-ID",
    Expires "Expires",
    MinExpires "Min-Expires",
    RetryAfter "Retry-After",
    WwwAuthenticate "WWW-Authenticate",
    Authorization "Authorization",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    AuthenticationInfo "Authentication-Info",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AcceptContact "Accept-Contact" "a",
    RejectContact "Reject-Contact" "j",
    RequestDisposition "Request-Disposition" "d",
    Allow "Allow",
    AllowEvents "Allow-Events" "u",
    Event "Event" "o",
    Supported "Supported" "k",
    Require "Require",
    ProxyRequire "Proxy-Require",
    Unsupported "Unsupported",
    Reason "Reason",
    Warning "Warning",
    UserAgent "User-Agent",
    Server "Server",
    Date "Date",
    Subject "Subject" "s",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    ReferSub "Refer-Sub",
    Replaces "Replaces",
    Join "Join",
    TargetDialog "Target-Dialog",
    SessionExpires "Session-Expires" "x",
    MinSe "Min-SE",
    RSeq "RSeq",
    RAck "RAck",
    SubscriptionState "Subscription-State",
    InfoPackage "Info-Package",
    RecvInfo "Recv-Info",
    Path "Path",
    ServiceRoute "Service-Route",
    FlowTimer "Flow-Timer",
    Privacy "Privacy",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    Identity "Identity" "y",
    HistoryInfo "History-Info",
    Diversion "Diversion",
    UserToUser "User-to-User",
    AlertInfo "Alert-Info",
    CallInfo "Call-Info",
    ErrorInfo "Error-Info",
    InReplyTo "In-Reply-To",
    ReplyTo "Reply-To",
    MimeVersion "MIME-Version",
    Organization "Organization",
    Priority "Priority",
    Timestamp "Timestamp",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    XCustomerData "X-Customer-Data",
    XDisplayFrom "X-Display-From",
    XDisplayTo "X-Display-To",
    XCallTag "X-Call-Tag",
    XApplicationName "X-Application-Name",
    XLang "X-Lang",
    XReason "X-Reason",
}

/// Slots of the name table; a power of two, sparse enough that most names are found at the first look.
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// The first bytes of a name, eight in a word, what is missing being zero: names are looked up by words, not by bytes.
/// All known names but one fit.
pub(crate) type NameWords = [u64; 3];

/// Maps the hash of a long or compact name to its index in [`Name::ALL`], with linear probing.
static TABLE: [u8; SLOTS] = build_table();

/// [`Name::ALL`] in words, as the RFCs write the names.
static IN_WORDS: [NameWords; Name::ALL.len()] = build_words();

const fn in_words(name: &[u8]) -> NameWords {
    let mut words = [0; 3];
    let mut i = 0;
    while i < name.len() && i < 24 {
        words[i / 8] |= (name[i] as u64) << (i % 8 * 8);
        i += 1;
    }
    words
}

const fn hash(words: &NameWords, len: usize) -> usize {
    // Lower-cases letters; merges a few other characters, which the comparison afterwards tells apart.
    const LOWER: u64 = u64::from_ne_bytes([0x20; 8]);
    let mixed = (words[0] | LOWER) ^ (words[1] | LOWER).rotate_left(29) ^ len as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.ilog2())) as usize
}

const fn build_table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut i = 0;
    while i < Name::ALL.len() {
        insert(&mut table, Name::ALL[i].as_str().as_bytes(), i);
        if let Some(compact) = Name::ALL[i].compact() {
            insert(&mut table, compact.as_bytes(), i);
        }
        i += 1;
    }
    table
}

const fn insert(table: &mut [u8; SLOTS], name: &[u8], index: usize) {
    let mut slot = hash(&in_words(name), name.len());
    while table[slot] != EMPTY {
        slot = (slot + 1) % SLOTS;
    }
    table[slot] = index as u8;
}

const fn build_words() -> [NameWords; Name::ALL.len()] {
    let mut words = [[0; 3]; Name::ALL.len()];
    let mut i = 0;
    while i < words.len() {
        words[i] = in_words(Name::ALL[i].as_str().as_bytes());
        i += 1;
    }
    words
}

impl Name {
    /// The name written as `text`, long or compact, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    pub(crate) fn from_bytes(name: &[u8]) -> Option<Self> {
        Self::from_words(&in_words(name), name)
    }

    /// As [`Name::from_bytes`] for a caller that has the words of `name` already.
    #[inline]
    pub(crate) fn from_words(words: &NameWords, name: &[u8]) -> Option<Self> {
        // A page has few messages, and would rather have no tables.
        if cfg!(target_arch = "wasm32") {
            return Self::ALL.iter().copied().find(|candidate| candidate.is_written(name));
        }
        let mut slot = hash(words, name.len());
        loop {
            let index = usize::from(TABLE[slot]);
            let candidate = *Self::ALL.get(index)?;
            // Nearly every name is written as the RFCs write it.
            let long_len = candidate.line_start().len() - ": ".len();
            let as_is = IN_WORDS[index] == *words && name.len() == long_len && long_len <= 24;
            if as_is || candidate.is_written(name) {
                return Some(candidate);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether `name` is this name, long or compact, in any case.
    #[inline(never)]
    fn is_written(self, name: &[u8]) -> bool {
        self.as_str().as_bytes().eq_ignore_ascii_case(name)
            || self.compact().is_some_and(|compact| compact.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a header to be sent: one that this crate knows, or any other token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// A known name, written in its long form.
    Known(Name),
    /// Any other.
    Other(HeaderName),
}

impl FieldName {
    /// The name as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Other(name) => name.as_str(),
        }
    }
}

impl From<Name> for FieldName {
    fn from(name: Name) -> Self {
        Self::Known(name)
    }
}

impl From<HeaderName> for FieldName {
    fn from(name: HeaderName) -> Self {
        Name::parse(name.as_str()).map_or(Self::Other(name), Self::Known)
    }
}

/// Character classes of RFC 3261 §25.1 and RFC 3986, one bit each.
pub(crate) mod class {
    /// A set of classes.
    pub(crate) type Classes = u16;

    pub(crate) const TOKEN: Classes = 1;
    /// What may stand in a URI at all (reserved, unreserved, `%`).
    pub(crate) const URI: Classes = 2;
    /// What ends an unquoted parameter value.
    pub(crate) const PARAM_END: Classes = 4;
    /// What may stand in the user part of a `sip` URI unescaped: unreserved and user-unreserved.
    pub(crate) const USER: Classes = 8;
    /// What may stand in a parameter of a URI unescaped: unreserved and param-unreserved.
    pub(crate) const URI_PARAM: Classes = 16;
    /// What a host name is made of. `_` is not in the grammar but in real networks.
    pub(crate) const HOST: Classes = 32;
    /// `%` alone, which begins an escape.
    pub(crate) const PERCENT: Classes = 64;
    /// What ends a URI in angle brackets: `>`, or what is wrong in one.
    pub(crate) const BRACKETED_END: Classes = 128;
    /// What may stand in a URI, but for `%` and `?`, which ask for a closer look.
    pub(crate) const PLAIN_URI: Classes = 256;
    pub(crate) static TABLE: [Classes; 256] = build();

    const fn build() -> [Classes; 256] {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let b = i as u8;
            if b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
            {
                table[i] |= TOKEN;
            }
            if b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'%')
                || matches!(b, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',' | b'[' | b']')
            {
                table[i] |= URI;
                if !matches!(b, b'%' | b'?') {
                    table[i] |= PLAIN_URI;
                }
            }
            let unreserved =
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
            if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/') {
                table[i] |= USER;
            }
            if unreserved || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$') {
                table[i] |= URI_PARAM;
            }
            if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_') {
                table[i] |= HOST;
            }
            if matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b';' | b',' | b'"' | b'<' | b'>') {
                table[i] |= PARAM_END;
            }
            if b == b'%' {
                table[i] |= PERCENT;
            }
            if b <= b' ' || matches!(b, b'<' | b'>' | b'"' | 0x7f) {
                table[i] |= BRACKETED_END;
            }
            i += 1;
        }
        table
    }
}

/// Where the bytes from `at` on end that are of one of the classes in `mask`.
#[inline]
pub(crate) fn class_end(bytes: &[u8], at: usize, mask: Classes) -> usize {
    first_that(bytes, at, |b| class::TABLE[usize::from(b)] & mask == 0)
}

/// Where the first byte from `at` on stands that is of one of the classes in `mask`, or the end.
#[inline]
fn class_start(bytes: &[u8], at: usize, mask: Classes) -> usize {
    first_that(bytes, at, |b| class::TABLE[usize::from(b)] & mask != 0)
}

/// Where the first byte from `at` on stands of which `holds` is true, or the end. Most bytes of an address pass through
/// here, hence four of them a round.
#[inline]
pub(crate) fn first_that(bytes: &[u8], mut at: usize, holds: impl Fn(u8) -> bool) -> usize {
    let (fours, rest) = bytes.get(at..).unwrap_or_default().as_chunks::<4>();
    for &[a, b, c, d] in fours {
        if holds(a) {
            return at;
        }
        if holds(b) {
            return at + 1;
        }
        if holds(c) {
            return at + 2;
        }
        if holds(d) {
            return at + 3;
        }
        at += 4;
    }
    for &b in rest {
        if holds(b) {
            return at;
        }
        at += 1;
    }
    at
}

/// Bytes eight at a time, in one word. Values are short, and a call of memchr costs as much as a look at a hundred bytes.
pub(crate) mod word {
    pub(crate) const BYTES: usize = 8;
    const HIGHEST_BITS: u64 = each(0x80);

    /// `b` in each byte.
    pub(crate) const fn each(b: u8) -> u64 {
        u64::from_ne_bytes([b; BYTES])
    }

    /// Where the first byte is that is `b`.
    #[inline]
    pub(crate) const fn position_of(word: u64, b: u8) -> Option<usize> {
        position_below(word ^ each(b), 1)
    }

    /// Where the first byte is that is below `limit`, which is at most 128.
    #[inline]
    pub(crate) const fn position_below(word: u64, limit: u8) -> Option<usize> {
        // A byte below borrows into its highest bit. What borrows because of that stands behind it, and does not count.
        let marks = word.wrapping_sub(each(limit)) & !word & HIGHEST_BITS;
        if marks == 0 { None } else { Some((marks.trailing_zeros() / u8::BITS) as usize) }
    }
}

/// Where the first `b` from `at` on stands.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], mut at: usize, b: u8) -> Option<usize> {
    let (words, rest) = bytes.get(at..)?.as_chunks::<{ word::BYTES }>();
    for eight in words {
        if let Some(n) = word::position_of(u64::from_le_bytes(*eight), b) {
            return Some(at + n);
        }
        at += word::BYTES;
    }
    rest.iter().position(|&other| other == b).map(|n| at + n)
}

#[inline]
pub(crate) fn is_token_byte(b: u8) -> bool {
    class::TABLE[usize::from(b)] & class::TOKEN != 0
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_end(bytes, 0) == bytes.len()
}

#[inline]
pub(crate) fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// Reads decimal digits; `None` if there are none, something else is among them, or the number exceeds `max`.
pub(crate) fn parse_decimal(bytes: &[u8], max: u64) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &b in bytes {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
        if value > max {
            return None;
        }
    }
    Some(value)
}

const fn error(problem: &'static str, rule: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule, offset }
}

/// Where a part of a value stands. 32 bits are enough for what comes in messages; longer text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Offsets fit since no value is longer than `u32::MAX`; whoever makes spans refuses those first.
    #[inline]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(crate) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self::new(range.start, range.end)
    }
}

fn check_length(text: &str, rule: &'static str) -> Result<(), ParseError> {
    if u32::try_from(text.len()).is_ok() { Ok(()) } else { Err(error("the value is too long", rule, 0)) }
}

/// Whether `name` is `known`, which is in lower case, as nearly everyone writes it.
#[inline]
fn is_name<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    name == known || name.eq_ignore_ascii_case(known)
}

#[inline]
fn token_end(bytes: &[u8], at: usize) -> usize {
    class_end(bytes, at, class::TOKEN)
}

#[inline]
pub(crate) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).copied().is_some_and(is_blank) {
        at += 1;
    }
    at
}

/// `at` stands on the opening quote; the result is the position after the closing one.
fn skip_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        i += memchr::memchr2(b'"', b'\\', bytes.get(i..)?)?;
        if bytes[i] == b'"' {
            return Some(i + 1);
        }
        i += 2;
    }
}

/// What stands between the quotes of a `quoted-string`, escapes resolved (RFC 3261 §25.1). `text` is with its quotes.
#[must_use]
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    Cow::Owned(plain)
}

/// `text` as a `quoted-string`: in quotes, with `"` and `\` escaped and control characters replaced by spaces.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_ascii_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Where the element that begins at `start` ends: at a comma outside of quotes and angle brackets, or at the end.
pub(crate) fn element_end(bytes: &[u8], start: usize) -> usize {
    // Most lists have one element; looking for a comma at all is much quicker than looking at quotes and brackets.
    if find_byte(bytes, start, b',').is_none() {
        return bytes.len();
    }
    let mut in_brackets = false;
    let mut i = start;
    while let Some(&b) = bytes.get(i) {
        match b {
            // In a URI a quote is no quote (and not allowed), so it hides no bracket.
            b'"' if !in_brackets => match skip_quoted(bytes, i) {
                Some(after) => {
                    i = after;
                    continue;
                }
                None => return bytes.len(),
            },
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            b',' if !in_brackets => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// The elements of a comma list (RFC 3261 §7.3.1), split outside of quotes and angle brackets, trimmed. Empty elements
/// are among them.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: Cow<'a, str>,
    next: Option<usize>,
}

impl<'a> Elements<'a> {
    /// The elements of `text`.
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), next: Some(0) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let start = self.next?;
        let end = element_end(self.text.as_bytes(), start);
        self.next = (end < self.text.len()).then_some(end + 1);
        Some(match &self.text {
            Cow::Borrowed(text) => Cow::Borrowed(trim_blanks(&text[start..end])),
            Cow::Owned(text) => Cow::Owned(trim_blanks(&text[start..end]).to_owned()),
        })
    }
}

/// `text` without the blanks round it, byte by byte: [`str::trim_matches`] decodes characters.
fn trim_blanks(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut end = bytes.len();
    while start < end && is_blank(bytes[start]) {
        start += 1;
    }
    while end > start && is_blank(bytes[end - 1]) {
        end -= 1;
    }
    &text[start..end]
}

/// One `;name=value` of a header or URI, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name.
    pub name: &'a str,
    /// The value, quotes and escapes included; `None` where there is no `=`.
    pub value: Option<&'a str>,
}

impl<'a> Param<'a> {
    /// The value without quotes and escapes.
    #[must_use]
    pub fn unquoted(&self) -> Option<Cow<'a, str>> {
        self.value.map(unquote)
    }
}

/// Reads `*( ; name [= value] )` from `at` to the end of `text`, blanks allowed between all parts.
#[derive(Debug, Clone)]
pub struct Params<'a> {
    text: &'a str,
    at: usize,
    rule: &'static str,
}

impl<'a> Params<'a> {
    pub(crate) fn new(text: &'a str, at: usize, rule: &'static str) -> Self {
        Self { text, at, rule }
    }

    pub(crate) fn step(&mut self) -> Result<Option<Param<'a>>, ParseError> {
        let Some(param) = param_at(self.text.as_bytes(), self.at, self.rule)? else { return Ok(None) };
        self.at = param.end;
        let value = param.value.map(|value| &self.text[value]);
        Ok(Some(Param { name: &self.text[param.name], value }))
    }

    /// Reads all of them.
    pub(crate) fn check(mut self) -> Result<(), ParseError> {
        while self.step()?.is_some() {}
        Ok(())
    }

    pub(crate) fn named(mut self, name: &str) -> Option<Param<'a>> {
        self.find(|p| p.name.eq_ignore_ascii_case(name))
    }
}

/// Where one parameter stands.
struct ParamAt {
    name: Range<usize>,
    value: Option<Range<usize>>,
    /// Where the next one begins.
    end: usize,
}

/// Reads the parameter that begins at `at`; `None` if nothing follows.
#[inline]
fn param_at(bytes: &[u8], at: usize, rule: &'static str) -> Result<Option<ParamAt>, ParseError> {
    let semicolon = skip_blanks(bytes, at);
    match bytes.get(semicolon) {
        None => return Ok(None),
        Some(b';') => {}
        Some(_) => return Err(error("expected `;` before a parameter", rule, semicolon)),
    }
    let name = skip_blanks(bytes, semicolon + 1);
    let name_end = token_end(bytes, name);
    if name_end == name {
        return Err(error("a parameter has no name", rule, name));
    }
    let equals = skip_blanks(bytes, name_end);
    if bytes.get(equals) != Some(&b'=') {
        return Ok(Some(ParamAt { name: name..name_end, value: None, end: equals }));
    }
    let value = skip_blanks(bytes, equals + 1);
    let end = if bytes.get(value) == Some(&b'"') {
        skip_quoted(bytes, value).ok_or_else(|| error("a quoted string has no end", rule, value))?
    } else {
        // Wider than `token / host` on purpose: peers write base64, bare IPv6 addresses and URNs here.
        class_start(bytes, value, class::PARAM_END)
    };
    if end == value {
        return Err(error("a parameter has `=` but no value", rule, value));
    }
    Ok(Some(ParamAt { name: name..name_end, value: Some(value..end), end }))
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        if let Ok(param) = self.step() {
            param
        } else {
            // Checked when the value was read; nothing is lost here.
            self.at = self.text.len();
            None
        }
    }
}

/// `From`, `To`, `Contact`, `Route`, `Record-Route`, `Refer-To` and their like: an address with an optional display
/// name and parameters (RFC 3261 §20.10, §25.1), or the `*` of a Contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr<'a> {
    text: Cow<'a, str>,
    display: Span,
    uri: Span,
    params: u32,
    tag: Option<Span>,
}

const NAME_ADDR: &str = "RFC 3261 §20.10";

impl<'a> NameAddr<'a> {
    /// Reads one address.
    ///
    /// # Errors
    ///
    /// [`ParseError`] for an unclosed quote or bracket, white space or nothing where the URI should be, a comma or `?`
    /// in an address without angle brackets, a display name that would have to be quoted, parameters that are none, or
    /// a `tag` that occurs twice.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, ParseError> {
        let text = text.into();
        check_length(&text, NAME_ADDR)?;
        let bytes = text.as_bytes();
        let start = skip_blanks(bytes, 0);
        let (display, uri, params) = if bytes.get(start) == Some(&b'"') {
            let end =
                skip_quoted(bytes, start).ok_or_else(|| error("a quoted display name has no end", NAME_ADDR, start))?;
            let open = skip_blanks(bytes, end);
            if bytes.get(open) != Some(&b'<') {
                return Err(error("expected `<` after a quoted display name", NAME_ADDR, open));
            }
            let (uri, after) = bracketed(bytes, open)?;
            (start..end, uri, after)
        } else if bytes.get(start) == Some(&b'<') {
            let (uri, after) = bracketed(bytes, start)?;
            (start..start, uri, after)
        } else if let Some(open) = memchr::memchr(b'<', bytes).filter(|&at| before_params(&bytes[..at])) {
            let mut end = open;
            while end > start && is_blank(bytes[end - 1]) {
                end -= 1;
            }
            if let Some(at) =
                bytes[start..end].iter().position(|b| matches!(b, b',' | b';' | b'"' | b'>' | b':' | b'@'))
            {
                return Err(error("this display name must be quoted", "RFC 3261 §25.1", start + at));
            }
            let (uri, after) = bracketed(bytes, open)?;
            (start..end, uri, after)
        } else {
            let mut end = start;
            while bytes.get(end).is_some_and(|&b| b != b';' && !is_blank(b)) {
                if matches!(bytes[end], b',' | b'?' | b'<' | b'>' | b'"') {
                    return Err(error(
                        "an address with `,`, `?`, `\"`, `<` or `>` must stand in angle brackets",
                        "RFC 3261 §20",
                        end,
                    ));
                }
                end += 1;
            }
            if end == start {
                return Err(error("the address is empty", NAME_ADDR, start));
            }
            (start..start, start..end, end)
        };
        let (mut tags, mut tag) = (0, None);
        let mut at = params;
        while let Some(param) = param_at(bytes, at, NAME_ADDR)? {
            if is_name(&bytes[param.name], b"tag") {
                tags += 1;
                tag = param.value.map(Span::from);
            }
            at = param.end;
        }
        if tags > 1 {
            return Err(error("`tag` occurs twice", "RFC 3261 §7.3.1", params));
        }
        Ok(Self { text, display: display.into(), uri: uri.into(), params: params as u32, tag })
    }

    /// The whole value as it is written (unfolded).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The display name without quotes and escapes; `None` if there is none or it is empty.
    #[must_use]
    pub fn display_name(&self) -> Option<Cow<'_, str>> {
        Some(unquote(self.display.of(&self.text))).filter(|name| !name.is_empty())
    }

    /// The display name as it is written.
    pub(crate) fn written_display_name(&self) -> &str {
        self.display.of(&self.text)
    }

    /// Whether the URI stands in angle brackets.
    #[must_use]
    pub fn is_bracketed(&self) -> bool {
        self.text.as_bytes().get(self.uri.end as usize) == Some(&b'>')
    }

    /// The URI as it is written, without angle brackets; `*` for the Contact of that form.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.uri.of(&self.text)
    }

    /// Whether it is the Contact `*` (RFC 3261 §10.2.2).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.uri() == "*"
    }

    /// The URI, read.
    ///
    /// # Errors
    ///
    /// [`ParseError`], its offset counted from the start of the URI.
    pub fn parse_uri(&self) -> Result<Uri, ParseError> {
        Uri::parse(self.uri())
    }

    /// The URI, read where it stands.
    ///
    /// # Errors
    ///
    /// [`ParseError`], its offset counted from the start of the URI.
    pub fn parse_uri_ref(&self) -> Result<UriRef<'_>, ParseError> {
        UriRef::parse(self.uri())
    }

    /// The header's parameters, in order (those of the URI are not among them).
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.text, self.params as usize, NAME_ADDR)
    }

    /// A parameter by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        self.params().named(name).map(|p| p.unquoted())
    }

    /// The `tag` (RFC 3261 §19.3).
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.map(|span| span.of(&self.text))
    }
}

impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a `<` that follows `head` opens an address and is not part of a parameter of an address without brackets.
fn before_params(head: &[u8]) -> bool {
    !(head.contains(&b':') && head.contains(&b';'))
}

/// `open` stands on `<`; gives the URI's range and the position after `>`.
fn bracketed(bytes: &[u8], open: usize) -> Result<(Range<usize>, usize), ParseError> {
    let start = open + 1;
    let close = class_start(bytes, start, class::BRACKETED_END);
    if bytes.get(close) != Some(&b'>') {
        return Err(if memchr::memchr(b'>', &bytes[open..]).is_none() {
            error("`<` has no `>`", NAME_ADDR, open)
        } else {
            error("a URI holds no white space, quotes or brackets", "RFC 3261 §25.1", close)
        });
    }
    if close == start {
        return Err(error("the address is empty", NAME_ADDR, open));
    }
    Ok((start..close, close + 1))
}

/// One `Via` (RFC 3261 §20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via<'a> {
    text: Cow<'a, str>,
    transport: Span,
    host: Span,
    port: Option<u16>,
    params: u32,
    branch: Option<Span>,
}

const VIA: &str = "RFC 3261 §20.42";

impl<'a> Via<'a> {
    /// Reads one element of a `Via` list.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `SIP/2.0/transport host[:port] *(;param)`, blanks around the separators allowed, or
    /// if `branch` occurs twice.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, ParseError> {
        let text = text.into();
        check_length(&text, VIA)?;
        let bytes = text.as_bytes();
        let transport = if bytes.starts_with(b"SIP/2.0/") { 8 } else { after_protocol(bytes)? };
        let (transport, at) = token_at(bytes, transport)?;
        let host_start = skip_blanks(bytes, at);
        if host_start == at {
            return Err(error("expected a blank after the transport", VIA, at));
        }
        let host_end = host_end(bytes, host_start, VIA)?;
        let host = Span::new(host_start, host_end);
        let mut params = skip_blanks(bytes, host_end);
        let mut port = None;
        if bytes.get(params) == Some(&b':') {
            let start = skip_blanks(bytes, params + 1);
            let mut end = start;
            while bytes.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
            port = Some(parse_port(&bytes[start..end]).ok_or_else(|| error("the port is not 0 to 65535", VIA, start))?);
            params = end;
        }
        let (mut branches, mut branch) = (0, None);
        let mut at = params;
        while let Some(param) = param_at(bytes, at, VIA)? {
            if is_name(&bytes[param.name], b"branch") {
                branches += 1;
                branch = param.value.map(Span::from);
            }
            at = param.end;
        }
        if branches > 1 {
            return Err(error("`branch` occurs twice", "RFC 3261 §7.3.1", params));
        }
        Ok(Self { text, transport: transport.into(), host, port, params: params as u32, branch })
    }

    /// The whole value as it is written (unfolded).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The transport as it is written, such as `WSS`. Compare without regard to case.
    #[must_use]
    pub fn transport(&self) -> &str {
        self.transport.of(&self.text)
    }

    /// The host of `sent-by`; an IPv6 address is in its brackets.
    #[must_use]
    pub fn sent_by_host(&self) -> &str {
        self.host.of(&self.text)
    }

    /// The port of `sent-by`, if one is written.
    #[must_use]
    pub fn sent_by_port(&self) -> Option<u16> {
        self.port
    }

    /// The `branch`, with its `z9hG4bK` if it has one (RFC 3261 §8.1.1.7).
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.map(|span| span.of(&self.text))
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.text, self.params as usize, VIA)
    }

    /// A parameter by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        self.params().named(name).map(|p| p.unquoted())
    }
}

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where the transport of a Via may begin: after `SIP/2.0/`, blanks allowed between its parts.
fn after_protocol(bytes: &[u8]) -> Result<usize, ParseError> {
    let (protocol, at) = token_at(bytes, 0)?;
    let (version, at) = token_at(bytes, slash_at(bytes, at)?)?;
    if !bytes[protocol.clone()].eq_ignore_ascii_case(b"SIP") || bytes[version] != *b"2.0" {
        return Err(error("the protocol of a Via is SIP/2.0", VIA, protocol.start));
    }
    slash_at(bytes, at)
}

fn token_at(bytes: &[u8], at: usize) -> Result<(Range<usize>, usize), ParseError> {
    let start = skip_blanks(bytes, at);
    let end = token_end(bytes, start);
    if end == start { Err(error("expected a token", VIA, start)) } else { Ok((start..end, end)) }
}

fn slash_at(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&b'/') { Ok(at + 1) } else { Err(error("expected `/`", VIA, at)) }
}

/// An IPv6 address. Three colons before an embedded IPv4 address are read as two: RFC 3261 took them over from a grammar
/// with that mistake, and RFC 5118 §4.10 asks for both to be read.
pub(crate) fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let at = text.as_bytes().windows(3).position(|three| three == b":::")?;
    let (head, tail) = (&text[..at], &text[at + 3..]);
    tail.parse::<Ipv4Addr>().ok()?;
    format!("{head}::{tail}").parse().ok()
}

pub(crate) fn parse_port(digits: &[u8]) -> Option<u16> {
    parse_decimal(digits, u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
}

/// Where the host name, IPv4 address or IPv6 reference in brackets (RFC 3261 §25.1) ends that begins at `at`.
/// Names may hold `_`, which DNS host names do not but real networks do.
#[inline]
pub(crate) fn host_end(bytes: &[u8], at: usize, rule: &'static str) -> Result<usize, ParseError> {
    if bytes.get(at) == Some(&b'[') {
        return reference_end(bytes, at);
    }
    let end = class_end(bytes, at, class::HOST);
    if end == at { Err(error("the host is missing", rule, at)) } else { Ok(end) }
}

/// Where the IPv6 reference ends whose `[` stands at `at`.
fn reference_end(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let close = find_byte(bytes, at, b']').ok_or_else(|| error("an IPv6 address has no `]`", "RFC 5118 §4.1", at))?;
    if core::str::from_utf8(&bytes[at + 1..close]).ok().and_then(parse_ipv6).is_none() {
        return Err(error("there is no IPv6 address in the brackets", "RFC 3986 §3.2.2", at));
    }
    Ok(close + 1)
}

/// `CSeq` (RFC 3261 §20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

/// The largest CSeq number (RFC 3261 §8.1.1.5).
pub const MAX_CSEQ: u32 = (1 << 31) - 1;

impl CSeq {
    /// Reads the value of a `CSeq`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not a number below 2³¹, blanks and a method.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (number, method) = cseq_parts(text.as_bytes())?;
        Ok(Self { number, method: Method::parse(&text[method])? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// The number and where the method stands, for values that may be folded and not be text.
pub(crate) fn cseq_parts(bytes: &[u8]) -> Result<(u32, Range<usize>), ParseError> {
    let start = skip_blanks(bytes, 0);
    let mut end = start;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let number = parse_decimal(&bytes[start..end], u64::from(MAX_CSEQ))
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| error("the CSeq number is not 0 to 2147483647", "RFC 3261 §8.1.1.5", start))?;
    let method = skip_blanks(bytes, end);
    let mut after = bytes.len();
    while after > method && is_blank(bytes[after - 1]) {
        after -= 1;
    }
    if method == end || !is_token(&bytes[method..after]) {
        return Err(error("the CSeq method is not a token", "RFC 3261 §20.16", method));
    }
    Ok((number, method..after))
}

/// `Content-Type` (RFC 3261 §20.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType<'a> {
    text: Cow<'a, str>,
    kind: Range<usize>,
    subtype: Range<usize>,
}

const CONTENT_TYPE: &str = "RFC 3261 §20.15";

impl<'a> ContentType<'a> {
    /// Reads the value of a `Content-Type`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `type/subtype *(;param)`.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, ParseError> {
        let text = text.into();
        let bytes = text.as_bytes();
        let (kind, at) = token_at(bytes, 0).map_err(|e| ParseError { rule: CONTENT_TYPE, ..e })?;
        let at = slash_at(bytes, at).map_err(|e| ParseError { rule: CONTENT_TYPE, ..e })?;
        let (subtype, at) = token_at(bytes, at).map_err(|e| ParseError { rule: CONTENT_TYPE, ..e })?;
        Params::new(&text, at, CONTENT_TYPE).check()?;
        Ok(Self { text, kind, subtype })
    }

    /// The whole value as it is written (unfolded).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The type, such as `application`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.text[self.kind.clone()]
    }

    /// The subtype, such as `sdp`.
    #[must_use]
    pub fn subtype(&self) -> &str {
        &self.text[self.subtype.clone()]
    }

    /// Whether it is `media_type`, such as `application/sdp`, without regard to case and parameters.
    #[must_use]
    pub fn is(&self, media_type: &str) -> bool {
        media_type
            .split_once('/')
            .is_some_and(|(k, s)| self.kind().eq_ignore_ascii_case(k) && self.subtype().eq_ignore_ascii_case(s))
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.text, self.subtype.end, CONTENT_TYPE)
    }

    /// A parameter by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        self.params().named(name).map(|p| p.unquoted())
    }
}

impl fmt::Display for ContentType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_is_found_in_every_spelling() {
        for &name in Name::ALL {
            for spelling in [Some(name.as_str()), name.compact()].into_iter().flatten() {
                assert_eq!(Name::parse(spelling), Some(name));
                assert_eq!(Name::parse(&spelling.to_ascii_uppercase()), Some(name));
                assert_eq!(Name::parse(&spelling.to_ascii_lowercase()), Some(name));
                assert_eq!(Name::parse(&format!("{spelling}-")), None);
            }
        }
        for unknown in ["", "X", "-", "Vi", "From ", "Call\rID", "\0", "Via\0", "Ж", "x-unknown"] {
            assert!(Name::parse(unknown).is_none_or(|name| name == Name::SessionExpires), "{unknown}");
        }
        assert!(Name::ALL.len() < usize::from(EMPTY));
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0_usize..42, b: u8) {
            let rest = bytes.get(at..).unwrap_or_default();
            let naive = rest.iter().position(|&other| other == b).map(|n| at + n);
            prop_assert_eq!(find_byte(&bytes, at, b), naive);
            let naive = rest.iter().position(|&other| other > b).map_or(at + rest.len(), |n| at + n);
            prop_assert_eq!(first_that(&bytes, at, |other| other > b), naive);
            if let Some(eight) = bytes.first_chunk() {
                let word = u64::from_le_bytes(*eight);
                let limit = b & 0x7f;
                prop_assert_eq!(word::position_of(word, b), eight.iter().position(|&other| other == b));
                prop_assert_eq!(word::position_below(word, limit), eight.iter().position(|&other| other < limit));
            }
        }
    }

    #[test]
    fn lists_are_split_at_their_own_commas() {
        let cases = [
            ("", vec![""]),
            ("a, b ,c", vec!["a", "b", "c"]),
            ("\"a, \\\", b\" <sip:x>, <sip:y,z>", vec!["\"a, \\\", b\" <sip:x>", "<sip:y,z>"]),
            ("a,,b,", vec!["a", "", "b"]),
            ("\"open, string", vec!["\"open, string"]),
            ("<sip:open, bracket", vec!["<sip:open, bracket"]),
        ];
        for (text, expected) in cases {
            let found: Vec<_> = Elements::new(text).collect();
            assert_eq!(found[..expected.len()], expected, "{text}");
            assert!(found[expected.len()..].iter().all(|e| e.is_empty()), "{text}");
        }
    }

    #[test]
    fn addresses_are_read() {
        // text, display name, URI, tag
        let cases = [
            ("sip:a@b", None, "sip:a@b", None),
            ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
            ("<sip:a@b;tag=no>;Tag=1", None, "sip:a@b;tag=no", Some("1")),
            ("\"a \\\"<x>\\\"\" <sip:a@b>", Some("a \"<x>\""), "sip:a@b", None),
            ("\"\"<sip:a@b>", None, "sip:a@b", None),
            (
                "token1~` token2'+_ *%!.- <sip:a@b>;p''~+*_!.-%=\"s \\\" ;\";t",
                Some("token1~` token2'+_ *%!.-"),
                "sip:a@b",
                None,
            ),
            ("Иван <sip:a@b> ; tag = 1", Some("Иван"), "sip:a@b", Some("1")),
            ("<sip:a?b=c,d>", None, "sip:a?b=c,d", None),
            ("*", None, "*", None),
            ("<tel:+7495>;+sip.instance=\"<urn:uuid:1>\"", None, "tel:+7495", None),
            ("sip:a@b;x=\"<y>\"", None, "sip:a@b", None),
        ];
        for (text, display, uri, tag) in cases {
            let address = NameAddr::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (address.display_name().as_deref(), address.uri(), address.tag()),
                (display, uri, tag),
                "{text}"
            );
            assert_eq!(address.as_str(), text);
        }
    }

    #[test]
    fn addresses_that_mean_two_things_are_refused() {
        for text in [
            "",
            " ",
            "<>",
            "\"a <sip:a@b>",
            "\"a\" sip:a@b",
            "<sip:a@b",
            "<sip:a@b>x",
            "< sip:a@b>",
            "<sip:a b>",
            "<sip:a@b >",
            "Bell, A <sip:a@b>",
            "sip:a@b?Route=x",
            "sip:a@b,c",
            "sip:a@b>",
            "<sip:a@b>;",
            "<sip:a@b>;;x",
            "<sip:a@b>;=1",
            "<sip:a@b>;tag=",
            "<sip:a@b>;tag=1;tag=2",
            "<sip:a@b>;x=\"1",
            "<sip:a@b>;x y",
            "<<sip:a@b>>",
            "a@b <sip:a@b>",
            "\"a\" \"b\" <sip:a@b>",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn vias_are_read_or_refused() {
        let via =
            Via::parse("SIP/2.0/WSS [2001:db8::9:1]:5060;received=2001:db8::9:255;rport;branch=z9hG4bKas3").unwrap();
        assert_eq!((via.sent_by_host(), via.sent_by_port()), ("[2001:db8::9:1]", Some(5060)));
        assert_eq!(via.param("received").flatten().as_deref(), Some("2001:db8::9:255"));
        assert_eq!((via.param("rport"), via.branch(), via.transport()), (Some(None), Some("z9hG4bKas3"), "WSS"));
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 UDP h",
            "SIP/2.0/UDPh",
            "SIP/1.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h;;,;,,",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP [::g]",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP h x",
            "SIP/2.0/UDP h;branch=a;branch=b",
        ] {
            assert!(Via::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn content_types_are_read_or_refused() {
        let mixed = ContentType::parse("Multipart / mixed ; boundary=\"a b\"").unwrap();
        assert!(mixed.is("multipart/MIXED") && !mixed.is("multipart") && !mixed.is("multipart/x"));
        assert_eq!(mixed.param("Boundary").flatten().as_deref(), Some("a b"));
        for text in ["", "text", "text/", "/plain", "text/plain x", "text/plain;", "text/plain;charset"] {
            assert_eq!(ContentType::parse(text).is_ok(), text == "text/plain;charset", "{text:?}");
        }
    }

    #[test]
    fn quoting_goes_there_and_back() {
        for text in ["", "a", "a\"b\\c", "Ж \\\" 👋"] {
            assert_eq!(unquote(&quote(text)), text);
        }
    }
}
