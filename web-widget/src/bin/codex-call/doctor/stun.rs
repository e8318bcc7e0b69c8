//! STUN and TURN servers: whether they answer, and whether TURN gives a relay.

use std::net::SocketAddr;
use std::time::Duration;

use codex_core_sip::config::SipClientConfig;
use codex_web_widget::Text;
use rtc::stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use rtc::stun::error_code::ErrorCodeAttribute;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    BINDING_REQUEST, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_REFRESH, Message,
    MessageType, Setter, TransactionId,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::stun::xoraddr::XorMappedAddress;
use rtc::turn::proto::PROTO_UDP;
use rtc::turn::proto::lifetime::Lifetime;
use rtc::turn::proto::relayaddr::RelayedAddress;
use rtc::turn::proto::reqtrans::RequestedTransport;
use secrecy::ExposeSecret as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::report::{Check, Report};
use crate::exit::Kind;
use crate::explanation::Explanation;
use crate::task::now;

/// When a request is sent again, and how long the last one is waited for (RFC 8489 §6.2.1, shortened for a person who waits).
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(1500)];
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Larger answers are not STUN.
const ANSWER_LIMIT_BYTES: usize = 1500;

/// Why a server is of no use.
enum Fault {
    Name(String),
    Silent(String),
    /// 401 to right credentials, 403 and the like, with status and phrase.
    Refused(u16, String),
    Nonsense(String),
}

/// Where a URL leads.
struct Server {
    host: String,
    port: u16,
    /// TCP or TLS.
    stream: bool,
}

pub(super) async fn check(report: &mut Report<'_>, config: &SipClientConfig) {
    if config.ice_servers.is_empty() {
        return report.left_out(
            Check::Stun,
            &Text::fixed(
                "no STUN_URLS and no TURN_URLS; behind NAT audio may need them",
                "STUN_URLS и TURN_URLS не заданы; за NAT без них звука может не быть",
            ),
        );
    }
    for server in &config.ice_servers {
        for url in &server.urls {
            let turn = url.to_ascii_lowercase().starts_with("turn");
            let check = if turn { Check::Turn } else { Check::Stun };
            let found = match (turn, &server.username, &server.credential) {
                (true, Some(user), Some(password)) => relay(url, user, password.expose_secret()).await,
                _ => binding(url).await,
            };
            match found {
                Ok(text) => report.fine(check, &text),
                Err(fault) => tell(report, check, url, fault),
            }
        }
    }
}

fn tell(report: &mut Report<'_>, check: Check, url: &str, fault: Fault) {
    let key = if check == Check::Turn { "TURN_URLS" } else { "STUN_URLS" };
    let (what, remedy, details) = match fault {
        Fault::Name(details) => (
            Text::new(format!("{url}: the name has no address"), format!("{url}: имя не находится в DNS")),
            Text::new(format!("check the host in {key}"), format!("проверьте имя хоста в {key}")),
            details,
        ),
        Fault::Silent(details) => (
            Text::new(format!("{url} does not answer"), format!("{url} не отвечает")),
            Text::new(
                format!(
                    "check host and port in {key}, that the server runs, and that UDP gets through the firewalls; a dead server delays every call's setup, so take it out if it is not needed"
                ),
                format!(
                    "проверьте хост и порт в {key}, работает ли сервер и проходит ли UDP через межсетевые экраны; неработающий сервер задерживает каждый звонок — уберите его, если он не нужен"
                ),
            ),
            details,
        ),
        Fault::Refused(status, phrase) => {
            let credentials = matches!(status, 401 | 431 | 441);
            (
                if credentials {
                    Text::new(
                        format!("{url} refuses user and password ({status})"),
                        format!("{url} не принимает имя и пароль ({status})"),
                    )
                } else {
                    Text::new(format!("{url} gives no relay ({status})"), format!("{url} не выделяет relay ({status})"))
                },
                if credentials {
                    Text::fixed(
                        "check TURN_USERNAME and TURN_PASSWORD (or those in TURN_URLS); time-limited ones expire",
                        "проверьте TURN_USERNAME и TURN_PASSWORD (или те, что в TURN_URLS); у временных истекает срок",
                    )
                } else {
                    Text::fixed("look at the TURN server's log and quotas", "посмотрите журнал и квоты TURN-сервера")
                },
                phrase,
            )
        }
        Fault::Nonsense(details) => (
            Text::new(
                format!("{url} answers, but not as STUN or TURN do"),
                format!("{url} отвечает, но не как STUN или TURN"),
            ),
            Text::new(
                format!("another service listens there: check the port in {key}"),
                format!("там другая служба: проверьте порт в {key}"),
            ),
            details,
        ),
    };
    report.fault(check, Kind::Stun, &Explanation::new(what, remedy), Some(&details));
}

