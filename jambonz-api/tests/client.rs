//! The client against a stand-in that answers with recorded bytes, over real sockets, on a virtual clock.

#![allow(clippy::unwrap_used, reason = "these are tests; clippy sees only functions marked as such")]

#[path = "../../tests/src/jambonz.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stand-in is shared with the end-to-end tests, which use all of it")]
mod jambonz;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_core_sip::metadata::CustomerData;
use codex_core_sip::time::Time;
use codex_jambonz_api::{
    ApplicationHooks, ApplicationNames, CachePolicy, Clock, Error, Hook, HookCredentials, JambonzApiClient,
    JambonzApiClientBuilder,
};
use jambonz::{
    ACCOUNT_KEY, ACCOUNT_SID, DIAL_TIME, Fault, HELLO_WORLD, JambonzApi, OTHER_ACCOUNT_SID, OTHER_APPLICATION,
    PROVIDER_KEY, TEST, WEBHOOK_SECRET, answer, recorded, too_many_requests,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const UNKNOWN: &str = "7087fe50-8acb-4f3b-b820-97b573723aac";
const CALL: &str = "6ac20a11-07ad-4b0b-a9b1-cc1b5f5b6b0c";
/// For what must happen on its own: how long a broken test takes to fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stands still unless it is told to go on, or somebody sleeps.
#[derive(Default)]
struct VirtualClock {
    micros: AtomicU64,
    slept: Mutex<Vec<Duration>>,
}

impl VirtualClock {
    fn advance(&self, duration: Duration) {
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }

    fn slept(&self) -> Vec<Duration> {
        self.slept.lock().unwrap().clone()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Time::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn unix_seconds(&self) -> u64 {
        1_795_334_400 + self.micros.load(Ordering::SeqCst) / 1_000_000
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.slept.lock().unwrap().push(duration);
        self.advance(duration);
        Box::pin(async {})
    }
}

struct Lab {
    api: Arc<JambonzApi>,
    clock: Arc<VirtualClock>,
    client: JambonzApiClient,
}

async fn lab() -> Lab {
    lab_with(|builder| builder).await
}

/// A laboratory whose requests may take their time: thousands of tasks share two cores with other tests.
async fn patient_lab() -> Lab {
    lab_with(|builder| builder.connect_timeout(PATIENCE).request_timeout(PATIENCE).total_timeout(PATIENCE)).await
}

async fn lab_with(settings: impl FnOnce(JambonzApiClientBuilder) -> JambonzApiClientBuilder) -> Lab {
    let api = Arc::new(JambonzApi::start().await.unwrap());
    let clock = Arc::new(VirtualClock::default());
    let builder = JambonzApiClient::builder()
        .api_base_url(api.base_url())
        .api_key(ACCOUNT_KEY)
        .account_sid(ACCOUNT_SID)
        .clock(clock.clone());
    let client = settings(builder).build().unwrap();
    Lab { api, clock, client }
}

impl Lab {
    async fn name(&self, sid: &str) -> Option<String> {
        self.client.get_application_name(sid).await.unwrap().map(|name| name.to_string())
    }

    /// Asks until the answer is `expected`: what happens in the background is waited for, not slept for.
    async fn until_name_is(&self, sid: &str, expected: &str) {
        let asking = async {
            while self.name(sid).await.as_deref() != Some(expected) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
    }
}

fn sid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_then_known() {
    let lab = lab().await;
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.name(&HELLO_WORLD.to_uppercase()).await.as_deref(), Some("hello world"));
    assert_eq!(lab.name(&format!("app-{HELLO_WORLD}")).await.as_deref(), Some("hello world"));
    for uri in [
        format!("sip:{HELLO_WORLD}@sip.example.com"),
        format!("sips:APP-{}@[2001:db8::1]:8443;transport=wss?Subject=hi", HELLO_WORLD.to_uppercase()),
    ] {
        let name = lab.client.get_application_name_from_uri(&uri).await.unwrap();
        assert_eq!(name.as_deref(), Some("hello world"), "{uri}");
    }
    assert_eq!(lab.client.get_application_name_from_uri("sip:170@sip.example.com").await.unwrap(), None);
    assert_eq!(lab.api.request_lines(), [format!("GET /v1/Applications/{HELLO_WORLD}")]);
    let request = &lab.api.received()[0];
    assert_eq!(request.headers["authorization"], format!("Bearer {ACCOUNT_KEY}"));
    assert_eq!(request.headers["accept"], "application/json");
    assert!(request.headers["user-agent"].starts_with("codex-jambonz-api/"));
}

#[tokio::test]
async fn nothing_malformed_is_sent() {
    let lab = lab().await;
    for wrong in ["", "170", "../Users", "not-a-uuid", "7087fe50-8acb-4f3b-b820-97b573723aab/../x"] {
        for result in [
            lab.client.get_application_name(wrong).await.map(drop),
            lab.client.get_application(wrong).await.map(drop),
            lab.client.get_call(wrong).await.map(drop),
            lab.client.update_call_metadata(wrong, &json!({})).await,
            lab.client.update_application_hooks(wrong, &ApplicationHooks::default()).await.map(drop),
        ] {
            assert!(matches!(result, Err(Error::BadSid { .. })), "{wrong}: {result:?}");
        }
    }
    assert!(matches!(lab.client.get_application_name_from_uri("170").await, Err(Error::BadUri { .. })));
    for wrong in [json!("text"), json!([1]), Value::Null] {
        let result = lab.client.update_call_metadata(CALL, &wrong).await;
        assert!(matches!(result, Err(Error::BadRequest { .. })), "{wrong}: {result:?}");
    }
    assert!(lab.api.request_lines().is_empty());
}

#[tokio::test]
async fn applications_are_typed_and_their_list_fills_the_names() {
    let lab = lab().await;
    let applications = lab.client.get_applications().await.unwrap();
    let names: Vec<_> = applications.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["dial time", "hello world", "tëst"]);
    assert_eq!(applications[2].account_sid.unwrap().to_string(), ACCOUNT_SID);
    assert_eq!(applications[0].call_hook.as_ref().unwrap().url, "https://public-apps.jambonz.cloud/dial-time");
    assert!(applications[2].call_status_hook.is_none());
    assert_eq!(lab.name(DIAL_TIME).await.as_deref(), Some("dial time"));
    assert_eq!(lab.name(TEST).await.as_deref(), Some("tëst"));
    let one = lab.client.get_application(HELLO_WORLD).await.unwrap();
    assert_eq!((one.name.as_str(), one.speech_synthesis_voice.as_deref()), ("hello world", Some("en-US-Wavenet-C")));
    assert_eq!(
        lab.api.request_lines(),
        [format!("GET /v1/Accounts/{ACCOUNT_SID}/Applications"), format!("GET /v1/Applications/{HELLO_WORLD}")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_who_want_one_name_cost_one_request() {
    let lab = patient_lab().await;
    lab.api.hold();
    let asking: Vec<_> = (0..10_000)
        .map(|_| {
            let client = lab.client.clone();
            tokio::spawn(async move { client.get_application_name(HELLO_WORLD).await })
        })
        .collect();
    lab.api.wait_for_requests(1).await;
    lab.api.release();
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap().as_deref(), Some("hello world"));
    }
    assert_eq!(lab.api.request_lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_want_a_thousand_names_cost_one_list() {
    let lab = patient_lab().await;
    for n in 0..1000 {
        lab.api.add_application(&sid(n), &format!("application {n}"));
    }
    lab.api.hold();
    let asking: Vec<_> = (0..1000)
        .map(|n| {
            let client = lab.client.clone();
            tokio::spawn(async move { client.get_application_name(sid(n)).await })
        })
        .collect();
    lab.api.wait_for_requests(1).await;
    lab.api.release();
    for (n, task) in asking.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap().unwrap().as_str(), format!("application {n}"));
    }
    // The first may have been alone when it asked.
    let requests = lab.api.request_lines();
    let lists = requests.iter().filter(|line| *line == "GET /v1/Applications").count();
    assert!(lists <= 1 && requests.len() <= 2, "{requests:?}");
}

#[tokio::test]
async fn a_thousand_names_at_the_same_moment_cost_exactly_one_request() {
    let lab = lab().await;
    for n in 0..1000 {
        lab.api.add_application(&sid(n), &format!("application {n}"));
    }
    let asking: Vec<_> = (0..1000)
        .map(|n| {
            let client = lab.client.clone();
            tokio::spawn(async move { client.get_application_name(sid(n)).await })
        })
        .collect();
    for task in asking {
        assert!(task.await.unwrap().unwrap().is_some());
    }
    assert_eq!(lab.api.request_lines(), ["GET /v1/Applications"]);
}

#[tokio::test]
async fn who_gives_up_takes_nobody_along_and_leaves_the_name_behind() {
    let lab = lab().await;
    lab.api.hold();
    let asking = || {
        let client = lab.client.clone();
        tokio::spawn(async move { client.get_application_name(HELLO_WORLD).await })
    };
    let first = asking();
    lab.api.wait_for_requests(1).await;
    let second = asking();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // Everybody has given up now, and the answer comes all the same.
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    lab.api.release();
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 1);
}

#[tokio::test]
async fn hundreds_who_give_up_one_after_another_do_no_harm() {
    let lab = lab().await;
    lab.api.hold();
    let asking: Vec<_> = (0..500)
        .map(|_| {
            let client = lab.client.clone();
            tokio::spawn(async move { client.get_application_name(HELLO_WORLD).await })
        })
        .collect();
    let last = tokio::spawn({
        let client = lab.client.clone();
        async move { client.get_application_name(HELLO_WORLD).await }
    });
    lab.api.wait_for_requests(1).await;
    for task in asking {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // The others get to see that one is gone.
        tokio::task::yield_now().await;
    }
    lab.api.release();
    assert_eq!(last.await.unwrap().unwrap().as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 1);
}

#[tokio::test]
async fn after_a_long_weekend_nobody_waits_for_an_api_that_hangs() {
    let lab = lab().await;
    lab.name(HELLO_WORLD).await;
    lab.api.hold();
    lab.clock.advance(Duration::from_secs(6 * 24 * 60 * 60));
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    lab.api.wait_for_requests(2).await;
}

#[tokio::test]
async fn a_list_that_cannot_be_had_stops_no_name() {
    // One application fits, the list does not, and this server knows no pages.
    let lab = lab_with(|builder| builder.body_limit_bytes(2000)).await;
    lab.api.ignore_pages();
    let asking = [HELLO_WORLD, DIAL_TIME].map(|sid| {
        let client = lab.client.clone();
        tokio::spawn(async move { client.get_application_name(sid).await })
    });
    for task in asking {
        assert!(task.await.unwrap().unwrap().is_some());
    }
    assert_eq!(lab.name(TEST).await.as_deref(), Some("tëst"));
    let requests = lab.api.request_lines();
    let (lists, alone): (Vec<_>, Vec<_>) = requests.iter().partition(|line| !line.contains("Applications/"));
    assert_eq!(lists, ["GET /v1/Applications", "GET /v1/Applications?page=1&page_size=200"], "it is tried once");
    assert_eq!(alone.len(), 3, "{requests:?}");
}

#[tokio::test]
async fn a_list_is_no_newer_for_a_refresh_than_names_may_be_old() {
    let policy = CachePolicy { fresh_for: Duration::from_secs(5), ..CachePolicy::default() };
    let lab = lab_with(|builder| builder.cache_policy(policy)).await;
    lab.api.set_budget(60);
    lab.name(HELLO_WORLD).await;
    lab.name(DIAL_TIME).await;
    assert_eq!(lab.api.request_lines().last().unwrap(), "GET /v1/Applications");
    lab.api.set_property(DIAL_TIME, "name", "renamed".into());
    lab.clock.advance(policy.fresh_for);
    lab.until_name_is(DIAL_TIME, "renamed").await;
}

#[tokio::test]
async fn a_list_is_kept_however_often_the_one_before_the_clearing_was_read() {
    let lab = lab().await;
    lab.api.set_budget(60);
    for n in 0..50 {
        lab.name(&sid(n)).await;
    }
    lab.client.clear_cache();
    lab.api.forget_requests();
    for n in 0..50 {
        lab.name(&sid(n)).await;
    }
    assert_eq!(lab.api.request_lines(), ["GET /v1/Applications"]);
}

#[tokio::test]
async fn an_expired_name_is_served_while_it_is_fetched_again() {
    let lab = lab().await;
    lab.name(HELLO_WORLD).await;
    lab.api.set_property(HELLO_WORLD, "name", "hello universe".into());
    lab.clock.advance(CachePolicy::FRESH_FOR - Duration::from_secs(1));
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 1);

    lab.clock.advance(Duration::from_secs(1));
    lab.api.hold();
    for _ in 0..100 {
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"), "served at once");
    }
    lab.api.wait_for_requests(2).await;
    lab.api.release();
    lab.until_name_is(HELLO_WORLD, "hello universe").await;
    assert_eq!(lab.api.request_lines().len(), 2, "one refresh for all");
}

