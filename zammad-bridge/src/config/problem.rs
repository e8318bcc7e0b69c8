//! One wrong setting, for people.

use std::fmt;
use std::path::Path;

use super::keys::{self, Key};

/// How much of a value or name is shown, in characters.
const SHOWN_CHARS: usize = 80;

/// One wrong setting: what was given, what is wrong with it, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The setting, or the file.
    pub setting: String,
    /// What was given, `***` for a secret; `None` if nothing was.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl SettingProblem {
    pub(super) fn new(key: Key, value: Option<&str>, problem: &str, remedy: &str) -> Self {
        // An address can hold a password where none belongs.
        let is_secret = |value: &str| key.secret || (value.contains("://") && value.contains('@'));
        let value = value.map(|value| if is_secret(value) { "***".to_owned() } else { shown(value) });
        Self { setting: key.name.to_owned(), value, problem: problem.to_owned(), remedy: remedy.to_owned() }
    }

    pub(super) fn unknown(name: &str, place: &str) -> Self {
        let remedy = keys::meant_by(name).map_or_else(
            || "see `codex-zammad-bridge serve --help` for all settings".to_owned(),
            |key| format!("did you mean {}?", key.name),
        );
        let problem = format!("{place} sets it, and there is no such setting");
        Self { setting: shown(name), value: None, problem, remedy }
    }

    pub(super) fn of_file(path: &Path, problem: String) -> Self {
        let remedy = "correct the file, or name another".to_owned();
        Self { setting: path.display().to_string(), value: None, problem, remedy }
    }
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// In one line and short.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
