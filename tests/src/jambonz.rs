//! A stand-in for jambonz' REST API.
//!
//! It answers with the bytes that a real API server was recorded to answer with (`jambonz-api/tests/fixtures`), case for
//! case, and where its state was changed with answers made the same way. Updates do what jambonz' own do, traps included:
//! a hook that is not in a PUT is removed, one with a `webhook_sid` is changed for every application that shares it, `null`
//! for a hook is a 500. Faults are switched on by the test; nothing fails by itself and nothing takes time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The account's API key.
pub const ACCOUNT_KEY: &str = "acct-key-0001";
/// A service provider's API key: it sees the applications of every account.
pub const PROVIDER_KEY: &str = "sp-key-0001";
/// The account.
pub const ACCOUNT_SID: &str = "9351f46a-678c-43f5-b8a6-d4eb58d131af";
/// Another account, which [`ACCOUNT_KEY`] may not see.
pub const OTHER_ACCOUNT_SID: &str = "11111111-2222-4333-8444-555555555555";
/// The application `hello world`.
pub const HELLO_WORLD: &str = "7087fe50-8acb-4f3b-b820-97b573723aab";
/// The application `dial time`.
pub const DIAL_TIME: &str = "4ca2fb6a-8636-4f2e-96ff-8966c5e26f8e";
/// The application `tëst`, which shares its call hook with `hello world`.
pub const TEST: &str = "77777777-2222-4333-8444-555555555555";
/// The other account's application, `other acct app`.
pub const OTHER_APPLICATION: &str = "99999999-2222-4333-8444-555555555555";
/// What [`JambonzApi`] signs webhooks with.
pub const WEBHOOK_SECRET: &str = "wh_secret_cJqgtMDPzDhhnjmaJH6Mtk";

/// A request may be this large, head and body each.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Requests in a window of the rate limit.
const RATE_LIMIT: u64 = 600;

/// Recorded answers, head and body.
pub mod recorded {
    /// Every application of the account, a bare array.
    pub const LIST: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list.http");
    /// `?page=1&page_size=1`.
    pub const LIST_PAGE_1_OF_3: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list_page_1_of_3.http");
    /// `?page=1`: everything, in the shape of a page.
    pub const LIST_PAGE_SIZE_NULL: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list_page_size_null.http");
    /// `?page=0&page_size=abc`: 500.
    pub const LIST_BAD_PAGE: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list_bad_page.http");
    /// One application.
    pub const APPLICATION: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/application.http");
    /// A sid that is unknown or another account's: 404 without a body.
    pub const NOT_FOUND: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/not_found.http");
    /// A malformed sid: 400.
    pub const BAD_SID: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/bad_sid.http");
    /// An unknown key: 401.
    pub const UNAUTHORIZED_BAD_KEY: &[u8] =
        include_bytes!("../../jambonz-api/tests/fixtures/unauthorized_bad_key.http");
    /// No key: 401.
    pub const UNAUTHORIZED: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/unauthorized.http");
    /// Another account's list: 403.
    pub const FORBIDDEN: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/forbidden.http");
    /// An unknown route: 404 with a web page.
    pub const UNKNOWN_ROUTE: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/unknown_route.http");
    /// The body of [`LIST`], compressed by gzip.
    pub const LIST_BODY_GZIP: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list.json.gz");
    /// The body of [`LIST`], compressed by brotli.
    pub const LIST_BODY_BROTLI: &[u8] = include_bytes!("../../jambonz-api/tests/fixtures/list.json.br");
}

/// The answer to a request over the rate limit, as jambonz words it. `retry_after` is the header's value.
#[must_use]
pub fn too_many_requests(retry_after: &str) -> Vec<u8> {
    const BODY: &str = "Too many requests, please try again later.";
    answer(
        429,
        "Too Many Requests",
        &[("Retry-After", retry_after), ("Content-Type", "text/html; charset=utf-8")],
        BODY,
    )
}

