//! The names by which records are found, as the store keeps them.

use codex_core_sip::metadata::CallTag;
use sha2::{Digest, Sha256};

use super::RecordId;
use crate::call_book::{CallAlias, CallRecord};

/// How many bytes of a key are its tag's.
const TAG_BYTES: usize = 6;

/// A name's place: 6 bytes of a SHA-256 over the tag that the name begins with, and 10 over the kind of name and the
/// whole name. Short, of one length, and not to be guessed into a collision; what has one tag stands together, so that
/// looking for a tag needs no index of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AliasKey(pub(crate) [u8; 16]);

impl AliasKey {
    pub(crate) fn of(alias: &CallAlias) -> Self {
        match alias {
            CallAlias::CallSid(sid) => Self::call_sid(sid),
            CallAlias::SipCallId(id) => Self::sip_call_id(id),
        }
    }

    pub(crate) fn call_sid(sid: &str) -> Self {
        Self::new(CallTag::from_call_id(sid).as_str(), b"s:", sid.as_bytes())
    }

    pub(crate) fn sip_call_id(id: &str) -> Self {
        Self::new(CallTag::from_call_id(id).as_str(), b"c:", id.as_bytes())
    }

    /// A tag that the caller gave: several records may have it.
    fn given_tag(tag: &str, record: RecordId) -> Self {
        Self::new(tag, b"g:", &record.0.to_be_bytes())
    }

    fn new(tag: &str, kind: &[u8], name: &[u8]) -> Self {
        let mut key = [0_u8; 16];
        key[..TAG_BYTES].copy_from_slice(&Self::tag_bytes(tag));
        let name = Sha256::new().chain_update(kind).chain_update(name).finalize();
        key[TAG_BYTES..].copy_from_slice(&name[..16 - TAG_BYTES]);
        Self(key)
    }

    fn tag_bytes(tag: &str) -> [u8; TAG_BYTES] {
        let digest = Sha256::new().chain_update(b"t:").chain_update(tag).finalize();
        let mut bytes = [0_u8; TAG_BYTES];
        bytes.copy_from_slice(&digest[..TAG_BYTES]);
        bytes
    }

    /// The first and the last key that a name with this tag can have.
    pub(crate) fn all_with_tag(tag: &str) -> (Self, Self) {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        first[..TAG_BYTES].copy_from_slice(&Self::tag_bytes(tag));
        last[..TAG_BYTES].copy_from_slice(&Self::tag_bytes(tag));
        (Self(first), Self(last))
    }

    /// The names of a record, as far as it knows them.
    pub(crate) fn all_of(id: RecordId, record: &CallRecord) -> Vec<Self> {
        Self::names_of(record).chain(Self::of_given_tag(id, record)).collect()
    }

    /// Those of the names that are nobody else's.
    pub(crate) fn names_of(record: &CallRecord) -> impl Iterator<Item = Self> {
        let sids = record.call_sid.iter().chain(record.legs.iter().map(|leg| &leg.call_sid));
        sids.map(|sid| Self::call_sid(sid)).chain(record.sip_call_id.iter().map(|id| Self::sip_call_id(id)))
    }

    /// The name that is needed to find a record by the tag that its caller gave it.
    pub(crate) fn of_given_tag(id: RecordId, record: &CallRecord) -> Option<Self> {
        record.given_tag.as_deref().map(|tag| Self::given_tag(tag, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_tag_stand_together_and_apart_from_others() {
        let (first, last) = AliasKey::all_with_tag("abcdefgh");
        let own = [AliasKey::sip_call_id("abcdefgh-1"), AliasKey::call_sid("abcdefgh-1")];
        let given = AliasKey::given_tag("abcdefgh", RecordId(7));
        assert!(own.iter().chain([&given]).all(|key| first <= *key && *key <= last));
        assert!(own[0] != own[1] && own[0] != AliasKey::sip_call_id("abcdefgh-2"));
        let other = AliasKey::sip_call_id("abcdefgi-1");
        assert!(other < first || last < other);
    }
}
