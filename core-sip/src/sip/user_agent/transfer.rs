//! Blind transfer: REFER in the call (RFC 3515), its progress by NOTIFY, the end of the call when it has succeeded
//! (RFC 5589 §6.1).

use std::time::Duration;

use crate::error::{CallRefusal, Error};
use crate::sip::header::Name;
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::uri::Uri;
use crate::time::Time;

use super::call::{Outcome, Phase};
use super::client_request::Purpose;
use super::refusal;
use super::request::field;
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// How long a transfer may take, from being asked for to the last NOTIFY.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(90);

/// A transfer that is under way.
#[derive(Debug)]
pub(super) struct Transfer {
    target: String,
    step: TransferStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferStep {
    /// It waits for a flow.
    Waiting,
    /// REFER is out.
    Asked,
    /// The far end is at it.
    Accepted,
}

impl UserAgent {
    pub(super) fn transfer(&mut self, now: Time, handle: CallHandle, target: String) {
        let problem = match self.established(handle) {
            None => "there is no call that has been answered",
            Some(established) if established.closing.is_some() => "the call is being ended",
            Some(established) if established.transfer.is_some() => "a transfer is under way already",
            Some(established) => match Uri::parse(&target) {
                Err(error) => {
                    self.emit(UaEvent::TransferResult { call: handle, result: Err(Error::Malformed(error)) });
                    return;
                }
                Ok(_) => {
                    established.transfer = Some(Transfer { target, step: TransferStep::Waiting });
                    self.timers.set(Timer::Transfer(handle), now + self.config.flow_wait);
                    self.send_refer(now, handle);
                    return;
                }
            },
        };
        let result = Err(Error::WrongState { operation: "transfer", problem });
        self.emit(UaEvent::TransferResult { call: handle, result });
    }

    /// Sends the REFER that waits, if there is a flow.
    pub(super) fn send_refer(&mut self, now: Time, handle: CallHandle) {
        if self.up_flow().is_none() {
            return;
        }
        let referred_by = self.identity.from(None);
        let contact = self.identity.contact();
        let Some(established) = self.established(handle).filter(|established| established.closing.is_none()) else {
            return;
        };
        let Some(transfer) = &mut established.transfer else { return };
        if transfer.step != TransferStep::Waiting {
            return;
        }
        transfer.step = TransferStep::Asked;
        let fields = vec![
            field("Refer-To", &format!("<{}>", transfer.target)),
            field("Referred-By", &referred_by),
            field("Contact", &contact),
        ];
        let mut dialog = established.dialog.clone();
        let request = self.in_dialog(&mut dialog, Method::Refer, fields, None);
        match self.send_request(now, request, Purpose::Refer(handle)) {
            Ok(_) => {
                self.timers.set(Timer::Transfer(handle), now + TRANSFER_TIMEOUT);
                if let Some(established) = self.established(handle) {
                    established.dialog = dialog;
                }
            }
            Err(error) => self.transfer_over(handle, Err(error)),
        }
    }

    pub(super) fn refer_answered(&mut self, now: Time, handle: CallHandle, status: StatusCode, response: &Message) {
        if status.is_success() {
            if let Some(transfer) = self.established(handle).and_then(|established| established.transfer.as_mut()) {
                transfer.step = TransferStep::Accepted;
            }
            return;
        }
        let mut error = refusal::of_call(response);
        if let Error::CallRefused { refusal, .. } = &mut error
            && matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED)
        {
            *refusal = CallRefusal::TransferNotSupported;
        }
        self.transfer_over(handle, Err(error));
        if status == StatusCode::CALL_DOES_NOT_EXIST {
            self.far_end_knows_nothing(now, handle, response);
        }
    }

    /// Tells how a transfer went, if one is under way.
    pub(super) fn transfer_over(&mut self, handle: CallHandle, result: crate::error::Result<()>) {
        let Some(established) = self.established(handle) else { return };
        if established.transfer.take().is_some() {
            self.timers.stop(&Timer::Transfer(handle));
            self.emit(UaEvent::TransferResult { call: handle, result });
        }
    }

    /// The call ends while a transfer is under way. A far end that has taken the REFER and hangs up is gone where it was
    /// sent.
    pub(super) fn transfer_ends_with_call(&mut self, handle: CallHandle, by: EndedBy) {
        let accepted = self.established(handle).and_then(|established| established.transfer.as_ref());
        let gone = by == EndedBy::Remote && accepted.is_some_and(|transfer| transfer.step == TransferStep::Accepted);
        let problem = "the call has ended";
        let result = if gone { Ok(()) } else { Err(Error::WrongState { operation: "transfer", problem }) };
        self.transfer_over(handle, result);
    }

