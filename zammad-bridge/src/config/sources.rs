//! Where settings come from, the strongest first: the command line, the environment, `.env`, the configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::{self, Key};
use super::problem::SettingProblem;

/// The configuration file that is read if it is there and none is named.
pub const CONFIG_FILE: &str = "zammad-bridge.toml";
/// The file of environment variables that is read if it is there and none is named.
pub const ENV_FILE: &str = ".env";
/// How large either may be, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a value stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    CommandLine,
    /// The environment.
    Environment,
    /// `.env`.
    EnvFile,
    /// The configuration file.
    ConfigFile,
}

impl Origin {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommandLine => "command line",
            Self::Environment => "environment",
            Self::EnvFile => ".env",
            Self::ConfigFile => "configuration file",
        }
    }
}

/// One `[[zammad]]` of the configuration file: its own settings as texts, keys in lower case.
pub(super) type ZammadTable = BTreeMap<String, String>;

/// All values, unread. `Debug` shows none.
#[derive(Default)]
pub struct Sources {
    layers: Vec<(Origin, BTreeMap<&'static str, String>)>,
    pub(super) zammads: Vec<ZammadTable>,
}

/// What decides where to look.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `KEY=VALUE` from the command line.
    pub set: Vec<(String, String)>,
    /// The file of environment variables; [`ENV_FILE`] if it is there.
    pub env_file: Option<PathBuf>,
    /// The configuration file; [`CONFIG_FILE`] if it is there.
    pub config_file: Option<PathBuf>,
}

impl Sources {
    /// Reads them. `environment` looks a variable up. Problems are added to `problems`.
    #[must_use]
    pub fn read(
        places: &Places,
        environment: impl Fn(&str) -> Option<String>,
        problems: &mut Vec<SettingProblem>,
    ) -> Self {
        let mut sources = Self::default();
        let mut line = BTreeMap::new();
        for (name, value) in &places.set {
            match keys::named(name) {
                Some(key) if key.secret => problems.push(SettingProblem::new(
                    key,
                    Some("***"),
                    "it is a secret, and the command line is seen by other users of the machine",
                    "put it into the environment, .env or the configuration file",
                )),
                Some(key) => {
                    line.insert(key.name, value.clone());
                }
                None => problems.push(SettingProblem::unknown(name, "the command line")),
            }
        }
        sources.layers.push((Origin::CommandLine, line));
        let present = keys::ALL.iter().filter_map(|key| Some((key.name, environment(key.name)?))).collect();
        sources.layers.push((Origin::Environment, present));
        let env_file = file(places.env_file.as_deref(), ENV_FILE, problems);
        let from_file = env_file.map(|(path, text)| env_variables(&path, &text, problems)).unwrap_or_default();
        sources.layers.push((Origin::EnvFile, from_file));
        if let Some((path, text)) = file(places.config_file.as_deref(), CONFIG_FILE, problems) {
            sources.read_toml(&path, &text, problems);
        }
        sources
    }

    /// The strongest value of `key` that is not blank.
    pub(super) fn find(&self, key: Key) -> Option<(Origin, &str)> {
        self.layers.iter().find_map(|(origin, values)| {
            let value = values.get(key.name)?.trim();
            (!value.is_empty()).then_some((*origin, value))
        })
    }

    fn read_toml(&mut self, path: &Path, text: &str, problems: &mut Vec<SettingProblem>) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // The library's message would quote the line, and a secret with it.
                let line =
                    error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
                problems.push(SettingProblem::of_file(path, format!("line {line} is not TOML: {}", error.message())));
                return;
            }
        };
        let mut values = BTreeMap::new();
        for (name, value) in table {
            if name == "zammad" {
                self.zammads = zammad_tables(path, value, problems);
                continue;
            }
            match (keys::named(&name), text_of(&value)) {
                (Some(key), Some(text)) => {
                    values.insert(key.name, text);
                }
                (Some(key), None) => problems.push(SettingProblem::new(
                    key,
                    None,
                    "it is a table or a list of other things than texts",
                    "write a text, a number, true, false, or a list of texts",
                )),
                (None, _) => problems.push(SettingProblem::unknown(&name, &path.display().to_string())),
            }
        }
        self.layers.push((Origin::ConfigFile, values));
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.layers.iter().map(|(origin, values)| (origin, values.keys().collect::<Vec<_>>()));
        f.debug_map().entries(names).finish()
    }
}

