//! A receiver of CTI requests that behaves as Zammad does, as far as order and repeats go: one thread to a connection, and
//! a list of what came.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};

/// A CTI request that came.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "each test file uses what it needs")]
pub(crate) struct Came {
    /// `callId`
    pub(crate) call_id: String,
    /// `event`
    pub(crate) event: String,
    /// All parameters.
    pub(crate) parameters: Map<String, Value>,
    /// The status of the answer.
    pub(crate) status: u16,
}

#[derive(Default)]
struct State {
    came: Vec<Came>,
    known: HashSet<String>,
    under_way: usize,
    most_at_once: usize,
    connections: Vec<TcpStream>,
}

/// What to answer instead of what Zammad would, and after how long; `None` for what Zammad would.
pub(crate) type Reply = dyn Fn(&Came, usize) -> Option<(u16, String)> + Send + Sync;

struct Shared {
    state: Mutex<State>,
    more: Condvar,
    reply: Box<Reply>,
    takes: Duration,
}

/// The receiver. Its threads end with the test's process.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[allow(dead_code, reason = "each test file uses what it needs")]
impl Receiver {
    /// Listens on a free port and answers at once as Zammad does.
    pub(crate) fn start() -> Self {
        Self::replying(Duration::ZERO, |_, _| None)
    }

    /// Answers after `takes`, and with `reply` where that has something; its second argument is how many requests came
    /// before.
    pub(crate) fn replying(
        takes: Duration,
        reply: impl Fn(&Came, usize) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { state: Mutex::default(), more: Condvar::new(), reply: Box::new(reply), takes });
        let accepting = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = accepting.clone();
                thread::spawn(move || serve(&connection, &shared));
            }
        });
        Self { address, shared }
    }

    /// The URL to send to.
    pub(crate) fn cti_url(&self) -> String {
        format!("http://{}/api/v1/cti/token", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no thread panicked with it")
    }

    /// Everything that came, in order of arrival.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.state().came.clone()
    }

    /// The events of each call, in order of arrival, with the statuses that they were answered with.
    pub(crate) fn by_call(&self) -> HashMap<String, Vec<(String, u16)>> {
        let mut calls: HashMap<String, Vec<(String, u16)>> = HashMap::new();
        for came in &self.state().came {
            calls.entry(came.call_id.clone()).or_default().push((came.event.clone(), came.status));
        }
        calls
    }

    /// The most requests that were worked on at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// Waits until `enough` of what came, for 30 seconds at most.
    pub(crate) fn wait_until(&self, enough: impl Fn(&[Came]) -> bool) -> Vec<Came> {
        let (state, timed_out) = self
            .shared
            .more
            .wait_timeout_while(self.state(), Duration::from_secs(30), |state| !enough(&state.came))
            .map(|(state, result)| (state, result.timed_out()))
            .expect("no thread panicked with it");
        assert!(!timed_out, "after 30 s there came only {:#?}", state.came);
        state.came.clone()
    }
}

fn serve(connection: &TcpStream, shared: &Shared) {
    let _ = connection.set_nodelay(true);
    if let Ok(own) = connection.try_clone() {
        shared.state.lock().expect("no thread panicked with it").connections.push(own);
    }
    let mut reader = BufReader::new(connection);
    while let Some(body) = read_request(&mut reader) {
        let parameters: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut came = Came { call_id: text("callId"), event: text("event"), parameters, status: 200 };
        let earlier = {
            let mut state = shared.state.lock().expect("no thread panicked with it");
            state.under_way += 1;
            state.most_at_once = state.most_at_once.max(state.under_way);
            state.came.len()
        };
        thread::sleep(shared.takes);
        let (status, answer) = (shared.reply)(&came, earlier).unwrap_or_else(|| {
            let mut state = shared.state.lock().expect("no thread panicked with it");
            if came.event == "newCall" {
                if state.known.insert(came.call_id.clone()) {
                    (200, "{}".to_owned())
                } else {
                    (500, r#"{"error":"This object already exists."}"#.to_owned())
                }
            } else if state.known.contains(&came.call_id) {
                (200, "{}".to_owned())
            } else {
                (500, r#"{"error":"Error ID abcd: Please contact your administrator."}"#.to_owned())
            }
        });
        came.status = status;
        {
            let mut state = shared.state.lock().expect("no thread panicked with it");
            state.came.push(came);
            state.under_way -= 1;
        }
        shared.more.notify_all();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut out = connection;
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(answer.as_bytes())).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
