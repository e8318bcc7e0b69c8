//! What people and their tools see of the bridge: the admin page, health, metrics, the list of calls.
//!
//! ```text
//! GET  /                    the page              GET  /healthz        the process runs
//! GET  /admin/session       who am I              GET  /readyz         it can take calls, or why not
//! POST /admin/login|logout                        GET  /metrics        OpenMetrics
//! GET  /admin/history       an hour of figures    GET  /openapi.json   this list, for programs
//! GET  /admin/events        server-sent events    GET  /v1/calls       list, filter, page
//! POST /admin/replay|discard  dead letters        GET  /v1/calls/{id}  one call
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`access`] | who may look: loopback unless told otherwise, the login token, sessions, CSRF |
//! | [`calls`] | calls as JSON, with what an agent sees of them; replay and discard |
//! | [`figures`] | an hour of samples for the charts |
//! | [`health`] | whether the bridge is ready, and why not, in English and Russian |
//! | `page` | the page, one self-contained document, and its Content-Security-Policy |
//! | `events` | the stream of changes |
//! | [`openapi`] | the document that describes all routes of the bridge |

pub mod access;
pub mod calls;
mod events;
pub mod figures;
pub mod health;
pub mod openapi;
mod page;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use codex_core_sip::random::Random;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use self::access::Access;
use self::calls::Show;
use self::figures::History;
use self::health::{Reason, Report};
use self::page::Page;
use crate::bridge::Parts;
use crate::clock::{Clock, UnixMillis};
use crate::metrics::{self, Metrics, Observed};
use crate::store::{Backlog, CallStore};
use crate::tally::Tally;

pub use self::access::AdminSettings;

/// For how long counts of the store are good enough, in milliseconds: they may be dear in a large store.
const BACKLOG_AGE_MS: u64 = 1_000;

/// How large the body of a request may be, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long what needs no login may take, its body included.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What an [`Admin`] is made of.
pub struct AdminParts {
    /// Who may look.
    pub settings: AdminSettings,
    /// The calls.
    pub store: Arc<dyn CallStore>,
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Wrong tokens so far.
    pub guesses: Arc<Tally>,
    /// Where session names come from.
    pub random: Box<dyn Random>,
    /// What an agent sees of a call.
    pub show: Show,
    /// What keeps calls from being taken as they should, besides the store's own word: [`health::of_receiving`].
    pub faults: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
    /// Becomes true when the bridge stops.
    pub stopping: watch::Receiver<bool>,
    /// What else is wrong at the moment, though calls are taken and kept: [`health::of_links`].
    pub warnings: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The admin part of the bridge.
pub struct Admin {
    access: Access,
    store: Arc<dyn CallStore>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    show: Show,
    faults: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
    warnings: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
    stopping: watch::Receiver<bool>,
    history: Mutex<History>,
    backlog: tokio::sync::Mutex<Option<(UnixMillis, Arc<Backlog>)>>,
    streams: Arc<Semaphore>,
    page: Page,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Admin {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: AdminParts) -> Arc<Self> {
        let AdminParts { settings, store, metrics, clock, guesses, random, show, faults, warnings, stopping } = parts;
        Arc::new(Self {
            access: Access::new(settings, random, guesses),
            store,
            metrics,
            clock,
            show,
            faults,
            warnings,
            stopping,
            history: Mutex::default(),
            backlog: tokio::sync::Mutex::new(None),
            streams: Arc::new(Semaphore::new(events::MAX_STREAMS)),
            page: Page::new(),
        })
    }

