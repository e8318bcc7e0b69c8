//! What is counted: for `GET /metrics` in the OpenMetrics text format, and for the charts of the admin page.
//!
//! Names follow Prometheus' conventions: prefix `zammad_bridge_`, base units, `_total` on counters. No label holds anything
//! of a caller.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::call_book::{Channel, Step};
use crate::clock::UnixMillis;
use crate::store::{Backlog, ZammadName};

/// The type of what [`Metrics::text`] returns, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of everything that is timed, in seconds.
const BUCKETS_S: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of the buckets of how late Zammad learns of something, in seconds: up to a day.
const LAG_BUCKETS_S: [f64; 12] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0, 86_400.0];

/// By which way an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `POST /jambonz/call`
    CallHook,
    /// `POST /jambonz/status`
    StatusHook,
    /// `POST /v1/calls`
    Record,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::CallHook => "call_hook",
            Self::StatusHook => "status_hook",
            Self::Record => "record",
        }
    }
}

/// What became of an event that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is on disk and said something new.
    Committed,
    /// Nothing in it was new.
    Repeat,
    /// It was accepted and tells nothing that a record keeps.
    Ignored,
    /// It was refused: wrong signature, malformed, too large.
    Refused,
    /// The store failed.
    StoreFault,
}

impl Received {
    const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Repeat => "repeat",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::StoreFault => "store_fault",
        }
    }
}

/// What was asked of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// Its call_hook.
    CallHook,
    /// Its call_status_hook.
    StatusHook,
    /// Any other path.
    Proxy,
}

impl Upstream {
    const fn name(self) -> &'static str {
        match self {
            Self::CallHook => "call_hook",
            Self::StatusHook => "status_hook",
            Self::Proxy => "proxy",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamOutcome {
    /// It answered with success.
    Answered,
    /// It answered with an error status, or nonsense.
    Failed,
    /// It could not be reached.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It was not asked: too many requests were under way or waiting.
    Dropped,
}

impl UpstreamOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Dropped => "dropped",
        }
    }
}

/// What came of a try to tell Zammad something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Zammad has it.
    Delivered,
    /// To be tried again.
    Retry,
    /// On the dead-letter shelf.
    Shelved,
}

