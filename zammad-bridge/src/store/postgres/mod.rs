//! [`CallStore`] on PostgreSQL: as many replicas of the bridge as wanted share one database.
//!
//! Nothing is kept in a replica but what waits for its next transaction: facts of one call may come to any of them, and any
//! may deliver any call, one at a time. The database's row locks and transactions are all that holds them together.
//!
//! What is erased is gone from the tables at once, and from the database's files when it has vacuumed them and written its
//! log anew; backups are the operator's.

mod bell;
mod connections;
mod fault;
mod leases;
mod read;
mod rows;
mod schema;
mod writer;
mod zammad_names;

use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::random::Random as _;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use self::bell::Notice;
use self::connections::{Connections, bounded, query};
use self::fault::fault;
use self::writer::Writer;
use self::zammad_names::ZammadNames;
use super::group_commit::{Chore, Op, Queue, ShelfChange};
use super::migrate::Kept;
use super::{
    Backlog, CHANGES_KEPT, CallPage, CallQuery, CallStore, Committed, DeliveryReport, Forgotten, Lease, RecordId,
    Routes, Shelf, StoreChange, StoreHealth, StoredCall, Swept, TakeDue, Taken, shelve_unreadable,
};
use crate::call_book::CallFact;
use crate::clock::{Clock, UnixMillis};
use crate::delivery::SystemRandom;
use crate::error::{Error, Result};

/// How many connections a replica has at most, besides the one that listens.
const MAX_CONNECTIONS: usize = 6;

/// Where the database is.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    url: SecretString,
    options: PgConnectOptions,
    /// How long a replica may be silent before others take over what it had. Longer than a pause of the machine that
    /// should go unnoticed, shorter than what may wait for a dead one.
    pub replica_lease: Duration,
}

impl PartialEq for PostgresSettings {
    fn eq(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret() && self.replica_lease == other.replica_lease
    }
}

impl PostgresSettings {
    /// The default of [`replica_lease`](Self::replica_lease).
    pub const REPLICA_LEASE: Duration = Duration::from_secs(30);

    /// The database that `url` names: `postgres://user:password@host:5432/database?sslmode=verify-full`.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for `BRIDGE_DATABASE_URL`.
    pub fn from_url(url: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::Configuration {
            setting: "BRIDGE_DATABASE_URL".to_owned(),
            problem: problem.to_owned(),
            remedy: "write postgres://user:password@host:5432/database?sslmode=verify-full".to_owned(),
        };
        if !is_postgres_url(url) {
            return Err(wrong("it does not begin with postgres: or postgresql:"));
        }
        // What cannot be read is not quoted: there is a password in it.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong("it is no URL of a database"))?;
        // A pooler takes no settings of a session; and named statements would be left behind on its connections.
        let options = options.extra_float_digits(None).statement_cache_capacity(0);
        let options = options.application_name("codex-zammad-bridge");
        let options = sqlx::ConnectOptions::disable_statement_logging(options);
        Ok(Self { url: url.to_owned().into(), options, replica_lease: Self::REPLICA_LEASE })
    }

    /// Host and database, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}/{}", self.options.get_host(), self.options.get_port(), self.options.get_database().unwrap_or(""))
    }
}

/// Whether a URL names a database of PostgreSQL's.
#[must_use]
pub fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// What the parts of the store share.
struct Shared {
    options: PgConnectOptions,
    connections: Connections,
    clock: Arc<dyn Clock>,
    routes: Routes,
    names: ZammadNames,
    /// This replica, since this start.
    replica: i64,
    replica_lease: Duration,
    /// What is to be added to our clock to get the database's, in milliseconds.
    clock_offset_ms: AtomicI64,
    /// Until when others take this replica for alive, if nothing is heard of it, by our clock.
    alive_until_ms: AtomicI64,
    changes: broadcast::Sender<StoreChange>,
    due: watch::Sender<u64>,
    health: watch::Sender<StoreHealth>,
}

