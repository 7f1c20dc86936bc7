//! The folder of one Session on disk while it records.
//!
//! In: where the recording is wanted, and what the recording Target notes about its Takes. Out: a folder with `recording.mp4`
//! (`recording-2.mp4`… when the codec headers changed) and `session.json`, which is always whole. Refuses to hold secrets and names of people.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use recorder_core::ids::{SessionId, TakeId};
use recorder_core::time::SessionTime;
use serde::{Deserialize, Serialize};

use super::StorageError;
use super::books::Book;
use super::disk::{Disk, parent, write_atomically};
use super::outbox::{self, UPLOADS};

/// Ending of a spool folder's name.
pub const FOLDER_ENDING: &str = ".roomcast";
/// Name of the notes.
pub const NOTES: &str = "session.json";
/// Name of the file that keeps space free for the final `moov`.
pub const RESERVE: &str = "reserve";

/// What `session.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// Version of this form.
    pub version: u32,
    /// Which Session.
    pub session: SessionId,
    /// Where the recording is wanted; a relative path begins at the spool folder, so that both can be moved together. `upload` when it
    /// is wanted in storages only.
    pub wanted: PathBuf,
    /// The files, in order.
    pub parts: Vec<Part>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name in the folder.
    pub file: String,
    /// How its programme is encoded.
    pub encoding: Encoding,
    /// Its Takes, in order.
    pub takes: Vec<TakeNote>,
    /// Where it was delivered to.
    pub delivered: Option<PathBuf>,
}

/// How a part is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// AVCDecoderConfigurationRecord in base64.
    pub avc_config: String,
    /// AudioSpecificConfig in base64.
    pub aac_config: String,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Pictures a second.
    pub fps: u32,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Sound channels.
    pub channels: u16,
}

/// One Take of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeNote {
    /// Which Take.
    pub take: TakeId,
    /// Programme instant of its first picture, in nanoseconds of session time.
    pub began: SessionTime,
    /// Where it begins in the file, in nanoseconds.
    pub file_began_ns: u64,
    /// Programme instant before which everything is in the file; missing when the Take was not ended.
    pub ended: Option<SessionTime>,
}

/// The spool folder of one Session.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    notes: Notes,
}

/// Keeps others from ending a recording that is still being written. Given up when dropped, and by the system when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    _flock: Flock<File>,
}

impl Spool {
    /// Makes the default folder, beside the wanted file: `standup.mp4.roomcast/`.
    ///
    /// # Errors
    /// [`StorageError::Folder`] names the folder that cannot be made or written.
    pub fn create(disk: &dyn Disk, wanted: &Path, session: &SessionId) -> Result<Self, StorageError> {
        let mut folder = wanted.as_os_str().to_owned();
        folder.push(FOLDER_ENDING);
        Self::create_in(disk, Path::new(&folder), wanted, session)
    }

    /// Makes the folder, and the one that it lies in. A folder with notes of an earlier recording is not used again: the next free
    /// number is added to its name.
    ///
    /// # Errors
    /// [`StorageError::Folder`] names the folder that cannot be made or written.
    pub fn create_in(disk: &dyn Disk, folder: &Path, wanted: &Path, session: &SessionId) -> Result<Self, StorageError> {
        let above = parent(folder);
        fs::create_dir_all(above).map_err(|source| StorageError::folder(above, "made", source))?;
        let folder = (1u32..)
            .map(|n| if n == 1 { folder.to_path_buf() } else { numbered_folder(folder, n) })
            .find_map(|folder| match fs::create_dir(&folder) {
                Ok(()) => Some(Ok(folder)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
                Err(source) => Some(Err(StorageError::folder(&folder, "made", source))),
            })
            .transpose()?
            .ok_or_else(|| StorageError::Nothing { folder: folder.to_path_buf() })?;
        // Told now, not after a meeting.
        let target = parent(wanted);
        fs::create_dir_all(target).map_err(|source| StorageError::folder(target, "made", source))?;
        nix::unistd::access(target, nix::unistd::AccessFlags::W_OK)
            .map_err(|errno| StorageError::folder(target, "written", errno.into()))?;
        let notes = Notes { version: 1, session: session.clone(), wanted: seen_from(&folder, wanted), parts: Vec::new() };
        let spool = Self { folder, notes };
        spool.save(disk)?;
        disk.sync_folder(above).map_err(|source| StorageError::folder(above, "written", source))?;
        Ok(spool)
    }

    /// Makes a folder for a recording that is wanted in storages only: what is ended stays in it, for its uploads.
    ///
    /// # Errors
    /// [`StorageError::Folder`] names the folder that cannot be made or written.
    pub fn create_for_uploads(disk: &dyn Disk, folder: &Path, session: &SessionId) -> Result<Self, StorageError> {
        let mut spool = Self::create_in(disk, folder, &folder.join(UPLOADS), session)?;
        spool.notes.wanted = PathBuf::from(UPLOADS);
        spool.save(disk)?;
        outbox::make(disk, spool.folder())?;
        Ok(spool)
    }

    /// Opens the folder of a Session.
    ///
    /// # Errors
    /// [`StorageError::File`] when there are no notes, [`StorageError::Notes`] when they are not understood.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let file = folder.join(NOTES);
        let text = fs::read(&file).map_err(|source| StorageError::file(&file, "read", source))?;
        let notes = serde_json::from_slice(&text).map_err(|source| StorageError::Notes { file, source })?;
        Ok(Self { folder: folder.to_path_buf(), notes })
    }

