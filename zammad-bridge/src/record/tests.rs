//! What agents see, word for word.

use codex_core_sip::metadata::CustomerData;

use super::*;
use crate::call_book::{CallFact, CallRecord, CallStatus, Direction, FactSource};
use crate::clock::UnixMillis;

fn fact(seconds: i64, status: CallStatus) -> CallFact {
    let mut fact = CallFact::new(FactSource::StatusHook, UnixMillis::new(1_795_330_000_000 + 1000 * seconds));
    fact.call_sid = Some("3c7b1d5e-0000-4000-8000-000000000001".to_owned());
    fact.sip_call_id = Some("abcdefgh-7087".to_owned());
    fact.status = Some(status);
    fact
}

fn customer() -> CustomerData {
    let data = CustomerData::new("webcall").client_id("user_12345").client_name("Иван Иванов");
    data.session_id("session_abc123").custom_field("orderId", 7).custom_field("phone", "+7 (495) 123-45-67")
}

fn known() -> CallRecord {
    let mut first = fact(0, CallStatus::Trying);
    first.customer_data = Some(customer());
    first.application_name = Some("voicebot".to_owned());
    CallRecord::begin(&first)
}

fn texts(record: &CallRecord) -> CallerLogTexts {
    CallerLogTexts::new(record, FromStyle::Display, false, RecordLanguage::Ru)
}

#[test]
fn the_row_is_as_the_design_says() {
    let row = texts(&known());
    assert_eq!((row.from.as_str(), row.to.as_str()), ("webcall:abcdefgh → voicebot", "voicebot"));
    assert_eq!(row.user.as_deref(), Some("Иван Иванов (user_12345) · webcall · session_abc123"));
    assert_eq!((row.call_id.as_str(), row.direction, row.cause), ("abcdefgh-7087", "in", None));
}

#[test]
fn a_claimed_number_counts_only_if_the_caller_is_trusted() {
    let from = |trusted| CallerLogTexts::new(&known(), FromStyle::Phone, trusted, RecordLanguage::En).from;
    assert_eq!(from(true), "74951234567");
    assert_eq!(from(false), "webcall:abcdefgh → voicebot");
    // A display name that looks like a number is shown and matches nobody.
    let mut first = fact(0, CallStatus::Trying);
    first.display_from = Some("+7 495 123-45-67".to_owned());
    let row = texts(&CallRecord::begin(&first));
    assert!(!row.from.contains(|c: char| c.is_ascii_digit()), "{}", row.from);
}

#[test]
fn a_callee_is_shown_whole_whatever_digits_it_has() {
    for (to, sent) in [
        ("voicebot", "voicebot"),
        ("voicebot2", "voicebot𝟸"),
        ("bot-42", "bot-𝟺𝟸"),
        ("1001", "1001"),
        ("112", "112"),
        ("+7 (495) 123-45-67", "74951234567"),
        ("84951234567", "74951234567"),
        ("sip:bot1", "sip:bot𝟷"),
        ("Отдел 7", "Отдел 𝟽"),
    ] {
        let mut first = fact(0, CallStatus::Trying);
        first.to = Some(to.to_owned());
        assert_eq!(texts(&CallRecord::begin(&first)).to, sent, "{to}");
        // Likewise as the caller's program names it.
        first.to = Some("app-7087fe50-8acb-4f3b-b820-97b573723aab".to_owned());
        first.display_to = Some(to.to_owned());
        assert_eq!(texts(&CallRecord::begin(&first)).to, sent, "{to}");
    }
}

#[test]
fn telephone_numbers_are_sent_as_e164_digits() {
    for (from, shown) in [
        ("+74951234567", "74951234567"),
        ("74951234567", "74951234567"),
        ("84951234567", "74951234567"),
        ("004915112345678", "4915112345678"),
        ("+49 (151) 12-345-678", "4915112345678"),
        ("1001", "webcall:abcdefgh"),
        ("0351123456789", "webcall:abcdefgh"),
        ("+123456789012345678", "webcall:abcdefgh"),
        ("alice", "webcall:abcdefgh"),
    ] {
        let record = CallRecord::begin(&CallFact { from: Some(from.to_owned()), ..fact(0, CallStatus::Trying) });
        assert_eq!(texts(&record).from, shown, "{from}");
    }
    let mut out = fact(0, CallStatus::Trying);
    (out.direction, out.from, out.to) =
        (Some(Direction::Outbound), Some("+4930123456".to_owned()), Some("+74951234567".to_owned()));
    let row = texts(&CallRecord::begin(&out));
    assert_eq!((row.direction, row.from.as_str(), row.to.as_str()), ("out", "4930123456", "74951234567"));
}

#[test]
fn an_unknown_application_is_a_voicebot_and_nothing_is_empty() {
    let to = Some("app-7087fe50-8acb-4f3b-b820-97b573723aab".to_owned());
    let record = CallRecord::begin(&CallFact { to, ..fact(0, CallStatus::Trying) });
    assert_eq!((texts(&record).to.as_str(), texts(&record).user), ("voicebot", None));
    let record = CallRecord::begin(&fact(0, CallStatus::Trying));
    assert_eq!(texts(&record).to, "Unknown");
}

