//! Calls that we place.

use std::time::Duration;

use super::super::{CallHandle, Command, Direction, EndedBy, UaEvent};
use super::lab::{ANSWER, CALL, Lab, OFFER, PASSWORD, config, header, invite_command, status, text};
use crate::error::{CallRefusal, Error};
use crate::sip::header::Name;
use crate::sip::message::Method;

const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "Digest realm=\"example.com\", qop=\"auth\", nonce=\"n\"");

fn hangup(reason: Option<&str>) -> Command {
    Command::Hangup { call: CALL, reason: reason.map(str::to_owned) }
}

#[test]
fn an_invite_carries_what_it_must_and_what_it_was_given() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    let message = text(&invite);
    assert_eq!(invite.request_uri(), Some("sip:app-7087fe50@example.com"));
    assert_eq!(invite.header(Name::To).as_deref(), Some("<sip:app-7087fe50@example.com>"));
    assert_eq!(invite.call_id().unwrap(), "kqzmwbtr-1");
    assert_eq!(invite.header(Name::MaxForwards).as_deref(), Some("70"));
    assert_eq!(invite.header_named("X-Call-Tag").as_deref(), Some("kqzmwbtr"));
    assert_eq!(invite.header(Name::UserAgent).as_deref(), Some("codex-test"));
    assert!(invite.has_token(Name::Supported, "outbound"), "{message}");
    assert!(invite.has_token(Name::Allow, "BYE") && invite.has_token(Name::Allow, "UPDATE"), "{message}");
    let from = invite.from().unwrap();
    assert_eq!(from.display_name().as_deref(), Some("webcall:kqzmwbtr"));
    assert_eq!(from.uri(), "sip:alice@example.com");
    assert!(from.tag().is_some_and(|tag| tag.len() >= 8));
    let via = invite.top_via().unwrap();
    assert_eq!(via.transport(), "WSS");
    assert!(via.sent_by_host().ends_with(".invalid") && via.branch().is_some_and(|b| b.starts_with("z9hG4bK")));
    let contact = invite.contacts().unwrap().remove(0).uri().to_owned();
    assert_eq!(contact, format!("sip:alice@{};transport=ws;ob", via.sent_by_host()));
    assert_eq!(invite.body(), OFFER.as_bytes());
}

