//! The receiving side as a whole, asked as jambonz asks it; time is tokio's and stands still.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use axum::http::{HeaderValue, Method};
use axum::response::IntoResponse as _;
use codex_core_sip::metadata::CallTag;
use codex_e2e::jambonz_webhooks::recorded;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, watch};
use tower::ServiceExt as _;

use super::*;
use crate::call_book::{CallFact, CallStatus, FactSource};
use crate::clock::{TokioClock, UnixMillis};
use crate::error::{Error, Result};
use crate::housekeeping::{PROBE_INTERVAL, watch_store};
use crate::store::{
    Backlog, CallPage, CallQuery, Committed, DeliveryReport, Forgotten, Lease, RecordId, Shelf, StoreChange,
    StoreHealth, StoredCall, Swept, TakeDue, Taken, UnavailableStore,
};

const SECRET: &str = codex_e2e::jambonz::WEBHOOK_SECRET;
/// When the requests were recorded.
const RECORDED_AT: UnixMillis = UnixMillis::new(1_795_330_418_000);

/// What a [`TestStore`] does with facts.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Works,
    Hangs,
    Fails,
}

/// Keeps facts in memory, or does not. What is asked beyond that is refused.
struct TestStore {
    disk: Mutex<Disk>,
    facts: Mutex<Vec<CallFact>>,
    rest: UnavailableStore,
}

impl TestStore {
    fn new(disk: Disk) -> Arc<Self> {
        let fault = Error::StoreFailed { action: "be asked", detail: "this is a test".to_owned() };
        let rest = UnavailableStore::new(fault, UnixMillis::ZERO);
        Arc::new(Self { disk: Mutex::new(disk), facts: Mutex::default(), rest })
    }

    fn facts(&self) -> Vec<CallFact> {
        self.facts.lock().unwrap().clone()
    }
}

#[async_trait]
impl CallStore for TestStore {
    async fn commit(&self, fact: CallFact) -> Result<Committed> {
        fact.check()?;
        let disk = *self.disk.lock().unwrap();
        match disk {
            Disk::Works => {
                let mut facts = self.facts.lock().unwrap();
                let same = |kept: &CallFact| kept.aliases() == fact.aliases() && kept.status == fact.status;
                let repeat = facts.iter().any(|kept| same(kept) && kept.source == fact.source);
                facts.push(fact);
                Ok(Committed { record: RecordId(1), repeat, new_record: facts.len() == 1 })
            }
            Disk::Hangs => std::future::pending().await,
            Disk::Fails => Err(Error::StoreDiskFull { detail: "no space".to_owned() }),
        }
    }

    async fn take_due(&self, request: TakeDue) -> Result<Taken> {
        self.rest.take_due(request).await
    }

    async fn report(&self, report: DeliveryReport) -> Result<bool> {
        self.rest.report(report).await
    }

    fn may_begin(&self, lease: &Lease, ends_by: UnixMillis) -> bool {
        self.rest.may_begin(lease, ends_by)
    }

    fn due_signal(&self) -> watch::Receiver<u64> {
        self.rest.due_signal()
    }

    async fn call(&self, id: RecordId) -> Result<Option<StoredCall>> {
        self.rest.call(id).await
    }

    async fn calls(&self, query: CallQuery) -> Result<CallPage> {
        self.rest.calls(query).await
    }

    async fn replay(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.rest.replay(shelf, now).await
    }

    async fn discard(&self, shelf: Shelf, now: UnixMillis) -> Result<u64> {
        self.rest.discard(shelf, now).await
    }

