//! Steps to Zammad's caller log.

use super::port::{CtiEvent, CtiEventKind, CtiReply, DeliveryFault, FaultScope, Zammad};
use super::settings::ZammadSettings;
use crate::call_book::Step;
use crate::record::CallerLogTexts;
use crate::store::DueDelivery;

/// What came of a step that Zammad has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// What Zammad answered beyond an acknowledgement.
    pub(super) action: Option<String>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) fault: DeliveryFault,
    /// Whether newCall was sent again on the way.
    pub(super) renewed: bool,
}

/// The request for a step of a call.
pub(super) fn event(due: &DueDelivery, settings: &ZammadSettings, kind: CtiEventKind) -> CtiEvent {
    let texts = CallerLogTexts::new(&due.record, settings.from, settings.trust_customer_data, settings.language);
    CtiEvent {
        kind,
        call_id: texts.call_id,
        direction: texts.direction,
        from: texts.from,
        to: texts.to,
        // Left out on hangup, where it says nothing; on answer it must be the same as on newCall, which it overwrites.
        user: texts.user.filter(|_| kind != CtiEventKind::Hangup),
        cause: texts.cause.filter(|_| kind == CtiEventKind::Hangup),
    }
}

pub(super) const fn kind(step: Step) -> CtiEventKind {
    match step {
        Step::Answer => CtiEventKind::Answer,
        Step::Hangup => CtiEventKind::Hangup,
        _ => CtiEventKind::NewCall,
    }
}

/// Sends a step. If Zammad seems not to know the call, sends newCall once more and the step once more, the first time that
/// it happens on a lane.
pub(super) async fn tell(zammad: &dyn Zammad, settings: &ZammadSettings, due: &DueDelivery) -> Result<Told, Failed> {
    let kind = kind(due.step);
    let step = event(due, settings, kind);
    let first = zammad.send(&step).await.map_err(|fault| Failed { fault, renewed: false })?;
    let answer = match first {
        CtiReply::Taken { action } => return Ok(Told { action }),
        CtiReply::AlreadyExists => return Ok(Told { action: None }),
        CtiReply::UnknownCall { answer } if due.renewed => return Err(unknown(settings, answer, false)),
        CtiReply::UnknownCall { .. } => {
            let new_call = event(due, settings, CtiEventKind::NewCall);
            zammad.send(&new_call).await.map_err(|fault| Failed { fault, renewed: false })?;
            zammad.send(&step).await.map_err(|fault| Failed { fault, renewed: true })?
        }
    };
    match answer {
        CtiReply::Taken { action } => Ok(Told { action }),
        CtiReply::AlreadyExists => Ok(Told { action: None }),
        CtiReply::UnknownCall { answer } => Err(unknown(settings, answer, true)),
    }
}

fn unknown(settings: &ZammadSettings, answer: String, renewed: bool) -> Failed {
    let fault = DeliveryFault {
        zammad: settings.name.to_string(),
        scope: FaultScope::Event,
        status: Some(500),
        problem: answer,
        remedy: Some("Zammad's own log has more under this error ID".to_owned()),
        retry_after: None,
        uncertain: false,
    };
    Failed { fault, renewed }
}

/// Whether a row of the caller log in this state proves that the step has arrived.
pub(super) fn proves(state: &str, step: Step) -> bool {
    match step {
        Step::NewCall => matches!(state, "newCall" | "answer" | "hangup"),
        Step::Answer => state == "answer",
        Step::Hangup => state == "hangup",
        _ => false,
    }
}
