//! The adapter against itself and against peers that misbehave, on real loopback sockets. Where a deadline is what is
//! tested, the clock is paused once the connection stands: it then jumps to the deadline when nothing else can happen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::*;
use crate::error::{Error, TlsFault};
use crate::transport::{SignalingFlow, SignalingTransport};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const KEEP_ALIVE_PING: Bytes = Bytes::from_static(b"\r\n\r\n");

type Flow = Arc<dyn SignalingFlow>;
type Peer = WebSocketStream<TcpStream>;

async fn listen(settings: ListenerSettings) -> (WebSocketListener, SocketAddr) {
    let listener = WebSocketListener::bind(LOOPBACK, settings).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn transport(url: impl Into<String>) -> WebSocketTransport {
    WebSocketTransport::new(WebSocketSettings::new(url)).unwrap()
}

fn failure<T>(result: crate::Result<T>) -> Error {
    match result {
        Ok(_) => panic!("this had to fail"),
        Err(error) => error,
    }
}

/// A flow on both ends, client first.
async fn pair(client: FlowSettings, server: FlowSettings) -> (Flow, Flow) {
    let (mut listener, address) = listen(ListenerSettings { flow: server, ..ListenerSettings::default() }).await;
    let mut settings = WebSocketSettings::new(format!("ws://{address}/"));
    settings.flow = client;
    let transport = WebSocketTransport::new(settings).unwrap();
    let (flow, accepted) = tokio::join!(transport.connect(), listener.accept());
    (flow.unwrap().into(), accepted.flow.into())
}

/// Our client's flow, and a peer that is bare tungstenite.
async fn with_bare_server(settings: FlowSettings) -> (Flow, Peer) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let mut client = WebSocketSettings::new(format!("ws://{}/", listener.local_addr().unwrap()));
    client.flow = settings;
    let transport = WebSocketTransport::new(client).unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept_hdr_async(stream, choosing(Some("sip"))).await.unwrap()
    };
    let (flow, peer) = tokio::join!(transport.connect(), server);
    (flow.unwrap().into(), peer)
}

/// A server's choice of sub-protocol, whatever was offered.
#[expect(clippy::result_large_err, reason = "tungstenite's callback asks for this type")]
fn choosing(protocol: Option<&'static str>) -> impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> {
    move |_, mut response| {
        if let Some(protocol) = protocol {
            response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
        }
        Ok(response)
    }
}

/// A server that takes one connection, reads what comes first, says `answer` and then holds its tongue.
async fn server_that_says(answer: &'static [u8]) -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(answer).await.unwrap();
        stream
    });
    (address, server)
}

#[expect(clippy::disallowed_methods, reason = "the clock is paused: this asks how far it was moved")]
fn paused_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

async fn message(flow: &Flow) -> Bytes {
    flow.receive().await.expect("the flow has ended").unwrap()
}

// ---- messages ----

#[tokio::test]
async fn messages_and_keep_alives_go_both_ways() {
    let (client, server) = pair(FlowSettings::default(), FlowSettings::default()).await;
    let options = Bytes::from_static("OPTIONS sip:a@b SIP/2.0\r\nX-Имя: Иван\r\n\r\n".as_bytes());
    let with_binary_body = Bytes::from_static(b"MESSAGE sip:a@b SIP/2.0\r\n\r\n\xff\xfe\x00");
    for sent in [options, KEEP_ALIVE_PING, with_binary_body] {
        client.send(sent.clone()).await.unwrap();
        assert_eq!(message(&server).await, sent);
        server.send(sent.clone()).await.unwrap();
        assert_eq!(message(&client).await, sent);
    }
}

#[tokio::test]
async fn text_is_sent_where_it_is_utf_8_and_both_kinds_are_taken() {
    let (flow, mut peer) = with_bare_server(FlowSettings::default()).await;
    flow.send(Bytes::from_static("Иван".as_bytes())).await.unwrap();
    assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("Иван"));
    flow.send(Bytes::from_static(b"\xff")).await.unwrap();
    assert_eq!(peer.next().await.unwrap().unwrap(), Message::binary(&b"\xff"[..]));
    peer.send(Message::text("text")).await.unwrap();
    peer.send(Message::binary(&b"binary\xff"[..])).await.unwrap();
    assert_eq!(message(&flow).await, &b"text"[..]);
    assert_eq!(message(&flow).await, &b"binary\xff"[..]);
}

