//! A flow on one WebSocket, the same for both sides.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::error::{Error, Result};
use crate::transport::SignalingFlow;

/// The largest message that is received or sent, in bytes: that of the SIP parser.
pub const DEFAULT_MESSAGE_LIMIT_BYTES: usize = 64 * 1024;
/// How long one message may take to be handed to the system before the flow counts as lost.
pub const DEFAULT_SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the closing handshake may take.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The buffer that bytes are read into, for each flow; SIP messages are a few KiB.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// How long the last frame to a peer that closes or broke the rules may take, for it may well not read.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// The limits of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSettings {
    /// The largest message that is received or sent, in bytes.
    pub message_limit_bytes: usize,
    /// How long one message may take to be handed to the system before the flow counts as lost.
    pub send_timeout: Duration,
    /// How long the closing handshake may take.
    pub close_timeout: Duration,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            message_limit_bytes: DEFAULT_MESSAGE_LIMIT_BYTES,
            send_timeout: DEFAULT_SEND_TIMEOUT,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
        }
    }
}

impl FlowSettings {
    /// The same in tungstenite's words. Writes go out at once; what the system does not take is bounded by two messages.
    pub(super) fn protocol(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(self.message_limit_bytes.saturating_mul(2).saturating_add(1024))
            .max_message_size(Some(self.message_limit_bytes))
            .max_frame_size(Some(self.message_limit_bytes))
    }
}

/// What a WebSocket runs on: TCP, or TLS on TCP.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

pub(super) type Socket = WebSocketStream<Box<dyn ByteStream>>;

/// A flow on one WebSocket.
pub(super) struct WebSocketFlow {
    /// `None` once the flow has ended: the socket is freed even if the flow is kept.
    sink: Mutex<Option<SplitSink<Socket, Message>>>,
    stream: Mutex<Option<SplitStream<Socket>>>,
    /// Becomes true when the flow is over, which releases whoever waits in `send` or `receive`.
    over: watch::Sender<bool>,
    /// How the flow ended, until `receive` has reported it.
    fate: std::sync::Mutex<Option<Error>>,
    settings: FlowSettings,
}

impl WebSocketFlow {
    pub(super) fn new(socket: Socket, settings: FlowSettings) -> Self {
        let (sink, stream) = socket.split();
        Self {
            sink: Mutex::new(Some(sink)),
            stream: Mutex::new(Some(stream)),
            over: watch::Sender::new(false),
            fate: std::sync::Mutex::new(None),
            settings,
        }
    }

