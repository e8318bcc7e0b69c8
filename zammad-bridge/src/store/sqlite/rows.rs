//! Rows to values and back, many to a statement.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::zammad_names::ZammadNames;
use crate::call_book::{CallRecord, Channel, StepSet};
use crate::clock::UnixMillis;
use crate::store::alias::AliasKey;
use crate::store::batch::MovedAlias;
use crate::store::lane::Lane;
pub(super) use crate::store::lane::{channel, channel_number};
use crate::store::{RecordId, TicketId};

/// How many rows one statement takes. Few sizes, so that all of them stay prepared; what does not fill one is filled up
/// by repeating the last row, which changes nothing.
const SIZES: [usize; 4] = [1, 4, 16, 64];

/// A statement with a list of tuples in it, ready made for every one of [`SIZES`].
pub(super) struct ManyRows {
    texts: [Arc<str>; SIZES.len()],
}

impl ManyRows {
    fn new(head: &str, columns: usize, tail: &str) -> Self {
        let tuple = format!("({})", vec!["?"; columns].join(","));
        let text = |rows: usize| Arc::from(format!("{head}{}{tail}", vec![tuple.as_str(); rows].join(",")));
        Self { texts: SIZES.map(text) }
    }

    /// For `IN (?,?,…)`.
    fn list(head: &str, tail: &str) -> Self {
        let text = |rows: usize| Arc::from(format!("{head}({}){tail}", vec!["?"; rows].join(",")));
        Self { texts: SIZES.map(text) }
    }

    /// `rows` in chunks, each with its statement and filled up to that statement's size.
    fn chunks<'r, T>(
        &self,
        rows: &'r [T],
    ) -> impl Iterator<Item = (Arc<str>, impl Iterator<Item = &'r T> + use<'r, T>)> {
        rows.chunks(SIZES[SIZES.len() - 1]).map(|chunk| {
            let index = SIZES.iter().position(|size| *size >= chunk.len()).unwrap_or(SIZES.len() - 1);
            let padding = SIZES[index] - chunk.len();
            let last = chunk.last().into_iter().cycle().take(padding);
            (self.texts[index].clone(), chunk.iter().chain(last))
        })
    }
}

static ALIASES: LazyLock<ManyRows> =
    LazyLock::new(|| ManyRows::list("SELECT alias, call_id FROM call_alias WHERE alias IN ", ""));
static RECORDS: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::list("SELECT id, record FROM call WHERE id IN ", ""));
static LANES: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::list("SELECT * FROM lane WHERE call_id IN ", ""));
static PUT_RECORDS: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO call (id, record, started_ms, last_ms, answered, ended_ms, client_id, tag) VALUES ",
        8,
        " ON CONFLICT (id) DO UPDATE SET record = excluded.record, started_ms = excluded.started_ms, \
         last_ms = excluded.last_ms, answered = excluded.answered, ended_ms = excluded.ended_ms, \
         client_id = excluded.client_id, tag = excluded.tag",
    )
});
static PUT_LANES: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO lane (call_id, channel, zammad, wanted, done, discarded, shelved, due_ms, wanted_ms, attempts, \
         flags, fault, delivered_ms, answer, ticket) VALUES ",
        15,
        " ON CONFLICT (call_id, channel) DO UPDATE SET wanted = excluded.wanted, done = excluded.done, \
         discarded = excluded.discarded, shelved = excluded.shelved, due_ms = excluded.due_ms, \
         wanted_ms = excluded.wanted_ms, attempts = excluded.attempts, flags = excluded.flags, fault = excluded.fault, \
         delivered_ms = excluded.delivered_ms, answer = excluded.answer, ticket = excluded.ticket",
    )
});
static PUT_ALIASES: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO call_alias (alias, call_id) VALUES ",
        2,
        " ON CONFLICT (alias) DO UPDATE SET call_id = excluded.call_id",
    )
});
static DROP_RECORDS: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::list("DELETE FROM call WHERE id IN ", ""));
static DROP_LANES: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::list("DELETE FROM lane WHERE call_id IN ", ""));
static DROP_ALIASES: LazyLock<ManyRows> =
    LazyLock::new(|| ManyRows::list("DELETE FROM call_alias WHERE alias IN ", ""));

type DbResult<T> = Result<T, sqlx::Error>;

/// A statement of ours: its text is made of constants and question marks.
fn statement<'q>(text: Arc<str>) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
    sqlx::query(AssertSqlSafe(text))
}

