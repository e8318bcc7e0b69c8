//! The client without I/O, on a virtual clock, against a user agent in the edge's role, with scripted media.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_core_sip::client::{
    AcceptCall, ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, FIRST_METRICS_AFTER,
    MEDIA_PREPARATION_TIMEOUT, METRICS_INTERVAL, MediaCommand, MediaReply, PREPARED_FOR, Reply, StartCall,
};
use codex_core_sip::config::{IceServer, SipClientConfig};
use codex_core_sip::event::{CallEvent, CallState, Event, IceState, LogLevel, QualityMeasure, RegistrationState};
use codex_core_sip::header_field::{HeaderField, HeaderName, HeaderValue};
use codex_core_sip::media::{FarEndReception, MediaNotice, MediaStatistics};
use codex_core_sip::metadata::{CustomerData, LanguageTag};
use codex_core_sip::random::SeededRandom;
use codex_core_sip::sip::message::{Message, MessageBuilder, Method, StatusCode};
use codex_core_sip::sip::sdp::Direction;
use codex_core_sip::sip::user_agent::{
    CallHandle, Command, FlowId, Input, Output, ServerSettings, UaEvent, UserAgent, UserAgentConfig,
};
use codex_core_sip::time::Time;
use codex_core_sip::{CallRefusal, Error, MediaFault, RegistrationRefusal};
use secrecy::SecretString;

const GUID: &str = "0397dc5f-2f8f-4778-8499-0af934dd1196";
const UNIX_MS: u64 = 1_795_330_382_000;

fn config() -> SipClientConfig {
    let target = format!("sip:{GUID}@sip.example.com");
    let mut config = SipClientConfig::new(
        "sip.example.com",
        "wss://edge.example.com:8443",
        "170",
        "secret".to_owned().into(),
        target,
    );
    config.target_application_name = Some("voicebot".parse().unwrap());
    config.customer_data = Some(CustomerData::new("webcall").client_name("Иван Иванов"));
    // What it does by itself has tests of its own.
    config.prepare_after_registration = false;
    config
}

fn sdp(name: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={name}\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 127.0.0.1\r\n"
    )
}

/// A client and an edge with nothing but time between them.
struct Line {
    now: Time,
    client: ClientSession,
    edge: UserAgent,
    flow: Option<FlowId>,
    refuse: Option<Error>,
    /// What the scripted media engine answers; by default it does what it is asked.
    media_fails: Option<Error>,
    /// It never answers.
    media_hangs: bool,
    rfc4733: bool,
    /// Nothing that the client sends arrives any more.
    deaf: bool,
    /// Every re-INVITE is refused.
    refuse_changes: bool,
    statistics: MediaStatistics,
    media: Vec<MediaCommand>,
    /// The same, with the call.
    media_orders: Vec<(CallHandle, MediaCommand)>,
    media_call: Option<CallHandle>,
    events: Vec<Event>,
    answers: Vec<(u64, Result<Reply, Error>)>,
    edge_events: VecDeque<UaEvent>,
    sent: Vec<Message>,
    received: Vec<Message>,
    next_command: u64,
}

impl Line {
    fn new(config: SipClientConfig) -> Self {
        let users = |user: &str, _: &str| (user == "170").then(|| SecretString::from("secret"));
        let mut edge = UserAgentConfig::new("voicebot", "sip.example.com", None);
        edge.keep_alive_interval = None;
        edge.server = Some(ServerSettings::new("sip.example.com", Some(Arc::new(users))));
        let random = |seed| Box::new(SeededRandom::new(seed));
        Self {
            now: Time::ZERO,
            client: ClientSession::new(config, random(1), random(2), UNIX_MS).unwrap(),
            edge: UserAgent::new(edge, random(3)),
            flow: None,
            refuse: None,
            media_fails: None,
            media_hangs: false,
            rfc4733: true,
            deaf: false,
            refuse_changes: false,
            statistics: MediaStatistics::default(),
            media: Vec::new(),
            media_orders: Vec::new(),
            media_call: None,
            events: Vec::new(),
            answers: Vec::new(),
            edge_events: VecDeque::new(),
            sent: Vec::new(),
            received: Vec::new(),
            next_command: 0,
        }
    }

    fn registered(config: SipClientConfig) -> Self {
        let mut line = Self::new(config);
        let id = line.ask(ClientCommand::Register);
        assert_eq!(line.answer(id), Some(Ok(Reply::Done)));
        line
    }

    /// A call that the edge has answered.
    fn connected(config: SipClientConfig) -> (Self, CallHandle) {
        let mut line = Self::registered(config);
        line.ask(ClientCommand::StartCall(Box::default()));
        let (call, _) = line.incoming_at_edge();
        line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
        assert_eq!(line.client.state(), CallState::Connected);
        (line, call)
    }

    fn ask(&mut self, command: ClientCommand) -> u64 {
        let id = self.next_command;
        self.next_command += 1;
        self.input(ClientInput::Command { id: CommandId(id), command });
        id
    }

    fn answer(&self, id: u64) -> Option<Result<Reply, Error>> {
        let answers: Vec<_> = self.answers.iter().filter(|(answered, _)| *answered == id).collect();
        assert!(answers.len() <= 1, "a command is answered once: {answers:?}");
        answers.first().map(|(_, result)| result.clone())
    }

    fn input(&mut self, input: ClientInput) {
        self.client.handle(self.now, input);
        self.settle();
    }

    fn notice(&mut self, notice: MediaNotice) {
        let call = self.media_call.unwrap();
        self.input(ClientInput::Media { call, reply: MediaReply::Notice(notice) });
    }

    /// The connection breaks, and both ends hear of it.
    fn lose_flow(&mut self) {
        let Some(flow) = self.flow.take() else { return };
        let error = Some(Error::FlowLost { problem: "reset".to_owned() });
        self.edge.handle(self.now, Input::FlowClosed { flow: FlowId(1), error: error.clone() });
        self.input(ClientInput::FlowClosed { flow, error });
    }

    /// The tag that the edge gave its side of the last call.
    fn edge_tag(&self) -> String {
        let answers = self.received.iter().rev();
        let mut tags = answers.filter(|message| message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite));
        let tag = tags.find_map(|message| message.to().ok().and_then(|to| to.tag().map(str::to_owned)));
        tag.expect("the edge has rung or answered")
    }

    fn edge_does(&mut self, command: Command) {
        self.edge.handle(self.now, Input::Command(command));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            if let Some(output) = self.client.poll_output() {
                self.client_output(output);
            } else if let Some(output) = self.edge.poll_output() {
                match output {
                    Output::Send { bytes, .. } => {
                        if let Some(flow) = self.flow {
                            self.received.extend(Message::parse(bytes.clone()));
                            self.client.handle(self.now, ClientInput::Received { flow, bytes });
                        }
                    }
                    Output::Event(event) => self.edge_events.push_back(event),
                    _ => {}
                }
            } else {
                return;
            }
        }
    }

    fn client_output(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::OpenFlow { flow } => match self.refuse.clone() {
                Some(error) => self.client.handle(self.now, ClientInput::FlowFailed { flow, error }),
                None => {
                    self.flow = Some(flow);
                    self.edge.handle(self.now, Input::FlowOpened { flow: FlowId(1) });
                    self.client.handle(self.now, ClientInput::FlowOpened { flow });
                }
            },
            ClientOutput::CloseFlow { .. } => self.flow = None,
            ClientOutput::Send { flow, bytes } => {
                assert_eq!(self.flow, Some(flow), "nothing is sent on a flow that is not open");
                if let Ok(message) = Message::parse(bytes.clone()) {
                    self.sent.push(message);
                }
                if self.refuse_changes && self.refused_change(flow) {
                    return;
                }
                if !self.deaf {
                    self.edge.handle(self.now, Input::Received { flow: FlowId(1), bytes });
                }
            }
            ClientOutput::Media { call, command } => self.media_order(call, command),
            ClientOutput::CommandDone { id, result } => self.answers.push((id.0, result)),
            ClientOutput::Event(event) => self.events.push(event),
            other => panic!("{other:?}"),
        }
    }

    /// Answers what was sent last with 488 in the edge's stead, if that is a re-INVITE.
    fn refused_change(&mut self, flow: FlowId) -> bool {
        let Some(request) = self.sent.last() else { return false };
        let tagged = request.to().is_ok_and(|to| to.tag().is_some());
        if request.method() == Some(&Method::Invite) && tagged {
            let header = |name: &str| request.header_named(name).unwrap().into_owned();
            let names = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(name)));
            let text = format!("SIP/2.0 488 Not Acceptable Here\r\n{}Content-Length: 0\r\n\r\n", names.concat());
            self.client.handle(self.now, ClientInput::Received { flow, bytes: Bytes::from(text) });
            return true;
        }
        false
    }

    fn media_order(&mut self, call: CallHandle, command: MediaCommand) {
        self.media_call = Some(call);
        let failure = self.media_fails.clone();
        let reply = match &command {
            MediaCommand::CreateOffer(_) => Some(MediaReply::Offer(failure.map_or_else(|| Ok(sdp("offer")), Err))),
            MediaCommand::CreateAnswer(..) => Some(MediaReply::Answer(failure.map_or_else(|| Ok(sdp("answer")), Err))),
            MediaCommand::AcceptAnswer(_) => Some(MediaReply::AnswerTaken(failure.map_or(Ok(()), Err))),
            MediaCommand::Restart(_) => Some(MediaReply::Offer(failure.map_or_else(|| Ok(sdp("moved")), Err))),
            MediaCommand::SendDtmf(id, tone) => Some(MediaReply::DtmfSent(*id, *tone, Ok(self.rfc4733))),
            MediaCommand::OpenAudio => Some(MediaReply::AudioOpened(failure.map_or(Ok(()), Err))),
            MediaCommand::ReadStatistics => Some(MediaReply::Statistics(self.statistics.clone())),
            _ => None,
        };
        self.media_orders.push((call, command.clone()));
        self.media.push(command);
        if let Some(reply) = reply.filter(|_| !self.media_hangs) {
            self.client.handle(self.now, ClientInput::Media { call, reply });
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let client = self.client.next_timeout().filter(|time| *time <= end);
            let edge = self.edge.next_timeout().filter(|time| *time <= end);
            let Some(next) = [client, edge].into_iter().flatten().min() else { break };
            self.now = self.now.max(next);
            if client.is_some_and(|time| time <= self.now) {
                self.client.handle(self.now, ClientInput::Timeout);
            }
            if edge.is_some_and(|time| time <= self.now) {
                self.edge.handle(self.now, Input::Timeout);
            }
            self.settle();
        }
        self.now = end;
    }

    fn incoming_at_edge(&mut self) -> (CallHandle, Box<Message>) {
        while let Some(event) = self.edge_events.pop_front() {
            if let UaEvent::Incoming { call, message, .. } = event {
                return (call, message);
            }
        }
        panic!("no INVITE reached the edge; the client said {:#?}", self.events);
    }

    fn call_events(&self) -> Vec<&CallEvent> {
        self.events.iter().filter_map(|event| if let Event::Call(call) = event { Some(call) } else { None }).collect()
    }

    fn call_states(&self) -> Vec<CallState> {
        self.call_events().iter().map(|call| call.state).collect()
    }

    fn methods_sent(&self) -> Vec<String> {
        self.sent.iter().filter_map(|message| message.method().map(ToString::to_string)).collect()
    }

    /// The edge calls the client with these headers.
    fn call_client(&mut self, call: u64, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| HeaderField {
                name: HeaderName::new(name).unwrap(),
                value: HeaderValue::new(name, *value).unwrap(),
            })
            .collect();
        self.edge_does(Command::Invite {
            call: CallHandle(call),
            target: "sip:170@sip.example.com".to_owned(),
            call_id: format!("fs-call-{call}"),
            headers,
            offer: sdp("offer"),
            display_name: Some("Müller".to_owned()),
        });
    }
}

