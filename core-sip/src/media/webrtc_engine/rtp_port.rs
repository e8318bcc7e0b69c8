//! Where RTP and RTCP enter and leave the crate: an interceptor nearest to the wire.
//!
//! Received packets are taken here rather than from the crate's tracks, for three reasons. The crate drops every packet
//! of a synchronisation source that appears later in the call (transfer, music on hold) without a word; here they
//! arrive. The time of arrival is known here. And RTCP, which the crate keeps to itself, is read here for the
//! round-trip time. Reports (RFC 3550 §6.4) are written here too, from the statistics that the application sees.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtc::shared::TransportContext;
use tokio::sync::Notify;

use crate::media::codec::payload_duration;
use crate::media::jitter_buffer::{AudioPacket, JitterBuffer};
use crate::media::rtp_statistics::{ReceivedPacket, ReceptionStatistics, ReportBlock};
use crate::media::sdp_measures::Agreement;
use crate::media::telephone_event::{self, KeyReceiver};
use crate::media::{FarEndReception, MediaNotice, lock};
use crate::time::Time;

/// How often reports are sent: RFC 3550 §6.2 asks for at least 5 s on average; sessions of two may be quicker
/// (RFC 4585 §3.4), which gives the far end loss and us a round-trip time early.
const REPORT_INTERVAL: Duration = Duration::from_millis(2500);

/// The most notices that wait for the session to tell them; keys beyond that are dropped.
const WAITING_NOTICES: usize = 64;

/// What the interceptor and the session's tasks share.
pub(super) struct RtpPort {
    state: Mutex<RtpState>,
    /// Woken when a notice waits.
    pub(super) notices: Notify,
    epoch: Instant,
    local_ssrc: u32,
    canonical_name: String,
    /// A synchronisation source to send under instead of our own, if not 0, to see how the far end takes it.
    #[cfg(test)]
    pub(super) sent_as: std::sync::atomic::AtomicU32,
    /// Lose every n-th packet on its way out, if not 0.
    #[cfg(test)]
    pub(super) lose_every: std::sync::atomic::AtomicU16,
}

struct RtpState {
    agreement: Option<Arc<Agreement>>,
    jitter_buffer: JitterBuffer,
    reception: ReceptionStatistics,
    keys: KeyReceiver,
    key_ssrc: Option<u32>,
    first_packet_told: bool,
    waiting: VecDeque<MediaNotice>,
    packets_sent: u64,
    bytes_sent: u64,
    sent_at_report: u64,
    last_sent: Option<(Instant, u32)>,
    last_sender_report: Option<(u32, Instant)>,
    round_trip_time: Option<Duration>,
    first_sent: Option<u16>,
    far_end: Option<FarEndReception>,
}

/// Sums for [`crate::media::MediaStatistics`].
pub(super) struct RtpTotals {
    pub(super) packets_sent: u64,
    pub(super) bytes_sent: u64,
    pub(super) packets_received: u64,
    pub(super) bytes_received: u64,
    pub(super) packets_lost: u64,
    pub(super) jitter: Option<Duration>,
    pub(super) round_trip_time: Option<Duration>,
    pub(super) far_end: Option<FarEndReception>,
}

impl RtpPort {
    pub(super) fn new(epoch: Instant, local_ssrc: u32, canonical_name: String, jitter_buffer: JitterBuffer) -> Self {
        Self {
            state: Mutex::new(RtpState {
                agreement: None,
                jitter_buffer,
                reception: ReceptionStatistics::default(),
                keys: KeyReceiver::default(),
                key_ssrc: None,
                first_packet_told: false,
                waiting: VecDeque::new(),
                packets_sent: 0,
                bytes_sent: 0,
                sent_at_report: 0,
                last_sent: None,
                last_sender_report: None,
                round_trip_time: None,
                first_sent: None,
                far_end: None,
            }),
            notices: Notify::new(),
            epoch,
            local_ssrc,
            canonical_name,
            #[cfg(test)]
            sent_as: std::sync::atomic::AtomicU32::new(0),
            #[cfg(test)]
            lose_every: std::sync::atomic::AtomicU16::new(0),
        }
    }

