//! Changes of a call's session, ours and the far end's: re-INVITE (RFC 3261 §14), UPDATE (RFC 3311), hold (RFC 3264
//! §8.4), glare (491), and the refresh of the way to us after a new flow.
//!
//! ```text
//!  Command::Hold, Command::Offer ─►┌────────┐─► one re-INVITE or UPDATE at a time, the next when it is over
//!  a new flow, session timer ─────►│ Wishes │◄─ 491: after a random wait (RFC 3261 §14.1)
//!                                  └────────┘◄─ a lost flow: again on the next one
//! ```
//!
//! The user agent answers by itself what leaves the media as they are: a refresh, hold and its end. An offer that
//! changes more is told ([`UaEvent::Reoffered`]) and answered by whoever has the media ([`super::Command::AnswerOffer`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::event::LogLevel;
use crate::header_field::HeaderField;
use crate::sip::header::Name;
use crate::sip::message::{Message, MessageBuilder, Method, StatusCode};
use crate::sip::sdp::Direction;
use crate::time::Time;

use super::call::{Established, Outcome, Phase, Unacknowledged};
use super::client_request::{Client, Purpose, SentPart, sdp_of};
use super::identity::{self, ALLOW};
use super::outgoing::SDP;
use super::refusal;
use super::reoffer::{self, Difference};
use super::request::field;
use super::session_timer::SessionTimer;
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// How many times in a row a change may meet one of the far end, or be put off by it, before it is given up.
const PUT_OFF_LIMIT: u32 = 10;
/// The unit of the waits after 491 (RFC 3261 §14.1).
const GLARE_STEP: Duration = Duration::from_millis(10);
/// The one who made the call waits 2.1 to 4 s, the other one 0 to 2 s.
const CALLER_GLARE_STEPS: (u64, u64) = (210, 400);
const CALLEE_GLARE_STEPS: (u64, u64) = (0, 200);
/// The longest `Retry-After` of a 500 that is waited for in a call (RFC 3261 §14.2 draws up to 10 s).
const LONGEST_PUT_OFF: Duration = Duration::from_secs(10);

/// The session of a call: what is wanted of it, what is under way.
#[derive(Debug)]
pub(super) struct Session {
    /// We made the call: it decides who waits longer after glare.
    caller: bool,
    /// The far end takes UPDATE.
    pub(super) update_allowed: bool,
    pub(super) wishes: Wishes,
    /// Our request that is out.
    under_way: Option<UnderWay>,
    /// An offer of the far end that the program has to answer.
    asked: Option<Asked>,
    /// The number of our last re-INVITE that was accepted, and its ACK, for repetitions of the 2xx.
    ack: Option<(u32, Bytes)>,
    /// Glare and other delays in a row.
    put_off: u32,
    /// We hold the call.
    held: bool,
    /// What was last told of who sends.
    told: (Direction, bool, bool),
    pub(super) timer: Option<SessionTimer>,
    /// The shortest interval that the far end takes (RFC 4028).
    pub(super) min_interval: Duration,
}

/// What is to be sent when nothing is out.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Show the far end where we are, or that we are there.
    pub(super) refresh: bool,
    /// Somebody waits for a change of direction.
    hold: bool,
    /// A new description of ours.
    offer: Option<String>,
}

#[derive(Debug)]
struct UnderWay {
    key: Arc<str>,
    change: Change,
    /// The description that it carries.
    description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Refresh,
    Hold,
    Offer,
}

/// An offer of the far end that waits for the program's answer.
#[derive(Debug)]
struct Asked {
    offer: Bytes,
    request: AskedBy,
}

#[derive(Debug)]
enum AskedBy {
    /// The key of the server transaction.
    Invite(Arc<str>),
    Update(Box<Message>),
}

impl Session {
    pub(super) fn new(caller: bool, far_end: &Message) -> Self {
        Self {
            caller,
            update_allowed: far_end.has_token(Name::Allow, "UPDATE"),
            wishes: Wishes::default(),
            under_way: None,
            asked: None,
            ack: None,
            put_off: 0,
            held: false,
            told: (Direction::SendRecv, false, false),
            timer: None,
            min_interval: Duration::ZERO,
        }
    }

    /// Whether an offer of ours has no answer yet (RFC 3311 §5.2).
    fn has_offer_out(&self) -> bool {
        self.under_way.as_ref().is_some_and(|out| out.description.is_some())
    }
}

