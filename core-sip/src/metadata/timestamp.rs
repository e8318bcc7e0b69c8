//! The date and time of RFC 3339.

/// Whether `text` is a `date-time` of RFC 3339 §5.6: a date of the calendar, a time of day (second 60 for leap
/// seconds), any number of fractional digits, and `Z` or an offset.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<u32> {
        bytes.get(from..from + len)?.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let parse = || -> Option<bool> {
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 31,
        };
        let separators = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
        let in_range =
            (1..=12).contains(&month) && (1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        let mut at = 19;
        if is(at, b".") {
            let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return Some(false);
            }
            at += 1 + digits;
        }
        let end = if is(at, b"Zz") {
            at + 1
        } else if is(at, b"+-") && is(at + 3, b":") && number(at + 1, 2)? < 24 && number(at + 4, 2)? < 60 {
            at + 6
        } else {
            return Some(false);
        };
        Some(separators && in_range && end == bytes.len())
    };
    parse().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_of_rfc_3339() {
        for good in [
            "2025-11-14T12:00:00Z",
            "2025-11-14T12:00:00.123Z",
            "1990-12-31T23:59:60Z",
            "1996-12-19T16:39:57-08:00",
            "2024-02-29t00:00:00.000000001z",
            "2000-02-29T00:00:00+23:59",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "2025-11-14",
            "2025-11-14T12:00:00",
            "2025-11-14 12:00:00Z",
            "2025-11-14T12:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2025-04-31T00:00:00Z",
            "2025-11-14T24:00:00Z",
            "2025-11-14T12:60:00Z",
            "2025-11-14T12:00:61Z",
            "2025-11-14T12:00:00.Z",
            "2025-11-14T12:00:00+0100",
            "2025-11-14T12:00:00+24:00",
            "2025-11-14T12:00:00Z ",
            "2025-11-14T12:00:00+01:0",
            "+025-11-14T12:00:00Z",
            "1763121600000",
            "Ж025-11-14T12:00:00Z",
            "2025-11-14T12:00:00.5",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
