//! Where the recordings of a service are kept: a spool folder for each while it grows, then a folder of this machine, an S3 storage, the controller of the
//! room, or several of them.
//!
//! In: templates of the operator. Out: spool folders, ended files, and whether every place has them. Folders are made and files are ended on blocking
//! threads; uploads run as tasks, and go on for as long as the process lives, whoever has stopped waiting. It never deletes what is not confirmed, or, by a
//! controller, which confirms nothing, taken as a whole.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use recorder_core::controller_upload::State as FilmState;
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::SessionId;
use recorder_core::keep::Keep;
use recorder_core::upload::State;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::board::{Board, DeliveryEntry};
use super::commanded::Kept;
use crate::storage::books::Closing;
use crate::storage::controller_outbox::{self, Plan};
use crate::storage::controller_upload::{FilmStand, HandOver};
use crate::storage::disk::SystemDisk;
use crate::storage::inventory::sweep;
use crate::storage::outbox::{self, UploadTarget};
use crate::storage::recording_uploads::{Stores, Uploads};
use crate::storage::spool::{FOLDER_ENDING, Spool, remove_unrecorded};
use crate::storage::{RecordingUploads, StorageError, finalise};

/// How often a folder is looked at that somebody still writes to.
const LOOK_AT_LOCK: Duration = Duration::from_millis(100);
/// A worker without a supervisor is gone by then.
const LEFT_BY: Duration = Duration::from_secs(120);

/// Makes the storages of these objects.
pub type StoresOf = Arc<dyn Fn(&[UploadTarget]) -> Result<Stores, Fault> + Send + Sync>;

/// Where recordings go. Cheap to clone.
#[derive(Clone)]
pub struct Keeping {
    /// Folder of all spool folders.
    pub spool: PathBuf,
    /// File of this machine, if one is wanted; may contain `{room}`, `{start}` and `{session}`.
    pub file: Option<String>,
    /// Objects, their keys with the same words.
    pub objects: Vec<UploadTarget>,
    /// Who knows the storages.
    pub stores: StoresOf,
    /// Whether they go to the controller of their room.
    pub to_controller: bool,
    /// Who hands over what goes there.
    pub hand_over: HandOver,
    /// How long what is stored elsewhere stays.
    pub keep: Keep,
    /// Where operators see how it gets on.
    pub board: Board,
}

/// One recording's names.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Which Session.
    pub session: SessionId,
    /// Which room, as the Conference calls it.
    pub room: String,
    /// When it begins.
    pub start: Timestamp,
}

impl Naming {
    /// A template with its words replaced. Of the room's name only what is harmless in a path is left.
    pub fn fill(&self, template: &str) -> String {
        let harmless = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let room: String = self.room.chars().map(harmless).collect();
        let start = self.start.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        template.replace("{room}", &room).replace("{start}", &start).replace("{session}", self.session.as_str())
    }
}

