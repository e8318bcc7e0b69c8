//! `cargo xtask web`: the npm package `@codex/web-widget`, from Rust and TypeScript to `web-widget/npm/dist`.
//!
//! ```text
//!  web-widget/browser ──cargo──► .wasm ──codex-bindgen──► dist/codex.wasm
//!                                             └► npm/src/core/codex.js ─┐
//!  web-widget/npm/src ──────────────────────────────────────────────────┴─esbuild─► dist/{index,element,react,help}.js
//!                     ──tsc --strict──► dist/*.d.ts ──tsc --strict──► guide/ holds
//!  consumers    sites that use the package, built as people build theirs, for scenarios in a browser
//! ```

pub(crate) mod consumers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{Outcome, say};
use crate::wasm::module::break_down;
use crate::wasm::toolchain::{TARGET, Toolchain};
use crate::wasm::{gzipped, kilobytes, table};
use crate::workspace::Workspace;
use crate::{cache, limits, process};

/// The folder of the package of the module; a workspace of its own.
const MODULE_FOLDER: &str = "web-widget/browser";
const MODULE_PACKAGE: &str = "codex-web-widget-browser";
const MODULE_FILE: &str = "codex_web_widget_browser.wasm";
const BINDGEN_PACKAGE: &str = "codex-bindgen";
const NPM_FOLDER: &str = "web-widget/npm";
/// What the package is built with, as `package.json` has it.
const TOOLS: [&str; 3] = ["esbuild@0.28.2", "typescript@7.0.2", "@types/react@19.3.0"];

/// Parts of the JavaScript that nobody outside imports.
const INNER_PARTS: [&str; 8] =
    ["driver", "media", "microphone", "tokens", "wasm", "element/icons", "element/parts", "element/view"];

/// Flags of the compiler that are not stable yet: a pinned stable compiler takes them where it is told to
/// (`RUSTC_BOOTSTRAP`), and only for this module.
const FLAGS_FOR_SIZE: [&str; 4] =
    ["-Zunstable-options", "-Cpanic=immediate-abort", "-Zfmt-debug=none", "-Zlocation-detail=none"];
/// std from its source, so that the flags hold for it too.
const STD_WITH_IT: [&str; 2] = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"];

/// What JavaScript and module may weigh together, in bytes after gzip.
const MOST_BYTES: usize = 75_000;
/// What the element may weigh beside it, in bytes after gzip.
const MOST_ELEMENT_BYTES: usize = 15_000;

/// Scripts of the package beside `index.js`, which they load as it lies beside them.
const BESIDE: [&str; 3] = ["element", "help", "react"];

/// Builds the package and says what it weighs.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    match build(workspace) {
        Ok(size) => {
            let total = size.script + size.module;
            let note = format!(
                "index.js {} kB + codex.wasm {} kB = {} kB with gzip (the bar is {} kB), element.js {} kB more (the bar is {} kB)",
                kilobytes(size.script),
                kilobytes(size.module),
                kilobytes(total),
                kilobytes(MOST_BYTES),
                kilobytes(size.element),
                kilobytes(MOST_ELEMENT_BYTES)
            );
            if size.element > MOST_ELEMENT_BYTES { Outcome::Failed(note) } else { Outcome::Passed(note) }
        }
        Err(problem) => Outcome::Failed(problem),
    }
}

/// What the package weighs, in bytes after gzip.
pub(crate) struct Size {
    script: usize,
    module: usize,
    element: usize,
}

