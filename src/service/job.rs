//! What the supervisor and a worker say to each other. Travels as length-prefixed JSON over a private socket pair only.

use std::path::PathBuf;
use std::time::Duration;

use recorder_core::address::AddressPolicy;
use recorder_core::books::{Note, What};
use recorder_core::claim::{Claimed, ClaimedTarget};
use recorder_core::conference::Delivery;
use recorder_core::fault::Fault;
use recorder_core::ids::{SessionId, TakeId, TargetId, TrackId};
use recorder_core::layout::{LookText, NamedText};
use recorder_core::live::LiveState;
use recorder_core::secret::Secret;
pub use recorder_core::session::Withheld;
use recorder_core::stage::ConsentRule;
pub use recorder_core::supervision::Caution;
use recorder_core::time::SessionTime;
use serde::{Deserialize, Serialize};

use crate::avatar::AvatarRules;
use crate::graph::EncoderWish;
use crate::mixer::sound::LevelSettings;
use crate::target::rtmp::LiveFigures;

/// Everything that a worker needs to run one Session, or to go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The Session.
    pub session: SessionId,
    /// CLOCK_MONOTONIC at session time zero, in nanoseconds.
    pub epoch_ns: u64,
    /// Where the room is.
    pub conference: ConferenceJob,
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
    /// What is to be delivered.
    pub targets: Vec<TargetJob>,
    /// For those that are live destinations.
    pub live: LiveRules,
    /// How pictures of people are fetched.
    pub avatars: AvatarRules,
    /// End the Session by itself when this worker's Take is this long (for one that goes on after another: what is left).
    pub duration: Option<Duration>,
    /// End when nobody but us has been in the room for this long.
    pub room_empty_grace: Duration,
    /// Give up when the Conference has been lost for this long.
    pub conference_grace: Duration,
    /// End whatever happens at this session time.
    pub max_duration: Duration,
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
        /// `https://` or `http://` address of the controller.
        controller: String,
        /// Certificates (PEM) that are trusted beside the system's.
        ca_file: Option<PathBuf>,
        /// The same for the media server that the controller names.
        livekit_ca_file: Option<PathBuf>,
        /// What others would see if the recorder were not hidden.
        display_name: String,
        /// An earlier worker of the Session has been there.
        follows: bool,
    },
    /// The simulated meeting: an actor process on this machine sends it.
    Rehearsal {
        /// Path of the actor's private Unix socket.
        socket: PathBuf,
    },
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

/// Supervisor to worker. Never blocks, never lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToWorker {
    /// The first message.
    Job(Box<Job>),
    /// End all Takes now, with the last word, and leave.
    Stop,
    /// The answer to [`FromWorker::NeedToken`].
    Token {
        /// A fresh access token, or `None` when there is none to be had.
        #[serde(with = "optional_secret")]
        token: Option<Secret>,
    },
    /// The answer to [`FromWorker::NeedTicket`].
    Ticket {
        /// A ticket, or `None` and why there is none.
        #[serde(with = "optional_secret")]
        ticket: Option<Secret>,
        /// Why not.
        fault: Option<Fault>,
    },
    /// The answer to [`FromWorker::Opens`]: it may begin.
    Permit {
        /// Which.
        target: TargetId,
        /// Folder of a recording; exists.
        folder: Option<PathBuf>,
    },
    /// The answer to [`FromWorker::Opens`]: it may not.
    Forbid {
        /// Which.
        target: TargetId,
        /// Why.
        fault: Fault,
    },
    /// What a Target has recorded is stored, or cannot be.
    Delivered {
        /// Which.
        target: TargetId,
        /// Which of its deliveries.
        run: u32,
        /// Why not.
        fault: Option<Fault>,
    },
    /// The Conference has asked for the Session once more.
    OrderedAgain,
    /// This is not delivered from now on.
    Withhold(Withheld),
    /// Show people in this layout from now on. It was checked by the supervisor, so it is valid.
    Layout(NamedText),
}

/// Worker to supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromWorker {
    /// In the room.
    Joined {
        /// When.
        at: SessionTime,
    },
    /// A Take began: its first programme instant.
    TakeBegan {
        /// Of which Target.
        target: TargetId,
        /// Which.
        take: TakeId,
        /// First programme instant.
        at: SessionTime,
        /// Where in the film it lies.
        film: Duration,
    },
    /// What is synced to disk.
    Written {
        /// Of which Target.
        target: TargetId,
        /// Name of the file in the spool folder.
        file: String,
        /// Everything before this programme instant is safe.
        until: SessionTime,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A live destination stands differently.
    Live {
        /// Which.
        target: TargetId,
        /// How.
        state: LiveState,
    },
    /// How a live destination gets on; may be dropped.
    LiveFigures {
        /// Which.
        target: TargetId,
        /// Over all connections of this worker.
        figures: LiveFigures,
    },
    /// Once a second; may be dropped.
    Status(Status),
    /// A rejoin needs a new token.
    NeedToken,
    /// The server gave a new token; kept for the worker that may have to replace this one.
    TokenRefreshed {
        /// The newest.
        #[serde(with = "recorder_core::secret::over_private_socket")]
        token: Secret,
    },
    /// The Tracks whose decoders run now; kept for [`Caution::Without`].
    Decoding {
        /// Newest last.
        tracks: Vec<TrackId>,
    },
    /// A join needs a ticket.
    NeedTicket,
    /// A moderator wants a Target; may it begin?
    Opens {
        /// Which.
        target: TargetId,
        /// Which of its deliveries, counted from 1.
        run: u32,
        /// What it is.
        what: WantedTarget,
    },
    /// A Take of a Target that a moderator commands begins.
    Begins {
        /// Which.
        target: TargetId,
        /// Which Take.
        take: TakeId,
    },
    /// Such a Target is told to end its Take.
    Ends {
        /// Which.
        target: TargetId,
        /// For good, or because it was paused.
        for_good: bool,
    },
    /// Such a Target is closed: nothing of it runs any more.
    Closed {
        /// Which.
        target: TargetId,
    },
    /// What belongs into the books of recordings.
    Note {
        /// When.
        at: SessionTime,
        /// What.
        note: Note,
    },
    /// Something to tell the moderator.
    Fault(Fault),
    /// The last message: all Takes are ended and synced, the room is left.
    Ended {
        /// Why, in one sentence.
        reason: String,
        /// Set when the Session failed.
        fault: Option<Fault>,
    },
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Session time of this status.
    pub at: SessionTime,
    /// People in the room, without us.
    pub people: u32,
    /// Tiles in the Scene; of several Renditions, in the one that shows most.
    pub tiles: u32,
    /// Programme pictures made since the start.
    pub pictures: u64,
    /// Of these, repeated because the machine was too slow.
    pub repeated: u64,
    /// Pictures a second in the last second. A rate that is no number (JSON has none) arrives as zero.
    #[serde(deserialize_with = "number_or_zero")]
    pub fps: f32,
    /// How far the encoder is behind the mixer.
    pub encoder_lag: Duration,
    /// Received frames that were dropped before decoding.
    pub dropped: u64,
    /// Encoder output bytes since the start.
    pub encoded_bytes: u64,
}

fn number_or_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(0.0))
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
