//! Hold, ours and the far end's.

use super::{Call, ClientSession, CommandId, HoldEvent, MediaCommand, Reply, Step, put};
use crate::error::Result;
use crate::event::{Event, LogLevel};
use crate::json::Map;
use crate::sip::sdp::Direction;
use crate::sip::user_agent::{CallHandle, Command, Input};

/// What is known of hold in a call.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Who waits for the far end to agree.
    pub(super) waiting: Vec<CommandId>,
    held: bool,
    held_by_far_end: bool,
}

impl ClientSession {
    pub(super) fn set_hold(&mut self, id: CommandId, held: bool) {
        let Some(Call { step: Step::Up, handle, hold, .. }) = &mut self.call else {
            let operation = if held { "hold" } else { "unhold" };
            let problem = "only a connected call can be held";
            return self.refuse(id, operation, problem);
        };
        let call = *handle;
        hold.waiting.push(id);
        self.agent(Input::Command(Command::Hold { call, held }));
    }

    pub(super) fn hold_answered(&mut self, handle: CallHandle, result: &Result<()>) {
        let Some(call) = self.call_of(handle) else { return };
        for id in std::mem::take(&mut call.hold.waiting) {
            self.done(id, result.clone().map(|()| Reply::Done));
        }
    }

    pub(super) fn direction_changed(
        &mut self,
        handle: CallHandle,
        direction: Direction,
        held: bool,
        held_by_far_end: bool,
    ) {
        let Some(call) = self.call.as_mut().filter(|call| call.handle == handle) else { return };
        let news = (call.hold.held, call.hold.held_by_far_end) != (held, held_by_far_end);
        (call.hold.held, call.hold.held_by_far_end) = (held, held_by_far_end);
        let event = HoldEvent {
            held,
            held_by_far_end,
            call_id: call.id(),
            tag: call.tag(),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        self.order_media(MediaCommand::SetDirection(direction));
        if news {
            let mut context = Map::new();
            put(&mut context, "held", held);
            put(&mut context, "heldByFarEnd", held_by_far_end);
            self.log(LogLevel::Info, "hold changed", context, None);
            self.event(Event::Hold(event));
        }
    }

    /// Whether packets are expected from the far end.
    pub(super) fn expects_packets(&self) -> bool {
        self.call.as_ref().is_some_and(|call| !call.hold.held && !call.hold.held_by_far_end)
    }
}
