//! Attended transfer: where it sends the far end, a far end that sends us, an INVITE that takes the place of a call.

use super::super::{CallHandle, Command, UaEvent};
use super::lab::{ANSWER, CALL, Lab, OFFER, config, header, request_text, to_of};
use crate::error::Error;
use crate::sip::header::Name;
use crate::sip::message::{Message, Method};
use crate::sip::user_agent::UserAgentConfig;

const SECOND: CallHandle = CallHandle(2);

fn accepting() -> UserAgentConfig {
    UserAgentConfig { accept_referrals: true, ..config() }
}

/// A request of the bot in the call of [`Lab::in_call`].
fn in_call_request(invite: &Message, method: &str, sequence: u32, headers: &str) -> String {
    let to = invite.header(Name::From).unwrap();
    request_text(method, &format!("z9hG4bKr{sequence}"), &to, sequence, headers, "")
        .replace("Call-ID: in-1", &format!("Call-ID: {}", invite.call_id().unwrap()))
        .replace("tag=caller", "tag=bot")
}

fn follow() -> Command {
    Command::Follow {
        referral: CALL,
        call: SECOND,
        call_id: "second-2".to_owned(),
        headers: vec![header("X-Call-Tag", "second00")],
        offer: OFFER.to_owned(),
        display_name: None,
    }
}

fn referred(events: &[UaEvent]) -> Option<(String, Option<String>)> {
    events.iter().find_map(|event| match event {
        UaEvent::Referred { call: CALL, target, referred_by } => Some((target.clone(), referred_by.clone())),
        _ => None,
    })
}

/// The next NOTIFY: what it says, and the state of the subscription.
fn notified(lab: &mut Lab) -> (String, String) {
    let notify = lab.request(&Method::Notify);
    lab.refuse(&notify, 200, &[]);
    let state = notify.header(Name::SubscriptionState).unwrap().into_owned();
    assert!(notify.header(Name::Event).unwrap().starts_with("refer"), "{notify:?}");
    assert_eq!(notify.header(Name::ContentType).as_deref(), Some("message/sipfrag;version=2.0"));
    (String::from_utf8_lossy(notify.body()).trim().to_owned(), state)
}

const REFER_TO: &str = "Refer-To: <sip:carol@example.com>\r\nReferred-By: <sip:bot@example.com>\r\n";

#[test]
fn a_refer_is_declined_unless_the_program_takes_them() {
    let (mut lab, invite) = Lab::in_call(config());
    lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
    lab.response(603);
    assert!(lab.events().is_empty());
    // Outside of a call nobody sends us anywhere.
    lab.receive(request_text("REFER", "z9hG4bKo", "<sip:alice@example.com>", 1, REFER_TO, ""));
    lab.response(481);
}

#[test]
fn a_refer_that_cannot_be_followed_is_refused() {
    let (mut lab, invite) = Lab::in_call(accepting());
    for (sequence, headers, status) in [
        (1, "", 400),
        (2, "Refer-To: <sip:a@example.com>\r\nRefer-To: <sip:b@example.com>\r\n", 400),
        (3, "Refer-To: <mailto:carol@example.com>\r\n", 416),
        (4, "Refer-To: <sip:carol@example.com;method=BYE>\r\n", 603),
        (5, "Refer-To: <sip:carol@example.com?Replaces=c%3Bto-tag%3Da>\r\n", 400),
        (6, "Refer-To: <sip:carol@example.com>\r\nReplaces: a;to-tag=b;from-tag=c\r\n", 400),
    ] {
        lab.receive(in_call_request(&invite, "REFER", sequence, headers));
        lab.response(status);
        assert!(lab.events().is_empty(), "{headers}");
    }
}