/// Builds the package; quick where nothing has changed.
pub(crate) fn build(workspace: &Workspace) -> Result<Size, String> {
    let toolchain = Toolchain::ensure_with_source(workspace)?;
    say(&format!("compiler: {}", toolchain.describe()));
    let module = build_module(workspace, &toolchain)?;
    let breakdown = break_down(&read(&module)?).map_err(|problem| format!("{}: {problem}", module.display()))?;
    say(&table(&breakdown.parts));
    let npm = workspace.root().join(NPM_FOLDER);
    let (core, dist) = (npm.join("src/core"), npm.join("dist"));
    for folder in [&core, &dist] {
        // What an earlier build left must not be taken for this one's.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    bind(workspace, &module, &core)?;
    let shipped = dist.join("codex.wasm");
    fs::rename(core.join("codex_bg.wasm"), &shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
    let tools = tools()?;
    let script = dist.join("index.js");
    // Whoever checks the script has checked the module.
    let integrity = format!("--define:WASM_INTEGRITY=\"{}\"", integrity(&shipped)?);
    bundle(&tools, &npm, &["src/index.ts", "--outfile=dist/index.js", &integrity])?;
    bundle(&tools, &npm, &["src/element/element.css", "--outfile=src/core/element.css"])?;
    for part in BESIDE {
        let (entry, out) = (format!("src/{part}.ts"), format!("--outfile=dist/{part}.js"));
        let mine = ["--external:react", "--external:@codex/web-widget", "--loader:.css=text"];
        bundle(&tools, &npm, &[&[entry.as_str(), out.as_str()], mine.as_slice()].concat())?;
        lie_beside(&dist.join(part).with_extension("js"))?;
    }
    // The package's types, then code of people who used the older packages against them.
    link_types(&tools, &npm)?;
    for project in [".", "tsconfig.guide.json"] {
        step("tsc", Command::new(tools.join("tsc")).current_dir(&npm).args(["--project", project]))?;
        // Types of parts that the package does not export name files that it does not ship.
        for part in INNER_PARTS {
            let _ = fs::remove_file(dist.join(part).with_extension("d.ts"));
        }
    }
    let size = |file: &Path| {
        let plain = std::env::temp_dir().join(format!("codex-web-{}", std::process::id()));
        fs::copy(file, &plain).map_err(|error| format!("{}: {error}", file.display()))?;
        let size = gzipped(&plain);
        for file in [plain.clone(), plain.with_extension("gz")] {
            let _ = fs::remove_file(file);
        }
        size.ok_or_else(|| "gzip is not installed".to_owned())
    };
    Ok(Size { script: size(&script)?, module: size(&shipped)?, element: size(&dist.join("element.js"))? })
}

fn bundle(tools: &Path, npm: &Path, what: &[&str]) -> Result<(), String> {
    let mut esbuild = Command::new(tools.join("esbuild"));
    esbuild.current_dir(npm).args(what).args(["--bundle", "--format=esm", "--minify", "--target=es2022"]);
    step("esbuild", esbuild.args(["--log-level=warning"]))
}

/// Has a script of the package load the others as they lie beside it: a page without a bundler knows no package names.
fn lie_beside(script: &Path) -> Result<(), String> {
    let text = fs::read_to_string(script).map_err(|error| format!("{}: {error}", script.display()))?;
    let text = text
        .replace("\"@codex/web-widget/element\"", "\"./element.js\"")
        .replace("\"@codex/web-widget\"", "\"./index.js\"");
    fs::write(script, text).map_err(|error| format!("{}: {error}", script.display()))
}

/// React's types are where the tools are; `node_modules` of one's own stays.
fn link_types(tools: &Path, npm: &Path) -> Result<(), String> {
    let link = npm.join("node_modules");
    if link.exists() && !link.is_symlink() {
        return Ok(());
    }
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(tools.parent().unwrap_or(tools), &link)
        .map_err(|error| format!("{}: {error}", link.display()))
}

/// A file's Subresource Integrity.
fn integrity(file: &Path) -> Result<String, String> {
    const SCRIPT: &str = "const c = require('crypto'), f = require('fs'); \
        process.stdout.write('sha384-' + c.createHash('sha384').update(f.readFileSync(process.argv[1])).digest('base64'))";
    let said = process::ask(Command::new("node").args(["-e", SCRIPT]).arg(file));
    if said.ended.success() { Ok(said.stdout) } else { Err(format!("node: {}", said.ended.describe())) }
}

/// The module as the compiler leaves it, names of functions included. std is compiled with it, without messages of panics
/// and without `Debug`: `web-widget/browser/SIZE.md` says what that saves and what it costs.
fn build_module(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf, String> {
    let folder = workspace.target_folder().join(match toolchain {
        Toolchain::Here => "web",
        Toolchain::Debian(_) => "web-debian",
    });
    let mut command = workspace.cargo(&["build", "--release", "--package", MODULE_PACKAGE, "--target", TARGET]);
    command.current_dir(workspace.root().join(MODULE_FOLDER)).arg("--target-dir").arg(&folder);
    command.args(STD_WITH_IT).arg("--config").arg(flags_for_size()).env("RUSTC_BOOTSTRAP", "1");
    step("building the module", toolchain.apply(&mut command))?;
    Ok(folder.join(TARGET).join("release").join(MODULE_FILE))
}

/// The flags as a setting of cargo, which adds them to those of the module's own `.cargo/config.toml`.
fn flags_for_size() -> String {
    let flags = FLAGS_FOR_SIZE.map(|flag| format!("\"{flag}\""));
    format!("target.{TARGET}.rustflags=[{}]", flags.join(", "))
}

fn bind(workspace: &Workspace, module: &Path, core: &Path) -> Result<(), String> {
    let folder = workspace.target_folder().join("web");
    let mut command = workspace.cargo(&["run", "--quiet", "--package", BINDGEN_PACKAGE, "--target-dir"]);
    command.arg(folder).current_dir(workspace.root().join(MODULE_FOLDER)).arg("--").arg(module).arg(core);
    step("codex-bindgen", &mut command)
}

/// The folder of the commands that `package.json` names, kept in the cache.
fn tools() -> Result<PathBuf, String> {
    if !process::succeeds(Command::new("npm").arg("--version")) {
        return Err("node and npm are not installed".to_owned());
    }
    let folder = cache::folder()?.join(format!("web-tools-{}", TOOLS.join("-").replace(['@', '/'], "-")));
    let commands = folder.join("node_modules/.bin");
    install(&folder, &TOOLS)?;
    Ok(commands)
}

/// Packages of npm in a folder of the cache; nothing is asked of the registry where they are there.
fn install(folder: &Path, packages: &[&str]) -> Result<(), String> {
    let done = folder.join("installed");
    if done.exists() {
        return Ok(());
    }
    let manifest = folder.join("package.json");
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Without one, npm would install into a folder above.
    fs::write(&manifest, "{\"private\":true}").map_err(|error| format!("{}: {error}", manifest.display()))?;
    let mut command = Command::new("npm");
    command.current_dir(folder).args(["install", "--no-fund", "--no-audit", "--ignore-scripts"]).args(packages);
    let ended = process::run("npm", &mut command, limits::NPM);
    if !ended.success() {
        return Err(format!("npm install {}: {}", packages.join(" "), ended.describe()));
    }
    fs::write(&done, packages.join("\n")).map_err(|error| format!("{}: {error}", done.display()))
}

fn step(what: &str, command: &mut Command) -> Result<(), String> {
    let ended = process::run(what, command, limits::BUILD);
    if ended.success() { Ok(()) } else { Err(format!("{what}: {}", ended.describe())) }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_a_setting_that_cargo_takes() {
        let setting = flags_for_size();
        assert!(setting.starts_with("target.wasm32-unknown-unknown.rustflags=[\"-Zunstable-options\", "), "{setting}");
        assert!(setting.ends_with("\"-Zlocation-detail=none\"]"), "{setting}");
    }

    #[test]
    fn the_package_names_the_tools_that_it_is_built_with() {
        let manifest = include_str!("../../web-widget/npm/package.json");
        for tool in TOOLS {
            let (name, version) = tool.rsplit_once('@').unwrap();
            assert!(manifest.contains(&format!("\"{name}\": \"{version}\"")), "{tool}");
        }
    }

    /// What stands between `open` and `close`, everywhere in `text`.
    fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
        text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    }

    #[test]
    fn both_guides_name_every_attribute_part_custom_property_and_event() {
        let attributes = include_str!("../../web-widget/npm/src/element/attributes.ts");
        let parts = include_str!("../../web-widget/npm/src/element/parts.ts");
        let css = include_str!("../../web-widget/npm/src/element/element.css");
        let element = include_str!("../../web-widget/npm/src/element.ts");
        let settings = between(attributes, "SETTINGS: Record<string, string> = {", '}').next().unwrap();
        let mut names: Vec<&str> = between(settings, "\n  '", '\'').collect();
        for list in ["VIEW = [", "FLAGS = ["] {
            names.extend(
                between(attributes, list, ']').next().unwrap().split(['\'', ',', ' ']).filter(|name| !name.is_empty()),
            );
        }
        names.extend(
            between(parts, "part: '", '\'')
                .chain(between(parts, " button('", '\''))
                .chain(between(parts, "[meter('", '\'')),
        );
        names.extend(between(css, "var(--codex", ',').map(|name| name.trim_start_matches('-')));
        names.extend(between(element, "#emit('", '\''));
        assert!(names.len() > 60 && names.contains(&"target-uri") && names.contains(&"codex-incoming"), "{names:?}");
        for (guide, text) in [
            ("README.md", include_str!("../../web-widget/npm/README.md")),
            ("README.ru.md", include_str!("../../web-widget/npm/README.ru.md")),
        ] {
            for name in names.iter().flat_map(|names| names.split(' ')) {
                assert!(text.contains(&format!("{name}`")), "{guide}: `{name}`");
            }
        }
    }
}
