//! Texts for people, in every language that there are texts in.

use std::borrow::Cow;

use codex_core_sip::Locale;

/// One text in English and Russian, so that neither can be forgotten. Without the feature `russian` it is the English one in
/// every language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    en: Cow<'static, str>,
    #[cfg(feature = "russian")]
    ru: Cow<'static, str>,
}

/// A [`Text`] with facts in it. The Russian one is not even put together where the feature `russian` is off.
macro_rules! bilingual {
    ($en:expr, $ru:expr $(,)?) => {
        if cfg!(feature = "russian") { $crate::text::Text::new($en, $ru) } else { $crate::text::Text::new($en, "") }
    };
}
pub(crate) use bilingual;

impl Text {
    /// A text that is known when the program is compiled.
    #[must_use]
    pub const fn fixed(en: &'static str, ru: &'static str) -> Self {
        #[cfg(not(feature = "russian"))]
        let _ = ru;
        Self {
            en: Cow::Borrowed(en),
            #[cfg(feature = "russian")]
            ru: Cow::Borrowed(ru),
        }
    }

    /// A text with facts in it.
    #[must_use]
    pub fn new(en: impl Into<Cow<'static, str>>, ru: impl Into<Cow<'static, str>>) -> Self {
        let (en, ru) = (en.into(), ru.into());
        #[cfg(not(feature = "russian"))]
        drop(ru);
        Self {
            en,
            #[cfg(feature = "russian")]
            ru,
        }
    }

    /// The text in this language.
    #[must_use]
    pub fn in_locale(&self, locale: Locale) -> &str {
        match locale {
            #[cfg(feature = "russian")]
            Locale::Ru => &self.ru,
            _ => &self.en,
        }
    }
}