impl Keeping {
    /// Makes the place for a recording, and begins to upload whatever will be in it.
    ///
    /// # Errors
    /// The folder cannot be made, or the storages cannot be used.
    pub async fn open(&self, naming: Naming) -> Result<Kept, Fault> {
        let this = self.clone();
        let made = tokio::task::spawn_blocking(move || this.make(&naming)).await;
        let (folder, objects) = made.map_err(|_| broken())?.map_err(|error| error.to_fault())?;
        let uploads = match objects.is_empty() && !self.to_controller {
            true => None,
            false => {
                let stores = (self.stores)(&objects)?;
                let uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), folder.clone());
                Some(Arc::new(uploads.map_err(|error| error.to_fault())?))
            }
        };
        Ok(Kept { folder, uploads })
    }

    fn make(&self, naming: &Naming) -> Result<(PathBuf, Vec<UploadTarget>), StorageError> {
        let folder = self.spool.join(format!("{}{FOLDER_ENDING}", naming.session));
        let spool = match &self.file {
            Some(file) => Spool::create_in(&SystemDisk, &folder, Path::new(&naming.fill(file)), &naming.session)?,
            None => Spool::create_for_uploads(&SystemDisk, &folder, &naming.session)?,
        };
        let filled = self.objects.iter().map(|object| UploadTarget { key: naming.fill(&object.key), ..object.clone() });
        let objects: Vec<UploadTarget> = filled.collect();
        if !objects.is_empty() {
            outbox::declare(&SystemDisk, spool.folder(), &naming.session, &objects)?;
        }
        if self.to_controller {
            let began_at = u64::try_from(naming.start.as_second()).unwrap_or_default();
            Plan::new(naming.session.clone(), &*naming.room, began_at).save(&SystemDisk, spool.folder())?;
        }
        Ok((spool.folder().to_owned(), objects))
    }

    /// Ends the files of a recording and stores them. The first thing returned is the news for people: `None` when every place has them, or why one of
    /// them refuses; the second ends when there is nothing left to do, which may be much later.
    pub async fn deliver(self, kept: Kept, books: Option<Closing>, news: oneshot::Sender<Option<Fault>>) {
        let Kept { folder, uploads } = kept;
        let owned = folder.clone();
        let ending = move || {
            books.into_iter().for_each(Closing::wait);
            finalise(&SystemDisk, &owned)
        };
        let ended = tokio::task::spawn_blocking(ending).await;
        let unusable = match ended {
            Ok(Ok(finalised)) => {
                let files: Vec<_> = finalised.files.iter().map(|file| (file.file.display().to_string(), file.bytes)).collect();
                // Of what an earlier process ended there is nothing new.
                if !files.is_empty() {
                    tracing::info!(?files, "the recording is an ordinary file");
                }
                finalised.left.first().map(StorageError::to_fault)
            }
            Ok(Err(StorageError::Nothing { .. })) => {
                // Stopped before the first picture: there is nothing to store, and nothing was promised.
                drop(uploads);
                drop(tokio::task::spawn_blocking(move || remove_unrecorded(&folder)).await);
                drop(news.send(None));
                return;
            }
            Ok(Err(error)) => Some(error.to_fault()),
            Err(_) => Some(broken()),
        };
        if let Some(fault) = &unusable {
            tracing::error!(reason = %fault, folder = %folder.display(), "a recording cannot be ended; its folder is kept");
        }
        let Some(uploads) = uploads.and_then(Arc::into_inner) else {
            drop(news.send(unusable));
            return;
        };
        self.upload(uploads, &folder, unusable, news).await;
    }

    async fn upload(
        &self,
        mut uploads: RecordingUploads,
        folder: &Path,
        unusable: Option<Fault>,
        news: oneshot::Sender<Option<Fault>>,
    ) {
        let news = News(Mutex::new(Some(news)));
        unusable.into_iter().for_each(|fault| news.bad(fault));
        let name = folder.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let posted = self.board.delivery(name);
        tokio::join!(store(&mut uploads, &news, &posted), self.bring(folder, &news, &posted));
        news.good();
        drop(posted);
        // What needs not be kept at all is deleted now, the rest when its time has come.
        let (folder, keep) = (folder.to_owned(), self.keep);
        let swept = tokio::task::spawn_blocking(move || sweep(&SystemDisk, &folder, keep)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(reason = %error.to_fault(), "what is uploaded cannot be deleted");
        }
    }

    /// Brings to the controller what goes there. Returns when nothing is left to do, or nothing can be done by this process.
    async fn bring(&self, folder: &Path, news: &News, posted: &DeliveryEntry) {
        let (tell, mut stands) = watch::channel(Vec::new());
        let running = self.hand_over.run(folder.to_owned(), tell);
        tokio::pin!(running);
        let mut is_open = true;
        while is_open {
            tokio::select! {
                result = &mut running => {
                    is_open = false;
                    if let Err(error) = result {
                        let fault = error.to_fault();
                        tracing::error!(reason = %fault, folder = %folder.display(), "cannot go on with an upload");
                        news.bad(fault);
                    }
                }
                Ok(()) = stands.changed() => {}
            }
            let now: Vec<FilmStand> = stands.borrow_and_update().clone();
            now.iter().filter_map(refusal_of).for_each(|fault| news.bad(fault.clone()));
            posted.update(|delivery| delivery.films = now);
        }
    }

    /// Goes on with what an earlier process left in the spool, once nobody writes to it any more.
    pub fn go_on(&self, folder: PathBuf) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            if !is_left(&folder).await {
                tracing::info!(folder = %folder.display(), "another process still records into a folder of the spool");
                return;
            }
            let kept = this.reopen(folder).await;
            let (news, _) = oneshot::channel();
            this.deliver(kept, None, news).await;
        })
    }

    /// A recording that an earlier process began: what is in it, and what comes, is uploaded.
    pub async fn reopen(&self, folder: PathBuf) -> Kept {
        let of = folder.clone();
        let looked = tokio::task::spawn_blocking(move || (outbox::waiting(&of), controller_outbox::is_waiting(&of))).await;
        // A plan that cannot be read is told by whoever goes on with it.
        let (waiting, for_controller) = looked.map_or((Ok(Vec::new()), true), |(waiting, is)| (waiting, is.unwrap_or(true)));
        let start = |waiting: Vec<UploadTarget>| {
            if waiting.is_empty() && !for_controller {
                return Ok(None);
            }
            let uploads = RecordingUploads::start((self.stores)(&waiting)?, Arc::new(SystemDisk), folder.clone());
            uploads.map(|uploads| Some(Arc::new(uploads))).map_err(|error| error.to_fault())
        };
        let uploads = waiting.map_err(|error| error.to_fault()).and_then(start);
        let uploads = uploads.unwrap_or_else(|fault: Fault| {
            tracing::error!(reason = %fault, folder = %folder.display(), "cannot go on with an upload");
            None
        });
        Kept { folder, uploads }
    }
}

