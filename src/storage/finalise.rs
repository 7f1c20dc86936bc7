//! Makes ordinary files of what a Session left in its spool folder, and moves them to where they are wanted.
//!
//! In: a spool folder that no process records into. Out: ordinary MP4 files. Blocking, on the caller's thread; reads no media, so that
//! twelve hours take seconds. Can be interrupted at any byte and called again with the same result: a journal says what has begun, and
//! each step can be repeated. Refuses to overwrite a file that is there: it adds a number to the name.
//!
//! A folder with uploads keeps a second name of each file, which the uploads read from; see [`super::outbox`].
//!
//! Steps for each file: journal; cut the torn end, append `moov`; overwrite the spare head; move; note the delivery; remove the journal.
//! The books follow the first one ([`super::books`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StorageError;
use super::disk::{Disk, DiskFile, is_same_file, parent, write_atomically};
use super::spool::{FOLDER_ENDING, NOTES, RESERVE, Spool, with_stem_ending};
use super::{books, outbox};
use crate::target::mp4::{Ending, Mp4Error, Scanner};

/// One ordinary file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Where it is.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// What became of a Session's files.
#[derive(Debug, Default)]
pub struct Finalised {
    /// The ordinary files, in order.
    pub files: Vec<Finished>,
    /// Why other files could not be used, each [`StorageError::Unusable`]; they stay in the spool folder for a person to look at.
    pub left: Vec<StorageError>,
}

/// What the journal of one file says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    /// Length of the growing file without its torn end.
    keep_len: u64,
    /// Where the spare bytes of its head begin.
    spare_at: u64,
    /// Length of the ordinary file.
    len: u64,
    /// Where it goes.
    wanted: PathBuf,
}

