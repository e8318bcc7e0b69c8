//! Early dialogs: reliable provisional responses in both roles, branches of a fork, requests before the answer.

use std::time::Duration;

use super::super::{Command, UaEvent};
use super::lab::{ANSWER, CALL, Lab, OFFER, config, invite_command, request_text, to_of};
use crate::sip::header::Name;
use crate::sip::message::{Message, Method};

const CONTACT: (&str, &str) = ("Contact", "<sip:bot@192.0.2.1:5060>");

fn calling() -> (Lab, Message) {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    (lab, invite)
}

fn reliable(lab: &mut Lab, invite: &Message, tag: &str, rseq: u32, sdp: bool) {
    lab.answer(invite, 183, tag, &[CONTACT, ("Require", "100rel"), ("RSeq", &rseq.to_string())], sdp);
}

fn provisionals(lab: &mut Lab) -> Vec<String> {
    lab.events()
        .into_iter()
        .filter_map(|event| match event {
            UaEvent::Provisional { remote_tag, .. } => Some(remote_tag),
            _ => None,
        })
        .collect()
}

/// A request of branch `tag` before its answer.
fn from_branch(invite: &Message, method: &str, tag: &str, sequence: u32, sdp: &str) -> String {
    let to = invite.header(Name::From).unwrap();
    request_text(method, &format!("z9hG4bK{tag}{sequence}"), &to, sequence, "", sdp)
        .replace("Call-ID: in-1", &format!("Call-ID: {}", invite.call_id().unwrap()))
        .replace("tag=caller", &format!("tag={tag}"))
}

#[test]
fn a_reliable_response_is_acknowledged_in_order_and_once() {
    let (mut lab, invite) = calling();
    assert!(invite.has_token(Name::Supported, "100rel") && invite.has_token(Name::Allow, "PRACK"));
    reliable(&mut lab, &invite, "bot", 7, true);
    let first = lab.request(&Method::Prack);
    let rack = |message: &Message| message.header(Name::RAck).unwrap().into_owned();
    let number = invite.cseq().unwrap().number;
    assert_eq!(rack(&first), format!("7 {number} INVITE"));
    assert_eq!((first.to().unwrap().tag(), first.request_uri()), (Some("bot"), Some("sip:bot@192.0.2.1:5060")));
    assert_eq!(provisionals(&mut lab), ["bot"]);
    // Again, and one whose predecessor is missing.
    reliable(&mut lab, &invite, "bot", 7, true);
    reliable(&mut lab, &invite, "bot", 9, true);
    lab.nothing_sent();
    assert!(provisionals(&mut lab).is_empty());
    reliable(&mut lab, &invite, "bot", 8, true);
    assert_eq!(rack(&lab.request(&Method::Prack)), format!("8 {number} INVITE"));
    // Another branch counts for itself.
    reliable(&mut lab, &invite, "other", 1, true);
    assert_eq!(rack(&lab.request(&Method::Prack)), format!("1 {number} INVITE"));
    lab.accept(&invite, "bot");
    lab.request(&Method::Ack);
    lab.command(Command::Hangup { call: CALL, reason: None });
    let bye = lab.request(&Method::Bye);
    assert!(bye.cseq().unwrap().number > first.cseq().unwrap().number + 1, "numbers go on after the PRACKs");
}

#[test]
fn an_answer_in_a_reliable_response_holds_if_the_final_one_has_none() {
    let (mut lab, invite) = calling();
    reliable(&mut lab, &invite, "bot", 1, true);
    lab.request(&Method::Prack);
    lab.answer(&invite, 200, "bot", &[CONTACT], false);
    lab.request(&Method::Ack);
    lab.events.clear();
    // It is in force: the same again changes nothing.
    let again = from_branch(&invite, "INVITE", "bot", 5, ANSWER);
    lab.receive(again);
    assert_eq!(lab.response(200).body(), OFFER.as_bytes());
    assert!(lab.events().is_empty());
}

