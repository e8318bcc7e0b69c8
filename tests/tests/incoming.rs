//! Calls that come in: who is calling by the caller's own word, and every way to deal with them.

use std::time::Duration;

use codex_core_sip::client::AcceptCall;
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::{CallState, Event, IncomingCallEvent};
use codex_core_sip::metadata::CustomerData;
use codex_e2e::peers::{CallerScript, Kamailio, REALM, Rtpengine, Sipp};
use codex_e2e::phone::{Phone, PhoneError};
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};
use codex_e2e::sipp_log::Direction;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);
const USER: &str = "user_12345";
/// What the caller says of itself.
const CALLERS: &str =
    r#"{"clientId":"user_777","clientName":"Мария Петрова","callType":"callback","customFields":{"заявка":"№42"}}"#;
/// What we would say of ourselves.
const OURS: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#;

/// A client with data of its own, registered.
async fn registered(stage: &Stage, edge: &Kamailio) -> Fallible<Phone> {
    let ours = CustomerData::from_json("CUSTOMER_DATA", OURS)?;
    let configured = |config: &mut SipClientConfig| config.customer_data = Some(ours);
    let phone = Phone::builder(stage, edge).configure(configured).build()?;
    phone.client().register().await?;
    Ok(phone)
}

async fn incoming(phone: &mut Phone) -> Result<IncomingCallEvent, PhoneError> {
    let incoming = |event: &Event| match event {
        Event::IncomingCall(call) => Some(call.clone()),
        _ => None,
    };
    phone.event("an incoming call", STEP, incoming).await
}

/// The statuses that the caller received for its INVITE, in order.
fn statuses(caller: &Sipp) -> Fallible<Vec<u16>> {
    let messages = caller.messages()?;
    let of_invite = messages.iter().filter(|m| {
        let cseq = String::from_utf8_lossy(m.header("CSeq").unwrap_or_default()).into_owned();
        m.direction == Direction::Received && cseq.ends_with("INVITE")
    });
    Ok(of_invite.filter_map(|m| m.status()).collect())
}

#[tokio::test]
async fn the_caller_s_own_data_is_told_and_the_call_is_taken_and_heard() -> Result<(), Failure> {
    Scenario::new("the_caller_s_own_data_is_told_and_the_call_is_taken_and_heard", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = registered(stage, &edge).await?;
            let talking = Duration::from_secs(4);
            let caller = Sipp::caller(CallerScript::Talks { talking }, USER).customer_data(CALLERS);
            let caller = caller.display_names("webcall:kqzmwbtr → Отдел продаж", "Отдел продаж");
            let mut caller = caller.start(stage).await?;
            let call = incoming(&mut phone).await?;
            assert_eq!(call.customer_data.as_ref().map(|data| data.to_json()).as_deref(), Some(CALLERS));
            assert_eq!(call.display_from.as_deref(), Some("webcall:kqzmwbtr → Отдел продаж"));
            assert_eq!(call.display_to.as_deref(), Some("Отдел продаж"));
            assert_eq!(call.from.as_deref(), Some(format!("sip:voicebot@{REALM}").as_str()));
            assert_eq!(call.to.as_deref(), Some(format!("sip:{USER}@{REALM}").as_str()));
            assert_eq!(phone.client().state(), CallState::Incoming);
            phone.client().accept_incoming_call(AcceptCall::default()).await?;
            let connected = phone.reaches(CallState::Connected, STEP).await?;
            assert_eq!(connected.call_id, call.call_id);
            assert_eq!(connected.customer_data, call.customer_data);
            // It plays speech.
            phone.hears_louder_than(-35.0, STEP).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            caller.succeeded(STEP).await?;
            assert_eq!(statuses(&caller)?, [100, 180, 200]);
            phone.reaches(CallState::Idle, STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn user_to_user_speaks_where_customer_data_cannot_be_read() -> Result<(), Failure> {
    for value in [hex(CALLERS), format!("{BASE64};encoding=base64")] {
        Scenario::new("user_to_user_speaks_where_customer_data_cannot_be_read", LIMIT)
            .play(async |stage| {
                let _media = Rtpengine::start(stage).await?;
                let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
                let mut phone = registered(stage, &edge).await?;
                let caller =
                    Sipp::caller(CallerScript::IsRefused, USER).customer_data("{not json").user_to_user(&value);
                let mut caller = caller.start(stage).await?;
                let call = incoming(&mut phone).await?;
                assert_eq!(call.customer_data.as_ref().map(|data| data.to_json()).as_deref(), Some(CALLERS));
                // Nothing says how it wants to be shown: its name counts, and we are who we are.
                assert_eq!(call.display_from.as_deref(), Some("voicebot"));
                let tag = call.tag.clone().unwrap_or_default();
                assert!(
                    call.display_to.as_deref().is_some_and(|to| to.starts_with(&format!("webcall:{tag}"))),
                    "{call:?}"
                );
                phone.client().reject_incoming_call(None).await?;
                caller.succeeded(STEP).await?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}

const BASE64: &str = "eyJjbGllbnRJZCI6InVzZXJfNzc3IiwiY2xpZW50TmFtZSI6ItCc0LDRgNC40Y8g0J/QtdGC0YDQvtCy0LAiLCJjYWxsVHlwZSI6ImNhbGxiYWNrIiwiY3VzdG9tRmllbGRzIjp7ItC30LDRj9Cy0LrQsCI6IuKEljQyIn19";

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>() + ";encoding=hex"
}

#[tokio::test]
async fn a_call_is_rejected_with_486() -> Result<(), Failure> {
    Scenario::new("a_call_is_rejected_with_486", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = registered(stage, &edge).await?;
            let mut caller = Sipp::caller(CallerScript::IsRefused, USER).start(stage).await?;
            incoming(&mut phone).await?;
            phone.client().reject_incoming_call(Some("в другой раз")).await?;
            caller.succeeded(STEP).await?;
            assert_eq!(statuses(&caller)?, [100, 180, 486]);
            phone.reaches(CallState::Ended, STEP).await?;
            phone.reaches(CallState::Idle, STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn the_caller_gives_up() -> Result<(), Failure> {
    Scenario::new("the_caller_gives_up", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = registered(stage, &edge).await?;
            let ringing = Duration::from_millis(500);
            let mut caller = Sipp::caller(CallerScript::Cancels { ringing }, USER).start(stage).await?;
            incoming(&mut phone).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            // Its script wants 200 to the CANCEL and 487 to the INVITE.
            caller.succeeded(STEP).await?;
            assert_eq!(statuses(&caller)?, [100, 180, 487]);
            phone.reaches(CallState::Idle, STEP).await?;
            let late = phone.client().accept_incoming_call(AcceptCall::default()).await.unwrap_err();
            assert_eq!(late.code(), "wrong_state");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn we_hang_up_on_the_caller() -> Result<(), Failure> {
    Scenario::new("we_hang_up_on_the_caller", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut phone = registered(stage, &edge).await?;
            let mut caller = Sipp::caller(CallerScript::WaitsForBye, USER).start(stage).await?;
            incoming(&mut phone).await?;
            phone.client().accept_incoming_call(AcceptCall::default()).await?;
            phone.hears_louder_than(-35.0, STEP).await?;
            phone.client().hangup(None).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            caller.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
