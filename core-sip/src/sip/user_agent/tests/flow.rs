//! Flows that are lost, that go silent, and that do not open.

use std::time::Duration;

use bytes::Bytes;

use super::super::{CallHandle, Command, Input, UaEvent};
use super::lab::{CALL, Lab, config, header, invite_command};
use super::pair::{Pair, edge_settings};
use crate::error::{Error, TlsFault};
use crate::event::RegistrationState;
use crate::header_field::HeaderValue;
use crate::sip::header::Name;
use crate::sip::message::Method;

fn reconnecting(events: &[UaEvent]) -> Vec<(u32, Duration)> {
    events
        .iter()
        .filter_map(|event| match event {
            UaEvent::Reconnecting { attempt, delay } => Some((*attempt, *delay)),
            _ => None,
        })
        .collect()
}

fn unreachable() -> Error {
    Error::Connect { address: "edge:8443".to_owned(), problem: "connection refused".to_owned() }
}

#[test]
fn backoff_grows_with_jitter_up_to_its_cap_for_ever() {
    let mut lab = Lab::new(config());
    lab.refuse_flows = Some(unreachable());
    lab.command(Command::Register);
    lab.seconds(3600);
    let waits = reconnecting(&lab.events());
    assert!(waits.len() > 100, "{}", waits.len());
    for (index, (attempt, delay)) in waits.iter().enumerate() {
        assert_eq!(*attempt as usize, index + 1);
        assert!(*delay <= config().backoff.step(*attempt), "{attempt} {delay:?}");
    }
    // Full jitter: late waits are spread over the whole range.
    let late: Vec<u64> = waits.iter().skip(6).map(|(_, delay)| delay.as_secs()).collect();
    assert!(late.iter().any(|s| *s < 8) && late.iter().any(|s| *s > 22), "{late:?}");
    lab.refuse_flows = None;
    lab.seconds(31);
    lab.request(&Method::Register);
}

#[test]
fn attempts_are_counted_when_they_are_not_infinite() {
    let mut settings = config();
    settings.infinite_reconnect = false;
    settings.max_register_retries = 2;
    let mut lab = Lab::new(settings);
    lab.refuse_flows = Some(unreachable());
    lab.command(Command::Register);
    lab.seconds(100);
    assert_eq!(lab.opened, 3);
    let events = lab.events();
    assert_eq!(reconnecting(&events).len(), 2);
    assert!(matches!(
        events.last(),
        Some(UaEvent::Registration { state: RegistrationState::Failed, error: Some(Error::Connect { .. }), .. })
    ));
}

#[test]
fn what_no_retry_can_mend_ends_at_once() {
    let url = "wss://edge".to_owned();
    for error in [
        Error::Tls { host: "edge".to_owned(), fault: TlsFault::UnknownIssuer },
        Error::SubprotocolRefused { url: url.clone(), chosen: None },
        Error::WebSocketRefused { url, status: 404 },
    ] {
        let mut lab = Lab::new(config());
        lab.refuse_flows = Some(error.clone());
        lab.command(Command::Register);
        lab.command(invite_command(CALL));
        lab.seconds(600);
        assert_eq!(lab.opened, 2, "once for REGISTER, once for the call");
        let events = lab.events();
        assert!(reconnecting(&events).is_empty());
        assert!(
            events.iter().any(|event| matches!(event, UaEvent::Registration { error: Some(e), .. } if *e == error))
        );
        assert!(events.iter().any(|event| matches!(event, UaEvent::Ended { error: Some(e), .. } if *e == error)));
    }
}

