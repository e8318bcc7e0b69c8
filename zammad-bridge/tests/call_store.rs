//! What every adapter of `CallStore` must do. The tests are functions of [`StoreBench`]; a second adapter is a second
//! `suite!`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::metadata::CustomerData;
use codex_core_sip::random::{Random, SeededRandom};
use codex_zammad_bridge::Error;
use codex_zammad_bridge::call_book::{
    AnsweredBy, CallFact, CallState, CallStatus, Channel, EndCause, FactSource, Step, StepSet, TicketMode,
};
use codex_zammad_bridge::clock::{Clock, UnixMillis};
use codex_zammad_bridge::store::{
    CallQuery, CallStore, DeliveryReport, DueDelivery, Outcome, RecordId, Route, Routes, Shelf, SqliteSettings,
    SqliteStore, StepState, Swept, TakeDue, Taken, TicketId,
};

const T0: UnixMillis = UnixMillis::new(1_795_330_000_000);
const LEASE: Duration = Duration::from_secs(60);

/// A clock that is put forward by the test.
struct HandClock(AtomicI64);

impl HandClock {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.0.load(Ordering::SeqCst))
    }
}

/// Something on disk that a store is opened on, again and again.
#[async_trait]
trait StoreBench: Send + Sync {
    async fn open(&self, tickets: TicketMode) -> Arc<dyn CallStore>;
    fn clock(&self) -> &HandClock;
}

struct SqliteBench {
    folder: tempfile::TempDir,
    clock: Arc<HandClock>,
}

impl SqliteBench {
    fn new() -> Self {
        // In memory where that can be: what is looked at here is order, not the disk.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap(), clock: Arc::new(HandClock(AtomicI64::new(T0.as_millis()))) }
    }

    fn settings(&self) -> SqliteSettings {
        SqliteSettings { path: self.folder.path().join("calls.db") }
    }
}

fn routes(tickets: TicketMode) -> Routes {
    let other = Route { zammad: "sales".into(), applications: vec!["Sales".to_owned()], tickets };
    let all = Route { zammad: "default".into(), applications: Vec::new(), tickets };
    Routes { routes: vec![other, all] }
}

#[async_trait]
impl StoreBench for SqliteBench {
    async fn open(&self, tickets: TicketMode) -> Arc<dyn CallStore> {
        Arc::new(SqliteStore::open(&self.settings(), routes(tickets), self.clock.clone()).await.unwrap())
    }

    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&super::SqliteBench::new()).await;
                }
            )*
        }
    };
}

suite!(
    both_sources_of_a_call_make_one_record,
    steps_are_leased_one_at_a_time_and_in_order,
    a_lease_that_ran_out_counts_for_nothing,
    retries_wait_and_keep_their_count,
    dialled_legs_fold_into_their_call_whichever_comes_first,
    a_call_id_that_is_taken_does_not_join_two_calls,
    the_shelf_holds_what_failed_until_it_is_replayed_or_discarded,
    calls_go_to_the_zammad_of_their_application,
    tickets_are_told_apart_from_the_caller_log,
    a_ticket_number_that_comes_again_belongs_to_the_younger_call,
    calls_without_an_end_are_closed_and_old_ones_deleted,
    a_client_is_forgotten_for_good,
    calls_are_listed_filtered_and_paged,
    what_was_committed_is_there_after_a_restart,
    many_commits_at_once_are_all_answered,
);

fn fact(call_sid: &str, status: CallStatus) -> CallFact {
    let mut fact = CallFact::new(FactSource::StatusHook, T0);
    fact.call_sid = Some(call_sid.to_owned());
    fact.status = Some(status);
    fact
}

fn with_call_id(call_sid: &str, call_id: &str, status: CallStatus) -> CallFact {
    CallFact { sip_call_id: Some(call_id.to_owned()), ..fact(call_sid, status) }
}

async fn take(store: &dyn CallStore, channel: Channel, limit: usize, now: UnixMillis) -> Taken {
    let request = TakeDue { zammad: "default".into(), channel, limit, now, lease_for: LEASE };
    store.take_due(request).await.unwrap()
}

fn delivered() -> Outcome {
    Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None }
}

async fn report(store: &dyn CallStore, due: &DueDelivery, outcome: Outcome) -> bool {
    store.report(DeliveryReport { lease: due.lease, step: due.step, at: T0, outcome }).await.unwrap()
}

