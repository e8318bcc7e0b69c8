//! Readable names of applications, looked up without holding up a call.
//!
//! Where a Zammad is chosen by an application's *name* ([`ReceiveSettings::names_decide_routes`]), a call whose name came
//! too late would go to the wrong one for good: there a name is waited for longer, and an API that failed is asked again
//! sooner. A call that nobody names in that time goes to the Zammad that names no application. GUIDs need no waiting:
//! they are in every event of jambonz.
//!
//! [`ReceiveSettings::names_decide_routes`]: super::ReceiveSettings::names_decide_routes

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core_sip::application_names::ApplicationNames;
use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use tracing::warn;

use crate::clock::{Clock, UnixMillis};

/// How long a name is waited for. Names that are cached, nearly all of them, come at once.
pub const NAME_LOOKUP_LIMIT: Duration = Duration::from_millis(300);
/// How long nothing is looked up after that went wrong or took too long, so that events do not queue for a dead API.
pub const NAME_LOOKUP_PAUSE: Duration = Duration::from_secs(5);
/// How long a name is waited for where a Zammad is chosen by it. With [`COMMIT_LIMIT`](super::COMMIT_LIMIT) it stays below
/// the 10 s that jambonz waits.
pub const ROUTE_NAME_LIMIT: Duration = Duration::from_millis(1_500);
/// The pause there: shorter than the limit, so that every call has a chance.
pub const ROUTE_NAME_PAUSE: Duration = Duration::from_secs(1);
/// How many names are remembered for times when the API fails.
const NAMES_REMEMBERED: usize = 1_000;

/// Looks names up, if there is somebody to ask.
pub(super) struct NameLookup {
    names: Option<Arc<dyn ApplicationNames>>,
    clock: Arc<dyn Clock>,
    limit: Duration,
    pause: Duration,
    paused_until_millis: AtomicI64,
    remembered: Mutex<HashMap<ApplicationSid, ApplicationName>>,
}

impl NameLookup {
    pub(super) fn new(names: Option<Arc<dyn ApplicationNames>>, clock: Arc<dyn Clock>, decide_routes: bool) -> Self {
        let (limit, pause) =
            if decide_routes { (ROUTE_NAME_LIMIT, ROUTE_NAME_PAUSE) } else { (NAME_LOOKUP_LIMIT, NAME_LOOKUP_PAUSE) };
        let paused_until_millis = AtomicI64::new(i64::MIN);
        Self { names, clock, limit, pause, paused_until_millis, remembered: Mutex::default() }
    }

    /// The name of `application`, if it is known soon. `is_named` says whether the event itself names it, which counts
    /// for more: then there is nothing to wait for.
    pub(super) async fn of(
        &self,
        application: Option<ApplicationSid>,
        is_named: impl FnOnce() -> bool,
    ) -> Option<ApplicationName> {
        let (names, application) = (self.names.as_ref()?, application?);
        let paused_until = UnixMillis::new(self.paused_until_millis.load(Relaxed));
        let paused = paused_until.saturating_since(self.clock.now());
        if !paused.is_zero() {
            let known = self.remembered().get(&application).cloned();
            if known.is_some() || paused >= self.limit || is_named() {
                return known;
            }
            tokio::time::sleep(paused).await;
        } else if is_named() {
            return None;
        }
        let left = self.limit.saturating_sub(paused);
        let problem = match tokio::time::timeout(left, names.application_name(application)).await {
            Ok(Ok(name)) => {
                if let Some(name) = &name {
                    self.remember(application, name);
                }
                return name;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("jambonz' API did not answer within {} ms", left.as_millis()),
        };
        let until = self.clock.now() + self.pause;
        self.paused_until_millis.store(until.as_millis(), Relaxed);
        let known = self.remembered().get(&application).cloned();
        let goes = if known.is_some() { "an application keeps the name it had" } else { "an application goes unnamed" };
        warn!(%application, problem, pause_s = self.pause.as_secs(), "{goes}");
        known
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<ApplicationSid, ApplicationName>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, application: ApplicationSid, name: &ApplicationName) {
        let mut remembered = self.remembered();
        if remembered.get(&application) == Some(name) {
            return;
        }
        if remembered.len() >= NAMES_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(application, name.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;
    use codex_core_sip::application_names::NameLookupError;

    use super::*;
    use crate::clock::TokioClock;

    /// What the API does with a question.
    enum Answer {
        Never,
        Refuses,
        After(Duration),
    }

    /// Answers each question as it is told, and those beyond that at once, with a name.
    struct Reluctant {
        answers: Mutex<VecDeque<Answer>>,
        asked: AtomicI64,
    }

    impl Reluctant {
        fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
            Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), asked: AtomicI64::new(0) })
        }

