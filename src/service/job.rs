//! What the supervisor and a worker say to each other. Travels as length-prefixed JSON over a private socket pair only.

use std::path::PathBuf;
use std::time::Duration;

use recorder_core::address::AddressPolicy;
use recorder_core::books::What;
use recorder_core::claim::{Claimed, ClaimedTarget};
use recorder_core::conference::Delivery;
use recorder_core::ids::{SessionId, TakeId, TargetId};
use recorder_core::layout::{LookText, NamedText};
use recorder_core::secret::Secret;
pub use recorder_core::session::Withheld;
use recorder_core::stage::ConsentRule;
pub use recorder_core::supervision::Caution;
use serde::{Deserialize, Serialize};

use crate::avatar::AvatarRules;
use crate::graph::EncoderWish;
use crate::mixer::sound::LevelSettings;

mod words;

pub use words::{FromWorker, Status, ToWorker};

/// Everything that a worker needs to run one Session, or to go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What every worker of the Session is told.
    pub course: Course,
    /// Where the room is.
    pub conference: ConferenceJob,
    /// What is to be delivered.
    pub targets: Vec<TargetJob>,
    /// End the Session by itself when this worker's Take is this long (for one that goes on after another: what is left).
    pub duration: Option<Duration>,
    /// The Take to begin with: above 1 for a worker that goes on after another one.
    pub first_take: TakeId,
    /// How much to attempt after earlier workers died.
    pub caution: Caution,
    /// Who may be recorded.
    pub consent: ConsentRule,
    /// Where people are asked: what still comes is kept for so long when nobody can withdraw.
    pub signaling_grace: Duration,
    /// Set when moderators in the room command Targets.
    pub commanded: Option<CommandedJob>,
}

/// What holds for a whole Session, whichever worker is at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Course {
    /// The Session.
    pub session: SessionId,
    /// CLOCK_MONOTONIC at session time zero, in nanoseconds.
    pub epoch_ns: u64,
    /// How the programme looks, already checked once by the supervisor, so it is valid.
    pub look: LookText,
    /// The encodings of the programme: at least one, all of the same pictures a second.
    pub renditions: Vec<Rendition>,
    /// How long the mixer waits for late media.
    pub mixer_delay: Duration,
    /// Who encodes the pictures.
    pub encoder: EncoderWish,
    /// How loud everybody is made.
    pub level: LevelSettings,
    /// For those Targets that are live destinations.
    pub live: LiveRules,
    /// How pictures of people are fetched.
    pub avatars: AvatarRules,
    /// End when nobody but us has been in the room for this long.
    pub room_empty_grace: Duration,
    /// Give up when the Conference has been lost for this long.
    pub conference_grace: Duration,
    /// End whatever happens at this session time.
    pub max_duration: Duration,
    /// What the programme monitor is fed with, if one is wanted.
    pub monitor: Option<MonitorFeed>,
}

/// What a programme monitor is fed with, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorFeed {
    /// The private Unix socket on which the worker listens.
    pub path: PathBuf,
    /// Which of the Renditions is shown, counted from zero.
    pub rendition: usize,
}

/// How a Session goes on whose Targets are commanded in the room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandedJob {
    /// How long a live destination may be lost.
    pub reconnect_grace: Duration,
    /// How long to stay for the news that a recording is stored.
    pub delivery_grace: Duration,
    /// What is not delivered, and what moderators are told about it.
    pub withheld: Withheld,
    /// What an earlier worker of the Session was at.
    pub resumed: Vec<ResumedTarget>,
    /// What it was at, too, as far as only its name is known: to be wanted again when the room has said what it is.
    pub wanted: Vec<FormerTarget>,
    /// The folder that says whose the Session is: held for as long as the worker lives.
    pub claim: Option<PathBuf>,
}

/// A Target that is known by its name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerTarget {
    /// Which.
    pub target: TargetId,
    /// A moderator had paused it.
    pub paused: bool,
}

impl FormerTarget {
    /// The same for the claim: another supervisor would know no more of it.
    pub(super) fn claimed(&self) -> ClaimedTarget {
        ClaimedTarget { target: self.target.clone(), run: 1, next: TakeId(1), paused: self.paused, what: Claimed::Live }
    }
}

