//! One end-to-end test: a name, a time limit, a folder, the SIP trace, and a report that explains a failure.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use codex_e2e::{peers::Kamailio, scenario::{Failure, Scenario}};
//! # async fn example() -> Result<(), Failure> {
//! Scenario::new("register_over_ws", Duration::from_secs(20))
//!     .play(async |stage| {
//!         let edge = Kamailio::builder().start(stage).await?;
//!         let contacts = edge.contacts("user_12345").await?;
//!         if contacts.is_empty() { Ok(()) } else { Err("somebody is registered already".into()) }
//!     })
//!     .await
//! # }
//! ```

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use codex_core_sip::sip::ladder::Ladder;
use futures_util::FutureExt as _;

use crate::peers::{PeerError, ports};
use crate::sip_trace::{self, TracedMessage};
use crate::sipp_log::{self, Direction};

/// Set to 1: a scenario whose peer is not installed prints `left out: NAME: PACKAGE missing` and passes.
pub const ALLOW_MISSING: &str = "CODEX_E2E_ALLOW_MISSING";
/// Set to 1: folders with configuration, logs and recordings stay, and their path is printed.
pub const KEEP: &str = "CODEX_E2E_KEEP";

/// A file to which what a scenario has to say beside passing (figures, what was left out, what was kept) is appended, a
/// line each: a test runner keeps back what a passing test prints. `cargo xtask e2e` shows it at the end.
pub const NOTES: &str = "CODEX_E2E_NOTES";

/// What steps of a scenario return.
pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a scenario's body returns.
pub type Outcome = Fallible<()>;

/// How often something that gives no notice is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Peers have fixed ports, so one scenario plays at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A test that has not begun.
#[derive(Debug)]
pub struct Scenario {
    name: &'static str,
    limit: Duration,
    allow_missing: bool,
    keep: bool,
}

impl Scenario {
    /// `name` is the test's name; the body may take `limit` at most (waiting for the scenario before it not counted).
    #[must_use]
    pub fn new(name: &'static str, limit: Duration) -> Scenario {
        let is_set = |key| std::env::var(key).is_ok_and(|value| value == "1");
        Scenario { name, limit, allow_missing: is_set(ALLOW_MISSING), keep: is_set(KEEP) }
    }