/// An answer with a content type and a body.
#[must_use]
pub fn answer(status: u16, reason: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// What goes wrong in place of an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// These bytes, whatever was asked.
    Answer(Vec<u8>),
    /// The connection stays open and nothing comes.
    Silence,
    /// Half of the right answer comes, then nothing, with the connection open.
    HalfThenSilence,
    /// The connection is cut before the first byte of an answer.
    Cut,
    /// The connection is cut in the middle of the right answer.
    HalfThenCut,
}

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// `GET`, `PUT` …
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// Header lines, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    applications: Vec<Value>,
    pristine: Vec<Value>,
    calls: BTreeMap<String, Value>,
    received: Vec<Received>,
    next_faults: VecDeque<Fault>,
    fault: Option<Fault>,
    budget: Option<u64>,
    pages_unasked: Option<usize>,
    ignores_pages: bool,
    webhooks_made: u64,
}

struct Shared {
    state: Mutex<State>,
    /// How many requests have come.
    count: watch::Sender<usize>,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stand-in. It stops when it is dropped.
pub struct JambonzApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for JambonzApi {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl JambonzApi {
    /// Listens on a free port of 127.0.0.1, with the applications that were recorded.
    ///
    /// # Errors
    ///
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut applications: Vec<Value> = serde_json::from_slice(body_of(recorded::LIST))?;
        let mut other: Value = serde_json::from_slice(body_of(recorded::APPLICATION))?;
        other["application_sid"] = OTHER_APPLICATION.into();
        other["name"] = "other acct app".into();
        other["account_sid"] = OTHER_ACCOUNT_SID.into();
        applications.push(other);
        let state = State { pristine: applications.clone(), applications, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            count: watch::Sender::new(0),
            held: watch::Sender::new(false),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    // A client that goes away is none of our business.
                    let _ = serve(stream, &shared).await;
                });
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, as a client is configured with it.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Serves one connection that was accepted elsewhere, such as one with TLS, until it ends.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        serve(stream, &self.shared).await
    }

    /// Every request so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// `METHOD target` of every request so far.
    #[must_use]
    pub fn request_lines(&self) -> Vec<String> {
        self.shared.state().received.iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.state().received.clear();
        self.shared.count.send_replace(0);
    }

    /// Returns when at least `count` requests have come since they were last forgotten.
    pub async fn wait_for_requests(&self, count: usize) {
        // The sender lives as long as `self`.
        let _ = self.shared.count.subscribe().wait_for(|come| *come >= count).await;
    }

    /// Holds back all answers until [`release`](Self::release). Requests are answered as things stand then, but meet the
    /// faults of the moment they came in.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Answers what was held back.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// The next request meets this; several wait in line.
    pub fn fault_next(&self, fault: Fault) {
        self.shared.state().next_faults.push_back(fault);
    }

    /// Every request meets this; `None` ends it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.state().fault = fault;
    }

    /// Leaves so many requests in the window of the rate limit, which is then counted.
    pub fn set_budget(&self, remaining: u64) {
        self.shared.state().budget = Some(remaining);
    }

    /// Answers in pages of this size although nobody asks for pages.
    pub fn page_unasked(&self, page_size: usize) {
        self.shared.state().pages_unasked = Some(page_size);
    }

    /// Answers with a bare array whatever is asked, as older versions do.
    pub fn ignore_pages(&self) {
        self.shared.state().ignores_pages = true;
    }

    /// Adds an application to the account.
    pub fn add_application(&self, sid: &str, name: &str) {
        let mut state = self.shared.state();
        let mut application = state.pristine[0].clone();
        application["application_sid"] = sid.into();
        application["name"] = name.into();
        state.applications.push(application);
    }

    /// Gives an application another value for a property.
    pub fn set_property(&self, sid: &str, property: &str, value: Value) {
        if let Some(application) = self.shared.state().applications.iter_mut().find(|a| has_sid(a, sid)) {
            application[property] = value;
        }
    }

    /// Removes an application.
    pub fn remove_application(&self, sid: &str) {
        self.shared.state().applications.retain(|a| !has_sid(a, sid));
    }

    /// An application as it is now.
    #[must_use]
    pub fn application(&self, sid: &str) -> Option<Value> {
        self.shared.state().applications.iter().find(|a| has_sid(a, sid)).cloned()
    }

    /// Adds a call to the account.
    pub fn add_call(&self, call_sid: &str, call: Value) {
        self.shared.state().calls.insert(call_sid.to_ascii_lowercase(), call);
    }

    /// What a call was tagged with last.
    #[must_use]
    pub fn call_tag(&self, call_sid: &str) -> Option<Value> {
        self.shared.state().calls.get(&call_sid.to_ascii_lowercase())?.get("tag").cloned()
    }
}

