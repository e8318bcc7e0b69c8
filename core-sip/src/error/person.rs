//! Errors in a sentence or two for the person who wanted to call: what happened and what to do, no jargon.

use std::borrow::Cow;
use std::time::Duration;

use super::{CallRefusal, Error, MediaFault, RegistrationRefusal, TlsFault};

/// A language that this crate's texts for people exist in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// Russian.
    Ru,
}

impl Locale {
    /// The locale for a language tag (BCP 47) or POSIX locale such as `ru`, `ru-RU` or `ru_RU.UTF-8`; English for every
    /// language that there are no texts in.
    #[must_use]
    pub fn from_language(language: &str) -> Self {
        let primary = language.trim().split(['-', '_', '.', '@']).next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("ru") || primary.eq_ignore_ascii_case("rus") { Self::Ru } else { Self::En }
    }
}

/// One text in all languages, so that none can be forgotten.
struct Text {
    en: Cow<'static, str>,
    ru: Cow<'static, str>,
}

const fn text(en: &'static str, ru: &'static str) -> Text {
    Text { en: Cow::Borrowed(en), ru: Cow::Borrowed(ru) }
}

/// What nobody but the people who run the service can mend.
const NOT_SET_UP: Text = text(
    "Calling is not set up correctly. Please tell the owner of the site or your administrator.",
    "Звонки настроены неправильно. Сообщите об этом владельцу сайта или администратору.",
);
const NOT_SECURE: Text = text(
    "A secure connection to the call server is not possible. Please tell the owner of the site or your administrator.",
    "Не удаётся установить защищённое соединение с сервером звонков. Сообщите об этом владельцу сайта или администратору.",
);
const SERVER_REFUSED: Text = text(
    "The call server refused the connection. Please tell the owner of the site or your administrator.",
    "Сервер звонков отказал в подключении. Сообщите об этом владельцу сайта или администратору.",
);
const MISUNDERSTANDING: Text = text(
    "Something went wrong between this device and the call server. Please try again.",
    "При обмене данными с сервером звонков произошла ошибка. Попробуйте ещё раз.",
);
const SOUND_NOT_STARTED: Text =
    text("The sound could not be started. Please call again.", "Не удалось включить звук. Позвоните ещё раз.");

impl Error {
    /// A short text for the person who wanted to call: what happened and what they can do. It names no setting, no
    /// address and nothing that the far end said.
    #[must_use]
    pub fn for_person(&self, locale: Locale) -> String {
        let text = self.person_text();
        match locale {
            Locale::En => text.en,
            Locale::Ru => text.ru,
        }
        .into_owned()
    }

    fn person_text(&self) -> Text {
        match self {
            Self::Configuration { .. }
            | Self::CustomerData { .. }
            | Self::HeaderNotAllowed { .. }
            | Self::NotWebSocket { .. } => NOT_SET_UP,
            Self::CustomerDataTooLarge { .. } => text(
                "The details that go with the call are too long. Please shorten them and call again.",
                "Сведения, которые передаются вместе со звонком, слишком длинные. Сократите их и позвоните ещё раз.",
            ),
            Self::Audio { .. } => text(
                "The microphone or the speaker cannot be used. Check that it is connected and allowed, then call again.",
                "Не удаётся использовать микрофон или динамик. Проверьте, что устройство подключено и доступ к нему разрешён, и позвоните ещё раз.",
            ),
            Self::NameResolution { .. } => text(
                "The call server cannot be found. Check your internet connection and try again.",
                "Не удаётся найти сервер звонков. Проверьте подключение к интернету и попробуйте ещё раз.",
            ),
            Self::Connect { .. } => text(
                "The call server cannot be reached. Check your internet connection and try again in a few minutes.",
                "Не удаётся связаться с сервером звонков. Проверьте подключение к интернету и попробуйте ещё раз через несколько минут.",
            ),
            Self::Tls { fault, .. } => tls(fault),
            Self::WebSocketRefused { .. } | Self::SubprotocolRefused { .. } => SERVER_REFUSED,
            Self::FlowLost { .. } => text(
                "The connection to the call server was lost. Check your internet connection.",
                "Связь с сервером звонков прервалась. Проверьте подключение к интернету.",
            ),
            Self::FlowLostDuringSetup => text(
                "The connection was lost before the call was answered. Please call again.",
                "Связь прервалась до того, как на звонок ответили. Позвоните ещё раз.",
            ),
            Self::RegistrationRefused { refusal, .. } => registration(*refusal),
            Self::CallRefused { refusal, retry_after, .. } => call(*refusal, *retry_after),
            Self::Media { fault } => media(fault),
            Self::Malformed(_) | Self::Protocol { .. } => MISUNDERSTANDING,
            Self::Timeout { .. } => text(
                "The call server did not answer in time. Please try again.",
                "Сервер звонков не ответил вовремя. Попробуйте ещё раз.",
            ),
            Self::WrongState { .. } => text("This is not possible at the moment.", "Сейчас это сделать нельзя."),
            Self::Destroyed => text(
                "Calling has been switched off. Reload the page or start the program again to make calls.",
                "Звонки отключены. Чтобы снова звонить, обновите страницу или перезапустите программу.",
            ),
        }
    }
}

fn tls(fault: &TlsFault) -> Text {
    match fault {
        TlsFault::NameMismatch { .. } | TlsFault::UnknownIssuer | TlsFault::Revoked | TlsFault::Other(_) => NOT_SECURE,
        TlsFault::Expired => text(
            "The call server's security certificate has expired. Check the date on this device; if it is right, please tell the owner of the site or your administrator.",
            "Срок действия сертификата безопасности сервера звонков истёк. Проверьте дату на этом устройстве; если она верна, сообщите владельцу сайта или администратору.",
        ),
        TlsFault::NotYetValid => text(
            "The call server's security certificate is not valid yet. Check the date and time on this device.",
            "Сертификат безопасности сервера звонков ещё не действует. Проверьте дату и время на этом устройстве.",
        ),
    }
}

