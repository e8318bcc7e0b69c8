//! Registering, refreshing, being refused.

use std::time::Duration;

use secrecy::SecretString;

use super::super::{CallHandle, Command, UaEvent};
use super::lab::{CALL, Lab, OFFER, config, invite_command, response, text};
use super::pair::{Pair, edge_settings};
use crate::error::{Error, RegistrationRefusal};
use crate::event::RegistrationState;
use crate::sip::digest::Algorithm;
use crate::sip::header::Name;
use crate::sip::message::{Message, Method};

const CHALLENGE: (&str, &str) =
    ("WWW-Authenticate", "Digest realm=\"example.com\", algorithm=MD5, qop=\"auth\", nonce=\"n1\"");

fn registering() -> (Lab, Message) {
    let mut lab = Lab::new(config());
    lab.command(Command::Register);
    let register = lab.request(&Method::Register);
    (lab, register)
}

/// A 200 that grants `expires` to the contact of `register`.
fn grant(lab: &mut Lab, register: &Message, expires: u64) {
    let contact = register.header(Name::Contact).unwrap().replace(";expires=600", &format!(";expires={expires}"));
    lab.refuse(register, 200, &[("Contact", &contact)]);
}

fn failure(lab: &mut Lab) -> Option<Error> {
    lab.events().into_iter().find_map(|event| match event {
        UaEvent::Registration { state: RegistrationState::Failed, error, .. } => error,
        _ => None,
    })
}

#[test]
fn a_register_is_what_rfc_5626_asks_for() {
    let (mut lab, register) = registering();
    assert_eq!(register.request_uri(), Some("sip:example.com"));
    assert_eq!(register.to().unwrap().uri(), "sip:alice@example.com");
    assert!(register.has_token(Name::Supported, "path") && register.has_token(Name::Supported, "outbound"));
    assert_eq!(register.header(Name::Expires).as_deref(), Some("600"));
    let contact = register.contacts().unwrap().remove(0);
    assert!(contact.uri().ends_with(".invalid;transport=ws"), "{}", contact.uri());
    assert!(contact.param("+sip.instance").flatten().unwrap().starts_with("<urn:uuid:"));
    assert_eq!(contact.param("reg-id").flatten().as_deref(), Some("1"));
    grant(&mut lab, &register, 30);
    assert!(matches!(
        lab.events().last(),
        Some(UaEvent::Registration { state: RegistrationState::Registered, expires: Some(e), .. }) if e.as_secs() == 30
    ));
}

#[test]
fn all_three_algorithms_register() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
        let mut settings = edge_settings();
        settings.algorithms = vec![algorithm];
        let mut pair = Pair::registered(config(), settings);
        assert_eq!(pair.trace(), ["REGISTER", "← 401 REGISTER", "REGISTER", "← 200 REGISTER"], "{algorithm}");
    }
}

#[test]
fn a_wrong_password_ends_at_once_and_closes() {
    let mut settings = config();
    settings.password = Some(SecretString::from("wrong"));
    let mut pair = Pair::new(settings, edge_settings());
    pair.client_does(Command::Register);
    pair.seconds(300);
    assert_eq!(pair.trace(), ["REGISTER", "← 401 REGISTER", "REGISTER", "← 403 REGISTER"]);
    assert_eq!(pair.registrations(), [RegistrationState::Registering, RegistrationState::Failed]);
    assert!(pair.client_events.iter().any(|event| matches!(
        event,
        UaEvent::Registration {
            error: Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Credentials, status: 403, .. }),
            ..
        }
    )));
    assert_eq!((pair.flow, pair.flows_opened.len()), (None, 1));
}

#[test]
fn a_domain_that_is_not_served_is_a_realm_error() {
    let mut settings = config();
    settings.domain = "elsewhere.example".to_owned();
    let mut pair = Pair::new(settings, edge_settings());
    pair.client_does(Command::Register);
    pair.seconds(60);
    assert_eq!(pair.trace(), ["REGISTER", "← 403 REGISTER"]);
    assert!(pair.client_events.iter().any(|event| matches!(
        event,
        UaEvent::Registration {
            error: Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Realm, .. }),
            ..
        }
    )));
}

