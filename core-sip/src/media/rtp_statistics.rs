//! What RTP tells about a stream: loss and jitter as RFC 3550 counts them (§6.4.1, appendices A.1, A.3, A.8).

use std::time::Duration;

use crate::time::Time;

/// A jump forward that is taken for a restart of the sender rather than for loss (RFC 3550 A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u16 = 3000;
/// How far back a packet may lie to be late rather than from a restarted sender (RFC 3550 A.1, `MAX_MISORDER`).
const MAX_MISORDER: u16 = 100;

/// What a receiver knows of the streams it hears. A stream ends when its synchronisation source changes or restarts;
/// sums go on.
#[derive(Debug, Clone, Default)]
pub struct ReceptionStatistics {
    stream: Option<Stream>,
    packets: u64,
    bytes: u64,
    lost_before: u64,
}

#[derive(Debug, Clone)]
struct Stream {
    ssrc: u32,
    base_sequence: u16,
    highest_sequence: u16,
    cycles: u32,
    /// The sequence number that, if it comes next, proves that the sender restarted (RFC 3550 A.1, `bad_seq`).
    restart_candidate: Option<u16>,
    received: u64,
    /// Jitter in time stamp units, times 16 as in RFC 3550 A.8.
    jitter_16: u64,
    clock_rate_hz: u32,
    /// When the last packet came, in time stamp units, and its time stamp.
    last_timed: Option<(i64, u32)>,
    expected_at_report: u64,
    received_at_report: u64,
}

/// What counts of a received packet.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedPacket {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Its time stamp.
    pub timestamp: u32,
    /// The clock of the time stamp, in Hz.
    pub clock_rate_hz: u32,
    /// How long its payload is.
    pub payload_bytes: usize,
    /// Whether the time stamp says when it was sent. That of a telephone event does not: it repeats the time of the
    /// event's beginning.
    pub timed: bool,
}

/// One report block (RFC 3550 §6.4.1) without the fields on sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose stream it reports on.
    pub ssrc: u32,
    /// Loss since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Loss since the beginning, clamped to what 24 bits with sign can carry.
    pub cumulative_lost: i32,
    /// The highest sequence number received, with cycles above 16 bits.
    pub extended_highest_sequence: u32,
    /// Jitter in time stamp units.
    pub jitter: u32,
}

impl ReceptionStatistics {
    /// Counts a packet that came at `now`.
    pub fn receive(&mut self, now: Time, packet: &ReceivedPacket) {
        let &ReceivedPacket { ssrc, sequence, timestamp, clock_rate_hz, payload_bytes, timed } = packet;
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(payload_bytes as u64);
        let known = self.stream.as_mut().is_some_and(|stream| stream.ssrc == ssrc && stream.accept(sequence));
        if !known {
            if let Some(stream) = &self.stream {
                if stream.ssrc == ssrc && stream.restart_candidate.is_some() {
                    // A jump so far counts as a packet of nothing until a second one confirms it.
                    return;
                }
                self.lost_before = self.lost_before.saturating_add(stream.lost());
            }
            self.stream = Some(Stream::new(ssrc, sequence, clock_rate_hz));
        }
        if let Some(stream) = &mut self.stream {
            stream.received = stream.received.saturating_add(1);
            if timed {
                stream.measure_jitter(now, timestamp, clock_rate_hz);
            }
        }
    }

