//! What a client tells the program that uses it.
//!
//! Every event serialises to the JSON that the JavaScript API hands out: property names in camelCase, absent values
//! left out.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::metadata::CustomerData;

/// One event. In JavaScript its kind is the name given to `on`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// `registration`.
    Registration(RegistrationEvent),
    /// `call`.
    Call(CallEvent),
    /// `incomingCall`.
    IncomingCall(IncomingCallEvent),
    /// `metrics`.
    Metrics(MetricsEvent),
    /// `ice`.
    Ice(IceEvent),
    /// `dtmf`.
    Dtmf(DtmfEvent),
    /// `hold`.
    Hold(HoldEvent),
    /// `transfer`.
    Transfer(TransferEvent),
    /// `transferRequested`.
    TransferRequested(TransferRequestedEvent),
    /// `quality`.
    Quality(QualityEvent),
    /// `reconnecting`.
    Reconnecting(ReconnectingEvent),
    /// `language`.
    Language(LanguageEvent),
    /// `log`.
    Log(LogEvent),
}

/// Whether the client is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RegistrationState {
    /// REGISTER is on its way.
    Registering,
    /// The registrar holds our contact.
    Registered,
    /// Not registered, and nothing is under way.
    Unregistered,
    /// It failed; the event says why.
    Failed,
}

/// The registration changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationEvent {
    /// Where it stands.
    pub state: RegistrationState,
    /// Which attempt this is, from 1, while attempts are repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why, for a developer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a program.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CallState {
    /// There is no call.
    Idle,
    /// The client registers before it calls.
    Registering,
    /// The call is being set up.
    Connecting,
    /// The far end rings.
    Ringing,
    /// Somebody calls us.
    Incoming,
    /// The call is up.
    Connected,
    /// The call is over, as calls end.
    Ended,
    /// The call is over because something failed.
    Error,
}

/// A call changed its state.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallEvent {
    /// Where it stands.
    pub state: CallState,
    /// Why, for a developer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The SIP status of a call that was not answered; else the cause of the `Reason` header (RFC 3326, Q.850 as a
    /// rule) with which the far end ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_code: Option<u16>,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The tag that ties all systems together: the first 8 characters of our Call-IDs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
    /// How the caller is shown, such as `webcall:kqzmwbtr → voicebot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_from: Option<String>,
    /// How the callee is shown, such as `voicebot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_to: Option<String>,
    /// Why, for a program.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// Somebody calls us.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncomingCallEvent {
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The caller's URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The URI that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How the caller is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_from: Option<String>,
    /// How the callee is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_to: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// The caller's own data, if it sent any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The state of ICE (RFC 8445), in the words of the W3C's `RTCIceConnectionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum IceState {
    /// Nothing has started.
    New,
    /// Paths are being tried.
    Checking,
    /// A path works.
    Connected,
    /// All paths have been tried.
    Completed,
    /// The path stopped working; it may come back.
    Disconnected,
    /// No path works.
    Failed,
    /// It is over.
    Closed,
}

/// How a call is doing: a second after its first audio packet, then every 5 s; and when the ICE state changes or the
/// far end says for the first time what it receives of us.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsEvent {
    /// When, in milliseconds since 1970 UTC.
    pub ts: u64,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The state of ICE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_state: Option<IceState>,
    /// Round-trip time of the media path, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Jitter of what we receive (RFC 3550 §6.4.1), in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Share of the packets that should have come and did not, since the last event, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
    /// RTP payload bytes sent since the call began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// RTP payload bytes received since the call began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// RTP packets sent since the call began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    /// RTP packets received since the call began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<u64>,
    /// RTP packets of ours that the far end says to have received (RTCP); behind a media server that is the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_end_packets_received: Option<u64>,
    /// Share of our packets that the far end says to have lost between its last two reports, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_end_loss_percent: Option<f64>,
    /// Estimated mean opinion score, 1.0 to 4.5 (simplified E-model of ITU-T G.107).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// The call's language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The state of ICE changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceEvent {
    /// The new state.
    pub state: IceState,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The far end pressed a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DtmfEvent {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub tone: char,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The call was put on hold or taken back, by either end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldEvent {
    /// We hold the call: the far end hears silence and we hear nothing.
    pub held: bool,
    /// The far end holds it: it does not hear us, and we may hear music.
    pub held_by_far_end: bool,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// How a transfer gets on at the far end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferEvent {
    /// What the one whom the far end calls answers, a SIP status: 180 it rings, 200 it is there.
    pub status: u16,
    /// Its phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The far end asks us to call somebody else in its place (REFER).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferRequestedEvent {
    /// Whom, a SIP URI.
    pub target_uri: String,
    /// Who asks, as the far end says (`Referred-By`, RFC 3892). It proves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referred_by: Option<String>,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// What is bad about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum QualityMeasure {
    /// The round-trip time, in milliseconds.
    RoundTripTime,
    /// The jitter, in milliseconds.
    Jitter,
    /// The share of lost packets, in percent.
    Loss,
    /// The estimated mean opinion score.
    Mos,
    /// How long the microphone has given nothing but silence while it should be heard, in seconds.
    Microphone,
    /// How long no packet has come from the far end, in seconds.
    Packets,
}

/// A call has become bad in one respect, or good again.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityEvent {
    /// In which respect.
    pub measure: QualityMeasure,
    /// Whether it is bad now.
    pub bad: bool,
    /// What was measured, in the measure's unit.
    pub value: f64,
    /// From where on it counts as bad.
    pub threshold: f64,
    /// The SIP Call-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The call's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The application's name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Who is calling and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<Arc<CustomerData>>,
}

/// The connection to the edge is lost and will be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconnectingEvent {
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// In how many milliseconds it starts.
    pub delay_ms: u64,
}

/// The language changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LanguageEvent {
    /// A BCP 47 tag.
    pub language: String,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// For finding faults.
    Debug,
    /// What happens.
    Info,
    /// What should be looked at.
    Warn,
    /// What failed.
    Error,
}

/// A log line. It holds no secret, and of customer data only field names and sizes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEvent {
    /// How much it matters.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
    /// Facts such as `tag`, `callId`, `from`, `to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<crate::json::Map<String, crate::json::Value>>,
    /// What failed, for a developer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