#[test]
fn where_we_are_sent_we_go_and_say_how_it_goes() {
    let (mut lab, invite) = Lab::in_call(accepting());
    let to = "<sip:carol@example.com?Replaces=c-9%40host%3Bto-tag%3Db%3Bfrom-tag%3Dc&X-Evil=1>";
    let headers = format!("Refer-To: {to}\r\nReferred-By: <sip:bot@example.com>\r\n");
    lab.receive(in_call_request(&invite, "REFER", 1, &headers));
    lab.response(202);
    let (said, state) = notified(&mut lab);
    assert_eq!((said.as_str(), state.as_str()), ("SIP/2.0 100 Trying", "active;expires=90"));
    let told = referred(&lab.events());
    assert_eq!(told, Some(("sip:carol@example.com".to_owned(), Some("<sip:bot@example.com>".to_owned()))));
    // One at a time.
    lab.receive(in_call_request(&invite, "REFER", 2, REFER_TO));
    lab.response(491);

    lab.command(follow());
    let second = lab.request(&Method::Invite);
    assert_eq!(second.request_uri(), Some("sip:carol@example.com"));
    assert_eq!(second.header(Name::ReferredBy).as_deref(), Some("<sip:bot@example.com>"));
    assert_eq!(second.header(Name::Replaces).as_deref(), Some("c-9@host;to-tag=b;from-tag=c"));
    assert_eq!(second.header_named("X-Evil"), None, "whoever sends us somewhere does not speak for us");
    lab.answer(&second, 180, "carol", &[("Contact", "<sip:carol@192.0.2.7>")], false);
    assert_eq!(notified(&mut lab).0, "SIP/2.0 180 Ringing");
    lab.accept(&second, "carol");
    lab.request(&Method::Ack);
    let (said, state) = notified(&mut lab);
    assert_eq!((said.as_str(), state.as_str()), ("SIP/2.0 200 OK", "terminated;reason=noresource"));
    assert!(!lab.has_ended(), "the one who has sent us ends the call, or the program does");

    // The next REFER in this call is told apart by its number.
    lab.receive(in_call_request(&invite, "REFER", 3, REFER_TO));
    lab.response(202);
    let notify = lab.request(&Method::Notify);
    assert_eq!(notify.header(Name::Event).as_deref(), Some("refer;id=3"));
    lab.refuse(&notify, 481, &[]);
    lab.command(Command::DeclineReferral { call: CALL });
    lab.nothing_sent();
}

#[test]
fn where_nobody_goes_the_far_end_hears_so() {
    // Somebody says no, or nothing.
    for says_so in [true, false] {
        let (mut lab, invite) = Lab::in_call(accepting());
        lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
        lab.response(202);
        notified(&mut lab);
        if says_so {
            lab.command(Command::DeclineReferral { call: CALL });
        } else {
            lab.seconds(11);
        }
        assert_eq!(notified(&mut lab).0, "SIP/2.0 603 Decline");
        lab.events();
        lab.command(follow());
        let ended = lab.ended(SECOND);
        assert!(matches!(ended.error, Some(Error::WrongState { .. })), "it is too late: {ended:?}");
    }
    // The one whom we call does not answer, or says no.
    let (mut lab, invite) = Lab::in_call(accepting());
    lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
    lab.response(202);
    notified(&mut lab);
    lab.command(follow());
    let second = lab.request(&Method::Invite);
    lab.refuse(&second, 486, &[]);
    lab.request(&Method::Ack);
    let (said, state) = notified(&mut lab);
    assert_eq!((said.as_str(), state.as_str()), ("SIP/2.0 486 Busy Here", "terminated;reason=noresource"));
    assert_eq!(lab.ended(SECOND).cause, Some(486));
    // The call that it came in goes on.
    lab.command(Command::Hangup { call: CALL, reason: None });
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    lab.seconds(40);
    lab.assert_nothing_left();
}

#[test]
fn whoever_has_said_that_it_goes_has_time_to_get_ready() {
    let (mut lab, invite) = Lab::in_call(accepting());
    lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
    lab.response(202);
    notified(&mut lab);
    lab.seconds(9);
    lab.command(Command::AcceptReferral { call: CALL });
    lab.seconds(60);
    lab.nothing_sent();
    lab.command(follow());
    let second = lab.request(&Method::Invite);
    lab.accept(&second, "carol");
    lab.request(&Method::Ack);
    assert_eq!(notified(&mut lab).0, "SIP/2.0 200 OK");
    // But not for ever.
    lab.receive(in_call_request(&invite, "REFER", 2, REFER_TO));
    lab.response(202);
    notified(&mut lab);
    lab.command(Command::AcceptReferral { call: CALL });
    lab.events();
    lab.seconds(91);
    assert_eq!(notified(&mut lab).0, "SIP/2.0 408 Request Timeout");
    assert!(lab.events().iter().any(|event| matches!(event, UaEvent::ReferralExpired { call: CALL })));
}

