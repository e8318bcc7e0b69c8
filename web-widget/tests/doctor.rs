//! `codex-call doctor` against a deployment with one fault at a time: the fault is found, nothing else is, and what is
//! said of it is right in English and Russian.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use codex_core_sip::sip::message::StatusCode;
use codex_core_sip::transport::TlsIdentity;
use codex_e2e::codex_call::{Call, Run, keys};
use codex_e2e::gateway::{Gateway, GatewayEvent, Voicebot};
use codex_e2e::jambonz::{ACCOUNT_KEY, ACCOUNT_SID, HELLO_WORLD, JambonzApi, OTHER_ACCOUNT_SID};
use codex_e2e::peers::{Authority, Identity};

/// No examination of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// The program of this build with these keys.
fn codex_call(keys: &[(String, String)]) -> Call {
    Call::new(std::path::Path::new(env!("CARGO_BIN_EXE_codex-call")), keys)
}

/// Examines the deployment in both languages and wants one fault, at `check`, with this status and these words.
async fn finds(
    environment: &[(&str, &str)],
    gateway: &Gateway,
    arguments: &[&str],
    check: &str,
    status: u8,
    words: [&[&str]; 2],
) {
    for (lang, words) in ["en", "ru"].into_iter().zip(words) {
        let mut call = codex_call(&keys(gateway)).args(["doctor", "--json", "--lang", lang]).args(arguments);
        for (name, value) in environment {
            call = call.env(name, value);
        }
        let run = call.run().await;
        assert_eq!(run.status, status, "{check}: {run}");
        let faults: Vec<_> = run.events.iter().filter(|event| event["result"] == "fault").collect();
        assert_eq!(faults.len(), 1, "one fault: {run}");
        let fault = faults[0];
        assert_eq!(fault["check"], check, "{run}");
        let told = format!("{}\n{}", fault["message"].as_str().unwrap(), fault["remedy"].as_str().unwrap());
        for word in words {
            assert!(told.contains(word), "`{word}` is not in `{told}`: {run}");
        }
        assert!(!run.stdout.contains("hunter2") && !run.stderr.contains("panicked"), "{run}");
    }
}

fn results(run: &Run) -> Vec<(&str, &str)> {
    let checks = run.events.iter().filter(|event| event["event"] == "check");
    checks.map(|event| (event["check"].as_str().unwrap(), event["result"].as_str().unwrap())).collect()
}

fn tls(identity: &Identity) -> TlsIdentity {
    TlsIdentity {
        certificate_chain_pem: identity.certificate_pem.clone(),
        private_key_pem: identity.key_pem.clone().into(),
    }
}

/// The gateway's address by the name that certificates are for.
fn by_name(gateway: &Gateway) -> String {
    gateway.url().replace("127.0.0.1", "localhost")
}

#[tokio::test]
async fn a_deployment_without_a_fault() {
    let authority = Authority::new().unwrap();
    let gateway = Gateway::builder().tls(tls(&authority.identity(&["localhost"]).unwrap())).start().await.unwrap();
    let api = JambonzApi::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.ca_pem()).unwrap();
    let target = format!("sip:app-{HELLO_WORLD}@sip.example.com");
    let stun = StunServer::start().await;
    let examine = |lang: &'static str, json: bool| {
        let mut call = codex_call(&keys(&gateway))
            .env("JAMBONZ_WSS_ADDRESS", &by_name(&gateway))
            .env("TARGET_SIP_URI", &target)
            .env("JAMBONZ_API_BASE_URL", &api.base_url())
            .env("JAMBONZ_API_KEY", ACCOUNT_KEY)
            .env("JAMBONZ_ACCOUNT_SID", ACCOUNT_SID)
            .env("STUN_URLS", &stun.url)
            .args(["doctor", "--lang", lang, "--ca"])
            .arg(&ca);
        if json {
            call = call.arg("--json");
        }
        call.run()
    };
    let run = examine("en", true).await;
    assert_eq!(run.status, 0, "{run}");
    let expected = [
        ("settings", "ok"),
        ("name", "ok"),
        ("connection", "ok"),
        ("certificate", "ok"),
        ("websocket", "ok"),
        ("registration", "ok"),
        ("target", "ok"),
        ("api", "ok"),
        ("stun", "ok"),
        ("call", "ok"),
    ];
    assert_eq!(results(&run), expected, "{run}");
    let message = |check: &str| run.event("check", |event| event["check"] == check)["message"].as_str().unwrap();
    assert!(message("certificate").contains("for localhost; valid until "), "{}", message("certificate"));
    assert!(message("api").contains("`hello world`"), "{}", message("api"));
    assert!(message("stun").contains("seen as 127.0.0.1"), "{}", message("stun"));
    assert!(message("call").contains("audio flows both ways"), "{}", message("call"));
    for (lang, sum) in [("en", "everything works"), ("ru", "всё работает")] {
        let run = examine(lang, false).await;
        assert!(run.status == 0 && run.stdout.ends_with(&format!("{sum}\n")), "{run}");
    }
}

