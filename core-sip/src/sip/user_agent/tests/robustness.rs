//! Whatever comes from outside, in whatever order: no panic, no growth, every call ends once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{CallHandle, Command, Input, ServerSettings, UaEvent, UserAgentConfig};
use super::lab::{ANSWER, Lab, OFFER, config, invite_command, request_text, response, status, to_of};
use super::pair::edge_settings;
use crate::error::Error;
use crate::header_field::HeaderValue;
use crate::sip::message::Message;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// Bytes without any sense.
    Garbage(Vec<u8>),
    /// A call of the far end.
    Invite {
        sdp: bool,
        damage: Vec<(usize, u8)>,
    },
    /// The ACK of one of our answers.
    Ack(u8),
    /// A request of the far end; `in_call` puts it into the dialog of one of our last responses.
    Request {
        method: usize,
        branch: u8,
        sequence: u8,
        in_call: bool,
        sdp: bool,
        damage: Vec<(usize, u8)>,
    },
    /// A response to one of our last requests.
    Response {
        which: usize,
        code: usize,
        tag: u8,
        sdp: bool,
        damage: Vec<(usize, u8)>,
    },
    KeepAlive(bool),
    Place,
    Hangup(u8),
    HangupIncoming(u8),
    Ring(u8),
    Answer(u8),
    Reject(u8),
    Info(u8),
    Register,
    Unregister,
    Check(u8),
    Wait(u32),
    LoseFlow,
    RefuseFlows(bool),
}

const METHODS: [&str; 9] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "REGISTER", "UPDATE", "REFER"];
const CODES: [u16; 19] =
    [100, 180, 183, 199, 200, 200, 200, 200, 200, 202, 302, 401, 407, 403, 423, 480, 481, 487, 503];

fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec((0_usize..700, any::<u8>()), 1..6)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Garbage),
        8 => (0..METHODS.len(), 0_u8..6, 1_u8..6, any::<bool>(), any::<bool>(), damage()).prop_map(
            |(method, branch, sequence, in_call, sdp, damage)| Step::Request { method, branch, sequence, in_call, sdp, damage }
        ),
        4 => (any::<bool>(), damage()).prop_map(|(sdp, damage)| Step::Invite { sdp, damage }),
        4 => (0_u8..3).prop_map(Step::Ack),
        12 => (0_usize..6, 0..CODES.len(), 0_u8..4, any::<bool>(), damage())
            .prop_map(|(which, code, tag, sdp, damage)| Step::Response { which, code, tag, sdp, damage }),
        1 => any::<bool>().prop_map(Step::KeepAlive),
        4 => Just(Step::Place),
        3 => (0_u8..6).prop_map(Step::Hangup),
        2 => (0_u8..6).prop_map(Step::HangupIncoming),
        1 => (0_u8..6).prop_map(Step::Ring),
        3 => (0_u8..6).prop_map(Step::Answer),
        1 => (0_u8..6).prop_map(Step::Reject),
        2 => (0_u8..6).prop_map(Step::Info),
        1 => Just(Step::Register),
        1 => Just(Step::Unregister),
        1 => any::<u8>().prop_map(Step::Check),
        6 => (0_u32..9_000).prop_map(Step::Wait),
        1 => Just(Step::LoseFlow),
        1 => any::<bool>().prop_map(Step::RefuseFlows),
    ]
}

fn damaged(mut bytes: Vec<u8>, damage: &[(usize, u8)]) -> Bytes {
    for (at, value) in damage {
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % length) {
            *byte = *value;
        }
    }
    bytes.into()
}

/// What is checked while things happen.
struct Walk {
    lab: Lab,
    /// Our last requests.
    requests: Vec<Message>,
    /// Call-ID and `To` of our last responses.
    dialogs: Vec<(String, String)>,
    came: usize,
    placed: BTreeMap<CallHandle, usize>,
    ended: BTreeMap<CallHandle, usize>,
    incoming: Vec<CallHandle>,
    next_call: u64,
    live: Vec<CallHandle>,
}

impl Walk {
    fn new(config: UserAgentConfig) -> Self {
        let edge = config.server.is_some();
        let mut lab = Lab::new(config);
        if edge {
            let flow = super::super::FlowId(1);
            lab.flow = Some(flow);
            lab.input(Input::FlowOpened { flow });
        }
        Self {
            lab,
            requests: Vec::new(),
            dialogs: Vec::new(),
            came: 0,
            placed: BTreeMap::new(),
            ended: BTreeMap::new(),
            incoming: Vec::new(),
            next_call: 1,
            live: Vec::new(),
        }
    }