#[tokio::test]
async fn an_expired_name_is_served_while_the_api_is_down_for_a_named_time() {
    let policy = CachePolicy {
        stale_while_refresh: Duration::from_secs(600),
        stale_if_error: Duration::from_secs(3600),
        ..CachePolicy::default()
    };
    let lab = lab_with(|builder| builder.cache_policy(policy).retries(0)).await;
    lab.name(HELLO_WORLD).await;
    lab.api.set_fault(Some(Fault::Cut));

    // Past the time in which it is served without asking: it is asked for, and served since nobody answers.
    lab.clock.advance(CachePolicy::FRESH_FOR + policy.stale_while_refresh);
    lab.api.forget_requests();
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 1);
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 1, "there is a pause between attempts");

    lab.clock.advance(policy.stale_if_error);
    let error = lab.client.get_application_name(HELLO_WORLD).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    lab.api.set_fault(None);
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"), "a failure is not remembered");
}

#[tokio::test]
async fn a_refresh_that_fails_costs_nobody_a_wait() {
    let lab = lab_with(|builder| builder.retries(0)).await;
    lab.name(HELLO_WORLD).await;
    lab.api.set_fault(Some(Fault::Cut));
    lab.clock.advance(CachePolicy::FRESH_FOR);
    // Nothing is answered at all, and the name is there.
    lab.api.hold();
    for _ in 0..100 {
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    }
    lab.api.wait_for_requests(2).await;
    lab.api.release();
    for _ in 0..100 {
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.api.request_lines().len(), 2, "there is a pause between attempts");
}

