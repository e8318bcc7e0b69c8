//! Headers that a program adds to its INVITEs.

use super::call_headers::METADATA_HEADERS;
use crate::error::{Error, Result};
use crate::escape::escaped;
use crate::header_field::{HeaderField, HeaderName, HeaderValue};

/// Headers that the user agent writes itself or whose meaning is the protocol's, long and compact names (IANA's
/// registry of SIP header fields).
const WRITTEN_BY_USER_AGENT: [&str; 55] = [
    "Via",
    "v",
    "From",
    "f",
    "To",
    "t",
    "Call-ID",
    "i",
    "CSeq",
    "Contact",
    "m",
    "Route",
    "Record-Route",
    "Max-Forwards",
    "Content-Length",
    "l",
    "Content-Type",
    "c",
    "Content-Encoding",
    "e",
    "Content-Disposition",
    "Content-Language",
    "MIME-Version",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
    "Expires",
    "Min-Expires",
    "Allow",
    "Supported",
    "k",
    "Require",
    "Proxy-Require",
    "Unsupported",
    "User-Agent",
    "RAck",
    "RSeq",
    "x",
    "Min-SE",
    "Refer-To",
    "r",
    "Referred-By",
    "b",
    "Refer-Sub",
    "Replaces",
    "Path",
    "Service-Route",
    "Event",
    "o",
    "Allow-Events",
    "u",
    "Subscription-State",
    "Accept",
];

/// Headers that jambonz sets itself or does not let through.
const USED_BY_JAMBONZ: [&str; 8] = [
    "X-Account-Sid",
    "X-CID",
    "X-Forwarded-For",
    "X-Application-Sid",
    "X-Authenticated-User",
    "X-Retain-Call-Sid",
    "X-Voip-Carrier-Sid",
    "Session-Expires",
];

/// The header in a line such as `X-Order: 4711`.
///
/// # Errors
///
/// [`Error::HeaderNotAllowed`] if there is no colon, and as [`extra_header`].
pub fn parse_extra_header(line: &str) -> Result<HeaderField> {
    match line.split_once(':') {
        Some((name, value)) => extra_header(name.trim_matches([' ', '\t']), value),
        None => Err(Error::HeaderNotAllowed {
            name: escaped(line, 64),
            problem: "it has no colon; write it as `Name: value`".to_owned(),
        }),
    }
}

/// The header `name` with `value`.
///
/// # Errors
///
/// [`Error::HeaderNotAllowed`] if the name is not a token or is reserved (see [`check_extra_headers`]), or if the value
/// holds a control character.
pub fn extra_header(name: &str, value: &str) -> Result<HeaderField> {
    let field = HeaderField { name: HeaderName::new(name)?, value: HeaderValue::new(name, value)? };
    check(&field.name)?;
    Ok(field)
}

/// Makes sure that none of `fields` has a reserved name: what the user agent writes itself, what jambonz uses or drops,
/// and the headers of call metadata.
///
/// # Errors
///
/// [`Error::HeaderNotAllowed`] for the first that has, with what to do instead.
pub fn check_extra_headers(fields: &[HeaderField]) -> Result<()> {
    fields.iter().try_for_each(|field| check(&field.name))
}

fn check(name: &HeaderName) -> Result<()> {
    let is_in = |names: &[&str]| names.iter().any(|reserved| name == *reserved);
    let problem = if is_in(&METADATA_HEADERS) {
        "it carries call metadata, which is written for you; use customer_data, target_application_name or language"
    } else if is_in(&USED_BY_JAMBONZ) {
        "jambonz sets this header itself or drops it; use another name, such as X-My-Header"
    } else if is_in(&WRITTEN_BY_USER_AGENT) {
        "it belongs to the protocol and is written by the user agent; use a name of your own, such as X-My-Header"
    } else {
        return Ok(());
    };
    Err(Error::HeaderNotAllowed { name: name.to_string(), problem: problem.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_headers() {
        for (line, name, value) in [
            ("X-Order: 4711", "X-Order", "4711"),
            ("Subject:привет: мир", "Subject", "привет: мир"),
            ("X-Empty :", "X-Empty", ""),
            (" P-Asserted-Identity: <sip:a@b>", "P-Asserted-Identity", "<sip:a@b>"),
        ] {
            let field = parse_extra_header(line).unwrap();
            assert_eq!((field.name.as_str(), field.value.as_str()), (name, value));
            assert_eq!(check_extra_headers(&[field]), Ok(()));
        }
    }

    #[test]
    fn lines_that_are_no_header_are_refused() {
        for line in [
            "",
            "X-Order",
            ": x",
            "X Order: 1",
            "Ж: 1",
            "X-A: 1\r\nX-B: 2",
            "X-A\r\nX-B: 2",
            "X-A: \0",
            "X-A: a\n",
            "X-A: \u{7f}",
        ] {
            let error = parse_extra_header(line).unwrap_err();
            assert!(matches!(error, Error::HeaderNotAllowed { .. }), "{error}");
            assert!(!error.to_string().contains(['\r', '\n', '\0']), "{error:?}");
        }
    }

    #[test]
    fn reserved_names_are_refused_in_any_case_and_in_their_compact_form() {
        for (names, remedy) in [
            (METADATA_HEADERS.as_slice(), "customer_data"),
            (USED_BY_JAMBONZ.as_slice(), "jambonz"),
            (WRITTEN_BY_USER_AGENT.as_slice(), "user agent"),
        ] {
            for name in names {
                for name in [name.to_uppercase(), name.to_lowercase(), format!(" {name}\t")] {
                    let error = parse_extra_header(&format!("{name}: x")).unwrap_err();
                    assert!(error.to_string().contains(remedy), "{error}");
                }
                let field = HeaderField { name: HeaderName::new(name).unwrap(), value: HeaderValue::from_static("x") };
                assert!(check_extra_headers(&[field]).is_err(), "{name}");
            }
        }
        for name in ["v", "VIA", "m", "l", "i", "x-cid", "session-expires"] {
            assert!(extra_header(name, "1").is_err(), "{name}");
        }
    }
}
