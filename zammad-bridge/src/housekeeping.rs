//! What has to be done from time to time: calls whose end never came are closed, old records deleted, and a store that
//! fails is tried again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::receive::{Receiver, STORE_GRACE};
use crate::store::{CallStore, StoreHealth, Swept};

/// How often it is looked.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);
/// How many records are closed or deleted in one go; others may write in between.
pub const RECORDS_AT_A_TIME: usize = 500;
/// How often a store that fails, or is too slow, is tried without a call having to find out.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Tries the store as long as it is said to fail, so that `/readyz` turns green without traffic, until it is dropped. One
/// try at a time: a disk that hangs gets no queue of them.
pub async fn watch_store(store: Arc<dyn CallStore>, receiver: Receiver, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(PROBE_INTERVAL).await;
        let seen_failing = receiver.store_watch.failing_since().is_some();
        if !seen_failing && store.health() == StoreHealth::Working {
            continue;
        }
        let began = clock.now();
        match store.probe().await {
            Ok(()) if clock.now().saturating_since(began) <= STORE_GRACE => {
                receiver.store_watch.works();
                if seen_failing {
                    info!("the store takes things again");
                }
            }
            Ok(()) => warn!(grace_ms = STORE_GRACE.as_millis(), "the store works, but is too slow for calls to wait"),
            Err(fault) => warn!(%fault, retry_s = PROBE_INTERVAL.as_secs(), "the store still fails"),
        }
    }
}

/// Closes and deletes, until it is dropped.
pub async fn keep_house(
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    call_max_age: Duration,
    retain: Option<Duration>,
) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut closed = 0;
        loop {
            let now = clock.now();
            match store.reap(now - call_max_age, now, RECORDS_AT_A_TIME).await {
                Ok(count) => {
                    closed += count;
                    if count < RECORDS_AT_A_TIME as u64 {
                        break;
                    }
                }
                Err(fault) => {
                    warn!(%fault, "calls whose end never came cannot be closed");
                    break;
                }
            }
        }
        if closed > 0 {
            info!(closed, "calls whose end never came were closed");
        }
        let Some(retain) = retain else { continue };
        let mut deleted = Swept::default();
        loop {
            match store.sweep(clock.now() - retain, RECORDS_AT_A_TIME).await {
                Ok(swept) => {
                    deleted.records += swept.records;
                    deleted.dead_letters += swept.dead_letters;
                    if swept.records < RECORDS_AT_A_TIME as u64 {
                        break;
                    }
                }
                Err(fault) => {
                    warn!(%fault, "old records cannot be deleted");
                    break;
                }
            }
        }
        if deleted.records > 0 {
            info!(deleted = deleted.records, "old records were deleted");
        }
        if deleted.dead_letters > 0 {
            metrics.dead_letters_expired(deleted.dead_letters);
            warn!(
                dead_letters = deleted.dead_letters,
                "RETAIN_DAYS are over for calls on the dead-letter shelf: they were deleted, and Zammad never had them"
            );
        }
    }
}