#[tokio::test]
async fn settings_that_are_wrong() {
    let gateway = Gateway::builder().start().await.unwrap();
    let wrong = [("JAMBONZ_SIP_USERNAME", "170@sip.example.com"), ("JAMBONZ_SIP_PASSWORD", "hunter2")];
    let words: [&[&str]; 2] = [&["JAMBONZ_SIP_USERNAME", "only the user"], &["JAMBONZ_SIP_USERNAME", "только имя"]];
    finds(&wrong, &gateway, &[], "settings", 3, words).await;
}

#[tokio::test]
async fn a_name_without_an_address() {
    let gateway = Gateway::builder().start().await.unwrap();
    let wrong = [("JAMBONZ_WSS_ADDRESS", "wss://no-such-host.invalid:8443")];
    let words: [&[&str]; 2] = [&["no-such-host.invalid has no address", "DNS"], &["не найдено", "DNS"]];
    finds(&wrong, &gateway, &[], "name", 4, words).await;
}

#[tokio::test]
async fn a_wrong_port() {
    let gateway = Gateway::builder().start().await.unwrap();
    // Bound and not listening: nobody else gets the port meanwhile.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = unused.local_addr().unwrap();
    let wrong = [("JAMBONZ_WSS_ADDRESS", &*format!("wss://{closed}"))];
    let words: [&[&str]; 2] = [&["nothing answers", "check the port"], &["никто не отвечает", "проверьте порт"]];
    finds(&wrong, &gateway, &[], "connection", 4, words).await;
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let authority = Authority::new().unwrap();
    let identity = authority.expired_identity(&["localhost"]).unwrap();
    let gateway = Gateway::builder().tls(tls(&identity)).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.ca_pem()).unwrap();
    let words: [&[&str]; 2] = [
        &["has expired: on 2020-12-31", "renew it"],
        &["срок действия сертификата истёк: 2020-12-31", "обновите сертификат"],
    ];
    let wrong = [("JAMBONZ_WSS_ADDRESS", &*by_name(&gateway))];
    finds(&wrong, &gateway, &["--ca", ca.to_str().unwrap()], "certificate", 5, words).await;
}

#[tokio::test]
async fn a_certificate_that_signs_for_itself() {
    let identity = Identity::self_signed(&["localhost"]).unwrap();
    let gateway = Gateway::builder().tls(tls(&identity)).start().await.unwrap();
    let words: [&[&str]; 2] =
        [&["self-signed", "for localhost", "public authority"], &["самоподписанный", "публичного центра"]];
    finds(&[("JAMBONZ_WSS_ADDRESS", &by_name(&gateway))], &gateway, &[], "certificate", 5, words).await;
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let authority = Authority::new().unwrap();
    let gateway =
        Gateway::builder().tls(tls(&authority.identity(&["sip.example.org"]).unwrap())).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.ca_pem()).unwrap();
    let words: [&[&str]; 2] =
        [&["not for localhost but for sip.example.org"], &["не для localhost, а для sip.example.org"]];
    let wrong = [("JAMBONZ_WSS_ADDRESS", &*by_name(&gateway))];
    finds(&wrong, &gateway, &["--ca", ca.to_str().unwrap()], "certificate", 5, words).await;
}

#[tokio::test]
async fn another_service_on_the_port() {
    let gateway = Gateway::builder().start().await.unwrap();
    let api = JambonzApi::start().await.unwrap();
    let wrong = [("JAMBONZ_WSS_ADDRESS", &*format!("ws://{}/", api.address()))];
    let words: [&[&str]; 2] = [&["refuses a WebSocket", "port and path"], &["отказывает в WebSocket", "порт и путь"]];
    finds(&wrong, &gateway, &[], "websocket", 6, words).await;
}

