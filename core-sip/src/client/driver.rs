//! The driver: a task that carries out what [`ClientSession`] asks for and tells it what happened.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::handle::Shared;
use super::network_watch::NetworkChanges;
use super::session::{
    ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, DTMF_DURATION, MediaCommand, MediaReply, Reply,
};
use crate::error::{Error, MediaFault, Result};
use crate::media::{MediaEngine, MediaNotice, MediaSession, MediaSettings};
use crate::sip::user_agent::{CallHandle, FlowId};
use crate::time::Time;
use crate::transport::{SignalingFlow, SignalingTransport};

/// How many messages may wait for a slow socket before the flow counts as dead.
const FLOW_QUEUE_MESSAGES: usize = 256;
/// How many happenings may wait for the driver; whoever brings more waits.
const INPUT_QUEUE: usize = 256;
/// How many notices of one media session may wait.
const NOTICE_QUEUE: usize = 64;
/// How long a closing flow may take to send what is queued and to say good-bye.
const FLOW_CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// By how much the wall clock runs ahead of the monotonic one after a sleep of the machine that is worth a look at the
/// connection. Where the monotonic clock goes on during sleep, late timers show it.
const SLEPT_FOR: Duration = Duration::from_secs(5);
/// How long a media session may take to close.
const MEDIA_CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Which way a traced message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From us to the edge.
    Sent,
    /// From the edge to us.
    Received,
}

/// One SIP message as it went over the wire. It holds whatever the message held, digest responses and customer data
/// included: keep it out of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedMessage {
    /// Since the client was made.
    pub at: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Called for every SIP message.
pub(super) type Tracer = Arc<dyn Fn(TracedMessage) + Send + Sync>;

/// A command on its way to the driver.
pub(super) struct Request {
    pub(super) command: ClientCommand,
    pub(super) reply: oneshot::Sender<Result<Reply>>,
}

struct Flow {
    outgoing: mpsc::Sender<Bytes>,
    task: JoinHandle<()>,
}

/// A call's media task.
struct Media {
    orders: mpsc::UnboundedSender<MediaCommand>,
    /// Dropped with the last order: the task then has [`MEDIA_CLOSE_LIMIT`] to come to it.
    _open: oneshot::Sender<()>,
}

pub(super) struct Driver {
    session: ClientSession,
    transport: Arc<dyn SignalingTransport>,
    engine: Arc<dyn MediaEngine>,
    shared: Arc<Shared>,
    tracer: Option<Tracer>,
    start: Instant,
    /// Both clocks at the last look.
    clocks: (SystemTime, Instant),
    happened: mpsc::Sender<ClientInput>,
    flows: HashMap<FlowId, Flow>,
    media: HashMap<CallHandle, Media>,
    closing: JoinSet<()>,
    replies: HashMap<CommandId, oneshot::Sender<Result<Reply>>>,
    next_command: u64,
}

