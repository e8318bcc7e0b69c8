//! Tones: made as WAV files for a peer to play, and measured in what a peer recorded.

use std::f64::consts::TAU;
use std::path::Path;

/// Mono audio at a known rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Samples a second, in Hz.
    pub sample_rate: u32,
    /// Samples, full scale is ±1.
    pub samples: Vec<f32>,
}

impl Audio {
    /// A sine tone of `frequency_hz` with the given peak `amplitude` (full scale is 1) that lasts `seconds`.
    #[must_use]
    pub fn tone(sample_rate: u32, frequency_hz: f64, amplitude: f64, seconds: f64) -> Audio {
        let count = (f64::from(sample_rate) * seconds).round().max(0.0) as usize;
        let step = TAU * frequency_hz / f64::from(sample_rate);
        let samples = (0..count).map(|n| (amplitude * (step * n as f64).sin()) as f32).collect();
        Audio { sample_rate, samples }
    }

    /// Reads a WAV file of any bit depth; several channels are averaged into one.
    ///
    /// # Errors
    /// When the file cannot be read or is no WAV file.
    pub fn read_wav(path: &Path) -> Result<Audio, hound::Error> {
        let mut reader = hound::WavReader::open(path)?;
        let spec = reader.spec();
        let interleaved: Vec<f32> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>()?,
            hound::SampleFormat::Int => {
                let full_scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
                reader.samples::<i32>().map(|s| s.map(|v| v as f32 / full_scale)).collect::<Result<_, _>>()?
            }
        };
        let channels = usize::from(spec.channels.max(1));
        let samples = interleaved.chunks_exact(channels).map(|c| c.iter().sum::<f32>() / channels as f32).collect();
        Ok(Audio { sample_rate: spec.sample_rate, samples })
    }

    /// Writes a 16-bit mono WAV file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_wav(&self, path: &Path) -> Result<(), hound::Error> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.sample_rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec)?;
        for sample in &self.samples {
            writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16)?;
        }
        writer.finalize()
    }

    /// How long it is, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate.max(1))
    }

    /// The part between two points in seconds, cut to what there is.
    #[must_use]
    pub fn between(&self, from_seconds: f64, to_seconds: f64) -> Audio {
        let index = |seconds: f64| ((seconds * f64::from(self.sample_rate)).max(0.0) as usize).min(self.samples.len());
        let (from, to) = (index(from_seconds), index(to_seconds));
        Audio { sample_rate: self.sample_rate, samples: self.samples[from..to.max(from)].to_vec() }
    }

    /// Root mean square level; a sine of amplitude 1 has 0.707, silence 0.
    #[must_use]
    pub fn level(&self) -> f64 {
        if self.samples.is_empty() {
            return 0.0;
        }
        let energy: f64 = self.samples.iter().map(|s| f64::from(*s).powi(2)).sum();
        (energy / self.samples.len() as f64).sqrt()
    }

    /// The amplitude of the tone of `frequency_hz` in it, by the Goertzel algorithm over the whole length: a pure tone
    /// of that frequency yields its own amplitude, anything else close to 0.
    #[must_use]
    pub fn tone_amplitude(&self, frequency_hz: f64) -> f64 {
        if self.samples.is_empty() {
            return 0.0;
        }
        let step = TAU * frequency_hz / f64::from(self.sample_rate);
        let coefficient = 2.0 * step.cos();
        let (mut last, mut last_but_one) = (0.0_f64, 0.0_f64);
        for sample in &self.samples {
            let now = f64::from(*sample) + coefficient * last - last_but_one;
            (last_but_one, last) = (last, now);
        }
        let power = last * last + last_but_one * last_but_one - coefficient * last * last_but_one;
        2.0 * power.max(0.0).sqrt() / self.samples.len() as f64
    }

    /// The strongest tone between `from_hz` and `to_hz`, looked for in steps of 5 Hz: frequency in Hz and amplitude.
    /// `None` for silence.
    #[must_use]
    pub fn strongest_tone(&self, from_hz: f64, to_hz: f64) -> Option<(f64, f64)> {
        const STEP_HZ: f64 = 5.0;
        const SILENCE: f64 = 1e-4;
        let mut best: Option<(f64, f64)> = None;
        let mut frequency_hz = from_hz;
        while frequency_hz <= to_hz {
            let amplitude = self.tone_amplitude(frequency_hz);
            if amplitude > best.map_or(SILENCE, |(_, strongest)| strongest) {
                best = Some((frequency_hz, amplitude));
            }
            frequency_hz += STEP_HZ;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_with_its_frequency_and_amplitude() {
        for frequency_hz in [440.0, 1000.0, 1760.0] {
            let tone = Audio::tone(8000, frequency_hz, 0.5, 1.0);
            let (found, amplitude) = tone.strongest_tone(300.0, 3400.0).unwrap();
            assert_eq!(found, frequency_hz);
            assert!((amplitude - 0.5).abs() < 0.01, "amplitude {amplitude}");
            assert!(tone.tone_amplitude(frequency_hz + 100.0) < 0.01);
            assert!((tone.level() - 0.5 / 2.0_f64.sqrt()).abs() < 0.001);
        }
    }

    #[test]
    fn silence_holds_no_tone() {
        let silence = Audio { sample_rate: 8000, samples: vec![0.0; 8000] };
        assert_eq!(silence.strongest_tone(300.0, 3400.0), None);
        assert_eq!(silence.level(), 0.0);
        assert_eq!(Audio { sample_rate: 8000, samples: Vec::new() }.tone_amplitude(440.0), 0.0);
    }

    #[test]
    fn a_tone_is_found_beside_a_louder_one_that_is_over() {
        let mut audio = Audio::tone(8000, 700.0, 0.9, 1.0);
        audio.samples.extend(Audio::tone(8000, 440.0, 0.3, 1.0).samples);
        assert_eq!(audio.between(0.0, 1.0).strongest_tone(300.0, 3400.0).unwrap().0, 700.0);
        assert_eq!(audio.between(1.0, 9.0).strongest_tone(300.0, 3400.0).unwrap().0, 440.0);
        assert_eq!(audio.between(5.0, 1.0).samples.len(), 0);
    }

    #[test]
    fn a_wav_file_holds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        let tone = Audio::tone(8000, 440.0, 0.5, 0.5);
        tone.write_wav(&path).unwrap();
        let read = Audio::read_wav(&path).unwrap();
        assert_eq!((read.sample_rate, read.samples.len()), (8000, 4000));
        assert!((read.seconds() - 0.5).abs() < 1e-9);
        let worst = tone.samples.iter().zip(&read.samples).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "worst difference {worst}");
    }

    #[test]
    fn channels_are_averaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stereo.wav");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for sample in [16384_i16, 0, -16384, -16384] {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        assert_eq!(Audio::read_wav(&path).unwrap().samples, [0.25, -0.5]);
    }
}