#[test]
fn a_second_challenge_to_fresh_credentials_does_not_loop() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 401, &[CHALLENGE]);
    let again = lab.request(&Method::Register);
    assert!(again.cseq().unwrap().number > register.cseq().unwrap().number);
    assert_eq!(again.call_id(), register.call_id());
    assert!(again.header(Name::Authorization).is_some());
    lab.refuse(&again, 401, &[("WWW-Authenticate", "Digest realm=\"example.com\", qop=\"auth\", nonce=\"n2\"")]);
    lab.nothing_sent();
    assert!(matches!(
        failure(&mut lab),
        Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Credentials, status: 401, .. })
    ));
    lab.seconds(600);
    lab.nothing_sent();
}

#[test]
fn a_challenge_to_a_reused_nonce_is_answered_once() {
    for stale in ["", ", stale=true"] {
        let (mut lab, register) = registering();
        lab.refuse(&register, 401, &[CHALLENGE]);
        let first = lab.request(&Method::Register);
        grant(&mut lab, &first, 600);
        lab.seconds(510);
        let refresh = lab.request(&Method::Register);
        let authorization = refresh.header(Name::Authorization).unwrap().into_owned();
        assert!(authorization.contains("nonce=\"n1\"") && authorization.contains("nc=00000002"), "{authorization}");
        let fresh = format!("Digest realm=\"example.com\", qop=\"auth\", nonce=\"n3\"{stale}");
        lab.refuse(&refresh, 401, &[("WWW-Authenticate", &fresh)]);
        let again = lab.request(&Method::Register);
        assert!(again.header(Name::Authorization).unwrap().contains("nonce=\"n3\""));
        lab.events.clear();
        lab.refuse(&again, 401, &[("WWW-Authenticate", "Digest realm=\"example.com\", qop=\"auth\", nonce=\"n4\"")]);
        lab.nothing_sent();
        assert!(matches!(
            failure(&mut lab),
            Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Credentials, .. })
        ));
    }
}

#[test]
fn without_a_password_a_challenge_is_a_credentials_error() {
    let mut settings = config();
    settings.password = None;
    let mut lab = Lab::new(settings);
    lab.command(Command::Register);
    let register = lab.request(&Method::Register);
    lab.refuse(&register, 407, &[("Proxy-Authenticate", "Digest realm=\"example.com\", nonce=\"n\"")]);
    lab.nothing_sent();
    assert!(matches!(
        failure(&mut lab),
        Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Credentials, status: 407, .. })
    ));
}

#[test]
fn a_407_is_answered_as_a_401_is() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 407, &[("Proxy-Authenticate", CHALLENGE.1)]);
    assert!(lab.request(&Method::Register).header(Name::ProxyAuthorization).is_some());
}

#[test]
fn refreshes_keep_the_call_id_and_outlive_one_failed_try() {
    let (mut lab, register) = registering();
    grant(&mut lab, &register, 30);
    lab.events.clear();
    let mut last = register;
    for _ in 0..5 {
        lab.seconds(14);
        lab.nothing_sent();
        lab.seconds(1);
        let refresh = lab.request(&Method::Register);
        assert_eq!(refresh.call_id(), last.call_id());
        assert_eq!(refresh.from().unwrap().tag(), last.from().unwrap().tag());
        assert_eq!(refresh.cseq().unwrap().number, last.cseq().unwrap().number + 1);
        grant(&mut lab, &refresh, 30);
        last = refresh;
    }
    assert!(lab.events().is_empty(), "a refresh is no news");

    // One that gets no answer is tried again on another flow while the binding still holds.
    lab.seconds(15);
    lab.request(&Method::Register);
    let before = lab.now;
    lab.wait(Duration::from_millis(7_500));
    assert_eq!(lab.closed, 1);
    lab.wait(Duration::from_secs(1));
    let again = lab.request(&Method::Register);
    assert!(lab.now - before < Duration::from_secs(15));
    assert_eq!(again.header(Name::CallId), last.header(Name::CallId));
    assert_eq!(again.contacts().unwrap()[0].uri(), last.contacts().unwrap()[0].uri());
}

