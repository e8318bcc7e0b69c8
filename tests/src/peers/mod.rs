//! Real peers as processes with a life cycle.
//!
//! Each has a builder, `start(&stage).await` that returns once the peer answers, a folder and a log in the scenario's
//! folder, and ends, with all its children, when its handle is dropped. Everything is on 127.0.0.1 at the ports of
//! [`ports`]. The Debian package of a program that is not installed is named in [`PeerError::Missing`].
//!
//! ```text
//!  client ──WS 8080, WSS 8443──► Kamailio ──UDP──► voicebot (SIPp or baresip, 5090)
//!     │                             │  ▲
//!     │                            ng  └──UDP── caller (SIPp, 5092)
//!     └──ICE, DTLS-SRTP────────► rtpengine ◄──RTP──► voicebot
//!              coturn between the two where a test wants a relay
//! ```

mod baresip;
mod certificate;
mod chromium;
mod coturn;
mod kamailio;
mod process;
mod rtpengine;
mod sipp;
mod sipp_script;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use baresip::{Baresip, BaresipBuilder, BaresipEvent};
pub use certificate::{Authority, Identity};
pub use chromium::{Chromium, ChromiumBuilder, Page};
pub use coturn::Coturn;
pub use kamailio::{Digest, InviteChallenge, Kamailio, KamailioBuilder};
pub use rtpengine::Rtpengine;
pub use sipp::{CallerScript, Sipp, SippBuilder, VoicebotScript};
pub use sipp_script::{Sdp, SippScript};

/// The realm and domain that the edge serves; `<user>@sip.example.test` with [`PASSWORD`] may register.
pub const REALM: &str = "sip.example.test";
/// The password of every user at the edge.
pub const PASSWORD: &str = "secret";
/// A GUID as an application has it; the edge sends calls to any GUID, with or without `app-` before it, to the voicebot.
pub const APPLICATION: &str = "3f2b8c1e-7d4a-4e9b-9a61-0c5d2e8f1a77";

/// Where peers listen on 127.0.0.1.
pub mod ports {
    /// Kamailio: SIP over UDP and TCP.
    pub const EDGE_SIP: u16 = 5060;
    /// Kamailio: SIP over WebSocket, and JSON-RPC at `/rpc`.
    pub const EDGE_WS: u16 = 8080;
    /// Kamailio: SIP over secure WebSocket.
    pub const EDGE_WSS: u16 = 8443;
    /// The voicebot: SIP over UDP.
    pub const VOICEBOT_SIP: u16 = 5090;
    /// The SIPp voicebot's RTP; RTCP is one above.
    pub const VOICEBOT_RTP: u16 = 40_000;
    /// baresip's RTP ports begin here.
    pub const BARESIP_RTP_FIRST: u16 = 41_000;
    /// baresip's RTP ports end here.
    pub const BARESIP_RTP_LAST: u16 = 41_100;
    /// baresip's control connection.
    pub const BARESIP_CONTROL: u16 = 4444;
    /// The SIPp caller: SIP over UDP.
    pub const CALLER_SIP: u16 = 5092;
    /// The SIPp caller's RTP.
    pub const CALLER_RTP: u16 = 42_000;
    /// rtpengine's control protocol.
    pub const RTPENGINE_NG: u16 = 2223;
    /// rtpengine's RTP ports begin here.
    pub const RTPENGINE_FIRST: u16 = 30_000;
    /// rtpengine's RTP ports end here.
    pub const RTPENGINE_LAST: u16 = 30_999;
    /// coturn: STUN and TURN over UDP and TCP.
    pub const TURN: u16 = 3478;
    /// coturn's relay ports begin here.
    pub const TURN_RELAY_FIRST: u16 = 49_152;
    /// coturn's relay ports end here.
    pub const TURN_RELAY_LAST: u16 = 49_252;

    /// Who speaks SIP from this port; `None` for a port that the system chose, such as a client's.
    #[must_use]
    pub fn owner(port: u16) -> Option<&'static str> {
        match port {
            EDGE_SIP | EDGE_WS | EDGE_WSS => Some("edge"),
            VOICEBOT_SIP => Some("voicebot"),
            CALLER_SIP => Some("caller"),
            _ => None,
        }
    }
}

/// What can go wrong with a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The program, or a part of it, is not installed.
    #[error("`{command}` is not installed: apt-get install {package}")]
    Missing {
        /// The program or module that was looked for.
        command: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Another process has the port.
    #[error(
        "port {port} of {peer} is taken by another process: run the tests in a network namespace of their own (cargo xtask e2e)"
    )]
    PortTaken {
        /// The peer that wants it.
        peer: &'static str,
        /// The port.
        port: u16,
    },
    /// It ended by itself before or while it was needed.
    #[error("{peer} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// The peer.
        peer: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It did not do what was waited for.
    #[error("{peer}: {waited_for} did not come within {limit:?}; the end of its log:\n{log}")]
    TooLate {
        /// The peer.
        peer: &'static str,
        /// What was waited for.
        waited_for: String,
        /// How long was waited.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// It said something that makes no sense.
    #[error("{peer} answered unexpectedly: {answer}")]
    UnexpectedAnswer {
        /// The peer.
        peer: &'static str,
        /// What it said.
        answer: String,
    },
    /// A file of a peer cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A peer cannot be spoken to.
    #[error("{peer}: {source}")]
    Io {
        /// The peer.
        peer: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A certificate or a recording cannot be made.
    #[error("{what}: {problem}")]
    Material {
        /// What was to be made.
        what: &'static str,
        /// What went wrong.
        problem: String,
    },
}
