//! What is wrong with customer data, told apart so that it can be said in any language.

use core::fmt;

/// What is wrong with customer data, and what a right value looks like. `Display` is English; none quotes the data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustomerDataProblem {
    /// The text is empty.
    Nothing,
    /// JSON wants something else at this place (RFC 8259 §2).
    Unexpected {
        /// What JSON, or customer data, wants there.
        wanted: JsonWanted,
        /// What is there.
        found: JsonFound,
    },
    /// Objects and arrays lie in each other deeper than this.
    TooDeep(usize),
    /// An object has the same key twice.
    KeyTwice,
    /// A text has no closing quote.
    UnclosedText,
    /// A text holds a control character that is not escaped.
    ControlCharacter,
    /// A text holds an escape that JSON does not know.
    WrongEscape,
    /// A number that is none as JSON writes them.
    WrongNumber,
    /// A number that cannot be kept exactly.
    NumberTooLarge,
    /// A number that would become 0.
    NumberTooSmall,
    /// A field is of another type than it should be.
    WrongType {
        /// The type that the field has.
        found: JsonType,
        /// The type that it should have: a text or an object.
        wanted: JsonType,
    },
    /// `callType` is empty.
    EmptyCallType,
    /// `callType` is not there.
    NoCallType,
    /// `timestamp` is not RFC 3339.
    WrongTimestamp,
    /// A known field was put among the extra ones.
    KnownFieldAmongExtra,
    /// The header that carried it cannot be decoded, in English words.
    Header(String),
}

/// What JSON wants where something else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonWanted {
    /// `{`.
    Object,
    /// A key in double quotes.
    Key,
    /// `:`.
    Colon,
    /// `,` or `}`.
    CommaOrBrace,
    /// `,` or `]`.
    CommaOrBracket,
    /// Any value.
    Value,
    /// Nothing more.
    End,
}

/// What the text holds somewhere, without giving its content away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFound {
    /// Nothing more.
    End,
    /// `"`.
    Text,
    /// `{`.
    Object,
    /// `[`.
    Array,
    /// One of `}`, `]`, `,` and `:`.
    Sign(char),
    /// `'`, which JSON does not know.
    SingleQuote,
    /// U+FEFF, as some editors begin a file.
    ByteOrderMark,
    /// Something else.
    Other,
}

/// The types of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A text in double quotes.
    Text,
    /// `[…]`.
    Array,
    /// `{…}`.
    Object,
}

impl fmt::Display for CustomerDataProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Nothing => "there is nothing; a JSON object such as {\"callType\":\"webcall\"} is wanted",
            Self::Unexpected { wanted, found } => {
                f.write_str(wanted.words())?;
                f.write_str(" is wanted where ")?;
                return found.fmt(f);
            }
            Self::TooDeep(limit) => return write!(f, "objects and arrays lie in each other more than {limit} deep"),
            Self::KeyTwice => "the key is there twice",
            Self::UnclosedText => "the text that begins here has no closing `\"`",
            Self::ControlCharacter => "a text holds a control character as it is; JSON wants it escaped, such as \\n",
            Self::WrongEscape => "a text holds an escape that JSON does not know, or half of a surrogate pair",
            Self::WrongNumber => "this is not a number as JSON writes them",
            Self::NumberTooLarge => {
                "the number is too large or has too many digits to be kept exactly; write it as a text in double quotes"
            }
            Self::NumberTooSmall => "the number is too small to be told from 0; write it as a text in double quotes",
            Self::WrongType { found, wanted } => {
                f.write_str("it is ")?;
                f.write_str(found.words())?;
                f.write_str(" and must be ")?;
                f.write_str(match wanted {
                    JsonType::Text => "a text in double quotes",
                    JsonType::Object => "an object `{…}`",
                    other => other.words(),
                })?;
                if *found == JsonType::Null { "; leave the field out if there is none" } else { "" }
            }
            Self::EmptyCallType => "it is empty; say what kind of call this is, for example webcall",
            Self::NoCallType => "the required field callType is not there; add, for example, \"callType\":\"webcall\"",
            Self::WrongTimestamp => "it must be a date and time of RFC 3339, for example 2025-11-14T12:00:00Z",
            Self::KnownFieldAmongExtra => "it is a known field and must not be among the extra ones",
            Self::Header(problem) => problem,
        };
        f.write_str(text)
    }
}

impl JsonWanted {
    fn words(self) -> &'static str {
        match self {
            Self::Object => "an object `{…}`",
            Self::Key => "a key in double quotes",
            Self::Colon => "`:`",
            Self::CommaOrBrace => "`,` or `}`",
            Self::CommaOrBracket => "`,` or `]`",
            Self::Value => "a value",
            Self::End => "the end",
        }
    }
}

impl fmt::Display for JsonFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "the text ends",
            Self::Text => "a text begins",
            Self::Object => "an object begins",
            Self::Array => "an array begins",
            Self::Sign(sign) => return write!(f, "there is `{sign}`"),
            Self::SingleQuote => "there is `'` (JSON wants double quotes)",
            Self::ByteOrderMark => "there is a byte order mark",
            Self::Other => "there is something else",
        })
    }
}

impl JsonType {
    fn words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}
