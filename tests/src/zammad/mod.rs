//! A stand-in for Zammad: its CTI endpoint, and the part of its REST API that a record of calls needs.
//!
//! What it does was read from Zammad's sources and seen on a real Zammad 5.5, traps included: a second newCall of a call
//! is a 500, so is an answer or hangup of an unknown one, `user` overwrites what the column To shows, a repeated hangup
//! takes a missed call off the agents' list, long values are cut without a word, errors are web pages for who does not ask
//! for JSON. Faults are switched on by the test; nothing fails by itself, and nothing takes time unless it is told to.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use codex_e2e::zammad::{Fault, ZammadServer};
//!
//! let zammad = ZammadServer::start().await?;
//! zammad.fault_next(Fault::status(502));
//! // … point a bridge at zammad.cti_url() …
//! zammad.wait_until(|zammad| zammad.row("call-1").is_some()).await;
//! # Ok(())
//! # }
//! ```

mod caller_log;
mod help_desk;
mod http;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::form_urlencoded;

pub use caller_log::{
    CAUSE_CHARACTERS, COMMENT_CHARACTERS, CallState, NUMBER_CHARACTERS, Parameters, Row, SHOWN_ROWS, numbers_in,
};
pub use help_desk::{Article, Permissions, Ticket, User};
pub use http::Request;

use caller_log::{CallerLog, CtiSettings, text};
use help_desk::{HelpDesk, error_answer};
use http::Answer;

/// The token of the CTI endpoint.
pub const CTI_TOKEN: &str = "cti-token-0001";
/// The API token of an agent.
pub const API_TOKEN: &str = "api-token-0001";
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and this is the answer: what a proxy in front of Zammad says, or a limit.
    Status {
        /// Such as 502.
        status: u16,
        /// The value of the header `Retry-After`.
        retry_after: Option<String>,
    },
    /// The connection is cut and nothing is done.
    CutBefore,
    /// It is done, and the connection is cut instead of an answer.
    CutAfter,
    /// It is done, and the connection is cut in the middle of the answer.
    CutInAnswer,
    /// It is done, and no answer comes, with the connection open.
    Silence,
}

impl Fault {
    /// This answer, without `Retry-After`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// 429 with this `Retry-After`.
    #[must_use]
    pub fn too_many_requests(retry_after: &str) -> Self {
        Self::Status { status: 429, retry_after: Some(retry_after.to_owned()) }
    }
}

/// Whether the generic CTI integration can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integration {
    /// Switched on and configured.
    On,
    /// Switched off.
    Off,
    /// Switched on, but nothing was ever saved.
    NotConfigured,
}

/// A request to the CTI endpoint and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CtiRequest {
    /// What it carried.
    pub parameters: Parameters,
    /// Whether it changed the caller log, or would have done so if it had not been done before: status 200 was decided
    /// upon, whether or not that reached the client.
    pub done: bool,
    /// The status of the answer; `None` if it was cut or never sent.
    pub status: Option<u16>,
}

impl CtiRequest {
    /// `newCall`, `answer`, `hangup`
    #[must_use]
    pub fn event(&self) -> &str {
        self.parameters.get("event").and_then(Value::as_str).unwrap_or_default()
    }

    /// What was sent as `callId`.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.parameters.get("callId").and_then(Value::as_str).unwrap_or_default()
    }
}

/// What has come so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Requests of any kind.
    pub requests: u64,
    /// Requests to the CTI endpoint.
    pub cti_requests: u64,
    /// Those of them that were done.
    pub cti_done: u64,
    /// CTI requests with a value that is neither a string nor null.
    pub values_not_strings: u64,
    /// Requests without `Accept: application/json`.
    pub without_accept: u64,
    /// The most requests that were worked on at once.
    pub most_at_once: usize,
}

struct State {
    cti: CtiSettings,
    log: CallerLog,
    desk: HelpDesk,
    maintenance: bool,
    keeps_requests: bool,
    cti_requests: Vec<CtiRequest>,
    rest_requests: Vec<Request>,
    counts: Counts,
    at_once: usize,
    next_faults: VecDeque<Fault>,
    fault: Option<Fault>,
    fault_every: Option<(u64, Fault)>,
    call_faults: HashMap<String, Fault>,
    rest_faults: Vec<(String, String, Fault)>,
    delay: Duration,
}

struct Shared {
    state: Mutex<State>,
    /// Moves when a request has been worked off, and when its answer may go.
    worked_off: watch::Sender<u64>,
    /// Whether connections are accepted.
    up: watch::Sender<bool>,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stand-in. It stops when it is dropped.
pub struct ZammadServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for ZammadServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.up.send_replace(false);
    }
}

