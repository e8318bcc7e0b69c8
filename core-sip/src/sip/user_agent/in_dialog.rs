//! Requests in a call, ours and the far end's, and the end of calls (RFC 3261 §12.2, §14, §15).

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::event::LogLevel;
use crate::header_field::{HeaderField, HeaderValue};
use crate::sip::dialog::{Dialog, SequenceCheck};
use crate::sip::message::{Message, Method, StatusCode};
use crate::time::Time;

use super::call::{Established, MAX_WAITING, Outcome, Phase, WaitingInfo};
use super::client_request::Purpose;
use super::reason::{self, Reason};
use super::refusal;
use super::request::{Request, field};
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// Dialogs that have ended and are still known, to tell them from those that never were (RFC 3891 §3).
const REMEMBERED_DIALOGS: usize = 8;

impl UserAgent {
    /// A request along `dialog`.
    pub(super) fn in_dialog(
        &self,
        dialog: &mut Dialog,
        method: Method,
        mut fields: Vec<HeaderField>,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Request {
        let target = dialog.request_target();
        fields.extend(self.agent_fields());
        Request {
            method,
            uri: target.uri,
            routes: target.routes,
            from: dialog.local().to_owned(),
            to: dialog.remote().to_owned(),
            call_id: dialog.id().call_id.clone(),
            sequence: dialog.next_sequence(),
            fields,
            body,
        }
    }

    pub(super) fn established(&mut self, handle: CallHandle) -> Option<&mut Established> {
        match &mut self.calls.get_mut(&handle)?.phase {
            Phase::Established(established) => Some(established),
            _ => None,
        }
    }

    pub(super) fn hangup(&mut self, now: Time, handle: CallHandle, reason: Option<String>) {
        match self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            None | Some(Phase::Over) => {
                self.log(LogLevel::Debug, format!("call {} is over already", handle.0));
            }
            Some(Phase::Queued(_)) => {
                self.finish(now, handle, Outcome { by: EndedBy::Local, cause: None, reason, error: None });
            }
            Some(Phase::Inviting(_)) => self.cancel(now, handle, reason),
            Some(Phase::Ringing(_)) => self.reject(now, handle, StatusCode::DECLINE, reason.as_deref()),
            Some(Phase::Established(established)) => {
                if established.closing.is_none() {
                    established.closing =
                        Some(Outcome { by: EndedBy::Local, cause: None, reason: reason.clone(), error: None });
                    established.bye_reason = reason;
                    self.send_bye(now, handle);
                }
            }
        }
    }

    /// Sends the BYE of a call that is closing, if it may go out now; else it goes out when it may.
    pub(super) fn send_bye(&mut self, now: Time, handle: CallHandle) {
        let flow_is_up = self.up_flow().is_some();
        let flow_wait = self.config.flow_wait;
        let Some(established) = self.established(handle) else { return };
        if established.closing.is_none() || established.bye_sent {
            return;
        }
        if established.unacknowledged.as_ref().is_some_and(|pending| pending.initial) {
            // RFC 3261 §15: a callee must not send BYE before the ACK or its giving up.
            return;
        }
        if !flow_is_up {
            if !self.timers.is_running(&Timer::FlowWait(handle)) {
                self.timers.set(Timer::FlowWait(handle), now + flow_wait);
            }
            return;
        }
        established.bye_sent = true;
        let reason = established.bye_reason.as_deref().map(reason::of_hangup);
        let had_reason = reason.is_some();
        let mut sent = self.try_bye(now, handle, reason);
        if let (Err(error), true) = (&sent, had_reason) {
            // What it says may be what is wrong with it, such as its length. That the call is over matters more.
            self.log(LogLevel::Warn, format!("BYE cannot be sent with its Reason and goes without: {error}"));
            sent = self.try_bye(now, handle, None);
        }
        if let Err(error) = sent {
            self.close(now, handle, Some(error));
        }
    }

    fn try_bye(&mut self, now: Time, handle: CallHandle, reason: Option<HeaderField>) -> Result<()> {
        let Some(established) = self.established(handle) else { return Ok(()) };
        let mut dialog = established.dialog.clone();
        let request = self.in_dialog(&mut dialog, Method::Bye, reason.into_iter().collect(), None);
        self.send_request(now, request, Purpose::Bye(handle))?;
        if let Some(established) = self.established(handle) {
            established.dialog = dialog;
        }
        Ok(())
    }

