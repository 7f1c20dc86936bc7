//! What earlier Sessions left: ending their files, going on with their uploads, and saying what is kept.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::session::{Listening, uploaded};
use super::{Failure, complain, screen, targets};
use crate::config::Config;
use crate::service::progress::Progress;
use crate::storage::disk::SystemDisk;
use crate::storage::inventory::{inventory, sweep, table};
use crate::storage::outbox::{UploadTarget, outgoing};
use crate::storage::recover::unfinished;
use crate::storage::{self, RecordingUploads, StorageError};

/// Ends what can be ended, then uploads what is not uploaded.
pub(super) fn recover(folder: &Path, config: &Config) -> Result<(), Failure> {
    let spools = unfinished(folder).map_err(|error| Failure::from(error.to_fault()))?;
    let found = storage::recover(&SystemDisk, folder).map_err(|error| Failure::from(error.to_fault()))?;
    let (mut failures, mut busy) = (Vec::new(), Vec::new());
    for one in found {
        if matches!(one.result, Err(StorageError::Busy { .. })) {
            busy.push(one.folder.clone());
        }
        let (files, errors) = match one.result {
            Ok(ended) => (ended.files, ended.left),
            // What was ended before may still have to be uploaded.
            Err(StorageError::Nothing { .. }) if !waiting(&one.folder).is_empty() => (Vec::new(), Vec::new()),
            Err(error) => (Vec::new(), vec![error]),
        };
        for file in files {
            let _ = writeln!(std::io::stdout(), "{}", file.file.display());
        }
        failures.extend(errors.iter().map(|error| Failure::from(error.to_fault())));
    }
    // What somebody records into is theirs, its uploads too.
    let is_ours = |spool: &PathBuf| !busy.contains(spool) && !waiting(spool).is_empty();
    let unsent: Vec<PathBuf> = spools.into_iter().filter(is_ours).collect();
    if !unsent.is_empty() {
        let mut listening = Listening::start()?;
        for spool in unsent {
            failures.extend(go_on(&spool, config, &mut listening).err());
        }
    }
    let last = failures.pop();
    failures.into_iter().for_each(|failure| complain(Some(failure)));
    last.map_or(Ok(()), Err)
}

/// What of this folder is not in its storage yet.
fn waiting(spool: &Path) -> Vec<UploadTarget> {
    let all = outgoing(spool).unwrap_or_default();
    let open = all.into_iter().filter(|one| !one.is_over());
    let targets =
        open.map(|one| UploadTarget { storage: one.journal.storage, bucket: one.journal.bucket, key: one.journal.upload.key });
    targets.collect()
}

fn go_on(spool: &Path, config: &Config, listening: &mut Listening) -> Result<(), Failure> {
    let stores = targets::stores(config, &waiting(spool))?;
    let mut progress = Progress::new(std::io::stderr(), screen());
    let uploads = {
        let _inside = listening.enter();
        RecordingUploads::start(stores, Arc::new(SystemDisk), spool.to_owned())
            .map_err(|error| Failure::from(error.to_fault()))?
    };
    uploaded(vec![(uploads, spool.to_owned())], listening, &mut progress, None, config)
}

/// Lists what is kept. What needs not be kept any more is deleted first.
pub(super) fn list(folder: Option<&Path>, config: &Config, json: bool) -> Result<(), Failure> {
    let folder = folder.or(config.spool.dir.as_deref());
    let folder = folder.ok_or_else(|| Failure::operator("give the folder to look into, or configure spool.dir"))?;
    let keep = config.spool.kept();
    let failed = |error: StorageError| Failure::from(error.to_fault());
    sweep(&SystemDisk, folder, keep).map_err(failed)?;
    let kept = inventory(&SystemDisk, folder, keep).map_err(failed)?;
    let text = match json {
        true => serde_json::to_string_pretty(&kept).map_err(Failure::operator)? + "\n",
        false => table(&kept, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::operator)
}
