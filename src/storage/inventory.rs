//! What is kept locally, and why: `roomcast spool`, and the deletion of what is not needed any more.
//!
//! In: a folder with spool folders. Out: a list of their files as a table or JSON; deleted files. Blocking, on the caller's thread. Decides
//! by [`recorder_core::keep`]. Refuses to touch a folder that is being recorded into, or whose uploads are not confirmed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use recorder_core::controller_upload::Step as Handed;
use recorder_core::keep::{Keep, Standing, Verdict, verdict};
use recorder_core::upload::Step;
use serde::Serialize;

use super::StorageError;
use super::controller_outbox::{CONTROLLER, Film, PLAN, Plan};
use super::disk::Disk;
use super::finalise::is_left_over;
use super::outbox::{Fortune, Outgoing, UPLOADS, fortune, outgoing, unix_now};
use super::spool::{FOLDER_ENDING, NOTES, Spool, part_name};

/// One file that is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// Which Session; missing when its notes are lost.
    pub session: Option<String>,
    /// The file.
    pub file: PathBuf,
    /// Its length; 0 when it is deleted already.
    pub bytes: u64,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Each storage that it is meant for, the controller of its room among them.
    pub storages: Vec<At>,
}

/// How a file stands with one storage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct At {
    /// The storage's name; `controller` for that of the room.
    pub storage: String,
    /// The object: `bucket/key`; for the controller its room.
    pub object: String,
    /// Bytes that the storage has confirmed; for the controller those that it took as a whole.
    pub sent: u64,
    /// When the object was seen there, in seconds since 1970.
    pub confirmed_at: Option<u64>,
    /// When the controller had taken all of it, in seconds since 1970. It never confirms.
    pub delivered_at: Option<u64>,
    /// Shortened recordings that the controller may list beside it, of connections that broke.
    pub left_behind: u32,
}

/// All files that the spool folders in `root` keep, or `root` itself if it is one. Files that a recording without storages left are
/// those that `roomcast recover` ends.
///
/// # Errors
/// [`StorageError::Folder`] when `root` cannot be read, [`StorageError::Notes`] and [`StorageError::File`] when one of its folders cannot.
pub fn inventory(disk: &dyn Disk, root: &Path, keep: Keep) -> Result<Vec<Kept>, StorageError> {
    let mut kept = Vec::new();
    for folder in spool_folders(root)? {
        kept.extend(of_folder(disk, &folder, keep)?);
    }
    Ok(kept)
}

/// Deletes the files of `root` that all of their storages have had for as long as `keep` says, and folders that hold nothing else then.
/// Returns what was deleted. A folder that cannot be read is left alone, and said.
///
/// # Errors
/// [`StorageError::Folder`] when `root` cannot be read.
pub fn sweep(disk: &dyn Disk, root: &Path, keep: Keep) -> Result<Vec<PathBuf>, StorageError> {
    let mut deleted = Vec::new();
    for folder in spool_folders(root)? {
        // Being recorded into, or ended.
        let Ok(_lock) = Spool::lock(&folder) else { continue };
        let swept = of_folder(disk, &folder, keep).and_then(|kept| sweep_folder(disk, &folder, &kept));
        match swept {
            Ok(files) => deleted.extend(files),
            Err(error) => tracing::warn!(reason = %error.to_fault(), "a folder of the spool was left as it is"),
        }
    }
    Ok(deleted)
}

