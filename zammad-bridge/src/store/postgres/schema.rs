//! The tables, and how an older database comes up to date.
//!
//! Everything stands in the schema `zammad_bridge` and is named with it: a pooler in transaction mode keeps no search
//! path. Replicas of the version before may still run while a newer one migrates: a version adds, and only the version
//! after takes away what nobody uses any more.

use sqlx::PgConnection;

use super::connections::{self, query};
use super::fault::fault;
use crate::error::{Error, Result};

/// Keeps two replicas from migrating at once: a transaction-level advisory lock, which a pooler cannot leave behind.
const MIGRATION_LOCK: i64 = 0x5a42_7267_6d69_6772;

/// Each entry takes the schema one version further. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &["
CREATE SEQUENCE zammad_bridge.call_id;
CREATE TABLE zammad_bridge.call (
    id bigint PRIMARY KEY,
    record text NOT NULL,          -- CallRecord as JSON
    started_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    answered boolean NOT NULL,     -- once anybody answered
    ended_ms bigint,               -- NULL while it lasts
    client_id text,
    tag text NOT NULL
);
CREATE INDEX call_open ON zammad_bridge.call (last_ms) WHERE ended_ms IS NULL;
CREATE INDEX call_ended ON zammad_bridge.call (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX call_started ON zammad_bridge.call (started_ms);
CREATE INDEX call_client ON zammad_bridge.call (client_id) WHERE client_id IS NOT NULL;

CREATE TABLE zammad_bridge.call_alias (
    alias bytea PRIMARY KEY,       -- 16 bytes, AliasKey
    call_id bigint NOT NULL
);
CREATE INDEX call_alias_call ON zammad_bridge.call_alias (call_id);

CREATE TABLE zammad_bridge.zammad (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE zammad_bridge.replica (
    id bigint PRIMARY KEY,         -- random, new with each start
    alive_until timestamptz NOT NULL
);

CREATE TABLE zammad_bridge.lane (
    call_id bigint NOT NULL,
    channel bigint NOT NULL,       -- 0 caller log, 1 ticket
    zammad bigint NOT NULL,
    wanted bigint NOT NULL,        -- StepSet
    done bigint NOT NULL,          -- StepSet
    discarded bigint NOT NULL,     -- StepSet
    shelved bigint NOT NULL,       -- StepSet
    due_ms bigint,                 -- NULL: nothing to try
    wanted_ms bigint NOT NULL,
    attempts bigint NOT NULL,
    flags bigint NOT NULL,         -- 1 uncertain, 2 renewed
    fault text,
    delivered_ms bigint,
    answer text,
    ticket bigint,
    lease_token bigint,            -- random; NULL: nobody has it
    leased_by bigint,              -- the replica
    leased_until_ms bigint,        -- by the database's clock
    PRIMARY KEY (call_id, channel)
) WITH (fillfactor = 80);
CREATE INDEX lane_due ON zammad_bridge.lane (zammad, channel, due_ms, call_id) WHERE due_ms IS NOT NULL;
CREATE INDEX lane_shelved ON zammad_bridge.lane (zammad, channel, call_id) WHERE shelved <> 0;
CREATE INDEX lane_leased ON zammad_bridge.lane (zammad) WHERE lease_token IS NOT NULL;
CREATE UNIQUE INDEX lane_ticket ON zammad_bridge.lane (zammad, ticket) WHERE ticket IS NOT NULL;
"];

/// The version that this program writes.
pub(super) const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings the database up to [`SCHEMA_VERSION`] in one transaction; whoever comes second finds it done.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let failed = |error| fault("bring the schema up to date", &error);
    connections::begin(connection).await.map_err(failed)?;
    query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *connection).await.map_err(failed)?;
    let has_schema: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'zammad_bridge')")
            .persistent(false)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    if !has_schema {
        let made = "CREATE SCHEMA zammad_bridge; CREATE TABLE zammad_bridge.schema_version (version bigint NOT NULL); \
                    INSERT INTO zammad_bridge.schema_version VALUES (0)";
        connections::run(connection, made).await.map_err(failed)?;
    }
    let found: i64 = sqlx::query_scalar("SELECT version FROM zammad_bridge.schema_version")
        .persistent(false)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > SCHEMA_VERSION {
        return Err(Error::StoreTooNew { found, known: SCHEMA_VERSION });
    }
    for (version, statements) in (1_i64..).zip(MIGRATIONS).skip(found as usize) {
        connections::run(connection, statements).await.map_err(failed)?;
        query("UPDATE zammad_bridge.schema_version SET version = $1")
            .bind(version)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        tracing::info!(version, "the store's schema is up to date");
    }
    connections::run(connection, "COMMIT").await.map_err(failed)
}