impl Driver {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    pub(super) fn spawn(
        session: ClientSession,
        transport: Arc<dyn SignalingTransport>,
        engine: Arc<dyn MediaEngine>,
        shared: Arc<Shared>,
        tracer: Option<Tracer>,
        requests: mpsc::Receiver<Request>,
    ) {
        let (happened, inputs) = mpsc::channel(INPUT_QUEUE);
        let driver = Self {
            session,
            transport,
            engine,
            shared,
            tracer,
            start: Instant::now(),
            clocks: (SystemTime::now(), Instant::now()),
            happened,
            flows: HashMap::new(),
            media: HashMap::new(),
            closing: JoinSet::new(),
            replies: HashMap::new(),
            next_command: 0,
        };
        tokio::spawn(driver.run(inputs, requests));
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<ClientInput>, mut requests: mpsc::Receiver<Request>) {
        let mut network = NetworkChanges::from_now_on();
        let destroyed = loop {
            self.carry_out();
            let due = self.session.next_timeout().map(|time| self.start + time.saturating_since(Time::ZERO));
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => core::future::pending().await,
                }
            };
            let input = tokio::select! {
                Some(input) = inputs.recv() => input,
                Some(_) = self.closing.join_next(), if !self.closing.is_empty() => continue,
                request = requests.recv() => match request {
                    Some(Request { command: ClientCommand::Destroy, reply }) => break Some(reply),
                    Some(Request { command, reply }) => {
                        let id = CommandId(self.next_command);
                        self.next_command += 1;
                        self.replies.insert(id, reply);
                        ClientInput::Command { id, command }
                    }
                    // Every handle is gone: nobody can want anything any more.
                    None => break None,
                },
                () = network.changed() => ClientInput::NetworkChanged,
                () = timer => ClientInput::Timeout,
            };
            self.trace_received(&input);
            if let ClientInput::FlowFailed { flow, .. } | ClientInput::FlowClosed { flow, .. } = &input {
                self.flows.remove(flow);
            }
            let now = self.now();
            if self.slept() {
                self.session.handle(now, ClientInput::Woke);
            }
            self.session.handle(now, input);
        };
        let id = CommandId(self.next_command);
        let now = self.now();
        self.session.handle(now, ClientInput::Command { id, command: ClientCommand::Destroy });
        self.carry_out();
        // What the user agent queued (a BYE, say) is still sent; then everything is let go.
        drop(requests);
        drop(inputs);
        for (_, flow) in self.flows.drain() {
            drop(flow.outgoing);
            self.closing.spawn(finish(flow.task));
        }
        self.media.clear();
        while self.closing.join_next().await.is_some() {}
        self.shared.close();
        if let Some(reply) = destroyed {
            // The one who asked may have gone.
            let _gone = reply.send(Ok(Reply::Done));
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Whether the machine was asleep since the last look.
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
    fn slept(&mut self) -> bool {
        let now = (SystemTime::now(), Instant::now());
        let before = std::mem::replace(&mut self.clocks, now);
        let by_wall = now.0.duration_since(before.0).unwrap_or_default();
        by_wall >= now.1.saturating_duration_since(before.1) + SLEPT_FOR
    }

    fn trace_received(&self, input: &ClientInput) {
        if let ClientInput::Received { bytes, .. } = input {
            self.trace(Direction::Received, bytes);
        }
    }

    fn trace(&self, direction: Direction, bytes: &Bytes) {
        if let Some(tracer) = &self.tracer {
            tracer(TracedMessage { at: self.now().saturating_since(Time::ZERO), direction, bytes: bytes.clone() });
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::OpenFlow { flow } => self.open(flow),
                ClientOutput::CloseFlow { flow } => {
                    if let Some(flow) = self.flows.remove(&flow) {
                        drop(flow.outgoing);
                        self.closing.spawn(finish(flow.task));
                    }
                }
                ClientOutput::Send { flow, bytes } => {
                    self.trace(Direction::Sent, &bytes);
                    // A queue that is closed belongs to a flow that has ended; its task tells why.
                    let full = self.flows.get(&flow).is_some_and(|flow| {
                        matches!(flow.outgoing.try_send(bytes), Err(mpsc::error::TrySendError::Full(_)))
                    });
                    if full && let Some(dead) = self.flows.remove(&flow) {
                        dead.task.abort();
                        let error = Some(Error::FlowLost { problem: "the edge takes no more data".to_owned() });
                        let now = self.now();
                        self.session.handle(now, ClientInput::FlowClosed { flow, error });
                    }
                }
                ClientOutput::Media { call, command } => self.order_media(call, command),
                ClientOutput::CommandDone { id, result } => {
                    if let Some(reply) = self.replies.remove(&id) {
                        // The one who asked may have gone.
                        let _gone = reply.send(result);
                    }
                }
                ClientOutput::Event(event) => {
                    self.shared.publish(&event, self.session.state(), self.session.language());
                }
            }
        }
    }

    fn open(&mut self, flow: FlowId) {
        let (outgoing, queue) = mpsc::channel(FLOW_QUEUE_MESSAGES);
        let transport = Arc::clone(&self.transport);
        let happened = self.happened.clone();
        let task = tokio::spawn(async move {
            let input = match transport.connect().await {
                Ok(connection) => {
                    if happened.send(ClientInput::FlowOpened { flow }).await.is_err() {
                        return;
                    }
                    let error = run_flow(flow, connection, queue, &happened).await;
                    ClientInput::FlowClosed { flow, error }
                }
                Err(error) => ClientInput::FlowFailed { flow, error },
            };
            // The driver may have ended.
            let _gone = happened.send(input).await;
        });
        self.flows.insert(flow, Flow { outgoing, task });
    }

    fn order_media(&mut self, call: CallHandle, command: MediaCommand) {
        let last = matches!(command, MediaCommand::Close);
        let media = self.media.entry(call).or_insert_with(|| {
            // Orders come from commands and SIP events of one call, which are themselves bounded.
            let (orders, queue) = mpsc::unbounded_channel();
            let engine = Arc::clone(&self.engine);
            let happened = self.happened.clone();
            let (open, closed) = oneshot::channel();
            self.closing.spawn(run_media(call, engine, queue, closed, happened));
            Media { orders, _open: open }
        });
        // A media task ends before `Close` only if the engine panicked, and has then said so.
        let _ended = media.orders.send(command);
        if last {
            self.media.remove(&call);
        }
    }
}

