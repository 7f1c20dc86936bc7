//! Runs one Session: keeps a worker at work until the Session ends.
//!
//! In: a [`SessionOrder`], wishes to stop, and what the worker says. Out: an [`Outcome`]; the recordings then lie in their spool folders.
//! One tokio task. What to do about deaths is decided by [`recorder_core::supervision`]; here it is carried out.
//! Refuses to touch media: it never initialises GStreamer, and survives whatever a decoder does to a worker.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::TakeId;
use recorder_core::secret::Secret;
use recorder_core::supervision::{Action, Caution, Death, Input, Supervision};
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::Instrument as _;

use super::board::{Command, Refusal, SessionEntry};
use super::books::Books;
use super::commanded::{Commanded, Woken};
use super::job::{ConferenceJob, FromWorker, Job, Status, TargetJob, ToWorker};
use super::link::{LinkError, SupervisorLink};
use super::order::RecordingStand;
pub use super::order::{
    Clock, LiveStand, Outcome, Patience, RecordingOrder, Room, SessionOrder, SessionState, Snapshot, Tokens, View,
};
use super::process::{Exit, Launcher, Running};
use super::usage::{PeakMemory, cpu_of, own_cpu};
use crate::graph::EncoderWish;

mod hear;
mod over;

/// Runs the Session to its end. `stops` carries wishes to stop: the first ends it cleanly, the second at once. How it goes is posted at `entry`, and what
/// operators want of it comes from there.
pub async fn run(
    mut order: SessionOrder,
    launcher: &mut dyn Launcher,
    stops: &mut mpsc::Receiver<()>,
    view: &mut dyn View,
    entry: &mut SessionEntry,
    clock: Clock,
    patience: Patience,
) -> Outcome {
    let own_cpu_before = own_cpu();
    let span = tracing::info_span!("session", session.id = %order.course.session);
    let mut outcome = Outcome::default();
    outcome.last.lives = order.lives.iter().map(|job| LiveStand::new(job.id.clone())).collect();
    let recordings: Vec<_> = order.recordings.iter().map(|recording| RecordingStand::new(recording.id.clone())).collect();
    outcome.last.recordings = recordings.iter().map(RecordingStand::snapshot).collect();
    let commanded =
        order.commanded.take().map(|commanded| span.in_scope(|| Commanded::new(commanded, order.course.session.clone())));
    outcome.last.layout.clone_from(&order.course.look.layout.name);
    let rule = commanded.as_ref().map(Commanded::consent).unwrap_or_default();
    let (layout, began) = (&order.course.look.layout.name, clock());
    let mut books = Books::new(order.books, order.course.session.clone(), rule, layout, (Timestamp::now(), began));
    for RecordingOrder { id, folder, .. } in &order.recordings {
        span.in_scope(|| {
            books.begin(id, 1, began);
            books.place(id, 1, folder.clone());
        });
    }
    if let Some(commanded) = &commanded {
        span.in_scope(|| commanded.open_books(&mut books, began));
    }
    let session = Session {
        order,
        commanded,
        books,
        clock,
        patience,
        view,
        entry,
        supervision: Supervision::new(),
        stop_asked: false,
        wishes: 0,
        outcome,
        pictures_before: Status::default(),
        recordings,
        refreshed: None,
        takes: 0,
        streaming_since: None,
        memory: PeakMemory::default(),
    };
    let mut outcome = session.run(launcher, stops).instrument(span).await;
    outcome.cpu += own_cpu().saturating_sub(own_cpu_before);
    outcome
}

struct Session<'a> {
    order: SessionOrder,
    commanded: Option<Commanded>,
    books: Books,
    clock: Clock,
    patience: Patience,
    view: &'a mut dyn View,
    entry: &'a mut SessionEntry,
    supervision: Supervision,
    stop_asked: bool,
    /// Wishes to stop that somebody has had.
    wishes: u32,
    outcome: Outcome,
    /// Sums of the workers before this one.
    pictures_before: Status,
    /// In the order in which they were ordered.
    recordings: Vec<RecordingStand>,
    /// The newest token that a worker got from the server, unless there was a newer one from elsewhere.
    refreshed: Option<Secret>,
    /// Takes that have begun.
    takes: u32,
    /// When the first worker began to stream.
    streaming_since: Option<SessionTime>,
    memory: PeakMemory,
}

/// The worker that runs now.
struct Worker {
    link: SupervisorLink,
    process: Running,
    heard: Instant,
    /// It must be gone by then, or is killed; once killed, or it is no longer waited for.
    leave_by: Option<Instant>,
    killed: bool,
    stuck: bool,
    /// Its last message: the reason and the fault.
    last_word: Option<(String, Option<Fault>)>,
    socket_ended: bool,
    exit: Option<Exit>,
}

