//! What can go wrong, told apart by what is to be done about it.

use std::time::Duration;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, where, and what to do about it. None holds a key, a password or an environment variable.
///
/// It can be cloned: those who wait for the same name get the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings are wrong; all of them are listed.
    #[error(transparent)]
    Configuration(#[from] codex_core_sip::Error),
    /// A sid is not a GUID. Nothing was sent.
    #[error("`{value}` is not an {kind} sid: it must be a GUID such as 0397dc5f-2f8f-4778-8499-0af934dd1196")]
    BadSid {
        /// Of what: `application`, `account`, `call`.
        kind: &'static str,
        /// What was given, escaped and cut.
        value: String,
    },
    /// A text is not a URI. Nothing was sent.
    #[error(
        "`{value}` is not a SIP URI: {problem}. One that names an application looks like sip:app-<application sid>@<domain>"
    )]
    BadUri {
        /// What was given, escaped and cut.
        value: String,
        /// What is wrong and where.
        problem: String,
    },
    /// What was to be sent cannot be: call metadata that is no object, a hook's URL that jambonz would refuse. Nothing
    /// was sent.
    #[error("{what} cannot be sent to jambonz: {problem}")]
    BadRequest {
        /// What was to be sent.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// 401: jambonz does not know the key.
    #[error(
        "jambonz does not accept the API key (401): check JAMBONZ_API_KEY; it may have been deleted, or belong to another platform than JAMBONZ_API_BASE_URL"
    )]
    Unauthorized,
    /// 403: the key is valid but may not do this.
    #[error(
        "jambonz does not let this API key {action} (403{}): use a key of the account JAMBONZ_ACCOUNT_SID, or correct that sid",
        said(.message)
    )]
    Forbidden {
        /// What was tried.
        action: String,
        /// What jambonz said.
        message: Option<String>,
    },
    /// 404: there is no such thing, or it belongs to another account.
    #[error("jambonz has no {what} that this API key may see: check the sid, and that the key is of the same account")]
    NotFound {
        /// What was asked for, with its sid.
        what: String,
    },
    /// 404 with a web page: the server does not know the route, so this is not jambonz' API.
    #[error(
        "{url} is not a route of jambonz' API: check JAMBONZ_API_BASE_URL, which looks like https://api.example.com/v1"
    )]
    UnknownRoute {
        /// What was asked for.
        url: String,
    },
    /// The server sent us elsewhere. It is not followed: the key belongs to the address that was configured.
    #[error(
        "{url} redirects to {} (status {status}): set JAMBONZ_API_BASE_URL to the final address",
        location.as_deref().unwrap_or("an unknown place")
    )]
    Redirected {
        /// What was asked for.
        url: String,
        /// The status, 300 to 399.
        status: u16,
        /// Where to, without query.
        location: Option<String>,
    },
    /// 400, 422 and other 4xx: jambonz understood the request and will not do it.
    #[error("jambonz refused to {action} with status {status}{}", said(.message))]
    Refused {
        /// What was tried.
        action: String,
        /// The status.
        status: u16,
        /// What jambonz said.
        message: Option<String>,
    },
    /// 429, or a wait that an earlier 429 asked for is not over. The client asks nothing before that.
    #[error(
        "jambonz' rate limit is used up: this client asks again in {} s, not before (the limit counts for the whole platform: 600 requests in 5 minutes by default, RATE_LIMIT_MAX_PER_WINDOW at the API server)",
        seconds_rounded_up(retry_after)
    )]
    RateLimited {
        /// How long it takes until the client asks again.
        retry_after: Duration,
    },
    /// 5xx: the API server, or a proxy before it, is in trouble. It was tried more than once where that could help.
    #[error("jambonz' API server failed with status {status}{}: try again later, and look at its log if this goes on", said(.message))]
    Server {
        /// The status, 500 to 599.
        status: u16,
        /// What jambonz said.
        message: Option<String>,
    },
    /// The answer is not JSON: a web page of a proxy, of a login, of another service.
    #[error(
        "{url} answered with {content_type} in place of JSON{}: check JAMBONZ_API_BASE_URL and the proxies before it",
        title.as_ref().map(|t| format!(", a page titled `{t}`")).unwrap_or_default()
    )]
    NotJson {
        /// What was asked for.
        url: String,
        /// The content type, or `no content type`.
        content_type: String,
        /// The page's title.
        title: Option<String>,
    },
    /// The answer is JSON but not what jambonz answers with.
    #[error(
        "{url} answered with JSON that is not {expected} (line {line}, column {column}): is this jambonz' API, in a version that this crate knows?"
    )]
    UnexpectedJson {
        /// What was asked for.
        url: String,
        /// What was expected.
        expected: &'static str,
        /// Line in the body, from 1.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
    },
    /// The answer is larger than we take.
    #[error("{url} answers with more than {limit_bytes} bytes: raise `body_limit_bytes` if the account is that large")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes, after decompression.
        limit_bytes: usize,
    },
    /// The list goes on and on.
    #[error(
        "{url} answers with more than {limit} pages: is this jambonz' API? If the account is that large, raise `body_limit_bytes`, so that fewer pages are needed"
    )]
    TooManyPages {
        /// What was asked for.
        url: String,
        /// How many pages are followed.
        limit: usize,
    },
    /// No answer in time.
    #[error(
        "{host} did not answer within {} ms: try again later, check the way to it, or raise `request_timeout` and `total_timeout`",
        waited.as_millis()
    )]
    Timeout {
        /// Host and port.
        host: String,
        /// How long it was waited: for the connection, for one answer, or for all attempts together.
        waited: Duration,
    },
    /// TLS failed.
    #[error(
        "TLS with {host} failed: {problem}. Check the server's certificate and the name in JAMBONZ_API_BASE_URL; a private authority goes into `extra_ca_certificate_pem`, or into the file that SSL_CERT_FILE names"
    )]
    Tls {
        /// Host and port.
        host: String,
        /// The library's words.
        problem: String,
    },
    /// No connection came about.
    #[error(
        "no connection to {host}: {problem}. Check JAMBONZ_API_BASE_URL, name resolution, firewall, and the proxy if HTTPS_PROXY or ALL_PROXY names one"
    )]
    Connect {
        /// Host and port.
        host: String,
        /// The system's words.
        problem: String,
    },
    /// The connection broke before the answer was complete, or what came is not HTTP, or not packed as it says.
    #[error(
        "the answer of {host} broke off or cannot be read: {problem}. Try again later, and check JAMBONZ_API_BASE_URL if this goes on"
    )]
    ConnectionLost {
        /// Host and port.
        host: String,
        /// What is known of the cause.
        problem: String,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Server { .. }
                | Self::Timeout { .. }
                | Self::Connect { .. }
                | Self::ConnectionLost { .. }
        )
    }
}

