//! `POST /jambonz/status`: what becomes of a call. Answered once it is on disk.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use codex_core_sip::metadata::CallTag;
use tracing::{debug, error, warn};

use super::stopwatch::Stopwatch;
use super::upstream::{HookRequest, end_to_end};
use super::webhook::Webhook;
use super::{Receiver, answers, proxy};
use crate::call_book::CallFact;
use crate::error::Error;
use crate::metrics::{Received, Way};
use crate::store::Committed;

/// How long a status event or report waits to be on disk before it is refused. jambonz gives up after 10 s.
pub const COMMIT_LIMIT: Duration = Duration::from_secs(8);

pub(super) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let watch = Stopwatch::start();
    let (response, outcome) = match receiver.take_status(request).await {
        Ok(repeat) => (Response::default(), if repeat { Received::Repeat } else { Received::Committed }),
        Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => (refusal, Received::StoreFault),
        Err(refusal) => (refusal, Received::Refused),
    };
    receiver.metrics.received(Way::StatusHook, outcome, watch.elapsed());
    response
}

impl Receiver {
    /// Takes a status event in; whether it was a repeat, or what is answered in place of success.
    async fn take_status(&self, request: Request) -> Result<bool, Response> {
        if request.method() != Method::POST {
            return Err(answers::only_post(request.method().as_str()));
        }
        let (parts, body) = request.into_parts();
        let (body, is_known_sender) = self.let_in(&parts.headers, body).await?;
        if !is_known_sender {
            let seconds = answers::RETRY_AFTER_STORE_FAULT_SECONDS;
            return Err(answers::unavailable("the webhook secret is not known yet", seconds));
        }
        let refuse = |problem: &dyn std::fmt::Display| {
            warn!(%problem, "a status event was refused");
            let remedy = "this path is for the call_status_hook of a jambonz application";
            answers::problem(StatusCode::BAD_REQUEST, &problem.to_string(), remedy)
        };
        let webhook = match Webhook::parse(&body) {
            Ok(webhook) => webhook,
            Err(fault) => return Err(refuse(&fault)),
        };
        let name = self.names.of(webhook.application(), || webhook.names_application()).await;
        let fact = webhook.status_fact(self.clock.now(), name.as_ref());
        let tag = fact.shown_tag();
        self.forward(&fact, &tag, || {
            let mut headers = end_to_end(&parts.headers);
            proxy::add_via(&mut headers);
            HookRequest { query: parts.uri.query().map(str::to_owned), headers, body }
        });
        let status = fact.status.map_or("unknown", |status| status.name());
        match self.commit(fact).await {
            Ok(committed) => {
                debug!(%tag, record = committed.record.0, status, repeat = committed.repeat, "a status event was kept");
                Ok(committed.repeat)
            }
            Err(fault) if fault.is_store_fault() => {
                error!(%tag, %fault, status, "a status event cannot be kept");
                Err(answers::unavailable("the store failed", answers::RETRY_AFTER_STORE_FAULT_SECONDS))
            }
            Err(fault) => Err(refuse(&fault)),
        }
    }

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
    fn forward(&self, fact: &CallFact, tag: &CallTag, request: impl FnOnce() -> HookRequest) {
        if let Some(forwarder) = self.forwarder.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
            let call = fact.parent_call_sid.as_ref().or(fact.call_sid.as_ref()).map_or("", String::as_str);
            forwarder.forward(call, tag, request());
        }
    }
}
