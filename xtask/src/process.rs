//! Child processes: each in a process group of its own, bounded in time, with a sign of life, and ended with
//! everything it started when xtask is interrupted.

use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::limits;
use crate::report::{duration, say};

/// How often SIGINT, SIGTERM or SIGHUP has come.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static MAIN_THREAD: OnceLock<Thread> = OnceLock::new();

/// Takes over SIGINT, SIGTERM and SIGHUP. The first one ends the running child in good order and lets every guard
/// clean up; the second one kills it. Call this once, on the thread that runs children.
pub(crate) fn watch_signals() -> Result<(), ctrlc::Error> {
    MAIN_THREAD.get_or_init(thread::current);
    ctrlc::set_handler(|| {
        INTERRUPTS.fetch_add(1, Ordering::SeqCst);
        if let Some(main) = MAIN_THREAD.get() {
            main.unpark();
        }
    })
}

/// Whether xtask has been told to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// How a child ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was ended because its time was over.
    TimedOut(Duration),
    /// It was ended because xtask was interrupted.
    Interrupted,
    /// It could not be started.
    NotStarted(io::Error),
}

impl Ended {
    /// Whether the child ended by itself with status 0.
    pub(crate) fn success(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }

    /// The exit status of a child that ended by itself.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Exited(status) => status.code(),
            _ => None,
        }
    }

    /// What to say of it in a report.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => "ended without a status".to_owned(),
            },
            Self::TimedOut(limit) => format!("not done after {}, ended", duration(*limit)),
            Self::Interrupted => "interrupted".to_owned(),
            Self::NotStarted(error) => format!("could not be started: {error}"),
        }
    }
}

/// Whose process group a child belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Group {
    /// Its own: a signal sent to the group ends whatever it started, and nothing else.
    Own,
    /// The terminal's foreground group, for a child that a person talks to.
    Terminal,
}

/// Runs a child whose output goes where ours goes, and says now and then that it is still at work. It has no standard
/// input.
pub(crate) fn run(what: &str, command: &mut Command, limit: Duration) -> Ended {
    command.stdin(Stdio::null());
    start_and_wait(what, command, limit, Group::Own)
}

/// Runs a child that has the terminal to itself: it gets key strokes and Ctrl-C, and no sign of life is written into
/// its output.
pub(crate) fn run_in_terminal(what: &str, command: &mut Command, limit: Duration) -> Ended {
    start_and_wait(what, command, limit, Group::Terminal)
}

fn start_and_wait(what: &str, command: &mut Command, limit: Duration, group: Group) -> Ended {
    if interrupted() {
        return Ended::Interrupted;
    }
    match spawn(command, group) {
        Ok(mut child) => wait(what, &mut child, limit, group, true),
        Err(error) => Ended::NotStarted(error),
    }
}

/// What a child wrote to standard output, and how it ended.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) ended: Ended,
    pub(crate) stdout: String,
}

/// Runs a child, says now and then that it is still at work, and keeps its standard output; its standard error goes
/// where ours goes.
pub(crate) fn run_capturing(what: &str, command: &mut Command, limit: Duration) -> Captured {
    if interrupted() {
        return Captured { ended: Ended::Interrupted, stdout: String::new() };
    }
    capture(what, command.stdin(Stdio::null()).stdout(Stdio::piped()), limit, true)
}

/// Asks a program something, in silence: neither its errors nor a sign of life are shown, and an interrupt does not cut
/// it short, since cleaning up asks questions too.
pub(crate) fn ask(command: &mut Command) -> Captured {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    capture("question", command, limits::QUESTION, false)
}

fn capture(what: &str, command: &mut Command, limit: Duration, attended: bool) -> Captured {
    let mut child = match spawn(command, Group::Own) {
        Ok(child) => child,
        Err(error) => return Captured { ended: Ended::NotStarted(error), stdout: String::new() },
    };
    // Read beside the wait: a child that fills the pipe would otherwise never end.
    let reader = child.stdout.take().map(|mut stdout| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What came before an error is still worth reading; the exit status tells the rest.
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let ended = wait(what, &mut child, limit, Group::Own, attended);
    let stdout = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Captured { ended, stdout }
}

/// Whether `command` exists and ends with status 0.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    ask(command).ended.success()
}

