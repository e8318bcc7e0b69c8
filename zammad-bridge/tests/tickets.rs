//! Tickets as an agent finds them: one a call, once, with the right customer, whatever goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz_webhooks::{CALL_HOOK, Call, STATUS_HOOK, Sender};
use codex_e2e::zammad::{API_TOKEN, Article, Fault, Permissions, ZammadServer};
use serde_json::{Value, json};
use tempfile::TempDir;

use scene::{admin_get, bridge, has_ended, post_course, unix_seconds, wait, wait_until_all_is_told};

const GENERIC: &str = "voice-calls@example.invalid";

/// A bridge that makes tickets, as it does once it has an API token.
fn with_tickets(folder: &TempDir, zammad: &ZammadServer) -> Bridge {
    bridge(folder, zammad).with("ZAMMAD_URL", &zammad.url()).with("ZAMMAD_API_TOKEN", API_TOKEN)
}

async fn post(sender: &mut Sender, path: &str, body: &Value) {
    let answer = sender.post(path, body, unix_seconds()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn articles_of(zammad: &ZammadServer, ticket: u64) -> Vec<Article> {
    zammad.articles().into_iter().filter(|article| article.ticket_id == ticket).collect()
}

/// Who carries a ticket.
fn customer_of(zammad: &ZammadServer, ticket: usize) -> String {
    let id = zammad.tickets()[ticket].customer_id;
    zammad.users().into_iter().find(|user| user.id == id).unwrap().login
}

#[tokio::test]
async fn a_call_is_one_ticket_with_the_record_in_full_and_its_course_as_notes() {
    let four_lines = |language: &str, tag: &str| match language {
        "ru" => format!(
            "Звонок от: webcall:{tag} → voicebot\nКлиент: Иван Иванов (user_1)\nТип: webcall\nСессия: session_abc123\n"
        ),
        _ => format!(
            "From: webcall:{tag} → voicebot\nCustomer: Иван Иванов (user_1)\nType: webcall\nSession: session_abc123\n"
        ),
    };
    for language in ["en", "ru"] {
        let folder = tempfile::tempdir().unwrap();
        let zammad = ZammadServer::start().await.unwrap();
        let mut bridge = with_tickets(&folder, &zammad).with("RECORD_LANG", language);
        bridge.start().await;
        let mut sender = Sender::to(bridge.address());
        let call = Call::numbered(1);
        let tag = &call.sip_call_id[..8];
        post(&mut sender, CALL_HOOK, &call.announcement()).await;
        wait(&zammad, &bridge, "the ticket is there", |zammad| zammad.tickets().len() == 1).await;
        for (count, status) in [(2, ("in-progress", 200)), (3, ("completed", 200))] {
            post(&mut sender, STATUS_HOOK, &call.status(status.0, status.1)).await;
            wait(&zammad, &bridge, status.0, |zammad| zammad.articles().len() == count).await;
        }
        wait_until_all_is_told(&zammad, &bridge, std::slice::from_ref(&call)).await;

        let tickets = zammad.tickets();
        assert_eq!(tickets.len(), 1, "{tickets:?}");
        assert!(tickets[0].title.contains("Иван Иванов") && tickets[0].title.ends_with(']'), "{}", tickets[0].title);
        assert_eq!(tickets[0].group, "Users");
        let articles = articles_of(&zammad, tickets[0].id);
        let first = &articles[0];
        assert!(first.body.starts_with(&four_lines(language, tag)), "{}", first.body);
        assert!(first.body.contains(&call.call_sid) && first.body.contains(&call.sip_call_id), "{}", first.body);
        assert_eq!((first.kind.as_str(), first.sender.as_str(), first.internal), ("phone", "Customer", false));
        assert_eq!(first.content_type, "text/plain");
        for (note, words) in [(&articles[1], ["answered", "ответили"]), (&articles[2], ["0:12", "0:12"])] {
            let words = if language == "ru" { words[1] } else { words[0] };
            assert!(note.body.to_lowercase().contains(words), "{words}: {}", note.body);
            assert_eq!((note.kind.as_str(), note.internal), ("note", true));
        }
        // What the caller claims is shown and leads to nobody.
        assert_eq!(customer_of(&zammad, 0), GENERIC);
        assert_eq!(zammad.users().len(), 2, "the agent and the generic customer");
    }
}

#[tokio::test]
async fn which_calls_get_a_ticket_is_a_setting() {
    for (mode, with_token, expected) in
        [("", true, 2), ("all", true, 2), ("missed", true, 1), ("off", true, 0), ("", false, 0)]
    {
        let folder = tempfile::tempdir().unwrap();
        let zammad = ZammadServer::start().await.unwrap();
        let mut bridge = if with_token { with_tickets(&folder, &zammad) } else { bridge(&folder, &zammad) };
        if !mode.is_empty() {
            bridge = bridge.with("TICKET_MODE", mode);
        }
        bridge.start().await;
        let mut sender = Sender::to(bridge.address());
        let (taken, missed) = (Call::numbered(1), Call::numbered(2));
        post_course(&mut sender, &taken).await;
        for body in [missed.status("trying", 100), missed.status("no-answer", 487)] {
            post(&mut sender, STATUS_HOOK, &body).await;
        }
        wait_until_all_is_told(&zammad, &bridge, &[taken, missed]).await;
        assert_eq!(zammad.tickets().len(), expected, "{mode} {with_token}");
        if mode == "missed" {
            let ticket = &zammad.tickets()[0];
            assert!(ticket.title.contains("user_2") || ticket.title.contains("Иван"), "{}", ticket.title);
            assert!(articles_of(&zammad, ticket.id)[0].body.contains("session_abc123"));
        }
        if expected == 0 {
            assert_eq!(zammad.rest_requests().iter().filter(|one| one.method == "POST").count(), 0, "{mode}");
        }
    }
}

#[tokio::test]
async fn answers_that_are_lost_make_no_second_ticket_and_no_second_note() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    zammad.fault_next_rest("POST", "/api/v1/tickets", Fault::CutAfter);
    zammad.fault_next_rest("GET", "/api/v1/tickets/search", Fault::status(502));
    zammad.fault_next_rest("POST", "/api/v1/ticket_articles", Fault::CutInAnswer);
    // After an answer that was lost, a request's time limit is waited out.
    let mut bridge = with_tickets(&folder, &zammad).with("ZAMMAD_TIMEOUT_MS", "1000");
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    let call = Call::numbered(1);
    post(&mut sender, CALL_HOOK, &call.announcement()).await;
    wait(&zammad, &bridge, "the ticket is there", |zammad| zammad.tickets().len() == 1).await;
    post_course(&mut sender, &call).await;
    // As a hook with #rc repeats it.
    post_course(&mut sender, &call).await;
    post(&mut sender, CALL_HOOK, &call.announcement()).await;
    wait_until_all_is_told(&zammad, &bridge, std::slice::from_ref(&call)).await;
    assert_eq!(zammad.tickets().len(), 1);
    let mut subjects: Vec<String> = zammad.articles().into_iter().map(|article| article.subject).collect();
    let count = subjects.len();
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), count, "each note once: {subjects:?}");
}

