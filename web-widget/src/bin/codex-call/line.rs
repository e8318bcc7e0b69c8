//! The client of one run, with its trace, and how it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codex_core_sip::application_names::ApplicationNames;
use codex_core_sip::client::{CodexSipClient, Direction, TracedMessage};
use codex_core_sip::event::CallState;
use codex_core_sip::metadata::METADATA_HEADERS;
use codex_core_sip::sip::ladder::{Ladder, LadderMessage};
use codex_core_sip::sip::message::{Message, Method};
use codex_web_widget::{Client, Settings, application_names};

use crate::exit::Failure;
use crate::screen::Screen;
use crate::sound::Sound;

/// How long the far end and the registrar may take to hear that we go.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);
/// More messages than this are not kept for the ladder: hours of keep-alives.
const TRACED_MESSAGES: usize = 10_000;

pub(crate) struct Line {
    pub(crate) client: Client,
    trace: Trace,
    registers: bool,
}

/// The SIP messages of a client, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<TracedMessage>>>);

impl Line {
    /// A client whose messages are kept.
    pub(crate) fn open(settings: &Settings, sound: &Sound) -> Result<Self, Failure> {
        let trace = Trace::default();
        let kept = Arc::clone(&trace.0);
        let engine = Arc::new(sound.engine());
        let builder = CodexSipClient::builder(settings.sip.clone(), engine).trace(move |message| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            // Keep-alives say nothing.
            if kept.len() < TRACED_MESSAGES && !message.bytes.trim_ascii().is_empty() {
                kept.push(message);
            }
        });
        let names: Option<Arc<dyn ApplicationNames>> = match settings.name_to_look_up() {
            Some((api, _)) => Some(Arc::new(application_names(api).map_err(codex_web_widget::Error::from)?)),
            None => None,
        };
        let client = Client::with_parts(settings, builder, names)?;
        Ok(Self { client, trace, registers: false })
    }

    /// From now on there is a registration to take back.
    pub(crate) fn registers(&mut self) {
        self.registers = true;
    }

    /// What was sent and received.
    pub(crate) fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// BYE or CANCEL, un-REGISTER, the connection closed.
    pub(crate) async fn close(self, screen: &Screen) {
        let farewell = async {
            if self.client.state() != CallState::Idle {
                // The call may end by itself meanwhile.
                let _over = self.client.hangup(None).await;
            }
            if self.registers {
                let _gone = self.client.unregister().await;
            }
        };
        if tokio::time::timeout(FAREWELL_LIMIT, farewell).await.is_err() {
            screen.warning(screen.say(
                "the edge did not confirm in time that we are gone",
                "SIP-сервер не подтвердил вовремя, что мы отключились",
            ));
        }
        let _destroyed = tokio::time::timeout(FAREWELL_LIMIT, self.client.destroy()).await;
    }
}

impl Trace {
    /// The metadata headers of the INVITE that was sent last, if one was.
    pub(crate) fn sent_headers(&self) -> Option<Vec<(String, String)>> {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.iter().rev().filter(|message| message.direction == Direction::Sent).find_map(|traced| {
            let message = Message::parse(traced.bytes.clone()).ok()?;
            if message.method() != Some(&Method::Invite) {
                return None;
            }
            let lines = message.header_lines().map(|(name, value)| (name.to_owned(), value.into_owned()));
            let known = |name: &str| METADATA_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name));
            Some(lines.filter(|(name, _)| known(name)).collect())
        })
    }

    /// The ladder, secrets masked.
    pub(crate) fn draw(&self, screen: &Screen) {
        let ladder = self.ladder();
        screen.object(&serde_json::json!({"event": "ladder", "drawing": ladder}));
        screen.line(&format!("\n{ladder}"));
    }

    fn ladder(&self) -> String {
        const HEADERS: [&str; 8] = [
            "Authorization",
            "WWW-Authenticate",
            "X-Call-Tag",
            "X-Display-From",
            "X-Display-To",
            "X-Reason",
            "Reason",
            "Retry-After",
        ];
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let messages: Vec<LadderMessage> = messages
            .iter()
            .map(|traced| {
                let (from, to) = match traced.direction {
                    Direction::Sent => ("codex-call", "edge"),
                    Direction::Received => ("edge", "codex-call"),
                };
                LadderMessage { at: traced.at, from: from.to_owned(), to: to.to_owned(), bytes: traced.bytes.to_vec() }
            })
            .collect();
        Ladder::new().headers(&HEADERS).rightmost(&["edge"]).draw(&messages)
    }
}
