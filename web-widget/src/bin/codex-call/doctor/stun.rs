//! STUN and TURN servers: whether they answer, and whether TURN gives a relay.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::TlsFault;
use codex_core_sip::config::{IceServer, SipClientConfig};
use codex_core_sip::transport::TlsSettings;
use codex_web_widget::Text;
use rtc::crypto::RTCCryptoProvider;
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
use secrecy::{ExposeSecret as _, SecretString};

use super::report::{Check, Report};
use crate::details::quoted;
use crate::exit::Kind;
use crate::explanation::Explanation;
use crate::task::now;
use wire::{Kind as WireKind, Server, Wire};

/// How often a request is sent again with a fresh nonce, where the server finds the one it gave out stale (438).
const STALE_NONCES: usize = 2;
/// 438 of RFC 8489 §14.8.
const STALE_NONCE: u16 = 438;

/// Why a server is of no use.
#[derive(Debug)]
enum Fault {
    /// Its name has no address.
    Name(Text),
    /// It does not answer.
    Silent(Text),
    /// Its certificate cannot be trusted, or it speaks no TLS.
    Tls(TlsFault),
    /// 401 to right credentials, 403 and the like, with status and phrase.
    Refused(u16, String),
    /// What it says is not STUN.
    Nonsense(String),
}

impl Fault {
    /// The system's words, which are English.
    fn silent(error: &std::io::Error) -> Self {
        Self::Silent(Text::new(error.to_string(), quoted(&error.to_string())))
    }

    fn nonsense(error: &dyn core::fmt::Display) -> Self {
        Self::Nonsense(error.to_string())
    }
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
    let tls =
        TlsSettings { extra_ca_certificates_pem: config.extra_ca_certificates_pem.clone(), ..TlsSettings::default() };
    for server in &config.ice_servers {
        for url in &server.urls {
            let check = if url.to_ascii_lowercase().starts_with("turn") { Check::Turn } else { Check::Stun };
            match examine(url, server, &tls).await {
                Ok(text) => report.fine(check, &text),
                Err(fault) => tell(report, check, url, fault),
            }
        }
    }
}

/// Tries every address of the server's name until one is of use. If none is, the first one's fault counts.
async fn examine(url: &str, ice: &IceServer, tls: &TlsSettings) -> Result<Text, Fault> {
    let server = Server::parse(url);
    let mut first_fault = None;
    for address in server.addresses().await? {
        let trying = async {
            let start = now();
            let mut wire = Wire::open(&server, address, tls).await?;
            let found = match (&ice.username, &ice.credential) {
                (Some(user), Some(password)) if server.turn => relay(&mut wire, user, password).await?,
                _ => binding(&mut wire).await?,
            };
            Ok((start.elapsed(), found))
        };
        match trying.await {
            Ok((took, found)) => return Ok(fine(url, &server, took, &found, first_fault.is_some())),
            Err(fault) => {
                first_fault.get_or_insert(fault);
            }
        }
    }
    Err(first_fault.unwrap_or_else(|| Fault::Name(Text::fixed("it has no address", "у имени нет адреса"))))
}

fn fine(url: &str, server: &Server, took: Duration, found: &Text, others_failed: bool) -> Text {
    let took = took.as_millis();
    // This program's media engine speaks to these servers over UDP; browsers speak all of it.
    let stream = server.wire != WireKind::Udp;
    let add = |condition: bool, text: &'static str| if condition { text } else { "" };
    Text::new(
        format!(
            "{url}: {took} ms; {}{}{}",
            found.in_locale(codex_core_sip::Locale::En),
            add(stream, "; for browsers, since this program itself uses UDP only"),
            add(others_failed, "; the name has other addresses where nothing answers"),
        ),
        format!(
            "{url}: {took} мс; {}{}{}",
            found.in_locale(codex_core_sip::Locale::Ru),
            add(stream, "; пригодится браузерам, сама программа использует только UDP"),
            add(others_failed, "; у имени есть и другие адреса, по ним никто не отвечает"),
        ),
    )
}

fn tell(report: &mut Report<'_>, check: Check, url: &str, fault: Fault) {
    let key = if check == Check::Turn { "TURN_URLS" } else { "STUN_URLS" };
    let transport = if Server::parse(url).wire == WireKind::Udp { "UDP" } else { "TCP" };
    let (what, remedy, details) = match fault {
        Fault::Name(details) => (
            Text::new(format!("{url}: the name has no address"), format!("{url}: имя не находится в DNS")),
            Text::new(format!("check the host in {key}"), format!("проверьте имя хоста в {key}")),
            details,
        ),
        Fault::Tls(fault) => {
            let Explanation { what, .. } = Explanation::of_tls(url, &fault);
            (
                Text::new(
                    format!("{url}: {}", what.in_locale(codex_core_sip::Locale::En)),
                    format!("{url}: {}", what.in_locale(codex_core_sip::Locale::Ru)),
                ),
                Text::new(
                    format!(
                        "renew or correct the certificate, or check host and port in {key}; browsers refuse it too"
                    ),
                    format!(
                        "обновите или исправьте сертификат либо проверьте хост и порт в {key}; браузеры его тоже не примут"
                    ),
                ),
                Text::new(fault.to_string(), quoted(&fault.to_string())),
            )
        }
        Fault::Silent(details) => (
            Text::new(format!("{url} does not answer"), format!("{url} не отвечает")),
            Text::new(
                format!(
                    "check host and port in {key}, that the server runs, and that {transport} gets through the firewalls; a dead server delays every call's setup, so take it out if it is not needed"
                ),
                format!(
                    "проверьте хост и порт в {key}, работает ли сервер и проходит ли {transport} через межсетевые экраны; неработающий сервер задерживает каждый звонок — уберите его, если он не нужен"
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
                Text::new(phrase.clone(), quoted(&phrase)),
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
            Text::new(details.clone(), quoted(&details)),
        ),
    };
    report.fault(check, Kind::Stun, &Explanation::new(what, remedy), Some(&details));
}

/// Asks a STUN server how it sees us.
async fn binding(wire: &mut Wire) -> Result<Text, Fault> {
    let answer = wire.ask(&[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())]).await?;
    if answer.typ.class != CLASS_SUCCESS_RESPONSE {
        return Err(refusal(&answer));
    }
    let mut seen = XorMappedAddress::default();
    seen.get_from(&answer).map_err(|error| Fault::nonsense(&error))?;
    Ok(Text::new(format!("this machine is seen as {}", seen.ip), format!("эта машина видна как {}", seen.ip)))
}

/// Long-term credentials (RFC 8489 §9.2), with what the server said of itself.
struct Credentials<'a> {
    user: &'a str,
    password: &'a SecretString,
    realm: String,
    nonce: String,
    provider: Arc<dyn RTCCryptoProvider>,
}

