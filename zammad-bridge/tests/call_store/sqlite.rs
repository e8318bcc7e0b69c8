//! What only a store in a file can do.

use codex_core_sip::metadata::CustomerData;
use codex_zammad_bridge::Error;
use codex_zammad_bridge::call_book::{CallFact, CallStatus, Channel, Step, StepSet, TicketMode};
use codex_zammad_bridge::store::{CallQuery, Outcome, SqliteStore};

use crate::bench::{LEASE, SqliteBench, StoreBench, T0, drain, fact, report, routes, take};

#[tokio::test]
async fn a_second_bridge_on_the_same_file_is_refused() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    let second = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert!(matches!(second, Err(Error::StoreInUse { .. })));
    store.close().await;
    drop(bench.open(TicketMode::Off).await);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told_from_one_of_a_newer_program() {
    let bench = SqliteBench::new();
    std::fs::write(
        bench.settings().path,
        b"This is no database, but it is long enough to look like one to somebody.\n".repeat(50),
    )
    .unwrap();
    let opened = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert!(matches!(&opened, Err(Error::StoreDamaged { .. })), "{opened:?}");

    let bench = SqliteBench::new();
    bench.open(TicketMode::Off).await.close().await;
    let mut file = std::fs::read(bench.settings().path).unwrap();
    // The user version stands at byte 60 of the header, https://www.sqlite.org/fileformat.html#database_header.
    file[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(bench.settings().path, file).unwrap();
    let opened = SqliteStore::open(&bench.settings(), routes(TicketMode::Off), bench.clock.clone()).await;
    assert_eq!(opened.err(), Some(Error::StoreTooNew { found: 99, known: 2 }));
}

#[tokio::test]
async fn nothing_of_a_forgotten_client_is_left_in_the_files() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    for number in 0..200 {
        let data = CustomerData::new("webcall").client_id("user_12345").client_name("Erna Musterfrau");
        let fact = CallFact { customer_data: Some(data), ..fact(&format!("sid-{number}"), CallStatus::Completed) };
        store.commit(fact).await.unwrap();
    }
    // Zammad's answers and faults name people too.
    let mut due = take(&*store, Channel::CallerLog, 2, T0).await.deliveries;
    let answer = Some(r#"{"action":"redirect","to":"+74951234567"}"#.to_owned());
    assert!(report(&*store, &due.remove(0), Outcome::Delivered { also: StepSet::EMPTY, answer, ticket: None }).await);
    let fault = "HTTP 422: erna@example.com".to_owned();
    assert!(report(&*store, &due.remove(0), Outcome::Shelved { fault }).await);
    let holds = |needle: &str| {
        std::fs::read_dir(bench.folder.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    };
    assert!(holds("Erna Musterfrau"));
    assert_eq!(store.forget("user_12345").await.unwrap().calls, 200);
    assert!(!holds("Erna Musterfrau"));
    assert!(!holds("user_12345"));
    assert!(!holds("+74951234567") && !holds("erna@example.com"));
    // What an erasure before could not empty, the next one does, though it finds nobody.
    store.commit(fact("sid-late", CallStatus::Trying)).await.unwrap();
    let log = bench.folder.path().join("calls.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    assert_eq!(store.forget("user_12345").await.unwrap().calls, 0);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    store.close().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_shelved_and_stops_nobody() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    let broken = store.commit(fact("a", CallStatus::Completed)).await.unwrap().record;
    let sound = store.commit(fact("b", CallStatus::Trying)).await.unwrap().record;
    store.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.settings().path);
    let mut connection = sqlx::ConnectOptions::connect(&file).await.unwrap();
    sqlx::query("UPDATE call SET record = '[]' WHERE id = ?").bind(broken.0).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let store = bench.open(TicketMode::Off).await;
    assert_eq!(drain(&*store, Channel::CallerLog, T0).await, [(sound, Step::NewCall)]);
    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog.zammads.iter().map(|z| (z.lanes_pending, z.lanes_shelved)).collect::<Vec<_>>(), [(0, 1)]);
    store.close().await;
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date_and_its_names_lead_to_its_calls() {
    let bench = SqliteBench::new();
    let store = bench.open(TicketMode::Off).await;
    let given = CallFact { tag: Some("giventag".to_owned()), ..fact("sid-1", CallStatus::Trying) };
    let id = store.commit(given).await.unwrap().record;
    store.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.settings().path);
    let mut connection = sqlx::ConnectOptions::connect(&file).await.unwrap();
    // What was there before version 2: an index of tags, and other keys.
    for statement in [
        "CREATE INDEX call_tag ON call (tag)",
        "DROP TABLE next_id",
        "UPDATE call_alias SET alias = randomblob(16)",
        "PRAGMA user_version = 1",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    let store = bench.open(TicketMode::Off).await;
    assert_eq!(store.commit(fact("sid-1", CallStatus::Completed)).await.unwrap().record, id);
    let query = CallQuery { name: Some("giventag".to_owned()), limit: 5, ..CallQuery::default() };
    assert_eq!(store.calls(query).await.unwrap().calls.len(), 1);
    // An identity is not given again, though its record is gone and the file was closed.
    drain(&*store, Channel::CallerLog, T0).await;
    assert_eq!(store.sweep(T0 + LEASE, 9).await.unwrap().records, 1);
    store.close().await;
    let store = bench.open(TicketMode::Off).await;
    assert!(store.commit(fact("sid-2", CallStatus::Trying)).await.unwrap().record > id);
    store.close().await;
}
