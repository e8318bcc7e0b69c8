//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use codex_core_sip::Locale;
use codex_web_widget::Text;

use crate::usage::WrongValue;

/// Keys and exit statuses, for `--help` and the manual page.
const AFTER_HELP: &str = "\
Settings:
  They come from env-style keys, each with or without the prefix VITE_:
  JAMBONZ_SIP_DOMAIN, JAMBONZ_WSS_ADDRESS, JAMBONZ_SIP_USERNAME, JAMBONZ_SIP_PASSWORD, TARGET_SIP_URI are required;
  TARGET_APPLICATION_NAME, DEFAULT_LANG, FALLBACK_LANG, STUN_URLS, TURN_URLS, TURN_USERNAME, TURN_PASSWORD,
  ICE_TRANSPORT_POLICY, MAX_REGISTER_RETRIES, INFINITE_RECONNECT, KEEP_ALIVE_INTERVAL, CUSTOMER_DATA,
  USER_TO_USER_ENCODING, JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY, JAMBONZ_ACCOUNT_SID, REQUIRE_TLS are not.
  Options count before the file of --env, that before the environment, that before a .env in this folder (which is
  read only without --env).

Exit status:
  0    all went well
  1    something unexpected
  2    wrong options
  3    wrong or missing settings, customer data that cannot be sent
  4    no connection to the edge: name, port, network, no answer
  5    TLS: the certificate cannot be trusted
  6    no SIP over WebSocket there
  7    the registration was refused
  8    the call was refused, not answered, or broke off
  9    no audio: no path, no packets, silence where --expect-audio wants to hear something
  10   a file or sound device cannot be used
  11   nobody called in the time of --wait
  12   doctor: jambonz' API, or the application in it
  13   doctor: STUN or TURN
  130  interrupted before the call was up (listen: before it was registered)

Examples:
  codex-call doctor --env prod.env
  codex-call --env prod.env --tone 440 --duration 5s --record heard.wav --expect-audio
  codex-call --to sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com --say hello.wav --dtmf 12# --json
  codex-call answer --say greeting.wav --wait 1m
";

/// Calls a jambonz application (or any SIP edge over WebSocket) from a shell, and says what is wrong with a deployment.
#[derive(Debug, Parser)]
#[command(name = "codex-call", version, after_long_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// What to do
    #[arg(value_enum, default_value_t = Task::Call)]
    pub(crate) task: Task,
    /// Read settings from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) env: Option<PathBuf>,
    /// Call this SIP URI instead of TARGET_SIP_URI
    #[arg(long, value_name = "URI")]
    pub(crate) to: Option<String>,
    /// Play this WAV file (16 bits, any rate), then silence
    #[arg(long, value_name = "FILE.wav", conflicts_with_all = ["tone", "mic"])]
    pub(crate) say: Option<PathBuf>,
    /// Play a tone of so many hertz
    #[arg(long, value_name = "HZ", value_parser = frequency, conflicts_with = "mic")]
    pub(crate) tone: Option<f64>,
    /// Speak and listen through the sound card (needs the feature audio-device)
    #[arg(long)]
    pub(crate) mic: bool,
    /// Record what is heard (mono, 16 bits, 48 kHz)
    #[arg(long, value_name = "OUT.wav")]
    pub(crate) record: Option<PathBuf>,
    /// Hang up so long after the call is up (10s, 500ms, 2m); listen and register: how long to stay
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,
    /// answer: how long to wait for a call
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) wait: Option<Duration>,
    /// Press these keys when the call is up: 0 to 9, *, #, A to D
    #[arg(long, value_name = "KEYS", value_parser = keys)]
    pub(crate) dtmf: Option<String>,
    /// Who is calling and why, as JSON or @FILE, instead of CUSTOMER_DATA
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) customer_data: Option<String>,
    /// The call's language (BCP 47) instead of DEFAULT_LANG
    #[arg(long, value_name = "TAG")]
    pub(crate) language: Option<String>,
    /// Fail unless something is heard
    #[arg(long)]
    pub(crate) expect_audio: bool,
    /// Draw the SIP messages as a ladder at the end, secrets masked
    #[arg(long)]
    pub(crate) trace: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// The language of what is printed; by default that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_name = "en|ru", value_parser = locale)]
    pub(crate) lang: Option<Locale>,
    /// Trust the certificates in this PEM file beside the system's
    #[arg(long, value_name = "FILE.pem")]
    pub(crate) ca: Option<PathBuf>,
    /// Show what happens inside; twice for more (or CODEX_LOG=FILTER)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print completions for this shell, then end
    #[arg(long, value_name = "SHELL", value_enum)]
    pub(crate) completions: Option<clap_complete::Shell>,
    /// Print the manual page (roff), then end
    #[arg(long)]
    pub(crate) man: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Register, then unregister (with --duration: after so long)
    Register,
    /// Call, until the far end hangs up, Ctrl-C or --duration
    Call,
    /// Wait for a call and take it
    Answer,
    /// Show calls that come in, without taking them
    Listen,
    /// Check a deployment step by step and explain the first fault
    Doctor,
}

