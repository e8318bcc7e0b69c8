//! All links together: what the program starts, asks and stops.

use std::sync::{Arc, Mutex};

use codex_core_sip::random::Random;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::task::JoinSet;

use super::circuit::Circuit;
use super::link::{Door, Link, LinkStatus, Meter, Pace};
use super::port::Zammad;
use super::settings::ZammadSettings;
use super::tickets::Customers;
use crate::call_book::{Channel, TicketMode};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::CallStore;

/// Delivers what is due to every Zammad, until it is stopped or dropped.
pub struct Dispatcher {
    links: Vec<Arc<Link>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl core::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Dispatcher").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// Starts to deliver. `random` is asked for one source for each link. To be called inside a tokio runtime.
    pub fn start(
        zammads: Vec<(ZammadSettings, Arc<dyn Zammad>)>,
        store: &Arc<dyn CallStore>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        mut random: impl FnMut() -> Box<dyn Random>,
    ) -> Self {
        let stop = watch::Sender::new(false);
        let (mut links, mut tasks) = (Vec::new(), JoinSet::new());
        for (settings, zammad) in zammads {
            let concurrency = settings.concurrency.clamp(1, Semaphore::MAX_PERMITS);
            let tickets = settings.tickets != TicketMode::Off;
            let door = Arc::new(Door {
                zammad,
                slots: Arc::new(Semaphore::new(concurrency)),
                pace: Pace::new(settings.max_per_second),
                customers: Customers::default(),
                started_at: clock.now(),
                log_at_start: OnceCell::new(),
                settings,
            });
            for channel in [Channel::CallerLog, Channel::Ticket] {
                if channel == Channel::Ticket && !tickets {
                    continue;
                }
                let link = Arc::new(Link {
                    door: door.clone(),
                    channel,
                    store: store.clone(),
                    clock: clock.clone(),
                    random: Mutex::new(random()),
                    circuit: Mutex::new(Circuit::new(concurrency)),
                    meter: Meter::default(),
                    metrics: metrics.clone(),
                });
                tasks.spawn(link.clone().run(stop.subscribe()));
                links.push(link);
            }
        }
        Self { links, stop, tasks }
    }

    /// The state of every link.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        self.links.iter().map(|link| link.status()).collect()
    }

    /// A way to ask for [`status`](Self::status) that may be handed on.
    #[must_use]
    pub fn watcher(&self) -> LinkWatcher {
        LinkWatcher { links: self.links.clone() }
    }

    /// Begins nothing new, and waits until what is under way is finished and noted.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Knows the state of every link.
#[derive(Clone)]
pub struct LinkWatcher {
    links: Vec<Arc<Link>>,
}

impl core::fmt::Debug for LinkWatcher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LinkWatcher").field("links", &self.links.len()).finish()
    }
}

impl LinkWatcher {
    /// The state of every link.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        self.links.iter().map(|link| link.status()).collect()
    }
}
