//! What the receiving side counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Everything that is counted since the start.
#[derive(Debug, Default)]
pub struct ReceiveCounters {
    /// `call_hook` requests that were let in.
    pub call_hooks: Counter,
    /// Of these, calls that went on before their facts were on disk: the store failed or was too slow.
    pub calls_uncommitted: Counter,
    /// Of these, calls whose payload could not be read; they were passed on all the same.
    pub call_hooks_unreadable: Counter,
    /// Calls that got the application's verbs.
    pub upstream_answered: Counter,
    /// Calls that got the fallback verbs, or an error, because the application failed.
    pub upstream_failed: Counter,
    /// Calls that got them because the application was too slow.
    pub upstream_slow: Counter,
    /// Status events committed.
    pub status_events: Counter,
    /// Of these, repeats that said nothing new.
    pub status_repeats: Counter,
    /// Status events that were answered 503 because the store failed.
    pub status_store_faults: Counter,
    /// Status events that could not be read or named no call.
    pub status_unreadable: Counter,
    /// Status events passed on and taken.
    pub status_forwards_answered: Counter,
    /// Status events passed on in vain.
    pub status_forwards_failed: Counter,
    /// Status events that were not passed on because too many waited.
    pub status_forwards_dropped: Counter,
    /// Reports of other programs committed.
    pub reports: Counter,
    /// Reports that were refused: unreadable, unauthorised, or the store failed.
    pub reports_refused: Counter,
    /// Hook requests that were not let in: signature or login missing or wrong.
    pub unauthenticated: Counter,
    /// Requests larger than they may be, or whose body did not arrive in time.
    pub bodies_refused: Counter,
    /// Requests passed on to the application's other paths.
    pub proxied: Counter,
    /// Of these, those without an answer.
    pub proxy_failed: Counter,
    /// Of these, those refused because too many were under way.
    pub proxy_refused: Counter,
}

impl ReceiveCounters {
    /// Every counter with its name, as metrics show it without prefix and unit.
    #[must_use]
    pub fn snapshot(&self) -> [(&'static str, u64); 20] {
        [
            ("call_hooks", self.call_hooks.get()),
            ("calls_uncommitted", self.calls_uncommitted.get()),
            ("call_hooks_unreadable", self.call_hooks_unreadable.get()),
            ("upstream_answered", self.upstream_answered.get()),
            ("upstream_failed", self.upstream_failed.get()),
            ("upstream_slow", self.upstream_slow.get()),
            ("status_events", self.status_events.get()),
            ("status_repeats", self.status_repeats.get()),
            ("status_store_faults", self.status_store_faults.get()),
            ("status_unreadable", self.status_unreadable.get()),
            ("status_forwards_answered", self.status_forwards_answered.get()),
            ("status_forwards_failed", self.status_forwards_failed.get()),
            ("status_forwards_dropped", self.status_forwards_dropped.get()),
            ("reports", self.reports.get()),
            ("reports_refused", self.reports_refused.get()),
            ("unauthenticated", self.unauthenticated.get()),
            ("bodies_refused", self.bodies_refused.get()),
            ("proxied", self.proxied.get()),
            ("proxy_failed", self.proxy_failed.get()),
            ("proxy_refused", self.proxy_refused.get()),
        ]
    }
}
