//! Names by sid: kept by moka, fetched once for all who ask at the same time.
//!
//! ```text
//!  get(sid) ── near cache ── fresh ──────────────────────────────────────► name      no allocation, no waiting
//!                 │ else
//!              store (moka::sync) ── fresh ─────────────────────────────► name
//!                 │ stale ── served ── refresh in the background ┐
//!                 │ missing                                      │
//!                 ▼                                              ▼
//!              flights (moka::future): one for a sid ── one sid alone ─► GET /Applications/{sid}
//!                                                    └─ several, or ───► lists (moka::future): one for all
//!                                                       little budget       GET /Applications
//! ```
//!
//! Whoever waits for a flight may give up; the flight goes on, on a task of its own, and leaves the name to the next who
//! asks. It also must not die with one of those who wait for it: moka would have the next of them begin anew, and panic
//! when that has happened 200 times.
//!
//! Everything is kept under a **generation**, which [`Names::clear`] raises: what an older request brings is kept under
//! the old one, where nobody looks any more.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use codex_core_sip::time::Time;
use foldhash::fast::RandomState;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;

use super::near_cache::NearCache;
use super::requests::{Request, Requests, lock};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::freshness::{CachePolicy, Remembered, Verdict};
use crate::listing::Named;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    generation: u64,
    sid: ApplicationSid,
}

type Flight = Result<Remembered<ApplicationName>>;

/// How many lists are kept: the current one, and one that was under way when everything was forgotten.
const LISTS: u64 = 2;

/// Every name that the key may see, as of one moment.
#[derive(Clone)]
struct List {
    asked_at: Time,
    names: Result<Arc<HashMap<ApplicationSid, ApplicationName>>>,
}

pub(super) struct Names {
    requests: Arc<Requests>,
    clock: Arc<dyn Clock>,
    policy: CachePolicy,
    generation: AtomicU64,
    near: NearCache<Key, ApplicationName>,
    store: moka::sync::Cache<Key, Remembered<ApplicationName>, RandomState>,
    flights: moka::future::Cache<Key, Flight, RandomState>,
    lists: moka::future::Cache<u64, List>,
    /// How many sids are being asked for.
    in_flight: AtomicUsize,
    refreshing: Mutex<HashSet<Key>>,
}

/// Counts one sid as being asked for, until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks one sid as being refreshed, until it is dropped.
struct Refreshing {
    names: Arc<Names>,
    key: Key,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        lock(&self.names.refreshing).remove(&self.key);
    }
}

impl Names {
    pub(super) fn new(requests: Arc<Requests>, clock: Arc<dyn Clock>, policy: CachePolicy, capacity: u64) -> Self {
        Self {
            requests,
            clock,
            policy,
            generation: AtomicU64::new(0),
            near: NearCache::new(),
            store: moka::sync::Cache::builder().max_capacity(capacity).build_with_hasher(RandomState::default()),
            flights: moka::future::Cache::builder().max_capacity(capacity).build_with_hasher(RandomState::default()),
            // The newest has to be taken in, however often the one before was read.
            lists: moka::future::Cache::builder().max_capacity(LISTS).eviction_policy(EvictionPolicy::lru()).build(),
            in_flight: AtomicUsize::new(0),
            refreshing: Mutex::default(),
        }
    }

    /// The name, from memory if that is allowed.
    #[inline]
    pub(super) async fn get(self: &Arc<Self>, sid: ApplicationSid) -> Result<Option<ApplicationName>> {
        let key = Key { generation: self.generation.load(Ordering::Acquire), sid };
        if let Some(remembered) = self.near.get(&key)
            && self.policy.judge(&remembered, self.clock.now()) == Verdict::Fresh
        {
            return Ok(remembered.value);
        }
        // Boxed, so that a hit carries no more about than it needs.
        Box::pin(self.get_far(key)).await
    }

    async fn get_far(self: &Arc<Self>, key: Key) -> Result<Option<ApplicationName>> {
        if let Some(remembered) = self.store.get(&key) {
            match self.policy.judge(&remembered, self.clock.now()) {
                Verdict::Fresh => {
                    self.near.keep(key, remembered.clone());
                    return Ok(remembered.value);
                }
                Verdict::Refresh => {
                    self.refresh(key);
                    return Ok(remembered.value);
                }
                Verdict::AskFirst | Verdict::Gone => {}
            }
        }
        Ok(self.fetch_to_the_end(key).await?.value)
    }

    /// Forgets everything, also what requests under way will bring.
    pub(super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.near.clear();
        self.store.invalidate_all();
        self.flights.invalidate_all();
        self.lists.invalidate_all();
    }

    /// Under which generation to keep what is asked for from now on.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps names that another request brought, which was sent at `asked_at` under `generation`.
    pub(super) fn fill<'a>(
        &self,
        generation: u64,
        asked_at: Time,
        names: impl Iterator<Item = (ApplicationSid, &'a ApplicationName)>,
    ) {
        for (sid, name) in names {
            self.keep(Key { generation, sid }, self.policy.remember(Some(name.clone()), asked_at));
        }
    }

