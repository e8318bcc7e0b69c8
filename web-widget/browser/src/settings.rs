//! A page's settings, under the names of `new CodexSipClient({…})` or as env-style keys.

use std::time::Duration;

use codex_core_sip::config::{IceServer, IceTransportPolicy, SipClientConfig};
use codex_core_sip::metadata::{ApplicationName, CustomerData, LanguageTag, parse_extra_header};
use codex_core_sip::{ConfigurationProblem, Error};
use secrecy::SecretString;
use wasm_bindgen::prelude::wasm_bindgen;

/// Names and values, as they were given.
#[wasm_bindgen]
#[derive(Default)]
pub struct Settings {
    given: Vec<(String, String)>,
    ice_servers: Vec<IceServer>,
}

impl core::fmt::Debug for Settings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Settings")
    }
}

#[wasm_bindgen]
impl Settings {
    /// None so far.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Settings {
        Self::default()
    }

    /// A setting. `extraHeaders` may be given several times, a line `Name: value` each; customer data is JSON. What is none
    /// of ours is let be.
    pub fn set(&mut self, name: String, value: String) {
        self.given.push((name, value));
    }

    /// A server of `iceServers`; its URLs are separated by white space.
    pub fn ice_server(&mut self, urls: &str, username: Option<String>, credential: Option<String>) {
        self.ice_servers.push(IceServer { urls: list(urls), username, credential: credential.map(SecretString::from) });
    }
}

/// The setting that an env-style key names, if it is one.
const KEYS: [(&str, &str); 17] = [
    ("JAMBONZ_SIP_DOMAIN", "domain"),
    ("JAMBONZ_WSS_ADDRESS", "wssServer"),
    ("JAMBONZ_SIP_USERNAME", "username"),
    ("JAMBONZ_SIP_PASSWORD", "password"),
    ("TARGET_SIP_URI", "targetUri"),
    ("TARGET_APPLICATION_NAME", "targetApplicationName"),
    ("DEFAULT_LANG", "defaultLanguage"),
    ("FALLBACK_LANG", "fallbackLanguage"),
    ("STUN_URLS", "stun"),
    ("TURN_URLS", "turn"),
    ("TURN_USERNAME", "turnUsername"),
    ("TURN_PASSWORD", "turnPassword"),
    ("ICE_TRANSPORT_POLICY", "iceTransportPolicy"),
    ("MAX_REGISTER_RETRIES", "maxRegisterRetries"),
    ("INFINITE_RECONNECT", "infiniteReconnect"),
    ("KEEP_ALIVE_INTERVAL", "keepAliveInterval"),
    ("CUSTOMER_DATA", "customerData"),
];
const USER_TO_USER_KEY: (&str, &str) = ("USER_TO_USER_ENCODING", "userToUserEncoding");

fn setting_of(name: &str) -> &str {
    KEYS.iter().chain([&USER_TO_USER_KEY]).find(|(key, _)| *key == name).map_or(name, |(_, setting)| setting)
}

impl Settings {
    /// # Errors
    ///
    /// [`Error::Configuration`] with everything that is wrong, under the names that were given.
    pub(crate) fn into_config(mut self) -> Result<SipClientConfig, Error> {
        let mut problems = Vec::new();
        let mut config = SipClientConfig::new("", "", "", SecretString::from(""), "");
        config.ice_servers = std::mem::take(&mut self.ice_servers);
        let mut turn = IceServer { urls: Vec::new(), username: None, credential: None };
        // An empty value is none, as in a file of keys.
        for (name, value) in self.given.iter().filter(|(_, value)| !value.trim().is_empty()) {
            if let Err(error) = apply(&mut config, &mut turn, name, value.trim()) {
                let problem = match error {
                    Wrong::It(problem) => problem.to_owned(),
                    Wrong::Told(error) => error.to_string(),
                };
                problems.push(ConfigurationProblem { key: name.clone(), value: None, problem, example: String::new() });
            }
        }
        if !turn.urls.is_empty() {
            config.ice_servers.push(turn);
        }
        if let Err(Error::Configuration { problems: others }) = config.validate() {
            let is_known = |key: &str| problems.iter().any(|problem| setting_of(&problem.key) == key);
            let others: Vec<_> = others.into_iter().filter(|other| !is_known(&other.key)).collect();
            problems.extend(others.into_iter().map(|mut other| {
                let by_key = self.given.iter().any(|(name, _)| name.contains('_'));
                if let Some((key, _)) = KEYS.iter().find(|(_, setting)| by_key && *setting == other.key) {
                    other.key = (*key).to_owned();
                }
                other
            }));
        }
        if problems.is_empty() { Ok(config) } else { Err(Error::Configuration { problems }) }
    }
}