#[test]
fn whoever_does_not_want_to_hear_how_it_goes_still_sends_us() {
    for asked_for in [true, false] {
        let (mut lab, invite) = Lab::in_call(accepting());
        let headers = format!("{REFER_TO}{}", if asked_for { "Refer-Sub: false\r\n" } else { "" });
        lab.receive(in_call_request(&invite, "REFER", 1, &headers));
        let accepted = lab.response(202);
        assert_eq!(accepted.header_named("Refer-Sub").as_deref(), asked_for.then_some("false"));
        if !asked_for {
            let notify = lab.request(&Method::Notify);
            lab.refuse(&notify, 481, &[]);
        }
        lab.nothing_sent();
        assert!(referred(&lab.events()).is_some());
        lab.command(follow());
        let second = lab.request(&Method::Invite);
        assert_eq!(second.request_uri(), Some("sip:carol@example.com"));
        lab.accept(&second, "carol");
        lab.request(&Method::Ack);
        lab.nothing_sent();
        // It is done with: the next one is taken, and may be declined without a word.
        lab.receive(in_call_request(&invite, "REFER", 2, &format!("{REFER_TO}Refer-Sub: FALSE;x=1\r\n")));
        lab.response(202);
        lab.command(Command::DeclineReferral { call: CALL });
        lab.nothing_sent();
        lab.receive(in_call_request(&invite, "REFER", 3, &format!("{REFER_TO}Refer-Sub: true\r\n")));
        assert_eq!(lab.response(202).header_named("Refer-Sub"), None);
        notified(&mut lab);
    }
}

#[test]
fn a_method_that_the_far_end_names_is_no_part_of_whom_we_call() {
    for (named, target) in [
        ("sip:carol@example.com;method=INVITE", "sip:carol@example.com"),
        ("sip:carol@example.com;Method=INVITE;transport=tcp", "sip:carol@example.com;transport=tcp"),
        ("sip:carol@example.com:5070;lr;%6dethod=INVITE?X=1", "sip:carol@example.com:5070;lr"),
        ("sip:carol;method=INVITE@example.com;x=y", "sip:carol;method=INVITE@example.com;x=y"),
        ("sip:example.com;method=INVITE", "sip:example.com"),
    ] {
        let (mut lab, invite) = Lab::in_call(accepting());
        lab.receive(in_call_request(&invite, "REFER", 1, &format!("Refer-To: <{named}>\r\n")));
        lab.response(202);
        assert_eq!(referred(&lab.events()), Some((target.to_owned(), None)), "{named}");
    }
}

#[test]
fn whoever_hangs_up_after_sending_us_does_not_take_that_back() {
    for (accepts, declines, wait, goes) in
        [(true, false, 60, true), (true, false, 91, false), (true, true, 1, false), (false, false, 1, false)]
    {
        let (mut lab, invite) = Lab::in_call(accepting());
        lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
        lab.response(202);
        notified(&mut lab);
        if accepts {
            lab.command(Command::AcceptReferral { call: CALL });
        }
        lab.receive(in_call_request(&invite, "BYE", 2, ""));
        lab.response(200);
        lab.ended(CALL);
        if declines {
            lab.command(Command::DeclineReferral { call: CALL });
        }
        lab.seconds(wait);
        lab.command(follow());
        if goes {
            let second = lab.request(&Method::Invite);
            assert_eq!(second.request_uri(), Some("sip:carol@example.com"));
            assert_eq!(second.header(Name::ReferredBy).as_deref(), Some("<sip:bot@example.com>"));
            lab.refuse(&second, 486, &[]);
            lab.request(&Method::Ack);
            assert_eq!(lab.ended(SECOND).cause, Some(486));
            // Once.
            lab.command(follow());
        }
        let ended = lab.ended(SECOND);
        assert!(matches!(ended.error, Some(Error::WrongState { .. })), "{accepts} {declines} {wait}: {ended:?}");
        lab.nothing_sent();
    }
}

#[test]
fn what_could_not_be_said_yet_is_too_late_to_take_back() {
    let (mut lab, invite) = Lab::in_call(accepting());
    lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
    lab.response(202);
    notified(&mut lab);
    lab.refuse_flows = Some(Error::FlowLost { problem: "none".to_owned() });
    lab.lose_flow();
    lab.command(Command::DeclineReferral { call: CALL });
    lab.events();
    lab.command(follow());
    let ended = lab.ended(SECOND);
    assert!(matches!(ended.error, Some(Error::WrongState { .. })), "{ended:?}");
}

