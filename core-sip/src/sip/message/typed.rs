//! Typed values of the headers beside those that routing stands on. Each is read when it is asked for.

use std::borrow::Cow;

use super::Message;
use crate::error::ParseError;
use crate::sip::header::{
    DialogReference, Event, Name, NameAddr, Preference, RAck, Reason, RetryAfter, SessionExpires, SipDate, Warning,
    parse_delta_seconds,
};

impl Message {
    /// Reads the first header of that name. `None` where there is none.
    fn first_value<T>(
        &self,
        name: Name,
        read: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Option<Result<T, ParseError>> {
        let line = self.first(name)?;
        Some(read(&self.value(line)).map_err(self.located(line)))
    }

    /// Reads every element of the lists in all headers of that name.
    fn all_values<T>(&self, name: Name, read: impl Fn(&str) -> Result<T, ParseError>) -> Result<Vec<T>, ParseError> {
        self.list(name).map(|element| read(&element)).collect()
    }

    /// The `Date`; `None` where there is none.
    pub fn date(&self) -> Option<Result<SipDate, ParseError>> {
        self.first_value(Name::Date, SipDate::parse)
    }

    /// The `RAck` of a PRACK (RFC 3262); `None` where there is none.
    pub fn rack(&self) -> Option<Result<RAck, ParseError>> {
        self.first_value(Name::RAck, RAck::parse)
    }

    /// The `RSeq` of a reliable provisional response (RFC 3262); `None` where there is none.
    pub fn rseq(&self) -> Option<Result<u32, ParseError>> {
        self.first_value(Name::RSeq, |text| parse_delta_seconds(text, "RFC 3262 §7.1"))
    }

    /// The `Session-Expires` (RFC 4028); `None` where there is none.
    pub fn session_expires(&self) -> Option<Result<SessionExpires, ParseError>> {
        self.first_value(Name::SessionExpires, SessionExpires::parse)
    }

    /// The `Min-SE` (RFC 4028), in seconds; `None` where there is none.
    pub fn min_se(&self) -> Option<Result<u32, ParseError>> {
        self.first_value(Name::MinSe, |text| parse_delta_seconds(text, "RFC 4028 §5"))
    }

    /// The `Expires`, in seconds; `None` where there is none.
    pub fn expires(&self) -> Option<Result<u32, ParseError>> {
        self.first_value(Name::Expires, |text| parse_delta_seconds(text, "RFC 3261 §20.19"))
    }

    /// The `Retry-After`; `None` where there is none.
    pub fn retry_after(&self) -> Option<Result<RetryAfter, ParseError>> {
        self.first_value(Name::RetryAfter, RetryAfter::parse)
    }

    /// The dialog that `Replaces` names (RFC 3891); `None` where there is none.
    pub fn replaces(&self) -> Option<Result<DialogReference, ParseError>> {
        self.first_value(Name::Replaces, DialogReference::parse)
    }

    /// The `Refer-To` (RFC 3515); `None` where there is none.
    pub fn refer_to(&self) -> Option<Result<NameAddr<'_>, ParseError>> {
        let line = self.first(Name::ReferTo)?;
        Some(NameAddr::parse(self.value(line)).map_err(self.located(line)))
    }

    /// The `Event` (RFC 6665); `None` where there is none.
    pub fn event(&self) -> Option<Result<Event, ParseError>> {
        self.first_value(Name::Event, Event::parse)
    }

    /// All `Reason`s (RFC 3326).
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed.
    pub fn reasons(&self) -> Result<Vec<Reason>, ParseError> {
        self.all_values(Name::Reason, Reason::parse)
    }

    /// All `Warning`s.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed.
    pub fn warnings(&self) -> Result<Vec<Warning>, ParseError> {
        self.all_values(Name::Warning, Warning::parse)
    }

    /// The elements of an `Accept`, `Accept-Encoding` or `Accept-Language`, the most preferred first; those that are
    /// preferred alike in the order of the message.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if one is malformed.
    pub fn preferences(&self, name: Name) -> Result<Vec<Preference>, ParseError> {
        let mut all = self.all_values(name, |text| Preference::parse(text, "RFC 3261 §20.1"))?;
        all.sort_by_key(|preference| core::cmp::Reverse(preference.thousandths));
        Ok(all)
    }

    /// Whether a body of `media_type`, such as `application/sdp`, is accepted (RFC 3261 §20.1). Without `Accept` only
    /// `application/sdp` is, with an empty one nothing. The element that names the type most exactly decides.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if `Accept` is malformed.
    pub fn accepts(&self, media_type: &str) -> Result<bool, ParseError> {
        if self.first(Name::Accept).is_none() {
            return Ok(media_type.eq_ignore_ascii_case("application/sdp"));
        }
        let kind = media_type.split('/').next().unwrap_or_default();
        let ranges = [Cow::Borrowed(media_type), Cow::Owned(format!("{kind}/*")), Cow::Borrowed("*/*")];
        let all = self.preferences(Name::Accept)?;
        let decides = ranges.iter().find_map(|range| all.iter().find(|p| p.value.eq_ignore_ascii_case(range)));
        Ok(decides.is_some_and(|preference| preference.thousandths > 0))
    }
}