    pub(super) fn agree(&self, agreement: Agreement) {
        lock(&self.state).agreement = Some(Arc::new(agreement));
    }

    pub(super) fn agreement(&self) -> Option<Arc<Agreement>> {
        lock(&self.state).agreement.clone()
    }

    pub(super) fn time_at(&self, instant: Instant) -> Time {
        let elapsed = instant.saturating_duration_since(self.epoch);
        Time::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn with_jitter_buffer<T>(&self, act: impl FnOnce(&mut JitterBuffer) -> T) -> T {
        act(&mut lock(&self.state).jitter_buffer)
    }

    pub(super) fn take_notices(&self) -> Vec<MediaNotice> {
        lock(&self.state).waiting.drain(..).collect()
    }

    pub(super) fn totals(&self) -> RtpTotals {
        let state = lock(&self.state);
        RtpTotals {
            packets_sent: state.packets_sent,
            bytes_sent: state.bytes_sent,
            packets_received: state.reception.packets(),
            bytes_received: state.reception.bytes(),
            packets_lost: state.reception.lost(),
            jitter: state.reception.jitter(),
            round_trip_time: state.round_trip_time,
            far_end: state.far_end,
        }
    }

    /// Takes a packet off the wire.
    fn receive(&self, now: Instant, packet: rtc::rtp::Packet) {
        let time = self.time_at(now);
        let header = &packet.header;
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(agreement) = &state.agreement else { return };
        let is_key = agreement.receive_telephone_event == Some(header.payload_type);
        let codec = if is_key { None } else { agreement.codec_of(header.payload_type) };
        let clock_rate_hz = codec.map_or(telephone_event::CLOCK_RATE_HZ, |codec| codec.clock_rate_hz());
        state.reception.receive(
            time,
            &ReceivedPacket {
                ssrc: header.ssrc,
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                clock_rate_hz,
                payload_bytes: packet.payload.len(),
                timed: codec.is_some(),
            },
        );
        let mut notice = false;
        if !state.first_packet_told {
            state.first_packet_told = true;
            state.waiting.push_back(MediaNotice::FirstPacket);
            notice = true;
        }
        if is_key {
            if state.key_ssrc != Some(header.ssrc) {
                state.key_ssrc = Some(header.ssrc);
                state.keys.restart();
            }
            if let Some(key) = state.keys.receive(&packet.payload, header.timestamp)
                && state.waiting.len() < WAITING_NOTICES
            {
                state.waiting.push_back(MediaNotice::Dtmf(key));
                notice = true;
            }
        }
        let duration = codec.and_then(|codec| payload_duration(codec, &packet.payload));
        match duration {
            Some(duration) => state.jitter_buffer.push(
                time,
                header.ssrc,
                AudioPacket {
                    sequence: header.sequence_number,
                    timestamp: header.timestamp,
                    payload_type: header.payload_type,
                    clock_rate_hz,
                    duration,
                    payload: packet.payload,
                },
            ),
            None => state.jitter_buffer.skip(time, header.ssrc, header.sequence_number),
        }
        if notice {
            self.notices.notify_one();
        }
    }

    fn receive_control(&self, now: Instant, packets: &[Box<dyn rtcp::Packet>]) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for packet in packets {
            let packet = packet.as_any();
            let blocks = if let Some(report) = packet.downcast_ref::<SenderReport>() {
                state.last_sender_report = Some(((report.ntp_time >> 16) as u32, now));
                &report.reports
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                &report.reports
            } else {
                continue;
            };
            for block in blocks.iter().filter(|block| block.ssrc == self.local_ssrc) {
                if let Some(round_trip_time) = round_trip_time(self.compact_clock(now), block) {
                    state.round_trip_time = Some(round_trip_time);
                }
                let Some(first_sent) = state.first_sent else { continue };
                if state.far_end.replace(far_end_reception(block, first_sent, state.packets_sent)).is_none() {
                    state.waiting.push_back(MediaNotice::FarEndReport);
                    self.notices.notify_one();
                }
            }
        }
    }