/// Takes and acknowledges until nothing is due; what was told, in order.
async fn drain(store: &dyn CallStore, channel: Channel, now: UnixMillis) -> Vec<(RecordId, Step)> {
    let mut told = Vec::new();
    loop {
        let taken = take(store, channel, 10, now).await;
        if taken.deliveries.is_empty() {
            return told;
        }
        for due in taken.deliveries {
            assert!(report(store, &due, delivered()).await);
            told.push((due.lease.record, due.step));
        }
    }
}

async fn both_sources_of_a_call_make_one_record(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let mut by_client = CallFact::new(FactSource::Record, T0);
    by_client.sip_call_id = Some("kqzmwbtr-1".to_owned());
    by_client.status = Some(CallStatus::Trying);
    let first = store.commit(by_client.clone()).await.unwrap();
    assert!(first.new_record && !first.repeat);
    let by_jambonz = store.commit(with_call_id("sid-1", "kqzmwbtr-1", CallStatus::Trying)).await.unwrap();
    assert_eq!((by_jambonz.record, by_jambonz.new_record, by_jambonz.repeat), (first.record, false, false));
    let again = store.commit(with_call_id("sid-1", "kqzmwbtr-1", CallStatus::Trying)).await.unwrap();
    assert!(again.repeat && again.record == first.record);
    let end = store.commit(fact("sid-1", CallStatus::Completed)).await.unwrap();
    assert_eq!(end.record, first.record);
    let call = store.call(first.record).await.unwrap().unwrap();
    assert_eq!(call.record.zammad_call_id.as_deref(), Some("kqzmwbtr-1"));
    assert_eq!(call.record.sources, [FactSource::Record, FactSource::StatusHook]);
    assert_eq!(call.record.state(), CallState::Ended);
    assert_eq!(call.record.end.as_ref().unwrap().cause, EndCause::NormalClearing);
    let told = drain(&*store, Channel::CallerLog, T0).await;
    assert_eq!(told, [Step::NewCall, Step::Answer, Step::Hangup].map(|step| (first.record, step)));
    let nothing = CallFact::new(FactSource::StatusHook, T0);
    assert_eq!(store.commit(nothing).await, Err(Error::FactWithoutCall));
}

async fn steps_are_leased_one_at_a_time_and_in_order(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    // The end is heard of first.
    for status in [CallStatus::Completed, CallStatus::InProgress, CallStatus::Trying, CallStatus::InProgress] {
        store.commit(fact("a", status)).await.unwrap();
    }
    store.commit(fact("b", CallStatus::Trying)).await.unwrap();
    let taken = take(&*store, Channel::CallerLog, 10, T0).await;
    let steps: Vec<_> = taken.deliveries.iter().map(|due| due.step).collect();
    assert_eq!(steps, [Step::NewCall, Step::NewCall]);
    assert!(take(&*store, Channel::CallerLog, 10, T0).await.deliveries.is_empty());
    assert!(report(&*store, &taken.deliveries[0], delivered()).await);
    let next = take(&*store, Channel::CallerLog, 10, T0).await;
    assert_eq!(next.deliveries.iter().map(|due| due.step).collect::<Vec<_>>(), [Step::Answer]);
    assert!(report(&*store, &next.deliveries[0], Outcome::Released).await);
    let again = take(&*store, Channel::CallerLog, 1, T0).await;
    assert_eq!((again.deliveries[0].step, again.deliveries[0].attempts), (Step::Answer, 0));
    // An answer that is heard of after the hangup was wanted is not told any more.
    assert!(report(&*store, &taken.deliveries[1], delivered()).await);
    store.commit(fact("b", CallStatus::NoAnswer)).await.unwrap();
    store.commit(fact("b", CallStatus::InProgress)).await.unwrap();
    assert!(report(&*store, &again.deliveries[0], delivered()).await);
    let rest: Vec<_> = drain(&*store, Channel::CallerLog, T0).await.into_iter().map(|(_, step)| step).collect();
    assert_eq!(rest, [Step::Hangup, Step::Hangup]);
}

