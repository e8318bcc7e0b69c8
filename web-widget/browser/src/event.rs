//! Events as JSON objects: the payloads that listeners get, with the name of the event as `event`.
//!
//! The same as `serde_json` makes of them (a test compares), without its 40 kB of code in the module.

use codex_core_sip::event::{CallState, Event, IceState, LogLevel, QualityMeasure, RegistrationState};
use codex_core_sip::json::Value;
use codex_core_sip::metadata::CustomerData;

use crate::json::Json;

/// An object that is being written.
struct Object<'a> {
    json: &'a mut Json,
}

impl Object<'_> {
    fn text(&mut self, name: &str, text: &str) {
        self.json.key(name);
        self.json.text(text);
    }

    fn maybe(&mut self, name: &str, text: Option<&String>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.json.key(name);
            self.json.number(number);
        }
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.json.key(name);
        self.json.flag(flag);
    }

    /// A number that is not negative, to three decimals: what is measured here is not known better.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    fn measure(&mut self, name: &str, number: Option<f64>) {
        if let Some(number) = number {
            let thousandths = (number * 1000.0 + 0.5) as u64;
            self.json.key(name);
            self.json.raw(&format!("{}.{:03}", thousandths / 1000, thousandths % 1000));
        }
    }

    /// What tells of which call an event is.
    fn of_call(
        &mut self,
        call_id: &Option<String>,
        tag: &Option<String>,
        application: &Option<String>,
        data: Option<&CustomerData>,
    ) {
        self.maybe("callId", call_id.as_ref());
        self.maybe("tag", tag.as_ref());
        self.maybe("applicationName", application.as_ref());
        self.data(data);
    }

    fn data(&mut self, data: Option<&CustomerData>) {
        if let Some(data) = data {
            self.json.key("customerData");
            self.json.raw(&data.to_json());
        }
    }
}