#[test]
fn a_call_is_answered_and_we_hang_up() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.refuse(&invite, 100, &[]);
    assert!(lab.events().is_empty(), "100 is between neighbours");
    lab.answer(&invite, 180, "bot", &[], false);
    assert!(
        matches!(&lab.events()[..], [UaEvent::Provisional { call: CALL, status: s, sdp: None, .. }] if *s == status(180))
    );
    lab.answer(&invite, 183, "bot", &[], true);
    assert!(matches!(&lab.events()[..], [UaEvent::Provisional { sdp: Some(sdp), .. }] if sdp == ANSWER));

    let routes = [("Record-Route", "<sip:edge.example.com;lr>"), ("Contact", "<sip:bot@192.0.2.1:5060>")];
    lab.answer(&invite, 200, "bot", &routes, true);
    assert!(matches!(&lab.events()[..], [UaEvent::Accepted { call: CALL, sdp: Some(sdp), .. }] if sdp == ANSWER));
    let ack = lab.request(&Method::Ack);
    assert_eq!(ack.request_uri(), Some("sip:bot@192.0.2.1:5060"));
    assert_eq!(ack.header(Name::Route).as_deref(), Some("<sip:edge.example.com;lr>"));
    assert_eq!(ack.cseq().unwrap().number, invite.cseq().unwrap().number);
    assert_eq!(ack.to().unwrap().tag(), Some("bot"));
    assert_ne!(ack.top_via().unwrap().branch(), invite.top_via().unwrap().branch());

    // Every repetition of the 2xx is acknowledged again, and is no news.
    lab.answer(&invite, 200, "bot", &routes, true);
    assert_eq!(text(&lab.request(&Method::Ack)), text(&ack));
    assert!(lab.events().is_empty());

    lab.command(hangup(Some("bye \"now\"")));
    let bye = lab.request(&Method::Bye);
    assert_eq!(bye.header(Name::Route).as_deref(), Some("<sip:edge.example.com;lr>"));
    assert_eq!(bye.header(Name::Reason).as_deref(), Some("Q.850;cause=16;text=\"bye \\\"now\\\"\""));
    assert!(bye.cseq().unwrap().number > invite.cseq().unwrap().number);
    assert!(!lab.has_ended());
    lab.refuse(&bye, 200, &[]);
    let ended = lab.ended(CALL);
    assert!(matches!(ended.by, EndedBy::Local) && ended.error.is_none());
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn refusals_are_acknowledged_and_told_in_plain_words() {
    for (code, headers, expected, reason) in [
        (486, &[][..], CallRefusal::Busy, "Busy Here"),
        (603, &[], CallRefusal::Declined, "Decline"),
        (404, &[("Reason", "Q.850;cause=1;text=\"Unallocated\"")], CallRefusal::NotFound, "Unallocated"),
        (480, &[("Reason", "Q.850;cause=19")], CallRefusal::Unavailable, "Temporarily Unavailable"),
        (
            503,
            &[("Reason", "Q.850;cause=34"), ("Reason", "SIP;cause=500;text=\"No trunk\""), ("Retry-After", "7")],
            CallRefusal::Overloaded,
            "No trunk",
        ),
        (480, &[("X-Reason", "no configured application")], CallRefusal::NoApplication, "Temporarily Unavailable"),
        (302, &[], CallRefusal::Other, "Moved Temporarily"),
    ] {
        let mut lab = Lab::connected(config());
        lab.command(invite_command(CALL));
        let invite = lab.request(&Method::Invite);
        lab.refuse(&invite, code, headers);
        let ack = lab.request(&Method::Ack);
        assert_eq!(ack.top_via().unwrap().branch(), invite.top_via().unwrap().branch(), "{code}");
        assert_eq!(ack.to().unwrap().tag(), Some("far"));
        let ended = lab.ended(CALL);
        assert_eq!((ended.cause, ended.reason.as_deref()), (Some(code), Some(reason)));
        assert!(matches!(ended.by, EndedBy::Remote));
        let Some(Error::CallRefused { refusal, status, retry_after, .. }) = ended.error else { panic!("{code}") };
        assert_eq!((refusal, status), (expected, code));
        assert_eq!(retry_after, (code == 503).then_some(Duration::from_secs(7)));
        lab.assert_nothing_left();
    }
}

#[test]
fn no_answer_at_all_ends_after_64_t1() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    lab.request(&Method::Invite);
    lab.wait(Duration::from_millis(31_900));
    assert!(!lab.has_ended());
    lab.wait(Duration::from_millis(200));
    assert!(matches!(lab.ended(CALL).error, Some(Error::Timeout { operation: "INVITE", .. })));
    assert_eq!(lab.agent.calls.len(), 0);
}

#[test]
fn a_call_that_rings_too_long_is_cancelled() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 180, "bot", &[], false);
    lab.wait(Duration::from_millis(59_900));
    lab.nothing_sent();
    lab.wait(Duration::from_millis(200));
    let cancel = lab.request(&Method::Cancel);
    assert_eq!(cancel.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    assert_eq!(cancel.cseq().unwrap().number, invite.cseq().unwrap().number);
    assert_eq!(cancel.request_uri(), invite.request_uri());
    assert!(cancel.to().unwrap().tag().is_none());
    lab.refuse(&cancel, 200, &[]);
    assert!(!lab.has_ended(), "200 to CANCEL says nothing of the INVITE");
    lab.answer(&invite, 487, "bot", &[], false);
    lab.request(&Method::Ack);
    let ended = lab.ended(CALL);
    assert!(matches!(ended.by, EndedBy::Local));
    assert!(matches!(ended.error, Some(Error::CallRefused { refusal: CallRefusal::NoAnswer, status: 487, .. })));
    assert_eq!(ended.cause, Some(487));
    lab.assert_nothing_left();
}

