//! What is known of a call: the merge of all its facts.

use codex_core_sip::metadata::{CallTag, CustomerData};
use serde::{Deserialize, Serialize};

use super::end_cause::EndCause;
use super::fact::{CallFact, CallStatus, Direction, FactSource, MAX_FACT_TEXT_CHARS};
use crate::clock::UnixMillis;

/// How many dialled legs a record keeps; of further ones only the state counts.
pub const MAX_LEGS: usize = 32;

/// How many entries a record's timeline keeps, the first ones; the end is kept apart, in [`CallRecord::end`].
pub const MAX_TIMELINE_ENTRIES: usize = 64;

/// What is known of a call.
///
/// In JSON (and in the store) with the names below in snake_case, times as milliseconds since 1970, absent what is not
/// known.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallRecord {
    /// jambonz' identity of the first leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_sid: Option<String>,
    /// The client's SIP Call-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<String>,
    /// What Zammad knows the call by: the SIP Call-ID if the first fact had one, else the `call_sid`. Set by the first
    /// fact of the call itself (not of a dialled leg), and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zammad_call_id: Option<String>,
    /// Which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Who calls, as jambonz or the reporting program names the party.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The caller's `X-Display-From`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_from: Option<String>,
    /// The caller's `X-Display-To`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_to: Option<String>,
    /// The tag that the caller gave (`X-Call-Tag`). See [`tag`](Self::tag).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_tag: Option<String>,
    /// The application's GUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_sid: Option<String>,
    /// The application's readable name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// jambonz' account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_sid: Option<String>,
    /// jambonz' trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The call's language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Who is calling and why, as the caller claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_data: Option<CustomerData>,
    /// The earliest of its facts.
    pub started_at: UnixMillis,
    /// The latest of its facts.
    pub last_fact_at: UnixMillis,
    /// When the application (or, outbound, the party) answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<UnixMillis>,
    /// When a person answered on a dialled leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_answered_at: Option<UnixMillis>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<CallEnd>,
    /// Whether its people were erased: later facts do not bring them back.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub people_forgotten: bool,
    /// The legs that the application dialled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Leg>,
    /// What happened when, without repeats, in order of arrival.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    /// Where its facts came from, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<FactSource>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub cause: EndCause,
    /// The final status; absent if it never came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CallStatus>,
    /// The SIP status that went with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_status: Option<u16>,
    /// Its reason phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_reason: Option<String>,
    /// Whole seconds from answer to end, as jambonz counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u32>,
    /// Who ended it, `caller` or `callee`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated_by: Option<String>,
}

/// A leg that the application dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// jambonz' identity of the leg.
    pub call_sid: String,
    /// Who was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How far it came.
    pub status: CallStatus,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<UnixMillis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixMillis>,
}

/// One line of a call's course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: UnixMillis,
    /// What was reported; absent for a call_hook without a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CallStatus>,
    /// By whom.
    pub source: FactSource,
    /// The dialled leg it is about; absent for the call itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<String>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Not answered yet.
    Ringing,
    /// Answered.
    Answered,
    /// Over.
    Ended,
}

/// Who answered a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// Nobody.
    Nobody,
    /// The application, and no person after it.
    Voicebot,
    /// A person.
    Person,
}

/// What a fact did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It said something new.
    Changed,
    /// All of it was known.
    Repeat,
}

impl CallRecord {
    /// The record of a call of which this is the first fact.
    #[must_use]
    pub fn begin(fact: &CallFact) -> Self {
        let mut record = Self::empty(fact.at);
        record.apply(fact);
        record
    }

    /// As [`begin`](Self::begin), for a call whose SIP Call-ID another call has already: Zammad is to know it by its
    /// `call_sid`.
    #[must_use]
    pub fn begin_apart(fact: &CallFact) -> Self {
        let mut record = Self::empty(fact.at);
        record.zammad_call_id = present(&fact.call_sid).map(str::to_owned);
        record.apply(fact);
        record
    }