    /// Runs the body. Peers that it started end with it.
    ///
    /// # Errors
    /// When the body fails, panics or takes too long: with the SIP trace as a ladder and the ends of the peers' logs.
    pub async fn play<F>(self, body: F) -> Result<(), Failure>
    where
        F: AsyncFnOnce(&Stage) -> Outcome,
    {
        let _turn = ONE_AT_A_TIME.lock().await;
        let stage = match Stage::new(self.name) {
            Ok(stage) => stage,
            Err(error) => return Err(Failure { report: format!("scenario `{}`: no folder: {error}", self.name) }),
        };
        // The body's future is dropped, and its peers with it, before the report reads their logs.
        let result = tokio::time::timeout(self.limit, AssertUnwindSafe(body(&stage)).catch_unwind()).await;
        let why = match result {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => {
                if let (true, Some(PeerError::Missing { package, .. })) = (self.allow_missing, error.downcast_ref()) {
                    note(&format!("left out: {}: {package} missing", self.name));
                    return Ok(());
                }
                Some(chain(error.as_ref()))
            }
            Ok(Err(panic)) => Some(panic_text(panic.as_ref())),
            Err(_) => Some(format!("not done after {:?}", self.limit)),
        };
        let failure = why.map(|why| Failure { report: stage.report(&why) });
        if self.keep {
            let kept = stage.keep();
            note(&format!("kept: {}: {}", self.name, kept.display()));
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Says `line` on standard output (straight, since the test harness keeps back what `println!` says in a passing test) and
/// in the file of [`NOTES`]. A note that cannot be written is no reason for a scenario to fail.
fn note(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
    if let Some(path) = std::env::var_os(NOTES)
        && let Ok(mut file) = fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("(no text)"))
}

/// Why a scenario failed, for a person: reason, ladder, ends of logs. `Debug` prints the same, since that is what a test
/// that returns an error prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    report: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl Error for Failure {}

/// Where a scenario plays: its folder, and what is known about it so far.
#[derive(Debug)]
pub struct Stage {
    name: &'static str,
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// A peer's name and its log.
    logs: Vec<(String, PathBuf)>,
    /// Folders that Kamailio's `sipdump` writes into.
    sipdumps: Vec<PathBuf>,
    /// SIPp's name and its message log.
    message_logs: Vec<(String, PathBuf)>,
    /// What the test itself recorded.
    recorded: Vec<TracedMessage>,
    /// What the test's clients told, each with its time since the epoch.
    notes: Vec<(Duration, String)>,
}

impl Seen {
    fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
        // A panic while the lock is held leaves nothing half-done: each use is one push or one read.
        seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "traces of several processes are merged by wall-clock time")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Writes into a scenario's trace from wherever something is seen, such as a client's own task.
#[derive(Debug, Clone)]
pub struct Recorder {
    seen: Arc<Mutex<Seen>>,
}

impl Recorder {
    /// Puts a message that was seen just now into the trace; `from` and `to` are names such as `client` and `edge`.
    pub fn record(&self, from: &str, to: &str, bytes: &[u8]) {
        let message =
            TracedMessage { at: since_epoch(), from: from.to_owned(), to: to.to_owned(), bytes: bytes.to_owned() };
        Seen::lock(&self.seen).recorded.push(message);
    }

    /// Keeps a line for the report of a failure: something that a client told just now.
    pub fn note(&self, line: String) {
        Seen::lock(&self.seen).notes.push((since_epoch(), line));
    }
}

impl Stage {
    fn new(name: &'static str) -> io::Result<Stage> {
        let folder = tempfile::Builder::new().prefix(&format!("codex-e2e-{name}-")).tempdir()?;
        Ok(Stage { name, folder, seen: Arc::default() })
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A folder for this scenario only; it goes when the scenario ends, unless `CODEX_E2E_KEEP=1`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder of its own for a peer; a second `name` gets a number.
    pub(crate) fn peer_folder(&self, name: &str) -> io::Result<PathBuf> {
        let mut folder = self.folder().join(name);
        let mut number = 2;
        while folder.exists() {
            folder = self.folder().join(format!("{name}-{number}"));
            number += 1;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Has the end of this log printed when the scenario fails.
    pub fn add_log(&self, name: &str, path: &Path) {
        self.seen().logs.push((name.to_owned(), path.to_owned()));
    }

    pub(crate) fn add_sipdump(&self, folder: &Path) {
        self.seen().sipdumps.push(folder.to_owned());
    }

    pub(crate) fn add_message_log(&self, name: &str, path: &Path) {
        self.seen().message_logs.push((name.to_owned(), path.to_owned()));
    }

    /// Puts a message that the test itself saw, just now, into the trace; `from` and `to` are names such as `client` and
    /// `edge`.
    pub fn record(&self, from: &str, to: &str, bytes: &[u8]) {
        self.recorder().record(from, to, bytes);
    }

    /// What writes into the trace for as long as it likes.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder { seen: Arc::clone(&self.seen) }
    }

    /// Notes a figure that was measured; see [`NOTES`].
    pub fn figure(&self, what: &str, value: &str) {
        note(&format!("figure: {}: {what}: {value}", self.name));
    }

    /// Every SIP message seen so far by edge, SIPp and the test itself, in order of time. The edge writes its part some
    /// milliseconds late.
    #[must_use]
    pub fn trace(&self) -> Vec<TracedMessage> {
        let seen = self.seen();
        let mut observers: Vec<Vec<TracedMessage>> = vec![self.of_the_edge(&seen)];
        for (sipp, path) in &seen.message_logs {
            let messages = sipp_log::messages(path).unwrap_or_default().into_iter().map(|message| {
                let (from, to) = match message.direction {
                    Direction::Sent => (sipp.clone(), "edge".to_owned()),
                    Direction::Received => ("edge".to_owned(), sipp.clone()),
                };
                TracedMessage { at: message.at, from, to, bytes: message.bytes }
            });
            observers.push(messages.collect());
        }
        observers.push(seen.recorded.clone());
        sip_trace::merge(observers)
    }

    /// Every SIP message that the edge itself received or sent so far, in order of time.
    #[must_use]
    pub fn edge_trace(&self) -> Vec<TracedMessage> {
        sip_trace::merge([self.of_the_edge(&self.seen())])
    }

    /// Waits until the edge's own trace holds what `find` looks for.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn edge_saw<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&[TracedMessage]) -> Option<T>,
    ) -> Fallible<T> {
        let looking = async {
            loop {
                if let Some(found) = find(&self.edge_trace()) {
                    return found;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        match tokio::time::timeout(limit, looking).await {
            Ok(found) => Ok(found),
            Err(_) => Err(format!("the edge did not see {what} within {limit:?}").into()),
        }
    }

    /// What the edge dumped. Who is behind a port of the system's choice is known by what a client of the test recorded;
    /// others are `client`, `client 2` in the order in which they appear.
    fn of_the_edge(&self, seen: &Seen) -> Vec<TracedMessage> {
        const UNNAMED: &str = "port ";
        let mut messages = Vec::new();
        for folder in &seen.sipdumps {
            let name = |port: u16| ports::owner(port).map_or_else(|| format!("{UNNAMED}{port}"), str::to_owned);
            messages.extend(sip_trace::read_sipdump(folder, name).unwrap_or_default());
        }
        let mut names: Vec<(String, String)> = Vec::new();
        for message in &messages {
            if !message.from.starts_with(UNNAMED) || names.iter().any(|(port, _)| *port == message.from) {
                continue;
            }
            if let Some(own) = seen.recorded.iter().find(|own| own.bytes == message.bytes) {
                names.push((message.from.clone(), own.from.clone()));
            }
        }
        let mut unknown = 0;
        for message in &mut messages {
            for party in [&mut message.from, &mut message.to] {
                if !party.starts_with(UNNAMED) {
                    continue;
                }
                let known = names.iter().find(|(port, _)| port == party).map(|(_, name)| name.clone());
                let name = known.unwrap_or_else(|| {
                    unknown += 1;
                    let name = if unknown == 1 { "client".to_owned() } else { format!("client {unknown}") };
                    names.push((party.clone(), name.clone()));
                    name
                });
                *party = name;
            }
        }
        messages
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        Seen::lock(&self.seen)
    }

    fn report(&self, why: &str) -> String {
        const HEADERS: [&str; 5] = ["Reason", "X-Reason", "X-Customer-Data", "X-Display-From", "X-Display-To"];
        const NOTE_COLUMNS: usize = 300;
        let mut report = format!("scenario `{}` failed: {why}\n\nSIP trace:\n", self.name);
        report.push_str(&Ladder::new().rightmost(&["edge", "voicebot"]).headers(&HEADERS).draw(&self.trace()));
        let begin = self.trace().first().map(|message| message.at).unwrap_or_default();
        for (at, note) in &self.seen().notes {
            let cut: String = note.chars().take(NOTE_COLUMNS).collect();
            let _ = write!(report, "\n{:>9.3} s  {cut}", at.as_secs_f64() - begin.as_secs_f64());
        }
        report.push('\n');
        for (name, path) in &self.seen().logs {
            let _ = write!(report, "\nlog of {name}, its end:\n{}", tail(path));
        }
        let _ = write!(report, "\n{KEEP}=1 keeps the folder with configuration, logs and recordings.\n");
        report
    }

    fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The last lines of a log, each cut to a width that a person reads.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 30;
    const COLUMNS: usize = 240;
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("  (cannot be read: {error})\n"),
    };
    // Programs that redraw a line end it with CR only.
    let lines: Vec<&str> = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        let cut: String = line.chars().filter(|c| !c.is_control()).take(COLUMNS).collect();
        let _ = writeln!(end, "  {cut}");
    }
    if end.is_empty() { "  (empty)\n".to_owned() } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(limit: Duration) -> Scenario {
        Scenario { name: "example", limit, allow_missing: false, keep: false }
    }

    #[tokio::test]
    async fn a_failure_tells_the_reason_the_ladder_and_the_logs() {
        let mut folder = PathBuf::new();
        let failure = scenario(Duration::from_secs(9))
            .play(async |stage| {
                folder = stage.folder().to_owned();
                let log = stage.folder().join("peer.log");
                fs::write(&log, "it began\nit ended badly\n")?;
                stage.add_log("peer", &log);
                stage.record("client", "edge", b"OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n");
                stage.record("edge", "client", b"SIP/2.0 500 No\r\nX-Reason: tired\r\nCSeq: 1 OPTIONS\r\n\r\n");
                Err("the edge said 500".into())
            })
            .await
            .unwrap_err()
            .to_string();
        for part in [
            "scenario `example` failed: the edge said 500",
            "|--OPTIONS sip:a---",
            "500 No (OPTIONS)--|",
            "X-Reason: tired",
            "log of peer, its end:\n  it began\n  it ended badly\n",
        ] {
            assert!(failure.contains(part), "`{part}` is missing in:\n{failure}");
        }
        assert!(!folder.as_os_str().is_empty() && !folder.exists(), "the folder has to go");
    }

    #[tokio::test]
    async fn a_panic_and_a_time_limit_are_failures() {
        let panicked = scenario(Duration::from_secs(9)).play(async |_| panic!("no such thing")).await.unwrap_err();
        assert!(panicked.to_string().contains("panic: no such thing"), "{panicked}");
        let late = scenario(Duration::from_millis(10))
            .play(async |_| {
                std::future::pending::<()>().await;
                Ok(())
            })
            .await
            .unwrap_err();
        assert!(late.to_string().contains("failed: not done after 10ms"), "{late}");
        scenario(Duration::from_secs(9)).play(async |_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_peer_fails_unless_it_may_be_left_out() {
        let missing = || PeerError::Missing { command: "kamailio", package: "kamailio" };
        let failure = scenario(Duration::from_secs(9)).play(async |_| Err(missing().into())).await.unwrap_err();
        assert!(failure.to_string().contains("apt-get install kamailio"), "{failure}");
        let lenient = Scenario { allow_missing: true, ..scenario(Duration::from_secs(9)) };
        lenient.play(async |_| Err(missing().into())).await.unwrap();
        let lenient = Scenario { allow_missing: true, ..scenario(Duration::from_secs(9)) };
        lenient.play(async |_| Err("something else".into())).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_folder_that_is_to_be_kept_is_kept() {
        let mut folder = PathBuf::new();
        let keeping = Scenario { keep: true, ..scenario(Duration::from_secs(9)) };
        keeping
            .play(async |stage| {
                folder = stage.folder().to_owned();
                Ok(())
            })
            .await
            .unwrap();
        assert!(folder.exists());
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn the_end_of_a_log_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, format!("{}{}", "old line\n".repeat(500), "x".repeat(5000))).unwrap();
        let end = tail(&path);
        assert_eq!(end.lines().count(), 30);
        assert!(end.lines().all(|line| line.len() <= 242));
        assert!(tail(&folder.path().join("none")).contains("cannot be read"));
    }
}
