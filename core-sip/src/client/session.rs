//! [`ClientSession`]: the client without I/O.

mod hold;
mod prepare;
mod quality_warnings;
mod recovery;
mod second;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::SipClientConfig;
use crate::error::{Error, MediaFault, Result};
use crate::event::{
    CallEvent, CallState, DtmfEvent, Event, HoldEvent, IceEvent, IceState, IncomingCallEvent, LanguageEvent, LogEvent,
    LogLevel, MetricsEvent, QualityEvent, QualityMeasure, ReconnectingEvent, RegistrationEvent, RegistrationState,
    TransferEvent, TransferRequestedEvent,
};
use crate::header_field::{HeaderField, HeaderName, HeaderValue};
use crate::json::{Map, Value};
use crate::media::jitter_buffer;
use crate::media::quality::{self, CodecImpairment};
use crate::media::{MediaNotice, MediaSettings, MediaStatistics};
use crate::metadata::{
    ApplicationName, CallHeaders, CallTag, CustomerData, DisplayNames, IncomingParties, LanguageTag, Party,
    ReceivedMetadata, check_extra_headers, new_call_id,
};
use crate::random::Random;
use crate::sip::message::{Message, StatusCode};
use crate::sip::sdp::Direction;
use crate::sip::uri::Uri;
use crate::sip::user_agent::{
    CallHandle, Command, FlowId, Input, Output, UaEvent, UserAgent, UserAgentConfig, WebSocketScheme,
};
use crate::time::{Time, micros_of};

/// How long after the first audio packet of a call its first `metrics` come: enough packets for figures that mean
/// something.
pub const FIRST_METRICS_AFTER: Duration = Duration::from_secs(1);
/// How often `metrics` are reported in a call.
pub const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// How long a key sounds at the far end (RFC 4733 and INFO).
pub const DTMF_DURATION: Duration = Duration::from_millis(160);

/// How long the media engine may take to make an offer or an answer. It is long, since a person may first have to allow
/// the microphone.
pub const MEDIA_PREPARATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long what [`ClientCommand::Prepare`] made is kept: it holds sockets and the microphone, and NATs forget. An offer that
/// was made after the registration is renewed after so long if STUN or TURN gave it addresses, and tried again after so long
/// if it could not be made.
pub const PREPARED_FOR: Duration = Duration::from_secs(60);

/// The headers of a call, longer names and more of them than this are not sent.
const EXTRA_HEADERS_LIMIT: usize = 64;

/// Names a command, so that its answer can be told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// What a program wants of the client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientCommand {
    /// Connect and register. Answered when the registrar has said yes or no, or when the first attempt has failed; the
    /// client then keeps trying in the background, as configured.
    Register,
    /// Give the registration up and stop reconnecting.
    Unregister,
    /// Make the media session and the offer of the next call in advance, so that its INVITE goes out at once. Answered
    /// when the offer is there; it is kept for [`PREPARED_FOR`].
    Prepare,
    /// Call. Registers first if need be. Answered with [`Reply::CallId`] when the INVITE is on its way.
    StartCall(Box<StartCall>),
    /// End the call, whatever its state. It is over here at once; answered when the far end knows.
    Hangup {
        /// Why, for the far end (RFC 3326 `Reason`).
        reason: Option<String>,
    },
    /// Take the incoming call. Answered when it is up.
    AcceptIncomingCall(AcceptCall),
    /// Refuse the incoming call with 486.
    RejectIncomingCall {
        /// Why, for the far end (RFC 3326 `Reason`).
        reason: Option<String>,
    },
    /// Send silence, or no longer.
    SetMuted(bool),
    /// Hear silence, or no longer.
    SetSpeakerMuted(bool),
    /// Press a key: `0` to `9`, `*`, `#`, `A` to `D`.
    SendDtmf(char),
    /// Put the call on hold. Answered when the far end has agreed.
    Hold,
    /// Take the call back.
    Unhold,
    /// Send the far end to somebody else, by REFER. Answered when it is there; the call then ends.
    Transfer {
        /// To whom, a SIP URI with a user part; of a [`Reply::Uri`] for an attended transfer.
        target_uri: String,
    },
    /// The URI with which somebody else takes our place at the far end of the call that is up (RFC 3891), to be given to
    /// [`ClientCommand::Transfer`] of another client. Answered with [`Reply::Uri`].
    ReplacementUri,
    /// Go where the far end has asked us to go ([`Event::TransferRequested`]). Answered with [`Reply::CallId`] when the
    /// INVITE is on its way. When the new call is up, the old one ends; if it does not come about, the old one goes on.
    AcceptTransfer,
    /// Do not go there. The far end hears so, too, when neither is said within 10 s.
    RejectTransfer,
    /// The machine's network is another one: the connection is made anew and ICE restarts.
    NetworkChanged,
    /// Ask whether the edge still answers. Answered with [`Reply::Alive`].
    CheckConnection,
    /// Set the language of the calls to come.
    SetLanguage(LanguageTag),
    /// Name the application behind the configured target, for this call's further events and for calls to come: a name
    /// that is looked up may arrive when the call has begun already.
    SetTargetApplicationName(Option<ApplicationName>),
    /// End everything. No other command works afterwards.
    Destroy,
}

/// How to call. Everything that is `None` comes from the configuration.
#[derive(Debug, Clone, Default)]
pub struct StartCall {
    /// The call's language.
    pub language: Option<LanguageTag>,
    /// Who is calling and why. Replaces the configured data as a whole.
    pub customer_data: Option<CustomerData>,
    /// Whom to call.
    pub target_uri: Option<String>,
    /// Headers added to those of the configuration.
    pub extra_headers: Vec<HeaderField>,
}

/// How to take a call.
#[derive(Debug, Clone, Default)]
pub struct AcceptCall {
    /// The call's language.
    pub language: Option<LanguageTag>,
}

/// The answer to a command that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// The Call-ID of the call that was begun.
    CallId(String),
    /// Whether the edge answers.
    Alive(bool),
    /// A URI.
    Uri(String),
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientInput {
    /// The flow asked for by [`ClientOutput::OpenFlow`] is open.
    FlowOpened {
        /// Which one.
        flow: FlowId,
    },
    /// The flow could not be opened.
    FlowFailed {
        /// Which one.
        flow: FlowId,
        /// Why.
        error: Error,
    },
    /// The flow is closed.
    FlowClosed {
        /// Which one.
        flow: FlowId,
        /// Why, if it was not closed in an orderly way.
        error: Option<Error>,
    },
    /// One WebSocket message came.
    Received {
        /// On which flow.
        flow: FlowId,
        /// Its bytes.
        bytes: Bytes,
    },
    /// [`ClientSession::next_timeout`] has passed.
    Timeout,
    /// A program wants something.
    Command {
        /// Comes back in [`ClientOutput::CommandDone`].
        id: CommandId,
        /// What it wants.
        command: ClientCommand,
    },
    /// The driver found that the machine's network is another one.
    NetworkChanged,
    /// The driver found that the process was asleep: the wall clock went on while the monotonic one stood still.
    Woke,
    /// The media engine answers or reports.
    Media {
        /// Of which call.
        call: CallHandle,
        /// What.
        reply: MediaReply,
    },
}

/// What is to be done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientOutput {
    /// Open a connection to the edge.
    OpenFlow {
        /// Its name from now on.
        flow: FlowId,
    },
    /// Close it.
    CloseFlow {
        /// Which one.
        flow: FlowId,
    },
    /// Send one WebSocket message.
    Send {
        /// On which flow.
        flow: FlowId,
        /// Its bytes.
        bytes: Bytes,
    },
    /// An order to the media session of a call. Orders of one call are carried out one after the other.
    Media {
        /// Of which call.
        call: CallHandle,
        /// What to do.
        command: MediaCommand,
    },
    /// A command is answered.
    CommandDone {
        /// Which one.
        id: CommandId,
        /// How it went.
        result: Result<Reply>,
    },
    /// Something for the program to know.
    Event(Event),
}

