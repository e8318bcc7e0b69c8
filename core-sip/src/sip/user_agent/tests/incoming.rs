//! Calls that come to us, and requests that mean nothing.

use std::time::Duration;

use super::super::{CallHandle, Command, EndedBy, UaEvent};
use super::lab::{ANSWER, Lab, OFFER, config, header, request_text, status, text, to_of};
use crate::error::Error;
use crate::sip::header::Name;
use crate::sip::message::{Message, Method};

fn answer(call: CallHandle) -> Command {
    Command::Answer { call, sdp: ANSWER.to_owned(), headers: vec![header("X-Lang", "ru")] }
}

/// The ACK of our 200 to the INVITE of [`Lab::call_in`].
fn ack(ok: &Message, sequence: u32) -> String {
    request_text("ACK", "z9hG4bKack", &to_of(ok), sequence, "", "")
}

/// An incoming call, answered and acknowledged.
fn in_call() -> (Lab, CallHandle, Message) {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(answer(call));
    let ok = lab.response(200);
    lab.receive(ack(&ok, 1));
    assert!(matches!(lab.events()[..], [UaEvent::Confirmed { .. }]));
    (lab, call, ok)
}

#[test]
fn a_call_comes_in_rings_and_is_answered() {
    let mut lab = Lab::connected(config());
    lab.call_in(
        "z9hG4bKin1",
        "X-Customer-Data: {\"clientName\":\"Иван\"}\r\nRecord-Route: <sip:edge.example.com;lr>\r\n",
    );
    let trying = lab.response(100);
    assert!(trying.to().unwrap().tag().is_none());
    let events = lab.events();
    let [UaEvent::Incoming { call, message, offer: Some(offer), replaces: None }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(call.0 >= CallHandle::FIRST_INCOMING);
    assert_eq!(message.header_named("x-customer-data").as_deref(), Some("{\"clientName\":\"Иван\"}"));
    assert_eq!(offer, OFFER);

    lab.command(Command::Ring { call: *call, headers: vec![header("X-Ring", "1")] });
    let ringing = lab.response(180);
    assert_eq!(ringing.header_named("X-Ring").as_deref(), Some("1"));
    assert!(ringing.to().unwrap().tag().is_some() && ringing.contacts().unwrap().len() == 1);
    lab.command(answer(*call));
    let ok = lab.response(200);
    assert_eq!(to_of(&ok), to_of(&ringing));
    assert_eq!(ok.header(Name::RecordRoute).as_deref(), Some("<sip:edge.example.com;lr>"));
    assert_eq!(ok.header_named("X-Lang").as_deref(), Some("ru"));
    assert!(ok.has_token(Name::Allow, "BYE") && ok.body() == ANSWER.as_bytes());
    assert!(lab.events().is_empty());
    lab.receive(ack(&ok, 1));
    assert!(matches!(&lab.events()[..], [UaEvent::Confirmed { call: c, sdp: None }] if c == call));

    lab.receive(request_text("BYE", "z9hG4bKbye", &to_of(&ok), 2, "Reason: Q.850;cause=17;text=\"User busy\"\r\n", ""));
    lab.response(200);
    let ended = lab.ended(*call);
    assert!(matches!(ended.by, EndedBy::Remote) && ended.error.is_none());
    assert_eq!((ended.cause, ended.reason.as_deref()), (Some(17), Some("User busy")));
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn an_invite_that_comes_again_is_answered_by_its_transaction() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    let trying = lab.response(100);
    let call = lab.incoming();
    lab.call_in("z9hG4bKin1", "");
    assert_eq!(text(&lab.response(100)), text(&trying));
    lab.command(Command::Ring { call, headers: Vec::new() });
    let ringing = lab.response(180);
    lab.call_in("z9hG4bKin1", "");
    assert_eq!(text(&lab.response(180)), text(&ringing));
    lab.command(Command::Reject { call, status: status(486), reason: Some("in a call".to_owned()) });
    let busy = lab.response(486);
    assert_eq!(busy.header(Name::Reason).as_deref(), Some("SIP;cause=486;text=\"in a call\""));
    lab.call_in("z9hG4bKin1", "");
    assert_eq!(text(&lab.response(486)), text(&busy));
    lab.receive(request_text("ACK", "z9hG4bKin1", &to_of(&busy), 1, "", ""));
    assert!(matches!(lab.ended(call).by, EndedBy::Local));
    lab.assert_nothing_left();
}

#[test]
fn a_request_that_comes_by_two_ways_is_refused_on_the_second() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKway1", "");
    lab.response(100);
    lab.incoming();
    lab.call_in("z9hG4bKway2", "");
    lab.response(482);
    assert!(lab.events().is_empty());
}