#[tokio::test]
async fn a_bridge_that_is_killed_while_zammad_makes_the_ticket_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = with_tickets(&folder, &zammad);
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    let calls: Vec<Call> = (1..=3).map(Call::numbered).collect();
    for call in &calls {
        // The ticket is made, its answer never comes: nobody here knows its number.
        zammad.fault_next_rest("POST", "/api/v1/tickets", Fault::Silence);
        post(&mut sender, CALL_HOOK, &call.announcement()).await;
    }
    wait(&zammad, &bridge, "the tickets are made", |zammad| zammad.tickets().len() == calls.len()).await;
    bridge.kill();
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    for call in &calls {
        post_course(&mut sender, call).await;
    }
    wait_until_all_is_told(&zammad, &bridge, &calls).await;
    let mut titles: Vec<String> = zammad.tickets().into_iter().map(|ticket| ticket.title).collect();
    titles.sort();
    titles.dedup();
    assert_eq!((titles.len(), zammad.tickets().len()), (calls.len(), calls.len()), "{titles:?}");
}

#[tokio::test]
async fn a_trusted_caller_is_the_customer_who_is_the_very_same_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    // Alike, and found by the same search.
    zammad.add_user("user_12", "Other", "Person", "other@example.com", "");
    let own = zammad.add_user("user_1", "Иван", "Иванов", "ivan@example.com", "");
    let mut bridge = with_tickets(&folder, &zammad)
        .with("TRUST_CUSTOMER_DATA", "true")
        .with("TICKET_CUSTOMER_FIELD", "login")
        .with("TICKET_CUSTOMER_CREATE", "true");
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    let mut calls: Vec<Call> = [1, 7, 8].map(Call::numbered).into();
    // The same new customer calls twice, and two who say that they are nobody.
    calls[2].customer_data["clientId"] = "user_7".into();
    for (number, nobody) in [(20, json!("anonymous")), (21, json!("anonymous")), (22, Value::Null)] {
        let mut call = Call::numbered(number);
        call.customer_data["clientId"] = nobody;
        calls.push(call);
    }
    for call in &calls {
        post(&mut sender, CALL_HOOK, &call.announcement()).await;
        post_course(&mut sender, call).await;
    }
    wait_until_all_is_told(&zammad, &bridge, &calls).await;
    let tickets = zammad.tickets();
    assert_eq!(tickets.len(), calls.len());
    let customers = |login: &str| {
        let id = zammad.users().into_iter().find(|user| user.login == login).map(|user| user.id);
        tickets.iter().filter(|ticket| Some(ticket.customer_id) == id).count()
    };
    assert_eq!(tickets.iter().filter(|ticket| ticket.customer_id == own).count(), 1);
    assert_eq!((customers("user_7"), customers("user_12"), customers(GENERIC)), (2, 0, 3));
    assert_eq!(zammad.users().iter().filter(|user| user.login.starts_with("user_7")).count(), 1, "searched first");
    assert!(zammad.users().iter().all(|user| !user.login.contains("anonymous")), "{:?}", zammad.users());
}

