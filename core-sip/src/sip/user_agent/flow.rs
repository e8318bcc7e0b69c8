//! The flow: opened when it is needed, opened again when it is lost, probed while it is there (RFC 5626 §4.4, §4.5).

use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
use crate::event::LogLevel;
use crate::sip::message::Method;
use crate::time::{Time, micros_of};

use super::call::{Outcome, Phase};
use super::client_request::Purpose;
use super::refusal;
use super::timers::Timer;
use super::{CallHandle, Direction, FlowId, Output, UaEvent, UserAgent};

/// The ping of RFC 5626 §4.4.1.
const PING: &[u8] = b"\r\n\r\n";
/// Its answer.
const PONG: &[u8] = b"\r\n";
/// How long the answer to a probe may take after a change of network, while a call is being set up.
const NETWORK_CHANGE_DEADLINE: Duration = Duration::from_secs(2);
/// Opening and probing with shorter times than this would never end.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The flow of a user agent.
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: FlowState,
    last_id: u64,
    /// Somebody wants a flow for its own sake.
    pub(super) connect: bool,
    /// Attempts to connect or register that failed in a row.
    pub(super) attempts: u32,
    checks: Vec<u64>,
    /// The next attempt need not wait: it is not the edge that failed.
    at_once: bool,
}

#[derive(Debug, Default)]
enum FlowState {
    #[default]
    Down,
    /// It will be opened when the timer says so.
    Waiting {
        /// When the last one was lost or did not open.
        since: Time,
    },
    Opening(FlowId),
    Up(Up),
}

#[derive(Debug)]
struct Up {
    id: FlowId,
    since: Time,
    crlf: CrlfAnswers,
    probe: Option<Probe>,
}

/// What is known of how the far end takes a CRLF ping. Not all edges answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CrlfAnswers {
    Unknown,
    Yes,
    No,
}

/// What has been sent to see whether the flow lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Crlf,
    Options,
}

impl UserAgent {
    /// The flow that can be sent on.
    pub(super) fn up_flow(&self) -> Option<FlowId> {
        match &self.flow.state {
            FlowState::Up(up) => Some(up.id),
            _ => None,
        }
    }

    /// Since when the next flow is being waited for, if it is.
    pub(super) fn waiting_since(&self) -> Option<Time> {
        match &self.flow.state {
            FlowState::Waiting { since } => Some(*since),
            _ => None,
        }
    }

    /// Opens a flow unless there is one, or one on its way.
    pub(super) fn want_flow(&mut self, now: Time) {
        if matches!(self.flow.state, FlowState::Down) {
            self.open_flow(now);
        }
    }

    pub(super) fn open_flow(&mut self, now: Time) {
        if self.edge.is_some() {
            return;
        }
        self.flow.last_id += 1;
        let flow = FlowId(self.flow.last_id);
        self.flow.state = FlowState::Opening(flow);
        self.timers.set(Timer::FlowOpen, now + self.config.flow_open_timeout.max(SHORTEST_INTERVAL));
        self.outputs.push_back(Output::OpenFlow { flow });
    }

    pub(super) fn flow_opened(&mut self, now: Time, flow: FlowId) {
        let expected = match &self.flow.state {
            FlowState::Opening(opening) => *opening == flow,
            FlowState::Down => self.edge.is_some(),
            _ => false,
        };
        if !expected {
            // It was given up meanwhile, and its CloseFlow is out already.
            return;
        }
        self.timers.stop(&Timer::FlowOpen);
        self.flow.state = FlowState::Up(Up { id: flow, since: now, crlf: CrlfAnswers::Unknown, probe: None });
        self.emit(UaEvent::FlowUp);
        self.schedule_keep_alive(now);
        self.call_off_stranded(now);
        if self.register.wanted {
            self.send_register(now);
        }
        self.flow_returned(now);
        self.start_queued(now);
    }

    pub(super) fn flow_failed(&mut self, now: Time, flow: FlowId, error: &Error) {
        let current = match &self.flow.state {
            FlowState::Opening(id) => *id == flow,
            FlowState::Up(up) => up.id == flow,
            _ => false,
        };
        if current {
            self.lose_flow(now, error);
        }
    }

    pub(super) fn flow_not_opened(&mut self, now: Time) {
        let after = self.config.flow_open_timeout;
        self.kill_flow(now, &Error::Timeout { operation: "opening the connection", after });
    }

    /// Closes a flow that is of no use any more, and goes on as if it had been lost.
    pub(super) fn kill_flow(&mut self, now: Time, error: &Error) {
        if let FlowState::Opening(flow) | FlowState::Up(Up { id: flow, .. }) = self.flow.state {
            self.outputs.push_back(Output::CloseFlow { flow });
            self.lose_flow(now, error);
        }
    }

