//! Medians, their spread, the report and its table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{OPERATIONS, OURS, SAMPLES};

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Unit {
    MessagesPerCpuSecond,
    InstructionsPerMessage,
    AllocationsPerMessage,
    LookUpsPerSecond,
    PerSecond,
    Milliseconds,
    Mebibytes,
    Kibibytes,
    Microseconds,
    Requests,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::MessagesPerCpuSecond => "messages per CPU-second",
            Self::InstructionsPerMessage => "instructions per message",
            Self::AllocationsPerMessage => "allocations per message",
            Self::LookUpsPerSecond => "look-ups per second",
            Self::PerSecond => "per second",
            Self::Milliseconds => "milliseconds",
            Self::Mebibytes => "MiB",
            Self::Kibibytes => "KiB",
            Self::Microseconds => "microseconds",
            Self::Requests => "requests",
        }
    }

    /// Whether less is better.
    fn is_cost(self) -> bool {
        matches!(self, Self::Milliseconds | Self::Mebibytes | Self::Kibibytes | Self::Microseconds | Self::Requests)
    }
}

/// A figure and how far it varies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: f64,
    /// The median absolute deviation, scaled as a standard deviation, as a part of the value; 0 for what is counted.
    pub(super) spread: f64,
}

/// A median absolute deviation times this is the standard deviation of normally distributed figures.
const NORMAL: f64 = 1.4826;

impl Figure {
    /// A rate, from the nanoseconds that one operation took in each round. `None` without a round.
    pub(super) fn of_rounds(nanoseconds: &[f64]) -> Option<Self> {
        let middle = median(nanoseconds)?;
        let deviations: Vec<f64> = nanoseconds.iter().map(|round| (round - middle).abs()).collect();
        Some(Self { value: 1e9 / middle, spread: median(&deviations)? * NORMAL / middle })
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<(Unit, String, String, String), Figure>);

impl Figures {
    pub(super) fn add(&mut self, unit: Unit, operation: &str, sample: &str, library: &str, figure: Figure) {
        self.0.insert((unit, operation.to_owned(), sample.to_owned(), library.to_owned()), figure);
    }

    fn get(&self, unit: Unit, operation: &str, sample: &str, library: &str) -> Option<Figure> {
        self.0.get(&(unit, operation.to_owned(), sample.to_owned(), library.to_owned())).copied()
    }

    /// Ours beside each peer's, in the order of units, samples and operations.
    pub(super) fn compare(&self) -> Vec<Comparison> {
        const PEERS: [&str; 5] = ["sofia-sip", "libosip2", "rsipstack", "rsip", "JsSIP"];
        let mut comparisons = Vec::new();
        for unit in [Unit::MessagesPerCpuSecond, Unit::InstructionsPerMessage, Unit::AllocationsPerMessage] {
            for (sample, sample_name) in SAMPLES {
                for (operation, operation_name) in OPERATIONS {
                    let Some(ours) = self.get(unit, operation, sample, OURS) else { continue };
                    for peer_name in PEERS {
                        let Some(peer) = self.get(unit, operation, sample, peer_name) else { continue };
                        let bar = (unit == Unit::MessagesPerCpuSecond).then(|| bar(operation, peer_name)).flatten();
                        let name = format!("{operation_name}: {sample_name}");
                        comparisons.push(Comparison { name, ours, peer, peer_name, unit, bar });
                    }
                }
            }
        }
        comparisons
    }
}

/// How many times the peer's rate ours is to be.
fn bar(operation: &str, peer: &str) -> Option<f64> {
    match (operation, peer) {
        ("parse", "sofia-sip") | ("typed", "rsipstack") => Some(4.0),
        ("parse", "rsipstack") => Some(2.0),
        _ => None,
    }
}

/// A line of the report.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) name: String,
    pub(super) ours: Figure,
    pub(super) peer: Figure,
    pub(super) peer_name: &'static str,
    pub(super) unit: Unit,
    /// The least ratio that is wanted.
    pub(super) bar: Option<f64>,
}

impl Comparison {
    /// A figure that a program has told, a line `name value` among others, beside its bar.
    pub(super) fn against_bar(
        told: &str,
        name: &str,
        title: &str,
        unit: Unit,
        bar: Option<f64>,
    ) -> Result<Self, String> {
        let figure = |value| Figure { value, spread: 0.0 };
        let ours = told_value(told, name)?;
        Ok(Self {
            name: title.to_owned(),
            ours: figure(ours),
            peer: figure(bar.unwrap_or(ours)),
            peer_name: if bar.is_some() { "the bar" } else { "" },
            unit,
            bar: bar.map(|_| 1.0),
        })
    }

    /// How many times as good ours is: ours divided by the peer's, or the reverse where less is better.
    fn ratio(&self) -> f64 {
        let (better, worse) =
            if self.unit.is_cost() { (self.peer.value, self.ours.value) } else { (self.ours.value, self.peer.value) };
        if better == worse { 1.0 } else { better / worse }
    }

    /// Whether the bar is met; `None` where there is none.
    pub(super) fn met(&self) -> Option<bool> {
        self.bar.map(|bar| self.ratio() >= bar)
    }
}

