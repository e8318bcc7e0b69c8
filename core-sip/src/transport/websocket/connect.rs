//! The client's side: from an address to a flow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::SUBPROTOCOL;
use super::address::ServerAddress;
use super::flow::{ByteStream, FlowSettings, WebSocketFlow};
use super::tls::{self, TlsSettings};
use crate::error::{Error, Result};
use crate::transport::{SignalingFlow, SignalingTransport};

/// How long it may take from the name to the open WebSocket, in all.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one address is tried alone before the next is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// How many addresses of one name are tried.
const TRIED_ADDRESSES: usize = 16;

/// How to reach the edge. Its `Debug` shows neither user data nor query of the address.
#[derive(Clone)]
pub struct WebSocketSettings {
    /// The setting that `url` came from, for errors, such as `JAMBONZ_WSS_ADDRESS`.
    pub url_key: String,
    /// The edge, `wss://host:port/path`; `ws://` is not encrypted.
    pub url: String,
    /// Whom to trust.
    pub tls: TlsSettings,
    /// How long it may take from the name to the open WebSocket, in all.
    pub connect_timeout: Duration,
    /// The limits of each flow.
    pub flow: FlowSettings,
}

impl core::fmt::Debug for WebSocketSettings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WebSocketSettings")
            .field("url_key", &self.url_key)
            .field("url", &crate::config::redacted_url(&self.url))
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .field("flow", &self.flow)
            .finish()
    }
}

impl WebSocketSettings {
    /// Defaults for everything but the address.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url_key: "wssServer".to_owned(),
            url: url.into(),
            tls: TlsSettings::default(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            flow: FlowSettings::default(),
        }
    }
}

/// Opens flows to one edge by WebSocket.
///
/// All addresses of the edge's name are tried, in the system's order (RFC 6724); an address that does not answer within
/// 250 ms no longer holds up the next one, and the first that answers is taken (RFC 8305 §5).
pub struct WebSocketTransport {
    address: ServerAddress,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    connect_timeout: Duration,
    flow: FlowSettings,
}

impl std::fmt::Debug for WebSocketTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketTransport").field("url", &self.address.shown()).finish_non_exhaustive()
    }
}

/// How far an attempt has come, to say where the deadline met it.
enum Stage {
    Resolve,
    Connect,
    Tls,
    WebSocket,
}

impl WebSocketTransport {
    /// Checks the settings. For `wss` the system's trusted certificates are read from disk here, once.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] naming the setting: a wrong address, a certificate that is none.
    pub fn new(settings: WebSocketSettings) -> Result<Self> {
        let address = ServerAddress::parse(&settings.url_key, &settings.url)?;
        let tls = if address.secure {
            let name = ServerName::try_from(address.host.clone()).map_err(|_| Error::Configuration {
                problems: vec![crate::error::ConfigurationProblem {
                    key: settings.url_key.clone(),
                    value: Some(address.shown()),
                    problem: "no certificate can be made out for this host name".to_owned(),
                    example: "wss://sip.example.com:8443/".to_owned(),
                }],
            })?;
            Some((settings.tls.client_config()?, name))
        } else {
            None
        };
        Ok(Self { address, tls, connect_timeout: settings.connect_timeout, flow: settings.flow })
    }

    /// The edge's address without user data and query.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.shown()
    }

    /// Whether TLS is used: SIP writes `WSS` or `WS` into its Via accordingly (RFC 7118 §5.1).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.address.secure
    }

    async fn establish(&self, stage: &mut Stage) -> Result<WebSocketFlow> {
        let addresses = self.resolve().await?;
        *stage = Stage::Connect;
        let tcp = connect_to_first(&addresses).await.map_err(|error| self.no_connection(&error))?;
        // SIP messages are small and somebody waits for each of them.
        tcp.set_nodelay(true).map_err(|error| self.no_connection(&error))?;
        *stage = Stage::Tls;
        let stream: Box<dyn ByteStream> = match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), tcp).await.map_err(|error| Error::Tls {
                    host: self.address.host.clone(),
                    fault: tls::fault(&error, &self.address.host),
                })?;
                Box::new(stream)
            }
        };
        *stage = Stage::WebSocket;
        let mut request =
            self.address.uri.clone().into_client_request().map_err(|error| self.handshake_error(error))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _response) = client_async_with_config(request, stream, Some(self.flow.protocol()))
            .await
            .map_err(|error| self.handshake_error(error))?;
        Ok(WebSocketFlow::new(socket, self.flow.clone()))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let failed = |problem: String| Error::NameResolution { host: self.address.host.clone(), problem };
        let found = tokio::net::lookup_host((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let addresses: Vec<_> = found.take(TRIED_ADDRESSES).collect();
        if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
    }

    fn no_connection(&self, error: &io::Error) -> Error {
        Error::Connect { address: self.address.host_and_port(), problem: error.to_string() }
    }

    fn handshake_error(&self, error: WsError) -> Error {
        match error {
            WsError::Http(response) => {
                Error::WebSocketRefused { url: self.address.shown(), status: response.status().as_u16() }
            }
            // Which one the server chose instead, tungstenite does not tell.
            WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                Error::SubprotocolRefused { url: self.address.shown(), chosen: None }
            }
            WsError::Io(error) => Error::Connect {
                address: self.address.host_and_port(),
                problem: format!("it broke during the WebSocket handshake: {error}"),
            },
            WsError::Protocol(ProtocolError::HandshakeIncomplete) => Error::Connect {
                address: self.address.host_and_port(),
                problem: "the server closed it during the WebSocket handshake".to_owned(),
            },
            other => Error::NotWebSocket { url: self.address.shown(), problem: other.to_string() },
        }
    }

    fn too_late(&self, stage: &Stage) -> Error {
        let after = self.connect_timeout;
        let no_answer = || format!("no answer within {} s", after.as_secs_f32());
        match stage {
            Stage::Resolve => Error::NameResolution { host: self.address.host.clone(), problem: no_answer() },
            Stage::Connect => Error::Connect { address: self.address.host_and_port(), problem: no_answer() },
            Stage::Tls => Error::Timeout { operation: "the TLS handshake", after },
            Stage::WebSocket => Error::Timeout { operation: "the WebSocket handshake", after },
        }
    }
}

#[async_trait]
impl SignalingTransport for WebSocketTransport {
    async fn connect(&self) -> Result<Box<dyn SignalingFlow>> {
        let mut stage = Stage::Resolve;
        let established = timeout(self.connect_timeout, self.establish(&mut stage)).await;
        match established {
            Ok(Ok(flow)) => Ok(Box::new(flow)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.too_late(&stage)),
        }
    }
}

/// Connects to the first address that answers. There is at least one.
pub(super) async fn connect_to_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(*address));
        }
        loop {
            tokio::select! {
                biased;
                attempt = attempts.next() => match attempt {
                    Some(Ok(stream)) => return Ok(stream),
                    Some(Err(error)) => {
                        last_error = Some(error);
                        if waiting.len() > 0 {
                            break;
                        }
                    }
                    None => return Err(last_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())),
                },
                () = sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => break,
            }
        }
    }
}