    /// The error that is still to be reported.
    fn fate(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the flow is over.
    async fn until_over(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Tells a peer that broke the rules why it is being left. Best effort: the socket is closed right after.
    async fn complain(&self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let _ = timeout(FAREWELL_TIMEOUT, async {
            if let Some(sink) = self.sink.lock().await.as_mut() {
                let _ = sink.send(Message::Close(Some(frame))).await;
            }
        })
        .await;
    }

    /// Waits for the next message or the end, and passes over what is neither.
    async fn next_incoming(stream: &mut SplitStream<Socket>) -> Incoming {
        loop {
            return match stream.next().await {
                Some(Ok(Message::Text(text))) => Incoming::Message(text.into()),
                Some(Ok(Message::Binary(bytes))) => Incoming::Message(bytes),
                // tungstenite has queued the pong; the next turn sends it.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => Incoming::Closed(frame),
                Some(Err(error)) => Incoming::Broken(error),
                None => Incoming::Closed(None),
            };
        }
    }

    /// Says good-bye as what `receive` met calls for.
    async fn finish(&self, stream: SplitStream<Socket>, last: &Incoming) {
        let mut stream = stream;
        match last {
            // One more turn sends our part of the closing handshake. A client then sees the server close TCP.
            Incoming::Closed(Some(_)) => {
                let _ = timeout(FAREWELL_TIMEOUT, stream.next()).await;
            }
            Incoming::Broken(error) => {
                if let Some((code, reason)) = complaint(error) {
                    self.complain(code, reason).await;
                }
            }
            Incoming::Closed(None) | Incoming::Message(_) => {}
        }
    }

    /// Frees the socket and releases whoever waits.
    async fn end(&self) {
        self.over.send_replace(true);
        self.sink.lock().await.take();
        self.stream.lock().await.take();
    }
}

#[async_trait]
impl SignalingFlow for WebSocketFlow {
    async fn send(&self, message: Bytes) -> Result<()> {
        let limit = self.settings.message_limit_bytes;
        if message.len() > limit {
            return Err(Error::Protocol {
                problem: format!("a message of {} bytes was to be sent, at most {limit} are allowed", message.len()),
            });
        }
        let message = match Utf8Bytes::try_from(message.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(message),
        };
        let sending = async {
            match self.sink.lock().await.as_mut() {
                Some(sink) => sink.send(message).await.map_err(|error| lost(&error)),
                None => Err(closed()),
            }
        };
        tokio::select! {
            biased;
            () = self.until_over() => Err(closed()),
            sent = timeout(self.settings.send_timeout, sending) => sent.unwrap_or_else(|_| {
                Err(Error::FlowLost {
                    problem: format!("it took no message for {} s", self.settings.send_timeout.as_secs_f32()),
                })
            }),
        }
    }

    async fn receive(&self) -> Option<Result<Bytes>> {
        let mut guard = self.stream.lock().await;
        let last = match guard.as_mut() {
            None => None,
            Some(stream) => tokio::select! {
                biased;
                () = self.until_over() => None,
                incoming = Self::next_incoming(stream) => match incoming {
                    Incoming::Message(bytes) => return Some(Ok(bytes)),
                    last => Some(last),
                },
            },
        };
        if let (Some(last), Some(stream)) = (last, guard.take()) {
            // Before anything is awaited, so that the error is not lost with a dropped future.
            *self.fate() = last.error();
            drop(guard);
            self.finish(stream, &last).await;
        } else {
            drop(guard);
        }
        self.end().await;
        let error = self.fate().take();
        error.map(Err)
    }

    async fn close(&self) {
        let closing = async {
            if let Some(sink) = self.sink.lock().await.as_mut() {
                let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };
                if sink.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
            }
            // Whoever receives elsewhere sees the peer's answer and frees the stream; else it is waited for here.
            if let Some(stream) = self.stream.lock().await.as_mut() {
                while let Some(Ok(_)) = stream.next().await {}
            }
        };
        tokio::select! {
            () = self.until_over() => {}
            _ = timeout(self.settings.close_timeout, closing) => {}
        }
        self.end().await;
    }
}

/// What came in.
enum Incoming {
    Message(Bytes),
    Closed(Option<CloseFrame>),
    Broken(WsError),
}

impl Incoming {
    /// The error that this is to whoever receives; `None` for a message or an orderly end.
    fn error(&self) -> Option<Error> {
        match self {
            Self::Message(_) | Self::Closed(None) => None,
            Self::Closed(Some(frame)) if frame.code == CloseCode::Normal => None,
            Self::Closed(Some(frame)) => Some(Error::FlowLost {
                problem: format!("the peer closed it with code {} {:?}", u16::from(frame.code), frame.reason.as_str()),
            }),
            Self::Broken(WsError::ConnectionClosed | WsError::AlreadyClosed) => None,
            Self::Broken(WsError::Capacity(CapacityError::MessageTooLong { size, max_size })) => {
                Some(Error::Protocol {
                    problem: format!("the peer sent a message of {size} bytes or more, at most {max_size} are allowed"),
                })
            }
            Self::Broken(error @ (WsError::Io(_) | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                Some(lost(error))
            }
            Self::Broken(error) => {
                Some(Error::Protocol { problem: format!("the peer broke the WebSocket protocol (RFC 6455): {error}") })
            }
        }
    }
}

/// With which close code the peer is told what it did wrong (RFC 6455 §7.4.1); `None` where it cannot be told.
fn complaint(error: &WsError) -> Option<(CloseCode, &'static str)> {
    match error {
        WsError::Capacity(_) => Some((CloseCode::Size, "message too large")),
        WsError::Utf8(_) => Some((CloseCode::Invalid, "text is not UTF-8")),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        WsError::Protocol(_) => Some((CloseCode::Protocol, "protocol error")),
        _ => None,
    }
}

/// A flow that broke.
fn lost(error: &WsError) -> Error {
    let problem = match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(ProtocolError::SendAfterClosing) => {
            return closed();
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the peer closed it without a closing handshake".to_owned()
        }
        WsError::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    Error::FlowLost { problem }
}

/// A flow that has ended.
fn closed() -> Error {
    Error::FlowLost { problem: "it is closed".to_owned() }
}
