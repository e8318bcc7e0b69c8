//! Paths that are not the bridge's own, passed on to the application.
//!
//! Applications answer hooks with relative URLs, which jambonz resolves against the origin of the `call_hook`: that is the
//! bridge. So everything it does not know itself goes to the application's origin, method, path, body and signature as they
//! came; the application checks the signature as it did before. Bodies stream both ways.
//!
//! The answers come from the same origin as the admin page, so a browser that opens one must not take it for the bridge's
//! own: it shows them in a sandbox, an origin apart. The admin page's session and token stay here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use http_body_util::Limited;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tracing::warn;
use url::Url;

use super::answers;
use super::authentication::is_bearer;
use super::stopwatch::Stopwatch;
use super::upstream::{end_to_end, host_of};
use crate::admin::access::COOKIE;
use crate::error::Result;
use crate::http_client::{innermost_cause, pass_through_client};
use crate::metrics::{Metrics, Upstream, UpstreamOutcome};

/// How many requests may be under way to the application at a time.
pub const MAX_PROXIED_REQUESTS: usize = 256;
/// How large the body of a request may be that is passed on, in bytes.
pub const MAX_PROXIED_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How long the application may take until its answer begins.
pub const PROXY_ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The bridge's name in `Via` (RFC 9110 §7.6.3), by which it knows a request that it has passed on already.
const VIA: &str = "1.1 codex-zammad-bridge";

/// Passes requests on to one origin.
pub struct Proxy {
    http: reqwest::Client,
    /// Scheme, host and port, without `/` at the end.
    origin: String,
    host: String,
    /// Bearer tokens of the bridge itself, which are nobody else's business.
    own_tokens: Vec<SecretString>,
    permits: Arc<Semaphore>,
}

impl Proxy {
    /// To the origin of `hook`, the application's hook, which came from `setting`; `extra_ca_pem` holds further
    /// authorities.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`](crate::Error::Configuration) if TLS cannot be set up.
    pub fn new(setting: &str, hook: &Url, extra_ca_pem: Option<&str>) -> Result<Self> {
        Ok(Self {
            http: pass_through_client(setting, extra_ca_pem)?,
            origin: hook.origin().ascii_serialization(),
            host: host_of(hook),
            own_tokens: Vec::new(),
            permits: Arc::new(Semaphore::new(MAX_PROXIED_REQUESTS)),
        })
    }

    /// Keeps back requests' `Authorization` with one of these bearer tokens: they are for the bridge alone.
    #[must_use]
    pub fn keeping_back(mut self, own_tokens: Vec<SecretString>) -> Self {
        self.own_tokens = own_tokens;
        self
    }