#[tokio::test]
async fn a_wrong_password() {
    let gateway = Gateway::builder().start().await.unwrap();
    let words: [&[&str]; 2] = [
        &["user name or password is wrong", "JAMBONZ_SIP_PASSWORD"],
        &["неверное имя пользователя или пароль", "JAMBONZ_SIP_PASSWORD"],
    ];
    finds(&[("JAMBONZ_SIP_PASSWORD", "hunter2")], &gateway, &[], "registration", 7, words).await;
}

#[tokio::test]
async fn a_wrong_realm() {
    let gateway = Gateway::builder().realm("sip.example.org").start().await.unwrap();
    let words: [&[&str]; 2] = [&["no account with this SIP domain", "SIP realm"], &["таким SIP-доменом", "SIP realm"]];
    finds(&[], &gateway, &[], "registration", 7, words).await;
}

#[tokio::test]
async fn an_api_key_that_is_not_known_and_an_application_that_is_not_there() {
    let gateway = Gateway::builder().start().await.unwrap();
    let api = JambonzApi::start().await.unwrap();
    let base = api.base_url();
    let target = format!("sip:app-{HELLO_WORLD}@sip.example.com");
    let of = |key: &'static str, account: &'static str| {
        [("JAMBONZ_API_BASE_URL", &*base), ("JAMBONZ_API_KEY", key), ("JAMBONZ_ACCOUNT_SID", account)]
    };
    let unknown: [&[&str]; 2] = [&["does not accept the API key"], &["не принимает ключ API"]];
    finds(
        &[&of("hunter2", ACCOUNT_SID)[..], &[("TARGET_SIP_URI", &target)]].concat(),
        &gateway,
        &[],
        "api",
        12,
        unknown,
    )
    .await;
    let other: [&[&str]; 2] = [&["not for this account"], &["не для этого аккаунта"]];
    let by_user = [("TARGET_SIP_URI", "sip:171@sip.example.com")];
    finds(&[&of(ACCOUNT_KEY, OTHER_ACCOUNT_SID)[..], &by_user].concat(), &gateway, &[], "api", 12, other).await;
    // The target that the gateway's keys name is no application of the stand-in's.
    let absent: [&[&str]; 2] = [&["no application with the target's GUID"], &["нет приложения с GUID"]];
    finds(&of(ACCOUNT_KEY, ACCOUNT_SID), &gateway, &[], "api", 12, absent).await;
}

#[tokio::test]
async fn a_bare_guid_is_said_to_go_to_the_device_application() {
    let gateway = Gateway::builder().start().await.unwrap();
    for (lang, words) in [("en", "application for SIP device calls"), ("ru", "приложение аккаунта для SIP-устройств")]
    {
        let run = codex_call(&keys(&gateway))
            .args(["doctor", "--json", "--lang", lang, "--to"])
            .arg(format!("sip:{HELLO_WORLD}@sip.example.com"))
            .run()
            .await;
        assert_eq!(run.status, 0, "it works all the same: {run}");
        let told = run.event("check", |event| event["check"] == "target");
        assert_eq!(told["result"], "warning");
        let told = told["message"].as_str().unwrap();
        assert!(told.contains(words) && told.contains(&format!("sip:app-{HELLO_WORLD}@")), "{told}");
    }
}

#[tokio::test]
async fn a_stun_server_that_is_dead() {
    let gateway = Gateway::builder().start().await.unwrap();
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("stun:{}", dead.local_addr().unwrap());
    let words: [&[&str]; 2] = [&["does not answer", "STUN_URLS"], &["не отвечает", "STUN_URLS"]];
    // It takes packets and says nothing.
    finds(&[("STUN_URLS", &url)], &gateway, &[], "stun", 13, words).await;
    // Connected to itself, it takes nobody else's packets: as if nobody were there, and nobody else gets the port.
    dead.connect(dead.local_addr().unwrap()).unwrap();
    finds(&[("STUN_URLS", &url)], &gateway, &[], "stun", 13, words).await;
}

