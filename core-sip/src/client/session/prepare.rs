//! The offer of the next call, made before anybody calls.

use super::{
    ClientOutput, ClientSession, CommandId, MEDIA_PREPARATION_TIMEOUT, MediaCommand, MediaReply, PREPARED_FOR, Reply,
};
use crate::error::{Error, Result};
use crate::media::MediaNotice;
use crate::sip::user_agent::CallHandle;
use crate::time::Time;

/// A media session without a call.
#[derive(Debug)]
pub(super) struct Prepared {
    handle: CallHandle,
    offer: Option<String>,
    until: Time,
    waiting: Vec<CommandId>,
}

impl Prepared {
    pub(super) fn until(&self) -> Time {
        self.until
    }

    pub(super) fn handle(&self) -> CallHandle {
        self.handle
    }
}

impl ClientSession {
    /// The number of another call of ours.
    pub(super) fn new_handle(&mut self) -> CallHandle {
        let handle = CallHandle(self.next_call);
        self.next_call += 1;
        handle
    }

    pub(super) fn prepare(&mut self, id: CommandId) {
        if self.call.is_some() {
            let problem = "there is a call already";
            return self.refuse(id, "prepare", problem);
        }
        let until = self.now + PREPARED_FOR;
        match &mut self.prepared {
            Some(prepared) if prepared.offer.is_some() => {
                prepared.until = until;
                self.done(id, Ok(Reply::Done));
            }
            Some(prepared) => prepared.waiting.push(id),
            None => self.make_prepared(vec![id]),
        }
    }

    fn make_prepared(&mut self, waiting: Vec<CommandId>) {
        let handle = self.new_handle();
        let until = self.now + MEDIA_PREPARATION_TIMEOUT;
        self.prepared = Some(Prepared { handle, offer: None, until, waiting });
        let mut order = |command| self.output.push_back(ClientOutput::Media { call: handle, command });
        order(MediaCommand::CreateOffer(super::MediaSettings {
            ice_servers: self.config.ice_servers.clone(),
            ice_transport_policy: self.config.ice_transport_policy,
        }));
        if self.muted {
            order(MediaCommand::SetMuted(true));
        }
        if self.speaker_muted {
            order(MediaCommand::SetSpeakerMuted(true));
        }
    }

    /// The media session that is prepared, for a call that begins; its offer comes later if it is not there yet.
    pub(super) fn take_prepared(&mut self) -> Option<(CallHandle, Option<String>)> {
        let Prepared { handle, offer, waiting, .. } = self.prepared.take()?;
        for id in waiting {
            self.done(id, Ok(Reply::Done));
        }
        Some((handle, offer))
    }

    pub(super) fn drop_prepared(&mut self) {
        let problem = "it is not needed any more";
        self.end_prepared(&Err(Error::WrongState { operation: "prepare", problem }));
    }

    fn end_prepared(&mut self, result: &Result<Reply>) {
        let Some(Prepared { handle, waiting, .. }) = self.prepared.take() else { return };
        self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::Close });
        for id in waiting {
            self.done(id, result.clone());
        }
    }

    /// Its offer names addresses that are gone: another one is made.
    pub(super) fn renew_prepared(&mut self) {
        if let Some(Prepared { handle, waiting, .. }) = self.prepared.take() {
            self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::Close });
            self.make_prepared(waiting);
        }
    }

    pub(super) fn prepared_media(&mut self, reply: MediaReply) {
        let until = self.now + PREPARED_FOR;
        let Some(prepared) = &mut self.prepared else { return };
        match reply {
            MediaReply::Offer(Ok(sdp)) => {
                prepared.offer = Some(sdp);
                prepared.until = until;
                for id in std::mem::take(&mut prepared.waiting) {
                    self.done(id, Ok(Reply::Done));
                }
            }
            MediaReply::Offer(Err(error)) => self.end_prepared(&Err(error)),
            MediaReply::Notice(MediaNotice::Failed(fault)) => self.end_prepared(&Err(Error::Media { fault })),
            _ => {}
        }
    }

    pub(super) fn prepared_due(&mut self) {
        if self.prepared.as_ref().is_some_and(|prepared| prepared.until <= self.now) {
            self.end_prepared(&Err(Error::Timeout { operation: "prepare", after: MEDIA_PREPARATION_TIMEOUT }));
        }
    }
}
