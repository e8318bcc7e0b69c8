//! Audio with real peers: what the far end recorded, what we hear, and how the call is said to be doing.

use std::time::Duration;

use codex_core_sip::client::{AcceptCall, StartCall};
use codex_core_sip::config::{IceServer, IceTransportPolicy};
use codex_core_sip::event::{CallState, Event, IceState, MetricsEvent};
use codex_core_sip::media::AudioCodec;
use codex_e2e::peers::{Baresip, CallerScript, Coturn, Kamailio, REALM, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Outcome, Scenario, Stage};
use codex_e2e::sip_trace::TracedMessage;
use secrecy::SecretString;

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(15);
/// Metrics come every 5 s.
const METRICS: Duration = Duration::from_secs(8);
/// What we send.
const OURS_HZ: f64 = 1000.0;
/// What the far end sends.
const THEIRS_HZ: f64 = 620.0;

/// Fewer packets than this are those of a call's first seconds, whose metrics come sooner.
const SETTLED_PACKETS: u64 = 150;

/// The next `metrics` event with statistics of an interval in which packets came, once the call has settled.
async fn metrics(phone: &mut Phone) -> Fallible<MetricsEvent> {
    let complete = |event: &Event| match event {
        Event::Metrics(metrics)
            if metrics.mos.is_some()
                && metrics.jitter_ms.is_some()
                && metrics.packets_received > Some(SETTLED_PACKETS) =>
        {
            Some(metrics.clone())
        }
        _ => None,
    };
    Ok(phone.event("metrics", METRICS, complete).await?)
}

/// A call on loopback: everything arrives, at once.
fn is_of_a_good_call(metrics: &MetricsEvent) -> Outcome {
    let rtt_ms = metrics.rtt_ms.ok_or("no round-trip time")?;
    assert!((0.0..200.0).contains(&rtt_ms), "round-trip time {rtt_ms} ms");
    let jitter_ms = metrics.jitter_ms.ok_or("no jitter")?;
    assert!((0.0..100.0).contains(&jitter_ms), "jitter {jitter_ms} ms");
    let loss = metrics.loss_percent.ok_or("no loss")?;
    assert!((0.0..5.0).contains(&loss), "loss {loss} %");
    let mos = metrics.mos.ok_or("no MOS")?;
    assert!((3.5..=4.5).contains(&mos), "MOS {mos}");
    assert!(matches!(metrics.ice_state, Some(IceState::Connected | IceState::Completed)), "{:?}", metrics.ice_state);
    Ok(())
}

/// A tone of ours in what somebody else recorded, apart from its beginning and its end.
fn is_recorded(recording: &codex_e2e::audio::Audio, frequency_hz: f64) -> Outcome {
    let middle = recording.between(1.0, recording.seconds() - 0.5);
    let (found_hz, amplitude) =
        middle.strongest_tone(300.0, 3400.0).ok_or("the far end recorded nothing but silence")?;
    assert!((found_hz - frequency_hz).abs() <= 5.0, "{found_hz} Hz, amplitude {amplitude}");
    // It was sent with half of full scale; a gap now and then costs some of it.
    assert!((0.35..0.6).contains(&amplitude), "amplitude {amplitude}");
    Ok(())
}

#[tokio::test]
async fn pcmu_both_ways_with_baresip() -> Result<(), Failure> {
    Scenario::new("pcmu_both_ways_with_baresip", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(THEIRS_HZ).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).tone_hz(OURS_HZ).build()?;
            phone.client().register().await?;
            let (placed_at, call) = phone.call(STEP).await?;
            let heard_at = phone.hears_louder_than(-40.0, STEP).await?;
            stage.figure("from start_call to first audio", &format!("{} ms", (heard_at - placed_at).as_millis()));
            phone.hears(THEIRS_HZ, STEP).await?;
            let first = metrics(&mut phone).await?;
            let second = metrics(&mut phone).await?;
            for metrics in [&first, &second] {
                is_of_a_good_call(metrics)?;
                assert_eq!((&metrics.call_id, &metrics.tag), (&call.call_id, &call.tag));
                assert_eq!(metrics.application_name.as_deref(), Some("voicebot"));
                assert_eq!(metrics.language.as_deref(), Some("en"));
            }
            stage.figure(
                "after 10 s",
                &format!(
                    "round trip {:?} ms, jitter {:?} ms, loss {:?} %, MOS {:?}",
                    second.rtt_ms, second.jitter_ms, second.loss_percent, second.mos
                ),
            );
            // 50 packets a second each way, 160 bytes each.
            let seconds = (second.ts - first.ts) as f64 / 1000.0;
            for (before, after) in
                [(first.packets_sent, second.packets_sent), (first.packets_received, second.packets_received)]
            {
                let rate = (after.unwrap_or(0) - before.unwrap_or(0)) as f64 / seconds;
                assert!((45.0..55.0).contains(&rate), "{rate} packets/s");
            }
            assert_eq!(second.bytes_sent, second.packets_sent.map(|packets| packets * 160));
            phone.client().hangup(None).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            is_recorded(&voicebot.heard()?, OURS_HZ)
        })
        .await
}

