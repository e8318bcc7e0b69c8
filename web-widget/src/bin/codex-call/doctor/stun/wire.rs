//! The way to a STUN or TURN server: UDP, TCP, or TLS over TCP (RFC 8489 §6.2).

use std::net::SocketAddr;
use std::time::Duration;

use codex_core_sip::Error;
use codex_core_sip::transport::TlsSettings;
use codex_web_widget::Text;
use rtc::stun::message::{Message, Setter};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Fault;
use crate::doctor::{by_system, too_late};

/// When a request is sent again, and how long the last one is waited for (RFC 8489 §6.2.1, shortened for a person who waits).
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(1500)];
/// How long a name, a connection or an answer over TCP may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Larger answers are not STUN.
const ANSWER_LIMIT_BYTES: usize = 1500;
/// Type, length, cookie, transaction (RFC 8489 §5).
const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// More addresses of one name are not tried.
const TRIED_ADDRESSES: usize = 4;

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Udp,
    Tcp,
    Tls,
}

/// Where a URL leads.
pub(super) struct Server {
    host: String,
    port: u16,
    pub(super) wire: Kind,
    /// TURN, else STUN.
    pub(super) turn: bool,
}

impl Server {
    /// Takes a URL apart that the settings have looked at.
    pub(super) fn parse(url: &str) -> Self {
        const DEFAULT_PORT: u16 = 3478;
        const DEFAULT_TLS_PORT: u16 = 5349;
        let lower = url.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once(':').unwrap_or(("", &lower));
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let tls = scheme.ends_with('s');
        let written = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let host = written.map_or(authority, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
        let default = if tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let port = written.and_then(|(_, port)| port.parse().ok()).unwrap_or(default);
        let wire = match (tls, query) {
            (true, _) => Kind::Tls,
            (false, "transport=tcp") => Kind::Tcp,
            (false, _) => Kind::Udp,
        };
        Self { host: host.to_owned(), port, wire, turn: scheme.starts_with("turn") }
    }

    /// The addresses of its name.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Fault> {
        match timeout(CONNECT_LIMIT, tokio::net::lookup_host((self.host.as_str(), self.port))).await {
            Ok(Ok(found)) => Ok(found.take(TRIED_ADDRESSES).collect()),
            Ok(Err(error)) => Err(Fault::Name(by_system(&error))),
            Err(_) => Err(Fault::Name(too_late(CONNECT_LIMIT))),
        }
    }
}

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open way to a server.
pub(super) enum Wire {
    Udp(UdpSocket),
    Stream(Box<dyn ByteStream>),
}

impl Wire {
    /// Opens the way to one address of the server.
    pub(super) async fn open(server: &Server, address: SocketAddr, tls: &TlsSettings) -> Result<Self, Fault> {
        let silent = |error: std::io::Error| Fault::silent(&error);
        if server.wire == Kind::Udp {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await.map_err(silent)?;
            socket.connect(address).await.map_err(silent)?;
            return Ok(Self::Udp(socket));
        }
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(silent)?;
            if server.wire == Kind::Tcp {
                return Ok(Self::Stream(Box::new(stream)));
            }
            match tls.connect(&server.host, stream).await {
                Ok(stream) => Ok(Self::Stream(Box::new(stream))),
                Err(Error::Tls { fault, .. }) => Err(Fault::Tls(fault)),
                Err(other) => Err(Fault::nonsense(&other)),
            }
        };
        timeout(CONNECT_LIMIT, opening).await.unwrap_or_else(|_| Err(Fault::Silent(too_late(CONNECT_LIMIT))))
    }

    /// Sends a request until its answer comes.
    pub(super) async fn ask(&mut self, setters: &[Box<dyn Setter + '_>]) -> Result<Message, Fault> {
        let mut request = Message::new();
        request.build(setters).map_err(|error| Fault::nonsense(&error))?;
        match self {
            Self::Udp(socket) => ask_by_datagrams(socket, &request).await,
            Self::Stream(stream) => {
                let asking = ask_by_stream(stream, &request);
                timeout(CONNECT_LIMIT, asking).await.unwrap_or_else(|_| Err(Fault::Silent(too_late(CONNECT_LIMIT))))
            }
        }
    }
}

async fn ask_by_datagrams(socket: &UdpSocket, request: &Message) -> Result<Message, Fault> {
    let mut bytes = vec![0; ANSWER_LIMIT_BYTES];
    let mut nonsense = false;
    for wait in WAITS {
        socket.send(&request.raw).await.map_err(|error| Fault::silent(&error))?;
        let receiving = async {
            loop {
                let length = socket.recv(&mut bytes).await?;
                match answer_in(&bytes[..length], request) {
                    Some(answer) => return Ok(answer),
                    None => nonsense = true,
                }
            }
        };
        match timeout(wait, receiving).await {
            Ok(Ok(answer)) => return Ok(answer),
            // A port where nobody listens says so on some networks.
            Ok::<Result<_, std::io::Error>, _>(Err(error)) => return Err(Fault::silent(&error)),
            Err(_) => {}
        }
    }
    if nonsense {
        return Err(Fault::Nonsense("what came is not an answer to a STUN request".to_owned()));
    }
    let (count, waited) = (WAITS.len(), WAITS.iter().sum::<Duration>().as_secs_f32());
    Err(Fault::Silent(Text::new(
        format!("no answer to {count} requests within {waited:.1} s"),
        format!("нет ответа на запросы ({count}) за {waited:.1} с"),
    )))
}

/// Over a stream the header tells how long the answer is.
async fn ask_by_stream(stream: &mut dyn ByteStream, request: &Message) -> Result<Message, Fault> {
    let broken = |error: std::io::Error| Fault::silent(&error);
    stream.write_all(&request.raw).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut bytes = vec![0; HEADER_BYTES];
    stream.read_exact(&mut bytes).await.map_err(broken)?;
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if bytes[4..8] != MAGIC_COOKIE || HEADER_BYTES + length > ANSWER_LIMIT_BYTES {
        return Err(Fault::Nonsense("what came is not a STUN message".to_owned()));
    }
    bytes.resize(HEADER_BYTES + length, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).await.map_err(broken)?;
    answer_in(&bytes, request).ok_or_else(|| Fault::Nonsense("what came is not an answer to the request".to_owned()))
}

fn answer_in(bytes: &[u8], request: &Message) -> Option<Message> {
    let mut answer = Message::new();
    answer.unmarshal_binary(bytes).ok()?;
    (answer.transaction_id == request.transaction_id).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_their_defaults() {
        for (url, host, port, wire, turn) in [
            ("stun:a.example", "a.example", 3478, Kind::Udp, false),
            ("stun:a.example:19302", "a.example", 19302, Kind::Udp, false),
            ("stuns:a.example", "a.example", 5349, Kind::Tls, false),
            ("turn:[2001:db8::1]:3479?transport=udp", "2001:db8::1", 3479, Kind::Udp, true),
            ("turn:[2001:db8::1]", "2001:db8::1", 3478, Kind::Udp, true),
            ("TURN:a.example?transport=TCP", "a.example", 3478, Kind::Tcp, true),
            ("turns:a.example", "a.example", 5349, Kind::Tls, true),
        ] {
            let server = Server::parse(url);
            let found = (server.host.as_str(), server.port, server.wire, server.turn);
            assert_eq!(found, (host, port, wire, turn), "{url}");
        }
    }
}
