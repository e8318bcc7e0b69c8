//! What may be typed, and the help. By clap's builder: its derive would double the time to the first `--help`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, builder::PossibleValue, value_parser};

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Task {
    Test(TestOptions),
    E2e(E2eOptions),
    Demo(DemoOptions),
    Soak(SoakOptions),
    Bench(BenchOptions),
    WasmCheck(WasmOptions),
    Web,
}

/// Reads the command line. An error is clap's, which knows what to print and with which status to exit; help is one.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("test", of)) => Task::Test(TestOptions::of(of)),
        Some(("e2e", of)) => Task::E2e(E2eOptions::of(of)),
        Some(("demo", of)) => Task::Demo(DemoOptions::of(of)),
        Some(("soak", of)) => Task::Soak(SoakOptions::of(of)),
        Some(("bench", of)) => Task::Bench(BenchOptions::of(of)),
        Some(("wasm-check", of)) => Task::WasmCheck(WasmOptions::of(of)),
        Some(("web", _)) => Task::Web,
        _ => return Err(command().error(clap::error::ErrorKind::MissingSubcommand, "say what to do")),
    })
}

fn command() -> Command {
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("Everything one does with this workspace, each as one command")
        .after_help(EXAMPLES)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            TestOptions::command(),
            E2eOptions::command(),
            DemoOptions::command(),
            SoakOptions::command(),
            BenchOptions::command(),
            WasmOptions::command(),
            web_command(),
        ])
}

fn web_command() -> Command {
    Command::new("web")
        .about("The npm package @codex/web-widget: module, JavaScript and types in web-widget/npm/dist; its size")
        .after_help(WEB_HELP)
}