async fn a_lease_that_ran_out_counts_for_nothing(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    store.commit(fact("a", CallStatus::Trying)).await.unwrap();
    let old = take(&*store, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(take(&*store, Channel::CallerLog, 1, T0 + LEASE / 2).await.deliveries.is_empty());
    let new = take(&*store, Channel::CallerLog, 1, T0 + LEASE * 2).await.deliveries.remove(0);
    assert!(!report(&*store, &old, Outcome::Shelved { fault: "late".to_owned() }).await);
    assert!(report(&*store, &new, delivered()).await);
    assert!(!report(&*store, &new, delivered()).await);
    let call = store.call(new.lease.record).await.unwrap().unwrap();
    assert_eq!(call.lanes[0].steps[0].state, StepState::Delivered);
}

async fn retries_wait_and_keep_their_count(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    store.commit(fact("a", CallStatus::Trying)).await.unwrap();
    let at = T0 + Duration::from_secs(9);
    for attempts in 0..3 {
        let due = take(&*store, Channel::CallerLog, 1, at).await.deliveries.remove(0);
        assert_eq!((due.attempts, due.uncertain, due.renewed), (attempts, attempts > 0, attempts > 0));
        let fault = "no".to_owned();
        let outcome = Outcome::Retry { at, fault, counts: true, uncertain: attempts == 0, renewed: attempts == 0 };
        assert!(report(&*store, &due, outcome).await);
        let early = take(&*store, Channel::CallerLog, 1, T0).await;
        assert!(early.deliveries.is_empty());
        assert_eq!(early.next_due, Some(at));
    }
    let due = take(&*store, Channel::CallerLog, 1, at).await.deliveries.remove(0);
    assert!(report(&*store, &due, delivered()).await);
    store.commit(fact("a", CallStatus::Completed)).await.unwrap();
    let next = take(&*store, Channel::CallerLog, 1, at).await.deliveries.remove(0);
    assert_eq!((next.step, next.attempts, next.uncertain, next.renewed), (Step::Answer, 0, false, true));
}

async fn dialled_legs_fold_into_their_call_whichever_comes_first(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let leg = |call: &str, parent: &str, status| CallFact {
        parent_call_sid: Some(parent.to_owned()),
        to: Some("agent-7".to_owned()),
        ..fact(call, status)
    };
    // A leg is heard of before its call, and the client reports the call by its Call-ID alone.
    let orphan = store.commit(leg("leg-1", "sid-1", CallStatus::Trying)).await.unwrap();
    assert!(take(&*store, Channel::CallerLog, 1, T0).await.deliveries.is_empty());
    let mut by_client = CallFact::new(FactSource::Record, T0);
    by_client.sip_call_id = Some("abcdefgh-1".to_owned());
    by_client.status = Some(CallStatus::Trying);
    let client = store.commit(by_client).await.unwrap();
    assert_ne!(orphan.record, client.record);
    let call = store.commit(with_call_id("sid-1", "abcdefgh-1", CallStatus::InProgress)).await.unwrap();
    assert_eq!(call.record, client.record);
    assert_eq!(store.call(orphan.record).await.unwrap(), None);
    let by_bot = store.call(call.record).await.unwrap().unwrap().record;
    assert_eq!((by_bot.answered_by(), by_bot.legs.len(), by_bot.is_missed()), (AnsweredBy::Voicebot, 1, true));
    // Now a person takes it, and a leg of the leg is known by its own name.
    assert_eq!(store.commit(leg("leg-1", "sid-1", CallStatus::InProgress)).await.unwrap().record, call.record);
    assert_eq!(store.commit(leg("leg-2", "leg-1", CallStatus::Ringing)).await.unwrap().record, call.record);
    assert_eq!(store.commit(fact("leg-2", CallStatus::Ringing)).await.unwrap().record, call.record);
    let record = store.call(call.record).await.unwrap().unwrap().record;
    assert_eq!((record.answered_by(), record.is_missed()), (AnsweredBy::Person, false));
    assert_eq!(drain(&*store, Channel::CallerLog, T0).await.len(), 2);
}

async fn a_call_id_that_is_taken_does_not_join_two_calls(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let victim = store.commit(with_call_id("sid-1", "same", CallStatus::Trying)).await.unwrap();
    let other = store.commit(with_call_id("sid-2", "same", CallStatus::Completed)).await.unwrap();
    assert!(other.new_record && other.record != victim.record);
    let record = store.call(other.record).await.unwrap().unwrap().record;
    assert_eq!(record.zammad_call_id.as_deref(), Some("sid-2"));
    let victim = store.call(victim.record).await.unwrap().unwrap().record;
    assert_eq!((victim.state(), victim.zammad_call_id.as_deref()), (CallState::Ringing, Some("same")));
}

async fn the_shelf_holds_what_failed_until_it_is_replayed_or_discarded(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    for call in ["a", "b"] {
        store.commit(fact(call, CallStatus::Completed)).await.unwrap();
    }
    // Behind a newCall that is on the shelf everything waits; behind an answer nothing does.
    for due in take(&*store, Channel::CallerLog, 2, T0).await.deliveries {
        let outcome = if due.record.call_sid.as_deref() == Some("a") {
            Outcome::Shelved { fault: "HTTP 422".to_owned() }
        } else {
            delivered()
        };
        assert!(report(&*store, &due, outcome).await);
    }
    let answer = take(&*store, Channel::CallerLog, 9, T0).await.deliveries;
    assert_eq!(answer.len(), 1);
    assert!(report(&*store, &answer[0], Outcome::Shelved { fault: "HTTP 500".to_owned() }).await);
    assert_eq!(drain(&*store, Channel::CallerLog, T0).await, [(answer[0].lease.record, Step::Hangup)]);
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.zammads[0].lanes_pending, backlog.zammads[0].lanes_shelved), (0, 2));
    let shelved = store.calls(CallQuery { shelved: true, limit: 10, ..CallQuery::default() }).await.unwrap();
    assert_eq!(shelved.calls.len(), 2);
    assert_eq!(shelved.calls[1].lanes[0].last_fault.as_deref(), Some("HTTP 422"));

    // The answer is not told after the hangup, the whole of the other call is.
    let now = T0 + Duration::from_secs(5);
    assert_eq!(store.replay(Shelf::All, now).await.unwrap(), 2);
    let told: Vec<_> = drain(&*store, Channel::CallerLog, now).await.into_iter().map(|(_, step)| step).collect();
    assert_eq!(told, [Step::NewCall, Step::Answer, Step::Hangup]);
    assert_eq!(store.replay(Shelf::All, now).await.unwrap(), 0);

    store.commit(fact("c", CallStatus::Trying)).await.unwrap();
    let due = take(&*store, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(report(&*store, &due, Outcome::Shelved { fault: "HTTP 422".to_owned() }).await);
    assert_eq!(store.discard(Shelf::Lane(due.lease.record, Channel::Ticket), now).await.unwrap(), 0);
    assert_eq!(store.discard(Shelf::Record(due.lease.record), now).await.unwrap(), 1);
    store.commit(fact("c", CallStatus::Completed)).await.unwrap();
    assert!(drain(&*store, Channel::CallerLog, now).await.is_empty());
    let steps = store.call(due.lease.record).await.unwrap().unwrap().lanes.remove(0).steps;
    assert!(steps.iter().all(|step| step.state == StepState::Discarded), "{steps:?}");

    // What stays there goes with its record when that is old, and is told of.
    store.commit(fact("d", CallStatus::Completed)).await.unwrap();
    let due = take(&*store, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(report(&*store, &due, Outcome::Shelved { fault: "HTTP 422".to_owned() }).await);
    let swept = store.sweep(now, 10).await.unwrap();
    assert_eq!(swept, Swept { records: 4, dead_letters: 1 });
}

async fn calls_go_to_the_zammad_of_their_application(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let sales = CallFact { application_name: Some("sales".to_owned()), ..fact("a", CallStatus::Trying) };
    let sales = store.commit(sales).await.unwrap().record;
    let other = store.commit(fact("b", CallStatus::Trying)).await.unwrap().record;
    assert_eq!(drain(&*store, Channel::CallerLog, T0).await, [(other, Step::NewCall)]);
    let request = TakeDue { zammad: "sales".into(), channel: Channel::CallerLog, limit: 9, now: T0, lease_for: LEASE };
    let taken = store.take_due(request).await.unwrap();
    assert_eq!(taken.deliveries.iter().map(|due| due.lease.record).collect::<Vec<_>>(), [sales]);
}

async fn tickets_are_told_apart_from_the_caller_log(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::All).await;
    let id = store.commit(fact("a", CallStatus::InProgress)).await.unwrap().record;
    let due = take(&*store, Channel::Ticket, 1, T0).await.deliveries.remove(0);
    assert_eq!((due.step, due.ticket), (Step::OpenTicket, None));
    // The ticket's text tells of the answer.
    let outcome = Outcome::Delivered { also: due.pending, answer: None, ticket: Some(TicketId(77)) };
    assert!(report(&*store, &due, outcome).await);
    assert!(take(&*store, Channel::Ticket, 1, T0).await.deliveries.is_empty());
    store.commit(fact("a", CallStatus::Completed)).await.unwrap();
    let due = take(&*store, Channel::Ticket, 1, T0).await.deliveries.remove(0);
    assert_eq!((due.step, due.ticket), (Step::NoteEnded, Some(TicketId(77))));
    let steps: Vec<_> = drain(&*store, Channel::CallerLog, T0).await.into_iter().map(|(_, step)| step).collect();
    assert_eq!(steps, [Step::NewCall, Step::Answer, Step::Hangup]);
    assert_eq!(store.call(id).await.unwrap().unwrap().lanes.len(), 2);
}

