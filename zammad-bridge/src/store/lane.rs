//! A lane: what Zammad should be told of a call on one channel, what it was told, and when to go on.

use super::{DeliveryReport, LaneView, Outcome, RecordId, StepState, StepView, TicketId, ZammadName};
use crate::call_book::{Channel, Step, StepSet};
use crate::clock::UnixMillis;

/// How long a fault's text may be in the store, in characters.
const MAX_FAULT_CHARS: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) record: RecordId,
    pub(crate) channel: Channel,
    pub(crate) zammad: ZammadName,
    pub(crate) wanted: StepSet,
    /// Acknowledged, told with another step, or given up.
    pub(crate) done: StepSet,
    /// Those of the done ones that a person gave up.
    pub(crate) discarded: StepSet,
    pub(crate) shelved: StepSet,
    /// When the next step is to be tried; `None` if there is nothing to try.
    pub(crate) due: Option<UnixMillis>,
    /// Since when there is something to try without a break: the place in the queue that an outage does not cost.
    pub(crate) wanted_since: UnixMillis,
    pub(crate) attempts: u32,
    pub(crate) uncertain: bool,
    pub(crate) renewed: bool,
    pub(crate) fault: Option<String>,
    pub(crate) delivered_at: Option<UnixMillis>,
    pub(crate) answer: Option<String>,
    pub(crate) ticket: Option<TicketId>,
}

impl Lane {
    pub(crate) fn new(record: RecordId, channel: Channel, zammad: ZammadName, now: UnixMillis) -> Self {
        Self {
            record,
            channel,
            zammad,
            wanted: StepSet::EMPTY,
            done: StepSet::EMPTY,
            discarded: StepSet::EMPTY,
            shelved: StepSet::EMPTY,
            due: None,
            wanted_since: now,
            attempts: 0,
            uncertain: false,
            renewed: false,
            fault: None,
            delivered_at: None,
            answer: None,
            ticket: None,
        }
    }

    pub(crate) fn next_step(&self) -> Option<Step> {
        self.wanted.next(self.done, self.shelved)
    }

    /// More is wanted. Whether that changed anything.
    pub(crate) fn want(&mut self, wanted: StepSet, now: UnixMillis) -> bool {
        if wanted == self.wanted {
            return false;
        }
        let idle = self.next_step().is_none();
        self.wanted = wanted;
        if idle {
            self.begin_next(now);
        }
        true
    }

    /// Queues the next step at `now`, if there is one.
    fn begin_next(&mut self, now: UnixMillis) {
        self.attempts = 0;
        self.uncertain = false;
        self.wanted_since = now;
        self.due = self.next_step().map(|_| now);
    }

    /// Goes on to the next step at the place in the queue that the lane has.
    fn go_on(&mut self) {
        self.attempts = 0;
        self.uncertain = false;
        self.due = self.next_step().map(|_| self.wanted_since);
    }

    pub(crate) fn report(&mut self, report: &DeliveryReport) {
        match &report.outcome {
            Outcome::Delivered { also, answer, ticket } => {
                self.done = self.done.with(report.step).union(also.of(self.channel));
                self.shelved = self.shelved.minus(self.done);
                self.delivered_at = Some(report.at);
                if answer.is_some() {
                    self.answer.clone_from(answer);
                }
                self.ticket = self.ticket.or(*ticket);
                self.go_on();
            }
            Outcome::Retry { at, fault, counts, uncertain, renewed } => {
                self.attempts = self.attempts.saturating_add(u32::from(*counts));
                // A later try that failed for certain does not undo an earlier one that may have arrived.
                self.uncertain |= *uncertain;
                self.renewed |= *renewed;
                self.fault = Some(cut(fault));
                self.due = Some(*at);
            }
            Outcome::Shelved { fault } => {
                self.shelved = self.shelved.with(report.step);
                self.fault = Some(cut(fault));
                self.go_on();
            }
            Outcome::Released => {}
        }
    }

    /// Puts the shelved steps back. Whether there were any.
    pub(crate) fn replay(&mut self, now: UnixMillis) -> bool {
        if self.shelved.is_empty() {
            return false;
        }
        // An answer after the hangup tells Zammad nothing any more.
        if self.shelved.contains(Step::Answer) && self.done.contains(Step::Hangup) {
            self.done = self.done.with(Step::Answer);
            self.discarded = self.discarded.with(Step::Answer);
        }
        self.shelved = StepSet::EMPTY;
        self.renewed = false;
        self.begin_next(now);
        true
    }

    /// Gives the shelved steps up; with the one that opens the lane, all of them. Whether there were any.
    pub(crate) fn discard(&mut self, now: UnixMillis) -> bool {
        if self.shelved.is_empty() {
            return false;
        }
        let mut given_up = self.shelved;
        if given_up.iter().any(Step::opens_lane) {
            given_up = Step::ALL.into_iter().collect::<StepSet>().of(self.channel).minus(self.done);
        }
        self.done = self.done.union(given_up);
        self.discarded = self.discarded.union(given_up);
        self.shelved = StepSet::EMPTY;
        self.begin_next(now);
        true
    }

    /// Takes in what another store knows of this lane: what either has told is told.
    pub(crate) fn merge(&mut self, other: Self, now: UnixMillis) {
        self.done = self.done.union(other.done);
        self.discarded = self.discarded.union(other.discarded);
        self.shelved = self.shelved.union(other.shelved).minus(self.done);
        self.wanted = self.wanted.union(other.wanted);
        self.uncertain |= other.uncertain;
        self.renewed |= other.renewed;
        self.delivered_at = self.delivered_at.max(other.delivered_at);
        self.fault = self.fault.take().or(other.fault);
        self.answer = self.answer.take().or(other.answer);
        self.ticket = self.ticket.or(other.ticket);
        let next = self.next_step();
        self.due = next.map(|_| self.due.into_iter().chain(other.due).max().unwrap_or(now));
    }

    /// Removes what may say who called: Zammad's answer, which can be a number to forward to, and a fault's text.
    pub(crate) fn forget_people(&mut self) {
        self.answer = None;
        self.fault = None;
    }

    pub(crate) fn view(&self) -> LaneView {
        let state = |step| {
            if self.discarded.contains(step) {
                StepState::Discarded
            } else if self.done.contains(step) {
                StepState::Delivered
            } else if self.shelved.contains(step) {
                StepState::Shelved
            } else {
                StepState::Pending
            }
        };
        LaneView {
            channel: self.channel,
            zammad: self.zammad.clone(),
            steps: self.wanted.iter().map(|step| StepView { step, state: state(step) }).collect(),
            due_at: self.due,
            attempts: self.attempts,
            last_fault: self.fault.clone(),
            delivered_at: self.delivered_at,
            answer: self.answer.clone(),
            ticket: self.ticket,
        }
    }
}

/// A channel as the stores write it.
pub(crate) const fn channel_number(channel: Channel) -> i64 {
    match channel {
        Channel::CallerLog => 0,
        Channel::Ticket => 1,
    }
}

/// The channel of such a number.
pub(crate) const fn channel(number: i64) -> Channel {
    if number == 0 { Channel::CallerLog } else { Channel::Ticket }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_FAULT_CHARS).collect()
}
