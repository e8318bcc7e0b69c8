//! [`CodexSipClient`]: the handle that programs hold.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use tokio::sync::{mpsc, oneshot};

use super::driver::{Driver, Request, TracedMessage, Tracer};
use super::session::{AcceptCall, ClientCommand, ClientSession, Reply, StartCall};
use crate::config::SipClientConfig;
use crate::error::{Error, Result};
use crate::event::{CallState, Event, LogEvent, LogLevel};
use crate::media::MediaEngine;
use crate::metadata::{ApplicationName, LanguageTag};
use crate::random::OsRandom;
use crate::transport::{SignalingTransport, WebSocketSettings, WebSocketTransport};

/// How many commands may wait for the driver.
const COMMAND_QUEUE: usize = 64;
/// How many events a subscriber may leave unread before further ones are dropped, and said to be.
const EVENT_QUEUE: usize = 1024;

/// A SIP client over WebSocket with WebRTC audio.
///
/// A handle: clones speak to the same client. The client lives in a task of the tokio runtime in which it was made; it
/// ends with [`CodexSipClient::destroy`] or when the last handle is dropped.
#[derive(Clone)]
pub struct CodexSipClient {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

impl fmt::Debug for CodexSipClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodexSipClient").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Makes a [`CodexSipClient`] with parts of one's own.
pub struct CodexSipClientBuilder {
    config: SipClientConfig,
    engine: Arc<dyn MediaEngine>,
    transport: Option<Arc<dyn SignalingTransport>>,
    tracer: Option<Tracer>,
}

impl fmt::Debug for CodexSipClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodexSipClientBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl CodexSipClientBuilder {
    /// Another transport than WebSocket to `wss_server`.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn SignalingTransport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Calls `tracer` for every SIP message, for ladder diagrams and debugging. See [`TracedMessage`].
    #[must_use]
    pub fn trace(mut self, tracer: impl Fn(TracedMessage) + Send + Sync + 'static) -> Self {
        self.tracer = Some(Arc::new(tracer));
        self
    }

    /// The client. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with all that is wrong.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<CodexSipClient> {
        let session =
            ClientSession::new(self.config.clone(), Box::new(OsRandom), Box::new(OsRandom), unix_milliseconds())?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let mut settings = WebSocketSettings::new(self.config.wss_server.as_str());
                settings.tls.extra_ca_certificates_pem.clone_from(&self.config.extra_ca_certificates_pem);
                Arc::new(WebSocketTransport::new(settings)?)
            }
        };
        let shared = Arc::new(Shared::new(session.language().clone()));
        let (requests, queue) = mpsc::channel(COMMAND_QUEUE);
        Driver::spawn(session, transport, self.engine, Arc::clone(&shared), self.tracer, queue);
        Ok(CodexSipClient { requests, shared })
    }
}

