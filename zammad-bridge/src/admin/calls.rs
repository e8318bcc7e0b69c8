//! Calls as JSON, with what an agent sees of them; replay and discard of dead letters.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, refuse};
use crate::call_book::{AnsweredBy, CallRecord, CallState, Channel};
use crate::clock::UnixMillis;
use crate::delivery::{FromStyle, RecordLanguage, ZammadSettings};
use crate::error::Error;
use crate::record::{CallerLogTexts, ticket_body};
use crate::store::{CallQuery, LaneView, MAX_PAGE_RECORDS, RecordId, Shelf, StoredCall, ZammadName};

/// How many calls a page has if nobody says how many.
pub const DEFAULT_PAGE_RECORDS: usize = 50;

/// What an agent sees of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The column From of the caller log.
    pub from: String,
    /// The column To, with the one-line record.
    pub to: String,
    /// The record in full, a line each.
    pub record: Vec<String>,
}

/// Tells what an agent sees of a call; the name is that of the call's Zammad, if it has one.
pub type Show = Arc<dyn Fn(&CallRecord, Option<&ZammadName>) -> Shown + Send + Sync>;

/// What an agent of each of these Zammads sees. Calls that none of them gets are shown with the first one's settings, or
/// in English.
#[must_use]
pub fn show_as_in(zammads: &[ZammadSettings]) -> Show {
    let ways: Vec<(ZammadName, FromStyle, bool, RecordLanguage)> =
        zammads.iter().map(|own| (own.name.clone(), own.from, own.trust_customer_data, own.language)).collect();
    Arc::new(move |record, zammad| {
        let way = zammad.and_then(|name| ways.iter().find(|way| way.0 == *name)).or_else(|| ways.first());
        let (style, trusted, language) = way.map_or_else(Default::default, |way| (way.1, way.2, way.3));
        let texts = CallerLogTexts::new(record, style, trusted, language);
        let to = match texts.user {
            Some(user) => format!("{} · {user}", texts.to),
            None => texts.to,
        };
        let body = ticket_body(record, trusted, language);
        Shown { from: texts.from, to, record: body.lines().map(str::to_owned).collect() }
    })
}

/// A call, for people and programs.
#[derive(Debug, Serialize)]
pub struct CallView<'a> {
    /// Its identity in the store.
    pub id: RecordId,
    /// The tag that ties all systems together.
    pub tag: String,
    /// How far it is.
    pub state: CallState,
    /// Who answered.
    pub answered_by: AnsweredBy,
    /// Whether nobody answered, or persons were dialled and none took it.
    pub missed: bool,
    /// What an agent sees.
    pub shown: Shown,
    /// What is known.
    pub call: &'a CallRecord,
    /// What Zammad has been told.
    pub lanes: &'a [LaneView],
}

impl<'a> CallView<'a> {
    /// Of a stored call.
    #[must_use]
    pub fn of(stored: &'a StoredCall, show: &Show) -> Self {
        let record = &stored.record;
        Self {
            id: stored.id,
            tag: record.tag().as_str().to_owned(),
            state: record.state(),
            answered_by: record.answered_by(),
            missed: record.is_missed(),
            shown: show(record, stored.lanes.first().map(|lane| &lane.zammad)),
            call: record,
            lanes: &stored.lanes,
        }
    }
}

/// The query of `GET /v1/calls`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    limit: Option<usize>,
    before: Option<i64>,
    state: Option<CallState>,
    open: Option<bool>,
    shelved: Option<bool>,
    pending: Option<bool>,
    name: Option<String>,
    client_id: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
}

