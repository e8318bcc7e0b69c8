//! [`OrderedMap`]: a map in the order of its keys.
//!
//! A B-tree, except in the browser: there few entries are held, and a B-tree is 8 kB of code for each kind of key and value.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use std::collections::BTreeMap as OrderedMap;

#[cfg(target_arch = "wasm32")]
pub(crate) use sorted::SortedMap as OrderedMap;

#[cfg(any(test, target_arch = "wasm32"))]
mod sorted {
    use core::borrow::Borrow;

    /// As much of `BTreeMap` as is used here, in a sorted vector.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct SortedMap<K, V> {
        entries: Vec<(K, V)>,
    }

    impl<K, V> Default for SortedMap<K, V> {
        fn default() -> Self {
            Self::new()
        }
    }

    #[cfg_attr(test, expect(dead_code, reason = "the browser's build uses what this test build does not"))]
    impl<K, V> SortedMap<K, V> {
        pub(crate) const fn new() -> Self {
            Self { entries: Vec::new() }
        }

        pub(crate) fn len(&self) -> usize {
            self.entries.len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.entries.is_empty()
        }

        pub(crate) fn clear(&mut self) {
            self.entries.clear();
        }

        pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
            self.entries.iter().map(|(key, value)| (key, value))
        }

        pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
            self.entries.iter().map(|(key, _)| key)
        }

        pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
            self.entries.iter().map(|(_, value)| value)
        }

        pub(crate) fn first_key_value(&self) -> Option<(&K, &V)> {
            self.entries.first().map(|(key, value)| (key, value))
        }

        pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
            (!self.entries.is_empty()).then(|| self.entries.remove(0))
        }
    }

    #[cfg_attr(test, expect(dead_code, reason = "the browser's build uses what this test build does not"))]
    impl<K: Ord, V> SortedMap<K, V> {
        fn find<Q: Ord + ?Sized>(&self, wanted: &Q) -> Result<usize, usize>
        where
            K: Borrow<Q>,
        {
            self.entries.binary_search_by(|(key, _)| key.borrow().cmp(wanted))
        }

        pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
        where
            K: Borrow<Q>,
        {
            self.find(key).ok().map(|at| &self.entries[at].1)
        }

        pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
        where
            K: Borrow<Q>,
        {
            self.find(key).ok().map(|at| &mut self.entries[at].1)
        }

        pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
        where
            K: Borrow<Q>,
        {
            self.find(key).is_ok()
        }

        /// The value that was there before.
        pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
            match self.find(&key) {
                Ok(at) => Some(core::mem::replace(&mut self.entries[at].1, value)),
                Err(at) => {
                    self.entries.insert(at, (key, value));
                    None
                }
            }
        }

        pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
        where
            K: Borrow<Q>,
        {
            self.remove_entry(key).map(|(_, value)| value)
        }

        pub(crate) fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
        where
            K: Borrow<Q>,
        {
            self.find(key).ok().map(|at| self.entries.remove(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::sorted::SortedMap;
    use crate::random::{Random as _, SeededRandom};

    #[test]
    fn a_sorted_map_does_as_a_b_tree_does() {
        let mut random = SeededRandom::new(5);
        let (mut sorted, mut tree) = (SortedMap::new(), BTreeMap::new());
        for step in 0..2000_u64 {
            let key = random.below(40).to_string();
            match random.below(5) {
                0 | 1 => assert_eq!(sorted.insert(key.clone(), step), tree.insert(key, step)),
                2 => assert_eq!(sorted.remove(key.as_str()), tree.remove(key.as_str())),
                3 => assert_eq!(
                    sorted.get_mut(key.as_str()).map(|v| *v += 1),
                    tree.get_mut(key.as_str()).map(|v| *v += 1)
                ),
                _ => assert_eq!(sorted.pop_first(), tree.pop_first()),
            }
            assert_eq!(sorted.first_key_value(), tree.first_key_value());
            assert!(sorted.iter().eq(tree.iter()));
        }
    }
}
