//! Facts and reports that are written together: what they need of the store, and what they make of it. No I/O, so that
//! every adapter does the same.

use std::collections::{HashMap, HashSet};

use super::alias::AliasKey;
use super::lane::Lane;
use super::{ChangeKind, Committed, DeliveryReport, RecordId, Routes, StoreChange};
use crate::call_book::{Applied, CallFact, CallRecord, Channel, StepSet, TicketMode, wanted_steps};
use crate::clock::UnixMillis;

/// A record and its lanes, as loaded or changed.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Absent if only the lanes were loaded, for a report.
    pub(crate) record: Option<CallRecord>,
    pub(crate) lanes: Vec<Lane>,
    /// Whether a step of it may be under way to Zammad.
    pub(crate) under_way: bool,
    pub(crate) record_changed: bool,
    pub(crate) lanes_changed: Vec<Channel>,
}

impl Page {
    fn lane_changed(&mut self, channel: Channel) {
        if !self.lanes_changed.contains(&channel) {
            self.lanes_changed.push(channel);
        }
    }

    const fn loaded(record: Option<CallRecord>) -> Self {
        Self { record, lanes: Vec::new(), under_way: false, record_changed: false, lanes_changed: Vec::new() }
    }
}

/// The working set of one transaction: load what [`aliases_of`](Self::aliases_of) names, apply, write what changed.
pub(crate) struct Batch<'a> {
    now: UnixMillis,
    routes: &'a Routes,
    /// The identities of new records.
    ids: Box<dyn Iterator<Item = i64> + Send>,
    begun: i64,
    pages: HashMap<RecordId, Page>,
    aliases: HashMap<AliasKey, RecordId>,
    new_aliases: HashMap<AliasKey, RecordId>,
    moved_aliases: Vec<MovedAlias>,
    gone: Vec<RecordId>,
    changes: Vec<StoreChange>,
    due: bool,
}

/// A name of a record that goes into another. It may lead to a third one, which had it before: then it stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MovedAlias {
    pub(crate) alias: AliasKey,
    pub(crate) from: RecordId,
    pub(crate) to: RecordId,
}

impl<'a> Batch<'a> {
    /// A batch whose new records get these identities: as many as there are facts, or more.
    pub(crate) fn new(now: UnixMillis, routes: &'a Routes, ids: impl Iterator<Item = i64> + Send + 'static) -> Self {
        Self {
            now,
            routes,
            ids: Box::new(ids),
            begun: 0,
            pages: HashMap::new(),
            aliases: HashMap::new(),
            new_aliases: HashMap::new(),
            moved_aliases: Vec::new(),
            gone: Vec::new(),
            changes: Vec::new(),
            due: false,
        }
    }

    /// The names to look up before `fact` can be applied.
    pub(crate) fn aliases_of(fact: &CallFact) -> impl Iterator<Item = AliasKey> {
        fact.aliases().into_iter().map(|alias| AliasKey::of(&alias))
    }

    /// A name that was looked up and found.
    pub(crate) fn found_alias(&mut self, alias: AliasKey, record: RecordId) {
        self.aliases.insert(alias, record);
    }

    /// The records that were found by name and are to be loaded.
    pub(crate) fn found_records(&self) -> HashSet<RecordId> {
        self.aliases.values().copied().collect()
    }

    /// A record that was loaded.
    pub(crate) fn loaded_record(&mut self, id: RecordId, record: CallRecord) {
        self.pages.entry(id).or_insert_with(|| Page::loaded(None)).record = Some(record);
    }

    /// A lane that was loaded, and whether somebody has it on lease.
    pub(crate) fn loaded_lane(&mut self, lane: Lane, leased: bool) {
        let page = self.pages.entry(lane.record).or_insert_with(|| Page::loaded(None));
        page.under_way |= leased;
        page.lanes.push(lane);
    }

