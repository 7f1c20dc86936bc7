//! Uploads the files of one Session's recording to all of its storages.
//!
//! In: what the disk has confirmed of which file, and that [`finalise`](super::finalise()) is through. Out: how each upload stands. One tokio
//! task; it starts an [`Uploading`] for each file and storage, and ends when all are over. It belongs into the supervisor, never into a worker.
//! Refuses to make anybody wait, as its uploads do.
//!
//! The same type goes on with what an earlier process left: [`RecordingUploads::start`], then [`RecordingUploads::finalised`] at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use recorder_core::fault::Fault;
use recorder_core::upload::Status;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StorageError;
use super::disk::Disk;
use super::outbox::{self, Fortune, Outgoing, UPLOADS};
use super::spool::{FolderLock, Spool};
use super::uploader::{ObjectStore, Uploading};

/// What cannot be done with the folder is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// The storages of the configuration, by name.
pub type Stores = BTreeMap<String, Arc<dyn ObjectStore>>;

/// How one upload stands.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadOf {
    /// Name of the file in the spool: `recording.mp4`.
    pub file: String,
    /// Name of the storage.
    pub storage: String,
    /// The bucket.
    pub bucket: String,
    /// How it stands.
    pub status: Status,
}

/// How all uploads of a recording stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uploads {
    /// Those that have begun.
    pub each: Vec<UploadOf>,
    /// Why those that should have begun have not.
    pub fault: Option<Fault>,
    /// Nothing is left to do. Only after [`RecordingUploads::finalised`].
    pub over: bool,
}

/// Of several recordings together.
impl FromIterator<Self> for Uploads {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut sum = Self { over: true, ..Self::default() };
        let mut any = false;
        for Self { each, fault, over } in all {
            any = true;
            sum.each.extend(each);
            sum.fault = sum.fault.or(fault);
            sum.over &= over;
        }
        sum.over &= any;
        sum
    }
}

/// The uploads of one recording. When this is dropped they stop as by a crash, and can be gone on with.
#[derive(Debug)]
pub struct RecordingUploads {
    spool: watch::Sender<SpoolState>,
    uploads: watch::Receiver<Uploads>,
    task: JoinHandle<()>,
    /// Two at a time would take each other's parts back.
    _lock: FolderLock,
}

/// What is known of the spool.
#[derive(Clone, Debug, Default)]
struct SpoolState {
    /// Bytes that the disk has confirmed, by the file's name.
    written: BTreeMap<String, u64>,
    finalised: bool,
}

impl RecordingUploads {
    /// Starts on the tokio runtime that this is called on. `spool` is a folder with declared targets (see [`outbox::declare`]); for a
    /// storage that is not among `stores` nothing is uploaded, and that is told.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when another process uploads from this folder, [`StorageError::Folder`].
    pub fn start(stores: Stores, disk: Arc<dyn Disk>, spool: PathBuf) -> Result<Self, StorageError> {
        let lock = Spool::lock(&spool.join(UPLOADS))?;
        let (state, state_seen) = watch::channel(SpoolState::default());
        let (tell, uploads) = watch::channel(Uploads::default());
        let task = Task { stores, disk, spool, running: Vec::new(), fault: None, tell };
        let span = tracing::Span::current();
        let task = tokio::spawn(tracing::Instrument::instrument(task.run(state_seen), span));
        Ok(Self { spool: state, uploads, task, _lock: lock })
    }

    /// The disk has confirmed so many bytes of a file of the spool. Of the path only the name counts.
    pub fn written(&self, file: &Path, bytes: u64) {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return };
        self.spool.send_if_modified(|spool| {
            let known = spool.written.get(name).copied().unwrap_or(0);
            if known < bytes {
                spool.written.insert(name.to_owned(), bytes);
            }
            known < bytes
        });
    }

    /// [`finalise`](super::finalise()) has returned. Files that it could not end are looked at again and again, because it may be repeated;
    /// of those that can never be ended, what was sent is taken back.
    pub fn finalised(&self) {
        self.spool.send_modify(|spool| spool.finalised = true);
    }

    /// How all stand, and word of each change.
    pub fn status(&self) -> watch::Receiver<Uploads> {
        self.uploads.clone()
    }

    /// Returns when nothing is left to do, which is never before [`RecordingUploads::finalised`].
    pub async fn over(&mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for RecordingUploads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    stores: Stores,
    disk: Arc<dyn Disk>,
    spool: PathBuf,
    running: Vec<Running>,
    fault: Option<Fault>,
    tell: watch::Sender<Uploads>,
}

