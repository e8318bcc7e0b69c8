//! Encoding and decoding of audio frames.
//!
//! Opus comes from the crate `ropus`, a port of libopus' fixed-point code, for these reasons. It is Rust with hardly any
//! `unsafe` (bounds checks left out in a few inner loops) where `unsafe-libopus` is nothing else and `opus-rs` has some
//! hundreds of such lines. Its packets were decoded alike by the other two and theirs by it. It spends fewer bits than
//! `opus-rs` on the same tone (it honours the variable bit rate), conceals lost packets, and took a million damaged
//! packets without a panic.

use ropus::{Application, Bitrate, Channels, DecodeMode};

use super::g711;
use super::sdp_measures::AudioCodec;
use crate::error::{Error, MediaFault, Result};

/// What Opus is encoded with, in bits a second: full-band speech without audible loss.
const OPUS_BITRATE: u32 = 32_000;
/// The encoder's effort, 0 to 10: what browsers use for speech on small machines.
const OPUS_COMPLEXITY: u8 = 5;
/// The longest Opus packet that is written (RFC 6716 §3.2.1 allows 1275 bytes a frame).
const OPUS_PACKET_BYTES: usize = 1275;
/// The most audio that one packet may hold: 120 ms (RFC 6716 §3.2.5), at 48 kHz.
const LONGEST_PACKET_SAMPLES: usize = 5760;
/// How much quieter each concealed 20 ms of G.711 is than the one before.
const FADE: f64 = 0.6;

fn engine(problem: impl core::fmt::Display) -> Error {
    Error::Media { fault: MediaFault::Engine(format!("Opus: {problem}")) }
}

/// How much audio a payload holds, in units of the codec's clock; `None` if it is no payload of that codec.
pub(crate) fn payload_duration(codec: AudioCodec, payload: &[u8]) -> Option<u32> {
    let samples = match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => payload.len(),
        AudioCodec::Opus => opus_duration(payload)?,
    };
    (1..=LONGEST_PACKET_SAMPLES).contains(&samples).then(|| u32::try_from(samples).ok()).flatten()
}

/// Samples at 48 kHz that an Opus packet holds, from its table-of-contents octet (RFC 6716 §3.1).
fn opus_duration(packet: &[u8]) -> Option<usize> {
    let toc = *packet.first()?;
    let configuration = toc >> 3;
    let frame = match configuration {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1920, 2880][usize::from(configuration % 4)],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][usize::from(configuration % 2)],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][usize::from(configuration % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3F),
    };
    Some(frame * frames)
}

/// An encoder of 20 ms frames.
pub(crate) enum Encoder {
    Opus(Box<ropus::Encoder>),
    Pcmu,
    Pcma,
}

impl Encoder {
    pub(crate) fn new(codec: AudioCodec) -> Result<Self> {
        Ok(match codec {
            AudioCodec::Opus => Self::Opus(Box::new(
                ropus::Encoder::builder(codec.clock_rate_hz(), Channels::Mono, Application::Voip)
                    .bitrate(Bitrate::Bits(OPUS_BITRATE))
                    .complexity(OPUS_COMPLEXITY)
                    .build()
                    .map_err(|error| engine(format!("{error:?}")))?,
            )),
            AudioCodec::Pcmu => Self::Pcmu,
            AudioCodec::Pcma => Self::Pcma,
        })
    }

    /// Encodes one frame into `payload`, which is emptied first. Empty afterwards if the codec failed.
    pub(crate) fn encode(&mut self, frame: &[i16], payload: &mut Vec<u8>) {
        payload.clear();
        match self {
            Self::Pcmu => payload.extend(frame.iter().map(|&sample| g711::mu_law_encode(sample))),
            Self::Pcma => payload.extend(frame.iter().map(|&sample| g711::a_law_encode(sample))),
            Self::Opus(encoder) => {
                payload.resize(OPUS_PACKET_BYTES, 0);
                let written = encoder.encode(frame, payload).unwrap_or(0);
                payload.truncate(written);
            }
        }
    }
}

