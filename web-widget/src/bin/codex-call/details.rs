//! The facts of an error beside its explanation: statuses, addresses, and the words of systems, libraries and far ends.
//!
//! In Russian what others say in English stands in « ».

use std::time::Duration;

use codex_core_sip::error::{Error, MediaFault, TlsFault};
use codex_jambonz_api::Error as ApiError;
use codex_web_widget::Text;

/// The facts of an error of the client.
pub(crate) fn of(error: &Error) -> Text {
    Text::new(error.to_string(), russian(error))
}

/// The facts of an error of jambonz' API.
pub(crate) fn of_api(error: &ApiError) -> Text {
    Text::new(error.to_string(), russian_of_api(error))
}

/// What somebody else says, in English.
pub(crate) fn quoted(words: &str) -> String {
    format!("«{words}»")
}

fn said(label: &str, words: Option<&str>) -> String {
    words.map(|words| format!("; {label}: {}", quoted(words))).unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{} с", (time.as_secs_f64() * 10.0).round() / 10.0)
}

fn russian(error: &Error) -> String {
    match error {
        Error::NameResolution { host, problem } => format!("имя {host}: {}", quoted(problem)),
        Error::Connect { address, problem } => format!("{address}: {}", quoted(problem)),
        Error::Tls { host, fault } => format!("TLS, {host}: {}", russian_of_tls(fault)),
        Error::WebSocketRefused { url, status } => format!("{url}: статус HTTP {status}"),
        Error::SubprotocolRefused { url, chosen } => match chosen {
            Some(chosen) => format!("{url}: вместо sip сервер выбрал {}", quoted(chosen)),
            None => format!("{url}: сервер не выбрал sip"),
        },
        Error::NotWebSocket { url, problem } => format!("{url}: {}", quoted(problem)),
        Error::FlowLost { problem } => format!("причина: {}", quoted(problem)),
        Error::RegistrationRefused { status, phrase, x_reason, .. } => {
            format!("REGISTER: ответ {status} {}{}", quoted(phrase), said("X-Reason", x_reason.as_deref()))
        }
        Error::CallRefused { status, phrase, x_reason, retry_after, .. } => {
            let wait = retry_after.map(|wait| format!("; просит подождать {}", seconds(wait))).unwrap_or_default();
            format!("INVITE: ответ {status} {}{}{wait}", quoted(phrase), said("X-Reason", x_reason.as_deref()))
        }
        Error::Media { fault } => match fault {
            MediaFault::NoPackets { after } => format!("ни одного пакета за {}", seconds(*after)),
            MediaFault::BadDescription(problem) => format!("описание сеанса (SDP): {}", quoted(problem)),
            other => format!("звук: {}", quoted(&other.to_string())),
        },
        Error::Timeout { operation, after } => format!("{}: нет ответа за {}", quoted(operation), seconds(*after)),
        Error::Audio { device, problem } => format!("{}: {}", quoted(device), quoted(problem)),
        Error::CustomerDataTooLarge { size_bytes, limit_bytes } => {
            format!("байт в заголовках: {size_bytes}, разрешено {limit_bytes}")
        }
        other => format!("по-английски: {}", quoted(&other.to_string())),
    }
}

fn russian_of_tls(fault: &TlsFault) -> String {
    match fault {
        TlsFault::NameMismatch { expected, presented } => {
            format!("нужно имя {expected}, в сертификате: {}", presented.join(", "))
        }
        TlsFault::UnknownIssuer => "издатель сертификата неизвестен".to_owned(),
        TlsFault::Expired => "срок сертификата истёк".to_owned(),
        TlsFault::NotYetValid => "срок сертификата ещё не начался".to_owned(),
        TlsFault::Revoked => "сертификат отозван".to_owned(),
        other => quoted(&other.to_string()),
    }
}

fn russian_of_api(error: &ApiError) -> String {
    match error {
        ApiError::Unauthorized => "ответ 401".to_owned(),
        ApiError::Forbidden { message, .. } => format!("ответ 403{}", said("jambonz", message.as_deref())),
        ApiError::NotFound { what } => format!("ответ 404: {}", quoted(what)),
        ApiError::UnknownRoute { url } => format!("{url}: ответ 404 с веб-страницей"),
        ApiError::Redirected { url, status, location } => {
            let to = location.as_deref().map(|to| format!(" на {to}")).unwrap_or_default();
            format!("{url}: переадресация{to}, статус {status}")
        }
        ApiError::Refused { status, message, .. } | ApiError::Server { status, message } => {
            format!("ответ {status}{}", said("jambonz", message.as_deref()))
        }
        ApiError::RateLimited { retry_after } => format!("следующий запрос возможен через {}", seconds(*retry_after)),
        ApiError::NotJson { url, content_type, title } => {
            format!("{url}: ответ вида {}{}", quoted(content_type), said("страница", title.as_deref()))
        }
        ApiError::UnexpectedJson { url, line, column, .. } => {
            format!("{url}: неожиданный JSON в строке {line}, столбце {column}")
        }
        ApiError::Timeout { host, waited } => format!("{host}: нет ответа за {}", seconds(*waited)),
        ApiError::Tls { host, problem }
        | ApiError::Connect { host, problem }
        | ApiError::ConnectionLost { host, problem } => format!("{host}: {}", quoted(problem)),
        other => format!("по-английски: {}", quoted(&other.to_string())),
    }
}