#[test]
fn columns_are_kept_without_cutting_characters() {
    let mut first = fact(0, CallStatus::Completed);
    first.sip_call_id = Some(format!("abcdefgh-{}", "x".repeat(300)));
    first.display_from = Some("я".repeat(300));
    first.display_to = Some("👍\u{1f3fd}".repeat(100));
    first.customer_data = Some(CustomerData::new("webcall").client_name("Ж".repeat(400)));
    let row = texts(&CallRecord::begin(&first));
    assert_eq!((row.from.chars().count(), row.user.as_ref().unwrap().chars().count()), (100, 250));
    assert!(row.to.chars().count() <= 100 && row.to.ends_with("👍\u{1f3fd}…"), "{}", row.to);
    assert_eq!(row.call_id.chars().count(), 8 + 1 + 64);
    assert!(row.call_id.starts_with("abcdefgh-"));
    let mut other = first.clone();
    other.sip_call_id = Some(format!("abcdefgh-{}y", "x".repeat(299)));
    assert_ne!(texts(&CallRecord::begin(&other)).call_id, row.call_id);
    // 250 characters are not too many, though they are more bytes.
    first.sip_call_id = Some("ж".repeat(250));
    assert_eq!(texts(&CallRecord::begin(&first)).call_id, "ж".repeat(250));
}

#[test]
fn the_ticket_begins_with_the_four_lines() {
    let mut record = known();
    record.apply(&fact(10, CallStatus::InProgress));
    let mut end = fact(75, CallStatus::Completed);
    (end.duration_s, end.terminated_by) = (Some(65), Some("caller".to_owned()));
    record.apply(&end);
    let body = ticket_body(&record, false, RecordLanguage::En);
    let expected = "From: webcall:abcdefgh → voicebot\nCustomer: Иван Иванов (user_12345)\nType: webcall\n\
                    Session: session_abc123\n\nTo: voicebot\nApplication: voicebot\n\
                    Began: 2026-11-22 06:46:40 UTC\nAnswered: 2026-11-22 06:46:50 UTC\n\
                    Ended: 2026-11-22 06:47:55 UTC\nDuration: 1:05\n\
                    Outcome: the voicebot answered, no person was on the call\nCause: hung up (by the caller)\n\n\
                    Further data:\norderId: 7\nphone: +7 (495) 123-45-67\n\n\
                    Customer data is what the caller stated; nobody has verified it.\n\n\
                    Tag: abcdefgh\nSIP Call-ID: abcdefgh-7087\n\
                    jambonz call_sid: 3c7b1d5e-0000-4000-8000-000000000001";
    assert_eq!(body, expected);
    let body = ticket_body(&record, true, RecordLanguage::Ru);
    let four = "Звонок от: webcall:abcdefgh → voicebot\nКлиент: Иван Иванов (user_12345)\nТип: webcall\n\
                Сессия: session_abc123\n";
    assert!(body.starts_with(four), "{body}");
    assert!(!body.contains("проверены"), "{body}");
}

#[test]
fn a_title_names_the_caller_and_carries_a_mark_of_letters() {
    let record = known();
    let mark = ticket_mark(&record);
    assert!(mark.len() == 16 && mark.chars().all(|c| c.is_ascii_lowercase()), "{mark}");
    assert_eq!(ticket_title(&record, RecordLanguage::En), format!("Call from Иван Иванов [{mark}]"));
    let mut missed = record;
    missed.apply(&fact(5, CallStatus::NoAnswer));
    assert_eq!(ticket_title(&missed, RecordLanguage::Ru), format!("Пропущенный звонок от Иван Иванов [{mark}]"));
    let mut long = fact(0, CallStatus::Trying);
    long.customer_data = Some(CustomerData::new("webcall").client_name("Ж".repeat(900)));
    let long = CallRecord::begin(&long);
    let title = ticket_title(&long, RecordLanguage::En);
    assert!(title.chars().count() <= 250 && title.ends_with(&format!("[{}]", ticket_mark(&long))), "{title}");
}

#[test]
fn notes_tell_what_happened_in_both_languages() {
    let mut record = known();
    record.apply(&fact(5, CallStatus::NoAnswer));
    let (subject, body) = note(&record, Note::Ended, RecordLanguage::En);
    assert_eq!(subject, "Call ended");
    assert!(body.ends_with("Outcome: nobody answered\nCause: the caller gave up"), "{body}");
    let (subject, body) = note(&record, Note::Ended, RecordLanguage::Ru);
    assert_eq!(subject, "Звонок завершён");
    assert!(body.ends_with("Итог: никто не ответил\nПричина: звонящий не дождался ответа"), "{body}");
}

#[test]
fn a_call_that_never_ended_says_so_in_the_language_of_records() {
    let mut record = known();
    record.apply(&CallFact { source: FactSource::Reaper, status: None, ..fact(9, CallStatus::Trying) });
    assert_eq!(texts(&record).cause.as_deref(), Some("jambonz не сообщил о конце звонка"));
    let english = CallerLogTexts::new(&record, FromStyle::Display, false, RecordLanguage::En);
    assert_eq!(english.cause.as_deref(), Some("end not reported by jambonz"));
}
