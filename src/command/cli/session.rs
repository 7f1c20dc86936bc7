//! Runs one Session for the command line, from the checked arguments to the table at the end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use recorder_core::ids::{SessionId, TargetId};
use recorder_core::layout::LookText;
use recorder_core::upload::State;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::actors::{Actors, measured_sync};
use super::look::{self, look, rendition};
use super::monitor::Monitor;
use super::operate::Desk;
use super::targets::{self, Live, Recorded, Wanted};
use super::{Failure, complain, screen};
use crate::clock::SessionClock;
use crate::config::{Config, PROGRAMME, Sound, SoundLevel};
use crate::mixer::sound::LevelSettings;
use crate::service::board::SessionEntry;
use crate::service::job::{Course, Rendition};
use crate::service::process::OwnProgram;
use crate::service::progress::{Progress, table, uploads_table};
use crate::service::supervisor::{self, Outcome, Patience, RecordingOrder, Room, SessionOrder, View};
use crate::storage::disk::SystemDisk;
use crate::storage::inventory::sweep;
use crate::storage::recording_uploads::Uploads;
use crate::storage::spool::{Spool, remove_unrecorded};
use crate::storage::{Finalised, RecordingUploads, StorageError, finalise, outbox};

/// What was checked and is about to run.
pub(super) struct Plan {
    config: Config,
    look: LookText,
    renditions: Vec<Rendition>,
    wanted: Wanted,
    duration: Option<Duration>,
    monitor: Option<Monitor>,
}

/// How often the progress of uploads is shown.
const LOOK_AT_UPLOADS: Duration = Duration::from_secs(1);

/// Name of the recording of the programme itself; those of other Renditions have their names behind it.
const RECORDING: &str = "recording";

/// A name for this Session: when it began, and which process handles it.
pub(super) fn session_name() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("{seconds}-{}", std::process::id())
}

/// What the configuration says of a whole Session; without a programme monitor.
pub(super) fn course(config: &Config, session: SessionId, epoch_ns: u64, look: LookText, renditions: Vec<Rendition>) -> Course {
    Course {
        session,
        epoch_ns,
        look,
        renditions,
        mixer_delay: config.mixer.delay.duration(),
        encoder: look::encoder(config.programme.encoder),
        level: level(&config.sound),
        live: targets::live_rules(config),
        avatars: config.avatars.rules(),
        room_empty_grace: config.session.room_empty_grace.duration(),
        conference_grace: config.session.conference_grace.duration(),
        max_duration: config.session.max_duration.duration(),
        monitor: None,
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
    let renditions = wanted.renditions.iter().cloned().map(|choice| rendition(choice, config)).collect::<Result<_, _>>()?;
    let look = look(config, false)?;
    // Last, because from here on it listens.
    let monitor = Monitor::prepare(config)?;
    Ok(Plan { config: config.clone(), look, renditions, wanted, duration, monitor })
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

    /// Runs `work` on this runtime; it is given the wishes to stop.
    pub(super) fn run<T>(&mut self, work: impl AsyncFnOnce(&mut mpsc::Receiver<()>) -> T) -> T {
        let Self { runtime, stops } = self;
        runtime.block_on(work(stops))
    }

    /// Waits for something.
    pub(super) fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Inside, tasks can be started; they run while something is waited for.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }
}