    /// The flow is lost: whether a REFER without an answer has arrived is not known, and twice would be wrong.
    pub(super) fn transfer_lost_flow(&mut self, handle: CallHandle) {
        let transfer = self.established(handle).and_then(|established| established.transfer.as_ref());
        if transfer.is_some_and(|transfer| transfer.step == TransferStep::Asked) {
            let problem = "it was lost before the REFER was answered".to_owned();
            self.transfer_over(handle, Err(Error::FlowLost { problem }));
        }
    }

    pub(super) fn transfer_due(&mut self, handle: CallHandle) {
        let transfer = self.established(handle).and_then(|established| established.transfer.as_ref());
        let error = match transfer.map(|transfer| transfer.step) {
            Some(TransferStep::Waiting) => {
                let problem = "it did not come back in time for what had to be sent".to_owned();
                Error::FlowLost { problem }
            }
            _ => Error::Timeout { operation: "the transfer", after: TRANSFER_TIMEOUT },
        };
        self.transfer_over(handle, Err(error));
    }

    /// A NOTIFY in the call: how the far end gets on with our REFER (RFC 3515 §2.4.4).
    pub(super) fn notified(&mut self, now: Time, handle: CallHandle, request: &Message) {
        if !request.event().is_some_and(|event| event.is_ok_and(|event| event.package == "refer")) {
            self.respond(request, StatusCode::BAD_EVENT, vec![field("Allow-Events", "refer")]);
            return;
        }
        let under_way = matches!(
            self.calls.get(&handle).map(|call| &call.phase),
            Some(Phase::Established(established)) if established.transfer.is_some()
        );
        if !under_way {
            // RFC 6665 §4.1.3: there is no such subscription.
            self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, Vec::new());
            return;
        }
        self.respond(request, StatusCode::OK, Vec::new());
        let terminated = request
            .header(Name::SubscriptionState)
            .is_some_and(|state| state.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("terminated"));
        match status_of_fragment(request.body()) {
            Some((status, phrase)) if status < 200 => {
                if let Some(transfer) = self.established(handle).and_then(|established| established.transfer.as_mut()) {
                    // It may overtake the answer to REFER.
                    transfer.step = TransferStep::Accepted;
                }
                self.emit(UaEvent::TransferProgress { call: handle, status, phrase });
            }
            Some((status, phrase)) if status < 300 => {
                self.emit(UaEvent::TransferProgress { call: handle, status, phrase });
                self.transfer_over(handle, Ok(()));
                if let Some(established) = self.established(handle).filter(|established| established.closing.is_none())
                {
                    let reason = Some("transferred".to_owned());
                    established.bye_reason.clone_from(&reason);
                    established.closing = Some(Outcome { by: EndedBy::Local, cause: None, reason, error: None });
                    self.send_bye(now, handle);
                }
            }
            Some((status, phrase)) => {
                self.emit(UaEvent::TransferProgress { call: handle, status, phrase: phrase.clone() });
                let refusal = CallRefusal::Other;
                let error = Error::CallRefused { refusal, status, phrase, x_reason: None, retry_after: None };
                self.transfer_over(handle, Err(error));
            }
            None if terminated => {
                let problem = "the far end stopped reporting on the transfer without saying how it went (RFC 3515)";
                self.transfer_over(handle, Err(Error::Protocol { problem: problem.to_owned() }));
            }
            None => {}
        }
    }
}

/// The status line of a `message/sipfrag` (RFC 3420).
fn status_of_fragment(body: &[u8]) -> Option<(u16, String)> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut words = core::str::from_utf8(line).ok()?.strip_prefix("SIP/2.0 ")?.splitn(2, ' ');
    let status: u16 = words.next()?.parse().ok().filter(|status| (100..700).contains(status))?;
    Some((status, words.next().unwrap_or_default().trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_say_a_status_or_nothing() {
        for (body, expected) in [
            ("SIP/2.0 200 OK\r\n", Some((200, "OK"))),
            ("SIP/2.0 180 Ringing", Some((180, "Ringing"))),
            ("SIP/2.0 503\r\nContact: <sip:a@b>\r\n", Some((503, ""))),
            ("SIP/2.0 99 What", None),
            ("SIP/2.0 2000 What", None),
            ("", None),
            ("200 OK", None),
        ] {
            let expected = expected.map(|(status, phrase)| (status, phrase.to_owned()));
            assert_eq!(status_of_fragment(body.as_bytes()), expected, "{body}");
        }
    }
}
