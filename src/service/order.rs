//! What a supervisor is ordered to do, and what it tells: the words between the command line and [`super::supervisor`].
//!
//! In and out: plain values and two small traits. Nothing here runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::fault::Fault;
use recorder_core::ids::{SessionId, TargetId};
use recorder_core::layout::LookText;
use recorder_core::live::LiveState;
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;

use super::job::{LiveJob, LiveRules, Rendition, Status};
use crate::avatar::AvatarRules;
use crate::mixer::sound::LevelSettings;
use crate::storage::RecordingUploads;
use crate::storage::recording_uploads::Uploads;
use crate::target::rtmp::LiveFigures;

/// Where access tokens come from.
pub trait Tokens: Send {
    /// A token that is newer than the last one given, or `None` when there is none to be had.
    fn fresh(&mut self) -> Option<Secret>;
}

/// How a worker is to join.
pub enum Room {
    /// A LiveKit room.
    LiveKit {
        /// Address of the server.
        url: String,
        /// The token for the first join.
        token: Secret,
        /// Later ones.
        tokens: Box<dyn Tokens>,
    },
    /// The simulated meeting.
    Rehearsal {
        /// The actors' private socket.
        socket: PathBuf,
    },
}

/// One Session that is to be run.
pub struct SessionOrder {
    /// Its name.
    pub session: SessionId,
    /// CLOCK_MONOTONIC at session time zero, in nanoseconds.
    pub epoch_ns: u64,
    /// Where.
    pub room: Room,
    /// How the programme looks; was checked without an error.
    pub look: LookText,
    /// Size, rate and quality.
    pub rendition: Rendition,
    /// How long the mixer waits.
    pub mixer_delay: Duration,
    /// How loud everybody is made.
    pub level: LevelSettings,
    /// End when the Take is this long.
    pub duration: Option<Duration>,
    /// End when nobody but us was in the room for this long.
    pub room_empty_grace: Duration,
    /// Give up when the Conference was lost for this long.
    pub conference_grace: Duration,
    /// End in any case.
    pub max_duration: Duration,
    /// What is recorded, if anything is.
    pub recording: Option<RecordingOrder>,
    /// Live destinations, each with a name of its own.
    pub lives: Vec<LiveJob>,
    /// For all of them.
    pub live: LiveRules,
    /// How pictures of people are fetched.
    pub avatars: AvatarRules,
    /// Path of the private Unix socket on which a programme monitor gets the packets, if one is wanted.
    pub monitor: Option<PathBuf>,
}

/// A recording that is wanted.
#[derive(Clone)]
pub struct RecordingOrder {
    /// Spool folder of the Session; exists.
    pub folder: PathBuf,
    /// Who is told what the disk has confirmed, so that it is uploaded while it grows.
    pub uploads: Option<Arc<RecordingUploads>>,
}

/// How patient the supervisor is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often it looks: progress, memory, deadlines.
    pub tick: Duration,
    /// A worker that said nothing for so long is aborted and replaced.
    pub silence: Duration,
    /// A worker that said its last word, or was aborted, is gone after this time, or is killed.
    pub exit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tick: Duration::from_secs(1), silence: Duration::from_secs(10), exit: Duration::from_secs(5) }
    }
}

/// How it goes, for whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Session time.
    pub elapsed: Duration,
    /// What the worker said last; pictures are summed over all workers.
    pub status: Status,
    /// Bytes of the recording that are safe.
    pub bytes: u64,
    /// The first programme instant is recorded.
    pub recording: bool,
    /// Programme time of the recording that is safe, over all Takes; `None` when nothing is to be recorded.
    pub recorded: Option<Duration>,
    /// The live destinations, in the order in which they were given.
    pub lives: Vec<LiveStand>,
    /// The uploads.
    pub uploads: Uploads,
}

/// How a live destination stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveStand {
    /// Its name.
    pub id: TargetId,
    /// What was seen last; `None` while no worker serves it.
    pub state: Option<LiveState>,
    /// Over all workers.
    pub figures: LiveFigures,
    /// Of these, what earlier workers did.
    pub(super) before: LiveFigures,
}

impl LiveStand {
    /// Nothing was seen yet.
    pub(super) fn new(id: TargetId) -> Self {
        Self { id, state: None, figures: LiveFigures::default(), before: LiveFigures::default() }
    }

    /// The worker that served it is gone.
    pub(super) fn unserved(&mut self) {
        self.state = None;
        self.before = self.figures;
    }

    /// What the worker that serves it says.
    pub(super) fn heard(&mut self, figures: LiveFigures) {
        let before = &self.before;
        self.figures = LiveFigures {
            confirmed_bytes: before.confirmed_bytes + figures.confirmed_bytes,
            publishings: before.publishings + figures.publishings,
            left_out: before.left_out + figures.left_out,
            resent: before.resent + figures.resent,
            ..figures
        };
    }
}

/// Who watches the Session: the progress line, later the moderator's notices.
pub trait View: Send {
    /// Once a tick.
    fn progress(&mut self, snapshot: &Snapshot);
    /// Something happened that a person should know.
    fn tell(&mut self, fault: &Fault);
    /// A live destination stands differently.
    fn live(&mut self, id: &TargetId, state: &LiveState);
}

/// How the Session ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the worker gave as its reason.
    pub reason: String,
    /// Set when the Session failed.
    pub fault: Option<Fault>,
    /// It was ended at once, by a second wish to stop.
    pub at_once: bool,
    /// The last state.
    pub last: Snapshot,
    /// Programme time that is safe, over all Takes.
    pub recorded: Duration,
    /// Processor time of all workers and of the supervisor.
    pub cpu: Duration,
    /// Highest memory of all own processes together, in bytes.
    pub peak_memory_bytes: u64,
    /// Workers that were started.
    pub workers: u32,
}

/// A session clock; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SessionTime + Send + Sync>;