fn spawn(command: &mut Command, group: Group) -> io::Result<Child> {
    if group == Group::Own {
        command.process_group(0);
    }
    command.spawn()
}

/// Waits for a child. `attended`: with signs of life, and ended when xtask is interrupted.
fn wait(what: &str, child: &mut Child, limit: Duration, group: Group, attended: bool) -> Ended {
    let start = Instant::now();
    let mut next_sign = limits::SIGN_OF_LIFE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // The terminal may have interrupted the child before us; then its status tells nothing.
                return if attended && interrupted() { Ended::Interrupted } else { Ended::Exited(status) };
            }
            Ok(None) => {}
            Err(error) => return Ended::NotStarted(error),
        }
        if attended && interrupted() {
            say(&format!("xtask: interrupted; ending {what} (once more to kill it)"));
            end(child, group);
            return Ended::Interrupted;
        }
        let elapsed = start.elapsed();
        if elapsed >= limit {
            say(&format!("xtask: {what} is not done after {}; ending it", duration(limit)));
            end(child, group);
            return Ended::TimedOut(limit);
        }
        if attended && group == Group::Own && elapsed >= next_sign {
            say(&format!("... {what}: at work for {} (limit {})", duration(elapsed), duration(limit)));
            next_sign += limits::SIGN_OF_LIFE;
        }
        thread::park_timeout(limits::TICK);
    }
}

/// Ends a child and, if it has a group of its own, everything in it: SIGINT first (the test runner then ends its tests,
/// which have groups of their own), SIGKILL after the grace period or at the next interrupt.
///
/// A signal is only sent while the child has not been waited for, so that its number cannot belong to another process.
fn end(child: &mut Child, group: Group) {
    let Ok(id) = i32::try_from(child.id()) else { return };
    let pid = Pid::from_raw(id);
    let interrupts = INTERRUPTS.load(Ordering::SeqCst);
    match group {
        Group::Own => {
            let _ = killpg(pid, Signal::SIGINT);
        }
        // Ctrl-C in a terminal has reached the child already; a SIGTERM sent to us has not.
        Group::Terminal => {
            if !ends_within(child, limits::GRACE / 5, interrupts) {
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
    }
    if !ends_within(child, limits::GRACE, interrupts) {
        let _ = child.kill();
    }
    if group == Group::Own {
        // The leader may have left others behind; they keep the group's number taken.
        let _ = killpg(pid, Signal::SIGKILL);
    }
    let _ = child.wait();
}

fn ends_within(child: &mut Child, grace: Duration, interrupts: u32) -> bool {
    let start = Instant::now();
    while start.elapsed() < grace && INTERRUPTS.load(Ordering::SeqCst) == interrupts {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::park_timeout(limits::TICK);
    }
    !matches!(child.try_wait(), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_of_a_child_come_back() {
        let captured = ask(&mut shell("echo heard; exit 3"));
        assert_eq!(captured.stdout, "heard\n");
        assert_eq!(captured.ended.code(), Some(3));
        assert_eq!(captured.ended.describe(), "exit status 3");
        assert!(!captured.ended.success());
    }

    #[test]
    fn more_output_than_a_pipe_holds_does_not_block_the_child() {
        let captured = ask(&mut shell("head -c 300000 /dev/zero"));
        assert_eq!(captured.stdout.len(), 300_000);
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let captured = ask(&mut Command::new("no-such-program-of-xtask"));
        assert!(matches!(captured.ended, Ended::NotStarted(_)), "{:?}", captured.ended);
    }

    #[test]
    fn a_child_that_outlives_its_limit_is_ended_with_all_that_it_started() {
        // The child shell waits for a grandchild that would hold the pipe open for an hour.
        let captured = capture("hang", shell("sleep 3600 & wait").stdout(Stdio::piped()), Duration::ZERO, false);
        assert!(matches!(captured.ended, Ended::TimedOut(_)), "{:?}", captured.ended);
        assert_eq!(captured.stdout, "");
    }
}
