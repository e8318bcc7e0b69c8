//! What stores are opened on, a clock that stands still, and the words that all tests use.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, FactSource, Step, StepSet, TicketMode};
use codex_zammad_bridge::clock::{Clock, UnixMillis};
use codex_zammad_bridge::store::{
    CallStore, DeliveryReport, DueDelivery, Outcome, RecordId, Route, Routes, SqliteSettings, SqliteStore, TakeDue,
    Taken,
};

pub(crate) const T0: UnixMillis = UnixMillis::new(1_795_330_000_000);
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A clock that is put forward by the test.
pub(crate) struct HandClock(pub(crate) AtomicI64);

impl HandClock {
    pub(crate) fn forward(&self, by: Duration) {
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
pub(crate) trait StoreBench: Send + Sync {
    async fn open(&self, tickets: TicketMode) -> Arc<dyn CallStore>;
    /// Sees to it that nothing is left of processes that ended: neither what they had begun nor what they held.
    async fn settle(&self);
    fn clock(&self) -> &HandClock;
}

pub(crate) struct SqliteBench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<HandClock>,
}

impl SqliteBench {
    pub(crate) fn new() -> Self {
        // In memory where that can be: what is looked at here is order, not the disk.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap(), clock: Arc::new(HandClock(AtomicI64::new(T0.as_millis()))) }
    }

    pub(crate) fn settings(&self) -> SqliteSettings {
        SqliteSettings { path: self.folder.path().join("calls.db") }
    }
}

pub(crate) fn routes(tickets: TicketMode) -> Routes {
    let other = Route { zammad: "sales".into(), applications: vec!["Sales".to_owned()], tickets };
    let all = Route { zammad: "default".into(), applications: Vec::new(), tickets };
    Routes { routes: vec![other, all] }
}

#[async_trait]
impl StoreBench for SqliteBench {
    async fn open(&self, tickets: TicketMode) -> Arc<dyn CallStore> {
        Arc::new(SqliteStore::open(&self.settings(), routes(tickets), self.clock.clone()).await.unwrap())
    }

    async fn settle(&self) {
        // Whoever opens the file waits for what was begun, and leases end with their process.
    }

    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

pub(crate) fn fact(call_sid: &str, status: CallStatus) -> CallFact {
    let mut fact = CallFact::new(FactSource::StatusHook, T0);
    fact.call_sid = Some(call_sid.to_owned());
    fact.status = Some(status);
    fact
}

pub(crate) fn with_call_id(call_sid: &str, call_id: &str, status: CallStatus) -> CallFact {
    CallFact { sip_call_id: Some(call_id.to_owned()), ..fact(call_sid, status) }
}

pub(crate) async fn take(store: &dyn CallStore, channel: Channel, limit: usize, now: UnixMillis) -> Taken {
    let request = TakeDue { zammad: "default".into(), channel, limit, at_once: 100, now, lease_for: LEASE };
    store.take_due(request).await.unwrap()
}

pub(crate) fn delivered() -> Outcome {
    Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None }
}

pub(crate) async fn report(store: &dyn CallStore, due: &DueDelivery, outcome: Outcome) -> bool {
    store.report(DeliveryReport { lease: due.lease, step: due.step, at: T0, outcome }).await.unwrap()
}

/// Takes and acknowledges until nothing is due; what was told, in order.
pub(crate) async fn drain(store: &dyn CallStore, channel: Channel, now: UnixMillis) -> Vec<(RecordId, Step)> {
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
