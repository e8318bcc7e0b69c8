//! The receiving side: what jambonz and other programs send.
//!
//! ```text
//! POST /jambonz/call ───► facts to the store │ request to the application ─► its verbs, a tag in front
//! POST /jambonz/status ─► facts to the store ─► 200, or 503 with Retry-After    (a copy to the application)
//! POST /v1/calls ───────► facts to the store ─► 201 or 200                      (bearer token)
//! anything else ────────► the application's origin
//! ```
//!
//! | what | where |
//! |---|---|
//! | whether a request comes from jambonz | [`HookAuthentication`], [`HookKeys`] |
//! | what a webhook says | [`Webhook`], [`CallFact`](crate::call_book::CallFact) |
//! | the `tag` verb | [`tagged`] |
//! | the application | [`UpstreamHook`], [`Proxy`], [`StatusForwarder`] |
//! | reports in process | [`StoreCallRecords`] |
//!
//! Nothing that comes in makes it panic. Bodies, queues and waits are bounded, each by a constant of this module.

pub(crate) mod answers;
mod authentication;
mod call_hook;
mod claims;
mod forwarding;
mod keys;
mod names;
mod proxy;
mod reports;
mod status_hook;
mod stopwatch;
mod store_watch;
#[cfg(test)]
mod tests;
mod upstream;
mod verbs;
mod webhook;

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, post};
use bytes::Bytes;
use codex_core_sip::application_names::ApplicationNames;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use secrecy::SecretString;
use tracing::warn;

pub use self::authentication::{
    AuthenticationFault, HookAuthentication, HookLogin, JAMBONZ_SIGNATURE, SIGNATURE_TOLERANCE_SECONDS, is_bearer,
    jambonz_signature,
};
pub use self::call_hook::STORE_GRACE;
pub use self::claims::{MAX_CUSTOMER_DATA_BYTES, UNSTATED_CALL_TYPE};
pub use self::forwarding::{
    FORWARD_LANES, FORWARD_QUEUE_EVENTS, ForwardingTasks, StatusForwarder, UPSTREAM_STATUS_LIMIT,
};
pub use self::keys::HookKeys;
pub use self::names::{NAME_LOOKUP_LIMIT, NAME_LOOKUP_PAUSE};
pub use self::proxy::{MAX_PROXIED_BODY_BYTES, MAX_PROXIED_REQUESTS, PROXY_ANSWER_LIMIT, Proxy};
pub use self::reports::{MAX_CALL_ID_BYTES, MAX_REPORT_AGE_MS, StoreCallRecords};
pub use self::status_hook::COMMIT_LIMIT;
pub use self::store_watch::StoreWatch;
#[cfg(feature = "mock")]
pub use self::upstream::MockUpstreamHook;
pub use self::upstream::{
    HookAnswer, HookRequest, HttpUpstreamHook, MAX_UPSTREAM_ANSWER_BYTES, MAX_UPSTREAM_CALL_LIMIT, UPSTREAM_CALL_LIMIT,
    UpstreamFault, UpstreamHook,
};
pub use self::verbs::{Tagged, check_verbs, tagged};
pub use self::webhook::{Announcement, TagData, Webhook, WebhookFault, tag_keys};

use self::names::NameLookup;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::CallStore;

/// Where jambonz announces calls.
pub const CALL_HOOK_PATH: &str = "/jambonz/call";
/// Where jambonz tells the course of calls.
pub const STATUS_HOOK_PATH: &str = "/jambonz/status";
/// Where programs report their own calls.
pub const REPORTS_PATH: &str = "/v1/calls";

/// How large the body of a hook or report may be, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_LIMIT: Duration = Duration::from_secs(10);

/// What the receiving side must know.
pub struct ReceiveSettings {
    /// What hooks must show.
    pub keys: HookKeys,
    /// The application's own call_hook.
    pub upstream: Option<Arc<dyn UpstreamHook>>,
    /// How long it may take: [`UPSTREAM_CALL_LIMIT`], at most [`MAX_UPSTREAM_CALL_LIMIT`].
    pub upstream_call_limit: Duration,
    /// Where paths lead that the bridge does not know.
    pub proxy: Option<Proxy>,
    /// The verbs of calls whose application fails, checked with [`check_verbs`].
    pub fallback_verbs: Option<Bytes>,
    /// The verbs of all calls if there is no application, checked with [`check_verbs`].
    pub verbs: Option<Bytes>,
    /// Tokens of programs that may report calls.
    pub api_tokens: Vec<SecretString>,
    /// Who knows applications by name.
    pub names: Option<Arc<dyn ApplicationNames>>,
}

