//! The far end sends us to somebody else: its REFER in a call, what the program makes of it, and the NOTIFYs that tell
//! how it goes (RFC 3515, RFC 5589 §6).
//!
//! ```text
//!  REFER ─► 202, NOTIFY 100, UaEvent::Referred ─┬─► Command::Follow ─► INVITE ─► NOTIFY 180 … 200
//!                                               └─► Command::DeclineReferral, or nothing in time ─► NOTIFY 603
//! ```
//!
//! Who may send us anywhere decides whom we call: unless [`super::UserAgentConfig::accept_referrals`] is on, a REFER gets
//! 603 and nobody is asked.

use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
use crate::event::LogLevel;
use crate::header_field::HeaderValue;
use crate::sip::header::{DialogReference, Name};
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::uri::{Uri, unescape};
use crate::time::Time;

use super::call::{Call, Outcome, Phase};
use super::client_request::Purpose;
use super::outgoing::Invitation;
use super::request::field;
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// How long the call that follows a REFER may take, as the NOTIFYs say.
const REFERRAL_LASTS: Duration = Duration::from_secs(90);
/// The type of what a NOTIFY says.
const FRAGMENT: HeaderValue = HeaderValue::from_static("message/sipfrag;version=2.0");

/// A REFER of the far end that is not done.
#[derive(Debug)]
pub(super) struct Referral {
    /// Whom we are to call.
    target: String,
    /// `Referred-By` and `Replaces` of the INVITE.
    fields: Vec<(&'static str, String)>,
    /// Tells its NOTIFYs from those of an earlier one in the same call (RFC 3515 §2.4.6).
    id: Option<u32>,
    /// The call that follows it.
    pub(super) by: Option<CallHandle>,
    /// The program goes there, as soon as it can.
    accepted: bool,
    /// How far it is.
    status: StatusCode,
    /// The far end has not been told yet.
    untold: bool,
    /// The far end does not want to be told.
    silent: bool,
}

/// A REFER of a call that is over, which the program is about to follow. Nobody hears how it goes.
#[derive(Debug)]
pub(super) struct KeptReferral {
    call: CallHandle,
    referral: Box<Referral>,
    until: Time,
}

impl Referral {
    /// Nobody goes there yet, and whoever sent us has not been told that nobody will.
    fn waits(&self) -> bool {
        self.by.is_none() && !self.status.is_final()
    }
}

impl UserAgent {
    /// REFER in a call.
    pub(super) fn refer_received(&mut self, now: Time, handle: CallHandle, request: &Message) {
        let refusal = match self.established(handle) {
            Some(established) if established.closing.is_none() => {
                established.referral.as_ref().map(|_| StatusCode::REQUEST_PENDING)
            }
            _ => Some(StatusCode::CALL_DOES_NOT_EXIST),
        };
        let accepts = self.config.accept_referrals;
        if let Some(status) = refusal.or((!accepts).then_some(StatusCode::DECLINE)) {
            return self.respond(request, status, Vec::new());
        }
        let (target, replaces) = match whom(request) {
            Ok(whom) => whom,
            Err(status) => return self.respond(request, status, Vec::new()),
        };
        let referred_by = request.header(Name::ReferredBy).map(std::borrow::Cow::into_owned);
        let event = UaEvent::Referred { call: handle, target: target.clone(), referred_by: referred_by.clone() };
        let mut said = vec![field("Contact", &self.identity.contact())];
        // RFC 4488: no subscription comes with it.
        let silent = request.header_named("Refer-Sub").is_some_and(|wanted| is_false(&wanted));
        said.extend(silent.then(|| field("Refer-Sub", "false")));
        self.respond(request, StatusCode::ACCEPTED, said);
        let Some(established) = self.established(handle) else { return };
        let id = request.cseq().ok().map(|cseq| cseq.number).filter(|_| established.referred_before);
        established.referred_before = true;
        let mut fields = Vec::new();
        fields.extend(referred_by.map(|value| ("Referred-By", value)));
        fields.extend(replaces.map(|value| ("Replaces", value)));
        established.referral = Some(Box::new(Referral {
            target,
            fields,
            id,
            by: None,
            accepted: false,
            status: StatusCode::TRYING,
            untold: true,
            silent,
        }));
        self.timers.set(Timer::Referral(handle), now + self.config.offer_answer_timeout);
        self.notify_referrer(now, handle);
        self.emit(event);
    }

