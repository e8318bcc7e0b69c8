//! Headers of one value with parameters, and numbers: reliability, session timers, REFER and its relatives, reasons.

use core::fmt;
use std::borrow::Cow;

use super::{
    Params, error, is_blank, is_token, parse_decimal, skip_blanks, skip_quoted, token_end, trim_blanks, unquote,
};
use crate::error::ParseError;
use crate::sip::message::Method;

/// The largest `delta-seconds` (RFC 3261 §20.19).
pub const MAX_DELTA_SECONDS: u32 = u32::MAX;

/// Reads decimal digits at `at`; gives the number and what follows it.
fn number_at(
    text: &str,
    at: usize,
    max: u64,
    problem: &'static str,
    rule: &'static str,
) -> Result<(u64, usize), ParseError> {
    let bytes = text.as_bytes();
    let start = skip_blanks(bytes, at);
    let mut end = start;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    parse_decimal(&bytes[start..end], max).map(|n| (n, end)).ok_or_else(|| error(problem, rule, start))
}

/// A value that was a number up to [`u32::MAX`].
const fn narrow(number: u64) -> u32 {
    number as u32
}

/// A token with parameters: `Event`, `Subscription-State`, `Content-Disposition`, `Reason` ….
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenParams<'a> {
    text: Cow<'a, str>,
    start: usize,
    end: usize,
    rule: &'static str,
}

impl<'a> TokenParams<'a> {
    /// Reads `token *(;param)`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] of the rule that is named if it is something else.
    pub fn parse(text: impl Into<Cow<'a, str>>, rule: &'static str) -> Result<Self, ParseError> {
        let text = text.into();
        let start = skip_blanks(text.as_bytes(), 0);
        let end = token_end(text.as_bytes(), start);
        if end == start {
            return Err(error("expected a token", rule, start));
        }
        Params::new(&text, end, rule).check()?;
        Ok(Self { text, start, end, rule })
    }

    /// The whole value as it is written (unfolded).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.text[self.start..self.end]
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.text, self.end, self.rule)
    }

    /// A parameter by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        self.params().named(name).map(|p| p.unquoted())
    }
}

/// `Event` (RFC 6665 §8.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event package with its templates, such as `presence.winfo`. Compared with regard to case.
    pub package: String,
    /// The `id`, which is part of what identifies the subscription.
    pub id: Option<String>,
}

impl Event {
    /// Reads the value of an `Event`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `package *(;param)`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let value = TokenParams::parse(text, "RFC 6665 §8.2.1")?;
        let id = value.param("id").flatten().map(Cow::into_owned);
        Ok(Self { package: value.token().to_owned(), id })
    }
}

/// `Reason` (RFC 3326): one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The protocol of the cause, `SIP` or `Q.850` mostly.
    pub protocol: String,
    /// The cause; `None` if there is none or it is no number.
    pub cause: Option<u16>,
    /// The text.
    pub text: Option<String>,
}

impl Reason {
    /// Reads one element of a `Reason`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `protocol *(;param)`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let value = TokenParams::parse(text, "RFC 3326 §2")?;
        let cause = value.param("cause").flatten();
        Ok(Self {
            protocol: value.token().to_owned(),
            cause: cause.and_then(|digits| parse_decimal(digits.as_bytes(), u64::from(u16::MAX))).map(|n| n as u16),
            text: value.param("text").flatten().map(Cow::into_owned),
        })
    }
}

/// `RAck` (RFC 3262 §7.2): which provisional response a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// The response's `RSeq`, 1 to 2³² − 1.
    pub rseq: u32,
    /// The number of the response's `CSeq`.
    pub cseq: u32,
    /// The method of the response's `CSeq`.
    pub method: Method,
}

