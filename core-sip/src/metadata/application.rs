//! An application's name and identity.

use core::fmt;
use core::ops::Deref;
use core::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::{ConfigurationProblem, Error, Result};

/// What an application without a known name is called.
pub const UNKNOWN_APPLICATION: &str = "voicebot";

/// How long an application's name may be, in characters: jambonz' own limit.
pub const MAX_APPLICATION_NAME_CHARS: usize = 64;

/// An application's readable name, such as `voicebot`: 1 to 64 characters without control characters, no white space
/// at its ends. A clone costs no allocation: names are handed out of caches for every call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApplicationName(Arc<str>);

impl ApplicationName {
    /// The name in `text`, white space at its ends dropped. `key` is the setting or header that it comes from; errors
    /// name it.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it is empty, longer than 64 characters or holds a control character.
    pub fn parse(key: &str, text: &str) -> Result<Self> {
        let name = text.trim();
        let problem = if name.is_empty() {
            "it is empty"
        } else if name.chars().nth(MAX_APPLICATION_NAME_CHARS).is_some() {
            "it is longer than 64 characters"
        } else if name.chars().any(char::is_control) {
            "it holds a control character"
        } else {
            return Ok(Self(name.into()));
        };
        Err(wrong_setting(key, text, problem, "voicebot, the application's name as jambonz shows it"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ApplicationName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApplicationName {
    type Err = Error;

    /// As [`ApplicationName::parse`] for the key `TARGET_APPLICATION_NAME`.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse("TARGET_APPLICATION_NAME", text)
    }
}

impl fmt::Display for ApplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One wrong setting; the value is shown escaped and cut.
pub(super) fn wrong_setting(key: &str, value: &str, problem: &str, example: &str) -> Error {
    Error::Configuration {
        problems: vec![ConfigurationProblem {
            key: key.to_owned(),
            value: Some(value.chars().take(80).collect()),
            problem: problem.to_owned(),
            example: example.to_owned(),
        }],
    }
}

/// A jambonz application's identity, a GUID. Displayed in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationSid(Uuid);

impl ApplicationSid {
    /// The identity in the user part of a SIP URI: `<guid>` or `app-<guid>`, as jambonz writes them, in either case.
    /// `None` if it is anything else.
    #[must_use]
    pub fn from_user_part(user: &str) -> Option<Self> {
        let guid = match user.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("app-") => &user[4..],
            _ => user,
        };
        // The parser would take GUIDs without hyphens and in braces as well; jambonz writes neither.
        if guid.len() != 36 {
            return None;
        }
        Uuid::try_parse(guid).ok().map(Self)
    }
}

impl FromStr for ApplicationSid {
    type Err = Error;

    /// As [`ApplicationSid::from_user_part`].
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for the key `application_sid`.
    fn from_str(text: &str) -> Result<Self> {
        Self::from_user_part(text).ok_or_else(|| {
            wrong_setting("application_sid", text, "it is not a GUID", "0397dc5f-2f8f-4778-8499-0af934dd1196")
        })
    }
}

impl fmt::Display for ApplicationSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_checked() {
        assert_eq!(" Голосовой бот ".parse::<ApplicationName>().unwrap().as_str(), "Голосовой бот");
        assert!("я".repeat(64).parse::<ApplicationName>().is_ok());
        for bad in ["", "  ", "a\r\nX-Evil: 1", "a\0", "a\u{7f}b", "a\u{85}b", &"я".repeat(65)] {
            let error = ApplicationName::parse("X-Application-Name", bad).unwrap_err();
            let Error::Configuration { problems } = &error else { panic!("{error}") };
            assert_eq!(problems[0].key, "X-Application-Name");
            assert!(!error.to_string().contains('\r'), "{error}");
        }
    }

    #[test]
    fn an_application_is_found_in_both_spellings() {
        let guid = "0397dc5f-2f8f-4778-8499-0af934dd1196";
        for user in [guid, &format!("app-{guid}"), &guid.to_uppercase(), &format!("APP-{}", guid.to_uppercase())] {
            assert_eq!(ApplicationSid::from_user_part(user).unwrap().to_string(), guid, "{user}");
        }
        for other in [
            "",
            "170",
            "app-",
            "app-app-0397dc5f-2f8f-4778-8499-0af934dd1196",
            "0397dc5f2f8f477884990af934dd1196",
            "{0397dc5f-2f8f-4778-8499-0af934dd1196}",
            "0397dc5f-2f8f-4778-8499-0af934dd119g",
            "0397dc5f-2f8f-4778-8499-0af934dd1196 ",
            "ЖЖЖ",
            "urn:uuid:0397dc5f-2f8f-4778-8499-0af934dd1196",
            "0397dc5f2f8f-4778-8499-0af934dd1196-",
            "-0397dc5f-2f8f-4778-84990af934dd1196",
        ] {
            assert_eq!(ApplicationSid::from_user_part(other), None, "{other}");
            assert!(other.parse::<ApplicationSid>().is_err(), "{other}");
        }
    }
}
