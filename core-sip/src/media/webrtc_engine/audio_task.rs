//! The session's clock: one task that plays and sends a frame each 20 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtc::rtp;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;

use super::monotonic_now;
use super::rtp_port::RtpPort;
use super::session::{Path, Watcher};
use crate::error::MediaFault;
use crate::media::SessionAudio;
use crate::media::audio::AudioSink;
use crate::media::codec::{Decoder, Encoder};
use crate::media::jitter_buffer::Playout;
use crate::media::sdp_measures::Agreement;
use crate::media::telephone_event::KeySender;

/// The frame that every codec here sends.
pub(super) const FRAME: Duration = Duration::from_millis(20);
/// Frames in a second.
const FRAMES_PER_SECOND: u32 = 50;
/// How far the task may fall behind before it leaves frames out instead of sending them late.
const LONGEST_LAG: Duration = Duration::from_millis(200);
/// Audio between two keys, so that receivers tell them apart (ITU-T Q.24 asks for 40 ms or more).
const FRAMES_BETWEEN_KEYS: u32 = 3;
/// The most jitter-buffer packets that one frame may take: packets of 2.5 ms make eight.
const POPS_PER_FRAME: usize = 16;

/// A key to send.
pub(super) struct Key {
    pub(super) tone: char,
    pub(super) duration: Duration,
}

/// What the task shares with the session.
#[derive(Default)]
pub(super) struct Switches {
    pub(super) muted: AtomicBool,
    pub(super) speaker_muted: AtomicBool,
}

pub(super) struct AudioTask {
    pub(super) port: Arc<RtpPort>,
    pub(super) track: Arc<dyn TrackLocal>,
    pub(super) audio: SessionAudio,
    pub(super) switches: Arc<Switches>,
    pub(super) keys: mpsc::Receiver<Key>,
    pub(super) watcher: Arc<Watcher>,
    /// How far the path is made. The task ends when the sender is dropped.
    pub(super) path: watch::Receiver<Path>,
    /// How long keys may take to be agreed once a path is found.
    pub(super) dtls_deadline: Duration,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

/// What is being sent.
struct Sending {
    agreement: Arc<Agreement>,
    encoder: Encoder,
    frame: Vec<i16>,
    payload: Vec<u8>,
    key: Option<(KeySender, u32)>,
    pause: u32,
    marker: bool,
}

/// What is being heard.
#[derive(Default)]
struct Hearing {
    decoder: Option<Decoder>,
    waiting: Vec<i16>,
    /// What the last packet held, which a missing one is taken to have held as well, in samples.
    packet_samples: usize,
}

impl AudioTask {
    /// Waits until media can flow; `false` if the session ends before.
    async fn wait_for_path(&mut self) -> bool {
        loop {
            let path = *self.path.borrow_and_update();
            let changed = match path {
                Path::Up => return true,
                Path::Missing => self.path.changed().await,
                // The crate says nothing when the handshake fails, as over a wrong fingerprint.
                Path::Found => match tokio::time::timeout(self.dtls_deadline, self.path.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => {
                        self.watcher.fail(MediaFault::DtlsFailed);
                        self.path.changed().await
                    }
                },
            };
            if changed.is_err() {
                return false;
            }
        }
    }

