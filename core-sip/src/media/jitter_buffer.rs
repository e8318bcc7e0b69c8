//! A small jitter buffer, without I/O or clock: packets in as they come, out in the order and at the pace of the far
//! end's clock.
//!
//! It holds back [`JitterBuffer::target_delay`] of audio. Reordered packets are put in order, missing ones reported
//! for concealment, pauses (discontinuous transmission) kept as pauses. A changed synchronisation source, or a jump of
//! sequence number or time stamp as after a transfer or music on hold, starts it over. It is bounded in packets and in
//! time: a burst is caught up with by leaving out packets, and so is a far end whose clock runs fast.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Time;

/// What is held back for reordering and jitter unless told otherwise.
pub const DEFAULT_TARGET_DELAY: Duration = Duration::from_millis(60);

/// The most packets held; a second of audio in frames of 20 ms.
const CAPACITY_PACKETS: usize = 50;

/// Sequence numbers further apart than this are another stream (RFC 3550 A.1, `MAX_DROPOUT`).
const SEQUENCE_JUMP: i64 = 3000;

/// Late packets in a row that mean that the sender stepped back, not that the network is slow.
const LATE_IN_A_ROW: u32 = 5;

/// How much audio above the target is borne before a packet is left out.
const SURPLUS: Duration = Duration::from_millis(120);

/// Over how many pops the buffer's lowest filling is watched, to find a far end whose clock runs fast.
const DRIFT_WINDOW_POPS: u32 = 250;

/// How long a gap is concealed before it becomes silence; then the buffer fills up again before it plays on.
const LONGEST_CONCEALMENT: Duration = Duration::from_millis(100);

/// One packet of audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP time stamp.
    pub timestamp: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// The clock of the time stamp, in Hz.
    pub clock_rate_hz: u32,
    /// How much audio it holds, in units of the clock.
    pub duration: u32,
    /// The codec's payload.
    pub payload: Bytes,
}

/// What to play next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playout {
    /// This packet.
    Packet(AudioPacket),
    /// A packet is missing: conceal as much audio as the packet before held. `next` is the packet after it, if it is
    /// there, for codecs that carry a copy of the lost one in it.
    Missing {
        /// The packet that follows the gap at once.
        next: Option<AudioPacket>,
    },
    /// Nothing is due: silence.
    Silence,
}

/// The buffer.
#[derive(Debug, Clone)]
pub struct JitterBuffer {
    target_delay: Duration,
    ssrc: Option<u32>,
    /// By extended sequence number. `None` stands for a packet that carried no audio (a telephone event): it is
    /// neither played nor missing.
    packets: BTreeMap<i64, Option<AudioPacket>>,
    /// The extended sequence number that is played next; `None` until playing starts.
    next: Option<i64>,
    /// The highest extended sequence number seen.
    highest: i64,
    /// The time stamp that is due next, while playing.
    due_timestamp: u32,
    frame: u32,
    clock_rate_hz: u32,
    filling_since: Option<Time>,
    concealed: Duration,
    late_in_a_row: u32,
    lowest_surplus: Option<u32>,
    pops_in_window: u32,
    discarded: u64,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self::new(DEFAULT_TARGET_DELAY)
    }
}

impl JitterBuffer {
    /// A buffer that holds back `target_delay` (at most 500 ms).
    #[must_use]
    pub fn new(target_delay: Duration) -> Self {
        Self {
            target_delay: target_delay.min(Duration::from_millis(500)),
            ssrc: None,
            packets: BTreeMap::new(),
            next: None,
            highest: 0,
            due_timestamp: 0,
            frame: 0,
            clock_rate_hz: 0,
            filling_since: None,
            concealed: Duration::ZERO,
            late_in_a_row: 0,
            lowest_surplus: None,
            pops_in_window: 0,
            discarded: 0,
        }
    }

    /// How much audio is held back.
    #[must_use]
    pub fn target_delay(&self) -> Duration {
        self.target_delay
    }

    /// Packets that came too late, twice, or in surplus.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Packets held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Takes a packet of audio from `ssrc`.
    pub fn push(&mut self, now: Time, ssrc: u32, packet: AudioPacket) {
        if packet.clock_rate_hz == 0 || packet.duration == 0 || packet.duration > packet.clock_rate_hz {
            self.discarded += 1;
            return;
        }
        if self.clock_rate_hz != packet.clock_rate_hz && self.clock_rate_hz != 0 {
            self.start_over();
        }
        let sequence = packet.sequence;
        if let Some(extended) = self.place(ssrc, sequence) {
            self.clock_rate_hz = packet.clock_rate_hz;
            self.frame = packet.duration;
            self.insert(now, extended, Some(packet));
        }
    }

