//! Measuring audio: level in dBFS, and how much of one frequency it holds.

use std::sync::Arc;
use std::sync::Mutex;

use super::{AudioSink, lock};

/// What digital silence measures: the level of a signal that is zero throughout, in dBFS.
pub const SILENCE_DBFS: f64 = -120.0;

const FULL_SCALE: f64 = 32_768.0;

/// The level of `samples` as root mean square in dBFS: 0 for a full-scale square wave, -3.01 for a full-scale sine,
/// [`SILENCE_DBFS`] for silence or nothing at all.
#[must_use]
pub fn rms_dbfs(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return SILENCE_DBFS;
    }
    let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    amplitude_dbfs((energy / samples.len() as f64).sqrt() / FULL_SCALE)
}

/// The largest magnitude in `samples`, in dBFS.
#[must_use]
pub fn peak_dbfs(samples: &[i16]) -> f64 {
    let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
    amplitude_dbfs(f64::from(peak) / FULL_SCALE)
}

fn amplitude_dbfs(amplitude: f64) -> f64 {
    if amplitude > 0.0 { (20.0 * amplitude.log10()).max(SILENCE_DBFS) } else { SILENCE_DBFS }
}

/// How much of the energy of `samples` lies at `frequency_hz`, from 0 to 1, by Goertzel's algorithm.
///
/// 1 means that there is nothing but that tone. The band that counts is about `2 × sample_rate_hz / samples.len()`
/// wide (a Hann window is applied, so that a tone between two bins does not leak), so give it 100 ms or more.
#[must_use]
pub fn tone_share(samples: &[i16], sample_rate_hz: u32, frequency_hz: f64) -> f64 {
    if samples.len() < 16 || sample_rate_hz == 0 {
        return 0.0;
    }
    let length = samples.len() as f64;
    let coefficient = 2.0 * (core::f64::consts::TAU * frequency_hz / f64::from(sample_rate_hz)).cos();
    let (mut previous, mut before, mut energy) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (index, &sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (core::f64::consts::TAU * (index as f64 + 0.5) / length).cos();
        let value = f64::from(sample) * window;
        energy += value * value;
        let current = value + coefficient * previous - before;
        before = previous;
        previous = current;
    }
    if energy <= 0.0 {
        return 0.0;
    }
    let power = previous * previous + before * before - coefficient * previous * before;
    // A sine under a Hann window concentrates 2/3 of its energy in the bin at its own frequency.
    (power / (energy * length) * 3.0).clamp(0.0, 1.0)
}

/// The frequency of the strongest tone in `samples` between `lowest_hz` and `highest_hz`, to about 1 Hz, and its
/// [`tone_share`]. `None` if there is nothing but silence.
#[must_use]
pub fn strongest_tone(samples: &[i16], sample_rate_hz: u32, lowest_hz: u32, highest_hz: u32) -> Option<(f64, f64)> {
    (lowest_hz..=highest_hz)
        .map(|hz| (f64::from(hz), tone_share(samples, sample_rate_hz, f64::from(hz))))
        .filter(|(_, share)| *share > 0.0)
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// A sink that measures what it hears and passes nothing on. Its readings come out through [`LevelReading`].
#[derive(Debug)]
pub struct LevelMeter {
    state: Arc<Mutex<LevelState>>,
    window_ms: u32,
}

/// The readings of a [`LevelMeter`], for whoever does not own the meter.
#[derive(Debug, Clone)]
pub struct LevelReading {
    state: Arc<Mutex<LevelState>>,
}

#[derive(Debug, Default)]
struct LevelState {
    window: std::collections::VecDeque<i16>,
    sample_rate_hz: u32,
    samples_heard: u64,
}

impl LevelMeter {
    /// A meter that looks at the last `window_ms` milliseconds (at most 10 s), and where to read it.
    #[must_use]
    pub fn new(window_ms: u32) -> (Self, LevelReading) {
        let state = Arc::new(Mutex::new(LevelState::default()));
        (Self { state: state.clone(), window_ms: window_ms.min(10_000) }, LevelReading { state })
    }
}

impl AudioSink for LevelMeter {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        let mut state = lock(&self.state);
        if state.sample_rate_hz != sample_rate_hz {
            state.sample_rate_hz = sample_rate_hz;
            state.window.clear();
        }
        let capacity = usize::try_from(u64::from(sample_rate_hz) * u64::from(self.window_ms) / 1000).unwrap_or(0);
        state.window.extend(frame);
        let surplus = state.window.len().saturating_sub(capacity);
        state.window.drain(..surplus);
        state.samples_heard = state.samples_heard.saturating_add(frame.len() as u64);
    }
}

