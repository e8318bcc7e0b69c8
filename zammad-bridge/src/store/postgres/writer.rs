//! What is written: facts, reports and chores, each in a transaction that no other replica gets into.
//!
//! Every transaction takes its locks in one order: the names that its facts know a call by (as advisory locks, since the
//! row may not be there yet), then records, then lanes, each by rising key. Replicas that get facts of one call at once
//! so come one after the other, and find what the one before has written.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::Shared;
use super::connections::{self, bounded, query};
use super::fault::is_conflict;
use super::rows::{self, LaneRow};
use crate::call_book::{CallFact, CallRecord, Channel};
use crate::clock::UnixMillis;
use crate::error::{Error, Result};
use crate::store::alias::AliasKey;
use crate::store::batch::{Batch, BatchChanges};
use crate::store::group_commit::{CHORE_RECORDS, Ledger, ShelfChange};
use crate::store::migrate::Kept;
use crate::store::{
    ChangeKind, Committed, DeliveryReport, Forgotten, RecordId, Shelf, StoreChange, Swept, TicketId, ZammadName,
};

/// How often a transaction is tried when replicas got in each other's way, or a connection turned out to be dead.
const TRIES: u32 = 4;
/// How often names are looked up again because their records went into others meanwhile.
const LOOKUPS: u32 = 5;

type DbResult<T> = Result<T, sqlx::Error>;
type Transacted = (Vec<Committed>, Vec<bool>, BatchChanges);

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
}

/// Does a piece of work in a transaction of its own, again if that was in vain for no reason of its own.
macro_rules! in_transaction {
    ($self:ident, $action:literal, |$connection:ident| $work:expr) => {{
        let shared = $self.shared.clone();
        let mut tries = 0;
        let result = loop {
            tries += 1;
            let mut conflict = false;
            let result = match shared.connections.lend().await {
                Ok(mut lent) => {
                    let work = async {
                        let $connection = &mut lent.connection;
                        connections::begin($connection).await?;
                        let done = $work;
                        connections::commit($connection).await?;
                        Ok(done)
                    };
                    let noted = async { work.await.inspect_err(|error| conflict = is_conflict(error)) };
                    let result = bounded($action, noted).await;
                    shared.connections.give_back(lent, &result);
                    result
                }
                Err(error) => Err(error),
            };
            // A server that was restarted has left us dead connections: the next one is another.
            let again = conflict || (tries == 1 && matches!(result, Err(Error::StoreAway { .. })));
            if result.is_ok() || !again || tries == TRIES {
                break result;
            }
        };
        shared.judge(&result);
        result
    }};
}

#[async_trait]
impl Ledger for Writer {
    async fn transact(
        &mut self,
        facts: &[CallFact],
        reports: &[DeliveryReport],
    ) -> Result<(Vec<Committed>, Vec<bool>)> {
        let result = in_transaction!(self, "commit facts", |connection| {
            transact(connection, &self.shared, facts, reports).await?
        });
        let (committed, reported, changes) = result?;
        self.shared.publish(changes.changes, changes.due || !reports.is_empty());
        Ok((committed, reported))
    }

    async fn change_shelf(&mut self, shelf: Shelf, change: ShelfChange, now: UnixMillis) -> Result<u64> {
        let (mut changed, mut after) = (0, -1);
        loop {
            let done = in_transaction!(self, "change what is on the shelf", |connection| {
                change_shelf(connection, &self.shared, shelf, change, now, after).await?
            });
            let Some((last, records)) = done? else { return Ok(changed) };
            (after, changed) = (last, changed + records.len() as u64);
            self.shared.publish(changes(records, ChangeKind::Delivery), true);
        }
    }

    async fn reap(&mut self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        let result = in_transaction!(self, "close calls without an end", |connection| {
            reap(connection, &self.shared, silent_since, now, limit).await?
        });
        let (reaped, changes) = result?;
        self.shared.publish(changes.changes, changes.due);
        Ok(reaped)
    }

    async fn sweep(&mut self, ended_before: UnixMillis, limit: usize) -> Result<Swept> {
        let result = in_transaction!(self, "delete old calls", |connection| {
            sweep(connection, &self.shared, ended_before, limit).await?
        });
        let (swept, gone) = result?;
        self.shared.publish(changes(gone, ChangeKind::Gone), false);
        Ok(swept)
    }

