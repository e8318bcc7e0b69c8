//! The client without I/O for a web page.
//!
//! [`Core`] is core-sip's `ClientSession` with an interface that JavaScript can call: what happened goes in, method by
//! method; what is to be done comes out as JSON ([`Core::take_outputs`]). The page has WebSocket, RTCPeerConnection,
//! microphone and timers of its own, and the npm package's driver carries out with them what the core asks for. Every rule
//! is on this side.
//!
//! ```text
//!  client.ts ──commands──►┌──────┐                      ┌► WebSocket
//!            ◄──events────│ Core │──outputs──► driver.ts├► RTCPeerConnection, microphone
//!                         └──────┘◄──inputs──           └► timers
//! ```

mod event;
mod json;
mod settings;

use std::time::Duration;

use bytes::Bytes;
use codex_core_sip::Error;
use codex_core_sip::MediaFault;
use codex_core_sip::client::{
    AcceptCall, ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, MediaCommand, MediaReply, Reply,
    StartCall,
};
use codex_core_sip::config::IceTransportPolicy;
use codex_core_sip::event::{Event, IceState};
use codex_core_sip::media::{MediaNotice, MediaSettings, MediaStatistics};
use codex_core_sip::metadata::{ApplicationSid, CustomerData, LanguageTag, parse_extra_header};
use codex_core_sip::random::Random;
use codex_core_sip::sip::uri::Uri;
use codex_core_sip::sip::user_agent::{CallHandle, FlowId};
use codex_core_sip::time::Time;
use secrecy::ExposeSecret;
use wasm_bindgen::prelude::wasm_bindgen;

use json::Json;
pub use settings::Settings;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: rlsf::SmallGlobalTlsf = rlsf::SmallGlobalTlsf::new();

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(bytes: &mut [u8]);
}

/// How many bytes a page gives at once (W3C Web Cryptography API, `getRandomValues`).
const RANDOM_BYTES_AT_ONCE: usize = 65_536;

struct PageRandom;

impl Random for PageRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.chunks_mut(RANDOM_BYTES_AT_ONCE).for_each(get_random_values);
    }
}

/// A client. Times are milliseconds of a clock that never goes back (`performance.now()`). A `call` is a whole number beyond 32
/// bits, which a JavaScript number holds.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    session: ClientSession,
    /// Lines `Name: value` for the call that is to be started next.
    headers: Vec<String>,
    /// Answers to commands that did not get as far as the session.
    refused: Vec<(u32, Error)>,
    /// What should be looked at in the settings.
    warnings: Vec<String>,
}

#[wasm_bindgen]
impl Core {
    /// A client with these settings. `unix_ms` is the wall-clock time that belongs to the origin of the clock.
    ///
    /// # Errors
    ///
    /// `[code, message]` as JSON: all that is wrong with the settings.
    #[wasm_bindgen(constructor)]
    pub fn new(settings: Settings, unix_ms: f64) -> Result<Core, String> {
        let (config, warnings) = settings.into_config().map_err(|error| fault(&error))?;
        ClientSession::new(config, Box::new(PageRandom), Box::new(PageRandom), whole(unix_ms))
            .map(|session| Self { session, headers: Vec::new(), refused: Vec::new(), warnings })
            .map_err(|error| fault(&error))
    }

    /// A command without arguments, or with one: `register unregister network hangup reject mute speaker dtmf hold unhold
    /// transfer replacement check language accept destroy`. Its answer is the output that has this `id`.
    pub fn command(&mut self, now: f64, id: u32, name: &str, argument: Option<String>) {
        let on = || argument.as_deref() == Some("1");
        let language =
            |text: &Option<String>| text.as_deref().map(|text| LanguageTag::parse("language", text)).transpose();
        let command = match name {
            "register" => ClientCommand::Register,
            "unregister" => ClientCommand::Unregister,
            "network" => ClientCommand::NetworkChanged,
            "hold" => ClientCommand::Hold,
            "unhold" => ClientCommand::Unhold,
            "replacement" => ClientCommand::ReplacementUri,
            "transfer" => ClientCommand::Transfer { target_uri: argument.unwrap_or_default() },
            "hangup" => ClientCommand::Hangup { reason: argument },
            "reject" => ClientCommand::RejectIncomingCall { reason: argument },
            "mute" => ClientCommand::SetMuted(on()),
            "speaker" => ClientCommand::SetSpeakerMuted(on()),
            // What is no single character is no key; the session says so.
            "dtmf" => {
                let mut characters = argument.as_deref().unwrap_or_default().chars();
                ClientCommand::SendDtmf(match (characters.next(), characters.next()) {
                    (Some(tone), None) => tone,
                    _ => ' ',
                })
            }
            "check" => ClientCommand::CheckConnection,
            "language" => match language(&argument) {
                Ok(language) => ClientCommand::SetLanguage(language.unwrap_or(LanguageTag::EN)),
                Err(error) => return self.refused.push((id, error)),
            },
            "accept" => match language(&argument) {
                Ok(language) => ClientCommand::AcceptIncomingCall(AcceptCall { language }),
                Err(error) => return self.refused.push((id, error)),
            },
            _ => ClientCommand::Destroy,
        };
        self.handle(now, ClientInput::Command { id: CommandId(id.into()), command });
    }

