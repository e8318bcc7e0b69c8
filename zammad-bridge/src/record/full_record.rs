//! The record in full: a ticket and its notes.

use core::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::caller_log::{customer, display_from, display_to, present};
use super::phrases::{self as phrase, Phrase, RecordLanguage};
use super::text::{cut_characters, one_line};
use crate::call_book::{AnsweredBy, CallEnd, CallRecord, Direction, EndCause};
use crate::clock::UnixMillis;

/// How long a ticket's title may be, in characters: Zammad's column.
const MAX_TITLE_CHARS: usize = 250;
/// How many custom fields a record shows, and how long each may be, in characters.
const MAX_FIELDS: usize = 50;
const MAX_FIELD_CHARS: usize = 500;
/// How long one line may be, in characters.
const MAX_LINE_CHARS: usize = 1000;

/// A note on a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// The application answered.
    Answered,
    /// A person took the call.
    Taken,
    /// The call ended.
    Ended,
}

/// What tells the ticket of a call from every other: 16 letters, made of the call's identity. Letters only, since Zammad
/// takes digits in texts for phone numbers, and search servers split words at digits.
#[must_use]
pub fn ticket_mark(record: &CallRecord) -> String {
    let identity = record.zammad_call_id.as_deref().or(record.call_sid.as_deref()).unwrap_or_default();
    let digest = Sha256::new().chain_update(b"ticket:").chain_update(identity).finalize();
    let letters = digest.iter().take(8).flat_map(|byte| [byte >> 4, byte & 15]);
    letters.map(|nibble| char::from(b'a' + nibble)).collect()
}

/// The title of a call's ticket, its mark at the end.
#[must_use]
pub fn ticket_title(record: &CallRecord, language: RecordLanguage) -> String {
    let mark = format!(" [{}]", ticket_mark(record));
    let outbound = record.direction == Some(Direction::Outbound);
    let missed = record.end.is_some() && record.is_missed() && !outbound;
    let (words, party) = match (outbound, missed) {
        (true, _) => (phrase::TITLE_OUTBOUND, one_line(record.to.as_deref().unwrap_or_default())),
        (false, true) => (phrase::TITLE_MISSED, who(record)),
        (false, false) => (phrase::TITLE_CALL, who(record)),
    };
    let text = format!("{} {party}", language.of(words));
    cut_characters(&text, MAX_TITLE_CHARS - mark.chars().count()) + &mark
}

/// The caller by name if there is one, else as displayed.
fn who(record: &CallRecord) -> String {
    let named = record.customer_data.as_ref().and_then(|data| present(data.client_name.as_deref()));
    named.unwrap_or_else(|| display_from(record))
}

/// The text of a call's ticket: the four lines, then everything else that is known.
#[must_use]
pub fn ticket_body(record: &CallRecord, trusted: bool, language: RecordLanguage) -> String {
    let mut lines = Lines { text: String::new(), language };
    let outbound = record.direction == Some(Direction::Outbound);
    if outbound {
        lines.add(phrase::CALL_TO, &one_line(record.to.as_deref().unwrap_or_default()));
    } else {
        lines.add(phrase::CALL_FROM, &display_from(record));
    }
    if let Some(data) = &record.customer_data {
        lines.add_some(phrase::CUSTOMER, customer(data));
        lines.add_some(phrase::TYPE, present(Some(&data.call_type)));
        lines.add_some(phrase::SESSION, present(data.session_id.as_deref()));
    }
    if outbound {
        lines.add(phrase::CALL_FROM, &display_from(record));
    } else {
        lines.gap();
        lines.add(phrase::TO, &display_to(record));
    }
    lines.add_some(phrase::APPLICATION, record.application_name.as_deref().and_then(|name| present(Some(name))));
    course(record, &mut lines);
    if let Some(data) = &record.customer_data {
        lines.gap();
        lines.add_some(phrase::CLIENT_TIME, present(data.timestamp.as_deref()));
        lines.add_some(phrase::USER_AGENT, present(data.user_agent.as_deref()));
        if let Some(location) = &data.location {
            let parts = [&location.city, &location.region, &location.country];
            let parts: Vec<String> = parts.into_iter().filter_map(|part| present(part.as_deref())).collect();
            lines.add_some(phrase::LOCATION, (!parts.is_empty()).then(|| parts.join(", ")));
        }
        let fields = data.custom_fields.iter().flatten().chain(&data.extra).take(MAX_FIELDS);
        let mut first = true;
        for (name, value) in fields {
            if core::mem::take(&mut first) {
                lines.gap();
                lines.plain(&format!("{}:", language.of(phrase::FIELDS)));
            }
            let value = match value {
                Value::String(text) => one_line(text),
                other => one_line(&other.to_string()),
            };
            lines.plain(&format!("{}: {}", one_line(name), cut_characters(&value, MAX_FIELD_CHARS)));
        }
        if !trusted {
            lines.gap();
            lines.plain(language.of(phrase::UNVERIFIED));
        }
    }
    lines.gap();
    lines.add_some(phrase::LANGUAGE, present(record.language.as_deref()));
    // Names of protocols' fields are the same in every language.
    for (name, value) in [
        ("Tag", Some(record.tag().as_str())),
        ("SIP Call-ID", record.sip_call_id.as_deref()),
        ("jambonz call_sid", record.call_sid.as_deref()),
        ("jambonz trace_id", record.trace_id.as_deref()),
    ] {
        if let Some(value) = value.and_then(|value| present(Some(value))) {
            lines.plain(&format!("{name}: {value}"));
        }
    }
    lines.text.truncate(lines.text.trim_end().len());
    lines.text
}

