//! Chromium without a window, as the browser that a visitor would have: driven over its own debugging protocol, with a
//! microphone that beeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::PeerError;
use super::process::{Process, Program};
use crate::scenario::{Recorder, Stage};

const PEER: &str = "chromium";
const PROGRAM: Program = Program { peer: PEER, command: "chromium", package: "chromium" };
/// Where Chromium writes which port its debugging protocol has.
const PORT_FILE: &str = "DevToolsActivePort";
/// How long a page may take over one command, if that says nothing else.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
const FLAGS: [&str; 17] = [
    "--headless=new",
    // The tests run as root in a namespace of their own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    // The edge signs for itself.
    "--ignore-certificate-errors",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
];

/// How a browser is to be.
#[derive(Debug, Clone, Default)]
pub struct ChromiumBuilder {
    flags: Vec<String>,
    without: Vec<&'static str>,
}

impl ChromiumBuilder {
    /// The visitor does not allow the microphone.
    #[must_use]
    pub fn denies_microphone(mut self) -> Self {
        self.without.push("--use-fake-ui-for-media-stream");
        self.flags.push("--deny-permission-prompts".to_owned());
        self
    }

    /// Another switch of its command line.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// The microphone hears this WAV file again and again, instead of a beep a second.
    #[must_use]
    pub fn microphone(mut self, wav: &Path) -> Self {
        self.flags.push(format!("--use-file-for-fake-audio-capture={}", wav.display()));
        self
    }

    /// Starts it; it answers over its debugging protocol then.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(self, stage: &Stage) -> Result<Chromium, PeerError> {
        let folder =
            stage.peer_folder(PEER).map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let log = folder.join("chromium.log");
        stage.add_log(PEER, &log);
        let profile = folder.join("profile");
        let flags = FLAGS.iter().filter(|flag| !self.without.contains(flag)).map(|flag| (*flag).to_owned());
        let mut arguments: Vec<String> = flags.chain(self.flags).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push("about:blank".to_owned());
        let mut process = Process::start(PROGRAM, &arguments, &folder, &log, &[]).await?;
        let port_file = profile.join(PORT_FILE);
        let port = process
            .answers("the port of its debugging protocol", async || {
                fs::read_to_string(&port_file).ok()?.lines().next()?.parse().ok()
            })
            .await?;
        Ok(Chromium { _process: process, port, log, recorder: stage.recorder() })
    }
}

/// The browser, running.
#[derive(Debug)]
pub struct Chromium {
    _process: Process,
    port: u16,
    log: PathBuf,
    recorder: Recorder,
}

impl Chromium {
    /// A browser whose visitor allows the microphone.
    #[must_use]
    pub fn builder() -> ChromiumBuilder {
        ChromiumBuilder::default()
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Opens a page in a tab of its own, and waits until all its modules have run.
    ///
    /// # Errors
    /// When the browser does not do as it is told, or the page does not load.
    pub async fn open(&self, url: &str) -> Result<Page, PeerError> {
        let request = format!(
            "PUT /json/new?about:blank HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(io)?;
        stream.write_all(request.as_bytes()).await.map_err(io)?;
        let answer = read_answer(&mut stream).await.map_err(io)?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body))
            .map_err(|_| unexpected(&answer))?;
        let address = body["webSocketDebuggerUrl"].as_str().ok_or_else(|| unexpected(&answer))?;
        let (socket, _) = tokio_tungstenite::connect_async(address).await.map_err(|error| unexpected(&error))?;
        let mut page = Page { socket, next: 1, recorder: self.recorder.clone(), loaded: false };
        page.command("Page.enable", json!({})).await?;
        page.command("Runtime.enable", json!({})).await?;
        page.go(url).await?;
        Ok(page)
    }
}

/// The answer to a request; the length is what its head says, since the browser may keep the connection open.
async fn read_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                return Ok(text);
            }
        }
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        answer.extend_from_slice(&chunk[..count]);
    }
}

fn io(source: std::io::Error) -> PeerError {
    PeerError::Io { peer: PEER, source }
}

fn unexpected(what: &impl ToString) -> PeerError {
    PeerError::UnexpectedAnswer { peer: PEER, answer: what.to_string() }
}

/// The keys that a person without a pointer uses, and the code that the protocol wants for them.
fn key_code(key: &str) -> (&str, u32, Option<&str>) {
    match key {
        "Enter" => ("Enter", 13, Some("\r")),
        "Tab" => ("Tab", 9, None),
        "Escape" => ("Escape", 27, None),
        _ => ("", key.bytes().next().unwrap_or_default().into(), Some(key)),
    }
}

/// A tab. What its console says is in the report if the scenario fails.
#[derive(Debug)]
pub struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    recorder: Recorder,
    loaded: bool,
}

