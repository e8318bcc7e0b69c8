use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use codex_core_sip::random::SeededRandom;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::calls::Shown;
use super::*;
use crate::call_book::{CallFact, CallStatus, Channel, Direction, FactSource, Step, TicketMode};
use crate::clock::{SystemClock, UnixMillis};
use crate::store::{DeliveryReport, Outcome, Route, Routes, SqliteSettings, SqliteStore, TakeDue};
use crate::tally;

const TOKEN: &str = "a long enough token";
const DEADLINE: Duration = Duration::from_secs(20);

/// An admin part on a store of its own.
struct Scene {
    admin: Arc<Admin>,
    store: Arc<SqliteStore>,
    router: Router,
    _folder: TempDir,
}

async fn scene(token: Option<&str>) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { path: folder.path().join("calls.db") };
    let routes =
        Routes { routes: vec![Route { zammad: "default".into(), applications: Vec::new(), tickets: TicketMode::Off }] };
    let store = Arc::new(SqliteStore::open(&settings, routes, Arc::new(SystemClock)).await.unwrap());
    let admin = Admin::new(AdminParts {
        settings: AdminSettings { token: token.map(Into::into), allow_remote: false },
        store: Arc::clone(&store) as Arc<dyn CallStore>,
        metrics: Metrics::new(),
        clock: Arc::new(SystemClock),
        guesses: Arc::default(),
        random: Box::new(SeededRandom::new(7)),
        show: Arc::new(|record, _| Shown {
            from: record.from.clone().unwrap_or_default(),
            to: record.to.clone().unwrap_or_default(),
            record: vec!["first line".to_owned()],
        }),
        faults: Box::new(Vec::new),
        stopping: watch::channel(false).1,
        warnings: Box::new(|| {
            vec![Reason { code: "circuit_open".to_owned(), en: "refused".to_owned(), ru: "отказ".to_owned() }]
        }),
    });
    let router = admin.router();
    Scene { admin, store, router, _folder: folder }
}

struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Scene {
    fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, "127.0.0.1:8787");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    }

    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let answer = self.router.clone().oneshot(Self::request(method, target, headers, body)).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 22).await.unwrap().to_vec();
        Told { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, target: &str) -> Told {
        self.ask("GET", target, &[("authorization", "Bearer a long enough token")], "").await
    }

    /// Logs in: the cookie and the CSRF token.
    async fn log_in(&self) -> (String, String) {
        let body = json!({ "token": TOKEN }).to_string();
        let told = self.ask("POST", "/admin/login", &[("content-type", "application/json")], &body).await;
        assert_eq!(told.status, StatusCode::OK);
        let cookie = told.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        (cookie.split(';').next().unwrap().to_owned(), told.json()["csrf"].as_str().unwrap().to_owned())
    }

    async fn call(&self, call_id: &str, status: CallStatus, at: i64) -> i64 {
        let mut fact = CallFact::new(FactSource::StatusHook, UnixMillis::new(at));
        fact.sip_call_id = Some(call_id.to_owned());
        fact.call_sid = Some(format!("sid of {call_id}"));
        fact.status = Some(status);
        fact.direction = Some(Direction::Inbound);
        fact.from = Some(format!("alice of {call_id}"));
        fact.to = Some("voicebot".to_owned());
        self.store.commit(fact).await.unwrap().record.0
    }

    /// Puts the next step of every call on the dead-letter shelf.
    async fn shelve_all(&self) {
        let now = SystemClock.now();
        let request = TakeDue {
            zammad: "default".into(),
            channel: Channel::CallerLog,
            limit: 100,
            now,
            at_once: 100,
            lease_for: Duration::from_secs(60),
        };
        for due in self.store.take_due(request).await.unwrap().deliveries {
            let outcome = Outcome::Shelved { fault: "422: nobody takes this".to_owned() };
            let report = DeliveryReport { lease: due.lease, step: due.step, at: now, outcome };
            assert!(self.store.report(report).await.unwrap());
        }
    }
}

