//! Requests on their way: their transactions, their credentials, and what becomes of their responses.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::event::LogLevel;
use crate::header_field::HeaderField;
use crate::sip::digest::{Attempt, is_challenge};
use crate::sip::header::Name;
use crate::sip::message::{Limits, Message, Method, StatusCode};
use crate::sip::transaction::{ClientTransaction, TransactionKind, TransactionState};
use crate::time::Time;

use super::identity;
use super::request::{Request, field};
use super::timers::Timer;
use super::{CallHandle, UserAgent};

/// Why a request was sent: who gets its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Unregister,
    Invite(CallHandle),
    /// Its response means nothing (RFC 3261 §9.1); the INVITE's does.
    Cancel,
    Bye(CallHandle),
    /// The BYE of a branch that answered too late.
    ForkBye,
    Info(CallHandle),
    /// The acknowledgement of a reliable provisional response; the INVITE's own answer says how it goes on.
    Prack(CallHandle),
    /// It sends the far end to somebody else.
    Refer(CallHandle),
    /// It says how we get on where the far end has sent us.
    Notify(CallHandle),
    /// A re-INVITE or UPDATE.
    Change(CallHandle),
    /// It shows that the flow lives.
    Probe,
}

impl Purpose {
    /// Whether the far end goes on with something in vain if the request is not sent.
    const fn ends_something(self) -> bool {
        matches!(self, Self::Unregister | Self::Cancel | Self::Bye(_) | Self::ForkBye)
    }
}

/// One in so many places for requests of ours is kept for those that end something.
const RESERVED_FOR_ENDINGS: usize = 4;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) transaction: ClientTransaction,
    pub(super) request: Request,
    pub(super) via: String,
    pub(super) purpose: Purpose,
    /// The credentials it carries; the ACK of a 2xx carries them too (RFC 3261 §13.2.2.4).
    pub(super) credentials: Vec<HeaderField>,
    /// What this request and its repetitions have tried as credentials.
    attempt: Attempt,
}

impl Client {
    /// There is a 2xx to an INVITE, and for 32 s there may be more of them (RFC 6026).
    fn lingers(&self) -> bool {
        self.transaction.state() == TransactionState::Accepted
    }
}

impl UserAgent {
    /// A request outside of any dialog, from us. It has a Call-ID of its own.
    pub(super) fn out_of_dialog(&mut self, method: Method, uri: String, to: String) -> Request {
        let from = format!("{};tag={}", self.identity.from(None), identity::tag(&mut *self.random.0));
        let call_id = self.random.0.alphanumerics(24);
        let fields = self.agent_fields();
        Request { method, uri, routes: Vec::new(), from, to, call_id, sequence: 1, fields, body: None }
    }

    /// What every request carries about us.
    pub(super) fn agent_fields(&self) -> Vec<HeaderField> {
        self.config.user_agent.iter().map(|agent| field("User-Agent", agent)).collect()
    }

    /// Sends `request` in a transaction of its own and gives the transaction's key.
    pub(super) fn send_request(&mut self, now: Time, request: Request, purpose: Purpose) -> Result<Arc<str>> {
        self.send_attempt(now, request, purpose, Attempt::default())
    }

    /// Sends `request` as one that has not been tried before.
    pub(super) fn send_again(&mut self, now: Time, request: Request, purpose: Purpose) -> Result<Arc<str>> {
        self.send_attempt(now, request, purpose, Attempt::default())
    }

    fn send_attempt(&mut self, now: Time, request: Request, purpose: Purpose, attempt: Attempt) -> Result<Arc<str>> {
        let branch = identity::branch(&mut *self.random.0);
        let via = self.identity.via(&branch);
        let credentials = self.digests.credentials(&request, &mut *self.random.0)?;
        self.start_client(
            now,
            branch.into(),
            Client {
                transaction: ClientTransaction::new(kind_of(&request.method), now, self.config.timers),
                request,
                via,
                purpose,
                credentials,
                attempt,
            },
        )
    }

