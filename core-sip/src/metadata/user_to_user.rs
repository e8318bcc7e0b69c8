//! The header `User-to-User` (RFC 7433).

use core::fmt;
use core::str::FromStr;

use super::application::wrong_setting;
use super::base64;
use crate::error::{CustomerDataProblem, Error, Result};
use crate::header_field::HeaderValue;

/// The header's name.
pub const USER_TO_USER: &str = "User-to-User";

/// How large a header value may be to be looked at, in bytes.
const MAX_VALUE_BYTES: usize = 65_536;

/// How many of several comma-joined values are looked at.
const MAX_VALUES: usize = 16;

/// How `User-to-User` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UserToUserEncoding {
    /// `<hex>;encoding=hex` (RFC 7433).
    #[default]
    Hex,
    /// `<base64>;encoding=base64`, for receivers made for the older packages.
    Base64,
    /// Not sent.
    Off,
}

impl UserToUserEncoding {
    /// The header value that carries `content`; `None` for [`Off`](Self::Off).
    #[must_use]
    pub fn encode(self, content: &[u8]) -> Option<HeaderValue> {
        let text = match self {
            Self::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let mut text = String::with_capacity(content.len() * 2 + 13);
                for byte in content {
                    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                    text.push(char::from(DIGITS[usize::from(byte & 15)]));
                }
                text + ";encoding=hex"
            }
            Self::Base64 => base64::encode(content) + ";encoding=base64",
            Self::Off => return None,
        };
        // Hexadecimal digits and base64 hold nothing that would be replaced.
        Some(HeaderValue::sanitized(&text))
    }

    /// The content of a header value: of several comma-joined values the first that can be decoded.
    ///
    /// Takes `encoding=hex` and `encoding=base64` in any case, hex where no encoding is named (RFC 7433 §4.1), base64
    /// with or without padding and in the URL alphabet, content in quotes, and other parameters.
    ///
    /// # Errors
    ///
    /// [`Error::CustomerData`] for the key `User-to-User` if no value can be decoded.
    pub fn decode(value: &str) -> Result<Vec<u8>> {
        let mut first_fault = None;
        for content in contents(value) {
            match content {
                Ok(content) => return Ok(content),
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                }
            }
        }
        Err(first_fault.unwrap_or_else(|| wrong_value(0, "it is empty")))
    }
}

impl FromStr for UserToUserEncoding {
    type Err = Error;

    /// `hex`, `base64` or `off`, in any case.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for the key `USER_TO_USER_ENCODING`.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            "off" => Ok(Self::Off),
            _ => Err(wrong_setting("USER_TO_USER_ENCODING", text, "it is none of hex, base64 and off", "hex")),
        }
    }
}

impl fmt::Display for UserToUserEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Off => "off",
        })
    }
}

fn wrong_value(at: usize, problem: impl Into<String>) -> Error {
    let problem = CustomerDataProblem::Header(problem.into());
    Error::CustomerData { key: USER_TO_USER.to_owned(), line: 1, column: at + 1, field: None, problem }
}

/// What each of the comma-joined values holds.
pub(super) fn contents(value: &str) -> impl Iterator<Item = Result<Vec<u8>>> {
    let (value, oversize) = if value.len() > MAX_VALUE_BYTES {
        ("", Some(wrong_value(0, format!("it is longer than {MAX_VALUE_BYTES} bytes"))))
    } else {
        (value, None)
    };
    let values = split(value, ',').take(MAX_VALUES).filter(|(_, v)| !v.trim().is_empty());
    oversize.map(Err).into_iter().chain(values.map(|(at, value)| decode_one(at, value)))
}

/// The pieces of `text` between separators that are not in quotes, with their byte offsets.
fn split(text: &str, separator: char) -> impl Iterator<Item = (usize, &str)> {
    let mut next = Some(0);
    core::iter::from_fn(move || {
        let start = next?;
        let (mut quoted, mut escaped) = (false, false);
        for (index, c) in text[start..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if c == separator && !quoted => {
                    next = Some(start + index + c.len_utf8());
                    return Some((start, &text[start..start + index]));
                }
                _ => {}
            }
        }
        next = None;
        Some((start, &text[start..]))
    })
}

