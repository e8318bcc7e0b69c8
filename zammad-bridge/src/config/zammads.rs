//! The Zammads: one by the environment, several by `[[zammad]]`.

use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

use super::keys::{self, Key};
use super::problem::SettingProblem;
use super::reader::{Reader, http_url};
use super::sources::{Sources, ZammadTable, read_bounded};
use crate::call_book::TicketMode;
use crate::delivery::{FromStyle, RecordLanguage, ZammadSettings};

/// The name of the Zammad of `ZAMMAD_CTI_URL`.
const DEFAULT_NAME: &str = "default";
/// How long a name may be, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Settings that can stand in a table, with the names that they have there.
const IN_TABLE: [(&str, Key); 18] = [
    ("cti_url", keys::ZAMMAD_CTI_URL),
    ("url", keys::ZAMMAD_URL),
    ("api_token", keys::ZAMMAD_API_TOKEN),
    ("concurrency", keys::ZAMMAD_CONCURRENCY),
    ("max_per_second", keys::ZAMMAD_MAX_PER_SECOND),
    ("timeout_ms", keys::ZAMMAD_TIMEOUT_MS),
    ("max_attempts", keys::ZAMMAD_MAX_ATTEMPTS),
    ("backoff_ms", keys::ZAMMAD_BACKOFF_MS),
    ("backoff_cap_ms", keys::ZAMMAD_BACKOFF_CAP_MS),
    ("from", keys::ZAMMAD_FROM),
    ("ca_file", keys::ZAMMAD_CA_FILE),
    ("ticket_mode", keys::TICKET_MODE),
    ("ticket_group", keys::TICKET_GROUP),
    ("ticket_customer", keys::TICKET_CUSTOMER),
    ("ticket_customer_field", keys::TICKET_CUSTOMER_FIELD),
    ("ticket_customer_create", keys::TICKET_CUSTOMER_CREATE),
    ("trust_customer_data", keys::TRUST_CUSTOMER_DATA),
    ("record_lang", keys::RECORD_LANG),
];

/// Settings of which each Zammad has its own: a table does not take them from the whole bridge.
const OWN: [&str; 3] = ["cti_url", "url", "api_token"];

