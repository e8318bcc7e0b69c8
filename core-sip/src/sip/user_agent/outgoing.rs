//! Calls that we place: INVITE, its answers, CANCEL and its races (RFC 3261 §9.1, §13.2).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::event::LogLevel;
use crate::header_field::{HeaderField, HeaderValue};
use crate::sip::dialog::Dialog;
use crate::sip::header::parse_qvalue;
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::uri::Uri;
use crate::time::Time;

use super::call::{Call, Cancel, Established, Inviting, Outcome, Phase, SentInvite};
use super::client_request::{Purpose, SentPart, sdp_of};
use super::identity::{self, ALLOW};
use super::modify::Session;
use super::reason::{self, Reason};
use super::refusal;
use super::request::{Request, field};
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// Addresses of a redirection that are looked at.
const MOST_ALTERNATIVES: usize = 16;

/// The type of session descriptions.
pub(super) const SDP: HeaderValue = HeaderValue::from_static("application/sdp");

/// What a call is placed with.
#[derive(Debug)]
pub(super) struct Invitation {
    pub(super) target: String,
    pub(super) call_id: String,
    pub(super) headers: Vec<HeaderField>,
    pub(super) offer: String,
    pub(super) display_name: Option<String>,
}

impl UserAgent {
    pub(super) fn invite(&mut self, now: Time, call: CallHandle, invitation: Invitation) {
        if self.calls.contains_key(&call) {
            // An event for this number would be taken for one of the call that has it.
            self.log(LogLevel::Error, format!("call {} is there already; it is not placed again", call.0));
            return;
        }
        match self.invitation_request(call, invitation) {
            Err(error) => self.emit_ended(call, Outcome::failed(error)),
            Ok(request) => {
                self.calls.insert(call, Call { phase: Phase::Queued(Box::new(request)), invite: None });
                self.timers.set(Timer::NoAnswer(call), now + self.config.no_answer_timeout);
                self.timers.set(Timer::FlowWait(call), now + self.config.flow_wait);
                self.want_flow(now);
                self.start_queued(now);
            }
        }
    }