fn spool_folders(root: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let unreadable = |source| StorageError::folder(root, "read", source);
    let is_spool = |folder: &Path| {
        let named = folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FOLDER_ENDING));
        folder.is_dir() && (named || folder.join(NOTES).is_file())
    };
    if is_spool(root) {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_spool(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn of_folder(disk: &dyn Disk, folder: &Path, keep: Keep) -> Result<Vec<Kept>, StorageError> {
    let mut kept: Vec<Kept> = Vec::new();
    let all = places(folder)?;
    for place in &all {
        if kept.iter().any(|kept| kept.file == place.file) {
            continue;
        }
        let same = || all.iter().filter(|other| other.file == place.file);
        let standings: Vec<Standing> = same().map(|place| place.standing).collect();
        let bytes = fs::metadata(&place.file).map_or(0, |meta| meta.len());
        // Journals without a file are what an interrupted deletion left.
        let is_ended = !place.file.exists() || matches!(fortune(disk, &place.file)?, Fortune::Ended(_));
        kept.push(Kept {
            session: Some(place.session.clone()),
            file: place.file.clone(),
            bytes,
            verdict: verdict(is_ended, &standings, keep, unix_now()),
            storages: same().map(|place| place.at.clone()).collect(),
        });
    }
    let session = Spool::open(folder).ok().map(|spool| spool.notes().session.to_string());
    for file in (1..).map(|part| folder.join(part_name(part))).take_while(|file| file.exists()) {
        let twin = file.file_name().map(|name| folder.join(UPLOADS).join(name)).unwrap_or_default();
        if kept.iter().all(|kept| kept.file != twin) {
            let bytes = fs::metadata(&file).map_or(0, |meta| meta.len());
            kept.push(Kept { session: session.clone(), file, bytes, verdict: Verdict::Growing, storages: Vec::new() });
        }
    }
    Ok(kept)
}

/// A file, and one place that it is meant for.
struct Place {
    file: PathBuf,
    session: String,
    standing: Standing,
    at: At,
}

fn places(folder: &Path) -> Result<Vec<Place>, StorageError> {
    let mut places: Vec<Place> = outgoing(folder)?.iter().map(of_storage).collect();
    if let Some(plan) = Plan::read(folder)? {
        places.extend(plan.films(folder).into_iter().map(|film| of_controller(&plan, film)));
    }
    Ok(places)
}

fn of_storage(out: &Outgoing) -> Place {
    Place { file: out.file.clone(), session: out.journal.session.to_string(), standing: standing(out), at: at(out) }
}

fn of_controller(plan: &Plan, film: Film) -> Place {
    let Film { file, note, .. } = film;
    let (standing, sent) = match (note.record.step, note.delivered_at) {
        (Handed::Delivered, Some(at)) => (Standing::Delivered { at }, fs::metadata(&file).map_or(0, |meta| meta.len())),
        _ => (Standing::Unconfirmed, 0),
    };
    let object = format!("room {}", plan.room);
    let (delivered_at, left_behind) = (note.delivered_at, note.record.left_behind);
    let at = At { storage: CONTROLLER.to_owned(), object, sent, confirmed_at: None, delivered_at, left_behind };
    Place { file, session: plan.session.to_string(), standing, at }
}

fn standing(out: &Outgoing) -> Standing {
    match (out.journal.confirmed_at, &out.journal.upload.step) {
        // Until what is left of it in the storage is swept, its journal is needed.
        (Some(at), Step::Stored) if out.is_over() => Standing::Confirmed { at },
        (_, Step::Abandoned) => Standing::Unusable,
        _ => Standing::Unconfirmed,
    }
}

fn at(out: &Outgoing) -> At {
    let upload = &out.journal.upload;
    let sent = match upload.step {
        Step::Stored => upload.ended.unwrap_or(0),
        _ => upload.parts.values().map(|part| part.len).sum(),
    };
    let object = format!("{}/{}", out.journal.bucket, upload.key);
    let (storage, confirmed_at) = (out.journal.storage.clone(), out.journal.confirmed_at);
    At { storage, object, sent, confirmed_at, delivered_at: None, left_behind: 0 }
}

/// Deletes in an order that can be interrupted: the file, its journals, and, when nothing else is left, the list of storages and the folders.
fn sweep_folder(disk: &dyn Disk, folder: &Path, kept: &[Kept]) -> Result<Vec<PathBuf>, StorageError> {
    let remove = |file: &Path| match disk.remove(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::file(file, "removed", error)),
        _ => Ok(()),
    };
    let uploads = folder.join(UPLOADS);
    let all = outgoing(folder)?;
    let mut deleted = Vec::new();
    // While one part is kept all journals are: they are found by counting.
    // With nothing at all in it, the folder is what an interrupted deletion left.
    let whole = kept.iter().all(|kept| kept.verdict == Verdict::Expired) && (!kept.is_empty() || is_left_over(folder));
    for expired in kept.iter().filter(|kept| kept.verdict == Verdict::Expired) {
        if expired.file.exists() {
            remove(&expired.file)?;
            deleted.push(expired.file.clone());
        }
    }
    if !whole || folder.join(NOTES).exists() {
        return Ok(deleted);
    }
    if uploads.is_dir() {
        disk.sync_folder(&uploads).map_err(|source| StorageError::folder(&uploads, "written", source))?;
    }
    for out in all.iter().rev() {
        remove(&out.journal_file)?;
    }
    remove(&uploads.join(PLAN))?;
    remove(&uploads.join(super::outbox::TARGETS))?;
    for empty in [uploads.as_path(), folder] {
        if let Err(error) = disk.remove_folder(empty)
            && !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound)
        {
            return Err(StorageError::folder(empty, "removed", error));
        }
    }
    Ok(deleted)
}

/// The list for people: one line a file, and one for each storage that has not confirmed it.
pub fn table(kept: &[Kept], now: u64) -> String {
    let mut text = String::new();
    for file in kept {
        let why = match file.verdict {
            Verdict::Growing if file.storages.is_empty() => "not ended; `roomcast recover` ends it if nothing records".to_owned(),
            Verdict::Growing => "being recorded, or not ended".to_owned(),
            Verdict::Unconfirmed => format!("not {}: kept until it is", has(file)),
            Verdict::Unusable => "cannot be used as it is: look at it".to_owned(),
            Verdict::KeptUntil { until } => format!("{}; deleted in {}", has(file), hours(until.saturating_sub(now))),
            Verdict::Expired => format!("{}; deleted at the next sweep", has(file)),
        };
        let session = file.session.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "{session}  {:>10}  {}  {why}", megabytes(file.bytes), file.file.display());
        for at in &file.storages {
            let state = match (at.confirmed_at, at.delivered_at) {
                (Some(_), _) => "confirmed".to_owned(),
                (None, Some(_)) => "delivered, not confirmed".to_owned(),
                (None, None) if at.storage == CONTROLLER => "not delivered; `roomcast serve` goes on with it".to_owned(),
                (None, None) => format!("{} sent", megabytes(at.sent)),
            };
            let left = match at.left_behind {
                0 => String::new(),
                count => format!("; shortened recordings that it may list beside it: {count}"),
            };
            let _ = writeln!(text, "    {}: {}, {state}{left}", at.storage, at.object);
        }
    }
    text
}

/// What all places of a file say before it can be deleted.
fn has(file: &Kept) -> &'static str {
    let is_controller = |at: &At| at.storage == CONTROLLER;
    match (file.storages.iter().any(is_controller), file.storages.iter().all(is_controller)) {
        (false, _) => "confirmed",
        (true, true) => "delivered",
        (true, false) => "confirmed and delivered",
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

fn hours(seconds: u64) -> String {
    format!("{} h {} min", seconds / 3600, seconds / 60 % 60)
}
