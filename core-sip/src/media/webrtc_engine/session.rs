//! One session: its legs, and the audio task.
//!
//! A **leg** is one peer connection with its sockets, keys and packets. A session begins with one. When the machine gets
//! other addresses, or the far end other keys, a new leg is made beside the running one; the audio goes over when the new
//! one is up, and the old one is closed. The crate could restart ICE in the same peer connection, but its sockets are
//! bound to the addresses that it was made with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::statistics::stats::RTCStatsType;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine as CodecRegistry, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceConnectionState, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, RTCStatsReportEntry,
    Registry, StatsSelector,
};

use super::audio_task::{AudioTask, Key, Switches, TaskOrder, WAITING_KEYS};
use super::eager_runtime::EagerRuntime;
use super::rtp_port::{RtpInterceptor, RtpPort};
use super::{EngineSettings, configuration, engine_fault, monotonic_now, random_u32, setting_engine};
use crate::config::IceTransportPolicy;
use crate::error::{Error, MediaFault, Result};
use crate::event::IceState;
use crate::media::jitter_buffer::JitterBuffer;
use crate::media::sdp_measures::{self, Agreement, AudioFormats};
use crate::media::telephone_event;
use crate::media::{MediaNotice, MediaNotifier, MediaSession, MediaSettings, MediaStatistics, SessionAudio};
use crate::sip::sdp::Direction;

/// How long closing waits for the audio task, which ends at once unless a source or sink blocks.
const CLOSING_DEADLINE: Duration = Duration::from_secs(1);

/// Where the interceptor stands in the chain: nearer to the wire than anything of the crate's own (1000 and up).
const NEAREST_TO_THE_WIRE: usize = 10;

pub(super) struct WebRtcSession {
    settings: Arc<EngineSettings>,
    media: MediaSettings,
    notify: MediaNotifier,
    /// The leg that was negotiated last.
    leg: std::sync::Mutex<Arc<Leg>>,
    /// Hands the audio task a leg to go over to, or its audio; `None` once the session is closed, which ends the task.
    orders: std::sync::Mutex<Option<mpsc::UnboundedSender<TaskOrder>>>,
    /// The audio is not open yet.
    audio_later: AtomicBool,
    /// What went over legs before.
    before: std::sync::Mutex<MediaStatistics>,
    switches: Arc<Switches>,
    keys: mpsc::Sender<Key>,
    descriptions: Mutex<Descriptions>,
    audio_task: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
}

/// One peer connection.
pub(super) struct Leg {
    peer: Arc<dyn PeerConnection>,
    pub(super) track: Arc<dyn TrackLocal>,
    pub(super) port: Arc<RtpPort>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) path: watch::Receiver<Path>,
    pub(super) ssrc: u32,
}

#[derive(Default)]
struct Descriptions {
    /// A leg whose offer the far end has not answered, and that offer.
    pending: Option<(Arc<Leg>, String)>,
    /// Our offer as it was sent.
    offer: Option<String>,
    /// The far end's answer to it as it came.
    accepted_answer: Option<String>,
    /// The far end's offer as it came, and our answer to it.
    answered: Option<(String, String)>,
}

/// How far the way to the far end is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// ICE has found none.
    Missing,
    /// ICE has found one; keys are not agreed yet.
    Found,
    /// Media can flow.
    Up,
}

/// Hears what the peer connection says.
pub(super) struct Watcher {
    notify: MediaNotifier,
    /// Whether keys are being agreed.
    handshaking: Arc<AtomicBool>,
    /// `None` once the leg is closed.
    path: std::sync::Mutex<Option<watch::Sender<Path>>>,
    gathered: watch::Sender<bool>,
    last_ice: std::sync::Mutex<Option<IceState>>,
    failed: AtomicBool,
    /// Another leg has been negotiated: this one's path is of no interest any more.
    superseded: AtomicBool,
}

impl Watcher {
    fn set_path(&self, path: Path) {
        if let Some(sender) = &*crate::media::lock(&self.path) {
            sender.send_if_modified(|current| {
                // ICE says again that it has a path while media flows.
                let changes = *current != path && !(*current == Path::Up && path == Path::Found);
                if changes {
                    *current = path;
                    self.handshaking.store(path == Path::Found, Ordering::Release);
                }
                changes
            });
        }
    }

