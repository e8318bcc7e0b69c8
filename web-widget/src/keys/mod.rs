//! The env-style keys: their names, where values come from, and what is wrong with them.
//!
//! No I/O: the process environment comes in through [`KeyValues::from_process_environment`], which is an adapter under the
//! feature `client`; everything else takes texts that somebody else has read.

mod dotenv;
mod problem;
mod source;
mod typo;

pub use problem::{KeyProblem, KeyProblems, KeyWarning};
pub(crate) use source::Given;
pub use source::KeyValues;
pub(crate) use typo::meant_by;

use crate::text::Text;

/// The prefix that Vite asks of keys that a page may see; people's old files have it on every key.
pub const VITE_PREFIX: &str = "VITE_";

/// What is shown of a value where something is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The value.
    Whole,
    /// A URL without user data and query.
    Url,
    /// A SIP URI or a part of one, without a password.
    SipUri,
    /// How large it is: it is about a person.
    Size,
    /// That there is one.
    Nothing,
}

/// One key that [`Settings`](crate::Settings) are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, without `VITE_`.
    pub name: &'static str,
    /// Whether there is no client without it.
    pub required: bool,
    /// What holds if it is not given; empty if nothing does.
    pub default: &'static str,
    /// What a right value looks like.
    pub example: Text,
    /// What it says.
    pub meaning: Text,
    pub(crate) shown: Shown,
}

/// Whether there is no client without it.
const REQUIRED: bool = true;
const OPTIONAL: bool = false;

const fn key(
    name: &'static str,
    required: bool,
    shown: Shown,
    default: &'static str,
    example: Text,
    en: &'static str,
    ru: &'static str,
) -> Key {
    Key { name, required, default, example, meaning: Text::fixed(en, ru), shown }
}

