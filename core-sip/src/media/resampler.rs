//! Changing the sample rate of a stream, simply.
//!
//! Upwards by linear interpolation, downwards with a moving average over the samples that fall away, which is enough
//! for speech and test tones; where high fidelity matters, give the session audio at the codec's own rate.

/// A resampler of one stream. It keeps its position between frames, so that frames join without clicks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resampler {
    /// The last input sample of the frame before.
    previous: f64,
    /// Where the next output sample lies between `previous` (0.0) and the first sample of the next input (1.0), in
    /// input samples.
    position: f64,
    rates: (u32, u32),
}

impl Resampler {
    /// How many input samples [`Self::process`] will use for `output_len` output samples.
    pub(crate) fn input_needed(&mut self, output_len: usize, rate_in_hz: u32, rate_out_hz: u32) -> usize {
        self.retune(rate_in_hz, rate_out_hz);
        if rate_in_hz == rate_out_hz {
            return output_len;
        }
        (self.position + self.step() * output_len as f64).floor() as usize
    }

    /// Resamples `input` into `output`. `input` should hold [`Self::input_needed`] samples; missing ones are taken for
    /// the last one.
    pub(crate) fn process(&mut self, input: &[i16], rate_in_hz: u32, output: &mut [i16], rate_out_hz: u32) {
        self.retune(rate_in_hz, rate_out_hz);
        if rate_in_hz == rate_out_hz {
            let count = input.len().min(output.len());
            output[..count].copy_from_slice(&input[..count]);
            output[count..].fill(0);
            self.previous = f64::from(input.last().copied().unwrap_or(0));
            return;
        }
        let step = self.step();
        let last = f64::from(input.last().copied().unwrap_or(0));
        let previous = self.previous;
        // Index 0 is the last sample of the frame before; index n is `input[n - 1]`.
        let at = |index: usize| match index {
            0 => previous,
            n => input.get(n - 1).map_or(last, |&s| f64::from(s)),
        };
        for sample in output.iter_mut() {
            let index = self.position.floor() as usize;
            let value = if step > 1.0 {
                // Downwards: average what one output sample stands for, against aliasing.
                let count = (step.ceil() as usize).max(1);
                (1..=count).map(|n| at(index + n)).sum::<f64>() / count as f64
            } else {
                let share = self.position - self.position.floor();
                at(index) * (1.0 - share) + at(index + 1) * share
            };
            *sample = value.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
            self.position += step;
        }
        self.position = (self.position - input.len() as f64).max(0.0);
        self.previous = last;
    }

    fn step(&self) -> f64 {
        f64::from(self.rates.0.max(1)) / f64::from(self.rates.1.max(1))
    }

    fn retune(&mut self, rate_in_hz: u32, rate_out_hz: u32) {
        if self.rates != (rate_in_hz, rate_out_hz) {
            self.rates = (rate_in_hz, rate_out_hz);
            self.position = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{AudioSource, Tone, rms_dbfs, tone_share};

    #[test]
    fn a_tone_survives_every_pair_of_rates() {
        for rate_in in [8000_u32, 11_025, 16_000, 44_100, 48_000] {
            for rate_out in [8000_u32, 16_000, 48_000] {
                let mut tone = Tone::new(440.0, 0.5);
                let mut resampler = Resampler::default();
                let mut heard = Vec::new();
                for _ in 0..50 {
                    let mut output = vec![0; usize::try_from(rate_out / 50).unwrap()];
                    let mut input = vec![0; resampler.input_needed(output.len(), rate_in, rate_out)];
                    tone.read(&mut input, rate_in);
                    resampler.process(&input, rate_in, &mut output, rate_out);
                    heard.extend(output);
                }
                let share = tone_share(&heard, rate_out, 440.0);
                assert!(share > 0.98, "{rate_in} to {rate_out}: {share}");
                let level = rms_dbfs(&heard);
                assert!((level + 9.03).abs() < 0.5, "{rate_in} to {rate_out}: {level} dBFS");
            }
        }
    }

    #[test]
    fn nothing_in_gives_nothing_but_zeros() {
        let mut output = [5; 160];
        Resampler::default().process(&[], 48_000, &mut output, 8000);
        assert_eq!(output, [0; 160]);
    }
}
