//! Keys and their values, from whatever source.

use core::fmt;

use serde_json::Value;

use super::dotenv::{self, Why};
use super::{KEYS, KeyProblem, KeyProblems, KeyWarning, VITE_PREFIX, example_of, known, meant_by};
use crate::text::{Text, bilingual};

/// A value and how it was given.
#[derive(Clone)]
pub(crate) struct Given {
    /// The key as it was written, with `VITE_` if it has that.
    pub(crate) written: String,
    pub(crate) value: String,
    /// Such as `.env:3`.
    pub(crate) place: Option<String>,
}

/// Keys and values of one source, or of several laid over each other. Values of keys that are none of ours are not kept.
///
/// Its `Debug` shows names only.
///
/// ```
/// use codex_web_widget::{KeyValues, Settings};
///
/// let file = "VITE_JAMBONZ_SIP_DOMAIN=sip.example.com\nVITE_JAMBONZ_WSS_ADDRESS=wss://sip.example.com:8443\n";
/// let keys = KeyValues::from_env_file(".env", file)?
///     .over_by([("JAMBONZ_SIP_USERNAME", "170"), ("JAMBONZ_SIP_PASSWORD", "secret"), ("TARGET_SIP_URI", "sip:1@sip.example.com")]);
/// assert_eq!(Settings::from_keys(&keys)?.sip.domain, "sip.example.com");
/// # Ok::<(), codex_web_widget::KeyProblems>(())
/// ```
#[derive(Clone, Default)]
pub struct KeyValues {
    /// Few, in the order in which they came; a tree is 9 kB of code in a page.
    given: Vec<(&'static str, Given)>,
    /// Misspelt keys: as written, what they were meant to be, and where.
    typos: Vec<(String, &'static str, Option<String>)>,
    warnings: Vec<KeyWarning>,
}

impl fmt::Debug for KeyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given.iter().map(|(_, given)| &given.written)).finish()
    }
}

