//! Keys made into settings: every value looked at, every problem told at once. No I/O.

mod customer_data;
mod ice;
mod masked;
mod websocket_address;

use core::fmt;
use std::time::Duration;

use codex_core_sip::config::{IceTransportPolicy, SipClientConfig, split_scheme};
use codex_core_sip::metadata::{ApplicationName, ApplicationSid, CustomerData, LanguageTag, UserToUserEncoding};
use codex_core_sip::sip::uri::Uri;
use codex_core_sip::{ConfigurationProblem, Error};
use codex_jambonz_api::AccountSid;
use secrecy::SecretString;

use crate::keys::{self, Given, KeyProblem, KeyProblems, KeyValues, KeyWarning, Shown, example_of, known};
use crate::text::{Text, bilingual};

pub use websocket_address::WebSocketAddress;

/// Keep-alives more often than this are a mistake in the unit.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Everything that the keys say, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the client is made of.
    pub sip: SipClientConfig,
    /// How to reach jambonz' REST API, if all three keys for it are there. Without the feature `names` they are not read.
    pub api: Option<ApiAccess>,
    /// What works but should be looked at: misspelt keys, an unencrypted connection.
    pub warnings: Vec<KeyWarning>,
}

/// How to reach jambonz' REST API. Its `Debug` shows no key.
#[derive(Clone)]
pub struct ApiAccess {
    /// `https://api.example.com/v1`.
    pub base_url: String,
    /// An API key of the account.
    pub api_key: SecretString,
    /// The account.
    pub account_sid: AccountSid,
}

impl fmt::Debug for ApiAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAccess").field("account_sid", &self.account_sid).finish_non_exhaustive()
    }
}

impl Settings {
    /// Looks at every key.
    ///
    /// # Errors
    ///
    /// [`KeyProblems`] with everything that is wrong or missing.
    pub fn from_keys(keys: &KeyValues) -> Result<Self, KeyProblems> {
        let mut reader = Reader { keys, problems: Vec::new(), warnings: keys.warnings() };
        let settings = reader.settings();
        if !reader.problems.is_empty() {
            return Err(KeyProblems(reader.problems));
        }
        let settings = Self { warnings: reader.warnings, ..settings };
        // The client checks once more by its own rules; whatever it finds is told by the key that it came from.
        match settings.sip.validate() {
            Ok(()) => Ok(settings),
            Err(error) => Err(of_client(keys, &error)),
        }
    }

    /// The application whose name is to be looked up: that of the target, if it has none by configuration and there is an API
    /// to ask.
    #[must_use]
    pub fn name_to_look_up(&self) -> Option<(&ApiAccess, ApplicationSid)> {
        if self.sip.target_application_name.is_some() {
            return None;
        }
        Some((self.api.as_ref()?, self.target_application()?))
    }

    /// The target as it may be shown: without a password, if somebody wrote one into it.
    #[must_use]
    pub fn shown_target(&self) -> String {
        masked::sip(&self.sip.target_uri)
    }

    /// The application that the target names by its GUID, with or without `app-`.
    #[must_use]
    pub fn target_application(&self) -> Option<ApplicationSid> {
        let uri = Uri::parse(&self.sip.target_uri).ok()?;
        uri.user().and_then(ApplicationSid::from_user_part)
    }
}

/// What one key was read as, while problems are collected.
struct Reader<'a> {
    keys: &'a KeyValues,
    problems: Vec<KeyProblem>,
    warnings: Vec<KeyWarning>,
}