/// A decoder with concealment of lost packets.
pub(crate) struct Decoder {
    codec: AudioCodec,
    opus: Option<Box<ropus::Decoder>>,
    scratch: Vec<i16>,
    /// The last audio decoded, which G.711 repeats, fading, where a packet is missing.
    last: Vec<i16>,
    fade: f64,
}

impl Decoder {
    pub(crate) fn new(codec: AudioCodec) -> Result<Self> {
        let opus = match codec {
            AudioCodec::Opus => Some(Box::new(
                ropus::Decoder::new(codec.clock_rate_hz(), Channels::Mono)
                    .map_err(|error| engine(format!("{error:?}")))?,
            )),
            AudioCodec::Pcmu | AudioCodec::Pcma => None,
        };
        Ok(Self { codec, opus, scratch: vec![0; LONGEST_PACKET_SAMPLES], last: Vec::new(), fade: 1.0 })
    }

    pub(crate) fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Decodes a payload and appends its audio. What cannot be decoded is concealed.
    pub(crate) fn decode(&mut self, payload: &[u8], audio: &mut Vec<i16>) {
        let start = audio.len();
        match (&mut self.opus, self.codec) {
            (Some(opus), _) => match opus.decode(payload, &mut self.scratch, DecodeMode::Normal) {
                Ok(samples) => audio.extend(self.scratch.iter().take(samples)),
                Err(_) => {
                    let samples = payload_duration(self.codec, payload).unwrap_or(960);
                    self.conceal(usize::try_from(samples).unwrap_or(960), None, audio);
                    return;
                }
            },
            (None, AudioCodec::Pcma) => audio.extend(payload.iter().map(|&code| g711::a_law_decode(code))),
            (None, _) => audio.extend(payload.iter().map(|&code| g711::mu_law_decode(code))),
        }
        self.fade = 1.0;
        self.last.clear();
        self.last.extend_from_slice(&audio[start..]);
    }

    /// Appends `samples` of audio in place of a packet that is missing. `next` is the payload after it, which in Opus
    /// may hold a copy of the missing one (in-band forward error correction).
    pub(crate) fn conceal(&mut self, samples: usize, next: Option<&[u8]>, audio: &mut Vec<i16>) {
        let samples = samples.min(LONGEST_PACKET_SAMPLES);
        if let Some(opus) = &mut self.opus {
            let output = &mut self.scratch[..samples];
            let decoded = match next {
                Some(payload) => opus.decode(payload, output, DecodeMode::Fec),
                None => opus.decode(&[], output, DecodeMode::Normal),
            };
            match decoded {
                Ok(count) => audio.extend(self.scratch.iter().take(count.min(samples))),
                Err(_) => audio.extend(core::iter::repeat_n(0, samples)),
            }
            return;
        }
        if self.last.is_empty() {
            audio.extend(core::iter::repeat_n(0, samples));
            return;
        }
        let (from, to) = (self.fade, self.fade * FADE);
        for (index, &sample) in self.last.iter().cycle().take(samples).enumerate() {
            let gain = from + (to - from) * index as f64 / samples as f64;
            audio.push((f64::from(sample) * gain) as i16);
        }
        self.fade = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioSource, Tone, rms_dbfs, strongest_tone, tone_share};
    use crate::random::{Random, SeededRandom};

    fn encoded_tone(codec: AudioCodec, frames: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(codec).unwrap();
        let mut tone = Tone::new(440.0, 0.5);
        let mut frame = vec![0; usize::try_from(codec.clock_rate_hz() / 50).unwrap()];
        (0..frames)
            .map(|_| {
                tone.read(&mut frame, codec.clock_rate_hz());
                let mut payload = Vec::new();
                encoder.encode(&frame, &mut payload);
                payload
            })
            .collect()
    }