    fn lose_flow(&mut self, now: Time, error: &Error) {
        // A flow that held for longer than the longest wait was a good one: the count of failures starts anew.
        if let FlowState::Up(up) = &self.flow.state
            && now - up.since >= self.config.backoff.cap
        {
            self.flow.attempts = 0;
        }
        self.forget_flow();
        self.emit(UaEvent::FlowDown { error: Some(error.clone()) });
        self.drop_transactions(now);
        let calls: Vec<CallHandle> = self.calls.keys().copied().collect();
        for call in calls {
            self.call_lost_flow(now, call, error);
        }
        if self.edge.is_some() {
            self.drop_binding();
            return;
        }
        if !self.flow_is_needed() {
            return;
        }
        if !refusal::may_pass(error) {
            self.give_up(now, error);
            return;
        }
        match self.next_attempt() {
            None => self.give_up(now, error),
            Some((attempt, delay)) => {
                let delay = if std::mem::take(&mut self.flow.at_once) { Duration::ZERO } else { delay };
                self.flow.state = FlowState::Waiting { since: now };
                self.timers.set(Timer::Reconnect, now + delay);
                self.emit(UaEvent::Reconnecting { attempt, delay });
            }
        }
    }

    /// Counts a failure: the number of the next attempt and how long to wait for it, or `None` if there is to be none.
    pub(super) fn next_attempt(&mut self) -> Option<(u32, Duration)> {
        if !self.config.infinite_reconnect && self.flow.attempts >= self.config.max_register_retries {
            return None;
        }
        self.flow.attempts = self.flow.attempts.saturating_add(1);
        let step = self.config.backoff.step(self.flow.attempts);
        let micros = micros_of(step);
        Some((self.flow.attempts, Duration::from_micros(self.random.0.below(micros.saturating_add(1)))))
    }

    /// No flow will come: whoever waits for one is told.
    fn give_up(&mut self, now: Time, error: &Error) {
        self.flow.connect = false;
        self.flow.attempts = 0;
        let calls: Vec<CallHandle> = self.calls.keys().copied().collect();
        for call in calls {
            self.finish(now, call, Outcome::failed(error.clone()));
        }
        if self.register.wanted {
            self.fail_registration(now, error);
        }
    }

    /// Closes the flow when nothing needs it any more.
    pub(super) fn release_idle_flow(&mut self) {
        if self.edge.is_none() && !matches!(self.flow.state, FlowState::Down) && !self.flow_is_needed() {
            self.close_flow();
        }
    }

    /// Ends the flow in order.
    pub(super) fn close_flow(&mut self) {
        let open = match &self.flow.state {
            FlowState::Opening(flow) => Some(*flow),
            FlowState::Up(up) => Some(up.id),
            FlowState::Down | FlowState::Waiting { .. } => None,
        };
        let was_up = self.up_flow().is_some();
        self.forget_flow();
        if let Some(flow) = open {
            self.outputs.push_back(Output::CloseFlow { flow });
        }
        if was_up {
            self.emit(UaEvent::FlowDown { error: None });
        }
    }

    fn flow_is_needed(&self) -> bool {
        self.flow.connect
            || self.register.wanted
            || !self.calls.is_empty()
            || !self.clients.is_empty()
            || !self.flow.checks.is_empty()
    }

    fn forget_flow(&mut self) {
        self.flow.state = FlowState::Down;
        for timer in [Timer::FlowOpen, Timer::Reconnect, Timer::KeepAlive, Timer::Pong] {
            self.timers.stop(&timer);
        }
        self.register.flow_is_gone();
        for timer in [Timer::Refresh, Timer::RegisterRetry, Timer::RegisterAnswer] {
            self.timers.stop(&timer);
        }
        self.report_checks(false);
    }

    /// No response to what was sent on the lost flow can come any more.
    fn drop_transactions(&mut self, now: Time) {
        for key in self.servers.keys().cloned().collect::<Vec<_>>() {
            self.remove_server(&key);
        }
        for key in self.clients.keys().cloned().collect::<Vec<_>>() {
            let Some(client) = self.remove_client(&key) else { continue };
            match client.purpose {
                Purpose::Bye(call) => {
                    if let Some(Phase::Established(established)) = self.calls.get_mut(&call).map(|c| &mut c.phase) {
                        // It may have arrived or not. Sent again, it does no harm: the worst answer is 481.
                        established.bye_sent = false;
                    }
                }
                Purpose::Info(call) => {
                    // Sent again, it might press a key twice.
                    let problem = "it was lost before the INFO was answered".to_owned();
                    self.emit(UaEvent::InfoResult { call, result: Err(Error::FlowLost { problem }) });
                }
                Purpose::Notify(call) => self.notify_lost(call),
                Purpose::Unregister => self.unregistered(),
                Purpose::Invite(_) => self.strand(now, client, &key),
                _ => {}
            }
        }
    }