/// A value as the environment would hold it.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn zammad_tables(path: &Path, value: toml::Value, problems: &mut Vec<SettingProblem>) -> Vec<ZammadTable> {
    let toml::Value::Array(items) = value else {
        problems.push(SettingProblem::of_file(path, "zammad must be written as [[zammad]], once for each".to_owned()));
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let toml::Value::Table(table) = item else {
            problems.push(SettingProblem::of_file(path, format!("[[zammad]] number {} is no table", index + 1)));
            continue;
        };
        let mut read = ZammadTable::new();
        for (name, value) in table {
            match text_of(&value) {
                Some(text) => {
                    read.insert(name.to_ascii_lowercase(), text);
                }
                None => problems.push(SettingProblem::of_file(
                    path,
                    format!(
                        "{} in [[zammad]] number {} is neither text, number, true, false nor a list of texts",
                        name.escape_debug(),
                        index + 1
                    ),
                )),
            }
        }
        tables.push(read);
    }
    tables
}

/// The text of a file that was named, or of the default one if it is there.
fn file(named: Option<&Path>, default: &str, problems: &mut Vec<SettingProblem>) -> Option<(PathBuf, String)> {
    let path = named.unwrap_or(Path::new(default));
    if named.is_none() && !path.exists() {
        return None;
    }
    match read_bounded(path) {
        Ok(text) => Some((path.to_owned(), text)),
        Err(problem) => {
            problems.push(SettingProblem::of_file(path, problem));
            None
        }
    }
}

/// A file's text, at most [`MAX_FILE_BYTES`].
pub(super) fn read_bounded(path: &Path) -> Result<String, String> {
    let said = |error: std::io::Error| format!("it cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(said)?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    std::fs::read_to_string(path).map_err(said)
}

/// The settings among the variables of an env file: `KEY=value`, `export KEY=value`, values plain, in `'…'` (taken as they
/// are) or in `"…"` (with `\n`, `\"`, `\\`), comments after `#`. Nothing is substituted. Other variables are left alone:
/// the file may belong to a whole set-up.
fn env_variables(path: &Path, text: &str, problems: &mut Vec<SettingProblem>) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once('=') else {
            problems.push(SettingProblem::of_file(path, format!("line {} is not KEY=value", index + 1)));
            continue;
        };
        let Some(key) = keys::named(name.trim()) else { continue };
        match unquoted(value.trim()) {
            Some(value) => {
                found.insert(key.name, value);
            }
            None => problems.push(SettingProblem::new(
                key,
                None,
                &format!(
                    "line {} of {} has a quote that is not closed, or something after it",
                    index + 1,
                    path.display()
                ),
                "put the whole value into '…'",
            )),
        }
    }
    found
}

