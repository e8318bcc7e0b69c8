//! What is logged: the call's tag, and nothing of a customer or of a secret, whatever comes and whatever fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use codex_e2e::jambonz::WEBHOOK_SECRET;
use codex_e2e::jambonz_webhooks::{CALL_HOOK, Call, STATUS_HOOK, Sender, recorded};
use codex_e2e::raw_http;
use codex_e2e::zammad::{API_TOKEN, Fault, ZammadServer};
use serde_json::{Value, json};

use scene::{ADMIN_TOKEN, bridge, unix_seconds, wait, wait_until_all_is_told};

const REPORT_TOKEN: &str = "report-token-0001-of-the-tests";
/// What only a customer's data holds.
const OF_CUSTOMERS: [&str; 9] = [
    "Маркер",
    "marker_client",
    "marker_session",
    "marker@example.com",
    "79035550101",
    "marker_field",
    "marker_agent",
    "marker_city",
    "marker_type",
];

fn marked(number: u64) -> Call {
    let mut call = Call::numbered(number);
    call.customer_data = json!({
        "clientId": "marker_client", "clientName": "Маркер Маркеров", "callType": "marker_type", "sessionId": "marker_session",
        "userAgent": "marker_agent", "location": {"city": "marker_city"},
        "customFields": {"email": "marker@example.com", "phone": "+79035550101", "note": "marker_field"},
    });
    call
}

