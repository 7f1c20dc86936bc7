//! Makes ordinary files of what killed recordings left: `roomcast recover FOLDER`.
//!
//! In: a folder. Out: for each spool folder in it, the files that were made, or a sentence that says why not. Blocking, on the caller's
//! thread. Refuses to touch a folder that is being recorded into, or one without a recording of ours.

use std::fs;
use std::path::{Path, PathBuf};

use super::StorageError;
use super::disk::Disk;
use super::finalise::{Finalised, finalise, is_left_over};
use super::spool::{FOLDER_ENDING, NOTES, part_name};

/// What became of one spool folder.
#[derive(Debug)]
pub struct Recovered {
    /// The spool folder.
    pub folder: PathBuf,
    /// The ordinary files, or why there are none; in that case the folder was left as it is.
    pub result: Result<Finalised, StorageError>,
}

/// The spool folders that are `folder` itself or lie in it, sorted by name.
///
/// # Errors
/// [`StorageError::Folder`] when `folder` cannot be read.
pub fn unfinished(folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let unreadable = |source| StorageError::folder(folder, "read", source);
    if is_spool(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() && is_spool(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Ends every recording that `folder` or a folder in it holds.
///
/// # Errors
/// [`StorageError::Folder`] when `folder` cannot be read, [`StorageError::Nothing`] when there is no spool folder in it.
pub fn recover(disk: &dyn Disk, folder: &Path) -> Result<Vec<Recovered>, StorageError> {
    let found = unfinished(folder)?;
    if found.is_empty() {
        return Err(StorageError::Nothing { folder: folder.to_path_buf() });
    }
    Ok(found.into_iter().map(|folder| Recovered { result: finalise(disk, &folder), folder }).collect())
}

fn is_spool(folder: &Path) -> bool {
    let named = folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FOLDER_ENDING));
    // An empty one is what a crash left between the last two steps: its file was delivered.
    folder.join(NOTES).is_file() || (named && folder.join(part_name(1)).is_file()) || is_left_over(folder)
}
