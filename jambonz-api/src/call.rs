//! Calls as jambonz' REST API shows them while they last.

use core::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A call under way or just over. `Debug` shows no phone numbers and nothing of what the call carries.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Call {
    /// Its identity.
    pub call_sid: String,
    /// The account that it belongs to.
    #[serde(default)]
    pub account_sid: Option<String>,
    /// The application that it runs.
    #[serde(default)]
    pub application_sid: Option<String>,
    /// `inbound` or `outbound`, as jambonz sees it.
    #[serde(default)]
    pub direction: Option<String>,
    /// Who calls.
    #[serde(default)]
    pub from: Option<String>,
    /// Who is called.
    #[serde(default)]
    pub to: Option<String>,
    /// `trying`, `ringing`, `early-media`, `in-progress`, `completed`, `busy`, `no-answer`, `failed` or `queued`.
    #[serde(default)]
    pub call_status: Option<String>,
    /// The SIP Call-ID of jambonz' inner leg; the client's own is `sbc_callid` in [`other`](Self::other).
    #[serde(default)]
    pub call_id: Option<String>,
    /// Every other property, as it came: `sip_status`, `duration` in seconds, `trace_id` …
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("call_sid", &self.call_sid)
            .field("application_sid", &self.application_sid)
            .field("direction", &self.direction)
            .field("call_status", &self.call_status)
            .finish_non_exhaustive()
    }
}
