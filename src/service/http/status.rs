//! What operators are shown of Sessions and Targets, as it travels.
//!
//! In: the [`Board`]. Out: JSON objects; the command line reads the same types. Nothing in them is a key or the name of a person: what is shown comes from
//! types that hold neither.

use recorder_core::controller_upload::State as FilmState;
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::live::LiveState;
use recorder_core::upload::State as UploadState;
use serde::{Deserialize, Serialize};

use crate::service::board::{Board, Delivery, Load, Posted};
use crate::service::order::{LiveStand, RecordingSnapshot, SessionState, Snapshot};
use crate::storage::controller_upload::FilmStand;
use crate::storage::recording_uploads::UploadOf;

/// `GET /health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The process answers.
    pub live: bool,
    /// It can take Orders, if there is room.
    pub ready: bool,
    /// Why it cannot.
    pub not_ready: Option<String>,
    /// How much it takes.
    pub capacity: Room,
}

/// How much work a process takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// Sessions that run.
    pub running: usize,
    /// Sessions that may run at the same time.
    pub most: usize,
    /// Sessions that there is room for.
    pub free: usize,
    /// What the machine has left, where that is looked at.
    pub machine: Option<MachineStatus>,
}

/// What a machine has and uses, or the part of it that Roomcast may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Processors.
    pub cpus: f64,
    /// Of these, in use, by whomever.
    pub cpus_used: f64,
    /// Memory that is free.
    pub memory_free_bytes: u64,
    /// What is free of the spool's disk.
    pub disk_free_bytes: u64,
    /// Size of that disk.
    pub disk_bytes: u64,
    /// Descriptors that the process may still open.
    pub files_free: u64,
    /// What there is too little of for another Session: `cpu`, `memory`, `disk`, `files`.
    pub too_little: Option<String>,
}

impl MachineStatus {
    fn of(board: &Board) -> Option<Self> {
        let Load { machine, shortage } = board.load()?;
        Some(Self {
            cpus: machine.cpus,
            cpus_used: machine.cpu_used,
            memory_free_bytes: machine.memory_free,
            disk_free_bytes: machine.disk_free,
            disk_bytes: machine.disk_size,
            files_free: machine.files_free,
            too_little: shortage.map(|shortage| shortage.word().to_owned()),
        })
    }
}

impl Health {
    pub(super) fn of(board: &Board) -> Self {
        let (capacity, not_ready) = (board.capacity(), board.not_ready());
        let machine = MachineStatus::of(board);
        let has_room = machine.as_ref().is_none_or(|machine| machine.too_little.is_none());
        let free = if has_room { capacity.most.saturating_sub(capacity.running) } else { 0 };
        let room = Room { running: capacity.running, most: capacity.most, free, machine };
        Self { live: true, ready: not_ready.is_none(), not_ready, capacity: room }
    }
}

/// `GET /sessions/{id}/layout`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayoutChoice {
    /// In which people are shown.
    pub layout: String,
    /// Which may be chosen.
    pub layouts: Vec<String>,
}

/// `GET /status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// What the machine has left, where that is looked at.
    pub machine: Option<MachineStatus>,
    /// Those that run.
    pub sessions: Vec<SessionStatus>,
    /// The last ones that are over, the newest first.
    pub over: Vec<SessionStatus>,
    /// Recordings of a service after their end, until they are where they go; and the last ones that came to nothing.
    #[serde(default)]
    pub deliveries: Vec<DeliveryStatus>,
}

/// What becomes of one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// The Session, and which of its recordings.
    pub recording: String,
    /// Its places.
    pub targets: Vec<TargetStatus>,
}

