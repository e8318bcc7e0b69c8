//! A whole user agent and a peer that says anything at any time, on a clock that the input moves.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_core_sip::Error;
use codex_core_sip::header_field::HeaderValue;
use codex_core_sip::random::SeededRandom;
use codex_core_sip::sip::header::Name;
use codex_core_sip::sip::message::{Message, MessageBuilder, Method, StatusCode};
use codex_core_sip::sip::uri::unescape;
use codex_core_sip::sip::user_agent::{
    CallHandle, Command, FlowId, Input, Output, ServerSettings, UaEvent, UserAgent, UserAgentConfig,
};
use codex_core_sip::time::Time;
use secrecy::SecretString;

use crate::{INVITE, OFFER};

/// Scripts: a byte says what happens, the bytes after it how. The first byte chooses the role.
pub(crate) const SEEDS: &[&[u8]] = &[
    // A client registers, calls, is answered, sends a key, hangs up, destroys.
    b"\x00\x08\x00\x02\x12\x09\x02\x02\x05\x02\x0c\x0c\x03\x02\x12\x0b\x02\x12\x0f\x04\xff\x0e",
    // A client is called, rings, answers, is acknowledged, called off; the flow is lost and comes back.
    b"\x00\x08\x00\x02\x0c\x03\x00\x0d\x00\x0d\x01\x03\x06\x04\x20\x03\x02\x06\x00\x04\xff\x00\x05\x04\xff\x0e",
    // An edge: somebody registers and calls, with garbage in between.
    b"\x01\x00\x03\x05\x03\x00\x01\x20garbage\r\n\r\n\x04\x10\x03\x00\x0d\x01\x03\x01\x03\x02\x04\xff\x06\x0e",
    b"\x00\x08\x00\x02\x00\x02\x01\x02\x02\x02\x03\x02\x04\x02\x05\x02\x06\x02\x07\x02\x08\x04\x50\x04\xff\x04\xff",
];

const METHODS: [Method; 10] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Info,
    Method::Register,
    Method::Update,
    Method::Options,
    Method::Refer,
    Method::Notify,
];
const STATUSES: [u16; 19] =
    [100, 180, 183, 199, 200, 200, 202, 302, 401, 403, 407, 408, 415, 423, 481, 486, 487, 503, 603];

/// How responses to requests begin that could not be read.
const REFUSALS: [&[u8]; 3] = [b"SIP/2.0 400 ", b"SIP/2.0 505 ", b"SIP/2.0 513 "];

/// What passes before and after the end: more than any timer of a call.
const AFTERWARDS: Duration = Duration::from_secs(3600);

/// What one input may set off.
const MOST_OUTPUTS: usize = 4096;
/// Timers that may be due at the same moment.
const MOST_TIMEOUTS: usize = 512;
/// Messages of the user agent that the peer remembers, to answer them.
const REMEMBERED: usize = 8;

/// A user agent, what it has told, and what must hold of it. Panics if something does not.
#[derive(Debug)]
pub struct HostilePeer {
    agent: UserAgent,
    now: Time,
    /// Flows on which it may send.
    open: BTreeSet<FlowId>,
    /// Flows that it has asked for.
    asked: VecDeque<FlowId>,
    flow: FlowId,
    sent: VecDeque<Message>,
    live: BTreeSet<CallHandle>,
    next_call: u64,
    next_branch: u64,
    messages_sent: u64,
    edge: bool,
    /// The call in which it was last sent to somebody else.
    referred: Option<CallHandle>,
    /// Whether flows that it asks for while time passes are refused.
    refusing: bool,
    destroyed: bool,
}

pub(crate) fn run(data: &[u8]) {
    let mut script = Script { rest: data };
    let mut peer = HostilePeer::new(!script.byte().is_multiple_of(2));
    peer.play(&mut script);
    peer.finish();
}

impl HostilePeer {
    /// A user agent of the client's role, or of the edge's.
    #[must_use]
    pub fn new(edge: bool) -> Self {
        let mut config = UserAgentConfig::new("alice", "example.com", Some(SecretString::from("secret")));
        config.accept_referrals = true;
        if edge {
            let users = |user: &str, _: &str| (user == "alice").then(|| SecretString::from("secret"));
            let mut server = ServerSettings::new("example.com", Some(Arc::new(users)));
            // A peer that cannot pass the challenge would never get further than to it.
            server.challenge_invites = false;
            config.server = Some(server);
        }
        let mut peer = Self {
            agent: UserAgent::new(config, Box::new(SeededRandom::new(7))),
            now: Time::ZERO,
            open: BTreeSet::new(),
            asked: VecDeque::new(),
            flow: FlowId(1),
            sent: VecDeque::new(),
            live: BTreeSet::new(),
            next_call: 1,
            next_branch: 1,
            messages_sent: 0,
            edge,
            referred: None,
            refusing: false,
            destroyed: false,
        };
        if edge {
            peer.open_flow(FlowId(1));
        }
        peer
    }

