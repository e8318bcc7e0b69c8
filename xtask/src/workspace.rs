//! What cargo says of this workspace, and how cargo is called.
//!
//! Everything here is about compiling things once. Cargo unifies the features of dependencies over the *selected*
//! packages and, when a test or example is among the targets, over their dev-dependencies too; another selection is
//! another build of tokio and of the whole WebRTC graph. So every call of cargo selects the whole workspace with
//! the same features and at least one target that brings the dev-dependencies in.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tinyjson::JsonValue;

use crate::process::{self, Captured};

/// The package of the end-to-end tests and the demo.
const E2E_PACKAGE: &str = "codex-e2e";
/// The feature without which a plain `cargo test` leaves the scenarios out.
const PEERS_FEATURE: &str = "peers";
/// An integration test of xtask itself: the cheapest target that brings the dev-dependencies in.
const CHEAPEST_TEST: &str = "command_line";

/// Which program runs tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runner {
    /// `cargo nextest run`: a process a test, with time limits.
    Nextest,
    /// `cargo test`.
    Libtest,
}

/// nextest's exit status when no test matched.
pub(crate) const NEXTEST_NO_TESTS: i32 = 4;

/// This workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target_folder: PathBuf,
    runner: Runner,
    targets: TestTargets,
}

/// The integration tests of the workspace.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct TestTargets {
    /// Those that need no peer.
    plain: Vec<String>,
    /// The scenarios against real peers.
    pub(crate) scenarios: Vec<String>,
    /// Features that tests and targets of the end-to-end package ask for, as `package/feature`.
    features: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that xtask belongs to.
    pub(crate) fn load() -> Result<Self, String> {
        // Cargo sets the variable when it runs xtask; a binary started by hand was compiled in its workspace.
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map(Path::to_path_buf).ok_or("xtask's folder has no parent folder")?;
        let answer = process::ask(cargo_in(&root).args(["metadata", "--no-deps", "--format-version", "1"]));
        if !answer.ended.success() {
            return Err(format!("`cargo metadata` in {}: {}", root.display(), answer.ended.describe()));
        }
        let targets = TestTargets::of_metadata(&answer.stdout)?;
        let target_folder = target_folder(&answer.stdout).ok_or("`cargo metadata` names no target folder")?;
        let runner = if process::succeeds(cargo_in(&root).args(["nextest", "--version"])) {
            Runner::Nextest
        } else {
            Runner::Libtest
        };
        Ok(Self { root, target_folder, runner, targets })
    }

    pub(crate) fn runner(&self) -> Runner {
        self.runner
    }

    pub(crate) fn targets(&self) -> &TestTargets {
        &self.targets
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target_folder(&self) -> &Path {
        &self.target_folder
    }

    /// The folder that everything is in.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `program` in the workspace's root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(&self.root, program.as_ref())
    }

    /// `cargo` in the workspace's root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo_in(&self.root);
        command.args(arguments);
        command
    }

    /// Adds the one selection of packages and features that everything is compiled with.
    pub(crate) fn select<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg("--workspace");
        for feature in &self.targets.features {
            command.args(["--features", feature]);
        }
        command
    }

    /// Adds the targets of the unit and integration tests: all but the scenarios, which need peers.
    pub(crate) fn select_tests<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.select(command).args(["--lib", "--bins", "--examples"]);
        for target in &self.targets.plain {
            command.args(["--test", target]);
        }
        command
    }

    /// Builds a program of the workspace and answers with where it lies.
    pub(crate) fn build_program(&self, name: &str) -> Result<PathBuf, String> {
        let mut command = self.cargo(&["build", "--message-format", "json-render-diagnostics"]);
        self.select(&mut command).args(["--bin", name, "--test", CHEAPEST_TEST]);
        let Captured { ended, stdout } =
            process::run_capturing(&format!("building {name}"), &mut command, crate::limits::BUILD);
        if !ended.success() {
            return Err(format!("building {name}: {}", ended.describe()));
        }
        executable(&stdout, name).ok_or_else(|| format!("cargo built no program {name}"))
    }
}

