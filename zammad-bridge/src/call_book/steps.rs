//! The steps in which Zammad learns of a call.

use serde::{Deserialize, Serialize};

use super::call_record::CallRecord;

/// One of the two ways to Zammad. Each call has at most one lane on each, and a lane's steps go strictly in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The caller log, by the CTI endpoint.
    CallerLog,
    /// A ticket, by the REST API.
    Ticket,
}

impl Channel {
    /// Its name in JSON, logs and metrics: `caller_log` or `ticket`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallerLog => "caller_log",
            Self::Ticket => "ticket",
        }
    }
}

/// One thing that Zammad is to be told, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `newCall`.
    NewCall,
    /// `answer`.
    Answer,
    /// `hangup`.
    Hangup,
    /// The ticket with the record.
    OpenTicket,
    /// A note: the application answered.
    NoteAnswered,
    /// A note: a person took the call.
    NoteTaken,
    /// A note: the call ended.
    NoteEnded,
}

impl Step {
    /// Every step, in the order of its channel.
    pub const ALL: [Self; 7] = [
        Self::NewCall,
        Self::Answer,
        Self::Hangup,
        Self::OpenTicket,
        Self::NoteAnswered,
        Self::NoteTaken,
        Self::NoteEnded,
    ];

    /// The channel that it goes by.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::NewCall | Self::Answer | Self::Hangup => Channel::CallerLog,
            Self::OpenTicket | Self::NoteAnswered | Self::NoteTaken | Self::NoteEnded => Channel::Ticket,
        }
    }

    /// Its name in JSON, logs and metrics, such as `new_call`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewCall => "new_call",
            Self::Answer => "answer",
            Self::Hangup => "hangup",
            Self::OpenTicket => "open_ticket",
            Self::NoteAnswered => "note_answered",
            Self::NoteTaken => "note_taken",
            Self::NoteEnded => "note_ended",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether nothing else of its lane can be delivered without it.
    #[must_use]
    pub const fn opens_lane(self) -> bool {
        matches!(self, Self::NewCall | Self::OpenTicket)
    }
}

/// A set of steps. In the store a number of 7 bits, one for each of [`Step::ALL`] in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StepSet(u8);

impl StepSet {
    /// No step.
    pub const EMPTY: Self = Self(0);

    /// The set of these bits; bits that mean nothing are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x7f)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `step` is in it.
    #[must_use]
    pub const fn contains(self, step: Step) -> bool {
        self.0 & step.bit() != 0
    }

    /// The set with `step`.
    #[must_use]
    pub const fn with(self, step: Step) -> Self {
        Self(self.0 | step.bit())
    }

    /// The set without `step`.
    #[must_use]
    pub const fn without(self, step: Step) -> Self {
        Self(self.0 & !step.bit())
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no step in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The steps of `channel` in it.
    #[must_use]
    pub const fn of(self, channel: Channel) -> Self {
        match channel {
            Channel::CallerLog => Self(self.0 & 0b000_0111),
            Channel::Ticket => Self(self.0 & 0b111_1000),
        }
    }

    /// The steps, in order.
    pub fn iter(self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(move |step| self.contains(*step))
    }

    /// The step that is next on a lane: the first of `self`, the wanted ones, that is neither `done` nor `shelved`.
    /// Behind a shelved step that opens the lane everything waits.
    #[must_use]
    pub fn next(self, done: Self, shelved: Self) -> Option<Step> {
        if shelved.iter().any(Step::opens_lane) {
            return None;
        }
        self.minus(done).minus(shelved).iter().next()
    }
}

impl FromIterator<Step> for StepSet {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        steps.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// For which calls a ticket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum TicketMode {
    /// None.
    #[default]
    Off,
    /// Calls that no person and no voicebot answered, and calls for which a person was dialled and none took it.
    Missed,
    /// Every call.
    All,
}

/// What Zammad should have been told of `record`, given what was wanted before. Steps once wanted stay wanted.
#[must_use]
pub fn wanted_steps(record: &CallRecord, tickets: TicketMode, before: StepSet) -> StepSet {
    let mut wanted = before;
    if !record.is_visible() {
        return wanted;
    }
    // An answer that is heard of after the hang-up was wanted comes too late: Zammad would ignore it.
    if record.is_answered() && !wanted.contains(Step::Hangup) {
        wanted = wanted.with(Step::Answer);
    }
    wanted = wanted.with(Step::NewCall);
    if record.end.is_some() {
        wanted = wanted.with(Step::Hangup);
    }
    let ticket = match tickets {
        TicketMode::Off => false,
        TicketMode::Missed => record.end.is_some() && record.is_missed(),
        TicketMode::All => true,
    };
    if !ticket && !wanted.contains(Step::OpenTicket) {
        return wanted;
    }
    wanted = wanted.with(Step::OpenTicket);
    // Notes for what the ticket's own text tells already are not written: delivery sees to that.
    if before.contains(Step::NoteEnded) {
        return wanted;
    }
    if record.is_answered() {
        wanted = wanted.with(Step::NoteAnswered);
    }
    if record.person_answered_at.is_some() {
        wanted = wanted.with(Step::NoteTaken);
    }
    if record.end.is_some() {
        wanted = wanted.with(Step::NoteEnded);
    }
    wanted
}
