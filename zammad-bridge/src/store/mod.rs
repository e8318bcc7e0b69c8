//! The port [`CallStore`]: the call book on disk, and what of it Zammad has been told.
//!
//! A record has a *lane* on each [`Channel`] by which Zammad is told of it. A lane knows which steps are wanted, which are
//! done, which lie on the dead-letter shelf, and when the next one is due; so steps of a call cannot overtake each other,
//! and a backlog costs no memory. Who delivers takes a *lease* on due lanes, sends one step, and reports; only the report
//! ends the lease (or its running out, should the process have died). Several replicas may share a store that can be
//! shared: a lease is held by one of them.

mod alias;
mod batch;
mod database;
mod group_commit;
mod lane;
mod migrate;
mod postgres;
mod routes;
mod sqlite;
mod unavailable;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

pub use self::database::DatabaseSettings;
pub use self::migrate::{Migrated, migrate};
pub use self::postgres::{PostgresSettings, PostgresStore, is_postgres_url};
pub use self::routes::{Route, Routes};
pub use self::sqlite::{SqliteSettings, SqliteStore};
pub use self::unavailable::UnavailableStore;
use crate::call_book::{CallFact, CallRecord, CallState, Channel, Step, StepSet};
use crate::clock::{Clock, UnixMillis};
use crate::error::{Error, Result};

/// The identity of a record in its store: rising with the record's age, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub i64);

/// The name of a Zammad in the configuration, such as `default`.
pub type ZammadName = Arc<str>;

/// What became of a committed fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The record that it belongs to.
    pub record: RecordId,
    /// Whether nothing in it was new.
    pub repeat: bool,
    /// Whether it began the record.
    pub new_record: bool,
}

/// What a deliverer asks for.
#[derive(Debug, Clone)]
pub struct TakeDue {
    /// For which Zammad.
    pub zammad: ZammadName,
    /// Lanes of which channel.
    pub channel: Channel,
    /// How many lanes at most.
    pub limit: usize,
    /// How many requests this Zammad may get at a time, of all replicas together.
    pub at_once: usize,
    /// Now.
    pub now: UnixMillis,
    /// How long the leases hold: longer than any delivery can take.
    pub lease_for: core::time::Duration,
}

/// The right to deliver on one lane, for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The record.
    pub record: RecordId,
    /// The lane's channel.
    pub channel: Channel,
    /// Tells this lease from earlier ones of the lane.
    pub token: i64,
    /// When it runs out; another may be given then.
    pub until: UnixMillis,
}

/// A ticket of ours in Zammad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketId(pub i64);

/// A step that is due, leased to who asked.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// The lease.
    pub lease: Lease,
    /// What is to be told.
    pub step: Step,
    /// What is wanted on the lane and not done, `step` among it.
    pub pending: StepSet,
    /// What is done on the lane.
    pub done: StepSet,
    /// How often this step was tried in vain.
    pub attempts: u32,
    /// Whether the last try may have reached Zammad all the same.
    pub uncertain: bool,
    /// Whether `newCall` was sent again for this lane because Zammad did not know the call.
    pub renewed: bool,
    /// Since when the step is wanted.
    pub wanted_since: UnixMillis,
    /// The ticket, if the lane is [`Channel::Ticket`] and it was made.
    pub ticket: Option<TicketId>,
    /// The call as it is known now.
    pub record: Arc<CallRecord>,
}

/// What was taken.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// The steps, those longest due first.
    pub deliveries: Vec<DueDelivery>,
    /// When the next lane that is neither taken nor leased becomes due; `None` if there is none. At or before `now` if
    /// the limit kept lanes back.
    pub next_due: Option<UnixMillis>,
}

/// What came of a try to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Zammad has it. Never sent again.
    Delivered {
        /// Further steps of the lane that were told with it.
        also: StepSet,
        /// What Zammad answered beyond an acknowledgement, such as `{"action":"reject","reason":"busy"}`.
        answer: Option<String>,
        /// The ticket that was made or found.
        ticket: Option<TicketId>,
    },
    /// To be tried again.
    Retry {
        /// When.
        at: UnixMillis,
        /// What went wrong.
        fault: String,
        /// Whether it counts as a try of this step (a fault of this event, not of Zammad as a whole).
        counts: bool,
        /// Whether Zammad may have taken it all the same.
        uncertain: bool,
        /// Whether `newCall` was sent again.
        renewed: bool,
    },
    /// To be put on the dead-letter shelf.
    Shelved {
        /// What went wrong.
        fault: String,
    },
    /// Not tried; the lane is free again as it was.
    Released,
}

