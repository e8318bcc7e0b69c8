//! An hour of samples, for the charts of the page.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Admin;
use crate::clock::UnixMillis;
use crate::metrics::Metrics;
use crate::store::Backlog;

/// How often a sample is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How many samples are kept: an hour.
pub const MAX_SAMPLES: usize = 720;

/// How things were at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub at: UnixMillis,
    /// Events taken in since the bridge began.
    pub received: u64,
    /// Steps that Zammad acknowledged since the bridge began.
    pub delivered: u64,
    /// Calls with something to be told to Zammad.
    pub pending: u64,
    /// Calls with something on the dead-letter shelf.
    pub shelved: u64,
    /// Calls that are not over.
    pub open: u64,
    /// For how long the oldest of the backlog has been due, in milliseconds.
    pub oldest_due_ms: u64,
}

impl Sample {
    /// How things are. Without counts of the store those are zero.
    #[must_use]
    pub fn of(now: UnixMillis, metrics: &Metrics, backlog: Option<&Backlog>) -> Self {
        let zammads = backlog.map_or(&[][..], |backlog| &backlog.zammads);
        let oldest = zammads.iter().filter_map(|zammad| zammad.oldest_due).min();
        let age = oldest.map_or(Duration::ZERO, |due| now.saturating_since(due));
        Self {
            at: now,
            received: metrics.received_total(),
            delivered: metrics.delivered_total(),
            pending: zammads.iter().map(|zammad| zammad.lanes_pending).sum(),
            shelved: zammads.iter().map(|zammad| zammad.lanes_shelved).sum(),
            open: backlog.map_or(0, |backlog| backlog.calls_open),
            oldest_due_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The last [`MAX_SAMPLES`] samples.
#[derive(Debug, Default)]
pub struct History(VecDeque<Sample>);

impl History {
    /// Adds one; the oldest goes if there are too many.
    pub fn push(&mut self, sample: Sample) {
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.0.iter().copied().collect()
    }
}

/// `GET /admin/history`
pub(super) async fn serve(State(admin): State<Arc<Admin>>) -> Response {
    let mut samples = admin.history.lock().unwrap_or_else(PoisonError::into_inner).samples();
    samples.push(admin.sample().await);
    ([(header::CACHE_CONTROL, "no-store")], Json(samples)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_book::Channel;
    use crate::store::ZammadBacklog;

    #[test]
    fn a_sample_adds_up_all_zammads_and_takes_the_oldest() {
        let of = |zammad: &str, lanes_pending, oldest| ZammadBacklog {
            zammad: zammad.into(),
            channel: Channel::CallerLog,
            lanes_pending,
            lanes_shelved: 1,
            oldest_due: Some(UnixMillis::new(oldest)),
        };
        let backlog = Backlog { zammads: vec![of("a", 2, 4_000), of("b", 3, 1_000)], calls_open: 5, store_bytes: 1 };
        let sample = Sample::of(UnixMillis::new(6_000), &Metrics::new(), Some(&backlog));
        assert_eq!((sample.pending, sample.shelved, sample.open, sample.oldest_due_ms), (5, 2, 5, 5_000));
    }

    #[test]
    fn history_is_bounded() {
        let mut history = History::default();
        for at in 0..(MAX_SAMPLES + 10) as i64 {
            history.push(Sample::of(UnixMillis::new(at), &Metrics::new(), None));
        }
        let samples = history.samples();
        assert_eq!(samples.len(), MAX_SAMPLES);
        assert_eq!(samples[0].at, UnixMillis::new(10));
    }
}