    /// Whatever the answer to a BYE is, the call is over (RFC 3261 §15.1.1).
    pub(super) fn bye_answered(&mut self, now: Time, handle: CallHandle) {
        self.close(now, handle, None);
    }

    pub(super) fn bye_unanswered(&mut self, now: Time, handle: CallHandle, after: Duration) {
        self.close(now, handle, Some(Error::Timeout { operation: "BYE", after }));
    }

    fn close(&mut self, now: Time, handle: CallHandle, error: Option<Error>) {
        let Some(established) = self.established(handle) else { return };
        let Some(mut outcome) = established.closing.take() else { return };
        outcome.error = outcome.error.or(error);
        self.finish(now, handle, outcome);
    }

    pub(super) fn info(&mut self, now: Time, handle: CallHandle, content_type: HeaderValue, body: Bytes) {
        let flow_wait = self.config.flow_wait;
        let flow_is_up = self.up_flow().is_some();
        let problem = match self.established(handle) {
            None => "there is no call that has been answered",
            Some(established) if established.closing.is_some() => "the call is being ended",
            Some(established) if !flow_is_up => {
                if established.waiting.len() >= MAX_WAITING {
                    "too many requests wait for the connection to come back"
                } else {
                    let until = now + flow_wait;
                    established.waiting.push_back(WaitingInfo { content_type, body, until });
                    if !self.timers.is_running(&Timer::FlowWait(handle)) {
                        self.timers.set(Timer::FlowWait(handle), until);
                    }
                    return;
                }
            }
            Some(_) => {
                self.send_info(now, handle, content_type, body);
                return;
            }
        };
        let result = Err(Error::WrongState { operation: "send an INFO", problem });
        self.emit(UaEvent::InfoResult { call: handle, result });
    }

    fn send_info(&mut self, now: Time, handle: CallHandle, content_type: HeaderValue, body: Bytes) {
        let Some(established) = self.established(handle) else { return };
        let mut dialog = established.dialog.clone();
        let request = self.in_dialog(&mut dialog, Method::Info, Vec::new(), Some((content_type, body)));
        if let Some(established) = self.established(handle) {
            established.dialog = dialog;
        }
        if let Err(error) = self.send_request(now, request, Purpose::Info(handle)) {
            self.emit(UaEvent::InfoResult { call: handle, result: Err(error) });
        }
    }

    pub(super) fn info_answered(&mut self, now: Time, handle: CallHandle, status: StatusCode, response: &Message) {
        let result = if status.is_success() { Ok(()) } else { Err(refusal::of_call(response)) };
        self.emit(UaEvent::InfoResult { call: handle, result });
        if status == StatusCode::CALL_DOES_NOT_EXIST {
            self.far_end_knows_nothing(now, handle, response);
        }
    }

    pub(super) fn info_unanswered(&mut self, handle: CallHandle, after: Duration) {
        let result = Err(Error::Timeout { operation: "INFO", after });
        self.emit(UaEvent::InfoResult { call: handle, result });
    }

    /// There is a flow again: what waited for it goes out.
    pub(super) fn flow_returned(&mut self, now: Time) {
        let handles: Vec<CallHandle> = self.calls.keys().copied().collect();
        for handle in handles {
            let Some(established) = self.established(handle) else { continue };
            let waiting = std::mem::take(&mut established.waiting);
            self.timers.stop(&Timer::FlowWait(handle));
            for info in waiting {
                self.send_info(now, handle, info.content_type, info.body);
            }
            self.send_bye(now, handle);
            self.refresh_route(now, handle);
            self.send_refer(now, handle);
            self.notify_referrer(now, handle);
        }
    }

    /// A request of this call has waited long enough for a flow.
    pub(super) fn flow_waited_for(&mut self, now: Time, handle: CallHandle) {
        let lost = || Error::FlowLost { problem: "it did not come back in time for what had to be sent".to_owned() };
        if let Some(call) = self.calls.get(&handle)
            && matches!(call.phase, Phase::Queued(_))
        {
            self.finish(now, handle, Outcome::failed(lost()));
            return;
        }
        let Some(established) = self.established(handle) else { return };
        if established.closing.is_some() {
            self.close(now, handle, Some(lost()));
            return;
        }
        let mut late = 0;
        while established.waiting.front().is_some_and(|info| info.until <= now) {
            established.waiting.pop_front();
            late += 1;
        }
        let next = established.waiting.front().map(|info| info.until);
        self.timers.set_or_stop(Timer::FlowWait(handle), next);
        for _ in 0..late {
            self.emit(UaEvent::InfoResult { call: handle, result: Err(lost()) });
        }
    }

