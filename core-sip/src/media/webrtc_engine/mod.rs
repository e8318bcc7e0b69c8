//! The media engine on the crate `webrtc`.
//!
//! ```text
//!  AudioSource ─► audio task (20 ms) ─► encoder ─► track ──► RtpInterceptor ─► SRTP ─► ICE
//!  AudioSink   ◄─ audio task (20 ms) ◄─ decoder ◄─ jitter buffer ◄┘◄────────── SRTP ◄─┘
//! ```
//!
//! What the crate needs to work with real peers is in `sdp_measures` (session descriptions), in the settings below and
//! in `rtp_port` (packets). Opening a session takes a socket for each address and two tasks; closing it, or dropping
//! it, ends both. A session that moves to other addresses or keys has two of them for a moment (`session`).
//!
//! Observed with `webrtc` 0.21.1: TURN works over UDP only (over TCP and TLS the crate passes it over; we warn). With two
//! interfaces each side a capture shows all four pairs checked within 8 ms and one used. Where 10 % of the packets are
//! lost the call stays up, and loss is counted and concealed.

mod audio_task;
mod eager_runtime;
mod rtp_port;
mod session;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters};
use secrecy::ExposeSecret as _;
use webrtc::peer_connection::{
    RTCConfiguration, RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy, SettingEngine, SettingEngineBuilder,
};

use super::audio::{AudioSink, AudioSource, NullSink, Silence};
use super::jitter_buffer;
use super::sdp_measures::{AudioCodec, OFFERED_TELEPHONE_EVENT};
use super::{MediaEngine, MediaNotifier, MediaSession, MediaSettings, SessionAudio};
use crate::config::{IceServer, IceTransportPolicy};
use crate::error::{Error, MediaFault, Result};
use crate::random::{OsRandom, Random};

/// How long candidates are gathered. What STUN and TURN servers have not answered by then is left out; an offer with
/// the candidates at hand is better than a caller who waits.
pub const GATHERING_DEADLINE: Duration = Duration::from_millis(2000);

/// How long the DTLS handshake may take once ICE has found a path. Its hellos are sent again after 1, 2 and 4 s.
const DTLS_DEADLINE: Duration = Duration::from_secs(10);

/// How often ICE checks a pair. The crate's 200 ms would delay the DTLS hello by as much, since it leaves at the tick
/// after the pair was found.
const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How many checks a pair gets: 10 s in all, for slow and lossy networks.
const ICE_CHECKS: u16 = 500;
/// How long a path over a reflexive candidate waits for a direct one (the crate's 500 ms and 1 s would be heard).
const REFLEXIVE_WAIT: Duration = Duration::from_millis(100);
/// And how long a relayed path waits for a better one (the crate: 2 s). Where only relays are allowed there is nothing
/// to wait for.
const RELAY_WAIT: Duration = Duration::from_millis(500);
/// Without any answer of the far end to ICE's own checks for so long, ICE is disconnected. The crate does not count RTP as a
/// sign of life, so that a shorter time would take two checks lost on a bad network for a dead path; a media relay that was
/// restarted is found after 5 s at the worst.
const ICE_DISCONNECTED_AFTER: Duration = Duration::from_secs(5);
/// And for so long after that, it has failed.
const ICE_FAILED_AFTER: Duration = Duration::from_secs(25);
/// How often an idle path is checked; consent (RFC 7675) and NAT bindings stay alive by it.
const ICE_KEEP_ALIVE: Duration = Duration::from_secs(2);

type SourceFactory = dyn Fn() -> Result<Box<dyn AudioSource>> + Send + Sync;
type SinkFactory = dyn Fn() -> Result<Box<dyn AudioSink>> + Send + Sync;
type AudioFactory = dyn Fn() -> Result<SessionAudio> + Send + Sync;

