//! What becomes of a recording on disk.
//!
//! In: the spool folder of a Session, as its recording Target left it, however that ended. Out: ordinary files where they were wanted,
//! objects in storages, and recordings at the controller of their room. Files are ended on the caller's thread, blocking: never on a tokio task of the media way; uploads are tokio
//! tasks of the supervisor. Refuses to overwrite a file that is there, and to remove anything that was not delivered or confirmed.

pub mod books;
pub mod controller_outbox;
pub mod controller_upload;
pub mod disk;
pub mod finalise;
pub mod inventory;
pub mod outbox;
pub mod recording_uploads;
pub mod recover;
pub mod s3;
pub mod spool;
pub mod uploader;

#[cfg(test)]
mod controller_tests;
#[cfg(test)]
mod finalise_tests;
#[cfg(test)]
mod outbox_tests;
#[cfg(test)]
pub(crate) mod torn_disk;

use std::io;
use std::path::{Path, PathBuf};

use recorder_core::fault::{Blame, Fault, Retry, Scope};

pub use finalise::{Finalised, Finished, finalise};
pub use recording_uploads::RecordingUploads;
pub use recover::{Recovered, recover};
pub use spool::Spool;

use crate::target::mp4::Mp4Error;

/// Why a recording cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A folder cannot be made, read or written.
    #[error("the folder {} cannot be {action}", folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What was attempted: "made", "read", "written".
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file cannot be made, read or written.
    #[error("the file {} cannot be {action}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No space is left where this file lies.
    #[error("the disk is full: {} cannot grow", file.display())]
    DiskFull {
        /// Which file.
        file: PathBuf,
    },
    /// A file of the spool does not hold what it should.
    #[error("the file {} holds no recording that can be used", file.display())]
    Unusable {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Mp4Error,
    },
    /// The notes of a Session (`session.json`, a journal) cannot be understood.
    #[error("the notes in {} cannot be understood", file.display())]
    Notes {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A process still records into the folder.
    #[error("the folder {} is still being recorded into", folder.display())]
    Busy {
        /// Which folder.
        folder: PathBuf,
    },
    /// A storage's name cannot be part of a file's name.
    #[error("a storage cannot be called {name:?}: use up to 64 letters, digits, - and _")]
    BadName {
        /// The name.
        name: String,
    },
    /// The configuration does not know the storage that something was to go to.
    #[error("the storage {name:?} is not in the configuration any more, so what is meant for it waits on this machine")]
    UnknownStorage {
        /// Its name.
        name: String,
    },
    /// The folder holds no recording.
    #[error("the folder {} holds nothing that can be recovered; it was left as it is", folder.display())]
    Nothing {
        /// Which folder.
        folder: PathBuf,
    },
}

impl StorageError {
    /// An error of one file; a full disk is told apart.
    pub fn file(file: &Path, action: &'static str, source: io::Error) -> Self {
        let file = file.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            _ => Self::File { file, action, source },
        }
    }

    /// An error of one folder; a full disk is told apart.
    pub fn folder(folder: &Path, action: &'static str, source: io::Error) -> Self {
        let folder = folder.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file: folder },
            _ => Self::Folder { folder, action, source },
        }
    }

    /// What the Session is told.
    pub fn to_fault(&self) -> Fault {
        let blame = match self {
            Self::Folder { .. }
            | Self::File { .. }
            | Self::DiskFull { .. }
            | Self::Busy { .. }
            | Self::BadName { .. }
            | Self::UnknownStorage { .. }
            | Self::Nothing { .. } => Blame::Operator,
            Self::Unusable { .. } | Self::Notes { .. } => Blame::Us,
        };
        Fault { scope: Scope::Target, blame, retry: Retry::Never, sentence: sentence(self) }
    }
}

/// The chain of causes as one sentence.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if let Some(first) = text.get(..1) {
        text.replace_range(..1, &first.to_uppercase());
    }
    text.push('.');
    text
}