        fn asked(&self) -> i64 {
            self.asked.load(Relaxed)
        }
    }

    #[async_trait]
    impl ApplicationNames for Reluctant {
        async fn application_name(&self, _: ApplicationSid) -> Result<Option<ApplicationName>, NameLookupError> {
            self.asked.fetch_add(1, Relaxed);
            let answer = self.answers.lock().unwrap().pop_front();
            match answer {
                Some(Answer::Never) => std::future::pending().await,
                Some(Answer::Refuses) => return Err(NameLookupError { problem: "refused".to_owned() }),
                Some(Answer::After(wait)) => tokio::time::sleep(wait).await,
                None => {}
            }
            Ok(Some("voicebot".parse().unwrap()))
        }
    }

    fn lookup(names: &Arc<Reluctant>, decide_routes: bool) -> NameLookup {
        let clock = Arc::new(TokioClock::starting_at(UnixMillis::new(1)));
        NameLookup::new(Some(names.clone()), clock, decide_routes)
    }

    fn sid() -> Option<ApplicationSid> {
        ApplicationSid::from_user_part("0397dc5f-2f8f-4778-8499-0af934dd1196")
    }

    /// The name that is found, and how long that took.
    async fn timed(lookup: &NameLookup) -> (Option<String>, Duration) {
        let began = lookup.clock.now();
        let name = lookup.of(sid(), || false).await.map(|name| name.as_str().to_owned());
        (name, lookup.clock.now().saturating_since(began))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_or_failing_api_is_left_alone_for_a_while() {
        let names = Reluctant::new([Answer::Never, Answer::Refuses]);
        let lookup = lookup(&names, false);
        assert_eq!(timed(&lookup).await, (None, NAME_LOOKUP_LIMIT));
        assert_eq!((timed(&lookup).await, names.asked()), ((None, Duration::ZERO), 1), "paused");
        tokio::time::advance(NAME_LOOKUP_PAUSE).await;
        assert_eq!((timed(&lookup).await, names.asked()), ((None, Duration::ZERO), 2));
        assert_eq!((lookup.of(None, || false).await, names.asked()), (None, 2));
        tokio::time::advance(NAME_LOOKUP_PAUSE).await;
        assert_eq!(timed(&lookup).await.0.as_deref(), Some("voicebot"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_known_stays_while_the_api_fails() {
        let names = Reluctant::new([Answer::After(Duration::ZERO), Answer::Refuses]);
        let lookup = lookup(&names, false);
        for asked in [1, 2, 2] {
            assert_eq!(timed(&lookup).await, (Some("voicebot".to_owned()), Duration::ZERO));
            assert_eq!(names.asked(), asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_zammad_is_chosen_by_name_it_is_waited_for_longer() {
        let slow = NAME_LOOKUP_LIMIT * 4;
        let names = Reluctant::new([Answer::After(slow), Answer::Refuses, Answer::Refuses, Answer::Never]);
        let lookup = lookup(&names, true);
        assert_eq!(timed(&lookup).await, (Some("voicebot".to_owned()), slow));
        lookup.remembered().clear();
        assert_eq!(timed(&lookup).await, (None, Duration::ZERO), "refused, and nobody knows better");
        // Whoever comes in the pause waits for its end and has a chance.
        assert_eq!((timed(&lookup).await, names.asked()), ((None, ROUTE_NAME_PAUSE), 3));
        assert_eq!(timed(&lookup).await, (None, ROUTE_NAME_LIMIT), "never longer than that");
        assert_eq!(timed(&lookup).await, (Some("voicebot".to_owned()), ROUTE_NAME_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_names_itself_waits_for_nobody() {
        let names = Reluctant::new([Answer::Never]);
        let lookup = lookup(&names, true);
        let began = lookup.clock.now();
        assert_eq!(lookup.of(sid(), || true).await, None);
        assert_eq!((lookup.clock.now(), names.asked()), (began, 0));
    }
}
