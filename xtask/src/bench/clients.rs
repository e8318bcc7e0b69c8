//! Clients of core-sip: what an idle one costs, and how fast a call begins. The program `codex-bench-clients` of the
//! package codex-e2e measures; its gateway runs in a process of its own.

use std::path::Path;

use super::figures::{Comparison, Unit};
use crate::cli::BenchOptions;
use crate::process::Captured;
use crate::workspace::Workspace;
use crate::{limits, process};

const PROGRAM: &str = "codex-bench-clients";

/// A figure as the program names it, as people read it, and the bar.
const FIGURES: [(&str, &str, Unit, Option<f64>); 10] = [
    ("idle_rss_kib", "an idle registered client: resident", Unit::Kibibytes, Some(60.0)),
    ("idle_cpu_us_per_s", "an idle registered client: CPU a second", Unit::Microseconds, None),
    ("prepared_rss_kib", "the same with the next call's offer ready: resident", Unit::Kibibytes, None),
    ("prepared_cpu_us_per_s", "the same: CPU a second", Unit::Microseconds, None),
    ("unprepared_invite_ms", "start_call to INVITE, not prepared", Unit::Milliseconds, None),
    ("unprepared_sound_ms", "start_call to first sound, not prepared", Unit::Milliseconds, None),
    ("prepared_invite_ms", "start_call to INVITE, prepared", Unit::Milliseconds, Some(5.0)),
    ("prepared_sound_ms", "start_call to first sound, prepared", Unit::Milliseconds, None),
    ("unprepared_invite_worst_ms", "start_call to INVITE, not prepared, worst", Unit::Milliseconds, None),
    ("prepared_invite_worst_ms", "start_call to INVITE, prepared, worst", Unit::Milliseconds, None),
];

/// Builds the program, runs it, and compares with the bars.
pub(super) fn measure(workspace: &Workspace, folder: &Path, options: &BenchOptions) -> Result<Vec<Comparison>, String> {
    let build = folder.join("build");
    let mut command = workspace.cargo(&["build", "--release", "--package", "codex-e2e", "--bin", PROGRAM]);
    command.arg("--target-dir").arg(&build);
    let ended = process::run("building the clients", &mut command, limits::BUILD);
    if !ended.success() {
        return Err(format!("building the clients: {}", ended.describe()));
    }
    let mut told = String::new();
    for part in ["idle", "calls"] {
        let mut command = workspace.command(build.join("release").join(PROGRAM));
        command.arg(part);
        if options.quick {
            command.arg("--quick");
        }
        let Captured { ended, stdout } = process::run_capturing("clients", &mut command, limits::BENCH);
        if !ended.success() {
            return Err(format!("clients, {part}: {}", ended.describe()));
        }
        told.push_str(&stdout);
    }
    compare(&told)
}

fn compare(told: &str) -> Result<Vec<Comparison>, String> {
    FIGURES.iter().map(|(name, title, unit, bar)| Comparison::against_bar(told, name, title, *unit, *bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_have_to_stay_below_their_bars() {
        let told = |rss: f64| {
            let rest = FIGURES.iter().skip(1).map(|(name, ..)| format!("{name} 1.000\n")).collect::<String>();
            format!("idle_rss_kib {rss}\n{rest}")
        };
        assert_eq!(compare(&told(59.0)).unwrap()[0].met(), Some(true));
        assert_eq!(compare(&told(61.0)).unwrap()[0].met(), Some(false));
        assert!(compare("idle_rss_kib 1").unwrap_err().contains("idle_cpu_us_per_s"));
    }
}
