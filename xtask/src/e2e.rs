//! `cargo xtask e2e`: scenarios against real peers. They are ordinary tests of the package `codex-e2e`, in targets that
//! need its feature `peers`; they use fixed ports, so they run one after the other.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::cli::E2eOptions;
use crate::debian;
use crate::isolation::Isolation;
use crate::limits;
use crate::process;
use crate::report::{Outcome, duration, say};
use crate::soak::count_listed;
use crate::web;
use crate::workspace::{NEXTEST_NO_TESTS, Runner, Workspace};

/// Tells a scenario to keep its logs, captures and recordings, and to say where.
const KEEP_VARIABLE: &str = "CODEX_E2E_KEEP";
/// Tells a scenario to pass over a missing peer, and to say so.
const ALLOW_MISSING_VARIABLE: &str = "CODEX_E2E_ALLOW_MISSING";
/// Says where the terminal program is that some scenarios run.
const PROGRAM_VARIABLE: &str = "CODEX_CALL";
/// That program.
const PROGRAM: &str = "codex-call";
/// Names the file in which scenarios note what they have to say beside passing.
const NOTES_VARIABLE: &str = "CODEX_E2E_NOTES";

/// The suite as a command of its own: what the peers need is there before minutes go into building.
pub(crate) fn run_by_itself(workspace: &Workspace, options: &E2eOptions) -> Outcome {
    if !options.list && !options.allow_missing {
        match debian::ensure(!options.no_install) {
            Outcome::Failed(problem) => return Outcome::Failed(problem),
            Outcome::Skipped(missing) if options.no_install => {
                return Outcome::Failed(format!("{missing}; or leave out what needs them: --allow-missing"));
            }
            Outcome::Passed(_) | Outcome::Skipped(_) => {}
        }
    }
    run(workspace, options)
}

/// Builds the scenarios, then runs those that were asked for.
pub(crate) fn run(workspace: &Workspace, options: &E2eOptions) -> Outcome {
    let groups = &workspace.targets().scenarios;
    if groups.is_empty() {
        return Outcome::Failed("there are no scenarios: no test of codex-e2e requires its feature `peers`".to_owned());
    }
    let build_start = Instant::now();
    say("building the scenarios");
    let mut build = match workspace.runner() {
        Runner::Nextest => workspace.cargo(&["nextest", "run", "--no-run"]),
        Runner::Libtest => workspace.cargo(&["test", "--no-run"]),
    };
    select_groups(workspace, &mut build, groups);
    let built = process::run("building the scenarios", &mut build, limits::BUILD);
    if !built.success() {
        return Outcome::Failed(format!("building the scenarios: {}", built.describe()));
    }
    let build_time = duration(build_start.elapsed());

    if options.list {
        return list(workspace, groups, &options.only);
    }
    // Pages under test load the package as it is shipped.
    if wants_package(&options.only)
        && let Err(problem) = web::build(workspace).and_then(|_| web::consumers::build(workspace))
    {
        if !options.allow_missing {
            return Outcome::Failed(format!("the npm package: {problem}"));
        }
        say(&format!("the npm package was not built, scenarios in a browser will fail: {problem}"));
    }
    let program = match workspace.build_program(PROGRAM) {
        Ok(program) => program,
        Err(problem) => return Outcome::Failed(problem),
    };
    let isolation = Isolation::make();
    let notes = workspace.target_folder().join(format!("e2e-notes-{}", std::process::id()));
    let files = Files { notes: &notes, program: &program };
    let run_start = Instant::now();
    let failure = match workspace.runner() {
        Runner::Nextest => run_nextest(workspace, &isolation, options, groups, files),
        Runner::Libtest => run_libtest(workspace, &isolation, options, groups, files),
    };
    let mut times = format!("build {build_time}, run {}", duration(run_start.elapsed()));
    let noted = std::fs::read_to_string(&notes).unwrap_or_default();
    // A run that noted nothing made none.
    let _ = std::fs::remove_file(&notes);
    noted.lines().for_each(say);
    let left_out = noted.lines().filter(|line| line.starts_with("left out: ")).count();
    if left_out > 0 {
        times.push_str(&format!(", {left_out} LEFT OUT for want of their peer"));
    }
    match failure {
        None => Outcome::Passed(times),
        Some(problem) => Outcome::Failed(format!("{problem}; {times}")),
    }
}

