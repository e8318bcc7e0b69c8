//! REGISTER through the flow (RFC 3261 §10.2, RFC 5626 §4.2).

use std::time::Duration;

use crate::error::{Error, RegistrationRefusal};
use crate::event::{LogLevel, RegistrationState};
use crate::random::Random;
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::registration::Registration;
use crate::sip::uri::Uri;
use crate::time::Time;

use super::call::{Outcome, Phase};
use super::client_request::Purpose;
use super::config::UserAgentConfig;
use super::identity::{self, ALLOW};
use super::refusal;
use super::request::{Request, field};
use super::timers::Timer;
use super::{CallHandle, UaEvent, UserAgent};

/// The registration of a user agent.
#[derive(Debug)]
pub(super) struct Register {
    registration: Registration,
    /// It is to be kept up.
    pub(super) wanted: bool,
    status: Status,
    /// What the registrar granted last, on whatever flow, until we took it back.
    granted: Option<Duration>,
    /// When the last REGISTER was refused for a cause that may pass.
    failed_at: Time,
    /// A 423 has been answered with a longer expiry, and nothing else has come of this attempt yet. One that raises its
    /// minimum again and again would be asked for ever.
    raised: bool,
    /// Why the next try waits for as long as the registrar asked.
    postponed: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Idle,
    /// REGISTER is sent, or will be sent again.
    Trying,
    /// The registrar holds our contact on this flow. Refreshes do not change that until they fail.
    Registered,
}

impl Register {
    pub(super) fn new(config: &UserAgentConfig, random: &mut dyn Random) -> Self {
        Self {
            registration: Registration::new(random.alphanumerics(24), identity::tag(random), config.register_expires),
            wanted: false,
            status: Status::Idle,
            granted: None,
            failed_at: Time::ZERO,
            raised: false,
            postponed: None,
        }
    }

    /// Nothing is registered on a flow that is gone; the registrar may still hold the binding.
    pub(super) fn flow_is_gone(&mut self) {
        self.status = Status::Idle;
        self.raised = false;
    }

    /// The registrar holds a binding of ours as far as we know.
    pub(super) fn is_known_to_registrar(&self) -> bool {
        self.granted.is_some()
    }

    /// Calls need not wait for it.
    pub(super) fn is_settled(&self) -> bool {
        !self.wanted || self.status == Status::Registered
    }
}

impl UserAgent {
    pub(super) fn registration_event(
        &mut self,
        state: RegistrationState,
        attempt: Option<u32>,
        error: Option<Error>,
        expires: Option<Duration>,
    ) {
        self.emit(UaEvent::Registration { state, attempt, error, expires });
    }

    pub(super) fn start_registering(&mut self, now: Time) {
        if self.edge.is_some() {
            let error = Error::WrongState { operation: "register", problem: "an edge does not register" };
            self.registration_event(RegistrationState::Failed, None, Some(error), None);
            return;
        }
        if self.register.wanted {
            self.try_sooner(now);
            return;
        }
        self.register.wanted = true;
        if self.up_flow().is_some() {
            self.send_register(now);
        } else {
            self.register.status = Status::Trying;
            self.registration_event(RegistrationState::Registering, None, None, None);
            self.want_flow(now);
        }
    }

    /// Somebody asks while the next try is being waited for: it begins now, but not before the first step of the
    /// backoff is over, so that a program which asks in a loop does no harm, and not before the time that a registrar
    /// has named in `Retry-After`; then whoever asks hears why.
    fn try_sooner(&mut self, now: Time) {
        let pause = self.config.backoff.initial;
        if let Some(since) = self.waiting_since() {
            self.timers.advance(&Timer::Reconnect, now.max(since + pause));
        } else if self.timers.is_running(&Timer::RegisterRetry) {
            match self.register.postponed.clone() {
                Some(error) => {
                    let attempt = (self.flow.attempts > 0).then_some(self.flow.attempts);
                    self.registration_event(RegistrationState::Registering, attempt, Some(error), None);
                }
                None => self.timers.advance(&Timer::RegisterRetry, now.max(self.register.failed_at + pause)),
            }
        }
    }

