//! What a refusal means, in the words of the error taxonomy.

use std::time::Duration;

use crate::error::{CallRefusal, Error, RegistrationRefusal, TlsFault};
use crate::sip::header::Name;
use crate::sip::message::{Message, StatusCode};

/// More is not waited for, whatever `Retry-After` says: a typo in a server must not put a client to sleep for days.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// `Retry-After` in seconds; its comment and parameters are for people (RFC 3261 §20.33).
pub(super) fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.header(Name::RetryAfter)?;
    let digits: String = value.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let seconds: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// What jambonz says beyond the status.
fn x_reason(response: &Message) -> Option<String> {
    response.header_named("X-Reason").map(std::borrow::Cow::into_owned).filter(|text| !text.is_empty())
}

fn phrase(response: &Message, status: u16) -> String {
    match response.reason_phrase() {
        Some(phrase) if !phrase.trim().is_empty() => phrase.trim().to_owned(),
        _ => response.status().map_or_else(|| status.to_string(), |status| status.default_reason().to_owned()),
    }
}

/// The error of a call that got `response`.
pub(super) fn of_call(response: &Message) -> Error {
    let status = response.status().map_or(0, |status| status.as_u16());
    let phrase = phrase(response, status);
    let x_reason = x_reason(response);
    let says = |text: &str| says(text, &phrase, x_reason.as_deref(), response);
    let refusal = match status {
        486 | 600 => CallRefusal::Busy,
        603 | 607 | 608 => CallRefusal::Declined,
        404 | 410 | 484 | 485 | 604 => CallRefusal::NotFound,
        480 if says("no configured application") => CallRefusal::NoApplication,
        480 | 408 | 430 => CallRefusal::Unavailable,
        500 | 502 | 503 | 504 | 580 => CallRefusal::Overloaded,
        401 | 403 | 407 => CallRefusal::Forbidden,
        415 | 488 | 606 => CallRefusal::NotAcceptable,
        487 => CallRefusal::Cancelled,
        _ => CallRefusal::Other,
    };
    Error::CallRefused { refusal, status, phrase, x_reason, retry_after: retry_after(response) }
}

/// The error of a call that nobody picked up in time; `status` is what the INVITE got in the end, or stands for it.
pub(super) fn no_answer(status: StatusCode) -> Error {
    Error::CallRefused {
        refusal: CallRefusal::NoAnswer,
        status: status.as_u16(),
        phrase: status.default_reason().to_owned(),
        x_reason: None,
        retry_after: None,
    }
}

/// The error of a REGISTER that got `response`.
pub(super) fn of_registration(response: &Message) -> Error {
    let status = response.status().map_or(0, |status| status.as_u16());
    let phrase = phrase(response, status);
    let x_reason = x_reason(response);
    let says = |text: &str| says(text, &phrase, x_reason.as_deref(), response);
    let names_the_realm = says("realm") || says("domain");
    let refusal = match status {
        401 | 407 => RegistrationRefusal::Credentials,
        403 if says("invalid credentials") || says("password") => RegistrationRefusal::Credentials,
        403 if says("expired") => RegistrationRefusal::Expired,
        403 | 404 | 480 | 604 if names_the_realm => RegistrationRefusal::Realm,
        403 | 603 => RegistrationRefusal::Forbidden,
        // RFC 3261 §10.3: the address of record is not one of the domain in the Request-URI.
        404 => RegistrationRefusal::Realm,
        408 | 429 | 430 | 480 | 500..=599 => RegistrationRefusal::Unavailable,
        _ => RegistrationRefusal::Other,
    };
    Error::RegistrationRefused { refusal, status, phrase, x_reason }
}

/// Whether REGISTER is worth another try after this error.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::RegistrationRefused { refusal, status, .. } => {
            *refusal == RegistrationRefusal::Unavailable && !matches!(status, 501 | 505 | 513)
        }
        // A certificate stays wrong until somebody acts; a handshake that broke off may work the next time.
        Error::Tls { fault: TlsFault::Other(_), .. } => true,
        Error::Tls { .. } | Error::SubprotocolRefused { .. } | Error::Configuration { .. } => false,
        // RFC 6585: 429 is a matter of time, as is 408; every other 4xx says that this request will never do.
        Error::WebSocketRefused { status, .. } => !(400..500).contains(status) || matches!(status, 408 | 429),
        _ => true,
    }
}

