//! Behaviours, one by one, on every adapter.

use std::time::Duration;

use codex_core_sip::metadata::CustomerData;
use codex_zammad_bridge::Error;
use codex_zammad_bridge::call_book::{
    AnsweredBy, CallFact, CallState, CallStatus, Channel, EndCause, FactSource, Step, StepSet, TicketMode,
};
use codex_zammad_bridge::clock::Clock;
use codex_zammad_bridge::store::{CallQuery, Outcome, Shelf, StepState, Swept, TakeDue, TicketId};

use crate::bench::{LEASE, StoreBench, T0, delivered, drain, fact, report, take, with_call_id};

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&crate::bench::SqliteBench::new()).await;
                }
            )*
        }

        /// One server for all of them: it takes longer to start than all of them to run.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres() {
            let Some(server) = codex_e2e::postgres::PostgresServer::start_if_installed() else { return };
            $(
                println!("{}", stringify!($name));
                $name(&crate::postgres::PostgresBench::new(&server, stringify!($name))).await;
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
    a_call_that_goes_into_another_takes_nobody_s_call_id_along,
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

async fn a_call_that_goes_into_another_takes_nobody_s_call_id_along(bench: &dyn StoreBench) {
    let store = bench.open(TicketMode::Off).await;
    let of_client = |call_id: &str| {
        let mut fact = CallFact::new(FactSource::Record, T0);
        fact.sip_call_id = Some(call_id.to_owned());
        fact
    };
    store.commit(of_client("own")).await.unwrap();
    let victim = store.commit(with_call_id("sid-2", "taken", CallStatus::Trying)).await.unwrap();
    let other = store.commit(with_call_id("sid-1", "taken", CallStatus::Trying)).await.unwrap();
    assert_ne!(other.record, victim.record);
    // Two records of one call become one; the Call-ID that it once used stays with whom it belongs to.
    store.commit(with_call_id("sid-1", "own", CallStatus::Trying)).await.unwrap();
    assert_eq!(store.commit(of_client("taken")).await.unwrap().record, victim.record);
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
    let request = TakeDue {
        zammad: "sales".into(),
        channel: Channel::CallerLog,
        limit: 9,
        at_once: 100,
        now: T0,
        lease_for: LEASE,
    };
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
