//! Session descriptions that come again within a call (RFC 3264 §8): what of them has changed, how ours goes on.

use crate::sip::sdp::{Direction, SessionDescription};

/// By what a description differs from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// By nothing that matters: the version of the origin, which peers raise when they refresh a session, and the part
    /// in DTLS, which a running association keeps (RFC 8842 §5.5: an offer says `actpass` again).
    None,
    /// By who may send: hold, or its end.
    Direction,
    /// By codecs, addresses, keys or anything else that the media have to know.
    Media,
}

/// Compares two descriptions of the same end.
pub(super) fn difference(before: &[u8], now: &[u8]) -> Difference {
    // An old way to say hold is the address 0.0.0.0 (RFC 2543); it is a direction then, not another place.
    let old_hold = holds_by_address(before) != holds_by_address(now);
    let is_beside_the_point =
        |line: &[u8]| line.starts_with(b"a=setup:") || is_direction(line) || (old_hold && line.starts_with(b"c="));
    let matters = |line: &&[u8]| !is_beside_the_point(line);
    let (mut old, mut new) = (lines(before).filter(matters), lines(now).filter(matters));
    loop {
        match (old.next(), new.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b || is_same_origin(a, b) => {}
            _ => return Difference::Media,
        }
    }
    if direction_of(before) == direction_of(now) { Difference::None } else { Difference::Direction }
}

/// What the describing end says of the first audio stream; hold by address counts as `inactive`.
pub(super) fn direction_of(description: &[u8]) -> Direction {
    let Ok(text) = core::str::from_utf8(description) else { return Direction::SendRecv };
    let Ok(parsed) = SessionDescription::parse(text) else { return Direction::SendRecv };
    let Some(audio) = parsed.media().iter().find(|media| media.kind() == "audio" && !media.is_rejected()) else {
        return Direction::Inactive;
    };
    let direction = parsed.direction(audio);
    match direction {
        Direction::SendRecv if parsed.is_hold() => Direction::SendOnly,
        _ => direction,
    }
}

/// The direction that `ours` and `theirs` leave to us.
pub(super) fn effective(ours: Direction, theirs: Direction) -> Direction {
    of_parts(ours.sends() && theirs.receives(), ours.receives() && theirs.sends())
}

