//! What xtask says to a person who types something: help that teaches, and a clear word about a mistake.

use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("xtask was built for this test")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_command_explains_itself_with_examples() {
    for arguments in [
        &["--help"][..],
        &["test", "--help"],
        &["e2e", "--help"],
        &["demo", "--help"],
        &["soak", "--help"],
        &["bench", "--help"],
        &["wasm-check", "--help"],
        &["web", "--help"],
    ] {
        let output = xtask(arguments);
        let text = stdout(&output);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(text.contains("Examples:\n  cargo xtask "), "{arguments:?}: {text}");
        assert!(text.contains("Usage: cargo xtask"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_mistake_is_named_and_changes_nothing() {
    for (arguments, told) in [
        (&["tset"][..], "test"),
        (&["test", "--qick"], "--quick"),
        (&["test", "--only", "clipy"], "clippy"),
        (&["e2e", "--only", "a) | all("], "cargo xtask e2e --list"),
        (&["soak", "--share", "3"], "at most 1"),
        (&[], "Usage: cargo xtask"),
    ] {
        let output = xtask(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    }
}
