//! Behaviour on a virtual clock.

mod edge;
mod flow;
mod incoming;
mod lab;
mod modify;
mod outgoing;
mod pair;
mod registration;
mod robustness;
