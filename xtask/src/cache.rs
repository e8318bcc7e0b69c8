//! Where things are kept that are not of this checkout and costly to get: toolchains, packages of peers.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Names the folder instead of the one that the XDG base directory specification gives.
const VARIABLE: &str = "CODEX_CACHE";
/// Ours within the user's cache.
const FOLDER: &str = "codex";

/// The cache folder: `$CODEX_CACHE`, else `codex` in `$XDG_CACHE_HOME` or `~/.cache`. It need not exist.
pub(crate) fn folder() -> Result<PathBuf, String> {
    choose(|name| env::var_os(name))
        .ok_or_else(|| format!("no place for downloads: set {VARIABLE}, XDG_CACHE_HOME or HOME to an absolute path"))
}

/// The specification has relative paths ignored.
fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(VARIABLE)
        .or_else(|| absolute("XDG_CACHE_HOME").map(|cache| cache.join(FOLDER)))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache").join(FOLDER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variable_counts_most_and_relative_paths_do_not() {
        let with = |pairs: &[(&str, &str)]| {
            choose(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
        };
        let home = ("HOME", "/home/a");
        assert_eq!(with(&[home]), Some("/home/a/.cache/codex".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/x")]), Some("/x/codex".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "x"), ("CODEX_CACHE", "")]), Some("/home/a/.cache/codex".into()));
        assert_eq!(with(&[home, ("CODEX_CACHE", "/c")]), Some("/c".into()));
        assert_eq!(with(&[]), None);
    }
}
