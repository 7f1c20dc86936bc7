//! What a supervisor is ordered to do, and what it tells: the words between the command line and [`super::supervisor`].
//!
//! In and out: plain values and two small traits. Nothing here runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::fault::Fault;
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;

use super::commanded::CommandedOrder;
use super::job::{Course, LiveJob, OpenTalkEntrance, Status};
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
        /// Certificates (PEM) that are trusted beside the system's.
        ca_file: Option<PathBuf>,
    },
    /// An OpenTalk room; tickets come from the Session's [`Steward`](super::commanded::Steward).
    OpenTalk(OpenTalkEntrance),
    /// The simulated meeting.
    Rehearsal {
        /// The actors' private socket.
        socket: PathBuf,
    },
}

/// One Session that is to be run.
pub struct SessionOrder {
    /// What all its workers are told; the look was checked without an error.
    pub course: Course,
    /// Where.
    pub room: Room,
    /// End when the Take is this long.
    pub duration: Option<Duration>,
    /// What is recorded, each with a name and a folder of its own.
    pub recordings: Vec<RecordingOrder>,
    /// Live destinations, each with a name of its own.
    pub lives: Vec<LiveJob>,
    /// Whether recordings have a ledger and an event log beside them.
    pub books: bool,
    /// Set when moderators in the room command the Targets: then none is ordered here.
    pub commanded: Option<CommandedOrder>,
}

/// A recording that is wanted.
#[derive(Clone)]
pub struct RecordingOrder {
    /// Its name.
    pub id: TargetId,
    /// Which of the Renditions is recorded, counted from zero.
    pub rendition: usize,
    /// Its spool folder; exists.
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

/// Where a Session stands, as its supervisor sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SessionState {
    /// A worker is on its way into the room: the first one, or one that takes the place of another.
    #[default]
    Entering,
    /// A worker is in the room, or was and tries to come back.
    Live,
    /// Takes end, and the worker leaves.
    Ending,
    /// The room is left; files are made and uploaded.
    Finishing,
    /// Nothing is left to do.
    Over,
}

/// How it goes, for whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Where the Session stands.
    pub state: SessionState,
    /// What operators call the layout in which people are shown.
    pub layout: String,
    /// What went wrong last, and was not about one live destination or upload.
    pub fault: Option<Fault>,
    /// Workers that were started.
    pub workers: u32,
    /// Processor time of all workers so far.
    pub cpu: Duration,
    /// Memory of supervisor and worker now, in bytes.
    pub memory_bytes: u64,
    /// The recordings.
    pub recordings: Vec<RecordingSnapshot>,
    /// Programme time that is safe on disk, over all Takes.
    pub recorded: Duration,
    /// Session time.
    pub elapsed: Duration,
    /// What the worker said last; pictures are summed over all workers.
    pub status: Status,
    /// Bytes of all recordings that are safe.
    pub bytes: u64,
    /// The first programme instant is recorded.
    pub recording: bool,
    /// The live destinations, in the order in which they were given.
    pub lives: Vec<LiveStand>,
    /// The uploads.
    pub uploads: Uploads,
}

/// How a recording stands, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingSnapshot {
    /// Its name.
    pub id: TargetId,
    /// Its first programme instant is recorded.
    pub began: bool,
    /// Programme time of it that is safe, over all Takes.
    pub recorded: Duration,
    /// Bytes that are safe.
    pub bytes: u64,
}

/// How a recording stands.
#[derive(Clone, Debug)]
pub(super) struct RecordingStand {
    pub(super) id: TargetId,
    /// Bytes that are safe.
    pub(super) bytes: u64,
    /// Length of the Takes before the running one, as far as they are safe.
    before: Duration,
    /// The newest Take: its first programme instant, and the one before which everything is safe.
    take: Option<(SessionTime, SessionTime)>,
}

impl RecordingStand {
    /// Nothing is recorded yet.
    pub(super) fn new(id: TargetId) -> Self {
        Self { id, bytes: 0, before: Duration::ZERO, take: None }
    }

    /// A Take begins with this programme instant.
    pub(super) fn began(&mut self, at: SessionTime) {
        self.before = self.recorded();
        self.take = Some((at, at));
    }

    /// The same for whoever watches.
    pub(super) fn snapshot(&self) -> RecordingSnapshot {
        RecordingSnapshot { id: self.id.clone(), began: self.take.is_some(), recorded: self.recorded(), bytes: self.bytes }
    }

    /// The disk has confirmed so many bytes, and everything before `until`.
    pub(super) fn written(&mut self, until: SessionTime, bytes: u64) {
        if let Some((_, safe)) = &mut self.take {
            *safe = until.max(*safe);
        }
        self.bytes = bytes;
    }

    /// Everything of the newest Take before this programme instant is safe.
    pub(super) fn safe_until(&self) -> Option<SessionTime> {
        self.take.map(|(_, safe)| safe)
    }

    /// Programme time that is safe: what lies between two Takes is in no file.
    pub(super) fn recorded(&self) -> Duration {
        self.before + self.take.map_or(Duration::ZERO, |(began, safe)| safe.since(began))
    }
}

/// How a live destination stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveStand {
    /// Its name.
    pub id: TargetId,
    /// What was seen last; `None` while no worker serves it.
    pub state: Option<LiveState>,
    /// What went wrong last, also when all is well again.
    pub fault: Option<Fault>,
    /// Times that it had to be tried again.
    pub retries: u64,
    /// Over all workers.
    pub figures: LiveFigures,
    /// Of these, what earlier workers did.
    pub(super) before: LiveFigures,
    /// Something went wrong since it was live.
    pub(super) in_trouble: bool,
}

impl LiveStand {
    /// Nothing was seen yet.
    pub(super) fn new(id: TargetId) -> Self {
        let none = LiveFigures::default();
        Self { id, state: None, fault: None, retries: 0, figures: none, before: none, in_trouble: false }
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
    /// Programme time that is safe, over all Takes; of several recordings, in the one that has most.
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