async fn finish(task: JoinHandle<()>) {
    let abort = task.abort_handle();
    if timeout(FLOW_CLOSE_LIMIT, task).await.is_err() {
        abort.abort();
    }
}

/// Moves messages until either side ends. Returns why, unless it ended in an orderly way.
async fn run_flow(
    flow: FlowId,
    connection: Box<dyn SignalingFlow>,
    mut queue: mpsc::Receiver<Bytes>,
    happened: &mpsc::Sender<ClientInput>,
) -> Option<Error> {
    loop {
        tokio::select! {
            outgoing = queue.recv() => match outgoing {
                Some(bytes) => {
                    if let Err(error) = connection.send(bytes).await {
                        return Some(error);
                    }
                }
                None => {
                    connection.close().await;
                    return None;
                }
            },
            incoming = connection.receive() => match incoming {
                Some(Ok(bytes)) => {
                    // While the driver shuts down nobody listens, but what is queued still has to go out.
                    let _gone = happened.send(ClientInput::Received { flow, bytes }).await;
                }
                Some(Err(error)) => return Some(error),
                None => return None,
            },
        }
    }
}

/// The media of one call, until it is closed. Neither an engine that hangs nor one that panics leaves anybody waiting.
async fn run_media(
    call: CallHandle,
    engine: Arc<dyn MediaEngine>,
    orders: mpsc::UnboundedReceiver<MediaCommand>,
    closed: oneshot::Receiver<()>,
    happened: mpsc::Sender<ClientInput>,
) {
    let mut session: Option<Box<dyn MediaSession>> = None;
    let hangs = async {
        // Nothing is ever sent; it ends when the other side is dropped.
        let _closed = closed.await;
        sleep(MEDIA_CLOSE_LIMIT).await;
    };
    let carried_out =
        AssertUnwindSafe(carry_out_orders(call, &*engine, orders, &happened, &mut session)).catch_unwind();
    let panicked = tokio::select! {
        carried_out = carried_out => carried_out.is_err(),
        () = hangs => {
            tracing::warn!("a media engine did not finish within {} s; it is left", MEDIA_CLOSE_LIMIT.as_secs());
            false
        }
    };
    if panicked {
        let reply = MediaReply::Notice(MediaNotice::Failed(MediaFault::Engine("the media engine panicked".to_owned())));
        // The driver may have ended.
        let _gone = happened.send(ClientInput::Media { call, reply }).await;
    }
    if let Some(session) = session
        && timeout(MEDIA_CLOSE_LIMIT, session.close()).await.is_err()
    {
        tracing::warn!("a media session did not close within {} s", MEDIA_CLOSE_LIMIT.as_secs());
    }
}

