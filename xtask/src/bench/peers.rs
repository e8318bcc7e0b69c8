//! Peers in other languages. What is missing is installed where this may be done, else left out with a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Effort;
use super::figures::{Figure, Figures, Unit};
use crate::cli::BenchOptions;
use crate::workspace::Workspace;
use crate::{cache, debian, limits, process};

/// A peer in C: its name in the report, its source, its Debian package, its name for pkg-config.
const IN_C: [(&str, &str, &str, &str); 2] = [
    ("sofia-sip", "sofia.c", "libsofia-sip-ua-dev", "sofia-sip-ua"),
    ("libosip2", "osip.c", "libosip2-dev", "libosip2"),
];
const JSSIP: &str = "3.13.8";

/// A program in C that is there.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
}

/// Builds those in C.
pub(super) fn build(
    workspace: &Workspace,
    folder: &Path,
    options: &BenchOptions,
    skipped: &mut Vec<String>,
) -> Vec<Program> {
    let mut programs = Vec::new();
    for (name, source, package, library) in IN_C {
        match build_one(workspace, folder, options, source, package, library) {
            Ok(path) => programs.push(Program { name, path }),
            Err(why) => skipped.push(format!("{name}: {why}")),
        }
    }
    programs
}

fn build_one(
    workspace: &Workspace,
    folder: &Path,
    options: &BenchOptions,
    source: &str,
    package: &str,
    library: &str,
) -> Result<PathBuf, String> {
    let flags = || process::ask(Command::new("pkg-config").args(["--cflags", "--libs", library]));
    if !flags().ended.success() {
        if options.no_install {
            return Err(format!("Debian's {package} and pkg-config are missing, --no-install"));
        }
        debian::install(&[package, "pkg-config"])?;
    }
    let flags = flags();
    if !flags.ended.success() {
        return Err(format!("pkg-config {library}: {}", flags.ended.describe()));
    }
    let program = folder.join(source.trim_end_matches(".c"));
    let mut command = workspace.command("cc");
    command.args(["-O2", "-o"]).arg(&program).arg(format!("benches/peers/{source}"));
    let ended = process::run("cc", command.args(flags.stdout.split_whitespace()), limits::QUESTION);
    if ended.success() { Ok(program) } else { Err(format!("cc: {}", ended.describe())) }
}

/// Times those in C.
pub(super) fn time(
    workspace: &Workspace,
    programs: &[Program],
    effort: Effort,
    figures: &mut Figures,
    skipped: &mut Vec<String>,
) {
    for program in programs {
        let mut command = workspace.command(&program.path);
        command.arg("benches/messages").arg(effort.seconds.to_string());
        take_rounds(program.name, &mut command, figures, skipped);
    }
}

/// JsSIP from npm, kept in the cache folder.
pub(super) fn time_jssip(
    workspace: &Workspace,
    options: &BenchOptions,
    effort: Effort,
    figures: &mut Figures,
    skipped: &mut Vec<String>,
) {
    match jssip(options) {
        Ok(folder) => {
            let script = workspace.root().join("benches/peers/jssip.mjs");
            let mut command = Command::new("node");
            command.current_dir(folder).arg(script).arg(workspace.root().join("benches/messages"));
            take_rounds("JsSIP", command.arg(effort.seconds.to_string()), figures, skipped);
        }
        Err(why) => skipped.push(format!("JsSIP: {why}")),
    }
}

fn jssip(options: &BenchOptions) -> Result<PathBuf, String> {
    if !process::succeeds(Command::new("node").arg("--version")) {
        return Err("node is not installed".to_owned());
    }
    let folder = cache::folder()?.join(format!("jssip-{JSSIP}"));
    if folder.join("node_modules/jssip/package.json").is_file() {
        return Ok(folder);
    }
    if options.no_install {
        return Err("not in the cache, --no-install".to_owned());
    }
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = Command::new("npm");
    command.current_dir(&folder).args(["install", "--no-fund", "--no-audit", "--ignore-scripts"]);
    let ended = process::run("npm", command.arg(format!("jssip@{JSSIP}")), limits::NPM);
    if ended.success() { Ok(folder) } else { Err(format!("npm install jssip@{JSSIP}: {}", ended.describe())) }
}

/// Runs a peer that prints `OPERATION SAMPLE NANOSECONDS…` a line.
fn take_rounds(name: &str, command: &mut Command, figures: &mut Figures, skipped: &mut Vec<String>) {
    let run = process::run_capturing(name, command, limits::BENCH);
    if !run.ended.success() {
        skipped.push(format!("{name}: {}", run.ended.describe()));
        return;
    }
    for (operation, sample, figure) in run.stdout.lines().filter_map(rounds) {
        figures.add(Unit::MessagesPerCpuSecond, operation, sample, name, figure);
    }
}

fn rounds(line: &str) -> Option<(&str, &str, Figure)> {
    let mut words = line.split_whitespace();
    let (operation, sample) = (words.next()?, words.next()?);
    let nanoseconds: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((operation, sample, Figure::of_rounds(&nanoseconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_rounds_is_read_and_anything_else_is_none() {
        let (operation, sample, figure) = rounds("parse invite 1000.0 1000.0 1000.0").unwrap();
        assert_eq!((operation, sample, figure), ("parse", "invite", Figure { value: 1e6, spread: 0.0 }));
        assert_eq!(rounds("parse invite"), None);
        assert_eq!(rounds("npm notice of no use"), None);
    }
}