/// A value that is the same in every language.
const fn same(example: &'static str) -> Text {
    Text::fixed(example, example)
}

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub static KEYS: [Key; 22] = [
    key(JAMBONZ_SIP_DOMAIN, REQUIRED, Shown::SipUri, "", same("sip.example.com"),
        "the account's SIP realm", "SIP-домен (SIP realm) аккаунта"),
    key(JAMBONZ_WSS_ADDRESS, REQUIRED, Shown::Url, "", same("wss://sip.example.com:8443"),
        "the WebSocket address of the SIP edge", "адрес WebSocket SIP-сервера"),
    key(JAMBONZ_SIP_USERNAME, REQUIRED, Shown::SipUri, "", same("170"),
        "the SIP user", "имя SIP-пользователя"),
    key(JAMBONZ_SIP_PASSWORD, REQUIRED, Shown::Nothing, "",
        Text::fixed("the user's password in jambonz", "пароль этого пользователя в jambonz"),
        "the SIP user's password", "пароль SIP-пользователя"),
    key(TARGET_SIP_URI, REQUIRED, Shown::SipUri, "",
        same("sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com"),
        "whom to call; sent as it is", "кому звонить; передаётся как есть"),
    key(TARGET_APPLICATION_NAME, OPTIONAL, Shown::Whole, "", same("voicebot"),
        "the readable name of what is called", "понятное имя того, кому звонят"),
    key(DEFAULT_LANG, OPTIONAL, Shown::Whole, "en", Text::fixed("ru or en-US", "ru или en-US"),
        "the language of calls (BCP 47)", "язык звонков (BCP 47)"),
    key(FALLBACK_LANG, OPTIONAL, Shown::Whole, "en", Text::fixed("ru or en-US", "ru или en-US"),
        "the language where a text is missing", "язык на случай, когда текста нет"),
    key(STUN_URLS, OPTIONAL, Shown::Url, "", same("stun:stun.example.com:3478"),
        "STUN servers, separated by commas or white space", "STUN-серверы через запятую или пробел"),
    key(TURN_URLS, OPTIONAL, Shown::Url, "",
        Text::fixed(
            "turn:turn.example.com:3478, or turn:user:password@turn.example.com:3478",
            "turn:turn.example.com:3478 или turn:имя:пароль@turn.example.com:3478",
        ),
        "TURN servers, separated by commas or white space; they may carry user and password",
        "TURN-серверы через запятую или пробел; могут содержать имя и пароль"),
    key(TURN_USERNAME, OPTIONAL, Shown::Whole, "", same("webrtc"),
        "the user of TURN servers whose URL names none", "имя пользователя TURN, если его нет в URL"),
    key(TURN_PASSWORD, OPTIONAL, Shown::Nothing, "", Text::fixed("the password of TURN_USERNAME", "пароль для TURN_USERNAME"),
        "its password", "его пароль"),
    key(ICE_TRANSPORT_POLICY, OPTIONAL, Shown::Whole, "all", Text::fixed("all or relay", "all или relay"),
        "all paths, or those through TURN only", "все пути или только через TURN"),
    key(MAX_REGISTER_RETRIES, OPTIONAL, Shown::Whole, "5", same("5"),
        "how often a failed registration is tried again, if INFINITE_RECONNECT is off",
        "число повторов регистрации, если INFINITE_RECONNECT выключен"),
    key(INFINITE_RECONNECT, OPTIONAL, Shown::Whole, "true", Text::fixed("true or false", "true или false"),
        "whether a lost connection is tried again for ever", "восстанавливать ли связь бесконечно"),
    key(KEEP_ALIVE_INTERVAL, OPTIONAL, Shown::Whole, "30000",
        Text::fixed("30000 (milliseconds), or 0 for off", "30000 (миллисекунды) или 0, чтобы выключить"),
        "milliseconds between keep-alives, 0 for off", "миллисекунды между keep-alive, 0 — выключить"),
    key(CUSTOMER_DATA, OPTIONAL, Shown::Size, "",
        same(r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#),
        "who is calling and why (JSON)", "кто и зачем звонит (JSON)"),
    key(USER_TO_USER_ENCODING, OPTIONAL, Shown::Whole, "hex", Text::fixed("hex, base64 or off", "hex, base64 или off"),
        "how the header User-to-User is written", "как записан заголовок User-to-User"),
    key(JAMBONZ_API_BASE_URL, OPTIONAL, Shown::Url, "", same("https://api.example.com/v1"),
        "jambonz' REST API, to look up names", "REST API jambonz, чтобы узнавать имена приложений"),
    key(JAMBONZ_API_KEY, OPTIONAL, Shown::Nothing, "",
        Text::fixed(
            "an API key from jambonz' portal, Account > API keys",
            "ключ API из портала jambonz, Account > API keys",
        ),
        "the key for it", "ключ для него"),
    key(JAMBONZ_ACCOUNT_SID, OPTIONAL, Shown::Whole, "", same("9351f46a-678c-43f5-b8a6-d4eb58d131af"),
        "the account whose applications are looked up", "аккаунт, в котором ищутся приложения"),
    key(REQUIRE_TLS, OPTIONAL, Shown::Whole, "false", Text::fixed("true or false", "true или false"),
        "whether ws:// to another machine is an error instead of a warning",
        "считать ли ws:// к другой машине ошибкой, а не предупреждением"),
];

/// The account's SIP realm.
pub const JAMBONZ_SIP_DOMAIN: &str = "JAMBONZ_SIP_DOMAIN";
/// The edge's WebSocket address.
pub const JAMBONZ_WSS_ADDRESS: &str = "JAMBONZ_WSS_ADDRESS";
/// The SIP user.
pub const JAMBONZ_SIP_USERNAME: &str = "JAMBONZ_SIP_USERNAME";
/// The SIP user's password.
pub const JAMBONZ_SIP_PASSWORD: &str = "JAMBONZ_SIP_PASSWORD";
/// Whom to call.
pub const TARGET_SIP_URI: &str = "TARGET_SIP_URI";
/// The readable name of what is called.
pub const TARGET_APPLICATION_NAME: &str = "TARGET_APPLICATION_NAME";
/// The language of calls that ask for none.
pub const DEFAULT_LANG: &str = "DEFAULT_LANG";
/// The language where a text is missing.
pub const FALLBACK_LANG: &str = "FALLBACK_LANG";
/// STUN servers.
pub const STUN_URLS: &str = "STUN_URLS";
/// TURN servers.
pub const TURN_URLS: &str = "TURN_URLS";
/// The user of TURN servers whose URL names none.
pub const TURN_USERNAME: &str = "TURN_USERNAME";
/// Its password.
pub const TURN_PASSWORD: &str = "TURN_PASSWORD";
/// `all` or `relay`.
pub const ICE_TRANSPORT_POLICY: &str = "ICE_TRANSPORT_POLICY";
/// How often a failed registration is tried again.
pub const MAX_REGISTER_RETRIES: &str = "MAX_REGISTER_RETRIES";
/// Whether a lost connection is tried again for ever.
pub const INFINITE_RECONNECT: &str = "INFINITE_RECONNECT";
/// Milliseconds between keep-alives; 0 is off.
pub const KEEP_ALIVE_INTERVAL: &str = "KEEP_ALIVE_INTERVAL";
/// Who is calling and why, as JSON.
pub const CUSTOMER_DATA: &str = "CUSTOMER_DATA";
/// `hex`, `base64` or `off`.
pub const USER_TO_USER_ENCODING: &str = "USER_TO_USER_ENCODING";
/// jambonz' REST API.
pub const JAMBONZ_API_BASE_URL: &str = "JAMBONZ_API_BASE_URL";
/// Its key.
pub const JAMBONZ_API_KEY: &str = "JAMBONZ_API_KEY";
/// The account whose applications are looked up.
pub const JAMBONZ_ACCOUNT_SID: &str = "JAMBONZ_ACCOUNT_SID";
/// Whether an unencrypted connection is refused.
pub const REQUIRE_TLS: &str = "REQUIRE_TLS";

/// The key of this name, without `VITE_`.
pub(crate) fn known(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What a right value of this key, without `VITE_`, looks like.
pub(crate) fn example_of(name: &str) -> Text {
    known(name).map_or(Text::fixed("", ""), |key| key.example.clone())
}
