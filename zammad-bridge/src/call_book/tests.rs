//! Facts in every order.

use codex_core_sip::metadata::CustomerData;
use codex_core_sip::random::{Random, SeededRandom};

use super::*;
use crate::clock::UnixMillis;

const T0: i64 = 1_795_330_000_000;

fn fact(seconds: i64, status: CallStatus) -> CallFact {
    let mut fact = CallFact::new(FactSource::StatusHook, UnixMillis::new(T0 + 1000 * seconds));
    fact.call_sid = Some("sid-1".to_owned());
    fact.sip_call_id = Some("kqzmwbtr-1".to_owned());
    fact.direction = Some(Direction::Inbound);
    fact.status = Some(status);
    fact
}

fn leg(seconds: i64, status: CallStatus) -> CallFact {
    let parent_call_sid = Some("sid-1".to_owned());
    CallFact { call_sid: Some("leg-1".to_owned()), parent_call_sid, sip_call_id: None, ..fact(seconds, status) }
}

fn record_of(facts: &[CallFact]) -> (CallRecord, StepSet) {
    let mut record = CallRecord::begin(&facts[0]);
    let mut wanted = wanted_steps(&record, TicketMode::All, StepSet::EMPTY);
    for fact in &facts[1..] {
        record.apply(fact);
        wanted = wanted_steps(&record, TicketMode::All, wanted);
    }
    (record, wanted)
}

#[test]
fn the_order_and_number_of_facts_make_no_difference() {
    let mut call_hook = CallFact { source: FactSource::CallHook, ..fact(0, CallStatus::Trying) };
    call_hook.customer_data = Some(CustomerData::new("webcall").client_id("7"));
    call_hook.application_name = Some("voicebot".to_owned());
    let mut end = fact(60, CallStatus::Completed);
    end.duration_s = Some(50);
    let mut facts = vec![
        call_hook,
        fact(0, CallStatus::Trying),
        fact(10, CallStatus::InProgress),
        leg(20, CallStatus::Trying),
        leg(25, CallStatus::InProgress),
        leg(50, CallStatus::Completed),
        end,
    ];
    let mut in_order = record_of(&facts);
    in_order.0.timeline.sort_by_key(|entry| (entry.at, entry.status, entry.leg.clone(), entry.source as u8));
    in_order.0.sources.sort_by_key(|source| *source as u8);
    let mut random = SeededRandom::new(5);
    for _ in 0..500 {
        for index in (1..facts.len()).rev() {
            facts.swap(index, usize::try_from(random.below(index as u64 + 1)).unwrap());
        }
        let repeated = facts[usize::try_from(random.below(7)).unwrap()].clone();
        facts.push(repeated);
        let (mut record, wanted) = record_of(&facts);
        facts.pop();
        record.timeline.sort_by_key(|entry| (entry.at, entry.status, entry.leg.clone(), entry.source as u8));
        record.sources.sort_by_key(|source| *source as u8);
        // The one thing that depends on the order: what Zammad knows the call by, if a leg came first.
        record.zammad_call_id.clone_from(&in_order.0.zammad_call_id);
        assert_eq!(record, in_order.0);
        for step in [Step::NewCall, Step::Answer, Step::Hangup, Step::OpenTicket, Step::NoteEnded] {
            assert!(wanted.contains(step), "{step:?} of {facts:?}");
        }
    }
    assert_eq!(in_order.0.answered_by(), AnsweredBy::Person);
    assert!(!in_order.0.is_missed());
}

#[test]
fn an_end_without_an_answer_says_why() {
    use CallStatus::{Busy, Completed, Failed, NoAnswer};
    use Direction::{Inbound, Outbound};
    for (status, sip_status, direction, cause) in [
        (Completed, Some(200), Inbound, "normalClearing"),
        (Busy, Some(486), Outbound, "busy"),
        (NoAnswer, Some(487), Inbound, "cancel"),
        (NoAnswer, None, Inbound, "cancel"),
        (NoAnswer, None, Outbound, "noAnswer"),
        (NoAnswer, Some(408), Inbound, "noAnswer"),
        (Failed, Some(404), Outbound, "notFound"),
        (Failed, Some(480), Outbound, "noAnswer"),
        (Failed, Some(486), Outbound, "busy"),
        (Failed, Some(487), Inbound, "cancel"),
        (Failed, Some(503), Outbound, "congestion"),
        (Failed, None, Inbound, "congestion"),
    ] {
        let got = EndCause::of(status, sip_status, direction).zammad_name();
        assert_eq!(got, Some(cause), "{status:?} {sip_status:?} {direction:?}");
    }
    let (record, wanted) = record_of(&[fact(0, CallStatus::Trying), fact(5, NoAnswer)]);
    assert!(record.is_missed() && !wanted.contains(Step::Answer) && wanted.contains(Step::Hangup));
}

