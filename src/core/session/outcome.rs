//! How a Session ended.

use std::fmt;
use std::time::Duration;

use crate::conference::EndReason;
use crate::fault::{Blame, Fault, Retry, Scope};

use super::{Connection, Phase};

/// How a Session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Why.
    pub why: WhyOver,
    /// Set when something went wrong; also when the end itself was as wished but a Target failed.
    pub fault: Option<Fault>,
}

/// Why a Session ended. `Display` is a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhyOver {
    /// Somebody stopped it.
    Stopped,
    /// The Take is as long as was ordered.
    DurationReached,
    /// It ran as long as any Session may.
    MaxDurationReached,
    /// The room was closed.
    RoomClosed,
    /// Nobody but us was in the room any more.
    RoomEmpty,
    /// Somebody removed us from the room.
    Removed,
    /// The Conference refused us.
    Refused,
    /// The Conference could not be reached for too long.
    ConferenceLost,
    /// No moderator wants anything any more.
    NothingWanted,
    /// Every Target failed or closed by itself.
    NoTargetLeft,
    /// No programme can be made.
    NoProgramme,
}

impl Outcome {
    pub(super) fn new(why: WhyOver, fault: Option<Fault>) -> Self {
        Self { why, fault }
    }
}

impl fmt::Display for WhyOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "Stopped.",
            Self::DurationReached => "The ordered duration is reached.",
            Self::MaxDurationReached => "The longest possible duration is reached.",
            Self::RoomClosed => "The room was closed.",
            Self::RoomEmpty => "Nobody was in the room any more.",
            Self::Removed => "Roomcast was removed from the room.",
            Self::Refused => "The conference did not let Roomcast in.",
            Self::ConferenceLost => "The connection to the conference was lost for too long.",
            Self::NothingWanted => "Nothing is wanted any more.",
            Self::NoTargetLeft => "No target is left.",
            Self::NoProgramme => "No programme can be made.",
        })
    }
}

fn conference_fault(sentence: String) -> Fault {
    Fault { scope: Scope::Session, blame: Blame::Conference, retry: Retry::Never, sentence }
}

/// The Conference said that it ended.
pub(super) fn of_conference(reason: EndReason, phase: Phase) -> Outcome {
    let never_in =
        || (phase == Phase::Entering).then(|| conference_fault("The room was closed before Roomcast was in it.".to_owned()));
    match reason {
        EndReason::RoomClosed => Outcome::new(WhyOver::RoomClosed, never_in()),
        EndReason::Removed => Outcome::new(WhyOver::Removed, never_in()),
        EndReason::Refused(fault) => Outcome::new(WhyOver::Refused, Some(fault)),
        // Expected only after `Leave`, and then the outcome is known; otherwise the adapter left without a word.
        EndReason::Left => {
            let sentence = "The conference was left although nobody asked for it.".to_owned();
            Outcome::new(WhyOver::ConferenceLost, Some(Fault { blame: Blame::Us, ..conference_fault(sentence) }))
        }
    }
}

/// We were outside for longer than `grace`.
pub(super) fn of_lost_conference(connection: &Connection, grace: Duration) -> Outcome {
    let fault = match connection {
        Connection::Outside { fault: Some(fault), .. } => fault.clone(),
        _ => conference_fault(format!("The conference did not answer within {} seconds.", grace.as_secs())),
    };
    Outcome::new(WhyOver::ConferenceLost, Some(fault))
}