/// Whether scenarios in a browser may be among those that were asked for; their groups' names begin with it.
fn wants_package(only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| name.contains("browser") || name.contains("page"))
}

/// What scenarios are told of outside of their own code.
#[derive(Clone, Copy)]
struct Files<'a> {
    /// Where they note what they have to say.
    notes: &'a Path,
    /// The terminal program.
    program: &'a Path,
}

fn run_nextest(
    workspace: &Workspace,
    isolation: &Isolation,
    options: &E2eOptions,
    groups: &[String],
    files: Files<'_>,
) -> Option<String> {
    let mut cargo = workspace.cargo(&["nextest", "run"]);
    select_groups(workspace, &mut cargo, groups).args(["--test-threads", "1", "--no-fail-fast"]);
    cargo.args(nextest_filter(&options.only, groups));
    let ended = process::run("e2e", &mut inside(isolation, &cargo, options, files), limits::E2E);
    match ended.code() {
        Some(0) => None,
        Some(NEXTEST_NO_TESTS) => Some(no_match(&options.only)),
        _ => Some(ended.describe()),
    }
}

/// Without nextest each group is a call of cargo, since a name may mean a whole group or scenarios in it.
fn run_libtest(
    workspace: &Workspace,
    isolation: &Isolation,
    options: &E2eOptions,
    groups: &[String],
    files: Files<'_>,
) -> Option<String> {
    let start = Instant::now();
    let mut failed = Vec::new();
    let mut ran = false;
    for group in groups {
        let group = std::slice::from_ref(group);
        let names = libtest_filter(&options.only, &group[0]);
        if count_listed(&libtest_list(workspace, group, names)) == 0 {
            continue;
        }
        ran = true;
        let mut cargo = workspace.cargo(&["test"]);
        select_groups(workspace, &mut cargo, group).args(["--", "--test-threads=1"]).args(names);
        let left = limits::E2E.saturating_sub(start.elapsed());
        let ended = process::run("e2e", &mut inside(isolation, &cargo, options, files), left);
        if !ended.success() {
            failed.push(format!("{}: {}", group[0], ended.describe()));
        }
        if process::interrupted() {
            break;
        }
    }
    if !ran {
        return Some(no_match(&options.only));
    }
    (!failed.is_empty()).then(|| failed.join(", "))
}

fn list(workspace: &Workspace, groups: &[String], only: &[String]) -> Outcome {
    match workspace.runner() {
        Runner::Nextest => {
            let mut command = workspace.cargo(&["nextest", "list"]);
            select_groups(workspace, &mut command, groups).args(nextest_filter(only, groups));
            let ended = process::run("listing", &mut command, limits::QUESTION);
            if ended.success() { Outcome::passed() } else { Outcome::Failed(ended.describe()) }
        }
        Runner::Libtest => {
            for group in groups {
                let names = libtest_list(workspace, std::slice::from_ref(group), libtest_filter(only, group));
                for name in names.lines().filter_map(|line| line.strip_suffix(": test")) {
                    say(&format!("{group}: {name}"));
                }
            }
            Outcome::passed()
        }
    }
}

fn libtest_list(workspace: &Workspace, group: &[String], names: &[String]) -> String {
    let mut command = workspace.cargo(&["test", "--quiet"]);
    select_groups(workspace, &mut command, group).args(["--", "--list"]).args(names);
    process::ask(&mut command).stdout
}