    /// The program goes where it was sent, but has to get ready first.
    pub(super) fn accept_referral(&mut self, now: Time, handle: CallHandle) {
        let waiting = self.established(handle).and_then(|established| established.referral.as_mut());
        if let Some(waiting) = waiting.filter(|waiting| waiting.waits()) {
            waiting.accepted = true;
            self.timers.set(Timer::Referral(handle), now + REFERRAL_LASTS);
        }
    }

    /// The program goes where it was sent.
    pub(super) fn follow(&mut self, now: Time, referral: CallHandle, call: CallHandle, mut with: Invitation) {
        let waiting = self.established(referral).and_then(|established| established.referral.as_mut());
        let (target, fields) = if let Some(waiting) = waiting.filter(|waiting| waiting.waits()) {
            waiting.by = Some(call);
            let sent_to = (waiting.target.clone(), waiting.fields.clone());
            self.timers.set(Timer::Referral(referral), now + REFERRAL_LASTS);
            sent_to
        } else if let Some(kept) = self.kept_referral.take_if(|kept| kept.call == referral && now < kept.until) {
            (kept.referral.target, kept.referral.fields)
        } else {
            let problem = "there is no REFER that waits";
            return self.emit_ended(call, Outcome::failed(Error::WrongState { operation: "follow", problem }));
        };
        with.target = target;
        with.headers.extend(fields.iter().map(|(name, value)| field(name, value)));
        self.invite(now, call, with);
        if !self.calls.contains_key(&call) {
            self.referral_reached(now, referral, StatusCode::SERVER_INTERNAL_ERROR);
        }
    }

    /// The program has not said in time that it goes, or it takes too long.
    pub(super) fn referral_due(&mut self, now: Time, handle: CallHandle) {
        let Some(referral) = self.established(handle).and_then(|established| established.referral.as_ref()) else {
            return;
        };
        let (waits, late) = (referral.waits(), referral.accepted || referral.by.is_some());
        self.referral_reached(now, handle, if late { StatusCode::REQUEST_TIMEOUT } else { StatusCode::DECLINE });
        if waits {
            self.emit(UaEvent::ReferralExpired { call: handle });
        }
    }

    /// The call ends. Whoever hangs up after sending us does not take that back (RFC 5589 §6): if the program is on its way,
    /// it may still follow.
    pub(super) fn keep_referral(&mut self, now: Time, handle: CallHandle, by: EndedBy) {
        let accepted = self.established(handle).and_then(|established| {
            established.referral.take_if(|referral| by == EndedBy::Remote && referral.accepted && referral.waits())
        });
        if let Some(referral) = accepted {
            self.kept_referral = Some(KeptReferral { call: handle, referral, until: now + REFERRAL_LASTS });
        }
    }

    /// The program does not go.
    pub(super) fn decline_referral(&mut self, now: Time, handle: CallHandle) {
        self.kept_referral.take_if(|kept| kept.call == handle);
        let late = self.established(handle).and_then(|established| established.referral.as_ref()?.by).is_some();
        self.referral_reached(now, handle, if late { StatusCode::REQUEST_TIMEOUT } else { StatusCode::DECLINE });
    }

    /// The call that follows a REFER has got an answer: the one who sent us hears of it.
    pub(super) fn followed(&mut self, now: Time, call: CallHandle, status: StatusCode) {
        let sent_by = self.calls.iter().find_map(|(handle, other)| match &other.phase {
            Phase::Established(established) => {
                (established.referral.as_ref().is_some_and(|referral| referral.by == Some(call))).then_some(*handle)
            }
            _ => None,
        });
        if let Some(handle) = sent_by {
            self.referral_reached(now, handle, status);
        }
    }

    fn referral_reached(&mut self, now: Time, handle: CallHandle, status: StatusCode) {
        let Some(referral) = self.established(handle).and_then(|established| established.referral.as_mut()) else {
            return;
        };
        if referral.status.is_final() {
            return;
        }
        referral.status = status;
        referral.untold = true;
        self.notify_referrer(now, handle);
    }

