//! Measures what clients cost, for `cargo xtask bench`: `codex-bench-clients idle|calls [--quick]` prints one figure a line,
//! `name value`. The gateway runs in a process of its own, which this program starts (`codex-bench-clients gateway`).
//!
//! - `idle`: clients that are registered over WebSocket and do nothing, all in this process: resident memory of each (the
//!   difference that they make), and processor time of each. Once without and once with the offer that a client makes in
//!   advance for its next call.
//! - `calls`: from `start_call` to the INVITE on the wire, and to the first sound, with and without that offer.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and what went wrong are printed")]
#![expect(clippy::disallowed_methods, reason = "the clock is what a benchmark measures with")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codex_core_sip::client::{CodexSipClient, Direction, StartCall};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::media::{AudioSink, SessionAudio, Silence, Tone, WebRtcEngine, rms_dbfs};
use codex_e2e::gateway::{Gateway, Voicebot};
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::sleep;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Clients that register at the same time.
const AT_ONCE: usize = 50;
/// What the voicebot plays, and from where on it counts as heard.
const TONE_HZ: f64 = 1000.0;
const HEARD_DBFS: f64 = -40.0;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let measured = match arguments.first().map(String::as_str) {
        Some("gateway") => gateway().await,
        Some("idle") => idle(quick).await,
        Some("calls") => calls(quick).await,
        _ => {
            eprintln!("codex-bench-clients gateway|idle|calls [--quick]");
            return ExitCode::from(2);
        }
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codex-bench-clients: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

// ---- the gateway's process ----------------------------------------------------------------------------------------

/// Says where it listens, and ends with whoever started it.
async fn gateway() -> Result<(), Failure> {
    let mut gateway = Gateway::builder().voicebot(Voicebot::Tone(TONE_HZ)).start().await?;
    println!("{}", gateway.url());
    let mut ends = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    loop {
        tokio::select! {
            _ = &mut ends => return Ok(()),
            event = gateway.next_event() => if event.is_none() { return Ok(()) },
        }
    }
}

struct Neighbour {
    process: Child,
    url: String,
}

impl Neighbour {
    fn start() -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("gateway")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let told = process.stdout.take().map(|out| BufReader::new(out).read_line(&mut url));
        match told {
            Some(Ok(read)) if read > 0 => Ok(Self { process, url: url.trim().to_owned() }),
            _ => Err("the gateway did not say where it listens".into()),
        }
    }

    fn config(&self) -> SipClientConfig {
        let password = SecretString::from("secret");
        SipClientConfig::new("sip.example.com", self.url.as_str(), "170", password, "sip:voicebot@sip.example.com")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- idle clients -------------------------------------------------------------------------------------------------

async fn idle(quick: bool) -> Result<(), Failure> {
    let clients = if quick { 200 } else { 1000 };
    let watched = Duration::from_secs(if quick { 10 } else { 60 });
    let neighbour = Neighbour::start()?;
    for (what, prepares, count) in [("idle", false, clients), ("prepared", true, clients / 5)] {
        let before = resident_kib()?;
        let held = register(&neighbour, prepares, count).await?;
        // What was only needed to register is free by now.
        sleep(Duration::from_secs(3)).await;
        let resident = resident_kib()? - before;
        tell(&format!("{what}_rss_kib"), resident / count as f64);
        let (cpu, clock) = (cpu_seconds()?, Instant::now());
        sleep(watched).await;
        let busy = (cpu_seconds()? - cpu) / clock.elapsed().as_secs_f64();
        tell(&format!("{what}_cpu_us_per_s"), busy * 1e6 / count as f64);
        let mut ends = JoinSet::new();
        for client in held {
            ends.spawn(async move { client.destroy().await });
        }
        while let Some(ended) = ends.join_next().await {
            ended??;
        }
    }
    Ok(())
}

async fn register(neighbour: &Neighbour, prepares: bool, count: usize) -> Result<Vec<CodexSipClient>, Failure> {
    let engine = Arc::new(WebRtcEngine::builder().audio(|| Ok(SessionAudio::new(Silence, Ears::default()))).build());
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let mut registering = JoinSet::new();
        for _ in 0..AT_ONCE.min(count - held.len()) {
            let mut config = neighbour.config();
            config.prepare_after_registration = prepares;
            let client = CodexSipClient::new(config, engine.clone())?;
            registering.spawn(async move { client.register().await.map(|()| client) });
        }
        while let Some(registered) = registering.join_next().await {
            held.push(registered??);
        }
    }
    Ok(held)
}

fn resident_kib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn cpu_seconds() -> Result<f64, Failure> {
    // Nanoseconds, of all threads that there are.
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(total / 1e9)
}

// ---- calls --------------------------------------------------------------------------------------------------------

/// When the first sound was heard.
#[derive(Debug, Clone, Default)]
struct Ears(Arc<Mutex<Option<Instant>>>);

impl Ears {
    fn take(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AudioSink for Ears {
    fn write(&mut self, frame: &[i16], _sample_rate_hz: u32) {
        if rms_dbfs(frame) > HEARD_DBFS {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        }
    }
}

async fn calls(quick: bool) -> Result<(), Failure> {
    let calls = if quick { 5 } else { 25 };
    let neighbour = Neighbour::start()?;
    for (what, prepares) in [("unprepared", false), ("prepared", true)] {
        let ears = Ears::default();
        let hears = ears.clone();
        let engine = WebRtcEngine::builder()
            .bind_addresses([std::net::Ipv4Addr::LOCALHOST.into()])
            .audio(move || Ok(SessionAudio::new(Tone::new(440.0, 0.5), hears.clone())))
            .build();
        let mut config = neighbour.config();
        config.prepare_after_registration = prepares;
        let invited = Arc::new(Mutex::new(None));
        let sees = Arc::clone(&invited);
        let client = CodexSipClient::builder(config, Arc::new(engine))
            .trace(move |message| {
                if message.direction == Direction::Sent && message.bytes.starts_with(b"INVITE ") {
                    sees.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
                }
            })
            .build()?;
        client.register().await?;
        let (mut to_invite, mut to_sound) = (Vec::new(), Vec::new());
        for _ in 0..calls {
            // Long enough for the offer of the next call.
            sleep(Duration::from_millis(500)).await;
            let _before = ears.take();
            invited.lock().unwrap_or_else(PoisonError::into_inner).take();
            let begin = Instant::now();
            client.start_call(StartCall::default()).await?;
            let heard = loop {
                if let Some(at) = ears.take() {
                    break at;
                }
                if begin.elapsed() > Duration::from_secs(20) {
                    return Err("nothing was heard within 20 s".into());
                }
                sleep(Duration::from_millis(1)).await;
            };
            let sent = invited.lock().unwrap_or_else(PoisonError::into_inner).ok_or("no INVITE was seen")?;
            to_invite.push((sent - begin).as_secs_f64() * 1000.0);
            to_sound.push((heard - begin).as_secs_f64() * 1000.0);
            client.hangup(None).await?;
        }
        tell(&format!("{what}_invite_ms"), median(&mut to_invite));
        tell(&format!("{what}_invite_worst_ms"), to_invite.last().copied().unwrap_or_default());
        tell(&format!("{what}_sound_ms"), median(&mut to_sound));
        client.destroy().await?;
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
