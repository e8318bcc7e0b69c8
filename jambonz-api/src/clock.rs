//! Time as the client knows it: it comes in from outside, so that tests of hours run in milliseconds.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use codex_core_sip::time::Time;

/// What the client asks for time.
pub trait Clock: Send + Sync {
    /// Time passed since an origin of the clock's own; never goes back.
    fn now(&self) -> Time;

    /// Seconds since 1970, for dates in answers.
    fn unix_seconds(&self) -> u64;

    /// Ends after `duration`: how long a retry waits.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The system's clocks, and tokio's timer.
#[cfg(feature = "client")]
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: std::time::Instant,
}

#[cfg(feature = "client")]
impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    fn default() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

#[cfg(feature = "client")]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    fn now(&self) -> Time {
        Time::ZERO + std::time::Instant::now().saturating_duration_since(self.origin)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    fn unix_seconds(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
