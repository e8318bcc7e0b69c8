//! JSON values as they stand in customer data and in what a log line says: `serde_json`'s, except in the browser.
//!
//! There numbers are kept as they were written. Reading and writing doubles takes 30 kB of code and tables, which nothing
//! in a page needs, and a hash map beside the keys' order another 6 kB.

#[cfg(not(target_arch = "wasm32"))]
pub use serde_json::{Map, Number, Value};

#[cfg(target_arch = "wasm32")]
pub use small::{Map, Number, Value};

#[cfg(any(test, target_arch = "wasm32"))]
mod small;
