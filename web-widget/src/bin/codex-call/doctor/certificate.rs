//! What the edge's certificate says: names, issuer, time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codex_core_sip::TlsFault;
use codex_web_widget::{Text, WebSocketAddress};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::report::{Check, Report};

/// How long looking may take.
const LIMIT: Duration = Duration::from_secs(5);
/// A certificate that ends within so many days is warned of.
const WARNED_DAYS: i64 = 14;
/// More names than this are not listed.
const SHOWN_NAMES: usize = 8;

/// What is in the certificate.
pub(super) struct Facts {
    names: Vec<String>,
    issuer: String,
    self_signed: bool,
    not_after: String,
    days_left: i64,
}

/// Looks at the certificate that the edge shows, and breaks the handshake off: whether it can be trusted is not decided
/// here but by the connection that calls use.
pub(super) async fn read(address: &WebSocketAddress, addresses: &[SocketAddr]) -> Option<Facts> {
    let seen = Arc::new(Onlooker::default());
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&seen) as Arc<dyn ServerCertVerifier>;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone()).ok()?;
    let looking = async {
        for &one in addresses {
            if let Ok(stream) = TcpStream::connect(one).await {
                // It always fails: the onlooker accepts nothing.
                let _broken_off = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                return;
            }
        }
    };
    // Whatever was seen by then counts.
    let _late = timeout(LIMIT, looking).await;
    let certificate = seen.certificate.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Facts::of(&certificate)
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut names: Vec<String> = Vec::new();
        if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(printable(name)),
                    GeneralName::IPAddress(bytes) => names.extend(ip(bytes).map(|ip| ip.to_string())),
                    _ => {}
                }
            }
        }
        let end = certificate.validity().not_after;
        let date = end.to_datetime();
        Some(Self {
            names,
            issuer: printable(&certificate.issuer().to_string()),
            self_signed: certificate.issuer() == certificate.subject(),
            not_after: format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
            days_left: (end.timestamp() - now()).div_euclid(24 * 60 * 60),
        })
    }

    fn names(&self) -> String {
        let mut names = self.names.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>().join(", ");
        if self.names.len() > SHOWN_NAMES {
            names.push('…');
        }
        names
    }

    /// A certificate that was accepted.
    pub(super) fn tell(&self, report: &mut Report<'_>) {
        let (names, end, days) = (self.names(), &self.not_after, self.days_left);
        let text = Text::new(
            format!("for {names}; valid until {end} ({days} days); issued by {}", self.issuer),
            format!("для {names}; действует до {end} (дней: {days}); выдан {}", self.issuer),
        );
        report.fine(Check::Certificate, &text);
        if days < WARNED_DAYS {
            let text = Text::new(
                format!("it expires in {days} days: renew it, and have the edge load it"),
                format!("истекает через {days} дн.: обновите его и перезагрузите на SIP-сервере"),
            );
            report.warn(Check::Certificate, &text);
        }
    }

    /// What is said of a refused certificate, with the facts that belong to it.
    pub(super) fn added_to(&self, what: &Text, fault: &TlsFault) -> Text {
        let en = what.in_locale(codex_core_sip::Locale::En);
        let ru = what.in_locale(codex_core_sip::Locale::Ru);
        match fault {
            TlsFault::Expired => Text::new(
                format!("{en}: on {} ({} days ago)", self.not_after, -self.days_left),
                format!("{ru}: {} (дней назад: {})", self.not_after, -self.days_left),
            ),
            TlsFault::UnknownIssuer if self.self_signed => Text::new(
                format!("the certificate is self-signed, so nobody trusts it (for {})", self.names()),
                format!("сертификат самоподписанный, поэтому доверия к нему нет (для {})", self.names()),
            ),
            TlsFault::UnknownIssuer => {
                Text::new(format!("{en} (issued by {})", self.issuer), format!("{ru} (выдан {})", self.issuer))
            }
            _ => what.clone(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "whether a certificate has expired is a matter of the wall clock")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What a certificate says may not steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).take(200).collect()
}

/// Sees the certificate and refuses it.
#[derive(Debug, Default)]
struct Onlooker {
    certificate: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