/// `text` without the quotes around it, if there are any.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else { return text.to_owned() };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn decode_one(at: usize, value: &str) -> Result<Vec<u8>> {
    let mut parts = split(value, ';');
    let content = parts.next().map(|(_, content)| unquoted(content)).unwrap_or_default();
    let mut encoding = None;
    for (_, parameter) in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("encoding")
        {
            encoding.get_or_insert_with(|| unquoted(value).to_ascii_lowercase());
        }
    }
    match encoding.as_deref() {
        None | Some("hex") => decode_hex(&content)
            .ok_or_else(|| wrong_value(at, "it is not hexadecimal; name another encoding, such as ;encoding=base64")),
        Some("base64") => base64::decode(&content).ok_or_else(|| wrong_value(at, "it is not base64")),
        Some(_) => Err(wrong_value(at, "its encoding is neither hex nor base64")),
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_written_as_they_were_known() {
        let json = r#"{"n":"Ж"}"#.as_bytes();
        assert_eq!(UserToUserEncoding::Hex.encode(json).unwrap().as_str(), "7b226e223a22d096227d;encoding=hex");
        assert_eq!(UserToUserEncoding::Base64.encode(json).unwrap().as_str(), "eyJuIjoi0JYifQ==;encoding=base64");
        assert_eq!(UserToUserEncoding::Off.encode(json), None);
    }

    #[test]
    fn what_peers_send_is_decoded() {
        for (value, content) in [
            ("7b7d;encoding=hex", "{}"),
            ("7B7D ; Encoding=HEX", "{}"),
            ("7b7d", "{}"),
            ("\"7b7d\";encoding=\"hex\"", "{}"),
            ("7b7d;purpose=isdn-uui;content=isdn-uui;encoding=hex", "{}"),
            ("e30=;encoding=base64", "{}"),
            ("e30;encoding=Base64;purpose=x", "{}"),
            ("\"e30=\";encoding=base64", "{}"),
            ("0Jg_;encoding=base64", "И?"),
            ("zz, 7b7d;encoding=hex", "{}"),
            ("\"a,b\";encoding=base64,7b7d", "{}"),
            (";encoding=hex", ""),
        ] {
            assert_eq!(UserToUserEncoding::decode(value).unwrap(), content.as_bytes(), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_an_error_that_says_where() {
        for (value, column, words) in [
            ("", 1, "empty"),
            (" , ,", 1, "empty"),
            ("7b7", 1, "hexadecimal"),
            ("+b", 1, "hexadecimal"),
            ("e30=", 1, "hexadecimal"),
            ("ЖЖ", 1, "hexadecimal"),
            ("\"7b", 1, "hexadecimal"),
            ("e3;;;=;encoding=base64", 1, "base64"),
            ("7b7d;encoding=utf8", 1, "neither"),
            (",zz", 2, "hexadecimal"),
            (&"0".repeat(MAX_VALUE_BYTES + 2), 1, "longer"),
        ] {
            let error = UserToUserEncoding::decode(value).unwrap_err();
            let Error::CustomerData { key, column: found, problem, .. } = &error else { panic!("{error}") };
            assert_eq!((key.as_str(), *found), ("User-to-User", column), "{value}");
            assert!(problem.to_string().contains(words), "{value}: {problem}");
        }
    }

    #[test]
    fn the_setting_is_read() {
        for (text, encoding) in [
            ("hex", UserToUserEncoding::Hex),
            (" BASE64", UserToUserEncoding::Base64),
            ("off", UserToUserEncoding::Off),
        ] {
            assert_eq!(text.parse::<UserToUserEncoding>().unwrap(), encoding);
            assert_eq!(encoding.to_string().parse::<UserToUserEncoding>().unwrap(), encoding);
        }
        let error = "utf8".parse::<UserToUserEncoding>().unwrap_err();
        assert!(error.to_string().contains("USER_TO_USER_ENCODING"), "{error}");
    }
}