pub(super) fn read(reader: &mut Reader<'_>, insecure_hosts: &[String]) -> Vec<ZammadSettings> {
    let mut zammads = Vec::new();
    let sources = reader.sources;
    for (index, table) in sources.zammads.iter().enumerate() {
        let name = table.get("name").map(|name| name.trim()).unwrap_or_default();
        let place =
            if name.is_empty() { format!("[[zammad]] number {}", index + 1) } else { format!("[[zammad]] {name}") };
        let mut one = OneZammad { sources, table: Some(table), place, problems: reader.problems, insecure_hosts };
        zammads.extend(one.read(name));
    }
    let (sources, problems) = (reader.sources, &mut *reader.problems);
    let mut one = OneZammad { sources, table: None, place: String::new(), problems, insecure_hosts };
    if one.value(keys::ZAMMAD_CTI_URL).is_some() {
        zammads.extend(one.read(DEFAULT_NAME));
    } else if sources.zammads.is_empty() {
        for key in [keys::ZAMMAD_URL, keys::ZAMMAD_API_TOKEN] {
            if one.value(key).is_some() {
                one.wrong(keys::ZAMMAD_CTI_URL, None, &format!("it is not set, and {} alone does nothing", key.name));
                break;
            }
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for zammad in &zammads {
        if seen.contains(&&*zammad.name) {
            reader.problems.push(SettingProblem {
                setting: "[[zammad]] name".to_owned(),
                value: Some(zammad.name.to_string()),
                problem: "two have this name".to_owned(),
                remedy: "give each a name of its own (that of ZAMMAD_CTI_URL is default)".to_owned(),
            });
        }
        seen.push(&zammad.name);
    }
    zammads
}

/// Reads one Zammad: from its table if it has one, else from the settings of the whole bridge.
struct OneZammad<'a> {
    sources: &'a Sources,
    table: Option<&'a ZammadTable>,
    /// Where the table stands, for people; empty without one.
    place: String,
    problems: &'a mut Vec<SettingProblem>,
    insecure_hosts: &'a [String],
}

impl OneZammad<'_> {
    fn value(&self, key: Key) -> Option<String> {
        let of_bridge = || self.sources.find(key).map(|(_, value)| value.to_owned());
        let Some(table) = self.table else { return of_bridge() };
        let (name, _) = IN_TABLE.iter().find(|(_, known)| known.name == key.name)?;
        let of_table = table.get(*name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if OWN.contains(name) { of_table } else { of_table.or_else(of_bridge) }
    }

    fn wrong(&mut self, key: Key, value: Option<&str>, problem: &str) {
        let mut found = SettingProblem::new(key, value, problem, &format!("for example {}", key.example));
        if let Some((name, _)) = IN_TABLE.iter().find(|(_, known)| known.name == key.name)
            && self.table.is_some()
        {
            found.setting = format!("{name} of {}", self.place);
        }
        self.problems.push(found);
    }

    fn number(&mut self, key: Key, least: u64, most: u64) -> Option<u64> {
        let text = self.value(key)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.wrong(key, Some(&text), &format!("it is no whole number from {least} to {most}"));
        }
        number
    }

    fn choice<T: Copy>(&mut self, key: Key, choices: &[(&str, T)]) -> Option<T> {
        let text = self.value(key)?;
        let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(key, Some(&text), &format!("it is none of {}", names.join(", ")));
        }
        chosen
    }

    fn flag(&mut self, key: Key) -> Option<bool> {
        let choices = [("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false)];
        self.choice(key, &choices)
    }

    /// An address that is asked with a secret: by TLS, or on this machine, or a host that was named for it.
    fn url(&mut self, key: Key) -> Option<Url> {
        let text = self.value(key)?;
        let checked = http_url(&text).and_then(|url| {
            let allowed = url.scheme() == "https" || is_loopback(&url) || self.insecure_hosts.iter().any(|host| is_host(&url, host));
            if allowed {
                Ok(url)
            } else {
                let host = url.host_str().unwrap_or_default();
                Err(format!(
                    "it is not https: everybody on the way could read the token; if {host} is on a network of your own, name it in \
                     INSECURE_HTTP_HOSTS"
                ))
            }
        });
        checked.map_err(|problem| self.wrong(key, Some(&text), &problem)).ok()
    }

    fn read(&mut self, name: &str) -> Option<ZammadSettings> {
        let before = self.problems.len();
        if let Some(table) = self.table {
            for unknown in table.keys().filter(|key| !is_known(key)) {
                self.problems.push(SettingProblem {
                    setting: format!("{} of {}", unknown.escape_debug(), self.place),
                    value: None,
                    problem: "there is no such setting".to_owned(),
                    remedy: format!("known are name, applications, {}", IN_TABLE.map(|(name, _)| name).join(", ")),
                });
            }
            let is_name = |name: &str| {
                !name.is_empty()
                    && name.chars().count() <= MAX_NAME_CHARS
                    && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            };
            if !is_name(name) {
                self.problems.push(SettingProblem {
                    setting: format!("name of {}", self.place),
                    value: None,
                    problem: format!("it is missing, or not 1 to {MAX_NAME_CHARS} letters, digits, -, _ and ."),
                    remedy: "for example support".to_owned(),
                });
            }
        }
        let cti_url = self.cti_url();
        let url = self.url(keys::ZAMMAD_URL);
        let api_token = self.value(keys::ZAMMAD_API_TOKEN);
        if let Some(token) = &api_token
            && !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            self.wrong(
                keys::ZAMMAD_API_TOKEN,
                Some(token),
                "it holds blanks, control characters or characters outside ASCII",
            );
        }
        if api_token.is_some() && self.value(keys::ZAMMAD_URL).is_none() {
            self.wrong(keys::ZAMMAD_URL, None, "it is not set, and the API token needs to know where Zammad is");
        }
        let modes = [("off", TicketMode::Off), ("missed", TicketMode::Missed), ("all", TicketMode::All)];
        let with_rest = api_token.is_some();
        let tickets = match self.choice(keys::TICKET_MODE, &modes) {
            Some(mode) if mode != TicketMode::Off && !with_rest => {
                // A mode for the whole bridge is no mistake where a single Zammad has no token.
                let is_meant = |table: &ZammadTable| table.contains_key("ticket_mode");
                if self.table.map_or(self.sources.zammads.is_empty(), is_meant) {
                    self.wrong(
                        keys::ZAMMAD_API_TOKEN,
                        None,
                        "it is not set, and tickets need it: set it, or TICKET_MODE=off",
                    );
                }
                TicketMode::Off
            }
            Some(mode) => mode,
            None if with_rest => TicketMode::All,
            None => TicketMode::Off,
        };
        let mut zammad = ZammadSettings::new(name, SecretString::default());
        zammad.url = url;
        zammad.api_token = api_token.map(SecretString::from);
        zammad.tickets = tickets;
        if let Some(applications) = self.table.and_then(|table| table.get("applications")) {
            let names = applications.split(',').map(str::trim).filter(|name| !name.is_empty());
            zammad.applications = names.map(str::to_owned).collect();
        }
        if let Some(count) = self.number(keys::ZAMMAD_CONCURRENCY, 1, 256) {
            zammad.concurrency = usize::try_from(count).unwrap_or(ZammadSettings::CONCURRENCY);
        }
        let rate = self.number(keys::ZAMMAD_MAX_PER_SECOND, 0, 100_000);
        zammad.max_per_second = rate.and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate > 0);
        let mut millis = |key, least, most, place: &mut Duration| {
            if let Some(millis) = self.number(key, least, most) {
                *place = Duration::from_millis(millis);
            }
        };
        millis(keys::ZAMMAD_TIMEOUT_MS, 1_000, 120_000, &mut zammad.request_timeout);
        millis(keys::ZAMMAD_BACKOFF_MS, 10, 600_000, &mut zammad.backoff_initial);
        millis(keys::ZAMMAD_BACKOFF_CAP_MS, 10, 86_400_000, &mut zammad.backoff_cap);
        if let Some(attempts) = self.number(keys::ZAMMAD_MAX_ATTEMPTS, 1, 1_000) {
            zammad.max_attempts = u32::try_from(attempts).unwrap_or(ZammadSettings::MAX_ATTEMPTS);
        }
        let styles = [("display", FromStyle::Display), ("phone", FromStyle::Phone)];
        zammad.from = self.choice(keys::ZAMMAD_FROM, &styles).unwrap_or_default();
        let languages = [("en", RecordLanguage::En), ("ru", RecordLanguage::Ru)];
        zammad.language = self.choice(keys::RECORD_LANG, &languages).unwrap_or_default();
        zammad.trust_customer_data = self.flag(keys::TRUST_CUSTOMER_DATA).unwrap_or_default();
        zammad.customer_lookup.create = self.flag(keys::TICKET_CUSTOMER_CREATE).unwrap_or_default();
        if let Some(group) = self.value(keys::TICKET_GROUP) {
            zammad.ticket_group = group;
        }
        if let Some(customer) = self.value(keys::TICKET_CUSTOMER) {
            let (user, domain) = customer.split_once('@').unwrap_or_default();
            if user.is_empty() || domain.is_empty() || customer.chars().any(|c| c.is_whitespace() || c.is_control()) {
                self.wrong(keys::TICKET_CUSTOMER, Some(&customer), "it is no e-mail address");
            }
            zammad.ticket_customer = customer;
        }
        if let Some(field) = self.value(keys::TICKET_CUSTOMER_FIELD) {
            if !field.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
                self.wrong(
                    keys::TICKET_CUSTOMER_FIELD,
                    Some(&field),
                    "it is no name of a field: lower-case letters, digits and _",
                );
            }
            zammad.customer_lookup.field = field;
        }
        if let Some(path) = self.value(keys::ZAMMAD_CA_FILE) {
            match read_bounded(path.as_ref()) {
                Ok(pem) => zammad.extra_ca_pem = Some(pem),
                Err(problem) => self.wrong(keys::ZAMMAD_CA_FILE, Some(&path), &problem),
            }
        }
        zammad.cti_url = cti_url?;
        (self.problems.len() == before).then_some(zammad)
    }

    /// The whole URL of the CTI endpoint: it ends in `/api/v1/cti/<token>`.
    fn cti_url(&mut self) -> Option<SecretString> {
        if self.value(keys::ZAMMAD_CTI_URL).is_none() {
            self.wrong(keys::ZAMMAD_CTI_URL, None, "it is not set");
            return None;
        }
        let url = self.url(keys::ZAMMAD_CTI_URL)?;
        let token = url.path().split_once("/api/v1/cti/").map(|(_, token)| token.trim_end_matches('/'));
        if token.is_none_or(|token| token.is_empty() || token.contains('/')) {
            let found = if url.path().contains("/cti/") { Some("***") } else { None };
            self.wrong(
                keys::ZAMMAD_CTI_URL,
                found,
                "it is not the whole URL of the CTI endpoint, which ends in /api/v1/cti/ and a token",
            );
            return None;
        }
        Some(url.to_string().into())
    }
}

fn is_known(key: &str) -> bool {
    key == "name" || key == "applications" || IN_TABLE.iter().any(|(name, _)| *name == key)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_host(url: &Url, allowed: &str) -> bool {
    let bare =
        |host: &str| host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    url.host_str().is_some_and(|host| bare(host) == bare(allowed))
}
