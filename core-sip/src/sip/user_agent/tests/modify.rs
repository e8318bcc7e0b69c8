//! Changes of a call: refresh after a new flow, hold, offers both ways, glare, session timers.

use std::time::Duration;

use super::super::{CallHandle, Command, Input, UaEvent};
use super::lab::{ANSWER, CALL, Lab, OFFER, config, invite_command, request_text, to_of};
use crate::error::Error;
use crate::sip::header::Name;
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::sdp::Direction;

const CONTACT: (&str, &str) = ("Contact", "<sip:bot@192.0.2.1:5060>");

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Our OFFER in its `version`, with a direction.
fn offer(version: u32, direction: &str) -> String {
    OFFER.replace("o=- 1 1", &format!("o=- 1 {version}")) + &format!("a={direction}\r\n")
}

/// A request of the far end in the call that we placed.
fn from_far_end(lab: &Lab, method: &str, branch: &str, sequence: u32, headers: &str, sdp: &str) -> String {
    let (_, call) = lab.agent.calls.first_key_value().unwrap();
    let super::super::call::Phase::Established(established) = &call.phase else { panic!("the call is up") };
    let id = established.dialog.id();
    request_text(method, branch, &format!("<sip:alice@example.com>;tag={}", id.local_tag), sequence, headers, sdp)
        .replace("Call-ID: in-1", &format!("Call-ID: {}", id.call_id))
        .replace("tag=caller", "tag=bot")
}

fn answer(lab: &mut Lab, request: &Message, code: u16, headers: &[(&str, &str)], sdp: &str) {
    let bytes = super::lab::response(request, code, None, "", headers, false);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let text = if sdp.is_empty() {
        text
    } else {
        let head = text.split("Content-Length").next().unwrap();
        format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
    };
    lab.receive(text);
}

fn lose_and_return(lab: &mut Lab) {
    lab.lose_flow();
    let waited_until = lab.now + Duration::from_secs(31);
    while lab.flow.is_none() && lab.now < waited_until {
        lab.wait(Duration::from_millis(10));
    }
    assert!(lab.flow.is_some());
}

fn hold_results(lab: &mut Lab) -> Vec<Result<(), Error>> {
    lab.events()
        .into_iter()
        .filter_map(|event| match event {
            UaEvent::HoldResult { result, .. } => Some(result),
            _ => None,
        })
        .collect()
}

#[test]
fn after_a_new_flow_a_reinvite_shows_the_way_to_us() {
    let (mut lab, invite) = Lab::in_call(config());
    lose_and_return(&mut lab);
    let refresh = lab.request(&Method::Invite);
    assert_eq!(body(&refresh), OFFER, "nothing has changed, and no version rises");
    assert_eq!(refresh.header(Name::Contact), invite.header(Name::Contact));
    assert_eq!(refresh.to().unwrap().tag(), Some("bot"));
    assert!(refresh.cseq().unwrap().number > invite.cseq().unwrap().number);
    lab.accept(&refresh, "bot");
    let ack = lab.request(&Method::Ack);
    assert_eq!(ack.cseq().unwrap().number, refresh.cseq().unwrap().number);
    // The 200 again, as when the ACK got lost behind the edge.
    lab.accept(&refresh, "bot");
    assert_eq!(lab.request(&Method::Ack).as_bytes(), ack.as_bytes());
    assert!(!lab.events().iter().any(|event| matches!(event, UaEvent::Ended { .. } | UaEvent::MediaMoved { .. })));
    lab.seconds(100);
    lab.nothing_sent();
}

#[test]
fn a_far_end_that_takes_update_gets_one_without_a_body() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 200, "bot", &[CONTACT, ("Allow", "INVITE, ACK, BYE, UPDATE")], true);
    lab.request(&Method::Ack);
    lose_and_return(&mut lab);
    let update = lab.request(&Method::Update);
    assert!(update.body().is_empty() && update.header(Name::Contact).is_some());
    // It said so, but does not do it: then the other way.
    lab.refuse(&update, 405, &[]);
    let reinvite = lab.request(&Method::Invite);
    lab.accept(&reinvite, "bot");
    lab.request(&Method::Ack);
    lose_and_return(&mut lab);
    lab.request(&Method::Invite);
}