    async fn reap(&self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64> {
        self.rest.reap(silent_since, now, limit).await
    }

    async fn sweep(&self, ended_before: UnixMillis, limit: usize) -> Result<Swept> {
        self.rest.sweep(ended_before, limit).await
    }

    async fn forget(&self, client_id: &str) -> Result<Forgotten> {
        self.rest.forget(client_id).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.rest.backlog().await
    }

    fn changes(&self) -> broadcast::Receiver<StoreChange> {
        self.rest.changes()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Working
    }

    async fn probe(&self) -> Result<()> {
        let disk = *self.disk.lock().unwrap();
        match disk {
            Disk::Works => Ok(()),
            Disk::Hangs => std::future::pending().await,
            Disk::Fails => Err(Error::StoreDiskFull { detail: "no space".to_owned() }),
        }
    }

    fn schema_version(&self) -> u32 {
        1
    }

    async fn close(&self) {}
}

/// An application that answers as it is told and remembers what it was asked.
struct Application {
    answer: Mutex<Option<Result<HookAnswer, UpstreamFault>>>,
    asked: Mutex<Vec<HookRequest>>,
    open: watch::Sender<bool>,
    finished: Notify,
    count: AtomicUsize,
}

impl Application {
    fn answering(status: u16, body: &str) -> Arc<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
        let status = StatusCode::from_u16(status).unwrap();
        Self::told(Some(Ok(HookAnswer { status, headers, body: Bytes::from(body.to_owned()) })))
    }