    /// A line `Name: value` for the call that is started next.
    pub fn header(&mut self, line: String) {
        self.headers.push(line);
    }

    /// Calls. What is not given comes from the settings; `customer_data` is JSON.
    pub fn start_call(
        &mut self,
        now: f64,
        id: u32,
        language: Option<String>,
        customer_data: Option<String>,
        target_uri: Option<String>,
    ) {
        let lines = std::mem::take(&mut self.headers);
        match start_call(&lines, language, customer_data, target_uri) {
            Ok(call) => {
                let command = ClientCommand::StartCall(Box::new(call));
                self.handle(now, ClientInput::Command { id: CommandId(id.into()), command });
            }
            Err(error) => self.refused.push((id, error)),
        }
    }

    /// The flow is open.
    pub fn flow_opened(&mut self, now: f64, flow: u32) {
        self.handle(now, ClientInput::FlowOpened { flow: FlowId(flow.into()) });
    }

    /// The flow could not be opened. Why, a page is not told.
    pub fn flow_failed(&mut self, now: f64, flow: u32, problem: String) {
        let address = self.session.config().domain.clone();
        self.handle(
            now,
            ClientInput::FlowFailed { flow: FlowId(flow.into()), error: Error::Connect { address, problem } },
        );
    }

    /// The flow is closed; `problem` is there unless that was in order.
    pub fn flow_closed(&mut self, now: f64, flow: u32, problem: Option<String>) {
        let error = problem.map(|problem| Error::FlowLost { problem });
        self.handle(now, ClientInput::FlowClosed { flow: FlowId(flow.into()), error });
    }

    /// A WebSocket message came.
    pub fn received(&mut self, now: f64, flow: u32, message: String) {
        self.handle(now, ClientInput::Received { flow: FlowId(flow.into()), bytes: Bytes::from(message) });
    }

    /// The time that [`Core::take_outputs`] named has come.
    pub fn timeout(&mut self, now: f64) {
        self.handle(now, ClientInput::Timeout);
    }

    /// The description that was asked for: an offer, or an answer.
    pub fn described(&mut self, now: f64, call: f64, offer: bool, sdp: String) {
        self.media(now, call, if offer { MediaReply::Offer(Ok(sdp)) } else { MediaReply::Answer(Ok(sdp)) });
    }

    /// The far end's answer is in use.
    pub fn answer_taken(&mut self, now: f64, call: f64) {
        self.media(now, call, MediaReply::AnswerTaken(Ok(())));
    }

    /// An order of the media session went wrong: `offer`, `answer` or `taken`; or the session broke by itself: `ice`, `dtls`.
    /// `device` is the microphone if that is what is wrong.
    pub fn media_failed(&mut self, now: f64, call: f64, what: &str, device: Option<String>, problem: String) {
        let reply = match what {
            "ice" => MediaReply::Notice(MediaNotice::Failed(MediaFault::IceFailed)),
            "dtls" => MediaReply::Notice(MediaNotice::Failed(MediaFault::DtlsFailed)),
            _ => {
                let error = match device {
                    Some(device) => Error::Audio { device, problem },
                    None => Error::Media { fault: MediaFault::BadDescription(problem) },
                };
                match what {
                    "offer" => MediaReply::Offer(Err(error)),
                    "answer" => MediaReply::Answer(Err(error)),
                    _ => MediaReply::AnswerTaken(Err(error)),
                }
            }
        };
        self.media(now, call, reply);
    }