#[test]
fn a_refresh_that_is_lost_with_its_flow_goes_out_on_the_next() {
    let (mut lab, _) = Lab::in_call(config());
    for _ in 0..5 {
        lose_and_return(&mut lab);
        lab.request(&Method::Invite);
    }
    lab.seconds(40);
    assert!(!lab.has_ended(), "nobody answers, but the call is not ours to end");
    lab.sent.clear();
    lose_and_return(&mut lab);
    let refresh = lab.request(&Method::Invite);
    lab.refuse(&refresh, 481, &[]);
    lab.request(&Method::Ack);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 481, &[]);
    assert!(matches!(lab.ended(CALL).error, Some(Error::CallRefused { status: 481, .. })));
    lab.assert_nothing_left();
}

#[test]
fn an_invite_without_an_answer_is_called_off_on_the_next_flow() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.refuse(&invite, 180, &[CONTACT]);
    lose_and_return(&mut lab);
    assert_eq!(lab.ended(CALL).error, Some(Error::FlowLostDuringSetup));
    let cancel = lab.request(&Method::Cancel);
    assert_eq!(cancel.header(Name::Via), invite.header(Name::Via), "the edge knows the INVITE by its branch");
    assert_eq!(cancel.cseq().unwrap().number, invite.cseq().unwrap().number);
    assert_eq!(cancel.request_uri(), invite.request_uri());
    lab.refuse(&cancel, 481, &[]);
    lab.assert_nothing_left();

    // Whoever comes back too late has nothing to call off.
    lab.command(invite_command(CALL));
    lab.request(&Method::Invite);
    lab.refuse_flows = Some(Error::FlowLost { problem: "no".to_owned() });
    lab.lose_flow();
    lab.seconds(40);
    lab.refuse_flows = None;
    lab.seconds(31);
    lab.nothing_sent();
}

#[test]
fn hold_and_unhold_change_the_direction_and_nothing_else() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Hold { call: CALL, held: true });
    let reinvite = lab.request(&Method::Invite);
    assert_eq!(body(&reinvite), offer(2, "sendonly"));
    answer(&mut lab, &reinvite, 200, &[CONTACT], &format!("{ANSWER}a=recvonly\r\n"));
    lab.request(&Method::Ack);
    let events = lab.events();
    assert!(events.iter().any(|event| matches!(event, UaEvent::HoldResult { result: Ok(()), .. })));
    let direction = |events: &[UaEvent]| {
        events.iter().find_map(|event| match event {
            UaEvent::Direction { direction, held, held_by_far_end, .. } => Some((*direction, *held, *held_by_far_end)),
            _ => None,
        })
    };
    assert_eq!(direction(&events), Some((Direction::SendOnly, true, false)));
    // A refresh leaves it held.
    lose_and_return(&mut lab);
    let refresh = lab.request(&Method::Invite);
    assert_eq!(body(&refresh), offer(2, "sendonly"));
    answer(&mut lab, &refresh, 200, &[CONTACT], &format!("{ANSWER}a=recvonly\r\n"));
    lab.request(&Method::Ack);
    lab.events.clear();
    lab.command(Command::Hold { call: CALL, held: false });
    let reinvite = lab.request(&Method::Invite);
    assert_eq!(body(&reinvite), offer(3, "sendrecv"));
    lab.accept(&reinvite, "bot");
    lab.request(&Method::Ack);
    assert_eq!(direction(&lab.events()), Some((Direction::SendRecv, false, false)));
}

#[test]
fn who_changes_his_mind_while_the_far_end_thinks_gets_what_he_wanted_last() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Hold { call: CALL, held: true });
    let first = lab.request(&Method::Invite);
    lab.command(Command::Hold { call: CALL, held: false });
    lab.nothing_sent();
    lab.accept(&first, "bot");
    lab.request(&Method::Ack);
    assert!(hold_results(&mut lab).is_empty());
    let second = lab.request(&Method::Invite);
    assert_eq!(body(&second), offer(3, "sendrecv"));
    lab.accept(&second, "bot");
    lab.request(&Method::Ack);
    assert_eq!(hold_results(&mut lab), [Ok(())]);
}

