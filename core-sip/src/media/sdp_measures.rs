//! What session descriptions need on their way between the crate `webrtc` and the world.
//!
//! Out: `a=setup:active` in offers, the default candidate's address and port in `c=` and `m=`, no candidates for RTCP.
//! In: a BUNDLE group and media identifications where they are missing, no candidates for RTCP, no
//! `telephone-event/48000`. Everything else passes line by line as it is. Each measure names the fault that it mends.
//!
//! Beside them, [`AudioFormats`] reads which codecs a description holds.

use crate::error::MediaFault;

/// An audio codec that this crate can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// Opus (RFC 6716, RFC 7587), mono, 48 kHz.
    Opus,
    /// G.711 μ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
}

impl AudioCodec {
    /// Every codec, best first.
    pub const ALL: [Self; 3] = [Self::Opus, Self::Pcmu, Self::Pcma];

    /// The name in SDP.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The RTP clock, which is the rate of the audio as well, in Hz.
    #[must_use]
    pub const fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8000,
        }
    }

    /// The payload type that offers use: static ones of RFC 3551 §6, 111 for Opus as browsers have it.
    #[must_use]
    pub const fn offered_payload_type(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    fn of_encoding(encoding: &str) -> Option<Self> {
        // `opus/48000/2` always (RFC 7587 §7), `PCMU/8000` or `PCMU/8000/1`.
        let mut parts = encoding.split('/');
        let (name, clock) = (parts.next()?, parts.next()?);
        Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name) && clock.trim().parse() == Ok(codec.clock_rate_hz()))
    }
}

impl core::fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The payload type of `telephone-event` that offers use.
pub const OFFERED_TELEPHONE_EVENT: u8 = 101;

/// The audio formats of a description, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AudioFormats {
    /// Payload types and codecs.
    pub codecs: Vec<(u8, AudioCodec)>,
    /// The payload type of `telephone-event/8000`.
    pub telephone_event: Option<u8>,
}

impl AudioFormats {
    /// The formats of the first audio section that is not refused (port 0).
    ///
    /// # Errors
    ///
    /// [`MediaFault::BadDescription`] without any audio section, [`MediaFault::NoCommonCodec`] if all are refused or
    /// none holds a codec known here.
    pub fn parse(sdp: &str) -> Result<Self, MediaFault> {
        let description = Description::parse(sdp);
        let mut refused = false;
        for section in &description.sections {
            let Some(media) = section.media() else { continue };
            if !media.kind.eq_ignore_ascii_case("audio") {
                continue;
            }
            if media.port == "0" {
                refused = true;
                continue;
            }
            let mut formats = Self::default();
            for format in media.formats() {
                let Ok(payload_type) = format.parse::<u8>() else { continue };
                let codec = match section.encoding(format) {
                    Some(encoding) if is_telephone_event(encoding, "8000") => {
                        formats.telephone_event.get_or_insert(payload_type);
                        continue;
                    }
                    Some(encoding) => AudioCodec::of_encoding(encoding),
                    // Static payload types need no rtpmap (RFC 3551 §6).
                    None => match payload_type {
                        0 => Some(AudioCodec::Pcmu),
                        8 => Some(AudioCodec::Pcma),
                        _ => None,
                    },
                };
                if let Some(codec) = codec {
                    formats.codecs.push((payload_type, codec));
                }
            }
            return if formats.codecs.is_empty() { Err(MediaFault::NoCommonCodec) } else { Ok(formats) };
        }
        Err(if refused {
            MediaFault::NoCommonCodec
        } else {
            MediaFault::BadDescription("it has no audio (no `m=audio` line)".to_owned())
        })
    }

