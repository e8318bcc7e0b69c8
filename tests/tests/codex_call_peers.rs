//! `codex-call`, as people run it, against Kamailio and rtpengine: a call with speech, and the doctor with one fault at a
//! time.

use std::path::Path;
use std::time::Duration;

use codex_e2e::audio::Audio;
use codex_e2e::codex_call::{Call, Run, built_program};
use codex_e2e::peers::{
    APPLICATION, Authority, CallerScript, Coturn, Identity, Kamailio, PASSWORD, REALM, Rtpengine, Sipp, VoicebotScript,
    ports,
};
use codex_e2e::scenario::{Failure, Fallible, Outcome, Scenario, Stage};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(20);

/// `codex-call` as a user of this edge, over WSS, trusting its authority.
fn codex_call(stage: &Stage, edge: &Kamailio) -> Fallible<Call> {
    let ca = stage.folder().join("ca.pem");
    std::fs::write(&ca, edge.ca_pem())?;
    let keys = [
        ("JAMBONZ_SIP_DOMAIN", REALM),
        ("JAMBONZ_WSS_ADDRESS", &edge.wss_url()),
        ("JAMBONZ_SIP_USERNAME", "user_12345"),
        ("JAMBONZ_SIP_PASSWORD", PASSWORD),
        ("TARGET_SIP_URI", &format!("sip:app-{APPLICATION}@{REALM}")),
    ];
    let keys = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Call::new(&built_program()?, &keys).arg("--ca").arg(ca).arg("--json"))
}

/// Speech, by espeak-ng where that is installed; else bursts of tones with pauses like those of words.
fn speech(path: &Path) -> Fallible<&'static str> {
    let text = "Good morning. This is a test call to the voice bot, and it wants to be heard.";
    let spoken = std::process::Command::new("espeak-ng").arg("-w").arg(path).arg(text).status();
    if spoken.is_ok_and(|status| status.success()) {
        return Ok("espeak-ng");
    }
    let rate = 16_000;
    let mut samples = Vec::new();
    for (tone_hz, milliseconds, pause) in
        [(300.0, 250, 120), (700.0, 400, 60), (450.0, 150, 300), (900.0, 600, 200), (350.0, 300, 90), (600.0, 500, 0)]
    {
        samples.extend(Audio::tone(rate, tone_hz, 0.4, f64::from(milliseconds) / 1000.0).samples);
        samples.extend(std::iter::repeat_n(0.0, usize::try_from(rate * pause / 1000)?));
    }
    Audio { sample_rate: rate, samples }.write_wav(path)?;
    Ok("tones")
}

/// The loudness of each 20 ms.
fn envelope(audio: &Audio) -> Vec<f64> {
    let frame = usize::try_from(audio.sample_rate / 50).unwrap_or(1);
    audio
        .samples
        .chunks_exact(frame)
        .map(|frame| (frame.iter().map(|sample| f64::from(sample * sample)).sum::<f64>() / frame.len() as f64).sqrt())
        .collect()
}

/// Pieces of speech that are compared, in frames of 20 ms: long enough to be told apart, short enough for a jitter buffer
/// that changes its delay between them on a busy machine.
const PIECE_FRAMES: usize = 75;
/// The longest delay that is looked at, in frames.
const LONGEST_DELAY_FRAMES: usize = 75;

