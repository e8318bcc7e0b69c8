//! Leases on lanes, in the database: whoever dies is found out by its silence.
//!
//! A lease is somebody's until it runs out, and only as long as its replica says that it lives. So a slow request keeps
//! its lane however long it takes, and what a dead replica had is free within one [`ReplicaLease`]. Time is the
//! database's: replicas' own clocks may differ.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, Row};

use super::connections::{self, query};
use super::rows::{self, is_leased, lane_columns};
use super::{Shared, zammad_lock_key};
use crate::clock::UnixMillis;
use crate::store::{DueDelivery, Lease, TakeDue, Taken, Unreadable};

type DbResult<T> = Result<T, sqlx::Error>;

/// How soon to look again when other replicas have all the requests that one Zammad may get at a time, should nobody
/// tell that one has ended.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// What is due and free, leased to this replica; and what is due of records that cannot be read.
pub(super) async fn take_due(
    connection: &mut PgConnection,
    shared: &Shared,
    request: &TakeDue,
) -> DbResult<(Taken, Vec<Unreadable>)> {
    let zammad = shared.names.number(&request.zammad);
    let channel = rows::channel_number(request.channel);
    let now = shared.database_time(request.now);
    connections::begin(connection).await?;
    // A lease that a crash of the database takes back was of a request that its replica may well repeat anyway.
    connections::run(connection, "SET LOCAL synchronous_commit = off").await?;
    // One replica after the other counts and takes.
    query("SELECT pg_advisory_xact_lock($1)").bind(zammad_lock_key(zammad)).execute(&mut *connection).await?;
    let under_way: i64 =
        sqlx::query_scalar(concat!("SELECT count(*) FROM zammad_bridge.lane WHERE zammad = $2 AND ", is_leased!()))
            .bind(now)
            .bind(zammad)
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
    let room = request.at_once.saturating_sub(usize::try_from(under_way).unwrap_or(usize::MAX));
    let limit = request.limit.min(room);
    let found = query(concat!(
        "WITH due AS MATERIALIZED (SELECT call_id, channel FROM zammad_bridge.lane WHERE zammad = $2 AND channel = $3 \
         AND due_ms <= $4 AND NOT ",
        is_leased!(),
        " ORDER BY due_ms, call_id LIMIT $5 FOR UPDATE SKIP LOCKED) \
         UPDATE zammad_bridge.lane SET lease_token = (random() * 9007199254740991)::bigint, leased_by = $6, \
         leased_until_ms = $7 FROM due WHERE lane.call_id = due.call_id AND lane.channel = due.channel RETURNING ",
        lane_columns!(),
        ", (SELECT record FROM zammad_bridge.call WHERE id = lane.call_id)"
    ))
    .bind(now)
    .bind(zammad)
    .bind(channel)
    .bind(request.now.as_millis())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .bind(shared.replica)
    .bind(shared.database_time(request.now + request.lease_for))
    .fetch_all(&mut *connection)
    .await?;
    let next: Option<i64> = sqlx::query_scalar(
        "SELECT min(due_ms) FROM zammad_bridge.lane WHERE zammad = $1 AND channel = $2 AND due_ms > $3",
    )
    .bind(zammad)
    .bind(channel)
    .bind(request.now.as_millis())
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    connections::run(connection, "COMMIT").await?;

    let next_due = if limit < request.limit {
        Some(request.now + BUSY_PAUSE)
    } else if found.len() >= limit {
        Some(request.now)
    } else {
        next.map(UnixMillis::new)
    };
    let (mut taken, mut unreadable) = (Taken { next_due, ..Taken::default() }, Vec::new());
    for row in &found {
        let lane = rows::lane(row, &shared.names)?;
        let token = row.try_get::<Option<i64>, _>(15)?.unwrap_or_default();
        let lease = Lease { record: lane.record, channel: lane.channel, token, until: request.now + request.lease_for };
        let Some(step) = lane.next_step() else { continue };
        match rows::record(row, 16) {
            Ok(record) => taken.deliveries.push(DueDelivery {
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
            }),
            Err(_) => unreadable.push(Unreadable { lease, step }),
        }
    }
    let order =
        |due: &DueDelivery| found.iter().position(|row| row.try_get::<i64, _>(0).ok() == Some(due.lease.record.0));
    let due_of = |due: &DueDelivery| order(due).and_then(|at| found[at].try_get::<Option<i64>, _>(7).ok().flatten());
    // `RETURNING` tells in no order.
    taken.deliveries.sort_by_key(|due| (due_of(due), due.lease.record));
    Ok((taken, unreadable))
}

/// Says that this replica lives for another `lease`, forgets those that have long been silent, and asks for the time.
pub(super) async fn show_life(connection: &mut PgConnection, replica: i64, lease: Duration) -> DbResult<UnixMillis> {
    connections::begin(connection).await?;
    let millis: i64 = sqlx::query_scalar(
        "INSERT INTO zammad_bridge.replica (id, alive_until) VALUES ($1, clock_timestamp() + $2 * interval '1 ms') \
         ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until \
         RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    )
    .bind(replica)
    .bind(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    query("DELETE FROM zammad_bridge.replica WHERE alive_until < clock_timestamp() - interval '1 day'")
        .execute(&mut *connection)
        .await?;
    connections::run(connection, "COMMIT").await?;
    Ok(UnixMillis::new(millis))
}

/// Gives back everything that this replica has: it goes, and others need not wait until it is missed.
pub(super) async fn give_all_back(connection: &mut PgConnection, replica: i64) -> DbResult<()> {
    connections::begin(connection).await?;
    query("DELETE FROM zammad_bridge.replica WHERE id = $1").bind(replica).execute(&mut *connection).await?;
    connections::run(connection, "COMMIT").await
}
