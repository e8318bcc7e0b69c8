//! The embedded gateway: a SIP edge over WebSocket with digests, and a WebRTC voicebot behind it, in this process.
//!
//! It is built from the server side of `codex-core-sip`: one [`UserAgent`] in the server role for each accepted
//! WebSocket, and the same media engine that clients use. Nothing is mocked: bytes go over TCP, audio over UDP. It
//! stands in for jambonz where a real one is not at hand: 401 to REGISTER and INVITE, 403 with `X-Reason: Invalid
//! credentials` for a wrong password.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codex_core_sip::error::{Error, MediaFault, Result};
use codex_core_sip::media::{
    LevelMeter, LevelReading, MediaEngine, MediaNotice, MediaNotifier, MediaSession, MediaSettings, MediaStatistics,
    SessionAudio, Silence, Tee, Tone, WebRtcEngine, echo,
};
use codex_core_sip::random::OsRandom;
use codex_core_sip::sip::digest::Algorithm;
use codex_core_sip::sip::message::{Message, StatusCode};
use codex_core_sip::sip::user_agent::{
    CallHandle, Command, FlowId, Input, Output, ServerSettings, UaEvent, UserAgent, UserAgentConfig,
};
use codex_core_sip::time::Time;
use codex_core_sip::transport::{ListenerSettings, SignalingFlow, TlsIdentity, WebSocketListener};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// How many events may wait to be read; more are dropped, since a gateway does not stop for its observer.
const EVENT_QUEUE: usize = 1024;
/// The one flow that each user agent of the gateway has.
const FLOW: FlowId = FlowId(1);
/// How much of what the voicebot heard last is kept for looking at, in milliseconds.
const HEARD_WINDOW_MS: u32 = 2000;

/// What the voicebot says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Voicebot {
    /// What it hears.
    Echo,
    /// A tone of so many hertz, at half of full scale.
    Tone(f64),
    /// Nothing: packets come, and hold silence.
    Silent,
}

/// What the gateway saw.
#[non_exhaustive]
pub enum GatewayEvent {
    /// A user registered or refreshed.
    Registered {
        /// The address of record.
        aor: String,
        /// For how long.
        expires: Duration,
    },
    /// A call came, as it was received.
    Invite {
        /// The Request-URI.
        request_uri: String,
        /// Names and values of all headers, in order.
        headers: Vec<(String, String)>,
    },
    /// The voicebot answered.
    Answered,
    /// The caller pressed a key.
    Dtmf(char),
    /// A call is over.
    Ended {
        /// What was sent and received.
        statistics: MediaStatistics,
        /// What was heard last.
        heard: LevelReading,
        /// The cause that the caller gave, or what failed.
        reason: Option<String>,
    },
}

impl fmt::Debug for GatewayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { aor, expires } => write!(f, "Registered {{ {aor}, {} s }}", expires.as_secs()),
            Self::Invite { request_uri, headers } => write!(f, "Invite {{ {request_uri}, {} headers }}", headers.len()),
            Self::Answered => f.write_str("Answered"),
            Self::Dtmf(tone) => write!(f, "Dtmf({tone})"),
            Self::Ended { statistics, reason, .. } => write!(f, "Ended {{ {statistics:?}, {reason:?} }}"),
        }
    }
}

/// Makes a [`Gateway`].
pub struct GatewayBuilder {
    address: SocketAddr,
    realm: String,
    users: Vec<(String, SecretString)>,
    algorithms: Vec<Algorithm>,
    voicebot: Voicebot,
    refusal: Option<(StatusCode, String)>,
    hangs_up_after: Option<Duration>,
    calls_and_gives_up: bool,
    tls: Option<TlsIdentity>,
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("address", &self.address)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl GatewayBuilder {
    /// Where to listen; by default any free port of 127.0.0.1.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The SIP domain; by default `sip.example.com`.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// One more user beside `170` with the password `secret`.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: SecretString) -> Self {
        self.users.push((name.into(), password));
        self
    }

    /// The digest algorithms to offer; by default MD5, as jambonz does.
    #[must_use]
    pub fn algorithms(mut self, algorithms: Vec<Algorithm>) -> Self {
        self.algorithms = algorithms;
        self
    }

    /// What the voicebot says; by default what it hears.
    #[must_use]
    pub fn voicebot(mut self, voicebot: Voicebot) -> Self {
        self.voicebot = voicebot;
        self
    }

    /// Refuses every call with this status, and `reason` as the cause in the header `Reason`.
    #[must_use]
    pub fn refuses(mut self, status: StatusCode, reason: impl Into<String>) -> Self {
        self.refusal = Some((status, reason.into()));
        self
    }

