//! The sound card, by `cpal`: the default microphone and speaker.

use codex_core_sip::error::{Error, Result};
use std::time::Duration;

use codex_core_sip::media::{AudioSink as _, AudioSource as _, EchoSink, EchoSource, echo_within};
use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{
    BufferSize, Device as Card, FromSample, Sample, SampleFormat, SizedSample, Stream, StreamConfig,
    SupportedBufferSize, SupportedStreamConfig,
};

/// The open streams; they end when this is dropped.
pub(crate) struct Device {
    _microphone: Stream,
    _speaker: Stream,
}

/// The most that is held back between the card's clock and the call's: before the call, too, the microphone listens.
const HELD_BACK: Duration = Duration::from_millis(160);

/// Opens microphone and speaker: what is to be sent comes out of the source, what is heard goes into the sink. Both hold
/// back [`HELD_BACK`] at most and change the rate to what the call has.
pub(crate) fn open() -> Result<(Device, EchoSource, EchoSink)> {
    let host = cpal::default_host();
    let microphone = host.default_input_device().ok_or_else(|| failed("microphone", &"there is none"))?;
    let speaker = host.default_output_device().ok_or_else(|| failed("speaker", &"there is none"))?;
    let (source, from_microphone) = echo_within(HELD_BACK);
    let (to_speaker, sink) = echo_within(HELD_BACK);
    let device = Device { _microphone: listen(&microphone, from_microphone)?, _speaker: play(&speaker, to_speaker)? };
    device._microphone.play().map_err(|error| failed("microphone", &error))?;
    device._speaker.play().map_err(|error| failed("speaker", &error))?;
    Ok((device, source, sink))
}

/// How many pieces of sound a second the card is asked for. Some sound servers would hold back two seconds by themselves,
/// which nobody can talk over.
const PIECES_PER_SECOND: u32 = 25;

fn with_short_buffer(supported: &SupportedStreamConfig) -> StreamConfig {
    let mut config = supported.config();
    if let SupportedBufferSize::Range { min, max } = *supported.buffer_size()
        && min <= max
    {
        config.buffer_size = BufferSize::Fixed((config.sample_rate / PIECES_PER_SECOND).clamp(min, max));
    }
    config
}

fn failed(what: &str, problem: &dyn core::fmt::Display) -> Error {
    Error::Audio { device: what.to_owned(), problem: problem.to_string() }
}

fn listen(card: &Card, sink: EchoSink) -> Result<Stream> {
    let supported = card.default_input_config().map_err(|error| failed("microphone", &error))?;
    let config = with_short_buffer(&supported);
    match supported.sample_format() {
        SampleFormat::I16 => input::<i16>(card, config, sink),
        SampleFormat::I32 => input::<i32>(card, config, sink),
        SampleFormat::U16 => input::<u16>(card, config, sink),
        SampleFormat::F32 => input::<f32>(card, config, sink),
        other => Err(failed("microphone", &format!("its samples are {other}, which this program does not know"))),
    }
}

fn play(card: &Card, source: EchoSource) -> Result<Stream> {
    let supported = card.default_output_config().map_err(|error| failed("speaker", &error))?;
    let config = with_short_buffer(&supported);
    match supported.sample_format() {
        SampleFormat::I16 => output::<i16>(card, config, source),
        SampleFormat::I32 => output::<i32>(card, config, source),
        SampleFormat::U16 => output::<u16>(card, config, source),
        SampleFormat::F32 => output::<f32>(card, config, source),
        other => Err(failed("speaker", &format!("its samples are {other}, which this program does not know"))),
    }
}

/// The first channel of the microphone: with several, they hold the same voice.
fn input<T>(card: &Card, config: StreamConfig, mut sink: EchoSink) -> Result<Stream>
where
    T: SizedSample,
    i16: FromSample<T>,
{
    let (channels, rate) = (usize::from(config.channels).max(1), config.sample_rate);
    let mut mono: Vec<i16> = Vec::new();
    card.build_input_stream::<T, _, _>(
        config,
        move |samples, _| {
            mono.clear();
            mono.extend(samples.iter().step_by(channels).map(|sample| i16::from_sample(*sample)));
            sink.write(&mono, rate);
        },
        |error| tracing::warn!(%error, "the microphone"),
        None,
    )
    .map_err(|error| failed("microphone", &error))
}

/// The same on every channel of the speaker.
fn output<T>(card: &Card, config: StreamConfig, mut source: EchoSource) -> Result<Stream>
where
    T: SizedSample + FromSample<i16>,
{
    let (channels, rate) = (usize::from(config.channels).max(1), config.sample_rate);
    let mut mono: Vec<i16> = Vec::new();
    card.build_output_stream::<T, _, _>(
        config,
        move |samples, _| {
            mono.resize(samples.len() / channels, 0);
            source.read(&mut mono, rate);
            for (frame, sample) in samples.chunks_mut(channels).zip(&mono) {
                frame.fill(T::from_sample(*sample));
            }
        },
        |error| tracing::warn!(%error, "the speaker"),
        None,
    )
    .map_err(|error| failed("speaker", &error))
}
