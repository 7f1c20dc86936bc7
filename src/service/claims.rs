//! The claims of a service on its Sessions: what a supervisor that was killed leaves behind, for the next one to go on with.
//!
//! In: what a Session is at. Out: for each Session a folder in the spool, `claims/SESSION/`, with `claim.json`; and the folders that earlier processes left.
//! Files are read and written by blocking calls, for blocking threads; [`Noting`] hands what changed to a task of its own. Each file is whole at any time.
//!
//! The folder itself is locked: by the supervisor and its worker together for as long as either lives, so that nobody takes over what is not over yet; by
//! one process alone before it takes over. It refuses to hold anything secret, and to believe a file that cannot be right.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use recorder_core::claim::{Alive, BadClaim, Claim, ClaimedTarget, Present, VERSION};
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::clock::{SessionClock, monotonic_ns};
use crate::storage::disk::{SystemDisk, write_atomically};

/// Name of the folder of all claims in the spool.
const CLAIMS: &str = "claims";
/// Name of the file in a claim's folder.
const FILE: &str = "claim.json";
/// How often a sign of life is written.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Longer files are no claims.
const LONGEST: u64 = 1 << 20;

/// Why a claim cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A folder or file.
    #[error("the claim {} cannot be {action}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the Session, or takes it over.
    #[error("the claim {} is held by another process", .0.display())]
    Held(PathBuf),
    /// A defect.
    #[error("the claim was not written, because of a defect")]
    Broken(#[source] tokio::task::JoinError),
    /// Not a claim that can be believed.
    #[error("the file {} is not believed: {why}", path.display())]
    NotBelieved {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        why: NoClaim,
    },
}

/// Why a text is no claim. It is not repeated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoClaim {
    /// Not of the form.
    #[error("it has not the form of a claim")]
    Form,
    /// Something in it cannot be.
    #[error(transparent)]
    Bad(#[from] BadClaim),
}

impl ClaimError {
    fn file<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File { path: path.to_owned(), action, source }
    }
}

/// Reads a claim from the text of its file.
///
/// # Errors
/// See [`NoClaim`].
pub fn parse(text: &[u8]) -> Result<Claim, NoClaim> {
    /// What a claim of any version has.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice::<Versioned>(text) {
        Ok(Versioned { version }) if version != VERSION => return Err(BadClaim::Version(version).into()),
        _ => {}
    }
    let claim: Claim = serde_json::from_slice(text).map_err(|_| NoClaim::Form)?;
    claim.check()?;
    Ok(claim)
}

/// The present, as claims count it.
pub fn present() -> Present {
    // Without it no claim is of this life, and the time of day decides.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Present { boot: boot.trim().to_owned(), monotonic_ns: monotonic_ns(), unix_s: unix_s() }
}

/// Says that a Session is alive.
pub fn alive(clock: SessionClock) -> Alive {
    let Present { boot, unix_s, .. } = present();
    Alive { at: clock.now(), boot, unix_s }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A worker's part of the lock.
#[derive(Debug)]
pub struct ClaimShare {
    _lock: Flock<File>,
}

/// Holds a claim beside its supervisor.
///
/// # Errors
/// Somebody takes the Session over, or the folder is gone.
pub fn share(folder: &Path) -> Result<ClaimShare, ClaimError> {
    Ok(ClaimShare { _lock: lock(folder, FlockArg::LockSharedNonblock)? })
}

fn lock(folder: &Path, how: FlockArg) -> Result<Flock<File>, ClaimError> {
    let file = File::open(folder).map_err(ClaimError::file(folder, "read"))?;
    Flock::lock(file, how).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => ClaimError::Held(folder.to_owned()),
        errno => ClaimError::file(folder, "locked")(errno.into()),
    })
}

/// All claims of a spool.
#[derive(Clone, Debug)]
pub struct Claims {
    folder: PathBuf,
}

/// A claim that is ours.
#[derive(Debug)]
pub struct ClaimFile {
    folder: PathBuf,
    lock: Flock<File>,
}

impl Claims {
    /// Those in this spool.
    pub fn of_spool(spool: &Path) -> Self {
        Self { folder: spool.join(CLAIMS) }
    }

    /// Makes a claim, and returns when it is on the disk.
    ///
    /// # Errors
    /// See [`ClaimError`]. Then there is no claim.
    pub fn make(&self, claim: &Claim) -> Result<ClaimFile, ClaimError> {
        let folder = self.folder.join(claim.session.as_str());
        fs::create_dir_all(&folder).map_err(ClaimError::file(&folder, "made"))?;
        let lock = lock(&folder, FlockArg::LockExclusiveNonblock)?;
        let file = ClaimFile { folder, lock };
        file.write(claim)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(ClaimError::file(&self.folder, "written"))?;
        file.relax()?;
        Ok(file)
    }

