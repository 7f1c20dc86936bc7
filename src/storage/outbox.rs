//! What of a Session is to be uploaded: the folder `upload` in its spool folder.
//!
//! In: files of the spool, and where they shall go. Out: for each file a second name in `upload` that stays when the first one is moved or
//! removed, `targets.json` with the storages, and for each file and storage a journal. Blocking, on the caller's thread. Refuses to hold
//! secrets: a storage is named, and its keys are in the configuration.
//!
//! ```text
//! standup.mp4.roomcast/
//!   recording.mp4                    grows; moved to where it is wanted when it is ended
//!   session.json
//!   upload/targets.json              made before the first byte is recorded
//!   upload/recording.mp4             the same file, by a hard link: however the recording ends, the upload goes on
//!   upload/recording.mp4.NAME.json   the journal of its upload to the storage NAME
//!   upload/controller.json           what goes to the controller of the room, and how far that is: see [`super::controller_outbox`]
//!   upload/recording.ledger.jsonl    a book, once it and the film are ended
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use recorder_core::ids::SessionId;
use recorder_core::upload::record::Record;
use recorder_core::upload::{Step, with_stem_ending};
use serde::{Deserialize, Serialize};

use super::StorageError;
use super::books::{Book, is_book};
use super::controller_outbox::{CONTROLLER, PLAN};
use super::disk::{Disk, is_same_file, write_atomically};
use crate::target::mp4::{Mp4Error, Scanner};

/// Name of the folder.
pub const UPLOADS: &str = "upload";
/// Name of the list of storages.
pub(super) const TARGETS: &str = "targets.json";
/// Ending of a journal's name.
const JOURNAL_ENDING: &str = ".json";
/// Version of both forms.
const VERSION: u32 = 1;

/// What `targets.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Targets {
    version: u32,
    session: SessionId,
    targets: Vec<UploadTarget>,
}

/// Where files shall go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadTarget {
    /// The storage's name in the configuration.
    pub storage: String,
    /// The bucket, for people.
    pub bucket: String,
    /// Key of the first part; the second one of `standup.mp4` is `standup-part2.mp4`.
    pub key: String,
}

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Version of this form.
    pub version: u32,
    /// Which Session.
    pub session: SessionId,
    /// The storage's name in the configuration.
    pub storage: String,
    /// The bucket, for people.
    pub bucket: String,
    /// When the object was seen in the storage, in seconds since 1970.
    pub confirmed_at: Option<u64>,
    /// How far it is.
    pub upload: Record,
}

/// A file that is to be uploaded to one storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its name in `upload`.
    pub file: PathBuf,
    /// Where its journal is, or will be.
    pub journal_file: PathBuf,
    /// What the journal says, or what it begins with.
    pub journal: Journal,
    /// Whether the upload was begun before.
    pub begun: bool,
}

/// Makes the folder.
///
/// # Errors
/// [`StorageError::Folder`].
pub fn make(disk: &dyn Disk, spool: &Path) -> Result<(), StorageError> {
    let folder = spool.join(UPLOADS);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(StorageError::folder(&folder, "made", error)),
        _ => {}
    }
    disk.sync_folder(spool).map_err(|source| StorageError::folder(spool, "written", source))
}

/// Says where the files of a Session shall go. Called before its first byte is recorded, so that whoever finds the folder knows it.
///
/// # Errors
/// [`StorageError::Folder`], [`StorageError::File`], [`StorageError::BadName`] when a storage's name cannot be part of a file's name.
pub fn declare(disk: &dyn Disk, spool: &Path, session: &SessionId, targets: &[UploadTarget]) -> Result<(), StorageError> {
    if let Some(target) = targets.iter().find(|target| !is_plain_name(&target.storage)) {
        return Err(StorageError::BadName { name: target.storage.clone() });
    }
    make(disk, spool)?;
    let file = spool.join(UPLOADS).join(TARGETS);
    save(disk, &file, &Targets { version: VERSION, session: session.clone(), targets: targets.to_vec() })
}

/// Removes the folder again when there is nothing in it to upload: no file, or one that was not written to.
pub fn remove_empty(spool: &Path, is_unwritten: &dyn Fn() -> bool) {
    let folder = spool.join(UPLOADS);
    let Ok(entries) = fs::read_dir(&folder) else { return };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    let part = super::spool::part_name(1);
    let is_ours = |name: &std::ffi::OsStr| name == TARGETS || name == PLAN || (name == part.as_str() && is_unwritten());
    if names.iter().all(|name| is_ours(name)) && names.iter().all(|name| fs::remove_file(folder.join(name)).is_ok()) {
        // What cannot be removed stays, and is found by `roomcast spool`.
        let _ = fs::remove_dir(&folder);
    }
}

/// Gives a file of the spool its second name, where there are uploads. Does nothing when it has it.
///
/// # Errors
/// [`StorageError::Folder`] when it cannot: for example on a file system without hard links.
pub fn keep_for_uploads(disk: &dyn Disk, spool: &Path, name: &str) -> Result<(), StorageError> {
    let folder = spool.join(UPLOADS);
    let (from, to) = (spool.join(name), folder.join(name));
    if !folder.is_dir() || !from.exists() || is_same_file(&from, &to) {
        return Ok(());
    }
    let linked = disk.link(&from, &to).and_then(|()| disk.sync_folder(&folder));
    linked.map_err(|source| StorageError::folder(&folder, "written", source))
}

