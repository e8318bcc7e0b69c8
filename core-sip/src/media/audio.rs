//! Where audio comes from and where it goes: the ports [`AudioSource`] and [`AudioSink`], and simple ones of each.
//!
//! Audio is mono, 16 bits a sample. The rate is whatever the codec of the call wants (8 kHz for G.711, 48 kHz for
//! Opus) and may change within a call, so it comes with every frame. Frames last 20 ms.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use super::resampler::Resampler;

/// Where a session takes its audio from.
///
/// The session asks from its pacing task, once for each 20 ms. An implementation answers at once: it must not block,
/// wait for a device or read a slow file; what it does not have yet is silence.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait AudioSource: Send {
    /// Fills `frame` with the next samples at `sample_rate_hz`. All of it; with zeros where there is nothing to play.
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32);
}

/// Where a session puts what it hears.
///
/// The session writes from its pacing task, once for each 20 ms, silence included, from the moment the media path is
/// up. An implementation takes it at once.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait AudioSink: Send {
    /// Takes the next samples, which have the rate `sample_rate_hz`.
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32);
}

impl<S: AudioSource + ?Sized> AudioSource for Box<S> {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        (**self).read(frame, sample_rate_hz);
    }
}

impl<S: AudioSink + ?Sized> AudioSink for Box<S> {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        (**self).write(frame, sample_rate_hz);
    }
}

/// A source that is silent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silence;

impl AudioSource for Silence {
    fn read(&mut self, frame: &mut [i16], _sample_rate_hz: u32) {
        frame.fill(0);
    }
}

/// A source that plays a sine tone without end, continuous in phase even when the rate changes.
#[derive(Debug, Clone, Copy)]
pub struct Tone {
    frequency_hz: f64,
    amplitude: f64,
    phase_turns: f64,
}

impl Tone {
    /// A tone of `frequency_hz` with a peak of `amplitude` times full scale (0.0 to 1.0).
    #[must_use]
    pub fn new(frequency_hz: f64, amplitude: f64) -> Self {
        Self {
            frequency_hz: if frequency_hz.is_finite() { frequency_hz.max(0.0) } else { 0.0 },
            amplitude: if amplitude.is_finite() { amplitude.clamp(0.0, 1.0) } else { 0.0 },
            phase_turns: 0.0,
        }
    }
}

impl AudioSource for Tone {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        let step = self.frequency_hz / f64::from(sample_rate_hz.max(1));
        for sample in frame {
            *sample = ((self.phase_turns * core::f64::consts::TAU).sin() * self.amplitude * f64::from(i16::MAX)) as i16;
            self.phase_turns = (self.phase_turns + step).fract();
        }
    }
}

/// A sink that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSink;

impl AudioSink for NullSink {
    fn write(&mut self, _frame: &[i16], _sample_rate_hz: u32) {}
}

/// A sink that passes everything on to several others.
#[derive(Default)]
pub struct Tee {
    sinks: Vec<Box<dyn AudioSink>>,
}

impl Tee {
    /// A tee to `sinks`.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn AudioSink>>) -> Self {
        Self { sinks }
    }

    /// The same with one more sink.
    #[must_use]
    pub fn with(mut self, sink: impl AudioSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }
}

impl core::fmt::Debug for Tee {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tee").field("sinks", &self.sinks.len()).finish()
    }
}

impl AudioSink for Tee {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        for sink in &mut self.sinks {
            sink.write(frame, sample_rate_hz);
        }
    }
}

/// The most that an echo holds back; more than that would be a delay that nobody wants.
const ECHO_CAPACITY: Duration = Duration::from_secs(1);

/// An echo: what its sink hears, its source plays back.
///
/// The delay is what the session's clock makes it, one frame as a rule. Where hearing and playing have different rates
/// (a codec for each direction), the audio is resampled.
#[must_use]
pub fn echo() -> (EchoSource, EchoSink) {
    echo_within(ECHO_CAPACITY)
}

/// As [`echo`], holding back no more than `longest`: what is older when the source is not read for a while, or more slowly
/// than the sink is written, is lost instead of a delay that stays.
#[must_use]
pub fn echo_within(longest: Duration) -> (EchoSource, EchoSink) {
    let held = Arc::new(Mutex::new(Held { samples: VecDeque::new(), sample_rate_hz: 8000, longest }));
    (EchoSource { held: held.clone(), resampler: Resampler::default(), scratch: Vec::new() }, EchoSink { held })
}