    /// Notes that the packet with this sequence number came but holds no audio, so that it will not be missed.
    pub fn skip(&mut self, now: Time, ssrc: u32, sequence: u16) {
        if self.ssrc == Some(ssrc)
            && let Some(extended) = self.place(ssrc, sequence)
        {
            self.insert(now, extended, None);
        }
    }

    fn start_over(&mut self) {
        self.packets.clear();
        self.next = None;
        self.highest = 0;
        self.filling_since = None;
        self.concealed = Duration::ZERO;
        self.late_in_a_row = 0;
        self.lowest_surplus = None;
        self.pops_in_window = 0;
        self.ssrc = None;
    }

    /// The extended sequence number, or `None` if the packet is to be discarded.
    fn place(&mut self, ssrc: u32, sequence: u16) -> Option<i64> {
        if self.ssrc != Some(ssrc) {
            self.start_over();
            self.ssrc = Some(ssrc);
            // Far from zero, so that packets from before the first one still have a place.
            self.highest = (1 << 32) + i64::from(sequence);
            return Some(self.highest);
        }
        let step = i64::from(sequence.wrapping_sub(self.highest as u16).cast_signed());
        let extended = self.highest + step;
        if step.abs() > SEQUENCE_JUMP {
            self.start_over();
            return self.place(ssrc, sequence);
        }
        if self.next.is_some_and(|next| extended < next) {
            self.discarded += 1;
            self.late_in_a_row += 1;
            if self.late_in_a_row >= LATE_IN_A_ROW {
                self.start_over();
                return self.place(ssrc, sequence);
            }
            return None;
        }
        self.late_in_a_row = 0;
        self.highest = self.highest.max(extended);
        Some(extended)
    }

    fn insert(&mut self, now: Time, extended: i64, packet: Option<AudioPacket>) {
        if self.packets.contains_key(&extended) {
            self.discarded += 1;
            return;
        }
        self.packets.insert(extended, packet);
        self.filling_since.get_or_insert(now);
        while self.packets.len() > CAPACITY_PACKETS {
            self.leave_out_oldest();
        }
    }

    fn leave_out_oldest(&mut self) {
        if let Some((extended, packet)) = self.packets.pop_first() {
            if let Some(packet) = packet {
                self.discarded += 1;
                self.due_timestamp = packet.timestamp.wrapping_add(packet.duration);
            }
            if self.next.is_some() {
                self.next = Some(extended + 1);
            }
        }
    }

    fn units(&self, time: Duration) -> u32 {
        u32::try_from(time.as_micros() * u128::from(self.clock_rate_hz) / 1_000_000).unwrap_or(u32::MAX)
    }

