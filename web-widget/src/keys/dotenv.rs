//! `.env` files, as the npm package `dotenv` reads them, with line numbers.
//!
//! Not by a crate: `dotenvy` replaces `$NAME` in values, which the files at hand never meant (passwords hold `$`), and
//! says of a wrong line what but not where.

/// `KEY=value` or `KEY: value`, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    /// From 1.
    pub(super) line: usize,
    /// An unquoted value with a `#` in it: some readers would have cut it there.
    pub(super) holds_hash: bool,
}

/// A line that is neither an entry nor a comment nor empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// From 1.
    pub(super) line: usize,
    pub(super) why: Why,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    NoAssignment,
    /// The quote that is not closed.
    Unclosed(char),
}

/// Reads a whole file: its entries, and the lines that are none.
///
/// `export ` before a key is dropped. `KEY: value` is `KEY=value`; white space must follow the colon. Values in `'…'`, `"…"` or `` `…` `` may go over several lines; in double quotes
/// `\n`, `\r` and `\"` are escapes. An unquoted value ends at ` #`.
pub(super) fn read(text: &str) -> (Vec<Entry>, Vec<Unread>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let Some((name, value)) = assignment(first) else {
            unread.push(Unread { line, why: Why::NoAssignment });
            (rest, line) = (after, line + 1);
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        match value.chars().next().filter(|first| matches!(first, '\'' | '"' | '`')) {
            None => {
                let end = comment_start(value).unwrap_or(value.len());
                let plain = value[..end].trim();
                let holds_hash = plain.contains('#');
                entries.push(Entry { key: name, value: plain.to_owned(), line, holds_hash });
                (rest, line) = (after, line + 1);
            }
            Some(quote) => {
                // The value may go on in the lines below: look at the file from the quote on.
                let from = first.len() - value.len() + quote.len_utf8();
                let body = &rest[from..];
                let Some(length) = closing(body, quote) else {
                    unread.push(Unread { line, why: Why::Unclosed(quote) });
                    (rest, line) = (after, line + 1);
                    continue;
                };
                let raw = &body[..length];
                let value = if quote == '"' { unescape(raw) } else { raw.to_owned() };
                entries.push(Entry { key: name, value, line, holds_hash: false });
                line += raw.matches('\n').count() + 1;
                // What follows the closing quote in its line is a comment, or nothing.
                rest = body[length + quote.len_utf8()..].split_once('\n').map_or("", |(_, after)| after);
            }
        }
    }
    (entries, unread)
}

/// Key and raw value of `KEY=value` or `KEY: value`.
fn assignment(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line).trim_start();
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let value = match rest.strip_prefix(':') {
        // `KEY:value` is refused, as the npm package has it: it may well be something else.
        Some(value) => (value.is_empty() || value.starts_with(char::is_whitespace)).then_some(value),
        None => rest.trim_start().strip_prefix('='),
    }?;
    (!name.is_empty()).then(|| (name.to_owned(), value))
}

/// Where a comment begins in an unquoted value: at a `#` that opens it or follows white space.
fn comment_start(value: &str) -> Option<usize> {
    value
        .char_indices()
        .find(|&(at, c)| c == '#' && value[..at].chars().last().is_none_or(char::is_whitespace))
        .map(|(at, _)| at)
}

/// Where the closing quote stands.
fn closing(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if c == quote && !escaped {
            return Some(at);
        }
        escaped = quote == '"' && c == '\\' && !escaped;
    }
    None
}

fn unescape(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut characters = raw.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match characters.peek() {
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('"') => value.push('"'),
            // Others keep their backslash, as JSON within needs it.
            Some(&other) => value.extend(['\\', other]),
            None => value.push('\\'),
        }
        characters.next();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        let (entries, unread) = read(text);
        assert_eq!(unread, [], "{text}");
        entries.into_iter().map(|entry| (entry.key, entry.value, entry.line)).collect()
    }

    #[test]
    fn values_as_people_write_them() {
        for (text, value) in [
            ("A=1", "1"),
            ("  export A = 1  ", "1"),
            ("A=", ""),
            ("A=a b", "a b"),
            ("A=1 # one", "1"),
            ("A=# nothing", ""),
            ("A=p#ss", "p#ss"),
            ("A='p # s$s'", "p # s$s"),
            ("A=\"p # ss\" # comment", "p # ss"),
            ("A=`it's \"it\"`", "it's \"it\""),
            (r#"A="{\"a\":1}""#, r#"{"a":1}"#),
            (r#"A='{"a":"\n"}'"#, r#"{"a":"\n"}"#),
            (r#"A="a\nb\\c\d""#, "a\nb\\\\c\\d"),
            ("A=wss://a.example?x=1", "wss://a.example?x=1"),
            ("A=$B${C}", "$B${C}"),
            ("A=Иван", "Иван"),
            ("\u{feff}A=1\r\n", "1"),
            ("A: 1", "1"),
            ("export A:\t1 # one", "1"),
            ("A: wss://a.example:8443", "wss://a.example:8443"),
            ("A: 'p # s$s'", "p # s$s"),
            ("A: b=c", "b=c"),
            ("A: \"a: b\"\r\n", "a: b"),
            ("A=b: c", "b: c"),
            ("A:\r\n", ""),
            ("A:", ""),
        ] {
            assert_eq!(values(text), [("A".to_owned(), value.to_owned(), 1)], "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_long_values() {
        let text = "# one\n\nA='{\n  \"a\": 1\n}'\nB=2\nexport C=3\n";
        let found = values(text);
        let expected = [("A", "{\n  \"a\": 1\n}", 3), ("B", "2", 6), ("C", "3", 7)];
        assert_eq!(found, expected.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line)));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_is_read() {
        let (entries, unread) =
            read("A=1\nnonsense\nB='open\nC=3\n=x\na b=1\nA:1\nA : 1\n: 1\nhttps://a.example/?b=c\n");
        assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["A", "C"]);
        let lines: Vec<_> = unread.iter().map(|unread| unread.line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 7, 8, 9, 10]);
        assert_eq!(unread[1].why, Why::Unclosed('\''));
    }

    #[test]
    fn a_hash_inside_an_unquoted_value_is_noticed() {
        let (entries, _) = read("A=p#ss\nB='p#ss'\nC=1 #2\n");
        assert_eq!(entries.iter().map(|entry| entry.holds_hash).collect::<Vec<_>>(), [true, false, false]);
    }
}
