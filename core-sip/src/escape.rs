//! Texts from elsewhere as an error or a log line may show them: in one line, with nothing in them that is not seen.

use core::fmt;

/// A text in one line: control characters, and those that change the direction of writing or take no room, as `\\u{…}`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            escape(character, f)?;
        }
        Ok(())
    }
}

/// Writes one character so.
pub(crate) fn escape(character: char, out: &mut impl fmt::Write) -> fmt::Result {
    match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '"' | '\\' => {
            out.write_char('\\')?;
            out.write_char(character)
        }
        unseen if is_unseen(unseen) => {
            out.write_str("\\u{")?;
            let code = u32::from(unseen);
            let digits = (u32::BITS - code.leading_zeros()).div_ceil(4).max(1);
            for digit in (0..digits).rev() {
                out.write_char(char::from_digit(code >> (digit * 4) & 15, 16).unwrap_or_default())?;
            }
            out.write_char('}')
        }
        seen => out.write_char(seen),
    }
}

/// The first `most` characters of a text so.
pub(crate) fn escaped(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    Escaped(&text[..end]).to_string()
}

/// Unicode's control characters, and the format characters that could make a line look like another one.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_escaped_and_what_is_seen_is_not() {
        let text = "a\n\t\"\\\0\u{7f}\u{85}\u{202e}\u{e0001}Иван 😀";
        assert_eq!(escaped(text, 99), r#"a\n\t\"\\\u{0}\u{7f}\u{85}\u{202e}\u{e0001}Иван 😀"#);
        assert_eq!(escaped("ЖЖЖ", 2), "ЖЖ");
    }
}
