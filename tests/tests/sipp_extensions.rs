//! What SIP has grown beyond RFC 3261, against SIPp by way of Kamailio: each scenario is the script of the far end, and what
//! our client tells. A message too many, too few or of another kind ends the script with an error.

use std::time::Duration;

use codex_core_sip::client::{AcceptCall, StartCall};
use codex_core_sip::event::{CallEvent, CallState, Event, HoldEvent, RegistrationState};
use codex_core_sip::{CallRefusal, Error};
use codex_e2e::peers::{Kamailio, REALM, Rtpengine, Sdp, Sipp, SippScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);
const USER: &str = "user_12345";

/// A far end that is called, and our client, which has called it.
async fn call(stage: &Stage, edge: &Kamailio, script: SippScript) -> Fallible<(Phone, Sipp)> {
    let far_end = Sipp::scripted(&script, USER).start(stage).await?;
    let mut phone = Phone::builder(stage, edge).build()?;
    phone.call(STEP).await?;
    Ok((phone, far_end))
}

/// The client hangs up, and the script is at its end.
async fn hangs_up(phone: &mut Phone, mut far_end: Sipp) -> Fallible<()> {
    phone.client().hangup(None).await?;
    phone.reaches(CallState::Idle, STEP).await?;
    far_end.succeeded(STEP).await?;
    Ok(())
}

/// A far end that calls our client and is refused by itself.
async fn is_refused(stage: &Stage, edge: &Kamailio, script: SippScript) -> Fallible<()> {
    let mut phone = Phone::builder(stage, edge).build()?;
    phone.client().register().await?;
    let mut far_end = Sipp::scripted(&script, USER).start(stage).await?;
    far_end.succeeded(STEP).await?;
    phone.registration(RegistrationState::Registered, STEP).await?;
    let told = phone.events().iter().any(|(_, event)| matches!(event, Event::IncomingCall(_)));
    assert!(!told, "nobody needs to hear of it");
    Ok(())
}

fn answers(name: &str) -> SippScript {
    SippScript::callee(name).receives_call().replies("200 OK", &[], Sdp::Talk).receives("ACK")
}

fn is_hung_up_on(script: SippScript) -> SippScript {
    script.receives("BYE").replies("200 OK", &[], Sdp::None)
}

fn held_by_far_end(event: &Event) -> Option<bool> {
    if let Event::Hold(HoldEvent { held_by_far_end, .. }) = event { Some(*held_by_far_end) } else { None }
}

/// RFC 3262 as the caller.
#[tokio::test]
async fn reliable_provisional_responses_are_acknowledged() -> Result<(), Failure> {
    Scenario::new("reliable_provisional_responses_are_acknowledged", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = SippScript::callee("rings reliably")
                .receives_call()
                .says("Supported:", "100rel")
                .keeps_request()
                .replies("183 Session Progress", &["Require: 100rel", "RSeq: 41"], Sdp::None)
                .receives("PRACK")
                .says("RAck:", "41 1 INVITE")
                .replies("200 OK", &[], Sdp::None)
                .replies_to_kept("180 Ringing", &["Require: 100rel", "RSeq: 42"], Sdp::None)
                .receives("PRACK")
                .says("RAck:", "42 1 INVITE")
                .replies("200 OK", &[], Sdp::None)
                .replies_to_kept("200 OK", &[], Sdp::Talk)
                .receives("ACK");
            let (mut phone, far_end) = call(stage, &edge, is_hung_up_on(script)).await?;
            hangs_up(&mut phone, far_end).await
        })
        .await
}

