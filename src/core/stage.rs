//! Who should be seen and heard now.
//!
//! In: what the Conference says about people and Tracks, and how loud they are. Out: a [`Stage`], the people and shared screens in order
//! of importance. [`People`] remembers and decides; [`Stage`] is the value that [`crate::layout`] places on a canvas. Pure: the time comes
//! in as a parameter. It knows nothing of geometry, subscriptions or Targets.

mod floor;
mod people;
#[cfg(test)]
mod tests;
mod voice;

use crate::conference::Role;
use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::secret::Pii;

pub use floor::{HOLD, INTERRUPT_AFTER, INTERRUPT_LOUDER_DB};
pub use people::{ConsentRule, People};
pub use voice::{ATTACK, LOUD_DBFS, METER_TRUST, QUIET_DBFS, RELEASE};

/// How loud one Participant was in the last stretch that our own meter measured (about 100 ms).
#[derive(Clone, PartialEq, Debug)]
pub struct Loudness {
    /// Who.
    pub participant: ParticipantId,
    /// Root mean square of all their sound, in decibels below full scale: 0 is the loudest possible, silence is very negative
    /// (minus infinity is fine; not a number counts as silence).
    pub dbfs: f32,
}

/// What a seat is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// A screen that a Participant shares.
    Screen,
    /// The Participant: their camera, or a placeholder with their name.
    Person,
}

/// One person or one shared screen that wants a tile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Whose seat.
    pub participant: ParticipantId,
    /// What they are called.
    pub name: Pii,
    /// The person or their screen.
    pub part: Part,
    /// The Track to show; `None` is a placeholder: no camera, or one that may not be decoded.
    pub video: Option<TrackId>,
    /// Microphone muted or absent. Always false for a screen, whose label says nothing about a microphone.
    pub muted: bool,
    /// Speaks now. Always false for a screen.
    pub speaking: bool,
    /// What the person is in the room.
    pub role: Role,
    /// Place in the order of raised hands, the first to speak having the lowest; `None` while it is down, and for a screen.
    pub hand: Option<u64>,
    /// The one who has the floor. Always false for a screen.
    pub floor: bool,
    /// Order of arrival: of the person, or of the shared screen. Never changes while they stay, also across a lost connection.
    pub arrival: u64,
}

impl Seat {
    /// The seat of an attendee, or of their screen, of whom nothing else is known: without a picture, silent, and with the hand down.
    pub fn new(participant: ParticipantId, name: Pii, part: Part, arrival: u64) -> Self {
        Self {
            participant,
            name,
            part,
            video: None,
            muted: false,
            speaking: false,
            role: Role::default(),
            hand: None,
            floor: false,
            arrival,
        }
    }

    /// The same with its picture: of the person's camera, or of the screen.
    pub fn with_video(self) -> Self {
        let kind = match self.part {
            Part::Screen => TrackKind::Screen,
            Part::Person => TrackKind::Camera,
        };
        Self { video: Some(TrackId::new(self.participant.clone(), kind)), ..self }
    }
}

/// Everybody who wants to be seen, most important first: screens (newest first), who has the floor, who speaks, who spoke last, who came first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stage {
    /// The seats, most important first.
    pub seats: Vec<Seat>,
    /// The Tracks that are heard.
    pub audible: Vec<TrackId>,
}
