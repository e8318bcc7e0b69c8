//! A compiler for wasm32-unknown-unknown: the one that is here, if it has the target or rustup brings it; else Debian's,
//! unpacked beside it and kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::WasmToolchain;
use crate::report::say;
use crate::workspace::Workspace;
use crate::{cache, debian, limits, process};

/// The target of browsers.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// What the folder of a toolchain made from Debian's packages begins with; its version follows.
const DEBIAN_FOLDER: &str = "wasm-toolchain-";
const DEBIAN_SCRIPT: &str = include_str!("debian_toolchain.sh");

/// A compiler that knows the target.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// The one that cargo would take anyway.
    Here,
    /// One made of Debian's packages, in this folder.
    Debian(PathBuf),
}

impl Toolchain {
    /// Finds one or makes one. `wanted` rules out the others.
    pub(crate) fn ensure(workspace: &Workspace, wanted: Option<WasmToolchain>) -> Result<Self, String> {
        let sysroot = sysroot()?;
        if wanted != Some(WasmToolchain::Debian) {
            if has_target(&sysroot) || rustup_adds_target(&sysroot) {
                return Ok(Self::Here);
            }
            if wanted == Some(WasmToolchain::Rustup) {
                return Err(format!("rustup could not add {TARGET} to {}", sysroot.display()));
            }
            say("rustup does not bring the target; Debian's packages do");
        }
        from_debian(workspace, &sysroot).map(Self::Debian)
    }

    /// As [`ensure`](Self::ensure), with the source of std, so that std is compiled as the module is: rustup's component
    /// where it is there or rustup brings it, else Debian's.
    pub(crate) fn ensure_with_source(workspace: &Workspace) -> Result<Self, String> {
        let sysroot = sysroot()?;
        if has_source(&sysroot) || rustup_adds_source(&sysroot) {
            return Ok(Self::Here);
        }
        say("rustup does not bring the source of std; Debian's packages do");
        from_debian(workspace, &sysroot).map(Self::Debian)
    }

    /// Makes cargo use it.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Self::Debian(folder) = self {
            command.env("RUSTC", folder.join("bin/rustc")).env("LD_LIBRARY_PATH", folder.join("lib"));
        }
        command
    }

    /// What to say of it.
    pub(crate) fn describe(&self) -> String {
        let mut rustc = match self {
            Self::Here => Command::new("rustc"),
            Self::Debian(folder) => Command::new(folder.join("bin/rustc")),
        };
        let version = process::ask(self.apply(&mut rustc).arg("--version")).stdout;
        let origin = if matches!(self, Self::Debian(_)) { " from Debian's packages" } else { "" };
        format!("{}{origin}", version.trim())
    }
}

fn sysroot() -> Result<PathBuf, String> {
    let answer = process::ask(Command::new("rustc").args(["--print", "sysroot"]));
    match answer.stdout.trim() {
        path if answer.ended.success() && !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(format!("`rustc --print sysroot`: {}", answer.ended.describe())),
    }
}

fn has_target(sysroot: &Path) -> bool {
    let Ok(libraries) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else { return false };
    libraries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn rustup_adds_target(sysroot: &Path) -> bool {
    rustup_adds(&["target", "add", TARGET]) && has_target(sysroot)
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
}

fn rustup_adds_source(sysroot: &Path) -> bool {
    rustup_adds(&["component", "add", "rust-src"]) && has_source(sysroot)
}

fn rustup_adds(arguments: &[&str]) -> bool {
    if !process::succeeds(Command::new("rustup").arg("--version")) {
        return false;
    }
    say(&format!("rustup {}", arguments.join(" ")));
    // Where there is no network it tries again and again.
    process::run("rustup", Command::new("rustup").args(arguments), limits::RUSTUP).success()
}

fn from_debian(workspace: &Workspace, sysroot: &Path) -> Result<PathBuf, String> {
    let cache = cache::folder()?;
    if let Some(folder) = complete_toolchain(&cache) {
        return Ok(folder);
    }
    debian::update();
    let libraries = newest(&process::ask(Command::new("apt-cache").args(["pkgnames", "libstd-rust-web-"])).stdout)
        .ok_or("Debian's packages have no `libstd-rust-web-…` for this machine")?;
    let version = candidate(&process::ask(Command::new("apt-cache").args(["policy", &libraries])).stdout)
        .ok_or_else(|| format!("Debian's packages have no candidate for {libraries}"))?;
    let depends = process::ask(Command::new("apt-cache").args(["depends", &libraries])).stdout;
    // Installed, and not unpacked: it brings packages of its own.
    if let Some(llvm) = llvm(&depends) {
        debian::install(&[llvm])?;
    }
    say(&format!("making a toolchain from Debian's rustc-web {version} (about two minutes on two cores, once)"));
    let folder = cache.join(format!("{DEBIAN_FOLDER}{}", file_name(&version)));
    let work = cache.join("wasm-toolchain.work");
    let mut command = workspace.command("sh");
    command.args(["-c", DEBIAN_SCRIPT, "debian-toolchain"]).arg(&folder).arg(&work).arg(sysroot);
    command.args([&libraries, &version]);
    let ended = process::run("Debian's toolchain", &mut command, limits::WASM_TOOLCHAIN);
    if ended.success() { Ok(folder) } else { Err(format!("a toolchain from Debian's packages: {}", ended.describe())) }
}

/// The newest toolchain in the cache that is all there.
fn complete_toolchain(cache: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(DEBIAN_FOLDER))
        .map(|entry| entry.path())
        .filter(|folder| folder.join("complete").is_file())
        .collect();
    found.sort_unstable();
    found.pop()
}

/// The package of the newest compiler's libraries, in the answer of `apt-cache pkgnames`: `libstd-rust-web-1.96`.
fn newest(names: &str) -> Option<String> {
    let version = |name: &str| -> Option<(u32, u32)> {
        let (major, minor) = name.strip_prefix("libstd-rust-web-")?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    names.lines().filter_map(|name| version(name).map(|version| (version, name))).max().map(|(_, name)| name.to_owned())
}

/// The version that would be installed, in the answer of `apt-cache policy`.
fn candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then(|| version.to_owned())
}

/// The package of LLVM, in the answer of `apt-cache depends`.
fn llvm(depends: &str) -> Option<&str> {
    depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).find(|name| name.starts_with("libllvm"))
}

/// A version as part of a file's name.
fn file_name(version: &str) -> String {
    version.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_compiler_is_taken_by_number_not_by_letter() {
        let names = "libstd-rust-web-1.9\nlibstd-rust-web-dev\nlibstd-rust-web-1.96\nlibstd-rust-web-1.85\n";
        assert_eq!(newest(names).as_deref(), Some("libstd-rust-web-1.96"));
        assert_eq!(newest("libstd-rust-web-dev\n"), None);
    }

    #[test]
    fn versions_and_dependencies_are_read_from_what_apt_says() {
        let policy =
            "libstd-rust-web-1.96:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate(policy).as_deref(), Some("1.96.0+dfsg1-1~deb12u2"));
        assert_eq!(candidate("x:\n  Candidate: (none)\n"), None);
        assert_eq!(llvm("x\n  Depends: libc6\n  Depends: libllvm22\n"), Some("libllvm22"));
        assert_eq!(file_name("1.96.0+dfsg1-1~deb12u2"), "1.96.0_dfsg1-1_deb12u2");
    }

    #[test]
    fn the_script_is_one_that_the_shell_can_read() {
        assert!(process::succeeds(Command::new("sh").args(["-n", "-c", DEBIAN_SCRIPT])));
    }
}