    /// Does what `script` says, on the same user agent as before.
    pub fn hear(&mut self, script: &[u8]) {
        self.play(&mut Script { rest: script });
    }

    /// Whether it was told to end.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.destroyed
    }

    /// How many messages it has sent.
    #[must_use]
    pub fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Lets an hour pass, then ends it: it falls silent, whatever has happened before.
    pub fn finish(&mut self) {
        self.refusing = true;
        self.advance(AFTERWARDS);
        self.input(Input::Command(Command::Destroy));
        self.advance(AFTERWARDS);
        assert_eq!(self.agent.next_timeout(), None, "nothing is due after its end");
    }

    fn play(&mut self, script: &mut Script<'_>) {
        while !script.rest.is_empty() {
            match script.byte() % 16 {
                0 => {
                    if let Some(flow) = self.asked.pop_front() {
                        self.open_flow(flow);
                    } else if self.edge && self.open.is_empty() {
                        self.open_flow(FlowId(self.flow.0 + 1));
                    }
                }
                1 => {
                    let length = usize::from(script.byte());
                    let bytes = Bytes::copy_from_slice(script.take(length));
                    self.receive(bytes);
                }
                2 => self.respond(script),
                3 => self.request(script),
                4 => {
                    let wait = script.byte();
                    self.advance(Duration::from_millis(u64::from(wait) * u64::from(wait)));
                }
                5 => {
                    let error = Error::FlowLost { problem: "cut".to_owned() };
                    if let Some(flow) = self.asked.pop_front() {
                        self.input(Input::FlowFailed { flow, error });
                    } else {
                        self.open.remove(&self.flow);
                        self.input(Input::FlowClosed { flow: self.flow, error: Some(error) });
                    }
                }
                6 => self.receive(Bytes::from_static(if script.byte().is_multiple_of(2) {
                    b"\r\n"
                } else {
                    b"\r\n\r\n"
                })),
                7 => self.mutated(script),
                8 => self.command(Command::Register),
                9 => self.invite(),
                10 => match script.byte() % 8 {
                    0 => self.command(Command::Unregister),
                    1 => self.refusing = !self.refusing,
                    _ => self.command(Command::Connect),
                },
                11 => {
                    let call = self.a_call(script);
                    self.command(Command::Hangup { call, reason: Some("done".to_owned()) });
                }
                12 => {
                    let call = self.a_call(script);
                    let content_type = HeaderValue::sanitized("application/dtmf-relay");
                    self.command(Command::Info { call, content_type, body: Bytes::from_static(b"Signal=5\r\n") });
                }
                13 => self.take_call(script),
                14 => self.command(Command::Destroy),
                _ => {
                    let how = script.byte();
                    self.beside_the_call(how, script);
                }
            }
        }
    }

    /// Transfers both ways, and a look at the flow.
    fn beside_the_call(&mut self, how: u8, script: &mut Script<'_>) {
        let call = self.a_call(script);
        let attended = self.agent.replacement_uri(self.a_call(script));
        let command = match (how % 4, self.referred) {
            (1, _) => {
                let target = attended.unwrap_or_else(|| "sip:carol@example.com".to_owned());
                Command::Transfer { call, target }
            }
            (2, Some(referral)) => {
                let call = self.another_call();
                let (call_id, offer) = (format!("call-{}", call.0), String::from_utf8_lossy(OFFER).into_owned());
                Command::Follow { referral, call, call_id, headers: Vec::new(), offer, display_name: None }
            }
            (3, Some(call)) => Command::DeclineReferral { call },
            _ => Command::CheckFlow { id: u64::from(how) },
        };
        self.command(command);
    }

    fn another_call(&mut self) -> CallHandle {
        let call = CallHandle(self.next_call);
        self.next_call += 1;
        self.live.insert(call);
        call
    }

    fn open_flow(&mut self, flow: FlowId) {
        self.flow = flow;
        self.open.insert(flow);
        self.input(Input::FlowOpened { flow });
    }

    fn receive(&mut self, bytes: Bytes) {
        self.input(Input::Received { flow: self.flow, bytes });
    }

    fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    fn invite(&mut self) {
        let call = self.another_call();
        self.command(Command::Invite {
            call,
            target: "sip:voicebot@example.com".to_owned(),
            call_id: format!("call-{}", call.0),
            headers: Vec::new(),
            offer: String::from_utf8_lossy(OFFER).into_owned(),
            display_name: Some("Алиса".to_owned()),
        });
    }

    fn a_call(&self, script: &mut Script<'_>) -> CallHandle {
        let wanted = usize::from(script.byte());
        let count = self.live.len().max(1);
        self.live.iter().nth(wanted % count).copied().unwrap_or(CallHandle(u64::from(script.byte())))
    }

    fn take_call(&mut self, script: &mut Script<'_>) {
        let call = self.a_call(script);
        let sdp = || String::from_utf8_lossy(OFFER).into_owned();
        self.command(match script.byte() % 3 {
            0 => Command::Ring { call, headers: Vec::new() },
            1 => Command::Answer { call, sdp: sdp(), headers: Vec::new() },
            _ => Command::Reject { call, status: StatusCode::BUSY_HERE, reason: None },
        });
    }

    /// A response to one of the last requests.
    fn respond(&mut self, script: &mut Script<'_>) {
        let requests: Vec<&Message> = self.sent.iter().rev().filter(|message| message.is_request()).collect();
        let how = script.byte();
        let Some(request) = requests.get(usize::from(how >> 5) % requests.len().max(1)) else { return };
        let status = STATUSES[usize::from(how & 0x1F) % STATUSES.len()];
        let Some(code) = StatusCode::new(status) else { return };
        let mut builder = MessageBuilder::response(request, code, None);
        if status > 100 {
            builder = builder.to_tag(if how & 0x80 == 0 { "peer" } else { "fork" });
        }
        if status == 401 || status == 407 {
            let name = if status == 401 { Name::WwwAuthenticate } else { Name::ProxyAuthenticate };
            let challenge = "Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256, stale=true";
            builder = builder.field(name, HeaderValue::sanitized(challenge));
        }
        if (180..300).contains(&status) {
            builder = builder
                .field(Name::Contact, HeaderValue::sanitized("<sip:voicebot@peer.invalid;transport=ws>"))
                .field(Name::Expires, HeaderValue::sanitized("60"))
                .body(HeaderValue::sanitized("application/sdp"), Bytes::from_static(OFFER));
        }
        self.receive(builder.build());
    }

    /// A request: a new one, or one in the dialog of a message that the user agent sent.
    fn request(&mut self, script: &mut Script<'_>) {
        let how = script.byte();
        let method = &METHODS[usize::from(how & 0x0F) % METHODS.len()];
        let inside = how & 0x10 == 0 && *method != Method::Register;
        let Ok(builder) = MessageBuilder::request(method, "sip:alice@alice.invalid;transport=ws") else { return };
        // Now and then a branch that was used before.
        self.next_branch += u64::from(how & 0x20 == 0);
        let via = format!("SIP/2.0/WSS peer.invalid;branch=z9hG4bK{}", self.next_branch);
        let mut builder = builder.field(Name::Via, HeaderValue::sanitized(&via));
        let known = self.sent.iter().rev().find(|message| message.cseq().is_ok_and(|c| c.method == Method::Invite));
        builder = match known.filter(|_| inside && *method != Method::Invite || how & 0x40 != 0) {
            // What we sent in a request is the far end's To, and in a response it is as the far end sent it.
            Some(message) if message.is_request() => builder
                .field(Name::From, to_with_tag(message))
                .field(Name::To, value(message, Name::From))
                .copy(message, Name::CallId),
            Some(message) => builder.copy(message, Name::From).copy(message, Name::To).copy(message, Name::CallId),
            None => builder
                .field(Name::From, HeaderValue::sanitized("<sip:bob@example.com>;tag=b"))
                .field(Name::To, HeaderValue::sanitized("<sip:alice@example.com>"))
                .field(Name::CallId, HeaderValue::sanitized(&format!("peer-{}", self.next_branch))),
        };
        builder = builder
            .cseq(u32::try_from(self.next_branch).unwrap_or(1), method)
            .number(Name::MaxForwards, 70)
            .field(Name::Contact, HeaderValue::sanitized("<sip:bob@peer.invalid;transport=ws>"));
        // What INVITE and REFER say of other calls: of one that there is, or of none.
        let known = self.live.iter().find_map(|call| self.agent.replacement_uri(*call)).filter(|_| how & 0x80 != 0);
        let other = known.unwrap_or_else(|| "sip:carol@example.com?Replaces=x%3Bto-tag%3Da%3Bfrom-tag%3Db".to_owned());
        if *method == Method::Refer {
            builder = builder.field(Name::ReferTo, HeaderValue::sanitized(&format!("<{other}>")));
        } else if *method == Method::Invite && how & 0x20 != 0 {
            let (_, reference) = other.split_once("?Replaces=").unwrap_or_default();
            builder = builder.field(Name::Replaces, HeaderValue::sanitized(&unescape(reference)));
        }
        if *method == Method::Notify {
            builder = builder
                .field(Name::Event, HeaderValue::sanitized("refer"))
                .field(Name::SubscriptionState, HeaderValue::sanitized("active"));
        }
        let bytes = match method {
            Method::Notify => {
                let said = if how & 0x80 == 0 { "SIP/2.0 180 Ringing" } else { "SIP/2.0 200 OK" };
                builder.body(HeaderValue::sanitized("message/sipfrag"), Bytes::from_static(said.as_bytes())).build()
            }
            Method::Invite | Method::Update => {
                builder.body(HeaderValue::sanitized("application/sdp"), Bytes::from_static(OFFER)).build()
            }
            _ => builder.build(),
        };
        self.receive(bytes);
    }

    /// A whole INVITE with a few bytes of the script written over it.
    fn mutated(&mut self, script: &mut Script<'_>) {
        let mut bytes = INVITE.to_vec();
        for _ in 0..script.byte() % 4 {
            let at = usize::from(script.byte()) * 8 + usize::from(script.byte());
            let byte = script.byte();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        self.receive(bytes.into());
    }

    /// Lets time pass, and calls as its driver does: at the moment for which it has asked.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let mut at_one_moment = 0;
        while let Some(due) = self.agent.next_timeout().filter(|due| *due <= end) {
            at_one_moment = if due > self.now { 0 } else { at_one_moment + 1 };
            assert!(at_one_moment < MOST_TIMEOUTS, "time stands still at {due:?}");
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            while let Some(flow) = self.asked.pop_front() {
                if !self.refusing {
                    self.open_flow(flow);
                    continue;
                }
                self.input(Input::FlowFailed { flow, error: Error::FlowLost { problem: "refused".to_owned() } });
            }
        }
        self.now = end;
    }

    fn input(&mut self, input: Input) {
        let silent = self.destroyed;
        let destroys = matches!(input, Input::Command(Command::Destroy));
        self.agent.handle(self.now, input);
        let mut outputs = 0;
        while let Some(output) = self.agent.poll_output() {
            outputs += 1;
            assert!(!silent, "it was destroyed and still says {output:?}");
            assert!(outputs <= MOST_OUTPUTS, "one input sets off more than {MOST_OUTPUTS} outputs");
            self.output(output);
        }
        self.destroyed |= destroys;
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::OpenFlow { flow } => self.asked.push_back(flow),
            Output::CloseFlow { flow } => {
                self.open.remove(&flow);
                self.asked.retain(|asked| *asked != flow);
            }
            Output::Send { flow, bytes } => {
                assert!(self.open.contains(&flow), "{flow:?} is not open: {bytes:?}");
                if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                    return;
                }
                self.messages_sent += 1;
                let message = match Message::parse(bytes.clone()) {
                    Ok(message) => message,
                    // A request that cannot be read is refused with its own headers, as bad as they are.
                    Err(_) if REFUSALS.iter().any(|line| bytes.starts_with(line)) => return,
                    Err(error) => panic!("it sends what is no message: {error} in {bytes:?}"),
                };
                if self.sent.len() == REMEMBERED {
                    self.sent.pop_front();
                }
                self.sent.push_back(message);
            }
            Output::Event(UaEvent::Incoming { call, .. }) => {
                assert!(self.live.insert(call), "{call:?} is taken");
            }
            Output::Event(UaEvent::Referred { call, .. }) => self.referred = Some(call),
            Output::Event(UaEvent::Ended { call, .. }) => {
                assert!(self.live.remove(&call), "{call:?} ended twice or was never there");
            }
            _ => {}
        }
    }
}

fn value(message: &Message, name: Name) -> HeaderValue {
    HeaderValue::sanitized(&message.header(name).unwrap_or_default())
}

fn to_with_tag(message: &Message) -> HeaderValue {
    let to = message.header(Name::To).unwrap_or_default();
    if to.contains(";tag=") { HeaderValue::sanitized(&to) } else { HeaderValue::sanitized(&format!("{to};tag=peer")) }
}

struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// The next byte; 0 at the end.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