const WEB_HELP: &str = "\
Builds web-widget/browser for wasm32-unknown-unknown together with std, whose source rustup brings (`rustup component add
rust-src`), or else Debian's packages as for wasm-check. Flags that are not stable yet are set for this module alone
(web-widget/browser/SIZE.md says which and why). Makes of it what JavaScript can import with wasm-bindgen as a library (three CPU-minutes to compile, once), bundles the TypeScript with esbuild and checks
it with `tsc --strict`; both come from npm and are kept in $CODEX_CACHE. Node and npm have to be there.

Examples:
  cargo xtask web";

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn many<T: Clone + Send + Sync + 'static>(of: &ArgMatches, name: &str) -> Vec<T> {
    of.get_many(name).into_iter().flatten().cloned().collect()
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                  a call on this machine, with nothing but Rust
  cargo xtask test --quick          before every commit: all but the real peers
  cargo xtask test                  everything, as CI does
  cargo xtask e2e --list            the scenarios against real peers
  cargo xtask e2e --only dtmf       those that have `dtmf` in their name

`cargo xtask COMMAND --help` says more about each. Ctrl-C ends whatever was started.";

const TEST_EXAMPLES: &str = "\
The end is a table of what ran, what did not and why, and how long each took. A step that fails does not
stop the others; the exit status is 1 if any has failed.

The end-to-end suite needs Debian packages. Those that are missing are installed when this is root or may
use sudo without a password; services are not started by that. Elsewhere the command is printed.

Examples:
  cargo xtask test
  cargo xtask test --quick              leave the real peers out
  cargo xtask test --only fmt --only clippy
  cargo xtask test --no-install         say which packages are missing, install none
  cargo xtask test --deny               install cargo-deny first if it is missing (some minutes)";

#[derive(Debug, Default)]
pub(crate) struct TestOptions {
    /// Leave out what needs packages, another compiler or other dependencies: end-to-end suite, build for browsers,
    /// fuzz targets and benchmarks
    pub(crate) quick: bool,
    /// Print the command that installs missing Debian packages instead of running it
    pub(crate) no_install: bool,
    /// Install cargo-deny where it is missing
    pub(crate) deny: bool,
    /// Run this step only; may be given several times
    pub(crate) only: Vec<Step>,
}

impl TestOptions {
    fn command() -> Command {
        Command::new("test")
            .about("Formatting, lints, docs, licences, all tests, real peers, demo; a table at the end")
            .after_help(TEST_EXAMPLES)
            .arg(flag(
                "quick",
                "Leave out what needs packages, another compiler or other dependencies: e2e, packages, wasm, web, apart",
            ))
            .arg(flag("no-install", "Print the command that installs missing Debian packages instead of running it"))
            .arg(flag("deny", "Install cargo-deny where it is missing"))
            .arg(
                Arg::new("only")
                    .long("only")
                    .value_name("STEP")
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(Step))
                    .help("Run this step only; may be given several times"),
            )
    }

    fn of(matches: &ArgMatches) -> Self {
        Self {
            quick: matches.get_flag("quick"),
            no_install: matches.get_flag("no-install"),
            deny: matches.get_flag("deny"),
            only: many(matches, "only"),
        }
    }
}

/// A step of `cargo xtask test`, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Fmt,
    Packages,
    Deny,
    Clippy,
    Doc,
    Unit,
    Doctest,
    Wasm,
    Web,
    Apart,
    Soak,
    E2e,
    Demo,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        self.name_and_help().0
    }

    fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Self::Fmt => ("fmt", "the code is formatted"),
            Self::Packages => ("packages", "the Debian packages of the real peers are there"),
            Self::Deny => ("deny", "licences, bans and sources of dependencies"),
            Self::Clippy => ("clippy", "lints, warnings denied"),
            Self::Doc => ("doc", "documentation builds, warnings denied"),
            Self::Unit => ("unit", "unit and integration tests"),
            Self::Doctest => ("doctest", "examples in the documentation"),
            Self::Wasm => ("wasm", "core-sip compiles for browsers; its size"),
            Self::Web => ("web", "the npm package builds and its types hold; its size"),
            Self::Apart => ("apart", "fuzz targets and benchmarks compile: workspaces of their own"),
            Self::Soak => ("soak", "a fifth of the long runs"),
            Self::E2e => ("e2e", "scenarios against real peers"),
            Self::Demo => ("demo", "the demo, without a person"),
        }
    }
}

impl ValueEnum for Step {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Fmt,
            Self::Packages,
            Self::Deny,
            Self::Clippy,
            Self::Doc,
            Self::Unit,
            Self::Doctest,
            Self::Wasm,
            Self::Web,
            Self::Apart,
            Self::Soak,
            Self::E2e,
            Self::Demo,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = self.name_and_help();
        Some(PossibleValue::new(name).help(help))
    }
}

const E2E_EXAMPLES: &str = "\
The scenarios run one after the other in a network namespace that has nothing but a loopback interface: as
root one made with `ip netns`, else one made with `unshare`, else on this machine's own loopback, which is said.
A scenario whose peer is missing fails; `cargo xtask test --only packages` installs them.

Examples:
  cargo xtask e2e
  cargo xtask e2e --list
  cargo xtask e2e --only register --only dtmf --keep
  cargo xtask e2e --allow-missing";

#[derive(Debug, Default)]
pub(crate) struct E2eOptions {
    /// Run scenarios whose name, or whose group's name, contains this; may be given several times
    pub(crate) only: Vec<String>,
    /// List the scenarios and run none
    pub(crate) list: bool,
    /// Keep the peers' logs, captures and recordings, and say where they are (CODEX_E2E_KEEP=1)
    pub(crate) keep: bool,
    /// Leave scenarios out whose peer is not installed, and list them (CODEX_E2E_ALLOW_MISSING=1)
    pub(crate) allow_missing: bool,
    /// Print the command that installs missing Debian packages instead of running it
    pub(crate) no_install: bool,
}

impl E2eOptions {
    fn command() -> Command {
        Command::new("e2e")
            .about("Scenarios against Kamailio, rtpengine, SIPp, baresip, coturn and Chromium")
            .after_help(E2E_EXAMPLES)
            .arg(
                Arg::new("only")
                    .long("only")
                    .value_name("NAME")
                    .action(ArgAction::Append)
                    .value_parser(scenario_name)
                    .help("Run scenarios whose name, or whose group's name, contains this; may be given several times"),
            )
            .arg(flag("list", "List the scenarios and run none"))
            .arg(flag("keep", "Keep the peers' logs, captures and recordings, and say where they are"))
            .arg(flag("allow-missing", "Leave scenarios out whose peer is not installed, and list them"))
            .arg(flag("no-install", "Print the command that installs missing Debian packages instead of running it"))
    }

    fn of(matches: &ArgMatches) -> Self {
        Self {
            only: many(matches, "only"),
            list: matches.get_flag("list"),
            keep: matches.get_flag("keep"),
            allow_missing: matches.get_flag("allow-missing"),
            no_install: matches.get_flag("no-install"),
        }
    }
}

const DEMO_EXAMPLES: &str = "\
Needs nothing but Rust, and no network beyond loopback. The first build takes some minutes.

Examples:
  cargo xtask demo
  cargo xtask demo --check          the same without waiting for a person; status 0 if all went well
  cargo xtask demo -- --help        the demo's own flags";

#[derive(Debug, Default)]
pub(crate) struct DemoOptions {
    /// Do not wait for a person; exit with status 0 if the call went as it should
    pub(crate) check: bool,
    /// Flags for the demo itself
    pub(crate) flags: Vec<String>,
}

impl DemoOptions {
    fn command() -> Command {
        Command::new("demo")
            .about("The main job on this machine: an embedded gateway, a voicebot, and a call that says who is calling")
            .after_help(DEMO_EXAMPLES)
            .arg(flag("check", "Do not wait for a person; exit with status 0 if the call went as it should"))
            .arg(
                Arg::new("flags")
                    .value_name("FLAGS")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Flags for the demo itself"),
            )
    }

    fn of(matches: &ArgMatches) -> Self {
        Self { check: matches.get_flag("check"), flags: many(matches, "flags") }
    }
}

const SOAK_EXAMPLES: &str = "\
Runs the tests that are ignored by default and have `soak` in their name. They read CODEX_SOAK_SHARE, the part of
their work that they are to do.

Examples:
  cargo xtask soak                  all of it: hours
  cargo xtask soak --share 0.2      a fifth, as `cargo xtask test` does";

#[derive(Debug)]
pub(crate) struct SoakOptions {
    /// The part of the work to do, more than 0 and at most 1
    pub(crate) share: f64,
}

impl SoakOptions {
    fn command() -> Command {
        Command::new("soak")
            .about("Long runs: property tests with many cases, random walks, crash rounds")
            .after_help(SOAK_EXAMPLES)
            .arg(
                Arg::new("share")
                    .long("share")
                    .value_name("SHARE")
                    .default_value("1")
                    .value_parser(share)
                    .help("The part of the work to do, more than 0 and at most 1"),
            )
    }

    fn of(matches: &ArgMatches) -> Self {
        // clap fills the default in.
        Self { share: matches.get_one("share").copied().unwrap_or(1.0) }
    }
}

const BENCH_EXAMPLES: &str = "\
Measures core-sip's wire format by processor time, beside rsip and rsipstack in the same process, sofia-sip and libosip2
(programs in C built on the spot), and JsSIP under node; a cached application name; the Zammad bridge between 64
connections and a stand-in Zammad, with a backlog of 1,000,000 events (--quick: 50,000). Packages that are missing are installed when this is root or
may use sudo; a peer that cannot be had is left out with a word. The report is target/bench/report.json, written anew
after each part.

Examples:
  cargo xtask bench                 some minutes; let nothing else run
  cargo xtask bench --quick         a rough figure
  cargo xtask bench --only sip      the wire format alone
  cargo xtask bench --no-install    only the peers that are here";

/// A part of `cargo xtask bench`, in the order in which they are measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BenchPart {
    Sip,
    Names,
    Clients,
    Bridge,
}

impl BenchPart {
    pub(crate) fn name(self) -> &'static str {
        self.name_and_help().0
    }

    fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Self::Sip => ("sip", "the wire format: time, instructions, allocations"),
            Self::Names => ("names", "a cached application name"),
            Self::Clients => ("clients", "idle registered clients; how fast a call begins"),
            Self::Bridge => ("bridge", "the Zammad bridge: webhooks, deliveries, memory, starts"),
        }
    }
}

impl ValueEnum for BenchPart {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Sip, Self::Names, Self::Clients, Self::Bridge]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = self.name_and_help();
        Some(PossibleValue::new(name).help(help))
    }
}

#[derive(Debug, Default)]
pub(crate) struct BenchOptions {
    /// Measure for a short time
    pub(crate) quick: bool,
    /// Leave peers out that are not here
    pub(crate) no_install: bool,
    /// The parts to measure; none given means all
    pub(crate) only: Vec<BenchPart>,
}

impl BenchOptions {
    /// Whether a part is asked for.
    pub(crate) fn wants(&self, part: BenchPart) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn command() -> Command {
        Command::new("bench")
            .about(
                "The wire format beside other parsers: messages per CPU-second, instructions, allocations; the bridge",
            )
            .after_help(BENCH_EXAMPLES)
            .arg(flag("quick", "Measure for a short time"))
            .arg(flag("no-install", "Leave peers out that are not here"))
            .arg(
                Arg::new("only")
                    .long("only")
                    .value_name("PART")
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(BenchPart))
                    .help("Measure this part; may be given several times"),
            )
    }

    fn of(matches: &ArgMatches) -> Self {
        Self {
            quick: matches.get_flag("quick"),
            no_install: matches.get_flag("no-install"),
            only: many(matches, "only"),
        }
    }
}

const WASM_EXAMPLES: &str = "\
Builds codex-core-sip and codex-jambonz-api without default features for wasm32-unknown-unknown, and a module that uses
the whole client without I/O; its size is told, plain and with gzip, and what takes the space.

The target comes by `rustup target add`. Where rustup has no network, a toolchain is made from Debian's packages and
kept in $CODEX_CACHE (else in `codex` in the user's cache folder): about two minutes, once, and as root for LLVM.

Examples:
  cargo xtask wasm-check
  cargo xtask wasm-check --toolchain debian";

#[derive(Debug, Default)]
pub(crate) struct WasmOptions {
    /// Where the compiler is to come from; both are tried otherwise
    pub(crate) toolchain: Option<WasmToolchain>,
}

/// Where a compiler for browsers comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WasmToolchain {
    Rustup,
    Debian,
}

impl ValueEnum for WasmToolchain {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Rustup, Self::Debian]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Rustup => PossibleValue::new("rustup").help("the compiler that is here, with its target"),
            Self::Debian => PossibleValue::new("debian").help("one made of Debian's packages"),
        })
    }
}

impl WasmOptions {
    fn command() -> Command {
        Command::new("wasm-check")
            .about("core-sip for browsers: it compiles, and what it weighs")
            .after_help(WASM_EXAMPLES)
            .arg(
                Arg::new("toolchain")
                    .long("toolchain")
                    .value_name("ORIGIN")
                    .value_parser(value_parser!(WasmToolchain))
                    .help("Take the compiler from here only; by default rustup is tried first"),
            )
    }

    fn of(matches: &ArgMatches) -> Self {
        Self { toolchain: matches.get_one("toolchain").copied() }
    }
}

/// Test names are Rust paths; anything else would also have a meaning of its own in nextest's filter language.
fn scenario_name(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    if !text.is_empty() && text.chars().all(valid) {
        Ok(text.to_owned())
    } else {
        Err("a name has letters, digits, `_`, `-` and `:`; `cargo xtask e2e --list` shows them".to_owned())
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a number above 0 and at most 1, such as 0.2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        command().debug_assert();
    }

    #[test]
    fn the_demo_gets_the_flags_that_are_its_own() {
        let parse = |line: &str| match parse(line.split(' ').map(OsString::from)) {
            Ok(Task::Demo(options)) => (options.check, options.flags.join(" ")),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(parse("xtask demo"), (false, String::new()));
        assert_eq!(parse("xtask demo --check"), (true, String::new()));
        assert_eq!(parse("xtask demo --check --port 5"), (true, "--port 5".to_owned()));
        assert_eq!(parse("xtask demo -- --help"), (false, "--help".to_owned()));
    }

    #[test]
    fn a_benchmark_measures_the_parts_that_are_asked_for() {
        let wanted = |line: &str| match parse(line.split(' ').map(OsString::from)) {
            Ok(Task::Bench(options)) => BenchPart::value_variants().iter().map(|part| options.wants(*part)).collect(),
            _ => Vec::new(),
        };
        assert_eq!(wanted("xtask bench"), [true, true, true, true]);
        assert_eq!(wanted("xtask bench --only sip"), [true, false, false, false]);
        assert_eq!(wanted("xtask bench --only bridge --only names"), [false, true, false, true]);
        assert_eq!(wanted("xtask bench --only parser"), Vec::<bool>::new());
    }

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        for (text, expected) in
            [("1", Some(1.0)), ("0.2", Some(0.2)), ("0", None), ("1.5", None), ("NaN", None), ("", None)]
        {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_scenario_name_cannot_be_a_filter_expression() {
        for good in ["register", "calls::busy", "wss_sha-256"] {
            assert!(scenario_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a) | all(", "a b", "/x/", "имя"] {
            assert!(scenario_name(bad).is_err(), "{bad}");
        }
    }
}
