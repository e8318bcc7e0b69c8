//! SIPp's message log (`-trace_msg`): what exactly it sent and received.
//!
//! The log tells the length of each message, so that bodies and header values come out byte for byte, whatever they hold.
//! Its clock is local time: SIPp is started with `TZ=UTC`.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use crate::sip_trace;

/// Which way a message went, seen from SIPp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// SIPp sent it.
    Sent,
    /// SIPp received it.
    Received,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedMessage {
    /// When, since the Unix epoch (SIPp's clock taken as UTC).
    pub at: Duration,
    /// Which way.
    pub direction: Direction,
    /// The message as it was on the wire.
    pub bytes: Vec<u8>,
}

impl LoggedMessage {
    /// The first line: `INVITE sip:… SIP/2.0` or `SIP/2.0 200 OK`.
    #[must_use]
    pub fn first_line(&self) -> String {
        sip_trace::first_line(&self.bytes)
    }

    /// The request's method; `None` for a response.
    #[must_use]
    pub fn method(&self) -> Option<String> {
        let line = self.first_line();
        (!line.starts_with("SIP/")).then(|| line.split(' ').next().unwrap_or_default().to_owned())
    }

    /// The response's status; `None` for a request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.first_line().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The first value of a header as bytes, white space around it trimmed; no folding, no compact names.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        sip_trace::header_bytes(&self.bytes, name)
    }

    /// What follows the empty line.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        sip_trace::find(&self.bytes, b"\r\n\r\n").map_or(&[], |end| &self.bytes[end + 4..])
    }
}

/// Reads a message log. No file yet means no messages yet; an entry that SIPp has not finished writing is left out.
///
/// # Errors
/// When the file cannot be read, or is not a message log (the error says at which byte).
pub fn messages(path: &Path) -> io::Result<Vec<LoggedMessage>> {
    match fs::read(path) {
        Ok(log) => parse(&log),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// As [`messages`], from the log's bytes.
///
/// # Errors
/// When it is not a message log (the error says at which byte).
pub fn parse(log: &[u8]) -> io::Result<Vec<LoggedMessage>> {
    let mut messages = Vec::new();
    let mut offset = 0;
    while offset < log.len() {
        // Entries are parted by one or two line ends, more after a message that ended in none.
        if matches!(log[offset], b'\n' | b'\r') {
            offset += 1;
            continue;
        }
        let Some((rule, after_rule)) = line(log, offset) else { break };
        let Some((head, after_head)) = line(log, after_rule) else { break };
        if head.starts_with("Dead call ") {
            // What came after its call was over is told once more, without time and length, up to the next rule.
            let next = sip_trace::find(&log[after_head..], b"\n-----").map(|found| after_head + found);
            offset = next.unwrap_or(log.len());
            continue;
        }
        let at = rule.trim_start_matches('-').trim();
        let wrong = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("byte {offset} of the SIPp message log: {what}"))
        };
        let at = if rule.starts_with("-----") { instant(at) } else { None }
            .ok_or_else(|| wrong("a rule with date and time was expected"))?;
        let direction = if head.contains(" message sent ") {
            Direction::Sent
        } else if head.contains(" message received ") {
            Direction::Received
        } else {
            return Err(wrong("`message sent` or `message received` was expected"));
        };
        // `(474 bytes):` for what was sent, `[871] bytes :` for what was received.
        let length = head.split(['(', '[']).nth(1).and_then(|rest| rest.split([' ', ']']).next());
        let length: usize =
            length.and_then(|l| l.parse().ok()).ok_or_else(|| wrong("the message's length was expected"))?;
        let start = after_head + usize::from(log.get(after_head) == Some(&b'\n'));
        let Some(bytes) = start.checked_add(length).and_then(|end| log.get(start..end)) else { break };
        messages.push(LoggedMessage { at, direction, bytes: bytes.to_vec() });
        offset = start + length;
    }
    Ok(messages)
}

/// The line at `offset` and where the next one begins; `None` if it is not finished.
fn line(log: &[u8], offset: usize) -> Option<(String, usize)> {
    let rest = log.get(offset..)?;
    let end = rest.iter().position(|b| *b == b'\n')?;
    Some((String::from_utf8_lossy(&rest[..end]).trim_end().to_owned(), offset + end + 1))
}