/// One Session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its name.
    pub id: String,
    /// `entering`, `live`, `ending`, `finishing`, `over`.
    pub state: String,
    /// In which people are shown.
    pub layout: String,
    /// Session time.
    pub elapsed_s: f64,
    /// Programme time that is safe on disk.
    pub recorded_s: f64,
    /// People in the room.
    pub people: u32,
    /// Tiles of the picture.
    pub tiles: u32,
    /// Programme pictures made.
    pub pictures: u64,
    /// Of these, repeated because the machine was too slow.
    pub repeated: u64,
    /// Pictures a second now.
    pub fps: f64,
    /// How far the encoder is behind.
    pub encoder_lag_ms: u64,
    /// Received frames that were dropped before decoding.
    pub dropped: u64,
    /// Workers that were started.
    pub workers: u32,
    /// Processor time of the workers.
    pub cpu_s: f64,
    /// Memory of supervisor and worker.
    pub memory_bytes: u64,
    /// Why it ended, once it did.
    pub reason: Option<String>,
    /// What went wrong last.
    pub fault: Option<FaultStatus>,
    /// Everything that is delivered.
    pub targets: Vec<TargetStatus>,
}

/// One Target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its name.
    pub id: String,
    /// `recording`, `upload`, `controller`, `live`.
    pub kind: String,
    /// One of [`STATES`].
    pub state: String,
    /// Bytes that are safe on disk, that the storage has, that the controller has taken, or that the destination has confirmed.
    pub bytes: u64,
    /// Bytes that a storage is to have so far.
    pub bytes_wanted: Option<u64>,
    /// Pictures that a live destination did not get because it was behind.
    pub left_out: Option<u64>,
    /// Times that a live destination had to be tried again.
    pub retries: Option<u64>,
    /// What went wrong last.
    pub fault: Option<FaultStatus>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// How much is affected: `target`, `session`, `process`.
    pub scope: Scope,
    /// Who can mend it: `destination`, `conference`, `operator`, `us`.
    pub blame: Blame,
    /// Another attempt comes after this time; `null`: not by itself.
    pub retry_after_s: Option<f64>,
    /// One sentence for people.
    pub sentence: String,
}

/// Kinds of Targets, and the states that each can be in.
pub const STATES: [(&str, &[&str]); 4] = [
    ("recording", &["waiting", "recording", "interrupted", "ended"]),
    ("upload", &["uploading", "finishing", "retrying", "refused", "stored", "abandoned"]),
    ("controller", &["waiting", "uploading", "retrying", "refused", "given_up", "delivered"]),
    ("live", &["waiting", "connecting", "live", "behind", "retrying", "refused", "ended"]),
];

impl Status {
    pub(super) fn of(board: &Board) -> Self {
        let all = |sessions: Vec<Posted>| sessions.iter().map(SessionStatus::of).collect();
        let deliveries = board.deliveries().iter().map(DeliveryStatus::of).collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let machine = MachineStatus::of(board);
        Self { version, machine, sessions: all(board.running()), over: all(board.over()), deliveries }
    }
}

impl SessionStatus {
    fn of(posted: &Posted) -> Self {
        let Posted { id, snapshot, ended } = posted;
        let Snapshot { status, .. } = snapshot;
        let last_fault = ended.as_ref().and_then(|ended| ended.fault.as_ref()).or(snapshot.fault.as_ref());
        Self {
            id: id.to_string(),
            state: session_word(snapshot.state).to_owned(),
            layout: snapshot.layout.clone(),
            elapsed_s: snapshot.elapsed.as_secs_f64(),
            recorded_s: snapshot.recorded.as_secs_f64(),
            people: status.people,
            tiles: status.tiles,
            pictures: status.pictures,
            repeated: status.repeated,
            fps: f64::from(status.fps),
            encoder_lag_ms: u64::try_from(status.encoder_lag.as_millis()).unwrap_or(u64::MAX),
            dropped: status.dropped,
            workers: snapshot.workers,
            cpu_s: snapshot.cpu.as_secs_f64(),
            memory_bytes: snapshot.memory_bytes,
            reason: ended.as_ref().map(|ended| ended.reason.clone()),
            fault: last_fault.map(FaultStatus::of),
            targets: targets(snapshot),
        }
    }
}

impl DeliveryStatus {
    fn of(delivery: &Delivery) -> Self {
        Self { recording: delivery.name.clone(), targets: places(delivery) }
    }
}

impl FaultStatus {
    fn of(fault: &Fault) -> Self {
        let retry_after_s = match fault.retry {
            Retry::After(time) => Some(time.as_secs_f64()),
            Retry::Never => None,
        };
        Self { scope: fault.scope, blame: fault.blame, retry_after_s, sentence: fault.sentence.clone() }
    }
}

