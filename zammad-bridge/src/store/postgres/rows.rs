//! Rows to values and back, many to a statement.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::connections::query;
use super::zammad_names::ZammadNames;
use crate::call_book::{CallRecord, Channel, StepSet};
use crate::clock::UnixMillis;
use crate::store::alias::AliasKey;
use crate::store::batch::MovedAlias;
use crate::store::lane::Lane;
pub(super) use crate::store::lane::{channel, channel_number};
use crate::store::{RecordId, TicketId};

type DbResult<T> = Result<T, sqlx::Error>;

/// A lane as it stands in the database, and who has it.
pub(super) struct LaneRow {
    pub(super) lane: Lane,
    pub(super) token: Option<i64>,
    /// Whether the lease holds still.
    pub(super) leased: bool,
}

/// What is read of a lane. `$1` is now, by the database's clock.
macro_rules! lane_columns {
    () => {
        "lane.call_id, lane.channel, lane.zammad, lane.wanted, lane.done, lane.discarded, lane.shelved, lane.due_ms, \
         lane.wanted_ms, lane.attempts, lane.flags, lane.fault, lane.delivered_ms, lane.answer, lane.ticket, \
         lane.lease_token"
    };
}
/// Whether a lane is somebody's: the lease has not run out, and its replica shows that it lives.
macro_rules! is_leased {
    () => {
        "(lane.lease_token IS NOT NULL AND lane.leased_until_ms > $1 AND EXISTS (SELECT 1 FROM zammad_bridge.replica \
         WHERE replica.id = lane.leased_by AND replica.alive_until > clock_timestamp()))"
    };
}
pub(super) use {is_leased, lane_columns};

/// PostgreSQL's texts hold no NUL.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) async fn find_aliases(
    connection: &mut PgConnection,
    aliases: &[AliasKey],
) -> DbResult<Vec<(AliasKey, RecordId)>> {
    let keys: Vec<Vec<u8>> = aliases.iter().map(|alias| alias.0.to_vec()).collect();
    let rows = query("SELECT alias, call_id FROM zammad_bridge.call_alias WHERE alias = ANY($1)")
        .bind(keys)
        .fetch_all(connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        if let Ok(key) = row.try_get::<&[u8], _>(0)?.try_into() {
            found.push((AliasKey(key), RecordId(row.try_get(1)?)));
        }
    }
    Ok(found)
}

/// Keeps other replicas from the records until the transaction ends.
pub(super) async fn lock_records(
    connection: &mut PgConnection,
    ids: &[RecordId],
) -> DbResult<Vec<(RecordId, CallRecord)>> {
    let rows = query("SELECT id, record FROM zammad_bridge.call WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(numbers(ids))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((RecordId(row.try_get(0)?), record(row, 1)?))).collect()
}

/// Keeps other replicas from the lanes until the transaction ends. `now` by the database's clock.
pub(super) async fn lock_lanes(
    connection: &mut PgConnection,
    names: &ZammadNames,
    ids: &[RecordId],
    now: i64,
) -> DbResult<Vec<LaneRow>> {
    let rows = query(concat!(
        "SELECT ",
        lane_columns!(),
        ", ",
        is_leased!(),
        " FROM zammad_bridge.lane WHERE call_id = ANY($2) ORDER BY call_id, channel FOR UPDATE"
    ))
    .bind(now)
    .bind(numbers(ids))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(LaneRow { lane: lane(row, names)?, token: row.try_get(15)?, leased: row.try_get(16)? }))
        .collect()
}

pub(super) async fn lanes(connection: &mut PgConnection, names: &ZammadNames, ids: &[i64]) -> DbResult<Vec<Lane>> {
    let rows = query(concat!(
        "SELECT ",
        lane_columns!(),
        " FROM zammad_bridge.lane WHERE call_id = ANY($1) ORDER BY call_id, channel"
    ))
    .bind(ids.to_vec())
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| lane(row, names)).collect()
}

