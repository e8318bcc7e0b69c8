//! Time as the user agent knows it: a number of microseconds that comes in from outside.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point in time, in microseconds since an origin of the driver's choice.
///
/// Nothing below the adapters reads a clock; whoever drives the user agent passes the time in. A driver must never
/// go back. The native driver counts from its own start with a monotonic clock, tests count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The point that lies `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` lies ahead.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the end of time.
    #[cfg_attr(target_arch = "wasm32", inline(never))]
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(rhs)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Saturates at zero.
    fn sub(self, rhs: Self) -> Duration {
        self.saturating_since(rhs)
    }
}

/// A duration in microseconds, the longest that there is if it is longer. Without numbers of 128 bits, which a page would
/// need code for.
#[cfg_attr(target_arch = "wasm32", inline(never))]
pub(crate) const fn micros_of(duration: Duration) -> u64 {
    const MICROS: u64 = 1_000_000;
    if duration.as_secs() >= u64::MAX / MICROS {
        return u64::MAX;
    }
    duration.as_secs() * MICROS + duration.subsec_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Time::ZERO - Time::from_micros(5), Duration::ZERO);
        assert_eq!((Time::from_micros(u64::MAX) + Duration::from_secs(1)).as_micros(), u64::MAX);
        assert_eq!(Time::from_micros(7) - Time::from_micros(2), Duration::from_micros(5));
    }
}
