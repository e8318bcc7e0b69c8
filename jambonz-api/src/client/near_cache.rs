//! A near cache: names in use, read without allocation.
//!
//! moka keeps account of every read, which costs an allocation now and then (the garbage of its epochs) and some 100 ns.
//! This is what stands before it: a copy, bounded, and emptied when it is full. moka stays the one that knows.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;

use crate::freshness::Remembered;

/// So that readers on several threads do not write to the same lock.
const SHARDS: usize = 16;
/// A shard that holds so many is emptied before the next.
const SHARD_CAPACITY: usize = 256;

pub(super) struct NearCache<K, T> {
    shards: [RwLock<Shard<K, T>>; SHARDS],
    hasher: RandomState,
}

type Shard<K, T> = HashMap<K, Remembered<T>, RandomState>;

impl<K: Hash + Eq, T: Clone> NearCache<K, T> {
    pub(super) fn new() -> Self {
        let hasher = RandomState::default();
        let shard = |_| RwLock::new(HashMap::with_hasher(RandomState::default()));
        Self { shards: std::array::from_fn(shard), hasher }
    }

    fn shard(&self, key: &K) -> &RwLock<Shard<K, T>> {
        // The remainder fits whatever the width of usize.
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[at]
    }

    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<Remembered<T>> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps what is at least as new as what is there.
    pub(super) fn keep(&self, key: K, remembered: Remembered<T>) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(&key) {
            Some(old) if old.supersedes(&remembered) => {}
            Some(old) => *old = remembered,
            None => {
                if shard.len() >= SHARD_CAPACITY {
                    shard.clear();
                }
                shard.insert(key, remembered);
            }
        }
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_core_sip::time::Time;

    use super::*;
    use crate::freshness::CachePolicy;

    #[test]
    fn the_newer_stays_and_nothing_grows_without_bound() {
        let (policy, cache) = (CachePolicy::default(), NearCache::new());
        let (old, new) = (policy.remember(Some("old"), Time::ZERO), policy.remember(Some("new"), Time::from_micros(1)));
        cache.keep(1, new.clone());
        cache.keep(1, old.clone());
        assert_eq!(cache.get(&1), Some(new));
        for key in 0..100_000 {
            cache.keep(key, old.clone());
        }
        assert_eq!(cache.get(&99_999), Some(old));
        let held: usize = cache.shards.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(held <= SHARDS * SHARD_CAPACITY, "{held}");
        cache.clear();
        assert_eq!(cache.get(&99_999), None);
    }
}
