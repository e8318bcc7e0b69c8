//! What can go wrong, and what to do about it.

use crate::config::SettingProblem;
use crate::delivery::DeliveryFault;
use crate::http_client::ClientFault;

/// The result of what can fail here.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Everything that can go wrong in the bridge. No variant holds a secret or a customer's data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing or wrong.
    #[error("setting {setting}: {problem}; {remedy}")]
    Configuration {
        /// The setting's name, such as `ZAMMAD_CTI_URL`.
        setting: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// Settings are missing or wrong; all of them are listed.
    #[error("{}", listed(.problems))]
    Settings {
        /// One entry for each.
        problems: Vec<SettingProblem>,
    },
    /// A fact names no call: neither a `call_sid` nor a SIP Call-ID.
    #[error("the event names no call; send call_sid (jambonz) or callId (the SIP Call-ID)")]
    FactWithoutCall,
    /// Another process has the store open.
    #[error("{path} is in use by another bridge; stop that one, or give this one its own BRIDGE_DATABASE_URL")]
    StoreInUse {
        /// The file.
        path: String,
    },
    /// The store was written by a newer version.
    #[error("the store has schema version {found}, this program knows up to {known}; run the newer program")]
    StoreTooNew {
        /// The version found.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The disk is full. What was acknowledged is safe; new facts are not.
    #[error("the disk of the store is full ({detail}); free space, and the bridge goes on by itself")]
    StoreDiskFull {
        /// What the database said.
        detail: String,
    },
    /// The store's file is damaged or no database.
    #[error("the store is damaged ({detail}); stop the bridge, move the file away (or restore a copy) and start again")]
    StoreDamaged {
        /// What the database said.
        detail: String,
    },
    /// The store cannot be read or written just now.
    #[error("the store failed while it was to {action}: {detail}")]
    StoreFailed {
        /// What was to be done, such as `commit facts`.
        action: &'static str,
        /// What the database said.
        detail: String,
    },
    /// The database cannot be reached.
    #[error("the database cannot be reached ({detail}); see that PostgreSQL runs and BRIDGE_DATABASE_URL leads to it")]
    StoreAway {
        /// What was said on the way there.
        detail: String,
    },
    /// The store takes no more: it is closing, or more waits for it than `max_waiting`.
    #[error("the store takes nothing more: {reason}")]
    StoreRefuses {
        /// `closing` or `too much is waiting`.
        reason: &'static str,
    },
    /// A command could not be carried out.
    #[error("{problem}")]
    Control {
        /// What went wrong, and what to do.
        problem: String,
    },
    /// Zammad did not take something.
    #[error(transparent)]
    Delivery(#[from] DeliveryFault),
}

impl Error {
    /// Whether this is a fault of the store, for which a receiver answers 503 and calls go on.
    #[must_use]
    pub const fn is_store_fault(&self) -> bool {
        matches!(
            self,
            Self::StoreInUse { .. }
                | Self::StoreTooNew { .. }
                | Self::StoreDiskFull { .. }
                | Self::StoreDamaged { .. }
                | Self::StoreFailed { .. }
                | Self::StoreAway { .. }
                | Self::StoreRefuses { .. }
        )
    }

    /// A stable word for programs and metrics, such as `store_disk_full`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Configuration { .. } | Self::Settings { .. } => "configuration",
            Self::FactWithoutCall => "fact_without_call",
            Self::StoreInUse { .. } => "store_in_use",
            Self::StoreTooNew { .. } => "store_too_new",
            Self::StoreDiskFull { .. } => "store_disk_full",
            Self::StoreDamaged { .. } => "store_damaged",
            Self::StoreFailed { .. } => "store_failed",
            Self::StoreAway { .. } => "store_away",
            Self::StoreRefuses { .. } => "store_refuses",
            Self::Control { .. } => "control",
            Self::Delivery(_) => "delivery",
        }
    }
}

fn listed(problems: &[SettingProblem]) -> String {
    let mut text = format!("{} setting{} wrong:", problems.len(), if problems.len() == 1 { " is" } else { "s are" });
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

impl From<ClientFault> for Error {
    fn from(fault: ClientFault) -> Self {
        Self::Configuration {
            setting: fault.setting,
            problem: fault.problem,
            remedy: "give a file with certificates in PEM, or check the machine's TLS set-up".to_owned(),
        }
    }
}
