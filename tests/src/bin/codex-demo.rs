//! `cargo xtask demo`: a call from a Rust program to an embedded gateway and voicebot, with everything shown.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people prints")]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::client::{CodexSipClient, StartCall};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::{CallState, Event, LogLevel};
use codex_core_sip::media::{LevelMeter, LevelReading, SessionAudio, Tone, WebRtcEngine};
use codex_core_sip::metadata::{CustomerData, Location, METADATA_HEADERS};
use codex_e2e::gateway::{Gateway, GatewayEvent, Voicebot};
use tokio::io::AsyncBufReadExt;
use tokio::time::{Instant, timeout_at};

const HELP: &str = "\
A call from a Rust program to an embedded SIP gateway and WebRTC voicebot, all on this machine.

Usage: cargo xtask demo [--check] [--seconds N]

  --check       do not wait for a person: hang up by itself and fail unless the far end received
                who is calling, and audio flowed both ways
  --seconds N   how long the call lasts without a terminal or with --check [default: 3]
  -h, --help    this text

Shown are the client's events, the headers as the far end received them, and audio figures.
Exit status 0: the call went as it should. 1: it did not; the reason is printed.
";

/// The caller's tone and the voicebot's, in hertz: each end must hear the other's.
const CALLER_HZ: f64 = 440.0;
const VOICEBOT_HZ: f64 = 1000.0;
/// How long setting up and ending may take beside the call itself.
const PATIENCE: Duration = Duration::from_secs(30);

