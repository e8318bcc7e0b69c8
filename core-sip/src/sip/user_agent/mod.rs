//! The user agent: registration and calls over one flow, without I/O, clock or randomness of its own.
//!
//! Whoever drives it hands in what happens ([`UserAgent::handle`]) and the time at which it happens, carries out what
//! comes out ([`UserAgent::poll_output`], until it gives nothing more), and calls again with [`Input::Timeout`] at
//! [`UserAgent::next_timeout`] at the latest:
//!
//! ```text
//! loop {
//!     while let Some(output) = agent.poll_output() { … open, close, send, tell … }
//!     select! {
//!         bytes = flow.receive()                   => agent.handle(now(), Input::Received { flow, bytes }),
//!         command = commands.next()                => agent.handle(now(), Input::Command(command)),
//!         () = sleep_until(agent.next_timeout())   => agent.handle(now(), Input::Timeout),
//!     }
//! }
//! ```
//!
//! A **flow** is one WebSocket. The user agent asks for one ([`Output::OpenFlow`]) when it is told to connect, to
//! register or to call, opens another when it is lost, and keeps it alive (RFC 5626). A confirmed call stays when its
//! flow is lost; its requests wait for the next flow, and there a re-INVITE or UPDATE shows the far end and the edge the
//! new way to us. A call that is still being set up ends, since its responses can only come on the flow that carried its
//! INVITE, which is called off on the next one.
//!
//! With [`UserAgentConfig::server`] it is the other side: one accepted flow, with a registrar, digests and calls as
//! an edge has them. `FlowOpened` then begins its life.
//!
//! Every outgoing call ends in exactly one [`UaEvent::Ended`], every incoming one too. No input makes it panic, and
//! what it holds is bounded ([`UserAgentLimits`]).

mod call;
mod client_request;
mod config;
mod digests;
mod early;
mod flow;
mod identity;
mod in_dialog;
mod incoming;
mod modify;
mod outgoing;
mod reason;
mod referral;
mod refusal;
mod register;
mod reoffer;
mod request;
mod server_request;
mod server_role;
mod session_timer;
#[cfg(test)]
mod tests;
mod timers;
mod transfer;

pub use config::{Backoff, CredentialLookup, ServerSettings, UserAgentConfig, UserAgentLimits, WebSocketScheme};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::event::{LogLevel, RegistrationState};
use crate::header_field::{HeaderField, HeaderValue};
use crate::ordered::OrderedMap;
use crate::random::Random;
use crate::sip::dialog::DialogId;
use crate::sip::message::{Message, StatusCode};
use crate::sip::registrar::Binding;
use crate::sip::sdp::Direction as MediaDirection;
use crate::time::Time;

use call::Call;
use client_request::{Client, Stranded};
use digests::Digests;
use flow::Flow;
use identity::Identity;
use register::Register;
use server_request::Server;
use server_role::Edge;
use timers::{Timer, Timers};

/// A timer that is handled so much later than it was due shows that the process, or the machine, was asleep.
const SLEPT_AFTER: Duration = Duration::from_secs(5);

/// One flow: a WebSocket, from its opening to its end. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// One call. Whoever places a call chooses its number, below 2³²; the user agent chooses those of incoming calls,
/// from 2³² on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallHandle(pub u64);

impl CallHandle {
    /// The first number of an incoming call.
    pub const FIRST_INCOMING: u64 = 1 << 32;
}

/// What happens to a user agent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// A flow that was asked for is open; in the server role: a flow was accepted.
    FlowOpened {
        /// Which.
        flow: FlowId,
    },
    /// A flow that was asked for did not open.
    FlowFailed {
        /// Which.
        flow: FlowId,
        /// Why.
        error: Error,
    },
    /// A flow is closed.
    FlowClosed {
        /// Which.
        flow: FlowId,
        /// Why, if it was not closed in order.
        error: Option<Error>,
    },
    /// A WebSocket message has come: one SIP message, or a keep-alive.
    Received {
        /// On which flow.
        flow: FlowId,
        /// The message.
        bytes: Bytes,
    },
    /// [`UserAgent::next_timeout`] has passed.
    Timeout,
    /// Somebody wants something.
    Command(Command),
}