    const fn empty(at: UnixMillis) -> Self {
        Self {
            call_sid: None,
            sip_call_id: None,
            zammad_call_id: None,
            direction: None,
            from: None,
            to: None,
            display_from: None,
            display_to: None,
            given_tag: None,
            application_sid: None,
            application_name: None,
            account_sid: None,
            trace_id: None,
            language: None,
            customer_data: None,
            started_at: at,
            last_fact_at: at,
            answered_at: None,
            person_answered_at: None,
            end: None,
            people_forgotten: false,
            legs: Vec::new(),
            timeline: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Takes a fact in.
    pub fn apply(&mut self, fact: &CallFact) -> Applied {
        if self.knows(fact) {
            return Applied::Repeat;
        }
        self.started_at = self.started_at.min(fact.at);
        self.last_fact_at = self.last_fact_at.max(fact.at);
        if !self.sources.contains(&fact.source) {
            self.sources.push(fact.source);
        }
        if fact.is_of_dialled_leg() {
            self.apply_to_leg(fact);
        } else {
            self.apply_to_call(fact);
        }
        self.note(fact);
        Applied::Changed
    }

    /// Whether nothing in `fact` is new.
    fn knows(&self, fact: &CallFact) -> bool {
        if fact.source == FactSource::Reaper {
            return self.end.is_some();
        }
        let leg = if fact.is_of_dialled_leg() { fact.call_sid.as_deref().map(cut) } else { None };
        let in_timeline = self
            .timeline
            .iter()
            .any(|entry| entry.source == fact.source && entry.status == fact.status && entry.leg.as_deref() == leg);
        let news = |known: &Option<String>, said: &Option<String>| known.is_none() && present(said).is_some();
        in_timeline
            && (leg.is_some()
                || !(news(&self.call_sid, &fact.call_sid)
                    || news(&self.sip_call_id, &fact.sip_call_id)
                    || news(&self.application_sid, &fact.application_sid)
                    || news(&self.application_name, &fact.application_name)
                    || news(&self.given_tag, &fact.tag)
                    || (!self.people_forgotten
                        && (news(&self.display_from, &fact.display_from)
                            || news(&self.display_to, &fact.display_to)
                            || (self.customer_data.is_none() && fact.customer_data.is_some())))))
    }

    fn apply_to_call(&mut self, fact: &CallFact) {
        take(&mut self.call_sid, &fact.call_sid);
        take(&mut self.sip_call_id, &fact.sip_call_id);
        if self.zammad_call_id.is_none() {
            self.zammad_call_id = self.sip_call_id.clone().or_else(|| self.call_sid.clone());
        }
        self.direction = self.direction.or(fact.direction);
        if !self.people_forgotten {
            take(&mut self.from, &fact.from);
            take(&mut self.to, &fact.to);
            take(&mut self.display_from, &fact.display_from);
            take(&mut self.display_to, &fact.display_to);
            if self.customer_data.is_none() {
                self.customer_data.clone_from(&fact.customer_data);
            }
        }
        take(&mut self.given_tag, &fact.tag);
        take(&mut self.application_sid, &fact.application_sid);
        take(&mut self.application_name, &fact.application_name);
        take(&mut self.account_sid, &fact.account_sid);
        take(&mut self.trace_id, &fact.trace_id);
        take(&mut self.language, &fact.language);
        match fact.status {
            Some(CallStatus::InProgress) => set_earliest(&mut self.answered_at, fact.at),
            Some(status) if status.is_final() => self.finish(fact, status),
            _ if fact.source == FactSource::Reaper => {
                self.end.get_or_insert(CallEnd {
                    at: fact.at,
                    cause: EndCause::NeverEnded,
                    status: None,
                    sip_status: None,
                    sip_reason: None,
                    duration_s: None,
                    terminated_by: None,
                });
            }
            _ => {}
        }
    }

    /// The first final status counts; one that the bridge had to assume gives way to it.
    fn finish(&mut self, fact: &CallFact, status: CallStatus) {
        if self.end.as_ref().is_some_and(|end| end.status.is_some()) {
            if let Some(end) = &mut self.end {
                end.duration_s = end.duration_s.or(fact.duration_s);
                take(&mut end.terminated_by, &fact.terminated_by);
            }
            return;
        }
        let direction = self.direction.unwrap_or(Direction::Inbound);
        self.end = Some(CallEnd {
            at: fact.at,
            cause: EndCause::of(status, fact.sip_status, direction),
            status: Some(status),
            sip_status: fact.sip_status,
            sip_reason: present(&fact.sip_reason).map(str::to_owned),
            duration_s: fact.duration_s,
            terminated_by: present(&fact.terminated_by).map(str::to_owned),
        });
        // `completed` comes only after an answer, whose own event may have been lost.
        if status == CallStatus::Completed && self.answered_at.is_none() {
            let talked = core::time::Duration::from_secs(u64::from(fact.duration_s.unwrap_or(0)));
            self.answered_at = Some((fact.at - talked).max(self.started_at));
        }
    }

    fn apply_to_leg(&mut self, fact: &CallFact) {
        // Until the call itself is heard of, this is all that is known of it.
        take(&mut self.call_sid, &fact.parent_call_sid);
        let status = fact.status.unwrap_or(CallStatus::Trying);
        let answered = matches!(status, CallStatus::InProgress | CallStatus::Completed);
        if answered {
            set_earliest(&mut self.person_answered_at, fact.at);
        }
        let Some(call_sid) = present(&fact.call_sid) else { return };
        let index = match self.legs.iter().position(|leg| leg.call_sid == call_sid) {
            Some(index) => index,
            None if self.legs.len() >= MAX_LEGS => return,
            None => {
                self.legs.push(Leg {
                    call_sid: call_sid.to_owned(),
                    to: None,
                    status,
                    answered_at: None,
                    ended_at: None,
                });
                self.legs.len() - 1
            }
        };
        let Some(leg) = self.legs.get_mut(index) else { return };
        if !self.people_forgotten {
            take(&mut leg.to, &fact.to);
        }
        // Statuses are ordered as a call goes; the first of several final ones stays.
        if status > leg.status && !leg.status.is_final() {
            leg.status = status;
        }
        if answered {
            set_earliest(&mut leg.answered_at, fact.at);
        }
        if status.is_final() {
            leg.ended_at.get_or_insert(fact.at);
        }
    }

    fn note(&mut self, fact: &CallFact) {
        let leg = if fact.is_of_dialled_leg() { present(&fact.call_sid).map(str::to_owned) } else { None };
        let entry = TimelineEntry { at: fact.at, status: fact.status, source: fact.source, leg };
        let known = self
            .timeline
            .iter()
            .any(|known| known.source == entry.source && known.status == entry.status && known.leg == entry.leg);
        if !known && self.timeline.len() < MAX_TIMELINE_ENTRIES {
            self.timeline.push(entry);
        }
    }

    /// Takes in another record that turned out to be of the same call: `other` is the one of which less is known.
    pub fn absorb(&mut self, other: Self) {
        self.started_at = self.started_at.min(other.started_at);
        self.last_fact_at = self.last_fact_at.max(other.last_fact_at);
        for (mine, theirs) in [
            (&mut self.call_sid, other.call_sid),
            (&mut self.sip_call_id, other.sip_call_id),
            (&mut self.zammad_call_id, other.zammad_call_id),
            (&mut self.from, other.from),
            (&mut self.to, other.to),
            (&mut self.display_from, other.display_from),
            (&mut self.display_to, other.display_to),
            (&mut self.given_tag, other.given_tag),
            (&mut self.application_sid, other.application_sid),
            (&mut self.application_name, other.application_name),
            (&mut self.account_sid, other.account_sid),
            (&mut self.trace_id, other.trace_id),
            (&mut self.language, other.language),
        ] {
            if mine.is_none() {
                *mine = theirs;
            }
        }
        self.direction = self.direction.or(other.direction);
        self.customer_data = self.customer_data.take().or(other.customer_data);
        if let Some(at) = other.answered_at {
            set_earliest(&mut self.answered_at, at);
        }
        if let Some(at) = other.person_answered_at {
            set_earliest(&mut self.person_answered_at, at);
        }
        if self.end.as_ref().is_none_or(|end| end.status.is_none()) && other.end.is_some() {
            self.end = other.end;
        }
        for leg in other.legs {
            if self.legs.len() < MAX_LEGS && !self.legs.iter().any(|known| known.call_sid == leg.call_sid) {
                self.legs.push(leg);
            }
        }
        for entry in other.timeline {
            let known = |known: &TimelineEntry| {
                known.source == entry.source && known.status == entry.status && known.leg == entry.leg
            };
            if self.timeline.len() < MAX_TIMELINE_ENTRIES && !self.timeline.iter().any(known) {
                self.timeline.push(entry);
            }
        }
        for source in other.sources {
            if !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
        // Whoever was to be forgotten stays so, whichever of the two records it was asked of.
        if self.people_forgotten || other.people_forgotten {
            self.forget_people();
        }
    }

    /// Whether a fact of the call itself is known, or the call was given up waiting for one. Before that there is
    /// nothing to show: only legs that it dialled.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.zammad_call_id.is_some()
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> CallState {
        if self.end.is_some() {
            CallState::Ended
        } else if self.is_answered() {
            CallState::Answered
        } else {
            CallState::Ringing
        }
    }

    /// Whether anybody, person or application, answered.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.answered_at.is_some() || self.person_answered_at.is_some()
    }

    /// Who answered. A call that we placed is answered by a person.
    #[must_use]
    pub fn answered_by(&self) -> AnsweredBy {
        if self.person_answered_at.is_some()
            || (self.direction == Some(Direction::Outbound) && self.answered_at.is_some())
        {
            AnsweredBy::Person
        } else if self.answered_at.is_some() {
            AnsweredBy::Voicebot
        } else {
            AnsweredBy::Nobody
        }
    }

    /// Whether nobody answered, or persons were dialled and none took it.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        match self.answered_by() {
            AnsweredBy::Nobody => true,
            AnsweredBy::Voicebot => !self.legs.is_empty(),
            AnsweredBy::Person => false,
        }
    }

