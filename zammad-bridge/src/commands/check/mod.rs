//! `check`: everything that must be right is looked at, and what is not is explained with its remedy, in English or
//! Russian. Nothing is changed anywhere: the CTI endpoint is asked with a request that it refuses for want of a direction,
//! once token and integration were found right.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use codex_jambonz_api::{Application, JambonzApiClient, Webhook};
use codex_zammad_bridge::bridge::jambonz_api;
use codex_zammad_bridge::call_book::TicketMode;
use codex_zammad_bridge::clock::SystemClock;
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::delivery::ZammadSettings;
use codex_zammad_bridge::http_client::{innermost_cause, verified_client};
use codex_zammad_bridge::receive::{CALL_HOOK_PATH, STATUS_HOOK_PATH};
use codex_zammad_bridge::store::{CallStore as _, Routes, SqliteStore};
use codex_zammad_bridge::{Error, Result};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use super::records::say;

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// The language of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English.
    En,
    /// Russian.
    Ru,
}

/// A text in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    en: String,
    ru: String,
}

fn text(en: impl Into<String>, ru: impl Into<String>) -> Text {
    Text { en: en.into(), ru: ru.into() }
}

/// How a finding is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It is right.
    Right,
    /// It works, but may not be meant.
    Doubtful,
    /// It does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    what: Text,
    remedy: Option<Text>,
}

impl Finding {
    fn right(what: Text) -> Self {
        Self { weight: Weight::Right, what, remedy: None }
    }

    fn doubtful(what: Text, remedy: Text) -> Self {
        Self { weight: Weight::Doubtful, what, remedy: Some(remedy) }
    }

    fn wrong(what: Text, remedy: Text) -> Self {
        Self { weight: Weight::Wrong, what, remedy: Some(remedy) }
    }

    fn lines(&self, language: Language) -> String {
        let of = |text: &Text| if language == Language::En { text.en.clone() } else { text.ru.clone() };
        let (word, then) = match (self.weight, language) {
            (Weight::Right, _) => ("[ ok ]", ""),
            (Weight::Doubtful, _) => ("[ ?? ]", "  -> "),
            (Weight::Wrong, _) => ("[FAIL]", "  -> "),
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("\n     {then}{}", of(remedy))).unwrap_or_default();
        format!("{word} {}{remedy}", of(&self.what))
    }
}

/// Looks at everything and says what was found; whether nothing is wrong.
pub(super) async fn check(settings: &Settings, language: Language) -> Result<bool> {
    let mut all_right = true;
    let mut tell = |findings: Vec<Finding>| -> Result<()> {
        for finding in findings {
            all_right &= finding.weight != Weight::Wrong;
            say(finding.lines(language))?;
        }
        Ok(())
    };
    tell(vec![Finding::right(text("The settings can be read.", "Настройки читаются."))])?;
    tell(vec![store(settings).await])?;
    tell(senders(settings))?;
    let api = jambonz_api(settings)?;
    tell(jambonz(settings, api.as_deref()).await)?;
    tell(application(settings).await)?;
    if settings.zammads.is_empty() {
        tell(vec![Finding::wrong(
            text("No Zammad is configured.", "Не настроен ни один Zammad."),
            text(
                "Set ZAMMAD_CTI_URL: in Zammad, Admin > Integrations > CTI (generic), the URL shown there.",
                "Задайте ZAMMAD_CTI_URL: в Zammad, Администрирование > Интеграции > CTI (generic), указанный там URL.",
            ),
        )])?;
    }
    for zammad in &settings.zammads {
        tell(caller_log(zammad).await?)?;
        tell(rest(zammad).await?)?;
    }
    Ok(all_right)
}

async fn store(settings: &Settings) -> Finding {
    let path = settings.database.path.display();
    match SqliteStore::open(&settings.database, Routes::default(), Arc::new(SystemClock)).await {
        Ok(store) => {
            store.close().await;
            Finding::right(text(format!("The store {path} can be opened."), format!("Хранилище {path} открывается.")))
        }
        Err(Error::StoreInUse { .. }) => Finding::right(text(
            format!("The store {path} is open in a bridge that runs."),
            format!("Хранилище {path} открыто работающим мостом."),
        )),
        Err(fault) => Finding::wrong(
            text(format!("The store {path} cannot be opened."), format!("Хранилище {path} не открывается.")),
            text(fault.to_string(), format!("Сообщение программы: {fault}")),
        ),
    }
}

