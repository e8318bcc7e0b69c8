//! What is printed: for people, or one JSON object a line.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};

use codex_core_sip::Locale;
use codex_core_sip::event::{CallState, Event, LogLevel, RegistrationState};
use codex_core_sip::metadata::CustomerData;
use codex_web_widget::Text;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::details;
use crate::exit::Failure;
use crate::explanation::Explanation;

/// What the left end of a level meter stands for.
const METER_FLOOR_DBFS: f64 = -60.0;
/// How wide a terminal is that does not say so.
const USUAL_COLUMNS: usize = 80;

pub(crate) struct Screen {
    json: bool,
    pub(crate) locale: Locale,
    /// Whether meters can be drawn: a line that is written over again.
    pub(crate) live: bool,
    live_shown: Cell<bool>,
    /// Whether a call is up.
    up: Cell<bool>,
    /// Whether there was a registration.
    registered: Cell<bool>,
}

impl Screen {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let live = !arguments.json && !dumb && std::io::stderr().is_terminal();
        Self {
            json: arguments.json,
            locale: arguments.locale(),
            live,
            live_shown: Cell::new(false),
            up: Cell::new(false),
            registered: Cell::new(false),
        }
    }

    /// A text in the person's language.
    pub(crate) fn say<'a>(&self, en: &'a str, ru: &'a str) -> &'a str {
        match self.locale {
            Locale::En => en,
            Locale::Ru => ru,
        }
    }

    /// A line for people.
    pub(crate) fn line(&self, text: &str) {
        if self.json {
            return;
        }
        self.clear_live();
        // Whoever closed our output needs no more of it.
        let _closed = writeln!(std::io::stdout(), "{}", printable(text));
    }

    /// An object for programs.
    pub(crate) fn object(&self, value: &Value) {
        if self.json {
            let _closed = writeln!(std::io::stdout(), "{value}");
        }
    }

    /// The line that is written over again: in one piece and cleared behind it, so that it does not flicker.
    fn live(&self, text: &str) {
        if self.live {
            let drawn = format!("\r{text}\x1b[K");
            let _closed = std::io::stderr().write_all(drawn.as_bytes());
            self.live_shown.set(true);
        }
    }

    fn clear_live(&self) {
        if self.live_shown.replace(false) {
            let _closed = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Something to be looked at.
    pub(crate) fn warning(&self, text: &str) {
        self.object(&json!({"event": "warning", "message": text}));
        if !self.json {
            self.clear_live();
            let _closed = writeln!(std::io::stderr(), "{}: {}", self.say("warning", "предупреждение"), printable(text));
        }
    }

    /// What happened, as it happens.
    pub(crate) fn event(&self, event: &Event) {
        if self.json {
            match serde_json::to_value(event) {
                Ok(value) => self.object(&value),
                Err(error) => self.warning(&error.to_string()),
            }
            return;
        }
        match event {
            Event::Registration(event) => {
                let had_one = self.registered.replace(event.state == RegistrationState::Registered);
                if event.state == RegistrationState::Unregistered && !had_one {
                    return;
                }
                let state = match event.state {
                    RegistrationState::Registering => self.say("registering", "регистрация"),
                    RegistrationState::Registered => self.say("registered", "зарегистрирован"),
                    RegistrationState::Unregistered => self.say("unregistered", "регистрация снята"),
                    _ => self.say("registration failed", "регистрация не удалась"),
                };
                self.line(state);
            }
            Event::Call(event) => {
                self.up.set(event.state == CallState::Connected);
                let Some(state) = self.call_state(event.state) else { return };
                let names = event.display_from.as_deref().zip(event.display_to.as_deref());
                let names = names.map(|(from, to)| format!("  {from}  ⇒  {to}")).unwrap_or_default();
                // An error is explained at the end.
                let reason = event.reason.as_ref().filter(|_| event.error.is_none());
                let reason = reason.map(|reason| match self.locale {
                    Locale::En => format!("  ({reason})"),
                    Locale::Ru => format!("  ({})", details::quoted(reason)),
                });
                let reason = reason.unwrap_or_default();
                self.line(&format!("{state}{names}{reason}"));
            }
            Event::IncomingCall(event) => {
                let unknown = self.say("unknown", "неизвестно");
                self.line(&format!(
                    "{}: {}  ⇒  {}  ({})",
                    self.say("incoming call", "входящий звонок"),
                    event.display_from.as_deref().unwrap_or(unknown),
                    event.display_to.as_deref().unwrap_or(unknown),
                    event.from.as_deref().unwrap_or(unknown),
                ));
                if let Some(data) = &event.customer_data {
                    self.line(&format!("  {}", CustomerData::to_json(data)));
                }
            }
            // Each change of ICE brings figures too, the first ones before there are any.
            Event::Metrics(event) if event.packets_received.is_some_and(|packets| packets > 0) => {
                let number = |value: Option<f64>, unit: &str| {
                    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}{unit}"))
                };
                let ms = self.say(" ms", " мс");
                let got = event.far_end_packets_received;
                let got = got.map(|got| format!(", {} {got}", self.say("far end got", "дошло"))).unwrap_or_default();
                self.line(&format!(
                    "  RTT {}  {} {}  {} {}  MOS {}  {} {}{got} / {} {}",
                    number(event.rtt_ms, ms),
                    self.say("jitter", "джиттер"),
                    number(event.jitter_ms, ms),
                    self.say("loss", "потери"),
                    number(event.loss_percent, " %"),
                    number(event.mos, ""),
                    self.say("packets sent", "пакетов отправлено"),
                    event.packets_sent.unwrap_or_default(),
                    self.say("received", "получено"),
                    event.packets_received.unwrap_or_default(),
                ));
            }
            Event::Dtmf(event) => {
                self.line(&format!("{} {}", self.say("the far end pressed", "на том конце нажали"), event.tone));
            }
            Event::Reconnecting(event) => self.line(&format!(
                "{} {} ({} {})",
                self.say("connection lost, attempt", "связь потеряна, попытка"),
                event.attempt,
                event.delay_ms,
                self.say("ms", "мс"),
            )),
            // What goes wrong in a call has no event of its own; before and after it, others say it.
            Event::Log(event) if event.level >= LogLevel::Warn && self.up.get() => {
                let error = event.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                let told = format!("{}{error}", event.message);
                self.line(&match self.locale {
                    Locale::En => format!("  {told}"),
                    Locale::Ru => format!("  журнал: {}", details::quoted(&told)),
                });
            }
            _ => {}
        }
    }

    fn call_state(&self, state: CallState) -> Option<&'static str> {
        Some(match state {
            CallState::Connecting => self.say("calling", "звоним"),
            CallState::Ringing => self.say("ringing", "гудки"),
            CallState::Connected => self.say("connected", "соединено"),
            CallState::Ended => self.say("call over", "звонок окончен"),
            CallState::Error => self.say("call failed", "звонок не удался"),
            // Said by other events.
            _ => return None,
        })
    }

    /// The headers that a call carried.
    pub(crate) fn headers(&self, headers: &[(String, String)]) {
        let object: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        self.object(&json!({"event": "headers", "headers": object}));
        for (name, value) in headers {
            self.line(&format!("  {name}: {value}"));
        }
    }

    /// Meters both ways.
    pub(crate) fn levels(&self, seconds: u64, sent_dbfs: f64, heard_dbfs: f64) {
        self.live(&meters(
            columns(),
            seconds,
            [(self.say("we", "мы"), sent_dbfs), (self.say("they", "они"), heard_dbfs)],
        ));
    }

    /// Why it ends.
    pub(crate) fn failure(&self, failure: &Failure) {
        let (what, remedy) = match failure {
            Failure::Keys(problems) => (problems.in_locale(self.locale), None),
            Failure::Client(error) | Failure::InCall(error) => {
                let explanation = Explanation::of(error);
                let what = explanation.what.in_locale(self.locale).to_owned();
                (what, Some(explanation.remedy.in_locale(self.locale).to_owned()))
            }
            Failure::Other(_, text) => (text.in_locale(self.locale).to_owned(), None),
            Failure::Explained(_) => return,
        };
        let details = failure.error().map(|error| details::of(error).in_locale(self.locale).to_owned());
        self.object(&json!({
            "event": "error", "kind": failure.kind().name(), "message": what, "remedy": remedy, "details": details,
        }));
        if self.json {
            return;
        }
        self.clear_live();
        let mut text = format!("codex-call: {what}");
        if let Some(remedy) = remedy {
            text.push_str(&format!("\n  {}: {remedy}", self.say("what to do", "что делать")));
        }
        if let Some(details) = details {
            text.push_str(&format!("\n  {}: {details}", self.say("details", "подробности")));
        }
        let _closed = writeln!(std::io::stderr(), "{}", printable(&text));
    }

    /// The last line of `--json`.
    pub(crate) fn end(&self, status: u8, failure: Option<&Failure>) {
        self.clear_live();
        self.object(
            &json!({"event": "exit", "status": status, "kind": failure.map_or("ok", |failure| failure.kind().name())}),
        );
    }

    /// A text in the person's language.
    pub(crate) fn text<'a>(&self, text: &'a Text) -> &'a str {
        text.in_locale(self.locale)
    }
}