    /// Whether the key could be sent by RFC 4733.
    pub fn dtmf_sent(&mut self, now: f64, call: f64, id: u32, tone: &str, sent: bool) {
        let tone = tone.chars().next().unwrap_or(' ');
        self.media(now, call, MediaReply::DtmfSent(CommandId(id.into()), tone, Ok(sent)));
    }

    /// The state of ICE, in the words of `RTCIceConnectionState`.
    pub fn ice(&mut self, now: f64, call: f64, state: &str) {
        let state = match state {
            "new" => IceState::New,
            "checking" => IceState::Checking,
            "connected" => IceState::Connected,
            "completed" => IceState::Completed,
            "disconnected" => IceState::Disconnected,
            "failed" => IceState::Failed,
            _ => IceState::Closed,
        };
        self.media(now, call, MediaReply::Notice(MediaNotice::Ice(state)));
    }

    /// How the call is doing, as `getStats` says: sums since its beginning; jitter and round-trip time in milliseconds.
    #[expect(clippy::too_many_arguments, reason = "plain numbers cross to JavaScript without a word of glue")]
    pub fn statistics(
        &mut self,
        now: f64,
        call: f64,
        packets_sent: f64,
        bytes_sent: f64,
        packets_received: f64,
        bytes_received: f64,
        packets_lost: f64,
        jitter_ms: Option<f64>,
        round_trip_ms: Option<f64>,
        source_heard: Option<bool>,
        codec: Option<String>,
    ) {
        let duration = |ms: f64| Duration::from_micros(whole(ms * 1000.0));
        let statistics = MediaStatistics {
            packets_sent: whole(packets_sent),
            bytes_sent: whole(bytes_sent),
            packets_received: whole(packets_received),
            bytes_received: whole(bytes_received),
            packets_lost: whole(packets_lost),
            jitter: jitter_ms.map(duration),
            round_trip_time: round_trip_ms.map(duration),
            source_heard,
            codec,
            ..MediaStatistics::default()
        };
        self.media(now, call, MediaReply::Statistics(statistics));
    }

    /// What is to be done, in order, as a JSON array of arrays, the name of the output first.
    pub fn take_outputs(&mut self) -> String {
        let mut json = Json::default();
        json.open();
        for warning in std::mem::take(&mut self.warnings) {
            json.open();
            json.text("warn");
            json.text(&warning);
            json.close();
        }
        for (id, error) in std::mem::take(&mut self.refused) {
            done(&mut json, id.into(), Err(error));
        }
        while let Some(output) = self.session.poll_output() {
            write(&mut json, &self.session.config().wss_server, output);
        }
        json.close();
        json.into_text()
    }

    /// The settings of the next call's media session: a JSON array of what the order `offer` has after its name.
    pub fn media_settings(&self) -> String {
        let config = self.session.config();
        let settings = MediaSettings {
            ice_servers: config.ice_servers.clone(),
            ice_transport_policy: config.ice_transport_policy,
            audio_later: true,
        };
        let mut json = Json::default();
        json.open();
        media_settings(&mut json, &settings);
        json.close();
        json.into_text()
    }

    /// The language of calls that ask for none.
    pub fn language(&self) -> String {
        self.session.language().to_string()
    }

    /// When [`Core::timeout`] is due.
    pub fn next_timeout(&self) -> Option<f64> {
        self.session.next_timeout().map(milliseconds)
    }
}

impl Core {
    fn handle(&mut self, now: f64, input: ClientInput) {
        self.session.handle(Time::from_micros(whole(now * 1000.0)), input);
    }

    fn media(&mut self, now: f64, call: f64, reply: MediaReply) {
        self.handle(now, ClientInput::Media { call: CallHandle(whole(call)), reply });
    }
}

/// The GUID of the jambonz application that a text names, in lower case: `<guid>`, `app-<guid>`, or a SIP URI with one of
/// them before the `@`.
#[wasm_bindgen]
pub fn application_in(text: &str) -> Option<String> {
    let text = text.trim();
    let named = ApplicationSid::from_user_part(text).or_else(|| {
        let uri = Uri::parse(text).ok().filter(|uri| uri.is_sip())?;
        ApplicationSid::from_user_part(&uri.user_unescaped()?)
    });
    named.map(|sid| sid.to_string())
}

