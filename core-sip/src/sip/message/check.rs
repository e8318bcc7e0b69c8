//! The deep check of a message: everything that [`Message::parse`] leaves until it is asked for.

use core::net::Ipv4Addr;

use super::{Line, Message, Method, StartLine, error, range, trim};
use crate::error::ParseError;
use crate::sip::digest;
use crate::sip::header::{
    ContentType, DialogReference, Elements, Event, Name, NameAddr, Preference, RAck, Reason, RetryAfter,
    SessionExpires, SipDate, TokenParams, Via, Warning, is_blank, is_token, parse_decimal, parse_delta_seconds,
    parse_qvalue,
};
use crate::sip::uri::Uri;

/// Headers that may occur once, besides those that [`Message::parse`] counts (RFC 3261 §7.3.1: all whose grammar is no
/// comma list).
const AT_MOST_ONCE: [Name; 25] = [
    Name::Expires,
    Name::MinExpires,
    Name::Date,
    Name::RetryAfter,
    Name::Timestamp,
    Name::MimeVersion,
    Name::ContentDisposition,
    Name::Event,
    Name::SubscriptionState,
    Name::ReferTo,
    Name::ReferredBy,
    Name::ReferSub,
    Name::Replaces,
    Name::Join,
    Name::RSeq,
    Name::RAck,
    Name::SessionExpires,
    Name::MinSe,
    Name::ReplyTo,
    Name::Subject,
    Name::Priority,
    Name::Organization,
    Name::UserAgent,
    Name::Server,
    Name::FlowTimer,
];

pub(super) fn check(message: &Message) -> Result<(), ParseError> {
    check_start(message)?;
    message.call_id()?;
    for name in AT_MOST_ONCE {
        if let Some(second) = message.lines.iter().filter(|line| line.name == Some(name)).nth(1) {
            let at = second.name_start as usize;
            return Err(error("a header that may occur once occurs twice", "RFC 3261 §7.3.1", at));
        }
    }
    for line in &message.lines {
        check_controls(&message.bytes[line.value_start as usize..line.value_end as usize])
            .and_then(|()| line.name.map_or(Ok(()), |name| check_value(message, line, name)))
            .map_err(message.located(line))?;
    }
    check_contacts(message)?;
    let missing = |name| message.first(name).is_none();
    let end = message.body.0 as usize;
    match message.method() {
        Some(Method::Refer) if missing(Name::ReferTo) => Err(error("Refer-To is missing", "RFC 3515 §2.4.1", end)),
        Some(Method::Prack) if missing(Name::RAck) => Err(error("RAck is missing", "RFC 3262 §7.2", end)),
        _ => Ok(()),
    }
}

fn check_start(message: &Message) -> Result<(), ParseError> {
    match &message.start {
        StartLine::Request { uri, .. } => {
            let at = uri.0 as usize;
            let text = message.request_uri().unwrap_or_default();
            check_uri(text).map_err(|e| ParseError { offset: at + e.offset, ..e })
        }
        StartLine::Response { reason, .. } => match message.bytes[range(*reason)].iter().position(|&b| is_control(b)) {
            Some(at) => Err(error("a control character", "RFC 3261 §25.1", reason.0 as usize + at)),
            None => Ok(()),
        },
    }
}

fn is_control(b: u8) -> bool {
    b != b'\t' && (b < b' ' || b == 0x7f)
}

/// Control characters may stand in a quoted pair and nowhere else; CR and LF are folds here.
fn check_controls(value: &[u8]) -> Result<(), ParseError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &b) in value.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'\r' | b'\n' => {}
            b if is_control(b) => return Err(error("a control character outside a quoted pair", "RFC 3261 §25.1", at)),
            _ => {}
        }
    }
    Ok(())
}