fn has_sid(application: &Value, sid: &str) -> bool {
    application["application_sid"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(sid))
}

/// The body of an answer.
fn body_of(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    &answer[end..]
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let fault = {
            let mut state = shared.state();
            state.received.push(request.clone());
            state.next_faults.pop_front().or_else(|| state.fault.clone())
        };
        shared.count.send_modify(|count| *count += 1);
        // The sender is in `shared`.
        let _ = shared.held.subscribe().wait_for(|held| !held).await;
        let right = shared.state().answer(&request);
        let half = right.len() - body_of(&right).len() / 2 - 1;
        match fault {
            None => stream.write_all(&right).await?,
            Some(Fault::Answer(bytes)) => stream.write_all(&bytes).await?,
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::HalfThenCut) => {
                stream.write_all(&right[..half]).await?;
                return stream.flush().await;
            }
            Some(Fault::Silence) => return wait_for_end(&mut stream).await,
            Some(Fault::HalfThenSilence) => {
                stream.write_all(&right[..half]).await?;
                stream.flush().await?;
                return wait_for_end(&mut stream).await;
            }
        }
        stream.flush().await?;
    }
    Ok(())
}

/// Returns when the client has given up.
async fn wait_for_end(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut ignored = [0; 256];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// The next request of a connection; `None` at its end.
async fn read_request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > MAX_REQUEST_BYTES || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0).min(MAX_REQUEST_BYTES);
    buffer.drain(..head_end + 4);
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.drain(..length).collect();
    Ok(Some(Received { method, target, headers, body }))
}

enum Caller {
    Account,
    Provider,
}

fn json_answer(status: u16, reason: &str, body: &Value) -> Vec<u8> {
    answer(status, reason, &[("Content-Type", "application/json; charset=utf-8")], body.to_string())
}

/// Express' `sendStatus`: the reason phrase as text.
fn status_answer(status: u16, reason: &str) -> Vec<u8> {
    answer(status, reason, &[("Content-Type", "text/plain; charset=utf-8")], reason)
}

fn system_error(message: &str) -> Vec<u8> {
    json_answer(500, "Internal Server Error", &json!({ "msg": message }))
}

impl State {
    fn answer(&mut self, request: &Received) -> Vec<u8> {
        let Some(remaining) = self.budget else { return self.route(request) };
        if remaining == 0 {
            return Self::with_rate_limit(&too_many_requests("300"), 0);
        }
        self.budget = Some(remaining - 1);
        let answer = self.route(request);
        Self::with_rate_limit(&answer, remaining - 1)
    }

