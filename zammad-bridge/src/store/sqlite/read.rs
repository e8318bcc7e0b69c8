//! What is read, on connections of their own, beside the writer.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{Row, SqlitePool};

use super::{Shared, rows};
use crate::call_book::CallState;
use crate::clock::UnixMillis;
use crate::store::alias::AliasKey;
use crate::store::lane::Lane;
use crate::store::migrate::KeptPart;
use crate::store::{
    Backlog, CallPage, CallQuery, DueDelivery, LaneView, MAX_PAGE_RECORDS, RecordId, StoredCall, TakeDue, Taken,
    Unreadable, ZammadBacklog,
};

type DbResult<T> = Result<T, sqlx::Error>;

/// What is due, and what is due of records that cannot be read.
pub(super) async fn take_due(
    readers: &SqlitePool,
    shared: &Shared,
    request: &TakeDue,
) -> DbResult<(Taken, Vec<Unreadable>)> {
    // Asked before the file is read: a lease that ends meanwhile still keeps its lane back, whose row may be of before
    // its report.
    let leased = shared.leases.held(request.now);
    let zammad = shared.names.number(&request.zammad);
    let channel = rows::channel_number(request.channel);
    let wanted_rows = request.limit.saturating_add(leased.len());
    let limit = i64::try_from(wanted_rows).unwrap_or(i64::MAX);
    let mut connection = readers.acquire().await?;
    let found = sqlx::query(
        "SELECT lane.*, call.record FROM lane INDEXED BY lane_due CROSS JOIN call ON call.id = lane.call_id \
         WHERE lane.zammad = ? AND lane.channel = ? AND lane.due_ms <= ? ORDER BY lane.due_ms, lane.call_id LIMIT ?",
    )
    .bind(zammad)
    .bind(channel)
    .bind(request.now.as_millis())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let more = found.len() >= wanted_rows;
    let next_due = if more {
        Some(request.now)
    } else {
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT min(due_ms) FROM lane INDEXED BY lane_due WHERE zammad = ? AND channel = ? AND due_ms > ?",
        )
        .bind(zammad)
        .bind(channel)
        .bind(request.now.as_millis())
        .fetch_one(&mut *connection)
        .await?;
        next.map(UnixMillis::new)
    };
    let lanes = found.iter().map(|row| rows::lane(row, &shared.names)).collect::<DbResult<Vec<_>>>()?;
    // From here on nothing fails any more: leases that nobody got would keep their lanes back until they ran out.
    let mut taken = Taken { next_due, ..Taken::default() };
    let mut unreadable = Vec::new();
    let until = request.now + request.lease_for;
    for (lane, row) in lanes.into_iter().zip(&found) {
        if taken.deliveries.len() >= request.limit || leased.contains(&(lane.record, lane.channel)) {
            continue;
        }
        let Some(step) = lane.next_step() else { continue };
        let Some(lease) = shared.leases.take(lane.record, lane.channel, request.now, until) else { continue };
        let Ok(record) = rows::record(row, 15) else {
            unreadable.push(Unreadable { lease, step });
            continue;
        };
        taken.deliveries.push(DueDelivery {
            lease,
            step,
            pending: lane.wanted.minus(lane.done).minus(lane.shelved),
            done: lane.done,
            attempts: lane.attempts,
            uncertain: lane.uncertain,
            renewed: lane.renewed,
            wanted_since: lane.wanted_since,
            ticket: lane.ticket,
            record: Arc::new(record),
        });
    }
    Ok((taken, unreadable))
}

pub(super) async fn call(readers: &SqlitePool, shared: &Shared, id: RecordId) -> DbResult<Option<StoredCall>> {
    let mut connection = readers.acquire().await?;
    let Some((_, record)) = rows::load_records(&mut connection, &[id]).await?.into_iter().next() else {
        return Ok(None);
    };
    let lanes = rows::load_lanes(&mut connection, &shared.names, &[id]).await?;
    Ok(Some(StoredCall { id, record, lanes: lanes.iter().map(Lane::view).collect() }))
}

pub(super) async fn kept_after(
    readers: &SqlitePool,
    shared: &Shared,
    after: RecordId,
    limit: usize,
) -> DbResult<KeptPart> {
    let mut connection = readers.acquire().await?;
    let found = sqlx::query("SELECT id, record FROM call WHERE id > ? ORDER BY id LIMIT ?")
        .bind(after.0)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
    let mut part = KeptPart { kept: Vec::with_capacity(found.len()), last: None, unreadable: 0 };
    for row in &found {
        let id = RecordId(row.try_get(0)?);
        part.last = Some(id);
        match rows::record(row, 1) {
            Ok(record) => part.kept.push((id, record, Vec::new())),
            Err(_) => part.unreadable += 1,
        }
    }
    let ids: Vec<RecordId> = part.kept.iter().map(|(id, ..)| *id).collect();
    for lane in rows::load_lanes(&mut connection, &shared.names, &ids).await? {
        if let Some((_, _, lanes)) = part.kept.iter_mut().find(|(id, ..)| *id == lane.record) {
            lanes.push(lane);
        }
    }
    Ok(part)
}

