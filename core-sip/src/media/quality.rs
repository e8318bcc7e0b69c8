//! How a call sounds: the simplified E-model of ITU-T G.107, with the codecs' impairments of G.113 Appendix I.
//!
//! The transmission rating is `R = R0 - Is - Id - Ie,eff + A`. Level, noise and sidetone keep G.107's defaults
//! (`R0 - Is` = 93.2) and no advantage is granted (A = 0), so that delay and packet loss decide.

use std::time::Duration;

/// `R0 - Is` with all of G.107's default values.
const DEFAULT_RATING: f64 = 93.2;

/// Where conversation starts to suffer from delay: G.107's `Id` rises beyond this one-way delay.
const DELAY_KNEE_MS: f64 = 177.3;

/// How sensitive a codec is (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodecImpairment {
    /// Equipment impairment factor `Ie` without loss.
    pub equipment_impairment: f64,
    /// Packet-loss robustness factor `Bpl`.
    pub loss_robustness: f64,
}

impl CodecImpairment {
    /// G.711 with loss concealment (G.113 table I.4: `Ie` 0, `Bpl` 25.1).
    pub const G711: Self = Self { equipment_impairment: 0.0, loss_robustness: 25.1 };

    /// Opus. G.113 lists no value; at the 24 kbit/s and more that calls use it is at least as good as G.711 with
    /// concealment, so its values are taken: an estimate that does not flatter.
    pub const OPUS: Self = Self { equipment_impairment: 0.0, loss_robustness: 25.1 };

    /// The impairment of a codec by its name in SDP, whatever its case. Unknown codecs count as G.711.
    #[must_use]
    pub fn of(codec: &str) -> Self {
        if codec.eq_ignore_ascii_case("opus") { Self::OPUS } else { Self::G711 }
    }
}

/// The transmission rating factor R, from 0 to 93.2.
///
/// `one_way_delay` is mouth to ear: half the round-trip time, the jitter buffer and one frame of packetisation.
/// `loss` is the share of packets lost at random, from 0 to 1.
#[must_use]
pub fn transmission_rating(one_way_delay: Duration, loss: f64, codec: CodecImpairment) -> f64 {
    let delay_ms = one_way_delay.as_secs_f64() * 1000.0;
    let mut delay_impairment = 0.024 * delay_ms;
    if delay_ms > DELAY_KNEE_MS {
        delay_impairment += 0.11 * (delay_ms - DELAY_KNEE_MS);
    }
    // G.107 equation 7-29, random loss (BurstR = 1).
    let loss_percent = if loss.is_finite() { loss.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    let effective_equipment_impairment = codec.equipment_impairment
        + (95.0 - codec.equipment_impairment) * loss_percent / (loss_percent + codec.loss_robustness);
    (DEFAULT_RATING - delay_impairment - effective_equipment_impairment).clamp(0.0, 100.0)
}

/// The mean opinion score that belongs to a rating, from 1.0 to 4.5 (G.107 Annex B).
#[must_use]
pub fn mean_opinion_score(rating: f64) -> f64 {
    if rating.is_nan() || rating <= 0.0 {
        1.0
    } else if rating >= 100.0 {
        4.5
    } else {
        // Between R = 0 and 6.5 the polynomial dips below 1, which no score can.
        (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
    }
}

/// The score of a call as it is: [`transmission_rating`] with the delay estimated from `round_trip_time`, `jitter`
/// (twice of which a jitter buffer holds back, at least `buffer_delay`) and one 20 ms frame.
#[must_use]
pub fn estimate_mos(
    round_trip_time: Option<Duration>,
    jitter: Option<Duration>,
    buffer_delay: Duration,
    loss: f64,
    codec: CodecImpairment,
) -> f64 {
    const FRAME: Duration = Duration::from_millis(20);
    let buffer = buffer_delay.max(jitter.unwrap_or_default().saturating_mul(2));
    let delay = (round_trip_time.unwrap_or_default() / 2).saturating_add(buffer).saturating_add(FRAME);
    mean_opinion_score(transmission_rating(delay, loss, codec))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[track_caller]
    fn close(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} ± {tolerance}");
    }

    #[test]
    fn scores_of_ratings_as_in_g107_annex_b() {
        // Table B.1: R 90, 80, 70, 60, 50 give 4.34, 4.03, 3.60, 3.10, 2.58; the default 93.2 gives 4.41.
        for (rating, score) in [(93.2, 4.41), (90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            close(mean_opinion_score(rating), score, 0.0065);
        }
        for (rating, score) in [(0.0, 1.0), (-5.0, 1.0), (100.0, 4.5), (1e9, 4.5), (f64::NAN, 1.0), (3.0, 1.0)] {
            close(mean_opinion_score(rating), score, 1e-9);
        }
    }

    #[test]
    fn delay_alone() {
        let at = |ms| transmission_rating(Duration::from_millis(ms), 0.0, CodecImpairment::G711);
        close(at(0), 93.2, 1e-9);
        close(at(100), 90.8, 1e-9);
        // 0.024 × 300 + 0.11 × (300 - 177.3) = 20.697
        close(at(300), 72.503, 1e-9);
        close(at(60_000), 0.0, 1e-9);
    }

    #[test]
    fn loss_alone() {
        let at = |loss| transmission_rating(NONE, loss, CodecImpairment::G711);
        // 95 × 1 / 26.1 = 3.640 and 95 × 5 / 30.1 = 15.781 and 95 × 10 / 35.1 = 27.066
        close(at(0.01), 93.2 - 3.640, 0.001);
        close(at(0.05), 93.2 - 15.781, 0.001);
        close(at(0.10), 93.2 - 27.066, 0.001);
        close(at(f64::NAN), 93.2, 1e-9);
        close(at(7.0), at(1.0), 1e-9);
    }

    #[test]
    fn a_call_on_a_good_line_scores_above_four_and_a_bad_one_below_three() {
        let buffer = Duration::from_millis(40);
        let good = estimate_mos(Some(Duration::from_millis(30)), None, buffer, 0.0, CodecImpairment::of("opus"));
        let bad = estimate_mos(
            Some(Duration::from_millis(600)),
            Some(Duration::from_millis(80)),
            buffer,
            0.1,
            CodecImpairment::of("PCMU"),
        );
        assert!(good > 4.3 && bad < 3.0, "{good} {bad}");
    }
}
