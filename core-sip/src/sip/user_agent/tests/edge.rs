//! The edge's side of a flow, and calls between the two.

use std::time::Duration;

use super::super::{CallHandle, Command, EndedBy, ServerSettings, UaEvent};
use super::lab::{ANSWER, CALL, OFFER, config, invite_command, status};
use super::pair::{Pair, edge_settings};
use crate::error::{CallRefusal, Error};

#[test]
fn an_invite_without_registration_is_challenged_once_too() {
    let mut pair = Pair::new(config(), edge_settings());
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    assert_eq!(pair.trace(), ["INVITE", "← 401 INVITE", "ACK", "INVITE", "← 100 INVITE"]);
}

#[test]
fn who_is_not_known_to_the_edge_may_call_if_it_asks_nobody() {
    let mut pair = Pair::new(config(), ServerSettings::new("example.com", None));
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    assert_eq!(pair.trace(), ["INVITE", "← 100 INVITE"]);
}

#[test]
fn a_nonce_that_has_grown_old_costs_one_more_round_trip() {
    let mut settings = edge_settings();
    settings.nonce_lifetime = Duration::from_secs(100);
    let mut pair = Pair::registered(config(), settings);
    pair.trace();
    pair.seconds(200);
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    assert_eq!(pair.trace(), ["INVITE", "← 401 INVITE", "ACK", "INVITE", "← 100 INVITE"]);
}

#[test]
fn both_sides_can_end_a_call() {
    for client_ends in [true, false] {
        let mut pair = Pair::registered(config(), edge_settings());
        let edge_call = pair.call(CALL);
        let reason = Some("Спасибо".to_owned());
        if client_ends {
            pair.client_does(Command::Hangup { call: CALL, reason });
        } else {
            pair.edge_does(Command::Hangup { call: edge_call, reason });
        }
        pair.seconds(1);
        let (asked, heard) = if client_ends {
            (&pair.client_events, &pair.edge_events)
        } else {
            (&pair.edge_events, &pair.client_events)
        };
        assert!(asked.iter().any(|e| matches!(e, UaEvent::Ended { by: EndedBy::Local, error: None, .. })));
        assert!(heard.iter().any(|e| matches!(
            e,
            UaEvent::Ended { by: EndedBy::Remote, cause: Some(16), reason: Some(reason), error: None, .. }
                if reason == "Спасибо"
        )));
        pair.seconds(60);
        assert!(pair.client.calls.is_empty() && pair.client.clients.is_empty());
        assert!(pair.edge.calls.is_empty() && pair.edge.servers.is_empty());
    }
}

#[test]
fn both_sides_end_a_call_at_once() {
    let mut pair = Pair::registered(config(), edge_settings());
    let edge_call = pair.call(CALL);
    pair.client_does(Command::Hangup { call: CALL, reason: None });
    pair.edge_does(Command::Hangup { call: edge_call, reason: None });
    pair.seconds(60);
    for events in [&pair.client_events, &pair.edge_events] {
        assert_eq!(events.iter().filter(|e| matches!(e, UaEvent::Ended { .. })).count(), 1);
    }
    assert!(pair.client.calls.is_empty() && pair.edge.calls.is_empty());
}

#[test]
fn the_edge_refuses_and_the_client_is_told_why() {
    for (code, expected) in [(486, CallRefusal::Busy), (603, CallRefusal::Declined), (480, CallRefusal::Unavailable)] {
        let mut pair = Pair::registered(config(), edge_settings());
        pair.client_does(invite_command(CALL));
        pair.seconds(1);
        let call = pair.edge_call();
        pair.edge_does(Command::Reject { call, status: status(code), reason: None });
        pair.seconds(1);
        assert!(
            pair.client_events.iter().any(|e| matches!(
                e,
                UaEvent::Ended { error: Some(Error::CallRefused { refusal, .. }), .. } if *refusal == expected
            )),
            "{code}"
        );
        assert!(pair.edge.servers.is_empty(), "the ACK has come");
    }
}

