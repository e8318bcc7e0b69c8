//! Texts made fit for where they are shown.

/// The last of the ten mathematical monospace digits begins at U+1D7F6 with zero.
const MONOSPACE_ZERO: u32 = 0x1_D7F6;

/// `text` with its ASCII digits as mathematical monospace digits (U+1D7F6 to U+1D7FF).
///
/// Zammad shows of a `from` with ASCII digits nothing but those, and takes them for a phone number; these it leaves alone,
/// and they look the same.
#[must_use]
pub fn with_foreign_digits(text: &str) -> String {
    let foreign = |c: char| c.to_digit(10).and_then(|digit| char::from_u32(MONOSPACE_ZERO + digit)).unwrap_or(c);
    text.chars().map(foreign).collect()
}

/// `text` in one line: control characters and line breaks become blanks, runs of white space one; characters that change
/// the direction of writing, with which a caller could make a text look like another, are dropped.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() || c.is_whitespace() => {
                if !line.ends_with(' ') && !line.is_empty() {
                    line.push(' ');
                }
            }
            c => line.push(c),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// `text`, cut to `limit` Unicode characters if it is longer, `…` its last then. What hangs on the character before (an
/// accent, a skin tone, the rest of a joined emoji) is not cut from it: it goes with it.
#[must_use]
pub fn cut_characters(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().take(limit).collect();
    let mut end = limit.saturating_sub(1);
    while end > 0
        && (characters.get(end).copied().is_some_and(hangs_on)
            || characters.get(end - 1).is_some_and(|before| *before == '\u{200d}'))
    {
        end -= 1;
    }
    let mut cut: String = characters.into_iter().take(end).collect();
    cut.truncate(cut.trim_end().len());
    if limit > 0 {
        cut.push('…');
    }
    cut
}

/// Whether a character belongs to the one before it.
const fn hangs_on(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{0591}'..='\u{05bd}' | '\u{064b}'..='\u{065f}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_those_that_zammad_leaves_alone() {
        assert_eq!(with_foreign_digits("webcall:abc12345 → voicebot"), "webcall:abc𝟷𝟸𝟹𝟺𝟻 → voicebot");
        assert_eq!(with_foreign_digits("0９٣"), "𝟶９٣");
    }

    #[test]
    fn one_line_has_no_breaks_and_no_tricks() {
        assert_eq!(one_line(" Иван\r\n\tИванов\u{202e}\0 "), "Иван Иванов");
        assert_eq!(one_line("\u{85}"), "");
    }

    #[test]
    fn nothing_is_cut_in_half() {
        assert_eq!(cut_characters("абвг", 4), "абвг");
        assert_eq!(cut_characters("абвгд", 4), "абв…");
        // A base and its accent stay together, and so does a family of three.
        assert_eq!(cut_characters("abe\u{301}fg", 4), "ab…");
        assert_eq!(cut_characters("a👨\u{200d}👩\u{200d}👧bcdefgh", 5), "a…");
        assert_eq!(cut_characters("👍\u{1f3fd}👍\u{1f3fd}", 3), "👍\u{1f3fd}…");
        assert_eq!(cut_characters("abc", 0), "");
        for limit in 0..20 {
            assert!(cut_characters("x👨\u{200d}👩\u{200d}👧 длинный текст e\u{301}", limit).chars().count() <= limit);
        }
    }
}
