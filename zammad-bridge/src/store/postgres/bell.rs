//! How replicas tell each other that something changed: `NOTIFY`, and a look now and then where that does not come
//! through (a pooler in transaction mode keeps nobody listening).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::store::{ChangeKind, RecordId, StoreChange};

/// The channel of `NOTIFY`.
pub(super) const CHANNEL: &str = "zammad_bridge";
/// How often to look whether something is due, though nobody said so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many changes one notice tells of; a notice has at most 8,000 bytes.
const MAX_CHANGES: usize = 200;

/// What one replica tells the others.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notice {
    from: i64,
    due: bool,
    /// Records, and how they changed.
    changes: Vec<(i64, u8)>,
}

const KINDS: [ChangeKind; 4] = [ChangeKind::Begun, ChangeKind::Fact, ChangeKind::Delivery, ChangeKind::Gone];

impl Notice {
    pub(super) fn new(from: i64, changes: &[StoreChange], due: bool) -> Self {
        let number = |kind| KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u8;
        let changes = changes.iter().take(MAX_CHANGES).map(|change| (change.record.0, number(change.kind))).collect();
        Self { from, due, changes }
    }

    fn changes(&self) -> impl Iterator<Item = StoreChange> {
        let kind = |number: u8| KINDS.get(usize::from(number)).copied();
        self.changes
            .iter()
            .filter_map(move |(id, number)| Some(StoreChange { record: RecordId(*id), kind: kind(*number)? }))
    }
}

/// Listens to other replicas until it is dropped.
pub(super) async fn listen(shared: Arc<Shared>) {
    loop {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(shared.options.clone());
        let heard = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            loop {
                let notification = listener.recv().await?;
                if let Ok(notice) = serde_json::from_str::<Notice>(notification.payload())
                    && notice.from != shared.replica
                {
                    shared.publish(notice.changes().collect(), notice.due);
                }
            }
        };
        let result: Result<(), sqlx::Error> = heard.await;
        if let Err(error) = result {
            tracing::debug!(%error, "nobody tells of other replicas' changes; it is looked every second");
        }
        pool.close().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks now and then, until it is dropped.
pub(super) async fn look(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.publish(Vec::new(), true);
    }
}