    /// Sends the CANCEL of the INVITE with `key`; it has the INVITE's branch (RFC 3261 §9.1).
    pub(super) fn send_cancel(&mut self, now: Time, key: &str, reason: Option<HeaderField>) -> Result<()> {
        let Some(invite) = self.clients.get(key) else { return Ok(()) };
        let (request, via) = (invite.request.cancel(reason), invite.via.clone());
        // It cannot be sent again, so it is not challenged; it repeats the INVITE's credentials (RFC 3261 §22.1).
        let credentials = invite.credentials.clone();
        self.start_client(
            now,
            cancel_key(key),
            Client {
                transaction: ClientTransaction::new(TransactionKind::NonInvite, now, self.config.timers),
                request,
                via,
                purpose: Purpose::Cancel,
                credentials,
                attempt: Attempt::default(),
            },
        )?;
        Ok(())
    }

    /// Keeps what is needed to call an INVITE off that can no longer be answered.
    pub(super) fn strand(&mut self, now: Time, client: Client, branch: &Arc<str>) {
        let unanswered = matches!(client.transaction.state(), TransactionState::Trying | TransactionState::Proceeding);
        if !unanswered || self.edge.is_some() {
            return;
        }
        if self.stranded.len() >= self.config.limits.calls {
            self.stranded.remove(0);
        }
        self.stranded.push(Stranded {
            branch: Arc::clone(branch),
            cancel: client.request.cancel(None),
            via: client.via,
            credentials: client.credentials,
            until: now + self.config.flow_wait,
        });
    }

    /// Calls off, on the new flow, what the old one took with it: the callee must not go on ringing. The edge knows the
    /// INVITE by its branch (RFC 3261 §9.1); one that knows nothing of it says 481.
    pub(super) fn call_off_stranded(&mut self, now: Time) {
        for stranded in std::mem::take(&mut self.stranded) {
            let Stranded { branch, cancel, via, credentials, until } = stranded;
            if until < now {
                continue;
            }
            let transaction = ClientTransaction::new(TransactionKind::NonInvite, now, self.config.timers);
            let (purpose, attempt) = (Purpose::Cancel, Attempt::default());
            let client = Client { transaction, request: cancel, via, purpose, credentials, attempt };
            if let Err(error) = self.start_client(now, cancel_key(&branch), client) {
                self.log(LogLevel::Warn, format!("CANCEL cannot be sent: {error}"));
            }
        }
    }

    fn start_client(&mut self, now: Time, key: Arc<str>, client: Client) -> Result<Arc<str>> {
        let limit = self.config.limits.client_transactions;
        let reserved = if client.purpose.ends_something() { 0 } else { limit / RESERVED_FOR_ENDINGS };
        // What is answered only lingers: many short calls in a row must not look like many requests that wait.
        let waiting = self.clients.len() - self.clients.values().filter(|client| client.lingers()).count();
        if waiting >= limit - reserved {
            return Err(Error::WrongState { operation: "send", problem: "too many requests wait for their responses" });
        }
        let bytes = client.request.write(&client.via, &client.credentials)?;
        if bytes.len() > Limits::default().message_bytes {
            // An edge would close the connection, and with it lose the registration and every call.
            return Err(Error::WrongState { operation: "send", problem: "the message would be larger than 64 KiB" });
        }
        if !self.send(bytes) {
            return Err(Error::FlowLost { problem: "there is no connection now".to_owned() });
        }
        debug_assert!(client.transaction.deadline().is_some_and(|deadline| deadline > now));
        self.timers.set_or_stop(Timer::Client(Arc::clone(&key)), client.transaction.deadline());
        self.clients.insert(Arc::clone(&key), client);
        Ok(key)
    }

    /// No more of them than there may be calls: those that came after it are likelier to be answered once more.
    fn forget_oldest_lingering(&mut self) {
        let lingering = || self.clients.iter().filter(|(_, client)| client.lingers());
        if lingering().count() <= self.config.limits.calls {
            return;
        }
        let oldest =
            lingering().min_by_key(|(_, client)| client.transaction.deadline()).map(|(key, _)| Arc::clone(key));
        if let Some(oldest) = oldest {
            self.remove_client(&oldest);
        }
    }

    pub(super) fn remove_client(&mut self, key: &Arc<str>) -> Option<Client> {
        self.timers.stop(&Timer::Client(Arc::clone(key)));
        self.clients.remove(key)
    }