    fn pick(list: &[CallHandle], which: u8) -> CallHandle {
        list.get(usize::from(which) % list.len().max(1)).copied().unwrap_or(CallHandle(999))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Garbage(bytes) => self.receive(bytes.clone().into()),
            Step::KeepAlive(ping) => self.receive(Bytes::from_static(if *ping { b"\r\n\r\n" } else { b"\r\n" })),
            Step::Request { method, branch, sequence, in_call, sdp, damage } => {
                let outside = ("in-1".to_owned(), "<sip:alice@example.com>".to_owned());
                let dialog = self.dialogs.iter().rev().nth(usize::from(*branch) % 3).filter(|_| *in_call);
                let (call_id, to) = dialog.cloned().unwrap_or(outside);
                let sdp = if *sdp { OFFER } else { "" };
                let branch = format!("z9hG4bKw{branch}");
                let text = request_text(METHODS[*method], &branch, &to, u32::from(*sequence), "", sdp);
                let text = text.replace("in-1", &call_id);
                self.receive(damaged(text.into_bytes(), damage));
            }
            Step::Invite { sdp, damage } => {
                self.came += 1;
                let branch = format!("z9hG4bKcall{}", self.came);
                let sdp = if *sdp { OFFER } else { "" };
                let text = request_text("INVITE", &branch, "<sip:alice@example.com>", 1, "", sdp);
                let text = text.replace("in-1", &format!("came-{}", self.came));
                self.receive(damaged(text.into_bytes(), damage));
            }
            Step::Ack(which) => {
                let Some((call_id, to)) = self.dialogs.iter().rev().nth(usize::from(*which)).cloned() else { return };
                let text = request_text("ACK", "z9hG4bKack", &to, 1, "", "").replace("in-1", &call_id);
                self.receive(text.into_bytes().into());
            }
            Step::Response { which, code, tag, sdp, damage } => {
                let Some(request) = self.requests.iter().rev().nth(*which) else { return };
                let headers = [
                    ("Contact", "<sip:bot@192.0.2.1>"),
                    ("WWW-Authenticate", "Digest realm=\"example.com\", nonce=\"a\", qop=\"auth\""),
                    ("Retry-After", "3"),
                    ("Min-Expires", "700"),
                ];
                let bytes = response(request, CODES[*code], None, &format!("t{tag}"), &headers, *sdp);
                self.receive(damaged(bytes.to_vec(), damage));
            }
            Step::Place => {
                let call = CallHandle(self.next_call);
                self.next_call += 1;
                self.live.push(call);
                *self.placed.entry(call).or_default() += 1;
                self.lab.command(invite_command(call));
            }
            Step::Hangup(which) => {
                let call = Self::pick(&self.live, *which);
                self.lab.command(Command::Hangup { call, reason: Some("walk".to_owned()) });
            }
            Step::HangupIncoming(which) => {
                let call = Self::pick(&self.incoming, *which);
                self.lab.command(Command::Hangup { call, reason: None });
            }
            Step::Ring(which) => {
                let call = Self::pick(&self.incoming, *which);
                self.lab.command(Command::Ring { call, headers: Vec::new() });
            }
            Step::Answer(which) => {
                let call = Self::pick(&self.incoming, *which);
                self.lab.command(Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
            }
            Step::Reject(which) => {
                let call = Self::pick(&self.incoming, *which);
                self.lab.command(Command::Reject { call, status: status(486), reason: None });
            }
            Step::Info(which) => {
                let call = Self::pick(&self.live, *which);
                let content_type = HeaderValue::from_static("application/dtmf-relay");
                self.lab.command(Command::Info { call, content_type, body: Bytes::from_static(b"Signal=1\r\n") });
            }
            Step::Register => self.lab.command(Command::Register),
            Step::Unregister => self.lab.command(Command::Unregister),
            Step::Check(id) => self.lab.command(Command::CheckFlow { id: u64::from(*id) }),
            Step::Wait(millis) => {
                self.lab.wait(Duration::from_millis(u64::from(*millis)));
                self.pong();
            }
            Step::LoseFlow => {
                if self.lab.flow.is_some() {
                    self.lab.lose_flow();
                }
            }
            Step::RefuseFlows(refuse) => {
                self.lab.refuse_flows =
                    refuse.then(|| Error::Connect { address: "edge".to_owned(), problem: "refused".to_owned() });
            }
        }
        self.look();
    }

