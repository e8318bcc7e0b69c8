//! Language tags.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use super::application::wrong_setting;
use crate::error::{Error, Result};

/// How long a language tag may be, in bytes; registered ones stay below 35 (RFC 5646 §4.4.1).
const MAX_LANGUAGE_TAG_BYTES: usize = 64;

/// A well-formed BCP 47 language tag (RFC 5646 §2.1), such as `ru` or `pt-BR`, in the case that §2.1.1 recommends.
/// Grandfathered tags (`i-klingon`) are not taken. Whether the subtags are registered is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LanguageTag(Cow<'static, str>);

impl LanguageTag {
    /// English.
    pub const EN: Self = Self(Cow::Borrowed("en"));
    /// Russian.
    pub const RU: Self = Self(Cow::Borrowed("ru"));

    /// The tag in `text`, white space at its ends dropped. `key` is the setting or header that it comes from; errors
    /// name it.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it is not well-formed.
    pub fn parse(key: &str, text: &str) -> Result<Self> {
        let tag = text.trim();
        if is_well_formed(tag) {
            return Ok(Self(Cow::Owned(recommended_case(tag))));
        }
        let problem = if tag.contains('_') {
            "its parts are separated by `-`, not `_`"
        } else {
            "it is not a language tag (BCP 47)"
        };
        Err(wrong_setting(key, text, problem, "ru or en-US"))
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The language without script, region and the rest: `pt` of `pt-BR`.
    #[must_use]
    pub fn primary(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }
}

impl FromStr for LanguageTag {
    type Err = Error;

    /// As [`LanguageTag::parse`] for the key `language`.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse("language", text)
    }
}

impl fmt::Display for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rule `langtag / privateuse` of RFC 5646 §2.1.
fn is_well_formed(tag: &str) -> bool {
    if tag.len() > MAX_LANGUAGE_TAG_BYTES {
        return false;
    }
    let alpha = |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic());
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let alphanumeric = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut rest = tag.split('-').peekable();
    if let Some(language) = rest.next_if(|s| !s.eq_ignore_ascii_case("x")) {
        if !(2..=8).contains(&language.len()) || !alpha(language) {
            return false;
        }
        if language.len() <= 3 {
            for _ in 0..3 {
                rest.next_if(|s| s.len() == 3 && alpha(s));
            }
        }
        rest.next_if(|s| s.len() == 4 && alpha(s));
        rest.next_if(|s| (s.len() == 2 && alpha(s)) || (s.len() == 3 && digits(s)));
        let variant = |s: &&str| {
            alphanumeric(s) && ((5..=8).contains(&s.len()) || (s.len() == 4 && s.as_bytes()[0].is_ascii_digit()))
        };
        while rest.next_if(variant).is_some() {}
        while rest.next_if(|s| s.len() == 1 && alphanumeric(s) && !s.eq_ignore_ascii_case("x")).is_some() {
            let mut parts = 0;
            while rest.next_if(|s| (2..=8).contains(&s.len()) && alphanumeric(s)).is_some() {
                parts += 1;
            }
            if parts == 0 {
                return false;
            }
        }
        if rest.peek().is_none() {
            return true;
        }
    }
    rest.next().is_some_and(|s| s.eq_ignore_ascii_case("x"))
        && rest.peek().is_some()
        && rest.all(|s| (1..=8).contains(&s.len()) && alphanumeric(s))
}

/// Lower case but for a script (`Latn`) and a region (`BR`) that do not follow a singleton (RFC 5646 §2.1.1).
fn recommended_case(tag: &str) -> String {
    let mut out = String::with_capacity(tag.len());
    let mut after_singleton = false;
    for (index, part) in tag.split('-').enumerate() {
        let lower = part.to_ascii_lowercase();
        if index > 0 {
            out.push('-');
        }
        match lower.len() {
            2 if index > 0 && !after_singleton => out.push_str(&lower.to_ascii_uppercase()),
            4 if index > 0 && !after_singleton => {
                out.push_str(&lower[..1].to_ascii_uppercase());
                out.push_str(&lower[1..]);
            }
            _ => out.push_str(&lower),
        }
        after_singleton |= lower.len() == 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_rfc_5646() {
        for (text, tag) in [
            ("ru", "ru"),
            ("EN", "en"),
            (" pt-br ", "pt-BR"),
            ("zh-hans-CN", "zh-Hans-CN"),
            ("es-419", "es-419"),
            ("sl-rozaj-biske-1994", "sl-rozaj-biske-1994"),
            ("zh-cmn-hant-hk", "zh-cmn-Hant-HK"),
            ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
            ("en-a-AA-x-LATN", "en-a-aa-x-latn"),
            ("x-whatever", "x-whatever"),
            ("de-CH-x-phonebk", "de-CH-x-phonebk"),
        ] {
            let parsed: LanguageTag = text.parse().unwrap();
            assert_eq!(parsed.as_str(), tag);
            assert_eq!(parsed.to_string(), tag);
        }
        for bad in [
            "",
            "e",
            "e1",
            "en-",
            "-en",
            "en--US",
            "ru_RU",
            "en-a",
            "en-x",
            "x",
            "x-",
            "abcdefghi",
            "en-US-GB",
            "русский",
            "en\r\nX: y",
            "en US",
            &"aa-".repeat(40),
        ] {
            assert!(bad.parse::<LanguageTag>().is_err(), "{bad}");
        }
        assert!("ru_RU".parse::<LanguageTag>().unwrap_err().to_string().contains("`-`"));
        assert_eq!("ru".parse::<LanguageTag>().unwrap(), LanguageTag::RU);
        assert_eq!("en-US".parse::<LanguageTag>().unwrap().primary(), LanguageTag::EN.as_str());
    }
}
