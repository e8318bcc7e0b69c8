//! `POST /v1/calls`: programs report their own calls; and the same in process, [`StoreCallRecords`].

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use codex_core_sip::call_record::{self, CallDirection, CallRecordSink, CallReport, CallReportError};
use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use serde_json::json;
use tracing::{debug, error};

use super::authentication::is_bearer;
use super::claims::MAX_CUSTOMER_DATA_BYTES;
use super::stopwatch::Stopwatch;
use super::{Receiver, answers};
use crate::admin::access::{peer_of, too_many};
use crate::call_book::{CallFact, CallStatus, Direction, FactSource};
use crate::clock::{Clock, UnixMillis};
use crate::metrics::{Received, Way};
use crate::store::{CallStore, Committed};
use crate::tally::Place;

/// How long a Call-ID may be, in bytes.
pub const MAX_CALL_ID_BYTES: usize = 1_024;
/// How far the time of a report may lie from ours, in milliseconds; beyond it the time of arrival counts, since a clock
/// must be wrong.
pub const MAX_REPORT_AGE_MS: u64 = 24 * 60 * 60 * 1_000;

const REMEDY: &str = "send what the schema CallReport in the bridge's OpenAPI document describes";

pub(super) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let watch = Stopwatch::start();
    let (response, outcome) = match receiver.take_report(request).await {
        Ok(committed) => {
            let status = if committed.new_record { StatusCode::CREATED } else { StatusCode::OK };
            let body = json!({"record": committed.record, "repeat": committed.repeat}).to_string();
            let outcome = if committed.repeat { Received::Repeat } else { Received::Committed };
            (answers::json_bytes(status, Bytes::from(body)), outcome)
        }
        Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => (refusal, Received::StoreFault),
        Err(refusal) => (refusal, Received::Refused),
    };
    receiver.metrics.received(Way::Record, outcome, watch.elapsed());
    response
}

impl Receiver {
    /// Takes a report in, or says what is answered in place of success.
    async fn take_report(&self, request: Request) -> Result<Committed, Response> {
        let tokens = &self.settings.api_tokens;
        if tokens.is_empty() {
            return Err(answers::problem(
                StatusCode::FORBIDDEN,
                "reports are not taken: there is no token by which their senders could be known",
                "set BRIDGE_API_TOKEN, and give it to the programs that report calls",
            ));
        }
        let (place, now) = (Place::of(peer_of(&request), request.headers()), self.clock.now());
        if let Some(retry_after_s) = self.guesses.closed_for_s(place, now) {
            return Err(too_many(retry_after_s));
        }
        let (parts, body) = request.into_parts();
        let authorization = parts.headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        if !is_bearer(authorization, tokens) {
            self.guesses.count(place, now);
            let mut response = answers::problem(
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong",
                "send Authorization: Bearer <BRIDGE_API_TOKEN>",
            );
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(response);
        }
        let body = self.bodies.read(body).await?;
        let refuse = |problem: &str| answers::problem(StatusCode::BAD_REQUEST, problem, REMEDY);
        let report: CallReport = serde_json::from_slice(&body).map_err(|error| refuse(&error.to_string()))?;
        let fact = fact_of(&report, self.clock.now()).map_err(|problem| refuse(&problem))?;
        let committed = self.commit(fact).await.map_err(|fault| {
            if fault.is_store_fault() {
                error!(%fault, "a report cannot be kept");
                return answers::unavailable("the store failed", answers::RETRY_AFTER_STORE_FAULT_SECONDS);
            }
            refuse(&fault.to_string())
        })?;
        debug!(record = committed.record.0, repeat = committed.repeat, "a report was kept");
        Ok(committed)
    }
}

/// What a report says, or why it cannot be taken.
fn fact_of(report: &CallReport, now: UnixMillis) -> Result<CallFact, String> {
    if report.call_id.is_empty() || report.call_id.len() > MAX_CALL_ID_BYTES {
        return Err(format!("callId must have 1 to {MAX_CALL_ID_BYTES} bytes"));
    }
    if report.call_id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("callId holds blanks or control characters, which no SIP Call-ID may".to_owned());
    }
    if report.sip_status.is_some_and(|status| !(100..700).contains(&status)) {
        return Err("sipStatus is no SIP status, which are 100 to 699".to_owned());
    }
    if report.customer_data.as_ref().is_some_and(|data| data.to_json().len() > MAX_CUSTOMER_DATA_BYTES) {
        return Err(format!("customerData has more than {MAX_CUSTOMER_DATA_BYTES} bytes of JSON"));
    }
    let application_name = match &report.application_name {
        Some(name) => Some(ApplicationName::parse("applicationName", name).map_err(|error| error.to_string())?),
        None => None,
    };
    let application_sid = match &report.application_sid {
        Some(sid) => {
            Some(ApplicationSid::from_user_part(sid.trim()).ok_or_else(|| "applicationSid is not a GUID".to_owned())?)
        }
        None => None,
    };
    let said = report.at_unix_ms.and_then(|at| i64::try_from(at).ok()).map(UnixMillis::new);
    let apart_ms = |at: &UnixMillis| at.as_millis().abs_diff(now.as_millis());
    Ok(CallFact {
        sip_call_id: Some(report.call_id.clone()),
        status: Some(status_of(report.call_status)),
        direction: Some(match report.direction {
            CallDirection::Inbound => Direction::Inbound,
            CallDirection::Outbound => Direction::Outbound,
        }),
        display_from: report.display_from.clone(),
        display_to: report.display_to.clone(),
        application_name: application_name.map(|name| name.as_str().to_owned()),
        application_sid: application_sid.map(|sid| sid.to_string()),
        customer_data: report.customer_data.clone(),
        sip_status: report.sip_status,
        duration_s: report.duration_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
        ..CallFact::new(FactSource::Record, said.filter(|at| apart_ms(at) <= MAX_REPORT_AGE_MS).unwrap_or(now))
    })
}