    /// How much audio lies between what is due and the end of what is held.
    fn held_units(&self) -> u32 {
        let mut audio = self.packets.values().flatten();
        let first = audio.next();
        let last = audio.next_back().or(first);
        match (first, last) {
            (Some(first), Some(last)) => {
                let start = if self.next.is_some() { self.due_timestamp } else { first.timestamp };
                let span = last.timestamp.wrapping_add(last.duration).wrapping_sub(start).cast_signed();
                u32::try_from(span).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// What to play now. Each call moves the buffer on by one packet's worth of audio, so call it when the audio of
    /// the one before has been used up.
    pub fn pop(&mut self, now: Time) -> Playout {
        self.drop_leading_skips();
        if self.next.is_none() && !self.start_playing(now) {
            return Playout::Silence;
        }
        self.catch_up();
        self.drop_leading_skips();
        let Some(next) = self.next else { return Playout::Silence };
        let Some((&first, Some(packet))) = self.packets.first_key_value() else {
            return self.underrun(next);
        };
        let gap = packet.timestamp.wrapping_sub(self.due_timestamp).cast_signed();
        let jump = self.clock_rate_hz.cast_signed();
        if gap > jump || gap < -jump {
            // The far end's clock jumped (music on hold, a transfer): play on from where it is now.
            self.due_timestamp = packet.timestamp;
            self.next = Some(first);
            return self.play(first);
        }
        if first == next {
            // A pause of the far end: the packet is there but not due yet.
            if gap >= self.frame.cast_signed() {
                self.due_timestamp = self.due_timestamp.wrapping_add(self.frame);
                self.concealed = Duration::ZERO;
                return Playout::Silence;
            }
            return self.play(first);
        }
        // Packets are missing before `first`. Conceal while there is time to fill, then go on with what is there.
        if gap < self.frame.cast_signed() {
            return self.play(first);
        }
        self.due_timestamp = self.due_timestamp.wrapping_add(self.frame);
        if first > next {
            self.next = Some((next + 1).min(first));
        }
        let follows = gap < self.frame.saturating_mul(2).cast_signed();
        self.conceal(if follows { self.packets.get(&first).cloned().flatten() } else { None })
    }

    fn drop_leading_skips(&mut self) {
        while let Some(entry) = self.packets.first_entry() {
            if entry.get().is_some() {
                break;
            }
            let extended = *entry.key();
            if self.next.is_some_and(|next| extended > next) {
                break;
            }
            entry.remove();
            if let Some(next) = &mut self.next {
                *next = extended + 1;
            }
        }
    }

    fn start_playing(&mut self, now: Time) -> bool {
        let Some((&first, Some(packet))) = self.packets.first_key_value() else { return false };
        let waited = self.filling_since.is_some_and(|since| now - since >= self.target_delay);
        if !waited && self.held_units() < self.units(self.target_delay) {
            return false;
        }
        self.next = Some(first);
        self.due_timestamp = packet.timestamp;
        self.concealed = Duration::ZERO;
        true
    }

    /// Leaves out a packet when far too much is held, or when it has never been needed for a while.
    fn catch_up(&mut self) {
        let target = self.units(self.target_delay);
        let held = self.held_units();
        let surplus = held.saturating_sub(target);
        let lowest = self.lowest_surplus.map_or(surplus, |lowest| lowest.min(surplus));
        self.lowest_surplus = Some(lowest);
        self.pops_in_window += 1;
        let window_over = self.pops_in_window >= DRIFT_WINDOW_POPS;
        if surplus > self.units(SURPLUS) || (window_over && lowest > self.frame) {
            self.leave_out_oldest();
        }
        if window_over {
            self.pops_in_window = 0;
            self.lowest_surplus = None;
        }
    }

    fn play(&mut self, extended: i64) -> Playout {
        self.concealed = Duration::ZERO;
        match self.packets.remove(&extended).flatten() {
            Some(packet) => {
                self.next = Some(extended + 1);
                self.due_timestamp = packet.timestamp.wrapping_add(packet.duration);
                Playout::Packet(packet)
            }
            None => Playout::Silence,
        }
    }

    fn conceal(&mut self, next: Option<AudioPacket>) -> Playout {
        let frame_us = u64::from(self.frame) * 1_000_000 / u64::from(self.clock_rate_hz.max(1));
        self.concealed += Duration::from_micros(frame_us);
        if self.concealed > LONGEST_CONCEALMENT { Playout::Silence } else { Playout::Missing { next } }
    }

    fn underrun(&mut self, next: i64) -> Playout {
        if !self.packets.is_empty() {
            // Only packets without audio, behind a gap.
            self.next = Some(next + 1);
            self.drop_leading_skips();
        }
        let playout = self.conceal(None);
        if playout == Playout::Silence {
            // The far end paused or the network stopped: fill up again before playing on.
            self.next = None;
            self.filling_since = None;
            self.lowest_surplus = None;
            self.pops_in_window = 0;
        }
        playout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u32 = 160;

    fn at(tick: u64) -> Time {
        Time::from_micros(tick * 20_000)
    }

    fn packet(sequence: u16, timestamp: u32) -> AudioPacket {
        AudioPacket {
            sequence,
            timestamp,
            payload_type: 0,
            clock_rate_hz: 8000,
            duration: FRAME,
            payload: Bytes::copy_from_slice(&sequence.to_be_bytes()),
        }
    }

    /// Plays a script: at each tick the packets that come, then one pop. Gives what was played: `Some(sequence)`,
    /// or `None` for concealment; silence is left out before the first packet and shown as 65535 after it.
    fn play(buffer: &mut JitterBuffer, script: &[&[(u16, u32)]]) -> Vec<Option<u16>> {
        let mut heard = Vec::new();
        for (tick, arrivals) in script.iter().enumerate() {
            let now = at(tick as u64);
            for &(sequence, timestamp) in *arrivals {
                buffer.push(now, 1, packet(sequence, timestamp));
            }
            match buffer.pop(now) {
                Playout::Packet(packet) => heard.push(Some(packet.sequence)),
                Playout::Missing { .. } => heard.push(None),
                Playout::Silence if heard.is_empty() => {}
                Playout::Silence => heard.push(Some(u16::MAX)),
            }
        }
        heard
    }

    fn steady(sequence: u16) -> (u16, u32) {
        (sequence, u32::from(sequence) * FRAME)
    }

    #[test]
    fn it_holds_back_the_target_and_then_plays_in_order() {
        let arrivals: Vec<[(u16, u32); 1]> = (0..20).map(|n| [steady(n)]).collect();
        let script: Vec<&[(u16, u32)]> = arrivals.iter().map(|a| &a[..]).collect();
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        let heard = play(&mut buffer, &script);
        assert_eq!(heard, (0..18).map(Some).collect::<Vec<_>>(), "three frames are held, 40 ms after the first");
        assert_eq!(buffer.discarded(), 0);
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_duplicates_once() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        let heard = play(
            &mut buffer,
            &[
                &[steady(1)],
                &[steady(0), steady(3)],
                &[steady(2), steady(2)],
                &[steady(5)],
                &[steady(4)],
                &[steady(6)],
                &[],
                &[],
            ],
        );
        assert_eq!(heard, (0..7).map(Some).collect::<Vec<_>>());
        assert_eq!(buffer.discarded(), 1);
    }

    #[test]
    fn a_missing_packet_is_concealed_with_the_one_after_it_at_hand() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        for n in [0, 1, 3, 4] {
            buffer.push(at(0), 1, packet(n, u32::from(n) * FRAME));
        }
        let played: Vec<Playout> = (0..5).map(|n| buffer.pop(at(n))).collect();
        assert_eq!(played[2], Playout::Missing { next: Some(packet(3, 3 * FRAME)) });
        for (index, sequence) in [(0, 0), (1, 1), (3, 3), (4, 4)] {
            assert_eq!(played[index], Playout::Packet(packet(sequence, u32::from(sequence) * FRAME)));
        }
    }

    #[test]
    fn when_packets_stop_it_conceals_then_is_silent_then_fills_up_again() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(40));
        let mut script: Vec<Vec<(u16, u32)>> = (0..4).map(|n| vec![steady(n)]).collect();
        script.extend(vec![Vec::new(); 10]);
        // The stream goes on 10 frames later, as after a pause of a far end that suppresses silence.
        script.extend((4..10).map(|n| vec![(n, (u32::from(n) + 10) * FRAME)]));
        let script: Vec<&[(u16, u32)]> = script.iter().map(Vec::as_slice).collect();
        let heard = play(&mut buffer, &script);
        let concealed = heard.iter().filter(|h| h.is_none()).count();
        assert_eq!(concealed, 5, "{heard:?}");
        let played: Vec<u16> = heard.iter().flatten().copied().filter(|&s| s != u16::MAX).collect();
        assert_eq!(played, [0, 1, 2, 3, 4, 5, 6, 7, 8], "{heard:?}");
    }

    #[test]
    fn a_pause_of_the_far_end_stays_a_pause() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        for (sequence, frame) in [(0, 0), (1, 1), (2, 5), (3, 6)] {
            buffer.push(at(0), 1, packet(sequence, frame * FRAME));
        }
        let heard: Vec<Option<u16>> = (0..7)
            .map(|n| match buffer.pop(at(n)) {
                Playout::Packet(p) => Some(p.sequence),
                Playout::Silence => None,
                Playout::Missing { .. } => panic!("nothing is missing"),
            })
            .collect();
        assert_eq!(heard, [Some(0), Some(1), None, None, None, Some(2), Some(3)]);
    }