/// What can be asked of a user agent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Open a flow and keep it, without registering.
    Connect,
    /// Open a flow, register, and stay registered.
    Register,
    /// Take the registration back.
    Unregister,
    /// Place a call.
    Invite {
        /// Its number, below 2³² and not in use.
        call: CallHandle,
        /// Whom to call. Sent as it is.
        target: String,
        /// Its Call-ID.
        call_id: String,
        /// Headers of the INVITE, sent as they are.
        headers: Vec<HeaderField>,
        /// The SDP offer.
        offer: String,
        /// The name shown in `From`.
        display_name: Option<String>,
    },
    /// Tell the caller of an incoming call that it rings (180).
    Ring {
        /// Which.
        call: CallHandle,
        /// Headers of the response.
        headers: Vec<HeaderField>,
    },
    /// Answer an incoming call (200).
    Answer {
        /// Which.
        call: CallHandle,
        /// The SDP answer; an offer if the INVITE had none.
        sdp: String,
        /// Headers of the response.
        headers: Vec<HeaderField>,
    },
    /// Refuse an incoming call.
    Reject {
        /// Which.
        call: CallHandle,
        /// With what; 603 if it is no failure status.
        status: StatusCode,
        /// A `Reason` text (RFC 3326).
        reason: Option<String>,
    },
    /// End a call: CANCEL before its answer, BYE after, 603 for an incoming one that is not answered.
    Hangup {
        /// Which.
        call: CallHandle,
        /// A `Reason` text (RFC 3326).
        reason: Option<String>,
    },
    /// Send an INFO in a call.
    Info {
        /// Which.
        call: CallHandle,
        /// The type of `body`.
        content_type: HeaderValue,
        /// What is sent.
        body: Bytes,
    },
    /// Put a call on hold (RFC 3264 §8.4), or take it back. [`UaEvent::HoldResult`] tells the outcome.
    Hold {
        /// Which.
        call: CallHandle,
        /// Whether it is to be held.
        held: bool,
    },
    /// Offer another session description in a call, such as one of other addresses or keys. Its origin is replaced by
    /// the one that the session began with, and its version rises. It takes the place of one that has not gone out yet,
    /// for want of a flow, say. [`UaEvent::OfferAnswered`] tells the outcome.
    Offer {
        /// Which.
        call: CallHandle,
        /// The offer.
        sdp: String,
    },
    /// Answer an offer of the far end in a call ([`UaEvent::Reoffered`]). If the flow was lost meanwhile, the answer
    /// becomes an offer of ours.
    AnswerOffer {
        /// Which.
        call: CallHandle,
        /// The SDP answer, or a status from 400 on to refuse it with.
        answer: core::result::Result<String, StatusCode>,
    },
    /// Send the far end to somebody else (REFER): a URI for a blind transfer, a [`UserAgent::replacement_uri`] for one to
    /// somebody who is spoken to already (attended transfer). [`UaEvent::TransferProgress`] tells how it gets on,
    /// [`UaEvent::TransferResult`] the outcome; when it has succeeded the call is ended.
    Transfer {
        /// Which.
        call: CallHandle,
        /// To whom, a URI.
        target: String,
    },
    /// Go where the far end of a call has sent us ([`UaEvent::Referred`]): calls whom it named, with `Referred-By`, and in
    /// place of the call that it named, if it did. The far end hears how it goes. That call stays; whoever gives this
    /// command ends it when the new one is up.
    Follow {
        /// The call whose far end has sent us.
        referral: CallHandle,
        /// The number of the call that is placed, below 2³² and not in use.
        call: CallHandle,
        /// Its Call-ID.
        call_id: String,
        /// Headers of the INVITE, sent as they are.
        headers: Vec<HeaderField>,
        /// The SDP offer.
        offer: String,
        /// The name shown in `From`.
        display_name: Option<String>,
    },
    /// Say that [`Command::Follow`] comes as soon as the program is ready, within 90 s: until then nobody is told that we do
    /// not go.
    AcceptReferral {
        /// The call whose far end has sent us.
        call: CallHandle,
    },
    /// Do not go where the far end of this call has sent us. It hears so, too, when nothing is said in time
    /// ([`UserAgentConfig::offer_answer_timeout`]).
    DeclineReferral {
        /// The call whose far end has sent us.
        call: CallHandle,
    },
    /// The process was asleep: see at once whether the flow still lives. The user agent notices by itself when a timer
    /// is handled 5 s late.
    Woke,
    /// The machine has other addresses than before: a flow over the old ones is replaced at once. While a call is being
    /// set up, which a new flow would end, the old one is probed first.
    NetworkChanged,
    /// Probe the flow now; [`UaEvent::FlowChecked`] tells the outcome.
    CheckFlow {
        /// Comes back in the event.
        id: u64,
    },
    /// End everything. What the far end should know is sent once, the flow is closed, and nothing comes out any more
    /// but what this made.
    Destroy,
}