    pub(super) fn tell(&self, notice: MediaNotice) {
        if !self.is_closed() {
            (self.notify)(notice);
        }
    }

    fn ice(&self, state: IceState) {
        let changed = crate::media::lock(&self.last_ice).replace(state) != Some(state);
        if changed && !self.superseded.load(Ordering::Acquire) {
            (self.notify)(MediaNotice::Ice(state));
        }
    }

    pub(super) fn fail(&self, fault: MediaFault) {
        self.handshaking.store(false, Ordering::Release);
        if !self.failed.swap(true, Ordering::AcqRel) {
            (self.notify)(MediaNotice::Failed(fault));
        }
    }

    /// After this nothing is told but the end of ICE.
    fn close(&self) {
        self.retire();
        self.ice(IceState::Closed);
    }

    /// After this nothing is told: another leg goes on.
    fn retire(&self) {
        self.failed.store(true, Ordering::Release);
        self.handshaking.store(false, Ordering::Release);
        crate::media::lock(&self.path).take();
    }

    fn is_closed(&self) -> bool {
        crate::media::lock(&self.path).is_none()
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        let state = match state {
            RTCIceConnectionState::New => IceState::New,
            RTCIceConnectionState::Checking => IceState::Checking,
            RTCIceConnectionState::Connected => IceState::Connected,
            RTCIceConnectionState::Completed => IceState::Completed,
            RTCIceConnectionState::Disconnected => IceState::Disconnected,
            RTCIceConnectionState::Failed => IceState::Failed,
            // `Closed` is told by `close`, once.
            _ => return,
        };
        if self.is_closed() {
            return;
        }
        self.ice(state);
        match state {
            IceState::Connected | IceState::Completed => self.set_path(Path::Found),
            IceState::Failed => self.fail(MediaFault::IceFailed),
            _ => {}
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            RTCPeerConnectionState::Connected => self.set_path(Path::Up),
            RTCPeerConnectionState::Failed => {
                self.set_path(Path::Missing);
                let ice = *crate::media::lock(&self.last_ice);
                let found = matches!(ice, Some(IceState::Connected | IceState::Completed));
                if found {
                    self.fail(MediaFault::DtlsFailed);
                } else if !self.is_closed() {
                    // The crate tells that the connection failed, but not always that it was ICE.
                    self.ice(IceState::Failed);
                    self.fail(MediaFault::IceFailed);
                }
            }
            RTCPeerConnectionState::Closed => self.set_path(Path::Missing),
            _ => {}
        }
    }
}

impl Leg {
    async fn open(settings: &EngineSettings, media: &MediaSettings, notify: MediaNotifier) -> Result<Self> {
        let relay_only = media.ice_transport_policy == IceTransportPolicy::Relay;
        let ssrc = random_u32();
        let codecs = settings.codec_parameters();
        let mut registry = CodecRegistry::default();
        for codec in &codecs {
            registry.register_codec(codec.clone(), RtpCodecKind::Audio).map_err(engine_fault)?;
        }
        let port = Arc::new(RtpPort::new(
            monotonic_now().into_std(),
            ssrc,
            format!("{:08x}{:08x}", random_u32(), random_u32()),
            JitterBuffer::new(settings.jitter_buffer_delay),
        ));
        let handshaking = Arc::new(AtomicBool::new(false));
        let tokio = webrtc::runtime::default_runtime().ok_or_else(|| engine_fault("no async runtime"))?;
        let (sender, path) = watch::channel(Path::Missing);
        let watcher = Arc::new(Watcher {
            notify,
            handshaking: handshaking.clone(),
            path: std::sync::Mutex::new(Some(sender)),
            gathered: watch::Sender::new(false),
            last_ice: std::sync::Mutex::new(None),
            failed: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
        });
        let interceptors = Registry::new()
            .with(rtc::interceptor::Slot::Custom(NEAREST_TO_THE_WIRE), RtpInterceptor::new(port.clone()));
        let builder = PeerConnectionBuilder::new()
            .with_configuration(configuration(media))
            .with_media_engine(registry)
            .with_setting_engine(setting_engine(relay_only))
            .with_interceptor_registry(interceptors)
            .with_handler(watcher.clone())
            .with_runtime(Arc::new(EagerRuntime::new(tokio, handshaking)))
            .with_udp_addrs(settings.socket_addresses()?);
        // The future is some 20 kB.
        let peer = Box::pin(builder.build()).await.map_err(engine_fault)?;
        let peer: Arc<dyn PeerConnection> = Arc::new(peer);
        let track = match add_track(&peer, ssrc, &codecs).await {
            Ok(track) => track,
            Err(error) => {
                // Dropping a peer connection leaves its task running.
                let _ = peer.close().await;
                return Err(error);
            }
        };
        tokio::spawn(watch_handshake(path.clone(), watcher.clone(), settings.dtls_deadline));
        Ok(Self { peer, track, port, watcher, path, ssrc })
    }

