//! A client and an edge on a virtual clock, with a network between them that delays, breaks and goes silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use super::super::{
    CallHandle, Command, CredentialLookup, FlowId, Input, Output, ServerSettings, UaEvent, UserAgent, UserAgentConfig,
};
use super::lab::{PASSWORD, config, invite_command};
use crate::error::Error;
use crate::event::RegistrationState;
use crate::random::SeededRandom;
use crate::sip::message::{Message, Method};
use crate::time::Time;

/// How long a message is on its way.
const DELAY: Duration = Duration::from_millis(20);

/// What arrives later.
#[derive(Debug)]
enum Arrival {
    ToClient(Input),
    ToEdge(Input),
}

/// See the [module](self).
pub(super) struct Pair {
    pub(super) now: Time,
    pub(super) client: UserAgent,
    pub(super) edge: UserAgent,
    edge_config: UserAgentConfig,
    on_the_way: BTreeMap<(Time, u64), Arrival>,
    count: u64,
    /// The flow that is open, if any.
    pub(super) flow: Option<FlowId>,
    /// The edge refuses new flows with this.
    pub(super) refuse: Option<Error>,
    /// Everything that is sent vanishes, and nobody is told.
    pub(super) silent: bool,
    pub(super) client_events: Vec<UaEvent>,
    pub(super) edge_events: Vec<UaEvent>,
    /// First lines of what the client sent and received, in order.
    pub(super) trace: Vec<String>,
    pub(super) flows_opened: Vec<Time>,
}

pub(super) fn edge_settings() -> ServerSettings {
    let users: Arc<dyn CredentialLookup> = Arc::new(|user: &str, realm: &str| {
        (user == "alice" && realm == "example.com").then(|| SecretString::from(PASSWORD))
    });
    ServerSettings::new("example.com", Some(users))
}

impl Pair {
    pub(super) fn new(client: UserAgentConfig, settings: ServerSettings) -> Self {
        let mut edge_config = UserAgentConfig::new("edge", "example.com", None);
        edge_config.server = Some(settings);
        edge_config.keep_alive_interval = None;
        Self {
            now: Time::ZERO,
            client: UserAgent::new(client, Box::new(SeededRandom::new(1))),
            edge: UserAgent::new(edge_config.clone(), Box::new(SeededRandom::new(2))),
            edge_config,
            on_the_way: BTreeMap::new(),
            count: 0,
            flow: None,
            refuse: None,
            silent: false,
            client_events: Vec::new(),
            edge_events: Vec::new(),
            trace: Vec::new(),
            flows_opened: Vec::new(),
        }
    }

    pub(super) fn registered(client: UserAgentConfig, settings: ServerSettings) -> Self {
        let mut pair = Self::new(client, settings);
        pair.client_does(Command::Register);
        pair.run(Duration::from_secs(1));
        assert!(pair.is_registered(), "{:#?}", pair.client_events);
        pair
    }

    pub(super) fn is_registered(&self) -> bool {
        self.edge.binding(self.now).is_some()
    }

    fn later(&mut self, arrival: Arrival) {
        self.count += 1;
        self.on_the_way.insert((self.now + DELAY, self.count), arrival);
    }

    pub(super) fn client_does(&mut self, command: Command) {
        self.client.handle(self.now, Input::Command(command));
        self.drain();
    }

    pub(super) fn edge_does(&mut self, command: Command) {
        self.edge.handle(self.now, Input::Command(command));
        self.drain();
    }

    /// The WebSocket breaks, and both ends hear of it.
    pub(super) fn break_flow(&mut self) {
        let Some(flow) = self.flow.take() else { return };
        self.on_the_way.clear();
        let error = Some(Error::FlowLost { problem: "reset".to_owned() });
        self.client.handle(self.now, Input::FlowClosed { flow, error: error.clone() });
        self.edge.handle(self.now, Input::FlowClosed { flow, error });
        self.drain();
    }

    fn note(&mut self, arrow: &str, bytes: &Bytes) {
        if let Ok(message) = Message::parse(bytes.clone()) {
            let what = match (message.method(), message.status()) {
                (Some(method), _) => method.to_string(),
                (None, Some(status)) => {
                    format!("{} {}", status.as_u16(), message.cseq().map(|c| c.method.to_string()).unwrap())
                }
                _ => unreachable!("a message is a request or a response"),
            };
            self.trace.push(format!("{arrow}{what}"));
        }
    }

