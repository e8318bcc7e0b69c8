//! Which known key a misspelt one was meant to be.

use super::{KEYS, VITE_PREFIX};

/// Names shorter than this are too near to too many others.
const SHORTEST_LOOKED_AT: usize = 6;

/// The known key that `name`, which is none, is probably meant to be: one or two letters off (three in long names), or in
/// another case or with `-` for `_`.
pub(crate) fn meant_by(name: &str) -> Option<&'static str> {
    let plain = name.to_ascii_uppercase().replace('-', "_");
    let plain = plain.strip_prefix(VITE_PREFIX).unwrap_or(&plain);
    if plain.len() < SHORTEST_LOOKED_AT {
        return None;
    }
    let allowed = match plain.len() {
        0..=8 => 1,
        9..=15 => 2,
        _ => 3,
    };
    KEYS.iter()
        .map(|key| (distance(plain, key.name), key.name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out, changed or swapped with their neighbour to make `b` of `a` (the optimal
/// string alignment distance, in bytes: keys are ASCII).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let changed = last[column] + usize::from(from != to);
            let mut best = changed.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *from == b[column - 1] && a[row - 1] == *to {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3), ("ab", "b", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn every_key_is_recognised_with_a_letter_too_few_too_many_or_swapped() {
        for key in &KEYS {
            let name = key.name;
            let too_few = format!("{}{}", &name[..3], &name[4..]);
            let too_many = format!("{}X{}", &name[..5], &name[5..]);
            let swapped: String = {
                let mut letters: Vec<char> = name.chars().collect();
                let last = letters.len() - 1;
                letters.swap(last, last - 1);
                letters.into_iter().collect()
            };
            for typo in [too_few, too_many, swapped, name.to_ascii_lowercase(), name.replace('_', "-")] {
                // The last two letters may be the same.
                if typo != name {
                    assert_eq!(meant_by(&typo), Some(name), "{typo}");
                    assert_eq!(meant_by(&format!("VITE_{typo}")), Some(name), "VITE_{typo}");
                }
            }
        }
    }

    #[test]
    fn what_else_is_in_an_environment_is_no_typo() {
        for other in [
            "PATH",
            "LANG",
            "HOME",
            "LC_ALL",
            "LANGUAGE",
            "CUSTOMER",
            "API_KEY",
            "VITE_API_URL",
            "ICE",
            "TARGET",
            "STUN",
            "JAMBONZ_WEBHOOK_SECRET",
            "USERNAME",
            "PASSWORD",
            "RUST_LOG",
            "HOSTNAME",
            "SIP_DOMAIN",
        ] {
            assert_eq!(meant_by(other), None, "{other}");
        }
    }
}