    /// Closes it without a word: another leg goes on.
    pub(super) fn retire(self: Arc<Self>) {
        self.watcher.retire();
        tokio::spawn(async move {
            if let Err(error) = self.peer.close().await {
                tracing::debug!(%error, "a peer connection did not close cleanly");
            }
        });
    }

    fn totals(&self) -> MediaStatistics {
        let totals = self.port.totals();
        MediaStatistics {
            packets_sent: totals.packets_sent,
            bytes_sent: totals.bytes_sent,
            packets_received: totals.packets_received,
            bytes_received: totals.bytes_received,
            packets_lost: totals.packets_lost,
            jitter: totals.jitter,
            round_trip_time: totals.round_trip_time,
            source_heard: None,
            codec: self.port.agreement().map(|agreement| agreement.codec.name().to_owned()),
            far_end: totals.far_end,
        }
    }
}

/// The crate says nothing when the handshake fails, as over a wrong fingerprint.
async fn watch_handshake(mut path: watch::Receiver<Path>, watcher: Arc<Watcher>, deadline: Duration) {
    // An error says that the leg was closed.
    while path.wait_for(|path| *path == Path::Found).await.is_ok() {
        match tokio::time::timeout(deadline, path.wait_for(|path| *path != Path::Found)).await {
            Ok(Ok(path)) if *path == Path::Missing => {}
            Ok(_) => return,
            Err(_) => return watcher.fail(MediaFault::DtlsFailed),
        }
    }
}

impl WebRtcSession {
    pub(super) async fn open(
        settings: Arc<EngineSettings>,
        media: &MediaSettings,
        audio: Option<SessionAudio>,
        notify: MediaNotifier,
    ) -> Result<Self> {
        let leg = Arc::new(Leg::open(&settings, media, notify.clone()).await?);
        let switches = Arc::new(Switches::default());
        let (keys, waiting_keys) = mpsc::channel(WAITING_KEYS);
        // Legs come one at a time, each after an answer of the far end.
        let (orders, next_orders) = mpsc::unbounded_channel();
        let audio_later = AtomicBool::new(audio.is_none());
        let task = AudioTask {
            leg: leg.clone(),
            orders: next_orders,
            audio,
            switches: switches.clone(),
            keys: waiting_keys,
            sequence: (random_u32() >> 16) as u16,
            timestamp: random_u32(),
        };
        Ok(Self {
            settings,
            media: media.clone(),
            notify,
            leg: std::sync::Mutex::new(leg),
            orders: std::sync::Mutex::new(Some(orders)),
            audio_later,
            before: std::sync::Mutex::default(),
            switches,
            keys,
            descriptions: Mutex::default(),
            audio_task: Mutex::new(Some(tokio::spawn(task.run()))),
            closed: AtomicBool::new(false),
        })
    }

    fn leg(&self) -> Arc<Leg> {
        crate::media::lock(&self.leg).clone()
    }

