//! `cargo xtask bench`: core-sip's wire format beside other parsers, its clients, jambonz-api's memory of names beside moka
//! alone, and the Zammad bridge under load, in one run on one machine.
//!
//! ```text
//! figures    medians, their spread, the report and its table
//! rust       core-sip, rsip, rsipstack in one process (criterion), their allocations
//! peers      sofia-sip, libosip2 (built on the spot), JsSIP (node)
//! names      a cached application name
//! clients    core-sip's clients: what an idle one costs, how fast a call begins
//! bridge     the Zammad bridge: webhooks, deliveries, memory, starts
//! callgrind  instructions, which repeat whatever else the machine does
//! ```
//!
//! All by processor time, so that another program on the machine costs the figures little. It still shares caches and
//! the processor's clock: figures for publication want a quiet machine, and the load is told.

mod bridge;
mod callgrind;
mod clients;
mod figures;
mod names;
mod peers;
mod rust;

use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::cli::{BenchOptions, BenchPart};
use crate::report::{Outcome, say};
use crate::workspace::Workspace;

use figures::{Comparison, Figures};

/// Names of samples, as the benchmarks have them and as people read them.
const SAMPLES: [(&str, &str); 2] = [("invite", "INVITE of 2.9 kB"), ("options", "OPTIONS of 0.35 kB")];
/// Names of operations, likewise.
const OPERATIONS: [(&str, &str); 3] = [("parse", "parse"), ("typed", "parse, typed, write"), ("write", "write")];
/// How core-sip is called in the benchmarks.
const OURS: &str = "core-sip";

/// How long things are measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    warm_up_seconds: f64,
    seconds: f64,
    samples: u32,
}

impl Effort {
    fn of(options: &BenchOptions) -> Self {
        if options.quick {
            Self { warm_up_seconds: 0.2, seconds: 0.6, samples: 12 }
        } else {
            Self { warm_up_seconds: 1.0, seconds: 4.0, samples: 50 }
        }
    }
}

impl Effort {
    /// What tells criterion.
    fn criterion(self) -> [String; 6] {
        let of = |name: &str| name.to_owned();
        [
            of("--warm-up-time"),
            self.warm_up_seconds.to_string(),
            of("--measurement-time"),
            self.seconds.to_string(),
            of("--sample-size"),
            self.samples.to_string(),
        ]
    }
}

/// Measures, compares, reports. A peer that cannot be had is left out with a word.
pub(crate) fn run(workspace: &Workspace, options: &BenchOptions) -> Outcome {
    match measure(workspace, options) {
        Ok(note) => Outcome::Passed(note),
        Err(problem) => Outcome::Failed(problem),
    }
}

fn measure(workspace: &Workspace, options: &BenchOptions) -> Result<String, String> {
    let folder = workspace.target_folder().join("bench");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let report = folder.join("report.json");
    let effort = Effort::of(options);
    let mut skipped = Vec::new();
    let mut comparisons: Vec<Comparison> = Vec::new();
    for part in BenchPart::value_variants().iter().copied().filter(|part| options.wants(*part)) {
        let load_before = load();
        let measured = match part {
            BenchPart::Sip => wire_format(workspace, &folder, options, effort, &mut skipped)?,
            BenchPart::Names => names::time(workspace, &folder, effort)?,
            BenchPart::Clients => clients::measure(workspace, &folder, options)?,
            BenchPart::Bridge => bridge::measure(workspace, &folder, options)?,
        };
        say("");
        say(&figures::table(&measured));
        say(&format!(
            "{}: load of the machine (1 minute) {load_before} at the beginning, {} at the end",
            part.name(),
            load()
        ));
        // What a later part does must not cost the figures of an earlier one.
        comparisons.extend(measured);
        fs::write(&report, figures::json(&comparisons)).map_err(|error| format!("{}: {error}", report.display()))?;
    }
    for why in &skipped {
        say(&format!("left out: {why}"));
    }
    let bars: Vec<&Comparison> = comparisons.iter().filter(|comparison| comparison.bar.is_some()).collect();
    let met = bars.iter().filter(|comparison| comparison.met() == Some(true)).count();
    Ok(format!("{met} of {} bars met; {}", bars.len(), report.display()))
}

fn wire_format(
    workspace: &Workspace,
    folder: &Path,
    options: &BenchOptions,
    effort: Effort,
    skipped: &mut Vec<String>,
) -> Result<Vec<Comparison>, String> {
    let mut figures = Figures::default();
    rust::time(workspace, folder, effort, &mut figures)?;
    rust::allocations(workspace, folder, &mut figures)?;
    let programs = peers::build(workspace, folder, options, skipped);
    peers::time(workspace, &programs, effort, &mut figures, skipped);
    peers::time_jssip(workspace, options, effort, &mut figures, skipped);
    callgrind::count(workspace, folder, &programs, &mut figures, skipped);
    Ok(figures.compare())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
