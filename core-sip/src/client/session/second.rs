//! Two calls at a time, when one is to take the place of the other: the far end sends us to somebody else, or somebody else
//! takes the far end's place. The old call goes on until the new one is up; if that does not come about, it stays.

use super::{
    Call, CallEvent, CallState, ClientOutput, ClientSession, CommandId, Event, LogLevel, MediaCommand, StartCall, Step,
    TransferRequestedEvent, call_event,
};
use crate::error::{Error, Result};
use crate::sip::user_agent::{CallHandle, Command, Input};

impl ClientSession {
    /// The call of this number, the one that is being left included.
    pub(super) fn call_of(&mut self, handle: CallHandle) -> Option<&mut Call> {
        self.call.as_mut().into_iter().chain(self.left.as_deref_mut()).find(|call| call.handle == handle)
    }

    /// Gives an order to every media session there is: of two calls, both are heard.
    pub(super) fn order_all_media(&mut self, command: &MediaCommand) {
        self.order_media(command.clone());
        if let Some(left) = &self.left {
            self.output.push_back(ClientOutput::Media { call: left.handle, command: command.clone() });
        }
    }

    // ---- the far end sends us -------------------------------------------------------------------------------------

    pub(super) fn referred(&mut self, handle: CallHandle, target: String, referred_by: Option<String>) {
        let free = self.left.is_none();
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle && call.step == Step::Up && free)
        else {
            return self.agent(Input::Command(Command::DeclineReferral { call: handle }));
        };
        call.referred_to = Some(target.clone());
        let event = TransferRequestedEvent {
            target_uri: target,
            referred_by,
            call_id: Some(call.call_id.clone()),
            tag: Some(call.tag.to_string()),
            application_name: call.application_name.as_ref().map(ToString::to_string),
            customer_data: call.customer_data.clone(),
        };
        self.event(Event::TransferRequested(event));
    }

    /// It is too late to go there.
    pub(super) fn referral_expired(&mut self, handle: CallHandle) {
        if let Some(call) = self.call_of(handle) {
            call.referred_to = None;
        }
    }

    pub(super) fn accept_transfer(&mut self, id: CommandId) {
        if let Err(error) = self.go_where_sent(id) {
            self.done(id, Err(error));
        }
    }

    fn go_where_sent(&mut self, id: CommandId) -> Result<()> {
        let (mut old, target) = self.take_referral("accept_transfer")?;
        old.referred_to = None;
        let start = StartCall {
            language: Some(old.language.clone()),
            customer_data: old.customer_data.as_deref().cloned(),
            target_uri: Some(target),
            extra_headers: Vec::new(),
        };
        let referral = old.handle;
        self.left = Some(old);
        // The media may take a while.
        self.agent(Input::Command(Command::AcceptReferral { call: referral }));
        if let Err(error) = self.place_call(Some(id), start, None, Some(referral)) {
            self.call = self.left.take().map(|old| *old);
            self.agent(Input::Command(Command::DeclineReferral { call: referral }));
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn reject_transfer(&mut self, id: CommandId) {
        let result = self.take_referral("reject_transfer").map(|(mut call, _)| {
            call.referred_to = None;
            let handle = call.handle;
            self.call = Some(*call);
            self.agent(Input::Command(Command::DeclineReferral { call: handle }));
            super::Reply::Done
        });
        self.done(id, result);
    }

    /// Takes the call out whose far end has sent us.
    fn take_referral(&mut self, operation: &'static str) -> Result<(Box<Call>, String)> {
        let problem = "the far end has not asked for a transfer";
        let target = self.call.as_ref().and_then(|call| call.referred_to.clone());
        match (target, self.call.take()) {
            (Some(target), Some(call)) => Ok((Box::new(call), target)),
            (_, call) => {
                self.call = call;
                Err(Error::WrongState { operation, problem })
            }
        }
    }

    // ---- somebody else takes the far end's place ------------------------------------------------------------------

    /// Makes room for a call that is to take the place of `replaced`. False if that is not the client's call.
    pub(super) fn leave_for_replacement(&mut self, replaced: CallHandle) -> bool {
        let Some(call) = self.call.as_ref().filter(|call| call.handle == replaced && self.left.is_none()) else {
            return false;
        };
        if call.step == Step::Up {
            self.left = self.call.take().map(Box::new);
        } else {
            // There is nothing to go back to, whatever becomes of the new call: the far end of the old one hears so now.
            let reason = Some("replaced".to_owned());
            self.end_call(CallState::Ended, reason.clone(), None, None);
            self.agent(Input::Command(Command::Hangup { call: replaced, reason }));
        }
        true
    }

    pub(super) fn take_over(&mut self) {
        let settings = self.media_settings();
        let Some(Call { step: Step::Offered { offer }, .. }) = &mut self.call else { return };
        let offer = offer.take();
        if let Some(call) = &mut self.call {
            call.step = Step::Answering;
        }
        self.set_state(CallState::Connecting);
        self.order_media(match offer {
            Some(offer) => MediaCommand::CreateAnswer(settings, offer),
            None => MediaCommand::CreateOffer(settings),
        });
        self.carry_hold();
    }

    // ---- the end of either ----------------------------------------------------------------------------------------

    /// The call that was to be left stays, since the new one did not come about. False if there is none.
    pub(super) fn return_to_left(&mut self) -> bool {
        let Some(call) = self.left.take() else { return false };
        let state = call.state;
        self.call = Some(*call);
        self.set_state(state);
        self.tell_hold();
        self.catch_up();
        true
    }

    /// The call that was left is over: the new one is up, or nobody wants either.
    pub(super) fn end_left(&mut self, reason: &str) {
        let Some(call) = self.left.take() else { return };
        let handle = call.handle;
        self.close_left(*call, None, Some(reason.to_owned()));
        self.agent(Input::Command(Command::Hangup { call: handle, reason: Some(reason.to_owned()) }));
    }

    /// The call that was to be left has ended by itself.
    pub(super) fn left_ended(&mut self, handle: CallHandle, cause: Option<u16>, reason: Option<String>) {
        if let Some(call) = self.left.take_if(|call| call.handle == handle) {
            self.close_left(*call, cause, reason);
        }
    }

    fn close_left(&mut self, mut call: Call, cause: Option<u16>, reason: Option<String>) {
        self.output.push_back(ClientOutput::Media { call: call.handle, command: MediaCommand::Close });
        self.fail_waiting(&mut call);
        call.state = CallState::Ended;
        self.log(LogLevel::Info, "the call that was left is over", super::call_context(&call), None);
        self.event(Event::Call(CallEvent { reason, cause_code: cause, ..call_event(&call) }));
    }
}