/// What a user agent wants done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Output {
    /// Open a flow; [`Input::FlowOpened`] or [`Input::FlowFailed`] must follow.
    OpenFlow {
        /// Its number.
        flow: FlowId,
    },
    /// Close a flow, or stop opening it. Nothing about it needs to be told any more.
    CloseFlow {
        /// Which.
        flow: FlowId,
    },
    /// Send one WebSocket message.
    Send {
        /// On which flow.
        flow: FlowId,
        /// The message.
        bytes: Bytes,
    },
    /// Something happened.
    Event(UaEvent),
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// We did.
    Local,
    /// The far end did.
    Remote,
}

/// The way a traced message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We sent it.
    Sent,
    /// We received it.
    Received,
}

/// What a user agent tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UaEvent {
    /// The registration changed.
    Registration {
        /// Where it stands.
        state: RegistrationState,
        /// Which attempt this is, from 1, while attempts are repeated.
        attempt: Option<u32>,
        /// Why.
        error: Option<Error>,
        /// What the registrar granted.
        expires: Option<Duration>,
    },
    /// The flow is lost and will be opened again.
    Reconnecting {
        /// Which attempt this is, from 1.
        attempt: u32,
        /// When it starts.
        delay: Duration,
    },
    /// A flow is open.
    FlowUp,
    /// The flow is lost, closed, or did not open.
    FlowDown {
        /// Why, if it was not closed in order.
        error: Option<Error>,
    },
    /// The outcome of [`Command::CheckFlow`].
    FlowChecked {
        /// The command's.
        id: u64,
        /// Whether the far end answered in time.
        alive: bool,
    },
    /// An outgoing call got a provisional response other than 100.
    Provisional {
        /// Which.
        call: CallHandle,
        /// 180, 183 …
        status: StatusCode,
        /// The `To` tag: which of the branches of a forked call it comes from. Empty if it has none.
        remote_tag: String,
        /// Early media.
        sdp: Option<String>,
    },
    /// An outgoing call is answered; the ACK is sent.
    Accepted {
        /// Which.
        call: CallHandle,
        /// The SDP answer.
        sdp: Option<String>,
        /// The 2xx.
        message: Box<Message>,
    },
    /// An answered incoming call is acknowledged.
    Confirmed {
        /// Which.
        call: CallHandle,
        /// The SDP answer, if our 200 held the offer.
        sdp: Option<String>,
    },
    /// Somebody calls; 100 is sent.
    Incoming {
        /// The number that the call has from now on.
        call: CallHandle,
        /// The INVITE.
        message: Box<Message>,
        /// The SDP offer, if it has one.
        offer: Option<String>,
        /// The call whose place it takes (`Replaces`, RFC 3891): when this one is answered, that one is ended. Nobody
        /// needs to be asked who has taken that one.
        replaces: Option<CallHandle>,
    },
    /// A call is over.
    Ended {
        /// Which.
        call: CallHandle,
        /// Who ended it.
        by: EndedBy,
        /// The SIP status of a call that was not answered; the cause of the `Reason` header (SIP status or Q.850,
        /// RFC 3326) of the BYE or CANCEL with which the far end ended it.
        cause: Option<u16>,
        /// The text of the `Reason` header, else the reason phrase.
        reason: Option<String>,
        /// What failed, if something did.
        error: Option<Error>,
    },
    /// The far end sent an INFO with DTMF; it is answered.
    Info {
        /// In which call.
        call: CallHandle,
        /// `application/dtmf-relay` or `application/dtmf`.
        content_type: String,
        /// What it said.
        body: Bytes,
    },
    /// The outcome of [`Command::Info`].
    InfoResult {
        /// In which call.
        call: CallHandle,
        /// What came of it.
        result: Result<()>,
    },
    /// The far end of a call asks us to call somebody else (REFER, [`UserAgentConfig::accept_referrals`]);
    /// [`Command::Follow`], [`Command::AcceptReferral`] or [`Command::DeclineReferral`] must follow in time, else
    /// [`UaEvent::ReferralExpired`] does.
    Referred {
        /// In which call.
        call: CallHandle,
        /// Whom, a URI.
        target: String,
        /// The value of `Referred-By` (RFC 3892): who asks, as the far end says.
        referred_by: Option<String>,
    },
    /// It is too late to go where the far end of a call has sent us.
    ReferralExpired {
        /// In which call.
        call: CallHandle,
    },
    /// How a transfer gets on at the far end: what the one that it calls answers.
    TransferProgress {
        /// In which call.
        call: CallHandle,
        /// The SIP status.
        status: u16,
        /// Its phrase.
        phrase: String,
    },
    /// The outcome of [`Command::Transfer`]. A far end without the means gives
    /// [`crate::CallRefusal::TransferNotSupported`].
    TransferResult {
        /// In which call.
        call: CallHandle,
        /// What came of it.
        result: Result<()>,
    },
    /// Who sends in a call has changed: one of both ends holds it, or no longer does.
    Direction {
        /// In which call.
        call: CallHandle,
        /// What is left to us: `SendOnly` while we hold, `RecvOnly` or `Inactive` while the far end does.
        direction: MediaDirection,
        /// We do not want to hear the far end.
        held: bool,
        /// The far end does not want to hear us.
        held_by_far_end: bool,
    },
    /// The outcome of [`Command::Hold`].
    HoldResult {
        /// In which call.
        call: CallHandle,
        /// What came of it.
        result: Result<()>,
    },
    /// The outcome of [`Command::Offer`].
    OfferAnswered {
        /// In which call.
        call: CallHandle,
        /// The SDP answer.
        result: Result<String>,
    },
    /// The far end offers a change of codecs, addresses or keys; [`Command::AnswerOffer`] must follow.
    Reoffered {
        /// In which call.
        call: CallHandle,
        /// The SDP offer.
        offer: String,
    },
    /// The far end's answer to a refresh or a hold shows other codecs, addresses or keys than before: a media relay on
    /// the way was restarted, say. What is in use will not work any more; a new [`Command::Offer`] mends it.
    MediaMoved {
        /// In which call.
        call: CallHandle,
        /// The far end's description.
        sdp: String,
    },
    /// Server role: somebody registered, refreshed or left.
    Binding {
        /// The address of record.
        aor: String,
        /// Where it is reached; `None` when it left or expired.
        contact: Option<String>,
        /// For how long.
        expires: Duration,
    },
    /// A message went by, if the configuration asks for it.
    Trace {
        /// Which way.
        direction: Direction,
        /// The message.
        bytes: Bytes,
    },
    /// Something for the log. It holds no secret.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// What happened.
        message: String,
    },
}

