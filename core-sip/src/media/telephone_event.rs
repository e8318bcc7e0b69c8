//! Keys as RTP: `telephone-event` of RFC 4733, without I/O or clock.

use std::time::Duration;

/// The clock of `telephone-event` as this crate negotiates it, in Hz.
pub const CLOCK_RATE_HZ: u32 = 8000;

/// How often the end of an event is sent (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;

/// The level of a key as sent, in -dBm0 (RFC 4733 §2.3.3): what phones send.
const VOLUME: u8 = 10;

/// The shortest key that is sent; receivers may ignore shorter ones (ITU-T Q.24 asks them to accept 40 ms).
pub const SHORTEST_KEY: Duration = Duration::from_millis(40);

/// The longest key that one event can carry: its duration has 16 bits (RFC 4733 §2.3.5), 8.19 s. What is asked beyond
/// that is cut.
pub const LONGEST_KEY: Duration = Duration::from_millis(8000);

/// The event code of a key (RFC 4733 §3.2): `0`–`9`, `*`, `#`, `A`–`D` in either case.
#[must_use]
pub const fn event_of(key: char) -> Option<u8> {
    Some(match key {
        '0'..='9' => key as u8 - b'0',
        '*' => 10,
        '#' => 11,
        'A'..='D' => key as u8 - b'A' + 12,
        'a'..='d' => key as u8 - b'a' + 12,
        _ => return None,
    })
}

/// The key of an event code, upper case; `None` for events that are no DTMF keys.
#[must_use]
pub const fn key_of(event: u8) -> Option<char> {
    Some(match event {
        0..=9 => (b'0' + event) as char,
        10 => '*',
        11 => '#',
        12..=15 => (b'A' + event - 12) as char,
        _ => return None,
    })
}

/// The four octets of an event (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// The event code.
    pub event: u8,
    /// Whether the event is over.
    pub end: bool,
    /// Its level in -dBm0, 0 to 63.
    pub volume: u8,
    /// How long it has lasted, in units of the clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// The first event of a payload; `None` if it is shorter than four octets.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3F, duration: u16::from_be_bytes([high, low]) })
    }

    /// The payload.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, if self.end { 0x80 } else { 0 } | (self.volume & 0x3F), high, low]
    }
}

/// What to send for a key in the tick at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// The payload.
    pub payload: TelephoneEvent,
    /// Whether the RTP marker bit is set: on the first packet of an event only (RFC 4733 §2.5.1.1).
    pub marker: bool,
}

/// One key being sent: a packet each 20 ms with a rising duration, then the end, three times (RFC 4733 §2.5.1.4).
///
/// All packets of one key carry the RTP time stamp of its beginning; the sequence number rises with each.
#[derive(Debug, Clone)]
pub struct KeySender {
    event: u8,
    duration: u16,
    total: u16,
    packet_step: u16,
    started: bool,
    ends_left: u8,
}

impl KeySender {
    /// Sends `key` for `duration` (kept within [`SHORTEST_KEY`] and [`LONGEST_KEY`]), one packet each `packet_time`.
    #[must_use]
    pub fn new(key: char, duration: Duration, packet_time: Duration) -> Option<Self> {
        let units =
            |time: Duration| u16::try_from(time.as_millis() * u128::from(CLOCK_RATE_HZ) / 1000).unwrap_or(u16::MAX);
        let packet_step = units(packet_time).max(1);
        let total = units(duration.clamp(SHORTEST_KEY, LONGEST_KEY));
        Some(Self { event: event_of(key)?, duration: 0, total, packet_step, started: false, ends_left: END_PACKETS })
    }

    /// The packet for the next 20 ms; `None` when the key has been sent to its end.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends_left == 0 {
            return None;
        }
        self.duration = self.duration.saturating_add(self.packet_step).min(self.total);
        let end = self.started && self.duration == self.total;
        if end {
            self.ends_left -= 1;
        }
        let marker = !self.started;
        self.started = true;
        Some(EventPacket {
            payload: TelephoneEvent { event: self.event, end, volume: VOLUME, duration: self.duration },
            marker,
        })
    }
}

/// Finds keys in received events, once for each, whatever packets are lost.
///
/// A key is told by the first packet that comes of it, be it start, update or end. Packets belong to the same key when
/// they carry the same time stamp (RFC 4733 §2.5.1.2); late and repeated ones of earlier keys are remembered.
#[derive(Debug, Clone, Default)]
pub struct KeyReceiver {
    /// Time stamps of the last keys, newest first.
    recent: [Option<(u32, u8)>; 4],
}

