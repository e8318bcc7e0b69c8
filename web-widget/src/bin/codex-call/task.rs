//! `register`, `call`, `answer` and `listen`.

use std::time::Duration;

use codex_core_sip::Error;
use codex_core_sip::client::{AcceptCall, EventStream, StartCall};
use codex_core_sip::event::{CallState, Event, RegistrationEvent, RegistrationState};
use codex_core_sip::metadata::LanguageTag;
use codex_web_widget::{Client, Text};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::arguments::{Arguments, Task};
use crate::configuration::{self, Configuration};
use crate::exit::{Failure, Kind};
use crate::line::{Line, Trace};
use crate::screen::Screen;
use crate::sound::{HEARD_MS, Sound};

/// How often meters move.
const METER_INTERVAL: Duration = Duration::from_millis(100);
/// And how often `--json` tells levels.
const LEVEL_INTERVAL: Duration = Duration::from_secs(1);
/// From the call being up to the first key, and between keys: recognisers want a pause.
const KEY_INTERVAL: Duration = Duration::from_millis(400);
/// How long the event of a call's end may be on its way once a command was told that there is no call.
const LAST_EVENT_LIMIT: Duration = Duration::from_secs(2);

pub(crate) async fn run(arguments: &Arguments, screen: &Screen) -> Result<(), Failure> {
    let Configuration { settings, source } = configuration::load(arguments)?;
    screen.line(&format!(
        "{} → {}  ({}: {})",
        settings.sip.username,
        settings.sip.wss_server.split('?').next().unwrap_or_default(),
        screen.say("settings from", "настройки"),
        screen.text(&source),
    ));
    for warning in &settings.warnings {
        screen.warning(&warning.in_locale(screen.locale));
    }
    let language = settings.sip.default_language.clone();
    let sound = Sound::open(arguments)?;
    let mut line = Line::open(&settings, &sound)?;
    line.registers();
    let mut course = Course {
        arguments,
        screen,
        events: line.client.events(),
        sound: &sound,
        client: line.client.clone(),
        trace: line.trace(),
        language,
        up: None,
        was_up: false,
        listening: false,
        lost: None,
        over: None,
        headers_told: false,
        incoming: false,
    };
    let outcome = tokio::select! {
        outcome = course.go() => outcome,
        () = interrupted() => Err(Failure::Other(
            Kind::Interrupted,
            Text::fixed("interrupted", "прервано"),
        )),
    };
    let Course { was_up, listening, mut events, .. } = course;
    let trace = line.trace();
    // Who presses Ctrl-C once more does not want to wait for good-byes.
    let closing = async {
        let close = line.close(screen);
        tokio::pin!(close);
        loop {
            tokio::select! {
                () = &mut close => break,
                Some(event) = events.next() => screen.event(&event),
            }
        }
        // What was said meanwhile; the stream ends with the client.
        while let Some(event) = events.next().await {
            screen.event(&event);
        }
    };
    tokio::select! {
        () = closing => {}
        () = interrupted() => {}
    }
    if arguments.trace {
        trace.draw(screen);
    }
    let outcome = match outcome {
        // A call that was up and is ended by the person has gone as it should, and so has listening.
        Err(Failure::Other(Kind::Interrupted, _)) if was_up || listening => Ok(()),
        outcome => outcome,
    };
    let loud = sound.loud();
    if was_up {
        screen.object(&json!({"event": "heard", "soundMs": loud.milliseconds, "loudestDbfs": loud.loudest_dbfs}));
        screen.line(&format!(
            "{} {:.1} s ({} {:.1} dBFS)",
            screen.say("heard sound for", "слышен звук"),
            Duration::from_millis(loud.milliseconds).as_secs_f64(),
            screen.say("loudest", "громче всего"),
            loud.loudest_dbfs
        ));
    }
    sound.close();
    outcome?;
    if arguments.expect_audio && was_up && loud.milliseconds < HEARD_MS {
        return Err(Failure::Other(
            Kind::Audio,
            Text::fixed(
                "nothing was heard: the call was up, but the far end was silent",
                "ничего не было слышно: звонок установлен, но на том конце тишина",
            ),
        ));
    }
    Ok(())
}

