//! Requests of the far end: what RFC 3261 §8.2 asks before any of them means something, their transactions, and the
//! responses to them.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::LogLevel;
use crate::header_field::HeaderField;
use crate::sip::header::Name;
use crate::sip::message::{Limits, Message, MessageBuilder, Method, StatusCode, rejection_status};
use crate::sip::transaction::{ServerStep, ServerTransaction, TransactionKind, TransactionState};
use crate::time::Time;

use super::call::{Outcome, Phase};
use super::client_request::sdp_of;
use super::identity::{self, ALLOW, ALLOW_WITH_REGISTER};
use super::outgoing::SDP;
use super::reason::Reason;
use super::request::field;
use super::timers::Timer;
use super::{CallHandle, EndedBy, UaEvent, UserAgent};

/// Extensions that a request may require (RFC 3261 §8.2.2.3).
const MAY_BE_REQUIRED: [&str; 5] = ["outbound", "path", "100rel", "timer", "replaces"];

/// When to come back to one who has no room for a request, in seconds.
const RETRY_WHEN_FULL_SECONDS: u64 = 5;

/// An INVITE of the far end.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) transaction: ServerTransaction,
    pub(super) request: Message,
    /// The tag of every response but 100.
    pub(super) local_tag: String,
    pub(super) call: Option<CallHandle>,
    last_response: Option<Bytes>,
}

impl UserAgent {
    /// Takes in a message that is no keep-alive.
    pub(super) fn message(&mut self, now: Time, bytes: Bytes) {
        let message = match Message::parse(bytes.clone()) {
            Ok(message) => message,
            Err(error) => {
                self.log(LogLevel::Warn, format!("a message cannot be read: {error}"));
                if let Some(request) = Message::parse_for_rejection(bytes, &Limits::default()) {
                    self.respond(&request, rejection_status(&error), Vec::new());
                }
                return;
            }
        };
        match message.method().cloned() {
            None => self.response(now, &message),
            Some(Method::Ack) => self.acknowledged(now, &message),
            Some(method) => self.request(now, &method, &message),
        }
    }

