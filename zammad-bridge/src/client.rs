//! The port [`CallRecordSink`] over HTTP: a program with a core-sip client reports its own calls to a bridge.
//!
//! ```no_run
//! use codex_core_sip::call_record::{CallRecordSink, CallReport, CallStatus};
//! use codex_zammad_bridge::client::HttpCallRecordSink;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let sink = HttpCallRecordSink::new("https://bridge.example.com", "the bridge's BRIDGE_API_TOKEN".into(), None)?;
//! sink.report(&CallReport::new("kqzmwbtr-7087fe50-8acb-4f3b-b820-97b573723aab", CallStatus::Trying)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`CallEventReports`](codex_core_sip::call_record::CallEventReports) makes reports of a client's events. A report that
//! cannot be delivered within [`REPORT_LIMIT`] is given up: no call waits for it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::call_record::{CallRecordSink, CallReport, CallReportError};
use codex_core_sip::random::Random;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::http_client::{ClientFault, innermost_cause, verified_client};

/// How often a report is tried.
pub const REPORT_ATTEMPTS: u32 = 6;
/// How long one try may take.
pub const REPORT_ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// How long all tries of a report may take together.
pub const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// The longest wait before the second try; it doubles with each further one.
pub const FIRST_REPORT_BACKOFF: Duration = Duration::from_millis(250);

/// How much of an answer is read and quoted, in bytes.
const MAX_ANSWER_BYTES: usize = 4_096;

/// Reports calls to a bridge.
pub struct HttpCallRecordSink {
    http: reqwest::Client,
    url: Url,
    token: SecretString,
    random: Option<Mutex<Box<dyn Random>>>,
}

/// Why a try failed.
struct Failure {
    problem: String,
    is_temporary: bool,
    retry_after: Option<Duration>,
}

impl HttpCallRecordSink {
    /// For the bridge at `base`, such as `https://bridge.example.com`, with one of its `BRIDGE_API_TOKEN`s. `random` spreads
    /// the retries of many programs; without it they wait the whole time.
    ///
    /// # Errors
    ///
    /// [`ClientFault`] if `base` is no address of HTTP, has neither TLS nor is it this machine, or TLS cannot be set up.
    pub fn new(base: &str, token: SecretString, random: Option<Box<dyn Random>>) -> Result<Self, ClientFault> {
        let wrong = |problem: &str| ClientFault { setting: "base".to_owned(), problem: problem.to_owned() };
        let mut url = Url::parse(base).map_err(|error| wrong(&format!("it is not a URL ({error})")))?;
        let is_this_machine = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine) {
            return Err(wrong("it is not https: everybody on the way could read the token"));
        }
        url.set_path(&format!("{}/v1/calls", url.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self { http: verified_client("base", None)?, url, token, random: random.map(Mutex::new) })
    }

    /// One try.
    async fn attempt(&self, report: &CallReport) -> Result<(), Failure> {
        let failed = |error: reqwest::Error| Failure {
            problem: format!("the bridge cannot be reached: {}", innermost_cause(&error.without_url())),
            is_temporary: true,
            retry_after: None,
        };
        let request = self.http.post(self.url.clone()).bearer_auth(self.token.expose_secret()).json(report);
        let mut response = request.timeout(REPORT_ATTEMPT_LIMIT).send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            said.extend(chunk.iter().take(MAX_ANSWER_BYTES - said.len()));
            if said.len() >= MAX_ANSWER_BYTES {
                break;
            }
        }
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        let word = |key: &str| said.get(key).and_then(serde_json::Value::as_str).unwrap_or("it gave no reason");
        Err(Failure {
            problem: format!("the bridge answered {}: {}; {}", status.as_u16(), word("error"), word("remedy")),
            is_temporary: status.is_server_error()
                || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS),
            retry_after: seconds.map(Duration::from_secs),
        })
    }

    /// How long to wait before the try after `attempt`: full jitter, and at least what the bridge asks for.
    fn wait_after(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let ceiling = FIRST_REPORT_BACKOFF.saturating_mul(1 << attempt.min(10));
        let mut bytes = [0xff; 2];
        if let Some(random) = &self.random {
            random.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        }
        let jittered = ceiling * u32::from(u16::from_le_bytes(bytes)) / u32::from(u16::MAX);
        jittered.max(retry_after.unwrap_or_default())
    }
}