/// An order to a call's media session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MediaCommand {
    /// Make the session, then an offer; answered with [`MediaReply::Offer`].
    CreateOffer(MediaSettings),
    /// Make the session, then an answer to this offer; answered with [`MediaReply::Answer`].
    ///
    /// If there is a session already, the offer changes its codecs, addresses or keys, and the answer is to fit: with
    /// what there is, or with a new peer connection that takes the place of the old one. The `o=` line of the answer
    /// need not go on where the last one was; the user agent sees to that. An order to restart that has not been answered
    /// by the far end is over with it.
    CreateAnswer(MediaSettings, String),
    /// Take the far end's answer to the last offer; answered with [`MediaReply::AnswerTaken`].
    AcceptAnswer(String),
    /// Make another offer in a running session, by which it moves to the machine's present addresses: an ICE restart, or
    /// a new peer connection beside the old one; answered with [`MediaReply::Offer`]. The old path goes on until the
    /// answer is taken and, where it can, until the new one is up. The audio goes over without a break of its own.
    Restart(MediaSettings),
    /// The offer that [`MediaCommand::Restart`] made is not answered: what was before goes on. Without an offer that is
    /// out, nothing is to be done.
    Rollback,
    /// Who sends (RFC 3264 §8.4). `SendRecv`: both, as at the beginning. `SendOnly`: we hold the call, silence goes out
    /// instead of the source and nothing is played. `RecvOnly`: the far end holds it, nothing goes out, what comes is
    /// played. `Inactive`: neither. Mute is another matter and stays.
    SetDirection(Direction),
    /// Send silence, or no longer.
    SetMuted(bool),
    /// Hear silence, or no longer.
    SetSpeakerMuted(bool),
    /// Send a key; answered with [`MediaReply::DtmfSent`].
    SendDtmf(CommandId, char),
    /// Open the audio that [`MediaSettings::audio_later`] put off; answered with [`MediaReply::AudioOpened`].
    OpenAudio,
    /// Read the statistics; answered with [`MediaReply::Statistics`].
    ReadStatistics,
    /// End the session. No order follows.
    Close,
}

/// What a call's media session answers or reports.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MediaReply {
    /// The offer to send.
    Offer(Result<String>),
    /// The answer to send.
    Answer(Result<String>),
    /// Whether the far end's answer could be used.
    AnswerTaken(Result<()>),
    /// Whether the key could be sent by RFC 4733.
    DtmfSent(CommandId, char, Result<bool>),
    /// Whether the audio could be opened.
    AudioOpened(Result<()>),
    /// How the session is doing.
    Statistics(MediaStatistics),
    /// What the session noticed by itself. In a call that is up, a failed path is mended if it can be.
    Notice(MediaNotice),
}

/// The one call of a client.
#[derive(Debug)]
struct Call {
    handle: CallHandle,
    state: CallState,
    step: Step,
    call_id: String,
    tag: CallTag,
    display: DisplayNames,
    application_name: Option<ApplicationName>,
    customer_data: Option<Arc<CustomerData>>,
    language: LanguageTag,
    headers: Vec<HeaderField>,
    target: String,
    /// Who waits for the call to begin (`start_call`) or to be taken (`accept_incoming_call`).
    waiting: Option<CommandId>,
    /// The answer that the media session has, if it came before the final response.
    early: Option<EarlyAnswer>,
    ice: Option<IceState>,
    statistics: MediaStatistics,
    last_packet: Time,
    silence_reported: bool,
    /// Since when the microphone has given nothing, as far as that is known.
    microphone_silent_since: Option<Time>,
    /// An audio packet has come.
    heard: bool,
    next_metrics: Option<Time>,
    /// When the media engine must have made our description.
    media_due: Option<Time>,
    recovery: recovery::Recovery,
    hold: hold::Hold,
    /// In what respects it is bad.
    bad: Vec<QualityMeasure>,
    /// Who waits for the far end to be transferred.
    transfer_waiting: Option<CommandId>,
    /// Whom the far end asks us to call.
    referred_to: Option<String>,
    /// It follows a REFER in the call that it is to take the place of.
    follows: Option<CallHandle>,
    /// What the program asked for, to try once more if the flow is lost before the answer.
    start: StartCall,
    /// This call is the second try.
    is_second_try: bool,
    /// It must have found a connection by then.
    second_try_until: Option<Time>,
    span: tracing::Span,
}

/// What events tell of a call.
impl Call {
    #[inline(never)]
    fn id(&self) -> Option<String> {
        Some(self.call_id.clone())
    }

    #[inline(never)]
    fn tag(&self) -> Option<String> {
        Some(self.tag.as_str().to_owned())
    }

    #[inline(never)]
    fn application(&self) -> Option<String> {
        self.application_name.as_ref().map(|name| name.as_str().to_owned())
    }
}

/// An answer in a provisional response.
#[derive(Debug)]
struct EarlyAnswer {
    /// The far end's tag: which branch of a forked call it came from; empty if it gave none.
    remote_tag: String,
    sdp: String,
}

/// How far the call has come. What the program sees is [`CallState`].
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// An outgoing call waits for registration, for its offer, or for both.
    Preparing { offer: Option<String> },
    /// INVITE is on its way; the media session has taken an early answer or none.
    Inviting,
    /// The far end has answered; the media session looks at its answer.
    TakingAnswer,
    /// An incoming call waits for the program.
    Offered { offer: Option<String> },
    /// The media session makes our answer.
    Answering,
    /// Our 200 is on its way.
    Answered {
        /// It holds our offer, since the INVITE had none; the ACK must hold the answer.
        offered: bool,
    },
    /// The call is up.
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registration {
    None,
    Underway,
    Registered,
}

/// The client without I/O: settings, call metadata, SIP and the course of media brought together.
///
/// ```text
///   commands ──►┌───────────────┐──► events, answers to commands
///   bytes ─────►│ ClientSession │──► bytes
///   media ─────►│  (UserAgent)  │──► orders to the media engine
///   time ──────►└───────────────┘──► next_timeout()
/// ```
///
/// A driver hands in what happened ([`handle`](Self::handle)), then takes every [`ClientOutput`] until there is none,
/// then sleeps until [`next_timeout`](Self::next_timeout) or the next input.
#[derive(Debug)]
pub struct ClientSession {
    config: SipClientConfig,
    user_agent: UserAgent,
    random: RandomBox,
    now: Time,
    unix_ms_at_origin: u64,
    language: LanguageTag,
    muted: bool,
    speaker_muted: bool,
    registration: Registration,
    call: Option<Call>,
    /// The call whose place `call` is to take: it goes on until that one is up.
    left: Option<Box<Call>>,
    prepared: Option<prepare::Prepared>,
    /// When an offer is made in advance again, after one could not be made.
    prepare_again_at: Option<Time>,
    next_call: u64,
    register_waiting: Vec<CommandId>,
    unregister_waiting: Vec<CommandId>,
    /// Who waits for the far end to know that a call is over.
    ending: Vec<(CallHandle, CommandId)>,
    /// Keys on their way to the media session.
    dtmf_waiting: Vec<CommandId>,
    /// Keys on their way by INFO.
    info_waiting: VecDeque<(CallHandle, CommandId)>,
    check_waiting: Vec<CommandId>,
    /// There is a connection to the edge.
    flow_up: bool,
    output: VecDeque<ClientOutput>,
    destroyed: bool,
}

struct RandomBox(Box<dyn Random>);

impl core::fmt::Debug for RandomBox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Random")
    }
}

impl ClientSession {
    /// A client with these settings. The user agent and the client draw from a random source each.
    /// `unix_ms_at_origin` is the wall-clock time, in milliseconds since 1970 UTC, that belongs to [`Time::ZERO`].
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with all that is wrong.
    pub fn new(
        config: SipClientConfig,
        user_agent_random: Box<dyn Random>,
        random: Box<dyn Random>,
        unix_ms_at_origin: u64,
    ) -> Result<Self> {
        config.validate()?;
        let user_agent = UserAgent::new(user_agent_config(&config), user_agent_random);
        Ok(Self {
            language: config.default_language.clone(),
            config,
            user_agent,
            random: RandomBox(random),
            now: Time::ZERO,
            unix_ms_at_origin,
            muted: false,
            speaker_muted: false,
            registration: Registration::None,
            call: None,
            left: None,
            prepared: None,
            prepare_again_at: None,
            next_call: 1,
            register_waiting: Vec::new(),
            unregister_waiting: Vec::new(),
            ending: Vec::new(),
            dtmf_waiting: Vec::new(),
            info_waiting: VecDeque::new(),
            check_waiting: Vec::new(),
            flow_up: false,
            output: VecDeque::new(),
            destroyed: false,
        })
    }