    /// Our clock in the reports: time since the session began, as RFC 3550 §4 allows, in units of 2⁻³² s.
    fn report_clock(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch);
        let fraction = (u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000;
        // One second ahead, since zero means "no sender report yet" (RFC 3550 §6.4.1, LSR).
        ((elapsed.as_secs() + 1) << 32) | fraction
    }

    fn compact_clock(&self, now: Instant) -> u32 {
        (self.report_clock(now) >> 16) as u32
    }

    /// A report (RFC 3550 §6.1: sender or receiver report first, then the canonical name).
    fn report(&self, now: Instant) -> Vec<Box<dyn rtcp::Packet>> {
        let mut state = lock(&self.state);
        let reports: Vec<ReceptionReport> = state
            .reception
            .report()
            .map(|block| reception_report(&block, state.last_sender_report, now))
            .into_iter()
            .collect();
        let ssrc = self.local_ssrc;
        let first: Box<dyn rtcp::Packet> = match state.last_sent {
            Some((sent_at, timestamp)) if state.packets_sent > state.sent_at_report => {
                let clock_rate_hz = state.agreement.as_ref().map_or(0, |a| a.codec.clock_rate_hz());
                let since = now.saturating_duration_since(sent_at).as_micros() * u128::from(clock_rate_hz) / 1_000_000;
                Box::new(SenderReport {
                    ssrc,
                    ntp_time: self.report_clock(now),
                    rtp_time: timestamp.wrapping_add(since as u32),
                    packet_count: state.packets_sent as u32,
                    octet_count: state.bytes_sent as u32,
                    reports,
                    ..SenderReport::default()
                })
            }
            _ => Box::new(ReceiverReport { ssrc, reports, ..ReceiverReport::default() }),
        };
        state.sent_at_report = state.packets_sent;
        let name = SourceDescriptionItem {
            sdes_type: SdesType::SdesCname,
            text: Bytes::copy_from_slice(self.canonical_name.as_bytes()),
        };
        vec![
            first,
            Box::new(SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items: vec![name] }] }),
        ]
    }
}

fn reception_report(block: &ReportBlock, last_sender_report: Option<(u32, Instant)>, now: Instant) -> ReceptionReport {
    let (last_sender_report, delay) = last_sender_report.map_or((0, 0), |(compact, at)| {
        let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
        (compact, u32::try_from(delay).unwrap_or(u32::MAX))
    });
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        // 24 bits, two's complement.
        total_lost: block.cumulative_lost.cast_unsigned() & 0x00FF_FFFF,
        last_sequence_number: block.extended_highest_sequence,
        jitter: block.jitter,
        last_sender_report,
        delay,
    }
}

/// What the far end has of the packets that we sent from `first_sent` on.
fn far_end_reception(block: &ReceptionReport, first_sent: u16, packets_sent: u64) -> FarEndReception {
    // The far end counts turns of the sequence number from the first one that it saw.
    let expected = i64::from(block.last_sequence_number) - i64::from(first_sent) + 1;
    // 24 bits, two's complement; packets that came twice make it negative.
    let lost = i64::from((block.total_lost << 8).cast_signed() >> 8);
    FarEndReception {
        packets_received: u64::try_from(expected - lost).unwrap_or(0).min(packets_sent),
        loss: f64::from(block.fraction_lost) / 256.0,
    }
}

/// `A - LSR - DLSR` of RFC 3550 §6.4.1, in units of 2⁻¹⁶ s.
fn round_trip_time(now: u32, block: &ReceptionReport) -> Option<Duration> {
    if block.last_sender_report == 0 {
        return None;
    }
    let units = now.wrapping_sub(block.last_sender_report).wrapping_sub(block.delay).cast_signed();
    // Rounding may give a little less than nothing; minutes are a damaged report.
    (-655..=60 * 65_536)
        .contains(&units)
        .then(|| Duration::from_micros(u64::try_from(units).unwrap_or(0) * 1_000_000 / 65_536))
}

