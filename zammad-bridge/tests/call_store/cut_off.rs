//! Many at once, in processes that end at any moment: what was acknowledged is delivered in the end.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use codex_core_sip::random::{Random, SeededRandom};
use codex_zammad_bridge::call_book::{CallStatus, Channel, Step, TicketMode};
use codex_zammad_bridge::clock::Clock;
use codex_zammad_bridge::store::{DeliveryReport, Outcome};

use crate::bench::{LEASE, SqliteBench, StoreBench, T0, delivered, take, with_call_id};

/// What the model knows of a call: which facts were acknowledged, and which may be there.
#[derive(Debug, Clone, Default)]
struct ModelCall {
    sure: Vec<CallStatus>,
    maybe: Vec<CallStatus>,
    told: Vec<Step>,
    /// Reports whose answer had not come when everything was cut off: they may be on disk.
    telling: Vec<Step>,
}

const STATUSES: [CallStatus; 5] =
    [CallStatus::Trying, CallStatus::Ringing, CallStatus::InProgress, CallStatus::Completed, CallStatus::NoAnswer];

enum Event {
    Asked(usize, CallStatus),
    Committed(usize, CallStatus),
    Telling(usize, Step),
    Told(usize, Step),
}

/// Random facts and deliveries, many at once, in processes that end at any moment: what was acknowledged is delivered in
/// the end, each step once if its report was acknowledged, and always in order.
#[test]
fn the_store_keeps_to_the_model_whenever_it_is_cut_off() {
    for seed in 0..4 {
        run(seed);
    }
}

fn run(seed: u64) {
    const CALLS: u64 = 20;
    const LIVES: u64 = 6;
    let mut random = SeededRandom::new(seed);
    let bench = Arc::new(SqliteBench::new());
    let mut model = vec![ModelCall::default(); usize::try_from(CALLS).unwrap()];
    for life in 0..=LIVES {
        let last = life == LIVES;
        bench.clock.forward(LEASE * 2);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (events, seen) = mpsc::channel();
        let store = runtime.block_on(bench.open(TicketMode::Off));
        if !last {
            for _ in 0..4 {
                let mut random = SeededRandom::new(random.below(u64::MAX));
                let (store, events) = (store.clone(), events.clone());
                runtime.spawn(async move {
                    loop {
                        let call = usize::try_from(random.below(CALLS)).unwrap();
                        let status = STATUSES[usize::try_from(random.below(5)).unwrap()];
                        events.send(Event::Asked(call, status)).unwrap();
                        let fact = with_call_id(&format!("sid-{call}"), &format!("id-{call}"), status);
                        if store.commit(fact).await.is_err() {
                            return;
                        }
                        events.send(Event::Committed(call, status)).unwrap();
                    }
                });
            }
        }
        let deliverer = {
            let mut random = SeededRandom::new(random.below(u64::MAX));
            let (store, events, bench) = (store.clone(), events.clone(), bench.clone());
            runtime.spawn(async move {
                loop {
                    let taken = take(&*store, Channel::CallerLog, 3, bench.clock.now()).await;
                    if taken.deliveries.is_empty() {
                        if last {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    for due in taken.deliveries {
                        let outcome = match random.below(4) {
                            0 => Outcome::Retry {
                                at: bench.clock.now(),
                                fault: "no".to_owned(),
                                counts: true,
                                uncertain: false,
                                renewed: false,
                            },
                            1 if !last => Outcome::Released,
                            _ => delivered(),
                        };
                        let told = matches!(outcome, Outcome::Delivered { .. });
                        let report = DeliveryReport { lease: due.lease, step: due.step, at: T0, outcome };
                        let call = due.record.call_sid.as_deref().unwrap().strip_prefix("sid-").unwrap();
                        let call = call.parse().unwrap();
                        if told {
                            events.send(Event::Telling(call, due.step)).unwrap();
                        }
                        let Ok(counted) = store.report(report).await else { return };
                        assert!(counted, "nobody else holds the lease");
                        if told {
                            events.send(Event::Told(call, due.step)).unwrap();
                        }
                    }
                }
            })
        };
        drop(events);
        let mut take_in = |event: Event| match event {
            Event::Asked(call, status) => model[call].maybe.push(status),
            Event::Committed(call, status) => model[call].sure.push(status),
            Event::Telling(call, step) => model[call].telling.push(step),
            Event::Told(call, step) => {
                model[call].telling.retain(|telling| *telling != step);
                model[call].told.push(step);
            }
        };
        if last {
            runtime.block_on(deliverer).unwrap();
            runtime.block_on(store.close());
        } else {
            // Cut off after a random number of things that happened, wherever everything is then.
            for event in seen.iter().take(usize::try_from(50 + random.below(300)).unwrap()) {
                take_in(event);
            }
        }
        drop(store);
        runtime.shutdown_timeout(Duration::from_secs(10));
        seen.iter().for_each(take_in);
    }
    for (number, call) in model.iter().enumerate() {
        // A step whose acknowledgement was cut off may come once more, from the process after.
        assert!(call.told.is_sorted(), "seed {seed}, call {number}: {call:?}");
        let told = |step| call.told.contains(&step);
        let on_disk = |step| told(step) || call.telling.contains(&step);
        let sure = |status| call.sure.contains(&status);
        let maybe = |status| call.maybe.contains(&status);
        if sure(CallStatus::Trying) || sure(CallStatus::Ringing) {
            assert!(on_disk(Step::NewCall), "seed {seed}, call {number}: {call:?}");
        }
        if sure(CallStatus::Completed) || sure(CallStatus::NoAnswer) {
            assert!(on_disk(Step::Hangup), "seed {seed}, call {number}: {call:?}");
        }
        if sure(CallStatus::InProgress) && !maybe(CallStatus::NoAnswer) {
            assert!(on_disk(Step::Answer), "seed {seed}, call {number}: {call:?}");
        }
        assert!(!told(Step::NewCall) || !call.maybe.is_empty(), "seed {seed}, call {number}: {call:?}");
        assert!(
            !told(Step::Hangup) || maybe(CallStatus::Completed) || maybe(CallStatus::NoAnswer),
            "seed {seed}, call {number}: {call:?}"
        );
        for step in [Step::NewCall, Step::Answer, Step::Hangup] {
            let times = call.told.iter().filter(|told| **told == step).count();
            assert!(times <= 1, "seed {seed}, call {number}: {step:?} acknowledged {times} times");
        }
    }
}
