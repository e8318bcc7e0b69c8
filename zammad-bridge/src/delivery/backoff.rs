//! How long to wait before the next try.

use core::time::Duration;

use codex_core_sip::random::Random;

/// A wait between nothing and a ceiling that doubles from `initial` with each failure, up to `cap` ("full jitter"): who
/// failed together does not come back together. `failures` is 1 after the first.
pub(super) fn full_jitter(random: &mut dyn Random, initial: Duration, cap: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(32);
    let ceiling = initial.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(cap);
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random.below(micros.saturating_add(1)))
}

/// As [`full_jitter`], but at least half of the ceiling: for what knocks at a door that is known to be shut.
pub(super) fn half_jitter(random: &mut dyn Random, initial: Duration, cap: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(32);
    let ceiling = initial.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(cap);
    ceiling / 2 + full_jitter(random, ceiling / 2, ceiling / 2, 1)
}

#[cfg(test)]
mod tests {
    use codex_core_sip::random::SeededRandom;

    use super::*;

    const INITIAL: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(300);

    #[test]
    fn waits_double_up_to_the_cap_and_spread_over_the_whole_range() {
        let mut random = SeededRandom::new(7);
        for (failures, ceiling) in [(0, 1), (1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (40, 300), (u32::MAX, 300)] {
            let ceiling = Duration::from_secs(ceiling);
            let waits: Vec<_> = (0..500).map(|_| full_jitter(&mut random, INITIAL, CAP, failures)).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "{failures}");
            assert!(waits.iter().any(|wait| *wait < ceiling / 10), "{failures}");
            assert!(waits.iter().any(|wait| *wait > ceiling * 9 / 10), "{failures}");
        }
    }

    #[test]
    fn a_shut_door_is_left_alone_for_half_of_the_ceiling_at_least() {
        let mut random = SeededRandom::new(8);
        for failures in 1..20 {
            let wait = half_jitter(&mut random, INITIAL, CAP, failures);
            let ceiling = INITIAL.saturating_mul(1 << (failures - 1).min(20)).min(CAP);
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{failures}: {wait:?}");
        }
    }
}