#[tokio::test]
async fn an_unknown_sid_is_remembered_for_a_shorter_time() {
    let lab = lab().await;
    assert_eq!(lab.name(UNKNOWN).await, None);
    assert_eq!(lab.name(OTHER_APPLICATION).await, None, "another account's");
    lab.api.add_application(UNKNOWN, "new");
    lab.clock.advance(CachePolicy::UNKNOWN_FOR - Duration::from_secs(1));
    assert_eq!(lab.name(UNKNOWN).await, None);
    assert_eq!(lab.api.request_lines().len(), 2);
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(lab.name(UNKNOWN).await.as_deref(), Some("new"));
    let gone = lab.client.get_application(OTHER_APPLICATION).await.unwrap_err();
    assert!(matches!(&gone, Error::NotFound { what } if what.contains(OTHER_APPLICATION)), "{gone}");
}

#[tokio::test]
async fn an_application_that_was_removed_is_unknown_after_the_refresh() {
    let lab = lab().await;
    lab.name(HELLO_WORLD).await;
    lab.api.remove_application(HELLO_WORLD);
    lab.clock.advance(CachePolicy::FRESH_FOR);
    let asking = async {
        while lab.name(HELLO_WORLD).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

#[tokio::test]
async fn clearing_wins_over_requests_under_way() {
    let lab = lab().await;
    lab.name(HELLO_WORLD).await;
    lab.clock.advance(CachePolicy::FRESH_FOR);
    // A refresh and a list are under way with the old name …
    let old = answer(
        200,
        "OK",
        &[("Content-Type", "application/json")],
        json!({"application_sid": HELLO_WORLD, "name": "old"}).to_string(),
    );
    lab.api.hold();
    lab.api.fault_next(Fault::Answer(old));
    lab.name(HELLO_WORLD).await;
    lab.api.wait_for_requests(2).await;
    // … when somebody renames it and clears: whoever asks from now on must not see the old one.
    lab.api.set_property(HELLO_WORLD, "name", "renamed".into());
    lab.client.clear_cache();
    let client = lab.client.clone();
    let asked_after = tokio::spawn(async move { client.get_application_name(HELLO_WORLD).await });
    lab.api.wait_for_requests(3).await;
    lab.api.release();
    assert_eq!(asked_after.await.unwrap().unwrap().as_deref(), Some("renamed"));
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("renamed"));
    }
}

#[tokio::test]
async fn what_was_asked_for_last_stays_whichever_answer_comes_last() {
    let lab = lab().await;
    let old = json!({"application_sid": HELLO_WORLD, "name": "old"}).to_string();
    lab.api.fault_next(Fault::Answer(answer(200, "OK", &[("Content-Type", "application/json")], old)));
    lab.api.hold();
    let client = lab.client.clone();
    let one = tokio::spawn(async move { client.get_application(HELLO_WORLD).await });
    lab.api.wait_for_requests(1).await;
    lab.clock.advance(Duration::from_secs(1));
    let client = lab.client.clone();
    let all = tokio::spawn(async move { client.get_applications().await });
    lab.api.wait_for_requests(2).await;
    lab.api.release();
    assert_eq!(one.await.unwrap().unwrap().name, "old");
    assert_eq!(all.await.unwrap().unwrap().len(), 3);
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.api.request_lines().len(), 2);
}

