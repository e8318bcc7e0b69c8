//! Tones as RTP packets in a pcap file, for SIPp to play (`play_pcap_audio`).

use codex_core_sip::media::g711;

use crate::audio::Audio;

const SAMPLE_RATE: u32 = 8000;
const SAMPLES_PER_PACKET: usize = 160;
const PAYLOAD_TYPE_PCMA: u8 = 8;
/// LINKTYPE_ETHERNET, as the recordings that come with SIPp have it.
const LINK_TYPE_ETHERNET: u32 = 1;

/// An A-law tone of `frequency_hz` with a peak of half of full scale that lasts `seconds`, in packets of 20 ms from the
/// synchronisation source `ssrc`. SIPp sends the RTP packets as they are, between its own addresses.
#[must_use]
pub fn a_law_tone(frequency_hz: f64, seconds: f64, ssrc: u32) -> Vec<u8> {
    let tone = Audio::tone(SAMPLE_RATE, frequency_hz, 0.5, seconds);
    let mut file = Vec::new();
    // The file's header: magic number (microseconds), version 2.4, UTC, no accuracy, longest packet, link type.
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    file.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&65_535_u32.to_le_bytes());
    file.extend_from_slice(&LINK_TYPE_ETHERNET.to_le_bytes());
    for (number, samples) in tone.samples.chunks_exact(SAMPLES_PER_PACKET).enumerate() {
        let packet = ethernet_packet(&rtp_packet(number, ssrc, samples));
        let microseconds = number as u64 * 20_000;
        let length = packet.len() as u32;
        for field in [(microseconds / 1_000_000) as u32, (microseconds % 1_000_000) as u32, length, length] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

/// RFC 3550 §5.1.
fn rtp_packet(number: usize, ssrc: u32, samples: &[f32]) -> Vec<u8> {
    const VERSION_2: u8 = 0x80;
    const MARKER: u8 = 0x80;
    let marker = if number == 0 { MARKER } else { 0 };
    let mut packet = vec![VERSION_2, marker | PAYLOAD_TYPE_PCMA];
    packet.extend_from_slice(&(number as u16).to_be_bytes());
    packet.extend_from_slice(&((number * SAMPLES_PER_PACKET) as u32).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend(samples.iter().map(|sample| g711::a_law_encode((sample * f32::from(i16::MAX)) as i16)));
    packet
}

/// The payload in UDP, IPv4 and Ethernet. Checksums are left out: SIPp makes its own.
fn ethernet_packet(payload: &[u8]) -> Vec<u8> {
    const UDP_HEADER: usize = 8;
    const IP_HEADER: usize = 20;
    const PROTOCOL_UDP: u8 = 17;
    let udp_length = (UDP_HEADER + payload.len()) as u16;
    let ip_length = IP_HEADER as u16 + udp_length;
    let mut packet = vec![0; 12];
    packet.extend_from_slice(&[0x08, 0x00]);
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&ip_length.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0]);
    packet.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
    packet.extend_from_slice(&[0x17, 0x70, 0x17, 0x70]);
    packet.extend_from_slice(&udp_length.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_each_other_every_20_ms_and_hold_the_tone() {
        const RECORD_HEADER: usize = 16;
        const HEADERS: usize = 14 + 20 + 8;
        let file = a_law_tone(700.0, 0.5, 0x0102_0304);
        let mut rest = &file[24..];
        let mut heard = Vec::new();
        let mut number = 0_u32;
        while !rest.is_empty() {
            let field = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(field(0) * 1_000_000 + field(4), number * 20_000);
            let packet = &rest[RECORD_HEADER..RECORD_HEADER + field(8) as usize];
            let rtp = &packet[HEADERS..];
            assert_eq!(rtp[1] & 0x7f, 8);
            assert_eq!(u32::from(u16::from_be_bytes([rtp[2], rtp[3]])), number);
            assert_eq!(u32::from_be_bytes(rtp[4..8].try_into().unwrap()), number * 160);
            assert_eq!(rtp[8..12], [1, 2, 3, 4]);
            heard.extend(rtp[12..].iter().map(|code| f32::from(g711::a_law_decode(*code)) / f32::from(i16::MAX)));
            rest = &rest[RECORD_HEADER + packet.len()..];
            number += 1;
        }
        assert_eq!(number, 25);
        let (frequency_hz, amplitude) =
            Audio { sample_rate: SAMPLE_RATE, samples: heard }.strongest_tone(300.0, 3400.0).unwrap();
        assert_eq!(frequency_hz, 700.0);
        assert!((amplitude - 0.5).abs() < 0.02, "{amplitude}");
    }
}
