//! Behaviour on a virtual clock.

mod edge;
mod flow;
mod incoming;
mod lab;
mod outgoing;
mod pair;
mod registration;
mod robustness;
