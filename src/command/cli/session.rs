//! Runs one Session for the command line, from the checked arguments to the table at the end.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use recorder_core::ids::SessionId;
use recorder_core::layout::LookText;
use recorder_core::upload::State;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::look::look;
use super::monitor::Monitor;
use super::targets::{self, Live, Wanted};
use super::{Failure, Inspection, complain, screen};
use crate::clock::SessionClock;
use crate::config::{Config, Sound, SoundLevel};
use crate::mixer::sound::LevelSettings;
use crate::service::job::Rendition;
use crate::service::monitor_keeper::MonitorKeeper;
use crate::service::process::{OwnProgram, without_secrets};
use crate::service::progress::{Progress, SyncFigure, table, uploads_table};
use crate::service::supervisor::{self, Outcome, Patience, RecordingOrder, Room, SessionOrder, View};
use crate::storage::disk::SystemDisk;
use crate::storage::inventory::sweep;
use crate::storage::spool::{NOTES, RESERVE, Spool, part_name};
use crate::storage::{Finalised, RecordingUploads, StorageError, finalise, outbox};

/// What was checked and is about to run.
pub(super) struct Plan {
    config: Config,
    look: LookText,
    wanted: Wanted,
    duration: Option<Duration>,
    monitor: Option<Monitor>,
}

/// How often the progress of uploads is shown.
const LOOK_AT_UPLOADS: Duration = Duration::from_secs(1);

/// A name for this Session: when it began, and which process handles it.
pub(super) fn session_name() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("{seconds}-{}", std::process::id())
}

/// The one encoding of the Programme.
pub(super) fn rendition(config: &Config) -> Rendition {
    let programme = &config.programme;
    Rendition {
        width_px: programme.size.width_px(),
        height_px: programme.size.height_px(),
        fps: programme.fps,
        video_kbps: programme.video_kbps(),
        sound_kbps: programme.sound_kbps,
    }
}

/// How loud everybody is made.
fn level(sound: &Sound) -> LevelSettings {
    LevelSettings {
        speech_lufs: (sound.level == SoundLevel::Speech).then_some(sound.target_lufs as f32),
        duck_db: sound.duck_db as f32,
        duck_attack: sound.duck_attack.duration(),
        duck_release: sound.duck_release.duration(),
    }
}

/// Checks everything that does not touch the network.
pub(super) fn plan(config: &Config, wanted: Wanted, duration: Option<Duration>) -> Result<Plan, Failure> {
    if duration.is_some_and(|d| d < Duration::from_secs(1)) {
        return Err(Failure::operator("--duration must be at least 1s"));
    }
    let look = look(config)?;
    // Last, because from here on it listens.
    let monitor = Monitor::prepare(config)?;
    Ok(Plan { config: config.clone(), look, wanted, duration, monitor })
}

/// Who listens for Ctrl-C, SIGTERM, and SIGHUP of a terminal that was closed. Made before anything is started that must be ended again.
pub(super) struct Listening {
    runtime: Runtime,
    stops: mpsc::Receiver<()>,
}

impl Listening {
    /// From now on a signal is a wish to stop, and no longer the end of this process.
    pub(super) fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::operator)?;
        let stops = runtime.block_on(async { stop_wishes() });
        let stops = stops.map_err(|e| Failure::operator(format_args!("cannot listen for signals: {e}")))?;
        Ok(Self { runtime, stops })
    }

    /// Inside, tasks can be started; they run while something is waited for.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }
}

