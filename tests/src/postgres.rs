//! A PostgreSQL server of its own for a test: Debian's program, files in a temporary folder, on a free port of 127.0.0.1.

#![expect(clippy::panic, reason = "part of test programs: a failure tells why the server does not start")]

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};

/// Where Debian has the programs, by version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// How long the server may take to start, and to end.
const DEADLINE: Duration = Duration::from_secs(60);
/// What it logs when it takes connections.
const READY: &str = "database system is ready to accept connections";
/// Who has the files if the test runs as root, whom PostgreSQL refuses: `nobody`.
const NOBODY: u32 = 65_534;

/// The server. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct PostgresServer {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    child: Option<(Child, Receiver<()>)>,
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Without ceremony: nothing of it is needed any more.
        self.end(Signal::QUIT);
    }
}

impl PostgresServer {
    /// Makes a cluster and starts it. Blocks until connections are taken.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed (`apt-get install postgresql`) or does not start.
    pub fn start() -> io::Result<Self> {
        let programs = newest_programs()?;
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if getuid().is_root() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let mut server = Self { folder, programs, port, child: None };
        let mut initdb = server.command("initdb");
        initdb.args(["--auth=trust", "--username=bridge", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        let made = initdb.arg(server.data()).output()?;
        if !made.status.success() {
            return Err(io::Error::other(format!("initdb: {}", String::from_utf8_lossy(&made.stderr))));
        }
        server.run()?;
        Ok(server)
    }

    /// As [`start`](Self::start), but `None`, and a word of it, where PostgreSQL is not installed.
    ///
    /// # Panics
    ///
    /// If it is installed and does not start.
    #[expect(clippy::print_stdout, reason = "part of test programs: who reads the output knows what was left out")]
    #[must_use]
    pub fn start_if_installed() -> Option<Self> {
        match Self::start() {
            Ok(server) => Some(server),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("left out: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port that it keeps over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://bridge@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database and tells its URL.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn create_database(&self, name: &str) -> io::Result<String> {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--dbname", &self.url("postgres"), "--command"]);
        let made = psql.arg(format!("CREATE DATABASE {name}")).output()?;
        if made.status.success() {
            Ok(self.url(name))
        } else {
            Err(io::Error::other(format!("CREATE DATABASE: {}", String::from_utf8_lossy(&made.stderr))))
        }
    }

    /// A program of PostgreSQL's, run by somebody that is not root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        if getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the server, which is not running.
    ///
    /// # Errors
    ///
    /// If it does not take connections in time.
    pub fn run(&mut self) -> io::Result<()> {
        self.kill();
        // After SIGKILL its lock file stays; the port and the folder are nobody else's.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        // What is acknowledged survives the server's end, not the machine's: no test cuts the power.
        for setting in
            [&format!("port={}", self.port), "listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=32MB"]
        {
            command.arg("-c").arg(setting);
        }
        let mut child = command.stdout(log.try_clone()?).stderr(Stdio::piped()).spawn()?;
        let (ready, told) = channel();
        if let Some(lines) = child.stderr.take() {
            std::thread::spawn(move || keep_log(lines, log, &ready));
        }
        let (_, told) = self.child.insert((child, told));
        let is_ready = told.recv_timeout(DEADLINE).is_ok();
        if is_ready { Ok(()) } else { Err(io::Error::other(format!("PostgreSQL does not start:\n{}", self.log()))) }
    }

    /// Ends the server at once, as `pg_ctl stop -m immediate` does: it has to recover at its next start.
    pub fn kill(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Ends the server in order: connections are cut, what was begun is rolled back.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    fn end(&mut self, signal: Signal) {
        let Some((mut child, told)) = self.child.take() else { return };
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&child), signal);
        // Whoever keeps its log lets go when the last of its processes has.
        while told.recv_timeout(DEADLINE).is_ok() {}
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Keeps what the server says, and tells each time that it is ready; ends with the server.
fn keep_log(lines: ChildStderr, mut log: fs::File, ready: &Sender<()>) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        // A log that cannot be written is missing in a message at most; and nobody may be left to be told.
        let _ = writeln!(log, "{line}");
        if line.contains(READY) {
            let _ = ready.send(());
        }
    }
}

fn newest_programs() -> io::Result<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    let version =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
    let with_server = versions.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    let newest = with_server.max_by_key(|path| version(path));
    newest.map(|path| path.join("bin")).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "`postgres` is not installed: apt-get install postgresql")
    })
}
