//! Zammad: the CTI endpoint, and the API token with what it may do.
//!
//! The CTI endpoint is asked with a request that it refuses for want of a direction, once token and integration were found
//! right.

use codex_zammad_bridge::Result;
use codex_zammad_bridge::call_book::TicketMode;
use codex_zammad_bridge::delivery::ZammadSettings;
use codex_zammad_bridge::http_client::{innermost_cause, is_of_tls, verified_client};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{ANSWER_LIMIT, Finding, text, tls_fails};

/// How much of an answer is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer.
enum Problem {
    Tls(String),
    Other(String),
}

/// An answer's status and JSON, or why there is none.
async fn answer_of(request: reqwest::RequestBuilder) -> Result<(u16, Value), Problem> {
    let request = request.timeout(ANSWER_LIMIT).header("Accept", "application/json");
    let failed = |error: reqwest::Error| {
        let problem = innermost_cause(&error.without_url());
        if is_of_tls(&problem) { Problem::Tls(problem) } else { Problem::Other(problem) }
    };
    let mut response = request.send().await.map_err(failed)?;
    let (status, mut body) = (response.status().as_u16(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Problem::Other(format!("it answers with more than {MAX_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn unreachable(name: &str, problem: &Problem) -> Finding {
    let problem = match problem {
        Problem::Tls(problem) => return tls_fails(&format!("Zammad {name}"), problem, "ZAMMAD_CA_FILE"),
        Problem::Other(problem) => problem,
    };
    Finding::wrong(
        text(format!("Zammad {name} cannot be reached: {problem}"), format!("Zammad {name} недоступен: {problem}")),
        text(
            "Check the address and the firewall, and whether Zammad runs.",
            "Проверьте адрес, межсетевой экран и работает ли Zammad.",
        ),
    )
}

/// Whether the CTI endpoint takes the token and is switched on.
pub(super) async fn caller_log(zammad: &ZammadSettings) -> Result<Vec<Finding>> {
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
pub(super) async fn rest(zammad: &ZammadSettings) -> Result<Vec<Finding>> {
    let name = &zammad.name;
    let (Some(url), Some(token)) = (&zammad.url, &zammad.api_token) else { return Ok(Vec::new()) };
    let http = verified_client("ZAMMAD_CA_FILE", zammad.extra_ca_pem.as_deref())?;
    let base = url.as_str().trim_end_matches('/').to_owned();
    let ask = |path: &str| {
        let authorization = format!("Token token={}", token.expose_secret());
        answer_of(http.get(format!("{base}{path}")).header("Authorization", authorization))
    };
    let me = match ask("/api/v1/users/me?expand=true").await {
        Err(problem) => return Ok(vec![unreachable(name, &problem)]),
        Ok((200, me)) => me,
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
    };
    let mut findings = vec![Finding::right(text(
        format!("Zammad {name} takes the API token."),
        format!("Zammad {name} принимает токен API."),
    ))];
    if zammad.tickets != TicketMode::Off {
        // What delivery asks for, where an agent's permission is needed.
        findings.push(match ask("/api/v1/users/search?query=zammad-bridge-check&limit=1").await {
            Ok((200, _)) => Finding::right(text("The token may work with tickets.", "Токену доступны заявки.")),
            Ok((status, _)) => Finding::wrong(
                text(
                    format!("The token may not work with tickets (HTTP {status})."),
                    format!("Токену недоступны заявки (HTTP {status})."),
                ),
                text(
                    "Give the token, and its user, the permission ticket.agent, or set TICKET_MODE=off.",
                    "Дайте токену и его пользователю право ticket.agent или задайте TICKET_MODE=off.",
                ),
            ),
            Err(problem) => unreachable(name, &problem),
        });
        findings.extend(group(zammad, &me));
    }
    if let Ok((403, _)) = ask("/api/v1/cti/log").await {
        findings.push(Finding::doubtful(
            text("The token may not read the caller log: after a crash, events that Zammad has already are sent once more.", "Токену недоступен журнал звонков: после сбоя уже переданные события будут отправлены ещё раз."),
            text("Give the token the permission cti.agent.", "Дайте токену право cti.agent."),
        ));
    }
    Ok(findings)
}

/// Whether the token's user may make tickets in the configured group, as far as the user's own groups tell: others may come
/// with a role.
fn group(zammad: &ZammadSettings, me: &Value) -> Option<Finding> {
    let group = &zammad.ticket_group;
    let rights = me.get("groups")?.as_object()?.get(group).and_then(Value::as_array);
    let may = |right: &Value| matches!(right.as_str(), Some("full" | "create"));
    Some(if rights.is_some_and(|rights| rights.iter().any(may)) {
        Finding::right(text(
            format!("Tickets can be made in the group {group}."),
            format!("В группе {group} можно создавать заявки."),
        ))
    } else {
        Finding::doubtful(
            text(
                format!("The token's user has no right of its own to make tickets in the group {group}."),
                format!("У пользователя токена нет собственного права создавать заявки в группе {group}."),
            ),
            text(
                "Unless a role gives it: in Zammad, Admin > Users, give the user the group with full or create rights, or set TICKET_GROUP.",
                "Если его не даёт роль: в Zammad, Администрирование > Пользователи, дайте пользователю полный доступ к группе или задайте TICKET_GROUP.",
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Weight;

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
}
