//! `codex-bindgen MODULE.wasm FOLDER`: writes the module and its JavaScript into the folder, for pages and bundlers alike.
//!
//! It is wasm-bindgen's command without its command line, as a library pinned to the version that the module is compiled
//! with: nobody installs a tool, and the two cannot drift apart.

use std::env;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

/// What the files are called: `codex.js`, `codex_bg.wasm`.
const NAME: &str = "codex";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(module), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("codex-bindgen MODULE.wasm FOLDER");
        return ExitCode::from(2);
    };
    match make(&module, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("codex-bindgen: {module}: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn make(module: &str, folder: &str) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name(NAME);
    bindgen.web(true).map_err(|error| format!("{error:#}"))?;
    // The package gives the module's address itself, where bundlers see it.
    bindgen.omit_default_module_path(true).typescript(true).remove_name_section(true).remove_producers_section(true);
    bindgen.generate(folder).map_err(|error| format!("{error:#}"))
}
