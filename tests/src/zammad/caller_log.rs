//! The caller log: what a CTI request does to it, and what an agent sees of it. No I/O, no clock.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Characters that the columns `from` and `to` hold; the rest is cut.
pub const NUMBER_CHARACTERS: usize = 100;
/// Characters that `from_comment`, `to_comment`, `queue` and `call_id` hold.
pub const COMMENT_CHARACTERS: usize = 250;
/// Characters that `comment` holds.
pub const CAUSE_CHARACTERS: usize = 500;
/// How many rows an agent sees.
pub const SHOWN_ROWS: usize = 60;

/// What a request carries, by name.
pub type Parameters = Map<String, Value>;

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// `newCall`
    NewCall,
    /// `answer`
    Answer,
    /// `hangup`
    Hangup,
}

impl CallState {
    /// As Zammad writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NewCall => "newCall",
            Self::Answer => "answer",
            Self::Hangup => "hangup",
        }
    }
}

/// A row of the caller log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Zammad's own number of the row.
    pub id: u64,
    /// `in` or `out`
    pub direction: String,
    /// At most [`NUMBER_CHARACTERS`].
    pub from: String,
    /// At most [`NUMBER_CHARACTERS`].
    pub to: String,
    /// For `in`: names found by number. For `out`: what was sent as `user`.
    pub from_comment: Option<String>,
    /// For `in`: what was sent as `user`, else as `queue`. For `out`: names found by number.
    pub to_comment: Option<String>,
    /// What was sent as `callId`, at most [`COMMENT_CHARACTERS`].
    pub call_id: String,
    /// The cause.
    pub comment: Option<String>,
    /// What was sent as `queue`, else (in) `to` or (out) `from`.
    pub queue: Option<String>,
    /// How far it has come.
    pub state: CallState,
    /// Whether an agent has nothing to do about it; false for a missed call.
    pub done: bool,
    /// When newCall came, in seconds since 1970.
    pub initialized_at: u64,
    /// When the last answer came, in seconds since 1970.
    pub start_at: Option<u64>,
    /// When the last hangup came, in seconds since 1970.
    pub end_at: Option<u64>,
    /// Seconds from newCall to answer, or to the end without one.
    pub duration_waiting_time: Option<u64>,
    /// Seconds from answer to hangup.
    pub duration_talking_time: Option<u64>,
}

impl Row {
    /// What the column From shows.
    #[must_use]
    pub fn shown_from(&self) -> String {
        pretty(&self.from).unwrap_or_else(|| self.from.clone())
    }

    /// What the column To shows: the comment, and the number after it.
    #[must_use]
    pub fn shown_to(&self) -> String {
        let to = pretty(&self.to).unwrap_or_else(|| self.to.clone());
        match self.to_comment.as_deref() {
            None | Some("") => to,
            Some(comment) => format!("{comment} {to}"),
        }
    }

    /// What the column Status shows.
    #[must_use]
    pub fn shown_status(&self) -> String {
        let cause = self.comment.as_deref().unwrap_or_default();
        match (self.state, cause) {
            (CallState::NewCall, _) => "ringing".to_owned(),
            (CallState::Answer, _) => "connected".to_owned(),
            (CallState::Hangup, "cancel" | "noAnswer" | "congestion") => "not reached".to_owned(),
            (CallState::Hangup, "busy") => "busy".to_owned(),
            (CallState::Hangup, "notFound") => "not exist".to_owned(),
            (CallState::Hangup, "normalClearing") => String::new(),
            (CallState::Hangup, other) => other.to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "direction": self.direction, "state": self.state.name(), "from": self.from,
            "from_comment": self.from_comment, "to": self.to, "to_comment": self.to_comment, "queue": self.queue,
            "call_id": self.call_id, "comment": self.comment, "initialized_at": time(Some(self.initialized_at)),
            "start_at": time(self.start_at), "end_at": time(self.end_at),
            "duration_waiting_time": self.duration_waiting_time,
            "duration_talking_time": self.duration_talking_time, "done": self.done, "preferences": {},
            "created_at": time(Some(self.initialized_at)), "updated_at": time(self.end_at.or(self.start_at)),
            "from_pretty": pretty(&self.from), "to_pretty": pretty(&self.to),
        })
    }
}