/// Resolves when a person or the system wants this program to end.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without signals nobody can interrupt.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a program for people runs in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What came of the call, if this event ends it.
fn outcome(event: &Event) -> Option<Result<(), Failure>> {
    let Event::Call(call) = event else { return None };
    if !matches!(call.state, CallState::Ended | CallState::Error) {
        return None;
    }
    Some(match &call.error {
        Some(error) => Err(Failure::InCall(error.clone())),
        None => Ok(()),
    })
}

/// One run: what has happened so far.
struct Course<'a> {
    arguments: &'a Arguments,
    screen: &'a Screen,
    events: EventStream,
    sound: &'a Sound,
    client: Client,
    trace: Trace,
    language: LanguageTag,
    /// Since when the call is up.
    up: Option<Instant>,
    was_up: bool,
    /// Calls that come in are shown, until the person ends it.
    listening: bool,
    /// Why the registration is over for good: nothing tries again, and no call can come any more.
    lost: Option<Error>,
    /// What came of the last call, once it has ended.
    over: Option<Result<(), Failure>>,
    headers_told: bool,
    /// A call has come in and is not over; it may come before the command that registered is done.
    incoming: bool,
}

impl Course<'_> {
    async fn go(&mut self) -> Result<(), Failure> {
        match self.arguments.task {
            Task::Call => {
                let client = self.client.clone();
                let call = StartCall { language: Some(self.language.clone()), ..StartCall::default() };
                self.watch_while(async move { client.start_call(call).await.map(drop) }).await?;
                self.until_over().await
            }
            Task::Answer => {
                self.register().await?;
                self.answer().await?;
                self.until_over().await
            }
            Task::Register => {
                self.register().await?;
                if let Some(duration) = self.arguments.duration {
                    self.stay(duration).await?;
                }
                Ok(())
            }
            Task::Listen => {
                self.register().await?;
                self.screen.line(self.screen.say("waiting for calls; Ctrl-C ends", "ждём звонков; Ctrl-C — конец"));
                match self.arguments.duration {
                    Some(duration) => self.stay(duration).await,
                    None => loop {
                        self.next_event().await?;
                    },
                }
            }
            Task::Doctor => Ok(()),
        }
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let client = self.client.clone();
        self.watch_while(async move { client.register().await }).await
    }

    /// Carries a command out, and shows what happens meanwhile.
    async fn watch_while(&mut self, command: impl Future<Output = codex_core_sip::Result<()>>) -> Result<(), Failure> {
        tokio::pin!(command);
        loop {
            tokio::select! {
                // First what has happened, then what came of it.
                biased;
                event = self.events.next() => match event {
                    Some(event) => self.show(&event),
                    None => return Err(Error::Destroyed.into()),
                },
                done = &mut command => return Ok(done?),
            }
        }
    }

    /// The next event, or why there is nothing to wait for any more.
    async fn next_event(&mut self) -> Result<Event, Failure> {
        if self.lost.is_none() {
            let event = self.events.next().await.ok_or(Error::Destroyed)?;
            self.show(&event);
            if self.lost.is_none() {
                return Ok(event);
            }
        }
        let unknown = || Error::FlowLost { problem: "the registration is over".to_owned() };
        Err(self.lost.take().unwrap_or_else(unknown).into())
    }

    async fn stay(&mut self, duration: Duration) -> Result<(), Failure> {
        let over = sleep(duration);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                event = self.next_event() => drop(event?),
            }
        }
    }

    /// Waits for a call and takes it; one whose caller gives up before that is not ours.
    async fn answer(&mut self) -> Result<(), Failure> {
        self.screen.line(self.screen.say("waiting for a call; Ctrl-C ends", "ждём звонка; Ctrl-C — конец"));
        let until = self.arguments.wait.map(|wait| now() + wait);
        loop {
            self.wait_for_call(until).await?;
            let client = self.client.clone();
            let accept = AcceptCall { language: Some(self.language.clone()) };
            match self.watch_while(async move { client.accept_incoming_call(accept).await }).await {
                Err(Failure::Client(Error::WrongState { .. })) => {
                    self.incoming = false;
                    self.screen.line(self.screen.say("the caller gave up", "звонивший не дождался ответа"));
                }
                outcome => return outcome,
            }
        }
    }

    async fn wait_for_call(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        while !self.incoming {
            tokio::select! {
                event = self.next_event() => drop(event?),
                () = due(until) => {
                    let text = Text::fixed("nobody called in time", "никто не позвонил вовремя");
                    return Err(Failure::Other(Kind::NobodyCalled, text));
                }
            }
        }
        Ok(())
    }

    /// The far end hung up just as a command was due: its event is on its way.
    async fn ended_meanwhile(&mut self) -> Result<(), Failure> {
        let last = async {
            loop {
                let event = self.events.next().await.ok_or(Error::Destroyed)?;
                self.show(&event);
                if let Some(outcome) = self.over.take() {
                    return outcome;
                }
            }
        };
        tokio::time::timeout(LAST_EVENT_LIMIT, last).await.unwrap_or(Ok(()))
    }

    /// From the call being on its way to its end, by whichever side.
    async fn until_over(&mut self) -> Result<(), Failure> {
        // It may have ended before the command that began it was done.
        if let Some(outcome) = self.over.take() {
            return outcome;
        }
        let mut meter = tokio::time::interval(METER_INTERVAL);
        let mut levels = tokio::time::interval(LEVEL_INTERVAL);
        let mut keys = self.arguments.dtmf.clone().unwrap_or_default().chars().collect::<Vec<_>>().into_iter();
        // An answered call is up already.
        let mut key_due = self.up.filter(|_| keys.len() > 0).map(|up| up + KEY_INTERVAL);
        loop {
            let hang_up_at = self.up.zip(self.arguments.duration).map(|(up, duration)| up + duration);
            tokio::select! {
                event = self.events.next() => {
                    let event = event.ok_or(Error::Destroyed)?;
                    let before = self.up;
                    self.show(&event);
                    if before.is_none() && let Some(up) = self.up {
                        key_due = (keys.len() > 0).then(|| up + KEY_INTERVAL);
                    }
                    if let Some(outcome) = self.over.take() {
                        return outcome;
                    }
                }
                () = due(key_due) => {
                    if let Some(key) = keys.next() {
                        match self.client.send_dtmf(key).await {
                            Err(Error::WrongState { .. }) if self.client.state() != CallState::Connected => {
                                return self.ended_meanwhile().await;
                            }
                            done => done?,
                        }
                        self.screen.line(&format!("{} {key}", self.screen.say("pressed", "нажато")));
                        self.screen.object(&json!({"event": "keyPressed", "tone": key.to_string()}));
                    }
                    key_due = (keys.len() > 0).then(|| now() + KEY_INTERVAL);
                }
                () = due(hang_up_at) => {
                    return match self.client.hangup(None).await {
                        Err(Error::WrongState { .. }) => self.ended_meanwhile().await,
                        done => Ok(done?),
                    };
                }
                _ = meter.tick(), if self.screen.live && self.up.is_some() => {
                    let seconds = self.up.map_or(0, |up| up.elapsed().as_secs());
                    self.screen.levels(seconds, self.sound.sent.rms_dbfs(), self.sound.heard.rms_dbfs());
                }
                _ = levels.tick(), if self.up.is_some() => self.screen.object(&json!({
                    "event": "levels", "sentDbfs": self.sound.sent.rms_dbfs(), "heardDbfs": self.sound.heard.rms_dbfs(),
                })),
            }
        }
    }

    fn show(&mut self, event: &Event) {
        self.screen.event(event);
        if let Event::Registration(RegistrationEvent { state, error, .. }) = event {
            self.listening |= *state == RegistrationState::Registered && self.arguments.task == Task::Listen;
            // It may come before the command that registered is done.
            self.lost = error.clone().filter(|_| *state == RegistrationState::Failed);
        }
        if matches!(event, Event::IncomingCall(_)) {
            // What came of the one before it is of no interest any more.
            self.over = None;
            self.incoming = true;
        }
        if let Some(outcome) = outcome(event) {
            self.over = Some(outcome);
            self.incoming = false;
        }
        let Event::Call(call) = event else { return };
        if !self.headers_told
            && matches!(call.state, CallState::Ringing | CallState::Connected | CallState::Ended)
            && let Some(headers) = self.trace.sent_headers()
        {
            self.headers_told = true;
            self.screen.headers(&headers);
        }
        if call.state == CallState::Connected && self.up.is_none() {
            self.up = Some(now());
            self.was_up = true;
        }
    }
}
