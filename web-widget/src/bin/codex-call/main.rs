//! `codex-call`: a call to any jambonz from a shell, and the doctor of a deployment.
//!
//! ```text
//! main         what is to be done, and the exit status
//! arguments    the command line
//! usage        what is wrong with it, in Russian
//! exit         exit statuses
//! explanation  errors in plain words with a remedy, English and Russian
//! details      the facts beside an explanation
//! configuration  the keys of all sources as settings
//! screen       what is printed: for people, or one JSON object a line
//! sound        what is sent and heard: tone, WAV, sound card; meters and recording
//! line         the client with its trace, and how it ends
//! task         register, call, answer, listen
//! doctor       the deployment, step by step
//! ```

#![expect(clippy::print_stderr, reason = "a program for people prints")]

mod arguments;
mod configuration;
mod details;
#[cfg(feature = "audio-device")]
mod device;
mod doctor;
mod exit;
mod explanation;
mod line;
mod screen;
mod sound;
mod task;
mod usage;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use codex_core_sip::Locale;

use arguments::{Arguments, Task};
use exit::Failure;
use screen::Screen;

/// How long tasks in the background (names to resolve, a microphone) may hold up the end.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    if let Some(shell) = arguments.completions {
        // Written into memory first: the generator panics where an output refuses it.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "codex-call", &mut script);
        return print(&script, arguments.locale());
    }
    if arguments.man {
        return man(arguments.locale());
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CODEX_LOG").unwrap_or_else(|_| arguments.log_filter().into()),
        )
        .with_writer(std::io::stderr)
        // Else a reader who went away would make it panic, in the middle of a call.
        .log_internal_errors(false)
        .init();
    let screen = Screen::new(&arguments);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            match arguments.locale() {
                Locale::En => eprintln!("codex-call: no runtime: {error}"),
                Locale::Ru => eprintln!("codex-call: не удаётся начать работу: «{error}»"),
            }
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(&arguments, &screen));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    let status = match &outcome {
        Ok(()) => 0,
        Err(failure) => {
            // The doctor has explained it already.
            if arguments.task != Task::Doctor || !failure.is_explained() {
                screen.failure(failure);
            }
            failure.status()
        }
    };
    screen.end(status, outcome.as_ref().err());
    ExitCode::from(status)
}

async fn run(arguments: &Arguments, screen: &Screen) -> Result<(), Failure> {
    match arguments.task {
        Task::Doctor => doctor::run(arguments, screen).await,
        _ => task::run(arguments, screen).await,
    }
}

/// Help, the version, or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let locale = usage::asked_locale(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()))
        .unwrap_or_else(arguments::environment_locale);
    match usage::russian(error).filter(|_| locale == Locale::Ru) {
        Some(text) => eprintln!("{text}"),
        None => {
            let _closed = error.print();
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
}

fn man(locale: Locale) -> ExitCode {
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    match written {
        Ok(()) => print(&page, locale),
        Err(error) => not_written(locale, &error),
    }
}

fn print(bytes: &[u8], locale: Locale) -> ExitCode {
    let mut output = std::io::stdout();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_written(locale, &error),
    }
}

fn not_written(locale: Locale, error: &std::io::Error) -> ExitCode {
    match locale {
        Locale::En => eprintln!("codex-call: the output cannot be written: {error}"),
        Locale::Ru => eprintln!("codex-call: не удаётся записать вывод: «{error}»"),
    }
    ExitCode::FAILURE
}