struct Options {
    check: bool,
    seconds: u64,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { check: false, seconds: 3 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => options.check = true,
            "--seconds" => {
                let value = arguments.next().unwrap_or_default();
                options.seconds = match value.parse() {
                    Ok(seconds @ 1..=3600) => seconds,
                    _ => return Err(format!("--seconds takes a whole number from 1 to 3600, not `{value}`")),
                };
            }
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("unknown option `{other}`; see --help")),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("codex-demo: {problem}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("codex-demo: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(demo(&options));
    // A person's line may still be awaited on standard input; it must not keep the program.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("codex-demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn customer() -> CustomerData {
    CustomerData::new("webcall")
        .client_id("user_12345")
        .client_name("Иван Иванов")
        .session_id("session_abc123")
        .location(Location::default().country("RU").city("Moscow"))
}

async fn demo(options: &Options) -> Result<(), String> {
    let say = |what: &str| println!("\n== {what}");
    say("an embedded gateway and voicebot");
    let mut gateway =
        Gateway::builder().voicebot(Voicebot::Tone(VOICEBOT_HZ)).start().await.map_err(|error| error.to_string())?;
    println!("   {}  SIP domain sip.example.com, user 170", gateway.url());

    let target = "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com";
    let mut config = SipClientConfig::new("sip.example.com", gateway.url(), "170", "secret".to_owned().into(), target);
    config.target_application_name =
        Some("voicebot".parse().map_err(|error: codex_core_sip::Error| error.to_string())?);
    config.customer_data = Some(customer());
    let (meter, heard) = LevelMeter::new(2000);
    let meter = std::sync::Mutex::new(Some(meter));
    let engine = WebRtcEngine::builder()
        .audio(move || {
            let meter = meter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let meter = meter
                .ok_or(codex_core_sip::Error::WrongState { operation: "demo", problem: "it makes one call only" })?;
            Ok(SessionAudio::new(Tone::new(CALLER_HZ, 0.5), meter))
        })
        .build();
    let client = CodexSipClient::new(config, Arc::new(engine)).map_err(|error| error.to_string())?;

    say("events of the client");
    let outcome = tokio::select! {
        outcome = call(options, &client, &mut gateway, &heard) => outcome,
        _ = tokio::signal::ctrl_c() => {
            println!("   interrupted: hanging up");
            Ok(None)
        }
    };
    client.destroy().await.map_err(|error| error.to_string())?;
    match outcome? {
        Some(seen) => report(options, &seen, &heard),
        None => Ok(()),
    }
}

/// What the far end saw of the call.
#[derive(Default)]
struct Seen {
    headers: Vec<(String, String)>,
    ended: Option<(codex_core_sip::media::MediaStatistics, LevelReading)>,
    tag: Option<String>,
    set_up: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a demonstration runs in real time")]
async fn call(
    options: &Options,
    client: &CodexSipClient,
    gateway: &mut Gateway,
    heard: &LevelReading,
) -> Result<Option<Seen>, String> {
    let mut events = client.events();
    let mut seen = Seen::default();
    let deadline = Instant::now() + PATIENCE;
    let begun = Instant::now();
    client.start_call(StartCall::default()).await.map_err(|error| error.to_string())?;
    loop {
        let event = timeout_at(deadline, events.next()).await.map_err(|_| "the call was not set up in time")?;
        let event = event.ok_or("the client ended")?;
        show(&event);
        if let Event::Call(call) = event {
            match call.state {
                CallState::Connected => {
                    seen.set_up = begun.elapsed();
                    seen.tag = call.tag;
                    break;
                }
                CallState::Ended | CallState::Error => return Err(call.reason.unwrap_or_default()),
                _ => {}
            }
        }
    }
    let interactive = !options.check && std::io::stdin().is_terminal();
    if interactive {
        println!("   … the two ends speak; press Enter to hang up");
    }
    let wait = async {
        if interactive {
            let mut line = String::new();
            // Whatever comes, an error too, means that nobody will press Enter any more.
            let _read = tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
        } else {
            tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        }
    };
    tokio::pin!(wait);
    let mut keyed = false;
    loop {
        tokio::select! {
            () = &mut wait => break,
            event = events.next() => match event {
                Some(Event::Call(call)) if matches!(call.state, CallState::Ended | CallState::Error) => {
                    return Err(call.reason.unwrap_or_default());
                }
                Some(event) => {
                    show(&event);
                    if !keyed && heard.samples_heard() > 0 {
                        keyed = true;
                        client.send_dtmf('5').await.map_err(|error| error.to_string())?;
                    }
                }
                None => return Err("the client ended".to_owned()),
            },
        }
    }
    client.hangup(Some("the demonstration is over")).await.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    while seen.ended.is_none() {
        let event =
            timeout_at(deadline, gateway.next_event()).await.map_err(|_| "the far end did not see the call end")?;
        match event.ok_or("the gateway ended")? {
            GatewayEvent::Invite { headers, .. } => seen.headers = headers,
            GatewayEvent::Dtmf(tone) => println!("   the far end heard the key {tone}"),
            GatewayEvent::Ended { statistics, heard, .. } => seen.ended = Some((statistics, heard)),
            _ => {}
        }
    }
    Ok(Some(seen))
}

fn show(event: &Event) {
    match event {
        Event::Registration(event) => println!("   registration  {:?}", event.state),
        Event::Call(event) => println!(
            "   call          {:<12} From: {}  To: {}",
            format!("{:?}", event.state),
            event.display_from.as_deref().unwrap_or("?"),
            event.display_to.as_deref().unwrap_or("?")
        ),
        Event::Ice(event) => println!("   ice           {:?}", event.state),
        Event::Metrics(event) => println!(
            "   metrics       RTT {} ms, jitter {} ms, loss {} %, {} packets in, {} out, MOS {}",
            number(event.rtt_ms),
            number(event.jitter_ms),
            number(event.loss_percent),
            event.packets_received.unwrap_or_default(),
            event.packets_sent.unwrap_or_default(),
            number(event.mos)
        ),
        Event::Log(event) if event.level >= LogLevel::Warn => {
            println!("   log           {} {}", event.message, event.error.as_deref().unwrap_or_default());
        }
        _ => {}
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

fn report(options: &Options, seen: &Seen, heard: &LevelReading) -> Result<(), String> {
    println!("\n== headers as the far end received them");
    for (name, value) in &seen.headers {
        if METADATA_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            println!("   {name}: {value}");
        }
    }
    let (statistics, far) = seen.ended.as_ref().ok_or("the far end did not see the call end")?;
    println!("\n== audio");
    println!("   set up in {} ms (registration included)", seen.set_up.as_millis());
    println!(
        "   we heard      {:>4.0} Hz with {:3.0} % of the energy, {:.1} dBFS",
        VOICEBOT_HZ,
        100.0 * heard.tone_share(VOICEBOT_HZ),
        heard.rms_dbfs()
    );
    println!(
        "   voicebot heard {:>3.0} Hz with {:3.0} % of the energy, {:.1} dBFS; {} packets in, {} out, {} lost, {}",
        CALLER_HZ,
        100.0 * far.tone_share(CALLER_HZ),
        far.rms_dbfs(),
        statistics.packets_received,
        statistics.packets_sent,
        statistics.packets_lost,
        statistics.codec.as_deref().unwrap_or("no codec")
    );
    if !options.check {
        return Ok(());
    }
    check(seen, heard, far)?;
    println!("\nok: the far end received who is calling, and audio flowed both ways");
    Ok(())
}

fn check(seen: &Seen, heard: &LevelReading, far: &LevelReading) -> Result<(), String> {
    let tag = seen.tag.as_deref().unwrap_or_default();
    let expected = [
        ("X-Customer-Data", customer().to_json()),
        ("X-Display-From", format!("webcall:{tag} → voicebot")),
        ("X-Display-To", "voicebot".to_owned()),
        ("X-Call-Tag", tag.to_owned()),
        ("X-Application-Name", "voicebot".to_owned()),
        ("X-Lang", "en".to_owned()),
    ];
    for (name, value) in expected {
        let received =
            seen.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        if received != Some(&value) {
            return Err(format!("the far end received {name} as {received:?} instead of {value:?}"));
        }
    }
    for (who, reading, frequency) in [("we", heard, VOICEBOT_HZ), ("the voicebot", far, CALLER_HZ)] {
        let share = reading.tone_share(frequency);
        if share < 0.8 {
            return Err(format!("{who} heard {frequency} Hz with only {:.0} % of the energy", 100.0 * share));
        }
    }
    Ok(())
}
