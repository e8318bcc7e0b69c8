//! The admin page of a running bridge in a real Chromium, driven by the DevTools protocol. Left out where there is none
//! (Debian's package `chromium`, or the program that `CHROMIUM` names).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz::WEBHOOK_SECRET;
use codex_e2e::jambonz_webhooks::{Call, STATUS_HOOK, Sender};
use codex_e2e::zammad::ZammadServer;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const ADMIN_TOKEN: &str = "admin-token-0001-of-the-tests";
/// What the page must show it shows in this time.
const DEADLINE: Duration = Duration::from_secs(60);
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
    "--remote-debugging-port=0",
    "about:blank",
];

/// A page in a browser of its own.
struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    asked: u64,
    /// Exceptions, and errors such as violations of the policy.
    problems: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    fn program() -> Option<PathBuf> {
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
        named.or_else(|| Some(PathBuf::from("/usr/bin/chromium"))).filter(|path| path.exists())
    }

    async fn start(program: &Path, folder: &Path) -> Self {
        let mut child = Command::new(program)
            .arg(format!("--user-data-dir={}", folder.display()))
            .args(FLAGS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned))
            .expect("Chromium says where its tools are");
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).count());
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let mut browser = Self { child, socket, session: String::new(), asked: 0, problems: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        attached["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({})).await;
        }
        browser
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut request = json!({"id": self.asked, "method": method, "params": parameters});
        if !self.session.is_empty() {
            request["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        loop {
            let message = self.socket.next().await.expect("the browser is there").unwrap();
            let Ok(text) = message.to_text() else { continue };
            let Ok(told) = serde_json::from_str::<Value>(text) else { continue };
            if told["id"] == self.asked {
                assert!(told.get("error").is_none(), "{method}: {told}");
                return told["result"].clone();
            }
            if told["method"] == "Runtime.exceptionThrown" {
                self.problems.push(told["params"]["exceptionDetails"].to_string());
            } else if told["method"] == "Log.entryAdded" && told["params"]["entry"]["level"] == "error" {
                self.problems.push(told["params"]["entry"].to_string());
            }
        }
    }

    /// The value of an expression in the page.
    async fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.ask("Runtime.evaluate", parameters).await;
        assert!(told.get("exceptionDetails").is_none(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    async fn wait(&mut self, expression: &str) {
        let looking = async {
            while self.value(&format!("Boolean({expression})")).await != true {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, looking).await.is_err() {
            let page = self.value("document.body.innerText").await;
            panic!("never true: {expression}\n{page}\n{:?}", self.problems);
        }
    }

    async fn is_as_wide_as(&mut self, width: u32) -> bool {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics).await;
        self.value("document.documentElement.scrollWidth").await.as_u64() <= Some(u64::from(width))
    }
}

#[expect(clippy::disallowed_methods, reason = "the bridge under test reads the real clock")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn an_administrator_logs_in_watches_calls_and_replays_what_was_refused() {
    let Some(program) = Browser::program() else {
        println!("left out: there is no Chromium here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let refused = Call::numbered(1);
    zammad.set_fault_of_call(&refused.sip_call_id, Some(codex_e2e::zammad::Fault::status(422)));
    let mut bridge = Bridge::new(Path::new(env!("CARGO_BIN_EXE_codex-zammad-bridge")), folder.path())
        .unwrap()
        .with("ZAMMAD_CTI_URL", &zammad.cti_url())
        .with("ZAMMAD_MAX_ATTEMPTS", "1")
        .with("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .with("BRIDGE_ADMIN_TOKEN", ADMIN_TOKEN);
    bridge.start().await;
    let mut sender = Sender::to(bridge.address());
    for body in refused.course() {
        assert_eq!(sender.post(STATUS_HOOK, &body, unix_seconds()).await.unwrap().status, 200);
    }

    let mut browser = Browser::start(&program, &folder.path().join("chromium")).await;
    browser.ask("Page.navigate", json!({"url": format!("http://{}/", bridge.address())})).await;
    browser.wait("document.querySelector('#gate') && !document.querySelector('#gate').hidden").await;
    assert_eq!(browser.value("document.activeElement.id").await, "token", "one can type at once");
    let submit = "document.querySelector('#login').requestSubmit()";
    browser.value(&format!("document.querySelector('#token').value = 'guess'; {submit}")).await;
    browser.wait("document.querySelector('#login-error').textContent.includes('wrong')").await;
    // The browser itself notes the 401 of the guess.
    browser.problems.clear();
    browser.value(&format!("document.querySelector('#token').value = '{ADMIN_TOKEN}'; {submit}")).await;
    browser.wait("document.querySelectorAll('.call').length === 1").await;
    browser.wait("document.querySelector('#health').dataset.state === 'good'").await;
    assert_eq!(
        browser.value("document.querySelector('.call .from').textContent").await,
        "webcall:baaaaaaa",
        "jambonz named no application"
    );

    // What happens now is shown without being asked for.
    let live = Call::numbered(2);
    sender.post(STATUS_HOOK, &live.course()[0], unix_seconds()).await.unwrap();
    browser.wait("document.querySelector('.call .badge.ringing')").await;
    sender.post(STATUS_HOOK, &live.course()[1], unix_seconds()).await.unwrap();
    browser.wait("document.querySelector('.call .badge.voicebot')").await;
    browser.wait("[...document.querySelectorAll('.call .step.delivered')].length >= 2").await;

    // Both languages; nothing is wider than a small telephone.
    browser.value("document.querySelector('button[data-lang=ru]').click()").await;
    assert_eq!(browser.value("document.documentElement.lang").await, "ru");
    assert_eq!(browser.value("document.querySelector('#calls-title').textContent").await, "Звонки");
    for width in [360, 768, 1280] {
        assert!(browser.is_as_wide_as(width).await, "{width}");
    }

    // The dead letter: found, opened by key, tried again.
    browser.value("document.querySelector('[data-filter=shelvedFilter]').click()").await;
    browser.wait("document.querySelectorAll('.call').length === 1 && document.querySelector('.step.shelved')").await;
    zammad.set_fault_of_call(&refused.sip_call_id, None);
    browser.value("document.querySelector('.open-call').click()").await;
    browser.wait("document.querySelector('.details .fault').textContent.includes('422')").await;
    assert_eq!(browser.value("document.querySelector('.open-call').getAttribute('aria-expanded')").await, "true");
    browser.value("document.querySelector('.lane .primary').click()").await;
    let told = zammad.wait_until(|zammad| zammad.row(&refused.sip_call_id).is_some());
    assert!(tokio::time::timeout(DEADLINE, told).await.is_ok(), "{}", bridge.log());
    browser.wait("document.querySelectorAll('.call').length === 0").await;

    // Everything that can be pressed has a name, and no element has a style of its own.
    let nameless = "[...document.querySelectorAll('button')].filter(button => !button.closest('dialog:not([open])') \
                    && !(button.getAttribute('aria-label') || button.textContent.trim())).length";
    assert_eq!(browser.value(nameless).await, 0);
    assert_eq!(browser.value("document.querySelectorAll('[style]').length").await, 0);
    browser.value("document.querySelector('#logout').click()").await;
    browser.wait("!document.querySelector('#gate').hidden").await;
    assert_eq!(browser.problems, Vec::<String>::new());
}
