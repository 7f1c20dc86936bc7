//! Names of things, as newtypes, so that one kind of name is never taken for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; no text is refused.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of this id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// One handling of one Order. Appears in logs, folder names and status.
    SessionId
}
text_id! {
    /// A person in the Conference, by the identity that the Conference keeps for them across leaving and rejoining
    /// (LiveKit: `ParticipantInfo.identity`).
    ParticipantId
}
text_id! {
    /// One Target of a Session, unique within it.
    TargetId
}

/// What a Track carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// The picture of a person.
    Camera,
    /// The voice of a person.
    Microphone,
    /// A shared screen.
    Screen,
    /// The sound of a shared screen.
    ScreenAudio,
}

impl TrackKind {
    /// Whether the Track carries pictures.
    pub fn is_video(self) -> bool {
        matches!(self, Self::Camera | Self::Screen)
    }
}

/// One Track, named by who sends it and what it is, not by the media server's own id: a camera that is switched off and on again,
/// or seen anew after a rejoin, is the same Track, so its tile keeps its place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TrackId {
    /// Who sends it.
    pub participant: ParticipantId,
    /// What it carries.
    pub kind: TrackKind,
}

impl TrackId {
    /// The Track of `kind` that `participant` sends.
    pub fn new(participant: ParticipantId, kind: TrackKind) -> Self {
        Self { participant, kind }
    }
}

/// The n-th Take of one Target, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TakeId(pub u32);