impl UserAgent {
    // ---- ours ---------------------------------------------------------------------------------------------------

    /// Puts the call on hold, or takes it back.
    pub(super) fn hold(&mut self, now: Time, handle: CallHandle, held: bool) {
        match self.changeable(handle) {
            Err(problem) => {
                let result = Err(Error::WrongState { operation: if held { "hold" } else { "unhold" }, problem });
                self.emit(UaEvent::HoldResult { call: handle, result });
            }
            Ok(established) => {
                established.session.held = held;
                established.session.wishes.hold = true;
                self.change_is_wanted(now, handle);
            }
        }
    }

    /// Offers another description of ours.
    pub(super) fn offer(&mut self, now: Time, handle: CallHandle, sdp: String) {
        let problem = match self.changeable(handle) {
            Err(problem) => problem,
            Ok(established)
                if established.session.under_way.as_ref().is_some_and(|out| out.change == Change::Offer) =>
            {
                "an offer waits for its answer already"
            }
            Ok(established) => {
                // One that has not gone out is out of date.
                established.session.wishes.offer = Some(sdp);
                return self.change_is_wanted(now, handle);
            }
        };
        let result = Err(Error::WrongState { operation: "offer", problem });
        self.emit(UaEvent::OfferAnswered { call: handle, result });
    }