    /// Says how far it is, if that is news, somebody wants to hear it and there is a flow.
    pub(super) fn notify_referrer(&mut self, now: Time, handle: CallHandle) {
        let silent = self.established(handle).and_then(|established| established.referral.as_ref());
        if let Some(referral) = silent.filter(|referral| referral.silent) {
            if referral.status.is_final() {
                self.forget_referral(handle);
            }
            return;
        }
        if self.up_flow().is_none() {
            return;
        }
        let contact = field("Contact", &self.identity.contact());
        let Some(established) = self.established(handle).filter(|established| established.closing.is_none()) else {
            return;
        };
        let Some(referral) = established.referral.as_mut().filter(|referral| referral.untold) else { return };
        referral.untold = false;
        let (status, id) = (referral.status, referral.id);
        let over = status.is_final();
        let id = id.map(|id| format!(";id={id}")).unwrap_or_default();
        let state = if over {
            "terminated;reason=noresource".to_owned()
        } else {
            format!("active;expires={}", REFERRAL_LASTS.as_secs())
        };
        let said = format!("SIP/2.0 {} {}\r\n", status.as_u16(), status.default_reason());
        let fields = vec![contact, field("Event", &format!("refer{id}")), field("Subscription-State", &state)];
        let mut dialog = established.dialog.clone();
        if over {
            self.forget_referral(handle);
        }
        let request = self.in_dialog(&mut dialog, Method::Notify, fields, Some((FRAGMENT, Bytes::from(said))));
        if let Some(established) = self.established(handle) {
            established.dialog = dialog;
        }
        if let Err(error) = self.send_request(now, request, Purpose::Notify(handle)) {
            self.log(LogLevel::Warn, format!("NOTIFY cannot be sent: {error}"));
        }
    }

    /// A far end that does not want to hear of it (RFC 6665 §4.2.2) hears no more. Where we were sent, we go on going, or
    /// may still go.
    pub(super) fn notify_answered(&mut self, handle: CallHandle, status: StatusCode) {
        if matches!(status, StatusCode::CALL_DOES_NOT_EXIST | StatusCode::BAD_EVENT)
            && let Some(established) = self.established(handle)
            && let Some(referral) = &mut established.referral
        {
            referral.silent = true;
            if referral.by.is_some() || referral.status.is_final() {
                self.forget_referral(handle);
            }
        }
    }

    fn forget_referral(&mut self, handle: CallHandle) {
        if let Some(established) = self.established(handle) {
            established.referral = None;
            self.timers.stop(&Timer::Referral(handle));
        }
    }

    /// The flow is lost, and with it perhaps what was said last.
    pub(super) fn notify_lost(&mut self, handle: CallHandle) {
        if let Some(referral) = self.established(handle).and_then(|established| established.referral.as_mut()) {
            referral.untold = true;
        }
    }

    // ---- INVITE with Replaces -------------------------------------------------------------------------------------

    /// Which call an INVITE is to take the place of (RFC 3891 §3), if any, or what it is refused with.
    pub(super) fn replaced_by(&self, request: &Message) -> Result<Option<CallHandle>, StatusCode> {
        let reference = match request.replaces() {
            None => return Ok(None),
            Some(Err(_)) => return Err(StatusCode::BAD_REQUEST),
            Some(Ok(_)) if request.headers(Name::Replaces).nth(1).is_some() => return Err(StatusCode::BAD_REQUEST),
            Some(Ok(reference)) => reference,
        };
        if !self.config.accept_replaces {
            return Err(StatusCode::DECLINE);
        }
        let mut found = None;
        for (handle, call) in self.calls.iter() {
            let Some(fate) = fate(call, &reference) else { continue };
            if found.replace((*handle, fate)).is_some() {
                // More than one is as good as none.
                return Err(StatusCode::CALL_DOES_NOT_EXIST);
            }
        }
        match found {
            Some((handle, Ok(()))) => Ok(Some(handle)),
            Some((_, Err(status))) => Err(status),
            None if self.ended_dialogs.iter().any(|id| is(id, &reference)) => Err(StatusCode::DECLINE),
            None => Err(StatusCode::CALL_DOES_NOT_EXIST),
        }
    }

    /// Somebody else goes on with a call: what is left of it here ends.
    pub(super) fn was_replaced(&mut self, now: Time, handle: CallHandle) {
        self.hangup(now, handle, Some("replaced".to_owned()));
    }

