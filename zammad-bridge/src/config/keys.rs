//! The names of all settings, with what each means: one table for reading, for `--help` and for spelling mistakes.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in the environment, in `.env` and, in either case, in the configuration file.
    pub name: &'static str,
    /// Whether its value is never shown, and never given on the command line, where other users of the machine see it.
    pub secret: bool,
    /// What it means, with its default.
    pub help: &'static str,
    /// What a right value looks like.
    pub example: &'static str,
    /// Its group in `--help`.
    pub group: Group,
}

/// What settings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The bridge itself.
    Bridge,
    /// Hooks of jambonz.
    Hooks,
    /// The application behind the bridge.
    Application,
    /// jambonz' REST API.
    Api,
    /// Short-lived SIP credentials for web pages.
    Widget,
    /// Zammad; each can be set for one `[[zammad]]` alone.
    Zammad,
}

impl Group {
    /// All of them, in the order of `--help`, with their headings.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Hooks, "Hooks of jambonz"),
        (Self::Application, "The application behind the bridge"),
        (Self::Zammad, "Zammad"),
        (Self::Api, "jambonz' REST API (names of applications, the webhook secret, `setup` and `check`)"),
        (
            Self::Widget,
            "Short-lived SIP credentials for web pages (POST /widget/token, and jambonz' registration_hook)",
        ),
        (Self::Bridge, "The bridge itself"),
    ];
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $constant:ident = $name:literal, $group:ident, $secret:literal, $example:literal;)+) => {
        $($(#[doc = $doc])+ pub const $constant: Key =
            Key { name: $name, secret: $secret, help: concat!($($doc),+), example: $example, group: Group::$group };)+

        /// Every setting.
        pub const ALL: &[Key] = &[$($constant),+];
    };
}

