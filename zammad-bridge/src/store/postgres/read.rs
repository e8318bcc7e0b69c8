//! What is read.

use std::collections::HashMap;

use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::connections::{self, query};
use super::{Shared, rows};
use crate::call_book::CallState;
use crate::clock::UnixMillis;
use crate::store::alias::AliasKey;
use crate::store::lane::Lane;
use crate::store::{Backlog, CallPage, CallQuery, LaneView, MAX_PAGE_RECORDS, RecordId, StoredCall, ZammadBacklog};

type DbResult<T> = Result<T, sqlx::Error>;

pub(super) async fn call(connection: &mut PgConnection, shared: &Shared, id: RecordId) -> DbResult<Option<StoredCall>> {
    connections::begin(connection).await?;
    let row = query("SELECT record FROM zammad_bridge.call WHERE id = $1").bind(id.0).fetch_optional(&mut *connection);
    let record = row.await?.map(|row| rows::record(&row, 0)).transpose()?;
    let lanes = rows::lanes(connection, &shared.names, &[id.0]).await?;
    connections::run(connection, "COMMIT").await?;
    Ok(record.map(|record| StoredCall { id, record, lanes: lanes.iter().map(Lane::view).collect() }))
}

pub(super) async fn calls(connection: &mut PgConnection, shared: &Shared, query: &CallQuery) -> DbResult<CallPage> {
    let limit = query.limit.clamp(1, MAX_PAGE_RECORDS);
    let mut sql = selection(query);
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
    connections::begin(connection).await?;
    let mut found = sql.build().persistent(false).fetch_all(&mut *connection).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let ids: Vec<i64> = found.iter().map(|row| row.try_get(0)).collect::<DbResult<_>>()?;
    let mut lanes: HashMap<RecordId, Vec<LaneView>> = HashMap::new();
    for lane in rows::lanes(connection, &shared.names, &ids).await? {
        lanes.entry(lane.record).or_default().push(lane.view());
    }
    connections::run(connection, "COMMIT").await?;
    let mut calls = Vec::with_capacity(found.len());
    for (row, id) in found.iter().zip(ids) {
        let id = RecordId(id);
        calls.push(StoredCall { id, record: rows::record(row, 1)?, lanes: lanes.remove(&id).unwrap_or_default() });
    }
    let next_before = calls.last().filter(|_| more).map(|call| call.id);
    Ok(CallPage { calls, next_before })
}

/// The calls that a query means.
fn selection(query: &CallQuery) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT id, record FROM zammad_bridge.call WHERE true");
    if let Some(RecordId(before)) = query.before {
        sql.push(" AND id < ").push_bind(before);
    }
    match query.state {
        Some(CallState::Ringing) => sql.push(" AND ended_ms IS NULL AND NOT answered"),
        Some(CallState::Answered) => sql.push(" AND ended_ms IS NULL AND answered"),
        Some(CallState::Ended) => sql.push(" AND ended_ms IS NOT NULL"),
        None => &mut sql,
    };
    match query.open {
        Some(true) => sql.push(" AND ended_ms IS NULL"),
        Some(false) => sql.push(" AND ended_ms IS NOT NULL"),
        None => &mut sql,
    };
    if query.shelved {
        sql.push(" AND id IN (SELECT call_id FROM zammad_bridge.lane WHERE shelved <> 0)");
    }
    if query.pending {
        sql.push(" AND id IN (SELECT call_id FROM zammad_bridge.lane WHERE due_ms IS NOT NULL)");
    }
    if let Some(name) = &query.name {
        let (first, last) = AliasKey::all_with_tag(name);
        let exact = vec![AliasKey::call_sid(name).0.to_vec(), AliasKey::sip_call_id(name).0.to_vec()];
        sql.push(" AND (id IN (SELECT call_id FROM zammad_bridge.call_alias WHERE alias = ANY(").push_bind(exact);
        sql.push(")) OR id IN (SELECT call_id FROM zammad_bridge.call_alias WHERE alias BETWEEN ");
        sql.push_bind(first.0.to_vec()).push(" AND ").push_bind(last.0.to_vec());
        sql.push(") AND tag = ").push_bind(rows::storable(name)).push(")");
    }
    if let Some(client_id) = &query.client_id {
        sql.push(" AND client_id = ").push_bind(rows::storable(client_id));
    }
    if let Some(since) = query.since {
        sql.push(" AND started_ms >= ").push_bind(since.as_millis());
    }
    if let Some(until) = query.until {
        sql.push(" AND started_ms < ").push_bind(until.as_millis());
    }
    sql
}

/// Counts, of all replicas together.
pub(super) async fn backlog(connection: &mut PgConnection, shared: &Shared) -> DbResult<Backlog> {
    connections::begin(connection).await?;
    let rows = query(
        "SELECT zammad, channel, count(*) FILTER (WHERE due_ms IS NOT NULL), count(*) FILTER (WHERE shelved <> 0), \
         min(due_ms) FROM zammad_bridge.lane WHERE due_ms IS NOT NULL OR shelved <> 0 GROUP BY zammad, channel \
         ORDER BY zammad, channel",
    )
    .fetch_all(&mut *connection)
    .await?;
    let figures = query(
        "SELECT (SELECT count(*) FROM zammad_bridge.call WHERE ended_ms IS NULL), \
         (SELECT sum(pg_total_relation_size(pg_class.oid))::bigint FROM pg_class \
         WHERE relnamespace = 'zammad_bridge'::regnamespace AND relkind = 'r')",
    )
    .fetch_one(&mut *connection)
    .await?;
    connections::run(connection, "COMMIT").await?;
    let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
    let zammads = rows
        .iter()
        .map(|row| {
            Ok(ZammadBacklog {
                zammad: shared.names.name(row.try_get(0)?),
                channel: rows::channel(row.try_get(1)?),
                lanes_pending: count(row.try_get(2)?),
                lanes_shelved: count(row.try_get(3)?),
                oldest_due: row.try_get::<Option<i64>, _>(4)?.map(UnixMillis::new),
            })
        })
        .collect::<DbResult<Vec<_>>>()?;
    let bytes: Option<i64> = figures.try_get(1)?;
    Ok(Backlog { zammads, calls_open: count(figures.try_get(0)?), store_bytes: count(bytes.unwrap_or(0)) })
}
