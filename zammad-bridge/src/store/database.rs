//! Which store: what `BRIDGE_DATABASE_URL` names.

use std::sync::Arc;

use super::{CallStore, PostgresSettings, PostgresStore, Routes, SqliteSettings, SqliteStore, is_postgres_url};
use crate::clock::Clock;
use crate::error::Result;

/// Where the calls are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseSettings {
    /// In a file, by this process alone.
    Sqlite(SqliteSettings),
    /// In a database, by as many replicas as wanted.
    Postgres(Box<PostgresSettings>),
}

impl DatabaseSettings {
    /// What `url` names: `sqlite:…` or `postgres:…`.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`](crate::Error::Configuration) for `BRIDGE_DATABASE_URL`.
    pub fn from_url(url: &str) -> Result<Self> {
        if is_postgres_url(url) {
            PostgresSettings::from_url(url).map(|settings| Self::Postgres(Box::new(settings)))
        } else {
            SqliteSettings::from_url(url).map(Self::Sqlite)
        }
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// Faults of the store.
    pub async fn open(&self, routes: Routes, clock: Arc<dyn Clock>) -> Result<Arc<dyn CallStore>> {
        Ok(match self {
            Self::Sqlite(settings) => Arc::new(SqliteStore::open(settings, routes, clock).await?),
            Self::Postgres(settings) => Arc::new(PostgresStore::open(settings, routes, clock).await?),
        })
    }

    /// The file, or host and database, for people. No password.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(settings) => settings.path.display().to_string(),
            Self::Postgres(settings) => settings.place(),
        }
    }
}
