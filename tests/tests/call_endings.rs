//! Every way in which a call ends, seen from both ends.

use std::time::Duration;

use codex_core_sip::client::StartCall;
use codex_core_sip::event::{CallEvent, CallState, Event};
use codex_core_sip::{CallRefusal, Error, Locale};
use codex_e2e::peers::{Kamailio, REALM, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};
use codex_e2e::sip_trace::TracedMessage;
use codex_e2e::sipp_log::Direction;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);

/// What the voicebot received, in order.
fn received(voicebot: &Sipp) -> Fallible<Vec<String>> {
    let messages = voicebot.messages()?;
    Ok(messages.iter().filter(|m| m.direction == Direction::Received).filter_map(|m| m.method()).collect())
}

/// The states that the call went through.
fn states(phone: &Phone) -> Vec<CallState> {
    let state = |(_, event)| match event {
        Event::Call(CallEvent { state, .. }) => Some(state),
        _ => None,
    };
    phone.events().into_iter().filter_map(state).collect()
}

/// The edge answers, and the client can call again: nothing of the call before is left.
async fn is_idle(phone: &mut Phone) -> Fallible<()> {
    phone.reaches(CallState::Idle, STEP).await?;
    assert_eq!(phone.client().state(), CallState::Idle);
    assert!(phone.client().check_connection().await?);
    let Err(error) = phone.client().hangup(None).await else { return Err("there is a call still".into()) };
    assert!(matches!(error, Error::WrongState { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn we_hang_up_and_say_why() -> Result<(), Failure> {
    Scenario::new("we_hang_up_and_say_why", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let ringing = Duration::from_millis(200);
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing }).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            phone.client().hangup(Some("разговор окончен")).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!(ended.error, None);
            voicebot.succeeded(STEP).await?;
            assert_eq!(received(&voicebot)?, ["INVITE", "ACK", "BYE"]);
            let bye = voicebot.received("BYE", STEP).await?;
            let reason = String::from_utf8_lossy(bye.header("Reason").unwrap_or_default()).into_owned();
            assert!(reason.contains("text=\"разговор окончен\""), "{reason}");
            is_idle(&mut phone).await?;
            let expected = [
                CallState::Registering,
                CallState::Connecting,
                CallState::Ringing,
                CallState::Connected,
                CallState::Ended,
                CallState::Idle,
            ];
            assert_eq!(states(&phone), expected);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_far_end_hangs_up_and_says_why() -> Result<(), Failure> {
    Scenario::new("the_far_end_hangs_up_and_says_why", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let talking = Duration::from_millis(500);
            let mut voicebot = Sipp::voicebot(VoicebotScript::HangsUp { talking }).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            // `Reason: Q.850;cause=16;text="Normal call clearing"`
            assert_eq!(ended.cause_code, Some(16));
            assert_eq!(ended.reason.as_deref(), Some("Normal call clearing"));
            assert_eq!(ended.error, None);
            voicebot.succeeded(STEP).await?;
            is_idle(&mut phone).await
        })
        .await
}

/// A call that is refused: how, and what is said of it.
async fn refused(
    name: &'static str,
    script: VoicebotScript,
    expected: (CallRefusal, u16),
    more: impl AsyncFnOnce(&Error) -> Fallible<()>,
) -> Result<(), Failure> {
    Scenario::new(name, LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(script).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().start_call(StartCall::default()).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            let error = ended.error.ok_or("no error tells why")?;
            let Error::CallRefused { refusal, status, .. } = &error else {
                return Err(format!("another error: {error}").into());
            };
            assert_eq!((*refusal, *status), expected, "{error}");
            assert_eq!(ended.cause_code, Some(expected.1));
            // Its script wants the ACK.
            voicebot.succeeded(STEP).await?;
            assert_eq!(received(&voicebot)?, ["INVITE", "ACK"]);
            more(&error).await?;
            is_idle(&mut phone).await
        })
        .await
}

#[tokio::test]
async fn busy() -> Result<(), Failure> {
    refused("busy", VoicebotScript::Busy, (CallRefusal::Busy, 486), async |_| Ok(())).await
}

#[tokio::test]
async fn declined() -> Result<(), Failure> {
    refused("declined", VoicebotScript::Declines, (CallRefusal::Declined, 603), async |_| Ok(())).await
}

#[tokio::test]
async fn no_application() -> Result<(), Failure> {
    refused("no_application", VoicebotScript::NoApplication, (CallRefusal::NoApplication, 480), async |error| {
        assert_eq!(error.code(), "call_no_application");
        assert!(error.to_string().contains("480 no configured application"), "{error}");
        assert!(error.to_string().contains("application for SIP device calls"), "{error}");
        for (locale, word) in [(Locale::En, "call"), (Locale::Ru, "звон")] {
            let text = error.for_person(locale);
            assert!(text.to_lowercase().contains(word), "{text}");
            assert!(!text.contains("480") && !text.contains("SIP"), "for a person: {text}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nobody_of_that_name() -> Result<(), Failure> {
    Scenario::new("nobody_of_that_name", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            let call = StartCall { target_uri: Some(format!("sip:nobody@{REALM}")), ..StartCall::default() };
            phone.client().start_call(call).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            let Some(Error::CallRefused { refusal, status, .. }) = &ended.error else {
                return Err(format!("another end: {ended:?}").into());
            };
            assert_eq!((*refusal, *status), (CallRefusal::NotFound, 404));
            assert_eq!(ended.application_name, None, "the configured name belongs to the configured target");
            is_idle(&mut phone).await
        })
        .await
}

#[tokio::test]
async fn no_answer_is_cancelled() -> Result<(), Failure> {
    Scenario::new("no_answer_is_cancelled", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Rings).start(stage).await?;
            let patience = Duration::from_secs(2);
            let mut phone =
                Phone::builder(stage, &edge).configure(|config| config.no_answer_timeout = patience).build()?;
            phone.client().start_call(StartCall::default()).await?;
            phone.reaches(CallState::Ringing, STEP).await?;
            let over = phone
                .event("the end of the call", STEP, |event| match event {
                    Event::Call(call) if matches!(call.state, CallState::Ended | CallState::Error) => {
                        Some(call.clone())
                    }
                    _ => None,
                })
                .await?;
            let nobody =
                |error: &Error| matches!(error, Error::CallRefused { refusal: CallRefusal::NoAnswer, status: 487, .. });
            assert!(over.state == CallState::Ended && over.error.as_ref().is_some_and(nobody), "{over:?}");
            assert_eq!(over.cause_code, Some(487));
            voicebot.succeeded(STEP).await?;
            assert_eq!(received(&voicebot)?, ["INVITE", "CANCEL", "ACK"]);
            let at =
                |method: &str| voicebot.messages().ok()?.into_iter().find(|m| m.method().as_deref() == Some(method));
            let (invite, cancel) = (at("INVITE").ok_or("no INVITE")?, at("CANCEL").ok_or("no CANCEL")?);
            let waited = cancel.at - invite.at;
            assert!(
                waited >= patience - Duration::from_millis(200) && waited < 2 * patience,
                "cancelled after {waited:?}"
            );
            is_idle(&mut phone).await
        })
        .await
}

#[tokio::test]
async fn cancelled_while_it_rings() -> Result<(), Failure> {
    Scenario::new("cancelled_while_it_rings", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Rings).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().start_call(StartCall::default()).await?;
            phone.reaches(CallState::Ringing, STEP).await?;
            phone.client().hangup(None).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!(ended.error, None, "what was wanted is no error");
            voicebot.succeeded(STEP).await?;
            assert_eq!(received(&voicebot)?, ["INVITE", "CANCEL", "ACK"]);
            is_idle(&mut phone).await
        })
        .await
}

/// A call that is cancelled and answered all the same ends with ACK and BYE, and was never up for the program.
async fn is_answered_all_the_same(stage: &Stage, edge: &Kamailio, script: VoicebotScript) -> Fallible<Vec<String>> {
    let mut voicebot = Sipp::voicebot(script).start(stage).await?;
    let mut phone = Phone::builder(stage, edge).build()?;
    phone.client().start_call(StartCall::default()).await?;
    phone.reaches(CallState::Ringing, STEP).await?;
    phone.client().hangup(None).await?;
    phone.reaches(CallState::Ended, STEP).await?;
    voicebot.succeeded(STEP).await?;
    is_idle(&mut phone).await?;
    assert!(!states(&phone).contains(&CallState::Connected), "{:?}", states(&phone));
    received(&voicebot)
}

#[tokio::test]
async fn a_cancel_crosses_the_answer() -> Result<(), Failure> {
    Scenario::new("a_cancel_crosses_the_answer", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            // The edge sits on the CANCEL until the callee has answered.
            let edge = Kamailio::builder().with_rtpengine().cancel_delay(Duration::from_millis(400));
            let edge = edge.start(stage).await?;
            let ringing = Duration::from_millis(200);
            let seen = is_answered_all_the_same(stage, &edge, VoicebotScript::Answers { ringing }).await?;
            assert_eq!(seen, ["INVITE", "ACK", "BYE"]);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_callee_answers_after_the_cancel() -> Result<(), Failure> {
    Scenario::new("a_callee_answers_after_the_cancel", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let seen = is_answered_all_the_same(stage, &edge, VoicebotScript::AnswersAfterCancel).await?;
            assert_eq!(seen, ["INVITE", "CANCEL", "ACK", "BYE"]);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_client_that_is_destroyed_or_dropped_hangs_up_and_unregisters() -> Result<(), Failure> {
    for is_destroyed in [true, false] {
        Scenario::new("a_client_that_is_destroyed_or_dropped_hangs_up_and_unregisters", LIMIT)
            .play(async |stage| {
                let _media = Rtpengine::start(stage).await?;
                let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
                let ringing = Duration::ZERO;
                let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing }).start(stage).await?;
                let mut phone = Phone::builder(stage, &edge).build()?;
                phone.call(STEP).await?;
                assert_eq!(edge.contacts("user_12345").await?.len(), 1);
                if is_destroyed {
                    phone.client().destroy().await?;
                    let late = phone.client().register().await.unwrap_err();
                    assert_eq!(late, Error::Destroyed);
                } else {
                    drop(phone);
                }
                voicebot.succeeded(STEP).await?;
                assert_eq!(received(&voicebot)?, ["INVITE", "ACK", "BYE"]);
                let unregistered = |trace: &[TracedMessage]| {
                    let is_last = |m: &TracedMessage| {
                        m.header("Expires").as_deref() == Some("0")
                            || m.header("Contact").is_some_and(|c| c.ends_with("expires=0"))
                    };
                    trace.iter().any(|m| m.first_line().starts_with("REGISTER") && is_last(m)).then_some(())
                };
                stage.edge_saw("REGISTER that takes the registration back", STEP, unregistered).await?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}
