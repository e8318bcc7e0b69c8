//! Early dialogs of calls that we place: several of them when a call forks, reliable provisional responses (RFC 3262), and
//! requests of the far end before its answer.

use bytes::Bytes;

use crate::event::LogLevel;
use crate::header_field::HeaderName;
use crate::sip::dialog::{Dialog, SequenceCheck};
use crate::sip::header::{Name, RAck};
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::sdp::Direction;
use crate::time::Time;

use super::call::Phase;
use super::client_request::{Client, Purpose, sdp_of};
use super::identity::ALLOW;
use super::reoffer::{self, Difference};
use super::request::field;
use super::{CallHandle, UserAgent};

/// A dialog that a provisional response has made (RFC 3261 §12.1).
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// The number of the last reliable response that came in order.
    rseq: Option<u32>,
    /// What the far end has said of its session.
    pub(super) sdp: Option<Bytes>,
}

impl UserAgent {
    /// Takes note of a provisional response with a To tag, and acknowledges it if it is a reliable one. False if it is to
    /// be passed over: it has come before, or one before it is missing (RFC 3262 §4).
    pub(super) fn note_early(&mut self, now: Time, handle: CallHandle, response: &Message) -> bool {
        let forks = self.config.limits.forks;
        let Some(tag) = response.to().ok().and_then(|to| to.tag().map(str::to_owned)) else { return true };
        let Some(call) = self.calls.get_mut(&handle) else { return true };
        let (Phase::Inviting(inviting), Some(invite)) = (&mut call.phase, &call.invite) else { return true };
        let known = inviting.early.iter().position(|early| early.dialog.id().remote_tag == tag);
        let index = match known {
            Some(index) => index,
            None if inviting.early.len() >= forks => return true,
            // Without a Contact there is nobody to send a request to; the response says what it says all the same.
            None => match Dialog::from_response(&invite.from, &invite.local_tag, invite.sequence, response) {
                Ok(dialog) => {
                    inviting.early.push(Early { dialog, rseq: None, sdp: None });
                    inviting.early.len() - 1
                }
                Err(_) => return true,
            },
        };
        let Some(early) = inviting.early.get_mut(index) else { return true };
        let reliable = response.has_token(Name::Require, "100rel");
        let rseq = response.rseq().and_then(Result::ok).filter(|_| reliable);
        if let Some(rseq) = rseq {
            if early.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
                return false;
            }
            early.rseq = Some(rseq);
        }
        if early.sdp.is_none() {
            early.sdp = sdp_of(response);
        }
        let Some(rseq) = rseq else { return true };
        let rack = RAck { rseq, cseq: invite.sequence, method: Method::Invite };
        let mut dialog = early.dialog.clone();
        let request = self.in_dialog(&mut dialog, Method::Prack, vec![field("RAck", &rack.to_string())], None);
        if let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&handle).map(|call| &mut call.phase)
            && let Some(early) = inviting.early.get_mut(index)
        {
            early.dialog = dialog;
        }
        if let Err(error) = self.send_request(now, request, Purpose::Prack(handle)) {
            self.log(LogLevel::Warn, format!("PRACK cannot be sent: {error}"));
        }
        true
    }

    /// The number for another try of a PRACK that was challenged.
    pub(super) fn sequence_of_prack(&mut self, handle: CallHandle, client: &Client) -> Option<u32> {
        match &mut self.calls.get_mut(&handle)?.phase {
            Phase::Inviting(inviting) => {
                let early = inviting.early.iter_mut().find(|early| early.dialog.remote() == client.request.to)?;
                Some(early.dialog.next_sequence())
            }
            Phase::Established(established) => Some(established.dialog.next_sequence()),
            _ => None,
        }
    }

    /// A request of the far end in an early dialog of a call that we place. False if there is no such dialog.
    pub(super) fn early_request(&mut self, method: &Method, request: &Message) -> bool {
        let Some((handle, index)) = self.early_dialog_of(request) else { return false };
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let contact = self.identity.contact();
        let Some(Phase::Inviting(inviting)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else {
            return false;
        };
        let Some(early) = inviting.early.get_mut(index) else { return false };
        match (early.dialog.check_sequence(number), method) {
            (SequenceCheck::OutOfOrder, _) => self.respond(request, StatusCode::SERVER_INTERNAL_ERROR, Vec::new()),
            (_, Method::Update) => {
                early.dialog.refresh_target(request);
                let fields = vec![field("Contact", &contact), field("Allow", ALLOW), self.config.supported()];
                match (sdp_of(request), &early.sdp) {
                    (None, _) => self.respond(request, StatusCode::OK, fields),
                    // RFC 3311 §5.2: our offer has no answer yet.
                    (Some(_), None) => self.respond(request, StatusCode::REQUEST_PENDING, Vec::new()),
                    (Some(offer), Some(before)) => {
                        let answer = (reoffer::difference(before, &offer) != Difference::Media).then(|| {
                            let direction = reoffer::effective(Direction::SendRecv, reoffer::direction_of(&offer));
                            reoffer::as_answer(&inviting.offer, &offer, Some(before), direction)
                        });
                        match answer {
                            Some(answer) => {
                                inviting.offer.clone_from(&answer);
                                early.sdp = Some(offer);
                                self.respond_with_session(request, StatusCode::OK, fields, Some(answer));
                            }
                            // Media are settled when somebody answers.
                            None => self.respond(request, StatusCode::NOT_ACCEPTABLE_HERE, Vec::new()),
                        }
                    }
                }
            }
            (SequenceCheck::Repeated, Method::Info) => self.respond(request, StatusCode::OK, Vec::new()),
            (_, Method::Info) => self.info_received(handle, request),
            (_, Method::Options) => self.answer_options(request),
            // A callee ends an early dialog by its answer to the INVITE (RFC 3261 §15).
            (_, Method::Bye) => self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, Vec::new()),
            _ => self.method_not_allowed(request),
        }
        true
    }

    fn early_dialog_of(&self, request: &Message) -> Option<(CallHandle, usize)> {
        let call_id = request.call_id().ok()?;
        let (to, from) = (request.to().ok()?, request.from().ok()?);
        let (local_tag, remote_tag) = (to.tag()?, from.tag().unwrap_or_default());
        self.calls.iter().find_map(|(handle, call)| {
            let Phase::Inviting(inviting) = &call.phase else { return None };
            let index = inviting.early.iter().position(|early| {
                let id = early.dialog.id();
                id.call_id == call_id && id.local_tag == local_tag && id.remote_tag == remote_tag
            })?;
            Some((*handle, index))
        })
    }
}