#[test]
fn a_2xx_is_repeated_until_its_ack_or_its_end() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(answer(call));
    let ok = lab.response(200);
    // T1, 2 T1, 4 T1, then every T2.
    for wait in [500, 1000, 2000, 4000, 4000] {
        lab.wait(Duration::from_millis(wait - 1));
        lab.nothing_sent();
        lab.wait(Duration::from_millis(1));
        assert_eq!(text(&lab.response(200)), text(&ok), "{wait}");
    }
    lab.command(Command::Hangup { call, reason: None });
    lab.nothing_sent();
    lab.seconds(32);
    while lab.sent.front().is_some_and(|message| message.status() == Some(status(200))) {
        lab.sent.pop_front();
    }
    let bye = lab.request(&Method::Bye);
    assert_eq!(bye.header(Name::From).unwrap(), to_of(&ok));
    lab.refuse(&bye, 200, &[]);
    lab.ended(call);
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn without_an_ack_the_call_is_ended() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    let call = lab.incoming();
    lab.command(answer(call));
    lab.seconds(33);
    let bye = lab.sent.pop_back().unwrap();
    assert_eq!(bye.method(), Some(&Method::Bye));
    lab.refuse(&bye, 481, &[]);
    assert!(matches!(lab.ended(call).error, Some(Error::Timeout { operation: "ACK", .. })));
}

#[test]
fn a_hangup_before_the_ack_waits_for_it() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(answer(call));
    let ok = lab.response(200);
    lab.command(Command::Hangup { call, reason: None });
    lab.nothing_sent();
    lab.receive(ack(&ok, 1));
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    lab.ended(call);
}

#[test]
fn the_caller_cancels() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";
    lab.receive(request_text("CANCEL", "z9hG4bKin1", "<sip:alice@example.com>", 1, reason, ""));
    let ok = lab.response(200);
    assert_eq!(ok.cseq().unwrap().method, Method::Cancel);
    let terminated = lab.response(487);
    assert_eq!(to_of(&ok), to_of(&terminated));
    let ended = lab.ended(call);
    assert!(matches!(ended.by, EndedBy::Remote));
    assert_eq!((ended.cause, ended.reason.as_deref()), (Some(200), Some("Call completed elsewhere")));
    // Whoever answers in this moment does no harm.
    lab.command(answer(call));
    lab.nothing_sent();
    lab.receive(request_text("ACK", "z9hG4bKin1", &to_of(&terminated), 1, "", ""));
    lab.assert_nothing_left();
    lab.receive(request_text("CANCEL", "z9hG4bKin1", "<sip:alice@example.com>", 1, "", ""));
    lab.response(481);
}

#[test]
fn a_cancel_that_crosses_our_answer_changes_nothing() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(answer(call));
    let ok = lab.response(200);
    lab.receive(request_text("CANCEL", "z9hG4bKin1", "<sip:alice@example.com>", 1, "", ""));
    assert_eq!(lab.response(200).cseq().unwrap().method, Method::Cancel);
    lab.nothing_sent();
    lab.receive(ack(&ok, 1));
    assert!(matches!(lab.events()[..], [UaEvent::Confirmed { .. }]));
}

#[test]
fn a_call_that_nobody_answers_is_refused_in_time() {
    for (headers, seconds) in [("", 180), ("Expires: 20\r\n", 20), ("Expires: 4000\r\n", 180)] {
        let mut lab = Lab::connected(config());
        lab.call_in("z9hG4bKin1", headers);
        lab.response(100);
        let call = lab.incoming();
        lab.seconds(seconds - 1);
        lab.nothing_sent();
        lab.seconds(1);
        lab.response(480);
        assert!(matches!(lab.ended(call).error, Some(Error::Timeout { .. })));
        lab.seconds(32);
        lab.assert_nothing_left();
    }
}

#[test]
fn hanging_up_on_a_call_that_rings_declines_it() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Hangup { call, reason: None });
    lab.response(603);
    assert_eq!(lab.ended(call).cause, Some(603));
}