fn header(message: &Message, name: &str) -> Option<String> {
    message.header_named(name).map(std::borrow::Cow::into_owned)
}

#[test]
fn a_call_registers_first_and_says_who_is_calling() {
    let mut line = Line::new(config());
    let start = line.ask(ClientCommand::StartCall(Box::default()));
    let (call, invite) = line.incoming_at_edge();
    let Some(Ok(Reply::CallId(call_id))) = line.answer(start) else { panic!("{:?}", line.answers) };
    let tag = &call_id[..8];
    assert!(tag.bytes().all(|byte| byte.is_ascii_lowercase()), "{tag}");
    assert_eq!(invite.request_uri(), Some(format!("sip:{GUID}@sip.example.com").as_str()));
    let data = r#"{"clientName":"Иван Иванов","callType":"webcall"}"#;
    let hex: String = data.bytes().map(|byte| format!("{byte:02x}")).collect();
    for (name, value) in [
        ("X-Customer-Data", data.to_owned()),
        ("User-to-User", format!("{hex};encoding=hex")),
        ("X-Display-From", format!("webcall:{tag} → voicebot")),
        ("X-Display-To", "voicebot".to_owned()),
        ("X-Call-Tag", tag.to_owned()),
        ("X-Application-Name", "voicebot".to_owned()),
        ("X-Lang", "en".to_owned()),
    ] {
        assert_eq!(header(&invite, name), Some(value), "{name}");
    }
    line.edge_does(Command::Ring { call, headers: Vec::new() });
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(
        line.call_states(),
        [CallState::Registering, CallState::Connecting, CallState::Ringing, CallState::Connected]
    );
    for event in line.call_events() {
        assert_eq!(event.call_id.as_deref(), Some(call_id.as_str()));
        assert_eq!(event.tag.as_deref(), Some(tag));
        assert_eq!(event.application_name.as_deref(), Some("voicebot"));
        assert_eq!(event.customer_data.as_ref().unwrap().client_name.as_deref(), Some("Иван Иванов"));
        assert_eq!(event.display_from, Some(format!("webcall:{tag} → voicebot")));
    }
    let logged = line.events.iter().any(|event| {
        matches!(event, Event::Log(log) if log.message.contains(&format!("From: webcall:{tag} → voicebot To: voicebot")))
    });
    assert!(logged, "{:#?}", line.events);
    let told = format!("{:?}", line.events.iter().filter(|event| matches!(event, Event::Log(_))).collect::<Vec<_>>());
    assert!(!told.contains("Иван") && !told.contains("secret"), "logs name fields only: {told}");
}

#[test]
fn what_a_call_brings_along_replaces_the_configuration() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::SetLanguage(LanguageTag::RU));
    line.ask(ClientCommand::StartCall(Box::new(StartCall {
        customer_data: Some(CustomerData::new("urgent_call").client_id("different_user")),
        target_uri: Some("sip:app-0397dc5f-2f8f-4778-8499-0af934dd1197@sip.example.com".to_owned()),
        ..StartCall::default()
    })));
    let (_, invite) = line.incoming_at_edge();
    let tag = header(&invite, "X-Call-Tag").unwrap();
    assert_eq!(
        header(&invite, "X-Customer-Data").as_deref(),
        Some(r#"{"clientId":"different_user","callType":"urgent_call"}"#)
    );
    // The configured name belongs to the configured target.
    assert_eq!(header(&invite, "X-Application-Name"), None);
    assert_eq!(header(&invite, "X-Display-From"), Some(format!("webcall:{tag}")));
    assert_eq!(header(&invite, "X-Display-To").as_deref(), Some("voicebot"));
    assert_eq!(header(&invite, "X-Lang").as_deref(), Some("ru"));
}

#[test]
fn a_name_that_arrives_late_is_in_the_next_event_and_in_the_next_call() {
    let mut unnamed = config();
    unnamed.target_application_name = None;
    let (mut line, _) = Line::connected(unnamed);
    let event = line.call_events()[0].clone();
    let tag = event.tag.unwrap();
    assert_eq!((event.application_name, event.display_from), (None, Some(format!("webcall:{tag}"))));
    let id = line.ask(ClientCommand::SetTargetApplicationName(Some("Голосовой бот".parse().unwrap())));
    assert_eq!(line.answer(id), Some(Ok(Reply::Done)));
    line.notice(MediaNotice::Ice(IceState::Connected));
    let metrics = line.events.iter().rev().find_map(|event| match event {
        Event::Metrics(metrics) => metrics.application_name.clone(),
        _ => None,
    });
    assert_eq!(metrics.as_deref(), Some("Голосовой бот"));
    line.ask(ClientCommand::Hangup { reason: None });
    let ended = line.call_events().last().copied().unwrap().clone();
    assert_eq!(ended.display_from, Some(format!("webcall:{tag} → Голосовой бот")));
    assert_eq!(ended.display_to.as_deref(), Some("Голосовой бот"));

    line.ask(ClientCommand::StartCall(Box::default()));
    let names: Vec<_> = line
        .sent
        .iter()
        .filter(|m| m.method() == Some(&Method::Invite))
        .map(|m| header(m, "X-Application-Name"))
        .collect();
    assert_eq!((names.first().unwrap(), names.last().unwrap()), (&None, &Some("Голосовой бот".to_owned())));
}

#[test]
fn a_call_that_cannot_be_placed_says_why_and_leaves_nothing_behind() {
    let mut line = Line::registered(config());
    let evil = HeaderField { name: HeaderName::from_static("Via"), value: HeaderValue::from_static("x") };
    let large = CustomerData::new("webcall").client_name("x".repeat(5000));
    let cases = [
        (StartCall { extra_headers: vec![evil], ..StartCall::default() }, "header_not_allowed"),
        (StartCall { customer_data: Some(large), ..StartCall::default() }, "customer_data_too_large"),
        (StartCall { target_uri: Some("mailto:a@b".to_owned()), ..StartCall::default() }, "configuration"),
    ];
    for (start, expected) in cases {
        let id = line.ask(ClientCommand::StartCall(Box::new(start)));
        let Some(Err(error)) = line.answer(id) else { panic!("{:?}", line.answers) };
        assert_eq!(error.code(), expected, "{error}");
        assert_eq!(line.client.state(), CallState::Idle);
    }
    assert!(line.media.is_empty() && line.call_events().is_empty(), "{:?}", line.media);
}

#[test]
fn a_second_call_has_to_wait_for_the_first() {
    let (mut line, _) = Line::connected(config());
    let second = line.ask(ClientCommand::StartCall(Box::default()));
    assert!(matches!(line.answer(second), Some(Err(Error::WrongState { operation: "start_call", .. }))));
    line.call_client(7, &[]);
    let refused = line.edge_events.iter().any(|event| matches!(event, UaEvent::Ended { cause: Some(486), .. }));
    assert!(refused, "{:#?}", line.edge_events);
    assert_eq!(line.client.state(), CallState::Connected);
    let told = line.events.iter().any(|event| {
        matches!(event, Event::Log(log) if log.message.starts_with("missed call") && log.message.contains("Müller"))
    });
    assert!(told, "{:#?}", line.events);
}

