//! A link: one Zammad on one channel. Takes what is due, sends it, reports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core_sip::random::Random;
use serde::Serialize;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::backoff::full_jitter;
use super::caller_log::{self, Failed};
use super::circuit::{Circuit, CircuitState};
use super::port::{DeliveryFault, FaultScope, Zammad};
use super::settings::ZammadSettings;
use super::tickets::{self, Customers};
use crate::call_book::{Channel, Step, StepSet};
use crate::clock::{Clock, UnixMillis};
use crate::metrics::{Delivery, Metrics};
use crate::record::zammad_call_id;
use crate::store::{CallStore, DeliveryReport, DueDelivery, Outcome, TakeDue, ZammadName};

/// How many requests one step may take, each with its own time limit.
const STEP_REQUESTS: u32 = 6;
/// How long a lease holds, in times of one request's limit: a step takes some, and waits for its turn.
const LEASE_REQUESTS: u32 = 10;
/// How long a lease holds at least.
const MIN_LEASE: Duration = Duration::from_secs(120);
/// How long to wait when the store fails, and at most without looking for work.
const STORE_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a report is tried while the bridge is stopping and the store fails.
const LAST_REPORT_TRIES: u32 = 5;
/// How long after a ticket that may have been made without our knowing it is looked for again: search servers take a few
/// seconds to find what is new.
const SEARCH_LAG: Duration = Duration::from_secs(15);

/// How much later than the circuit's next try a call is due that ended in an outage before.
const PROBE_OF_ANOTHER: Duration = Duration::from_millis(1);

/// What a link shares with the other links to its Zammad.
pub(super) struct Door {
    pub(super) zammad: Arc<dyn Zammad>,
    pub(super) settings: ZammadSettings,
    /// One permit for each request that may be under way.
    pub(super) slots: Arc<Semaphore>,
    pub(super) pace: Pace,
    pub(super) customers: Customers,
    /// When the bridge started: what was wanted before may have been sent before.
    pub(super) started_at: UnixMillis,
    /// The caller log as it was then.
    pub(super) log_at_start: OnceCell<HashMap<String, String>>,
}

/// How many requests may begin in a second.
#[derive(Debug)]
pub(super) struct Pace {
    /// Microseconds between two.
    interval: Option<u64>,
    /// When the next may begin, in microseconds since 1970.
    next: Mutex<u64>,
}

impl Pace {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let interval = per_second.filter(|rate| *rate > 0).map(|rate| 1_000_000 / u64::from(rate));
        Self { interval, next: Mutex::new(0) }
    }

    /// How long the caller, who takes the next turn, has to wait for it.
    fn turn(&self, now: UnixMillis) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        let now = u64::try_from(now.as_millis()).unwrap_or(0).saturating_mul(1000);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + interval;
        Duration::from_micros(turn - now)
    }
}

/// What a link has done since the bridge started.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) under_way: AtomicU64,
    inner: Mutex<Counted>,
}

#[derive(Debug, Default, Clone)]
struct Counted {
    spared: u64,
    renewed: u64,
    last_delivered_at: Option<UnixMillis>,
}

impl Meter {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a link, for metrics and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// The Zammad's name.
    pub zammad: ZammadName,
    /// The channel.
    pub channel: Channel,
    /// Whether requests go out.
    pub circuit: CircuitState,
    /// Deliveries under way.
    pub under_way: u64,
    /// Steps that were found in Zammad's caller log and not sent again.
    pub spared: u64,
    /// How often newCall was sent again because Zammad did not know a call.
    pub renewed: u64,
    /// When Zammad last acknowledged a step.
    pub last_delivered_at: Option<UnixMillis>,
}

pub(super) struct Link {
    pub(super) door: Arc<Door>,
    pub(super) channel: Channel,
    pub(super) store: Arc<dyn CallStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Mutex<Box<dyn Random>>,
    pub(super) circuit: Mutex<Circuit>,
    pub(super) meter: Meter,
    pub(super) metrics: Arc<Metrics>,
}