/// Runs the Session, ends its recording, prints the table, and stays until everything is uploaded.
pub(super) fn run(
    plan: Plan,
    room: Room,
    config_file: Option<PathBuf>,
    mut listening: Listening,
    actors: Option<Actors>,
) -> Result<(), Failure> {
    let clock = SessionClock::start();
    let session = SessionId::new(session_name());
    // Held until the streams have ended.
    let _claims = targets::claim(&plan.wanted.lives)?;
    let folder = make_spool(&plan, &session).map_err(|e| Failure::from(e.to_fault()))?;
    let Plan { config, look, wanted, duration, monitor } = plan;
    let uploads = match &folder {
        Some(folder) if !wanted.objects.is_empty() => {
            let stores = targets::stores(&config, &wanted.objects)?;
            let _inside = listening.enter();
            let uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), folder.clone());
            Some(Arc::new(uploads.map_err(|error| Failure::from(error.to_fault()))?))
        }
        _ => None,
    };
    let rendition = rendition(&config);
    let order = SessionOrder {
        session,
        epoch_ns: clock.epoch_ns(),
        room,
        look,
        rendition,
        mixer_delay: config.mixer.delay.duration(),
        level: level(&config.sound),
        duration,
        room_empty_grace: config.session.room_empty_grace.duration(),
        conference_grace: config.session.conference_grace.duration(),
        max_duration: config.session.max_duration.duration(),
        recording: folder.clone().map(|folder| RecordingOrder { folder, uploads: uploads.clone() }),
        lives: wanted.lives.iter().map(Live::job).collect(),
        live: targets::live_rules(&config),
        avatars: config.avatars.rules(),
        monitor: monitor.as_ref().map(Monitor::feed),
    };
    let mut launcher = OwnProgram { arguments: own_arguments(config_file.as_deref(), "worker") };
    let mut progress = Progress::new(std::io::stderr(), screen());
    let keeper = monitor.as_ref().map(|monitor| watched(monitor, config_file.as_deref(), clock, &listening)).transpose()?;
    let clock = Arc::new(move || clock.now());
    let Listening { runtime, stops } = &mut listening;
    let outcome = runtime.block_on(async {
        let mut beside = keeper.as_ref().map(|keeper| keeper.beside(&mut progress));
        let view: &mut dyn View = match &mut beside {
            Some(both) => both,
            None => &mut progress,
        };
        supervisor::run(order, &mut launcher, stops, view, clock, Patience::default()).await
    });
    if let Some(keeper) = keeper {
        runtime.block_on(keeper.end());
    }
    drop(monitor);
    progress.end();
    let inspection = if actors.is_some() { Inspect::Sync } else { Inspect::Nothing };
    drop(actors);
    let Some(folder) = folder else { return streamed(&outcome) };
    let conclusion = conclude(&folder, &outcome, config_file.as_deref(), inspection, &mut listening);
    // The order, which had the other one, is gone.
    let Some(uploads) = uploads.and_then(Arc::into_inner) else { return conclusion };
    if outcome.at_once || !folder.exists() {
        return conclusion;
    }
    let sent = uploaded(uploads, &folder, &mut listening, &mut progress, &config);
    match (conclusion, sent) {
        (Err(first), Err(last)) => {
            complain(Some(first));
            Err(last)
        }
        (conclusion, sent) => conclusion.and(sent),
    }
}

/// Starts the programme monitor, and says where it is.
fn watched(
    monitor: &Monitor,
    config_file: Option<&Path>,
    clock: SessionClock,
    listening: &Listening,
) -> Result<MonitorKeeper, Failure> {
    let _inside = listening.enter();
    let keeper = monitor.start(config_file, clock)?;
    let _ = writeln!(std::io::stderr(), "programme monitor: {}", monitor.page());
    Ok(keeper)
}

/// Says how a Session without a recording went.
fn streamed(outcome: &Outcome) -> Result<(), Failure> {
    let _ = std::io::stdout().write_all(table(&[], outcome, None).as_bytes());
    outcome.fault.clone().map_or(Ok(()), |fault| Err(fault.into()))
}

/// Stays until everything of this folder is in its storages, or somebody does not want to wait any more.
pub(super) fn uploaded(
    mut uploads: RecordingUploads,
    folder: &Path,
    listening: &mut Listening,
    progress: &mut Progress<std::io::Stderr>,
    config: &Config,
) -> Result<(), Failure> {
    uploads.finalised();
    let Listening { runtime, stops } = listening;
    let mut status = uploads.status();
    let is_over = runtime.block_on(async {
        loop {
            let now = status.borrow_and_update().clone();
            progress.uploads(&now);
            if now.over {
                uploads.over().await;
                return true;
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return true },
                _ = stops.recv() => return false,
                () = tokio::time::sleep(LOOK_AT_UPLOADS) => {}
            }
        }
    });
    progress.end();
    let stands = status.borrow().clone();
    let _ = std::io::stdout().write_all(uploads_table(&stands).as_bytes());
    if !is_over {
        let folder = folder.display();
        let sentence = format!(
            "not everything is uploaded; the recording is kept in {folder}, and its upload goes on with: roomcast recover {folder}"
        );
        return Err(Failure { sentence, code: 1 });
    }
    // What needs not be kept at all is deleted now, the rest when its time has come.
    match sweep(&SystemDisk, folder, config.spool.keep.duration()) {
        Ok(_) => {}
        Err(error) => tracing::warn!(reason = %error.to_fault(), "what is uploaded cannot be deleted"),
    }
    let lost = stands.each.iter().find(|one| one.status.state == State::Abandoned);
    lost.map_or(Ok(()), |one| {
        Err(Failure { sentence: format!("{} of the recording cannot be used, and was not uploaded", one.file), code: 1 })
    })
}