/// What woke the task.
enum Event {
    Said(Result<Option<FromWorker>, LinkError>),
    Exited(Exit),
    StopWanted,
    Commanded(Woken),
    Ordered(Command),
    Tick,
}

impl Worker {
    async fn event(worker: &mut Option<Self>) -> Event {
        let Some(worker) = worker else { return std::future::pending().await };
        tokio::select! {
            said = worker.link.incoming.next(), if !worker.socket_ended => Event::Said(said),
            exit = &mut worker.process.exited, if worker.exit.is_none() => {
                Event::Exited(exit.unwrap_or(Exit { how: Death::Exit(-1), cpu: Duration::ZERO }))
            }
            else => std::future::pending().await,
        }
    }

    fn leave_within(&mut self, time: Duration) {
        self.leave_by.get_or_insert_with(|| Instant::now() + time);
    }
}

impl Session<'_> {
    async fn run(mut self, launcher: &mut dyn Launcher, stops: &mut mpsc::Receiver<()>) -> Outcome {
        let mut worker: Option<Worker> = None;
        let mut tick = interval(self.patience.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stops_open = true;
        loop {
            while let Some(action) = self.supervision.poll_action() {
                if let Action::Finish { fault } = action {
                    return self.finish(fault).await;
                }
                self.act(action, launcher, &mut worker);
            }
            let event = tokio::select! {
                // In this order: a supervisor that stood still itself hears what its worker said meanwhile before it judges its silence.
                biased;
                event = Worker::event(&mut worker) => event,
                wish = stops.recv(), if stops_open => match wish {
                    Some(()) => Event::StopWanted,
                    None => { stops_open = false; continue }
                },
                woken = woken(&mut self.commanded) => Event::Commanded(woken),
                command = self.entry.command() => Event::Ordered(command),
                _ = tick.tick() => Event::Tick,
            };
            match event {
                Event::Said(said) => {
                    if let Some(worker) = &mut worker {
                        self.said(worker, said);
                    }
                }
                Event::Exited(exit) => {
                    if let Some(worker) = &mut worker {
                        self.outcome.cpu += exit.cpu;
                        worker.exit = Some(exit);
                        // What it still said is in the socket, and ends with it.
                        worker.leave_within(self.patience.exit);
                    }
                }
                Event::StopWanted if self.wishes > 0 => {
                    if let Some(worker) = &worker {
                        (worker.process.signal)(Signal::SIGKILL);
                    }
                    self.outcome.at_once = true;
                    return self.finish(None).await;
                }
                Event::StopWanted => {
                    self.wishes += 1;
                    self.stop("stop wanted");
                }
                Event::Commanded(woken) => {
                    let books = &mut self.books;
                    let message = self.commanded.as_mut().and_then(|commanded| commanded.take(woken, books));
                    if let (Some(message), Some(worker)) = (message, &worker) {
                        tell(worker, message);
                    }
                }
                Event::Ordered(command) => self.ordered(command, worker.as_ref()),
                Event::Tick => self.tick(&mut worker),
            }
            if worker.as_ref().is_some_and(|w| w.exit.is_some() && w.socket_ended)
                && let Some(worker) = worker.take()
            {
                self.gone(worker);
            }
        }
    }

    fn stop(&mut self, why: &str) {
        if !self.stop_asked {
            self.stop_asked = true;
            tracing::info!(why, "ending the Session");
            self.stands(SessionState::Ending);
            self.supervision.handle(Input::Stop, (self.clock)());
        }
    }

    /// Posted at once: whoever commands something wants to see that it was done.
    fn stands(&mut self, state: SessionState) {
        self.outcome.last.state = state;
        self.entry.update(&self.outcome.last);
    }

    fn ordered(&mut self, command: Command, worker: Option<&Worker>) {
        let Command::Layout { name, text, done } = command;
        let is_ending = self.stop_asked || worker.is_some_and(|worker| worker.last_word.is_some());
        let answer = if is_ending { Err(Refusal::Ending) } else { Ok(()) };
        if answer.is_ok() {
            tracing::info!(layout = name, "another layout");
            // A worker that takes the place of this one begins with it.
            self.order.course.look.layout.clone_from(&text);
            self.books.layout(&name, (self.clock)());
            self.outcome.last.layout = name;
            self.entry.update(&self.outcome.last);
            if let Some(worker) = worker {
                tell(worker, ToWorker::Layout(text));
            }
        }
        // Whoever asked may have gone.
        let _ = done.send(answer);
    }

    /// Something that a person should know.
    fn tell_people(&mut self, fault: Fault) {
        self.view.tell(&fault);
        self.books.fault(None, &fault, (self.clock)());
        self.outcome.last.fault = Some(fault);
    }

    fn act(&mut self, action: Action, launcher: &mut dyn Launcher, worker: &mut Option<Worker>) {
        match action {
            Action::Start { caution, attempt } => {
                self.outcome.workers = attempt;
                self.outcome.last.workers = attempt;
                let input = match self.start(caution, attempt, launcher) {
                    Ok(started) => {
                        *worker = Some(started);
                        Input::WorkerStarted
                    }
                    Err(error) => {
                        tracing::error!(%error, "a worker cannot be started");
                        Input::WorkerDied { how: Death::NotStarted }
                    }
                };
                self.supervision.handle(input, (self.clock)());
            }
            Action::Tell(fault) => self.tell_people(fault),
            Action::TellStop => {
                if let Some(worker) = worker {
                    tell(worker, ToWorker::Stop);
                }
            }
            Action::Kill => {
                if let Some(worker) = worker {
                    (worker.process.signal)(Signal::SIGKILL);
                }
            }
            Action::Finish { .. } => {}
        }
    }

    fn start(&mut self, caution: Caution, attempt: u32, launcher: &mut dyn Launcher) -> Result<Worker, LinkError> {
        // The token of the first worker may be too old for a later one.
        if attempt > 1 {
            self.fresh_token();
        }
        let conference = match &self.order.room {
            Room::LiveKit { url, token, ca_file, .. } => ConferenceJob::LiveKit {
                url: url.clone(),
                token: token.clone(),
                refreshed: self.refreshed.clone(),
                ca_file: ca_file.clone(),
            },
            Room::OpenTalk(entrance) => ConferenceJob::OpenTalk {
                entrance: entrance.clone(),
                follows: attempt > 1 || self.commanded.as_ref().is_some_and(Commanded::goes_on),
            },
            Room::Rehearsal { socket } => ConferenceJob::Rehearsal { socket: socket.clone() },
        };
        let delivered = match (self.order.recordings.is_empty(), self.streaming_since) {
            (true, Some(since)) => (self.clock)().since(since),
            _ => self.recorded(),
        };
        let mut course = self.order.course.clone();
        if attempt > 1 {
            // What has broken once may break again, and a recording goes on in its next part.
            course.encoder = EncoderWish::Software;
        }
        let job = Job {
            course,
            conference,
            targets: self.targets(),
            // What earlier workers delivered counts.
            duration: self.order.duration.map(|wanted| wanted.saturating_sub(delivered)),
            first_take: TakeId(self.takes + 1),
            caution: caution.clone(),
            consent: self.commanded.as_ref().map(Commanded::consent).unwrap_or_default(),
            signaling_grace: self.commanded.as_ref().map(Commanded::signaling_grace).unwrap_or_default(),
            commanded: self.commanded.as_ref().map(Commanded::job),
        };
        let process = launcher.launch()?;
        let link = SupervisorLink::open(process.socket.try_clone()?)?;
        link.outgoing.send(ToWorker::Job(Box::new(job)))?;
        tracing::info!(attempt, pid = process.pid, "worker started");
        Ok(Worker {
            link,
            process,
            heard: Instant::now(),
            leave_by: None,
            killed: false,
            stuck: false,
            last_word: None,
            socket_ended: false,
            exit: None,
        })
    }

    fn targets(&self) -> Vec<TargetJob> {
        let recordings = self.order.recordings.iter().map(|RecordingOrder { id, rendition, folder, .. }| TargetJob::Recording {
            id: id.clone(),
            rendition: *rendition,
            folder: folder.clone(),
        });
        recordings.chain(self.order.lives.iter().cloned().map(TargetJob::Live)).collect()
    }

    fn tick(&mut self, worker: &mut Option<Worker>) {
        // Taken first: what the watcher takes is not the worker's silence.
        let looked = Instant::now();
        let now = (self.clock)();
        self.outcome.last.elapsed = now.since(SessionTime::ZERO);
        let ordered = self.order.recordings.iter().filter_map(|recording| recording.uploads.as_ref());
        let uploads = ordered.chain(self.commanded.iter().flat_map(Commanded::all_uploads));
        self.outcome.last.uploads = uploads.map(|uploads| uploads.status().borrow().clone()).collect();
        let pid = worker.as_ref().filter(|worker| worker.exit.is_none()).and_then(|worker| worker.process.pid);
        self.outcome.last.memory_bytes = self.memory.sample(std::iter::once(std::process::id()).chain(pid));
        // A process that has just ended says nothing any more; what it used is known when it was waited for.
        self.outcome.last.cpu = self.outcome.last.cpu.max(self.outcome.cpu + pid.map_or(Duration::ZERO, cpu_of));
        self.view.progress(&self.outcome.last);
        self.entry.update(&self.outcome.last);
        if self.outcome.last.elapsed >= self.order.course.max_duration {
            self.stop("the longest duration is reached");
        }
        if self.supervision.poll_wake().is_some_and(|wake| now >= wake) {
            self.supervision.handle(Input::Woken, now);
        }
        let Some(worker) = worker else { return };
        if worker.leave_by.is_some_and(|by| Instant::now() >= by) {
            // With the process gone nothing more can come; a descriptor that somebody else holds must not keep us.
            worker.socket_ended = true;
            if worker.killed {
                // A process that waits for a dead disk cannot be killed. Whoever opens its folder is told that it still has it.
                tracing::error!("the worker cannot be killed; going on without waiting for it");
                worker.exit.get_or_insert(Exit { how: Death::Signal(Signal::SIGKILL as i32), cpu: Duration::ZERO });
            } else {
                tracing::warn!("the worker does not leave; killing it");
                (worker.process.signal)(Signal::SIGKILL);
                worker.killed = true;
                worker.leave_by = Some(Instant::now() + self.patience.exit);
            }
        } else if worker.leave_by.is_none() && looked.duration_since(worker.heard) >= self.patience.silence {
            tracing::error!(silence_ms = worker.heard.elapsed().as_millis() as u64, "the worker stands still; aborting it");
            worker.stuck = true;
            (worker.process.signal)(Signal::SIGABRT);
            worker.leave_within(self.patience.exit);
        }
    }

    /// Process and socket of a worker are both ended.
    fn gone(&mut self, worker: Worker) {
        let status = &self.outcome.last.status;
        self.pictures_before = status.clone();
        let input = match (worker.last_word, worker.exit) {
            (Some((reason, fault)), _) => {
                tracing::info!(reason, "worker ended");
                self.outcome.reason = reason;
                Input::WorkerEnded { fault }
            }
            (None, exit) => {
                let (now, recordings) = ((self.clock)(), &self.recordings);
                self.books.worker_died(|id| recordings.iter().find(|stand| stand.id == *id)?.safe_until());
                let books = &mut self.books;
                self.commanded.iter_mut().for_each(|commanded| commanded.worker_died(books, now));
                self.outcome.last.lives.iter_mut().for_each(LiveStand::unserved);
                if !self.stop_asked {
                    self.stands(SessionState::Entering);
                }
                let how = if worker.stuck { Death::Stuck } else { exit.map_or(Death::Exit(-1), |exit| exit.how) };
                tracing::warn!(pid = worker.process.pid, ?how, "worker died");
                Input::WorkerDied { how }
            }
        };
        self.supervision.handle(input, (self.clock)());
    }

    /// Programme time that is safe: one that could not go on must not make the others longer than was ordered.
    fn recorded(&self) -> Duration {
        self.recordings.iter().map(RecordingStand::recorded).max().unwrap_or_default()
    }
}

