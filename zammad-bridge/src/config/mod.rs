//! Settings: read from the command line, the environment, `.env` and a TOML file, the strongest first; all problems are told
//! at once.
//!
//! A setting has one name everywhere, such as `ZAMMAD_CTI_URL` (in the TOML file also `zammad_cti_url`); [`keys`] lists
//! them. Several Zammads are `[[zammad]]` tables of the TOML file, chosen by application:
//!
//! ```toml
//! record_lang = "ru"
//!
//! [[zammad]]
//! name = "support"                            # in logs, metrics and the store; do not rename it later
//! applications = ["voicebot", "0397dc5f-2f8f-4778-8499-0af934dd1196"]
//! cti_url = "https://support.example.com/api/v1/cti/<token>"
//! url = "https://support.example.com"
//! api_token = "…"
//! ticket_mode = "missed"
//!
//! [[zammad]]
//! name = "sales"                              # no applications: all that no other names
//! cti_url = "https://sales.example.com/api/v1/cti/<token>"
//! ```
//!
//! In a table the names go without `ZAMMAD_` and in lower case (`cti_url`, `concurrency`, `ticket_mode`, `record_lang` …). What a
//! table does not say is taken from the setting of the whole bridge, but for `cti_url`, `url` and `api_token`, which are each
//! Zammad's own. A `ZAMMAD_CTI_URL` beside the tables is one more Zammad, `default`.

pub mod keys;
mod problem;
mod reader;
mod sources;
mod zammads;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use codex_core_sip::metadata::ApplicationSid;
use codex_jambonz_api::JambonzApiConfig;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use self::problem::SettingProblem;
use self::reader::Reader;
pub use self::sources::{CONFIG_FILE, ENV_FILE, Origin, Places, Sources};
use crate::delivery::ZammadSettings;
use crate::error::{Error, Result};
use crate::receive::{
    CREDENTIALS_LIFETIME, HookLogin, MAX_UPSTREAM_CALL_LIMIT, MIN_SECRET_CHARS, TOKENS_PER_MINUTE, UPSTREAM_CALL_LIMIT,
    WidgetSettings, check_verbs,
};
use crate::store::DatabaseSettings;

/// The default of `BRIDGE_LISTEN`.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8787";
/// The bounds of `BRIDGE_REPLICA_LEASE`: what is shorter or longer is set to them.
const SHORTEST_REPLICA_LEASE: Duration = Duration::from_secs(3);
const LONGEST_REPLICA_LEASE: Duration = Duration::from_secs(600);

/// The default of `BRIDGE_DATABASE_URL`.
pub const DEFAULT_DATABASE_URL: &str = "sqlite://zammad-bridge.db";
/// The default of `RETAIN_DAYS`.
pub const DEFAULT_RETAIN_DAYS: u64 = 90;
/// The default of `CALL_MAX_AGE`: longer than calls last.
pub const DEFAULT_CALL_MAX_AGE: Duration = Duration::from_secs(12 * 60 * 60);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Everything that can be set, checked. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `BRIDGE_LISTEN`
    pub listen: SocketAddr,
    /// `BRIDGE_DATABASE_URL`
    pub database: DatabaseSettings,
    /// `BRIDGE_PUBLIC_URL`, without `/` at its end.
    pub public_url: Option<Url>,
    /// `BRIDGE_API_TOKEN`
    pub api_tokens: Vec<SecretString>,
    /// `BRIDGE_ADMIN_TOKEN`
    pub admin_token: Option<SecretString>,
    /// `BRIDGE_ADMIN_ALLOW_REMOTE`
    pub admin_allow_remote: bool,
    /// `BRIDGE_LOG`
    pub log: String,
    /// `BRIDGE_LOG_FORMAT`
    pub log_format: LogFormat,
    /// `RETAIN_DAYS`; `None` keeps everything.
    pub retain: Option<Duration>,
    /// `CALL_MAX_AGE`
    pub call_max_age: Duration,
    /// `JAMBONZ_WEBHOOK_SECRET`
    pub webhook_secrets: Vec<SecretString>,
    /// `JAMBONZ_HOOK_USERNAME` and `JAMBONZ_HOOK_PASSWORD`
    pub hook_login: Option<HookLogin>,
    /// `ALLOW_UNSIGNED`
    pub allow_unsigned: bool,
    /// `UPSTREAM_CALL_HOOK`
    pub upstream_call_hook: Option<Url>,
    /// `UPSTREAM_STATUS_HOOK`
    pub upstream_status_hook: Option<Url>,
    /// `UPSTREAM_TIMEOUT_MS`
    pub upstream_call_limit: Duration,
    /// The content of `UPSTREAM_CA_FILE`.
    pub upstream_ca_pem: Option<String>,
    /// The content of `FALLBACK_VERBS_FILE`.
    pub fallback_verbs: Option<Bytes>,
    /// The content of `VERBS_FILE`.
    pub verbs: Option<Bytes>,
    /// `JAMBONZ_API_BASE_URL`, `JAMBONZ_API_KEY`, `JAMBONZ_ACCOUNT_SID`
    pub jambonz_api: Option<JambonzApiConfig>,
    /// `INSECURE_HTTP_HOSTS`
    pub insecure_http_hosts: Vec<String>,
    /// `WIDGET_ORIGINS` and what goes with it.
    pub widget: Option<WidgetSettings>,
    /// Every Zammad: `ZAMMAD_CTI_URL` and the `[[zammad]]` tables.
    pub zammads: Vec<ZammadSettings>,
}