pub(super) async fn calls(readers: &SqlitePool, shared: &Shared, query: &CallQuery) -> DbResult<CallPage> {
    let limit = query.limit.clamp(1, MAX_PAGE_RECORDS);
    let mut sql = rows::build("SELECT id, record FROM call WHERE 1");
    if let Some(RecordId(before)) = query.before {
        sql.push(" AND id < ").push_bind(before);
    }
    // The open ones and the shelved ones are few among many; they are found by their own indices.
    const OPEN: &str = " AND id IN (SELECT id FROM call INDEXED BY call_open WHERE ended_ms IS NULL)";
    match query.state {
        Some(CallState::Ringing) => sql.push(OPEN).push(" AND answered = 0"),
        Some(CallState::Answered) => sql.push(OPEN).push(" AND answered = 1"),
        Some(CallState::Ended) => sql.push(" AND ended_ms IS NOT NULL"),
        None => &mut sql,
    };
    match query.open {
        Some(true) => sql.push(OPEN),
        Some(false) => sql.push(" AND ended_ms IS NOT NULL"),
        None => &mut sql,
    };
    if query.shelved {
        sql.push(" AND id IN (SELECT call_id FROM lane WHERE shelved <> 0)");
    }
    if query.pending {
        sql.push(" AND EXISTS (SELECT 1 FROM lane WHERE call_id = call.id AND due_ms IS NOT NULL)");
    }
    if let Some(name) = &query.name {
        let (sid, call_id) = (AliasKey::call_sid(name), AliasKey::sip_call_id(name));
        let (first, last) = AliasKey::all_with_tag(name);
        sql.push(" AND (id IN (SELECT call_id FROM call_alias WHERE alias IN (").push_bind(sid.0.to_vec());
        sql.push(", ").push_bind(call_id.0.to_vec());
        sql.push(")) OR id IN (SELECT call_id FROM call_alias WHERE alias BETWEEN ").push_bind(first.0.to_vec());
        sql.push(" AND ").push_bind(last.0.to_vec()).push(") AND tag = ").push_bind(name.clone()).push(")");
    }
    if let Some(client_id) = &query.client_id {
        sql.push(" AND client_id = ").push_bind(client_id.clone());
    }
    if let Some(since) = query.since {
        sql.push(" AND started_ms >= ").push_bind(since.as_millis());
    }
    if let Some(until) = query.until {
        sql.push(" AND started_ms < ").push_bind(until.as_millis());
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));

    let mut connection = readers.acquire().await?;
    let mut found = sql.build().fetch_all(&mut *connection).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut records = Vec::with_capacity(found.len());
    for row in &found {
        records.push((RecordId(row.try_get(0)?), rows::record(row, 1)?));
    }
    let ids: Vec<RecordId> = records.iter().map(|(id, _)| *id).collect();
    let mut lanes: HashMap<RecordId, Vec<LaneView>> = HashMap::new();
    for lane in rows::load_lanes(&mut connection, &shared.names, &ids).await? {
        lanes.entry(lane.record).or_default().push(lane.view());
    }
    let calls: Vec<StoredCall> = records
        .into_iter()
        .map(|(id, record)| StoredCall { id, record, lanes: lanes.remove(&id).unwrap_or_default() })
        .collect();
    let next_before = calls.last().filter(|_| more).map(|call| call.id);
    Ok(CallPage { calls, next_before })
}

pub(super) async fn backlog(readers: &SqlitePool, shared: &Shared) -> DbResult<Backlog> {
    let mut connection = readers.acquire().await?;
    let mut zammads: Vec<ZammadBacklog> = Vec::new();
    let pending = sqlx::query(
        "SELECT zammad, channel, count(*), min(due_ms) FROM lane INDEXED BY lane_due WHERE due_ms IS NOT NULL \
         GROUP BY zammad, channel",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in pending {
        zammads.push(ZammadBacklog {
            zammad: shared.names.name(row.try_get(0)?),
            channel: rows::channel(row.try_get(1)?),
            lanes_pending: count(row.try_get(2)?),
            lanes_shelved: 0,
            oldest_due: Some(UnixMillis::new(row.try_get(3)?)),
        });
    }
    let shelved = sqlx::query(
        "SELECT zammad, channel, count(*) FROM lane INDEXED BY lane_shelved WHERE shelved <> 0 GROUP BY zammad, channel",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in shelved {
        let (zammad, channel) = (shared.names.name(row.try_get(0)?), rows::channel(row.try_get(1)?));
        let lanes_shelved = count(row.try_get(2)?);
        match zammads.iter_mut().find(|known| known.zammad == zammad && known.channel == channel) {
            Some(known) => known.lanes_shelved = lanes_shelved,
            None => {
                zammads.push(ZammadBacklog { zammad, channel, lanes_pending: 0, lanes_shelved, oldest_due: None });
            }
        }
    }
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM call INDEXED BY call_open WHERE ended_ms IS NULL")
        .fetch_one(&mut *connection)
        .await?;
    Ok(Backlog { zammads, calls_open: count(open), store_bytes: store_bytes(shared).await })
}

async fn store_bytes(shared: &Shared) -> u64 {
    let mut total = 0;
    for suffix in ["", "-wal", "-shm"] {
        let mut path = shared.path.as_os_str().to_owned();
        path.push(suffix);
        total += tokio::fs::metadata(path).await.map_or(0, |metadata| metadata.len());
    }
    total
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}
