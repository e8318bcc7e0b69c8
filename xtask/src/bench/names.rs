//! What a name in jambonz-api's memory costs, beside moka alone in the same run: the crate's own benchmark.

use std::fs;
use std::path::Path;

use super::Effort;
use super::figures::{Comparison, Figure, Unit};
use super::rust::estimates;
use crate::workspace::Workspace;
use crate::{limits, process};

/// A cached name may take so many nanoseconds.
const LIMIT_NANOSECONDS: f64 = 150.0;
/// And so many times what moka takes.
const LIMIT_TIMES_MOKA: f64 = 1.5;

/// Runs the benchmark and compares.
pub(super) fn time(workspace: &Workspace, folder: &Path, effort: Effort) -> Result<Vec<Comparison>, String> {
    let results = folder.join("criterion");
    let arguments = ["bench", "--package", "codex-jambonz-api", "--bench", "application_names"];
    let mut command = workspace.cargo(&arguments);
    command.arg("--target-dir").arg(folder.join("build"));
    command.env("CRITERION_HOME", &results).args(["--", "--noplot"]).args(effort.criterion());
    let ended = process::run("application names", &mut command, limits::BUILD);
    if !ended.success() {
        return Err(format!("application names: {}", ended.describe()));
    }
    let figure = |case: &str| -> Result<Figure, String> {
        let file = results.join("cached_name").join(case).join("new/estimates.json");
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        estimates(&text).ok_or_else(|| format!("{}: no median in it", file.display()))
    };
    Ok(compare(figure("inherent")?, figure("moka_alone")?))
}

fn compare(ours: Figure, moka: Figure) -> Vec<Comparison> {
    let limit = Figure { value: 1e9 / LIMIT_NANOSECONDS, spread: 0.0 };
    [(moka, "moka", 1.0 / LIMIT_TIMES_MOKA), (limit, "150 ns", 1.0)]
        .into_iter()
        .map(|(peer, peer_name, bar)| Comparison {
            name: "a cached application name".to_owned(),
            ours,
            peer,
            peer_name,
            unit: Unit::LookUpsPerSecond,
            bar: Some(bar),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_to_be_there_in_150_ns_and_in_one_and_a_half_times_mokas_time() {
        let rate = |nanoseconds: f64| Figure { value: 1e9 / nanoseconds, spread: 0.0 };
        let met = |ours, moka| compare(rate(ours), rate(moka)).iter().map(Comparison::met).collect::<Vec<_>>();
        assert_eq!(met(100.0, 90.0), [Some(true), Some(true)]);
        assert_eq!(met(140.0, 90.0), [Some(false), Some(true)]);
        assert_eq!(met(160.0, 120.0), [Some(true), Some(false)]);
    }
}
