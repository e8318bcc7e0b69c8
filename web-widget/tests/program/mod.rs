//! `codex-call` as a process: started with nothing but what a test gives it.
#![allow(dead_code, reason = "each test program uses its part of it")]
#![allow(unreachable_pub, reason = "it is a module of test programs")]

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use codex_e2e::gateway::Gateway;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// No run of a test takes longer.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// The keys of a client of this gateway.
pub fn keys(gateway: &Gateway) -> Vec<(String, String)> {
    keys_of(gateway.url())
}

/// The keys of a client of the edge at `url`, by the gateway's defaults.
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

/// The program with these keys in its environment and nothing else.
pub fn codex_call(keys: &[(String, String)]) -> Call {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codex-call"));
    command.env_clear().envs(keys.iter().cloned()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    // rustls reads the system's authorities from where these say, on machines that need them.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Call(command)
}

/// A run that has not begun.
pub struct Call(Command);

impl Call {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub fn spawn(mut self) -> Running {
        let mut child = self.0.spawn().expect("codex-call starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Running { child, lines, stdout: String::new() }
    }

    pub async fn run(self) -> Run {
        self.spawn().end().await
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdout: String,
}

impl Running {
    /// Waits for an event of `--json`.
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

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let id = self.child.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(status.success());
    }

    /// Its end.
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
pub struct Run {
    pub status: u8,
    pub stdout: String,
    pub stderr: String,
    /// What `--json` printed.
    pub events: Vec<Value>,
}

impl Run {
    /// The first event of this kind that is as wanted.
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