impl TestTargets {
    fn of_metadata(json: &str) -> Result<Self, String> {
        let metadata: JsonValue =
            json.parse().map_err(|error| format!("what `cargo metadata` says is no JSON: {error}"))?;
        let mut found = Self::default();
        for package in array(&metadata, "packages") {
            let is_e2e = text(package, "name") == Some(E2E_PACKAGE);
            for target in array(package, "targets") {
                let required: Vec<&str> = texts(target, "required-features").collect();
                let is_test = texts(target, "kind").any(|kind| kind == "test");
                // A test that needs a feature gets it: `--test NAME` without it is an error.
                if let (true, Some(package)) = (is_e2e || is_test, text(package, "name")) {
                    found.features.extend(required.iter().map(|feature| format!("{package}/{feature}")));
                }
                let (true, Some(name)) = (is_test, text(target, "name")) else { continue };
                let is_scenario = is_e2e && required.contains(&PEERS_FEATURE);
                (if is_scenario { &mut found.scenarios } else { &mut found.plain }).push(name.to_owned());
            }
        }
        for names in [&mut found.plain, &mut found.scenarios, &mut found.features] {
            names.sort_unstable();
            names.dedup();
        }
        Ok(found)
    }
}

fn target_folder(metadata: &str) -> Option<PathBuf> {
    let metadata: JsonValue = metadata.parse().ok()?;
    text(&metadata, "target_directory").map(PathBuf::from)
}

fn member<'a>(object: &'a JsonValue, name: &str) -> Option<&'a JsonValue> {
    object.get::<HashMap<String, JsonValue>>()?.get(name)
}

fn text<'a>(object: &'a JsonValue, name: &str) -> Option<&'a str> {
    member(object, name)?.get::<String>().map(String::as_str)
}

fn array<'a>(object: &'a JsonValue, name: &str) -> impl Iterator<Item = &'a JsonValue> {
    member(object, name).and_then(JsonValue::get::<Vec<JsonValue>>).into_iter().flatten()
}

fn texts<'a>(object: &'a JsonValue, name: &str) -> impl Iterator<Item = &'a str> {
    array(object, name).filter_map(|value| value.get::<String>()).map(String::as_str)
}

/// Where cargo put the program `name`, by the messages of `--message-format json`.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| line.parse::<JsonValue>().ok())
        .filter(|message| {
            text(message, "reason") == Some("compiler-artifact")
                && member(message, "target").is_some_and(|target| {
                    text(target, "name") == Some(name) && texts(target, "kind").any(|kind| kind == "bin")
                })
        })
        .find_map(|message| text(&message, "executable").map(PathBuf::from))
}

/// `cargo` in `root`.
fn cargo_in(root: &Path) -> Command {
    command_in(root, &env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `program` in `root`, without the variables that the cargo that started xtask has set for it. Build scripts watch some of them
/// (ring's do): passed on, they would compile its dependants anew whenever `cargo xtask` and a plain `cargo` take turns.
fn command_in(root: &Path, program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_one_crate) {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_one_crate(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_FEATURE_", "CARGO_CFG_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || matches!(variable, "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_the_e2e_tests_that_need_peers() {
        let metadata = r#"{"packages": [
            {"name": "codex-core-sip", "targets": [
                {"name": "codex_core_sip", "kind": ["lib"]},
                {"name": "wire", "kind": ["test"]},
                {"name": "sip_lint", "kind": ["example"]}]},
            {"name": "codex-e2e", "targets": [
                {"name": "codex-demo", "kind": ["bin"]},
                {"name": "registration", "kind": ["test"], "required-features": ["peers"]},
                {"name": "calls", "kind": ["test"], "required-features": ["peers"]},
                {"name": "gateway", "kind": ["test"]}]}]}"#;
        let expected = TestTargets {
            plain: vec!["gateway".to_owned(), "wire".to_owned()],
            scenarios: vec!["calls".to_owned(), "registration".to_owned()],
            features: vec!["codex-e2e/peers".to_owned()],
        };
        assert_eq!(TestTargets::of_metadata(metadata), Ok(expected));
    }

    #[test]
    fn metadata_that_is_no_json_is_an_error_and_empty_metadata_is_none() {
        assert!(TestTargets::of_metadata("error: no").is_err());
        assert_eq!(TestTargets::of_metadata("{}"), Ok(TestTargets::default()));
    }

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"codex-demo","kind":["test"]},"executable":"/t/wrong"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"codex-demo","kind":["bin"]},"executable":"/t/codex-demo"}"#,
            "\nnot json\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(executable(messages, "codex-demo"), Some(PathBuf::from("/t/codex-demo")));
        assert_eq!(executable(messages, "codex-call"), None);
    }

    #[test]
    fn only_variables_about_one_crate_are_taken_away() {
        for variable in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "OUT_DIR"] {
            assert!(is_of_one_crate(variable), "{variable}");
        }
        for variable in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_BUILD_JOBS", "CARGO", "PATH", "CARGO_INCREMENTAL"] {
            assert!(!is_of_one_crate(variable), "{variable}");
        }
    }
}
