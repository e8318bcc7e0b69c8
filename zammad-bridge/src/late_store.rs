//! A store that cannot be opened yet, and is opened later: a full disk, a late mount, a wrong permission are mended while
//! the bridge runs, and calls are kept from then on.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tracing::{debug, info};

use crate::call_book::CallFact;
use crate::clock::UnixMillis;
use crate::error::{Error, Result};
use crate::store::{
    Backlog, CallPage, CallQuery, CallStore, Committed, DeliveryReport, Forgotten, Lease, RecordId, Shelf, StoreChange,
    StoreHealth, StoredCall, Swept, TakeDue, Taken, UnavailableStore,
};

/// How long to wait until the store is opened again, at first and at most.
pub const REOPEN_WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Changes that may wait for somebody slow.
const CHANGES_KEPT: usize = 1_024;

/// Refuses everything with the reason until [`LateStore::open_later`] has opened the store, and is that store then.
pub struct LateStore {
    inner: RwLock<Arc<dyn CallStore>>,
    /// Who subscribed before the store was open hears of it all the same.
    due: watch::Sender<u64>,
    changes: broadcast::Sender<StoreChange>,
}

impl LateStore {
    /// A store that could not be opened at `since` because of `fault`.
    #[must_use]
    pub fn new(fault: Error, since: UnixMillis) -> Self {
        let inner: Arc<dyn CallStore> = Arc::new(UnavailableStore::new(fault, since));
        Self { inner: RwLock::new(inner), due: watch::Sender::new(0), changes: broadcast::Sender::new(CHANGES_KEPT) }
    }

    fn inner(&self) -> Arc<dyn CallStore> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tries `open` until it succeeds, first after the shorter of `waits`, in the end after the longer; then tells those
    /// who subscribed what the open store tells. To be dropped when the bridge stops.
    pub async fn open_later<F>(self: Arc<Self>, mut open: impl FnMut() -> F, waits: (Duration, Duration))
    where
        F: Future<Output = Result<Arc<dyn CallStore>>>,
    {
        let (mut wait, longest_wait) = waits;
        let store = loop {
            tokio::time::sleep(wait).await;
            match open().await {
                Ok(store) => break store,
                Err(fault) => {
                    wait = (wait * 2).min(longest_wait);
                    debug!(%fault, retry_s = wait.as_secs(), "the store still cannot be opened");
                }
            }
        };
        let (mut due, mut changes) = (store.due_signal(), store.changes());
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = store;
        info!("the store is open: calls are kept from now on");
        // What waits from before the start is due now.
        self.due.send_modify(|count| *count = count.wrapping_add(1));
        loop {
            tokio::select! {
                changed = due.changed() => match changed {
                    Ok(()) => self.due.send_modify(|count| *count = count.wrapping_add(1)),
                    Err(_) => return,
                },
                change = changes.recv() => match change {
                    Ok(change) => drop(self.changes.send(change)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

impl std::fmt::Debug for LateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateStore").field("health", &self.inner().health()).finish_non_exhaustive()
    }
}

#[async_trait]
impl CallStore for LateStore {
    async fn commit(&self, fact: CallFact) -> Result<Committed> {
        self.inner().commit(fact).await
    }

    async fn take_due(&self, request: TakeDue) -> Result<Taken> {
        self.inner().take_due(request).await
    }

    async fn report(&self, report: DeliveryReport) -> Result<bool> {
        self.inner().report(report).await
    }

    fn may_begin(&self, lease: &Lease, ends_by: UnixMillis) -> bool {
        self.inner().may_begin(lease, ends_by)
    }

    fn due_signal(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }

    async fn call(&self, id: RecordId) -> Result<Option<StoredCall>> {
        self.inner().call(id).await
    }

    async fn calls(&self, query: CallQuery) -> Result<CallPage> {
        self.inner().calls(query).await
    }

    async fn replay(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.inner().replay(shelf, now).await
    }

    async fn discard(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.inner().discard(shelf, now).await
    }

    async fn reap(&self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        self.inner().reap(silent_since, now, limit).await
    }

    async fn sweep(&self, ended_before: UnixMillis, limit: usize) -> Result<Swept> {
        self.inner().sweep(ended_before, limit).await
    }

    async fn forget(&self, client_id: &str) -> Result<Forgotten> {
        self.inner().forget(client_id).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.inner().backlog().await
    }

    fn changes(&self) -> broadcast::Receiver<StoreChange> {
        self.changes.subscribe()
    }

    fn health(&self) -> StoreHealth {
        self.inner().health()
    }

    async fn probe(&self) -> Result<()> {
        self.inner().probe().await
    }

    fn schema_version(&self) -> u32 {
        self.inner().schema_version()
    }

    async fn close(&self) {
        self.inner().close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_book::{CallStatus, FactSource};
    use crate::clock::{Clock, SystemClock};
    use crate::store::{Routes, SqliteStore};

    fn fact() -> CallFact {
        CallFact {
            sip_call_id: Some("kqzmwbtr-1".to_owned()),
            status: Some(CallStatus::Trying),
            ..CallFact::new(FactSource::Record, SystemClock.now())
        }
    }

    #[tokio::test]
    async fn what_cannot_be_opened_at_first_is_opened_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("late");
        let settings = crate::store::SqliteSettings { path: mount.join("calls.db") };
        let open = move || {
            let settings = settings.clone();
            async move {
                let routes = Routes { routes: Vec::new() };
                let store = SqliteStore::open(&settings, routes, Arc::new(SystemClock)).await?;
                Ok(Arc::new(store) as Arc<dyn CallStore>)
            }
        };
        let Err(fault) = open().await else { unreachable!("its folder is not there") };
        let store = Arc::new(LateStore::new(fault, SystemClock.now()));
        let (mut due, mut changes) = (store.due_signal(), store.changes());
        let shortest = Duration::from_millis(1);
        let opening = tokio::spawn(Arc::clone(&store).open_later(open, (shortest, 4 * shortest)));
        assert!(store.commit(fact()).await.is_err());
        assert!(matches!(store.health(), StoreHealth::Failing { .. }));

        std::fs::create_dir(&mount).unwrap();
        let deadline = Duration::from_secs(20);
        tokio::time::timeout(deadline, due.changed()).await.unwrap().unwrap();
        assert_eq!(store.health(), StoreHealth::Working);
        let committed = store.commit(fact()).await.unwrap();
        let told = tokio::time::timeout(deadline, changes.recv()).await.unwrap().unwrap();
        assert_eq!(told.record, committed.record);
        opening.abort();
        store.close().await;
    }
}