/// How like two courses of loudness are, 1 being the same: the median over pieces, each at the delay where it is most alike.
fn likeness(said: &[f64], heard: &[f64]) -> f64 {
    let correlation = |piece: &[f64], start: usize| {
        let pairs: Vec<(f64, f64)> = piece.iter().copied().zip(heard.iter().copied().skip(start)).collect();
        let count = pairs.len().max(1) as f64;
        let (mean_a, mean_b) =
            (pairs.iter().map(|(a, _)| a).sum::<f64>() / count, pairs.iter().map(|(_, b)| b).sum::<f64>() / count);
        let covariance: f64 = pairs.iter().map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
        let variance_a: f64 = pairs.iter().map(|(a, _)| (a - mean_a).powi(2)).sum();
        let variance_b: f64 = pairs.iter().map(|(_, b)| (b - mean_b).powi(2)).sum();
        covariance / (variance_a * variance_b).sqrt().max(f64::MIN_POSITIVE)
    };
    let pieces = said.chunks_exact(PIECE_FRAMES).enumerate();
    let mut found: Vec<f64> = pieces
        .map(|(index, piece)| {
            let delays = 0..=LONGEST_DELAY_FRAMES;
            delays.map(|delay| correlation(piece, index * PIECE_FRAMES + delay)).fold(0.0, f64::max)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    found.get(found.len() / 2).copied().unwrap_or_default()
}

#[tokio::test]
async fn speech_goes_out_and_comes_back_as_it_was() -> Result<(), Failure> {
    Scenario::new("speech_goes_out_and_comes_back_as_it_was", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let ringing = Duration::from_millis(300);
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing }).start(stage).await?;
            let (said, heard) = (stage.folder().join("said.wav"), stage.folder().join("heard.wav"));
            let made_by = speech(&said)?;
            let length = Audio::read_wav(&said)?.seconds();
            let run = codex_call(stage, &edge)?
                .args(["--duration", &format!("{:.1}s", length + 4.0), "--expect-audio", "--dtmf", "5"])
                .args(["--customer-data", r#"{"clientName":"Иван Иванов","callType":"webcall"}"#, "--say"])
                .arg(&said)
                .arg("--record")
                .arg(&heard)
                .run()
                .await;
            assert_eq!(run.status, 0, "{run}");
            let invite = voicebot.received("INVITE", STEP).await?;
            let data = invite.header("X-Customer-Data").unwrap_or_default();
            assert_eq!(data, r#"{"clientName":"Иван Иванов","callType":"webcall"}"#.as_bytes());
            voicebot.succeeded(STEP).await?;
            assert!(edge.contacts("user_12345").await?.is_empty(), "it took its registration back");
            let metrics = run.event("metrics", |event| event["packetsReceived"].as_u64() > Some(100));
            assert!(metrics["mos"].is_number() && metrics["rttMs"].is_number(), "{metrics}");

            let (said, heard) = (envelope(&Audio::read_wav(&said)?), envelope(&Audio::read_wav(&heard)?));
            let backwards: Vec<f64> = said.iter().rev().copied().collect();
            let (like, unlike) = (likeness(&said, &heard), likeness(&backwards, &heard));
            let figures = format!("{like:.2} ({made_by}); of the same speech backwards {unlike:.2}");
            stage.figure("likeness of speech said and heard", &figures);
            assert!(like > 0.75 && like > unlike + 0.1, "likeness {figures}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_call_that_comes_in_is_taken_and_recorded() -> Result<(), Failure> {
    Scenario::new("a_call_that_comes_in_is_taken_and_recorded", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let heard = stage.folder().join("heard.wav");
            let answer = codex_call(stage, &edge)?.args(["answer", "--wait", "30s", "--tone", "600"]);
            let answer = answer.args(["--dtmf", "7", "--expect-audio"]);
            let mut answering = answer.arg("--record").arg(&heard).spawn();
            answering.event(|event| event["event"] == "registration" && event["state"] == "registered").await;
            let talking = Duration::from_secs(3);
            let caller = Sipp::caller(CallerScript::Talks { talking }, "user_12345");
            let data = r#"{"clientName":"Мария Петрова","callType":"callback"}"#;
            let mut caller = caller.customer_data(data).start(stage).await?;
            let call = answering.event(|event| event["event"] == "incomingCall").await;
            assert_eq!(call["customerData"]["clientName"], "Мария Петрова");
            let run = answering.end().await;
            assert_eq!(run.status, 0, "it ends when the caller hangs up: {run}");
            run.event("dtmf", |event| event["tone"] == "1");
            run.event("keyPressed", |event| event["tone"] == "7");
            caller.succeeded(STEP).await?;
            let recorded = Audio::read_wav(&heard)?;
            let loudest = envelope(&recorded).into_iter().fold(0.0, f64::max);
            assert!(loudest > 0.02, "the caller's speech is in the recording; its loudest 20 ms are {loudest:.3}");
            assert!(edge.contacts("user_12345").await?.is_empty(), "it took its registration back");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn calls_that_come_in_are_shown_and_not_taken() -> Result<(), Failure> {
    Scenario::new("calls_that_come_in_are_shown_and_not_taken", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let mut listening = codex_call(stage, &edge)?.args(["listen", "--lang", "ru"]).spawn();
            listening.event(|event| event["event"] == "registration" && event["state"] == "registered").await;
            let script = CallerScript::Cancels { ringing: Duration::from_millis(500) };
            let mut caller = Sipp::caller(script, "user_12345").start(stage).await?;
            listening.event(|event| event["event"] == "incomingCall").await;
            caller.succeeded(STEP).await?;
            listening.event(|event| event["event"] == "call" && event["state"] == "ended").await;
            listening.interrupt();
            let run = listening.end().await;
            assert_eq!(run.status, 0, "ended as it tells people to: {run}");
            assert!(edge.contacts("user_12345").await?.is_empty(), "it took its registration back");
            Ok(())
        })
        .await
}

/// Runs the doctor in both languages; wants one fault, at `check`, with this status and these words.
async fn finds(call: impl Fn() -> Fallible<Call>, check: &str, status: u8, words: [&[&str]; 2]) -> Outcome {
    for (lang, words) in ["en", "ru"].into_iter().zip(words) {
        let run = call()?.args(["doctor", "--lang", lang]).run().await;
        assert_eq!(run.status, status, "{check}: {run}");
        let faults = faults(&run);
        assert_eq!(faults.len(), 1, "{check}: {run}");
        assert_eq!(faults[0]["check"], check, "{run}");
        let told = format!("{} {}", faults[0]["message"], faults[0]["remedy"]);
        for word in words {
            assert!(told.contains(word), "`{word}` is not in {told}");
        }
    }
    Ok(())
}

fn faults(run: &Run) -> Vec<&Value> {
    run.events.iter().filter(|event| event["result"] == "fault").collect()
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_a_sound_deployment() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_nothing_wrong_with_a_sound_deployment", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let turn = Coturn::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let answers = VoicebotScript::Answers { ringing: Duration::ZERO };
            let _voicebot = Sipp::voicebot(answers).start(stage).await?;
            let run = codex_call(stage, &edge)?
                .env("STUN_URLS", &turn.stun_url())
                .env("TURN_URLS", &turn.turn_url())
                .env("TURN_USERNAME", Coturn::USER)
                .env("TURN_PASSWORD", Coturn::PASSWORD)
                .arg("doctor")
                .run()
                .await;
            assert_eq!(run.status, 0, "{run}");
            let checks = run.events.iter().filter(|event| event["event"] == "check");
            let passed: Vec<_> =
                checks.filter(|event| event["result"] == "ok").filter_map(|event| event["check"].as_str()).collect();
            let expected = [
                "settings",
                "name",
                "connection",
                "certificate",
                "websocket",
                "registration",
                "target",
                "stun",
                "turn",
                "call",
            ];
            assert_eq!(passed, expected, "{run}");
            let told = run.event("check", |event| event["check"] == "call");
            assert!(told["message"].as_str().is_some_and(|text| text.contains("both ways")), "{told}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_with_the_connection() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_what_is_wrong_with_the_connection", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            // Nobody listens on the port that rtpengine would have.
            let closed = format!("wss://localhost:{}/", ports::RTPENGINE_NG);
            let wrong_port: [&[&str]; 2] =
                [&["nothing answers", "check the port"], &["никто не отвечает", "проверьте порт"]];
            finds(|| Ok(codex_call(stage, &edge)?.env("JAMBONZ_WSS_ADDRESS", &closed)), "connection", 4, wrong_port)
                .await?;
            let not_tls = format!("wss://localhost:{}/", ports::EDGE_WS);
            let words: [&[&str]; 2] = [&["does not speak TLS", "the port"], &["не по TLS", "порт"]];
            finds(|| Ok(codex_call(stage, &edge)?.env("JAMBONZ_WSS_ADDRESS", &not_tls)), "certificate", 5, words).await
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_a_certificate_that_has_expired() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_a_certificate_that_has_expired", LIMIT)
        .play(async |stage| {
            let identity = Authority::new()?.expired_identity(&["localhost"])?;
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let words: [&[&str]; 2] = [&["has expired: on 2020-12-31", "renew"], &["истёк: 2020-12-31", "обновите"]];
            finds(|| codex_call(stage, &edge), "certificate", 5, words).await
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_a_certificate_that_signs_for_itself() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_a_certificate_that_signs_for_itself", LIMIT)
        .play(async |stage| {
            // What is trusted is another one.
            let mut identity = Identity::self_signed(&["localhost"])?;
            identity.ca_pem = Authority::new()?.ca_pem();
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let words: [&[&str]; 2] = [&["self-signed", "public authority"], &["самоподписанный", "публичного центра"]];
            finds(|| codex_call(stage, &edge), "certificate", 5, words).await
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_wrong_credentials_and_a_wrong_realm() -> Result<(), Failure> {
    for (name, edge) in [
        ("the_doctor_finds_wrong_credentials_401", Kamailio::builder()),
        ("the_doctor_finds_wrong_credentials_403", Kamailio::builder().forbids_wrong_password()),
    ] {
        Scenario::new(name, LIMIT)
            .play(async |stage| {
                let edge = edge.start(stage).await?;
                let password: [&[&str]; 2] = [
                    &["user name or password is wrong", "JAMBONZ_SIP_PASSWORD"],
                    &["неверное имя пользователя или пароль", "JAMBONZ_SIP_PASSWORD"],
                ];
                let wrong = || Ok(codex_call(stage, &edge)?.env("JAMBONZ_SIP_PASSWORD", "wrong-password"));
                finds(wrong, "registration", 7, password).await?;
                // This edge says 403 and not why.
                let realm: [&[&str]; 2] = [
                    &["forbids", "a wrong SIP realm looks the same"],
                    &["запрещает", "неверный SIP realm выглядит так же"],
                ];
                let wrong = || Ok(codex_call(stage, &edge)?.env("JAMBONZ_SIP_DOMAIN", "elsewhere.test"));
                finds(wrong, "registration", 7, realm).await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_doctor_finds_dead_stun_and_wrong_turn_credentials() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_dead_stun_and_wrong_turn_credentials", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let turn = Coturn::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let answers = VoicebotScript::Answers { ringing: Duration::ZERO };
            let _voicebot = Sipp::voicebot(answers).calls(4).start(stage).await?;
            let dead = "stun:127.0.0.1:9";
            let words: [&[&str]; 2] = [&["does not answer", "STUN_URLS"], &["не отвечает", "STUN_URLS"]];
            finds(|| Ok(codex_call(stage, &edge)?.env("STUN_URLS", dead)), "stun", 13, words).await?;
            let words: [&[&str]; 2] =
                [&["refuses user and password", "TURN_PASSWORD"], &["не принимает", "TURN_PASSWORD"]];
            let wrong = || {
                let call = codex_call(stage, &edge)?.env("TURN_URLS", &turn.turn_url());
                Ok(call.env("TURN_USERNAME", Coturn::USER).env("TURN_PASSWORD", "wrong-password"))
            };
            finds(wrong, "turn", 13, words).await
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_that_no_audio_comes_back() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_that_no_audio_comes_back", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let answers = VoicebotScript::Answers { ringing: Duration::ZERO };
            let _voicebot = Sipp::voicebot(answers).without_audio().calls(2).start(stage).await?;
            let words: [&[&str]; 2] =
                [&["no audio packet came", "rtpengine"], &["не пришло ни одного пакета", "rtpengine"]];
            finds(|| codex_call(stage, &edge), "call", 9, words).await
        })
        .await
}

#[tokio::test]
async fn the_doctor_finds_that_there_is_no_application() -> Result<(), Failure> {
    Scenario::new("the_doctor_finds_that_there_is_no_application", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let _voicebot = Sipp::voicebot(VoicebotScript::NoApplication).calls(2).start(stage).await?;
            let words: [&[&str]; 2] = [
                &["no application for this call", "SIP device calls"],
                &["нет приложения для этого звонка", "SIP-устройств"],
            ];
            finds(|| codex_call(stage, &edge), "call", 8, words).await
        })
        .await
}