/// `GET /v1/calls`
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    let wanted = match Query::<Wanted>::try_from_uri(&uri) {
        Ok(Query(wanted)) => wanted,
        Err(rejection) => {
            return refuse(StatusCode::BAD_REQUEST, &rejection.body_text(), "see /openapi.json for what may be asked");
        }
    };
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let query = CallQuery {
        before: wanted.before.map(RecordId),
        limit: wanted.limit.unwrap_or(DEFAULT_PAGE_RECORDS).clamp(1, MAX_PAGE_RECORDS),
        state: wanted.state,
        open: wanted.open,
        shelved: wanted.shelved.unwrap_or(false),
        pending: wanted.pending.unwrap_or(false),
        name: present(wanted.name),
        client_id: present(wanted.client_id),
        since: wanted.since.map(UnixMillis::new),
        until: wanted.until.map(UnixMillis::new),
    };
    match admin.store.calls(query).await {
        Ok(page) => {
            let calls: Vec<CallView<'_>> = page.calls.iter().map(|call| CallView::of(call, &admin.show)).collect();
            let body = match page.next_before {
                Some(next) => json!({"calls": calls, "next_before": next}),
                None => json!({ "calls": calls }),
            };
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => store_fault(&error),
    }
}

/// `GET /v1/calls/{id}`
pub(super) async fn one(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let unknown = || refuse(StatusCode::NOT_FOUND, "no such call", "its record may be over RETAIN_DAYS old");
    let Ok(id) = id.parse() else { return unknown() };
    match admin.store.call(RecordId(id)).await {
        Ok(Some(call)) => {
            let view = CallView::of(&call, &admin.show);
            ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
        }
        Ok(None) => unknown(),
        Err(error) => store_fault(&error),
    }
}

/// Which dead letters: of one call, of one of its lanes, or `{"all":true}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letters {
    call: Option<i64>,
    channel: Option<Channel>,
    #[serde(default)]
    all: bool,
}

impl Letters {
    fn shelf(&self) -> Option<Shelf> {
        match (self.call, self.channel, self.all) {
            (Some(call), Some(channel), false) => Some(Shelf::Lane(RecordId(call), channel)),
            (Some(call), None, false) => Some(Shelf::Record(RecordId(call))),
            (None, None, true) => Some(Shelf::All),
            _ => None,
        }
    }
}

fn letters(body: &[u8]) -> Option<Shelf> {
    serde_json::from_slice::<Letters>(body).ok().as_ref().and_then(Letters::shelf)
}

fn no_letters() -> Response {
    refuse(
        StatusCode::BAD_REQUEST,
        "it is not said which dead letters",
        r#"send {"call":<id>}, {"call":<id>,"channel":"caller_log"|"ticket"} or {"all":true}"#,
    )
}

/// `POST /admin/replay`
pub(super) async fn replay(State(admin): State<Arc<Admin>>, body: Result<Bytes, BytesRejection>) -> Response {
    let Some(shelf) = body.ok().and_then(|body| letters(&body)) else { return no_letters() };
    match admin.store.replay(shelf, admin.clock.now()).await {
        Ok(lanes) => {
            tracing::info!(lanes, "dead letters are tried again");
            Json(json!({ "lanes": lanes })).into_response()
        }
        Err(error) => store_fault(&error),
    }
}

/// `POST /admin/discard`
pub(super) async fn discard(State(admin): State<Arc<Admin>>, body: Result<Bytes, BytesRejection>) -> Response {
    let Some(shelf) = body.ok().and_then(|body| letters(&body)) else { return no_letters() };
    match admin.store.discard(shelf, admin.clock.now()).await {
        Ok(lanes) => {
            tracing::info!(lanes, "dead letters are given up");
            Json(json!({ "lanes": lanes })).into_response()
        }
        Err(error) => store_fault(&error),
    }
}

fn store_fault(error: &Error) -> Response {
    tracing::warn!(code = error.code(), %error, "the store did not answer the admin page");
    refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), "see /readyz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_named_one_way_or_not_at_all() {
        for (body, shelf) in [
            (r#"{"call":7}"#, Some(Shelf::Record(RecordId(7)))),
            (r#"{"call":7,"channel":"ticket"}"#, Some(Shelf::Lane(RecordId(7), Channel::Ticket))),
            (r#"{"all":true}"#, Some(Shelf::All)),
            (r#"{"all":false}"#, None),
            (r#"{"all":true,"call":7}"#, None),
            (r#"{"channel":"ticket"}"#, None),
            (r#"{"call":7,"channel":"else"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(letters(body.as_bytes()), shelf, "{body}");
        }
    }
}