    /// Sends the first REGISTER of a flow, a refresh, or another try.
    pub(super) fn send_register(&mut self, now: Time) {
        if !self.register.wanted || self.up_flow().is_none() {
            return;
        }
        for timer in [Timer::Refresh, Timer::RegisterRetry] {
            self.timers.stop(&timer);
        }
        let timeout = self.config.timers.transaction_timeout();
        let answer_within = if self.register.status == Status::Registered {
            self.register.granted.map_or(timeout, |granted| Registration::answer_within(granted, timeout))
        } else {
            if self.register.status != Status::Trying {
                self.register.status = Status::Trying;
                let attempt = (self.flow.attempts > 0).then_some(self.flow.attempts);
                self.registration_event(RegistrationState::Registering, attempt, None, None);
            }
            timeout
        };
        self.timers.set(Timer::RegisterAnswer, now + answer_within);
        let expires = self.register.registration.requested();
        let request = self.register_request(expires);
        if let Err(error) = self.send_request(now, request, Purpose::Register) {
            self.fail_registration(now, &error);
        }
    }

    fn register_request(&mut self, expires: Duration) -> Request {
        let registrar = self.config.registrar_uri.clone().unwrap_or_else(|| format!("sip:{}", self.config.domain));
        let registration = &mut self.register.registration;
        let seconds = expires.as_secs();
        let mut fields = vec![
            field("Contact", &format!("{};expires={seconds}", self.identity.registered_contact())),
            field("Expires", &seconds.to_string()),
            field("Supported", self.identity.supported_by_registration()),
            field("Allow", ALLOW),
        ];
        fields.extend(self.config.user_agent.iter().map(|agent| field("User-Agent", agent)));
        fields.extend(self.config.register_headers.iter().cloned());
        Request {
            method: Method::Register,
            uri: registrar,
            routes: Vec::new(),
            from: format!("{};tag={}", self.identity.from(None), registration.tag()),
            to: self.identity.from(None),
            call_id: registration.call_id().to_owned(),
            sequence: registration.next_sequence(),
            fields,
            body: None,
        }
    }

    pub(super) fn next_register_sequence(&mut self) -> u32 {
        self.register.registration.next_sequence()
    }

    pub(super) fn register_answered(&mut self, now: Time, status: StatusCode, response: &Message) {
        if !self.register.wanted {
            // It was taken back meanwhile; the REGISTER that does so is on its way.
            return;
        }
        self.timers.stop(&Timer::RegisterAnswer);
        if status.is_success() {
            match self.granted(response) {
                Ok(expires) => {
                    self.identity.gruu = self.gruu_of(response);
                    self.registered(now, expires);
                }
                Err(error) => self.retry_registration(now, error, None),
            }
            return;
        }
        if status == StatusCode::INTERVAL_TOO_BRIEF
            && !self.register.raised
            && self.register.registration.raise_to_minimum(response)
        {
            self.register.raised = true;
            self.send_register(now);
            return;
        }
        if status == StatusCode::FIRST_HOP_LACKS_OUTBOUND_SUPPORT && self.identity.give_up_outbound() {
            // RFC 5626 §6, §11.6: a proxy on the way would not let our requests come back on this flow as outbound wants.
            self.log(LogLevel::Info, "the edge does not support outbound (RFC 5626); it is registered without");
            self.send_register(now);
            return;
        }
        let error = refusal::of_registration(response);
        if refusal::may_pass(&error) {
            self.retry_registration(now, error, refusal::retry_after(response));
        } else {
            self.fail_registration(now, &error);
        }
    }

    fn granted(&self, response: &Message) -> Result<Duration, Error> {
        let problem = |problem: &str| Error::Protocol { problem: problem.to_owned() };
        let uri = self.identity.registered_uri();
        match self.register.registration.granted(response, &uri, self.identity.instance(), self.identity.reg_id())? {
            None => Err(problem("the registrar's answer lists contacts but not ours (RFC 3261 §10.2.4)")),
            Some(expires) if expires.is_zero() => Err(problem("the registrar granted an expiry of 0 s")),
            Some(expires) => Ok(expires),
        }
    }