/// What comes from outside (names, reasons, headers) moves no cursor and sets no title of a terminal: control characters
/// of C0 and C1 but line feed and tab are replaced.
fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(harmful) { Cow::Owned(text.replace(harmful, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// How wide the terminal is now, in characters.
fn columns() -> usize {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stderr())
        && size.ws_col > 0
    {
        return size.ws_col.into();
    }
    USUAL_COLUMNS
}

/// Time and meters, in one line of a terminal of so many columns: the last one stays free, since some go on to the next
/// line when it is written. What does not fit is left out: the figures, then the meters' width.
fn meters(columns: usize, seconds: u64, levels: [(&str, f64); 2]) -> String {
    const WIDTHS: [(usize, bool); 6] = [(12, true), (8, true), (8, false), (5, false), (3, false), (1, false)];
    let line = |(width, figures): (usize, bool)| {
        let [sent, heard] = levels.map(|(who, dbfs)| format!("{who} {}", meter(dbfs, width, figures)));
        format!("  {}:{:02}  {sent}  {heard}", seconds / 60, seconds % 60)
    };
    let fits = |line: &String| line.chars().count() < columns;
    // Narrower than all of them: only the beginning.
    WIDTHS
        .into_iter()
        .map(line)
        .find(fits)
        .unwrap_or_else(|| line((1, false)).chars().take(columns.saturating_sub(1)).collect())
}

fn meter(dbfs: f64, width: usize, figures: bool) -> String {
    let share = ((dbfs - METER_FLOOR_DBFS) / -METER_FLOOR_DBFS).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a dozen characters"
    )]
    let filled = (share * width as f64).round() as usize;
    let figure = if figures { format!(" {dbfs:>6.1} dB") } else { String::new() };
    format!("[{}{}]{figure}", "#".repeat(filled), " ".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_from_outside_are_not_printed() {
        assert_eq!(
            printable("Иван \u{1b}]0;x\u{7}\u{9b}2J\r\u{7f}"),
            "Иван \u{fffd}]0;x\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}"
        );
        assert!(matches!(printable("one\n\ttwo → три"), Cow::Borrowed(_)));
    }

    #[test]
    fn meters_fill_from_the_left() {
        assert_eq!(meter(-120.0, 12, true), "[            ] -120.0 dB");
        assert_eq!(meter(-30.0, 12, true), "[######      ]  -30.0 dB");
        assert_eq!(meter(0.0, 12, true), "[############]    0.0 dB");
    }

    #[test]
    fn meters_keep_to_one_line_of_every_terminal() {
        for (columns, expected) in [
            (200, "  61:01  мы [############]    0.0 dB  они [######      ]  -30.0 dB"),
            (80, "  61:01  мы [############]    0.0 dB  они [######      ]  -30.0 dB"),
            (60, "  61:01  мы [########]    0.0 dB  они [####    ]  -30.0 dB"),
            (40, "  61:01  мы [########]  они [####    ]"),
            (30, "  61:01  мы [###]  они [##"),
            (1, ""),
            (0, ""),
        ] {
            let line = meters(columns, 3661, [("мы", 0.0), ("они", -30.0)]);
            assert!(line.starts_with(expected) && line.chars().count() < columns.max(1), "{columns}: {line}");
        }
    }
}
