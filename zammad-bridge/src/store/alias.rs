//! The names by which records are found, as the store keeps them.

use sha2::{Digest, Sha256};

use crate::call_book::{CallAlias, CallRecord};

/// The first 16 bytes of a SHA-256 over the kind of name and the name: short, of one length, and not to be guessed into
/// a collision.
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
        Self::hash(b"s:", sid)
    }

    pub(crate) fn sip_call_id(id: &str) -> Self {
        Self::hash(b"c:", id)
    }

    fn hash(kind: &[u8], name: &str) -> Self {
        let digest = Sha256::new().chain_update(kind).chain_update(name).finalize();
        let mut key = [0_u8; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }

    /// The names of a record, as far as it knows them.
    pub(crate) fn all_of(record: &CallRecord) -> Vec<Self> {
        let sids = record.call_sid.iter().chain(record.legs.iter().map(|leg| &leg.call_sid));
        sids.map(|sid| Self::call_sid(sid)).chain(record.sip_call_id.iter().map(|id| Self::sip_call_id(id))).collect()
    }
}
