//! The client made of keys: the name of its target comes from elsewhere, and no call waits for it for long.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::application_names::{ApplicationNames, NameLookupError};
use codex_core_sip::client::{CodexSipClient, StartCall};
use codex_core_sip::error::{Error, Locale, Result};
use codex_core_sip::event::{CallEvent, Event};
use codex_core_sip::media::{MediaEngine, MediaNotifier, MediaSession, MediaSettings};
use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use codex_core_sip::transport::{SignalingFlow, SignalingTransport};
use codex_web_widget::{Client, FIRST_CALL_NAME_WAIT, KeyValues, Settings, create_client};
use tokio::time::{Instant, sleep};

/// An edge that never answers, and media that never start: a call stays where it is.
struct Never;

#[async_trait]
impl SignalingTransport for Never {
    async fn connect(&self) -> Result<Box<dyn SignalingFlow>> {
        std::future::pending().await
    }
}

#[async_trait]
impl MediaEngine for Never {
    async fn create_session(&self, _: MediaSettings, _: MediaNotifier) -> Result<Box<dyn MediaSession>> {
        std::future::pending().await
    }
}

/// Answers after so long, the first times with an error.
struct Names {
    after: Duration,
    failures: usize,
    asked: AtomicUsize,
}

#[async_trait]
impl ApplicationNames for Names {
    async fn application_name(&self, application: ApplicationSid) -> Result<Option<ApplicationName>, NameLookupError> {
        assert_eq!(application.to_string(), "0397dc5f-2f8f-4778-8499-0af934dd1196");
        let times = self.asked.fetch_add(1, Ordering::SeqCst);
        sleep(self.after).await;
        if times < self.failures {
            return Err(NameLookupError { problem: "jambonz is down".to_owned() });
        }
        Ok(Some("Голосовой бот".parse().unwrap()))
    }
}

fn keys() -> KeyValues {
    KeyValues::from_pairs([
        ("JAMBONZ_SIP_DOMAIN", "sip.example.com"),
        ("JAMBONZ_WSS_ADDRESS", "wss://sip.example.com:8443"),
        ("JAMBONZ_SIP_USERNAME", "170"),
        ("JAMBONZ_SIP_PASSWORD", "secret"),
        ("TARGET_SIP_URI", "sip:0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com"),
        ("DEFAULT_LANG", "kk"),
        ("FALLBACK_LANG", "ru"),
    ])
}

fn client(keys: &KeyValues, after: Duration, failures: usize) -> (Client, Arc<Names>) {
    let settings = Settings::from_keys(keys).unwrap();
    let names = Arc::new(Names { after, failures, asked: AtomicUsize::new(0) });
    let builder = CodexSipClient::builder(settings.sip.clone(), Arc::new(Never)).transport(Arc::new(Never));
    (Client::with_parts(&settings, builder, Some(names.clone())).unwrap(), names)
}

/// Places a call and answers with its first event and how long that took.
async fn call(client: &Client) -> (CallEvent, Duration) {
    let mut events = client.events();
    let start = now();
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.start_call(StartCall::default()).await }
    });
    loop {
        if let Event::Call(event) = events.next().await.unwrap() {
            // It would wait for its registration for ever.
            calling.abort();
            return (event, start.elapsed());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is tokio's clock, which stands still here")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_there_in_time_is_in_the_first_call() {
    let (client, _) = client(&keys(), Duration::from_millis(200), 0);
    let (event, took) = call(&client).await;
    assert_eq!(event.application_name.as_deref(), Some("Голосовой бот"));
    assert!(event.display_from.unwrap().ends_with(" → Голосовой бот"));
    assert!(took < FIRST_CALL_NAME_WAIT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_300_ms_at_most_and_a_late_name_is_in_the_next_event() {
    let (client, _) = client(&keys(), Duration::from_secs(3), 0);
    let (event, took) = call(&client).await;
    assert_eq!((event.application_name, event.display_to.as_deref()), (None, Some("voicebot")));
    let tag = event.tag.unwrap();
    assert_eq!(event.display_from, Some(format!("webcall:{tag}")), "no name, no arrow");
    assert!((Duration::from_millis(300)..Duration::from_millis(320)).contains(&took), "{took:?}");
    sleep(Duration::from_secs(4)).await;
    let mut events = client.events();
    client.hangup(None).await.unwrap();
    let Event::Log(_) = events.next().await.unwrap() else { panic!("the log comes first") };
    let Some(Event::Call(event)) = events.next().await else { panic!("then the event") };
    assert_eq!(event.display_from, Some(format!("webcall:{tag} → Голосовой бот")));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_failed_is_tried_again_by_the_next_call_which_does_not_wait() {
    let (client, names) = client(&keys(), Duration::from_millis(100), 1);
    let (event, took) = call(&client).await;
    assert_eq!(event.application_name, None);
    assert!(took < Duration::from_millis(120), "known to have failed after 100 ms: {took:?}");
    client.hangup(None).await.unwrap();
    let (event, took) = call(&client).await;
    assert_eq!(event.application_name, None);
    assert!(took < Duration::from_millis(20), "{took:?}");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(names.asked.load(Ordering::SeqCst), 2);
    client.hangup(None).await.unwrap();
    let (event, _) = call(&client).await;
    assert_eq!(event.application_name.as_deref(), Some("Голосовой бот"));
    sleep(Duration::from_millis(200)).await;
    assert_eq!(names.asked.load(Ordering::SeqCst), 3, "each call asks again: it may have been renamed");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_failed_before_the_first_call_is_tried_again_by_it() {
    let (client, names) = client(&keys(), Duration::from_millis(100), 1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    let (event, took) = call(&client).await;
    assert_eq!(event.application_name.as_deref(), Some("Голосовой бот"));
    assert!((Duration::from_millis(100)..Duration::from_millis(120)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_up_where_a_name_is_configured_or_the_target_is_no_application() {
    for change in [("TARGET_APPLICATION_NAME", "voicebot"), ("TARGET_SIP_URI", "sip:170@sip.example.com")] {
        let (client, names) = client(&keys().over_by([change]), Duration::ZERO, 0);
        let (_, took) = call(&client).await;
        assert!(took < Duration::from_millis(20), "{took:?}");
        assert_eq!(names.asked.load(Ordering::SeqCst), 0, "{change:?}");
    }
}

#[tokio::test]
async fn languages_and_errors() {
    let made = create_client(&keys(), Arc::new(Never)).unwrap();
    assert_eq!(made.text_locale(), Locale::Ru, "no texts in Kazakh: the fallback");
    made.set_language("en-GB".parse().unwrap()).await.unwrap();
    assert_eq!(made.text_locale(), Locale::En);
    assert!(made.warnings().is_empty());

    let error = create_client(&keys().without("JAMBONZ_SIP_DOMAIN"), Arc::new(Never)).unwrap_err();
    assert!(matches!(error, codex_web_widget::Error::Keys(_)), "{error}");
    assert_eq!(error.code(), "configuration");
    assert_eq!(error.for_person(Locale::Ru), Error::Configuration { problems: Vec::new() }.for_person(Locale::Ru));
}