    /// Takes a fact in.
    pub(crate) fn commit(&mut self, fact: &CallFact) -> Committed {
        let (id, new_record) = match self.record_of(fact) {
            Some(id) => (id, false),
            None => (self.begin(fact), true),
        };
        self.add_aliases(fact, id);
        let repeat = !new_record && !self.apply(id, fact);
        Committed { record: id, repeat, new_record }
    }

    /// Takes a record in that another store has kept, with its lanes. One of the same call takes it up: facts of a call
    /// may have gone to both.
    pub(crate) fn take_in(&mut self, record: CallRecord, lanes: Vec<Lane>) {
        let names: Vec<AliasKey> = AliasKey::names_of(&record).collect();
        let is_other = |known: &CallRecord| {
            known.call_sid.is_some() && record.call_sid.is_some() && known.call_sid != record.call_sid
        };
        let known = names.iter().find_map(|name| self.by_alias(*name));
        let known = known.filter(|id| !self.record(*id).is_some_and(is_other));
        let id = known.unwrap_or_else(|| self.new_id());
        let page = self.pages.entry(id).or_insert_with(|| Page::loaded(None));
        page.record_changed = true;
        page.lanes_changed = vec![Channel::CallerLog, Channel::Ticket];
        // What Zammad knows a call by is what it was told first.
        let told = lanes.iter().any(|lane| !lane.done.is_empty());
        let (mut base, rest) = match page.record.take() {
            Some(own) if told => (record, Some(own)),
            Some(own) => (own, Some(record)),
            None => (record, None),
        };
        if let Some(rest) = rest {
            base.absorb(rest);
        }
        let given_tag = AliasKey::of_given_tag(id, &base);
        page.record = Some(base);
        for mut lane in lanes {
            lane.record = id;
            match page.lanes.iter_mut().find(|own| own.channel == lane.channel) {
                Some(own) => own.merge(lane, self.now),
                None => page.lanes.push(lane),
            }
        }
        for name in names {
            if self.by_alias(name).is_none() {
                self.new_aliases.insert(name, id);
            }
        }
        self.new_aliases.extend(given_tag.map(|name| (name, id)));
        self.changes.push(StoreChange { record: id, kind: ChangeKind::Begun });
        self.due = true;
        self.plan(id);
    }

    fn new_id(&mut self) -> RecordId {
        self.begun += 1;
        RecordId(self.ids.next().expect("as many identities as facts"))
    }

    /// Closes a call whose end never came. Whether it was open.
    pub(crate) fn reap(&mut self, id: RecordId) -> bool {
        let fact = CallFact::new(crate::call_book::FactSource::Reaper, self.now);
        self.pages.contains_key(&id) && self.apply(id, &fact)
    }

    /// Notes what came of a delivery.
    pub(crate) fn report(&mut self, report: &DeliveryReport) -> bool {
        let Some(page) = self.pages.get_mut(&report.lease.record) else { return false };
        let Some(lane) = page.lanes.iter_mut().find(|lane| lane.channel == report.lease.channel) else { return false };
        lane.report(report);
        self.due |= lane.due.is_some();
        page.lane_changed(report.lease.channel);
        self.changes.push(StoreChange { record: report.lease.record, kind: ChangeKind::Delivery });
        true
    }

    /// The record that a fact belongs to.
    fn record_of(&mut self, fact: &CallFact) -> Option<RecordId> {
        let by_sid = fact.call_sid.as_deref().and_then(|sid| self.by_alias(AliasKey::call_sid(sid)));
        if fact.is_of_dialled_leg() {
            let parent = fact.parent_call_sid.as_deref().and_then(|sid| self.by_alias(AliasKey::call_sid(sid)));
            return parent.or(by_sid);
        }
        let by_call_id = fact.sip_call_id.as_deref().and_then(|id| self.by_alias(AliasKey::sip_call_id(id)));
        // Call-IDs are the caller's choice: one that is taken by another leg of jambonz' does not make it the same call.
        let by_call_id = by_call_id.filter(|id| {
            let known = self.record(*id).and_then(|record| record.call_sid.as_deref());
            by_sid == Some(*id) || known.is_none() || fact.call_sid.is_none() || known == fact.call_sid.as_deref()
        });
        match (by_sid, by_call_id) {
            (Some(sid), Some(call_id)) if sid != call_id => Some(self.join(sid, call_id)),
            (sid, call_id) => sid.or(call_id),
        }
    }

