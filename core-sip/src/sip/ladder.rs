//! A SIP trace as a ladder diagram, for a person who has to see why a call failed.
//!
//! ```text
//!           client                       edge                        voicebot
//!     0.000 s  |--INVITE sip:a@example-------->|                            |
//!     0.002 s  |<--------100 trying (INVITE)---|                            |
//! ```

use std::fmt::Write as _;
use std::time::Duration;

/// Columns between two parties' lines.
const LANE: usize = 44;
/// Columns left of the first party's line, where the time stands.
const MARGIN: usize = 13;

/// One SIP message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderMessage {
    /// When it was seen, since whatever moment all messages of a drawing share.
    pub at: Duration,
    /// Who sent it, such as `client`.
    pub from: String,
    /// Who received it, such as `edge`.
    pub to: String,
    /// The message as it was on the wire, without WebSocket framing and TLS.
    pub bytes: Vec<u8>,
}

impl LadderMessage {
    /// The first line: `INVITE sip:… SIP/2.0` or `SIP/2.0 200 OK`.
    #[must_use]
    pub fn first_line(&self) -> String {
        first_line(&self.bytes)
    }

    /// The first value of a header, white space trimmed, names compared without regard to case. Folded lines and compact
    /// names are not looked for: this is for reading a trace, not for judging it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.bytes, name)
    }
}

/// The first line of a message, without its line end.
#[must_use]
pub fn first_line(message: &[u8]) -> String {
    let line = message.split(|b| *b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// The first value of the header `name`, byte for byte but for white space around it.
#[must_use]
pub fn header(message: &[u8], name: &str) -> Option<String> {
    header_bytes(message, name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// As [`header`], as bytes.
#[must_use]
pub fn header_bytes<'a>(message: &'a [u8], name: &str) -> Option<&'a [u8]> {
    message.split(|b| *b == b'\n').skip(1).map_while(|line| (!line.trim_ascii().is_empty()).then_some(line)).find_map(
        |line| {
            let colon = line.iter().position(|b| *b == b':')?;
            line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        },
    )
}

/// How to draw.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    headers: Vec<String>,
    rightmost: Vec<String>,
}

impl Ladder {
    /// Method and status lines only.
    #[must_use]
    pub fn new() -> Ladder {
        Ladder::default()
    }

    /// Writes these headers, where a message has them, under its arrow.
    #[must_use]
    pub fn headers(mut self, names: &[&str]) -> Ladder {
        self.headers.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Puts these parties at the right, in this order.
    #[must_use]
    pub fn rightmost(mut self, parties: &[&str]) -> Ladder {
        self.rightmost.extend(parties.iter().map(|party| (*party).to_owned()));
        self
    }

    /// Draws the messages in the order given; times count from the first one. Parties stand in the order in which they
    /// appear, but for [`Ladder::rightmost`]. Control characters in messages are drawn as `·`.
    #[must_use]
    pub fn draw(&self, messages: &[LadderMessage]) -> String {
        let Some(first) = messages.first() else { return "(no SIP message was seen)\n".to_owned() };
        let mut parties: Vec<&str> = Vec::new();
        for message in messages {
            for party in [message.from.as_str(), message.to.as_str()] {
                if !parties.contains(&party) {
                    parties.push(party);
                }
            }
        }
        // Those that are not named have no place among the rightmost, and `None` sorts first.
        parties.sort_by_key(|party| self.rightmost.iter().position(|rightmost| rightmost == party));
        let position = |party: &str| parties.iter().position(|p| *p == party).unwrap_or_default();
        let mut drawing = String::new();
        let mut titles = String::new();
        for (index, party) in parties.iter().enumerate() {
            let line = MARGIN + index * LANE;
            let start = line.saturating_sub(party.chars().count() / 2).max(width(&titles) + usize::from(index > 0));
            pad_to(&mut titles, start);
            titles.push_str(party);
        }
        let _ = writeln!(drawing, "{titles}");
        for message in messages {
            let since = message.at.saturating_sub(first.at);
            let mut row = format!("{:>9.3} s", since.as_secs_f64());
            let (from, to) = (position(&message.from), position(&message.to));
            let (left, right) = (from.min(to), from.max(to));
            for index in (0..parties.len()).filter(|index| *index <= left || *index >= right) {
                pad_to(&mut row, MARGIN + index * LANE);
                row.push('|');
                if index == left && left != right {
                    row.push_str(&arrow((right - left) * LANE - 1, &label(message), from < to));
                } else if index == left {
                    let _ = write!(row, " {} (to itself)", shorten(&label(message), LANE - 15));
                }
            }
            let _ = writeln!(drawing, "{}", row.trim_end());
            for name in &self.headers {
                let Some(value) = message.header(name) else { continue };
                let mut row = String::new();
                for index in 0..parties.len() {
                    pad_to(&mut row, MARGIN + index * LANE);
                    row.push('|');
                    if index == left {
                        let _ = write!(row, "   {name}: {}", printable(&without_secrets(name, &value)));
                    }
                }
                let _ = writeln!(drawing, "{}", row.trim_end());
            }
        }
        drawing
    }
}

/// What stands on the arrow: method and target, or status, reason and the method that it answers.
fn label(message: &LadderMessage) -> String {
    let line = message.first_line();
    if let Some(status) = line.strip_prefix("SIP/2.0 ") {
        let cseq = message.header("CSeq").unwrap_or_default();
        let method = cseq.split_ascii_whitespace().nth(1).unwrap_or("?");
        return printable(&format!("{status} ({method})"));
    }
    if line.trim().is_empty() {
        return "keep-alive".to_owned();
    }
    printable(line.strip_suffix(" SIP/2.0").unwrap_or(&line))
}

/// An arrow of `length` columns with the label in it.
fn arrow(length: usize, label: &str, rightwards: bool) -> String {
    let label = shorten(label, length.saturating_sub(4));
    let dashes = "-".repeat(length.saturating_sub(width(&label) + 3));
    if rightwards { format!("--{label}{dashes}>") } else { format!("<{dashes}{label}--") }
}

/// The parameters of credentials from which a password could be guessed.
const SECRET_PARAMETERS: [&str; 2] = ["response", "cnonce"];

/// A header's value as it may be shown: credentials without what a password could be guessed from.
fn without_secrets(name: &str, value: &str) -> String {
    if !["Authorization", "Proxy-Authorization"].iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
        return value.to_owned();
    }
    let Some((scheme, parameters)) = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("digest"))
    else {
        return "***".to_owned();
    };
    let mut shown = scheme.to_owned();
    // A comma within quotes cuts a value in two, of which neither is that of a secret parameter: those are hexadecimal.
    for (index, parameter) in parameters.split(',').enumerate() {
        let name = parameter.split('=').next().unwrap_or_default().trim();
        let secret = SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        let shown_parameter = if secret { format!("{name}=***") } else { parameter.trim().to_owned() };
        let _ = write!(shown, "{}{shown_parameter}", if index == 0 { " " } else { ", " });
    }
    shown
}

fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad_to(row: &mut String, column: usize) {
    while width(row) < column {
        row.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_ms: u64, from: &str, to: &str, text: &str) -> LadderMessage {
        LadderMessage {
            at: Duration::from_secs(1_795_358_870) + Duration::from_millis(at_ms),
            from: from.into(),
            to: to.into(),
            bytes: text.replace('\n', "\r\n").into_bytes(),
        }
    }

    #[test]
    fn a_call_is_drawn_with_times_arrows_and_labels() {
        let trace = [
            message(0, "client", "edge", "INVITE sip:a@b SIP/2.0\nCSeq: 1 INVITE\n\n"),
            message(2, "edge", "client", "SIP/2.0 100 trying\nCSeq: 1 INVITE\n\n"),
            message(3, "edge", "voicebot", "INVITE sip:a@b SIP/2.0\nCSeq: 1 INVITE\n\n"),
            message(1250, "voicebot", "edge", "SIP/2.0 486 Busy Here\nCSeq: 1 INVITE\n\n"),
        ];
        let expected = concat!(
            "          client                                       edge                                      voicebot\n",
            "    0.000 s  |--INVITE sip:a@b-------------------------->|                                           |\n",
            "    0.002 s  |<---------------------100 trying (INVITE)--|                                           |\n",
            "    0.003 s  |                                           |--INVITE sip:a@b-------------------------->|\n",
            "    1.250 s  |                                           |<------------------486 Busy Here (INVITE)--|\n",
        );
        assert_eq!(Ladder::new().draw(&trace), expected);
    }

    #[test]
    fn an_arrow_may_pass_parties_and_headers_stand_under_it() {
        let trace = [
            message(0, "a", "b", "OPTIONS sip:b SIP/2.0\nCSeq: 1 OPTIONS\n\n"),
            message(1, "b", "c", "OPTIONS sip:c SIP/2.0\nCSeq: 2 OPTIONS\n\n"),
            message(2, "c", "a", "SIP/2.0 200 OK\nCSeq: 2 OPTIONS\nX-Lang: ru\n\n"),
        ];
        let drawing = Ladder::new().headers(&["X-Lang", "X-Other"]).draw(&trace);
        let last: Vec<&str> = drawing.lines().rev().take(2).collect();
        let dashes = "-".repeat(2 * LANE - 1 - "<200 OK (OPTIONS)--".len());
        assert_eq!(last[1], format!("    0.002 s  |<{dashes}200 OK (OPTIONS)--|"));
        assert!(last[0].starts_with("             |   X-Lang: ru "), "{drawing}");
    }

    #[test]
    fn parties_can_be_put_at_the_right() {
        let trace = [
            message(0, "edge", "voicebot", "INVITE sip:a SIP/2.0\n\n"),
            message(1, "client", "edge", "BYE sip:a SIP/2.0\n\n"),
            message(1, "client 2", "edge", "BYE sip:b SIP/2.0\n\n"),
        ];
        let drawing = Ladder::new().rightmost(&["edge", "voicebot", "absent"]).draw(&trace);
        let parties: Vec<&str> = drawing.lines().next().unwrap().split("  ").filter(|name| !name.is_empty()).collect();
        assert_eq!(
            parties.iter().map(|name| name.trim()).collect::<Vec<_>>(),
            ["client", "client 2", "edge", "voicebot"]
        );
    }

    #[test]
    fn long_targets_are_cut_and_control_characters_cannot_break_the_drawing() {
        let long = format!("INVITE sip:{}@example.test SIP/2.0\nCSeq: 1 INVITE\n\n", "x".repeat(200));
        let trace = [message(0, "a", "b", &long), message(0, "b", "a", "SIP/2.0 200 \u{7}\tOK\nCSeq: 1 INVITE\n\n")];
        let drawing = Ladder::new().draw(&trace);
        assert_eq!(drawing.lines().count(), 3);
        assert!(drawing.lines().all(|line| width(line) <= MARGIN + LANE + 1), "{drawing}");
        assert!(drawing.contains("xxx…->|") && drawing.contains("200 ··OK (INVITE)"), "{drawing}");
    }

    #[test]
    fn credentials_are_drawn_without_what_a_password_could_be_guessed_from() {
        let request = "REGISTER sip:b SIP/2.0\nCSeq: 2 REGISTER\nAuthorization: Digest username=\"170\",realm=\"b\", \
                       response=\"0123456789abcdef\",cnonce=\"fedcba\",nc=00000001\nProxy-Authorization: Basic MTcwOnNlY3JldA==\n\n";
        let drawing =
            Ladder::new().headers(&["Authorization", "proxy-authorization"]).draw(&[message(0, "a", "b", request)]);
        assert!(
            drawing.contains(r#"Digest username="170", realm="b", response=***, cnonce=***, nc=00000001"#),
            "{drawing}"
        );
        assert!(drawing.contains("proxy-authorization: ***"), "{drawing}");
        assert!(!drawing.contains("0123456789abcdef") && !drawing.contains("MTcw"), "{drawing}");
    }

    #[test]
    fn nothing_keep_alives_and_garbage_can_be_drawn() {
        assert_eq!(Ladder::new().draw(&[]), "(no SIP message was seen)\n");
        let trace = [message(5, "a", "b", "\n\n"), message(1, "b", "a", ""), message(9, "a", "a", "\u{fffd}")];
        let drawing = Ladder::new().draw(&trace);
        assert_eq!(drawing.matches("keep-alive").count(), 2, "{drawing}");
        assert!(drawing.contains("(to itself)"), "{drawing}");
    }
}
