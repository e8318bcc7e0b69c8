//! The Debian packages of the real peers: which are missing, and how they come.

use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;

use crate::limits;
use crate::process::{self, Ended};
use crate::report::{Outcome, say};

/// What the end-to-end suite starts or needs.
const PACKAGES: [&str; 18] = [
    // The SIP edge.
    "kamailio",
    "kamailio-websocket-modules",
    "kamailio-tls-modules",
    "kamailio-extra-modules",
    "kamailio-utils-modules",
    "kamailio-json-modules",
    "rtpengine-daemon",
    // Far ends.
    "sip-tester",
    "baresip-core",
    // A visitor.
    "chromium",
    // TURN.
    "coturn",
    // Captures and recordings.
    "tshark",
    "sox",
    // Speech for a call that is compared with what came back.
    "espeak-ng",
    // A database that several bridges share.
    "postgresql",
    // The namespace, and TLS identities.
    "iproute2",
    "ca-certificates",
    "openssl",
];

/// Installs packages without starting the services in them: `policy-rc.d` is where Debian asks whether it may.
const INSTALL_SCRIPT: &str = r#"set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -o Acquire::Retries=2
apt-get install --yes --no-install-recommends -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 "$@"
"#;

/// Sees to it that the packages are there. `install`: may install them.
pub(crate) fn ensure(install: bool) -> Outcome {
    if !process::succeeds(Command::new("apt-get").arg("--version")) {
        return Outcome::Skipped(
            "this machine has no apt-get: install kamailio (websocket, tls, json modules), rtpengine, sipp, baresip, \
             chromium, coturn, tshark, sox, postgresql, iproute2 and openssl by hand"
                .to_owned(),
        );
    }
    let missing = missing(&PACKAGES);
    if missing.is_empty() {
        return Outcome::Passed(format!("all {} are installed", PACKAGES.len()));
    }
    say(&format!("missing Debian packages: {}", missing.join(" ")));
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !install {
        say(&format!("install them with: sudo {by_hand}"));
        return Outcome::Skipped(format!("{} missing, --no-install; see above", missing.len()));
    }
    let Some(mut command) = as_root() else {
        say(&format!("install them with: sudo {by_hand}"));
        return Outcome::Failed(format!(
            "{} missing, and this is neither root nor may it use sudo without a password; see above",
            missing.len()
        ));
    };
    let ended = process::run("apt-get", installing(&mut command, &missing), limits::PACKAGES);
    if let Ended::Exited(status) = &ended
        && status.success()
    {
        return Outcome::Passed(format!("installed {}", missing.join(" ")));
    }
    say(&format!("by hand: sudo {by_hand}"));
    Outcome::Failed(format!("apt-get: {}", ended.describe()))
}

/// Makes of a command prefix the command that installs `packages`.
fn installing<'a>(prefix: &'a mut Command, packages: &[&str]) -> &'a mut Command {
    // `sh -c SCRIPT NAME ARGUMENTS…`
    prefix.args(["sh", "-c", INSTALL_SCRIPT, "install-packages"]).args(packages)
}

/// Installs those of `packages` that are missing; the error says why they could not be.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !process::succeeds(Command::new("apt-get").arg("--version")) {
        return Err(format!("Debian's {list} missing, and this machine has no apt-get"));
    }
    let Some(mut command) = as_root() else {
        return Err(format!("{list} missing: sudo apt-get install --no-install-recommends {list}"));
    };
    let ended = process::run("apt-get", installing(&mut command, &missing), limits::PACKAGES);
    if ended.success() { Ok(()) } else { Err(format!("apt-get install {list}: {}", ended.describe())) }
}

/// Brings apt's lists up to date, if this user may; they may do as they are.
pub(crate) fn update() {
    if let Some(mut command) = as_root() {
        let ended = process::run("apt-get update", command.args(["apt-get", "update"]), limits::PACKAGES);
        if !ended.success() {
            say(&format!("apt-get update: {}", ended.describe()));
        }
    }
}

/// A command prefix that runs what follows as root, if there is one that asks for no password.
fn as_root() -> Option<Command> {
    if Uid::effective().is_root() {
        return Some(Command::new("env"));
    }
    let sudo = ["/usr/bin/sudo", "/usr/local/bin/sudo"].into_iter().find(|path| Path::new(path).exists())?;
    process::succeeds(Command::new(sudo).args(["-n", "true"])).then(|| {
        let mut command = Command::new(sudo);
        command.arg("-n");
        command
    })
}

/// Those of `packages` that are not installed, in their order.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat", "${Package}\t${db:Status-Status}\n"]).args(packages);
    // It exits with 1 when it does not know one of them, and still tells about the others.
    missing_from(packages, &process::ask(&mut command).stdout)
}

fn missing_from<'a>(packages: &[&'a str], dpkg: &str) -> Vec<&'a str> {
    let installed: Vec<&str> = dpkg
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, status)| *status == "installed")
        .map(|(name, _)| name)
        .collect();
    packages.iter().copied().filter(|package| !installed.contains(package)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dpkg(status: impl Fn(&str) -> Option<&'static str>) -> String {
        PACKAGES.iter().filter_map(|name| status(name).map(|status| format!("{name}\t{status}\n"))).collect()
    }

    #[test]
    fn nothing_is_missing_where_all_are_installed() {
        assert_eq!(missing_from(&PACKAGES, &dpkg(|_| Some("installed"))), Vec::<&str>::new());
    }

    #[test]
    fn unknown_and_removed_packages_are_missing() {
        let answer = dpkg(|name| match name {
            "kamailio" => None,
            "coturn" => Some("config-files"),
            "sox" => Some("not-installed"),
            _ => Some("installed"),
        });
        assert_eq!(missing_from(&PACKAGES, &answer), ["kamailio", "coturn", "sox"]);
    }

    #[test]
    fn a_machine_whose_dpkg_says_nothing_has_none() {
        assert_eq!(missing_from(&PACKAGES, "").len(), PACKAGES.len());
    }

    #[test]
    fn the_install_script_is_one_that_the_shell_can_read() {
        assert!(process::succeeds(Command::new("sh").args(["-n", "-c", INSTALL_SCRIPT])));
    }
}