/// All that is to be uploaded from a spool folder, and has its second name already.
///
/// # Errors
/// [`StorageError::Folder`], [`StorageError::File`], [`StorageError::Notes`].
pub fn outgoing(spool: &Path) -> Result<Vec<Outgoing>, StorageError> {
    let folder = spool.join(UPLOADS);
    let Some(targets) = declared(&folder)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for target in &targets.targets {
        for part in 1.. {
            let key = if part == 1 { target.key.clone() } else { with_stem_ending(&target.key, &format!("-part{part}")) };
            let Some(out) = outgoing_to(&folder, &targets.session, target, &super::spool::part_name(part), key)? else { break };
            found.push(out);
        }
        for book in Book::ALL {
            let key = book.beside(Path::new(&target.key)).to_string_lossy().into_owned();
            found.extend(outgoing_to(&folder, &targets.session, target, &book.file_name(), key)?);
        }
    }
    Ok(found)
}

/// Where something of a spool folder still has to go. A storage that has got nothing yet is among them: whatever was or will be recorded there has to go to it.
///
/// # Errors
/// As [`outgoing`].
pub fn waiting(spool: &Path) -> Result<Vec<UploadTarget>, StorageError> {
    let found = outgoing(spool)?;
    let targets = declared(&spool.join(UPLOADS))?.map_or_else(Vec::new, |targets| targets.targets);
    let is_through = |target: &UploadTarget| {
        let mut of_it = found.iter().filter(|one| one.journal.storage == target.storage).peekable();
        of_it.peek().is_some() && of_it.all(Outgoing::is_over)
    };
    Ok(targets.into_iter().filter(|target| !is_through(target)).collect())
}

fn declared(folder: &Path) -> Result<Option<Targets>, StorageError> {
    let file = folder.join(TARGETS);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| StorageError::Notes { file, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::file(&file, "read", error)),
    }
}

/// `None` when there is neither the file nor its journal.
fn outgoing_to(
    folder: &Path,
    session: &SessionId,
    target: &UploadTarget,
    name: &str,
    key: String,
) -> Result<Option<Outgoing>, StorageError> {
    let journal_file = folder.join(format!("{name}.{}{JOURNAL_ENDING}", target.storage));
    let file = folder.join(name);
    match fs::read(&journal_file) {
        Ok(text) => {
            let journal =
                serde_json::from_slice(&text).map_err(|source| StorageError::Notes { file: journal_file.clone(), source })?;
            // A file that was confirmed is deleted before its journal.
            Ok(Some(Outgoing { file, journal_file, journal, begun: true }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !file.exists() => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let journal = Journal {
                version: VERSION,
                session: session.clone(),
                storage: target.storage.clone(),
                bucket: target.bucket.clone(),
                confirmed_at: None,
                upload: Record::new(key, identity(session)),
            };
            Ok(Some(Outgoing { file, journal_file, journal, begun: false }))
        }
        Err(error) => Err(StorageError::file(&journal_file, "read", error)),
    }
}

impl Outgoing {
    /// Saves the journal. Notes the time when the object is seen for the first time.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`], [`StorageError::File`].
    pub fn save(&mut self, disk: &dyn Disk, record: Record) -> Result<(), StorageError> {
        if record.step == Step::Stored && self.journal.confirmed_at.is_none() {
            self.journal.confirmed_at = Some(unix_now());
        }
        self.journal.upload = record;
        save(disk, &self.journal_file, &self.journal)
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        match self.journal.upload.step {
            Step::Stored => !self.journal.upload.doubt,
            Step::Abandoned => true,
            _ => false,
        }
    }
}

/// What has become of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fortune {
    /// It is an ordinary MP4, or a book, of this length.
    Ended(u64),
    /// It grows, or waits for [`finalise`](super::finalise()).
    Growing,
    /// It holds nothing that could be ended.
    Unusable,
}

/// What has become of a file.
///
/// # Errors
/// [`StorageError::File`].
pub fn fortune(disk: &dyn Disk, file: &Path) -> Result<Fortune, StorageError> {
    let unreadable = |source| StorageError::file(file, "read", source);
    let open = disk.open(file).map_err(unreadable)?;
    if is_book(file) {
        // It gets its second name when it is ended.
        return Ok(Fortune::Ended(open.size().map_err(unreadable)?));
    }
    let first = match Scanner::open(&*open) {
        Ok(mut scanner) => scanner.next_fragment(),
        Err(error) => Err(error),
    };
    match first {
        Ok(Some(_)) => Ok(Fortune::Growing),
        Err(Mp4Error::Ordinary) => Ok(Fortune::Ended(open.size().map_err(unreadable)?)),
        Err(Mp4Error::Read(source)) => Err(unreadable(source)),
        Ok(None) | Err(_) => Ok(Fortune::Unusable),
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

pub(super) fn save(disk: &dyn Disk, file: &Path, what: &impl Serialize) -> Result<(), StorageError> {
    let text = serde_json::to_vec_pretty(what).map_err(|source| StorageError::Notes { file: file.to_path_buf(), source })?;
    write_atomically(disk, file, &text).map_err(|source| StorageError::file(file, "written", source))
}

/// Never the same twice: the Session, and 64 bits of chance.
fn identity(session: &SessionId) -> String {
    use std::hash::BuildHasher;
    let chance = std::hash::RandomState::new().hash_one(unix_now());
    // In a header only plain characters arrive as they were.
    let session: String = session.as_str().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    format!("{session}-{chance:016x}")
}

fn is_plain_name(name: &str) -> bool {
    name != CONTROLLER
        && (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