#[tokio::test]
async fn what_monitors_ask_is_open_to_all() {
    let scene = scene(None).await;
    let told = scene.ask("GET", "/healthz", &[], "").await;
    assert_eq!((told.status, told.json()["status"].as_str()), (StatusCode::OK, Some("ok")));
    let told = scene.ask("GET", "/readyz", &[], "").await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!((&told.json()["ready"], &told.json()["warnings"][0]["code"]), (&json!(true), &json!("circuit_open")));
    assert_eq!(told.json()["warnings"], json!([{"code": "circuit_open"}]), "words are for those who may look");
    let told = scene.ask("GET", "/metrics", &[], "").await;
    assert!(told.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(String::from_utf8(told.body).unwrap().lines().any(|line| line == "zammad_bridge_ready 1"));
}

#[tokio::test]
async fn a_store_that_is_closed_makes_it_unready_or_at_least_uncounted() {
    let scene = scene(Some(TOKEN)).await;
    scene.store.close().await;
    assert_eq!(scene.get("/v1/calls").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(scene.get("/metrics").await.status, StatusCode::OK);
    assert_eq!(scene.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_gets_in_without_the_token() {
    let scene = scene(Some(TOKEN)).await;
    let id = scene.call("aaaaaaaa-1", CallStatus::Trying, 1_000).await;
    let one = format!("/v1/calls/{id}");
    for (method, target) in [
        ("GET", "/v1/calls"),
        ("GET", one.as_str()),
        ("GET", "/admin/history"),
        ("GET", "/admin/events"),
        ("POST", "/admin/replay"),
        ("POST", "/admin/discard"),
    ] {
        let told = scene.ask(method, target, &[], "{\"all\":true}").await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{method} {target}");
        let told = scene.ask(method, target, &[("authorization", "Bearer wrong")], "{\"all\":true}").await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{method} {target}");
        assert!(!String::from_utf8_lossy(&told.body).contains("alice"));
        let far = [("authorization", "Bearer a long enough token"), ("x-forwarded-for", "192.0.2.1")];
        let told = scene.ask(method, target, &far, "{\"all\":true}").await;
        assert_eq!(told.status, StatusCode::FORBIDDEN, "{method} {target}");
    }
    let told = scene.ask("POST", "/admin/login", &[("content-type", "application/json")], "{\"token\":\"no\"}").await;
    assert_eq!(told.status, StatusCode::UNAUTHORIZED);
    let told = scene.ask("POST", "/admin/login", &[("content-type", "text/plain")], "{\"token\":\"no\"}").await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST, "a form of another site cannot send JSON");
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_to_this_machine_only() {
    let scene = scene(None).await;
    let told = scene.ask("GET", "/", &[], "").await;
    assert_eq!(told.status, StatusCode::OK);
    let policy = told.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let etag = told.headers[header::ETAG].to_str().unwrap();
    assert_eq!(scene.ask("GET", "/", &[("if-none-match", etag)], "").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(scene.ask("GET", "/", &[("via", "1.1 proxy")], "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(scene.ask("GET", "/admin/session", &[], "").await.json()["open"], false);
}

#[tokio::test]
async fn calls_are_listed_filtered_and_paged() {
    let scene = scene(Some(TOKEN)).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(scene.call(&format!("aaaaaaa{number}-x"), CallStatus::Trying, 1_000 + number).await);
    }
    scene.call("aaaaaaa0-x", CallStatus::InProgress, 2_000).await;
    scene.call("aaaaaaa1-x", CallStatus::Completed, 3_000).await;

    let page = scene.get("/v1/calls?limit=2").await.json();
    let listed = |page: &Value| -> Vec<i64> {
        page["calls"].as_array().unwrap().iter().map(|call| call["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(listed(&page), [ids[4], ids[3]]);
    let next = page["next_before"].as_i64().unwrap();
    let page = scene.get(&format!("/v1/calls?limit=10&before={next}")).await.json();
    assert_eq!(listed(&page), [ids[2], ids[1], ids[0]]);
    assert!(page.get("next_before").is_none());

    assert_eq!(listed(&scene.get("/v1/calls?state=answered").await.json()), [ids[0]]);
    assert_eq!(listed(&scene.get("/v1/calls?open=false").await.json()), [ids[1]]);
    assert_eq!(listed(&scene.get("/v1/calls?name=aaaaaaa3-x").await.json()), [ids[3]]);
    assert_eq!(scene.get("/v1/calls?colour=red").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(scene.get("/v1/calls?state=gone").await.status, StatusCode::BAD_REQUEST);

    let one = scene.get(&format!("/v1/calls/{}", ids[1])).await.json();
    assert_eq!((&one["state"], &one["answered_by"]), (&json!("ended"), &json!("voicebot")));
    assert_eq!(one["shown"], json!({"from": "alice of aaaaaaa1-x", "to": "voicebot", "record": ["first line"]}));
    assert_eq!(one["lanes"][0]["steps"][0], json!({"step": "new_call", "state": "pending"}));
    assert_eq!(scene.get("/v1/calls/999999").await.status, StatusCode::NOT_FOUND);
    assert_eq!(scene.get("/v1/calls/abc").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn dead_letters_are_replayed_and_discarded_by_who_is_logged_in_and_means_it() {
    let scene = scene(Some(TOKEN)).await;
    let first = scene.call("aaaaaaaa-1", CallStatus::Trying, 1_000).await;
    let second = scene.call("bbbbbbbb-1", CallStatus::Trying, 1_000).await;
    scene.shelve_all().await;
    let (cookie, csrf) = scene.log_in().await;
    let session = scene.ask("GET", "/admin/session", &[("cookie", &cookie)], "").await.json();
    assert_eq!((&session["logged_in"], &session["csrf"]), (&json!(true), &json!(csrf)));

    let body = json!({ "call": first }).to_string();
    let without = scene.ask("POST", "/admin/replay", &[("cookie", &cookie)], &body).await;
    assert_eq!(without.status, StatusCode::FORBIDDEN, "another site may make a browser send the cookie, not the token");
    let wrong = scene.ask("POST", "/admin/replay", &[("cookie", &cookie), ("x-csrf-token", "guess")], &body).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);

    let own = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    assert_eq!(scene.ask("POST", "/admin/replay", &own, &body).await.json(), json!({"lanes": 1}));
    let call = scene.get(&format!("/v1/calls/{first}")).await.json();
    assert_eq!(call["lanes"][0]["steps"][0]["state"], "pending");
    let shelved = scene.get("/v1/calls?shelved=true").await.json();
    assert_eq!(shelved["calls"].as_array().unwrap().len(), 1);
    assert_eq!(shelved["calls"][0]["lanes"][0]["last_fault"], "422: nobody takes this");

    let body = json!({"call": second, "channel": "caller_log"}).to_string();
    assert_eq!(scene.ask("POST", "/admin/discard", &own, &body).await.json(), json!({"lanes": 1}));
    assert_eq!(scene.get("/v1/calls?shelved=true").await.json()["calls"], json!([]));
    assert_eq!(scene.ask("POST", "/admin/discard", &own, "{}").await.status, StatusCode::BAD_REQUEST);

    assert_eq!(scene.ask("POST", "/admin/logout", &own, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(scene.ask("GET", "/v1/calls", &[("cookie", &cookie)], "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_page_is_told_of_changes_as_they_happen() {
    let scene = scene(Some(TOKEN)).await;
    let request = Scene::request("GET", "/admin/events", &[("authorization", "Bearer a long enough token")], "");
    let answer = scene.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = answer.into_body();
    let mut text = String::new();
    let listen = async {
        let mut called = false;
        while !(text.contains("event: figures\n") && text.contains("event: health\n") && text.contains("alice of cccc"))
        {
            let frame = body.frame().await.expect("the stream goes on").unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            if !called {
                called = true;
                scene.call("cccccccc-1", CallStatus::Trying, 1_000).await;
            }
        }
    };
    tokio::time::timeout(DEADLINE, listen).await.expect("all events come");
    assert!(text.contains("event: call\n"), "{text}");
}

#[tokio::test]
async fn a_stream_ends_when_its_session_does() {
    let scene = scene(Some(TOKEN)).await;
    let (cookie, _) = scene.log_in().await;
    let (other, _) = scene.log_in().await;
    let stream = async |cookie: &str| {
        let request = Scene::request("GET", "/admin/events", &[("cookie", cookie)], "");
        let answer = scene.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body()
    };
    let (mut own, mut others) = (stream(&cookie).await, stream(&other).await);
    own.frame().await.expect("it goes on").unwrap();
    assert_eq!(scene.ask("POST", "/admin/logout", &[("cookie", &cookie)], "").await.status, StatusCode::NO_CONTENT);
    let ending = async { while own.frame().await.is_some() {} };
    tokio::time::timeout(DEADLINE, ending).await.expect("it ends");
    let told = async {
        loop {
            let frame = others.frame().await.expect("the other one goes on").unwrap();
            if frame.data_ref().is_some_and(|data| data.starts_with(b"event: reload")) {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("it is told to look again");
}

#[tokio::test]
async fn who_guesses_tokens_is_refused_for_a_while_wherever_the_token_counts() {
    let scene = scene(Some(TOKEN)).await;
    for _ in 0..tally::MAX_WRONG {
        let told = scene.ask("GET", "/v1/calls", &[("authorization", "Bearer guess")], "").await;
        assert_eq!(told.status, StatusCode::UNAUTHORIZED);
    }
    let told = scene.get("/v1/calls").await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "the right one is not looked at either");
    assert!(told.headers.contains_key(header::RETRY_AFTER));
    let body = json!({ "token": TOKEN }).to_string();
    let told = scene.ask("POST", "/admin/login", &[("content-type", "application/json")], &body).await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn what_is_sent_to_log_in_is_bounded() {
    let scene = scene(Some(TOKEN)).await;
    let body = json!({ "token": "x".repeat(MAX_BODY_BYTES) }).to_string();
    let told = scene.ask("POST", "/admin/login", &[("content-type", "application/json")], &body).await;
    assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn streams_are_bounded_and_free_again_when_they_end() {
    let scene = scene(Some(TOKEN)).await;
    let mut open = Vec::new();
    for _ in 0..events::MAX_STREAMS {
        let request = Scene::request("GET", "/admin/events", &[("authorization", "Bearer a long enough token")], "");
        open.push(scene.router.clone().oneshot(request).await.unwrap());
    }
    assert_eq!(scene.get("/admin/events").await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(open.pop());
    let request = Scene::request("GET", "/admin/events", &[("authorization", "Bearer a long enough token")], "");
    assert_eq!(scene.router.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn history_ends_with_how_things_are_now() {
    let scene = scene(Some(TOKEN)).await;
    scene.call("aaaaaaaa-1", CallStatus::Trying, 1_000).await;
    let samples = scene.get("/admin/history").await.json();
    let last = samples.as_array().unwrap().last().unwrap();
    assert_eq!((&last["open"], &last["pending"], &last["shelved"]), (&json!(1), &json!(1), &json!(0)));
    let keeping = tokio::spawn(Arc::clone(&scene.admin).keep_history());
    let kept = async {
        while scene.get("/admin/history").await.json().as_array().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, kept).await.expect("the first sample is taken at once");
    keeping.abort();
}

/// `METHOD path` of every route in a source text that lays out routes.
fn routes_in(source: &str) -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for part in source.split(".route(").skip(1) {
        let (path, rest) = part.split_once(',').unwrap();
        let path = path.trim();
        let path = match path {
            "CALL_HOOK_PATH" => crate::receive::CALL_HOOK_PATH,
            "STATUS_HOOK_PATH" => crate::receive::STATUS_HOOK_PATH,
            "REPORTS_PATH" => crate::receive::REPORTS_PATH,
            "TOKEN_PATH" => crate::receive::TOKEN_PATH,
            "REGISTRATION_PATH" => crate::receive::REGISTRATION_PATH,
            quoted => quoted.strip_prefix('"').and_then(|path| path.strip_suffix('"')).expect("a path"),
        };
        let methods: &[&str] = match rest.trim_start().split('(').next().unwrap() {
            "get" => &["get"],
            "post" => &["post"],
            "any" => &["get", "post"],
            other => panic!("{other} of {path}"),
        };
        routes.extend(methods.iter().map(|method| format!("{method} {path}")));
    }
    routes
}

#[test]
fn every_route_is_in_the_document_and_the_reverse() {
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            documented.insert(format!("{method} {path}"));
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|some| !some.is_empty()), "{method} {path}");
        }
    }
    let own = include_str!("mod.rs");
    let received = include_str!("../receive/mod.rs");
    let controlled = include_str!("../control.rs");
    let all: BTreeSet<String> = [own, received, controlled].into_iter().flat_map(routes_in).collect();
    assert_eq!(documented, all);
    assert!(all.len() > 15, "{all:?}");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                object.values().for_each(|value| walk(value, document));
            }
            Value::Array(array) => array.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    walk(&document, &document);
    assert_eq!(document["openapi"], "3.1.0");
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            for way in operation["security"].as_array().expect("who may ask") {
                for name in way.as_object().unwrap().keys() {
                    assert!(schemes.contains_key(name), "{path}: {name}");
                }
            }
        }
    }
}

#[test]
fn the_document_says_what_a_report_looks_like() {
    use codex_core_sip::call_record::CallReport;
    let report = json!({"callId": "a", "callStatus": "completed", "direction": "inbound", "atUnixMs": 1,
        "displayFrom": "a", "displayTo": "b", "applicationName": "c", "customerData": {"callType": "webcall"},
        "applicationSid": "7087fe50-8acb-4f3b-b820-97b573723aab", "sipStatus": 486, "durationSeconds": 2});
    let report: CallReport = serde_json::from_value(report).unwrap();
    let written = serde_json::to_value(&report).unwrap();
    let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let documented = document["components"]["schemas"]["CallReport"]["properties"].as_object().unwrap();
    let written: BTreeSet<&String> = written.as_object().unwrap().keys().collect();
    assert_eq!(written, documented.keys().collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn the_document_says_what_calls_look_like() {
    let scene = scene(Some(TOKEN)).await;
    let id = scene.call("aaaaaaaa-1", CallStatus::Trying, 1_000).await;
    let call = scene.get(&format!("/v1/calls/{id}")).await.json();
    let document = scene.get("/openapi.json").await.json();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&call), keys(&schema("Call")["properties"]));
    assert!(keys(&call["call"]).is_subset(&keys(&schema("Call")["properties"]["call"]["properties"])), "{call}");
    assert!(keys(&call["lanes"][0]).is_subset(&keys(&schema("Lane")["properties"])), "{call}");
    let sample = scene.get("/admin/history").await.json()[0].clone();
    assert_eq!(keys(&sample), keys(&schema("Sample")["properties"]));
    let steps: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
    assert_eq!(schema("Lane")["properties"]["steps"]["items"]["properties"]["step"]["enum"], json!(steps));
}