/// Writes `event`.
pub(crate) fn write(json: &mut Json, event: &Event) {
    json.open_object();
    let mut object = Object { json };
    match event {
        Event::Registration(event) => {
            object.text("event", "registration");
            object.text(
                "state",
                match event.state {
                    RegistrationState::Registering => "registering",
                    RegistrationState::Registered => "registered",
                    RegistrationState::Unregistered => "unregistered",
                    _ => "failed",
                },
            );
            object.number("attempt", event.attempt.map(u64::from));
            object.maybe("reason", event.reason.as_ref());
        }
        Event::Call(event) => {
            object.text("event", "call");
            object.text("state", call_state(event.state));
            object.maybe("reason", event.reason.as_ref());
            object.number("causeCode", event.cause_code.map(u64::from));
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
            object.maybe("displayFrom", event.display_from.as_ref());
            object.maybe("displayTo", event.display_to.as_ref());
        }
        Event::IncomingCall(event) => {
            object.text("event", "incomingCall");
            object.maybe("callId", event.call_id.as_ref());
            object.maybe("from", event.from.as_ref());
            object.maybe("to", event.to.as_ref());
            object.maybe("displayFrom", event.display_from.as_ref());
            object.maybe("displayTo", event.display_to.as_ref());
            object.maybe("tag", event.tag.as_ref());
            object.maybe("applicationName", event.application_name.as_ref());
            object.data(event.customer_data.as_deref());
        }
        Event::Metrics(event) => {
            object.text("event", "metrics");
            object.number("ts", Some(event.ts));
            object.maybe("callId", event.call_id.as_ref());
            object.maybe("tag", event.tag.as_ref());
            if let Some(state) = event.ice_state {
                object.text("iceState", ice_state(state));
            }
            object.measure("rttMs", event.rtt_ms);
            object.measure("jitterMs", event.jitter_ms);
            object.measure("lossPercent", event.loss_percent);
            object.number("bytesSent", event.bytes_sent);
            object.number("bytesReceived", event.bytes_received);
            object.number("packetsSent", event.packets_sent);
            object.number("packetsReceived", event.packets_received);
            object.measure("mos", event.mos);
            object.maybe("language", event.language.as_ref());
            object.maybe("applicationName", event.application_name.as_ref());
            object.data(event.customer_data.as_deref());
        }
        Event::Ice(event) => {
            object.text("event", "ice");
            object.text("state", ice_state(event.state));
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
        }
        Event::Dtmf(event) => {
            object.text("event", "dtmf");
            object.text("tone", event.tone.encode_utf8(&mut [0; 4]));
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
        }
        Event::Hold(event) => {
            object.text("event", "hold");
            object.flag("held", event.held);
            object.flag("heldByFarEnd", event.held_by_far_end);
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
        }
        Event::Transfer(event) => {
            object.text("event", "transfer");
            object.number("status", Some(event.status.into()));
            object.maybe("reason", event.reason.as_ref());
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
        }
        Event::Quality(event) => {
            object.text("event", "quality");
            object.text(
                "measure",
                match event.measure {
                    QualityMeasure::RoundTripTime => "roundTripTime",
                    QualityMeasure::Jitter => "jitter",
                    QualityMeasure::Loss => "loss",
                    QualityMeasure::Microphone => "microphone",
                    QualityMeasure::Packets => "packets",
                    _ => "mos",
                },
            );
            object.flag("bad", event.bad);
            object.measure("value", Some(event.value));
            object.measure("threshold", Some(event.threshold));
            object.of_call(&event.call_id, &event.tag, &event.application_name, event.customer_data.as_deref());
        }
        Event::Reconnecting(event) => {
            object.text("event", "reconnecting");
            object.number("attempt", Some(event.attempt.into()));
            object.number("delayMs", Some(event.delay_ms));
        }
        Event::Language(event) => {
            object.text("event", "language");
            object.text("language", &event.language);
        }
        Event::Log(event) => {
            object.text("event", "log");
            object.text(
                "level",
                match event.level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                    LogLevel::Error => "error",
                },
            );
            object.text("message", &event.message);
            if let Some(context) = &event.context {
                object.json.key("context");
                object.json.open_object();
                for (name, fact) in context {
                    object.json.key(name);
                    match fact {
                        Value::String(text) => object.json.text(text),
                        Value::Number(number) => object.json.raw(&number.to_string()),
                        // Facts are texts and numbers.
                        _ => object.json.null(),
                    }
                }
                object.json.close_object();
            }
            object.maybe("error", event.error.as_ref());
        }
        // What is not known here has no listener either.
        _ => {}
    }
    json.close_object();
}

fn call_state(state: CallState) -> &'static str {
    match state {
        CallState::Idle => "idle",
        CallState::Registering => "registering",
        CallState::Connecting => "connecting",
        CallState::Ringing => "ringing",
        CallState::Incoming => "incoming",
        CallState::Connected => "connected",
        CallState::Ended => "ended",
        _ => "error",
    }
}