    fn by_alias(&self, alias: AliasKey) -> Option<RecordId> {
        let id = self.new_aliases.get(&alias).or_else(|| self.aliases.get(&alias)).copied()?;
        self.record(id).map(|_| id)
    }

    fn record(&self, id: RecordId) -> Option<&CallRecord> {
        self.pages.get(&id)?.record.as_ref()
    }

    /// Two records turn out to be of one call. The one of which Zammad knows nothing yet goes into the other; if Zammad
    /// knows both, or is just being told of both, both stay. What remains is where the fact belongs.
    fn join(&mut self, by_sid: RecordId, by_call_id: RecordId) -> RecordId {
        let told = |batch: &Self, id: RecordId| {
            batch.pages.get(&id).is_none_or(|page| {
                page.under_way || page.lanes.iter().any(|lane| !lane.done.is_empty() || lane.attempts > 0)
            })
        };
        let visible = |batch: &Self, id: RecordId| batch.record(id).is_some_and(CallRecord::is_visible);
        let (keep, drop) = if !told(self, by_sid) && (!visible(self, by_sid) || visible(self, by_call_id)) {
            (by_call_id, by_sid)
        } else if !told(self, by_call_id) {
            (by_sid, by_call_id)
        } else {
            return by_sid;
        };
        let Some(dropped) = self.pages.remove(&drop).and_then(|page| page.record) else { return keep };
        for alias in AliasKey::all_of(drop, &dropped) {
            for known in [self.aliases.get_mut(&alias), self.new_aliases.get_mut(&alias)].into_iter().flatten() {
                if *known == drop {
                    *known = keep;
                }
            }
            self.moved_aliases.push(MovedAlias { alias, from: drop, to: keep });
        }
        if let Some(page) = self.pages.get_mut(&keep)
            && let Some(record) = &mut page.record
        {
            record.absorb(dropped);
            page.record_changed = true;
            self.new_aliases.extend(AliasKey::of_given_tag(keep, record).map(|alias| (alias, keep)));
        }
        self.gone.push(drop);
        self.changes.push(StoreChange { record: drop, kind: ChangeKind::Gone });
        self.plan(keep);
        keep
    }

    fn begin(&mut self, fact: &CallFact) -> RecordId {
        let id = self.new_id();
        let taken = fact.sip_call_id.as_deref().is_some_and(|call_id| {
            !fact.is_of_dialled_leg() && self.by_alias(AliasKey::sip_call_id(call_id)).is_some()
        });
        let record = if taken { CallRecord::begin_apart(fact) } else { CallRecord::begin(fact) };
        self.new_aliases.extend(AliasKey::of_given_tag(id, &record).map(|alias| (alias, id)));
        self.pages.insert(id, Page { record_changed: true, ..Page::loaded(Some(record)) });
        self.changes.push(StoreChange { record: id, kind: ChangeKind::Begun });
        self.plan(id);
        id
    }

    /// Names that are not taken lead to `id` from now on.
    fn add_aliases(&mut self, fact: &CallFact, id: RecordId) {
        for alias in Self::aliases_of(fact) {
            if self.by_alias(alias).is_none() {
                self.new_aliases.insert(alias, id);
            }
        }
    }

    fn apply(&mut self, id: RecordId, fact: &CallFact) -> bool {
        let Some(page) = self.pages.get_mut(&id) else { return false };
        if page.record.as_mut().is_none_or(|record| record.apply(fact) == Applied::Repeat) {
            return false;
        }
        page.record_changed = true;
        if fact.tag.is_some() {
            let alias = page.record.as_ref().and_then(|record| AliasKey::of_given_tag(id, record));
            self.new_aliases.extend(alias.map(|alias| (alias, id)));
        }
        self.changes.push(StoreChange { record: id, kind: ChangeKind::Fact });
        self.plan(id);
        true
    }