    #[test]
    fn a_tone_keeps_frequency_and_level_through_every_codec() {
        for codec in AudioCodec::ALL {
            let mut decoder = Decoder::new(codec).unwrap();
            let mut audio = Vec::new();
            for payload in encoded_tone(codec, 50) {
                assert_eq!(payload_duration(codec, &payload), Some(codec.clock_rate_hz() / 50), "{codec}");
                decoder.decode(&payload, &mut audio);
            }
            let rate = codec.clock_rate_hz();
            let settled = &audio[audio.len() / 5..];
            let (frequency, share) = strongest_tone(settled, rate, 300, 600).unwrap();
            assert!((frequency - 440.0).abs() < 1.5 && share > 0.9, "{codec}: {frequency} Hz, {share}");
            assert!((rms_dbfs(settled) + 9.03).abs() < 1.0, "{codec}: {} dBFS", rms_dbfs(settled));
        }
    }

    #[test]
    fn a_lost_packet_is_concealed_and_long_loss_fades() {
        for codec in AudioCodec::ALL {
            let frame = usize::try_from(codec.clock_rate_hz() / 50).unwrap();
            let mut decoder = Decoder::new(codec).unwrap();
            let mut audio = Vec::new();
            for payload in encoded_tone(codec, 20) {
                decoder.decode(&payload, &mut audio);
            }
            let mut concealed = Vec::new();
            for _ in 0..10 {
                decoder.conceal(frame, None, &mut concealed);
            }
            assert_eq!(concealed.len(), 10 * frame, "{codec}");
            assert!(rms_dbfs(&concealed[..frame]) > -20.0, "{codec}: {}", rms_dbfs(&concealed[..frame]));
            let end = rms_dbfs(&concealed[9 * frame..]);
            assert!(end < -25.0, "{codec}: {end} dBFS after 200 ms");
        }
    }

    #[test]
    fn one_lost_packet_in_ten_leaves_the_tone() {
        for codec in AudioCodec::ALL {
            let frame = usize::try_from(codec.clock_rate_hz() / 50).unwrap();
            let payloads = encoded_tone(codec, 100);
            let mut decoder = Decoder::new(codec).unwrap();
            let mut audio = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                if index % 10 == 7 {
                    decoder.conceal(frame, payloads.get(index + 1).map(Vec::as_slice), &mut audio);
                } else {
                    decoder.decode(payload, &mut audio);
                }
            }
            let share = tone_share(&audio[frame * 10..], codec.clock_rate_hz(), 440.0);
            assert!(share > 0.8, "{codec}: {share}");
        }
    }

    #[test]
    fn durations_of_opus_packets() {
        // RFC 6716 table 2 and §3.2.
        let cases: [(&[u8], Option<u32>); 9] = [
            (&[0x08, 1], Some(960)),
            (&[0x18, 1], Some(2880)),
            (&[0x78, 1], Some(960)),
            (&[0xE0, 1], Some(120)),
            (&[0xF9, 1], Some(1920)),
            (&[0xFB, 3, 0], Some(2880)),
            (&[0xFB, 0x3F, 0], None),
            (&[0xFB], None),
            (&[], None),
        ];
        for (packet, duration) in cases {
            assert_eq!(payload_duration(AudioCodec::Opus, packet), duration, "{packet:?}");
        }
        assert_eq!(payload_duration(AudioCodec::Pcmu, &[0; 240]), Some(240));
        assert_eq!(payload_duration(AudioCodec::Pcma, &[]), None);
    }

    #[test]
    fn damaged_packets_neither_panic_nor_grow() {
        let mut random = SeededRandom::new(3);
        let good = encoded_tone(AudioCodec::Opus, 20);
        let mut decoder = Decoder::new(AudioCodec::Opus).unwrap();
        for round in 0..3000_u64 {
            let mut packet = good[usize::try_from(random.below(20)).unwrap()].clone();
            if round % 2 == 0 {
                packet = vec![0; usize::try_from(random.below(200)).unwrap()];
                random.fill(&mut packet);
            } else {
                let at = usize::try_from(random.below(packet.len() as u64)).unwrap();
                packet[at] ^= 0xFF;
            }
            let mut audio = Vec::new();
            match round % 5 {
                0 => decoder.conceal(960, Some(&packet), &mut audio),
                _ => decoder.decode(&packet, &mut audio),
            }
            assert!(audio.len() <= LONGEST_PACKET_SAMPLES);
        }
    }
}
