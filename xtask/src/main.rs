//! `cargo xtask`: the workspace's tests, end-to-end runs, demo and soak, each one command.
//!
//! It depends on no crate of the workspace and starts their binaries instead, so that `cargo xtask --help` is there in
//! seconds.
//!
//! ```text
//! cli          what may be typed, and the help
//! suite        `test`: the steps, in the order that compiles least
//! e2e          `e2e`: scenarios against real peers, inside `isolation` (a network namespace)
//! demo soak    `demo`, `soak`
//! bench        `bench`: the wire format beside other parsers
//! wasm         `wasm-check`: core-sip for browsers
//! web          `web`: the npm package
//! workspace    what cargo says of this workspace; how cargo is called, so that everything is compiled once
//! cache        where toolchains and the like are kept
//! debian       the Debian packages of the real peers
//! process      child processes: own process group, time limit, sign of life, Ctrl-C
//! limits       every time limit, by name
//! report       what a step came to, and the table at the end
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "a program that starts others: it measures how long they take and bounds it"
)]

mod bench;
mod cache;
mod cli;
mod debian;
mod demo;
mod e2e;
mod isolation;
mod limits;
mod process;
mod report;
mod soak;
mod suite;
mod wasm;
mod web;
mod workspace;

use std::process::ExitCode;

use crate::cli::Task;
use crate::report::{Outcome, say};
use crate::workspace::Workspace;

/// What a shell expects of a program that Ctrl-C has ended: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let task = match cli::parse(std::env::args_os()) {
        Ok(task) => task,
        Err(error) => {
            // Help comes this way as well. Nobody reading it is no fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    if let Err(error) = process::watch_signals() {
        say(&format!("xtask: cannot watch for Ctrl-C: {error}"));
        return ExitCode::FAILURE;
    }
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(problem) => {
            say(&format!("xtask: {problem}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match task {
        Task::Test(options) => suite::run(&workspace, &options),
        Task::E2e(options) => e2e::run_by_itself(&workspace, &options),
        Task::Demo(options) => demo::run(&workspace, &options),
        Task::Soak(options) => soak::run(&workspace, options.share),
        Task::Bench(options) => bench::run(&workspace, &options),
        Task::WasmCheck(options) => wasm::run(&workspace, &options),
        Task::Web => web::run(&workspace),
    };
    if process::interrupted() {
        say("xtask: interrupted");
        return ExitCode::from(EXIT_INTERRUPTED);
    }
    match outcome {
        Outcome::Passed(note) => {
            if !note.is_empty() {
                say(&format!("xtask: {note}"));
            }
            ExitCode::SUCCESS
        }
        Outcome::Skipped(note) => {
            say(&format!("xtask: nothing was run: {note}"));
            ExitCode::SUCCESS
        }
        Outcome::Failed(note) => {
            if !note.is_empty() {
                say(&format!("xtask: failed: {note}"));
            }
            ExitCode::FAILURE
        }
    }
}
