//! How the parties of a call are shown.

use super::application::{ApplicationName, ApplicationSid, UNKNOWN_APPLICATION};
use super::call_tag::CallTag;

/// What a party of which nothing is known is called.
pub const UNKNOWN_PARTY: &str = "Unknown";

/// How long a party's name may be, in characters; a longer one is cut.
pub const MAX_DISPLAY_NAME_CHARS: usize = 128;

/// How the two parties of a call are shown, in events, logs, `X-Display-From` and `X-Display-To`. They hold no control
/// characters and are not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayNames {
    /// The caller, such as `webcall:kqzmwbtr → voicebot`.
    pub from: String,
    /// The callee, such as `voicebot`.
    pub to: String,
}

/// What a `From` or `To` header says of a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Party<'a> {
    /// The display name, unquoted.
    pub display_name: Option<&'a str>,
    /// The user part of the URI, as it stands there (percent escapes are resolved here).
    pub user: Option<&'a str>,
}

/// What is known of an incoming call's parties.
#[derive(Debug, Clone, Copy)]
pub struct IncomingParties<'a> {
    /// Our own user names and extensions.
    pub own_users: &'a [&'a str],
    /// The call's tag.
    pub tag: &'a CallTag,
    /// The application's name: the caller's `X-Application-Name`, or else what was configured.
    pub application: Option<&'a ApplicationName>,
    /// The caller.
    pub from: Party<'a>,
    /// The callee.
    pub to: Party<'a>,
    /// The caller's `X-Display-From`.
    pub x_display_from: Option<&'a str>,
    /// The caller's `X-Display-To`.
    pub x_display_to: Option<&'a str>,
}

impl DisplayNames {
    /// The names for a call that we place to the user part `target_user` of the target URI.
    ///
    /// We are `webcall:<tag>`, with a known application `webcall:<tag> → <name>`. An application's GUID (also
    /// `app-<guid>`) becomes its name, `voicebot` if unknown; any other party keeps its name.
    #[must_use]
    pub fn outgoing(tag: &CallTag, application: Option<&ApplicationName>, target_user: Option<&str>) -> Self {
        let to = target_user.and_then(|user| readable(&percent_decoded(user)));
        Self {
            from: own_name(tag, application),
            to: to.map_or_else(|| UNKNOWN_PARTY.to_owned(), |user| application_name(user, application)),
        }
    }

    /// The names for a call that comes in.
    ///
    /// The caller's own `X-Display-From` and `X-Display-To` win; then the display name, then the user part. Of these,
    /// an application's GUID becomes its name and one of our own users becomes `webcall:<tag>`, as for outgoing calls.
    #[must_use]
    pub fn incoming(parties: &IncomingParties<'_>) -> Self {
        let name = |x_display: Option<&str>, party: Party<'_>| {
            if let Some(name) = x_display.and_then(readable) {
                return name;
            }
            let user = || party.user.and_then(|user| readable(&percent_decoded(user)));
            match party.display_name.and_then(readable).or_else(user) {
                None => UNKNOWN_PARTY.to_owned(),
                Some(name) if parties.own_users.contains(&name.as_str()) => own_name(parties.tag, parties.application),
                Some(name) => application_name(name, parties.application),
            }
        };
        Self { from: name(parties.x_display_from, parties.from), to: name(parties.x_display_to, parties.to) }
    }
}

fn own_name(tag: &CallTag, application: Option<&ApplicationName>) -> String {
    let webcall = tag.display_name();
    application.map_or_else(|| webcall.clone(), |name| format!("{webcall} → {name}"))
}

fn application_name(party: String, application: Option<&ApplicationName>) -> String {
    match ApplicationSid::from_user_part(&party) {
        None => party,
        Some(_) => application.map_or(UNKNOWN_APPLICATION, ApplicationName::as_str).to_owned(),
    }
}

/// `text` without control characters and white space at its ends, cut to [`MAX_DISPLAY_NAME_CHARS`]; `None` if nothing
/// is left.
pub(super) fn readable(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_control() || c.is_whitespace());
    let mut name: String =
        text.chars().take(MAX_DISPLAY_NAME_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_DISPLAY_NAME_CHARS).is_some() {
        name.pop();
        name.push('…');
    }
    Some(name).filter(|n| !n.is_empty())
}