    /// Where the call stands; [`CallState::Idle`] if there is none.
    #[must_use]
    pub fn state(&self) -> CallState {
        self.call.as_ref().map_or(CallState::Idle, |call| call.state)
    }

    /// The language of calls that ask for none.
    #[must_use]
    pub fn language(&self) -> &LanguageTag {
        &self.language
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SipClientConfig {
        &self.config
    }

    /// When [`ClientInput::Timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let metrics = self.call.as_ref().and_then(|call| call.next_metrics);
        let media = self.call.as_ref().and_then(|call| call.media_due);
        let recovery = self.call.as_ref().and_then(|call| call.recovery.next_timeout());
        let prepared = self.prepared.as_ref().and_then(prepare::Prepared::until).or(self.prepare_again_at);
        let second_try = self.call.as_ref().and_then(|call| call.second_try_until);
        [metrics, media, recovery, second_try, prepared, self.user_agent.next_timeout()].into_iter().flatten().min()
    }

    /// What is to be done next, until there is nothing.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.output.pop_front()
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: Time, input: ClientInput) {
        self.now = self.now.max(now);
        match input {
            ClientInput::FlowOpened { flow } => self.agent(Input::FlowOpened { flow }),
            ClientInput::FlowFailed { flow, error } => self.agent(Input::FlowFailed { flow, error }),
            ClientInput::FlowClosed { flow, error } => self.agent(Input::FlowClosed { flow, error }),
            ClientInput::Received { flow, bytes } => self.agent(Input::Received { flow, bytes }),
            ClientInput::Timeout => {
                self.agent(Input::Timeout);
                self.metrics_due();
                self.media_preparation_due();
                self.recovery_due();
                self.second_try_due();
                self.prepared_due();
            }
            ClientInput::Command { id, command } => self.command(id, command),
            ClientInput::Media { call, reply } => self.media(call, reply),
            ClientInput::NetworkChanged => self.network_changed(),
            ClientInput::Woke => self.agent(Input::Command(Command::Woke)),
        }
    }

    fn command(&mut self, id: CommandId, command: ClientCommand) {
        if self.destroyed {
            let result =
                if matches!(command, ClientCommand::Destroy) { Ok(Reply::Done) } else { Err(Error::Destroyed) };
            return self.done(id, result);
        }
        match command {
            ClientCommand::Register => self.register(id),
            ClientCommand::Unregister => {
                let underway = !self.unregister_waiting.is_empty();
                if self.registration == Registration::None && !underway {
                    self.agent(Input::Command(Command::Unregister));
                    return self.done(id, Ok(Reply::Done));
                }
                self.unregister_waiting.push(id);
                // From now on nothing may count on the registration, whenever the registrar confirms that it is gone.
                self.registration = Registration::None;
                if !underway {
                    self.agent(Input::Command(Command::Unregister));
                }
            }
            ClientCommand::Prepare => self.prepare(id),
            ClientCommand::StartCall(start) => {
                if let Err(error) = self.start_call(id, *start) {
                    self.done(id, Err(error));
                }
            }
            ClientCommand::Hangup { reason } => self.hangup(id, reason),
            ClientCommand::AcceptIncomingCall(accept) => self.accept(id, accept),
            ClientCommand::RejectIncomingCall { reason } => self.reject(id, reason),
            ClientCommand::SetMuted(muted) => {
                self.muted = muted;
                self.order_all_media(&MediaCommand::SetMuted(muted));
                self.done(id, Ok(Reply::Done));
            }
            ClientCommand::SetSpeakerMuted(muted) => {
                self.speaker_muted = muted;
                self.order_all_media(&MediaCommand::SetSpeakerMuted(muted));
                self.done(id, Ok(Reply::Done));
            }
            ClientCommand::SendDtmf(tone) => self.send_dtmf(id, tone),
            ClientCommand::Hold => self.set_hold(id, true),
            ClientCommand::Unhold => self.set_hold(id, false),
            ClientCommand::Transfer { target_uri } => self.transfer(id, target_uri),
            ClientCommand::ReplacementUri => self.replacement_uri(id),
            ClientCommand::AcceptTransfer => self.accept_transfer(id),
            ClientCommand::RejectTransfer => self.reject_transfer(id),
            ClientCommand::NetworkChanged => {
                self.network_changed();
                self.done(id, Ok(Reply::Done));
            }
            ClientCommand::CheckConnection => {
                self.check_waiting.push(id);
                self.agent(Input::Command(Command::CheckFlow { id: id.0 }));
            }
            ClientCommand::SetLanguage(language) => {
                if language != self.language {
                    self.language = language;
                    self.event(Event::Language(LanguageEvent { language: self.language.to_string() }));
                }
                self.done(id, Ok(Reply::Done));
            }
            ClientCommand::SetTargetApplicationName(name) => {
                self.set_target_application_name(name);
                self.done(id, Ok(Reply::Done));
            }
            ClientCommand::Destroy => self.destroy(id),
        }
    }

    /// Headers that have been sent stay as they are; what comes from now on has the name.
    fn set_target_application_name(&mut self, name: Option<ApplicationName>) {
        self.config.target_application_name = name;
        let name = &self.config.target_application_name;
        // The target of an incoming call is empty: its caller's names count.
        if let Some(call) = self.call.as_mut().filter(|call| call.target == self.config.target_uri) {
            let uri = Uri::parse(&call.target).ok();
            let user = uri.as_ref().and_then(|uri| uri.user());
            call.display = DisplayNames::outgoing(&call.tag, name.as_ref(), user);
            call.application_name.clone_from(name);
        }
    }

    // ---- registration -------------------------------------------------------------------------------------------

    fn register(&mut self, id: CommandId) {
        match self.registration {
            Registration::Registered => self.done(id, Ok(Reply::Done)),
            // A person who asks again while the client waits for its next try wants it now.
            Registration::Underway | Registration::None => {
                self.register_waiting.push(id);
                self.agent(Input::Command(Command::Register));
            }
        }
    }

    fn registration_event(&mut self, state: RegistrationState, attempt: Option<u32>, error: Option<Error>) {
        self.registration = match state {
            RegistrationState::Registering => Registration::Underway,
            RegistrationState::Registered => Registration::Registered,
            RegistrationState::Unregistered | RegistrationState::Failed => Registration::None,
        };
        if self.registration == Registration::None {
            self.forget_own_preparation();
        }
        let (level, message) = match (state, &error) {
            (_, Some(_)) => (LogLevel::Error, "registration failed"),
            (RegistrationState::Registering, None) => (LogLevel::Debug, "registering"),
            (RegistrationState::Registered, None) => (LogLevel::Info, "registered"),
            (_, None) => (LogLevel::Info, "not registered"),
        };
        let mut context = Map::new();
        put(&mut context, "domain", self.config.domain.as_str());
        put(&mut context, "user", self.config.username.as_str());
        self.log(level, message, context, error.as_ref());
        self.event(Event::Registration(RegistrationEvent {
            state,
            attempt,
            reason: error.as_ref().map(ToString::to_string),
            error: error.clone(),
        }));
        if matches!(state, RegistrationState::Registering | RegistrationState::Registered) {
            // Whoever takes the registration back while it is wanted again gets no other answer.
            for id in std::mem::take(&mut self.unregister_waiting) {
                let problem = "the client was told to register again meanwhile";
                self.refuse(id, "unregister", problem);
            }
        }
        match (state, error) {
            (RegistrationState::Registered, _) => {
                for id in std::mem::take(&mut self.register_waiting) {
                    self.done(id, Ok(Reply::Done));
                }
                self.invite_if_ready();
                self.prepare_by_itself();
            }
            (RegistrationState::Unregistered, None) => {
                for id in std::mem::take(&mut self.unregister_waiting) {
                    self.done(id, Ok(Reply::Done));
                }
                let problem = "the client was told to unregister meanwhile; register again";
                self.registration_attempt_failed(&Error::WrongState { operation: "register", problem }, true);
            }
            (_, Some(error)) => {
                for id in std::mem::take(&mut self.unregister_waiting) {
                    self.done(id, Err(error.clone()));
                }
                self.registration_attempt_failed(&error, state == RegistrationState::Failed);
            }
            (_, None) => {}
        }
    }

    /// Whoever waits for this attempt hears that it failed; the user agent may well try again by itself.
    fn registration_attempt_failed(&mut self, error: &Error, last: bool) {
        for id in std::mem::take(&mut self.register_waiting) {
            self.done(id, Err(error.clone()));
        }
        if matches!(&self.call, Some(Call { step: Step::Preparing { .. }, .. }))
            && self.registration != Registration::Registered
            && (last || self.call.as_ref().is_some_and(|call| call.second_try_until.is_none()))
        {
            self.end_call(CallState::Error, None, None, Some(error.clone()));
        }
    }

    // ---- calls --------------------------------------------------------------------------------------------------

    fn start_call(&mut self, id: CommandId, start: StartCall) -> Result<()> {
        if self.call.is_some() {
            return Err(Error::WrongState {
                operation: "start_call",
                problem: "there is a call already; hang up first",
            });
        }
        self.place_call(Some(id), start, None, None)
    }

    /// Places a call; `instead_of` is the Call-ID of one that lost its flow before it was answered, `follows` the call
    /// whose far end has sent us.
    fn place_call(
        &mut self,
        id: Option<CommandId>,
        start: StartCall,
        instead_of: Option<&str>,
        follows: Option<CallHandle>,
    ) -> Result<()> {
        let language = start.language.clone().unwrap_or_else(|| self.language.clone());
        let customer_data = start.customer_data.clone().or_else(|| self.config.customer_data.clone());
        let target = start.target_uri.clone().unwrap_or_else(|| self.config.target_uri.clone());
        crate::config::validate_target_uri("targetUri", &target)?;
        let call_id = new_call_id(&mut *self.random.0);
        let tag = CallTag::from_call_id(&call_id);
        // The configured name belongs to the configured target; another target has a name of its own, unknown here.
        let application_name =
            (target == self.config.target_uri).then(|| self.config.target_application_name.clone()).flatten();
        let target_user = Uri::parse(&target)?.user().map(str::to_owned);
        let display = DisplayNames::outgoing(&tag, application_name.as_ref(), target_user.as_deref());
        let mut headers = CallHeaders {
            customer_data: customer_data.as_ref(),
            user_to_user_encoding: self.config.user_to_user_encoding,
            customer_data_limit_bytes: self.config.customer_data_limit_bytes,
            display_names: &display,
            tag: &tag,
            application: application_name.as_ref(),
            language: &language,
        }
        .to_fields()?;
        check_extra_headers(&start.extra_headers)?;
        headers.extend(self.config.extra_headers.iter().chain(&start.extra_headers).cloned());
        if headers.len() > EXTRA_HEADERS_LIMIT {
            return Err(Error::HeaderNotAllowed {
                name: "extraHeaders".to_owned(),
                problem: format!(
                    "{} headers are more than the {EXTRA_HEADERS_LIMIT} that a call may carry",
                    headers.len()
                ),
            });
        }
        if let Some(before) = instead_of {
            let name = "In-Reply-To";
            headers.push(HeaderField { name: HeaderName::from_static(name), value: HeaderValue::sanitized(before) });
        }
        let prepared = self.take_prepared();
        let handle = match &prepared {
            Some(prepared) => prepared.handle(),
            None => self.new_handle(),
        };
        let span = call_span(&tag, &call_id, &display);
        self.call = Some(Call {
            handle,
            state: CallState::Connecting,
            step: Step::Preparing { offer: prepared.as_ref().and_then(|prepared| prepared.offer.clone()) },
            call_id,
            tag,
            display,
            application_name,
            customer_data: customer_data.map(Arc::new),
            language,
            headers,
            target,
            waiting: id,
            early: None,
            ice: None,
            statistics: MediaStatistics::default(),
            last_packet: self.now,
            silence_reported: false,
            microphone_silent_since: None,
            heard: false,
            next_metrics: None,
            media_due: prepared
                .as_ref()
                .filter(|prepared| prepared.offer.is_none())
                .map(|_| self.now + MEDIA_PREPARATION_TIMEOUT),
            recovery: recovery::Recovery::default(),
            hold: hold::Hold::default(),
            bad: Vec::new(),
            transfer_waiting: None,
            referred_to: None,
            follows,
            start,
            is_second_try: instead_of.is_some(),
            second_try_until: instead_of.map(|_| self.now + self.config.flow_wait),
            span,
        });
        self.log_call("calling");
        match prepared {
            None => self.order_media(MediaCommand::CreateOffer(self.media_settings())),
            // The INVITE does not wait for it.
            Some(prepared) if prepared.audio_is_closed => self.order_media(MediaCommand::OpenAudio),
            Some(_) => {}
        }
        if self.registration == Registration::Registered {
            self.set_state(CallState::Connecting);
            self.invite_if_ready();
        } else {
            self.set_state(CallState::Registering);
            self.agent(Input::Command(Command::Register));
        }
        Ok(())
    }

    /// The INVITE goes out as soon as there is a registration and an offer.
    fn invite_if_ready(&mut self) {
        let registered = self.registration == Registration::Registered;
        let Some(call) = &mut self.call else { return };
        let Step::Preparing { offer } = &mut call.step else { return };
        if !registered {
            return;
        }
        let Some(offer) = offer.take() else {
            if call.state == CallState::Registering {
                self.set_state(CallState::Connecting);
            }
            return;
        };
        call.step = Step::Inviting;
        call.second_try_until = None;
        let (handle, call_id, headers) = (call.handle, call.call_id.clone(), std::mem::take(&mut call.headers));
        let command = match call.follows {
            Some(referral) => Command::Follow { referral, call: handle, call_id, headers, offer, display_name: None },
            None => {
                let target = call.target.clone();
                Command::Invite { call: handle, target, call_id, headers, offer, display_name: None }
            }
        };
        let waiting = call.waiting.take();
        let call_id = call.call_id.clone();
        if call.state == CallState::Registering {
            self.set_state(CallState::Connecting);
        }
        // Answered first: if the user agent refuses at once, the program has the Call-ID that the event speaks of.
        if let Some(id) = waiting {
            self.done(id, Ok(Reply::CallId(call_id)));
        }
        self.agent(Input::Command(command));
    }

    fn hangup(&mut self, id: CommandId, reason: Option<String>) {
        // Whoever hangs up on the way from one call to another wants neither.
        self.end_left("hung up");
        let Some(call) = &self.call else {
            return self.refuse(id, "hangup", "there is no call");
        };
        let handle = call.handle;
        if matches!(call.step, Step::Preparing { .. }) {
            self.done(id, Ok(Reply::Done));
            return self.end_call(CallState::Ended, Some("cancelled before it was sent".to_owned()), None, None);
        }
        self.ending.push((handle, id));
        let unanswered = matches!(call.step, Step::Inviting);
        // The person is done with it: the call is over here at once, whatever the far end does and when. The user agent
        // sees to it that the far end hears of it, also where its answer crosses our CANCEL.
        let cause = unanswered.then_some(StatusCode::REQUEST_TERMINATED.as_u16());
        self.end_call(CallState::Ended, reason.clone(), cause, None);
        self.agent(Input::Command(Command::Hangup { call: handle, reason }));
    }

    fn accept(&mut self, id: CommandId, accept: AcceptCall) {
        let settings = self.media_settings();
        if matches!(&self.call, Some(Call { step: Step::Offered { .. }, .. })) {
            // It holds the microphone.
            self.drop_prepared();
        }
        let Some(Call { step: Step::Offered { offer }, .. }) = &mut self.call else {
            return self.refuse(id, "accept_incoming_call", "there is no incoming call");
        };
        let offer = offer.take();
        let Some(call) = &mut self.call else { return };
        call.step = Step::Answering;
        call.waiting = Some(id);
        if let Some(language) = accept.language {
            call.language = language;
        }
        match offer {
            Some(offer) => self.order_media(MediaCommand::CreateAnswer(settings, offer)),
            None => self.order_media(MediaCommand::CreateOffer(settings)),
        }
    }

    fn reject(&mut self, id: CommandId, reason: Option<String>) {
        let Some(Call { step: Step::Offered { .. }, handle, .. }) = &self.call else {
            return self.refuse(id, "reject_incoming_call", "there is no incoming call");
        };
        let handle = *handle;
        self.ending.push((handle, id));
        self.agent(Input::Command(Command::Reject { call: handle, status: StatusCode::BUSY_HERE, reason }));
    }

    fn send_dtmf(&mut self, id: CommandId, tone: char) {
        let tone = tone.to_ascii_uppercase();
        if !matches!(tone, '0'..='9' | '*' | '#' | 'A'..='D') {
            return self.refuse(id, "send_dtmf", "keys are 0 to 9, *, # and A to D");
        }
        if !matches!(&self.call, Some(Call { step: Step::Up, .. })) {
            return self.refuse(id, "send_dtmf", "keys can be pressed in a connected call only");
        }
        self.dtmf_waiting.push(id);
        self.order_media(MediaCommand::SendDtmf(id, tone));
    }

    fn destroy(&mut self, id: CommandId) {
        self.end_left("the client is destroyed");
        if self.call.is_some() {
            self.end_call(CallState::Ended, Some("the client is destroyed".to_owned()), None, None);
        }
        self.prepare_again_at = None;
        self.drop_prepared();
        self.agent(Input::Command(Command::Destroy));
        let waiting = [
            std::mem::take(&mut self.register_waiting),
            std::mem::take(&mut self.unregister_waiting),
            std::mem::take(&mut self.ending).into_iter().map(|(_, id)| id).collect(),
            std::mem::take(&mut self.check_waiting),
        ];
        for waiting in waiting.into_iter().flatten() {
            self.done(waiting, Err(Error::Destroyed));
        }
        self.destroyed = true;
        self.done(id, Ok(Reply::Done));
    }

    /// Ends the call for the program; the user agent knows already or is not concerned.
    fn end_call(&mut self, state: CallState, reason: Option<String>, cause: Option<u16>, error: Option<Error>) {
        let Some(mut call) = self.call.take() else { return };
        if let (Some(referral), Step::Preparing { .. }) = (call.follows, &call.step) {
            self.agent(Input::Command(Command::DeclineReferral { call: referral }));
        }
        call.state = state;
        self.output.push_back(ClientOutput::Media { call: call.handle, command: MediaCommand::Close });
        let reason = reason.or_else(|| error.as_ref().map(ToString::to_string));
        let waiting = call.waiting.take();
        call.span.in_scope(|| {
            let mut context = call_context(&call);
            if let Some(reason) = &reason {
                put(&mut context, "reason", reason.as_str());
            }
            let level = if state == CallState::Error { LogLevel::Error } else { LogLevel::Info };
            self.log(level, "call over", context, error.as_ref());
        });
        let mut event = call_event(&call);
        event.reason = reason;
        event.cause_code = cause;
        event.error = error.clone();
        self.event(Event::Call(event));
        if let Some(id) = waiting {
            let error =
                error.unwrap_or(Error::WrongState { operation: "call", problem: "the call ended before it was up" });
            self.done(id, Err(error));
        }
        let keys = std::mem::take(&mut self.dtmf_waiting);
        self.fail_waiting(&mut call);
        for id in keys.into_iter().chain(std::mem::take(&mut self.info_waiting).into_iter().map(|(_, id)| id)) {
            self.refuse(id, "send_dtmf", "the call ended meanwhile");
        }
        if self.return_to_left() {
            return;
        }
        self.event(Event::Call(CallEvent {
            state: CallState::Idle,
            reason: None,
            cause_code: None,
            error: None,
            ..call_event(&call)
        }));
        self.prepare_by_itself();
    }

    /// Whoever waits for something in a call that has ended hears so.
    fn fail_waiting(&mut self, call: &mut Call) {
        let problem = "the call ended meanwhile";
        if let Some(id) = call.transfer_waiting.take() {
            self.refuse(id, "transfer", problem);
        }
        for id in std::mem::take(&mut call.hold.waiting) {
            self.refuse(id, "hold", problem);
        }
    }

    /// Ends the call at the far end too, because of a fault of ours.
    fn fail_call(&mut self, error: Error) {
        let Some(call) = &self.call else { return };
        let handle = call.handle;
        let known_to_agent = !matches!(call.step, Step::Preparing { .. });
        let status = match (&call.step, &error) {
            (Step::Answering | Step::Offered { .. }, Error::Media { fault: MediaFault::NoCommonCodec }) => {
                Some(StatusCode::NOT_ACCEPTABLE_HERE)
            }
            (Step::Answering | Step::Offered { .. }, _) => Some(StatusCode::SERVER_INTERNAL_ERROR),
            _ => None,
        };
        let reason = error.code().to_owned();
        self.end_call(CallState::Error, None, None, Some(error));
        if known_to_agent {
            self.agent(Input::Command(match status {
                Some(status) => Command::Reject { call: handle, status, reason: Some(reason) },
                None => Command::Hangup { call: handle, reason: Some(reason) },
            }));
        }
    }

    // ---- media --------------------------------------------------------------------------------------------------

    fn media(&mut self, handle: CallHandle, reply: MediaReply) {
        if self.prepared.as_ref().is_some_and(|prepared| prepared.handle() == handle) {
            return self.prepared_media(reply);
        }
        if let MediaReply::DtmfSent(id, tone, result) = reply {
            return self.dtmf_sent(handle, id, tone, result);
        }
        self.left_media(handle, &reply);
        let now = self.now;
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        match reply {
            MediaReply::Offer(Ok(sdp)) => {
                call.media_due = None;
                match &mut call.step {
                    Step::Preparing { offer } => {
                        *offer = Some(sdp);
                        self.invite_if_ready();
                    }
                    Step::Answering => self.answer(sdp, true),
                    _ => self.restart_offered(Ok(sdp)),
                }
            }
            MediaReply::Answer(Ok(sdp)) => {
                call.media_due = None;
                if call.step == Step::Answering {
                    self.answer(sdp, false);
                } else {
                    self.reoffer_answered(Ok(sdp));
                }
            }
            MediaReply::Offer(Err(error)) if call.recovery.is_under_way() => self.restart_offered(Err(error)),
            MediaReply::Answer(Err(error)) if call.recovery.is_under_way() => self.reoffer_answered(Err(error)),
            MediaReply::AnswerTaken(result) if call.recovery.is_under_way() => self.restart_taken(result),
            MediaReply::AnswerTaken(Ok(())) => {
                if call.step == Step::TakingAnswer {
                    self.call_is_up();
                }
            }
            // Early media that cannot be used is no reason to give the call up: the final answer may well be usable.
            MediaReply::AnswerTaken(Err(error)) if call.step == Step::Inviting => {
                call.early = None;
                let context = call_context(call);
                self.log(LogLevel::Warn, "early media cannot be used", context, Some(&error));
            }
            MediaReply::Offer(Err(error)) | MediaReply::Answer(Err(error)) | MediaReply::AnswerTaken(Err(error)) => {
                self.fail_call(error);
            }
            MediaReply::AudioOpened(Ok(())) => {}
            MediaReply::AudioOpened(Err(error)) => self.fail_call(error),
            MediaReply::Statistics(statistics) => self.statistics(statistics),
            MediaReply::Notice(MediaNotice::Ice(state)) => {
                call.ice = Some(state);
                self.path_changed(state);
                let Some(call) = &self.call else { return };
                let event = IceEvent {
                    state,
                    call_id: call.id(),
                    tag: call.tag(),
                    application_name: call.application(),
                    customer_data: call.customer_data.clone(),
                };
                self.event(Event::Ice(event));
                self.order_media(MediaCommand::ReadStatistics);
            }
            MediaReply::Notice(MediaNotice::FirstPacket) => {
                call.last_packet = now;
                call.heard = true;
                call.next_metrics = call.next_metrics.map(|due| due.min(now + FIRST_METRICS_AFTER));
                let context = call_context(call);
                self.log(LogLevel::Debug, "first audio packet", context, None);
            }
            MediaReply::Notice(MediaNotice::FarEndReport) => self.order_media(MediaCommand::ReadStatistics),
            MediaReply::Notice(MediaNotice::Dtmf(tone)) => self.dtmf_event(tone),
            MediaReply::Notice(MediaNotice::Failed(fault)) => self.path_failed(fault),
            MediaReply::DtmfSent(..) => {}
        }
    }

    fn answer(&mut self, sdp: String, offered: bool) {
        let Some(call) = &mut self.call else { return };
        call.step = Step::Answered { offered };
        let command = Command::Answer { call: call.handle, sdp, headers: Vec::new() };
        self.agent(Input::Command(command));
    }

    fn call_is_up(&mut self) {
        let now = self.now;
        let Some(call) = &mut self.call else { return };
        call.step = Step::Up;
        call.last_packet = now;
        call.next_metrics = Some(now + if call.heard { FIRST_METRICS_AFTER } else { METRICS_INTERVAL });
        let waiting = call.waiting.take();
        self.set_state(CallState::Connected);
        self.log_call("connected");
        if let Some(id) = waiting {
            self.done(id, Ok(Reply::Done));
        }
        self.tell_carried_hold();
        self.end_left("replaced");
    }

    fn metrics_due(&mut self) {
        let now = self.now;
        let Some(call) = &mut self.call else { return };
        if call.next_metrics.is_some_and(|due| due <= now) {
            call.next_metrics = Some(now + METRICS_INTERVAL);
            self.order_media(MediaCommand::ReadStatistics);
        }
    }

    fn media_preparation_due(&mut self) {
        if self.call.as_ref().and_then(|call| call.media_due).is_some_and(|due| due <= self.now) {
            let limit = MEDIA_PREPARATION_TIMEOUT.as_secs();
            self.fail_call(Error::Audio {
                device: "source".to_owned(),
                problem: format!("it was not ready within {limit} s; was the microphone allowed?"),
            });
        }
    }

    fn statistics(&mut self, statistics: MediaStatistics) {
        let now = self.now;
        let limit = self.config.no_packets_timeout;
        let expected = self.expects_packets();
        let Some(call) = &mut self.call else { return };
        let before = std::mem::replace(&mut call.statistics, statistics);
        let after = &call.statistics;
        let received = after.packets_received.saturating_sub(before.packets_received);
        let lost = after.packets_lost.saturating_sub(before.packets_lost);
        let loss_percent = (received + lost > 0).then(|| percent(lost, received + lost));
        let mos = (received > 0).then(|| {
            quality::estimate_mos(
                after.round_trip_time,
                after.jitter,
                jitter_buffer::DEFAULT_TARGET_DELAY,
                loss_percent.unwrap_or(0.0) / 100.0,
                CodecImpairment::of(after.codec.as_deref().unwrap_or_default()),
            )
        });
        let ts = self.unix_ms_at_origin + now.as_micros() / 1000;
        let event = MetricsEvent {
            ts,
            call_id: call.id(),
            tag: call.tag(),
            ice_state: call.ice,
            rtt_ms: after.round_trip_time.map(milliseconds),
            jitter_ms: after.jitter.map(milliseconds),
            loss_percent,
            bytes_sent: Some(after.bytes_sent),
            bytes_received: Some(after.bytes_received),
            packets_sent: Some(after.packets_sent),
            packets_received: Some(after.packets_received),
            far_end_packets_received: after.far_end.map(|far_end| far_end.packets_received),
            far_end_loss_percent: after.far_end.map(|far_end| far_end.loss * 100.0),
            mos,
            language: Some(call.language.to_string()),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        let up = call.step == Step::Up;
        let mut report = None;
        let without = now - call.last_packet;
        if received > 0 {
            call.last_packet = now;
            if call.silence_reported {
                call.silence_reported = false;
                report = Some((LogLevel::Info, "audio packets come again", None));
            }
        } else if expected && up && !call.silence_reported && without >= limit {
            call.silence_reported = true;
            let fault = MediaFault::NoPackets { after: without };
            report = Some((LogLevel::Error, "no audio packets from the far end", Some(Error::Media { fault })));
        }
        match after.source_heard {
            Some(true) => call.microphone_silent_since = None,
            Some(false) => {
                call.microphone_silent_since.get_or_insert(now);
            }
            // Muted, or on hold: what the microphone does is not known, and nobody misses it.
            None => call.microphone_silent_since = call.microphone_silent_since.and(Some(now)),
        }
        let source =
            after.source_heard.map(|_| call.microphone_silent_since.map_or(Duration::ZERO, |since| now - since));
        let packets = (received > 0).then_some(Duration::ZERO).or(call.silence_reported.then_some(without));
        let context = call_context(call);
        let measured = [
            (QualityMeasure::RoundTripTime, event.rtt_ms),
            (QualityMeasure::Jitter, event.jitter_ms),
            (QualityMeasure::Loss, event.loss_percent),
            (QualityMeasure::Mos, event.mos),
        ];
        self.event(Event::Metrics(event));
        if up {
            self.warn_of_quality(&measured);
            self.warn_of_silence(QualityMeasure::Microphone, source);
            self.warn_of_silence(QualityMeasure::Packets, packets);
        }
        if let Some((level, message, error)) = report {
            self.log(level, message, context, error.as_ref());
        }
    }

    fn dtmf_sent(&mut self, handle: CallHandle, id: CommandId, tone: char, result: Result<bool>) {
        let Some(at) = self.dtmf_waiting.iter().position(|waiting| *waiting == id) else {
            // The call has ended, and whoever pressed the key knows.
            return;
        };
        self.dtmf_waiting.remove(at);
        match result {
            Ok(true) => self.done(id, Ok(Reply::Done)),
            Err(error) => self.done(id, Err(error)),
            Ok(false) if self.call.as_ref().is_some_and(|call| call.handle == handle && call.step == Step::Up) => {
                let body = format!("Signal={tone}\r\nDuration={}\r\n", DTMF_DURATION.subsec_millis());
                self.info_waiting.push_back((handle, id));
                self.agent(Input::Command(Command::Info {
                    call: handle,
                    content_type: HeaderValue::from_static("application/dtmf-relay"),
                    body: Bytes::from(body),
                }));
            }
            Ok(false) => {
                self.refuse(id, "send_dtmf", "the call ended meanwhile");
            }
        }
    }

    fn dtmf_event(&mut self, tone: char) {
        let Some(call) = &self.call else { return };
        let event = DtmfEvent {
            tone,
            call_id: call.id(),
            tag: call.tag(),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        self.event(Event::Dtmf(event));
    }

    fn media_settings(&self) -> MediaSettings {
        MediaSettings {
            ice_servers: self.config.ice_servers.clone(),
            ice_transport_policy: self.config.ice_transport_policy,
            audio_later: false,
        }
    }

    /// Gives an order to the call's media session, if it has one.
    fn order_media(&mut self, command: MediaCommand) {
        let (muted, speaker_muted) = (self.muted, self.speaker_muted);
        let now = self.now;
        let Some(call) = &mut self.call else { return };
        // Before a media session exists, the wish is kept and comes with the session's first order.
        if matches!(call.step, Step::Offered { .. }) {
            return;
        }
        let handle = call.handle;
        let first = matches!(command, MediaCommand::CreateOffer(_) | MediaCommand::CreateAnswer(..));
        if first {
            call.media_due = Some(now + MEDIA_PREPARATION_TIMEOUT);
        }
        self.output.push_back(ClientOutput::Media { call: handle, command });
        if first && muted {
            self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::SetMuted(true) });
        }
        if first && speaker_muted {
            self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::SetSpeakerMuted(true) });
        }
    }

    // ---- the user agent -----------------------------------------------------------------------------------------

    fn agent(&mut self, input: Input) {
        self.user_agent.handle(self.now, input);
        while let Some(output) = self.user_agent.poll_output() {
            match output {
                Output::OpenFlow { flow } => self.output.push_back(ClientOutput::OpenFlow { flow }),
                Output::CloseFlow { flow } => self.output.push_back(ClientOutput::CloseFlow { flow }),
                Output::Send { flow, bytes } => self.output.push_back(ClientOutput::Send { flow, bytes }),
                Output::Event(event) => self.agent_event(event),
            }
        }
    }

    fn agent_event(&mut self, event: UaEvent) {
        match event {
            UaEvent::Registration { state, attempt, error, .. } => self.registration_event(state, attempt, error),
            UaEvent::Reconnecting { attempt, delay } => {
                let delay_ms = micros_of(delay) / 1000;
                let mut context = Map::new();
                put(&mut context, "attempt", attempt);
                put(&mut context, "delayMs", delay_ms);
                self.log(LogLevel::Warn, "reconnecting", context, None);
                self.event(Event::Reconnecting(ReconnectingEvent { attempt, delay_ms }));
            }
            UaEvent::FlowUp => {
                self.flow_up = true;
                self.log(LogLevel::Debug, "connected to the edge", Map::new(), None);
            }
            UaEvent::FlowDown { error } => {
                self.flow_up = false;
                if self.registration == Registration::Registered {
                    self.registration = Registration::Underway;
                }
                match &error {
                    Some(_) => self.log(LogLevel::Warn, "connection to the edge lost", Map::new(), error.as_ref()),
                    None => self.log(LogLevel::Debug, "connection to the edge closed", Map::new(), None),
                }
                let error = error.unwrap_or(Error::FlowLost { problem: "the edge closed it".to_owned() });
                self.registration_attempt_failed(&error, false);
            }
            UaEvent::FlowChecked { id, alive } => {
                self.check_waiting.retain(|waiting| waiting.0 != id);
                self.done(CommandId(id), Ok(Reply::Alive(alive)));
            }
            UaEvent::Provisional { call, status, remote_tag, sdp } => self.provisional(call, status, remote_tag, sdp),
            UaEvent::Accepted { call, sdp, message } => {
                let remote_tag = message.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
                self.accepted(call, &remote_tag, sdp);
            }
            UaEvent::Confirmed { call, sdp } => self.confirmed(call, sdp),
            UaEvent::Direction { call, direction, held, held_by_far_end } => {
                self.direction_changed(call, direction, held, held_by_far_end);
            }
            UaEvent::Referred { call, target, referred_by } => self.referred(call, target, referred_by),
            UaEvent::ReferralExpired { call } => self.referral_expired(call),
            UaEvent::TransferProgress { call, status, phrase } => self.transfer_progress(call, status, phrase),
            UaEvent::TransferResult { call, result } => self.transfer_answered(call, result),
            UaEvent::HoldResult { call, result } => self.hold_answered(call, &result),
            UaEvent::OfferAnswered { call, result } => self.offer_answered(call, result),
            UaEvent::Reoffered { call, offer } => self.reoffered(call, offer),
            UaEvent::MediaMoved { call, .. } => {
                self.missed_in_left(Some(call));
                if self.is_current(call) {
                    self.log(LogLevel::Warn, "the far end's media have moved", Map::new(), None);
                    self.restart_media();
                }
            }
            UaEvent::Incoming { call, message, offer, replaces } => self.incoming(call, &message, offer, replaces),
            UaEvent::Ended { call, cause, reason, error, .. } => self.ended(call, cause, reason, error),
            UaEvent::Info { call, content_type, body } => self.info(call, &content_type, &body),
            // The answer of a call that is over by now has nobody to hear it.
            UaEvent::InfoResult { call, result } => {
                if let Some(at) = self.info_waiting.iter().position(|(waiting, _)| *waiting == call)
                    && let Some((_, id)) = self.info_waiting.remove(at)
                {
                    self.done(id, result.map(|()| Reply::Done));
                }
            }
            UaEvent::Trace { .. } => {}
            UaEvent::Log { level, message } => self.log(level, &message, Map::new(), None),
            // What an edge sees of its registrations.
            UaEvent::Binding { .. } => {}
        }
    }

    fn is_current(&self, handle: CallHandle) -> bool {
        self.call.as_ref().is_some_and(|call| call.handle == handle)
    }

    fn provisional(&mut self, handle: CallHandle, status: StatusCode, remote_tag: String, sdp: Option<String>) {
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        let rings = status != StatusCode::TRYING && call.state != CallState::Ringing;
        if let (Some(sdp), None) = (sdp, &call.early) {
            call.early = Some(EarlyAnswer { remote_tag, sdp: sdp.clone() });
            self.order_media(MediaCommand::AcceptAnswer(sdp));
        }
        if rings {
            self.set_state(CallState::Ringing);
        }
    }

    fn accepted(&mut self, handle: CallHandle, remote_tag: &str, sdp: Option<String>) {
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        call.step = Step::TakingAnswer;
        match (sdp, &call.early) {
            // RFC 3261 §13.2.1: the first description of a dialog is the answer; later ones are not looked at, however
            // a gateway may have changed their origin or candidates.
            (_, Some(early)) if !remote_tag.is_empty() && early.remote_tag == remote_tag => self.call_is_up(),
            (Some(sdp), Some(early)) if sdp == early.sdp => self.call_is_up(),
            (None, Some(_)) => self.call_is_up(),
            // Another branch wins than the one whose early media are in use: the call moves to a session for it.
            (Some(_), Some(_)) => self.restart_media(),
            (Some(sdp), None) => self.order_media(MediaCommand::AcceptAnswer(sdp)),
            (None, None) => self.fail_call(Error::Protocol {
                problem: "the far end answered the offer with 200 but without a session description (RFC 3261 §13.2.1)"
                    .to_owned(),
            }),
        }
    }

    fn confirmed(&mut self, handle: CallHandle, sdp: Option<String>) {
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        let Step::Answered { offered } = call.step else { return };
        match sdp {
            _ if !offered => self.call_is_up(),
            Some(sdp) => {
                call.step = Step::TakingAnswer;
                self.order_media(MediaCommand::AcceptAnswer(sdp));
            }
            None => self.fail_call(Error::Protocol {
                problem: "the far end acknowledged our offer without an answer to it (RFC 3261 §13.2.2.4)".to_owned(),
            }),
        }
    }

    fn incoming(&mut self, handle: CallHandle, message: &Message, offer: Option<String>, replaces: Option<CallHandle>) {
        let received = ReceivedMetadata::from_headers(message.header_lines());
        let call_id = message.call_id().unwrap_or_default().to_owned();
        let tag = received.tag.clone().unwrap_or_else(|| CallTag::from_call_id(&call_id));
        let from = message.from().ok();
        let to = message.to().ok();
        let from_uri = from.as_ref().map(|from| from.uri().to_owned());
        let to_uri = to.as_ref().map(|to| to.uri().to_owned());
        let application_name = received.application.clone().or_else(|| self.config.target_application_name.clone());
        let user =
            |uri: Option<&str>| uri.and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| uri.user().map(str::to_owned));
        let (from_user, to_user) = (user(from_uri.as_deref()), user(to_uri.as_deref()));
        let from_name = from.as_ref().and_then(|from| from.display_name());
        let to_name = to.as_ref().and_then(|to| to.display_name());
        let display = DisplayNames::incoming(&IncomingParties {
            own_users: &[&self.config.username],
            tag: &tag,
            application: application_name.as_ref(),
            from: Party { display_name: from_name.as_deref(), user: from_user.as_deref() },
            to: Party { display_name: to_name.as_deref(), user: to_user.as_deref() },
            x_display_from: received.display_from.as_deref(),
            x_display_to: received.display_to.as_deref(),
        });
        let takes_over = replaces.is_some_and(|replaced| self.leave_for_replacement(replaced));
        if self.call.is_some() {
            let mut context = Map::new();
            put(&mut context, "tag", tag.to_string());
            put(&mut context, "callId", call_id);
            let message = format!("missed call, since there is one: From: {} To: {}", display.from, display.to);
            self.log(LogLevel::Info, &message, context, None);
            let command = Command::Reject { call: handle, status: StatusCode::BUSY_HERE, reason: None };
            return self.agent(Input::Command(command));
        }
        let language = received.language.clone().unwrap_or_else(|| self.language.clone());
        let span = call_span(&tag, &call_id, &display);
        let event = IncomingCallEvent {
            call_id: Some(call_id.clone()),
            from: from_uri,
            to: to_uri,
            display_from: Some(display.from.clone()),
            display_to: Some(display.to.clone()),
            tag: Some(tag.to_string()),
            application_name: application_name.as_ref().map(ToString::to_string),
            customer_data: received.customer_data.clone().map(Arc::new),
        };
        self.call = Some(Call {
            handle,
            state: CallState::Incoming,
            step: Step::Offered { offer },
            call_id,
            tag,
            display,
            application_name,
            customer_data: event.customer_data.clone(),
            language,
            headers: Vec::new(),
            target: String::new(),
            waiting: None,
            early: None,
            ice: None,
            statistics: MediaStatistics::default(),
            last_packet: self.now,
            silence_reported: false,
            microphone_silent_since: None,
            heard: false,
            next_metrics: None,
            media_due: None,
            recovery: recovery::Recovery::default(),
            hold: hold::Hold::default(),
            bad: Vec::new(),
            transfer_waiting: None,
            referred_to: None,
            follows: None,
            start: StartCall::default(),
            is_second_try: false,
            second_try_until: None,
            span,
        });
        for problem in &received.problems {
            self.log(LogLevel::Warn, "the caller's data cannot be read", Map::new(), Some(problem));
        }
        if takes_over {
            // Who took the call before has taken this one.
            self.log_call("another takes the call over");
            return self.take_over();
        }
        self.log_call("incoming call");
        self.set_state(CallState::Incoming);
        self.event(Event::IncomingCall(event));
        self.agent(Input::Command(Command::Ring { call: handle, headers: Vec::new() }));
    }

    fn ended(&mut self, handle: CallHandle, cause: Option<u16>, reason: Option<String>, error: Option<Error>) {
        let (told, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ending).into_iter().partition(|(call, _)| *call == handle);
        self.ending = waiting;
        for (_, id) in told {
            // Whatever status the far end gives its good-bye, it knows; if nothing came back, it may not.
            let result = match &error {
                Some(error) if !matches!(error, Error::CallRefused { .. }) => Err(error.clone()),
                _ => Ok(Reply::Done),
            };
            self.done(id, result);
        }
        if !self.is_current(handle) {
            return self.left_ended(handle, cause, reason);
        }
        if matches!(error, Some(Error::FlowLostDuringSetup)) && self.try_once_more() {
            return;
        }
        // A call that the far end refused is over as calls end; one that broke is an error.
        let broken = error.as_ref().is_some_and(|error| !matches!(error, Error::CallRefused { .. }));
        let state = if broken { CallState::Error } else { CallState::Ended };
        self.end_call(state, reason, cause, error);
    }

    fn info(&mut self, handle: CallHandle, content_type: &str, body: &[u8]) {
        if !self.is_current(handle) {
            return;
        }
        if let Some(tone) = dtmf_of_info(content_type, body) {
            self.dtmf_event(tone);
        }
    }

    // ---- what comes out -----------------------------------------------------------------------------------------

    fn set_state(&mut self, state: CallState) {
        let Some(call) = &mut self.call else { return };
        call.state = state;
        let event = call_event(call);
        self.event(Event::Call(event));
    }

    fn event(&mut self, event: Event) {
        self.output.push_back(ClientOutput::Event(event));
    }

    fn done(&mut self, id: CommandId, result: Result<Reply>) {
        self.output.push_back(ClientOutput::CommandDone { id, result });
    }

    /// The command does not fit what there is.
    #[inline(never)]
    fn refuse(&mut self, id: CommandId, operation: &'static str, problem: &'static str) {
        self.done(id, Err(Error::WrongState { operation, problem }));
    }

    fn log_call(&mut self, what: &str) {
        let Some(call) = &self.call else { return };
        let context = call_context(call);
        let message = format!("{what}: From: {} To: {}", call.display.from, call.display.to);
        self.log(LogLevel::Info, &message, context, None);
    }

    fn log(&mut self, level: LogLevel, message: &str, context: Map<String, Value>, error: Option<&Error>) {
        let error = error.map(ToString::to_string);
        let text = error.as_deref().unwrap_or_default();
        // Everything that is said during a call belongs to it.
        let _in_call = self.call.as_ref().map(|call| call.span.clone().entered());
        match level {
            LogLevel::Debug => tracing::debug!(error = text, "{message}"),
            LogLevel::Info => tracing::info!(error = text, "{message}"),
            LogLevel::Warn => tracing::warn!(error = text, "{message}"),
            LogLevel::Error => tracing::error!(error = text, "{message}"),
        }
        let context = (!context.is_empty()).then_some(context);
        self.event(Event::Log(LogEvent { level, message: message.to_owned(), context, error }));
    }
}

