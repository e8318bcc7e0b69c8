//! What the client has to be told, and whether it can be right.

use core::fmt;
use std::net::IpAddr;

use codex_core_sip::ConfigurationProblem;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::application::url_without_secrets;
use crate::error::{Error, Result, cut};
use crate::sid::AccountSid;

/// The environment variable of [`JambonzApiConfig::api_base_url`].
pub const JAMBONZ_API_BASE_URL: &str = "JAMBONZ_API_BASE_URL";
/// The environment variable of [`JambonzApiConfig::api_key`].
pub const JAMBONZ_API_KEY: &str = "JAMBONZ_API_KEY";
/// The environment variable of [`JambonzApiConfig::account_sid`].
pub const JAMBONZ_ACCOUNT_SID: &str = "JAMBONZ_ACCOUNT_SID";

/// Where jambonz' API is and who asks. Checked when a client is made of it.
#[derive(Clone)]
pub struct JambonzApiConfig {
    /// `https://api.example.com/v1`, with or without `/v1` and `/` at the end.
    pub api_base_url: String,
    /// An API key of the account.
    pub api_key: SecretString,
    /// The account, a GUID.
    pub account_sid: String,
}

impl JambonzApiConfig {
    /// From the environment: `JAMBONZ_API_BASE_URL`, `JAMBONZ_API_KEY`, `JAMBONZ_ACCOUNT_SID`.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with every variable that is missing.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(environment)
    }

    /// As [`from_env`](Self::from_env), from another source of settings.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with every setting that is missing or empty.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let config = Self::unchecked(lookup);
        all_right(config.missing())?;
        Ok(config)
    }

    /// As [`from_env`](Self::from_env); what is missing is empty.
    pub(crate) fn unchecked(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |key| lookup(key).unwrap_or_default();
        Self {
            api_base_url: get(JAMBONZ_API_BASE_URL),
            api_key: get(JAMBONZ_API_KEY).into(),
            account_sid: get(JAMBONZ_ACCOUNT_SID),
        }
    }

    fn missing(&self) -> Vec<ConfigurationProblem> {
        [
            (JAMBONZ_API_BASE_URL, self.api_base_url.as_str(), EXAMPLE_URL),
            (JAMBONZ_API_KEY, self.api_key.expose_secret(), EXAMPLE_KEY),
            (JAMBONZ_ACCOUNT_SID, self.account_sid.as_str(), EXAMPLE_SID),
        ]
        .into_iter()
        .filter(|(_, value, _)| value.trim().is_empty())
        .map(|(key, _, example)| problem(key, None, "it is not set", example))
        .collect()
    }

    /// Everything parsed, or everything that is wrong.
    pub(crate) fn check(&self, insecure_hosts: &[String]) -> Result<Checked> {
        let mut problems = self.missing();
        let is_there = |text: &str| !text.trim().is_empty();
        let mut base = None;
        if is_there(&self.api_base_url) {
            match BaseUrl::parse(&self.api_base_url, insecure_hosts) {
                Ok(parsed) => base = Some(parsed),
                Err(found) => problems.push(found),
            }
        }
        let key = self.api_key.expose_secret().trim();
        if !key.bytes().all(|b| b.is_ascii_graphic()) {
            let what = "it holds blanks, control characters or characters outside ASCII";
            problems.push(problem(JAMBONZ_API_KEY, Some("***"), what, EXAMPLE_KEY));
        }
        let account: Option<AccountSid> = self.account_sid.trim().parse().ok();
        if account.is_none() && is_there(&self.account_sid) {
            // Whoever mixes the two up must not find the key in a log.
            let shown = if self.account_sid.trim() == key { "***" } else { &self.account_sid };
            problems.push(problem(JAMBONZ_ACCOUNT_SID, Some(shown), "it is not a GUID", EXAMPLE_SID));
        }
        all_right(problems)?;
        match (base, account) {
            (Some(base), Some(account)) => Ok(Checked { base, key: key.into(), account }),
            // Both are there if there is no problem.
            _ => Err(Error::Configuration(codex_core_sip::Error::Configuration { problems: Vec::new() })),
        }
    }
}

impl fmt::Debug for JambonzApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JambonzApiConfig")
            .field("api_base_url", &url_without_secrets(&self.api_base_url))
            .field("account_sid", &self.account_sid)
            .finish_non_exhaustive()
    }
}

