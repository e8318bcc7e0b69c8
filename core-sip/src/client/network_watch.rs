//! Notices that the machine's addresses change, so that calls move before anybody misses them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::session::ClientInput;

/// An address that goes and another one that comes are one change.
const SETTLING: Duration = Duration::from_millis(100);

/// Tells `happened` of every change that matters, until nobody listens.
pub(super) async fn watch_network(happened: mpsc::Sender<ClientInput>) {
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
        if matters && happened.send(ClientInput::NetworkChanged).await.is_err() {
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