/// A figure among the lines `name value` that a program has printed.
pub(super) fn told_value(told: &str, wanted: &str) -> Result<f64, String> {
    let line = told.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == wanted);
    line.and_then(|(_, value)| value.parse().ok()).ok_or_else(|| format!("the program told no {wanted}"))
}

/// The report: a list of objects, one a line.
pub(super) fn json(comparisons: &[Comparison]) -> String {
    let lines: Vec<String> = comparisons
        .iter()
        .map(|comparison| {
            // No name has a character that JSON escapes.
            let mut line = format!(
                "  {{\"name\": \"{}\", \"ours\": {}, \"peer\": {}, \"peer_name\": \"{}\", \"ratio\": {:.3}, \
                 \"unit\": \"{}\"",
                comparison.name,
                rounded(comparison.ours.value),
                rounded(comparison.peer.value),
                comparison.peer_name,
                comparison.ratio(),
                comparison.unit.name()
            );
            if matches!(comparison.unit, Unit::MessagesPerCpuSecond | Unit::LookUpsPerSecond) {
                // Writing to a String cannot fail.
                let _ = write!(
                    line,
                    ", \"ours_spread\": {:.3}, \"peer_spread\": {:.3}",
                    comparison.ours.spread, comparison.peer.spread
                );
            }
            if let (Some(bar), Some(met)) = (comparison.bar, comparison.met()) {
                let _ = write!(line, ", \"bar\": {bar:.3}, \"met\": {met}");
            }
            line + "}"
        })
        .collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The same for people: a block for each unit.
pub(super) fn table(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    let mut unit = None;
    for comparison in comparisons {
        if unit != Some(comparison.unit) {
            unit = Some(comparison.unit);
            let _ = writeln!(
                text,
                "{:<40} {:>16} {:>16}  {:<10} {:>8}  bar",
                comparison.unit.name(),
                "ours",
                "peer",
                "",
                "ratio"
            );
        }
        let bar = match (comparison.bar, comparison.met()) {
            (Some(bar), Some(met)) => format!("{bar:.2} {}", if met { "met" } else { "NOT MET" }),
            _ => String::new(),
        };
        let line = format!(
            "  {:<38} {:>16} {:>16}  {:<10} {:>8.2}  {bar}",
            comparison.name,
            with_spread(comparison.ours),
            with_spread(comparison.peer),
            comparison.peer_name,
            comparison.ratio()
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Small figures with what matters of them.
fn rounded(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// `1950000 ±3%`; a figure that was counted has no spread.
fn with_spread(figure: Figure) -> String {
    if figure.spread == 0.0 {
        rounded(figure.value)
    } else {
        format!("{:.0} ±{:.0}%", figure.value, figure.spread * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        let rate = |value, spread| Figure { value, spread };
        figures.add(Unit::MessagesPerCpuSecond, "parse", "invite", OURS, rate(1_000_000.0, 0.02));
        figures.add(Unit::MessagesPerCpuSecond, "parse", "invite", "sofia-sip", rate(200_000.0, 0.01));
        figures.add(Unit::MessagesPerCpuSecond, "parse", "invite", "rsipstack", rate(800_000.0, 0.0));
        figures.add(Unit::AllocationsPerMessage, "parse", "invite", OURS, rate(1.0, 0.0));
        figures.add(Unit::AllocationsPerMessage, "parse", "invite", "rsip", rate(40.0, 0.0));
        figures
    }

    #[test]
    fn the_median_and_its_spread_come_from_the_rounds() {
        let figure = Figure::of_rounds(&[1000.0, 1100.0, 900.0, 5000.0, 1000.0]).unwrap();
        assert!((figure.value - 1e6).abs() < 1e-6, "{figure:?}");
        assert!((figure.spread - 0.148_26).abs() < 1e-6, "{figure:?}");
        assert_eq!(Figure::of_rounds(&[]), None);
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn bars_belong_to_rates_and_are_met_or_not() {
        let comparisons = figures().compare();
        let told: Vec<_> = comparisons.iter().map(|c| (c.peer_name, c.bar, c.met())).collect();
        assert_eq!(
            told,
            [("sofia-sip", Some(4.0), Some(true)), ("rsipstack", Some(2.0), Some(false)), ("rsip", None, None)]
        );
    }

    #[test]
    fn the_report_is_a_list_of_objects() {
        let report = json(&figures().compare());
        let parsed: tinyjson::JsonValue = report.parse().unwrap();
        let list: &Vec<tinyjson::JsonValue> = parsed.get().unwrap();
        assert_eq!(list.len(), 3);
        let text = |member: &str| list[0][member].get::<String>().cloned();
        assert_eq!(text("name").as_deref(), Some("parse: INVITE of 2.9 kB"));
        assert_eq!(text("peer_name").as_deref(), Some("sofia-sip"));
        assert_eq!(text("unit").as_deref(), Some("messages per CPU-second"));
        assert_eq!(list[0]["ratio"].get::<f64>(), Some(&5.0));
        assert_eq!(list[1]["met"].get::<bool>(), Some(&false));
        assert!(table(&figures().compare()).contains("2.00 NOT MET"));
    }
}