/// The media engine on the crate `webrtc`. Clones share their settings.
///
/// ```
/// use codex_core_sip::media::{Tone, WebRtcEngine};
///
/// // Calls through this engine send a tone and hear nothing.
/// let engine = WebRtcEngine::builder().source(|| Ok(Box::new(Tone::new(440.0, 0.5)))).build();
/// ```
#[derive(Clone)]
pub struct WebRtcEngine {
    settings: Arc<EngineSettings>,
}

pub(super) struct EngineSettings {
    audio: Box<AudioFactory>,
    bind_addresses: Vec<IpAddr>,
    include_loopback: bool,
    codecs: Vec<AudioCodec>,
    gathering_deadline: Duration,
    setup_active: bool,
    jitter_buffer_delay: Duration,
    dtls_deadline: Duration,
    /// The payload types of our offers for what has no static one.
    opus_payload_type: u8,
    telephone_event_payload_type: u8,
}

impl core::fmt::Debug for WebRtcEngine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WebRtcEngine")
            .field("codecs", &self.settings.codecs)
            .field("bind_addresses", &self.settings.bind_addresses)
            .field("gathering_deadline", &self.settings.gathering_deadline)
            .finish_non_exhaustive()
    }
}

/// Puts a [`WebRtcEngine`] together.
pub struct WebRtcEngineBuilder {
    source: Box<SourceFactory>,
    sink: Box<SinkFactory>,
    audio: Option<Box<AudioFactory>>,
    bind_addresses: Vec<IpAddr>,
    include_loopback: bool,
    codecs: Vec<AudioCodec>,
    gathering_deadline: Duration,
    setup_active: bool,
    jitter_buffer_delay: Duration,
}

impl core::fmt::Debug for WebRtcEngineBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WebRtcEngineBuilder").field("codecs", &self.codecs).finish_non_exhaustive()
    }
}

impl WebRtcEngine {
    /// An engine that sends silence, hears nothing, uses every address of the machine and offers Opus, PCMU, PCMA;
    /// change from there.
    #[must_use]
    pub fn builder() -> WebRtcEngineBuilder {
        WebRtcEngineBuilder {
            source: Box::new(|| Ok(Box::new(Silence))),
            sink: Box::new(|| Ok(Box::new(NullSink))),
            audio: None,
            bind_addresses: Vec::new(),
            include_loopback: false,
            codecs: AudioCodec::ALL.to_vec(),
            gathering_deadline: GATHERING_DEADLINE,
            setup_active: true,
            jitter_buffer_delay: jitter_buffer::DEFAULT_TARGET_DELAY,
        }
    }
}

impl WebRtcEngineBuilder {
    /// Where each session takes its audio from. Called once for each session, when it is made; for one whose offer was made
    /// in advance, when its call begins.
    #[must_use]
    pub fn source(mut self, make: impl Fn() -> Result<Box<dyn AudioSource>> + Send + Sync + 'static) -> Self {
        self.source = Box::new(make);
        self
    }

    /// Where each session puts what it hears. Called once for each session, when it is made.
    #[must_use]
    pub fn sink(mut self, make: impl Fn() -> Result<Box<dyn AudioSink>> + Send + Sync + 'static) -> Self {
        self.sink = Box::new(make);
        self
    }

    /// Source and sink of each session together, for those that belong together such as an
    /// [`echo`](crate::media::echo). It goes before [`Self::source`] and [`Self::sink`].
    #[must_use]
    pub fn audio(mut self, make: impl Fn() -> Result<SessionAudio> + Send + Sync + 'static) -> Self {
        self.audio = Some(Box::new(make));
        self
    }

