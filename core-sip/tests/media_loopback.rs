//! Two media sessions in one process, over real sockets on loopback: offer and answer, audio with every codec, keys,
//! mute, statistics, close. Real time passes, but every wait is for an event and has a limit.
#![cfg(feature = "webrtc")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "these tests run in real time, and say what they measured"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_core_sip::config::{IceServer, IceTransportPolicy};
use codex_core_sip::event::IceState;
use codex_core_sip::media::{
    AudioCodec, LevelMeter, LevelReading, MediaEngine, MediaNotice, MediaSession, MediaSettings, MediaStatistics,
    SILENCE_DBFS, SessionAudio, Tone, WebRtcEngine, WebRtcEngineBuilder, echo,
};
use codex_core_sip::{Error, MediaFault};
use tokio::sync::mpsc;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a reading that no event announces is looked at.
const GLANCE: Duration = Duration::from_millis(20);

fn engine() -> WebRtcEngineBuilder {
    WebRtcEngine::builder().bind_addresses([std::net::Ipv4Addr::LOCALHOST.into()])
}

/// One end of a call: its session, what it noticed, what it hears.
struct End {
    session: Box<dyn MediaSession>,
    notices: mpsc::UnboundedReceiver<MediaNotice>,
    heard: LevelReading,
}

async fn end_with(engine: WebRtcEngineBuilder, frequency_hz: f64, settings: MediaSettings) -> End {
    let (meter, heard) = LevelMeter::new(400);
    let meter = std::sync::Mutex::new(Some(meter));
    let engine = engine
        .audio(move || {
            let meter = meter.lock().unwrap().take().unwrap();
            Ok(SessionAudio::new(Tone::new(frequency_hz, 0.5), meter))
        })
        .build();
    let (sender, notices) = mpsc::unbounded_channel();
    let session = engine
        .create_session(
            settings,
            Arc::new(move |notice| {
                let _ = sender.send(notice);
            }),
        )
        .await
        .unwrap();
    End { session, notices, heard }
}

async fn end(engine: WebRtcEngineBuilder, frequency_hz: f64) -> End {
    end_with(engine, frequency_hz, MediaSettings::default()).await
}