    /// What the registrar gave us to be called at from anywhere, if it did and it can stand in a `Contact`.
    fn gruu_of(&self, response: &Message) -> Option<String> {
        let uri = self.identity.registered_uri();
        let gruu = Registration::gruu(response, &uri, self.identity.instance(), self.identity.reg_id())?;
        let usable = Uri::parse(&gruu).is_ok_and(|uri| uri.param("gr").is_some() && uri.headers().next().is_none());
        usable.then_some(gruu)
    }

    fn registered(&mut self, now: Time, expires: Duration) {
        let news = self.register.status != Status::Registered || self.register.granted != Some(expires);
        self.flow.attempts = 0;
        self.register.status = Status::Registered;
        self.register.raised = false;
        self.register.granted = Some(expires);
        self.timers.set(Timer::Refresh, now + Registration::refresh_after(expires));
        if news {
            self.registration_event(RegistrationState::Registered, None, None, Some(expires));
        }
        self.start_queued(now);
    }

    /// The registrar cannot now: it is asked again when it said, or after a wait that grows.
    fn retry_registration(&mut self, now: Time, error: Error, retry_after: Option<Duration>) {
        let Some((attempt, delay)) = self.next_attempt() else {
            self.fail_registration(now, &error);
            return;
        };
        self.register.status = Status::Trying;
        self.register.failed_at = now;
        self.register.raised = false;
        self.register.postponed = retry_after.map(|_| error.clone());
        self.registration_event(RegistrationState::Registering, Some(attempt), Some(error), None);
        self.timers.set(Timer::RegisterRetry, now + retry_after.unwrap_or(delay));
    }

    /// No answer at all: the flow is of no use (RFC 5626 §4.5).
    pub(super) fn register_unanswered(&mut self, now: Time) {
        if !self.register.wanted {
            return;
        }
        let after = self.config.timers.transaction_timeout();
        self.log(LogLevel::Warn, "no answer to REGISTER; the connection is made anew");
        self.kill_flow(now, &Error::Timeout { operation: "REGISTER", after });
    }

    /// The registration is over because of `error`.
    pub(super) fn fail_registration(&mut self, now: Time, error: &Error) {
        self.register.wanted = false;
        self.register.status = Status::Idle;
        self.register.raised = false;
        self.identity.gruu = None;
        self.flow.attempts = 0;
        if matches!(
            error,
            Error::RegistrationRefused { refusal: RegistrationRefusal::Credentials | RegistrationRefusal::Realm, .. }
        ) {
            self.register.granted = None;
        }
        for timer in [Timer::Refresh, Timer::RegisterRetry, Timer::RegisterAnswer] {
            self.timers.stop(&timer);
        }
        self.registration_event(RegistrationState::Failed, None, Some(error.clone()), None);
        let queued: Vec<CallHandle> = self
            .calls
            .iter()
            .filter(|(_, call)| matches!(call.phase, Phase::Queued(_)))
            .map(|(handle, _)| *handle)
            .collect();
        for call in queued {
            self.finish(now, call, Outcome::failed(error.clone()));
        }
    }

    pub(super) fn unregister(&mut self, now: Time) {
        self.register.wanted = false;
        for timer in [Timer::Refresh, Timer::RegisterRetry, Timer::RegisterAnswer] {
            self.timers.stop(&timer);
        }
        let held = self.register.is_known_to_registrar() || self.register.status == Status::Trying;
        // Whatever the registrar holds, it is to be asked anew should somebody register before it has answered.
        self.register.status = Status::Idle;
        self.register.raised = false;
        self.register.postponed = None;
        if held && self.up_flow().is_some() {
            self.send_unregister(now);
        } else {
            self.unregistered();
        }
        // Calls that waited for the registration need not any more.
        self.start_queued(now);
    }

    pub(super) fn send_unregister(&mut self, now: Time) {
        let request = self.register_request(Duration::ZERO);
        if let Err(error) = self.send_request(now, request, Purpose::Unregister) {
            self.log(LogLevel::Warn, format!("the registration could not be taken back: {error}"));
            self.unregistered();
        }
    }

    /// The registration is taken back, or will expire by itself.
    pub(super) fn unregistered(&mut self) {
        if self.register.wanted {
            // Somebody registered again meanwhile.
            return;
        }
        self.register.status = Status::Idle;
        self.register.granted = None;
        self.identity.gruu = None;
        self.registration_event(RegistrationState::Unregistered, None, None, None);
    }
}
