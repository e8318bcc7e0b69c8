//! Calls that come to us (RFC 3261 §13.3).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::event::LogLevel;
use crate::header_field::HeaderField;
use crate::sip::dialog::Dialog;
use crate::sip::header::Name;
use crate::sip::message::{Message, StatusCode};
use crate::time::Time;

use super::call::{Call, Established, Outcome, Phase, Ringing, Unacknowledged};
use super::client_request::sdp_of;
use super::early::Reliable;
use super::identity::{self, ALLOW};
use super::modify::Session;
use super::reason;
use super::request::field;
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// Below this the repetition of a 2xx would be a flood.
const SHORTEST_RESEND: Duration = Duration::from_millis(10);

impl UserAgent {
    /// A new call.
    pub(super) fn invited(&mut self, now: Time, key: &Arc<str>, request: &Message) {
        if self.is_challenged(now, request) || self.interval_is_too_small(request) {
            return;
        }
        if !self.has_room_for_server() {
            self.respond_full(request);
            return;
        }
        if self.active_calls() >= self.config.limits.calls {
            self.respond(request, StatusCode::BUSY_HERE, Vec::new());
            return;
        }
        let replaces = match self.replaced_by(request) {
            Ok(replaces) => replaces,
            Err(status) => return self.respond(request, status, Vec::new()),
        };
        let tag = identity::tag(&mut *self.random.0);
        let dialog = match Dialog::from_request(request, &tag, 0) {
            Ok(dialog) => dialog,
            Err(error) => {
                self.log(LogLevel::Warn, format!("an INVITE cannot make a call: {error}"));
                self.respond(request, StatusCode::BAD_REQUEST, Vec::new());
                return;
            }
        };
        let call = CallHandle(self.next_incoming);
        self.next_incoming += 1;
        self.start_server(now, request, Some(call));
        if let Some(server) = self.servers.get_mut(key) {
            server.local_tag = tag;
        }
        self.respond_in(now, key, StatusCode::TRYING, None, Vec::new(), None);
        let offer = sdp_of(request);
        let text = offer.as_ref().map(|sdp| String::from_utf8_lossy(sdp).into_owned());
        let must_be_reliable = request.has_token(Name::Require, "100rel");
        let ringing =
            Ringing { key: Arc::clone(key), dialog, offer, must_be_reliable, rseq: 0, reliable: None, replaces };
        self.calls.insert(call, Call { phase: Phase::Ringing(ringing), invite: None });
        let asked = request.header(Name::Expires).and_then(|value| value.trim().parse::<u32>().ok());
        let patience = asked.map_or(self.config.ring_timeout, |seconds| {
            self.config.ring_timeout.min(Duration::from_secs(u64::from(seconds.max(1))))
        });
        self.timers.set(Timer::Ring(call), now + patience);
        self.emit(UaEvent::Incoming { call, message: Box::new(request.clone()), offer: text, replaces });
    }

    pub(super) fn active_calls(&self) -> usize {
        self.calls.values().filter(|call| !matches!(call.phase, Phase::Over)).count()
    }

    fn ringing(&mut self, handle: CallHandle, operation: &str) -> Option<&mut Ringing> {
        if !matches!(self.calls.get(&handle), Some(Call { phase: Phase::Ringing(_), .. })) {
            // The caller may have cancelled in this very moment; its `Ended` says so.
            self.log(LogLevel::Debug, format!("{operation}: call {} is not waiting for an answer", handle.0));
            return None;
        }
        match &mut self.calls.get_mut(&handle)?.phase {
            Phase::Ringing(ringing) => Some(ringing),
            _ => None,
        }
    }

    pub(super) fn ring(&mut self, now: Time, handle: CallHandle, headers: &[HeaderField]) {
        let contact = self.identity.contact();
        let Some(ringing) = self.ringing(handle, "ring") else { return };
        let key = Arc::clone(&ringing.key);
        if ringing.reliable.is_some() {
            // The next one has to wait for the PRACK of this one (RFC 3262 §3), and would say the same.
            return;
        }
        let mut fields = vec![field("Contact", &contact), field("Allow", ALLOW)];
        fields.extend_from_slice(headers);
        let rseq = ringing.must_be_reliable.then_some(ringing.rseq + 1);
        fields.extend(rseq.into_iter().flat_map(Self::reliable_fields));
        let sent = self.respond_in(now, &key, StatusCode::RINGING, None, fields, None);
        let timers = self.config.timers;
        if let (Some(rseq), Some(response), Some(ringing)) = (rseq, sent, self.ringing(handle, "ring")) {
            let interval = timers.t1.max(SHORTEST_RESEND);
            ringing.rseq = rseq;
            ringing.reliable = Some(Reliable { rseq, response, interval, give_up: now + timers.transaction_timeout() });
            self.timers.set(Timer::Provisional(handle), now + interval);
        }
    }