keys! {
    /// Where the bridge listens. Default 127.0.0.1:8787; anything but loopback needs one of JAMBONZ_WEBHOOK_SECRET, JAMBONZ_HOOK_USERNAME, JAMBONZ_API_KEY, ALLOW_UNSIGNED.
    LISTEN = "BRIDGE_LISTEN", Bridge, false, "0.0.0.0:8787";
    /// The file of the store, or a PostgreSQL database that several bridges share (postgres://user:password@host/database?sslmode=verify-full). Default sqlite://zammad-bridge.db
    DATABASE_URL = "BRIDGE_DATABASE_URL", Bridge, true, "sqlite:///var/lib/zammad-bridge/calls.db";
    /// With PostgreSQL: how long a bridge may be silent before the others take over what it was delivering. Default 30s
    REPLICA_LEASE = "BRIDGE_REPLICA_LEASE", Bridge, false, "30s";
    /// Where jambonz reaches the bridge, for `setup` and `check`.
    PUBLIC_URL = "BRIDGE_PUBLIC_URL", Bridge, false, "https://bridge.example.com";
    /// Tokens of programs that report calls to POST /v1/calls, separated by commas. Without one no reports are taken.
    API_TOKEN = "BRIDGE_API_TOKEN", Bridge, true, "32 random characters";
    /// Token for the admin page and its interfaces. Without one they are closed.
    ADMIN_TOKEN = "BRIDGE_ADMIN_TOKEN", Bridge, true, "32 random characters";
    /// Whether the admin page answers others than programs on this machine, such as a proxy with TLS. Default false
    ADMIN_ALLOW_REMOTE = "BRIDGE_ADMIN_ALLOW_REMOTE", Bridge, false, "true";
    /// What is logged, as tracing's filters say it. Default info
    LOG = "BRIDGE_LOG", Bridge, false, "info,codex_zammad_bridge=debug";
    /// How: text or json. Default text
    LOG_FORMAT = "BRIDGE_LOG_FORMAT", Bridge, false, "json";
    /// After how many days a record of a call that is over and delivered is deleted; 0 keeps all. Default 90
    RETAIN_DAYS = "RETAIN_DAYS", Bridge, false, "30";
    /// After which silence a call whose end never came is closed: a number with s, m, h or d. Default 12h
    CALL_MAX_AGE = "CALL_MAX_AGE", Bridge, false, "90m";

    /// The account's webhook secret, with which jambonz signs; several, separated by commas, while it is being changed.
    WEBHOOK_SECRET = "JAMBONZ_WEBHOOK_SECRET", Hooks, true, "wh_secret_… from jambonz' portal, Account";
    /// User name that the application's hooks send.
    HOOK_USERNAME = "JAMBONZ_HOOK_USERNAME", Hooks, false, "bridge";
    /// Password that goes with it.
    HOOK_PASSWORD = "JAMBONZ_HOOK_PASSWORD", Hooks, true, "32 random characters";
    /// Take hooks from anybody, although the bridge listens on more than loopback: true or false. Default false
    ALLOW_UNSIGNED = "ALLOW_UNSIGNED", Hooks, false, "true";

    /// The application's own call_hook: requests are passed on, its verbs come back with a tag in front.
    UPSTREAM_CALL_HOOK = "UPSTREAM_CALL_HOOK", Application, false, "https://voicebot.example.com/call";
    /// The application's own call_status_hook, if it wants status events.
    UPSTREAM_STATUS_HOOK = "UPSTREAM_STATUS_HOOK", Application, false, "https://voicebot.example.com/status";
    /// How long the application may take for a call, in milliseconds, 100 to 9500 (jambonz gives up after 10 s). Default 8000
    UPSTREAM_TIMEOUT_MS = "UPSTREAM_TIMEOUT_MS", Application, false, "5000";
    /// File with certificates (PEM) of further authorities for the application.
    UPSTREAM_CA_FILE = "UPSTREAM_CA_FILE", Application, false, "/etc/zammad-bridge/ca.pem";
    /// File with the verbs of calls whose application fails: a JSON array.
    FALLBACK_VERBS_FILE = "FALLBACK_VERBS_FILE", Application, false, "/etc/zammad-bridge/fallback.json";
    /// File with the verbs of all calls, if there is no application: a JSON array.
    VERBS_FILE = "VERBS_FILE", Application, false, "/etc/zammad-bridge/verbs.json";

    /// jambonz' API.
    API_BASE_URL = "JAMBONZ_API_BASE_URL", Api, false, "https://api.jambonz.example.com/v1";
    /// An API key of the account.
    API_KEY = "JAMBONZ_API_KEY", Api, true, "a key from jambonz' portal, Account > API keys";
    /// The account.
    ACCOUNT_SID = "JAMBONZ_ACCOUNT_SID", Api, false, "9351f46a-678c-43f5-b8a6-d4eb58d131af";

    /// Origins of pages that get credentials from POST /widget/token, separated by commas. Without one none are given out.
    WIDGET_ORIGINS = "WIDGET_ORIGINS", Widget, false, "https://shop.example.com";
    /// What passwords are made of, at least 32 characters; the same for all bridges of an account.
    WIDGET_SECRET = "WIDGET_SECRET", Widget, true, "48 random characters (openssl rand -hex 24)";
    /// The account's SIP realm; the account's registration_hook is this bridge with the path /jambonz/registration, POST.
    WIDGET_SIP_REALM = "WIDGET_SIP_REALM", Widget, false, "acme.sip.example.com";
    /// How long credentials last, 1m to 24h. Default 10m
    WIDGET_CREDENTIALS_LIFETIME = "WIDGET_CREDENTIALS_LIFETIME", Widget, false, "10m";
    /// GUID of the application that takes the pages' calls. Default: the account's device application
    WIDGET_APPLICATION = "WIDGET_APPLICATION", Widget, false, "0397dc5f-2f8f-4778-8499-0af934dd1196";
    /// How many credentials one address gets in a minute, 1 to 10000; all together get 60 times as many. Default 10
    WIDGET_TOKENS_PER_MINUTE = "WIDGET_TOKENS_PER_MINUTE", Widget, false, "10";
    /// Whether a proxy before the bridge says in X-Forwarded-For which address asks: true or false. Default false
    WIDGET_BEHIND_PROXY = "WIDGET_BEHIND_PROXY", Widget, false, "true";

    /// Hosts that may be asked with a secret over plain http, separated by commas; loopback always may.
    INSECURE_HTTP_HOSTS = "INSECURE_HTTP_HOSTS", Bridge, false, "zammad-nginx";

    /// The whole URL of Zammad's CTI endpoint with its token, from Admin > Integrations > CTI (generic).
    ZAMMAD_CTI_URL = "ZAMMAD_CTI_URL", Zammad, true, "https://zammad.example.com/api/v1/cti/<token>";
    /// Zammad's address, for tickets.
    ZAMMAD_URL = "ZAMMAD_URL", Zammad, false, "https://zammad.example.com";
    /// A token of an agent with ticket.agent (and, for the caller log, cti.agent).
    ZAMMAD_API_TOKEN = "ZAMMAD_API_TOKEN", Zammad, true, "a token from the agent's profile, Token Access";
    /// Requests under way to Zammad at a time, 1 to 256. Default 3
    ZAMMAD_CONCURRENCY = "ZAMMAD_CONCURRENCY", Zammad, false, "3";
    /// Requests begun in a second at most; 0 for as many as it takes. Default 0
    ZAMMAD_MAX_PER_SECOND = "ZAMMAD_MAX_PER_SECOND", Zammad, false, "10";
    /// How long one request may take, in milliseconds, 1000 to 120000. Default 15000
    ZAMMAD_TIMEOUT_MS = "ZAMMAD_TIMEOUT_MS", Zammad, false, "15000";
    /// After how many tries an event that Zammad refuses goes on the dead-letter shelf, 1 to 1000. Default 10
    ZAMMAD_MAX_ATTEMPTS = "ZAMMAD_MAX_ATTEMPTS", Zammad, false, "10";
    /// The first retry's longest wait, in milliseconds, 10 to 600000. Default 1000
    ZAMMAD_BACKOFF_MS = "ZAMMAD_BACKOFF_MS", Zammad, false, "1000";
    /// Every retry's longest wait, in milliseconds, 10 to 86400000. Default 300000
    ZAMMAD_BACKOFF_CAP_MS = "ZAMMAD_BACKOFF_CAP_MS", Zammad, false, "300000";
    /// What is sent as the caller: display (webcall:… → voicebot) or phone (its number, if it is known). Default display
    ZAMMAD_FROM = "ZAMMAD_FROM", Zammad, false, "phone";
    /// File with certificates (PEM) of further authorities for Zammad.
    ZAMMAD_CA_FILE = "ZAMMAD_CA_FILE", Zammad, false, "/etc/zammad-bridge/ca.pem";
    /// Which calls get a ticket: off, missed or all. Default all once ZAMMAD_API_TOKEN is set
    TICKET_MODE = "TICKET_MODE", Zammad, false, "missed";
    /// The tickets' group. Default Users
    TICKET_GROUP = "TICKET_GROUP", Zammad, false, "Support";
    /// E-mail address of the customer that carries tickets of callers whose word is not taken. Default voice-calls@example.invalid
    TICKET_CUSTOMER = "TICKET_CUSTOMER", Zammad, false, "calls@example.com";
    /// Field of Zammad's users that a trusted caller's clientId is compared with. Default login
    TICKET_CUSTOMER_FIELD = "TICKET_CUSTOMER_FIELD", Zammad, false, "login";
    /// Whether a trusted caller who is not found becomes a customer: true or false. Default false
    TICKET_CUSTOMER_CREATE = "TICKET_CUSTOMER_CREATE", Zammad, false, "true";
    /// Whether customer data is believed, which anybody with a browser can make up: true or false. Default false
    TRUST_CUSTOMER_DATA = "TRUST_CUSTOMER_DATA", Zammad, false, "true";
    /// The language of records: en or ru. Default en
    RECORD_LANG = "RECORD_LANG", Zammad, false, "ru";
}