/// Waits until nobody writes to a folder: a worker that has lost its supervisor ends what it was at. False when that takes too long.
async fn is_left(folder: &Path) -> bool {
    let free = async {
        while let Err(StorageError::Busy { .. }) = Spool::lock(folder) {
            tokio::time::sleep(LOOK_AT_LOCK).await;
        }
    };
    tokio::time::timeout(LEFT_BY, free).await.is_ok()
}

/// The one thing that people are told of a delivery: the first that goes wrong, or that nothing did.
struct News(Mutex<Option<oneshot::Sender<Option<Fault>>>>);

impl News {
    fn bad(&self, fault: Fault) {
        self.tell(Some(fault));
    }

    fn good(&self) {
        self.tell(None);
    }

    fn tell(&self, fault: Option<Fault>) {
        if let Some(news) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody waits any more; the log has it.
            drop(news.send(fault));
        }
    }
}

/// Uploads to S3 storages until nothing is left to do.
async fn store(uploads: &mut RecordingUploads, news: &News, posted: &DeliveryEntry) {
    uploads.finalised();
    let mut status = uploads.status();
    loop {
        let now = status.borrow_and_update().clone();
        posted.update(|delivery| delivery.uploads.clone_from(&now));
        if now.over {
            uploads.over().await;
            return lost(&now).into_iter().for_each(|fault| news.bad(fault));
        }
        if let Some(fault) = refused(&now) {
            tracing::warn!(reason = %fault, "a storage refuses the recording, which is kept here until it does not");
            news.bad(fault);
        }
        if status.changed().await.is_err() {
            return news.bad(broken());
        }
    }
}

/// Why a film is not at the controller, when that does not pass by itself.
fn refusal_of(film: &FilmStand) -> Option<&Fault> {
    match &film.status.state {
        FilmState::Refused(fault) | FilmState::GivenUp(fault) => Some(fault),
        FilmState::Waiting | FilmState::Sending | FilmState::Retrying(_) | FilmState::Delivered => None,
    }
}

fn refused(uploads: &Uploads) -> Option<Fault> {
    uploads.each.iter().find_map(|one| match &one.status.state {
        State::Refused(fault) => Some(fault.clone()),
        _ => None,
    })
}

fn lost(uploads: &Uploads) -> Option<Fault> {
    let lost = uploads.each.iter().find(|one| one.status.state == State::Abandoned)?;
    let sentence = format!("{} of the recording cannot be used, and was not stored.", lost.file);
    Some(Fault { scope: Scope::Target, blame: Blame::Us, retry: Retry::Never, sentence })
}

fn broken() -> Fault {
    let sentence = "The recording could not be stored, because of a defect of Roomcast; it is kept on its machine.".to_owned();
    Fault { scope: Scope::Target, blame: Blame::Us, retry: Retry::Never, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_nothing_that_a_path_must_not_hold() {
        let naming =
            Naming { session: SessionId::new("s-1"), room: "../a b/ü".into(), start: "2026-11-22T01:02:03.5Z".parse().unwrap() };
        assert_eq!(naming.fill("/r/{room}/{start}-{session}.mp4"), "/r/___a_b__/2026-11-22T01-02-03Z-s-1.mp4");
        assert_eq!(naming.fill("plain.mp4"), "plain.mp4");
    }
}
