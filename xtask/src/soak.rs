//! `cargo xtask soak`: tests that are ignored by default, have `soak` in their name and read [`SHARE_VARIABLE`].

use std::process::Command;
use std::time::Duration;

use crate::limits;
use crate::process::{self, Ended};
use crate::report::Outcome;
use crate::workspace::{NEXTEST_NO_TESTS, Runner, Workspace};

/// Tells a test which part of its work to do: a number above 0 and at most 1.
const SHARE_VARIABLE: &str = "CODEX_SOAK_SHARE";
/// The profile in `.config/nextest.toml` that lets a test take long.
const NEXTEST_PROFILE: &str = "soak";
const FILTER: &str = "soak";

/// Runs `share` of the long tests.
pub(crate) fn run(workspace: &Workspace, share: f64) -> Outcome {
    let limit = limits::soak(share) + limits::BUILD;
    let ended = match workspace.runner() {
        Runner::Nextest => {
            let mut command = workspace.cargo(&["nextest", "run", "--profile", NEXTEST_PROFILE]);
            workspace.select_tests(&mut command).args(["--run-ignored", "only", "--no-fail-fast", "--", FILTER]);
            run_with_share(&mut command, share, limit)
        }
        Runner::Libtest => {
            let mut list = workspace.cargo(&["test"]);
            workspace.select_tests(&mut list).args(["--", FILTER, "--ignored", "--list"]);
            let listed = process::run_capturing("building soak tests", &mut list, limits::BUILD);
            if listed.ended.success() && count_listed(&listed.stdout) == 0 {
                return none_matched();
            }
            if !listed.ended.success() {
                return Outcome::Failed(listed.ended.describe());
            }
            let mut command = workspace.cargo(&["test", "--no-fail-fast"]);
            workspace.select_tests(&mut command).args(["--", FILTER, "--ignored"]);
            run_with_share(&mut command, share, limit)
        }
    };
    match ended {
        ended if ended.success() => Outcome::Passed(format!("{share} of the whole")),
        ended if workspace.runner() == Runner::Nextest && ended.code() == Some(NEXTEST_NO_TESTS) => none_matched(),
        ended => Outcome::Failed(ended.describe()),
    }
}

fn run_with_share(command: &mut Command, share: f64, limit: Duration) -> Ended {
    process::run("soak", command.env(SHARE_VARIABLE, share.to_string()), limit)
}

fn none_matched() -> Outcome {
    Outcome::Skipped("no soak test matched".to_owned())
}

/// How many tests libtest's `--list` has named.
pub(crate) fn count_listed(list: &str) -> usize {
    list.lines().filter(|line| line.ends_with(": test")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_libtest_is_counted() {
        assert_eq!(count_listed("\n0 tests, 0 benchmarks\n"), 0);
        assert_eq!(count_listed("a::soak: test\nb::soak_walk: test\nc: benchmark\n\n2 tests, 1 benchmark\n"), 2);
    }
}
