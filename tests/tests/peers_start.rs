//! The peers themselves, without a client of ours: each starts, answers, and does what scenarios rely on.
//!
//! Root and the peers' ports on 127.0.0.1 are needed: `cargo xtask e2e` runs this in a network namespace of its own.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use codex_e2e::audio::Audio;
use codex_e2e::peers::{
    APPLICATION, Authority, Baresip, CallerScript, Coturn, Digest, InviteChallenge, Kamailio, PASSWORD, REALM,
    Rtpengine, Sipp, VoicebotScript, ports,
};
use codex_e2e::scenario::{Failure, Scenario};
use codex_e2e::sip_trace;
use codex_e2e::sipp_log::Direction;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const LIMIT: Duration = Duration::from_secs(60);
const CALL_LIMIT: Duration = Duration::from_secs(20);

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Sends a request over UDP and returns the first answer.
async fn over_udp(port: u16, request: &[u8]) -> Fallible<Vec<u8>> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
    socket.connect(("127.0.0.1", port)).await?;
    socket.send(request).await?;
    let mut answer = vec![0; 65_535];
    let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut answer)).await??;
    answer.truncate(length);
    Ok(answer)
}

fn register(user: &str, domain: &str) -> String {
    register_with(user, domain, "")
}

fn register_with(user: &str, domain: &str, more: &str) -> String {
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{user}\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{domain}>;tag=1\r\nTo: <sip:{user}@{domain}>\r\nCall-ID: register-{user}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:{user}@127.0.0.1:5999>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// The answer to a WebSocket handshake (RFC 6455 §4.1) for `path`.
async fn handshake(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Fallible<String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let length = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut chunk)).await??;
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..length]);
    }
    Ok(String::from_utf8(answer)?)
}

/// A TLS connection to the edge as somebody who trusts `ca_pem` only.
async fn over_tls(ca_pem: &str, name: &'static str) -> Fallible<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", ports::EDGE_WSS)).await?;
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name)?, stream).await?)
}