/// Subject and text of a note.
#[must_use]
pub fn note(record: &CallRecord, note: Note, language: RecordLanguage) -> (String, String) {
    let words = match note {
        Note::Answered => phrase::NOTE_ANSWERED,
        Note::Taken => phrase::NOTE_TAKEN,
        Note::Ended => phrase::NOTE_ENDED,
    };
    let mut lines = Lines { text: String::new(), language };
    lines.plain(language.of(words));
    course(record, &mut lines);
    (language.of(words).to_owned(), lines.text)
}

/// What happened when.
fn course(record: &CallRecord, lines: &mut Lines) {
    let language = lines.language;
    lines.add(phrase::BEGAN, &time(record.started_at));
    lines.add_some(phrase::ANSWERED, record.answered_at.map(time));
    let by: Vec<String> = record
        .legs
        .iter()
        .filter(|leg| leg.answered_at.is_some())
        .filter_map(|leg| present(leg.to.as_deref()))
        .collect();
    if let Some(at) = record.person_answered_at {
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        lines.add(phrase::TAKEN, &format!("{}{by}", time(at)));
    } else {
        let dialled: Vec<String> = record.legs.iter().filter_map(|leg| present(leg.to.as_deref())).collect();
        lines.add_some(phrase::DIALLED, (!dialled.is_empty()).then(|| dialled.join(", ")));
    }
    let Some(end) = &record.end else { return };
    lines.add(phrase::ENDED, &time(end.at));
    lines.add_some(phrase::DURATION, duration(record, end));
    lines.add(phrase::OUTCOME, language.of(outcome(record)));
    lines.add(phrase::CAUSE, &cause(end, language));
}

fn outcome(record: &CallRecord) -> Phrase {
    match record.answered_by() {
        AnsweredBy::Person if record.direction == Some(Direction::Outbound) && record.person_answered_at.is_none() => {
            phrase::OUTCOME_ANSWERED
        }
        AnsweredBy::Person => phrase::OUTCOME_PERSON,
        AnsweredBy::Voicebot if record.legs.is_empty() => phrase::OUTCOME_VOICEBOT,
        AnsweredBy::Voicebot => phrase::OUTCOME_NOT_TAKEN,
        AnsweredBy::Nobody => phrase::OUTCOME_NOBODY,
    }
}

fn cause(end: &CallEnd, language: RecordLanguage) -> String {
    let mut text = language
        .of(match end.cause {
            EndCause::NormalClearing => phrase::CAUSE_NORMAL,
            EndCause::Cancel => phrase::CAUSE_CANCEL,
            EndCause::NoAnswer => phrase::CAUSE_NO_ANSWER,
            EndCause::Busy => phrase::CAUSE_BUSY,
            EndCause::NotFound => phrase::CAUSE_NOT_FOUND,
            EndCause::Congestion => phrase::CAUSE_CONGESTION,
            EndCause::NeverEnded => phrase::CAUSE_NEVER_ENDED,
        })
        .to_owned();
    match end.terminated_by.as_deref() {
        Some("caller") => drop(write!(text, " ({})", language.of(phrase::BY_CALLER))),
        Some("callee") => drop(write!(text, " ({})", language.of(phrase::BY_CALLEE))),
        _ => {}
    }
    if let Some(status) = end.sip_status
        && end.cause != EndCause::NormalClearing
    {
        let reason = end.sip_reason.as_deref().and_then(|reason| present(Some(reason)));
        let _ = write!(text, " – SIP {status}");
        if let Some(reason) = reason {
            let _ = write!(text, " {reason}");
        }
    }
    text
}

/// From the answer to the end, as jambonz counted, else as we did: `1:02:03` or `2:03`.
fn duration(record: &CallRecord, end: &CallEnd) -> Option<String> {
    let counted = || record.answered_at.map(|at| end.at.saturating_since(at).as_secs());
    let seconds = end.duration_s.map(u64::from).or_else(counted)?;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") })
}

/// `2026-11-22 17:46:10 UTC`
fn time(at: UnixMillis) -> String {
    let text = at.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default())
}

struct Lines {
    text: String,
    language: RecordLanguage,
}

impl Lines {
    fn add(&mut self, name: Phrase, value: &str) {
        self.plain(&format!("{}: {value}", self.language.of(name)));
    }

    fn add_some(&mut self, name: Phrase, value: Option<String>) {
        if let Some(value) = value {
            self.add(name, &value);
        }
    }

    fn plain(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&cut_characters(line, MAX_LINE_CHARS));
    }

    /// An empty line, if anything stands before it.
    fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}