#[test]
fn nobody_answered_whatever_becomes_of_the_cancel() {
    let ringing = || {
        let mut lab = Lab::connected(config());
        lab.command(invite_command(CALL));
        let invite = lab.request(&Method::Invite);
        lab.answer(&invite, 180, "bot", &[], false);
        lab.seconds(60);
        lab.request(&Method::Cancel);
        (lab, invite)
    };
    let nobody = |error: Option<Error>| {
        let expected = Error::CallRefused {
            refusal: CallRefusal::NoAnswer,
            status: 480,
            phrase: "Temporarily Unavailable".to_owned(),
            x_reason: None,
            retry_after: None,
        };
        assert_eq!(error, Some(expected));
    };
    // It is never answered.
    let (mut lab, _) = ringing();
    lab.seconds(32);
    nobody(lab.ended(CALL).error);
    // It crosses an answer, which comes too late.
    let (mut lab, invite) = ringing();
    lab.accept(&invite, "bot");
    lab.request(&Method::Ack);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    nobody(lab.ended(CALL).error);
    // Not even the next hop has said anything: then it is not the callee who did not answer.
    let mut settings = config();
    settings.no_answer_timeout = Duration::from_secs(5);
    let mut lab = Lab::connected(settings);
    lab.command(invite_command(CALL));
    lab.request(&Method::Invite);
    lab.seconds(32);
    assert!(matches!(lab.ended(CALL).error, Some(Error::Timeout { operation: "INVITE", .. })));
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.command(hangup(Some("changed my mind")));
    lab.nothing_sent();
    lab.refuse(&invite, 100, &[]);
    let cancel = lab.request(&Method::Cancel);
    assert_eq!(cancel.header(Name::Reason).as_deref(), Some("SIP;cause=487;text=\"changed my mind\""));
    lab.answer(&invite, 180, "bot", &[], false);
    lab.nothing_sent();
    lab.answer(&invite, 487, "bot", &[], false);
    lab.request(&Method::Ack);
    let ended = lab.ended(CALL);
    assert!(matches!(ended.by, EndedBy::Local) && ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.reason.as_deref(), Some("changed my mind"));
}

#[test]
fn hanging_up_on_an_invite_that_is_refused_meanwhile_sends_no_cancel() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.command(hangup(None));
    lab.refuse(&invite, 486, &[]);
    lab.request(&Method::Ack);
    lab.nothing_sent();
    assert!(matches!(lab.ended(CALL).by, EndedBy::Local));
    lab.assert_nothing_left();
}

/// CANCEL crosses 200, or the callee answers in spite of it: the call is taken and ended.
#[test]
fn an_answer_after_the_cancel_is_acknowledged_and_ended() {
    for cancel_answered_first in [false, true] {
        let mut lab = Lab::connected(config());
        lab.command(invite_command(CALL));
        let invite = lab.request(&Method::Invite);
        lab.answer(&invite, 180, "bot", &[], false);
        lab.events.clear();
        lab.command(hangup(None));
        let cancel = lab.request(&Method::Cancel);
        if cancel_answered_first {
            lab.refuse(&cancel, 200, &[]);
            lab.seconds(5);
        }
        lab.accept(&invite, "bot");
        lab.request(&Method::Ack);
        let bye = lab.request(&Method::Bye);
        if !cancel_answered_first {
            lab.refuse(&cancel, 481, &[]);
        }
        assert!(!lab.has_ended());
        lab.accept(&invite, "bot");
        lab.request(&Method::Ack);
        lab.refuse(&bye, 200, &[]);
        assert!(
            !lab.events.iter().any(|event| matches!(event, UaEvent::Accepted { .. })),
            "nobody wants this answer any more"
        );
        assert!(matches!(lab.ended(CALL).by, EndedBy::Local));
        lab.seconds(40);
        lab.assert_nothing_left();
    }
}

