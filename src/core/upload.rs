//! Decides how one file of the spool becomes one object of a storage, while it grows.
//!
//! In: how far the file has grown and that it was ended, answers of the storage, and the time. Out: [`Action`]s: what to save, what to ask
//! of the storage, what to tell. Pure: no I/O, no clock. Refuses to give up: what is not confirmed is tried for ever, with pauses that grow
//! to a limit. Refuses to guess: an object is stored when it was looked at, and is ours, and has the right length and sum.
//!
//! The file's bytes never change once the disk has them, but for 16 in its head, and those only when it is ended. So everything but the
//! head is sent while it grows, and at the end only the head and the rest are left, however long the meeting was.
//!
//! Before each step that leaves a trace in the storage an [`Action::Save`] comes, which must be on the disk before any later action is
//! done. [`Upload::resume`] goes on from any saved record: there is one object in the end, and nothing besides.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::time::SessionTime;

mod decide;
mod pace;
pub mod plan;
pub mod record;
pub mod trouble;

#[cfg(test)]
mod fake_storage;
#[cfg(test)]
mod tests;

pub use decide::with_stem_ending;
use pace::Pace;
pub use plan::Piece;
pub use record::{Record, SentPart, Step};
pub use trouble::{Refusal, Trouble};

/// At most so many parts are on their way at once.
pub const PARTS_AT_ONCE: usize = 2;
/// So many objects with names of a recording may be in the way before it is said.
const NAMES_TRIED: u32 = 100;
/// An object that was just made and is not seen as it must be is looked at so many times before it is made anew.
const LOOKS: u32 = 4;
/// A part that failed so many times in a row makes us ask whether the upload is still known.
const ASK_AFTER: u32 = 3;

/// What is told to the upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The disk has confirmed so many bytes of the file. Less than before changes nothing.
    Grown {
        /// Bytes from the file's beginning.
        bytes: u64,
    },
    /// The file is an ordinary one now, and does not change any more.
    Ended {
        /// Its length.
        bytes: u64,
    },
    /// The file will never be whole: what was sent of it is taken back. Too late once it was ended.
    Abandon,
    /// A request was answered, or cannot be.
    Answered {
        /// Which.
        id: RequestId,
        /// By what.
        answer: Result<Answer, Trouble>,
    },
    /// [`Upload::poll_wake`] is reached.
    Woken,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Save the record so that it survives a power cut, before any later action.
    Save(Box<Record>),
    /// Ask the storage; an [`Input::Answered`] follows.
    Ask {
        /// To be repeated in the answer.
        id: RequestId,
        /// What to ask.
        request: Request,
    },
    /// Tell how it stands.
    Tell(Status),
}

/// Names one request of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// What the storage is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// All unfinished uploads to exactly this key (ListMultipartUploads); answered by [`Answer::Uploads`].
    FindUploads {
        /// The key.
        key: String,
    },
    /// What is there under this key (HeadObject); answered by [`Answer::Object`].
    Look {
        /// The key.
        key: String,
    },
    /// Begin an upload (CreateMultipartUpload); answered by [`Answer::Created`].
    Create {
        /// The key.
        key: String,
        /// To be stored with the object.
        identity: String,
    },
    /// The parts that the storage has (ListParts); answered by [`Answer::Parts`].
    ListParts {
        /// The key.
        key: String,
        /// Of which upload.
        upload_id: String,
    },
    /// Send a part (UploadPart); answered by [`Answer::Sent`].
    SendPart {
        /// The key.
        key: String,
        /// Of which upload.
        upload_id: String,
        /// Which stretch of the file.
        piece: Piece,
    },
    /// Make an object of the parts (CompleteMultipartUpload); answered by [`Answer::Done`].
    Complete {
        /// The key.
        key: String,
        /// Of which upload.
        upload_id: String,
        /// Numbers and ETags, in order.
        parts: Vec<(u32, String)>,
    },
    /// Take an upload back (AbortMultipartUpload); answered by [`Answer::Done`].
    Abort {
        /// The key.
        key: String,
        /// Which upload.
        upload_id: String,
    },
    /// Store the whole file (PutObject); answered by [`Answer::Sent`].
    Put {
        /// The key.
        key: String,
        /// To be stored with the object.
        identity: String,
        /// Length of the file.
        len: u64,
    },
}

