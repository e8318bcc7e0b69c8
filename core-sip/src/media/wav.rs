//! WAV files as source and sink.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::audio::{AudioSink, AudioSource};
use super::resampler::Resampler;
use crate::error::{Error, Result};

/// The longest WAV that is read into memory, in samples: half an hour of 48 kHz mono.
const LONGEST_WAV_SAMPLES: usize = 48_000 * 60 * 30;

/// How much a recorder writes before it brings the file's header up to date, in samples.
const RECORDER_FLUSH_SAMPLES: u32 = 48_000;

/// A source that plays a WAV file: any rate, 16 bits, mono or stereo (mixed down).
///
/// The file is read whole when the source is made, so that playing never waits for a disk.
#[derive(Debug, Clone)]
pub struct WavSource {
    samples: std::sync::Arc<[i16]>,
    sample_rate_hz: u32,
    position: usize,
    repeat: bool,
    resampler: Resampler,
    scratch: Vec<i16>,
}

impl WavSource {
    /// Reads the file at `path`. When it ends it starts again if `repeat`, else silence follows.
    ///
    /// # Errors
    ///
    /// [`Error::Audio`] if the file cannot be read, is not a WAV of 16-bit integers with one or two channels, is empty
    /// or is longer than half an hour of 48 kHz.
    pub fn open(path: impl AsRef<Path>, repeat: bool) -> Result<Self> {
        let path = path.as_ref();
        let audio = |problem: String| Error::Audio { device: format!("source {}", path.display()), problem };
        let mut reader = hound::WavReader::open(path).map_err(|error| audio(error.to_string()))?;
        let spec = reader.spec();
        if spec.sample_format != hound::SampleFormat::Int
            || spec.bits_per_sample != 16
            || !(1..=2).contains(&spec.channels)
            || spec.sample_rate == 0
        {
            return Err(audio(format!(
                "{} bits, {} channels, {:?} samples; it must be 16-bit integers, mono or stereo (try `sox in.wav -b 16 -c 1 out.wav`)",
                spec.bits_per_sample, spec.channels, spec.sample_format
            )));
        }
        if usize::try_from(reader.duration()).unwrap_or(usize::MAX) > LONGEST_WAV_SAMPLES {
            return Err(audio(format!("longer than {LONGEST_WAV_SAMPLES} samples")));
        }
        let raw = reader.samples::<i16>().collect::<core::result::Result<Vec<_>, _>>();
        let raw = raw.map_err(|error| audio(error.to_string()))?;
        let samples: std::sync::Arc<[i16]> = match spec.channels {
            1 => raw.into(),
            _ => raw
                .chunks_exact(2)
                .map(|pair| i16::try_from((i32::from(pair[0]) + i32::from(pair[1])) / 2).unwrap_or_default())
                .collect(),
        };
        if samples.is_empty() {
            return Err(audio("it holds no audio".to_owned()));
        }
        Ok(Self {
            samples,
            sample_rate_hz: spec.sample_rate,
            position: 0,
            repeat,
            resampler: Resampler::default(),
            scratch: Vec::new(),
        })
    }
}

impl AudioSource for WavSource {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        let wanted = self.resampler.input_needed(frame.len(), self.sample_rate_hz, sample_rate_hz);
        self.scratch.clear();
        while self.scratch.len() < wanted {
            if self.position >= self.samples.len() {
                if !self.repeat {
                    self.scratch.resize(wanted, 0);
                    break;
                }
                self.position = 0;
            }
            let end = self.samples.len().min(self.position + wanted - self.scratch.len());
            self.scratch.extend_from_slice(&self.samples[self.position..end]);
            self.position = end;
        }
        self.resampler.process(&self.scratch, self.sample_rate_hz, frame, sample_rate_hz);
    }
}

/// A sink that records into a WAV file, mono, 16 bits.
///
/// The header is brought up to date about every second and when the recorder is dropped: what was recorded can be
/// played even if the process dies. The file has one rate, the one given; what comes at another is resampled. A disk
/// that fails stops the recording, not the call, and is reported once through `tracing`.
pub struct WavRecorder {
    writer: Option<hound::WavWriter<BufWriter<File>>>,
    sample_rate_hz: u32,
    unflushed_samples: u32,
    resampler: Resampler,
    scratch: Vec<i16>,
}

impl core::fmt::Debug for WavRecorder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WavRecorder")
            .field("sample_rate_hz", &self.sample_rate_hz)
            .field("recording", &self.writer.is_some())
            .finish_non_exhaustive()
    }
}

impl WavRecorder {
    /// Creates the file at `path`, replacing what was there, to record at `sample_rate_hz`.
    ///
    /// # Errors
    ///
    /// [`Error::Audio`] if the file cannot be written or the rate is 0.
    pub fn create(path: impl AsRef<Path>, sample_rate_hz: u32) -> Result<Self> {
        let path = path.as_ref();
        let audio = |problem: String| Error::Audio { device: format!("recorder {}", path.display()), problem };
        if sample_rate_hz == 0 {
            return Err(audio("the sample rate is 0".to_owned()));
        }
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: sample_rate_hz,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).map_err(|error| audio(error.to_string()))?;
        writer.flush().map_err(|error| audio(error.to_string()))?;
        Ok(Self {
            writer: Some(writer),
            sample_rate_hz,
            unflushed_samples: 0,
            resampler: Resampler::default(),
            scratch: Vec::new(),
        })
    }

    fn record(&mut self) -> core::result::Result<(), hound::Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for &sample in &self.scratch {
            writer.write_sample(sample)?;
        }
        self.unflushed_samples =
            self.unflushed_samples.saturating_add(u32::try_from(self.scratch.len()).unwrap_or(u32::MAX));
        if self.unflushed_samples >= self.sample_rate_hz.min(RECORDER_FLUSH_SAMPLES) {
            self.unflushed_samples = 0;
            writer.flush()?;
        }
        Ok(())
    }
}