impl Page {
    /// The value of an expression; of a promise, what it is fulfilled with.
    ///
    /// # Errors
    /// With the exception's text, if there is one.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value, PeerError> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true
        });
        let answer = self.command("Runtime.evaluate", parameters).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            let text = exception["exception"]["description"].as_str().or_else(|| exception["text"].as_str());
            return Err(unexpected(&format!("{expression}: {}", text.unwrap_or("an exception"))));
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Moves the pointer to the middle of what `selector` finds in the shadow tree of the element, and clicks.
    ///
    /// # Errors
    /// When it is not there or cannot be seen.
    pub async fn click_in(&mut self, element: &str, selector: &str) -> Result<(), PeerError> {
        let find = format!(
            "(() => {{
                const found = document.querySelector({element:?}).shadowRoot.querySelector({selector:?});
                found.scrollIntoView({{ block: 'nearest' }});
                const {{ x, y, width, height }} = found.getBoundingClientRect();
                return width > 0 && height > 0 ? [x + width / 2, y + height / 2] : null;
            }})()"
        );
        let at = self.evaluate(&find).await?;
        if at.is_null() {
            return Err(unexpected(&format!("{selector} of {element} cannot be seen")));
        }
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({
                "type": kind, "x": at[0], "y": at[1], "button": "left", "buttons": buttons,
                "clickCount": u32::from(kind != "mouseMoved")
            });
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, or a character.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub async fn press(&mut self, key: &str) -> Result<(), PeerError> {
        let (code, number, text) = key_code(key);
        let mut down = json!({ "type": "keyDown", "key": key, "code": code, "windowsVirtualKeyCode": number });
        if let Some(text) = text {
            down["text"] = json!(text);
        }
        self.command("Input.dispatchKeyEvent", down).await?;
        let up = json!({ "type": "keyUp", "key": key, "code": code, "windowsVirtualKeyCode": number });
        self.command("Input.dispatchKeyEvent", up).await.map(drop)
    }

    /// Has the page so wide and high, in CSS pixels.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub async fn resize(&mut self, width: u32, height: u32) -> Result<(), PeerError> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// What one sees, as PNG in base64.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub async fn screenshot(&mut self) -> Result<String, PeerError> {
        let shot = self.command("Page.captureScreenshot", json!({ "format": "png" })).await?;
        shot["data"].as_str().map(str::to_owned).ok_or_else(|| unexpected(&"a screenshot without data"))
    }

    /// Goes to another page in this tab, and waits until all its modules have run.
    ///
    /// # Errors
    /// When the page does not load.
    pub async fn go(&mut self, url: &str) -> Result<(), PeerError> {
        self.loaded = false;
        let went = self.command("Page.navigate", json!({ "url": url })).await?;
        if let Some(problem) = went["errorText"].as_str() {
            return Err(unexpected(&format!("{url}: {problem}")));
        }
        self.until_loaded().await
    }

    /// A command of the debugging protocol.
    ///
    /// # Errors
    /// When the browser refuses it or does not answer.
    pub async fn command(&mut self, method: &str, parameters: Value) -> Result<Value, PeerError> {
        let id = self.next;
        self.next += 1;
        let text = json!({ "id": id, "method": method, "params": parameters }).to_string();
        self.socket.send(Message::text(text)).await.map_err(|error| unexpected(&error))?;
        let answered = async {
            loop {
                let message = self.message().await?;
                if message["id"] == id {
                    return match message.get("error") {
                        Some(error) => Err(unexpected(&format!("{method}: {error}"))),
                        None => Ok(message["result"].clone()),
                    };
                }
            }
        };
        tokio::time::timeout(COMMAND_LIMIT, answered)
            .await
            .unwrap_or_else(|_| Err(unexpected(&format!("{method} was not answered within {COMMAND_LIMIT:?}"))))
    }

    async fn until_loaded(&mut self) -> Result<(), PeerError> {
        let loaded = async {
            while !self.loaded {
                self.message().await?;
            }
            Ok(())
        };
        tokio::time::timeout(COMMAND_LIMIT, loaded)
            .await
            .unwrap_or_else(|_| Err(unexpected(&format!("the page was not loaded within {COMMAND_LIMIT:?}"))))
    }

    /// The next thing that the browser says; events are taken note of.
    async fn message(&mut self) -> Result<Value, PeerError> {
        loop {
            let message = self.socket.next().await.ok_or_else(|| unexpected(&"the tab is gone"))?;
            let message = message.map_err(|error| unexpected(&error))?;
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).map_err(|_| unexpected(&text))?;
            match message["method"].as_str() {
                Some("Page.loadEventFired") => self.loaded = true,
                Some("Runtime.consoleAPICalled") => {
                    let said: Vec<String> = message["params"]["args"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|value| {
                            value.get("value").or_else(|| value.get("description")).unwrap_or(value).to_string()
                        })
                        .collect();
                    self.recorder.note(format!("console: {}", said.join(" ")));
                }
                Some("Runtime.exceptionThrown") => {
                    let details = &message["params"]["exceptionDetails"];
                    let text = details["exception"]["description"].as_str().or_else(|| details["text"].as_str());
                    self.recorder.note(format!("uncaught: {}", text.unwrap_or_default()));
                }
                _ => {}
            }
            return Ok(message);
        }
    }
}
