//! Sending the far end to somebody else.

use super::{Call, ClientSession, CommandId, Reply, Step, TransferEvent};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::sip::user_agent::{CallHandle, Command, Input};

impl ClientSession {
    pub(super) fn replacement_uri(&mut self, id: CommandId) {
        let up = self.call.as_ref().filter(|call| call.step == Step::Up);
        let uri = up.and_then(|call| self.user_agent.replacement_uri(call.handle));
        let problem = "only a connected call can be taken over";
        self.done(id, uri.map(Reply::Uri).ok_or(Error::WrongState { operation: "replacement_uri", problem }));
    }

    pub(super) fn transfer(&mut self, id: CommandId, target: String) {
        if let Err(error) = crate::config::validate_target_uri("targetUri", &target) {
            return self.done(id, Err(error));
        }
        let problem = match &mut self.call {
            Some(Call { step: Step::Up, transfer_waiting: Some(_), .. }) => "a transfer is under way already",
            Some(Call { step: Step::Up, handle, transfer_waiting, .. }) => {
                let call = *handle;
                *transfer_waiting = Some(id);
                return self.agent(Input::Command(Command::Transfer { call, target }));
            }
            _ => "only a connected call can be transferred",
        };
        self.refuse(id, "transfer", problem);
    }

    pub(super) fn transfer_progress(&mut self, handle: CallHandle, status: u16, reason: String) {
        let Some(call) = self.call.as_ref().filter(|call| call.handle == handle) else { return };
        let event = TransferEvent {
            status,
            reason: (!reason.is_empty()).then_some(reason),
            call_id: call.id(),
            tag: call.tag(),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        self.event(Event::Transfer(event));
    }

    pub(super) fn transfer_answered(&mut self, handle: CallHandle, result: Result<()>) {
        let Some(call) = self.call_of(handle) else { return };
        if let Some(id) = call.transfer_waiting.take() {
            self.done(id, result.map(|()| Reply::Done));
        }
    }
}
