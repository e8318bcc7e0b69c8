//! Blind transfer: REFER, its NOTIFYs, what a far end without the means says.

use super::super::{Command, UaEvent};
use super::lab::{CALL, Lab, config, request_text};
use crate::error::{CallRefusal, Error};
use crate::sip::header::Name;
use crate::sip::message::{Message, Method};

const TARGET: &str = "sip:agent@example.com";

fn refer() -> (Lab, Message) {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Transfer { call: CALL, target: TARGET.to_owned() });
    let refer = lab.request(&Method::Refer);
    (lab, refer)
}

fn notify(lab: &mut Lab, refer: &Message, sequence: u32, event: &str, state: &str, body: &str) {
    let to = refer.header(Name::From).unwrap();
    let headers = format!("Event: {event}\r\nSubscription-State: {state}\r\n");
    let text = request_text("NOTIFY", &format!("z9hG4bKn{sequence}"), &to, sequence, &headers, body)
        .replace("Call-ID: in-1", &format!("Call-ID: {}", refer.call_id().unwrap()))
        .replace("tag=caller", "tag=bot")
        .replace("application/sdp", "message/sipfrag;version=2.0");
    lab.receive(text);
}

fn results(lab: &mut Lab) -> Vec<Result<(), Error>> {
    lab.events()
        .into_iter()
        .filter_map(|event| match event {
            UaEvent::TransferResult { result, .. } => Some(result),
            _ => None,
        })
        .collect()
}

#[test]
fn a_transfer_that_succeeds_ends_the_call() {
    let (mut lab, refer) = refer();
    assert_eq!(refer.header(Name::ReferTo).as_deref(), Some("<sip:agent@example.com>"));
    assert_eq!(refer.header(Name::ReferredBy).as_deref(), Some("<sip:alice@example.com>"));
    lab.refuse(&refer, 202, &[]);
    notify(&mut lab, &refer, 1, "presence", "active", "SIP/2.0 100 Trying");
    lab.response(489);
    notify(&mut lab, &refer, 2, "refer", "active;expires=60", "SIP/2.0 180 Ringing\r\n");
    lab.response(200);
    let progress = |event: &UaEvent| matches!(event, UaEvent::TransferProgress { status: 180, .. });
    assert!(lab.events().iter().any(progress));
    notify(&mut lab, &refer, 3, "refer", "terminated;reason=noresource", "SIP/2.0 200 OK");
    lab.response(200);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    let events = lab.events();
    assert!(events.iter().any(|event| matches!(event, UaEvent::TransferResult { result: Ok(()), .. })));
    assert!(events.iter().any(
        |event| matches!(event, UaEvent::Ended { error: None, reason: Some(reason), .. } if reason == "transferred")
    ));
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn a_transfer_that_fails_leaves_the_call() {
    let (mut lab, refer) = refer();
    lab.refuse(&refer, 202, &[]);
    notify(&mut lab, &refer, 1, "refer;id=2", "terminated", "SIP/2.0 486 Busy Here");
    lab.response(200);
    assert!(matches!(&results(&mut lab)[..], [Err(Error::CallRefused { status: 486, .. })]));
    // The subscription is over.
    notify(&mut lab, &refer, 2, "refer", "terminated", "SIP/2.0 200 OK");
    lab.response(481);
    lab.nothing_sent();
    // And another one may begin.
    lab.command(Command::Transfer { call: CALL, target: TARGET.to_owned() });
    lab.request(&Method::Refer);
    lab.command(Command::Transfer { call: CALL, target: TARGET.to_owned() });
    assert!(matches!(&results(&mut lab)[..], [Err(Error::WrongState { .. })]));
    lab.seconds(33);
    assert!(matches!(&results(&mut lab)[..], [Err(Error::Timeout { operation: "REFER", .. })]));
}

#[test]
fn a_far_end_without_the_means_is_told_apart() {
    for status in [405, 501] {
        let (mut lab, refer) = refer();
        lab.refuse(&refer, status, &[]);
        let refusal = CallRefusal::TransferNotSupported;
        assert!(
            matches!(&results(&mut lab)[..], [Err(Error::CallRefused { refusal: found, .. })] if *found == refusal)
        );
        assert!(!lab.has_ended());
    }
}

#[test]
fn a_transfer_waits_for_a_flow_and_is_not_asked_for_twice() {
    let (mut lab, _) = Lab::in_call(config());
    lab.lose_flow();
    lab.command(Command::Transfer { call: CALL, target: TARGET.to_owned() });
    lab.seconds(2);
    lab.request(&Method::Invite);
    lab.request(&Method::Refer);
    lab.lose_flow();
    assert!(matches!(&results(&mut lab)[..], [Err(Error::FlowLost { .. })]));
    lab.refuse_flows = Some(Error::FlowLost { problem: "no".to_owned() });
    lab.seconds(3);
    lab.command(Command::Transfer { call: CALL, target: TARGET.to_owned() });
    lab.seconds(33);
    assert!(matches!(&results(&mut lab)[..], [Err(Error::FlowLost { .. })]));
}

#[test]
fn a_far_end_that_takes_it_and_hangs_up_is_gone_where_it_was_sent() {
    let (mut lab, refer) = refer();
    lab.refuse(&refer, 202, &[]);
    let to = refer.header(Name::From).unwrap();
    let bye = request_text("BYE", "z9hG4bKb", &to, 1, "", "")
        .replace("Call-ID: in-1", &format!("Call-ID: {}", refer.call_id().unwrap()))
        .replace("tag=caller", "tag=bot");
    lab.receive(bye);
    lab.response(200);
    let events = lab.events();
    assert!(events.iter().any(|event| matches!(event, UaEvent::TransferResult { result: Ok(()), .. })));
    lab.seconds(40);
    lab.assert_nothing_left();
}
