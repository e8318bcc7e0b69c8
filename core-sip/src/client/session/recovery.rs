//! Media that stop working in a call, and calls that lose their flow before they are answered.
//!
//! ```text
//!  ICE disconnected for a while, failed ─┐
//!  the network changed ──────────────────┼─► MediaCommand::Restart ─► offer ─► re-INVITE ─► answer ─► AcceptAnswer
//!  the far end's media moved ────────────┤                                        │ refused: Rollback, later again
//!  another branch of a fork has won ─────┘
//! ```

use std::time::Duration;

use super::{ClientSession, MediaCommand, MediaReply, Step, call_context, put};
use crate::error::{Error, MediaFault, Result};
use crate::event::{CallState, IceState, LogLevel};
use crate::json::Map;
use crate::media::MediaNotice;
use crate::sip::message::StatusCode;
use crate::sip::user_agent::{CallHandle, Command, Input};
use crate::time::Time;

/// How long after a restart that failed the next one begins.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// What is being done about the media of a call that is up.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    step: RecoveryStep,
    /// Another restart is wanted when this one is over.
    again: bool,
    /// When a restart begins, unless the path comes back by itself.
    restart_at: Option<Time>,
    /// Something was missed while another call was to take the place of this one: nobody knows how far it is.
    missed: bool,
    /// Since when there is no path, and when the call ends if there is none by then.
    lost_until: Option<(Time, MediaFault)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum RecoveryStep {
    #[default]
    Steady,
    /// The media session makes an offer.
    MakingOffer,
    /// The far end has it.
    Offered,
    /// The media session looks at the answer.
    TakingAnswer,
    /// The media session answers an offer of the far end.
    Answering,
}

impl Recovery {
    pub(super) fn is_under_way(&self) -> bool {
        self.step != RecoveryStep::Steady
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        [self.restart_at, self.lost_until.as_ref().map(|(until, _)| *until)].into_iter().flatten().min()
    }
}

impl ClientSession {
    fn recovery(&mut self) -> Option<&mut Recovery> {
        self.call.as_mut().map(|call| &mut call.recovery)
    }

    /// Has the media session move to where it works, as soon as nothing else is under way.
    pub(super) fn restart_media(&mut self) {
        let settings = self.media_settings();
        let Some(call) = &mut self.call else { return };
        if !matches!(call.step, Step::Up | Step::TakingAnswer) {
            return;
        }
        call.recovery.restart_at = None;
        // An offer that could not go out yet names addresses of before; the next one takes its place.
        let not_sent = call.recovery.step == RecoveryStep::Offered && !self.flow_up;
        if call.recovery.is_under_way() && !not_sent {
            call.recovery.again = true;
            return;
        }
        call.recovery.step = RecoveryStep::MakingOffer;
        let context = call_context(call);
        self.log(LogLevel::Info, "the media are restarted", context, None);
        self.order_media(MediaCommand::Restart(settings));
    }

    pub(super) fn restart_offered(&mut self, offer: Result<String>) {
        let Some(call) = self.call.as_mut().filter(|call| call.recovery.step == RecoveryStep::MakingOffer) else {
            return;
        };
        match offer {
            Ok(_) if call.recovery.again => {
                // It was out of date before it was made.
                call.recovery.again = false;
                call.recovery.step = RecoveryStep::Steady;
                self.restart_media();
            }
            Ok(sdp) => {
                call.recovery.step = RecoveryStep::Offered;
                let command = Command::Offer { call: call.handle, sdp };
                self.agent(Input::Command(command));
            }
            Err(error) => self.restart_failed(&error),
        }
    }

    /// The far end has answered our offer in the call.
    pub(super) fn offer_answered(&mut self, handle: CallHandle, result: Result<String>) {
        self.missed_in_left(Some(handle));
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        if call.recovery.step != RecoveryStep::Offered {
            // An answer of ours that became an offer, since the flow was lost: the media are as they should be.
            return;
        }
        match result {
            Ok(answer) => {
                call.recovery.step = RecoveryStep::TakingAnswer;
                self.order_media(MediaCommand::AcceptAnswer(answer));
            }
            Err(error) => {
                self.order_media(MediaCommand::Rollback);
                self.restart_failed(&error);
            }
        }
    }

