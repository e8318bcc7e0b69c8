//! A name in memory is handed out without allocation.

#![allow(clippy::unwrap_used, reason = "these are tests; clippy sees only functions marked as such")]

mod known_name;

use known_name::{HELLO_WORLD, KnownName, ready};

#[test]
fn a_name_in_memory_costs_no_allocation() {
    let known = KnownName::new();
    let ask = |times: u32| {
        for _ in 0..times {
            for name in [
                ready(known.client.get_application_name(known.sid)),
                ready(known.client.get_application_name(HELLO_WORLD)),
            ] {
                assert_eq!(name.unwrap().unwrap().as_ref(), Some(&known.name));
            }
        }
    };
    // The first reads set up what moka and its epochs keep for a thread.
    ask(1000);
    let info = allocation_counter::measure(|| ask(10_000));
    assert_eq!(info.count_total, 0, "{info:?}");
    assert_eq!(known.requests(), 1);
}