fn server(url: &str) -> Server {
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
    Server { host: host.to_owned(), port, stream: tls || query == "transport=tcp" }
}

/// Asks a STUN server how it sees us.
async fn binding(url: &str) -> Result<Text, Fault> {
    let server = server(url);
    if server.stream {
        return reachable(url, &server).await;
    }
    let start = now();
    let socket = open(&server).await?;
    let answer = ask(&socket, &[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())]).await?;
    if answer.typ.class != CLASS_SUCCESS_RESPONSE {
        return Err(refusal(&answer));
    }
    let took = start.elapsed().as_millis();
    let mut seen = XorMappedAddress::default();
    seen.get_from(&answer).map_err(|error| Fault::Nonsense(error.to_string()))?;
    Ok(Text::new(
        format!("{url}: {took} ms; this machine is seen as {}", seen.ip),
        format!("{url}: {took} мс; эта машина видна как {}", seen.ip),
    ))
}

/// Has a TURN server give a relay, and gives it back (RFC 8656 §7, long-term credentials of RFC 8489 §9.2).
async fn relay(url: &str, user: &str, password: &str) -> Result<Text, Fault> {
    let server = server(url);
    if server.stream {
        return reachable(url, &server).await;
    }
    let nonsense = |error: String| Fault::Nonsense(error);
    let start = now();
    let socket = open(&server).await?;
    let allocate = MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST);
    let transport = || RequestedTransport { protocol: PROTO_UDP };
    let challenge = ask(&socket, &[Box::new(allocate), Box::new(TransactionId::new()), Box::new(transport())]).await?;
    let (realm, nonce) = match (
        TextAttribute::get_from_as(&challenge, ATTR_REALM),
        TextAttribute::get_from_as(&challenge, ATTR_NONCE),
    ) {
        (Ok(realm), Ok(nonce)) => (realm.text, nonce.text),
        _ => return Err(refusal(&challenge)),
    };
    let provider = rtc::crypto::default_provider().map_err(|error| nonsense(error.to_string()))?;
    let integrity = || {
        MessageIntegrity::new_long_term_integrity_with_provider(
            user.to_owned(),
            realm.clone(),
            password.to_owned(),
            provider.crypto(),
        )
        .map_err(|error| Fault::Nonsense(error.to_string()))
    };
    let text = |attribute, text: &str| Box::new(TextAttribute::new(attribute, text.to_owned()));
    let answer = ask(
        &socket,
        &[
            Box::new(allocate),
            Box::new(TransactionId::new()),
            Box::new(transport()),
            text(ATTR_USERNAME, user),
            text(ATTR_REALM, &realm),
            text(ATTR_NONCE, &nonce),
            Box::new(integrity()?),
        ],
    )
    .await?;
    if answer.typ.class != CLASS_SUCCESS_RESPONSE {
        return Err(refusal(&answer));
    }
    let took = start.elapsed().as_millis();
    let mut relayed = RelayedAddress::default();
    relayed.get_from(&answer).map_err(|error| nonsense(error.to_string()))?;
    let given_back = ask(
        &socket,
        &[
            Box::new(MessageType::new(METHOD_REFRESH, CLASS_REQUEST)),
            Box::new(TransactionId::new()),
            Box::new(Lifetime(Duration::ZERO)),
            text(ATTR_USERNAME, user),
            text(ATTR_REALM, &realm),
            text(ATTR_NONCE, &nonce),
            Box::new(integrity()?),
        ],
    )
    .await;
    if given_back.is_err() {
        tracing::warn!("the TURN server did not take the relay back; it lapses by itself");
    }
    Ok(Text::new(
        format!("{url}: {took} ms; relay at {}", relayed.ip),
        format!("{url}: {took} мс; relay на {}", relayed.ip),
    ))
}