#[tokio::test]
async fn the_key_is_not_carried_to_where_a_redirect_leads() {
    let elsewhere = JambonzApi::start().await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        let lab = lab().await;
        let location = format!("{}/Applications/{HELLO_WORLD}", elsewhere.base_url());
        lab.api.set_fault(Some(Fault::Answer(answer(status, "Moved", &[("Location", &location)], ""))));
        let error = lab.client.get_application_name(HELLO_WORLD).await.unwrap_err();
        assert!(matches!(&error, Error::Redirected { location: Some(to), .. } if *to == location), "{error}");
    }
    assert!(elsewhere.request_lines().is_empty());
}

#[tokio::test]
async fn near_the_end_of_the_budget_one_list_is_asked_for_in_place_of_single_names() {
    let lab = lab().await;
    lab.api.set_budget(60);
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.name(DIAL_TIME).await.as_deref(), Some("dial time"));
    assert_eq!(lab.name(TEST).await.as_deref(), Some("tëst"));
    assert_eq!(lab.name(UNKNOWN).await, None, "what a new list lacks is unknown");
    assert_eq!(
        lab.api.request_lines(),
        [format!("GET /v1/Applications/{HELLO_WORLD}"), "GET /v1/Applications".to_owned()]
    );
    lab.clock.advance(Duration::from_secs(300));
    assert_eq!(lab.name(UNKNOWN).await, None);
    assert_eq!(lab.api.request_lines().last().unwrap(), &format!("GET /v1/Applications/{UNKNOWN}"), "a new budget");
}

#[tokio::test]
async fn a_providers_key_sees_the_same_names_alone_and_in_the_list() {
    let lab = lab_with(|builder| builder.api_key(PROVIDER_KEY)).await;
    assert_eq!(lab.name(OTHER_APPLICATION).await.as_deref(), Some("other acct app"));
    lab.client.clear_cache();
    let asking = [OTHER_APPLICATION, HELLO_WORLD].map(|sid| {
        let client = lab.client.clone();
        tokio::spawn(async move { client.get_application_name(sid).await })
    });
    for task in asking {
        assert!(task.await.unwrap().unwrap().is_some());
    }
    assert_eq!(lab.api.request_lines()[1..], ["GET /v1/Applications"]);
}

#[tokio::test]
async fn after_too_many_requests_nothing_is_asked_before_the_wait_is_over() {
    for retry_after in ["300", "Sun, 22 Nov 2026 08:05:00 GMT"] {
        let lab = lab().await;
        lab.api.fault_next(Fault::Answer(too_many_requests(retry_after)));
        let error = lab.client.get_application_name(HELLO_WORLD).await.unwrap_err();
        assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(300) });
        lab.clock.advance(Duration::from_secs(200));
        let error = lab.client.get_applications().await.unwrap_err();
        assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(100) });
        assert!(error.to_string().contains("asks again in 100 s, not before"), "{error}");
        assert_eq!(lab.api.request_lines().len(), 1);
        lab.clock.advance(Duration::from_secs(100));
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    }
}

#[tokio::test]
async fn a_short_wait_is_waited_and_an_old_name_needs_none() {
    let lab = lab().await;
    lab.api.fault_next(Fault::Answer(too_many_requests("3")));
    assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
    assert_eq!(lab.clock.slept(), [Duration::from_secs(3)]);

    lab.clock.advance(CachePolicy::FRESH_FOR);
    lab.api.set_fault(Some(Fault::Answer(too_many_requests("300"))));
    for _ in 0..100 {
        assert_eq!(lab.name(HELLO_WORLD).await.as_deref(), Some("hello world"));
        tokio::task::yield_now().await;
    }
    lab.api.wait_for_requests(3).await;
    assert_eq!(lab.api.request_lines().len(), 3);
}

#[tokio::test]
async fn a_wait_as_long_as_the_deadline_is_told_and_none_is_waited_for_in_a_tight_loop() {
    let lab = lab().await;
    lab.api.set_fault(Some(Fault::Answer(too_many_requests("10"))));
    let error = lab.client.get_application(HELLO_WORLD).await.unwrap_err();
    assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(10) });
    assert_eq!((lab.clock.slept().len(), lab.api.request_lines().len()), (0, 1));

    for at_once in ["0", "Sun, 22 Nov 2020 08:00:00 GMT"] {
        let lab = self::lab().await;
        lab.api.fault_next(Fault::Answer(too_many_requests(at_once)));
        assert_eq!(lab.client.get_application(HELLO_WORLD).await.unwrap().name, "hello world");
        assert_eq!(lab.clock.slept(), [Duration::from_secs(1)]);
    }
}

#[tokio::test]
async fn what_is_not_jambonz_is_not_taken_for_an_answer() {
    let lab = lab().await;
    // A proxy without a route: this does not mean that there is no such application.
    let no_route = answer(404, "Not Found", &[("Content-Type", "text/plain; charset=utf-8")], "404 page not found\n");
    lab.api.set_fault(Some(Fault::Answer(no_route)));
    let error = lab.client.get_application_name(HELLO_WORLD).await.unwrap_err();
    assert!(matches!(error, Error::UnknownRoute { .. }), "{error}");
    // Nor does an empty 404 where the address holds no sid.
    lab.api.set_budget(1);
    lab.api.set_fault(None);
    lab.name(HELLO_WORLD).await;
    lab.api.set_fault(Some(Fault::Answer(recorded::NOT_FOUND.into())));
    let error = lab.client.get_application_name(DIAL_TIME).await.unwrap_err();
    assert!(matches!(error, Error::UnknownRoute { .. }), "{error}");
    // A page to sign in at: nothing was changed.
    let sign_in = answer(200, "OK", &[("Content-Type", "text/html")], "<title>Sign in</title>");
    lab.api.set_fault(Some(Fault::Answer(sign_in)));
    let error = lab.client.update_call_metadata(CALL, &json!({"a": 1})).await.unwrap_err();
    assert!(matches!(error, Error::NotJson { .. }), "{error}");
}

