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
//! - [`gateway`]: a SIP edge over WebSocket and a WebRTC voicebot, built from the server side of `codex-core-sip`.
//!
//! Tests that need the peers are behind the feature `peers`. They use fixed ports on 127.0.0.1 ([`peers::ports`]), so
//! run them in a network namespace of their own (`cargo xtask e2e` does), one at a time ([`scenario::Scenario`] sees
//! to that within one test program).

pub mod audio;
pub mod codex_call;
pub mod gateway;
pub mod jambonz;
pub mod peers;
pub mod phone;
pub mod rtp_recording;
pub mod scenario;
pub mod sip_trace;
pub mod sipp_log;
pub mod web_site;

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
