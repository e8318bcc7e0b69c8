//! The edge's side: from a listening socket to flows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};

use super::SUBPROTOCOL;
use super::flow::{ByteStream, FlowSettings, WebSocketFlow};
use super::tls::TlsIdentity;
use crate::error::{Error, Result};
use crate::transport::SignalingFlow;

/// How long a peer may take for its TLS and WebSocket handshakes together.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many peers may be in their handshakes at a time.
pub const DEFAULT_PENDING_HANDSHAKES: usize = 256;

/// How long is waited after the system could not accept (out of file descriptors, as a rule).
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// How to listen.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// With it the listener speaks `wss`, without it `ws`.
    pub tls: Option<TlsIdentity>,
    /// How long a peer may take for its handshakes.
    pub handshake_timeout: Duration,
    /// How many peers may be in their handshakes at a time; further ones wait in the system's queue. At least 1.
    pub pending_handshakes: usize,
    /// The limits of each flow.
    pub flow: FlowSettings,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            tls: None,
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            pending_handshakes: DEFAULT_PENDING_HANDSHAKES,
            flow: FlowSettings::default(),
        }
    }
}

/// A flow that a peer has opened.
pub struct AcceptedFlow {
    /// The flow.
    pub flow: Box<dyn SignalingFlow>,
    /// Who opened it.
    pub peer: SocketAddr,
}

impl std::fmt::Debug for AcceptedFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptedFlow").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Listens for SIP over WebSocket.
///
/// Each handshake runs in a task of its own, so a peer that stalls or talks nonsense costs nobody but itself.
#[derive(Debug)]
pub struct WebSocketListener {
    tcp: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    settings: ListenerSettings,
    /// Ends its tasks when the listener is dropped.
    handshakes: JoinSet<Option<AcceptedFlow>>,
}

impl WebSocketListener {
    /// Starts to listen; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if the TLS identity cannot be used, [`Error::Connect`] if the address is taken or not
    /// this machine's.
    pub async fn bind(address: SocketAddr, settings: ListenerSettings) -> Result<Self> {
        let tls = settings.tls.as_ref().map(TlsIdentity::server_config).transpose()?;
        let tcp = TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))?;
        Ok(Self { tcp, tls, settings, handshakes: JoinSet::new() })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.tcp
            .local_addr()
            .map_err(|error| Error::Connect { address: "the listening socket".to_owned(), problem: error.to_string() })
    }

    /// The next flow. New connections are taken only while somebody waits here; handshakes that have begun go on by
    /// themselves.
    ///
    /// Cancel safety: safe; no peer and no flow is lost.
    pub async fn accept(&mut self) -> AcceptedFlow {
        let limit = self.settings.pending_handshakes.max(1);
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Some(accepted)) => return accepted,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a WebSocket handshake ended without a result"),
                },
                connection = self.tcp.accept(), if self.handshakes.len() < limit => match connection {
                    Ok((stream, peer)) => self.start_handshake(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted");
                        sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
                    }
                },
            }
        }
    }

    fn start_handshake(&mut self, stream: TcpStream, peer: SocketAddr) {
        let tls = self.tls.clone();
        let flow = self.settings.flow.clone();
        let limit = self.settings.handshake_timeout;
        self.handshakes.spawn(async move {
            match timeout(limit, shake_hands(stream, tls, flow)).await {
                Ok(Ok(flow)) => Some(AcceptedFlow { flow: Box::new(flow), peer }),
                Ok(Err(problem)) => {
                    tracing::debug!(%peer, problem, "a WebSocket handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%peer, "a WebSocket handshake took too long");
                    None
                }
            }
        });
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Error {
    Error::Connect { address: address.to_string(), problem: format!("it cannot be listened on: {error}") }
}

async fn shake_hands(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    settings: FlowSettings,
) -> Result<WebSocketFlow, String> {
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream: Box<dyn ByteStream> = match tls {
        None => Box::new(tcp),
        Some(config) => Box::new(TlsAcceptor::from(config).accept(tcp).await.map_err(|error| error.to_string())?),
    };
    let socket = accept_hdr_async_with_config(stream, negotiate, Some(settings.protocol()))
        .await
        .map_err(|error| error.to_string())?;
    Ok(WebSocketFlow::new(socket, settings))
}

/// Chooses the sub-protocol `sip`, or refuses (RFC 7118 §4.1).
#[expect(clippy::result_large_err, reason = "tungstenite's callback asks for this type")]
fn negotiate(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|protocol| protocol.trim() == SUBPROTOCOL);
    if offered {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        return Ok(response);
    }
    const EXPLANATION: &str = "This is a SIP edge: offer the WebSocket sub-protocol `sip` (RFC 7118).\n";
    let mut refusal = ErrorResponse::new(Some(EXPLANATION.to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    refusal.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(EXPLANATION.len()));
    refusal.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Err(refusal)
}
