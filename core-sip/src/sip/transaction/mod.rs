//! Client and server transactions of RFC 3261 §17 over a reliable transport, with the corrections of RFC 6026.
//!
//! These are the bare state machines: they hold a state and a deadline, and answer "what now?". They send nothing
//! and store no message; [`crate::sip::user_agent`] does both. Over a reliable transport nothing is retransmitted
//! by a transaction: timers A, E and G do not run and timers D, I, J and K are zero, so that a transaction ends as
//! soon as its final response has been passed on.

mod client;
mod server;

pub use client::{ClientStep, ClientTransaction};
pub use server::{ServerStep, ServerTransaction};

use std::time::Duration;

/// What a transaction is for; INVITE has a machine of its own (RFC 3261 §17.1.1, §17.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionKind {
    /// INVITE.
    Invite,
    /// Every other method but ACK, which has no transaction.
    NonInvite,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Client: the request is sent, nothing has come back (`Calling` for INVITE). Server: the request has come and
    /// nothing was answered.
    Trying,
    /// There has been a provisional response.
    Proceeding,
    /// There has been a final response other than 2xx to an INVITE (server: it waits for its ACK).
    Completed,
    /// Server: the ACK of a failure has come.
    Confirmed,
    /// INVITE: there has been a 2xx; more of them may come (RFC 6026).
    Accepted,
    /// It is over.
    Terminated,
}

/// The base timers of RFC 3261 §17.1.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerSettings {
    /// Estimate of the round-trip time.
    pub t1: Duration,
    /// The longest interval at which a 2xx to INVITE is sent again.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl TimerSettings {
    /// 64 × T1: timers B, F, H, L and M.
    #[must_use]
    pub fn transaction_timeout(&self) -> Duration {
        self.t1 * 64
    }
}

impl Default for TimerSettings {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}
