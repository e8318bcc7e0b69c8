//! Session descriptions (RFC 8866) as far as offer and answer (RFC 3264) need them.
//!
//! Lossless: what is not changed is written back byte for byte, line endings, unknown lines and attributes included.
//! Values are read when they are asked for.

use core::fmt;

use crate::error::ParseError;

/// The largest session description that is read, in bytes.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

const fn error(problem: &'static str, rule: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule, offset }
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    session: Vec<Line>,
    media: Vec<Media>,
}

/// One line, `kind=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    kind: u8,
    value: String,
    /// CR LF, or what was received: LF, or nothing at the end of the text.
    ending: &'static str,
}

impl Line {
    fn new(kind: u8, value: String) -> Self {
        Self { kind, value, ending: "\r\n" }
    }

    /// An attribute's name and value.
    fn attribute(&self) -> Option<(&str, Option<&str>)> {
        (self.kind == b'a')
            .then(|| self.value.split_once(':').map_or((self.value.as_str(), None), |(n, v)| (n, Some(v))))
    }
}

/// The direction of a stream, as seen by whoever writes the description (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `sendrecv`, the default.
    SendRecv,
    /// `sendonly`.
    SendOnly,
    /// `recvonly`.
    RecvOnly,
    /// `inactive`.
    Inactive,
}

impl Direction {
    /// All directions.
    pub const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    /// The name of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == name)
    }

    /// Whether whoever writes it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether whoever writes it receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream as the other side sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }
}

/// `o=` (RFC 8866 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The user name, `-` for none.
    pub username: &'a str,
    /// The session's id, digits.
    pub session_id: &'a str,
    /// The version of this description, which rises with each change (RFC 3264 §8).
    pub version: u64,
    /// `IN`.
    pub network: &'a str,
    /// `IP4` or `IP6`.
    pub address_type: &'a str,
    /// The address or host name.
    pub address: &'a str,
}

impl<'a> Origin<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut parts = value.split(' ');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (username, session_id, version) = (next()?, next()?, next()?);
        let (network, address_type, address) = (next()?, next()?, next()?);
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(session_id) || !digits(version) || parts.next().is_some() {
            return None;
        }
        Some(Self { username, session_id, version: version.parse().ok()?, network, address_type, address })
    }
}

/// `c=` (RFC 8866 §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// `IN`.
    pub network: &'a str,
    /// `IP4` or `IP6`.
    pub address_type: &'a str,
    /// The address or host name, of multicast with its TTL.
    pub address: &'a str,
}

impl<'a> Connection<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut parts = value.split(' ').filter(|part| !part.is_empty());
        let connection = Self { network: parts.next()?, address_type: parts.next()?, address: parts.next()? };
        parts.next().is_none().then_some(connection)
    }
}

/// `a=rtpmap` (RFC 8866 §6.6), or what RFC 3551 gives to a static payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding's name, such as `PCMU` or `opus`. Compare without regard to case.
    pub encoding: &'a str,
    /// The clock rate in hertz.
    pub clock_rate: u32,
    /// The number of channels.
    pub channels: u8,
}

/// Static payload types of audio (RFC 3551 §6).
const STATIC: [RtpMap<'static>; 8] = [
    RtpMap { payload_type: 0, encoding: "PCMU", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 3, encoding: "GSM", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 4, encoding: "G723", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 8, encoding: "PCMA", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 9, encoding: "G722", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 13, encoding: "CN", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 15, encoding: "G728", clock_rate: 8000, channels: 1 },
    RtpMap { payload_type: 18, encoding: "G729", clock_rate: 8000, channels: 1 },
];

impl<'a> RtpMap<'a> {
    /// Reads `111 opus/48000/2`.
    fn parse(value: &'a str) -> Option<Self> {
        let (payload_type, encoding) = value.split_once(' ')?;
        let mut parts = encoding.trim().split('/');
        let map = Self {
            payload_type: payload_type.parse().ok().filter(|pt| *pt < 128)?,
            encoding: parts.next().filter(|name| !name.is_empty())?,
            clock_rate: parts.next()?.parse().ok()?,
            channels: parts.next().map_or(Some(1), |n| n.parse().ok())?,
        };
        parts.next().is_none().then_some(map)
    }
}

