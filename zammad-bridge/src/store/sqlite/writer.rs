//! The connection that writes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{ConnectOptions as _, Connection, Executor as _, Row, Sqlite, SqliteConnection, Transaction};

use super::fault::fault;
use super::file_lock::FileLock;
use super::schema::SCHEMA_VERSION;
use super::{Shared, options, rows};
use crate::call_book::{CallFact, Channel};
use crate::clock::UnixMillis;
use crate::error::Result;
use crate::store::alias::AliasKey;
use crate::store::batch::{Batch, BatchChanges};
use crate::store::group_commit::{CHORE_RECORDS, Ledger, ShelfChange};
use crate::store::lane::Lane;
use crate::store::{
    ChangeKind, Committed, DeliveryReport, Forgotten, RecordId, Shelf, StoreChange, Swept, TicketId, ZammadName,
};

/// How often a checkpoint after an erasure is tried while readers are in the way, and how long between tries.
const CHECKPOINT_TRIES: u32 = 50;
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) shared: Arc<Shared>,
    pub(super) next_id: i64,
    /// Held as long as anything can be written.
    pub(super) lock: Option<FileLock>,
}

#[async_trait]
impl Ledger for Writer {
    async fn transact(
        &mut self,
        facts: &[CallFact],
        reports: &[DeliveryReport],
    ) -> Result<(Vec<Committed>, Vec<bool>)> {
        // A lease that has run out and was given again counts for nothing.
        let held: Vec<bool> = reports.iter().map(|report| self.shared.leases.holds(&report.lease)).collect();
        let own: Vec<DeliveryReport> =
            reports.iter().zip(&held).filter(|(_, held)| **held).map(|(report, _)| report.clone()).collect();
        if facts.is_empty() && own.is_empty() {
            return Ok((Vec::new(), held));
        }
        let result = self.try_transact(facts, &own).await;
        let result = result.map_err(|error| fault("commit facts", &error));
        self.judge(&result);
        let (committed, reported, changes) = result?;
        for report in &own {
            self.shared.leases.end(&report.lease);
        }
        self.publish(changes);
        let mut reported = reported.into_iter();
        let reported = held.into_iter().map(|held| held && reported.next().unwrap_or(false)).collect();
        Ok((committed, reported))
    }

    async fn change_shelf(&mut self, shelf: Shelf, change: ShelfChange, now: UnixMillis) -> Result<u64> {
        let result = self.try_change_shelf(shelf, |lane| change.apply(lane, now)).await;
        self.judged_if(|changed| *changed > 0, "change what is on the shelf", result)
    }

    async fn reap(&mut self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        let result = self.try_reap(silent_since, now, limit).await;
        self.judged_if(|closed| *closed > 0, "close calls without an end", result)
    }

    async fn sweep(&mut self, ended_before: UnixMillis, limit: usize) -> Result<Swept> {
        let result = self.try_sweep(ended_before, limit).await;
        self.judged_if(|swept| swept.records > 0, "delete old calls", result)
    }

    async fn probe(&mut self) -> Result<()> {
        let result = self.try_probe().await;
        self.judged("write a mark", result)
    }

    async fn forget(&mut self, client_id: &str) -> Result<Forgotten> {
        let result = self.try_forget(client_id).await;
        self.judged("erase a client's data", result)
    }

    async fn close(self) {
        // Whoever waits for the lock finds a file that is whole.
        let Self { connection, lock, .. } = self;
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, "the store was not closed cleanly; it will be mended when it is opened");
        }
        drop(lock);
    }
}

impl Writer {
    async fn try_transact(
        &mut self,
        facts: &[CallFact],
        reports: &[DeliveryReport],
    ) -> Result<(Vec<Committed>, Vec<bool>, BatchChanges), sqlx::Error> {
        let shared = self.shared.clone();
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let now = shared.clock.now();
        let mut batch = Batch::new(now, &shared.routes, self.next_id..);

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
            let leased = shared.leases.is_held(lane.record, lane.channel, now);
            batch.loaded_lane(lane, leased);
        }

