//! The circuit to one Zammad on one channel: shut while it takes nothing, so that a queue is not burned against a door
//! that is closed.

use core::time::Duration;

use codex_core_sip::random::Random;
use serde::Serialize;

use super::backoff::half_jitter;
use super::port::{DeliveryFault, FaultScope};
use crate::clock::UnixMillis;
use crate::store::RecordId;

/// The ceiling of the wait after the first outage, and of every one.
const OUTAGE_INITIAL: Duration = Duration::from_millis(500);
const OUTAGE_CAP: Duration = Duration::from_secs(30);
/// Likewise after a refusal, which only a person can end.
const REFUSAL_INITIAL: Duration = Duration::from_secs(5);
const REFUSAL_CAP: Duration = Duration::from_secs(120);
/// How many events in a row, of as many calls, may fail for their own sake before it is taken for Zammad's fault.
const FAULTS_IN_A_ROW: usize = 5;
/// How many calls are remembered whose requests ended in an outage.
const MAX_BLAMED: usize = 64;

/// Whether requests go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CircuitState {
    /// Requests go out.
    Closed,
    /// None does, but for one that tries again at `retry_at`.
    Open {
        /// Since when.
        since: UnixMillis,
        /// When the next one tries.
        retry_at: UnixMillis,
        /// Whether only a person can end it.
        refused: bool,
        /// Why, and what to do.
        reason: String,
    },
}

/// A call whose request ended in an outage.
#[derive(Debug)]
struct Blamed {
    record: RecordId,
    /// Whether another call's request succeeded after that: then a second outage may be of this call's making.
    others_succeeded: bool,
}

#[derive(Debug)]
pub(super) struct Circuit {
    state: CircuitState,
    /// Failures since the last success.
    failures: u32,
    /// The last calls whose events failed for their own sake, without a success since.
    suspects: Vec<RecordId>,
    /// The last calls whose requests ended in an outage, oldest first, until theirs succeed.
    blamed: Vec<Blamed>,
    /// How many requests may be under way; grows from 1 after an outage.
    window: usize,
    concurrency: usize,
}

impl Circuit {
    pub(super) const fn new(concurrency: usize) -> Self {
        Self {
            state: CircuitState::Closed,
            failures: 0,
            suspects: Vec::new(),
            blamed: Vec::new(),
            window: concurrency,
            concurrency,
        }
    }

    pub(super) const fn state(&self) -> &CircuitState {
        &self.state
    }

    /// How many requests may be begun at `now`, with `under_way` that have begun.
    pub(super) fn permits(&self, now: UnixMillis, under_way: usize) -> usize {
        match &self.state {
            CircuitState::Closed => self.window.saturating_sub(under_way),
            CircuitState::Open { retry_at, .. } => usize::from(under_way == 0 && now >= *retry_at),
        }
    }

    /// When to look again, if nothing happens before.
    pub(super) const fn retry_at(&self) -> Option<UnixMillis> {
        match &self.state {
            CircuitState::Closed => None,
            CircuitState::Open { retry_at, .. } => Some(*retry_at),
        }
    }

    /// Whether a request of this call ended in an outage before, and none succeeded since: others have their turn first.
    pub(super) fn is_blamed(&self, record: RecordId) -> bool {
        self.blamed.iter().any(|blamed| blamed.record == record)
    }

    /// Notes an outage on a call. Whether it is the call's own: it stops Zammad again after others were taken.
    fn blame(&mut self, fault: &DeliveryFault, record: RecordId) -> bool {
        // What certainly did not arrive, or was turned away unread, no call can be the reason of.
        let may_be_its_own = fault.uncertain && !matches!(fault.status, Some(429 | 503));
        if let Some(blamed) = self.blamed.iter_mut().find(|blamed| blamed.record == record) {
            return std::mem::take(&mut blamed.others_succeeded) && may_be_its_own;
        }
        if self.blamed.len() >= MAX_BLAMED {
            self.blamed.remove(0);
        }
        self.blamed.push(Blamed { record, others_succeeded: false });
        false
    }