#[tokio::test]
async fn a_trusted_caller_who_is_not_found_stays_with_the_generic_customer_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge =
        with_tickets(&folder, &zammad).with("TRUST_CUSTOMER_DATA", "true").with("TICKET_CUSTOMER", "Phone@Example.com");
    bridge.start().await;
    let call = Call::numbered(5);
    post_course(&mut Sender::to(bridge.address()), &call).await;
    wait_until_all_is_told(&zammad, &bridge, &[call]).await;
    assert_eq!(customer_of(&zammad, 0), "phone@example.com");
    assert_eq!(zammad.users().len(), 2);
}

#[tokio::test]
async fn what_zammad_forbids_stops_the_tickets_with_a_reason_and_loses_none() {
    let none = Permissions { ticket_agent: false, cti_agent: false, admin_group: false };
    let all = Permissions { ticket_agent: true, cti_agent: true, admin_group: false };
    type Change = Box<dyn Fn(&ZammadServer)>;
    let cases: [(&str, &str, Change, Change, &str); 3] = [
        (
            "401",
            "Users",
            Box::new(|z| z.set_api_token("another")),
            Box::new(|z| z.set_api_token(API_TOKEN)),
            "ZAMMAD_API_TOKEN",
        ),
        (
            "403",
            "Users",
            Box::new(move |z| z.set_permissions(none)),
            Box::new(move |z| z.set_permissions(all)),
            "ticket.agent",
        ),
        ("422", "Nowhere", Box::new(|_| {}), Box::new(|_| {}), "TICKET_GROUP"),
    ];
    for (what, group, breaks, mends, remedy) in cases {
        let folder = tempfile::tempdir().unwrap();
        let zammad = ZammadServer::start().await.unwrap();
        breaks(&zammad);
        let mut bridge = with_tickets(&folder, &zammad).with("TICKET_GROUP", group);
        bridge.start().await;
        let mut sender = Sender::to(bridge.address());
        let calls: Vec<Call> = (0..8).map(Call::numbered).collect();
        for call in &calls {
            post_course(&mut sender, call).await;
        }
        // The caller log goes on, tickets wait with a reason that says what to do.
        let over = |zammad: &ZammadServer| calls.iter().all(|call| has_ended(zammad, &call.sip_call_id));
        wait(&zammad, &bridge, "the caller log goes on", over).await;
        let refuses = |answer: &codex_e2e::raw_http::Answer| {
            answer.json().unwrap()["warnings"][0]["code"] == "zammad_refuses" && answer.status == 200
        };
        bridge.wait_for("/readyz", refuses).await;
        let status = admin_get(&bridge, "/v1/control/status").await;
        assert!(status["links"].to_string().contains(remedy), "{what}: {status}");
        assert_eq!(zammad.tickets().len(), 0, "{what}");
        let writes = zammad.rest_requests().iter().filter(|one| one.method == "POST").count();
        assert!(writes <= 6, "{what}: the queue is not burned: {writes}");
        assert!(!bridge.log().contains(API_TOKEN), "{what}");

        mends(&zammad);
        let mut bridge = bridge.with("TICKET_GROUP", "Users");
        assert!(bridge.stop().await.is_some_and(|status| status.success()), "{}", bridge.log());
        bridge.start().await;
        wait_until_all_is_told(&zammad, &bridge, &calls).await;
        assert_eq!(zammad.tickets().len(), calls.len(), "{what}");
    }
}
