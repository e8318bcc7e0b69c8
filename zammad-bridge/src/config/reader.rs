//! Values read one by one, and what is wrong with them collected.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::keys::Key;
use super::problem::SettingProblem;
use super::sources::{Sources, read_bounded};

/// How long a secret may be, in bytes.
const MAX_SECRET_BYTES: usize = 4_096;

/// Reads values.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) problems: &'a mut Vec<SettingProblem>,
}

impl Reader<'_> {
    /// The text of a setting, without blanks at its ends; `None` if it is not set.
    pub(super) fn text(&self, key: Key) -> Option<String> {
        self.sources.find(key).map(|(_, value)| value.to_owned())
    }

    /// The value of `key` is wrong.
    pub(super) fn wrong(&mut self, key: Key, problem: &str) {
        self.refuse(key, problem, &format!("for example {}", key.example));
    }

    /// The same, with another remedy than an example.
    pub(super) fn refuse(&mut self, key: Key, problem: &str, remedy: &str) {
        let value = self.text(key);
        self.problems.push(SettingProblem::new(key, value.as_deref(), problem, remedy));
    }

    /// The same of a value that is at hand.
    pub(super) fn refuse_value(&mut self, key: Key, value: &str, problem: &str, remedy: &str) {
        self.problems.push(SettingProblem::new(key, Some(value), problem, remedy));
    }

    /// `key` is not set and has to be.
    pub(super) fn missing(&mut self, key: Key, why: &str) {
        let problem = format!("it is not set: {why}");
        self.problems.push(SettingProblem::new(key, None, &problem, &format!("for example {}", key.example)));
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: Key, problem: &str) -> Option<T> {
        let parsed = self.text(key)?.parse().ok();
        if parsed.is_none() {
            self.wrong(key, problem);
        }
        parsed
    }

    pub(super) fn number(&mut self, key: Key, least: u64, most: u64) -> Option<u64> {
        let number = self.text(key)?.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.wrong(key, &format!("it is no whole number from {least} to {most}"));
        }
        number
    }

    pub(super) fn flag(&mut self, key: Key) -> bool {
        let choices = [("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false)];
        self.choice(key, &choices).unwrap_or_default()
    }

    pub(super) fn choice<T: Copy>(&mut self, key: Key, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(key, &format!("it is none of {}", names.join(", ")));
        }
        chosen
    }

    /// A number with `s`, `m`, `h` or `d`, from a second to a year.
    pub(super) fn duration(&mut self, key: Key) -> Option<Duration> {
        let text = self.text(key)?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit.trim() {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(60 * 60),
            "d" => Some(24 * 60 * 60),
            _ => None,
        };
        let duration = seconds
            .and_then(|seconds: u64| number.parse::<u64>().ok()?.checked_mul(seconds))
            .filter(|seconds| (1..=366 * 24 * 60 * 60).contains(seconds));
        if duration.is_none() {
            self.wrong(key, "it is no time such as 30s, 90m, 4h or 2d, from 1s to 366d");
        }
        duration.map(Duration::from_secs)
    }

    /// Texts separated by commas.
    pub(super) fn list(&self, key: Key) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn secret(&mut self, key: Key) -> Option<SecretString> {
        let text = self.text(key)?;
        if is_secret(&text) {
            return Some(text.into());
        }
        self.wrong(key, "it holds blanks or control characters, or is too long");
        None
    }

    /// Secrets separated by commas.
    pub(super) fn secrets(&mut self, key: Key) -> Vec<SecretString> {
        let texts = self.list(key);
        if texts.iter().all(|text| is_secret(text)) {
            return texts.into_iter().map(SecretString::from).collect();
        }
        self.wrong(key, "one of them holds blanks or control characters, or is too long");
        Vec::new()
    }

    /// An address of HTTP; user data and fragments are not taken.
    pub(super) fn http_url(&mut self, key: Key) -> Option<Url> {
        let text = self.text(key)?;
        match http_url(&text) {
            Ok(url) => Some(url),
            Err(problem) => {
                self.refuse_value(key, &text, &problem, &format!("for example {}", key.example));
                None
            }
        }
    }

    /// The path and content of the file that `key` names.
    pub(super) fn file(&mut self, key: Key) -> Option<(String, String)> {
        let path = self.text(key)?;
        match read_bounded(Path::new(&path)) {
            Ok(text) => Some((path, text)),
            Err(problem) => {
                self.refuse(key, &problem, "name a file that the bridge may read");
                None
            }
        }
    }
}

fn is_secret(text: &str) -> bool {
    text.len() <= MAX_SECRET_BYTES && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// An address of HTTP, or what is wrong with it.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it does not begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password, which do not belong there".to_owned());
    }
    if url.fragment().is_some() {
        return Err("it holds a fragment (#…), which is never sent".to_owned());
    }
    Ok(url)
}