/// The receiving side. A clone is the same one.
#[derive(Clone)]
pub struct Receiver(Arc<ReceiverParts>);

/// What a [`Receiver`] is made of.
pub struct ReceiverParts {
    settings: ReceiveSettings,
    names: NameLookup,
    forwarder: Mutex<Option<StatusForwarder>>,
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Whether what was received lately could be kept.
    pub store_watch: StoreWatch,
}

impl Deref for Receiver {
    type Target = ReceiverParts;

    fn deref(&self) -> &ReceiverParts {
        &self.0
    }
}

impl Receiver {
    /// Receives into `store`. `forwarder` passes status events on to the application, if it wants them.
    #[must_use]
    pub fn new(
        mut settings: ReceiveSettings,
        store: Arc<dyn CallStore>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        forwarder: Option<StatusForwarder>,
    ) -> Self {
        let names = NameLookup::new(settings.names.take(), Arc::clone(&clock));
        let forwarder = Mutex::new(forwarder);
        Self(Arc::new(ReceiverParts {
            settings,
            names,
            forwarder,
            store,
            clock,
            metrics,
            store_watch: StoreWatch::default(),
        }))
    }

    /// The routes of the hooks and of reports.
    pub fn routes(&self) -> Router {
        Router::new()
            .route(CALL_HOOK_PATH, any(call_hook::receive))
            .route(STATUS_HOOK_PATH, any(status_hook::receive))
            .route(REPORTS_PATH, post(reports::receive))
            .with_state(self.clone())
    }

    /// A router that passes on to the application what is not one of the `own` routes of the bridge: another path, or
    /// another method of the same path (an application may have hooks at `POST /`, where the admin page is `GET /`).
    pub fn pass_on_the_rest(&self, own: Router) -> Router {
        let app = own.fallback_service(any(Self::pass_on).with_state(self.clone()));
        if self.settings.proxy.is_none() {
            return app;
        }
        let receiver = self.clone();
        app.method_not_allowed_fallback(move |request: Request| Self::pass_on(State(receiver.clone()), request))
    }

    async fn pass_on(State(receiver): State<Self>, request: Request) -> Response {
        match &receiver.settings.proxy {
            Some(proxy) => proxy.pass_on(request, &receiver.metrics).await,
            None => answers::problem(
                StatusCode::NOT_FOUND,
                "the bridge has no such path, and no application to pass the request on to",
                "the hooks are POST /jambonz/call and POST /jambonz/status",
            ),
        }
    }

    /// Passes no more status events on: what waits is finished by the [`ForwardingTasks`].
    pub fn stop_forwarding(&self) {
        self.forwarder.lock().unwrap_or_else(|e| e.into_inner()).take();
    }

    /// A request's body, whole, or why not.
    async fn body(&self, body: Body) -> Result<Bytes, Response> {
        match tokio::time::timeout(BODY_LIMIT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(answers::problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {MAX_BODY_BYTES} bytes"),
                "jambonz' own requests are far smaller",
            )),
            Ok(Err(_)) => Err(answers::problem(StatusCode::BAD_REQUEST, "the body broke off", "send it again")),
            Err(_) => Err(answers::problem(
                StatusCode::REQUEST_TIMEOUT,
                &format!("the body did not arrive within {} s", BODY_LIMIT.as_secs()),
                "send it again",
            )),
        }
    }

    /// Whether a hook's request is let in: `true`, or `false` while it cannot be known because the secret is still being
    /// fetched.
    fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<bool, Box<Response>> {
        let Some(authentication) = self.settings.keys.current() else { return Ok(false) };
        let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let now = u64::try_from(self.clock.now().as_seconds()).unwrap_or_default();
        let signature = value(JAMBONZ_SIGNATURE);
        let checked = authentication.check(signature, value(header::AUTHORIZATION.as_str()), body, now);
        checked.map(|()| true).map_err(|fault| {
            self.settings.keys.report(fault);
            warn!(code = fault.code(), %fault, "a hook's request was not let in");
            let remedy = "see the bridge's log and its check command";
            Box::new(answers::problem(StatusCode::UNAUTHORIZED, &fault.to_string(), remedy))
        })
    }
}