impl AudioSink for WavRecorder {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        if self.writer.is_none() || sample_rate_hz == 0 {
            return;
        }
        if sample_rate_hz == self.sample_rate_hz {
            self.scratch.clear();
            self.scratch.extend_from_slice(frame);
        } else {
            let length = frame.len() as u64 * u64::from(self.sample_rate_hz) / u64::from(sample_rate_hz);
            self.scratch.resize(usize::try_from(length).unwrap_or(0), 0);
            self.resampler.process(frame, sample_rate_hz, &mut self.scratch, self.sample_rate_hz);
        }
        if let Err(error) = self.record() {
            tracing::warn!(%error, "recording stopped: the WAV file cannot be written");
            self.writer = None;
        }
    }
}

impl Drop for WavRecorder {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.finalize()
        {
            tracing::warn!(%error, "the WAV file could not be completed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Tone, rms_dbfs, tone_share};

    /// A file of its own for each test, gone afterwards.
    struct TemporaryFile(std::path::PathBuf);

    impl TemporaryFile {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("codex-core-sip-{}-{name}.wav", std::process::id())))
        }
    }

    impl Drop for TemporaryFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn record_tone(path: &Path, file_rate: u32, frame_rate: u32, frames: usize) -> WavRecorder {
        let mut recorder = WavRecorder::create(path, file_rate).unwrap();
        let mut tone = Tone::new(440.0, 0.5);
        let mut frame = vec![0; usize::try_from(frame_rate / 50).unwrap()];
        for _ in 0..frames {
            tone.read(&mut frame, frame_rate);
            recorder.write(&frame, frame_rate);
        }
        recorder
    }

    #[test]
    fn what_was_recorded_plays_back_at_any_rate() {
        for (file_rate, frame_rate) in [(8000, 8000), (16_000, 48_000), (48_000, 8000)] {
            let file = TemporaryFile::new(&format!("round-{file_rate}-{frame_rate}"));
            drop(record_tone(&file.0, file_rate, frame_rate, 50));
            for rate in [8000_u32, 48_000] {
                let mut source = WavSource::open(&file.0, false).unwrap();
                let mut samples = vec![0; usize::try_from(rate / 2).unwrap()];
                source.read(&mut samples, rate);
                assert!(tone_share(&samples, rate, 440.0) > 0.97, "{file_rate}, {frame_rate}, {rate}");
                assert!((rms_dbfs(&samples) + 9.03).abs() < 0.7, "{file_rate}, {frame_rate}, {rate}");
            }
        }
    }

    #[test]
    fn the_header_is_right_while_the_recorder_still_lives() {
        let file = TemporaryFile::new("alive");
        let recorder = record_tone(&file.0, 8000, 8000, 150);
        let reader = hound::WavReader::open(&file.0).unwrap();
        assert!(reader.duration() >= 16_000, "{} samples", reader.duration());
        drop(recorder);
        assert_eq!(hound::WavReader::open(&file.0).unwrap().duration(), 24_000);
    }

    #[test]
    fn a_source_ends_in_silence_or_starts_again() {
        let file = TemporaryFile::new("end");
        drop(record_tone(&file.0, 8000, 8000, 5));
        let mut second = [0; 8000];
        WavSource::open(&file.0, false).unwrap().read(&mut second, 8000);
        assert!(second[..800].iter().any(|&s| s != 0) && second[800..].iter().all(|&s| s == 0));
        WavSource::open(&file.0, true).unwrap().read(&mut second, 8000);
        assert!(rms_dbfs(&second[7000..]) > -12.0);
    }

    #[test]
    fn stereo_is_mixed_down() {
        let file = TemporaryFile::new("stereo");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&file.0, spec).unwrap();
        for _ in 0..800 {
            writer.write_sample(1000_i16).unwrap();
            writer.write_sample(-500_i16).unwrap();
        }
        writer.finalize().unwrap();
        let mut frame = [0; 160];
        WavSource::open(&file.0, false).unwrap().read(&mut frame, 8000);
        assert_eq!(frame, [250; 160]);
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let file = TemporaryFile::new("bad");
        std::fs::write(&file.0, b"not a wav").unwrap();
        let missing = std::env::temp_dir().join("codex-core-sip-there-is-no-such-file.wav");
        for path in [&file.0, &missing] {
            let error = WavSource::open(path, false).unwrap_err();
            assert!(matches!(&error, Error::Audio { device, .. } if device.contains("codex-core-sip")), "{error}");
        }
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(&file.0, spec).unwrap();
        writer.write_sample(0.5_f32).unwrap();
        writer.finalize().unwrap();
        assert!(WavSource::open(&file.0, false).unwrap_err().to_string().contains("16-bit"));
    }
}
