//! Calls that become bad, and good again.

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
            if bad == was_bad {
                continue;
            }
            if bad {
                call.bad.push(*measure);
            } else {
                call.bad.retain(|other| other != measure);
            }
            let event = QualityEvent {
                measure: *measure,
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
}