impl RAck {
    /// Reads the value of an `RAck`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not two numbers and a method, or a number is out of range.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const RULE: &str = "RFC 3262 §7.2";
        let (rseq, at) = number_at(text, 0, u64::from(u32::MAX), "the response number is not 0 to 4294967295", RULE)?;
        let (cseq, at_method) =
            number_at(text, at, u64::from(super::MAX_CSEQ), "the CSeq number is not 0 to 2147483647", RULE)?;
        let method = trim_blanks(&text[at_method..]);
        let blanks = |at: usize| text.as_bytes().get(at).copied().is_some_and(is_blank);
        if !blanks(at) || !blanks(at_method) {
            return Err(error("expected a blank", RULE, at));
        }
        let method = Method::parse(method).map_err(|e| ParseError { rule: RULE, offset: at_method, ..e })?;
        Ok(Self { rseq: narrow(rseq), cseq: narrow(cseq), method })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method)
    }
}

/// Who refreshes a session (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refresher {
    /// The one that sent the request.
    Uac,
    /// The one that answers it.
    Uas,
}

/// `Session-Expires` (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionExpires {
    /// The session's interval, in seconds.
    pub seconds: u32,
    /// Who refreshes it, if that is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads the value of a `Session-Expires`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `seconds *(;param)`, or the refresher is neither `uac` nor `uas`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const RULE: &str = "RFC 4028 §4";
        let (seconds, at) = delta_seconds(text, RULE)?;
        let params = Params::new(text, at, RULE);
        params.clone().check()?;
        let refresher = match params.named("refresher").map(|p| p.value.unwrap_or_default()) {
            None => None,
            Some(value) if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(value) if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(error("the refresher is uac or uas", RULE, at)),
        };
        Ok(Self { seconds, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}

/// Reads `delta-seconds` at the start of `text`; gives what follows it. Such as `Expires`, `Min-Expires`, `Min-SE`.
fn delta_seconds(text: &str, rule: &'static str) -> Result<(u32, usize), ParseError> {
    let (seconds, at) = number_at(text, 0, u64::from(MAX_DELTA_SECONDS), "not a number of seconds below 2^32", rule)?;
    Ok((narrow(seconds), at))
}

/// Reads a value that is `delta-seconds` and nothing else but parameters: `Expires`, `Min-Expires`, `Min-SE`.
///
/// # Errors
///
/// [`ParseError`] of the rule that is named if it is something else, or 2³² or more.
pub fn parse_delta_seconds(text: &str, rule: &'static str) -> Result<u32, ParseError> {
    let (seconds, at) = delta_seconds(text, rule)?;
    Params::new(text, at, rule).check()?;
    Ok(seconds)
}

/// `Retry-After` (RFC 3261 §20.33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter {
    /// After how many seconds to try again.
    pub seconds: u32,
    /// What the other side says about it.
    pub comment: Option<String>,
    /// For how many seconds it will then be reachable.
    pub duration: Option<u32>,
}

impl RetryAfter {
    /// Reads the value of a `Retry-After`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `seconds [(comment)] *(;param)`, or a number is 2³² or more.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const RULE: &str = "RFC 3261 §20.33";
        let (seconds, at) = delta_seconds(text, RULE)?;
        let bytes = text.as_bytes();
        let mut at = skip_blanks(bytes, at);
        let mut comment = None;
        if bytes.get(at) == Some(&b'(') {
            let end = skip_comment(bytes, at).ok_or_else(|| error("a comment has no end", RULE, at))?;
            comment = Some(text[at + 1..end - 1].to_owned());
            at = end;
        }
        let params = Params::new(text, at, RULE);
        params.clone().check()?;
        let duration = match params.named("duration") {
            None => None,
            Some(param) => Some(
                parse_decimal(param.value.unwrap_or_default().as_bytes(), u64::from(MAX_DELTA_SECONDS))
                    .map(narrow)
                    .ok_or_else(|| error("the duration is not a number of seconds below 2^32", RULE, at))?,
            ),
        };
        Ok(Self { seconds, comment, duration })
    }
}

/// `at` stands on `(`; the result is the position after the `)` that closes it. Comments nest (RFC 3261 §25.1), here
/// without recursion.
fn skip_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let mut open = 0_usize;
    let mut i = at;
    loop {
        match *bytes.get(i)? {
            b'(' => open += 1,
            b')' => open -= 1,
            b'\\' => i += 1,
            _ => {}
        }
        i += 1;
        if open == 0 {
            return Some(i);
        }
    }
}