impl<'a> Reader<'a> {
    fn settings(&mut self) -> Settings {
        let domain = self.read(keys::JAMBONZ_SIP_DOMAIN, domain).unwrap_or_default();
        let require_tls = self.read(keys::REQUIRE_TLS, boolean).unwrap_or(false);
        let wss_server = self.websocket_address(require_tls);
        let username = self.read(keys::JAMBONZ_SIP_USERNAME, username).unwrap_or_default();
        let password = self.password(keys::JAMBONZ_SIP_PASSWORD).unwrap_or_default();
        let target_uri = self.target(&domain);
        let mut sip = SipClientConfig::new(domain, wss_server, username, password, target_uri);
        sip.target_application_name = self.read(keys::TARGET_APPLICATION_NAME, application_name);
        if let Some(language) = self.read(keys::DEFAULT_LANG, language) {
            sip.default_language = language;
        }
        if let Some(language) = self.read(keys::FALLBACK_LANG, language) {
            sip.fallback_language = language;
        }
        self.ice_servers(&mut sip);
        if let Some(retries) = self.read(keys::MAX_REGISTER_RETRIES, whole_number) {
            sip.max_register_retries = retries;
        }
        if let Some(infinite) = self.read(keys::INFINITE_RECONNECT, boolean) {
            sip.infinite_reconnect = infinite;
        }
        if let Some(interval) = self.read(keys::KEEP_ALIVE_INTERVAL, keep_alive) {
            sip.keep_alive_interval = (!interval.is_zero()).then_some(interval);
        }
        sip.customer_data = self.customer_data();
        if let Some(encoding) = self.read(keys::USER_TO_USER_ENCODING, encoding) {
            sip.user_to_user_encoding = encoding;
        }
        let api = if cfg!(feature = "names") { self.api() } else { None };
        Settings { sip, api, warnings: Vec::new() }
    }