    /// The tag: as the caller gave it, else the beginning of the SIP Call-ID, else that of the `call_sid`.
    #[must_use]
    pub fn tag(&self) -> CallTag {
        let source =
            [&self.given_tag, &self.sip_call_id, &self.call_sid, &self.zammad_call_id].into_iter().flatten().next();
        CallTag::from_call_id(source.map_or("", String::as_str))
    }

    /// Removes everything that says who called: customer data, parties, display names, numbers of dialled legs. States,
    /// times and identities of the call stay.
    pub fn forget_people(&mut self) {
        self.customer_data = None;
        self.from = None;
        self.to = None;
        self.display_from = None;
        self.display_to = None;
        for leg in &mut self.legs {
            leg.to = None;
        }
        self.people_forgotten = true;
    }
}

impl core::fmt::Debug for CallRecord {
    /// Identities and states; nothing of who calls.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CallRecord")
            .field("call_sid", &self.call_sid)
            .field("sip_call_id", &self.sip_call_id)
            .field("zammad_call_id", &self.zammad_call_id)
            .field("state", &self.state())
            .field("answered_by", &self.answered_by())
            .field("end", &self.end)
            .field("legs", &self.legs.len())
            .finish_non_exhaustive()
    }
}

fn set_earliest(time: &mut Option<UnixMillis>, at: UnixMillis) {
    *time = Some(time.map_or(at, |known| known.min(at)));
}

/// A text that says something, cut to [`MAX_FACT_TEXT_CHARS`].
fn present(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty()).map(cut)
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_FACT_TEXT_CHARS).map_or(text, |(end, _)| &text[..end])
}

fn take(known: &mut Option<String>, said: &Option<String>) {
    if known.is_none() {
        *known = present(said).map(str::to_owned);
    }
}
