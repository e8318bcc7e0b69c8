//! The one task that writes: what waits is written together, and answered when it is on disk.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection, Executor as _, Row, Sqlite, SqliteConnection, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::fault::fault;
use super::file_lock::FileLock;
use super::schema::SCHEMA_VERSION;
use super::{Shared, options, rows};
use crate::call_book::{CallFact, Channel};
use crate::clock::UnixMillis;
use crate::error::{Error, Result};
use crate::store::alias::AliasKey;
use crate::store::batch::{Batch, BatchChanges};
use crate::store::lane::Lane;
use crate::store::{
    ChangeKind, Committed, DeliveryReport, Forgotten, RecordId, Shelf, StoreChange, StoreHealth, TicketId, ZammadName,
};

/// How many facts and reports are written in one transaction at most.
const MAX_BATCH: usize = 256;

/// How long a batch waits for company if the one before had any: callers that were answered together come back
/// together, and one write to the disk serves them all.
const LINGER: Duration = Duration::from_millis(1);

/// How many records one chore changes in one transaction.
const CHORE_RECORDS: usize = 256;

/// How often a checkpoint after an erasure is tried while readers are in the way, and how long between tries.
const CHECKPOINT_TRIES: u32 = 50;
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);

type Answer<T> = oneshot::Sender<Result<T>>;

/// What is asked of the writer.
pub(super) enum Op {
    Fact(Box<CallFact>, Answer<Committed>),
    Report(DeliveryReport, Answer<bool>),
    Chore(Chore),
}

/// What is done by itself, not with others.
pub(super) enum Chore {
    Replay(Shelf, UnixMillis, Answer<u64>),
    Discard(Shelf, UnixMillis, Answer<u64>),
    Reap { silent_since: UnixMillis, now: UnixMillis, limit: usize, answer: Answer<u64> },
    Sweep { ended_before: UnixMillis, limit: usize, answer: Answer<u64> },
    Forget(String, Answer<Forgotten>),
    Probe(Answer<()>),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) shared: Arc<Shared>,
    pub(super) next_id: i64,
    /// Held as long as anything can be written.
    pub(super) lock: Option<FileLock>,
}

impl Writer {
    pub(super) async fn run(mut self, mut ops: mpsc::Receiver<Op>) {
        let mut company = false;
        while let Some(first) = ops.recv().await {
            if company && ops.len() < MAX_BATCH / 2 && !matches!(first, Op::Chore(_)) {
                tokio::time::sleep(LINGER).await;
            }
            let (mut facts, mut reports, mut chore) = (Vec::new(), Vec::new(), None);
            let mut next = Some(first);
            while let Some(op) = next.take() {
                match op {
                    Op::Fact(fact, answer) => facts.push((*fact, answer)),
                    Op::Report(report, answer) => reports.push((report, answer)),
                    Op::Chore(one) => chore = Some(one),
                }
                if chore.is_none() && facts.len() + reports.len() < MAX_BATCH {
                    next = ops.try_recv().ok();
                }
            }
            company = facts.len() + reports.len() > 1;
            self.write(facts, reports).await;
            match chore {
                Some(Chore::Close(answer)) => {
                    drop(self.lock.take());
                    if let Err(error) = self.connection.close().await {
                        tracing::warn!(%error, "the store was not closed cleanly; it will be mended when it is opened");
                    }
                    let _ = answer.send(());
                    return;
                }
                Some(chore) => self.chore(chore).await,
                None => {}
            }
        }
    }

