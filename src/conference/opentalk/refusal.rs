//! What it means when the controller does not let us in.
//!
//! In: how an attempt failed. Out: the [`Fault`] that a moderator is told. Pure. The controller's own text is never passed on: it may repeat
//! the ticket.

use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};

/// Why we are not in the room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Whoever gives tickets gave none.
    Source(Fault),
    /// The ticket was used before, is older than 30 s, or none at all.
    Ticket,
    /// The controller speaks another protocol.
    Protocol,
    /// There is no controller.
    NotHere,
    /// It restarts, is overloaded, or has lost its message broker: then nobody can join.
    Busy,
    /// No connection.
    Unreachable,
    /// No secure one.
    NotSecure,
    /// No answer in time.
    TooSlow,
    /// The room has no place left.
    Full,
    /// Our name is not one.
    Name,
    /// We would have to wait outside.
    WaitingRoom,
    /// Media are encrypted from person to person.
    EndToEnd,
    /// A breakout room.
    Breakout,
    /// The room has no media server that we know.
    NoMedia,
}

impl Refusal {
    /// Judges an HTTP answer to the upgrade.
    pub(super) fn of_http(status: u16) -> Self {
        match status {
            401 | 403 => Self::Ticket,
            400 | 426 => Self::Protocol,
            408 | 429 | 500..=599 => Self::Busy,
            _ => Self::NotHere,
        }
    }

    /// The fault that a moderator is told.
    pub(super) fn fault(&self) -> Fault {
        let soon = Retry::After(Duration::from_secs(1));
        let (blame, retry, sentence) = match self {
            Self::Source(fault) => return fault.clone(),
            Self::Ticket => (Blame::Conference, soon, "The OpenTalk controller does not accept the ticket."),
            Self::Protocol => (Blame::Operator, Retry::Never, "The OpenTalk controller speaks another version of its protocol."),
            Self::NotHere => (Blame::Operator, Retry::Never, "There is no OpenTalk controller at this address."),
            Self::Busy => (Blame::Conference, soon, "The OpenTalk controller is not ready."),
            Self::Unreachable => (Blame::Conference, soon, "The OpenTalk controller cannot be reached."),
            Self::NotSecure => (Blame::Operator, Retry::Never, "No secure connection to the OpenTalk controller is possible."),
            Self::TooSlow => (Blame::Conference, soon, "The OpenTalk controller does not answer in time."),
            Self::Full => (
                Blame::Conference,
                Retry::After(Duration::from_secs(5)),
                "The OpenTalk room has no place for another participant.",
            ),
            Self::Name => (Blame::Operator, Retry::Never, "The OpenTalk controller does not accept the recorder's display name."),
            Self::WaitingRoom => (Blame::Conference, Retry::Never, "The recorder is kept in the waiting room."),
            Self::EndToEnd => (Blame::Conference, Retry::Never, "The room is encrypted from end to end, and cannot be recorded."),
            Self::Breakout => (Blame::Conference, Retry::Never, "Breakout rooms cannot be recorded."),
            Self::NoMedia => (Blame::Conference, Retry::Never, "The OpenTalk room has no LiveKit server."),
        };
        Fault { scope: Scope::Session, blame, retry, sentence: sentence.into() }
    }
}

/// The connection is lost, and is being made again.
pub(super) fn lost(sentence: &str) -> Fault {
    let retry = Retry::After(Duration::from_secs(1));
    Fault { scope: Scope::Session, blame: Blame::Conference, retry, sentence: sentence.into() }
}
