//! The application behind the bridge: what jambonz sends reaches it byte for byte, and its verbs reach jambonz.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use codex_e2e::jambonz_webhooks::{CALL_HOOK, Call, STATUS_HOOK, Sender, recorded};
use codex_e2e::raw_http;
use codex_e2e::zammad::ZammadServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use scene::{bridge, unix_seconds};

/// A request as it came: its first line, header lines, and body.
#[derive(Debug, Clone)]
struct Came {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An application that answers each path with what it is told, and remembers what came to the last byte.
struct Application {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    count: watch::Receiver<usize>,
}

impl Application {
    async fn answering(answers: &'static [(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let (counting, count) = watch::channel(0);
        let remember = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (remember, counting) = (Arc::clone(&remember), counting.clone());
                tokio::spawn(async move {
                    let answering = serve(stream, answers, &remember, &counting);
                    // Whoever hangs up has what it wanted.
                    let _ = answering.await;
                });
            }
        });
        Self { address, came, count }
    }

    /// Everything that came, once there is so much of it.
    async fn came(&mut self, count: usize) -> Vec<Came> {
        let waiting = self.count.wait_for(|come| *come >= count);
        tokio::time::timeout(scene::DEADLINE, waiting).await.expect("it comes").unwrap();
        self.came.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: &[(&str, &str)],
    came: &Mutex<Vec<Came>>,
    counting: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).expect("UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a number"));
        while buffer.len() < length {
            stream.read_buf(&mut buffer).await?;
        }
        let body = buffer.drain(..length).collect();
        let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let answer = answers.iter().find(|(own, _)| *own == path).map_or("", |(_, answer)| *answer);
        came.lock().unwrap().push(Came { line, headers, body });
        counting.send_modify(|count| *count += 1);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await?;
    }
}

#[tokio::test]
async fn recorded_requests_reach_the_application_byte_for_byte() {
    const ANSWERS: &[(&str, &str)] = &[("/app/call", r#"[{"verb":"gather","actionHook":"/gather"}]"#)];
    let mut application = Application::answering(ANSWERS).await;
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    // The recording is older than signatures may be; it is for the application to check it again.
    let mut bridge = bridge(&folder, &zammad)
        .with("JAMBONZ_WEBHOOK_SECRET", "")
        .with("UPSTREAM_CALL_HOOK", &format!("http://{}/app/call?key=v", application.address))
        .with("UPSTREAM_STATUS_HOOK", &format!("http://{}/app/status", application.address));
    bridge.start().await;
    let requests = recorded();
    for (count, (request, path)) in requests.iter().zip(["/jambonz/call?x=1", STATUS_HOOK, STATUS_HOOK]).enumerate() {
        let answer = raw_http::exchange(bridge.address(), &request.bytes_to(path, bridge.address())).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let came = application.came(count + 1).await[count].clone();
        let line = if count == 0 { "POST /app/call?key=v&x=1 HTTP/1.1" } else { "POST /app/status HTTP/1.1" };
        assert_eq!(came.line, line);
        assert_eq!(came.body, request.body, "{path}");
        // Everything that jambonz said of the request itself, and nothing that was said of the connection.
        let of_connection = ["host", "connection", "content-length", "accept-encoding", "transfer-encoding", "expect"];
        for (name, value) in
            request.headers.iter().filter(|(name, _)| !of_connection.contains(&name.to_lowercase().as_str()))
        {
            let values: Vec<&String> =
                came.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
            assert_eq!(values, [value], "{path}: {name}");
        }
        let own: Vec<&str> =
            came.headers.iter().map(|(name, _)| name.as_str()).filter(|name| request.header(name).is_none()).collect();
        for name in own {
            assert!(
                ["via", "host", "content-length", "accept"].contains(&name.to_lowercase().as_str()),
                "{path}: {name} was added"
            );
        }
    }
}

#[tokio::test]
async fn what_the_application_answers_is_what_jambonz_gets() {
    const ANSWERS: &[(&str, &str)] = &[
        (
            "/call",
            r#"[{"verb":"tag","data":{"orderId":7,"clientName":"Own name"}},{"verb":"gather","actionHook":"first"}]"#,
        ),
        ("/first", r#"[{"verb":"gather","actionHook":"/deep/second"}]"#),
        ("/deep/second", r#"[{"verb":"hangup"}]"#),
    ];
    let mut application = Application::answering(ANSWERS).await;
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge =
        bridge(&folder, &zammad).with("UPSTREAM_CALL_HOOK", &format!("http://{}/call", application.address));
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    let call = Call::numbered(1);
    let answer = sender.post(CALL_HOOK, &call.announcement(), unix_seconds()).await.unwrap();
    let verbs = answer.json().unwrap();
    assert_eq!((verbs.as_array().unwrap().len(), &verbs[0]["verb"]), (2, &json!("tag")), "merged into one: {verbs}");
    let data = &verbs[0]["data"];
    assert_eq!((&data["orderId"], &data["clientName"]), (&json!(7), &json!("Own name")), "the application's keys win");
    assert_eq!((&data["clientId"], &data["sessionId"]), (&json!("user_1"), &json!("session_abc123")));
    assert_eq!((&data["displayTo"], &data["tag"]), (&json!("voicebot"), &json!(call.sip_call_id[..8])));

    // jambonz resolves hooks against the origin of the call_hook, and later answers as well.
    let mut hook = format!("/{}", verbs[1]["actionHook"].as_str().unwrap());
    let mut seen = Vec::new();
    loop {
        let body = json!({"call_sid": call.call_sid, "speech": {"text": "да"}});
        let answer = sender.post(&hook, &body, unix_seconds()).await.unwrap();
        let verbs: Value = answer.json().unwrap();
        seen.push(std::mem::take(&mut hook));
        match verbs[0]["actionHook"].as_str() {
            Some(next) => next.clone_into(&mut hook),
            None => break assert_eq!(verbs, json!([{"verb": "hangup"}])),
        }
    }
    assert_eq!(seen, ["/first", "/deep/second"]);
    let came = application.came(3).await;
    for request in &came[1..] {
        assert!(request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("jambonz-signature")), "{request:?}");
        assert!(String::from_utf8_lossy(&request.body).contains("да"));
    }
}

#[tokio::test]
async fn an_answer_that_says_nothing_stays_as_it_is() {
    const ANSWERS: &[(&str, &str)] = &[("/nothing", ""), ("/empty", " [ ] "), ("/null", "null")];
    let application = Application::answering(ANSWERS).await;
    for (path, body) in ANSWERS {
        let folder = tempfile::tempdir().unwrap();
        let zammad = ZammadServer::start().await.unwrap();
        let mut bridge =
            bridge(&folder, &zammad).with("UPSTREAM_CALL_HOOK", &format!("http://{}{path}", application.address));
        bridge.start().await;
        let mut sender = Sender::to(bridge.address());
        let answer = sender.post(CALL_HOOK, &Call::numbered(1).announcement(), unix_seconds()).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, *body), "{path}");
    }
}