    fn request(&mut self, now: Time, method: &Method, request: &Message) {
        let Some(key) = server_key(request) else {
            self.respond(request, StatusCode::BAD_REQUEST, Vec::new());
            return;
        };
        if *method == Method::Cancel {
            self.cancelled(now, &key, request);
            return;
        }
        if *method == Method::Invite
            && let Some(server) = self.servers.get(&key)
        {
            if server.transaction.repetition() == ServerStep::Resend
                && let Some(response) = server.last_response.clone()
            {
                self.send(response);
            }
            return;
        }
        let known = matches!(
            method,
            Method::Invite
                | Method::Bye
                | Method::Info
                | Method::Prack
                | Method::Update
                | Method::Notify
                | Method::Refer
                | Method::Options
        ) || (*method == Method::Register && self.edge.is_some());
        if !known {
            self.method_not_allowed(request);
            return;
        }
        if !request.request_uri().is_some_and(|uri| {
            let scheme = uri.split(':').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
        }) {
            self.respond(request, StatusCode::UNSUPPORTED_URI_SCHEME, Vec::new());
            return;
        }
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if !in_dialog && self.is_merged(&key, request) {
            self.respond(request, StatusCode::LOOP_DETECTED, Vec::new());
            return;
        }
        let unknown: Vec<String> = request
            .list(Name::Require)
            .filter(|option| {
                !option.is_empty() && !MAY_BE_REQUIRED.iter().any(|known| option.eq_ignore_ascii_case(known))
            })
            .map(std::borrow::Cow::into_owned)
            .collect();
        if !unknown.is_empty() {
            let unsupported = field("Unsupported", &unknown.join(", "));
            self.respond(request, StatusCode::BAD_EXTENSION, vec![unsupported]);
            return;
        }
        if *method != Method::Invite && request.header(Name::Replaces).is_some() {
            // RFC 3891 §3.
            self.respond(request, StatusCode::BAD_REQUEST, Vec::new());
            return;
        }
        if let Some(encoding) = request.header(Name::ContentEncoding)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            let accept = field("Accept-Encoding", "identity");
            self.respond(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![accept]);
            return;
        }
        if matches!(method, Method::Invite | Method::Update) && !request.body().is_empty() && sdp_of(request).is_none()
        {
            let accept = field("Accept", SDP.as_str());
            self.respond(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![accept]);
            return;
        }
        match method {
            _ if in_dialog && *method != Method::Register => self.in_dialog_request(now, method, request),
            Method::Invite => self.invited(now, &key, request),
            Method::Register => self.registration_asked(now, request),
            Method::Options => self.answer_options(request),
            // BYE, INFO, PRACK, UPDATE, REFER and NOTIFY belong to a call.
            _ => self.respond(request, StatusCode::CALL_DOES_NOT_EXIST, Vec::new()),
        }
    }

    /// The same request by another way, split by a proxy on the way here (RFC 3261 §8.2.2.2).
    fn is_merged(&self, key: &Arc<str>, request: &Message) -> bool {
        let (Ok(call_id), Ok(from), Ok(cseq)) = (request.call_id(), request.from(), request.cseq()) else {
            return false;
        };
        self.servers.iter().any(|(other, server)| {
            other != key
                && server.request.call_id() == Ok(call_id)
                && server.request.from().is_ok_and(|other| other.tag() == from.tag())
                && server.request.cseq().is_ok_and(|other| other == cseq)
        })
    }

    /// Begins the transaction of an INVITE.
    pub(super) fn start_server(&mut self, now: Time, request: &Message, call: Option<CallHandle>) -> Arc<str> {
        let key = server_key(request).unwrap_or_else(|| Arc::from(""));
        let local_tag = match request.to().ok().and_then(|to| to.tag().map(str::to_owned)) {
            Some(tag) => tag,
            None => identity::tag(&mut *self.random.0),
        };
        let transaction = ServerTransaction::new(TransactionKind::Invite, self.config.timers);
        self.timers.set_or_stop(Timer::Server(Arc::clone(&key)), transaction.deadline());
        self.servers.insert(
            Arc::clone(&key),
            Server { transaction, request: request.clone(), local_tag, call, last_response: None },
        );
        // Nothing has been answered yet, so no deadline runs; the call's own timers bound it.
        debug_assert!(
            self.servers.get(&key).is_some_and(|server| server.transaction.deadline().is_none_or(|at| at > now))
        );
        key
    }

    pub(super) fn has_room_for_server(&self) -> bool {
        self.servers.len() < self.config.limits.server_transactions
    }

    pub(super) fn remove_server(&mut self, key: &Arc<str>) -> Option<Server> {
        self.timers.stop(&Timer::Server(Arc::clone(key)));
        self.servers.remove(key)
    }

    /// Sends a response in the transaction with `key`, and gives its bytes if it could still be sent.
    pub(super) fn respond_in(
        &mut self,
        now: Time,
        key: &Arc<str>,
        status: StatusCode,
        phrase: Option<&str>,
        fields: Vec<HeaderField>,
        sdp: Option<String>,
    ) -> Option<Bytes> {
        let server_field = self.server_field();
        let server = self.servers.get_mut(key)?;
        if !server.transaction.respond(now, status) {
            return None;
        }
        let mut builder = MessageBuilder::response(&server.request, status, phrase);
        if status != StatusCode::TRYING {
            builder = builder.to_tag(&server.local_tag);
        }
        for field in fields.into_iter().chain(server_field) {
            builder = builder.field(field.name, field.value);
        }
        if let Some(sdp) = sdp {
            builder = builder.body(SDP, Bytes::from(sdp));
        }
        let bytes = builder.build();
        server.last_response = Some(bytes.clone());
        let deadline = server.transaction.deadline();
        self.timers.set_or_stop(Timer::Server(Arc::clone(key)), deadline);
        self.send(bytes.clone());
        Some(bytes)
    }

    /// Answers a request for good, without a transaction: over a reliable transport it would end at once (timer J is
    /// zero), and what refuses an INVITE need not be remembered.
    pub(super) fn respond(&mut self, request: &Message, status: StatusCode, fields: Vec<HeaderField>) {
        self.respond_with(request, status, None, fields);
    }

    pub(super) fn respond_with(
        &mut self,
        request: &Message,
        status: StatusCode,
        phrase: Option<&str>,
        fields: Vec<HeaderField>,
    ) {
        let mut builder = MessageBuilder::response(request, status, phrase).to_tag(&identity::tag(&mut *self.random.0));
        for field in fields.into_iter().chain(self.server_field()) {
            builder = builder.field(field.name, field.value);
        }
        self.send(builder.build());
    }

    pub(super) fn respond_full(&mut self, request: &Message) {
        let retry_after = field("Retry-After", &RETRY_WHEN_FULL_SECONDS.to_string());
        self.respond(request, StatusCode::SERVICE_UNAVAILABLE, vec![retry_after]);
    }

    pub(super) fn server_field(&self) -> Option<HeaderField> {
        self.config.user_agent.as_deref().map(|agent| field("Server", agent))
    }

    fn allow(&self) -> HeaderField {
        field("Allow", if self.edge.is_some() { ALLOW_WITH_REGISTER } else { ALLOW })
    }

    pub(super) fn method_not_allowed(&mut self, request: &Message) {
        let allow = self.allow();
        self.respond(request, StatusCode::METHOD_NOT_ALLOWED, vec![allow]);
    }

    pub(super) fn answer_options(&mut self, request: &Message) {
        let fields = vec![
            self.allow(),
            field("Accept", "application/sdp, application/dtmf-relay, application/dtmf"),
            field("Accept-Encoding", "identity"),
            self.config.supported(),
        ];
        self.respond(request, StatusCode::OK, fields);
    }

    /// An ACK: of a failure by its transaction, of a 2xx by its dialog.
    fn acknowledged(&mut self, now: Time, ack: &Message) {
        if let Some(key) = server_key(ack)
            && let Some(server) = self.servers.get_mut(&key)
            && server.transaction.acknowledge() == ServerStep::Absorb
        {
            if server.transaction.state() == TransactionState::Terminated {
                self.remove_server(&key);
            }
            return;
        }
        let Some(handle) = self.dialog_of(ack) else { return };
        let Some(Phase::Established(established)) = self.calls.get_mut(&handle).map(|call| &mut call.phase) else {
            return;
        };
        let sequence = ack.cseq().map(|cseq| cseq.number);
        let Some(pending) = established.unacknowledged.take_if(|pending| sequence == Ok(pending.sequence)) else {
            return;
        };
        self.timers.stop(&Timer::Resend(handle));
        if pending.initial {
            if let Some(answer) = sdp_of(ack)
                && established.remote_sdp.is_none()
            {
                established.remote_sdp = Some(answer);
            }
            let sdp = sdp_of(ack).map(|sdp| String::from_utf8_lossy(&sdp).into_owned());
            if established.closing.is_none() {
                self.emit(UaEvent::Confirmed { call: handle, sdp });
                self.tell_direction(handle);
            }
        } else if let Some(answer) = sdp_of(ack) {
            // It answers a re-INVITE that got our description as the offer.
            self.answered_in_ack(handle, &answer);
        }
        self.send_bye(now, handle);
        self.try_change(now, handle);
    }

    fn cancelled(&mut self, now: Time, key: &Arc<str>, cancel: &Message) {
        let Some(server) = self.servers.get(key) else {
            self.respond(cancel, StatusCode::CALL_DOES_NOT_EXIST, Vec::new());
            return;
        };
        let (call, local_tag) = (server.call, server.local_tag.clone());
        let unanswered = matches!(server.transaction.state(), TransactionState::Trying | TransactionState::Proceeding);
        // RFC 3261 §9.2: the same To tag as the INVITE's responses.
        let mut ok = MessageBuilder::response(cancel, StatusCode::OK, None).to_tag(&local_tag);
        if let Some(field) = self.server_field() {
            ok = ok.field(field.name, field.value);
        }
        self.send(ok.build());
        if !unanswered {
            return;
        }
        self.respond_in(now, key, StatusCode::REQUEST_TERMINATED, None, Vec::new(), None);
        if let Some(call) = call {
            if self.established(call).is_some() {
                self.offer_called_off(now, call, key);
                return;
            }
            let said = Reason::of(cancel);
            let cause = said.cause.or(Some(StatusCode::REQUEST_TERMINATED.as_u16()));
            self.finish(now, call, Outcome { by: EndedBy::Remote, cause, reason: said.text, error: None });
        }
    }

    pub(super) fn server_transaction_due(&mut self, now: Time, key: &Arc<str>) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let unacknowledged = server.transaction.expire(now);
        if server.transaction.state() == TransactionState::Terminated {
            self.remove_server(key);
        } else {
            let deadline = server.transaction.deadline();
            self.timers.set_or_stop(Timer::Server(Arc::clone(key)), deadline);
        }
        if unacknowledged {
            self.log(LogLevel::Debug, "the refusal of a call was never acknowledged");
        }
    }
}

/// What a request and its repetitions, its CANCEL and the ACK of its failure have in common (RFC 3261 §17.2.3).
fn server_key(request: &Message) -> Option<Arc<str>> {
    let via = request.top_via().ok()?;
    let sent_by = format!("{}:{}", via.sent_by_host().to_ascii_lowercase(), via.sent_by_port().unwrap_or(0));
    match via.branch() {
        Some(branch) if identity::has_cookie(branch) => Some(format!("{branch} {sent_by}").into()),
        _ => {
            // A client older than RFC 3261: its branch is not unique.
            let from = request.from().ok()?;
            let tag = from.tag().unwrap_or_default();
            let (call_id, number) = (request.call_id().ok()?, request.cseq().ok()?.number);
            Some(format!("2543 {call_id} {number} {tag} {sent_by} {}", via.branch().unwrap_or_default()).into())
        }
    }
}