    /// RTP packets received.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// RTP payload bytes received.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets that should have come and did not, of all streams. Duplicates make up for losses, as in RFC 3550.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before.saturating_add(self.stream.as_ref().map_or(0, Stream::lost))
    }

    /// The jitter of the stream at hand; `None` before its second packet.
    #[must_use]
    pub fn jitter(&self) -> Option<Duration> {
        let stream = self.stream.as_ref()?;
        stream.last_timed?;
        if stream.received < 2 || stream.clock_rate_hz == 0 {
            return None;
        }
        Some(Duration::from_micros(stream.jitter_16.saturating_mul(1_000_000) / 16 / u64::from(stream.clock_rate_hz)))
    }

    /// The report block for the stream at hand; the next one's fraction counts from here.
    pub fn report(&mut self) -> Option<ReportBlock> {
        let stream = self.stream.as_mut()?;
        let expected = stream.expected();
        let expected_interval = expected.saturating_sub(stream.expected_at_report);
        let received_interval = stream.received.saturating_sub(stream.received_at_report);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        stream.expected_at_report = expected;
        stream.received_at_report = stream.received;
        let fraction = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0);
        let cumulative = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(stream.received).unwrap_or(0);
        Some(ReportBlock {
            ssrc: stream.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(cumulative.clamp(-0x0080_0000, 0x007F_FFFF)).unwrap_or(0),
            extended_highest_sequence: stream.cycles | u32::from(stream.highest_sequence),
            jitter: u32::try_from(stream.jitter_16 / 16).unwrap_or(u32::MAX),
        })
    }
}

impl Stream {
    fn new(ssrc: u32, sequence: u16, clock_rate_hz: u32) -> Self {
        Self {
            ssrc,
            base_sequence: sequence,
            highest_sequence: sequence,
            cycles: 0,
            restart_candidate: None,
            received: 0,
            jitter_16: 0,
            clock_rate_hz,
            last_timed: None,
            expected_at_report: 0,
            received_at_report: 0,
        }
    }

    /// Whether the packet belongs to the stream as it runs (RFC 3550 A.1).
    fn accept(&mut self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.highest_sequence);
        if ahead < MAX_DROPOUT {
            if sequence < self.highest_sequence {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.highest_sequence = sequence;
            self.restart_candidate = None;
            true
        } else if ahead > u16::MAX - MAX_MISORDER {
            true
        } else if self.restart_candidate == Some(sequence) {
            // Two in a row from the new place: the sender restarted.
            self.restart_candidate = None;
            false
        } else {
            self.restart_candidate = Some(sequence.wrapping_add(1));
            false
        }
    }

