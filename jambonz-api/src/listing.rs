//! Lists in both shapes that jambonz answers with: a bare array, or a page of `{"total","page","page_size","data"}`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use codex_core_sip::metadata::{ApplicationName, ApplicationSid, MAX_APPLICATION_NAME_CHARS};

/// One answer to a request for a list.
#[derive(Debug, PartialEq)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// How many there are on all pages; `None` for a bare array, which is everything.
    pub(crate) total: Option<u64>,
}

#[derive(Deserialize)]
struct Paged<T> {
    total: u64,
    data: Vec<T>,
}

/// Reads one answer.
pub(crate) fn read_page<T: DeserializeOwned>(body: &[u8]) -> Result<Page<T>, serde_json::Error> {
    // Told apart by the first byte: serde's untagged enums would read everything into memory once more, and lose the
    // place of an error.
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        let paged: Paged<T> = serde_json::from_slice(body)?;
        return Ok(Page { items: paged.data, total: Some(paged.total) });
    }
    Ok(Page { items: serde_json::from_slice(body)?, total: None })
}

/// Of an application no more than its name: nothing secret is read, let alone kept.
#[derive(Deserialize)]
pub(crate) struct Named {
    application_sid: String,
    name: Option<String>,
}

impl Named {
    /// Sid and name; `None` if it has none that can be shown.
    pub(crate) fn into_pair(self) -> Option<(ApplicationSid, ApplicationName)> {
        let sid = ApplicationSid::from_user_part(&self.application_sid)?;
        Some((sid, showable(&self.name?)?))
    }
}

/// A name as it can go into headers and on one line: without control characters and not too long.
pub(crate) fn showable(name: &str) -> Option<ApplicationName> {
    if let Ok(name) = ApplicationName::parse("name", name) {
        return Some(name);
    }
    let shown: String =
        name.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_APPLICATION_NAME_CHARS).collect();
    ApplicationName::parse("name", &shown).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        assert_eq!(read_page::<u8>(b" [1,2]").unwrap(), Page { items: vec![1, 2], total: None });
        let paged = br#"{"total":3,"page":1,"page_size":null,"data":[1,2]}"#;
        assert_eq!(read_page::<u8>(paged).unwrap(), Page { items: vec![1, 2], total: Some(3) });
        for wrong in [&b""[..], b"null", b"3", b"{}", br#"{"msg":"x"}"#, b"[1,", b"\"[]\""] {
            assert!(read_page::<u8>(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_name_can_always_be_shown_or_is_none() {
        assert_eq!(&*showable(" Голосовой бот ").unwrap(), "Голосовой бот");
        assert_eq!(&*showable("a\r\nX-Evil: b").unwrap(), "a  X-Evil: b");
        assert_eq!(showable(&"я".repeat(80)).unwrap().chars().count(), 64);
        for none in ["", " ", "\r\n", "\u{0}"] {
            assert_eq!(showable(none), None);
        }
        let named: Named = serde_json::from_str(r#"{"application_sid":"no","name":"a","env_vars":{"A":1}}"#).unwrap();
        assert!(named.into_pair().is_none());
    }
}
