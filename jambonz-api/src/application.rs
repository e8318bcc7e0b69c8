//! Applications as jambonz' REST API shows them. What is secret in them is of a secret type.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use codex_core_sip::metadata::ApplicationSid;
use secrecy::SecretString;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

use crate::sid::AccountSid;

/// An application: what jambonz runs for a call.
///
/// It cannot be serialised, and `Debug` shows neither passwords nor environment variables, nor what may hold them
/// (`app_json`, properties that this crate does not know, query and user data of URLs).
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Application {
    /// Its identity.
    #[serde(deserialize_with = "parsed")]
    pub application_sid: ApplicationSid,
    /// Its name, unique in the account, at most 64 characters.
    pub name: String,
    /// The account that it belongs to; `None` for a provider's test applications.
    #[serde(default, deserialize_with = "parsed_option")]
    pub account_sid: Option<AccountSid>,
    /// The service provider that it belongs to, if it is one's.
    #[serde(default)]
    pub service_provider_sid: Option<String>,
    /// Where calls are announced and verbs are asked for.
    #[serde(default)]
    pub call_hook: Option<Webhook>,
    /// Where the course of calls is told.
    #[serde(default)]
    pub call_status_hook: Option<Webhook>,
    /// Where text messages go.
    #[serde(default)]
    pub messaging_hook: Option<Webhook>,
    /// The verbs themselves as JSON, in place of a call hook. They can hold passwords.
    #[serde(default, deserialize_with = "json_text")]
    pub app_json: Option<SecretString>,
    /// Who speaks, such as `google`.
    #[serde(default)]
    pub speech_synthesis_vendor: Option<String>,
    /// In which language, such as `en-US`.
    #[serde(default)]
    pub speech_synthesis_language: Option<String>,
    /// With which voice.
    #[serde(default)]
    pub speech_synthesis_voice: Option<String>,
    /// With which of several credentials of the vendor.
    #[serde(default)]
    pub speech_synthesis_label: Option<String>,
    /// Who listens, such as `google`.
    #[serde(default)]
    pub speech_recognizer_vendor: Option<String>,
    /// In which language.
    #[serde(default)]
    pub speech_recognizer_language: Option<String>,
    /// With which of several credentials of the vendor.
    #[serde(default)]
    pub speech_recognizer_label: Option<String>,
    /// Whether the `fallback_speech_…` properties, which are in [`other`](Self::other), are used.
    #[serde(default, deserialize_with = "flag")]
    pub use_for_fallback_speech: bool,
    /// What jambonz passes to the application with each call.
    #[serde(default)]
    pub env_vars: Option<EnvironmentVariables>,
    /// When it was created (RFC 3339).
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether every call is recorded.
    #[serde(default, deserialize_with = "flag")]
    pub record_all_calls: bool,
    /// Every other property, as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A URL that jambonz calls.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Webhook {
    /// Its identity. Applications may share one.
    #[serde(default)]
    pub webhook_sid: Option<String>,
    /// Where to: `http`, `https`, `ws` or `wss`.
    pub url: String,
    /// `POST` or `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// User name for HTTP Basic authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// Password for it.
    #[serde(default)]
    pub password: Option<SecretString>,
    /// Every other property, as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Webhook {
    /// The URL without what may be secret in it: user data and query.
    #[must_use]
    pub fn shown_url(&self) -> String {
        url_without_secrets(&self.url)
    }
}

/// An application's environment variables, whose values are secret.
#[derive(Clone, Default)]
pub struct EnvironmentVariables(BTreeMap<String, SecretString>);

impl EnvironmentVariables {
    /// The value of `name`. What is not text comes as JSON.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for EnvironmentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} environment variables]", self.0.len())
    }
}

impl<'de> Deserialize<'de> for EnvironmentVariables {
    /// An object; jambonz keeps it as text as well, which some versions hand out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Value::deserialize(deserializer)? {
            // The message must not quote what was read.
            Value::String(text) if text.trim().is_empty() => return Ok(Self::default()),
            Value::String(text) => {
                serde_json::from_str(&text).map_err(|_| D::Error::custom("env_vars are not an object"))?
            }
            value => value,
        };
        let Value::Object(object) = value else { return Err(D::Error::custom("env_vars are not an object")) };
        let secret = |value| match value {
            Value::String(text) => text.into(),
            value => value.to_string().into(),
        };
        Ok(Self(object.into_iter().map(|(name, value)| (name, secret(value))).collect()))
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("not a GUID"))
}