    /// The payload type of `codec` here.
    #[must_use]
    pub fn payload_type(&self, codec: AudioCodec) -> Option<u8> {
        self.codecs.iter().find(|(_, c)| *c == codec).map(|(payload_type, _)| *payload_type)
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The codec to send.
    pub codec: AudioCodec,
    /// Its payload type, as the far end wants it.
    pub payload_type: u8,
    /// The payload type to send `telephone-event` with, if the far end takes it.
    pub telephone_event: Option<u8>,
    /// Which codec a received payload type stands for.
    pub receive: Vec<(u8, AudioCodec)>,
    /// The payload type that received telephone events have.
    pub receive_telephone_event: Option<u8>,
}

impl Agreement {
    /// Reads it out of what we sent and what the far end sent. `we_answered` says whose description is the answer: its
    /// order decides what is sent (RFC 3264 §6.1, §7).
    ///
    /// # Errors
    ///
    /// [`MediaFault::NoCommonCodec`], [`MediaFault::BadDescription`].
    pub fn new(local: &str, remote: &str, we_answered: bool) -> Result<Self, MediaFault> {
        let (local, remote) = (AudioFormats::parse(local)?, AudioFormats::parse(remote)?);
        let answer = if we_answered { &local } else { &remote };
        let (codec, payload_type) = answer
            .codecs
            .iter()
            .filter(|(_, codec)| local.payload_type(*codec).is_some())
            .find_map(|(_, codec)| Some((*codec, remote.payload_type(*codec)?)))
            .ok_or(MediaFault::NoCommonCodec)?;
        // The far end sends with the payload types of our description (RFC 3264 §5.1); those of its own are taken as
        // well where they do not contradict, since some ends use them.
        let mut receive = local.codecs.clone();
        for &(payload_type, codec) in &remote.codecs {
            if receive.iter().all(|(known, _)| *known != payload_type) && local.telephone_event != Some(payload_type) {
                receive.push((payload_type, codec));
            }
        }
        Ok(Self {
            codec,
            payload_type,
            telephone_event: local.telephone_event.and(remote.telephone_event),
            receive,
            receive_telephone_event: local.telephone_event.or(remote.telephone_event),
        })
    }

    /// Which codec a received payload type stands for.
    #[must_use]
    pub fn codec_of(&self, payload_type: u8) -> Option<AudioCodec> {
        self.receive.iter().find(|(known, _)| *known == payload_type).map(|(_, codec)| *codec)
    }
}

/// Our offer on its way out.
///
/// With `setup_active` the offer takes the DTLS client's part (RFC 8842 §5.1 lets an offerer do so, if it is known that
/// the far end will not want it): with `actpass` rtpengine becomes the client, its first hello comes before the crate
/// has started, and is sent again 1.2 to 1.7 s later.
#[must_use]
pub fn outgoing_offer(sdp: &str, setup_active: bool) -> String {
    let mut description = Description::parse(sdp);
    if setup_active {
        for line in description.lines_mut() {
            if line == "a=setup:actpass" {
                *line = "a=setup:active".to_owned();
            }
        }
    }
    description.drop_rtcp_candidates();
    description.write_default_candidates();
    description.to_string()
}

/// Our answer to `their_offer` on its way out.
///
/// The crate takes the DTLS part that the offer leaves to it but writes `a=setup:active` in any case: to an offer with
/// `active` the answer must say `passive` (RFC 8842 §5.3), or both ends wait.
#[must_use]
pub fn outgoing_answer(sdp: &str, their_offer: &str) -> String {
    let mut description = Description::parse(sdp);
    if Description::parse(their_offer).setup() == Some("active") {
        for line in description.lines_mut() {
            if line == "a=setup:active" {
                *line = "a=setup:passive".to_owned();
            }
        }
    }
    description.drop_rtcp_candidates();
    description.write_default_candidates();
    description.to_string()
}

/// The far end's offer on its way in.
///
/// # Errors
///
/// [`MediaFault::BadDescription`] if it offers no audio or no encryption that this end can speak.
pub fn incoming_offer(sdp: &str) -> Result<String, MediaFault> {
    let mut description = Description::parse(sdp);
    description.check()?;
    description.drop_rtcp_candidates();
    description.drop_wideband_telephone_events();
    description.spread_setup();
    description.identify_media(&[]);
    Ok(description.to_string())
}

/// The far end's answer on its way in, to be read beside our offer.
///
/// # Errors
///
/// [`MediaFault::NoCommonCodec`] if it refuses the audio, [`MediaFault::BadDescription`] if it has none or no
/// encryption.
pub fn incoming_answer(sdp: &str, our_offer: &str) -> Result<String, MediaFault> {
    AudioFormats::parse(sdp)?;
    let mut description = Description::parse(sdp);
    description.check()?;
    description.drop_rtcp_candidates();
    description.drop_wideband_telephone_events();
    description.spread_setup();
    let ours: Vec<Option<String>> =
        Description::parse(our_offer).sections.iter().map(|s| s.attribute("mid").map(str::to_owned)).collect();
    description.identify_media(&ours);
    Ok(description.to_string())
}

fn is_telephone_event(encoding: &str, clock_rate: &str) -> bool {
    let mut parts = encoding.split('/');
    parts.next().is_some_and(|name| name.eq_ignore_ascii_case("telephone-event"))
        && parts.next().is_some_and(|clock| clock.trim() == clock_rate)
}

/// A description as lines, split where `m=` lines start a section. Line ends become CR LF (RFC 8866 §5).
struct Description {
    session: Vec<String>,
    sections: Vec<Section>,
}

struct Section {
    lines: Vec<String>,
}

struct MediaLine<'a> {
    kind: &'a str,
    port: &'a str,
    protocol: &'a str,
    formats: &'a str,
}