    /// The value of a key as `parse` takes it, white space at its ends and quotes round it dropped.
    fn read<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, Text>) -> Option<T> {
        let (given, value) = self.text(name)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.wrong(name, given, problem);
                None
            }
        }
    }

    #[inline(never)]
    fn text(&mut self, name: &'static str) -> Option<(&'a Given, &'a str)> {
        let given = self.given(name)?;
        Some((given, self.unquoted(given)))
    }

    /// How a key was given; a required one that was not is a problem.
    #[inline(never)]
    fn given(&mut self, name: &'static str) -> Option<&'a Given> {
        let given = self.keys.given(name);
        let key = known(name)?;
        if given.is_none() && key.required {
            let problem = match self.keys.typo_of(name) {
                Some(typo) => bilingual!(
                    format!(
                        "it is not set ({}); {typo} is, which is no setting: is it misspelt?",
                        key.meaning.in_locale(codex_core_sip::Locale::En)
                    ),
                    format!(
                        "не задано ({}); зато задано {typo} — такой настройки нет: опечатка?",
                        key.meaning.in_locale(codex_core_sip::Locale::Ru)
                    ),
                ),
                None => bilingual!(
                    format!("it is not set ({})", key.meaning.in_locale(codex_core_sip::Locale::En)),
                    format!("не задано ({})", key.meaning.in_locale(codex_core_sip::Locale::Ru)),
                ),
            };
            self.problems.push(KeyProblem {
                key: name.to_owned(),
                value: None,
                place: None,
                problem,
                example: key.example.clone(),
            });
        }
        given
    }

    /// `docker --env-file` and the like hand quotes on that were meant for a shell.
    #[inline(never)]
    fn unquoted(&mut self, given: &'a Given) -> &'a str {
        let value = given.value.trim();
        let inner = ['\'', '"'].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let Some(inner) = inner else { return value };
        self.warn(
            given,
            Text::fixed(
                "the value came with its quotes, which are dropped (docker's --env-file wants none)",
                "значение пришло вместе с кавычками, они отброшены (для `docker --env-file` кавычки не нужны)",
            ),
        );
        inner.trim()
    }

    #[inline(never)]
    fn wrong(&mut self, name: &str, given: &Given, problem: Text) {
        self.problems.push(KeyProblem {
            key: given.written.clone(),
            value: shown(name, &given.value),
            place: given.place.clone(),
            problem,
            example: example_of(name),
        });
    }

    #[inline(never)]
    fn warn(&mut self, given: &Given, text: Text) {
        self.warnings.push(KeyWarning { key: given.written.clone(), place: given.place.clone(), text });
    }

    fn websocket_address(&mut self, require_tls: bool) -> String {
        let Some(address) = self.read(keys::JAMBONZ_WSS_ADDRESS, WebSocketAddress::parse) else { return String::new() };
        if !address.secure
            && !address.is_loopback()
            && let Some(given) = self.keys.given(keys::JAMBONZ_WSS_ADDRESS)
        {
            if require_tls {
                let problem = Text::fixed(
                    "it is not encrypted, and REQUIRE_TLS is on: use wss://",
                    "соединение не шифруется, а REQUIRE_TLS включён: используйте wss://",
                );
                self.wrong(keys::JAMBONZ_WSS_ADDRESS, given, problem);
            } else {
                let text = bilingual!(
                    format!(
                        "NOT ENCRYPTED: with ws://{} everybody on the way can read and change the calls' signalling, customer data included; use wss:// (REQUIRE_TLS=true makes this an error)",
                        address.host
                    ),
                    format!(
                        "БЕЗ ШИФРОВАНИЯ: при ws://{} любой на пути может читать и менять сигнализацию звонков вместе с данными клиента; используйте wss:// (REQUIRE_TLS=true делает это ошибкой)",
                        address.host
                    ),
                );
                self.warn(given, text);
            }
        }
        address.url
    }

    /// A secret is taken byte for byte.
    #[inline(never)]
    fn password(&mut self, name: &'static str) -> Option<SecretString> {
        let given = self.given(name)?;
        let value = given.value.as_str();
        if value.trim() != value {
            let text = Text::fixed(
                "it begins or ends with white space; it is used as it is",
                "в начале или в конце пробел; используется как есть",
            );
            self.warn(given, text);
        }
        let quoted = |quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        if ['\'', '"'].into_iter().any(quoted) {
            let text = Text::fixed(
                "the value came with its quotes and is used as it is, quotes included (docker's --env-file wants none)",
                "значение пришло вместе с кавычками и используется как есть, с ними (для `docker --env-file` кавычки не нужны)",
            );
            self.warn(given, text);
        }
        Some(value.into())
    }

    fn target(&mut self, domain: &str) -> String {
        let Some((target, completed)) = self.read(keys::TARGET_SIP_URI, |value| target(value, domain)) else {
            return String::new();
        };
        if completed && let Some(given) = self.keys.given(keys::TARGET_SIP_URI) {
            let target = masked::sip(&target);
            let text = bilingual!(
                format!("it is no whole SIP URI and was completed to {target}"),
                format!("это не полный SIP URI, он дополнен до {target}"),
            );
            self.warn(given, text);
        }
        target
    }

    fn ice_servers(&mut self, sip: &mut SipClientConfig) {
        let user = self.read(keys::TURN_USERNAME, |value| Ok(value.to_owned()));
        let password = self.password(keys::TURN_PASSWORD);
        let stun = self.read(keys::STUN_URLS, ice::stun_servers);
        let turn = self.read(keys::TURN_URLS, |value| ice::turn_servers(value, user.as_deref(), password.as_ref()));
        for (name, there) in [(keys::TURN_USERNAME, user.is_some()), (keys::TURN_PASSWORD, password.is_some())] {
            if there
                && !self.keys.has(keys::TURN_URLS)
                && let Some(given) = self.keys.given(name)
            {
                let text =
                    Text::fixed("it is not used, since TURN_URLS is not set", "не используется: TURN_URLS не задано");
                self.warn(given, text);
            }
        }
        let policy = self.read(keys::ICE_TRANSPORT_POLICY, |value| match value.to_ascii_lowercase().as_str() {
            "all" => Ok(IceTransportPolicy::All),
            "relay" => Ok(IceTransportPolicy::Relay),
            _ => Err(Text::fixed("it is neither all nor relay", "это не all и не relay")),
        });
        if policy == Some(IceTransportPolicy::Relay)
            && !self.keys.has(keys::TURN_URLS)
            && let Some(given) = self.keys.given(keys::ICE_TRANSPORT_POLICY)
        {
            let problem = Text::fixed(
                "only paths through TURN are allowed, but TURN_URLS is not set: no call could have audio",
                "разрешены только пути через TURN, но TURN_URLS не задано: звука не будет ни в одном звонке",
            );
            self.wrong(keys::ICE_TRANSPORT_POLICY, given, problem);
        }
        sip.ice_servers = stun.into_iter().flatten().chain(turn.into_iter().flatten()).collect();
        sip.ice_transport_policy = policy.unwrap_or_default();
    }

    fn customer_data(&mut self) -> Option<CustomerData> {
        let given = self.given(keys::CUSTOMER_DATA)?;
        let value = self.unquoted(given);
        let problem = match CustomerData::from_json(&given.written, value) {
            Ok(data) => return Some(data),
            Err(Error::CustomerData { line, column, field, problem, .. }) => {
                customer_data::text(line, column, field.as_deref(), &problem)
            }
            Err(other) => refused_by_client(&other.to_string()),
        };
        self.wrong(keys::CUSTOMER_DATA, given, problem);
        None
    }

    /// All three keys, or none.
    fn api(&mut self) -> Option<ApiAccess> {
        let base_url = self.read(keys::JAMBONZ_API_BASE_URL, api_base_url);
        if base_url.as_deref().is_some_and(|url| !url_is_private(url))
            && let Some(given) = self.keys.given(keys::JAMBONZ_API_BASE_URL)
        {
            let text = Text::fixed(
                "it is not https: everybody on the way could read the API key",
                "это не https: любой на пути мог бы прочитать ключ API",
            );
            // Older configurations have the address alone; then nothing is sent to it.
            if self.keys.has(keys::JAMBONZ_API_KEY) {
                self.wrong(keys::JAMBONZ_API_BASE_URL, given, text);
            } else {
                self.warn(given, text);
            }
        }
        let account_sid = self.read(keys::JAMBONZ_ACCOUNT_SID, |value| {
            value.parse::<AccountSid>().map_err(|_| Text::fixed("it is not a GUID", "это не GUID"))
        });
        let api_key = self.password(keys::JAMBONZ_API_KEY).filter(|_| {
            let Some(given) = self.keys.given(keys::JAMBONZ_API_KEY) else { return false };
            let right = given.value.trim().bytes().all(|byte| byte.is_ascii_graphic());
            if !right {
                let problem = Text::fixed(
                    "it holds blanks, control characters or letters outside ASCII",
                    "в нём есть пробелы, управляющие символы или буквы вне ASCII",
                );
                self.wrong(keys::JAMBONZ_API_KEY, given, problem);
            }
            right
        });
        let names = [keys::JAMBONZ_API_BASE_URL, keys::JAMBONZ_API_KEY, keys::JAMBONZ_ACCOUNT_SID];
        let (there, missing): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| self.keys.has(name));
        if let (Some(first), false) = (there.first(), missing.is_empty())
            && let Some(given) = self.keys.given(first)
        {
            // Older configurations have the address alone.
            let missing = missing.join(", ");
            let text = bilingual!(
                format!("names of applications are not looked up, since {missing} is not set"),
                format!("имена приложений не запрашиваются: не задано {missing}"),
            );
            self.warn(given, text);
        }
        Some(ApiAccess { base_url: base_url?, api_key: api_key?, account_sid: account_sid? })
    }
}