    /// Brings the lanes of a record up to what is wanted now.
    fn plan(&mut self, id: RecordId) {
        let Some(page) = self.pages.get_mut(&id) else { return };
        let Some(record) = page.record.as_ref().filter(|record| record.is_visible()) else { return };
        let known = page.lanes.first().map(|lane| lane.zammad.clone());
        let route = match &known {
            Some(zammad) => self.routes.named(zammad),
            None => self.routes.of(record),
        };
        let Some(zammad) = known.or_else(|| route.map(|route| route.zammad.clone())) else { return };
        let before = page.lanes.iter().fold(StepSet::EMPTY, |all, lane| all.union(lane.wanted));
        let wanted = wanted_steps(record, route.map_or(TicketMode::Off, |route| route.tickets), before);
        for channel in [Channel::CallerLog, Channel::Ticket] {
            let wanted = wanted.of(channel);
            if wanted.is_empty() {
                continue;
            }
            let index = match page.lanes.iter().position(|lane| lane.channel == channel) {
                Some(index) => index,
                None => {
                    page.lanes.push(Lane::new(id, channel, zammad.clone(), self.now));
                    page.lanes.len() - 1
                }
            };
            if let Some(lane) = page.lanes.get_mut(index)
                && lane.want(wanted, self.now)
            {
                self.due |= lane.due.is_some();
                page.lane_changed(channel);
            }
        }
    }

    /// What is to be written.
    pub(crate) fn into_changes(self) -> BatchChanges {
        BatchChanges {
            begun: self.begun,
            pages: self
                .pages
                .into_iter()
                .filter(|(_, page)| page.record_changed || !page.lanes_changed.is_empty())
                .collect(),
            aliases: self.new_aliases,
            moved_aliases: self.moved_aliases,
            gone: self.gone,
            changes: self.changes,
            due: self.due,
        }
    }
}

/// What a batch changed.
#[derive(Debug)]
pub(crate) struct BatchChanges {
    /// How many records are new.
    pub(crate) begun: i64,
    pages: HashMap<RecordId, Page>,
    aliases: HashMap<AliasKey, RecordId>,
    /// To be led elsewhere in this order, before the new ones are written.
    pub(crate) moved_aliases: Vec<MovedAlias>,
    pub(crate) gone: Vec<RecordId>,
    pub(crate) changes: Vec<StoreChange>,
    pub(crate) due: bool,
}

impl BatchChanges {
    /// The records to be written, by identity.
    pub(crate) fn records(&self) -> Vec<(RecordId, &CallRecord)> {
        let changed = self.pages.iter().filter(|(_, page)| page.record_changed);
        let mut records: Vec<_> = changed.filter_map(|(id, page)| Some((*id, page.record.as_ref()?))).collect();
        records.sort_unstable_by_key(|(id, _)| *id);
        records
    }

    /// The lanes to be written, in the order of their keys.
    pub(crate) fn lanes(&self) -> Vec<&Lane> {
        let of = |page: &'_ Page, lane: &Lane| page.lanes_changed.contains(&lane.channel);
        let mut lanes: Vec<_> =
            self.pages.values().flat_map(|page| page.lanes.iter().filter(move |lane| of(page, lane))).collect();
        lanes.sort_unstable_by_key(|lane| (lane.record, lane.channel));
        lanes
    }

    /// The names to be written, in order: neighbours lie on one page.
    pub(crate) fn aliases(&self) -> Vec<(AliasKey, RecordId)> {
        let mut aliases: Vec<_> = self.aliases.iter().map(|(alias, id)| (*alias, *id)).collect();
        aliases.sort_unstable();
        aliases
    }
}
