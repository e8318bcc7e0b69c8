//! A few connections, each in the hands of one task at a time.
//!
//! A connection on which anything failed or took too long is dropped, not mended: the server rolls back what was begun.
//! Statements are unnamed and stand inside transactions, so that a pooler in transaction mode may be in between.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fault::fault;
use crate::error::{Error, Result};

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long a transaction may take from its begin to its end, and how long one statement of it, by the server's clock.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(5);
const STATEMENT_LIMIT_MS: u32 = 4_000;

/// A statement of ours.
pub(super) fn query(sql: &'static str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

/// Statements without arguments.
pub(super) async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

/// Begins a transaction. The limits go with it: a pooler would hand a session's settings to somebody else.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = format!(
        "BEGIN; SET LOCAL statement_timeout = {STATEMENT_LIMIT_MS}; \
         SET LOCAL idle_in_transaction_session_timeout = {STATEMENT_LIMIT_MS}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Commits. Without the statement's limit: a server that waits for its synchronous standby would take that for a word to
/// give up waiting, and say that it is done. [`bounded`] limits the wait, and then nothing is acknowledged.
pub(super) async fn commit(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(connection, "SET LOCAL statement_timeout = 0; COMMIT").await
}

/// Waits for a transaction, but not for ever: a network that was cut says nothing.
pub(super) async fn bounded<T>(action: &'static str, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
    match tokio::time::timeout(TRANSACTION_LIMIT, work).await {
        Ok(result) => result.map_err(|error| fault(action, &error)),
        Err(_) => Err(Error::StoreAway { detail: format!("no answer within {} s", TRANSACTION_LIMIT.as_secs()) }),
    }
}

/// Connections, up to so many.
#[derive(Debug)]
pub(super) struct Connections {
    options: PgConnectOptions,
    permits: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pub(super) connection: PgConnection,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, most: usize) -> Self {
        Self { options, permits: Semaphore::new(most), idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        // A list of connections is whole whatever happened to who held it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, a new one if none is idle.
    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        let too_long = |what: &str| Error::StoreAway { detail: format!("{what} after {} s", CONNECT_LIMIT.as_secs()) };
        let closed = Error::StoreRefuses { reason: "closing" };
        let permit = tokio::time::timeout(CONNECT_LIMIT, self.permits.acquire()).await;
        let permit = permit.map_err(|_| too_long("all connections are in use"))?.map_err(|_| closed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connected = PgConnection::connect_with(&self.options);
                let connected = tokio::time::timeout(CONNECT_LIMIT, connected).await;
                let connected = connected.map_err(|_| too_long("no connection"))?;
                connected.map_err(|error| fault("connect", &error))?
            }
        };
        Ok(Lent { connection, _permit: permit })
    }

    /// Takes a connection back, if what it was used for went well.
    pub(super) fn give_back<T>(&self, lent: Lent<'_>, result: &Result<T>) {
        if result.is_ok() {
            self.idle().push(lent.connection);
        }
    }

    /// Nothing is lent any more; what is idle is closed.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            // Dropping it does as well; this way the server's log stays quiet.
            let _ = tokio::time::timeout(CONNECT_LIMIT, connection.close()).await;
        }
    }
}
