//! `cargo xtask test`: the steps, in the order that shows a mistake early and compiles least.
//!
//! Lints and docs share one set of compiled dependencies (metadata only), all tests and the demo another.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;

use crate::cli::{DemoOptions, E2eOptions, Step, TestOptions, WasmOptions};
use crate::report::{Line, Outcome, counts, duration, say, table};
use crate::workspace::{Runner, Workspace};
use crate::{debian, demo, e2e, limits, process, soak, wasm, web};

/// `codex-call --mic`, which needs the system's headers.
const SOUND_CARD: &str = "codex-web-widget/audio-device";
/// What it is compiled and tried with: ALSA's headers, and a sound server that needs no card.
const SOUND_PACKAGES: [&str; 5] =
    ["libasound2-dev", "libasound2-plugins", "pkg-config", "pulseaudio", "pulseaudio-utils"];

/// The part of the long runs that every test run does.
const SOAK_SHARE: f64 = 0.2;

/// Runs the steps and says at the end what came of each.
pub(crate) fn run(workspace: &Workspace, options: &TestOptions) -> Outcome {
    let start = Instant::now();
    let lines: Vec<Line> = Step::value_variants().iter().map(|step| run_step(workspace, *step, options)).collect();
    say("");
    say(&table(&lines, start.elapsed()));
    say(&counts(&lines));
    // The counts are the last line; the table has said the rest.
    let failed = lines.iter().any(|line| matches!(line.outcome, Outcome::Failed(_)));
    if failed { Outcome::Failed(String::new()) } else { Outcome::passed() }
}

fn run_step(workspace: &Workspace, step: Step, options: &TestOptions) -> Line {
    let name = step.name();
    let why_not = if process::interrupted() { Some("interrupted before".to_owned()) } else { left_out(step, options) };
    if let Some(why) = why_not {
        return Line { name, outcome: Outcome::Skipped(why), took: Duration::ZERO };
    }
    say(&format!("\n==> {name}"));
    let start = Instant::now();
    let outcome = match step {
        Step::Fmt => one(workspace.cargo(&["fmt", "--all", "--check"]), "fmt", limits::FMT),
        Step::Packages => debian::ensure(!options.no_install),
        Step::Deny => deny(workspace, options.deny),
        Step::Clippy => clippy(workspace, &sound_card(options)),
        Step::Doc => doc(workspace),
        Step::Unit => unit(workspace, &sound_card(options)),
        Step::Doctest => {
            let mut command = workspace.cargo(&["test", "--doc", "--no-fail-fast"]);
            workspace.select(&mut command);
            one(command, "doctest", limits::BUILD + limits::DOC_TESTS)
        }
        Step::Wasm => wasm::run(workspace, &WasmOptions::default()),
        Step::Web => web::run(workspace),
        Step::Apart => apart(workspace),
        Step::Soak => soak::run(workspace, SOAK_SHARE),
        Step::E2e => e2e::run(workspace, &E2eOptions::default()),
        Step::Demo => demo::run(workspace, &DemoOptions { check: true, ..DemoOptions::default() }),
    };
    let line = Line { name, outcome, took: start.elapsed() };
    say(&line.summary());
    line
}

/// Why a step is not to run, if it is not.
fn left_out(step: Step, options: &TestOptions) -> Option<String> {
    if !options.only.is_empty() && !options.only.contains(&step) {
        return Some("not among --only".to_owned());
    }
    (options.quick && matches!(step, Step::Packages | Step::Wasm | Step::Web | Step::Apart | Step::E2e))
        .then(|| "--quick".to_owned())
}

fn one(mut command: Command, what: &str, limit: Duration) -> Outcome {
    let ended = process::run(what, &mut command, limit);
    if ended.success() { Outcome::passed() } else { Outcome::Failed(ended.describe()) }
}

/// Whether `codex-call --mic` can be compiled and tried here; else why not. Installs what it needs, if that is wanted.
fn sound_card(options: &TestOptions) -> Result<(), String> {
    if !options.quick && !options.no_install {
        debian::install(&SOUND_PACKAGES)?;
    }
    for (program, arguments) in [("pkg-config", ["--exists", "alsa"].as_slice()), ("pulseaudio", &["--version"])] {
        if !process::succeeds(Command::new(program).args(arguments)) {
            return Err(format!("`{program} {}` fails; Debian has {}", arguments.join(" "), SOUND_PACKAGES.join(" ")));
        }
    }
    Ok(())
}

/// Adds the sound card to what is compiled, where it can be; else says that it is left out.
fn with_sound_card(command: &mut Command, sound_card: &Result<(), String>) {
    match sound_card {
        Ok(()) => {
            command.args(["--features", SOUND_CARD]);
        }
        Err(why) => say(&format!("codex-call --mic is left out: {why}")),
    }
}

