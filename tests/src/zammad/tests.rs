use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::raw_http::{self, Answer as Told, Connection};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const ACCEPT: (&str, &str) = ("Accept", "application/json");
const AUTHORIZATION: (&str, &str) = ("Authorization", "Token token=api-token-0001");
/// What must happen happens in this time.
const DEADLINE: Duration = Duration::from_secs(20);

async fn cti(zammad: &ZammadServer, body: Value) -> io::Result<Told> {
    let target = format!("/api/v1/cti/{CTI_TOKEN}");
    let request = raw_http::request("POST", &target, &[JSON, ACCEPT], body.to_string().as_bytes());
    raw_http::exchange(zammad.address(), &request).await
}

async fn rest(zammad: &ZammadServer, method: &str, target: &str, body: Value) -> Told {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = raw_http::request(method, target, &[JSON, ACCEPT, AUTHORIZATION], body.as_bytes());
    raw_http::exchange(zammad.address(), &request).await.expect("an answer")
}

fn call(event: &str, call_id: &str) -> Value {
    json!({"event": event, "direction": "in", "from": "webcall:abcdefgh", "to": "voicebot", "callId": call_id})
}

#[tokio::test]
async fn parameters_come_as_json_form_or_query_but_not_as_text() {
    let zammad = ZammadServer::start().await.unwrap();
    let target = format!("/api/v1/cti/{CTI_TOKEN}");
    let form = b"event=newCall&direction=in&from=webcall%3Aa+%E2%86%92+b&to=v&callId=form&user[]=A&user[]=B";
    let kind = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    let told = raw_http::exchange(zammad.address(), &raw_http::request("POST", &target, &[kind, ACCEPT], form)).await;
    assert_eq!(told.unwrap().status, 200);
    let row = zammad.row("form").unwrap();
    assert_eq!((row.from.as_str(), row.to_comment.as_deref()), ("webcall:a → b", Some("A, B")));

    let query = format!("{target}?event=newCall&direction=in&from=a&to=b&callId=query");
    let told = raw_http::exchange(zammad.address(), &raw_http::request("POST", &query, &[ACCEPT], b"")).await.unwrap();
    assert_eq!((told.status, told.text().as_str()), (200, "{}"));
    assert!(zammad.row("query").is_some());

    let text = ("Content-Type", "text/plain");
    let body = call("newCall", "text").to_string();
    let request = raw_http::request("POST", &target, &[text, ACCEPT], body.as_bytes());
    let told = raw_http::exchange(zammad.address(), &request).await.unwrap();
    assert_eq!((told.status, told.text().as_str()), (422, r#"{"error":"Invalid 'direction'!"}"#));

    let request = raw_http::request("POST", &target, &[JSON, ACCEPT], b"{\"event\":");
    let told = raw_http::exchange(zammad.address(), &request).await.unwrap();
    assert_eq!(told.status, 500);
    assert!(told.json().unwrap()["error"].as_str().unwrap().starts_with("Error ID "));

    let told = raw_http::exchange(zammad.address(), &raw_http::request("GET", &query, &[ACCEPT], b"")).await.unwrap();
    assert_eq!(told.status, 403, "only POST is the CTI endpoint");
}

#[tokio::test]
async fn an_error_is_a_web_page_for_who_does_not_ask_for_json() {
    let zammad = ZammadServer::start().await.unwrap();
    let target = format!("/api/v1/cti/{CTI_TOKEN}");
    let body = call("answer", "unknown").to_string();
    let request = raw_http::request("POST", &target, &[JSON], body.as_bytes());
    let told = raw_http::exchange(zammad.address(), &request).await.unwrap();
    assert_eq!((told.status, told.header("content-type")), (500, Some("text/html; charset=utf-8")));
    assert!(told.text().contains("Please contact your administrator."), "{}", told.text());
    assert_eq!(zammad.counts().without_accept, 1);

    let request = raw_http::request("POST", "/api/v1/cti/wrong", &[JSON], body.as_bytes());
    let told = raw_http::exchange(zammad.address(), &request).await.unwrap();
    assert_eq!(
        (told.status, told.text().as_str()),
        (401, r#"{"error":"Invalid token, please contact your admin!"}"#),
        "what the endpoint itself says is always JSON"
    );
}

#[tokio::test]
async fn an_installation_that_is_not_ready_says_so() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_integration(Integration::Off);
    assert_eq!(cti(&zammad, call("newCall", "a")).await.unwrap().status, 422);
    zammad.set_integration(Integration::NotConfigured);
    let told = cti(&zammad, call("newCall", "a")).await.unwrap();
    assert_eq!(told.json().unwrap()["error"], "Feature not configured, please contact your admin!");
    zammad.set_integration(Integration::On);
    zammad.set_cti_token("another");
    assert_eq!(cti(&zammad, call("newCall", "a")).await.unwrap().status, 401);
    zammad.set_cti_token(CTI_TOKEN);
    zammad.set_maintenance(true);
    assert_eq!(cti(&zammad, call("newCall", "a")).await.unwrap().status, 200, "maintenance does not stop calls");
    assert_eq!(rest(&zammad, "GET", "/api/v1/users/me", Value::Null).await.status, 403);
    assert_eq!(zammad.rows_made(), 1);
}

#[tokio::test]
async fn faults_keep_work_from_being_done_or_from_being_heard_of() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.fault_next(Fault::status(502));
    zammad.fault_next(Fault::too_many_requests("7"));
    zammad.fault_next(Fault::CutBefore);
    zammad.fault_next(Fault::CutAfter);
    let told = cti(&zammad, call("newCall", "a")).await.unwrap();
    assert_eq!((told.status, told.header("content-type")), (502, Some("text/html; charset=utf-8")));
    let told = cti(&zammad, call("newCall", "a")).await.unwrap();
    assert_eq!((told.status, told.header("retry-after")), (429, Some("7")));
    assert!(cti(&zammad, call("newCall", "a")).await.is_err());
    assert_eq!(zammad.rows_made(), 0);
    assert!(cti(&zammad, call("newCall", "a")).await.is_err());
    assert_eq!(zammad.rows_made(), 1);
    zammad.fault_next(Fault::CutInAnswer);
    assert!(cti(&zammad, call("answer", "a")).await.is_err());
    assert_eq!(zammad.events_of("a"), ["newCall", "answer"]);

    let seen: Vec<_> = zammad.cti_requests().iter().map(|request| (request.done, request.status)).collect();
    assert_eq!(seen, [(false, Some(502)), (false, Some(429)), (false, None), (true, None), (true, None)]);

    zammad.set_fault_of_call("b", Some(Fault::status(500)));
    assert_eq!(cti(&zammad, call("newCall", "b")).await.unwrap().status, 500);
    assert_eq!(cti(&zammad, call("hangup", "a")).await.unwrap().status, 200);
    zammad.set_fault_of_call("b", None);
    zammad.set_fault_every(Some((2, Fault::status(503))));
    let mut statuses = Vec::new();
    for call_id in ["c", "d", "e", "f"] {
        statuses.push(cti(&zammad, call("newCall", call_id)).await.unwrap().status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
}

#[tokio::test]
async fn silence_lasts_until_the_client_gives_up() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.fault_next(Fault::Silence);
    let answer = tokio::time::timeout(Duration::from_millis(50), cti(&zammad, call("newCall", "a"))).await;
    assert!(answer.is_err());
    tokio::time::timeout(DEADLINE, zammad.wait_until(|zammad| zammad.row("a").is_some())).await.expect("done");
}

#[tokio::test]
async fn down_means_connections_are_refused_and_up_is_the_same_address() {
    let zammad = ZammadServer::start().await.unwrap();
    let mut open = Connection::open(zammad.address()).await.unwrap();
    let body = call("newCall", "a").to_string();
    let target = format!("/api/v1/cti/{CTI_TOKEN}");
    let request = raw_http::request("POST", &target, &[JSON, ACCEPT], body.as_bytes());
    assert_eq!(open.exchange(&request).await.unwrap().status, 200);
    zammad.set_up(false);
    assert!(open.exchange(&request).await.is_err());
    let refused = async {
        while !matches!(Connection::open(zammad.address()).await, Err(e) if e.kind() == io::ErrorKind::ConnectionRefused)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("refused");
    zammad.set_up(true);
    let accepted = async {
        while cti(&zammad, call("answer", "a")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, accepted).await.expect("accepted");
    assert!(zammad.row("a").unwrap().start_at.is_some(), "what it knew it still knows");
}

#[tokio::test]
async fn requests_that_are_worked_on_at_once_are_counted() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.hold();
    let both = async { tokio::join!(cti(&zammad, call("newCall", "a")), cti(&zammad, call("newCall", "b"))) };
    let release = async {
        zammad.wait_until(|zammad| zammad.counts().requests == 2).await;
        zammad.release();
    };
    let ((a, b), ()) = tokio::time::timeout(DEADLINE, async { tokio::join!(both, release) }).await.expect("answers");
    assert_eq!((a.unwrap().status, b.unwrap().status), (200, 200));
    assert_eq!(zammad.counts().most_at_once, 2);
    assert_eq!(zammad.counts().cti_done, 2);
}

#[tokio::test]
async fn a_token_of_the_right_kind_is_wanted() {
    let zammad = ZammadServer::start().await.unwrap();
    let ask = async |headers: &[(&str, &str)]| {
        let request = raw_http::request("GET", "/api/v1/users/me", headers, b"");
        raw_http::exchange(zammad.address(), &request).await.unwrap()
    };
    assert_eq!(ask(&[ACCEPT]).await.status, 403);
    let told = ask(&[ACCEPT, ("Authorization", "Token token=wrong")]).await;
    assert_eq!((told.status, told.json().unwrap()["error"].as_str()), (401, Some("Can't find User for Token")));
    assert_eq!(ask(&[ACCEPT, AUTHORIZATION]).await.json().unwrap()["login"], "agent@example.com");
    zammad.set_permissions(Permissions { ticket_agent: false, cti_agent: false, admin_group: false });
    for target in ["/api/v1/users/search?query=a", "/api/v1/tickets/search?query=a", "/api/v1/cti/log"] {
        assert_eq!(rest(&zammad, "GET", target, Value::Null).await.status, 403, "{target}");
    }
    assert_eq!(rest(&zammad, "GET", "/api/v1/users/me", Value::Null).await.status, 200);
}

#[tokio::test]
async fn what_a_token_may_see_depends_on_its_permissions() {
    let zammad = ZammadServer::start().await.unwrap();
    for title in ["one", "two", "three"] {
        let article = json!({"type": "note", "body": "text"});
        let ticket =
            json!({"title": title, "group": "Users", "customer_id": "guess:a@example.com", "article": article});
        assert_eq!(rest(&zammad, "POST", "/api/v1/tickets", ticket).await.status, 201);
    }
    let titles = async |query: &str| -> Vec<String> {
        let told = rest(&zammad, "GET", &format!("/api/v1/tickets{query}"), Value::Null).await;
        assert_eq!(told.status, 200, "{query}");
        let list = told.json().unwrap();
        list.as_array().unwrap().iter().map(|ticket| ticket["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(titles("").await, ["one", "two", "three"]);
    assert_eq!(titles("?page=2&per_page=2&expand=true").await, ["three"]);
    let me = rest(&zammad, "GET", "/api/v1/users/me?expand=true", Value::Null).await.json().unwrap();
    assert_eq!(me["groups"], json!({"Users": ["full"], "Calls": ["full"]}));
    let groups = async || rest(&zammad, "GET", "/api/v1/groups", Value::Null).await.status;
    assert_eq!(groups().await, 403, "an agent may not list them");
    zammad.set_permissions(Permissions { ticket_agent: false, cti_agent: true, admin_group: true });
    assert_eq!(groups().await, 200);
    assert_eq!(titles("").await, [""; 0], "an empty list and no refusal");
    assert_eq!(rest(&zammad, "GET", "/api/v1/users/search?query=a", Value::Null).await.status, 403);
    zammad.fault_next_rest("GET", "/api/v1/users/me", Fault::status(502));
    assert_eq!(titles("").await.len(), 0, "the fault waits for its request");
    assert_eq!(rest(&zammad, "GET", "/api/v1/users/me", Value::Null).await.status, 502);
    assert_eq!(rest(&zammad, "GET", "/api/v1/users/me", Value::Null).await.status, 200);
}

#[tokio::test]
async fn tickets_are_made_noted_searched_and_closed() {
    let zammad = ZammadServer::start().await.unwrap();
    let article = json!({"type": "phone", "sender": "Customer", "internal": false, "content_type": "text/plain",
                         "body": "From: webcall:abcdefgh → voicebot\nSession: session_abc123\nmark-kqzm"});
    let ticket =
        json!({"title": "Call", "group": "Users", "customer_id": "guess:Caller@example.com", "article": article});
    let told = rest(&zammad, "POST", "/api/v1/tickets", ticket).await;
    assert_eq!(told.status, 201, "{}", told.text());
    let id = told.json().unwrap()["id"].as_u64().unwrap();

    let note = json!({"ticket_id": id, "type": "note", "internal": true, "content_type": "text/plain", "body": "a\nb"});
    assert_eq!(rest(&zammad, "POST", "/api/v1/ticket_articles", note).await.status, 201);
    let articles = zammad.articles();
    assert_eq!(articles.len(), 2);
    assert_eq!((articles[1].body.as_str(), articles[1].internal), ("a\nb", true));

    let found =
        rest(&zammad, "GET", "/api/v1/tickets/search?query=mark-kqzm&limit=5", Value::Null).await.json().unwrap();
    assert_eq!((&found["tickets"], &found["tickets_count"]), (&json!([id]), &json!(1)));
    assert_eq!(found["assets"]["Ticket"][id.to_string()]["title"], "Call");
    let expanded = rest(&zammad, "GET", "/api/v1/tickets/search?expand=true&query=mark-kqzm", Value::Null).await;
    assert_eq!(expanded.json().unwrap()[0]["customer"], "caller@example.com");
    let other = rest(&zammad, "GET", "/api/v1/tickets/search?query=mark-other", Value::Null).await.json().unwrap();
    assert_eq!(other["tickets"], json!([]));

    let told = rest(&zammad, "PUT", &format!("/api/v1/tickets/{id}"), json!({"state": "closed"})).await;
    assert_eq!(told.status, 200);
    assert_eq!(zammad.tickets()[0].state, "closed");
    let told = rest(&zammad, "GET", &format!("/api/v1/ticket_articles/by_ticket/{id}"), Value::Null).await;
    assert_eq!(told.json().unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_ticket_lacks_is_named() {
    let zammad = ZammadServer::start().await.unwrap();
    let article = json!({"body": "text"});
    for (name, ticket, error) in [
        (
            "group",
            json!({"group": "Nope", "customer_id": 3, "article": article}),
            "No lookup value found for 'group': \"Nope\"",
        ),
        (
            "email",
            json!({"group": "Users", "customer_id": "guess:nobody", "article": article}),
            "Invalid email 'nobody' of customer",
        ),
        ("body", json!({"group": "Users", "customer_id": 3, "article": {}}), "Need at least an 'article body' field."),
    ] {
        let told = rest(&zammad, "POST", "/api/v1/tickets", ticket).await;
        assert_eq!((told.status, told.json().unwrap()["error"].as_str().unwrap()), (422, error), "{name}");
    }
    let note = json!({"ticket_id": 99, "body": "text"});
    assert_eq!(rest(&zammad, "POST", "/api/v1/ticket_articles", note).await.status, 404);
    assert_eq!(rest(&zammad, "GET", "/api/v1/nothing", Value::Null).await.status, 404);
    assert!(zammad.tickets().is_empty());
}

#[tokio::test]
async fn a_second_user_with_a_login_is_made_without_a_word() {
    let zammad = ZammadServer::start().await.unwrap();
    let user = json!({"login": "user_12345", "firstname": "Иван", "lastname": "Иванов"});
    let first = rest(&zammad, "POST", "/api/v1/users", user.clone()).await;
    let second = rest(&zammad, "POST", "/api/v1/users", user).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_ne!(first.json().unwrap()["login"], second.json().unwrap()["login"]);
    let found = rest(&zammad, "GET", "/api/v1/users/search?query=user_12345", Value::Null).await.json().unwrap();
    assert_eq!(found.as_array().unwrap().len(), 2, "who searches must compare");
    let id = first.json().unwrap()["id"].as_u64().unwrap();
    let told = rest(&zammad, "PUT", &format!("/api/v1/users/{id}"), json!({"note": "calls"})).await;
    assert_eq!(told.json().unwrap()["note"], "calls");
}

#[tokio::test]
async fn a_search_that_lags_does_not_find_what_is_new() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.set_search_lags(true);
    let ticket = json!({"title": "mark-a", "group": "Users", "customer_id": 3});
    assert_eq!(rest(&zammad, "POST", "/api/v1/tickets", ticket).await.status, 201);
    let search = "/api/v1/tickets/search?query=mark-a";
    assert_eq!(rest(&zammad, "GET", search, Value::Null).await.json().unwrap()["tickets_count"], 0);
    zammad.set_search_lags(false);
    assert_eq!(rest(&zammad, "GET", search, Value::Null).await.json().unwrap()["tickets_count"], 1);
}

#[tokio::test]
async fn the_caller_log_is_shown_newest_first_and_taken_note_of() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.add_user("anna", "Anna", "Schmidt", "anna@example.com", "+49 30 609854180");
    for number in 0..SHOWN_ROWS + 5 {
        let mut body = call("newCall", &format!("call-{number}"));
        body["from"] = "4930609854180".into();
        assert_eq!(cti(&zammad, body).await.unwrap().status, 200);
    }
    let shown = rest(&zammad, "GET", "/api/v1/cti/log", Value::Null).await.json().unwrap();
    let list = shown["list"].as_array().unwrap();
    assert_eq!(list.len(), SHOWN_ROWS);
    assert_eq!((&list[0]["call_id"], &list[0]["from_comment"]), (&json!("call-64"), &json!("Anna Schmidt")));
    let id = list[0]["id"].as_u64().unwrap();
    let told = rest(&zammad, "POST", &format!("/api/v1/cti/done/{id}"), json!({"done": true})).await;
    assert_eq!(told.status, 200);
    assert!(zammad.row("call-64").unwrap().done);
}

#[tokio::test]
async fn counts_alone_are_kept_when_that_is_wanted() {
    let zammad = ZammadServer::start().await.unwrap();
    zammad.keep_only_counts();
    for event in ["newCall", "answer", "hangup"] {
        assert_eq!(cti(&zammad, call(event, "a")).await.unwrap().status, 200);
    }
    assert_eq!((zammad.rows().len(), zammad.rows_made(), zammad.cti_requests().len()), (0, 1, 0));
    assert_eq!((zammad.counts().cti_done, zammad.counts().values_not_strings), (3, 0));
}
