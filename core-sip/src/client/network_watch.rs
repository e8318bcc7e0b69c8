//! Notices that the machine's addresses change, so that calls move before anybody misses them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// An address that goes and another one that comes are one change.
const SETTLING: Duration = Duration::from_millis(100);

/// The watches that there are, one for each runtime: a socket to the system with its buffers is too much for every client.
static WATCHES: Mutex<Vec<(runtime::Id, Weak<NetworkWatch>)>> = Mutex::new(Vec::new());

/// The watch of one runtime. It ends with its last client.
#[derive(Debug)]
struct NetworkWatch {
    changes: watch::Receiver<()>,
    task: AbortHandle,
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells one client of changes.
#[derive(Debug)]
pub(super) struct NetworkChanges {
    changes: watch::Receiver<()>,
    /// Keeps it going.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, not used"))]
    watch: Arc<NetworkWatch>,
}

impl NetworkChanges {
    /// Those from now on, in the runtime that this is called in.
    pub(super) fn from_now_on() -> Self {
        let runtime = runtime::Handle::current().id();
        // Nothing that holds the lock can panic half-way through a change.
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|(_, watch)| watch.strong_count() > 0);
        let known = watches.iter().find(|(id, _)| *id == runtime).and_then(|(_, watch)| watch.upgrade());
        let watch = known.unwrap_or_else(|| {
            let (changed, changes) = watch::channel(());
            let watch = Arc::new(NetworkWatch { changes, task: tokio::spawn(watch_network(changed)).abort_handle() });
            watches.push((runtime, Arc::downgrade(&watch)));
            watch
        });
        let mut changes = watch.changes.clone();
        changes.mark_unchanged();
        Self { changes, watch }
    }

    /// Returns when the addresses have changed. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The system does not tell.
            core::future::pending::<()>().await;
        }
    }
}

/// Tells of every change that matters.
async fn watch_network(changed: watch::Sender<()>) {
    let mut watcher = match IfWatcher::new() {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "changes of the network are not noticed by themselves");
            return;
        }
    };
    let mut addresses = Addresses::default();
    while let Some(event) = watcher.next().await {
        let mut matters = addresses.take(event);
        if !matters {
            continue;
        }
        let settle = sleep(SETTLING);
        tokio::pin!(settle);
        loop {
            tokio::select! {
                () = &mut settle => break,
                Some(event) = watcher.next() => matters |= addresses.take(event),
            }
        }
        if matters && changed.send(()).is_err() {
            return;
        }
    }
}

/// What the machine has.
#[derive(Debug, Default)]
struct Addresses {
    known: BTreeSet<IpAddr>,
    /// One has gone, and none has come since.
    lost: bool,
}

impl Addresses {
    fn take(&mut self, event: std::io::Result<IfEvent>) -> bool {
        match event {
            Ok(IfEvent::Up(network)) => self.came(network.addr()),
            Ok(IfEvent::Down(network)) => self.went(network.addr()),
            Err(error) => {
                tracing::debug!(%error, "a change of the network could not be read");
                false
            }
        }
    }

    /// Whether calls should move. An address beside those in use, such as that of a container's bridge, is no reason; nor
    /// are those that the machine has at the beginning.
    fn came(&mut self, address: IpAddr) -> bool {
        is_usable(address) && self.known.insert(address) && std::mem::take(&mut self.lost)
    }

    /// Whether calls should move: what went over it does no more.
    fn went(&mut self, address: IpAddr) -> bool {
        let was_there = self.known.remove(&address);
        self.lost |= was_there;
        was_there
    }
}

/// Whether media could go over it.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_of_one_runtime_share_a_watch_that_ends_with_the_last() {
        let (first, second) = (NetworkChanges::from_now_on(), NetworkChanges::from_now_on());
        assert!(Arc::ptr_eq(&first.watch, &second.watch));
        let watch = Arc::downgrade(&first.watch);
        drop(first);
        assert!(watch.upgrade().is_some());
        drop(second);
        assert!(watch.upgrade().is_none());
        let elsewhere = std::thread::spawn(|| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { NetworkChanges::from_now_on() })
        });
        let (here, elsewhere) = (NetworkChanges::from_now_on(), elsewhere.join().unwrap());
        assert!(!Arc::ptr_eq(&here.watch, &elsewhere.watch));
    }

    #[test]
    fn an_address_that_goes_matters_and_the_next_one_that_comes() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut addresses = Addresses::default();
        for at_the_beginning in ["127.0.0.1", "::1", "192.0.2.7", "fe80::1", "2001:db8::7"] {
            assert!(!addresses.came(ip(at_the_beginning)), "{at_the_beginning}");
        }
        assert!(!addresses.came(ip("172.17.0.1")), "one more is no reason to move");
        assert!(!addresses.went(ip("fe80::1")));
        assert!(addresses.went(ip("192.0.2.7")));
        assert!(!addresses.went(ip("192.0.2.7")));
        assert!(addresses.came(ip("198.51.100.3")));
        assert!(!addresses.came(ip("198.51.100.4")));
    }
}