    async fn forget(&mut self, client_id: &str) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        let client_id = rows::storable(client_id);
        loop {
            let done = in_transaction!(self, "erase a client's data", |connection| {
                forget(connection, &self.shared, &client_id).await?
            });
            let (gone, tickets) = done?;
            if gone.is_empty() {
                return Ok(forgotten);
            }
            forgotten.calls += gone.len() as u64;
            forgotten.tickets.extend(tickets);
            self.shared.publish(changes(gone, ChangeKind::Gone), false);
        }
    }

    async fn probe(&mut self) -> Result<()> {
        in_transaction!(self, "write a mark", |connection| {
            // The version that is there, be it a newer one.
            connections::run(connection, "UPDATE zammad_bridge.schema_version SET version = version").await?;
        })
    }

    async fn close(self) {}
}

fn changes(records: Vec<RecordId>, kind: ChangeKind) -> Vec<StoreChange> {
    records.into_iter().map(|record| StoreChange { record, kind }).collect()
}

async fn transact(
    connection: &mut PgConnection,
    shared: &Shared,
    facts: &[CallFact],
    reports: &[DeliveryReport],
) -> DbResult<Transacted> {
    let now = shared.clock.now();
    let mut aliases: Vec<AliasKey> = facts.iter().flat_map(Batch::aliases_of).collect();
    aliases.sort_unstable();
    aliases.dedup();
    let Known { mut ids, found, records } = lock_known(connection, &aliases).await?;
    let new_ids = fresh_ids(connection, facts.len()).await?;
    ids.extend(reports.iter().map(|report| report.lease.record));
    ids.sort_unstable();
    ids.dedup();
    let lanes = rows::lock_lanes(connection, &shared.names, &ids, shared.database_time(now)).await?;

    let mut batch = Batch::new(now, &shared.routes, new_ids.into_iter());
    found.into_iter().for_each(|(alias, id)| batch.found_alias(alias, id));
    records.into_iter().for_each(|(id, record)| batch.loaded_record(id, record));
    let mut tokens = Vec::new();
    for LaneRow { lane, token, leased } in lanes {
        tokens.extend(token.map(|token| (lane.record, lane.channel, token)));
        batch.loaded_lane(lane, leased);
    }
    let committed = facts.iter().map(|fact| batch.commit(fact)).collect();
    let mut ended = Vec::new();
    let mut reported = Vec::with_capacity(reports.len());
    for report in reports {
        let own = (report.lease.record, report.lease.channel, report.lease.token);
        // Whoever has the lane now has another token: this report counts for nothing.
        let held = tokens.iter().position(|token| *token == own);
        let counted = held.is_some() && batch.report(report);
        if let Some(held) = held {
            tokens.swap_remove(held);
            ended.push((own.0, own.1));
        }
        reported.push(counted);
    }
    let changes = batch.into_changes();
    put(connection, shared, &changes).await?;
    rows::end_leases(connection, &ended).await?;
    shared.notify(connection, &changes.changes, changes.due || !ended.is_empty()).await?;
    Ok((committed, reported, changes))
}

/// What is known of some names, and other replicas are kept from.
struct Known {
    ids: Vec<RecordId>,
    found: Vec<(AliasKey, RecordId)>,
    records: Vec<(RecordId, CallRecord)>,
}

/// Keeps other replicas from calls of these names until the transaction ends, and reads them.
async fn lock_known(connection: &mut PgConnection, aliases: &[AliasKey]) -> DbResult<Known> {
    let mut known = Known { ids: Vec::new(), found: Vec::new(), records: Vec::new() };
    if aliases.is_empty() {
        return Ok(known);
    }
    lock_names(connection, aliases).await?;
    for _ in 0..LOOKUPS {
        known.found = rows::find_aliases(connection, aliases).await?;
        known.ids = known.found.iter().map(|(_, id)| *id).collect();
        known.ids.sort_unstable();
        known.ids.dedup();
        known.records = rows::lock_records(connection, &known.ids).await?;
        // A record that is not there any more went into another, whose name it has now, or was deleted.
        if known.records.len() == known.ids.len() || rows::find_aliases(connection, aliases).await? == known.found {
            break;
        }
    }
    Ok(known)
}