fn clippy(workspace: &Workspace, sound_card: &Result<(), String>) -> Outcome {
    let mut everything = workspace.cargo(&["clippy"]);
    workspace.select(&mut everything);
    // The whole workspace again, since core-sip alone would be another selection and another build of its dependencies.
    let mut with_mocks = workspace.cargo(&["clippy"]);
    workspace.select(&mut with_mocks).args(["--features", "codex-core-sip/mock"]);
    with_sound_card(&mut with_mocks, sound_card);
    let bare = workspace.cargo(&["clippy", "--package", "codex-core-sip", "--no-default-features"]);
    let variants = [
        ("workspace", everything),
        ("with mocks and sound card", with_mocks),
        ("core-sip without default features", bare),
    ];
    let mut times = Vec::new();
    for (what, mut command) in variants {
        say(&format!("clippy: {what}"));
        let start = Instant::now();
        // By clippy's own flag and not by RUSTFLAGS, which would compile all dependencies a second time.
        command.args(["--all-targets", "--", "-D", "warnings"]);
        let ended = process::run("clippy", &mut command, limits::LINT);
        if !ended.success() {
            return Outcome::Failed(format!("{what}: {}", ended.describe()));
        }
        times.push(format!("{what} {}", duration(start.elapsed())));
    }
    if sound_card.is_err() {
        times.push("the sound card LEFT OUT".to_owned());
    }
    Outcome::Passed(times.join(", "))
}

/// Lints what is no part of this workspace, so that its dependencies stay out of the library's lock file. The fuzz targets
/// need no fuzzer for that, and no other compiler.
fn apart(workspace: &Workspace) -> Outcome {
    for folder in ["fuzz", "benches", "web-widget/browser"] {
        let mut command = workspace.cargo(&["clippy", "--all-targets", "--manifest-path"]);
        command.arg(format!("{folder}/Cargo.toml")).arg("--target-dir").arg(workspace.target_folder().join(folder));
        let ended = process::run(folder, command.args(["--", "-D", "warnings"]), limits::LINT);
        if !ended.success() {
            return Outcome::Failed(format!("{folder}: {}", ended.describe()));
        }
        let mut format = workspace.cargo(&["fmt", "--check", "--manifest-path"]);
        let ended = process::run(folder, format.arg(format!("{folder}/Cargo.toml")), limits::FMT);
        if !ended.success() {
            return Outcome::Failed(format!("{folder} is not formatted: {}", ended.describe()));
        }
    }
    Outcome::passed()
}

fn doc(workspace: &Workspace) -> Outcome {
    let mut command = workspace.cargo(&["doc", "--no-deps"]);
    // Examples bring the dev-dependencies in, and with them the features that clippy has compiled everything with.
    // Programs are left out: their documentation is `--help`, and one may have its library's name, and so its page.
    workspace.select(&mut command).args(["--lib", "--examples"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    one(command, "doc", limits::LINT)
}

fn unit(workspace: &Workspace, sound_card: &Result<(), String>) -> Outcome {
    let subcommand: &[&str] = match workspace.runner() {
        Runner::Nextest => &["nextest", "run"],
        Runner::Libtest => &["test"],
    };
    let start = Instant::now();
    let mut build = workspace.cargo(subcommand);
    workspace.select_tests(&mut build).arg("--no-run");
    with_sound_card(&mut build, sound_card);
    let built = process::run("building tests", &mut build, limits::BUILD);
    if !built.success() {
        return Outcome::Failed(format!("building tests: {}", built.describe()));
    }
    let build_time = duration(start.elapsed());
    let start = Instant::now();
    let mut command = workspace.cargo(subcommand);
    workspace.select_tests(&mut command).arg("--no-fail-fast");
    if sound_card.is_ok() {
        command.args(["--features", SOUND_CARD]);
    }
    let ended = process::run("unit", &mut command, limits::UNIT_TESTS);
    let times = format!("build {build_time}, run {}", duration(start.elapsed()));
    if ended.success() { Outcome::Passed(times) } else { Outcome::Failed(format!("{}; {times}", ended.describe())) }
}

fn deny(workspace: &Workspace, install: bool) -> Outcome {
    if !process::succeeds(&mut workspace.cargo(&["deny", "--version"])) {
        if !install {
            return Outcome::Skipped("cargo-deny is not installed; --deny installs it".to_owned());
        }
        say("installing cargo-deny from source: some minutes");
        let ended = process::run(
            "installing cargo-deny",
            &mut workspace.cargo(&["install", "--locked", "cargo-deny"]),
            limits::DENY_INSTALL,
        );
        if !ended.success() {
            return Outcome::Failed(format!("installing cargo-deny: {}", ended.describe()));
        }
    }
    // Not advisories: their database comes from a git host, which CI and many build machines do not reach.
    one(workspace.cargo(&["deny", "check", "licenses", "bans", "sources"]), "deny", limits::DENY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(options: &TestOptions) -> Vec<&'static str> {
        Step::value_variants()
            .iter()
            .filter(|step| left_out(**step, options).is_none())
            .map(|step| step.name())
            .collect()
    }

    #[test]
    fn by_default_every_step_runs_and_what_is_cheap_comes_first() {
        assert_eq!(
            runs(&TestOptions::default()),
            [
                "fmt", "packages", "deny", "clippy", "doc", "unit", "doctest", "wasm", "web", "apart", "soak", "e2e",
                "demo"
            ]
        );
    }

    #[test]
    fn quick_leaves_out_what_needs_packages_or_another_compiler_and_nothing_else() {
        let quick = runs(&TestOptions { quick: true, ..TestOptions::default() });
        assert_eq!(quick, ["fmt", "deny", "clippy", "doc", "unit", "doctest", "soak", "demo"]);
    }

    #[test]
    fn only_names_the_steps_that_run() {
        let only = TestOptions { only: vec![Step::Doc, Step::Fmt], ..TestOptions::default() };
        assert_eq!(runs(&only), ["fmt", "doc"]);
    }
}