/// What is wrong with one setting.
enum Wrong {
    It(&'static str),
    Told(Error),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

fn apply(config: &mut SipClientConfig, turn: &mut IceServer, name: &str, value: &str) -> Result<(), Wrong> {
    match setting_of(name) {
        "domain" => config.domain = value.to_owned(),
        "wssServer" => config.wss_server = value.to_owned(),
        "username" => config.username = value.to_owned(),
        "password" => config.password = SecretString::from(value),
        "targetUri" => config.target_uri = value.to_owned(),
        "defaultLanguage" => config.default_language = LanguageTag::parse(name, value)?,
        "fallbackLanguage" => config.fallback_language = LanguageTag::parse(name, value)?,
        "customerData" => config.customer_data = Some(CustomerData::from_json(name, value)?),
        "targetApplicationName" => config.target_application_name = Some(ApplicationName::parse(name, value)?),
        "userToUserEncoding" => config.user_to_user_encoding = value.parse()?,
        "extraHeaders" => config.extra_headers.push(parse_extra_header(value)?),
        "maxRegisterRetries" => {
            config.max_register_retries =
                value.parse().map_err(|_| Wrong::It("it must be a whole number, such as 5"))?;
        }
        "infiniteReconnect" => {
            config.infinite_reconnect = match value {
                "true" => true,
                "false" => false,
                _ => return Err(Wrong::It("it must be true or false")),
            };
        }
        "keepAliveInterval" => {
            let ms: u64 =
                value.parse().map_err(|_| Wrong::It("it must be milliseconds, such as 30000, or 0 for off"))?;
            config.keep_alive_interval = (ms > 0).then(|| Duration::from_millis(ms));
        }
        "iceTransportPolicy" => {
            config.ice_transport_policy = match value {
                "all" => IceTransportPolicy::All,
                "relay" => IceTransportPolicy::Relay,
                _ => return Err(Wrong::It("it must be all or relay")),
            };
        }
        "stun" => config.ice_servers.push(IceServer { urls: list(value), username: None, credential: None }),
        "turn" => turn.urls = list(value),
        "turnUsername" => turn.username = Some(value.to_owned()),
        "turnPassword" => turn.credential = Some(SecretString::from(value)),
        _ => {}
    }
    Ok(())
}

/// Texts separated by commas or white space.
fn list(text: &str) -> Vec<String> {
    text.split([',', ' ', '\t', '\n', '\r']).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn settings(given: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        given.iter().for_each(|(name, value)| settings.set((*name).to_owned(), (*value).to_owned()));
        settings
    }

    const ENV: [(&str, &str); 5] = [
        ("JAMBONZ_SIP_DOMAIN", "sip.example.com"),
        ("JAMBONZ_WSS_ADDRESS", "wss://sip.example.com:8443"),
        ("JAMBONZ_SIP_USERNAME", "170"),
        ("JAMBONZ_SIP_PASSWORD", "secret"),
        ("TARGET_SIP_URI", "sip:1@sip.example.com"),
    ];

    #[test]
    fn env_style_keys_and_names_say_the_same() {
        let mut env = ENV.to_vec();
        env.extend([
            ("STUN_URLS", "stun:a.example.com, stun:b.example.com"),
            ("TURN_URLS", "turn:c.example.com"),
            ("TURN_USERNAME", "u"),
            ("TURN_PASSWORD", "p"),
            ("KEEP_ALIVE_INTERVAL", "0"),
            ("INFINITE_RECONNECT", "false"),
            ("DEFAULT_LANG", "ru"),
            ("VITE_MODE", "x"),
        ]);
        let config = settings(&env).into_config().unwrap();
        assert_eq!((config.domain.as_str(), config.default_language.as_str()), ("sip.example.com", "ru"));
        assert_eq!((config.keep_alive_interval, config.infinite_reconnect), (None, false));
        assert_eq!(config.ice_servers[0].urls, ["stun:a.example.com", "stun:b.example.com"]);
        assert_eq!(config.ice_servers[1].credential.as_ref().map(ExposeSecret::expose_secret), Some("p"));
        let named = settings(&[
            ("domain", "sip.example.com"),
            ("wssServer", "wss://sip.example.com:8443"),
            ("username", "170"),
            ("password", "secret"),
            ("targetUri", "sip:1@sip.example.com"),
        ]);
        assert_eq!(named.into_config().unwrap().domain, config.domain);
    }

    #[test]
    fn all_problems_are_told_at_once_under_the_names_that_were_given() {
        let keys = |given: &[(&str, &str)]| match settings(given).into_config() {
            Err(Error::Configuration { problems }) => problems.into_iter().map(|p| p.key).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let wrong = [("INFINITE_RECONNECT", "perhaps"), ("CUSTOMER_DATA", "{"), ("JAMBONZ_SIP_DOMAIN", "a b")];
        assert_eq!(
            keys(&wrong),
            [
                "INFINITE_RECONNECT",
                "CUSTOMER_DATA",
                "JAMBONZ_SIP_DOMAIN",
                "JAMBONZ_WSS_ADDRESS",
                "JAMBONZ_SIP_USERNAME",
                "JAMBONZ_SIP_PASSWORD",
                "TARGET_SIP_URI"
            ]
        );
        assert_eq!(keys(&[("domain", "d")]), ["wssServer", "username", "password", "targetUri"]);
    }
}
