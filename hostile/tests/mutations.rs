//! Valid input, changed: what holds of every target holds of all changes. The seeds of a failure are in its message.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use codex_hostile::{HostilePeer, Mutator, TARGETS, Target};

/// Inputs of each target in every test run.
const FEW: u64 = 2_000;
/// Inputs of each target in the whole of `cargo xtask soak`.
const MANY: u64 = 1_000_000;
/// Inputs that come from one seed: enough for a failure to be repeated in a moment.
const BATCH: u64 = 1_000;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).expect("a target of this name")
}

/// The part of the whole that this run is to do.
fn soak(inputs: u64) -> u64 {
    let share = env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse::<f64>().ok()).unwrap_or(1.0);
    ((inputs as f64 * share) as u64).max(BATCH)
}

fn survives(name: &str, inputs: u64) {
    let target = target(name);
    for seed in 0..inputs.div_ceil(BATCH) {
        let mut mutator = Mutator::new(seed);
        for _ in 0..BATCH.min(inputs) {
            let input = mutator.mutate(target.seeds);
            let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            assert!(outcome.is_ok(), "{name}, seed {seed}: {}", input.escape_ascii());
        }
    }
}

/// One user agent for all of the input: what it holds stays bounded.
fn stays_small(edge: bool, inputs: u64) {
    /// What a user agent may hold with every table full of messages as large as the seeds'.
    const BOUND: i64 = 4 * 1024 * 1024;
    let mut peer = HostilePeer::new(edge);
    let mut mutator = Mutator::new(u64::from(edge));
    let seeds = target("user_agent").seeds;
    let mut held = 0;
    for round in 0..inputs {
        // Destroying would make the rest easy.
        let mut script = if round % 2 == 0 { mutator.mutate(seeds) } else { mutator.noise(64) };
        script.iter_mut().filter(|byte| **byte % 16 == 14).for_each(|byte| *byte = 4);
        held += allocation_counter::measure(|| peer.hear(&script)).bytes_current;
        assert!(!peer.is_destroyed() && held < BOUND, "round {round}: {held} bytes");
    }
    assert!(peer.messages_sent() > inputs, "it has hardly spoken: {} messages", peer.messages_sent());
    // An hour later all that is left is what it needs to go on.
    held += allocation_counter::measure(|| peer.finish()).bytes_current;
    assert!(held < BOUND / 8, "{held} bytes after the end");
}

#[test]
fn the_seeds_themselves_pass() {
    for target in TARGETS {
        target.seeds.iter().for_each(|seed| (target.run)(seed));
        (target.run)(b"");
    }
}

macro_rules! targets {
    ($($name:ident $soak:ident,)*) => {$(
        #[test]
        fn $name() {
            survives(stringify!($name), FEW);
        }

        #[test]
        #[ignore = "long: `cargo xtask soak`"]
        fn $soak() {
            survives(stringify!($name), soak(MANY));
        }
    )*};
}

targets! {
    message soak_message,
    uri soak_uri,
    header soak_header,
    sdp soak_sdp,
    digest soak_digest,
    user_agent soak_user_agent,
}

#[test]
fn a_user_agent_stays_small_whatever_it_hears() {
    stays_small(false, 300);
    stays_small(true, 300);
}

#[test]
#[ignore = "long: `cargo xtask soak`"]
fn soak_a_user_agent_stays_small_whatever_it_hears() {
    stays_small(false, soak(MANY / 20));
    stays_small(true, soak(MANY / 20));
}
