//! Short-lived SIP credentials, as a page, jambonz and somebody who guesses meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz_webhooks::Sender;
use codex_e2e::raw_http::{self, Answer};
use codex_e2e::zammad::ZammadServer;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use tempfile::TempDir;

use scene::{bridge, unix_seconds};

const PAGE: &str = "https://shop.example.com";
const REALM: &str = "acme.sip.example.com";
const APPLICATION: &str = "7087fe50-8acb-4f3b-b820-97b573723aab";
const WIDGET_SECRET: &str = "widget-secret-of-the-tests-0123456789";

async fn start(folder: &TempDir, zammad: &ZammadServer) -> Bridge {
    let mut bridge = bridge(folder, zammad)
        .with("WIDGET_ORIGINS", "https://Shop.example.com, http://localhost:5173")
        .with("WIDGET_SECRET", WIDGET_SECRET)
        .with("WIDGET_SIP_REALM", REALM)
        .with("WIDGET_APPLICATION", APPLICATION)
        .with("WIDGET_TOKENS_PER_MINUTE", "3");
    bridge.start().await;
    bridge
}

async fn ask(bridge: &Bridge, method: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [headers, &[("Connection", "close")]].concat();
    raw_http::exchange(bridge.address(), &raw_http::request(method, "/widget/token", &headers, b"")).await.unwrap()
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What jambonz asks when a device has answered its challenge (RFC 2617 §3.2.2).
fn question(method: &str, username: &str, password: &str) -> Value {
    let (nonce, cnonce, uri) = ("d41d8cd98f00", "0a4f113b", "sip:acme.sip.example.com");
    let (ha1, ha2) = (md5_hex(&format!("{username}:{REALM}:{password}")), md5_hex(&format!("{method}:{uri}")));
    json!({
        "method": method, "expires": 3600, "scheme": "digest", "username": username, "realm": REALM, "nonce": nonce, "uri": uri,
        "response": md5_hex(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")), "qop": "auth", "nc": "00000001",
        "cnonce": cnonce, "algorithm": "MD5",
    })
}

/// The same as the bridge makes it: to see what becomes of credentials whose end has come.
fn password_of(username: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(WIDGET_SECRET.as_bytes()).unwrap();
    mac.update(format!("codex-zammad-bridge SIP password\0{REALM}\0{username}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_page_gets_credentials_that_let_it_in_until_they_expire() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = start(&folder, &zammad).await;
    let given = ask(&bridge, "POST", &[("Origin", PAGE)]).await;
    assert_eq!((given.status, given.header("access-control-allow-origin")), (200, Some(PAGE)), "{}", given.text());
    assert_eq!((given.header("vary"), given.header("cache-control")), (Some("Origin"), Some("no-store")));
    let given = given.json().unwrap();
    let (username, password) = (given["username"].as_str().unwrap(), given["password"].as_str().unwrap());
    assert_eq!(password, password_of(username));
    assert!(given["expires"].as_str().unwrap().ends_with('Z'), "{given}");

    let mut jambonz = Sender::to(bridge.address());
    let mut asks = async |question: &Value| -> Value {
        let answer = jambonz.post("/jambonz/registration", question, unix_seconds()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().unwrap()
    };
    for method in ["REGISTER", "INVITE"] {
        let answer = asks(&question(method, username, password)).await;
        assert_eq!((&answer["status"], &answer["application_sid"]), (&json!("ok"), &json!(APPLICATION)), "{answer}");
        let left = answer["expires"].as_u64().unwrap();
        assert!((1..=600).contains(&left), "no longer than the credentials: {left}");
    }
    let wrong = asks(&question("REGISTER", username, "guess")).await;
    assert_eq!((&wrong["status"], &wrong["msg"]), (&json!("fail"), &json!("the password is wrong")));

    // Rightly made, and over.
    let over = format!("web-{}-abcdefghijkl", unix_seconds() - 1);
    let expired = asks(&question("REGISTER", &over, &password_of(&over))).await;
    assert_eq!((&expired["status"], &expired["msg"]), (&json!("fail"), &json!("the credentials have expired")));
    for odd in [json!([]), json!({}), json!({"username": {}}), json!("")] {
        assert_eq!(asks(&odd).await["status"], "fail", "{odd}");
    }
    // Nobody but jambonz may ask.
    let question = question("REGISTER", username, password);
    let mut forger = Sender::to(bridge.address()).signing_with("guess");
    let forged = forger.post("/jambonz/registration", &question, unix_seconds());
    assert_eq!(forged.await.unwrap().status, 401);
    assert!(bridge.stop().await.is_some_and(|status| status.success()));
    assert!(!bridge.log().contains(password) && !bridge.log().contains(WIDGET_SECRET));
}

#[tokio::test]
async fn other_pages_get_nothing_and_nobody_gets_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let bridge = start(&folder, &zammad).await;
    for headers in [
        &[][..],
        &[("Origin", "https://evil.example")],
        &[("Origin", "https://shop.example.com.evil.example")],
        &[("Origin", "null")],
    ] {
        let refused = ask(&bridge, "POST", headers).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None), "{headers:?}");
    }
    let preflight =
        ask(&bridge, "OPTIONS", &[("Origin", "http://localhost:5173"), ("Access-Control-Request-Method", "POST")])
            .await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, Some("POST")));
    assert_eq!(ask(&bridge, "GET", &[("Origin", PAGE)]).await.status, 405);
    for _ in 0..3 {
        assert_eq!(ask(&bridge, "POST", &[("Origin", PAGE)]).await.status, 200);
    }
    let refused = ask(&bridge, "POST", &[("Origin", PAGE)]).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (429, Some(PAGE)));
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn without_the_setting_there_are_no_such_routes() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = bridge(&folder, &zammad);
    bridge.start().await;
    assert_eq!(ask(&bridge, "POST", &[("Origin", PAGE)]).await.status, 404);
}