pub(super) async fn find_aliases(
    connection: &mut SqliteConnection,
    aliases: &[AliasKey],
) -> DbResult<Vec<(AliasKey, RecordId)>> {
    let mut found = Vec::with_capacity(aliases.len());
    for (text, rows) in ALIASES.chunks(aliases) {
        let query = rows.fold(statement(text), |query, alias| query.bind(alias.0.to_vec()));
        for row in query.fetch_all(&mut *connection).await? {
            let bytes: &[u8] = row.try_get(0)?;
            if let Ok(key) = bytes.try_into() {
                found.push((AliasKey(key), RecordId(row.try_get(1)?)));
            }
        }
    }
    Ok(found)
}

pub(super) async fn load_records(
    connection: &mut SqliteConnection,
    ids: &[RecordId],
) -> DbResult<Vec<(RecordId, CallRecord)>> {
    let mut loaded = Vec::with_capacity(ids.len());
    for (text, rows) in RECORDS.chunks(ids) {
        let query = rows.fold(statement(text), |query, id| query.bind(id.0));
        for row in query.fetch_all(&mut *connection).await? {
            loaded.push((RecordId(row.try_get(0)?), record(&row, 1)?));
        }
    }
    Ok(loaded)
}

pub(super) async fn load_lanes(
    connection: &mut SqliteConnection,
    names: &ZammadNames,
    ids: &[RecordId],
) -> DbResult<Vec<Lane>> {
    let mut loaded = Vec::with_capacity(ids.len());
    for (text, rows) in LANES.chunks(ids) {
        let query = rows.fold(statement(text), |query, id| query.bind(id.0));
        for row in query.fetch_all(&mut *connection).await? {
            loaded.push(lane(&row, names)?);
        }
    }
    Ok(loaded)
}

