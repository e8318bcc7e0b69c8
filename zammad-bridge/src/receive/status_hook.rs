//! `POST /jambonz/status`: what becomes of a call. Answered once it is on disk.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use tracing::{debug, error, warn};

use super::upstream::{HookRequest, end_to_end};
use super::webhook::Webhook;
use super::{Receiver, answers, proxy};
use crate::call_book::CallFact;
use crate::error::Error;
use crate::store::Committed;

/// How long a status event or report waits to be on disk before it is refused. jambonz gives up after 10 s.
pub const COMMIT_LIMIT: Duration = Duration::from_secs(8);

pub(super) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    if request.method() != Method::POST {
        return answers::only_post(request.method().as_str());
    }
    let (parts, body) = request.into_parts();
    let body = match receiver.body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match receiver.authenticate(&parts.headers, &body) {
        Ok(true) => {}
        Ok(false) => {
            return answers::unavailable(
                "the webhook secret is not known yet",
                answers::RETRY_AFTER_STORE_FAULT_SECONDS,
            );
        }
        Err(refusal) => return refusal,
    }
    let webhook = match Webhook::parse(&body) {
        Ok(webhook) => webhook,
        Err(fault) => {
            receiver.counters.status_unreadable.add();
            warn!(%fault, "a status event cannot be read");
            return answers::problem(
                StatusCode::BAD_REQUEST,
                &fault.to_string(),
                "this path is for the call_status_hook of a jambonz application",
            );
        }
    };
    let name = receiver.names.of(webhook.application()).await;
    let fact = webhook.status_fact(receiver.clock.now(), name.as_ref());
    receiver.forward(&fact, || {
        let mut headers = end_to_end(&parts.headers);
        proxy::add_via(&mut headers);
        HookRequest { query: parts.uri.query().map(str::to_owned), headers, body }
    });
    let status = fact.status.map_or("unknown", |status| status.name());
    match receiver.commit(fact).await {
        Ok(committed) => {
            receiver.counters.status_events.add();
            if committed.repeat {
                receiver.counters.status_repeats.add();
            }
            debug!(record = committed.record.0, status, repeat = committed.repeat, "a status event was kept");
            Response::default()
        }
        Err(fault) if fault.is_store_fault() => {
            receiver.counters.status_store_faults.add();
            error!(%fault, status, "a status event cannot be kept");
            answers::unavailable("the store failed", answers::RETRY_AFTER_STORE_FAULT_SECONDS)
        }
        Err(fault) => {
            receiver.counters.status_unreadable.add();
            warn!(%fault, status, "a status event was refused");
            answers::problem(
                StatusCode::BAD_REQUEST,
                &fault.to_string(),
                "this path is for the call_status_hook of a jambonz application",
            )
        }
    }
}

impl Receiver {
    /// Commits a fact, waiting for the disk no longer than [`COMMIT_LIMIT`].
    pub(super) async fn commit(&self, fact: CallFact) -> Result<Committed, Error> {
        let result = match tokio::time::timeout(COMMIT_LIMIT, self.store.commit(fact)).await {
            Ok(result) => result,
            Err(_) => Err(Error::StoreFailed {
                action: "commit facts",
                detail: format!("it took longer than {} s", COMMIT_LIMIT.as_secs()),
            }),
        };
        match &result {
            Ok(_) => self.store_watch.works(),
            Err(fault) if fault.is_store_fault() => self.store_watch.fails(self.clock.now()),
            Err(_) => {}
        }
        result
    }

    /// Passes a status event on to the application, if it wants them, without waiting.
    fn forward(&self, fact: &CallFact, request: impl FnOnce() -> HookRequest) {
        if let Some(forwarder) = self.forwarder.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
            let call = fact.parent_call_sid.as_ref().or(fact.call_sid.as_ref()).map_or("", String::as_str);
            forwarder.forward(call, request());
        }
    }
}
