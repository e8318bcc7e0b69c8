//! Random operations, restarts and cut-offs on a store, compared with the plain model after each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::metadata::CustomerData;
use codex_e2e::postgres::PostgresServer;
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, FactSource, Step, StepSet, TicketMode};
use codex_zammad_bridge::clock::Clock;
use codex_zammad_bridge::store::{
    CallQuery, CallStore, Committed, DeliveryReport, DueDelivery, Outcome, RecordId, Shelf, StepState, StepView,
    StoredCall, TakeDue, TicketId,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::runtime::Runtime;

use crate::bench::{LEASE, SqliteBench, StoreBench, routes};
use crate::model::{Model, ModelDue};
use crate::postgres::PostgresBench;

/// Runs in a test of every day; a soak test does [`SOAK_CASES`].
const CASES: u32 = 40;
const SOAK_CASES: f64 = 2_000.0;
/// PostgreSQL has a database made for each.
const POSTGRES_CASES: u32 = 8;
const POSTGRES_SOAK_CASES: f64 = 300.0;
/// How many operations one run has at most.
const MAX_STEPS: usize = 40;

/// Which of its names a fact says.
#[derive(Debug, Clone, Copy)]
enum Names {
    CallSid,
    CallId,
    Both,
    /// The Call-ID of the first call, whose it is not.
    TakenCallId,
}

/// A fact of one of a few calls, so that facts meet.
#[derive(Debug, Clone)]
struct Said {
    call: u8,
    names: Names,
    /// A dialled leg, and whether another leg dialled it.
    leg: Option<(u8, bool)>,
    source: FactSource,
    status: Option<CallStatus>,
    client: Option<u8>,
    for_sales: bool,
    tag: bool,
}

impl Said {
    fn fact(&self, clock: &dyn Clock) -> CallFact {
        let sid = format!("sid-{}", self.call);
        let call_id = |call: u8| Some(format!("call-id-{call}"));
        let mut fact = CallFact::new(self.source, clock.now());
        fact.status = self.status;
        if let Some((leg, by_leg)) = self.leg {
            fact.call_sid = Some(format!("{sid}-leg-{leg}"));
            fact.parent_call_sid = Some(if by_leg { format!("{sid}-leg-{}", leg + 1) } else { sid });
            return fact;
        }
        (fact.call_sid, fact.sip_call_id) = match self.names {
            Names::CallSid => (Some(sid), None),
            Names::CallId => (None, call_id(self.call)),
            Names::Both => (Some(sid), call_id(self.call)),
            Names::TakenCallId => (Some(sid), call_id(0)),
        };
        fact.customer_data =
            self.client.map(|client| CustomerData::new("webcall").client_id(format!("client-{client}")));
        fact.application_name = self.for_sales.then(|| "Sales".to_owned());
        fact.tag = self.tag.then(|| format!("tag-{}", self.call));
        fact
    }
}

/// What is reported of a delivery.
#[derive(Debug, Clone)]
enum Came {
    Delivered { also_the_rest: bool, ticket: Option<i64>, answer: bool },
    Retry { after_s: u64, counts: bool, uncertain: bool, renewed: bool },
    Shelved,
    Released,
}

#[derive(Debug, Clone)]
enum Operation {
    Commit(Said),
    Take {
        sales: bool,
        channel: Channel,
        limit: usize,
    },
    Report(Index, Came),
    /// Of a lease that has ended.
    ReportLate(Index),
    Forward(u64),
    Replay(Option<Index>),
    Discard(Option<Index>),
    Reap,
    Sweep,
    Forget(u8),
    Restart,
    /// Facts and reports at once, and everything is cut off when so many of them are answered.
    CutOff {
        facts: Vec<Said>,
        report: Option<(Index, bool)>,
        answered: usize,
    },
}

fn said() -> impl Strategy<Value = Said> {
    use CallStatus::{Busy, Completed, InProgress, NoAnswer, Ringing, Trying};
    let names = select(vec![Names::CallSid, Names::CallId, Names::Both, Names::Both, Names::TakenCallId]);
    let source = select(vec![FactSource::CallHook, FactSource::StatusHook, FactSource::Record]);
    let status = option::weighted(0.9, select(vec![Trying, Ringing, InProgress, Completed, NoAnswer, Busy]));
    let leg = option::weighted(0.25, (0..2_u8, any::<bool>()));
    (0..3_u8, names, leg, source, status, option::weighted(0.4, 0..2_u8), prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(call, names, leg, source, status, client, for_sales, tag)| Said {
            call,
            names,
            leg,
            source,
            status,
            client,
            for_sales,
            tag,
        })
}

fn came() -> impl Strategy<Value = Came> {
    let delivered = (any::<bool>(), option::of(1..4_i64), any::<bool>())
        .prop_map(|(also_the_rest, ticket, answer)| Came::Delivered { also_the_rest, ticket, answer });
    let retry = (0..30_u64, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(after_s, counts, uncertain, renewed)| Came::Retry { after_s, counts, uncertain, renewed });
    prop_oneof![5 => delivered, 2 => retry, 1 => Just(Came::Shelved), 1 => Just(Came::Released)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let channel = select(vec![Channel::CallerLog, Channel::CallerLog, Channel::Ticket]);
    let index = any::<Index>;
    let cut_off = (vec(said(), 1..3), option::of((index(), any::<bool>())), 0..4_usize)
        .prop_map(|(facts, report, answered)| Operation::CutOff { facts, report, answered });
    prop_oneof![
        12 => said().prop_map(Operation::Commit),
        8 => (prop::bool::weighted(0.2), channel, 1..4_usize)
            .prop_map(|(sales, channel, limit)| Operation::Take { sales, channel, limit }),
        10 => (index(), came()).prop_map(|(which, came)| Operation::Report(which, came)),
        1 => index().prop_map(Operation::ReportLate),
        3 => (1..100_u64).prop_map(Operation::Forward),
        1 => option::of(index()).prop_map(Operation::Replay),
        1 => option::of(index()).prop_map(Operation::Discard),
        1 => Just(Operation::Reap),
        1 => Just(Operation::Sweep),
        1 => (0..2_u8).prop_map(Operation::Forget),
        1 => Just(Operation::Restart),
        2 => cut_off,
    ]
}

/// A store beside its model.
struct Machine<B> {
    bench: B,
    tickets: TicketMode,
    runtime: Runtime,
    store: Arc<dyn CallStore>,
    model: Model,
    /// Which of the model's records is which of the store's: a store may leave identities out.
    same: HashMap<RecordId, RecordId>,
    /// Leases that were given and not reported on, and those that were.
    under_way: Vec<DueDelivery>,
    ended: Vec<DueDelivery>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl<B: StoreBench> Machine<B> {
    fn new(bench: B, tickets: TicketMode) -> Self {
        let runtime = runtime();
        let store = runtime.block_on(bench.open(tickets));
        let model = Model::new(routes(tickets), tickets);
        Self { bench, tickets, runtime, store, model, same: HashMap::new(), under_way: Vec::new(), ended: Vec::new() }
    }

    fn run(mut self, operations: &[Operation]) {
        for operation in operations {
            self.step(operation);
            self.compare();
        }
        self.deliver_the_rest();
        self.runtime.block_on(self.store.close());
    }

    fn compare(&mut self) {
        let stored = self.stored();
        let known = self.same.keys().max().copied();
        let same = same(&stored, &self.model.calls());
        let same = same.unwrap_or_else(|| panic!("stored: {stored:#?}\nmodel: {:#?}", self.model.calls()));
        // Identities rise with the age of records, and none comes again.
        assert!(same.keys().all(|id| self.same.contains_key(id) || Some(*id) > known), "{same:?}, {known:?}");
        self.same.extend(same);
        let backlog = self.runtime.block_on(self.store.backlog()).unwrap();
        let pending: u64 = backlog.zammads.iter().map(|zammad| zammad.lanes_pending).sum();
        let shelved: u64 = backlog.zammads.iter().map(|zammad| zammad.lanes_shelved).sum();
        assert_eq!(pending, self.model.lanes_with(|lane| lane.due_at.is_some()));
        let is_shelved = |step: &StepView| step.state == StepState::Shelved;
        assert_eq!(shelved, self.model.lanes_with(|lane| lane.steps.iter().any(is_shelved)));
        assert_eq!(backlog.calls_open, stored.iter().filter(|call| call.record.end.is_none()).count() as u64);
        for call in &stored {
            for name in [call.record.call_sid.as_deref(), call.record.given_tag.as_deref()].into_iter().flatten() {
                let query = CallQuery { name: Some(name.to_owned()), limit: 100, ..CallQuery::default() };
                let found = self.runtime.block_on(self.store.calls(query)).unwrap().calls;
                assert!(found.iter().any(|found| found.id == call.id), "{name} does not lead to {:?}", call.id);
            }
        }
    }

    fn stored(&self) -> Vec<StoredCall> {
        let page = self.runtime.block_on(self.store.calls(CallQuery { limit: 500, ..CallQuery::default() })).unwrap();
        assert_eq!(page.next_before, None);
        page.calls
    }

    fn step(&mut self, operation: &Operation) {
        let now = self.bench.clock().now();
        match operation {
            Operation::Commit(said) => {
                let fact = said.fact(self.bench.clock());
                let committed = self.runtime.block_on(self.store.commit(fact.clone())).unwrap();
                let expected = self.model.commit(&fact, now);
                assert_eq!((committed.repeat, committed.new_record), (expected.repeat, expected.new_record));
                self.compare();
                assert_eq!(self.same[&committed.record], expected.record);
            }
            Operation::Take { sales, channel, limit } => {
                self.take(if *sales { "sales" } else { "default" }, *channel, *limit);
            }
            Operation::Report(which, came) => {
                if !self.under_way.is_empty() {
                    let due = self.under_way.remove(which.index(self.under_way.len()));
                    let outcome = self.outcome(&due, came);
                    self.report(due, outcome);
                }
            }
            Operation::ReportLate(which) => {
                if !self.ended.is_empty() {
                    let due = self.ended.remove(which.index(self.ended.len()));
                    let outcome = Outcome::Shelved { fault: "late".to_owned() };
                    self.report(due, outcome);
                }
            }
            Operation::Forward(seconds) => self.bench.clock().forward(Duration::from_secs(*seconds)),
            Operation::Replay(which) => {
                let (shelf, same) = self.shelf(which.as_ref());
                let replayed = self.runtime.block_on(self.store.replay(shelf, now)).unwrap();
                assert_eq!(replayed, self.model.replay(same, now));
            }
            Operation::Discard(which) => {
                let (shelf, same) = self.shelf(which.as_ref());
                let discarded = self.runtime.block_on(self.store.discard(shelf, now)).unwrap();
                assert_eq!(discarded, self.model.discard(same, now));
            }
            Operation::Reap => {
                let silent_since = now - LEASE;
                let reaped = self.runtime.block_on(self.store.reap(silent_since, now, 100)).unwrap();
                assert_eq!(reaped, self.model.reap(silent_since, now));
            }
            Operation::Sweep => {
                let before = now - LEASE;
                let swept = self.runtime.block_on(self.store.sweep(before, 100)).unwrap();
                assert_eq!(swept, self.model.sweep(before));
            }
            Operation::Forget(client) => {
                let client = format!("client-{client}");
                let mut forgotten = self.runtime.block_on(self.store.forget(&client)).unwrap();
                let mut expected = self.model.forget(&client);
                forgotten.tickets.sort_by_key(|(zammad, ticket)| (zammad.clone(), ticket.0));
                expected.tickets.sort_by_key(|(zammad, ticket)| (zammad.clone(), ticket.0));
                assert_eq!(forgotten, expected);
            }
            Operation::Restart => {
                self.runtime.block_on(self.store.close());
                self.reopen();
            }
            Operation::CutOff { facts, report, answered } => self.cut_off(facts, report.as_ref(), *answered),
        }
    }

    /// A part of the shelf, as the store names it and as the model does.
    fn shelf(&self, which: Option<&Index>) -> (Shelf, Shelf) {
        let calls = self.stored();
        let Some(which) = which.filter(|_| !calls.is_empty()) else { return (Shelf::All, Shelf::All) };
        let id = calls[which.index(calls.len())].id;
        let same = self.same[&id];
        if which.index(2) == 0 {
            (Shelf::Record(id), Shelf::Record(same))
        } else {
            (Shelf::Lane(id, Channel::CallerLog), Shelf::Lane(same, Channel::CallerLog))
        }
    }

    /// A delivery as the model names it.
    fn as_model(&self, due: &DueDelivery) -> DueDelivery {
        let mut same = due.clone();
        same.lease.record = self.same[&due.lease.record];
        same
    }

    fn take(&mut self, zammad: &str, channel: Channel, limit: usize) {
        let now = self.bench.clock().now();
        let request = TakeDue { zammad: zammad.into(), channel, limit, at_once: 100, now, lease_for: LEASE };
        let taken = self.runtime.block_on(self.store.take_due(request)).unwrap();
        let seen: Vec<ModelDue> = taken.deliveries.iter().map(|due| ModelDue::from(&self.as_model(due))).collect();
        assert_eq!(seen, self.model.due(zammad, channel, limit, now));
        for due in taken.deliveries {
            assert_eq!(due.lease.until, now + LEASE);
            self.model.lease(&self.as_model(&due));
            self.under_way.push(due);
        }
    }

    fn outcome(&self, due: &DueDelivery, came: &Came) -> Outcome {
        let is_ticket = due.lease.channel == Channel::Ticket;
        match came {
            Came::Delivered { also_the_rest, ticket, answer } => Outcome::Delivered {
                also: if *also_the_rest && is_ticket { due.pending } else { StepSet::EMPTY },
                answer: (*answer && !is_ticket).then(|| r#"{"action":"reject"}"#.to_owned()),
                ticket: ticket.filter(|_| is_ticket).map(TicketId),
            },
            Came::Retry { after_s, counts, uncertain, renewed } => Outcome::Retry {
                at: self.bench.clock().now() + Duration::from_secs(*after_s),
                fault: "HTTP 502".to_owned(),
                counts: *counts,
                uncertain: *uncertain,
                renewed: *renewed,
            },
            Came::Shelved => Outcome::Shelved { fault: "HTTP 422".to_owned() },
            Came::Released => Outcome::Released,
        }
    }

    fn report(&mut self, due: DueDelivery, outcome: Outcome) {
        let at = self.bench.clock().now();
        let report = DeliveryReport { lease: due.lease, step: due.step, at, outcome };
        let counted = self.runtime.block_on(self.store.report(report.clone())).unwrap();
        assert_eq!(counted, self.model.report(&self.as_model(&due), at, &report.outcome), "{report:?}");
        self.ended.push(due);
    }

    fn reopen(&mut self) {
        self.runtime.block_on(self.bench.settle());
        self.store = self.runtime.block_on(self.bench.open(self.tickets));
        self.model.release_all();
        // Who held leases is gone with its process, and reports nothing.
        self.under_way.clear();
        self.ended.clear();
    }

    /// What was answered is there, of the rest any part; and what is there is what some order of them makes.
    fn cut_off(&mut self, facts: &[Said], report: Option<&(Index, bool)>, answered: usize) {
        let now = self.bench.clock().now();
        let mut begun: Vec<Begun> =
            facts.iter().map(|said| Begun::Fact(Box::new(said.fact(self.bench.clock())))).collect();
        if let Some((which, delivered)) = report.filter(|_| !self.under_way.is_empty()) {
            let due = self.under_way.remove(which.index(self.under_way.len()));
            let outcome = if *delivered {
                Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None }
            } else {
                Outcome::Shelved { fault: "HTTP 422".to_owned() }
            };
            let report = DeliveryReport { lease: due.lease, step: due.step, at: now, outcome };
            begun.push(Begun::Report(Box::new(self.as_model(&due)), report));
        }
        let (answers, mut seen) = tokio::sync::mpsc::unbounded_channel();
        for (index, one) in begun.iter().cloned().enumerate() {
            let (store, answers) = (self.store.clone(), answers.clone());
            self.runtime.spawn(async move {
                let answer = match one {
                    Begun::Fact(fact) => Answer::Committed(store.commit(*fact).await.unwrap()),
                    Begun::Report(_, report) => Answer::Counted(store.report(report).await.unwrap()),
                };
                // Nobody hears it any more if everything was cut off meanwhile.
                let _ = answers.send((index, answer));
            });
        }
        drop(answers);
        let mut told = vec![None; begun.len()];
        for _ in 0..answered.min(begun.len()) {
            let (index, answer) = self.runtime.block_on(seen.recv()).unwrap();
            told[index] = Some(answer);
        }
        let (store, runtime) = (std::mem::replace(&mut self.store, Arc::new(nothing())), runtime());
        drop(store);
        std::mem::replace(&mut self.runtime, runtime).shutdown_timeout(Duration::from_secs(10));
        while let Ok((index, answer)) = seen.try_recv() {
            told[index] = Some(answer);
        }
        let before = self.model.clone();
        self.reopen();
        let stored = self.stored();
        for order in orders(begun.len(), &told) {
            let mut model = before.clone();
            let answers: Vec<_> = order.iter().map(|index| (*index, begun[*index].apply(&mut model, now))).collect();
            let Some(same) = same(&stored, &model.calls()) else { continue };
            if answers.iter().all(|(index, answer)| told[*index].is_none_or(|told| told.is(answer, &same))) {
                model.release_all();
                self.model = model;
                self.same.extend(same);
                return;
            }
        }
        panic!("of {begun:#?}, answered {told:?},\nnothing makes {stored:#?}\nof {:#?}", before.calls());
    }

    /// All that is due is told in order, whatever came before.
    fn deliver_the_rest(&mut self) {
        self.bench.clock().forward(LEASE * 10);
        self.ended.append(&mut self.under_way);
        let mut told: Vec<(RecordId, Step)> = Vec::new();
        for (zammad, channel) in ["sales", "default"]
            .into_iter()
            .flat_map(|zammad| [Channel::CallerLog, Channel::Ticket].into_iter().map(move |channel| (zammad, channel)))
        {
            loop {
                self.take(zammad, channel, 3);
                if self.under_way.is_empty() {
                    break;
                }
                for due in std::mem::take(&mut self.under_way) {
                    told.push((due.lease.record, due.step));
                    self.report(due, Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None });
                }
            }
        }
        self.compare();
        assert_eq!(self.model.lanes_with(|lane| lane.due_at.is_some()), 0);
        for (index, (record, step)) in told.iter().enumerate() {
            let later = told[index + 1..].iter();
            let own = later.filter(|(other, next)| other == record && next.channel() == step.channel());
            assert!(own.map(|(_, next)| next).all(|next| next > step), "{told:?}");
        }
    }
}

/// Something that was asked for when everything was cut off.
#[derive(Debug, Clone)]
enum Begun {
    Fact(Box<CallFact>),
    Report(Box<DueDelivery>, DeliveryReport),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Committed(Committed),
    Counted(bool),
}

impl Answer {
    /// Whether it is what the model says. Of a record that is gone since, the identity is not known.
    fn is(&self, expected: &Self, same: &HashMap<RecordId, RecordId>) -> bool {
        let (Self::Committed(own), Self::Committed(expected)) = (self, expected) else { return self == expected };
        (own.repeat, own.new_record) == (expected.repeat, expected.new_record)
            && same.get(&own.record).is_none_or(|record| *record == expected.record)
    }
}

/// Which of the stored records is which of the model's, if they are the same otherwise. Both are listed by age.
fn same(stored: &[StoredCall], model: &[StoredCall]) -> Option<HashMap<RecordId, RecordId>> {
    let alike = |(own, other): (&StoredCall, &StoredCall)| own.record == other.record && own.lanes == other.lanes;
    let is_same = stored.len() == model.len() && stored.iter().zip(model).all(alike);
    is_same.then(|| stored.iter().zip(model).map(|(own, other)| (own.id, other.id)).collect())
}

impl Begun {
    fn apply(&self, model: &mut Model, now: codex_zammad_bridge::clock::UnixMillis) -> Answer {
        match self {
            Self::Fact(fact) => Answer::Committed(model.commit(fact, now)),
            Self::Report(due, report) => Answer::Counted(model.report(due, now, &report.outcome)),
        }
    }
}

/// Every order of every part of `count` things that has all those that were answered.
fn orders(count: usize, told: &[Option<Answer>]) -> Vec<Vec<usize>> {
    fn extend(order: &[usize], count: usize, all: &mut Vec<Vec<usize>>) {
        all.push(order.to_vec());
        for next in (0..count).filter(|next| !order.contains(next)) {
            extend(&[order, &[next]].concat(), count, all);
        }
    }
    let mut all = Vec::new();
    extend(&[], count, &mut all);
    all.retain(|order| (0..count).all(|index| told[index].is_none() || order.contains(&index)));
    all
}

/// In the place of a store that was cut off.
fn nothing() -> impl CallStore {
    let fault = codex_zammad_bridge::Error::StoreRefuses { reason: "closing" };
    codex_zammad_bridge::store::UnavailableStore::new(fault, crate::bench::T0)
}

fn check<B: StoreBench>(cases: u32, seed: RngSeed, bench: impl Fn() -> B) {
    let config = ProptestConfig { cases, rng_seed: seed, failure_persistence: None, ..ProptestConfig::default() };
    let runs = (select(vec![TicketMode::Off, TicketMode::Missed, TicketMode::All]), vec(operation(), 1..MAX_STEPS));
    let checked = TestRunner::new(config).run(&runs, |(tickets, operations)| {
        Machine::new(bench(), tickets).run(&operations);
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

/// A bench for each run on one server.
fn on_postgres(cases: u32, seed: RngSeed) {
    let Some(server) = PostgresServer::start_if_installed() else { return };
    let runs = std::cell::Cell::new(0_u32);
    check(cases, seed, || {
        runs.set(runs.get() + 1);
        PostgresBench::new(&server, &format!("run_{}", runs.get()))
    });
}

/// The soak's share of so many cases.
fn soak_cases(all: f64) -> u32 {
    let share: f64 = std::env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and some thousands")]
    let cases = (all * share).ceil().clamp(1.0, all) as u32;
    cases
}

#[test]
fn random_operations_leave_what_the_model_has_in_a_file() {
    check(CASES, RngSeed::Fixed(6), SqliteBench::new);
}

#[test]
fn random_operations_leave_what_the_model_has_in_postgres() {
    on_postgres(POSTGRES_CASES, RngSeed::Fixed(9));
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn soak_random_operations_leave_what_the_model_has_in_a_file() {
    check(soak_cases(SOAK_CASES), RngSeed::Random, SqliteBench::new);
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn soak_random_operations_leave_what_the_model_has_in_postgres() {
    on_postgres(soak_cases(POSTGRES_SOAK_CASES), RngSeed::Random);
}