/// The parts of an `m=` line (RFC 8866 §5.14).
struct MediaLine<'a> {
    kind: &'a str,
    port: u16,
    port_count: Option<u16>,
    protocol: &'a str,
    formats: &'a str,
}

impl<'a> MediaLine<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let (kind, rest) = value.split_once(' ')?;
        let (ports, rest) = rest.split_once(' ')?;
        let (protocol, formats) = rest.split_once(' ')?;
        let (port, port_count) = ports.split_once('/').map_or((ports, None), |(port, count)| (port, Some(count)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if kind.is_empty() || protocol.is_empty() || formats.trim().is_empty() || !digits(port) {
            return None;
        }
        let port_count = match port_count {
            Some(count) => Some(count.parse().ok()?),
            None => None,
        };
        Some(Self { kind, port: port.parse().ok()?, port_count, protocol, formats })
    }
}

/// One media description: an `m=` line and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The first one is the `m=` line, checked when it was read.
    lines: Vec<Line>,
}

impl Media {
    fn line(&self) -> MediaLine<'_> {
        self.lines.first().and_then(|line| MediaLine::parse(&line.value)).unwrap_or(MediaLine {
            kind: "",
            port: 0,
            port_count: None,
            protocol: "",
            formats: "",
        })
    }

    /// `audio`, `video`, `application` ….
    #[must_use]
    pub fn kind(&self) -> &str {
        self.line().kind
    }

    /// The port; 0 for a stream that is refused or stopped (RFC 3264 §6, §8.2), or bundled (RFC 9143).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.line().port
    }

    /// The number of ports, where it is written.
    #[must_use]
    pub fn port_count(&self) -> Option<u16> {
        self.line().port_count
    }

    /// The protocol, such as `UDP/TLS/RTP/SAVPF`.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.line().protocol
    }

    /// The formats, of RTP the payload types, the preferred one first.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.line().formats.split(' ').filter(|format| !format.is_empty())
    }

    /// Whether the stream is refused or stopped: port 0 without `bundle-only`.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.port() == 0 && self.attribute("bundle-only").is_none()
    }

    /// The attributes in order: name and value.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.lines.iter().filter_map(Line::attribute)
    }

    /// An attribute by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Option<&str>> {
        self.attributes().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The stream's identification (RFC 5888).
    #[must_use]
    pub fn mid(&self) -> Option<&str> {
        self.attribute("mid").flatten()
    }

    /// What a payload type means: by its `rtpmap`, else by RFC 3551.
    #[must_use]
    pub fn rtpmap(&self, payload_type: u8) -> Option<RtpMap<'_>> {
        self.rtpmaps()
            .find(|map| map.payload_type == payload_type)
            .or_else(|| STATIC.into_iter().find(|map| map.payload_type == payload_type))
    }

    /// All `rtpmap`s in order. Malformed ones are left out.
    pub fn rtpmaps(&self) -> impl Iterator<Item = RtpMap<'_>> {
        self.attributes().filter(|(name, _)| *name == "rtpmap").filter_map(|(_, value)| RtpMap::parse(value?))
    }

    /// The codecs that are offered, the preferred one first.
    pub fn codecs(&self) -> impl Iterator<Item = RtpMap<'_>> {
        self.formats().filter_map(|format| self.rtpmap(format.parse().ok()?))
    }

    /// The format parameters of a payload type, such as `minptime=10;useinbandfec=1`.
    #[must_use]
    pub fn fmtp(&self, payload_type: u8) -> Option<&str> {
        self.attributes().filter(|(name, _)| *name == "fmtp").find_map(|(_, value)| {
            let (pt, parameters) = value?.split_once(' ')?;
            (pt.parse::<u8>() == Ok(payload_type)).then_some(parameters)
        })
    }

    fn own_direction(&self) -> Option<Direction> {
        direction_of(&self.lines)
    }
}

fn direction_of(lines: &[Line]) -> Option<Direction> {
    lines.iter().filter(|line| line.kind == b'a').find_map(|line| Direction::parse(&line.value))
}