impl fmt::Debug for HttpCallRecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCallRecordSink").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl CallRecordSink for HttpCallRecordSink {
    async fn report(&self, report: &CallReport) -> Result<(), CallReportError> {
        let mut last = CallReportError { problem: "it took too long".to_owned(), is_temporary: true };
        let trying = async {
            for attempt in 0..REPORT_ATTEMPTS {
                let Err(failure) = self.attempt(report).await else { return Ok(()) };
                last = CallReportError { problem: failure.problem, is_temporary: failure.is_temporary };
                if !failure.is_temporary {
                    break;
                }
                if attempt + 1 < REPORT_ATTEMPTS {
                    tokio::time::sleep(self.wait_after(attempt, failure.retry_after)).await;
                }
            }
            Err(())
        };
        match tokio::time::timeout(REPORT_LIMIT, trying).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) | Err(_) => Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_core_sip::call_record::CallStatus;
    use codex_core_sip::random::SeededRandom;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// Answers one connection after the other with these answers; what was asked comes out at the end.
    async fn bridge(answers: &[&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/bridge/", listener.local_addr().unwrap());
        let answers = answers.to_vec();
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                asked.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (base, serving)
    }

    const CREATED: &str = "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nconnection: close\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    const WRONG: &str = "HTTP/1.1 401 No\r\nconnection: close\r\ncontent-length: 42\r\n\r\n{\"error\":\"wrong token\",\"remedy\":\"get one\"}";

    fn sink(base: &str) -> HttpCallRecordSink {
        HttpCallRecordSink::new(base, "S3CRET".into(), Some(Box::new(SeededRandom::new(1)))).unwrap()
    }

    #[tokio::test]
    async fn a_report_arrives_also_if_the_bridge_was_busy() {
        let (base, serving) = bridge(&[BUSY, CREATED]).await;
        sink(&base).report(&CallReport::new("a", CallStatus::Trying)).await.unwrap();
        let asked = serving.await.unwrap();
        assert_eq!(asked.len(), 2);
        assert!(asked[0].starts_with("POST /bridge/v1/calls HTTP/1.1\r\n"), "{}", asked[0]);
        assert!(asked[0].contains("authorization: Bearer S3CRET\r\n"), "{}", asked[0]);
        assert!(asked[1].ends_with(r#"{"callId":"a","callStatus":"trying","direction":"inbound"}"#), "{}", asked[1]);
    }

    #[tokio::test]
    async fn a_refusal_is_told_at_once() {
        let (base, serving) = bridge(&[WRONG]).await;
        let error = sink(&base).report(&CallReport::new("a", CallStatus::Trying)).await.unwrap_err();
        assert!(!error.is_temporary && error.problem.contains("wrong token; get one"), "{error}");
        assert_eq!(serving.await.unwrap().len(), 1);
    }

    #[test]
    fn waits_are_bounded_spread_and_what_the_bridge_asks_for() {
        let sink = sink("http://127.0.0.1:1");
        for attempt in 0..REPORT_ATTEMPTS {
            assert!(sink.wait_after(attempt, None) <= FIRST_REPORT_BACKOFF * (1 << attempt));
        }
        assert_eq!(sink.wait_after(0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        let unspread = HttpCallRecordSink::new("http://127.0.0.1:1", "t".into(), None).unwrap();
        assert_eq!(unspread.wait_after(1, None), FIRST_REPORT_BACKOFF * 2);
        assert!(!format!("{sink:?}").contains("S3CRET"), "{sink:?}");
    }

    #[test]
    fn the_token_does_not_travel_in_the_clear() {
        for base in ["http://bridge.example.com", "ftp://localhost", "bridge", "http://127.0.0.1.example.com"] {
            assert!(HttpCallRecordSink::new(base, "t".into(), None).is_err(), "{base}");
        }
        for base in ["https://bridge.example.com/x?y#z", "http://[::1]:80", "http://localhost:8787"] {
            HttpCallRecordSink::new(base, "t".into(), None).unwrap();
        }
    }
}