#[test]
fn a_call_ends_from_either_side() {
    let (mut line, _) = Line::connected(config());
    let hangup = line.ask(ClientCommand::Hangup { reason: Some("bye".to_owned()) });
    line.run(Duration::from_secs(1));
    assert_eq!(line.answer(hangup), Some(Ok(Reply::Done)));
    assert_eq!(line.call_states()[2..], [CallState::Ended, CallState::Idle]);
    assert!(matches!(line.media.last(), Some(MediaCommand::Close)));
    let again = line.ask(ClientCommand::Hangup { reason: None });
    assert!(matches!(line.answer(again), Some(Err(Error::WrongState { .. }))));

    let (mut line, call) = Line::connected(config());
    line.edge_does(Command::Hangup { call, reason: Some("closing time".to_owned()) });
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Ended).unwrap();
    assert_eq!(ended.reason.as_deref(), Some("closing time"));
    assert_eq!(ended.error, None);
    assert!(matches!(line.media.last(), Some(MediaCommand::Close)));
}

#[test]
fn a_call_that_is_hung_up_is_over_here_at_once_and_the_far_end_is_told() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    let (call, _) = line.incoming_at_edge();
    line.edge_does(Command::Ring { call, headers: Vec::new() });
    line.deaf = true;
    let hangup = line.ask(ClientCommand::Hangup { reason: None });
    assert_eq!(line.client.state(), CallState::Idle);
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Ended).unwrap();
    assert_eq!((ended.cause_code, &ended.error), (Some(487), &None));
    assert_eq!(line.answer(hangup), None, "the far end does not know yet");
    line.run(Duration::from_secs(120));
    assert!(matches!(line.answer(hangup), Some(Err(_))), "{:?}", line.answers);
    assert_eq!(line.call_states().last(), Some(&CallState::Idle));
    assert!(line.methods_sent().contains(&"CANCEL".to_owned()));
}

#[test]
fn a_call_that_is_refused_ends_with_the_cause() {
    for (status, refusal) in [
        (StatusCode::BUSY_HERE, CallRefusal::Busy),
        (StatusCode::DECLINE, CallRefusal::Declined),
        (StatusCode::NOT_FOUND, CallRefusal::NotFound),
    ] {
        let mut line = Line::registered(config());
        line.ask(ClientCommand::StartCall(Box::default()));
        let (call, _) = line.incoming_at_edge();
        line.edge_does(Command::Reject { call, status, reason: None });
        let events = line.call_events();
        let ended = events.iter().find(|event| event.state == CallState::Ended).unwrap();
        assert_eq!(ended.cause_code, Some(status.as_u16()));
        assert!(
            matches!(&ended.error, Some(Error::CallRefused { refusal: told, .. }) if *told == refusal),
            "{ended:?}"
        );
        assert_eq!(events.last().unwrap().state, CallState::Idle);
    }
}

#[test]
fn hanging_up_before_the_registration_is_there_sends_no_invite() {
    let mut line = Line::new(config());
    line.refuse = Some(Error::Connect { address: "edge:8443".to_owned(), problem: "refused".to_owned() });
    // The offer is there at once, the connection is not.
    let start = line.ask(ClientCommand::StartCall(Box::default()));
    assert!(matches!(line.answer(start), Some(Err(Error::Connect { .. }))), "{:?}", line.answers);
    assert_eq!(line.call_states(), [CallState::Registering, CallState::Error, CallState::Idle]);
    line.refuse = None;
    line.run(Duration::from_secs(60));
    assert!(!line.methods_sent().contains(&"INVITE".to_owned()), "{:?}", line.methods_sent());
}

#[test]
fn registering_tells_of_the_first_failure_and_goes_on_trying() {
    let mut line = Line::new(config());
    line.refuse = Some(Error::Connect { address: "edge:8443".to_owned(), problem: "refused".to_owned() });
    let id = line.ask(ClientCommand::Register);
    assert!(matches!(line.answer(id), Some(Err(Error::Connect { .. }))), "{:?}", line.answers);
    assert!(line.events.iter().any(|event| matches!(event, Event::Reconnecting(_))));
    line.refuse = None;
    line.run(Duration::from_secs(60));
    let states: Vec<_> = line
        .events
        .iter()
        .filter_map(|event| if let Event::Registration(event) = event { Some(event.state) } else { None })
        .collect();
    assert_eq!(states.last(), Some(&RegistrationState::Registered), "{states:?}");
}

#[test]
fn a_wrong_password_fails_once_and_for_all() {
    let mut config = config();
    config.password = SecretString::from("wrong");
    let mut line = Line::new(config);
    let id = line.ask(ClientCommand::Register);
    line.run(Duration::from_secs(600));
    let Some(Err(Error::RegistrationRefused { refusal, .. })) = line.answer(id) else { panic!("{:?}", line.answers) };
    assert_eq!(refusal, RegistrationRefusal::Credentials);
    assert_eq!(line.methods_sent(), ["REGISTER", "REGISTER"], "one challenge, one answer, no loop");
    assert!(!format!("{:?}", line.events).contains("wrong\""), "the password is nowhere");
}

#[test]
fn unregistering_frees_the_contact() {
    let mut line = Line::registered(config());
    let id = line.ask(ClientCommand::Unregister);
    line.run(Duration::from_secs(1));
    assert_eq!(line.answer(id), Some(Ok(Reply::Done)));
    assert!(line.edge.binding(line.now).is_none());
    let again = line.ask(ClientCommand::Unregister);
    assert_eq!(line.answer(again), Some(Ok(Reply::Done)));
}

#[test]
fn an_answer_that_media_cannot_use_ends_the_call_at_both_ends() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    let (call, _) = line.incoming_at_edge();
    line.media_fails = Some(Error::Media { fault: MediaFault::NoCommonCodec });
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    let failed = line.call_events().into_iter().find(|event| event.state == CallState::Error).unwrap();
    assert_eq!(failed.error, Some(Error::Media { fault: MediaFault::NoCommonCodec }));
    assert!(line.methods_sent().ends_with(&["ACK".to_owned(), "BYE".to_owned()]), "{:?}", line.methods_sent());
}

#[test]
fn an_incoming_call_shows_the_callers_own_data_and_is_taken() {
    let mut line = Line::registered(config());
    line.call_client(7, &[("X-Customer-Data", r#"{"callType":"callback","clientName":"Заявка №42"}"#)]);
    assert_eq!(line.client.state(), CallState::Incoming);
    let event = line
        .events
        .iter()
        .find_map(|event| if let Event::IncomingCall(event) = event { Some(event.clone()) } else { None })
        .unwrap();
    assert_eq!(event.customer_data.unwrap().client_name.as_deref(), Some("Заявка №42"));
    assert_eq!(event.display_from.as_deref(), Some("Müller"));
    assert_eq!(event.tag.as_deref(), Some("fs-call-"));
    let accept = line.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default()));
    assert_eq!(line.answer(accept), Some(Ok(Reply::Done)));
    assert_eq!(line.call_states(), [CallState::Incoming, CallState::Connected]);
    let again = line.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default()));
    assert!(matches!(line.answer(again), Some(Err(Error::WrongState { .. }))));
}

#[test]
fn an_incoming_call_without_data_does_not_borrow_ours() {
    let mut line = Line::registered(config());
    line.call_client(7, &[]);
    let event = line.call_events()[0].clone();
    assert_eq!((event.state, event.customer_data), (CallState::Incoming, None));
}

#[test]
fn an_incoming_call_is_refused_with_486() {
    let mut line = Line::registered(config());
    line.call_client(7, &[]);
    let id = line.ask(ClientCommand::RejectIncomingCall { reason: None });
    assert_eq!(line.answer(id), Some(Ok(Reply::Done)));
    assert!(line.edge_events.iter().any(|event| matches!(event, UaEvent::Ended { cause: Some(486), .. })));
    assert_eq!(line.call_states(), [CallState::Incoming, CallState::Ended, CallState::Idle]);
}

#[test]
fn an_incoming_call_that_media_cannot_answer_is_refused_with_488() {
    let mut line = Line::registered(config());
    line.call_client(7, &[]);
    line.media_fails = Some(Error::Media { fault: MediaFault::NoCommonCodec });
    let id = line.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default()));
    assert!(matches!(line.answer(id), Some(Err(Error::Media { .. }))), "{:?}", line.answers);
    assert!(line.edge_events.iter().any(|event| matches!(event, UaEvent::Ended { cause: Some(488), .. })));
}

#[test]
fn keys_go_by_rfc_4733_or_else_by_info() {
    let (mut line, _) = Line::connected(config());
    let by_rtp = line.ask(ClientCommand::SendDtmf('5'));
    assert_eq!(line.answer(by_rtp), Some(Ok(Reply::Done)));
    assert!(!line.methods_sent().contains(&"INFO".to_owned()));
    line.rfc4733 = false;
    let by_info = line.ask(ClientCommand::SendDtmf('a'));
    line.run(Duration::from_secs(1));
    assert_eq!(line.answer(by_info), Some(Ok(Reply::Done)));
    let bodies: Vec<_> = line
        .edge_events
        .iter()
        .filter_map(|event| if let UaEvent::Info { body, .. } = event { Some(body.clone()) } else { None })
        .collect();
    assert_eq!(bodies, [Bytes::from_static(b"Signal=A\r\nDuration=160\r\n")]);
    let wrong = line.ask(ClientCommand::SendDtmf('x'));
    assert!(matches!(line.answer(wrong), Some(Err(Error::WrongState { operation: "send_dtmf", .. }))));
}

