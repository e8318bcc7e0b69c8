//! A page's settings, under the names of `new CodexSipClient({…})` or as env-style keys.

use std::time::Duration;

use codex_core_sip::config::{IceServer, IceTransportPolicy, SipClientConfig};
use codex_core_sip::metadata::{ApplicationName, CustomerData, LanguageTag, parse_extra_header};
use codex_core_sip::{ConfigurationProblem, Error, Locale};
use codex_web_widget::KeyValues;
use secrecy::SecretString;
use wasm_bindgen::prelude::wasm_bindgen;

/// Names and values, as they were given.
#[wasm_bindgen]
pub struct Settings {
    /// Env-style keys, which the facade reads, rather than names of `new CodexSipClient({…})`.
    keys: bool,
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
    /// None so far. `keys`: what follows are env-style keys.
    #[wasm_bindgen(constructor)]
    pub fn new(keys: bool) -> Settings {
        Self { keys, given: Vec::new(), ice_servers: Vec::new() }
    }

    /// A setting. `extraHeaders` may be given several times, a line `Name: value` each; customer data is JSON. What is none
    /// of ours is let be.
    pub fn set(&mut self, name: String, value: String) {
        self.given.push((name, value));
    }

    /// A server of `iceServers`; its URLs are separated by white space.
    pub fn ice_server(&mut self, urls: &str, username: Option<String>, credential: Option<String>) {
        self.ice_servers.push(IceServer {
            urls: urls.split_whitespace().map(str::to_owned).collect(),
            username,
            credential: credential.map(SecretString::from),
        });
    }
}

impl Settings {
    /// The configuration, and what works but should be looked at.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with everything that is wrong, under the names that were given.
    pub(crate) fn into_config(self) -> Result<(SipClientConfig, Vec<String>), Error> {
        if self.keys {
            let read = codex_web_widget::Settings::from_keys(&KeyValues::from_pairs(self.given))?;
            let warnings = read.warnings.iter().map(|warning| warning.in_locale(Locale::En)).collect();
            return Ok((read.sip, warnings));
        }
        let mut problems = Vec::new();
        let mut config = SipClientConfig::new("", "", "", SecretString::from(""), "");
        config.ice_servers = self.ice_servers;
        for (name, value) in &self.given {
            if let Err(error) = apply(&mut config, name, value) {
                let problem = match error {
                    Wrong::It(problem) => problem.to_owned(),
                    Wrong::Told(error) => error.to_string(),
                };
                problems.push(ConfigurationProblem { key: name.clone(), value: None, problem, example: String::new() });
            }
        }
        if let Err(Error::Configuration { problems: others }) = config.validate() {
            problems.extend(others);
        }
        if problems.is_empty() { Ok((config, Vec::new())) } else { Err(Error::Configuration { problems }) }
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

fn apply(config: &mut SipClientConfig, name: &str, value: &str) -> Result<(), Wrong> {
    match name {
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
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keys: bool, given: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new(keys);
        given.iter().for_each(|(name, value)| settings.set((*name).to_owned(), (*value).to_owned()));
        settings
    }

    #[test]
    fn env_style_keys_and_names_say_the_same() {
        let env = [
            ("VITE_JAMBONZ_SIP_DOMAIN", "sip.example.com"),
            ("JAMBONZ_WSS_ADDRESS", "wss://sip.example.com:8443"),
            ("JAMBONZ_SIP_USERNAME", "170"),
            ("JAMBONZ_SIP_PASSWORD", "secret"),
            ("TARGET_SIP_URI", "sip:1@sip.example.com"),
            ("KEEP_ALIVE_INTERVAL", "0"),
            ("INFINITE_RECONNECT", "false"),
            ("DEFAULT_LANG", "ru"),
            ("DEFAULT_LNAG", "en"),
        ];
        let (by_keys, warnings) = settings(true, &env).into_config().unwrap();
        assert_eq!(warnings.len(), 1, "the misspelt key: {warnings:?}");
        let named = [
            ("domain", "sip.example.com"),
            ("wssServer", "wss://sip.example.com:8443"),
            ("username", "170"),
            ("password", "secret"),
            ("targetUri", "sip:1@sip.example.com"),
            ("keepAliveInterval", "0"),
            ("infiniteReconnect", "false"),
            ("defaultLanguage", "ru"),
            ("whatever", "else"),
        ];
        let (by_name, _) = settings(false, &named).into_config().unwrap();
        assert_eq!(format!("{by_name:?}"), format!("{by_keys:?}"));
    }

    #[test]
    fn all_problems_are_told_at_once_under_the_names_that_were_given() {
        let wrong = |keys: bool, given: &[(&str, &str)]| match settings(keys, given).into_config() {
            Err(Error::Configuration { problems }) => problems.into_iter().map(|p| p.key).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let keys = wrong(true, &[("INFINITE_RECONNECT", "perhaps"), ("CUSTOMER_DATA", "{")]);
        for key in ["INFINITE_RECONNECT", "CUSTOMER_DATA", "JAMBONZ_SIP_DOMAIN", "TARGET_SIP_URI"] {
            assert!(keys.iter().any(|found| found == key), "{key}: {keys:?}");
        }
        let named = wrong(false, &[("domain", "d"), ("customerData", "{}"), ("keepAliveInterval", "soon")]);
        assert_eq!(named, ["customerData", "keepAliveInterval", "wssServer", "username", "password", "targetUri"]);
    }
}