const fn of_parts(sends: bool, receives: bool) -> Direction {
    match (sends, receives) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

fn holds_by_address(description: &[u8]) -> bool {
    lines(description).any(|line| line == b"c=IN IP4 0.0.0.0")
        && !lines(description).any(|line| line.starts_with(b"a=ice-ufrag:"))
}

fn is_direction(line: &[u8]) -> bool {
    matches!(line, b"a=sendrecv" | b"a=sendonly" | b"a=recvonly" | b"a=inactive")
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

/// Our next description in the session that `before` began: whoever made it, it has the same origin, and a version
/// that is one higher if anything else has changed (RFC 3264 §8).
pub(super) fn continued(before: &str, next: &str) -> String {
    let Ok(old) = SessionDescription::parse(before) else { return next.to_owned() };
    let origin = old.origin();
    let line = |version: u64| {
        format!(
            "o={} {} {version} {} {} {}",
            origin.username, origin.session_id, origin.network, origin.address_type, origin.address
        )
    };
    let with_origin = |origin: &str| {
        let mut text = String::with_capacity(next.len() + 16);
        for part in next.split_inclusive('\n') {
            if part.starts_with("o=") {
                text.push_str(origin);
                text.push_str("\r\n");
            } else {
                text.push_str(part);
            }
        }
        text
    };
    let same = with_origin(&line(origin.version));
    if same == before { same } else { with_origin(&line(origin.version.saturating_add(1))) }
}

/// `ours` with this direction in every audio stream that is not refused.
pub(super) fn with_direction(ours: &str, direction: Direction) -> String {
    let Ok(mut parsed) = SessionDescription::parse(ours) else { return ours.to_owned() };
    let audio: Vec<(usize, Direction)> = parsed
        .media()
        .iter()
        .enumerate()
        .filter(|(_, media)| media.kind() == "audio" && !media.is_rejected())
        .map(|(index, media)| (index, parsed.direction(media)))
        .collect();
    let mut changed = false;
    for (index, now) in audio {
        if now != direction {
            parsed.set_direction(index, direction);
            changed = true;
        }
    }
    if changed { parsed.to_string() } else { ours.to_owned() }
}

/// Our description `ours`, which may have been an offer, as the answer to `offer` with this direction. An answer has to
/// name one of the two parts in DTLS (RFC 8842 §5.3), and it is the one that we have had all the time: the other than the
/// far end's, which `before` tells if the offer leaves it open.
pub(super) fn as_answer(ours: &str, offer: &[u8], before: Option<&[u8]>, direction: Direction) -> String {
    let role_of = |description: &[u8]| {
        lines(description).find_map(|line| match line {
            b"a=setup:active" => Some("a=setup:passive"),
            b"a=setup:passive" => Some("a=setup:active"),
            _ => None,
        })
    };
    let open = ours.lines().any(|line| line == "a=setup:actpass");
    let role = role_of(offer).or_else(|| if open { before.and_then(role_of) } else { None });
    let mut answer = with_direction(ours, direction);
    if let Some(role) = role {
        for other in ["a=setup:actpass", "a=setup:active", "a=setup:passive"] {
            if other != role && answer.contains(other) {
                answer = answer
                    .split_inclusive('\n')
                    .map(|line| if line.trim_end() == other { format!("{role}\r\n") } else { line.to_owned() })
                    .collect();
            }
        }
    }
    continued(ours, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=setup:actpass\r\n";

    #[test]
    fn version_and_part_in_dtls_are_no_difference() {
        use Difference as D;
        for (from, to, expected) in [
            ("", "", D::None),
            ("7 1 IN", "7 2 IN", D::None),
            ("7 1 IN", "7 99999999999999999999 IN", D::None),
            ("a=setup:actpass", "a=setup:active", D::None),
            ("a=setup:actpass", "a=sendrecv", D::None),
            ("a=setup:actpass", "a=sendonly", D::Direction),
            ("a=setup:actpass", "a=inactive", D::Direction),
            ("7 1 IN", "8 1 IN", D::Media),
            ("192.0.2.1", "192.0.2.2", D::Media),
            ("audio 9", "audio 10", D::Media),
            ("o=- 7 1", "s=- 7 1", D::Media),
        ] {
            let now = BEFORE.replace(from, to);
            assert_eq!(difference(BEFORE.as_bytes(), now.as_bytes()), expected, "{from} {to}");
            assert_eq!(difference(now.as_bytes(), BEFORE.as_bytes()), expected, "{from} {to}");
        }
        assert_eq!(difference(BEFORE.as_bytes(), BEFORE.replace('\r', "").as_bytes()), D::None);
    }

    #[test]
    fn hold_by_address_is_a_direction() {
        let talking = format!("{BEFORE}c=IN IP4 192.0.2.1\r\n");
        let held = format!("{BEFORE}c=IN IP4 0.0.0.0\r\n");
        assert_eq!(difference(talking.as_bytes(), held.as_bytes()), Difference::Direction);
        assert_eq!(difference(held.as_bytes(), talking.as_bytes()), Difference::Direction);
        assert_eq!(direction_of(held.as_bytes()), Direction::SendOnly);
        // With ICE the address says nothing.
        let ice = |text: &str| format!("{text}a=ice-ufrag:abcd\r\n");
        assert_eq!(difference(ice(&talking).as_bytes(), ice(&held).as_bytes()), Difference::Media);
    }

    #[test]
    fn an_answer_names_our_part_and_keeps_it() {
        for (theirs, ours) in [("active", "passive"), ("passive", "active")] {
            let offer = BEFORE.replace("actpass", theirs);
            let answer = as_answer(BEFORE, offer.as_bytes(), None, Direction::SendRecv);
            assert_eq!(answer, BEFORE.replace("actpass", ours).replace("7 1", "7 2"));
            let again = as_answer(&answer, offer.as_bytes(), None, Direction::SendRecv);
            assert_eq!(again, answer, "once it is named it stays, and so does the version");
            // The far end leaves it open in its next offer: our part is what it was.
            let open = as_answer(&answer, BEFORE.as_bytes(), Some(offer.as_bytes()), Direction::SendRecv);
            assert_eq!(open, answer);
            let open = as_answer(BEFORE, BEFORE.as_bytes(), Some(offer.as_bytes()), Direction::SendRecv);
            assert_eq!(open, answer);
        }
        let plain = BEFORE.replace("a=setup:actpass\r\n", "");
        assert_eq!(as_answer(&plain, plain.as_bytes(), None, Direction::SendRecv), plain);
    }

    #[test]
    fn hold_changes_direction_and_version_and_nothing_else() {
        let held = continued(BEFORE, &with_direction(BEFORE, Direction::SendOnly));
        assert_eq!(held, format!("{BEFORE}a=sendonly\r\n").replace("7 1", "7 2"));
        let back = continued(&held, &with_direction(&held, Direction::SendRecv));
        assert_eq!(back, format!("{BEFORE}a=sendrecv\r\n").replace("7 1", "7 3"));
        assert_eq!(continued(&back, &back), back, "a refresh raises nothing");
    }

    #[test]
    fn a_description_of_another_origin_goes_on_under_the_first() {
        let other = BEFORE.replace("7 1 IN IP4 192.0.2.1", "99 5 IN IP4 203.0.113.1").replace("audio 9", "audio 11");
        assert_eq!(continued(BEFORE, &other), BEFORE.replace("7 1", "7 2").replace("audio 9", "audio 11"));
    }

    #[test]
    fn both_ends_decide_who_sends() {
        use Direction as D;
        for (ours, theirs, expected) in [
            (D::SendRecv, D::SendRecv, D::SendRecv),
            (D::SendOnly, D::RecvOnly, D::SendOnly),
            (D::SendRecv, D::SendOnly, D::RecvOnly),
            (D::SendOnly, D::SendOnly, D::Inactive),
            (D::SendRecv, D::Inactive, D::Inactive),
        ] {
            assert_eq!(effective(ours, theirs), expected);
        }
    }
}