struct Running {
    file: String,
    storage: String,
    bucket: String,
    uploading: Uploading,
    /// What it says; what was looked at counts as seen.
    status: watch::Receiver<Status>,
}

impl Task {
    async fn run(mut self, mut spool: watch::Receiver<SpoolState>) {
        let mut told_ends = false;
        loop {
            let state = spool.borrow_and_update().clone();
            let all_known = state.written.keys().all(|file| self.running.iter().any(|running| running.file == *file));
            if !all_known || (state.finalised && !told_ends) {
                let started = self.start_missing(state.finalised).await;
                self.fault = started.as_ref().err().map(StorageError::to_fault);
                told_ends = state.finalised && started.is_ok();
            }
            for running in &self.running {
                running.uploading.grown(state.written.get(&running.file).copied().unwrap_or(0));
            }
            // Looked at once: who ends from now on wakes us, because nobody else can change what we wait for.
            let open: Vec<bool> = self.running.iter().map(|running| !running.is_over()).collect();
            let over = told_ends && !open.contains(&true);
            let each = self.running.iter_mut().map(Running::stands).collect();
            self.tell.send_if_modified(|told| {
                let now = Uploads { each, fault: self.fault.clone(), over };
                let differs = *told != now;
                *told = now;
                differs
            });
            if over {
                return;
            }
            let open = self.running.iter_mut().zip(open).filter(|(_, is_open)| *is_open);
            let mut changes: FuturesUnordered<_> = open.map(|(running, _)| running.status.changed()).collect();
            tokio::select! {
                changed = spool.changed() => if changed.is_err() { return },
                Some(_) = changes.next() => {}
                () = tokio::time::sleep(AGAIN), if self.fault.is_some() => {}
            }
        }
    }

    /// Starts what is in the folder and does not run. After the end of the recording also tells each its end.
    async fn start_missing(&mut self, finalised: bool) -> Result<(), StorageError> {
        let (disk, spool) = (self.disk.clone(), self.spool.clone());
        let found = tokio::task::spawn_blocking(move || look(&*disk, &spool, finalised)).await;
        let found = found.unwrap_or_else(|_| Err(StorageError::Nothing { folder: self.spool.clone() }))?;
        let mut error = None;
        for (outgoing, fortune) in found {
            let file = outgoing.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let storage = outgoing.journal.storage.clone();
            let index = self.running.iter().position(|running| running.file == file && running.storage == storage);
            let index = match (index, self.stores.get(&storage)) {
                (Some(index), _) => index,
                (None, Some(store)) => {
                    let bucket = outgoing.journal.bucket.clone();
                    let uploading = Uploading::start(store.clone(), self.disk.clone(), outgoing);
                    let status = uploading.status();
                    self.running.push(Running { file, storage, bucket, uploading, status });
                    self.running.len() - 1
                }
                (None, None) => {
                    error = Some(StorageError::UnknownStorage { name: storage });
                    continue;
                }
            };
            match fortune {
                Some(Ok(Fortune::Ended(len))) => self.running[index].uploading.ended(len),
                Some(Ok(Fortune::Unusable)) => self.running[index].uploading.unusable(),
                Some(Ok(Fortune::Growing)) => error = Some(StorageError::Busy { folder: self.spool.clone() }),
                Some(Err(unreadable)) => error = Some(unreadable),
                None => {}
            }
        }
        error.map_or(Ok(()), Err)
    }
}

impl Running {
    fn stands(&mut self) -> UploadOf {
        let status = self.status.borrow_and_update().clone();
        UploadOf { file: self.file.clone(), storage: self.storage.clone(), bucket: self.bucket.clone(), status }
    }

    fn is_over(&self) -> bool {
        self.uploading.is_over()
    }
}

/// What is to be uploaded. While recording, files get their second names here; after it, what became of them is looked at.
fn look(disk: &dyn Disk, spool: &Path, finalised: bool) -> Result<Vec<Looked>, StorageError> {
    if !finalised {
        for name in (1..).map(super::spool::part_name).take_while(|name| spool.join(name).exists()) {
            outbox::keep_for_uploads(disk, spool, &name)?;
        }
    }
    let look_at = |outgoing: Outgoing| {
        // What is over may be deleted already.
        let fortune = (finalised && !outgoing.is_over()).then(|| outbox::fortune(disk, &outgoing.file));
        (outgoing, fortune)
    };
    Ok(outbox::outgoing(spool)?.into_iter().map(look_at).collect())
}

type Looked = (Outgoing, Option<Result<Fortune, StorageError>>);
