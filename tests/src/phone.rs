//! Our client as scenarios use it: registered at the edge, with a tone in its mouth, everything it told and heard kept.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core_sip::client::{CodexSipClient, Direction, EventStream, StartCall};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::{CallEvent, CallState, Event, RegistrationEvent, RegistrationState};
use codex_core_sip::media::{
    AudioCodec, AudioSink, LevelMeter, LevelReading, SessionAudio, Tee, Tone, WebRtcEngine, rms_dbfs,
};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::peers::{APPLICATION, Kamailio, PASSWORD, REALM};
use crate::scenario::{Fallible, Recorder, Stage};

/// How often what gives no notice, such as a level, is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// What is looked at to tell which tone is heard.
const HEARING_WINDOW_MS: u32 = 300;
/// The peak of the tone that a phone sends, as a share of full scale.
const AMPLITUDE: f64 = 0.5;
/// A tone is heard if it holds this share of the energy in the window.
const TONE_SHARE: f64 = 0.9;
/// And if it is louder than this. It is sent at -9 dBFS.
const TONE_DBFS: f64 = -20.0;
/// Silence: G.711 has small codes for zero, and decoders hum below this.
const SILENT_BELOW_DBFS: f64 = -60.0;

/// How a phone is to be.
pub struct PhoneBuilder {
    name: String,
    recorder: Recorder,
    tone_hz: f64,
    codecs: Vec<AudioCodec>,
    all_addresses: bool,
    config: SipClientConfig,
}

impl std::fmt::Debug for PhoneBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhoneBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PhoneBuilder {
    /// What it is called in the ladder; `client` unless set.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The user that it is; `user_12345` unless set.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.config.username);
        self
    }

    /// The tone that it sends; 1,000 Hz unless set.
    #[must_use]
    pub fn tone_hz(mut self, frequency_hz: f64) -> Self {
        self.tone_hz = frequency_hz;
        self
    }

    /// The codecs that it takes; all of them unless set.
    #[must_use]
    pub fn codecs(mut self, codecs: &[AudioCodec]) -> Self {
        self.codecs = codecs.to_vec();
        self
    }

    /// Media over whatever addresses the machine has beside 127.0.0.1, instead of that one.
    #[must_use]
    pub fn all_addresses(mut self) -> Self {
        self.all_addresses = true;
        self
    }

    /// Changes whatever else can be set.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut SipClientConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// The phone. It is not connected yet.
    ///
    /// # Errors
    /// When its settings are wrong.
    pub fn build(self) -> Fallible<Phone> {
        let heard = Arc::new(Mutex::new(None));
        let hearing = Arc::clone(&heard);
        let silence = Silences::default();
        let gaps = silence.clone();
        let tone_hz = self.tone_hz;
        let addresses = (!self.all_addresses).then_some(Ipv4Addr::LOCALHOST.into());
        let engine = WebRtcEngine::builder()
            .bind_addresses(addresses)
            .codecs(self.codecs)
            .audio(move || {
                let (meter, reading) = LevelMeter::new(HEARING_WINDOW_MS);
                *lock(&hearing) = Some(reading);
                let ears = Tee::default().with(meter).with(gaps.clone());
                Ok(SessionAudio::new(Tone::new(tone_hz, AMPLITUDE), ears))
            })
            .build();
        let (name, recorder) = (self.name.clone(), self.recorder.clone());
        let client = CodexSipClient::builder(self.config, Arc::new(engine))
            .trace(move |message| match message.direction {
                Direction::Sent => recorder.record(&name, "edge", &message.bytes),
                Direction::Received => recorder.record("edge", &name, &message.bytes),
            })
            .build()?;
        let (told, changes) = watch::channel(Vec::new());
        let listener = tokio::spawn(listen(client.events(), told, self.name.clone(), self.recorder));
        Ok(Phone { name: self.name, client, changes, next: 0, heard, silence, listener })
    }
}

/// Measures how long there is nothing to be heard.
#[derive(Debug, Clone, Default)]
struct Silences(Arc<Mutex<Silence>>);

#[derive(Debug, Default)]
struct Silence {
    now: Duration,
    longest: Duration,
}