/// What may be shown of a value.
fn shown(name: &str, value: &str) -> Option<String> {
    /// More of a value helps nobody.
    const SHOWN_CHARACTERS: usize = 128;
    let cut = |text: &str| text.chars().take(SHOWN_CHARACTERS).collect::<String>();
    Some(match known(name)?.shown {
        Shown::Whole => cut(value),
        Shown::Url => cut(&masked::urls(value)),
        Shown::SipUri => cut(&masked::sip(value)),
        Shown::Size => format!("({} B)", value.len()),
        Shown::Nothing => "***".to_owned(),
    })
}

/// What the client itself found, by the names of keys.
fn of_client(keys: &KeyValues, error: &Error) -> KeyProblems {
    let name = |setting: &str| match setting {
        "domain" => keys::JAMBONZ_SIP_DOMAIN,
        "wssServer" => keys::JAMBONZ_WSS_ADDRESS,
        "username" => keys::JAMBONZ_SIP_USERNAME,
        "password" => keys::JAMBONZ_SIP_PASSWORD,
        "targetUri" => keys::TARGET_SIP_URI,
        "keepAliveInterval" => keys::KEEP_ALIVE_INTERVAL,
        "iceServers" => keys::TURN_URLS,
        "customerData" => keys::CUSTOMER_DATA,
        _ => "",
    };
    let of_problem = |problem: &ConfigurationProblem| {
        let given = keys.given(name(&problem.key));
        KeyProblem {
            key: given.map_or_else(|| problem.key.clone(), |given| given.written.clone()),
            value: given.map_or_else(|| problem.value.clone(), |given| shown(name(&problem.key), &given.value)),
            place: given.and_then(|given| given.place.clone()),
            problem: refused_by_client(&problem.problem),
            example: Text::new(problem.example.clone(), problem.example.clone()),
        }
    };
    match error {
        Error::Configuration { problems } => KeyProblems(problems.iter().map(of_problem).collect()),
        other => KeyProblems(vec![KeyProblem {
            key: "settings".to_owned(),
            value: None,
            place: None,
            problem: refused_by_client(&other.to_string()),
            example: Text::fixed("a .env as the documentation shows it", "файл .env, как в документации"),
        }]),
    }
}

