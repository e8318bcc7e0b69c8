//! Session timers (RFC 4028): a call whose far end has vanished ends, and ours is shown to be there.

use std::time::Duration;

use crate::error::Error;
use crate::header_field::HeaderField;
use crate::sip::header::{Name, Refresher, SessionExpires};
use crate::sip::message::{Message, StatusCode};
use crate::time::Time;

use super::call::Outcome;
use super::request::{Request, field};
use super::timers::Timer;
use super::{CallHandle, UserAgent};

/// RFC 4028 §10: a call that was not refreshed ends this long before its interval is over, or a third of it if that is
/// less.
const ENDING_MARGIN: Duration = Duration::from_secs(32);
/// Intervals below this are refused with 422 (RFC 4028 §4 allows no shorter ones).
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_secs(90);

/// The session timer of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionTimer {
    interval: Duration,
    we_refresh: bool,
    /// When the call ends unless it is refreshed.
    end: Time,
}

fn end_of(now: Time, interval: Duration) -> Time {
    now + (interval - ENDING_MARGIN.min(interval / 3))
}

fn of(message: &Message) -> Option<SessionExpires> {
    message.session_expires().and_then(Result::ok)
}

fn seconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_secs()).unwrap_or(u32::MAX)
}

impl UserAgent {
    /// What an INVITE that begins a call says.
    pub(super) fn session_timer_of_invite(&self) -> Option<HeaderField> {
        let interval = self.config.session_expires?.max(SHORTEST_INTERVAL);
        let value = SessionExpires { seconds: seconds(interval), refresher: None };
        Some(field("Session-Expires", &value.to_string()))
    }

    /// What our re-INVITE or UPDATE says: the interval goes on, and so does who refreshes it.
    pub(super) fn session_timer_of_request(&mut self, handle: CallHandle) -> Vec<HeaderField> {
        let Some(established) = self.established(handle) else { return Vec::new() };
        let Some(timer) = established.session.timer else { return Vec::new() };
        let least = established.session.min_interval;
        let refresher = if timer.we_refresh { Refresher::Uac } else { Refresher::Uas };
        let interval = timer.interval.max(least);
        let value = SessionExpires { seconds: seconds(interval), refresher: Some(refresher) };
        let mut fields = vec![field("Session-Expires", &value.to_string())];
        if !least.is_zero() {
            fields.push(field("Min-SE", &seconds(least).to_string()));
        }
        fields
    }

    /// Takes what a 2xx to a request of ours says (RFC 4028 §7.2).
    pub(super) fn session_timer_of_response(&mut self, now: Time, handle: CallHandle, response: &Message) {
        let timer = of(response).map(|said| {
            let interval = Duration::from_secs(u64::from(said.seconds)).max(Duration::from_secs(1));
            let we_refresh = said.refresher != Some(Refresher::Uas);
            SessionTimer { interval, we_refresh, end: end_of(now, interval) }
        });
        self.run_session_timer(now, handle, timer);
    }

    /// Takes what a request of the far end says, and gives what our 2xx says (RFC 4028 §9). A request without an
    /// interval gets none, and what ran is over.
    pub(super) fn session_timer_of_answer(now: Time, request: &Message) -> (Vec<HeaderField>, Option<SessionTimer>) {
        let Some(said) = of(request) else { return (Vec::new(), None) };
        let supported = request.has_token(Name::Supported, "timer") || request.has_token(Name::Require, "timer");
        let refresher = if supported { said.refresher.unwrap_or(Refresher::Uac) } else { Refresher::Uas };
        let interval = Duration::from_secs(u64::from(said.seconds)).max(SHORTEST_INTERVAL);
        let we_refresh = refresher == Refresher::Uas;
        let timer = SessionTimer { interval, we_refresh, end: end_of(now, interval) };
        let value = SessionExpires { seconds: seconds(interval), refresher: Some(refresher) };
        let mut fields = vec![field("Session-Expires", &value.to_string())];
        if supported {
            fields.push(field("Require", "timer"));
        }
        (fields, Some(timer))
    }

    /// An INVITE was refused with 422: the request with the interval that is wanted instead, unless it has that already.
    pub(super) fn with_longer_interval(request: &Request, response: &Message) -> Option<Request> {
        let least = response.min_se().and_then(Result::ok)?;
        let mut request = request.clone();
        let asked = request.fields.iter_mut().find(|field| field.name.as_str() == "Session-Expires")?;
        let before = SessionExpires::parse(asked.value.as_str()).ok()?;
        if before.seconds >= least {
            return None;
        }
        *asked = field("Session-Expires", &least.to_string());
        request.fields.push(field("Min-SE", &least.to_string()));
        Some(request)
    }

    /// Answers a request whose interval is shorter than what is allowed, if its sender knows what 422 means.
    pub(super) fn interval_is_too_small(&mut self, request: &Message) -> bool {
        let too_small =
            of(request).is_some_and(|said| Duration::from_secs(u64::from(said.seconds)) < SHORTEST_INTERVAL);
        let knows = request.has_token(Name::Supported, "timer") || request.has_token(Name::Require, "timer");
        if !too_small || !knows {
            return false;
        }
        let least = field("Min-SE", &SHORTEST_INTERVAL.as_secs().to_string());
        self.respond(request, StatusCode::SESSION_INTERVAL_TOO_SMALL, vec![least]);
        true
    }

    pub(super) fn run_session_timer(&mut self, now: Time, handle: CallHandle, timer: Option<SessionTimer>) {
        let Some(established) = self.established(handle) else { return };
        established.session.timer = timer;
        let due =
            timer.map(|timer| if timer.we_refresh { (now + timer.interval / 2).min(timer.end) } else { timer.end });
        self.timers.set_or_stop(Timer::Session(handle), due);
    }

    pub(super) fn session_timer_due(&mut self, now: Time, handle: CallHandle) {
        let Some(established) = self.established(handle) else { return };
        let Some(timer) = established.session.timer else { return };
        if now < timer.end {
            self.timers.set(Timer::Session(handle), timer.end);
            self.refresh_route(now, handle);
            return;
        }
        if established.closing.is_none() {
            let error = Error::Timeout { operation: "the refresh of the call (RFC 4028)", after: timer.interval };
            established.closing = Some(Outcome::failed(error));
            established.bye_reason = Some("session timer expired".to_owned());
            self.send_bye(now, handle);
        }
    }
}