async fn a_ticket_number_that_comes_again_belongs_to_the_younger_call(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::All).await;
    // A Zammad that was set up anew counts from 1 again.
    let mut ids = Vec::new();
    for call in ["a", "b"] {
        ids.push(store.commit(fact(call, CallStatus::Trying)).await.unwrap().record);
        let due = take(&*store, Channel::Ticket, 1, T0).await.deliveries.remove(0);
        let outcome = Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: Some(TicketId(1)) };
        assert!(report(&*store, &due, outcome).await);
    }
    let mut tickets = Vec::new();
    for id in ids {
        let lanes = store.call(id).await.unwrap().unwrap().lanes;
        tickets.push(lanes.iter().find_map(|lane| lane.ticket));
    }
    assert_eq!(tickets, [None, Some(TicketId(1))]);
}

async fn calls_without_an_end_are_closed_and_old_ones_deleted(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let open = store.commit(fact("a", CallStatus::InProgress)).await.unwrap().record;
    let orphan = CallFact { parent_call_sid: Some("gone".to_owned()), ..fact("leg", CallStatus::Ringing) };
    let orphan = store.commit(orphan).await.unwrap().record;
    let later = T0 + Duration::from_secs(3600);
    assert_eq!(store.reap(T0, later, 10).await.unwrap(), 0);
    assert_eq!(store.reap(later, later, 1).await.unwrap(), 1);
    assert_eq!(store.reap(later, later, 10).await.unwrap(), 1);
    assert_eq!(store.reap(later, later, 10).await.unwrap(), 0);
    let record = store.call(open).await.unwrap().unwrap().record;
    assert_eq!(record.end.as_ref().map(|end| (end.cause, end.at)), Some((EndCause::NeverEnded, later)));
    // Not before Zammad knows.
    let end = later + Duration::from_secs(1);
    assert_eq!(store.sweep(end, 10).await.unwrap(), Swept::default());
    let told = drain(&*store, Channel::CallerLog, later).await;
    assert_eq!(told.iter().filter(|(id, _)| *id == orphan).count(), 2);
    // The end that comes after all puts the record right and is told to nobody.
    store.commit(fact("a", CallStatus::Completed)).await.unwrap();
    assert!(drain(&*store, Channel::CallerLog, later).await.is_empty());
    assert_eq!(store.call(open).await.unwrap().unwrap().record.end.unwrap().cause, EndCause::NormalClearing);
    assert_eq!(store.sweep(T0, 10).await.unwrap(), Swept::default());
    assert_eq!(store.sweep(end, 10).await.unwrap(), Swept { records: 2, dead_letters: 0 });
    assert_eq!(store.call(open).await.unwrap(), None);
    assert!(store.commit(fact("a", CallStatus::Trying)).await.unwrap().new_record);
}

