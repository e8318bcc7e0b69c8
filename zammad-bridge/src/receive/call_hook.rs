//! `POST /jambonz/call`: a call is announced, and jambonz waits for verbs.
//!
//! The call's facts go to disk while the application is asked. Whatever happens to either, the call goes on: without the
//! disk after [`STORE_GRACE`], without the application with the fallback verbs. All waits of the bridge's own together
//! are bounded by [`CALL_HOLD_LIMIT`](super::CALL_HOLD_LIMIT).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use tracing::{error, info, warn};

use super::stopwatch::Stopwatch;
use super::upstream::{HookAnswer, HookRequest, UpstreamHook, end_to_end};
use super::verbs::{Tagged, tagged};
use super::webhook::{TagData, Webhook, tag_keys};
use super::{Receiver, answers, proxy};
use crate::call_book::CallFact;
use crate::metrics::{Received, Upstream, UpstreamOutcome, Way};

/// How long a call waits for its facts to be on disk before it goes on without.
pub const STORE_GRACE: Duration = Duration::from_millis(500);

pub(super) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let watch = Stopwatch::start();
    let (response, outcome) = match receiver.take_call(request).await {
        Ok(answered) => answered,
        Err(refusal) => (refusal, Received::Refused),
    };
    receiver.metrics.received(Way::CallHook, outcome, watch.elapsed());
    response
}

/// What became of a call's announcement.
struct Announced {
    /// What goes into the `tag` verb; empty if the payload cannot be read.
    tag_data: TagData,
    outcome: Received,
}

/// Why the application gave no answer.
struct Unanswered {
    /// What jambonz is told if there are no fallback verbs.
    status: StatusCode,
    /// For the log.
    problem: String,
}