/// `2026-11-22T17:45:00.000Z`
pub(super) fn time(seconds: Option<u64>) -> Value {
    let Some(seconds) = seconds else { return Value::Null };
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date, for years from 1970: eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Value::from(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z"))
}

/// What both interfaces show in place of a number: its ASCII digits, if it has any; Russian numbers in groups.
fn pretty(number: &str) -> Option<String> {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    match digits.len() {
        0 => None,
        11 if digits.starts_with('7') => {
            let (code, rest) = digits[1..].split_at(3);
            Some(format!("+7 {code} {}-{}-{}", &rest[..3], &rest[3..5], &rest[5..]))
        }
        _ => Some(digits),
    }
}

/// The numbers that Zammad finds in a text: runs of 6 to 26 digits, white space, `-`, `(`, `|` and `)`, reduced to their
/// digits; a leading 00 is dropped, one 0 stands for the country code 49.
#[must_use]
pub fn numbers_in(text: &str) -> Vec<String> {
    const SHORTEST: usize = 6;
    const LONGEST: usize = 26;
    let belongs = |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, '-' | '(' | '|' | ')');
    let mut numbers = Vec::new();
    for run in text.split(|c| !belongs(c)) {
        let characters: Vec<char> = run.chars().collect();
        for part in characters.chunks(LONGEST).filter(|part| part.len() >= SHORTEST) {
            let digits: String = part.iter().filter(|c| c.is_ascii_digit()).collect();
            numbers.push(if let Some(rest) = digits.strip_prefix("00") {
                rest.to_owned()
            } else if let Some(rest) = digits.strip_prefix('0') {
                format!("49{rest}")
            } else {
                digits
            });
        }
    }
    numbers
}

/// What an administrator has set under Integrations, CTI (generic).
#[derive(Debug, Clone)]
pub(super) struct CtiSettings {
    pub(super) enabled: bool,
    pub(super) configured: bool,
    pub(super) token: String,
    pub(super) blocked_callers: Vec<String>,
    pub(super) outbound_caller_id: Option<String>,
}

/// Somebody whose number Zammad knows.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) numbers: Vec<String>,
}

/// What a CTI request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CtiAnswer {
    pub(super) status: u16,
    pub(super) body: Value,
    /// Raised as an exception: a web page for who does not ask for JSON.
    pub(super) raised: bool,
}

impl CtiAnswer {
    fn ok(body: Value) -> Self {
        Self { status: 200, body, raised: false }
    }

    fn refused(status: u16, error: &str) -> Self {
        Self { status, body: json!({ "error": error }), raised: false }
    }

    fn raised(status: u16, error: &str) -> Self {
        Self { status, body: json!({ "error": error, "error_human": error }), raised: true }
    }
}

/// The rows, by `call_id`.
#[derive(Default)]
pub(super) struct CallerLog {
    rows: Vec<Row>,
    by_call_id: HashMap<String, usize>,
    /// Rows are dropped when their call ends: for loads of millions of calls.
    pub(super) forgets_ended: bool,
    made: u64,
    errors: u64,
}

impl CallerLog {
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn row(&self, call_id: &str) -> Option<&Row> {
        self.by_call_id.get(call_id).map(|at| &self.rows[*at])
    }