/// `user` with its percent escapes resolved (RFC 3261 §25.1, `escaped`), as it stands if that is not UTF-8.
fn percent_decoded(user: &str) -> String {
    let bytes = user.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|hex| {
            let digit = |b: u8| char::from(b).to_digit(16);
            u8::try_from(digit(hex[0])? * 16 + digit(hex[1])?).ok()
        });
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0397dc5f-2f8f-4778-8499-0af934dd1196";

    fn voicebot() -> ApplicationName {
        "voicebot".parse().unwrap()
    }

    #[test]
    fn outgoing_calls_are_shown_as_the_older_guide_shows_them() {
        let tag = CallTag::from_call_id("abc12345-0397dc5f-2f8f-4778-8499-0af934dd1196");
        let named = voicebot();
        let app = format!("app-{GUID}");
        let upper = GUID.to_uppercase();
        let support: ApplicationName = "Поддержка".parse().unwrap();
        let cases: [(Option<&ApplicationName>, Option<&str>, &str, &str); 9] = [
            (None, Some(GUID), "webcall:abc12345", "voicebot"),
            (Some(&named), Some(GUID), "webcall:abc12345 → voicebot", "voicebot"),
            (None, Some(&app), "webcall:abc12345", "voicebot"),
            (Some(&support), Some(&app), "webcall:abc12345 → Поддержка", "Поддержка"),
            (Some(&support), Some(&upper), "webcall:abc12345 → Поддержка", "Поддержка"),
            (None, Some("+74951234567"), "webcall:abc12345", "+74951234567"),
            (None, Some("%D0%96%zz%4"), "webcall:abc12345", "Ж%zz%4"),
            (None, Some("%ff"), "webcall:abc12345", "%ff"),
            (None, None, "webcall:abc12345", "Unknown"),
        ];
        for (application, target, from, to) in cases {
            let names = DisplayNames::outgoing(&tag, application, target);
            assert_eq!((names.from.as_str(), names.to.as_str()), (from, to), "{target:?}");
        }
    }

    #[test]
    fn incoming_calls_are_shown_by_what_the_caller_says_first() {
        let tag = CallTag::from_call_id("abc12345-1");
        let app = format!("app-{GUID}");
        let party = |display_name, user| Party { display_name, user };
        let named = voicebot();
        let long = "я".repeat(500);
        let cut = "я".repeat(127) + "…";
        // X-Display header, display name, user part; with and without a known application.
        type Case<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a str, &'a str);
        let cases: [Case<'_>; 14] = [
            (
                Some("webcall:zzzzzzzz → бот"),
                Some("Иван"),
                Some("170"),
                "webcall:zzzzzzzz → бот",
                "webcall:zzzzzzzz → бот",
            ),
            (Some(" \r\n"), Some("Иван"), Some("ivan"), "Иван", "Иван"),
            (None, Some(" "), Some("ivan"), "ivan", "ivan"),
            (None, None, Some("+74951234567"), "+74951234567", "+74951234567"),
            (None, None, Some(GUID), "voicebot", "voicebot"),
            (None, Some(&app), Some("x"), "voicebot", "voicebot"),
            (None, None, Some("170"), "webcall:abc12345", "webcall:abc12345 → voicebot"),
            (None, None, Some("1%370"), "webcall:abc12345", "webcall:abc12345 → voicebot"),
            (None, Some("alice"), None, "webcall:abc12345", "webcall:abc12345 → voicebot"),
            (None, Some("Support"), Some(GUID), "Support", "Support"),
            (None, Some("a\r\nX-Evil: 1"), None, "a  X-Evil: 1", "a  X-Evil: 1"),
            (None, None, Some("a%0d%0ab"), "a  b", "a  b"),
            (None, Some(&long), None, &cut, &cut),
            (None, None, None, "Unknown", "Unknown"),
        ];
        for (x_display, display_name, user, without, with) in cases {
            for (application, shown) in [(None, without), (Some(&named), with)] {
                let one = party(display_name, user);
                let other = party(None, Some("x"));
                let mut parties = IncomingParties {
                    own_users: &["170", "alice"],
                    tag: &tag,
                    application,
                    from: one,
                    to: other,
                    x_display_from: x_display,
                    x_display_to: None,
                };
                assert_eq!(
                    DisplayNames::incoming(&parties),
                    DisplayNames { from: shown.to_owned(), to: "x".to_owned() }
                );
                (parties.from, parties.to) = (other, one);
                (parties.x_display_from, parties.x_display_to) = (None, x_display);
                assert_eq!(
                    DisplayNames::incoming(&parties),
                    DisplayNames { from: "x".to_owned(), to: shown.to_owned() }
                );
            }
        }
    }
}
