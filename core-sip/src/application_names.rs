//! The port [`ApplicationNames`]: the readable name that belongs to an application's GUID.
//!
//! `codex-jambonz-api` implements it on jambonz' REST API; whoever shows calls asks through it and needs to know neither
//! HTTP nor jambonz.

use async_trait::async_trait;

use crate::metadata::{ApplicationName, ApplicationSid};

/// Knows applications by name.
///
/// A name is for people to read: no call waits for long or fails for want of one. An implementation answers within a
/// deadline of its own, from memory where it can.
#[cfg_attr(feature = "mock", mockall::automock)]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
pub trait ApplicationNames: Send + Sync {
    /// The name of `application`; `None` if there is no such application, or none that we may see.
    ///
    /// Cancel safety: dropping the future leaves nothing behind that matters.
    ///
    /// # Errors
    ///
    /// [`NameLookupError`] if it is not known whether there is a name: go ahead without, and log the error.
    async fn application_name(&self, application: ApplicationSid) -> Result<Option<ApplicationName>, NameLookupError>;
}

/// Why a name could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the application's name cannot be looked up: {problem}")]
pub struct NameLookupError {
    /// What went wrong and what to do about it, without secrets.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_can_be_a_trait_object() {
        fn assert_object(_: Option<&dyn ApplicationNames>) {}
        assert_object(None);
        let error = NameLookupError { problem: "jambonz refused the API key".to_owned() };
        assert_eq!(error.to_string(), "the application's name cannot be looked up: jambonz refused the API key");
    }
}
