//! The store that could not be opened.

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use super::{
    Backlog, CallPage, CallQuery, CallStore, Committed, DeliveryReport, Forgotten, Lease, RecordId, Shelf, StoreChange,
    StoreHealth, StoredCall, Swept, TakeDue, Taken,
};
use crate::call_book::CallFact;
use crate::clock::UnixMillis;
use crate::error::{Error, Result};

/// Stands in for a store that could not be opened (a damaged file, a full disk), so that calls go on: everything fails
/// with the reason, nothing is taken in and nothing lost.
#[derive(Debug)]
pub struct UnavailableStore {
    since: UnixMillis,
    error: Error,
    changes: broadcast::Sender<StoreChange>,
    due: watch::Sender<u64>,
}

impl UnavailableStore {
    /// A store that has failed with `error` since `since`.
    #[must_use]
    pub fn new(error: Error, since: UnixMillis) -> Self {
        Self { since, error, changes: broadcast::Sender::new(1), due: watch::Sender::new(0) }
    }

    fn refuse<T>(&self) -> Result<T> {
        Err(self.error.clone())
    }
}

#[async_trait]
impl CallStore for UnavailableStore {
    async fn commit(&self, _: CallFact) -> Result<Committed> {
        self.refuse()
    }

    async fn take_due(&self, _: TakeDue) -> Result<Taken> {
        self.refuse()
    }

    async fn report(&self, _: DeliveryReport) -> Result<bool> {
        self.refuse()
    }

    fn may_begin(&self, _: &Lease, _: UnixMillis) -> bool {
        false
    }

    fn due_signal(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }

    async fn call(&self, _: RecordId) -> Result<Option<StoredCall>> {
        self.refuse()
    }

    async fn calls(&self, _: CallQuery) -> Result<CallPage> {
        self.refuse()
    }

    async fn replay(&self, _: Shelf, _: UnixMillis) -> Result<u64> {
        self.refuse()
    }

    async fn discard(&self, _: Shelf, _: UnixMillis) -> Result<u64> {
        self.refuse()
    }

    async fn reap(&self, _: UnixMillis, _: UnixMillis, _: usize) -> Result<u64> {
        self.refuse()
    }

    async fn sweep(&self, _: UnixMillis, _: usize) -> Result<Swept> {
        self.refuse()
    }

    async fn forget(&self, _: &str) -> Result<Forgotten> {
        self.refuse()
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.refuse()
    }

    fn changes(&self) -> broadcast::Receiver<StoreChange> {
        self.changes.subscribe()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Failing { since: self.since, error: self.error.clone() }
    }

    async fn probe(&self) -> Result<()> {
        self.refuse()
    }

    fn schema_version(&self) -> u32 {
        0
    }

    async fn close(&self) {}
}
