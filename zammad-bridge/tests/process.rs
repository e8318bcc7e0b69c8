//! The bridge as its users run it: a process between jambonz' webhooks and Zammad, with everything that goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod scene;

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use codex_core_sip::random::{Random as _, SeededRandom};
use codex_e2e::jambonz_webhooks::{CALL_HOOK, Call, STATUS_HOOK, Sender, recorded};
use codex_e2e::raw_http;
use codex_e2e::zammad::{CallState, Fault, ZammadServer};
use serde_json::json;

use scene::{ADMIN_TOKEN, DEADLINE, POLL, admin_get, bridge, has_ended, post_course, unix_seconds, wait};

const CONCURRENCY: usize = 3;

#[tokio::test]
async fn recorded_requests_become_the_row_that_an_agent_reads() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    // The recording is older than signatures may be; on loopback hooks need show none.
    let mut bridge = bridge(&folder, &zammad).with("JAMBONZ_WEBHOOK_SECRET", "").with("RECORD_LANG", "ru");
    bridge.start().await;
    let requests = recorded();
    let paths = ["/jambonz/call?x=1", STATUS_HOOK, STATUS_HOOK];
    for (request, path) in requests.iter().zip(paths) {
        let answer = raw_http::exchange(bridge.address(), &request.bytes_to(path, bridge.address())).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        if path.starts_with(CALL_HOOK) {
            let verbs = answer.json().unwrap();
            assert_eq!(verbs[0]["verb"], "tag", "{verbs}");
            assert_eq!(verbs[1], json!({"verb": "say", "text": "hello"}));
        }
    }
    wait(&zammad, &bridge, "the call is over", |zammad| has_ended(zammad, "ws-call-1")).await;
    let row = zammad.row("ws-call-1").unwrap();
    assert_eq!((row.direction.as_str(), row.from.as_str(), row.to.as_str()), ("in", "Jörg", "voicebot"));
    assert_eq!((row.comment.as_deref(), row.done), (Some("normalClearing"), true));
    assert_eq!(zammad.events_of("ws-call-1"), ["newCall", "answer", "hangup"]);
    let counts = zammad.counts();
    assert_eq!((counts.values_not_strings, counts.without_accept), (0, 0));

    // A hook that was set to GET is told what to do.
    let wrong = requests[3].bytes_to(CALL_HOOK, bridge.address());
    let answer = raw_http::exchange(bridge.address(), &wrong).await.unwrap();
    assert_eq!(answer.status, 405, "{}", answer.text());
    // The whole recording again, as a retrying hook would send it: nothing new is told.
    for (request, path) in requests.iter().zip(paths) {
        let answer = raw_http::exchange(bridge.address(), &request.bytes_to(path, bridge.address())).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert!(bridge.stop().await.is_some_and(|status| status.success()), "{}", bridge.log());
    assert_eq!(zammad.counts().cti_requests, counts.cti_requests);
    assert!(!bridge.log().contains("Müller"), "customers are not logged");
}

