//! G.711: μ-law (PCMU) and A-law (PCMA), ITU-T G.711.
//!
//! The tables for decoding are computed at compile time from the recommendation's segment rules. Both laws take linear
//! samples of 16 bits, of which μ-law keeps 14 and A-law 13.

/// The largest magnitude that μ-law can carry once its bias is added, on the scale of 16 bits.
const MU_CLIP: i32 = 32_635;
/// What μ-law adds so that every segment starts at a power of two: 33 on the scale of 14 bits.
const MU_BIAS: i32 = 132;
/// A-law sends every second bit inverted (G.711 §3.1).
const A_TOGGLE: u8 = 0x55;

const MU_LAW_DECODED: [i16; 256] = {
    let mut table = [0_i16; 256];
    let mut code = 0_usize;
    while code < 256 {
        table[code] = mu_law_expand(code as u8);
        code += 1;
    }
    table
};

const A_LAW_DECODED: [i16; 256] = {
    let mut table = [0_i16; 256];
    let mut code = 0_usize;
    while code < 256 {
        table[code] = a_law_expand(code as u8);
        code += 1;
    }
    table
};

const fn mu_law_expand(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 7;
    let magnitude = (((((code & 0x0F) as i32) << 3) + MU_BIAS) << segment) - MU_BIAS;
    (if code & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

const fn a_law_expand(code: u8) -> i16 {
    let code = code ^ A_TOGGLE;
    let segment = (code >> 4) & 7;
    let step = ((code & 0x0F) as i32) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    (if code & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

/// One linear sample as μ-law.
#[must_use]
pub fn mu_law_encode(sample: i16) -> u8 {
    let value = i32::from(sample);
    let sign = if value < 0 { 0x80_u8 } else { 0 };
    let magnitude = value.abs().min(MU_CLIP) + MU_BIAS;
    // The segment is the position of the highest set bit above bit 7; the bias guarantees that bit 7 is reached.
    let segment = (24 - u8::try_from(magnitude.leading_zeros()).unwrap_or(24)).min(7);
    let mantissa = u8::try_from((magnitude >> (segment + 3)) & 0x0F).unwrap_or(0);
    !(sign | (segment << 4) | mantissa)
}

/// One μ-law octet as a linear sample.
#[must_use]
pub const fn mu_law_decode(code: u8) -> i16 {
    MU_LAW_DECODED[code as usize]
}

/// One linear sample as A-law.
#[must_use]
pub fn a_law_encode(sample: i16) -> u8 {
    // A-law is symmetric in its codes: -1 - x mirrors x, as in the recommendation's tables.
    let (sign, magnitude) = if sample >= 0 { (0x80_u8, i32::from(sample)) } else { (0, -1 - i32::from(sample)) };
    let code = if magnitude < 256 {
        u8::try_from(magnitude >> 4).unwrap_or(0)
    } else {
        let segment = (24 - u8::try_from(magnitude.leading_zeros()).unwrap_or(24)).min(7);
        let mantissa = u8::try_from((magnitude >> (segment + 3)) & 0x0F).unwrap_or(0);
        (segment << 4) | mantissa
    };
    (sign | code) ^ A_TOGGLE
}

/// One A-law octet as a linear sample.
#[must_use]
pub const fn a_law_decode(code: u8) -> i16 {
    A_LAW_DECODED[code as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_code_points_of_the_recommendation() {
        // μ-law: silence is 0xFF, the extremes 0x80 and 0x00 decode to ±8031 on the scale of 14 bits.
        assert_eq!(mu_law_encode(0), 0xFF);
        assert_eq!(mu_law_decode(0xFF), 0);
        assert_eq!(mu_law_decode(0x80), 32_124);
        assert_eq!(mu_law_decode(0x00), -32_124);
        assert_eq!(mu_law_encode(i16::MAX), 0x80);
        assert_eq!(mu_law_encode(i16::MIN), 0x00);
        // A-law: the smallest positive value is 0xD5, the extremes 0xAA and 0x2A decode to ±4032 on 13 bits.
        assert_eq!(a_law_encode(0), 0xD5);
        assert_eq!(a_law_decode(0xD5), 8);
        assert_eq!(a_law_encode(-1), 0x55);
        assert_eq!(a_law_decode(0xAA), 32_256);
        assert_eq!(a_law_decode(0x2A), -32_256);
        assert_eq!(a_law_encode(i16::MAX), 0xAA);
        assert_eq!(a_law_encode(i16::MIN), 0x2A);
    }

    #[test]
    fn every_octet_survives_decoding_and_encoding() {
        for code in 0..=u8::MAX {
            // μ-law has two zeros; the negative one comes back as the positive one.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(mu_law_encode(mu_law_decode(code)), expected, "μ-law {code:#04x}");
            assert_eq!(a_law_encode(a_law_decode(code)), code, "A-law {code:#04x}");
        }
    }

    #[test]
    fn the_error_of_every_sample_stays_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let value = i32::from(sample);
            // The step of a segment is a sixteenth of its size, so half a step is 1/32 of the value, at least 8.
            let allowed = (value.abs() / 32 + 16).max(16) + if value.abs() > 32_000 { 700 } else { 0 };
            let mu = (i32::from(mu_law_decode(mu_law_encode(sample))) - value).abs();
            let a = (i32::from(a_law_decode(a_law_encode(sample))) - value).abs();
            assert!(mu <= allowed && a <= allowed, "{sample}: μ {mu}, A {a}, allowed {allowed}");
        }
    }
}