    /// Zammad took something of this call. Whether that closed the circuit.
    pub(super) fn succeeded(&mut self, record: RecordId) -> bool {
        self.blamed.retain(|blamed| blamed.record != record);
        self.blamed.iter_mut().for_each(|blamed| blamed.others_succeeded = true);
        let was_open = self.state != CircuitState::Closed;
        self.failures = 0;
        self.suspects.clear();
        self.window = if was_open { 1 } else { (self.window + 1).min(self.concurrency) };
        self.state = CircuitState::Closed;
        was_open
    }

    /// Zammad did not take something. Whether the fault counts against the event.
    pub(super) fn failed(
        &mut self,
        fault: &DeliveryFault,
        record: RecordId,
        now: UnixMillis,
        random: &mut dyn Random,
    ) -> bool {
        match fault.scope {
            // An answer that condemns this event alone is a sign of life.
            FaultScope::Poison => {
                self.succeeded(record);
                true
            }
            FaultScope::Event => {
                if !self.suspects.contains(&record) {
                    self.suspects.push(record);
                }
                if self.suspects.len() < FAULTS_IN_A_ROW {
                    return true;
                }
                self.suspects.truncate(FAULTS_IN_A_ROW);
                self.open(fault, now, OUTAGE_INITIAL, OUTAGE_CAP, random);
                false
            }
            FaultScope::Outage => {
                let own = self.blame(fault, record);
                self.open(fault, now, OUTAGE_INITIAL, OUTAGE_CAP, random);
                own
            }
            FaultScope::Refusal => {
                self.open(fault, now, REFUSAL_INITIAL, REFUSAL_CAP, random);
                false
            }
        }
    }

    fn open(
        &mut self,
        fault: &DeliveryFault,
        now: UnixMillis,
        initial: Duration,
        cap: Duration,
        random: &mut dyn Random,
    ) {
        // What was under way together fails together: that is one failure.
        if let CircuitState::Open { retry_at, reason, .. } = &mut self.state
            && now < *retry_at
        {
            if let Some(wait) = fault.retry_after {
                *retry_at = (*retry_at).max(now + wait);
            }
            *reason = fault.to_string();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = half_jitter(random, initial, cap, self.failures).max(fault.retry_after.unwrap_or_default());
        let since = match &self.state {
            CircuitState::Open { since, .. } => *since,
            CircuitState::Closed => now,
        };
        self.window = 1;
        self.state = CircuitState::Open {
            since,
            retry_at: now + wait,
            refused: fault.scope == FaultScope::Refusal,
            reason: fault.to_string(),
        };
    }
}

#[cfg(test)]
mod tests {
    use codex_core_sip::random::SeededRandom;

    use super::*;

    fn fault(scope: FaultScope) -> DeliveryFault {
        DeliveryFault {
            zammad: "default".to_owned(),
            scope,
            status: None,
            problem: "no".to_owned(),
            remedy: None,
            retry_after: None,
            uncertain: false,
        }
    }

    const T0: UnixMillis = UnixMillis::new(1_000_000);

    #[test]
    fn an_outage_stops_all_and_one_probe_at_a_time_ends_it() {
        let (mut circuit, mut random) = (Circuit::new(3), SeededRandom::new(1));
        assert_eq!(circuit.permits(T0, 1), 2);
        assert!(!circuit.failed(&fault(FaultScope::Outage), RecordId(1), T0, &mut random));
        assert_eq!(circuit.permits(T0, 0), 0);
        let retry_at = circuit.retry_at().unwrap();
        assert!(retry_at > T0 && retry_at <= T0 + OUTAGE_INITIAL);
        assert_eq!((circuit.permits(retry_at, 0), circuit.permits(retry_at, 1)), (1, 0));
        assert!(circuit.succeeded(RecordId(1)));
        // From one at a time back to three.
        assert_eq!(circuit.permits(retry_at, 0), 1);
        assert!(!circuit.succeeded(RecordId(1)));
        assert!(!circuit.succeeded(RecordId(1)));
        assert!(!circuit.succeeded(RecordId(1)));
        assert_eq!(circuit.permits(retry_at, 0), 3);
    }