#[test]
fn an_invite_without_an_offer_gets_ours_and_its_answer_in_the_ack() {
    let mut lab = Lab::connected(config());
    lab.receive(request_text("INVITE", "z9hG4bKin1", "<sip:alice@example.com>", 1, "", ""));
    lab.response(100);
    let events = lab.events();
    let [UaEvent::Incoming { call, offer: None, .. }] = &events[..] else { panic!("{events:?}") };
    lab.command(answer(*call));
    let ok = lab.response(200);
    lab.receive(request_text("ACK", "z9hG4bKack", &to_of(&ok), 1, "", OFFER));
    assert!(matches!(&lab.events()[..], [UaEvent::Confirmed { sdp: Some(sdp), .. }] if sdp == OFFER));
}

#[test]
fn more_calls_than_the_limit_are_busy() {
    let mut lab = Lab::connected(config());
    let limit = lab.agent.config.limits.calls;
    for number in 0..=limit {
        let invite = request_text("INVITE", &format!("z9hG4bK{number}"), "<sip:alice@example.com>", 1, "", OFFER)
            .replace("in-1", &format!("in-{number}"));
        lab.receive(invite);
    }
    assert_eq!(lab.sent.back().and_then(Message::status), Some(status(486)));
    assert_eq!((lab.agent.calls.len(), lab.agent.servers.len()), (limit, limit));
}