/// What happens to the Targets that moderators command; never, where none are.
async fn woken(commanded: &mut Option<Commanded>) -> Woken {
    match commanded {
        Some(commanded) => commanded.woken().await,
        None => std::future::pending().await,
    }
}

/// Tells the worker something. One that cannot be told is beyond help, and is replaced.
fn tell(worker: &Worker, message: ToWorker) {
    if let Err(error) = worker.link.outgoing.send(message) {
        tracing::warn!(%error, "the worker cannot be told");
        (worker.process.signal)(Signal::SIGKILL);
    }
}

/// The counters of `status` on top of those of earlier workers.
fn added(before: &Status, status: Status) -> Status {
    Status {
        pictures: before.pictures + status.pictures,
        repeated: before.repeated + status.repeated,
        dropped: before.dropped + status.dropped,
        encoded_bytes: before.encoded_bytes + status.encoded_bytes,
        ..status
    }
}

/// The fault of a Session that ended without having recorded anything.
pub fn nothing_recorded(reason: &str) -> Fault {
    let because = if reason.is_empty() { String::new() } else { format!(" ({})", reason.trim_end_matches('.')) };
    Fault {
        scope: Scope::Session,
        blame: Blame::Conference,
        retry: Retry::Never,
        sentence: format!("The Session ended before anything was recorded{because}."),
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