    /// `None` never answers.
    fn told(answer: Option<Result<HookAnswer, UpstreamFault>>) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            asked: Mutex::default(),
            open: watch::Sender::new(true),
            finished: Notify::new(),
            count: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl UpstreamHook for Application {
    async fn post(&self, request: HookRequest) -> Result<HookAnswer, UpstreamFault> {
        self.asked.lock().unwrap().push(request);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        let answer = self.answer.lock().unwrap().clone();
        self.count.fetch_add(1, SeqCst);
        self.finished.notify_one();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn settings() -> ReceiveSettings {
    ReceiveSettings {
        keys: HookKeys::known(HookAuthentication::new(vec![SECRET.into()], None)),
        upstream: None,
        upstream_call_limit: UPSTREAM_CALL_LIMIT,
        proxy: None,
        fallback_verbs: None,
        verbs: None,
        api_tokens: Vec::new(),
        names: None,
        names_decide_routes: false,
        widget: None,
    }
}

fn receiver_with(settings: ReceiveSettings, store: &Arc<TestStore>, forwarder: Option<StatusForwarder>) -> Receiver {
    let clock = Arc::new(TokioClock::starting_at(RECORDED_AT));
    let store: Arc<dyn CallStore> = store.clone();
    Receiver::new(settings, store, clock, Metrics::new(), forwarder)
}

/// A request and its answer: status, headers, body.
async fn ask(receiver: &Receiver, request: Request) -> (u16, HeaderMap, String) {
    let app = receiver.pass_on_the_rest(receiver.routes());
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let mut request = axum::http::Request::builder().method(Method::POST).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A hook's request, signed now.
fn signed(path: &str, body: &str) -> Request {
    let now = u64::try_from(RECORDED_AT.as_seconds()).unwrap();
    let signature = jambonz_signature(&SECRET.into(), now, body.as_bytes());
    post(path, &[("Jambonz-Signature", &signature)], body.to_owned())
}

/// The recorded call_hook, as it was sent, to our path.
fn recorded_request(index: usize, path: &str) -> Request {
    let request = &recorded()[index];
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut made = post(path, &headers, request.body.clone());
    *made.method_mut() = request.method.parse().unwrap();
    made
}

fn verbs_of(body: &str) -> Vec<String> {
    let verbs: Vec<Value> = serde_json::from_str(body).unwrap();
    verbs.iter().map(|verb| verb["verb"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_recorded_requests_are_let_in_kept_and_passed_on_byte_for_byte() {
    let application = Application::answering(200, r#"[{"verb":"gather","actionHook":"/gather"}]"#);
    let store = TestStore::new(Disk::Works);
    let receiver = receiver_with(ReceiveSettings { upstream: Some(application.clone()), ..settings() }, &store, None);

    let (status, headers, body) = ask(&receiver, recorded_request(0, "/jambonz/call?x=1")).await;
    assert_eq!(status, 200);
    let verbs: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!((verbs.len(), &verbs[1]), (2, &json!({"verb": "gather", "actionHook": "/gather"})));
    assert_eq!(verbs[0]["data"]["name"], "Müller, Jörg 👋");
    assert_eq!(headers.get(header::ETAG), None, "the body is another one");
    for (index, path) in [(1, "/jambonz/status"), (2, "/jambonz/status")] {
        let (status, _, body) = ask(&receiver, recorded_request(index, path)).await;
        assert_eq!((status, body.as_str()), (200, ""));
    }
    let facts = store.facts();
    let told: Vec<_> = facts.iter().map(|fact| (fact.source, fact.status)).collect();
    assert_eq!(
        told,
        [
            (FactSource::CallHook, Some(CallStatus::Trying)),
            (FactSource::StatusHook, Some(CallStatus::InProgress)),
            (FactSource::StatusHook, Some(CallStatus::Completed)),
        ]
    );
    assert!(facts.iter().all(|fact| fact.sip_call_id.as_deref() == Some("ws-call-1")));

    let asked = application.asked.lock().unwrap();
    let recorded = &recorded()[0];
    assert_eq!((asked.len(), asked[0].query.as_deref()), (1, Some("x=1")));
    assert_eq!(&asked[0].body[..], &recorded.body[..]);
    for name in ["Jambonz-Signature", "Authorization", "b3", "content-type", "user-agent"] {
        assert_eq!(asked[0].headers[name], recorded.header(name).unwrap(), "{name}");
    }
    for name in ["host", "connection", "content-length"] {
        assert_eq!(asked[0].headers.get(name), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_within_the_tolerance_is_let_in_and_a_late_one_is_not() {
    let store = TestStore::new(Disk::Works);
    let receiver = receiver_with(settings(), &store, None);
    for _ in 0..2 {
        assert_eq!(ask(&receiver, recorded_request(1, "/jambonz/status")).await.0, 200);
    }
    tokio::time::advance(Duration::from_secs(SIGNATURE_TOLERANCE_SECONDS + 1)).await;
    let (status, _, body) = ask(&receiver, recorded_request(1, "/jambonz/status")).await;
    assert!(status == 401 && body.contains("clocks"), "{status} {body}");
    assert_eq!(store.facts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_callers_get_when_the_application_answers_or_fails() {
    let fault = UpstreamFault::Unreachable { host: "a:1".to_owned(), problem: "refused".to_owned() };
    let say = r#"[{"verb":"say"}]"#;
    // What the application does; status and verbs without and with fallback verbs.
    type Case =
        (&'static str, Arc<Application>, (u16, Option<&'static [&'static str]>), (u16, &'static [&'static str]));
    let cases: [Case; 8] = [
        ("verbs", Application::answering(200, say), (200, Some(&["tag", "say"])), (200, &["tag", "say"])),
        ("202", Application::answering(202, say), (202, Some(&["tag", "say"])), (202, &["tag", "say"])),
        ("nothing", Application::answering(200, "[]"), (200, Some(&[])), (200, &[])),
        ("a redirect", Application::answering(302, ""), (302, None), (200, &["tag", "play", "hangup"])),
        ("not found", Application::answering(404, "x"), (404, None), (200, &["tag", "play", "hangup"])),
        ("trouble", Application::answering(500, say), (500, Some(&["say"])), (200, &["tag", "play", "hangup"])),
        ("nobody", Application::told(Some(Err(fault))), (502, None), (200, &["tag", "play", "hangup"])),
        ("silence", Application::told(None), (504, None), (200, &["tag", "play", "hangup"])),
    ];
    for (what, application, (status_without, verbs_without), (status_with, verbs_with)) in cases {
        for fallback in [None, Some(Bytes::from_static(br#"[{"verb":"play"},{"verb":"hangup"}]"#))] {
            let store = TestStore::new(Disk::Works);
            let with_fallback = fallback.is_some();
            let upstream: Arc<dyn UpstreamHook> = application.clone();
            let settings = ReceiveSettings { upstream: Some(upstream), fallback_verbs: fallback, ..settings() };
            let receiver = receiver_with(settings, &store, None);
            let began = receiver.clock.now();
            let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
            let took = receiver.clock.now().saturating_since(began);
            if with_fallback {
                assert_eq!(
                    (status, verbs_of(&body)),
                    (status_with, verbs_with.iter().map(|v| (*v).to_owned()).collect()),
                    "{what}"
                );
            } else {
                assert_eq!(status, status_without, "{what}");
                if let Some(verbs) = verbs_without {
                    assert_eq!(verbs_of(&body), verbs, "{what}");
                }
            }
            let limit = if what == "silence" { UPSTREAM_CALL_LIMIT } else { Duration::ZERO };
            assert!(took >= limit && took <= limit + Duration::from_millis(5), "{what}: {took:?}");
            assert_eq!(store.facts().len(), 1, "{what}: kept in any case");
        }
    }
    // An empty answer stays empty to the last byte.
    for body in ["", " [ ] "] {
        let upstream: Arc<dyn UpstreamHook> = Application::answering(200, body);
        let receiver = receiver_with(
            ReceiveSettings { upstream: Some(upstream), ..settings() },
            &TestStore::new(Disk::Works),
            None,
        );
        assert_eq!(ask(&receiver, recorded_request(0, "/jambonz/call")).await.2, body);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_application_there_are_verbs_of_our_own_or_a_remedy() {
    let store = TestStore::new(Disk::Works);
    let verbs = Some(Bytes::from_static(br#"[{"verb":"hangup"}]"#));
    let receiver = receiver_with(ReceiveSettings { verbs, ..settings() }, &store, None);
    let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
    assert_eq!((status, verbs_of(&body)), (200, vec!["tag".to_owned(), "hangup".to_owned()]));
    let receiver = receiver_with(settings(), &store, None);
    let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
    assert!(status == 503 && body.contains("UPSTREAM_CALL_HOOK"), "{body}");
    let (status, _, body) = ask(&receiver, post("/gather", &[], "{}")).await;
    assert!(status == 404 && body.contains("/jambonz/call"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_stops_no_call() {
    for (disk, took) in [(Disk::Fails, Duration::ZERO), (Disk::Hangs, STORE_GRACE)] {
        let store = TestStore::new(disk);
        let upstream: Arc<dyn UpstreamHook> = Application::answering(200, r#"[{"verb":"say"}]"#);
        let receiver = receiver_with(ReceiveSettings { upstream: Some(upstream), ..settings() }, &store, None);
        let began = receiver.clock.now();
        let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
        assert_eq!((status, verbs_of(&body)), (200, vec!["tag".to_owned(), "say".to_owned()]));
        assert!(receiver.clock.now().saturating_since(began) <= took + Duration::from_millis(5));
        assert!(receiver.store_watch.failing_since().is_some(), "/readyz turns red");

        // A status event is refused, so that who can repeat it does.
        let (status, headers, _) = ask(&receiver, recorded_request(1, "/jambonz/status")).await;
        assert_eq!((status, headers[header::RETRY_AFTER].to_str().unwrap()), (503, "5"));

        *store.disk.lock().unwrap() = Disk::Works;
        assert_eq!(ask(&receiver, recorded_request(2, "/jambonz/status")).await.0, 200);
        assert_eq!(receiver.store_watch.failing_since(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_works_again_is_noticed_without_traffic() {
    let store = TestStore::new(Disk::Fails);
    let verbs = Some(Bytes::from_static(b"[]"));
    let receiver = receiver_with(ReceiveSettings { verbs, ..settings() }, &store, None);
    let shared: Arc<dyn CallStore> = store.clone();
    let watching = tokio::spawn(watch_store(shared, receiver.clone(), Arc::clone(&receiver.clock)));
    assert_eq!(ask(&receiver, recorded_request(0, "/jambonz/call")).await.0, 200);
    tokio::time::sleep(3 * PROBE_INTERVAL).await;
    assert!(receiver.store_watch.failing_since().is_some(), "it still fails");
    *store.disk.lock().unwrap() = Disk::Works;
    tokio::time::sleep(PROBE_INTERVAL + Duration::from_millis(1)).await;
    assert_eq!(receiver.store_watch.failing_since(), None);
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn while_the_secret_is_being_fetched_calls_go_on_and_status_events_wait() {
    let store = TestStore::new(Disk::Works);
    let upstream: Arc<dyn UpstreamHook> = Application::answering(200, r#"[{"verb":"say"}]"#);
    let keys = HookKeys::unknown();
    let settings = ReceiveSettings { upstream: Some(upstream), keys: keys.clone(), ..settings() };
    let receiver = receiver_with(settings, &store, None);
    let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
    assert_eq!((status, verbs_of(&body)), (200, vec!["tag".to_owned(), "say".to_owned()]));
    assert_eq!(ask(&receiver, recorded_request(1, "/jambonz/status")).await.0, 503);
    assert_eq!(store.facts().len(), 0, "nothing is kept of who is not known");
    keys.learn(HookAuthentication::new(vec![SECRET.into()], None));
    assert_eq!(ask(&receiver, recorded_request(1, "/jambonz/status")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_hook_of_jambonz_is_refused_with_a_remedy() {
    let store = TestStore::new(Disk::Works);
    let receiver = receiver_with(settings(), &store, None);
    for path in ["/jambonz/call", "/jambonz/status"] {
        let (status, headers, body) = ask(&receiver, recorded_request(3, path)).await;
        assert_eq!((status, headers[header::ALLOW].to_str().unwrap()), (405, "POST"), "{path}");
        assert!(body.contains("POST"), "{body}");
        let (status, _, body) = ask(&receiver, post(path, &[], "{}")).await;
        assert!(status == 401 && body.contains("Jambonz-Signature"), "{path}: {body}");
        let now = u64::try_from(RECORDED_AT.as_seconds()).unwrap();
        let signature = jambonz_signature(&SECRET.into(), now, b"");
        let signature = [("Jambonz-Signature", signature.as_str())];
        let (status, _, _) = ask(&receiver, post(path, &signature, vec![b' '; MAX_BODY_BYTES + 1])).await;
        assert_eq!(status, 413, "{path}");
        let endless = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(ask(&receiver, post(path, &signature, endless())).await.0, 408, "{path}");
        // What the headers tell is told without waiting for a body that never comes.
        let old = jambonz_signature(&SECRET.into(), now - SIGNATURE_TOLERANCE_SECONDS - 1, b"");
        for headers in [vec![], vec![("Jambonz-Signature", "t=1")], vec![("Jambonz-Signature", old.as_str())]] {
            let began = receiver.clock.now();
            assert_eq!(ask(&receiver, post(path, &headers, endless())).await.0, 401, "{path}: {headers:?}");
            assert_eq!(receiver.clock.now(), began, "{path}: {headers:?}");
        }
    }
    for body in ["[]", "{", "", r#"{"call_status":"completed"}"#] {
        assert_eq!(ask(&receiver, signed("/jambonz/status", body)).await.0, 400, "{body}");
    }
    assert_eq!(store.facts().len(), 0);
    // What is unknown or odd is taken all the same.
    for body in [r#"{"call_sid":"s","call_status":"levitating"}"#, r#"{"call_sid":7,"direction":[]}"#] {
        assert_eq!(ask(&receiver, signed("/jambonz/status", body)).await.0, 200, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_hook_that_cannot_be_read_reaches_the_application_all_the_same() {
    let application = Application::answering(200, r#"[{"verb":"say"}]"#);
    let store = TestStore::new(Disk::Works);
    let receiver = receiver_with(ReceiveSettings { upstream: Some(application.clone()), ..settings() }, &store, None);
    let (status, _, body) = ask(&receiver, signed("/jambonz/call", "no JSON")).await;
    assert_eq!((status, body.as_str()), (200, r#"[{"verb":"say"}]"#));
    assert_eq!(&application.asked.lock().unwrap()[0].body[..], b"no JSON");
    // A call without any identity has no record, but its verbs.
    let (status, _, body) = ask(&receiver, signed("/jambonz/call", "{}")).await;
    assert_eq!((status, verbs_of(&body).len(), store.facts().len()), (200, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn status_events_are_passed_on_in_order_without_making_jambonz_wait() {
    let application = Application::answering(200, "");
    application.open.send_replace(false);
    let upstream: Arc<dyn UpstreamHook> = application.clone();
    let metrics = Metrics::new();
    let (forwarder, tasks) = StatusForwarder::start(&upstream, &metrics);
    let store = TestStore::new(Disk::Works);
    let receiver = receiver_with(settings(), &store, Some(forwarder));
    for index in [1, 2] {
        assert_eq!(ask(&receiver, recorded_request(index, "/jambonz/status?a=b")).await.0, 200);
    }
    assert_eq!(application.count.load(SeqCst), 0, "the application has not answered yet");
    application.open.send_replace(true);
    receiver.stop_forwarding();
    tasks.finish().await;
    let asked = application.asked.lock().unwrap();
    let bodies: Vec<&[u8]> = asked.iter().map(|request| &request.body[..]).collect();
    assert_eq!(bodies, [&recorded()[1].body[..], &recorded()[2].body[..]]);
    assert_eq!(asked[0].query.as_deref(), Some("a=b"));
    assert_eq!(asked[0].headers["Jambonz-Signature"], recorded()[1].header("Jambonz-Signature").unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slow_application_is_bounded() {
    let application = Application::answering(200, "");
    application.open.send_replace(false);
    let upstream: Arc<dyn UpstreamHook> = application.clone();
    let (forwarder, tasks) = StatusForwarder::start(&upstream, &Metrics::new());
    let tag = CallTag::from_call_id("kqzmwbtr-1");
    let request = HookRequest { query: None, headers: HeaderMap::new(), body: Bytes::new() };
    for _ in 0..FORWARD_QUEUE_EVENTS + 50 {
        forwarder.forward("one call", &tag, request.clone());
    }
    application.open.send_replace(true);
    drop(forwarder);
    tasks.finish().await;
    assert_eq!(application.count.load(SeqCst), FORWARD_QUEUE_EVENTS);
}

#[tokio::test(start_paused = true)]
async fn reports_need_a_token_and_a_schema() {
    let store = TestStore::new(Disk::Works);
    let closed = receiver_with(settings(), &store, None);
    let report = r#"{"callId":"kqzmwbtr-1","callStatus":"trying","customerData":{"callType":"webcall"}}"#;
    let (status, _, body) = ask(&closed, post("/v1/calls", &[("authorization", "Bearer ")], report)).await;
    assert!(status == 403 && body.contains("BRIDGE_API_TOKEN"), "{body}");

    let receiver =
        receiver_with(ReceiveSettings { api_tokens: vec!["one".into(), "two".into()], ..settings() }, &store, None);
    for (token, body, expected) in [
        ("Bearer three", report, 401),
        ("Basic one", report, 401),
        ("Bearer two", "{", 400),
        ("Bearer two", r#"{"callId":"a","callStatus":"levitating"}"#, 400),
        ("Bearer two", r#"{"callId":"a","callStatus":"trying","customerData":{}}"#, 400),
        ("Bearer one", report, 201),
        ("Bearer two", report, 200),
    ] {
        let (status, _, answer) = ask(&receiver, post("/v1/calls", &[("authorization", token)], body)).await;
        assert_eq!(status, expected, "{token} {body}: {answer}");
    }
    assert_eq!(store.facts().len(), 2);
    *store.disk.lock().unwrap() = Disk::Fails;
    let (status, headers, _) = ask(&receiver, post("/v1/calls", &[("authorization", "Bearer one")], report)).await;
    assert!(status == 503 && headers.contains_key(header::RETRY_AFTER));
}

/// An application over HTTP whose answers lead from one relative hook to the next.
async fn application_over_http() -> url::Url {
    async fn verbs(request: Request) -> Response {
        let next = match request.uri().path() {
            "/app/call" => json!([{"verb": "gather", "actionHook": "/gather?step=1"}]),
            "/gather" => json!([{"verb": "gather", "actionHook": "/deeper/second"}]),
            "/deeper/second" => json!([{"verb": "hangup"}]),
            "/" => json!([{"verb": "root"}]),
            "/echo" => {
                let (parts, body) = request.into_parts();
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
                for name in [
                    "jambonz-signature",
                    "x-hop",
                    "content-length",
                    "accept-encoding",
                    "via",
                    "cookie",
                    "authorization",
                ] {
                    if let Some(value) = parts.headers.get(name) {
                        let echoed = axum::http::HeaderName::from_bytes(format!("echo-{name}").as_bytes()).unwrap();
                        response.headers_mut().insert(echoed, value.clone());
                    }
                }
                for cookie in ["zammad_bridge_session=theirs; Path=/", " =zammad_bridge_session=theirs", "own=1"] {
                    response.headers_mut().append("set-cookie", HeaderValue::from_static(cookie));
                }
                response.headers_mut().insert("content-security-policy", HeaderValue::from_static("img-src 'self'"));
                let target = parts.uri.path_and_query().unwrap().as_str();
                response.headers_mut().insert("echo-target", HeaderValue::from_str(target).unwrap());
                response.headers_mut().insert("echo-method", HeaderValue::from_str(parts.method.as_str()).unwrap());
                return response;
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        axum::Json(next).into_response()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(verbs))).await });
    format!("http://{address}/app/call?key=v").parse().unwrap()
}

/// A receiver before that application. Real sockets, so real time; nothing waits for it.
async fn before_application() -> Receiver {
    let url = application_over_http().await;
    let upstream: Arc<dyn UpstreamHook> =
        Arc::new(HttpUpstreamHook::new("UPSTREAM_CALL_HOOK", url.clone(), None).unwrap());
    let proxy = Proxy::new("UPSTREAM_CALL_HOOK", &url, None).unwrap().keeping_back(vec!["S3CRET-admin".into()]);
    let proxy = Some(proxy);
    receiver_with(ReceiveSettings { upstream: Some(upstream), proxy, ..settings() }, &TestStore::new(Disk::Works), None)
}

#[tokio::test]
async fn relative_hooks_lead_to_the_application_two_hooks_deep() {
    let receiver = before_application().await;
    let (status, _, body) = ask(&receiver, recorded_request(0, "/jambonz/call")).await;
    assert_eq!((status, verbs_of(&body)), (200, vec!["tag".to_owned(), "gather".to_owned()]));
    let mut verbs: Vec<Value> = serde_json::from_str(&body).unwrap();
    let mut seen = Vec::new();
    while let Some(hook) = verbs.last().and_then(|verb| verb["actionHook"].as_str()) {
        seen.push(hook.to_owned());
        let (status, _, body) = ask(&receiver, post(&seen[seen.len() - 1], &[], "{}")).await;
        assert_eq!(status, 200);
        verbs = serde_json::from_str(&body).unwrap();
    }
    assert_eq!(seen, ["/gather?step=1", "/deeper/second"]);
    assert_eq!(verbs, [json!({"verb": "hangup"})]);
    // Where the bridge has a path for another method alone, the application's is reached.
    let with_page = receiver.routes().route("/", axum::routing::get(|| async { "page" }));
    let answer = receiver.pass_on_the_rest(with_page).oneshot(post("/", &[], "{}")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), r#"[{"verb":"root"}]"#);
}

#[tokio::test]
async fn the_proxy_changes_nothing_but_headers_of_the_connection() {
    let receiver = before_application().await;
    let body: String = "я".repeat(400_000);
    let headers =
        [("jambonz-signature", "t=1,v1=00"), ("connection", "x-hop"), ("x-hop", "1"), ("content-length", "800000")];
    let mut request = post("/echo?a=%D0%AF&b=/../c", &headers, body.clone());
    *request.method_mut() = Method::PUT;
    let (status, headers, echoed) = ask(&receiver, request).await;
    assert_eq!(status, 418);
    assert_eq!(echoed, body);
    let echo = |name: &str| headers.get(format!("echo-{name}")).map(|value| value.to_str().unwrap());
    assert_eq!(echo("target"), Some("/echo?a=%D0%AF&b=/../c"));
    assert_eq!((echo("method"), echo("jambonz-signature")), (Some("PUT"), Some("t=1,v1=00")));
    assert_eq!((echo("x-hop"), echo("content-length"), echo("accept-encoding")), (None, Some("800000"), None));
    assert_eq!(echo("via"), Some("1.1 codex-zammad-bridge"));
}

#[tokio::test]
async fn the_application_shares_the_origin_of_the_admin_page_but_neither_its_session_nor_its_rights() {
    let receiver = before_application().await;
    for (cookie, authorization, cookie_there, authorization_there) in [
        ("a=1; zammad_bridge_session=S3CRET;b=2", "Bearer S3CRET-admin", Some("a=1;b=2"), None),
        ("zammad_bridge_session=S3CRET", "Basic dTpw", None, Some("Basic dTpw")),
        ("zammad_bridge_session_2=x", "Bearer other", Some("zammad_bridge_session_2=x"), Some("Bearer other")),
    ] {
        let request = post("/echo", &[("cookie", cookie), ("authorization", authorization)], "{}");
        let (_, headers, _) = ask(&receiver, request).await;
        let echo = |name: &str| headers.get(format!("echo-{name}")).map(|value| value.to_str().unwrap());
        assert_eq!((echo("cookie"), echo("authorization")), (cookie_there, authorization_there), "{cookie}");
        let all = |name: &str| Vec::from_iter(headers.get_all(name).iter().map(|value| value.to_str().unwrap()));
        assert_eq!(all("set-cookie"), ["own=1"]);
        assert_eq!(all("content-security-policy"), ["img-src 'self'", "sandbox"]);
        assert_eq!(all("x-content-type-options"), ["nosniff"]);
    }
}

#[tokio::test]
async fn what_must_not_be_passed_on_is_refused() {
    let receiver = before_application().await;
    for (path, headers, expected) in [
        ("/echo", vec![("via", "1.0 fred, 1.1 codex-zammad-bridge")], 508),
        ("/jambonz/call", vec![("via", "1.1 codex-zammad-bridge")], 508),
        ("/echo", vec![("upgrade", "websocket"), ("connection", "upgrade")], 501),
        ("/unknown", vec![], 404),
        ("//evil.example/echo", vec![], 404),
    ] {
        let mut request = signed(path, "{}");
        for (name, value) in headers {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(ask(&receiver, request).await.0, expected, "{path}");
    }
    // Nobody listens there any more.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}/", closed.local_addr().unwrap()).parse().unwrap();
    drop(closed);
    let proxy = Some(Proxy::new("UPSTREAM_CALL_HOOK", &url, None).unwrap());
    let receiver = receiver_with(ReceiveSettings { proxy, ..settings() }, &TestStore::new(Disk::Works), None);
    let (status, _, body) = ask(&receiver, post("/gather", &[], "{}")).await;
    assert!(status == 502 && body.contains("UPSTREAM_CALL_HOOK"), "{body}");
}
