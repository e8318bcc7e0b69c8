//! `check`: everything that must be right is looked at, and what is not is explained with its remedy, in English or
//! Russian. Nothing is changed anywhere, no store is made, no hook is asked.
//!
//! | what | where |
//! |---|---|
//! | the store's file | [`store`] |
//! | jambonz' key, webhook secret and hooks | [`jambonz`] |
//! | Zammad's CTI endpoint, API token and its permissions | [`zammad`] |
//! | who may send hooks, and whether the application can be reached | here |

mod jambonz;
mod store;
mod zammad;

use std::time::Duration;

use clap::ValueEnum;
use codex_zammad_bridge::Result;
use codex_zammad_bridge::bridge::jambonz_api;
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::http_client::{Unreached, reach};
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
    tell(vec![store::finding(&settings.database).await])?;
    tell(senders(settings))?;
    let api = jambonz_api(settings)?;
    tell(jambonz::findings(settings, api.as_deref()).await)?;
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
        tell(zammad::caller_log(zammad).await?)?;
        tell(zammad::rest(zammad).await?)?;
    }
    Ok(all_right)
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
        findings.push(reached(name, url, settings.upstream_ca_pem.as_deref()).await);
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

/// Whether somebody listens there, with a certificate that holds. Nothing is sent: a hook would take it for a call.
async fn reached(name: &str, url: &Url, extra_ca_pem: Option<&str>) -> Finding {
    match tokio::time::timeout(ANSWER_LIMIT, reach(url, extra_ca_pem)).await {
        Ok(Ok(())) => Finding::right(text(format!("{name} can be reached."), format!("{name} доступен."))),
        Ok(Err(Unreached::Connection(problem))) => away(name, &problem),
        Ok(Err(Unreached::Tls(problem))) => tls_fails(name, &problem, "UPSTREAM_CA_FILE"),
        Err(_) => away(name, &format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

fn away(name: &str, problem: &str) -> Finding {
    Finding::wrong(
        text(format!("{name} cannot be reached: {problem}"), format!("{name} недоступен: {problem}")),
        text("Start the application, or correct the address.", "Запустите приложение или исправьте адрес."),
    )
}

/// TLS with `whom` fails; `setting` is where further authorities go.
fn tls_fails(whom: &str, problem: &str, setting: &str) -> Finding {
    Finding::wrong(
        text(
            format!("TLS with {whom} fails: {problem}"),
            format!("Не удаётся установить TLS-соединение ({whom}): {problem}"),
        ),
        text(
            format!(
                "Check the certificate and the host name in the URL; a private authority's certificate goes into {setting}."
            ),
            format!(
                "Проверьте сертификат и имя узла в URL; сертификат частного центра сертификации укажите в {setting}."
            ),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_in_both_languages() {
        let finding = tls_fails("Zammad default", "UnknownIssuer", "ZAMMAD_CA_FILE");
        assert!(finding.lines(Language::En).starts_with("[FAIL] TLS with Zammad default fails"), "{finding:?}");
        assert!(finding.lines(Language::Ru).contains("-> Проверьте сертификат"), "{finding:?}");
    }
}