    /// Keeps the flow: no wait is longer than the deadline of a ping.
    fn pong(&mut self) {
        self.receive(Bytes::from_static(b"\r\n"));
    }

    fn receive(&mut self, bytes: Bytes) {
        if self.lab.flow.is_some() {
            self.lab.receive(bytes);
        }
    }

    fn look(&mut self) {
        for message in std::mem::take(&mut self.lab.sent) {
            if message.is_request() {
                self.requests.push(message);
                if self.requests.len() > 12 {
                    self.requests.remove(0);
                }
            } else if let Ok(call_id) = message.call_id()
                && message.to().is_ok_and(|to| to.tag().is_some())
            {
                self.dialogs.push((call_id.to_owned(), to_of(&message)));
                if self.dialogs.len() > 12 {
                    self.dialogs.remove(0);
                }
            }
        }
        for event in self.lab.events() {
            match event {
                UaEvent::Incoming { call, .. } => {
                    self.incoming.push(call);
                    *self.placed.entry(call).or_default() += 1;
                }
                UaEvent::Ended { call, .. } => {
                    *self.ended.entry(call).or_default() += 1;
                    assert_eq!(self.ended[&call], 1, "{call:?} ends once");
                    assert!(self.placed.contains_key(&call), "{call:?} was never there");
                    self.live.retain(|other| *other != call);
                    self.incoming.retain(|other| *other != call);
                }
                _ => {}
            }
        }
        let agent = &self.lab.agent;
        let limits = agent.config.limits;
        assert!(agent.active_calls() <= limits.calls);
        assert!(agent.clients.len() <= limits.client_transactions);
        assert!(agent.servers.len() <= limits.server_transactions);
        assert!(agent.calls.len() <= limits.calls + limits.client_transactions);
        let bound = 6 * agent.calls.len() + agent.clients.len() + agent.servers.len() + 8;
        assert!(agent.timers.len() <= bound, "{} timers", agent.timers.len());
        for call in agent.calls.keys() {
            assert!(self.placed.contains_key(call));
        }
    }

    /// Everybody hangs up and goes home; time passes; nothing may be left.
    fn finish(mut self) {
        for call in self.live.clone().into_iter().chain(self.incoming.clone()) {
            self.lab.command(Command::Hangup { call, reason: None });
        }
        self.lab.command(Command::Unregister);
        self.look();
        // A call that rings at the far end may go on ringing until it is cancelled, and its CANCEL be ignored.
        for _ in 0..50 {
            self.lab.seconds(9);
            self.pong();
            self.look();
        }
        assert_eq!(self.placed.keys().collect::<Vec<_>>(), self.ended.keys().collect::<Vec<_>>(), "every call ends");
        let agent = &self.lab.agent;
        assert!(agent.calls.is_empty() && agent.servers.is_empty(), "{:#?} {:#?}", agent.calls, agent.servers.keys());
        assert!(agent.clients.is_empty(), "{:#?}", agent.clients);
        self.lab.command(Command::Destroy);
        self.lab.sent.clear();
        let (opened, events) = (self.lab.opened, self.lab.events.len());
        self.lab.command(Command::Register);
        self.lab.command(invite_command(CallHandle(1)));
        self.lab.seconds(100);
        assert_eq!((self.lab.opened, self.lab.events.len(), self.lab.sent.len()), (opened, events, 0));
        assert_eq!(self.lab.agent.next_timeout(), None);
    }
}

fn small(server: Option<ServerSettings>) -> UserAgentConfig {
    let mut config = config();
    config.limits.calls = 4;
    config.limits.server_transactions = 6;
    config.limits.client_transactions = 24;
    config.keep_alive_interval = server.is_none().then_some(Duration::from_secs(30));
    config.server = server;
    config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_survives_everything(steps in prop::collection::vec(step(), 1..120)) {
        let mut walk = Walk::new(small(None));
        walk.lab.command(Command::Connect);
        for step in &steps {
            walk.take(step);
        }
        walk.finish();
    }

    #[test]
    fn an_edge_survives_everything(challenges in any::<bool>(), steps in prop::collection::vec(step(), 1..120)) {
        let settings = if challenges { edge_settings() } else { ServerSettings::new("abc.invalid", None) };
        let mut walk = Walk::new(small(Some(settings)));
        for step in &steps {
            walk.take(step);
        }
        walk.finish();
    }
}