#[test]
fn a_hold_that_is_refused_or_never_sent_is_an_error() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Hold { call: CALL, held: true });
    let reinvite = lab.request(&Method::Invite);
    lab.refuse(&reinvite, 488, &[]);
    lab.request(&Method::Ack);
    assert!(matches!(&hold_results(&mut lab)[..], [Err(Error::CallRefused { status: 488, .. })]));
    lab.refuse_flows = Some(Error::FlowLost { problem: "no".to_owned() });
    lab.lose_flow();
    lab.command(Command::Hold { call: CALL, held: true });
    lab.seconds(33);
    assert!(matches!(&hold_results(&mut lab)[..], [Err(Error::FlowLost { .. })]));
    // What was given up is not sent later.
    lab.refuse_flows = None;
    lab.seconds(31);
    let refresh = lab.request(&Method::Invite);
    assert_eq!(body(&refresh), OFFER);
    lab.command(Command::Hangup { call: CALL, reason: None });
    let bye = lab.request(&Method::Bye);
    lab.command(Command::Hold { call: CALL, held: true });
    assert!(matches!(&hold_results(&mut lab)[..], [Err(Error::WrongState { .. })]));
    lab.refuse(&bye, 200, &[]);
    assert!(lab.ended(CALL).error.is_none());
}

#[test]
fn the_far_end_holds_and_both_do() {
    let (mut lab, _) = Lab::in_call(config());
    let held = |version: u32, direction: &str| {
        ANSWER.replace("o=- 2 1", &format!("o=- 2 {version}")) + &format!("a={direction}\r\n")
    };
    let reinvite = from_far_end(&lab, "INVITE", "z9hG4bKh1", 1, "", &held(2, "sendonly"));
    lab.receive(reinvite);
    let ok = lab.response(200);
    assert_eq!(body(&ok), offer(2, "recvonly"));
    let events = lab.events();
    assert!(
        matches!(
            &events[..],
            [UaEvent::Direction { direction: Direction::RecvOnly, held: false, held_by_far_end: true, .. }]
        ),
        "{events:?}"
    );
    let ack = from_far_end(&lab, "ACK", "z9hG4bKh2", 1, "", "");
    lab.receive(ack);
    lab.command(Command::Hold { call: CALL, held: true });
    let ours = lab.request(&Method::Invite);
    assert_eq!(body(&ours), offer(3, "inactive"));
    answer(&mut lab, &ours, 200, &[CONTACT], &held(2, "inactive"));
    lab.request(&Method::Ack);
    // It comes back while we hold: it may hear us, and we it not.
    let update = from_far_end(&lab, "UPDATE", "z9hG4bKh3", 2, "", &held(3, "sendrecv"));
    lab.receive(update);
    assert_eq!(body(&lab.response(200)), offer(4, "sendonly"));
}

#[test]
fn changes_that_meet_are_put_off_and_made_in_the_end() {
    for (caller, least, most) in [(true, 2100, 4000), (false, 0, 2000)] {
        let (mut lab, call) = if caller {
            (Lab::in_call(config()).0, CALL)
        } else {
            let mut lab = Lab::connected(config());
            lab.call_in("z9hG4bKi", "");
            lab.response(100);
            let call = lab.incoming();
            lab.command(Command::Answer { call, sdp: OFFER.to_owned(), headers: Vec::new() });
            let ok = lab.response(200);
            lab.receive(request_text("ACK", "z9hG4bKa", &to_of(&ok), 1, "", ""));
            (lab, call)
        };
        lab.events.clear();
        lab.command(Command::Hold { call, held: true });
        for _ in 0..3 {
            let ours = lab.request(&Method::Invite);
            if caller {
                // The far end's comes while ours is out.
                let theirs = from_far_end(&lab, "INVITE", "z9hG4bKg", 7, "", &format!("{ANSWER}a=sendonly\r\n"));
                lab.receive(
                    theirs
                        .replace("z9hG4bKg", &format!("z9hG4bKg{}", lab.now.as_micros()))
                        .replace("CSeq: 7", &format!("CSeq: {}", lab.now.as_micros() / 1000)),
                );
                lab.response(491);
            }
            lab.refuse(&ours, 491, &[]);
            lab.request(&Method::Ack);
            let before = lab.now;
            while lab.sent.is_empty() {
                lab.wait(Duration::from_millis(10));
            }
            let waited = u64::try_from((lab.now - before).as_millis()).unwrap();
            assert!((least..=most + 10).contains(&waited), "{waited}");
        }
        let ours = lab.request(&Method::Invite);
        lab.accept(&ours, "bot");
        lab.request(&Method::Ack);
        assert_eq!(hold_results(&mut lab), [Ok(())]);
    }
}