/// A variable of the environment. What is not UTF-8 is taken, and then refused where it is checked.
pub(crate) fn environment(key: &str) -> Option<String> {
    std::env::var_os(key).map(|value| value.to_string_lossy().into_owned())
}

const EXAMPLE_URL: &str = "https://api.example.com/v1";
const EXAMPLE_KEY: &str = "an API key from jambonz' portal, Account > API keys";
const EXAMPLE_SID: &str = "9351f46a-678c-43f5-b8a6-d4eb58d131af";

/// What a client is made of.
pub(crate) struct Checked {
    pub(crate) base: BaseUrl,
    pub(crate) key: SecretString,
    pub(crate) account: AccountSid,
}

pub(crate) fn problem(key: &str, value: Option<&str>, problem: &str, example: &str) -> ConfigurationProblem {
    ConfigurationProblem {
        key: key.to_owned(),
        value: value.map(|value| cut(value, 80)),
        problem: problem.to_owned(),
        example: example.to_owned(),
    }
}

fn all_right(problems: Vec<ConfigurationProblem>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(codex_core_sip::Error::Configuration { problems }.into()) }
}

/// The API's address without `/` at its end; it ends in a version such as `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Url);

impl BaseUrl {
    fn parse(text: &str, insecure_hosts: &[String]) -> Result<Self, ConfigurationProblem> {
        // What is shown never holds user data.
        let shown = url_without_secrets(text.trim());
        let wrong = |what: &str| problem(JAMBONZ_API_BASE_URL, Some(&shown), what, EXAMPLE_URL);
        let mut url = Url::parse(text.trim()).map_err(|error| {
            let what = match error {
                url::ParseError::RelativeUrlWithoutBase => "it does not begin with https://".to_owned(),
                error => format!("it is not a URL: {error}"),
            };
            problem(JAMBONZ_API_BASE_URL, None, &what, EXAMPLE_URL)
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it holds a user name or password; jambonz takes the API key only"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it holds a query or fragment"));
        }
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => {}
            ("http", Some(host)) if is_loopback(&host) => {}
            ("http", Some(host)) if insecure_hosts.iter().any(|allowed| is_host(&host, allowed)) => {}
            ("http", Some(_)) => {
                return Err(wrong(
                    "it is not https: everybody on the way could read the API key. Only loopback addresses, and hosts \
                     that `allow_insecure_host` names, may be asked without TLS",
                ));
            }
            _ => return Err(wrong("it does not begin with https://")),
        }
        let mut path = url.path().trim_end_matches('/').to_owned();
        let last = path.rsplit('/').next().unwrap_or_default();
        if !is_version(last) {
            path.push_str("/v1");
        }
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The address of `path`, which begins with `/` and holds nothing that needs to be escaped.
    pub(crate) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url.set_query(query);
        url
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.0.host().is_some_and(|host| is_loopback(&host))
    }

    /// The name of a loopback host that has one, such as `localhost`.
    pub(crate) fn loopback_name(&self) -> Option<&str> {
        self.0.domain().filter(|_| self.is_loopback())
    }

    pub(crate) fn is_http(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether everybody on the way can read what is sent.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        self.is_http() && !self.is_loopback()
    }

    /// Host and port, for errors.
    pub(crate) fn host(&self) -> String {
        let port = self.0.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.0.host_str().unwrap_or_default())
    }
}