fn ice_state(state: IceState) -> &'static str {
    match state {
        IceState::New => "new",
        IceState::Checking => "checking",
        IceState::Connected => "connected",
        IceState::Completed => "completed",
        IceState::Disconnected => "disconnected",
        IceState::Failed => "failed",
        _ => "closed",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codex_core_sip::event::{
        CallEvent, DtmfEvent, HoldEvent, IceEvent, IncomingCallEvent, LanguageEvent, LogEvent, MetricsEvent,
        QualityEvent, ReconnectingEvent, RegistrationEvent, TransferEvent,
    };

    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "every member of every event")]
    fn events_are_what_serde_json_makes_of_them() {
        let text = |text: &str| Some(text.to_owned());
        let data = CustomerData::from_json("k", r#"{"callType":"webcall","clientName":"Иван \"И\""}"#).unwrap();
        let data = || Some(Arc::new(data.clone()));
        let mut context = serde_json::Map::new();
        context.insert("tag".to_owned(), Value::from("abc"));
        context.insert("attempt".to_owned(), Value::from(3));
        let mut events: Vec<Event> = Vec::new();
        for state in [
            RegistrationState::Registering,
            RegistrationState::Registered,
            RegistrationState::Unregistered,
            RegistrationState::Failed,
        ] {
            let event = RegistrationEvent { state, attempt: Some(2), reason: text("why"), error: None };
            events.push(Event::Registration(event));
        }
        for state in [
            CallState::Idle,
            CallState::Registering,
            CallState::Connecting,
            CallState::Ringing,
            CallState::Incoming,
            CallState::Connected,
            CallState::Ended,
            CallState::Error,
        ] {
            events.push(Event::Call(CallEvent {
                state,
                reason: text("why"),
                cause_code: Some(486),
                call_id: text("c"),
                tag: text("t"),
                application_name: text("voicebot"),
                customer_data: data(),
                display_from: text("webcall:t → voicebot"),
                display_to: text("voicebot"),
                error: None,
            }));
        }
        events.push(Event::IncomingCall(IncomingCallEvent {
            call_id: text("c"),
            from: text("sip:a@b"),
            to: None,
            display_from: text("a"),
            display_to: text("b"),
            tag: text("t"),
            application_name: None,
            customer_data: data(),
        }));
        for state in [
            IceState::New,
            IceState::Checking,
            IceState::Connected,
            IceState::Completed,
            IceState::Disconnected,
            IceState::Failed,
            IceState::Closed,
        ] {
            events.push(Event::Metrics(MetricsEvent {
                ts: 1_700_000_000_123,
                call_id: text("c"),
                tag: text("t"),
                ice_state: Some(state),
                rtt_ms: Some(12.375),
                jitter_ms: Some(0.5),
                loss_percent: Some(1.125),
                bytes_sent: Some(1),
                bytes_received: Some(u64::from(u32::MAX)),
                packets_sent: Some(0),
                packets_received: None,
                far_end_packets_received: None,
                far_end_loss_percent: None,
                mos: Some(4.25),
                language: text("ru"),
                application_name: None,
                customer_data: None,
            }));
            events.push(Event::Ice(IceEvent {
                state,
                call_id: text("c"),
                tag: text("t"),
                application_name: None,
                customer_data: data(),
            }));
        }
        events.push(Event::Dtmf(DtmfEvent {
            tone: '#',
            call_id: text("c"),
            tag: text("t"),
            application_name: None,
            customer_data: data(),
        }));
        for held in [true, false] {
            events.push(Event::Hold(HoldEvent {
                held,
                held_by_far_end: !held,
                call_id: text("c"),
                tag: text("t"),
                application_name: text("voicebot"),
                customer_data: data(),
            }));
        }
        for reason in [text("Ringing"), None] {
            events.push(Event::Transfer(TransferEvent {
                status: 180,
                reason,
                call_id: text("c"),
                tag: text("t"),
                application_name: text("voicebot"),
                customer_data: data(),
            }));
        }
        for measure in [
            QualityMeasure::RoundTripTime,
            QualityMeasure::Jitter,
            QualityMeasure::Loss,
            QualityMeasure::Mos,
            QualityMeasure::Microphone,
            QualityMeasure::Packets,
        ] {
            events.push(Event::Quality(QualityEvent {
                measure,
                bad: measure == QualityMeasure::Mos,
                value: 3.125,
                threshold: 3.5,
                call_id: text("c"),
                tag: text("t"),
                application_name: text("voicebot"),
                customer_data: data(),
            }));
        }
        events.push(Event::Reconnecting(ReconnectingEvent { attempt: 3, delay_ms: 4000 }));
        events.push(Event::Language(LanguageEvent { language: "ru".to_owned() }));
        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            let event = LogEvent { level, message: "m".to_owned(), context: Some(context.clone()), error: text("e") };
            events.push(Event::Log(event));
        }
        for event in events {
            let mut json = Json::default();
            write(&mut json, &event);
            let written: Value = serde_json::from_str(&json.into_text()).unwrap();
            assert_eq!(written, serde_json::to_value(&event).unwrap(), "{event:?}");
        }
    }
}