impl SessionDescription {
    /// Reads a description. Lines may end in LF alone (RFC 8866 §5).
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is larger than [`MAX_SDP_BYTES`], a line is not `letter=value`, it does not begin with
    /// `v=0`, lacks a well-formed `o=` or has two, an `m=` line is malformed, or it holds NUL or a bare CR.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_SDP_BYTES {
            return Err(error("the session description is too large", "RFC 8866 §5", MAX_SDP_BYTES));
        }
        let mut description = Self { session: Vec::new(), media: Vec::new() };
        let mut offset = 0;
        for raw in text.split_inclusive('\n') {
            let (content, ending) = if let Some(content) = raw.strip_suffix("\r\n") {
                (content, "\r\n")
            } else if let Some(content) = raw.strip_suffix('\n') {
                (content, "\n")
            } else {
                (raw, "")
            };
            description.read_line(content, ending, offset)?;
            offset += raw.len();
        }
        let origins = description.session.iter().filter(|line| line.kind == b'o').count();
        if origins != 1 {
            return Err(error("a session description has one o= line", "RFC 8866 §5.2", 0));
        }
        Ok(description)
    }

    fn read_line(&mut self, content: &str, ending: &'static str, offset: usize) -> Result<(), ParseError> {
        const RULE: &str = "RFC 8866 §5";
        let (kind, value) = match content.as_bytes() {
            [kind @ b'a'..=b'z', b'=', ..] => (*kind, &content[2..]),
            _ => return Err(error("a line is a letter, `=` and a value", RULE, offset)),
        };
        if let Some(at) = value.bytes().position(|b| b == 0 || b == b'\r') {
            return Err(error("NUL or a bare CR", "RFC 8866 §9", offset + 2 + at));
        }
        if self.session.is_empty() && (kind, value) != (b'v', "0") {
            return Err(error("a session description begins with v=0", "RFC 8866 §5.1", offset));
        }
        let line = Line { kind, value: value.to_owned(), ending };
        match kind {
            b'm' if MediaLine::parse(value).is_none() => {
                Err(error("the m= line is malformed", "RFC 8866 §5.14", offset))
            }
            b'o' if Origin::parse(value).is_none() => Err(error("the o= line is malformed", "RFC 8866 §5.2", offset)),
            b'm' => {
                self.media.push(Media { lines: vec![line] });
                Ok(())
            }
            _ => {
                match self.media.last_mut() {
                    Some(media) => media.lines.push(line),
                    None => self.session.push(line),
                }
                Ok(())
            }
        }
    }

    /// The origin.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        self.session.iter().find(|line| line.kind == b'o').and_then(|line| Origin::parse(&line.value)).unwrap_or(
            Origin {
                username: "-",
                session_id: "0",
                version: 0,
                network: "IN",
                address_type: "IP4",
                address: "0.0.0.0",
            },
        )
    }

    /// Sets the version in the origin, as each changed offer must (RFC 3264 §8).
    pub fn set_version(&mut self, version: u64) {
        let o = self.origin();
        let value = format!("{} {} {version} {} {} {}", o.username, o.session_id, o.network, o.address_type, o.address);
        if let Some(line) = self.session.iter_mut().find(|line| line.kind == b'o') {
            line.value = value;
        }
    }

    /// The attributes of the session in order: name and value.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.session.iter().filter_map(Line::attribute)
    }

    /// An attribute of the session by name: `None` if it is not there, `Some(None)` if it has no value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Option<&str>> {
        self.attributes().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The media descriptions in order.
    #[must_use]
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// The connection data of a media description: its own, else that of the session (RFC 8866 §5.7).
    #[must_use]
    pub fn connection<'a>(&'a self, media: &'a Media) -> Option<Connection<'a>> {
        let find = |lines: &'a [Line]| lines.iter().find(|line| line.kind == b'c');
        find(&media.lines).or_else(|| find(&self.session)).and_then(|line| Connection::parse(&line.value))
    }

    /// The direction of a media description: its own, else that of the session, else `sendrecv` (RFC 8866 §6.7).
    #[must_use]
    pub fn direction(&self, media: &Media) -> Direction {
        media.own_direction().or_else(|| direction_of(&self.session)).unwrap_or(Direction::SendRecv)
    }

    /// Whether the other side has put us on hold in every audio stream that is not refused: it does not receive
    /// (RFC 3264 §8.4), or its address is the `0.0.0.0` of RFC 2543. `false` without such a stream.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        let mut audio = self.media.iter().filter(|m| m.kind() == "audio" && !m.is_rejected()).peekable();
        audio.peek().is_some()
            && audio.all(|media| {
                // With ICE the address of the c= line means nothing (RFC 8839 §4.2.1.2 writes 0.0.0.0 there).
                let ice = media.attribute("ice-ufrag").is_some() || self.attribute("ice-ufrag").is_some();
                let old_hold = !ice && self.connection(media).is_some_and(|c| c.address == "0.0.0.0");
                old_hold || !self.direction(media).receives()
            })
    }

    /// Sets the direction of the media description at `index`; does nothing if there is none. A direction of the
    /// session stays, and no longer holds for this one.
    pub fn set_direction(&mut self, index: usize, direction: Direction) {
        let Some(media) = self.media.get_mut(index) else { return };
        let is_direction = |line: &Line| line.kind == b'a' && Direction::parse(&line.value).is_some();
        let first = media.lines.iter().position(is_direction);
        match first {
            Some(first) => {
                direction.as_str().clone_into(&mut media.lines[first].value);
                let mut at = 0;
                media.lines.retain(|line| {
                    at += 1;
                    at - 1 <= first || !is_direction(line)
                });
            }
            None => {
                // The text may end without a line ending.
                if let Some(last) = media.lines.last_mut().filter(|line| line.ending.is_empty()) {
                    last.ending = "\r\n";
                }
                media.lines.push(Line::new(b'a', direction.as_str().to_owned()));
            }
        }
    }
}