fn select_groups<'a>(workspace: &Workspace, command: &'a mut Command, groups: &[String]) -> &'a mut Command {
    workspace.select(command);
    for group in groups {
        command.args(["--test", group]);
    }
    command
}

/// The same call of cargo inside the namespace, where there is no network to ask a registry by.
fn inside(isolation: &Isolation, cargo: &Command, options: &E2eOptions, files: Files<'_>) -> Command {
    let mut command = isolation.command(cargo.get_program());
    command
        .args(cargo.get_args())
        .env("CARGO_NET_OFFLINE", "true")
        .env(NOTES_VARIABLE, files.notes)
        .env(PROGRAM_VARIABLE, files.program);
    if let Some(folder) = cargo.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in cargo.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for (variable, wanted) in [(KEEP_VARIABLE, options.keep), (ALLOW_MISSING_VARIABLE, options.allow_missing)] {
        if wanted {
            command.env(variable, "1");
        }
    }
    command
}

fn no_match(only: &[String]) -> String {
    format!("no scenario's name contains {}; `cargo xtask e2e --list` shows them", only.join(" or "))
}

/// nextest's filter for names that mean scenarios or groups. nextest refuses a filter for a group that is not there.
fn nextest_filter(only: &[String], groups: &[String]) -> Vec<String> {
    if only.is_empty() {
        return Vec::new();
    }
    let mut alternatives = Vec::new();
    for name in only {
        alternatives.push(format!("test(~{name})"));
        if groups.iter().any(|group| group.contains(name.as_str())) {
            alternatives.push(format!("binary(~{name})"));
        }
    }
    vec!["--filterset".to_owned(), alternatives.join(" | ")]
}

/// The names that libtest is to filter a group by: none, if the group itself was named.
fn libtest_filter<'a>(only: &'a [String], group: &str) -> &'a [String] {
    if only.iter().any(|name| group.contains(name.as_str())) { &[] } else { only }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_means_scenarios_and_groups() {
        let groups = names(&["calls", "dtmf"]);
        assert_eq!(nextest_filter(&[], &groups), Vec::<String>::new());
        let filter = nextest_filter(&names(&["dtmf", "busy"]), &groups);
        assert_eq!(filter, ["--filterset", "test(~dtmf) | binary(~dtmf) | test(~busy)"]);
    }

    #[test]
    fn libtest_runs_all_of_a_group_that_was_named() {
        let only = names(&["audio", "busy"]);
        assert_eq!(libtest_filter(&only, "audio"), Vec::<String>::new());
        assert_eq!(libtest_filter(&only, "calls"), only);
        assert_eq!(libtest_filter(&[], "calls"), Vec::<String>::new());
    }

    #[test]
    fn inside_the_namespace_cargo_is_called_the_same_but_offline() {
        let mut cargo = Command::new("cargo");
        cargo.args(["nextest", "run"]).current_dir("/").env_remove("CARGO_PKG_NAME");
        let options = E2eOptions { keep: true, ..E2eOptions::default() };
        let command = inside(
            &Isolation::Loopback,
            &cargo,
            &options,
            Files { notes: Path::new("/notes"), program: Path::new("/codex-call") },
        );
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["nextest", "run"]);
        assert_eq!(command.get_current_dir(), cargo.get_current_dir());
        let mut environment: Vec<_> = command.get_envs().collect();
        environment.sort_unstable();
        let value = |text: &'static str| Some(std::ffi::OsStr::new(text));
        assert_eq!(
            environment,
            [
                ("CARGO_NET_OFFLINE".as_ref(), value("true")),
                ("CARGO_PKG_NAME".as_ref(), None),
                ("CODEX_CALL".as_ref(), value("/codex-call")),
                ("CODEX_E2E_KEEP".as_ref(), value("1")),
                ("CODEX_E2E_NOTES".as_ref(), value("/notes")),
            ]
        );
    }
}