/// What the client says in English only. The checks above leave it nothing to say.
fn refused_by_client(problem: &str) -> Text {
    bilingual!(problem.to_owned(), format!("клиент не принимает это значение: «{problem}»"))
}

fn domain(value: &str) -> Result<String, Text> {
    if split_scheme(value).is_some() || value.starts_with("sip:") || value.starts_with("sips:") {
        return Err(Text::fixed(
            "it is an address with a scheme; only the host name belongs here",
            "это адрес со схемой; здесь нужно только имя хоста",
        ));
    }
    if value.contains('@') {
        return Err(Text::fixed(
            "it holds a user; only what stands after the @ belongs here",
            "в нём есть имя пользователя; нужно только то, что после @",
        ));
    }
    let plain = !value.contains([';', '?', '<', '>', '/', ' ', '\t']);
    if plain && Uri::parse(&format!("sip:{value}")).is_ok() {
        return Ok(value.to_owned());
    }
    Err(Text::fixed("it is not a host name", "это не имя хоста"))
}

fn username(value: &str) -> Result<String, Text> {
    if value.contains('@') || value.starts_with("sip:") {
        return Err(Text::fixed(
            "only the user belongs here, without sip: and without @ and what follows it",
            "здесь нужно только имя пользователя: без sip: и без @ с тем, что после него",
        ));
    }
    if Uri::parse(&format!("sip:{value}@invalid")).is_ok_and(|uri| uri.user() == Some(value)) {
        return Ok(value.to_owned());
    }
    Err(Text::fixed("it cannot be the user part of a SIP URI", "это не может быть именем в SIP URI"))
}

