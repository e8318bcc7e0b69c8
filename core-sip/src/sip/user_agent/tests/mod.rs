//! Behaviour on a virtual clock.

mod early;
mod edge;
mod flow;
mod incoming;
mod lab;
mod modify;
mod outgoing;
mod pair;
mod referral;
mod registration;
mod robustness;
mod transfer;
mod walk;
