//! jambonz' REST API: the key, and the application that is called.

use codex_jambonz_api::{ApplicationSid, Error};
use codex_web_widget::{Settings, Text, application_names};

use super::report::{Check, Report};
use crate::details;
use crate::exit::Kind;
use crate::explanation::Explanation;

pub(super) async fn check(report: &mut Report<'_>, settings: &Settings) {
    let Some(api) = &settings.api else {
        return report.left_out(
            Check::Api,
            &Text::fixed(
                "JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY and JAMBONZ_ACCOUNT_SID are not set; nothing is looked up",
                "JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY и JAMBONZ_ACCOUNT_SID не заданы; имена не запрашиваются",
            ),
        );
    };
    let client = match application_names(api) {
        Ok(client) => client,
        Err(error) => return fault(report, &error),
    };
    match settings.target_application() {
        Some(application) => match client.get_application(application).await {
            Ok(found) => name(report, settings, application, &found.name),
            Err(error) => fault(report, &error),
        },
        None => {
            match client.get_applications().await {
                Ok(found) => {
                    let count = found.len();
                    report.fine(
                    Check::Api,
                    &Text::new(
                        format!("the key is good; the account has {count} applications; the target is none of them by GUID"),
                        format!("ключ подходит; приложений в аккаунте: {count}; цель задана не по GUID приложения"),
                    ),
                );
                }
                Err(error) => fault(report, &error),
            }
        }
    }
}

fn name(report: &mut Report<'_>, settings: &Settings, application: ApplicationSid, found: &str) {
    report
        .fine(Check::Api, &Text::new(format!("{application} is `{found}`"), format!("{application} — это «{found}»")));
    if let Some(configured) = &settings.sip.target_application_name
        && configured.as_str() != found
    {
        report.warn(
            Check::Api,
            &Text::new(
                format!("TARGET_APPLICATION_NAME is `{configured}`, and that is what is shown"),
                format!("TARGET_APPLICATION_NAME — «{configured}», показывается оно"),
            ),
        );
    }
}

fn fault(report: &mut Report<'_>, error: &Error) {
    let (what, remedy) = match error {
        Error::Unauthorized => (
            Text::fixed("jambonz does not accept the API key", "jambonz не принимает ключ API"),
            Text::fixed(
                "make a key in jambonz' portal (Account > API keys) and set JAMBONZ_API_KEY; check that it is of the platform of JAMBONZ_API_BASE_URL",
                "создайте ключ в портале jambonz (Account > API keys) и задайте JAMBONZ_API_KEY; проверьте, что он от той же платформы, что и JAMBONZ_API_BASE_URL",
            ),
        ),
        Error::Forbidden { .. } => (
            Text::fixed(
                "the API key is good, but not for this account",
                "ключ API действителен, но не для этого аккаунта",
            ),
            Text::fixed(
                "correct JAMBONZ_ACCOUNT_SID, or use a key of that account",
                "исправьте JAMBONZ_ACCOUNT_SID или возьмите ключ этого аккаунта",
            ),
        ),
        Error::NotFound { .. } => (
            Text::fixed(
                "the account has no application with the target's GUID",
                "в аккаунте нет приложения с GUID из TARGET_SIP_URI",
            ),
            Text::fixed(
                "compare the GUID in TARGET_SIP_URI with the application's page in jambonz' portal",
                "сверьте GUID в TARGET_SIP_URI со страницей приложения в портале jambonz",
            ),
        ),
        Error::UnknownRoute { .. }
        | Error::NotJson { .. }
        | Error::Redirected { .. }
        | Error::UnexpectedJson { .. } => (
            Text::fixed("what answers there is not jambonz' API", "по этому адресу отвечает не API jambonz"),
            Text::fixed(
                "check JAMBONZ_API_BASE_URL, which looks like https://api.example.com/v1",
                "проверьте JAMBONZ_API_BASE_URL, он выглядит как https://api.example.com/v1",
            ),
        ),
        Error::RateLimited { .. } => (
            Text::fixed("jambonz' rate limit is used up", "лимит запросов jambonz исчерпан"),
            Text::fixed("try again in some minutes", "попробуйте через несколько минут"),
        ),
        Error::Timeout { host, .. } | Error::Connect { host, .. } | Error::ConnectionLost { host, .. } => (
            Text::new(format!("no connection to {host}"), format!("нет соединения с {host}")),
            Text::fixed(
                "check JAMBONZ_API_BASE_URL, and whether the API server runs",
                "проверьте JAMBONZ_API_BASE_URL и работает ли сервер API",
            ),
        ),
        Error::Tls { host, .. } => (
            Text::new(
                format!("the certificate of {host} cannot be trusted"),
                format!("сертификату {host} нельзя доверять"),
            ),
            Text::fixed("renew or correct it", "обновите или исправьте его"),
        ),
        other => (
            Text::new(other.to_string(), "API jambonz отвечает не так, как должен"),
            Text::fixed("look at the API server's log", "посмотрите журнал сервера API"),
        ),
    };
    report.fault(Check::Api, Kind::Api, &Explanation::new(what, remedy), Some(&details::of_api(error)));
}