    pub(super) fn answer(&mut self, now: Time, handle: CallHandle, sdp: String, headers: &[HeaderField]) {
        let contact = self.identity.contact();
        let timers = self.config.timers;
        let Some(ringing) = self.ringing(handle, "answer") else { return };
        let (key, dialog, offer) = (Arc::clone(&ringing.key), ringing.dialog.clone(), ringing.offer.clone());
        let replaces = ringing.replaces;
        let mut fields = vec![field("Contact", &contact), field("Allow", ALLOW), self.config.supported()];
        fields.extend_from_slice(headers);
        let request = self.servers.get(&key).map(|server| server.request.clone());
        let sequence = request.as_ref().and_then(|request| request.cseq().ok()).map(|cseq| cseq.number);
        let Some(request) = request else {
            let error = Error::FlowLost { problem: "the call's transaction is gone".to_owned() };
            self.finish(now, handle, Outcome::failed(error));
            return;
        };
        let (said, timer) = Self::session_timer_of_answer(now, &request);
        fields.extend(said);
        let (Some(response), Some(sequence)) =
            (self.respond_in(now, &key, StatusCode::OK, None, fields, Some(sdp.clone())), sequence)
        else {
            let error = Error::FlowLost { problem: "the call's transaction is gone".to_owned() };
            self.finish(now, handle, Outcome::failed(error));
            return;
        };
        self.timers.stop(&Timer::Ring(handle));
        self.timers.stop(&Timer::Provisional(handle));
        let interval = timers.t1.max(SHORTEST_RESEND);
        let unacknowledged =
            Unacknowledged { response, sequence, initial: true, interval, give_up: now + timers.transaction_timeout() };
        if let Some(call) = self.calls.get_mut(&handle) {
            call.phase = Phase::Established(Box::new(Established {
                dialog,
                local_sdp: sdp,
                remote_sdp: offer,
                unacknowledged: Some(unacknowledged),
                closing: None,
                bye_sent: false,
                bye_reason: None,
                waiting: VecDeque::new(),
                session: Session::new(false, &request),
                transfer: None,
                referral: None,
                referred_before: false,
            }));
        }
        self.run_session_timer(now, handle, timer);
        self.timers.set(Timer::Resend(handle), now + interval);
        if let Some(replaced) = replaces {
            self.was_replaced(now, replaced);
        }
    }

    pub(super) fn reject(&mut self, now: Time, handle: CallHandle, status: StatusCode, text: Option<&str>) {
        let status = if status.as_u16() < 300 { StatusCode::DECLINE } else { status };
        let Some(ringing) = self.ringing(handle, "reject") else { return };
        let key = Arc::clone(&ringing.key);
        let fields = text.map(|text| reason::of_status(status.as_u16(), text)).into_iter().collect();
        self.respond_in(now, &key, status, None, fields, None);
        let outcome =
            Outcome { by: EndedBy::Local, cause: Some(status.as_u16()), reason: text.map(str::to_owned), error: None };
        self.finish(now, handle, outcome);
    }

    pub(super) fn ringing_too_long(&mut self, now: Time, handle: CallHandle) {
        let Some(ringing) = self.ringing(handle, "no answer") else { return };
        let key = Arc::clone(&ringing.key);
        self.respond_in(now, &key, StatusCode::TEMPORARILY_UNAVAILABLE, None, Vec::new(), None);
        let error = Error::Timeout { operation: "the incoming call", after: self.config.ring_timeout };
        let cause = Some(StatusCode::TEMPORARILY_UNAVAILABLE.as_u16());
        self.finish(now, handle, Outcome { by: EndedBy::Local, cause, reason: None, error: Some(error) });
    }

    /// The ACK of a 2xx is late: the 2xx goes out again, and after 64 × T1 the call is ended (RFC 3261 §13.3.1.4).
    pub(super) fn resend_success(&mut self, now: Time, handle: CallHandle) {
        let timers = self.config.timers;
        let Some(Phase::Established(established)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else {
            return;
        };
        let Some(pending) = &mut established.unacknowledged else { return };
        if now < pending.give_up {
            pending.interval = (pending.interval * 2).min(timers.t2).max(SHORTEST_RESEND);
            let (next, response) = ((now + pending.interval).min(pending.give_up), pending.response.clone());
            self.timers.set(Timer::Resend(handle), next);
            self.send(response);
            return;
        }
        established.unacknowledged = None;
        if established.closing.is_none() {
            let error = Error::Timeout { operation: "ACK", after: timers.transaction_timeout() };
            established.closing = Some(Outcome::failed(error));
        }
        self.send_bye(now, handle);
    }
}
