//! The application behind the bridge: the port [`UpstreamHook`], and its adapter over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use bytes::{Bytes, BytesMut};
use url::Url;

use crate::error::Result;
use crate::http_client::{innermost_cause, pass_through_client};

/// How long the application may take to answer a `call_hook` by default. jambonz gives up after 10 s, and the fallback
/// verbs have to arrive before that.
pub const UPSTREAM_CALL_LIMIT: Duration = Duration::from_secs(8);
/// The longest that it may be set to.
pub const MAX_UPSTREAM_CALL_LIMIT: Duration = Duration::from_millis(9_500);
/// How large an application's answer to a hook may be, in bytes.
pub const MAX_UPSTREAM_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Headers that belong to one connection and are not passed on (RFC 9110 §7.6.1), beside those that `Connection` names.
/// `Host` and `Content-Length` are made anew.
const HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// A hook's request, to be passed on.
#[derive(Clone)]
pub struct HookRequest {
    /// The query of the bridge's own URL, which is added to the application's.
    pub query: Option<String>,
    /// End-to-end headers: signature and authentication as jambonz sent them.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl std::fmt::Debug for HookRequest {
    /// Sizes, nothing of the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookRequest")
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The application's answer.
#[derive(Clone)]
pub struct HookAnswer {
    /// Its status, whatever it is.
    pub status: StatusCode,
    /// Its end-to-end headers.
    pub headers: HeaderMap,
    /// Its body, at most [`MAX_UPSTREAM_ANSWER_BYTES`].
    pub body: Bytes,
}

impl HookAnswer {
    /// Whether jambonz takes this status for success: 200, 202 and 204 alone.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.status, StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT)
    }
}

/// Why there is no answer. Texts hold no secret: of the URL no more than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamFault {
    /// It could not be reached, or broke off.
    #[error("the application at {host} cannot be reached: {problem}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The innermost cause.
        problem: String,
    },
    /// It answered with more than is taken.
    #[error("the application at {host} answered with more than {MAX_UPSTREAM_ANSWER_BYTES} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
    },
}

/// The application whose hook the bridge stands before.
///
/// No method has a time limit of its own: who calls decides how long to wait, and drops the future.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait UpstreamHook: Send + Sync {
    /// Posts a hook's request to the application and reads the whole answer.
    ///
    /// # Errors
    ///
    /// [`UpstreamFault`] if there is no answer. An answer of any status is one.
    async fn post(&self, request: HookRequest) -> Result<HookAnswer, UpstreamFault>;
}

/// An application's hook over HTTP.
pub struct HttpUpstreamHook {
    http: reqwest::Client,
    url: Url,
}

impl HttpUpstreamHook {
    /// The hook at `url`, which came from `setting`; `extra_ca_pem` holds further authorities.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`](crate::Error::Configuration) if TLS cannot be set up.
    pub fn new(setting: &str, url: Url, extra_ca_pem: Option<&str>) -> Result<Self> {
        Ok(Self { http: pass_through_client(setting, extra_ca_pem)?, url })
    }
}

#[async_trait]
impl UpstreamHook for HttpUpstreamHook {
    async fn post(&self, request: HookRequest) -> Result<HookAnswer, UpstreamFault> {
        let host = host_of(&self.url);
        let failed = |error: reqwest::Error| UpstreamFault::Unreachable {
            host: host.clone(),
            problem: innermost_cause(&error.without_url()),
        };
        let mut url = self.url.clone();
        if let Some(query) = request.query.as_deref().filter(|query| !query.is_empty()) {
            let joined = url.query().map_or_else(|| query.to_owned(), |own| format!("{own}&{query}"));
            url.set_query(Some(&joined));
        }
        let sending = self.http.post(url).headers(request.headers).body(request.body).send();
        let mut response = sending.await.map_err(failed)?;
        let (status, headers) = (response.status(), end_to_end(response.headers()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if chunk.len() > MAX_UPSTREAM_ANSWER_BYTES - body.len() {
                return Err(UpstreamFault::TooLarge { host });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HookAnswer { status, headers, body: body.freeze() })
    }
}

/// Host and port, for people.
pub(super) fn host_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// The headers that are for the far end, not for the connection.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<&str> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let passes = |name: &HeaderName| {
        !HOP_BY_HOP.contains(name)
            && *name != header::CONTENT_LENGTH
            && !named.iter().any(|named| name.as_str().eq_ignore_ascii_case(named))
    };
    headers.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-secret-hop", "1"),
            ("host", "bridge"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("jambonz-signature", "t=1,v1=00"),
            ("authorization", "Basic dTpw"),
            ("content-type", "application/json"),
            ("b3", "abc"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("b3", HeaderValue::from_static("def"));
        let passed = end_to_end(&headers);
        let names: Vec<_> = passed.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            names,
            [
                ("jambonz-signature", "t=1,v1=00"),
                ("authorization", "Basic dTpw"),
                ("content-type", "application/json"),
                ("b3", "abc"),
                ("b3", "def"),
            ]
        );
    }
}
