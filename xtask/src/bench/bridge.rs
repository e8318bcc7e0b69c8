//! The Zammad bridge: codex-bench's program `bridge` starts it, loads it and prints figures.

use std::fs;
use std::path::Path;

use super::figures::{Comparison, Unit, told_value};
use super::rust::cargo;
use crate::cli::BenchOptions;
use crate::process::Captured;
use crate::workspace::Workspace;
use crate::{limits, process};

/// A figure as the program names it, as people read it, and the bar.
const FIGURES: [(&str, &str, Unit, Option<f64>); 11] = [
    ("webhooks_per_second", "bridge: webhooks on disk, 64 connections", Unit::PerSecond, Some(5_000.0)),
    ("webhook_p99_ms", "bridge: a webhook's answer, p99", Unit::Milliseconds, Some(50.0)),
    ("webhook_p50_ms", "bridge: a webhook's answer, p50", Unit::Milliseconds, None),
    ("rss_load_mib", "bridge: resident at that load, at most", Unit::Mebibytes, Some(40.0)),
    ("rss_idle_mib", "bridge: resident, idle", Unit::Mebibytes, Some(15.0)),
    ("deliveries_per_second", "bridge: deliveries, 64 at a time", Unit::PerSecond, Some(2_000.0)),
    ("rss_drain_mib", "bridge: resident while the backlog drains", Unit::Mebibytes, None),
    ("start_empty_ms", "bridge: start to ready, empty store", Unit::Milliseconds, Some(200.0)),
    ("start_full_ms", "bridge: start to ready, full store", Unit::Milliseconds, Some(2_000.0)),
    ("fsync_per_second", "the disk: 4 KiB and fdatasync", Unit::PerSecond, None),
    ("repeats", "bridge: CTI requests beyond one an event", Unit::Requests, None),
];

/// Builds both programs, runs the load, and compares with the bars.
pub(super) fn measure(workspace: &Workspace, folder: &Path, options: &BenchOptions) -> Result<Vec<Comparison>, String> {
    let build = folder.join("build");
    let mut command = workspace.cargo(&["build", "--release", "--package", "codex-zammad-bridge", "--bins"]);
    command.arg("--target-dir").arg(&build);
    let ended = process::run("building the bridge", &mut command, limits::BUILD);
    if !ended.success() {
        return Err(format!("building the bridge: {}", ended.describe()));
    }
    let ended = process::run(
        "building the bridge's load",
        &mut cargo(workspace, folder, &["build", "--release", "--bin", "bridge"]),
        limits::BUILD,
    );
    if !ended.success() {
        return Err(format!("building the bridge's load: {}", ended.describe()));
    }
    let files = folder.join("bridge");
    // What an earlier run has left is no empty store.
    let _ = fs::remove_dir_all(&files);
    let mut command = workspace.command(build.join("release/bridge"));
    command.arg(build.join("release/codex-zammad-bridge")).arg(&files);
    if options.quick {
        command.arg("--quick");
    }
    let Captured { ended, stdout } = process::run_capturing("the bridge under load", &mut command, limits::BENCH);
    if !ended.success() {
        return Err(format!("the bridge under load: {}", ended.describe()));
    }
    let _ = fs::remove_dir_all(&files);
    compare(&stdout)
}

fn compare(told: &str) -> Result<Vec<Comparison>, String> {
    let lost = told_value(told, "lost")?;
    if lost > 0.0 {
        return Err(format!("{lost} events were lost"));
    }
    FIGURES.iter().map(|(name, title, unit, bar)| Comparison::against_bar(told, name, title, *unit, *bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(webhooks: f64, p99: f64, lost: u32) -> String {
        let mut text: String = FIGURES
            .iter()
            .filter(|(name, ..)| !matches!(*name, "webhooks_per_second" | "webhook_p99_ms"))
            .map(|(name, ..)| format!("{name} 1.000\n"))
            .collect();
        text.push_str(&format!("webhooks_per_second {webhooks}\nwebhook_p99_ms {p99}\nlost {lost}\n"));
        text
    }

    #[test]
    fn rates_have_to_reach_their_bar_and_times_to_stay_below() {
        let met = |webhooks, p99| -> (Option<bool>, Option<bool>) {
            let compared = compare(&told(webhooks, p99, 0)).unwrap();
            (compared[0].met(), compared[1].met())
        };
        assert_eq!(met(5_001.0, 49.0), (Some(true), Some(true)));
        assert_eq!(met(4_999.0, 51.0), (Some(false), Some(false)));
    }

    #[test]
    fn a_lost_event_fails_it_and_so_does_a_missing_figure() {
        assert!(compare(&told(9_000.0, 1.0, 1)).unwrap_err().contains("lost"));
        assert!(compare("lost 0\n").unwrap_err().contains("webhooks_per_second"));
    }
}
