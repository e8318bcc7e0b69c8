//! jambonz' API: key, account, webhook secret, and where the hooks of applications lead.

use codex_jambonz_api::{Application, Error, JambonzApiClient, Webhook};
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::receive::{CALL_HOOK_PATH, STATUS_HOOK_PATH};
use secrecy::ExposeSecret as _;

use super::{Finding, Text, text, tls_fails};

pub(super) async fn findings(settings: &Settings, api: Option<&JambonzApiClient>) -> Vec<Finding> {
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
        Err(fault) => return vec![failed(&fault)],
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
            text(
                format!("Give the key that right, or compare the secrets in the portal by hand ({fault})."),
                format!("Дайте ключу это право или сравните секреты в портале вручную ({fault})."),
            ),
        ),
    });
    findings.extend(hooks(settings, &applications));
    findings.extend(routes(settings, &applications));
    findings
}

/// What went wrong with jambonz' API, and what to do.
fn failed(fault: &Error) -> Finding {
    let wrong = |en: &str, ru: &str, remedy: Text| Finding::wrong(text(en, ru), remedy);
    match fault {
        Error::Unauthorized => wrong(
            "jambonz does not know JAMBONZ_API_KEY (401).",
            "jambonz не знает ключа JAMBONZ_API_KEY (401).",
            text(
                "Make a new key in jambonz' portal, Account > API keys, and look whether JAMBONZ_API_BASE_URL is of the same platform.",
                "Создайте новый ключ в портале jambonz (Account > API keys) и проверьте, что JAMBONZ_API_BASE_URL от той же платформы.",
            ),
        ),
        Error::Forbidden { .. } | Error::NotFound { .. } => wrong(
            "The key in JAMBONZ_API_KEY may not see the account JAMBONZ_ACCOUNT_SID.",
            "Ключу JAMBONZ_API_KEY недоступна учётная запись JAMBONZ_ACCOUNT_SID.",
            text(
                "Use a key of that account, or correct JAMBONZ_ACCOUNT_SID (jambonz' portal, Account).",
                "Возьмите ключ этой учётной записи или исправьте JAMBONZ_ACCOUNT_SID (портал jambonz, Account).",
            ),
        ),
        Error::UnknownRoute { .. }
        | Error::Redirected { .. }
        | Error::NotJson { .. }
        | Error::UnexpectedJson { .. } => wrong(
            "What answers at JAMBONZ_API_BASE_URL is not jambonz' API.",
            "По адресу JAMBONZ_API_BASE_URL отвечает не API jambonz.",
            text(
                format!("It looks like https://jambonz.example.com/api/v1 ({fault})."),
                format!("Он выглядит как https://jambonz.example.com/api/v1 ({fault})."),
            ),
        ),
        Error::RateLimited { .. } => wrong(
            "jambonz' rate limit is used up (429).",
            "Лимит запросов jambonz исчерпан (429).",
            text(
                "Wait five minutes; the limit is shared by the whole platform.",
                "Подождите пять минут: лимит общий для всей платформы.",
            ),
        ),
        Error::Tls { problem, .. } => tls_fails("JAMBONZ_API_BASE_URL", problem, "SSL_CERT_FILE"),
        Error::Connect { .. } | Error::Timeout { .. } | Error::ConnectionLost { .. } => wrong(
            "jambonz' API cannot be reached.",
            "API jambonz недоступен.",
            text(
                format!("Check JAMBONZ_API_BASE_URL and the firewall ({fault})."),
                format!("Проверьте JAMBONZ_API_BASE_URL и межсетевой экран ({fault})."),
            ),
        ),
        fault => wrong(
            "jambonz' API does not answer as it should.",
            "API jambonz отвечает не так, как должен.",
            text(
                format!(
                    "Look at its log, and check JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY and JAMBONZ_ACCOUNT_SID ({fault})."
                ),
                format!(
                    "Посмотрите его журнал и проверьте JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY и JAMBONZ_ACCOUNT_SID ({fault})."
                ),
            ),
        ),
    }
}

/// Whether the applications by which Zammads are chosen are there.
fn routes(settings: &Settings, applications: &[Application]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for zammad in &settings.zammads {
        for wanted in &zammad.applications {
            let is_it = |one: &Application| {
                one.name.to_lowercase() == wanted.to_lowercase()
                    || one.application_sid.to_string().eq_ignore_ascii_case(wanted)
            };
            if !applications.iter().any(is_it) {
                let name = &zammad.name;
                findings.push(Finding::doubtful(
                    text(
                        format!("Zammad {name} is for the application {wanted}, which the account does not have."),
                        format!("Zammad {name} назначен приложению {wanted}, которого нет в учётной записи."),
                    ),
                    text(
                        "Correct its name in [[zammad]] applications, or write its GUID.",
                        "Исправьте имя в applications таблицы [[zammad]] или укажите GUID.",
                    ),
                ));
            }
        }
    }
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
    let logs_in = |hook: &Option<Webhook>| {
        let Some(login) = &settings.hook_login else { return true };
        let password = |hook: &Webhook| hook.password.as_ref().map(|own| own.expose_secret().to_owned());
        hook.as_ref().is_some_and(|hook| {
            hook.username.as_deref() == Some(login.username.as_str())
                && password(hook).as_deref() == Some(login.password.expose_secret())
        })
    };
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
        } else if (calls && !logs_in(&one.call_hook)) || (statuses && !logs_in(&one.call_status_hook)) {
            findings.push(Finding::wrong(
                text(
                    format!("A hook of {name} does not log in with JAMBONZ_HOOK_USERNAME and JAMBONZ_HOOK_PASSWORD: it would be refused."),
                    format!("Вебхук приложения {name} не передаёт JAMBONZ_HOOK_USERNAME и JAMBONZ_HOOK_PASSWORD: он будет отклонён."),
                ),
                text(
                    "Set both hooks' user name and password in jambonz' portal.",
                    "Задайте имя и пароль обоих вебхуков в портале jambonz.",
                ),
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