#[test]
fn a_redirection_is_followed_to_the_best_address_and_not_for_ever() {
    let (mut lab, first) = calling();
    let contacts =
        "<tel:+123>, <sip:worse@example.com>;q=0.2, <sip:better@example.com?X-Bad=1>, <sip:b@example.com>;q=0.7";
    lab.refuse(&first, 302, &[("Contact", contacts)]);
    lab.request(&Method::Ack);
    let second = lab.request(&Method::Invite);
    assert_eq!(second.request_uri(), Some("sip:b@example.com"));
    assert_eq!(second.header(Name::To), first.header(Name::To));
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert_eq!(second.body(), first.body());
    let mut last = second;
    for target in ["sip:c@example.com", "sip:d@example.com"] {
        // Back to where it was before is no way.
        let contacts = format!("<sip:b@example.com>;q=1.0, <{target}>;q=0.1");
        lab.refuse(&last, 301, &[("Contact", &contacts)]);
        lab.request(&Method::Ack);
        last = lab.request(&Method::Invite);
        assert_eq!(last.request_uri(), Some(target));
    }
    lab.refuse(&last, 302, &[("Contact", "<sip:e@example.com>")]);
    lab.request(&Method::Ack);
    lab.nothing_sent();
    assert_eq!(lab.ended(CALL).cause, Some(302));
    lab.assert_nothing_left();
}

#[test]
fn a_branch_that_loses_is_acknowledged_and_ended() {
    let (mut lab, invite) = calling();
    for tag in ["a", "b"] {
        reliable(&mut lab, &invite, tag, 1, true);
        lab.request(&Method::Prack);
    }
    lab.accept(&invite, "b");
    assert_eq!(lab.request(&Method::Ack).to().unwrap().tag(), Some("b"));
    lab.accept(&invite, "a");
    assert_eq!(lab.request(&Method::Ack).to().unwrap().tag(), Some("a"));
    let bye = lab.request(&Method::Bye);
    assert_eq!(bye.to().unwrap().tag(), Some("a"));
    assert!(!lab.has_ended());
}

#[test]
fn requests_before_the_answer_have_a_dialog() {
    let (mut lab, invite) = calling();
    lab.answer(&invite, 183, "bot", &[CONTACT], false);
    lab.receive(from_branch(&invite, "UPDATE", "bot", 1, ""));
    assert!(lab.response(200).header(Name::Contact).is_some());
    // Our offer has no answer yet.
    lab.receive(from_branch(&invite, "UPDATE", "bot", 2, ANSWER));
    lab.response(491);
    reliable(&mut lab, &invite, "bot", 1, true);
    lab.request(&Method::Prack);
    lab.receive(from_branch(&invite, "UPDATE", "bot", 3, &format!("{ANSWER}a=sendonly\r\n")));
    assert!(String::from_utf8_lossy(lab.response(200).body()).contains("a=recvonly"));
    lab.receive(from_branch(&invite, "UPDATE", "bot", 4, &ANSWER.replace("audio 8", "audio 88")));
    lab.response(488);
    lab.receive(from_branch(&invite, "OPTIONS", "bot", 5, ""));
    lab.response(200);
    lab.receive(from_branch(&invite, "INFO", "bot", 6, ""));
    lab.response(200);
    lab.receive(from_branch(&invite, "INFO", "bot", 2, ""));
    lab.response(500);
    lab.receive(from_branch(&invite, "INFO", "nobody", 1, ""));
    lab.response(481);
}

#[test]
fn a_caller_that_insists_gets_reliable_responses() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKi", "Require: 100rel\r\n");
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Ring { call, headers: Vec::new() });
    let ringing = lab.response(180);
    assert!(ringing.has_token(Name::Require, "100rel"));
    assert_eq!(ringing.header(Name::RSeq).as_deref(), Some("1"));
    lab.wait(Duration::from_millis(500));
    assert_eq!(lab.response(180).as_bytes(), ringing.as_bytes());
    let prack = |rack: &str| request_text("PRACK", "z9hG4bKp", &to_of(&ringing), 2, &format!("RAck: {rack}\r\n"), "");
    lab.receive(prack("9 1 INVITE"));
    lab.response(481);
    lab.receive(prack("1 1 INVITE").replace("CSeq: 2", "CSeq: 3").replace("z9hG4bKp", "z9hG4bKq"));
    lab.response(200);
    lab.seconds(20);
    lab.nothing_sent();
    lab.command(Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    lab.response(200);
}

#[test]
fn without_a_prack_the_call_is_refused() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKi", "Require: 100rel\r\n");
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Ring { call, headers: Vec::new() });
    lab.seconds(33);
    let refused = lab.sent.pop_back().unwrap();
    assert_eq!(refused.status().unwrap().as_u16(), 504);
    assert_eq!(lab.ended(call).cause, Some(504));
}