    #[test]
    fn requests_that_fail_together_count_once_and_waits_grow_to_their_cap() {
        let (mut circuit, mut random) = (Circuit::new(3), SeededRandom::new(2));
        let mut now = T0;
        for round in 0..12 {
            for record in 0..3 {
                circuit.failed(&fault(FaultScope::Outage), RecordId(record), now, &mut random);
            }
            let retry_at = circuit.retry_at().unwrap();
            let ceiling = OUTAGE_INITIAL.saturating_mul(1 << round).min(OUTAGE_CAP);
            assert!(retry_at <= now + ceiling && retry_at >= now + ceiling / 2 - Duration::from_millis(1), "{round}");
            now = retry_at;
        }
        assert!(matches!(circuit.state(), CircuitState::Open { since, refused: false, .. } if *since == T0));
    }

    #[test]
    fn a_wait_that_zammad_asks_for_is_kept() {
        let (mut circuit, mut random) = (Circuit::new(3), SeededRandom::new(3));
        let asked = DeliveryFault { retry_after: Some(Duration::from_secs(77)), ..fault(FaultScope::Outage) };
        circuit.failed(&fault(FaultScope::Outage), RecordId(1), T0, &mut random);
        circuit.failed(&asked, RecordId(2), T0, &mut random);
        assert_eq!(circuit.retry_at(), Some(T0 + Duration::from_secs(77)));
    }

    #[test]
    fn faults_of_single_events_count_against_them_until_everything_fails() {
        let (mut circuit, mut random) = (Circuit::new(3), SeededRandom::new(4));
        // One call that fails for ever never stops the others.
        for _ in 0..50 {
            assert!(circuit.failed(&fault(FaultScope::Event), RecordId(1), T0, &mut random));
        }
        for record in 2..5 {
            assert!(circuit.failed(&fault(FaultScope::Event), RecordId(record), T0, &mut random));
        }
        assert!(!circuit.failed(&fault(FaultScope::Event), RecordId(5), T0, &mut random));
        assert_eq!(circuit.permits(T0, 0), 0);
        // A sign of life, be it a refusal of one event for good, ends it.
        assert!(circuit.failed(&fault(FaultScope::Poison), RecordId(6), T0, &mut random));
        assert_eq!(circuit.permits(T0, 0), 1);
    }

    #[test]
    fn an_outage_counts_against_a_call_that_brings_it_back_after_others_succeeded() {
        let (mut circuit, mut random) = (Circuit::new(3), SeededRandom::new(5));
        let (poison, other) = (RecordId(1), RecordId(2));
        let silent = DeliveryFault { uncertain: true, ..fault(FaultScope::Outage) };
        assert!(!circuit.is_blamed(poison));
        // As long as nothing succeeds, it is Zammad's.
        for _ in 0..20 {
            assert!(!circuit.failed(&silent, poison, T0, &mut random));
            assert!(circuit.is_blamed(poison));
        }
        circuit.succeeded(other);
        assert!(circuit.failed(&silent, poison, T0, &mut random));
        assert!(!circuit.failed(&silent, poison, T0, &mut random));
        // What says that Zammad is overloaded, or cannot be reached, is never the call's.
        for status in [None, Some(429), Some(503)] {
            circuit.succeeded(other);
            let uncertain = status.is_some();
            let turned_away = DeliveryFault { status, uncertain, ..fault(FaultScope::Outage) };
            assert!(!circuit.failed(&turned_away, poison, T0, &mut random), "{status:?}");
        }
        circuit.succeeded(poison);
        assert!(!circuit.is_blamed(poison));
    }
}