#[test]
fn a_423_is_answered_with_what_it_asks_for_once() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 423, &[("Min-Expires", "1800")]);
    let again = lab.request(&Method::Register);
    assert_eq!(again.header(Name::Expires).as_deref(), Some("1800"));
    lab.refuse(&again, 423, &[("Min-Expires", "1800")]);
    lab.nothing_sent();
    assert!(matches!(failure(&mut lab), Some(Error::RegistrationRefused { status: 423, .. })));

    // A registrar that raises its minimum every time is not followed for ever.
    let (mut lab, register) = registering();
    lab.refuse(&register, 423, &[("Min-Expires", "601")]);
    let again = lab.request(&Method::Register);
    lab.refuse(&again, 423, &[("Min-Expires", "602")]);
    lab.nothing_sent();
    assert!(matches!(failure(&mut lab), Some(Error::RegistrationRefused { status: 423, .. })));

    // A later attempt has its own raise: here the refresh of a registration.
    let (mut lab, register) = registering();
    lab.refuse(&register, 423, &[("Min-Expires", "601")]);
    let again = lab.request(&Method::Register);
    lab.refuse(&again, 200, &[("Expires", "601")]);
    lab.seconds(511);
    let refresh = lab.request(&Method::Register);
    lab.refuse(&refresh, 423, &[("Min-Expires", "900")]);
    assert_eq!(lab.request(&Method::Register).header(Name::Expires).as_deref(), Some("900"));

    let mut settings = edge_settings();
    settings.min_expires = Duration::from_secs(900);
    let pair = Pair::registered(config(), settings);
    assert_eq!(pair.edge.binding(pair.now).unwrap().expires_at, crate::time::Time::from_micros(900_120_000));
}

#[test]
fn a_way_without_outbound_is_registered_on_without_it() {
    let (mut lab, register) = registering();
    assert!(
        register.header(Name::Contact).unwrap().contains(";reg-id=1")
            && register.has_token(Name::Supported, "outbound")
    );
    lab.refuse(&register, 439, &[]);
    let again = lab.request(&Method::Register);
    let contact = again.header(Name::Contact).unwrap().into_owned();
    assert!(contact.contains("+sip.instance=") && !contact.contains("reg-id"), "{contact}");
    assert!(again.has_token(Name::Supported, "path") && !again.has_token(Name::Supported, "outbound"));
    assert!(again.cseq().unwrap().number > register.cseq().unwrap().number);
    // The edge names another URI for us: the instance is what is left to know it by.
    let rewritten = contact.replace(".invalid", ".example").replace(";expires=600", ";expires=300");
    lab.refuse(&again, 200, &[("Contact", &rewritten)]);
    assert!(lab.events().iter().any(|event| matches!(
        event,
        UaEvent::Registration { state: RegistrationState::Registered, expires: Some(expires), .. }
            if *expires == Duration::from_secs(300)
    )));
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    assert!(!invite.header(Name::Contact).unwrap().contains(";ob"));
    lab.refuse(&invite, 486, &[]);
    lab.request(&Method::Ack);
    lab.seconds(210);
    assert!(!lab.request(&Method::Register).header(Name::Contact).unwrap().contains("reg-id"));

    // Whoever says it again is not believed.
    let (mut lab, register) = registering();
    lab.refuse(&register, 439, &[]);
    let again = lab.request(&Method::Register);
    lab.refuse(&again, 439, &[]);
    lab.nothing_sent();
    assert!(matches!(failure(&mut lab), Some(Error::RegistrationRefused { status: 439, .. })));
}

#[test]
fn retry_after_is_honoured() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 503, &[("Retry-After", "120")]);
    assert!(lab.events().iter().any(|event| matches!(
        event,
        UaEvent::Registration {
            state: RegistrationState::Registering,
            attempt: Some(1),
            error: Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Unavailable, status: 503, .. }),
            ..
        }
    )));
    lab.wait(Duration::from_millis(119_900));
    lab.nothing_sent();
    lab.wait(Duration::from_millis(200));
    let again = lab.request(&Method::Register);
    grant(&mut lab, &again, 600);
    assert_eq!(lab.opened, 1);
}

