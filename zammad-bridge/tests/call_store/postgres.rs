//! Stores on PostgreSQL, and what only several replicas can do.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use codex_e2e::postgres::PostgresServer;
use codex_zammad_bridge::Error;
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, FactSource, Step, StepSet, TicketMode};
use codex_zammad_bridge::store::{
    CallQuery, CallStore, Outcome, PostgresSettings, PostgresStore, SqliteSettings, StoreHealth, TakeDue, Taken,
    TicketId,
};
use sqlx::{Connection as _, PgConnection};

use crate::bench::{
    HandClock, LEASE, SqliteBench, StoreBench, T0, delivered, drain, fact, report, routes, take, with_call_id,
};

/// A database of its own.
pub(crate) struct PostgresBench {
    url: String,
    clock: Arc<HandClock>,
}

impl PostgresBench {
    pub(crate) fn new(server: &PostgresServer, name: &str) -> Self {
        let url = server.create_database(name).unwrap();
        Self { url, clock: Arc::new(HandClock(AtomicI64::new(T0.as_millis()))) }
    }

    fn settings(&self) -> PostgresSettings {
        PostgresSettings::from_url(&self.url).unwrap()
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

#[async_trait]
impl StoreBench for PostgresBench {
    async fn open(&self, tickets: TicketMode) -> Arc<dyn CallStore> {
        Arc::new(PostgresStore::open(&self.settings(), routes(tickets), self.clock.clone()).await.unwrap())
    }

    async fn settle(&self) {
        let mut connection = self.connect().await;
        // The server ends what it has begun before it notices that nobody is there.
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sqlx::query("DELETE FROM zammad_bridge.replica").execute(&mut connection).await.unwrap();
    }

    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

impl PostgresBench {
    /// A replica that is missed after so long.
    async fn replica_of(&self, replica_lease: Duration) -> PostgresStore {
        let mut settings = self.settings();
        settings.replica_lease = replica_lease;
        PostgresStore::open(&settings, routes(TicketMode::Off), self.clock.clone()).await.unwrap()
    }

    async fn replica(&self) -> PostgresStore {
        self.replica_of(PostgresSettings::REPLICA_LEASE).await
    }
}

async fn take_at_once(store: &dyn CallStore, at_once: usize) -> Taken {
    let channel = Channel::CallerLog;
    let request = TakeDue { zammad: "default".into(), channel, limit: 9, at_once, now: T0, lease_for: LEASE };
    store.take_due(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_calls_and_deliveries() {
    let Some(server) = PostgresServer::start_if_installed() else { return };
    facts_of_one_call_at_several_replicas_make_one_record(&PostgresBench::new(&server, "facts")).await;
    no_lane_is_anybodys_twice(&PostgresBench::new(&server, "lanes")).await;
    what_a_dead_replica_had_is_taken_over_and_its_reports_count_no_more(&PostgresBench::new(&server, "dead")).await;
    replicas_hear_of_each_other(&PostgresBench::new(&server, "bell")).await;
    a_newer_schema_is_refused(&PostgresBench::new(&server, "newer")).await;
    a_file_moves_into_the_database_and_nothing_is_told_twice(&PostgresBench::new(&server, "migrate")).await;
}

async fn a_file_moves_into_the_database_and_nothing_is_told_twice(bench: &PostgresBench) {
    let file = SqliteBench::new();
    let kept = file.open(TicketMode::All).await;
    for call in 0..600 {
        kept.commit(with_call_id(&format!("sid-{call}"), &format!("id-{call}"), CallStatus::Trying)).await.unwrap();
    }
    // Of the first ten calls Zammad knows, and has tickets; one is on the shelf, one has been answered since.
    let known = take(&*kept, Channel::CallerLog, 10, T0).await.deliveries;
    for due in &known {
        assert!(report(&*kept, due, delivered()).await);
    }
    for (number, due) in (1..).zip(take(&*kept, Channel::Ticket, 10, T0).await.deliveries) {
        let ticket = Some(TicketId(number));
        assert!(report(&*kept, &due, Outcome::Delivered { also: StepSet::EMPTY, answer: None, ticket }).await);
    }
    let poison = take(&*kept, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(report(&*kept, &poison, Outcome::Shelved { fault: "HTTP 422".to_owned() }).await);
    kept.commit(fact("sid-0", CallStatus::InProgress)).await.unwrap();

    // Bridges run on the database already, and have heard of the end of two of these calls.
    let store = bench.open(TicketMode::All).await;
    for call in [0, 1] {
        store.commit(with_call_id(&format!("sid-{call}"), &format!("id-{call}"), CallStatus::Completed)).await.unwrap();
    }
    let moving = || migrate(file.settings(), bench.settings(), bench.clock.clone());
    assert!(matches!(moving().await, Err(Error::StoreInUse { .. })), "a bridge has the file");
    kept.close().await;
    let moved = moving().await.unwrap();
    assert_eq!((moved.records, moved.unreadable), (600, 0));
    assert!(moved.moved_to.exists() && !file.settings().path.exists());
    // Broken off and begun again, it changes nothing.
    std::fs::rename(&moved.moved_to, file.settings().path).unwrap();
    assert_eq!(moving().await.unwrap().records, 600);

    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog.zammads.iter().map(|zammad| zammad.lanes_shelved).sum::<u64>(), 1);
    let told = drain(&*store, Channel::CallerLog, T0).await;
    let times = |step| told.iter().filter(|(_, own)| *own == step).count();
    // 600 less ten that were told, less the one on the shelf; two were answered and ended.
    assert_eq!((times(Step::NewCall), times(Step::Answer), times(Step::Hangup)), (589, 2, 2));
    let query = CallQuery { name: Some("id-1".to_owned()), limit: 5, ..CallQuery::default() };
    let found = store.calls(query).await.unwrap().calls;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].record.zammad_call_id.as_deref(), Some("id-1"));
    assert_eq!(found[0].lanes.iter().find_map(|lane| lane.ticket), Some(TicketId(2)));
    store.close().await;
}

async fn migrate(
    from: SqliteSettings,
    to: PostgresSettings,
    clock: Arc<HandClock>,
) -> codex_zammad_bridge::Result<codex_zammad_bridge::store::Migrated> {
    codex_zammad_bridge::store::migrate(&from, &to, routes(TicketMode::All), clock).await
}

async fn facts_of_one_call_at_several_replicas_make_one_record(bench: &PostgresBench) {
    const CALLS: usize = 40;
    let replicas: Vec<Arc<PostgresStore>> =
        vec![Arc::new(bench.replica().await), Arc::new(bench.replica().await), Arc::new(bench.replica().await)];
    let mut commits = Vec::new();
    for call in 0..CALLS {
        let (sid, call_id) = (format!("sid-{call}"), format!("call-id-{call}"));
        let mut by_client = CallFact::new(FactSource::Record, T0);
        by_client.sip_call_id = Some(call_id.clone());
        by_client.status = Some(CallStatus::Trying);
        let leg =
            CallFact { parent_call_sid: Some(sid.clone()), ..fact(&format!("leg-{call}"), CallStatus::InProgress) };
        let facts = [
            by_client,
            with_call_id(&sid, &call_id, CallStatus::Trying),
            with_call_id(&sid, &call_id, CallStatus::InProgress),
            leg,
            fact(&sid, CallStatus::Completed),
        ];
        for (number, fact) in facts.into_iter().enumerate() {
            let store = replicas[(call + number) % replicas.len()].clone();
            commits.push(tokio::spawn(async move { store.commit(fact).await }));
        }
    }
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    // Whatever came before what: a fact that names both leads them together.
    for call in 0..CALLS {
        let fact = with_call_id(&format!("sid-{call}"), &format!("call-id-{call}"), CallStatus::Completed);
        replicas[call % replicas.len()].commit(fact).await.unwrap();
    }
    let page = replicas[0].calls(CallQuery { limit: 500, ..CallQuery::default() }).await;
    let calls = page.unwrap().calls;
    assert_eq!(calls.len(), CALLS);
    for call in &calls {
        assert!(call.record.end.is_some() && call.record.person_answered_at.is_some(), "{:?}", call.record);
        assert_eq!(call.record.legs.len(), 1);
    }
    let told = drain(&*replicas[1], Channel::CallerLog, T0).await;
    assert_eq!(told.len(), CALLS * 3);
    for replica in replicas {
        replica.close().await;
    }
}

async fn no_lane_is_anybodys_twice(bench: &PostgresBench) {
    let (one, other) = (bench.replica().await, bench.replica().await);
    for call in 0..30 {
        one.commit(fact(&format!("sid-{call}"), CallStatus::Trying)).await.unwrap();
    }
    let (first, second) = tokio::join!(take_at_once(&one, 100), take_at_once(&other, 100));
    let mut seen: Vec<_> = first.deliveries.iter().chain(&second.deliveries).map(|due| due.lease.record).collect();
    assert_eq!(seen.len(), 18);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 18);
    // All replicas together keep to what one Zammad may get at a time.
    assert!(take_at_once(&one, 18).await.deliveries.is_empty());
    let more = take_at_once(&other, 20).await;
    assert_eq!(more.deliveries.len(), 2);
    assert!(more.next_due.is_some_and(|at| at > T0), "it is looked again soon");
    for due in &first.deliveries {
        assert!(report(&one, due, delivered()).await);
    }
    assert_eq!(take_at_once(&other, 20).await.deliveries.len(), 9);
    one.close().await;
    other.close().await;
}

async fn what_a_dead_replica_had_is_taken_over_and_its_reports_count_no_more(bench: &PostgresBench) {
    let (dead, alive) = (bench.replica_of(Duration::from_secs(3_600)).await, bench.replica().await);
    dead.commit(fact("sid-1", CallStatus::Completed)).await.unwrap();
    let had = take(&dead, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert!(dead.may_begin(&had.lease, T0));
    assert!(take(&alive, Channel::CallerLog, 1, T0).await.deliveries.is_empty());
    // As if it had been silent for too long; it would show life again only in a third of an hour.
    let mut connection = bench.connect().await;
    let silent = "UPDATE zammad_bridge.replica SET alive_until = now() - interval '1 s' WHERE alive_until > now() + interval '1 min'";
    sqlx::query(silent).execute(&mut connection).await.unwrap();
    let taken = take(&alive, Channel::CallerLog, 1, T0).await.deliveries.remove(0);
    assert_eq!((taken.lease.record, taken.step), (had.lease.record, Step::NewCall));
    assert!(!report(&dead, &had, delivered()).await);
    assert!(report(&alive, &taken, delivered()).await);
    assert_eq!(drain(&alive, Channel::CallerLog, T0).await.len(), 2);
    // One that goes in order leaves nothing to wait for.
    alive.commit(fact("sid-2", CallStatus::Trying)).await.unwrap();
    assert_eq!(take(&alive, Channel::CallerLog, 1, T0).await.deliveries.len(), 1);
    alive.close().await;
    let next = bench.replica().await;
    assert_eq!(take(&next, Channel::CallerLog, 1, T0).await.deliveries.len(), 1);
    next.close().await;
}

async fn replicas_hear_of_each_other(bench: &PostgresBench) {
    let (one, other) = (bench.replica().await, bench.replica().await);
    let mut changes = other.changes();
    let (mut call, mut heard) = (0, None);
    while heard.is_none() {
        // Until it listens, it is told nothing.
        one.commit(fact(&format!("sid-{call}"), CallStatus::Trying)).await.unwrap();
        call += 1;
        heard = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await.ok();
        assert!(call < 100, "nothing is heard");
    }
    assert!(heard.unwrap().unwrap().record.0 > 0);
    one.close().await;
    other.close().await;
}

async fn a_newer_schema_is_refused(bench: &PostgresBench) {
    bench.replica().await.close().await;
    let mut connection = bench.connect().await;
    sqlx::query("UPDATE zammad_bridge.schema_version SET version = 99").execute(&mut connection).await.unwrap();
    let opened = PostgresStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert_eq!(opened.err(), Some(Error::StoreTooNew { found: 99, known: 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_told_of_and_used_again_when_it_is_back() {
    let Some(mut server) = PostgresServer::start_if_installed() else { return };
    let bench = PostgresBench::new(&server, "away");
    let store = bench.open(TicketMode::Off).await;
    let id = store.commit(fact("sid-1", CallStatus::Trying)).await.unwrap().record;
    server.kill();
    let refused = store.commit(fact("sid-2", CallStatus::Trying)).await;
    assert!(matches!(refused, Err(Error::StoreAway { .. })), "{refused:?}");
    assert!(matches!(store.health(), StoreHealth::Failing { error: Error::StoreAway { .. }, .. }));
    server.run().unwrap();
    store.commit(fact("sid-2", CallStatus::Trying)).await.unwrap();
    assert_eq!(store.health(), StoreHealth::Working);
    assert!(store.call(id).await.unwrap().is_some(), "what was acknowledged is there");
    store.close().await;
    let nobody = PostgresSettings::from_url("postgres://bridge@127.0.0.1:1/x").unwrap();
    let nobody = PostgresStore::open(&nobody, routes(TicketMode::Off), bench.clock.clone()).await;
    assert!(matches!(nobody.err(), Some(Error::StoreAway { .. })));
}
