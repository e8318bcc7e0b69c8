//! How long a name is good for: the rules of the cache, without cache, clock or I/O.
//!
//! ```text
//!  fetched        fresh_for          stale_while_refresh                    stale_if_error
//!     │  Fresh       │  Refresh               │  AskFirst                        │  Gone
//!     │  served      │  served at once,       │  asked for, and served           │  asked for
//!     │              │  fetched meanwhile     │  if the API does not answer      │
//! ```
//!
//! Time comes in as [`Time`]; whoever holds the entries ([`JambonzApiClient`](crate::JambonzApiClient), a browser's own
//! map) asks [`CachePolicy::judge`] what to do with one.

use std::time::Duration;

use codex_core_sip::time::Time;

/// How long names are kept, and what happens after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long a name is served without asking.
    pub fresh_for: Duration,
    /// How long after that it is still served at once, while it is fetched again in the background.
    pub stale_while_refresh: Duration,
    /// How long after [`fresh_for`](Self::fresh_for) it is served if the API gives no answer. What is older than
    /// [`stale_while_refresh`](Self::stale_while_refresh) is asked for first, and whoever wants it waits for the answer
    /// or for the client's `total_timeout`.
    pub stale_if_error: Duration,
    /// How long it is remembered that there is no such application. Short: it may be created any moment.
    pub unknown_for: Duration,
    /// How long after a refresh that failed the old name is served without trying again.
    pub refresh_pause: Duration,
}

impl CachePolicy {
    /// The default of [`fresh_for`](Self::fresh_for).
    pub const FRESH_FOR: Duration = Duration::from_secs(5 * 60);
    /// The default of [`stale_while_refresh`](Self::stale_while_refresh): a name changes rarely, and a call must not
    /// wait for it on Monday because nobody called since Friday.
    pub const STALE_WHILE_REFRESH: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// The default of [`stale_if_error`](Self::stale_if_error): no longer than
    /// [`STALE_WHILE_REFRESH`](Self::STALE_WHILE_REFRESH), so that nobody waits for the API who could have had a name.
    pub const STALE_IF_ERROR: Duration = Self::STALE_WHILE_REFRESH;
    /// The default of [`unknown_for`](Self::unknown_for).
    pub const UNKNOWN_FOR: Duration = Duration::from_secs(30);
    /// The default of [`refresh_pause`](Self::refresh_pause).
    pub const REFRESH_PAUSE: Duration = Duration::from_secs(10);
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            fresh_for: Self::FRESH_FOR,
            stale_while_refresh: Self::STALE_WHILE_REFRESH,
            stale_if_error: Self::STALE_IF_ERROR,
            unknown_for: Self::UNKNOWN_FOR,
            refresh_pause: Self::REFRESH_PAUSE,
        }
    }
}

/// What is known of one sid: its name, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered<T> {
    /// The name; `None` if there is no such application.
    pub value: Option<T>,
    /// When it was asked for.
    fetched_at: Time,
    /// Until when it is served without asking.
    good_until: Time,
}

impl<T> Remembered<T> {
    /// Whether it was asked for later than `other`, or is known to be good for longer.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.fetched_at, self.good_until) > (other.fetched_at, other.good_until)
    }
}

/// What to do with something remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Serve it.
    Fresh,
    /// Serve it, and fetch it again meanwhile.
    Refresh,
    /// Fetch it, and serve it if that fails.
    AskFirst,
    /// Fetch it; it is not to be served any more.
    Gone,
}

impl CachePolicy {
    /// What was asked for at `asked_at` and answered with `value`.
    pub fn remember<T>(&self, value: Option<T>, asked_at: Time) -> Remembered<T> {
        let good_for = if value.is_some() { self.fresh_for } else { self.unknown_for };
        Remembered { value, fetched_at: asked_at, good_until: asked_at + good_for }
    }

    /// What to do with it now.
    #[inline]
    pub fn judge<T>(&self, remembered: &Remembered<T>, now: Time) -> Verdict {
        if now < remembered.good_until {
            return Verdict::Fresh;
        }
        self.judge_expired(remembered, now)
    }