impl KeyValues {
    /// From names and values, a map for example. An empty value is none.
    pub fn from_pairs<K: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut keys = Self::default();
        for (name, value) in pairs {
            keys.put(name.as_ref(), value.into(), None);
        }
        keys
    }

    /// From the text of a `.env` file. `name` is what problems call it.
    ///
    /// # Errors
    ///
    /// [`KeyProblems`] with every line that is no `KEY=value` (or `KEY: value`).
    pub fn from_env_file(name: &str, text: &str) -> Result<Self, KeyProblems> {
        let (entries, unread) = dotenv::read(text);
        if !unread.is_empty() {
            let problems = unread.into_iter().map(|line| KeyProblem {
                key: name.to_owned(),
                value: None,
                place: Some(format!("{name}:{}", line.line)),
                problem: match line.why {
                    Why::NoAssignment => Text::fixed(
                        "this line is not KEY=value (nor KEY: value)",
                        "эта строка не вида КЛЮЧ=значение (или КЛЮЧ: значение)",
                    ),
                    Why::Unclosed(quote) => {
                        bilingual!(format!("the quote {quote} is not closed"), format!("кавычка {quote} не закрыта"))
                    }
                },
                example: Text::fixed("JAMBONZ_SIP_DOMAIN=sip.example.com", "JAMBONZ_SIP_DOMAIN=sip.example.com"),
            });
            return Err(KeyProblems(problems.collect()));
        }
        let mut keys = Self::default();
        for entry in entries {
            let place = format!("{name}:{}", entry.line);
            if entry.holds_hash && is_ours(&entry.key) {
                keys.warnings.push(KeyWarning {
                    key: entry.key.clone(),
                    place: Some(place.clone()),
                    text: Text::fixed(
                        "the value holds `#` and is not in quotes: it is taken whole here, other programs would cut it there; put it in single quotes",
                        "в значении есть `#`, и оно не в кавычках: здесь оно взято целиком, другие программы обрезали бы его; возьмите его в одинарные кавычки",
                    ),
                });
            }
            keys.put(&entry.key, entry.value, Some(place));
        }
        Ok(keys)
    }

    /// From a JSON object such as the argument of `createClient`. Numbers and booleans are taken as they are written, lists
    /// (of URLs) are joined, `CUSTOMER_DATA` may be an object; `null` is none.
    ///
    /// # Errors
    ///
    /// [`KeyProblems`] if the text is no JSON object, with line and column, or if a value is of another type.
    pub fn from_json(text: &str) -> Result<Self, KeyProblems> {
        const EXAMPLE: &str = r#"{"JAMBONZ_SIP_DOMAIN": "sip.example.com"}"#;
        let fault = |problem: Text| {
            KeyProblems(vec![KeyProblem {
                key: "JSON".to_owned(),
                value: None,
                place: None,
                problem,
                example: Text::fixed(EXAMPLE, EXAMPLE),
            }])
        };
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            fault(bilingual!(
                format!("this is no JSON: {error}"),
                format!("это не JSON: ошибка в строке {line}, столбце {column} («{error}»)"),
            ))
        })?;
        let Value::Object(object) = value else {
            return Err(fault(Text::fixed("this is JSON, but no object", "это JSON, но не объект")));
        };
        Self::from_json_object(&object)
    }

    /// As [`from_json`](Self::from_json), of an object that has been read already.
    ///
    /// # Errors
    ///
    /// [`KeyProblems`] if a value is of another type than text, number, boolean or `null`.
    pub fn from_json_object(object: &serde_json::Map<String, Value>) -> Result<Self, KeyProblems> {
        let mut keys = Self::default();
        let mut problems = Vec::new();
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => Some(text.clone()),
                Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
                Value::Array(items) => {
                    let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                    items.map(|items| items.join(" "))
                }
                Value::Object(_) if plain(name) == super::CUSTOMER_DATA => Some(value.to_string()),
                Value::Object(_) => None,
            };
            match text {
                Some(text) => keys.put(name, text, None),
                None if is_ours(name) => problems.push(KeyProblem {
                    key: name.clone(),
                    value: None,
                    place: None,
                    problem: Text::fixed("it must be a text", "это должен быть текст"),
                    example: example_of(plain(name)),
                }),
                None => {}
            }
        }
        if problems.is_empty() { Ok(keys) } else { Err(KeyProblems(problems)) }
    }

    /// From the environment of this process.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn from_process_environment() -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        }))
    }

    /// These values over those of `base`: what is given here counts, and `base` fills the gaps.
    #[must_use]
    pub fn over(mut self, base: Self) -> Self {
        for (key, given) in base.given {
            if !self.has(key) {
                self.given.push((key, given));
            }
        }
        self.typos.extend(base.typos);
        self.warnings.extend(base.warnings);
        self
    }

    /// `pairs` over these values.
    #[must_use]
    pub fn over_by<K: AsRef<str>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::from_pairs(pairs).over(self)
    }

    /// This value over what is there; `place` is what problems call where it came from, such as `--to`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str, place: &str) -> Self {
        let mut one = Self::default();
        one.put(name, value.to_owned(), (!place.is_empty()).then(|| place.to_owned()));
        one.typos.append(&mut self.typos);
        one.over(self)
    }

    /// The same without a value for this key (without `VITE_`).
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.given.retain(|(name, _)| *name != key);
        self
    }

    /// Whether this key (without `VITE_`) has a value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    /// The value of this key (without `VITE_`), if it has one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.given(key).map(|given| given.value.as_str())
    }

    /// Whether no key of ours has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(crate) fn given(&self, key: &str) -> Option<&Given> {
        self.given.iter().find(|(name, _)| *name == key).map(|(_, given)| given)
    }

    /// A misspelt key that was probably meant to be this one.
    pub(crate) fn typo_of(&self, key: &str) -> Option<&str> {
        self.typos.iter().find(|(_, meant, _)| *meant == key).map(|(written, ..)| written.as_str())
    }

    /// What should be looked at, misspelt keys included.
    pub(crate) fn warnings(&self) -> Vec<KeyWarning> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.typos.iter().map(|(written, meant, place)| KeyWarning {
            key: written.clone(),
            place: place.clone(),
            text: bilingual!(
                format!("there is no such setting, did you mean {meant}? It is not used"),
                format!("такой настройки нет; возможно, имелась в виду {meant}? Значение не используется"),
            ),
        }));
        warnings
    }

    fn set(&mut self, key: &'static str, given: Given) {
        self.given.retain(|(name, _)| *name != key);
        self.given.push((key, given));
    }

    fn put(&mut self, name: &str, value: String, place: Option<String>) {
        if value.trim().is_empty() {
            return;
        }
        let Some(key) = known(plain(name)) else {
            if let Some(meant) = meant_by(name) {
                self.typos.push((name.to_owned(), meant, place));
            }
            return;
        };
        let bare = !name.starts_with(VITE_PREFIX);
        let given = Given { written: name.to_owned(), value, place };
        match self.given(key.name) {
            Some(before) if before.value != given.value && before.written != given.written => {
                let (used, other) = if bare { (&given, before) } else { (before, &given) };
                self.warnings.push(KeyWarning {
                    key: other.written.clone(),
                    place: other.place.clone(),
                    text: bilingual!(
                        format!("{} has another value, and that one is used", used.written),
                        format!("у {} другое значение, используется оно", used.written),
                    ),
                });
                if bare {
                    self.set(key.name, given);
                }
            }
            // The same key once more: the last one counts, as shells have it.
            Some(before) if before.written != given.written && !bare => {}
            _ => {
                self.set(key.name, given);
            }
        }
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for KeyValues {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self::from_pairs(pairs)
    }
}