/// One user agent; see the [module](self).
#[derive(Debug)]
pub struct UserAgent {
    config: UserAgentConfig,
    identity: Identity,
    random: RandomSource,
    outputs: VecDeque<Output>,
    timers: Timers,
    flow: Flow,
    register: Register,
    edge: Option<Edge>,
    digests: Digests,
    clients: OrderedMap<Arc<str>, Client>,
    /// INVITEs whose flow was lost before their final answer: they are called off on the next one.
    stranded: Vec<Stranded>,
    servers: OrderedMap<Arc<str>, Server>,
    calls: OrderedMap<CallHandle, Call>,
    ended_dialogs: VecDeque<DialogId>,
    kept_referral: Option<referral::KeptReferral>,
    next_incoming: u64,
    destroyed: bool,
}

/// The injected source of randomness, which shows nothing of itself.
struct RandomSource(Box<dyn Random>);

impl core::fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RandomSource")
    }
}

impl UserAgent {
    /// A user agent that does nothing yet. `random` must be unpredictable for whoever is not to take over its calls.
    #[must_use]
    pub fn new(config: UserAgentConfig, mut random: Box<dyn Random>) -> Self {
        let identity = Identity::new(&config, &mut *random);
        Self {
            identity,
            register: Register::new(&config, &mut *random),
            edge: config.server.clone().map(Edge::new),
            digests: Digests::new(&config),
            config,
            random: RandomSource(random),
            outputs: VecDeque::new(),
            timers: Timers::default(),
            flow: Flow::default(),
            clients: OrderedMap::new(),
            stranded: Vec::new(),
            servers: OrderedMap::new(),
            calls: OrderedMap::new(),
            ended_dialogs: VecDeque::new(),
            kept_referral: None,
            next_incoming: CallHandle::FIRST_INCOMING,
            destroyed: false,
        }
    }

