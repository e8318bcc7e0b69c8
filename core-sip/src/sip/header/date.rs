//! `Date` (RFC 3261 §20.17).

use core::fmt;

use super::{error, parse_decimal};
use crate::error::ParseError;

const RULE: &str = "RFC 3261 §20.17";
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_PER_DAY: u64 = 86_400;

/// A point in time as SIP writes it: `Sat, 13 Nov 2010 23:29:00 GMT`, to the second, always GMT. `Display` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SipDate {
    year: u16,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
    hour: u8,
    minute: u8,
    /// 60 in a leap second.
    second: u8,
}

impl SipDate {
    /// Reads the value of a `Date`. Case matters (RFC 3261 §25.1).
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not `wkday, DD month YYYY HH:MM:SS GMT`, if there is no such day or time of day, or if
    /// the day of the week is not that of the date.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let form = || error("a date has the form `Sat, 13 Nov 2010 23:29:00 GMT`", RULE, 0);
        let bytes = text.as_bytes();
        if bytes.len() > 25 && bytes.get(25) == Some(&b' ') && &bytes[26..] != b"GMT" {
            return Err(error("the time zone of a date is GMT", RULE, 26));
        }
        let fixed = [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' '), (19, b':'), (22, b':'), (25, b' ')];
        if bytes.len() != 29 || fixed.iter().any(|&(at, b)| bytes[at] != b) || !text.is_ascii() {
            return Err(form());
        }
        let number = |from: usize, to: usize| parse_decimal(&bytes[from..to], 9999).ok_or_else(form);
        let named =
            |names: &[&str], part: &[u8]| names.iter().position(|name| name.as_bytes() == part).ok_or_else(form);
        let weekday = named(&WEEKDAYS, &bytes[..3])?;
        let month = named(&MONTHS, &bytes[8..11])? + 1;
        let (day, year) = (number(5, 7)?, number(12, 16)?);
        let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
        // All of them have at most four digits.
        let date = Self {
            year: year as u16,
            month: month as u8,
            day: day as u8,
            hour: hour as u8,
            minute: minute as u8,
            second: second as u8,
        };
        if day == 0 || day > u64::from(days_in_month(date.year, date.month)) {
            return Err(error("there is no such day", RULE, 5));
        }
        if hour > 23 || minute > 59 || second > 60 {
            return Err(error("there is no such time of day", RULE, 17));
        }
        if date.weekday() != weekday {
            return Err(error("the day of the week is not that of the date", RULE, 0));
        }
        Ok(date)
    }

    /// The date of `seconds` since 1970-01-01T00:00:00Z; `None` after the year 9999.
    #[must_use]
    pub fn from_unix_seconds(seconds: u64) -> Option<Self> {
        let of_day = (seconds % SECONDS_PER_DAY) as u32;
        let days = seconds / SECONDS_PER_DAY;
        // 400 years have 146,097 days; counted from 0000-03-01, so that a leap day ends its year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Some(Self {
            year: u16::try_from(year).ok().filter(|year| *year <= 9999)?,
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        })
    }

    /// Seconds since 1970-01-01T00:00:00Z, negative before. A leap second counts as the one after it.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        let of_day = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        self.days_since_1970() * SECONDS_PER_DAY as i64 + of_day
    }

    fn days_since_1970(&self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// 0 is Monday; 1970-01-01 was a Thursday.
    fn weekday(&self) -> usize {
        (self.days_since_1970() + 3).rem_euclid(7) as usize
    }
}

impl fmt::Display for SipDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekday = WEEKDAYS[self.weekday()];
        let month = MONTHS[usize::from(self.month) - 1];
        let Self { year, day, hour, minute, second, .. } = self;
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

const fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sat, 13 Nov 2010 23:29:00 GMT", 1_289_690_940),
            ("Sat, 15 Oct 2005 04:44:56 GMT", 1_129_351_496),
            ("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        ];
        for (text, seconds) in cases {
            let date = SipDate::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((date.unix_seconds(), date.to_string().as_str()), (seconds, text));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "Fri, 01 Jan 2010 16:00:00 EST",
            "Fri, 01 Jan 2010 16:00:00 +0000",
            "Fri, 01 Jan 2010 16:00:00 gmt",
            "Fri, 01 Jan 2010 16:00:00",
            "Fri, 1 Jan 2010 16:00:00 GMT",
            "Sat, 01 Jan 2010 16:00:00 GMT",
            "Fri, 32 Jan 2010 16:00:00 GMT",
            "Fri, 00 Jan 2010 16:00:00 GMT",
            "Sun, 29 Feb 2026 16:00:00 GMT",
            "Fri, 01 Jan 2010 24:00:00 GMT",
            "Fri, 01 Jan 2010 16:60:00 GMT",
            "Fri, 01 Jan 2010 16:00:61 GMT",
            "Fri, 01-Jan-2010 16:00:00 GMT",
            "Friday, 01 Jan 10 16:00:00 GMT",
            "Fri, 01 Jän 2010 16:00:00 GMT",
            "2010-01-01T16:00:00Z",
        ] {
            assert!(SipDate::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn seconds_go_there_and_back(seconds in 0_u64..253_402_300_800) {
            let date = SipDate::from_unix_seconds(seconds).unwrap();
            prop_assert_eq!(date.unix_seconds(), seconds as i64);
            prop_assert_eq!(SipDate::parse(&date.to_string()).unwrap(), date);
        }

        #[test]
        fn any_text_does_no_harm(text in "\\PC{0,40}") {
            let _ = SipDate::parse(&text);
        }
    }

    #[test]
    fn the_calendar_ends() {
        assert!(SipDate::from_unix_seconds(253_402_300_800).is_none());
        assert!(SipDate::from_unix_seconds(u64::MAX).is_none());
    }
}
