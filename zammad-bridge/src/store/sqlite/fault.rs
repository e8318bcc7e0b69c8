//! What the database's errors mean.

use crate::error::Error;

/// Primary result codes of SQLite, <https://www.sqlite.org/rescode.html>.
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;

/// The error that tells what `error` means for what was to be done.
pub(super) fn fault(action: &'static str, error: &sqlx::Error) -> Error {
    let detail = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    match primary_code(error) {
        Some(FULL) => Error::StoreDiskFull { detail },
        Some(CORRUPT | NOT_A_DATABASE) => Error::StoreDamaged { detail },
        _ => Error::StoreFailed { action, detail },
    }
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|extended| extended & 0xff)
}
