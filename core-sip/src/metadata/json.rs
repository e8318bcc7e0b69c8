//! Reading JSON so that nothing is lost without a word, and every fault has a place.
//!
//! `serde_json` alone takes the last of several equal keys and rounds integers beyond 64 bits, and it knows the line
//! of a fault but not its field. So JSON is read here, and written too: a browser that loads `serde_json`'s reader and writer
//! for nothing but this pays 20 kB.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::error::{CustomerDataProblem, JsonFound, JsonType, JsonWanted};
use crate::escape::escaped;
use crate::json::{Map, Number, Value};
use crate::ordered::OrderedMap;

/// How deep objects and arrays may lie in each other, the outermost counted.
pub(super) const MAX_NESTING: usize = 64;

/// How much of a key or a path an error shows, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// The path of the field, such as `location.city` or `customFields.tags[2]`.
    pub(super) field: Option<String>,
    /// What is wrong.
    pub(super) problem: CustomerDataProblem,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// A reader at some place of a text.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    path: Vec<Step>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, path: Vec::new() }
    }

    /// A fault at byte `at`, in the field that is being read.
    pub(super) fn fault(&self, at: usize, problem: CustomerDataProblem) -> Fault {
        self.fault_below(at, "", problem)
    }

    /// A fault at byte `at`, in `field` (a key, or nothing) below the field that is being read.
    pub(super) fn fault_below(&self, at: usize, field: &str, problem: CustomerDataProblem) -> Fault {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => push_key(&mut path, key),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if !field.is_empty() {
            push_key(&mut path, field);
        }
        if let Some((cut, _)) = path.char_indices().nth(MAX_SHOWN_CHARS) {
            path.truncate(cut);
            path.push('…');
        }
        Fault { at, field: Some(path).filter(|p| !p.is_empty()), problem }
    }

    /// The next byte that is not white space, which is not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Where the reader stands, as a byte offset.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What the text holds here.
    fn found(&mut self) -> JsonFound {
        match self.peek() {
            None => JsonFound::End,
            Some(b'"') => JsonFound::Text,
            Some(b'{') => JsonFound::Object,
            Some(b'[') => JsonFound::Array,
            Some(sign @ (b'}' | b']' | b',' | b':')) => JsonFound::Sign(char::from(sign)),
            Some(b'\'') => JsonFound::SingleQuote,
            Some(0xef) if self.text[self.at..].starts_with('\u{feff}') => JsonFound::ByteOrderMark,
            Some(_) => JsonFound::Other,
        }
    }

    fn unexpected(&mut self, wanted: JsonWanted) -> Fault {
        let found = self.found();
        self.fault(self.at, CustomerDataProblem::Unexpected { wanted, found })
    }

    fn enter(&mut self) -> Result<(), Fault> {
        if self.path.len() >= MAX_NESTING {
            return Err(self.fault(self.at, CustomerDataProblem::TooDeep(MAX_NESTING)));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads an object. `each` gets each key, once the reader stands before its value, and must read the value.
    pub(super) fn members(
        &mut self,
        each: &mut dyn FnMut(&mut Self, String) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.peek() != Some(b'{') {
            return Err(self.unexpected(JsonWanted::Object));
        }
        self.enter()?;
        let mut seen = OrderedMap::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected(JsonWanted::Key));
            }
            let key_at = self.at;
            let key = self.string()?;
            if seen.insert(key.clone(), ()).is_some() {
                return Err(self.fault_below(key_at, &key, CustomerDataProblem::KeyTwice));
            }
            self.path.push(Step::Key(key.clone()));
            if self.peek() != Some(b':') {
                return Err(self.unexpected(JsonWanted::Colon));
            }
            self.at += 1;
            self.peek();
            each(self, key)?;
            self.path.pop();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected(JsonWanted::CommaOrBrace)),
            }
        }
    }

    fn elements(&mut self) -> Result<Vec<Value>, Fault> {
        self.enter()?;
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(elements);
        }
        loop {
            self.path.push(Step::Index(elements.len()));
            elements.push(self.value()?);
            self.path.pop();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(elements);
                }
                _ => return Err(self.unexpected(JsonWanted::CommaOrBracket)),
            }
        }
    }

    /// Reads any value.
    pub(super) fn value(&mut self) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'{') => {
                let mut map = Map::new();
                self.members(&mut |reader, key| {
                    let value = reader.value()?;
                    map.insert(key, value);
                    Ok(())
                })?;
                Ok(Value::Object(map))
            }
            Some(b'[') => self.elements().map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => {
                for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
                {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected(JsonWanted::Value))
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut end = start + 1;
        let mut escaped = false;
        loop {
            match bytes.get(end) {
                None => return Err(self.fault(start, CustomerDataProblem::UnclosedText)),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(0..=0x1f) => {
                    return Err(self.fault(end, CustomerDataProblem::ControlCharacter));
                }
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        if !escaped {
            return Ok(self.text[start + 1..end].to_owned());
        }
        unescape(&self.text[start + 1..end]).map_err(|at| {
            let at = start + 1 + at;
            self.fault(at, CustomerDataProblem::WrongEscape)
        })
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let len = rest
            .bytes()
            .position(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let token = &rest[..len];
        self.at = start + len;
        if !is_number(token) {
            return Err(self.fault(start, CustomerDataProblem::WrongNumber));
        }
        let whole = !token.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
        match range_of(token) {
            Range::TooSmall => Err(self.fault(start, CustomerDataProblem::NumberTooSmall)),
            // Only a double knows a negative zero.
            Range::Fits if !whole || token == "-0" || integer(token).is_some() => {
                number_of(token).ok_or_else(|| self.fault(start, CustomerDataProblem::NumberTooLarge))
            }
            _ => Err(self.fault(start, CustomerDataProblem::NumberTooLarge)),
        }
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected(JsonWanted::End)) }
    }
}

