//! The client's settings.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::error::{ConfigurationProblem, Error, Result};
use crate::header_field::HeaderField;
use crate::metadata::{ApplicationName, CustomerData, LanguageTag, UserToUserEncoding, check_extra_headers};
use crate::sip::uri::Uri;
use crate::time::micros_of;

pub use crate::sip::user_agent::Backoff;

/// What both headers that carry customer data may take together, in bytes: they must fit jambonz' inner UDP leg.
pub const DEFAULT_CUSTOMER_DATA_LIMIT_BYTES: usize = 4096;

/// The settings of a client. All values are checked when the client is made.
///
/// Its `Debug` shows no password, no query of `wss_server`, and of customer data only field names and sizes.
#[derive(Clone)]
pub struct SipClientConfig {
    /// The SIP domain: the account's SIP realm in jambonz.
    pub domain: String,
    /// The edge, `wss://host:port/path`. `ws://` is not encrypted: for tests and closed networks.
    pub wss_server: String,
    /// The user that registers and calls.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// Whom `start_call` calls unless told otherwise. Sent as it is; an application's GUID is never replaced by a name.
    pub target_uri: String,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Whether direct paths may be used.
    pub ice_transport_policy: IceTransportPolicy,
    /// The language of calls that ask for none.
    pub default_language: LanguageTag,
    /// The language to fall back to where a text is missing.
    pub fallback_language: LanguageTag,
    /// Who is calling and why, unless a call says otherwise.
    pub customer_data: Option<CustomerData>,
    /// The readable name of the application behind `target_uri`.
    pub target_application_name: Option<ApplicationName>,
    /// How `User-to-User` is written.
    pub user_to_user_encoding: UserToUserEncoding,
    /// What `X-Customer-Data` and `User-to-User` may take together, in bytes.
    pub customer_data_limit_bytes: usize,
    /// Headers added to every INVITE.
    pub extra_headers: Vec<HeaderField>,
    /// How many times a registration that fails for want of an answer is tried before it is given up, if
    /// `infinite_reconnect` is off.
    pub max_register_retries: u32,
    /// Whether a lost connection is tried again for ever.
    pub infinite_reconnect: bool,
    /// The waits between attempts to reach the edge, drawn from zero to a step that grows (full jitter).
    pub reconnect_backoff: Backoff,
    /// How long what a person asked for in a call (a key, hold, the end) waits for the connection to come back.
    pub flow_wait: Duration,
    /// How often a CRLF keep-alive is sent (RFC 5626 §3.5.1); `None` for never.
    pub keep_alive_interval: Option<Duration>,
    /// What expiry REGISTER asks for. The registrar's answer counts.
    pub register_expires: Duration,
    /// How long an outgoing call may go unanswered before it is cancelled.
    pub no_answer_timeout: Duration,
    /// What interval between refreshes a call asks for (RFC 4028), at least 90 s; `None` to ask for none.
    pub session_expires: Option<Duration>,
    /// How long ICE may be `disconnected` in a call before it is restarted; it may come back by itself.
    pub ice_restart_after: Duration,
    /// How long a call without media may go on while they are being mended; then it ends.
    pub media_recovery_timeout: Duration,
    /// Whether the far end of a call may ask the program to call somebody else in its place (REFER, the event
    /// `transferRequested`). If not it hears 603: who sends us anywhere decides whom we call.
    pub accept_transfers: bool,
    /// Whether somebody else may take the far end's place in a call (`Replaces`, RFC 3891). It takes knowing the call's
    /// Call-ID and both tags, as every other change of a call does.
    pub accept_replacements: bool,
    /// Whether the offer of the next call is made in advance as soon as the client is registered, and again after each call,
    /// so that `start_call` sends its INVITE at once. It costs an idle client a peer connection with its sockets (some 100
    /// KiB); the audio source is opened only by the call. On unless the program is a page, where it would ask for the
    /// microphone: there `prepare` is called when somebody is about to call.
    pub prepare_after_registration: bool,
    /// From where on a call counts as bad.
    pub quality_thresholds: QualityThresholds,
    /// How long a call may go without a packet from the far end before it is reported.
    pub no_packets_timeout: Duration,
    /// Certificates of authorities that are trusted beside the system's, in PEM.
    pub extra_ca_certificates_pem: Vec<String>,
}

impl core::fmt::Debug for SipClientConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SipClientConfig")
            .field("domain", &self.domain)
            .field("wss_server", &redacted_url(&self.wss_server))
            .field("username", &self.username)
            .field("target_uri", &self.target_uri)
            .field("ice_servers", &self.ice_servers)
            .field("ice_transport_policy", &self.ice_transport_policy)
            .field("default_language", &self.default_language)
            .field("customer_data", &self.customer_data)
            .field("target_application_name", &self.target_application_name)
            .field("user_to_user_encoding", &self.user_to_user_encoding)
            .field("max_register_retries", &self.max_register_retries)
            .field("infinite_reconnect", &self.infinite_reconnect)
            .field("reconnect_backoff", &self.reconnect_backoff)
            .field("keep_alive_interval", &self.keep_alive_interval)
            .field("register_expires", &self.register_expires)
            .field("no_answer_timeout", &self.no_answer_timeout)
            .field("no_packets_timeout", &self.no_packets_timeout)
            .finish_non_exhaustive()
    }
}