/// Whether it is checked who sends hooks.
fn senders(settings: &Settings) -> Vec<Finding> {
    if !settings.webhook_secrets.is_empty() || settings.hook_login.is_some() {
        return vec![Finding::right(text(
            "Hooks must be signed or log in.",
            "Вебхуки принимаются только с подписью или паролем.",
        ))];
    }
    if settings.jambonz_api.is_some() && !settings.allow_unsigned {
        return vec![Finding::right(text(
            "Hooks must be signed; the secret is fetched from jambonz at the start.",
            "Вебхуки принимаются только с подписью; секрет запрашивается у jambonz при запуске.",
        ))];
    }
    vec![Finding::doubtful(
        text(
            "Hooks are taken from anybody who reaches the bridge.",
            "Вебхуки принимаются от любого, кто может подключиться к мосту.",
        ),
        text(
            "Set JAMBONZ_WEBHOOK_SECRET: the webhook secret from jambonz' portal, Account.",
            "Задайте JAMBONZ_WEBHOOK_SECRET: секрет вебхуков со страницы Account портала jambonz.",
        ),
    )]
}

async fn jambonz(settings: &Settings, api: Option<&JambonzApiClient>) -> Vec<Finding> {
    let Some(api) = api else {
        return vec![Finding::doubtful(
            text(
                "jambonz' API is not configured: names of applications and hooks were not checked.",
                "API jambonz не настроен: имена приложений и вебхуки не проверены.",
            ),
            text(
                "Set JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY and JAMBONZ_ACCOUNT_SID.",
                "Задайте JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY и JAMBONZ_ACCOUNT_SID.",
            ),
        )];
    };
    let applications = match api.get_applications().await {
        Ok(applications) => applications,
        Err(fault) => {
            return vec![Finding::wrong(
                text("jambonz' API does not answer as it should.", "API jambonz отвечает не так, как должен."),
                text(
                    fault.to_string(),
                    format!(
                        "Проверьте JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY и JAMBONZ_ACCOUNT_SID. Сообщение: {fault}"
                    ),
                ),
            )];
        }
    };
    let count = applications.len();
    let mut findings = vec![Finding::right(text(
        format!("jambonz' API takes the key; the account has {count} applications."),
        format!("API jambonz принимает ключ; приложений в учётной записи: {count}."),
    ))];
    findings.push(match api.get_webhook_secret().await {
        Ok(secret) => {
            let is_it = |configured: &secrecy::SecretString| configured.expose_secret() == secret.expose_secret();
            if settings.webhook_secrets.is_empty() || settings.webhook_secrets.iter().any(is_it) {
                Finding::right(text(
                    "The webhook secret is the account's.",
                    "Секрет вебхуков совпадает с секретом учётной записи.",
                ))
            } else {
                Finding::wrong(
                    text(
                        "JAMBONZ_WEBHOOK_SECRET is not the account's webhook secret: every hook would be refused.",
                        "JAMBONZ_WEBHOOK_SECRET не совпадает с секретом учётной записи: все вебхуки будут отклонены.",
                    ),
                    text(
                        "Copy it anew from jambonz' portal, Account.",
                        "Скопируйте его заново со страницы Account портала jambonz.",
                    ),
                )
            }
        }
        Err(fault) => Finding::doubtful(
            text(
                "The webhook secret cannot be compared: this key may not read it.",
                "Секрет вебхуков не удалось сравнить: у ключа нет права его читать.",
            ),
            text(fault.to_string(), format!("Сообщение: {fault}")),
        ),
    });
    findings.extend(hooks(settings, &applications));
    findings
}