#[test]
fn glare_without_end_is_an_error() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Hold { call: CALL, held: true });
    for _ in 0..11 {
        let ours = lab.request(&Method::Invite);
        lab.refuse(&ours, 491, &[]);
        lab.request(&Method::Ack);
        lab.seconds(4);
    }
    lab.nothing_sent();
    assert!(matches!(&hold_results(&mut lab)[..], [Err(Error::CallRefused { status: 491, .. })]));
}

#[test]
fn an_offer_of_ours_goes_on_under_the_first_origin() {
    let (mut lab, _) = Lab::in_call(config());
    let moved = OFFER.replace("o=- 1 1 IN IP4 127.0.0.1", "o=- 77 5 IN IP4 10.0.0.2").replace("audio 9", "audio 99");
    lab.command(Command::Offer { call: CALL, sdp: moved.clone() });
    let reinvite = lab.request(&Method::Invite);
    assert_eq!(body(&reinvite), OFFER.replace("o=- 1 1", "o=- 1 2").replace("audio 9", "audio 99"));
    lab.command(Command::Offer { call: CALL, sdp: moved });
    assert!(matches!(&lab.events()[..], [UaEvent::OfferAnswered { result: Err(Error::WrongState { .. }), .. }]));
    let answered = ANSWER.replace("o=- 2 1", "o=- 2 2").replace("audio 8", "audio 88");
    answer(&mut lab, &reinvite, 200, &[CONTACT], &answered);
    lab.request(&Method::Ack);
    assert!(
        matches!(&lab.events()[..], [UaEvent::OfferAnswered { result: Ok(sdp), .. }] if *sdp == answered),
        "the program knows what it asked for"
    );
}

#[test]
fn media_that_moved_behind_a_refresh_are_told() {
    let (mut lab, _) = Lab::in_call(config());
    lose_and_return(&mut lab);
    let refresh = lab.request(&Method::Invite);
    lab.events.clear();
    let moved = ANSWER.replace("o=- 2 1", "o=- 2 2").replace("audio 8", "audio 88");
    answer(&mut lab, &refresh, 200, &[CONTACT], &moved);
    lab.request(&Method::Ack);
    assert!(matches!(&lab.events()[..], [UaEvent::MediaMoved { sdp, .. }] if *sdp == moved));
}

#[test]
fn an_offer_of_the_far_end_is_answered_by_the_program() {
    let (mut lab, _) = Lab::in_call(config());
    let moved = ANSWER.replace("o=- 2 1", "o=- 2 2").replace("audio 8", "audio 88");
    let reinvite = from_far_end(&lab, "INVITE", "z9hG4bKo1", 1, "", &moved);
    lab.receive(reinvite);
    lab.response(100);
    // One that comes meanwhile has to wait (RFC 3261 §14.2).
    let second = from_far_end(&lab, "INVITE", "z9hG4bKo2", 2, "", &moved);
    lab.receive(second);
    assert!(lab.response(500).header(Name::RetryAfter).is_some());
    assert!(matches!(&lab.events()[..], [UaEvent::Reoffered { offer, .. }] if *offer == moved));
    let ours = OFFER.replace("o=- 1 1", "o=- 55 9").replace("audio 9", "audio 99");
    lab.command(Command::AnswerOffer { call: CALL, answer: Ok(ours) });
    let ok = lab.response(200);
    assert_eq!(body(&ok), OFFER.replace("o=- 1 1", "o=- 1 2").replace("audio 9", "audio 99"));
    let ack = from_far_end(&lab, "ACK", "z9hG4bKo3", 1, "", "");
    lab.receive(ack);
    lab.seconds(40);
    lab.nothing_sent();
    // By UPDATE, and refused.
    let update = from_far_end(&lab, "UPDATE", "z9hG4bKo4", 3, "", ANSWER);
    lab.receive(update);
    assert!(matches!(&lab.events()[..], [UaEvent::Reoffered { .. }]));
    lab.command(Command::AnswerOffer { call: CALL, answer: Err(StatusCode::NOT_ACCEPTABLE_HERE) });
    lab.response(488);
    assert!(!lab.has_ended());
}

