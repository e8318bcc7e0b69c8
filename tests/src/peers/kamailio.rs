//! Kamailio as the edge: SIP over WS and WSS on one side, UDP on the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::certificate::{Authority, Identity};
use super::process::{Port, Process, Program, ask_udp, attempt, write};
use super::{PeerError, ports};
use crate::scenario::Stage;
use crate::sip_trace::READINESS_CALL_ID;

const PEER: &str = "kamailio";
const PROGRAM: Program = Program { peer: PEER, command: "kamailio", package: "kamailio" };
const CONFIGURATION: &str = include_str!("../../peers/kamailio.cfg");
const TLS_CONFIGURATION: &str = include_str!("../../peers/tls.cfg");
const LISTENS_ON: [Port; 4] =
    [Port::Udp(ports::EDGE_SIP), Port::Tcp(ports::EDGE_SIP), Port::Tcp(ports::EDGE_WS), Port::Tcp(ports::EDGE_WSS)];

/// The digest algorithm of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digest {
    /// As jambonz has it (RFC 2617).
    #[default]
    Md5,
    /// RFC 8760.
    Sha256,
}

/// Whether and how a client's INVITE is asked for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InviteChallenge {
    /// Not at all.
    #[default]
    None,
    /// 401 with `WWW-Authenticate`, as jambonz does.
    Unauthorized,
    /// 407 with `Proxy-Authenticate`, as proxies do.
    ProxyAuthentication,
}

/// How an edge is to be.
#[derive(Debug, Clone, Default)]
pub struct KamailioBuilder {
    digest: Digest,
    invite_challenge: InviteChallenge,
    forbids_wrong_password: bool,
    registration: Option<Duration>,
    nonce_lifetime: Option<Duration>,
    cancel_delay: Option<Duration>,
    rtpengine: bool,
    identity: Option<Identity>,
}

impl KamailioBuilder {
    /// The digest algorithm; MD5 unless set.
    #[must_use]
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// How INVITE is challenged; not at all unless set. REGISTER always is, with 401.
    #[must_use]
    pub fn invite_challenge(mut self, challenge: InviteChallenge) -> Self {
        self.invite_challenge = challenge;
        self
    }

    /// Answers a wrong password with 403 and `X-Reason: Invalid credentials`, as jambonz does, instead of a second 401.
    #[must_use]
    pub fn forbids_wrong_password(mut self) -> Self {
        self.forbids_wrong_password = true;
        self
    }

    /// The longest a registration lasts (whole seconds); 10 minutes unless set.
    #[must_use]
    pub fn registration(mut self, longest: Duration) -> Self {
        self.registration = Some(longest);
        self
    }

    /// How long a nonce is taken (whole seconds), after that it is stale; 5 minutes unless set.
    #[must_use]
    pub fn nonce_lifetime(mut self, lifetime: Duration) -> Self {
        self.nonce_lifetime = Some(lifetime);
        self
    }

    /// Holds each CANCEL so long before looking at it, so that a callee's 200 can cross it.
    #[must_use]
    pub fn cancel_delay(mut self, delay: Duration) -> Self {
        self.cancel_delay = Some(delay);
        self
    }

    /// Sends media through rtpengine, which has to run: WebRTC towards WebSockets, RTP towards UDP.
    #[must_use]
    pub fn with_rtpengine(mut self) -> Self {
        self.rtpengine = true;
        self
    }

    /// The TLS identity; by default one for `localhost` and `127.0.0.1` from an authority of its own.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Starts it; it answers OPTIONS over UDP and requests over WS and TLS then.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(self, stage: &Stage) -> Result<Kamailio, PeerError> {
        for (module, package) in [("websocket.so", "kamailio-websocket-modules"), ("tls.so", "kamailio-tls-modules")] {
            if PROGRAM.find().is_ok() && !has_module(module) {
                return Err(PeerError::Missing { command: module, package });
            }
        }
        let folder =
            stage.peer_folder(PEER).map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let identity = match &self.identity {
            Some(identity) => identity.clone(),
            None => Authority::new()?.identity(&["localhost", "127.0.0.1"])?,
        };
        write(&folder.join("kamailio.cfg"), CONFIGURATION)?;
        write(&folder.join("tls.cfg"), TLS_CONFIGURATION)?;
        write(&folder.join("edge.pem"), &identity.certificate_pem)?;
        write(&folder.join("edge-key.pem"), &identity.key_pem)?;
        let log = folder.join("kamailio.log");
        stage.add_log(PEER, &log);
        stage.add_sipdump(&folder);
        let arguments = self.arguments(&folder);
        let process = start_process(&arguments, &folder, &log).await?;
        Ok(Kamailio { process, arguments, folder, log, identity })
    }

    fn arguments(&self, folder: &Path) -> Vec<String> {
        const SHARED_MEMORY_MIB: &str = "64";
        const PRIVATE_MEMORY_MIB: &str = "8";
        let folder = folder.to_string_lossy();
        let mut arguments: Vec<String> = ["-DD", "-E", "-m", SHARED_MEMORY_MIB, "-M", PRIVATE_MEMORY_MIB]
            .into_iter()
            .chain(["-f", "kamailio.cfg", "-P", "kamailio.pid", "-Y", &folder, "-w", &folder])
            .map(str::to_owned)
            .collect();
        let mut define = |definition: String| arguments.extend(["-A".to_owned(), definition]);
        match self.digest {
            Digest::Md5 => define("DIGEST=\"MD5\"".to_owned()),
            Digest::Sha256 => define("DIGEST=\"SHA-256\"".to_owned()),
        }
        match self.invite_challenge {
            InviteChallenge::None => {}
            InviteChallenge::Unauthorized => define("INVITE_401".to_owned()),
            InviteChallenge::ProxyAuthentication => define("INVITE_407".to_owned()),
        }
        if self.forbids_wrong_password {
            define("WRONG_PASSWORD_403".to_owned());
        }
        if let Some(longest) = self.registration {
            define(format!("REGISTRATION_SECONDS={}", longest.as_secs()));
        }
        if let Some(lifetime) = self.nonce_lifetime {
            define(format!("NONCE_SECONDS={}", lifetime.as_secs()));
        }
        if let Some(delay) = self.cancel_delay {
            define(format!("HOLD_CANCEL_US={}", delay.as_micros()));
        }
        if self.rtpengine {
            define("WITH_RTPENGINE".to_owned());
        }
        arguments
    }
}

