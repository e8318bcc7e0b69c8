//! Which language counts.
//!
//! Of a call: the one that `start_call` asks for, else the one that was set, else `DEFAULT_LANG`; the client itself sees to
//! that. Of texts for people: the rule here.

use codex_core_sip::Locale;
use codex_core_sip::metadata::LanguageTag;

/// The language of texts for a person who speaks `language`: that one if there are texts in it, else `fallback`
/// (`FALLBACK_LANG`) if there are texts in that, else English.
///
/// ```
/// use codex_core_sip::{Locale, metadata::LanguageTag};
/// use codex_web_widget::text_locale;
///
/// let kazakh: LanguageTag = "kk-KZ".parse()?;
/// assert_eq!(text_locale(&kazakh, &LanguageTag::RU), Locale::Ru);
/// assert_eq!(text_locale(&LanguageTag::EN, &LanguageTag::RU), Locale::En);
/// # Ok::<(), codex_core_sip::Error>(())
/// ```
#[must_use]
pub fn text_locale(language: &LanguageTag, fallback: &LanguageTag) -> Locale {
    texts_in(language).or_else(|| texts_in(fallback)).unwrap_or(Locale::En)
}

fn texts_in(language: &LanguageTag) -> Option<Locale> {
    let primary = language.primary();
    if primary.eq_ignore_ascii_case("en") || primary.eq_ignore_ascii_case("eng") {
        return Some(Locale::En);
    }
    // Every other language gives English.
    match Locale::from_language(primary) {
        Locale::Ru => Some(Locale::Ru),
        Locale::En => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_then_the_fallback_then_english() {
        for (language, fallback, locale) in [
            ("ru", "en", Locale::Ru),
            ("ru-RU", "en", Locale::Ru),
            ("en-US", "ru", Locale::En),
            ("kk", "ru", Locale::Ru),
            ("kk", "de", Locale::En),
            ("de", "en", Locale::En),
        ] {
            let tag = |text: &str| text.parse::<LanguageTag>().unwrap();
            assert_eq!(text_locale(&tag(language), &tag(fallback)), locale, "{language}, {fallback}");
        }
    }
}
