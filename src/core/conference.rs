//! The seam between a Conference and the Session: what a Conference can tell, and what it is told.
//! Conference systems (LiveKit, rehearsal, later OpenTalk and MatrixRTC) turn their own words into these.

use crate::fault::Fault;
use crate::ids::{ParticipantId, TargetId, TrackId};
use crate::secret::{Pii, Secret};

/// What happened in the Conference.
#[derive(Clone, PartialEq, Debug)]
pub enum ConferenceEvent {
    /// We are in the room. Sent after each successful join, also a rejoin; the complete list of people and Tracks follows as
    /// `Joined` and `TrackUp`, then `Listed`.
    Entered {
        /// What the room calls itself, if it does.
        title: Option<Pii>,
    },
    /// All people and Tracks that were in the room when we entered have been told; who was known before and was not told again is gone.
    Listed,
    /// A Participant is in the room (also sent again when the name changes).
    Joined {
        /// Who.
        participant: ParticipantId,
        /// What they are called.
        name: Pii,
    },
    /// What a Participant is in the room, beside a name. Comes after `Joined` and whenever it changes; who was never told about has
    /// [`Facts::default`].
    Facts {
        /// Who.
        participant: ParticipantId,
        /// All of it.
        facts: Facts,
    },
    /// A Participant left.
    Left {
        /// Who.
        participant: ParticipantId,
    },
    /// A Track can be subscribed, or its facts changed.
    TrackUp {
        /// Which.
        track: TrackId,
        /// Muted by its sender: no media is to be expected.
        muted: bool,
    },
    /// A Track is gone.
    TrackDown {
        /// Which.
        track: TrackId,
    },
    /// The Conference's own hint of who speaks; our meter has precedence.
    Speaking {
        /// Everybody who speaks now, loudest first.
        participants: Vec<ParticipantId>,
    },
    /// Whether somebody agrees to be recorded, as the room states it. Sent after `Joined` and whenever it changes, by Conferences that ask
    /// people; who was never told about has not agreed.
    Consent {
        /// Who.
        participant: ParticipantId,
        /// Agrees.
        given: bool,
        /// What the Conference calls the message that said so.
        by: &'static str,
    },
    /// Somebody who may do so wants something of a Target.
    Wish {
        /// Which; the Conference's own name for it.
        target: TargetId,
        /// What.
        wish: TargetWish,
    },
    /// What the Conference shows people about a Target now. It may differ from what it was told last.
    Shown {
        /// Which.
        target: TargetId,
        /// What.
        light: Light,
    },
    /// The connection is lost; the adapter itself tries to resume and to rejoin, until told to leave.
    /// `Entered` says that we are back.
    Lost {
        /// Why, and whether another attempt can help.
        fault: Fault,
    },
    /// The Conference ended for us: room closed, kicked, or refused for good. Nothing follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// What somebody is in the room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes part.
    #[default]
    Attendee,
    /// Is one of those whom the others came for.
    Presenter,
    /// Runs the meeting.
    Moderator,
    /// Signs what the others say, and must stay in view.
    Interpreter,
}

/// Whether somebody wants to say something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Hand {
    /// No.
    #[default]
    Down,
    /// Yes.
    Raised {
        /// Since when, in milliseconds since 1970 by the Conference's clock, if it says so. Only compared with that of other hands.
        unix_ms: Option<u64>,
    },
}

/// What is known about a Participant beside a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// What they are in the room.
    pub role: Role,
    /// Whether they want to say something.
    pub hand: Hand,
    /// Address of a picture of them, for a tile without one. Decisions do not depend on it.
    pub avatar: Option<Pii>,
    /// Takes part by telephone, and may have had no way to be asked for consent.
    pub call_in: bool,
}

/// What a moderator wants of a Target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetWish {
    /// Deliver: begin, resume, or try again now, whichever applies.
    Start(Delivery),
    /// Deliver nothing until the next `Start`, which continues the same delivery.
    Pause,
    /// End the delivery.
    Stop,
}

/// What is delivered where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// A recording, stored as the operator has configured.
    Recording,
    /// A live destination.
    Live {
        /// Address with the stream key, as the Conference gave it; not yet checked.
        location: Secret,
    },
}

/// What a Conference can show people about a Target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// Nothing runs.
    Inactive,
    /// Was asked for, and does not run yet.
    Starting,
    /// Runs.
    Active,
    /// Was paused.
    Paused,
    /// Failed.
    Error,
}

/// What a Conference is told about a Target: the projection of its state onto what a Conference can show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing runs.
    Inactive,
    /// Was asked for, and does not run yet.
    Starting,
    /// Runs.
    Active,
    /// Was paused.
    Paused,
    /// Failed.
    Error {
        /// One word for programs, in snake case.
        code: &'static str,
        /// One sentence for people.
        message: String,
    },
}

impl Standing {
    /// What people see of it.
    pub fn light(&self) -> Light {
        match self {
            Self::Inactive => Light::Inactive,
            Self::Starting => Light::Starting,
            Self::Active => Light::Active,
            Self::Paused => Light::Paused,
            Self::Error { .. } => Light::Error,
        }
    }
}

/// Why a Conference ended.
#[derive(Clone, PartialEq, Debug)]
pub enum EndReason {
    /// The room was closed, or everybody was sent away.
    RoomClosed,
    /// We left because we were told to.
    Left,
    /// Somebody removed us, or another participant took our identity.
    Removed,
    /// We were not let in, or can no longer be: wrong or expired token, unknown room, protocol error.
    Refused(Fault),
}

/// How large a Track will be drawn, so that the smallest sufficient simulcast layer is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LayerWish {
    /// Width of the tile in pixels.
    pub width_px: u32,
    /// Height of the tile in pixels.
    pub height_px: u32,
}

/// One Track that is to be received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Which.
    pub track: TrackId,
    /// For video: the size wanted, or `None` while it is not in the Scene (stay subscribed, but receive nothing). Sound: always `None`.
    pub layer: Option<LayerWish>,
}

/// What a Conference is told.
#[derive(Clone, PartialEq, Debug)]
pub enum ConferenceCommand {
    /// Receive exactly these Tracks; the adapter works out what changes.
    Subscribe(Vec<Subscription>),
    /// A decoder of this Track needs a keyframe; the adapter throttles.
    RequestKeyframe(TrackId),
    /// Show people this about a Target; a Conference that cannot does nothing.
    Report {
        /// Which.
        target: TargetId,
        /// How it stands.
        standing: Standing,
    },
    /// Leave, and end with `Ended(Left)`.
    Leave,
}
