//! baresip as voicebot: plays a tone, records what it hears, receives and sends digits (RFC 4733).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::process::{Port, Process, Program, attempt, write};
use super::{APPLICATION, PeerError, ports};
use crate::audio::Audio;
use crate::scenario::Stage;

const PEER: &str = "baresip";
const PROGRAM: Program = Program { peer: PEER, command: "baresip", package: "baresip-core" };
const MODULES: &str = "/usr/lib/baresip/modules";
const SAMPLE_RATE: u32 = 8000;
/// Longer than any scenario's call.
const TONE_SECONDS: f64 = 120.0;
/// The largest control message that is taken from it.
const LARGEST_MESSAGE: usize = 1 << 20;

/// How baresip is to be.
#[derive(Debug, Clone)]
pub struct BaresipBuilder {
    user: String,
    tone_hz: f64,
    codecs: String,
}

impl BaresipBuilder {
    /// The user part that it answers to, such as `app-<guid>`; `<guid>` of [`APPLICATION`] unless set.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// The tone that it plays; 440 Hz unless set.
    #[must_use]
    pub fn tone_hz(mut self, frequency_hz: f64) -> Self {
        self.tone_hz = frequency_hz;
        self
    }

    /// Its codecs in order of preference, as baresip writes them; `PCMU/8000/1,PCMA/8000/1` unless set.
    #[must_use]
    pub fn codecs(mut self, codecs: &str) -> Self {
        codecs.clone_into(&mut self.codecs);
        self
    }

    /// Starts it; it answers on its control connection and listens for SIP then. It answers every call at once.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(self, stage: &Stage) -> Result<Baresip, PeerError> {
        let folder =
            stage.peer_folder(PEER).map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let recordings = folder.join("recordings");
        std::fs::create_dir_all(&recordings).map_err(|source| PeerError::File { path: recordings.clone(), source })?;
        let tone = folder.join("tone.wav");
        Audio::tone(SAMPLE_RATE, self.tone_hz, 0.5, TONE_SECONDS)
            .write_wav(&tone)
            .map_err(|error| PeerError::Material { what: "tone.wav", problem: error.to_string() })?;
        write(
            &folder.join("config"),
            format!(
                "sip_listen 127.0.0.1:{}\nnet_interface 127.0.0.1\nrtp_ports {}-{}\nmodule_path {MODULES}\n\
                 audio_source aufile,{}\naudio_player aufile,{}\naudio_alert aufile,/dev/null\n\
                 ausrc_srate {SAMPLE_RATE}\nauplay_srate {SAMPLE_RATE}\nausrc_channels 1\nauplay_channels 1\n\
                 module g711.so\nmodule opus.so\nmodule aufile.so\nmodule sndfile.so\nsnd_path {}\n\
                 module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{}\n",
                ports::VOICEBOT_SIP,
                ports::BARESIP_RTP_FIRST,
                ports::BARESIP_RTP_LAST,
                tone.display(),
                folder.join("played.wav").display(),
                recordings.display(),
                ports::BARESIP_CONTROL,
            ),
        )?;
        write(
            &folder.join("accounts"),
            format!("<sip:{}@127.0.0.1>;regint=0;answermode=auto;audio_codecs={}\n", self.user, self.codecs),
        )?;
        write(&folder.join("contacts"), "")?;
        let log = folder.join("baresip.log");
        stage.add_log(PEER, &log);
        let arguments = ["-f".as_ref(), folder.as_os_str(), "-v".as_ref()];
        let listens_on = [Port::Udp(ports::VOICEBOT_SIP), Port::Tcp(ports::BARESIP_CONTROL)];
        let mut process = Process::start(PROGRAM, arguments, &folder, &log, &listens_on).await?;
        let stream = process
            .answers("its control connection", async || {
                let is_listening = Port::Udp(ports::VOICEBOT_SIP).is_taken();
                let stream = attempt(TcpStream::connect(("127.0.0.1", ports::BARESIP_CONTROL))).await?;
                is_listening.then_some(stream)
            })
            .await?;
        let (reader, writer) = stream.into_split();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listener = tokio::spawn(listen(reader, Arc::clone(&heard)));
        let mut baresip = Baresip { process, writer, heard, listener, recordings, log, commands: 0 };
        let agents = baresip.command("reginfo", "").await?;
        if !agents.contains(&self.user) {
            return Err(PeerError::UnexpectedAnswer { peer: PEER, answer: agents });
        }
        Ok(baresip)
    }
}

/// Something that baresip reported by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaresipEvent {
    /// Such as `CALL_ESTABLISHED`, `CALL_CLOSED`, `CALL_RTPESTAB`, `CALL_DTMF_START`, `CALL_DTMF_END`.
    pub kind: String,
    /// The peer's URI.
    pub peer_uri: String,
    /// The peer's display name.
    pub peer_display_name: String,
    /// The SIP Call-ID.
    pub call_id: String,
    /// What belongs to the kind: a digit, a reason.
    pub parameter: String,
}

#[derive(Debug, Default)]
struct Heard {
    events: Vec<BaresipEvent>,
    answers: Vec<Value>,
}

/// baresip, running.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    writer: OwnedWriteHalf,
    heard: Arc<Mutex<Heard>>,
    listener: tokio::task::JoinHandle<()>,
    recordings: PathBuf,
    log: PathBuf,
    commands: u32,
}

impl Baresip {
    /// A voicebot that plays 440 Hz.
    #[must_use]
    pub fn builder() -> BaresipBuilder {
        BaresipBuilder { user: APPLICATION.to_owned(), tone_hz: 440.0, codecs: "PCMU/8000/1,PCMA/8000/1".to_owned() }
    }