    /// Has the audio go over to `leg` as soon as it is up.
    fn go_over(&self, leg: &Arc<Leg>) {
        let old = std::mem::replace(&mut *crate::media::lock(&self.leg), leg.clone());
        let totals = old.totals();
        let mut before = crate::media::lock(&self.before);
        before.packets_sent += totals.packets_sent;
        before.bytes_sent += totals.bytes_sent;
        before.packets_received += totals.packets_received;
        before.bytes_received += totals.bytes_received;
        before.packets_lost += totals.packets_lost;
        drop(before);
        // What becomes of the old path is of no interest any more; the audio task closes it.
        old.watcher.failed.store(true, Ordering::Release);
        old.watcher.superseded.store(true, Ordering::Release);
        match &*crate::media::lock(&self.orders) {
            Some(orders) => {
                // The task ends early only if a codec failed, and then there is nothing to hear.
                let _gone = orders.send(TaskOrder::GoOver(leg.clone()));
            }
            None => leg.clone().retire(),
        }
    }

    #[cfg(test)]
    pub(super) fn port(&self) -> Arc<RtpPort> {
        self.leg().port.clone()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::WrongState { operation: "media", problem: "the media session is closed" });
        }
        Ok(())
    }

    /// Makes an offer of `leg`.
    async fn offer_of(&self, leg: &Leg) -> Result<String> {
        let offer = leg.peer.create_offer(None).await.map_err(engine_fault)?;
        let local = self.gather(leg, offer).await?;
        Ok(sdp_measures::outgoing_offer(&local, self.settings.setup_active))
    }

    /// Has `leg`, which made `offer`, take the far end's answer.
    async fn take_answer(leg: &Leg, offer: &str, sdp: &str) -> Result<()> {
        let answer = sdp_measures::incoming_answer(sdp, offer).map_err(fault)?;
        // Before the far end can send, so that its first packet is understood.
        leg.port.agree(Agreement::new(offer, &answer, false).map_err(fault)?);
        let answer = RTCSessionDescription::answer(answer).map_err(bad_description)?;
        leg.peer.set_remote_description(answer).await.map_err(bad_description)
    }

    /// Has `leg` answer the far end's offer.
    async fn answer_of(&self, leg: &Leg, sdp: &str) -> Result<String> {
        let offer = sdp_measures::incoming_offer(sdp).map_err(fault)?;
        let formats = AudioFormats::parse(&offer).map_err(fault)?;
        if !formats.codecs.iter().any(|(_, codec)| self.settings.codecs.contains(codec)) {
            return Err(fault(MediaFault::NoCommonCodec));
        }
        let remote = RTCSessionDescription::offer(offer.clone()).map_err(bad_description)?;
        leg.peer.set_remote_description(remote).await.map_err(bad_description)?;
        let answer = leg.peer.create_answer(None).await.map_err(engine_fault)?;
        leg.port.agree(Agreement::new(&answer.sdp, &offer, true).map_err(fault)?);
        let local = self.gather(leg, answer).await?;
        Ok(sdp_measures::outgoing_answer(&local, &offer))
    }

    /// Sets the local description, waits for candidates, and gives the description with them.
    async fn gather(&self, leg: &Leg, description: RTCSessionDescription) -> Result<String> {
        let mut gathered = leg.watcher.gathered.subscribe();
        leg.peer.set_local_description(description).await.map_err(engine_fault)?;
        let deadline = self.settings.gathering_deadline;
        let complete = tokio::time::timeout(deadline, gathered.wait_for(|done| *done)).await.is_ok();
        if !complete {
            tracing::warn!(
                deadline_ms = deadline.as_millis(),
                "not every STUN or TURN server answered in time; going on with the candidates at hand"
            );
        }
        let local = leg.peer.local_description().await.ok_or_else(|| engine_fault("no local description"))?;
        if !local.sdp.contains("a=candidate:") {
            return Err(engine_fault(if self.media.ice_transport_policy == IceTransportPolicy::Relay {
                "no TURN server gave an address (TURN_URLS: check host, port, user name and password; this engine speaks TURN over UDP)"
            } else {
                "no network address to offer"
            }));
        }
        Ok(local.sdp)
    }
}

