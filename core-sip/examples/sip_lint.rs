//! Says of one SIP message whether a careful element could read it: `cargo run --example sip_lint -- FILE`.
//!
//! Prints one line of JSON, `{"ok":true,"kind":"request","problem":"","rule":"","note":"…"}`, and ends with status 0
//! if `ok`, else with 1. Not `ok` is what would be answered with 400, 505 or 513 or dropped as unreadable; what would be
//! answered with 406, 415, 416, 420 or 483 can be read and has a note. `--help` says it all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use codex_core_sip::sip::Limits;
use codex_core_sip::sip::lint::{Kind, Report, examine};
use serde_json::{Value, json};

const HELP: &str = "\
Says whether one SIP message could be read by a careful element, and if not, by which rule.

Usage: sip_lint FILE
       sip_lint -          the message comes by standard input

FILE holds the bytes of one request or response as they were sent: lines end with CR LF, an empty line follows the
headers, then the body. Line ends that are LF throughout are taken for a text copy, in which lengths do not count.

Output: one line of JSON.
  ok       true if the message can be read. false if it would be answered with 400, 505 or 513, or dropped: bad syntax,
           mandatory headers missing or doubled, lengths that do not fit, a CSeq of another method, numbers out of range
  kind     \"request\", \"response\", or null where there is no first line
  problem  what is wrong and at which byte; empty if ok
  rule     where it is written, such as \"RFC 3261 §20.14\"; empty if ok
  note     only if there is something to say: what an element may yet do about it (406, 415, 416, 420, 483), or what is
           unusual

Exit status: 0 if ok, 1 if not (or FILE cannot be read), 2 if the command line is wrong.

Example:
  printf 'OPTIONS sip:a@example.com SIP/2.0\\r\\n\\r\\n' | sip_lint -
  {\"ok\":false,\"kind\":\"request\",\"problem\":\"Via is missing at byte 37\",\"rule\":\"RFC 3261 §8.1.1.7\"}
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (ok, line) = match arguments.as_slice() {
        [flag] if flag == "--help" || flag == "-h" => return print(HELP, ExitCode::SUCCESS),
        [input] if input == "-" => lint(io::stdin().lock(), "standard input"),
        [flag] if flag.to_string_lossy().starts_with('-') => {
            return wrong(&format!("there is no flag {}", flag.display()));
        }
        [file] => lint_file(file),
        [] => return wrong("no FILE is given"),
        more => return wrong(&format!("one FILE at a time, and here are {}", more.len())),
    };
    print(&format!("{line}\n"), if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whoever closed standard output does not want to know.
fn print(text: &str, status: ExitCode) -> ExitCode {
    let _ = io::stdout().lock().write_all(text.as_bytes());
    status
}

fn wrong(problem: &str) -> ExitCode {
    let _ = writeln!(
        io::stderr().lock(),
        "sip_lint: {problem}\nUsage: sip_lint FILE, where FILE holds the bytes of one SIP message; `sip_lint --help` says more."
    );
    ExitCode::from(2)
}

fn lint_file(file: &OsStr) -> (bool, Value) {
    let name = Path::new(file).display().to_string();
    match File::open(file) {
        Ok(input) => lint(input, &name),
        Err(error) => unreadable(&name, &error),
    }
}

fn lint(input: impl Read, name: &str) -> (bool, Value) {
    let limits = Limits::DEFAULT;
    let mut bytes = Vec::new();
    // One byte more than is allowed at most, so that input of any size is seen to be too large.
    match input.take(limits.message_bytes as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => describe(&examine(&Bytes::from(bytes), &limits)),
        Err(error) => unreadable(name, &error),
    }
}

fn unreadable(name: &str, error: &io::Error) -> (bool, Value) {
    (false, json!({"ok": false, "kind": null, "problem": format!("cannot read {name}: {error}"), "rule": ""}))
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
