//! How long anything that xtask starts may take. A run that hangs ends with a word about what hung.

use std::time::Duration;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Questions with a short answer: versions, `cargo metadata`, `dpkg-query`, `ip`.
pub(crate) const QUESTION: Duration = minutes(1);
/// `cargo fmt --check`.
pub(crate) const FMT: Duration = minutes(2);
/// `cargo deny check`, the download of the crates of foreign platforms included.
pub(crate) const DENY: Duration = minutes(10);
/// `cargo install cargo-deny` from source.
pub(crate) const DENY_INSTALL: Duration = minutes(40);
/// One run of clippy or rustdoc, dependencies included.
pub(crate) const LINT: Duration = minutes(40);
/// Compiling tests, scenarios or the demo from nothing.
pub(crate) const BUILD: Duration = minutes(60);
/// Unit and integration tests, once built.
pub(crate) const UNIT_TESTS: Duration = minutes(30);
/// Doc tests: compiled one by one.
pub(crate) const DOC_TESTS: Duration = minutes(30);
/// The whole end-to-end suite, once built. One scenario's limit stands in `.config/nextest.toml`.
pub(crate) const E2E: Duration = minutes(60);
/// `demo --check`, once built.
pub(crate) const DEMO_CHECK: Duration = minutes(3);
/// A demo that a person looks at.
pub(crate) const DEMO: Duration = minutes(12 * 60);
/// Soak with the whole share; a part of it gets its part, but never less than [`SOAK_LEAST`].
pub(crate) const SOAK: Duration = minutes(5 * 60);
/// The least that soak gets, however small its share.
pub(crate) const SOAK_LEAST: Duration = minutes(10);
/// All that one program measures.
pub(crate) const BENCH: Duration = minutes(20);
/// `npm install` of one package.
pub(crate) const NPM: Duration = minutes(5);
/// `rustup target add`: a download of some seconds, or attempts without a network.
pub(crate) const RUSTUP: Duration = minutes(3);
/// A toolchain for browsers made of Debian's packages, std compiled.
pub(crate) const WASM_TOOLCHAIN: Duration = minutes(30);
/// `apt-get update` and `apt-get install` of the peers' packages.
pub(crate) const PACKAGES: Duration = minutes(30);

/// A child that is still at work says so this often.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(25);
/// A child that was asked to end has this long before it is killed. Longer than nextest's own grace period, within
/// which it ends the processes of its tests.
pub(crate) const GRACE: Duration = Duration::from_secs(15);
/// How often a running child is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// What soak may take when it does `share` (0 to 1) of its work.
pub(crate) fn soak(share: f64) -> Duration {
    SOAK.mul_f64(share.clamp(0.0, 1.0)).max(SOAK_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_soak_gets_its_share_of_time() {
        assert_eq!(soak(1.0), SOAK);
        assert_eq!(soak(0.2), minutes(60));
        assert_eq!(soak(0.001), SOAK_LEAST);
        assert_eq!(soak(7.0), SOAK);
    }
}
