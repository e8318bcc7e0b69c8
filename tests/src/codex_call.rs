//! `codex-call` as a process, started with nothing but what a test gives it, and what it printed.

#![expect(clippy::panic, reason = "this is for tests, which fail by panicking")]

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::gateway::Gateway;

/// No run of a test takes longer.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// Where the program is, if it is not beside the tests: `cargo xtask e2e` builds it and says so.
pub const PROGRAM: &str = "CODEX_CALL";

/// The program as this test run has it: where [`PROGRAM`] says, else in the folder that cargo builds programs into.
///
/// # Errors
/// When it has not been built.
pub fn built_program() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(PROGRAM) {
        return Ok(path.into());
    }
    // Tests are in `deps`, programs a folder above.
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = test.parent().and_then(Path::parent).map(|folder| folder.join("codex-call"));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        "codex-call has not been built: `cargo build -p codex-web-widget --bin codex-call` (`cargo xtask e2e` does it)".to_owned()
    })
}

/// The keys of a client of this gateway.
#[must_use]
pub fn keys(gateway: &Gateway) -> Vec<(String, String)> {
    keys_of(gateway.url())
}

/// The keys of a client of the edge at `url`, by the gateway's defaults.
#[must_use]
pub fn keys_of(url: &str) -> Vec<(String, String)> {
    [
        ("JAMBONZ_SIP_DOMAIN", "sip.example.com"),
        ("JAMBONZ_WSS_ADDRESS", url),
        ("JAMBONZ_SIP_USERNAME", "170"),
        ("JAMBONZ_SIP_PASSWORD", "secret"),
        ("TARGET_SIP_URI", "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com"),
        ("INFINITE_RECONNECT", "false"),
        ("MAX_REGISTER_RETRIES", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A run that has not begun.
#[derive(Debug)]
pub struct Call(Command);

impl Call {
    /// The program at `path` with these keys in its environment and nothing else, in a folder without a `.env`.
    #[must_use]
    pub fn new(path: &Path, keys: &[(String, String)]) -> Self {
        let mut command = Command::new(path);
        command.env_clear().envs(keys.iter().cloned()).current_dir("/");
        // rustls reads the system's authorities from where these say, on machines that need them.
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self(command)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Another folder.
    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> Running {
        let mut child = self.0.spawn().expect("codex-call starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Running { child, lines, stdout: String::new() }
    }

    /// Starts it and waits for its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end in time.
    pub async fn run(self) -> Run {
        self.spawn().end().await
    }
}

/// A run under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdout: String,
}

impl Running {
    /// Waits for an event of `--json`.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let looking = async {
            loop {
                let line = self.lines.next_line().await.expect("its output is text").expect("it goes on");
                self.stdout.push_str(&line);
                self.stdout.push('\n');
                if let Ok(event) = serde_json::from_str(&line)
                    && wanted(&event)
                {
                    return event;
                }
            }
        };
        tokio::time::timeout(LONGEST_RUN, looking).await.expect("the event comes")
    }

    /// Waits for a line with these words.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn line(&mut self, words: &str) {
        let looking = async {
            loop {
                let line = self.lines.next_line().await.expect("its output is text").expect("it goes on");
                self.stdout.push_str(&line);
                self.stdout.push('\n');
                if line.contains(words) {
                    return;
                }
            }
        };
        tokio::time::timeout(LONGEST_RUN, looking).await.expect("the line comes");
    }

    /// Ctrl-C.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn interrupt(&self) {
        let id = self.child.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(status.success());
    }

    /// Its end.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn end(mut self) -> Run {
        let reading = async {
            let mut stderr = String::new();
            let mut errors = self.child.stderr.take().expect("its errors");
            let (lines, stdout) = (&mut self.lines, &mut self.stdout);
            let output = async {
                while let Some(line) = lines.next_line().await.expect("its output is text") {
                    stdout.push_str(&line);
                    stdout.push('\n');
                }
            };
            let (_, read) = tokio::join!(output, errors.read_to_string(&mut stderr));
            read.expect("its errors are text");
            let status = self.child.wait().await.expect("it ends");
            (status, stderr)
        };
        let (status, stderr) = tokio::time::timeout(LONGEST_RUN, reading).await.expect("codex-call ends in time");
        let events = self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let status = u8::try_from(status.code().unwrap_or(255)).unwrap_or(255);
        Run { status, stdout: self.stdout, stderr, events }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status; 255 if a signal ended it.
    pub status: u8,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    /// What `--json` printed.
    pub events: Vec<Value>,
}

impl Run {
    /// The first event of this kind that is as wanted.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn event(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> &Value {
        let found = self.events.iter().find(|event| event["event"] == kind && wanted(event));
        found.unwrap_or_else(|| panic!("no event `{kind}` as wanted in {self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}
