//! core-sip, rsip and rsipstack: the package codex-bench, a workspace of its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tinyjson::JsonValue;

use super::figures::{Figure, Figures, Unit};
use super::{Effort, OPERATIONS, SAMPLES};
use crate::workspace::Workspace;
use crate::{limits, process};

const LIBRARIES: [&str; 3] = ["core-sip", "rsip", "rsipstack"];

/// Cargo for the package, which builds into a folder of its own.
pub(super) fn cargo(workspace: &Workspace, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = workspace.cargo(arguments);
    command.args(["--manifest-path", "benches/Cargo.toml", "--target-dir"]).arg(folder.join("build"));
    command
}

/// Times everything with criterion.
pub(super) fn time(workspace: &Workspace, folder: &Path, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let built =
        process::run("building codex-bench", cargo(workspace, folder, &["bench"]).arg("--no-run"), limits::BUILD);
    if !built.success() {
        return Err(format!("building codex-bench: {}", built.describe()));
    }
    let results = folder.join("criterion");
    let mut command = cargo(workspace, folder, &["bench", "--bench", "wire"]);
    command.env("CRITERION_HOME", &results).args(["--", "--noplot"]).args(effort.criterion());
    let ended = process::run("codex-bench", &mut command, limits::BENCH);
    if !ended.success() {
        return Err(format!("codex-bench: {}", ended.describe()));
    }
    for (sample, _) in SAMPLES {
        for (operation, _) in OPERATIONS {
            for library in LIBRARIES {
                let file = results.join(format!("{operation}-{sample}")).join(library).join("new/estimates.json");
                let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                let figure = estimates(&text).ok_or_else(|| format!("{}: no median in it", file.display()))?;
                figures.add(Unit::MessagesPerCpuSecond, operation, sample, library, figure);
            }
        }
    }
    Ok(())
}

/// Criterion's estimates, which are in nanoseconds; its deviation is scaled already.
pub(super) fn estimates(json: &str) -> Option<Figure> {
    let estimates: JsonValue = json.parse().ok()?;
    let estimate = |name: &str| -> Option<f64> {
        let object: &HashMap<String, JsonValue> = estimates.get()?;
        let estimate: &HashMap<String, JsonValue> = object.get(name)?.get()?;
        estimate.get("point_estimate")?.get().copied()
    };
    let median = estimate("median")?;
    Some(Figure { value: 1e9 / median, spread: estimate("median_abs_dev")? / median })
}

/// Counts allocations, in a program of its own since counting takes time.
pub(super) fn allocations(workspace: &Workspace, folder: &Path, figures: &mut Figures) -> Result<(), String> {
    let mut command = cargo(workspace, folder, &["run", "--release", "--features", "allocations"]);
    let counted = process::run_capturing("allocations", command.args(["--bin", "allocations"]), limits::BUILD);
    if !counted.ended.success() {
        return Err(format!("allocations: {}", counted.ended.describe()));
    }
    for line in counted.stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [operation, sample, library, count] = words.as_slice()
            && let Ok(value) = count.parse()
        {
            figures.add(Unit::AllocationsPerMessage, operation, sample, library, Figure { value, spread: 0.0 });
        }
    }
    Ok(())
}

/// Builds the program that repeats one operation, for the count of instructions.
pub(super) fn repeater(workspace: &Workspace, folder: &Path) -> Result<PathBuf, String> {
    let mut command = cargo(workspace, folder, &["build", "--release", "--bin", "repeat"]);
    let ended = process::run("building repeat", &mut command, limits::BUILD);
    if ended.success() {
        Ok(folder.join("build/release/repeat"))
    } else {
        Err(format!("building repeat: {}", ended.describe()))
    }
}

pub(super) fn libraries() -> [&'static str; 3] {
    LIBRARIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_median_is_a_rate() {
        let json = r#"{"mean": {"point_estimate": 9.0}, "median": {"point_estimate": 500.0},
            "median_abs_dev": {"point_estimate": 5.0}}"#;
        assert_eq!(estimates(json), Some(Figure { value: 2e6, spread: 0.01 }));
        assert_eq!(estimates("{}"), None);
    }
}
