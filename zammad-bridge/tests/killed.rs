//! A process that takes in and delivers is killed by SIGKILL, again and again: what it acknowledged arrives, in order,
//! and nothing is told twice but what was under way at a kill.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_core_sip::random::{Random, SeededRandom};
use codex_zammad_bridge::call_book::{CallFact, CallStatus, FactSource};
use codex_zammad_bridge::clock::{Clock, SystemClock};
use codex_zammad_bridge::delivery::{Dispatcher, HttpZammad, SystemRandom, Zammad, ZammadSettings};
use codex_zammad_bridge::metrics::Metrics;
use codex_zammad_bridge::store::{CallStore, Routes, SqliteSettings, SqliteStore};
use support::Receiver;

const ROUNDS: u32 = 12;
const CONCURRENCY: usize = 3;
const CALLERS: usize = 16;
/// What the process that is killed is told by.
const STORE: &str = "KILLED_STORE";
const CTI_URL: &str = "KILLED_CTI_URL";
const ROUND: &str = "KILLED_ROUND";

#[test]
fn what_was_acknowledged_arrives_in_order_whenever_the_process_is_killed() {
    let receiver = Receiver::replying(Duration::from_millis(2), |_, _| None);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("calls.db");
    let mut random = SeededRandom::new(0x6b69_6c6c);
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = start_child(&store, &receiver.cti_url(), &round.to_string());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed at a random acknowledgement, or some random time after it.
        let last = 1 + random.below(150);
        let mut acknowledgements = 0;
        let mut deadline = None;
        for line in lines.map_while(Result::ok) {
            let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
            let (call, status) = rest.split_once(' ').unwrap();
            acknowledged.push((call.to_owned(), status.to_owned()));
            acknowledgements += 1;
            if acknowledgements == last {
                deadline = Some(Instant::now() + Duration::from_micros(random.below(20_000)));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // The last one only delivers what is left, and ends by itself.
    let mut child = start_child(&store, &receiver.cti_url(), "last");
    assert!(child.wait().unwrap().success());

    assert!(acknowledged.len() > 100, "too little happened: {}", acknowledged.len());
    let calls = receiver.by_call();
    for (call, status) in &acknowledged {
        let event = match status.as_str() {
            "trying" => "newCall",
            "in-progress" => "answer",
            _ => "hangup",
        };
        let told = calls.get(call).unwrap_or_else(|| panic!("nothing of {call} arrived"));
        assert!(told.iter().any(|(name, _)| name == event), "{call}: {event} is missing in {told:?}");
    }
    let mut repeats = 0;
    for (call, told) in &calls {
        let mut order: Vec<&str> = told.iter().map(|(event, _)| event.as_str()).collect();
        let all = order.len();
        order.dedup();
        repeats += all - order.len();
        assert!(["newCall", "answer", "hangup"].starts_with(&order), "{call}: {told:?}");
        for (event, status) in told {
            assert!(*status == 200 || event == "newCall", "{call}: {told:?}");
        }
    }
    assert!(repeats <= ROUNDS as usize * CONCURRENCY, "{repeats} repeats");
    // What the process that was killed had sent may still be worked on when the next one begins.
    assert!(receiver.most_at_once() <= 2 * CONCURRENCY);
    println!("{} acknowledged, {} calls, {repeats} repeats in {ROUNDS} kills", acknowledged.len(), calls.len());
}

fn start_child(store: &Path, cti_url: &str, round: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(STORE, store)
        .env(CTI_URL, cti_url)
        .env(ROUND, round)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other test as a process of its own"]
async fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let round = std::env::var(ROUND).unwrap();
    let settings = ZammadSettings {
        concurrency: CONCURRENCY,
        ..ZammadSettings::new("default", std::env::var(CTI_URL).unwrap().into())
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let routes = Routes { routes: vec![settings.route()] };
    let store = SqliteStore::open(&SqliteSettings { path: path.into() }, routes, clock.clone()).await.unwrap();
    let store: Arc<dyn CallStore> = Arc::new(store);
    let zammad: Arc<dyn Zammad> = Arc::new(HttpZammad::new(&settings, clock.clone()).unwrap());
    let random = || -> Box<dyn Random> { Box::new(SystemRandom) };
    let dispatcher = Dispatcher::start(vec![(settings, zammad)], &store, &clock, &Metrics::new(), random);
    if round == "last" {
        while !store.backlog().await.unwrap().zammads.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        dispatcher.stop().await;
        return;
    }
    let callers = (0..CALLERS).map(|caller| {
        let (store, clock, round) = (store.clone(), clock.clone(), round.clone());
        tokio::spawn(async move {
            for call in 0.. {
                let name = format!("call-{round}-{caller}-{call}");
                for status in [CallStatus::Trying, CallStatus::InProgress, CallStatus::Completed] {
                    let mut fact = CallFact::new(FactSource::StatusHook, clock.now());
                    fact.call_sid = Some(name.clone());
                    fact.status = Some(status);
                    store.commit(fact).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {name} {}", status.name()).unwrap();
                    out.flush().unwrap();
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}