#[tokio::test]
async fn nothing_of_a_customer_and_no_secret_is_logged() {
    for level in ["info", "debug"] {
        let folder = tempfile::tempdir().unwrap();
        let zammad = ZammadServer::start().await.unwrap();
        let mut bridge = bridge(&folder, &zammad)
            .with("ZAMMAD_URL", &zammad.url())
            .with("ZAMMAD_API_TOKEN", API_TOKEN)
            .with("TRUST_CUSTOMER_DATA", "true")
            .with("TICKET_CUSTOMER_CREATE", "true")
            .with("ZAMMAD_MAX_ATTEMPTS", "2")
            .with("BRIDGE_API_TOKEN", REPORT_TOKEN)
            // Nobody listens there.
            .with("UPSTREAM_CALL_HOOK", "http://127.0.0.1:1/call?key=S3CRET-of-upstream")
            .with("UPSTREAM_STATUS_HOOK", "http://127.0.0.1:1/status")
            .with("FALLBACK_VERBS_FILE", "verbs.json")
            .with("BRIDGE_LOG", level);
        bridge.start().await;
        let mut sender = Sender::to(bridge.address());

        // What goes well, what Zammad refuses with words that quote it, and what is given up.
        let mut calls: Vec<Call> = (0..20).map(marked).collect();
        zammad.set_fault_every(Some((7, Fault::status(500))));
        for call in &calls {
            let mut announcement = call.announcement();
            announcement["from"] = "+79035550101".into();
            announcement["caller_name"] = "\"Маркер\"".into();
            sender.post(CALL_HOOK, &announcement, unix_seconds()).await.unwrap();
            for mut body in call.course() {
                body["from"] = "+79035550101".into();
                assert_eq!(sender.post(STATUS_HOOK, &body, unix_seconds()).await.unwrap().status, 200);
            }
        }
        zammad.set_fault_every(None);
        let poisoned = marked(30);
        zammad.set_fault_of_call(&poisoned.sip_call_id, Some(Fault::status(422)));
        sender.post(STATUS_HOOK, &poisoned.course()[0], unix_seconds()).await.unwrap();
        let refused = |zammad: &ZammadServer| zammad.cti_requests().iter().any(|one| one.status == Some(422));
        wait(&zammad, &bridge, "the poisoned call is refused", refused).await;
        zammad.set_fault_of_call(&poisoned.sip_call_id, None);

        // What is wrong in every way.
        let odd: [Value; 5] = [
            json!(["Маркер"]),
            json!({"call_sid": "x", "customerData": "Маркер", "call_status": "marker_type"}),
            json!({"from": "Маркер"}),
            json!({"call_sid": {"Маркер": 1}, "sip": {"headers": {"X-Customer-Data": "{\"clientName\":\"Маркер\""}}}),
            json!("marker_client"),
        ];
        for body in &odd {
            for path in [CALL_HOOK, STATUS_HOOK] {
                sender.post(path, body, unix_seconds()).await.unwrap();
            }
        }
        for request in recorded() {
            for path in [CALL_HOOK, STATUS_HOOK, "/elsewhere"] {
                raw_http::exchange(bridge.address(), &request.bytes_to(path, bridge.address())).await.unwrap();
            }
        }
        let bearer = format!("Bearer {REPORT_TOKEN}");
        for body in [
            r#"{"callId":"marker-1","callStatus":"Маркер"}"#.to_owned(),
            r#"{"callId":"a b","callStatus":"trying","from":"+79035550101"}"#.to_owned(),
            json!({"callId": "kqzmwbtr-9", "callStatus": "completed", "customerData": calls[0].customer_data})
                .to_string(),
        ] {
            let headers = [("Authorization", bearer.as_str()), ("Connection", "close")];
            let request = raw_http::request("POST", "/v1/calls", &headers, body.as_bytes());
            raw_http::exchange(bridge.address(), &request).await.unwrap();
        }
        // Give back what was given up, so that everything is told.
        let admin = format!("Bearer {ADMIN_TOKEN}");
        let replay = raw_http::request(
            "POST",
            "/v1/control/replay",
            &[("Authorization", &admin), ("Content-Type", "application/json")],
            b"{}",
        );
        calls.truncate(3);
        let over = || calls.iter().all(|call| scene::has_ended(&zammad, &call.sip_call_id));
        let telling = async {
            while !over() {
                assert_eq!(raw_http::exchange(bridge.address(), &replay).await.unwrap().status, 200);
                tokio::time::sleep(10 * scene::POLL).await;
            }
        };
        assert!(tokio::time::timeout(scene::DEADLINE, telling).await.is_ok(), "{}", bridge.log());
        assert!(bridge.stop().await.is_some_and(|status| status.success()), "{}", bridge.log());

        let log = bridge.log();
        for value in OF_CUSTOMERS {
            assert!(!log.contains(value), "{level}: {value} is logged:\n{}", around(&log, value));
        }
        for secret in [API_TOKEN, REPORT_TOKEN, ADMIN_TOKEN, WEBHOOK_SECRET, "cti-token-0001", "S3CRET"] {
            assert!(!log.contains(secret), "{level}: {secret} is logged:\n{}", around(&log, secret));
        }
        assert!(!log.contains("Müller"), "{level}");
        // The call's tag ties the lines together.
        let tag = &calls[0].sip_call_id[..8];
        for words in ["a call was announced", "a status event did not reach UPSTREAM_STATUS_HOOK"] {
            assert!(log.lines().any(|line| line.contains(words) && line.contains(tag)), "{level}: {words} with {tag}");
        }
        if level == "debug" {
            let kept = |line: &str| line.contains("a status event was kept") && line.contains(tag);
            assert!(log.lines().any(kept), "{log}");
        }
    }
}

fn around(log: &str, value: &str) -> String {
    log.lines().filter(|line| line.contains(value)).take(3).collect::<Vec<_>>().join("\n")
}

/// Also proves that the scene of the other tests tells everything in the end.
#[tokio::test]
async fn a_quiet_day_logs_no_warning() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    let call = marked(1);
    let mut sender = Sender::to(bridge.address());
    sender.post(CALL_HOOK, &call.announcement(), unix_seconds()).await.unwrap();
    scene::post_course(&mut sender, &call).await;
    wait_until_all_is_told(&zammad, &bridge, &[call]).await;
    assert!(bridge.stop().await.is_some_and(|status| status.success()));
    let log = bridge.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
