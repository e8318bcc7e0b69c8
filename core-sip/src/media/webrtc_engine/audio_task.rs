//! The session's clock: one task that plays and sends a frame each 20 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtc::rtp;
use tokio::sync::{mpsc, watch};

use super::monotonic_now;
use super::rtp_port::RtpPort;
use super::session::{Leg, Path};
use crate::media::SessionAudio;
use crate::media::audio::{AudioSink, NullSink};
use crate::media::codec::{Decoder, Encoder};
use crate::media::jitter_buffer::Playout;
use crate::media::sdp_measures::Agreement;
use crate::media::telephone_event::KeySender;
use crate::sip::sdp::Direction;

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
    /// Nothing is to be sent.
    not_sending: AtomicBool,
    /// Nothing is to be played, and silence takes the place of the source.
    holding: AtomicBool,
    /// The source was sent, and it was more than silence, since somebody asked.
    source_sent: AtomicBool,
    source_heard: AtomicBool,
}

/// What a source may give at most and still be taken for silent: below -70 dBFS there is no room with people in it.
const SILENCE_PEAK: u16 = 8;

impl Switches {
    /// Whether the source has given anything since this was asked for last; `None` if it was not sent.
    pub(super) fn take_source_heard(&self) -> Option<bool> {
        let heard = self.source_heard.swap(false, Ordering::Relaxed);
        self.source_sent.swap(false, Ordering::Relaxed).then_some(heard)
    }

    /// Takes note of what the source gave, or puts silence in its place.
    fn look_at(&self, frame: &mut [i16]) {
        if self.muted.load(Ordering::Relaxed) || self.holding.load(Ordering::Relaxed) {
            frame.fill(0);
        } else if !self.not_sending.load(Ordering::Relaxed) {
            self.source_sent.store(true, Ordering::Relaxed);
            if frame.iter().any(|sample| sample.unsigned_abs() > SILENCE_PEAK) {
                self.source_heard.store(true, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn set_direction(&self, direction: Direction) {
        self.not_sending.store(!direction.sends(), Ordering::Relaxed);
        self.holding.store(!direction.receives(), Ordering::Relaxed);
    }
}

/// What the session wants of the task.
pub(super) enum TaskOrder {
    /// Go over to this leg when it is up.
    GoOver(Arc<Leg>),
    /// This is where audio comes from and goes to.
    Audio(SessionAudio),
}

pub(super) struct AudioTask {
    /// The leg that is in use.
    pub(super) leg: Arc<Leg>,
    /// The task ends when the sender is dropped.
    pub(super) orders: mpsc::UnboundedReceiver<TaskOrder>,
    /// `None` until it is opened.
    pub(super) audio: Option<SessionAudio>,
    pub(super) switches: Arc<Switches>,
    pub(super) keys: mpsc::Receiver<Key>,
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

/// Comes back when media can flow.
async fn is_up(path: &mut watch::Receiver<Path>) {
    if path.wait_for(|path| *path == Path::Up).await.is_err() {
        // The leg was closed; it will never be up.
        core::future::pending::<()>().await;
    }
}

impl AudioTask {
    /// Runs until the session drops its end of `orders`.
    pub(super) async fn run(mut self) {
        let mut hearing = Hearing::default();
        let mut path = self.leg.path.clone();
        let mut next: Option<(Arc<Leg>, watch::Receiver<Path>)> = None;
        // Until the first path is up there is nothing to pace.
        let mut sending: Option<Sending> = None;
        let mut due = monotonic_now();
        loop {
            let next_is_up = async {
                match &mut next {
                    Some((_, path)) => is_up(path).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    let leg = match order {
                        Some(TaskOrder::GoOver(leg)) => leg,
                        Some(TaskOrder::Audio(audio)) => {
                            self.audio = Some(audio);
                            continue;
                        }
                        None => break,
                    };
                    let path = leg.path.clone();
                    if let Some((stale, _)) = next.replace((leg, path)) {
                        stale.retire();
                    }
                }
                () = next_is_up => {
                    let Some((leg, its_path)) = next.take() else { continue };
                    std::mem::replace(&mut self.leg, leg).retire();
                    path = its_path;
                    let Some(begun) = self.begin() else { break };
                    if sending.replace(begun).is_none() {
                        due = monotonic_now();
                    }
                }
                () = is_up(&mut path), if sending.is_none() => {
                    let Some(begun) = self.begin() else { break };
                    sending = Some(begun);
                    due = monotonic_now();
                }
                () = self.leg.port.notices.notified() => {
                    for notice in self.leg.port.take_notices() {
                        self.leg.watcher.tell(notice);
                    }
                }
                () = tokio::time::sleep_until(due), if sending.is_some() => {
                    let Some(sending) = &mut sending else { continue };
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
                    let sink: &mut dyn AudioSink = match &mut self.audio {
                        Some(audio) => audio.sink.as_mut(),
                        None => &mut NullSink,
                    };
                    hearing.play_frame(&self.leg.port, sink, sending, &self.switches);
                    self.send_frame(sending).await;
                }
            }
        }
        // The session closes the leg that it negotiated last. One before it, whose successor never came up, is ours.
        if next.is_some() {
            self.leg.retire();
        }
    }

    /// What is to be sent over the leg in use.
    fn begin(&self) -> Option<Sending> {
        self.leg.port.agreement().and_then(|agreement| Sending::new(agreement).ok())
    }

    async fn send_frame(&mut self, sending: &mut Sending) {
        let samples = sending.samples_per_frame();
        let timestamp = self.timestamp;
        self.timestamp = self.timestamp.wrapping_add(samples);
        match &mut self.audio {
            Some(audio) => {
                audio.source.read(&mut sending.frame, sending.agreement.codec.clock_rate_hz());
                self.switches.look_at(&mut sending.frame);
            }
            None => sending.frame.fill(0),
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
        let silent = self.switches.not_sending.load(Ordering::Relaxed);
        if sending.payload.is_empty() || silent || *self.leg.path.borrow() != Path::Up {
            return;
        }
        let header = rtp::header::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.leg.ssrc,
            ..rtp::header::Header::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        let packet = rtp::Packet { header, payload: bytes::Bytes::copy_from_slice(&sending.payload) };
        if let Err(error) = self.leg.track.write_rtp(packet).await {
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
        let silent = switches.speaker_muted.load(Ordering::Relaxed) || switches.holding.load(Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_source_is_told_from_one_that_is_not_sent() {
        let switches = Switches::default();
        let look_at = |samples: [i16; 3]| {
            let mut frame = samples;
            switches.look_at(&mut frame);
            frame
        };
        assert_eq!(switches.take_source_heard(), None, "nobody has looked");
        look_at([0, -8, 8]);
        assert_eq!(switches.take_source_heard(), Some(false));
        look_at([0, i16::MIN, 0]);
        look_at([0, 0, 0]);
        assert_eq!((switches.take_source_heard(), switches.take_source_heard()), (Some(true), None));
        switches.set_direction(Direction::RecvOnly);
        look_at([900, 900, 900]);
        assert_eq!(switches.take_source_heard(), None);
        switches.set_direction(Direction::SendRecv);
        switches.muted.store(true, Ordering::Relaxed);
        assert_eq!(look_at([900, 900, 900]), [0, 0, 0]);
        assert_eq!(switches.take_source_heard(), None);
    }
}
