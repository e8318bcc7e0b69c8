//! Delivery by HTTP from the store on disk to something that answers as Zammad does, or as it does when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use codex_core_sip::metadata::CustomerData;
use codex_core_sip::random::{Random, SeededRandom};
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, FactSource};
use codex_zammad_bridge::clock::{Clock, SystemClock};
use codex_zammad_bridge::delivery::{
    CircuitState, CtiEvent, CtiEventKind, CtiReply, CustomerSearch, DeliveryFault, Dispatcher, FaultScope, HttpZammad,
    NewTicket, TicketNote, Zammad, ZammadSettings,
};
use codex_zammad_bridge::metrics::Metrics;
use codex_zammad_bridge::store::{
    CallQuery, CallStore, RecordId, Routes, Shelf, SqliteSettings, SqliteStore, StepState, TicketId,
};
use support::{Came, Receiver};

struct Setup {
    _folder: tempfile::TempDir,
    store: Arc<dyn CallStore>,
    clock: Arc<dyn Clock>,
    settings: ZammadSettings,
    dispatcher: Option<Dispatcher>,
}

impl Setup {
    async fn new(receiver: &Receiver, change: impl FnOnce(&mut ZammadSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = ZammadSettings {
            backoff_initial: Duration::from_millis(2),
            backoff_cap: Duration::from_millis(20),
            ..ZammadSettings::new("default", receiver.cti_url().into())
        };
        change(&mut settings);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let file = SqliteSettings { path: folder.path().join("calls.db") };
        let store = SqliteStore::open(&file, Routes { routes: vec![settings.route()] }, clock.clone()).await.unwrap();
        Self { _folder: folder, store: Arc::new(store), clock, settings, dispatcher: None }
    }

    fn start(&mut self) {
        let zammad: Arc<dyn Zammad> = Arc::new(HttpZammad::new(&self.settings, self.clock.clone()).unwrap());
        let zammads = vec![(self.settings.clone(), zammad)];
        let random = || -> Box<dyn Random> { Box::new(SeededRandom::new(1)) };
        self.dispatcher = Some(Dispatcher::start(zammads, &self.store, &self.clock, &Metrics::new(), random));
    }

    async fn commit(&self, call_sid: &str, status: CallStatus) -> RecordId {
        let mut fact = CallFact::new(FactSource::StatusHook, self.clock.now());
        fact.call_sid = Some(call_sid.to_owned());
        fact.status = Some(status);
        self.store.commit(fact).await.unwrap().record
    }

    /// Waits until nothing is left to deliver.
    async fn drained(&self) {
        let mut changes = self.store.changes();
        let all_done = async {
            while self.store.backlog().await.unwrap().zammads.iter().any(|zammad| zammad.lanes_pending > 0) {
                let _ = changes.recv().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_done).await.expect("everything is delivered in time");
    }
}

fn events(came: &[Came], call: &str) -> Vec<(String, u16)> {
    let own = came.iter().filter(|came| came.call_id == call);
    own.map(|came| (came.event.clone(), came.status)).collect()
}

fn expected(events: &[(&str, u16)]) -> Vec<(String, u16)> {
    events.iter().map(|(event, status)| ((*event).to_owned(), *status)).collect()
}

async fn assert_nothing_shelved(store: &dyn CallStore) {
    let shelved = store.calls(CallQuery { shelved: true, limit: 9, ..CallQuery::default() }).await.unwrap();
    assert!(shelved.calls.is_empty(), "{:?}", shelved.calls);
}

const ALL: [CallStatus; 3] = [CallStatus::Trying, CallStatus::InProgress, CallStatus::Completed];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_told_in_order_and_three_at_a_time_at_most() {
    let receiver = Receiver::replying(Duration::from_millis(2), |_, _| None);
    let mut setup = Setup::new(&receiver, |_| {}).await;
    setup.start();
    for status in ALL {
        for call in 0..30 {
            setup.commit(&format!("call-{call}"), status).await;
        }
    }
    setup.drained().await;
    setup.dispatcher.take().unwrap().stop().await;
    assert!(receiver.most_at_once() <= 3);
    let came = receiver.came();
    assert_eq!(came.len(), 90);
    for call in 0..30 {
        let all = expected(&[("newCall", 200), ("answer", 200), ("hangup", 200)]);
        assert_eq!(events(&came, &format!("call-{call}")), all);
    }
    assert!(came.iter().all(|came| came.parameters.values().all(serde_json::Value::is_string)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_sees_is_what_is_sent() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(&receiver, |_| {}).await;
    let mut fact = CallFact::new(FactSource::CallHook, setup.clock.now());
    fact.call_sid = Some("sid-1".to_owned());
    fact.sip_call_id = Some("abc12345-7087".to_owned());
    fact.application_name = Some("voicebot".to_owned());
    let data = CustomerData::new("webcall").client_id("user_12345").client_name("Иван Иванов");
    fact.customer_data = Some(data.session_id("session_abc123"));
    setup.store.commit(fact).await.unwrap();
    setup.commit("sid-1", CallStatus::Completed).await;
    setup.start();
    setup.drained().await;
    let came = receiver.came();
    let sent: Vec<String> =
        came.iter().map(|came| serde_json::Value::Object(came.parameters.clone()).to_string()).collect();
    let parties = r#""direction":"in","from":"webcall:abc𝟷𝟸𝟹𝟺𝟻 → voicebot","to":"voicebot","callId":"abc12345-7087""#;
    let user = r#""user":"Иван Иванов (user_12345) · webcall · session_abc123""#;
    assert_eq!(
        sent,
        [
            format!(r#"{{"event":"newCall",{parties},{user}}}"#),
            format!(r#"{{"event":"answer",{parties},{user}}}"#),
            format!(r#"{{"event":"hangup",{parties},"cause":"normalClearing"}}"#),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_zammad_has_lost_is_told_anew_once() {
    // The first newCall of each call is acknowledged and lost.
    let lost = std::sync::Mutex::new(HashSet::new());
    let receiver = Receiver::replying(Duration::ZERO, move |came, _| {
        let first = came.event == "newCall" && lost.lock().unwrap().insert(came.call_id.clone());
        first.then(|| (200, "{}".to_owned()))
    });
    let mut setup = Setup::new(&receiver, |_| {}).await;
    for status in ALL {
        setup.commit("a", status).await;
    }
    setup.start();
    setup.drained().await;
    let told = [("newCall", 200), ("answer", 500), ("newCall", 200), ("answer", 200), ("hangup", 200)];
    assert_eq!(events(&receiver.came(), "a"), expected(&told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_zammad_will_never_take_goes_on_the_shelf_and_the_rest_goes_on() {
    let broken = Arc::new(AtomicBool::new(true));
    let fails = broken.clone();
    let receiver = Receiver::replying(Duration::ZERO, move |came, _| match (came.call_id.as_str(), &*came.event) {
        ("bad", "newCall") if fails.load(Ordering::SeqCst) => {
            Some((422, r#"{"error":"Invalid 'direction'!"}"#.to_owned()))
        }
        ("odd", "answer") if fails.load(Ordering::SeqCst) => Some((500, r#"{"error":"no"}"#.to_owned())),
        _ => None,
    });
    let mut setup = Setup::new(&receiver, |settings| settings.max_attempts = 3).await;
    let bad = setup.commit("bad", CallStatus::Completed).await;
    let odd = setup.commit("odd", CallStatus::Completed).await;
    setup.commit("good", CallStatus::Completed).await;
    setup.start();
    setup.drained().await;
    let came = receiver.came();
    assert_eq!(events(&came, "bad"), expected(&[("newCall", 422)]));
    let told = [("newCall", 200), ("answer", 500), ("answer", 500), ("answer", 500), ("hangup", 200)];
    assert_eq!(events(&came, "odd"), expected(&told));
    assert_eq!(events(&came, "good"), expected(&[("newCall", 200), ("answer", 200), ("hangup", 200)]));
    let shelved = setup.store.calls(CallQuery { shelved: true, limit: 9, ..CallQuery::default() }).await.unwrap();
    assert_eq!(shelved.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [odd, bad]);
    assert!(shelved.calls[1].lanes[0].last_fault.as_deref().unwrap().contains("Invalid 'direction'"));
    assert_eq!(shelved.calls[0].lanes[0].steps[1].state, StepState::Shelved);

    broken.store(false, Ordering::SeqCst);
    assert_eq!(setup.store.replay(Shelf::All, setup.clock.now()).await.unwrap(), 2);
    setup.drained().await;
    let told = [("newCall", 422), ("newCall", 200), ("answer", 200), ("hangup", 200)];
    assert_eq!(events(&receiver.came(), "bad"), expected(&told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_sat_out_and_burns_nothing() {
    let down = Arc::new(AtomicBool::new(true));
    let tries = Arc::new(AtomicUsize::new(0));
    let (is_down, counted) = (down.clone(), tries.clone());
    let receiver = Receiver::replying(Duration::ZERO, move |_, _| {
        is_down.load(Ordering::SeqCst).then(|| {
            counted.fetch_add(1, Ordering::SeqCst);
            (503, "<html>nginx</html>".to_owned())
        })
    });
    let mut setup = Setup::new(&receiver, |settings| settings.max_attempts = 1).await;
    for call in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        setup.commit(call, CallStatus::Completed).await;
    }
    setup.start();
    receiver.wait_until(|came| came.len() >= 5);
    let status = setup.dispatcher.as_ref().unwrap().status();
    assert!(matches!(&status[0].circuit, CircuitState::Open { refused: false, .. }), "{status:?}");
    down.store(false, Ordering::SeqCst);
    setup.drained().await;
    // With one attempt allowed, a single try that counted would have shelved a call.
    assert!(tries.load(Ordering::SeqCst) >= 5, "{tries:?}");
    assert_nothing_shelved(&*setup.store).await;
    let came = receiver.came();
    let fine: Vec<_> = came.iter().filter(|came| came.status == 200).collect();
    assert_eq!(fine.len(), 24);
    for call in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let order: Vec<_> = fine.iter().filter(|came| came.call_id == call).map(|came| came.event.as_str()).collect();
        assert_eq!(order, ["newCall", "answer", "hangup"], "{call}");
    }
    assert_eq!(setup.dispatcher.as_ref().unwrap().status()[0].circuit, CircuitState::Closed);
}

/// One call on which Zammad falls silent, whatever the others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_always_times_out_does_not_stop_the_others_and_ends_on_the_shelf() {
    let receiver =
        Receiver::replying(Duration::ZERO, |came, _| (came.call_id == "silent").then(|| (504, String::new())));
    let mut setup = Setup::new(&receiver, |settings| (settings.concurrency, settings.max_attempts) = (1, 1)).await;
    let silent = setup.commit("silent", CallStatus::Trying).await;
    for call in ["a", "b", "c"] {
        setup.commit(call, CallStatus::Completed).await;
    }
    setup.start();
    setup.drained().await;
    let came = receiver.came();
    for call in ["a", "b", "c"] {
        assert_eq!(events(&came, call), expected(&[("newCall", 200), ("answer", 200), ("hangup", 200)]), "{call}");
    }
    let shelved = setup.store.calls(CallQuery { shelved: true, limit: 9, ..CallQuery::default() }).await.unwrap();
    assert_eq!(shelved.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [silent]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_stops_everything_with_a_reason_until_it_is_put_right() {
    let wrong = Arc::new(AtomicBool::new(true));
    let is_wrong = wrong.clone();
    let receiver = Receiver::replying(Duration::ZERO, move |_, _| {
        let answer = r#"{"error":"Invalid token, please contact your admin!"}"#;
        is_wrong.load(Ordering::SeqCst).then(|| (401, answer.to_owned()))
    });
    let mut setup = Setup::new(&receiver, |settings| settings.max_attempts = 1).await;
    for call in ["a", "b", "c", "d", "e", "f"] {
        setup.commit(call, CallStatus::Completed).await;
    }
    setup.start();
    receiver.wait_until(|came| came.len() >= 3);
    let told = async {
        loop {
            let status = setup.dispatcher.as_ref().unwrap().status();
            if let CircuitState::Open { refused: true, reason, .. } = &status[0].circuit {
                return reason.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    assert!(reason.contains("token") && reason.contains("ZAMMAD_CTI_URL"), "{reason}");
    assert!(!reason.contains("/cti/token"), "{reason}");
    wrong.store(false, Ordering::SeqCst);
    setup.drained().await;
    let came = receiver.came();
    assert_nothing_shelved(&*setup.store).await;
    assert_eq!(came.iter().filter(|came| came.status == 200).count(), 18);
    assert_eq!(setup.dispatcher.as_ref().unwrap().status()[0].channel, Channel::CallerLog);
}

/// Each answer of Zammad's, as the facts say, and what it means.
#[tokio::test]
async fn every_answer_of_zammads_is_understood() {
    use CtiEventKind::{Answer, Hangup, NewCall};
    let fine = Ok(CtiReply::Taken { action: None });
    let reject = r#"{"action":"reject","reason":"busy"}"#;
    let error_id = r#"{"error":"Error ID abcd: Please contact your administrator."}"#;
    let unknown = Ok(CtiReply::UnknownCall { answer: "HTTP 500: Error ID abcd".to_owned() });
    let cases: Vec<(CtiEventKind, u16, &str, Result<CtiReply, FaultScope>)> = vec![
        (NewCall, 200, "{}", fine.clone()),
        (NewCall, 200, "", fine),
        (NewCall, 200, reject, Ok(CtiReply::Taken { action: Some(reject.to_owned()) })),
        (NewCall, 200, "<html>Welcome</html>", Err(FaultScope::Refusal)),
        (NewCall, 302, "", Err(FaultScope::Refusal)),
        (NewCall, 401, r#"{"error":"Invalid token, please contact your admin!"}"#, Err(FaultScope::Refusal)),
        (
            Hangup,
            422,
            r#"{"error":"Feature is disabled, please contact your administrator!"}"#,
            Err(FaultScope::Refusal),
        ),
        (Hangup, 422, r#"{"error":"Feature not configured, please contact your admin!"}"#, Err(FaultScope::Refusal)),
        (NewCall, 422, r#"{"error":"Invalid 'direction'!"}"#, Err(FaultScope::Poison)),
        (NewCall, 422, error_id, Err(FaultScope::Poison)),
        (NewCall, 500, r#"{"error":"This object already exists.","error_human":"x"}"#, Ok(CtiReply::AlreadyExists)),
        (NewCall, 500, error_id, Err(FaultScope::Event)),
        (Answer, 500, error_id, unknown.clone()),
        (Hangup, 500, error_id, unknown),
        (Hangup, 500, "<html>Oops</html>", Err(FaultScope::Event)),
        (Hangup, 404, "<html>Oops</html>", Err(FaultScope::Refusal)),
        (Hangup, 413, "", Err(FaultScope::Poison)),
        (Hangup, 429, "Slow down", Err(FaultScope::Outage)),
        (Hangup, 502, "<html>Bad gateway</html>", Err(FaultScope::Outage)),
        (Hangup, 504, "", Err(FaultScope::Outage)),
    ];
    for (kind, status, body, expected) in cases {
        let answer = body.to_owned();
        let receiver = Receiver::replying(Duration::ZERO, move |_, _| Some((status, answer.clone())));
        let settings = ZammadSettings::new("default", receiver.cti_url().into());
        let zammad = HttpZammad::new(&settings, Arc::new(SystemClock)).unwrap();
        let event = CtiEvent {
            kind,
            call_id: "a".to_owned(),
            direction: "in",
            from: "x".to_owned(),
            to: "y".to_owned(),
            user: None,
            cause: None,
        };
        let got = zammad.send(&event).await;
        assert_eq!(got.map_err(|fault| fault.scope), expected, "{kind:?} {status} {body}");
    }
    // Nobody listens: certain not to have arrived.
    let settings = ZammadSettings::new("default", "http://127.0.0.1:9/api/v1/cti/secret-token".to_owned().into());
    let zammad = HttpZammad::new(&settings, Arc::new(SystemClock)).unwrap();
    let fault = zammad.find_ticket("x").await.unwrap_err();
    assert_eq!(fault.scope, FaultScope::Refusal);
    let event = CtiEvent {
        kind: Answer,
        call_id: String::new(),
        direction: "in",
        from: String::new(),
        to: String::new(),
        user: None,
        cause: None,
    };
    let fault = zammad.send(&event).await.unwrap_err();
    assert_eq!((fault.scope, fault.uncertain), (FaultScope::Outage, false));
    assert!(!fault.to_string().contains("secret-token"), "{fault}");
}

/// A Zammad with REST access that always answers the same.
fn always(status: u16, body: &str) -> (Receiver, HttpZammad) {
    let answer = body.to_owned();
    let receiver = Receiver::replying(Duration::ZERO, move |_, _| Some((status, answer.clone())));
    let mut settings = ZammadSettings::new("default", receiver.cti_url().into());
    settings.url = Some(receiver.cti_url().parse().unwrap());
    settings.api_token = Some("api-token".to_owned().into());
    let zammad = HttpZammad::new(&settings, Arc::new(SystemClock)).unwrap();
    (receiver, zammad)
}

async fn create(status: u16, body: &str, customer: &str) -> DeliveryFault {
    let ticket = NewTicket {
        title: "A call [mark]".to_owned(),
        group: "Calls".to_owned(),
        customer: customer.to_owned(),
        body: "text".to_owned(),
        mark: "mark".to_owned(),
        from_customer: true,
    };
    always(status, body).1.create_ticket(&ticket).await.unwrap_err()
}

#[tokio::test]
async fn what_is_wrong_with_one_ticket_stops_it_alone_and_what_is_wrong_with_the_settings_stops_all() {
    let forbidden = r#"{"error":"Not authorized"}"#;
    let note = TicketNote { ticket: TicketId(7), subject: "s".to_owned(), body: "b".to_owned() };
    assert_eq!(always(403, forbidden).1.add_note(&note).await.unwrap_err().scope, FaultScope::Poison);
    assert_eq!(always(403, forbidden).1.has_note(TicketId(7), "s").await.unwrap_err().scope, FaultScope::Poison);
    let guess = "guess:voice-calls@example.invalid";
    assert_eq!(create(403, forbidden, guess).await.scope, FaultScope::Refusal);
    let group = r#"{"error":"No lookup value found for 'group': \"Calls\""}"#;
    let fault = create(422, group, guess).await;
    assert_eq!(fault.scope, FaultScope::Refusal);
    assert!(fault.to_string().contains("TICKET_GROUP"), "{fault}");
    let customer = r#"{"error":"No lookup value found for 'customer': \"x\""}"#;
    assert_eq!(create(422, customer, guess).await.scope, FaultScope::Refusal);
    // The customer of one caller.
    assert_eq!(create(422, customer, "17").await.scope, FaultScope::Poison);
    let title = r#"{"error":"Title is too long: group customer"}"#;
    assert_eq!(create(422, title, guess).await.scope, FaultScope::Poison);
}

#[tokio::test]
async fn what_may_have_arrived_is_uncertain() {
    for (status, uncertain) in
        [(500, true), (502, true), (503, true), (504, true), (408, true), (429, false), (413, false)]
    {
        assert_eq!(create(status, "", "1").await.uncertain, uncertain, "ticket {status}");
    }
    for (status, uncertain) in [(500, true), (502, true), (503, false), (504, true), (408, true), (429, false)] {
        let event = CtiEvent {
            kind: CtiEventKind::NewCall,
            call_id: "a".to_owned(),
            direction: "in",
            from: "x".to_owned(),
            to: "y".to_owned(),
            user: None,
            cause: None,
        };
        assert_eq!(always(status, "").1.send(&event).await.unwrap_err().uncertain, uncertain, "newCall {status}");
    }
    assert!(!always(500, "").1.find_ticket("mark").await.unwrap_err().uncertain, "a search makes nothing");
}

#[tokio::test]
async fn a_fault_quotes_nobodys_data() {
    for status in [401, 403, 404, 413, 422, 429, 500, 503] {
        let fault =
            create(status, r#"{"error":"Email address 'erna@example.com' is already used. Error ID ab12: x"}"#, "1")
                .await;
        assert!(!fault.to_string().contains("erna"), "{fault}");
        assert!(fault.to_string().contains(&format!("HTTP {status}: Error ID ab12")), "{fault}");
        let fault = create(status, "<p>erna@example.com</p>", "1").await;
        assert!(!fault.to_string().contains("erna"), "{fault}");
    }
}

#[tokio::test]
async fn several_customers_who_are_alike_are_told_from_nobody() {
    let user = |id: i64| format!(r#"{{"id":{id},"login":"User_1"}}"#);
    let other = r#"{"id":9,"login":"user_12"}"#;
    for (users, found) in [
        (other.to_owned(), CustomerSearch::Nobody),
        (format!("{},{other}", user(3)), CustomerSearch::One(3)),
        (format!("{},{}", user(3), user(4)), CustomerSearch::Several),
    ] {
        let (_receiver, zammad) = always(200, &format!("[{users}]"));
        assert_eq!(zammad.find_customer("login", "user_1").await.unwrap(), found);
    }
}