#[test]
fn keys_of_the_far_end_become_events() {
    let (mut line, call) = Line::connected(config());
    line.notice(MediaNotice::Dtmf('7'));
    for body in ["Signal=#\r\nDuration=100\r\n", "signal = 10\r\n", "Signal=55\r\n"] {
        line.edge_does(Command::Info {
            call,
            content_type: HeaderValue::from_static("application/dtmf-relay"),
            body: Bytes::from_static(body.as_bytes()),
        });
    }
    let tones: String = line
        .events
        .iter()
        .filter_map(|event| if let Event::Dtmf(event) = event { Some(event.tone) } else { None })
        .collect();
    assert_eq!(tones, "7#*");
}

#[test]
fn metrics_come_every_five_seconds_and_with_each_change_of_ice() {
    let (mut line, _) = Line::connected(config());
    line.statistics = MediaStatistics {
        packets_received: 250,
        packets_lost: 0,
        round_trip_time: Some(Duration::from_millis(42)),
        jitter: Some(Duration::from_micros(1500)),
        codec: Some("PCMU".to_owned()),
        ..MediaStatistics::default()
    };
    line.run(METRICS_INTERVAL * 2);
    line.statistics.packets_received = 340;
    line.statistics.packets_lost = 10;
    line.notice(MediaNotice::Ice(IceState::Connected));
    let metrics: Vec<_> = line
        .events
        .iter()
        .filter_map(|event| if let Event::Metrics(event) = event { Some(event) } else { None })
        .collect();
    assert_eq!(metrics.iter().map(|event| event.ts - UNIX_MS).collect::<Vec<_>>(), [5000, 10_000, 10_000]);
    assert_eq!(metrics[0].rtt_ms, Some(42.0));
    assert_eq!(metrics[0].jitter_ms, Some(1.5));
    assert!(metrics[0].mos.is_some_and(|mos| mos > 4.0), "{:?}", metrics[0]);
    assert_eq!(metrics[1].loss_percent, None, "nothing was expected, nothing is missing");
    assert_eq!(metrics[2].loss_percent, Some(10.0));
    assert_eq!(metrics[2].ice_state, Some(IceState::Connected));
    assert_eq!(metrics[2].application_name.as_deref(), Some("voicebot"));
}

#[test]
fn the_first_metrics_come_soon_after_the_first_packet_and_with_the_far_ends_first_report() {
    let (mut line, _) = Line::connected(config());
    line.run(Duration::from_millis(400));
    line.notice(MediaNotice::FirstPacket);
    line.statistics.packets_received = 50;
    line.statistics.packets_sent = 60;
    line.run(FIRST_METRICS_AFTER);
    line.statistics.far_end = Some(FarEndReception { packets_received: 57, loss: 0.125 });
    line.notice(MediaNotice::FarEndReport);
    line.run(METRICS_INTERVAL);
    let metrics: Vec<_> = line
        .events
        .iter()
        .filter_map(|event| if let Event::Metrics(event) = event { Some(event) } else { None })
        .collect();
    assert_eq!(metrics.iter().map(|event| event.ts - UNIX_MS).collect::<Vec<_>>(), [1400, 1400, 6400]);
    assert!(metrics[0].mos.is_some(), "{:?}", metrics[0]);
    assert_eq!((metrics[0].far_end_packets_received, metrics[0].far_end_loss_percent), (None, None));
    assert_eq!((metrics[1].far_end_packets_received, metrics[1].far_end_loss_percent), (Some(57), Some(12.5)));
}

#[test]
fn a_call_without_packets_is_reported_once_and_when_it_mends() {
    let (mut line, _) = Line::connected(config());
    line.run(Duration::from_secs(30));
    line.statistics.packets_received = 1;
    line.run(METRICS_INTERVAL);
    let logs: Vec<_> = line
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Log(log) if log.message.contains("audio packets") => Some((log.level, log.message.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        logs,
        [(LogLevel::Error, "no audio packets from the far end"), (LogLevel::Info, "audio packets come again")]
    );
    assert_eq!(line.client.state(), CallState::Connected);
}

#[test]
fn early_media_that_cannot_be_used_does_not_end_the_call() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    let (call, _) = line.incoming_at_edge();
    let fault = Error::Media { fault: MediaFault::BadDescription("early".to_owned()) };
    let media_call = line.media_call.unwrap();
    line.input(ClientInput::Media { call: media_call, reply: MediaReply::AnswerTaken(Err(fault)) });
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(line.client.state(), CallState::Connected);
}

#[test]
fn audio_that_never_gets_ready_ends_the_call() {
    let mut line = Line::registered(config());
    line.media_hangs = true;
    let start = line.ask(ClientCommand::StartCall(Box::default()));
    line.run(MEDIA_PREPARATION_TIMEOUT + Duration::from_secs(1));
    assert!(matches!(line.answer(start), Some(Err(Error::Audio { .. }))), "{:?}", line.answers);
    assert_eq!(line.client.state(), CallState::Idle);

    line.call_client(7, &[]);
    let accept = line.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default()));
    line.run(MEDIA_PREPARATION_TIMEOUT + Duration::from_secs(1));
    assert!(matches!(line.answer(accept), Some(Err(Error::Audio { .. }))), "{:?}", line.answers);
    assert_eq!(line.client.state(), CallState::Idle);
}

#[test]
fn muting_outlives_a_call() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::SetMuted(true));
    line.ask(ClientCommand::StartCall(Box::default()));
    assert!(matches!(line.media[..], [MediaCommand::CreateOffer(_), MediaCommand::SetMuted(true)]), "{:?}", line.media);
}

#[test]
fn destroying_answers_everybody_and_then_nothing_happens_any_more() {
    let (mut line, _) = Line::connected(config());
    let destroy = line.ask(ClientCommand::Destroy);
    assert_eq!(line.answer(destroy), Some(Ok(Reply::Done)));
    assert!(line.methods_sent().contains(&"BYE".to_owned()));
    let (events, sent) = (line.events.len(), line.sent.len());
    let late = line.ask(ClientCommand::StartCall(Box::default()));
    assert_eq!(line.answer(late), Some(Err(Error::Destroyed)));
    line.run(Duration::from_secs(3600));
    assert_eq!((line.events.len(), line.sent.len()), (events, sent));
    let twice = line.ask(ClientCommand::Destroy);
    assert_eq!(line.answer(twice), Some(Ok(Reply::Done)));
}

/// Hands the client, in the edge's place, a response to the last INVITE it sent.
fn respond_to_invite(line: &mut Line, code: u16, tag: &str, body: &str) {
    let invite = line.sent.iter().rfind(|message| message.method() == Some(&Method::Invite)).unwrap().clone();
    let mut builder = MessageBuilder::response(&invite, StatusCode::new(code).unwrap(), None)
        .to_tag(tag)
        .field(HeaderName::from_static("Contact"), HeaderValue::from_static("<sip:bot@192.0.2.1>"));
    if !body.is_empty() {
        builder = builder.body(HeaderValue::from_static("application/sdp"), Bytes::from(body.to_owned()));
    }
    let (flow, bytes) = (line.flow.unwrap(), builder.build());
    line.input(ClientInput::Received { flow, bytes });
}

#[test]
fn the_first_answer_of_a_dialog_counts_and_later_ones_are_not_looked_at() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    line.incoming_at_edge();
    respond_to_invite(&mut line, 183, "bot", &sdp("early"));
    // A gateway that writes its origin or candidates anew must not cost the call.
    respond_to_invite(&mut line, 200, "bot", &sdp("final"));
    assert_eq!(line.client.state(), CallState::Connected);
    let taken: Vec<_> = line
        .media
        .iter()
        .filter_map(|order| if let MediaCommand::AcceptAnswer(sdp) = order { Some(sdp.clone()) } else { None })
        .collect();
    assert_eq!(taken, [sdp("early")]);
}

#[test]
fn registering_while_the_registration_is_taken_back_answers_both_and_registers() {
    let mut line = Line::registered(config());
    line.deaf = true;
    let unregister = line.ask(ClientCommand::Unregister);
    let twice = line.ask(ClientCommand::Unregister);
    let register = line.ask(ClientCommand::Register);
    assert_eq!(line.answer(register), None, "the registrar has not been asked yet");
    let again = |answer| matches!(answer, Some(Err(Error::WrongState { operation: "unregister", .. })));
    assert!(again(line.answer(unregister)) && again(line.answer(twice)), "{:?}", line.answers);
    // The registrar gets both, in their order.
    line.deaf = false;
    let requests: Vec<_> = line.sent.iter().rev().take(2).map(|message| message.as_bytes().clone()).collect();
    for bytes in requests.into_iter().rev() {
        line.edge.handle(line.now, Input::Received { flow: FlowId(1), bytes });
        line.settle();
    }
    assert_eq!(line.answer(register), Some(Ok(Reply::Done)));
    assert!(line.edge.binding(line.now).is_some());
}

#[test]
fn a_call_after_unregistering_registers_again() {
    let mut line = Line::registered(config());
    line.deaf = true;
    line.ask(ClientCommand::Unregister);
    line.deaf = false;
    line.ask(ClientCommand::StartCall(Box::default()));
    assert_eq!(line.client.state(), CallState::Connecting);
    assert!(line.edge.binding(line.now).is_some());
    line.incoming_at_edge();
}

