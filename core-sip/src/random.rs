//! Randomness as the user agent knows it: a source that comes in from outside.

/// A source of unpredictable bytes.
///
/// Call-IDs, tags, branches, nonces and jitter are drawn from it. Natively it is `OsRandom`, in the browser
/// `crypto.getRandomValues`, in tests a [`SeededRandom`].
pub trait Random: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A number in `0..bound`; 0 if `bound` is 0. The bias is below 2⁻³² for every bound that fits 32 bits.
    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0_u8; 8];
        self.fill(&mut bytes);
        let product = u128::from(u64::from_le_bytes(bytes)) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// `count` random letters out of `a..=z`.
    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'a' + u8::try_from(self.below(26)).unwrap_or(0))).collect()
    }

    /// `count` random characters out of `a..=z` and `0..=9`.
    fn alphanumerics(&mut self, count: usize) -> String {
        const SET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..count).map(|_| char::from(SET[usize::try_from(self.below(36)).unwrap_or(0)])).collect()
    }
}

impl<R: Random + ?Sized> Random for Box<R> {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

/// A reproducible source (SplitMix64) for tests, simulations and fuzzing. Predictable: never use it on a network.
#[derive(Debug, Clone)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// The source that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let word = (word ^ (word >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// The operating system's source.
#[cfg(any(feature = "client", feature = "webrtc"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

#[cfg(any(feature = "client", feature = "webrtc"))]
impl Random for OsRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which randomness comes in")]
    #[expect(
        clippy::panic,
        reason = "without randomness no Call-ID, nonce or key is safe; systems that lack it do not start"
    )]
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no random bytes: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_numbers_stay_in_bounds_and_reach_both_ends() {
        let mut random = SeededRandom::new(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(random.below(5)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn letters_are_letters() {
        let text = SeededRandom::new(1).letters(64);
        assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
    }
}
