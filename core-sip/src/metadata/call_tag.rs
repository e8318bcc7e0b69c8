//! Call-IDs and the tag that ties all systems together.

use core::fmt;

use crate::random::Random;

/// How many characters of the Call-ID are the tag.
pub const CALL_TAG_CHARS: usize = 8;

/// The first 8 characters of a call's Call-ID. jambonz hands our Call-ID on as `sbc_callid`, so the tag is the same in
/// every system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallTag(String);

impl CallTag {
    /// The tag of a Call-ID: its first 8 characters, all of it if it is shorter. Blanks and control characters, which
    /// no Call-ID may hold (RFC 3261 §25.1), become `_`, so that the tag can stand in a header.
    #[must_use]
    pub fn from_call_id(call_id: &str) -> Self {
        let safe = |c: char| if c.is_control() || c.is_whitespace() { '_' } else { c };
        Self(call_id.chars().take(CALL_TAG_CHARS).map(safe).collect())
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How our own side of the call is shown: `webcall:<tag>`.
    #[must_use]
    pub fn display_name(&self) -> String {
        format!("webcall:{}", self.0)
    }
}

impl fmt::Display for CallTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new Call-ID: 8 random lower-case letters, `-`, and a random UUID (version 4).
///
/// It begins with letters because Zammad reduces anything with digits in it to its digits.
#[must_use]
pub fn new_call_id(random: &mut dyn Random) -> String {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    format!("{}-{}", random.letters(CALL_TAG_CHARS), uuid.as_hyphenated())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn the_tag_is_the_first_eight_characters() {
        for (call_id, tag) in [
            ("kqzmwbtr-0397dc5f-2f8f-4778-8499-0af934dd1196", "kqzmwbtr"),
            ("abc", "abc"),
            ("", ""),
            ("ЖЖЖЖЖЖЖЖЖЖ@h", "ЖЖЖЖЖЖЖЖ"),
            ("🙂🙂-1", "🙂🙂-1"),
            ("a\r\nb\0 \tc", "a__b___c"),
        ] {
            assert_eq!(CallTag::from_call_id(call_id).as_str(), tag);
        }
    }

    #[test]
    fn call_ids_begin_with_letters_and_end_with_a_random_uuid() {
        let mut random = SeededRandom::new(3);
        let (first, second) = (new_call_id(&mut random), new_call_id(&mut random));
        assert_ne!(first, second);
        for call_id in [first, second] {
            let (letters, uuid) = call_id.split_once('-').unwrap();
            assert!(letters.len() == 8 && letters.bytes().all(|b| b.is_ascii_lowercase()), "{call_id}");
            assert_eq!(uuid::Uuid::try_parse(uuid).unwrap().get_version_num(), 4, "{call_id}");
            assert_eq!(CallTag::from_call_id(&call_id).as_str(), letters);
        }
    }
}
