//! Texts for people, in every language that there are texts in.

use std::borrow::Cow;

use codex_core_sip::Locale;

/// One text in English and Russian, so that neither can be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    en: Cow<'static, str>,
    ru: Cow<'static, str>,
}

impl Text {
    /// A text that is known when the program is compiled.
    #[must_use]
    pub const fn fixed(en: &'static str, ru: &'static str) -> Self {
        Self { en: Cow::Borrowed(en), ru: Cow::Borrowed(ru) }
    }

    /// A text with facts in it.
    #[must_use]
    pub fn new(en: impl Into<Cow<'static, str>>, ru: impl Into<Cow<'static, str>>) -> Self {
        Self { en: en.into(), ru: ru.into() }
    }

    /// The text in this language.
    #[must_use]
    pub fn in_locale(&self, locale: Locale) -> &str {
        match locale {
            Locale::En => &self.en,
            Locale::Ru => &self.ru,
        }
    }
}
