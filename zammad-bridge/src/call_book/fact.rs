//! One event of one leg of a call, as a receiver learned it.

use codex_core_sip::metadata::{CallTag, CustomerData};
use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::error::{Error, Result};

/// How long a text of a fact (a number, a name, an identity) may be, in characters; a longer one is cut when it is
/// committed. Identities are compared before they are cut.
pub const MAX_FACT_TEXT_CHARS: usize = 1024;

/// What a leg does, in jambonz' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStatus {
    /// An outbound call waits for its turn.
    Queued,
    /// It is being set up.
    Trying,
    /// The far end rings.
    Ringing,
    /// The far end rings and sends sound already.
    EarlyMedia,
    /// It was answered.
    InProgress,
    /// It ended after it had been answered.
    Completed,
    /// The far end was busy.
    Busy,
    /// Nobody answered, or the caller gave up.
    NoAnswer,
    /// It could not be set up.
    Failed,
}

impl CallStatus {
    /// The status of this name, as jambonz writes it; `None` for one that is not known.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "queued" => Self::Queued,
            "trying" => Self::Trying,
            "ringing" => Self::Ringing,
            "early-media" => Self::EarlyMedia,
            "in-progress" => Self::InProgress,
            "completed" => Self::Completed,
            "busy" => Self::Busy,
            "no-answer" => Self::NoAnswer,
            "failed" => Self::Failed,
            _ => return None,
        })
    }

    /// Its name, as jambonz writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Trying => "trying",
            Self::Ringing => "ringing",
            Self::EarlyMedia => "early-media",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
        }
    }

    /// Whether the leg is over.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::NoAnswer | Self::Failed)
    }
}

/// Which way a call goes, seen from the contact centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Somebody calls us.
    Inbound,
    /// We call somebody.
    Outbound,
}

/// Where a fact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    /// jambonz' `call_hook`: the INVITE with its headers.
    CallHook,
    /// jambonz' `call_status_hook`.
    StatusHook,
    /// `POST /v1/calls`: a program that reports its own call.
    Record,
    /// The bridge itself: the final event of this call never came.
    Reaper,
}

/// What a receiver learned of one leg of a call. Fields that are `None` say nothing; they take nothing back.
#[derive(Clone, PartialEq)]
pub struct CallFact {
    /// When it happened, or when we heard of it.
    pub at: UnixMillis,
    /// Where it comes from.
    pub source: FactSource,
    /// jambonz' identity of the leg.
    pub call_sid: Option<String>,
    /// jambonz' identity of the leg that dialled this one. A fact with it belongs to the record of that leg.
    pub parent_call_sid: Option<String>,
    /// The client's own SIP Call-ID: jambonz' `sbc_callid`, a core-sip client's `callId`.
    pub sip_call_id: Option<String>,
    /// What the leg does; `None` for a call_hook without one.
    pub status: Option<CallStatus>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Who calls: jambonz' `from`, a user name or number.
    pub from: Option<String>,
    /// Who is called: jambonz' `to`.
    pub to: Option<String>,
    /// The SIP status that goes with it, 100 to 699.
    pub sip_status: Option<u16>,
    /// Its reason phrase.
    pub sip_reason: Option<String>,
    /// Whole seconds from answer to end.
    pub duration_s: Option<u32>,
    /// Who ended it: jambonz' `call_termination_by`, `caller` or `callee`.
    pub terminated_by: Option<String>,
    /// The application's GUID.
    pub application_sid: Option<String>,
    /// The application's readable name.
    pub application_name: Option<String>,
    /// jambonz' account.
    pub account_sid: Option<String>,
    /// jambonz' trace.
    pub trace_id: Option<String>,
    /// The tag as the caller gave it (`X-Call-Tag`); otherwise it is the beginning of the SIP Call-ID.
    pub tag: Option<String>,
    /// `X-Display-From`.
    pub display_from: Option<String>,
    /// `X-Display-To`.
    pub display_to: Option<String>,
    /// `X-Lang`.
    pub language: Option<String>,
    /// Who is calling and why, as the caller claims.
    pub customer_data: Option<CustomerData>,
}

impl CallFact {
    /// What the call is called in logs: its tag as far as this fact alone tells.
    #[must_use]
    pub fn shown_tag(&self) -> CallTag {
        let own = self.tag.as_deref().or(self.sip_call_id.as_deref()).or(self.call_sid.as_deref());
        CallTag::from_call_id(own.unwrap_or_default())
    }

    /// A fact that says nothing yet.
    #[must_use]
    pub const fn new(source: FactSource, at: UnixMillis) -> Self {
        Self {
            at,
            source,
            call_sid: None,
            parent_call_sid: None,
            sip_call_id: None,
            status: None,
            direction: None,
            from: None,
            to: None,
            sip_status: None,
            sip_reason: None,
            duration_s: None,
            terminated_by: None,
            application_sid: None,
            application_name: None,
            account_sid: None,
            trace_id: None,
            tag: None,
            display_from: None,
            display_to: None,
            language: None,
            customer_data: None,
        }
    }

    /// Checks that it can be committed.
    ///
    /// # Errors
    ///
    /// [`Error::FactWithoutCall`].
    pub fn check(&self) -> Result<()> {
        if self.aliases().is_empty() { Err(Error::FactWithoutCall) } else { Ok(()) }
    }

    /// The names by which the record of this fact may be known, the most telling first. Of a dialled leg these are the
    /// parent's and its own `call_sid`, not its Call-ID.
    #[must_use]
    pub fn aliases(&self) -> Vec<CallAlias> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut aliases = Vec::with_capacity(2);
        if let Some(parent) = some(&self.parent_call_sid) {
            aliases.push(CallAlias::CallSid(parent));
            aliases.extend(some(&self.call_sid).map(CallAlias::CallSid));
        } else {
            aliases.extend(some(&self.sip_call_id).map(CallAlias::SipCallId));
            aliases.extend(some(&self.call_sid).map(CallAlias::CallSid));
        }
        aliases
    }

    /// Whether it is of a leg that an application dialled.
    #[must_use]
    pub fn is_of_dialled_leg(&self) -> bool {
        self.parent_call_sid.as_ref().is_some_and(|parent| !parent.is_empty())
    }
}

impl core::fmt::Debug for CallFact {
    /// Identities and states; nothing of who calls.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CallFact")
            .field("at", &self.at)
            .field("source", &self.source)
            .field("call_sid", &self.call_sid)
            .field("parent_call_sid", &self.parent_call_sid)
            .field("sip_call_id", &self.sip_call_id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A name by which a call is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallAlias {
    /// jambonz' `call_sid` of one of its legs.
    CallSid(String),
    /// The SIP Call-ID of its client.
    SipCallId(String),
}