/// The report on a leased step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The lease, ended by this.
    pub lease: Lease,
    /// The step that was leased.
    pub step: Step,
    /// When it came out.
    pub at: UnixMillis,
    /// What came of it.
    pub outcome: Outcome,
}

/// The state of one step of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not delivered yet.
    Pending,
    /// Acknowledged by Zammad.
    Delivered,
    /// On the dead-letter shelf.
    Shelved,
    /// Given up by a person.
    Discarded,
}

/// One step of a lane, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// The step.
    pub step: Step,
    /// Its state.
    pub state: StepState,
}

/// One lane of a record, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneView {
    /// The channel.
    pub channel: Channel,
    /// The Zammad's name.
    pub zammad: ZammadName,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// When the next try is due; absent if nothing is to be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<UnixMillis>,
    /// How often the next step was tried in vain.
    pub attempts: u32,
    /// What went wrong last, whether or not it was made good since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<String>,
    /// When Zammad last acknowledged a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<UnixMillis>,
    /// What Zammad answered beyond an acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketId>,
}

/// A record with its lanes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredCall {
    /// Its identity.
    pub id: RecordId,
    /// The call.
    pub record: CallRecord,
    /// What Zammad has been told.
    pub lanes: Vec<LaneView>,
}

/// Which calls to list. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallQuery {
    /// Only records older than this one: the last of the page before.
    pub before: Option<RecordId>,
    /// How many at most; the store allows up to [`MAX_PAGE_RECORDS`].
    pub limit: usize,
    /// In this state.
    pub state: Option<CallState>,
    /// Not over yet (`true`) or over (`false`).
    pub open: Option<bool>,
    /// With a step on the dead-letter shelf.
    pub shelved: bool,
    /// With something still to be delivered.
    pub pending: bool,
    /// Known by this `call_sid`, SIP Call-ID or tag.
    pub name: Option<String>,
    /// Of this client.
    pub client_id: Option<String>,
    /// Begun at or after.
    pub since: Option<UnixMillis>,
    /// Begun before.
    pub until: Option<UnixMillis>,
}

/// How many records one page may have.
pub const MAX_PAGE_RECORDS: usize = 500;

/// A page of records, the youngest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CallPage {
    /// The records.
    pub calls: Vec<StoredCall>,
    /// What to ask for next as [`CallQuery::before`]; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<RecordId>,
}

/// Which shelved steps to replay or discard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Those of one lane.
    Lane(RecordId, Channel),
    /// Those of one record.
    Record(RecordId),
    /// All of them.
    All,
}

/// What is still to be delivered to one Zammad on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZammadBacklog {
    /// The Zammad's name.
    pub zammad: ZammadName,
    /// The channel.
    pub channel: Channel,
    /// Lanes with a step to deliver.
    pub lanes_pending: u64,
    /// Lanes with a step on the dead-letter shelf.
    pub lanes_shelved: u64,
    /// Since when the oldest of them is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_due: Option<UnixMillis>,
}

/// Counts for metrics and the admin page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// For each Zammad and channel that has anything to deliver or on the shelf.
    pub zammads: Vec<ZammadBacklog>,
    /// Calls not over yet.
    pub calls_open: u64,
    /// The size of the store's files, in bytes.
    pub store_bytes: u64,
}

/// What was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Records from which everything about people was removed.
    pub calls: u64,
    /// Tickets that hold it still, each with the name of its Zammad: to be deleted there.
    pub tickets: Vec<(ZammadName, TicketId)>,
}

/// What was deleted because it is old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records.
    pub records: u64,
    /// Lanes of theirs with a step on the dead-letter shelf: what Zammad was never told, and now never will be.
    pub dead_letters: u64,
}

/// What changed in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreChange {
    /// The record.
    pub record: RecordId,
    /// How.
    pub kind: ChangeKind,
}

/// How a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Begun,
    /// A fact said something new.
    Fact,
    /// A delivery was reported, replayed or discarded.
    Delivery,
    /// It was erased, or went into another record.
    Gone,
}

/// How many changes a slow listener may lag behind before it loses some and should read anew.
pub const CHANGES_KEPT: usize = 1024;

/// Whether the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// The last write went through.
    Working,
    /// The last write failed.
    Failing {
        /// Since when.
        since: UnixMillis,
        /// Why.
        error: Error,
    },
}