impl Link {
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> LinkStatus {
        let counted = self.meter.counted().clone();
        LinkStatus {
            zammad: self.door.settings.name.clone(),
            channel: self.channel,
            circuit: self.circuit().state().clone(),
            under_way: self.meter.under_way.load(Ordering::Relaxed),
            spared: counted.spared,
            renewed: counted.renewed,
            last_delivered_at: counted.last_delivered_at,
        }
    }

    /// Delivers until `stop` turns true; then what is under way is finished.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut due_signal = self.store.due_signal();
        let mut under_way = JoinSet::new();
        let lease_for = (self.door.settings.request_timeout * LEASE_REQUESTS).max(MIN_LEASE);
        loop {
            while under_way.try_join_next().is_some() {}
            if *stop.borrow_and_update() {
                break;
            }
            let (room, mut wake) = self.room(under_way.len());
            let mut slots = Vec::new();
            if room > 0 {
                tokio::select! {
                    taken = self.slots(under_way.len()) => slots = taken,
                    _ = stop.changed() => {}
                }
                if slots.is_empty() {
                    continue;
                }
            }
            if !slots.is_empty() {
                due_signal.borrow_and_update();
                let now = self.clock.now();
                let request = TakeDue {
                    zammad: self.door.settings.name.clone(),
                    channel: self.channel,
                    limit: slots.len(),
                    at_once: self.door.settings.concurrency.max(1),
                    now,
                    lease_for,
                };
                match self.store.take_due(request).await {
                    Ok(taken) => {
                        let filled = taken.deliveries.len() >= slots.len();
                        for (due, slot) in taken.deliveries.into_iter().zip(slots.drain(..)) {
                            under_way.spawn(self.clone().deliver(due, slot, stop.clone()));
                        }
                        // With all places taken, the next one that is free looks again.
                        wake = if filled { None } else { taken.next_due };
                    }
                    Err(error) => {
                        tracing::warn!(zammad = %self.door.settings.name, %error, "what is due cannot be read");
                        wake = Some(now + STORE_PAUSE);
                    }
                }
            }
            // What nothing was due for is for the other channel.
            drop(slots);
            let nap = wake.map_or(LONGEST_WAIT, |at| at.saturating_since(self.clock.now())).min(LONGEST_WAIT);
            // A millisecond at least: what is due by a clock that stands between two of its ticks is due at the next.
            let nap = nap.max(Duration::from_millis(1));
            tokio::select! {
                Some(_) = under_way.join_next() => {}
                changed = due_signal.changed(), if room > 0 => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(nap), if wake.is_some() || under_way.is_empty() => {}
                _ = stop.changed() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// How many deliveries may begin, and when to look again if none may.
    fn room(&self, under_way: usize) -> (usize, Option<UnixMillis>) {
        let circuit = self.circuit();
        (circuit.permits(self.clock.now(), under_way), circuit.retry_at())
    }

    /// Waits until a request may be under way, and takes what else is free, as far as there is room. Only then is a
    /// lease taken: one that waits for its turn would keep its lane from others.
    async fn slots(&self, under_way: usize) -> Vec<OwnedSemaphorePermit> {
        let Ok(first) = self.door.slots.clone().acquire_owned().await else { return Vec::new() };
        // The circuit may have opened meanwhile.
        let (room, _) = self.room(under_way);
        let more = std::iter::repeat_with(|| self.door.slots.clone().try_acquire_owned().ok()).map_while(|slot| slot);
        std::iter::once(first).chain(more).take(room).collect()
    }

    /// `slot` is held until the report is on disk: what is under way when the process dies is never more than the slots.
    async fn deliver(self: Arc<Self>, due: DueDelivery, slot: OwnedSemaphorePermit, stop: watch::Receiver<bool>) {
        let wait = self.door.pace.turn(self.clock.now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        // A machine that slept, or a long wait for the turn: whoever has the lane then must find nothing under way.
        let longest = self.door.settings.request_timeout * STEP_REQUESTS;
        let outcome = if *stop.borrow() || !self.store.may_begin(&due.lease, self.clock.now() + longest) {
            Outcome::Released
        } else {
            self.meter.under_way.fetch_add(1, Ordering::Relaxed);
            let outcome = self.attempt(&due).await;
            self.meter.under_way.fetch_sub(1, Ordering::Relaxed);
            outcome
        };
        self.report(&due, outcome, &stop).await;
        drop(slot);
    }

    async fn attempt(&self, due: &DueDelivery) -> Outcome {
        let began = self.clock.now();
        // Of what was wanted before the start nobody knows whether it was under way when the process ended.
        let may_be_there = due.uncertain || due.wanted_since < self.door.started_at;
        let result = match self.channel {
            Channel::CallerLog if may_be_there && self.is_in_caller_log(due).await => {
                self.meter.counted().spared += 1;
                Ok(Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None })
            }
            Channel::CallerLog => {
                let told = caller_log::tell(&*self.door.zammad, &self.door.settings, due).await;
                told.map(|told| Outcome::Delivered { also: StepSet::EMPTY, answer: told.action, ticket: None })
            }
            Channel::Ticket => {
                let filed =
                    tickets::file(&*self.door.zammad, &self.door.settings, &self.door.customers, due, may_be_there);
                let filed = filed.await.map_err(|fault| Failed { fault, renewed: false });
                filed.map(|filed| Outcome::Delivered { also: filed.also, answer: None, ticket: Some(filed.ticket) })
            }
        };
        let now = self.clock.now();
        match result {
            Ok(outcome) => {
                self.succeeded(due, now.saturating_since(began), now);
                outcome
            }
            Err(failed) => self.failed(due, failed, now.saturating_since(began), now),
        }
    }

    /// Whether Zammad's caller log has the step: as it was at the start, or, after a try whose answer never came, as it
    /// is now. If the log cannot be read, it proves nothing.
    async fn is_in_caller_log(&self, due: &DueDelivery) -> bool {
        let zammad = &self.door.zammad;
        let call_id = zammad_call_id(&due.record);
        let read = || async {
            let rows = zammad.caller_log().await.unwrap_or_else(|fault| {
                tracing::debug!(%fault, "the caller log cannot be read; what is uncertain is sent again");
                Vec::new()
            });
            // Newest first: of a call with several rows the newest counts.
            rows.into_iter().rev().map(|row| (row.call_id, row.state)).collect::<HashMap<_, _>>()
        };
        if due.uncertain {
            return read().await.get(&call_id).is_some_and(|state| caller_log::proves(state, due.step));
        }
        let log = self.door.log_at_start.get_or_init(read).await;
        log.get(&call_id).is_some_and(|state| caller_log::proves(state, due.step))
    }

    fn succeeded(&self, due: &DueDelivery, took: Duration, now: UnixMillis) {
        let name = &self.door.settings.name;
        if self.circuit().succeeded(due.lease.record) {
            tracing::info!(zammad = %name, channel = ?self.channel, "Zammad takes calls again");
        }
        let lag = now.saturating_since(due.wanted_since);
        self.metrics.delivery(name, due.step, Delivery::Delivered, took, lag);
        self.metrics.circuit(name, self.channel, false);
        self.meter.counted().last_delivered_at = Some(now);
        let took_ms = took.as_millis();
        tracing::debug!(zammad = %name, tag = %due.record.tag(), step = due.step.name(), took_ms, "delivered");
    }

    fn failed(&self, due: &DueDelivery, failed: Failed, took: Duration, now: UnixMillis) -> Outcome {
        let Failed { fault, renewed } = failed;
        let settings = &self.door.settings;
        let (counts, again, opened, retry_at, wait) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let mut circuit = self.circuit();
            let was_closed = *circuit.state() == CircuitState::Closed;
            let again = circuit.is_blamed(due.lease.record);
            let counts = circuit.failed(&fault, due.lease.record, now, &mut **random);
            let opened = was_closed && *circuit.state() != CircuitState::Closed;
            let failures = due.attempts.saturating_add(1);
            let wait = full_jitter(&mut **random, settings.backoff_initial, settings.backoff_cap, failures);
            (counts, again, opened, circuit.retry_at(), wait)
        };
        let tag = due.record.tag();
        if opened && fault.scope == FaultScope::Refusal {
            tracing::error!(zammad = %settings.name, channel = ?self.channel, %fault,
                "Zammad refuses calls; they are kept until this is put right");
        } else if opened {
            tracing::warn!(zammad = %settings.name, channel = ?self.channel, %fault,
                "Zammad cannot take calls; they are kept until it can");
        } else {
            tracing::debug!(zammad = %settings.name, %tag, step = due.step.name(), %fault, "not delivered");
        }
        let shelve = fault.scope == FaultScope::Poison
            || (counts && due.attempts.saturating_add(1) >= settings.max_attempts.max(1));
        self.meter.counted().renewed += u64::from(renewed);
        let outcome = if shelve { Delivery::Shelved } else { Delivery::Retry };
        self.metrics.delivery(&settings.name, due.step, outcome, took, now.saturating_since(due.wanted_since));
        self.metrics.circuit(&settings.name, self.channel, *self.circuit().state() != CircuitState::Closed);
        if shelve {
            tracing::warn!(zammad = %settings.name, %tag, step = due.step.name(), %fault, "on the dead-letter shelf");
            return Outcome::Shelved { fault: fault.to_string() };
        }
        let at = match fault.scope {
            // The request itself may be what stops Zammad: when the circuit tries again, another call goes first.
            FaultScope::Outage if again => {
                let at = (now + wait).max(retry_at.unwrap_or(now) + PROBE_OF_ANOTHER);
                if self.must_wait_for_search(due, &fault) { at.max(now + SEARCH_LAG) } else { at }
            }
            // The circuit says when; the place in the queue is kept.
            FaultScope::Outage | FaultScope::Refusal if !self.must_wait_for_search(due, &fault) => due.wanted_since,
            FaultScope::Outage | FaultScope::Refusal => now + SEARCH_LAG,
            // Others have their turn meanwhile.
            FaultScope::Event | FaultScope::Poison => {
                let at = now + wait.max(fault.retry_after.unwrap_or_default());
                if self.must_wait_for_search(due, &fault) { at.max(now + SEARCH_LAG) } else { at }
            }
        };
        Outcome::Retry { at, fault: fault.to_string(), counts, uncertain: fault.uncertain, renewed }
    }

    fn must_wait_for_search(&self, due: &DueDelivery, fault: &DeliveryFault) -> bool {
        due.step == Step::OpenTicket && (fault.uncertain || due.uncertain)
    }

    /// Reports until the store has it: what Zammad acknowledged must not be sent again.
    async fn report(&self, due: &DueDelivery, outcome: Outcome, stop: &watch::Receiver<bool>) {
        let report = DeliveryReport { lease: due.lease, step: due.step, at: self.clock.now(), outcome };
        let mut last_tries = 0;
        loop {
            match self.store.report(report.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(zammad = %self.door.settings.name, tag = %due.record.tag(),
                        step = due.step.name(), "a report came after its lease or its call was gone");
                    return;
                }
                Err(error) => {
                    tracing::warn!(zammad = %self.door.settings.name, tag = %due.record.tag(),
                        step = due.step.name(), %error, "a delivery cannot be noted yet");
                    last_tries += u32::from(*stop.borrow());
                    if last_tries > LAST_REPORT_TRIES {
                        return;
                    }
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }
}
