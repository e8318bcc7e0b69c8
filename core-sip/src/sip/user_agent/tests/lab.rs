//! One user agent on a virtual clock, with the test in the place of the edge.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use super::super::{CallHandle, Command, EndedBy, FlowId, Input, Output, UaEvent, UserAgent, UserAgentConfig};
use crate::error::Error;
use crate::header_field::{HeaderField, HeaderName, HeaderValue};
use crate::random::SeededRandom;
use crate::sip::header::Name;
use crate::sip::message::{Message, MessageBuilder, Method, StatusCode};
use crate::time::Time;

pub(super) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
pub(super) const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 127.0.0.2\r\ns=-\r\nt=0 0\r\nm=audio 8 RTP/AVP 0\r\n";
pub(super) const PASSWORD: &str = "secret-7f3a";
/// The call that tests place.
pub(super) const CALL: CallHandle = CallHandle(1);

pub(super) fn config() -> UserAgentConfig {
    let mut config = UserAgentConfig::new("alice", "example.com", Some(SecretString::from(PASSWORD)));
    config.user_agent = Some("codex-test".to_owned());
    // Tests of keep-alive set it; the others need not answer it.
    config.keep_alive_interval = None;
    config
}

pub(super) fn header(name: &str, value: &str) -> HeaderField {
    HeaderField { name: HeaderName::new(name).unwrap(), value: HeaderValue::new(name, value).unwrap() }
}

pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

pub(super) fn invite_command(call: CallHandle) -> Command {
    Command::Invite {
        call,
        target: "sip:app-7087fe50@example.com".to_owned(),
        call_id: format!("kqzmwbtr-{}", call.0),
        headers: vec![header("X-Call-Tag", "kqzmwbtr")],
        offer: OFFER.to_owned(),
        display_name: Some("webcall:kqzmwbtr".to_owned()),
    }
}

/// See the [module](self).
pub(super) struct Lab {
    pub(super) now: Time,
    pub(super) agent: UserAgent,
    /// SIP messages that were sent and not looked at yet.
    pub(super) sent: VecDeque<Message>,
    /// CRLF pings and pongs that were sent.
    pub(super) pings: usize,
    pub(super) pongs: usize,
    pub(super) events: Vec<UaEvent>,
    pub(super) flow: Option<FlowId>,
    pub(super) opened: usize,
    pub(super) closed: usize,
    /// Refusals that carry back what could not be read.
    pub(super) unreadable: Vec<Bytes>,
    /// What becomes of a flow that is asked for; `None`: it opens at once.
    pub(super) refuse_flows: Option<Error>,
}

impl Lab {
    pub(super) fn new(config: UserAgentConfig) -> Self {
        Self {
            now: Time::from_micros(1_000_000),
            agent: UserAgent::new(config, Box::new(SeededRandom::new(42))),
            sent: VecDeque::new(),
            pings: 0,
            pongs: 0,
            events: Vec::new(),
            flow: None,
            opened: 0,
            closed: 0,
            unreadable: Vec::new(),
            refuse_flows: None,
        }
    }

    /// With a flow, and nothing else.
    pub(super) fn connected(config: UserAgentConfig) -> Self {
        let mut lab = Self::new(config);
        lab.command(Command::Connect);
        assert!(lab.flow.is_some());
        lab.events.clear();
        lab
    }

    pub(super) fn input(&mut self, input: Input) {
        self.agent.handle(self.now, input);
        self.drain();
    }