async fn a_client_is_forgotten_for_good(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::All).await;
    let data = CustomerData::new("webcall").client_id("user_12345").client_name("Иван Иванов");
    let about = |status| CallFact {
        customer_data: Some(data.clone()),
        from: Some("+74951234567".to_owned()),
        ..fact("a", status)
    };
    let id = store.commit(about(CallStatus::Trying)).await.unwrap().record;
    let other = CustomerData::new("webcall").client_id("user_1");
    store.commit(CallFact { customer_data: Some(other), ..fact("b", CallStatus::Trying) }).await.unwrap();
    let due = take(&*store, Channel::Ticket, 1, T0).await.deliveries.remove(0);
    let outcome = Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: Some(TicketId(5)) };
    assert!(report(&*store, &due, outcome).await);
    let forgotten = store.forget("user_12345").await.unwrap();
    assert_eq!((forgotten.calls, forgotten.tickets), (1, vec![("default".into(), TicketId(5))]));
    assert_eq!(store.forget("user_12345").await.unwrap().calls, 0);
    // A later event that names the client again does not bring it back.
    store.commit(about(CallStatus::Completed)).await.unwrap();
    let record = store.call(id).await.unwrap().unwrap().record;
    assert_eq!((record.customer_data.clone(), record.from.clone(), record.state()), (None, None, CallState::Ended));
    let query = CallQuery { client_id: Some("user_1".to_owned()), limit: 5, ..CallQuery::default() };
    assert_eq!(store.calls(query).await.unwrap().calls.len(), 1);
}