fn registration(refusal: RegistrationRefusal) -> Text {
    match refusal {
        RegistrationRefusal::Credentials => {
            text("The user name or the password is wrong.", "Неверное имя пользователя или пароль.")
        }
        RegistrationRefusal::Realm => text(
            "The call server does not know the domain of this account. Ask your administrator for the right one.",
            "Сервер звонков не знает домен этой учётной записи. Уточните правильный домен у администратора.",
        ),
        RegistrationRefusal::Forbidden => text(
            "This account is not allowed to use the call server. Please ask your administrator.",
            "Этой учётной записи не разрешено пользоваться сервером звонков. Обратитесь к администратору.",
        ),
        RegistrationRefusal::Expired => text(
            "Your access has expired. Reload the page or sign in again.",
            "Срок доступа истёк. Обновите страницу или войдите заново.",
        ),
        RegistrationRefusal::Unavailable => text(
            "The call server is not available at the moment. Please try again in a few minutes.",
            "Сервер звонков сейчас недоступен. Попробуйте ещё раз через несколько минут.",
        ),
        RegistrationRefusal::Other => text(
            "The call server did not accept this account. Please ask your administrator.",
            "Сервер звонков не принял эту учётную запись. Обратитесь к администратору.",
        ),
    }
}

fn call(refusal: CallRefusal, retry_after: Option<Duration>) -> Text {
    match refusal {
        CallRefusal::Busy => later("The line is busy.", "Линия занята.", retry_after),
        CallRefusal::Declined => text("The call was declined.", "Вызов отклонён."),
        CallRefusal::NotFound => text(
            "There is no such number or address. Check it and call again.",
            "Такого номера или адреса нет. Проверьте его и позвоните ещё раз.",
        ),
        CallRefusal::NoApplication => text(
            "No voice assistant has been assigned to this call. Please tell the owner of the site or your administrator.",
            "Для этого звонка не назначен голосовой помощник. Сообщите об этом владельцу сайта или администратору.",
        ),
        CallRefusal::NoAnswer => later("Nobody answered.", "Никто не ответил.", retry_after),
        CallRefusal::Unavailable => later("Nobody answers at the moment.", "Сейчас никто не отвечает.", retry_after),
        CallRefusal::Overloaded => {
            later("The call cannot be put through at the moment.", "Сейчас соединить не получается.", retry_after)
        }
        CallRefusal::Forbidden => text(
            "This call is not allowed. Please ask your administrator.",
            "Этот звонок не разрешён. Обратитесь к администратору.",
        ),
        CallRefusal::NotAcceptable => {
            text("The other side cannot take a call of this kind.", "Другая сторона не может принять такой звонок.")
        }
        CallRefusal::TransferNotSupported => text(
            "This call cannot be transferred. Please ask your administrator.",
            "Этот звонок нельзя перевести. Обратитесь к администратору.",
        ),
        CallRefusal::Cancelled => text("The call was cancelled.", "Вызов отменён."),
        CallRefusal::Other => later("The call did not go through.", "Дозвониться не удалось.", retry_after),
    }
}

fn media(fault: &MediaFault) -> Text {
    match fault {
        MediaFault::NoCommonCodec => text(
            "Your device and the other side use different kinds of sound, so they cannot hear each other. Please tell the owner of the site or your administrator.",
            "Ваше устройство и другая сторона используют разные форматы звука и не могут слышать друг друга. Сообщите об этом владельцу сайта или администратору.",
        ),
        MediaFault::IceFailed => text(
            "Sound does not get through this network. Try another network, or switch the VPN off, and call again.",
            "Звук не проходит через эту сеть. Попробуйте другую сеть или отключите VPN и позвоните ещё раз.",
        ),
        MediaFault::DtlsFailed => text(
            "A protected sound connection could not be made. Please call again.",
            "Не удалось установить защищённую передачу звука. Позвоните ещё раз.",
        ),
        MediaFault::NoPackets { .. } => text(
            "No sound arrives from the other side. Check your internet connection or call again.",
            "От собеседника не поступает звук. Проверьте подключение к интернету или позвоните ещё раз.",
        ),
        MediaFault::BadDescription(_) | MediaFault::Engine(_) => SOUND_NOT_STARTED,
    }
}

/// What happened, and when to call again.
fn later(en: &'static str, ru: &'static str, retry_after: Option<Duration>) -> Text {
    let Some(wait) = retry_after.filter(|wait| !wait.is_zero()) else {
        return Text {
            en: format!("{en} Please call again later.").into(),
            ru: format!("{ru} Позвоните позже.").into(),
        };
    };
    // Rounded up: calling too early is refused again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let (count, unit_en, units_ru) = if seconds <= 90 {
        (seconds, "second", ["секунду", "секунды", "секунд"])
    } else {
        (seconds.div_ceil(60), "minute", ["минуту", "минуты", "минут"])
    };
    let plural_en = if count == 1 { "" } else { "s" };
    let unit_ru = units_ru[russian_plural(count)];
    Text {
        en: format!("{en} Please call again in {count} {unit_en}{plural_en}.").into(),
        ru: format!("{ru} Позвоните через {count} {unit_ru}.").into(),
    }
}

/// Which of the three forms a Russian noun takes after a number: 1 секунду, 2 секунды, 5 секунд.
fn russian_plural(count: u64) -> usize {
    match (count % 10, count % 100) {
        (_, 11..=14) => 2,
        (1, _) => 0,
        (2..=4, _) => 1,
        _ => 2,
    }
}
