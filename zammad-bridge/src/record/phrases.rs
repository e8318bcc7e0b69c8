//! Words of records, in English and Russian. One value holds both, so that none can be forgotten.

/// The language of records, titles and notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RecordLanguage {
    /// English.
    #[default]
    En,
    /// Russian.
    Ru,
}

impl RecordLanguage {
    /// The language of a code such as `en`, `ru` or `ru-RU`; `None` for one that there are no words in.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let primary = code.trim().split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        match primary.as_str() {
            "en" => Some(Self::En),
            "ru" => Some(Self::Ru),
            _ => None,
        }
    }

    pub(super) const fn of(self, phrase: Phrase) -> &'static str {
        match self {
            Self::En => phrase.0,
            Self::Ru => phrase.1,
        }
    }
}

/// A phrase, English and Russian.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phrase(&'static str, &'static str);

pub(super) const CALL_FROM: Phrase = Phrase("From", "Звонок от");
pub(super) const CALL_TO: Phrase = Phrase("Call to", "Звонок на");
pub(super) const CUSTOMER: Phrase = Phrase("Customer", "Клиент");
pub(super) const TYPE: Phrase = Phrase("Type", "Тип");
pub(super) const SESSION: Phrase = Phrase("Session", "Сессия");
pub(super) const UNVERIFIED: Phrase = Phrase(
    "Customer data is what the caller stated; nobody has verified it.",
    "Данные клиента указаны звонящим и никем не проверены.",
);
pub(super) const TO: Phrase = Phrase("To", "Кому");
pub(super) const APPLICATION: Phrase = Phrase("Application", "Приложение");
pub(super) const BEGAN: Phrase = Phrase("Began", "Начало");
pub(super) const ANSWERED: Phrase = Phrase("Answered", "Ответ");
pub(super) const TAKEN: Phrase = Phrase("Taken by a person", "Принял сотрудник");
pub(super) const ENDED: Phrase = Phrase("Ended", "Конец");
pub(super) const DURATION: Phrase = Phrase("Duration", "Длительность");
pub(super) const OUTCOME: Phrase = Phrase("Outcome", "Итог");
pub(super) const CAUSE: Phrase = Phrase("Cause", "Причина");
pub(super) const DIALLED: Phrase = Phrase("Dialled", "Переадресация");
pub(super) const CLIENT_TIME: Phrase = Phrase("Time at the client", "Время у клиента");
pub(super) const USER_AGENT: Phrase = Phrase("Browser", "Браузер");
pub(super) const LOCATION: Phrase = Phrase("Location", "Местоположение");
pub(super) const LANGUAGE: Phrase = Phrase("Language", "Язык");
pub(super) const FIELDS: Phrase = Phrase("Further data", "Дополнительные данные");

pub(super) const TITLE_CALL: Phrase = Phrase("Call from", "Звонок от");
pub(super) const TITLE_MISSED: Phrase = Phrase("Missed call from", "Пропущенный звонок от");
pub(super) const TITLE_OUTBOUND: Phrase = Phrase("Call to", "Звонок на");

pub(super) const OUTCOME_PERSON: Phrase = Phrase("a person took the call", "разговор с сотрудником");
pub(super) const OUTCOME_ANSWERED: Phrase = Phrase("the other party answered", "абонент ответил");
pub(super) const OUTCOME_VOICEBOT: Phrase =
    Phrase("the voicebot answered, no person was on the call", "ответил голосовой бот, сотрудник не подключался");
pub(super) const OUTCOME_NOT_TAKEN: Phrase = Phrase(
    "the voicebot answered and rang for a person, nobody took it",
    "ответил голосовой бот, сотрудник не принял звонок",
);
pub(super) const OUTCOME_NOBODY: Phrase = Phrase("nobody answered", "никто не ответил");

pub(super) const NOTE_ANSWERED: Phrase = Phrase("Call answered", "На звонок ответили");
pub(super) const NOTE_TAKEN: Phrase = Phrase("A person took the call", "Звонок принял сотрудник");
pub(super) const NOTE_ENDED: Phrase = Phrase("Call ended", "Звонок завершён");

pub(super) const CAUSE_NORMAL: Phrase = Phrase("hung up", "положили трубку");
pub(super) const CAUSE_CANCEL: Phrase = Phrase("the caller gave up", "звонящий не дождался ответа");
pub(super) const CAUSE_NO_ANSWER: Phrase = Phrase("no answer", "нет ответа");
pub(super) const CAUSE_BUSY: Phrase = Phrase("busy", "занято");
pub(super) const CAUSE_NOT_FOUND: Phrase = Phrase("no such number", "номер не существует");
pub(super) const CAUSE_CONGESTION: Phrase = Phrase("could not be connected", "соединить не удалось");
pub(super) const CAUSE_NEVER_ENDED: Phrase = Phrase("end not reported by jambonz", "jambonz не сообщил о конце звонка");
pub(super) const BY_CALLER: Phrase = Phrase("by the caller", "звонящий");
pub(super) const BY_CALLEE: Phrase = Phrase("by the other side", "другая сторона");
