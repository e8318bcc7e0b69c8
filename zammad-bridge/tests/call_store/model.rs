//! The call book and the outbox as plain values: every rule of `CallStore` in the simplest way that can be right, without
//! files, batches or keys. What a single record makes of its facts is the call book's own, which has its own tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use codex_zammad_bridge::call_book::{
    Applied, CallAlias, CallFact, CallRecord, Channel, FactSource, Step, StepSet, TicketMode, wanted_steps,
};
use codex_zammad_bridge::clock::UnixMillis;
use codex_zammad_bridge::store::{
    Committed, DueDelivery, Forgotten, LaneView, Outcome, RecordId, Routes, Shelf, StepState, StepView, StoredCall,
    Swept, TicketId, ZammadName,
};

type Steps = BTreeSet<Step>;

#[derive(Debug, Clone)]
struct ModelLane {
    zammad: ZammadName,
    wanted: Steps,
    told: Steps,
    given_up: Steps,
    shelved: Steps,
    due: Option<UnixMillis>,
    since: UnixMillis,
    attempts: u32,
    uncertain: bool,
    renewed: bool,
    fault: Option<String>,
    delivered_at: Option<UnixMillis>,
    answer: Option<String>,
    ticket: Option<TicketId>,
    /// Whose it is, and until when.
    lease: Option<(i64, UnixMillis)>,
}

impl ModelLane {
    fn new(zammad: ZammadName) -> Self {
        Self {
            zammad,
            wanted: Steps::new(),
            told: Steps::new(),
            given_up: Steps::new(),
            shelved: Steps::new(),
            due: None,
            since: UnixMillis::ZERO,
            attempts: 0,
            uncertain: false,
            renewed: false,
            fault: None,
            delivered_at: None,
            answer: None,
            ticket: None,
            lease: None,
        }
    }

    fn next(&self) -> Option<Step> {
        if self.shelved.contains(&Step::NewCall) || self.shelved.contains(&Step::OpenTicket) {
            return None;
        }
        let left = |step: &&Step| !self.is_over(**step) && !self.shelved.contains(step);
        self.wanted.iter().find(left).copied()
    }

    fn is_over(&self, step: Step) -> bool {
        self.told.contains(&step) || self.given_up.contains(&step)
    }

    /// The next step begins, at the end of the queue or at the place that the lane had.
    fn turn_to_next(&mut self, since: UnixMillis) {
        (self.attempts, self.uncertain, self.since) = (0, false, since);
        self.due = self.next().map(|_| since);
    }

    fn is_told(&self, now: UnixMillis) -> bool {
        let leased = self.lease.is_some_and(|(_, until)| until > now);
        leased || self.attempts > 0 || !self.told.is_empty() || !self.given_up.is_empty()
    }

    fn view(&self, channel: Channel) -> LaneView {
        let state = |step: &Step| {
            if self.given_up.contains(step) {
                StepState::Discarded
            } else if self.told.contains(step) {
                StepState::Delivered
            } else if self.shelved.contains(step) {
                StepState::Shelved
            } else {
                StepState::Pending
            }
        };
        LaneView {
            channel,
            zammad: self.zammad.clone(),
            steps: self.wanted.iter().map(|step| StepView { step: *step, state: state(step) }).collect(),
            due_at: self.due,
            attempts: self.attempts,
            last_fault: self.fault.clone(),
            delivered_at: self.delivered_at,
            answer: self.answer.clone(),
            ticket: self.ticket,
        }
    }
}

#[derive(Debug, Clone)]
struct ModelCall {
    record: CallRecord,
    lanes: BTreeMap<Channel, ModelLane>,
}

impl ModelCall {
    fn is_told(&self, now: UnixMillis) -> bool {
        self.lanes.values().any(|lane| lane.is_told(now))
    }
}

/// What a step that is due looks like to who delivers it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelDue {
    record: RecordId,
    step: Step,
    pending: StepSet,
    done: StepSet,
    tries: (u32, bool, bool),
    since: UnixMillis,
    ticket: Option<TicketId>,
    call: CallRecord,
}