/// The interceptor. It stands nearest to the wire and hands nothing on towards the application.
pub(super) struct RtpInterceptor {
    port: Arc<RtpPort>,
    outgoing: VecDeque<TaggedPacket>,
    next_report: Option<Instant>,
}

impl RtpInterceptor {
    pub(super) fn new(port: Arc<RtpPort>) -> Self {
        Self { port, outgoing: VecDeque::new(), next_report: None }
    }

    /// What a test wants to become of an outgoing packet.
    #[cfg(test)]
    fn disguise(&self, mut packet: TaggedPacket) -> Option<TaggedPacket> {
        use std::sync::atomic::Ordering;
        let ssrc = self.port.sent_as.load(Ordering::Relaxed);
        if let Packet::Rtp(rtp) = &mut packet.message.packet {
            let lose_every = self.port.lose_every.load(Ordering::Relaxed);
            if rtp.header.sequence_number.checked_rem(lose_every) == Some(0) {
                return None;
            }
            if ssrc != 0 {
                rtp.header.ssrc = ssrc;
                rtp.header.sequence_number = rtp.header.sequence_number.wrapping_add(ssrc as u16);
                rtp.header.timestamp = rtp.header.timestamp.wrapping_add(ssrc);
            }
        }
        Some(packet)
    }

    fn arm(&mut self, now: Instant) {
        if self.next_report.is_none() {
            self.next_report = Some(now + REPORT_INTERVAL / 2);
        }
    }
}

impl rtc::sansio::Protocol<TaggedPacket, TaggedPacket, ()> for RtpInterceptor {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        let now = packet.now;
        match packet.message.packet {
            Packet::Rtp(rtp) => {
                self.arm(now);
                self.port.receive(now, rtp);
            }
            Packet::Rtcp(packets) => self.port.receive_control(now, &packets),
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtp(rtp) = &packet.message.packet {
            self.arm(packet.now);
            let mut state = lock(&self.port.state);
            state.packets_sent = state.packets_sent.saturating_add(1);
            state.bytes_sent = state.bytes_sent.saturating_add(rtp.payload.len() as u64);
            state.first_sent.get_or_insert(rtp.header.sequence_number);
            state.last_sent = Some((packet.now, rtp.header.timestamp));
        }
        #[cfg(test)]
        let Some(packet) = self.disguise(packet) else { return Ok(()) };
        self.outgoing.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error> {
        if self.next_report.is_some_and(|due| now >= due) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.outgoing.push_back(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(self.port.report(now))),
            });
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.next_report
    }
}

impl Interceptor for RtpInterceptor {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_far_end_received_is_read_from_its_report() {
        let block = |last_sequence_number, total_lost, fraction_lost| ReceptionReport {
            last_sequence_number,
            total_lost,
            fraction_lost,
            ..ReceptionReport::default()
        };
        for (report, first_sent, packets_sent, received, loss) in [
            (block(1099, 0, 0), 1000, 100, 100, 0.0),
            (block(1099, 10, 64), 1000, 100, 90, 0.25),
            // The sequence number has gone round: 65,500 to 65,535 and 0 to 63.
            (block(65_536 + 63, 0, 0), 65_500, 100, 100, 0.0),
            // Twice the same packet: -1 in 24 bits.
            (block(1049, 0x00FF_FFFF, 0), 1000, 60, 51, 0.0),
            (block(1049, 0x00FF_FFFF, 0), 1000, 50, 50, 0.0),
            // Nonsense: a packet that was never sent, more lost than sent.
            (block(999_999, 0, 0), 1000, 50, 50, 0.0),
            (block(5, 0, 0), 1000, 50, 0, 0.0),
            (block(1049, 100, 255), 1000, 50, 0, 255.0 / 256.0),
        ] {
            let expected = FarEndReception { packets_received: received, loss };
            assert_eq!(far_end_reception(&report, first_sent, packets_sent), expected, "{report:?}");
        }
    }
}
