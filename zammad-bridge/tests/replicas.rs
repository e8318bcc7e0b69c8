//! Several bridges on one database behind something that shares requests out, while they are killed and stopped and the
//! database itself is: what was acknowledged arrives, in order, and no call is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use codex_core_sip::random::{Random as _, SeededRandom};
use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz::WEBHOOK_SECRET;
use codex_e2e::jambonz_webhooks::{CALL_HOOK, Call, STATUS_HOOK, Sender};
use codex_e2e::postgres::PostgresServer;
use codex_e2e::zammad::{CallState, ZammadServer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const REPLICAS: usize = 3;
const CALLERS: u64 = 6;
const CONCURRENCY: usize = 3;
/// How long a replica may be silent, in seconds.
const LEASE_S: u64 = 5;
/// What must happen happens in this time.
const DEADLINE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(5);

#[expect(clippy::disallowed_methods, reason = "the bridges under test read the real clock")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Posts to one replica after the other, as a load balancer does, until one takes it.
struct Balancer {
    senders: Vec<Sender>,
    next: usize,
    /// Call hooks that no replica answered with verbs at the first try.
    refused: Arc<AtomicU64>,
}

impl Balancer {
    fn new(replicas: &[SocketAddr], first: usize, refused: &Arc<AtomicU64>) -> Self {
        Self {
            senders: replicas.iter().map(|address| Sender::to(*address)).collect(),
            next: first,
            refused: Arc::clone(refused),
        }
    }

    async fn post(&mut self, path: &str, body: &Value) {
        loop {
            self.next = (self.next + 1) % self.senders.len();
            let post = self.senders[self.next].post(path, body, unix_seconds());
            // A replica that is stopped takes connections and says nothing.
            let answer = tokio::time::timeout(Duration::from_secs(2), post).await;
            match answer {
                Ok(Ok(answer)) if answer.status == 200 => return,
                // Only a replica that runs can refuse a call; that it went down is the balancer's to see.
                Ok(Ok(_)) if path == CALL_HOOK => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn signal(bridge: &Bridge, signal: Signal) {
    let pid = bridge.process_id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.expect("it runs"), signal).unwrap();
}

/// So many rounds of something that goes wrong, under load.
async fn rounds(rounds: u32, seed: u64) {
    let Some(mut database) = PostgresServer::start_if_installed() else { return };
    let url = database.create_database("calls").unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_delay(Duration::from_millis(2));
    let folders: Vec<_> = (0..REPLICAS).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut replicas: Vec<Bridge> = Vec::new();
    for folder in &folders {
        let verbs = folder.path().join("verbs.json");
        fs::write(&verbs, r#"[{"verb":"say","text":"hello"}]"#).unwrap();
        let bridge = Bridge::new(Path::new(env!("CARGO_BIN_EXE_codex-zammad-bridge")), folder.path()).unwrap();
        replicas.push(
            bridge
                .with("BRIDGE_DATABASE_URL", &url)
                .with("BRIDGE_REPLICA_LEASE", &format!("{LEASE_S}s"))
                .with("ZAMMAD_CTI_URL", &zammad.cti_url())
                .with("ZAMMAD_CONCURRENCY", &CONCURRENCY.to_string())
                .with("ZAMMAD_BACKOFF_MS", "20")
                .with("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET)
                .with("VERBS_FILE", &verbs.display().to_string()),
        );
    }
    for replica in &mut replicas {
        replica.start().await;
    }
    let addresses: Vec<SocketAddr> = replicas.iter().map(Bridge::address).collect();
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let refused = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            let mut balancer = Balancer::new(&addresses, usize::try_from(caller).unwrap(), &refused);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let call = Call::numbered(next.fetch_add(1, Ordering::Relaxed));
                    balancer.post(CALL_HOOK, &call.announcement()).await;
                    for body in call.course() {
                        balancer.post(STATUS_HOOK, &body).await;
                    }
                    acknowledged.push(call.sip_call_id);
                    tokio::time::sleep(PAUSE).await;
                }
                acknowledged
            })
        })
        .collect();
    let mut random = SeededRandom::new(seed);
    let mut pauses = 0;
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(100 + random.below(400))).await;
        let which = usize::try_from(random.below(REPLICAS as u64)).unwrap();
        match round % 4 {
            1 => {
                // For longer than its lease, or not.
                signal(&replicas[which], Signal::STOP);
                tokio::time::sleep(Duration::from_millis(random.below(LEASE_S * 1_500))).await;
                signal(&replicas[which], Signal::CONT);
                pauses += 1;
            }
            3 => {
                // The database is cut off with everything that was begun, or ended in order.
                if random.below(2) == 0 {
                    database.kill();
                } else {
                    database.stop();
                }
                tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
                database.run().unwrap();
            }
            _ => {
                replicas[which].kill();
                replicas[which].start().await;
                pauses += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(tokio::time::timeout(DEADLINE, caller).await.expect("callers end").unwrap());
    }
    assert!(acknowledged.len() as u64 >= u64::from(rounds), "there was load: {}", acknowledged.len());
    let all_over = |zammad: &ZammadServer| {
        zammad.rows_made() == acknowledged.len() as u64
            && zammad.rows().iter().all(|row| row.state == CallState::Hangup)
    };
    if tokio::time::timeout(DEADLINE, zammad.wait_until(all_over)).await.is_err() {
        let logs: String = replicas.iter().map(Bridge::log).collect();
        panic!("{} acknowledged, Zammad has {:?}\n{logs}", acknowledged.len(), zammad.counts());
    }

    let mut seen: HashMap<(String, String), u64> = HashMap::new();
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for request in zammad.cti_requests() {
        *seen.entry((request.call_id().to_owned(), request.event().to_owned())).or_default() += 1;
        if request.done {
            let events = order.entry(request.call_id().to_owned()).or_default();
            if !events.iter().any(|event| event == request.event()) {
                events.push(request.event().to_owned());
            }
        }
    }
    for call_id in &acknowledged {
        assert_eq!(order[call_id], ["newCall", "answer", "hangup"], "{call_id}");
    }
    let repeats: u64 = seen.values().map(|times| times - 1).sum();
    // Whoever is killed or stopped had that much under way, and whoever lost the database could not note it.
    let allowed = u64::from(rounds) * CONCURRENCY as u64;
    println!(
        "{} calls, {repeats} repeats in {rounds} rounds ({pauses} of replicas), {:?}",
        acknowledged.len(),
        zammad.counts()
    );
    assert!(repeats <= allowed, "{repeats} repeats in {rounds} rounds");
    assert!(zammad.counts().most_at_once <= 2 * CONCURRENCY, "{:?}", zammad.counts());
    assert_eq!(refused.load(Ordering::Relaxed), 0, "a call was refused");
    for replica in &mut replicas {
        assert!(replica.stop().await.is_some_and(|status| status.success()), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_that_share_a_database_lose_nothing_whichever_of_them_dies() {
    rounds(4, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo xtask soak"]
async fn soak_bridges_that_share_a_database_lose_nothing_whichever_of_them_dies() {
    const ROUNDS: f64 = 100.0;
    let share: f64 = std::env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 100")]
    rounds((ROUNDS * share).ceil().clamp(1.0, ROUNDS) as u32, 2).await;
}
