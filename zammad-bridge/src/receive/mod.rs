//! The receiving side: what jambonz and other programs send.
//!
//! ```text
//! POST /jambonz/call ───► facts to the store │ request to the application ─► its verbs, a tag in front
//! POST /jambonz/status ─► facts to the store ─► 200, or 503 with Retry-After    (a copy to the application)
//! POST /v1/calls ───────► facts to the store ─► 201 or 200                      (bearer token)
//! POST /widget/token, /jambonz/registration ► short-lived SIP credentials         (if WIDGET_ORIGINS is set)
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
mod bodies;
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
mod widget;

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
use secrecy::SecretString;
use tracing::warn;

pub use self::authentication::{
    AuthenticationFault, HookAuthentication, HookLogin, JAMBONZ_SIGNATURE, SIGNATURE_TOLERANCE_SECONDS, is_bearer,
    jambonz_signature,
};
pub use self::bodies::{BODY_LIMIT, FREE_BODY_BYTES, LARGE_BODIES_BYTES, MAX_BODY_BYTES};
pub use self::call_hook::STORE_GRACE;
pub use self::claims::{MAX_CUSTOMER_DATA_BYTES, UNSTATED_CALL_TYPE};
pub use self::forwarding::{
    FORWARD_LANES, FORWARD_QUEUE_EVENTS, ForwardingTasks, StatusForwarder, UPSTREAM_STATUS_LIMIT,
};
pub use self::keys::HookKeys;
pub use self::names::{NAME_LOOKUP_LIMIT, NAME_LOOKUP_PAUSE, ROUTE_NAME_LIMIT, ROUTE_NAME_PAUSE};
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
pub use self::widget::{
    CREDENTIALS_LIFETIME, MIN_SECRET_CHARS, REGISTRATION_PATH, TOKEN_PATH, TOKENS_PER_MINUTE, Widget, WidgetSettings,
};

use self::bodies::Bodies;
use self::names::NameLookup;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::CallStore;
use crate::tally::Tally;

/// Where jambonz announces calls.
pub const CALL_HOOK_PATH: &str = "/jambonz/call";
/// Where jambonz tells the course of calls.
pub const STATUS_HOOK_PATH: &str = "/jambonz/status";
/// Where programs report their own calls.
pub const REPORTS_PATH: &str = "/v1/calls";

/// How long jambonz waits for the answer to a hook.
pub const JAMBONZ_HOOK_LIMIT: Duration = Duration::from_secs(10);

/// The longest that the bridge itself holds up a call: for the application's name, then for the disk. It runs beside the
/// application, which has [`MAX_UPSTREAM_CALL_LIMIT`] at most. Without a Zammad that is chosen by name it is
/// [`NAME_LOOKUP_LIMIT`] and [`STORE_GRACE`].
pub const CALL_HOLD_LIMIT: Duration = ROUTE_NAME_LIMIT.saturating_add(STORE_GRACE);
const _: () = assert!(CALL_HOLD_LIMIT.as_millis() < MAX_UPSTREAM_CALL_LIMIT.as_millis());
const _: () = assert!(MAX_UPSTREAM_CALL_LIMIT.as_millis() < JAMBONZ_HOOK_LIMIT.as_millis());
// A status event waits for the name and for its commit, one after the other.
const _: () = assert!(ROUTE_NAME_LIMIT.as_millis() + COMMIT_LIMIT.as_millis() < JAMBONZ_HOOK_LIMIT.as_millis());

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
    /// Whether a Zammad is chosen by an application's name: names are waited for longer then ([`ROUTE_NAME_LIMIT`]).
    pub names_decide_routes: bool,
    /// Credentials for web pages, if they are given out.
    pub widget: Option<Widget>,
}

/// The receiving side. A clone is the same one.
#[derive(Clone)]
pub struct Receiver(Arc<ReceiverParts>);

/// What a [`Receiver`] is made of.
pub struct ReceiverParts {
    settings: ReceiveSettings,
    names: NameLookup,
    bodies: Bodies,
    guesses: Arc<Tally>,
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
        let names = NameLookup::new(settings.names.take(), Arc::clone(&clock), settings.names_decide_routes);
        let forwarder = Mutex::new(forwarder);
        Self(Arc::new(ReceiverParts {
            settings,
            names,
            bodies: Bodies::default(),
            guesses: Arc::default(),
            forwarder,
            store,
            clock,
            metrics,
            store_watch: StoreWatch::default(),
        }))
    }

    /// Wrong tokens that were offered so far.
    #[must_use]
    pub fn guesses(&self) -> &Arc<Tally> {
        &self.0.guesses
    }

    /// The routes of the hooks and of reports.
    pub fn routes(&self) -> Router {
        let mut routes = Router::new()
            .route(CALL_HOOK_PATH, any(call_hook::receive))
            .route(STATUS_HOOK_PATH, any(status_hook::receive))
            .route(REPORTS_PATH, post(reports::receive));
        if self.settings.widget.is_some() {
            routes = routes.route(TOKEN_PATH, any(widget::token)).route(REGISTRATION_PATH, any(widget::registration));
        }
        routes.with_state(self.clone())
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

    /// A request's body, whole and bounded as those of hooks are, or what is answered in place of it.
    pub(crate) async fn body(&self, body: Body) -> Result<Bytes, Response> {
        self.bodies.read(body).await
    }

    /// A hook's body, if its sender is let in: beside it `true`, or `false` while that cannot be known because the secret is
    /// still being fetched. What the headers alone can tell is looked at before the body is read.
    async fn let_in(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, bool), Response> {
        let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let (signature, authorization) = (value(JAMBONZ_SIGNATURE), value(header::AUTHORIZATION.as_str()));
        let now = || u64::try_from(self.clock.now().as_seconds()).unwrap_or_default();
        let refuse = |fault: AuthenticationFault| {
            self.settings.keys.report(fault);
            warn!(code = fault.code(), %fault, "a hook's request was not let in");
            let remedy = "see the bridge's log and its check command";
            answers::problem(StatusCode::UNAUTHORIZED, &fault.to_string(), remedy)
        };
        if let Some(authentication) = self.settings.keys.current() {
            authentication.check_headers(signature, authorization, now()).map_err(refuse)?;
        }
        let body = self.bodies.read(body).await?;
        let Some(authentication) = self.settings.keys.current() else { return Ok((body, false)) };
        authentication.check(signature, authorization, &body, now()).map_err(refuse)?;
        Ok((body, true))
    }
}
