//! `POST /jambonz/call`: a call is announced, and jambonz waits for verbs.
//!
//! The call's facts go to disk while the application is asked. Whatever happens to either, the call goes on: without the
//! disk after [`STORE_GRACE`], without the application with the fallback verbs.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use tracing::{error, info, warn};

use super::upstream::{HookAnswer, HookRequest, end_to_end};
use super::verbs::{Tagged, tagged};
use super::webhook::{TagData, Webhook, tag_keys};
use super::{Receiver, answers, proxy};
use crate::call_book::CallFact;

/// How long a call waits for its facts to be on disk before it goes on without.
pub const STORE_GRACE: Duration = Duration::from_millis(500);

pub(super) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    if request.method() != Method::POST {
        return answers::only_post(request.method().as_str());
    }
    let (parts, body) = request.into_parts();
    let body = match receiver.body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let is_known_sender = match receiver.authenticate(&parts.headers, &body) {
        Ok(is_known) => is_known,
        Err(refusal) => return refusal,
    };
    receiver.counters.call_hooks.add();
    let announced = receiver.announce(&body, is_known_sender);
    let Some(upstream) = receiver.settings.upstream.clone() else {
        let tag_data = announced.await;
        return match &receiver.settings.verbs {
            Some(verbs) => verbs_answer(verbs, &tag_data),
            None => answers::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "the bridge has no application to ask and no verbs of its own",
                "set UPSTREAM_CALL_HOOK to the application's own call_hook, or VERBS_FILE to a file with verbs",
            ),
        };
    };
    if proxy::has_passed_here(&parts.headers) {
        return answers::problem(
            StatusCode::LOOP_DETECTED,
            "the request came here again: UPSTREAM_CALL_HOOK leads back to this bridge",
            "point UPSTREAM_CALL_HOOK at the application itself",
        );
    }
    let mut headers = end_to_end(&parts.headers);
    // The answer is to be read here, so it must not be packed.
    headers.remove(header::ACCEPT_ENCODING);
    proxy::add_via(&mut headers);
    let request = HookRequest { query: parts.uri.query().map(str::to_owned), headers, body: body.clone() };
    let limit = receiver.settings.upstream_call_limit;
    let (tag_data, answer) = tokio::join!(announced, tokio::time::timeout(limit, upstream.post(request)));
    let tag = shown_tag(&tag_data);
    match answer {
        Ok(Ok(answer)) if answer.is_success() => {
            receiver.counters.upstream_answered.add();
            passed_on(answer, &tag_data)
        }
        Ok(Ok(answer)) => {
            receiver.counters.upstream_failed.add();
            warn!(tag, status = answer.status.as_u16(), "the application refused a call");
            receiver.fallback(&tag_data).unwrap_or_else(|| passed_on(answer, &tag_data))
        }
        Ok(Err(fault)) => {
            receiver.counters.upstream_failed.add();
            warn!(tag, %fault, "the application cannot be asked for a call's verbs");
            receiver.fallback(&tag_data).unwrap_or_else(|| {
                answers::problem(
                    StatusCode::BAD_GATEWAY,
                    "the application cannot be reached",
                    "look at the application that UPSTREAM_CALL_HOOK names, and set FALLBACK_VERBS_FILE for such times",
                )
            })
        }
        Err(_) => {
            receiver.counters.upstream_slow.add();
            warn!(tag, limit_ms = limit.as_millis(), "the application did not answer a call in time");
            receiver.fallback(&tag_data).unwrap_or_else(|| {
                answers::problem(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the application did not answer in time",
                    "look at the application that UPSTREAM_CALL_HOOK names, and set FALLBACK_VERBS_FILE for such times",
                )
            })
        }
    }
}

impl Receiver {
    /// Reads what the call_hook says and commits it, waiting for the disk no longer than [`STORE_GRACE`]. What goes into
    /// the `tag` verb; empty if the payload cannot be read.
    async fn announce(&self, body: &Bytes, is_known_sender: bool) -> TagData {
        let webhook = match Webhook::parse(body) {
            Ok(webhook) => webhook,
            Err(fault) => {
                self.counters.call_hooks_unreadable.add();
                error!(%fault, "a call_hook cannot be read; the call goes on without a record");
                return TagData::new();
            }
        };
        let at = self.clock.now();
        let committing = async {
            let name = self.names.of(webhook.application()).await;
            webhook.announcement(at, name.as_ref())
        };
        let announcement = committing.await;
        let tag = shown_tag(&announcement.tag_data);
        if !is_known_sender {
            self.counters.calls_uncommitted.add();
            warn!(tag, "the webhook secret is not known yet: a call goes on, and its status events bring it back");
            return announcement.tag_data;
        }
        self.commit_in_grace(announcement.fact, tag).await;
        announcement.tag_data
    }

    /// Commits a call's facts. The commit goes on when the call no longer waits for it.
    async fn commit_in_grace(&self, fact: CallFact, tag: &str) {
        let receiver = self.clone();
        let owned_tag = tag.to_owned();
        let committing = tokio::spawn(async move {
            match receiver.store.commit(fact).await {
                Ok(committed) => {
                    receiver.store_watch.works();
                    info!(
                        tag = owned_tag,
                        record = committed.record.0,
                        repeat = committed.repeat,
                        "a call was announced"
                    );
                    true
                }
                Err(fault) => {
                    if fault.is_store_fault() {
                        receiver.store_watch.fails(receiver.clock.now());
                    }
                    error!(tag = owned_tag, %fault, "a call's facts cannot be kept; the call goes on, tagged");
                    false
                }
            }
        });
        match tokio::time::timeout(STORE_GRACE, committing).await {
            Ok(Ok(true)) => {}
            Ok(_) => self.counters.calls_uncommitted.add(),
            Err(_) => {
                self.counters.calls_uncommitted.add();
                self.store_watch.fails(self.clock.now());
                error!(tag, grace_ms = STORE_GRACE.as_millis(), "the store is too slow; the call goes on, tagged");
            }
        }
    }

    /// The fallback verbs, if there are any.
    fn fallback(&self, tag_data: &TagData) -> Option<Response> {
        self.settings.fallback_verbs.as_ref().map(|verbs| verbs_answer(verbs, tag_data))
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