#[test]
fn a_cancel_that_is_never_answered_is_given_up_and_a_late_answer_still_ended() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 180, "bot", &[], false);
    lab.command(hangup(None));
    lab.request(&Method::Cancel);
    lab.wait(Duration::from_millis(31_900));
    assert!(!lab.has_ended());
    lab.wait(Duration::from_millis(200));
    assert!(matches!(lab.ended(CALL).error, Some(Error::Timeout { operation: "CANCEL", .. })));

    // Something is wrong with the edge, or with the way to it.
    lab.request(&Method::Options);
    lab.seconds(5);
    lab.accept(&invite, "bot");
    lab.request(&Method::Ack);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    assert!(lab.events().iter().all(|event| !matches!(event, UaEvent::Ended { .. } | UaEvent::Accepted { .. })));
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn a_second_branch_that_answers_is_acknowledged_and_ended() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.accept(&invite, "first");
    lab.request(&Method::Ack);
    lab.events.clear();
    lab.answer(&invite, 200, "second", &[("Contact", "<sip:other@192.0.2.7>")], true);
    let ack = lab.request(&Method::Ack);
    assert_eq!((ack.request_uri(), ack.to().unwrap().tag()), (Some("sip:other@192.0.2.7"), Some("second")));
    let bye = lab.request(&Method::Bye);
    assert_eq!((bye.request_uri(), bye.to().unwrap().tag()), (Some("sip:other@192.0.2.7"), Some("second")));
    // The other branch repeats its 200 until our ACK gets there.
    lab.answer(&invite, 200, "second", &[("Contact", "<sip:other@192.0.2.7>")], true);
    assert_eq!(text(&lab.request(&Method::Ack)), text(&ack));
    lab.nothing_sent();
    lab.refuse(&bye, 200, &[]);
    assert!(lab.events().is_empty(), "the call goes on and nobody hears of it");

    lab.command(hangup(None));
    assert_eq!(lab.request(&Method::Bye).to().unwrap().tag(), Some("first"));
}

#[test]
fn more_branches_than_the_limit_are_not_remembered() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    for branch in 0..100 {
        lab.accept(&invite, &format!("b{branch}"));
    }
    let acks = lab.sent.iter().filter(|message| message.method() == Some(&Method::Ack)).count();
    assert_eq!(acks, lab.agent.config.limits.forks);
}

#[test]
fn what_cannot_be_called_ends_with_the_reason() {
    let mut lab = Lab::connected(config());
    for (target, call_id) in
        [("not a uri", "x"), ("", "x"), ("sip:a@b\r\nX: y", "x"), ("sip:a@b", "a b"), ("sip:a@b", "")]
    {
        lab.command(Command::Invite {
            call: CALL,
            target: target.to_owned(),
            call_id: call_id.to_owned(),
            headers: Vec::new(),
            offer: OFFER.to_owned(),
            display_name: None,
        });
        assert!(lab.ended(CALL).error.is_some(), "{target:?} {call_id:?}");
        lab.nothing_sent();
    }
    let incoming = CallHandle(CallHandle::FIRST_INCOMING);
    lab.command(invite_command(incoming));
    assert!(matches!(lab.ended(incoming).error, Some(Error::WrongState { .. })));
}

#[test]
fn no_more_calls_than_the_limit() {
    let mut lab = Lab::connected(config());
    let limit = lab.agent.config.limits.calls as u64;
    for call in 0..limit {
        lab.command(invite_command(CallHandle(call)));
    }
    assert!(lab.events().is_empty());
    lab.command(invite_command(CallHandle(limit)));
    assert!(matches!(lab.ended(CallHandle(limit)).error, Some(Error::WrongState { operation: "invite", .. })));
}

#[test]
fn a_reason_that_cannot_be_sent_keeps_no_call_up() {
    let endless = "x".repeat(70 * 1024);
    let (mut lab, _) = Lab::in_call(config());
    lab.command(hangup(Some(&endless)));
    let bye = lab.request(&Method::Bye);
    assert_eq!((bye.header(Name::Reason), bye.cseq().unwrap().number), (None, 2));
    lab.refuse(&bye, 200, &[]);
    assert_eq!(lab.ended(CALL).error, None);

    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 180, "bot", &[], false);
    lab.command(hangup(Some(&endless)));
    assert_eq!(lab.request(&Method::Cancel).header(Name::Reason), None);
}

#[test]
fn requests_that_wait_leave_room_for_bye_and_cancel() {
    let (mut lab, _) = Lab::in_call(config());
    let ringing = CallHandle(2);
    lab.command(invite_command(ringing));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 180, "bot", &[], false);
    let limit = lab.agent.config.limits.client_transactions;
    for _ in 0..limit {
        let content_type = crate::header_field::HeaderValue::from_static("application/dtmf-relay");
        lab.command(Command::Info { call: CALL, content_type, body: "Signal=1\r\n".into() });
    }
    // The INVITE of the call that is up lingers, and waits for nothing.
    assert!(lab.sent.len() > limit / 2 && lab.agent.clients.len() == limit - limit / 4 + 1);
    lab.sent.clear();
    lab.command(hangup(None));
    lab.request(&Method::Bye);
    lab.command(Command::Hangup { call: ringing, reason: None });
    lab.request(&Method::Cancel);
}

