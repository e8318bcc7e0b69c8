//! A bridge as its users run it, between jambonz' webhooks and a stand-in for Zammad.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz::WEBHOOK_SECRET;
use codex_e2e::jambonz_webhooks::{Call, STATUS_HOOK, Sender};
use codex_e2e::raw_http;
use codex_e2e::zammad::{CallState, ZammadServer};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ADMIN_TOKEN: &str = "admin-token-0001-of-the-tests";
pub(crate) const VERBS: &str = r#"[{"verb":"say","text":"hello"}]"#;
/// How long between two looks at something that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// What must happen happens in this time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the bridge under test reads the real clock")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A bridge that is not started yet, with verbs of its own, signed hooks and an admin token.
pub(crate) fn bridge(folder: &TempDir, zammad: &ZammadServer) -> Bridge {
    let verbs = folder.path().join("verbs.json");
    fs::write(&verbs, VERBS).unwrap();
    Bridge::new(Path::new(env!("CARGO_BIN_EXE_codex-zammad-bridge")), folder.path())
        .unwrap()
        .with("ZAMMAD_CTI_URL", &zammad.cti_url())
        .with("ZAMMAD_BACKOFF_MS", "20")
        .with("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .with("BRIDGE_ADMIN_TOKEN", ADMIN_TOKEN)
        .with("VERBS_FILE", &verbs.display().to_string())
}

/// Waits until the stand-in is as wanted, or tells what the bridge has logged.
pub(crate) async fn wait(zammad: &ZammadServer, bridge: &Bridge, what: &str, wanted: impl Fn(&ZammadServer) -> bool) {
    if tokio::time::timeout(DEADLINE, zammad.wait_until(wanted)).await.is_err() {
        panic!("{what}: not within {DEADLINE:?}; Zammad has {:?}\n{}", zammad.counts(), bridge.log());
    }
}

pub(crate) async fn post_course(sender: &mut Sender, call: &Call) {
    for body in call.course() {
        let answer = sender.post(STATUS_HOOK, &body, unix_seconds()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

pub(crate) async fn admin_get(bridge: &Bridge, path: &str) -> Value {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let request = raw_http::request("GET", path, &[("Authorization", &bearer)], b"");
    raw_http::exchange(bridge.address(), &request).await.unwrap().json().unwrap()
}

pub(crate) fn has_ended(zammad: &ZammadServer, call_id: &str) -> bool {
    zammad.row(call_id).is_some_and(|row| row.state == CallState::Hangup)
}

/// Waits until so many calls are over in the caller log, and nothing is left to be told.
pub(crate) async fn wait_until_all_is_told(zammad: &ZammadServer, bridge: &Bridge, calls: &[Call]) {
    let over = |zammad: &ZammadServer| calls.iter().all(|call| has_ended(zammad, &call.sip_call_id));
    wait(zammad, bridge, "the calls are over", over).await;
    let told = async {
        loop {
            let status = admin_get(bridge, "/v1/control/status").await;
            let zammads = status["backlog"]["zammads"].as_array().unwrap().clone();
            if zammads.iter().all(|one| one["lanes_pending"] == 0) {
                assert!(zammads.iter().all(|one| one["lanes_shelved"] == 0), "{status}\n{}", bridge.log());
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(DEADLINE, told).await.is_err() {
        panic!("something is left to be told\n{}", bridge.log());
    }
}
