//! Readable names of applications, looked up without holding up a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use codex_core_sip::application_names::ApplicationNames;
use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use tracing::warn;

use crate::clock::{Clock, UnixMillis};

/// How long a name is waited for. Names that are cached, nearly all of them, come at once.
pub const NAME_LOOKUP_LIMIT: Duration = Duration::from_millis(300);
/// How long nothing is looked up after that went wrong or took too long, so that events do not queue for a dead API.
pub const NAME_LOOKUP_PAUSE: Duration = Duration::from_secs(5);

/// Looks names up, if there is somebody to ask.
pub(super) struct NameLookup {
    names: Option<Arc<dyn ApplicationNames>>,
    clock: Arc<dyn Clock>,
    paused_until_millis: AtomicI64,
}

impl NameLookup {
    pub(super) fn new(names: Option<Arc<dyn ApplicationNames>>, clock: Arc<dyn Clock>) -> Self {
        Self { names, clock, paused_until_millis: AtomicI64::new(i64::MIN) }
    }

    /// The name of `application`, if it is known soon.
    pub(super) async fn of(&self, application: Option<ApplicationSid>) -> Option<ApplicationName> {
        let (names, application) = (self.names.as_ref()?, application?);
        if self.clock.now() < UnixMillis::new(self.paused_until_millis.load(Relaxed)) {
            return None;
        }
        let problem = match tokio::time::timeout(NAME_LOOKUP_LIMIT, names.application_name(application)).await {
            Ok(Ok(name)) => return name,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("jambonz' API did not answer within {} ms", NAME_LOOKUP_LIMIT.as_millis()),
        };
        let until = self.clock.now() + NAME_LOOKUP_PAUSE;
        self.paused_until_millis.store(until.as_millis(), Relaxed);
        warn!(%application, problem, pause_s = NAME_LOOKUP_PAUSE.as_secs(), "an application goes without its name");
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use async_trait::async_trait;
    use codex_core_sip::application_names::NameLookupError;

    use super::*;
    use crate::clock::TokioClock;

    /// Answers the first question never, the second with an error, further ones with a name.
    #[derive(Default)]
    struct Reluctant(AtomicUsize);

    #[async_trait]
    impl ApplicationNames for Reluctant {
        async fn application_name(&self, _: ApplicationSid) -> Result<Option<ApplicationName>, NameLookupError> {
            match self.0.fetch_add(1, Relaxed) {
                0 => std::future::pending().await,
                1 => Err(NameLookupError { problem: "refused".to_owned() }),
                _ => Ok(Some("voicebot".parse().unwrap())),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_or_failing_api_is_left_alone_for_a_while() {
        let names = Arc::new(Reluctant::default());
        let clock = Arc::new(TokioClock::starting_at(UnixMillis::new(1)));
        let lookup = NameLookup::new(Some(names.clone()), clock);
        let sid = ApplicationSid::from_user_part("0397dc5f-2f8f-4778-8499-0af934dd1196");
        let asked = || names.0.load(Relaxed);
        assert_eq!((lookup.of(sid).await, asked()), (None, 1));
        assert_eq!((lookup.of(sid).await, asked()), (None, 1), "paused");
        tokio::time::advance(NAME_LOOKUP_PAUSE).await;
        assert_eq!((lookup.of(sid).await, asked()), (None, 2));
        assert_eq!((lookup.of(None).await, asked()), (None, 2));
        tokio::time::advance(NAME_LOOKUP_PAUSE).await;
        assert_eq!(lookup.of(sid).await.unwrap().as_str(), "voicebot");
    }
}
