//! The port [`CallRecordSink`]: whoever keeps records of calls is told of each by the program that takes part in it.
//!
//! `codex-zammad-bridge` implements it, in process and, with its feature `client`, over HTTP (`POST /v1/calls`). What
//! jambonz tells of the same call is joined with it by the Call-ID, which jambonz hands on as `sbc_callid`.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::event::{CallEvent, CallState};
use crate::metadata::CustomerData;

/// Keeps what programs report of their calls.
///
/// Reports of one call may arrive late, twice and in any order: a sink takes each and makes one record of them.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait CallRecordSink: Send + Sync {
    /// Keeps `report`. Once this returns, the report is kept.
    ///
    /// Cancel safety: a future that is dropped may have kept it or not. Reporting again does no harm.
    ///
    /// # Errors
    ///
    /// [`CallReportError`] if it is not known to be kept. No call waits or ends for this: log it and go on.
    async fn report(&self, report: &CallReport) -> Result<(), CallReportError>;
}

/// Why a report was not kept, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the call's record was not taken: {problem}")]
pub struct CallReportError {
    /// What went wrong and what to do about it, without secrets and without customer data.
    pub problem: String,
    /// Whether the same report may be taken later without anybody doing anything.
    pub is_temporary: bool,
}

/// Which way a call goes, as the contact centre sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallDirection {
    /// A customer calls, such as a visitor of a web page who calls the voicebot.
    #[default]
    Inbound,
    /// A customer is called.
    Outbound,
}

/// Where a call stands, in jambonz' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CallStatus {
    /// It was placed.
    Trying,
    /// The callee is alerted.
    Ringing,
    /// It was answered.
    InProgress,
    /// It was answered and is over.
    Completed,
    /// The callee is busy.
    Busy,
    /// Nobody answered, or the caller gave up.
    NoAnswer,
    /// It could not be set up.
    Failed,
}

impl CallStatus {
    /// Whether the call is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::NoAnswer | Self::Failed)
    }
}

/// What a program reports of a call at one moment. JSON in camelCase; absent values are left out.
///
/// `Debug` shows whether customer data is there, never its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallReport {
    /// The SIP Call-ID of the program's own leg, 1 to 1,024 bytes: what ties all reports of a call together.
    pub call_id: String,
    /// Where the call stands.
    pub call_status: CallStatus,
    /// Which way it goes.
    #[serde(default)]
    pub direction: CallDirection,
    /// When that was, in milliseconds since 1970-01-01T00:00:00Z; the receiver's time of arrival if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_unix_ms: Option<u64>,
    /// How the caller is shown, such as `webcall:kqzmwbtr → voicebot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_from: Option<String>,
    /// How the callee is shown, such as `voicebot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_to: Option<String>,
    /// The application's name, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// The application's GUID at jambonz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_sid: Option<String>,
    /// Who is calling and why. A claim of the caller's: it proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<CustomerData>,
    /// The SIP status of a call that was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_status: Option<u16>,
    /// How long the call lasted from answer to end, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
}

impl CallReport {
    /// A report of nothing but where the call stands.
    #[must_use]
    pub fn new(call_id: impl Into<String>, call_status: CallStatus) -> Self {
        Self {
            call_id: call_id.into(),
            call_status,
            direction: CallDirection::Inbound,
            at_unix_ms: None,
            display_from: None,
            display_to: None,
            application_name: None,
            application_sid: None,
            customer_data: None,
            sip_status: None,
            duration_seconds: None,
        }
    }
}

/// Makes reports of a client's [`CallEvent`]s, one call after the other.
///
/// ```
/// use codex_core_sip::call_record::{CallDirection, CallEventReports};
/// # fn events() -> Vec<codex_core_sip::event::CallEvent> { Vec::new() }
///
/// let mut reports = CallEventReports::new(CallDirection::Inbound);
/// # let now_unix_ms = 1_795_330_382_000;
/// for event in events() {
///     if let Some(report) = reports.of(&event, now_unix_ms) {
///         // sink.report(&report).await
/// #       drop(report);
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CallEventReports {
    direction: CallDirection,
    call_id: Option<String>,
    answered_at_unix_ms: Option<u64>,
    last: Option<CallStatus>,
}

impl CallEventReports {
    /// For calls that go this way, as the contact centre sees it: a visitor who calls the voicebot is
    /// [`Inbound`](CallDirection::Inbound), though the client places the call.
    #[must_use]
    pub fn new(direction: CallDirection) -> Self {
        Self { direction, call_id: None, answered_at_unix_ms: None, last: None }
    }

