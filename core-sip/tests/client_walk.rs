//! A random walk of the client without I/O over what programs want, what the edge and the network do, and what a media
//! engine answers, late, badly or never.
//!
//! What holds at any time: nothing is sent on a connection that is not open, no media session gets an order after its end,
//! no command is answered twice. What holds when everybody has hung up and it has been quiet for a while: every command is
//! answered, every call that the program was told of is over, and no media session is left but that of the next call.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::client::{
    AcceptCall, ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, MediaCommand, MediaReply, StartCall,
};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::{CallState, Event, IceState};
use codex_core_sip::header_field::{HeaderField, HeaderName, HeaderValue};
use codex_core_sip::media::{MediaNotice, MediaStatistics};
use codex_core_sip::random::{Random as _, SeededRandom};
use codex_core_sip::sip::message::StatusCode;
use codex_core_sip::sip::uri::unescape;
use codex_core_sip::sip::user_agent::{
    CallHandle, Command, FlowId, Input, Output, ServerSettings, UaEvent, UserAgent, UserAgentConfig,
};
use codex_core_sip::time::Time;
use codex_core_sip::{Error, MediaFault};
use secrecy::SecretString;

const WALKS: u64 = 12;
const STEPS: u64 = 1500;
/// After so many steps everything comes to an end and is looked at.
const CHAPTER: u64 = 100;
/// More than any timer of a call.
const QUIET: Duration = Duration::from_secs(15 * 60);
const EDGE_FLOW: FlowId = FlowId(1);

fn sdp(version: u64) -> String {
    format!(
        "v=0\r\no=- {version} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 127.0.0.1\r\n"
    )
}