    /// Ends every call so long after it is up.
    #[must_use]
    pub fn hangs_up_after(mut self, talking: Duration) -> Self {
        self.hangs_up_after = Some(talking);
        self
    }

    /// Calls each client that registers, once, and cancels the call as soon as it rings there.
    #[must_use]
    pub fn calls_and_gives_up(mut self) -> Self {
        self.calls_and_gives_up = true;
        self
    }

    /// Listens for `wss` with this certificate instead of `ws`.
    #[must_use]
    pub fn tls(mut self, identity: TlsIdentity) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the address is taken, [`Error::Configuration`] if the certificate is wrong.
    pub async fn start(self) -> Result<Gateway> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let listener_settings = ListenerSettings { tls: self.tls, ..ListenerSettings::default() };
        let mut listener = WebSocketListener::bind(self.address, listener_settings).await?;
        let address = listener.local_addr()?;
        let users = self.users;
        let credentials = move |name: &str, _realm: &str| {
            users.iter().find(|(user, _)| user == name).map(|(_, password)| password.clone())
        };
        let mut server = ServerSettings::new(self.realm.as_str(), Some(Arc::new(credentials)));
        server.algorithms = self.algorithms;
        let mut config = UserAgentConfig::new("voicebot", self.realm.as_str(), None);
        config.keep_alive_interval = None;
        config.server = Some(server);
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        let manner = Manner {
            voicebot: self.voicebot,
            refusal: self.refusal,
            hangs_up_after: self.hangs_up_after,
            calls_and_gives_up: self.calls_and_gives_up,
        };
        let task = tokio::spawn(async move {
            let mut flows = tokio::task::JoinSet::new();
            loop {
                let accepted = listener.accept().await;
                while flows.try_join_next().is_some() {}
                flows.spawn(Edge::new(config.clone(), manner.clone(), events.clone()).run(accepted.flow));
            }
        });
        Ok(Gateway { url: format!("{scheme}://{address}"), events: queue, task })
    }
}

/// A running gateway. It ends, with all its calls, when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    events: mpsc::Receiver<GatewayEvent>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// A gateway with defaults for everything.
    #[must_use]
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            realm: "sip.example.com".to_owned(),
            users: vec![("170".to_owned(), SecretString::from("secret"))],
            algorithms: vec![Algorithm::Md5],
            voicebot: Voicebot::Echo,
            refusal: None,
            hangs_up_after: None,
            calls_and_gives_up: false,
            tls: None,
        }
    }

    /// Where it listens, such as `ws://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it saw next. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<GatewayEvent> {
        self.events.recv().await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The call to a client.
const OUR_CALL: CallHandle = CallHandle(1);

/// How calls are treated.
#[derive(Debug, Clone)]
struct Manner {
    voicebot: Voicebot,
    refusal: Option<(StatusCode, String)>,
    hangs_up_after: Option<Duration>,
    calls_and_gives_up: bool,
}

/// What the media and the timers of a call tell its edge.
enum MediaReport {
    Answer(CallHandle, Result<(Arc<dyn MediaSession>, String)>),
    Notice(CallHandle, MediaNotice),
    /// The answer to another offer in the call.
    Reanswer(CallHandle, Result<String>),
    /// The offer of a call to this client.
    Offer(String, Result<(Arc<dyn MediaSession>, String)>),
    /// The call has been up for long enough.
    Enough(CallHandle),
}

struct VoicebotCall {
    heard: LevelReading,
    session: Option<Arc<dyn MediaSession>>,
}

/// The edge's side of one WebSocket.
struct Edge {
    agent: UserAgent,
    manner: Manner,
    events: mpsc::Sender<GatewayEvent>,
    calls: HashMap<CallHandle, VoicebotCall>,
    start: Instant,
    reports: mpsc::Sender<MediaReport>,
    queue: Option<mpsc::Receiver<MediaReport>>,
    /// The media of the call to this client, which is never answered.
    offered: Option<Arc<dyn MediaSession>>,
}