impl CodexSipClient {
    /// A client with these settings and this media engine. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with all that is wrong.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(config: SipClientConfig, engine: Arc<dyn MediaEngine>) -> Result<Self> {
        Self::builder(config, engine).build()
    }

    /// A client with parts of one's own.
    #[must_use]
    pub fn builder(config: SipClientConfig, engine: Arc<dyn MediaEngine>) -> CodexSipClientBuilder {
        CodexSipClientBuilder { config, engine, transport: None, tracer: None }
    }

    /// Everything that happens from now on. Every stream gets every event.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.shared.subscribe()
    }

    /// Where the call stands.
    #[must_use]
    pub fn state(&self) -> CallState {
        self.shared.lock().state
    }

    /// The language of calls that ask for none.
    #[must_use]
    pub fn language(&self) -> LanguageTag {
        self.shared.lock().language.clone()
    }

    /// Connects and registers. Returns when the registrar has said yes, or when the first attempt has failed; the
    /// client then keeps trying in the background, as configured, and tells by `registration` events how it goes.
    ///
    /// # Errors
    ///
    /// Of the attempt: [`Error::RegistrationRefused`], or what kept the connection from coming about.
    pub async fn register(&self) -> Result<()> {
        self.ask(ClientCommand::Register).await.map(drop)
    }

    /// Gives the registration up and stops reconnecting. Returns when the registrar has answered; one that does not, or
    /// cannot be reached, lets the registration expire by itself.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if the client is told to register again meanwhile.
    pub async fn unregister(&self) -> Result<()> {
        self.ask(ClientCommand::Unregister).await.map(drop)
    }

    /// Opens the audio source and makes the offer of the next call in advance, so that [`Self::start_call`] sends its
    /// INVITE at once: call it when somebody is about to call. What it made is kept for
    /// [`PREPARED_FOR`](super::PREPARED_FOR), and renewed when the network changes. Returns when the offer is there.
    ///
    /// With [`SipClientConfig::prepare_after_registration`] the offer is there anyway; then this opens the audio source.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if there is a call, [`Error::Audio`] and [`Error::Media`] if the offer cannot be made.
    pub async fn prepare(&self) -> Result<()> {
        self.ask(ClientCommand::Prepare).await.map(drop)
    }

    /// Calls; registers first if need be. Returns the Call-ID when the INVITE is on its way; `call` events tell how
    /// it goes on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if there is a call, [`Error::CustomerDataTooLarge`], [`Error::HeaderNotAllowed`],
    /// [`Error::Configuration`] for a wrong target, and whatever keeps the client from registering or from making an
    /// offer.
    pub async fn start_call(&self, call: StartCall) -> Result<String> {
        match self.ask(ClientCommand::StartCall(Box::new(call))).await? {
            Reply::CallId(call_id) => Ok(call_id),
            Reply::Done | Reply::Alive(_) | Reply::Uri(_) => Ok(String::new()),
        }
    }

    /// Ends the call, whatever its state. It is over here at once (`ended`, then `idle`); returns when the far end knows.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if there is no call, [`Error::Timeout`] or [`Error::FlowLost`] if the far end could not be told.
    pub async fn hangup(&self, reason: Option<&str>) -> Result<()> {
        self.ask(ClientCommand::Hangup { reason: reason.map(str::to_owned) }).await.map(drop)
    }

    /// Takes the incoming call. Returns when it is up.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if there is none, [`Error::Media`] if its offer cannot be answered.
    pub async fn accept_incoming_call(&self, accept: AcceptCall) -> Result<()> {
        self.ask(ClientCommand::AcceptIncomingCall(accept)).await.map(drop)
    }

    /// Refuses the incoming call with 486 Busy Here.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if there is none.
    pub async fn reject_incoming_call(&self, reason: Option<&str>) -> Result<()> {
        self.ask(ClientCommand::RejectIncomingCall { reason: reason.map(str::to_owned) }).await.map(drop)
    }

    /// Sends silence.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn mute(&self) -> Result<()> {
        self.ask(ClientCommand::SetMuted(true)).await.map(drop)
    }

    /// Sends the audio source again.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn unmute(&self) -> Result<()> {
        self.ask(ClientCommand::SetMuted(false)).await.map(drop)
    }

    /// Hears silence, or no longer.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn set_speaker_muted(&self, muted: bool) -> Result<()> {
        self.ask(ClientCommand::SetSpeakerMuted(muted)).await.map(drop)
    }

    /// Presses a key (`0` to `9`, `*`, `#`, `A` to `D`): by RFC 4733 where it was negotiated, else by INFO.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] outside of a connected call, and what the far end answers to INFO.
    pub async fn send_dtmf(&self, tone: char) -> Result<()> {
        self.ask(ClientCommand::SendDtmf(tone)).await.map(drop)
    }

    /// Puts the call on hold: the far end hears silence, and nothing of it is heard here. Returns when it has agreed.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] outside of a connected call, [`Error::CallRefused`] if the far end does not agree,
    /// [`Error::FlowLost`] if it could not be asked in time.
    pub async fn hold(&self) -> Result<()> {
        self.ask(ClientCommand::Hold).await.map(drop)
    }

    /// Takes the call back from hold.
    ///
    /// # Errors
    ///
    /// As of [`Self::hold`].
    pub async fn unhold(&self) -> Result<()> {
        self.ask(ClientCommand::Unhold).await.map(drop)
    }

    /// Sends the far end to somebody else (blind transfer, REFER with `Referred-By`). Returns when it is there; the call
    /// then ends. `transfer` events tell how it gets on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] outside of a connected call, [`Error::Configuration`] for a wrong target,
    /// [`Error::CallRefused`] if the far end does not do it ([`crate::CallRefusal::TransferNotSupported`]: jambonz without
    /// a `referHook`) or whom it calls does not answer, [`Error::FlowLost`] and [`Error::Timeout`] if that is not known.
    pub async fn transfer(&self, target_uri: &str) -> Result<()> {
        self.ask(ClientCommand::Transfer { target_uri: target_uri.to_owned() }).await.map(drop)
    }

    /// Sends the far end of this call to the far end of `other`'s call, which it takes over (attended transfer: REFER with
    /// `Replaces`). Somebody was asked there first, say, whether he is there. Returns when it is there; both calls then end.
    ///
    /// # Errors
    ///
    /// As of [`Self::transfer`] and [`Self::replacement_uri`].
    pub async fn transfer_to(&self, other: &Self) -> Result<()> {
        self.transfer(&other.replacement_uri().await?).await
    }

    /// The URI with which somebody else takes our place at the far end of this client's call (RFC 3891), for
    /// [`Self::transfer`] of another client. Whoever knows it can take the call over: keep it out of logs.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] outside of a connected call.
    pub async fn replacement_uri(&self) -> Result<String> {
        match self.ask(ClientCommand::ReplacementUri).await? {
            Reply::Uri(uri) => Ok(uri),
            Reply::Done | Reply::Alive(_) | Reply::CallId(_) => Ok(String::new()),
        }
    }

    /// Goes where the far end has asked us to go (the event `transferRequested`, which comes only with
    /// `accept_transfers`): calls there, and tells the far end how it goes. Returns the new Call-ID when the INVITE is on
    /// its way. When the new call is up the old one ends; if it does not come about, the old one goes on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if nobody asks, and whatever keeps a call from being placed.
    pub async fn accept_transfer(&self) -> Result<String> {
        match self.ask(ClientCommand::AcceptTransfer).await? {
            Reply::CallId(call_id) => Ok(call_id),
            Reply::Done | Reply::Alive(_) | Reply::Uri(_) => Ok(String::new()),
        }
    }

    /// Does not go there. The far end hears so too when nothing is said within 10 s.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if nobody asks.
    pub async fn reject_transfer(&self) -> Result<()> {
        self.ask(ClientCommand::RejectTransfer).await.map(drop)
    }

    /// Says that the machine's network is another one: the connection is made anew, and the media of a call move to the
    /// addresses that there are now. A path that fails by itself is noticed without this.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn network_changed(&self) -> Result<()> {
        self.ask(ClientCommand::NetworkChanged).await.map(drop)
    }

    /// Whether the edge still answers; found out by asking it.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn check_connection(&self) -> Result<bool> {
        Ok(self.ask(ClientCommand::CheckConnection).await? == Reply::Alive(true))
    }

    /// Sets the language of the calls to come.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn set_language(&self, language: LanguageTag) -> Result<()> {
        self.ask(ClientCommand::SetLanguage(language)).await.map(drop)
    }

    /// Names the application behind the configured target: in the further events of a call that is up or on its way
    /// (headers that have been sent stay), and in calls to come. For names that are looked up in the background.
    ///
    /// # Errors
    ///
    /// [`Error::Destroyed`].
    pub async fn set_target_application_name(&self, name: Option<ApplicationName>) -> Result<()> {
        self.ask(ClientCommand::SetTargetApplicationName(name)).await.map(drop)
    }

    /// Ends everything: the call, the registration (as far as the edge can be told), the connection. Returns when all
    /// is released. Further commands fail with [`Error::Destroyed`].
    ///
    /// # Errors
    ///
    /// None; destroying twice is no error.
    pub async fn destroy(&self) -> Result<()> {
        match self.ask(ClientCommand::Destroy).await {
            Ok(_) | Err(Error::Destroyed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, command: ClientCommand) -> Result<Reply> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { command, reply }).await.map_err(|_| Error::Destroyed)?;
        answer.await.unwrap_or(Err(Error::Destroyed))
    }
}