#[tokio::test]
async fn kamailio_answers_over_udp_ws_and_wss() -> Result<(), Failure> {
    Scenario::new("kamailio_answers_over_udp_ws_and_wss", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let answer = handshake(TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?, "/").await?;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            // RFC 6455 §1.3 computes this very answer to this very key.
            assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
            assert!(answer.contains("Sec-WebSocket-Protocol: sip\r\n"), "{answer}");
            let refused = handshake(TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?, "/nowhere").await?;
            assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");

            for name in ["localhost", "127.0.0.1"] {
                let answer = handshake(over_tls(edge.ca_pem(), name).await?, "/").await?;
                assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            }
            let wrong_name = over_tls(edge.ca_pem(), "sip.example.test").await.unwrap_err().to_string();
            assert!(wrong_name.contains("sip.example.test"), "{wrong_name}");
            let wrong_authority = over_tls(&Authority::new()?.ca_pem(), "localhost").await.unwrap_err().to_string();
            assert!(wrong_authority.contains("invalid peer certificate"), "{wrong_authority}");
            assert!(edge.contacts("nobody").await?.is_empty());
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_expired_certificate_is_what_the_edge_shows() -> Result<(), Failure> {
    Scenario::new("an_expired_certificate_is_what_the_edge_shows", LIMIT)
        .play(async |stage| {
            let identity = Authority::new()?.expired_identity(&["localhost"])?;
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let error = over_tls(edge.ca_pem(), "localhost").await.unwrap_err().to_string();
            assert!(error.contains("expired"), "{error}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn register_is_challenged_with_the_chosen_algorithm_and_other_realms_are_forbidden() -> Result<(), Failure> {
    for (digest, algorithm) in [(Digest::Md5, "MD5"), (Digest::Sha256, "SHA-256")] {
        Scenario::new("register_is_challenged", LIMIT)
            .play(async |stage| {
                let invite_challenge = InviteChallenge::Unauthorized;
                let edge = Kamailio::builder().digest(digest).invite_challenge(invite_challenge).start(stage).await?;
                let challenge = over_udp(ports::EDGE_SIP, register("user_12345", REALM).as_bytes()).await?;
                assert_eq!(sip_trace::first_line(&challenge), "SIP/2.0 401 Unauthorized");
                let parameters = sip_trace::header(&challenge, "WWW-Authenticate").unwrap_or_default();
                assert!(parameters.starts_with(&format!("Digest realm=\"{REALM}\", nonce=\"")), "{parameters}");
                assert!(parameters.contains("qop=\"auth\""), "{parameters}");
                let named = parameters.split("algorithm=").nth(1).unwrap_or_default();
                assert_eq!(named.trim(), algorithm, "{parameters}");
                let forbidden = over_udp(ports::EDGE_SIP, register("user_12345", "elsewhere.test").as_bytes()).await?;
                assert_eq!(sip_trace::first_line(&forbidden), "SIP/2.0 403 Forbidden");
                assert!(edge.contacts("user_12345").await?.is_empty());
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_challenged_again_or_forbidden_with_its_reason() -> Result<(), Failure> {
    for (edge, expected, reason) in [
        (Kamailio::builder(), "SIP/2.0 401 Unauthorized", None),
        (Kamailio::builder().forbids_wrong_password(), "SIP/2.0 403 Forbidden", Some("Invalid credentials")),
    ] {
        Scenario::new("a_wrong_password_is_challenged_again_or_forbidden", LIMIT)
            .play(async |stage| {
                let _edge = edge.start(stage).await?;
                let challenge = over_udp(ports::EDGE_SIP, register("user_12345", REALM).as_bytes()).await?;
                let parameters = sip_trace::header(&challenge, "WWW-Authenticate").unwrap_or_default();
                let nonce = parameters.split('"').nth(3).ok_or("no nonce")?;
                let authorization = format!(
                    "Authorization: Digest username=\"user_12345\", realm=\"{REALM}\", nonce=\"{nonce}\", \
                     uri=\"sip:{REALM}\", response=\"{}\", qop=auth, nc=00000001, cnonce=\"c\"\r\n",
                    "0".repeat(32)
                );
                let request = register_with("user_12345", REALM, &authorization);
                let answer = over_udp(ports::EDGE_SIP, request.as_bytes()).await?;
                assert_eq!(sip_trace::first_line(&answer), expected);
                assert_eq!(sip_trace::header(&answer, "X-Reason").as_deref(), reason);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn invite_is_challenged_as_jambonz_does_or_as_a_proxy_does() -> Result<(), Failure> {
    for (challenge, expected, header) in [
        (InviteChallenge::Unauthorized, "SIP/2.0 401 Unauthorized", "WWW-Authenticate"),
        (InviteChallenge::ProxyAuthentication, "SIP/2.0 407 Proxy Authentication Required", "Proxy-Authenticate"),
    ] {
        Scenario::new("invite_is_challenged", LIMIT)
            .play(async |stage| {
                let edge = Kamailio::builder().digest(Digest::Sha256).invite_challenge(challenge);
                let edge = edge.registration(Duration::from_secs(5)).nonce_lifetime(Duration::from_secs(2));
                let _edge = edge.start(stage).await?;
                let target = format!("sip:{APPLICATION}@{REALM}");
                let mut caller = WebSocketCaller::connect("a-challenged-call").await?;
                caller.send("INVITE", &target, &format!("<{target}>"), "invite", "", "").await?;
                let answer = caller.receive().await?;
                assert_eq!(sip_trace::first_line(&answer), expected);
                let parameters = sip_trace::header(&answer, header).ok_or("no challenge")?;
                assert!(parameters.contains("algorithm=SHA-256"), "{parameters}");
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_edge_is_gone_and_comes_back() -> Result<(), Failure> {
    Scenario::new("a_killed_edge_is_gone_and_comes_back", LIMIT)
        .play(async |stage| {
            let mut edge = Kamailio::builder().start(stage).await?;
            let mut connection = TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?;
            let answer = handshake(&mut connection, "/").await?;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            edge.kill();
            let mut byte = [0];
            // Closed or reset: both end it.
            let end = tokio::time::timeout(Duration::from_secs(5), connection.read(&mut byte)).await?;
            assert!(!matches!(end, Ok(1..)), "{end:?}");
            // The processes that share its port end one after the other.
            let is_gone = async { while TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await.is_ok() {} };
            tokio::time::timeout(Duration::from_secs(5), is_gone).await?;
            edge.start_again().await?;
            edge.restart().await?;
            let answer = handshake(TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?, "/").await?;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn sipp_calls_sipp_and_headers_arrive_byte_for_byte() -> Result<(), Failure> {
    const CUSTOMER_DATA: &str = r#"{"clientName":"Иван Иванов","callType":"callback","customFields":{"ticket":"№42"}}"#;
    for user in [APPLICATION.to_owned(), format!("app-{APPLICATION}")] {
        Scenario::new("sipp_calls_sipp_and_headers_arrive_byte_for_byte", LIMIT)
            .play(async |stage| {
                let _media = Rtpengine::start(stage).await?;
                let _edge = Kamailio::builder().with_rtpengine().start(stage).await?;
                let ringing = Duration::from_millis(200);
                let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing }).start(stage).await?;
                let talking = Duration::from_millis(300);
                let caller = Sipp::caller(CallerScript::Talks { talking }, &user).customer_data(CUSTOMER_DATA);
                let mut caller = caller.user_to_user("7b7d;encoding=hex").start(stage).await?;
                let invite = voicebot.received("INVITE", CALL_LIMIT).await?;
                assert_eq!(invite.first_line(), format!("INVITE sip:{user}@{REALM} SIP/2.0"));
                assert_eq!(invite.header("X-Customer-Data"), Some(CUSTOMER_DATA.as_bytes()));
                assert_eq!(invite.header("User-to-User"), Some(&b"7b7d;encoding=hex"[..]));
                caller.succeeded(CALL_LIMIT).await?;
                voicebot.succeeded(CALL_LIMIT).await?;
                let statuses: Vec<u16> = caller.messages()?.iter().filter_map(|message| message.status()).collect();
                assert_eq!(statuses, [100, 180, 200, 200]);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn voicebots_refuse_ring_and_hang_up() -> Result<(), Failure> {
    let ringing = Duration::from_millis(200);
    let talking = Duration::from_millis(300);
    for (voicebot, caller, statuses) in [
        (VoicebotScript::Busy, CallerScript::IsRefused, &[100, 180, 486][..]),
        (VoicebotScript::Declines, CallerScript::IsRefused, &[100, 180, 603]),
        (VoicebotScript::NoApplication, CallerScript::IsRefused, &[100, 480]),
        (VoicebotScript::Rings, CallerScript::Cancels { ringing }, &[100, 180, 200, 487]),
        (VoicebotScript::HangsUp { talking }, CallerScript::WaitsForBye, &[100, 180, 200]),
    ] {
        Scenario::new("voicebots_refuse_ring_and_hang_up", LIMIT)
            .play(async |stage| {
                let _edge = Kamailio::builder().start(stage).await?;
                let mut voicebot = Sipp::voicebot(voicebot).start(stage).await?;
                let mut caller = Sipp::caller(caller, APPLICATION).start(stage).await?;
                caller.succeeded(CALL_LIMIT).await?;
                voicebot.succeeded(CALL_LIMIT).await?;
                let messages = caller.messages()?;
                let received = messages.iter().filter(|message| message.direction == Direction::Received);
                let seen: Vec<u16> = received.filter_map(|message| message.status()).collect();
                assert_eq!(seen, statuses);
                if let Some(bye) = messages.iter().find(|message| message.method().as_deref() == Some("BYE")) {
                    let reason: &[u8] = br#"Q.850;cause=16;text="Normal call clearing""#;
                    assert_eq!(bye.header("Reason"), Some(reason));
                }
                if seen.last() == Some(&480) {
                    let refusal = messages.iter().find(|message| message.status() == Some(480));
                    let line = refusal.map(|message| message.first_line()).unwrap_or_default();
                    assert_eq!(line, "SIP/2.0 480 no configured application");
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// A WebSocket client that speaks just enough SIP for one call that is cancelled.
struct WebSocketCaller {
    socket: tokio_tungstenite::WebSocketStream<TcpStream>,
    call_id: String,
}

impl WebSocketCaller {
    async fn connect(call_id: &str) -> Fallible<WebSocketCaller> {
        let mut request = format!("ws://127.0.0.1:{}/", ports::EDGE_WS).into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("sip"));
        let stream = TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(WebSocketCaller { socket, call_id: call_id.to_owned() })
    }

    /// Sends a request; `to` is the To header's value, `branch` tells apart transactions.
    async fn send(
        &mut self,
        method: &str,
        target: &str,
        to: &str,
        branch: &str,
        more: &str,
        body: &str,
    ) -> Fallible<()> {
        let number = if method == "BYE" { 2 } else { 1 };
        let request = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/WS caller.invalid;rport;branch=z9hG4bK{branch}\r\n\
             From: <sip:user_12345@{REALM}>;tag=1\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Max-Forwards: 70\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.call_id,
            body.len()
        );
        self.socket.send(WebSocketMessage::text(request)).await?;
        Ok(())
    }

    async fn receive(&mut self) -> Fallible<Vec<u8>> {
        loop {
            let message = tokio::time::timeout(CALL_LIMIT, self.socket.next()).await?.ok_or("the edge closed")??;
            if message.is_text() || message.is_binary() {
                return Ok(message.into_data().to_vec());
            }
        }
    }

    /// Calls the application, cancels as soon as it rings, and takes an answer with ACK and BYE. Returns status and method
    /// of every answer in order.
    async fn call_and_cancel(&mut self) -> Fallible<Vec<String>> {
        const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio 45000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";
        let target = format!("sip:{APPLICATION}@{REALM}");
        let to = format!("<{target}>");
        let contact = "Contact: <sip:user_12345@caller.invalid;transport=ws>\r\nContent-Type: application/sdp\r\n";
        self.send("INVITE", &target, &to, "invite", contact, OFFER).await?;
        let mut answers = Vec::new();
        loop {
            let answer = self.receive().await?;
            let line = sip_trace::first_line(&answer);
            let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let cseq = sip_trace::header(&answer, "CSeq").unwrap_or_default();
            let method = cseq.split(' ').nth(1).unwrap_or_default().to_owned();
            match (status.as_str(), method.as_str()) {
                ("180", "INVITE") => self.send("CANCEL", &target, &to, "invite", "", "").await?,
                ("200", "INVITE") => {
                    let text = String::from_utf8(answer)?;
                    // RFC 3261 §12.1.2: the route set is the Record-Routes of the answer in reverse order.
                    let mut routes: Vec<&str> = text
                        .lines()
                        .filter_map(|line| line.strip_prefix("Record-Route: "))
                        .flat_map(|line| line.split(", "))
                        .collect();
                    routes.reverse();
                    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
                    let header = |name| sip_trace::header(text.as_bytes(), name).ok_or(name);
                    let (to, contact) = (header("To")?, header("Contact")?);
                    let contact = contact.trim_start_matches('<').trim_end_matches('>');
                    self.send("ACK", contact, &to, "ack", &routes, "").await?;
                    self.send("BYE", contact, &to, "bye", &routes, "").await?;
                }
                _ => {}
            }
            answers.push(format!("{status} {method}"));
            // The last thing to come: the answer to BYE, with the crossing CANCEL's before or after it.
            let has = |wanted: &str| answers.iter().any(|answer| answer == wanted);
            if has("200 CANCEL") && (has("200 BYE") || has("487 INVITE")) {
                return Ok(answers);
            }
        }
    }
}

#[tokio::test]
async fn a_200_comes_after_a_cancel_or_crosses_it() -> Result<(), Failure> {
    let delay = Duration::from_millis(600);
    let ringing = Duration::from_millis(200);
    for (edge, voicebot, expected) in [
        (
            Kamailio::builder(),
            VoicebotScript::AnswersAfterCancel,
            ["100 INVITE", "180 INVITE", "200 CANCEL", "200 INVITE", "200 BYE"],
        ),
        (
            Kamailio::builder().cancel_delay(delay),
            VoicebotScript::Answers { ringing },
            ["100 INVITE", "180 INVITE", "200 INVITE", "200 CANCEL", "200 BYE"],
        ),
    ] {
        Scenario::new("a_200_comes_after_a_cancel_or_crosses_it", LIMIT)
            .play(async |stage| {
                let _edge = edge.start(stage).await?;
                let mut voicebot = Sipp::voicebot(voicebot).start(stage).await?;
                let answers = WebSocketCaller::connect("a-cancelled-call").await?.call_and_cancel().await?;
                assert_eq!(answers, expected);
                voicebot.succeeded(CALL_LIMIT).await?;
                let ended = voicebot.received("BYE", CALL_LIMIT).await?;
                assert!(ended.header("Route").is_none(), "the edge took its routes away");
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_goes_another_way_than_its_script_is_an_error() -> Result<(), Failure> {
    Scenario::new("a_call_that_goes_another_way_than_its_script_is_an_error", LIMIT)
        .play(async |stage| {
            let _edge = Kamailio::builder().start(stage).await?;
            let _voicebot = Sipp::voicebot(VoicebotScript::Busy).start(stage).await?;
            let mut caller = Sipp::caller(CallerScript::WaitsForBye, APPLICATION).start(stage).await?;
            let error = caller.succeeded(CALL_LIMIT).await.unwrap_err().to_string();
            assert!(error.contains("486"), "{error}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn baresip_plays_records_and_takes_digits() -> Result<(), Failure> {
    Scenario::new("baresip_plays_records_and_takes_digits", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let _edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let talking = Duration::from_millis(1500);
            let mut caller = Sipp::caller(CallerScript::Talks { talking }, APPLICATION).start(stage).await?;
            let call = voicebot.event("CALL_ESTABLISHED", CALL_LIMIT).await?;
            assert_eq!(
                (call.peer_uri.as_str(), call.peer_display_name.as_str()),
                ("sip:voicebot@sip.example.test", "voicebot")
            );
            voicebot.event("CALL_RTPESTAB", CALL_LIMIT).await?;
            voicebot.send_digit('5').await?;
            voicebot.event("CALL_CLOSED", CALL_LIMIT).await?;
            caller.succeeded(CALL_LIMIT).await?;
            assert_eq!(voicebot.digits(), "1");
            let played: Audio = voicebot.played()?;
            let (frequency_hz, amplitude) = played.strongest_tone(300.0, 3400.0).ok_or("nothing was played")?;
            assert_eq!(frequency_hz, 620.0, "amplitude {amplitude}");
            let heard = voicebot.heard()?;
            assert!(heard.seconds() > 1.0 && heard.level() > 0.001, "{} s, level {}", heard.seconds(), heard.level());
            Ok(())
        })
        .await
}

#[tokio::test]
async fn coturn_answers_and_asks_for_credentials() -> Result<(), Failure> {
    Scenario::new("coturn_answers_and_asks_for_credentials", LIMIT)
        .play(async |stage| {
            let relay = Coturn::start(stage).await?;
            assert_eq!(relay.turn_url(), "turn:127.0.0.1:3478?transport=udp");
            // Allocate with REQUESTED-TRANSPORT UDP (RFC 8656 §7.1): refused with 401 and the realm.
            let mut allocate = vec![0x00, 0x03, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42];
            allocate.extend_from_slice(b"transaction!");
            allocate.extend_from_slice(&[0x00, 0x19, 0x00, 0x04, 17, 0, 0, 0]);
            let answer = over_udp(ports::TURN, &allocate).await?;
            assert_eq!(answer[..2], [0x01, 0x13]);
            let realm = Coturn::REALM.as_bytes();
            assert!(answer.windows(realm.len()).any(|window| window == realm), "{answer:?}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_failure_shows_the_whole_call_as_a_ladder() {
    let failure = Scenario::new("a_failure_shows_the_whole_call_as_a_ladder", LIMIT)
        .play(async |stage| {
            let _edge = Kamailio::builder().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Busy).start(stage).await?;
            let mut caller = Sipp::caller(CallerScript::IsRefused, APPLICATION).start(stage).await?;
            caller.succeeded(CALL_LIMIT).await?;
            voicebot.succeeded(CALL_LIMIT).await?;
            Err("that is how it should end".into())
        })
        .await
        .unwrap_err()
        .to_string();
    let from = failure.find("SIP trace").unwrap();
    let to = failure.find("log of").unwrap();
    let ladder = &failure[from..to];
    for part in ["caller", "edge", "voicebot", "INVITE sip:3f2b8c1e", "486 Busy Here (INVITE)", "ACK sip:3f2b8c1e"] {
        assert!(ladder.contains(part), "`{part}` is missing in\n{failure}");
    }
    // INVITE, 486 and ACK on each side of the edge, 180 on both, 100 towards the caller: every message once.
    let messages = ladder.lines().filter(|line| line.contains('>') || line.contains("|<")).count();
    assert_eq!(messages, 9, "{ladder}");
    assert!(!ladder.contains(PASSWORD));
    for log in ["log of kamailio", "log of voicebot", "log of caller"] {
        assert!(failure.contains(log), "`{log}` is missing in\n{failure}");
    }
}