#[tokio::test]
async fn pcma_both_ways_where_nothing_else_is_taken() -> Result<(), Failure> {
    Scenario::new("pcma_both_ways_where_nothing_else_is_taken", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().codecs("PCMA/8000/1").tone_hz(THEIRS_HZ).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).tone_hz(OURS_HZ).build()?;
            phone.call(STEP).await?;
            phone.hears(THEIRS_HZ, STEP).await?;
            metrics(&mut phone).await?;
            phone.client().hangup(None).await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            is_recorded(&voicebot.heard()?, OURS_HZ)
        })
        .await
}

#[tokio::test]
async fn an_echo_lets_us_hear_ourselves_and_mute_is_silence_at_the_far_end() -> Result<(), Failure> {
    Scenario::new("an_echo_lets_us_hear_ourselves_and_mute_is_silence_at_the_far_end", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).tone_hz(OURS_HZ).build()?;
            phone.call(STEP).await?;
            phone.hears(OURS_HZ, STEP).await?;
            // The far end plays what it hears: silence comes back when it hears silence.
            phone.client().mute().await?;
            phone.hears_silence(STEP).await?;
            phone.client().unmute().await?;
            phone.hears(OURS_HZ, STEP).await?;
            phone.client().set_speaker_muted(true).await?;
            phone.hears_silence(STEP).await?;
            phone.client().set_speaker_muted(false).await?;
            phone.hears(OURS_HZ, STEP).await?;
            phone.client().hangup(None).await?;
            voicebot.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn what_is_muted_is_silent_in_the_far_end_s_recording() -> Result<(), Failure> {
    Scenario::new("what_is_muted_is_silent_in_the_far_end_s_recording", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(THEIRS_HZ).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).tone_hz(OURS_HZ).build()?;
            // Before the call, so that not a single packet holds anything.
            phone.client().mute().await?;
            phone.call(STEP).await?;
            phone.hears(THEIRS_HZ, STEP).await?;
            let metrics = metrics(&mut phone).await?;
            assert!(metrics.packets_sent > Some(100), "silence is sent, not nothing: {metrics:?}");
            phone.client().hangup(None).await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            let heard = voicebot.heard()?;
            assert!(heard.seconds() > 3.0 && heard.level() < 0.001, "{} s, level {}", heard.seconds(), heard.level());
            Ok(())
        })
        .await
}

/// The body of the first message that begins like this.
fn body(trace: &[TracedMessage], from: &str, to: &str, start: &str, method: &str) -> Option<String> {
    let message = trace.iter().find(|m| {
        let is_of = m.header("CSeq").is_some_and(|cseq| cseq.ends_with(method));
        m.from == from && m.to == to && m.first_line().starts_with(start) && is_of
    })?;
    let text = String::from_utf8_lossy(&message.bytes).into_owned();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[tokio::test]
async fn opus_both_ways_with_a_second_client_behind_rtpengine() -> Result<(), Failure> {
    Scenario::new("opus_both_ways_with_a_second_client_behind_rtpengine", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut callee = Phone::builder(stage, &edge).name("callee").user("user_b").tone_hz(THEIRS_HZ);
            callee = callee.codecs(&[AudioCodec::Opus]);
            let mut callee = callee.build()?;
            callee.client().register().await?;
            let mut caller = Phone::builder(stage, &edge).name("caller A").user("user_a").tone_hz(OURS_HZ);
            caller = caller.codecs(&[AudioCodec::Opus]);
            let mut caller = caller.build()?;
            caller.client().register().await?;
            let call = StartCall { target_uri: Some(format!("sip:user_b@{REALM}")), ..StartCall::default() };
            caller.client().start_call(call).await?;
            callee.reaches(CallState::Incoming, STEP).await?;
            caller.reaches(CallState::Ringing, STEP).await?;
            callee.client().accept_incoming_call(AcceptCall::default()).await?;
            caller.reaches(CallState::Connected, STEP).await?;
            callee.reaches(CallState::Connected, STEP).await?;
            caller.hears(THEIRS_HZ, STEP).await?;
            callee.hears(OURS_HZ, STEP).await?;
            for phone in [&caller, &callee] {
                let (_, rate) = phone.heard().ok_or("no media")?.samples();
                assert_eq!(rate, 48_000, "Opus is decoded at 48 kHz");
            }
            let trace = stage.trace();
            for (from, to, start) in [("caller A", "edge", "INVITE"), ("edge", "caller A", "SIP/2.0 200")] {
                let sdp = body(&trace, from, to, start, "INVITE").ok_or(format!("no {start} with SDP"))?;
                assert!(sdp.contains("opus/48000/2") && !sdp.contains("PCM"), "{sdp}");
                // RFC 8829: through rtpengine both sides speak DTLS-SRTP.
                assert!(sdp.contains("UDP/TLS/RTP/SAVPF"), "{sdp}");
            }
            is_of_a_good_call(&metrics(&mut caller).await?)?;
            is_of_a_good_call(&metrics(&mut callee).await?)?;
            caller.client().hangup(None).await?;
            callee.reaches(CallState::Ended, STEP).await?;
            Ok(())
        })
        .await
}