#[test]
fn asking_again_does_not_wait_for_the_backoff() {
    let mut line = Line::new(config());
    let refused = Error::Connect { address: "edge:8443".to_owned(), problem: "refused".to_owned() };
    line.refuse = Some(refused);
    line.ask(ClientCommand::Register);
    // The waits grow to 30 s.
    line.run(Duration::from_secs(120));
    line.refuse = None;
    let register = line.ask(ClientCommand::Register);
    line.run(Duration::from_secs(1));
    assert_eq!(line.answer(register), Some(Ok(Reply::Done)));
}

#[test]
fn the_answer_to_a_key_of_the_last_call_is_not_taken_for_one_of_this_call() {
    let (mut line, _) = Line::connected(config());
    line.rfc4733 = false;
    line.deaf = true;
    let old = line.ask(ClientCommand::SendDtmf('1'));
    let info = line.sent.last().unwrap().clone();
    line.ask(ClientCommand::Hangup { reason: None });
    assert!(matches!(line.answer(old), Some(Err(Error::WrongState { operation: "send_dtmf", .. }))));
    line.deaf = false;
    line.ask(ClientCommand::StartCall(Box::default()));
    let (call, _) = line.incoming_at_edge();
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(line.client.state(), CallState::Connected);
    line.deaf = true;
    let new = line.ask(ClientCommand::SendDtmf('2'));
    let late = MessageBuilder::response(&info, StatusCode::new(500).unwrap(), None).build();
    let flow = line.flow.unwrap();
    line.input(ClientInput::Received { flow, bytes: late });
    assert_eq!(line.answer(new), None, "nobody has answered this one");
}

#[test]
fn a_call_whose_connection_cannot_come_back_is_an_error() {
    let mut settings = config();
    settings.infinite_reconnect = false;
    settings.max_register_retries = 1;
    let (mut line, _) = Line::connected(settings);
    line.refuse = Some(Error::Connect { address: "edge:8443".to_owned(), problem: "refused".to_owned() });
    let flow = line.flow.take().unwrap();
    line.input(ClientInput::FlowClosed { flow, error: None });
    line.run(Duration::from_secs(60));
    let last = line.call_events().into_iter().rfind(|event| event.state != CallState::Idle).unwrap();
    assert!(matches!((last.state, &last.error), (CallState::Error, Some(Error::Connect { .. }))), "{last:?}");
}

#[test]
fn an_acknowledgement_without_the_answer_to_our_offer_ends_the_call() {
    let mut line = Line::registered(config());
    let flow = line.flow.unwrap();
    let request = |method: &str, to_tag: &str| {
        Bytes::from(format!(
            "{method} sip:170@client.invalid SIP/2.0\r\nVia: SIP/2.0/WS e.invalid;branch=z9hG4bK{method}\r\nFrom: <sip:bot@sip.example.com>;tag=b\r\nTo: <sip:170@sip.example.com>{to_tag}\r\nCall-ID: in\r\nCSeq: 1 {method}\r\nContact: <sip:bot@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    line.input(ClientInput::Received { flow, bytes: request("INVITE", "") });
    let accept = line.ask(ClientCommand::AcceptIncomingCall(AcceptCall::default()));
    let to = line.sent.last().unwrap().to().unwrap().tag().unwrap().to_owned();
    line.input(ClientInput::Received { flow, bytes: request("ACK", &format!(";tag={to}")) });
    assert!(matches!(line.answer(accept), Some(Err(Error::Protocol { .. }))), "{:?}", line.answers);
    assert_eq!(line.methods_sent().last().map(String::as_str), Some("BYE"));
}

#[test]
fn a_message_that_no_edge_would_take_is_not_sent() {
    let mut settings = config();
    settings.extra_headers = (0..8)
        .map(|n| HeaderField {
            name: HeaderName::new(&format!("X-Long-{n}")).unwrap(),
            value: HeaderValue::new("X-Long", "x".repeat(10_000)).unwrap(),
        })
        .collect();
    let mut line = Line::registered(settings);
    line.ask(ClientCommand::StartCall(Box::default()));
    assert!(!line.methods_sent().contains(&"INVITE".to_owned()));
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Error).unwrap();
    assert!(matches!(ended.error, Some(Error::WrongState { operation: "send", .. })), "{ended:?}");
    assert!(line.flow.is_some() && line.edge.binding(line.now).is_some());
}

fn holds(line: &Line) -> Vec<(bool, bool)> {
    let hold = |event: &Event| match event {
        Event::Hold(event) => Some((event.held, event.held_by_far_end)),
        _ => None,
    };
    line.events.iter().filter_map(hold).collect()
}

fn directions(line: &Line) -> Vec<Direction> {
    let direction = |order: &MediaCommand| match order {
        MediaCommand::SetDirection(direction) => Some(*direction),
        _ => None,
    };
    line.media.iter().filter_map(direction).collect()
}

fn restarts(line: &Line) -> usize {
    line.media.iter().filter(|order| matches!(order, MediaCommand::Restart(_))).count()
}

#[test]
fn either_end_holds_the_call() {
    let (mut line, call) = Line::connected(config());
    let hold = line.ask(ClientCommand::Hold);
    assert_eq!(line.answer(hold), Some(Ok(Reply::Done)));
    line.edge_does(Command::Hold { call, held: true });
    let unhold = line.ask(ClientCommand::Unhold);
    assert_eq!(line.answer(unhold), Some(Ok(Reply::Done)));
    line.edge_does(Command::Hold { call, held: false });
    assert_eq!(holds(&line), [(true, false), (true, true), (false, true), (false, false)]);
    assert_eq!(directions(&line), [Direction::SendOnly, Direction::Inactive, Direction::RecvOnly, Direction::SendRecv]);
    assert_eq!(line.client.state(), CallState::Connected);
    line.ask(ClientCommand::Hangup { reason: None });
    let hold = line.ask(ClientCommand::Hold);
    assert!(matches!(line.answer(hold), Some(Err(Error::WrongState { .. }))));
}

#[test]
fn a_call_that_is_held_is_not_said_to_be_without_packets() {
    let (mut line, call) = Line::connected(config());
    line.edge_does(Command::Hold { call, held: true });
    line.run(Duration::from_secs(60));
    let complains = |event: &Event| matches!(event, Event::Log(log) if log.message.contains("no audio packets"));
    assert!(!line.events.iter().any(complains));
}

#[test]
fn a_path_that_fails_is_mended_by_a_restart() {
    let (mut line, call) = Line::connected(config());
    line.notice(MediaNotice::Failed(MediaFault::IceFailed));
    assert_eq!(line.client.state(), CallState::Connected);
    assert_eq!(restarts(&line), 1);
    let offer = line.edge_events.iter().find_map(|event| match event {
        UaEvent::Reoffered { offer, .. } => Some(offer.clone()),
        _ => None,
    });
    // Under the origin of the first offer, in a new version.
    assert_eq!(offer, Some(sdp("moved").replace("o=- 1 1", "o=- 1 2")));
    line.edge_does(Command::AnswerOffer { call, answer: Ok(sdp("moved too")) });
    let taken = sdp("moved too").replace("o=- 1 1", "o=- 1 2");
    assert!(matches!(line.media.last(), Some(MediaCommand::AcceptAnswer(sdp)) if *sdp == taken), "{:?}", line.media);
    line.notice(MediaNotice::Ice(IceState::Connected));
    line.run(Duration::from_secs(120));
    assert_eq!((line.client.state(), restarts(&line)), (CallState::Connected, 1));
}

#[test]
fn a_path_that_comes_back_by_itself_is_left_alone() {
    let (mut line, call) = Line::connected(config());
    line.notice(MediaNotice::Ice(IceState::Disconnected));
    line.run(Duration::from_millis(900));
    line.notice(MediaNotice::Ice(IceState::Connected));
    line.run(Duration::from_secs(60));
    assert_eq!(restarts(&line), 0);
    line.notice(MediaNotice::Ice(IceState::Disconnected));
    line.run(Duration::from_millis(1100));
    assert_eq!(restarts(&line), 1);
    // The far end will not have it; it is asked again until the time is over.
    line.edge_does(Command::AnswerOffer { call, answer: Err(StatusCode::NOT_ACCEPTABLE_HERE) });
    assert!(matches!(line.media.last(), Some(MediaCommand::Rollback)), "{:?}", line.media);
    line.run(Duration::from_millis(2100));
    assert_eq!(restarts(&line), 2);
    line.run(Duration::from_secs(30));
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Error).unwrap();
    assert_eq!(ended.error, Some(Error::Media { fault: MediaFault::IceFailed }));
    assert_eq!(line.methods_sent().last().map(String::as_str), Some("BYE"));
}

#[test]
fn an_offer_of_the_far_end_is_answered_by_the_media_session() {
    let (mut line, call) = Line::connected(config());
    line.edge_does(Command::Offer { call, sdp: sdp("their other place") });
    assert!(matches!(line.media.last(), Some(MediaCommand::CreateAnswer(_, _))), "{:?}", line.media);
    let answered = line.edge_events.iter().any(|event| matches!(event, UaEvent::OfferAnswered { result: Ok(_), .. }));
    assert!(answered, "{:?}", line.edge_events);
    line.media_fails = Some(Error::Media { fault: MediaFault::NoCommonCodec });
    line.edge_does(Command::Offer { call, sdp: sdp("nonsense") });
    let refused = line.edge_events.iter().any(|event| {
        matches!(event, UaEvent::OfferAnswered { result: Err(Error::CallRefused { status: 488, .. }), .. })
    });
    assert!(refused, "{:?}", line.edge_events);
    assert_eq!(line.client.state(), CallState::Connected);
}

#[test]
fn another_branch_than_that_of_the_early_media_wins() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    line.incoming_at_edge();
    line.deaf = true;
    respond_to_invite(&mut line, 183, "a", &sdp("early of a"));
    respond_to_invite(&mut line, 200, "b", &sdp("answer of b"));
    assert_ne!(line.client.state(), CallState::Connected);
    // The call with b gets an offer of its own, which b answers.
    let offer = line.sent.last().unwrap();
    assert_eq!(offer.method(), Some(&Method::Invite));
    assert_eq!(offer.to().unwrap().tag(), Some("b"));
    respond_to_invite(&mut line, 200, "b", &sdp("second answer of b"));
    assert_eq!(line.client.state(), CallState::Connected);
    let taken: Vec<_> = line
        .media
        .iter()
        .filter_map(|order| if let MediaCommand::AcceptAnswer(sdp) = order { Some(sdp.clone()) } else { None })
        .collect();
    assert_eq!(taken, [sdp("early of a"), sdp("second answer of b")]);
}