#[derive(Debug)]
struct Held {
    samples: VecDeque<i16>,
    sample_rate_hz: u32,
    longest: Duration,
}

/// The source of an [`echo`].
#[derive(Debug)]
pub struct EchoSource {
    held: Arc<Mutex<Held>>,
    resampler: Resampler,
    scratch: Vec<i16>,
}

/// The sink of an [`echo`].
#[derive(Debug)]
pub struct EchoSink {
    held: Arc<Mutex<Held>>,
}

impl AudioSource for EchoSource {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        let rate_in = {
            let mut held = lock(&self.held);
            let wanted = self.resampler.input_needed(frame.len(), held.sample_rate_hz, sample_rate_hz);
            let available = wanted.min(held.samples.len());
            self.scratch.clear();
            self.scratch.extend(held.samples.drain(..available));
            self.scratch.resize(wanted, 0);
            held.sample_rate_hz
        };
        self.resampler.process(&self.scratch, rate_in, frame, sample_rate_hz);
    }
}

impl AudioSink for EchoSink {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        let mut held = lock(&self.held);
        if held.sample_rate_hz != sample_rate_hz {
            held.samples.clear();
            held.sample_rate_hz = sample_rate_hz;
        }
        held.samples.extend(frame);
        let capacity = u128::from(sample_rate_hz) * held.longest.as_millis() / 1000;
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let surplus = held.samples.len().saturating_sub(capacity);
        held.samples.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{rms_dbfs, tone_share};

    #[test]
    fn a_tone_keeps_its_phase_across_frames_and_rates() {
        let mut tone = Tone::new(440.0, 0.5);
        let mut joined = Vec::new();
        for _ in 0..25 {
            let mut frame = [0; 160];
            tone.read(&mut frame, 8000);
            joined.extend(frame);
        }
        assert!(tone_share(&joined, 8000, 440.0) > 0.999);
        let last = joined[joined.len() - 1];
        let mut frame = [0; 960];
        tone.read(&mut frame, 48_000);
        let largest_step = 0.5 * 32_767.0 * core::f64::consts::TAU * 440.0 / 8000.0;
        assert!(f64::from((i32::from(frame[0]) - i32::from(last)).abs()) <= largest_step + 1.0);
    }

    #[test]
    fn nonsense_for_a_tone_is_silence() {
        for mut tone in [Tone::new(f64::NAN, 1.0), Tone::new(440.0, f64::INFINITY), Tone::new(-3.0, 0.5)] {
            let mut frame = [7; 160];
            tone.read(&mut frame, 0);
            assert_eq!(frame, [0; 160]);
        }
    }

    #[test]
    fn an_echo_plays_back_what_it_heard_at_the_rate_asked_for() {
        for rate_out in [8000_u32, 48_000] {
            let (mut source, mut sink) = echo();
            let mut tone = Tone::new(1000.0, 0.5);
            let mut heard = Vec::new();
            for _ in 0..50 {
                let mut frame = [0; 160];
                tone.read(&mut frame, 8000);
                sink.write(&frame, 8000);
                let mut played = vec![0; usize::try_from(rate_out / 50).unwrap()];
                source.read(&mut played, rate_out);
                heard.extend(played);
            }
            assert!(tone_share(&heard, rate_out, 1000.0) > 0.95, "at {rate_out}");
            assert!((rms_dbfs(&heard) + 9.0).abs() < 1.0, "at {rate_out}: {}", rms_dbfs(&heard));
        }
    }

    #[test]
    fn an_echo_that_nobody_reads_stays_small() {
        let (source, mut sink) = echo();
        for _ in 0..1000 {
            sink.write(&[1; 960], 48_000);
        }
        assert_eq!(lock(&source.held).samples.len(), 48_000);
        let (mut source, mut sink) = echo_within(Duration::from_millis(160));
        for level in 0..1000 {
            sink.write(&[level; 960], 48_000);
        }
        let mut frame = [0; 960];
        source.read(&mut frame, 48_000);
        assert_eq!((frame[0], lock(&source.held).samples.len()), (992, 7 * 960), "the newest eight frames are held");
    }

    #[test]
    fn a_tee_feeds_all() {
        let (first, first_reading) = crate::media::LevelMeter::new(100);
        let (second, second_reading) = crate::media::LevelMeter::new(100);
        let mut tee = Tee::default().with(first).with(second).with(NullSink);
        tee.write(&[100; 160], 8000);
        assert_eq!((first_reading.samples_heard(), second_reading.samples_heard()), (160, 160));
    }
}