    /// Passes one request on.
    pub(super) async fn pass_on(&self, request: Request, metrics: &Metrics) -> Response {
        if has_passed_here(request.headers()) {
            return answers::problem(
                StatusCode::LOOP_DETECTED,
                "the request came here again: UPSTREAM_CALL_HOOK leads back to this bridge",
                "point UPSTREAM_CALL_HOOK at the application itself",
            );
        }
        if request.headers().contains_key(header::UPGRADE) {
            return answers::problem(
                StatusCode::NOT_IMPLEMENTED,
                "the bridge passes on HTTP, no WebSockets",
                "point wss:// URLs at the application itself",
            );
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            metrics.upstream(Upstream::Proxy, UpstreamOutcome::Dropped, Duration::ZERO);
            return answers::unavailable("too many requests to the application are under way", 1);
        };
        let watch = Stopwatch::start();
        let count = |outcome| metrics.upstream(Upstream::Proxy, outcome, watch.elapsed());
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = end_to_end(&parts.headers);
        add_via(&mut headers);
        self.keep_back_what_is_ours(&mut headers);
        let mut sending = self.http.request(parts.method, format!("{}{target}", self.origin));
        let length = parts.headers.get(header::CONTENT_LENGTH);
        if length.is_some() || parts.headers.contains_key(header::TRANSFER_ENCODING) {
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, length.clone());
            }
            let bounded = Body::new(Limited::new(body, MAX_PROXIED_BODY_BYTES));
            sending = sending.body(reqwest::Body::wrap_stream(bounded.into_data_stream()));
        }
        let answer = match tokio::time::timeout(PROXY_ANSWER_LIMIT, sending.headers(headers).send()).await {
            Ok(Ok(answer)) => {
                let failed = answer.status().is_server_error();
                count(if failed { UpstreamOutcome::Failed } else { UpstreamOutcome::Answered });
                answer
            }
            Ok(Err(error)) => {
                count(UpstreamOutcome::Unreachable);
                let problem = innermost_cause(&error.without_url());
                warn!(host = self.host, problem, "a request could not be passed on to the application");
                return answers::problem(
                    StatusCode::BAD_GATEWAY,
                    "the application cannot be reached",
                    "look at the application that UPSTREAM_CALL_HOOK names",
                );
            }
            Err(_) => {
                count(UpstreamOutcome::TimedOut);
                warn!(
                    host = self.host,
                    limit_s = PROXY_ANSWER_LIMIT.as_secs(),
                    "the application did not answer in time"
                );
                return answers::problem(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the application did not answer in time",
                    "look at the application that UPSTREAM_CALL_HOOK names",
                );
            }
        };
        let (status, length) = (answer.status(), answer.headers().get(header::CONTENT_LENGTH).cloned());
        let mut headers = end_to_end(answer.headers());
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length);
        }
        set_apart(&mut headers);
        // The permit is given back once the last of the answer has gone out.
        let stream = answer.bytes_stream().map(move |chunk| {
            let _under_way = &permit;
            chunk
        });
        let mut response = Response::new(Body::from_stream(stream));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

impl Proxy {
    /// Takes the admin page's session and tokens out of a request to the application.
    fn keep_back_what_is_ours(&self, headers: &mut HeaderMap) {
        if headers.get(header::AUTHORIZATION).is_some_and(|value| is_bearer(value.as_bytes(), &self.own_tokens)) {
            headers.remove(header::AUTHORIZATION);
        }
        let cookies: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
        headers.remove(header::COOKIE);
        for cookie in cookies {
            if !cookie.as_bytes().split(|&byte| byte == b';').any(is_session_cookie) {
                headers.append(header::COOKIE, cookie);
                continue;
            }
            let others: Vec<&[u8]> =
                cookie.as_bytes().split(|&byte| byte == b';').filter(|pair| !is_session_cookie(pair)).collect();
            if let Ok(rest) = HeaderValue::from_bytes(others.join(&b';').trim_ascii())
                && !rest.is_empty()
            {
                headers.append(header::COOKIE, rest);
            }
        }
    }
}

/// Makes an answer of the application one that a browser keeps apart from the admin page of the same origin.
fn set_apart(headers: &mut HeaderMap) {
    let cookies: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies.into_iter().filter(|cookie| !is_session_cookie(cookie.as_bytes())) {
        headers.append(header::SET_COOKIE, cookie);
    }
    // Beside a policy of the application's own: of several, each holds.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Whether a `name=value` begins with the name of the admin page's session. Browsers send a cookie without a name as its
/// value alone (RFC 6265bis §5.8.3), so `=name=value` is one too.
fn is_session_cookie(pair: &[u8]) -> bool {
    let pair = pair.trim_ascii_start();
    let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii_start();
    let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
    name.trim_ascii_end() == COOKIE.as_bytes()
}

/// Whether the bridge has passed this request on before.
pub(super) fn has_passed_here(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|via| via.trim() == VIA))
}

/// Notes that the bridge passes the request on.
pub(super) fn add_via(headers: &mut HeaderMap) {
    headers.append(header::VIA, HeaderValue::from_static(VIA));
}