impl<'a> MediaLine<'a> {
    fn formats(&self) -> impl Iterator<Item = &'a str> {
        self.formats.split_ascii_whitespace()
    }
}

impl Section {
    fn media(&self) -> Option<MediaLine<'_>> {
        let mut parts = self.lines.first()?.strip_prefix("m=")?.splitn(4, ' ');
        Some(MediaLine {
            kind: parts.next()?,
            port: parts.next()?,
            protocol: parts.next()?,
            formats: parts.next().unwrap_or(""),
        })
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        attribute(&self.lines, name)
    }

    /// The encoding that `a=rtpmap` gives a format.
    fn encoding(&self, format: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (number, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            (number == format).then_some(encoding.trim())
        })
    }

    fn drop_format(&mut self, format: &str) {
        self.lines.retain(|line| {
            !["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
                .iter()
                .any(|prefix| line.strip_prefix(prefix).is_some_and(|rest| rest.split(' ').next() == Some(format)))
        });
        let Some(media) = self.media() else { return };
        let formats: Vec<&str> = media.formats().filter(|f| *f != format).collect();
        let line = format!("m={} {} {} {}", media.kind, media.port, media.protocol, formats.join(" "));
        self.lines[0] = line;
    }
}

fn attribute<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// A candidate line, as far as it is needed (RFC 8839 §5.1).
struct Candidate<'a> {
    component: &'a str,
    transport: &'a str,
    priority: u32,
    address: &'a str,
    port: &'a str,
    kind: &'a str,
}

fn candidate(line: &str) -> Option<Candidate<'_>> {
    let mut parts = line.strip_prefix("a=candidate:")?.split_ascii_whitespace();
    let _foundation = parts.next()?;
    let candidate = Candidate {
        component: parts.next()?,
        transport: parts.next()?,
        priority: parts.next()?.parse().unwrap_or(0),
        address: parts.next()?,
        port: parts.next()?,
        kind: parts.nth(1)?,
    };
    Some(candidate)
}

