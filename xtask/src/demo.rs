//! `cargo xtask demo`: the main job on a machine with nothing but Rust.

use std::process::Command;

use crate::cli::DemoOptions;
use crate::limits;
use crate::process;
use crate::report::{Outcome, say};
use crate::workspace::Workspace;

const PROGRAM: &str = "codex-demo";

/// Builds the demo and runs it.
pub(crate) fn run(workspace: &Workspace, options: &DemoOptions) -> Outcome {
    say("building the demo (the first build compiles WebRTC: some minutes on two cores; later ones take seconds)");
    let program = match workspace.build_program(PROGRAM) {
        Ok(program) => program,
        Err(problem) => return Outcome::Failed(problem),
    };
    let mut command = Command::new(program);
    let check = options.check || options.flags.iter().any(|flag| flag == "--check");
    if options.check {
        command.arg("--check");
    }
    command.args(&options.flags);
    let ended = if check {
        process::run(PROGRAM, &mut command, limits::DEMO_CHECK)
    } else {
        process::run_in_terminal(PROGRAM, &mut command, limits::DEMO)
    };
    if ended.success() { Outcome::passed() } else { Outcome::Failed(format!("{PROGRAM}: {}", ended.describe())) }
}
