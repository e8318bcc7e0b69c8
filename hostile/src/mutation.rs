//! Changes of valid input that a number determines.

use codex_core_sip::random::{Random as _, SeededRandom};

/// What a grammar of SIP trips over: separators, ends of lines, numbers at their limits, names that mean something.
const DICTIONARY: [&[u8]; 38] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b",",
    b";",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"=",
    b":",
    b"[::1]",
    b"%",
    b"%00",
    b"\xff",
    b"\xd0\x98",
    b"0",
    b"-1",
    b"2147483647",
    b"2147483648",
    b"4294967296",
    b"18446744073709551616",
    b"SIP/2.0",
    b"Content-Length: 9\r\n",
    b"Via: SIP/2.0/WS a;branch=z9hG4bK\r\n",
    b"Expires: 0\r\n",
    b";tag=",
    b";branch=",
    b"INVITE",
    b"ACK",
    b"CSeq: 1 ACK\r\n",
    b"m=audio 0 RTP/AVP 0\r\n",
];

/// The longest that an input becomes.
const LONGEST: usize = 8 * 1024;
/// Changes of one input.
const CHANGES: u64 = 6;

/// Makes one input after the other; the same seed, the same inputs.
#[derive(Debug)]
pub struct Mutator {
    random: SeededRandom,
}

impl Mutator {
    /// The inputs that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: SeededRandom::new(seed) }
    }

    /// One of `seeds` with one to six changes.
    pub fn mutate(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.choose(seeds).to_vec();
        for _ in 0..=self.random.below(CHANGES - 1) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    /// `length` random bytes.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
        let (from, to) = self.range(bytes.len());
        match self.random.below(8) {
            0 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << self.random.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = self.random.below(256) as u8;
                }
            }
            2 => drop(bytes.drain(from..to)),
            3 => {
                let copy = bytes[from..to].to_vec();
                for _ in 0..=self.random.below(4) {
                    bytes.splice(from..from, copy.iter().copied());
                }
            }
            4 | 5 => {
                let word = self.choose(&DICTIONARY);
                bytes.splice(from..from, word.iter().copied());
            }
            6 => {
                let other = self.choose(seeds);
                let (start, end) = self.range(other.len());
                bytes.splice(from..to, other[start..end].iter().copied());
            }
            _ => bytes.truncate(to),
        }
        bytes.truncate(LONGEST);
    }

    fn choose<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        let index = usize::try_from(self.random.below(from.len() as u64)).unwrap_or(0);
        from.get(index).copied().unwrap_or_default()
    }

    /// A range within `length`, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let longest = if self.random.below(4) == 0 { length } else { 24 };
        let mut below = |bound: usize| usize::try_from(self.random.below(bound as u64)).unwrap_or(0);
        let from = below(length + 1);
        (from, (from + below(longest + 1)).min(length))
    }
}