#[tokio::test]
async fn each_failure_is_told_apart_and_says_what_to_do() {
    let html = |status, reason: &str| {
        answer(status, reason, &[("Content-Type", "text/html")], "<html><title>Welcome to nginx</title></html>")
    };
    let json_with = |body: &str| answer(200, "OK", &[("Content-Type", "application/json")], body);
    type Check = fn(&Error) -> bool;
    let cases: Vec<(&str, Vec<u8>, Check, &str)> = vec![
        ("bad key", recorded::UNAUTHORIZED_BAD_KEY.into(), |e| matches!(e, Error::Unauthorized), "JAMBONZ_API_KEY"),
        ("no key", recorded::UNAUTHORIZED.into(), |e| matches!(e, Error::Unauthorized), "JAMBONZ_API_KEY"),
        ("403", recorded::FORBIDDEN.into(), |e| matches!(e, Error::Forbidden { .. }), "`insufficient permissions`"),
        ("empty 404", recorded::NOT_FOUND.into(), |e| matches!(e, Error::NotFound { .. }), HELLO_WORLD),
        ("route", recorded::UNKNOWN_ROUTE.into(), |e| matches!(e, Error::UnknownRoute { .. }), "JAMBONZ_API_BASE_URL"),
        ("400", recorded::BAD_SID.into(), |e| matches!(e, Error::Refused { status: 400, .. }), "`Bad request`"),
        ("500", recorded::LIST_BAD_PAGE.into(), |e| matches!(e, Error::Server { status: 500, .. }), "NaN"),
        ("502 html", html(502, "Bad Gateway"), |e| matches!(e, Error::Server { status: 502, .. }), "try again later"),
        ("200 html", html(200, "OK"), |e| matches!(e, Error::NotJson { .. }), "`Welcome to nginx`"),
        ("no type", answer(200, "OK", &[], "x"), |e| matches!(e, Error::NotJson { .. }), "no content type"),
        (
            "302",
            answer(302, "Found", &[("Location", "https://me:S3CRET@sso.example/a?key=S3CRET#S3CRET")], ""),
            |e| matches!(e, Error::Redirected { status: 302, .. }),
            "to https://sso.example/a (status 302)",
        ),
        (
            "relative 308",
            answer(308, "Permanent Redirect", &[("Location", "/v2/Applications")], ""),
            |e| matches!(e, Error::Redirected { status: 308, location: Some(to), .. } if to.ends_with("/v2/Applications")),
            "set JAMBONZ_API_BASE_URL",
        ),
        ("cut json", json_with(r#"{"name":"S3CRET"#), |e| matches!(e, Error::UnexpectedJson { .. }), "line 1, column"),
        ("other json", json_with("[]"), |e| matches!(e, Error::UnexpectedJson { .. }), "an application"),
        (
            "wrong type",
            json_with(r#"{"application_sid":"S3CRET","name":"x"}"#),
            |e| matches!(e, Error::UnexpectedJson { .. }),
            "an application",
        ),
        (
            "quotes our key",
            answer(
                400,
                "Bad Request",
                &[("Content-Type", "application/json")],
                json!({"msg": format!("bad\r\nBearer {ACCOUNT_KEY}")}).to_string(),
            ),
            |e| matches!(e, Error::Refused { .. }),
            "`bad\\r\\nBearer ***`",
        ),
        ("not http", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), |e| matches!(e, Error::ConnectionLost { .. }), "broke off"),
        (
            "broken gzip",
            answer(200, "OK", &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")], "not gzip"),
            |e| matches!(e, Error::ConnectionLost { .. }),
            "broke off",
        ),
    ];
    for (case, bytes, is_right, says) in cases {
        let lab = lab_with(|builder| builder.retries(0)).await;
        lab.api.set_fault(Some(Fault::Answer(bytes)));
        let error = lab.client.get_application(HELLO_WORLD).await.unwrap_err();
        assert!(is_right(&error) && error.to_string().contains(says), "{case}: {error} ({error:?})");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("S3CRET") && !shown.contains(ACCOUNT_KEY), "{case}: {shown}");
    }
}

#[tokio::test]
async fn another_accounts_list_is_forbidden() {
    let lab = lab_with(|builder| builder.account_sid(OTHER_ACCOUNT_SID)).await;
    let error = lab.client.get_applications().await.unwrap_err();
    assert!(matches!(&error, Error::Forbidden { action, .. } if action.contains(OTHER_ACCOUNT_SID)), "{error}");
    let lab = lab_with(|builder| builder.api_key("badkey")).await;
    assert_eq!(lab.client.get_applications().await.unwrap_err(), Error::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    for fault in [Fault::Silence, Fault::HalfThenSilence] {
        // tokio's time would run ahead while sockets are waited for; it stands still while a blocking task is there.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || ended.recv());
        let lab = lab_with(|builder| builder.retries(0)).await;
        lab.api.set_fault(Some(fault));
        let client = lab.client.clone();
        let asking = tokio::spawn(async move { client.get_application(HELLO_WORLD).await });
        lab.api.wait_for_requests(1).await;
        let tick = Duration::from_millis(5);
        tokio::time::advance(JambonzApiClientBuilder::REQUEST_TIMEOUT - tick).await;
        tokio::task::yield_now().await;
        assert!(!asking.is_finished());
        tokio::time::advance(2 * tick).await;
        let error = asking.await.unwrap().unwrap_err();
        let limit = JambonzApiClientBuilder::REQUEST_TIMEOUT;
        assert!(matches!(error, Error::Timeout { waited, .. } if waited == limit), "{error}");
        assert!(error.is_temporary());
        drop(end);
    }
}

/// Everything that is logged, by whichever crate.
#[derive(Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?}\n"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Self(Arc::clone(&self.0)));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Self(Arc::clone(&self.0)));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Self(Arc::clone(&self.0)));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let log = Arc::new(Mutex::new(String::new()));
    let _logged = tracing::subscriber::set_default(Log(Arc::clone(&log)));
    let lab = lab().await;
    lab.api.set_property(HELLO_WORLD, "env_vars", json!({"TOKEN": "S3CRET"}));
    lab.api.set_property(HELLO_WORLD, "app_json", "S3CRET".into());
    let quoting = json!({"msg": format!("Bearer {ACCOUNT_KEY}")}).to_string();
    for fault in [
        None,
        Some(Fault::Cut),
        Some(Fault::Answer(too_many_requests("1"))),
        Some(Fault::Answer(answer(500, "Error", &[("Content-Type", "application/json")], &quoting))),
        Some(Fault::Answer(answer(200, "OK", &[("Content-Type", "application/json")], r#"{"name":"S3CRET"}"#))),
    ] {
        lab.api.set_fault(fault);
        lab.clock.advance(CachePolicy::FRESH_FOR);
        let _ = lab.client.get_applications().await;
        let _ = lab.client.get_application(HELLO_WORLD).await;
        let _ = lab.client.get_application_name(HELLO_WORLD).await;
        let _ = lab.client.get_webhook_secret().await;
        let _ = lab.client.update_call_metadata(CALL, &json!({"a": "S3CRET"})).await;
        lab.clock.advance(Duration::from_secs(60));
    }
    lab.api.set_fault(None);
    lab.api.set_property(HELLO_WORLD, "app_json", Value::Null);
    let credentials = HookCredentials::Basic { username: "me".to_owned(), password: "S3CRET".into() };
    let hook = Hook { url: "https://b.example/?t=S3CRET".to_owned(), credentials };
    let hooks = ApplicationHooks { call_hook: Some(hook), call_status_hook: None };
    assert!(lab.client.update_application_hooks(HELLO_WORLD, &hooks).await.unwrap().changed);
    let log = log.lock().unwrap();
    assert!(log.contains("jambonz' API is asked again"), "{log}");
    for secret in [ACCOUNT_KEY, WEBHOOK_SECRET, "S3CRET"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_name_under_localhost_stays_at_home() {
    let api = JambonzApi::start().await.unwrap();
    // No resolver need know this name.
    let base = format!("http://api.jambonz.localhost:{}", api.address().port());
    let client = JambonzApiClient::builder().api_base_url(base).api_key(ACCOUNT_KEY).account_sid(ACCOUNT_SID).build();
    let name = client.unwrap().get_application_name(HELLO_WORLD).await.unwrap();
    assert_eq!(name.as_deref(), Some("hello world"));
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lab = lab_with(|builder| builder.api_base_url(format!("http://{closed}"))).await;
    let error = lab.client.get_application(HELLO_WORLD).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { host, .. } if *host == closed.to_string()), "{error}");
    assert_eq!(lab.clock.slept().len(), 2, "it was tried again");
}

#[tokio::test]
async fn a_read_is_repeated_where_that_helps() {
    for fault in [
        Fault::Cut,
        Fault::HalfThenCut,
        Fault::Answer(recorded::LIST_BAD_PAGE.into()),
        Fault::Answer(answer(503, "Service Unavailable", &[], "")),
    ] {
        let lab = lab().await;
        lab.api.fault_next(fault.clone());
        lab.api.fault_next(fault.clone());
        assert_eq!(lab.client.get_application(HELLO_WORLD).await.unwrap().name, "hello world", "{fault:?}");
        assert_eq!(lab.api.request_lines().len(), 3);
        let slept = lab.clock.slept();
        assert!(slept.len() == 2 && slept[0] <= Duration::from_millis(250) && slept[1] <= Duration::from_millis(500));
    }
    for fault in [Fault::Answer(recorded::UNAUTHORIZED.into()), Fault::Answer(recorded::BAD_SID.into())] {
        let lab = lab().await;
        lab.api.set_fault(Some(fault));
        assert!(lab.client.get_application(HELLO_WORLD).await.is_err());
        assert_eq!(lab.api.request_lines().len(), 1);
    }
}

#[tokio::test]
async fn retries_end_at_the_total_deadline() {
    let lab = lab_with(|builder| builder.retries(1_000_000).total_timeout(Duration::from_secs(10))).await;
    lab.api.set_fault(Some(Fault::Cut));
    let error = lab.client.get_application(HELLO_WORLD).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert!(lab.clock.now() <= Time::ZERO + Duration::from_secs(10));
    let longest = lab.clock.slept().into_iter().max().unwrap();
    assert!(longest <= JambonzApiClientBuilder::BACKOFF_CAP, "{longest:?}");
}

#[tokio::test]
async fn pages_are_followed_and_both_shapes_are_read() {
    let lab = lab().await;
    for n in 0..25 {
        lab.api.add_application(&sid(n), &format!("application {n}"));
    }
    lab.api.page_unasked(10);
    let applications = lab.client.get_applications().await.unwrap();
    assert_eq!(applications.len(), 28);
    assert_eq!(applications[27].name, "application 24");
    let path = format!("GET /v1/Accounts/{ACCOUNT_SID}/Applications");
    assert_eq!(
        lab.api.request_lines(),
        [path.clone(), format!("{path}?page=2&page_size=10"), format!("{path}?page=3&page_size=10")]
    );

    for recorded in [recorded::LIST_PAGE_SIZE_NULL, recorded::LIST] {
        let lab = self::lab().await;
        lab.api.fault_next(Fault::Answer(recorded.into()));
        assert_eq!(lab.client.get_applications().await.unwrap().len(), 3);
        assert_eq!(lab.api.request_lines().len(), 1);
    }
    let lab = self::lab().await;
    lab.api.fault_next(Fault::Answer(recorded::LIST_PAGE_1_OF_3.into()));
    assert_eq!(lab.client.get_applications().await.unwrap().len(), 3);
    assert_eq!(
        lab.api.request_lines()[1..],
        [format!("{path}?page=2&page_size=1"), format!("{path}?page=3&page_size=1")]
    );
}

#[tokio::test]
async fn a_list_too_large_for_one_answer_is_asked_for_in_pages() {
    // 500 applications of 1.2 kB; 200 fit.
    let lab = lab_with(|builder| builder.body_limit_bytes(300_000)).await;
    for n in 0..500 {
        lab.api.add_application(&sid(n), &format!("application {n}"));
    }
    assert_eq!(lab.client.get_applications().await.unwrap().len(), 503);
    let lines = lab.api.request_lines();
    assert!(lines.len() == 4 && lines[3].ends_with("?page=3&page_size=200"), "{lines:?}");

    // A server that does not know pages and is too large stays an error.
    lab.api.ignore_pages();
    assert!(matches!(lab.client.get_applications().await, Err(Error::TooLarge { limit_bytes: 300_000, .. })));
}

#[tokio::test]
async fn pages_that_never_end_are_given_up() {
    let lab = lab().await;
    lab.api.set_fault(Some(Fault::Answer(answer(
        200,
        "OK",
        &[("Content-Type", "application/json")],
        json!({"total": 1_000_000, "page": 1, "page_size": 1, "data": [lab.api.application(HELLO_WORLD)]}).to_string(),
    ))));
    let error = lab.client.get_applications().await.unwrap_err();
    assert!(matches!(error, Error::TooManyPages { limit: 100, .. }), "{error}");
    assert_eq!(lab.api.request_lines().len(), 100);
    let empty = r#"{"total":3,"page":1,"page_size":10,"data":[]}"#;
    lab.api.set_fault(Some(Fault::Answer(answer(200, "OK", &[("Content-Type", "application/json")], empty))));
    assert_eq!(lab.client.get_applications().await.unwrap().len(), 0);
}

#[tokio::test]
async fn compressed_answers_are_read_and_bounded_by_what_they_unpack_to() {
    for (encoding, body) in [("gzip", recorded::LIST_BODY_GZIP), ("br", recorded::LIST_BODY_BROTLI)] {
        let bytes = answer(200, "OK", &[("Content-Type", "application/json"), ("Content-Encoding", encoding)], body);
        let lab = lab().await;
        lab.api.set_fault(Some(Fault::Answer(bytes.clone())));
        assert_eq!(lab.client.get_applications().await.unwrap().len(), 3, "{encoding}");
        assert!(lab.api.received()[0].headers["accept-encoding"].contains(encoding));

        // 3,383 bytes unpacked, some 600 on the wire.
        let lab = lab_with(|builder| builder.body_limit_bytes(3000)).await;
        lab.api.set_fault(Some(Fault::Answer(bytes)));
        let error = lab.client.get_applications().await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit_bytes: 3000, .. }), "{encoding}: {error}");
    }
}

#[tokio::test]
async fn hooks_are_changed_and_nothing_else() {
    let lab = lab().await;
    lab.api.set_property(
        HELLO_WORLD,
        "messaging_hook",
        json!({"webhook_sid": "m", "url": "https://a.example/m", "method": "POST", "username": "u", "password": "S3CRET"}),
    );
    lab.api.set_property(HELLO_WORLD, "env_vars", json!({"TOKEN": "S3CRET"}));
    let before = lab.api.application(HELLO_WORLD).unwrap();
    let others: Vec<_> = [DIAL_TIME, TEST].map(|sid| lab.api.application(sid)).into();

    let hooks = ApplicationHooks::new("https://bridge.example/call", "https://bridge.example/status");
    let done = lab.client.update_application_hooks(HELLO_WORLD, &hooks).await.unwrap();
    assert!(done.changed);
    assert_eq!(done.before.call_hook.as_ref().unwrap().url, "https://public-apps.jambonz.cloud/hello-world");
    assert!(!format!("{done:?}").contains("S3CRET"));

    let mut expected = before;
    let mut after = lab.api.application(HELLO_WORLD).unwrap();
    assert_eq!(after["call_hook"]["url"], "https://bridge.example/call");
    assert_eq!(after["call_hook"]["method"], "POST");
    assert_eq!(after["call_status_hook"]["url"], "https://bridge.example/status");
    for hook in ["call_hook", "call_status_hook"] {
        expected[hook].take();
        after[hook].take();
    }
    assert_eq!(after, expected, "every other property, the messaging hook's password included");
    let now: Vec<_> = [DIAL_TIME, TEST].map(|sid| lab.api.application(sid)).into();
    assert_eq!(now, others, "applications that shared the webhooks keep theirs");

    let again = lab.client.update_application_hooks(HELLO_WORLD, &hooks).await.unwrap();
    assert!(!again.changed);
    let puts = lab.api.received().iter().filter(|r| r.method == "PUT").count();
    assert_eq!(puts, 1, "what is right already is not sent");
}

#[tokio::test]
async fn a_status_hook_can_be_set_where_there_is_none() {
    let lab = lab().await;
    for hook in ["call_hook", "call_status_hook", "messaging_hook"] {
        lab.api.set_property(TEST, hook, Value::Null);
    }
    let hooks = ApplicationHooks { call_hook: None, call_status_hook: Some(Hook::new("https://bridge.example/s")) };
    assert!(lab.client.update_application_hooks(TEST, &hooks).await.unwrap().changed);
    let after = lab.api.application(TEST).unwrap();
    assert_eq!((&after["call_hook"], &after["messaging_hook"]), (&Value::Null, &Value::Null));
    assert_eq!(after["call_status_hook"]["url"], "https://bridge.example/s");
}

#[tokio::test]
async fn an_update_that_may_have_arrived_is_not_repeated() {
    let lab = lab().await;
    // The second request is the PUT.
    for fault in [Fault::Answer(recorded::APPLICATION.into()), Fault::Cut] {
        lab.api.fault_next(fault);
    }
    let hooks = ApplicationHooks::new("https://bridge.example/call", "https://bridge.example/status");
    let error = lab.client.update_application_hooks(HELLO_WORLD, &hooks).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert_eq!(lab.api.request_lines().len(), 2);

    let error = lab.client.update_application_hooks(UNKNOWN, &hooks).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_call_is_read_and_tagged() {
    let lab = lab().await;
    let call =
        json!({"call_sid": CALL, "call_status": "in-progress", "from": "+7495", "sip_status": 200, "duration": 3});
    lab.api.add_call(CALL, call);
    let call = lab.client.get_call(&CALL.to_uppercase()).await.unwrap();
    assert_eq!((call.call_status.as_deref(), &call.other["sip_status"]), (Some("in-progress"), &json!(200)));
    assert!(!format!("{call:?}").contains("+7495"));

    let data = CustomerData::from_json("x", r#"{"clientName":"Иван","callType":"webcall","customFields":{"a":[1]}}"#);
    let data: Value = serde_json::from_str(&data.unwrap().to_json()).unwrap();
    lab.api.fault_next(Fault::Cut);
    lab.client.update_call_metadata(CALL, &data).await.unwrap();
    assert_eq!(lab.api.call_tag(CALL), Some(data));
    let lines = lab.api.request_lines();
    assert_eq!(lines[1], format!("PUT /v1/Accounts/{ACCOUNT_SID}/Calls/{CALL}"));
    assert_eq!(lines.len(), 3, "tagging twice is tagging once, so it is repeated");

    for result in
        [lab.client.get_call(UNKNOWN).await.map(drop), lab.client.update_call_metadata(UNKNOWN, &json!({"a": 1})).await]
    {
        assert!(matches!(&result, Err(Error::NotFound { what }) if what.contains(UNKNOWN)), "{result:?}");
    }
}

#[tokio::test]
async fn the_webhook_secret_is_read_and_stays_secret() {
    let lab = lab().await;
    let secret = lab.client.get_webhook_secret().await.unwrap();
    assert_eq!(secret.expose_secret(), WEBHOOK_SECRET);
    assert!(!format!("{secret:?}").contains(WEBHOOK_SECRET));
    assert!(!format!("{:?}", lab.client).contains(ACCOUNT_KEY));
}

#[tokio::test]
async fn the_port_gives_names_and_says_why_not() {
    let lab = lab().await;
    let names: &dyn ApplicationNames = &lab.client;
    let name = names.application_name(HELLO_WORLD.parse().unwrap()).await.unwrap();
    assert_eq!(name.as_deref(), Some("hello world"));
    assert_eq!(names.application_name(UNKNOWN.parse().unwrap()).await.unwrap(), None);
    lab.api.set_fault(Some(Fault::Answer(recorded::UNAUTHORIZED.into())));
    let error = names.application_name(DIAL_TIME.parse().unwrap()).await.unwrap_err();
    assert!(error.problem.contains("JAMBONZ_API_KEY"), "{error}");
}

/// The stand-in behind TLS, with a certificate of its own for `localhost`: its port and the certificate in PEM.
async fn behind_tls(is_ca: rcgen::IsCa) -> (u16, String) {
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.is_ca = is_ca;
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&signing_key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let api = Arc::new(JambonzApi::start().await.unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, api) = (acceptor.clone(), Arc::clone(&api));
            tokio::spawn(async move {
                // The client that trusts nobody breaks the handshake off.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = api.serve(stream).await;
                }
            });
        }
    });
    (port, certificate.pem())
}