    pub(super) fn received(&mut self, now: Time, flow: FlowId, bytes: Bytes) {
        if self.up_flow() != Some(flow) {
            return;
        }
        if self.config.trace {
            self.emit(UaEvent::Trace { direction: Direction::Received, bytes: bytes.clone() });
        }
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            if bytes.len() >= PING.len() {
                self.send(Bytes::from_static(PONG));
            } else if !bytes.is_empty()
                && let FlowState::Up(up) = &mut self.flow.state
            {
                up.crlf = CrlfAnswers::Yes;
            }
            self.flow_lives(now);
            return;
        }
        self.flow_lives(now);
        self.message(now, bytes);
    }

    /// Something came: the flow is alive, whatever it was.
    fn flow_lives(&mut self, now: Time) {
        let FlowState::Up(up) = &mut self.flow.state else { return };
        match up.probe.take() {
            None => return,
            // It answered the request and not the ping that went before it.
            Some(Probe::Options) if up.crlf == CrlfAnswers::Unknown => up.crlf = CrlfAnswers::No,
            Some(_) => {}
        }
        self.timers.stop(&Timer::Pong);
        self.report_checks(true);
        self.schedule_keep_alive(now);
    }

    fn schedule_keep_alive(&mut self, now: Time) {
        // It is the client that keeps a flow alive (RFC 5626 §4.4); an edge answers.
        if let Some(interval) = self.config.keep_alive_interval.filter(|_| self.edge.is_none()) {
            self.timers.set(Timer::KeepAlive, now + interval.max(SHORTEST_INTERVAL));
        }
    }

    pub(super) fn keep_alive(&mut self, now: Time) {
        let FlowState::Up(up) = &self.flow.state else { return };
        if up.probe.is_some() {
            return;
        }
        self.probe_as_it_answers(now);
    }

    /// Asks in the way that the far end is known to answer; in both ways at once if that is not known yet, so that one
    /// deadline is enough to find a flow dead.
    fn probe_as_it_answers(&mut self, now: Time) {
        let FlowState::Up(up) = &self.flow.state else { return };
        match up.crlf {
            CrlfAnswers::Yes => self.probe(now, Probe::Crlf),
            CrlfAnswers::No => self.probe(now, Probe::Options),
            CrlfAnswers::Unknown => {
                self.send(Bytes::from_static(PING));
                self.probe(now, Probe::Options);
            }
        }
    }

    fn probe(&mut self, now: Time, probe: Probe) {
        match probe {
            Probe::Crlf => {
                self.send(Bytes::from_static(PING));
            }
            Probe::Options => self.send_options(now),
        }
        if let FlowState::Up(up) = &mut self.flow.state {
            up.probe = Some(probe);
            self.timers.set(Timer::Pong, now + self.config.keep_alive_deadline.max(SHORTEST_INTERVAL));
        }
    }

    pub(super) fn probe_unanswered(&mut self, now: Time) {
        let FlowState::Up(up) = &mut self.flow.state else { return };
        if up.probe.is_some() {
            let after = self.config.keep_alive_deadline;
            self.log(LogLevel::Warn, format!("no answer to a keep-alive within {} s", after.as_secs()));
            self.kill_flow(now, &Error::Timeout { operation: "keep-alive", after });
        }
    }

    pub(super) fn check_flow(&mut self, now: Time, id: u64) {
        let FlowState::Up(up) = &self.flow.state else {
            self.emit(UaEvent::FlowChecked { id, alive: false });
            return;
        };
        let probing = up.probe.is_some();
        self.flow.checks.push(id);
        if !probing {
            self.probe_as_it_answers(now);
        }
    }

    fn report_checks(&mut self, alive: bool) {
        for id in std::mem::take(&mut self.flow.checks) {
            self.emit(UaEvent::FlowChecked { id, alive });
        }
    }

    /// The process was asleep: what was sent before may be lost, and what came meanwhile is still to be read. A probe
    /// that was out begins anew; if none was, one goes out now.
    pub(super) fn woke(&mut self, now: Time) {
        let FlowState::Up(up) = &mut self.flow.state else { return };
        if self.edge.is_some() {
            return;
        }
        up.probe = None;
        self.timers.stop(&Timer::KeepAlive);
        self.probe_as_it_answers(now);
    }

    /// The machine's addresses are others: what went over the old ones is dead, whether or not anybody notices.
    pub(super) fn network_changed(&mut self, now: Time) {
        if self.edge.is_some() {
            return;
        }
        match &mut self.flow.state {
            FlowState::Down | FlowState::Opening(_) => {}
            FlowState::Waiting { .. } => self.timers.advance(&Timer::Reconnect, now),
            FlowState::Up(_)
                if self.calls.values().any(|call| matches!(call.phase, Phase::Inviting(_) | Phase::Ringing(_))) =>
            {
                self.woke(now);
                self.timers.advance(&Timer::Pong, now + NETWORK_CHANGE_DEADLINE);
            }
            FlowState::Up(_) => {
                self.flow.at_once = true;
                self.kill_flow(now, &Error::FlowLost { problem: "the network changed".to_owned() });
                self.flow.at_once = false;
            }
        }
    }

    /// A request got no answer at all: the flow may be dead without anybody having noticed.
    pub(super) fn suspect_flow(&mut self, now: Time) {
        if self.edge.is_none() {
            self.keep_alive(now);
        }
    }

    fn send_options(&mut self, now: Time) {
        let uri = format!("sip:{}", self.config.domain);
        let request = self.out_of_dialog(Method::Options, uri.clone(), format!("<{uri}>"));
        if let Err(error) = self.send_request(now, request, Purpose::Probe) {
            self.log(LogLevel::Error, format!("OPTIONS cannot be sent: {error}"));
        }
    }
}
