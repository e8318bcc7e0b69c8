//! Sites that use the package, built as people build theirs: with esbuild, webpack, Vite and without a bundler, and with
//! React 18 and 19, rendered on a server. Scenarios open them under a strict Content-Security-Policy.
//!
//! They lie in `web-widget/npm/build`, with axe-core, which looks at the element, and JsSIP, which is measured beside it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{NPM_FOLDER, install, step};
use crate::cache;
use crate::workspace::Workspace;

/// What the sites are built with.
const BUNDLERS: [&str; 5] = ["esbuild@0.28.2", "vite@8.3.8", "webpack@5.112.2", "axe-core@4.14.1", "jssip@3.13.8"];
/// React, one version a folder, since both are called the same.
const REACTS: [(&str, [&str; 2]); 2] =
    [("react18", ["react@18.3.1", "react-dom@18.3.1"]), ("react19", ["react@19.3.1", "react-dom@19.3.1"])];
const SCRIPT: &str = "consumers/build.mjs";

/// Builds them from the package that is there.
pub(crate) fn build(workspace: &Workspace) -> Result<(), String> {
    let npm = workspace.root().join(NPM_FOLDER);
    let folder = cache::folder()?.join(format!("web-consumers-{}", BUNDLERS.join("-").replace(['@', '/'], "-")));
    install(&folder, &BUNDLERS)?;
    for (name, packages) in REACTS {
        install(&folder.join(name), &packages)?;
    }
    let out = npm.join("build");
    let _ = fs::remove_dir_all(&out);
    let mut node = Command::new("node");
    node.current_dir(&npm).arg(SCRIPT).arg(&folder).arg(&out);
    step("building the sites that use the package", &mut node)?;
    let missing: Vec<&str> = ["vite", "webpack", "esbuild", "plain", "react18", "react19"]
        .into_iter()
        .filter(|name| !has_page(&out, name))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{SCRIPT} built no page for {}", missing.join(", "))) }
}

fn has_page(out: &Path, name: &str) -> bool {
    out.join(name).join("index.html").is_file()
}
