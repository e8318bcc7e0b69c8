//! jambonz' webhooks: the recorded ones byte for byte, and made-up ones of the same shape, signed as jambonz signs them.

use std::io;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::jambonz::{ACCOUNT_SID, HELLO_WORLD, WEBHOOK_SECRET};
use crate::raw_http::{self, Answer, Connection};

/// The path of the bridge's call_hook.
pub const CALL_HOOK: &str = "/jambonz/call";
/// The path of the bridge's call_status_hook.
pub const STATUS_HOOK: &str = "/jambonz/status";

/// A request as jambonz' own sender made it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `POST`, or `GET` for a hook that was configured so.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// Names as they were written, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The bytes of the request, to another path and host.
    #[must_use]
    pub fn bytes_to(&self, target: &str, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        for (name, value) in &self.headers {
            let host = host.to_string();
            let value = if name == "host" { &host } else { value };
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// A header as it was written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The recorded requests, in order: a call_hook, its `in-progress` and `completed`, then what hooks with other settings send.
///
/// # Panics
///
/// If the recording is not what it was.
#[must_use]
pub fn recorded() -> Vec<Recorded> {
    const TEXT: &str = include_str!("../../zammad-bridge/tests/fixtures/webhooks-raw.txt");
    let mut requests = Vec::new();
    let mut lines = TEXT.lines();
    while let Some(line) = lines.next() {
        // Between requests stand notes of the recorder.
        let Some(first) = line.strip_prefix(">>> ") else { continue };
        let (method, target) = first.split_once(' ').expect("a method and a path");
        let headers: Vec<String> =
            lines.next().and_then(|line| serde_json::from_str(line).ok()).expect("a list of names and values");
        let body = lines.next().expect("a body, empty or not").as_bytes().to_vec();
        let headers = headers.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        requests.push(Recorded { method: method.to_owned(), target: target.to_owned(), headers, body });
    }
    requests
}

/// The value of `Jambonz-Signature`.
///
/// # Panics
///
/// Never: HMAC takes keys of every length.
#[must_use]
pub fn signature(secret: &str, unix_seconds: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(format!("{unix_seconds}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_seconds},v1={hex}")
}

/// A made-up call: what jambonz would post of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// jambonz' identity.
    pub call_sid: String,
    /// The client's own Call-ID.
    pub sip_call_id: String,
    /// What the client says of itself.
    pub customer_data: Value,
}

impl Call {
    /// The call of this number: a tag of letters and the same identities each time.
    #[must_use]
    pub fn numbered(number: u64) -> Self {
        let mut tag = String::new();
        let mut rest = number;
        for _ in 0..8 {
            tag.push(char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0)));
            rest /= 26;
        }
        Self {
            call_sid: format!("3c7b1d5e-0000-4000-8000-{number:012x}"),
            sip_call_id: format!("{tag}-7d0f4a8e-5b7c-4f2e-9a53-{number:012x}"),
            customer_data: json!({"clientId": format!("user_{number}"), "clientName": "Иван Иванов", "callType": "webcall",
                                  "sessionId": "session_abc123"}),
        }
    }

    /// The body of the call_hook.
    #[must_use]
    pub fn announcement(&self) -> Value {
        json!({
            "sip": {
                "headers": {
                    "from": "\"alice\" <sip:alice@localhost>;tag=a1", "call-id": format!("fs-{}", self.call_sid),
                    "X-CID": self.sip_call_id, "X-Customer-Data": self.customer_data.to_string(),
                    "X-Application-Name": "voicebot",
                },
                "raw": "", "body": "v=0\r\n", "method": "INVITE", "version": "2.0",
                "uri": format!("sip:app-{HELLO_WORLD}@acme.sip.example.com"), "payload": [],
            },
            "direction": "inbound", "trace_id": "654c5323d6f907233a1069136b8a330e", "caller_name": "\"alice\"",
            "call_sid": self.call_sid, "account_sid": ACCOUNT_SID, "application_sid": HELLO_WORLD, "from": "alice",
            "to": format!("app-{HELLO_WORLD}"), "call_id": format!("fs-{}", self.call_sid), "sip_status": 100,
            "sip_reason": "Trying", "call_status": "trying", "sbc_callid": self.sip_call_id,
            "originating_sip_ip": "198.51.100.7",
        })
    }

    /// The body of a status event, such as `in-progress` with 200.
    #[must_use]
    pub fn status(&self, call_status: &str, sip_status: u16) -> Value {
        let mut body = json!({
            "call_sid": self.call_sid, "direction": "inbound", "from": "alice", "to": format!("app-{HELLO_WORLD}"),
            "call_id": format!("fs-{}", self.call_sid), "sbc_callid": self.sip_call_id, "sip_status": sip_status,
            "sip_reason": if sip_status == 200 { "OK" } else { "" }, "call_status": call_status,
            "account_sid": ACCOUNT_SID, "trace_id": "654c5323d6f907233a1069136b8a330e", "application_sid": HELLO_WORLD,
            "fs_sip_address": "10.0.0.1:5070", "originating_sip_ip": "198.51.100.7",
            "customerData": self.customer_data, "fs_public_ip": "203.0.113.9",
        });
        if call_status == "completed" {
            body["duration"] = 12.into();
            body["call_termination_by"] = "caller".into();
        }
        body
    }

    /// The status events of a call that is answered and ends, in order.
    #[must_use]
    pub fn course(&self) -> [Value; 3] {
        [self.status("trying", 100), self.status("in-progress", 200), self.status("completed", 200)]
    }
}

