//! The edge's address as people write it: `wss://host:port/path`.

use tokio_tungstenite::tungstenite::http::Uri;

use crate::error::{ConfigurationProblem, Error, Result};

/// What a right address looks like, for error texts.
const EXAMPLE: &str = "wss://sip.example.com:8443/";

/// How much of a wrong value an error shows, in characters.
const SHOWN_CHARACTERS: usize = 200;

/// A `ws` or `wss` address that has been checked.
#[derive(Clone)]
pub(super) struct ServerAddress {
    /// The whole address, query included; for the handshake only, never for texts.
    pub(super) uri: Uri,
    /// Whether TLS is used.
    pub(super) secure: bool,
    /// The host: a name, or an IP address without brackets.
    pub(super) host: String,
    /// The TCP port.
    pub(super) port: u16,
}

impl ServerAddress {
    /// Checks an address. `key` is the setting that it came from.
    pub(super) fn parse(key: &str, text: &str) -> Result<Self> {
        let refuse = |problem: &str| Error::Configuration {
            problems: vec![ConfigurationProblem {
                key: key.to_owned(),
                value: Some(redact(text)),
                problem: problem.to_owned(),
                example: EXAMPLE.to_owned(),
            }],
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(refuse("the address of the SIP edge is missing"));
        }
        if trimmed.contains('#') {
            return Err(refuse("a WebSocket address has no fragment (`#…`, RFC 6455 §3)"));
        }
        if !trimmed.is_ascii() {
            return Err(refuse("write a host name with other than ASCII letters in its `xn--` form"));
        }
        let uri: Uri = trimmed.parse().map_err(|_| refuse("this is not a WebSocket address"))?;
        let secure = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("wss") => true,
            Some(scheme) if scheme.eq_ignore_ascii_case("ws") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => {
                return Err(refuse("this is a SIP URI; the edge's WebSocket address begins with `wss://`"));
            }
            _ => return Err(refuse("the address must begin with `wss://` (or `ws://`, which is not encrypted)")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(refuse(
                "user and password do not belong in this address; SIP has settings of its own for them",
            ));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        // `authority` knows a port only where one is written and is a number; `host:` and `host:99999` are neither.
        let written_port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let port = match (authority.port_u16(), written_port) {
            (Some(0), _) | (None, Some(_)) => return Err(refuse("the port must be a number from 1 to 65535")),
            (Some(port), _) => port,
            (None, None) if secure => 443,
            (None, None) => 80,
        };
        Ok(Self { uri, secure, host, port })
    }

    /// `scheme://host:port/path`, without user data and query.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.host_and_port(), self.uri.path())
    }

    /// `host:port`, an IPv6 address in brackets.
    pub(super) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// An address as errors may show it: without user data, query and fragment. It need not be well formed.
fn redact(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (kept, cut) = text.split_at(end);
    // User data ends at the last `@`, which in what is left can only be that of the authority or of a password with
    // an unescaped `@`; a path that holds one loses its beginning, which harms nobody.
    let mut shown = match kept.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("//").map(|(scheme, _)| format!("{scheme}//")).unwrap_or_default();
            format!("{scheme}…@{after}")
        }
        None => kept.to_owned(),
    };
    if cut.contains('@') && !shown.contains('@') {
        // A password with `?` or `#` in it: what stands before may be its beginning.
        shown = shown.split_once("//").map(|(scheme, _)| format!("{scheme}//")).unwrap_or_default();
    }
    if !cut.is_empty() {
        shown.push('…');
    }
    if shown.chars().count() > SHOWN_CHARACTERS {
        shown = shown.chars().take(SHOWN_CHARACTERS).collect::<String>() + "…";
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> ConfigurationProblem {
        match ServerAddress::parse("JAMBONZ_WSS_ADDRESS", text) {
            Err(Error::Configuration { mut problems }) if problems.len() == 1 => problems.remove(0),
            Err(other) => panic!("{text}: {other:?}"),
            Ok(address) => panic!("{text} was taken as {}", address.shown()),
        }
    }

    #[test]
    fn addresses_that_are_right() {
        for (text, secure, host, port, shown) in [
            ("wss://sip.example.com:8443/", true, "sip.example.com", 8443, "wss://sip.example.com:8443/"),
            ("wss://sip.example.com", true, "sip.example.com", 443, "wss://sip.example.com:443/"),
            (" WSS://sip.example.com/ws ", true, "sip.example.com", 443, "wss://sip.example.com:443/ws"),
            ("ws://127.0.0.1:5066", false, "127.0.0.1", 5066, "ws://127.0.0.1:5066/"),
            ("ws://[::1]", false, "::1", 80, "ws://[::1]:80/"),
            ("wss://[2001:db8::1]:8443/p?token=s3cret", true, "2001:db8::1", 8443, "wss://[2001:db8::1]:8443/p"),
        ] {
            let address = ServerAddress::parse("wssServer", text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.secure, address.host.as_str(), address.port), (secure, host, port), "{text}");
            assert_eq!(address.shown(), shown);
        }
    }

    #[test]
    fn addresses_that_are_wrong_name_the_key_and_the_mistake() {
        for (text, mistake) in [
            ("", "missing"),
            ("sip.example.com:8443", "begin with `wss://`"),
            ("https://sip.example.com", "begin with `wss://`"),
            ("sip://example.com", "SIP URI"),
            ("wss://", "not a WebSocket address"),
            ("wss:///path", "not a WebSocket address"),
            ("wss://host:0/", "port"),
            ("wss://host:/", "port"),
            ("wss://host:99999/", "port"),
            ("wss://host:port/", "port"),
            ("wss://host/#part", "fragment"),
            ("wss://пример.рф/", "xn--"),
            ("wss://ho st/", "not a WebSocket address"),
            ("wss://[::1/", "not a WebSocket address"),
        ] {
            let found = problem(text);
            assert_eq!(found.key, "JAMBONZ_WSS_ADDRESS", "{text}");
            assert!(found.problem.contains(mistake), "{text}: {}", found.problem);
        }
    }

    #[test]
    fn user_data_and_query_are_never_shown() {
        for text in [
            "wss://user:s3cret@host/",
            "https://user:s3cret@host/path",
            "user:s3cret@host",
            "https://host/?token=s3cret",
            "https://host/#s3cret",
            "wss://user:s3cret?x@host/",
            "wss://user:x@s3cret@host/",
        ] {
            let error = Error::Configuration { problems: vec![problem(text)] };
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{text}: {error}");
        }
    }
}