impl Settings {
    /// Reads the settings from everywhere. `environment` looks a variable up.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] with everything that is wrong.
    pub fn load(places: &Places, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut problems = Vec::new();
        let sources = Sources::read(places, environment, &mut problems);
        let mut reader = Reader { sources: &sources, problems: &mut problems };
        let settings = Self::read(&mut reader);
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(Error::Settings { problems }),
        }
    }

    /// `None` only beside a problem.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = reader.parsed(keys::LISTEN, "it is no address with a port");
        let listen = listen.or_else(|| DEFAULT_LISTEN.parse().ok());
        let database_url = reader.text(keys::DATABASE_URL).unwrap_or_else(|| DEFAULT_DATABASE_URL.to_owned());
        let database = DatabaseSettings::from_url(&database_url);
        let mut database = database.map_err(|error| reader.wrong(keys::DATABASE_URL, &problem_of(&error))).ok();
        if let (Some(lease), Some(DatabaseSettings::Postgres(postgres))) =
            (reader.duration(keys::REPLICA_LEASE), &mut database)
        {
            postgres.replica_lease = lease.clamp(SHORTEST_REPLICA_LEASE, LONGEST_REPLICA_LEASE);
        }
        let log_format = reader.choice(keys::LOG_FORMAT, &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        let retain_days = reader.number(keys::RETAIN_DAYS, 0, 36_500).unwrap_or(DEFAULT_RETAIN_DAYS);
        let call_max_age = reader.duration(keys::CALL_MAX_AGE).unwrap_or(DEFAULT_CALL_MAX_AGE);
        let webhook_secrets = reader.secrets(keys::WEBHOOK_SECRET);
        let hook_login = match (reader.text(keys::HOOK_USERNAME), reader.secret(keys::HOOK_PASSWORD)) {
            (Some(username), Some(password)) => Some(HookLogin { username, password }),
            (None, None) => None,
            (Some(_), None) => {
                reader.missing(keys::HOOK_PASSWORD, "JAMBONZ_HOOK_USERNAME is set and needs it");
                None
            }
            (None, Some(_)) => {
                reader.missing(keys::HOOK_USERNAME, "JAMBONZ_HOOK_PASSWORD is set and needs it");
                None
            }
        };
        let allow_unsigned = reader.flag(keys::ALLOW_UNSIGNED);
        let jambonz_api = jambonz_api(reader);
        let upstream_call_hook = reader.http_url(keys::UPSTREAM_CALL_HOOK);
        let upstream_status_hook = reader.http_url(keys::UPSTREAM_STATUS_HOOK);
        let most_ms = u64::try_from(MAX_UPSTREAM_CALL_LIMIT.as_millis()).unwrap_or_default();
        let upstream_call_limit = reader.number(keys::UPSTREAM_TIMEOUT_MS, 100, most_ms).map(Duration::from_millis);
        let fallback_verbs = verbs(reader, keys::FALLBACK_VERBS_FILE);
        let verbs = verbs(reader, keys::VERBS_FILE);
        let upstream_ca_pem = reader.file(keys::UPSTREAM_CA_FILE).map(|(_, pem)| pem);
        let insecure_http_hosts = reader.list(keys::INSECURE_HTTP_HOSTS);
        let public_url = reader.http_url(keys::PUBLIC_URL);
        let api_tokens = reader.secrets(keys::API_TOKEN);
        let admin_token = reader.secret(keys::ADMIN_TOKEN);
        let admin_allow_remote = reader.flag(keys::ADMIN_ALLOW_REMOTE);
        let widget = widget(reader);
        let zammads = zammads::read(reader, &insecure_http_hosts);

        let is_checked = !webhook_secrets.is_empty() || hook_login.is_some() || jambonz_api.is_some() || allow_unsigned;
        if !is_checked && listen.is_some_and(|listen: SocketAddr| !listen.ip().is_loopback()) {
            reader.refuse(
                keys::LISTEN,
                "anybody who reaches this address could make up calls, since hooks need show nothing",
                "set JAMBONZ_WEBHOOK_SECRET (jambonz' portal, Account), or JAMBONZ_HOOK_USERNAME and JAMBONZ_HOOK_PASSWORD, or \
                 JAMBONZ_API_KEY to have the secret fetched, or, if you mean it, ALLOW_UNSIGNED=true",
            );
        }
        Some(Self {
            listen: listen?,
            database: database?,
            public_url,
            api_tokens,
            admin_token,
            admin_allow_remote,
            log: reader.text(keys::LOG).unwrap_or_else(|| "info".to_owned()),
            log_format: log_format.unwrap_or_default(),
            retain: (retain_days > 0).then(|| Duration::from_secs(retain_days * 24 * 60 * 60)),
            call_max_age,
            webhook_secrets,
            hook_login,
            allow_unsigned,
            upstream_call_hook,
            upstream_status_hook,
            upstream_call_limit: upstream_call_limit.unwrap_or(UPSTREAM_CALL_LIMIT),
            upstream_ca_pem,
            fallback_verbs,
            verbs,
            jambonz_api,
            insecure_http_hosts,
            widget,
            zammads,
        })
    }
}

