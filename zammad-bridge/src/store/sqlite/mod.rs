//! [`CallStore`] on SQLite: one file, one process, one writer.
//!
//! WAL with `synchronous = FULL`: what was committed survives a power cut. Facts and reports that wait are written in one
//! transaction, so that the disk's write rate does not limit how many are taken in.

mod fault;
mod file_lock;
mod leases;
mod read;
mod rows;
mod schema;
mod writer;
mod zammad_names;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::fault::fault;
use self::file_lock::FileLock;
use self::leases::Leases;
use self::read::Unreadable;
use self::writer::{Chore, Op, Writer};
use self::zammad_names::ZammadNames;
use super::{
    Backlog, CHANGES_KEPT, CallPage, CallQuery, CallStore, Committed, DeliveryReport, Forgotten, Outcome, RecordId,
    Routes, Shelf, StoreChange, StoreHealth, StoredCall, TakeDue, Taken,
};
use crate::call_book::CallFact;
use crate::clock::{Clock, UnixMillis};
use crate::error::{Error, Result};

/// How many facts and reports may wait to be written; who comes then waits to be let in.
const MAX_WAITING: usize = 1024;

/// How many connections read besides the one that writes.
const READERS: u32 = 3;

/// How much of the file one connection may keep in memory, in KiB.
const PAGE_CACHE_KIB: u32 = 2048;

/// After how many pages in the write-ahead log they are put into the file, and how large the log may stay, in bytes.
const CHECKPOINT_PAGES: u32 = 2000;
const LOG_LIMIT_BYTES: u32 = 32 * 1024 * 1024;

/// How long a statement waits for a lock, or a reader for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The file. Beside it stand `…-wal`, `…-shm` and `….lock`.
    pub path: PathBuf,
}

impl SqliteSettings {
    /// The file that `url` names: `sqlite://zammad-bridge.db` (relative) or `sqlite:///var/lib/zammad-bridge/calls.db`.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for `BRIDGE_DATABASE_URL`.
    pub fn from_url(url: &str) -> Result<Self> {
        let wrong = |problem: String| Error::Configuration {
            setting: "BRIDGE_DATABASE_URL".to_owned(),
            problem,
            remedy: "write sqlite://zammad-bridge.db or sqlite:///var/lib/zammad-bridge/calls.db".to_owned(),
        };
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| wrong("it does not begin with sqlite:".to_owned()))?;
        if rest.contains(":memory:") || rest.contains("mode=memory") {
            return Err(wrong("memory keeps nothing".to_owned()));
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|error| wrong(error.to_string()))?;
        let path = options.get_filename().to_owned();
        if path.as_os_str().is_empty() {
            return Err(wrong("it names no file".to_owned()));
        }
        Ok(Self { path })
    }
}

/// What the writer and the readers share.
struct Shared {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    routes: Routes,
    names: ZammadNames,
    leases: Leases,
    changes: broadcast::Sender<StoreChange>,
    due: watch::Sender<u64>,
    health: watch::Sender<StoreHealth>,
}

/// The store on SQLite. Dropping it writes what waits and closes the file some time after; [`CallStore::close`] waits
/// for that.
pub struct SqliteStore {
    shared: Arc<Shared>,
    ops: mpsc::Sender<Op>,
    readers: SqlitePool,
}