/// All Targets of a Session.
pub(super) fn targets(snapshot: &Snapshot) -> Vec<TargetStatus> {
    let recordings = snapshot.recordings.iter().map(|one| recording(one, snapshot.state));
    let uploads = snapshot.uploads.each.iter().map(upload);
    let lives = snapshot.lives.iter().map(live);
    recordings.chain(uploads).chain(lives).collect()
}

/// All places that a recording goes to after its end.
pub(super) fn places(delivery: &Delivery) -> Vec<TargetStatus> {
    delivery.uploads.each.iter().map(upload).chain(delivery.films.iter().map(film)).collect()
}

fn recording(recording: &RecordingSnapshot, session: SessionState) -> TargetStatus {
    let state = match (session, recording.began) {
        (SessionState::Finishing | SessionState::Over, _) => "ended",
        (_, false) => "waiting",
        // It goes on when the next worker is in the room.
        (SessionState::Entering, true) => "interrupted",
        (SessionState::Live | SessionState::Ending, true) => "recording",
    };
    target(recording.id.to_string(), "recording", state, recording.bytes)
}

fn upload(upload: &UploadOf) -> TargetStatus {
    let (state, fault) = match &upload.status.state {
        UploadState::Following => ("uploading", None),
        UploadState::Finishing => ("finishing", None),
        UploadState::Retrying(fault) => ("retrying", Some(fault)),
        UploadState::Refused(fault) => ("refused", Some(fault)),
        UploadState::Stored => ("stored", None),
        UploadState::Abandoned => ("abandoned", None),
    };
    TargetStatus {
        bytes_wanted: Some(upload.status.known),
        fault: fault.map(FaultStatus::of),
        ..target(format!("s3://{}/{}", upload.bucket, upload.status.key), "upload", state, upload.status.sent)
    }
}

fn film(film: &FilmStand) -> TargetStatus {
    let (state, fault) = match &film.status.state {
        FilmState::Waiting => ("waiting", None),
        FilmState::Sending => ("uploading", None),
        FilmState::Retrying(fault) => ("retrying", Some(fault)),
        FilmState::Refused(fault) => ("refused", Some(fault)),
        FilmState::GivenUp(fault) => ("given_up", Some(fault)),
        FilmState::Delivered => ("delivered", None),
    };
    TargetStatus {
        bytes_wanted: Some(film.status.len),
        fault: fault.map(FaultStatus::of),
        ..target(format!("controller: {}", film.name), "controller", state, film.status.sent)
    }
}

fn live(live: &LiveStand) -> TargetStatus {
    let state = match &live.state {
        None => "waiting",
        Some(LiveState::Connecting) => "connecting",
        Some(LiveState::Live) => "live",
        Some(LiveState::Behind { .. }) => "behind",
        Some(LiveState::Retrying { .. }) => "retrying",
        Some(LiveState::Refused { .. }) => "refused",
        Some(LiveState::Ended) => "ended",
    };
    TargetStatus {
        left_out: Some(live.figures.left_out),
        retries: Some(live.retries),
        fault: live.fault.as_ref().map(FaultStatus::of),
        ..target(live.id.to_string(), "live", state, live.figures.confirmed_bytes)
    }
}

fn target(id: String, kind: &str, state: &str, bytes: u64) -> TargetStatus {
    let (kind, state) = (kind.to_owned(), state.to_owned());
    TargetStatus { id, kind, state, bytes, bytes_wanted: None, left_out: None, retries: None, fault: None }
}

/// The states of a Session, in their order.
pub(super) const SESSION_STATES: [SessionState; 5] =
    [SessionState::Entering, SessionState::Live, SessionState::Ending, SessionState::Finishing, SessionState::Over];

pub(super) fn session_word(state: SessionState) -> &'static str {
    match state {
        SessionState::Entering => "entering",
        SessionState::Live => "live",
        SessionState::Ending => "ending",
        SessionState::Finishing => "finishing",
        SessionState::Over => "over",
    }
}
