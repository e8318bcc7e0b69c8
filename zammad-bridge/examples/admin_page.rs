//! The admin page with made-up calls, to look at and to work on: nothing is received and nobody is told.
//!
//! ```sh
//! cargo run -p codex-zammad-bridge --example admin_page    # then open http://127.0.0.1:8799/, token: look at the page
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use codex_core_sip::metadata::CustomerData;
use codex_core_sip::random::{Random as _, SeededRandom};
use codex_zammad_bridge::admin::calls::show_as_in;
use codex_zammad_bridge::admin::health::Reason;
use codex_zammad_bridge::admin::{Admin, AdminParts, AdminSettings};
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, Direction, FactSource, StepSet, TicketMode};
use codex_zammad_bridge::clock::{Clock, SystemClock, UnixMillis};
use codex_zammad_bridge::delivery::{RecordLanguage, ZammadSettings};
use codex_zammad_bridge::metrics::{Delivery, Metrics, Received, Way};
use codex_zammad_bridge::store::{
    CallStore, DeliveryReport, Outcome, Route, Routes, SqliteSettings, SqliteStore, TakeDue, TicketId,
};

const TOKEN: &str = "look at the page";
const NAMES: [(&str, &str); 6] = [
    ("Иван Иванов", "user_12345"),
    ("Anna Schmidt", "user_20077"),
    ("Jörg Müller", "user_31415"),
    ("Мария Петрова", "user_27182"),
    ("Chloé Dubois", "user_16180"),
    ("李 小龙", "user_14142"),
];

struct Scene {
    store: Arc<SqliteStore>,
    metrics: Arc<Metrics>,
    random: SeededRandom,
    calls: u64,
    tickets: AtomicU64,
}

impl Scene {
    async fn tell(&self, call_id: &str, name: Option<(&str, &str)>, status: CallStatus, at: UnixMillis) {
        let mut fact = CallFact::new(FactSource::StatusHook, at);
        fact.sip_call_id = Some(call_id.to_owned());
        fact.call_sid = Some(format!("5f0c6a2e-7d1b-4c0a-9a5e-{:0>12}", self.calls));
        fact.status = Some(status);
        fact.direction = Some(Direction::Inbound);
        fact.from = Some("alice".to_owned());
        fact.application_name = Some("voicebot".to_owned());
        if let Some((name, id)) = name {
            let data = CustomerData::new("webcall").client_id(id).client_name(name);
            fact.customer_data = Some(data);
        }
        // A store in a new folder takes everything.
        let _ = self.store.commit(fact).await;
        self.metrics.received(Way::StatusHook, Received::Committed, Duration::from_millis(2));
    }

    /// One more call, begun at `at`, that gets as far as chance wants.
    async fn call(&mut self, at: UnixMillis, ends: bool) {
        self.calls += 1;
        let call_id = format!("{}-{}", self.random.letters(8), self.calls);
        let which = usize::try_from(self.random.below(NAMES.len() as u64 + 1)).unwrap_or(0);
        let name = NAMES.get(which).copied();
        self.tell(&call_id, name, CallStatus::Trying, at).await;
        let fate = self.random.below(10);
        if fate > 1 {
            self.tell(&call_id, None, CallStatus::InProgress, at + Duration::from_secs(2)).await;
        }
        if ends {
            let status = if fate > 1 { CallStatus::Completed } else { CallStatus::NoAnswer };
            let length = Duration::from_secs(9 + self.random.below(300));
            self.tell(&call_id, None, status, at + length).await;
        }
    }

