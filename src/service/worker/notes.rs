//! What a worker tells for the books of recordings.

use recorder_core::books::Note;

use super::Worker;
use crate::service::job::FromWorker;

impl Worker {
    /// Tells it with the time of now.
    pub(super) fn note(&self, note: Option<Note>) {
        if let Some(note) = note {
            self.say(FromWorker::Note { at: self.clock.now(), note });
        }
    }

    /// Tells once why the Session ends, as soon as that is decided: before its Takes end.
    pub(super) fn note_end(&mut self) {
        let Some(outcome) = self.session.ending().or(self.outcome.as_ref()).filter(|_| !self.told_end) else { return };
        let note = Note::Ending { reason: outcome.why.to_string(), fault: outcome.fault.clone() };
        self.told_end = true;
        self.note(Some(note));
    }
}