    /// The flow is lost: what that means to a call.
    pub(super) fn call_lost_flow(&mut self, now: Time, handle: CallHandle, error: &Error) {
        let edge = self.edge.is_some();
        let Some(call) = self.calls.get_mut(&handle) else { return };
        // No answer can come any more that would have to be acknowledged.
        call.invite = None;
        match &mut call.phase {
            Phase::Queued(_) if !edge => {}
            Phase::Queued(_) => self.finish(now, handle, Outcome::failed(error.clone())),
            Phase::Over => self.forget_call(handle),
            Phase::Inviting(inviting) => {
                let mut outcome = Outcome::failed(Error::FlowLostDuringSetup);
                outcome.reason = inviting.cancel.take().and_then(|cancel| cancel.reason);
                self.finish(now, handle, outcome);
            }
            Phase::Ringing(_) => self.finish(now, handle, Outcome::failed(Error::FlowLostDuringSetup)),
            Phase::Established(established) => {
                if edge {
                    let outcome = established.closing.take().unwrap_or_else(|| Outcome::failed(error.clone()));
                    self.finish(now, handle, outcome);
                } else if established.closing.is_some() {
                    self.send_bye(now, handle);
                } else {
                    self.transfer_lost_flow(handle);
                    self.change_lost_flow(now, handle);
                }
            }
        }
    }

    /// Tells the end of a call, and forgets it unless answers to its INVITE may still come.
    pub(super) fn finish(&mut self, now: Time, handle: CallHandle, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if matches!(call.phase, Phase::Over) && call.invite.is_some() {
            return;
        }
        let mut waiting = 0;
        if let Phase::Established(established) = &mut call.phase {
            waiting = established.waiting.len();
            if self.ended_dialogs.len() == REMEMBERED_DIALOGS {
                self.ended_dialogs.pop_front();
            }
            self.ended_dialogs.push_back(established.dialog.id().clone());
        }
        self.forget_change(now, handle);
        self.transfer_ends_with_call(handle, outcome.by);
        self.keep_referral(now, handle, outcome.by);
        self.fail_waiting_change(handle, &Error::WrongState { operation: "change the call", problem: "it has ended" });
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.phase = Phase::Over;
        let answers_may_come = call.invite.as_ref().is_some_and(|invite| self.clients.contains_key(&invite.key));
        for _ in 0..waiting {
            let result = Err(Error::WrongState { operation: "send an INFO", problem: "the call has ended" });
            self.emit(UaEvent::InfoResult { call: handle, result });
        }
        self.stop_call_timers(handle);
        if answers_may_come {
            // Bounded even if the INVITE has only had provisional answers.
            self.timers.set(Timer::Forget(handle), now + self.config.timers.transaction_timeout());
        } else {
            self.forget_call(handle);
        }
        // If it followed a REFER and was never answered, whoever sent us there hears why.
        let failure = outcome.cause.and_then(StatusCode::new).filter(|status| status.as_u16() >= 300);
        self.followed(now, handle, failure.unwrap_or(StatusCode::REQUEST_TERMINATED));
        self.emit_ended(handle, outcome);
    }

    pub(super) fn emit_ended(&mut self, call: CallHandle, outcome: Outcome) {
        let Outcome { by, cause, reason, error } = outcome;
        self.emit(UaEvent::Ended { call, by, cause, reason, error });
    }

    pub(super) fn stop_call_timers(&mut self, handle: CallHandle) {
        for timer in [
            Timer::NoAnswer(handle),
            Timer::CancelGiveUp(handle),
            Timer::Ring(handle),
            Timer::Provisional(handle),
            Timer::Resend(handle),
            Timer::FlowWait(handle),
            Timer::Change(handle),
            Timer::ChangeRetry(handle),
            Timer::Asked(handle),
            Timer::Transfer(handle),
            Timer::Referral(handle),
            Timer::Session(handle),
            Timer::Forget(handle),
        ] {
            self.timers.stop(&timer);
        }
    }

