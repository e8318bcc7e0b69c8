//! Names of Zammads as numbers, so that a lane's row is short.

use std::sync::{PoisonError, RwLock};

use sqlx::{PgConnection, Row};

use super::connections::query;
use crate::store::{Routes, ZammadName};

/// All names that the database knew at the start: those configured here, and those of other replicas and of before.
/// A name that another replica has added since is `?` until the next start.
#[derive(Debug, Default)]
pub(super) struct ZammadNames {
    names: RwLock<Vec<(i64, ZammadName)>>,
}

impl ZammadNames {
    /// Sees to it that the configured ones have numbers, and reads all.
    pub(super) async fn load(&self, connection: &mut PgConnection, routes: &Routes) -> Result<(), sqlx::Error> {
        let names: Vec<ZammadName> = routes.routes.iter().map(|route| route.zammad.clone()).collect();
        self.add(connection, &names).await
    }

    /// Gives numbers to names that have none, and reads all.
    pub(super) async fn add(&self, connection: &mut PgConnection, added: &[ZammadName]) -> Result<(), sqlx::Error> {
        for name in added {
            query("INSERT INTO zammad_bridge.zammad (name) VALUES ($1) ON CONFLICT (name) DO NOTHING")
                .bind(name.to_string())
                .execute(&mut *connection)
                .await?;
        }
        let rows = query("SELECT id, name FROM zammad_bridge.zammad").fetch_all(connection).await?;
        let mut names = Vec::with_capacity(rows.len());
        for row in rows {
            names.push((row.try_get(0)?, ZammadName::from(row.try_get::<&str, _>(1)?)));
        }
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    /// The number of a configured Zammad; -1, which no lane has, for any other.
    pub(super) fn number(&self, zammad: &str) -> i64 {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(_, name)| &**name == zammad).map_or(-1, |(number, _)| *number)
    }

    pub(super) fn name(&self, number: i64) -> ZammadName {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(known, _)| *known == number).map_or_else(|| "?".into(), |(_, name)| name.clone())
    }
}
