//! Why a film is not at the controller, in the words of a moderator.
//!
//! In: what the adapter saw. Out: whether somebody must do something, and the [`Fault`]. Pure.

use std::time::Duration;

use super::plan::TooLarge;
use crate::fault::{Blame, Fault, Retry, Scope};

/// Why a connection for an upload was not given. Nothing of the film was sent, and the controller lists nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no access token.
    NoToken(Fault),
    /// The access token is not believed. Another one may be.
    TokenRefused,
    /// The access token is a good one, of a client without the recorder's role.
    RoleMissing,
    /// The controller says that the storage of the room's owner is full.
    StorageFull,
    /// Nothing takes uploads there.
    NotHere,
    /// What was asked is not understood.
    NotUnderstood,
    /// No secure connection is possible.
    NotSecure,
    /// No connection.
    Unreachable,
    /// It restarts, is overloaded, or is away behind its proxy.
    NotReady,
    /// No answer in time.
    TooSlow,
}

/// How a connection ended over which something was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Break {
    /// The controller ended it, before everything was there or with a word of failure.
    Closed,
    /// It broke.
    Gone,
    /// It took nothing more.
    Stalled,
    /// It took everything, and did not answer the goodbye.
    NoGoodbye,
}

impl Refusal {
    /// Somebody must do something.
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::NoToken(fault) => fault.retry == Retry::Never,
            Self::RoleMissing | Self::StorageFull | Self::NotHere | Self::NotUnderstood | Self::NotSecure => true,
            Self::TokenRefused | Self::Unreachable | Self::NotReady | Self::TooSlow => false,
        }
    }

    /// What it is, as the second half of a sentence.
    pub fn words(&self) -> String {
        let words = match self {
            Self::NoToken(fault) => return fault.sentence.trim_end_matches('.').to_owned(),
            Self::TokenRefused => "it does not accept the access token",
            Self::RoleMissing => "the access token lacks the recorder's role",
            Self::StorageFull => "the storage of the room's owner is full",
            Self::NotHere => "nothing takes uploads at its address",
            Self::NotUnderstood => "it does not understand what is asked",
            Self::NotSecure => "no secure connection to it is possible",
            Self::Unreachable => "it cannot be reached",
            Self::NotReady => "it is not ready",
            Self::TooSlow => "it does not answer in time",
        };
        words.to_owned()
    }

    pub(super) fn to_fault(&self, again: Duration) -> Fault {
        let blame = match self {
            Self::NoToken(fault) => fault.blame,
            Self::RoleMissing | Self::NotHere | Self::NotSecure => Blame::Operator,
            _ => Blame::Conference,
        };
        let sentence = format!(
            "The recording is not at the controller yet: {}. It is kept on the recorder's machine, and is tried again.",
            self.words()
        );
        Fault { scope: Scope::Target, blame, retry: Retry::After(again), sentence }
    }
}

impl Break {
    fn words(self) -> &'static str {
        match self {
            Self::Closed => "the controller does not take it: its room is gone, or the storage of the room's owner is full",
            Self::Gone => "the connection to the controller broke",
            Self::Stalled => "the controller takes nothing more of it",
            Self::NoGoodbye => "the controller did not say that it has read all of it",
        }
    }

    /// While another attempt follows.
    pub(super) fn tried_again(self, again: Duration) -> Fault {
        let sentence = format!("The recording is not at the controller yet: {}. It is sent once more.", self.words());
        Fault { scope: Scope::Target, blame: Blame::Conference, retry: Retry::After(again), sentence }
    }

    /// Once nothing follows.
    pub(super) fn given_up(self) -> Fault {
        given_up(Blame::Conference, self.words())
    }
}

/// The file cannot be read.
pub(super) fn unreadable(reason: &str) -> Fault {
    given_up(Blame::Operator, &format!("its file cannot be read ({reason})"))
}

pub(super) fn too_large(error: TooLarge) -> Fault {
    given_up(Blame::Operator, &error.to_string())
}

fn given_up(blame: Blame, why: &str) -> Fault {
    let sentence = format!("The recording could not be handed to the controller: {why}. It is kept on the recorder's machine.");
    Fault { scope: Scope::Target, blame, retry: Retry::Never, sentence }
}
