//! What a step came to, and the table at the end.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

/// How a step or a command ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It ran and found nothing wrong. The note may be empty.
    Passed(String),
    /// It ran and something is wrong, or it could not be run though it should have been.
    Failed(String),
    /// It did not run, and why.
    Skipped(String),
}

impl Outcome {
    /// Success with nothing to add.
    pub(crate) fn passed() -> Self {
        Self::Passed(String::new())
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }

    fn note(&self) -> &str {
        match self {
            Self::Passed(note) | Self::Failed(note) | Self::Skipped(note) => note,
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl Line {
    /// How the step is announced when it ends.
    pub(crate) fn summary(&self) -> String {
        let note = self.outcome.note();
        let dash = if note.is_empty() { "" } else { " - " };
        format!("<== {} {} in {}{dash}{note}", self.name, self.outcome.word(), duration(self.took))
    }
}

/// The table: what ran, what did not and why, how long each took.
pub(crate) fn table(lines: &[Line], total: Duration) -> String {
    let heading = ["step", "result", "time", "note"];
    let rows: Vec<[String; 4]> = std::iter::once(heading.map(str::to_owned))
        .chain(lines.iter().map(|line| {
            [
                line.name.to_owned(),
                line.outcome.word().to_owned(),
                // A skipped step took no time worth a figure.
                if matches!(line.outcome, Outcome::Skipped(_)) { "-".to_owned() } else { duration(line.took) },
                line.outcome.note().to_owned(),
            ]
        }))
        .chain(std::iter::once(["total".to_owned(), String::new(), duration(total), String::new()]))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, word, time) = (width(0), width(1), width(2));
    let mut text = String::new();
    for row in &rows {
        let line = format!("{:name$}  {:word$}  {:>time$}  {}", row[0], row[1], row[2], row[3]);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `N passed, N failed, N skipped`.
pub(crate) fn counts(lines: &[Line]) -> String {
    let count = |word: &str| lines.iter().filter(|line| line.outcome.word() == word).count();
    format!("{} passed, {} failed, {} skipped", count("passed"), count("FAILED"), count("skipped"))
}

/// A duration for people: `0.8 s`, `45 s`, `2 min 05 s`, `1 h 02 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (duration.as_millis() + 500) / 1000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Says a line on standard output. Nobody listening (`| head`) is no reason to stop: what is running must still be
/// cleaned up.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, outcome: Outcome, seconds: f64) -> Line {
        Line { name, outcome, took: Duration::from_secs_f64(seconds) }
    }

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (0.84, "0.8 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.4, "59 s"),
            (59.6, "1 min 00 s"),
            (125.0, "2 min 05 s"),
            (3599.7, "1 h 00 min"),
            (3725.0, "1 h 02 min"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn the_table_lines_up_and_says_why_a_step_did_not_run() {
        let lines = [
            line("fmt", Outcome::passed(), 0.8),
            line("deny", Outcome::Skipped("cargo-deny is not installed".to_owned()), 0.1),
            line("e2e", Outcome::Failed("exit status 100".to_owned()), 125.0),
        ];
        let expected = "\
step   result         time  note
fmt    passed        0.8 s
deny   skipped           -  cargo-deny is not installed
e2e    FAILED   2 min 05 s  exit status 100
total           2 min 06 s
";
        assert_eq!(table(&lines, Duration::from_secs(126)), expected);
        assert_eq!(counts(&lines), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_step_that_ends_says_how() {
        assert_eq!(line("fmt", Outcome::passed(), 0.8).summary(), "<== fmt passed in 0.8 s");
        let failed = line("e2e", Outcome::Failed("no kamailio".to_owned()), 61.0);
        assert_eq!(failed.summary(), "<== e2e FAILED in 1 min 01 s - no kamailio");
    }
}