fn numbers(ids: &[RecordId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

pub(super) async fn put_records(connection: &mut PgConnection, records: &[(RecordId, &CallRecord)]) -> DbResult<()> {
    if records.is_empty() {
        return Ok(());
    }
    let of =
        |value: &dyn Fn(&CallRecord) -> i64| -> Vec<i64> { records.iter().map(|(_, record)| value(record)).collect() };
    let json: Result<Vec<String>, _> = records.iter().map(|(_, record)| serde_json::to_string(record)).collect();
    let json = json.map_err(|error| sqlx::Error::Encode(error.into()))?;
    let client = |record: &CallRecord| -> Option<String> {
        record.customer_data.as_ref().and_then(|data| data.client_id.as_deref()).map(storable)
    };
    query(
        "INSERT INTO zammad_bridge.call (id, record, started_ms, last_ms, answered, ended_ms, client_id, tag) \
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bigint[], \
         $7::text[], $8::text[]) \
         ON CONFLICT (id) DO UPDATE SET record = excluded.record, started_ms = excluded.started_ms, \
         last_ms = excluded.last_ms, answered = excluded.answered, ended_ms = excluded.ended_ms, \
         client_id = excluded.client_id, tag = excluded.tag",
    )
    .bind(records.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(json)
    .bind(of(&|record| record.started_at.as_millis()))
    .bind(of(&|record| record.last_fact_at.as_millis()))
    .bind(records.iter().map(|(_, record)| record.is_answered()).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, record)| record.end.as_ref().map(|end| end.at.as_millis())).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, record)| client(record)).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, record)| storable(record.tag().as_str())).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Writes lanes. Whose they are stays as it is; see [`end_leases`].
pub(super) async fn put_lanes(connection: &mut PgConnection, names: &ZammadNames, lanes: &[&Lane]) -> DbResult<()> {
    if lanes.is_empty() {
        return Ok(());
    }
    let losers = settle_tickets(&mut *connection, names, lanes).await?;
    let of = |value: &dyn Fn(&Lane) -> i64| -> Vec<i64> { lanes.iter().map(|lane| value(lane)).collect() };
    let may =
        |value: &dyn Fn(&Lane) -> Option<i64>| -> Vec<Option<i64>> { lanes.iter().map(|lane| value(lane)).collect() };
    let text = |value: &dyn Fn(&Lane) -> Option<&String>| -> Vec<Option<String>> {
        lanes.iter().map(|lane| value(lane).map(|text| storable(text))).collect()
    };
    query(
        "INSERT INTO zammad_bridge.lane (call_id, channel, zammad, wanted, done, discarded, shelved, due_ms, wanted_ms, \
         attempts, flags, fault, delivered_ms, answer, ticket) \
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::bigint[], \
         $14::text[], $15::bigint[]) \
         ON CONFLICT (call_id, channel) DO UPDATE SET wanted = excluded.wanted, done = excluded.done, \
         discarded = excluded.discarded, shelved = excluded.shelved, due_ms = excluded.due_ms, \
         wanted_ms = excluded.wanted_ms, attempts = excluded.attempts, flags = excluded.flags, fault = excluded.fault, \
         delivered_ms = excluded.delivered_ms, answer = excluded.answer, ticket = excluded.ticket",
    )
    .bind(of(&|lane| lane.record.0))
    .bind(of(&|lane| channel_number(lane.channel)))
    .bind(of(&|lane| names.number(&lane.zammad)))
    .bind(of(&|lane| i64::from(lane.wanted.bits())))
    .bind(of(&|lane| i64::from(lane.done.bits())))
    .bind(of(&|lane| i64::from(lane.discarded.bits())))
    .bind(of(&|lane| i64::from(lane.shelved.bits())))
    .bind(may(&|lane| lane.due.map(UnixMillis::as_millis)))
    .bind(of(&|lane| lane.wanted_since.as_millis()))
    .bind(of(&|lane| i64::from(lane.attempts)))
    .bind(of(&|lane| i64::from(lane.uncertain) | (i64::from(lane.renewed) << 1)))
    .bind(text(&|lane| lane.fault.as_ref()))
    .bind(may(&|lane| lane.delivered_at.map(UnixMillis::as_millis)))
    .bind(text(&|lane| lane.answer.as_ref()))
    .bind(may(&|lane| lane.ticket.filter(|_| !losers.contains(&(lane.record, lane.channel))).map(|ticket| ticket.0)))
    .execute(connection)
    .await
    .map(|_| ())
}