    #[test]
    fn telephone_events_between_audio_are_not_missed() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(40));
        buffer.push(at(0), 1, packet(0, 0));
        buffer.push(at(0), 1, packet(1, FRAME));
        for sequence in 2..6 {
            buffer.skip(at(1), 1, sequence);
        }
        buffer.push(at(1), 1, packet(6, 2 * FRAME));
        let heard: Vec<Playout> = (0..3).map(|n| buffer.pop(at(n))).collect();
        assert_eq!(heard[2], Playout::Packet(packet(6, 2 * FRAME)));
        buffer.skip(at(3), 2, 9);
        assert!(buffer.is_empty(), "a source without audio has nothing to skip");
    }

    #[test]
    fn a_new_source_or_a_jump_starts_it_over() {
        type Change = fn(u16) -> (u32, u16, u32);
        let changes: [(&str, Change); 4] = [
            ("ssrc", |n| (2, 9000 + n, 77 + u32::from(n) * FRAME)),
            ("sequence ahead", |n| (1, 30_000 + n, 77 + u32::from(n) * FRAME)),
            ("sequence back", |n| (1, 50_000 + n, 77 + u32::from(n) * FRAME)),
            ("time stamp", |n| (1, 10 + n, 0x8000_0000 + u32::from(n) * FRAME)),
        ];
        for (name, change) in changes {
            let mut buffer = JitterBuffer::new(Duration::from_millis(60));
            for n in 0..10_u16 {
                buffer.push(at(n.into()), 1, packet(n, u32::from(n) * FRAME));
                let _ = buffer.pop(at(n.into()));
            }
            let mut played = Vec::new();
            for n in 0..20_u16 {
                let (ssrc, sequence, timestamp) = change(n);
                let now = at(10 + u64::from(n));
                buffer.push(now, ssrc, packet(sequence, timestamp));
                if let Playout::Packet(packet) = buffer.pop(now) {
                    played.push(packet.sequence);
                }
            }
            let (_, first, _) = change(0);
            let after: Vec<u16> = played.into_iter().filter(|&s| s >= first).collect();
            assert!(after.len() >= 16, "{name}: {after:?}");
            assert!(after.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{name}: {after:?}");
        }
    }

    #[test]
    fn a_sender_that_steps_back_a_little_is_followed_after_a_few_packets() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(40));
        for n in 100..120_u16 {
            buffer.push(at(u64::from(n) - 100), 1, packet(n, u32::from(n) * FRAME));
            let _ = buffer.pop(at(u64::from(n) - 100));
        }
        let mut played = 0;
        for n in 0..20_u16 {
            let now = at(20 + u64::from(n));
            buffer.push(now, 1, packet(50 + n, u32::from(n) * FRAME));
            played += u32::from(matches!(buffer.pop(now), Playout::Packet(p) if p.sequence < 100));
        }
        assert!(played >= 12, "{played}");
    }

    #[test]
    fn a_burst_is_bounded_and_caught_up_with() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        for n in 0..500_u16 {
            buffer.push(at(0), 1, packet(n, u32::from(n) * FRAME));
        }
        assert_eq!(buffer.len(), CAPACITY_PACKETS);
        let mut last = 0;
        for n in 500..700_u16 {
            let now = at(u64::from(n) - 499);
            buffer.push(now, 1, packet(n, u32::from(n) * FRAME));
            if let Playout::Packet(packet) = buffer.pop(now) {
                last = packet.sequence;
            }
        }
        assert!(699 - last <= 9, "still {} frames behind", 699 - last);
    }

    #[test]
    fn a_far_end_with_a_fast_clock_does_not_add_delay() {
        let mut buffer = JitterBuffer::new(Duration::from_millis(60));
        let (mut sequence, mut last) = (0_u16, 0_u16);
        // 0.5 % fast over 40 s: 10 packets more than are played.
        for tick in 0..2000_u64 {
            for _ in 0..1 + u64::from(tick % 200 == 0) {
                buffer.push(at(tick), 1, packet(sequence, u32::from(sequence) * FRAME));
                sequence += 1;
            }
            if let Playout::Packet(packet) = buffer.pop(at(tick)) {
                last = packet.sequence;
            }
        }
        assert!(sequence - last <= 8, "{} frames behind", sequence - last);
    }

    #[test]
    fn no_input_makes_it_grow_or_panic() {
        let mut random = crate::random::SeededRandom::new(42);
        let mut buffer = JitterBuffer::default();
        use crate::random::Random;
        for tick in 0..50_000_u64 {
            let ssrc = u32::try_from(random.below(2)).unwrap();
            let clock = [0, 8000, 48_000][usize::try_from(random.below(3)).unwrap()];
            let packet = AudioPacket {
                sequence: u16::try_from(random.below(65_536)).unwrap(),
                timestamp: u32::try_from(random.below(1 << 32)).unwrap(),
                payload_type: 0,
                clock_rate_hz: clock,
                duration: u32::try_from(random.below(10_000)).unwrap(),
                payload: Bytes::new(),
            };
            match random.below(4) {
                0 => buffer.skip(at(tick), ssrc, packet.sequence),
                _ => buffer.push(at(tick), ssrc, packet),
            }
            let _ = buffer.pop(at(tick));
            assert!(buffer.len() <= CAPACITY_PACKETS);
        }
    }
}
