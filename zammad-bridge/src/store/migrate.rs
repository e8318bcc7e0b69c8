//! From a file to a database: what one bridge has kept goes over to several.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::lane::Lane;
use super::{CallStore as _, PostgresSettings, PostgresStore, RecordId, Routes, SqliteSettings, SqliteStore};
use crate::call_book::CallRecord;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// How many records go over at a time.
const RECORDS_AT_A_TIME: usize = 256;

/// What a file has on a call.
pub(super) type Kept = (RecordId, CallRecord, Vec<Lane>);

/// A part of what a file has.
pub(super) struct KeptPart {
    pub(super) kept: Vec<Kept>,
    /// The last record that was looked at; none if there is no more.
    pub(super) last: Option<RecordId>,
    /// How many cannot be read.
    pub(super) unreadable: u64,
}

/// What went over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// How many records.
    pub records: u64,
    /// How many could not be read; they are in the file still.
    pub unreadable: u64,
    /// What the file is called now, so that no bridge takes it up and tells everything again.
    pub moved_to: PathBuf,
}

/// Moves everything from the file into the database, in which bridges may run already: a call of which both know becomes
/// one, and what either has told Zammad is not told again. Broken off, it can be begun again.
///
/// # Errors
///
/// [`Error::StoreInUse`] while a bridge has the file open, and all other faults of the two stores.
pub async fn migrate(
    from: &SqliteSettings,
    to: &PostgresSettings,
    routes: Routes,
    clock: Arc<dyn Clock>,
) -> Result<Migrated> {
    if !from.path.exists() {
        let detail = format!("{} is not there", from.path.display());
        return Err(Error::StoreFailed { action: "open its file", detail });
    }
    let file = SqliteStore::open(from, routes.clone(), clock.clone()).await?;
    let database = PostgresStore::open(to, routes, clock).await?;
    let (mut records, mut unreadable, mut after) = (0, 0, RecordId(0));
    loop {
        let part = file.kept_after(after, RECORDS_AT_A_TIME).await?;
        let Some(last) = part.last else { break };
        after = last;
        unreadable += part.unreadable;
        records += part.kept.len() as u64;
        database.take_in(part.kept).await?;
    }
    database.close().await;
    file.close().await;
    let mut moved_to = from.path.clone().into_os_string();
    moved_to.push(".migrated");
    let moved_to = PathBuf::from(moved_to);
    fs::rename(&from.path, &moved_to).map_err(|error| Error::StoreFailed {
        action: "put the file away",
        detail: format!("{}: {error}; rename it, or a bridge on it tells everything again", from.path.display()),
    })?;
    Ok(Migrated { records, unreadable, moved_to })
}