fn start_call(
    lines: &[String],
    language: Option<String>,
    customer_data: Option<String>,
    target_uri: Option<String>,
) -> Result<StartCall, Error> {
    Ok(StartCall {
        language: language.map(|text| LanguageTag::parse("language", &text)).transpose()?,
        customer_data: customer_data.map(|text| CustomerData::from_json("customerData", &text)).transpose()?,
        target_uri,
        extra_headers: lines.iter().map(|line| parse_extra_header(line)).collect::<Result<_, _>>()?,
    })
}

/// A number from JavaScript; what is negative or no number is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "a page lives for less than 2^52 microseconds")]
fn milliseconds(time: Time) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn fault(error: &Error) -> String {
    let mut json = Json::default();
    json.open();
    json.text(error.code());
    json.text(&error.to_string());
    json.close();
    json.into_text()
}

fn write(json: &mut Json, address: &str, output: ClientOutput) {
    match output {
        ClientOutput::OpenFlow { flow } => {
            json.open();
            json.text("open");
            json.number(flow.0);
            json.text(address);
        }
        ClientOutput::CloseFlow { flow } => {
            json.open();
            json.text("close");
            json.number(flow.0);
        }
        ClientOutput::Send { flow, bytes } => {
            json.open();
            json.text("send");
            json.number(flow.0);
            json.text(&String::from_utf8_lossy(&bytes));
        }
        ClientOutput::Media { call, command } => {
            json.open();
            json.text("media");
            json.number(call.0);
            order(json, command);
        }
        ClientOutput::CommandDone { id, result } => return done(json, id.0, result),
        ClientOutput::Event(event) => {
            json.open();
            json.text("event");
            event::write(json, &event);
            let error = match &event {
                Event::Registration(event) => event.error.as_ref(),
                Event::Call(event) => event.error.as_ref(),
                _ => None,
            };
            if let Some(error) = error {
                json.text(error.code());
            }
        }
        // There is none that a page would have to know of.
        _ => return,
    }
    json.close();
}

fn done(json: &mut Json, id: u64, result: Result<Reply, Error>) {
    json.open();
    match result {
        Ok(reply) => {
            json.text("done");
            json.number(id);
            match reply {
                Reply::CallId(text) | Reply::Uri(text) => json.text(&text),
                Reply::Alive(alive) => json.flag(alive),
                _ => json.null(),
            }
        }
        Err(error) => {
            json.text("failed");
            json.number(id);
            json.text(error.code());
            json.text(&error.to_string());
        }
    }
    json.close();
}

fn order(json: &mut Json, command: MediaCommand) {
    match command {
        MediaCommand::CreateOffer(settings) => {
            json.text("offer");
            media_settings(json, &settings);
        }
        MediaCommand::CreateAnswer(settings, offer) => {
            json.text("answer");
            media_settings(json, &settings);
            json.text(&offer);
        }
        MediaCommand::AcceptAnswer(sdp) => {
            json.text("take");
            json.text(&sdp);
        }
        MediaCommand::Restart(settings) => {
            json.text("restart");
            media_settings(json, &settings);
        }
        MediaCommand::Rollback => json.text("rollback"),
        MediaCommand::SetDirection(direction) => {
            json.text("direction");
            json.text(direction.as_str());
        }
        MediaCommand::SetMuted(muted) => {
            json.text("mute");
            json.flag(muted);
        }
        MediaCommand::SetSpeakerMuted(muted) => {
            json.text("speaker");
            json.flag(muted);
        }
        MediaCommand::SendDtmf(id, tone) => {
            json.text("dtmf");
            json.number(id.0);
            json.text(tone.encode_utf8(&mut [0; 4]));
        }
        MediaCommand::ReadStatistics => json.text("statistics"),
        // Whatever else may come with time, a session that is not understood is ended.
        _ => json.text("end"),
    }
}

/// As the W3C's `RTCConfiguration` names it: servers, then the policy.
fn media_settings(json: &mut Json, settings: &MediaSettings) {
    json.open();
    for server in &settings.ice_servers {
        json.open();
        json.text(server.username.as_deref().unwrap_or_default());
        json.text(server.credential.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default());
        for url in &server.urls {
            json.text(url);
        }
        json.close();
    }
    json.close();
    json.text(match settings.ice_transport_policy {
        IceTransportPolicy::All => "all",
        IceTransportPolicy::Relay => "relay",
    });
}