/// A Zammad that was set up anew counts its tickets from 1 again: the lane that got a number last has it. Which of
/// `lanes` lose theirs; other lanes lose it here.
async fn settle_tickets(
    connection: &mut PgConnection,
    names: &ZammadNames,
    lanes: &[&Lane],
) -> DbResult<HashSet<(RecordId, Channel)>> {
    let mut holders: HashMap<(i64, TicketId), &Lane> = HashMap::new();
    for lane in lanes {
        let Some(ticket) = lane.ticket else { continue };
        let holder = holders.entry((names.number(&lane.zammad), ticket)).or_insert(lane);
        if (lane.delivered_at, lane.record) > (holder.delivered_at, holder.record) {
            *holder = lane;
        }
    }
    let has_it = |lane: &Lane, ticket: TicketId| {
        let holder = holders.get(&(names.number(&lane.zammad), ticket));
        holder.is_some_and(|holder| (holder.record, holder.channel) == (lane.record, lane.channel))
    };
    let losers = lanes.iter().filter(|lane| lane.ticket.is_some_and(|ticket| !has_it(lane, ticket)));
    let losers = losers.map(|lane| (lane.record, lane.channel)).collect();
    for ((zammad, ticket), holder) in &holders {
        query(
            "UPDATE zammad_bridge.lane SET ticket = NULL \
             WHERE zammad = $1 AND ticket = $2 AND NOT (call_id = $3 AND channel = $4)",
        )
        .bind(*zammad)
        .bind(ticket.0)
        .bind(holder.record.0)
        .bind(channel_number(holder.channel))
        .execute(&mut *connection)
        .await?;
    }
    Ok(losers)
}

pub(super) async fn put_aliases(connection: &mut PgConnection, aliases: &[(AliasKey, RecordId)]) -> DbResult<()> {
    if aliases.is_empty() {
        return Ok(());
    }
    query(
        "INSERT INTO zammad_bridge.call_alias (alias, call_id) SELECT * FROM unnest($1::bytea[], $2::bigint[]) \
         ON CONFLICT (alias) DO UPDATE SET call_id = excluded.call_id",
    )
    .bind(aliases.iter().map(|(alias, _)| alias.0.to_vec()).collect::<Vec<_>>())
    .bind(aliases.iter().map(|(_, id)| id.0).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Leads names elsewhere, as far as they lead where is said.
pub(super) async fn move_aliases(connection: &mut PgConnection, moved: &[MovedAlias]) -> DbResult<()> {
    for MovedAlias { alias, from, to } in moved {
        query("UPDATE zammad_bridge.call_alias SET call_id = $1 WHERE alias = $2 AND call_id = $3")
            .bind(to.0)
            .bind(alias.0.to_vec())
            .bind(from.0)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Nobody has these lanes any more.
pub(super) async fn end_leases(connection: &mut PgConnection, lanes: &[(RecordId, Channel)]) -> DbResult<()> {
    if lanes.is_empty() {
        return Ok(());
    }
    query(
        "UPDATE zammad_bridge.lane SET lease_token = NULL, leased_by = NULL, leased_until_ms = NULL \
         FROM unnest($1::bigint[], $2::bigint[]) AS ended (call_id, channel) \
         WHERE lane.call_id = ended.call_id AND lane.channel = ended.channel",
    )
    .bind(lanes.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(lanes.iter().map(|(_, channel)| channel_number(*channel)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Deletes records with their lanes. Their aliases are to be deleted or led elsewhere besides.
pub(super) async fn drop_records(connection: &mut PgConnection, ids: &[RecordId]) -> DbResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    for sql in
        ["DELETE FROM zammad_bridge.lane WHERE call_id = ANY($1)", "DELETE FROM zammad_bridge.call WHERE id = ANY($1)"]
    {
        query(sql).bind(numbers(ids)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The record in the column `index`.
pub(super) fn record(row: &PgRow, index: usize) -> DbResult<CallRecord> {
    let json: &str = row.try_get(index)?;
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The lane in a row of [`lane_columns`].
pub(super) fn lane(row: &PgRow, names: &ZammadNames) -> DbResult<Lane> {
    let number = |index: usize| row.try_get::<i64, _>(index);
    let steps =
        |index: usize| -> DbResult<StepSet> { Ok(StepSet::from_bits(u8::try_from(number(index)?).unwrap_or(0))) };
    let may = |index: usize| row.try_get::<Option<i64>, _>(index);
    let flags = number(10)?;
    Ok(Lane {
        record: RecordId(number(0)?),
        channel: channel(number(1)?),
        zammad: names.name(number(2)?),
        wanted: steps(3)?,
        done: steps(4)?,
        discarded: steps(5)?,
        shelved: steps(6)?,
        due: may(7)?.map(UnixMillis::new),
        wanted_since: UnixMillis::new(number(8)?),
        attempts: u32::try_from(number(9)?).unwrap_or(u32::MAX),
        uncertain: flags & 1 != 0,
        renewed: flags & 2 != 0,
        fault: row.try_get(11)?,
        delivered_at: may(12)?.map(UnixMillis::new),
        answer: row.try_get(13)?,
        ticket: may(14)?.map(TicketId),
    })
}