/// The spool folder, when anything is recorded; with the list of storages that the recording goes to.
fn make_spool(plan: &Plan, session: &SessionId) -> Result<Option<PathBuf>, StorageError> {
    let Wanted { file, objects, .. } = &plan.wanted;
    let dir = plan.config.spool.dir.as_deref();
    let named = |name: &std::ffi::OsStr| {
        let mut folder = name.to_owned();
        folder.push(crate::storage::spool::FOLDER_ENDING);
        dir.unwrap_or_else(|| Path::new(".")).join(folder)
    };
    let spool = match (file, objects.first()) {
        (Some(file), _) => match (dir, file.file_name()) {
            (Some(_), Some(name)) => Spool::create_in(&SystemDisk, &named(name), file, session)?,
            _ => Spool::create(&SystemDisk, file, session)?,
        },
        (None, Some(object)) => {
            let name = Path::new(&object.key).file_name().unwrap_or(std::ffi::OsStr::new("recording"));
            Spool::create_for_uploads(&SystemDisk, &named(name), session)?
        }
        (None, None) => return Ok(None),
    };
    if !objects.is_empty() {
        outbox::declare(&SystemDisk, spool.folder(), session, objects)?;
    }
    Ok(Some(spool.folder().to_owned()))
}

pub(super) fn own_arguments(config_file: Option<&Path>, role: &str) -> Vec<String> {
    let config = config_file.map(|file| ["--config".to_owned(), file.display().to_string()]);
    config.into_iter().flatten().chain([role.to_owned()]).collect()
}

/// Signals as wishes to stop: each way the recording gets its end.
fn stop_wishes() -> std::io::Result<mpsc::Receiver<()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (wish, wishes) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if wish.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(wishes)
}

/// What is measured in the finished file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inspect {
    /// The A/V offset: it holds test cards.
    Sync,
    /// It holds real people.
    Nothing,
}

/// Makes the ordinary file, and says how it went.
fn conclude(
    folder: &Path,
    outcome: &Outcome,
    config_file: Option<&Path>,
    inspection: Inspect,
    listening: &mut Listening,
) -> Result<(), Failure> {
    let keep = |what: &str| {
        let folder = folder.display();
        Failure {
            sentence: format!("{what} What was recorded is kept; make a file of it with: roomcast recover {folder}"),
            code: 1,
        }
    };
    if outcome.at_once {
        return Err(if remove_empty(folder) {
            Failure { sentence: "ended at once; nothing was recorded".into(), code: 1 }
        } else {
            keep("Ended at once.")
        });
    }
    // Meanwhile the uploads go on.
    let owned = folder.to_owned();
    let ended = listening.runtime.block_on(async { tokio::task::spawn_blocking(move || finalise(&SystemDisk, &owned)).await });
    let Finalised { files, left } = match ended.map_err(Failure::operator)? {
        Ok(ended) => ended,
        Err(StorageError::Nothing { .. }) => {
            remove_empty(folder);
            let fault = outcome.fault.clone().unwrap_or_else(|| supervisor::nothing_recorded(&outcome.reason));
            return Err(fault.into());
        }
        Err(error) => return Err(keep(&error.to_fault().sentence)),
    };
    let rehearsed = files.first().filter(|_| inspection == Inspect::Sync);
    let sync = rehearsed.and_then(|file| {
        let (file, config_file) = (file.file.clone(), config_file.map(Path::to_owned));
        let measuring = async { tokio::task::spawn_blocking(move || measured_sync(&file, config_file.as_deref())).await };
        listening.runtime.block_on(measuring).ok().flatten()
    });
    let named: Vec<_> = files.iter().map(|file| (file.file.as_path(), file.bytes)).collect();
    let _ = std::io::stdout().write_all(table(&named, outcome, sync).as_bytes());
    // What a person must know comes first; the last of it ends the program.
    let mut failures: Vec<Failure> = left.iter().map(|error| keep_part(folder, error)).collect();
    failures.extend(outcome.fault.clone().map(Failure::from));
    let last = failures.pop();
    failures.into_iter().for_each(|failure| complain(Some(failure)));
    last.map_or(Ok(()), Err)
}