#[test]
fn what_was_said_last_is_said_again_after_a_new_flow() {
    let (mut lab, invite) = Lab::in_call(accepting());
    lab.receive(in_call_request(&invite, "REFER", 1, REFER_TO));
    lab.response(202);
    lab.request(&Method::Notify);
    lab.lose_flow();
    lab.seconds(2);
    let refresh = lab.request(&Method::Invite);
    let notify = lab.request(&Method::Notify);
    assert_eq!(String::from_utf8_lossy(notify.body()).trim(), "SIP/2.0 100 Trying");
    lab.accept(&refresh, "bot");
    lab.request(&Method::Ack);
    lab.refuse(&notify, 200, &[]);
    // The far end hangs up: it does not want to hear more, and where it has sent us we still go.
    lab.command(follow());
    let second = lab.request(&Method::Invite);
    lab.receive(in_call_request(&invite, "BYE", 2, ""));
    lab.response(200);
    lab.accept(&second, "carol");
    lab.request(&Method::Ack);
    lab.nothing_sent();
}

/// The dialog of [`Lab::in_call`] as the one who is to replace it knows it.
fn reference(invite: &Message) -> String {
    let local = invite.from().unwrap().tag().unwrap().to_owned();
    format!("{};to-tag={local};from-tag=bot", invite.call_id().unwrap())
}