/// RFC 3262 as the callee.
#[tokio::test]
async fn a_caller_that_insists_gets_reliable_provisional_responses() -> Result<(), Failure> {
    Scenario::new("a_caller_that_insists_gets_reliable_provisional_responses", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            let script = SippScript::caller("insists on 100rel")
                .invites(&["Require: 100rel", "Supported: 100rel"])
                .expects("180")
                .says("Require:", "100rel")
                .keeps("RSeq:", "rseq")
                .requests("PRACK", &["RAck:[$rseq] 1 INVITE"], Sdp::None)
                .expects("200")
                .says("CSeq:", "2 PRACK")
                .expects("200")
                .says("CSeq:", "1 INVITE")
                .acknowledges(1)
                .waits(Duration::from_millis(300))
                .requests("BYE", &[], Sdp::None)
                .expects("200");
            let mut far_end = Sipp::scripted(&script, USER).start(stage).await?;
            phone.reaches(CallState::Incoming, STEP).await?;
            let acknowledged = |trace: &[codex_e2e::sip_trace::TracedMessage]| {
                let ok = |m: &codex_e2e::sip_trace::TracedMessage| {
                    m.first_line().starts_with("SIP/2.0 200") && m.header("CSeq").is_some_and(|c| c.ends_with("PRACK"))
                };
                trace.iter().any(ok).then_some(())
            };
            stage.edge_saw("the answer to PRACK", STEP, acknowledged).await?;
            phone.client().accept_incoming_call(AcceptCall::default()).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// RFC 3311: UPDATE of the far end, without and with a description.
#[tokio::test]
async fn update_refreshes_and_holds_a_call() -> Result<(), Failure> {
    Scenario::new("update_refreshes_and_holds_a_call", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = answers("updates")
                .requests("UPDATE", &[], Sdp::None)
                .expects("200")
                .says("Allow:", "UPDATE")
                .requests("UPDATE", &[], Sdp::Hold)
                .expects("200")
                .holds("a=recvonly")
                .waits(Duration::from_millis(300))
                .requests("UPDATE", &[], Sdp::Talk)
                .expects("200")
                .holds("a=sendrecv");
            let (mut phone, far_end) = call(stage, &edge, is_hung_up_on(script)).await?;
            assert!(phone.event("hold", STEP, held_by_far_end).await?);
            assert!(!phone.event("the end of hold", STEP, held_by_far_end).await?);
            hangs_up(&mut phone, far_end).await
        })
        .await
}

/// RFC 4028: we refresh.
#[tokio::test]
async fn a_call_is_refreshed_as_often_as_the_far_end_wants() -> Result<(), Failure> {
    Scenario::new("a_call_is_refreshed_as_often_as_the_far_end_wants", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let timer = ["Session-Expires: 4;refresher=uac", "Require: timer", "Allow: INVITE, ACK, BYE, UPDATE"];
            let script = SippScript::callee("is refreshed")
                .receives_call()
                .says("Session-Expires:", "1800")
                .says("Supported:", "timer")
                .replies("200 OK", &timer, Sdp::Talk)
                .receives("ACK")
                .receives("UPDATE")
                .says("Session-Expires:", "4;refresher=uac")
                .replies("200 OK", &timer, Sdp::None)
                .receives("UPDATE")
                .replies("200 OK", &timer, Sdp::None)
                .requests("BYE", &[], Sdp::None)
                .expects("200");
            let (mut phone, mut far_end) = call(stage, &edge, script).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!(ended.error, None, "the far end hung up after the second refresh");
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// RFC 4028: the far end refreshes, or does not.
#[tokio::test]
async fn a_call_that_the_far_end_does_not_refresh_ends() -> Result<(), Failure> {
    Scenario::new("a_call_that_the_far_end_does_not_refresh_ends", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let refreshes = |name: &str, seconds: u32| {
                let timer = format!("Session-Expires: {seconds};refresher=uas");
                SippScript::callee(name)
                    .receives_call()
                    .replies("200 OK", &[&timer, "Require: timer"], Sdp::Talk)
                    .receives("ACK")
            };
            let timer = ["Session-Expires: 90;refresher=uac", "Supported: timer"];
            let script = refreshes("refreshes in time", 6)
                .waits(Duration::from_secs(2))
                .requests("UPDATE", &timer, Sdp::None)
                .expects("200")
                .says("Session-Expires:", "90;refresher=uac");
            let (mut phone, far_end) = call(stage, &edge, is_hung_up_on(script)).await?;
            phone.stays_quiet(Duration::from_secs(6), |event| matches!(event, Event::Call(_))).await?;
            hangs_up(&mut phone, far_end).await?;
            drop(phone);

            let script = refreshes("never refreshes", 3).receives("BYE").says("Reason:", "session timer expired");
            let script = script.replies("200 OK", &[], Sdp::None);
            let (mut phone, mut far_end) = call(stage, &edge, script).await?;
            let over = phone
                .event("the end of the call", STEP, |event| match event {
                    Event::Call(call) if call.state == CallState::Error => Some(call.clone()),
                    _ => None,
                })
                .await?;
            assert!(matches!(over.error, Some(Error::Timeout { .. })), "{over:?}");
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// RFC 4028: 422, to us and by us.
#[tokio::test]
async fn an_interval_that_is_too_small_is_lengthened() -> Result<(), Failure> {
    Scenario::new("an_interval_that_is_too_small_is_lengthened", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = SippScript::callee("wants two hours")
                .receives_call()
                .replies("422 Session Interval Too Small", &["Min-SE: 7200"], Sdp::None)
                .receives("ACK")
                .receives_call()
                .says("Session-Expires:", "7200")
                .says("Min-SE:", "7200")
                .replies("200 OK", &[], Sdp::Talk)
                .receives("ACK");
            let (mut phone, far_end) = call(stage, &edge, is_hung_up_on(script)).await?;
            hangs_up(&mut phone, far_end).await?;
            drop(phone);

            let script = SippScript::caller("wants a minute")
                .invites(&["Session-Expires: 60", "Supported: timer"])
                .expects("422")
                .says("Min-SE:", "90")
                .acknowledges_refusal();
            is_refused(stage, &edge, script).await
        })
        .await
}

/// RFC 3261 §14: both ends change the call at once.
#[tokio::test]
async fn two_changes_that_meet_are_made_one_after_the_other() -> Result<(), Failure> {
    Scenario::new("two_changes_that_meet_are_made_one_after_the_other", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = answers("glare")
                .receives("INVITE")
                .keeps_request()
                .requests("INVITE", &[], Sdp::Talk)
                .expects("491")
                .acknowledges_refusal()
                .replies_to_kept("491 Request Pending", &[], Sdp::None)
                .receives("ACK")
                .receives("INVITE")
                .holds("a=sendonly")
                .replies("200 OK", &[], Sdp::Listen)
                .receives("ACK");
            let (mut phone, far_end) = call(stage, &edge, is_hung_up_on(script)).await?;
            let hold = phone.client().clone();
            let held = tokio::time::timeout(STEP, hold.hold()).await?;
            assert_eq!(held, Ok(()));
            hangs_up(&mut phone, far_end).await
        })
        .await
}

/// RFC 3261 §13.2.2.4: two branches of a fork answer.
#[tokio::test]
async fn the_second_of_two_answers_is_acknowledged_and_ended() -> Result<(), Failure> {
    Scenario::new("the_second_of_two_answers_is_acknowledged_and_ended", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let first = SippScript::callee("answers first")
                .receives_call()
                .keeps_request()
                .replies("180 Ringing", &[], Sdp::None)
                .waits(Duration::from_millis(500))
                .replies_to_kept("200 OK", &[], Sdp::Talk)
                .receives("ACK");
            let second = SippScript::callee("answers all the same")
                .receives_call()
                .keeps_request()
                .replies("180 Ringing", &[], Sdp::None)
                .receives("CANCEL")
                .replies("200 OK", &[], Sdp::None)
                .replies_to_kept("200 OK", &[], Sdp::Talk)
                .receives("ACK");
            let first = Sipp::scripted(&is_hung_up_on(first), USER).start(stage).await?;
            let mut second = Sipp::scripted(&is_hung_up_on(second), USER).second().start(stage).await?;
            let target = format!("sip:two-voicebots@{REALM}");
            let mut phone = Phone::builder(stage, &edge).configure(|config| config.target_uri = target).build()?;
            phone.call(STEP).await?;
            second.succeeded(STEP).await?;
            assert_eq!(phone.client().state(), CallState::Connected, "the first one's call goes on");
            hangs_up(&mut phone, first).await
        })
        .await
}

/// RFC 3261 §8.1.3.4, and its limit.
#[tokio::test]
async fn a_redirection_is_followed_but_not_for_ever() -> Result<(), Failure> {
    Scenario::new("a_redirection_is_followed_but_not_for_ever", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let contact = format!("Contact: <sip:second-voicebot@{REALM}>");
            let script = SippScript::callee("has moved")
                .receives_call()
                .replies("302 Moved Temporarily", &[&contact], Sdp::None)
                .receives("ACK");
            let mut moved = Sipp::scripted(&script, USER).start(stage).await?;
            let second = Sipp::scripted(&is_hung_up_on(answers("where it moved")), USER).second().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            moved.succeeded(STEP).await?;
            hangs_up(&mut phone, second).await?;

            let mut script = SippScript::callee("moves for ever");
            for number in 0..4 {
                let contact = format!("Contact: <sip:0000000{number}-7d4a-4e9b-9a61-0c5d2e8f1a77@{REALM}>");
                let call = script.receives_call().says("CSeq:", &format!("{} INVITE", number + 1));
                script = call.replies("302 Moved Temporarily", &[&contact], Sdp::None).receives("ACK");
            }
            let mut far_end = Sipp::scripted(&script, USER).start(stage).await?;
            phone.client().start_call(StartCall::default()).await?;
            let CallEvent { cause_code, error, .. } = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!(cause_code, Some(302));
            let refused = |error: &Error| matches!(error, Error::CallRefused { refusal: CallRefusal::Other, .. });
            assert!(error.as_ref().is_some_and(refused), "{error:?}");
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// RFC 3261 §8.2.2.3.
#[tokio::test]
async fn what_requires_an_unknown_extension_is_refused() -> Result<(), Failure> {
    Scenario::new("what_requires_an_unknown_extension_is_refused", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = SippScript::caller("requires frobnicate")
                .invites(&["Require: frobnicate"])
                .expects("420")
                .says("Unsupported:", "frobnicate")
                .acknowledges_refusal();
            is_refused(stage, &edge, script).await
        })
        .await
}

/// RFC 5627: Kamailio's registrar gives a GRUU, and the far end's BYE finds us by it.
#[tokio::test]
async fn a_gruu_of_the_registrar_is_the_contact_of_calls() -> Result<(), Failure> {
    Scenario::new("a_gruu_of_the_registrar_is_the_contact_of_calls", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = SippScript::callee("calls back by GRUU")
                .receives_call()
                .says("Contact:", &format!("<sip:{USER}@{REALM};.*gr=urn:uuid:[0-9a-f-]*>"))
                .replies("200 OK", &[], Sdp::Talk)
                .receives("ACK")
                .waits(Duration::from_millis(300))
                .requests("BYE", &[], Sdp::None)
                .expects("200");
            let (mut phone, mut far_end) = call(stage, &edge, script).await?;
            phone.reaches(CallState::Idle, STEP).await?;
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
