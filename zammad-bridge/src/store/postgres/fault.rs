//! What the database's errors mean.

use crate::error::Error;

/// Conditions of PostgreSQL, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const DISK_FULL: &str = "53100";
const TOO_MANY_CONNECTIONS: &str = "53300";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK_DETECTED: &str = "40P01";
const READ_ONLY: &str = "25006";
/// Classes of them: connections, wrong logins, an unknown database, and a server that stops or starts.
const AWAY: [&str; 4] = ["08", "28", "3D", "57P"];

/// The error that tells what `error` means for what was to be done.
pub(super) fn fault(action: &'static str, error: &sqlx::Error) -> Error {
    let detail = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    match (error, code(error).as_deref()) {
        (_, Some(DISK_FULL)) => Error::StoreDiskFull { detail },
        // Connected to a server that a failover has made the second one.
        (_, Some(TOO_MANY_CONNECTIONS | READ_ONLY)) => Error::StoreAway { detail },
        (_, Some(code)) if AWAY.iter().any(|class| code.starts_with(class)) => Error::StoreAway { detail },
        (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_), _) => Error::StoreAway { detail },
        _ => Error::StoreFailed { action, detail },
    }
}

/// Whether replicas got in each other's way, and the transaction goes through when it is tried again.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}