#[test]
fn an_invite_takes_the_place_of_a_call() {
    let (mut lab, invite) = Lab::in_call(config());
    lab.call_in("z9hG4bKp", &format!("Require: replaces\r\nReplaces: {}\r\n", reference(&invite)));
    lab.response(100);
    let events = lab.events();
    let [UaEvent::Incoming { call, replaces: Some(CALL), .. }] = &events[..] else { panic!("{events:?}") };
    lab.command(Command::Answer { call: *call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    let ok = lab.response(200);
    let bye = lab.request(&Method::Bye);
    assert_eq!(bye.call_id(), invite.call_id());
    lab.refuse(&bye, 200, &[]);
    assert_eq!(lab.ended(CALL).reason.as_deref(), Some("replaced"));
    lab.receive(request_text("ACK", "z9hG4bKack", &to_of(&ok), 1, "", ""));
    assert!(matches!(&lab.events()[..], [UaEvent::Confirmed { .. }, ..]));
}

#[test]
fn an_invite_takes_the_place_of_a_call_that_rings() {
    let mut lab = Lab::connected(config());
    lab.command(super::lab::invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    lab.answer(&invite, 180, "bot", &[("Contact", "<sip:bot@192.0.2.1>")], false);
    let value = format!("{};early-only", reference(&invite));
    lab.call_in("z9hG4bKp", &format!("Replaces: {value}\r\n"));
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
    lab.response(200);
    lab.request(&Method::Cancel);
}

#[test]
fn what_takes_the_place_of_nothing_is_refused() {
    let none = "Replaces: other;to-tag=a;from-tag=b\r\n".to_owned();
    let early_only = |invite: &Message| format!("Replaces: {};early-only\r\n", reference(invite));
    let wrong_tag =
        |invite: &Message| format!("Replaces: {}\r\n", reference(invite).replace("from-tag=bot", "from-tag=bob"));
    let twice = |invite: &Message| format!("Replaces: {0}\r\nReplaces: {0}\r\n", reference(invite));
    let (mut lab, invite) = Lab::in_call(config());
    for (headers, status) in [
        (none, 481),
        (wrong_tag(&invite), 481),
        (early_only(&invite), 486),
        (twice(&invite), 400),
        ("Replaces: c;to-tag=a\r\n".to_owned(), 400),
    ] {
        lab.call_in(&format!("z9hG4bK{status}{}", headers.len()), &headers);
        lab.response(status);
        assert!(lab.events().is_empty(), "{headers}");
    }
    // A call that is over, or nearly.
    let headers = format!("Replaces: {}\r\n", reference(&invite));
    lab.command(Command::Hangup { call: CALL, reason: None });
    let bye = lab.request(&Method::Bye);
    lab.call_in("z9hG4bKq", &headers);
    lab.response(603);
    lab.refuse(&bye, 200, &[]);
    lab.call_in("z9hG4bKs", &headers);
    lab.response(603);
    // One that somebody else has placed and that rings here.
    lab.events();
    let ringing = lab.call_in("z9hG4bKt", "");
    lab.response(100);
    let call = lab.incoming();
    lab.command(Command::Ring { call, headers: Vec::new() });
    let tag = lab.response(180).to().unwrap().tag().unwrap().to_owned();
    let own = format!("Replaces: {};to-tag={tag};from-tag=caller\r\n", ringing.call_id().unwrap());
    let other = request_text("INVITE", "z9hG4bKu", "<sip:alice@example.com>", 1, &own, OFFER);
    lab.receive(other.replace("Call-ID: in-1", "Call-ID: in-2"));
    lab.response(481);
    // Whoever does not want it at all.
    let (mut lab, invite) = Lab::in_call(UserAgentConfig { accept_replaces: false, ..config() });
    assert_eq!(invite.header(Name::Supported).as_deref(), Some("outbound, path, 100rel, timer, gruu"));
    lab.call_in("z9hG4bKv", &format!("Replaces: {}\r\n", reference(&invite)));
    lab.response(603);
}

#[test]
fn an_attended_transfer_sends_the_far_end_in_our_place() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(super::lab::invite_command(SECOND));
    let second = lab.request(&Method::Invite);
    assert_eq!(lab.agent.replacement_uri(SECOND), None, "nobody has answered");
    lab.answer(&second, 200, "carol", &[("Contact", "<sip:carol@192.0.2.7>")], true);
    lab.request(&Method::Ack);
    let target = lab.agent.replacement_uri(SECOND).unwrap();
    let tag = second.from().unwrap().tag().unwrap().to_owned();
    assert_eq!(target, format!("sip:app-7087fe50@example.com?Replaces=kqzmwbtr-2%3Bto-tag%3Dcarol%3Bfrom-tag%3D{tag}"));
    lab.command(Command::Transfer { call: CALL, target: target.clone() });
    let refer = lab.request(&Method::Refer);
    assert_eq!(refer.header(Name::ReferTo), Some(format!("<{target}>").into()));
    assert_eq!(refer.header(Name::ReferredBy).as_deref(), Some("<sip:alice@example.com>"));
}

#[test]
fn a_gruu_is_where_we_are_called_back() {
    let mut lab = Lab::new(config());
    lab.command(Command::Register);
    let register = lab.request(&Method::Register);
    assert!(register.has_token(Name::Supported, "gruu"));
    let gruu = "sip:alice@example.com;gr=urn:uuid:1";
    let contact =
        format!("{};pub-gruu=\"{gruu}\";temp-gruu=\"sip:x@example.com;gr\"", register.header(Name::Contact).unwrap());
    lab.refuse(&register, 200, &[("Contact", &contact)]);
    lab.command(super::lab::invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    assert_eq!(invite.header(Name::Contact), Some(format!("<{gruu}>").into()));
    assert!(invite.has_token(Name::Supported, "gruu"));
    lab.refuse(&invite, 486, &[]);
    lab.request(&Method::Ack);
    // Without a registration it leads nowhere.
    lab.command(Command::Unregister);
    let unregister = lab.request(&Method::Register);
    assert!(!unregister.header(Name::Contact).unwrap().contains("gr="), "what is registered is never a GRUU");
    lab.refuse(&unregister, 200, &[]);
    assert!(!lab.agent.contact().contains(";gr="));
    // Nor is one that is none taken.
    for value in ["sip:alice@example.com", "mailto:a@example.com;gr=1", "not a uri", "sip:a@example.com;gr=1?X=1"] {
        lab.command(Command::Register);
        let register = lab.request(&Method::Register);
        let contact = format!("{};pub-gruu=\"{value}\"", register.header(Name::Contact).unwrap());
        lab.refuse(&register, 200, &[("Contact", &contact)]);
        assert!(lab.agent.contact().contains(".invalid;transport=ws;ob"), "{value}: {}", lab.agent.contact());
        lab.command(Command::Unregister);
        let unregister = lab.request(&Method::Register);
        lab.refuse(&unregister, 200, &[]);
    }
}