impl Arguments {
    /// The language of what is printed.
    pub(crate) fn locale(&self) -> Locale {
        self.lang.unwrap_or_else(environment_locale)
    }

    /// What the log shows.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self.verbose {
            0 => "off",
            1 => "warn,codex_core_sip=info,codex_web_widget=info,codex_jambonz_api=info",
            _ => "info,codex_core_sip=debug,codex_web_widget=debug,codex_jambonz_api=debug",
        }
    }
}

/// The language that the environment asks for.
pub(crate) fn environment_locale() -> Locale {
    let variable = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    Locale::from_language(&variable.unwrap_or_default())
}

fn wrong(en: &'static str, ru: &'static str) -> WrongValue {
    WrongValue(Text::fixed(en, ru))
}

fn frequency(text: &str) -> Result<f64, WrongValue> {
    match text.parse::<f64>() {
        Ok(hz) if (20.0..=20_000.0).contains(&hz) => Ok(hz),
        _ => Err(wrong(
            "a number of hertz from 20 to 20000, for example 440",
            "нужно число герц от 20 до 20000, например 440",
        )),
    }
}

/// `10s`, `500ms`, `2m`, `1.5s`; a bare number is seconds.
fn time(text: &str) -> Result<Duration, WrongValue> {
    let wrong = || {
        wrong(
            "a time such as 10s, 500ms or 2m, at most a day",
            "нужно время, например 10s, 500ms или 2m, не больше суток",
        )
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    const LONGEST_SECONDS: f64 = 86_400.0;
    if seconds > LONGEST_SECONDS {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn keys(text: &str) -> Result<String, WrongValue> {
    let upper = text.to_ascii_uppercase();
    let right = !upper.is_empty() && upper.chars().all(|c| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D'));
    let wrong = || wrong("keys are 0 to 9, *, # and A to D, for example 12#", "возможны 0–9, *, # и A–D, например 12#");
    if right { Ok(upper) } else { Err(wrong()) }
}

fn locale(text: &str) -> Result<Locale, WrongValue> {
    match text.to_ascii_lowercase().split(['-', '_']).next() {
        Some("en") => Ok(Locale::En),
        Some("ru") => Ok(Locale::Ru),
        _ => Err(wrong("there are texts in en and ru", "есть тексты на en и ru")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn options_come_before_and_after_the_task() {
        let parsed = Arguments::try_parse_from(["codex-call", "--tone", "440", "call", "--duration", "1.5s"]).unwrap();
        assert_eq!(
            (parsed.task, parsed.tone, parsed.duration),
            (Task::Call, Some(440.0), Some(Duration::from_millis(1500)))
        );
        assert_eq!(Arguments::try_parse_from(["codex-call"]).unwrap().task, Task::Call);
        assert!(Arguments::try_parse_from(["codex-call", "--tone", "440", "--say", "a.wav"]).is_err());
    }

    #[test]
    fn times() {
        for (text, milliseconds) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("3", 3000), ("1.5s", 1500)] {
            assert_eq!(time(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for wrong in ["", "s", "10x", "-1s", "99h", "1..5s", "∞"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
