//! Instructions of one operation, by `valgrind --tool=callgrind`: they repeat whatever else the machine does.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::figures::{Figure, Figures, Unit};
use super::peers::Program;
use super::rust::{libraries, repeater};
use super::{OPERATIONS, SAMPLES};
use crate::report::say;
use crate::workspace::Workspace;
use crate::{limits, process};

/// Two runs, whose difference is free of start and end.
const FEW: u32 = 20;
const MANY: u32 = 220;

/// Counts the instructions of everything that is compiled.
pub(super) fn count(
    workspace: &Workspace,
    folder: &Path,
    programs: &[Program],
    figures: &mut Figures,
    skipped: &mut Vec<String>,
) {
    if !process::succeeds(Command::new("valgrind").arg("--version")) {
        skipped.push("instructions: valgrind is not installed".to_owned());
        return;
    }
    let repeater = match repeater(workspace, folder) {
        Ok(program) => program,
        Err(problem) => {
            skipped.push(format!("instructions: {problem}"));
            return;
        }
    };
    say("counting instructions with callgrind: about a minute");
    for (sample, _) in SAMPLES {
        for (operation, _) in OPERATIONS {
            for library in libraries() {
                let arguments =
                    |count: u32| [library, operation, sample, &count.to_string()].map(str::to_owned).to_vec();
                one(workspace, folder, &repeater, arguments, (operation, sample, library), figures, skipped);
            }
            for program in programs {
                let name = format!("{operation}-{sample}");
                let arguments =
                    |count: u32| ["benches/messages", "0", &count.to_string(), &name].map(str::to_owned).to_vec();
                one(workspace, folder, &program.path, arguments, (operation, sample, program.name), figures, skipped);
            }
            if process::interrupted() {
                return;
            }
        }
    }
}

fn one(
    workspace: &Workspace,
    folder: &Path,
    program: &Path,
    arguments: impl Fn(u32) -> Vec<String>,
    (operation, sample, library): (&str, &str, &str),
    figures: &mut Figures,
    skipped: &mut Vec<String>,
) {
    let instructions = |count: u32| {
        let log = folder.join("callgrind.log");
        let mut command = workspace.command("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(format!("--log-file={}", log.display())).arg(program).args(arguments(count));
        let ended = process::run_capturing("callgrind", &mut command, limits::QUESTION).ended;
        ended.success().then(|| collected(&fs::read_to_string(log).ok()?)).flatten()
    };
    match (instructions(FEW), instructions(MANY)) {
        (Some(few), Some(many)) => {
            let value = many.saturating_sub(few) as f64 / f64::from(MANY - FEW);
            figures.add(Unit::InstructionsPerMessage, operation, sample, library, Figure { value, spread: 0.0 });
        }
        _ => skipped.push(format!("instructions of {library}, {operation} {sample}: valgrind failed")),
    }
}

/// What callgrind's log says: `==1== Collected : 1234`.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_in_the_log() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 123456\n==7==\n"), Some(123_456));
        assert_eq!(collected("==7== nothing"), None);
    }
}