    /// The local addresses that candidates are made of, instead of all that the machine has.
    #[must_use]
    pub fn bind_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.bind_addresses = addresses.into_iter().collect();
        self
    }

    /// Whether 127.0.0.1 is used beside the machine's other addresses. A machine that has no other uses it anyway.
    #[must_use]
    pub fn include_loopback(mut self, include: bool) -> Self {
        self.include_loopback = include;
        self
    }

    /// The codecs to offer and to accept, in order of preference. With one of them alone a call has that one or none.
    /// An empty list leaves all.
    #[must_use]
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = AudioCodec>) -> Self {
        let mut seen = HashSet::new();
        let codecs: Vec<AudioCodec> = codecs.into_iter().filter(|codec| seen.insert(*codec)).collect();
        if !codecs.is_empty() {
            self.codecs = codecs;
        }
        self
    }

    /// How long candidates are gathered, [`GATHERING_DEADLINE`] unless set.
    #[must_use]
    pub fn gathering_deadline(mut self, deadline: Duration) -> Self {
        self.gathering_deadline = deadline;
        self
    }

    /// Whether offers say `a=setup:active` (the default) or `actpass`. `active` is what rtpengine needs to connect
    /// without a second's delay; a far end that insists on being the DTLS client needs `actpass`.
    #[must_use]
    pub fn offer_setup_active(mut self, active: bool) -> Self {
        self.setup_active = active;
        self
    }

    /// How much received audio is held back against jitter, 60 ms unless set, at most 500 ms.
    #[must_use]
    pub fn jitter_buffer_delay(mut self, delay: Duration) -> Self {
        self.jitter_buffer_delay = delay;
        self
    }

    /// The engine.
    #[must_use]
    pub fn build(self) -> WebRtcEngine {
        let (source, sink) = (self.source, self.sink);
        let audio =
            self.audio.unwrap_or_else(|| Box::new(move || Ok(SessionAudio { source: source()?, sink: sink()? })));
        WebRtcEngine {
            settings: Arc::new(EngineSettings {
                audio,
                bind_addresses: self.bind_addresses,
                include_loopback: self.include_loopback,
                codecs: self.codecs,
                gathering_deadline: self.gathering_deadline,
                setup_active: self.setup_active,
                jitter_buffer_delay: self.jitter_buffer_delay,
                dtls_deadline: DTLS_DEADLINE,
                opus_payload_type: AudioCodec::Opus.offered_payload_type(),
                telephone_event_payload_type: OFFERED_TELEPHONE_EVENT,
            }),
        }
    }
}

#[async_trait]
impl MediaEngine for WebRtcEngine {
    async fn create_session(&self, settings: MediaSettings, notify: MediaNotifier) -> Result<Box<dyn MediaSession>> {
        let unsupported: Vec<&str> = unsupported_turn_urls(&settings).collect();
        if !unsupported.is_empty() {
            tracing::warn!(urls = ?unsupported, "left out: this engine speaks TURN over UDP only");
        }
        let audio = if settings.audio_later { None } else { Some((self.settings.audio)()?) };
        let session = session::WebRtcSession::open(self.settings.clone(), &settings, audio, notify).await?;
        Ok(Box::new(session))
    }
}

impl EngineSettings {
    /// Addresses to bind, each with a port of the system's choice.
    fn socket_addresses(&self) -> Result<Vec<SocketAddr>> {
        let addresses = if self.bind_addresses.is_empty() {
            let interfaces = rtc::shared::ifaces::ifaces()
                .map_err(|error| engine_fault(format!("the machine's addresses cannot be listed: {error}")))?;
            let addresses = interfaces.iter().filter_map(|interface| interface.addr.map(|address| address.ip()));
            usable_addresses(addresses, self.include_loopback)
        } else {
            self.bind_addresses.clone()
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }

    fn codec_parameters(&self) -> Vec<RTCRtpCodecParameters> {
        let mut parameters: Vec<RTCRtpCodecParameters> = self
            .codecs
            .iter()
            .map(|codec| match codec {
                AudioCodec::Opus => codec_parameters(*codec, self.opus_payload_type),
                AudioCodec::Pcmu | AudioCodec::Pcma => codec_parameters(*codec, codec.offered_payload_type()),
            })
            .collect();
        // Once only: the crate matches codecs without their clock rate.
        parameters.push(RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: "audio/telephone-event".to_owned(),
                clock_rate: super::telephone_event::CLOCK_RATE_HZ,
                channels: 0,
                sdp_fmtp_line: "0-16".to_owned(),
                rtcp_feedback: Vec::new(),
            },
            payload_type: self.telephone_event_payload_type,
        });
        parameters
    }
}