    /// The answer with what is counted in place of what was recorded.
    fn with_rate_limit(answer: &[u8], remaining: u64) -> Vec<u8> {
        let body = body_of(answer);
        let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).into_owned();
        let mut lines: Vec<&str> =
            head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("ratelimit-")).collect();
        let counted = format!(
            "RateLimit-Policy: {RATE_LIMIT};w=300\r\nRateLimit-Limit: {RATE_LIMIT}\r\nRateLimit-Remaining: {remaining}\r\n\
             RateLimit-Reset: 300"
        );
        lines.insert(1, &counted);
        [lines.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat()
    }

    fn route(&mut self, request: &Received) -> Vec<u8> {
        let caller = match request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(ACCOUNT_KEY) => Caller::Account,
            Some(PROVIDER_KEY) => Caller::Provider,
            Some(_) => return recorded::UNAUTHORIZED_BAD_KEY.to_vec(),
            None => return recorded::UNAUTHORIZED.to_vec(),
        };
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["v1", "Applications"]) => {
                let account = matches!(caller, Caller::Account).then_some(ACCOUNT_SID);
                self.list(account, query)
            }
            ("GET", ["v1", "Applications", sid]) => self.application(&caller, sid),
            ("PUT", ["v1", "Applications", sid]) => self.update(&caller, sid, &request.body),
            (method, ["v1", "Accounts", account, rest @ ..]) => {
                if !is_uuid(account) {
                    return recorded::BAD_SID.to_vec();
                }
                if matches!(caller, Caller::Account) && !account.eq_ignore_ascii_case(ACCOUNT_SID) {
                    return recorded::FORBIDDEN.to_vec();
                }
                match (method, rest) {
                    ("GET", ["Applications"]) => self.list(Some(account), query),
                    ("GET", ["WebhookSecret"]) => json_answer(200, "OK", &json!({ "webhook_secret": WEBHOOK_SECRET })),
                    ("GET", ["Calls", sid]) => match self.calls.get(&sid.to_ascii_lowercase()) {
                        _ if !is_uuid(sid) => recorded::BAD_SID.to_vec(),
                        Some(call) => json_answer(200, "OK", call),
                        None => status_answer(404, "Not Found"),
                    },
                    ("PUT" | "POST", ["Calls", sid]) => self.update_call(sid, &request.body),
                    _ => recorded::UNKNOWN_ROUTE.to_vec(),
                }
            }
            _ => recorded::UNKNOWN_ROUTE.to_vec(),
        }
    }

    fn list(&self, account: Option<&str>, query: &str) -> Vec<u8> {
        let in_account = |a: &&Value| account.is_none_or(|sid| a["account_sid"].as_str() == Some(sid));
        let shown: Vec<&Value> = self.applications.iter().filter(in_account).collect();
        let as_recorded =
            account == Some(ACCOUNT_SID) && shown.iter().copied().eq(self.pristine.iter().filter(in_account));
        let parameter = |name: &str| query.split('&').filter_map(|p| p.split_once('=')).find(|(n, _)| *n == name);
        let (page, size) = (parameter("page").map(|p| p.1), parameter("page_size").map(|p| p.1));
        let (page, size) = match (page, self.pages_unasked) {
            (None, Some(size)) => (1, Some(size)),
            (None, None) => {
                return if as_recorded { recorded::LIST.to_vec() } else { json_answer(200, "OK", &json!(shown)) };
            }
            (Some(_), _) if self.ignores_pages => return json_answer(200, "OK", &json!(shown)),
            (Some(page), _) => {
                let (Ok(page), Ok(size)) = (page.parse::<usize>(), size.map(str::parse::<usize>).transpose()) else {
                    return recorded::LIST_BAD_PAGE.to_vec();
                };
                match (as_recorded, page, size) {
                    (true, 1, Some(1)) => return recorded::LIST_PAGE_1_OF_3.to_vec(),
                    (true, 1, None) => return recorded::LIST_PAGE_SIZE_NULL.to_vec(),
                    _ => (page, size),
                }
            }
        };
        let data: Vec<&&Value> = match size {
            Some(size) => shown.iter().skip(page.saturating_sub(1).saturating_mul(size)).take(size).collect(),
            None => shown.iter().collect(),
        };
        json_answer(200, "OK", &json!({"total": shown.len(), "page": page, "page_size": size, "data": data}))
    }

    fn application(&self, caller: &Caller, sid: &str) -> Vec<u8> {
        if !is_uuid(sid) {
            return recorded::BAD_SID.to_vec();
        }
        let Some(application) = self.applications.iter().find(|a| has_sid(a, sid)) else {
            return recorded::NOT_FOUND.to_vec();
        };
        if matches!(caller, Caller::Account) && application["account_sid"] != ACCOUNT_SID {
            return recorded::NOT_FOUND.to_vec();
        }
        if has_sid(application, HELLO_WORLD) && self.pristine.contains(application) {
            return recorded::APPLICATION.to_vec();
        }
        json_answer(200, "OK", application)
    }

    fn update(&mut self, caller: &Caller, sid: &str, body: &[u8]) -> Vec<u8> {
        if !is_uuid(sid) {
            return recorded::BAD_SID.to_vec();
        }
        let Some(at) = self.applications.iter().position(|a| has_sid(a, sid)) else {
            return recorded::FORBIDDEN.to_vec();
        };
        if matches!(caller, Caller::Account) && self.applications[at]["account_sid"] != ACCOUNT_SID {
            return recorded::FORBIDDEN.to_vec();
        }
        let Ok(Value::Object(mut update)) = serde_json::from_slice(body) else {
            return system_error("Unexpected token in JSON");
        };
        let is_truthy_but_no_object = |value: Option<&Value>| value.is_some_and(|v| !v.is_null() && !v.is_object());
        if is_truthy_but_no_object(update.get("call_hook"))
            || (update.get("call_status_hook").is_some_and(|v| !v.is_null())
                && !update.get("call_hook").is_some_and(|v| v.is_object() || v.is_null()))
        {
            let msg = "'call_status_hook' must be an object when updating an application";
            return json_answer(400, "Bad Request", &json!({ "msg": msg }));
        }
        for name in ["call_hook", "call_status_hook", "messaging_hook"] {
            let hook = match update.remove(name) {
                None => Value::Null,
                Some(Value::Null) => return system_error("Cannot convert undefined or null to object"),
                Some(Value::Object(hook)) if hook.is_empty() => Value::Null,
                Some(Value::Object(hook)) => self.keep_webhook(hook),
                Some(_) => return system_error("Column count doesn't match"),
            };
            self.applications[at][name] = hook;
        }
        if update.contains_key("application_sid") {
            return json_answer(400, "Bad Request", &json!({"msg": "primary key application_sid is immutable"}));
        }
        for (name, value) in update {
            if self.applications[at].get(&name).is_none() {
                return system_error(&format!("Unknown column '{name}' in 'field list'"));
            }
            self.applications[at][&name] = value;
        }
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
    }

    /// A hook with a sid is changed wherever it is used; one without becomes a new one.
    fn keep_webhook(&mut self, mut hook: Map<String, Value>) -> Value {
        let Some(sid) = hook.get("webhook_sid").cloned() else {
            self.webhooks_made += 1;
            let sid = format!("00000000-0000-4000-8000-{:012}", self.webhooks_made);
            let mut made = Map::from_iter([("webhook_sid".to_owned(), Value::from(sid))]);
            for name in ["url", "method", "username", "password"] {
                made.insert(name.to_owned(), hook.remove(name).unwrap_or_default());
            }
            return made.into();
        };
        let updated = Value::Object(hook);
        for application in &mut self.applications {
            for name in ["call_hook", "call_status_hook", "messaging_hook"] {
                if application[name]["webhook_sid"] == sid {
                    application[name] = updated.clone();
                }
            }
        }
        updated
    }

    fn update_call(&mut self, sid: &str, body: &[u8]) -> Vec<u8> {
        if !is_uuid(sid) {
            return recorded::BAD_SID.to_vec();
        }
        let update: Value = serde_json::from_slice(body).unwrap_or_default();
        let refused = |msg: &str| json_answer(400, "Bad Request", &json!({ "msg": msg }));
        match update.get("tag") {
            None | Some(Value::Null) => return refused("no valid options supplied to updateCall"),
            Some(Value::Object(_)) => {}
            Some(_) => return refused("invalid tag data"),
        }
        let Some(call) = self.calls.get_mut(&sid.to_ascii_lowercase()) else {
            return status_answer(404, "Not Found");
        };
        call["tag"] = update["tag"].clone();
        status_answer(202, "Accepted")
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