    pub(super) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::OpenFlow { flow } => {
                    self.opened += 1;
                    assert!(self.flow.is_none(), "a flow is opened while there is one");
                    let answer = match self.refuse_flows.clone() {
                        Some(error) => Input::FlowFailed { flow, error },
                        None => {
                            self.flow = Some(flow);
                            Input::FlowOpened { flow }
                        }
                    };
                    self.agent.handle(self.now, answer);
                }
                Output::CloseFlow { flow } => {
                    self.closed += 1;
                    assert_eq!(self.flow.take(), Some(flow), "a flow is closed that is not there");
                }
                Output::Send { flow, bytes } => {
                    assert_eq!(self.flow, Some(flow), "something is sent on a dead flow");
                    match bytes.as_ref() {
                        b"\r\n\r\n" => self.pings += 1,
                        b"\r\n" => self.pongs += 1,
                        _ => match Message::parse(bytes.clone()) {
                            Ok(message) => self.sent.push_back(message),
                            Err(_)
                                if [400, 505, 513]
                                    .iter()
                                    .any(|code| bytes.starts_with(format!("SIP/2.0 {code} ").as_bytes())) =>
                            {
                                self.unreadable.push(bytes);
                            }
                            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&bytes)),
                        },
                    }
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Lets time pass, timers included.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut steps = 0;
        while let Some(at) = self.agent.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
            steps += 1;
            assert!(steps < 100_000, "timers do not come to rest");
        }
        self.now = end;
        self.input(Input::Timeout);
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    pub(super) fn receive(&mut self, bytes: impl Into<Bytes>) {
        let flow = self.flow.expect("there is a flow");
        self.input(Input::Received { flow, bytes: bytes.into() });
    }

    pub(super) fn lose_flow(&mut self) {
        let flow = self.flow.take().expect("there is a flow");
        let error = Some(Error::FlowLost { problem: "reset".to_owned() });
        self.input(Input::FlowClosed { flow, error });
    }

    /// The next message that was sent; it must be a request of this method.
    pub(super) fn request(&mut self, method: &Method) -> Message {
        let message = self.sent.pop_front().unwrap_or_else(|| panic!("no {method} was sent"));
        assert_eq!(message.method(), Some(method), "{}", text(&message));
        message
    }

    /// The next message that was sent; it must be a response of this status.
    pub(super) fn response(&mut self, code: u16) -> Message {
        let message = self.sent.pop_front().unwrap_or_else(|| panic!("no {code} was sent"));
        assert_eq!(message.status(), Some(status(code)), "{}", text(&message));
        message
    }

    pub(super) fn nothing_sent(&self) {
        let sent: Vec<String> = self.sent.iter().map(text).collect();
        assert!(sent.is_empty(), "{sent:#?}");
    }

    /// Answers `request` as the far end would.
    pub(super) fn answer(&mut self, request: &Message, code: u16, to_tag: &str, headers: &[(&str, &str)], sdp: bool) {
        self.receive(response(request, code, None, to_tag, headers, sdp));
    }

    pub(super) fn refuse(&mut self, request: &Message, code: u16, headers: &[(&str, &str)]) {
        self.answer(request, code, "far", headers, false);
    }

    pub(super) fn accept(&mut self, request: &Message, to_tag: &str) {
        self.answer(request, 200, to_tag, &[("Contact", "<sip:bot@192.0.2.1:5060>")], true);
    }

    /// Takes all events so far.
    pub(super) fn events(&mut self) -> Vec<UaEvent> {
        std::mem::take(&mut self.events).into_iter().filter(|event| !matches!(event, UaEvent::Log { .. })).collect()
    }

    /// The one `Ended` of `call` among the events so far.
    pub(super) fn ended(&mut self, call: CallHandle) -> Ended {
        let mut found = self.events().into_iter().filter_map(|event| match event {
            UaEvent::Ended { call: c, by, cause, reason, error } if c == call => {
                Some(Ended { by, cause, reason, error })
            }
            _ => None,
        });
        let ended = found.next().expect("the call has ended");
        assert!(found.next().is_none(), "a call ends once");
        ended
    }

    pub(super) fn has_ended(&self) -> bool {
        self.events.iter().any(|event| matches!(event, UaEvent::Ended { .. }))
    }

    /// Nothing is left of any call, transaction or timer of one.
    pub(super) fn assert_nothing_left(&self) {
        assert!(self.agent.calls.is_empty(), "{:#?}", self.agent.calls);
        assert!(self.agent.clients.is_empty(), "{:#?}", self.agent.clients);
        assert!(self.agent.servers.is_empty(), "{:#?}", self.agent.servers.keys());
    }

    /// An outgoing call, answered.
    pub(super) fn in_call(config: UserAgentConfig) -> (Self, Message) {
        let mut lab = Self::connected(config);
        lab.command(invite_command(CALL));
        let invite = lab.request(&Method::Invite);
        lab.accept(&invite, "bot");
        lab.request(&Method::Ack);
        lab.events.clear();
        (lab, invite)
    }

    /// An INVITE of the far end.
    pub(super) fn call_in(&mut self, branch: &str, headers: &str) -> Message {
        let invite = request_text("INVITE", branch, "<sip:alice@example.com>", 1, headers, OFFER);
        self.receive(invite.clone());
        Message::parse(Bytes::from(invite)).unwrap()
    }

    /// The number of the incoming call that is told of among the events so far.
    pub(super) fn incoming(&mut self) -> CallHandle {
        self.events()
            .into_iter()
            .find_map(|event| match event {
                UaEvent::Incoming { call, .. } => Some(call),
                _ => None,
            })
            .expect("a call comes in")
    }
}

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) by: EndedBy,
    pub(super) cause: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) error: Option<Error>,
}

pub(super) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.as_bytes()).into_owned()
}

pub(super) fn response(
    request: &Message,
    code: u16,
    phrase: Option<&str>,
    to_tag: &str,
    headers: &[(&str, &str)],
    sdp: bool,
) -> Bytes {
    let mut builder = MessageBuilder::response(request, status(code), phrase);
    if !to_tag.is_empty() {
        builder = builder.to_tag(to_tag);
    }
    for (name, value) in headers {
        let field = header(name, value);
        builder = builder.field(field.name, field.value);
    }
    if sdp {
        builder = builder.body(HeaderValue::from_static("application/sdp"), Bytes::from_static(ANSWER.as_bytes()));
    }
    builder.build()
}

/// A request of the far end, `Call-ID: in-1`, `From: …;tag=caller`.
pub(super) fn request_text(method: &str, branch: &str, to: &str, sequence: u32, headers: &str, sdp: &str) -> String {
    let content_type = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:alice@abc.invalid;transport=ws SIP/2.0\r\nVia: SIP/2.0/WS edge.invalid;branch={branch}\r\nFrom: \"Bot\" <sip:bot@example.com>;tag=caller\r\nTo: {to}\r\nCall-ID: in-1\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\nContact: <sip:bot@192.0.2.9:5060>\r\n{headers}{content_type}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// The value of `To` in a response of ours, tag included.
pub(super) fn to_of(message: &Message) -> String {
    message.header(Name::To).unwrap().into_owned()
}

impl Lab {
    /// A 200 to `request`, not yet received.
    pub(super) fn response_message(request: &Message) -> Message {
        let contact = [("Contact", "<sip:bot@192.0.2.1:5060>")];
        Message::parse(response(request, 200, None, "bot", &contact, true)).unwrap()
    }
}