/// Takes in records that another store has kept.
pub(super) async fn take_in(connection: &mut PgConnection, shared: &Shared, kept: Vec<Kept>) -> DbResult<()> {
    let now = shared.clock.now();
    connections::begin(connection).await?;
    let mut zammads: Vec<ZammadName> =
        kept.iter().flat_map(|(_, _, lanes)| lanes).map(|lane| lane.zammad.clone()).collect();
    zammads.sort_unstable();
    zammads.dedup();
    shared.names.add(connection, &zammads).await?;
    let mut aliases: Vec<AliasKey> = kept.iter().flat_map(|(_, record, _)| AliasKey::names_of(record)).collect();
    aliases.sort_unstable();
    aliases.dedup();
    let Known { ids, found, records } = lock_known(connection, &aliases).await?;
    let new_ids = fresh_ids(connection, kept.len()).await?;
    let lanes = rows::lock_lanes(connection, &shared.names, &ids, shared.database_time(now)).await?;
    let mut batch = Batch::new(now, &shared.routes, new_ids.into_iter());
    found.into_iter().for_each(|(alias, id)| batch.found_alias(alias, id));
    records.into_iter().for_each(|(id, record)| batch.loaded_record(id, record));
    lanes.into_iter().for_each(|row| batch.loaded_lane(row.lane, row.leased));
    kept.into_iter().for_each(|(_, record, lanes)| batch.take_in(record, lanes));
    let changes = batch.into_changes();
    put(connection, shared, &changes).await?;
    shared.notify(connection, &changes.changes, true).await?;
    connections::commit(connection).await
}