#[test]
fn an_answer_that_comes_after_the_flow_is_lost_becomes_an_offer() {
    let (mut lab, _) = Lab::in_call(config());
    let moved = ANSWER.replace("audio 8", "audio 88");
    let reinvite = from_far_end(&lab, "INVITE", "z9hG4bKo1", 1, "", &moved);
    lab.receive(reinvite);
    lab.response(100);
    lab.lose_flow();
    let ours = OFFER.replace("audio 9", "audio 99");
    lab.command(Command::AnswerOffer { call: CALL, answer: Ok(ours) });
    lab.seconds(2);
    let offer = lab.request(&Method::Invite);
    assert_eq!(body(&offer), OFFER.replace("o=- 1 1", "o=- 1 2").replace("audio 9", "audio 99"));
}

#[test]
fn an_offer_that_is_called_off_is_over() {
    let (mut lab, _) = Lab::in_call(config());
    let moved = ANSWER.replace("audio 8", "audio 88");
    let reinvite = from_far_end(&lab, "INVITE", "z9hG4bKo1", 1, "", &moved);
    lab.receive(reinvite.clone());
    lab.response(100);
    lab.receive(reinvite.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL"));
    lab.response(200);
    lab.response(487);
    lab.command(Command::AnswerOffer { call: CALL, answer: Err(StatusCode::NOT_ACCEPTABLE_HERE) });
    lab.nothing_sent();
    assert!(!lab.has_ended());
    lab.command(Command::Hold { call: CALL, held: true });
    lab.request(&Method::Invite);
}

#[test]
fn actpass_in_a_repeated_offer_is_no_change() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKi", "");
    lab.response(100);
    let call = lab.incoming();
    let ours = format!("{ANSWER}a=setup:passive\r\n");
    lab.command(Command::Answer { call, sdp: ours.clone(), headers: Vec::new() });
    let ok = lab.response(200);
    lab.receive(request_text("ACK", "z9hG4bKa", &to_of(&ok), 1, "", ""));
    lab.events.clear();
    let again = format!("{OFFER}a=setup:actpass\r\n");
    lab.receive(request_text("INVITE", "z9hG4bKr", &to_of(&ok), 2, "", &again));
    assert_eq!(body(&lab.response(200)), ours);
    assert!(lab.events().is_empty());
}

#[test]
fn we_refresh_a_session_half_way_and_end_one_that_is_not_refreshed() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    assert_eq!(invite.header(Name::SessionExpires).as_deref(), Some("1800"));
    lab.answer(&invite, 422, "bot", &[("Min-SE", "3600")], false);
    lab.request(&Method::Ack);
    let invite = lab.request(&Method::Invite);
    assert_eq!(invite.header(Name::SessionExpires).as_deref(), Some("3600"));
    assert_eq!(invite.header(Name::MinSe).as_deref(), Some("3600"));
    lab.answer(&invite, 200, "bot", &[CONTACT, ("Session-Expires", "200;refresher=uac")], true);
    lab.request(&Method::Ack);
    for _ in 0..3 {
        lab.seconds(99);
        lab.nothing_sent();
        lab.seconds(1);
        let refresh = lab.request(&Method::Invite);
        assert_eq!(refresh.header(Name::SessionExpires).as_deref(), Some("200;refresher=uac"));
        lab.answer(&refresh, 200, "bot", &[CONTACT, ("Session-Expires", "200;refresher=uac")], true);
        lab.request(&Method::Ack);
    }
    lab.seconds(100);
    let refresh = lab.request(&Method::Invite);
    lab.refuse(&refresh, 500, &[]);
    lab.request(&Method::Ack);
    // 200 s less the margin of 32 s.
    lab.seconds(67);
    lab.nothing_sent();
    lab.seconds(2);
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    assert!(matches!(lab.ended(CALL).error, Some(Error::Timeout { .. })));
    lab.assert_nothing_left();
}

