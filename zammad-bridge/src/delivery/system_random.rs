//! Randomness for waits.

use codex_core_sip::random::Random;

/// The operating system's source, for the jitter of waits: should it fail, waits are merely less random.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which randomness comes in")]
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            tracing::warn!(%error, "the operating system gives no random bytes; retries are not spread");
        }
    }
}