    /// Writes facts and reports in one transaction and answers. If that fails for a reason that may lie in one of them,
    /// each is written by itself.
    async fn write(&mut self, facts: Vec<(CallFact, Answer<Committed>)>, reports: Vec<(DeliveryReport, Answer<bool>)>) {
        // A lease that has run out and was given again counts for nothing.
        let (reports, stale): (Vec<_>, Vec<_>) =
            reports.into_iter().partition(|(report, _)| self.shared.leases.holds(&report.lease));
        for (_, answer) in stale {
            let _ = answer.send(Ok(false));
        }
        if facts.is_empty() && reports.is_empty() {
            return;
        }
        let (facts, fact_answers): (Vec<_>, Vec<_>) = facts.into_iter().unzip();
        let (reports, report_answers): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
        match self.transact(&facts, &reports).await {
            Ok((committed, reported)) => {
                for report in &reports {
                    self.shared.leases.end(&report.lease);
                }
                for (answer, committed) in fact_answers.into_iter().zip(committed) {
                    let _ = answer.send(Ok(committed));
                }
                for (answer, reported) in report_answers.into_iter().zip(reported) {
                    let _ = answer.send(Ok(reported));
                }
            }
            Err(error) if facts.len() + reports.len() == 1 || matches!(error, Error::StoreDiskFull { .. }) => {
                for answer in fact_answers {
                    let _ = answer.send(Err(error.clone()));
                }
                for answer in report_answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, waiting = facts.len() + reports.len(), "written one by one after a failure");
                for (fact, answer) in facts.into_iter().zip(fact_answers) {
                    let result = self.transact(std::slice::from_ref(&fact), &[]).await;
                    let committed = result.and_then(|(committed, _)| committed.into_iter().next().ok_or(error.clone()));
                    let _ = answer.send(committed);
                }
                for (report, answer) in reports.into_iter().zip(report_answers) {
                    let result = self.transact(&[], std::slice::from_ref(&report)).await;
                    if result.is_ok() {
                        self.shared.leases.end(&report.lease);
                    }
                    let _ = answer.send(result.map(|(_, reported)| reported.first().copied().unwrap_or(false)));
                }
            }
        }
    }

    async fn transact(
        &mut self,
        facts: &[CallFact],
        reports: &[DeliveryReport],
    ) -> Result<(Vec<Committed>, Vec<bool>)> {
        let result = self.try_transact(facts, reports).await;
        let result = result.map_err(|error| fault("commit facts", &error));
        self.judge(&result);
        let (committed, reported, changes) = result?;
        self.publish(changes);
        Ok((committed, reported))
    }

    async fn try_transact(
        &mut self,
        facts: &[CallFact],
        reports: &[DeliveryReport],
    ) -> Result<(Vec<Committed>, Vec<bool>, BatchChanges), sqlx::Error> {
        let shared = self.shared.clone();
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let mut batch = Batch::new(shared.clock.now(), &shared.routes, self.next_id);

        let aliases: HashSet<AliasKey> = facts.iter().flat_map(Batch::aliases_of).collect();
        let aliases: Vec<AliasKey> = aliases.into_iter().collect();
        for (alias, id) in rows::find_aliases(&mut transaction, &aliases).await? {
            batch.found_alias(alias, id);
        }
        let mut ids = batch.found_records();
        let records: Vec<RecordId> = ids.iter().copied().collect();
        for (id, record) in rows::load_records(&mut transaction, &records).await? {
            batch.loaded_record(id, record);
        }
        ids.extend(reports.iter().map(|report| report.lease.record));
        let ids: Vec<RecordId> = ids.into_iter().collect();
        for lane in rows::load_lanes(&mut transaction, &shared.names, &ids).await? {
            batch.loaded_lane(lane);
        }

        let committed = facts.iter().map(|fact| batch.commit(fact)).collect();
        let reported = reports.iter().map(|report| batch.report(report)).collect();
        let changes = batch.into_changes();
        put(&mut transaction, &shared, &changes).await?;
        transaction.commit().await?;
        self.next_id = changes.next_id;
        Ok((committed, reported, changes))
    }

    /// Notes whether the store works.
    fn judge<T>(&self, result: &Result<T>) {
        let health = match result {
            Ok(_) => StoreHealth::Working,
            Err(error) => {
                let since = match &*self.shared.health.borrow() {
                    StoreHealth::Failing { since, .. } => *since,
                    StoreHealth::Working => self.shared.clock.now(),
                };
                StoreHealth::Failing { since, error: error.clone() }
            }
        };
        self.shared.health.send_if_modified(|known| {
            let modified = *known != health;
            if modified {
                match &health {
                    StoreHealth::Working => tracing::info!("the store works again"),
                    StoreHealth::Failing { error, .. } => tracing::error!(%error, "the store fails"),
                }
                *known = health;
            }
            modified
        });
    }

    fn publish(&self, changes: BatchChanges) {
        if self.shared.changes.receiver_count() > 0 {
            for change in changes.changes {
                let _ = self.shared.changes.send(change);
            }
        }
        if changes.due {
            self.shared.due.send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    async fn chore(&mut self, chore: Chore) {
        match chore {
            Chore::Replay(shelf, now, answer) => {
                let result = self.change_shelf(shelf, |lane| lane.replay(now)).await;
                let _ = answer.send(self.judged_count("replay dead letters", result));
            }
            Chore::Discard(shelf, now, answer) => {
                let result = self.change_shelf(shelf, |lane| lane.discard(now)).await;
                let _ = answer.send(self.judged_count("discard dead letters", result));
            }
            Chore::Reap { silent_since, now, limit, answer } => {
                let result = self.reap(silent_since, now, limit).await;
                let _ = answer.send(self.judged_count("close calls without an end", result));
            }
            Chore::Sweep { ended_before, limit, answer } => {
                let result = self.sweep(ended_before, limit).await;
                let _ = answer.send(self.judged_count("delete old calls", result));
            }
            Chore::Forget(client_id, answer) => {
                let result = self.forget(&client_id).await;
                let _ = answer.send(self.judged("erase a client's data", result));
            }
            Chore::Probe(answer) => {
                let result = self.probe().await;
                let _ = answer.send(self.judged("write a mark", result));
            }
            Chore::Close(_) => {}
        }
    }

    /// Writes the mark of the schema's version again, which is a page of the file and a line of its log.
    async fn probe(&mut self) -> Result<(), sqlx::Error> {
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let mark = format!("PRAGMA user_version = {SCHEMA_VERSION}");
        transaction.execute(sqlx::AssertSqlSafe(mark)).await?;
        transaction.commit().await
    }

    fn judged<T>(&self, action: &'static str, result: Result<T, sqlx::Error>) -> Result<T> {
        let result = result.map_err(|error| fault(action, &error));
        self.judge(&result);
        result
    }

    /// The same of a chore that writes only if there is something to do: nothing written tells nothing good of the disk.
    fn judged_count(&self, action: &'static str, result: Result<u64, sqlx::Error>) -> Result<u64> {
        if matches!(result, Ok(0)) { Ok(0) } else { self.judged(action, result) }
    }

    async fn change_shelf(&mut self, shelf: Shelf, change: impl Fn(&mut Lane) -> bool) -> Result<u64, sqlx::Error> {
        let shared = self.shared.clone();
        let mut changed = 0;
        let mut after = -1_i64;
        loop {
            let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
            let mut query = rows::build("SELECT DISTINCT call_id FROM lane WHERE shelved <> 0 AND call_id > ");
            query.push_bind(after);
            if let Shelf::Lane(RecordId(id), _) | Shelf::Record(RecordId(id)) = shelf {
                query.push(" AND call_id = ").push_bind(id);
            }
            query.push(" ORDER BY call_id LIMIT ").push_bind(i64::try_from(CHORE_RECORDS).unwrap_or(i64::MAX));
            let ids: Vec<i64> = query.build_query_scalar().fetch_all(&mut *transaction).await?;
            let Some(last) = ids.last().copied() else { break };
            after = last;
            let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
            let mut lanes = rows::load_lanes(&mut transaction, &shared.names, &ids).await?;
            lanes.retain_mut(|lane| {
                !matches!(shelf, Shelf::Lane(_, channel) if channel != lane.channel) && change(lane)
            });
            rows::put_lanes(&mut transaction, &shared.names, &lanes.iter().collect::<Vec<_>>()).await?;
            transaction.commit().await?;
            for lane in &lanes {
                let _ = shared.changes.send(StoreChange { record: lane.record, kind: ChangeKind::Delivery });
            }
            changed += lanes.len() as u64;
        }
        self.shared.due.send_modify(|version| *version = version.wrapping_add(1));
        Ok(changed)
    }

    async fn reap(&mut self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64, sqlx::Error> {
        let shared = self.shared.clone();
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM call WHERE ended_ms IS NULL AND last_ms < ? ORDER BY last_ms LIMIT ?")
                .bind(silent_since.as_millis())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut *transaction)
                .await?;
        let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
        let mut batch = Batch::new(now, &shared.routes, self.next_id);
        for (id, record) in rows::load_records(&mut transaction, &ids).await? {
            batch.loaded_record(id, record);
        }
        for lane in rows::load_lanes(&mut transaction, &shared.names, &ids).await? {
            batch.loaded_lane(lane);
        }
        let reaped = ids.iter().filter(|id| batch.reap(**id)).count();
        let changes = batch.into_changes();
        put(&mut transaction, &shared, &changes).await?;
        transaction.commit().await?;
        self.publish(changes);
        Ok(reaped as u64)
    }

    async fn sweep(&mut self, ended_before: UnixMillis, limit: usize) -> Result<u64, sqlx::Error> {
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let found = sqlx::query(
            "SELECT id, record FROM call WHERE ended_ms < ? AND NOT EXISTS \
             (SELECT 1 FROM lane WHERE call_id = call.id AND due_ms IS NOT NULL) ORDER BY ended_ms LIMIT ?",
        )
        .bind(ended_before.as_millis())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
        let (mut ids, mut aliases) = (Vec::with_capacity(found.len()), Vec::new());
        for row in &found {
            let id = RecordId(row.try_get(0)?);
            ids.push(id);
            aliases.extend(AliasKey::all_of(&rows::record(row, 1)?));
        }
        // A name may have gone over to a younger record.
        let mut own = rows::find_aliases(&mut transaction, &aliases).await?;
        own.retain(|(_, id)| ids.contains(id));
        let own: Vec<AliasKey> = own.into_iter().map(|(alias, _)| alias).collect();
        rows::drop_aliases(&mut transaction, &own).await?;
        rows::drop_records(&mut transaction, &ids).await?;
        transaction.commit().await?;
        for id in &ids {
            let _ = self.shared.changes.send(StoreChange { record: *id, kind: ChangeKind::Gone });
        }
        Ok(ids.len() as u64)
    }

    async fn forget(&mut self, client_id: &str) -> Result<Forgotten, sqlx::Error> {
        let shared = self.shared.clone();
        let mut forgotten = Forgotten::default();
        loop {
            let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
            let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM call WHERE client_id = ? LIMIT ?")
                .bind(client_id.to_owned())
                .bind(i64::try_from(CHORE_RECORDS).unwrap_or(i64::MAX))
                .fetch_all(&mut *transaction)
                .await?;
            if ids.is_empty() {
                break;
            }
            let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
            let mut records = rows::load_records(&mut transaction, &ids).await?;
            for (_, record) in &mut records {
                record.forget_people();
            }
            let mut lanes = rows::load_lanes(&mut transaction, &shared.names, &ids).await?;
            forgotten.tickets.extend(lanes.iter().filter_map(ticket_of));
            lanes.iter_mut().for_each(Lane::forget_people);
            rows::put_lanes(&mut transaction, &shared.names, &lanes.iter().collect::<Vec<_>>()).await?;
            rows::put_records(&mut transaction, &records.iter().map(|(id, record)| (*id, record)).collect::<Vec<_>>())
                .await?;
            transaction.commit().await?;
            forgotten.calls += ids.len() as u64;
            for id in ids {
                let _ = shared.changes.send(StoreChange { record: id, kind: ChangeKind::Gone });
            }
        }
        // Also if nobody was found: an erasure before may have left the log behind, kept by readers.
        self.empty_log().await?;
        Ok(forgotten)
    }

    /// Empties the write-ahead log, in which older versions of pages stand.
    async fn empty_log(&mut self) -> Result<(), sqlx::Error> {
        for _ in 0..CHECKPOINT_TRIES {
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await?;
            if row.try_get::<i64, _>(0)? == 0 {
                return Ok(());
            }
            tokio::time::sleep(CHECKPOINT_PAUSE).await;
        }
        Err(sqlx::Error::Protocol("readers kept the write-ahead log from being emptied; erase once more".to_owned()))
    }
}

fn ticket_of(lane: &Lane) -> Option<(ZammadName, TicketId)> {
    lane.ticket.filter(|_| lane.channel == Channel::Ticket).map(|ticket| (lane.zammad.clone(), ticket))
}

/// Begins a transaction. SQLite rolls some that failed back by itself, such as when the disk is full; sqlx then fails to
/// roll back, takes the transaction for open, and would begin none any more on this connection (seen with 0.9.0). So a
/// connection that still counts one after its rollback is over is replaced.
async fn begin<'c>(connection: &'c mut SqliteConnection, path: &Path) -> Result<Transaction<'c, Sqlite>, sqlx::Error> {
    if connection.is_in_transaction() {
        // Answered when the rollback of the transaction that was dropped is over.
        connection.ping().await?;
        if connection.is_in_transaction() {
            let stuck = std::mem::replace(connection, options(path).connect().await?);
            if let Err(error) = stuck.close_hard().await {
                tracing::warn!(%error, "a connection that was stuck in a transaction was not closed cleanly");
            }
        }
    }
    connection.begin_with("BEGIN IMMEDIATE").await
}

async fn put(connection: &mut SqliteConnection, shared: &Shared, changes: &BatchChanges) -> Result<(), sqlx::Error> {
    let records: Vec<_> = changes
        .pages
        .iter()
        .filter(|(_, page)| page.record_changed)
        .filter_map(|(id, page)| Some((*id, page.record.as_ref()?)))
        .collect();
    rows::put_records(connection, &records).await?;
    let lanes: Vec<&Lane> = changes
        .pages
        .values()
        .flat_map(|page| page.lanes.iter().filter(|lane| page.lanes_changed.contains(&lane.channel)))
        .collect();
    rows::put_lanes(connection, &shared.names, &lanes).await?;
    let aliases: Vec<_> = changes.aliases.iter().map(|(alias, id)| (*alias, *id)).collect();
    rows::put_aliases(connection, &aliases).await?;
    rows::drop_records(connection, &changes.gone).await
}