impl Description {
    fn parse(sdp: &str) -> Self {
        let mut description = Self { session: Vec::new(), sections: Vec::new() };
        for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("m=") {
                description.sections.push(Section { lines: vec![line.to_owned()] });
            } else if let Some(section) = description.sections.last_mut() {
                section.lines.push(line.to_owned());
            } else {
                description.session.push(line.to_owned());
            }
        }
        description
    }

    fn lines_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.session.iter_mut().chain(self.sections.iter_mut().flat_map(|section| section.lines.iter_mut()))
    }

    /// Whether it is one that a WebRTC end can use, in words for whoever reads the error.
    fn check(&self) -> Result<(), MediaFault> {
        let bad = |text: &str| Err(MediaFault::BadDescription(text.to_owned()));
        let audio = self.sections.iter().find(|section| {
            section.media().is_some_and(|media| media.kind.eq_ignore_ascii_case("audio") && media.port != "0")
        });
        let Some(audio) = audio else {
            return bad("it has no audio (no `m=audio` line)");
        };
        let protocol = audio.media().map_or("", |media| media.protocol);
        if !protocol.to_ascii_uppercase().contains("SAVP") {
            return Err(MediaFault::BadDescription(format!(
                "audio is offered over `{protocol}`; a WebRTC end needs DTLS-SRTP (`UDP/TLS/RTP/SAVPF`): let the edge or rtpengine convert"
            )));
        }
        let has = |name: &str| audio.attribute(name).or_else(|| attribute(&self.session, name)).is_some();
        if !has("fingerprint") {
            return bad("it has no DTLS fingerprint (RFC 8122)");
        }
        if !has("ice-ufrag") || !has("ice-pwd") {
            return bad("it has no ICE credentials (RFC 8839)");
        }
        Ok(())
    }

    /// The DTLS part of the first audio section.
    fn setup(&self) -> Option<&str> {
        let audio = self.sections.iter().find(|section| section.media().is_some_and(|media| media.kind == "audio"))?;
        audio.attribute("setup").or_else(|| attribute(&self.session, "setup"))
    }

    /// The crate reads `a=setup` in media sections only; it may stand for all of them before the first (RFC 8842 §4).
    fn spread_setup(&mut self) {
        let Some(setup) = attribute(&self.session, "setup").map(|setup| format!("a=setup:{setup}")) else { return };
        for section in &mut self.sections {
            if section.attribute("setup").is_none() {
                section.lines.push(setup.clone());
            }
        }
    }

    /// Candidates for RTCP on a port of its own are of no use with `rtcp-mux`, and the crate takes them for RTP.
    fn drop_rtcp_candidates(&mut self) {
        for section in &mut self.sections {
            section.lines.retain(|line| candidate(line).is_none_or(|candidate| candidate.component == "1"));
        }
    }

    /// The crate matches codecs without their clock rate: it would take `telephone-event/48000` for ours.
    fn drop_wideband_telephone_events(&mut self) {
        for section in &mut self.sections {
            let formats: Vec<String> =
                section.media().map(|media| media.formats().map(str::to_owned).collect()).unwrap_or_default();
            for format in formats {
                let wideband = section.encoding(&format).is_some_and(|encoding| {
                    is_telephone_event(encoding, "48000")
                        || is_telephone_event(encoding, "16000")
                        || is_telephone_event(encoding, "32000")
                });
                if wideband {
                    section.drop_format(&format);
                }
            }
        }
    }

    /// The crate leaves `c=` at `0.0.0.0` and `m=` at port 9, which rtpengine takes for hold: put the default candidate
    /// there (RFC 8839 §4.2.1.2: relayed before server reflexive before host).
    fn write_default_candidates(&mut self) {
        for section in &mut self.sections {
            let rank = |candidate: &Candidate<'_>| match candidate.kind {
                "relay" => 3,
                "srflx" => 2,
                "host" => 1,
                _ => 0,
            };
            let chosen = section
                .lines
                .iter()
                .filter_map(|line| candidate(line))
                .filter(|candidate| candidate.transport.eq_ignore_ascii_case("udp"))
                .filter_map(|candidate| Some((candidate.address.parse::<std::net::IpAddr>().ok()?, candidate)))
                .max_by_key(|(address, candidate)| {
                    (rank(candidate), !address.is_loopback(), address.is_ipv4(), candidate.priority)
                })
                .map(|(_, candidate)| candidate);
            let Some(chosen) = chosen else { continue };
            let family = if chosen.address.contains(':') { "IP6" } else { "IP4" };
            let (connection, port) = (format!("c=IN {family} {}", chosen.address), chosen.port.to_owned());
            let Some(media) = section.media() else { continue };
            if media.port == "0" {
                continue;
            }
            let media_line = format!("m={} {port} {} {}", media.kind, media.protocol, media.formats);
            section.lines[0] = media_line;
            match section.lines.iter_mut().find(|line| line.starts_with("c=")) {
                Some(line) => *line = connection,
                None => section.lines.insert(1, connection),
            }
        }
    }

    /// The crate answers `m=audio 0` to an offer without a BUNDLE group, and refuses an answer without one.
    fn identify_media(&mut self, ours: &[Option<String>]) {
        for (index, section) in self.sections.iter_mut().enumerate() {
            if section.attribute("mid").is_none() {
                let mid = ours.get(index).cloned().flatten().unwrap_or_else(|| index.to_string());
                section.lines.push(format!("a=mid:{mid}"));
            }
        }
        if self.session.iter().any(|line| line.starts_with("a=group:BUNDLE")) {
            return;
        }
        let mids: Vec<&str> = self
            .sections
            .iter()
            .filter(|section| section.media().is_some_and(|media| media.port != "0"))
            .filter_map(|section| section.attribute("mid"))
            .collect();
        if !mids.is_empty() {
            let group = format!("a=group:BUNDLE {}", mids.join(" "));
            self.session.push(group);
        }
    }
}