    /// The folders of all claims, whosever they are, sorted by name.
    ///
    /// # Errors
    /// The folder of claims cannot be read.
    pub fn left(&self) -> Result<Vec<PathBuf>, ClaimError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ClaimError::file(&self.folder, "read"))?,
        };
        let mut left: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        left.sort();
        Ok(left)
    }
}

/// What a claim says, whosever it is; `None` when it was never written, or is over.
///
/// # Errors
/// See [`ClaimError`].
pub fn read(folder: &Path) -> Result<Option<Claim>, ClaimError> {
    let path = folder.join(FILE);
    let text = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(meta) if meta.len() > LONGEST => return Err(ClaimError::NotBelieved { path, why: NoClaim::Form }),
        meta => meta.and_then(|_| fs::read(&path)).map_err(ClaimError::file(&path, "read"))?,
    };
    parse(&text).map(Some).map_err(|why| ClaimError::NotBelieved { path, why })
}

/// Takes the claim of a process that is gone, and whose worker is.
///
/// # Errors
/// [`ClaimError::Held`] while one of them lives, or when somebody else takes it.
pub fn take_over(folder: &Path) -> Result<ClaimFile, ClaimError> {
    Ok(ClaimFile { folder: folder.to_owned(), lock: lock(folder, FlockArg::LockExclusiveNonblock)? })
}

impl ClaimFile {
    /// The folder, for the worker to [`share`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets a worker hold it, too.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn relax(&self) -> Result<(), ClaimError> {
        self.lock.relock(FlockArg::LockSharedNonblock).map_err(|errno| ClaimError::file(&self.folder, "locked")(errno.into()))
    }

    /// Writes it anew; returns when it is on the disk.
    ///
    /// # Errors
    /// It cannot be written. The one before is gone then, too: one that is not up to date is worse than none, because what was stopped would begin again.
    pub fn write(&self, claim: &Claim) -> Result<(), ClaimError> {
        let path = self.folder.join(FILE);
        let written = serde_json::to_vec_pretty(claim)
            .map_err(io::Error::from)
            .and_then(|text| write_atomically(&SystemDisk, &path, &text));
        written.map_err(|source| {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a claim that is out of date cannot be removed");
            }
            ClaimError::File { path: path.clone(), action: "written", source }
        })
    }

    /// The Session is over, or is given up.
    pub fn remove(self) {
        for file in [FILE, "claim.json.new"] {
            _ = fs::remove_file(self.folder.join(file));
        }
        if let Err(error) = fs::remove_dir(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "a claim that is over cannot be removed");
        }
    }
}

/// Where a Session notes what it is at.
#[derive(Clone, Debug)]
pub struct Noting(watch::Sender<Option<Vec<ClaimedTarget>>>);

/// The task that keeps a claim up to date.
#[derive(Debug)]
pub struct ClaimTask {
    file: ClaimFile,
    claim: Claim,
    clock: SessionClock,
    noted: watch::Receiver<Option<Vec<ClaimedTarget>>>,
}

impl Noting {
    /// For this claim.
    pub fn new(file: ClaimFile, claim: Claim, clock: SessionClock) -> (Self, ClaimTask) {
        let (noting, noted) = watch::channel(claim.targets.clone());
        (Self(noting), ClaimTask { file, claim, clock, noted })
    }

    /// The Session is at this now.
    pub fn note(&self, targets: Vec<ClaimedTarget>) {
        self.0.send_replace(Some(targets));
    }
}

