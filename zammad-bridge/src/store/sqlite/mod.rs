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
use tokio::sync::{broadcast, watch};

use self::fault::fault;
use self::file_lock::FileLock;
use self::leases::Leases;
use self::writer::Writer;
use self::zammad_names::ZammadNames;
use super::group_commit::{Chore, Op, Queue, ShelfChange};
use super::migrate::KeptPart;
use super::{
    Backlog, CHANGES_KEPT, CallPage, CallQuery, CallStore, Committed, DeliveryReport, Forgotten, Lease, RecordId,
    Routes, Shelf, StoreChange, StoreHealth, StoredCall, Swept, TakeDue, Taken, shelve_unreadable,
};
use crate::call_book::CallFact;
use crate::clock::{Clock, UnixMillis};
use crate::error::{Error, Result};

/// How many connections read besides the one that writes.
const READERS: u32 = 3;

/// How large a page of a new file is, in bytes. A call's names are hashes: each lies on a page of its own, which is written
/// whole, so that small pages write less. Most records still fit on one.
const PAGE_BYTES: u32 = 1024;

/// How much of the file a connection may keep in memory, in KiB: the one that writes, and each that reads.
const WRITER_CACHE_KIB: u32 = 4096;
const READER_CACHE_KIB: u32 = 1024;

/// After how many pages in the write-ahead log they are put into the file, and how large the log may stay, in bytes. The
/// longer the log, the more often a page is changed before it is written to its place, and the rarer writers wait for that:
/// with a million calls an event writes some 8 pages, so that fewer than one event in a hundred waits.
const CHECKPOINT_PAGES: u32 = 64_000;
const LOG_LIMIT_BYTES: u32 = CHECKPOINT_PAGES * (PAGE_BYTES + 24);

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
        let rest = url
            .strip_prefix("sqlite:")
            .ok_or_else(|| wrong("it begins neither with sqlite: nor with postgres:".to_owned()))?;
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
    queue: Queue,
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
        let next_id: i64 =
            sqlx::query_scalar("SELECT max(call, (SELECT coalesce(max(id), 0) + 1 FROM call)) FROM next_id")
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
        let queue = Queue::start(Writer { connection, shared: shared.clone(), next_id, lock: Some(lock) });
        Ok(Self { shared, queue, readers })
    }
}

impl SqliteStore {
    /// Records after one, in the order of their age.
    pub(super) async fn kept_after(&self, after: RecordId, limit: usize) -> Result<KeptPart> {
        let part = read::kept_after(&self.readers, &self.shared, after, limit).await;
        part.map_err(|error| fault("read calls", &error))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
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
        .connect_lazy_with(options(path).read_only(true).pragma("cache_size", format!("-{READER_CACHE_KIB}")))
}

#[async_trait]
impl CallStore for SqliteStore {
    async fn commit(&self, fact: CallFact) -> Result<Committed> {
        fact.check()?;
        self.queue.ask(|answer| Op::Fact(Box::new(fact), answer)).await
    }

    async fn take_due(&self, request: TakeDue) -> Result<Taken> {
        let taken = read::take_due(&self.readers, &self.shared, &request).await;
        let (taken, unreadable) = taken.map_err(|error| fault("take what is due", &error))?;
        shelve_unreadable(self, unreadable, request.now).await;
        Ok(taken)
    }

    async fn report(&self, report: DeliveryReport) -> Result<bool> {
        self.queue.ask(|answer| Op::Report(report, answer)).await
    }

    fn may_begin(&self, lease: &Lease, ends_by: UnixMillis) -> bool {
        ends_by <= lease.until
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
        self.queue.ask(|answer| Op::Chore(Chore::Shelf(shelf, ShelfChange::Replay, now, answer))).await
    }

    async fn discard(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.queue.ask(|answer| Op::Chore(Chore::Shelf(shelf, ShelfChange::Discard, now, answer))).await
    }

    async fn reap(&self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        self.queue.ask(|answer| Op::Chore(Chore::Reap { silent_since, now, limit, answer })).await
    }

    async fn sweep(&self, ended_before: UnixMillis, limit: usize) -> Result<Swept> {
        self.queue.ask(|answer| Op::Chore(Chore::Sweep { ended_before, limit, answer })).await
    }

    async fn forget(&self, client_id: &str) -> Result<Forgotten> {
        let client_id = client_id.to_owned();
        self.queue.ask(|answer| Op::Chore(Chore::Forget(client_id, answer))).await
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
        self.queue.ask(|answer| Op::Chore(Chore::Probe(answer))).await
    }

    fn schema_version(&self) -> u32 {
        schema::SCHEMA_VERSION
    }

    async fn close(&self) {
        self.readers.close().await;
        self.queue.close().await;
    }
}