/// Whether hooks of applications lead to the bridge.
fn hooks(settings: &Settings, applications: &[Application]) -> Vec<Finding> {
    let Some(public) = &settings.public_url else {
        return vec![Finding::doubtful(
            text(
                "Hooks of applications were not checked: it is not known where jambonz reaches the bridge.",
                "Вебхуки приложений не проверены: неизвестно, по какому адресу jambonz обращается к мосту.",
            ),
            text(
                "Set BRIDGE_PUBLIC_URL, for example https://bridge.example.com",
                "Задайте BRIDGE_PUBLIC_URL, например https://bridge.example.com",
            ),
        )];
    };
    let base = public.as_str().trim_end_matches('/');
    let (call_hook, status_hook) = (format!("{base}{CALL_HOOK_PATH}"), format!("{base}{STATUS_HOOK_PATH}"));
    let leads_to = |hook: &Option<Webhook>, url: &str| hook.as_ref().is_some_and(|hook| hook.url == url);
    let mut findings = Vec::new();
    for one in applications {
        let name = &one.name;
        let (calls, statuses) = (leads_to(&one.call_hook, &call_hook), leads_to(&one.call_status_hook, &status_hook));
        let is_get = |hook: &Option<Webhook>| {
            hook.as_ref()
                .and_then(|hook| hook.method.as_deref())
                .is_some_and(|method| method.eq_ignore_ascii_case("GET"))
        };
        if (calls && is_get(&one.call_hook)) || (statuses && is_get(&one.call_status_hook)) {
            findings.push(Finding::wrong(
                text(
                    format!("A hook of {name} has the method GET, with which jambonz sends nothing."),
                    format!("У вебхука приложения {name} метод GET: с ним jambonz не передаёт данных."),
                ),
                text("Set it to POST in jambonz' portal.", "Выберите POST в портале jambonz."),
            ));
        } else if calls && statuses {
            findings.push(Finding::right(text(
                format!("Both hooks of {name} lead to the bridge."),
                format!("Оба вебхука приложения {name} ведут к мосту."),
            )));
        } else if calls || statuses {
            let missing = if calls { "call_status_hook" } else { "call_hook" };
            findings.push(Finding::wrong(
                text(
                    format!("The {missing} of {name} does not lead to the bridge, the other one does."),
                    format!("{missing} приложения {name} не ведёт к мосту, а второй вебхук ведёт."),
                ),
                text(
                    format!("Run `setup --application {name:?}`."),
                    format!("Выполните `setup --application {name:?}`."),
                ),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::wrong(
            text("No application's hooks lead to the bridge: it hears of no call.", "Ни у одного приложения вебхуки не ведут к мосту: о звонках он не узнает."),
            text(
                format!("Run `setup --application NAME`, or set call_hook to {call_hook} and call_status_hook to {status_hook}."),
                format!("Выполните `setup --application ИМЯ` или задайте call_hook {call_hook} и call_status_hook {status_hook}."),
            ),
        ));
    }
    findings
}

/// Whether somebody answers calls.
async fn application(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.upstream_call_hook.is_none() && settings.verbs.is_none() {
        findings.push(Finding::wrong(
            text(
                "The bridge has no application to pass calls on to, and no verbs of its own.",
                "Мосту некому передавать звонки, и собственных команд у него нет.",
            ),
            text(
                "Set UPSTREAM_CALL_HOOK to the application's own call_hook, or VERBS_FILE.",
                "Задайте UPSTREAM_CALL_HOOK (собственный call_hook приложения) или VERBS_FILE.",
            ),
        ));
    }
    let hooks = [
        ("UPSTREAM_CALL_HOOK", &settings.upstream_call_hook),
        ("UPSTREAM_STATUS_HOOK", &settings.upstream_status_hook),
    ];
    for (name, url) in hooks {
        let Some(url) = url else { continue };
        findings.push(match reach(url).await {
            Ok(()) => Finding::right(text(format!("{name} can be reached."), format!("{name} доступен."))),
            Err(problem) => Finding::wrong(
                text(format!("{name} cannot be reached: {problem}"), format!("{name} недоступен: {problem}")),
                text("Start the application, or correct the address.", "Запустите приложение или исправьте адрес."),
            ),
        });
    }
    if settings.upstream_call_hook.is_some() && settings.fallback_verbs.is_none() {
        findings.push(Finding::doubtful(
            text(
                "There are no verbs for times when the application fails: callers would hear nothing.",
                "Нет команд на случай сбоя приложения: звонящие ничего не услышат.",
            ),
            text("Set FALLBACK_VERBS_FILE.", "Задайте FALLBACK_VERBS_FILE."),
        ));
    }
    findings
}

/// Whether somebody listens there. Nothing is sent: a hook would take it for a call.
async fn reach(url: &Url) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    match tokio::time::timeout(ANSWER_LIMIT, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

/// An answer's status and JSON, or why there is none.
async fn answer_of(request: reqwest::RequestBuilder) -> Result<(u16, Value), String> {
    let request = request.timeout(ANSWER_LIMIT).header("Accept", "application/json");
    let response = request.send().await.map_err(|error| innermost_cause(&error.without_url()))?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| innermost_cause(&error.without_url()))?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn unreachable(name: &str, problem: &str) -> Finding {
    Finding::wrong(
        text(format!("Zammad {name} cannot be reached: {problem}"), format!("Zammad {name} недоступен: {problem}")),
        text("Check the address, the firewall and the certificate.", "Проверьте адрес, межсетевой экран и сертификат."),
    )
}

/// Whether the CTI endpoint takes the token and is switched on.
async fn caller_log(zammad: &ZammadSettings) -> Result<Vec<Finding>> {
    let name = &zammad.name;
    let http = verified_client("ZAMMAD_CA_FILE", zammad.extra_ca_pem.as_deref())?;
    // Without a direction nothing is kept.
    let request = http.post(zammad.cti_url.expose_secret()).json(&serde_json::json!({"event": "newCall"}));
    let (status, body) = match answer_of(request).await {
        Ok(answer) => answer,
        Err(problem) => return Ok(vec![unreachable(name, &problem)]),
    };
    let said = body.get("error").and_then(Value::as_str).unwrap_or_default();
    Ok(vec![caller_log_finding(name, status, said)])
}

/// What the answer to a request without a direction says of token and integration.
fn caller_log_finding(name: &str, status: u16, said: &str) -> Finding {
    match status {
        401 => Finding::wrong(
            text(
                format!("Zammad {name} does not know the token in ZAMMAD_CTI_URL."),
                format!("Zammad {name} не знает токена из ZAMMAD_CTI_URL."),
            ),
            text(
                "Copy the URL anew: Admin > Integrations > CTI (generic).",
                "Скопируйте URL заново: Администрирование > Интеграции > CTI (generic).",
            ),
        ),
        422 if said.contains("disabled") => Finding::wrong(
            text(
                format!("The CTI integration of Zammad {name} is switched off."),
                format!("Интеграция CTI в Zammad {name} выключена."),
            ),
            text(
                "Switch it on: Admin > Integrations > CTI (generic).",
                "Включите её: Администрирование > Интеграции > CTI (generic).",
            ),
        ),
        422 if said.contains("not configured") => Finding::wrong(
            text(
                format!("The CTI integration of Zammad {name} is not configured."),
                format!("Интеграция CTI в Zammad {name} не настроена."),
            ),
            text(
                "Open Admin > Integrations > CTI (generic) and save it once.",
                "Откройте Администрирование > Интеграции > CTI (generic) и сохраните настройки.",
            ),
        ),
        422 => Finding::right(text(
            format!("Zammad {name} takes the CTI token."),
            format!("Zammad {name} принимает токен CTI."),
        )),
        200 => Finding::doubtful(
            text(
                format!(
                    "Zammad {name} took a request that it should refuse: it is in maintenance mode, or this is no Zammad."
                ),
                format!(
                    "Zammad {name} принял запрос, который должен отклонить: включён режим обслуживания, либо это не Zammad."
                ),
            ),
            text(
                "Look at ZAMMAD_CTI_URL, and at Admin > Maintenance.",
                "Проверьте ZAMMAD_CTI_URL и раздел Администрирование > Обслуживание.",
            ),
        ),
        other => Finding::wrong(
            text(
                format!(
                    "What ZAMMAD_CTI_URL names answers with HTTP {other}: it is no CTI endpoint, or Zammad is in trouble."
                ),
                format!("Адрес из ZAMMAD_CTI_URL отвечает HTTP {other}: это не точка CTI, либо в Zammad сбой."),
            ),
            text("Copy the URL anew, and look at Zammad's log.", "Скопируйте URL заново и посмотрите журнал Zammad."),
        ),
    }
}

/// Whether the API token is taken and may do what tickets need.
async fn rest(zammad: &ZammadSettings) -> Result<Vec<Finding>> {
    let name = &zammad.name;
    let (Some(url), Some(token)) = (&zammad.url, &zammad.api_token) else { return Ok(Vec::new()) };
    let http = verified_client("ZAMMAD_CA_FILE", zammad.extra_ca_pem.as_deref())?;
    let base = url.as_str().trim_end_matches('/').to_owned();
    let ask = |path: &str| {
        let authorization = format!("Token token={}", token.expose_secret());
        answer_of(http.get(format!("{base}{path}")).header("Authorization", authorization))
    };
    match ask("/api/v1/users/me").await {
        Err(problem) => return Ok(vec![unreachable(name, &problem)]),
        Ok((200, _)) => {}
        Ok((status @ (401 | 403), _)) => {
            return Ok(vec![Finding::wrong(
                text(
                    format!("Zammad {name} does not take ZAMMAD_API_TOKEN (HTTP {status})."),
                    format!("Zammad {name} не принимает ZAMMAD_API_TOKEN (HTTP {status})."),
                ),
                text(
                    "Make a new one in the agent's profile, Token Access, and switch on Admin > System > API > token access.",
                    "Создайте новый в профиле агента, раздел «Доступ по токену», и включите доступ по токену: Администрирование > Система > API.",
                ),
            )]);
        }
        Ok((status, _)) => {
            return Ok(vec![Finding::wrong(
                text(
                    format!("What ZAMMAD_URL names answers with HTTP {status}: it is no Zammad."),
                    format!("Адрес из ZAMMAD_URL отвечает HTTP {status}: это не Zammad."),
                ),
                text(
                    "Set it to the address at which agents open Zammad.",
                    "Укажите адрес, по которому агенты открывают Zammad.",
                ),
            )]);
        }
    }
    let mut findings = vec![Finding::right(text(
        format!("Zammad {name} takes the API token."),
        format!("Zammad {name} принимает токен API."),
    ))];
    if zammad.tickets != TicketMode::Off {
        findings.push(match ask("/api/v1/tickets?per_page=1").await {
            Ok((200, _)) => Finding::right(text("The token may work with tickets.", "Токену доступны заявки.")),
            Ok((status, _)) => Finding::wrong(
                text(
                    format!("The token may not work with tickets (HTTP {status})."),
                    format!("Токену недоступны заявки (HTTP {status})."),
                ),
                text(
                    "Give the token the permission ticket.agent, or set TICKET_MODE=off.",
                    "Дайте токену право ticket.agent или задайте TICKET_MODE=off.",
                ),
            ),
            Err(problem) => unreachable(name, &problem),
        });
        let group = &zammad.ticket_group;
        if let Ok((200, Value::Array(groups))) = ask("/api/v1/groups").await {
            let is_there = groups.iter().any(|one| one.get("name").and_then(Value::as_str) == Some(group));
            findings.push(if is_there {
                Finding::right(text(format!("There is a group {group}."), format!("Группа {group} существует.")))
            } else {
                Finding::wrong(
                    text(
                        format!("There is no group {group}, or the token does not see it."),
                        format!("Группы {group} нет, либо она не видна токену."),
                    ),
                    text(
                        "Set TICKET_GROUP to the name of a group in which the agent may create tickets.",
                        "Задайте в TICKET_GROUP имя группы, в которой агент может создавать заявки.",
                    ),
                )
            });
        }
    }
    if let Ok((403, _)) = ask("/api/v1/cti/log").await {
        findings.push(Finding::doubtful(
            text("The token may not read the caller log: after a crash, events that Zammad has already are sent once more.", "Токену недоступен журнал звонков: после сбоя уже переданные события будут отправлены ещё раз."),
            text("Give the token the permission cti.agent.", "Дайте токену право cti.agent."),
        ));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_cti_endpoint_are_told_apart() {
        for (status, said, weight, words) in [
            (401, "Invalid token, please contact your admin!", Weight::Wrong, "does not know the token"),
            (422, "Feature is disabled, please contact your administrator!", Weight::Wrong, "switched off"),
            (422, "Feature not configured, please contact your admin!", Weight::Wrong, "not configured"),
            (422, "Invalid 'direction'!", Weight::Right, "takes the CTI token"),
            (200, "", Weight::Doubtful, "maintenance"),
            (404, "", Weight::Wrong, "no CTI endpoint"),
        ] {
            let finding = caller_log_finding("default", status, said);
            assert_eq!(finding.weight, weight, "{said}");
            assert!(finding.what.en.contains(words), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), weight != Weight::Right);
        }
    }

    #[test]
    fn findings_are_told_in_both_languages() {
        let finding = caller_log_finding("default", 401, "");
        assert!(finding.lines(Language::En).starts_with("[FAIL] Zammad default does not know"), "{finding:?}");
        assert!(finding.lines(Language::Ru).contains("-> Скопируйте URL заново"), "{finding:?}");
    }
}