    /// Takes in what happened at `now`, which must not be before the last one.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.destroyed {
            return;
        }
        if self.timers.next().is_some_and(|due| now.saturating_since(due) >= SLEPT_AFTER) {
            self.woke(now);
        }
        match input {
            Input::FlowOpened { flow } => self.flow_opened(now, flow),
            Input::FlowFailed { flow, error } => self.flow_failed(now, flow, &error),
            Input::FlowClosed { flow, error } => {
                let error = error.unwrap_or_else(|| Error::FlowLost { problem: "the other side closed it".to_owned() });
                self.flow_failed(now, flow, &error);
            }
            Input::Received { flow, bytes } => self.received(now, flow, bytes),
            Input::Timeout => {}
            Input::Command(command) => self.command(now, command),
        }
        // What came counts before what is due: after a pause of the whole process an answer that has arrived must not
        // be taken for missing.
        while !self.destroyed
            && let Some(timer) = self.timers.pop(now)
        {
            self.due(now, timer);
        }
        self.release_idle_flow();
    }

    /// What is to be done next. Call it until it gives `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Server role: who is registered at `now`.
    #[must_use]
    pub fn binding(&self, now: Time) -> Option<&Binding> {
        self.edge.as_ref()?.registrar.binding(now)
    }

    /// The `Contact` value that our calls carry.
    #[must_use]
    pub fn contact(&self) -> String {
        self.identity.contact()
    }

    fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Connect => {
                self.flow.connect = true;
                self.want_flow(now);
            }
            Command::Register => self.start_registering(now),
            Command::Unregister => self.unregister(now),
            Command::Invite { call, target, call_id, headers, offer, display_name } => {
                self.invite(now, call, outgoing::Invitation { target, call_id, headers, offer, display_name });
            }
            Command::Ring { call, headers } => self.ring(now, call, &headers),
            Command::Answer { call, sdp, headers } => self.answer(now, call, sdp, &headers),
            Command::Reject { call, status, reason } => self.reject(now, call, status, reason.as_deref()),
            Command::Hangup { call, reason } => self.hangup(now, call, reason),
            Command::Info { call, content_type, body } => self.info(now, call, content_type, body),
            Command::Hold { call, held } => self.hold(now, call, held),
            Command::Offer { call, sdp } => self.offer(now, call, sdp),
            Command::AnswerOffer { call, answer } => self.answer_offer(now, call, answer),
            Command::Transfer { call, target } => self.transfer(now, call, target),
            Command::Follow { referral, call, call_id, headers, offer, display_name } => {
                let target = String::new();
                let with = outgoing::Invitation { target, call_id, headers, offer, display_name };
                self.follow(now, referral, call, with);
            }
            Command::AcceptReferral { call } => self.accept_referral(now, call),
            Command::DeclineReferral { call } => self.decline_referral(now, call),
            Command::Woke => self.woke(now),
            Command::NetworkChanged => self.network_changed(now),
            Command::CheckFlow { id } => self.check_flow(now, id),
            Command::Destroy => self.destroy(now),
        }
    }

    fn due(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::Client(key) => self.client_transaction_due(now, &key),
            Timer::Server(key) => self.server_transaction_due(now, &key),
            Timer::NoAnswer(call) => self.no_answer(now, call),
            Timer::CancelGiveUp(call) => self.cancel_unanswered(now, call),
            Timer::Ring(call) => self.ringing_too_long(now, call),
            Timer::Provisional(call) => self.resend_provisional(now, call),
            Timer::Resend(call) => self.resend_success(now, call),
            Timer::FlowWait(call) => self.flow_waited_for(now, call),
            Timer::Change(call) => self.change_due(now, call),
            Timer::ChangeRetry(call) => self.try_change(now, call),
            Timer::Asked(call) => self.answer_offer(now, call, Err(StatusCode::NOT_ACCEPTABLE_HERE)),
            Timer::Transfer(call) => self.transfer_due(call),
            Timer::Referral(call) => self.referral_due(now, call),
            Timer::Session(call) => self.session_timer_due(now, call),
            Timer::Forget(call) => self.forget_call(call),
            Timer::FlowOpen => self.flow_not_opened(now),
            Timer::Reconnect => self.open_flow(now),
            Timer::KeepAlive => self.keep_alive(now),
            Timer::Pong => self.probe_unanswered(now),
            Timer::Refresh | Timer::RegisterRetry => self.send_register(now),
            Timer::RegisterAnswer => self.register_unanswered(now),
            Timer::Binding => self.binding_due(now),
        }
    }

    /// Tells the far end once what it should know, and closes. What has no answer yet gets none.
    fn destroy(&mut self, now: Time) {
        let calls: Vec<CallHandle> = self.calls.keys().copied().collect();
        for call in calls {
            self.destroy_call(now, call);
        }
        // A REGISTER without an answer may have made a binding already.
        let in_flight = self.clients.values().any(|client| client.purpose == client_request::Purpose::Register);
        if (self.register.is_known_to_registrar() || in_flight) && self.up_flow().is_some() {
            self.send_unregister(now);
        }
        if self.register.wanted {
            self.register.wanted = false;
            self.registration_event(RegistrationState::Unregistered, None, None, None);
        }
        self.close_flow();
        self.timers.clear();
        self.clients.clear();
        self.stranded.clear();
        self.servers.clear();
        self.calls.clear();
        self.kept_referral = None;
        self.destroyed = true;
    }

    fn emit(&mut self, event: UaEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn log(&mut self, level: LogLevel, message: impl Into<String>) {
        self.emit(UaEvent::Log { level, message: message.into() });
    }

    /// Puts `bytes` on the current flow. False if there is none.
    fn send(&mut self, bytes: Bytes) -> bool {
        let Some(flow) = self.up_flow() else { return false };
        if self.config.trace {
            self.emit(UaEvent::Trace { direction: Direction::Sent, bytes: bytes.clone() });
        }
        self.outputs.push_back(Output::Send { flow, bytes });
        true
    }
}