/// Carries out the orders of one call, one after the other.
async fn carry_out_orders(
    call: CallHandle,
    engine: &dyn MediaEngine,
    mut orders: mpsc::UnboundedReceiver<MediaCommand>,
    happened: &mpsc::Sender<ClientInput>,
    session: &mut Option<Box<dyn MediaSession>>,
) {
    let (notices_in, mut notices) = mpsc::channel::<MediaNotice>(NOTICE_QUEUE);
    let (mut muted, mut speaker_muted) = (false, false);
    loop {
        let reply = tokio::select! {
            Some(notice) = notices.recv() => Some(MediaReply::Notice(notice)),
            order = orders.recv() => match order {
                Some(MediaCommand::CreateOffer(settings)) => {
                    let result = match open_session(engine, settings, notices_in.clone()).await {
                        Ok(opened) => {
                            opened.set_muted(muted);
                            opened.set_speaker_muted(speaker_muted);
                            session.insert(opened).create_offer().await
                        }
                        Err(error) => Err(error),
                    };
                    Some(MediaReply::Offer(result))
                }
                Some(MediaCommand::CreateAnswer(_, offer)) if session.is_some() => match &*session {
                    Some(session) => Some(MediaReply::Answer(session.accept_offer(&offer).await)),
                    None => None,
                },
                Some(MediaCommand::Restart(_)) => match &*session {
                    Some(session) => Some(MediaReply::Offer(session.restart_offer().await)),
                    None => None,
                },
                Some(MediaCommand::Rollback) => {
                    if let Some(session) = &*session {
                        session.rollback().await;
                    }
                    None
                }
                Some(MediaCommand::SetDirection(direction)) => {
                    if let Some(session) = &*session {
                        session.set_direction(direction);
                    }
                    None
                }
                Some(MediaCommand::CreateAnswer(settings, offer)) => {
                    let result = match open_session(engine, settings, notices_in.clone()).await {
                        Ok(opened) => {
                            opened.set_muted(muted);
                            opened.set_speaker_muted(speaker_muted);
                            session.insert(opened).accept_offer(&offer).await
                        }
                        Err(error) => Err(error),
                    };
                    Some(MediaReply::Answer(result))
                }
                Some(MediaCommand::AcceptAnswer(sdp)) => match &*session {
                    Some(session) => Some(MediaReply::AnswerTaken(session.accept_answer(&sdp).await)),
                    None => None,
                },
                Some(MediaCommand::SetMuted(wish)) => {
                    muted = wish;
                    if let Some(session) = &*session {
                        session.set_muted(wish);
                    }
                    None
                }
                Some(MediaCommand::SetSpeakerMuted(wish)) => {
                    speaker_muted = wish;
                    if let Some(session) = &*session {
                        session.set_speaker_muted(wish);
                    }
                    None
                }
                Some(MediaCommand::SendDtmf(id, tone)) => {
                    let result = match &*session {
                        Some(session) => session.send_dtmf(tone, DTMF_DURATION).await,
                        None => Ok(false),
                    };
                    Some(MediaReply::DtmfSent(id, tone, result))
                }
                Some(MediaCommand::OpenAudio) => match &*session {
                    Some(session) => Some(MediaReply::AudioOpened(session.open_audio().await)),
                    None => None,
                },
                Some(MediaCommand::ReadStatistics) => match &*session {
                    Some(session) => Some(MediaReply::Statistics(session.statistics().await)),
                    None => None,
                },
                Some(MediaCommand::Close) | None => break,
            },
        };
        if let Some(reply) = reply {
            // The driver may have ended; then `orders` ends too.
            let _gone = happened.send(ClientInput::Media { call, reply }).await;
        }
    }
}

async fn open_session(
    engine: &dyn MediaEngine,
    settings: MediaSettings,
    notices: mpsc::Sender<MediaNotice>,
) -> Result<Box<dyn MediaSession>> {
    let notify = Arc::new(move |notice: MediaNotice| {
        if notices.try_send(notice).is_err() {
            tracing::warn!("a media session reports more than the client can take in");
        }
    });
    engine.create_session(settings, notify).await
}