/// A Target that an earlier worker of the Session served.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumedTarget {
    /// Which.
    pub target: TargetId,
    /// What.
    pub what: WantedTarget,
    /// Which of its deliveries.
    pub run: u32,
    /// The Take that comes next.
    pub next: TakeId,
    /// A moderator has paused it.
    pub paused: bool,
    /// It may begin; otherwise [`ToWorker::Permit`] or [`ToWorker::Forbid`] follows.
    pub permitted: bool,
    /// Folder of a recording that may begin.
    pub folder: Option<PathBuf>,
}

/// What a moderator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WantedTarget {
    /// A recording.
    Recording,
    /// A live destination.
    Live {
        /// Address with the stream key.
        #[serde(with = "recorder_core::secret::over_private_socket")]
        location: Secret,
    },
}

impl From<Delivery> for WantedTarget {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Recording => Self::Recording,
            Delivery::Live { location } => Self::Live { location },
        }
    }
}

impl From<&WantedTarget> for What {
    fn from(wanted: &WantedTarget) -> Self {
        match wanted {
            WantedTarget::Recording => Self::Recording,
            WantedTarget::Live { .. } => Self::Stream,
        }
    }
}

impl From<WantedTarget> for Delivery {
    fn from(wanted: WantedTarget) -> Self {
        match wanted {
            WantedTarget::Recording => Self::Recording,
            WantedTarget::Live { location } => Self::Live { location },
        }
    }
}

/// Size, rate and quality of one encoding of the Programme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// What it is called.
    pub name: String,
    /// Width in pixels, even.
    pub width_px: u32,
    /// Height in pixels, even.
    pub height_px: u32,
    /// Pictures a second.
    pub fps: u32,
    /// H.264 average and maximum rate, kbit/s.
    pub video_kbps: u32,
    /// AAC rate, kbit/s.
    pub sound_kbps: u32,
    /// Who stands where in it, when that is not as in the others; already checked.
    pub layout: Option<NamedText>,
}

/// How to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConferenceJob {
    /// A LiveKit room.
    LiveKit {
        /// `ws://`, `wss://`, `http://` or `https://` address of the server.
        url: String,
        /// Access token for the room.
        #[serde(with = "recorder_core::secret::over_private_socket")]
        token: Secret,
        /// What the server gave an earlier worker of the Session after that token: good when that one has expired meanwhile.
        #[serde(with = "optional_secret")]
        refreshed: Option<Secret>,
        /// Certificates (PEM) that are trusted beside the system's.
        ca_file: Option<PathBuf>,
    },
    /// An OpenTalk room, of generation B.
    OpenTalk {
        /// The way into it.
        entrance: OpenTalkEntrance,
        /// An earlier worker of the Session has been there.
        follows: bool,
    },
    /// The simulated meeting: an actor process on this machine sends it.
    Rehearsal {
        /// Path of the actor's private Unix socket.
        socket: PathBuf,
    },
}

/// The way into the rooms of an OpenTalk installation; a ticket says which.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenTalkEntrance {
    /// `https://` or `http://` address of the controller.
    pub controller: String,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The same for the media server that the controller names.
    pub livekit_ca_file: Option<PathBuf>,
    /// What others would see if the recorder were not hidden.
    pub display_name: String,
}

/// One delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TargetJob {
    /// A recording in the spool.
    Recording {
        /// Its name within the Session.
        id: TargetId,
        /// Which of the Renditions it records, counted from zero.
        rendition: usize,
        /// Its folder in the spool; exists, and may hold what earlier workers wrote.
        folder: PathBuf,
    },
    /// A live destination.
    Live(LiveJob),
}

/// A live destination of a Session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveJob {
    /// Its name within the Session; what people are told.
    pub id: TargetId,
    /// Which of the Renditions it gets, counted from zero.
    pub rendition: usize,
    /// `rtmp://` or `rtmps://` address of the application, checked by the supervisor.
    pub address: String,
    /// The stream key.
    #[serde(with = "recorder_core::secret::over_private_socket")]
    pub key: Secret,
}

/// What holds for all live destinations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LiveRules {
    /// Where streams may go.
    pub policy: AddressPolicy,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl TargetJob {
    /// Its name within the Session.
    pub fn id(&self) -> &TargetId {
        match self {
            Self::Recording { id, .. } | Self::Live(LiveJob { id, .. }) => id,
        }
    }
}

/// A secret that may be absent, on a private socket.
pub(super) mod optional_secret {
    use recorder_core::secret::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}