    /// Runs one of its commands (`help` lists them) and returns what it says.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn command(&mut self, command: &str, parameters: &str) -> Result<String, PeerError> {
        const ANSWER_LIMIT: Duration = Duration::from_secs(5);
        self.commands += 1;
        let token = format!("command-{}", self.commands);
        let message = json!({"command": command, "params": parameters, "token": token}).to_string();
        // A netstring: length, colon, content, comma.
        let framed = format!("{}:{message},", message.len());
        self.writer.write_all(framed.as_bytes()).await.map_err(|source| PeerError::Io { peer: PEER, source })?;
        let heard = Arc::clone(&self.heard);
        let answer = self
            .process
            .wait_for(&format!("the answer to `{command}`"), ANSWER_LIMIT, async || {
                let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.answers.iter().find(|answer| answer["token"] == token.as_str()).cloned()
            })
            .await?;
        let text = answer["data"].as_str().unwrap_or_default().to_owned();
        if answer["ok"] == true { Ok(text) } else { Err(PeerError::UnexpectedAnswer { peer: PEER, answer: text }) }
    }

    /// Sends a digit to the far end (RFC 4733).
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn send_digit(&mut self, digit: char) -> Result<(), PeerError> {
        self.command("sndcode", &digit.to_string()).await.map(drop)
    }

    /// Hangs up.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn hang_up(&mut self) -> Result<(), PeerError> {
        self.command("hangup", "").await.map(drop)
    }

    /// Everything that it reported so far.
    #[must_use]
    pub fn events(&self) -> Vec<BaresipEvent> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    /// The digits that it received so far (RFC 4733), in order.
    #[must_use]
    pub fn digits(&self) -> String {
        self.events()
            .iter()
            .filter(|event| event.kind == "CALL_DTMF_START")
            .map(|event| event.parameter.as_str())
            .collect()
    }

    /// Waits until as many digits as these have come.
    ///
    /// # Errors
    /// When they do not come within `limit`.
    pub async fn keyed(&mut self, digits: &str, limit: Duration) -> Result<(), PeerError> {
        let heard = Arc::clone(&self.heard);
        self.process
            .wait_for(&format!("the keys {digits}"), limit, async || {
                let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let come = heard.events.iter().filter(|event| event.kind == "CALL_DTMF_START").count();
                (come >= digits.chars().count()).then_some(())
            })
            .await
    }

    /// Waits for an event of this kind and returns the first one.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub async fn event(&mut self, kind: &str, limit: Duration) -> Result<BaresipEvent, PeerError> {
        let heard = Arc::clone(&self.heard);
        self.process
            .wait_for(kind, limit, async || {
                let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.events.iter().find(|event| event.kind == kind).cloned()
            })
            .await
    }

    /// What it heard in its last call. Ask after `CALL_CLOSED`: the file is complete then.
    ///
    /// # Errors
    /// When there is no recording.
    pub fn heard(&self) -> Result<Audio, PeerError> {
        self.recording("-dec.wav")
    }

    /// What it played in its last call. Ask after `CALL_CLOSED`: the file is complete then.
    ///
    /// # Errors
    /// When there is no recording.
    pub fn played(&self) -> Result<Audio, PeerError> {
        self.recording("-enc.wav")
    }

    fn recording(&self, suffix: &str) -> Result<Audio, PeerError> {
        let failed = |problem: String| PeerError::Material { what: "baresip's recording", problem };
        let files = std::fs::read_dir(&self.recordings).map_err(|error| failed(error.to_string()))?;
        // Names begin with date and time.
        let last = files
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .max()
            .ok_or_else(|| failed(format!("no file `*{suffix}` in {}", self.recordings.display())))?;
        Audio::read_wav(&last).map_err(|error| failed(format!("{}: {error}", last.display())))
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Takes messages from the control connection until it closes.
async fn listen(mut reader: OwnedReadHalf, heard: Arc<Mutex<Heard>>) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match reader.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => buffer.extend_from_slice(&chunk[..length]),
        }
        while let Some((message, used)) = netstring(&buffer) {
            let message: Value = serde_json::from_slice(message).unwrap_or_default();
            buffer.drain(..used);
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if message["event"] == true {
                let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
                heard.events.push(BaresipEvent {
                    kind: text("type"),
                    peer_uri: text("peeruri"),
                    peer_display_name: text("peerdisplayname"),
                    call_id: text("id"),
                    parameter: text("param"),
                });
            } else {
                heard.answers.push(message);
            }
        }
        if buffer.len() > LARGEST_MESSAGE {
            return;
        }
    }
}

/// The first netstring's content and how many bytes it takes; `None` if it is not complete.
fn netstring(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let colon = buffer.iter().position(|b| *b == b':')?;
    let length: usize = std::str::from_utf8(&buffer[..colon]).ok()?.parse().ok()?;
    let end = colon.checked_add(1)?.checked_add(length)?;
    (buffer.len() > end).then(|| (&buffer[colon + 1..end], end + 1))
}

#[cfg(test)]
mod tests {
    use super::netstring;

    #[test]
    fn netstrings_are_taken_one_by_one_when_complete() {
        let stream = b"5:hello,2:{},3:ab";
        assert_eq!(netstring(stream), Some((&b"hello"[..], 8)));
        assert_eq!(netstring(&stream[8..]), Some((&b"{}"[..], 5)));
        assert_eq!(netstring(&stream[13..]), None);
        assert_eq!(netstring(b""), None);
        assert_eq!(netstring(b"x:abc,"), None);
        assert_eq!(netstring(format!("{}:a,", usize::MAX).as_bytes()), None);
    }
}