    /// Takes in a response.
    pub(super) fn response(&mut self, now: Time, response: &Message) {
        let Some((key, status)) = self.transaction_of(response) else {
            // RFC 6026 §7.2: a stray response is dropped, and so is one with a Via that is not ours (RFC 3261
            // §8.1.3.3).
            return;
        };
        let Some(mut client) = self.remove_client(&key) else { return };
        let step = client.transaction.response(now, status);
        if step.acknowledge {
            self.acknowledge_failure(&client, response);
        }
        let over = client.transaction.state() == TransactionState::Terminated;
        if over {
            if step.deliver {
                self.final_response(now, &key, &client, status, response);
            }
            return;
        }
        self.timers.set_or_stop(Timer::Client(Arc::clone(&key)), client.transaction.deadline());
        let (purpose, sent) = (client.purpose, SentPart::of(&key, &client));
        if step.deliver && status.is_success() {
            self.digests.accepted(&client.request, response);
        }
        let lingers = client.lingers();
        if lingers {
            // It is not sent again: who called and why, and the offer, need not be kept so long.
            client.request.fields = Vec::new();
            client.request.body = None;
        }
        self.clients.insert(key, client);
        if lingers {
            self.forget_oldest_lingering();
        }
        if !step.deliver {
            return;
        }
        match purpose {
            Purpose::Invite(call) if status.is_success() => self.invite_accepted(now, call, &sent, response),
            Purpose::Invite(call) => self.invite_provisional(now, call, status, response),
            Purpose::Change(call) if status.is_success() => self.change_accepted(now, call, &sent, response),
            _ => {}
        }
    }

    fn transaction_of(&self, response: &Message) -> Option<(Arc<str>, StatusCode)> {
        let status = response.status()?;
        if response.list(Name::Via).take(2).count() != 1 {
            return None;
        }
        let via = response.top_via().ok()?;
        let branch = via.branch()?;
        if !via.sent_by_host().eq_ignore_ascii_case(self.identity.host()) {
            return None;
        }
        let method = response.cseq().ok()?.method;
        let key = if method == Method::Cancel { cancel_key(branch) } else { Arc::from(branch) };
        let client = self.clients.get(&key)?;
        (client.request.method == method).then_some((key, status))
    }

    fn final_response(&mut self, now: Time, key: &Arc<str>, client: &Client, status: StatusCode, response: &Message) {
        if is_challenge(status) && self.answer_challenge(now, client, response) {
            return;
        }
        if status.is_success() {
            self.digests.accepted(&client.request, response);
        }
        if status == StatusCode::SESSION_INTERVAL_TOO_SMALL && self.lengthen_interval(now, client, response) {
            return;
        }
        let redirection = matches!(status.as_u16(), 300..=302);
        if redirection && self.redirected(now, client, response) {
            return;
        }
        match client.purpose {
            Purpose::Register => self.register_answered(now, status, response),
            Purpose::Unregister => self.unregistered(),
            Purpose::Invite(call) => self.invite_refused(now, call, response),
            Purpose::Bye(call) => self.bye_answered(now, call),
            Purpose::Info(call) => self.info_answered(now, call, status, response),
            Purpose::Refer(call) => self.refer_answered(now, call, status, response),
            Purpose::Notify(call) => self.notify_answered(call, status),
            Purpose::Change(call) if status.is_success() => {
                self.change_accepted(now, call, &SentPart::of(key, client), response);
            }
            Purpose::Change(call) => self.change_refused(now, key, client, call, response),
            Purpose::Cancel | Purpose::Prack(_) | Purpose::ForkBye | Purpose::Probe => {}
        }
    }

    /// Sends the request again with credentials. False if there is nothing to send it with: then the challenge is the
    /// answer.
    fn answer_challenge(&mut self, now: Time, client: &Client, response: &Message) -> bool {
        let mut attempt = client.attempt.clone();
        if !self.digests.challenged(&client.request, &mut attempt, response) {
            return false;
        }
        let Some(sequence) = self.sequence_of_retry(client) else { return false };
        let mut request = client.request.clone();
        request.sequence = sequence;
        match self.send_attempt(now, request, client.purpose, attempt) {
            Ok(key) => {
                match client.purpose {
                    Purpose::Invite(call) => self.invite_sent_again(call, key, sequence),
                    Purpose::Change(call) => self.change_sent_again(call, key),
                    _ => {}
                }
                true
            }
            Err(error) => {
                self.log(LogLevel::Error, format!("{} cannot be sent again: {error}", client.request.method));
                false
            }
        }
    }

