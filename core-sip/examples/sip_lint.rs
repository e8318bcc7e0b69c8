//! Says of one SIP message whether a careful element could read it: `cargo run --example sip_lint -- FILE`.
//!
//! Prints one line of JSON, `{"ok":true,"kind":"request","problem":"","rule":"","note":"…"}`, and ends with status 0
//! if `ok`, else with 1. Not `ok` is what would be answered with 400, 505 or 513 or dropped as unreadable; what would be
//! answered with 406, 415, 416, 420 or 483 can be read and has a note.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use codex_core_sip::sip::Limits;
use codex_core_sip::sip::lint::{Kind, Report, examine};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (ok, line) = match (arguments.next(), arguments.next()) {
        (Some(file), None) => lint(Path::new(&file)),
        _ => unreadable("usage: sip_lint FILE, where FILE holds the bytes of one message"),
    };
    // Whoever closed standard output does not want to know.
    let _ = writeln!(io::stdout().lock(), "{line}");
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lint(file: &Path) -> (bool, Value) {
    let limits = Limits::DEFAULT;
    match read(file, limits.message_bytes) {
        Ok(bytes) => describe(&examine(&bytes, &limits)),
        Err(error) => unreadable(&format!("cannot read {}: {error}", file.display())),
    }
}

/// Reads one byte more than is allowed at most, so that a file of any size is seen to be too large.
fn read(file: &Path, limit: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn unreadable(problem: &str) -> (bool, Value) {
    (false, json!({"ok": false, "kind": null, "problem": problem, "rule": ""}))
}

fn describe(report: &Report) -> (bool, Value) {
    let (problem, rule) = match &report.error {
        Some(error) => (format!("{} at byte {}", error.problem, error.offset), error.rule),
        None => (String::new(), ""),
    };
    let mut line =
        json!({"ok": report.is_ok(), "kind": report.kind.map(Kind::as_str), "problem": problem, "rule": rule});
    if !report.notes.is_empty() {
        line["note"] = report.notes.join("; ").into();
    }
    (report.is_ok(), line)
}