impl From<&DueDelivery> for ModelDue {
    fn from(due: &DueDelivery) -> Self {
        Self {
            record: due.lease.record,
            step: due.step,
            pending: due.pending,
            done: due.done,
            tries: (due.attempts, due.uncertain, due.renewed),
            since: due.wanted_since,
            ticket: due.ticket,
            call: (*due.record).clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    routes: Routes,
    tickets: TicketMode,
    given: i64,
    calls: BTreeMap<RecordId, ModelCall>,
    names: HashMap<CallAlias, RecordId>,
}

impl Model {
    pub(crate) fn new(routes: Routes, tickets: TicketMode) -> Self {
        Self { routes, tickets, given: 0, calls: BTreeMap::new(), names: HashMap::new() }
    }

    pub(crate) fn calls(&self) -> Vec<StoredCall> {
        let stored = |(id, call): (&RecordId, &ModelCall)| StoredCall {
            id: *id,
            record: call.record.clone(),
            lanes: call.lanes.iter().map(|(channel, lane)| lane.view(*channel)).collect(),
        };
        self.calls.iter().map(stored).rev().collect()
    }

    pub(crate) fn lanes_with(&self, wanted: impl Fn(&LaneView) -> bool) -> u64 {
        self.calls().iter().flat_map(|call| &call.lanes).filter(|lane| wanted(lane)).count() as u64
    }

    // ---- Facts ----

    pub(crate) fn commit(&mut self, fact: &CallFact, now: UnixMillis) -> Committed {
        let known = self.call_of(fact, now);
        let id = known.unwrap_or(RecordId(self.given + 1));
        let mut repeat = false;
        match known {
            Some(id) => repeat = self.apply(id, fact, now),
            None => self.begin(id, fact, now),
        }
        for name in fact.aliases() {
            self.names.entry(name).or_insert(id);
        }
        Committed { record: id, repeat, new_record: known.is_none() }
    }

    /// Which call a fact is of. Two that turn out to be one become one.
    fn call_of(&mut self, fact: &CallFact, now: UnixMillis) -> Option<RecordId> {
        let named = |name: Option<CallAlias>| name.and_then(|name| self.names.get(&name).copied());
        let by_sid = named(fact.call_sid.clone().map(CallAlias::CallSid));
        if fact.parent_call_sid.is_some() {
            // A dialled leg is of its parent's call, whatever it is called itself.
            return named(fact.parent_call_sid.clone().map(CallAlias::CallSid)).or(by_sid);
        }
        let by_call_id = named(fact.sip_call_id.clone().map(CallAlias::SipCallId)).filter(|id| {
            // A Call-ID can be made up: jambonz' own identity decides, where there are two.
            let other = &self.calls[id].record.call_sid;
            by_sid == Some(*id) || fact.call_sid.is_none() || other.is_none() || *other == fact.call_sid
        });
        let (Some(sid), Some(call_id)) = (by_sid, by_call_id) else { return by_sid.or(by_call_id) };
        if sid == call_id {
            return Some(sid);
        }
        let visible = |id: RecordId| self.calls[&id].record.is_visible();
        let told = |id: RecordId| self.calls[&id].is_told(now);
        let (keep, drop) = match (told(sid), told(call_id)) {
            // Zammad knows two calls, and two they stay.
            (true, true) => return Some(sid),
            (false, true) => (call_id, sid),
            (true, false) => (sid, call_id),
            // Zammad knows neither: the one that says something stays, of two that do the client's.
            (false, false) if visible(call_id) || !visible(sid) => (call_id, sid),
            (false, false) => (sid, call_id),
        };
        self.join(keep, drop, now);
        Some(keep)
    }

    fn join(&mut self, keep: RecordId, drop: RecordId, now: UnixMillis) {
        let dropped = self.calls.remove(&drop).unwrap().record;
        let own = names_of(&dropped);
        self.names.retain(|name, id| *id != drop || own.contains(name));
        self.names.values_mut().filter(|id| **id == drop).for_each(|id| *id = keep);
        self.calls.get_mut(&keep).unwrap().record.absorb(dropped);
        self.want(keep, now);
    }

    fn begin(&mut self, id: RecordId, fact: &CallFact, now: UnixMillis) {
        self.given = id.0;
        let call_id = fact.sip_call_id.clone().filter(|_| fact.parent_call_sid.is_none()).map(CallAlias::SipCallId);
        let is_taken = call_id.is_some_and(|call_id| self.names.contains_key(&call_id));
        let record = if is_taken { CallRecord::begin_apart(fact) } else { CallRecord::begin(fact) };
        self.calls.insert(id, ModelCall { record, lanes: BTreeMap::new() });
        self.want(id, now);
    }

    /// Whether nothing in it was new.
    fn apply(&mut self, id: RecordId, fact: &CallFact, now: UnixMillis) -> bool {
        let repeat = self.calls.get_mut(&id).unwrap().record.apply(fact) == Applied::Repeat;
        if !repeat {
            self.want(id, now);
        }
        repeat
    }

    /// What Zammad should know of a call is wanted on its lanes.
    fn want(&mut self, id: RecordId, now: UnixMillis) {
        let call = self.calls.get_mut(&id).unwrap();
        if !call.record.is_visible() {
            return;
        }
        let before = call.lanes.values().flat_map(|lane| lane.wanted.iter().copied()).collect();
        let wanted = wanted_steps(&call.record, self.tickets, before);
        let zammad = match call.lanes.values().next() {
            Some(lane) => lane.zammad.clone(),
            None => self.routes.of(&call.record).unwrap().zammad.clone(),
        };
        for step in wanted.iter() {
            call.lanes.entry(step.channel()).or_insert_with(|| ModelLane::new(zammad.clone()));
        }
        for (channel, lane) in &mut call.lanes {
            let wanted: Steps = wanted.of(*channel).iter().collect();
            let idle = lane.next().is_none();
            if lane.wanted != wanted {
                lane.wanted = wanted;
                if idle {
                    lane.turn_to_next(now);
                }
            }
        }
    }

    // ---- Deliveries ----

    pub(crate) fn due(&self, zammad: &str, channel: Channel, limit: usize, now: UnixMillis) -> Vec<ModelDue> {
        let mut due: Vec<(UnixMillis, RecordId)> = Vec::new();
        for (id, call) in &self.calls {
            let Some(lane) = call.lanes.get(&channel).filter(|lane| &*lane.zammad == zammad) else { continue };
            let leased = lane.lease.is_some_and(|(_, until)| until > now);
            due.extend(lane.due.filter(|due| *due <= now && !leased).map(|due| (due, *id)));
        }
        due.sort_unstable();
        due.truncate(limit);
        due.into_iter().map(|(_, id)| self.due_of(id, channel)).collect()
    }

    fn due_of(&self, id: RecordId, channel: Channel) -> ModelDue {
        let call = &self.calls[&id];
        let lane = &call.lanes[&channel];
        let over: StepSet = lane.told.union(&lane.given_up).copied().collect();
        let pending = lane.wanted.iter().filter(|step| !lane.is_over(**step) && !lane.shelved.contains(step));
        ModelDue {
            record: id,
            step: lane.next().unwrap(),
            pending: pending.copied().collect(),
            done: over,
            tries: (lane.attempts, lane.uncertain, lane.renewed),
            since: lane.since,
            ticket: lane.ticket,
            call: call.record.clone(),
        }
    }

    pub(crate) fn lease(&mut self, due: &DueDelivery) {
        let call = self.calls.get_mut(&due.lease.record).unwrap();
        call.lanes.get_mut(&due.lease.channel).unwrap().lease = Some((due.lease.token, due.lease.until));
    }

    /// The process ended: its leases are nobody's.
    pub(crate) fn release_all(&mut self) {
        self.calls.values_mut().flat_map(|call| call.lanes.values_mut()).for_each(|lane| lane.lease = None);
    }

    pub(crate) fn report(&mut self, due: &DueDelivery, at: UnixMillis, outcome: &Outcome) -> bool {
        let (id, channel) = (due.lease.record, due.lease.channel);
        let Some(lane) = self.calls.get_mut(&id).and_then(|call| call.lanes.get_mut(&channel)) else { return false };
        if lane.lease.is_none_or(|(token, _)| token != due.lease.token) {
            return false;
        }
        lane.lease = None;
        let since = lane.since;
        match outcome {
            Outcome::Delivered { also, answer, ticket } => {
                lane.told.insert(due.step);
                lane.told.extend(also.of(channel).iter());
                lane.shelved = &lane.shelved - &lane.told;
                lane.delivered_at = Some(at);
                lane.answer = answer.clone().or(lane.answer.take());
                lane.ticket = lane.ticket.or(*ticket);
                lane.turn_to_next(since);
                if let Some(ticket) = lane.ticket {
                    let zammad = lane.zammad.clone();
                    self.take_ticket_from_others(id, channel, &zammad, ticket);
                }
            }
            Outcome::Retry { at, fault, counts, uncertain, renewed } => {
                lane.attempts += u32::from(*counts);
                lane.uncertain |= uncertain;
                lane.renewed |= renewed;
                lane.fault = Some(fault.clone());
                lane.due = Some(*at);
            }
            Outcome::Shelved { fault } => {
                lane.shelved.insert(due.step);
                lane.fault = Some(fault.clone());
                lane.turn_to_next(since);
            }
            Outcome::Released => {}
        }
        true
    }

    fn take_ticket_from_others(&mut self, id: RecordId, channel: Channel, zammad: &str, ticket: TicketId) {
        for (other, call) in &mut self.calls {
            for (own, lane) in &mut call.lanes {
                if (*other, *own) != (id, channel) && &*lane.zammad == zammad && lane.ticket == Some(ticket) {
                    lane.ticket = None;
                }
            }
        }
    }

    // ---- Chores ----

    fn shelf(&mut self, shelf: Shelf) -> impl Iterator<Item = &mut ModelLane> {
        let lanes = self.calls.iter_mut().flat_map(|(id, call)| {
            let id = *id;
            call.lanes.iter_mut().map(move |(channel, lane)| ((id, *channel), lane))
        });
        let meant = move |id: RecordId, channel: Channel| match shelf {
            Shelf::All => true,
            Shelf::Record(record) => record == id,
            Shelf::Lane(record, own) => record == id && own == channel,
        };
        lanes
            .filter(move |((id, channel), _)| meant(*id, *channel))
            .map(|(_, lane)| lane)
            .filter(|lane| !lane.shelved.is_empty())
    }

    pub(crate) fn replay(&mut self, shelf: Shelf, now: UnixMillis) -> u64 {
        let mut replayed = 0;
        for lane in self.shelf(shelf) {
            // An answer after the hangup would say nothing any more.
            if lane.shelved.contains(&Step::Answer) && lane.is_over(Step::Hangup) {
                lane.given_up.insert(Step::Answer);
            }
            lane.shelved.clear();
            lane.renewed = false;
            lane.turn_to_next(now);
            replayed += 1;
        }
        replayed
    }

    pub(crate) fn discard(&mut self, shelf: Shelf, now: UnixMillis) -> u64 {
        let mut discarded = 0;
        for lane in self.shelf(shelf) {
            let mut given_up = std::mem::take(&mut lane.shelved);
            for first in [Step::NewCall, Step::OpenTicket] {
                if given_up.contains(&first) {
                    // Without it nothing of the lane can be told, now or later.
                    let all = Step::ALL.into_iter().filter(|step| step.channel() == first.channel());
                    given_up.extend(all.filter(|step| !lane.is_over(*step)));
                }
            }
            lane.given_up.extend(given_up);
            lane.turn_to_next(now);
            discarded += 1;
        }
        discarded
    }

    pub(crate) fn reap(&mut self, silent_since: UnixMillis, now: UnixMillis) -> u64 {
        let silent =
            |(_, call): &(&RecordId, &ModelCall)| call.record.end.is_none() && call.record.last_fact_at < silent_since;
        let ids: Vec<RecordId> = self.calls.iter().filter(silent).map(|(id, _)| *id).collect();
        for id in &ids {
            self.apply(*id, &CallFact::new(FactSource::Reaper, now), now);
        }
        ids.len() as u64
    }

    pub(crate) fn sweep(&mut self, ended_before: UnixMillis) -> Swept {
        let mut swept = Swept::default();
        self.calls.retain(|_, call| {
            let old = call.record.end.as_ref().is_some_and(|end| end.at < ended_before);
            let over = old && call.lanes.values().all(|lane| lane.due.is_none());
            if over {
                swept.records += 1;
                swept.dead_letters += call.lanes.values().filter(|lane| !lane.shelved.is_empty()).count() as u64;
            }
            !over
        });
        let calls = &self.calls;
        self.names.retain(|_, id| calls.contains_key(id));
        swept
    }

    pub(crate) fn forget(&mut self, client_id: &str) -> Forgotten {
        let mut forgotten = Forgotten::default();
        for call in self.calls.values_mut() {
            let client = call.record.customer_data.as_ref().and_then(|data| data.client_id.as_deref());
            if client != Some(client_id) {
                continue;
            }
            call.record.forget_people();
            forgotten.calls += 1;
            for lane in call.lanes.values_mut() {
                (lane.answer, lane.fault) = (None, None);
            }
            let lane = call.lanes.get(&Channel::Ticket);
            forgotten.tickets.extend(lane.and_then(|lane| Some((lane.zammad.clone(), lane.ticket?))));
        }
        forgotten
    }
}

/// The names that a record knows itself.
fn names_of(record: &CallRecord) -> Vec<CallAlias> {
    let sids = record.call_sid.iter().chain(record.legs.iter().map(|leg| &leg.call_sid));
    let call_id = record.sip_call_id.iter().map(|id| CallAlias::SipCallId(id.clone()));
    sids.map(|sid| CallAlias::CallSid(sid.clone())).chain(call_id).collect()
}