impl Delivery {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Shelved => "shelved",
        }
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];
type TimedBy<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
type OfZammad = Vec<(&'static str, ZammadName)>;
type Count = Gauge<u64, AtomicU64>;
type Amount = Gauge<f64, AtomicU64>;

/// Counts. Cheap to share and to write to.
pub struct Metrics {
    registry: Registry,
    received: Family<Labels<2>, Counter>,
    receive_time: TimedBy<1>,
    calls_without_store: Counter,
    dead_letters_expired: Counter,
    fallback_answers: Counter,
    upstream: Family<Labels<2>, Counter>,
    upstream_time: TimedBy<1>,
    deliveries: Family<Vec<(&'static str, String)>, Counter>,
    delivery_time: Family<OfZammad, Histogram, fn() -> Histogram>,
    delivery_lag: Family<OfZammad, Histogram, fn() -> Histogram>,
    circuit_open: Family<OfZammad, Count>,
    lanes_pending: Family<OfZammad, Count>,
    lanes_shelved: Family<OfZammad, Count>,
    oldest_due: Family<OfZammad, Amount>,
    calls_open: Count,
    store_bytes: Count,
    ready: Count,
    resident_bytes: Count,
    open_files: Count,
    received_total: AtomicU64,
    delivered_total: AtomicU64,
}

fn of_link(zammad: &ZammadName, channel: Channel) -> OfZammad {
    vec![("zammad", zammad.clone()), ("channel", channel.name().into())]
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("received_total", &self.received_total)
            .field("delivered_total", &self.delivered_total)
            .finish_non_exhaustive()
    }
}

/// What is looked at when somebody asks for the metrics.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The store's counts; `None` if it cannot tell.
    pub backlog: Option<&'a Backlog>,
    /// Whether the bridge is ready.
    pub ready: bool,
    /// Now.
    pub now: UnixMillis,
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let timed: fn() -> Histogram = || Histogram::new(BUCKETS_S);
        let lagging: fn() -> Histogram = || Histogram::new(LAG_BUCKETS_S);
        let mut metrics = Self {
            registry: Registry::default(),
            received: Family::default(),
            receive_time: Family::new_with_constructor(timed),
            calls_without_store: Counter::default(),
            dead_letters_expired: Counter::default(),
            fallback_answers: Counter::default(),
            upstream: Family::default(),
            upstream_time: Family::new_with_constructor(timed),
            deliveries: Family::default(),
            delivery_time: Family::new_with_constructor(timed),
            delivery_lag: Family::new_with_constructor(lagging),
            circuit_open: Family::default(),
            lanes_pending: Family::default(),
            lanes_shelved: Family::default(),
            oldest_due: Family::default(),
            calls_open: Count::default(),
            store_bytes: Count::default(),
            ready: Count::default(),
            resident_bytes: Count::default(),
            open_files: Count::default(),
            received_total: AtomicU64::new(0),
            delivered_total: AtomicU64::new(0),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let bridge = self.registry.sub_registry_with_prefix("zammad_bridge");
        bridge.register("build", "Version of the bridge", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        bridge.register("received", "Events that came, by way and outcome", self.received.clone());
        bridge.register_with_unit(
            "receive_duration",
            "Time from an event's arrival to its answer",
            Unit::Seconds,
            self.receive_time.clone(),
        );
        bridge.register(
            "calls_without_store",
            "Calls that went on although the store failed",
            self.calls_without_store.clone(),
        );
        bridge.register(
            "dead_letters_expired",
            "Calls deleted after RETAIN_DAYS with something on the dead-letter shelf that Zammad was never told",
            self.dead_letters_expired.clone(),
        );
        bridge.register(
            "fallback_answers",
            "Calls that were answered with the fallback verbs",
            self.fallback_answers.clone(),
        );
        bridge.register("upstream_requests", "Requests to the application", self.upstream.clone());
        bridge.register_with_unit(
            "upstream_duration",
            "Time that the application took",
            Unit::Seconds,
            self.upstream_time.clone(),
        );
        bridge.register("deliveries", "Tries to tell Zammad something", self.deliveries.clone());
        bridge.register_with_unit(
            "delivery_duration",
            "Time that Zammad took",
            Unit::Seconds,
            self.delivery_time.clone(),
        );
        bridge.register_with_unit(
            "delivery_lag",
            "Time from when something was to be told until Zammad had it",
            Unit::Seconds,
            self.delivery_lag.clone(),
        );
        bridge.register(
            "circuit_open",
            "1 while Zammad refuses everything and nothing but a probe is sent",
            self.circuit_open.clone(),
        );
        bridge.register("backlog_lanes", "Calls with something to be told to Zammad", self.lanes_pending.clone());
        bridge.register("shelved_lanes", "Calls with something on the dead-letter shelf", self.lanes_shelved.clone());
        bridge.register_with_unit(
            "oldest_due_age",
            "For how long the oldest of the backlog has been due",
            Unit::Seconds,
            self.oldest_due.clone(),
        );
        bridge.register("calls_open", "Calls that are not over", self.calls_open.clone());
        bridge.register_with_unit("store_size", "Size of the store's files", Unit::Bytes, self.store_bytes.clone());
        bridge.register("ready", "1 if the bridge is ready", self.ready.clone());
        let process = self.registry.sub_registry_with_prefix("process");
        process.register_with_unit(
            "resident_memory",
            "Resident memory of the process",
            Unit::Bytes,
            self.resident_bytes.clone(),
        );
        process.register("open_fds", "Open file descriptors of the process", self.open_files.clone());
    }

    /// An event came, and was answered after this time.
    pub fn received(&self, way: Way, outcome: Received, took: Duration) {
        self.received.get_or_create(&[("way", way.name()), ("outcome", outcome.name())]).inc();
        self.receive_time.get_or_create(&[("way", way.name())]).observe(took.as_secs_f64());
        if matches!(outcome, Received::Committed | Received::Repeat) {
            self.received_total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call went on although the store failed.
    pub fn call_without_store(&self) {
        self.calls_without_store.inc();
    }

    /// Calls were deleted because they are old, with something on the dead-letter shelf.
    pub fn dead_letters_expired(&self, calls: u64) {
        self.dead_letters_expired.inc_by(calls);
    }

    /// A call was answered with the fallback verbs.
    pub fn fallback_answer(&self) {
        self.fallback_answers.inc();
    }

    /// The application was asked.
    pub fn upstream(&self, what: Upstream, outcome: UpstreamOutcome, took: Duration) {
        self.upstream.get_or_create(&[("request", what.name()), ("outcome", outcome.name())]).inc();
        self.upstream_time.get_or_create(&[("request", what.name())]).observe(took.as_secs_f64());
    }

    /// Zammad was told something, or not; `lag` is how long it had been due.
    pub fn delivery(&self, zammad: &ZammadName, step: Step, outcome: Delivery, took: Duration, lag: Duration) {
        let labels = vec![
            ("zammad", zammad.to_string()),
            ("step", step.name().to_owned()),
            ("outcome", outcome.name().to_owned()),
        ];
        self.deliveries.get_or_create(&labels).inc();
        let of_zammad = vec![("zammad", zammad.clone())];
        self.delivery_time.get_or_create(&of_zammad).observe(took.as_secs_f64());
        if outcome == Delivery::Delivered {
            self.delivery_lag.get_or_create(&of_zammad).observe(lag.as_secs_f64());
            self.delivered_total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The circuit to a Zammad on a channel opened or closed.
    pub fn circuit(&self, zammad: &ZammadName, channel: Channel, open: bool) {
        self.circuit_open.get_or_create(&of_link(zammad, channel)).set(u64::from(open));
    }

    /// Events taken into the call book so far, repeats included.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        self.received_total.load(Ordering::Relaxed)
    }

    /// Steps that Zammad acknowledged so far.
    #[must_use]
    pub fn delivered_total(&self) -> u64 {
        self.delivered_total.load(Ordering::Relaxed)
    }

    /// All of it, as Prometheus reads it.
    #[must_use]
    pub fn text(&self, observed: &Observed<'_>) -> String {
        self.ready.set(u64::from(observed.ready));
        self.lanes_pending.clear();
        self.lanes_shelved.clear();
        self.oldest_due.clear();
        if let Some(backlog) = observed.backlog {
            for zammad in &backlog.zammads {
                let labels = of_link(&zammad.zammad, zammad.channel);
                self.lanes_pending.get_or_create(&labels).set(zammad.lanes_pending);
                self.lanes_shelved.get_or_create(&labels).set(zammad.lanes_shelved);
                let age = zammad.oldest_due.map_or(Duration::ZERO, |due| observed.now.saturating_since(due));
                self.oldest_due.get_or_create(&labels).set(age.as_secs_f64());
            }
            self.calls_open.set(backlog.calls_open);
            self.store_bytes.set(backlog.store_bytes);
        }
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(open.count() as u64);
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// `VmRSS` of `/proc/self/status`; `None` where there is no such file.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ZammadBacklog;

    fn line_of<'a>(text: &'a str, beginning: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{beginning} in\n{text}"))
    }

    #[test]
    fn names_units_and_values_are_as_prometheus_wants_them() {
        let metrics = Metrics::new();
        let zammad: ZammadName = "default".into();
        metrics.received(Way::StatusHook, Received::Committed, Duration::from_millis(3));
        metrics.received(Way::StatusHook, Received::Refused, Duration::from_millis(1));
        metrics.delivery(
            &zammad,
            Step::NewCall,
            Delivery::Delivered,
            Duration::from_millis(700),
            Duration::from_secs(2),
        );
        metrics.delivery(&zammad, Step::Answer, Delivery::Retry, Duration::from_millis(700), Duration::from_secs(2));
        metrics.circuit(&zammad, Channel::CallerLog, true);
        metrics.call_without_store();
        let backlog = Backlog {
            zammads: vec![ZammadBacklog {
                zammad,
                channel: Channel::CallerLog,
                lanes_pending: 7,
                lanes_shelved: 1,
                oldest_due: Some(UnixMillis::new(1_000)),
            }],
            calls_open: 4,
            store_bytes: 8192,
        };
        let text = metrics.text(&Observed { backlog: Some(&backlog), ready: true, now: UnixMillis::new(61_000) });
        for line in [
            "zammad_bridge_received_total{way=\"status_hook\",outcome=\"committed\"} 1",
            "zammad_bridge_received_total{way=\"status_hook\",outcome=\"refused\"} 1",
            "zammad_bridge_receive_duration_seconds_count{way=\"status_hook\"} 2",
            "zammad_bridge_deliveries_total{zammad=\"default\",step=\"new_call\",outcome=\"delivered\"} 1",
            "zammad_bridge_delivery_lag_seconds_sum{zammad=\"default\"} 2.0",
            "zammad_bridge_circuit_open{zammad=\"default\",channel=\"caller_log\"} 1",
            "zammad_bridge_backlog_lanes{zammad=\"default\",channel=\"caller_log\"} 7",
            "zammad_bridge_shelved_lanes{zammad=\"default\",channel=\"caller_log\"} 1",
            "zammad_bridge_oldest_due_age_seconds{zammad=\"default\",channel=\"caller_log\"} 60.0",
            "zammad_bridge_calls_without_store_total 1",
            "zammad_bridge_calls_open 4",
            "zammad_bridge_store_size_bytes 8192",
            "zammad_bridge_ready 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
        }
        assert!(line_of(&text, "# HELP zammad_bridge_received").len() > 30);
        assert!(text.ends_with("# EOF\n"));
        assert_eq!((metrics.received_total(), metrics.delivered_total()), (1, 1));
    }

    #[test]
    fn a_zammad_that_has_nothing_left_is_not_told_of_any_more() {
        let metrics = Metrics::new();
        let of = |lanes_pending| Backlog {
            zammads: vec![ZammadBacklog {
                zammad: "a".into(),
                channel: Channel::Ticket,
                lanes_pending,
                lanes_shelved: 0,
                oldest_due: None,
            }],
            ..Backlog::default()
        };
        let now = UnixMillis::ZERO;
        let text = metrics.text(&Observed { backlog: Some(&of(3)), ready: true, now });
        assert!(text.contains("zammad_bridge_backlog_lanes{zammad=\"a\",channel=\"ticket\"} 3"));
        let text = metrics.text(&Observed { backlog: Some(&Backlog::default()), ready: false, now });
        assert!(!text.contains("zammad_bridge_backlog_lanes{"));
        assert!(text.lines().any(|line| line == "zammad_bridge_ready 0"));
    }
}