struct Walk {
    seed: u64,
    step: u64,
    random: SeededRandom,
    now: Time,
    client: ClientSession,
    edge: UserAgent,
    flow: Option<FlowId>,
    refusing: bool,
    /// What media sessions will answer.
    media: BTreeMap<(Time, u64), (CallHandle, MediaReply)>,
    count: u64,
    open_media: BTreeSet<CallHandle>,
    closed_media: BTreeSet<CallHandle>,
    /// Commands without an answer.
    asked: BTreeSet<u64>,
    /// Calls that the program was told of and that are not over.
    calls: BTreeSet<String>,
    edge_calls: Vec<CallHandle>,
    next_edge_call: u64,
    destroyed: bool,
    seen: BTreeMap<&'static str, u64>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let target = "sip:voicebot@sip.example.com";
        let password = SecretString::from("secret");
        let mut config = SipClientConfig::new("sip.example.com", "wss://edge.example.com", "170", password, target);
        config.accept_transfers = true;
        config.prepare_after_registration = seed.is_multiple_of(2);
        let users = |user: &str, _: &str| (user == "170").then(|| SecretString::from("secret"));
        let mut edge = UserAgentConfig::new("voicebot", "sip.example.com", None);
        edge.keep_alive_interval = None;
        edge.server = Some(ServerSettings::new("sip.example.com", Some(Arc::new(users))));
        let random = |of| Box::new(SeededRandom::new(seed * 10 + of));
        Self {
            seed,
            step: 0,
            random: SeededRandom::new(seed),
            now: Time::ZERO,
            client: ClientSession::new(config, random(1), random(2), 0).unwrap(),
            edge: UserAgent::new(edge, random(3)),
            flow: None,
            refusing: false,
            media: BTreeMap::new(),
            count: 0,
            open_media: BTreeSet::new(),
            closed_media: BTreeSet::new(),
            asked: BTreeSet::new(),
            calls: BTreeSet::new(),
            edge_calls: Vec::new(),
            next_edge_call: 1,
            destroyed: false,
            seen: BTreeMap::new(),
        }
    }

    fn here(&self) -> String {
        format!("seed {}, step {}, {:?}", self.seed, self.step, self.now)
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn ask(&mut self, command: ClientCommand) {
        self.count += 1;
        self.asked.insert(self.count);
        self.input(ClientInput::Command { id: CommandId(self.count), command });
    }

    fn input(&mut self, input: ClientInput) {
        self.client.handle(self.now, input);
        self.settle();
    }

    fn edge_does(&mut self, command: Command) {
        self.edge.handle(self.now, Input::Command(command));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            if let Some(output) = self.client.poll_output() {
                self.told(output);
            } else if let Some(output) = self.edge.poll_output() {
                match output {
                    Output::Send { bytes, .. } => {
                        if let Some(flow) = self.flow {
                            self.client.handle(self.now, ClientInput::Received { flow, bytes });
                        }
                    }
                    Output::Event(UaEvent::Incoming { call, .. }) => self.edge_calls.push(call),
                    Output::Event(UaEvent::Ended { call, .. }) => self.edge_calls.retain(|known| *known != call),
                    _ => {}
                }
            } else {
                return;
            }
        }
    }

    fn told(&mut self, output: ClientOutput) {
        let here = self.here();
        match output {
            ClientOutput::CommandDone { id, result } => {
                assert!(self.asked.remove(&id.0), "{here}: {id:?} is answered twice, with {result:?}");
            }
            output if self.destroyed => panic!("{here}: {output:?} after the end"),
            ClientOutput::OpenFlow { flow } if self.refusing => {
                let error = Error::Connect { address: "edge".to_owned(), problem: "refused".to_owned() };
                self.client.handle(self.now, ClientInput::FlowFailed { flow, error });
            }
            ClientOutput::OpenFlow { flow } => {
                self.flow = Some(flow);
                self.edge.handle(self.now, Input::FlowOpened { flow: EDGE_FLOW });
                self.client.handle(self.now, ClientInput::FlowOpened { flow });
            }
            ClientOutput::CloseFlow { flow } => {
                assert_eq!(self.flow.take(), Some(flow), "{here}");
                self.edge.handle(self.now, Input::FlowClosed { flow: EDGE_FLOW, error: None });
            }
            ClientOutput::Send { flow, bytes } => {
                assert_eq!(self.flow, Some(flow), "{here}: sent on a connection that is not open");
                self.edge.handle(self.now, Input::Received { flow: EDGE_FLOW, bytes });
            }
            ClientOutput::Media { call, command } => self.order(call, &command),
            ClientOutput::Event(event) => self.event(event),
            other => panic!("{here}: {other:?}"),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Call(call) => match (call.state, call.call_id) {
                (CallState::Idle, _) => assert!(self.calls.is_empty(), "{}: idle with {:?}", self.here(), self.calls),
                (CallState::Ended | CallState::Error, Some(id)) => {
                    assert!(self.calls.remove(&id), "{}: {id} ends twice", self.here());
                }
                (state, Some(id)) => {
                    if state == CallState::Connected {
                        self.saw("connected");
                    }
                    self.calls.insert(id);
                    if self.calls.len() == 2 {
                        self.saw("two calls");
                    }
                }
                (_, None) => panic!("{}: a call without a Call-ID", self.here()),
            },
            Event::TransferRequested(_) => self.saw("asked to go elsewhere"),
            Event::Reconnecting(_) => self.saw("reconnecting"),
            // A call that is placed once more goes on under another Call-ID.
            Event::Log(log) => {
                if let Some(before) = log.context.as_ref().and_then(|context| context.get("insteadOf")?.as_str()) {
                    assert!(self.calls.remove(before), "{}: {before} was not there", self.here());
                    self.saw("placed once more");
                }
            }
            _ => {}
        }
    }

    fn order(&mut self, call: CallHandle, command: &MediaCommand) {
        let here = self.here();
        assert!(!self.closed_media.contains(&call), "{here}: {command:?} after the end of {call:?}");
        let (fails, hangs) = (self.random.below(10) == 0, self.random.below(40) == 0);
        let fault = Error::Media { fault: MediaFault::Engine("no".to_owned()) };
        let version = self.count;
        let describe = || if fails { Err(fault.clone()) } else { Ok(sdp(version)) };
        let done = || if fails { Err(fault.clone()) } else { Ok(()) };
        let reply = match command {
            MediaCommand::Close => {
                // A call that ends before its media begin has nothing to close, and that does no harm.
                self.open_media.remove(&call);
                self.closed_media.insert(call);
                self.media.retain(|_, (of, _)| *of != call);
                return;
            }
            MediaCommand::CreateOffer(_) | MediaCommand::Restart(_) => MediaReply::Offer(describe()),
            MediaCommand::CreateAnswer(..) => MediaReply::Answer(describe()),
            MediaCommand::AcceptAnswer(_) => MediaReply::AnswerTaken(done()),
            MediaCommand::OpenAudio => MediaReply::AudioOpened(done()),
            MediaCommand::SendDtmf(id, tone) => MediaReply::DtmfSent(*id, *tone, Ok(!fails)),
            MediaCommand::ReadStatistics => MediaReply::Statistics(MediaStatistics::default()),
            _ => return,
        };
        if matches!(command, MediaCommand::CreateOffer(_) | MediaCommand::CreateAnswer(..)) {
            self.open_media.insert(call);
        }
        // A key that the engine never answers for would be waited for until the call is over, which is as it should be.
        if !hangs {
            self.count += 1;
            let at = self.now + Duration::from_millis(self.random.below(400));
            self.media.insert((at, self.count), (call, reply));
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let media = self.media.first_key_value().map(|((at, _), _)| *at);
            let due = [self.client.next_timeout(), self.edge.next_timeout(), media].into_iter().flatten().min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if media.is_some_and(|at| at <= self.now) {
                if let Some((_, (call, reply))) = self.media.pop_first() {
                    self.input(ClientInput::Media { call, reply });
                }
                continue;
            }
            self.client.handle(self.now, ClientInput::Timeout);
            self.edge.handle(self.now, Input::Timeout);
            self.settle();
        }
        self.now = end;
    }

    fn lose_flow(&mut self) {
        let Some(flow) = self.flow.take() else { return };
        let error = Some(Error::FlowLost { problem: "reset".to_owned() });
        self.edge.handle(self.now, Input::FlowClosed { flow: EDGE_FLOW, error: error.clone() });
        self.input(ClientInput::FlowClosed { flow, error });
    }

    fn edge_call(&mut self) -> CallHandle {
        let index = self.random.below(self.edge_calls.len().max(1) as u64);
        self.edge_calls.get(usize::try_from(index).unwrap()).copied().unwrap_or(CallHandle(999))
    }

    fn edge_invites(&mut self, replaces: Option<String>) {
        let call = CallHandle(self.next_edge_call);
        self.next_edge_call += 1;
        self.edge_calls.push(call);
        let replaces = replaces.map(|value| HeaderField {
            name: HeaderName::from_static("Replaces"),
            value: HeaderValue::new("Replaces", value.as_str()).unwrap(),
        });
        self.edge_does(Command::Invite {
            call,
            target: "sip:170@sip.example.com".to_owned(),
            call_id: format!("edge-{}-{}", self.seed, call.0),
            headers: replaces.into_iter().collect(),
            offer: sdp(call.0),
            display_name: None,
        });
    }

    /// Somebody else takes the place of the edge in a call.
    fn taken_over(&mut self, call: CallHandle) {
        let uri = self.edge.replacement_uri(call);
        if let Some((_, value)) = uri.as_deref().and_then(|uri| uri.split_once("?Replaces=")) {
            self.saw("taken over");
            self.edge_invites(Some(unescape(value).into_owned()));
        }
    }

    fn take_step(&mut self) {
        let sip = |user: &str| format!("sip:{user}@sip.example.com");
        match self.random.below(40) {
            0..=1 => self.ask(ClientCommand::Register),
            2 if self.random.below(3) == 0 => self.ask(ClientCommand::Unregister),
            3..=7 => self.ask(ClientCommand::StartCall(Box::<StartCall>::default())),
            8 => self.ask(ClientCommand::Hangup { reason: None }),
            9..=10 => self.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default())),
            11 => self.ask(ClientCommand::RejectIncomingCall { reason: None }),
            12..=13 => self.ask(ClientCommand::Prepare),
            14..=16 => self.ask(ClientCommand::AcceptTransfer),
            17 => self.ask(ClientCommand::RejectTransfer),
            18 => self.ask(ClientCommand::Transfer { target_uri: sip("bob") }),
            19 => self.ask(ClientCommand::ReplacementUri),
            20 => self.ask(ClientCommand::Hold),
            21 => self.ask(ClientCommand::Unhold),
            22 => self.ask(ClientCommand::SendDtmf('5')),
            23 => self.ask(ClientCommand::NetworkChanged),
            24 => {
                let muted = self.random.below(2) == 0;
                self.ask(ClientCommand::SetMuted(muted));
            }
            25 => self.ask(ClientCommand::CheckConnection),
            26..=29 => {
                let (call, version) = (self.edge_call(), self.count);
                self.edge_does(Command::Answer { call, sdp: sdp(version), headers: Vec::new() });
                if self.random.below(4) == 0 {
                    // The client has not looked at the answer yet.
                    self.taken_over(call);
                }
            }
            30 => {
                let call = self.edge_call();
                self.edge_does(Command::Reject { call, status: StatusCode::BUSY_HERE, reason: None });
            }
            31 => {
                let call = self.edge_call();
                self.edge_does(Command::Hangup { call, reason: None });
            }
            32 => self.edge_invites(None),
            33..=34 => {
                let call = self.edge_call();
                self.edge_does(Command::Transfer { call, target: sip("carol") });
            }
            35 => {
                let call = self.edge_call();
                self.taken_over(call);
            }
            36 => self.lose_flow(),
            37 => self.refusing = self.random.below(4) == 0,
            38 => {
                if let Some(call) = self.open_media.last().copied() {
                    let notice = match self.random.below(3) {
                        0 => MediaNotice::Ice(IceState::Disconnected),
                        1 => MediaNotice::Ice(IceState::Connected),
                        _ => MediaNotice::Failed(MediaFault::IceFailed),
                    };
                    self.input(ClientInput::Media { call, reply: MediaReply::Notice(notice) });
                }
            }
            _ => {}
        }
        let pause = Duration::from_millis(self.random.below(600));
        self.run(pause);
    }

    fn end_chapter(&mut self) {
        self.refusing = false;
        self.ask(ClientCommand::Hangup { reason: None });
        self.run(Duration::from_secs(120));
        let orphans = &self.edge_calls;
        assert!(orphans.is_empty(), "{}: {orphans:?} have no owner here; {:#?}", self.here(), self.client);
        self.ask(ClientCommand::Hangup { reason: None });
        self.run(QUIET);
        let here = self.here();
        assert!(self.asked.is_empty(), "{here}: {:?} are not answered; {:#?}", self.asked, self.client);
        assert!(self.calls.is_empty(), "{here}: {:?} never end", self.calls);
        assert_eq!(self.client.state(), CallState::Idle, "{here}");
        assert!(self.open_media.len() <= 1, "{here}: {:?} are left open", self.open_media);
    }

    fn walk(mut self) -> BTreeMap<&'static str, u64> {
        for _ in 0..STEPS {
            self.step += 1;
            self.take_step();
            if self.step.is_multiple_of(CHAPTER) {
                self.end_chapter();
            }
        }
        self.ask(ClientCommand::Destroy);
        assert!(self.open_media.is_empty(), "{}: {:?}", self.here(), self.open_media);
        assert!(self.asked.is_empty(), "{}", self.here());
        self.destroyed = true;
        self.ask(ClientCommand::StartCall(Box::default()));
        self.run(QUIET);
        assert!(self.asked.is_empty(), "{}", self.here());
        self.seen
    }
}

fn walk(seeds: std::ops::Range<u64>) {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        for (what, times) in Walk::new(seed).walk() {
            *seen.entry(what).or_default() += times;
        }
    }
    for what in ["connected", "two calls", "asked to go elsewhere", "taken over", "reconnecting", "placed once more"] {
        assert!(seen.get(what).is_some_and(|times| *times >= 10), "{what} happens too seldom: {seen:?}");
    }
}

#[test]
fn whatever_happens_everybody_gets_an_answer_and_nothing_is_left() {
    walk(0..WALKS);
}

#[test]
#[ignore = "hundreds of thousands of steps: `cargo xtask soak`"]
fn soak_whatever_happens_to_a_client() {
    let share: f64 = std::env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1.0);
    let walks = (share.clamp(0.01, 1.0) * 300.0).ceil() as u64;
    walk(1000..1000 + walks);
}