/// `Warning` (RFC 3261 §20.43): one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The code, three digits.
    pub code: u16,
    /// The host or pseudonym of who warns.
    pub agent: String,
    /// The text, without quotes and escapes.
    pub text: String,
}

impl Warning {
    /// Reads one element of a `Warning`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not three digits, an agent and a quoted text.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const RULE: &str = "RFC 3261 §20.43";
        let bytes = text.as_bytes();
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let code = parse_decimal(&bytes[..digits], 999).filter(|_| digits == 3);
        let code = code.ok_or_else(|| error("a warning code has three digits", RULE, 0))? as u16;
        let agent = skip_blanks(bytes, digits);
        let agent_end = agent + bytes[agent..].iter().take_while(|b| b.is_ascii_graphic() && **b != b'"').count();
        let quote = skip_blanks(bytes, agent_end);
        if agent == digits || agent_end == agent || quote == agent_end {
            return Err(error("expected the host or the name of who warns", RULE, agent));
        }
        if bytes.get(quote) != Some(&b'"') || skip_quoted(bytes, quote).is_none_or(|end| end != bytes.len()) {
            return Err(error("expected a quoted text", RULE, quote));
        }
        Ok(Self { code, agent: text[agent..agent_end].to_owned(), text: unquote(&text[quote..]).into_owned() })
    }
}

/// The dialog that `Replaces` (RFC 3891), `Join` (RFC 3911) or `Target-Dialog` (RFC 4538) names, as the receiver of the
/// header sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogReference {
    /// The Call-ID.
    pub call_id: String,
    /// The tag of the receiver: `to-tag` or `local-tag`.
    pub local_tag: String,
    /// The tag of the receiver's peer: `from-tag` or `remote-tag`.
    pub remote_tag: String,
    /// `early-only`: to be refused with 486 once the dialog is confirmed.
    pub early_only: bool,
}

impl DialogReference {
    /// Reads the value of a `Replaces`, `Join` or `Target-Dialog`.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the Call-ID is empty or holds blanks, or if one of the two tags is missing or occurs twice.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const RULE: &str = "RFC 3891 §6.1";
        let text = trim_blanks(text);
        let semicolon = text.find(';').unwrap_or(text.len());
        let call_id = trim_blanks(&text[..semicolon]);
        if call_id.is_empty() || call_id.bytes().any(|b| b <= b' ' || b == 0x7f || b == b',') {
            return Err(error("the Call-ID is empty or holds white space", RULE, 0));
        }
        let (mut local, mut remote, mut early_only) = (None, None, false);
        let mut params = Params::new(text, semicolon, RULE);
        while let Some(param) = params.step()? {
            let slot = match param.name.to_ascii_lowercase().as_str() {
                "to-tag" | "local-tag" => &mut local,
                "from-tag" | "remote-tag" => &mut remote,
                "early-only" => {
                    early_only = true;
                    continue;
                }
                _ => continue,
            };
            let tag = param.value.filter(|value| is_token(value.as_bytes()));
            let tag = tag.ok_or_else(|| error("a tag is not a token", RULE, semicolon))?;
            if slot.replace(tag.to_owned()).is_some() {
                return Err(error("a tag occurs twice", RULE, semicolon));
            }
        }
        let missing = || error("both tags of the dialog are mandatory", RULE, semicolon);
        Ok(Self {
            call_id: call_id.to_owned(),
            local_tag: local.ok_or_else(missing)?,
            remote_tag: remote.ok_or_else(missing)?,
            early_only,
        })
    }
}

/// One element of `Accept`, `Accept-Encoding` or `Accept-Language`, or of any list with `q`: what is accepted and how
/// much it is preferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// What is accepted, as it is written but without blanks: `application/sdp`, `text/*`, `gzip`, `ru-RU`, `*`.
    pub value: String,
    /// How much, in thousandths: 1000 where nothing is said, 0 for "not at all".
    pub thousandths: u16,
}

