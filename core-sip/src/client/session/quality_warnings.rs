//! Calls that become bad, and good again.

use std::time::Duration;

use super::{ClientSession, QualityEvent, QualityMeasure, milliseconds};
use crate::event::Event;

/// What was bad is good again when it is better than the threshold by this share, so that nothing flickers.
const RECOVERED_AT: f64 = 0.8;
/// And a mean opinion score by so much.
const RECOVERED_MOS: f64 = 0.2;

impl ClientSession {
    pub(super) fn warn_of_quality(&mut self, measured: &[(QualityMeasure, Option<f64>)]) {
        let thresholds = self.config.quality_thresholds;
        for (measure, value) in measured {
            let threshold = match measure {
                QualityMeasure::RoundTripTime => thresholds.round_trip_time.map(milliseconds),
                QualityMeasure::Jitter => thresholds.jitter.map(milliseconds),
                QualityMeasure::Loss => thresholds.loss_percent,
                QualityMeasure::Mos => thresholds.mos,
                QualityMeasure::Microphone | QualityMeasure::Packets => None,
            };
            // What was not measured is neither good nor bad.
            let (Some(value), Some(threshold), Some(call)) = (*value, threshold, &mut self.call) else { continue };
            let was_bad = call.bad.contains(measure);
            let bad = match (measure, was_bad) {
                (QualityMeasure::Mos, false) => value < threshold,
                (QualityMeasure::Mos, true) => value < threshold + RECOVERED_MOS,
                (_, false) => value > threshold,
                (_, true) => value > threshold * RECOVERED_AT,
            };
            self.quality_is(*measure, bad, value, threshold);
        }
    }

    /// How long nothing has come from the microphone, or from the far end; `None` if that is not known.
    pub(super) fn warn_of_silence(&mut self, measure: QualityMeasure, silent: Option<Duration>) {
        let threshold = match measure {
            QualityMeasure::Microphone => self.config.quality_thresholds.microphone_silence,
            _ => Some(self.config.no_packets_timeout),
        };
        let (Some(silent), Some(threshold)) = (silent, threshold) else { return };
        self.quality_is(measure, silent >= threshold, silent.as_secs_f64(), threshold.as_secs_f64());
    }

    /// Tells of a change, and of nothing else.
    fn quality_is(&mut self, measure: QualityMeasure, bad: bool, value: f64, threshold: f64) {
        let Some(call) = &mut self.call else { return };
        if bad == call.bad.contains(&measure) {
            return;
        }
        if bad {
            call.bad.push(measure);
        } else {
            call.bad.retain(|other| *other != measure);
        }
        let event = QualityEvent {
            measure,
            bad,
            value,
            threshold,
            call_id: call.id(),
            tag: call.tag(),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        self.event(Event::Quality(event));
    }
}
