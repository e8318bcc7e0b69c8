//! Media: the port [`MediaEngine`], audio sources and sinks, and the adapter on the crate `webrtc`.
//!
//! A media session belongs to one call. It makes and takes session descriptions (SDP, RFC 8866) that go into and come
//! out of SIP messages unchanged; everything that a particular WebRTC implementation needs to have rewritten is the
//! adapter's business.
//!
//! | file | what it is |
//! |---|---|
//! | `audio`, `wav`, `level` | the ports [`AudioSource`] and [`AudioSink`], and sources and sinks |
//! | `quality` | how a call sounds, estimated: ITU-T G.107 |
//! | `g711`, `codec`, `telephone_event`, `jitter_buffer`, `rtp_statistics`, `resampler` | audio and RTP, without I/O or clock |
//! | `sdp_measures` | what session descriptions need on their way to and from the crate `webrtc` |
//! | `webrtc_engine` | the adapter, under the feature `webrtc` |

mod audio;
#[cfg(feature = "webrtc")]
mod codec;
pub mod g711;
pub mod jitter_buffer;
mod level;
pub mod quality;
mod resampler;
pub mod rtp_statistics;
pub mod sdp_measures;
pub mod telephone_event;
#[cfg(feature = "webrtc")]
mod wav;
#[cfg(feature = "webrtc")]
mod webrtc_engine;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::config::{IceServer, IceTransportPolicy};
use crate::error::Result;
use crate::event::IceState;
use crate::sip::sdp::Direction;

pub use audio::{AudioSink, AudioSource, EchoSink, EchoSource, NullSink, Silence, Tee, Tone, echo, echo_within};
#[cfg(feature = "mock")]
pub use audio::{MockAudioSink, MockAudioSource};
pub use level::{LevelMeter, LevelReading, SILENCE_DBFS, peak_dbfs, rms_dbfs, strongest_tone, tone_share};
pub use sdp_measures::AudioCodec;
#[cfg(feature = "webrtc")]
pub use wav::{WavRecorder, WavSource};
#[cfg(feature = "webrtc")]
pub use webrtc_engine::{GATHERING_DEADLINE, WebRtcEngine, WebRtcEngineBuilder};

/// The audio of one session: where it comes from and where it goes.
pub struct SessionAudio {
    /// What is sent.
    pub source: Box<dyn AudioSource>,
    /// What takes the audio received.
    pub sink: Box<dyn AudioSink>,
}

impl SessionAudio {
    /// Both.
    #[must_use]
    pub fn new(source: impl AudioSource + 'static, sink: impl AudioSink + 'static) -> Self {
        Self { source: Box::new(source), sink: Box::new(sink) }
    }
}

impl core::fmt::Debug for SessionAudio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SessionAudio")
    }
}

/// Locks `mutex`. Whoever panicked while it held the lock left plain numbers and queues behind, which stay usable.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes media sessions. There is one engine for a client.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait MediaEngine: Send + Sync {
    /// A new session. `notify` is called, from any task, for what the session notices by itself.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Audio`] if the audio source cannot be opened, [`crate::Error::Media`] if the engine cannot start.
    async fn create_session(&self, settings: MediaSettings, notify: MediaNotifier) -> Result<Box<dyn MediaSession>>;
}

/// What a session needs to know.
#[derive(Debug, Clone, Default)]
pub struct MediaSettings {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Whether direct paths may be used.
    pub ice_transport_policy: IceTransportPolicy,
    /// Audio source and sink are not opened with the session but by [`MediaSession::open_audio`]: an offer that is made in
    /// advance needs no microphone. An engine that does not know how opens them at once.
    pub audio_later: bool,
}

/// Tells the call about what its media session noticed.
pub type MediaNotifier = Arc<dyn Fn(MediaNotice) + Send + Sync>;