        let committed = facts.iter().map(|fact| batch.commit(fact)).collect();
        let reported = reports.iter().map(|report| batch.report(report)).collect();
        let changes = batch.into_changes();
        put(&mut transaction, &shared, &changes, self.next_id).await?;
        transaction.commit().await?;
        self.next_id += changes.begun;
        Ok((committed, reported, changes))
    }

    /// Notes whether the store works.
    fn judge<T>(&self, result: &Result<T>) {
        crate::store::note_health(&self.shared.health, result.as_ref().err(), &*self.shared.clock);
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

    fn judged<T>(&self, action: &'static str, result: Result<T, sqlx::Error>) -> Result<T> {
        let result = result.map_err(|error| fault(action, &error));
        self.judge(&result);
        result
    }

    /// The same of a chore that writes only if there is something to do: nothing written tells nothing good of the disk.
    fn judged_if<T>(
        &self,
        wrote: impl Fn(&T) -> bool,
        action: &'static str,
        result: Result<T, sqlx::Error>,
    ) -> Result<T> {
        match result {
            Ok(done) if !wrote(&done) => Ok(done),
            result => self.judged(action, result),
        }
    }

    /// Writes the mark of the schema's version again, which is a page of the file and a line of its log.
    async fn try_probe(&mut self) -> Result<(), sqlx::Error> {
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let mark = format!("PRAGMA user_version = {SCHEMA_VERSION}");
        transaction.execute(sqlx::AssertSqlSafe(mark)).await?;
        transaction.commit().await
    }

    async fn try_change_shelf(&mut self, shelf: Shelf, change: impl Fn(&mut Lane) -> bool) -> Result<u64, sqlx::Error> {
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

    async fn try_reap(&mut self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64, sqlx::Error> {
        let shared = self.shared.clone();
        let mut transaction = begin(&mut self.connection, &self.shared.path).await?;
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM call WHERE ended_ms IS NULL AND last_ms < ? ORDER BY last_ms LIMIT ?")
                .bind(silent_since.as_millis())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut *transaction)
                .await?;
        let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
        let mut batch = Batch::new(now, &shared.routes, self.next_id..);
        for (id, record) in rows::load_records(&mut transaction, &ids).await? {
            batch.loaded_record(id, record);
        }
        for lane in rows::load_lanes(&mut transaction, &shared.names, &ids).await? {
            batch.loaded_lane(lane, false);
        }
        let reaped = ids.iter().filter(|id| batch.reap(**id)).count();
        let changes = batch.into_changes();
        put(&mut transaction, &shared, &changes, self.next_id).await?;
        transaction.commit().await?;
        self.publish(changes);
        Ok(reaped as u64)
    }

    async fn try_sweep(&mut self, ended_before: UnixMillis, limit: usize) -> Result<Swept, sqlx::Error> {
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
            // What cannot be read any more goes as well; names that lead to nothing do no harm.
            if let Ok(record) = rows::record(row, 1) {
                aliases.extend(AliasKey::all_of(id, &record));
            }
        }
        // A name may have gone over to a younger record.
        let mut own = rows::find_aliases(&mut transaction, &aliases).await?;
        own.retain(|(_, id)| ids.contains(id));
        let own: Vec<AliasKey> = own.into_iter().map(|(alias, _)| alias).collect();
        let lanes = rows::load_lanes(&mut transaction, &self.shared.names, &ids).await?;
        let dead_letters = lanes.iter().filter(|lane| !lane.shelved.is_empty()).count();
        rows::drop_aliases(&mut transaction, &own).await?;
        rows::drop_records(&mut transaction, &ids).await?;
        rows::note_next_id(&mut transaction, self.next_id).await?;
        transaction.commit().await?;
        for id in &ids {
            let _ = self.shared.changes.send(StoreChange { record: *id, kind: ChangeKind::Gone });
        }
        Ok(Swept { records: ids.len() as u64, dead_letters: dead_letters as u64 })
    }

    async fn try_forget(&mut self, client_id: &str) -> Result<Forgotten, sqlx::Error> {
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

async fn put(
    connection: &mut SqliteConnection,
    shared: &Shared,
    changes: &BatchChanges,
    next_id: i64,
) -> Result<(), sqlx::Error> {
    let records = changes.records();
    rows::put_records(connection, &records).await?;
    rows::put_lanes(connection, &shared.names, &changes.lanes()).await?;
    rows::move_aliases(connection, &changes.moved_aliases).await?;
    rows::put_aliases(connection, &changes.aliases()).await?;
    if !changes.gone.is_empty() {
        rows::drop_records(connection, &changes.gone).await?;
        rows::note_next_id(connection, next_id + changes.begun).await?;
    }
    Ok(())
}
