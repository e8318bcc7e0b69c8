//! Where the scenarios run: in a network namespace with nothing but a loopback interface, if one can be made. There
//! their fixed ports are free, nothing of theirs can be reached from outside, and no stray process outlives them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::process;
use crate::report::say;

/// Namespaces are called this, `-` and xtask's process id.
const NAME: &str = "codex-e2e";

/// How the scenarios are kept apart from the machine.
#[derive(Debug)]
pub(crate) enum Isolation {
    /// A named namespace, removed with every process in it when this is dropped.
    Named(NamedNamespace),
    /// A namespace of processes and network that ends with its first process.
    Unshared,
    /// None: the machine's own loopback.
    Loopback,
}

/// A network namespace made with `ip netns add`.
#[derive(Debug)]
pub(crate) struct NamedNamespace {
    name: String,
}

impl Isolation {
    /// Makes the best that this user may make, and says which it is.
    pub(crate) fn make() -> Self {
        if Uid::effective().is_root() {
            remove_stale();
            if let Some(namespace) = NamedNamespace::make() {
                say(&format!("network: namespace {} with loopback only", namespace.name));
                return Self::Named(namespace);
            }
        }
        let unshared = Self::Unshared;
        if process::succeeds(&mut unshared.command(OsStr::new("true"))) {
            say("network: an unnamed namespace with loopback only");
            return unshared;
        }
        say("network: this user may make no network namespace, so the scenarios run on this machine's own loopback; \
             a port that something else uses fails them");
        Self::Loopback
    }

    /// A command that runs `program` inside.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let mut command;
        match self {
            Self::Named(namespace) => {
                command = Command::new("ip");
                command.args(["netns", "exec", &namespace.name]).arg(program);
            }
            Self::Unshared => {
                command = Command::new("unshare");
                command
                    .args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
                    .args(["sh", "-c", r#"ip link set lo up && exec "$@""#, "sh"])
                    .arg(program);
            }
            Self::Loopback => command = Command::new(program),
        }
        command
    }
}

impl NamedNamespace {
    fn make() -> Option<Self> {
        let name = format!("{NAME}-{}", std::process::id());
        if !process::succeeds(Command::new("ip").args(["netns", "add", &name])) {
            return None;
        }
        // From here on dropping it removes it.
        let namespace = Self { name };
        let up = process::succeeds(Command::new("ip").args(["-n", &namespace.name, "link", "set", "lo", "up"]));
        let enters = process::succeeds(Command::new("ip").args(["netns", "exec", &namespace.name, "true"]));
        (up && enters).then_some(namespace)
    }
}

impl Drop for NamedNamespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Kills what is left inside, all of it ours, and removes the namespace.
fn remove(name: &str) {
    let inside = process::ask(Command::new("ip").args(["netns", "pids", name])).stdout;
    for pid in inside.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 1) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if !process::succeeds(Command::new("ip").args(["netns", "delete", name])) {
        say(&format!("xtask: could not remove the namespace; `ip netns delete {name}` does"));
    }
}

/// Removes what an xtask left behind that was killed before it could.
fn remove_stale() {
    let list = process::ask(Command::new("ip").args(["netns", "list"])).stdout;
    for name in stale(&list, |pid| Path::new("/proc").join(pid.to_string()).exists()) {
        say(&format!("network: removing {name}, left behind by a run that was killed"));
        remove(name);
    }
}

/// The namespaces of ours in the answer of `ip netns list` whose xtask is no more.
fn stale(list: &str, alive: impl Fn(u32) -> bool) -> Vec<&str> {
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| {
            name.strip_prefix(NAME)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|pid| pid.parse().ok())
                .is_some_and(|pid| !alive(pid))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_ours_whose_xtask_is_gone_are_stale() {
        let list = "codex-e2e-10 (id: 1)\ncodex-e2e-11\ncodex-e2e-x\ncodex-e2e\nother-12\n\ncodex-e2e-13\n";
        assert_eq!(stale(list, |pid| pid == 11), ["codex-e2e-10", "codex-e2e-13"]);
    }

    #[test]
    fn without_a_namespace_the_program_is_started_as_it_is() {
        let command = Isolation::Loopback.command(OsStr::new("cargo"));
        assert_eq!(command.get_program(), "cargo");
        assert_eq!(command.get_args().count(), 0);
    }
}