#[tokio::test]
async fn a_ping_is_answered_while_somebody_receives() {
    let (flow, mut peer) = with_bare_server(FlowSettings::default()).await;
    let receiving = tokio::spawn({
        let flow = Arc::clone(&flow);
        async move { message(&flow).await }
    });
    peer.send(Message::Ping(Bytes::from_static(b"42"))).await.unwrap();
    assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"42")));
    peer.send(Message::text("after")).await.unwrap();
    assert_eq!(receiving.await.unwrap(), &b"after"[..]);
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let transport = transport(format!("ws://{}/", listener.local_addr().unwrap()));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept_hdr_async(stream, choosing(Some("sip"))).await.unwrap().into_inner()
    };
    let (flow, mut stream) = tokio::join!(transport.connect(), server);
    let flow: Flow = flow.unwrap().into();
    // One text frame of five bytes (RFC 6455 §5.2), byte by byte; each time somebody looks and goes away again.
    let frame = b"\x81\x05hello";
    for (sent, byte) in frame.iter().enumerate() {
        assert!(flow.receive().now_or_never().is_none(), "a message after {sent} bytes");
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(message(&flow).await, &b"hello"[..]);
}

#[tokio::test]
async fn a_peer_that_does_not_read_blocks_sending_but_not_receiving_and_is_given_up() {
    let (flow, mut peer) = with_bare_server(FlowSettings::default()).await;
    tokio::time::pause();
    let big = Bytes::from(vec![b'x'; DEFAULT_MESSAGE_LIMIT_BYTES]);
    let sending = tokio::spawn({
        let flow = Arc::clone(&flow);
        async move {
            // The peer reads nothing, so this ends when the system's buffers are full.
            loop {
                if let Err(error) = flow.send(big.clone()).await {
                    break error;
                }
            }
        }
    });
    peer.send(Message::text("meanwhile")).await.unwrap();
    assert_eq!(message(&flow).await, &b"meanwhile"[..]);
    let error = sending.await.unwrap();
    assert_eq!(error, Error::FlowLost { problem: "it took no message for 10 s".into() });
}

// ---- limits ----

#[tokio::test]
async fn too_large_a_message_is_not_sent_and_harms_nothing() {
    let (client, server) = pair(FlowSettings::default(), FlowSettings::default()).await;
    let error = client.send(vec![b'x'; DEFAULT_MESSAGE_LIMIT_BYTES + 1].into()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { problem } if problem.contains("65537") && problem.contains("65536")),
        "{error}"
    );
    let largest = Bytes::from(vec![b'x'; DEFAULT_MESSAGE_LIMIT_BYTES]);
    let (sent, received) = tokio::join!(client.send(largest.clone()), message(&server));
    sent.unwrap();
    assert_eq!(received, largest);
}

#[tokio::test]
async fn too_large_a_message_from_the_peer_ends_the_flow_and_the_peer_is_told_why() {
    let (flow, mut peer) = with_bare_server(FlowSettings { message_limit_bytes: 100, ..FlowSettings::default() }).await;
    peer.send(Message::text("x".repeat(101))).await.unwrap();
    let error = flow.receive().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { problem } if problem.contains("101") && problem.contains("100")),
        "{error}"
    );
    assert!(flow.receive().await.is_none());
    let told = peer.next().await.unwrap().unwrap();
    assert!(matches!(&told, Message::Close(Some(frame)) if frame.code == CloseCode::Size), "{told:?}");
}

#[tokio::test]
async fn the_limit_counts_for_fragments_together() {
    let (flow, peer) = with_bare_server(FlowSettings { message_limit_bytes: 100, ..FlowSettings::default() }).await;
    let mut stream = peer.into_inner();
    let mut fragments = vec![0x01, 60];
    fragments.extend([b'x'; 60]);
    fragments.extend([0x80, 60]);
    fragments.extend([b'x'; 60]);
    stream.write_all(&fragments).await.unwrap();
    assert_eq!(flow.receive().await.unwrap().unwrap_err().code(), "protocol");
}

