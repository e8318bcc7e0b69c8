//! Whether what was received lately could be kept.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::clock::UnixMillis;

const WORKING: i64 = i64::MIN;

/// Since when the store fails those who receive, whether it says so itself or is just too slow for a call to wait.
#[derive(Debug)]
pub struct StoreWatch(AtomicI64);

impl Default for StoreWatch {
    fn default() -> Self {
        Self(AtomicI64::new(WORKING))
    }
}

impl StoreWatch {
    /// Something was kept.
    pub(crate) fn works(&self) {
        self.0.store(WORKING, Relaxed);
    }

    /// Something could not be kept, or not in time.
    pub(super) fn fails(&self, now: UnixMillis) {
        let _ = self.0.compare_exchange(WORKING, now.as_millis(), Relaxed, Relaxed);
    }

    /// Since when nothing could be kept; `None` if the last commit went through.
    #[must_use]
    pub fn failing_since(&self) -> Option<UnixMillis> {
        let since = self.0.load(Relaxed);
        (since != WORKING).then_some(UnixMillis::new(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_counts_until_something_is_kept() {
        let watch = StoreWatch::default();
        assert_eq!(watch.failing_since(), None);
        watch.fails(UnixMillis::new(5));
        watch.fails(UnixMillis::new(9));
        assert_eq!(watch.failing_since(), Some(UnixMillis::new(5)));
        watch.works();
        assert_eq!(watch.failing_since(), None);
    }
}
