//! The Zammad bridge under load: `bridge PROGRAM FOLDER [--quick]` starts the program, loads it, and prints one figure a
//! line: `name value`.
//!
//! What comes in is signed as jambonz signs it, over 64 connections that are kept; what goes out goes to a stand-in
//! Zammad in this process. All three share the machine's processors.

#![expect(clippy::disallowed_methods, reason = "the clock is what a benchmark measures with")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz::WEBHOOK_SECRET;
use codex_e2e::jambonz_webhooks::{Call, STATUS_HOOK, Sender};
use codex_e2e::raw_http;
use codex_e2e::zammad::ZammadServer;

const CONNECTIONS: u64 = 64;
const CONCURRENCY: &str = "64";
const ADMIN_TOKEN: &str = "admin-token-0001-of-the-benchmark";
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a backlog may take to drain: a million at 2,000 a second, and some.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(program), Some(folder)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("bridge PROGRAM FOLDER [--quick]");
        return ExitCode::from(2);
    };
    let quick = arguments.iter().any(|argument| argument == "--quick");
    match measure(Path::new(program), Path::new(folder), quick).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bridge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(name: &str, value: f64) {
    println!("{name} {value:.3}");
    // If nobody reads there is nobody to tell.
    let _ = std::io::stdout().flush();
}

async fn measure(program: &Path, folder: &Path, quick: bool) -> Result<(), Failure> {
    let backlog: u64 = if quick { 50_000 } else { 1_000_000 };
    fs::create_dir_all(folder)?;
    tell("fsync_per_second", fsync_rate(folder)?);
    let zammad = ZammadServer::start().await?;
    zammad.keep_only_counts();
    zammad.set_up(false);
    let mut bridge = Bridge::new(program, folder)?
        .with("ZAMMAD_CTI_URL", &zammad.cti_url())
        .with("ZAMMAD_CONCURRENCY", CONCURRENCY)
        .with("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .with("BRIDGE_ADMIN_TOKEN", ADMIN_TOKEN)
        .with("BRIDGE_LOG", "warn");
    tell("start_empty_ms", start(&mut bridge).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell("rss_idle_mib", resident_mib(&bridge, "VmRSS"));

    let load = Load { bridge: &bridge, first: 0, events: backlog };
    let told = load.run().await?;
    tell("webhooks_per_second", told.rate);
    tell("webhook_p50_ms", told.percentile(0.50));
    tell("webhook_p99_ms", told.percentile(0.99));
    tell("rss_load_mib", resident_mib(&bridge, "VmHWM"));

    bridge.stop().await;
    tell("start_full_ms", start(&mut bridge).await);

    zammad.set_up(true);
    let begin = zammad.counts().cti_done;
    // An outage is noticed to be over at the next try; the rate counts from the first delivery on.
    zammad.wait_until(|zammad| zammad.counts().cti_done > begin).await;
    let clock = Instant::now();
    let mut most = 0.0_f64;
    let drained = zammad.wait_until(|zammad| zammad.counts().cti_done >= backlog);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => break,
            () = tokio::time::sleep(LOOK_EVERY) => most = most.max(resident_mib(&bridge, "VmRSS")),
        }
        if clock.elapsed() > DRAIN_LIMIT {
            let done = zammad.counts().cti_done;
            return Err(format!("after {DRAIN_LIMIT:?} {done} of {backlog} events are delivered").into());
        }
    }
    tell("deliveries_per_second", (backlog - begin) as f64 / clock.elapsed().as_secs_f64());
    tell("rss_drain_mib", most);
    let counts = zammad.counts();
    tell("repeats", (counts.cti_requests - counts.cti_done) as f64);
    tell("lost", backlog.saturating_sub(zammad.rows_made()) as f64);
    bridge.stop().await;
    Ok(())
}

/// Milliseconds from the start of the process until it is ready.
async fn start(bridge: &mut Bridge) -> f64 {
    let clock = Instant::now();
    bridge.start().await;
    clock.elapsed().as_secs_f64() * 1e3
}

/// A line of `/proc/<pid>/status`, in MiB; 0 if it cannot be read.
fn resident_mib(bridge: &Bridge, name: &str) -> f64 {
    let Some(pid) = bridge.process_id() else { return 0.0 };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// How often a second the disk takes 4 KiB for good.
fn fsync_rate(folder: &Path) -> std::io::Result<f64> {
    let path: PathBuf = folder.join("fsync");
    let mut file = File::create(&path)?;
    let clock = Instant::now();
    let mut rounds = 0_u32;
    while clock.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        rounds += 1;
    }
    fs::remove_file(path)?;
    Ok(f64::from(rounds) / clock.elapsed().as_secs_f64())
}

/// One `trying` of so many calls, over all connections.
struct Load<'a> {
    bridge: &'a Bridge,
    first: u64,
    events: u64,
}

/// What came of it.
struct Told {
    rate: f64,
    /// Sorted, in microseconds.
    latencies: Vec<u32>,
}

impl Told {
    fn percentile(&self, part: f64) -> f64 {
        let at = ((self.latencies.len() as f64 * part) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or(0) as f64 / 1e3
    }
}

impl Load<'_> {
    async fn run(&self) -> Result<Told, Failure> {
        let next = Arc::new(AtomicU64::new(self.first));
        let end = self.first + self.events;
        let address = self.bridge.address();
        let clock = Instant::now();
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let mut sender = Sender::to(address);
                    let mut latencies = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= end {
                            return Ok::<_, Failure>(latencies);
                        }
                        let body = Call::numbered(number).status("trying", 100);
                        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
                        let clock = Instant::now();
                        let answer = sender.post(STATUS_HOOK, &body, now).await?;
                        if answer.status != 200 {
                            return Err(format!("{}: {}", answer.status, answer.text()).into());
                        }
                        latencies.push(u32::try_from(clock.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for sender in senders {
            latencies.extend(sender.await??);
        }
        let rate = latencies.len() as f64 / clock.elapsed().as_secs_f64();
        latencies.sort_unstable();
        // The bridge is still there, and says so.
        let ready = raw_http::exchange(address, &raw_http::request("GET", "/readyz", &[], b"")).await?;
        if ready.status != 200 {
            return Err(format!("not ready after the load: {}", ready.text()).into());
        }
        Ok(Told { rate, latencies })
    }
}
