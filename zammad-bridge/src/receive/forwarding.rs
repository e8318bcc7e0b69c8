//! Status events passed on to the application, without anybody waiting.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::metadata::CallTag;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::stopwatch::Stopwatch;
use super::upstream::{HookRequest, UpstreamHook};
use crate::metrics::{Metrics, Upstream, UpstreamOutcome};

/// How many status events of one lane may wait; further ones are dropped and counted.
pub const FORWARD_QUEUE_EVENTS: usize = 256;
/// How many lanes there are: the events of a call go one after the other, those of different calls beside each other.
pub const FORWARD_LANES: usize = 8;
/// How long the application may take for one event, as jambonz itself would wait.
pub const UPSTREAM_STATUS_LIMIT: Duration = Duration::from_secs(10);

/// Passes status events on.
pub struct StatusForwarder {
    lanes: Vec<mpsc::Sender<Waiting>>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// An event that waits.
struct Waiting {
    /// Of its call, for the log.
    tag: CallTag,
    request: HookRequest,
}

/// The tasks that do it.
pub struct ForwardingTasks(JoinSet<()>);

impl StatusForwarder {
    /// Starts to pass events on to `upstream`. To be called inside a tokio runtime.
    #[must_use]
    pub fn start(upstream: &Arc<dyn UpstreamHook>, metrics: &Arc<Metrics>) -> (Self, ForwardingTasks) {
        let mut tasks = JoinSet::new();
        let mut lanes = Vec::with_capacity(FORWARD_LANES);
        for _ in 0..FORWARD_LANES {
            let (lane, queue) = mpsc::channel(FORWARD_QUEUE_EVENTS);
            tasks.spawn(pass_on(queue, Arc::clone(upstream), Arc::clone(metrics)));
            lanes.push(lane);
        }
        (Self { lanes, hasher: RandomState::new(), metrics: Arc::clone(metrics) }, ForwardingTasks(tasks))
    }

    /// Passes an event on after those of the same call that wait already. An event that finds its lane full is dropped:
    /// the application is slower than its calls, and waiting would take memory without end.
    pub fn forward(&self, call: &str, tag: &CallTag, request: HookRequest) {
        let count = self.lanes.len().max(1) as u64;
        let lane = usize::try_from(self.hasher.hash_one(call) % count).unwrap_or_default();
        if self.lanes.get(lane).is_none_or(|lane| lane.try_send(Waiting { tag: tag.clone(), request }).is_err()) {
            self.metrics.upstream(Upstream::StatusHook, UpstreamOutcome::Dropped, Duration::ZERO);
            warn!(%tag, "a status event was not passed on to UPSTREAM_STATUS_HOOK: too many wait already");
        }
    }
}

impl ForwardingTasks {
    /// Waits until everything that waits was passed on, which ends once the [`StatusForwarder`] was dropped.
    pub async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn pass_on(mut queue: mpsc::Receiver<Waiting>, upstream: Arc<dyn UpstreamHook>, metrics: Arc<Metrics>) {
    while let Some(Waiting { tag, request }) = queue.recv().await {
        let watch = Stopwatch::start();
        let outcome = match tokio::time::timeout(UPSTREAM_STATUS_LIMIT, upstream.post(request)).await {
            Ok(Ok(answer)) if answer.is_success() => {
                debug!(%tag, "a status event was passed on");
                UpstreamOutcome::Answered
            }
            Ok(Ok(answer)) => {
                warn!(%tag, status = answer.status.as_u16(), "UPSTREAM_STATUS_HOOK refused a status event");
                UpstreamOutcome::Failed
            }
            Ok(Err(fault)) => {
                warn!(%tag, %fault, "a status event did not reach UPSTREAM_STATUS_HOOK");
                UpstreamOutcome::Unreachable
            }
            Err(_) => {
                warn!(%tag, limit_s = UPSTREAM_STATUS_LIMIT.as_secs(), "UPSTREAM_STATUS_HOOK did not answer in time");
                UpstreamOutcome::TimedOut
            }
        };
        metrics.upstream(Upstream::StatusHook, outcome, watch.elapsed());
    }
}