/// The addresses that a far end can reach: no loopback unless asked for or alone, no link-local ones (they need a zone
/// that SDP cannot carry), no doubles.
fn usable_addresses(addresses: impl Iterator<Item = IpAddr>, include_loopback: bool) -> Vec<IpAddr> {
    let mut usable = Vec::new();
    for address in addresses {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !address.is_loopback() && !link_local && !address.is_unspecified() && !usable.contains(&address) {
            usable.push(address);
        }
    }
    if usable.is_empty() || include_loopback {
        usable.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    usable
}

fn codec_parameters(codec: AudioCodec, payload_type: u8) -> RTCRtpCodecParameters {
    let (channels, format) = match codec {
        // RFC 7587 §7: always two channels in SDP; we send and want mono speech.
        AudioCodec::Opus => (2, "minptime=10;useinbandfec=1"),
        // With 1 the crate prints `PCMU/8000/1`, which some peers do not know.
        AudioCodec::Pcmu | AudioCodec::Pcma => (0, ""),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: format!("audio/{}", codec.name()),
            clock_rate: codec.clock_rate_hz(),
            channels,
            sdp_fmtp_line: format.to_owned(),
            rtcp_feedback: Vec::new(),
        },
        payload_type,
    }
}

fn setting_engine(relay_only: bool) -> SettingEngine {
    let wait = |wait: Duration| Some(if relay_only { Duration::ZERO } else { wait });
    SettingEngineBuilder::new()
        .with_srflx_acceptance_min_wait(wait(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(wait(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(wait(RELAY_WAIT))
        // Building fails without multicast, and names under .local mean nothing to an edge.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_CHECKS))
        .with_ice_timeouts(Some(ICE_DISCONNECTED_AFTER), Some(ICE_FAILED_AFTER), Some(ICE_KEEP_ALIVE))
        .build()
}

fn configuration(settings: &MediaSettings) -> RTCConfiguration {
    let policy = match settings.ice_transport_policy {
        IceTransportPolicy::All => RTCIceTransportPolicy::All,
        IceTransportPolicy::Relay => RTCIceTransportPolicy::Relay,
    };
    RTCConfigurationBuilder::new()
        .with_ice_servers(settings.ice_servers.iter().map(ice_server).collect())
        .with_ice_transport_policy(policy)
        .build()
}

/// TURN over TCP and TLS, which the crate leaves out without a word.
fn unsupported_turn_urls(settings: &MediaSettings) -> impl Iterator<Item = &str> {
    settings.ice_servers.iter().flat_map(|server| &server.urls).map(String::as_str).filter(|url| {
        let url = url.to_ascii_lowercase();
        url.starts_with("turns:") || (url.starts_with("turn:") && url.contains("transport=tcp"))
    })
}

fn ice_server(server: &IceServer) -> RTCIceServer {
    RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.as_ref().map(|secret| secret.expose_secret().to_owned()).unwrap_or_default(),
    }
}

fn engine_fault(text: impl core::fmt::Display) -> Error {
    Error::Media { fault: MediaFault::Engine(text.to_string()) }
}

/// The clock that paces audio.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that paces audio in real time")]
fn monotonic_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    OsRandom.fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_used_when_asked_for_or_alone() {
        let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        let cases: [(&[&str], bool, &[&str]); 5] = [
            (&["127.0.0.1", "::1"], false, &["127.0.0.1"]),
            (&["127.0.0.1", "10.0.0.5"], false, &["10.0.0.5"]),
            (&["127.0.0.1", "10.0.0.5"], true, &["10.0.0.5", "127.0.0.1"]),
            (&["fe80::1", "169.254.1.1", "2001:db8::1", "2001:db8::1"], false, &["2001:db8::1"]),
            (&[], false, &["127.0.0.1"]),
        ];
        for (have, include, want) in cases {
            assert_eq!(usable_addresses(parse(have).into_iter(), include), parse(want), "{have:?}");
        }
    }

    #[test]
    fn turn_over_tcp_and_tls_is_known_to_be_left_out() {
        let server = |url: &str| IceServer { urls: vec![url.to_owned()], username: None, credential: None };
        let urls = ["stun:a", "turn:b", "TURN:c?transport=TCP", "turns:d?transport=tcp", "turn:e?transport=udp"];
        let settings = MediaSettings { ice_servers: urls.map(server).to_vec(), ..MediaSettings::default() };
        assert_eq!(unsupported_turn_urls(&settings).collect::<Vec<_>>(), [urls[2], urls[3]]);
    }

    #[test]
    fn codecs_keep_their_order_once_each() {
        let engine = WebRtcEngine::builder().codecs([AudioCodec::Pcma, AudioCodec::Opus, AudioCodec::Pcma]).build();
        assert_eq!(engine.settings.codecs, [AudioCodec::Pcma, AudioCodec::Opus]);
        let parameters = engine.settings.codec_parameters();
        assert_eq!(parameters.iter().map(|p| p.payload_type).collect::<Vec<_>>(), [8, 111, 101]);
        assert_eq!(WebRtcEngine::builder().codecs([]).build().settings.codecs, AudioCodec::ALL);
    }

    use std::sync::atomic::Ordering;

    use crate::media::{LevelMeter, LevelReading, MediaNotice, NullSink, Tone};
    use crate::sip::sdp::Direction;
    use tokio::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(20);
    const GLANCE: Duration = Duration::from_millis(20);

    type Notices = mpsc::UnboundedReceiver<MediaNotice>;

    async fn open(settings: EngineSettings, audio: SessionAudio) -> (session::WebRtcSession, Notices) {
        let (sender, notices) = mpsc::unbounded_channel();
        let notify: MediaNotifier = Arc::new(move |notice| {
            let _ = sender.send(notice);
        });
        let media = MediaSettings::default();
        let session = session::WebRtcSession::open(Arc::new(settings), &media, Some(audio), notify).await.unwrap();
        (session, notices)
    }

    fn settings(codec: AudioCodec) -> EngineSettings {
        let engine = WebRtcEngine::builder().bind_addresses([Ipv4Addr::LOCALHOST.into()]).codecs([codec]).build();
        Arc::into_inner(engine.settings).unwrap()
    }

    async fn hears(heard: &LevelReading, frequency_hz: f64) {
        let listening = async {
            while heard.tone_share(frequency_hz) < 0.95 || heard.rms_dbfs() < -12.0 {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("the tone is heard");
    }

    async fn connect(caller: &session::WebRtcSession, callee: &session::WebRtcSession) -> (String, String) {
        let offer = caller.create_offer().await.unwrap();
        let answer = callee.accept_offer(&offer).await.unwrap();
        caller.accept_answer(&answer).await.unwrap();
        (offer, answer)
    }

    #[tokio::test]
    async fn a_sender_that_changes_its_source_in_a_call_is_still_heard() {
        for codec in [AudioCodec::Pcmu, AudioCodec::Opus] {
            let (meter, heard) = LevelMeter::new(300);
            let (caller, _) = open(settings(codec), SessionAudio::new(Tone::new(440.0, 0.5), NullSink)).await;
            let (callee, _) = open(settings(codec), SessionAudio::new(Silence, meter)).await;
            connect(&caller, &callee).await;
            hears(&heard, 440.0).await;
            for ssrc in [0x0BAD_CAFE, 0x0BAD_D00D] {
                let before = callee.statistics().await.packets_received;
                caller.port().sent_as.store(ssrc, Ordering::Relaxed);
                // A second of packets later the window holds nothing but the new source.
                let later = async {
                    while callee.statistics().await.packets_received < before + 50 {
                        tokio::time::sleep(GLANCE).await;
                    }
                };
                tokio::time::timeout(PATIENCE, later).await.expect("packets of the new source arrive");
                hears(&heard, 440.0).await;
                assert_eq!(callee.statistics().await.packets_lost, 0, "a new source is no loss");
            }
            caller.close().await;
            callee.close().await;
        }
    }

    #[tokio::test]
    async fn the_answer_has_the_offerers_payload_types_and_they_are_used() {
        let (meter, heard) = LevelMeter::new(300);
        let mut offering = settings(AudioCodec::Opus);
        (offering.opus_payload_type, offering.telephone_event_payload_type) = (96, 126);
        let (caller, mut caller_notices) = open(offering, SessionAudio::new(Silence, meter)).await;
        let tone = SessionAudio::new(Tone::new(440.0, 0.5), NullSink);
        let (callee, mut callee_notices) = open(settings(AudioCodec::Opus), tone).await;
        let (_, answer) = connect(&caller, &callee).await;
        assert!(answer.contains("a=rtpmap:126 telephone-event/8000"), "{answer}");
        let offered: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("m=audio ")).collect();
        assert!(offered.len() == 1 && offered[0].split(' ').skip(2).eq(["96", "126"]), "{answer}");
        assert!(!answer.contains("a=rtpmap:111 ") && !answer.contains("a=rtpmap:101 "), "{answer}");
        hears(&heard, 440.0).await;
        assert!(callee.send_dtmf('7', FRAME).await.unwrap());
        assert!(caller.send_dtmf('#', FRAME).await.unwrap());
        for (notices, key) in [(&mut caller_notices, '7'), (&mut callee_notices, '#')] {
            let waiting = async { while notices.recv().await.unwrap() != MediaNotice::Dtmf(key) {} };
            tokio::time::timeout(PATIENCE, waiting).await.expect("the key arrives");
        }
        caller.close().await;
        callee.close().await;
    }

    #[tokio::test]
    async fn packets_that_get_lost_are_counted_and_concealed() {
        for codec in AudioCodec::ALL {
            let (meter, heard) = LevelMeter::new(400);
            let (caller, _) = open(settings(codec), SessionAudio::new(Tone::new(440.0, 0.5), NullSink)).await;
            let (callee, _) = open(settings(codec), SessionAudio::new(Silence, meter)).await;
            connect(&caller, &callee).await;
            hears(&heard, 440.0).await;
            caller.port().lose_every.store(10, Ordering::Relaxed);
            let before = callee.statistics().await;
            let lossy = async {
                while callee.statistics().await.packets_received < before.packets_received + 90 {
                    tokio::time::sleep(GLANCE).await;
                }
            };
            tokio::time::timeout(PATIENCE, lossy).await.expect("packets go on");
            let after = callee.statistics().await;
            let lost = after.packets_lost - before.packets_lost;
            assert!((8..=13).contains(&lost), "{codec}: {lost} of 100 lost");
            let (share, level) = (heard.tone_share(440.0), heard.rms_dbfs());
            assert!(share > 0.7 && level > -11.0, "{codec}: {share} of the energy in the tone, {level} dBFS");
            caller.close().await;
            callee.close().await;
        }
    }

    #[tokio::test]
    async fn reports_give_loss_and_a_round_trip_time_of_their_own() {
        let quiet = || SessionAudio::new(Silence, NullSink);
        let (caller, _) = open(settings(AudioCodec::Pcmu), quiet()).await;
        let (callee, _) = open(settings(AudioCodec::Pcmu), quiet()).await;
        connect(&caller, &callee).await;
        let reported = async {
            while caller.port().totals().round_trip_time.is_none() || callee.port().totals().round_trip_time.is_none() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, reported).await.expect("reports with a round-trip time come both ways");
        for end in [&caller, &callee] {
            let round_trip_time = end.port().totals().round_trip_time.unwrap();
            assert!(round_trip_time < Duration::from_millis(500), "{round_trip_time:?}");
        }
        caller.close().await;
        callee.close().await;
    }

    #[tokio::test]
    async fn a_wrong_fingerprint_fails_as_dtls() {
        let quiet = || SessionAudio::new(Silence, NullSink);
        let mut hasty = settings(AudioCodec::Pcmu);
        hasty.dtls_deadline = Duration::from_millis(500);
        let (caller, mut notices) = open(hasty, quiet()).await;
        let (callee, _) = open(settings(AudioCodec::Pcmu), quiet()).await;
        let offer = caller.create_offer().await.unwrap();
        let answer = callee.accept_offer(&offer).await.unwrap();
        let wrong: String = answer
            .lines()
            .map(|line| match line.strip_prefix("a=fingerprint:sha-256 ") {
                Some(print) => format!("a=fingerprint:sha-256 {}\r\n", print.chars().rev().collect::<String>()),
                None => format!("{line}\r\n"),
            })
            .collect();
        caller.accept_answer(&wrong).await.unwrap();
        let failure = async {
            loop {
                if let MediaNotice::Failed(fault) = notices.recv().await.unwrap() {
                    return fault;
                }
            }
        };
        let fault = tokio::time::timeout(PATIENCE, failure).await.expect("the failure is told");
        assert_eq!(fault, MediaFault::DtlsFailed);
        assert_eq!(caller.statistics().await.packets_received, 0);
        caller.close().await;
        callee.close().await;
    }

    /// A restart on the way, its answer by the other end, and that the tone goes on.
    #[tokio::test]
    async fn a_session_moves_to_another_leg_and_back_is_not_needed() {
        let (meter, heard) = LevelMeter::new(300);
        let (caller, _) = open(settings(AudioCodec::Opus), SessionAudio::new(Tone::new(440.0, 0.5), NullSink)).await;
        let (callee, _) = open(settings(AudioCodec::Opus), SessionAudio::new(Silence, meter)).await;
        connect(&caller, &callee).await;
        hears(&heard, 440.0).await;
        let first = caller.statistics().await;
        for round in 0..3 {
            // One that the far end does not want changes nothing.
            caller.restart_offer().await.unwrap();
            caller.rollback().await;
            hears(&heard, 440.0).await;
            let before = callee.port();
            let offer = caller.restart_offer().await.unwrap();
            let answer = callee.accept_offer(&offer).await.unwrap();
            caller.accept_answer(&answer).await.unwrap();
            assert!(!Arc::ptr_eq(&before, &callee.port()), "it is another leg");
            let arrives = async {
                while callee.port().totals().packets_received < 25 {
                    tokio::time::sleep(GLANCE).await;
                }
            };
            tokio::time::timeout(PATIENCE, arrives).await.unwrap_or_else(|_| panic!("packets come, round {round}"));
            hears(&heard, 440.0).await;
        }
        let last = caller.statistics().await;
        assert!(last.packets_sent >= first.packets_sent + 75, "sums go on: {first:?} {last:?}");
        caller.close().await;
        callee.close().await;
    }

    #[tokio::test]
    async fn hold_silences_and_what_is_inactive_sends_nothing() {
        let (meter, heard) = LevelMeter::new(300);
        let (caller, _) = open(settings(AudioCodec::Pcmu), SessionAudio::new(Tone::new(440.0, 0.5), NullSink)).await;
        let (callee, _) = open(settings(AudioCodec::Pcmu), SessionAudio::new(Silence, meter)).await;
        connect(&caller, &callee).await;
        hears(&heard, 440.0).await;
        caller.set_direction(Direction::SendOnly);
        let silent = async {
            while heard.rms_dbfs() > -60.0 {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, silent).await.expect("silence takes the place of the tone");
        let before = callee.statistics().await.packets_received;
        let goes_on = async {
            while callee.statistics().await.packets_received < before + 25 {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, goes_on).await.expect("it is sent, so that nobody thinks us gone");
        caller.set_direction(Direction::Inactive);
        let stops = async {
            loop {
                let before = caller.statistics().await.packets_sent;
                tokio::time::sleep(GLANCE * 5).await;
                if caller.statistics().await.packets_sent == before {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, stops).await.expect("nothing is sent any more");
        caller.set_direction(Direction::SendRecv);
        hears(&heard, 440.0).await;
        caller.close().await;
        callee.close().await;
    }

    const FRAME: Duration = Duration::from_millis(20);
}