/// Whole seconds, of which none is too early.
fn seconds_rounded_up(wait: &Duration) -> u128 {
    wait.as_millis().div_ceil(1000)
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|m| format!(", `{m}`")).unwrap_or_default()
}

/// `text` cut to `chars` characters and without any that would not be seen as they are, for showing what came from
/// outside.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(chars) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(chars).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_escaped_and_cut() {
        assert_eq!(cut("a\r\nb\u{1b}[31m", 60), "a\\r\\nb\\u{1b}[31m");
        assert_eq!(cut("\"it's\"\u{202e}", 60), "\"it's\"\\u{202e}");
        assert_eq!(cut("яяяя", 3), "яяя…");
        assert_eq!(cut("яяя", 3), "яяя");
    }

    #[test]
    fn an_error_says_what_to_do() {
        let error = Error::RateLimited { retry_after: Duration::from_secs(300) };
        assert!(error.to_string().contains("asks again in 300 s, not before"), "{error}");
        let error = Error::RateLimited { retry_after: Duration::from_millis(100_001) };
        assert!(error.to_string().contains("asks again in 101 s, not before"), "{error}");
        let error = Error::Forbidden {
            action: "list the applications of account 1".to_owned(),
            message: Some("insufficient permissions".to_owned()),
        };
        assert_eq!(
            error.to_string(),
            "jambonz does not let this API key list the applications of account 1 (403, `insufficient permissions`): use \
             a key of the account JAMBONZ_ACCOUNT_SID, or correct that sid"
        );
        assert!(!error.is_temporary());
    }
}