/// What a media session notices by itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MediaNotice {
    /// The ICE state changed.
    Ice(IceState),
    /// The first RTP packet came.
    FirstPacket,
    /// The far end said for the first time, in RTCP, what it receives of us: [`MediaStatistics::far_end`].
    FarEndReport,
    /// The far end pressed a key (RFC 4733).
    Dtmf(char),
    /// The session is broken and will not mend.
    Failed(crate::error::MediaFault),
}

/// The audio of one call.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait MediaSession: Send + Sync {
    /// Gathers candidates and makes the offer to send.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Media`].
    async fn create_offer(&self) -> Result<String>;

    /// Takes the far end's answer to the offer. A second answer (a final one after a provisional one) replaces the
    /// first if it is the same, and is an error otherwise.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Media`].
    async fn accept_answer(&self, sdp: &str) -> Result<()>;

    /// Makes another offer in a session that has been negotiated, by which it moves to the machine's present addresses:
    /// an ICE restart, or a new peer connection beside the old one. [`MediaSession::accept_answer`] takes the answer to
    /// it; the old path goes on at least until then. The audio source and sink go over.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Media`]; by default that this engine cannot.
    async fn restart_offer(&self) -> Result<String> {
        let fault = crate::error::MediaFault::Engine("this engine cannot move a session to other addresses".to_owned());
        Err(crate::Error::Media { fault })
    }

    /// Forgets the offer of [`MediaSession::restart_offer`], which the far end did not accept; what was before goes on.
    async fn rollback(&self) {}

    /// Opens the audio source and sink of a session that was made with [`MediaSettings::audio_later`]. In any other there is
    /// nothing to do.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Audio`] if a device cannot be opened.
    async fn open_audio(&self) -> Result<()> {
        Ok(())
    }

    /// Who sends from now on (RFC 3264 §8.4). While we hold (`SendOnly`), silence is sent and nothing is played; while
    /// only the far end sends (`RecvOnly`), nothing is sent. By default it is not heeded.
    fn set_direction(&self, direction: Direction) {
        let _ = direction;
    }

    /// Takes the far end's offer and makes the answer to send. In a session that has been negotiated, an offer of other
    /// codecs, addresses or keys moves it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Media`], with [`crate::MediaFault::NoCommonCodec`] where that is the cause.
    async fn accept_offer(&self, sdp: &str) -> Result<String>;

    /// Sends silence instead of the source while `muted`.
    fn set_muted(&self, muted: bool);

    /// Gives the sink silence while `muted`.
    fn set_speaker_muted(&self, muted: bool);

    /// Sends a key by RFC 4733. `false` if that was not negotiated: use INFO then.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Media`].
    async fn send_dtmf(&self, tone: char, duration: Duration) -> Result<bool>;

    /// How the session is doing.
    async fn statistics(&self) -> MediaStatistics;

    /// Ends the session and frees everything it holds. Further calls do nothing.
    async fn close(&self);
}

/// How a media session is doing. Sums count from its beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaStatistics {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP payload bytes sent.
    pub bytes_sent: u64,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP payload bytes received.
    pub bytes_received: u64,
    /// RTP packets that should have come and did not (RFC 3550 §6.4.1).
    pub packets_lost: u64,
    /// Jitter of what we receive (RFC 3550 §6.4.1).
    pub jitter: Option<Duration>,
    /// Round-trip time of the ICE path, else of RTCP.
    pub round_trip_time: Option<Duration>,
    /// Whether the audio source has given anything but silence since the last reading; `None` if nobody knows, or it is not
    /// sent because of mute or hold.
    pub source_heard: Option<bool>,
    /// The codec in use, such as `PCMU` or `opus`.
    pub codec: Option<String>,
    /// What the far end says that it receives of us; `None` until it says something.
    pub far_end: Option<FarEndReception>,
}

/// What the far end receives of us, by its last report (RTCP, RFC 3550 §6.4.1). The far end of the media path: behind a
/// media server that is the server.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FarEndReception {
    /// RTP packets, from our first one on. What it lost before it saw one it does not know of.
    pub packets_received: u64,
    /// The share lost since its report before, from 0 to 1.
    pub loss: f64,
}