impl Shared {
    /// A time of ours by the database's clock.
    fn database_time(&self, time: UnixMillis) -> i64 {
        time.as_millis().saturating_add(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    fn publish(&self, changes: Vec<StoreChange>, due: bool) {
        if self.changes.receiver_count() > 0 {
            for change in changes {
                let _ = self.changes.send(change);
            }
        }
        if due {
            self.due.send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    /// Tells other replicas, should the transaction be committed.
    async fn notify(
        &self,
        connection: &mut PgConnection,
        changes: &[StoreChange],
        due: bool,
    ) -> Result<(), sqlx::Error> {
        if changes.is_empty() && !due {
            return Ok(());
        }
        let notice = serde_json::to_string(&Notice::new(self.replica, changes, due));
        let notice = notice.map_err(|error| sqlx::Error::Encode(error.into()))?;
        query("SELECT pg_notify($1, $2)").bind(bell::CHANNEL).bind(notice).execute(connection).await?;
        Ok(())
    }

    /// Notes whether the store works.
    fn judge<T>(&self, result: &Result<T>) {
        super::note_health(&self.health, result.as_ref().err(), &*self.clock);
    }

    /// Says that we live; until when that holds.
    async fn show_life(&self) -> Result<()> {
        let asked = self.clock.now();
        let mut lent = self.connections.lend().await?;
        let shown =
            bounded("show that it lives", leases::show_life(&mut lent.connection, self.replica, self.replica_lease));
        let result = shown.await;
        self.connections.give_back(lent, &result);
        let offset = result?.as_millis() - self.clock.now().as_millis();
        self.clock_offset_ms.store(offset, Ordering::Relaxed);
        self.alive_until_ms.store((asked + self.replica_lease).as_millis(), Ordering::Relaxed);
        Ok(())
    }
}

/// Keeps counting and taking from one Zammad to one replica at a time.
const fn zammad_lock_key(zammad: i64) -> i64 {
    0x5a42_0000_0000_0000 | zammad
}

/// The store on PostgreSQL. Dropping it ends what it does; [`CallStore::close`] finishes what waits and gives leases back.
pub struct PostgresStore {
    shared: Arc<Shared>,
    queue: Queue,
    tasks: Mutex<JoinSet<()>>,
}

impl core::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PostgresStore").field("replica", &self.shared.replica).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// The schema's version that this program writes.
    pub const SCHEMA_VERSION: u32 = schema::SCHEMA_VERSION;

    /// Connects and looks which version of the schema is there, `None` if none is; changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::StoreAway`] if nobody answers, and every other store fault.
    pub async fn schema_version_of(settings: &PostgresSettings) -> Result<Option<u32>> {
        let connections = Connections::new(settings.options.clone(), 1);
        let mut lent = connections.lend().await?;
        let found = bounded("look at the schema", schema::found(&mut lent.connection)).await;
        connections.give_back(lent, &found);
        connections.close().await;
        found
    }

    /// Connects, brings the schema up to date, and joins the replicas that are there.
    ///
    /// # Errors
    ///
    /// [`Error::StoreTooNew`] if a newer program has been here, [`Error::StoreAway`] if nobody answers, and every other
    /// store fault.
    pub async fn open(settings: &PostgresSettings, routes: Routes, clock: Arc<dyn Clock>) -> Result<Self> {
        let replica = i64::try_from(SystemRandom.below(i64::MAX.unsigned_abs())).unwrap_or(i64::MAX);
        if replica == 0 {
            // Nothing random: another replica may have the same name, and take this one's leases for its own.
            let detail = "the system gives no random numbers".to_owned();
            return Err(Error::StoreFailed { action: "name itself", detail });
        }
        let shared = Arc::new(Shared {
            options: settings.options.clone(),
            connections: Connections::new(settings.options.clone(), MAX_CONNECTIONS),
            clock,
            routes,
            names: ZammadNames::default(),
            replica,
            replica_lease: settings.replica_lease,
            clock_offset_ms: AtomicI64::new(0),
            alive_until_ms: AtomicI64::new(i64::MIN),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            due: watch::Sender::new(0),
            health: watch::Sender::new(StoreHealth::Working),
        });
        let mut lent = shared.connections.lend().await?;
        schema::migrate(&mut lent.connection).await?;
        let names = shared.names.load(&mut lent.connection, &shared.routes).await;
        let names = names.map_err(|error| fault("read the names of the Zammads", &error));
        shared.connections.give_back(lent, &names);
        names?;
        shared.show_life().await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(bell::listen(shared.clone()));
        tasks.spawn(bell::look(shared.clone()));
        tasks.spawn(show_life(shared.clone()));
        let queue = Queue::start(Writer { shared: shared.clone() });
        Ok(Self { shared, queue, tasks: Mutex::new(tasks) })
    }
}

impl PostgresStore {
    /// Takes in what a file has kept.
    pub(super) async fn take_in(&self, kept: Vec<Kept>) -> Result<()> {
        let mut lent = self.shared.connections.lend().await?;
        let taken_in = bounded("take calls in", writer::take_in(&mut lent.connection, &self.shared, kept)).await;
        self.shared.connections.give_back(lent, &taken_in);
        taken_in
    }
}

/// How soon it is tried again to show life where that failed: as long as it is not shown, nothing is delivered.
const SHOW_LIFE_AGAIN: Duration = Duration::from_secs(1);

/// Says that this replica lives, three times in a lease.
async fn show_life(shared: Arc<Shared>) {
    let mut pause = shared.replica_lease / 3;
    loop {
        tokio::time::sleep(pause).await;
        pause = shared.replica_lease / 3;
        if let Err(error) = shared.show_life().await {
            tracing::warn!(%error, "the other replicas cannot be told that this one lives");
            pause = pause.min(SHOW_LIFE_AGAIN);
        }
    }
}

/// Reads on a connection of its own.
macro_rules! read {
    ($self:ident, $action:literal, |$connection:ident| $work:expr) => {{
        let mut lent = $self.shared.connections.lend().await?;
        let $connection = &mut lent.connection;
        let result = bounded($action, $work).await;
        $self.shared.connections.give_back(lent, &result);
        result
    }};
}

#[async_trait]
impl CallStore for PostgresStore {
    async fn commit(&self, fact: CallFact) -> Result<Committed> {
        fact.check()?;
        self.queue.ask(|answer| Op::Fact(Box::new(fact), answer)).await
    }

    async fn take_due(&self, request: TakeDue) -> Result<Taken> {
        let (taken, unreadable) =
            read!(self, "take what is due", |connection| leases::take_due(connection, &self.shared, &request))?;
        shelve_unreadable(self, unreadable, request.now).await;
        Ok(taken)
    }

    async fn report(&self, report: DeliveryReport) -> Result<bool> {
        self.queue.ask(|answer| Op::Report(report, answer)).await
    }

    fn may_begin(&self, lease: &Lease, ends_by: UnixMillis) -> bool {
        let alive_until = UnixMillis::new(self.shared.alive_until_ms.load(Ordering::Relaxed));
        ends_by <= lease.until && self.shared.clock.now() < alive_until
    }

    fn due_signal(&self) -> watch::Receiver<u64> {
        self.shared.due.subscribe()
    }

    async fn call(&self, id: RecordId) -> Result<Option<StoredCall>> {
        read!(self, "read a call", |connection| read::call(connection, &self.shared, id))
    }

    async fn calls(&self, query: CallQuery) -> Result<CallPage> {
        read!(self, "list calls", |connection| read::calls(connection, &self.shared, &query))
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
        read!(self, "count the backlog", |connection| read::backlog(connection, &self.shared))
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
        self.queue.close().await;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        if let Ok(mut lent) = self.shared.connections.lend().await {
            let gone = leases::give_all_back(&mut lent.connection, self.shared.replica);
            let result = bounded("give its leases back", gone).await;
            self.shared.connections.give_back(lent, &result);
        }
        self.shared.connections.close().await;
    }
}
