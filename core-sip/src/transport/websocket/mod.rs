//! SIP over WebSocket (RFC 7118) for native programs, on tokio, tokio-tungstenite and rustls.
//!
//! [`WebSocketTransport`] is the client's side, [`WebSocketListener`] the edge's. Both insist on the sub-protocol `sip`,
//! set TCP_NODELAY, answer pings, and bound every message, buffer and wait.

mod address;
mod connect;
mod flow;
mod listener;
mod tls;

pub use connect::{DEFAULT_CONNECT_TIMEOUT, WebSocketSettings, WebSocketTransport};
pub use flow::{DEFAULT_CLOSE_TIMEOUT, DEFAULT_MESSAGE_LIMIT_BYTES, DEFAULT_SEND_TIMEOUT, FlowSettings};
pub use listener::{
    AcceptedFlow, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_PENDING_HANDSHAKES, ListenerSettings, WebSocketListener,
};
pub use tls::{TlsIdentity, TlsSettings};

/// The WebSocket sub-protocol of SIP (RFC 7118 §4.1).
const SUBPROTOCOL: &str = "sip";

#[cfg(test)]
mod tests;