    fn changeable(&mut self, handle: CallHandle) -> Result<&mut Established, &'static str> {
        match self.established(handle) {
            None => Err("there is no call that has been answered"),
            Some(established) if established.closing.is_some() => Err("the call is being ended"),
            Some(established) => Ok(established),
        }
    }

    fn change_is_wanted(&mut self, now: Time, handle: CallHandle) {
        if !self.timers.is_running(&Timer::Change(handle)) {
            self.timers.set(Timer::Change(handle), now + self.config.flow_wait);
        }
        self.try_change(now, handle);
    }

    /// There is a new flow: the far end, and the edge on the way, have to learn of it.
    pub(super) fn refresh_route(&mut self, now: Time, handle: CallHandle) {
        if let Some(established) = self.established(handle)
            && established.closing.is_none()
        {
            established.session.wishes.refresh = true;
            self.try_change(now, handle);
        }
    }

    /// Sends the next change, if there is one and nothing stands in its way.
    pub(super) fn try_change(&mut self, now: Time, handle: CallHandle) {
        if self.up_flow().is_none() || self.timers.is_running(&Timer::ChangeRetry(handle)) {
            return;
        }
        let Some(established) = self.established(handle) else { return };
        let session = &mut established.session;
        if established.closing.is_some()
            || established.unacknowledged.is_some()
            || session.under_way.is_some()
            || session.asked.is_some()
        {
            return;
        }
        let theirs = established.remote_sdp.as_deref().map_or(Direction::SendRecv, reoffer::direction_of);
        let ours = match (session.held, theirs.receives()) {
            (false, _) => Direction::SendRecv,
            (true, true) => Direction::SendOnly,
            // Both hold (RFC 3264 §8.4).
            (true, false) => Direction::Inactive,
        };
        let in_force = &established.local_sdp;
        let (change, description) = if let Some(offer) = &session.wishes.offer {
            let offer = if session.held { reoffer::with_direction(offer, ours) } else { offer.clone() };
            (Change::Offer, Some(reoffer::continued(in_force, &offer)))
        } else if session.wishes.hold {
            (Change::Hold, Some(reoffer::continued(in_force, &reoffer::with_direction(in_force, ours))))
        } else if session.wishes.refresh {
            (Change::Refresh, (!session.update_allowed).then(|| in_force.clone()))
        } else {
            self.timers.stop(&Timer::Change(handle));
            return;
        };
        let method = if description.is_some() { Method::Invite } else { Method::Update };
        let mut dialog = established.dialog.clone();
        let mut fields = vec![field("Contact", &self.identity.contact()), field("Allow", ALLOW)];
        fields.push(self.config.supported());
        fields.extend(self.session_timer_of_request(handle));
        let body = description.as_ref().map(|sdp| (SDP, Bytes::from(sdp.clone())));
        let request = self.in_dialog(&mut dialog, method, fields, body);
        match self.send_request(now, request, Purpose::Change(handle)) {
            Ok(key) => {
                let give_up = now + self.config.timers.transaction_timeout();
                self.timers.set(Timer::Change(handle), give_up);
                if let Some(established) = self.established(handle) {
                    established.dialog = dialog;
                    established.session.under_way = Some(UnderWay { key, change, description });
                }
            }
            Err(error) => self.change_failed(now, handle, change, error),
        }
    }

    /// A change of ours has come to nothing; the session is as it was (RFC 3261 §14.1).
    fn change_failed(&mut self, now: Time, handle: CallHandle, change: Change, error: Error) {
        let Some(established) = self.established(handle) else { return };
        let session = &mut established.session;
        session.put_off = 0;
        match change {
            Change::Refresh => {
                session.wishes.refresh = false;
                self.log(LogLevel::Warn, format!("the call could not be refreshed: {error}"));
            }
            Change::Hold => {
                session.wishes.hold = false;
                // What is in force decides, whatever was wanted.
                session.held = !reoffer::direction_of(established.local_sdp.as_bytes()).receives();
                self.emit(UaEvent::HoldResult { call: handle, result: Err(error) });
            }
            Change::Offer => {
                session.wishes.offer = None;
                self.emit(UaEvent::OfferAnswered { call: handle, result: Err(error) });
            }
        }
        self.try_change(now, handle);
    }

    /// A request of ours has been sent again, with credentials or another interval.
    pub(super) fn change_sent_again(&mut self, handle: CallHandle, key: Arc<str>) {
        if let Some(out) = self.established(handle).and_then(|established| established.session.under_way.as_mut()) {
            out.key = key;
        }
    }

    /// A 2xx to our re-INVITE or UPDATE; for a re-INVITE also its repetitions.
    pub(super) fn change_accepted(&mut self, now: Time, handle: CallHandle, sent: &SentPart, response: &Message) {
        let Ok(cseq) = response.cseq() else { return };
        let invite = cseq.method == Method::Invite;
        let Some(established) = self.established(handle) else { return };
        if let Some((_, ack)) = established.session.ack.as_ref().filter(|(number, _)| invite && *number == cseq.number)
        {
            let ack = ack.clone();
            self.send(ack);
            return;
        }
        let Some(out) = established.session.under_way.take_if(|out| out.key == sent.key) else { return };
        established.dialog.refresh_target(response);
        if response.header(Name::Allow).is_some() {
            established.session.update_allowed = response.has_token(Name::Allow, "UPDATE");
        }
        established.session.put_off = 0;
        // Whatever goes along the dialog shows the way to us.
        established.session.wishes.refresh = false;
        if out.change == Change::Offer {
            established.session.wishes.offer = None;
        }
        // Somebody may have wanted it otherwise meanwhile; then it goes out once more.
        let description = out.description.as_deref().unwrap_or(&established.local_sdp);
        let settled = established.session.held != reoffer::direction_of(description.as_bytes()).receives();
        let hold_answered = settled && std::mem::take(&mut established.session.wishes.hold);
        if invite {
            let dialog = established.dialog.clone();
            match self.ack_of_success(&dialog, cseq.number, &sent.credentials) {
                Ok(ack) => {
                    if let Some(established) = self.established(handle) {
                        established.session.ack = Some((cseq.number, ack.clone()));
                    }
                    self.send(ack);
                }
                Err(error) => self.log(LogLevel::Error, format!("ACK cannot be sent: {error}")),
            }
        }
        self.session_timer_of_response(now, handle, response);
        let answer = sdp_of(response);
        let mut moved = None;
        let mut result = Ok(());
        if let (Some(description), Some(established)) = (out.description, self.established(handle)) {
            match &answer {
                Some(answer) => {
                    established.local_sdp = description;
                    let before = established.remote_sdp.replace(answer.clone());
                    let difference = before.map_or(Difference::Media, |before| reoffer::difference(&before, answer));
                    if difference == Difference::Media {
                        moved = Some(text(answer));
                    }
                }
                None => {
                    let problem = "the far end accepted our offer without a session description (RFC 3261 §14.1)";
                    result = Err(Error::Protocol { problem: problem.to_owned() });
                }
            }
        }
        match out.change {
            Change::Offer => {
                let result = result.clone().map(|()| answer.as_ref().map(|answer| text(answer)).unwrap_or_default());
                self.emit(UaEvent::OfferAnswered { call: handle, result });
            }
            Change::Hold | Change::Refresh => {}
        }
        if hold_answered {
            self.emit(UaEvent::HoldResult { call: handle, result });
        }
        if let Some(sdp) = moved.filter(|_| out.change != Change::Offer) {
            self.emit(UaEvent::MediaMoved { call: handle, sdp });
        }
        self.tell_direction(handle);
        self.try_change(now, handle);
    }

    /// Anything else than a 2xx to our re-INVITE or UPDATE.
    pub(super) fn change_refused(
        &mut self,
        now: Time,
        key: &Arc<str>,
        client: &Client,
        handle: CallHandle,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        let random = &mut *self.random.0;
        let Some(Phase::Established(established)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else {
            return;
        };
        let Some(out) = established.session.under_way.take_if(|out| out.key == *key) else { return };
        let session = &mut established.session;
        let update = client.request.method == Method::Update;
        let wait = match status {
            // A proxy that has lost the transaction says 408; of the dialog only the far end knows.
            StatusCode::CALL_DOES_NOT_EXIST => {
                self.fail_waiting_change(handle, &refusal::of_call(response));
                self.far_end_knows_nothing(now, handle, response);
                return;
            }
            StatusCode::REQUEST_PENDING => {
                let (least, most) = if session.caller { CALLER_GLARE_STEPS } else { CALLEE_GLARE_STEPS };
                let steps = least + random.below(most - least + 1);
                Some(GLARE_STEP * u32::try_from(steps).unwrap_or(u32::MAX))
            }
            StatusCode::SERVER_INTERNAL_ERROR => refusal::retry_after(response).map(|wait| wait.min(LONGEST_PUT_OFF)),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if update => {
                session.update_allowed = false;
                Some(Duration::ZERO)
            }
            StatusCode::SESSION_INTERVAL_TOO_SMALL => {
                let least = response.min_se().and_then(Result::ok).map(|s| Duration::from_secs(u64::from(s)));
                match least.filter(|least| *least > session.min_interval) {
                    Some(least) => {
                        session.min_interval = least;
                        Some(Duration::ZERO)
                    }
                    None => None,
                }
            }
            _ => None,
        };
        match wait {
            Some(wait) if session.put_off < PUT_OFF_LIMIT => {
                session.put_off += 1;
                if wait.is_zero() {
                    self.try_change(now, handle);
                } else {
                    // Whoever waits for it has its patience anew.
                    self.timers.set(Timer::Change(handle), now + wait + self.config.flow_wait);
                    self.timers.set(Timer::ChangeRetry(handle), now + wait);
                }
            }
            _ => self.change_failed(now, handle, out.change, refusal::of_call(response)),
        }
    }

    /// No final answer: the flow may be dead, the call need not be.
    pub(super) fn change_unanswered(&mut self, now: Time, handle: CallHandle, key: &str, after: Duration) {
        let Some(established) = self.established(handle) else { return };
        let Some(out) = established.session.under_way.take_if(|out| *out.key == *key) else { return };
        self.change_failed(now, handle, out.change, Error::Timeout { operation: "a change of the call", after });
    }

    /// The flow is lost: what was out has to go out again, what was asked cannot be answered any more.
    pub(super) fn change_lost_flow(&mut self, now: Time, handle: CallHandle) {
        let wait = self.config.flow_wait;
        let Some(established) = self.established(handle) else { return };
        // The answer to a re-INVITE is given; that its ACK is missing now says nothing of the far end.
        if established.unacknowledged.take_if(|pending| !pending.initial).is_some() {
            self.timers.stop(&Timer::Resend(handle));
        }
        let Some(established) = self.established(handle) else { return };
        let session = &mut established.session;
        let was_out = session.under_way.take().is_some();
        session.asked = None;
        let waits = session.wishes.hold || session.wishes.offer.is_some();
        for timer in [Timer::ChangeRetry(handle), Timer::Asked(handle)] {
            self.timers.stop(&timer);
        }
        // Attempts to reach the edge that fail give nobody more time.
        if was_out || !waits {
            self.timers.set_or_stop(Timer::Change(handle), waits.then(|| now + wait));
        }
    }

    /// The call is over, whatever comes to a change that is out; one that the far end has asked for is over with it (RFC
    /// 3261 §15.1.2).
    pub(super) fn forget_change(&mut self, now: Time, handle: CallHandle) {
        if let Some(Asked { request: AskedBy::Invite(key), .. }) =
            self.established(handle).and_then(|established| established.session.asked.take())
        {
            self.respond_in(now, &key, StatusCode::REQUEST_TERMINATED, None, Vec::new(), None);
        }
        if let Some(out) = self.established(handle).and_then(|established| established.session.under_way.take()) {
            self.remove_client(&out.key);
        }
    }

    /// A change has waited long enough: for a flow, or for the final answer after a provisional one.
    pub(super) fn change_due(&mut self, now: Time, handle: CallHandle) {
        let after = self.config.timers.transaction_timeout();
        let Some(established) = self.established(handle) else { return };
        if let Some(out) = established.session.under_way.take() {
            self.remove_client(&out.key);
            let error = Error::Timeout { operation: "a change of the call", after };
            self.change_failed(now, handle, out.change, error);
            self.suspect_flow(now);
            return;
        }
        let error = Error::FlowLost { problem: "it did not come back in time for what had to be sent".to_owned() };
        self.fail_waiting_change(handle, &error);
    }

    /// Tells everybody who waits for a change that there will be none.
    pub(super) fn fail_waiting_change(&mut self, handle: CallHandle, error: &Error) {
        let Some(established) = self.established(handle) else { return };
        let session = &mut established.session;
        let hold = std::mem::take(&mut session.wishes.hold);
        let offer = session.wishes.offer.take().is_some();
        if hold {
            session.held = !reoffer::direction_of(established.local_sdp.as_bytes()).receives();
            self.emit(UaEvent::HoldResult { call: handle, result: Err(error.clone()) });
        }
        if offer {
            self.emit(UaEvent::OfferAnswered { call: handle, result: Err(error.clone()) });
        }
    }

    /// RFC 3261 §12.2.1.2: the far end knows nothing of this call; it ended there without our being told.
    pub(super) fn far_end_knows_nothing(&mut self, now: Time, handle: CallHandle, response: &Message) {
        let Some(established) = self.established(handle).filter(|established| established.closing.is_none()) else {
            return;
        };
        established.closing = Some(Outcome {
            by: EndedBy::Remote,
            cause: response.status().map(StatusCode::as_u16),
            reason: response.reason_phrase().map(str::to_owned),
            error: Some(refusal::of_call(response)),
        });
        self.send_bye(now, handle);
    }

    /// Tells who sends now, if that has changed.
    pub(super) fn tell_direction(&mut self, handle: CallHandle) {
        let Some(established) = self.established(handle) else { return };
        let ours = reoffer::direction_of(established.local_sdp.as_bytes());
        let theirs = established.remote_sdp.as_deref().map_or(Direction::SendRecv, reoffer::direction_of);
        let now = (reoffer::effective(ours, theirs), !ours.receives(), !theirs.receives());
        if std::mem::replace(&mut established.session.told, now) != now {
            self.emit(UaEvent::Direction { call: handle, direction: now.0, held: now.1, held_by_far_end: now.2 });
        }
    }

    // ---- the far end's ------------------------------------------------------------------------------------------

    /// A re-INVITE.
    pub(super) fn reinvited(&mut self, now: Time, handle: CallHandle, request: &Message) {
        if !self.may_be_changed(handle, request, sdp_of(request).is_some()) {
            return;
        }
        if !self.has_room_for_server() {
            self.respond_full(request);
            return;
        }
        if self.interval_is_too_small(request) {
            return;
        }
        let offer = sdp_of(request);
        let Some(established) = self.established(handle) else { return };
        established.dialog.refresh_target(request);
        if request.header(Name::Allow).is_some() {
            established.session.update_allowed = request.has_token(Name::Allow, "UPDATE");
        }
        let known = Self::answer_without_program(established, offer.as_ref());
        let key = self.start_server(now, request, Some(handle));
        match (known, offer) {
            (Some(answer), _) => self.accept_reinvite(now, handle, &key, answer),
            (None, Some(offer)) => {
                self.respond_in(now, &key, StatusCode::TRYING, None, Vec::new(), None);
                self.ask_program(now, handle, offer, AskedBy::Invite(key));
            }
            // Without an offer there is always an answer: our own description.
            (None, None) => {}
        }
    }

    /// An UPDATE in a confirmed dialog (RFC 3311).
    pub(super) fn updated(&mut self, now: Time, handle: CallHandle, request: &Message) {
        let offer = sdp_of(request);
        if !self.may_be_changed(handle, request, offer.is_some()) || self.interval_is_too_small(request) {
            return;
        }
        if let Some(Phase::Ringing(ringing)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) {
            ringing.dialog.refresh_target(request);
            self.accept_update(now, handle, request, None);
            return;
        }
        let Some(established) = self.established(handle) else { return };
        established.dialog.refresh_target(request);
        let Some(offer) = offer else {
            self.accept_update(now, handle, request, None);
            return;
        };
        match Self::answer_without_program(established, Some(&offer)) {
            Some(answer) => self.accept_update(now, handle, request, Some(answer)),
            None => self.ask_program(now, handle, offer, AskedBy::Update(Box::new(request.clone()))),
        }
    }

    /// Whether a change of the far end's may be looked at now; if not, it has been answered.
    fn may_be_changed(&mut self, handle: CallHandle, request: &Message, has_offer: bool) -> bool {
        let delay = self.random.0.below(11);
        let invite = request.method() == Some(&Method::Invite);
        let status = match self.established(handle) {
            // An UPDATE before our answer that offers nothing only shows where the far end is.
            None if !invite && !has_offer => return true,
            // The first INVITE has no final answer yet, or its 2xx no ACK (RFC 3261 §14.2, RFC 3311 §5.2).
            None => StatusCode::SERVER_INTERNAL_ERROR,
            Some(established) if established.closing.is_some() => StatusCode::CALL_DOES_NOT_EXIST,
            Some(established) => {
                let session = &established.session;
                if session.asked.is_some() || (established.unacknowledged.is_some() && (invite || has_offer)) {
                    StatusCode::SERVER_INTERNAL_ERROR
                } else if session.has_offer_out() && (invite || has_offer) {
                    StatusCode::REQUEST_PENDING
                } else {
                    return true;
                }
            }
        };
        let retry_after =
            (status == StatusCode::SERVER_INTERNAL_ERROR).then(|| field("Retry-After", &delay.to_string()));
        self.respond(request, status, retry_after.into_iter().collect());
        false
    }

    /// Our answer to `offer`, or our offer if there is none, where the media stay as they are; takes note of it.
    fn answer_without_program(established: &mut Established, offer: Option<&Bytes>) -> Option<String> {
        let Some(offer) = offer else { return Some(established.local_sdp.clone()) };
        let before = established.remote_sdp.as_ref()?;
        if reoffer::difference(before, offer) == Difference::Media {
            return None;
        }
        let direction = Self::answering_direction(established, offer);
        let answer = reoffer::as_answer(&established.local_sdp, offer, Some(before), direction);
        established.local_sdp.clone_from(&answer);
        established.remote_sdp = Some(offer.clone());
        Some(answer)
    }

    /// RFC 3264 §6.1: what the offer leaves, less what we do not want while we hold.
    fn answering_direction(established: &Established, offer: &[u8]) -> Direction {
        let ours = if established.session.held { Direction::SendOnly } else { Direction::SendRecv };
        reoffer::effective(ours, reoffer::direction_of(offer))
    }

    fn ask_program(&mut self, now: Time, handle: CallHandle, offer: Bytes, request: AskedBy) {
        let sdp = text(&offer);
        if let Some(established) = self.established(handle) {
            established.session.asked = Some(Asked { offer, request });
        }
        self.timers.set(Timer::Asked(handle), now + self.config.offer_answer_timeout);
        self.emit(UaEvent::Reoffered { call: handle, offer: sdp });
    }

    /// The program's answer to [`UaEvent::Reoffered`].
    pub(super) fn answer_offer(&mut self, now: Time, handle: CallHandle, answer: Result<String, StatusCode>) {
        self.timers.stop(&Timer::Asked(handle));
        let Some(established) = self.established(handle) else { return };
        let Some(asked) = established.session.asked.take() else {
            // The flow was lost meanwhile, and the far end's offer with it. The media are as our answer says.
            if let Ok(sdp) = answer {
                established.session.wishes.offer.get_or_insert(sdp);
                self.change_is_wanted(now, handle);
            }
            return;
        };
        match answer {
            Ok(sdp) => {
                let direction = Self::answering_direction(established, &asked.offer);
                let answer = reoffer::continued(&established.local_sdp, &reoffer::with_direction(&sdp, direction));
                established.local_sdp.clone_from(&answer);
                established.remote_sdp = Some(asked.offer);
                match asked.request {
                    AskedBy::Invite(key) => self.accept_reinvite(now, handle, &key, answer),
                    AskedBy::Update(request) => self.accept_update(now, handle, &request, Some(answer)),
                }
            }
            Err(status) => {
                let status = if status.as_u16() < 400 { StatusCode::NOT_ACCEPTABLE_HERE } else { status };
                match asked.request {
                    AskedBy::Invite(key) => {
                        self.respond_in(now, &key, status, None, Vec::new(), None);
                    }
                    AskedBy::Update(request) => self.respond(&request, status, Vec::new()),
                }
                self.try_change(now, handle);
            }
        }
    }

    /// The far end called its re-INVITE off.
    pub(super) fn offer_called_off(&mut self, now: Time, handle: CallHandle, key: &Arc<str>) {
        let Some(established) = self.established(handle) else { return };
        let is_it = |asked: &mut Asked| matches!(&asked.request, AskedBy::Invite(asked) if asked == key);
        if established.session.asked.take_if(is_it).is_some() {
            self.timers.stop(&Timer::Asked(handle));
            self.try_change(now, handle);
        }
    }

    fn accept_reinvite(&mut self, now: Time, handle: CallHandle, key: &Arc<str>, answer: String) {
        let timers = self.config.timers;
        let mut fields = vec![field("Contact", &self.identity.contact()), field("Allow", ALLOW)];
        fields.push(self.config.supported());
        let request = self.servers.get(key).map(|server| server.request.clone());
        if let Some(request) = &request {
            let (said, timer) = Self::session_timer_of_answer(now, request);
            fields.extend(said);
            self.run_session_timer(now, handle, timer);
        }
        let sequence = request.and_then(|request| request.cseq().ok()).map_or(0, |cseq| cseq.number);
        let Some(response) = self.respond_in(now, key, StatusCode::OK, None, fields, Some(answer)) else { return };
        if let Some(established) = self.established(handle) {
            established.unacknowledged = Some(Unacknowledged {
                response,
                sequence,
                initial: false,
                interval: timers.t1,
                give_up: now + timers.transaction_timeout(),
            });
            self.timers.set(Timer::Resend(handle), now + timers.t1);
        }
        self.tell_direction(handle);
    }

    fn accept_update(&mut self, now: Time, handle: CallHandle, request: &Message, answer: Option<String>) {
        let mut fields = vec![field("Contact", &self.identity.contact()), field("Allow", ALLOW)];
        fields.push(self.config.supported());
        let (said, timer) = Self::session_timer_of_answer(now, request);
        fields.extend(said);
        self.run_session_timer(now, handle, timer);
        self.respond_with_session(request, StatusCode::OK, fields, answer);
        self.tell_direction(handle);
        self.try_change(now, handle);
    }

    /// Answers a request that has no transaction here, with a session description.
    pub(super) fn respond_with_session(
        &mut self,
        request: &Message,
        status: StatusCode,
        fields: Vec<HeaderField>,
        sdp: Option<String>,
    ) {
        let tag = identity::tag(&mut *self.random.0);
        let mut builder = MessageBuilder::response(request, status, None).to_tag(&tag);
        for field in fields.into_iter().chain(self.server_field()) {
            builder = builder.field(field.name, field.value);
        }
        if let Some(sdp) = sdp {
            builder = builder.body(SDP, Bytes::from(sdp));
        }
        self.send(builder.build());
    }

    /// The ACK of our 2xx to a re-INVITE that held our offer: it may hold an answer that moves the media.
    pub(super) fn answered_in_ack(&mut self, handle: CallHandle, answer: &Bytes) {
        let Some(established) = self.established(handle) else { return };
        let before = established.remote_sdp.replace(answer.clone());
        if before.is_none_or(|before| reoffer::difference(&before, answer) == Difference::Media) {
            self.emit(UaEvent::MediaMoved { call: handle, sdp: text(answer) });
        }
        self.tell_direction(handle);
    }
}

fn text(sdp: &[u8]) -> String {
    String::from_utf8_lossy(sdp).into_owned()
}