    /// The URI with which somebody else takes our place at the far end of a call that is up, or is placed and rings
    /// (RFC 3891): for [`super::Command::Transfer`] in another call (attended transfer), here or in another user agent.
    #[must_use]
    pub fn replacement_uri(&self, call: CallHandle) -> Option<String> {
        let Phase::Established(established) = &self.calls.get(&call)?.phase else { return None };
        let (dialog, id) = (&established.dialog, established.dialog.id());
        // A GRUU is reachable from everywhere, any other contact perhaps not; the address of record is (RFC 5589 §7).
        let contact = Uri::parse(dialog.remote_target()).ok().filter(|uri| uri.param("gr").is_some());
        let uri = match &contact {
            Some(contact) => contact.as_str().to_owned(),
            None => crate::sip::header::NameAddr::parse(dialog.remote()).ok()?.uri().to_owned(),
        };
        let bare = uri.split('?').next().unwrap_or_default();
        let value = format!("{};to-tag={};from-tag={}", id.call_id, or_zero(&id.remote_tag), id.local_tag);
        Some(format!("{bare}?Replaces={}", crate::sip::uri::escape_header(&value)))
    }
}

/// What a REFER names: a URI without headers, and a `Replaces` among them.
fn whom(request: &Message) -> Result<(String, Option<String>), StatusCode> {
    let mut named = request.headers(Name::ReferTo);
    if named.next().is_none() || named.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let Some(Ok(named)) = request.refer_to() else { return Err(StatusCode::BAD_REQUEST) };
    let uri = named.parse_uri().map_err(|_| StatusCode::BAD_REQUEST)?;
    if !uri.is_sip() && !uri.is_sips() {
        return Err(StatusCode::UNSUPPORTED_URI_SCHEME);
    }
    // `method` would have us send something else than INVITE.
    if uri.param("method").is_some_and(|method| method.as_deref() != Some("INVITE")) {
        return Err(StatusCode::DECLINE);
    }
    // Of the headers in it none becomes one of ours but `Replaces`: whoever sends us somewhere does not speak for us.
    let replaces = uri.headers().find(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
    let replaces = replaces.map(|(_, value)| unescape(value).into_owned());
    if replaces.as_deref().is_some_and(|value| DialogReference::parse(value).is_err()) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok((without_method(named.uri().split('?').next().unwrap_or_default()), replaces))
}

/// A URI without headers, and without its parameter `method`, which a Request-URI must not have (RFC 3261 §19.1.1).
fn without_method(uri: &str) -> String {
    // A user part may hold `;`, the parameters come after the host.
    let (user, rest) = uri.split_at(uri.find('@').map_or(0, |at| at + 1));
    let mut parts = rest.split(';');
    let mut bare = user.to_owned() + parts.next().unwrap_or_default();
    for parameter in parts {
        let name = parameter.split('=').next().unwrap_or_default();
        if !unescape(name.trim()).eq_ignore_ascii_case("method") {
            bare.push(';');
            bare.push_str(parameter);
        }
    }
    bare
}

/// The value of `Refer-Sub`, without what may be said about it.
fn is_false(value: &str) -> bool {
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("false")
}

/// RFC 3891 §3: a party that gave no tag has `0` here.
fn or_zero(tag: &str) -> &str {
    if tag.is_empty() { "0" } else { tag }
}

fn is(id: &crate::sip::dialog::DialogId, reference: &DialogReference) -> bool {
    id.call_id == reference.call_id
        && id.local_tag == reference.local_tag
        && or_zero(&id.remote_tag) == or_zero(&reference.remote_tag)
}

/// Whether `reference` means this call, and then whether it may be replaced.
fn fate(call: &Call, reference: &DialogReference) -> Option<Result<(), StatusCode>> {
    match &call.phase {
        Phase::Established(established) if is(established.dialog.id(), reference) => {
            Some(if established.closing.is_some() {
                Err(StatusCode::DECLINE)
            } else if reference.early_only {
                Err(StatusCode::BUSY_HERE)
            } else {
                Ok(())
            })
        }
        Phase::Inviting(inviting) if inviting.early.iter().any(|early| is(early.dialog.id(), reference)) => {
            Some(if inviting.cancel.is_some() { Err(StatusCode::DECLINE) } else { Ok(()) })
        }
        // Somebody calls us there: it is not ours to give away.
        Phase::Ringing(ringing) if is(ringing.dialog.id(), reference) => Some(Err(StatusCode::CALL_DOES_NOT_EXIST)),
        _ => None,
    }
}