/// What stands between the quotes of a text that holds escapes (RFC 8259 §7); else where the wrong escape is.
fn unescape(text: &str) -> Result<String, usize> {
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = text[at..].find('\\') {
        plain.push_str(&text[at..at + next]);
        at += next;
        let rest = &text.as_bytes()[at..];
        // A wrong letter is wrong itself; of a wrong code the end is told.
        let (character, length) =
            escape(rest).ok_or(at + if rest.get(1) == Some(&b'u') { UNIT_BYTES.min(rest.len()) } else { 1 })?;
        plain.push(character);
        at += length;
    }
    plain.push_str(&text[at..]);
    Ok(plain)
}

/// The character that an escape means, and how many bytes the escape takes.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'u' => {
            let high = code_unit(bytes)?;
            if let Some(character) = char::from_u32(high) {
                return Some((character, UNIT_BYTES));
            }
            // Two halves make a character beyond the first 65,536.
            let low = code_unit(bytes.get(UNIT_BYTES..)?)?;
            let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
            return char::decode_utf16(pair).next()?.ok().map(|character| (character, 2 * UNIT_BYTES));
        }
        _ => return None,
    };
    Some((character, 2))
}

/// The length of `\u0000`.
const UNIT_BYTES: usize = 6;

fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.get(..UNIT_BYTES)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// Whether this is a number as RFC 8259 §6 has it.
fn is_number(token: &str) -> bool {
    fn digits(bytes: &[u8]) -> (usize, &[u8]) {
        let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count, &bytes[count..])
    }
    let bytes = token.as_bytes();
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let leading_zero = bytes.first() == Some(&b'0');
    let (count, mut rest) = digits(bytes);
    if count == 0 || (leading_zero && count > 1) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (count, after) = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let (count, after) = digits(exponent);
        return count > 0 && after.is_empty();
    }
    rest.is_empty()
}

/// Where a number lies among the doubles.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Fits,
    /// As a double it would be infinite.
    TooLarge,
    /// As a double it would be 0, and it is not.
    TooSmall,
}

