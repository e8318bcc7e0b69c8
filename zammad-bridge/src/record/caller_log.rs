//! A call in Zammad's caller log: a row of From, To, and one line of who and why.

use codex_core_sip::metadata::{ApplicationSid, CustomerData, UNKNOWN_APPLICATION, UNKNOWN_PARTY};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::phrases::{CAUSE_NEVER_ENDED, RecordLanguage};
use super::text::{cut_characters, one_line, with_foreign_digits};
use crate::call_book::{CallRecord, Direction};

/// Zammad's columns, in characters: what is longer it cuts without a word.
const MAX_PARTY_CHARS: usize = 100;
const MAX_COMMENT_CHARS: usize = 250;
const MAX_CALL_ID_CHARS: usize = 250;
const MAX_CAUSE_CHARS: usize = 500;

/// The digits of an E.164 number: with its country code at least 7, at most 15.
const E164_DIGITS: core::ops::RangeInclusive<usize> = 7..=15;
/// A number without a plus sign is taken for an international one from this length on: shorter ones are extensions.
const MIN_DIGITS_WITHOUT_PLUS: usize = 10;

/// What is sent as `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FromStyle {
    /// The display name: `webcall:kqzmwbtr → voicebot`.
    #[default]
    Display,
    /// The caller's phone number as E.164 digits if it is known, so that Zammad finds the customer; else the display
    /// name.
    Phone,
}

/// The texts of a row, each fit for its column.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerLogTexts {
    /// `callId`
    pub call_id: String,
    /// `in` or `out`
    pub direction: &'static str,
    /// `from`
    pub from: String,
    /// `to`
    pub to: String,
    /// `user`, the one-line record; `None` if nothing is known of the caller.
    pub user: Option<String>,
    /// `cause`, once the call is over.
    pub cause: Option<String>,
}

impl CallerLogTexts {
    /// The row of a call. `trusted` says whether the caller's word on the own phone number counts.
    #[must_use]
    pub fn new(record: &CallRecord, style: FromStyle, trusted: bool, language: RecordLanguage) -> Self {
        let outbound = record.direction == Some(Direction::Outbound);
        let from = if outbound {
            number(record.from.as_deref()).unwrap_or_else(|| with_foreign_digits(&display_from(record)))
        } else {
            let phone = match style {
                FromStyle::Phone => caller_number(record, trusted),
                // Who came by telephone and said nothing else is known by the number alone.
                FromStyle::Display if is_plain_telephone_call(record) => number(record.from.as_deref()),
                FromStyle::Display => None,
            };
            phone.unwrap_or_else(|| with_foreign_digits(&display_from(record)))
        };
        let to = match number(record.to.as_deref()) {
            Some(number) if outbound => number,
            _ => callee(&display_to(record)),
        };
        let cause = record.end.as_ref().map(|end| match end.cause.zammad_name() {
            Some(name) => name.to_owned(),
            None => cut_characters(language.of(CAUSE_NEVER_ENDED), MAX_CAUSE_CHARS),
        });
        Self {
            call_id: zammad_call_id(record),
            direction: if outbound { "out" } else { "in" },
            from: cut_characters(&from, MAX_PARTY_CHARS),
            to: cut_characters(&to, MAX_PARTY_CHARS),
            user: record
                .customer_data
                .as_ref()
                .and_then(one_line_record)
                .map(|line| cut_characters(&line, MAX_COMMENT_CHARS)),
            cause,
        }
    }
}

