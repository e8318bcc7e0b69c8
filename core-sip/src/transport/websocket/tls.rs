//! TLS by rustls with the provider `ring`, given to each configuration: no process-wide default is needed or set.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::error::{ConfigurationProblem, Error, Result, TlsFault};

/// How many names of a certificate an error shows.
const SHOWN_NAMES: usize = 16;

/// Whom a client trusts. By default: the authorities that the system trusts.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Certificates that are trusted beside the system's, each text one or more in PEM: authorities, or the very
    /// certificate of a server that signs for itself.
    pub extra_ca_certificates_pem: Vec<String>,
    /// Does not check the server's certificate at all: anybody between here and there can listen in, and take the
    /// password. **For tests only**; every transport made with it warns loudly.
    pub danger_accept_any_certificate: bool,
}

/// Who a server is.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// The server's certificate and then those between it and its authority, in PEM.
    pub certificate_chain_pem: String,
    /// Its private key in PEM (PKCS #8, PKCS #1 or SEC 1).
    pub private_key_pem: SecretString,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(key: impl Into<String>, problem: impl Into<String>, example: &str) -> Error {
    Error::Configuration {
        problems: vec![ConfigurationProblem {
            key: key.into(),
            value: None,
            problem: problem.into(),
            example: example.to_owned(),
        }],
    }
}

/// rustls with the versions that it holds safe: 1.2 and 1.3.
fn versions_failed(error: &RustlsError) -> Error {
    wrong("tls", format!("TLS cannot be set up: {error}"), "the defaults")
}

impl TlsSettings {
    /// The setting's name in errors.
    const CA_KEY: &'static str = "extraCaCertificatesPem";

    /// Everything that a connection needs. Reads the system's authorities from disk.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let provider = provider();
        let extra = self.extra_certificates()?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| versions_failed(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.danger_accept_any_certificate {
            tracing::warn!(
                "DANGER: TLS certificates are NOT verified (danger_accept_any_certificate): anybody on the way can \
                 listen in and take the password. For tests only"
            );
            Arc::new(AcceptAny { provider })
        } else {
            Arc::new(Verify::new(provider, extra)?)
        };
        Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    }

    /// TLS over a connection that stands already, with everything that transports ask of a certificate. `host` is the
    /// name or address that the certificate has to be for.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`]; [`Error::Configuration`] where `host` is no name or there is nobody to trust.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong("host", format!("`{}` is no host name", host.escape_debug()), "turn.example.com"))?;
        let connecting = TlsConnector::from(self.client_config()?).connect(name, stream);
        connecting.await.map_err(|error| Error::Tls { host: host.to_owned(), fault: fault(&error, host) })
    }

    fn extra_certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        const EXAMPLE: &str = "-----BEGIN CERTIFICATE-----…";
        let mut certificates = Vec::new();
        let mut problems = Vec::new();
        for (index, pem) in self.extra_ca_certificates_pem.iter().enumerate() {
            let found = read_certificates(pem).and_then(|found| {
                for certificate in &found {
                    RootCertStore::empty()
                        .add(certificate.clone())
                        .map_err(|error| format!("this certificate cannot be used as an authority: {error}"))?;
                }
                Ok(found)
            });
            match found {
                Ok(found) => certificates.extend(found),
                Err(problem) => problems.push(ConfigurationProblem {
                    key: format!("{}[{index}]", Self::CA_KEY),
                    value: None,
                    problem,
                    example: EXAMPLE.to_owned(),
                }),
            }
        }
        if problems.is_empty() { Ok(certificates) } else { Err(Error::Configuration { problems }) }
    }
}

/// The certificates in a PEM text, at least one.
fn read_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("this is not a certificate in PEM: {error}"))?;
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