/// Whether a segment of a path is a version, such as `v1`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn is_host(host: &Host<&str>, allowed: &str) -> bool {
    let allowed = allowed.trim().trim_start_matches('[').trim_end_matches(']');
    match host {
        Host::Domain(name) => name.trim_end_matches('.').eq_ignore_ascii_case(allowed.trim_end_matches('.')),
        Host::Ipv4(address) => allowed.parse() == Ok(IpAddr::V4(*address)),
        Host::Ipv6(address) => allowed.parse() == Ok(IpAddr::V6(*address)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(url: &str) -> JambonzApiConfig {
        JambonzApiConfig {
            api_base_url: url.to_owned(),
            api_key: "S3CRET-key".into(),
            account_sid: "9351f46a-678c-43f5-b8a6-d4eb58d131af".to_owned(),
        }
    }

    fn base(url: &str) -> String {
        config(url).check(&[]).map(|c| c.base.0.to_string()).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    #[test]
    fn the_base_is_taken_with_or_without_version_and_slash() {
        for url in ["https://a.example", "https://a.example/", "https://a.example/v1", " https://A.example/v1/// "] {
            assert_eq!(base(url), "https://a.example/v1", "{url}");
        }
        assert_eq!(base("https://a.example:8443/api/jambonz"), "https://a.example:8443/api/jambonz/v1");
        assert_eq!(base("https://a.example/v2/"), "https://a.example/v2");
        assert_eq!(base("https://a.example/v"), "https://a.example/v/v1");
    }

    proptest! {
        #[test]
        fn a_base_is_the_same_however_it_is_written(
            segments in proptest::collection::vec("[a-z][a-z0-9-]{0,5}", 0..3),
            version in proptest::option::of(1_u8..4),
            slashes in "/{0,3}",
            blanks in " {0,2}",
        ) {
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            // A segment that looks like a version is one.
            prop_assume!(segments.last().is_none_or(|last| !is_version(last)));
            let written = version.map(|n| format!("/v{n}")).unwrap_or_default();
            let found = base(&format!("{blanks}https://a.example{path}{written}{slashes}{blanks}"));
            prop_assert_eq!(&found, &format!("https://a.example{path}/v{}", version.unwrap_or(1)));
            prop_assert_eq!(base(&found), found);
        }

        #[test]
        fn no_settings_panic_or_show_the_key(url in "\\PC*", account_sid in "\\PC*") {
            let wrong = JambonzApiConfig { api_base_url: url, api_key: "S3CRET-key S3CRET".into(), account_sid };
            let error = wrong.check(&[]).err().unwrap().to_string();
            prop_assert!(!error.contains("S3CRET"), "{}", error);
        }
    }

    #[test]
    fn without_tls_only_loopback_and_hosts_that_are_named() {
        for url in ["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]:3000", "http://api.localhost"] {
            assert!(config(url).check(&[]).is_ok(), "{url}");
        }
        for url in ["http://a.example", "http://127.0.0.1.a.example", "http://localhost.a.example", "http://10.0.0.1"] {
            let error = config(url).check(&["b.example".to_owned()]).err().unwrap();
            assert!(error.to_string().contains("not https"), "{url}: {error}");
        }
        let named = ["api.internal".to_owned(), "10.0.0.1".to_owned(), "fd00::1".to_owned()];
        for url in ["http://API.internal:3000/v1", "http://10.0.0.1", "http://[fd00::1]"] {
            assert!(config(url).check(&named).is_ok(), "{url}");
        }
        let error = config("a.example/v1").check(&[]).err().unwrap().to_string();
        assert!(error.contains("does not begin with https://"), "{error}");
        for url in ["ftp://a.example", "localhost:3000", "https://", "wss://a.example", "https://a.example?x=1"] {
            assert!(config(url).check(&[]).is_err(), "{url}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_without_secrets() {
        let wrong = JambonzApiConfig {
            api_base_url: "https://me:S3CRET@a.example/v1".to_owned(),
            api_key: "S3CRET key".into(),
            account_sid: "170".to_owned(),
        };
        let error = wrong.check(&[]).err().unwrap().to_string();
        for key in [JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY, JAMBONZ_ACCOUNT_SID] {
            assert!(error.contains(key), "{error}");
        }
        assert!(!error.contains("S3CRET"), "{error}");
        assert!(!format!("{wrong:?}").contains("S3CRET"), "{wrong:?}");

        let error = JambonzApiConfig::from_lookup(|_| Some(" ".to_owned())).err().unwrap().to_string();
        assert!(error.contains("3 settings are wrong"), "{error}");
        assert_eq!(error.matches("it is not set").count(), 3, "{error}");

        let mixed = JambonzApiConfig::unchecked(|key| (key != JAMBONZ_API_BASE_URL).then(|| "S3CRET".to_owned()));
        let error = mixed.check(&[]).err().unwrap().to_string();
        assert!(error.contains("JAMBONZ_API_BASE_URL: it is not set"), "{error}");
        assert!(error.contains("JAMBONZ_ACCOUNT_SID = \"***\": it is not a GUID"), "{error}");
        assert!(!error.contains("S3CRET"), "{error}");
        let found = JambonzApiConfig::from_lookup(|key| Some(format!("{key}-value"))).unwrap();
        assert_eq!(found.api_base_url, "JAMBONZ_API_BASE_URL-value");
        assert_eq!(found.account_sid, "JAMBONZ_ACCOUNT_SID-value");
    }
}