/// The events of a client, in order. Ends when the client has been destroyed.
///
/// A stream that is not read keeps 1,024 events; those that come later are lost, and a `log` event says how many.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Event>,
}

impl EventStream {
    /// The next event; `None` when there will be none any more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl futures_util::Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}

struct Subscriber {
    events: mpsc::Sender<Event>,
    lost: u64,
}

pub(super) struct State {
    state: CallState,
    language: LanguageTag,
    subscribers: Vec<Subscriber>,
    open: bool,
}

/// What handles and driver share.
pub(super) struct Shared(Mutex<State>);

impl Shared {
    fn new(language: LanguageTag) -> Self {
        Self(Mutex::new(State { state: CallState::Idle, language, subscribers: Vec::new(), open: true }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self) -> EventStream {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let mut state = self.lock();
        if state.open {
            state.subscribers.push(Subscriber { events: sender, lost: 0 });
        }
        EventStream { events }
    }

    pub(super) fn publish(&self, event: &Event, call_state: CallState, language: &LanguageTag) {
        let mut state = self.lock();
        state.state = call_state;
        if state.language != *language {
            state.language = language.clone();
        }
        state.subscribers.retain_mut(|subscriber| subscriber.publish(event.clone()));
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        state.state = CallState::Idle;
        state.subscribers.clear();
    }
}

impl Subscriber {
    /// Whether the subscriber is still there.
    fn publish(&mut self, event: Event) -> bool {
        if self.lost > 0 {
            let message = format!("{} events were lost because they were not read in time", self.lost);
            let told = Event::Log(LogEvent { level: LogLevel::Warn, message, context: None, error: None });
            if self.events.try_send(told).is_err() {
                self.lost += 1;
                return !self.events.is_closed();
            }
            self.lost = 0;
        }
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the adapter through which the wall clock comes in")]
fn unix_milliseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