impl Edge {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    fn new(config: UserAgentConfig, manner: Manner, events: mpsc::Sender<GatewayEvent>) -> Self {
        let (reports, queue) = mpsc::channel(64);
        Self {
            agent: UserAgent::new(config, Box::new(OsRandom)),
            manner,
            events,
            calls: HashMap::new(),
            start: Instant::now(),
            reports,
            queue: Some(queue),
            offered: None,
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    async fn run(mut self, flow: Box<dyn SignalingFlow>) {
        let Some(mut reports) = self.queue.take() else { return };
        self.input(Input::FlowOpened { flow: FLOW });
        loop {
            if !self.carry_out(&*flow).await {
                break;
            }
            let due = self.agent.next_timeout().map(|time| self.start + time.saturating_since(Time::ZERO));
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = flow.receive() => match received {
                    Some(Ok(bytes)) => self.input(Input::Received { flow: FLOW, bytes }),
                    Some(Err(error)) => {
                        self.input(Input::FlowClosed { flow: FLOW, error: Some(error) });
                        break;
                    }
                    None => break,
                },
                Some(report) = reports.recv() => self.report(report),
                () = timer => self.input(Input::Timeout),
            }
        }
        flow.close().await;
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for call in calls {
            self.finish(call, Some("the WebSocket was closed".to_owned())).await;
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.agent.handle(now, input);
    }

    fn tell(&self, event: GatewayEvent) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("nobody reads the gateway's events");
        }
    }

