//! Base64 (RFC 4648): what `User-to-User` needs of it, in a tenth of what a general crate takes in a page.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How many bits a digit holds.
const DIGIT_BITS: usize = 6;

/// With padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[group >> (DIGIT_BITS * (3 - place)) & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// In the usual alphabet or the one for URLs, with padding or without; `None` if it is neither, or if bits are left over.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let url = digits.contains(['-', '_']);
    let rest = digits.len() % 4;
    // Padding may be cut off, but there may not be more of it than fills up the last four.
    if rest == 1 || (padding > 0 && (rest < 2 || rest + padding > 4)) || (url && digits.contains(['+', '/'])) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut held, mut bits) = (0_usize, 0);
    for digit in digits.bytes() {
        let plain = match digit {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        let value = ALPHABET.iter().position(|known| *known == plain)?;
        held = (held << DIGIT_BITS | value) & 0xffff;
        bits += DIGIT_BITS;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    // RFC 4648 §3.5: what is left over is zero, or the text was made by something else.
    (held & ((1 << bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};

    use super::*;
    use crate::random::{Random as _, SeededRandom};

    #[test]
    fn a_general_implementation_agrees() {
        let mut random = SeededRandom::new(64);
        for length in 0..200 {
            let mut bytes = vec![0; length % 50];
            random.fill(&mut bytes);
            let text = encode(&bytes);
            assert_eq!(text, STANDARD.encode(&bytes));
            for variant in
                [text.clone(), text.trim_end_matches('=').to_owned(), text.replace('+', "-").replace('/', "_")]
            {
                assert_eq!(decode(&variant).as_deref(), Some(&bytes[..]), "{variant}");
            }
        }
    }

    #[test]
    fn what_a_general_implementation_refuses_is_refused() {
        let mut random = SeededRandom::new(65);
        for _ in 0..20_000 {
            let length = random.below(9);
            let text: String = (0..length).map(|_| char::from(b"AQZw+/-_=5 "[random.below(11) as usize])).collect();
            let expected = STANDARD_PAD_INDIFFERENT.decode(&text).or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(&text));
            assert_eq!(decode(&text), expected.ok(), "{text}");
        }
    }
}