/// What the storage answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The unfinished uploads.
    Uploads(Vec<String>),
    /// The object, or that there is none.
    Object(Option<Object>),
    /// The new upload's id.
    Created(String),
    /// The parts that it has: number, ETag, length.
    Parts(Vec<(u32, String, u64)>),
    /// What was sent is there.
    Sent(SentPart),
    /// It is done.
    Done,
}

/// An object as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its length.
    pub len: u64,
    /// The identity that was stored with it; `None` for objects of others, and where the storage keeps none.
    pub identity: Option<String>,
    /// What the storage calls its content, without quotes.
    pub etag: Option<String>,
}

/// How an upload stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// The object's key.
    pub key: String,
    /// Bytes that the storage has confirmed.
    pub sent: u64,
    /// Bytes that the file has.
    pub known: u64,
}

/// What an upload does, as it was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "details")]
pub enum State {
    /// The file grows, and its parts are sent.
    Following,
    /// The file was ended; what is left of it is being sent.
    Finishing,
    /// The storage does not answer as it should, more than once in a row. It is tried again for ever.
    Retrying(Fault),
    /// The storage refuses, and somebody must mend that. It is tried again for ever, more slowly.
    Refused(Fault),
    /// The object is there, and was looked at. The local copy is not needed any more.
    Stored,
    /// Nothing of it is left in the storage.
    Abandoned,
}

/// One upload.
#[derive(Debug)]
pub struct Upload {
    record: Record,
    grown: u64,
    abandon: bool,
    phase: Phase,
    /// The request of the phase; parts have their own.
    control: Job,
    parts: Vec<(Piece, Job)>,
    /// Failures of control requests since the last step forward.
    failures: u32,
    /// So many times everything was begun anew.
    anew: u32,
    pace: Pace,
    next_id: u64,
    told: Option<Status>,
    actions: VecDeque<Action>,
}

/// What is being done. Each phase has one request, but for `Waiting` and the last two, which have none, and `Sending`, which has parts.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Is the key free?
    Claiming {
        tried: u32,
    },
    /// Which uploads to this key are not ours?
    FindingStrangers,
    /// For the file to grow.
    Waiting,
    Creating,
    /// After a Create without an answer: which uploads came of it?
    FindingLost,
    /// Those that came of it are taken back.
    AbortingLost {
        left: Vec<String>,
        stored: bool,
    },
    ListingParts,
    Sending,
    Completing,
    /// After a Complete without a clear answer: is the object there? `gone`: the storage knows the upload no more.
    Deciding {
        gone: bool,
    },
    Putting,
    Confirming,
    /// The object is there. Which uploads are left of a Create without an answer?
    Sweeping,
    Abandoning,
    Stored,
    Abandoned,
}

/// One request, while it is tried.
#[derive(Clone, PartialEq, Debug)]
struct Job {
    stand: Stand,
    attempts: u32,
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stand {
    Asked(RequestId),
    NotBefore(SessionTime),
}

impl Job {
    fn at(time: SessionTime) -> Self {
        Self { stand: Stand::NotBefore(time), attempts: 0, trouble: None }
    }

    fn is_due(&self, now: SessionTime) -> bool {
        matches!(self.stand, Stand::NotBefore(time) if time <= now)
    }

    fn is_asked(&self) -> bool {
        matches!(self.stand, Stand::Asked(_))
    }

    fn failed(&mut self, trouble: Trouble, pause: Duration, now: SessionTime) {
        self.attempts = self.attempts.saturating_add(1);
        self.trouble = Some(trouble);
        self.stand = Stand::NotBefore(now + pause);
    }
}

impl Upload {
    /// A new upload. `seed` is any number, so that many uploads do not try again in one instant.
    pub fn begin(record: Record, seed: u64, now: SessionTime) -> Self {
        let mut this = Self::at(record, Phase::Claiming { tried: 1 }, seed, now);
        this.save();
        this.drive(now);
        this
    }