#[test]
fn retries_end_when_they_are_not_infinite() {
    let mut settings = config();
    settings.infinite_reconnect = false;
    settings.max_register_retries = 3;
    let mut lab = Lab::new(settings);
    lab.command(Command::Register);
    for _ in 0..3 {
        let register = lab.request(&Method::Register);
        lab.refuse(&register, 500, &[]);
        lab.seconds(31);
    }
    let register = lab.request(&Method::Register);
    lab.refuse(&register, 500, &[]);
    assert!(matches!(failure(&mut lab), Some(Error::RegistrationRefused { status: 500, .. })));
    lab.seconds(600);
    lab.nothing_sent();
    assert_eq!((lab.opened, lab.closed), (1, 1));
}

#[test]
fn an_answer_without_our_contact_is_not_a_registration() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 200, &[("Contact", "<sip:somebody@else.invalid>;expires=600")]);
    assert!(
        lab.events()
            .iter()
            .all(|event| !matches!(event, UaEvent::Registration { state: RegistrationState::Registered, .. }))
    );
}

#[test]
fn unregistering_takes_the_binding_back_and_closes() {
    let mut pair = Pair::registered(config(), edge_settings());
    pair.trace();
    pair.client_does(Command::Unregister);
    pair.seconds(1);
    assert_eq!(pair.trace(), ["REGISTER", "← 200 REGISTER"]);
    assert!(!pair.is_registered());
    assert_eq!(pair.registrations().last(), Some(&RegistrationState::Unregistered));
    assert_eq!(pair.flow, None);
    pair.seconds(1000);
    assert!(pair.trace().is_empty());
    // And again.
    pair.client_does(Command::Register);
    pair.seconds(1);
    assert!(pair.is_registered());
}

#[test]
fn destroying_takes_back_a_registration_that_has_no_answer_yet() {
    let (mut lab, register) = registering();
    lab.command(Command::Destroy);
    let back = lab.request(&Method::Register);
    assert_eq!(back.header(Name::Expires).as_deref(), Some("0"));
    assert!(back.header(Name::Contact).unwrap().ends_with(";expires=0"));
    assert_eq!(back.call_id(), register.call_id());
    assert!(back.cseq().unwrap().number > register.cseq().unwrap().number);
    assert_eq!((lab.flow, lab.closed), (None, 1));

    // One that was refused has left nothing to take back.
    let (mut lab, register) = registering();
    lab.refuse(&register, 403, &[]);
    lab.command(Command::Connect);
    lab.command(Command::Destroy);
    lab.nothing_sent();
}

#[test]
fn a_call_waits_for_the_registration_and_shares_its_nonce() {
    let mut pair = Pair::new(config(), edge_settings());
    pair.client_does(Command::Register);
    pair.client_does(invite_command(CALL));
    pair.seconds(1);
    let expected = ["REGISTER", "← 401 REGISTER", "REGISTER", "← 200 REGISTER", "INVITE", "← 100 INVITE"];
    assert_eq!(pair.trace(), expected);
}

#[test]
fn a_call_that_waits_for_a_registration_that_fails_ends_with_its_error() {
    let (mut lab, register) = registering();
    lab.command(invite_command(CALL));
    lab.nothing_sent();
    lab.refuse(&register, 403, &[]);
    assert!(matches!(
        lab.ended(CALL).error,
        Some(Error::RegistrationRefused { refusal: RegistrationRefusal::Forbidden, .. })
    ));
    assert_eq!((lab.opened, lab.closed), (1, 1));
}

#[test]
fn an_invite_is_authorised_by_401_and_407_alike_and_its_ack_carries_the_same() {
    for (code, asks, proves) in
        [(401, "WWW-Authenticate", Name::Authorization), (407, "Proxy-Authenticate", Name::ProxyAuthorization)]
    {
        let mut lab = Lab::connected(config());
        lab.command(invite_command(CALL));
        let invite = lab.request(&Method::Invite);
        lab.receive(response(&invite, code, None, "edge", &[(asks, CHALLENGE.1)], false));
        lab.request(&Method::Ack);
        let again = lab.request(&Method::Invite);
        assert_eq!(again.call_id(), invite.call_id());
        assert_eq!(again.from().unwrap().tag(), invite.from().unwrap().tag());
        assert_eq!(again.cseq().unwrap().number, 2);
        let proof = again.header(proves).expect("credentials").into_owned();
        lab.accept(&again, "bot");
        let ack = lab.request(&Method::Ack);
        assert_eq!(ack.header(proves).as_deref(), Some(proof.as_str()), "{}", text(&ack));
        assert_eq!(ack.cseq().unwrap().number, 2);
    }
}