impl Receiver {
    /// Takes a call in. Once the sender was let in, every way leads to an answer with which the call can go on.
    async fn take_call(&self, request: Request) -> Result<(Response, Received), Response> {
        if request.method() != Method::POST {
            return Err(answers::only_post(request.method().as_str()));
        }
        let (parts, body) = request.into_parts();
        let (body, is_known_sender) = self.let_in(&parts.headers, body).await?;
        let Some(upstream) = &self.settings.upstream else {
            let announced = self.announce(&body, is_known_sender).await;
            let response = match &self.settings.verbs {
                Some(verbs) => verbs_answer(verbs, &announced.tag_data),
                None => answers::problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the bridge has no application to ask and no verbs of its own",
                    "set UPSTREAM_CALL_HOOK to the application's own call_hook, or VERBS_FILE to a file with verbs",
                ),
            };
            return Ok((response, announced.outcome));
        };
        if proxy::has_passed_here(&parts.headers) {
            return Err(answers::problem(
                StatusCode::LOOP_DETECTED,
                "the request came here again: UPSTREAM_CALL_HOOK leads back to this bridge",
                "point UPSTREAM_CALL_HOOK at the application itself",
            ));
        }
        let mut headers = end_to_end(&parts.headers);
        // The answer is to be read here, so it must not be packed.
        headers.remove(header::ACCEPT_ENCODING);
        proxy::add_via(&mut headers);
        let request = HookRequest { query: parts.uri.query().map(str::to_owned), headers, body: body.clone() };
        let (announced, answer) =
            tokio::join!(self.announce(&body, is_known_sender), self.ask(upstream.as_ref(), request));
        let tag_data = &announced.tag_data;
        let tag = shown_tag(tag_data);
        let response = match answer {
            Ok(answer) if answer.is_success() => passed_on(answer, tag_data),
            Ok(answer) => {
                warn!(tag, status = answer.status.as_u16(), "the application refused a call");
                self.fallback(tag_data).unwrap_or_else(|| passed_on(answer, tag_data))
            }
            Err(Unanswered { status, problem }) => {
                warn!(tag, problem, "a call goes without the application's verbs");
                self.fallback(tag_data).unwrap_or_else(|| {
                    let remedy = "look at the application that UPSTREAM_CALL_HOOK names, and set FALLBACK_VERBS_FILE for \
                                  such times";
                    answers::problem(status, "the application gave no answer", remedy)
                })
            }
        };
        Ok((response, announced.outcome))
    }

    /// Asks the application for the call's verbs.
    async fn ask(&self, upstream: &dyn UpstreamHook, request: HookRequest) -> Result<HookAnswer, Unanswered> {
        let (watch, limit) = (Stopwatch::start(), self.settings.upstream_call_limit);
        let (result, outcome) = match tokio::time::timeout(limit, upstream.post(request)).await {
            Ok(Ok(answer)) if answer.is_success() => (Ok(answer), UpstreamOutcome::Answered),
            Ok(Ok(answer)) => (Ok(answer), UpstreamOutcome::Failed),
            Ok(Err(fault)) => {
                let problem = fault.to_string();
                (Err(Unanswered { status: StatusCode::BAD_GATEWAY, problem }), UpstreamOutcome::Unreachable)
            }
            Err(_) => {
                let problem = format!("the application did not answer within {} ms", limit.as_millis());
                (Err(Unanswered { status: StatusCode::GATEWAY_TIMEOUT, problem }), UpstreamOutcome::TimedOut)
            }
        };
        self.metrics.upstream(Upstream::CallHook, outcome, watch.elapsed());
        result
    }

    /// Reads what the call_hook says and commits it, waiting for the disk no longer than [`STORE_GRACE`].
    async fn announce(&self, body: &Bytes, is_known_sender: bool) -> Announced {
        let webhook = match Webhook::parse(body) {
            Ok(webhook) => webhook,
            Err(fault) => {
                error!(%fault, "a call_hook cannot be read; the call goes on without a record");
                return Announced { tag_data: TagData::new(), outcome: Received::Ignored };
            }
        };
        let at = self.clock.now();
        let name = self.names.of(webhook.application(), || webhook.names_application()).await;
        let announcement = webhook.announcement(at, name.as_ref());
        let tag_data = announcement.tag_data;
        let tag = shown_tag(&tag_data);
        let outcome = if is_known_sender {
            self.commit_in_grace(announcement.fact, tag).await
        } else {
            warn!(tag, "the webhook secret is not known yet: a call goes on, and its status events bring it back");
            Received::StoreFault
        };
        if outcome == Received::StoreFault {
            self.metrics.call_without_store();
        }
        Announced { tag_data, outcome }
    }

    /// Commits a call's facts. The commit goes on when the call no longer waits for it.
    async fn commit_in_grace(&self, fact: CallFact, tag: &str) -> Received {
        let receiver = self.clone();
        let owned_tag = tag.to_owned();
        let committing = tokio::spawn(async move {
            match receiver.commit(fact).await {
                Ok(committed) => {
                    info!(
                        tag = owned_tag,
                        record = committed.record.0,
                        repeat = committed.repeat,
                        "a call was announced"
                    );
                    if committed.repeat { Received::Repeat } else { Received::Committed }
                }
                Err(fault) => {
                    error!(tag = owned_tag, %fault, "a call's facts cannot be kept; the call goes on, tagged");
                    if fault.is_store_fault() { Received::StoreFault } else { Received::Ignored }
                }
            }
        });
        match tokio::time::timeout(STORE_GRACE, committing).await {
            Ok(outcome) => outcome.unwrap_or(Received::StoreFault),
            Err(_) => {
                self.store_watch.fails(self.clock.now());
                error!(tag, grace_ms = STORE_GRACE.as_millis(), "the store is too slow; the call goes on, tagged");
                Received::StoreFault
            }
        }
    }

    /// The fallback verbs, if there are any.
    fn fallback(&self, tag_data: &TagData) -> Option<Response> {
        let verbs = self.settings.fallback_verbs.as_ref()?;
        self.metrics.fallback_answer();
        Some(verbs_answer(verbs, tag_data))
    }
}

/// The tag, for logs.
fn shown_tag(tag_data: &TagData) -> &str {
    tag_data.get(tag_keys::TAG).and_then(|tag| tag.as_str()).unwrap_or_default()
}

/// Verbs of our own.
fn verbs_answer(verbs: &Bytes, tag_data: &TagData) -> Response {
    let body = match tagged(verbs, tag_data) {
        Tagged::Verbs(verbs) => verbs.into(),
        Tagged::AsItCame => verbs.clone(),
    };
    answers::json_bytes(StatusCode::OK, body)
}

/// The application's answer, with the `tag` in front of its verbs.
fn passed_on(answer: HookAnswer, tag_data: &TagData) -> Response {
    let is_packed = answer
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let HookAnswer { status, mut headers, body } = answer;
    let changed = if is_packed || !status.is_success() { Tagged::AsItCame } else { tagged(&body, tag_data) };
    let body = match changed {
        Tagged::Verbs(verbs) => {
            forget_old_body(&mut headers);
            verbs.into()
        }
        Tagged::AsItCame => body,
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What the application said of the body that it sent does not hold for the one that jambonz gets.
fn forget_old_body(headers: &mut HeaderMap) {
    for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        headers.remove(name);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
}
