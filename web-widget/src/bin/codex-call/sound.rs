//! What is sent and what is heard.

use std::sync::{Arc, Mutex, PoisonError};

use codex_core_sip::error::Result;
use codex_core_sip::media::{
    AudioSink, AudioSource, LevelMeter, LevelReading, SessionAudio, Silence, Tee, Tone, WavRecorder, WavSource,
    WebRtcEngine, rms_dbfs,
};

use crate::arguments::Arguments;

/// How loud a tone is, as a share of full scale.
const TONE_AMPLITUDE: f64 = 0.5;
/// What the meters look at.
const METER_WINDOW_MS: u32 = 300;
/// The rate of recordings: that of Opus, so that nothing is lost.
const RECORDING_RATE_HZ: u32 = 48_000;
/// Louder than this is sound; the idle noise of codecs stays below.
pub(crate) const SOUND_DBFS: f64 = -50.0;
/// The least that counts as something heard, in milliseconds.
pub(crate) const HEARD_MS: u64 = 100;

/// The audio of all sessions of one run: a second session (the network changed) goes on where the first one was.
pub(crate) struct Sound {
    source: Shared<Box<dyn AudioSource>>,
    sink: Shared<Tee>,
    pub(crate) sent: LevelReading,
    pub(crate) heard: LevelReading,
    loud: Arc<Mutex<Loud>>,
    #[cfg(feature = "audio-device")]
    _device: Option<crate::device::Device>,
}

/// What was heard so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loud {
    /// Sound in milliseconds: frames louder than [`SOUND_DBFS`].
    pub(crate) milliseconds: u64,
    /// The loudest frame.
    pub(crate) loudest_dbfs: f64,
}

struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }
}

impl<T: AudioSource> AudioSource for Shared<T> {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(frame, sample_rate_hz);
    }
}

impl<T: AudioSink> AudioSink for Shared<T> {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(frame, sample_rate_hz);
    }
}

/// A source whose level is measured.
struct Metered {
    source: Box<dyn AudioSource>,
    meter: LevelMeter,
}

impl AudioSource for Metered {
    fn read(&mut self, frame: &mut [i16], sample_rate_hz: u32) {
        self.source.read(frame, sample_rate_hz);
        self.meter.write(frame, sample_rate_hz);
    }
}

struct LoudSink(Arc<Mutex<Loud>>);

impl AudioSink for LoudSink {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        let level = rms_dbfs(frame);
        let mut loud = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loud.loudest_dbfs = loud.loudest_dbfs.max(level);
        if level > SOUND_DBFS {
            loud.milliseconds += 1000 * frame.len() as u64 / u64::from(sample_rate_hz.max(1));
        }
    }
}

impl Sound {
    /// Opens files and devices.
    pub(crate) fn open(arguments: &Arguments) -> Result<Self> {
        #[cfg(feature = "audio-device")]
        if arguments.mic {
            let (device, source, speaker) = crate::device::open()?;
            let mut sound = Self::with(Box::new(source), arguments.record.as_deref(), Some(Box::new(speaker)))?;
            sound._device = Some(device);
            return Ok(sound);
        }
        #[cfg(not(feature = "audio-device"))]
        if arguments.mic {
            return Err(codex_core_sip::Error::Audio {
                device: "sound card".to_owned(),
                problem: "this program was built without it; build it with `--features audio-device` (Debian: libasound2-dev), or use --say or --tone".to_owned(),
            });
        }
        let source: Box<dyn AudioSource> = match (&arguments.say, arguments.tone) {
            (Some(file), _) => Box::new(WavSource::open(file, false)?),
            (None, Some(hz)) => Box::new(Tone::new(hz, TONE_AMPLITUDE)),
            (None, None) => Box::new(Silence),
        };
        Self::with(source, arguments.record.as_deref(), None)
    }

    /// A tone, for the doctor's call.
    pub(crate) fn tone(hz: f64) -> Result<Self> {
        Self::with(Box::new(Tone::new(hz, TONE_AMPLITUDE)), None, None)
    }

    fn with(
        source: Box<dyn AudioSource>,
        record: Option<&std::path::Path>,
        speaker: Option<Box<dyn AudioSink>>,
    ) -> Result<Self> {
        let (sent_meter, sent) = LevelMeter::new(METER_WINDOW_MS);
        let (heard_meter, heard) = LevelMeter::new(METER_WINDOW_MS);
        let loud = Arc::new(Mutex::new(Loud { milliseconds: 0, loudest_dbfs: codex_core_sip::media::SILENCE_DBFS }));
        let mut sink = Tee::default().with(heard_meter).with(LoudSink(Arc::clone(&loud)));
        if let Some(file) = record {
            sink = sink.with(WavRecorder::create(file, RECORDING_RATE_HZ)?);
        }
        if let Some(speaker) = speaker {
            sink = sink.with(speaker);
        }
        Ok(Self {
            source: Shared::new(Box::new(Metered { source, meter: sent_meter })),
            sink: Shared::new(sink),
            sent,
            heard,
            loud,
            #[cfg(feature = "audio-device")]
            _device: None,
        })
    }

    /// The engine whose sessions sound like this.
    pub(crate) fn engine(&self) -> WebRtcEngine {
        let (source, sink) = (self.source.clone(), self.sink.clone());
        WebRtcEngine::builder().audio(move || Ok(SessionAudio::new(source.clone(), sink.clone()))).build()
    }

    /// What was heard so far.
    pub(crate) fn loud(&self) -> Loud {
        *self.loud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the recording.
    pub(crate) fn close(self) {
        *self.sink.0.lock().unwrap_or_else(PoisonError::into_inner) = Tee::default();
    }
}