impl TlsIdentity {
    /// Everything that a listener needs.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let chain = read_certificates(&self.certificate_chain_pem)
            .map_err(|problem| wrong("certificateChainPem", problem, "-----BEGIN CERTIFICATE-----…"))?;
        let key = PrivateKeyDer::from_pem_slice(self.private_key_pem.expose_secret().as_bytes()).map_err(|_| {
            // The parser's own words could quote the key.
            wrong("privateKeyPem", "this is not a private key in PEM", "-----BEGIN PRIVATE KEY-----…")
        })?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| versions_failed(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| {
                wrong(
                    "certificateChainPem",
                    format!("certificate and private key cannot be used together: {error}"),
                    "the server's own certificate first, and the key that it was made for",
                )
            })?;
        Ok(Arc::new(config))
    }
}

/// Verifies by webpki, and takes as well a server certificate that was itself given as trusted.
///
/// `openssl req -x509` and many an installer make a certificate that is both its own authority and the server's; webpki
/// refuses an authority as a server even where it is trusted. If the very same bytes are in the configuration, whose
/// key it is has been settled by the person who put them there; validity and name are checked all the same.
#[derive(Debug)]
struct Verify {
    webpki: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Verify {
    fn new(provider: Arc<CryptoProvider>, extra: Vec<CertificateDer<'static>>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "some of the system's trusted certificates cannot be read");
        }
        // The system's store may hold certificates that webpki does not understand; they are of no use to anybody.
        roots.add_parsable_certificates(native.certs);
        roots.add_parsable_certificates(extra.iter().cloned());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| {
            wrong(
                TlsSettings::CA_KEY,
                format!(
                    "there is no authority to trust ({error}): the system has none (Debian: package ca-certificates)"
                ),
                "-----BEGIN CERTIFICATE-----…",
            )
        })?;
        Ok(Self { webpki, pinned: extra })
    }
}

impl ServerCertVerifier for Verify {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verdict = self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // webpki looks at the time before it looks at this, so the certificate is in its time.
            Err(error) if is_authority_as_server(&error) => {
                if !self.pinned.iter().any(|pinned| pinned == end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            // A trusted authority has the issuer's name and another key, as after an authority was made anew.
            Err(RustlsError::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Whether webpki refused an authority's certificate as a server's. rustls hands this on only as an opaque error, whose
/// name is all there is to go by.
fn is_authority_as_server(error: &RustlsError) -> bool {
    matches!(error, RustlsError::InvalidCertificate(CertificateError::Other(other)) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// Takes any certificate. The server still has to hold the key of the one that it shows.
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AcceptAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptAny")
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a TLS handshake failed.
pub(super) fn fault(error: &io::Error, host: &str) -> TlsFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
        Some(RustlsError::InvalidCertificate(certificate)) => certificate_fault(certificate, host),
        Some(RustlsError::InvalidMessage(_)) => {
            TlsFault::Other("the server does not speak TLS on this port; check the port, or use `ws://`".to_owned())
        }
        Some(RustlsError::AlertReceived(alert)) => {
            TlsFault::Other(format!("the server broke off with alert {alert:?}"))
        }
        Some(other) => TlsFault::Other(other.to_string()),
        None => TlsFault::Other(format!("the connection broke during the handshake: {error}")),
    }
}

fn certificate_fault(error: &CertificateError, host: &str) -> TlsFault {
    match error {
        CertificateError::NotValidForName => {
            TlsFault::NameMismatch { expected: host.to_owned(), presented: Vec::new() }
        }
        CertificateError::NotValidForNameContext { presented, .. } => TlsFault::NameMismatch {
            expected: host.to_owned(),
            presented: presented.iter().take(SHOWN_NAMES).map(|name| plain_name(name)).collect(),
        },
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
        CertificateError::Revoked => TlsFault::Revoked,
        other => TlsFault::Other(format!("the certificate cannot be accepted: {other}")),
    }
}

/// webpki writes `DnsName("example.com")` and `IpAddress(192.0.2.1)`; people write what is in them.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').escape_default().to_string()
}
