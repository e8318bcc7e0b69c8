//! Requests with retries, a total deadline and the rate limit; answers read or told apart as errors.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core_sip::random::{Random, SeededRandom};
use codex_core_sip::time::Time;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::exchange::{Answer, Exchange, Method};
use crate::application::url_without_secrets;
use crate::clock::Clock;
use crate::error::{Error, Result, cut};
use crate::listing::{Page, read_page};
use crate::rate_limit::{Budget, DEFAULT_RETRY_AFTER, MIN_RETRY_AFTER, retry_after};

/// How large a page is asked for where the whole list is too large for one answer.
const PAGE_SIZE: usize = 200;
/// More pages than this are not followed: a server that always has another one must not keep us busy for ever, and the
/// platform's rate limit is 600 requests.
const MAX_PAGES: usize = 100;

/// How often and how fast a request is repeated, and how long all of it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// One attempt.
    pub(super) request_timeout: Duration,
    /// All attempts and the waits between them.
    pub(super) total_timeout: Duration,
    /// Attempts after the first.
    pub(super) retries: u32,
    /// The longest wait before the first retry; it doubles each time.
    pub(super) backoff_initial: Duration,
    /// The longest wait.
    pub(super) backoff_cap: Duration,
}

/// When a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It does the same however often it arrives.
    Idempotent,
    /// Only if it surely has not arrived.
    IfUnsent,
}

/// One request of the API.
pub(super) struct Request<'a> {
    method: Method,
    path: String,
    query: Option<String>,
    json: Option<&'a [u8]>,
    repeat: Repeat,
    /// For errors: `read application …`.
    action: String,
    /// For errors: `application …`, whose sid may be unknown; `None` if the address holds no sid.
    what: Option<String>,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: String, action: String, what: impl Into<Option<String>>) -> Self {
        let what = what.into();
        Self { method: Method::Get, path, query: None, json: None, repeat: Repeat::Idempotent, action, what }
    }

    /// A PUT that leaves the same behind however often it arrives.
    pub(super) fn put(path: String, json: &'a [u8], action: String, what: String) -> Self {
        let what = Some(what);
        Self { method: Method::Put, path, query: None, json: Some(json), repeat: Repeat::Idempotent, action, what }
    }

    /// A PUT each of which leaves something of its own behind.
    pub(super) fn put_once(path: String, json: &'a [u8], action: String, what: String) -> Self {
        Self { repeat: Repeat::IfUnsent, ..Self::put(path, json, action, what) }
    }
}

#[derive(Default)]
struct Limits {
    /// Nothing is asked before this.
    not_before: Option<Time>,
    budget: Option<Budget>,
}

pub(super) struct Requests {
    exchange: Exchange,
    key: SecretString,
    clock: Arc<dyn Clock>,
    random: Mutex<SeededRandom>,
    limits: Mutex<Limits>,
    patience: Patience,
}

#[derive(Deserialize)]
struct Message {
    msg: String,
}

impl Requests {
    pub(super) fn new(exchange: Exchange, key: SecretString, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        // Only jitter is drawn from it, which must differ from process to process but may be guessed.
        let seed = RandomState::new().hash_one("jitter");
        Self { exchange, key, clock, random: Mutex::new(SeededRandom::new(seed)), limits: Mutex::default(), patience }
    }

    /// Whether the rate limit's budget is near its end.
    pub(super) fn budget_is_low(&self) -> bool {
        lock(&self.limits).budget.is_some_and(|budget| budget.is_low(self.clock.now()))
    }

    /// Until when everything that belongs to one call of the client has to be done.
    pub(super) fn deadline(&self) -> Time {
        self.clock.now() + self.patience.total_timeout
    }