/// One file of several cannot be used, and was kept.
fn keep_part(folder: &Path, error: &StorageError) -> Failure {
    let (sentence, folder) = (error.to_fault().sentence, folder.display());
    Failure {
        sentence: format!("The recording is not complete: one of its files cannot be used and stays in {folder}. {sentence}"),
        code: 1,
    }
}

/// Removes a spool folder in which nothing was recorded; says whether it was one. A file that was made and not yet written to holds nothing.
fn remove_empty(folder: &Path) -> bool {
    let is_unwritten = || std::fs::metadata(folder.join(part_name(1))).is_ok_and(|meta| meta.len() == 0);
    let ours = |name: &std::ffi::OsStr| name == NOTES || name == RESERVE || (name == part_name(1).as_str() && is_unwritten());
    outbox::remove_empty(folder, &is_unwritten);
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    if !names.iter().all(|name| ours(name)) {
        return false;
    }
    names.iter().all(|name| std::fs::remove_file(folder.join(name)).is_ok()) && std::fs::remove_dir(folder).is_ok()
}

/// The simulated people: a process of their own, and the private folder of its socket.
pub(super) struct Actors {
    process: Child,
    folder: PathBuf,
}

/// How long the actors may take to listen. They prepare what they send afterwards.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Actors {
    /// Starts them and waits until their socket is there, or somebody wants to stop.
    pub(super) fn start(config_file: Option<&Path>, listening: &mut Listening) -> Result<Self, Failure> {
        let failed = |what: &str, error: std::io::Error| Failure { sentence: format!("cannot {what}: {error}"), code: 1 };
        let folder = std::env::temp_dir().join(format!("roomcast-rehearsal-{}", session_name()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|e| failed("make a folder for the simulated meeting", e))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("roomcast").args(own_arguments(config_file, "rehearsal-actors"));
        command.arg("--socket").arg(folder.join("actors"));
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        without_secrets(&mut command);
        let process = command.spawn().map_err(|e| failed("start the simulated meeting", e))?;
        // From here on they are ended by `Drop`, whatever happens.
        let mut actors = Self { process, folder };
        let Listening { runtime, stops } = listening;
        let failure = runtime.block_on(async {
            tokio::select! {
                begun = tokio::time::timeout(LISTEN_WITHIN, actors.listen()) => match begun {
                    Ok(true) => None,
                    Ok(false) | Err(_) => Some("the simulated meeting did not begin"),
                },
                _ = stops.recv() => Some("stopped before the simulated meeting began; nothing was recorded"),
            }
        });
        failure.map_or(Ok(actors), |sentence| Err(Failure { sentence: sentence.into(), code: 1 }))
    }

    /// Waits until they listen; false when they have ended instead.
    async fn listen(&mut self) -> bool {
        while !self.folder.join("actors").exists() {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    pub(super) fn room(&self) -> Room {
        Room::Rehearsal { socket: self.folder.join("actors") }
    }
}

impl Drop for Actors {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still theirs.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        }
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Has a process of its own look at a rehearsal's file: the supervisor decodes nothing. `None` when it has no test cards.
fn measured_sync(file: &Path, config_file: Option<&Path>) -> Option<SyncFigure> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("roomcast").args(own_arguments(config_file, "inspect")).arg(file).arg("--json");
    without_secrets(&mut command);
    let output = command.stdin(Stdio::null()).output().ok()?;
    serde_json::from_slice::<Inspection>(&output.stdout).ok()?.sync
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
            for name in [NOTES, RESERVE] {
                std::fs::write(folder.join(name), "{}").unwrap();
            }
            if let Some(content) = content {
                std::fs::write(folder.join(part_name(1)), content).unwrap();
            }
            assert_eq!((remove_empty(&folder), folder.exists()), (removed, !removed), "{content:?}");
        }
    }
}