    /// What is to be reported of `event`, which happened at `now_unix_ms` (milliseconds since 1970); `None` if it says
    /// nothing new, or nothing of a call that has a Call-ID.
    #[must_use]
    pub fn of(&mut self, event: &CallEvent, now_unix_ms: u64) -> Option<CallReport> {
        let call_id = event.call_id.as_ref()?;
        if self.call_id.as_ref() != Some(call_id) {
            *self = Self { call_id: Some(call_id.clone()), ..Self::new(self.direction) };
        }
        let is_answered = self.answered_at_unix_ms.is_some();
        let call_status = match event.state {
            CallState::Connecting | CallState::Incoming => CallStatus::Trying,
            CallState::Ringing => CallStatus::Ringing,
            CallState::Connected => CallStatus::InProgress,
            CallState::Ended | CallState::Error if is_answered => CallStatus::Completed,
            CallState::Ended | CallState::Error => match event.cause_code {
                Some(486 | 600) => CallStatus::Busy,
                Some(408 | 480 | 487) => CallStatus::NoAnswer,
                None if event.state == CallState::Ended => CallStatus::NoAnswer,
                _ => CallStatus::Failed,
            },
            CallState::Idle | CallState::Registering => return None,
        };
        if self.last == Some(call_status) || self.last.is_some_and(CallStatus::is_final) {
            return None;
        }
        self.last = Some(call_status);
        if call_status == CallStatus::InProgress {
            self.answered_at_unix_ms = Some(now_unix_ms);
        }
        let lasted_ms = self.answered_at_unix_ms.map(|answered| now_unix_ms.saturating_sub(answered));
        Some(CallReport {
            direction: self.direction,
            at_unix_ms: Some(now_unix_ms),
            display_from: event.display_from.clone(),
            display_to: event.display_to.clone(),
            application_name: event.application_name.clone(),
            customer_data: event.customer_data.as_deref().cloned(),
            sip_status: event.cause_code.filter(|_| call_status.is_final() && !is_answered),
            duration_seconds: lasted_ms.filter(|_| call_status == CallStatus::Completed).map(|ms| ms / 1_000),
            ..CallReport::new(call_id.clone(), call_status)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn event(state: CallState, cause_code: Option<u16>) -> CallEvent {
        CallEvent {
            state,
            reason: None,
            cause_code,
            call_id: Some("kqzmwbtr-1".to_owned()),
            tag: Some("kqzmwbtr".to_owned()),
            application_name: Some("voicebot".to_owned()),
            customer_data: Some(Arc::new(CustomerData::new("webcall"))),
            display_from: Some("webcall:kqzmwbtr → voicebot".to_owned()),
            display_to: Some("voicebot".to_owned()),
            error: None,
        }
    }

    fn statuses(events: &[CallEvent]) -> Vec<(CallStatus, Option<u16>, Option<u64>)> {
        let mut reports = CallEventReports::new(CallDirection::Inbound);
        let times = (0..).map(|index: u64| 1_000_000 + index * 1_500);
        let reported = events.iter().zip(times).filter_map(|(event, now)| reports.of(event, now));
        reported.map(|report| (report.call_status, report.sip_status, report.duration_seconds)).collect()
    }

    #[test]
    fn a_call_is_reported_from_its_events() {
        use CallState::{Connected, Connecting, Ended, Error, Idle, Incoming, Registering, Ringing};
        use CallStatus::{Busy, Completed, Failed, InProgress, NoAnswer, Trying};
        let course = |states: &[(CallState, Option<u16>)]| {
            statuses(&states.iter().map(|&(state, cause)| event(state, cause)).collect::<Vec<_>>())
        };
        assert_eq!(
            course(&[
                (Registering, None),
                (Connecting, None),
                (Ringing, None),
                (Ringing, None),
                (Connected, None),
                (Connected, None),
                (Ended, Some(16)),
                (Error, None),
                (Idle, None),
            ]),
            [
                (Trying, None, None),
                (CallStatus::Ringing, None, None),
                (InProgress, None, None),
                (Completed, None, Some(3)),
            ]
        );
        for (state, cause, status) in [
            (Ended, Some(486), Busy),
            (Error, Some(600), Busy),
            (Ended, Some(480), NoAnswer),
            (Error, Some(408), NoAnswer),
            (Ended, None, NoAnswer),
            (Error, None, Failed),
            (Error, Some(503), Failed),
        ] {
            assert_eq!(course(&[(Incoming, None), (state, cause)]), [(Trying, None, None), (status, cause, None)]);
        }
    }

    #[test]
    fn the_next_call_starts_anew_and_events_without_a_call_say_nothing() {
        let mut reports = CallEventReports::new(CallDirection::Outbound);
        assert_eq!(reports.of(&CallEvent { call_id: None, ..event(CallState::Connecting, None) }, 1), None);
        let _ = reports.of(&event(CallState::Connected, None), 1_000);
        let next = CallEvent { call_id: Some("other".to_owned()), ..event(CallState::Ended, None) };
        let report = reports.of(&next, 9_000).unwrap();
        assert_eq!((report.call_status, report.direction), (CallStatus::NoAnswer, CallDirection::Outbound));
        assert_eq!(report.duration_seconds, None);
    }

    #[test]
    fn json_is_what_the_bridge_documents() {
        let mut reports = CallEventReports::new(CallDirection::Inbound);
        let report = reports.of(&event(CallState::Connected, None), 1_795_330_382_000).unwrap();
        let json = json!({
            "callId": "kqzmwbtr-1", "callStatus": "in-progress", "direction": "inbound", "atUnixMs": 1_795_330_382_000_u64,
            "displayFrom": "webcall:kqzmwbtr → voicebot", "displayTo": "voicebot", "applicationName": "voicebot",
            "customerData": {"callType": "webcall"}
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), json);
        assert_eq!(serde_json::from_value::<CallReport>(json).unwrap(), report);
        let shortest: CallReport = serde_json::from_value(json!({"callId": "a", "callStatus": "no-answer"})).unwrap();
        assert_eq!(shortest, CallReport::new("a", CallStatus::NoAnswer));
    }

    #[test]
    fn the_port_can_be_a_trait_object() {
        fn assert_object(_: Option<&dyn CallRecordSink>) {}
        assert_object(None);
    }
}