#[test]
fn many_short_calls_in_a_row_do_not_count_as_requests_that_wait() {
    let mut lab = Lab::connected(config());
    let calls = 3 * lab.agent.config.limits.client_transactions as u64;
    for n in 1..=calls {
        let call = CallHandle(n);
        lab.command(invite_command(call));
        let invite = lab.request(&Method::Invite);
        lab.accept(&invite, "bot");
        lab.request(&Method::Ack);
        lab.command(Command::Hangup { call, reason: None });
        let bye = lab.request(&Method::Bye);
        lab.refuse(&bye, 200, &[]);
        assert_eq!(lab.ended(call).error, None, "call {n}");
    }
    // What lingers takes no more room than the calls that may be at once, and is gone after Timer M.
    assert_eq!(lab.agent.clients.len(), lab.agent.config.limits.calls);
    lab.seconds(33);
    lab.assert_nothing_left();
}

#[test]
fn a_strange_response_changes_nothing() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    let ok = text(&Lab::response_message(&invite));
    for (from, to) in [
        ("branch=z9hG4bK", "branch=z9hG4bKx"),
        ("Via: ", "Via: SIP/2.0/WSS other.invalid;branch=z9hG4bKother\r\nVia: "),
        ("1 INVITE", "1 BYE"),
        (".invalid;branch", ".invalid.example;branch"),
    ] {
        let strange = ok.replacen(from, to, 1);
        assert_ne!(strange, ok);
        lab.receive(strange);
        lab.nothing_sent();
        assert!(lab.events().is_empty(), "{from}");
    }
    lab.receive(ok);
    lab.request(&Method::Ack);
}

#[test]
fn an_answer_without_a_contact_ends_the_call() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 200, "bot", &[], true);
    assert!(matches!(lab.ended(CALL).error, Some(Error::Malformed(_))));
}

#[test]
fn a_display_name_of_the_configuration_is_used_when_a_call_gives_none() {
    let mut settings = config();
    settings.display_name = Some("Иван \"Ваня\"".to_owned());
    let mut lab = Lab::connected(settings);
    lab.command(Command::Invite {
        call: CALL,
        target: "sip:bot@example.com".to_owned(),
        call_id: "c".to_owned(),
        headers: vec![header("X-Customer-Data", "{\"clientName\":\"Иван Иванов\"}")],
        offer: OFFER.to_owned(),
        display_name: None,
    });
    let invite = lab.request(&Method::Invite);
    assert_eq!(invite.from().unwrap().display_name().as_deref(), Some("Иван \"Ваня\""));
    assert_eq!(invite.header_named("X-Customer-Data").as_deref(), Some("{\"clientName\":\"Иван Иванов\"}"));
}

#[test]
fn hanging_up_before_the_challenge_sends_no_second_invite() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.command(hangup(Some("too late")));
    lab.refuse(&invite, 401, &[CHALLENGE]);
    lab.request(&Method::Ack);
    lab.nothing_sent();
    let ended = lab.ended(CALL);
    assert_eq!((ended.cause, ended.reason.as_deref()), (None, Some("too late")));
    lab.assert_nothing_left();
}

#[test]
fn every_message_is_traced_if_asked_for() {
    let mut settings = config();
    settings.trace = true;
    let mut lab = Lab::connected(settings);
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.refuse(&invite, 486, &[]);
    let traced: Vec<(Direction, String)> = lab
        .events()
        .into_iter()
        .filter_map(|event| match event {
            UaEvent::Trace { direction, bytes } => {
                Some((direction, String::from_utf8_lossy(&bytes).split(' ').next().unwrap().to_owned()))
            }
            _ => None,
        })
        .collect();
    let line = |direction, text: &str| (direction, text.to_owned());
    assert_eq!(
        traced,
        [line(Direction::Sent, "INVITE"), line(Direction::Received, "SIP/2.0"), line(Direction::Sent, "ACK")]
    );
}

#[test]
fn nothing_that_is_shown_holds_the_password() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.refuse(&invite, 401, &[CHALLENGE]);
    let shown = format!("{:?} {:?}", lab.agent, lab.events);
    assert!(shown.contains("alice") && !shown.contains(PASSWORD));
}