/// Makes the track that sends, and has both directions know all codecs.
async fn add_track(
    peer: &Arc<dyn PeerConnection>,
    ssrc: u32,
    codecs: &[RTCRtpCodecParameters],
) -> Result<Arc<TrackLocalStaticRTP>> {
    let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        format!("{:08x}", random_u32()),
        format!("{:08x}", random_u32()),
        "audio".to_owned(),
        RtpCodecKind::Audio,
        vec![RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() },
            active: true,
            codec: codecs.first().map(|codec| codec.rtp_codec.clone()).unwrap_or_default(),
            ..RTCRtpEncodingParameters::default()
        }],
    )));
    peer.add_track(track.clone()).await.map_err(engine_fault)?;
    for transceiver in peer.get_transceivers().await {
        // Without this the offer holds nothing but the track's own codec.
        transceiver.set_codec_preferences(codecs.to_vec()).await.map_err(engine_fault)?;
    }
    Ok(track)
}

fn fault(fault: MediaFault) -> Error {
    Error::Media { fault }
}

fn bad_description(error: impl core::fmt::Display) -> Error {
    fault(MediaFault::BadDescription(error.to_string()))
}

#[async_trait]
impl MediaSession for WebRtcSession {
    async fn create_offer(&self) -> Result<String> {
        self.check_open()?;
        let mut descriptions = self.descriptions.lock().await;
        if descriptions.answered.is_some() || descriptions.accepted_answer.is_some() {
            return Err(Error::WrongState { operation: "create_offer", problem: "the session has been negotiated" });
        }
        if let Some(offer) = &descriptions.offer {
            return Ok(offer.clone());
        }
        let offer = self.offer_of(&self.leg()).await?;
        descriptions.offer = Some(offer.clone());
        Ok(offer)
    }

    async fn accept_answer(&self, sdp: &str) -> Result<()> {
        self.check_open()?;
        let mut descriptions = self.descriptions.lock().await;
        if let Some((leg, offer)) = descriptions.pending.take() {
            if let Err(error) = Self::take_answer(&leg, &offer, sdp).await {
                leg.retire();
                return Err(error);
            }
            self.go_over(&leg);
            descriptions.offer = Some(offer);
            descriptions.accepted_answer = Some(sdp.to_owned());
            descriptions.answered = None;
            return Ok(());
        }
        let Some(offer) = &descriptions.offer else {
            return Err(Error::WrongState { operation: "accept_answer", problem: "no offer has been made" });
        };
        match &descriptions.accepted_answer {
            Some(accepted) if accepted == sdp => return Ok(()),
            Some(_) => return Err(bad_description("a second answer differs from the first")),
            None => {}
        }
        Self::take_answer(&self.leg(), offer, sdp).await?;
        descriptions.accepted_answer = Some(sdp.to_owned());
        Ok(())
    }

    async fn restart_offer(&self) -> Result<String> {
        self.check_open()?;
        let mut descriptions = self.descriptions.lock().await;
        if let Some((leg, _)) = descriptions.pending.take() {
            leg.retire();
        }
        let leg = Arc::new(Leg::open(&self.settings, &self.media, self.notify.clone()).await?);
        match self.offer_of(&leg).await {
            Ok(offer) => {
                descriptions.pending = Some((leg, offer.clone()));
                Ok(offer)
            }
            Err(error) => {
                leg.retire();
                Err(error)
            }
        }
    }

    async fn open_audio(&self) -> Result<()> {
        self.check_open()?;
        if self.audio_later.swap(false, Ordering::AcqRel) {
            let audio = (self.settings.audio)()?;
            if let Some(orders) = &*crate::media::lock(&self.orders) {
                // The task ends early only if a codec failed, and then there is nothing to hear.
                let _gone = orders.send(TaskOrder::Audio(audio));
            }
        }
        Ok(())
    }

    async fn rollback(&self) {
        if let Some((leg, _)) = self.descriptions.lock().await.pending.take() {
            leg.retire();
        }
    }

    fn set_direction(&self, direction: Direction) {
        self.switches.set_direction(direction);
    }