    fn expected(&self) -> u64 {
        let highest = u64::from(self.cycles) + u64::from(self.highest_sequence);
        highest.saturating_sub(u64::from(self.base_sequence)) + 1
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    fn measure_jitter(&mut self, now: Time, timestamp: u32, clock_rate_hz: u32) {
        if self.clock_rate_hz != clock_rate_hz {
            self.clock_rate_hz = clock_rate_hz;
            self.last_timed = None;
            self.jitter_16 = 0;
        }
        let arrival = u128::from(now.as_micros()) * u128::from(clock_rate_hz) / 1_000_000;
        let arrival = i64::try_from(arrival).unwrap_or(i64::MAX);
        if let Some((last_arrival, last_timestamp)) = self.last_timed {
            // The difference of time stamps is signed and modulo 2³²: it bears the wrap and reordering.
            let sent_step = i64::from(timestamp.wrapping_sub(last_timestamp).cast_signed());
            let difference = (arrival.saturating_sub(last_arrival)).saturating_sub(sent_step).unsigned_abs();
            // A second or more is a jump of the time stamp (music on hold, a restart), not jitter of the network.
            if difference < u64::from(clock_rate_hz) {
                self.jitter_16 = self.jitter_16.saturating_add(difference).saturating_sub((self.jitter_16 + 8) >> 4);
            }
        }
        self.last_timed = Some((arrival, timestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn receive(statistics: &mut ReceptionStatistics, ms: u64, ssrc: u32, sequence: u16, timestamp: u32) {
        let packet = ReceivedPacket { ssrc, sequence, timestamp, clock_rate_hz: 8000, payload_bytes: 160, timed: true };
        statistics.receive(at_ms(ms), &packet);
    }

    #[test]
    fn a_clean_stream_has_no_loss_and_no_jitter_across_both_wraps() {
        let mut statistics = ReceptionStatistics::default();
        for n in 0..200_u32 {
            let sequence = 65_500_u16.wrapping_add(u16::try_from(n).unwrap());
            let timestamp = 0xFFFF_F000_u32.wrapping_add(n * 160);
            receive(&mut statistics, u64::from(n) * 20, 7, sequence, timestamp);
        }
        assert_eq!((statistics.packets(), statistics.bytes(), statistics.lost()), (200, 32_000, 0));
        assert_eq!(statistics.jitter(), Some(Duration::ZERO));
        let report = statistics.report().unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 0));
        assert_eq!(report.extended_highest_sequence, 65_500 + 199);
    }

    #[test]
    fn loss_is_counted_and_reported_for_each_interval() {
        let mut statistics = ReceptionStatistics::default();
        for n in (0..100_u16).filter(|n| n % 4 != 1) {
            receive(&mut statistics, u64::from(n) * 20, 7, n, u32::from(n) * 160);
        }
        assert_eq!(statistics.lost(), 25);
        let report = statistics.report().unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (64, 25));
        for n in 100..200_u16 {
            receive(&mut statistics, u64::from(n) * 20, 7, n, u32::from(n) * 160);
        }
        let report = statistics.report().unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 25));
    }

    #[test]
    fn reordering_is_not_loss_and_duplicates_do_not_go_below_zero() {
        let mut statistics = ReceptionStatistics::default();
        for n in [0_u16, 2, 1, 3, 3, 3, 4] {
            receive(&mut statistics, u64::from(n) * 20, 7, n, u32::from(n) * 160);
        }
        assert_eq!(statistics.lost(), 0);
        assert_eq!(statistics.report().unwrap().cumulative_lost, -2);
    }

    #[test]
    fn jitter_follows_rfc_3550() {
        let mut statistics = ReceptionStatistics::default();
        // Every other packet is 5 ms late: |D| is 5 ms = 40 units each time, and the filter converges there.
        for n in 0..400_u16 {
            let late = u64::from(n % 2) * 5;
            receive(&mut statistics, u64::from(n) * 20 + late, 7, n, u32::from(n) * 160);
        }
        let jitter = statistics.jitter().unwrap();
        assert!((4_800..=5_100).contains(&jitter.as_micros()), "{jitter:?}");
    }

    #[test]
    fn a_new_source_or_a_restart_is_no_loss() {
        let mut statistics = ReceptionStatistics::default();
        for n in 0..10_u16 {
            receive(&mut statistics, u64::from(n) * 20, 7, n, u32::from(n) * 160);
        }
        for n in 0..10_u16 {
            receive(&mut statistics, 200 + u64::from(n) * 20, 8, 40_000 + n, 1_000_000 + u32::from(n) * 160);
        }
        assert_eq!(statistics.lost(), 0);
        assert_eq!(statistics.report().unwrap().ssrc, 8);
        // The same source jumps: the first packet from there is on probation, the second confirms it.
        for n in 0..10_u16 {
            receive(&mut statistics, 400 + u64::from(n) * 20, 8, 10_000 + n, 9_000_000 + u32::from(n) * 160);
        }
        assert_eq!((statistics.lost(), statistics.packets()), (0, 30));
        assert!(statistics.jitter().unwrap() < Duration::from_millis(1));
    }

    #[test]
    fn a_jump_of_the_time_stamp_alone_is_not_jitter() {
        let mut statistics = ReceptionStatistics::default();
        for n in 0..10_u16 {
            let jump = if n >= 5 { 500_000_000 } else { 0 };
            receive(&mut statistics, u64::from(n) * 20, 7, n, u32::from(n) * 160 + jump);
        }
        assert_eq!(statistics.jitter(), Some(Duration::ZERO));
    }

    #[test]
    fn nothing_received_reports_nothing() {
        let mut statistics = ReceptionStatistics::default();
        assert_eq!((statistics.report(), statistics.jitter(), statistics.lost()), (None, None, 0));
    }
}