impl ClaimTask {
    /// Keeps the claim up to date until every [`Noting`] of it is dropped, which means that the Session is over, and removes it then. If the task itself is
    /// dropped the claim stays, for the next process.
    pub async fn run(self) {
        let Self { mut file, mut claim, clock, mut noted } = self;
        let mut life = tokio::time::interval_at(tokio::time::Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        life.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_told = false;
        loop {
            tokio::select! {
                changed = noted.changed() => if changed.is_err() { break },
                _ = life.tick() => {}
            }
            claim.targets.clone_from(&noted.borrow_and_update());
            claim.alive = alive(clock);
            let of = claim.clone();
            let written = tokio::task::spawn_blocking(move || (file.write(&of), file)).in_current_span().await;
            let Ok((written, back)) = written else { return };
            file = back;
            match written {
                Ok(()) => is_told = false,
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::warn!(%error, "a supervisor that comes after this one could not go on with the session");
                }
                Err(_) => {}
            }
        }
        _ = tokio::task::spawn_blocking(move || file.remove()).await;
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::claim::Claimed;
    use recorder_core::ids::{SessionId, TakeId, TargetId};

    use super::*;

    fn claim() -> Claim {
        let recording = Claimed::Recording { folder: Some("1732240000-7-1.roomcast".into()) };
        let target =
            |name: &str, what| ClaimedTarget { target: TargetId::new(name), run: 2, next: TakeId(3), paused: true, what };
        let clock = SessionClock::start();
        Claim {
            version: VERSION,
            session: SessionId::new("1732240000-7-1"),
            room: "0192d8a5-8c2f-7c3e-9b1a-2f4e6d8c0a1b".into(),
            breakout: None,
            epoch_ns: clock.epoch_ns(),
            alive: alive(clock),
            targets: Some(vec![target("recording", recording), target("stream", Claimed::Live)]),
        }
    }

    #[test]
    fn a_claim_is_found_as_it_was_written_and_gone_when_it_is_over() {
        let spool = tempfile::tempdir().unwrap();
        let claims = Claims::of_spool(spool.path());
        assert!(claims.left().unwrap().is_empty());
        let claim = claim();
        let file = claims.make(&claim).unwrap();
        let left = claims.left().unwrap();
        assert_eq!(left, [file.folder().to_owned()]);
        assert_eq!(read(&left[0]).unwrap(), Some(claim));
        file.remove();
        assert!(claims.left().unwrap().is_empty());
    }

    #[test]
    fn nobody_takes_over_while_supervisor_or_worker_lives() {
        let spool = tempfile::tempdir().unwrap();
        let file = Claims::of_spool(spool.path()).make(&claim()).unwrap();
        let folder = file.folder().to_owned();
        let held = |folder: &Path| matches!(take_over(folder), Err(ClaimError::Held(_)));
        assert!(held(&folder), "the supervisor lives");
        let worker = share(&folder).unwrap();
        drop(file);
        assert!(held(&folder), "the worker lives");
        drop(worker);
        let file = take_over(&folder).unwrap();
        assert!(held(&folder), "one takes over");
        assert!(matches!(share(&folder), Err(ClaimError::Held(_))), "a late worker of the former supervisor");
        file.relax().unwrap();
        share(&folder).unwrap();
        assert!(matches!(Claims::of_spool(spool.path()).make(&claim()), Err(ClaimError::Held(_))));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_refused_or_believed_and_never_more() {
        let text = serde_json::to_vec_pretty(&claim()).unwrap();
        assert!(parse(&text).is_ok());
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), Err(NoClaim::Form), "{end} bytes");
        }
        for at in 0..text.len() {
            for byte in [0, b'"', b'0', b'/', b'}', 0xff] {
                let mut changed = text.clone();
                changed[at] = byte;
                if let Ok(claim) = parse(&changed) {
                    assert_eq!(claim.check(), Ok(()));
                    assert!(claim.folders().all(|folder| !folder.contains('/')));
                }
            }
        }
        assert_eq!(parse(br#"{"version":2,"what":"else"}"#), Err(NoClaim::Bad(BadClaim::Version(2))));
        assert_eq!(parse(br#"{"version":1,"what":"else"}"#), Err(NoClaim::Form));
    }

    #[test]
    fn files_that_are_no_claims_are_named() {
        let spool = tempfile::tempdir().unwrap();
        let folder = spool.path().join(CLAIMS).join("s");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(read(&folder).unwrap(), None, "never written");
        fs::write(folder.join(FILE), "{").unwrap();
        assert!(matches!(read(&folder), Err(ClaimError::NotBelieved { why: NoClaim::Form, .. })));
        File::create(folder.join(FILE)).unwrap().set_len(LONGEST + 1).unwrap();
        assert!(matches!(read(&folder), Err(ClaimError::NotBelieved { why: NoClaim::Form, .. })));
    }

    #[test]
    fn a_claim_that_cannot_be_brought_up_to_date_is_no_claim() {
        let spool = tempfile::tempdir().unwrap();
        let file = Claims::of_spool(spool.path()).make(&claim()).unwrap();
        // A folder where the new text would be written.
        fs::create_dir(file.folder().join("claim.json.new")).unwrap();
        let error = file.write(&claim()).unwrap_err().to_string();
        assert!(error.contains("cannot be written"), "{error}");
        assert_eq!(read(file.folder()).unwrap(), None);
    }

    #[tokio::test]
    async fn what_changes_is_written_and_the_end_of_the_session_ends_the_claim() {
        let spool = tempfile::tempdir().unwrap();
        let before = Claim { targets: None, ..claim() };
        let file = Claims::of_spool(spool.path()).make(&before).unwrap();
        let folder = file.folder().to_owned();
        let (noting, task) = Noting::new(file, before, SessionClock::start());
        let task = tokio::spawn(task.run());
        let wanted = claim().targets;
        noting.note(wanted.clone().unwrap());
        while read(&folder).unwrap().and_then(|claim| claim.targets) != wanted {
            tokio::task::yield_now().await;
        }
        drop(noting);
        task.await.unwrap();
        assert!(!folder.exists());
    }
}