impl LevelReading {
    /// The level of the window as root mean square, in dBFS ([`rms_dbfs`]).
    #[must_use]
    pub fn rms_dbfs(&self) -> f64 {
        rms_dbfs(lock(&self.state).window.make_contiguous())
    }

    /// The largest magnitude in the window, in dBFS.
    #[must_use]
    pub fn peak_dbfs(&self) -> f64 {
        peak_dbfs(lock(&self.state).window.make_contiguous())
    }

    /// How much of the window's energy lies at `frequency_hz`, from 0 to 1 ([`tone_share`]).
    #[must_use]
    pub fn tone_share(&self, frequency_hz: f64) -> f64 {
        let mut state = lock(&self.state);
        let rate = state.sample_rate_hz;
        tone_share(state.window.make_contiguous(), rate, frequency_hz)
    }

    /// The samples in the window, and their rate in Hz.
    #[must_use]
    pub fn samples(&self) -> (Vec<i16>, u32) {
        let state = lock(&self.state);
        (state.window.iter().copied().collect(), state.sample_rate_hz)
    }

    /// How many samples were heard since the beginning.
    #[must_use]
    pub fn samples_heard(&self) -> u64 {
        lock(&self.state).samples_heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioSource, Tone};

    fn tone(frequency_hz: f64, amplitude: f64, rate: u32, milliseconds: u32) -> Vec<i16> {
        let mut samples = vec![0; usize::try_from(rate * milliseconds / 1000).unwrap()];
        Tone::new(frequency_hz, amplitude).read(&mut samples, rate);
        samples
    }

    #[test]
    fn levels_of_known_signals() {
        assert!((rms_dbfs(&tone(1000.0, 1.0, 8000, 1000)) + 3.01).abs() < 0.05);
        assert!((rms_dbfs(&tone(440.0, 0.5, 48_000, 1000)) + 9.03).abs() < 0.05);
        assert!((peak_dbfs(&tone(1000.0, 0.5, 48_000, 100)) + 6.02).abs() < 0.05);
        assert!((rms_dbfs(&[i16::MIN; 100])).abs() < 1e-9);
        for silence in [&[][..], &[0; 100][..]] {
            assert_eq!((rms_dbfs(silence), peak_dbfs(silence)), (SILENCE_DBFS, SILENCE_DBFS));
        }
    }

    #[test]
    fn a_tone_is_found_where_it_is_and_nowhere_else() {
        for (hz, rate) in [(440.0, 8000), (443.7, 8000), (1004.0, 48_000), (3400.0, 16_000)] {
            let samples = tone(hz, 0.3, rate, 200);
            assert!(tone_share(&samples, rate, hz) > 0.97, "{hz} Hz: {}", tone_share(&samples, rate, hz));
            assert!(tone_share(&samples, rate, hz * 1.1 + 30.0) < 0.01, "{hz} Hz leaks");
            let (found, _) = strongest_tone(&samples, rate, 300, 3500).unwrap();
            assert!((found - hz).abs() < 1.0, "{hz} Hz found at {found}");
        }
        assert_eq!(strongest_tone(&[0; 800], 8000, 300, 400), None);
    }

    #[test]
    fn two_tones_share_the_energy() {
        let mixed: Vec<i16> =
            tone(440.0, 0.3, 8000, 500).iter().zip(tone(1000.0, 0.3, 8000, 500)).map(|(a, b)| a + b).collect();
        for hz in [440.0, 1000.0] {
            assert!((tone_share(&mixed, 8000, hz) - 0.5).abs() < 0.02);
        }
    }

    #[test]
    fn the_meter_forgets_what_left_its_window() {
        let (mut meter, reading) = LevelMeter::new(100);
        meter.write(&tone(440.0, 0.5, 8000, 300), 8000);
        assert!(reading.rms_dbfs() > -10.0 && reading.tone_share(440.0) > 0.9);
        meter.write(&[0; 800], 8000);
        assert_eq!(reading.rms_dbfs(), SILENCE_DBFS);
        assert_eq!(reading.samples_heard(), 3200);
        meter.write(&tone(440.0, 0.5, 48_000, 20), 48_000);
        assert_eq!(reading.samples().1, 48_000);
    }
}