/// Keeps other replicas from calls of these names until the transaction ends. The keys come sorted.
async fn lock_names(connection: &mut PgConnection, aliases: &[AliasKey]) -> DbResult<()> {
    let mut keys: Vec<i64> = aliases
        .iter()
        .map(|alias| alias.0.iter().rev().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    query("SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key").bind(keys).execute(connection).await?;
    Ok(())
}

async fn fresh_ids(connection: &mut PgConnection, count: usize) -> DbResult<Vec<i64>> {
    sqlx::query_scalar("SELECT nextval('zammad_bridge.call_id') FROM generate_series(1, $1)")
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .persistent(false)
        .fetch_all(connection)
        .await
}

async fn put(connection: &mut PgConnection, shared: &Shared, changes: &BatchChanges) -> DbResult<()> {
    rows::put_records(connection, &changes.records()).await?;
    rows::put_lanes(connection, &shared.names, &changes.lanes()).await?;
    rows::move_aliases(connection, &changes.moved_aliases).await?;
    rows::put_aliases(connection, &changes.aliases()).await?;
    rows::drop_records(connection, &changes.gone).await
}

async fn change_shelf(
    connection: &mut PgConnection,
    shared: &Shared,
    shelf: Shelf,
    change: ShelfChange,
    now: UnixMillis,
    after: i64,
) -> DbResult<Option<(i64, Vec<RecordId>)>> {
    let only = match shelf {
        Shelf::Lane(RecordId(id), _) | Shelf::Record(RecordId(id)) => Some(id),
        Shelf::All => None,
    };
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT call_id FROM zammad_bridge.lane WHERE shelved <> 0 AND call_id > $1 \
         AND ($2::bigint IS NULL OR call_id = $2) ORDER BY call_id LIMIT $3",
    )
    .bind(after)
    .bind(only)
    .bind(i64::try_from(CHORE_RECORDS).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = ids.last().copied() else { return Ok(None) };
    let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
    let lanes = rows::lock_lanes(connection, &shared.names, &ids, shared.database_time(now)).await?;
    let mut lanes: Vec<_> = lanes.into_iter().map(|row| row.lane).collect();
    lanes.retain_mut(|lane| {
        !matches!(shelf, Shelf::Lane(_, channel) if channel != lane.channel) && change.apply(lane, now)
    });
    rows::put_lanes(connection, &shared.names, &lanes.iter().collect::<Vec<_>>()).await?;
    let records: Vec<RecordId> = lanes.iter().map(|lane| lane.record).collect();
    shared.notify(connection, &changes(records.clone(), ChangeKind::Delivery), true).await?;
    Ok(Some((last, records)))
}

async fn reap(
    connection: &mut PgConnection,
    shared: &Shared,
    silent_since: UnixMillis,
    now: UnixMillis,
    limit: usize,
) -> DbResult<(u64, BatchChanges)> {
    // Those that another replica is at are not silent.
    let rows = query(
        "SELECT id, record FROM zammad_bridge.call WHERE ended_ms IS NULL AND last_ms < $1 ORDER BY last_ms LIMIT $2 \
         FOR UPDATE SKIP LOCKED",
    )
    .bind(silent_since.as_millis())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let mut batch = Batch::new(now, &shared.routes, std::iter::empty());
    let mut ids = Vec::with_capacity(rows.len());
    for row in &rows {
        let id = RecordId(row.try_get(0)?);
        batch.loaded_record(id, rows::record(row, 1)?);
        ids.push(id);
    }
    for row in rows::lock_lanes(connection, &shared.names, &ids, shared.database_time(now)).await? {
        batch.loaded_lane(row.lane, row.leased);
    }
    let reaped = ids.iter().filter(|id| batch.reap(**id)).count();
    let changes = batch.into_changes();
    put(connection, shared, &changes).await?;
    shared.notify(connection, &changes.changes, changes.due).await?;
    Ok((reaped as u64, changes))
}

async fn sweep(
    connection: &mut PgConnection,
    shared: &Shared,
    ended_before: UnixMillis,
    limit: usize,
) -> DbResult<(Swept, Vec<RecordId>)> {
    let rows = query(
        "SELECT id FROM zammad_bridge.call WHERE ended_ms < $1 AND NOT EXISTS \
         (SELECT 1 FROM zammad_bridge.lane WHERE call_id = call.id AND due_ms IS NOT NULL) ORDER BY ended_ms LIMIT $2 \
         FOR UPDATE SKIP LOCKED",
    )
    .bind(ended_before.as_millis())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<DbResult<_>>()?;
    let mut gone: Vec<RecordId> = ids.iter().copied().map(RecordId).collect();
    let mut lanes = rows::lock_lanes(connection, &shared.names, &gone, 0).await?;
    // What came between the look and the locks: there is something to tell again.
    let busy: HashSet<RecordId> =
        lanes.iter().filter(|row| row.lane.due.is_some()).map(|row| row.lane.record).collect();
    gone.retain(|id| !busy.contains(id));
    lanes.retain(|row| !busy.contains(&row.lane.record));
    let ids: Vec<i64> = gone.iter().map(|id| id.0).collect();
    let dead_letters = lanes.iter().filter(|row| !row.lane.shelved.is_empty()).count() as u64;
    query("DELETE FROM zammad_bridge.call_alias WHERE call_id = ANY($1)").bind(ids).execute(&mut *connection).await?;
    rows::drop_records(connection, &gone).await?;
    shared.notify(connection, &changes(gone.clone(), ChangeKind::Gone), false).await?;
    Ok((Swept { records: gone.len() as u64, dead_letters }, gone))
}

async fn forget(
    connection: &mut PgConnection,
    shared: &Shared,
    client_id: &str,
) -> DbResult<(Vec<RecordId>, Vec<(ZammadName, TicketId)>)> {
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM zammad_bridge.call WHERE client_id = $1 ORDER BY id LIMIT $2")
            .bind(client_id)
            .bind(i64::try_from(CHORE_RECORDS).unwrap_or(i64::MAX))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
    let ids: Vec<RecordId> = ids.into_iter().map(RecordId).collect();
    let mut records = rows::lock_records(connection, &ids).await?;
    records.iter_mut().for_each(|(_, record)| record.forget_people());
    let lanes = rows::lock_lanes(connection, &shared.names, &ids, 0).await?;
    let mut lanes: Vec<_> = lanes.into_iter().map(|row| row.lane).collect();
    let tickets = lanes.iter().filter(|lane| lane.channel == Channel::Ticket);
    let tickets = tickets.filter_map(|lane| Some((lane.zammad.clone(), lane.ticket?))).collect();
    lanes.iter_mut().for_each(crate::store::lane::Lane::forget_people);
    rows::put_lanes(connection, &shared.names, &lanes.iter().collect::<Vec<_>>()).await?;
    rows::put_records(connection, &records.iter().map(|(id, record)| (*id, record)).collect::<Vec<_>>()).await?;
    shared.notify(connection, &changes(ids.clone(), ChangeKind::Gone), false).await?;
    Ok((ids, tickets))
}
