//! What of a Session is to be handed to the controller whose room it was: `controller.json` in the folder `upload` of its spool folder.
//!
//! In: the room, and how far each film is. Out: what must be known to go on after a crash or a restart. Blocking, on the caller's thread. Refuses to hold
//! secrets: whoever goes on asks for an access token of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use recorder_core::controller_upload::{Record, Step};
use recorder_core::ids::SessionId;
use serde::{Deserialize, Serialize};

use super::StorageError;
use super::disk::Disk;
use super::outbox::{self, UPLOADS};
use super::spool::part_name;

/// Name of the file.
pub(super) const PLAN: &str = "controller.json";
/// What the controller is called in lists of storages; no storage can be called so.
pub const CONTROLLER: &str = "controller";
/// Version of this form.
const VERSION: u32 = 1;
/// The controller makes a film's name of the time of its beginning. Those of one recording are told apart by adding so many seconds for each file before it.
const BETWEEN_PARTS_S: u64 = 10;

/// What is to be handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this form.
    pub version: u32,
    /// Which Session.
    pub session: SessionId,
    /// The room's UUID.
    pub room: String,
    /// When the recording began, in seconds since 1970.
    pub began_at: u64,
    /// How far its films are, by the names of their files. One that is missing was not begun.
    pub films: BTreeMap<String, FilmNote>,
}

/// How far one film is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilmNote {
    /// How far it is.
    pub record: Record,
    /// When it was delivered, in seconds since 1970.
    pub delivered_at: Option<u64>,
}

/// One film of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Film {
    /// Its name: `recording.mp4`.
    pub name: String,
    /// Where it is; may be deleted already when it was delivered.
    pub file: PathBuf,
    /// How far it is.
    pub note: FilmNote,
    /// Its number, from 1.
    part: u32,
}

impl Plan {
    /// Nothing was sent yet. `began_at` is in seconds since 1970.
    pub fn new(session: SessionId, room: impl Into<String>, began_at: u64) -> Self {
        Self { version: VERSION, session, room: room.into(), began_at, films: BTreeMap::new() }
    }

    /// Saves the plan. Called before the first byte is recorded, so that whoever finds the folder knows it.
    ///
    /// # Errors
    /// [`StorageError::Folder`], [`StorageError::File`], [`StorageError::DiskFull`].
    pub fn save(&self, disk: &dyn Disk, spool: &Path) -> Result<(), StorageError> {
        outbox::make(disk, spool)?;
        outbox::save(disk, &spool.join(UPLOADS).join(PLAN), self)
    }

    /// The plan of a spool folder; `None` when nothing of it is meant for the controller.
    ///
    /// # Errors
    /// [`StorageError::File`], [`StorageError::Notes`].
    pub fn read(spool: &Path) -> Result<Option<Self>, StorageError> {
        let file = spool.join(UPLOADS).join(PLAN);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| StorageError::Notes { file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::file(&file, "read", error)),
        }
    }

    /// All films of it that are there, or were.
    pub fn films(&self, spool: &Path) -> Vec<Film> {
        let folder = spool.join(UPLOADS);
        let film = |part| {
            let name = part_name(part);
            let (file, note) = (folder.join(&name), self.films.get(&name).copied());
            (note.is_some() || file.exists()).then(|| Film { name, file, note: note.unwrap_or_default(), part })
        };
        (1..).map_while(film).collect()
    }

    /// When this film began, as the controller is told with connection number `connection`: another second for each that may have left something behind.
    pub fn told_beginning(&self, film: &Film, connection: u32) -> u64 {
        let before = u64::from(film.part.saturating_sub(1)) * BETWEEN_PARTS_S;
        self.began_at.saturating_add(before).saturating_add(connection.into())
    }
}

impl Film {
    /// Nothing is left to do.
    pub fn is_delivered(&self) -> bool {
        self.note.record.step == Step::Delivered
    }
}

/// Whether something of this folder waits for the controller, or may do so once it is ended.
///
/// # Errors
/// Those of [`Plan::read`].
pub fn is_waiting(spool: &Path) -> Result<bool, StorageError> {
    let Some(plan) = Plan::read(spool)? else { return Ok(false) };
    let films = plan.films(spool);
    Ok(films.is_empty() || !films.iter().all(Film::is_delivered))
}