    /// Tells "Zammad" what is due: most of it works.
    async fn deliver(&mut self, channel: Channel, now: UnixMillis, lanes: usize) {
        let lease_for = Duration::from_secs(60);
        let request = TakeDue { zammad: "default".into(), channel, limit: lanes, at_once: lanes, now, lease_for };
        let Ok(taken) = self.store.take_due(request).await else { return };
        for due in taken.deliveries {
            let chance = self.random.below(30);
            let lag = now.saturating_since(due.wanted_since);
            let (outcome, kind) = if chance == 0 {
                let fault =
                    "default: 422 Attribute 'to\" of relation \"cti_logs' required!; look at the call and try again";
                (Outcome::Shelved { fault: fault.to_owned() }, Delivery::Shelved)
            } else if chance < 3 {
                let fault = "default: no answer within 15 s; is Zammad overloaded?".to_owned();
                let at = now + Duration::from_secs(20);
                (Outcome::Retry { at, fault, counts: true, uncertain: true, renewed: false }, Delivery::Retry)
            } else {
                let is_ticket = channel == Channel::Ticket;
                let new = TicketId(4000 + i64::try_from(self.tickets.fetch_add(1, Ordering::Relaxed)).unwrap_or(0));
                let ticket = is_ticket.then(|| due.ticket.unwrap_or(new));
                (Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket }, Delivery::Delivered)
            };
            self.metrics.delivery(&"default".into(), due.step, kind, Duration::from_millis(80), lag);
            let report = DeliveryReport { lease: due.lease, step: due.step, at: now, outcome };
            let _ = self.store.report(report).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(SystemClock);
    let routes =
        Routes { routes: vec![Route { zammad: "default".into(), applications: Vec::new(), tickets: TicketMode::All }] };
    let settings = SqliteSettings { path: folder.path().join("calls.db") };
    let store = Arc::new(SqliteStore::open(&settings, routes, clock.clone()).await?);
    let metrics = Metrics::new();
    let mut zammad = ZammadSettings::new("default", "http://127.0.0.1/api/v1/cti/token".into());
    if std::env::var("RECORD_LANG").is_ok_and(|language| language == "ru") {
        zammad.language = RecordLanguage::Ru;
    }
    let admin = Admin::new(AdminParts {
        settings: AdminSettings { token: Some(TOKEN.into()), allow_remote: false },
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
        guesses: Arc::default(),
        random: Box::new(SeededRandom::new(clock.now().as_millis().unsigned_abs())),
        show: show_as_in(&[zammad]),
        faults: Box::new(Vec::new),
        stopping: tokio::sync::watch::channel(false).1,
        warnings: Box::new(|| {
            let warned = std::env::var_os("PAGE_WITHOUT_WARNING").is_none();
            let reason = Reason {
                code: "circuit_open".to_owned(),
                en: "default: Zammad refuses everything with 401 (invalid token); put the token of Zammad's CTI page into ZAMMAD_CTI_URL. Calls are kept and told when it is right.".to_owned(),
                ru: "default: Zammad отвечает 401 (неверный токен); впишите в ZAMMAD_CTI_URL токен со страницы CTI в Zammad. Звонки хранятся и будут переданы, когда токен станет верным.".to_owned(),
            };
            warned.then_some(reason).into_iter().collect()
        }),
    });
    let mut scene = Scene { store, metrics, random: SeededRandom::new(5), calls: 0, tickets: AtomicU64::new(0) };
    for ago in (1..40_u64).rev() {
        scene.call(clock.now() - Duration::from_secs(ago * 97), true).await;
        scene.deliver(Channel::CallerLog, clock.now(), 50).await;
        scene.deliver(Channel::Ticket, clock.now(), 50).await;
    }
    tokio::spawn(Arc::clone(&admin).keep_history());
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(700));
        loop {
            tick.tick().await;
            let now = clock.now();
            let ends = scene.random.below(3) > 0;
            let begun = if ends { Duration::from_secs(120) } else { Duration::from_secs(3) };
            scene.call(now - begun, ends).await;
            scene.deliver(Channel::CallerLog, now, 8).await;
            scene.deliver(Channel::Ticket, now, 8).await;
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 8799)).await?;
    let service = admin.router().into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