impl Preference {
    /// Reads one element.
    ///
    /// # Errors
    ///
    /// [`ParseError`] of the rule that is named if it is not `value *(;param)`, or `q` is not 0 to 1 with at most three
    /// decimals.
    pub fn parse(text: &str, rule: &'static str) -> Result<Self, ParseError> {
        let bytes = text.as_bytes();
        let start = skip_blanks(bytes, 0);
        let mut value = String::new();
        let mut at = start;
        loop {
            let end = token_end(bytes, at);
            if end == at {
                return Err(error("expected a token", rule, at));
            }
            value.push_str(&text[at..end]);
            let slash = skip_blanks(bytes, end);
            at = end;
            if bytes.get(slash) != Some(&b'/') || value.contains('/') {
                break;
            }
            value.push('/');
            at = skip_blanks(bytes, slash + 1);
        }
        let params = Params::new(text, at, rule);
        params.clone().check()?;
        let thousandths = match params.named("q") {
            None => 1000,
            Some(param) => parse_qvalue(param.value.unwrap_or_default())
                .ok_or_else(|| error("q is not 0 to 1 with at most three decimals", "RFC 3261 §25.1", at))?,
        };
        Ok(Self { value, thousandths })
    }

    /// Whether `media_type`, such as `application/sdp`, is accepted by this element, without regard to case.
    #[must_use]
    pub fn accepts(&self, media_type: &str) -> bool {
        if self.thousandths == 0 {
            return false;
        }
        match self.value.split_once('/') {
            Some(("*", "*")) => true,
            Some((kind, "*")) => media_type.split_once('/').is_some_and(|(k, _)| k.eq_ignore_ascii_case(kind)),
            _ => self.value == "*" || self.value.eq_ignore_ascii_case(media_type),
        }
    }
}