/// TCP and TLS: whether somebody listens. This program's media engine speaks TURN over UDP only; browsers speak both.
async fn reachable(url: &str, server: &Server) -> Result<Text, Fault> {
    let start = now();
    let connecting = TcpStream::connect((server.host.as_str(), server.port));
    match timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(_stream)) => {
            let took = start.elapsed().as_millis();
            Ok(Text::new(
                format!(
                    "{url}: somebody listens ({took} ms); not tried further, since this program uses UDP only (browsers use it)"
                ),
                format!(
                    "{url}: порт открыт ({took} мс); дальше не проверялось: эта программа использует только UDP (браузеры — и это)"
                ),
            ))
        }
        Ok(Err(error)) => Err(Fault::Silent(error.to_string())),
        Err(_) => Err(Fault::Silent(format!("no connection within {} s", CONNECT_LIMIT.as_secs()))),
    }
}

async fn open(server: &Server) -> Result<UdpSocket, Fault> {
    let found = timeout(CONNECT_LIMIT, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
    let address: SocketAddr = match found {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| Fault::Name("it has no address".to_owned()))?,
        Ok(Err(error)) => return Err(Fault::Name(error.to_string())),
        Err(_) => return Err(Fault::Name(format!("no answer within {} s", CONNECT_LIMIT.as_secs()))),
    };
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let silent = |error: std::io::Error| Fault::Silent(error.to_string());
    let socket = UdpSocket::bind(any).await.map_err(silent)?;
    socket.connect(address).await.map_err(silent)?;
    Ok(socket)
}

/// Sends a request until its answer comes.
async fn ask(socket: &UdpSocket, setters: &[Box<dyn Setter + '_>]) -> Result<Message, Fault> {
    let mut request = Message::new();
    request.build(setters).map_err(|error| Fault::Nonsense(error.to_string()))?;
    let mut bytes = vec![0; ANSWER_LIMIT_BYTES];
    let mut nonsense = false;
    for wait in WAITS {
        socket.send(&request.raw).await.map_err(|error| Fault::Silent(error.to_string()))?;
        let receiving = async {
            loop {
                let length = socket.recv(&mut bytes).await?;
                let mut answer = Message::new();
                match answer.unmarshal_binary(&bytes[..length]) {
                    Ok(()) if answer.transaction_id == request.transaction_id => return Ok(answer),
                    _ => nonsense = true,
                }
            }
        };
        match timeout(wait, receiving).await {
            Ok(Ok(answer)) => return Ok(answer),
            // A port where nobody listens says so on some networks.
            Ok::<Result<_, std::io::Error>, _>(Err(error)) => return Err(Fault::Silent(error.to_string())),
            Err(_) => {}
        }
    }
    if nonsense {
        return Err(Fault::Nonsense("what came is not an answer to a STUN request".to_owned()));
    }
    let waited: Duration = WAITS.iter().sum();
    Err(Fault::Silent(format!("no answer to {} requests within {:.1} s", WAITS.len(), waited.as_secs_f64())))
}

fn refusal(answer: &Message) -> Fault {
    let mut code = ErrorCodeAttribute::default();
    match code.get_from(answer) {
        Ok(()) => {
            let phrase: String =
                String::from_utf8_lossy(&code.reason).chars().filter(|c| !c.is_control()).take(100).collect();
            Fault::Refused(code.code.0, format!("{} {phrase}", code.code.0))
        }
        Err(error) => Fault::Nonsense(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_their_defaults() {
        for (url, host, port, stream) in [
            ("stun:a.example", "a.example", 3478, false),
            ("stun:a.example:19302", "a.example", 19302, false),
            ("turn:[2001:db8::1]:3479?transport=udp", "2001:db8::1", 3479, false),
            ("turn:[2001:db8::1]", "2001:db8::1", 3478, false),
            ("TURN:a.example?transport=TCP", "a.example", 3478, true),
            ("turns:a.example", "a.example", 5349, true),
        ] {
            let server = server(url);
            assert_eq!((server.host.as_str(), server.port, server.stream), (host, port, stream), "{url}");
        }
    }
}
