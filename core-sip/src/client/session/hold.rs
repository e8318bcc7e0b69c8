//! Hold, ours and the far end's.

use super::{Call, ClientOutput, ClientSession, CommandId, HoldEvent, MediaCommand, Reply, Step, put};
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
    pub(super) held: bool,
    held_by_far_end: bool,
    /// The call whose place this one has taken was held, and the far end of this one has not agreed to be: the media
    /// session keeps still all the same.
    pub(super) carried: bool,
    /// It has changed while another call was to take the place of this one, and the program has not been told.
    untold: bool,
}

impl Hold {
    /// What is left to us of a direction that both ends have agreed to.
    fn silenced(direction: Direction) -> Direction {
        match direction {
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            _ => Direction::Inactive,
        }
    }
}

impl ClientSession {
    pub(super) fn set_hold(&mut self, id: CommandId, held: bool) {
        let Some(Call { step: Step::Up, handle, hold, .. }) = &mut self.call else {
            let operation = if held { "hold" } else { "unhold" };
            let problem = "only a connected call can be held";
            return self.refuse(id, operation, problem);
        };
        let call = *handle;
        if hold.carried && hold.held && !held {
            // The far end knows nothing of it.
            hold.carried = false;
            let by_far_end = hold.held_by_far_end;
            let direction = if by_far_end { Direction::RecvOnly } else { Direction::SendRecv };
            self.direction_changed(call, direction, false, by_far_end);
            return self.done(id, Ok(Reply::Done));
        }
        hold.waiting.push(id);
        self.agent(Input::Command(Command::Hold { call, held }));
    }

    pub(super) fn hold_answered(&mut self, handle: CallHandle, result: &Result<()>) {
        let Some(call) = self.call_of(handle) else { return };
        for id in std::mem::take(&mut call.hold.waiting) {
            self.done(id, result.clone().map(|()| Reply::Done));
        }
        let carried = self.call.as_ref().filter(|call| call.handle == handle && call.hold.carried);
        if let (Some(call), Err(error)) = (carried, result) {
            let by_far_end = call.hold.held_by_far_end;
            let direction = if by_far_end { Direction::RecvOnly } else { Direction::SendRecv };
            self.log(LogLevel::Warn, "the far end is not told of the hold, which stays", Map::new(), Some(error));
            self.direction_changed(handle, direction, false, by_far_end);
        }
    }

    /// The call that is to take the place of one that is held is held, too: nobody expects to be heard in it.
    pub(super) fn carry_hold(&mut self) {
        if !self.left.as_ref().is_some_and(|left| left.hold.held) {
            return;
        }
        if let Some(call) = &mut self.call {
            call.hold.carried = true;
        }
        self.order_media(MediaCommand::SetDirection(Direction::SendOnly));
    }

    /// The call has come up: its far end hears of the hold.
    pub(super) fn tell_carried_hold(&mut self) {
        if let Some(call) = self.call.as_ref().filter(|call| call.hold.carried) {
            self.agent(Input::Command(Command::Hold { call: call.handle, held: true }));
        }
    }

    pub(super) fn direction_changed(
        &mut self,
        handle: CallHandle,
        direction: Direction,
        held: bool,
        held_by_far_end: bool,
    ) {
        let Some(call) = self.call_of(handle) else { return };
        call.hold.carried &= !held;
        let direction = if call.hold.carried { Hold::silenced(direction) } else { direction };
        let held = held || call.hold.carried;
        call.hold.untold |= (call.hold.held, call.hold.held_by_far_end) != (held, held_by_far_end);
        (call.hold.held, call.hold.held_by_far_end) = (held, held_by_far_end);
        let command = MediaCommand::SetDirection(direction);
        self.output.push_back(ClientOutput::Media { call: handle, command });
        self.tell_hold();
    }

    /// Tells of the hold of the call that the program sees, if that is news.
    pub(super) fn tell_hold(&mut self) {
        let Some(call) = self.call.as_mut().filter(|call| call.hold.untold) else { return };
        call.hold.untold = false;
        let (held, held_by_far_end) = (call.hold.held, call.hold.held_by_far_end);
        let event = HoldEvent {
            held,
            held_by_far_end,
            call_id: call.id(),
            tag: call.tag(),
            application_name: call.application(),
            customer_data: call.customer_data.clone(),
        };
        let mut context = Map::new();
        put(&mut context, "held", held);
        put(&mut context, "heldByFarEnd", held_by_far_end);
        self.log(LogLevel::Info, "hold changed", context, None);
        self.event(Event::Hold(event));
    }

    /// Whether packets are expected from the far end.
    pub(super) fn expects_packets(&self) -> bool {
        self.call.as_ref().is_some_and(|call| !call.hold.held && !call.hold.held_by_far_end)
    }
}