/// The setting of this name, whatever its case.
#[must_use]
pub fn named(name: &str) -> Option<Key> {
    ALL.iter().copied().find(|key| key.name.eq_ignore_ascii_case(name))
}

/// The setting that a wrong name may have meant.
#[must_use]
pub fn meant_by(name: &str) -> Option<Key> {
    let name = name.to_ascii_uppercase();
    let (key, apart) = ALL.iter().map(|key| (*key, edit_distance(key.name, &name))).min_by_key(|(_, apart)| *apart)?;
    (apart <= 1 + key.name.len() / 5).then_some(key)
}

/// How many characters have to be added, dropped or changed to make `b` of `a` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognised() {
        for (wrong, meant) in [
            ("ZAMAD_CTI_URL", Some("ZAMMAD_CTI_URL")),
            ("zammad_cti_ulr", Some("ZAMMAD_CTI_URL")),
            ("TICKETMODE", Some("TICKET_MODE")),
            ("BRIDGE_LISTEN_ADDRESS", None),
            ("", None),
        ] {
            assert_eq!(meant_by(wrong).map(|key| key.name), meant, "{wrong}");
        }
        assert_eq!(named("record_lang").unwrap().name, "RECORD_LANG");
    }

    #[test]
    fn every_setting_is_named_once_and_explained() {
        for (index, key) in ALL.iter().enumerate() {
            assert!(ALL[index + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
            assert!(key.help.trim().len() > 10 && !key.example.is_empty(), "{}", key.name);
            assert!(Group::ALL.iter().any(|(group, _)| *group == key.group));
        }
    }
}