    /// Sends the request and reads the JSON of its answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        deadline: Time,
        expected: &'static str,
    ) -> Result<T> {
        let answer = self.send(request, deadline).await?;
        self.read(request, &answer, expected, |body| serde_json::from_slice(body))
    }

    /// As [`json`](Self::json), read as a `T` and as it came.
    pub(super) async fn json_and_raw<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        deadline: Time,
        expected: &'static str,
    ) -> Result<(T, Value)> {
        let answer = self.send(request, deadline).await?;
        self.read(request, &answer, expected, |body| Ok((serde_json::from_slice(body)?, serde_json::from_slice(body)?)))
    }

    /// A whole list, whichever shape it comes in. It is asked for in one piece, which costs one request of the rate
    /// limit, and page by page only if that is larger than we take.
    pub(super) async fn list<T: DeserializeOwned>(&self, mut request: Request<'_>, deadline: Time) -> Result<Vec<T>> {
        let first = match self.page(&request, deadline).await {
            Err(Error::TooLarge { .. }) => {
                request.query = Some(format!("page=1&page_size={PAGE_SIZE}"));
                self.page(&request, deadline).await?
            }
            other => other?,
        };
        let mut items: Vec<T> = first.items;
        let Some(mut total) = first.total else { return Ok(items) };
        let page_size = items.len();
        let mut number = 1;
        while usize::try_from(total).is_ok_and(|total| items.len() < total) && page_size > 0 {
            if number == MAX_PAGES {
                return Err(Error::TooManyPages { url: self.url(&request).to_string(), limit: MAX_PAGES });
            }
            number += 1;
            request.query = Some(format!("page={number}&page_size={page_size}"));
            let page = self.page::<T>(&request, deadline).await?;
            let Some(counted) = page.total else { return Ok(page.items) };
            if page.items.is_empty() {
                break;
            }
            total = counted;
            items.extend(page.items);
        }
        Ok(items)
    }

    async fn page<T: DeserializeOwned>(&self, request: &Request<'_>, deadline: Time) -> Result<Page<T>> {
        let answer = self.send(request, deadline).await?;
        self.read(request, &answer, "a list of applications", read_page)
    }

    /// Sends the request, again where that is allowed and can help. Only answers of success come back.
    pub(super) async fn send(&self, request: &Request<'_>, deadline: Time) -> Result<Answer> {
        let mut attempt = 0;
        let mut failed: Option<Error> = None;
        loop {
            self.wait_for_the_limit(deadline).await?;
            let left = deadline - self.clock.now();
            if left.is_zero() {
                let timeout = || Error::Timeout { host: self.exchange.host(), waited: self.patience.total_timeout };
                return Err(failed.unwrap_or_else(timeout));
            }
            let url = self.url(request);
            let timeout = self.patience.request_timeout.min(left);
            let mut result = self.exchange.send(request.method, url, request.json, timeout).await;
            if let Err(Error::Timeout { waited, .. }) = &mut result
                && timeout == left
            {
                // The last attempt had only what the others left.
                *waited = self.patience.total_timeout;
            }
            let error = match result.and_then(|answer| self.judge(request, answer)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            if attempt > self.patience.retries || !may_help(&error, request.repeat) {
                return Err(error);
            }
            // After a 429 it is the limit that is waited for, at the top of the loop.
            if !matches!(error, Error::RateLimited { .. }) {
                let wait = self.backoff(attempt);
                if self.clock.now() + wait >= deadline {
                    return Err(error);
                }
                tracing::debug!(%error, attempt, wait_ms = wait.as_millis(), "jambonz' API is asked again");
                self.clock.sleep(wait).await;
            }
            failed = Some(error);
        }
    }

    /// Waits until an earlier 429 allows the next request, if that is within the deadline.
    async fn wait_for_the_limit(&self, deadline: Time) -> Result<()> {
        loop {
            let not_before = lock(&self.limits).not_before;
            let now = self.clock.now();
            let Some(not_before) = not_before.filter(|&at| at > now) else { return Ok(()) };
            if not_before >= deadline {
                return Err(Error::RateLimited { retry_after: not_before - now });
            }
            self.clock.sleep(not_before - now).await;
        }
    }

    /// Full jitter: anything between nothing and the step's longest wait.
    fn backoff(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        let longest = self.patience.backoff_initial.saturating_mul(factor).min(self.patience.backoff_cap);
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(lock(&self.random).below(longest_us.saturating_add(1)))
    }

    fn url(&self, request: &Request<'_>) -> Url {
        self.exchange.url(&request.path, request.query.as_deref())
    }

    /// Takes note of the rate limit, and tells success from failure.
    fn judge(&self, request: &Request<'_>, answer: Answer) -> Result<Answer> {
        let now = self.clock.now();
        let budget = Budget::read(|name| answer.header(name), now);
        if let Some(budget) = budget {
            lock(&self.limits).budget = Some(budget);
        }
        let action = || request.action.clone();
        let url = || self.url(request).to_string();
        let status = answer.status;
        Err(match status {
            // Whoever answers with a web page is not jambonz, and has not done what was asked.
            200..=299 if answer.is_web_page() => self.not_json(request, &answer),
            200..=299 => return Ok(answer),
            300..=399 => Error::Redirected { url: url(), status, location: self.location(request, &answer) },
            401 => Error::Unauthorized,
            403 => Error::Forbidden { action: action(), message: self.message(&answer) },
            404 => match &request.what {
                Some(what) if is_jambonz_404(&answer.body) => Error::NotFound { what: what.clone() },
                _ => Error::UnknownRoute { url: url() },
            },
            429 => {
                let wait = answer
                    .header("retry-after")
                    .and_then(|value| retry_after(value, answer.header("date"), self.clock.unix_seconds()))
                    .or_else(|| budget.map(|budget| budget.resets_in(now)))
                    .unwrap_or(DEFAULT_RETRY_AFTER)
                    .max(MIN_RETRY_AFTER);
                {
                    let mut limits = lock(&self.limits);
                    limits.not_before = limits.not_before.max(Some(now + wait));
                }
                tracing::warn!(
                    wait_s = wait.as_secs(),
                    "jambonz' rate limit is used up; nothing is asked before that wait is over"
                );
                Error::RateLimited { retry_after: wait }
            }
            500..=599 => Error::Server { status, message: self.message(&answer) },
            _ => Error::Refused { action: action(), status, message: self.message(&answer) },
        })
    }

    /// What jambonz says about a failure, `{"msg":"…"}`. Our key is cut out of it: a server may quote requests.
    fn message(&self, answer: &Answer) -> Option<String> {
        let message: Message = serde_json::from_slice(&answer.body).ok()?;
        Some(cut(&message.msg.replace(self.key.expose_secret(), "***"), 200)).filter(|text| !text.is_empty())
    }

    fn read<T>(
        &self,
        request: &Request<'_>,
        answer: &Answer,
        expected: &'static str,
        read: impl Fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<T> {
        let media_type = answer.media_type();
        let is_json = media_type.as_deref().is_some_and(|t| t == "application/json" || t.ends_with("+json"));
        if !is_json {
            return Err(self.not_json(request, answer));
        }
        // serde's own words quote values, which may be secret; line and column say enough.
        read(&answer.body).map_err(|error| Error::UnexpectedJson {
            url: self.url(request).to_string(),
            expected,
            line: error.line(),
            column: error.column(),
        })
    }

    fn not_json(&self, request: &Request<'_>, answer: &Answer) -> Error {
        Error::NotJson {
            url: self.url(request).to_string(),
            content_type: answer.media_type().map_or_else(|| "no content type".to_owned(), |t| cut(&t, 60)),
            title: title(&answer.body).map(|title| title.replace(self.key.expose_secret(), "***")),
        }
    }

    /// Where a redirect leads, as an absolute address without what may be secret in it.
    fn location(&self, request: &Request<'_>, answer: &Answer) -> Option<String> {
        let mut location = self.url(request).join(answer.header("location")?).ok()?;
        location.set_query(None);
        location.set_fragment(None);
        Some(cut(&url_without_secrets(location.as_str()).replace(self.key.expose_secret(), "***"), 200))
    }
}

/// Whether a 404 says that a sid is unknown: jambonz answers with an empty body, the words `Not Found`, or `{"msg":"…"}`.
/// Anything else comes from Express or a proxy and says that there is no such route.
fn is_jambonz_404(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    body.is_empty() || body == b"Not Found" || serde_json::from_slice::<Message>(body).is_ok()
}

/// Whether sending the same request again can end otherwise, and may be done.
fn may_help(error: &Error, repeat: Repeat) -> bool {
    match error {
        // Refused before anything was done.
        Error::Connect { .. } | Error::RateLimited { .. } => true,
        Error::Server { status, .. } => repeat == Repeat::Idempotent && matches!(status, 500 | 502 | 503 | 504),
        Error::Timeout { .. } | Error::ConnectionLost { .. } => repeat == Repeat::Idempotent,
        _ => false,
    }
}

/// The title of a web page.
fn title(body: &[u8]) -> Option<String> {
    const LOOKED_AT_BYTES: usize = 4096;
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT_BYTES)]);
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(cut(text[start..end].trim(), 80)).filter(|title| !title.is_empty())
}