/// `2026-11-22 14:50:31.799426`, taken as UTC, since the epoch.
fn instant(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once([' ', '\t'])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, micros) = time.split_once('.')?;
    let micros = micros.parse::<u64>().ok().filter(|m| *m < 1_000_000)?;
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in the Gregorian calendar: years counted from March, so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 719_469;
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by SIPp 3.6.1: `voicebot-answers.xml` called by `caller-talks.xml` through Kamailio.
    const RECORDED: &[u8] = include_bytes!("../peers/sipp/message-log-sample.log");

    #[test]
    fn a_recorded_log_is_read_byte_for_byte() {
        let messages = parse(RECORDED).unwrap();
        let seen: Vec<_> = messages.iter().map(|m| (m.direction, m.first_line())).collect();
        let (received, sent) = (Direction::Received, Direction::Sent);
        let expected = [
            (received, "INVITE sip:app-3f2b8c1e-7d4a-4e9b-9a61-0c5d2e8f1a77@sip.example.test SIP/2.0"),
            (sent, "SIP/2.0 180 Ringing"),
            (sent, "SIP/2.0 200 OK"),
            (received, "ACK sip:voicebot@127.0.0.1:5090 SIP/2.0"),
            (received, "BYE sip:voicebot@127.0.0.1:5090 SIP/2.0"),
            (sent, "SIP/2.0 200 OK"),
        ];
        assert_eq!(seen, expected.map(|(direction, line)| (direction, line.to_owned())));
        assert_eq!(messages[0].header("X-Customer-Data").unwrap(), "{\"ticket\":\"Заявка №42\"}".as_bytes());
        assert_eq!(messages[0].header("user-to-user").unwrap(), b"626f74;encoding=hex");
        assert!(messages[0].body().starts_with(b"v=0\r\n") && messages[0].body().ends_with(b"\r\n"));
        assert_eq!(messages[0].method().as_deref(), Some("INVITE"));
        assert_eq!((messages[1].status(), messages[0].status()), (Some(180), None));
        assert_eq!(messages[0].at, Duration::from_micros(1_795_359_582_733_738));
        for message in &messages {
            let length: usize = String::from_utf8_lossy(message.header("Content-Length").unwrap()).parse().unwrap();
            assert_eq!(message.body().len(), length, "{}", message.first_line());
        }
    }

    #[test]
    fn a_log_that_is_still_being_written_gives_what_is_complete() {
        let whole = parse(RECORDED).unwrap();
        for cut in 0..RECORDED.len() {
            let messages = parse(&RECORDED[..cut]).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(messages, whole[..messages.len()], "cut at {cut}");
        }
    }

    #[test]
    fn a_message_that_looks_like_the_log_does_not_confuse_it() {
        let body = "----------------------------------------------- 2026-01-01 00:00:00.000000\nUDP message sent (5 bytes):\n\nabc";
        let log = format!(
            "----------------------------------------------- 2026-01-01 00:00:00.000001\nUDP message sent ({} bytes):\n\n{body}\n",
            body.len()
        );
        let messages = parse(log.as_bytes()).unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].bytes, body.as_bytes());
    }

    #[test]
    fn what_came_after_the_call_is_there_once() {
        let entry = |text: &str| {
            format!("----- 2026-01-01 00:00:00.000001\nUDP message received [{}] bytes :\n\n{text}\n", text.len())
        };
        let dead = |text: &str| {
            format!("-----\nDead call a-call received a UDP message:\n\n{text}\n\nThe following events occurred:\nx\n")
        };
        let (ack, bye) = ("ACK sip:a SIP/2.0\r\n\r\n", "BYE sip:a SIP/2.0\r\n\r\n");
        let log = [entry(ack), entry(ack), dead(ack), entry(bye), dead(bye)].concat();
        let methods: Vec<_> = parse(log.as_bytes()).unwrap().iter().filter_map(LoggedMessage::method).collect();
        assert_eq!(methods, ["ACK", "ACK", "BYE"]);
    }

    #[test]
    fn something_else_is_an_error_with_its_place() {
        for wrong in [
            "hello\nworld\n",
            "----- 2026-13-01 00:00:00.000000\nUDP message sent (1 bytes):\n\na",
            "----- 2026-01-01 00:00:00.000000\nUDP message lost (1 bytes):\n\na",
            "----- 2026-01-01 00:00:00.000000\nUDP message sent (x bytes):\n\na",
        ] {
            let error = parse(wrong.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("byte 0 of the SIPp message log"), "{error}");
        }
    }

    #[test]
    fn dates_become_time_since_the_epoch() {
        for (text, seconds) in [
            ("1970-01-01 00:00:00.000000", 0),
            ("2000-02-29 12:00:00.000000", 951_825_600),
            ("2026-03-01\t00:00:00.000000", 1_772_323_200),
            ("2026-11-22 14:50:31.000000", 1_795_359_031),
        ] {
            assert_eq!(instant(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }
}