#[test]
fn credentials_go_to_the_host_that_asked_for_them() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 401, &[CHALLENGE]);
    let again = lab.request(&Method::Register);
    grant(&mut lab, &again, 600);
    let call = |lab: &mut Lab, number: u64, target: &str| {
        lab.command(Command::Invite {
            call: CallHandle(number),
            target: target.to_owned(),
            call_id: format!("c{number}"),
            headers: Vec::new(),
            offer: OFFER.to_owned(),
            display_name: None,
        });
        lab.request(&Method::Invite)
    };
    // Somebody else gets nothing of it, and asks for what is theirs.
    let elsewhere = call(&mut lab, 1, "sip:bot@elsewhere.example");
    assert!(elsewhere.header(Name::Authorization).is_none());
    lab.refuse(&elsewhere, 401, &[("WWW-Authenticate", "Digest realm=\"elsewhere\", qop=\"auth\", nonce=\"e\"")]);
    lab.request(&Method::Ack);
    let realms = |message: &Message| -> Vec<String> {
        let values = message.headers(Name::Authorization);
        values.map(|value| value.split("realm=").nth(1).unwrap().split('"').nth(1).unwrap().to_owned()).collect()
    };
    let elsewhere = lab.request(&Method::Invite);
    assert_eq!(realms(&elsewhere), ["elsewhere"]);
    lab.accept(&elsewhere, "bot");
    lab.request(&Method::Ack);
    // In the call the Request-URI is a device's; the credentials are those of whom was called.
    lab.command(Command::Hangup { call: CallHandle(1), reason: None });
    let bye = lab.request(&Method::Bye);
    assert_eq!((bye.request_uri(), realms(&bye)), (Some("sip:bot@192.0.2.1:5060"), vec!["elsewhere".to_owned()]));
    lab.refuse(&bye, 200, &[]);
    let home = call(&mut lab, 2, "sip:app-1@EXAMPLE.com");
    assert_eq!(realms(&home), ["example.com"]);
    // The same host, another realm: one header, of the realm that is asked for.
    lab.refuse(&home, 401, &[("WWW-Authenticate", "Digest realm=\"apps\", qop=\"auth\", nonce=\"a\"")]);
    lab.request(&Method::Ack);
    assert_eq!(realms(&lab.request(&Method::Invite)), ["apps"]);
}

#[test]
fn asking_in_a_loop_opens_a_flow_a_second_at_most() {
    let mut lab = Lab::new(config());
    lab.refuse_flows = Some(Error::FlowLost { problem: "refused".to_owned() });
    for _ in 0..1_000 {
        lab.command(Command::Register);
        lab.wait(Duration::from_millis(10));
    }
    // The first step of the backoff may be drawn as zero; after that a second passes between two of them.
    assert!((9..=14).contains(&lab.opened), "{}", lab.opened);
}

#[test]
fn asking_again_respects_retry_after_and_says_why() {
    let (mut lab, register) = registering();
    lab.refuse(&register, 503, &[("Retry-After", "300")]);
    lab.events.clear();
    lab.seconds(10);
    lab.command(Command::Register);
    lab.nothing_sent();
    assert!(matches!(
        &lab.events()[..],
        [UaEvent::Registration {
            state: RegistrationState::Registering,
            error: Some(Error::RegistrationRefused { status: 503, .. }),
            ..
        }]
    ));
    // Without it the next try begins at once.
    lab.seconds(290);
    let again = lab.request(&Method::Register);
    lab.refuse(&again, 503, &[]);
    lab.seconds(1);
    lab.command(Command::Register);
    lab.request(&Method::Register);
}
