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
    pub(super) offer: Option<String>,
    /// How long it is good for; `None`: as long as the machine keeps its addresses.
    until: Option<Time>,
    waiting: Vec<CommandId>,
    /// Nobody asked for it: it was made after the registration.
    by_itself: bool,
    /// Its audio source is opened by the call.
    pub(super) audio_is_closed: bool,
}

impl Prepared {
    pub(super) fn until(&self) -> Option<Time> {
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
        let Some(prepared) = &mut self.prepared else { return self.make_prepared(vec![id], false) };
        let handle = prepared.handle;
        prepared.by_itself = false;
        if prepared.offer.is_some() {
            prepared.until = Some(until);
            if !prepared.audio_is_closed && prepared.waiting.is_empty() {
                return self.done(id, Ok(Reply::Done));
            }
        }
        prepared.waiting.push(id);
        if std::mem::take(&mut prepared.audio_is_closed) {
            self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::OpenAudio });
        }
    }

    /// Makes the next call's offer unless there is one, or a call, or nobody wants it.
    pub(super) fn prepare_by_itself(&mut self) {
        let free = self.call.is_none() && self.prepared.is_none() && !self.destroyed;
        let registered = self.registration == super::Registration::Registered;
        if free && registered && self.config.prepare_after_registration {
            self.prepare_again_at = None;
            self.make_prepared(Vec::new(), true);
        }
    }

    /// What nobody asked for is dropped.
    pub(super) fn forget_own_preparation(&mut self) {
        self.prepare_again_at = None;
        if self.prepared.as_ref().is_some_and(|prepared| prepared.by_itself) {
            self.drop_prepared();
        }
    }

    fn make_prepared(&mut self, waiting: Vec<CommandId>, by_itself: bool) {
        let handle = self.new_handle();
        let until = Some(self.now + MEDIA_PREPARATION_TIMEOUT);
        self.prepared = Some(Prepared { handle, offer: None, until, waiting, by_itself, audio_is_closed: by_itself });
        let settings = super::MediaSettings { audio_later: by_itself, ..self.media_settings() };
        let mut order = |command| self.output.push_back(ClientOutput::Media { call: handle, command });
        order(MediaCommand::CreateOffer(settings));
        if self.muted {
            order(MediaCommand::SetMuted(true));
        }
        if self.speaker_muted {
            order(MediaCommand::SetSpeakerMuted(true));
        }
    }

    /// The media session that is prepared, for a call that begins; its offer comes later if it is not there yet.
    pub(super) fn take_prepared(&mut self) -> Option<Prepared> {
        let mut prepared = self.prepared.take()?;
        for id in std::mem::take(&mut prepared.waiting) {
            self.done(id, Ok(Reply::Done));
        }
        Some(prepared)
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
        if let Some(Prepared { handle, waiting, by_itself, .. }) = self.prepared.take() {
            self.output.push_back(ClientOutput::Media { call: handle, command: MediaCommand::Close });
            self.make_prepared(waiting, by_itself);
        }
    }

    pub(super) fn prepared_media(&mut self, reply: MediaReply) {
        let until = self.now + PREPARED_FOR;
        let lasts = self.config.ice_servers.is_empty();
        let Some(prepared) = &mut self.prepared else { return };
        match reply {
            MediaReply::Offer(Ok(sdp)) => {
                prepared.offer = Some(sdp);
                // NATs forget the addresses that STUN and TURN gave; the machine's own hold until it has others.
                prepared.until = (!prepared.by_itself || !lasts).then_some(until);
                self.prepared_is_ready();
            }
            MediaReply::AudioOpened(Ok(())) if prepared.offer.is_some() => self.prepared_is_ready(),
            MediaReply::Offer(Err(error)) | MediaReply::AudioOpened(Err(error)) => self.prepared_failed(error),
            MediaReply::Notice(MediaNotice::Failed(fault)) => self.prepared_failed(Error::Media { fault }),
            _ => {}
        }
    }

    fn prepared_is_ready(&mut self) {
        let Some(prepared) = &mut self.prepared else { return };
        for id in std::mem::take(&mut prepared.waiting) {
            self.done(id, Ok(Reply::Done));
        }
    }

    fn prepared_failed(&mut self, error: Error) {
        self.end_prepared(&Err(error));
        if self.config.prepare_after_registration {
            self.prepare_again_at = Some(self.now + PREPARED_FOR);
        }
    }

    pub(super) fn prepared_due(&mut self) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= self.now);
        if due(self.prepared.as_ref().and_then(Prepared::until)) {
            match &self.prepared {
                Some(Prepared { by_itself: true, offer: Some(_), .. }) => self.renew_prepared(),
                _ => {
                    self.end_prepared(&Err(Error::Timeout { operation: "prepare", after: MEDIA_PREPARATION_TIMEOUT }));
                    self.prepare_by_itself();
                }
            }
        } else if due(self.prepare_again_at) {
            self.prepare_again_at = None;
            self.prepare_by_itself();
        }
    }
}
