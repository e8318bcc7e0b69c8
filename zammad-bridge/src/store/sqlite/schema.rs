//! The tables, and how an older file comes up to date.

use sqlx::{Connection, Executor, Row, SqliteConnection};

use super::{fault::fault, rows};
use crate::error::{Error, Result};
use crate::store::RecordId;
use crate::store::alias::AliasKey;

/// Marks the file as ours (`PRAGMA application_id`): `ZBrg`.
const APPLICATION_ID: i32 = 0x5a42_7267;

/// Each entry takes the schema one version further. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE call (
    id INTEGER PRIMARY KEY,
    record TEXT NOT NULL,          -- CallRecord as JSON
    started_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    answered INTEGER NOT NULL,     -- 1 once anybody answered
    ended_ms INTEGER,              -- NULL while it lasts
    client_id TEXT,
    tag TEXT NOT NULL
) STRICT;
CREATE INDEX call_open ON call (last_ms) WHERE ended_ms IS NULL;
CREATE INDEX call_ended ON call (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX call_started ON call (started_ms);
CREATE INDEX call_tag ON call (tag);
CREATE INDEX call_client ON call (client_id) WHERE client_id IS NOT NULL;

CREATE TABLE call_alias (
    alias BLOB PRIMARY KEY,        -- 16 bytes, AliasKey
    call_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE zammad (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE lane (
    call_id INTEGER NOT NULL,
    channel INTEGER NOT NULL,      -- 0 caller log, 1 ticket
    zammad INTEGER NOT NULL,
    wanted INTEGER NOT NULL,       -- StepSet
    done INTEGER NOT NULL,         -- StepSet
    discarded INTEGER NOT NULL,    -- StepSet
    shelved INTEGER NOT NULL,      -- StepSet
    due_ms INTEGER,                -- NULL: nothing to try
    wanted_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    flags INTEGER NOT NULL,        -- 1 uncertain, 2 renewed
    fault TEXT,
    delivered_ms INTEGER,
    answer TEXT,
    ticket INTEGER,
    PRIMARY KEY (call_id, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_due ON lane (zammad, channel, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX lane_shelved ON lane (zammad, channel, call_id) WHERE shelved <> 0;
CREATE UNIQUE INDEX lane_ticket ON lane (zammad, ticket) WHERE ticket IS NOT NULL;
",
    "
-- Tags are found by call_alias, whose keys begin with them.
DROP INDEX call_tag;
DELETE FROM call_alias;
CREATE TABLE next_id (
    call INTEGER NOT NULL          -- identities below it were given, though their records may be gone
) STRICT;
INSERT INTO next_id SELECT coalesce(max(id), 0) + 1 FROM call;
",
];

/// The version since which the keys in `call_alias` begin with the tag.
const KEYS_BY_TAG: u32 = 2;

/// The version that this program writes.
pub(super) const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings the file up to [`SCHEMA_VERSION`], each version in a transaction of its own.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<()> {
    let failed = |error| fault("bring the schema up to date", &error);
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > SCHEMA_VERSION {
        return Err(Error::StoreTooNew { found, known: SCHEMA_VERSION });
    }
    if found == 0 {
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if tables > 0 {
            let detail = "it is a database of something else".to_owned();
            return Err(Error::StoreDamaged { detail });
        }
    }
    for (version, statements) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
        let mut transaction = connection.begin().await.map_err(failed)?;
        transaction.execute(*statements).await.map_err(failed)?;
        if version == KEYS_BY_TAG {
            name_records(&mut transaction).await.map_err(failed)?;
        }
        let marks = format!("PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}");
        transaction.execute(sqlx::AssertSqlSafe(marks)).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        tracing::info!(version, "the store's schema is up to date");
    }
    Ok(())
}

/// Fills `call_alias` with the names that the records know.
async fn name_records(connection: &mut SqliteConnection) -> core::result::Result<(), sqlx::Error> {
    const RECORDS_AT_A_TIME: i64 = 256;
    let mut after = 0_i64;
    loop {
        let found = sqlx::query("SELECT id, record FROM call WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(RECORDS_AT_A_TIME)
            .fetch_all(&mut *connection)
            .await?;
        let mut aliases = Vec::new();
        for row in &found {
            after = row.try_get(0)?;
            let id = RecordId(after);
            // One that cannot be read goes to the dead-letter shelf when it is due.
            let Ok(record) = rows::record(row, 1) else { continue };
            aliases.extend(AliasKey::all_of(id, &record).into_iter().map(|alias| (alias, id)));
        }
        if found.is_empty() {
            return Ok(());
        }
        rows::put_aliases(connection, &aliases).await?;
    }
}