fn status_of(status: call_record::CallStatus) -> CallStatus {
    match status {
        call_record::CallStatus::Trying => CallStatus::Trying,
        call_record::CallStatus::Ringing => CallStatus::Ringing,
        call_record::CallStatus::InProgress => CallStatus::InProgress,
        call_record::CallStatus::Completed => CallStatus::Completed,
        call_record::CallStatus::Busy => CallStatus::Busy,
        call_record::CallStatus::NoAnswer => CallStatus::NoAnswer,
        // Whatever else may be reported one day, it is no success.
        _ => CallStatus::Failed,
    }
}

/// The port [`CallRecordSink`] in process: reports go straight into the store.
pub struct StoreCallRecords {
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
}

impl StoreCallRecords {
    /// Keeps reports in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn CallStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl CallRecordSink for StoreCallRecords {
    async fn report(&self, report: &CallReport) -> Result<(), CallReportError> {
        let fact =
            fact_of(report, self.clock.now()).map_err(|problem| CallReportError { problem, is_temporary: false })?;
        let committed = self.store.commit(fact).await;
        let told =
            |fault: crate::Error| CallReportError { is_temporary: fault.is_store_fault(), problem: fault.to_string() };
        committed.map(drop).map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use codex_core_sip::call_record::CallStatus as Reported;
    use codex_core_sip::metadata::CustomerData;

    use super::*;

    const NOW: UnixMillis = UnixMillis::new(1_795_330_417_000);

    #[test]
    fn a_report_becomes_a_fact() {
        let report = CallReport {
            at_unix_ms: Some(1_795_330_410_000),
            display_from: Some("webcall:kqzmwbtr → voicebot".to_owned()),
            application_name: Some(" voicebot ".to_owned()),
            application_sid: Some("app-0397DC5F-2F8F-4778-8499-0AF934DD1196".to_owned()),
            customer_data: Some(CustomerData::new("webcall").client_id("7")),
            duration_seconds: Some(12),
            direction: CallDirection::Outbound,
            ..CallReport::new("kqzmwbtr-1", Reported::Completed)
        };
        let fact = fact_of(&report, NOW).unwrap();
        assert_eq!((fact.sip_call_id.as_deref(), fact.at), (Some("kqzmwbtr-1"), UnixMillis::new(1_795_330_410_000)));
        assert_eq!((fact.status, fact.direction), (Some(CallStatus::Completed), Some(Direction::Outbound)));
        assert_eq!((fact.application_name.as_deref(), fact.duration_s), (Some("voicebot"), Some(12)));
        assert_eq!(fact.application_sid.as_deref(), Some("0397dc5f-2f8f-4778-8499-0af934dd1196"));
        assert_eq!(fact.customer_data.unwrap().client_id.as_deref(), Some("7"));
        assert_eq!(fact.source, FactSource::Record);
    }

    #[test]
    fn a_clock_that_must_be_wrong_is_not_believed() {
        for (said, at) in [
            (None, NOW),
            (Some(0), NOW),
            (Some(u64::MAX), NOW),
            (Some(1_795_330_417_000 + MAX_REPORT_AGE_MS + 1), NOW),
            (Some(1_795_330_417_000 - MAX_REPORT_AGE_MS), UnixMillis::new(1_795_330_417_000 - 86_400_000)),
        ] {
            let report = CallReport { at_unix_ms: said, ..CallReport::new("a", Reported::Trying) };
            assert_eq!(fact_of(&report, NOW).unwrap().at, at, "{said:?}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_the_field_that_is_wrong() {
        let with = |change: fn(&mut CallReport)| {
            let mut report = CallReport::new("a", Reported::Trying);
            change(&mut report);
            fact_of(&report, NOW).unwrap_err()
        };
        for (problem, field) in [
            (with(|r| r.call_id.clear()), "callId"),
            (with(|r| r.call_id = "a b".to_owned()), "callId"),
            (with(|r| r.call_id = "a".repeat(1_025)), "callId"),
            (
                with(|r| {
                    r.customer_data = Some(CustomerData::new("w").client_name("я".repeat(MAX_CUSTOMER_DATA_BYTES / 2)));
                }),
                "customerData",
            ),
            (with(|r| r.sip_status = Some(42)), "sipStatus"),
            (with(|r| r.application_name = Some("я".repeat(65))), "applicationName"),
            (with(|r| r.application_sid = Some("voicebot".to_owned())), "applicationSid"),
        ] {
            assert!(problem.contains(field), "{problem}");
        }
    }
}