    /// Its routes, to be merged with the others. Serve them with
    /// [`axum::Router::into_make_service_with_connect_info`], or nobody counts as a neighbour on this machine.
    pub fn router(self: &Arc<Self>) -> Router {
        let open = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .route("/openapi.json", get(openapi::serve));
        // Nothing of what is sent here is long.
        let small = DefaultBodyLimit::max(MAX_BODY_BYTES);
        let near = Router::new()
            .route("/", get(page::serve))
            .route("/admin/session", get(access::session))
            .route("/admin/login", post(access::log_in))
            .route("/admin/logout", post(access::log_out))
            .route_layer(small)
            .route_layer(axum::middleware::from_fn(in_time))
            .route_layer(axum::middleware::from_fn_with_state(Arc::clone(self), access::require_near));
        let logged_in = Router::new()
            .route("/admin/history", get(figures::serve))
            .route("/admin/events", get(events::serve))
            .route("/admin/replay", post(calls::replay))
            .route("/admin/discard", post(calls::discard))
            .route("/v1/calls", get(calls::list))
            .route("/v1/calls/{id}", get(calls::one))
            .route_layer(small)
            .route_layer(axum::middleware::from_fn_with_state(Arc::clone(self), access::require_login));
        open.merge(near).merge(logged_in).with_state(Arc::clone(self))
    }

    /// Takes samples for the charts, for ever.
    pub async fn keep_history(self: Arc<Self>) {
        let mut tick = tokio::time::interval(figures::SAMPLE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let sample = self.sample().await;
            self.history.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        }
    }

    /// What is ready and what is not.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut faults = health::of_store(&self.store.health());
        if faults.is_empty() {
            faults = (self.faults)();
        }
        Report { faults, warnings: (self.warnings)() }
    }

    /// The store's counts, at most [`BACKLOG_AGE_MS`] old; `None` if it cannot tell.
    async fn backlog(&self) -> Option<Arc<Backlog>> {
        let mut kept = self.backlog.lock().await;
        let now = self.clock.now();
        if let Some((at, backlog)) = &*kept
            && now.saturating_since(*at).as_millis() < u128::from(BACKLOG_AGE_MS)
        {
            return Some(Arc::clone(backlog));
        }
        match self.store.backlog().await {
            Ok(backlog) => {
                let backlog = Arc::new(backlog);
                *kept = Some((now, Arc::clone(&backlog)));
                Some(backlog)
            }
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "the store cannot be counted");
                None
            }
        }
    }

    async fn sample(&self) -> figures::Sample {
        let backlog = self.backlog().await;
        figures::Sample::of(self.clock.now(), &self.metrics, backlog.as_deref())
    }
}

/// The admin part of a bridge that runs: its routes, and the task that takes samples.
pub fn pages(parts: &Parts) -> Router {
    let receiver = parts.receiver.clone();
    let links = parts.links.clone();
    let admin = Admin::new(AdminParts {
        settings: AdminSettings {
            token: parts.settings.admin_token.clone(),
            allow_remote: parts.settings.admin_allow_remote,
        },
        store: Arc::clone(&parts.store),
        metrics: Arc::clone(&parts.metrics),
        clock: Arc::clone(&parts.clock),
        guesses: Arc::clone(&parts.guesses),
        random: Box::new(access::SessionRandom),
        show: calls::show_as_in(&parts.settings.zammads),
        faults: Box::new(move || health::of_receiving(receiver.store_watch.failing_since()).into_iter().collect()),
        warnings: Box::new(move || health::of_links(&links.status())),
        stopping: parts.stopping.clone(),
    });
    let keeping = Arc::clone(&admin);
    let mut stopping = parts.stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = keeping.keep_history() => {}
            Ok(_) = stopping.wait_for(|stopping| *stopping) => {}
        }
    });
    admin.router()
}

async fn healthz() -> Response {
    axum::Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let report = admin.report();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(report.codes_json())).into_response()
}

async fn metrics_text(State(admin): State<Arc<Admin>>) -> Response {
    let backlog = admin.backlog().await;
    let observed = Observed { backlog: backlog.as_deref(), ready: admin.report().is_ready(), now: admin.clock.now() };
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], admin.metrics.text(&observed)).into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    let late = |_| refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time", "send it again");
    tokio::time::timeout(ANSWER_LIMIT, next.run(request)).await.unwrap_or_else(late)
}

/// An error for a program that asked: what was wrong, and what to do.
fn refuse(status: StatusCode, error: &str, remedy: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(json!({"error": error, "remedy": remedy})))
        .into_response()
}
