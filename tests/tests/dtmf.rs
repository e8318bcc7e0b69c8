//! Keys pressed, both ways: by RFC 4733 where it was negotiated, else by INFO.

use std::time::Duration;

use codex_core_sip::Error;
use codex_core_sip::client::AcceptCall;
use codex_core_sip::event::{CallState, Event};
use codex_e2e::peers::{Baresip, CallerScript, Kamailio, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::{Phone, PhoneError};
use codex_e2e::scenario::{Failure, Scenario};
use codex_e2e::sipp_log::Direction;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);

/// The next key that the far end pressed.
async fn key(phone: &mut Phone) -> Result<char, PhoneError> {
    let key = |event: &Event| match event {
        Event::Dtmf(key) => Some(key.tone),
        _ => None,
    };
    phone.event("a key", STEP, key).await
}

#[tokio::test]
async fn every_key_arrives_by_rfc_4733() -> Result<(), Failure> {
    Scenario::new("every_key_arrives_by_rfc_4733", LIMIT)
        .play(async |stage| {
            const KEYS: &str = "1234567890*#ABCD551";
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            phone.hears(440.0, STEP).await?;
            for key in KEYS.chars() {
                phone.client().send_dtmf(key).await?;
            }
            let arrived = tokio::time::timeout(STEP, async {
                while voicebot.digits().len() < KEYS.len() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let all = arrived.await.is_ok();
            assert!(all && voicebot.digits() == KEYS, "`{}` arrived of `{KEYS}`", voicebot.digits());
            // Not by INFO as well, or the far end would see them twice.
            assert!(!stage.edge_trace().iter().any(|m| m.first_line().starts_with("INFO")));
            let refused = phone.client().send_dtmf('x').await.unwrap_err();
            assert!(matches!(refused, Error::WrongState { operation: "send_dtmf", .. }), "{refused}");
            // The voice comes back after the keys.
            phone.client().hangup(None).await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            let heard = voicebot.heard()?;
            let (frequency_hz, _) = heard.strongest_tone(300.0, 3400.0).ok_or("nothing was heard beside the keys")?;
            assert!((frequency_hz - 1000.0).abs() <= 5.0, "{frequency_hz} Hz");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn keys_go_by_info_where_telephone_event_is_not_negotiated() -> Result<(), Failure> {
    Scenario::new("keys_go_by_info_where_telephone_event_is_not_negotiated", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::AnswersWithoutKeys).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            let outside = phone.client().send_dtmf('1').await.unwrap_err();
            assert!(matches!(outside, Error::WrongState { .. }), "{outside}");
            phone.call(STEP).await?;
            phone.hears(1000.0, STEP).await?;
            for key in ['5', '#', 'a'] {
                phone.client().send_dtmf(key).await?;
            }
            phone.client().hangup(None).await?;
            voicebot.succeeded(STEP).await?;
            let messages = voicebot.messages()?;
            let infos: Vec<_> = messages
                .iter()
                .filter(|m| m.direction == Direction::Received && m.method().as_deref() == Some("INFO"))
                .collect();
            let bodies: Vec<_> = infos.iter().map(|m| String::from_utf8_lossy(m.body()).into_owned()).collect();
            let expected = ['5', '#', 'A'].map(|key| format!("Signal={key}\r\nDuration=160\r\n"));
            assert_eq!(bodies, expected);
            for info in infos {
                assert_eq!(info.header("Content-Type"), Some(&b"application/dtmf-relay"[..]));
            }
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_far_end_s_keys_by_rfc_4733_become_events() -> Result<(), Failure> {
    Scenario::new("the_far_end_s_keys_by_rfc_4733_become_events", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            let (_, call) = phone.call(STEP).await?;
            phone.hears(440.0, STEP).await?;
            for expected in ['5', '5', '*', '0', '#', 'D'] {
                voicebot.send_digit(expected).await?;
                assert_eq!(key(&mut phone).await?, expected);
            }
            // The event names the call, and each key came once.
            let keys: Vec<_> = phone
                .events()
                .into_iter()
                .filter_map(|(_, event)| match event {
                    Event::Dtmf(key) => Some(key),
                    _ => None,
                })
                .collect();
            assert_eq!(keys.len(), 6);
            assert!(keys.iter().all(|key| key.call_id == call.call_id && key.tag == call.tag), "{keys:?}");
            assert!(keys.iter().all(|key| key.application_name.as_deref() == Some("voicebot")), "{keys:?}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_recorded_key_of_a_caller_becomes_one_event() -> Result<(), Failure> {
    Scenario::new("a_recorded_key_of_a_caller_becomes_one_event", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            let talking = Duration::from_secs(1);
            let mut caller = Sipp::caller(CallerScript::Talks { talking }, "user_12345").start(stage).await?;
            phone.reaches(CallState::Incoming, STEP).await?;
            phone.client().accept_incoming_call(AcceptCall::default()).await?;
            assert_eq!(key(&mut phone).await?, '1');
            phone.reaches(CallState::Ended, STEP).await?;
            caller.succeeded(STEP).await?;
            let keys = phone.events().iter().filter(|(_, event)| matches!(event, Event::Dtmf(_))).count();
            assert_eq!(keys, 1);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_far_end_s_keys_by_info_become_events() -> Result<(), Failure> {
    Scenario::new("the_far_end_s_keys_by_info_become_events", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::PressesKeysByInfo).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().start_call(codex_core_sip::client::StartCall::default()).await?;
            assert_eq!((key(&mut phone).await?, key(&mut phone).await?), ('7', '#'));
            phone.client().hangup(None).await?;
            // Its script wants 200 to each INFO.
            voicebot.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