#[test]
fn a_call_that_loses_its_connection_before_the_answer_is_placed_once_more() {
    let mut line = Line::registered(config());
    let start = line.ask(ClientCommand::StartCall(Box::default()));
    let (_, first) = line.incoming_at_edge();
    let Some(Ok(Reply::CallId(call_id))) = line.answer(start) else { panic!("{:?}", line.answers) };
    line.lose_flow();
    line.run(Duration::from_secs(2));
    let (call, second) = line.incoming_at_edge();
    assert_eq!(second.header_named("In-Reply-To").as_deref(), Some(call_id.as_str()));
    assert_ne!(second.call_id(), first.call_id());
    assert_eq!(second.header_named("X-Customer-Data"), first.header_named("X-Customer-Data"));
    assert!(line.methods_sent().contains(&"CANCEL".to_owned()), "the first one is called off");
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(line.client.state(), CallState::Connected);
    assert!(line.call_events().iter().all(|event| event.error.is_none()));

    // The second try is the last one.
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    for _ in 0..2 {
        line.incoming_at_edge();
        line.lose_flow();
        line.run(Duration::from_secs(2));
    }
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Error).unwrap();
    assert_eq!(ended.error, Some(Error::FlowLostDuringSetup));

    // And it does not wait for ever.
    let mut line = Line::registered(config());
    line.ask(ClientCommand::StartCall(Box::default()));
    line.incoming_at_edge();
    line.refuse = Some(Error::Connect { address: "edge".to_owned(), problem: "refused".to_owned() });
    line.lose_flow();
    line.run(Duration::from_secs(31));
    assert_eq!(line.client.state(), CallState::Registering);
    line.run(Duration::from_secs(2));
    let ended = line.call_events().into_iter().find(|event| event.state == CallState::Error).unwrap();
    assert_eq!(ended.error, Some(Error::FlowLostDuringSetup));
}

#[test]
fn a_change_of_network_moves_signalling_and_media() {
    let (mut line, _) = Line::connected(config());
    let before = line.flow;
    line.ask(ClientCommand::NetworkChanged);
    line.run(Duration::from_millis(1));
    assert!(line.flow.is_some() && line.flow != before);
    assert_eq!(restarts(&line), 1);
    assert_eq!(line.client.state(), CallState::Connected);
}

fn offers_made(line: &Line) -> usize {
    line.media.iter().filter(|order| matches!(order, MediaCommand::CreateOffer(_))).count()
}

#[test]
fn a_call_that_was_prepared_sends_its_invite_at_once() {
    let mut line = Line::registered(config());
    let prepare = line.ask(ClientCommand::Prepare);
    assert_eq!(line.answer(prepare), Some(Ok(Reply::Done)));
    assert!(!line.methods_sent().contains(&"INVITE".to_owned()));
    line.media_hangs = true;
    line.ask(ClientCommand::StartCall(Box::default()));
    line.media_hangs = false;
    let (call, _) = line.incoming_at_edge();
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!((line.client.state(), offers_made(&line)), (CallState::Connected, 1));
    let prepare = line.ask(ClientCommand::Prepare);
    assert!(matches!(line.answer(prepare), Some(Err(Error::WrongState { .. }))));
}

#[test]
fn what_was_prepared_is_dropped_when_it_is_old_and_renewed_when_the_network_changes() {
    let mut line = Line::registered(config());
    line.ask(ClientCommand::Prepare);
    line.ask(ClientCommand::NetworkChanged);
    assert_eq!(offers_made(&line), 2);
    line.run(PREPARED_FOR - Duration::from_secs(1));
    assert!(!matches!(line.media.last(), Some(MediaCommand::Close)));
    line.run(Duration::from_secs(2));
    assert!(matches!(line.media.last(), Some(MediaCommand::Close)));
    line.ask(ClientCommand::StartCall(Box::default()));
    line.incoming_at_edge();
    assert_eq!(offers_made(&line), 3);

    // A failure is told, and the next call tries for itself.
    let mut line = Line::registered(config());
    let fault = Error::Media { fault: MediaFault::Engine("no".to_owned()) };
    line.media_fails = Some(fault.clone());
    let prepare = line.ask(ClientCommand::Prepare);
    assert_eq!(line.answer(prepare), Some(Err(fault)));
    line.media_fails = None;
    line.ask(ClientCommand::StartCall(Box::default()));
    line.incoming_at_edge();
}

#[test]
fn a_call_may_begin_while_it_is_being_prepared() {
    let mut line = Line::registered(config());
    line.media_hangs = true;
    let prepare = line.ask(ClientCommand::Prepare);
    assert_eq!(line.answer(prepare), None);
    line.ask(ClientCommand::StartCall(Box::default()));
    assert_eq!((line.answer(prepare), offers_made(&line)), (Some(Ok(Reply::Done)), 1));
    line.media_hangs = false;
    let call = line.media_call.unwrap();
    line.input(ClientInput::Media { call, reply: MediaReply::Offer(Ok(sdp("offer"))) });
    line.incoming_at_edge();
}

#[test]
fn a_call_that_becomes_bad_is_told_once_and_when_it_mends() {
    let (mut line, _) = Line::connected(config());
    let read = |line: &mut Line, rtt_ms: u64, lost: u64| {
        line.statistics.packets_received += 100 - lost;
        line.statistics.packets_lost += lost;
        line.statistics.round_trip_time = Some(Duration::from_millis(rtt_ms));
        line.run(METRICS_INTERVAL);
    };
    for (rtt_ms, lost) in [(40, 0), (401, 0), (500, 6), (390, 6), (319, 0), (40, 0), (40, 0)] {
        read(&mut line, rtt_ms, lost);
    }
    let told: Vec<_> = line
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Quality(event) if event.measure != QualityMeasure::Mos => Some((event.measure, event.bad)),
            _ => None,
        })
        .collect();
    let expected = [
        (QualityMeasure::RoundTripTime, true),
        (QualityMeasure::Loss, true),
        (QualityMeasure::RoundTripTime, false),
        (QualityMeasure::Loss, false),
    ];
    assert_eq!(told, expected);
}

fn prepares_by_itself() -> SipClientConfig {
    SipClientConfig { prepare_after_registration: true, ..config() }
}

#[test]
fn a_client_that_is_registered_has_the_next_offer_ready() {
    let mut line = Line::registered(prepares_by_itself());
    assert!(matches!(&line.media[..], [MediaCommand::CreateOffer(settings)] if settings.audio_later));
    // It is good for as long as the machine keeps its addresses.
    line.run(PREPARED_FOR * 5);
    assert_eq!(offers_made(&line), 1);
    line.ask(ClientCommand::NetworkChanged);
    line.run(Duration::from_secs(1));
    assert_eq!(offers_made(&line), 2);

    line.media_hangs = true;
    line.ask(ClientCommand::StartCall(Box::default()));
    let (call, _) = line.incoming_at_edge();
    assert!(matches!(line.media.last(), Some(MediaCommand::OpenAudio)), "it does not keep the INVITE waiting");
    line.media_hangs = false;
    line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!((line.client.state(), offers_made(&line)), (CallState::Connected, 2));
    line.ask(ClientCommand::Hangup { reason: None });
    assert_eq!(offers_made(&line), 3, "the next one is made after the call");
    line.ask(ClientCommand::Unregister);
    assert!(matches!(line.media.last(), Some(MediaCommand::Close)), "nobody calls without a registration");
}

#[test]
fn an_offer_with_addresses_of_servers_is_renewed_and_one_that_failed_is_tried_again() {
    let mut settings = prepares_by_itself();
    settings.ice_servers =
        vec![IceServer { urls: vec!["stun:stun.example.com".to_owned()], username: None, credential: None }];
    let mut line = Line::registered(settings);
    line.run(PREPARED_FOR + Duration::from_secs(1));
    assert_eq!(offers_made(&line), 2);
    let closed = line.media.iter().filter(|command| matches!(command, MediaCommand::Close)).count();
    assert_eq!(closed, 1, "{:?}", line.media);

    let mut line = Line::new(prepares_by_itself());
    line.media_fails = Some(Error::Media { fault: MediaFault::Engine("no".to_owned()) });
    line.ask(ClientCommand::Register);
    assert_eq!(offers_made(&line), 1);
    line.media_fails = None;
    line.run(PREPARED_FOR + Duration::from_secs(1));
    assert_eq!(offers_made(&line), 2);
}