    /// The INVITE goes out again with the interval between refreshes that is wanted (RFC 4028 §7.4).
    fn lengthen_interval(&mut self, now: Time, client: &Client, response: &Message) -> bool {
        let Purpose::Invite(call) = client.purpose else { return false };
        let Some(mut request) = Self::with_longer_interval(&client.request, response) else { return false };
        let Some(sequence) = self.sequence_of_retry(client) else { return false };
        request.sequence = sequence;
        match self.send_attempt(now, request, client.purpose, client.attempt.clone()) {
            Ok(key) => {
                self.invite_sent_again(call, key, sequence);
                true
            }
            Err(_) => false,
        }
    }

    /// The ACK of a failure goes in the INVITE's own transaction (RFC 3261 §17.1.1.3).
    fn acknowledge_failure(&mut self, client: &Client, response: &Message) {
        let to = response.header(Name::To).unwrap_or_default();
        match client.request.ack_of_failure(&client.via, &to) {
            Ok(bytes) => {
                self.send(bytes);
            }
            Err(error) => self.log(LogLevel::Error, format!("ACK cannot be sent: {error}")),
        }
    }

    pub(super) fn client_transaction_due(&mut self, now: Time, key: &Arc<str>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let unanswered = client.transaction.expire(now);
        let purpose = client.purpose;
        if client.transaction.state() != TransactionState::Terminated {
            let deadline = client.transaction.deadline();
            self.timers.set_or_stop(Timer::Client(Arc::clone(key)), deadline);
            return;
        }
        self.remove_client(key);
        if !unanswered {
            if let Purpose::Invite(call) = purpose {
                self.invite_transaction_over(call);
            }
            return;
        }
        let after = self.config.timers.transaction_timeout();
        match purpose {
            Purpose::Register => self.register_unanswered(now),
            Purpose::Unregister => self.unregistered(),
            Purpose::Invite(call) => self.invite_unanswered(now, call, after),
            Purpose::Bye(call) => self.bye_unanswered(now, call, after),
            Purpose::Info(call) => self.info_unanswered(call, after),
            Purpose::Refer(call) => self.transfer_over(call, Err(Error::Timeout { operation: "REFER", after })),
            Purpose::Change(call) => self.change_unanswered(now, call, key, after),
            Purpose::Cancel | Purpose::Prack(_) | Purpose::Notify(_) | Purpose::ForkBye | Purpose::Probe => {}
        }
        if !matches!(purpose, Purpose::Register | Purpose::Probe) {
            self.suspect_flow(now);
        }
    }
}

/// An INVITE whose flow was lost before its final answer.
#[derive(Debug)]
pub(super) struct Stranded {
    branch: Arc<str>,
    cancel: Request,
    via: String,
    credentials: Vec<HeaderField>,
    until: Time,
}

/// What the ACK of a 2xx takes from its INVITE.
#[derive(Debug)]
pub(super) struct SentPart {
    /// The key of its transaction.
    pub(super) key: Arc<str>,
    pub(super) credentials: Vec<HeaderField>,
}

impl SentPart {
    fn of(key: &Arc<str>, client: &Client) -> Self {
        Self { key: Arc::clone(key), credentials: client.credentials.clone() }
    }
}

fn kind_of(method: &Method) -> TransactionKind {
    if *method == Method::Invite { TransactionKind::Invite } else { TransactionKind::NonInvite }
}

/// CANCEL has its INVITE's branch but a transaction of its own (RFC 3261 §17.1.3).
fn cancel_key(branch: &str) -> Arc<str> {
    format!("CANCEL {branch}").into()
}

/// What a response or request says about a session, if it is SDP.
pub(super) fn sdp_of(message: &Message) -> Option<Bytes> {
    let is_sdp = message.content_type().is_some_and(|kind| kind.is("application/sdp"));
    (is_sdp && !message.body().is_empty()).then(|| message.body_bytes())
}
