//! A call whose media must go through a TURN server, with coturn as the server.
//!
//! It starts `turnserver` (Debian package `coturn`) on loopback. Without the program the tests fail, so they are run
//! only when asked for: `cargo test -p codex-core-sip --test media_turn -- --ignored`.
#![cfg(feature = "webrtc")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "these tests run in real time, and say what they measured"
)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_core_sip::config::{IceServer, IceTransportPolicy};
use codex_core_sip::media::{
    LevelMeter, LevelReading, MediaEngine, MediaNotice, MediaSession, MediaSettings, SessionAudio, Tone, WebRtcEngine,
};
use codex_core_sip::{Error, MediaFault};

const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);

/// A TURN server on a port of its own; it ends with the test.
struct TurnServer {
    process: Child,
    port: u16,
}

impl TurnServer {
    async fn start() -> Self {
        let port = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            probe.local_addr().unwrap().port()
        };
        let process = Command::new("turnserver")
            .args([
                "-n",
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                "--allow-loopback-peers",
                "--lt-cred-mech",
            ])
            .args(["--user=u:p", "--realm=test", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout"])
            .args([format!("--listening-port={port}"), "--pidfile=/dev/null".to_owned()])
            .args(["--userdb=/nonexistent/turndb"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver starts (Debian package coturn)");
        let server = Self { process, port };
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "turnserver does not listen");
            tokio::time::sleep(GLANCE).await;
        }
        server
    }

    fn settings(&self, scheme: &str, transport: &str, password: &str) -> MediaSettings {
        MediaSettings {
            ice_servers: vec![IceServer {
                urls: vec![format!("{scheme}:127.0.0.1:{}?transport={transport}", self.port)],
                username: Some("u".to_owned()),
                credential: Some(password.to_owned().into()),
            }],
            ice_transport_policy: IceTransportPolicy::Relay,
            audio_later: false,
        }
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn end(settings: MediaSettings, hz: f64) -> (Box<dyn MediaSession>, LevelReading) {
    let (meter, heard) = LevelMeter::new(300);
    let meter = std::sync::Mutex::new(Some(meter));
    let engine = WebRtcEngine::builder()
        .bind_addresses([std::net::Ipv4Addr::LOCALHOST.into()])
        .audio(move || Ok(SessionAudio::new(Tone::new(hz, 0.5), meter.lock().unwrap().take().unwrap())))
        .build();
    let start = Instant::now();
    let notify = Arc::new(move |notice: MediaNotice| eprintln!("{:?} {hz} Hz: {notice:?}", start.elapsed()));
    (engine.create_session(settings, notify).await.unwrap(), heard)
}

#[tokio::test]
#[ignore = "needs the program `turnserver`"]
async fn a_call_between_relays_is_heard_both_ways() {
    let server = TurnServer::start().await;
    let (caller, caller_hears) = end(server.settings("turn", "udp", "p"), 440.0).await;
    let (callee, callee_hears) = end(server.settings("turn", "udp", "p"), 1000.0).await;
    let start = Instant::now();
    let offer = caller.create_offer().await.unwrap();
    eprintln!("gathered after {:?}", start.elapsed());
    let candidates: Vec<&str> = offer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert!(!candidates.is_empty() && candidates.iter().all(|c| c.contains("typ relay")), "{offer}");
    let answer = callee.accept_offer(&offer).await.unwrap();
    let start = Instant::now();
    caller.accept_answer(&answer).await.unwrap();
    for (heard, hz) in [(&callee_hears, 440.0), (&caller_hears, 1000.0)] {
        while heard.tone_share(hz) < 0.95 || heard.rms_dbfs() < -12.0 {
            assert!(start.elapsed() < PATIENCE, "{hz} Hz is not heard");
            tokio::time::sleep(GLANCE).await;
        }
    }
    eprintln!("300 ms of tone heard {:?} after the answer; {:?}", start.elapsed(), caller.statistics().await);
    caller.close().await;
    callee.close().await;
}

#[tokio::test]
#[ignore = "needs the program `turnserver`"]
async fn a_wrong_password_is_told_when_the_offer_is_made() {
    let server = TurnServer::start().await;
    let (caller, _) = end(server.settings("turn", "udp", "wrong"), 440.0).await;
    let error = caller.create_offer().await.unwrap_err();
    assert!(matches!(&error, Error::Media { fault: MediaFault::Engine(text) } if text.contains("TURN")), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}