#[test]
fn after_a_loss_the_same_contact_is_registered_on_a_new_flow() {
    let mut pair = Pair::registered(config(), edge_settings());
    let before = pair.edge.binding(pair.now).unwrap().contact.clone();
    pair.trace();
    pair.seconds(60);
    pair.break_flow();
    assert!(!pair.is_registered());
    pair.seconds(2);
    assert!(pair.is_registered());
    assert_eq!(pair.edge.binding(pair.now).unwrap().contact, before);
    assert_eq!(
        pair.registrations(),
        [
            RegistrationState::Registering,
            RegistrationState::Registered,
            RegistrationState::Registering,
            RegistrationState::Registered
        ]
    );
    assert_eq!(reconnecting(&pair.client_events).iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_edge_that_drops_every_flow_at_once_is_not_hammered() {
    let mut lab = Lab::new(config());
    lab.command(Command::Connect);
    for _ in 0..6 {
        lab.lose_flow();
        while lab.flow.is_none() {
            lab.wait(Duration::from_millis(10));
        }
    }
    let attempts: Vec<u32> = reconnecting(&lab.events()).iter().map(|(attempt, _)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    // One that held for a while was a good one.
    lab.seconds(31);
    lab.lose_flow();
    assert_eq!(reconnecting(&lab.events()).first().map(|(attempt, _)| *attempt), Some(1));
}

#[test]
fn a_flow_that_never_opens_is_given_up() {
    let mut agent_lab = Lab::new(config());
    agent_lab.agent.handle(agent_lab.now, Input::Command(Command::Connect));
    while agent_lab.agent.poll_output().is_some() {}
    let due = agent_lab.agent.next_timeout().unwrap();
    assert_eq!(due - agent_lab.now, config().flow_open_timeout);
    agent_lab.agent.handle(due, Input::Timeout);
    let mut told = Vec::new();
    while let Some(output) = agent_lab.agent.poll_output() {
        told.push(format!("{output:?}"));
    }
    assert!(told[0].starts_with("CloseFlow"), "{told:?}");
    assert!(told.iter().any(|line| line.contains("Reconnecting")), "{told:?}");
}

#[test]
fn a_pong_keeps_the_flow_and_its_absence_kills_it() {
    let mut settings = config();
    settings.keep_alive_interval = Some(Duration::from_secs(30));
    let mut lab = Lab::connected(settings);
    for expected in 1..=3 {
        lab.seconds(30);
        assert_eq!(lab.pings, expected);
        lab.receive("\r\n");
    }
    lab.seconds(30);
    assert_eq!(lab.pings, 4);
    lab.wait(Duration::from_millis(9_900));
    assert_eq!(lab.closed, 0);
    lab.wait(Duration::from_millis(200));
    assert_eq!(lab.closed, 1, "once it has answered, ten seconds are enough");
    assert!(matches!(
        lab.events().iter().find(|event| matches!(event, UaEvent::FlowDown { .. })),
        Some(UaEvent::FlowDown { error: Some(Error::Timeout { operation: "keep-alive", .. }) })
    ));
    lab.seconds(2);
    assert_eq!(lab.opened, 2);
}

#[test]
fn a_server_that_answers_no_crlf_is_probed_by_options() {
    let mut settings = config();
    settings.keep_alive_interval = Some(Duration::from_secs(30));
    let mut lab = Lab::connected(settings);
    lab.seconds(30);
    assert_eq!(lab.pings, 1);
    let options = lab.request(&Method::Options);
    lab.refuse(&options, 404, &[]);
    for _ in 0..3 {
        lab.seconds(30);
        assert_eq!(lab.pings, 1, "it is not pinged again");
        let options = lab.request(&Method::Options);
        lab.refuse(&options, 200, &[]);
    }
    lab.seconds(30);
    lab.request(&Method::Options);
    lab.wait(Duration::from_millis(9_900));
    assert_eq!(lab.closed, 0);
    lab.wait(Duration::from_millis(200));
    assert_eq!(lab.closed, 1);
}

#[test]
fn a_ping_is_answered_with_a_pong() {
    let mut lab = Lab::connected(config());
    lab.receive("\r\n\r\n");
    assert_eq!((lab.pongs, lab.pings), (1, 0));
    lab.receive("\r\n");
    lab.receive("");
    assert_eq!((lab.pongs, lab.pings), (1, 0));
}

#[test]
fn a_half_open_flow_is_found_within_interval_and_deadline() {
    let mut settings = config();
    settings.keep_alive_interval = Some(Duration::from_secs(30));
    let mut pair = Pair::registered(settings, edge_settings());
    pair.seconds(35);
    pair.silent = true;
    pair.flows_opened.clear();
    pair.seconds(41);
    assert!(pair.client_events.iter().any(|event| matches!(event, UaEvent::Reconnecting { attempt: 1, .. })));
    pair.silent = false;
    pair.seconds(90);
    assert!(pair.is_registered());
}

#[test]
fn a_check_tells_whether_the_flow_lives() {
    let mut lab = Lab::connected(config());
    let checked = |lab: &mut Lab| {
        lab.events()
            .into_iter()
            .filter_map(|event| match event {
                UaEvent::FlowChecked { id, alive } => Some((id, alive)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    lab.command(Command::CheckFlow { id: 1 });
    lab.command(Command::CheckFlow { id: 2 });
    assert_eq!(lab.pings, 1);
    lab.request(&Method::Options);
    lab.receive("\r\n");
    assert_eq!(checked(&mut lab), [(1, true), (2, true)]);
    lab.command(Command::CheckFlow { id: 3 });
    assert_eq!(lab.pings, 2);
    lab.refuse_flows = Some(unreachable());
    lab.seconds(11);
    assert_eq!(checked(&mut lab), [(3, false)]);
    lab.command(Command::CheckFlow { id: 4 });
    assert_eq!(checked(&mut lab), [(4, false)]);
}

#[test]
fn an_unanswered_invite_ends_with_its_flow_and_a_confirmed_call_does_not() {
    let mut lab = Lab::connected(config());
    lab.command(invite_command(CALL));
    lab.request(&Method::Invite);
    lab.lose_flow();
    assert_eq!(lab.ended(CALL).error, Some(Error::FlowLostDuringSetup));
    lab.assert_nothing_left();

    let (mut lab, _) = Lab::in_call(config());
    lab.lose_flow();
    lab.seconds(2);
    assert!(!lab.has_ended() && lab.flow.is_some());
    let refresh = lab.request(&Method::Invite);
    lab.accept(&refresh, "bot");
    lab.request(&Method::Ack);
    lab.command(Command::Hangup { call: CALL, reason: None });
    let bye = lab.request(&Method::Bye);
    lab.refuse(&bye, 200, &[]);
    assert!(lab.ended(CALL).error.is_none());
}

#[test]
fn what_is_asked_while_there_is_no_flow_goes_out_on_the_next() {
    let (mut lab, _) = Lab::in_call(config());
    lab.refuse_flows = Some(unreachable());
    lab.lose_flow();
    let dtmf = HeaderValue::from_static("application/dtmf-relay");
    lab.command(Command::Info { call: CALL, content_type: dtmf, body: "Signal=1".into() });
    lab.command(Command::Hangup { call: CALL, reason: None });
    lab.seconds(1);
    lab.refuse_flows = None;
    lab.seconds(10);
    let info = lab.request(&Method::Info);
    let bye = lab.request(&Method::Bye);
    assert!(info.cseq().unwrap().number < bye.cseq().unwrap().number);
    lab.refuse(&bye, 200, &[]);
    assert!(lab.ended(CALL).error.is_none());
}

#[test]
fn a_bye_whose_answer_is_lost_goes_out_again() {
    let (mut lab, _) = Lab::in_call(config());
    lab.command(Command::Hangup { call: CALL, reason: None });
    let first = lab.request(&Method::Bye);
    lab.lose_flow();
    lab.seconds(2);
    let second = lab.request(&Method::Bye);
    assert!(second.cseq().unwrap().number > first.cseq().unwrap().number);
    lab.refuse(&second, 481, &[]);
    assert!(lab.ended(CALL).error.is_none());
}

#[test]
fn what_waits_too_long_for_a_flow_is_an_error() {
    let (mut lab, _) = Lab::in_call(config());
    lab.refuse_flows = Some(unreachable());
    lab.lose_flow();
    let dtmf = HeaderValue::from_static("application/dtmf-relay");
    lab.command(Command::Info { call: CALL, content_type: dtmf, body: "Signal=1".into() });
    lab.seconds(33);
    assert!(
        lab.events()
            .iter()
            .any(|event| matches!(event, UaEvent::InfoResult { call: CALL, result: Err(Error::FlowLost { .. }) }))
    );
    lab.command(Command::Hangup { call: CALL, reason: None });
    lab.seconds(33);
    assert!(matches!(lab.ended(CALL).error, Some(Error::FlowLost { .. })));

    // A call that is placed without a flow waits for one just as long.
    lab.command(invite_command(CALL));
    lab.seconds(33);
    assert!(matches!(lab.ended(CALL).error, Some(Error::FlowLost { .. })));
    lab.assert_nothing_left();
}

#[test]
fn nothing_comes_out_after_destroy() {
    let mut settings = config();
    settings.register_headers = vec![header("X-Page", "1")];
    let mut pair = Pair::registered(settings, edge_settings());
    pair.call(CALL);
    pair.client_does(invite_command(CallHandle(2)));
    pair.seconds(1);
    pair.trace();
    pair.client_does(Command::Destroy);
    assert_eq!(pair.trace(), ["BYE", "CANCEL", "REGISTER"]);
    assert_eq!(pair.flow, None);
    let ends = pair.client_events.iter().filter(|event| matches!(event, UaEvent::Ended { .. })).count();
    assert_eq!(ends, 2);
    assert_eq!(pair.registrations().last(), Some(&RegistrationState::Unregistered));
    let events = pair.client_events.len();
    assert_eq!(pair.client.next_timeout(), None);
    for command in [Command::Connect, Command::Register, invite_command(CALL), Command::Destroy] {
        pair.client_does(command);
    }
    pair.seconds(600);
    assert_eq!((pair.client_events.len(), pair.trace().len()), (events, 0));
}

#[test]
fn a_flow_that_nobody_needs_is_closed() {
    let mut lab = Lab::new(config());
    lab.command(invite_command(CALL));
    let invite = lab.request(&Method::Invite);
    assert_eq!(invite.header(Name::Via).is_some(), lab.flow.is_some());
    lab.refuse(&invite, 486, &[]);
    assert_eq!((lab.opened, lab.closed), (1, 1));
}

/// What is told of a request whose flow is lost before its answer (RFC 3261 §17.1.4), and what goes out on the next one.
#[test]
fn each_request_that_loses_its_flow_is_told_of_or_goes_out_again() {
    fn is_told(event: &UaEvent) -> Option<&'static str> {
        Some(match event {
            UaEvent::InfoResult { result: Err(Error::FlowLost { .. }), .. } => "INFO lost",
            UaEvent::TransferResult { result: Err(Error::FlowLost { .. }), .. } => "REFER lost",
            UaEvent::FlowChecked { alive: false, .. } => "not alive",
            UaEvent::Ended { error: Some(Error::FlowLostDuringSetup), .. } => "INVITE lost",
            UaEvent::Ended { .. } => "ended",
            UaEvent::HoldResult { .. } => "hold",
            _ => return None,
        })
    }
    let info = Command::Info {
        call: CALL,
        content_type: HeaderValue::from_static("application/dtmf"),
        body: Bytes::from_static(b"1"),
    };
    let refer = Command::Transfer { call: CALL, target: "sip:carol@example.com".to_owned() };
    let table: Vec<(Command, &[&str], &[Method])> = vec![
        (info, &["INFO lost"], &[Method::Invite]),
        (refer, &["REFER lost"], &[Method::Invite]),
        (Command::Hold { call: CALL, held: true }, &[], &[Method::Invite]),
        (Command::Hangup { call: CALL, reason: None }, &[], &[Method::Bye]),
        (Command::CheckFlow { id: 7 }, &["not alive"], &[Method::Invite]),
        (invite_command(CallHandle(2)), &["INVITE lost"], &[Method::Cancel, Method::Invite]),
        (Command::Register, &[], &[Method::Register, Method::Invite]),
    ];
    for (command, told, again) in table {
        let (mut lab, _) = Lab::in_call(config());
        lab.command(command.clone());
        assert!(!lab.sent.is_empty(), "{command:?}");
        lab.sent.clear();
        lab.events();
        lab.lose_flow();
        let events = lab.events();
        assert_eq!(events.iter().filter_map(is_told).collect::<Vec<_>>(), told, "{command:?}");
        lab.seconds(2);
        let sent: Vec<Method> = lab.sent.iter().filter_map(|message| message.method().cloned()).collect();
        assert_eq!(sent, again, "{command:?}");
        if matches!(command, Command::Hold { .. }) {
            assert!(String::from_utf8_lossy(lab.sent[0].body()).contains("a=sendonly"), "hold is asked for again");
        }
    }
}
