//! How the Session and its Targets stand, as the page shows it: names and states, no keys and no addresses.

use serde::{Deserialize, Serialize};

/// How it goes; renewed once a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Seconds since the Session began.
    pub elapsed_s: u64,
    /// People in the room, without us.
    pub people: u32,
    /// Tiles in the picture.
    pub tiles: u32,
    /// Pictures a second, in the last second.
    pub fps: f32,
    /// Pictures made.
    pub pictures: u64,
    /// Of these, repeated because the machine was too slow.
    pub repeated: u64,
    /// How far the encoder is behind the mixer.
    pub encoder_lag_ms: u64,
    /// The Targets.
    pub targets: Vec<TargetStanding>,
}

/// How one Target stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStanding {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it stands.
    pub state: TargetState,
    /// Of a recording and of an upload: bytes that are safe. Of a live destination: bytes that it has confirmed.
    pub bytes: u64,
}

/// What a Target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A recording on this machine.
    Recording,
    /// A live destination.
    Live,
    /// An object in a storage.
    Upload,
}

/// How a Target stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TargetState {
    /// Nothing has begun.
    Waiting,
    /// It is written.
    Recording {
        /// Seconds of the programme that are safe.
        seconds: u64,
    },
    /// It goes on as soon as another worker takes the place of one that died.
    Interrupted {
        /// Seconds of the programme that are safe.
        seconds: u64,
    },
    /// The first attempt.
    Connecting,
    /// On air.
    Live,
    /// On air, late.
    Behind {
        /// By so much.
        by_s: u64,
    },
    /// Not on air; it is tried again.
    Retrying {
        /// Which attempt comes next.
        attempt: u32,
        /// Why, in one sentence.
        reason: String,
    },
    /// The destination does not want the stream; it is tried again.
    Refused {
        /// Which attempt comes next.
        attempt: u32,
        /// Why, in one sentence.
        reason: String,
    },
    /// Over.
    Ended,
    /// Bytes are on their way.
    Uploading,
    /// The storage does not take it now; it is tried again.
    UploadRetrying,
    /// The storage refuses; somebody must do something.
    UploadRefused,
    /// The storage has confirmed all of it.
    Stored,
    /// It cannot be stored.
    Lost,
}