impl Credentials<'_> {
    /// The attributes that authorise a request, the integrity last.
    fn attributes(&self) -> Result<Vec<Box<dyn Setter + '_>>, Fault> {
        let integrity = MessageIntegrity::new_long_term_integrity_with_provider(
            self.user.to_owned(),
            self.realm.clone(),
            self.password.expose_secret().to_owned(),
            self.provider.crypto(),
        )
        .map_err(|error| Fault::nonsense(&error))?;
        let text = |attribute, text: &str| Box::new(TextAttribute::new(attribute, text.to_owned()));
        Ok(vec![
            text(ATTR_USERNAME, self.user),
            text(ATTR_REALM, &self.realm),
            text(ATTR_NONCE, &self.nonce),
            Box::new(integrity),
        ])
    }

    /// Sends an authorised request, again with a new nonce where the one at hand is stale.
    async fn ask(&mut self, wire: &mut Wire, request: impl Fn() -> Vec<Box<dyn Setter>>) -> Result<Message, Fault> {
        let mut stale = 0;
        loop {
            let answer = {
                let mut setters: Vec<Box<dyn Setter + '_>> = request();
                setters.extend(self.attributes()?);
                wire.ask(&setters).await?
            };
            let mut code = ErrorCodeAttribute::default();
            if stale < STALE_NONCES && code.get_from(&answer).is_ok() && code.code.0 == STALE_NONCE {
                (self.realm, self.nonce) = challenge(&answer).ok_or_else(|| refusal(&answer))?;
                stale += 1;
                continue;
            }
            return Ok(answer);
        }
    }
}

/// Realm and nonce of an answer.
fn challenge(answer: &Message) -> Option<(String, String)> {
    let text = |attribute| TextAttribute::get_from_as(answer, attribute).ok().map(|found| found.text);
    text(ATTR_REALM).zip(text(ATTR_NONCE))
}

/// Has a TURN server give a relay, and gives it back (RFC 8656 §7).
async fn relay(wire: &mut Wire, user: &str, password: &SecretString) -> Result<Text, Fault> {
    let allocate = || -> Vec<Box<dyn Setter>> {
        vec![
            Box::new(MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST)),
            Box::new(TransactionId::new()),
            Box::new(RequestedTransport { protocol: PROTO_UDP }),
        ]
    };
    let give_back = || -> Vec<Box<dyn Setter>> {
        vec![
            Box::new(MessageType::new(METHOD_REFRESH, CLASS_REQUEST)),
            Box::new(TransactionId::new()),
            Box::new(Lifetime(Duration::ZERO)),
        ]
    };
    let mut answer = wire.ask(&allocate()).await?;
    let mut credentials = None;
    // A server that wants no credentials gives the relay at once.
    if answer.typ.class != CLASS_SUCCESS_RESPONSE {
        let (realm, nonce) = challenge(&answer).ok_or_else(|| refusal(&answer))?;
        let provider = rtc::crypto::default_provider().map_err(|error| Fault::nonsense(&error))?;
        let credentials = credentials.insert(Credentials { user, password, realm, nonce, provider });
        answer = credentials.ask(wire, allocate).await?;
    }
    if answer.typ.class != CLASS_SUCCESS_RESPONSE {
        return Err(refusal(&answer));
    }
    let mut relayed = RelayedAddress::default();
    relayed.get_from(&answer).map_err(|error| Fault::nonsense(&error))?;
    let given_back = match &mut credentials {
        Some(credentials) => credentials.ask(wire, give_back).await,
        None => wire.ask(&give_back()).await,
    };
    if !given_back.is_ok_and(|answer| answer.typ.class == CLASS_SUCCESS_RESPONSE) {
        tracing::warn!("the TURN server did not take the relay back; it lapses by itself");
    }
    Ok(Text::new(format!("relay at {}", relayed.ip), format!("relay на {}", relayed.ip)))
}

fn refusal(answer: &Message) -> Fault {
    let mut code = ErrorCodeAttribute::default();
    match code.get_from(answer) {
        Ok(()) => {
            let phrase: String =
                String::from_utf8_lossy(&code.reason).chars().filter(|c| !c.is_control()).take(100).collect();
            Fault::Refused(code.code.0, format!("{} {phrase}", code.code.0))
        }
        Err(error) => Fault::nonsense(&error),
    }
}