fn parsed_option<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| D::Error::custom("not a GUID"))).transpose()
}

/// JSON as text, or as it is.
fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        value => Some(value.to_string().into()),
    })
}

/// MySQL's 0 and 1, or a real truth value.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(flag),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        _ => Err(de::Error::custom("neither a number nor a truth value")),
    }
}

/// A URL without what may be secret in it.
pub(crate) fn url_without_secrets(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            if url.query().is_some() {
                url.set_query(Some("…"));
            }
            url.into()
        }
        Err(_) => "[not a URL]".to_owned(),
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("webhook_sid", &self.webhook_sid)
            .field("url", &self.shown_url())
            .field("method", &self.method)
            .field("authenticated", &self.password.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("application_sid", &format_args!("{}", self.application_sid))
            .field("name", &self.name)
            .field("account_sid", &self.account_sid.map(|sid| sid.to_string()))
            .field("call_hook", &self.call_hook)
            .field("call_status_hook", &self.call_status_hook)
            .field("messaging_hook", &self.messaging_hook)
            .field("env_vars", &self.env_vars)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const SECRETS: &str = r#"{"application_sid":"7087FE50-8acb-4f3b-b820-97b573723aab","name":"hello world",
        "account_sid":null,"app_json":"[{\"verb\":\"dial\",\"password\":\"S3CRET-1\"}]","record_all_calls":1,
        "use_for_fallback_speech":false,"env_vars":{"TOKEN":"S3CRET-2","N":7},"new_key":"S3CRET-3",
        "call_hook":{"webhook_sid":"x","url":"wss://me:S3CRET-4@a.example/ws?t=S3CRET-5","method":"POST",
            "username":"u","password":"S3CRET-6","extra":"S3CRET-7"},"call_status_hook":null}"#;

    #[test]
    fn properties_are_typed_and_the_rest_is_kept() {
        let application: Application = serde_json::from_str(SECRETS).unwrap();
        assert_eq!(application.application_sid.to_string(), "7087fe50-8acb-4f3b-b820-97b573723aab");
        assert!(application.account_sid.is_none() && application.messaging_hook.is_none());
        assert!(application.record_all_calls && !application.use_for_fallback_speech);
        let variables = application.env_vars.as_ref().unwrap();
        assert_eq!(variables.names().collect::<Vec<_>>(), ["N", "TOKEN"]);
        assert_eq!(variables.get("TOKEN").unwrap().expose_secret(), "S3CRET-2");
        assert_eq!(variables.get("N").unwrap().expose_secret(), "7");
        assert_eq!(application.other["new_key"], "S3CRET-3");
        let hook = application.call_hook.as_ref().unwrap();
        assert_eq!(hook.password.as_ref().unwrap().expose_secret(), "S3CRET-6");
        assert_eq!(hook.other["extra"], "S3CRET-7");
    }

    #[test]
    fn verbs_are_taken_as_text_and_as_they_are() {
        for verbs in [r#"[{"verb":"hangup"}]"#, r#""[{\"verb\":\"hangup\"}]""#] {
            let text = format!(
                r#"{{"application_sid":"7087fe50-8acb-4f3b-b820-97b573723aab","name":"x","app_json":{verbs}}}"#
            );
            let application: Application = serde_json::from_str(&text).unwrap();
            assert_eq!(application.app_json.unwrap().expose_secret(), r#"[{"verb":"hangup"}]"#);
        }
    }

    #[test]
    fn nothing_secret_is_in_debug() {
        let application: Application = serde_json::from_str(SECRETS).unwrap();
        let shown = format!("{application:?} {application:#?}");
        assert!(shown.contains("hello world") && shown.contains("a.example/ws"), "{shown}");
        assert!(!shown.contains("S3CRET"), "{shown}");
    }

    #[test]
    fn environment_variables_come_as_text_too_and_errors_do_not_quote_them() {
        let as_text: EnvironmentVariables = serde_json::from_str(r#""{\"A\":\"b\"}""#).unwrap();
        assert_eq!(as_text.names().collect::<Vec<_>>(), ["A"]);
        assert_eq!(serde_json::from_str::<EnvironmentVariables>("\"\"").unwrap().names().count(), 0);
        for wrong in [r#""S3CRET""#, r#"["S3CRET"]"#, "3"] {
            let error = serde_json::from_str::<EnvironmentVariables>(wrong).unwrap_err();
            assert!(!error.to_string().contains("S3CRET"), "{error}");
        }
    }
}
