//! The lines of the books, as they are written.
//!
//! In: nothing. Out: values whose JSON is the form of the two files (`docs/books.md`). Pure.

use serde::Serialize;

use crate::conference::Light;
use crate::fault::Blame;
use crate::ids::{ParticipantId, SessionId, TakeId, TargetId};
use crate::secret::Pii;

/// One line of a book, without its time.
#[derive(Clone, PartialEq, Debug)]
pub enum Line {
    /// Of the ledger.
    Ledger(Entry),
    /// Of the event log.
    Event(Event),
}

/// Somebody, as they may be written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Who {
    /// Their number in this Session: `person-3`.
    pub who: String,
    /// The Conference's name for them; only where they may be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<ParticipantId>,
    /// What they are called; only where they may be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Pii>,
}

/// What the ledger says.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The first line: who may be recorded.
    Rule {
        /// Version of this form.
        version: u32,
        /// Which Session.
        session: SessionId,
        /// Which Target is recorded.
        recording: TargetId,
        /// Whether people are asked.
        consent: Asked,
        /// Whether people on the telephone are recorded without having agreed; missing where nobody is asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        call_in_without_consent: Option<CallIn>,
    },
    /// Somebody agrees to be recorded.
    Given {
        /// Who.
        #[serde(flatten)]
        who: Who,
        /// By which message.
        by: String,
    },
    /// Somebody no longer agrees.
    Withdrawn {
        /// Who.
        #[serde(flatten)]
        who: Who,
        /// By which message.
        by: String,
    },
    /// Somebody who agreed has left, and is asked anew if they come back.
    Left {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// Somebody on the telephone is recorded by the rule, and has not agreed.
    Included {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// The last line.
    Closed,
    /// So many lines could not be written.
    Missing {
        /// How many.
        lines: u64,
    },
}

/// Whether people are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// They are.
    Asked,
    /// Nobody is: whoever ordered the Session answers for it.
    NotAsked,
}

/// What becomes of people on the telephone who have not agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallIn {
    /// They are left out.
    Exclude,
    /// They are recorded.
    Include,
}

/// What is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A recording.
    Recording,
    /// A live destination.
    Stream,
}

/// Why a Take ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyEnded {
    /// Paused.
    Paused,
    /// Stopped.
    Stopped,
    /// Its worker died.
    Crashed,
}

/// What the event log says.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Begins {
        /// Version of this form.
        version: u32,
        /// Which Session.
        session: SessionId,
        /// Which Target is recorded.
        recording: TargetId,
    },
    /// People are shown in this layout from now on.
    Layout {
        /// What operators call it.
        name: String,
    },
    /// Somebody joined.
    Joined {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// Somebody has another name. Only of who may be named.
    Renamed {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// Somebody takes part by telephone.
    CallsIn {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// Somebody left.
    Left {
        /// Who.
        #[serde(flatten)]
        who: Who,
    },
    /// A moderator wants a Target.
    Wanted {
        /// Which.
        target: TargetId,
        /// What it is.
        what: What,
    },
    /// A Take began.
    TakeBegan {
        /// Of which Target.
        target: TargetId,
        /// Which.
        take: TakeId,
    },
    /// A Take ended.
    TakeEnded {
        /// Of which Target.
        target: TargetId,
        /// Which.
        take: TakeId,
        /// Why.
        why: WhyEnded,
    },
    /// People in the room are shown this about a Target.
    Told {
        /// Which.
        target: TargetId,
        /// What.
        shown: Light,
        /// Of an error: one word for programs.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Of an error: one sentence.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Something went wrong.
    Fault {
        /// With which Target; missing where it was the whole Session.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<TargetId>,
        /// Who can mend it.
        blame: Blame,
        /// One sentence.
        sentence: String,
    },
    /// The room is lost.
    RoomLost {
        /// Why.
        sentence: String,
    },
    /// We are in the room: for the first time, or again.
    RoomEntered,
    /// The Session ends.
    SessionEnds {
        /// Why.
        reason: String,
        /// Set when it failed: one sentence.
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// The last line: the recording is closed.
    Closed,
    /// So many lines could not be written.
    Missing {
        /// How many.
        lines: u64,
    },
}