async fn calls_are_listed_filtered_and_paged(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let mut ids = Vec::new();
    for number in 0..25 {
        let mut fact = with_call_id(&format!("sid-{number}"), &format!("abcdefg{number}-x"), CallStatus::Trying);
        fact.at = T0 + Duration::from_secs(number);
        ids.push(store.commit(fact).await.unwrap().record);
    }
    store.commit(fact("sid-3", CallStatus::Completed)).await.unwrap();
    store.commit(fact("sid-4", CallStatus::InProgress)).await.unwrap();
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = CallQuery { limit: 10, ..CallQuery::default() };
    loop {
        let page = store.calls(query.clone()).await.unwrap();
        assert!(page.calls.len() <= 10);
        seen.extend(page.calls.iter().map(|call| call.id));
        let Some(before) = page.next_before else { break };
        query.before = Some(before);
    }
    assert_eq!(seen, ids);
    let count = async |query: CallQuery| store.calls(CallQuery { limit: 100, ..query }).await.unwrap().calls.len();
    let all = CallQuery::default;
    assert_eq!(count(CallQuery { open: Some(true), ..all() }).await, 24);
    assert_eq!(count(CallQuery { open: Some(false), ..all() }).await, 1);
    assert_eq!(count(CallQuery { state: Some(CallState::Answered), ..all() }).await, 1);
    assert_eq!(count(CallQuery { state: Some(CallState::Ringing), ..all() }).await, 23);
    assert_eq!(count(CallQuery { pending: true, ..all() }).await, 25);
    for name in ["sid-7", "abcdefg7-x", "abcdefg7"] {
        assert_eq!(count(CallQuery { name: Some(name.to_owned()), ..all() }).await, 1, "{name}");
    }
    assert_eq!(count(CallQuery { name: Some("%".to_owned()), ..all() }).await, 0);
    let (since, until) = (T0 + Duration::from_secs(5), T0 + Duration::from_secs(8));
    assert_eq!(count(CallQuery { since: Some(since), until: Some(until), ..all() }).await, 3);
    assert_eq!(store.backlog().await.unwrap().calls_open, 24);
}

async fn what_was_committed_is_there_after_a_restart(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let id = store.commit(fact("a", CallStatus::InProgress)).await.unwrap().record;
    let due = take(&*store, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(report(&*store, &due, delivered()).await);
    let leased = take(&*store, Channel::CallerLog, 1, T0).await;
    assert_eq!(leased.deliveries[0].step, Step::Answer);
    store.close().await;
    assert!(matches!(store.commit(fact("b", CallStatus::Trying)).await, Err(Error::StoreRefuses { .. })));
    drop(store);
    // Nobody holds a lease any more.
    bench.clock().forward(LEASE * 2);
    let store = bench.open(TicketMode::Off).await;
    assert_eq!(drain(&*store, Channel::CallerLog, bench.clock().now()).await, [(id, Step::Answer)]);
    assert!(store.commit(fact("b", CallStatus::Trying)).await.unwrap().record > id);
}

async fn many_commits_at_once_are_all_answered(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let mut changes = store.changes();
    let commits = (0..300).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(fact(&format!("sid-{}", number % 100), CallStatus::Trying)).await })
    });
    let (mut new_records, mut repeats) = (0, 0);
    for commit in commits.collect::<Vec<_>>() {
        let committed = commit.await.unwrap().unwrap();
        new_records += u32::from(committed.new_record);
        repeats += u32::from(committed.repeat);
    }
    assert_eq!((new_records, repeats), (100, 200));
    let mut begun = 0;
    while changes.try_recv().is_ok() {
        begun += 1;
    }
    assert_eq!(begun, 100);
}

// ---- SQLite alone ----