/// Runs the Session, ends its recordings, prints the table, and stays until everything is uploaded.
pub(super) fn run(
    plan: Plan,
    room: Room,
    config_file: Option<PathBuf>,
    mut listening: Listening,
    desk: Desk,
    actors: Option<Actors>,
) -> Result<(), Failure> {
    let clock = SessionClock::start();
    let session = SessionId::new(session_name());
    // Held until the streams have ended.
    let _claims = targets::claim(&plan.wanted.lives)?;
    let mut recordings: Vec<RecordingOrder> = Vec::new();
    for recorded in &plan.wanted.recordings {
        let _inside = listening.enter();
        match recording(&plan, recorded, &session) {
            Ok(recording) => recordings.push(recording),
            Err(failure) => {
                for RecordingOrder { folder, uploads, .. } in recordings {
                    drop(uploads);
                    remove_unrecorded(&folder);
                }
                return Err(failure);
            }
        }
    }
    let Plan { config, look, renditions, wanted, duration, monitor } = plan;
    let kept = recordings.clone();
    let order = SessionOrder {
        course: Course {
            monitor: monitor.as_ref().map(|monitor| monitor.feed(&wanted.renditions)),
            ..course(&config, session, clock.epoch_ns(), look, renditions)
        },
        room,
        duration,
        recordings,
        lives: wanted.lives.iter().map(Live::job).collect(),
        books: config.books.record,
        commanded: None,
    };
    let mut entry = desk.board.session(order.course.session.clone(), order.course.look.layout.clone());
    let mut launcher = OwnProgram { arguments: own_arguments(config_file.as_deref(), "worker") };
    let mut progress = Progress::new(std::io::stderr(), screen());
    let monitor = monitor.map(|monitor| {
        let _inside = listening.enter();
        monitor.start(config_file.as_deref(), clock)
    });
    let clock = Arc::new(move || clock.now());
    let Listening { runtime, stops } = &mut listening;
    let outcome = runtime.block_on(async {
        let mut beside = monitor.as_ref().map(|monitor| monitor.beside(&mut progress));
        let view: &mut dyn View = match &mut beside {
            Some(both) => both,
            None => &mut progress,
        };
        supervisor::run(order, &mut launcher, stops, view, &mut entry, clock, Patience::default()).await
    });
    if let Some(monitor) = monitor {
        runtime.block_on(monitor.end());
    }
    progress.end();
    let inspection = if actors.is_some() { Inspect::Sync } else { Inspect::Nothing };
    drop(actors);
    if kept.is_empty() {
        return streamed(&outcome);
    }
    let folders: Vec<&Path> = kept.iter().map(|recording| recording.folder.as_path()).collect();
    let conclusion = conclude(&folders, &outcome, config_file.as_deref(), inspection, &mut listening);
    if let Err(failure) = &conclusion {
        entry.failed(&failure.fault());
    }
    // The order, which had the other ones, is gone.
    let uploads =
        kept.into_iter().filter_map(|RecordingOrder { folder, uploads, .. }| Some((Arc::into_inner(uploads?)?, folder)));
    let uploads: Vec<_> = uploads.filter(|(_, folder)| folder.exists()).collect();
    if outcome.at_once || uploads.is_empty() {
        return conclusion;
    }
    let sent = uploaded(uploads, &mut listening, &mut progress, Some(&entry), &config);
    match (conclusion, sent) {
        (Err(first), Err(last)) => {
            complain(Some(first));
            Err(last)
        }
        (conclusion, sent) => conclusion.and(sent),
    }
}

/// Says how a Session without a recording went.
fn streamed(outcome: &Outcome) -> Result<(), Failure> {
    let _ = std::io::stdout().write_all(table(&[], outcome, None).as_bytes());
    outcome.fault.clone().map_or(Ok(()), |fault| Err(fault.into()))
}

/// Stays until everything of these folders is in its storages, or somebody does not want to wait any more.
pub(super) fn uploaded(
    mut uploads: Vec<(RecordingUploads, PathBuf)>,
    listening: &mut Listening,
    progress: &mut Progress<std::io::Stderr>,
    entry: Option<&SessionEntry>,
    config: &Config,
) -> Result<(), Failure> {
    let mut seen: Vec<_> = uploads.iter().map(|(uploads, _)| uploads.status()).collect();
    uploads.iter().for_each(|(uploads, _)| uploads.finalised());
    let Listening { runtime, stops } = listening;
    let is_over = runtime.block_on(async {
        // One after the other is waited for; they all go on meanwhile.
        for (index, (uploads, _)) in uploads.iter_mut().enumerate() {
            loop {
                let now = seen.iter().map(|status| status.borrow().clone()).collect();
                progress.uploads(&now);
                if let Some(entry) = entry {
                    entry.uploads(&now);
                }
                let Some(status) = seen.get_mut(index) else { break };
                if status.borrow_and_update().over {
                    uploads.over().await;
                    break;
                }
                tokio::select! {
                    changed = status.changed() => if changed.is_err() { break },
                    _ = stops.recv() => return false,
                    () = tokio::time::sleep(LOOK_AT_UPLOADS) => {}
                }
            }
        }
        true
    });
    progress.end();
    let stands: Uploads = seen.iter().map(|status| status.borrow().clone()).collect();
    let _ = std::io::stdout().write_all(uploads_table(&stands).as_bytes());
    if !is_over {
        let left = uploads.iter().zip(&seen).filter(|(_, status)| !status.borrow().over);
        let folders: Vec<String> = left.map(|((_, folder), _)| folder.display().to_string()).collect();
        let each: Vec<String> = folders.iter().map(|folder| format!("roomcast recover {folder}")).collect();
        let sentence = format!(
            "not everything is uploaded; the recording is kept in {}, and its upload goes on with: {}",
            folders.join(" and "),
            each.join(" && ")
        );
        return Err(Failure { sentence, code: 1 });
    }
    for (_, folder) in &uploads {
        // What needs not be kept at all is deleted now, the rest when its time has come.
        if let Err(error) = sweep(&SystemDisk, folder, config.spool.kept()) {
            tracing::warn!(reason = %error.to_fault(), "what is uploaded cannot be deleted");
        }
    }
    let lost = stands.each.iter().find(|one| one.status.state == State::Abandoned);
    lost.map_or(Ok(()), |one| {
        Err(Failure { sentence: format!("{} of the recording cannot be used, and was not uploaded", one.file), code: 1 })
    })
}