/// Ends all files of a Session's spool folder, moves them to where they are wanted, and removes the folder, unless some file in it is
/// left because it cannot be used.
///
/// # Errors
/// [`StorageError::Busy`] while a process records, [`StorageError::Nothing`] and [`StorageError::Unusable`] when there is no file
/// that can be ended (the folder is left as it is), [`StorageError::DiskFull`], [`StorageError::File`], [`StorageError::Folder`].
pub fn finalise(disk: &dyn Disk, folder: &Path) -> Result<Finalised, StorageError> {
    let _lock = Spool::lock(folder)?;
    let mut spool = match Spool::open(folder) {
        Err(StorageError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Spool::without_notes(folder),
        other => other?,
    };
    // The space is needed for the tables now.
    remove_if_there(disk, &folder.join(RESERVE))?;
    let Finalised { mut files, mut left } = Finalised::default();
    for index in 0..spool.notes().parts.len() {
        match finish_part(disk, &mut spool, index) {
            Ok(Some(file)) => files.push(file),
            Ok(None) => {}
            Err(error @ StorageError::Unusable { .. }) => left.push(error),
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() {
        if let Some(error) = left.pop() {
            return Err(error);
        }
        // Interrupted before the last step, which removes the folder.
        if !is_left_over(folder) {
            return Err(StorageError::Nothing { folder: folder.to_path_buf() });
        }
    }
    if let Some(film) = files.first() {
        books::finish(disk, folder, &film.file)?;
    }
    if left.is_empty() {
        remove_if_there(disk, &folder.join(NOTES))?;
        // Foreign files in it are not ours to remove, and keep the folder.
        if let Err(error) = disk.remove_folder(folder)
            && !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound)
        {
            return Err(StorageError::folder(folder, "removed", error));
        }
    }
    Ok(Finalised { files, left })
}

/// Ends one part; `None` when it never held a fragment and so was never made.
fn finish_part(disk: &dyn Disk, spool: &mut Spool, index: usize) -> Result<Option<Finished>, StorageError> {
    let part = &spool.notes().parts[index];
    let growing = spool.folder().join(&part.file);
    let journal = spool.folder().join(format!("{}.journal", part.file));
    if let Some(file) = part.delivered.clone() {
        // Interrupted after the delivery was noted.
        remove_if_there(disk, &growing)?;
        remove_if_there(disk, &journal)?;
        let bytes = fs::metadata(&file).map_or(0, |meta| meta.len());
        return Ok(Some(Finished { file, bytes }));
    }
    let wanted = spool.wanted(u32::try_from(index + 1).unwrap_or(u32::MAX));
    outbox::keep_for_uploads(disk, spool.folder(), &part.file)?;
    let Some(finished) = finish_file(disk, &growing, &journal, &wanted)? else { return Ok(None) };
    spool.notes_mut().parts[index].delivered = Some(finished.file.clone());
    // Without notes from the recording, none are invented.
    if spool.folder().join(NOTES).exists() {
        spool.save(disk)?;
    }
    remove_if_there(disk, &growing)?;
    remove_if_there(disk, &journal)?;
    Ok(Some(finished))
}

/// Makes an ordinary file of `growing` and moves it to `wanted`. The journal stays, and after a move between file systems `growing` too:
/// the caller removes both once it has noted the result.
fn finish_file(disk: &dyn Disk, growing: &Path, journal_file: &Path, wanted: &Path) -> Result<Option<Finished>, StorageError> {
    let begun = read_journal(journal_file)?;
    let file = match disk.open(growing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Either it was moved already, or there never was one.
            return Ok(match begun {
                Some(begun) if is_len(&begun.wanted, begun.len) => Some(Finished { file: begun.wanted, bytes: begun.len }),
                _ => None,
            });
        }
        Err(error) => return Err(StorageError::file(growing, "opened", error)),
    };
    let unusable = |source| StorageError::Unusable { file: growing.to_path_buf(), source };
    let read_error = |error| match error {
        Mp4Error::Read(source) => StorageError::file(growing, "read", source),
        other => unusable(other),
    };
    if file.size().map_err(|source| StorageError::file(growing, "read", source))? == 0 && begun.is_none() {
        return Ok(None);
    }
    let scanner = match &begun {
        Some(_) => Scanner::open_interrupted(&*file),
        None => Scanner::open(&*file),
    };
    let mut journal = match scanner {
        // Made ordinary by an earlier attempt whose journal was lost: only the move is missing.
        Err(Mp4Error::Ordinary) => {
            let len = file.size().map_err(|source| StorageError::file(growing, "read", source))?;
            Journal { keep_len: len, spare_at: 0, len, wanted: free_name(growing, wanted) }
        }
        Err(error) => return Err(read_error(error)),
        Ok(scanner) => {
            let ending = Ending::plan(scanner).map_err(read_error)?;
            let wanted = begun.map_or_else(|| free_name(growing, wanted), |begun| begun.wanted);
            let journal = Journal { keep_len: ending.keep_len, spare_at: ending.spare_at, len: ending.len, wanted };
            save_journal(disk, journal_file, &journal)?;
            apply(&*file, &ending).map_err(|source| StorageError::file(growing, "ended", source))?;
            journal
        }
    };
    loop {
        match move_file(disk, growing, &*file, &journal) {
            Ok(()) => return Ok(Some(Finished { file: journal.wanted, bytes: journal.len })),
            // Someone made a file of that name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                journal.wanted = free_name(growing, wanted);
                save_journal(disk, journal_file, &journal)?;
            }
            Err(source) => return Err(StorageError::folder(parent(&journal.wanted), "written", source)),
        }
    }
}

/// Moves a file that is as it should be to `wanted`, or to the first name beside it that is free. A copy of it that an interruption left there counts.
/// After a move between file systems `from` stays: the caller removes it.
pub(super) fn deliver(disk: &dyn Disk, from: &Path, file: &dyn DiskFile, len: u64, wanted: &Path) -> Result<(), StorageError> {
    let unwritten = |source| StorageError::folder(parent(wanted), "written", source);
    for name in names(wanted) {
        if name.exists()
            && !is_same_file(from, &name)
            && !(is_len(&name, len) && same_content(file, disk, &name).map_err(unwritten)?)
        {
            continue;
        }
        match move_file(disk, from, file, &Journal { keep_len: len, spare_at: 0, len, wanted: name }) {
            // Someone made a file of that name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map_err(unwritten),
        }
    }
    Err(StorageError::Nothing { folder: parent(wanted).to_path_buf() })
}