/// Writes it as it was read, except what was changed.
impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let media = self.media.iter().flat_map(|media| &media.lines);
        for line in self.session.iter().chain(media) {
            write!(f, "{}={}{}", char::from(line.kind), line.value, line.ending)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
        a=group:BUNDLE 0\r\nm=audio 54609 UDP/TLS/RTP/SAVPF 111 0 8 126\r\na=mid:0\r\na=sendrecv\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\n\
        a=unknown \"ö\"\r\nm=video 0 RTP/AVP 31\r\nc=IN IP6 ::1\r\ny=1\r\n";

    #[test]
    fn an_offer_is_read_and_written_back() {
        let sdp = SessionDescription::parse(OFFER).unwrap();
        assert_eq!(sdp.to_string(), OFFER);
        assert_eq!((sdp.origin().session_id, sdp.origin().version), ("46117", 2));
        assert_eq!(sdp.attribute("group"), Some(Some("BUNDLE 0")));
        let [audio, video] = sdp.media() else { panic!("two streams") };
        assert_eq!((audio.kind(), audio.port(), audio.protocol()), ("audio", 54609, "UDP/TLS/RTP/SAVPF"));
        assert_eq!(audio.formats().collect::<Vec<_>>(), ["111", "0", "8", "126"]);
        let codecs: Vec<_> = audio.codecs().map(|c| (c.encoding, c.clock_rate, c.channels)).collect();
        assert_eq!(codecs, [("opus", 48000, 2), ("PCMU", 8000, 1), ("PCMA", 8000, 1), ("telephone-event", 8000, 1)]);
        assert_eq!(audio.fmtp(111), Some("minptime=10;useinbandfec=1"));
        assert_eq!((audio.fmtp(0), audio.rtpmap(77), audio.mid()), (None, None, Some("0")));
        assert_eq!(sdp.connection(audio).unwrap().address, "203.0.113.7");
        assert_eq!(sdp.connection(video).unwrap().address_type, "IP6");
        assert!(video.is_rejected() && !audio.is_rejected());
    }

    #[test]
    fn directions_are_found_and_set() {
        let text = OFFER.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
        let mut sdp = SessionDescription::parse(&text).unwrap();
        assert_eq!(sdp.direction(&sdp.media()[0]), Direction::RecvOnly);
        sdp.set_direction(0, Direction::SendOnly);
        sdp.set_direction(9, Direction::SendOnly);
        sdp.set_version(3);
        assert_eq!(sdp.direction(&sdp.media()[0]), Direction::SendOnly);
        assert_eq!(sdp.direction(&sdp.media()[1]), Direction::RecvOnly);
        let expected = text.replace(" 2 IN", " 3 IN").replace("\r\nm=video", "\r\na=sendonly\r\nm=video");
        assert_eq!(sdp.to_string(), expected);

        let mut doubled = SessionDescription::parse(&OFFER.replace("a=mid:0", "a=inactive")).unwrap();
        doubled.set_direction(0, Direction::RecvOnly);
        assert_eq!(doubled.to_string(), OFFER.replace("a=mid:0", "a=recvonly").replace("a=sendrecv\r\n", ""));
    }

    #[test]
    fn hold_is_recognised() {
        for (from, to, hold) in [
            ("a=sendrecv", "a=sendrecv", false),
            ("a=sendrecv", "a=sendonly", true),
            ("a=sendrecv", "a=inactive", true),
            ("a=sendrecv", "a=recvonly", false),
            ("203.0.113.7", "0.0.0.0", true),
            ("203.0.113.7\r\nt=0 0", "0.0.0.0\r\nt=0 0\r\na=ice-ufrag:x", false),
            ("m=audio 54609", "m=audio 0", false),
        ] {
            assert_eq!(SessionDescription::parse(&OFFER.replace(from, to)).unwrap().is_hold(), hold, "{to}");
        }
    }

    #[test]
    fn line_endings_are_kept() {
        let text = OFFER.replace("\r\n", "\n");
        let text = text.trim_end();
        let mut sdp = SessionDescription::parse(text).unwrap();
        assert_eq!(sdp.to_string(), text);
        sdp.set_direction(1, Direction::Inactive);
        assert_eq!(sdp.to_string(), format!("{text}\r\na=inactive\r\n"));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        let cases = [
            ("", "nothing"),
            ("o=- 1 1 IN IP4 h\r\n", "no v="),
            ("v=1\r\no=- 1 1 IN IP4 h\r\n", "another version"),
            ("v=0\r\n", "no o="),
            ("v=0\r\no=- 1 1 IN IP4 h\r\no=- 1 1 IN IP4 h\r\n", "two o="),
            ("v=0\r\no=- x 1 IN IP4 h\r\n", "an id that is no number"),
            ("v=0\r\no=- 1 99999999999999999999 IN IP4 h\r\n", "a version beyond 64 bits"),
            ("v=0\r\no=- 1 1 IN IP4 h\r\n\r\n", "an empty line"),
            ("v=0\r\no=- 1 1 IN IP4 h\r\nab\r\n", "no ="),
            ("v=0\r\no=- 1 1 IN IP4 h\r\na=x\ry\r\n", "a bare CR"),
            ("v=0\r\no=- 1 1 IN IP4 h\r\na=x\0\r\n", "NUL"),
            ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio\r\n", "a short m="),
            ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 65536 RTP/AVP 0\r\n", "a port beyond 65535"),
            ("v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1 RTP/AVP \r\n", "no formats"),
        ];
        for (text, what) in cases {
            assert!(SessionDescription::parse(text).is_err(), "{what}");
        }
        let large = format!("v=0\r\no=- 1 1 IN IP4 h\r\na={}\r\n", "x".repeat(MAX_SDP_BYTES));
        assert!(SessionDescription::parse(&large).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(at in 0..OFFER.len(), c in any::<char>(), cut in any::<bool>()) {
            let at = (0..=at).rev().find(|i| OFFER.is_char_boundary(*i)).unwrap_or(0);
            let text = if cut { OFFER[..at].to_owned() } else { format!("{}{c}{}", &OFFER[..at], &OFFER[at..]) };
            if let Ok(mut sdp) = SessionDescription::parse(&text) {
                prop_assert_eq!(sdp.to_string(), text);
                for media in sdp.media() {
                    let _ = (media.codecs().count(), media.fmtp(111), sdp.direction(media), sdp.connection(media));
                }
                sdp.set_direction(0, Direction::Inactive);
                prop_assert!(SessionDescription::parse(&sdp.to_string()).is_ok());
            }
        }
    }
}
