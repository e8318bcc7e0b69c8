//! jambonz' rate limit: 600 requests in 5 minutes for the whole platform by default, told in every answer.

use std::time::{Duration, UNIX_EPOCH};

use codex_core_sip::time::Time;

/// A 429 that does not say how long to wait.
pub(crate) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Less is not waited: `Retry-After: 0`, or a date that is over, would have us ask in a tight loop.
pub(crate) const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// More is not waited: a broken `Retry-After` must not silence the client for good.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// The budget is near its end when less than one in so many requests is left.
const LOW_BUDGET_SHARE: u64 = 10;

/// What remains of the budget, from the `RateLimit-*` headers of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    limit: u64,
    remaining: u64,
    resets_at: Time,
}

impl Budget {
    /// From `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds). `None` if one is missing or wrong.
    pub(crate) fn read<'a>(header: impl Fn(&str) -> Option<&'a str>, now: Time) -> Option<Self> {
        let number = |name| header(name).and_then(|text| text.trim().parse::<u64>().ok());
        let resets_in = Duration::from_secs(number("ratelimit-reset")?).min(MAX_RETRY_AFTER);
        Some(Self {
            limit: number("ratelimit-limit")?,
            remaining: number("ratelimit-remaining")?,
            resets_at: now + resets_in,
        })
    }

    /// Whether so little is left that one request for all names is better than one for each.
    pub(crate) fn is_low(&self, now: Time) -> bool {
        now < self.resets_at && self.remaining < self.limit.div_ceil(LOW_BUDGET_SHARE)
    }

    /// How long until there is a new budget.
    pub(crate) fn resets_in(&self, now: Time) -> Duration {
        self.resets_at - now
    }
}

/// How long to wait by `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3), which is measured against the answer's
/// own `Date` where there is one, so that a wrong clock on either side does no harm. At most [`MAX_RETRY_AFTER`].
pub(crate) fn retry_after(value: &str, date: Option<&str>, unix_seconds: u64) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let now = date
            .and_then(|date| httpdate::parse_http_date(date.trim()).ok())
            .or_else(|| UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds)))?;
        until.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers<'a>(limit: &'a str, remaining: &'a str, reset: &'a str) -> impl Fn(&str) -> Option<&'a str> {
        move |name| match name {
            "ratelimit-limit" => Some(limit),
            "ratelimit-remaining" => Some(remaining),
            "ratelimit-reset" => Some(reset),
            _ => None,
        }
    }

    #[test]
    fn the_budget_is_low_below_a_tenth_until_it_is_renewed() {
        for (remaining, low) in [("600", false), ("60", false), ("59", true), ("0", true)] {
            let budget = Budget::read(headers("600", remaining, "300"), Time::ZERO).unwrap();
            assert_eq!(budget.is_low(Time::ZERO), low, "{remaining}");
            assert!(!budget.is_low(Time::ZERO + Duration::from_secs(300)), "{remaining}");
            assert_eq!(budget.resets_in(Time::ZERO + Duration::from_secs(100)), Duration::from_secs(200));
        }
        for (limit, remaining, reset) in [("", "1", "1"), ("600", "-1", "300"), ("600", "1", "soon")] {
            assert_eq!(Budget::read(headers(limit, remaining, reset), Time::ZERO), None);
        }
        let absurd = Budget::read(headers("600", "1", &u64::MAX.to_string()), Time::ZERO).unwrap();
        assert_eq!(absurd.resets_in(Time::ZERO), MAX_RETRY_AFTER);
    }

    proptest! {
        #[test]
        fn no_header_panics_or_silences_the_client_for_good(value in "\\PC*", date in "\\PC*", unix_seconds: u64) {
            for date in [None, Some(date.as_str())] {
                let wait = retry_after(&value, date, unix_seconds);
                prop_assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
                let _ = retry_after("Sun, 22 Nov 2026 08:02:00 GMT", date, unix_seconds);
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = Some("Sun, 22 Nov 2026 08:00:00 GMT");
        for (value, date, unix_seconds, expected) in [
            ("300", None, 0, Some(300)),
            (" 7 ", None, 0, Some(7)),
            ("0", None, 0, Some(0)),
            ("99999999999", None, 0, Some(3600)),
            ("Sun, 22 Nov 2026 08:02:00 GMT", date, 0, Some(120)),
            ("Sun, 22 Nov 2026 08:02:00 GMT", None, 1_795_334_400, Some(120)),
            ("Sunday, 22-Nov-26 08:02:00 GMT", date, 0, Some(120)),
            ("Sun, 22 Nov 2026 07:00:00 GMT", date, 0, Some(0)),
            ("soon", date, 0, None),
            ("-5", date, 0, None),
            ("", date, 0, None),
        ] {
            assert_eq!(retry_after(value, date, unix_seconds), expected.map(Duration::from_secs), "{value}");
        }
    }
}
