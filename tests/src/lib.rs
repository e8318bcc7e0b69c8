//! What end-to-end tests, the demo and benchmarks share.
//!
//! - [`peers`]: Kamailio, rtpengine, SIPp, baresip and coturn as processes with a life cycle,
//! - [`scenario`]: one end-to-end test: a name, a time limit, a folder, and a report that explains a failure,
//! - [`sip_trace`]: SIP messages as the edge saw them, which `codex_core_sip::sip::ladder` draws,
//! - [`sipp_log`]: the exact bytes that SIPp sent and received,
//! - [`phone`]: our client as scenarios use it, with everything it told and heard,
//! - [`audio`], [`rtp_recording`]: tones made and measured in WAV files, and made as RTP for SIPp to play,
//! - [`codex_call`]: the terminal program as a process,
//! - [`jambonz`]: a stand-in for jambonz' REST API that answers with recorded bytes,
//! - [`web_site`]: a web server for pages under test,
//! - [`jambonz_webhooks`]: jambonz' webhooks, recorded and made up, signed as jambonz signs them,
//! - [`bridge`]: the Zammad bridge as a process with a life cycle,
//! - [`zammad`]: a stand-in for Zammad's CTI endpoint and REST API, with faults to switch on,
//! - [`raw_http`]: HTTP requests sent byte for byte,
//! - [`gateway`]: a SIP edge over WebSocket and a WebRTC voicebot, built from the server side of `codex-core-sip`.
//!
//! Tests that need the peers are behind the feature `peers`. They use fixed ports on 127.0.0.1 ([`peers::ports`]), so
//! run them in a network namespace of their own (`cargo xtask e2e` does), one at a time ([`scenario::Scenario`] sees
//! to that within one test program).

#[cfg(feature = "calls")]
pub mod audio;
pub mod bridge;
#[cfg(feature = "calls")]
pub mod codex_call;
#[cfg(feature = "calls")]
pub mod cut;
#[cfg(feature = "calls")]
pub mod gateway;
pub mod jambonz;
pub mod jambonz_webhooks;
#[cfg(feature = "calls")]
pub mod peers;
#[cfg(feature = "calls")]
pub mod phone;
pub mod postgres;
pub mod raw_http;
#[cfg(feature = "calls")]
pub mod rtp_recording;
#[cfg(feature = "calls")]
pub mod scenario;
#[cfg(feature = "calls")]
pub mod sip_trace;
#[cfg(feature = "calls")]
pub mod sipp_log;
#[cfg(feature = "calls")]
pub mod web_site;
pub mod zammad;

/// The example of the README runs.
#[cfg(all(doctest, feature = "calls"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