/// What becomes of a number that is read as a double, found without reading one: the browser has no code for that.
fn range_of(token: &str) -> Range {
    /// The digits of the first number that is infinite as a double, halfway beyond the largest one: times 10³⁰⁸.
    const INFINITE: &[u8] = b"17976931348623158079372897140530341507993413271003782";
    const LARGEST_EXPONENT: i64 = 308;
    /// The digits of the last number that is 0 as a double, half of the smallest one: times 10⁻³²⁴.
    const ZERO: &[u8] = b"24703282292062327208828439643411068618252990130716238";
    const SMALLEST_EXPONENT: i64 = -324;
    /// Beyond what a text of any length can make up for with its digits.
    const FAR: i64 = i64::MAX / 4;

    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') { -FAR } else { FAR });
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let Some(first) = digits.bytes().position(|digit| digit != b'0') else { return Range::Fits };
    let leading = i64::try_from(whole.len()).unwrap_or(FAR) - 1 - i64::try_from(first).unwrap_or(FAR);
    let size = (leading.saturating_add(exponent), &digits.as_bytes()[first..]);
    if size >= (LARGEST_EXPONENT, INFINITE) {
        Range::TooLarge
    } else if size <= (SMALLEST_EXPONENT, ZERO) {
        Range::TooSmall
    } else {
        Range::Fits
    }
}

/// The integer that a token is, if 64 bits hold it.
fn integer(token: &str) -> Option<Number> {
    token.parse::<u64>().map(Number::from).or_else(|_| token.parse::<i64>().map(Number::from)).ok()
}

/// The number that a token is, as `serde_json` holds it: an integer where 64 bits do, else a double.
#[cfg(not(target_arch = "wasm32"))]
fn number_of(token: &str) -> Option<Number> {
    if token != "-0"
        && let Some(number) = integer(token)
    {
        return Some(number);
    }
    Number::from_f64(token.parse().ok()?)
}

#[cfg(target_arch = "wasm32")]
fn number_of(token: &str) -> Option<Number> {
    Some(Number::from_token(token))
}

/// Writes a text with its quotes, as `serde_json` does.
pub(super) fn write_text(json: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' => {
                let code = character as usize;
                json.push_str("\\u00");
                json.push(char::from(DIGITS[code >> 4]));
                json.push(char::from(DIGITS[code & 15]));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

/// Writes things, parted by commas, between `open` and `close`.
pub(super) fn write_list<T>(
    json: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    json.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            json.push(',');
        }
        each(json, item);
    }
    json.push(close);
}

/// Writes an object without white space.
pub(super) fn write_object(json: &mut String, object: &Map<String, Value>) {
    write_list(json, ['{', '}'], object.iter(), |json, (key, value)| {
        write_text(json, key);
        json.push(':');
        write_value(json, value);
    });
}

/// Writes any value without white space.
pub(super) fn write_value(json: &mut String, value: &Value) {
    match value {
        Value::Null => json.push_str("null"),
        Value::Bool(true) => json.push_str("true"),
        Value::Bool(false) => json.push_str("false"),
        Value::Number(number) => json.push_str(&number.to_string()),
        Value::String(text) => write_text(json, text),
        Value::Array(elements) => write_list(json, ['[', ']'], elements.iter(), write_value),
        Value::Object(object) => write_object(json, object),
    }
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&escaped(key, MAX_SHOWN_CHARS));
}

/// Line and column, from 1, of the byte at `at`; columns count characters.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// What kind of value this is, with its article.
pub(super) fn kind(value: &Value) -> JsonType {
    match value {
        Value::Null => JsonType::Null,
        Value::Bool(_) => JsonType::Boolean,
        Value::Number(_) => JsonType::Number,
        Value::String(_) => JsonType::Text,
        Value::Array(_) => JsonType::Array,
        Value::Object(_) => JsonType::Object,
    }
}