    /// Goes on with an upload of a process that is gone.
    pub fn resume(mut record: Record, seed: u64, now: SessionTime) -> Self {
        let phase = match &record.step {
            Step::New => Phase::Claiming { tried: 1 },
            Step::Creating => Phase::FindingLost,
            Step::Sending { .. } => Phase::ListingParts,
            Step::Completing { .. } => Phase::Deciding { gone: false },
            Step::Putting => Phase::Putting,
            Step::Abandoning { .. } => Phase::Abandoning,
            Step::Stored if record.doubt => Phase::Sweeping,
            Step::Stored => Phase::Stored,
            Step::Abandoned => Phase::Abandoned,
        };
        if record.step == Step::Creating {
            record.doubt = true;
        }
        let mut this = Self::at(record, phase, seed, now);
        this.drive(now);
        this
    }

    fn at(record: Record, phase: Phase, seed: u64, now: SessionTime) -> Self {
        Self {
            grown: record.ended.unwrap_or(0),
            record,
            abandon: false,
            phase,
            control: Job::at(now),
            parts: Vec::with_capacity(PARTS_AT_ONCE),
            failures: 0,
            anew: 0,
            pace: Pace::new(seed),
            next_id: 1,
            told: None,
            actions: VecDeque::new(),
        }
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        match input {
            Input::Grown { bytes } if self.record.ended.is_none() => self.grown = self.grown.max(bytes),
            Input::Ended { bytes } if self.record.ended.is_none() && !self.abandon => {
                self.record.ended = Some(bytes);
                self.grown = bytes;
                // If it became shorter than what was confirmed, against all rules, then what is beyond its end is no part of it.
                let fits = |number, len| plan::piece_of(bytes, number).is_some_and(|piece| piece.len == len);
                self.record.parts.retain(|&number, part| fits(number, part.len));
                self.parts.retain(|(piece, _)| fits(piece.number, piece.len));
                self.save();
            }
            Input::Abandon => self.abandon |= self.record.ended.is_none(),
            Input::Answered { id, answer } => self.answered(id, answer, now),
            Input::Grown { .. } | Input::Ended { .. } | Input::Woken => {}
        }
        self.drive(now);
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Upload::handle`] with [`Input::Woken`], if nothing else happens before.
    pub fn poll_wake(&self) -> Option<SessionTime> {
        let control = self.has_control().then_some(&self.control);
        // While something else is asked, parts that failed wait for it.
        let parts = self.parts.iter().filter(|_| self.phase == Phase::Sending);
        let jobs = control.into_iter().chain(parts.map(|(_, job)| job));
        jobs.filter_map(|job| match job.stand {
            Stand::NotBefore(time) => Some(time),
            Stand::Asked(_) => None,
        })
        .min()
    }

    /// Nothing is left to do: neither requests nor wakes come any more.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stored | Phase::Abandoned)
    }

    /// The record as it should be saved now.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let sent = match self.record.step {
            Step::Stored => self.record.ended.unwrap_or(0),
            _ => self.record.parts.values().map(|part| part.len).sum(),
        };
        Status { state: self.state(), key: self.record.key.clone(), sent, known: self.grown }
    }

    fn state(&self) -> State {
        match self.record.step {
            // What is left to be swept is no concern of the recording's.
            Step::Stored => return State::Stored,
            Step::Abandoned => return State::Abandoned,
            _ => {}
        }
        let control = self.has_control().then_some(&self.control);
        let jobs = || control.into_iter().chain(self.parts.iter().map(|(_, job)| job));
        let troubles = || jobs().filter_map(|job| job.trouble.as_ref().map(|trouble| (trouble, job.attempts.max(self.failures))));
        if let Some((trouble, _)) = troubles().find(|(trouble, _)| trouble.is_refusal()) {
            return State::Refused(trouble.to_fault());
        }
        // One failure is nothing: with three requests of ten it is the rule.
        if let Some((trouble, _)) = troubles().find(|&(_, failures)| failures > 1) {
            return State::Retrying(trouble.to_fault());
        }
        if self.record.ended.is_some() { State::Finishing } else { State::Following }
    }

    fn save(&mut self) {
        self.actions.push_back(Action::Save(Box::new(self.record.clone())));
    }

    fn has_control(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Sending | Phase::Stored | Phase::Abandoned)
    }
}