    async fn accept_offer(&self, sdp: &str) -> Result<String> {
        self.check_open()?;
        let mut descriptions = self.descriptions.lock().await;
        if let Some((leg, _)) = descriptions.pending.take() {
            leg.retire();
        }
        match &descriptions.answered {
            Some((offer, answer)) if offer == sdp => return Ok(answer.clone()),
            Some(_) => {}
            None if descriptions.accepted_answer.is_some() => {}
            None if descriptions.offer.is_some() => {
                return Err(Error::WrongState { operation: "accept_offer", problem: "an offer of our own is out" });
            }
            None => {
                let answer = self.answer_of(&self.leg(), sdp).await?;
                descriptions.answered = Some((sdp.to_owned(), answer.clone()));
                return Ok(answer);
            }
        }
        let leg = Arc::new(Leg::open(&self.settings, &self.media, self.notify.clone()).await?);
        match self.answer_of(&leg, sdp).await {
            Ok(answer) => {
                self.go_over(&leg);
                *descriptions =
                    Descriptions { answered: Some((sdp.to_owned(), answer.clone())), ..Descriptions::default() };
                Ok(answer)
            }
            Err(error) => {
                leg.retire();
                Err(error)
            }
        }
    }

    fn set_muted(&self, muted: bool) {
        self.switches.muted.store(muted, Ordering::Relaxed);
    }

    fn set_speaker_muted(&self, muted: bool) {
        self.switches.speaker_muted.store(muted, Ordering::Relaxed);
    }

    async fn send_dtmf(&self, tone: char, duration: Duration) -> Result<bool> {
        self.check_open()?;
        if telephone_event::event_of(tone).is_none() {
            return Err(Error::Protocol {
                problem: format!(
                    "`{}` is no DTMF key: 0 to 9, *, #, A to D are (RFC 4733 §3.2)",
                    tone.escape_default()
                ),
            });
        }
        let Some(agreement) = self.leg().port.agreement() else {
            return Err(Error::WrongState { operation: "send_dtmf", problem: "the session is not negotiated yet" });
        };
        if agreement.telephone_event.is_none() {
            return Ok(false);
        }
        self.keys.try_send(Key { tone, duration }).map_err(|_| {
            engine_fault(format!("{WAITING_KEYS} keys wait to be sent already, or the session is closing"))
        })?;
        Ok(true)
    }

    async fn statistics(&self) -> MediaStatistics {
        let leg = self.leg();
        let mut statistics = leg.totals();
        let before = crate::media::lock(&self.before).clone();
        statistics.packets_sent += before.packets_sent;
        statistics.bytes_sent += before.bytes_sent;
        statistics.packets_received += before.packets_received;
        statistics.bytes_received += before.bytes_received;
        statistics.packets_lost += before.packets_lost;
        statistics.source_heard = self.switches.take_source_heard();
        if !self.closed.load(Ordering::Acquire) {
            let report = leg.peer.get_stats(monotonic_now().into_std(), StatsSelector::None).await;
            let of_ice = report
                .iter_by_type(RTCStatsType::CandidatePair)
                .filter_map(|entry| match entry {
                    RTCStatsReportEntry::IceCandidatePair(pair) if pair.nominated => Some(pair.current_round_trip_time),
                    _ => None,
                })
                .filter(|seconds| seconds.is_finite() && *seconds > 0.0 && *seconds < 3600.0)
                .map(Duration::from_secs_f64)
                .last();
            statistics.round_trip_time = of_ice.or(statistics.round_trip_time);
        }
        statistics
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let leg = self.leg();
        leg.watcher.close();
        crate::media::lock(&self.orders).take();
        if let Some(task) = self.audio_task.lock().await.take() {
            let abort = task.abort_handle();
            if tokio::time::timeout(CLOSING_DEADLINE, task).await.is_err() {
                abort.abort();
            }
        }
        if let Some((leg, _)) = self.descriptions.lock().await.pending.take() {
            leg.retire();
        }
        if let Err(error) = leg.peer.close().await {
            tracing::debug!(%error, "the peer connection did not close cleanly");
        }
    }
}

impl Drop for WebRtcSession {
    fn drop(&mut self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Ends the audio task. The peer connection's own task goes on unless it is closed.
        crate::media::lock(&self.orders).take();
        if let Ok(_runtime) = tokio::runtime::Handle::try_current() {
            if let Some((leg, _)) = self.descriptions.get_mut().pending.take() {
                leg.retire();
            }
            self.leg().retire();
        } else {
            self.leg().watcher.retire();
        }
    }
}