/// The key without the prefix.
fn plain(name: &str) -> &str {
    name.strip_prefix(VITE_PREFIX).unwrap_or(name)
}

fn is_ours(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == plain(name))
}

#[cfg(test)]
mod tests {
    use codex_core_sip::Locale;

    use super::*;

    fn domain(keys: &KeyValues) -> Option<&str> {
        keys.value(super::super::JAMBONZ_SIP_DOMAIN)
    }

    #[test]
    fn with_or_without_the_prefix_and_without_it_counts() {
        let bare = ("JAMBONZ_SIP_DOMAIN", "bare.example");
        let vite = ("VITE_JAMBONZ_SIP_DOMAIN", "vite.example");
        for (pairs, expected, warnings) in [
            (vec![vite], "vite.example", 0),
            (vec![bare], "bare.example", 0),
            (vec![bare, vite], "bare.example", 1),
            (vec![vite, bare], "bare.example", 1),
            (vec![bare, ("JAMBONZ_SIP_DOMAIN", "second.example")], "second.example", 0),
            (vec![bare, ("VITE_JAMBONZ_SIP_DOMAIN", " ")], "bare.example", 0),
        ] {
            let keys = KeyValues::from_pairs(pairs.clone());
            assert_eq!(domain(&keys), Some(expected), "{pairs:?}");
            assert_eq!(keys.warnings().len(), warnings, "{pairs:?}");
        }
    }

    #[test]
    fn one_source_over_another() {
        let file =
            KeyValues::from_env_file("a.env", "JAMBONZ_SIP_DOMAIN=file.example\nVITE_STUN_URLS=stun:a\n").unwrap();
        let keys = file.over_by([("VITE_JAMBONZ_SIP_DOMAIN", "own.example")]);
        assert_eq!((domain(&keys), keys.value("STUN_URLS")), (Some("own.example"), Some("stun:a")));
        assert_eq!(keys.given("STUN_URLS").unwrap().place.as_deref(), Some("a.env:2"));
    }

    #[test]
    fn json_of_every_type() {
        let keys = KeyValues::from_json(
            r#"{"VITE_JAMBONZ_SIP_DOMAIN":"a","KEEP_ALIVE_INTERVAL":0,"INFINITE_RECONNECT":false,"STUN_URLS":["stun:a","stun:b"],
                "CUSTOMER_DATA":{"callType":"webcall"},"TURN_URLS":null,"OTHER":{}}"#,
        )
        .unwrap();
        assert_eq!(domain(&keys), Some("a"));
        assert_eq!(keys.value("KEEP_ALIVE_INTERVAL"), Some("0"));
        assert_eq!(keys.value("INFINITE_RECONNECT"), Some("false"));
        assert_eq!(keys.value("STUN_URLS"), Some("stun:a stun:b"));
        assert_eq!(keys.value("CUSTOMER_DATA"), Some(r#"{"callType":"webcall"}"#));
        assert!(!keys.has("TURN_URLS"));

        let wrong = KeyValues::from_json(r#"{"STUN_URLS":[1],"DEFAULT_LANG":{}}"#).unwrap_err();
        let wrong: Vec<_> = wrong.0.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(wrong, ["STUN_URLS", "DEFAULT_LANG"]);
        let broken = KeyValues::from_json("{\n  oops").unwrap_err();
        assert!(broken.to_string().contains("line 2 column 3"), "{broken}");
        assert!(broken.in_locale(Locale::Ru).contains("в строке 2, столбце 3"), "{}", broken.in_locale(Locale::Ru));
        assert!(KeyValues::from_json("[]").is_err());
    }

    #[test]
    fn lines_of_a_file_that_cannot_be_read_are_all_told() {
        let error = KeyValues::from_env_file("a.env", "DEFAULT_LANG=en\nnonsense\nCUSTOMER_DATA='{").unwrap_err();
        let places: Vec<_> = error.0.iter().map(|problem| problem.place.as_deref().unwrap()).collect();
        assert_eq!(places, ["a.env:2", "a.env:3"]);
    }

    #[test]
    fn debug_shows_no_value() {
        let keys = KeyValues::from_pairs([("JAMBONZ_SIP_PASSWORD", "hunter2")]);
        assert_eq!(format!("{keys:?}"), r#"{"JAMBONZ_SIP_PASSWORD"}"#);
    }
}
