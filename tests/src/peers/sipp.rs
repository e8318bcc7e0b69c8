//! SIPp as voicebot and as caller, with the scenario files of `tests/peers/sipp/`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::process::{Port, Process, Program, write};
use super::sipp_script::SippScript;
use super::{PeerError, ports};
use crate::rtp_recording;
use crate::scenario::Stage;
use crate::sipp_log::{self, Direction, LoggedMessage};

const PEER: &str = "sipp";
const PROGRAM: Program = Program { peer: PEER, command: "sipp", package: "sip-tester" };
/// SIPp ends by itself after this, whatever happens.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// What a voicebot does with the call that it gets. It echoes RTP while a call is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoicebotScript {
    /// Rings that long, answers with PCMU, takes INFO with 200, waits for BYE.
    Answers {
        /// From 180 to 200.
        ringing: Duration,
    },
    /// Answers at once with PCMU and without telephone-event, takes INFO with 200, waits for BYE.
    AnswersWithoutKeys,
    /// Answers, presses `7` and then `#` by INFO, wants 200 to both, waits for BYE.
    PressesKeysByInfo,
    /// Answers, and hangs up by itself with `Reason: Q.850;cause=16;text="Normal call clearing"`.
    HangsUp {
        /// From ACK to BYE.
        talking: Duration,
    },
    /// Answers, waits for a re-INVITE, and some time after it hangs up along the way that the re-INVITE has shown.
    HangsUpAfterReinvite {
        /// From the ACK of the re-INVITE to BYE.
        talking: Duration,
    },
    /// 180, then `486 Busy Here`.
    Busy,
    /// 180, then `603 Decline`.
    Declines,
    /// `480 no configured application` at once, as jambonz says it.
    NoApplication,
    /// 180 until a CANCEL comes, then 200 to it and 487 to the INVITE.
    Rings,
    /// 180; when the CANCEL comes 200 to it and, all the same, 200 to the INVITE; then wants ACK and BYE. The caller has
    /// to come in over WS or WSS: the script gives back exactly the two Record-Routes that the edge sets then.
    AnswersAfterCancel,
}

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerScript {
    /// Offers PCMA and telephone-event 101, plays speech, then the digit 1 by RFC 4733, then hangs up.
    Talks {
        /// From ACK to the digit.
        talking: Duration,
    },
    /// Offers the same, plays speech (7 s), is hung up on.
    WaitsForBye,
    /// Offers the same, plays a tone of [`CallerScript::FIRST_HZ`] from one RTP source (SSRC), then one of
    /// [`CallerScript::SECOND_HZ`] from another, is hung up on.
    ChangesSource {
        /// From ACK to the other source.
        talking: Duration,
    },
    /// Gives up some time after 180: CANCEL, wants 200 and 487.
    Cancels {
        /// From 180 to CANCEL.
        ringing: Duration,
    },
    /// Wants 480, 486 or 603.
    IsRefused,
}

impl CallerScript {
    /// The tone from the first source of [`CallerScript::ChangesSource`].
    pub const FIRST_HZ: f64 = 700.0;
    /// The tone from its second source.
    pub const SECOND_HZ: f64 = 1100.0;
}

/// How SIPp is to be.
#[derive(Debug, Clone)]
pub struct SippBuilder {
    role: &'static str,
    scenario: Cow<'static, str>,
    variables: Vec<(&'static str, Duration)>,
    sip_port: u16,
    rtp_port: u16,
    calls: u32,
    echoes: bool,
    caller: Option<CallerSettings>,
}

/// How long each source of [`CallerScript::ChangesSource`] could go on.
const SOURCE_SECONDS: f64 = 20.0;

#[derive(Debug, Clone)]
struct CallerSettings {
    user: String,
    display_from: String,
    display_to: String,
    customer_data: String,
    user_to_user: String,
}

impl SippBuilder {
    /// How many calls it makes or takes before it ends; 1 unless set.
    #[must_use]
    pub fn calls(mut self, calls: u32) -> Self {
        self.calls = calls;
        self
    }

    /// Makes it the second voicebot, at 127.0.0.1:5092, where the edge sends what is for `second-voicebot`, and beside the
    /// first one what is for `two-voicebots`.
    #[must_use]
    pub fn second(mut self) -> Self {
        (self.role, self.sip_port, self.rtp_port) = ("voicebot 2", ports::CALLER_SIP, ports::CALLER_RTP);
        self
    }

    /// Sends no RTP at all, as a voicebot whose packets get lost does. No effect on a caller.
    #[must_use]
    pub fn without_audio(mut self) -> Self {
        self.echoes = false;
        self
    }

    /// A caller's `X-Customer-Data`, raw; `{"callType":"callback"}` unless set. No effect on a voicebot.
    #[must_use]
    pub fn customer_data(mut self, value: &str) -> Self {
        if let Some(caller) = &mut self.caller {
            caller.customer_data = value.to_owned();
        }
        self
    }

    /// A caller's `User-to-User`, raw; `626f74;encoding=hex` unless set. No effect on a voicebot.
    #[must_use]
    pub fn user_to_user(mut self, value: &str) -> Self {
        if let Some(caller) = &mut self.caller {
            caller.user_to_user = value.to_owned();
        }
        self
    }