    pub(super) fn row_by_id_mut(&mut self, id: u64) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.id == id)
    }

    /// How many rows there have been.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// An error that tells nothing but a number to look for in Zammad's own log.
    pub(super) fn opaque(&mut self, status: u16) -> CtiAnswer {
        self.errors += 1;
        let error =
            format!("Error ID {:08x}: Please contact your administrator.", self.errors.wrapping_mul(2_654_435_761));
        CtiAnswer { status, body: json!({ "error": error }), raised: true }
    }

    /// A request to `/api/v1/cti/<token>`.
    pub(super) fn receive(
        &mut self,
        token: &str,
        parameters: Option<&Parameters>,
        settings: &CtiSettings,
        known: &[Known],
        now: u64,
    ) -> CtiAnswer {
        let Some(parameters) = parameters else { return self.opaque(500) };
        if !settings.enabled {
            return CtiAnswer::refused(422, "Feature is disabled, please contact your administrator!");
        }
        if !settings.configured {
            return CtiAnswer::refused(422, "Feature not configured, please contact your admin!");
        }
        if token != settings.token {
            return CtiAnswer::refused(401, "Invalid token, please contact your admin!");
        }
        let direction = parameters.get("direction").and_then(Value::as_str).unwrap_or_default();
        if direction != "in" && direction != "out" {
            return CtiAnswer::refused(422, "Invalid 'direction'!");
        }
        let event = parameters.get("event").and_then(Value::as_str).unwrap_or_default();
        let from = text(parameters, "from");
        let to = text(parameters, "to");
        if event == "newCall"
            && direction == "in"
            && from.as_ref().is_some_and(|from| settings.blocked_callers.contains(from))
        {
            let user = text(parameters, "user").filter(|user| !user.is_empty());
            let cause = user.map_or_else(|| "reject, busy".to_owned(), |user| format!("{user} -> reject, busy"));
            let answer = self.apply(event, direction, from, Some(cause), parameters, known, now);
            return if answer.status == 200 {
                CtiAnswer::ok(json!({"action": "reject", "reason": "busy"}))
            } else {
                answer
            };
        }
        if event == "newCall" && direction == "out" && to.as_ref().is_some_and(|to| !to.is_empty()) {
            if parameters.get("to").is_some_and(Value::is_number) {
                return self.opaque(500);
            }
            if let Some(caller_id) = settings.outbound_caller_id.clone() {
                let cause = text(parameters, "cause");
                let answer = self.apply(event, direction, Some(caller_id.clone()), cause, parameters, known, now);
                return if answer.status == 200 {
                    CtiAnswer::ok(json!({"action": "dial", "caller_id": caller_id, "number": to}))
                } else {
                    answer
                };
            }
        }
        let cause = text(parameters, "cause");
        self.apply(event, direction, from, cause, parameters, known, now)
    }

    #[expect(clippy::too_many_arguments, reason = "what the request said, what was decided, and what is known")]
    fn apply(
        &mut self,
        event: &str,
        direction: &str,
        from: Option<String>,
        cause: Option<String>,
        parameters: &Parameters,
        known: &[Known],
        now: u64,
    ) -> CtiAnswer {
        let call_id = text(parameters, "callId").or_else(|| text(parameters, "call_id"));
        // Looked for as it was sent, which a call id that was cut can never equal.
        let found = call_id.as_deref().and_then(|call_id| self.by_call_id.get(call_id)).copied();
        match (event, found) {
            ("newCall", Some(_)) => CtiAnswer::raised(500, "This object already exists."),
            ("newCall", None) => self.make(direction, from, call_id, cause, parameters, known, now),
            ("answer" | "hangup", None) => self.opaque(500),
            ("answer", Some(at)) => self.answer(at, cause, parameters, now),
            ("hangup", Some(at)) => {
                self.hang_up(at, direction, cause, now);
                CtiAnswer::ok(json!({}))
            }
            _ => self.opaque(422),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what the request said, what was decided, and what is known")]
    fn make(
        &mut self,
        direction: &str,
        from: Option<String>,
        call_id: Option<String>,
        cause: Option<String>,
        parameters: &Parameters,
        known: &[Known],
        now: u64,
    ) -> CtiAnswer {
        let required =
            |column: &str| CtiAnswer::raised(422, &format!("Attribute '{column}\" of relation \"cti_logs' required!"));
        let Some(from) = from else { return required("from") };
        let Some(to) = text(parameters, "to") else { return required("to") };
        let Some(call_id) = call_id else { return required("call_id") };
        // Seen to break when it is no string.
        if parameters.get("to").is_some_and(Value::is_number) {
            return self.opaque(500);
        }
        let call_id = cut(&call_id, COMMENT_CHARACTERS);
        if self.by_call_id.contains_key(&call_id) {
            return CtiAnswer::raised(422, "This object already exists.");
        }
        let user = text(parameters, "user");
        let queue = text(parameters, "queue").filter(|queue| !queue.is_empty());
        let not_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let inbound = direction == "in";
        let (from_comment, to_comment) = if inbound {
            (names_of(known, &from), not_empty(&user).or_else(|| queue.clone()))
        } else {
            (user, names_of(known, &to))
        };
        let queue = queue.unwrap_or_else(|| if inbound { to.clone() } else { from.clone() });
        self.made += 1;
        self.by_call_id.insert(call_id.clone(), self.rows.len());
        self.rows.push(Row {
            id: self.made,
            direction: direction.to_owned(),
            from: cut(&from, NUMBER_CHARACTERS),
            to: cut(&to, NUMBER_CHARACTERS),
            from_comment: from_comment.map(|text| cut(&text, COMMENT_CHARACTERS)),
            to_comment: to_comment.map(|text| cut(&text, COMMENT_CHARACTERS)),
            call_id,
            comment: cause.map(|text| cut(&text, CAUSE_CHARACTERS)),
            queue: Some(cut(&queue, COMMENT_CHARACTERS)),
            state: CallState::NewCall,
            done: !inbound,
            initialized_at: now,
            start_at: None,
            end_at: None,
            duration_waiting_time: None,
            duration_talking_time: None,
        });
        CtiAnswer::ok(json!({}))
    }

    fn answer(&mut self, at: usize, cause: Option<String>, parameters: &Parameters, now: u64) -> CtiAnswer {
        let row = &mut self.rows[at];
        if row.state != CallState::Hangup {
            row.state = CallState::Answer;
            row.start_at = Some(now);
            row.duration_waiting_time = Some(now.saturating_sub(row.initialized_at));
            // Even an empty one.
            if let Some(user) = text(parameters, "user") {
                row.to_comment = Some(cut(&user, COMMENT_CHARACTERS));
            }
            row.done = true;
            row.comment = cause.map(|text| cut(&text, CAUSE_CHARACTERS));
        }
        // Several users at once: the row is saved by the time it fails.
        if parameters.get("user").is_some_and(Value::is_array) { self.opaque(500) } else { CtiAnswer::ok(json!({})) }
    }

    fn hang_up(&mut self, at: usize, direction: &str, cause: Option<String>, now: u64) {
        let row = &mut self.rows[at];
        let missed = row.state == CallState::NewCall && cause.as_deref() != Some("forwarded");
        // A second hangup finds no new call any more, and takes a missed call off the agents' list.
        row.done = !(direction == "in" && (missed || row.to_comment.as_deref() == Some("voicemail")));
        row.state = CallState::Hangup;
        row.end_at = Some(now);
        if let Some(start_at) = row.start_at {
            row.duration_talking_time = Some(now.saturating_sub(start_at));
        } else if row.duration_waiting_time.is_none() {
            row.duration_waiting_time = Some(now.saturating_sub(row.initialized_at));
        }
        row.comment = cause.map(|text| cut(&text, CAUSE_CHARACTERS));
        if self.forgets_ended {
            let gone = self.rows.swap_remove(at);
            self.by_call_id.remove(&gone.call_id);
            if let Some(moved) = self.rows.get(at) {
                self.by_call_id.insert(moved.call_id.clone(), at);
            }
        }
    }
}

/// A parameter as text: several joined by `, `, NUL stripped, `None` if it is not there.
pub(super) fn text(parameters: &Parameters, name: &str) -> Option<String> {
    match parameters.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.replace('\0', "")),
        Value::Array(several) => {
            let several: Vec<String> =
                several.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
            Some(several.join(", "))
        }
        other => Some(other.to_string()),
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn names_of(known: &[Known], number: &str) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    let numbers = numbers_in(number);
    let names: Vec<&str> = known
        .iter()
        .filter(|known| known.numbers.iter().any(|own| numbers.contains(own)))
        .map(|known| known.name.as_str())
        .collect();
    (!names.is_empty()).then(|| names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CtiSettings {
        CtiSettings {
            enabled: true,
            configured: true,
            token: "secret".to_owned(),
            blocked_callers: Vec::new(),
            outbound_caller_id: None,
        }
    }

    fn parameters(value: Value) -> Parameters {
        match value {
            Value::Object(parameters) => parameters,
            other => unreachable!("parameters are an object: {other}"),
        }
    }

    fn send(log: &mut CallerLog, now: u64, value: Value) -> CtiAnswer {
        log.receive("secret", Some(&parameters(value)), &settings(), &[], now)
    }

    fn new_call(call_id: &str) -> Value {
        json!({"event": "newCall", "direction": "in", "from": "webcall:abcdefgh", "to": "voicebot", "callId": call_id,
               "user": "Иван"})
    }

    fn event(event: &str, call_id: &str) -> Value {
        json!({"event": event, "direction": "in", "from": "webcall:abcdefgh", "to": "voicebot", "callId": call_id})
    }

    #[test]
    fn every_answer_of_the_table() {
        let unanswerable = "Error ID";
        let cases: Vec<(&str, Value, u16, &str)> = vec![
            ("direction missing", json!({"event": "newCall"}), 422, "Invalid 'direction'!"),
            ("direction wrong", json!({"event": "newCall", "direction": "both"}), 422, "Invalid 'direction'!"),
            ("event missing", json!({"direction": "in", "callId": "a"}), 422, unanswerable),
            ("event unknown", event("ringing", "a"), 422, unanswerable),
            (
                "call id missing",
                json!({"event": "newCall", "direction": "in", "from": "1", "to": "2"}),
                422,
                "Attribute 'call_id\" of relation \"cti_logs' required!",
            ),
            (
                "from missing",
                json!({"event": "newCall", "direction": "in", "to": "2", "callId": "a"}),
                422,
                "Attribute 'from\" of relation \"cti_logs' required!",
            ),
            (
                "to missing",
                json!({"event": "newCall", "direction": "in", "from": "1", "callId": "a"}),
                422,
                "Attribute 'to\" of relation \"cti_logs' required!",
            ),
            ("answer unknown", event("answer", "unknown"), 500, unanswerable),
            ("hangup unknown", event("hangup", "unknown"), 500, unanswerable),
            ("hangup without a call id", json!({"event": "hangup", "direction": "in"}), 500, unanswerable),
            (
                "to a number",
                json!({"event": "newCall", "direction": "in", "from": "1", "to": 2, "callId": "a"}),
                500,
                unanswerable,
            ),
            (
                "to a number, outbound",
                json!({"event": "newCall", "direction": "out", "from": "1", "to": 2, "callId": "a"}),
                500,
                unanswerable,
            ),
        ];
        for (name, value, status, error) in cases {
            let mut log = CallerLog::default();
            let answer = send(&mut log, 1, value);
            assert_eq!(answer.status, status, "{name}: {answer:?}");
            let told = answer.body["error"].as_str().unwrap();
            assert!(told.starts_with(error), "{name}: {told}");
            assert!(log.rows().is_empty(), "{name}");
        }
    }

    #[test]
    fn settings_and_token_are_checked_before_the_request() {
        let mut log = CallerLog::default();
        let new_call = parameters(new_call("a"));
        let mut off = settings();
        off.enabled = false;
        assert_eq!(
            log.receive("secret", Some(&new_call), &off, &[], 1),
            CtiAnswer::refused(422, "Feature is disabled, please contact your administrator!")
        );
        let mut fresh = settings();
        fresh.configured = false;
        assert_eq!(
            log.receive("secret", Some(&new_call), &fresh, &[], 1),
            CtiAnswer::refused(422, "Feature not configured, please contact your admin!")
        );
        assert_eq!(
            log.receive("wrong", Some(&new_call), &settings(), &[], 1),
            CtiAnswer::refused(401, "Invalid token, please contact your admin!")
        );
        assert_eq!(log.receive("secret", None, &settings(), &[], 1).status, 500);
        assert!(log.rows().is_empty());
    }

    #[test]
    fn a_call_from_ring_to_end() {
        let mut log = CallerLog::default();
        assert_eq!(send(&mut log, 100, new_call("a")), CtiAnswer::ok(json!({})));
        let row = log.row("a").unwrap();
        assert_eq!(
            (row.to_comment.as_deref(), row.queue.as_deref(), row.done),
            (Some("Иван"), Some("voicebot"), false)
        );
        assert_eq!(row.shown_to(), "Иван voicebot");

        assert_eq!(send(&mut log, 107, event("answer", "a")).status, 200);
        let row = log.row("a").unwrap();
        assert_eq!((row.state, row.start_at, row.duration_waiting_time), (CallState::Answer, Some(107), Some(7)));
        assert_eq!(row.to_comment.as_deref(), Some("Иван"), "an answer without user leaves it");

        let mut hangup = event("hangup", "a");
        hangup["cause"] = "normalClearing".into();
        assert_eq!(send(&mut log, 120, hangup).status, 200);
        let row = log.row("a").unwrap();
        assert_eq!((row.state, row.duration_talking_time, row.done), (CallState::Hangup, Some(13), true));
        assert_eq!(row.shown_status(), "");
    }

    #[test]
    fn a_second_new_call_is_told_and_changes_nothing() {
        let mut log = CallerLog::default();
        send(&mut log, 1, new_call("a"));
        let before = log.rows().to_vec();
        let answer = send(&mut log, 2, new_call("a"));
        assert_eq!((answer.status, answer.body["error"].as_str()), (500, Some("This object already exists.")));
        assert_eq!(log.rows(), before);
    }

    #[test]
    fn repeats_move_times_and_a_second_hangup_hides_a_missed_call() {
        let mut log = CallerLog::default();
        send(&mut log, 1, new_call("a"));
        send(&mut log, 5, event("answer", "a"));
        send(&mut log, 9, event("answer", "a"));
        assert_eq!(log.row("a").unwrap().start_at, Some(9), "the duration starts again");
        send(&mut log, 20, event("hangup", "a"));
        send(&mut log, 30, event("hangup", "a"));
        assert_eq!(log.row("a").unwrap().duration_talking_time, Some(21), "the end moves");

        send(&mut log, 1, new_call("missed"));
        send(&mut log, 2, event("hangup", "missed"));
        assert!(!log.row("missed").unwrap().done);
        send(&mut log, 3, event("answer", "missed"));
        assert_eq!(log.row("missed").unwrap().state, CallState::Hangup, "an answer after the end is ignored");
        send(&mut log, 4, event("hangup", "missed"));
        assert!(log.row("missed").unwrap().done);
    }

    #[test]
    fn only_an_unanswered_inbound_call_that_was_not_forwarded_is_missed() {
        for (direction, answered, cause, done) in [
            ("in", false, "cancel", false),
            ("in", false, "forwarded", true),
            ("in", true, "normalClearing", true),
            ("out", false, "noAnswer", true),
        ] {
            let mut log = CallerLog::default();
            for (name, wanted) in [("newCall", true), ("answer", answered), ("hangup", true)] {
                let mut value = event(name, "a");
                value["direction"] = direction.into();
                value["cause"] = if name == "hangup" { cause.into() } else { Value::Null };
                if wanted {
                    assert_eq!(send(&mut log, 1, value).status, 200);
                }
            }
            assert_eq!(log.row("a").unwrap().done, done, "{direction} {answered} {cause}");
        }
    }

    #[test]
    fn user_overwrites_the_comment_even_when_empty_and_breaks_as_a_list() {
        let mut log = CallerLog::default();
        send(&mut log, 1, new_call("a"));
        let mut answer = event("answer", "a");
        answer["user"] = "".into();
        assert_eq!(send(&mut log, 2, answer.clone()).status, 200);
        assert_eq!(log.row("a").unwrap().to_comment.as_deref(), Some(""));
        answer["user"] = json!(["Anna", "Bert"]);
        assert_eq!(send(&mut log, 3, answer).status, 500);
        let row = log.row("a").unwrap();
        assert_eq!((row.to_comment.as_deref(), row.start_at), (Some("Anna, Bert"), Some(3)), "saved all the same");
    }

    #[test]
    fn long_values_are_cut_by_characters_and_a_long_call_id_is_lost() {
        let mut log = CallerLog::default();
        let long = "ж".repeat(600);
        let mut value = new_call(&long);
        for name in ["from", "to", "user", "cause"] {
            value[name] = long.clone().into();
        }
        assert_eq!(send(&mut log, 1, value.clone()).status, 200);
        let row = &log.rows()[0];
        let characters = |text: &str| text.chars().count();
        assert_eq!(
            (characters(&row.from), characters(&row.to), characters(row.to_comment.as_deref().unwrap())),
            (NUMBER_CHARACTERS, NUMBER_CHARACTERS, COMMENT_CHARACTERS)
        );
        assert_eq!(characters(row.comment.as_deref().unwrap()), CAUSE_CHARACTERS);
        assert_eq!(characters(&row.call_id), COMMENT_CHARACTERS);
        assert_eq!(send(&mut log, 2, event("hangup", &long)).status, 500, "never found again");
        assert_eq!(send(&mut log, 2, value).status, 422);
    }

    #[test]
    fn blocked_callers_and_outbound_caller_ids_are_acted_on() {
        let mut log = CallerLog::default();
        let mut config = settings();
        config.blocked_callers.push("webcall:abcdefgh".to_owned());
        config.outbound_caller_id = Some("4930".to_owned());
        let answer = log.receive("secret", Some(&parameters(new_call("a"))), &config, &[], 1);
        assert_eq!(answer, CtiAnswer::ok(json!({"action": "reject", "reason": "busy"})));
        assert_eq!(log.row("a").unwrap().comment.as_deref(), Some("Иван -> reject, busy"));

        let mut out = new_call("b");
        out["direction"] = "out".into();
        let answer = log.receive("secret", Some(&parameters(out)), &config, &[], 1);
        assert_eq!(answer, CtiAnswer::ok(json!({"action": "dial", "caller_id": "4930", "number": "voicebot"})));
        assert_eq!(log.row("b").unwrap().from, "4930");
    }

    #[test]
    fn agents_see_digits_alone_where_there_are_digits() {
        for (from, shown) in [
            ("webcall:abc12345 → voicebot", "12345"),
            ("webcall:abcdefgh → voicebot", "webcall:abcdefgh → voicebot"),
            ("74951234567", "+7 495 123-45-67"),
            ("webcall:abc𝟷𝟸𝟹𝟺𝟻 → voicebot", "webcall:abc𝟷𝟸𝟹𝟺𝟻 → voicebot"),
        ] {
            let mut log = CallerLog::default();
            let mut value = new_call("a");
            value["from"] = from.into();
            send(&mut log, 1, value);
            assert_eq!(log.row("a").unwrap().shown_from(), shown);
            assert_eq!(log.row("a").unwrap().from, from);
        }
    }

    #[test]
    fn names_are_found_by_number() {
        let known = [Known { name: "Anna Schmidt".to_owned(), numbers: numbers_in("+49 30 609854180, note 12345") }];
        let mut log = CallerLog::default();
        let mut value = new_call("a");
        value["from"] = "4930609854180".into();
        log.receive("secret", Some(&parameters(value)), &settings(), &known, 1);
        assert_eq!(log.row("a").unwrap().from_comment.as_deref(), Some("Anna Schmidt"));
        assert_eq!(numbers_in("030 609854180"), ["4930609854180"]);
        assert_eq!(numbers_in("0049 30 609854180"), ["4930609854180"]);
        assert_eq!(numbers_in("id-12345, deadbeef1234567cafe"), ["12345", "1234567"], "six characters, not digits");
    }

    #[test]
    fn ended_calls_can_be_forgotten() {
        let mut log = CallerLog { forgets_ended: true, ..CallerLog::default() };
        for call_id in ["a", "b", "c"] {
            send(&mut log, 1, new_call(call_id));
        }
        send(&mut log, 2, event("hangup", "a"));
        assert_eq!(log.rows().len(), 2);
        assert_eq!(send(&mut log, 3, event("answer", "c")).status, 200);
        assert_eq!(log.row("c").unwrap().state, CallState::Answer);
        assert_eq!(log.made(), 3);
    }

    #[test]
    fn times_are_written_as_zammad_writes_them() {
        assert_eq!(time(Some(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Some(951_782_400)), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(Some(1_795_369_539)), "2026-11-22T17:45:39.000Z");
        assert_eq!(time(None), Value::Null);
    }
}