impl core::fmt::Debug for CallerLogTexts {
    /// Identity and cause; nothing of who calls.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CallerLogTexts")
            .field("call_id", &self.call_id)
            .field("direction", &self.direction)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// What Zammad knows the call by: its identity as it is, or, if that is too long, its tag and a SHA-256 of it.
#[must_use]
pub fn zammad_call_id(record: &CallRecord) -> String {
    let id = record.zammad_call_id.as_deref().or(record.call_sid.as_deref()).unwrap_or_default();
    // NUL is dropped by Zammad; two identities must not become one.
    if id.chars().nth(MAX_CALL_ID_CHARS).is_none() && !id.contains('\0') {
        return id.to_owned();
    }
    format!("{}-{}", one_line(record.tag().as_str()), hex(&Sha256::digest(id)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use core::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The caller as people see it: as the caller's program wrote it (`X-Display-From`), else `webcall:<tag> → <application>`.
pub(super) fn display_from(record: &CallRecord) -> String {
    let given = record.display_from.as_deref().map(one_line).filter(|text| !text.is_empty());
    given.unwrap_or_else(|| {
        let caller = one_line(&record.tag().display_name());
        match application(record) {
            Some(name) => format!("{caller} → {name}"),
            None => caller,
        }
    })
}

/// The callee: as the caller's program wrote it, else the application's name, else what was dialled.
pub(super) fn display_to(record: &CallRecord) -> String {
    let given = record.display_to.as_deref().map(one_line).filter(|text| !text.is_empty());
    let dialled = || {
        let to = one_line(record.to.as_deref()?);
        if to.is_empty() {
            None
        } else if ApplicationSid::from_user_part(&to).is_some() {
            Some(UNKNOWN_APPLICATION.to_owned())
        } else {
            Some(to)
        }
    };
    let nobody = || if record.application_sid.is_some() { UNKNOWN_APPLICATION } else { UNKNOWN_PARTY }.to_owned();
    given.or_else(|| application(record)).or_else(dialled).unwrap_or_else(nobody)
}

/// What is sent as `to` for a callee of this name. Zammad shows nothing but the digits of it, if it has any, so
/// - a telephone number is sent as E.164 digits, which Zammad writes as a number and compares with agents' own,
/// - an extension, digits alone, as it is,
/// - anything else with its digits in the form that Zammad leaves alone (`voicebot2` would be shown as `2`).
///
/// No user is looked for by the `to` of an inbound call.
fn callee(shown: &str) -> String {
    match number(Some(shown)) {
        Some(number) => number,
        None if !shown.is_empty() && shown.chars().all(|c| c.is_ascii_digit()) => shown.to_owned(),
        None => with_foreign_digits(shown),
    }
}

fn application(record: &CallRecord) -> Option<String> {
    record.application_name.as_deref().map(one_line).filter(|name| !name.is_empty())
}

/// Nothing but a number came with it.
fn is_plain_telephone_call(record: &CallRecord) -> bool {
    record.display_from.is_none() && record.customer_data.is_none() && record.given_tag.is_none()
}

/// The caller's phone number as E.164 digits: the SIP identity, or with `trusted` what the caller says in
/// `customFields.phone`.
#[must_use]
pub fn caller_number(record: &CallRecord, trusted: bool) -> Option<String> {
    let claimed = || {
        let fields = record.customer_data.as_ref()?.custom_fields.as_ref()?;
        match fields.get("phone")? {
            Value::String(text) => number(Some(text)),
            Value::Number(digits) => number(Some(&digits.to_string())),
            _ => None,
        }
    };
    let claimed = if trusted { claimed() } else { None };
    claimed.or_else(|| number(record.from.as_deref()))
}

/// `text` as the digits of an E.164 number: with a plus sign or `00` before the country code, or 10 digits and more. The
/// Russian national form, `8` and ten digits, is put right, which Zammad does not do.
fn number(text: Option<&str>) -> Option<String> {
    let text = text?.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => match text.strip_prefix("00") {
            Some(rest) => (true, rest),
            None => (false, text),
        },
    };
    if !rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '.' | '\u{a0}')) {
        return None;
    }
    let mut digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    if digits.starts_with('0') || !E164_DIGITS.contains(&digits.len()) {
        return None;
    }
    if !plus {
        if digits.len() < MIN_DIGITS_WITHOUT_PLUS {
            return None;
        }
        if digits.len() == 11 && digits.starts_with('8') && digits.chars().nth(1).is_some_and(|c| "3489".contains(c)) {
            digits.replace_range(..1, "7");
        }
    }
    Some(digits)
}

/// Who and why in one line: `Иван Иванов (user_12345) · webcall · session_abc123`.
#[must_use]
pub fn one_line_record(data: &CustomerData) -> Option<String> {
    let parts = [customer(data), present(Some(&data.call_type)), present(data.session_id.as_deref())];
    let line: Vec<String> = parts.into_iter().flatten().collect();
    (!line.is_empty()).then(|| line.join(" · "))
}

/// `Иван Иванов (user_12345)`, or what there is of it.
pub(super) fn customer(data: &CustomerData) -> Option<String> {
    match (present(data.client_name.as_deref()), present(data.client_id.as_deref())) {
        (Some(name), Some(id)) => Some(format!("{name} ({id})")),
        (name, id) => name.or(id),
    }
}

pub(super) fn present(text: Option<&str>) -> Option<String> {
    text.map(one_line).filter(|text| !text.is_empty())
}
