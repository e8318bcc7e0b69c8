//! rtpengine: media between WebRTC and plain RTP.

use std::path::{Path, PathBuf};

use super::process::{Port, Process, Program, ask_udp, attempt};
use super::{PeerError, ports};
use crate::scenario::Stage;

const PEER: &str = "rtpengine";
const PROGRAM: Program = Program { peer: PEER, command: "rtpengine", package: "rtpengine-daemon" };

/// The media proxy, running in user space on 127.0.0.1.
#[derive(Debug)]
pub struct Rtpengine {
    _process: Process,
    log: PathBuf,
}

impl Rtpengine {
    /// Starts it; it answers `ping` on its control port then. Start it before the edge that uses it.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(stage: &Stage) -> Result<Rtpengine, PeerError> {
        let folder =
            stage.peer_folder(PEER).map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let log = folder.join("rtpengine.log");
        stage.add_log(PEER, &log);
        let arguments = [
            "--config-file=none".to_owned(),
            "--foreground".to_owned(),
            "--log-stderr".to_owned(),
            "--log-level=6".to_owned(),
            "--table=-1".to_owned(),
            "--interface=127.0.0.1".to_owned(),
            format!("--listen-ng=127.0.0.1:{}", ports::RTPENGINE_NG),
            format!("--port-min={}", ports::RTPENGINE_FIRST),
            format!("--port-max={}", ports::RTPENGINE_LAST),
            "--num-threads=2".to_owned(),
        ];
        let mut process = Process::start(PROGRAM, &arguments, &folder, &log, &[Port::Udp(ports::RTPENGINE_NG)]).await?;
        process
            .answers("pong to ping on the control port", async || {
                let answer = attempt(ask_udp(ports::RTPENGINE_NG, b"is-it-up d7:command4:pinge")).await?;
                answer.ends_with(b"d6:result4:ponge").then_some(())
            })
            .await?;
        Ok(Rtpengine { _process: process, log })
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}
