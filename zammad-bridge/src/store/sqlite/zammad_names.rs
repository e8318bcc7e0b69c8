//! Names of Zammads as numbers, so that a lane's row is short.

use sqlx::{Row, SqliteConnection};

use super::fault::fault;
use crate::error::Result;
use crate::store::{Routes, ZammadName};

/// All names that the file knows: those configured now, and those of lanes from before.
#[derive(Debug)]
pub(super) struct ZammadNames {
    names: Vec<(i64, ZammadName)>,
}

impl ZammadNames {
    pub(super) async fn load(connection: &mut SqliteConnection, routes: &Routes, writable: bool) -> Result<Self> {
        let failed = |error| fault("read the names of the Zammads", &error);
        if writable {
            for route in &routes.routes {
                sqlx::query("INSERT INTO zammad (name) VALUES (?) ON CONFLICT (name) DO NOTHING")
                    .bind(route.zammad.to_string())
                    .execute(&mut *connection)
                    .await
                    .map_err(failed)?;
            }
        }
        let rows = sqlx::query("SELECT id, name FROM zammad").fetch_all(&mut *connection).await.map_err(failed)?;
        let mut names = Vec::with_capacity(rows.len());
        for row in rows {
            let name: &str = row.try_get(1).map_err(failed)?;
            names.push((row.try_get(0).map_err(failed)?, ZammadName::from(name)));
        }
        Ok(Self { names })
    }

    /// The number of a configured Zammad; -1, which no lane has, for any other.
    pub(super) fn number(&self, zammad: &str) -> i64 {
        self.names.iter().find(|(_, name)| &**name == zammad).map_or(-1, |(number, _)| *number)
    }

    pub(super) fn name(&self, number: i64) -> ZammadName {
        self.names.iter().find(|(known, _)| *known == number).map_or_else(|| "?".into(), |(_, name)| name.clone())
    }
}
