//! What the store needs from time to time: calls without an end are closed, old ones deleted.

use std::sync::Arc;
use std::time::Duration;

use super::CallStore;
use crate::clock::Clock;

/// How many records one step of the upkeep changes; facts are written between two steps.
const STEP_RECORDS: usize = 200;

/// When calls are closed and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// `CALL_MAX_AGE_S`: a call of which nothing was heard for so long, and whose end never came, is closed.
    pub call_max_age: Duration,
    /// `RETAIN_DAYS`: how long calls are kept after their end; `None` for ever. What is still to be delivered is kept in
    /// any case; what lies on the dead-letter shelf is not.
    pub retain: Option<Duration>,
    /// How often to look.
    pub every: Duration,
}

impl UpkeepSettings {
    /// The default of [`call_max_age`](Self::call_max_age): 12 hours.
    pub const CALL_MAX_AGE: Duration = Duration::from_secs(12 * 3600);
    /// The default of [`retain`](Self::retain): 90 days.
    pub const RETAIN: Duration = Duration::from_secs(90 * 24 * 3600);
    /// The default of [`every`](Self::every): a minute.
    pub const EVERY: Duration = Duration::from_secs(60);
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self { call_max_age: Self::CALL_MAX_AGE, retain: Some(Self::RETAIN), every: Self::EVERY }
    }
}

/// Keeps the store in order, until the future is dropped. To be run as a task of its own.
pub async fn run_upkeep(store: Arc<dyn CallStore>, clock: Arc<dyn Clock>, settings: UpkeepSettings) {
    loop {
        if let Err(error) = upkeep(&*store, &*clock, &settings).await {
            tracing::warn!(%error, "the store's upkeep has to wait");
        }
        tokio::time::sleep(settings.every).await;
    }
}

/// Closes and deletes once what is to be closed and deleted now. How many were closed and deleted.
///
/// # Errors
///
/// Store faults.
pub async fn upkeep(
    store: &dyn CallStore,
    clock: &dyn Clock,
    settings: &UpkeepSettings,
) -> crate::error::Result<(u64, u64)> {
    let (mut closed, mut deleted) = (0, 0);
    loop {
        let now = clock.now();
        let count = store.reap(now - settings.call_max_age, now, STEP_RECORDS).await?;
        closed += count;
        if count < STEP_RECORDS as u64 {
            break;
        }
        tokio::task::yield_now().await;
    }
    if let Some(retain) = settings.retain {
        loop {
            let count = store.sweep(clock.now() - retain, STEP_RECORDS).await?;
            deleted += count;
            if count < STEP_RECORDS as u64 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    if closed > 0 {
        tracing::info!(closed, "calls closed whose end was never reported");
    }
    if deleted > 0 {
        tracing::info!(deleted, "old calls deleted");
    }
    Ok((closed, deleted))
}