impl End {
    /// Waits for a notice that `wanted` accepts and gives it.
    async fn notice(&mut self, what: &str, wanted: impl Fn(&MediaNotice) -> bool) -> MediaNotice {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let notice = self.notices.recv().await.expect("the session lives");
                if wanted(&notice) {
                    return notice;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
    }

    async fn keys(&mut self, count: usize) -> String {
        let mut keys = String::new();
        while keys.len() < count {
            if let MediaNotice::Dtmf(key) = self.notice("key", |n| matches!(n, MediaNotice::Dtmf(_))).await {
                keys.push(key);
            }
        }
        keys
    }

    /// Waits until what is heard satisfies `wanted`.
    async fn hears(&self, what: &str, wanted: impl Fn(&LevelReading) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.heard) {
            assert!(Instant::now() < deadline, "{what} not heard: {} dBFS", self.heard.rms_dbfs());
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn hears_tone(&self, frequency_hz: f64) {
        self.hears(&format!("{frequency_hz} Hz"), |heard| {
            heard.tone_share(frequency_hz) > 0.95 && (heard.rms_dbfs() + 9.03).abs() < 1.0
        })
        .await;
    }

    async fn statistics(&self, what: &str, wanted: impl Fn(&MediaStatistics) -> bool) -> MediaStatistics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statistics = self.session.statistics().await;
            if wanted(&statistics) {
                return statistics;
            }
            assert!(Instant::now() < deadline, "{what}: {statistics:?}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Offers, answers, waits for the path, and gives how long it took from the answer's arrival.
async fn connect(caller: &mut End, callee: &mut End) -> Duration {
    let offer = caller.session.create_offer().await.unwrap();
    let answer = callee.session.accept_offer(&offer).await.unwrap();
    let start = Instant::now();
    caller.session.accept_answer(&answer).await.unwrap();
    caller.notice("first packet", |n| *n == MediaNotice::FirstPacket).await;
    callee.notice("first packet", |n| *n == MediaNotice::FirstPacket).await;
    start.elapsed()
}

#[tokio::test]
async fn audio_flows_both_ways_with_every_codec() {
    for codec in AudioCodec::ALL {
        let mut caller = end(engine().codecs([codec]), 440.0).await;
        let mut callee = end(engine(), 1000.0).await;
        let took = connect(&mut caller, &mut callee).await;
        eprintln!("{codec}: first packets at both ends {took:?} after the answer");
        callee.hears_tone(440.0).await;
        caller.hears_tone(1000.0).await;
        for end in [&caller, &callee] {
            let statistics = end
                .statistics("round-trip time and jitter", |s| s.round_trip_time.is_some() && s.jitter.is_some())
                .await;
            assert_eq!(statistics.codec.as_deref(), Some(codec.name()));
            assert!(statistics.packets_received > 10 && statistics.packets_sent > 10, "{statistics:?}");
            assert_eq!(statistics.packets_lost, 0, "{statistics:?}");
            assert!(statistics.jitter.unwrap() < Duration::from_millis(100), "{statistics:?}");
        }
        caller.session.close().await;
        callee.session.close().await;
    }
}

/// Two ends in a call with PCMU, 440 Hz one way and 1000 Hz the other.
async fn call() -> (End, End) {
    let mut caller = end(engine().codecs([AudioCodec::Pcmu]), 440.0).await;
    let mut callee = end(engine(), 1000.0).await;
    connect(&mut caller, &mut callee).await;
    (caller, callee)
}

#[tokio::test]
async fn the_offerers_first_codec_is_used_and_a_lone_common_one_suffices() {
    let cases = [
        (vec![AudioCodec::Opus, AudioCodec::Pcmu], AudioCodec::ALL.to_vec(), "opus"),
        (vec![AudioCodec::Pcma, AudioCodec::Opus], AudioCodec::ALL.to_vec(), "PCMA"),
        (AudioCodec::ALL.to_vec(), vec![AudioCodec::Pcma], "PCMA"),
    ];
    for (offered, known, expected) in cases {
        let mut caller = end(engine().codecs(offered), 440.0).await;
        let mut callee = end(engine().codecs(known), 1000.0).await;
        connect(&mut caller, &mut callee).await;
        for end in [&caller, &callee] {
            assert_eq!(end.session.statistics().await.codec.as_deref(), Some(expected));
        }
        callee.hears_tone(440.0).await;
        caller.hears_tone(1000.0).await;
        caller.session.close().await;
        callee.session.close().await;
    }
}

#[tokio::test]
async fn keys_arrive_once_each_in_order_both_ways_while_audio_goes_on() {
    let (mut caller, mut callee) = call().await;
    let all = "1234567890*#ABCD";
    for key in all.chars() {
        assert!(caller.session.send_dtmf(key, Duration::from_millis(60)).await.unwrap());
    }
    for key in "4422".chars() {
        assert!(callee.session.send_dtmf(key, Duration::from_millis(100)).await.unwrap());
    }
    assert_eq!(callee.keys(all.len()).await, all);
    assert_eq!(caller.keys(4).await, "4422");
    callee.hears_tone(440.0).await;
    assert_eq!(callee.session.statistics().await.packets_lost, 0);
    let error = caller.session.send_dtmf('x', Duration::from_millis(60)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test]
async fn without_telephone_event_keys_are_left_to_info() {
    let caller = end(engine(), 440.0).await;
    let callee = end(engine(), 1000.0).await;
    assert!(caller.session.send_dtmf('1', Duration::from_millis(60)).await.is_err(), "nothing is negotiated yet");
    let offer = caller.session.create_offer().await.unwrap();
    let without: String =
        offer.lines().filter(|line| !line.contains(":101 ")).map(|line| format!("{line}\r\n")).collect();
    let answer = callee.session.accept_offer(&without.replace(" 101\r\n", "\r\n")).await.unwrap();
    assert!(!answer.contains("telephone-event"), "{answer}");
    caller.session.accept_answer(&answer).await.unwrap();
    for end in [&caller, &callee] {
        assert!(!end.session.send_dtmf('1', Duration::from_millis(60)).await.unwrap());
        end.session.close().await;
    }
}

#[tokio::test]
async fn mute_silences_what_is_sent_and_speaker_mute_what_is_heard() {
    let (caller, callee) = call().await;
    callee.hears_tone(440.0).await;
    caller.session.set_muted(true);
    callee.hears("silence", |heard| heard.rms_dbfs() <= SILENCE_DBFS).await;
    let before = callee.session.statistics().await.packets_received;
    callee.statistics("packets while muted", |s| s.packets_received > before + 5).await;
    caller.session.set_muted(false);
    callee.hears_tone(440.0).await;
    caller.hears_tone(1000.0).await;
    caller.session.set_speaker_muted(true);
    caller.hears("silence", |heard| heard.rms_dbfs() <= SILENCE_DBFS).await;
    caller.session.set_speaker_muted(false);
    caller.hears_tone(1000.0).await;
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test]
async fn an_offer_made_in_advance_needs_no_microphone_before_the_call() {
    let settings = MediaSettings { audio_later: true, ..MediaSettings::default() };
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counts = opened.clone();
    let (meter, heard) = LevelMeter::new(400);
    let meter = std::sync::Mutex::new(Some(meter));
    let prepared = engine().audio(move || {
        counts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let meter = meter.lock().unwrap().take().unwrap();
        Ok(SessionAudio::new(Tone::new(1000.0, 0.5), meter))
    });
    let (sender, notices) = mpsc::unbounded_channel();
    let notify = Arc::new(move |notice| {
        let _ = sender.send(notice);
    });
    let session = prepared.build().create_session(settings, notify).await.unwrap();
    let mut caller = End { session, notices, heard };
    let mut callee = end(engine(), 600.0).await;
    caller.session.create_offer().await.unwrap();
    assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 0);
    connect(&mut caller, &mut callee).await;
    caller.session.open_audio().await.unwrap();
    caller.session.open_audio().await.unwrap();
    assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1);
    callee.hears_tone(1000.0).await;
    caller.hears_tone(600.0).await;
    // It is told whether the microphone gives anything, but not while that is not sent.
    caller.statistics("a source that sounds", |s| s.source_heard == Some(true)).await;
    caller.session.set_muted(true);
    caller.statistics("a source that is muted", |s| s.source_heard.is_none()).await;
}

#[tokio::test]
async fn an_echo_comes_back() {
    for codec in [AudioCodec::Opus, AudioCodec::Pcmu] {
        let mut caller = end(engine().codecs([codec]), 440.0).await;
        let echo_engine = engine().audio(|| {
            let (source, sink) = echo();
            Ok(SessionAudio::new(source, sink))
        });
        let callee = echo_engine.build().create_session(MediaSettings::default(), Arc::new(|_| {})).await.unwrap();
        let offer = caller.session.create_offer().await.unwrap();
        let answer = callee.accept_offer(&offer).await.unwrap();
        caller.session.accept_answer(&answer).await.unwrap();
        caller.notice("first packet", |n| *n == MediaNotice::FirstPacket).await;
        caller.hears_tone(440.0).await;
        caller.session.close().await;
        callee.close().await;
    }
}

#[tokio::test]
async fn ice_is_told_from_checking_to_closed() {
    let (mut caller, callee) = call().await;
    caller.hears_tone(1000.0).await;
    caller.session.close().await;
    caller.session.close().await;
    let mut after = Vec::new();
    while let Ok(notice) = caller.notices.try_recv() {
        after.push(notice);
    }
    assert_eq!(after.last(), Some(&MediaNotice::Ice(IceState::Closed)), "{after:?}");
    assert_eq!(after.iter().filter(|n| **n == MediaNotice::Ice(IceState::Closed)).count(), 1);
    let statistics = caller.session.statistics().await;
    assert!(statistics.packets_received > 0, "sums stay readable: {statistics:?}");
    assert!(matches!(caller.session.create_offer().await, Err(Error::WrongState { .. })));
    callee.session.close().await;
}

#[tokio::test]
async fn the_same_answer_twice_is_fine_and_another_one_is_not() {
    let caller = end(engine(), 440.0).await;
    let callee = end(engine(), 1000.0).await;
    let offer = caller.session.create_offer().await.unwrap();
    assert_eq!(
        caller.session.create_offer().await.unwrap(),
        offer,
        "a challenged INVITE is sent again with the same offer"
    );
    let answer = callee.session.accept_offer(&offer).await.unwrap();
    assert_eq!(callee.session.accept_offer(&offer).await.unwrap(), answer);
    caller.session.accept_answer(&answer).await.unwrap();
    caller.session.accept_answer(&answer).await.unwrap();
    let other = answer.replace("s=-", "s=other");
    assert!(matches!(
        caller.session.accept_answer(&other).await,
        Err(Error::Media { fault: MediaFault::BadDescription(_) })
    ));
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test]
async fn no_common_codec_is_told_at_both_ends() {
    let caller = end(engine().codecs([AudioCodec::Pcmu]), 440.0).await;
    let callee = end(engine().codecs([AudioCodec::Pcma]), 1000.0).await;
    let offer = caller.session.create_offer().await.unwrap();
    let refused = callee.session.accept_offer(&offer).await.unwrap_err();
    assert_eq!(refused, Error::Media { fault: MediaFault::NoCommonCodec });
    let port_start = offer.find("m=audio ").unwrap() + "m=audio ".len();
    let port_end = port_start + offer[port_start..].find(' ').unwrap();
    let answer = format!("{}0{}", &offer[..port_start], &offer[port_end..]);
    let refused = caller.session.accept_answer(&answer).await.unwrap_err();
    assert_eq!(refused, Error::Media { fault: MediaFault::NoCommonCodec });
}

#[tokio::test]
async fn what_is_no_description_is_refused() {
    for text in ["", "hello", "v=0\r\nm=audio 9 RTP/AVP 0\r\n"] {
        let callee = end(engine(), 440.0).await;
        let error = callee.session.accept_offer(text).await.unwrap_err();
        assert!(matches!(error, Error::Media { fault: MediaFault::BadDescription(_) }), "{text:?}: {error}");
        callee.session.create_offer().await.unwrap();
        let error = callee.session.accept_answer(text).await.unwrap_err();
        assert!(matches!(error, Error::Media { fault: MediaFault::BadDescription(_) }), "{text:?}: {error}");
    }
}

#[tokio::test]
async fn relay_only_without_a_relay_says_what_is_missing() {
    let settings = MediaSettings {
        ice_servers: vec![IceServer {
            // The discard port: nobody answers.
            urls: vec!["turn:127.0.0.1:9?transport=udp".to_owned()],
            username: Some("u".to_owned()),
            credential: Some("p".to_owned().into()),
        }],
        ice_transport_policy: IceTransportPolicy::Relay,
        audio_later: false,
    };
    let engine = engine().gathering_deadline(Duration::from_millis(300));
    let caller = end_with(engine, 440.0, settings).await;
    let error = caller.session.create_offer().await.unwrap_err();
    assert!(matches!(&error, Error::Media { fault: MediaFault::Engine(text) } if text.contains("TURN")), "{error}");
}

/// Tasks alive in this runtime, and open files of this process.
fn held() -> (usize, usize) {
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (tasks, files)
}

#[tokio::test]
async fn fifty_sessions_leave_nothing_behind_closed_or_dropped() {
    for close in [true, false] {
        let (tasks_before, _) = held();
        for round in 0..25 {
            let caller = end(engine(), 440.0).await;
            let callee = end(engine(), 1000.0).await;
            if round % 5 == 0 {
                let (mut caller, mut callee) = (caller, callee);
                connect(&mut caller, &mut callee).await;
                if close {
                    caller.session.close().await;
                    callee.session.close().await;
                }
            } else if close {
                caller.session.create_offer().await.unwrap();
                caller.session.close().await;
                callee.session.close().await;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while held().0 > tasks_before {
            assert!(Instant::now() < deadline, "close {close}: {} tasks, {tasks_before} before", held().0);
            tokio::time::sleep(GLANCE).await;
        }
    }
}
