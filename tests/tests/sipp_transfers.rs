//! Transfers: REFER, NOTIFY, Referred-By and Replaces (RFC 3515, RFC 3891, RFC 3892) against SIPp by way of Kamailio, and
//! among three of our own clients.

use std::time::Duration;

use codex_core_sip::client::AcceptCall;
use codex_core_sip::event::{CallState, Event};
use codex_core_sip::{CallRefusal, Error};
use codex_e2e::peers::{Kamailio, REALM, Rtpengine, Sdp, Sipp, SippScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);
const USER: &str = "user_12345";
const ACTIVE: &str = "active;expires=60";
const OVER: &str = "terminated;reason=noresource";

async fn call(stage: &Stage, edge: &Kamailio, script: &SippScript) -> Fallible<(Phone, Sipp)> {
    let far_end = Sipp::scripted(script, USER).start(stage).await?;
    let mut phone = Phone::builder(stage, edge).configure(|config| config.accept_transfers = true).build()?;
    phone.call(STEP).await?;
    Ok((phone, far_end))
}

fn answers(name: &str) -> SippScript {
    SippScript::callee(name).receives_call().replies("200 OK", &[], Sdp::Talk).receives("ACK")
}

fn is_hung_up_on(script: SippScript) -> SippScript {
    script.receives("BYE").replies("200 OK", &[], Sdp::None)
}

/// A far end that is asked to call carol, and takes it.
fn is_sent_to(name: &str, target: &str) -> SippScript {
    answers(name)
        .receives("REFER")
        .says("Refer-To:", target)
        .says("Referred-By:", &format!("<sip:{USER}@{REALM}>"))
        .replies("202 Accepted", &[], Sdp::None)
        .notifies("100 Trying", ACTIVE)
}