    /// Whether the flow is still wanted.
    async fn carry_out(&mut self, flow: &dyn SignalingFlow) -> bool {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    if let Err(error) = flow.send(bytes).await {
                        tracing::debug!(%error, "the client takes no more data");
                        return false;
                    }
                }
                Output::CloseFlow { .. } => return false,
                Output::Event(event) => self.event(event).await,
                _ => {}
            }
        }
        true
    }

    async fn event(&mut self, event: UaEvent) {
        match event {
            UaEvent::Binding { aor, contact: Some(_), expires } => {
                if std::mem::take(&mut self.manner.calls_and_gives_up) {
                    self.offer_a_call(aor.clone());
                }
                self.tell(GatewayEvent::Registered { aor, expires });
            }
            UaEvent::Provisional { call: OUR_CALL, .. } => {
                self.input(Input::Command(Command::Hangup { call: OUR_CALL, reason: None }));
            }
            UaEvent::Incoming { call, message, offer, .. } => self.incoming(call, &message, offer),
            UaEvent::Confirmed { call, .. } => {
                self.tell(GatewayEvent::Answered);
                if let Some(talking) = self.manner.hangs_up_after {
                    let reports = self.reports.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(talking).await;
                        // The flow may be gone.
                        let _gone = reports.send(MediaReport::Enough(call)).await;
                    });
                }
            }
            UaEvent::Reoffered { call, offer } => self.reoffered(call, offer),
            UaEvent::Info { content_type, body, .. } => {
                if let Some(tone) = codex_core_sip::client::dtmf_of_info(&content_type, &body) {
                    self.tell(GatewayEvent::Dtmf(tone));
                }
            }
            UaEvent::Ended { call, reason, error, .. } => {
                self.finish(call, reason.or_else(|| error.map(|error| error.to_string()))).await;
            }
            _ => {}
        }
    }

    fn incoming(&mut self, call: CallHandle, message: &Message, offer: Option<String>) {
        let headers = message.header_lines().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
        let request_uri = message.request_uri().unwrap_or_default().to_owned();
        self.tell(GatewayEvent::Invite { request_uri, headers });
        if let Some((status, reason)) = self.manner.refusal.clone() {
            return self.input(Input::Command(Command::Reject { call, status, reason: Some(reason) }));
        }
        let Some(offer) = offer else {
            let status = StatusCode::NOT_ACCEPTABLE_HERE;
            return self.input(Input::Command(Command::Reject { call, status, reason: None }));
        };
        self.input(Input::Command(Command::Ring { call, headers: Vec::new() }));
        let (meter, heard) = LevelMeter::new(HEARD_WINDOW_MS);
        self.calls.insert(call, VoicebotCall { heard, session: None });
        let reports = self.reports.clone();
        let voicebot = self.manner.voicebot;
        tokio::spawn(async move {
            let notices = reports.clone();
            let notify = Arc::new(move |notice: MediaNotice| {
                if notices.try_send(MediaReport::Notice(call, notice)).is_err() {
                    tracing::debug!("a notice of a voicebot's call is dropped");
                }
            });
            let answer = answer(voicebot, meter, notify, &offer).await;
            // The flow may be gone; then the session goes with the report.
            let _gone = reports.send(MediaReport::Answer(call, answer)).await;
        });
    }

    /// Makes what is to be offered to this client.
    fn offer_a_call(&self, aor: String) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let engine = WebRtcEngine::builder().audio(|| Ok(SessionAudio::new(Silence, Tee::default()))).build();
            let offer = async {
                let session = engine.create_session(MediaSettings::default(), Arc::new(|_| ())).await?;
                let sdp = session.create_offer().await?;
                Ok((Arc::from(session), sdp))
            };
            // The flow may be gone.
            let _gone = reports.send(MediaReport::Offer(aor, offer.await)).await;
        });
    }

    /// The caller moves to other addresses, say.
    fn reoffered(&mut self, call: CallHandle, offer: String) {
        let session = self.calls.get(&call).and_then(|call| call.session.clone());
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let answer = match session {
                Some(session) => session.accept_offer(&offer).await,
                None => Err(Error::WrongState { operation: "answer", problem: "the call has no media" }),
            };
            // The flow may be gone.
            let _gone = reports.send(MediaReport::Reanswer(call, answer)).await;
        });
    }

    fn report(&mut self, report: MediaReport) {
        match report {
            MediaReport::Reanswer(call, answer) => {
                let answer = answer.map_err(|error| {
                    tracing::warn!(%error, "the voicebot cannot move");
                    StatusCode::NOT_ACCEPTABLE_HERE
                });
                self.input(Input::Command(Command::AnswerOffer { call, answer }));
            }
            MediaReport::Answer(call, Ok((session, sdp))) => match self.calls.get_mut(&call) {
                Some(entry) => {
                    entry.session = Some(session);
                    self.input(Input::Command(Command::Answer { call, sdp, headers: Vec::new() }));
                }
                // The caller hung up while the answer was made.
                None => drop(tokio::spawn(async move { session.close().await })),
            },
            MediaReport::Offer(aor, Ok((session, offer))) => {
                self.offered = Some(session);
                let target = if aor.starts_with("sip:") { aor } else { format!("sip:{aor}") };
                let call_id = "gateway-calls-and-gives-up".to_owned();
                let (headers, display_name) = (Vec::new(), None);
                let invite = Command::Invite { call: OUR_CALL, target, call_id, headers, offer, display_name };
                self.input(Input::Command(invite));
            }
            MediaReport::Offer(_, Err(error)) => tracing::warn!(%error, "no call can be offered"),
            MediaReport::Enough(call) => self.input(Input::Command(Command::Hangup { call, reason: None })),
            MediaReport::Answer(call, Err(error)) => {
                tracing::warn!(%error, "the voicebot cannot answer");
                let status = match error {
                    Error::Media { fault: MediaFault::NoCommonCodec } => StatusCode::NOT_ACCEPTABLE_HERE,
                    _ => StatusCode::SERVER_INTERNAL_ERROR,
                };
                self.input(Input::Command(Command::Reject { call, status, reason: None }));
            }
            MediaReport::Notice(_, MediaNotice::Dtmf(tone)) => self.tell(GatewayEvent::Dtmf(tone)),
            MediaReport::Notice(call, MediaNotice::Failed(fault)) => {
                let reason = Some(fault.to_string());
                self.input(Input::Command(Command::Hangup { call, reason }));
            }
            MediaReport::Notice(..) => {}
        }
    }

    async fn finish(&mut self, call: CallHandle, reason: Option<String>) {
        if call == OUR_CALL
            && let Some(session) = self.offered.take()
        {
            session.close().await;
        }
        let Some(VoicebotCall { heard, session }) = self.calls.remove(&call) else { return };
        let statistics = match session {
            Some(session) => {
                let statistics = session.statistics().await;
                session.close().await;
                statistics
            }
            None => MediaStatistics::default(),
        };
        self.tell(GatewayEvent::Ended { statistics, heard, reason });
    }
}

async fn answer(
    voicebot: Voicebot,
    meter: LevelMeter,
    notify: MediaNotifier,
    offer: &str,
) -> Result<(Arc<dyn MediaSession>, String)> {
    // One engine a call: what its session hears goes to this call's meter.
    let tee = Tee::default().with(meter);
    let audio = Mutex::new(Some(match voicebot {
        Voicebot::Echo => {
            let (source, sink) = echo();
            SessionAudio::new(source, tee.with(sink))
        }
        Voicebot::Tone(frequency) => SessionAudio::new(Tone::new(frequency, 0.5), tee),
        Voicebot::Silent => SessionAudio::new(Silence, tee),
    }));
    let engine = WebRtcEngine::builder()
        .audio(move || {
            let audio = audio.lock().unwrap_or_else(PoisonError::into_inner).take();
            audio.ok_or_else(|| Error::Audio {
                device: "voicebot".to_owned(),
                problem: "it speaks in one session only".to_owned(),
            })
        })
        .build();
    let session = engine.create_session(MediaSettings::default(), notify).await?;
    let sdp = session.accept_offer(offer).await?;
    Ok((Arc::from(session), sdp))
}