    fn judge_expired<T>(&self, remembered: &Remembered<T>, now: Time) -> Verdict {
        if remembered.value.is_none() {
            return Verdict::Gone;
        }
        let expired_at = remembered.fetched_at + self.fresh_for;
        if now < expired_at + self.stale_while_refresh {
            Verdict::Refresh
        } else if now < expired_at + self.stale_if_error {
            Verdict::AskFirst
        } else {
            Verdict::Gone
        }
    }

    /// What remains of it after an attempt at `now` to fetch it again has failed: the old name, served without asking
    /// for [`refresh_pause`](Self::refresh_pause) but never beyond its time. `None` if it is not to be served any more.
    pub fn after_failure<T: Clone>(&self, remembered: &Remembered<T>, now: Time) -> Option<Remembered<T>> {
        if self.judge(remembered, now) == Verdict::Gone {
            return None;
        }
        let end = remembered.fetched_at + self.fresh_for + self.stale_while_refresh.max(self.stale_if_error);
        let good_until = (now + self.refresh_pause).min(end).max(remembered.good_until);
        Some(Remembered { value: remembered.value.clone(), fetched_at: remembered.fetched_at, good_until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn policy() -> CachePolicy {
        CachePolicy {
            fresh_for: 5 * MINUTE,
            stale_while_refresh: 10 * MINUTE,
            stale_if_error: 60 * MINUTE,
            unknown_for: MINUTE,
            refresh_pause: MINUTE,
        }
    }

    fn at(minutes: u32) -> Time {
        Time::ZERO + MINUTE * minutes
    }

    #[test]
    fn a_name_ages_in_four_steps() {
        let name = policy().remember(Some("voicebot"), at(100));
        for (minute, verdict) in [
            (100, Verdict::Fresh),
            (104, Verdict::Fresh),
            (105, Verdict::Refresh),
            (114, Verdict::Refresh),
            (115, Verdict::AskFirst),
            (164, Verdict::AskFirst),
            (165, Verdict::Gone),
        ] {
            assert_eq!(policy().judge(&name, at(minute)), verdict, "minute {minute}");
        }
        assert_eq!(policy().judge(&name, at(3)), Verdict::Fresh, "a clock that goes back does no harm");
    }

    #[test]
    fn an_unknown_sid_is_remembered_for_a_shorter_time_and_never_served_stale() {
        let unknown = policy().remember(None::<&str>, at(0));
        assert_eq!(policy().judge(&unknown, Time::ZERO + Duration::from_secs(59)), Verdict::Fresh);
        assert_eq!(policy().judge(&unknown, at(1)), Verdict::Gone);
        assert_eq!(policy().after_failure(&unknown, at(1)), None);
    }

    #[test]
    fn after_a_failed_refresh_there_is_a_pause_that_never_outlasts_the_name() {
        let name = policy().remember(Some("voicebot"), at(0));
        let later = policy().after_failure(&name, at(6)).unwrap();
        assert_eq!(policy().judge(&later, at(6)), Verdict::Fresh);
        assert_eq!(policy().judge(&later, at(7)), Verdict::Refresh);

        let late = policy().after_failure(&name, Time::ZERO + MINUTE * 64 + MINUTE / 2).unwrap();
        assert_eq!(policy().judge(&late, Time::ZERO + (MINUTE * 65 - Duration::from_secs(1))), Verdict::Fresh);
        assert_eq!(policy().judge(&late, at(65)), Verdict::Gone);
        assert_eq!(policy().after_failure(&late, at(65)), None);
    }

    #[test]
    fn extreme_durations_saturate() {
        let forever = CachePolicy { fresh_for: Duration::MAX, stale_if_error: Duration::MAX, ..policy() };
        let name = forever.remember(Some(1), Time::from_micros(u64::MAX - 1));
        assert_eq!(forever.judge(&name, Time::from_micros(u64::MAX - 1)), Verdict::Fresh);
        let never = CachePolicy {
            fresh_for: Duration::ZERO,
            stale_while_refresh: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            ..policy()
        };
        assert_eq!(never.judge(&never.remember(Some(1), at(1)), at(1)), Verdict::Gone);
    }
}
