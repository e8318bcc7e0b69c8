//! What hooks must show now: it may be learned after the start, and change while the bridge runs.

use std::sync::{Arc, RwLock};

use tokio::sync::Notify;

use super::authentication::{AuthenticationFault, HookAuthentication};

/// What hooks must show. A clone is the same one.
#[derive(Debug, Clone)]
pub struct HookKeys(Arc<Keys>);

#[derive(Debug)]
struct Keys {
    current: RwLock<Option<Arc<HookAuthentication>>>,
    doubted: Notify,
}

impl HookKeys {
    /// What is known from the start.
    #[must_use]
    pub fn known(authentication: HookAuthentication) -> Self {
        Self(Arc::new(Keys { current: RwLock::new(Some(Arc::new(authentication))), doubted: Notify::new() }))
    }

    /// To be learned: until [`learn`](Self::learn) nobody can be let in.
    #[must_use]
    pub fn unknown() -> Self {
        Self(Arc::new(Keys { current: RwLock::new(None), doubted: Notify::new() }))
    }

    /// From now on, hooks must show this.
    pub fn learn(&self, authentication: HookAuthentication) {
        *self.0.current.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(authentication));
    }

    /// What hooks must show; `None` while it is not known.
    #[must_use]
    pub fn current(&self) -> Option<Arc<HookAuthentication>> {
        self.0.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Somebody was not let in: if the signature was wrong, the secret may have been changed.
    pub(super) fn report(&self, fault: AuthenticationFault) {
        if fault == AuthenticationFault::WrongSignature {
            self.0.doubted.notify_one();
        }
    }

    /// Resolves when a signature was wrong, and the secret may be worth fetching anew.
    pub async fn doubted(&self) {
        self.0.doubted.notified().await;
    }
}