/// A `qvalue` in thousandths: `0`, `0.33`, `1.000`.
#[must_use]
pub fn parse_qvalue(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut thousandths = 0;
    for position in 0..3 {
        thousandths = thousandths * 10 + decimals.as_bytes().get(position).map_or(0, |b| u16::from(b - b'0'));
    }
    Some(whole + thousandths).filter(|q| *q <= 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reliability_headers_are_read_or_refused() {
        assert_eq!(RAck::parse("776656 1\t INVITE").unwrap(), RAck { rseq: 776_656, cseq: 1, method: Method::Invite });
        assert_eq!(RAck::parse("1 2 INVITE").unwrap().to_string(), "1 2 INVITE");
        for text in
            ["", "1", "1 2", "1 2INVITE", "1 INVITE", "4294967296 1 INVITE", "1 2147483648 INVITE", "1 2 IN VITE"]
        {
            assert!(RAck::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn timers_are_read_or_refused() {
        for (text, seconds, refresher, written) in [
            ("90", 90, None, "90"),
            ("1800 ; Refresher=UAS;x=y", 1800, Some(Refresher::Uas), "1800;refresher=uas"),
            ("4294967295;refresher=uac", u32::MAX, Some(Refresher::Uac), "4294967295;refresher=uac"),
        ] {
            let value = SessionExpires::parse(text).unwrap();
            assert_eq!((value.seconds, value.refresher, value.to_string().as_str()), (seconds, refresher, written));
        }
        for text in ["", "-1", "4294967296", "90 s", "90;refresher=me", "90;", "x"] {
            assert!(SessionExpires::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_delta_seconds("0", "x"), Ok(0));
        assert!(parse_delta_seconds("Thu, 01 Dec 1994 16:00:00 GMT", "x").is_err());
    }

    #[test]
    fn retry_after_is_read_or_refused() {
        let value = RetryAfter::parse("18000 (back at (about) 14:00 \\)) ;duration=3600").unwrap();
        assert_eq!((value.seconds, value.duration), (18_000, Some(3600)));
        assert_eq!(value.comment.as_deref(), Some("back at (about) 14:00 \\)"));
        assert_eq!(RetryAfter::parse("5").unwrap(), RetryAfter { seconds: 5, comment: None, duration: None });
        for text in ["", "949302838503028349304023988", "5 (open", "5;duration=x", "5;duration", "5 5", "(x)"] {
            assert!(RetryAfter::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn warnings_are_read_or_refused() {
        let value = Warning::parse("307 isi.edu:5060 \"Session parameter \\\"foo\\\" not understood\"").unwrap();
        assert_eq!((value.code, value.agent.as_str()), (307, "isi.edu:5060"));
        assert_eq!(value.text, "Session parameter \"foo\" not understood");
        for text in [
            "",
            "307",
            "307 x",
            "307 x y",
            "1812 x \"y\"",
            "30 x \"y\"",
            "307x \"y\"",
            "307 x \"y",
            "307 x\"y\"",
            "307 x \"y\" z",
        ] {
            assert!(Warning::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dialogs_are_named_or_refused() {
        let value =
            DialogReference::parse("98732@sip.example.com ;from-tag=r33th4x0r;to-tag=ff87ff;early-only").unwrap();
        let expected = DialogReference {
            call_id: "98732@sip.example.com".to_owned(),
            local_tag: "ff87ff".to_owned(),
            remote_tag: "r33th4x0r".to_owned(),
            early_only: true,
        };
        assert_eq!(value, expected);
        let target = DialogReference::parse("a;local-tag=b;remote-tag=c").unwrap();
        assert_eq!((target.local_tag.as_str(), target.remote_tag.as_str(), target.early_only), ("b", "c", false));
        for text in [
            "",
            ";to-tag=1;from-tag=2",
            "a",
            "a;to-tag=1",
            "a;to-tag=1;from-tag=2;to-tag=3",
            "a b;to-tag=1;from-tag=2",
            "a;to-tag;from-tag=1",
        ] {
            assert!(DialogReference::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn events_and_reasons_are_read_or_refused() {
        let event = Event::parse("presence.winfo ; id=7").unwrap();
        assert_eq!((event.package.as_str(), event.id.as_deref()), ("presence.winfo", Some("7")));
        let reason = Reason::parse("Q.850 ;cause=16 ;text=\"Normal \\\"clearing\\\"\"").unwrap();
        assert_eq!((reason.protocol.as_str(), reason.cause), ("Q.850", Some(16)));
        assert_eq!(reason.text.as_deref(), Some("Normal \"clearing\""));
        assert_eq!(Reason::parse("SIP;cause=99999").unwrap().cause, None);
        for text in ["", ";id=1", "a b", "a;", "\"a\""] {
            assert!(Event::parse(text).is_err() && Reason::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn preferences_are_read_or_refused() {
        for (text, value, thousandths) in [
            ("application/sdp", "application/sdp", 1000),
            ("text / * ; q=0.5", "text/*", 500),
            ("*/*;level=1;q=0.001", "*/*", 1),
            ("ru-RU;q=1.000", "ru-RU", 1000),
            ("*;q=0", "*", 0),
            ("gzip;q=0.", "gzip", 0),
        ] {
            let found = Preference::parse(text, "x").unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((found.value.as_str(), found.thousandths), (value, thousandths), "{text}");
        }
        for text in ["", "/", "a/", "/b", "a/b/c", "a;q=2", "a;q=1.001", "a;q=0.1234", "a;q=", "a;q", "a b", "a;q=-1"] {
            assert!(Preference::parse(text, "x").is_err(), "{text:?}");
        }
        let accepts = |value: &str, media: &str| Preference::parse(value, "x").unwrap().accepts(media);
        assert!(accepts("*/*", "a/b") && accepts("A/*", "a/b") && accepts("a/B", "a/b") && accepts("*", "gzip"));
        assert!(!accepts("a/*", "b/b") && !accepts("a/c", "a/b") && !accepts("*/*;q=0", "a/b"));
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "[-0-9a-z ;=,\"\\\\()<>/.*Ж\r\n]{0,40}") {
            let _ = (RAck::parse(&text), SessionExpires::parse(&text), RetryAfter::parse(&text), Warning::parse(&text));
            let _ = (DialogReference::parse(&text), Event::parse(&text), Reason::parse(&text));
            let _ = (Preference::parse(&text, "x"), parse_qvalue(&text), parse_delta_seconds(&text, "x"));
        }
    }
}