impl AudioSink for Silences {
    fn write(&mut self, frame: &[i16], sample_rate_hz: u32) {
        let mut silence = lock(&self.0);
        if rms_dbfs(frame) < SILENT_BELOW_DBFS {
            silence.now += Duration::from_secs(1) * u32::try_from(frame.len()).unwrap_or(0) / sample_rate_hz.max(1);
            silence.longest = silence.longest.max(silence.now);
        } else {
            silence.now = Duration::ZERO;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "figures are measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Keeps every event with its time.
async fn listen(mut events: EventStream, told: watch::Sender<Vec<(Instant, Event)>>, name: String, recorder: Recorder) {
    while let Some(event) = events.next().await {
        recorder.note(format!("{name}: {}", serde_json::to_string(&event).unwrap_or_default()));
        told.send_modify(|all| all.push((now(), event)));
    }
}

/// Something that a phone was to do did not come.
#[derive(Debug, thiserror::Error)]
#[error("{phone}: {problem}; what it told since the last thing that was waited for:\n{told}")]
pub struct PhoneError {
    phone: String,
    problem: String,
    told: String,
}

/// Our client, with everything it told and heard.
#[derive(Debug)]
pub struct Phone {
    name: String,
    client: CodexSipClient,
    changes: watch::Receiver<Vec<(Instant, Event)>>,
    /// The first event that has not been waited for.
    next: usize,
    heard: Arc<Mutex<Option<LevelReading>>>,
    silence: Silences,
    listener: tokio::task::JoinHandle<()>,
}

impl Phone {
    /// A client of the edge over WS that calls [`APPLICATION`], `voicebot` by name.
    #[must_use]
    pub fn builder(stage: &Stage, edge: &Kamailio) -> PhoneBuilder {
        let mut config = SipClientConfig::new(
            REALM,
            edge.ws_url(),
            "user_12345",
            SecretString::from(PASSWORD),
            format!("sip:{APPLICATION}@{REALM}"),
        );
        config.target_application_name = "voicebot".parse().ok();
        PhoneBuilder {
            name: "client".to_owned(),
            recorder: stage.recorder(),
            tone_hz: 1000.0,
            codecs: Vec::new(),
            all_addresses: false,
            config,
        }
    }

    /// The client itself.
    #[must_use]
    pub fn client(&self) -> &CodexSipClient {
        &self.client
    }

    /// Calls what is configured and waits until the call is up. Returns when the call was placed, and the event.
    ///
    /// # Errors
    /// When the call does not come about within `limit`.
    pub async fn call(&mut self, limit: Duration) -> Fallible<(Instant, CallEvent)> {
        let placed_at = now();
        self.client.start_call(StartCall::default()).await?;
        Ok((placed_at, self.reaches(CallState::Connected, limit).await?))
    }

    /// Everything that it told so far, with the time.
    #[must_use]
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.changes.borrow().clone()
    }

    /// Waits for an event that comes after the last one that was waited for.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub async fn event<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, PhoneError> {
        let first = self.next;
        let next = &mut self.next;
        let found = self.changes.wait_for(|all| {
            let found = all.iter().enumerate().skip(*next).find(|(_, (_, event))| find(event).is_some());
            if let Some((index, _)) = found {
                *next = index;
            }
            found.is_some()
        });
        let found = match tokio::time::timeout(limit, found).await {
            Ok(Ok(all)) => all.get(*next).and_then(|(_, event)| find(event)),
            Ok(Err(_)) | Err(_) => None,
        };
        match found {
            Some(found) => {
                self.next += 1;
                Ok(found)
            }
            None => Err(self.error(format!("{what} did not come within {limit:?}"), first)),
        }
    }

    /// Waits until the call is in this state.
    ///
    /// # Errors
    /// When it does not get there within `limit`, or ends before.
    pub async fn reaches(&mut self, state: CallState, limit: Duration) -> Result<CallEvent, PhoneError> {
        let first = self.next;
        let event = self
            .event(&format!("call state {state:?}"), limit, |event| match event {
                Event::Call(call) if call.state == state || call.state == CallState::Idle => Some(call.clone()),
                _ => None,
            })
            .await?;
        if event.state == state {
            Ok(event)
        } else {
            Err(self.error(format!("the call ended before {state:?}"), first))
        }
    }

    /// Waits until the registration is in this state.
    ///
    /// # Errors
    /// When it does not get there within `limit`.
    pub async fn registration(
        &mut self,
        state: RegistrationState,
        limit: Duration,
    ) -> Result<RegistrationEvent, PhoneError> {
        self.event(&format!("registration state {state:?}"), limit, |event| match event {
            Event::Registration(registration) if registration.state == state => Some(registration.clone()),
            _ => None,
        })
        .await
    }

    /// Watches for `window` that no event comes which `breaks` the quiet.
    ///
    /// # Errors
    /// At once when one comes, or came since the last one that was waited for.
    pub async fn stays_quiet(&mut self, window: Duration, breaks: impl Fn(&Event) -> bool) -> Result<(), PhoneError> {
        let first = self.next;
        match self.event("", window, |event| breaks(event).then_some(())).await {
            Ok(()) => Err(self.error("it was to stay quiet".to_owned(), first)),
            Err(_) => Ok(()),
        }
    }

    /// What it hears now; `None` before there is media.
    #[must_use]
    pub fn heard(&self) -> Option<LevelReading> {
        lock(&self.heard).clone()
    }

    /// The longest silence since the last time that it was asked for, one that goes on included, to 20 ms.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        std::mem::take(&mut *lock(&self.silence.0)).longest
    }

