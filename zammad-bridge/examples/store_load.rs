//! How many facts a second the store takes in, and how many deliveries a second it hands out and notes, on this disk.
//!
//! ```text
//! cargo run --release -p codex-zammad-bridge --example store_load -- /var/tmp/load.db 64 30000
//! ```

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, FactSource, StepSet};
use codex_zammad_bridge::clock::{Clock, SystemClock};
use codex_zammad_bridge::delivery::ZammadSettings;
use codex_zammad_bridge::store::{CallStore, DeliveryReport, Outcome, Routes, SqliteSettings, SqliteStore, TakeDue};

const STATUSES: [CallStatus; 3] = [CallStatus::Trying, CallStatus::InProgress, CallStatus::Completed];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "store_load.db".to_owned());
    let callers: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let facts: usize = arguments.next().map_or(Ok(30_000), |text| text.parse())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let route = ZammadSettings::new("default", "http://127.0.0.1:9/".to_owned().into()).route();
    let opening = Instant::now();
    let file = SqliteSettings { path: path.into() };
    let store = Arc::new(SqliteStore::open(&file, Routes { routes: vec![route] }, clock.clone()).await?);
    println!("opened in {:?}", opening.elapsed());

    let run = clock.now().as_millis();
    let began = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let (store, clock) = (store.clone(), clock.clone());
        tokio::spawn(async move {
            let mut waits = Vec::new();
            for number in 0..facts / callers {
                let mut fact = CallFact::new(FactSource::StatusHook, clock.now());
                fact.call_sid = Some(format!("{run}-{caller}-{}", number / STATUSES.len()));
                fact.status = STATUSES.get(number % STATUSES.len()).copied();
                let asked = Instant::now();
                store.commit(fact).await?;
                waits.push(asked.elapsed());
            }
            Ok::<_, codex_zammad_bridge::Error>(waits)
        })
    });
    let mut waits: Vec<Duration> = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        waits.extend(task.await??);
    }
    let took = began.elapsed();
    waits.sort_unstable();
    let at = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or_default();
    println!("{:.0} facts/s, p50 {:?}, p99 {:?}", waits.len() as f64 / took.as_secs_f64(), at(50), at(99));

    let (began, mut reported) = (Instant::now(), 0_u32);
    loop {
        let request = TakeDue {
            zammad: "default".into(),
            channel: Channel::CallerLog,
            limit: callers,
            now: clock.now(),
            at_once: 100,
            lease_for: Duration::from_secs(60),
        };
        let taken = store.take_due(request).await?;
        if taken.deliveries.is_empty() {
            break;
        }
        let reports = taken.deliveries.into_iter().map(|due| {
            let (store, at) = (store.clone(), clock.now());
            let outcome = Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket: None };
            tokio::spawn(
                async move { store.report(DeliveryReport { lease: due.lease, step: due.step, at, outcome }).await },
            )
        });
        for report in reports.collect::<Vec<_>>() {
            report.await??;
            reported += 1;
        }
    }
    println!("{:.0} deliveries/s taken and noted", f64::from(reported) / began.elapsed().as_secs_f64());
    store.close().await;
    Ok(())
}
