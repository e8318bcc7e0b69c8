//! The stream of changes: server-sent events for the page.
//!
//! `figures` every second while the page is open, `health` when it changed, `call` for each call that changed, `reload` when
//! more changed than is worth telling one by one. It ends with the session that it was asked for with.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::access::{Access, SessionHash};
use super::calls::CallView;
use super::{Admin, refuse};
use crate::store::{RecordId, StoreChange};

/// How many streams there may be at once.
pub(super) const MAX_STREAMS: usize = 16;
/// How often figures are told.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// How long changes are gathered before they are told, so that a call that changes often is told once.
const GATHER_FOR: Duration = Duration::from_millis(200);
/// How many calls are told one by one; more of them are a `reload`.
const MAX_CALLS_AT_ONCE: usize = 20;

struct Streaming {
    admin: Arc<Admin>,
    changes: Receiver<StoreChange>,
    figures: Interval,
    ready_to_go: VecDeque<Event>,
    health: Option<Value>,
    /// The session that it belongs to; none if it was asked for with the token.
    session: Option<SessionHash>,
    /// Changes when somebody has logged out.
    left: watch::Receiver<u64>,
    /// The stream counts as open until this is dropped.
    _permit: OwnedSemaphorePermit,
}

/// `GET /admin/events`
pub(super) async fn serve(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let Ok(permit) = Arc::clone(&admin.streams).try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many admin pages are open",
            "close one of them; this page tries again by itself",
        );
    };
    let mut figures = interval(FIGURES_EVERY);
    figures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = admin.store.changes();
    let (session, left) = (Access::session_of(&headers), admin.access.left());
    let ready_to_go = VecDeque::new();
    let streaming = Streaming { admin, changes, figures, ready_to_go, health: None, session, left, _permit: permit };
    Sse::new(events(streaming)).keep_alive(KeepAlive::default()).into_response()
}

fn events(streaming: Streaming) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(streaming, |mut streaming| async move {
        loop {
            // Who has logged out is told nothing more.
            if !streaming.is_allowed() {
                return None;
            }
            if let Some(event) = streaming.ready_to_go.pop_front() {
                return Some((Ok(event), streaming));
            }
            let (mut stopping, mut left) = (streaming.admin.stopping.clone(), streaming.left.clone());
            let goes_on = tokio::select! {
                goes_on = streaming.gather() => goes_on,
                Ok(()) = left.changed() => {
                    streaming.left.mark_unchanged();
                    // What was being gathered is told anew.
                    streaming.reload();
                    true
                }
                // Should whoever could say so be gone, nobody will.
                Ok(_) = stopping.wait_for(|stopping| *stopping) => false,
            };
            if !goes_on {
                return None;
            }
        }
    })
}

impl Streaming {
    /// Whether the session that it belongs to goes on.
    fn is_allowed(&self) -> bool {
        self.session.is_none_or(|session| self.admin.access.goes_on(session, self.admin.clock.now()))
    }

    /// Waits for something to tell. `false` when there will be nothing any more.
    async fn gather(&mut self) -> bool {
        tokio::select! {
            _ = self.figures.tick() => {
                let sample = self.admin.sample().await;
                self.ready_to_go.push_back(event("figures", &sample));
                let health = self.admin.report().json();
                if self.health.as_ref() != Some(&health) {
                    self.ready_to_go.push_back(event("health", &health));
                    self.health = Some(health);
                }
                true
            }
            change = self.changes.recv() => match change {
                Ok(change) => {
                    tokio::time::sleep(GATHER_FOR).await;
                    self.tell_changes(change).await;
                    true
                }
                Err(RecvError::Lagged(_)) => {
                    self.reload();
                    true
                }
                Err(RecvError::Closed) => false,
            },
        }
    }

    async fn tell_changes(&mut self, first: StoreChange) {
        let mut changed: Vec<RecordId> = vec![first.record];
        loop {
            match self.changes.try_recv() {
                Ok(change) if changed.contains(&change.record) => {}
                Ok(change) => {
                    changed.push(change.record);
                    if changed.len() > MAX_CALLS_AT_ONCE {
                        return self.reload();
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(_)) => return self.reload(),
            }
        }
        for id in changed {
            match self.admin.store.call(id).await {
                Ok(Some(call)) => {
                    self.ready_to_go.push_back(event("call", &CallView::of(&call, &self.admin.show)));
                }
                Ok(None) => self.ready_to_go.push_back(event("gone", &id)),
                // The health that is told in a moment says why.
                Err(_) => return,
            }
        }
    }

    fn reload(&mut self) {
        // What is told anew need not be told one by one.
        self.changes = self.changes.resubscribe();
        self.ready_to_go.push_back(event("reload", &Value::Null));
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    // What we serialise has text keys and no raw line breaks, which is all that can fail.
    Event::default().event(name).json_data(data).unwrap_or_default()
}