/// What is wrong, of an error that names its setting already.
fn problem_of(error: &Error) -> String {
    match error {
        Error::Configuration { problem, .. } => problem.clone(),
        other => other.to_string(),
    }
}

/// All three settings of jambonz' API, or none.
fn jambonz_api(reader: &mut Reader<'_>) -> Option<JambonzApiConfig> {
    let api_base_url = reader.text(keys::API_BASE_URL);
    let api_key = reader.secret(keys::API_KEY);
    let account_sid = reader.text(keys::ACCOUNT_SID);
    if api_base_url.is_none() && api_key.is_none() && account_sid.is_none() {
        return None;
    }
    let why = "the three settings of jambonz' API go together, and another of them is set";
    for (key, is_there) in [
        (keys::API_BASE_URL, api_base_url.is_some()),
        (keys::API_KEY, api_key.is_some()),
        (keys::ACCOUNT_SID, account_sid.is_some()),
    ] {
        if !is_there {
            reader.missing(key, why);
        }
    }
    Some(JambonzApiConfig { api_base_url: api_base_url?, api_key: api_key?, account_sid: account_sid? })
}

/// Credentials for web pages, if there are pages that get them.
fn widget(reader: &mut Reader<'_>) -> Option<WidgetSettings> {
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let origins = reader.list(keys::WIDGET_ORIGINS);
    if origins.is_empty() {
        return None;
    }
    for origin in &origins {
        let is_origin = Url::parse(origin).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.origin().ascii_serialization().eq_ignore_ascii_case(origin)
        });
        if !is_origin {
            reader.refuse_value(
                keys::WIDGET_ORIGINS,
                origin,
                "it is no origin: scheme, host and, if it is not the usual one, port, without a path",
                "for example https://shop.example.com",
            );
        }
    }
    let why = "WIDGET_ORIGINS is set and needs it";
    let secret = reader.secret(keys::WIDGET_SECRET);
    let realm = reader.text(keys::WIDGET_SIP_REALM);
    if reader.text(keys::WIDGET_SECRET).is_none() {
        reader.missing(keys::WIDGET_SECRET, why);
    }
    if secret.as_ref().is_some_and(|secret| secret.expose_secret().chars().count() < MIN_SECRET_CHARS) {
        reader.wrong(keys::WIDGET_SECRET, &format!("it has fewer than {MIN_SECRET_CHARS} characters"));
    }
    if realm.is_none() {
        reader.missing(keys::WIDGET_SIP_REALM, why);
    }
    let lifetime = reader.duration(keys::WIDGET_CREDENTIALS_LIFETIME).unwrap_or(CREDENTIALS_LIFETIME);
    if !(SHORTEST..=LONGEST).contains(&lifetime) {
        reader.wrong(keys::WIDGET_CREDENTIALS_LIFETIME, "it is not between 1m and 24h");
    }
    let application = reader.text(keys::WIDGET_APPLICATION);
    let sid = application.as_deref().and_then(ApplicationSid::from_user_part);
    if application.is_some() && sid.is_none() {
        reader.wrong(keys::WIDGET_APPLICATION, "it is no GUID of an application");
    }
    let tokens = reader.number(keys::WIDGET_TOKENS_PER_MINUTE, 1, 10_000).and_then(|number| u32::try_from(number).ok());
    let behind_proxy = reader.flag(keys::WIDGET_BEHIND_PROXY);
    Some(WidgetSettings {
        origins: origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
        secret: secret?,
        realm: realm?,
        lifetime,
        application: sid,
        tokens_per_minute: tokens.unwrap_or(TOKENS_PER_MINUTE),
        behind_proxy,
    })
}

/// The verbs in the file that `key` names.
fn verbs(reader: &mut Reader<'_>, key: keys::Key) -> Option<Bytes> {
    let (path, text) = reader.file(key)?;
    match check_verbs(&text) {
        Ok(()) => Some(Bytes::from(text)),
        Err(problem) => {
            let remedy =
                "write verbs such as [{\"verb\":\"say\",\"text\":\"Please call again later.\"},{\"verb\":\"hangup\"}]";
            reader.refuse_value(key, &path, &format!("{problem} in the file"), remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests;