#[test]
fn an_answer_whose_event_was_lost_is_known_by_the_end() {
    let mut end = fact(60, CallStatus::Completed);
    end.duration_s = Some(50);
    let (record, wanted) = record_of(&[fact(0, CallStatus::Trying), end]);
    assert_eq!(record.answered_at, Some(UnixMillis::new(T0 + 10_000)));
    assert!(wanted.contains(Step::Answer));
    assert_eq!(record.answered_by(), AnsweredBy::Voicebot);
    assert!(!record.is_missed());
}

#[test]
fn a_voicebot_that_rang_in_vain_for_a_person_missed_the_call() {
    let (record, _) = record_of(&[
        fact(0, CallStatus::InProgress),
        leg(5, CallStatus::Ringing),
        leg(30, CallStatus::NoAnswer),
        fact(40, CallStatus::Completed),
    ]);
    assert_eq!((record.answered_by(), record.is_missed()), (AnsweredBy::Voicebot, true));
    assert_eq!(record.legs[0].ended_at, Some(UnixMillis::new(T0 + 30_000)));
}

#[test]
fn tickets_are_wanted_as_the_mode_says() {
    let (record, _) = record_of(&[fact(0, CallStatus::Trying), fact(5, CallStatus::NoAnswer)]);
    let has_ticket = |record, mode| wanted_steps(record, mode, StepSet::EMPTY).contains(Step::OpenTicket);
    assert_eq!(
        [TicketMode::Off, TicketMode::Missed, TicketMode::All].map(|mode| has_ticket(&record, mode)),
        [false, true, true]
    );
    let (taken, _) = record_of(&[fact(0, CallStatus::InProgress), leg(1, CallStatus::InProgress)]);
    assert_eq!(
        [TicketMode::Off, TicketMode::Missed, TicketMode::All].map(|mode| has_ticket(&taken, mode)),
        [false, false, true]
    );
}

#[test]
fn a_record_that_joins_another_brings_nobody_back() {
    let named = || {
        let party = Some("+74951234567".to_owned());
        CallRecord::begin(&CallFact { from: party.clone(), to: party, ..fact(0, CallStatus::Trying) })
    };
    let mut forgotten = named();
    forgotten.forget_people();
    let (mut left, mut right) = (forgotten.clone(), named());
    left.absorb(named());
    right.absorb(forgotten);
    for mut record in [left, right] {
        assert_eq!((&record.from, &record.to), (&None, &None));
        record.apply(&CallFact { from: Some("+74951234567".to_owned()), ..fact(1, CallStatus::Ringing) });
        assert_eq!(record.from, None);
    }
}

#[test]
fn a_record_is_bounded_and_survives_its_json() {
    let mut record = CallRecord::begin(&fact(0, CallStatus::Trying));
    for number in 0..500 {
        let call_sid = Some(format!("leg-{number}"));
        record.apply(&CallFact { call_sid, to: Some("x".repeat(5000)), ..leg(number, CallStatus::Ringing) });
    }
    assert_eq!((record.legs.len(), record.timeline.len()), (MAX_LEGS, MAX_TIMELINE_ENTRIES));
    assert!(record.legs.iter().all(|leg| leg.to.as_ref().unwrap().len() == MAX_FACT_TEXT_CHARS));
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<CallRecord>(&json).unwrap(), record);
}

#[test]
fn steps_wait_behind_the_one_that_opens_their_lane() {
    let all: StepSet = [Step::NewCall, Step::Answer, Step::Hangup].into_iter().collect();
    let none = StepSet::EMPTY;
    assert_eq!(all.next(none, none), Some(Step::NewCall));
    assert_eq!(all.next(none.with(Step::NewCall), none), Some(Step::Answer));
    assert_eq!(all.next(none, none.with(Step::NewCall)), None);
    assert_eq!(all.next(none.with(Step::NewCall), none.with(Step::Answer)), Some(Step::Hangup));
    assert_eq!(all.next(all, none), None);
    assert_eq!(StepSet::from_bits(all.bits()), all);
}