impl ZammadServer {
    /// Listens on a free port of 127.0.0.1, with an empty caller log, one agent and no tickets.
    ///
    /// # Errors
    ///
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Likewise, on this address.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let cti = CtiSettings {
            enabled: true,
            configured: true,
            token: CTI_TOKEN.to_owned(),
            blocked_callers: Vec::new(),
            outbound_caller_id: None,
        };
        let state = State {
            cti,
            log: CallerLog::default(),
            desk: HelpDesk::new(API_TOKEN),
            maintenance: false,
            keeps_requests: true,
            cti_requests: Vec::new(),
            rest_requests: Vec::new(),
            counts: Counts::default(),
            at_once: 0,
            next_faults: VecDeque::new(),
            fault: None,
            fault_every: None,
            call_faults: HashMap::new(),
            rest_faults: Vec::new(),
            delay: Duration::ZERO,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            worked_off: watch::Sender::new(0),
            up: watch::Sender::new(true),
            held: watch::Sender::new(false),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL: `ZAMMAD_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The CTI endpoint with its token: `ZAMMAD_CTI_URL`.
    #[must_use]
    pub fn cti_url(&self) -> String {
        format!("http://{}/api/v1/cti/{CTI_TOKEN}", self.address)
    }

    /// Switches the CTI integration.
    pub fn set_integration(&self, integration: Integration) {
        let cti = &mut self.shared.state().cti;
        cti.enabled = integration != Integration::Off;
        cti.configured = integration == Integration::On;
    }

    /// Makes another token the right one.
    pub fn set_cti_token(&self, token: &str) {
        token.clone_into(&mut self.shared.state().cti.token);
    }

    /// Makes another API token the right one.
    pub fn set_api_token(&self, token: &str) {
        token.clone_into(&mut self.shared.state().desk.api_token);
    }

    /// Sets what the owner of the API token may do.
    pub fn set_permissions(&self, permissions: Permissions) {
        self.shared.state().desk.permissions = permissions;
    }

    /// Sets in which groups the owner of the API token may make tickets.
    pub fn set_groups_of_agent(&self, groups: &[&str]) {
        self.shared.state().desk.groups_of_agent = groups.iter().map(|group| (*group).to_owned()).collect();
    }

    /// Calls from here are answered with `reject`.
    pub fn block_caller(&self, from: &str) {
        self.shared.state().cti.blocked_callers.push(from.to_owned());
    }

    /// Outbound calls are answered with this caller id.
    pub fn set_outbound_caller_id(&self, caller_id: Option<&str>) {
        self.shared.state().cti.outbound_caller_id = caller_id.map(str::to_owned);
    }

    /// In maintenance mode the CTI endpoint works, the rest is refused.
    pub fn set_maintenance(&self, maintenance: bool) {
        self.shared.state().maintenance = maintenance;
    }

    /// Takes the server down, so that connections are refused and open ones end, or up again.
    pub fn set_up(&self, up: bool) {
        self.shared.up.send_replace(up);
    }

    /// The next request meets this; several wait in line.
    pub fn fault_next(&self, fault: Fault) {
        self.shared.state().next_faults.push_back(fault);
    }

    /// Every request meets this; `None` ends it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.state().fault = fault;
    }

    /// Every so many requests, one meets this; `None` ends it.
    pub fn set_fault_every(&self, every: Option<(u64, Fault)>) {
        self.shared.state().fault_every = every;
    }

    /// Every CTI request of this call meets this; `None` ends it.
    pub fn set_fault_of_call(&self, call_id: &str, fault: Option<Fault>) {
        let mut state = self.shared.state();
        match fault {
            Some(fault) => state.call_faults.insert(call_id.to_owned(), fault),
            None => state.call_faults.remove(call_id),
        };
    }

    /// The next REST request with this method and path meets this; several wait in line.
    pub fn fault_next_rest(&self, method: &str, path: &str, fault: Fault) {
        self.shared.state().rest_faults.push((method.to_owned(), path.to_owned(), fault));
    }

    /// How long each request takes.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Holds back all answers until [`release`](Self::release). Requests are worked off and meet the faults of the moment
    /// they came in.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Sends what was held back.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Searches find no ticket and no user made from now on, as with an index that lags; `false` ends it.
    pub fn set_search_lags(&self, lags: bool) {
        let desk = &mut self.shared.state().desk;
        desk.indexed = lags.then_some((desk.tickets.len(), desk.users.len()));
    }

    /// Keeps counts alone, and of calls those that go on: for loads of millions of calls.
    pub fn keep_only_counts(&self) {
        let mut state = self.shared.state();
        state.keeps_requests = false;
        state.log.forgets_ended = true;
    }

    /// Adds somebody whom an agent would know.
    pub fn add_user(&self, login: &str, firstname: &str, lastname: &str, email: &str, phone: &str) -> u64 {
        let desk = &mut self.shared.state().desk;
        let id = desk.users.iter().map(|user| user.id).max().unwrap_or(0) + 1;
        desk.users.push(User {
            id,
            login: login.to_owned(),
            firstname: firstname.to_owned(),
            lastname: lastname.to_owned(),
            email: email.to_owned(),
            phone: phone.to_owned(),
            note: String::new(),
        });
        id
    }

    /// The caller log, oldest first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.shared.state().log.rows().to_vec()
    }

    /// The row of a call.
    #[must_use]
    pub fn row(&self, call_id: &str) -> Option<Row> {
        self.shared.state().log.row(call_id).cloned()
    }

    /// How many rows have been made.
    #[must_use]
    pub fn rows_made(&self) -> u64 {
        self.shared.state().log.made()
    }

    /// Tickets, oldest first.
    #[must_use]
    pub fn tickets(&self) -> Vec<Ticket> {
        self.shared.state().desk.tickets.clone()
    }

    /// Articles, oldest first.
    #[must_use]
    pub fn articles(&self) -> Vec<Article> {
        self.shared.state().desk.articles.clone()
    }

    /// Users; the first one is the agent.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.shared.state().desk.users.clone()
    }

    /// Every CTI request so far, in the order in which they were worked off.
    #[must_use]
    pub fn cti_requests(&self) -> Vec<CtiRequest> {
        self.shared.state().cti_requests.clone()
    }

    /// Every other request so far.
    #[must_use]
    pub fn rest_requests(&self) -> Vec<Request> {
        self.shared.state().rest_requests.clone()
    }

    /// What has come so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// The events of a call that were done, in the order in which that happened, repeats included.
    #[must_use]
    pub fn events_of(&self, call_id: &str) -> Vec<String> {
        let state = self.shared.state();
        let own = state.cti_requests.iter().filter(|request| request.done && request.call_id() == call_id);
        own.map(|request| request.event().to_owned()).collect()
    }

    /// Returns when `condition` holds. It is asked after each request.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut worked_off = self.shared.worked_off.subscribe();
        while !condition(self) {
            // The sender lives as long as `self`.
            let _ = worked_off.changed().await;
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut up = shared.up.subscribe();
    let mut listener = Some(listener);
    loop {
        let Some(listening) = &listener else {
            // Down. The port is ours again as soon as somebody says so.
            if up.wait_for(|up| *up).await.is_err() {
                return;
            }
            match listen(address) {
                Ok(again) => listener = Some(again),
                // Taken by somebody else for a moment.
                Err(_) => tokio::task::yield_now().await,
            }
            continue;
        };
        tokio::select! {
            accepted = listening.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    shared.state().counts.connections += 1;
                    let mut up = shared.up.subscribe();
                    tokio::select! {
                        // A client that goes away is none of our business.
                        _ = serve(stream, &shared) => {}
                        _ = up.wait_for(|up| !up) => {}
                    }
                });
            }
            _ = up.wait_for(|up| !up) => listener = None,
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = http::read(&mut stream, &mut buffer).await? {
        let working = Working::begin(shared);
        let delay = shared.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let keeps_connection = request.keeps_connection();
        let (answer, fault) = shared.state().work_off(request, seconds_now());
        shared.worked_off.send_modify(|count| *count += 1);
        // The sender is in `shared`.
        let _ = shared.held.subscribe().wait_for(|held| !held).await;
        drop(working);
        let bytes = answer.bytes();
        match fault {
            None | Some(Fault::Status { .. }) => stream.write_all(&bytes).await?,
            Some(Fault::CutBefore | Fault::CutAfter) => return Ok(()),
            Some(Fault::CutInAnswer) => {
                stream.write_all(&bytes[..bytes.len() - answer.body.len() / 2 - 1]).await?;
                return stream.flush().await;
            }
            Some(Fault::Silence) => {
                let mut ignored = [0; 256];
                while stream.read(&mut ignored).await? > 0 {}
                return Ok(());
            }
        }
        if !keeps_connection {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// A request that is being worked on, counted as such until it is dropped.
struct Working<'a>(&'a Shared);

impl<'a> Working<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        state.at_once += 1;
        state.counts.most_at_once = state.counts.most_at_once.max(state.at_once);
        drop(state);
        Self(shared)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.state().at_once -= 1;
        self.0.worked_off.send_modify(|count| *count += 1);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the adapter through which time comes in")]
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    /// Does what a request asks for, unless its fault keeps that from happening.
    fn work_off(&mut self, request: Request, now: u64) -> (Answer, Option<Fault>) {
        self.counts.requests += 1;
        if !request.accepts_json() {
            self.counts.without_accept += 1;
        }
        let token = request.path().strip_prefix("/api/v1/cti/").filter(|token| !token.contains('/') && *token != "log");
        let Some(token) = token.filter(|_| request.method == "POST").map(str::to_owned) else {
            let fault = self.fault_of_rest(&request).or_else(|| self.fault_of(None));
            let answer = match refusal(fault.as_ref()) {
                Some(answer) => answer,
                None => {
                    let parameters = parameters_of(&request);
                    self.desk.receive(&request, parameters.as_ref(), &mut self.log, self.maintenance, now)
                }
            };
            if self.keeps_requests {
                self.rest_requests.push(request);
            }
            return (answer, fault);
        };
        self.counts.cti_requests += 1;
        let parameters = parameters_of(&request);
        let call_id = parameters.as_ref().and_then(|parameters| text(parameters, "callId"));
        let fault = self.fault_of(call_id.as_deref());
        if parameters.iter().flat_map(|parameters| parameters.values()).any(|v| !v.is_string() && !v.is_null()) {
            self.counts.values_not_strings += 1;
        }
        let mut done = false;
        let answer = match refusal(fault.as_ref()) {
            Some(answer) => answer,
            None => {
                let known = self.desk.known();
                let decided = self.log.receive(&token, parameters.as_ref(), &self.cti, &known, now);
                done = decided.status == 200;
                self.counts.cti_done += u64::from(done);
                match decided.body["error"].as_str() {
                    Some(error) if decided.raised => error_answer(&request, decided.status, error),
                    _ => Answer::json(decided.status, &decided.body),
                }
            }
        };
        if self.keeps_requests {
            let arrives = matches!(fault, None | Some(Fault::Status { .. }));
            let status = arrives.then_some(answer.status);
            self.cti_requests.push(CtiRequest { parameters: parameters.unwrap_or_default(), done, status });
        }
        (answer, fault)
    }

    fn fault_of_rest(&mut self, request: &Request) -> Option<Fault> {
        let is_it = |(method, path, _): &(String, String, Fault)| *method == request.method && path == request.path();
        let at = self.rest_faults.iter().position(is_it)?;
        Some(self.rest_faults.remove(at).2)
    }

    fn fault_of(&mut self, call_id: Option<&str>) -> Option<Fault> {
        if let Some(fault) = call_id.and_then(|call_id| self.call_faults.get(call_id)) {
            return Some(fault.clone());
        }
        if let Some(fault) = self.next_faults.pop_front() {
            return Some(fault);
        }
        match &self.fault_every {
            Some((every, fault)) if self.counts.requests.is_multiple_of(*every) => Some(fault.clone()),
            _ => self.fault.clone(),
        }
    }
}

/// The answer in place of work, for faults that keep it from being done.
fn refusal(fault: Option<&Fault>) -> Option<Answer> {
    match fault? {
        Fault::Status { status, retry_after } => {
            let mut answer = Answer::html(*status, format!("<html><body><h1>{status}</h1></body></html>\n"));
            answer.retry_after.clone_from(retry_after);
            Some(answer)
        }
        // Never sent.
        Fault::CutBefore => Some(Answer::html(500, String::new())),
        Fault::CutAfter | Fault::CutInAnswer | Fault::Silence => None,
    }
}

/// What a request carries in its query and its body; `None` if the body is malformed.
fn parameters_of(request: &Request) -> Option<Parameters> {
    let mut parameters = Parameters::new();
    add_form(&mut parameters, request.query().as_bytes());
    if request.is_of("application/x-www-form-urlencoded") {
        add_form(&mut parameters, &request.body);
    } else if request.is_of("application/json")
        && !request.body.is_empty()
        && let Value::Object(body) = serde_json::from_slice(&request.body).ok()?
    {
        parameters.extend(body);
    }
    Some(parameters)
}

fn add_form(parameters: &mut Parameters, form: &[u8]) {
    for (name, value) in form_urlencoded::parse(form) {
        let value = Value::from(value.into_owned());
        match name.strip_suffix("[]") {
            None => {
                parameters.insert(name.into_owned(), value);
            }
            Some(list) => match parameters.get_mut(list) {
                Some(Value::Array(several)) => several.push(value),
                _ => {
                    parameters.insert(list.to_owned(), Value::Array(vec![value]));
                }
            },
        }
    }
}