#[test]
fn what_is_not_understood_is_refused_as_the_rules_say() {
    let to = "<sip:alice@example.com>";
    let sip = |method: &str, headers: &str| request_text(method, "z9hG4bKx", to, 1, headers, "");
    type Expected = Option<(Name, &'static str)>;
    let table: Vec<(String, u16, Expected)> = vec![
        (
            sip("OPTIONS", ""),
            200,
            Some((Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY")),
        ),
        (sip("OPTIONS", ""), 200, Some((Name::Supported, "outbound, path, 100rel, timer, replaces, gruu"))),
        (
            sip("MESSAGE", ""),
            405,
            Some((Name::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY")),
        ),
        (sip("NOTIFY", ""), 481, None),
        (sip("SUBSCRIBE", ""), 405, None),
        (sip("REFER", ""), 481, None),
        (sip("UPDATE", ""), 481, None),
        (sip("REGISTER", ""), 405, None),
        (sip("FROBNICATE", ""), 405, None),
        (sip("BYE", ""), 481, None),
        (sip("INFO", ""), 481, None),
        (sip("CANCEL", ""), 481, None),
        (request_text("BYE", "z9hG4bKx", "<sip:alice@example.com>;tag=gone", 1, "", ""), 481, None),
        (request_text("INVITE", "z9hG4bKx", "<sip:alice@example.com>;tag=gone", 1, "", OFFER), 481, None),
        (sip("INVITE", "Require: 100rel, outbound, precondition\r\n"), 420, Some((Name::Unsupported, "precondition"))),
        (sip("OPTIONS", "").replace("OPTIONS sip:", "OPTIONS tel:"), 416, None),
        (sip("OPTIONS", "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505, None),
        (sip("OPTIONS", "").replace("1 OPTIONS", "1 INVITE"), 400, None),
        (sip("INVITE", "").replace("<sip:bot@192.0.2.9:5060>", "<:::>"), 400, None),
        (
            request_text("INVITE", "z9hG4bKx", to, 1, "", OFFER).replace("application/sdp", "text/plain"),
            415,
            Some((Name::Accept, "application/sdp")),
        ),
        (
            request_text("INVITE", "z9hG4bKx", to, 1, "Content-Encoding: gzip\r\n", OFFER),
            415,
            Some((Name::AcceptEncoding, "identity")),
        ),
    ];
    for (request, code, expected) in table {
        let mut lab = Lab::connected(config());
        lab.receive(request.clone());
        let response = lab.response(code);
        if let Some((name, value)) = expected {
            assert_eq!(response.header(name).as_deref(), Some(value), "{request}");
        }
        lab.nothing_sent();
        assert!(lab.events().is_empty(), "{request}");
        lab.assert_nothing_left();
    }
}

#[test]
fn a_header_that_cannot_be_read_is_refused_with_400() {
    let mut lab = Lab::connected(config());
    let options = request_text("OPTIONS", "z9hG4bKx", "<sip:alice@example.com>", 1, "", "");
    lab.receive(options.replace("CSeq: 1", "CSeq: 99999999999"));
    assert_eq!(lab.unreadable.len(), 1);
    assert!(String::from_utf8_lossy(&lab.unreadable[0]).contains("branch=z9hG4bKx"));
}

#[test]
fn what_may_not_be_answered_is_not() {
    for request in [
        request_text("ACK", "z9hG4bKx", "<sip:alice@example.com>;tag=x", 1, "", ""),
        request_text("ACK", "z9hG4bKx", "<sip:alice@example.com>", 1, "", "").replace("1 ACK", "1 INVITE"),
        "nonsense".to_owned(),
        "OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_owned(),
    ] {
        let mut lab = Lab::connected(config());
        lab.receive(request.clone());
        lab.nothing_sent();
        assert!(lab.events().is_empty(), "{request}");
    }
}

#[test]
fn a_client_older_than_rfc_3261_is_served() {
    let mut lab = Lab::connected(config());
    lab.call_in("1", "");
    lab.response(100);
    let call = lab.incoming();
    lab.call_in("1", "");
    lab.response(100);
    lab.command(Command::Reject { call, status: status(404), reason: None });
    let refused = lab.response(404);
    lab.receive(request_text("ACK", "1", &to_of(&refused), 1, "", ""));
    lab.assert_nothing_left();
}

#[test]
fn a_call_that_rings_ends_with_its_flow() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKin1", "");
    let call = lab.incoming();
    lab.lose_flow();
    assert_eq!(lab.ended(call).error, Some(Error::FlowLostDuringSetup));
    lab.assert_nothing_left();
}

#[test]
fn requests_in_a_call_are_told_apart_by_their_number() {
    let (mut lab, call, ok) = in_call();
    let info = |sequence, kind: &str| {
        let body = "Signal=5\r\nDuration=160\r\n";
        let headers = format!("Content-Type: {kind}\r\n");
        request_text("INFO", &format!("z9hG4bKi{sequence}"), &to_of(&ok), sequence, &headers, "")
            .replace("Content-Length: 0\r\n\r\n", &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    lab.receive(info(5, "application/dtmf-relay"));
    lab.response(200);
    assert!(matches!(
        &lab.events()[..],
        [UaEvent::Info { call: c, content_type, body }]
            if *c == call && content_type == "application/dtmf-relay" && body.starts_with(b"Signal=5")
    ));
    lab.receive(info(5, "application/dtmf-relay"));
    lab.response(200);
    assert!(lab.events().is_empty(), "a key that is pressed once is heard once");
    lab.receive(info(4, "application/dtmf-relay"));
    lab.response(500);
    lab.receive(info(6, "Application/DTMF"));
    lab.response(200);
    assert!(matches!(&lab.events()[..], [UaEvent::Info { .. }]));
    lab.receive(info(7, "application/json"));
    let refused = lab.response(415);
    assert!(refused.header(Name::Accept).unwrap().contains("application/dtmf-relay"));
    lab.receive(request_text("OPTIONS", "z9hG4bKo", &to_of(&ok), 8, "", ""));
    lab.response(200);
    lab.receive(request_text("REFER", "z9hG4bKr", &to_of(&ok), 9, "", ""));
    lab.response(603);
    assert!(lab.events().is_empty());
}

#[test]
fn the_same_offer_gets_the_same_answer_and_another_one_is_for_the_program() {
    let (mut lab, call, ok) = in_call();
    let other = OFFER.replace("m=audio 9", "m=audio 10");
    lab.receive(request_text("INVITE", "z9hG4bKr1", &to_of(&ok), 2, "", &other));
    lab.response(100);
    assert!(matches!(&lab.events()[..], [UaEvent::Reoffered { call: of, offer }] if *of == call && *offer == other));
    // Whoever does not answer in time does not want it.
    lab.seconds(9);
    lab.nothing_sent();
    lab.seconds(2);
    let refused = lab.response(488);
    lab.receive(request_text("ACK", "z9hG4bKr1", &to_of(&refused), 2, "", ""));
    // The refresh of a session timer: a new version of the same description.
    let refresh = OFFER.replace("o=- 1 1", "o=- 1 2");
    lab.receive(request_text("INVITE", "z9hG4bKr2", &to_of(&ok), 3, "", &refresh));
    assert_eq!(lab.response(200).body(), ANSWER.as_bytes());
    lab.receive(ack(&ok, 3));
    let moved = request_text("INVITE", "z9hG4bKr3", &to_of(&ok), 4, "", OFFER).replace("192.0.2.9", "192.0.2.10");
    lab.receive(moved);
    let again = lab.response(200);
    assert_eq!(again.body(), ANSWER.as_bytes());
    lab.wait(Duration::from_millis(500));
    assert_eq!(text(&lab.response(200)), text(&again));
    lab.receive(ack(&ok, 4));
    lab.seconds(10);
    lab.nothing_sent();
    assert!(lab.events().is_empty());
    // The far end's new Contact counts.
    lab.command(Command::Hangup { call: CallHandle(CallHandle::FIRST_INCOMING), reason: None });
    assert_eq!(lab.request(&Method::Bye).request_uri(), Some("sip:bot@192.0.2.10:5060"));
}

#[test]
fn a_reinvite_without_an_offer_gets_what_we_said_last() {
    let (mut lab, call, ok) = in_call();
    let other = OFFER.replace("m=audio 9", "m=audio 10");
    for (sequence, answer) in [(2, OFFER.replace("o=- 1 1", "o=- 1 2")), (3, other), (4, String::new())] {
        lab.receive(request_text("INVITE", &format!("z9hG4bKr{sequence}"), &to_of(&ok), sequence, "", ""));
        let offer = lab.response(200);
        assert_eq!(offer.body(), ANSWER.as_bytes());
        assert!(offer.contacts().unwrap().len() == 1);
        lab.events.clear();
        lab.receive(request_text("ACK", "z9hG4bKack", &to_of(&ok), sequence, "", &answer));
        let told = lab.events();
        assert_eq!(told.len(), usize::from(sequence == 3), "only a change is worth a word: {told:?}");
        assert!(told.iter().all(|event| matches!(event, UaEvent::MediaMoved { .. })), "{told:?}");
        lab.seconds(40);
        lab.nothing_sent();
    }
    // Without an ACK the call is over, as the rules say (RFC 3261 §14.2).
    lab.receive(request_text("INVITE", "z9hG4bKr5", &to_of(&ok), 5, "", ""));
    lab.seconds(33);
    let bye = lab.sent.pop_back().unwrap();
    assert_eq!(bye.method(), Some(&Method::Bye));
    lab.refuse(&bye, 200, &[]);
    assert!(matches!(lab.ended(call).error, Some(Error::Timeout { operation: "ACK", .. })));
}

#[test]
fn byes_that_cross_end_the_call_once() {
    let (mut lab, call, ok) = in_call();
    lab.command(Command::Hangup { call, reason: Some("done".to_owned()) });
    let bye = lab.request(&Method::Bye);
    lab.receive(request_text("BYE", "z9hG4bKb", &to_of(&ok), 2, "", ""));
    lab.response(200);
    let ended = lab.ended(call);
    assert!(matches!(ended.by, EndedBy::Local));
    assert_eq!(ended.reason.as_deref(), Some("done"));
    lab.refuse(&bye, 481, &[]);
    assert!(lab.events().is_empty());
    lab.receive(request_text("BYE", "z9hG4bKb2", &to_of(&ok), 3, "", ""));
    lab.response(481);
}

#[test]
fn an_info_of_ours_is_answered_refused_or_never_answered() {
    let (mut lab, call, _) = in_call();
    let send = |lab: &mut Lab| {
        let content_type = crate::header_field::HeaderValue::from_static("application/dtmf-relay");
        lab.command(Command::Info { call, content_type, body: "Signal=1\r\n".into() });
        lab.request(&Method::Info)
    };
    let result = |lab: &mut Lab| {
        lab.events().into_iter().find_map(|event| match event {
            UaEvent::InfoResult { result, .. } => Some(result),
            _ => None,
        })
    };
    let info = send(&mut lab);
    assert_eq!(info.header(Name::ContentType).as_deref(), Some("application/dtmf-relay"));
    lab.refuse(&info, 200, &[]);
    assert_eq!(result(&mut lab), Some(Ok(())));
    let info = send(&mut lab);
    lab.refuse(&info, 415, &[]);
    assert!(matches!(result(&mut lab), Some(Err(Error::CallRefused { status: 415, .. }))));
    send(&mut lab);
    lab.seconds(32);
    assert!(matches!(result(&mut lab), Some(Err(Error::Timeout { operation: "INFO", .. }))));
    lab.receive("\r\n");
    lab.sent.clear();
    // The far end knows nothing of the call: it is over.
    let info = send(&mut lab);
    lab.refuse(&info, 481, &[]);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 481, &[]);
    assert!(matches!(lab.ended(call).by, EndedBy::Remote));
    let content_type = crate::header_field::HeaderValue::from_static("application/dtmf-relay");
    lab.command(Command::Info { call, content_type, body: "Signal=1\r\n".into() });
    assert!(matches!(result(&mut lab), Some(Err(Error::WrongState { .. }))));
}
