//! Leases on lanes, in memory: no other process has the file, and after a restart nobody holds one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call_book::Channel;
use crate::clock::UnixMillis;
use crate::store::{Lease, RecordId};

type LaneKey = (RecordId, Channel);

#[derive(Debug, Default)]
pub(super) struct Leases {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<LaneKey, (i64, UnixMillis)>,
    last_token: i64,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock can leave the map half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes leased now. A lease that has run out is kept until another is given: who reports late is heard.
    pub(super) fn held(&self, now: UnixMillis) -> HashSet<LaneKey> {
        self.lock().held.iter().filter(|(_, (_, until))| *until > now).map(|(key, _)| *key).collect()
    }

    /// Leases a lane, unless it has been leased meanwhile.
    pub(super) fn take(&self, record: RecordId, channel: Channel, now: UnixMillis, until: UnixMillis) -> Option<Lease> {
        let mut inner = self.lock();
        if inner.held.get(&(record, channel)).is_some_and(|(_, until)| *until > now) {
            return None;
        }
        inner.last_token += 1;
        let token = inner.last_token;
        inner.held.insert((record, channel), (token, until));
        Some(Lease { record, channel, token, until })
    }

    /// Whether somebody has the lane now.
    pub(super) fn is_held(&self, record: RecordId, channel: Channel, now: UnixMillis) -> bool {
        self.lock().held.get(&(record, channel)).is_some_and(|(_, until)| *until > now)
    }

    /// Whether this lease is the lane's, run out or not.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.lock().held.get(&(lease.record, lease.channel)).is_some_and(|(token, _)| *token == lease.token)
    }

    pub(super) fn end(&self, lease: &Lease) {
        let mut inner = self.lock();
        if inner.held.get(&(lease.record, lease.channel)).is_some_and(|(token, _)| *token == lease.token) {
            inner.held.remove(&(lease.record, lease.channel));
        }
    }
}
