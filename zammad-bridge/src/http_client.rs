//! HTTP clients as the bridge uses them: TLS verified against the system's authorities, no redirects followed, nothing
//! repeated behind anybody's back.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why a client cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ClientFault {
    /// The setting that it comes from.
    pub setting: String,
    /// What is wrong, without secrets.
    pub problem: String,
}

type Result<T, E = ClientFault> = core::result::Result<T, E>;

/// Idle connections are given up sooner than Node's servers do it (5 s), so that none breaks under a request.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// TLS as everything here speaks it. `extra_ca_pem` holds further authorities; `setting` is where they come from.
fn tls_config(setting: &str, extra_ca_pem: Option<&str>) -> Result<ClientConfig> {
    let wrong = |problem: String| ClientFault { setting: setting.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    // A machine without authorities of its own can still reach a loopback address, or a server whose authority is given.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra_ca_pem {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            found = true;
            let added = certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
            added.map_err(|error| wrong(format!("a certificate in it cannot be read: {error}")))?;
        }
        if !found {
            return Err(wrong("it holds no certificate in PEM".to_owned()));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A client with TLS verified against the system's authorities and those in `extra_ca_pem`, which came from `setting`.
///
/// # Errors
///
/// [`ClientFault`] if the certificates cannot be read, or the client cannot be set up.
pub fn verified_client(setting: &str, extra_ca_pem: Option<&str>) -> Result<reqwest::Client> {
    built(setting, builder(setting, extra_ca_pem)?)
}

/// A client for requests that are passed on: bodies go through as they are, without being unpacked.
#[cfg(feature = "bridge")]
pub(crate) fn pass_through_client(setting: &str, extra_ca_pem: Option<&str>) -> Result<reqwest::Client> {
    built(setting, builder(setting, extra_ca_pem)?.no_gzip().no_brotli())
}

fn builder(setting: &str, extra_ca_pem: Option<&str>) -> Result<reqwest::ClientBuilder> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config(setting, extra_ca_pem)?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_CONNECTION)
        .no_proxy())
}

fn built(setting: &str, builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| ClientFault {
        setting: setting.to_owned(),
        problem: format!("the HTTP client cannot be set up: {}", innermost_cause(&error)),
    })
}

/// The innermost cause of an error, for people: the layers above say no more than that something failed, and can quote the
/// URL with what is secret in it.
#[must_use]
pub fn innermost_cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether a cause is about TLS, in rustls' words.
#[must_use]
pub fn is_of_tls(problem: &str) -> bool {
    ["certificate", "TLS", "received fatal alert", "corrupt message", "HandshakeFailure"]
        .iter()
        .any(|words| problem.contains(words))
}

/// Why somebody was not reached.
#[cfg(feature = "bridge")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// There is no connection.
    Connection(String),
    /// There is one, but no TLS that holds.
    Tls(String),
}

/// Connects to where `url` leads, and for `https` shakes hands with the certificate verified. Nothing is sent.
///
/// # Errors
///
/// [`Unreached`], in the words of the system or of rustls. There is no time limit.
#[cfg(feature = "bridge")]
pub async fn reach(url: &url::Url, extra_ca_pem: Option<&str>) -> Result<(), Unreached> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let stream = tokio::net::TcpStream::connect((host.as_str(), port));
    let stream = stream.await.map_err(|error| Unreached::Connection(error.to_string()))?;
    if url.scheme() != "https" {
        return Ok(());
    }
    let tls = |problem: String| Unreached::Tls(problem);
    let config = tls_config("", extra_ca_pem).map_err(|fault| tls(fault.problem))?;
    let name = rustls::pki_types::ServerName::try_from(host).map_err(|error| tls(error.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map(drop).map_err(|error| tls(error.to_string()))
}
