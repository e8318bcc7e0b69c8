//! What was found, as it is found.

use codex_core_sip::{Error, Locale};
use codex_web_widget::{KeyProblems, Text};
use serde_json::json;

use crate::details;
use crate::exit::{Failure, Kind};
use crate::explanation::Explanation;
use crate::screen::Screen;

/// One thing that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Settings,
    Name,
    Connection,
    Certificate,
    WebSocket,
    Registration,
    Target,
    Api,
    Stun,
    Turn,
    Call,
}

impl Check {
    /// For programs.
    fn id(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Certificate => "certificate",
            Self::WebSocket => "websocket",
            Self::Registration => "registration",
            Self::Target => "target",
            Self::Api => "api",
            Self::Stun => "stun",
            Self::Turn => "turn",
            Self::Call => "call",
        }
    }

    fn title(self) -> Text {
        let (en, ru) = match self {
            Self::Settings => ("settings", "настройки"),
            Self::Name => ("name", "имя"),
            Self::Connection => ("connection", "соединение"),
            Self::Certificate => ("certificate", "сертификат"),
            Self::WebSocket => ("WebSocket", "WebSocket"),
            Self::Registration => ("registration", "регистрация"),
            Self::Target => ("target", "кому звоним"),
            Self::Api => ("jambonz API", "API jambonz"),
            Self::Stun => ("STUN", "STUN"),
            Self::Turn => ("TURN", "TURN"),
            Self::Call => ("test call", "пробный звонок"),
        };
        Text::fixed(en, ru)
    }
}

/// How wide titles are, in characters.
const TITLE_WIDTH: usize = 15;

pub(super) struct Report<'a> {
    screen: &'a Screen,
    first_fault: Option<(Kind, Check)>,
    faults: usize,
    warnings: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(screen: &'a Screen) -> Self {
        Self { screen, first_fault: None, faults: 0, warnings: 0 }
    }

    fn tell(&self, check: Check, mark: &str, result: &str, text: &Text) {
        let text = self.screen.text(text);
        let title = check.title();
        let title = self.screen.text(&title);
        self.screen.line(&format!("{mark} {title:<TITLE_WIDTH$} {text}"));
        if result != "fault" {
            self.screen.object(&json!({"event": "check", "check": check.id(), "result": result, "message": text}));
        }
    }

    /// As it should be.
    pub(super) fn fine(&mut self, check: Check, text: &Text) {
        self.tell(check, "✓", "ok", text);
    }

    /// Works, but should be looked at.
    pub(super) fn warn(&mut self, check: Check, text: &Text) {
        self.warnings += 1;
        self.tell(check, "!", "warning", text);
    }

    /// Not looked at, and why.
    pub(super) fn left_out(&mut self, check: Check, text: &Text) {
        self.tell(check, "–", "left_out", text);
    }

    /// Wrong, with what to do about it.
    pub(super) fn fault(&mut self, check: Check, kind: Kind, explanation: &Explanation, details: Option<&Text>) {
        self.faults += 1;
        self.first_fault.get_or_insert((kind, check));
        self.tell(check, "✗", "fault", &explanation.what);
        let remedy = self.screen.text(&explanation.remedy);
        self.screen.line(&format!("  {}: {remedy}", self.screen.say("what to do", "что делать")));
        let details = details.map(|details| self.screen.text(details));
        if let Some(details) = details {
            self.screen.line(&format!("  {}: {details}", self.screen.say("details", "подробности")));
        }
        self.screen.object(&json!({
            "event": "check", "check": check.id(), "result": "fault", "kind": kind.name(),
            "message": self.screen.text(&explanation.what), "remedy": remedy, "details": details,
        }));
    }

    /// Wrong, as an error says.
    pub(super) fn error(&mut self, check: Check, error: &Error) {
        let kind = if matches!(check, Check::Call) { Kind::in_call(error) } else { Kind::of(error) };
        self.fault(check, kind, &Explanation::of(error), Some(&details::of(error)));
    }

    pub(super) fn wrong_settings(&mut self, problems: &KeyProblems) {
        let remedy = Text::fixed(
            "correct them where they are set; `codex-call --help` lists all settings",
            "исправьте их там, где они заданы; все настройки перечислены в `codex-call --help`",
        );
        let what = Text::new(problems.in_locale(Locale::En), problems.in_locale(Locale::Ru));
        self.fault(Check::Settings, Kind::Settings, &Explanation::new(what, remedy), None);
    }

    /// The sum of it.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Some((kind, check)) = self.first_fault else {
            let text = if self.warnings == 0 {
                self.screen.say("everything works", "всё работает").to_owned()
            } else {
                format!("{}: {}", self.screen.say("it works; warnings", "работает; предупреждений"), self.warnings)
            };
            self.screen.line(&format!("\n{text}"));
            return Ok(());
        };
        let title = check.title();
        let title = self.screen.text(&title);
        let text = match self.screen.locale {
            Locale::En if self.faults == 1 => format!("1 fault: {title}"),
            Locale::En => format!("{} faults; begin with the first: {title}", self.faults),
            Locale::Ru if self.faults == 1 => format!("1 неисправность: {title}"),
            Locale::Ru => format!("неисправностей: {}; начните с первой: {title}", self.faults),
        };
        self.screen.line(&format!("\n{text}"));
        Err(Failure::Explained(kind))
    }
}