pub(super) async fn put_records(
    connection: &mut SqliteConnection,
    records: &[(RecordId, &CallRecord)],
) -> DbResult<()> {
    for (text, rows) in PUT_RECORDS.chunks(records) {
        let mut query = statement(text);
        for (id, record) in rows {
            let json = serde_json::to_string(record).map_err(|error| sqlx::Error::Encode(error.into()))?;
            query = query
                .bind(id.0)
                .bind(json)
                .bind(record.started_at.as_millis())
                .bind(record.last_fact_at.as_millis())
                .bind(i64::from(record.is_answered()))
                .bind(record.end.as_ref().map(|end| end.at.as_millis()))
                .bind(record.customer_data.as_ref().and_then(|data| data.client_id.clone()))
                .bind(record.tag().as_str().to_owned());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn put_lanes(connection: &mut SqliteConnection, names: &ZammadNames, lanes: &[&Lane]) -> DbResult<()> {
    let losers = settle_tickets(&mut *connection, names, lanes).await?;
    for (text, rows) in PUT_LANES.chunks(lanes) {
        let mut query = statement(text);
        for lane in rows {
            let flags = i64::from(lane.uncertain) | (i64::from(lane.renewed) << 1);
            query = query
                .bind(lane.record.0)
                .bind(channel_number(lane.channel))
                .bind(names.number(&lane.zammad))
                .bind(i64::from(lane.wanted.bits()))
                .bind(i64::from(lane.done.bits()))
                .bind(i64::from(lane.discarded.bits()))
                .bind(i64::from(lane.shelved.bits()))
                .bind(lane.due.map(UnixMillis::as_millis))
                .bind(lane.wanted_since.as_millis())
                .bind(i64::from(lane.attempts))
                .bind(flags)
                .bind(lane.fault.clone())
                .bind(lane.delivered_at.map(UnixMillis::as_millis))
                .bind(lane.answer.clone())
                .bind(lane.ticket.filter(|_| !losers.contains(&(lane.record, lane.channel))).map(|ticket| ticket.0));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A Zammad that was set up anew counts its tickets from 1 again: a ticket belongs to the lane that got it last, and the
/// lane that had that number before has none any more. Which of `lanes` lose theirs; other lanes lose it here.
async fn settle_tickets(
    connection: &mut SqliteConnection,
    names: &ZammadNames,
    lanes: &[&Lane],
) -> DbResult<HashSet<(RecordId, Channel)>> {
    let mut holders: HashMap<(i64, TicketId), &Lane> = HashMap::new();
    let mut losers = HashSet::new();
    for lane in lanes {
        let Some(ticket) = lane.ticket else { continue };
        let holder = holders.entry((names.number(&lane.zammad), ticket)).or_insert(lane);
        let (winner, loser) = if (lane.delivered_at, lane.record) >= (holder.delivered_at, holder.record) {
            (*lane, *holder)
        } else {
            (*holder, *lane)
        };
        if (winner.record, winner.channel) != (loser.record, loser.channel) {
            losers.insert((loser.record, loser.channel));
        }
        *holder = winner;
    }
    for ((zammad, ticket), holder) in holders {
        sqlx::query(
            "UPDATE lane SET ticket = NULL WHERE zammad = ? AND ticket = ? AND NOT (call_id = ? AND channel = ?)",
        )
        .bind(zammad)
        .bind(ticket.0)
        .bind(holder.record.0)
        .bind(channel_number(holder.channel))
        .execute(&mut *connection)
        .await?;
    }
    Ok(losers)
}

pub(super) async fn put_aliases(connection: &mut SqliteConnection, aliases: &[(AliasKey, RecordId)]) -> DbResult<()> {
    for (text, rows) in PUT_ALIASES.chunks(aliases) {
        let query = rows.fold(statement(text), |query, (alias, id)| query.bind(alias.0.to_vec()).bind(id.0));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Leads names elsewhere, as far as they lead where is said.
pub(super) async fn move_aliases(connection: &mut SqliteConnection, moved: &[MovedAlias]) -> DbResult<()> {
    for MovedAlias { alias, from, to } in moved {
        let query = sqlx::query("UPDATE call_alias SET call_id = ? WHERE alias = ? AND call_id = ?");
        query.bind(to.0).bind(alias.0.to_vec()).bind(from.0).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Deletes records with their lanes. Their aliases are to be deleted or led elsewhere besides.
pub(super) async fn drop_records(connection: &mut SqliteConnection, ids: &[RecordId]) -> DbResult<()> {
    for many in [&DROP_LANES, &DROP_RECORDS] {
        for (text, rows) in many.chunks(ids) {
            let query = rows.fold(statement(text), |query, id| query.bind(id.0));
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Notes that identities below this one were given, though their records may be gone.
pub(super) async fn note_next_id(connection: &mut SqliteConnection, next_id: i64) -> DbResult<()> {
    sqlx::query("UPDATE next_id SET call = ?").bind(next_id).execute(connection).await.map(|_| ())
}

pub(super) async fn drop_aliases(connection: &mut SqliteConnection, aliases: &[AliasKey]) -> DbResult<()> {
    for (text, rows) in DROP_ALIASES.chunks(aliases) {
        let query = rows.fold(statement(text), |query, alias| query.bind(alias.0.to_vec()));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The record in the column `index`.
pub(super) fn record(row: &SqliteRow, index: usize) -> DbResult<CallRecord> {
    let json: &str = row.try_get(index)?;
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The lane in a row of `lane.*`, whose columns come first.
pub(super) fn lane(row: &SqliteRow, names: &ZammadNames) -> DbResult<Lane> {
    let steps = |index: usize| -> DbResult<StepSet> {
        Ok(StepSet::from_bits(u8::try_from(row.try_get::<i64, _>(index)?).unwrap_or(0)))
    };
    let time = |index: usize| -> DbResult<Option<UnixMillis>> {
        Ok(row.try_get::<Option<i64>, _>(index)?.map(UnixMillis::new))
    };
    let flags: i64 = row.try_get(10)?;
    Ok(Lane {
        record: RecordId(row.try_get(0)?),
        channel: channel(row.try_get(1)?),
        zammad: names.name(row.try_get(2)?),
        wanted: steps(3)?,
        done: steps(4)?,
        discarded: steps(5)?,
        shelved: steps(6)?,
        due: time(7)?,
        wanted_since: time(8)?.unwrap_or_default(),
        attempts: u32::try_from(row.try_get::<i64, _>(9)?).unwrap_or(u32::MAX),
        uncertain: flags & 1 != 0,
        renewed: flags & 2 != 0,
        fault: row.try_get(11)?,
        delivered_at: time(12)?,
        answer: row.try_get(13)?,
        ticket: row.try_get::<Option<i64>, _>(14)?.map(TicketId),
    })
}

/// A builder for a query whose conditions vary.
pub(super) fn build(head: &str) -> QueryBuilder<Sqlite> {
    QueryBuilder::new(head)
}