    /// A caller's `X-Display-From` and `X-Display-To`, raw; `voicebot` and `webcall` unless set. Only callers that talk
    /// send them. No effect on a voicebot.
    #[must_use]
    pub fn display_names(mut self, from: &str, to: &str) -> Self {
        if let Some(caller) = &mut self.caller {
            (caller.display_from, caller.display_to) = (from.to_owned(), to.to_owned());
        }
        self
    }

    /// Starts it. A voicebot listens then; a caller has its port and places its call.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn start(self, stage: &Stage) -> Result<Sipp, PeerError> {
        let folder = stage
            .peer_folder(self.role)
            .map_err(|source| PeerError::File { path: stage.folder().to_owned(), source })?;
        let scenario = folder.join("scenario.xml");
        write(&scenario, self.scenario.as_bytes())?;
        for (file, frequency_hz, ssrc) in
            [("first.pcap", CallerScript::FIRST_HZ, 0x1111_1111), ("second.pcap", CallerScript::SECOND_HZ, 0x2222_2222)]
        {
            if self.scenario.contains(file) {
                let path = folder.join(file);
                let recording = rtp_recording::a_law_tone(frequency_hz, SOURCE_SECONDS, ssrc);
                std::fs::write(&path, recording).map_err(|source| PeerError::File { path, source })?;
            }
        }
        let file = |name: &str| folder.join(name);
        let (log, message_log, errors) = (file("sipp.log"), file("messages.log"), file("errors.log"));
        // SIPp makes the file of errors only when there is one.
        write(&errors, "")?;
        stage.add_log(self.role, &log);
        stage.add_log(&format!("{}, errors", self.role), &errors);
        stage.add_message_log(self.role, &message_log);

        let mut arguments: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-sf", &scenario.to_string_lossy(), "-i", "127.0.0.1", "-p", &self.sip_port.to_string(), "-t", "u1"]);
        add(&["-mi", "127.0.0.1", "-mp", &self.rtp_port.to_string(), "-nostdin", "-m", &self.calls.to_string()]);
        add(&["-timeout", &LONGEST_RUN.as_secs().to_string(), "-timeout_error"]);
        add(&["-trace_msg", "-message_file", &message_log.to_string_lossy()]);
        add(&["-trace_err", "-error_file", &errors.to_string_lossy()]);
        for (name, value) in &self.variables {
            add(&["-set", name, &value.as_millis().to_string()]);
        }
        let mut listens_on = vec![Port::Udp(self.sip_port)];
        match &self.caller {
            None if !self.echoes => {}
            None => {
                add(&["-rtp_echo"]);
                listens_on.extend([Port::Udp(self.rtp_port), Port::Udp(self.rtp_port + 1)]);
            }
            Some(caller) => {
                add(&["-s", &caller.user, "-key", "customer_data", &caller.customer_data]);
                add(&["-key", "user_to_user", &caller.user_to_user]);
                add(&["-key", "display_from", &caller.display_from, "-key", "display_to", &caller.display_to]);
                add(&["-l", "1", &format!("127.0.0.1:{}", ports::EDGE_SIP)]);
            }
        }
        let mut process = Process::start(PROGRAM, &arguments, &folder, &log, &listens_on).await?;
        let (sip_port, calls_out) = (Port::Udp(self.sip_port), self.caller.is_some());
        process
            .answers("its SIP port, or its first message", async || {
                // A refused caller may be done before anybody looks at its port.
                let has_spoken = calls_out && sipp_log::messages(&message_log).is_ok_and(|log| !log.is_empty());
                (has_spoken || sip_port.is_taken()).then_some(())
            })
            .await?;
        Ok(Sipp { process, log, message_log })
    }
}

/// SIPp, running.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    log: PathBuf,
    message_log: PathBuf,
}

impl Sipp {
    /// A voicebot that takes one call at 127.0.0.1:5090, where the edge sends what is for an application.
    #[must_use]
    pub fn voicebot(script: VoicebotScript) -> SippBuilder {
        let (scenario, variables) = match script {
            VoicebotScript::Answers { ringing } => {
                (include_str!("../../peers/sipp/voicebot-answers.xml"), vec![("ring_ms", ringing)])
            }
            VoicebotScript::AnswersWithoutKeys => {
                (include_str!("../../peers/sipp/voicebot-answers-without-keys.xml"), Vec::new())
            }
            VoicebotScript::PressesKeysByInfo => {
                (include_str!("../../peers/sipp/voicebot-presses-keys-by-info.xml"), Vec::new())
            }
            VoicebotScript::HangsUp { talking } => {
                (include_str!("../../peers/sipp/voicebot-hangs-up.xml"), vec![("talk_ms", talking)])
            }
            VoicebotScript::HangsUpAfterReinvite { talking } => {
                (include_str!("../../peers/sipp/voicebot-hangs-up-after-reinvite.xml"), vec![("talk_ms", talking)])
            }
            VoicebotScript::Busy => (include_str!("../../peers/sipp/voicebot-busy.xml"), Vec::new()),
            VoicebotScript::Declines => (include_str!("../../peers/sipp/voicebot-declines.xml"), Vec::new()),
            VoicebotScript::NoApplication => (include_str!("../../peers/sipp/voicebot-no-application.xml"), Vec::new()),
            VoicebotScript::Rings => (include_str!("../../peers/sipp/voicebot-rings.xml"), Vec::new()),
            VoicebotScript::AnswersAfterCancel => {
                (include_str!("../../peers/sipp/voicebot-answers-after-cancel.xml"), Vec::new())
            }
        };
        SippBuilder {
            role: "voicebot",
            scenario: Cow::Borrowed(scenario),
            variables,
            sip_port: ports::VOICEBOT_SIP,
            rtp_port: ports::VOICEBOT_RTP,
            calls: 1,
            echoes: true,
            caller: None,
        }
    }

