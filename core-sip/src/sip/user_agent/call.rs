//! What a user agent holds of one call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
use crate::header_field::HeaderValue;
use crate::sip::dialog::Dialog;
use crate::time::Time;

use super::early::{Early, Reliable};
use super::modify::Session;
use super::referral::Referral;
use super::request::Request;
use super::transfer::Transfer;
use super::{CallHandle, EndedBy};

/// Requests of one call that may wait for a flow. Somebody who presses more keys than this without a connection
/// gets an error.
pub(super) const MAX_WAITING: usize = 32;

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) phase: Phase,
    /// Outgoing: what is needed to tell answers to its INVITE apart, from its sending until its transaction is over.
    pub(super) invite: Option<SentInvite>,
}

/// The INVITE of an outgoing call.
#[derive(Debug)]
pub(super) struct SentInvite {
    /// The key of its client transaction.
    pub(super) key: Arc<str>,
    /// `From` with its tag.
    pub(super) from: String,
    pub(super) local_tag: String,
    pub(super) sequence: u32,
    /// For each branch that answered with 2xx: its To tag and our ACK, to be sent again for every repetition.
    pub(super) acks: Vec<(String, Bytes)>,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Outgoing: it waits for a flow, or for the registration on it.
    Queued(Box<Request>),
    /// Outgoing: the INVITE is sent.
    Inviting(Inviting),
    /// Incoming: somebody has to answer.
    Ringing(Ringing),
    /// Answered.
    Established(Box<Established>),
    /// Its end has been told. It stays until late answers to its INVITE can no longer come.
    Over,
}

/// An outgoing call without a final answer.
#[derive(Debug)]
pub(super) struct Inviting {
    pub(super) offer: String,
    /// A CANCEL may only follow a provisional response (RFC 3261 §9.1).
    pub(super) provisional: bool,
    pub(super) cancel: Option<Cancel>,
    /// The branches that have rung or sent early media.
    pub(super) early: Vec<Early>,
    /// Where it was sent, the first target included.
    pub(super) tried: Vec<String>,
}

/// The call is to end before it is answered.
#[derive(Debug)]
pub(super) struct Cancel {
    pub(super) sent: bool,
    /// The text for `Reason`.
    pub(super) reason: Option<String>,
    /// Why, if it is not what somebody asked for.
    pub(super) error: Option<Error>,
}

/// An incoming call without a final answer.
#[derive(Debug)]
pub(super) struct Ringing {
    /// The key of its server transaction.
    pub(super) key: Arc<str>,
    pub(super) dialog: Dialog,
    pub(super) offer: Option<Bytes>,
    /// The caller insists on reliable provisional responses (RFC 3262).
    pub(super) must_be_reliable: bool,
    /// The number of the last one.
    pub(super) rseq: u32,
    /// One that waits for its PRACK.
    pub(super) reliable: Option<Reliable>,
    /// The call whose place it takes when it is answered (RFC 3891).
    pub(super) replaces: Option<CallHandle>,
}

/// A call with a confirmed dialog, or one that is about to be confirmed.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) dialog: Dialog,
    /// Our last session description.
    pub(super) local_sdp: String,
    /// The far end's last session description.
    pub(super) remote_sdp: Option<Bytes>,
    /// A 2xx of ours that waits for its ACK.
    pub(super) unacknowledged: Option<Unacknowledged>,
    /// It is being ended: how, as its event will say.
    pub(super) closing: Option<Outcome>,
    /// The BYE is sent.
    pub(super) bye_sent: bool,
    /// The text for `Reason` in the BYE.
    pub(super) bye_reason: Option<String>,
    /// Requests that wait for a flow.
    pub(super) waiting: VecDeque<WaitingInfo>,
    /// Changes of the session.
    pub(super) session: Session,
    /// A transfer that is under way.
    pub(super) transfer: Option<Transfer>,
    /// A REFER of the far end that is not done.
    pub(super) referral: Option<Box<Referral>>,
    /// There was one before.
    pub(super) referred_before: bool,
}

/// An INFO that waits for a flow.
#[derive(Debug)]
pub(super) struct WaitingInfo {
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
    pub(super) until: Time,
}

/// A 2xx that is sent again until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) response: Bytes,
    pub(super) sequence: u32,
    /// It answers the INVITE that made the dialog.
    pub(super) initial: bool,
    pub(super) interval: Duration,
    pub(super) give_up: Time,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) by: EndedBy,
    pub(super) cause: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) error: Option<Error>,
}

impl Outcome {
    /// We ended it because something failed.
    pub(super) fn failed(error: Error) -> Self {
        Self { by: EndedBy::Local, cause: None, reason: None, error: Some(error) }
    }
}