#[tokio::test]
async fn made_up_calls_carry_their_record_whatever_the_order_of_their_events() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    let call = Call::numbered(1);
    let answer = sender.post(CALL_HOOK, &call.announcement(), unix_seconds()).await.unwrap();
    assert_eq!(answer.json().unwrap()[0]["data"]["clientId"], "user_1", "{}", answer.text());
    let [trying, answered, completed] = call.course();
    for body in [&completed, &answered, &answered, &trying, &completed, &json!({"call_sid": "x", "call_status": "odd"})]
    {
        let answer = sender.post(STATUS_HOOK, body, unix_seconds()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    wait(&zammad, &bridge, "the call is over", |zammad| has_ended(zammad, &call.sip_call_id)).await;
    let row = zammad.row(&call.sip_call_id).unwrap();
    assert_eq!(row.from, format!("webcall:{} → voicebot", &call.sip_call_id[..8]));
    assert_eq!(row.to_comment.as_deref(), Some("Иван Иванов (user_1) · webcall · session_abc123"));
    assert_eq!(row.shown_from(), row.from, "no digit hides the tag");
    assert_eq!(zammad.events_of(&call.sip_call_id), ["newCall", "answer", "hangup"]);

    let refused = sender.post(STATUS_HOOK, &trying, unix_seconds() - 3600).await.unwrap();
    assert_eq!(refused.status, 401);
    let mut forger = Sender::to(bridge.address()).signing_with("guess");
    assert_eq!(forger.post(STATUS_HOOK, &trying, unix_seconds()).await.unwrap().status, 401);
    let listed = admin_get(&bridge, &format!("/v1/calls?name={}", call.sip_call_id)).await;
    assert_eq!(listed["calls"][0]["shown"]["from"], row.from);
    assert_eq!(listed["calls"][0]["state"], "ended");
}

#[tokio::test]
async fn an_outage_delays_and_then_everything_arrives_in_order() {
    const CALLS: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    zammad.set_up(false);
    let mut sender = Sender::to(bridge.address());
    for number in 0..CALLS {
        post_course(&mut sender, &Call::numbered(number)).await;
    }
    let ready = bridge.wait_for("/readyz", |answer| !answer.json().unwrap()["warnings"][0].is_null()).await;
    assert_eq!((ready.status, &ready.json().unwrap()["warnings"][0]["code"]), (200, &json!("zammad_away")));
    assert_eq!(zammad.rows_made(), 0);
    zammad.set_up(true);
    let all_over = |zammad: &ZammadServer| {
        zammad.rows_made() == CALLS && zammad.rows().iter().all(|row| row.state == CallState::Hangup)
    };
    wait(&zammad, &bridge, "all calls are over", all_over).await;
    for number in 0..CALLS {
        assert_eq!(zammad.events_of(&Call::numbered(number).sip_call_id), ["newCall", "answer", "hangup"]);
    }
    assert!(zammad.counts().most_at_once <= CONCURRENCY, "{:?}", zammad.counts());
    bridge.wait_for("/readyz", |answer| answer.json().unwrap()["warnings"] == json!([])).await;
}

#[tokio::test]
async fn answers_that_are_lost_are_asked_for_again_and_do_no_harm() {
    const CALLS: u64 = 25;
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_fault_every(Some((4, Fault::CutAfter)));
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    for number in 0..CALLS {
        post_course(&mut sender, &Call::numbered(number)).await;
    }
    let all_over = |zammad: &ZammadServer| {
        zammad.rows_made() == CALLS && zammad.rows().iter().all(|row| row.state == CallState::Hangup)
    };
    wait(&zammad, &bridge, "all calls are over", all_over).await;
    for number in 0..CALLS {
        let mut events = zammad.events_of(&Call::numbered(number).sip_call_id);
        events.dedup();
        assert_eq!(events, ["newCall", "answer", "hangup"]);
    }
}

#[tokio::test]
async fn a_zammad_that_refuses_is_told_of_loudly_and_nothing_is_burned() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_cti_token("another token");
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    for number in 0..20 {
        post_course(&mut sender, &Call::numbered(number)).await;
    }
    let ready = bridge.wait_for("/readyz", |answer| !answer.json().unwrap()["warnings"][0].is_null()).await;
    let warning = &ready.json().unwrap()["warnings"][0];
    assert_eq!((ready.status, &warning["code"]), (200, &json!("zammad_refuses")), "{warning}");
    assert!(warning["en"].is_null(), "anybody may ask, so nothing is told in words: {warning}");
    assert_eq!(admin_get(&bridge, "/v1/calls?shelved=true").await["calls"], json!([]), "nothing is given up");
    assert!(zammad.counts().cti_requests <= 2 * CONCURRENCY as u64, "{:?}", zammad.counts());
    assert!(!bridge.log().contains("cti-token-0001"), "no secret is logged");
}