#[test]
fn preparing_by_hand_opens_the_audio_of_what_was_prepared() {
    let mut line = Line::registered(prepares_by_itself());
    let prepare = line.ask(ClientCommand::Prepare);
    assert!(matches!(line.media.last(), Some(MediaCommand::OpenAudio)));
    assert_eq!((line.answer(prepare), offers_made(&line)), (Some(Ok(Reply::Done)), 1));
    // A microphone that cannot be opened is told, and ends a call that could not wait for it.
    let no_microphone = Error::Audio { device: "source".to_owned(), problem: "not there".to_owned() };
    let mut line = Line::registered(prepares_by_itself());
    line.media_fails = Some(no_microphone.clone());
    let prepare = line.ask(ClientCommand::Prepare);
    assert_eq!(line.answer(prepare), Some(Err(no_microphone.clone())));
    let mut line = Line::registered(prepares_by_itself());
    line.media_fails = Some(no_microphone.clone());
    line.ask(ClientCommand::StartCall(Box::default()));
    let ended = line.call_events().into_iter().find(|call| call.state == CallState::Error).unwrap();
    assert_eq!(ended.error, Some(no_microphone));
}

fn silences(line: &Line) -> Vec<(QualityMeasure, bool)> {
    let of = |event: &Event| match event {
        Event::Quality(event) if matches!(event.measure, QualityMeasure::Microphone | QualityMeasure::Packets) => {
            Some((event.measure, event.bad))
        }
        _ => None,
    };
    line.events.iter().filter_map(of).collect()
}

#[test]
fn a_silent_microphone_and_a_silent_far_end_are_told_apart() {
    let (mut line, _) = Line::connected(config());
    let read = |line: &mut Line, heard: Option<bool>, packets: u64, times: u32| {
        line.statistics.source_heard = heard;
        for _ in 0..times {
            line.statistics.packets_received += packets;
            line.run(METRICS_INTERVAL);
        }
    };
    read(&mut line, Some(true), 250, 2);
    // Whoever pauses for a moment is not silent, and whoever is muted is not missed.
    read(&mut line, Some(false), 250, 2);
    read(&mut line, None, 250, 10);
    assert_eq!(silences(&line), []);
    read(&mut line, Some(false), 250, 5);
    assert_eq!(silences(&line), [(QualityMeasure::Microphone, true)]);
    read(&mut line, Some(true), 250, 1);
    line.events.clear();
    read(&mut line, Some(true), 0, 3);
    assert_eq!(silences(&line), [(QualityMeasure::Packets, true)]);
    read(&mut line, Some(true), 1, 1);
    assert_eq!(silences(&line), [(QualityMeasure::Packets, true), (QualityMeasure::Packets, false)]);
}

fn transferable() -> (Line, CallHandle) {
    Line::connected(SipClientConfig { accept_transfers: true, ..config() })
}

/// The far end sends the client to somebody else.
fn sends_on(line: &mut Line, call: CallHandle) {
    line.edge_does(Command::Transfer { call, target: "sip:carol@sip.example.com".to_owned() });
}

fn transfer_result(line: &mut Line) -> Result<(), Error> {
    let found = line.edge_events.iter().find_map(|event| match event {
        UaEvent::TransferResult { result, .. } => Some(result.clone()),
        _ => None,
    });
    found.expect("the far end hears how its transfer went")
}