/// Bytes that coturn says it relayed, each way, over all its sessions.
fn relayed(log: &str) -> (u64, u64) {
    let sum = |key: &str| {
        log.lines()
            .filter(|line| line.contains("usage:") && !line.contains("peer usage:"))
            .filter_map(|line| line.split(key).nth(1)?.split([',', ' ']).next()?.parse::<u64>().ok())
            .sum()
    };
    (sum(" rb="), sum(" sb="))
}

#[tokio::test]
async fn a_call_through_turn_only() -> Result<(), Failure> {
    Scenario::new("a_call_through_turn_only", LIMIT)
        .play(async |stage| {
            let mut relay = Coturn::start(stage).await?;
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(THEIRS_HZ).start(stage).await?;
            let server = IceServer {
                urls: vec![relay.turn_url()],
                username: Some(Coturn::USER.to_owned()),
                credential: Some(SecretString::from(Coturn::PASSWORD)),
            };
            let mut phone = Phone::builder(stage, &edge)
                .tone_hz(OURS_HZ)
                .configure(|config| {
                    config.ice_servers = vec![server];
                    config.ice_transport_policy = IceTransportPolicy::Relay;
                })
                .build()?;
            phone.client().register().await?;
            let (placed_at, _) = phone.call(STEP).await?;
            let heard_at = phone.hears_louder_than(-40.0, STEP).await?;
            stage.figure("from start_call to first audio", &format!("{} ms", (heard_at - placed_at).as_millis()));
            phone.hears(THEIRS_HZ, STEP).await?;
            is_of_a_good_call(&metrics(&mut phone).await?)?;
            let offer = body(&stage.trace(), "client", "edge", "INVITE", "INVITE").ok_or("no offer")?;
            let candidates: Vec<&str> = offer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
            assert!(!candidates.is_empty(), "{offer}");
            assert!(candidates.iter().all(|line| line.contains(" typ relay ")), "{candidates:#?}");
            phone.client().hangup(None).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            is_recorded(&voicebot.heard()?, OURS_HZ)?;
            phone.client().destroy().await?;
            // The relay tells what went through it when the allocation ends; seconds of audio each way are 16,000 bytes.
            let has_relayed = |log: &str| {
                let (received, sent) = relayed(log);
                received > 16_000 && sent > 16_000
            };
            relay.tells("the audio that it relayed", STEP, has_relayed).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn calls_over_wss_go_out_and_come_in() -> Result<(), Failure> {
    Scenario::new("calls_over_wss_go_out_and_come_in", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge)
                .tone_hz(OURS_HZ)
                .configure(|config| {
                    config.wss_server = edge.wss_url();
                    config.extra_ca_certificates_pem = vec![edge.ca_pem().to_owned()];
                })
                .build()?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
            phone.call(STEP).await?;
            phone.hears(OURS_HZ, STEP).await?;
            phone.client().hangup(None).await?;
            voicebot.succeeded(STEP).await?;
            phone.reaches(CallState::Idle, STEP).await?;
            let mut caller = Sipp::caller(CallerScript::WaitsForBye, "user_12345").start(stage).await?;
            accepts(&mut phone).await?;
            phone.hears_louder_than(-35.0, STEP).await?;
            phone.client().hangup(None).await?;
            caller.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// Answers the call that comes in.
async fn accepts(phone: &mut Phone) -> Outcome {
    phone.reaches(CallState::Incoming, STEP).await?;
    phone.client().accept_incoming_call(AcceptCall::default()).await?;
    phone.reaches(CallState::Connected, STEP).await?;
    Ok(())
}

#[tokio::test]
async fn another_source_in_the_far_end_s_stream_is_heard_too() -> Result<(), Failure> {
    Scenario::new("another_source_in_the_far_end_s_stream_is_heard_too", LIMIT)
        .play(async |stage: &Stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            let talking = Duration::from_secs(3);
            let caller = Sipp::caller(CallerScript::ChangesSource { talking }, "user_12345");
            let mut caller = caller.start(stage).await?;
            accepts(&mut phone).await?;
            // rtpengine hands each source's SSRC on as it is (seen in a capture), so the change arrives here.
            phone.hears(CallerScript::FIRST_HZ, STEP).await?;
            phone.hears(CallerScript::SECOND_HZ, STEP).await?;
            // The change is no loss and no silence.
            let metrics = metrics(&mut phone).await?;
            assert!(metrics.loss_percent < Some(5.0), "{metrics:?}");
            phone.client().hangup(None).await?;
            caller.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