/// The edge, running.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    arguments: Vec<String>,
    folder: PathBuf,
    log: PathBuf,
    identity: Identity,
}

impl Kamailio {
    /// An edge with MD5, open INVITE and no rtpengine, unless told otherwise.
    #[must_use]
    pub fn builder() -> KamailioBuilder {
        KamailioBuilder::default()
    }

    /// `ws://127.0.0.1:8080/`.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}/", ports::EDGE_WS)
    }

    /// `wss://localhost:8443/`.
    #[must_use]
    pub fn wss_url(&self) -> String {
        format!("wss://localhost:{}/", ports::EDGE_WSS)
    }

    /// The certificate, in PEM, of the authority that signed the edge's.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.identity.ca_pem
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The contact URIs that are registered for `user` now.
    ///
    /// # Errors
    /// When the edge does not answer as it should.
    pub async fn contacts(&self, user: &str) -> Result<Vec<String>, PeerError> {
        contacts_of(user).await
    }

    /// Waits until `user` has so many contacts.
    ///
    /// # Errors
    /// When that does not come about within `limit`.
    pub async fn has_contacts(&mut self, user: &str, count: usize, limit: Duration) -> Result<(), PeerError> {
        let waited_for = format!("{count} contacts of {user}");
        self.process
            .wait_for(&waited_for, limit, async || (contacts_of(user).await.ok()?.len() == count).then_some(()))
            .await
    }

    /// Calls a command of Kamailio's JSON-RPC interface and returns the whole answer.
    ///
    /// # Errors
    /// When the edge does not answer as it should.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, PeerError> {
        call(method, params).await
    }

    /// Ends it at once, as a crash would: connections break, registrations are lost. [`Kamailio::start_again`] brings it
    /// back.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it as it was set up, after [`Kamailio::kill`]. It knows no registrations.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start_again(&mut self) -> Result<(), PeerError> {
        self.process = start_process(&self.arguments, &self.folder, &self.log).await?;
        Ok(())
    }

    /// Ends it in order and starts it again: connections close, registrations are lost.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn restart(&mut self) -> Result<(), PeerError> {
        self.process.stop().await?;
        self.start_again().await
    }
}

async fn contacts_of(user: &str) -> Result<Vec<String>, PeerError> {
    let answer = call("ul.lookup", json!(["location", user])).await?;
    // The address of record was never there, or all its contacts are gone.
    if matches!(answer["error"]["message"].as_str(), Some("AOR not found in location table" | "AOR has no contacts")) {
        return Ok(Vec::new());
    }
    let unexpected = || PeerError::UnexpectedAnswer { peer: PEER, answer: answer.to_string() };
    let contacts = answer["result"]["Contacts"].as_array().ok_or_else(unexpected)?;
    contacts
        .iter()
        .map(|contact| contact["Contact"]["Address"].as_str().map(str::to_owned).ok_or_else(unexpected))
        .collect()
}

async fn call(method: &str, params: Value) -> Result<Value, PeerError> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let answer = http("POST", "/rpc", &request).await.map_err(|source| PeerError::Io { peer: PEER, source })?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|_| PeerError::UnexpectedAnswer { peer: PEER, answer })
}

async fn start_process(arguments: &[String], folder: &Path, log: &Path) -> Result<Process, PeerError> {
    let mut process = Process::start(PROGRAM, arguments, folder, log, &LISTENS_ON).await?;
    let options = format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK-is-it-up\r\n\
         From: <sip:start@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {READINESS_CALL_ID}{}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n",
        process.id()
    );
    process
        .answers("200 to OPTIONS over UDP", async || {
            let answer = attempt(ask_udp(ports::EDGE_SIP, options.as_bytes())).await?;
            answer.starts_with(b"SIP/2.0 200 ").then_some(())
        })
        .await?;
    process
        .answers("an answer over HTTP", async || {
            attempt(http("GET", "/is-it-up", "")).await?.starts_with("HTTP/1.1 404 ").then_some(())
        })
        .await?;
    process.answers("the TLS port", async || Port::Tcp(ports::EDGE_WSS).is_taken().then_some(())).await?;
    Ok(process)
}

async fn http(method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", ports::EDGE_WS)).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        ports::EDGE_WS,
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether a module is installed. Where modules are not found at all the layout is not Debian's, and Kamailio itself will
/// say what it lacks.
fn has_module(module: &str) -> bool {
    let Ok(folders) = std::fs::read_dir("/usr/lib") else { return true };
    let modules: Vec<PathBuf> = folders
        .filter_map(|folder| Some(folder.ok()?.path().join("kamailio/modules")))
        .filter(|folder| folder.is_dir())
        .collect();
    modules.is_empty() || modules.iter().any(|folder| folder.join(module).is_file())
}
