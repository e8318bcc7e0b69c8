//! Transport: the port [`SignalingTransport`], and the adapter on WebSocket for native programs.
//!
//! A *flow* (RFC 5626 §2) is one connection to the edge. It carries whole messages: one WebSocket message is one SIP
//! message or one CRLF keep-alive (RFC 7118 §5, RFC 5626 §3.5.1), so nothing above this layer cuts a byte stream.
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | `websocket` | `ws` and `wss` on tokio, tokio-tungstenite and rustls; client and server side | `websocket` |

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

#[cfg(feature = "websocket")]
pub mod websocket;

#[cfg(feature = "websocket")]
pub use websocket::{AcceptedFlow, ListenerSettings, TlsIdentity, TlsSettings, WebSocketListener};
#[cfg(feature = "websocket")]
pub use websocket::{FlowSettings, WebSocketSettings, WebSocketTransport};

/// Opens flows to one edge.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait SignalingTransport: Send + Sync {
    /// Opens a flow. Each call opens a new one; it ends within a deadline of the transport's own.
    ///
    /// Cancel safety: dropping the future gives the attempt up and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`NameResolution`](crate::Error::NameResolution), [`Connect`](crate::Error::Connect), [`Tls`](crate::Error::Tls),
    /// [`WebSocketRefused`](crate::Error::WebSocketRefused), [`SubprotocolRefused`](crate::Error::SubprotocolRefused),
    /// [`Timeout`](crate::Error::Timeout) or [`Protocol`](crate::Error::Protocol): each names the one stage that failed.
    async fn connect(&self) -> Result<Box<dyn SignalingFlow>>;
}

/// One connection to the edge, or to a client where we are the edge.
///
/// All methods take `&self`: put the flow into an `Arc` and send from one task while another receives, or use both from
/// one task's `select!`. Sending never waits for receiving nor the other way round. One task should receive; several may
/// send, and their messages go out one after the other.
///
/// Dropping the flow closes its socket without a closing handshake; [`close`](Self::close) is the polite way.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait SignalingFlow: Send + Sync {
    /// Sends one SIP message or one CRLF keep-alive, and returns when the system has taken it.
    ///
    /// Cancel safety: if the future is dropped, the message has been queued whole or not at all, never in part; a queued
    /// one goes out with the next message at the latest.
    ///
    /// # Errors
    ///
    /// [`Protocol`](crate::Error::Protocol) if the message is larger than the flow allows (the flow stays up),
    /// [`FlowLost`](crate::Error::FlowLost) if the flow is closed, broken, or does not take the message in time.
    async fn send(&self, message: Bytes) -> Result<()>;

    /// The next message: a SIP message or a keep-alive (CRLF CRLF as ping, CRLF as pong).
    ///
    /// `None` is the orderly end: closed by us, or by the peer without complaint. An error is the end as well; `None`
    /// follows it for ever.
    ///
    /// Cancel safety: safe; a message is either returned or still there for the next call. WebSocket pings are answered
    /// only while somebody receives.
    ///
    /// # Errors
    ///
    /// [`FlowLost`](crate::Error::FlowLost) if the connection broke or the peer closed it with a complaint,
    /// [`Protocol`](crate::Error::Protocol) if the peer broke the rules of the transport or sent too large a message.
    async fn receive(&self) -> Option<Result<Bytes>>;

    /// Ends the flow with a closing handshake, bounded in time. A `receive` or `send` that waits elsewhere returns.
    /// Messages that arrive from now on are dropped. Calling it again does nothing.
    async fn close(&self);
}