    /// A caller that calls `<user>@sip.example.test` at the edge over UDP. It needs the right to send raw packets (root),
    /// since SIPp plays its recordings that way.
    #[must_use]
    pub fn caller(script: CallerScript, user: &str) -> SippBuilder {
        let (scenario, variables) = match script {
            CallerScript::Talks { talking } => {
                (include_str!("../../peers/sipp/caller-talks.xml"), vec![("talk_ms", talking)])
            }
            CallerScript::WaitsForBye => (include_str!("../../peers/sipp/caller-waits-for-bye.xml"), Vec::new()),
            CallerScript::ChangesSource { talking } => {
                (include_str!("../../peers/sipp/caller-changes-source.xml"), vec![("talk_ms", talking)])
            }
            CallerScript::Cancels { ringing } => {
                (include_str!("../../peers/sipp/caller-cancels.xml"), vec![("ring_ms", ringing)])
            }
            CallerScript::IsRefused => (include_str!("../../peers/sipp/caller-is-refused.xml"), Vec::new()),
        };
        SippBuilder {
            role: "caller",
            scenario: Cow::Borrowed(scenario),
            variables,
            sip_port: ports::CALLER_SIP,
            rtp_port: ports::CALLER_RTP,
            calls: 1,
            echoes: true,
            caller: Some(CallerSettings {
                user: user.to_owned(),
                display_from: "voicebot".to_owned(),
                display_to: "webcall".to_owned(),
                customer_data: r#"{"callType":"callback"}"#.to_owned(),
                user_to_user: "626f74;encoding=hex".to_owned(),
            }),
        }
    }

    /// One that does what a script says: a voicebot at 127.0.0.1:5090, or a caller of `<user>@sip.example.test`.
    #[must_use]
    pub fn scripted(script: &SippScript, user: &str) -> SippBuilder {
        let mut builder = if script.is_caller() {
            Self::caller(CallerScript::IsRefused, user)
        } else {
            Self::voicebot(VoicebotScript::Busy)
        };
        builder.scenario = Cow::Owned(script.xml());
        builder
    }

    /// Every message that it sent and received so far, byte for byte.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn messages(&self) -> Result<Vec<LoggedMessage>, PeerError> {
        sipp_log::messages(&self.message_log)
            .map_err(|source| PeerError::File { path: self.message_log.clone(), source })
    }

    /// Waits until requests with this method have come in so many calls. It writes its log by blocks.
    ///
    /// # Errors
    /// When they do not come within `limit`, or SIPp ends before.
    pub async fn received_in_calls(&mut self, method: &str, calls: usize, limit: Duration) -> Result<(), PeerError> {
        let log = self.message_log.clone();
        let waited_for = format!("{method} in {calls} calls");
        let is_wanted = |message: &LoggedMessage| {
            message.direction == Direction::Received && message.method().as_deref() == Some(method)
        };
        self.process
            .wait_for(&waited_for, limit, async || {
                let messages = sipp_log::messages(&log).ok()?;
                let of_calls = messages.iter().filter(|message| is_wanted(message));
                let ids: BTreeSet<Option<&[u8]>> = of_calls.map(|message| message.header("Call-ID")).collect();
                (ids.len() == calls).then_some(())
            })
            .await
    }

    /// Waits until it has received a request with this method, and returns the first one.
    ///
    /// # Errors
    /// When it does not come within `limit`, or SIPp ends before.
    pub async fn received(&mut self, method: &str, limit: Duration) -> Result<LoggedMessage, PeerError> {
        let log = self.message_log.clone();
        let is_wanted = |message: &LoggedMessage| {
            message.direction == Direction::Received && message.method().as_deref() == Some(method)
        };
        self.process.wait_for(method, limit, async || sipp_log::messages(&log).ok()?.into_iter().find(is_wanted)).await
    }

    /// Waits until all its calls are over, each as its script wants it.
    ///
    /// # Errors
    /// When a call went another way, or it takes longer than `limit`.
    pub async fn succeeded(&mut self, limit: Duration) -> Result<(), PeerError> {
        let status: ExitStatus = self.process.ended(limit).await?;
        if status.success() {
            return Ok(());
        }
        let errors = self.message_log.with_file_name("errors.log");
        Err(PeerError::Ended { peer: PEER, status, log: crate::scenario::tail(&errors) })
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}