fn check_value(message: &Message, line: &Line, name: Name) -> Result<(), ParseError> {
    let value = message.value(line);
    match name {
        Name::Via => each(&value, check_via),
        Name::From | Name::To => check_address(&value, false).map(drop),
        Name::ReferTo | Name::ReferredBy | Name::ReplyTo => check_address(&value, false).map(drop),
        Name::Route | Name::RecordRoute | Name::Path | Name::ServiceRoute => {
            each(&value, |text| check_address(text, true).map(drop))
        }
        Name::PAssertedIdentity | Name::PPreferredIdentity | Name::Diversion | Name::HistoryInfo => {
            each(&value, |text| check_address(text, false).map(drop))
        }
        Name::AlertInfo | Name::CallInfo | Name::ErrorInfo => each(&value, |text| check_address(text, true).map(drop)),
        Name::ContentType => ContentType::parse(&*value).map(drop),
        Name::Expires => parse_delta_seconds(&value, "RFC 3261 §20.19").map(drop),
        Name::MinExpires => parse_delta_seconds(&value, "RFC 3261 §20.23").map(drop),
        Name::MinSe => parse_delta_seconds(&value, "RFC 4028 §5").map(drop),
        Name::RSeq => parse_delta_seconds(&value, "RFC 3262 §7.1").map(drop),
        Name::FlowTimer => parse_delta_seconds(&value, "RFC 5626 §10").map(drop),
        Name::SessionExpires => SessionExpires::parse(&value).map(drop),
        Name::RetryAfter => RetryAfter::parse(&value).map(drop),
        Name::Date => SipDate::parse(&value).map(drop),
        Name::RAck => RAck::parse(&value).map(drop),
        Name::Event => Event::parse(&value).map(drop),
        Name::Replaces | Name::Join | Name::TargetDialog => DialogReference::parse(&value).map(drop),
        Name::Warning => each(&value, |text| Warning::parse(text).map(drop)),
        Name::Reason => each(&value, |text| Reason::parse(text).map(drop)),
        Name::Accept => optional_list(&value, |text| Preference::parse(text, "RFC 3261 §20.1").map(drop)),
        Name::AcceptEncoding => optional_list(&value, |text| Preference::parse(text, "RFC 3261 §20.2").map(drop)),
        Name::AcceptLanguage => optional_list(&value, |text| Preference::parse(text, "RFC 3261 §20.3").map(drop)),
        Name::Allow | Name::Supported | Name::RecvInfo => optional_list(&value, check_token),
        Name::Require
        | Name::ProxyRequire
        | Name::Unsupported
        | Name::AllowEvents
        | Name::ContentEncoding
        | Name::ContentLanguage => each(&value, check_token),
        Name::Priority => check_token(&value),
        Name::ContentDisposition => TokenParams::parse(&*value, "RFC 3261 §20.11").map(drop),
        Name::SubscriptionState => TokenParams::parse(&*value, "RFC 6665 §8.2.3").map(drop),
        Name::ReferSub => TokenParams::parse(&*value, "RFC 4488 §4").map(drop),
        Name::MimeVersion => check_decimal(&value, true, "RFC 3261 §20.24"),
        Name::Timestamp => {
            let mut parts = value.split_ascii_whitespace();
            check_decimal(parts.next().unwrap_or_default(), false, "RFC 3261 §20.38")?;
            // A delay may begin with its point.
            let delay = parts.next().unwrap_or("0");
            check_decimal(delay.strip_prefix('.').unwrap_or(delay), false, "RFC 3261 §20.38")?;
            match parts.next() {
                None => Ok(()),
                Some(_) => Err(error("expected a time and at most a delay", "RFC 3261 §20.38", 0)),
            }
        }
        Name::Authorization | Name::ProxyAuthorization => digest::check_value(&value, true),
        Name::WwwAuthenticate | Name::ProxyAuthenticate => digest::check_value(&value, false),
        _ => Ok(()),
    }
}

/// Checks every element of a comma list, of which there is at least one.
fn each(value: &str, check: impl Fn(&str) -> Result<(), ParseError>) -> Result<(), ParseError> {
    Elements::new(value).try_for_each(|element| {
        if element.is_empty() {
            return Err(error("an element of the list is empty", "RFC 3261 §7.3.1", 0));
        }
        check(&element)
    })
}

fn optional_list(value: &str, check: impl Fn(&str) -> Result<(), ParseError>) -> Result<(), ParseError> {
    if value.is_empty() { Ok(()) } else { each(value, check) }
}

fn check_token(text: &str) -> Result<(), ParseError> {
    if is_token(text.as_bytes()) { Ok(()) } else { Err(error("expected a token", "RFC 3261 §25.1", 0)) }
}