#[tokio::test]
async fn tls_is_verified() {
    let (port, pem) = behind_tls(rcgen::IsCa::NoCa).await;
    let builder =
        |url: String| JambonzApiClient::builder().api_base_url(url).api_key(ACCOUNT_KEY).account_sid(ACCOUNT_SID);
    let here = format!("https://localhost:{port}");
    let trusting = builder(here.clone()).extra_ca_certificate_pem(pem.clone()).build().unwrap();
    assert_eq!(trusting.get_application_name(HELLO_WORLD).await.unwrap().as_deref(), Some("hello world"));

    let (authoritys_port, authoritys_pem) = behind_tls(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)).await;
    for (url, trusted, says) in [
        (here, None, "signed by nobody whom this machine trusts"),
        (format!("https://127.0.0.1:{port}"), Some(pem), "not valid for name"),
        (format!("https://localhost:{authoritys_port}"), Some(authoritys_pem), "basicConstraints=CA:FALSE"),
    ] {
        let builder = trusted.into_iter().fold(builder(url), JambonzApiClientBuilder::extra_ca_certificate_pem);
        let error = builder.build().unwrap().get_application_name(HELLO_WORLD).await.unwrap_err();
        assert!(matches!(&error, Error::Tls { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_tls = builder(format!("https://{}", plain.local_addr().unwrap())).build().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let refusal = answer(400, "Bad Request", &[("Connection", "close")], "");
            // The client hangs up as soon as it sees that this is not TLS.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &refusal).await;
        }
    });
    let error = not_tls.get_application_name(HELLO_WORLD).await.unwrap_err();
    assert!(matches!(&error, Error::Tls { .. }) && error.to_string().contains("perhaps with http"), "{error}");

    for wrong in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let result = builder("https://localhost".to_owned()).extra_ca_certificate_pem(wrong).build();
        assert!(result.unwrap_err().to_string().contains("extra_ca_certificate_pem"), "{wrong}");
    }
}