#[tokio::test]
async fn a_stun_server_whose_name_has_no_address() {
    let gateway = Gateway::builder().start().await.unwrap();
    let words: [&[&str]; 2] =
        [&["the name has no address", "host in STUN_URLS"], &["имя не находится в DNS", "имя хоста в STUN_URLS"]];
    finds(&[("STUN_URLS", "stun:no-such-host.invalid")], &gateway, &[], "stun", 13, words).await;
    let words: [&[&str]; 2] = [&["the name has no address"], &["имя не находится в DNS"]];
    let turn = [("TURN_URLS", "turn:u:hunter2@no-such-host.invalid?transport=tcp")];
    finds(&turn, &gateway, &[], "turn", 13, words).await;
}

#[tokio::test]
async fn turn_over_tcp_gives_a_relay_though_its_nonce_is_stale_at_first() {
    let gateway = Gateway::builder().start().await.unwrap();
    let turn = TurnServer::start().await;
    let run = codex_call(&keys(&gateway)).env("TURN_URLS", &turn.url).args(["doctor", "--json"]).run().await;
    let told = run.event("check", |event| event["check"] == "turn");
    assert_eq!(told["result"], "ok", "{run}");
    assert!(told["message"].as_str().unwrap().contains("relay at 192.0.2.7"), "{told}");
    assert!(!run.stdout.contains("hunter2"), "{run}");
    // Allocate thrice (without credentials, with the stale nonce, with the new one), then the relay is given back.
    let asked = turn.asked.lock().unwrap().clone();
    assert_eq!(asked[..4], [(3, false), (3, true), (3, true), (4, true)], "method, and whether it was authorised");
}

#[tokio::test]
async fn no_audio_back() {
    let gateway = Gateway::builder().voicebot(Voicebot::Silent).start().await.unwrap();
    let words: [&[&str]; 2] = [&["nothing but silence", "text-to-speech"], &["только тишина", "синтеза речи"]];
    finds(&[], &gateway, &[], "call", 9, words).await;
}

#[tokio::test]
async fn ctrl_c_in_the_test_call_says_good_bye() {
    let mut gateway = Gateway::builder().voicebot(Voicebot::Silent).start().await.unwrap();
    let child = codex_call(&keys(&gateway)).args(["doctor", "--json", "--trace"]).spawn();
    let looking = async {
        while !matches!(gateway.next_event().await.expect("the gateway runs"), GatewayEvent::Answered) {}
        child.interrupt();
        let run = child.end().await;
        let ended = loop {
            if let GatewayEvent::Ended { reason, .. } = gateway.next_event().await.expect("the gateway runs") {
                break reason;
            }
        };
        (run, ended)
    };
    let (run, reason) = tokio::time::timeout(PATIENCE, looking).await.expect("the call ends");
    assert_eq!(run.status, 130, "{run}");
    assert_ne!(reason.as_deref(), Some("the WebSocket was closed"), "a BYE came: {run}");
    let ladder = run.event("ladder", |_| true)["drawing"].as_str().unwrap();
    let (_, after) = ladder.split_once("200 OK (BYE)").unwrap_or_else(|| panic!("a BYE is answered: {ladder}"));
    assert!(
        after.contains("--REGISTER ") && after.contains("200 OK (REGISTER)"),
        "it took its registration back: {ladder}"
    );
}

#[tokio::test]
async fn no_application_for_the_call() {
    let status = StatusCode::new(480).unwrap();
    let gateway = Gateway::builder().refuses(status, "no configured application").start().await.unwrap();
    let words: [&[&str]; 2] =
        [&["no application for this call", "SIP device calls"], &["нет приложения для этого звонка", "SIP-устройств"]];
    finds(&[], &gateway, &[], "call", 8, words).await;
}

#[tokio::test]
async fn a_line_that_is_busy() {
    let gateway = Gateway::builder().refuses(StatusCode::BUSY_HERE, "busy").start().await.unwrap();
    let words: [&[&str]; 2] = [&["the far end is busy"], &["линия занята"]];
    finds(&[], &gateway, &[], "call", 8, words).await;
}

