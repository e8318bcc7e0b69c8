//! Things counted by where they come from, such as wrong tokens: after a few, everything from there is refused for a while.
//!
//! Counted apart, so that somebody who guesses tokens locks out nobody else: by address (an IPv6 network of 64 bits is one), and
//! what comes through a proxy apart from what comes straight from the proxy's machine, such as this program's own commands.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;

use crate::clock::UnixMillis;

/// How many wrong tokens are looked at in [`WINDOW`].
pub const MAX_WRONG: u32 = 10;
/// The time in which is counted; it begins with the first.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How many places are counted apart; when there are more, all further ones are one.
const MAX_PLACES: usize = 1024;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// `None` if the peer is not known.
    network: Option<IpAddr>,
    through_proxy: bool,
}

impl Place {
    /// Everywhere that is not counted apart; also to count what comes from anywhere at all.
    pub const ANYWHERE: Self = Self { network: None, through_proxy: true };

    /// Of the peer's address, and of the headers that a proxy adds.
    #[must_use]
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap) -> Self {
        let network = peer.map(|peer| match peer.ip().to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        });
        Self { network, through_proxy: comes_through_proxy(headers) }
    }
}

/// Whether a proxy says that it has passed a request on.
#[must_use]
pub fn comes_through_proxy(headers: &HeaderMap) -> bool {
    const OF_PROXIES: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    OF_PROXIES.iter().any(|name| headers.contains_key(*name))
}

/// The counts.
#[derive(Debug)]
pub struct Tally {
    most: u32,
    counts: Mutex<HashMap<Place, Counted>>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    since: UnixMillis,
    count: u32,
}

impl Default for Tally {
    /// For wrong tokens.
    fn default() -> Self {
        Self::of_at_most(MAX_WRONG)
    }
}

impl Tally {
    /// Lets so many from one place pass in [`WINDOW`].
    #[must_use]
    pub fn of_at_most(most: u32) -> Self {
        Self { most, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Place, Counted>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many seconds nothing from there is looked at, if too many came from there; to be asked before a token is compared.
    #[must_use]
    pub fn closed_for_s(&self, place: Place, now: UnixMillis) -> Option<u64> {
        let counts = self.counts();
        let counted =
            counts.get(&place).or_else(|| counts.get(&Place::ANYWHERE).filter(|_| counts.len() > MAX_PLACES))?;
        let passed = now.saturating_since(counted.since);
        (counted.count >= self.most && passed < WINDOW).then(|| WINDOW.saturating_sub(passed).as_secs() + 1)
    }

    /// One came from there.
    pub fn count(&self, place: Place, now: UnixMillis) {
        let mut counts = self.counts();
        if !counts.contains_key(&place) && counts.len() >= MAX_PLACES {
            counts.retain(|_, counted| now.saturating_since(counted.since) < WINDOW);
        }
        let place = if counts.contains_key(&place) || counts.len() < MAX_PLACES { place } else { Place::ANYWHERE };
        let counted = counts.entry(place).or_insert(Counted { since: now, count: 0 });
        if now.saturating_since(counted.since) >= WINDOW {
            *counted = Counted { since: now, count: 0 };
        }
        counted.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(peer: &str) -> Place {
        Place::of(Some(peer.parse().unwrap()), &HeaderMap::new())
    }

    #[test]
    fn who_guesses_is_refused_for_a_while_and_nobody_else_is() {
        let (tally, now) = (Tally::default(), UnixMillis::new(1_000_000));
        let (own, other) = (place("192.0.2.1:4000"), place("192.0.2.2:4000"));
        for _ in 0..MAX_WRONG {
            assert_eq!(tally.closed_for_s(own, now), None);
            tally.count(own, now);
        }
        assert_eq!(tally.closed_for_s(place("192.0.2.1:5000"), now), Some(61), "whatever its port");
        assert_eq!(tally.closed_for_s(other, now), None);
        assert_eq!(tally.closed_for_s(own, now + WINDOW), None);
        tally.count(own, now + WINDOW);
        assert_eq!(tally.closed_for_s(own, now + WINDOW), None, "counted anew");
    }

    #[test]
    fn places_are_told_apart() {
        let proxied: HeaderMap =
            [("x-forwarded-for".parse().unwrap(), "192.0.2.9".parse().unwrap())].into_iter().collect();
        let here: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_ne!(Place::of(Some(here), &proxied), Place::of(Some(here), &HeaderMap::new()));
        assert_eq!(place("[::ffff:127.0.0.1]:1"), place("127.0.0.1:2"));
        assert_eq!(place("[2001:db8::1]:1"), place("[2001:db8::ffff:2]:1"));
        assert_ne!(place("[2001:db8::1]:1"), place("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn a_crowd_of_guessers_takes_no_memory_without_end() {
        let (tally, now) = (Tally::default(), UnixMillis::new(1_000_000));
        let at = |number: u32| place(&format!("{}:1", std::net::Ipv4Addr::from_bits(0x0a00_0000 + number)));
        for number in 0..5_000 {
            tally.count(at(number), now);
        }
        assert_eq!(tally.counts().len(), MAX_PLACES + 1);
        assert!(tally.closed_for_s(at(4_999), now).is_some(), "all further ones are one");
        assert_eq!(tally.closed_for_s(at(7), now), None);
        tally.count(at(6_000), now + WINDOW);
        assert_eq!(tally.counts().len(), 1, "what is over is forgotten");
    }
}