    fn invitation_request(&mut self, call: CallHandle, invitation: Invitation) -> Result<Request> {
        let impossible = |problem| Err(Error::WrongState { operation: "invite", problem });
        if call.0 >= CallHandle::FIRST_INCOMING {
            return impossible("numbers from 2^32 on belong to incoming calls; choose a lower one");
        }
        if self.active_calls() >= self.config.limits.calls {
            return impossible("there are too many calls; end one first");
        }
        if invitation.call_id.is_empty() || invitation.call_id.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return impossible("a Call-ID is a word without blanks (RFC 3261 §25.1)");
        }
        if self.edge.is_some() && self.up_flow().is_none() {
            return Err(Error::FlowLost { problem: "an edge does not open connections".to_owned() });
        }
        Uri::parse(&invitation.target)?;
        let tag = identity::tag(&mut *self.random.0);
        let display_name = invitation.display_name.or_else(|| self.config.display_name.clone());
        let mut fields =
            vec![field("Contact", &self.identity.contact()), field("Allow", ALLOW), self.config.supported()];
        fields.extend(self.session_timer_of_invite());
        fields.extend(self.agent_fields());
        fields.extend(invitation.headers);
        Ok(Request {
            method: Method::Invite,
            to: format!("<{}>", invitation.target),
            uri: invitation.target,
            routes: Vec::new(),
            from: format!("{};tag={tag}", self.identity.from(display_name.as_deref())),
            call_id: invitation.call_id,
            sequence: 1,
            fields,
            body: Some((SDP, Bytes::from(invitation.offer))),
        })
    }

    /// Sends the INVITEs that waited, if they need not wait any more.
    pub(super) fn start_queued(&mut self, now: Time) {
        if self.up_flow().is_none() || !self.register.is_settled() {
            return;
        }
        let queued: Vec<CallHandle> = self
            .calls
            .iter()
            .filter(|(_, call)| matches!(call.phase, Phase::Queued(_)))
            .map(|(handle, _)| *handle)
            .collect();
        for call in queued {
            self.send_invite(now, call);
        }
    }

    fn send_invite(&mut self, now: Time, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Phase::Queued(request) = std::mem::replace(&mut call.phase, Phase::Over) else { return };
        self.timers.stop(&Timer::FlowWait(handle));
        let (from, sequence) = (request.from.clone(), request.sequence);
        let target = request.uri.clone();
        let local_tag =
            from.rsplit_once(';').and_then(|(_, last)| last.strip_prefix("tag=")).unwrap_or_default().to_owned();
        let offer = request.body.as_ref().map(|(_, body)| String::from_utf8_lossy(body).into_owned());
        match self.send_request(now, *request, Purpose::Invite(handle)) {
            Err(error) => self.finish(now, handle, Outcome::failed(error)),
            Ok(key) => {
                if let Some(call) = self.calls.get_mut(&handle) {
                    let offer = offer.unwrap_or_default();
                    call.phase = Phase::Inviting(Inviting {
                        offer,
                        provisional: false,
                        cancel: None,
                        early: Vec::new(),
                        tried: vec![target],
                    });
                    call.invite = Some(SentInvite { key, from, local_tag, sequence, acks: Vec::new() });
                }
            }
        }
    }

    /// The INVITE was challenged and has gone out again, as another transaction.
    pub(super) fn invite_sent_again(&mut self, handle: CallHandle, key: Arc<str>, sequence: u32) {
        if let Some(call) = self.calls.get_mut(&handle) {
            if let Some(invite) = &mut call.invite {
                invite.key = key;
                invite.sequence = sequence;
            }
            if let Phase::Inviting(inviting) = &mut call.phase {
                inviting.provisional = false;
                inviting.early.clear();
            }
        }
    }

    /// The number for another try of a request that was challenged, or `None` if there is to be none.
    pub(super) fn sequence_of_retry(&mut self, client: &super::Client) -> Option<u32> {
        match client.purpose {
            Purpose::Register if !self.register.wanted => None,
            // It is wanted again; taking it back now would undo that.
            Purpose::Unregister if self.register.wanted => None,
            Purpose::Register | Purpose::Unregister => Some(self.next_register_sequence()),
            Purpose::Invite(handle) => match &self.calls.get(&handle)?.phase {
                Phase::Inviting(Inviting { cancel: None, .. }) => Some(client.request.sequence + 1),
                _ => None,
            },
            Purpose::Bye(handle)
            | Purpose::Info(handle)
            | Purpose::Refer(handle)
            | Purpose::Notify(handle)
            | Purpose::Change(handle) => match &mut self.calls.get_mut(&handle)?.phase {
                Phase::Established(established) => Some(established.dialog.next_sequence()),
                _ => None,
            },
            Purpose::Prack(handle) => self.sequence_of_prack(handle, client),
            Purpose::ForkBye => Some(client.request.sequence + 1),
            Purpose::Cancel | Purpose::Probe => None,
        }
    }

    pub(super) fn invite_provisional(&mut self, now: Time, handle: CallHandle, status: StatusCode, response: &Message) {
        let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else { return };
        inviting.provisional = true;
        let cancelled = inviting.cancel.is_some();
        let counts = status == StatusCode::TRYING || self.note_early(now, handle, response);
        if cancelled {
            self.cancel_if_possible(now, handle);
        } else if status != StatusCode::TRYING && counts {
            let sdp = sdp_of(response).map(|sdp| String::from_utf8_lossy(&sdp).into_owned());
            let remote_tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
            self.emit(UaEvent::Provisional { call: handle, status, remote_tag, sdp });
            self.followed(now, handle, status);
        }
    }

    /// A 2xx: the first one makes the call, any other one is acknowledged and, if it comes from another branch, ended
    /// (RFC 3261 §13.2.2.4).
    pub(super) fn invite_accepted(&mut self, now: Time, handle: CallHandle, sent: &SentPart, response: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(invite) = &call.invite else { return };
        let remote_tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        if let Some((_, ack)) = invite.acks.iter().find(|(tag, _)| *tag == remote_tag) {
            let ack = ack.clone();
            self.send(ack);
            return;
        }
        if invite.acks.len() >= self.config.limits.forks {
            return;
        }
        let sequence = invite.sequence;
        let mut dialog = match Dialog::from_response(&invite.from, &invite.local_tag, sequence, response) {
            Ok(dialog) => dialog,
            Err(error) => {
                if matches!(call.phase, Phase::Inviting(_)) {
                    // Without a Contact there is nobody whom an ACK or a BYE could be sent to.
                    self.finish(now, handle, Outcome::failed(Error::Malformed(error)));
                }
                return;
            }
        };
        let mut early_sdp = None;
        if let Phase::Inviting(inviting) = &mut call.phase
            && let Some(early) = inviting.early.iter_mut().find(|early| early.dialog.id().remote_tag == remote_tag)
        {
            dialog.continue_sequences(&early.dialog);
            early_sdp = early.sdp.take();
        }
        let ack = match self.ack_of_success(&dialog, sequence, &sent.credentials) {
            Ok(ack) => ack,
            Err(error) => {
                if matches!(self.calls.get(&handle).map(|call| &call.phase), Some(Phase::Inviting(_))) {
                    self.finish(now, handle, Outcome::failed(error));
                }
                return;
            }
        };
        self.send(ack.clone());
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if let Some(invite) = &mut call.invite {
            invite.acks.push((remote_tag, ack));
        }
        if !matches!(call.phase, Phase::Inviting(_)) {
            self.end_fork(now, dialog);
            return;
        }
        let Phase::Inviting(inviting) = std::mem::replace(&mut call.phase, Phase::Over) else { return };
        let answer = sdp_of(response);
        let mut established = Established {
            dialog,
            local_sdp: inviting.offer,
            remote_sdp: answer.clone().or(early_sdp),
            unacknowledged: None,
            closing: None,
            bye_sent: false,
            bye_reason: None,
            waiting: VecDeque::new(),
            session: Session::new(true, response),
            transfer: None,
            referral: None,
            referred_before: false,
        };
        self.timers.stop(&Timer::NoAnswer(handle));
        self.timers.stop(&Timer::CancelGiveUp(handle));
        if let Some(cancel) = inviting.cancel {
            // It was answered before our CANCEL got there, or in spite of it.
            established.closing =
                Some(Outcome { by: EndedBy::Local, cause: None, reason: cancel.reason.clone(), error: cancel.error });
            established.bye_reason = cancel.reason;
            call.phase = Phase::Established(Box::new(established));
            self.send_bye(now, handle);
            return;
        }
        call.phase = Phase::Established(Box::new(established));
        self.emit(UaEvent::Accepted {
            call: handle,
            sdp: answer.map(|sdp| String::from_utf8_lossy(&sdp).into_owned()),
            message: Box::new(response.clone()),
        });
        self.session_timer_of_response(now, handle, response);
        self.tell_direction(handle);
        self.followed(now, handle, StatusCode::OK);
    }

    /// The ACK of a 2xx has no transaction: it has a branch of its own and goes along the dialog's route.
    pub(super) fn ack_of_success(
        &mut self,
        dialog: &Dialog,
        sequence: u32,
        credentials: &[HeaderField],
    ) -> Result<Bytes> {
        let target = dialog.request_target();
        let via = self.identity.via(&identity::branch(&mut *self.random.0));
        let request = Request {
            method: Method::Ack,
            uri: target.uri,
            routes: target.routes,
            from: dialog.local().to_owned(),
            to: dialog.remote().to_owned(),
            call_id: dialog.id().call_id.clone(),
            sequence,
            fields: self.agent_fields(),
            body: None,
        };
        request.write(&via, credentials)
    }

    /// A branch that answered after another one: nobody is there to talk to it.
    fn end_fork(&mut self, now: Time, mut dialog: Dialog) {
        let request = self.in_dialog(&mut dialog, Method::Bye, Vec::new(), None);
        if let Err(error) = self.send_request(now, request, Purpose::ForkBye) {
            self.log(LogLevel::Warn, format!("a forked call could not be ended: {error}"));
        }
    }

    /// A redirection (RFC 3261 §8.1.3.4): the INVITE goes to the best address that it names and that was not tried yet.
    /// False if there is none, or enough of them were followed: then the redirection is the answer.
    pub(super) fn redirected(&mut self, now: Time, client: &super::Client, response: &Message) -> bool {
        let Purpose::Invite(call) = client.purpose else { return false };
        let most = self.config.max_redirects;
        let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&call).map(|call| &mut call.phase) else {
            return false;
        };
        if inviting.tried.len() > most {
            return false;
        }
        let quality =
            |value: Option<std::borrow::Cow<'_, str>>| value.and_then(|value| parse_qvalue(&value)).unwrap_or(1000);
        let mut best: Option<(u16, String)> = None;
        for contact in response.contact_iter().take(MOST_ALTERNATIVES).filter_map(Result::ok) {
            let uri = contact.uri();
            // Headers in it would become headers of ours.
            let usable =
                contact.parse_uri().is_ok_and(|uri| matches!(uri.scheme(), "sip" | "sips")) && !uri.contains('?');
            let q = quality(contact.param("q").flatten());
            if usable && !inviting.tried.iter().any(|tried| tried == uri) && best.as_ref().is_none_or(|(b, _)| q > *b) {
                best = Some((q, uri.to_owned()));
            }
        }
        let Some((_, target)) = best else { return false };
        inviting.tried.push(target.clone());
        let Some(sequence) = self.sequence_of_retry(client) else { return false };
        let mut request = client.request.clone();
        request.sequence = sequence;
        request.uri.clone_from(&target);
        match self.send_again(now, request, client.purpose) {
            Ok(key) => {
                self.log(LogLevel::Info, format!("the call is redirected to {target}"));
                self.invite_sent_again(call, key, sequence);
                true
            }
            Err(error) => {
                self.log(LogLevel::Warn, format!("a redirection cannot be followed: {error}"));
                false
            }
        }
    }

    pub(super) fn invite_refused(&mut self, now: Time, handle: CallHandle, response: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.invite = None;
        let status = response.status().map(StatusCode::as_u16);
        let outcome = match &mut call.phase {
            Phase::Inviting(Inviting { cancel: Some(cancel), .. }) => {
                let error = cancel.error.take().map(|error| match status {
                    Some(487) => refusal::no_answer(StatusCode::REQUEST_TERMINATED),
                    _ => error,
                });
                Outcome {
                    by: EndedBy::Local, // A challenge that is not answered any more says nothing of the call.
                    cause: status.filter(|status| !matches!(status, 401 | 407)),
                    reason: cancel.reason.take(),
                    error,
                }
            }
            Phase::Inviting(_) => {
                // The cause is the status of this response; what another protocol called it on the way here does not
                // replace it, but its text may say more than the phrase.
                Outcome {
                    by: EndedBy::Remote,
                    cause: status,
                    reason: Reason::of(response).text.or_else(|| response.reason_phrase().map(str::to_owned)),
                    error: Some(refusal::of_call(response)),
                }
            }
            _ => {
                self.forget_call(handle);
                return;
            }
        };
        self.finish(now, handle, outcome);
    }

    pub(super) fn invite_unanswered(&mut self, now: Time, handle: CallHandle, after: Duration) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.invite = None;
        match &mut call.phase {
            Phase::Inviting(inviting) => {
                // Not even the next hop answered: this says nothing of whether somebody would have picked up.
                let mut outcome = Outcome::failed(Error::Timeout { operation: "INVITE", after });
                outcome.reason = inviting.cancel.take().and_then(|cancel| cancel.reason);
                self.finish(now, handle, outcome);
            }
            Phase::Over => self.forget_call(handle),
            _ => {}
        }
    }

    /// No further answer can come to the INVITE.
    pub(super) fn invite_transaction_over(&mut self, handle: CallHandle) {
        if let Some(call) = self.calls.get_mut(&handle) {
            call.invite = None;
            if matches!(call.phase, Phase::Over) {
                self.forget_call(handle);
            }
        }
    }

    pub(super) fn no_answer(&mut self, now: Time, handle: CallHandle) {
        match self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            Some(Phase::Queued(_)) => {
                // Nobody was asked yet.
                let error = Error::Timeout { operation: "the call", after: self.config.no_answer_timeout };
                self.finish(now, handle, Outcome::failed(error));
            }
            Some(Phase::Inviting(inviting)) if inviting.cancel.is_none() => {
                let error = refusal::no_answer(StatusCode::TEMPORARILY_UNAVAILABLE);
                inviting.cancel = Some(Cancel { sent: false, reason: None, error: Some(error) });
                self.cancel_if_possible(now, handle);
            }
            _ => {}
        }
    }

    /// Somebody hangs up before the answer.
    pub(super) fn cancel(&mut self, now: Time, handle: CallHandle, reason: Option<String>) {
        let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else { return };
        if inviting.cancel.is_none() {
            inviting.cancel = Some(Cancel { sent: false, reason, error: None });
            self.cancel_if_possible(now, handle);
        }
    }

    /// Sends the CANCEL as soon as there has been a provisional response; before that it might overtake the INVITE
    /// (RFC 3261 §9.1).
    fn cancel_if_possible(&mut self, now: Time, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let (Phase::Inviting(inviting), Some(invite)) = (&mut call.phase, &call.invite) else { return };
        let Some(cancel) = &mut inviting.cancel else { return };
        if !inviting.provisional || cancel.sent {
            return;
        }
        cancel.sent = true;
        let key = Arc::clone(&invite.key);
        let reason =
            cancel.reason.as_deref().map(|text| reason::of_status(StatusCode::REQUEST_TERMINATED.as_u16(), text));
        self.timers.set(Timer::CancelGiveUp(handle), now + self.config.timers.transaction_timeout());
        let had_reason = reason.is_some();
        let mut sent = self.send_cancel(now, &key, reason);
        if sent.is_err() && had_reason {
            // As with BYE: that the call is not wanted matters more than why.
            sent = self.send_cancel(now, &key, None);
        }
        if let Err(error) = sent {
            self.log(LogLevel::Warn, format!("CANCEL cannot be sent: {error}"));
        }
    }

    /// The INVITE was never answered, not even with 487: it counts as cancelled (RFC 3261 §9.1). Should the callee
    /// answer all the same, its 2xx is still acknowledged and ended for as long again.
    pub(super) fn cancel_unanswered(&mut self, now: Time, handle: CallHandle) {
        let after = self.config.timers.transaction_timeout();
        let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else { return };
        let cancel = inviting.cancel.take();
        let (reason, error) = cancel.map_or((None, None), |cancel| (cancel.reason, cancel.error));
        let error = error.unwrap_or(Error::Timeout { operation: "CANCEL", after });
        self.finish(now, handle, Outcome { by: EndedBy::Local, cause: None, reason, error: Some(error) });
        if self.calls.contains_key(&handle) {
            self.timers.set(Timer::Forget(handle), now + after);
        }
    }

    /// Removes what is left of a call that is over.
    pub(super) fn forget_call(&mut self, handle: CallHandle) {
        self.stop_call_timers(handle);
        if let Some(Call { invite: Some(invite), .. }) = self.calls.remove(&handle) {
            self.remove_client(&invite.key);
        }
    }
}
