//! What is wrong with the command line, in Russian; clap says it in English.

use core::fmt;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use codex_core_sip::Locale;
use codex_web_widget::Text;

use crate::details::quoted;

/// Why an option's value is wrong.
#[derive(Debug)]
pub(crate) struct WrongValue(pub(crate) Text);

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.in_locale(Locale::En))
    }
}

impl std::error::Error for WrongValue {}

/// The locale that a command line asks for which cannot be read as a whole.
pub(crate) fn asked_locale(arguments: impl Iterator<Item = String>) -> Option<Locale> {
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--lang") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => continue,
        };
        return value.map(|value| Locale::from_language(&value));
    }
    None
}

/// What is wrong, in Russian; `None` if it is no fault but help or the version.
pub(crate) fn russian(error: &Error) -> Option<String> {
    if !error.use_stderr() {
        return None;
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let (argument, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    let wrong = std::error::Error::source(error).and_then(|source| source.downcast_ref::<WrongValue>());
    let what = match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.is_empty() => {
            format!("для {argument} нужно значение")
        }
        ErrorKind::InvalidValue => {
            let valid = context(ContextKind::ValidValue);
            format!("неверное значение {} для {argument}; возможны: {valid}", quoted(&value))
        }
        ErrorKind::ValueValidation => {
            let why = wrong.map(|wrong| format!(": {}", wrong.0.in_locale(Locale::Ru))).unwrap_or_default();
            format!("неверное значение {} для {argument}{why}", quoted(&value))
        }
        ErrorKind::UnknownArgument => {
            let near = context(ContextKind::SuggestedArg);
            let near =
                if near.is_empty() { near } else { format!("; возможно, имелось в виду {near}") };
            format!("нет такого параметра: {argument}{near}")
        }
        ErrorKind::ArgumentConflict => {
            format!("{argument} нельзя указать вместе с {}", context(ContextKind::PriorArg))
        }
        _ => quoted(error.to_string().lines().next().unwrap_or_default()),
    };
    Some(format!("codex-call: {what}\nвсе параметры: codex-call --help"))
}