    pub(super) fn restart_taken(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {
                if self.call.as_ref().is_some_and(|call| call.step == Step::TakingAnswer) {
                    self.call_is_up();
                }
                self.recovery_step_over();
            }
            Err(error) => {
                self.order_media(MediaCommand::Rollback);
                self.restart_failed(&error);
            }
        }
    }

    fn restart_failed(&mut self, error: &Error) {
        let now = self.now;
        let Some(call) = &mut self.call else { return };
        let context = call_context(call);
        if call.step == Step::TakingAnswer {
            // There is nothing to go back to.
            return self.fail_call(error.clone());
        }
        if call.recovery.lost_until.is_some() {
            call.recovery.restart_at = Some(now + RESTART_PAUSE);
        }
        self.log(LogLevel::Warn, "the media could not be restarted", context, Some(error));
        self.recovery_step_over();
    }

    fn recovery_step_over(&mut self) {
        let Some(recovery) = self.recovery() else { return };
        recovery.step = RecoveryStep::Steady;
        if std::mem::take(&mut recovery.again) {
            self.restart_media();
        }
    }

    /// The far end offers other codecs, addresses or keys.
    pub(super) fn reoffered(&mut self, handle: CallHandle, offer: String) {
        let settings = self.media_settings();
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle && call.step == Step::Up) else {
            let answer = Err(StatusCode::NOT_ACCEPTABLE_HERE);
            return self.agent(Input::Command(Command::AnswerOffer { call: handle, answer }));
        };
        // What we were about to offer fits no more; it is made anew if it is still needed.
        let dropped = call.recovery.is_under_way();
        call.recovery.again |= dropped;
        call.recovery.step = RecoveryStep::Answering;
        if dropped {
            self.order_media(MediaCommand::Rollback);
        }
        self.output.push_back(super::ClientOutput::Media {
            call: handle,
            command: MediaCommand::CreateAnswer(settings, offer),
        });
    }

    pub(super) fn reoffer_answered(&mut self, answer: Result<String>) {
        let Some(call) = self.call.as_ref().filter(|call| call.recovery.step == RecoveryStep::Answering) else {
            return;
        };
        let handle = call.handle;
        let answer = answer.map_err(|error| {
            self.log(LogLevel::Warn, "an offer of the far end cannot be answered", Map::new(), Some(&error));
            match error {
                Error::Media { fault: MediaFault::NoCommonCodec | MediaFault::BadDescription(_) } => {
                    StatusCode::NOT_ACCEPTABLE_HERE
                }
                _ => StatusCode::SERVER_INTERNAL_ERROR,
            }
        });
        self.agent(Input::Command(Command::AnswerOffer { call: handle, answer }));
        self.recovery_step_over();
    }

    // ---- a call that was left for another --------------------------------------------------------------------------

    /// The media session of the call that is being left answers or reports.
    pub(super) fn left_media(&mut self, handle: CallHandle, reply: &MediaReply) {
        let (now, limit) = (self.now, self.config.media_recovery_timeout);
        let Some(left) = self.left.as_mut().filter(|left| left.handle == handle) else { return };
        match reply {
            MediaReply::Offer(_) | MediaReply::Answer(_) | MediaReply::AnswerTaken(_) => left.recovery.missed = true,
            MediaReply::Notice(MediaNotice::Ice(state)) => {
                left.ice = Some(*state);
                match state {
                    IceState::Connected | IceState::Completed => left.recovery.lost_until = None,
                    IceState::Disconnected | IceState::Failed => {
                        left.recovery.lost_until.get_or_insert((now + limit, MediaFault::IceFailed));
                        left.recovery.missed = true;
                    }
                    _ => {}
                }
            }
            MediaReply::Notice(MediaNotice::Failed(fault)) => {
                left.recovery.lost_until = Some((now + limit, fault.clone()));
                left.recovery.missed = true;
            }
            _ => {}
        }
    }

    /// The media of the call that is being left are no longer what they were.
    pub(super) fn missed_in_left(&mut self, handle: Option<CallHandle>) {
        if let Some(left) = self.left.as_mut().filter(|left| handle.is_none_or(|handle| left.handle == handle)) {
            left.recovery.missed = true;
        }
    }

    /// The call that was to be left is the one again: what it missed is made up for.
    pub(super) fn catch_up(&mut self) {
        let (now, limit) = (self.now, self.config.media_recovery_timeout);
        let Some(call) = &mut self.call else { return };
        // Nothing was asked for meanwhile, and nobody looked.
        call.last_packet = now;
        let recovery = &mut call.recovery;
        // What ran out meanwhile had no chance.
        if let Some((until, _)) = &mut recovery.lost_until {
            *until = now + limit;
        }
        if !std::mem::take(&mut recovery.missed) {
            return;
        }
        let under_way = recovery.is_under_way();
        *recovery = Recovery { lost_until: recovery.lost_until.take(), ..Recovery::default() };
        if under_way {
            self.order_media(MediaCommand::Rollback);
        }
        self.restart_media();
    }

    // ---- what is noticed ----------------------------------------------------------------------------------------

    pub(super) fn path_changed(&mut self, state: IceState) {
        let (now, patience) = (self.now, self.config.ice_restart_after);
        let limit = self.config.media_recovery_timeout;
        let Some(call) = self.call.as_mut().filter(|call| call.step == Step::Up) else { return };
        let recovery = &mut call.recovery;
        match state {
            IceState::Connected | IceState::Completed => {
                recovery.restart_at = None;
                recovery.lost_until = None;
            }
            IceState::Disconnected => {
                recovery.lost_until.get_or_insert((now + limit, MediaFault::IceFailed));
                if !recovery.is_under_way() {
                    recovery.restart_at.get_or_insert(now + patience);
                }
            }
            _ => {}
        }
    }

    /// The media session says that its path is broken for good.
    pub(super) fn path_failed(&mut self, fault: MediaFault) {
        let until = self.now + self.config.media_recovery_timeout;
        let mendable = matches!(fault, MediaFault::IceFailed | MediaFault::DtlsFailed);
        match self.call.as_mut().filter(|call| mendable && call.step == Step::Up) {
            Some(call) => {
                let lasting = call.recovery.lost_until.get_or_insert((until, fault.clone()));
                lasting.1 = fault;
                self.restart_media();
            }
            None => self.fail_call(Error::Media { fault }),
        }
    }

    pub(super) fn recovery_due(&mut self) {
        let now = self.now;
        let Some(recovery) = self.recovery() else { return };
        if let Some((until, fault)) = &recovery.lost_until
            && *until <= now
        {
            let fault = fault.clone();
            return self.fail_call(Error::Media { fault });
        }
        if recovery.restart_at.is_some_and(|at| at <= now) {
            self.restart_media();
        }
    }

    /// The machine has other addresses: signalling and media have to move.
    pub(super) fn network_changed(&mut self) {
        self.log(LogLevel::Info, "the network changed", Map::new(), None);
        self.agent(Input::Command(Command::NetworkChanged));
        self.renew_prepared();
        self.missed_in_left(None);
        self.restart_media();
    }

    // ---- a flow that is lost before the answer ------------------------------------------------------------------

    /// A call of ours lost its flow before its answer, which cannot come any more: it is placed once more, under a
    /// Call-ID of its own that names the first one in `In-Reply-To`. False if it was the second try already.
    pub(super) fn try_once_more(&mut self) -> bool {
        let Some(call) = self
            .call
            .as_ref()
            .filter(|call| call.step == Step::Inviting && !call.is_second_try && call.follows.is_none())
        else {
            return false;
        };
        let (handle, before, start) = (call.handle, call.call_id.clone(), call.start.clone());
        self.output.push_back(super::ClientOutput::Media { call: handle, command: MediaCommand::Close });
        // Only what comes from the program can be wrong in it, and that was right the first time.
        match self.place_call(None, start, Some(&before), None) {
            Ok(()) => {
                let mut context = self.call.as_ref().map(call_context).unwrap_or_default();
                put(&mut context, "insteadOf", before);
                self.log(LogLevel::Warn, "the connection was lost before the answer; calling once more", context, None);
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn second_try_due(&mut self) {
        if self.call.as_ref().and_then(|call| call.second_try_until).is_some_and(|until| until <= self.now) {
            self.end_call(CallState::Error, None, None, Some(Error::FlowLostDuringSetup));
        }
    }
}