impl SipClientConfig {
    /// Settings with defaults for everything that has one.
    #[must_use]
    pub fn new(
        domain: impl Into<String>,
        wss_server: impl Into<String>,
        username: impl Into<String>,
        password: SecretString,
        target_uri: impl Into<String>,
    ) -> Self {
        Self {
            domain: domain.into(),
            wss_server: wss_server.into(),
            username: username.into(),
            password,
            target_uri: target_uri.into(),
            ice_servers: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
            default_language: LanguageTag::EN,
            fallback_language: LanguageTag::EN,
            customer_data: None,
            target_application_name: None,
            user_to_user_encoding: UserToUserEncoding::Hex,
            customer_data_limit_bytes: DEFAULT_CUSTOMER_DATA_LIMIT_BYTES,
            extra_headers: Vec::new(),
            max_register_retries: 5,
            infinite_reconnect: true,
            reconnect_backoff: Backoff::default(),
            flow_wait: Duration::from_secs(32),
            keep_alive_interval: Some(Duration::from_secs(30)),
            register_expires: Duration::from_secs(600),
            no_answer_timeout: Duration::from_secs(60),
            session_expires: Some(Duration::from_secs(1800)),
            ice_restart_after: Duration::from_secs(1),
            media_recovery_timeout: Duration::from_secs(30),
            accept_transfers: false,
            accept_replacements: true,
            prepare_after_registration: cfg!(not(target_arch = "wasm32")),
            quality_thresholds: QualityThresholds::default(),
            no_packets_timeout: Duration::from_secs(10),
            extra_ca_certificates_pem: Vec::new(),
        }
    }

    /// Looks at every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with all that is wrong, not just the first.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        if Uri::parse(&format!("sip:{}", self.domain)).is_err() || self.domain.contains(['@', ';', '?', '<', '>']) {
            problems.push(problem("domain", Some(&self.domain), "it must be a host name", "sip.example.com"));
        }
        if let Err(what) = check_websocket_url(&self.wss_server) {
            let shown = redacted_url(&self.wss_server);
            problems.push(problem("wssServer", Some(&shown), what, "wss://sip.example.com:8443"));
        }
        if Uri::parse(&format!("sip:{}@invalid", self.username)).is_err() || self.username.is_empty() {
            problems.push(problem("username", Some(&self.username), "it must be the user part of a SIP URI", "170"));
        }
        if self.password.expose_secret().is_empty() {
            problems.push(problem("password", None, "it is empty", "the user's password in jambonz"));
        }
        if let Err(Error::Configuration { problems: of_target }) = validate_target_uri("targetUri", &self.target_uri) {
            problems.extend(of_target);
        }
        if self.register_expires < Duration::from_secs(10) {
            let value = format!("{} s", self.register_expires.as_secs());
            problems.push(problem("registerExpires", Some(&value), "it is shorter than 10 s", "600 s"));
        }
        if self.keep_alive_interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
            let value = self.keep_alive_interval.map(|interval| format!("{} ms", micros_of(interval) / 1000));
            problems.push(problem(
                "keepAliveInterval",
                value.as_deref(),
                "it is shorter than 1,000 ms",
                "30000, or 0 for off",
            ));
        }
        for server in &self.ice_servers {
            for url in &server.urls {
                let scheme = url.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
                let turn = matches!(scheme, "turn" | "turns");
                if !turn && !matches!(scheme, "stun" | "stuns") {
                    problems.push(problem(
                        "iceServers",
                        Some(url),
                        "it is no STUN or TURN URL",
                        "stun:stun.example.com:3478",
                    ));
                } else if turn && (server.username.is_none() || server.credential.is_none()) {
                    let what = "a TURN server needs user name and credential";
                    problems.push(problem("iceServers", Some(url), what, "TURN_USERNAME and TURN_PASSWORD"));
                }
            }
        }
        for field in &self.extra_headers {
            if let Err(error) = check_extra_headers(core::slice::from_ref(field)) {
                problems.push(problem(
                    "extraHeaders",
                    Some(field.name.as_str()),
                    &error.to_string(),
                    "X-Department: sales",
                ));
            }
        }
        if let Some(Err(error)) = self.customer_data.as_ref().map(CustomerData::validate) {
            problems.push(problem("customerData", None, &error.to_string(), r#"{"callType":"webcall"}"#));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Configuration { problems }) }
    }
}

/// Whether `uri` can be called: a `sip` or `sips` URI with a user part.
pub(crate) fn validate_target_uri(key: &str, uri: &str) -> Result<()> {
    let right = Uri::parse(uri).is_ok_and(|uri| {
        // RFC 3986 §3.1: a scheme is the same in any case.
        let sip = uri.scheme().eq_ignore_ascii_case("sip") || uri.scheme().eq_ignore_ascii_case("sips");
        sip && uri.user().is_some()
    });
    if right {
        return Ok(());
    }
    let what = "it must be a SIP URI with a user part";
    let example = "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com";
    Err(Error::Configuration { problems: vec![problem(key, Some(uri), what, example)] })
}

/// The scheme of a URL and what follows its `://`; `None` if it is no URL with an authority.
#[must_use]
pub fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// A URL without what may be secret in it: user data, query and fragment.
pub(crate) fn redacted_url(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match (split_scheme(shown), shown.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        _ => shown.to_owned(),
    }
}

fn check_websocket_url(url: &str) -> Result<(), &'static str> {
    let Some((scheme, rest)) = split_scheme(url) else {
        return Err("it is no URL");
    };
    if !scheme.eq_ignore_ascii_case("ws") && !scheme.eq_ignore_ascii_case("wss") {
        return Err("its scheme must be wss (or ws, which is not encrypted)");
    }
    if rest.is_empty() || rest.starts_with(['/', ':', '?']) {
        return Err("it names no host");
    }
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("it holds white space or control characters");
    }
    Ok(())
}

