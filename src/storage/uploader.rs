//! Uploads one file of the spool while it grows.
//!
//! In: how far the file is ([`Uploading::grown`], [`Uploading::ended`]), and answers of an [`ObjectStore`]. Out: an object, a journal, and
//! how it stands. One tokio task for each upload, and one for each request under way; the disk is waited for on tokio's blocking threads.
//! What to do is decided by [`recorder_core::upload`]. Refuses to make anybody wait: who tells it something leaves the newest value and goes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use recorder_core::ids::SessionId;
use recorder_core::time::SessionTime;
use recorder_core::upload::{Action, Answer, Input, Request, RequestId, State, Status, Trouble, Upload};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::disk::Disk;
use super::outbox::Outgoing;

/// A journal that cannot be saved is tried again after this time.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// A storage of objects.
pub trait ObjectStore: Send + Sync + 'static {
    /// Does what is asked, within limits of time that it sets itself. Dropping the future leaves open whether it was done. `file` is what
    /// parts are read from.
    fn perform(&self, request: Request, file: Arc<Path>) -> BoxFuture<'static, Result<Answer, Trouble>>;
}

/// A running upload. When it is dropped the upload stops as by a crash, and can be resumed.
#[derive(Debug)]
pub struct Uploading {
    file: watch::Sender<FileState>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

/// What is known of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileState {
    Growing(u64),
    Ended(u64),
    Unusable,
}

impl Uploading {
    /// Begins an upload, or goes on with it, on the tokio runtime that this is called on.
    pub fn start(store: Arc<dyn ObjectStore>, disk: Arc<dyn Disk>, outgoing: Outgoing) -> Self {
        let (session, key) = (outgoing.journal.session.clone(), outgoing.journal.upload.key.clone());
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &key);
        let upload = if outgoing.begun {
            Upload::resume(outgoing.journal.upload.clone(), seed, SessionTime::ZERO)
        } else {
            Upload::begin(outgoing.journal.upload.clone(), seed, SessionTime::ZERO)
        };
        let (file, file_seen) = watch::channel(FileState::Growing(0));
        let (tell, status) = watch::channel(upload.status());
        let actor = Actor {
            store,
            disk,
            file: outgoing.file.clone().into(),
            outgoing: Box::new(outgoing),
            upload,
            epoch: Instant::now(),
            file_seen,
            tell,
            requests: JoinSet::new(),
            ids: HashMap::new(),
        };
        let span = span(&session, &key);
        Self { file, status, task: tokio::spawn(actor.run().instrument(span)) }
    }

    /// The disk has confirmed so many bytes of the file.
    pub fn grown(&self, bytes: u64) {
        self.file.send_if_modified(|file| match file {
            FileState::Growing(before) if *before < bytes => {
                *before = bytes;
                true
            }
            _ => false,
        });
    }

    /// The file is an ordinary one now, of this length.
    pub fn ended(&self, bytes: u64) {
        self.file.send_if_modified(|file| {
            let grows = matches!(file, FileState::Growing(_));
            if grows {
                *file = FileState::Ended(bytes);
            }
            grows
        });
    }

    /// The file holds nothing that can be used: what was sent of it is taken back. Too late after [`Uploading::ended`].
    pub fn unusable(&self) {
        self.file.send_if_modified(|file| {
            let grows = matches!(file, FileState::Growing(_));
            if grows {
                *file = FileState::Unusable;
            }
            grows
        });
    }

    /// How it stands, and word of each change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Returns when nothing is left to do.
    pub async fn over(&mut self) {
        if let Err(error) = (&mut self.task).await
            && error.is_panic()
        {
            tracing::error!("the task of an upload has panicked");
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Actor {
    store: Arc<dyn ObjectStore>,
    disk: Arc<dyn Disk>,
    file: Arc<Path>,
    outgoing: Box<Outgoing>,
    upload: Upload,
    epoch: Instant,
    file_seen: watch::Receiver<FileState>,
    tell: watch::Sender<Status>,
    /// Dropped with the actor, and its requests with it.
    requests: JoinSet<Result<Answer, Trouble>>,
    ids: HashMap<tokio::task::Id, RequestId>,
}

impl Actor {
    async fn run(mut self) {
        loop {
            while let Some(action) = self.upload.poll_action() {
                match action {
                    Action::Save(record) => self.save(*record).await,
                    Action::Ask { id, request } => {
                        let task = self.requests.spawn(self.store.perform(request, self.file.clone()).in_current_span());
                        self.ids.insert(task.id(), id);
                    }
                    Action::Tell(status) => self.say(status),
                }
            }
            if self.upload.is_over() && self.requests.is_empty() {
                return;
            }
            let wake = self.upload.poll_wake().map(|time| self.epoch + time.since(SessionTime::ZERO));
            let input = tokio::select! {
                Some(answered) = self.requests.join_next_with_id() => match self.answered(answered) {
                    Some(input) => input,
                    None => continue,
                },
                Ok(()) = self.file_seen.changed() => match *self.file_seen.borrow_and_update() {
                    FileState::Growing(bytes) => Input::Grown { bytes },
                    FileState::Ended(bytes) => Input::Ended { bytes },
                    FileState::Unusable => Input::Abandon,
                },
                () = sleep_until(wake.unwrap_or(self.epoch)), if wake.is_some() => Input::Woken,
                else => return,
            };
            let now = SessionTime::ZERO + self.epoch.elapsed();
            self.upload.handle(input, now);
        }
    }

    fn answered(
        &mut self,
        answered: Result<(tokio::task::Id, Result<Answer, Trouble>), tokio::task::JoinError>,
    ) -> Option<Input> {
        let (task, answer) = match answered {
            Ok((task, answer)) => (task, answer),
            Err(error) => (error.id(), Err(Trouble::Local("a request has panicked".into()))),
        };
        Some(Input::Answered { id: self.ids.remove(&task)?, answer })
    }

    /// Returns when the journal is on the disk: what comes after it must not happen before.
    async fn save(&mut self, record: recorder_core::upload::Record) {
        loop {
            let (disk, mut outgoing, record) = (self.disk.clone(), self.outgoing.clone(), record.clone());
            let saved = tokio::task::spawn_blocking(move || {
                let saved = outgoing.save(&*disk, record);
                (outgoing, saved)
            });
            match saved.await {
                Ok((outgoing, Ok(()))) => {
                    self.outgoing = outgoing;
                    return;
                }
                Ok((_, Err(error))) => {
                    let fault = error.to_fault();
                    tracing::error!(reason = %fault, "the journal of an upload cannot be saved; the upload waits");
                    let status = Status { state: State::Refused(fault), ..self.upload.status() };
                    self.tell.send_replace(status);
                }
                Err(_) => tracing::error!("the journal of an upload cannot be saved; the upload waits"),
            }
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }

    fn say(&self, status: Status) {
        let before = self.tell.borrow().state.clone();
        if before != status.state {
            match &status.state {
                State::Following | State::Finishing => tracing::debug!(sent_bytes = status.sent, "uploading"),
                State::Retrying(fault) => tracing::warn!(reason = %fault, "the upload is tried again"),
                State::Refused(fault) => tracing::error!(reason = %fault, "the upload is refused"),
                State::Stored => tracing::info!(bytes = status.sent, "the recording is in the storage"),
                State::Abandoned => tracing::info!("the upload was taken back"),
            }
        }
        self.tell.send_replace(status);
    }
}

fn span(session: &SessionId, key: &str) -> tracing::Span {
    tracing::info_span!("upload", session.id = %session, key)
}