#[tokio::test]
async fn what_cannot_be_told_of_one_call_is_shelved_and_replayed_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let poisoned = Call::numbered(1);
    zammad.set_fault_of_call(&poisoned.sip_call_id, Some(Fault::status(422)));
    let mut bridge = bridge(&folder, &zammad).with("ZAMMAD_MAX_ATTEMPTS", "2");
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    post_course(&mut sender, &poisoned).await;
    let healthy = Call::numbered(2);
    post_course(&mut sender, &healthy).await;
    wait(&zammad, &bridge, "the other call is over", |zammad| has_ended(zammad, &healthy.sip_call_id)).await;
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let shelved = raw_http::request("GET", "/v1/calls?shelved=true", &[("Authorization", &bearer)], b"");
    let id = tokio::time::timeout(DEADLINE, async {
        loop {
            let page = raw_http::exchange(bridge.address(), &shelved).await.unwrap().json().unwrap();
            if let Some(id) = page["calls"][0]["id"].as_i64() {
                return id;
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("nothing is shelved\n{}", bridge.log()));
    zammad.set_fault_of_call(&poisoned.sip_call_id, None);
    let body = json!({ "call": id }).to_string();
    let replay = raw_http::request("POST", "/admin/replay", &[("Authorization", &bearer)], body.as_bytes());
    assert_eq!(raw_http::exchange(bridge.address(), &replay).await.unwrap().json().unwrap(), json!({"lanes": 1}));
    wait(&zammad, &bridge, "the call is over", |zammad| has_ended(zammad, &poisoned.sip_call_id)).await;
}

#[tokio::test]
async fn two_bridges_never_share_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut first = bridge(&folder, &zammad);
    first.start().await;
    let other = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", first.database().display());
    let mut second = bridge(&other, &zammad).with("BRIDGE_DATABASE_URL", &database);
    second.spawn().unwrap();
    let ended = tokio::time::timeout(DEADLINE, async {
        while !second.log().contains("in use by another bridge") {
            tokio::time::sleep(POLL).await;
        }
    });
    assert!(ended.await.is_ok(), "{}", second.log());
    assert_eq!(first.get("/readyz").await.unwrap().status, 200);
}

/// Load from several connections while the bridge is killed and started again.
async fn kill_rounds(rounds: u32, seed: u64) {
    const CALLERS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_delay(Duration::from_millis(2));
    let mut bridge = bridge(&folder, &zammad).with("ZAMMAD_CONCURRENCY", &CONCURRENCY.to_string());
    bridge.start().await;
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = bridge.address();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut sender = Sender::to(address);
                let mut acknowledged = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let call = Call::numbered(next.fetch_add(1, Ordering::Relaxed));
                    for body in call.course() {
                        // As a hook with #rc does: again until it is taken.
                        while !matches!(sender.post(STATUS_HOOK, &body, unix_seconds()).await, Ok(a) if a.status == 200)
                        {
                            tokio::time::sleep(Duration::from_millis(3)).await;
                        }
                    }
                    acknowledged.push(call.sip_call_id);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                acknowledged
            })
        })
        .collect();
    let mut random = SeededRandom::new(seed);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_micros(20_000 + random.below(180_000))).await;
        bridge.kill();
        bridge.start().await;
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
    // As long as something goes on: how fast it goes is not looked at here.
    const STEPS: u64 = 100;
    while !all_over(&zammad) {
        let before = zammad.counts().cti_done;
        let goes_on = zammad.wait_until(|zammad| all_over(zammad) || zammad.counts().cti_done >= before + STEPS);
        if tokio::time::timeout(DEADLINE, goes_on).await.is_ok() {
            continue;
        }
        let missing: Vec<&String> = acknowledged.iter().filter(|call_id| !has_ended(&zammad, call_id)).collect();
        let mut known = Vec::new();
        for call_id in missing.iter().take(3) {
            known.push(admin_get(&bridge, &format!("/v1/calls?name={call_id}")).await);
        }
        panic!(
            "{} acknowledged, {} rows, not over: {missing:?}, of which the bridge knows {known:#?}",
            acknowledged.len(),
            zammad.rows_made()
        );
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
    let allowed = u64::from(rounds) * CONCURRENCY as u64;
    println!("{} calls, none lost, {repeats} repeats of {allowed} allowed in {rounds} kills", acknowledged.len());
    assert!(repeats <= allowed, "{repeats} repeats in {rounds} rounds");
    assert!(zammad.counts().most_at_once <= 2 * CONCURRENCY, "{:?}", zammad.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_killed_under_load_loses_nothing() {
    kill_rounds(5, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo xtask soak"]
async fn soak_a_bridge_that_is_killed_hundreds_of_times_loses_nothing() {
    const ROUNDS: f64 = 200.0;
    let share: f64 = std::env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 200")]
    kill_rounds((ROUNDS * share).ceil().clamp(1.0, ROUNDS) as u32, 2).await;
}

/// The bridge on a file system of its own that is soon full. Needs the right to mount, which a container may not have.
#[tokio::test]
async fn a_full_disk_stops_no_call_and_what_was_acknowledged_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=3m tmpfs {} && exec \"$@\"", small.display());
    let wrapper = ["unshare", "-m", "sh", "-c", mount.as_str(), "sh"];
    let may = std::process::Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        println!("left out: nothing may be mounted here");
        return;
    }
    let database = format!("sqlite://{}", small.join("calls.db").display());
    let mut bridge = bridge(&folder, &zammad).with("BRIDGE_DATABASE_URL", &database).started_by(&wrapper);
    bridge.start().await;
    zammad.set_up(false);
    // Seen from inside the process' own mounts.
    let inside = format!("/proc/{}/root{}", bridge.process_id().unwrap(), small.display());
    let filler = format!("{inside}/filler");
    let mut sender = Sender::to(bridge.address());
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for number in 0..400 {
        if number == 20 {
            // All that is left of it.
            let _ = fs::write(&filler, vec![0_u8; 4 << 20]);
        }
        let call = Call::numbered(number);
        for body in call.course() {
            let answer = sender.post(STATUS_HOOK, &body, unix_seconds()).await.unwrap();
            match answer.status {
                200 => acknowledged.push((call.sip_call_id.clone(), body["call_status"].clone())),
                503 => {
                    assert!(answer.header("retry-after").is_some());
                    refused += 1;
                }
                other => panic!("{other}: {}\n{}", answer.text(), bridge.log()),
            }
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5, "the disk was never full: {refused}\n{}", bridge.log());
    let ready = bridge.wait_for("/readyz", |answer| answer.status == 503).await.json().unwrap();
    assert_eq!(ready["reasons"][0]["code"], "store_disk_full", "{ready}");
    let answer = sender.post(CALL_HOOK, &Call::numbered(9_999).announcement(), unix_seconds()).await.unwrap();
    assert_eq!((answer.status, &answer.json().unwrap()[0]["verb"]), (200, &json!("tag")), "a call goes on");

    fs::remove_file(&filler).unwrap();
    // Without any traffic: it tries by itself.
    bridge.wait_for("/readyz", |answer| answer.status == 200).await;
    let last = Call::numbered(10_000);
    let taken = async {
        while sender.post(STATUS_HOOK, &last.course()[0], unix_seconds()).await.unwrap().status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, taken).await.is_ok(), "it goes on by itself\n{}", bridge.log());
    bridge.wait_for("/readyz", |answer| answer.status == 200).await;
    zammad.set_up(true);
    let told = |zammad: &ZammadServer| {
        acknowledged.iter().all(|(call_id, status)| {
            let event = match status.as_str() {
                Some("in-progress") => "answer",
                Some("completed") => "hangup",
                _ => "newCall",
            };
            zammad.events_of(call_id).iter().any(|own| own == event)
        })
    };
    wait(&zammad, &bridge, "all that was acknowledged is told", told).await;
}

#[tokio::test]
async fn a_store_that_is_no_database_is_named_never_overwritten_and_stops_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = bridge(&folder, &zammad);
    let garbage = b"this is not a database, it is a letter to somebody ".repeat(400);
    fs::write(bridge.database(), &garbage).unwrap();
    bridge.spawn().unwrap();
    let ready = bridge.wait_for("/readyz", |answer| answer.status == 503).await.json().unwrap();
    assert_eq!(ready["reasons"][0]["code"], "store_damaged", "{ready}");
    let mut sender = Sender::to(bridge.address());
    let call = Call::numbered(1);
    let answer = sender.post(CALL_HOOK, &call.announcement(), unix_seconds()).await.unwrap();
    assert_eq!((answer.status, &answer.json().unwrap()[0]["verb"]), (200, &json!("tag")), "{}", answer.text());
    let answer = sender.post(STATUS_HOOK, &call.course()[0], unix_seconds()).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.text());
    assert_eq!(fs::read(bridge.database()).unwrap(), garbage);
}