    /// Runs until the session drops its end of `path`.
    pub(super) async fn run(mut self) {
        // Until the path is up there is nothing to pace.
        if !self.wait_for_path().await {
            return;
        }
        let Some(mut sending) = self.port.agreement().and_then(|agreement| Sending::new(agreement).ok()) else {
            return;
        };
        let mut hearing = Hearing::default();
        let mut due = monotonic_now();
        loop {
            tokio::select! {
                biased;
                change = self.path.changed() => if change.is_err() { return },
                () = self.port.notices.notified() => {
                    for notice in self.port.take_notices() {
                        self.watcher.tell(notice);
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    let lag = monotonic_now().saturating_duration_since(due);
                    if lag > LONGEST_LAG {
                        // The process was stopped: what was not sent in time is left out, and the time stamp goes on
                        // as if it had been silence.
                        let missed = u32::try_from(lag.as_millis() / FRAME.as_millis()).unwrap_or(u32::MAX);
                        let samples = sending.samples_per_frame();
                        self.timestamp = self.timestamp.wrapping_add(missed.wrapping_mul(samples));
                        due += FRAME * missed;
                        sending.marker = true;
                    }
                    due += FRAME;
                    hearing.play_frame(&self.port, self.audio.sink.as_mut(), &sending, &self.switches);
                    self.send_frame(&mut sending).await;
                }
            }
        }
    }

    async fn send_frame(&mut self, sending: &mut Sending) {
        let samples = sending.samples_per_frame();
        let timestamp = self.timestamp;
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.audio.source.read(&mut sending.frame, sending.agreement.codec.clock_rate_hz());
        if self.switches.muted.load(Ordering::Relaxed) {
            sending.frame.fill(0);
        }
        sending.start_key(&mut self.keys, timestamp);
        let (payload_type, timestamp, marker) = match &mut sending.key {
            // A key takes the place of audio (RFC 4733 §2.1).
            Some((key, key_timestamp)) => match (key.next_packet(), sending.agreement.telephone_event) {
                (Some(event), Some(payload_type)) => {
                    let key_timestamp = *key_timestamp;
                    sending.payload.clear();
                    sending.payload.extend_from_slice(&event.payload.to_bytes());
                    (payload_type, key_timestamp, event.marker)
                }
                _ => {
                    sending.key = None;
                    sending.pause = FRAMES_BETWEEN_KEYS;
                    sending.encode_frame(timestamp)
                }
            },
            None => sending.encode_frame(timestamp),
        };
        if sending.payload.is_empty() || *self.path.borrow() != Path::Up {
            return;
        }
        let header = rtp::header::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..rtp::header::Header::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        let packet = rtp::Packet { header, payload: bytes::Bytes::copy_from_slice(&sending.payload) };
        if let Err(error) = self.track.write_rtp(packet).await {
            tracing::debug!(%error, "an RTP packet could not be sent");
        }
    }
}

impl Sending {
    fn new(agreement: Arc<Agreement>) -> crate::Result<Self> {
        let samples = agreement.codec.clock_rate_hz() / FRAMES_PER_SECOND;
        Ok(Self {
            encoder: Encoder::new(agreement.codec)?,
            frame: vec![0; usize::try_from(samples).unwrap_or(0)],
            payload: Vec::new(),
            key: None,
            pause: 0,
            // The first packet begins a talk spurt (RFC 3551 §4.1).
            marker: true,
            agreement,
        })
    }

    fn samples_per_frame(&self) -> u32 {
        self.agreement.codec.clock_rate_hz() / FRAMES_PER_SECOND
    }

    fn start_key(&mut self, keys: &mut mpsc::Receiver<Key>, timestamp: u32) {
        if self.key.is_some() {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        if let Ok(key) = keys.try_recv() {
            self.key = KeySender::new(key.tone, key.duration, FRAME).map(|sender| (sender, timestamp));
        }
    }

    fn encode_frame(&mut self, timestamp: u32) -> (u8, u32, bool) {
        self.encoder.encode(&self.frame, &mut self.payload);
        let marker = core::mem::take(&mut self.marker);
        (self.agreement.payload_type, timestamp, marker)
    }
}

impl Hearing {
    fn play_frame(&mut self, port: &RtpPort, sink: &mut dyn AudioSink, sending: &Sending, switches: &Switches) {
        let now = port.time_at(monotonic_now().into_std());
        let codec = self.decoder.as_ref().map_or(sending.agreement.codec, Decoder::codec);
        let mut rate_hz = codec.clock_rate_hz();
        let mut wanted = frame_samples(rate_hz);
        for _ in 0..POPS_PER_FRAME {
            if self.waiting.len() >= wanted {
                break;
            }
            match port.with_jitter_buffer(|buffer| buffer.pop(now)) {
                Playout::Packet(packet) => {
                    let Some(codec) = sending.agreement.codec_of(packet.payload_type) else { continue };
                    if self.decoder.as_ref().is_none_or(|decoder| decoder.codec() != codec) {
                        self.waiting.clear();
                        self.decoder = Decoder::new(codec).ok();
                        rate_hz = codec.clock_rate_hz();
                        wanted = frame_samples(rate_hz);
                    }
                    self.packet_samples = usize::try_from(packet.duration).unwrap_or(wanted);
                    if let Some(decoder) = &mut self.decoder {
                        decoder.decode(&packet.payload, &mut self.waiting);
                    }
                }
                Playout::Missing { next } => {
                    let samples = if self.packet_samples == 0 { wanted } else { self.packet_samples };
                    if let Some(decoder) = &mut self.decoder {
                        let next = next.as_ref().map(|packet| packet.payload.as_ref());
                        decoder.conceal(samples, next, &mut self.waiting);
                    }
                }
                Playout::Silence => {
                    let samples = if self.packet_samples == 0 { wanted } else { self.packet_samples };
                    self.waiting.extend(core::iter::repeat_n(0, samples));
                }
            }
        }
        let silent = switches.speaker_muted.load(Ordering::Relaxed);
        if self.waiting.len() < wanted {
            self.waiting.resize(wanted, 0);
        }
        if silent {
            self.waiting[..wanted].fill(0);
        }
        sink.write(&self.waiting[..wanted], rate_hz);
        self.waiting.drain(..wanted);
    }
}

fn frame_samples(rate_hz: u32) -> usize {
    usize::try_from(rate_hz / FRAMES_PER_SECOND).unwrap_or(0)
}

/// Keys that wait to be sent, in order.
pub(super) const WAITING_KEYS: usize = 64;
