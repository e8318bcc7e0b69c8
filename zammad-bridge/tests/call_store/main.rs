//! What every adapter of `CallStore` must do.
//!
//! [`suite`]: behaviours, one by one. [`state_machine`]: random operations, restarts and cut-offs, compared with the plain
//! [`model`] after each. [`cut_off`]: many at once, in processes that end at any moment. Each is written against
//! [`bench::StoreBench`]; what only one adapter can do stands in a module of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic, clippy::print_stdout)]

mod bench;
mod cut_off;
mod model;
mod postgres;
mod sqlite;
mod state_machine;
mod suite;