/// Locks `mutex`. Whoever panicked while it held the lock left plain numbers behind, which stay usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_of_a_page_is_found_and_bounded() {
        assert_eq!(title(b"<html><TITLE> 502 Bad\nGateway </Title>").as_deref(), Some("502 Bad\\nGateway"));
        for none in ["", "<title></title>", "<title>no end", "{\"a\":1}", "</title><title>"] {
            assert_eq!(title(none.as_bytes()), None, "{none}");
        }
        assert!(title("<title>\u{130}İ</title>".as_bytes()).is_some());
        assert!(title(&[b"<title>".as_slice(), &[0xff; 9000], b"</title>"].concat()).is_none());
    }

    #[test]
    fn a_404_of_jambonz_is_told_from_one_of_a_proxy() {
        for jambonz in ["", "\r\n", "Not Found", r#"{"msg":"call not found"}"#] {
            assert!(is_jambonz_404(jambonz.as_bytes()), "{jambonz}");
        }
        for proxy in ["404 page not found\n", "<html></html>", r#"{"message":"no Route matched with those values"}"#] {
            assert!(!is_jambonz_404(proxy.as_bytes()), "{proxy}");
        }
    }

    #[test]
    fn only_what_can_help_is_repeated() {
        let host = || "a.example:443".to_owned();
        let lost = Error::ConnectionLost { host: host(), problem: String::new() };
        let refused = Error::Connect { host: host(), problem: String::new() };
        let tls = Error::Tls { host: host(), problem: String::new() };
        let server = |status| Error::Server { status, message: None };
        for (error, idempotent, if_unsent) in [
            (lost, true, false),
            (refused, true, true),
            (Error::RateLimited { retry_after: Duration::ZERO }, true, true),
            (server(503), true, false),
            (server(501), false, false),
            (tls, false, false),
            (Error::Unauthorized, false, false),
            (Error::NotFound { what: String::new() }, false, false),
        ] {
            assert_eq!(may_help(&error, Repeat::Idempotent), idempotent, "{error}");
            assert_eq!(may_help(&error, Repeat::IfUnsent), if_unsent, "{error}");
        }
    }
}
