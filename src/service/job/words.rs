//! The messages themselves, in both directions.

use std::path::PathBuf;
use std::time::Duration;

use recorder_core::books::Note;
use recorder_core::fault::Fault;
use recorder_core::ids::{TakeId, TargetId, TrackId};
use recorder_core::layout::NamedText;
use recorder_core::live::LiveState;
use recorder_core::secret::Secret;
use recorder_core::session::Withheld;
use recorder_core::time::SessionTime;
use serde::{Deserialize, Serialize};

use super::{Job, WantedTarget, optional_secret};
use crate::target::rtmp::LiveFigures;

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
    /// The Tracks whose decoders run now; kept for [`Caution::Without`](super::Caution::Without).
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