#[tokio::test]
async fn text_that_is_not_utf_8_and_frames_that_are_not_websocket_end_the_flow() {
    for (bytes, close_code) in [(&b"\x81\x01\xff"[..], 1007_u16), (b"\xf1\x00", 1002), (b"\x83\x00", 1002)] {
        let (flow, peer) = with_bare_server(FlowSettings::default()).await;
        let mut stream = peer.into_inner();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(flow.receive().await.unwrap().unwrap_err().code(), "protocol", "{bytes:?}");
        assert!(flow.receive().await.is_none());
        // A masked close frame: two bytes of header, four of mask, then the code.
        let mut head = [0; 8];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[0], 0x88, "{bytes:?}");
        assert_eq!(u16::from_be_bytes([head[6] ^ head[2], head[7] ^ head[3]]), close_code, "{bytes:?}");
    }
}

// ---- the end of a flow ----

#[tokio::test]
async fn an_orderly_close_by_either_side_is_the_end_and_no_error() {
    for server_closes in [false, true] {
        let (client, server) = pair(FlowSettings::default(), FlowSettings::default()).await;
        let (closing, other) = if server_closes { (server, client) } else { (client, server) };
        let (_, received) = tokio::join!(closing.close(), other.receive());
        assert_eq!(received, None, "server_closes: {server_closes}");
        for flow in [&closing, &other] {
            assert_eq!(flow.receive().await, None);
            assert_eq!(flow.send(KEEP_ALIVE_PING).await, Err(Error::FlowLost { problem: "it is closed".into() }));
            flow.close().await;
        }
    }
}

#[tokio::test]
async fn a_peer_that_closes_with_a_complaint_is_quoted() {
    let (flow, mut peer) = with_bare_server(FlowSettings::default()).await;
    peer.close(Some(CloseFrame { code: CloseCode::Away, reason: "restart\nnow".into() })).await.unwrap();
    let (received, answer) = tokio::join!(flow.receive(), peer.next());
    let error = received.unwrap().unwrap_err();
    assert_eq!(error, Error::FlowLost { problem: "the peer closed it with code 1001 \"restart\\nnow\"".into() });
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    assert!(flow.receive().await.is_none());
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_lost_flow() {
    let (flow, peer) = with_bare_server(FlowSettings::default()).await;
    drop(peer);
    assert_eq!(flow.receive().await.unwrap().unwrap_err().code(), "flow_lost");
    assert!(flow.receive().await.is_none());
    assert_eq!(flow.send(KEEP_ALIVE_PING).await.unwrap_err().code(), "flow_lost");
}

#[tokio::test]
async fn an_error_is_not_lost_with_a_dropped_receive() {
    let (flow, mut peer) = with_bare_server(FlowSettings::default()).await;
    peer.send(Message::Close(Some(CloseFrame { code: CloseCode::Policy, reason: "no".into() }))).await.unwrap();
    // The peer has our answer and does not close TCP: `receive` has met the end and has not told it yet.
    tokio::select! {
        received = flow.receive() => panic!("{received:?} before the connection was closed"),
        answer = peer.next() => assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}"),
    }
    assert_eq!(flow.receive().await.unwrap().unwrap_err().code(), "flow_lost");
    assert!(flow.receive().await.is_none());
}

#[tokio::test]
async fn closing_is_bounded_and_releases_whoever_waits() {
    // The peer holds the connection open and answers nothing, not even the close frame.
    let (flow, _silent) = with_bare_server(FlowSettings::default()).await;
    let receiving = tokio::spawn({
        let flow = Arc::clone(&flow);
        async move { flow.receive().await }
    });
    tokio::task::yield_now().await;
    tokio::time::pause();
    let before = paused_now();
    flow.close().await;
    assert_eq!(receiving.await.unwrap(), None);
    let took = before.elapsed();
    assert!(took >= DEFAULT_CLOSE_TIMEOUT && took < DEFAULT_CLOSE_TIMEOUT * 2, "{took:?}");
}

// ---- connecting ----

