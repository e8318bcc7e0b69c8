//! `cargo xtask wasm-check`: core-sip and the facade over keys compile for browsers, and what core-sip weighs there.
//!
//! ```text
//! toolchain   a compiler that knows the target, brought here if need be
//! module      what the bytes of the module are spent on
//! ```

pub(crate) mod module;
pub(crate) mod toolchain;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cli::WasmOptions;
use crate::limits;
use crate::process;
use crate::report::{Outcome, say};
use crate::workspace::Workspace;

use module::{Part, break_down};
use toolchain::{TARGET, Toolchain};

/// The package of the module that is weighed.
const PACKAGE: &str = "codex-wasm-size";
/// The profile in the workspace's manifest.
const PROFILE: &str = "wasm";
/// Parts that are smaller than this share of the whole are summed up.
const LEAST_SHARE: usize = 100;

/// Builds core-sip, the facade and the module, and reports the module's size.
pub(crate) fn run(workspace: &Workspace, options: &WasmOptions) -> Outcome {
    match check(workspace, options) {
        Ok(note) => Outcome::Passed(note),
        Err(problem) => Outcome::Failed(problem),
    }
}

fn check(workspace: &Workspace, options: &WasmOptions) -> Result<String, String> {
    let toolchain = Toolchain::ensure(workspace, options.toolchain)?;
    say(&format!("compiler: {}", toolchain.describe()));
    // A folder of its own: two compilers would overwrite each other's work, and two calls of cargo wait for each other.
    let folder = workspace.target_folder().join(match toolchain {
        Toolchain::Here => "wasm",
        Toolchain::Debian(_) => "wasm-debian",
    });
    for package in ["codex-core-sip", "codex-web-widget", PACKAGE] {
        let mut command = workspace.cargo(&["build", "--package", package, "--no-default-features"]);
        command.args(["--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(&folder);
        let ended =
            process::run(&format!("building {package} for {TARGET}"), toolchain.apply(&mut command), limits::BUILD);
        if !ended.success() {
            return Err(format!("{package} for {TARGET}: {}", ended.describe()));
        }
    }
    let built = folder.join(TARGET).join(PROFILE).join(format!("{PACKAGE}.wasm"));
    let module = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let breakdown = break_down(&module).map_err(|problem| format!("{}: {problem}", built.display()))?;
    say(&table(&breakdown.parts));
    let shipped = built.with_extension("shipped.wasm");
    fs::write(&shipped, &breakdown.shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
    let whole = kilobytes(breakdown.shipped.len());
    Ok(match gzipped(&shipped) {
        Some(bytes) => format!("the whole client without I/O: {whole} kB, {} kB with gzip", kilobytes(bytes)),
        None => format!("the whole client without I/O: {whole} kB; gzip is not installed"),
    })
}

/// The size after `gzip -9`.
pub(crate) fn gzipped(file: &Path) -> Option<usize> {
    if !process::succeeds(Command::new("gzip").args(["-9", "--keep", "--force"]).arg(file)) {
        return None;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".gz");
    usize::try_from(fs::metadata(name).ok()?.len()).ok()
}

/// What takes the space, uncompressed.
pub(crate) fn table(parts: &[Part]) -> String {
    let total: usize = parts.iter().map(|part| part.bytes).sum();
    let (large, small): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.bytes * LEAST_SHARE >= total);
    let width = large.iter().map(|part| part.name.len()).max().unwrap_or(0).max("the rest".len());
    let mut text = String::from("what takes the space, before compression:\n");
    let mut line = |name: &str, bytes: usize| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {name:width$} {:>8} kB {:>3} %",
            kilobytes(bytes),
            (bytes * 100 + total / 2) / total.max(1)
        );
    };
    for part in large {
        line(&part.name, part.bytes);
    }
    line("the rest", small.iter().map(|part| part.bytes).sum());
    text
}

/// Thousands of bytes with one digit after the point.
pub(crate) fn kilobytes(bytes: usize) -> String {
    let tenths = (bytes + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_summed_up() {
        let part = |name: &str, bytes| Part { name: name.to_owned(), bytes };
        let text = table(&[part("core", 90_000), part("alloc", 9_500), part("a", 300), part("b", 200)]);
        let expected = "\
what takes the space, before compression:
  core         90.0 kB  90 %
  alloc         9.5 kB  10 %
  the rest      0.5 kB   1 %
";
        assert_eq!(text, expected);
        assert_eq!(kilobytes(49), "0.0");
        assert_eq!(kilobytes(240_185), "240.2");
    }
}