    /// Everything ends: what the far end of this call should know is sent once.
    pub(super) fn destroy_call(&mut self, now: Time, handle: CallHandle) {
        match self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            None | Some(Phase::Over) => return,
            Some(Phase::Established(established)) => {
                // There is no later: the rule that BYE waits for the ACK gives way.
                established.unacknowledged = None;
            }
            Some(_) => {}
        }
        self.hangup(now, handle, None);
        if self.calls.contains_key(&handle) {
            let outcome = Outcome { by: EndedBy::Local, cause: None, reason: None, error: None };
            self.finish(now, handle, outcome);
        }
    }

    // ---- what the far end asks for ----

    /// The call whose dialog a request belongs to.
    pub(super) fn dialog_of(&self, request: &Message) -> Option<CallHandle> {
        let call_id = request.call_id().ok()?;
        let (to, from) = (request.to().ok()?, request.from().ok()?);
        let (local_tag, remote_tag) = (to.tag()?, from.tag().unwrap_or_default());
        self.calls.iter().find_map(|(handle, call)| {
            let id = match &call.phase {
                Phase::Established(established) => established.dialog.id(),
                Phase::Ringing(ringing) => ringing.dialog.id(),
                _ => return None,
            };
            (id.call_id == call_id && id.local_tag == local_tag && id.remote_tag == remote_tag).then_some(*handle)
        })
    }

    fn dialog_mut(&mut self, handle: CallHandle) -> Option<&mut Dialog> {
        match &mut self.calls.get_mut(&handle)?.phase {
            Phase::Established(established) => Some(&mut established.dialog),
            Phase::Ringing(ringing) => Some(&mut ringing.dialog),
            _ => None,
        }
    }

    /// A request with a To tag, other than ACK and CANCEL.
    pub(super) fn in_dialog_request(&mut self, now: Time, method: &Method, request: &Message) {
        let Some(handle) = self.dialog_of(request) else {
            if !self.early_request(method, request) {
                self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, Vec::new());
            }
            return;
        };
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let check = self.dialog_mut(handle).map(|dialog| dialog.check_sequence(number));
        match (check, method) {
            (Some(SequenceCheck::OutOfOrder), _)
            | (Some(SequenceCheck::Repeated), Method::Invite | Method::Update | Method::Refer) => {
                self.respond(request, StatusCode::SERVER_INTERNAL_ERROR, Vec::new());
            }
            // Over a reliable transport a transaction is gone once it has answered, so it is here that a repetition is
            // recognised: it gets its answer and changes nothing.
            (Some(SequenceCheck::Repeated), Method::Info) => self.respond(request, StatusCode::OK, Vec::new()),
            (_, Method::Bye) => self.bye_received(now, handle, request),
            (_, Method::Info) => self.info_received(handle, request),
            (_, Method::Invite) => self.reinvited(now, handle, request),
            (_, Method::Update) => self.updated(now, handle, request),
            (_, Method::Notify) => self.notified(now, handle, request),
            (_, Method::Refer) => self.refer_received(now, handle, request),
            (_, Method::Prack) => self.acknowledged_provisional(handle, request),
            (_, Method::Options) => self.answer_options(request),
            _ => self.method_not_allowed(request),
        }
    }

    fn bye_received(&mut self, now: Time, handle: CallHandle, request: &Message) {
        self.respond(request, StatusCode::OK, Vec::new());
        let said = Reason::of(request);
        let mut outcome = Outcome { by: EndedBy::Remote, cause: said.cause, reason: said.text, error: None };
        match self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            Some(Phase::Established(established)) => {
                // Both hang up at once: it is the one who asked here that hears of it.
                if let Some(closing) = established.closing.take() {
                    outcome = closing;
                }
            }
            Some(Phase::Ringing(ringing)) => {
                // RFC 3261 §15.1.2: a pending INVITE is answered with 487.
                let key = ringing.key.clone();
                self.respond_in(now, &key, StatusCode::REQUEST_TERMINATED, None, Vec::new(), None);
            }
            _ => {}
        }
        self.finish(now, handle, outcome);
    }

    pub(super) fn info_received(&mut self, handle: CallHandle, request: &Message) {
        let Some(kind) = request.content_type().map(|kind| format!("{}/{}", kind.kind(), kind.subtype())) else {
            // An INFO without a body says nothing (RFC 2976); it is how some peers see whether a call is still there.
            self.respond(request, StatusCode::OK, Vec::new());
            return;
        };
        let content_type = kind.to_ascii_lowercase();
        if content_type != "application/dtmf-relay" && content_type != "application/dtmf" {
            let accept = field("Accept", "application/dtmf-relay, application/dtmf");
            self.respond(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![accept]);
            return;
        }
        self.respond(request, StatusCode::OK, Vec::new());
        self.emit(UaEvent::Info { call: handle, content_type, body: request.body_bytes() });
    }
}