/// A recording that is about to begin: its folder is there, and its uploads run.
fn recording(plan: &Plan, recorded: &Recorded, session: &SessionId) -> Result<RecordingOrder, Failure> {
    let folder = make_spool(plan.config.spool.dir.as_deref(), recorded, session).map_err(|e| Failure::from(e.to_fault()))?;
    let uploads = match recorded.objects.is_empty() {
        true => None,
        false => {
            let stores = targets::stores(&plan.config, &recorded.objects)?;
            let uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), folder.clone());
            Some(Arc::new(uploads.map_err(|error| Failure::from(error.to_fault()))?))
        }
    };
    let name = plan.wanted.renditions.get(recorded.rendition).map(|choice| choice.name.as_str());
    let id = match name.filter(|name| *name != PROGRAMME) {
        None => RECORDING.to_owned(),
        Some(name) => format!("{RECORDING}-{name}"),
    };
    Ok(RecordingOrder { id: TargetId::new(id), rendition: recorded.rendition, folder, uploads })
}

/// The spool folder of a recording, with the list of storages that it goes to.
fn make_spool(dir: Option<&Path>, recorded: &Recorded, session: &SessionId) -> Result<PathBuf, StorageError> {
    let Recorded { file, objects, .. } = recorded;
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
        (None, object) => {
            let name = object.and_then(|object| Path::new(&object.key).file_name());
            Spool::create_for_uploads(&SystemDisk, &named(name.unwrap_or(std::ffi::OsStr::new(RECORDING))), session)?
        }
    };
    if !objects.is_empty() {
        outbox::declare(&SystemDisk, spool.folder(), session, objects)?;
    }
    Ok(spool.folder().to_owned())
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

/// Makes the ordinary files, and says how it went.
fn conclude(
    folders: &[&Path],
    outcome: &Outcome,
    config_file: Option<&Path>,
    inspection: Inspect,
    listening: &mut Listening,
) -> Result<(), Failure> {
    let keep = |what: &str, folder: &Path| {
        let folder = folder.display();
        Failure {
            sentence: format!("{what} What was recorded is kept; make a file of it with: roomcast recover {folder}"),
            code: 1,
        }
    };
    if outcome.at_once {
        let kept: Vec<Failure> =
            folders.iter().filter(|folder| !remove_unrecorded(folder)).map(|folder| keep("Ended at once.", folder)).collect();
        let nothing = || Failure { sentence: "ended at once; nothing was recorded".into(), code: 1 };
        return last_of(if kept.is_empty() { vec![nothing()] } else { kept });
    }
    let (mut files, mut failures, mut is_empty) = (Vec::new(), Vec::new(), true);
    for folder in folders {
        // Meanwhile the uploads go on.
        let owned = folder.to_path_buf();
        let ended =
            listening.runtime.block_on(async { tokio::task::spawn_blocking(move || finalise(&SystemDisk, &owned)).await });
        match ended.map_err(Failure::operator)? {
            Ok(Finalised { files: made, left }) => {
                files.extend(made);
                failures.extend(left.iter().map(|error| keep_part(folder, error)));
                is_empty = false;
            }
            Err(StorageError::Nothing { .. }) => {
                remove_unrecorded(folder);
            }
            Err(error) => {
                failures.push(keep(&error.to_fault().sentence, folder));
                is_empty = false;
            }
        }
    }
    if is_empty {
        let fault = outcome.fault.clone().unwrap_or_else(|| supervisor::nothing_recorded(&outcome.reason));
        return Err(fault.into());
    }
    if files.is_empty() {
        return last_of(failures);
    }
    let rehearsed = files.first().filter(|_| inspection == Inspect::Sync);
    let sync = rehearsed.and_then(|file| {
        let (file, config_file) = (file.file.clone(), config_file.map(Path::to_owned));
        let measuring = async { tokio::task::spawn_blocking(move || measured_sync(&file, config_file.as_deref())).await };
        listening.runtime.block_on(measuring).ok().flatten()
    });
    let named: Vec<_> = files.iter().map(|file| (file.file.as_path(), file.bytes)).collect();
    let _ = std::io::stdout().write_all(table(&named, outcome, sync).as_bytes());
    // What a person must know comes first; the last of it ends the program.
    failures.extend(outcome.fault.clone().map(Failure::from));
    last_of(failures)
}

/// Says all but the last of them.
fn last_of(mut failures: Vec<Failure>) -> Result<(), Failure> {
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