    /// Keeps what is known of one sid, unless something newer is.
    fn keep(&self, key: Key, remembered: Remembered<ApplicationName>) {
        // In one step: of two who bring the same name, the one with the older must not come last.
        let kept = self.store.entry(key).and_compute_with(|old| match old {
            Some(old) if old.value().supersedes(&remembered) => Op::Nop,
            _ => Op::Put(remembered),
        });
        if let CompResult::Inserted(kept) | CompResult::ReplacedWith(kept) | CompResult::Unchanged(kept) = kept {
            self.near.keep(key, kept.into_value());
        }
    }

    fn refresh(self: &Arc<Self>, key: Key) {
        // Without a runtime there is nobody to fetch it; the next one who asks may have one.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if lock(&self.refreshing).insert(key) {
            let refreshing = Refreshing { names: Arc::clone(self), key };
            runtime.spawn(async move {
                // A failure is logged where it is noticed, and the old name goes on being served.
                let _ = refreshing.names.fetch(key).await;
            });
        }
    }

    /// Fetches the name on a task of its own, which goes on when whoever asked gives up.
    async fn fetch_to_the_end(self: &Arc<Self>, key: Key) -> Flight {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let names = Arc::clone(self);
            if let Ok(flight) = runtime.spawn(async move { names.fetch(key).await }).await {
                return flight;
            }
        }
        // No runtime, or one that is shutting down.
        self.fetch(key).await
    }

    /// Fetches the name, together with all who want it now. Not to be dropped before its end.
    async fn fetch(&self, key: Key) -> Flight {
        let now = self.clock.now();
        let is_over = |flight: &Flight| match flight {
            Ok(remembered) => self.policy.judge(remembered, now) != Verdict::Fresh,
            Err(_) => true,
        };
        self.flights.entry_by_ref(&key).or_insert_with_if(self.fly(key), is_over).await.into_value()
    }

    async fn fly(&self, key: Key) -> Flight {
        let asked = {
            let _in_flight = InFlight::enter(&self.in_flight);
            // Whoever asks for another name at the same moment gets to say so first.
            tokio::task::yield_now().await;
            self.ask(key).await
        };
        let remembered = match asked {
            Ok(remembered) => remembered,
            Err(error) => {
                let old = self.store.get(&key);
                let kept = old.and_then(|old| self.policy.after_failure(&old, self.clock.now()));
                let kept = kept.ok_or_else(|| error.clone())?;
                tracing::warn!(application_sid = %key.sid, %error, "an application's name cannot be refreshed; the old one is used");
                kept
            }
        };
        self.keep(key, remembered.clone());
        Ok(remembered)
    }

    /// One request for this name alone, or one for all names that are wanted now.
    async fn ask(&self, key: Key) -> Flight {
        let now = self.clock.now();
        let listed = self.lists.get(&key.generation).await.filter(|list| self.is_current(list, now));
        let use_list = match listed {
            Some(list) => list.names.is_ok(),
            None => self.in_flight.load(Ordering::Relaxed) > 1 || self.requests.budget_is_low(),
        };
        if !use_list {
            return self.ask_alone(key.sid).await;
        }
        let list = self
            .lists
            .entry_by_ref(&key.generation)
            .or_insert_with_if(self.ask_list(key.generation), |list| !self.is_current(list, now))
            .await
            .into_value();
        match list.names {
            Ok(names) => Ok(self.policy.remember(names.get(&key.sid).cloned(), list.asked_at)),
            Err(error) if concerns_lists_only(&error) => self.ask_alone(key.sid).await,
            Err(error) => Err(error),
        }
    }

    /// Whether a list still says of a sid that is not in it that there is no such application; or, if there is no list to
    /// be had, whether that is still so.
    fn is_current(&self, list: &List, now: Time) -> bool {
        let says_something = list.names.as_ref().map_or_else(concerns_lists_only, |_| true);
        says_something && now.saturating_since(list.asked_at) < self.policy.unknown_for.min(self.policy.fresh_for)
    }

    async fn ask_alone(&self, sid: ApplicationSid) -> Flight {
        let asked_at = self.clock.now();
        let path = format!("/Applications/{sid}");
        let request = Request::get(path, format!("read application {sid}"), format!("application {sid}"));
        let name = match self.requests.json::<Named>(&request, self.requests.deadline(), "an application").await {
            Ok(named) => named.into_pair().map(|(_, name)| name),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(self.policy.remember(name, asked_at))
    }

    /// All names that the key may see. Not the account's list: what it lacks is taken for unknown, and a provider's key
    /// sees more than one account.
    async fn ask_list(&self, generation: u64) -> List {
        let asked_at = self.clock.now();
        let request = Request::get("/Applications".to_owned(), "list applications".to_owned(), None);
        let names = self.requests.list::<Named>(request, self.requests.deadline()).await;
        let names =
            names.map(|named| Arc::new(named.into_iter().filter_map(Named::into_pair).collect::<HashMap<_, _>>()));
        if let Ok(names) = &names {
            self.fill(generation, asked_at, names.iter().map(|(sid, name)| (*sid, name)));
        }
        List { asked_at, names }
    }
}

/// Whether one application may be had where the list failed like this: it is too large, not for this key, or one entry of
/// it is odd.
fn concerns_lists_only(error: &Error) -> bool {
    matches!(
        error,
        Error::TooLarge { .. } | Error::TooManyPages { .. } | Error::Forbidden { .. } | Error::UnexpectedJson { .. }
    )
}