fn problem(key: &str, value: Option<&str>, what: &str, example: &str) -> ConfigurationProblem {
    ConfigurationProblem {
        key: key.to_owned(),
        value: value.map(|value| value.chars().take(128).collect()),
        problem: what.to_owned(),
        example: example.to_owned(),
    }
}

/// From where on a call counts as bad; each crossing is told as an event `quality`, and so is the way back. `None` is
/// never told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualityThresholds {
    /// A longer round trip: people begin to talk over each other (ITU-T G.114 asks for 150 ms one way).
    pub round_trip_time: Option<Duration>,
    /// More jitter: the jitter buffer cannot follow.
    pub jitter: Option<Duration>,
    /// A larger share of lost packets, in percent.
    pub loss_percent: Option<f64>,
    /// A lower mean opinion score, 1.0 to 4.5.
    pub mos: Option<f64>,
    /// A microphone that has given nothing but silence for so long, though it is not muted.
    pub microphone_silence: Option<Duration>,
}

impl Default for QualityThresholds {
    fn default() -> Self {
        Self {
            round_trip_time: Some(Duration::from_millis(400)),
            jitter: Some(Duration::from_millis(50)),
            loss_percent: Some(5.0),
            mos: Some(3.5),
            microphone_silence: Some(Duration::from_secs(15)),
        }
    }
}

/// A STUN or TURN server, as the W3C's `RTCIceServer`.
#[derive(Debug, Clone)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// The user, for TURN.
    pub username: Option<String>,
    /// The password, for TURN.
    pub credential: Option<SecretString>,
}

/// Which paths ICE may use, as the W3C's `RTCIceTransportPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IceTransportPolicy {
    /// All of them.
    #[default]
    All,
    /// Only those through a TURN server.
    Relay,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SipClientConfig {
        SipClientConfig::new(
            "sip.example.com",
            "wss://sip.example.com:8443",
            "170",
            SecretString::from("secret"),
            "sip:0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com",
        )
    }

    #[test]
    fn right_settings_pass() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn all_problems_are_told_at_once_and_no_secret_with_them() {
        let mut config = config();
        config.domain = "sip example".to_owned();
        config.wss_server = "https://admin:hunter2@sip.example.com?token=hunter2".to_owned();
        config.username = String::new();
        config.password = SecretString::from("");
        config.target_uri = "tel:+74951234567".to_owned();
        config.keep_alive_interval = Some(Duration::from_millis(30));
        config.ice_servers =
            vec![IceServer { urls: vec!["turn:turn.example.com".to_owned()], username: None, credential: None }];
        let error = config.validate().unwrap_err();
        let text = error.to_string();
        let Error::Configuration { problems } = error else { panic!("{text}") };
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            ["domain", "wssServer", "username", "password", "targetUri", "keepAliveInterval", "iceServers"]
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = config();
        config.wss_server = "wss://admin:hunter2@sip.example.com/ws?token=hunter2".to_owned();
        config.password = SecretString::from("hunter2");
        config.customer_data = Some(CustomerData::new("webcall").client_name("Иван hunter2"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && shown.contains("wss://***@sip.example.com/ws"), "{shown}");
    }

    #[test]
    fn a_url_that_is_no_websocket_is_told_why() {
        for (url, what) in [
            ("sip.example.com", "it is no URL"),
            ("https://sip.example.com", "its scheme must be wss (or ws, which is not encrypted)"),
            ("wss://", "it names no host"),
            ("wss://:8443", "it names no host"),
            ("wss://a b", "it holds white space or control characters"),
        ] {
            assert_eq!(check_websocket_url(url), Err(what), "{url}");
        }
        for url in ["wss://sip.example.com:8443/ws", "WS://127.0.0.1:8080", "wss://[::1]:8443"] {
            assert_eq!(check_websocket_url(url), Ok(()), "{url}");
        }
    }
}