impl core::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// The version of the schema that this program writes.
    pub const SCHEMA_VERSION: u32 = schema::SCHEMA_VERSION;

    /// Opens the file, makes it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`Error::StoreInUse`] if another process has it, and every other store fault.
    pub async fn open(settings: &SqliteSettings, routes: Routes, clock: Arc<dyn Clock>) -> Result<Self> {
        let failed = |error| fault("open its file", &error);
        let lock = FileLock::take(&settings.path)?;
        let mut connection = options(&settings.path).create_if_missing(true).connect().await.map_err(failed)?;
        schema::migrate(&mut connection).await?;
        let names = ZammadNames::load(&mut connection, &routes, true).await?;
        // With the write lock: what somebody else was still writing is seen.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let next_id: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM call")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let readers = readers(&settings.path);
        let shared = Arc::new(Shared {
            path: settings.path.clone(),
            clock,
            routes,
            names,
            leases: Leases::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            due: watch::Sender::new(0),
            health: watch::Sender::new(StoreHealth::Working),
        });
        let (ops, received) = mpsc::channel(MAX_WAITING);
        let writer = Writer { connection, shared: shared.clone(), next_id, lock: Some(lock) };
        tokio::spawn(writer.run(received));
        Ok(Self { shared, ops, readers })
    }

    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<Result<T>>) -> Op) -> Result<T> {
        let closed = || Error::StoreRefuses { reason: "closing" };
        let (answer, answered) = oneshot::channel();
        self.ops.send(op(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .pragma("cache_size", format!("-{PAGE_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", LOG_LIMIT_BYTES.to_string())
        .pragma("temp_store", "MEMORY")
        // What is deleted or replaced is overwritten: it may be about people.
        .pragma("secure_delete", "ON")
        .disable_statement_logging()
}

fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options(path).read_only(true))
}

#[async_trait]
impl CallStore for SqliteStore {
    async fn commit(&self, fact: CallFact) -> Result<Committed> {
        fact.check()?;
        self.ask(|answer| Op::Fact(Box::new(fact), answer)).await
    }

    async fn take_due(&self, request: TakeDue) -> Result<Taken> {
        let taken = read::take_due(&self.readers, &self.shared, &request).await;
        let (taken, unreadable) = taken.map_err(|error| fault("take what is due", &error))?;
        for Unreadable { lease, step, fault } in unreadable {
            tracing::error!(record = lease.record.0, step = step.name(), %fault, "on the dead-letter shelf");
            let report = DeliveryReport { lease, step, at: request.now, outcome: Outcome::Shelved { fault } };
            // The rest goes on; without its report the lane comes again.
            if let Err(error) = self.report(report).await {
                tracing::warn!(%error, "a call that cannot be read is not on the shelf yet");
                self.shared.leases.end(&lease);
            }
        }
        Ok(taken)
    }

    async fn report(&self, report: DeliveryReport) -> Result<bool> {
        self.ask(|answer| Op::Report(report, answer)).await
    }

    fn due_signal(&self) -> watch::Receiver<u64> {
        self.shared.due.subscribe()
    }

    async fn call(&self, id: RecordId) -> Result<Option<StoredCall>> {
        read::call(&self.readers, &self.shared, id).await.map_err(|error| fault("read a call", &error))
    }

    async fn calls(&self, query: CallQuery) -> Result<CallPage> {
        read::calls(&self.readers, &self.shared, &query).await.map_err(|error| fault("list calls", &error))
    }

    async fn replay(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.ask(|answer| Op::Chore(Chore::Replay(shelf, now, answer))).await
    }

    async fn discard(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.ask(|answer| Op::Chore(Chore::Discard(shelf, now, answer))).await
    }

    async fn reap(&self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        self.ask(|answer| Op::Chore(Chore::Reap { silent_since, now, limit, answer })).await
    }

    async fn sweep(&self, ended_before: UnixMillis, limit: usize) -> Result<u64> {
        self.ask(|answer| Op::Chore(Chore::Sweep { ended_before, limit, answer })).await
    }

    async fn forget(&self, client_id: &str) -> Result<Forgotten> {
        let client_id = client_id.to_owned();
        self.ask(|answer| Op::Chore(Chore::Forget(client_id, answer))).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        read::backlog(&self.readers, &self.shared).await.map_err(|error| fault("count the backlog", &error))
    }

    fn changes(&self) -> broadcast::Receiver<StoreChange> {
        self.shared.changes.subscribe()
    }

    fn health(&self) -> StoreHealth {
        self.shared.health.borrow().clone()
    }

    async fn probe(&self) -> Result<()> {
        self.ask(|answer| Op::Chore(Chore::Probe(answer))).await
    }

    fn schema_version(&self) -> u32 {
        schema::SCHEMA_VERSION
    }

    async fn close(&self) {
        self.readers.close().await;
        let (answer, answered) = oneshot::channel();
        if self.ops.send(Op::Chore(Chore::Close(answer))).await.is_ok() {
            let _ = answered.await;
        }
    }
}
