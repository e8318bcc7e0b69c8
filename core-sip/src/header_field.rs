//! Header names and values that are safe to send.

use core::fmt;
use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::escape::escaped;

/// A header name: a `token` of RFC 3261 §25.1, at most 128 bytes. Compared without regard to case.
#[derive(Debug, Clone)]
pub struct HeaderName(Cow<'static, str>);

impl HeaderName {
    /// A name known when the program is written.
    ///
    /// # Panics
    ///
    /// In constant evaluation, if `name` is not a token: a wrong name does not compile when used as a `const`.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_token(name.as_bytes()), "a header name must be a token of RFC 3261");
        Self(Cow::Borrowed(name))
    }

    /// A name known when the program runs.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderNotAllowed`] if `name` is not a token or longer than 128 bytes.
    pub fn new(name: &str) -> Result<Self> {
        if is_token(name.as_bytes()) {
            Ok(Self(Cow::Owned(name.to_owned())))
        } else {
            Err(Error::HeaderNotAllowed {
                name: escaped(name, 64),
                problem: "a header name holds 1 to 128 letters, digits and -.!%*_+`'~ only (RFC 3261 §25.1)".to_owned(),
            })
        }
    }

    /// The name as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HeaderName {}

impl PartialEq<str> for HeaderName {
    fn eq(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn is_token(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > 128 {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        let ok = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        if !ok {
            return false;
        }
        i += 1;
    }
    true
}

/// A header value that can be sent as it is: UTF-8 without CR, LF, NUL or other control characters (tab is allowed),
/// without white space at its ends. Nothing that we send can therefore end a header early or begin another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue(Cow<'static, str>);

impl HeaderValue {
    /// A value known when the program is written.
    ///
    /// # Panics
    ///
    /// In constant evaluation, if `value` holds a control character: a wrong value does not compile when used as a
    /// `const`.
    #[must_use]
    pub const fn from_static(value: &'static str) -> Self {
        assert!(first_forbidden(value.as_bytes()).is_none(), "a header value must not hold control characters");
        Self(Cow::Borrowed(value))
    }

    /// A value for the header `name` (which only the error mentions). White space at its ends is dropped, since a
    /// receiver would drop it.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderNotAllowed`] if `value` holds CR, LF, NUL or another control character than tab.
    pub fn new(name: &str, value: impl Into<String>) -> Result<Self> {
        let value: String = value.into();
        if let Some(at) = first_forbidden(value.as_bytes()) {
            return Err(Error::HeaderNotAllowed {
                name: escaped(name, 64),
                problem: format!(
                    "its value holds the control character 0x{:02x} at byte {at}; take it out or encode it",
                    value.as_bytes()[at]
                ),
            });
        }
        let trimmed = value.trim_matches([' ', '\t']);
        Ok(Self(Cow::Owned(if trimmed.len() == value.len() { value } else { trimmed.to_owned() })))
    }

    /// The value made of `value` by replacing every control character by a space.
    #[must_use]
    pub fn sanitized(value: &str) -> Self {
        let clean: String = value.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        Self(Cow::Owned(clean.trim_matches([' ', '\t']).to_owned()))
    }

    /// The value as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn first_forbidden(bytes: &[u8]) -> Option<usize> {
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'\t' && (bytes[i] < 0x20 || bytes[i] == 0x7f) {
            return Some(i);
        }
        i += 1;
    }
    None
}

/// A header to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_could_begin_another_header_is_refused() {
        for bad in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\u{1b}b", "a\u{7f}"] {
            let error = HeaderValue::new("X-Test", bad).unwrap_err();
            assert!(matches!(&error, Error::HeaderNotAllowed { name, .. } if name == "X-Test"), "{error}");
        }
        assert_eq!(HeaderValue::new("X-Test", "  Иван\t👋 ").unwrap().as_str(), "Иван\t👋");
        assert_eq!(HeaderValue::sanitized("a\r\nb").as_str(), "a  b");
    }

    #[test]
    fn a_name_that_is_no_token_is_refused() {
        for bad in ["", "X Y", "X:Y", "X\r\nY", "Ж", &"x".repeat(129)] {
            assert!(HeaderName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(HeaderName::new("x-lang").unwrap(), HeaderName::from_static("X-Lang"));
    }
}