fn says(text: &str, phrase: &str, x_reason: Option<&str>, response: &Message) -> bool {
    let holds = |haystack: &str| haystack.to_ascii_lowercase().contains(text);
    holds(phrase)
        || x_reason.is_some_and(holds)
        || response.header(Name::Reason).is_some_and(|value| holds(&value))
        || response.header(Name::Warning).is_some_and(|value| holds(&value))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn response(status_line: &str, headers: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "SIP/2.0 {status_line}\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        ))).unwrap()
    }

    #[test]
    fn calls() {
        use CallRefusal as R;
        for (line, headers, expected) in [
            ("486 Busy Here", "", R::Busy),
            ("600 Busy Everywhere", "", R::Busy),
            ("603 Decline", "", R::Declined),
            ("404 Not Found", "", R::NotFound),
            ("604 Does Not Exist Anywhere", "", R::NotFound),
            ("480 no configured application", "", R::NoApplication),
            ("480 Temporarily Unavailable", "X-Reason: No configured application for the user\r\n", R::NoApplication),
            ("480 Temporarily Unavailable", "", R::Unavailable),
            ("408 Request Timeout", "", R::Unavailable),
            ("503 Service Unavailable", "", R::Overloaded),
            ("403 Forbidden", "", R::Forbidden),
            ("488 Not Acceptable Here", "", R::NotAcceptable),
            ("487 Request Terminated", "", R::Cancelled),
            ("302 Moved Temporarily", "", R::Other),
        ] {
            let Error::CallRefused { refusal, .. } = of_call(&response(line, headers)) else { panic!("{line}") };
            assert_eq!(refusal, expected, "{line} {headers}");
        }
        let Error::CallRefused { retry_after, .. } =
            of_call(&response("503 Service Unavailable", "Retry-After: 120 (maintenance);duration=60\r\n"))
        else {
            panic!("503 is a refusal")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(120)));
    }

    #[test]
    fn registrations() {
        use RegistrationRefusal as R;
        for (line, headers, expected, again) in [
            ("403 Forbidden", "X-Reason: Invalid credentials\r\n", R::Credentials, false),
            ("403 Forbidden", "X-Reason: Unknown realm\r\n", R::Realm, false),
            ("403 No such SIP realm", "", R::Realm, false),
            ("403 Forbidden", "", R::Forbidden, false),
            ("401 Unauthorized", "", R::Credentials, false),
            ("404 Not Found", "", R::Realm, false),
            ("480 unknown domain", "", R::Realm, false),
            ("480 Temporarily Unavailable", "", R::Unavailable, true),
            ("503 Service Unavailable", "", R::Unavailable, true),
            ("501 Not Implemented", "", R::Unavailable, false),
            ("400 Bad Request", "", R::Other, false),
        ] {
            let error = of_registration(&response(line, headers));
            let Error::RegistrationRefused { refusal, .. } = error else { panic!("{line}") };
            assert_eq!((refusal, may_pass(&error)), (expected, again), "{line} {headers}");
        }
    }

    #[test]
    fn what_no_retry_can_mend() {
        let refused = |status| Error::WebSocketRefused { url: String::new(), status };
        for (error, expected) in [
            (refused(404), false),
            (refused(408), true),
            (refused(429), true),
            (refused(503), true),
            (Error::SubprotocolRefused { url: String::new(), chosen: None }, false),
            (Error::Tls { host: String::new(), fault: TlsFault::UnknownIssuer }, false),
            (Error::Tls { host: String::new(), fault: TlsFault::Other("reset".to_owned()) }, true),
            (Error::FlowLost { problem: String::new() }, true),
            (Error::NameResolution { host: String::new(), problem: String::new() }, true),
        ] {
            assert_eq!(may_pass(&error), expected, "{error}");
        }
    }
}