#[tokio::test]
async fn a_second_bridge_on_the_same_file_is_refused() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    let second = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert!(matches!(second, Err(Error::StoreInUse { .. })));
    store.close().await;
    drop(bench.open(TicketMode::Off).await);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told_from_one_of_a_newer_program() {
    let bench = SqliteBench::new();
    std::fs::write(
        bench.settings().path,
        b"This is no database, but it is long enough to look like one to somebody.\n".repeat(50),
    )
    .unwrap();
    let opened = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert!(matches!(&opened, Err(Error::StoreDamaged { .. })), "{opened:?}");

    let bench = SqliteBench::new();
    bench.open(TicketMode::Off).await.close().await;
    let mut file = std::fs::read(bench.settings().path).unwrap();
    // The user version stands at byte 60 of the header, https://www.sqlite.org/fileformat.html#database_header.
    file[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(bench.settings().path, file).unwrap();
    let opened = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert_eq!(opened.err(), Some(Error::StoreTooNew { found: 99, known: 1 }));
}

#[tokio::test]
async fn nothing_of_a_forgotten_client_is_left_in_the_files() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    for number in 0..200 {
        let data = CustomerData::new("webcall").client_id("user_12345").client_name("Erna Musterfrau");
        let fact = CallFact { customer_data: Some(data), ..fact(&format!("sid-{number}"), CallStatus::Completed) };
        store.commit(fact).await.unwrap();
    }
    // Zammad's answers and faults name people too.
    let mut due = take(&*store, Channel::CallerLog, 2, T0).await.deliveries;
    let answer = Some(r#"{"action":"redirect","to":"+74951234567"}"#.to_owned());
    assert!(report(&*store, &due.remove(0), Outcome::Delivered { also: StepSet::EMPTY, answer, ticket: None }).await);
    let fault = "HTTP 422: erna@example.com".to_owned();
    assert!(report(&*store, &due.remove(0), Outcome::Shelved { fault }).await);
    let holds = |needle: &str| {
        std::fs::read_dir(bench.folder.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    };
    assert!(holds("Erna Musterfrau"));
    assert_eq!(store.forget("user_12345").await.unwrap().calls, 200);
    assert!(!holds("Erna Musterfrau"));
    assert!(!holds("user_12345"));
    assert!(!holds("+74951234567") && !holds("erna@example.com"));
    // What an erasure before could not empty, the next one does, though it finds nobody.
    store.commit(fact("sid-late", CallStatus::Trying)).await.unwrap();
    let log = bench.folder.path().join("calls.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    assert_eq!(store.forget("user_12345").await.unwrap().calls, 0);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    store.close().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_shelved_and_stops_nobody() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    let broken = store.commit(fact("a", CallStatus::Completed)).await.unwrap().record;
    let sound = store.commit(fact("b", CallStatus::Trying)).await.unwrap().record;
    store.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.settings().path);
    let mut connection = sqlx::ConnectOptions::connect(&file).await.unwrap();
    sqlx::query("UPDATE call SET record = '[]' WHERE id = ?").bind(broken.0).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let store = bench.open(TicketMode::Off).await;
    assert_eq!(drain(&*store, Channel::CallerLog, T0).await, [(sound, Step::NewCall)]);
    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog.zammads.iter().map(|z| (z.lanes_pending, z.lanes_shelved)).collect::<Vec<_>>(), [(0, 1)]);
    store.close().await;
}

// ---- The model ----

/// What the model knows of a call: which facts were acknowledged, and which may be there.
#[derive(Debug, Clone, Default)]
struct ModelCall {
    sure: Vec<CallStatus>,
    maybe: Vec<CallStatus>,
    told: Vec<Step>,
    /// Reports whose answer had not come when everything was cut off: they may be on disk.
    telling: Vec<Step>,
}

const STATUSES: [CallStatus; 5] =
    [CallStatus::Trying, CallStatus::Ringing, CallStatus::InProgress, CallStatus::Completed, CallStatus::NoAnswer];

enum Event {
    Asked(usize, CallStatus),
    Committed(usize, CallStatus),
    Telling(usize, Step),
    Told(usize, Step),
}

/// Random facts and deliveries, many at once, in processes that end at any moment: what was acknowledged is delivered in
/// the end, each step once if its report was acknowledged, and always in order.
#[test]
fn the_store_keeps_to_the_model_whenever_it_is_cut_off() {
    for seed in 0..4 {
        run_model(seed);
    }
}

fn run_model(seed: u64) {
    const CALLS: u64 = 20;
    const LIVES: u64 = 6;
    let mut random = SeededRandom::new(seed);
    let bench = Arc::new(SqliteBench::new());
    let mut model = vec![ModelCall::default(); usize::try_from(CALLS).unwrap()];
    for life in 0..=LIVES {
        let last = life == LIVES;
        bench.clock.forward(LEASE * 2);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (events, seen) = mpsc::channel();
        let store = runtime.block_on(bench.open(TicketMode::Off));
        if !last {
            for _ in 0..4 {
                let mut random = SeededRandom::new(random.below(u64::MAX));
                let (store, events) = (store.clone(), events.clone());
                runtime.spawn(async move {
                    loop {
                        let call = usize::try_from(random.below(CALLS)).unwrap();
                        let status = STATUSES[usize::try_from(random.below(5)).unwrap()];
                        events.send(Event::Asked(call, status)).unwrap();
                        let fact = with_call_id(&format!("sid-{call}"), &format!("id-{call}"), status);
                        if store.commit(fact).await.is_err() {
                            return;
                        }
                        events.send(Event::Committed(call, status)).unwrap();
                    }
                });
            }
        }
        let deliverer = {
            let mut random = SeededRandom::new(random.below(u64::MAX));
            let (store, events, bench) = (store.clone(), events.clone(), bench.clone());
            runtime.spawn(async move {
                loop {
                    let taken = take(&*store, Channel::CallerLog, 3, bench.clock.now()).await;
                    if taken.deliveries.is_empty() {
                        if last {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    for due in taken.deliveries {
                        let outcome = match random.below(4) {
                            0 => Outcome::Retry {
                                at: bench.clock.now(),
                                fault: "no".to_owned(),
                                counts: true,
                                uncertain: false,
                                renewed: false,
                            },
                            1 if !last => Outcome::Released,
                            _ => delivered(),
                        };
                        let told = matches!(outcome, Outcome::Delivered { .. });
                        let report = DeliveryReport { lease: due.lease, step: due.step, at: T0, outcome };
                        let call = due.record.call_sid.as_deref().unwrap().strip_prefix("sid-").unwrap();
                        let call = call.parse().unwrap();
                        if told {
                            events.send(Event::Telling(call, due.step)).unwrap();
                        }
                        let Ok(counted) = store.report(report).await else { return };
                        assert!(counted, "nobody else holds the lease");
                        if told {
                            events.send(Event::Told(call, due.step)).unwrap();
                        }
                    }
                }
            })
        };
        drop(events);
        let mut take_in = |event: Event| match event {
            Event::Asked(call, status) => model[call].maybe.push(status),
            Event::Committed(call, status) => model[call].sure.push(status),
            Event::Telling(call, step) => model[call].telling.push(step),
            Event::Told(call, step) => {
                model[call].telling.retain(|telling| *telling != step);
                model[call].told.push(step);
            }
        };
        if last {
            runtime.block_on(deliverer).unwrap();
            runtime.block_on(store.close());
        } else {
            // Cut off after a random number of things that happened, wherever everything is then.
            for event in seen.iter().take(usize::try_from(50 + random.below(300)).unwrap()) {
                take_in(event);
            }
        }
        drop(store);
        runtime.shutdown_timeout(Duration::from_secs(10));
        seen.iter().for_each(take_in);
    }
    for (number, call) in model.iter().enumerate() {
        // A step whose acknowledgement was cut off may come once more, from the process after.
        assert!(call.told.is_sorted(), "seed {seed}, call {number}: {call:?}");
        let told = |step| call.told.contains(&step);
        let on_disk = |step| told(step) || call.telling.contains(&step);
        let sure = |status| call.sure.contains(&status);
        let maybe = |status| call.maybe.contains(&status);
        if sure(CallStatus::Trying) || sure(CallStatus::Ringing) {
            assert!(on_disk(Step::NewCall), "seed {seed}, call {number}: {call:?}");
        }
        if sure(CallStatus::Completed) || sure(CallStatus::NoAnswer) {
            assert!(on_disk(Step::Hangup), "seed {seed}, call {number}: {call:?}");
        }
        if sure(CallStatus::InProgress) && !maybe(CallStatus::NoAnswer) {
            assert!(on_disk(Step::Answer), "seed {seed}, call {number}: {call:?}");
        }
        assert!(!told(Step::NewCall) || !call.maybe.is_empty(), "seed {seed}, call {number}: {call:?}");
        assert!(
            !told(Step::Hangup) || maybe(CallStatus::Completed) || maybe(CallStatus::NoAnswer),
            "seed {seed}, call {number}: {call:?}"
        );
        for step in [Step::NewCall, Step::Answer, Step::Hangup] {
            let times = call.told.iter().filter(|told| **told == step).count();
            assert!(times <= 1, "seed {seed}, call {number}: {step:?} acknowledged {times} times");
        }
    }
}