/// Reads a [`Value`] from any deserializer, refusing equal keys and more than [`MAX_NESTING`] levels.
pub(super) struct StrictValue {
    /// The levels that this value lies in.
    pub(super) depth: usize,
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl StrictValue {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_NESTING {
            return Err(E::custom(format!("objects and arrays lie in each other more than {MAX_NESTING} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("JSON has no infinity and no NaN"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(self.inner()?)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.inner()?)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random as _, SeededRandom};

    fn read(text: &str) -> Result<Value, Fault> {
        let mut reader = Reader::new(text);
        let value = reader.value()?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn what_serde_json_reads_is_read_alike() {
        for text in [
            "{}",
            "[]",
            " [ 1 , 2.5e3 , -0 , \"a\\u0416\\ud83d\\ude00\\n\" , null , true , false , {\"k\" : [ { } ]} ] ",
            "\"\u{7f}\"",
            "18446744073709551615",
            "-9223372036854775808",
            "1e308",
            "0e-999",
            "5e-324",
        ] {
            assert_eq!(read(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_json_does_not_know_is_refused_where_it_stands() {
        let cases: [(&str, usize, Option<&str>, &str); 24] = [
            ("", 0, None, "the text ends"),
            ("{", 1, None, "the text ends"),
            ("{\"a\"", 4, Some("a"), "`:`"),
            ("{\"a\":1", 6, None, "`,` or `}`"),
            ("{\"a\":1,}", 7, None, "a key"),
            ("{a:1}", 1, None, "a key"),
            ("{'a':1}", 1, None, "double quotes"),
            ("{\"a\":1 \"b\":2}", 7, None, "`,` or `}`"),
            ("{\"a\":{\"b\":1,\"b\":2}}", 12, Some("a.b"), "twice"),
            ("[1,]", 3, Some("[1]"), "a value"),
            ("[1 2]", 3, None, "`,` or `]`"),
            ("{\"a\":[0,{\"b\":tru}]}", 13, Some("a[1].b"), "a value"),
            ("\"a", 0, None, "closing"),
            ("\"a\\", 0, None, "closing"),
            ("\"a\nb\"", 2, None, "control character"),
            ("\"\\x41\"", 2, None, "escape"),
            ("\"\\ud800\"", 7, None, "surrogate"),
            ("01", 0, None, "not a number"),
            ("-", 0, None, "not a number"),
            ("1.", 0, None, "not a number"),
            ("1e400", 0, None, "too large"),
            ("18446744073709551616", 0, None, "too large"),
            ("[1e-400]", 1, Some("[0]"), "too small"),
            ("{} {}", 3, None, "the end is wanted"),
        ];
        for (text, at, field, words) in cases {
            let fault = read(text).unwrap_err();
            assert_eq!((fault.at, fault.field.as_deref()), (at, field), "{text}: {}", fault.problem);
            assert!(fault.problem.to_string().contains(words), "{text}: {}", fault.problem);
        }
        assert!(read("\u{feff}{}").unwrap_err().problem.to_string().contains("byte order mark"));
    }

    #[test]
    fn numbers_beyond_the_doubles_are_told_without_doubles() {
        let mut random = SeededRandom::new(3);
        let edges = [
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "179769313486231580793e288",
            "179769313486231580794e288",
            "0.0017e311",
            "0.0018e311",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "0.00024703282292062329e-320",
            "0e9999999999999999999999",
            "1e9999999999999999999999",
            "-1e-9999999999999999999999",
            "-0.0",
            "12345678901234567890.5E+280",
            "12345678901234567890.5E+290",
        ];
        let drawn = (0..5000).map(|_| {
            let exponent = random.below(8).cast_signed() + if random.below(2) == 0 { -327 } else { 302 };
            format!("{}.{}e{exponent}", random.below(30), random.below(1_000_000))
        });
        for token in edges.into_iter().map(str::to_owned).chain(drawn) {
            let double: f64 = token.parse().unwrap();
            let zero = !token.split(['e', 'E']).next().unwrap().bytes().any(|digit| matches!(digit, b'1'..=b'9'));
            let expected = match double {
                _ if zero => Range::Fits,
                0.0 => Range::TooSmall,
                _ if double.is_infinite() => Range::TooLarge,
                _ => Range::Fits,
            };
            assert_eq!(range_of(&token), expected, "{token}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(&nested(MAX_NESTING)).is_ok());
        assert_eq!(read(&nested(MAX_NESTING + 1)).unwrap_err().at, MAX_NESTING);
        assert!(read(&"{\"a\":".repeat(1_000_000)).unwrap_err().field.unwrap().chars().count() <= MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("{\n  \"Ж\": x", 9), (2, 7));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }
}
