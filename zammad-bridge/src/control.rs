//! What the program's own commands ask of a bridge that runs, since only one process may have the store open.
//!
//! Closed without `BRIDGE_ADMIN_TOKEN`, and for a while to who offers wrong ones ([`tally`](crate::tally)). JSON both
//! ways:
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/control/status` | [`ControlStatus`] |
//! | `POST /v1/control/replay` `{"record":7}` or `{}` for all | `{"lanes":n}` |
//! | `POST /v1/control/forget` `{"clientId":"…"}` | [`Forgotten`] |
//! | `POST /v1/control/export` `{"before":7,"clientId":"…"}`, both optional | [`CallPage`] |

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::access::{peer_of, too_many};
use crate::bridge::Parts;
use crate::clock::UnixMillis;
use crate::delivery::LinkStatus;
use crate::error::Result;
use crate::receive::{answers, is_bearer};
use crate::store::{
    Backlog, CallPage, CallQuery, CallStore, Forgotten, MAX_PAGE_RECORDS, RecordId, Shelf, StoreHealth,
};
use crate::tally::Place;

/// How a bridge does.
#[derive(Debug, Clone, Serialize)]
pub struct ControlStatus {
    /// The bridge's version.
    pub version: &'static str,
    /// What is still to be delivered.
    pub backlog: Backlog,
    /// Each link to a Zammad; empty if nothing runs.
    pub links: Vec<LinkStatus>,
    /// Since when the store fails; absent if it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_failing_since: Option<UnixMillis>,
}

/// Which records to replay.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayRequest {
    /// One record; all of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
}

/// Whom to forget.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgetRequest {
    /// The client's id, as its customer data has it.
    pub client_id: String,
}

/// Which records to export.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportRequest {
    /// Older than this one: what the page before named as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<RecordId>,
    /// Of this client alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl ReplayRequest {
    /// Puts shelved deliveries back; how many lanes there were.
    ///
    /// # Errors
    ///
    /// Faults of the store.
    pub async fn run(self, store: &dyn CallStore, now: UnixMillis) -> Result<u64> {
        store.replay(self.record.map_or(Shelf::All, Shelf::Record), now).await
    }
}

impl ExportRequest {
    /// A page of records.
    ///
    /// # Errors
    ///
    /// Faults of the store.
    pub async fn run(self, store: &dyn CallStore) -> Result<CallPage> {
        let query = CallQuery {
            before: self.before,
            client_id: self.client_id,
            limit: MAX_PAGE_RECORDS,
            ..CallQuery::default()
        };
        store.calls(query).await
    }
}

/// The routes, closed to all but the bearer of `BRIDGE_ADMIN_TOKEN`.
pub fn routes(parts: &Parts) -> Router {
    Router::new()
        .route("/v1/control/status", get(status))
        .route("/v1/control/replay", post(replay))
        .route("/v1/control/forget", post(forget))
        .route("/v1/control/export", post(export))
        .route_layer(middleware::from_fn_with_state(parts.clone(), only_admins))
        .with_state(parts.clone())
}

async fn only_admins(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let Some(token) = &parts.settings.admin_token else {
        return answers::problem(
            StatusCode::FORBIDDEN,
            "commands are not taken: there is no token by which their sender could be known",
            "set BRIDGE_ADMIN_TOKEN for the bridge and for the command",
        );
    };
    let (place, now) = (Place::of(peer_of(&request), request.headers()), parts.clock.now());
    if let Some(retry_after_s) = parts.guesses.closed_for_s(place, now) {
        return too_many(retry_after_s);
    }
    let authorization = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if !is_bearer(authorization, std::slice::from_ref(token)) {
        parts.guesses.count(place, now);
        let mut response = answers::problem(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong",
            "give the command the same BRIDGE_ADMIN_TOKEN as the bridge",
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

async fn status(State(parts): State<Parts>) -> Response {
    let failing = match parts.store.health() {
        StoreHealth::Working => None,
        StoreHealth::Failing { since, .. } => Some(since),
    };
    answer(parts.store.backlog().await.map(|backlog| ControlStatus {
        version: env!("CARGO_PKG_VERSION"),
        backlog,
        links: parts.links.status(),
        store_failing_since: failing.or_else(|| parts.receiver.store_watch.failing_since()),
    }))
}

/// What a request asks for, or what is answered to one that cannot be read.
async fn asked<T: DeserializeOwned>(parts: &Parts, request: Request) -> Result<T, Response> {
    let body = parts.receiver.body(request.into_body()).await?;
    serde_json::from_slice(&body).map_err(|error| {
        answers::problem(StatusCode::BAD_REQUEST, &error.to_string(), "see /openapi.json for what may be asked")
    })
}

async fn replay(State(parts): State<Parts>, request: Request) -> Response {
    let request: ReplayRequest = match asked(&parts, request).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let lanes = request.run(parts.store.as_ref(), parts.clock.now()).await;
    answer(lanes.map(|lanes| json!({"lanes": lanes})))
}

async fn forget(State(parts): State<Parts>, request: Request) -> Response {
    let request: ForgetRequest = match asked(&parts, request).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let forgotten: Result<Forgotten> = parts.store.forget(&request.client_id).await;
    answer(forgotten)
}

async fn export(State(parts): State<Parts>, request: Request) -> Response {
    let request: ExportRequest = match asked(&parts, request).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    answer(request.run(parts.store.as_ref()).await)
}

fn answer(result: Result<impl Serialize>) -> Response {
    let body = result.map_err(|fault| fault.to_string()).and_then(|answer| {
        serde_json::to_vec(&answer).map_err(|error| format!("the answer cannot be written: {error}"))
    });
    match body {
        Ok(body) => answers::json_bytes(StatusCode::OK, Bytes::from(body)),
        Err(fault) => answers::problem(StatusCode::SERVICE_UNAVAILABLE, &fault, "see the bridge's log"),
    }
}
