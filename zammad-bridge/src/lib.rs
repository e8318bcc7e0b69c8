//! The sidecar between jambonz and Zammad: every call in Zammad's caller log, readable, in order, whatever happens.
//!
//! ```text
//! jambonz ──call_hook──►┐                    ┌─► upstream application hook
//!         ──status────►│ receive ─ commit ─► call book + outbox ─ deliver ─► Zammad CTI, tickets
//! core-sip client ────►┘                        (store)                └─► admin page, metrics
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`call_book`] | facts of a call in, one record out, and what Zammad should be told of it: pure |
//! | [`record`] | what an agent sees, in English and Russian: pure |
//! | [`store`] | the port [`store::CallStore`]: facts are on disk before they are acknowledged; adapters on SQLite (one process) and PostgreSQL (several) |
//! | [`delivery`] | the port [`delivery::Zammad`]; order, retries, circuit, dead letters; caller log and tickets |
//! | [`receive`] | jambonz' hooks, reports of other programs, and the application behind the bridge |
//! | [`config`] | settings from flags, environment, `.env` and TOML, all problems told at once |
//! | [`bridge`], [`housekeeping`] | everything together: what `codex-zammad-bridge serve` runs |
//! | [`admin`], [`metrics`] | the admin page, health, the list of calls; what is counted |
//! | [`listener`] | connections: how many there may be, and how long each may say nothing |
//! | [`tally`] | wrong tokens and the like, counted by where they come from |
//! | [`control`] | what commands ask of a bridge that runs |
//! | `client` | the port `CallRecordSink` over HTTP, for programs that report their calls (feature `client`, without the rest) |
//! | [`clock`], [`error`] | time that comes in from outside; what can go wrong and what to do |
//!
//! # What is promised
//!
//! A fact that was acknowledged is on disk, and Zammad is told of it at least once, strictly in order within its call.
//! It is told again only if the process died between Zammad's answer and our note of it: at most as many times as
//! requests may be under way ([`delivery::ZammadSettings::concurrency`]).

#![cfg_attr(
    not(feature = "bridge"),
    allow(rustdoc::broken_intra_doc_links, reason = "the bridge is documented where it is")
)]

#[cfg(feature = "bridge")]
pub mod admin;
#[cfg(feature = "bridge")]
pub mod bridge;
#[cfg(feature = "bridge")]
pub mod call_book;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "bridge")]
pub mod clock;
#[cfg(feature = "bridge")]
pub mod config;
#[cfg(feature = "bridge")]
pub mod control;
#[cfg(feature = "bridge")]
pub mod delivery;
#[cfg(feature = "bridge")]
pub mod error;
#[cfg(feature = "bridge")]
pub mod housekeeping;
pub mod http_client;
#[cfg(feature = "bridge")]
pub mod late_store;
#[cfg(feature = "bridge")]
pub mod listener;
#[cfg(feature = "bridge")]
pub mod metrics;
#[cfg(feature = "bridge")]
pub mod receive;
#[cfg(feature = "bridge")]
pub mod record;
#[cfg(feature = "bridge")]
pub mod store;
#[cfg(feature = "bridge")]
pub mod tally;

#[cfg(feature = "bridge")]
pub use error::{Error, Result};
