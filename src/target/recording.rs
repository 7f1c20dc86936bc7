//! The recording Target: one Take into the spool folder of a Session.
//!
//! In: encoded packets from the programme ring. Out: a file that plays at any moment, and reports of what is on disk. Runs on an own OS
//! thread for each Take, because it waits for the disk after every fragment. Refuses to say "written" before the disk has confirmed,
//! to drop packets on its own account, and to keep anything of before the Take's start or after its end.
//!
//! A Take after the first, also one of a replacement worker, is appended to the same file when the codec headers are equal; else it
//! begins the next part. Ending the file is the caller's: [`crate::storage::finalise`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::{TakeId, TargetId};
use recorder_core::time::SessionTime;

use crate::programme::packet::CodecHeaders;
use crate::programme::ring::Cursor;
pub use crate::programme::ring::Next;
use crate::span::carried;
use crate::storage::disk::{Disk, SystemDisk};

mod file;
mod take;

#[cfg(test)]
mod long_tests;
#[cfg(test)]
mod tests;

/// Where packets come from: a cursor of the programme ring.
pub trait PacketSource: Send {
    /// The next packet, waiting for at most `wait`.
    fn next(&mut self, wait: Duration) -> Next;

    /// The codec headers; `None` until the encoders have said them.
    fn headers(&self) -> Option<CodecHeaders>;
}

impl PacketSource for Cursor {
    fn next(&mut self, wait: Duration) -> Next {
        Self::next(self, wait)
    }

    fn headers(&self) -> Option<CodecHeaders> {
        Self::headers(self)
    }
}

/// What to record, and where.
#[derive(Clone, Debug)]
pub struct RecordingSettings {
    /// The Session's spool folder, made by [`Spool::create`](crate::storage::Spool::create).
    pub folder: PathBuf,
    /// Name of the Target.
    pub id: TargetId,
    /// Which Take of it.
    pub take: TakeId,
    /// The first programme instant. The Take begins with the keyframe that was forced there.
    pub start: SessionTime,
}

/// What a recording says about itself.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordingReport {
    /// The first picture was taken.
    Began {
        /// Its programme instant.
        at: SessionTime,
        /// The file that grows.
        file: PathBuf,
        /// Where in the film that picture stands.
        film: Duration,
    },
    /// The disk has confirmed.
    Written {
        /// All pictures and sound of this Take before this programme instant are on disk.
        until: SessionTime,
        /// Bytes of the file.
        bytes: u64,
    },
    /// The disk was too slow for too long, and packets are missing. The recording goes on at the next keyframe.
    Gap {
        /// How many packets are missing.
        missed: u64,
        /// For the moderator.
        fault: Fault,
    },
    /// The recording cannot go on. What was written before is kept, and can be finalised. `Ended` follows.
    Failed(Fault),
    /// The last report: the file is closed and synced.
    Ended {
        /// The Take holds everything before this programme instant; `None` when it never began.
        until: Option<SessionTime>,
        /// Bytes of the file.
        bytes: u64,
    },
}

/// A running Take.
pub struct RecordingTarget {
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

/// What the Take's thread is told.
struct Control {
    /// Nanoseconds of session time; `u64::MAX` while no end is known.
    end_ns: AtomicU64,
    at_once: AtomicBool,
}

impl RecordingTarget {
    /// Starts the thread. `reports` is called on it and must not block.
    ///
    /// # Errors
    /// Those of the system when it has no thread to give; everything else is reported.
    pub fn start<S, R>(settings: RecordingSettings, source: S, reports: R) -> std::io::Result<Self>
    where
        S: PacketSource + 'static,
        R: FnMut(RecordingReport) + Send + 'static,
    {
        Self::start_on(Arc::new(SystemDisk), settings, source, reports)
    }

    /// [`RecordingTarget::start`] on a given disk.
    ///
    /// # Errors
    /// As there.
    pub fn start_on<S, R>(disk: Arc<dyn Disk>, settings: RecordingSettings, source: S, reports: R) -> std::io::Result<Self>
    where
        S: PacketSource + 'static,
        R: FnMut(RecordingReport) + Send + 'static,
    {
        let control = Arc::new(Control { end_ns: AtomicU64::new(u64::MAX), at_once: AtomicBool::new(false) });
        let thread = std::thread::Builder::new().name("recording".into()).spawn({
            let control = control.clone();
            carried(move || take::run(&*disk, &settings, source, reports, &control))
        })?;
        Ok(Self { control, thread })
    }

    /// Ends the Take at a programme instant: no picture of `at` or later is kept, and no AAC frame that reaches beyond it. The thread
    /// ends when the programme has reached `at`, or when nothing has come for 10 s. Of several ends the first instant counts: behind it nothing may be made.
    pub fn end_take(&self, at: SessionTime) {
        self.control.end_ns.fetch_min(at.as_nanos(), Ordering::AcqRel);
    }

    /// Ends the Take with what has been received, without waiting for more.
    pub fn end_at_once(&self) {
        self.control.at_once.store(true, Ordering::Release);
    }

    /// Whether the thread has ended.
    pub fn is_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread has ended. Blocks: not on a tokio task. The next Take of the same folder is started after this.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the recording thread has panicked");
        }
    }
}

impl Control {
    fn end(&self) -> Option<SessionTime> {
        let end = self.end_ns.load(Ordering::Acquire);
        (end != u64::MAX).then(|| SessionTime::from_nanos(end))
    }
}

fn gap_fault(missed: u64) -> Fault {
    Fault {
        scope: Scope::Target,
        blame: Blame::Operator,
        retry: Retry::Never,
        sentence: format!("The disk was too slow for the recording: {missed} packets are missing in it."),
    }
}