#[test]
fn the_far_end_refreshes_and_is_missed_when_it_does_not() {
    let mut lab = Lab::connected(config());
    lab.call_in("z9hG4bKshort", "Session-Expires: 30\r\nSupported: timer\r\n");
    let refused = lab.response(422);
    assert_eq!(refused.header(Name::MinSe).as_deref(), Some("90"));
    lab.call_in("z9hG4bKi", "Session-Expires: 90;refresher=uac\r\nSupported: timer\r\n");
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    let ok = lab.response(200);
    assert_eq!(ok.header(Name::SessionExpires).as_deref(), Some("90;refresher=uac"));
    assert!(ok.has_token(Name::Require, "timer"));
    lab.receive(request_text("ACK", "z9hG4bKa", &to_of(&ok), 1, "", ""));
    for sequence in 2..5 {
        lab.seconds(50);
        let headers = "Session-Expires: 90;refresher=uac\r\nSupported: timer\r\n";
        lab.receive(request_text("UPDATE", &format!("z9hG4bKu{sequence}"), &to_of(&ok), sequence, headers, ""));
        let answer = lab.response(200);
        assert_eq!(answer.header(Name::SessionExpires).as_deref(), Some("90;refresher=uac"));
    }
    lab.seconds(59);
    lab.nothing_sent();
    lab.seconds(2);
    lab.request(&Method::Bye);
}

#[test]
fn a_process_that_slept_looks_at_its_flow_at_once() {
    let mut settings = config();
    settings.keep_alive_interval = Some(Duration::from_secs(30));
    let mut lab = Lab::connected(settings);
    lab.seconds(30);
    assert_eq!(lab.pings, 1);
    lab.receive("\r\n");
    // Eight hours in one step. The answer to a ping of before cannot be judged by the clock.
    lab.now += Duration::from_secs(8 * 3600);
    lab.input(Input::Timeout);
    assert_eq!((lab.pings, lab.closed), (2, 0));
    lab.wait(Duration::from_millis(10_100));
    assert_eq!(lab.closed, 1);
    lab.seconds(2);
    assert!(lab.flow.is_some());
    // The driver sees by the wall clock what the monotonic one does not show.
    lab.command(Command::Woke);
    assert_eq!(lab.pings, 3);
}

#[test]
fn after_a_change_of_network_the_flow_is_made_anew_at_once() {
    let (mut lab, _) = Lab::in_call(config());
    let moved = OFFER.replace("audio 9", "audio 99");
    lab.command(Command::NetworkChanged);
    lab.command(Command::Offer { call: CALL, sdp: moved });
    lab.wait(Duration::from_millis(1));
    assert_eq!((lab.opened, lab.closed), (2, 1));
    let refresh = lab.request(&Method::Invite);
    lab.accept(&refresh, "bot");
    lab.request(&Method::Ack);
    let sent: Vec<String> = lab.sent.drain(..).map(|message| body(&message)).collect();
    assert!(body(&refresh).contains("audio 99") || sent.iter().any(|body| body.contains("audio 99")), "{sent:?}");

    // A call that is being set up would end with its flow: that one is asked first.
    lab.command(invite_command(CallHandle(2)));
    lab.sent.clear();
    lab.command(Command::NetworkChanged);
    assert_eq!(lab.opened, 2);
    let probe = lab.request(&Method::Options);
    lab.refuse(&probe, 200, &[]);
    lab.seconds(5);
    assert_eq!(lab.opened, 2);
}
