//! What is wrong with keys, for people and for programs.

use core::fmt;

use codex_core_sip::escape::Escaped;
use codex_core_sip::{ConfigurationProblem, Error, Locale};

use crate::text::Text;

/// One key that is wrong or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProblem {
    /// The key as it was written, with `VITE_` if it has that; as it should be written if it is missing.
    pub key: String,
    /// What was given, masked if it is secret; `None` if nothing was.
    pub value: Option<String>,
    /// Where it was given, such as `.env:3`, if that is known.
    pub place: Option<String>,
    /// What is wrong.
    pub problem: Text,
    /// What a right value looks like.
    pub example: Text,
}

impl KeyProblem {
    /// One line: key, value, place, what is wrong, what is right.
    #[must_use]
    pub fn in_locale(&self, locale: Locale) -> String {
        let mut line = self.key.clone();
        if let Some(value) = &self.value {
            line.push_str(&format!(" = \"{}\"", Escaped(value)));
        }
        if let Some(place) = &self.place {
            line.push_str(&format!(" ({place})"));
        }
        let example = match locale {
            Locale::En => "for example",
            Locale::Ru => "например",
        };
        format!("{line}: {}; {example}: {}", self.problem.in_locale(locale), self.example.in_locale(locale))
    }
}

/// Every key that is wrong or missing, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProblems(pub Vec<KeyProblem>);

impl KeyProblems {
    /// All of them, a line each, under a headline.
    #[must_use]
    pub fn in_locale(&self, locale: Locale) -> String {
        let count = self.0.len();
        let mut text = match (locale, count) {
            (Locale::En, 1) => "1 setting is wrong:".to_owned(),
            (Locale::En, _) => format!("{count} settings are wrong:"),
            (Locale::Ru, _) => format!("ошибок в настройках: {count}"),
        };
        for problem in &self.0 {
            text.push_str("\n  ");
            text.push_str(&problem.in_locale(locale));
        }
        text
    }
}

impl fmt::Display for KeyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_locale(Locale::En))
    }
}

impl std::error::Error for KeyProblems {}

/// The same as core-sip says it, for who handles all errors alike.
impl From<KeyProblems> for Error {
    fn from(problems: KeyProblems) -> Self {
        let problems = problems
            .0
            .into_iter()
            .map(|problem| ConfigurationProblem {
                problem: problem.problem.in_locale(Locale::En).to_owned(),
                key: problem.key,
                value: problem.value,
                example: problem.example.in_locale(Locale::En).to_owned(),
            })
            .collect();
        Self::Configuration { problems }
    }
}

/// Something about a key that works but should be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWarning {
    /// The key as it was written.
    pub key: String,
    /// Where it was given, such as `.env:3`, if that is known.
    pub place: Option<String>,
    /// What should be looked at.
    pub text: Text,
}

impl KeyWarning {
    /// One line: key, place, what should be looked at.
    #[must_use]
    pub fn in_locale(&self, locale: Locale) -> String {
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        format!("{}{place}: {}", self.key, self.text.in_locale(locale))
    }
}
