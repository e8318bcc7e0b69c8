//! coturn: STUN and TURN with long-term credentials.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Port, Process, Program, ask_udp, attempt, write};
use super::{PeerError, ports};
use crate::scenario::Stage;

const PEER: &str = "coturn";
const PROGRAM: Program = Program { peer: PEER, command: "turnserver", package: "coturn" };

/// A Binding request without attributes (RFC 8489 §5): type 0x0001, length 0, magic cookie, transaction id.
const BINDING_REQUEST: [u8; 20] =
    [0x00, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42, b'i', b's', b'-', b'i', b't', b'-', b'u', b'p', b'-', b'?', b'?', b'?'];
/// The type of the answer that says it worked.
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// The TURN server, running.
#[derive(Debug)]
pub struct Coturn {
    process: Process,
    log: PathBuf,
}

impl Coturn {
    /// The user that may allocate relays.
    pub const USER: &'static str = "webrtc";
    /// That user's password.
    pub const PASSWORD: &'static str = "relay-secret";
    /// The realm of the credentials.
    pub const REALM: &'static str = "turn.example.test";

    /// Starts it; it answers a STUN Binding request then.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(stage: &Stage) -> Result<Coturn, PeerError> {
        let folder =
            stage.peer_folder(PEER).map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let log = folder.join("coturn.log");
        stage.add_log(PEER, &log);
        let configuration = folder.join("turnserver.conf");
        let here = folder.display();
        // Peers on loopback are refused by default, for good reasons that do not hold here.
        write(
            &configuration,
            format!(
                "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={}\nmin-port={}\nmax-port={}\n\
                 allow-loopback-peers\nlt-cred-mech\nuser={}:{}\nrealm={}\nfingerprint\nno-tls\nno-dtls\nno-cli\n\
                 verbose\nlog-file=stdout\nsimple-log\nuserdb={here}/turn.db\npidfile={here}/turn.pid\n",
                ports::TURN,
                ports::TURN_RELAY_FIRST,
                ports::TURN_RELAY_LAST,
                Coturn::USER,
                Coturn::PASSWORD,
                Coturn::REALM,
            ),
        )?;
        let arguments = [PathBuf::from("-c"), configuration];
        let listens_on = [Port::Udp(ports::TURN), Port::Tcp(ports::TURN)];
        let mut process = Process::start(PROGRAM, &arguments, &folder, &log, &listens_on).await?;
        process
            .answers("an answer to a STUN Binding request", async || {
                attempt(ask_udp(ports::TURN, &BINDING_REQUEST)).await?.starts_with(&BINDING_SUCCESS).then_some(())
            })
            .await?;
        Ok(Coturn { process, log })
    }

    /// `stun:127.0.0.1:3478`.
    #[must_use]
    pub fn stun_url(&self) -> String {
        format!("stun:127.0.0.1:{}", ports::TURN)
    }

    /// `turn:127.0.0.1:3478?transport=udp`.
    #[must_use]
    pub fn turn_url(&self) -> String {
        format!("turn:127.0.0.1:{}?transport=udp", ports::TURN)
    }

    /// Waits until what it printed is as wanted.
    ///
    /// # Errors
    /// When that does not come within `limit`; `waited_for` is in the error.
    pub async fn tells(
        &mut self,
        waited_for: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), PeerError> {
        let log = self.log.clone();
        self.process
            .wait_for(waited_for, limit, async || {
                let printed = tokio::fs::read_to_string(&log).await.ok()?;
                wanted(&printed).then_some(())
            })
            .await
    }

    /// What it printed: `session …: usage:` lines tell what went through a relay.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}