    fn drain(&mut self) {
        loop {
            if let Some(output) = self.client.poll_output() {
                match output {
                    Output::OpenFlow { flow } => {
                        assert!(self.flow.is_none());
                        self.flows_opened.push(self.now);
                        if let Some(error) = self.refuse.clone() {
                            self.later(Arrival::ToClient(Input::FlowFailed { flow, error }));
                        } else {
                            // An edge has a user agent for each flow that it accepts.
                            self.edge = UserAgent::new(self.edge_config.clone(), Box::new(SeededRandom::new(flow.0)));
                            self.flow = Some(flow);
                            self.later(Arrival::ToEdge(Input::FlowOpened { flow }));
                            self.later(Arrival::ToClient(Input::FlowOpened { flow }));
                        }
                    }
                    Output::CloseFlow { flow } => {
                        if self.flow.take_if(|open| *open == flow).is_some() && !self.silent {
                            self.later(Arrival::ToEdge(Input::FlowClosed { flow, error: None }));
                        }
                    }
                    Output::Send { flow, bytes } => {
                        assert_eq!(self.flow, Some(flow), "the client sends on a dead flow");
                        self.note("", &bytes);
                        if !self.silent {
                            self.later(Arrival::ToEdge(Input::Received { flow, bytes }));
                        }
                    }
                    Output::Event(event) => self.client_events.push(event),
                }
            } else if let Some(output) = self.edge.poll_output() {
                match output {
                    Output::Send { flow, bytes } => {
                        if self.flow == Some(flow) && !self.silent {
                            self.later(Arrival::ToClient(Input::Received { flow, bytes }));
                        }
                    }
                    Output::CloseFlow { flow } => {
                        // The client's half is open until it hears of it.
                        if self.flow == Some(flow) {
                            self.later(Arrival::ToClient(Input::FlowClosed { flow, error: None }));
                        }
                    }
                    Output::Event(event) => self.edge_events.push(event),
                    Output::OpenFlow { .. } => panic!("an edge opens no flow"),
                }
            } else {
                break;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..1_000_000 {
            let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let due = [arrival, self.client.next_timeout(), self.edge.next_timeout()].into_iter().flatten().min();
            let Some(at) = due.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            if arrival == Some(at) {
                match self.on_the_way.pop_first() {
                    Some((_, Arrival::ToClient(input))) => {
                        if let Input::Received { bytes, .. } = &input {
                            let bytes = bytes.clone();
                            self.note("← ", &bytes);
                        }
                        if let Input::FlowClosed { flow, .. } = &input {
                            self.flow.take_if(|open| open == flow);
                        }
                        self.client.handle(self.now, input);
                    }
                    Some((_, Arrival::ToEdge(input))) => self.edge.handle(self.now, input),
                    None => {}
                }
            } else {
                self.client.handle(self.now, Input::Timeout);
                self.edge.handle(self.now, Input::Timeout);
            }
            self.drain();
        }
        panic!("it never comes to rest");
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// The trace so far.
    pub(super) fn trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    /// The call that the edge hears of.
    pub(super) fn edge_call(&self) -> CallHandle {
        self.edge_events
            .iter()
            .rev()
            .find_map(|event| match event {
                UaEvent::Incoming { call, .. } => Some(*call),
                _ => None,
            })
            .expect("a call has come to the edge")
    }

    /// The client calls and the edge answers.
    pub(super) fn call(&mut self, call: CallHandle) -> CallHandle {
        self.client_does(invite_command(call));
        self.seconds(1);
        let edge_call = self.edge_call();
        self.edge_does(Command::Answer { call: edge_call, sdp: super::lab::ANSWER.to_owned(), headers: Vec::new() });
        self.seconds(1);
        assert!(self.client_events.iter().any(|e| matches!(e, UaEvent::Accepted { call: c, .. } if *c == call)));
        assert!(self.edge_events.iter().any(|e| matches!(e, UaEvent::Confirmed { call, .. } if *call == edge_call)));
        edge_call
    }

    pub(super) fn registrations(&self) -> Vec<RegistrationState> {
        self.client_events
            .iter()
            .filter_map(|event| match event {
                UaEvent::Registration { state, .. } => Some(*state),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn registers_and_calls_with_one_challenge() {
    let mut pair = Pair::registered(config(), edge_settings());
    assert_eq!(pair.trace(), ["REGISTER", "← 401 REGISTER", "REGISTER", "← 200 REGISTER"]);
    assert_eq!(pair.registrations(), [RegistrationState::Registering, RegistrationState::Registered]);
    let edge_call = pair.call(super::lab::CALL);
    assert_eq!(pair.trace(), ["INVITE", "← 100 INVITE", "← 200 INVITE", Method::Ack.as_str()]);
    pair.client_does(Command::Hangup { call: super::lab::CALL, reason: None });
    pair.seconds(1);
    assert_eq!(pair.trace(), ["BYE", "← 200 BYE"]);
    assert!(pair.edge_events.iter().any(|e| matches!(e, UaEvent::Ended { call, .. } if *call == edge_call)));
}