fn user_agent_config(config: &SipClientConfig) -> UserAgentConfig {
    let secure = config.wss_server.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss:"));
    UserAgentConfig {
        scheme: if secure { WebSocketScheme::Wss } else { WebSocketScheme::Ws },
        register_expires: config.register_expires,
        max_register_retries: config.max_register_retries,
        infinite_reconnect: config.infinite_reconnect,
        keep_alive_interval: config.keep_alive_interval,
        no_answer_timeout: config.no_answer_timeout,
        accept_referrals: config.accept_transfers,
        accept_replaces: config.accept_replacements,
        backoff: config.reconnect_backoff,
        flow_wait: config.flow_wait,
        session_expires: config.session_expires,
        user_agent: Some(concat!("codex-core-sip/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..UserAgentConfig::new(config.username.as_str(), config.domain.as_str(), Some(config.password.clone()))
    }
}

fn call_span(tag: &CallTag, call_id: &str, names: &DisplayNames) -> tracing::Span {
    tracing::info_span!("call", %tag, call_id, from = names.from, to = names.to)
}

fn call_event(call: &Call) -> CallEvent {
    CallEvent {
        state: call.state,
        reason: None,
        cause_code: None,
        call_id: call.id(),
        tag: call.tag(),
        application_name: call.application(),
        customer_data: call.customer_data.clone(),
        display_from: Some(call.display.from.clone()),
        display_to: Some(call.display.to.clone()),
        error: None,
    }
}

/// Puts a fact into what a log line says.
#[inline(never)]
fn put_value(context: &mut Map<String, Value>, name: &str, value: Value) {
    context.insert(name.to_owned(), value);
}

fn put(context: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    put_value(context, name, value.into());
}

/// What a log line says of a call: names and ids, of customer data only which fields there are.
fn call_context(call: &Call) -> Map<String, Value> {
    let mut context = Map::new();
    put(&mut context, "tag", call.tag.to_string());
    put(&mut context, "callId", call.call_id.as_str());
    put(&mut context, "from", call.display.from.as_str());
    put(&mut context, "to", call.display.to.as_str());
    if let Some(data) = &call.customer_data {
        put(&mut context, "customerData", data.shape());
    }
    context
}

/// The key in an INFO body of the type `application/dtmf-relay` (`Signal=5`) or `application/dtmf` (`5`).
#[must_use]
pub fn dtmf_of_info(content_type: &str, body: &[u8]) -> Option<char> {
    let text = core::str::from_utf8(body).ok()?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let key = if media_type.eq_ignore_ascii_case("application/dtmf-relay") {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then_some(value.trim())
        })?
    } else if media_type.eq_ignore_ascii_case("application/dtmf") {
        text.trim()
    } else {
        return None;
    };
    match key {
        // Some send the numbers of RFC 4733 for the keys that are no digits.
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut chars = key.chars();
            let tone = chars.next()?.to_ascii_uppercase();
            (chars.next().is_none() && matches!(tone, '0'..='9' | '*' | '#' | 'A'..='D')).then_some(tone)
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a share of packets needs no more than 52 bits")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}