fn unquoted(value: &str) -> Option<String> {
    let rest_is_comment = |rest: &str| rest.trim().is_empty() || rest.trim_start().starts_with('#');
    if let Some(inner) = value.strip_prefix('\'') {
        let (text, rest) = inner.split_once('\'')?;
        return rest_is_comment(rest).then(|| text.to_owned());
    }
    let Some(inner) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value.get(..end).unwrap_or(value).trim_end().to_owned());
    };
    let mut text = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next()? {
            '"' => return rest_is_comment(chars.as_str()).then_some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_an_env_file_are_read_as_shells_read_them() {
        for (value, read) in [
            ("plain", Some("plain")),
            ("a b # comment", Some("a b")),
            ("a#b", Some("a#b")),
            ("'it''s' # x", None),
            ("'as $it \\n is' # x", Some("as $it \\n is")),
            (r#""a \"b\" \\ \n""#, Some("a \"b\" \\ \n")),
            ("\"open", None),
            ("'open", None),
            ("\"a\" b", None),
            ("", Some("")),
        ] {
            assert_eq!(unquoted(value).as_deref(), read, "{value}");
        }
    }

    #[test]
    fn only_our_own_variables_are_taken_from_an_env_file() {
        let mut problems = Vec::new();
        let text = "# a comment\n\nexport RECORD_LANG=ru\nPATH=x:$PATH\nTICKET_GROUP='Second Level'\nnonsense\nTICKET_MODE=\"off\n";
        let found = env_variables(Path::new(".env"), text, &mut problems);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("RECORD_LANG", "ru".to_owned()), ("TICKET_GROUP", "Second Level".to_owned())]
        );
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].contains("line 6") && shown[1].contains("TICKET_MODE"), "{shown:?}");
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_env_file_over_config_file() {
        let dir = tempfile::tempdir().unwrap();
        let (env_file, config_file) = (dir.path().join("env"), dir.path().join("config.toml"));
        std::fs::write(&env_file, "BRIDGE_LISTEN=envfile\nRECORD_LANG=envfile\nTICKET_MODE=envfile\nTICKET_GROUP=")
            .unwrap();
        let toml = "bridge_listen = \"toml\"\nRECORD_LANG = \"toml\"\nticket_mode = \"toml\"\nticket_group = \"toml\"\nretain_days = 7\n\
                    bridge_api_token = [\"a\", \"b\"]\n[[zammad]]\nName = \"x\"\nconcurrency = 5\n";
        std::fs::write(&config_file, toml).unwrap();
        let places = Places {
            set: vec![("bridge_listen".to_owned(), "line".to_owned())],
            env_file: Some(env_file),
            config_file: Some(config_file),
        };
        let environment =
            |name: &str| matches!(name, "BRIDGE_LISTEN" | "RECORD_LANG").then(|| "environment".to_owned());
        let mut problems = Vec::new();
        let sources = Sources::read(&places, environment, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let value = |key| sources.find(key).map(|(origin, value)| (origin, value.to_owned()));
        assert_eq!(value(keys::LISTEN), Some((Origin::CommandLine, "line".to_owned())));
        assert_eq!(value(keys::RECORD_LANG), Some((Origin::Environment, "environment".to_owned())));
        assert_eq!(value(keys::TICKET_MODE), Some((Origin::EnvFile, "envfile".to_owned())));
        assert_eq!(value(keys::TICKET_GROUP), Some((Origin::ConfigFile, "toml".to_owned())), "blank is not set");
        assert_eq!(value(keys::RETAIN_DAYS), Some((Origin::ConfigFile, "7".to_owned())));
        assert_eq!(value(keys::API_TOKEN), Some((Origin::ConfigFile, "a,b".to_owned())));
        assert_eq!(value(keys::ZAMMAD_URL), None);
        assert_eq!(sources.zammads[0]["name"], "x");
        assert!(!format!("{sources:?}").contains("environment\""), "{sources:?}");
    }

    #[test]
    fn what_is_wrong_with_a_source_is_told_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let config_file = dir.path().join("config.toml");
        std::fs::write(&config_file, "record_lang = \"ru\"\nzammad_api_token = S3CRET\n").unwrap();
        let places = Places {
            set: vec![("ZAMMAD_API_TOKEN".to_owned(), "S3CRET".to_owned()), ("ZAMMAD_ULR".to_owned(), "x".to_owned())],
            env_file: Some(dir.path().join("missing")),
            config_file: Some(config_file),
        };
        let mut problems = Vec::new();
        let _ = Sources::read(&places, |_| None, &mut problems);
        let shown = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(problems.len(), 4, "{shown}");
        assert!(!shown.contains("S3CRET"), "{shown}");
        for words in ["ZAMMAD_API_TOKEN", "did you mean ZAMMAD_URL", "missing", "line 2 is not TOML"] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }
}