#[tokio::test]
async fn a_server_that_refuses_is_quoted_with_its_status() {
    for (answer, status) in [
        (&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..], 404),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 503),
    ] {
        let (address, _server) = server_that_says(answer).await;
        let error = failure(transport(format!("ws://{address}/sip?token=s3cret")).connect().await);
        assert_eq!(error, Error::WebSocketRefused { url: format!("ws://{address}/sip"), status });
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_websocket() {
    let (address, _server) = server_that_says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    let error = failure(transport(format!("ws://{address}/?token=s3cret")).connect().await);
    let shown = format!("ws://{address}/");
    assert!(matches!(&error, Error::NotWebSocket { url, problem } if *url == shown && !problem.is_empty()), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn another_sub_protocol_than_sip_is_not_taken() {
    for chosen in [None, Some("mqtt"), Some("sip, mqtt")] {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            accept_hdr_async(stream, choosing(chosen)).await
        };
        let transport = transport(format!("ws://{address}/"));
        let (flow, _) = tokio::join!(transport.connect(), server);
        assert_eq!(failure(flow), Error::SubprotocolRefused { url: format!("ws://{address}/"), chosen: None });
    }
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_told_apart() {
    let address = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    let error = failure(transport(format!("ws://{address}/")).connect().await);
    assert!(matches!(&error, Error::Connect { address: shown, .. } if *shown == address.to_string()), "{error}");

    // No name ends in `.invalid` (RFC 6761 §6.4).
    let error = failure(transport("ws://nothing.invalid/").connect().await);
    assert!(matches!(&error, Error::NameResolution { host, .. } if host == "nothing.invalid"), "{error}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
    let closed = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    let open = TcpListener::bind(LOOPBACK).await.unwrap();
    let good = open.local_addr().unwrap();
    // TEST-NET-1 (RFC 5737): silent, or unreachable at once, as the network likes it.
    let silent = SocketAddr::from(([192, 0, 2, 1], 9));
    tokio::time::pause();
    let stream = connect::connect_to_first(&[closed, silent, good]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
    assert!(connect::connect_to_first(&[closed, closed]).await.is_err());
}

#[tokio::test]
async fn each_stage_of_connecting_ends_at_the_deadline() {
    // The system accepts the connection; nobody ever reads from it.
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    for (url, operation) in [("ws", "the WebSocket handshake"), ("wss", "the TLS handshake")] {
        let mut settings = WebSocketSettings::new(format!("{url}://{address}/"));
        settings.tls.extra_ca_certificates_pem = vec![Authority::new().pem()];
        settings.connect_timeout = Duration::from_secs(7);
        let transport = WebSocketTransport::new(settings).unwrap();
        tokio::time::pause();
        let error = failure(transport.connect().await);
        assert_eq!(error, Error::Timeout { operation, after: Duration::from_secs(7) });
        tokio::time::resume();
    }
}

// ---- TLS ----

/// A certificate authority of one's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority of our own");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn pem(&self) -> String {
        self.pem.clone()
    }

    fn sign(&self, params: &CertificateParams) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        TlsIdentity { certificate_chain_pem: pem, private_key_pem: SecretString::from(key.serialize_pem()) }
    }
}

fn certificate_for(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
}

/// What `openssl req -x509` makes, if `authority`: a server's certificate that is its own authority.
fn self_signed(mut params: CertificateParams, authority: bool) -> TlsIdentity {
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    TlsIdentity { certificate_chain_pem: pem, private_key_pem: SecretString::from(key.serialize_pem()) }
}

/// Connects to a server with that identity by the name `localhost`, and gives back what the client met.
async fn connect_by_tls(identity: TlsIdentity, tls: TlsSettings) -> crate::Result<()> {
    let (mut listener, address) = listen(ListenerSettings { tls: Some(identity), ..ListenerSettings::default() }).await;
    let mut settings = WebSocketSettings::new(format!("wss://localhost:{}/", address.port()));
    settings.tls = tls;
    let transport = WebSocketTransport::new(settings)?;
    assert!(transport.is_secure());
    let serving = tokio::spawn(async move {
        let accepted = listener.accept().await;
        let bytes = accepted.flow.receive().await.unwrap().unwrap();
        accepted.flow.send(bytes).await.unwrap();
        accepted.flow.receive().await
    });
    let flow = transport.connect().await;
    let flow: Flow = match flow {
        Ok(flow) => flow.into(),
        Err(error) => {
            serving.abort();
            return Err(error);
        }
    };
    flow.send(KEEP_ALIVE_PING).await?;
    assert_eq!(message(&flow).await, KEEP_ALIVE_PING);
    flow.close().await;
    assert_eq!(serving.await.unwrap(), None);
    Ok(())
}

fn trusting(pem: impl Into<String>) -> TlsSettings {
    TlsSettings { extra_ca_certificates_pem: vec![pem.into()], ..TlsSettings::default() }
}

fn tls_fault(result: crate::Result<()>) -> TlsFault {
    match failure(result) {
        Error::Tls { host, fault } => {
            assert_eq!(host, "localhost");
            fault
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_of_a_configured_authority_is_trusted() {
    let authority = Authority::new();
    connect_by_tls(authority.sign(&certificate_for(&["localhost"])), trusting(authority.pem())).await.unwrap();
}

#[tokio::test]
async fn an_authority_of_the_same_name_with_another_key_is_unknown() {
    let (old, new) = (Authority::new(), Authority::new());
    let refused = connect_by_tls(new.sign(&certificate_for(&["localhost"])), trusting(old.pem())).await;
    assert_eq!(tls_fault(refused), TlsFault::UnknownIssuer);
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_unless_it_is_configured() {
    // Some other authority is configured, for this machine may have none of its own.
    let other = Authority::new().pem();
    for authority in [false, true] {
        let identity = self_signed(certificate_for(&["localhost"]), authority);
        let refused = connect_by_tls(identity.clone(), trusting(&other)).await;
        assert_eq!(tls_fault(refused), TlsFault::UnknownIssuer, "authority: {authority}");
        let pem = identity.certificate_chain_pem.clone();
        connect_by_tls(identity, trusting(pem)).await.unwrap_or_else(|error| panic!("authority: {authority}: {error}"));
    }
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused_and_both_are_told() {
    let authority = Authority::new();
    let signed = authority.sign(&certificate_for(&["sip.example.com", "10.1.2.3"]));
    for (identity, trusted) in [(signed, authority.pem()), {
        let own = self_signed(certificate_for(&["sip.example.com", "10.1.2.3"]), true);
        let pem = own.certificate_chain_pem.clone();
        (own, pem)
    }] {
        let fault = tls_fault(connect_by_tls(identity, trusting(trusted)).await);
        let TlsFault::NameMismatch { expected, presented } = &fault else { panic!("{fault:?}") };
        assert_eq!(expected, "localhost");
        assert_eq!(presented, &["sip.example.com", "10.1.2.3"]);
    }
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_even_if_it_is_configured_itself() {
    let mut expired = certificate_for(&["localhost"]);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut not_yet_valid = certificate_for(&["localhost"]);
    not_yet_valid.not_before = date_time_ymd(3000, 1, 1);
    not_yet_valid.not_after = date_time_ymd(3001, 1, 1);
    for (params, fault) in [(expired, TlsFault::Expired), (not_yet_valid, TlsFault::NotYetValid)] {
        let authority = Authority::new();
        let refused = connect_by_tls(authority.sign(&params), trusting(authority.pem())).await;
        assert_eq!(tls_fault(refused), fault);
        for own_authority in [false, true] {
            let identity = self_signed(params.clone(), own_authority);
            let pem = identity.certificate_chain_pem.clone();
            assert_eq!(tls_fault(connect_by_tls(identity, trusting(pem)).await), fault, "{own_authority}");
        }
    }
}

#[tokio::test]
async fn the_dangerous_way_round_takes_any_certificate() {
    let tls = TlsSettings { danger_accept_any_certificate: true, ..TlsSettings::default() };
    connect_by_tls(self_signed(certificate_for(&["other.example"]), true), tls).await.unwrap();
}

#[tokio::test]
async fn a_port_without_tls_is_told_as_such() {
    let (address, _server) = server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let mut settings = WebSocketSettings::new(format!("wss://{address}/"));
    settings.tls = trusting(Authority::new().pem());
    let error = failure(WebSocketTransport::new(settings).unwrap().connect().await);
    let Error::Tls { fault: TlsFault::Other(text), .. } = &error else { panic!("{error:?}") };
    assert!(text.contains("does not speak TLS"), "{text}");
}

#[tokio::test]
async fn certificates_that_are_none_name_their_setting() {
    let good = Authority::new().pem();
    let cut = good.replace("MII", "AAA");
    let mut settings = WebSocketSettings::new("wss://localhost/");
    settings.tls.extra_ca_certificates_pem = vec![good, "not PEM".into(), String::new(), cut];
    let Error::Configuration { problems } = failure(WebSocketTransport::new(settings)) else { panic!() };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["extraCaCertificatesPem[1]", "extraCaCertificatesPem[2]", "extraCaCertificatesPem[3]"]);

    let authority = Authority::new();
    let right = authority.sign(&certificate_for(&["localhost"]));
    for (chain, key, named) in [
        ("nothing".to_owned(), right.private_key_pem.clone(), "certificateChainPem"),
        (right.certificate_chain_pem.clone(), SecretString::from("s3cret"), "privateKeyPem"),
        (
            right.certificate_chain_pem.clone(),
            authority.sign(&certificate_for(&["x"])).private_key_pem,
            "certificateChainPem",
        ),
    ] {
        let tls = Some(TlsIdentity { certificate_chain_pem: chain, private_key_pem: key });
        let error = failure(WebSocketListener::bind(LOOPBACK, ListenerSettings { tls, ..Default::default() }).await);
        let Error::Configuration { problems } = &error else { panic!("{error:?}") };
        assert_eq!(problems[0].key, named);
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

// ---- the listener ----

async fn offer(address: SocketAddr, protocols: Option<&'static str>) -> Result<Peer, WsError> {
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    if let Some(protocols) = protocols {
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocols));
    }
    client_async(request, TcpStream::connect(address).await.unwrap()).await.map(|(socket, _)| socket)
}

#[tokio::test]
async fn a_client_that_does_not_offer_sip_gets_400() {
    let (mut listener, address) = listen(ListenerSettings::default()).await;
    let serving = tokio::spawn(async move { listener.accept().await });
    for protocols in [None, Some("mqtt"), Some("sipx, mqtt")] {
        match offer(address, protocols).await {
            Err(WsError::Http(response)) => assert_eq!(response.status(), 400, "{protocols:?}"),
            other => panic!("{protocols:?}: {other:?}"),
        }
    }
    let peer = offer(address, Some("mqtt, sip")).await.unwrap();
    assert_eq!(serving.await.unwrap().peer, peer.get_ref().local_addr().unwrap());
}

#[tokio::test]
async fn peers_that_talk_nonsense_or_stall_cost_nobody_else() {
    let (mut listener, address) = listen(ListenerSettings::default()).await;
    let serving = tokio::spawn(async move { listener.accept().await });
    let mut stalled = Vec::new();
    for _ in 0..10 {
        stalled.push(TcpStream::connect(address).await.unwrap());
    }
    let endless_header = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 200_000]].concat();
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\r\n\r\n", &endless_header]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The listener may hang up before it has read everything.
        let _ = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    let flow = transport(format!("ws://{address}/")).connect().await.unwrap();
    flow.send(KEEP_ALIVE_PING).await.unwrap();
    assert_eq!(serving.await.unwrap().flow.receive().await, Some(Ok(KEEP_ALIVE_PING)));
}

#[tokio::test]
async fn stalled_handshakes_are_bounded_in_number_and_time() {
    let settings = ListenerSettings { pending_handshakes: 1, ..ListenerSettings::default() };
    let (mut listener, address) = listen(settings).await;
    let mut stalled = TcpStream::connect(address).await.unwrap();
    assert!(listener.accept().now_or_never().is_none());
    // The one place is taken until the deadline; then the next in the queue gets its turn.
    let client = tokio::spawn(async move { offer(address, Some("sip")).await });
    tokio::time::pause();
    let before = paused_now();
    let accepted = listener.accept().await;
    assert!(before.elapsed() >= DEFAULT_HANDSHAKE_TIMEOUT);
    let peer = client.await.unwrap().unwrap();
    assert_eq!(accepted.peer, peer.get_ref().local_addr().unwrap());
    assert_eq!(stalled.read(&mut [0; 1]).await.unwrap(), 0, "the stalled connection is closed");
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let (_listener, address) = listen(ListenerSettings::default()).await;
    let error = failure(WebSocketListener::bind(address, ListenerSettings::default()).await);
    assert!(matches!(&error, Error::Connect { problem, .. } if problem.contains("cannot be listened on")), "{error}");
}
