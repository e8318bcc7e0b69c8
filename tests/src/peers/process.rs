//! A peer's process: started in a group of its own, watched until it answers, ended with all its children.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::PeerError;
use crate::scenario;

/// How long a peer may take until it answers. Kamailio with TLS needs about half a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a peer may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a port of an earlier peer may stay taken.
const PORT_LIMIT: Duration = Duration::from_secs(5);
/// How often something that gives no notice is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// What it is called in errors and reports.
    pub(super) peer: &'static str,
    pub(super) command: &'static str,
    pub(super) package: &'static str,
}

impl Program {
    /// Where it is.
    ///
    /// `sbin` is looked into too: it is not in everybody's path.
    pub(super) fn find(self) -> Result<PathBuf, PeerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from))
            .map(|folder| folder.join(self.command))
            .find(|candidate| candidate.is_file())
            .ok_or(PeerError::Missing { command: self.command, package: self.package })
    }
}

/// A port that a peer listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Udp(u16),
    Tcp(u16),
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Port::Udp(port) | Port::Tcp(port) => port,
        }
    }

    /// Whether somebody in this network namespace has it, by the kernel's own tables: asking costs the peer nothing and
    /// puts no message into its log.
    pub(super) fn is_taken(self) -> bool {
        const LISTENING: &str = "0A";
        let table = match self {
            Port::Udp(_) => "/proc/self/net/udp",
            Port::Tcp(_) => "/proc/self/net/tcp",
        };
        let table = fs::read_to_string(table).unwrap_or_default();
        let wanted = format!(":{:04X}", self.number());
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let is_ours = fields.next().is_some_and(|local| local.ends_with(&wanted));
            is_ours && (matches!(self, Port::Udp(_)) || fields.nth(1) == Some(LISTENING))
        })
    }
}

/// A running program. Dropping it kills the whole process group.
#[derive(Debug)]
pub(super) struct Process {
    peer: &'static str,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    killed: bool,
}

impl Process {
    /// Starts it in `folder`, once the ports that it will listen on are free; what it prints is added to `log`.
    pub(super) async fn start<A: AsRef<OsStr>>(
        program: Program,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
        log: &Path,
        listens_on: &[Port],
    ) -> Result<Process, PeerError> {
        let path = program.find()?;
        for port in listens_on {
            let is_free = async || (!port.is_taken()).then_some(());
            if tokio::time::timeout(PORT_LIMIT, poll(is_free)).await.is_err() {
                return Err(PeerError::PortTaken { peer: program.peer, port: port.number() });
            }
        }
        let file_error = |source| PeerError::File { path: log.to_owned(), source };
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(file_error)?;
        let errors = output.try_clone().map_err(file_error)?;
        // A test program that is killed cannot clean up: the kernel then asks the peer to end. `setpriv` becomes the
        // program, so that the process id stays.
        let setpriv = Program { peer: program.peer, command: "setpriv", package: "util-linux" }.find()?;
        let mut command = Command::new(setpriv);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(path)
            .args(arguments)
            .current_dir(folder)
            // SIPp writes local time into its message log.
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| PeerError::Io { peer: program.peer, source })?;
        Ok(Process { peer: program.peer, child, log: log.to_owned(), ended: None, killed: false })
    }

    /// Waits until `probe` yields something, the process ends, or the peer has had time enough.
    pub(super) async fn answers<T>(
        &mut self,
        waited_for: &str,
        probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, PeerError> {
        self.wait_for(waited_for, START_LIMIT, probe).await
    }

    /// As [`Process::answers`], with a limit.
    pub(super) async fn wait_for<T>(
        &mut self,
        waited_for: &str,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, PeerError> {
        let watched = poll(async || {
            if let Some(value) = probe().await {
                return Some(Ok(value));
            }
            match self.status() {
                Ok(None) => None,
                Ok(Some(status)) => Some(Err(Some(status))),
                Err(_) => Some(Err(None)),
            }
        });
        match tokio::time::timeout(limit, watched).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Some(status))) => Err(PeerError::Ended { peer: self.peer, status, log: scenario::tail(&self.log) }),
            Ok(Err(None)) | Err(_) => Err(PeerError::TooLate {
                peer: self.peer,
                waited_for: waited_for.to_owned(),
                limit,
                log: scenario::tail(&self.log),
            }),
        }
    }

    /// Its exit status, if it has ended.
    pub(super) fn status(&mut self) -> Result<Option<ExitStatus>, PeerError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| PeerError::Io { peer: self.peer, source })?;
        }
        Ok(self.ended)
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus, PeerError> {
        let watched = poll(async || self.status().transpose());
        match tokio::time::timeout(limit, watched).await {
            Ok(status) => status,
            Err(_) => Err(PeerError::TooLate {
                peer: self.peer,
                waited_for: "its end".to_owned(),
                limit,
                log: scenario::tail(&self.log),
            }),
        }
    }

    /// Asks it to end, and makes it end if it does not.
    pub(super) async fn stop(&mut self) -> Result<(), PeerError> {
        if self.status()?.is_none() {
            self.signal(Signal::TERM);
            if self.ended(STOP_LIMIT).await.is_err() {
                self.kill();
            }
        }
        self.kill();
        Ok(())
    }

    /// Ends it and its children at once.
    pub(super) fn kill(&mut self) {
        if self.killed {
            return;
        }
        self.killed = true;
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            // Comes back at once: nothing outlives SIGKILL, and the zombie is ours to take.
            self.ended = self.child.wait().ok();
        }
    }

    /// The process that leads the group.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        // The group has the id of its first process. The kernel gives that id to nobody else while a member lives or the
        // first process has not been waited for; `killed` keeps what comes after that short.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // No such process: all of them have ended already, which is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again until there is an answer; the caller sets the limit.
