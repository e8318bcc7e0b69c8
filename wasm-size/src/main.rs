//! What core-sip weighs in a browser: the client without I/O, driven through every kind of input and command, so that
//! the linker keeps what a browser build would keep. `cargo xtask wasm-check` builds and weighs it.
//!
//! Everything that comes from outside goes through `black_box`, so nothing can be computed at build time; the output
//! goes there too. It is a program rather than a library since exports of a library need `unsafe` attributes.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use codex_core_sip::client::{
    AcceptCall, ClientCommand, ClientInput, ClientOutput, ClientSession, CommandId, MediaCommand, MediaReply,
};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::metadata::CustomerData;
use codex_core_sip::random::SeededRandom;
use codex_core_sip::sip::user_agent::{CallHandle, FlowId};
use codex_core_sip::time::Time;
use codex_core_sip::{Error, Locale};

/// What a page would hand in, unknown to the compiler.
fn from_outside(text: &str) -> String {
    black_box(text).to_owned()
}

fn session() -> Result<ClientSession, Error> {
    let mut config = SipClientConfig::new(
        from_outside("sip.example.com"),
        from_outside("wss://sip.example.com:8443"),
        from_outside("widget"),
        from_outside("secret").into(),
        from_outside("sip:voicebot@sip.example.com"),
    );
    config.customer_data = Some(CustomerData::new(from_outside("webcall")).client_name(from_outside("Иван")));
    ClientSession::new(
        config,
        Box::new(SeededRandom::new(black_box(1))),
        Box::new(SeededRandom::new(black_box(2))),
        black_box(0),
    )
}

fn commands() -> [ClientCommand; 11] {
    let reason = || Some(from_outside("done"));
    [
        ClientCommand::Register,
        ClientCommand::StartCall(Box::default()),
        ClientCommand::SendDtmf(black_box('5')),
        ClientCommand::SetMuted(black_box(true)),
        ClientCommand::SetSpeakerMuted(black_box(true)),
        ClientCommand::CheckConnection,
        ClientCommand::Hangup { reason: reason() },
        ClientCommand::AcceptIncomingCall(AcceptCall::default()),
        ClientCommand::RejectIncomingCall { reason: reason() },
        ClientCommand::Unregister,
        ClientCommand::Destroy,
    ]
}

fn main() {
    let mut session = match session() {
        Ok(session) => session,
        Err(error) => {
            black_box(error.for_person(Locale::En));
            return;
        }
    };
    let mut now = Time::ZERO;
    for (id, command) in (0..).zip(commands()) {
        session.handle(now, ClientInput::Command { id: CommandId(id), command });
        while let Some(output) = session.poll_output() {
            answer(&mut session, now, output);
        }
        now += Duration::from_secs(1);
        session.handle(now, ClientInput::Timeout);
    }
}

/// What a page does with an output; what comes back is unknown to the compiler.
fn answer(session: &mut ClientSession, now: Time, output: ClientOutput) {
    let input = match output {
        ClientOutput::OpenFlow { flow } if black_box(true) => ClientInput::FlowOpened { flow },
        ClientOutput::OpenFlow { flow } => {
            ClientInput::FlowFailed { flow, error: Error::FlowLost { problem: from_outside("refused") } }
        }
        ClientOutput::CloseFlow { flow } => ClientInput::FlowClosed { flow, error: None },
        ClientOutput::Send { flow: FlowId(flow), bytes } => {
            let flow = FlowId(black_box(flow));
            ClientInput::Received { flow, bytes: Bytes::from(black_box(bytes.to_vec())) }
        }
        ClientOutput::Media { call: CallHandle(call), command } => {
            let reply = match command {
                MediaCommand::CreateOffer(_) => MediaReply::Offer(Ok(from_outside("v=0\r\n"))),
                MediaCommand::CreateAnswer(_, offer) => MediaReply::Answer(Ok(black_box(offer))),
                MediaCommand::AcceptAnswer(_) => MediaReply::AnswerTaken(Ok(())),
                MediaCommand::SendDtmf(id, key) => MediaReply::DtmfSent(id, key, Ok(black_box(false))),
                _ => return,
            };
            ClientInput::Media { call: CallHandle(black_box(call)), reply }
        }
        ClientOutput::CommandDone { result: Err(error), .. } => {
            black_box(error.for_person(Locale::En));
            return;
        }
        ClientOutput::Event(event) => {
            // As a page gets it.
            let _ = black_box(serde_json::to_string(&event));
            return;
        }
        other => {
            black_box(other);
            return;
        }
    };
    session.handle(now, input);
}