/// A provisional response of ours that is sent again until its PRACK comes (RFC 3262 §3).
#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) rseq: u32,
    pub(super) response: Bytes,
    pub(super) interval: core::time::Duration,
    pub(super) give_up: Time,
}

impl UserAgent {
    /// The headers that make a provisional response reliable.
    pub(super) fn reliable_fields(rseq: u32) -> [crate::header_field::HeaderField; 2] {
        let name = HeaderName::from_static("RSeq");
        let value = crate::header_field::HeaderValue::sanitized(&rseq.to_string());
        [field("Require", "100rel"), crate::header_field::HeaderField { name, value }]
    }

    /// PRACK: it acknowledges what we sent last, or something that our answer has overtaken.
    pub(super) fn acknowledged_provisional(&mut self, handle: CallHandle, request: &Message) {
        let rack = request.rack().and_then(Result::ok);
        let found = match self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            Some(Phase::Ringing(ringing)) => {
                let is_it = |sent: &mut Reliable| rack.as_ref().is_some_and(|rack| rack.rseq == sent.rseq);
                ringing.reliable.take_if(is_it).is_some()
            }
            Some(Phase::Established(_)) => rack.is_some(),
            _ => false,
        };
        if found {
            self.timers.stop(&super::timers::Timer::Provisional(handle));
        }
        let status = if found { StatusCode::OK } else { StatusCode::CALL_DOES_NOT_EXIST };
        self.respond(request, status, Vec::new());
    }

    /// The PRACK is late: the provisional response goes out again, and in the end the call is refused (RFC 3262 §3).
    pub(super) fn resend_provisional(&mut self, now: Time, handle: CallHandle) {
        let Some(Phase::Ringing(ringing)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else { return };
        let Some(sent) = &mut ringing.reliable else { return };
        if now < sent.give_up {
            sent.interval *= 2;
            let (next, response) = ((now + sent.interval).min(sent.give_up), sent.response.clone());
            self.timers.set(super::timers::Timer::Provisional(handle), next);
            self.send(response);
            return;
        }
        ringing.reliable = None;
        self.reject(now, handle, StatusCode::SERVER_TIME_OUT, Some("no PRACK"));
    }
}