    /// A Spool for a folder whose notes are lost: the files are taken by their names, and wanted beside the folder.
    pub(super) fn without_notes(folder: &Path) -> Self {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.strip_suffix(FOLDER_ENDING).unwrap_or(&name);
        let name = if name.ends_with(".mp4") { name.to_owned() } else { format!("{name}.mp4") };
        let encoding = Encoding {
            avc_config: String::new(),
            aac_config: String::new(),
            width_px: 0,
            height_px: 0,
            fps: 0,
            sample_rate_hz: 0,
            channels: 0,
        };
        let parts = (1..)
            .map(part_name)
            .take_while(|file| folder.join(file).exists())
            .map(|file| Part { file, encoding: encoding.clone(), takes: Vec::new(), delivered: None })
            .collect();
        let notes = Notes { version: 1, session: SessionId::new("unknown"), wanted: Path::new("..").join(name), parts };
        Self { folder: folder.to_path_buf(), notes }
    }

    /// Keeps the folder for this process.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when another one has it, [`StorageError::Folder`].
    pub fn lock(folder: &Path) -> Result<FolderLock, StorageError> {
        let file = File::open(folder).map_err(|source| StorageError::folder(folder, "read", source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(flock) => Ok(FolderLock { _flock: flock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StorageError::Busy { folder: folder.to_path_buf() }),
            Err((_, errno)) => Err(StorageError::folder(folder, "locked", errno.into())),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is noted.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// What is noted, to be changed and then saved.
    pub(crate) fn notes_mut(&mut self) -> &mut Notes {
        &mut self.notes
    }

    /// Where the n-th part (from 1) is wanted: `standup.mp4`, `standup-part2.mp4`.
    pub fn wanted(&self, part: u32) -> PathBuf {
        if self.notes.wanted == Path::new(UPLOADS) {
            return self.folder.join(UPLOADS).join(part_name(part));
        }
        let wanted = if self.notes.wanted.is_absolute() {
            self.notes.wanted.clone()
        } else {
            flattened(&self.folder.join(&self.notes.wanted))
        };
        if part <= 1 { wanted } else { with_stem_ending(&wanted, &format!("-part{part}")) }
    }

    /// Saves the notes; after a crash either the old or the new ones are there.
    ///
    /// # Errors
    /// [`StorageError::Folder`], [`StorageError::DiskFull`].
    pub fn save(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let file = self.folder.join(NOTES);
        let text = serde_json::to_vec_pretty(&self.notes).map_err(|source| StorageError::Notes { file: file.clone(), source })?;
        write_atomically(disk, &file, &text).map_err(|source| StorageError::folder(&self.folder, "written", source))
    }
}

/// Name of the n-th part's file in the folder.
pub fn part_name(part: u32) -> String {
    if part <= 1 { "recording.mp4".to_owned() } else { format!("recording-{part}.mp4") }
}

/// `path` with `ending` put between its stem and its extension.
pub(super) fn with_stem_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(ending);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// `standup.mp4.roomcast` → `standup.mp4.2.roomcast`.
fn numbered_folder(folder: &Path, n: u32) -> PathBuf {
    with_stem_ending(folder, &format!(".{n}"))
}

/// `wanted` as written in the notes: relative when it lies beside the folder.
fn seen_from(folder: &Path, wanted: &Path) -> PathBuf {
    match wanted.file_name() {
        Some(name) if parent(folder) == parent(wanted) => Path::new("..").join(name),
        _ => std::path::absolute(wanted).unwrap_or_else(|_| wanted.to_path_buf()),
    }
}

/// Without `folder/..`, which would fail once the folder is removed.
fn flattened(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in path.components() {
        match (component, flat.file_name()) {
            (Component::ParentDir, Some(_)) => {
                flat.pop();
            }
            (component, _) => flat.push(component),
        }
    }
    flat
}

/// Removes a spool folder in which nothing was recorded; says whether it was one. A file that was made and not yet written to holds nothing.
pub fn remove_unrecorded(folder: &Path) -> bool {
    let is_unwritten = || fs::metadata(folder.join(part_name(1))).is_ok_and(|meta| meta.len() == 0);
    let is_note = |name: &std::ffi::OsStr| {
        name == NOTES || name == RESERVE || Book::ALL.iter().any(|book| name == book.file_name().as_str())
    };
    let ours = |name: &std::ffi::OsStr| is_note(name) || (name == part_name(1).as_str() && is_unwritten());
    outbox::remove_empty(folder, &is_unwritten);
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    if !names.iter().all(|name| ours(name)) {
        return false;
    }
    names.iter().all(|name| fs::remove_file(folder.join(name)).is_ok()) && fs::remove_dir(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_spool_folder_without_a_recording_is_removed() {
        let base = tempfile::tempdir().unwrap();
        for (content, removed) in [(None, true), (Some(&b""[..]), true), (Some(&b"ftyp"[..]), false)] {
            let folder = base.path().join("standup.mp4.roomcast");
            std::fs::create_dir(&folder).unwrap();
            for name in [NOTES, RESERVE, "recording.ledger.jsonl", "recording.events.jsonl"] {
                std::fs::write(folder.join(name), "{}").unwrap();
            }
            if let Some(content) = content {
                std::fs::write(folder.join(part_name(1)), content).unwrap();
            }
            assert_eq!((remove_unrecorded(&folder), folder.exists()), (removed, !removed), "{content:?}");
        }
    }
}
