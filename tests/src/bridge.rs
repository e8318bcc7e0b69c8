//! The Zammad bridge as a process with a life cycle: started with settings of its environment, killed, started again.

#![expect(clippy::panic, reason = "part of test programs: a failure tells what the process has logged")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::raw_http::{self, Answer};

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a start or an end may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The bridge. Dropping it kills the process.
#[derive(Debug)]
pub struct Bridge {
    command: Vec<OsString>,
    folder: PathBuf,
    address: SocketAddr,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    starts: u32,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Bridge {
    /// A bridge whose files are in this folder, on a free port of 127.0.0.1. It is not started yet.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn new(program: &Path, folder: &Path) -> io::Result<Self> {
        // Free when the process starts, unless somebody is very quick; it keeps the port over restarts.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let bridge = Self {
            command: vec![program.into()],
            folder: folder.to_owned(),
            address,
            settings: Vec::new(),
            child: None,
            starts: 0,
        };
        let database = format!("sqlite://{}", bridge.database().display());
        Ok(bridge.with("BRIDGE_LISTEN", &address.to_string()).with("BRIDGE_DATABASE_URL", &database))
    }

    /// With a setting of its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(own, _)| own != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started by another program, which gets the bridge's own command line after these arguments.
    #[must_use]
    pub fn started_by(mut self, wrapper: &[&str]) -> Self {
        let wrapper = wrapper.iter().map(OsString::from);
        self.command = wrapper.chain(std::mem::take(&mut self.command)).collect();
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of its store.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("calls.db")
    }

    /// The number of its process, if it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        (1..=self.starts).map(|start| fs::read_to_string(self.log_file(start)).unwrap_or_default()).collect()
    }

    fn log_file(&self, start: u32) -> PathBuf {
        self.folder.join(format!("bridge-{start}.log"))
    }

    /// Starts it and returns at once.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn(&mut self) -> io::Result<()> {
        self.kill();
        self.starts += 1;
        let log = File::create(self.log_file(self.starts))?;
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .arg("serve")
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it is not ready within a minute, or ends.
    pub async fn start(&mut self) {
        self.spawn().expect("the bridge starts");
        self.wait_for("/readyz", |answer| answer.status == 200).await;
    }

    /// Waits until a path is answered in a certain way.
    ///
    /// # Panics
    ///
    /// If that does not come about within a minute, or the process ends.
    pub async fn wait_for(&mut self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let looking = async {
            loop {
                if let Ok(answer) = self.get(path).await
                    && wanted(&answer)
                {
                    return Ok(answer);
                }
                if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                    return Err(ended);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(DEADLINE, looking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ended)) => panic!("the bridge ended with {ended} before {path} was as wanted\n{}", self.log()),
            Err(_) => panic!("{path} is not as wanted after {DEADLINE:?}\n{}", self.log()),
        }
    }

    /// Asks for a path.
    ///
    /// # Errors
    ///
    /// If no answer comes.
    pub async fn get(&self, path: &str) -> io::Result<Answer> {
        raw_http::exchange(self.address, &raw_http::request("GET", path, &[("Connection", "close")], b"")).await
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end and waits for that.
    ///
    /// # Panics
    ///
    /// If it has not ended within a minute.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let pid = Pid::from_child(child);
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
        let ending = async {
            loop {
                if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                    return status;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let status = tokio::time::timeout(DEADLINE, ending).await;
        let Ok(status) = status else { panic!("the bridge does not end\n{}", self.log()) };
        self.child = None;
        Some(status)
    }
}
