//! What can go wrong.

use codex_core_sip::Locale;

use crate::keys::KeyProblems;

/// The result of what can fail in this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, where, and what to do about it. None holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Keys are wrong or missing; all of them are listed.
    #[error(transparent)]
    Keys(#[from] KeyProblems),
    /// The client cannot be made, or what it was told to do failed.
    #[error(transparent)]
    Client(#[from] codex_core_sip::Error),
    /// Names of applications cannot be looked up with these settings.
    #[error(transparent)]
    Names(#[from] codex_jambonz_api::Error),
}

impl Error {
    /// The cause as a word for programs, as [`codex_core_sip::Error::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Keys(_) | Self::Names(_) => "configuration",
            Self::Client(error) => error.code(),
        }
    }

    /// A short text for the person who wanted to call, as [`codex_core_sip::Error::for_person`].
    #[must_use]
    pub fn for_person(&self, locale: Locale) -> String {
        let configuration = codex_core_sip::Error::Configuration { problems: Vec::new() };
        match self {
            Self::Keys(_) | Self::Names(_) => configuration.for_person(locale),
            Self::Client(error) => error.for_person(locale),
        }
    }
}