impl core::fmt::Display for Description {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for line in self.session.iter().chain(self.sections.iter().flat_map(|section| section.lines.iter())) {
            write!(f, "{line}\r\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
    const SECURITY: &str = "a=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n";

    fn sdp(session: &str, media: &str) -> String {
        format!("{HEAD}{session}{media}{SECURITY}")
    }

    #[test]
    fn an_offer_goes_out_active_with_its_default_candidate_and_without_rtcp_candidates() {
        let offer = sdp(
            "a=group:BUNDLE 0\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\n\
             a=candidate:1 1 udp 2130706431 10.0.0.5 50000 typ host\r\n\
             a=candidate:1 2 udp 2130706430 10.0.0.5 50001 typ host\r\n\
             a=candidate:2 1 udp 1694498815 203.0.113.9 50000 typ srflx raddr 10.0.0.5 rport 50000\r\n",
        );
        let out = outgoing_offer(&offer, true);
        assert!(out.contains("m=audio 50000 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 203.0.113.9\r\n"), "{out}");
        assert!(out.contains("a=setup:active\r\n") && !out.contains("actpass"), "{out}");
        assert!(!out.contains(" 2 udp "), "{out}");
        assert!(outgoing_offer(&offer, false).contains("a=setup:actpass\r\n"));
    }

    #[test]
    fn the_default_candidate_is_relayed_before_reflexive_before_host_and_ipv4_before_ipv6() {
        let lines = [
            ("a=candidate:1 1 udp 100 192.0.2.1 1001 typ host", "m=audio 1001", "c=IN IP4 192.0.2.1"),
            ("a=candidate:1 1 udp 950 127.0.0.1 1005 typ host", "m=audio 1001", "c=IN IP4 192.0.2.1"),
            ("a=candidate:1 1 udp 900 2001:db8::1 1002 typ host", "m=audio 1001", "c=IN IP4 192.0.2.1"),
            ("a=candidate:2 1 udp 90 203.0.113.1 1003 typ srflx raddr 0.0.0.0 rport 0", "m=audio 1003", "c=IN IP4 203"),
            (
                "a=candidate:3 1 UDP 10 198.51.100.1 1004 typ relay raddr 0.0.0.0 rport 0",
                "m=audio 1004",
                "c=IN IP4 198",
            ),
            ("a=candidate:4 1 tcp 999 192.0.2.1 9 typ relay tcptype active", "m=audio 1004", "c=IN IP4 198"),
            ("a=candidate:5 1 udp 999 host.local 77 typ relay", "m=audio 1004", "c=IN IP4 198"),
        ];
        let mut media = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".to_owned();
        for (line, m, c) in lines {
            media.push_str(line);
            media.push_str("\r\n");
            let out = outgoing_answer(&sdp("", &media), "");
            assert!(out.contains(m) && out.contains(c), "after {line}: {out}");
        }
        let only_ipv6 = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=candidate:1 1 udp 1 2001:db8::1 5 typ host\r\n");
        assert!(outgoing_answer(&only_ipv6, "").contains("c=IN IP6 2001:db8::1"));
    }

    #[test]
    fn an_answer_takes_the_dtls_part_that_is_left() {
        let answer = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=setup:active\r\n");
        let cases = [
            (sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=setup:actpass\r\n"), "a=setup:active\r\n"),
            (sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=setup:passive\r\n"), "a=setup:active\r\n"),
            (sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=setup:active\r\n"), "a=setup:passive\r\n"),
            (sdp("a=setup:active\r\n", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), "a=setup:passive\r\n"),
        ];
        for (offer, part) in cases {
            assert!(outgoing_answer(&answer, &offer).contains(part), "{offer}");
        }
        let session_wide = sdp("a=setup:active\r\n", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        assert_eq!(incoming_offer(&session_wide).unwrap().matches("a=setup:active").count(), 2);
    }

    #[test]
    fn a_refused_section_stays_refused() {
        let answer = sdp("", "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n");
        assert!(outgoing_answer(&answer, "").contains("m=video 0 "));
    }

    #[test]
    fn what_comes_in_gets_identifications_and_a_group_and_loses_what_hurts() {
        let offer = sdp(
            "",
            "m=audio 30000 UDP/TLS/RTP/SAVPF 111 110 126 0\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
             a=fmtp:110 0-16\r\na=rtpmap:126 telephone-event/8000\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 30000 typ host\r\na=candidate:1 2 udp 1 192.0.2.1 30001 typ host\r\n",
        );
        let out = incoming_offer(&offer).unwrap();
        assert!(out.contains("a=group:BUNDLE 0\r\nm=audio 30000 UDP/TLS/RTP/SAVPF 111 126 0\r\n"), "{out}");
        assert!(out.contains("a=mid:0\r\n") && !out.contains("110") && !out.contains("30001"), "{out}");
        let answer = incoming_answer(&offer, "v=0\r\nm=audio 9 X 0\r\na=mid:audio\r\n").unwrap();
        assert!(answer.contains("a=group:BUNDLE audio") && answer.contains("a=mid:audio"), "{answer}");
    }

    #[test]
    fn identifications_and_groups_that_are_there_stay() {
        let offer = sdp("a=group:BUNDLE a1\r\n", "m=audio 5 UDP/TLS/RTP/SAVPF 0\r\na=mid:a1\r\n");
        assert_eq!(incoming_offer(&offer).unwrap(), offer);
    }

    #[test]
    fn descriptions_that_cannot_work_say_why() {
        let cases = [
            (format!("{HEAD}{SECURITY}"), "no audio"),
            (sdp("", "m=audio 5 RTP/AVP 0\r\n"), "RTP/AVP"),
            (format!("{HEAD}m=audio 5 UDP/TLS/RTP/SAVPF 0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n"), "fingerprint"),
            (format!("{HEAD}m=audio 5 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 AA\r\n"), "ICE"),
            (String::new(), "no audio"),
        ];
        for (text, reason) in cases {
            let fault = incoming_offer(&text).unwrap_err();
            assert!(matches!(&fault, MediaFault::BadDescription(t) if t.contains(reason)), "{fault}");
        }
        let refused = sdp("", "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n");
        assert_eq!(incoming_answer(&refused, "").unwrap_err(), MediaFault::NoCommonCodec);
    }

    #[test]
    fn the_answers_order_decides_what_is_sent_and_the_far_ends_numbers_are_used() {
        let ours = sdp(
            "",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        let theirs = sdp(
            "",
            "m=audio 9 UDP/TLS/RTP/SAVPF 8 96 126\r\na=rtpmap:96 OPUS/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n",
        );
        let offered = Agreement::new(&ours, &theirs, false).unwrap();
        assert_eq!((offered.codec, offered.payload_type), (AudioCodec::Pcma, 8));
        assert_eq!((offered.telephone_event, offered.receive_telephone_event), (Some(126), Some(101)));
        let answered = Agreement::new(&ours, &theirs, true).unwrap();
        assert_eq!((answered.codec, answered.payload_type), (AudioCodec::Opus, 96));
        assert_eq!(answered.codec_of(111), Some(AudioCodec::Opus));
        assert_eq!(answered.codec_of(0), Some(AudioCodec::Pcmu));
        assert_eq!(answered.codec_of(77), None);
    }

    #[test]
    fn no_common_codec_is_told_as_such() {
        let g729 = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 18\r\na=rtpmap:18 G729/8000\r\n");
        let pcmu = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        let pcma = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 8\r\n");
        for (a, b) in [(&pcmu, &g729), (&g729, &pcmu), (&pcmu, &pcma)] {
            assert_eq!(Agreement::new(a, b, true), Err(MediaFault::NoCommonCodec));
        }
    }

    #[test]
    fn a_far_end_without_telephone_event_gets_none() {
        let ours = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        let theirs = sdp("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        assert_eq!(Agreement::new(&ours, &theirs, false).unwrap().telephone_event, None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_measures_panic(text in "([amcv]=[ -~]{0,60}\r?\n){0,12}") {
            let _ = (outgoing_offer(&text, true), outgoing_answer(&text, &text), incoming_offer(&text).ok());
            let _ = (incoming_answer(&text, &text).ok(), AudioFormats::parse(&text).ok(), Agreement::new(&text, &text, true).ok());
        }
    }
}