/// Digits with a decimal point, which is mandatory in a version.
fn check_decimal(text: &str, point: bool, rule: &'static str) -> Result<(), ParseError> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, if point { "x" } else { "" }));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || point && decimals.is_empty() || !digits(whole) || !digits(decimals) {
        return Err(error("not a decimal number", rule, 0));
    }
    Ok(())
}

fn check_via(text: &str) -> Result<(), ParseError> {
    const RULE: &str = "RFC 3261 §20.42";
    let via = Via::parse(text)?;
    check_host(via.sent_by_host())?;
    if via.branch().is_some_and(|branch| !is_token(branch.as_bytes())) {
        return Err(error("the branch is not a token", RULE, 0));
    }
    for (name, max) in [("ttl", 255), ("rport", u64::from(u16::MAX))] {
        if let Some(Some(value)) = via.param(name)
            && parse_decimal(value.as_bytes(), max).is_none()
        {
            return Err(error("a parameter of a Via is not a number in range", RULE, 0));
        }
    }
    Ok(())
}

fn check_address(text: &str, bracketed: bool) -> Result<NameAddr<'_>, ParseError> {
    let address = NameAddr::parse(text)?;
    if bracketed && !address.is_bracketed() {
        return Err(error("the address must stand in angle brackets", "RFC 3261 §25.1", 0));
    }
    let display = address.written_display_name();
    if !display.starts_with('"')
        && let Some(at) = display.bytes().position(|b| b.is_ascii() && !is_blank(b) && !is_token(&[b]))
    {
        return Err(error("this display name must be quoted", "RFC 3261 §25.1", at));
    }
    check_uri(address.uri())?;
    if address.tag().is_some_and(|tag| !is_token(tag.as_bytes())) {
        return Err(error("the tag is not a token", "RFC 3261 §19.3", 0));
    }
    Ok(address)
}

fn check_uri(text: &str) -> Result<(), ParseError> {
    let uri = Uri::parse(text)?;
    if uri.is_sip() { check_host(uri.host()) } else { Ok(()) }
}

/// A host that is neither IPv6 reference nor IPv4 address is a name, whose last label begins with a letter: that is how
/// the two are told apart (RFC 3261 §25.1, RFC 1123 §2.1).
fn check_host(host: &str) -> Result<(), ParseError> {
    if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.split('.').any(str::is_empty) || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error("this is neither a host name nor an IPv4 address", "RFC 3261 §25.1", 0));
    }
    Ok(())
}

/// `*` stands alone and only where a REGISTER removes all bindings (RFC 3261 §10.2.2, §10.3).
fn check_contacts(message: &Message) -> Result<(), ParseError> {
    let lines = || message.lines.iter().filter(|line| line.name == Some(Name::Contact));
    let mut elements = 0_usize;
    let mut star = None;
    for line in lines() {
        let value = message.value(line);
        each(&value, |text| if text == "*" { Ok(()) } else { check_contact(text) }).map_err(message.located(line))?;
        for element in Elements::new(value) {
            elements += 1;
            if element == "*" {
                star = Some(line);
            }
        }
    }
    let Some(line) = star else { return Ok(()) };
    let at = line.value_start as usize;
    if elements > 1 {
        return Err(error("`*` beside other Contacts", "RFC 3261 §10.3", at));
    }
    let expires =
        message.first(Name::Expires).map(|line| &message.bytes[line.value_start as usize..line.value_end as usize]);
    if message.method() != Some(&Method::Register) || expires.and_then(|v| parse_decimal(trim(v), 0)).is_none() {
        return Err(error("`*` is for a REGISTER with Expires: 0", "RFC 3261 §10.2.2", at));
    }
    Ok(())
}

fn check_contact(text: &str) -> Result<(), ParseError> {
    const RULE: &str = "RFC 3261 §20.10";
    let contact = check_address(text, false)?;
    if let Some(expires) = contact.param("expires")
        && parse_decimal(expires.unwrap_or_default().as_bytes(), u64::from(u32::MAX)).is_none()
    {
        return Err(error("`expires` is not a number of seconds below 2^32", RULE, 0));
    }
    if let Some(q) = contact.param("q")
        && parse_qvalue(&q.unwrap_or_default()).is_none()
    {
        return Err(error("q is not 0 to 1 with at most three decimals", RULE, 0));
    }
    Ok(())
}