/// The target, and whether it had to be completed.
fn target(value: &str, domain: &str) -> Result<(String, bool), Text> {
    let no_uri = || Text::fixed("it is not a SIP URI with a user part", "это не SIP URI с именем пользователя");
    let lower = value.to_ascii_lowercase();
    let (whole, completed) = if lower.starts_with("sip:") || lower.starts_with("sips:") {
        (value.to_owned(), false)
    } else if lower.starts_with("tel:") || split_scheme(value).is_some() {
        return Err(Text::fixed(
            "it must begin with sip:, as in sip:app-<application_sid>@<SIP domain>",
            "должно начинаться с sip:, как в sip:app-<application_sid>@<SIP-домен>",
        ));
    } else if value.contains('@') {
        (format!("sip:{value}"), true)
    } else {
        // A user alone, as the older client took it. Without a domain that one is told of.
        let host = if domain.is_empty() { "invalid" } else { domain };
        (format!("sip:{value}@{host}"), true)
    };
    let uri = Uri::parse(&whole).map_err(|_| no_uri())?;
    if uri.user().is_some_and(|user| !user.is_empty()) {
        return Ok((whole, completed));
    }
    Err(no_uri())
}

fn application_name(value: &str) -> Result<ApplicationName, Text> {
    ApplicationName::parse(keys::TARGET_APPLICATION_NAME, value).map_err(|_| {
        Text::fixed(
            "it must have 1 to 64 characters and no control character",
            "в нём должно быть от 1 до 64 символов, без управляющих",
        )
    })
}

fn language(value: &str) -> Result<LanguageTag, Text> {
    LanguageTag::parse(keys::DEFAULT_LANG, value).map_err(|_| {
        if value.contains('_') {
            let right = value.split('.').next().unwrap_or_default().replace('_', "-");
            bilingual!(
                format!("its parts are separated by `-`, not `_`: {right}"),
                format!("части разделяются `-`, а не `_`: {right}"),
            )
        } else {
            Text::fixed("it is not a language tag (BCP 47)", "это не код языка (BCP 47)")
        }
    })
}

fn boolean(value: &str) -> Result<bool, Text> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Text::fixed("it is neither true nor false", "это не true и не false")),
    }
}

fn whole_number(value: &str) -> Result<u32, Text> {
    value.parse().map_err(|_| Text::fixed("it is not a whole number from 0 on", "это не целое число от 0"))
}

fn keep_alive(value: &str) -> Result<Duration, Text> {
    let Ok(milliseconds) = value.parse::<u32>() else {
        return Err(Text::fixed("it is not a whole number of milliseconds", "это не целое число миллисекунд"));
    };
    let interval = Duration::from_millis(milliseconds.into());
    if !interval.is_zero() && interval < SHORTEST_KEEP_ALIVE {
        return Err(bilingual!(
            format!("it is in milliseconds and shorter than 1 s; {milliseconds} seconds are {milliseconds}000"),
            format!("оно в миллисекундах и меньше 1 с; {milliseconds} секунд — это {milliseconds}000"),
        ));
    }
    Ok(interval)
}

fn encoding(value: &str) -> Result<UserToUserEncoding, Text> {
    match value.to_ascii_lowercase().as_str() {
        "hex" => Ok(UserToUserEncoding::Hex),
        "base64" => Ok(UserToUserEncoding::Base64),
        "off" => Ok(UserToUserEncoding::Off),
        _ => Err(Text::fixed("it is neither hex nor base64 nor off", "это не hex, не base64 и не off")),
    }
}

fn api_base_url(value: &str) -> Result<String, Text> {
    let Some((scheme, rest)) = split_scheme(value) else {
        return Err(Text::fixed("it is not a URL", "это не URL"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || rest.contains(['?', '#']) {
        return Err(Text::fixed(
            "it holds a user, a query or a fragment, which do not belong here",
            "в нём имя пользователя, параметры или фрагмент — им здесь не место",
        ));
    }
    if authority.is_empty() || value.contains(char::is_whitespace) {
        return Err(Text::fixed("it names no host", "в нём нет имени хоста"));
    }
    if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") {
        return Ok(value.to_owned());
    }
    Err(Text::fixed("it must begin with https://", "должно начинаться с https://"))
}

/// Whether nobody on the way can read what is sent to this URL, which has been looked at.
fn url_is_private(url: &str) -> bool {
    let (scheme, rest) = split_scheme(url).unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https") || websocket_address::is_loopback(websocket_address::host_of(authority))
}

#[cfg(test)]
mod tests;