    /// Waits until it hears nothing but a tone of `frequency_hz`.
    ///
    /// # Errors
    /// When it does not within `limit`; with the level and the strongest tone instead.
    pub async fn hears(&self, frequency_hz: f64, limit: Duration) -> Result<Instant, PhoneError> {
        let is_heard =
            |heard: &LevelReading| heard.tone_share(frequency_hz) > TONE_SHARE && heard.rms_dbfs() > TONE_DBFS;
        self.hearing(&format!("a tone of {frequency_hz} Hz"), limit, is_heard).await
    }

    /// Waits until it hears anything louder than `dbfs`.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn hears_louder_than(&self, dbfs: f64, limit: Duration) -> Result<Instant, PhoneError> {
        self.hearing(&format!("audio above {dbfs} dBFS"), limit, |heard| heard.rms_dbfs() > dbfs).await
    }

    /// Waits until it hears silence, audio going on.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn hears_silence(&self, limit: Duration) -> Result<Instant, PhoneError> {
        let before = self.heard().map_or(0, |heard| heard.samples_heard());
        self.hearing("silence", limit, |heard| {
            let (window, _) = heard.samples();
            heard.samples_heard() > before + window.len() as u64 && heard.rms_dbfs() < SILENT_BELOW_DBFS
        })
        .await
    }

    async fn hearing(
        &self,
        what: &str,
        limit: Duration,
        is_heard: impl Fn(&LevelReading) -> bool,
    ) -> Result<Instant, PhoneError> {
        let listening = async {
            while !self.heard().is_some_and(|heard| is_heard(&heard)) {
                tokio::time::sleep(GLANCE).await;
            }
            now()
        };
        match tokio::time::timeout(limit, listening).await {
            Ok(at) => Ok(at),
            Err(_) => {
                let instead = self.heard().map_or_else(
                    || "there is no media".to_owned(),
                    |heard| {
                        let (samples, rate) = heard.samples();
                        let tone = codex_core_sip::media::strongest_tone(&samples, rate, 200, 3500);
                        format!(
                            "{:.1} dBFS, strongest tone (Hz, share) {tone:?}, {} samples at {rate} Hz in all",
                            heard.rms_dbfs(),
                            heard.samples_heard()
                        )
                    },
                );
                Err(self.error(format!("{what} was not heard within {limit:?}, but {instead}"), self.next))
            }
        }
    }

    fn error(&self, problem: String, first: usize) -> PhoneError {
        let mut told = String::new();
        for (_, event) in self.changes.borrow().iter().skip(first) {
            let line: String = serde_json::to_string(event).unwrap_or_default().chars().take(200).collect();
            let _ = writeln!(told, "  {line}");
        }
        PhoneError { phone: self.name.clone(), problem, told }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