fn progress(phone: &Phone) -> Vec<u16> {
    let of = |(_, event)| if let Event::Transfer(event) = event { Some(event.status) } else { None };
    phone.events().into_iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_blind_transfer_tells_how_it_gets_on() -> Result<(), Failure> {
    Scenario::new("a_blind_transfer_tells_how_it_gets_on", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let carol = format!("sip:carol@{REALM}");
            let script = is_sent_to("goes to carol", &format!("<{carol}>"))
                .notifies("180 Ringing", ACTIVE)
                .notifies("200 OK", OVER);
            let (mut phone, mut far_end) = call(stage, &edge, &is_hung_up_on(script)).await?;
            phone.client().transfer(&carol).await?;
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!(ended.reason.as_deref(), Some("transferred"));
            assert_eq!(progress(&phone), [100, 180, 200]);
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_transfer_that_comes_to_nothing_leaves_the_call() -> Result<(), Failure> {
    Scenario::new("a_transfer_that_comes_to_nothing_leaves_the_call", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let carol = format!("sip:carol@{REALM}");
            // Whom it calls is busy; then it cannot do it at all, as jambonz without a referHook.
            let script = is_sent_to("carol is busy", "carol").notifies("486 Busy Here", OVER);
            let script = script.receives("REFER").replies("501 Not Implemented", &[], Sdp::None);
            let (mut phone, mut far_end) = call(stage, &edge, &is_hung_up_on(script)).await?;
            let busy = phone.client().transfer(&carol).await;
            assert!(matches!(busy, Err(Error::CallRefused { status: 486, .. })), "{busy:?}");
            let cannot = phone.client().transfer(&carol).await;
            let no_means = |refusal: &CallRefusal| *refusal == CallRefusal::TransferNotSupported;
            assert!(
                matches!(&cannot, Err(Error::CallRefused { refusal, status: 501, .. }) if no_means(refusal)),
                "{cannot:?}"
            );
            assert_eq!(phone.client().state(), CallState::Connected);
            phone.client().hangup(None).await?;
            phone.reaches(CallState::Idle, STEP).await?;
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_client_that_is_sent_elsewhere_goes_and_tells() -> Result<(), Failure> {
    Scenario::new("a_client_that_is_sent_elsewhere_goes_and_tells", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let refer_to = format!("Refer-To: <sip:second-voicebot@{REALM}>");
            let by = format!("Referred-By: <sip:script@{REALM}>");
            let script = answers("sends to the second voicebot")
                .requests("REFER", &[&refer_to, &by], Sdp::None)
                .expects("202")
                .receives("NOTIFY")
                .says("Event:", "refer")
                .says("Subscription-State:", "active")
                .holds("SIP/2.0 100")
                .replies("200 OK", &[], Sdp::None)
                .receives("NOTIFY")
                .says("Subscription-State:", "terminated")
                .holds("SIP/2.0 200")
                .replies("200 OK", &[], Sdp::None);
            let second = SippScript::callee("the second voicebot")
                .receives_call()
                .says("Referred-By:", &format!("<sip:script@{REALM}>"))
                .replies("200 OK", &[], Sdp::Talk)
                .receives("ACK");
            let mut second = Sipp::scripted(&is_hung_up_on(second), USER).second().start(stage).await?;
            let (mut phone, mut first) = call(stage, &edge, &is_hung_up_on(script)).await?;
            let asked = |event: &Event| match event {
                Event::TransferRequested(asked) => Some(asked.target_uri.clone()),
                _ => None,
            };
            let target = phone.event("the far end's wish", STEP, asked).await?;
            assert_eq!(target, format!("sip:second-voicebot@{REALM}"));
            phone.client().accept_transfer().await?;
            phone.reaches(CallState::Connected, STEP).await?;
            first.succeeded(STEP).await?;
            assert_eq!(phone.client().state(), CallState::Connected, "the second call goes on");
            phone.client().hangup(None).await?;
            second.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_client_that_was_not_told_to_goes_nowhere() -> Result<(), Failure> {
    Scenario::new("a_client_that_was_not_told_to_goes_nowhere", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let refer_to = format!("Refer-To: <sip:second-voicebot@{REALM}>");
            let script = answers("sends in vain").requests("REFER", &[&refer_to], Sdp::None).expects("603");
            let mut far_end = Sipp::scripted(&is_hung_up_on(script), USER).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            phone.stays_quiet(Duration::from_secs(1), |event| matches!(event, Event::TransferRequested(_))).await?;
            phone.client().hangup(None).await?;
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// Somebody is called who takes the call.
async fn takes_a_call(phone: &mut Phone) -> Fallible<()> {
    phone.reaches(CallState::Incoming, STEP).await?;
    phone.client().accept_incoming_call(AcceptCall::default()).await?;
    phone.reaches(CallState::Connected, STEP).await?;
    Ok(())
}

/// A client that is called by others.
async fn registered(stage: &Stage, edge: &Kamailio, user: &str, tone_hz: f64) -> Fallible<Phone> {
    let phone = Phone::builder(stage, edge).name(user).user(user).tone_hz(tone_hz);
    let phone = phone.configure(|config| config.accept_transfers = true).build()?;
    phone.client().register().await?;
    Ok(phone)
}

/// A client that calls one of them.
fn caller(stage: &Stage, edge: &Kamailio, name: &str, target: &str, tone_hz: f64) -> Fallible<Phone> {
    let target = format!("sip:{target}@{REALM}");
    Phone::builder(stage, edge).name(name).tone_hz(tone_hz).configure(|config| config.target_uri = target).build()
}

#[tokio::test]
async fn an_attended_transfer_names_the_call_that_is_taken_over() -> Result<(), Failure> {
    Scenario::new("an_attended_transfer_names_the_call_that_is_taken_over", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut carol = registered(stage, &edge, "carol", 700.0).await?;
            let named = format!("<sip:carol@{REALM}[^?]*[?]Replaces=[^&]*%3Bto-tag%3D[^%]*%3Bfrom-tag%3D[^%>]*>");
            let script = is_sent_to("takes the second call over", &named).notifies("200 OK", OVER);
            let (mut phone, mut far_end) = call(stage, &edge, &is_hung_up_on(script)).await?;
            let mut asking = caller(stage, &edge, "asking", "carol", 1000.0)?;
            tokio::try_join!(asking.call(STEP), takes_a_call(&mut carol))?;
            phone.client().transfer_to(asking.client()).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            far_end.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

/// Anna talks to bob, asks carol, and connects the two: bob's client goes to carol's, whose call with anna it takes over.
#[tokio::test]
async fn an_attended_transfer_connects_those_two() -> Result<(), Failure> {
    const BOB_HZ: f64 = 500.0;
    const CAROL_HZ: f64 = 700.0;
    Scenario::new("an_attended_transfer_connects_those_two", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut bob = registered(stage, &edge, "bob", BOB_HZ).await?;
            let mut carol = registered(stage, &edge, "carol", CAROL_HZ).await?;
            let mut to_bob = caller(stage, &edge, "anna to bob", "bob", 1000.0)?;
            let mut to_carol = caller(stage, &edge, "anna to carol", "carol", 1000.0)?;
            tokio::try_join!(to_bob.call(STEP), takes_a_call(&mut bob))?;
            tokio::try_join!(to_carol.call(STEP), takes_a_call(&mut carol))?;
            to_bob.hears(BOB_HZ, STEP).await?;
            to_carol.hears(CAROL_HZ, STEP).await?;

            let transfer = to_bob.client().clone();
            let other = to_carol.client().clone();
            let transfer = tokio::spawn(async move { transfer.transfer_to(&other).await });
            bob.event("anna's wish", STEP, |event| matches!(event, Event::TransferRequested(_)).then_some(())).await?;
            bob.client().accept_transfer().await?;
            bob.reaches(CallState::Connected, STEP).await?;
            transfer.await??;
            bob.hears(CAROL_HZ, STEP).await?;
            carol.hears(BOB_HZ, STEP).await?;
            to_bob.reaches(CallState::Idle, STEP).await?;
            to_carol.reaches(CallState::Idle, STEP).await?;
            bob.client().hangup(None).await?;
            carol.reaches(CallState::Idle, STEP).await?;
            Ok(())
        })
        .await
}
