//! Which Zammad learns of a call, and whether by a ticket too.

use super::ZammadName;
use crate::call_book::{CallRecord, TicketMode};

/// One Zammad, as far as the store must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub zammad: ZammadName,
    /// Whose calls it gets: names or GUIDs of applications, compared without regard to case. Empty: all that no other
    /// route names.
    pub applications: Vec<String>,
    /// For which calls a ticket is made.
    pub tickets: TicketMode,
}

/// All of them. Without any, calls are kept and nothing is delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// The routes; the first that fits counts.
    pub routes: Vec<Route>,
}

impl Routes {
    /// The route of a call: the first that names its application, else the first that names none. Asked once, when the
    /// call becomes visible.
    #[must_use]
    pub fn of(&self, record: &CallRecord) -> Option<&Route> {
        let is = |known: &Option<String>, wanted: &str| {
            known.as_deref().is_some_and(|known| known.to_lowercase() == wanted.to_lowercase())
        };
        let names = |route: &&Route| {
            let named = |wanted: &String| is(&record.application_name, wanted) || is(&record.application_sid, wanted);
            route.applications.iter().any(named)
        };
        self.routes.iter().find(names).or_else(|| self.routes.iter().find(|route| route.applications.is_empty()))
    }

    /// The route to the Zammad of this name, if it is still configured.
    #[must_use]
    pub fn named(&self, zammad: &str) -> Option<&Route> {
        self.routes.iter().find(|route| &*route.zammad == zammad)
    }
}