/// The CANCEL and the 200 are on their way at the same time.
#[test]
fn a_cancel_that_crosses_the_answer_ends_the_call_on_both_sides() {
    let mut pair = Pair::registered(config(), edge_settings());
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    let edge_call = pair.edge_call();
    pair.trace();
    pair.edge_does(Command::Answer { call: edge_call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    pair.client_does(Command::Hangup { call: CALL, reason: None });
    pair.seconds(1);
    assert_eq!(pair.trace(), ["CANCEL", "← 200 INVITE", "ACK", "BYE", "← 200 CANCEL", "← 200 BYE"]);
    pair.seconds(60);
    for events in [&pair.client_events, &pair.edge_events] {
        assert_eq!(events.iter().filter(|e| matches!(e, UaEvent::Ended { .. })).count(), 1);
    }
}

#[test]
fn a_cancel_in_time_is_answered_with_487() {
    let mut pair = Pair::registered(config(), edge_settings());
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    pair.trace();
    pair.client_does(Command::Hangup { call: CALL, reason: None });
    pair.seconds(1);
    assert_eq!(pair.trace(), ["CANCEL", "← 200 CANCEL", "← 487 INVITE", "ACK"]);
}

#[test]
fn the_edge_calls_the_registered_contact() {
    let mut pair = Pair::registered(config(), edge_settings());
    let target = pair.edge.binding(pair.now).unwrap().contact.clone();
    pair.edge_does(Command::Invite {
        call: CALL,
        target,
        call_id: "from-the-edge".to_owned(),
        headers: Vec::new(),
        offer: OFFER.to_owned(),
        display_name: Some("Bot".to_owned()),
    });
    pair.seconds(1);
    let call = pair
        .client_events
        .iter()
        .find_map(|e| match e {
            UaEvent::Incoming { call, offer: Some(offer), .. } if offer == OFFER => Some(*call),
            _ => None,
        })
        .expect("the call comes in");
    pair.client_does(Command::Ring { call, headers: Vec::new() });
    pair.client_does(Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    pair.seconds(1);
    assert!(pair.edge_events.iter().any(|e| matches!(e, UaEvent::Provisional { call: CALL, .. })));
    assert!(pair.edge_events.iter().any(|e| matches!(e, UaEvent::Accepted { call: CALL, .. })));
    assert!(pair.client_events.iter().any(|e| matches!(e, UaEvent::Confirmed { call: c, .. } if *c == call)));
    pair.edge_does(Command::Hangup { call: CALL, reason: None });
    pair.seconds(1);
    assert!(pair.client_events.iter().any(|e| matches!(e, UaEvent::Ended { by: EndedBy::Remote, .. })));
}

#[test]
fn a_binding_expires_and_goes_with_its_flow() {
    let gone = |pair: &Pair| pair.edge_events.iter().any(|e| matches!(e, UaEvent::Binding { contact: None, .. }));
    let mut settings = edge_settings();
    settings.max_expires = Duration::from_secs(30);
    let mut pair = Pair::registered(config(), settings.clone());
    pair.seconds(300);
    assert!(pair.is_registered() && !gone(&pair), "it is refreshed in time");
    pair.silent = true;
    pair.refuse = Some(Error::FlowLost { problem: "gone".to_owned() });
    pair.seconds(31);
    assert!(gone(&pair));

    let mut pair = Pair::registered(config(), settings);
    pair.break_flow();
    assert!(gone(&pair));
}

#[test]
fn an_edge_that_hangs_up_its_flow_ends_all_calls_of_it() {
    let mut pair = Pair::registered(config(), edge_settings());
    let edge_call = pair.call(CALL);
    pair.edge_does(Command::Destroy);
    pair.seconds(1);
    assert!(pair.edge_events.iter().any(|e| matches!(e, UaEvent::Ended { call, .. } if *call == edge_call)));
    assert!(pair.client_events.iter().any(|e| matches!(e, UaEvent::Ended { call: CALL, by: EndedBy::Remote, .. })));
}

#[test]
fn an_edge_neither_registers_nor_opens_flows() {
    let mut pair = Pair::registered(config(), edge_settings());
    pair.edge_does(Command::Register);
    assert!(pair.edge_events.iter().any(|e| matches!(
        e,
        UaEvent::Registration { error: Some(Error::WrongState { operation: "register", .. }), .. }
    )));
    let call = CallHandle(7);
    pair.break_flow();
    pair.edge_does(invite_command(call));
    assert!(pair.edge_events.iter().any(|e| matches!(
        e,
        UaEvent::Ended { call: c, error: Some(Error::FlowLost { .. }), .. } if *c == call
    )));
}
