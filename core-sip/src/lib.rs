//! A SIP user agent over WebSocket with WebRTC audio and call metadata, for jambonz and any edge that speaks SIP over
//! WebSocket (RFC 7118) and DTLS-SRTP.
//!
//! A program registers, calls a voicebot, and the far end receives **who is calling and why**: [`metadata::CustomerData`]
//! goes along in headers of the INVITE, and every event, log line and header shows readable names
//! (`webcall:kqzmwbtr → voicebot`) in place of extensions and GUIDs.
//!
//! ```
//! use codex_core_sip::metadata::{CallTag, CustomerData, DisplayNames};
//!
//! let data = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#;
//! let customer = CustomerData::from_json("CUSTOMER_DATA", data)?;
//! assert_eq!(customer.to_json(), data);
//!
//! let tag = CallTag::from_call_id("kqzmwbtr-7087fe50-8acb-4f3b-b820-97b573723aab");
//! let application = "voicebot".parse()?;
//! let names = DisplayNames::outgoing(&tag, Some(&application), Some("app-0397dc5f-2f8f-4778-8499-0af934dd1196"));
//! assert_eq!((names.from.as_str(), names.to.as_str()), ("webcall:kqzmwbtr → voicebot", "voicebot"));
//! # Ok::<(), codex_core_sip::Error>(())
//! ```
//!
//! # What is where
//!
//! ```text
//!  client      CodexSipClient (tokio) ──drives──► ClientSession: settings + metadata + user agent + course of media
//!     │                                               │ commands and bytes in          ▲ events and bytes out
//!     ▼                                               ▼                                │
//!  metadata    CustomerData, names, tags,          sip  user_agent ─ dialog ─ transaction ─ registration, registrar
//!              the headers that carry them              digest ─ message ─ header ─ uri ─ sdp
//!     ports ►  transport::SignalingTransport       media::MediaEngine    media::AudioSource, media::AudioSink
//!              application_names::ApplicationNames       call_record::CallRecordSink
//!     adapters ► websocket (tokio, rustls)         WebRtcEngine          Tone, WavSource, WavRecorder, LevelMeter, echo
//! ```
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | [`client`] | the client: [`client::ClientSession`] without I/O, and `CodexSipClient` that drives it | `client` for the latter |
//! | [`metadata`] | call metadata | |
//! | [`sip`] | SIP without I/O and clock: wire format, digests, transactions, dialogs, the user agent for both sides | |
//! | [`transport`] | the port for signalling; SIP over WebSocket | `websocket` for the adapter |
//! | [`media`] | the port for media; audio sources and sinks; WebRTC | `webrtc` for the adapter |
//! | [`application_names`] | the port for readable names of applications | |
//! | [`call_record`] | the port for records of calls | |
//! | [`event`], [`error`], [`config`] | what comes out, what can go wrong, what can be set | |
//!
//! `default = ["rsip", "client", "webrtc"]`. With `default-features = false` the crate has neither tokio nor WebRTC nor
//! TLS, and builds for the browser; `mock` adds `mockall` mocks of the ports, `rsip` conversions to and from the crate
//! of that name.
//!
//! # A call outlives its connection
//!
//! When the WebSocket is lost, a call that is up goes on: dialog and media stay, the connection is made anew
//! ([`config::SipClientConfig::reconnect_backoff`]), the same contact is registered, and a re-INVITE or UPDATE shows the
//! far end and the edge the new way. What a person asks for meanwhile waits ([`config::SipClientConfig::flow_wait`]). An
//! INVITE without an answer is called off on the new connection and placed once more, with the first Call-ID in
//! `In-Reply-To`. A flow token that an edge has put into its `Record-Route` cannot be repaired: such an edge has to find
//! us by the `Contact` of the re-INVITE. When the machine's addresses change, or the media path fails, the media go over
//! to a new peer connection in the same call.
//!
//! # Time, randomness and I/O
//!
//! Below the adapters nothing reads a clock, asks the system for random bytes or opens a socket: they come in as
//! [`time::Time`], [`random::Random`], and bytes. Whole scenarios run in tests on a virtual clock.
//!
//! # Panics, errors, limits
//!
//! No input from outside makes this crate panic. Everything that fails says so as one [`Error`], which has a text for
//! developers, a stable code for programs and a short text for people in English and Russian. What a peer can make us
//! hold is bounded: message size and header count ([`sip::Limits`]), calls and transactions
//! ([`sip::user_agent::UserAgentLimits`]), queues.
//!
//! # What it is not
//!
//! Not a proxy, not a SIP server for the public, not a softphone: there is no sound card in it. Calls use one flow to
//! one edge; UDP and TCP transports are not there.

pub mod application_names;
pub mod call_record;
pub mod client;
pub mod config;
pub mod error;
pub mod escape;
pub mod event;
pub mod header_field;
pub mod json;
pub mod media;
pub mod metadata;
mod ordered;
pub mod random;
pub mod sip;
pub mod time;
pub mod transport;

pub use error::{
    CallRefusal, ConfigurationProblem, CustomerDataProblem, Error, Locale, MediaFault, ParseError, RegistrationRefusal,
    Result, TlsFault,
};