#[tokio::test]
async fn an_unencrypted_connection_is_warned_of_or_refused() {
    let gateway = Gateway::builder().start().await.unwrap();
    // Far away, so nothing answers; the warning comes before.
    let run = codex_call(&keys(&gateway))
        .env("JAMBONZ_WSS_ADDRESS", "ws://no-such-host.invalid:5066")
        .args(["doctor", "--json", "--lang", "ru"])
        .run()
        .await;
    let warning = run.event("check", |event| event["result"] == "warning");
    assert!(warning["message"].as_str().unwrap().contains("БЕЗ ШИФРОВАНИЯ"), "{run}");
    let wrong = [("JAMBONZ_WSS_ADDRESS", "ws://sip.example.com:5066"), ("REQUIRE_TLS", "true")];
    let words: [&[&str]; 2] = [&["not encrypted", "wss://"], &["не шифруется", "wss://"]];
    finds(&wrong, &gateway, &[], "settings", 3, words).await;
}

/// A TURN server over TCP (RFC 8656) whose first nonce is stale as soon as it is given out. It checks no credentials.
struct TurnServer {
    url: String,
    /// Method of each request, and whether it had credentials.
    asked: std::sync::Arc<std::sync::Mutex<Vec<(u8, bool)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl TurnServer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("turn:u:hunter2@{}?transport=tcp", listener.local_addr().unwrap());
        let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Some(answer) = Self::exchange(&mut stream, &log).await {
                    let _gone = tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await;
                }
            }
        });
        Self { url, asked, task }
    }

    /// Reads a request and makes its answer; `None` at the connection's end.
    async fn exchange(stream: &mut tokio::net::TcpStream, log: &std::sync::Mutex<Vec<(u8, bool)>>) -> Option<Vec<u8>> {
        use tokio::io::AsyncReadExt as _;
        let mut header = [0; 20];
        stream.read_exact(&mut header).await.ok()?;
        let mut attributes = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
        stream.read_exact(&mut attributes).await.ok()?;
        let has = |text: &[u8]| attributes.windows(text.len()).any(|part| part == text);
        let authorised = has(b"a nonce ");
        let method = header[1];
        log.lock().unwrap().push((method, authorised));
        let (class, body): (u8, Vec<u8>) = if !authorised || has(b"a nonce 1") {
            let code = if authorised { [4, 38] } else { [4, 1] };
            let nonce = if authorised { b"a nonce 2" } else { b"a nonce 1" };
            // ERROR-CODE, REALM "home", NONCE with its padding.
            let mut body = vec![0, 9, 0, 4, 0, 0, code[0], code[1], 0, 0x14, 0, 4, b'h', b'o', b'm', b'e'];
            body.extend([0, 0x15, 0, 9]);
            body.extend(nonce);
            body.extend([0, 0, 0]);
            (1, body)
        } else if method == 3 {
            // XOR-RELAYED-ADDRESS 192.0.2.7:5000 and LIFETIME.
            let port = (5000_u16 ^ 0x2112).to_be_bytes();
            let address = (u32::from(std::net::Ipv4Addr::new(192, 0, 2, 7)) ^ 0x2112_A442).to_be_bytes();
            let mut body = vec![0, 0x16, 0, 8, 0, 1];
            body.extend(port);
            body.extend(address);
            body.extend([0, 0x0d, 0, 4, 0, 0, 2, 0x58]);
            (0, body)
        } else {
            (0, vec![0, 0x0d, 0, 4, 0, 0, 0, 0])
        };
        // Success is class 2, an error class 3: bits 8 and 4 of the type.
        let mut answer = vec![1, method | (0x10 * class)];
        answer.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        answer.extend(&header[4..]);
        answer.extend(body);
        Some(answer)
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers Binding requests (RFC 8489) with the address that they came from.
struct StunServer {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl StunServer {
    async fn start() -> Self {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("stun:{}", socket.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut request = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut request).await {
                let std::net::SocketAddr::V4(from) = from else { continue };
                if length < 20 || request[..2] != [0, 1] {
                    continue;
                }
                // Success, 12 bytes of attributes, the request's cookie and transaction; XOR-MAPPED-ADDRESS.
                let mut answer = vec![1, 1, 0, 12];
                answer.extend(&request[4..20]);
                answer.extend([0, 0x20, 0, 8, 0, 1]);
                answer.extend((from.port() ^ 0x2112).to_be_bytes());
                answer.extend((u32::from(*from.ip()) ^ 0x2112_A442).to_be_bytes());
                let _unreachable = socket.send_to(&answer, from).await;
            }
        });
        Self { url, task }
    }
}

impl Drop for StunServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