/// Keeps the call book.
///
/// Every method is safe to call from many tasks; dropping a future leaves the store consistent, and what it asked for
/// either happens or does not.
///
/// # Errors
///
/// All methods fail with a store fault ([`Error::is_store_fault`]) if the store cannot be read or written.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait CallStore: Send + Sync {
    /// Takes a fact into the call book. Ready when it is on disk; many callers share one write to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::FactWithoutCall`] and store faults. After a store fault the fact may or may not be there; committing it
    /// again is harmless.
    async fn commit(&self, fact: CallFact) -> Result<Committed>;

    /// Leases due lanes of a Zammad.
    async fn take_due(&self, request: TakeDue) -> Result<Taken>;

    /// Notes what came of a leased step and ends the lease. Ready when it is on disk. `false` if the lease had run out
    /// and another has been given; the report counted for nothing then.
    async fn report(&self, report: DeliveryReport) -> Result<bool>;

    /// Whether a delivery that ends by `ends_by` at the latest may begin: until then nobody else gets the lane.
    fn may_begin(&self, lease: &Lease, ends_by: UnixMillis) -> bool;

    /// Resolves when a lane may have become due since it was last seen changing.
    fn due_signal(&self) -> watch::Receiver<u64>;

    /// One record.
    async fn call(&self, id: RecordId) -> Result<Option<StoredCall>>;

    /// Records, the youngest first.
    async fn calls(&self, query: CallQuery) -> Result<CallPage>;

    /// Puts shelved steps back to be tried at `now`. How many lanes there were.
    async fn replay(&self, shelf: Shelf, now: UnixMillis) -> Result<u64>;

    /// Gives shelved steps up for good. How many lanes there were.
    async fn discard(&self, shelf: Shelf, now: UnixMillis) -> Result<u64>;

    /// Closes calls of which nothing was heard since `silent_since` and whose end never came; at most `limit`. How many.
    async fn reap(&self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64>;

    /// Deletes records that ended before `ended_before` with nothing left to deliver; at most `limit`. What is on the
    /// dead-letter shelf goes with its record: how long people's data are kept is not up to what failed.
    async fn sweep(&self, ended_before: UnixMillis, limit: usize) -> Result<Swept>;

    /// Erases everything about people from the records of a client, beyond recovery from the store's files.
    async fn forget(&self, client_id: &str) -> Result<Forgotten>;

    /// Counts.
    async fn backlog(&self) -> Result<Backlog>;

    /// Changes as they are committed, also those of other replicas.
    fn changes(&self) -> broadcast::Receiver<StoreChange>;

    /// Whether the store works.
    fn health(&self) -> StoreHealth;

    /// Writes something that changes nothing, and is ready when it is on disk: [`health`](Self::health) then tells how the
    /// store is now, without traffic. Stores that have nothing to write for this keep the default, which reads.
    async fn probe(&self) -> Result<()> {
        self.backlog().await.map(drop)
    }

    /// The schema's version.
    fn schema_version(&self) -> u32;

    /// Finishes what waits and closes; everything after that fails.
    async fn close(&self);
}

/// A step of a call whose record cannot be read: leased, to be put on the shelf.
struct Unreadable {
    lease: Lease,
    step: Step,
}

/// Puts what cannot be read on the shelf. The rest goes on; without its report a lane comes again when its lease is over.
async fn shelve_unreadable(store: &impl CallStore, unreadable: Vec<Unreadable>, now: UnixMillis) {
    for Unreadable { lease, step } in unreadable {
        // Not quoted: what does not fit may be a person's.
        let fault = "the call's record in the store cannot be read".to_owned();
        tracing::error!(record = lease.record.0, step = step.name(), %fault, "on the dead-letter shelf");
        let report = DeliveryReport { lease, step, at: now, outcome: Outcome::Shelved { fault } };
        if let Err(error) = store.report(report).await {
            tracing::warn!(%error, "a call that cannot be read is not on the shelf yet");
        }
    }
}

/// Notes whether the store works, and says so when that changes.
fn note_health(health: &watch::Sender<StoreHealth>, error: Option<&Error>, clock: &dyn Clock) {
    let now = match error {
        None => StoreHealth::Working,
        Some(error) => {
            let since = match &*health.borrow() {
                StoreHealth::Failing { since, .. } => *since,
                StoreHealth::Working => clock.now(),
            };
            StoreHealth::Failing { since, error: error.clone() }
        }
    };
    health.send_if_modified(|known| {
        let modified = *known != now;
        if modified {
            match &now {
                StoreHealth::Working => tracing::info!("the store works again"),
                StoreHealth::Failing { error, .. } => tracing::error!(%error, "the store fails"),
            }
            *known = now.clone();
        }
        modified
    });
}
