//! One request and its answer: reqwest with rustls, bounded in time and size; what fails is told apart by cause.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::{BaseUrl, problem};
use crate::error::{Error, Result, cut};

/// Connections that are idle are given up sooner than Node does it (5 s), so that none breaks under a request.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
const USER_AGENT: &str = concat!("codex-jambonz-api/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without parameters, in lower case.
    pub(super) fn media_type(&self) -> Option<String> {
        let value = self.header(CONTENT_TYPE.as_str())?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()).filter(|t| !t.is_empty())
    }

    pub(super) fn is_web_page(&self) -> bool {
        self.media_type().as_deref() == Some("text/html")
    }
}

pub(super) struct ExchangeSettings {
    pub(super) connect_timeout: Duration,
    pub(super) body_limit_bytes: usize,
    pub(super) extra_ca_certificates_pem: Vec<String>,
}

pub(super) struct Exchange {
    http: reqwest::Client,
    base: BaseUrl,
    connect_timeout: Duration,
    body_limit_bytes: usize,
}

impl Exchange {
    pub(super) fn new(base: BaseUrl, key: &SecretString, settings: &ExchangeSettings) -> Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| wrong("JAMBONZ_API_KEY", "it cannot be sent in a header", "an API key"))?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(&settings.extra_ca_certificates_pem)?)
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            // Repeating is decided in one place, by the caller.
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE_CONNECTION);
        if base.is_loopback() {
            builder = builder.no_proxy();
        }
        if let Some(name) = base.loopback_name() {
            // Not every resolver keeps names under `localhost` at home, and the key may go there without TLS. The port is
            // the URL's own.
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            builder = builder.resolve_to_addrs(name, &loopback.map(|address| SocketAddr::new(address, 0)));
        }
        let http = builder.build().map_err(|error| {
            wrong("tls", &format!("the HTTP client cannot be set up: {}", cause(&error)), "the defaults")
        })?;
        Ok(Self { http, base, connect_timeout: settings.connect_timeout, body_limit_bytes: settings.body_limit_bytes })
    }

    pub(super) fn url(&self, path: &str, query: Option<&str>) -> Url {
        self.base.join(path, query)
    }

    pub(super) fn host(&self) -> String {
        self.base.host()
    }

    /// Sends one request and reads the whole answer within `timeout`.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        json: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Answer> {
        let exchange = async {
            let mut request = self.http.request(
                match method {
                    Method::Get => reqwest::Method::GET,
                    Method::Put => reqwest::Method::PUT,
                },
                url.clone(),
            );
            if let Some(json) = json {
                request = request.header(CONTENT_TYPE, "application/json").body(json.to_vec());
            }
            let mut response = request.send().await.map_err(|error| self.failure(&error, true))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error, false))? {
                if chunk.len() > self.body_limit_bytes - body.len() {
                    return Err(Error::TooLarge { url: url.to_string(), limit_bytes: self.body_limit_bytes });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { host: self.host(), waited: timeout }),
        }
    }

    /// What failed, `before_the_answer` or in the midst of it.
    fn failure(&self, error: &reqwest::Error, before_the_answer: bool) -> Error {
        let host = self.host();
        if let Some(tls) = tls_cause(error) {
            return Error::Tls { host, problem: cut(&tls_problem(tls), 300) };
        }
        if error.is_timeout() {
            return Error::Timeout { host, waited: self.connect_timeout };
        }
        let problem = cut(&cause(error), 300);
        if error.is_connect() {
            return Error::Connect { host, problem };
        }
        let may_want_tls = before_the_answer && self.base.is_http();
        let hint = if may_want_tls { " (a server that wants https hangs up like this, too)" } else { "" };
        Error::ConnectionLost { host, problem: problem + hint }
    }
}

fn wrong(key: &str, what: &str, example: &str) -> Error {
    codex_core_sip::Error::Configuration { problems: vec![problem(key, None, what, example)] }.into()
}

/// rustls with the provider `ring`, as everywhere in this stack; trusts the system's authorities and `extra`.
fn tls(extra: &[String]) -> Result<ClientConfig> {
    const KEY: &str = "extra_ca_certificate_pem";
    const EXAMPLE: &str = "-----BEGIN CERTIFICATE-----";
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "the system's certificate authorities cannot all be read");
    }
    // A machine without authorities of its own can still ask a loopback address, or a server whose authority is given.
    roots.add_parsable_certificates(system.certs);
    for pem in extra {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            found = true;
            let added = certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
            added.map_err(|error| wrong(KEY, &format!("it cannot be read: {error}"), EXAMPLE))?;
        }
        if !found {
            return Err(wrong(KEY, "it holds no certificate in PEM", EXAMPLE));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("tls", &format!("TLS cannot be set up: {error}"), "the defaults"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The innermost cause: the layers above say no more than that something failed, and can quote the URL.
fn cause(error: &dyn StdError) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // What an io::Error wraps is not its source but hides its own.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = tls_cause(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What is wrong, in words, where rustls has only names of its own for it.
fn tls_problem(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by nobody whom this machine trusts (UnknownIssuer)".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::BadSignature | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => "its certificate is not signed by the authority that it names".to_owned(),
        // webpki's error, which is wrapped so that it can only be read.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            "its certificate is that of an authority, as `openssl req -x509` makes them, which no server may use: make one \
             with basicConstraints=CA:FALSE (CaUsedAsEndEntity)"
                .to_owned()
        }
        rustls::Error::InvalidMessage(_) => format!("it does not answer with TLS, but perhaps with http ({error})"),
        error => error.to_string(),
    }
}