#[test]
fn the_program_goes_where_the_far_end_sends_it() {
    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    let asked = line.events.iter().any(
        |event| matches!(event, Event::TransferRequested(asked) if asked.target_uri == "sip:carol@sip.example.com"),
    );
    assert!(asked, "{:#?}", line.events);
    line.events.clear();
    let accept = line.ask(ClientCommand::AcceptTransfer);
    let (second, invite) = line.incoming_at_edge();
    assert!(matches!(line.answer(accept), Some(Ok(Reply::CallId(_)))));
    assert_eq!(header(&invite, "Referred-By").as_deref(), Some("<sip:voicebot@sip.example.com>"));
    assert_eq!(header(&invite, "X-Lang").as_deref(), Some("en"));
    line.edge_does(Command::Answer { call: second, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(line.client.state(), CallState::Connected);
    assert_eq!(transfer_result(&mut line), Ok(()));
    let ended: Vec<_> =
        line.call_events().iter().filter(|e| e.state == CallState::Ended).map(|e| e.call_id.clone()).collect();
    assert_eq!(ended.len(), 1, "the first call is over");
    assert!(!line.call_states().contains(&CallState::Idle));
    assert!(line.media.iter().any(|command| matches!(command, MediaCommand::Close)));
    line.ask(ClientCommand::Hangup { reason: None });
    assert_eq!(line.client.state(), CallState::Idle);
}

#[test]
fn where_it_cannot_go_the_call_stays() {
    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    line.ask(ClientCommand::AcceptTransfer);
    let (second, _) = line.incoming_at_edge();
    line.events.clear();
    line.edge_does(Command::Reject { call: second, status: StatusCode::BUSY_HERE, reason: None });
    assert_eq!(line.call_states(), [CallState::Ended, CallState::Connected]);
    assert!(matches!(transfer_result(&mut line), Err(Error::CallRefused { status: 486, .. })));
    // Nor where nobody wants to go, or is asked.
    line.edge_events.clear();
    sends_on(&mut line, call);
    let reject = line.ask(ClientCommand::RejectTransfer);
    assert_eq!(line.answer(reject), Some(Ok(Reply::Done)));
    assert!(matches!(transfer_result(&mut line), Err(Error::CallRefused { status: 603, .. })));
    let accept = line.ask(ClientCommand::AcceptTransfer);
    assert!(matches!(line.answer(accept), Some(Err(Error::WrongState { .. }))));
    assert_eq!(line.client.state(), CallState::Connected);
    let (mut line, call) = Line::connected(config());
    sends_on(&mut line, call);
    assert!(matches!(transfer_result(&mut line), Err(Error::CallRefused { status: 603, .. })));
}

#[test]
fn a_transfer_that_was_accepted_waits_for_its_media_and_one_that_nobody_accepts_runs_out() {
    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    line.media_hangs = true;
    line.run(Duration::from_secs(9));
    line.ask(ClientCommand::AcceptTransfer);
    line.run(Duration::from_secs(40));
    let (handle, reply) = (line.media_call.unwrap(), MediaReply::Offer(Ok(sdp("offer"))));
    line.media_hangs = false;
    line.input(ClientInput::Media { call: handle, reply });
    let (second, _) = line.incoming_at_edge();
    line.edge_does(Command::Answer { call: second, sdp: sdp("answer"), headers: Vec::new() });
    assert_eq!(transfer_result(&mut line), Ok(()));
    assert_eq!(line.client.state(), CallState::Connected);

    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    line.run(Duration::from_secs(11));
    assert!(matches!(transfer_result(&mut line), Err(Error::CallRefused { status: 603, .. })));
    line.events.clear();
    let accept = line.ask(ClientCommand::AcceptTransfer);
    assert!(matches!(line.answer(accept), Some(Err(Error::WrongState { .. }))));
    assert_eq!(line.call_states(), [], "the call that is there is not left for one that cannot come about");
}

#[test]
fn a_far_end_that_sends_the_client_on_may_hang_up_before_it_has_gone() {
    for media_work in [true, false] {
        let (mut line, call) = transferable();
        sends_on(&mut line, call);
        line.media_hangs = true;
        line.ask(ClientCommand::AcceptTransfer);
        let (handle, fault) = (line.media_call.unwrap(), Error::Media { fault: MediaFault::NoCommonCodec });
        line.edge_does(Command::Hangup { call, reason: None });
        line.media_hangs = false;
        let reply = MediaReply::Offer(if media_work { Ok(sdp("offer")) } else { Err(fault) });
        line.input(ClientInput::Media { call: handle, reply });
        if media_work {
            let (second, _) = line.incoming_at_edge();
            line.edge_does(Command::Answer { call: second, sdp: sdp("answer"), headers: Vec::new() });
            assert_eq!(line.client.state(), CallState::Connected);
        } else {
            assert_eq!(line.client.state(), CallState::Idle);
        }
    }
}

#[test]
fn a_call_that_is_returned_to_makes_up_for_what_it_missed() {
    for missed in [true, false] {
        let (mut line, call) = transferable();
        let left = line.media_call.unwrap();
        sends_on(&mut line, call);
        line.ask(ClientCommand::AcceptTransfer);
        let (second, _) = line.incoming_at_edge();
        let notice = |notice| ClientInput::Media { call: left, reply: MediaReply::Notice(notice) };
        line.events.clear();
        line.media.clear();
        if missed {
            line.input(notice(MediaNotice::Failed(MediaFault::IceFailed)));
        }
        // The one who is to be left holds the call: nothing goes out there, and the new call is not concerned.
        line.edge_does(Command::Hold { call, held: true });
        let quiet = |(of, command): &(CallHandle, MediaCommand)| {
            *of == left && matches!(command, MediaCommand::SetDirection(Direction::RecvOnly | Direction::Inactive))
        };
        assert!(line.media_orders.iter().any(quiet), "{:?}", line.media_orders);
        assert_eq!(holds(&line), []);
        assert_eq!(restarts(&line), 0);
        line.run(Duration::from_secs(30));
        line.edge_does(Command::Reject { call: second, status: StatusCode::BUSY_HERE, reason: None });
        assert_eq!(line.client.state(), CallState::Connected);
        assert_eq!(holds(&line), [(false, true)]);
        assert_eq!(restarts(&line), usize::from(missed));
        if missed {
            line.notice(MediaNotice::Ice(IceState::Connected));
        }
        line.run(Duration::from_secs(60));
        assert_eq!(line.client.state(), CallState::Connected);
    }
}

#[test]
fn a_restart_that_was_under_way_when_a_call_was_left_is_made_anew() {
    let (mut line, call) = transferable();
    let left = line.media_call.unwrap();
    sends_on(&mut line, call);
    line.media_hangs = true;
    line.ask(ClientCommand::NetworkChanged);
    line.media_hangs = false;
    line.ask(ClientCommand::AcceptTransfer);
    let (second, _) = line.incoming_at_edge();
    line.input(ClientInput::Media { call: left, reply: MediaReply::Offer(Ok(sdp("lost"))) });
    line.media_orders.clear();
    line.edge_does(Command::Reject { call: second, status: StatusCode::BUSY_HERE, reason: None });
    let of_left: Vec<_> = line.media_orders.iter().filter(|(of, _)| *of == left).map(|(_, command)| command).collect();
    assert!(matches!(of_left[..], [MediaCommand::Rollback, MediaCommand::Restart(_), ..]), "{of_left:?}");
}

#[test]
fn a_far_end_hears_at_once_that_the_client_cannot_go() {
    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    line.media_fails = Some(Error::Media { fault: MediaFault::NoCommonCodec });
    line.ask(ClientCommand::AcceptTransfer);
    assert_eq!(line.client.state(), CallState::Connected);
    assert!(matches!(transfer_result(&mut line), Err(Error::CallRefused { status: 603, .. })));
}

#[test]
fn whoever_hangs_up_on_the_way_wants_neither_call() {
    let (mut line, call) = transferable();
    sends_on(&mut line, call);
    line.ask(ClientCommand::AcceptTransfer);
    line.incoming_at_edge();
    line.ask(ClientCommand::Hangup { reason: None });
    assert_eq!(line.client.state(), CallState::Idle);
    line.run(Duration::from_secs(1));
    let ended = line.edge_events.iter().filter(|event| matches!(event, UaEvent::Ended { .. })).count();
    assert_eq!(ended, 2);
}

/// How the call of the edge is named by whoever takes its place.
fn replaces(line: &Line, call: CallHandle) -> String {
    let uri = line.edge.replacement_uri(call).unwrap();
    let (_, value) = uri.split_once("?Replaces=").unwrap();
    codex_core_sip::sip::uri::unescape(value).into_owned()
}

#[test]
fn muting_reaches_both_calls_on_the_way_from_one_to_the_other() {
    let (mut line, call) = transferable();
    let left = line.media_call.unwrap();
    sends_on(&mut line, call);
    line.ask(ClientCommand::AcceptTransfer);
    let new = line.media_call.unwrap();
    assert_ne!(left, new);
    line.media_orders.clear();
    line.ask(ClientCommand::SetMuted(true));
    line.ask(ClientCommand::SetSpeakerMuted(true));
    for call in [left, new] {
        let of = |(of, command): &(CallHandle, MediaCommand)| (*of == call).then(|| command.clone());
        let orders: Vec<MediaCommand> = line.media_orders.iter().filter_map(of).collect();
        assert!(
            matches!(orders[..], [MediaCommand::SetMuted(true), MediaCommand::SetSpeakerMuted(true)]),
            "{call:?}: {orders:?}"
        );
    }
}

#[test]
fn a_call_that_is_held_and_muted_is_so_in_the_hands_of_whoever_takes_it_over() {
    let (mut line, call) = Line::connected(config());
    line.ask(ClientCommand::Hold);
    line.ask(ClientCommand::SetMuted(true));
    let value = replaces(&line, call);
    line.events.clear();
    line.media_orders.clear();
    line.call_client(2, &[("Replaces", &value)]);
    let new = line.media_call.unwrap();
    let of_new: Vec<_> = line.media_orders.iter().filter(|(of, _)| *of == new).map(|(_, command)| command).collect();
    let position = |wanted: fn(&MediaCommand) -> bool| of_new.iter().position(|command| wanted(command));
    let silent = position(|command| matches!(command, MediaCommand::SetDirection(Direction::SendOnly)));
    assert!(position(|command| matches!(command, MediaCommand::SetMuted(true))).is_some(), "{of_new:?}");
    assert!(silent.is_some(), "{of_new:?}");
    let live = position(|command| matches!(command, MediaCommand::SetDirection(Direction::SendRecv)));
    assert_eq!(live, None, "{of_new:?}");
    assert_eq!(holds(&line), [(true, false)], "the program and the far end know of it");
    assert_eq!(line.client.state(), CallState::Connected);
    let unhold = line.ask(ClientCommand::Unhold);
    assert_eq!(line.answer(unhold), Some(Ok(Reply::Done)));
    assert_eq!(directions(&line).last(), Some(&Direction::SendRecv));
}

#[test]
fn a_hold_that_is_carried_over_stays_where_the_far_end_does_not_hear_of_it() {
    let (mut line, call) = Line::connected(config());
    line.ask(ClientCommand::Hold);
    let value = replaces(&line, call);
    line.events.clear();
    line.media.clear();
    line.refuse_changes = true;
    line.call_client(2, &[("Replaces", &value)]);
    line.run(Duration::from_secs(40));
    assert_eq!(holds(&line), [(true, false)]);
    assert!(directions(&line).iter().all(|direction| *direction == Direction::SendOnly), "{:?}", directions(&line));
    let unhold = line.ask(ClientCommand::Unhold);
    assert_eq!(line.answer(unhold), Some(Ok(Reply::Done)));
    assert_eq!(directions(&line).last(), Some(&Direction::SendRecv));
    assert_eq!(holds(&line), [(true, false), (false, false)]);
}

#[test]
fn somebody_else_takes_the_far_ends_place() {
    for media_work in [true, false] {
        let (mut line, call) = Line::connected(config());
        let value = replaces(&line, call);
        line.events.clear();
        line.media_fails = (!media_work).then_some(Error::Media { fault: MediaFault::NoCommonCodec });
        line.call_client(2, &[("Replaces", &value)]);
        line.run(Duration::from_secs(1));
        assert_eq!(line.client.state(), CallState::Connected);
        let told = line.events.iter().any(|event| matches!(event, Event::IncomingCall(_)));
        assert!(!told, "who took the first call has taken this one");
        let (ended, expected) = if media_work {
            (call, [CallState::Connecting, CallState::Connected, CallState::Ended].as_slice())
        } else {
            (CallHandle(2), [CallState::Connecting, CallState::Error, CallState::Connected].as_slice())
        };
        assert_eq!(line.call_states(), expected);
        let over = |event: &UaEvent| matches!(event, UaEvent::Ended { call, .. } if *call == ended);
        assert!(line.edge_events.iter().any(over), "{:#?}", line.edge_events);
    }
}

#[test]
fn a_call_that_is_replaced_before_it_is_up_ends_whatever_becomes_of_the_new_one() {
    for answered in [false, true] {
        let mut line = Line::registered(config());
        line.ask(ClientCommand::StartCall(Box::default()));
        let (call, invite) = line.incoming_at_edge();
        line.edge_does(Command::Ring { call, headers: Vec::new() });
        if answered {
            line.media_hangs = true;
            line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
        }
        assert_ne!(line.client.state(), CallState::Connected);
        let edge_tag = line.edge_tag();
        let from = invite.from().unwrap().tag().unwrap().to_owned();
        let value = format!("{};to-tag={from};from-tag={edge_tag}", invite.call_id().unwrap());
        line.media_hangs = false;
        // The new one does not come about, and there is nothing to go back to.
        line.media_fails = Some(Error::Media { fault: MediaFault::NoCommonCodec });
        line.call_client(2, &[("Replaces", &value)]);
        // It may be too late to call the first one off.
        line.edge_does(Command::Answer { call, sdp: sdp("answer"), headers: Vec::new() });
        line.run(Duration::from_secs(1));
        assert_eq!(line.client.state(), CallState::Idle);
        for ended in [call, CallHandle(2)] {
            let over = |event: &UaEvent| matches!(event, UaEvent::Ended { call, .. } if *call == ended);
            assert!(line.edge_events.iter().any(over), "{ended:?} has no owner: {:#?}", line.edge_events);
        }
    }
}

#[test]
fn the_uri_for_an_attended_transfer_names_the_call() {
    let mut line = Line::registered(config());
    let uri = line.ask(ClientCommand::ReplacementUri);
    assert!(matches!(line.answer(uri), Some(Err(Error::WrongState { .. }))));
    let (mut line, _) = Line::connected(config());
    let uri = line.ask(ClientCommand::ReplacementUri);
    let Some(Ok(Reply::Uri(uri))) = line.answer(uri) else { panic!("{:?}", line.answers) };
    assert!(uri.starts_with(&format!("sip:{GUID}@sip.example.com?Replaces=")), "{uri}");
    line.ask(ClientCommand::Transfer { target_uri: uri.clone() });
    let refer = line.sent.iter().find(|message| message.method() == Some(&Method::Refer)).unwrap();
    assert_eq!(header(refer, "Refer-To"), Some(format!("<{uri}>")));
}
