//! SIP messages with time, sender and receiver, from whoever saw them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

pub use codex_core_sip::sip::ladder::{LadderMessage as TracedMessage, first_line, header, header_bytes};

/// Puts what several observers saw into one trace, in order of time. A message that two of them saw is there once;
/// retransmissions stay, since each observer saw them as often.
#[must_use]
pub fn merge(observers: impl IntoIterator<Item = Vec<TracedMessage>>) -> Vec<TracedMessage> {
    type Key = (String, String, Vec<u8>);
    let mut known: HashMap<Key, usize> = HashMap::new();
    let mut merged: Vec<TracedMessage> = Vec::new();
    for seen in observers {
        let mut of_this_observer: HashMap<Key, usize> = HashMap::new();
        for message in seen {
            let key = (message.from.clone(), message.to.clone(), message.bytes.clone());
            let count = of_this_observer.entry(key.clone()).or_default();
            *count += 1;
            let known = known.entry(key).or_default();
            if *count > *known {
                *known = *count;
                merged.push(message);
            }
        }
    }
    merged.sort_by_key(|message| message.at);
    merged
}

/// How the Call-ID of a request begins that only asks whether a peer is up: it does not belong into a trace.
pub(crate) const READINESS_CALL_ID: &str = "is-it-up-";

/// Whether these bytes are SIP (an edge gets HTTP on the same ports) and not the question whether it is up.
fn is_of_a_call(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let is_sip = line.starts_with("SIP/2.0 ") || line.ends_with(" SIP/2.0");
    is_sip && !header(bytes, "Call-ID").is_some_and(|id| id.starts_with(READINESS_CALL_ID))
}

/// Reads what Kamailio's module `sipdump` wrote into `folder` (files `sip-*.data`): every message that the edge received
/// or sent, over UDP, TCP, WS and WSS; HTTP on the same ports is left out. `name` tells who is behind a port, the edge's own ports included.
///
/// # Errors
/// When a file cannot be read. A last entry that is not yet complete is left out.
pub fn read_sipdump(folder: &Path, mut name: impl FnMut(u16) -> String) -> io::Result<Vec<TracedMessage>> {
    let mut files: Vec<_> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with("sip-") && file.ends_with(".data")
        })
        .collect();
    files.sort();
    let mut messages = Vec::new();
    for file in files {
        parse_sipdump(&fs::read(file)?, &mut name, &mut messages);
    }
    messages.sort_by_key(|message| message.at);
    Ok(messages)
}

fn parse_sipdump(dump: &[u8], name: &mut impl FnMut(u16) -> String, messages: &mut Vec<TracedMessage>) {
    const START: &[u8] = b"====================\n";
    const HEAD_END: &[u8] = b"~~~~~~~~~~~~~~~~~~~~\n";
    const END: &[u8] = b"||||||||||||||||||||\n";
    let mut rest = dump;
    while let Some(start) = find(rest, START) {
        rest = &rest[start + START.len()..];
        let Some(head_end) = find(rest, HEAD_END) else { return };
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        rest = &rest[head_end + HEAD_END.len()..];
        let Some(end) = find(rest, END) else { return };
        let bytes = rest[..end].to_vec();
        rest = &rest[end + END.len()..];
        if !is_of_a_call(&bytes) {
            continue;
        }
        let field = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let port = |key: &str| field(key).and_then(|port| port.parse::<u16>().ok());
        let (Some(at), Some(from), Some(to)) = (field("time:").and_then(seconds), port("srcport:"), port("dstport:"))
        else {
            continue;
        };
        messages.push(TracedMessage { at, from: name(from), to: name(to), bytes });
    }
}

/// `1795358870.404182` as a duration.
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_ms: u64, from: &str, bytes: &[u8]) -> TracedMessage {
        TracedMessage { at: Duration::from_millis(at_ms), from: from.into(), to: "edge".into(), bytes: bytes.into() }
    }

    #[test]
    fn headers_are_found_whatever_their_case_and_only_before_the_body() {
        let bytes = "INFO sip:a SIP/2.0\r\nX-Customer-Data:  {\"имя\":\"Иван\"} \r\nL: 9\r\n\r\nSignal: 1".as_bytes();
        let message = message(0, "client", bytes);
        assert_eq!(message.first_line(), "INFO sip:a SIP/2.0");
        assert_eq!(message.header("x-customer-data").as_deref(), Some("{\"имя\":\"Иван\"}"));
        assert_eq!(message.header("Signal"), None);
        assert_eq!(message.header("Via"), None);
    }

    #[test]
    fn what_two_saw_is_there_once_and_retransmissions_stay() {
        let first = vec![message(1, "client", b"A"), message(5, "client", b"A"), message(9, "client", b"B")];
        let second = vec![message(2, "client", b"A"), message(6, "client", b"A"), message(7, "client", b"A")];
        let third = vec![message(0, "voicebot", b"A")];
        let merged = merge([first, second, third]);
        let seen: Vec<_> = merged.iter().map(|m| (m.at.as_millis(), m.from.as_str(), m.bytes.as_slice())).collect();
        let expected: [(u128, &str, &[u8]); 5] =
            [(0, "voicebot", b"A"), (1, "client", b"A"), (5, "client", b"A"), (7, "client", b"A"), (9, "client", b"B")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_dump_is_read_and_what_is_no_call_or_unfinished_is_left_out() {
        let entry = |tag: &str, at: &str, from: u16, to: u16, body: &str| {
            format!(
                "====================\ntag: {tag}\npid: 7\nprocess: 8\ntime: {at}\ndate: Sun\nproto: ws ipv4\n\
                 srcip: 127.0.0.1\nsrcport: {from}\ndstip: 127.0.0.1\ndstport: {to}\n~~~~~~~~~~~~~~~~~~~~\n{body}||||||||||||||||||||\n"
            )
        };
        let folder = tempfile::tempdir().unwrap();
        let first = entry("rcv", "100.000250", 40000, 8080, "REGISTER sip:a SIP/2.0\r\n\r\n");
        let second = entry("snd", "100.000900", 8080, 40000, "SIP/2.0 200 OK\r\n\r\n");
        let http = entry("rcv", "100.000950", 40001, 8080, "GET / HTTP/1.1\r\n\r\n");
        let readiness = "OPTIONS sip:a SIP/2.0\r\nCall-ID: is-it-up-7\r\n\r\n";
        let readiness = entry("rcv", "100.000960", 40002, 5060, readiness);
        let unfinished =
            "====================\ntag: rcv\ntime: 101.5\nsrcport: 1\ndstport: 2\n~~~~~~~~~~~~~~~~~~~~\nINV";
        fs::write(folder.path().join("sip-1.data"), format!("{first}{http}{readiness}{second}{unfinished}")).unwrap();
        fs::write(folder.path().join("sip-1.meta"), "====================\n").unwrap();
        let messages =
            read_sipdump(folder.path(), |port| if port == 8080 { "edge".into() } else { format!("port {port}") })
                .unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].at, Duration::from_micros(100_000_250));
        assert_eq!((messages[0].from.as_str(), messages[0].to.as_str()), ("port 40000", "edge"));
        assert_eq!(messages[0].bytes, b"REGISTER sip:a SIP/2.0\r\n\r\n");
        assert_eq!(messages[1].first_line(), "SIP/2.0 200 OK");
    }
}
