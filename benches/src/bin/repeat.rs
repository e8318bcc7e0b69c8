//! `repeat LIBRARY OPERATION SAMPLE COUNT`: does one operation so many times, for `valgrind --tool=callgrind` to count.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, name, sample, count] = arguments.as_slice() else { return usage() };
    let Some(sample) = codex_bench::sample(sample) else { return usage() };
    let (Some(mut run), Ok(count)) = (codex_bench::operation(library, name, sample), count.parse::<u32>()) else {
        return usage();
    };
    (0..count).for_each(|_| run());
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("repeat core-sip|rsip|rsipstack parse|typed|write invite|options COUNT");
    ExitCode::from(2)
}