/// Posts webhooks as jambonz does, on one connection that is kept.
#[derive(Debug)]
pub struct Sender {
    address: SocketAddr,
    secret: String,
    connection: Option<Connection>,
}

impl Sender {
    /// To a bridge, signing with [`WEBHOOK_SECRET`].
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Self { address, secret: WEBHOOK_SECRET.to_owned(), connection: None }
    }

    /// Signs with another secret.
    #[must_use]
    pub fn signing_with(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Posts one body, signed at this time.
    ///
    /// # Errors
    ///
    /// If no answer comes. The next post opens a new connection.
    pub async fn post(&mut self, path: &str, body: &Value, unix_seconds: u64) -> io::Result<Answer> {
        let body = body.to_string();
        let signature = signature(&self.secret, unix_seconds, body.as_bytes());
        let headers = [
            ("Jambonz-Signature", signature.as_str()),
            ("user-agent", "jambonz"),
            ("Content-Type", "application/json"),
        ];
        let request = raw_http::request("POST", path, &headers, body.as_bytes());
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.exchange(&request).await?;
        if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_jambonzs_own() {
        assert_eq!(
            signature("wh_secret_cJqgtMDPzDhhnjmaJH6Mtk", 1_795_330_382, b"{\"a\":1}"),
            "t=1795330382,v1=fe1ffa68b5e82606357c1c656422f59d35c889498cb616e64a09c9f7d8aa8c28"
        );
        // A GET's signature is of a payload that the request does not carry: nothing can check it.
        let (posts, gets): (Vec<_>, Vec<_>) = recorded().into_iter().partition(|request| request.method == "POST");
        assert!(posts.len() >= 7 && gets.iter().all(|request| request.body.is_empty()));
        for request in posts {
            let recorded = request.header("Jambonz-Signature").unwrap();
            let time = recorded.split_once(',').unwrap().0.strip_prefix("t=").unwrap().parse().unwrap();
            assert_eq!(
                signature(WEBHOOK_SECRET, time, &request.body),
                recorded,
                "{} {}",
                request.method,
                request.target
            );
        }
    }

    #[test]
    fn the_recording_is_whole() {
        let requests = recorded();
        let lines: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
        assert_eq!(lines[..4], ["POST /call?x=1", "POST /status", "POST /status", "GET /get?x=1"]);
        for request in requests.iter().filter(|request| request.method == "POST") {
            assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
        }
        let bytes = requests[0].bytes_to("/jambonz/call", "127.0.0.1:8787".parse().unwrap());
        assert!(
            bytes.starts_with(b"POST /jambonz/call HTTP/1.1\r\nhost: 127.0.0.1:8787\r\nconnection: keep-alive\r\n")
        );
        assert!(bytes.ends_with(&requests[0].body));
    }

    #[test]
    fn made_up_webhooks_have_the_keys_of_recorded_ones() {
        let recorded = recorded();
        let call = Call::numbered(7);
        for (made, real) in [(call.announcement(), &recorded[0]), (call.course()[2].clone(), &recorded[2])] {
            let real: Value = serde_json::from_slice(&real.body).unwrap();
            for key in made.as_object().unwrap().keys() {
                assert!(real.get(key).is_some(), "{key}");
            }
        }
        assert_ne!(Call::numbered(7).sip_call_id, Call::numbered(8).sip_call_id);
        assert!(call.sip_call_id[..8].bytes().all(|byte| byte.is_ascii_lowercase()));
    }
}
