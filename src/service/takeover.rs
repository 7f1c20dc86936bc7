//! Goes on with what an earlier process of this service left behind: Sessions whose rooms still want them, and recordings that only have to be finished.
//!
//! In: the claims in the spool. Out: [`Return`]s, for the host; recordings that are stored. Each claim is a task of its own. Nothing is touched before its
//! former supervisor and worker are gone. It refuses to go on with a Session that was gone for too long, or whose room another service has by now: what
//! that one has recorded is finished and stored, no more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recorder_core::claim::{Claim, Claimed, ClaimedTarget, Verdict};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::claims::{self, ClaimError, ClaimFile, Claims};
use super::commanded::{Former, FormerRecording};
use super::job::FormerTarget;
use super::keeping::Keeping;
use crate::command::amqp::{self, Orders};

/// How often a claim is looked at that somebody still holds.
const LOOK_AT_LOCK: Duration = Duration::from_millis(50);
/// A worker that has lost its supervisor is gone by then. Whoever holds a claim for longer is another service that lives.
const LEFT_BY: Duration = Duration::from_secs(120);

/// A Session that goes on.
#[derive(Debug)]
pub struct Return {
    /// Its room is ours again.
    pub room: amqp::Claim,
    /// Its claim is ours.
    pub file: ClaimFile,
    /// What the claim says; its epoch is that of this life of the machine.
    pub claim: Claim,
    /// What it was at.
    pub former: Former,
}

/// What became of one claim.
#[derive(Debug)]
pub enum Settled {
    /// The Session goes on.
    Returned(Box<Return>),
    /// It is over.
    Over,
}

/// Begins to go on with everything in the spool. The first thing returned is how many claims will be settled; each sends one word. Must be called before
/// slots are told, so that rooms are claimed before any command is taken.
///
/// # Errors
/// The spool cannot be read.
pub fn begin(
    orders: &Orders,
    keeping: &Keeping,
    grace: Duration,
    folders: Vec<PathBuf>,
) -> Result<(u32, mpsc::UnboundedReceiver<Settled>), ClaimError> {
    let claims = Claims::of_spool(&keeping.spool);
    // Bounded by the claims that there are.
    let (settled, told) = mpsc::unbounded_channel();
    let mut theirs: HashSet<PathBuf> = HashSet::new();
    let mut count = 0;
    for folder in claims.left()? {
        let found = match claims::read(&folder) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "what a session before this process was at is not known; what it has recorded is stored");
                None
            }
        };
        theirs.extend(found.iter().flat_map(Claim::folders).map(|name| keeping.spool.join(name)));
        let room = found.as_ref().filter(|claim| goes_on(claim, grace).is_some());
        let room = room.and_then(|claim| amqp::Room::new(&claim.room, claim.breakout.as_deref()).ok());
        let room = room.map(|room| orders.claim(room));
        let (keeping, settled) = (keeping.clone(), settled.clone());
        let span = tracing::info_span!("takeover", session.id = found.as_ref().map(|claim| claim.session.as_str()));
        count += 1;
        let task = async move {
            let returned = settle(&folder, room, &keeping, grace).await;
            // The service may be ending; then the claim stays for the next one.
            _ = settled.send(returned.map_or(Settled::Over, |returned| Settled::Returned(Box::new(returned))));
        };
        tokio::spawn(task.instrument(span));
    }
    for folder in folders.into_iter().filter(|folder| !theirs.contains(folder)) {
        tracing::info!(folder = %folder.display(), "looking whether a recording that was left is complete and stored");
        keeping.go_on(folder);
    }
    Ok((count, told))
}

/// The epoch with which a Session goes on.
fn goes_on(claim: &Claim, grace: Duration) -> Option<u64> {
    match claim.verdict(&claims::present(), grace) {
        Verdict::GoOn { epoch_ns } => Some(epoch_ns),
        Verdict::Finish => None,
    }
}

async fn settle(
    folder: &Path,
    room: Option<impl Future<Output = Option<amqp::Claim>>>,
    keeping: &Keeping,
    grace: Duration,
) -> Option<Return> {
    // Asked at once, so that no other service gets the room while the worker before still ends its Takes.
    let wanted = async {
        match room {
            // A broker that is away for longer has given everybody time to see that nothing is recorded.
            Some(room) => tokio::time::timeout(grace, room).await.unwrap_or(None),
            None => None,
        }
    };
    let (file, room) = tokio::join!(left(folder), wanted);
    let file = file?;
    // Only now nobody changes it any more.
    let claim = match claims::read(folder) {
        Ok(Some(claim)) => claim,
        Ok(None) | Err(_) => {
            file.remove();
            return None;
        }
    };
    let epoch_ns = goes_on(&claim, grace);
    let (Some(room), Some(epoch_ns), Ok(())) = (room, epoch_ns, file.relax()) else {
        let why =
            if epoch_ns.is_some() { "its room is another's, or not to be had" } else { "it was gone for too long, or over" };
        tracing::info!(why, "a session before this process does not go on; what it has recorded is stored");
        for name in claim.folders() {
            keeping.go_on(keeping.spool.join(name));
        }
        file.remove();
        return None;
    };
    let former = former(claim.targets.iter().flatten(), keeping).await;
    Some(Return { room, file, claim: Claim { epoch_ns, ..claim }, former })
}

/// Waits until the processes of a Session are gone.
async fn left(folder: &Path) -> Option<ClaimFile> {
    let free = async {
        loop {
            match claims::take_over(folder) {
                Err(ClaimError::Held(_)) => tokio::time::sleep(LOOK_AT_LOCK).await,
                taken => return taken,
            }
        }
    };
    match tokio::time::timeout(LEFT_BY, free).await {
        Ok(Ok(file)) => Some(file),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a session before this process cannot go on");
            None
        }
        Err(_) => {
            tracing::info!("another service on this machine has the session");
            None
        }
    }
}

async fn former(targets: impl Iterator<Item = &ClaimedTarget>, keeping: &Keeping) -> Former {
    let mut former = Former::default();
    for ClaimedTarget { target, run, next, paused, what } in targets {
        match what {
            Claimed::Recording { folder: Some(folder) } if keeping.spool.join(folder).is_dir() => {
                former.recordings.push(FormerRecording {
                    target: target.clone(),
                    run: *run,
                    next: *next,
                    paused: *paused,
                    kept: keeping.reopen(keeping.spool.join(folder)).await,
                })
            }
            // Where a stream goes is secret, and so in no file; a recording without a folder had not begun.
            Claimed::Recording { .. } | Claimed::Live => {
                former.wanted.push(FormerTarget { target: target.clone(), paused: *paused });
            }
        }
    }
    former
}