pub(super) async fn poll<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// One try at an exchange that may hang when the peer is not there yet.
pub(super) async fn attempt<T>(exchange: impl Future<Output = std::io::Result<T>>) -> Option<T> {
    const ATTEMPT_LIMIT: Duration = Duration::from_millis(250);
    tokio::time::timeout(ATTEMPT_LIMIT, exchange).await.ok()?.ok()
}

/// Sends one datagram to 127.0.0.1:`port` and returns the first answer.
pub(super) async fn ask_udp(port: u16, question: &[u8]) -> std::io::Result<Vec<u8>> {
    const LARGEST_DATAGRAM: usize = 65_535;
    let socket = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await?;
    socket.connect(("127.0.0.1", port)).await?;
    socket.send(question).await?;
    let mut answer = vec![0; LARGEST_DATAGRAM];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// Writes a file of a peer.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), PeerError> {
    fs::write(path, content).map_err(|source| PeerError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Program = Program { peer: "shell", command: "sh", package: "dash" };

    async fn shell(folder: &Path, script: &str) -> Process {
        Process::start(SHELL, ["-c", script], folder, &folder.join("log"), &[]).await.unwrap()
    }

    fn is_alive(process: &str) -> bool {
        // A zombie that its new parent has not taken yet is dead.
        fs::read_to_string(format!("/proc/{process}/stat"))
            .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
    }

    #[tokio::test]
    async fn children_end_with_the_peer() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell(folder.path(), "sleep 600 & echo $! > child; wait").await;
        let child = folder.path().join("child");
        let id = process
            .answers("the child's id", async || {
                fs::read_to_string(&child).ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
            })
            .await
            .unwrap();
        assert!(is_alive(&id) && is_alive(&process.id().to_string()));
        drop(process);
        tokio::time::timeout(Duration::from_secs(5), poll(async || (!is_alive(&id)).then_some(()))).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_ends_early_shows_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell(folder.path(), "echo the port is taken; exit 3").await;
        let error = process.answers("an answer", async || None::<()>).await.unwrap_err();
        assert!(matches!(&error, PeerError::Ended { peer: "shell", .. }), "{error}");
        assert!(error.to_string().contains("the port is taken"), "{error}");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_answer_is_too_late() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell(folder.path(), "echo here; exec sleep 600").await;
        let limit = Duration::from_millis(50);
        let error = process.wait_for("an answer", limit, async || None::<()>).await.unwrap_err();
        assert!(error.to_string().starts_with("shell: an answer did not come within 50ms"), "{error}");
        process.stop().await.unwrap();
        assert!(process.status().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_names_its_package() {
        let program = Program { peer: "none", command: "no-such-program-here", package: "no-such-package" };
        let folder = tempfile::tempdir().unwrap();
        let error = Process::start(program, [""], folder.path(), &folder.path().join("log"), &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program-here` is not installed: apt-get install no-such-package");
    }

    #[tokio::test]
    async fn taken_ports_are_seen() {
        let udp = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ports = [Port::Udp(udp.local_addr().unwrap().port()), Port::Tcp(tcp.local_addr().unwrap().port())];
        assert!(ports.iter().all(|port| port.is_taken()));
        drop((udp, tcp));
        assert!(!ports.iter().any(|port| port.is_taken()));
    }
}