/// Changes the growing file into the ordinary one. Whatever of this happened before, it ends the same.
fn apply(file: &dyn DiskFile, ending: &Ending) -> io::Result<()> {
    file.set_len(ending.keep_len)?;
    file.write_all_at(&ending.moov, ending.keep_len)?;
    file.sync()?;
    // Only now readers may find the new tables.
    file.write_all_at(&ending.mdat_header, ending.spare_at)?;
    file.sync()
}

/// Moves the ordinary file to where it is wanted, by copying when that is another file system.
fn move_file(disk: &dyn Disk, from: &Path, file: &dyn DiskFile, journal: &Journal) -> io::Result<()> {
    let folder = parent(&journal.wanted);
    fs::create_dir_all(folder)?;
    if is_same_file(from, &journal.wanted) {
        return disk.sync_folder(folder);
    }
    if is_len(&journal.wanted, journal.len) && same_content(file, disk, &journal.wanted)? {
        // Copied before an interruption.
        return disk.sync_folder(folder);
    }
    match disk.rename_new(from, &journal.wanted) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let copy = with_stem_ending(&journal.wanted, ".copying");
            copy_file(disk, file, &copy, journal.len)?;
            disk.rename_new(&copy, &journal.wanted)?;
        }
        other => other?,
    }
    disk.sync_folder(folder)?;
    disk.sync_folder(parent(from))
}

/// Bytes copied or compared at once.
const COPY_LEN: usize = 1 << 20;

fn copy_file(disk: &dyn Disk, from: &dyn DiskFile, to: &Path, len: u64) -> io::Result<()> {
    let copy = disk.open_or_create(to)?;
    copy.set_len(0)?;
    let mut buffer = vec![0; COPY_LEN];
    let mut at = 0;
    while at < len {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    copy.sync()
}

fn same_content(file: &dyn DiskFile, disk: &dyn Disk, other: &Path) -> io::Result<bool> {
    let other = disk.open(other)?;
    let (mut here, mut there) = (vec![0; COPY_LEN], vec![0; COPY_LEN]);
    let mut at = 0;
    loop {
        let read = file.read_at(&mut here, at)?;
        let mut filled = 0;
        while filled < read {
            match other.read_at(&mut there[filled..read], at + filled as u64)? {
                0 => return Ok(false),
                n => filled += n,
            }
        }
        if read == 0 {
            return Ok(true);
        }
        if here[..read] != there[..read] {
            return Ok(false);
        }
        at += read as u64;
    }
}

/// A spool folder with nothing to end in it: empty, or with uploads only.
pub(super) fn is_left_over(folder: &Path) -> bool {
    let named = folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FOLDER_ENDING));
    let is_upload = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == outbox::UPLOADS);
    named && fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_upload))
}

fn is_len(path: &Path, len: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == len)
}

/// `wanted`, `wanted-2`, `wanted-3`…
fn names(wanted: &Path) -> impl Iterator<Item = PathBuf> {
    let more = (2u32..).map(|n| with_stem_ending(wanted, &format!("-{n}")));
    std::iter::once(wanted.to_path_buf()).chain(more)
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`… that does not exist or is the file itself.
fn free_name(file: &Path, wanted: &Path) -> PathBuf {
    names(wanted).find(|name| !name.exists() || is_same_file(file, name)).unwrap_or_else(|| wanted.to_path_buf())
}

fn read_journal(file: &Path) -> Result<Option<Journal>, StorageError> {
    match fs::read(file) {
        Ok(text) => {
            let journal =
                serde_json::from_slice(&text).map_err(|source| StorageError::Notes { file: file.to_path_buf(), source })?;
            Ok(Some(journal))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::file(file, "read", error)),
    }
}

fn save_journal(disk: &dyn Disk, file: &Path, journal: &Journal) -> Result<(), StorageError> {
    let text = serde_json::to_vec(journal).map_err(|source| StorageError::Notes { file: file.to_path_buf(), source })?;
    write_atomically(disk, file, &text).map_err(|source| StorageError::file(file, "written", source))
}

fn remove_if_there(disk: &dyn Disk, file: &Path) -> Result<(), StorageError> {
    match disk.remove(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::file(file, "removed", error)),
        _ => Ok(()),
    }
}