impl KeyReceiver {
    /// Takes the payload of a received packet and its RTP time stamp; the key, if it is a new one.
    pub fn receive(&mut self, payload: &[u8], timestamp: u32) -> Option<char> {
        let event = TelephoneEvent::parse(payload)?;
        let key = key_of(event.event)?;
        if self.recent.contains(&Some((timestamp, event.event))) {
            return None;
        }
        self.recent.rotate_right(1);
        self.recent[0] = Some((timestamp, event.event));
        Some(key)
    }

    /// Forgets the time stamps, since a new synchronisation source starts its own.
    pub fn restart(&mut self) {
        self.recent = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn packets(key: char, milliseconds: u64) -> Vec<EventPacket> {
        let mut sender = KeySender::new(key, Duration::from_millis(milliseconds), FRAME).unwrap();
        core::iter::from_fn(|| sender.next_packet()).collect()
    }

    #[test]
    fn a_key_starts_with_the_marker_rises_and_ends_three_times() {
        let sent = packets('5', 100);
        let durations: Vec<u16> = sent.iter().map(|p| p.payload.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        assert_eq!(sent.iter().map(|p| p.marker).collect::<Vec<_>>(), [true, false, false, false, false, false, false]);
        assert_eq!(sent.iter().filter(|p| p.payload.end).count(), 3);
        assert!(sent[4..].iter().all(|p| p.payload.end));
        assert!(sent.iter().all(|p| p.payload.event == 5 && p.payload.volume == 10));
    }

    #[test]
    fn lengths_are_kept_within_what_the_event_can_carry() {
        for (asked, last) in [(0, 320), (40, 320), (50, 400), (8000, 64_000), (60_000, 64_000)] {
            let sent = packets('#', asked);
            assert_eq!(sent.last().unwrap().payload.duration, last, "{asked} ms");
            assert_eq!(sent.iter().filter(|p| p.payload.end).count(), 3, "{asked} ms");
        }
    }

    #[test]
    fn keys_and_codes() {
        for (key, event) in [('0', 0), ('9', 9), ('*', 10), ('#', 11), ('A', 12), ('d', 15)] {
            assert_eq!(event_of(key), Some(event));
            assert_eq!(key_of(event), Some(key.to_ascii_uppercase()));
        }
        assert_eq!((event_of('E'), event_of('٣'), key_of(16)), (None, None, None));
        assert!(KeySender::new('x', FRAME, FRAME).is_none());
    }

    #[test]
    fn payloads_round_trip_and_short_ones_are_refused() {
        let event = TelephoneEvent { event: 11, end: true, volume: 63, duration: 0x1234 };
        assert_eq!(event.to_bytes(), [11, 0xBF, 0x12, 0x34]);
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }

    #[test]
    fn each_key_is_told_once_whatever_is_lost() {
        let sent: Vec<[u8; 4]> = packets('7', 100).iter().map(|p| p.payload.to_bytes()).collect();
        // All packets, only updates, only one of the ends, or in reverse order.
        let cases: [Vec<usize>; 4] = [(0..7).collect(), vec![2, 3], vec![6], (0..7).rev().collect()];
        for (case, indices) in cases.iter().enumerate() {
            let mut receiver = KeyReceiver::default();
            let told: Vec<char> = indices.iter().filter_map(|&i| receiver.receive(&sent[i], 4000)).collect();
            assert_eq!(told, ['7'], "case {case}");
        }
    }

    #[test]
    fn the_same_key_twice_is_two_keys_and_stragglers_are_none() {
        let sent: Vec<[u8; 4]> = packets('1', 60).iter().map(|p| p.payload.to_bytes()).collect();
        let mut receiver = KeyReceiver::default();
        assert_eq!(receiver.receive(&sent[0], 0), Some('1'));
        assert_eq!(receiver.receive(&sent[0], 1600), Some('1'));
        assert_eq!(receiver.receive(&sent[4], 0), None);
        assert_eq!(receiver.receive(&sent[4], 1600), None);
        receiver.restart();
        assert_eq!(receiver.receive(&sent[0], 1600), Some('1'));
    }

    #[test]
    fn events_that_are_no_keys_are_ignored() {
        assert_eq!(KeyReceiver::default().receive(&[36, 0x80, 0, 160], 0), None);
        assert_eq!(KeyReceiver::default().receive(&[], 0), None);
    }
}
