//! Session descriptions that come again within a call: which of them change nothing (RFC 3264 §8).

use std::borrow::Cow;

use crate::sip::sdp::SessionDescription;

/// Whether two descriptions differ in nothing but the version of their origin: peers that refresh a session raise it
/// though nothing has changed.
pub(super) fn is_unchanged(before: &[u8], now: &[u8]) -> bool {
    let (mut before, mut now) = (lines(before), lines(now));
    loop {
        match (before.next(), now.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || is_same_origin(a, b) => {}
            _ => return false,
        }
    }
}

fn lines(description: &[u8]) -> impl Iterator<Item = &[u8]> {
    description
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// `o=<user> <session id> <version> <network> <address type> <address>`.
fn is_same_origin(before: &[u8], now: &[u8]) -> bool {
    if !before.starts_with(b"o=") || !now.starts_with(b"o=") {
        return false;
    }
    let without_version = |line: &[u8]| -> Vec<Vec<u8>> {
        let words = line.split(|byte| *byte == b' ').enumerate();
        words.filter(|(index, _)| *index != 2).map(|(_, word)| word.to_vec()).collect()
    };
    without_version(before) == without_version(now)
}

/// Our description `ours`, which may have been an offer, as the answer to `offer`. An answer has to name one of the
/// two roles in DTLS (RFC 8842 §5.3), and it is the one that we have had all the time: the other than the far end's.
pub(super) fn as_answer<'a>(ours: &'a str, offer: &[u8]) -> Cow<'a, str> {
    const OPEN: &str = "a=setup:actpass";
    let role = lines(offer).find_map(|line| match line {
        b"a=setup:active" => Some("a=setup:passive"),
        b"a=setup:passive" => Some("a=setup:active"),
        _ => None,
    });
    let (Some(role), true) = (role, ours.contains(OPEN)) else { return Cow::Borrowed(ours) };
    let answer = ours.replace(OPEN, role);
    match SessionDescription::parse(&answer) {
        Ok(mut description) => {
            let version = description.origin().version;
            description.set_version(version.saturating_add(1));
            Cow::Owned(description.to_string())
        }
        Err(_) => Cow::Owned(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=setup:actpass\r\n";

    #[test]
    fn only_the_version_may_differ() {
        for (from, to, expected) in [
            ("", "", true),
            ("7 1 IN", "7 2 IN", true),
            ("7 1 IN", "7 99999999999999999999 IN", true),
            ("7 1 IN", "8 1 IN", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("audio 9", "audio 10", false),
            ("a=setup:actpass\r\n", "", false),
            ("o=- 7 1", "s=- 7 1", false),
        ] {
            let now = BEFORE.replace(from, to);
            assert_eq!(is_unchanged(BEFORE.as_bytes(), now.as_bytes()), expected, "{from} {to}");
            assert_eq!(is_unchanged(now.as_bytes(), BEFORE.as_bytes()), expected, "{from} {to}");
        }
        assert!(is_unchanged(BEFORE.as_bytes(), BEFORE.replace('\r', "").as_bytes()));
        let longer = format!("{BEFORE}a=sendonly\r\n");
        assert!(!is_unchanged(BEFORE.as_bytes(), longer.as_bytes()));
    }

    #[test]
    fn an_answer_names_our_role() {
        for (theirs, ours) in [("active", "passive"), ("passive", "active")] {
            let offer = BEFORE.replace("actpass", theirs);
            let answer = as_answer(BEFORE, offer.as_bytes());
            assert_eq!(answer, BEFORE.replace("actpass", ours).replace("7 1", "7 2"));
            assert_eq!(as_answer(&answer, offer.as_bytes()), answer, "once it is named it stays");
        }
        assert_eq!(as_answer(OFFER_WITHOUT_DTLS, OFFER_WITHOUT_DTLS.as_bytes()), OFFER_WITHOUT_DTLS);
    }

    const OFFER_WITHOUT_DTLS: &str = "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
}
