//! The Targets of one worker: recordings and live destinations, each with its own thread and its own fate.
//!
//! In: Takes that begin and end. Out: [`DeliveryReport`]s, on one channel. Lives on the worker's task. It decides nothing about the Session, and
//! retries nothing: a recording that fails is over, a live destination helps itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::{TakeId, TargetId};
use recorder_core::live::LiveState;
use recorder_core::live::splice::{Shows, Splice};
use recorder_core::session::After;
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::job::{LiveJob, LiveRules, Rendition, TargetJob};
use crate::clock::SessionClock;
use crate::programme::ring::{Cursor, Ring};
use crate::programme::slate::SlateSource;
use crate::target::recording::{RecordingReport, RecordingSettings, RecordingTarget};
use crate::target::rtmp::{Destination, LiveEnvironment, LiveReport, LiveSettings, LiveTarget};

/// Reports that may wait; they come a few times a second from each Target.
const REPORTS: usize = 256;
/// States of one live destination that may wait for a worker that does not look; older ones are dropped.
const STATES: usize = 64;

/// What a Target says about itself.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum DeliveryReport {
    /// A recording.
    Recording(RecordingReport),
    /// A live destination.
    Live(LiveReport),
}

/// Where the packets of one Rendition come out.
pub(super) struct Outlet {
    ring: Ring,
    slate: SlateSource,
    /// What its encoders make in a second.
    bytes_per_s: u64,
}

impl Outlet {
    /// Of this Rendition.
    pub(super) fn new(rendition: &Rendition, ring: Ring, slate: SlateSource) -> Self {
        Self { ring, slate, bytes_per_s: u64::from(rendition.video_kbps + rendition.sound_kbps) * 1000 / 8 }
    }
}

/// All Targets.
pub(super) struct Deliveries {
    /// One for each Rendition.
    outlets: Vec<Outlet>,
    clock: SessionClock,
    rules: LiveRules,
    /// Made for the first live destination.
    environment: Option<LiveEnvironment>,
    recordings: BTreeMap<TargetId, Recording>,
    lives: BTreeMap<TargetId, Live>,
    /// Takes that have begun and not ended.
    open: BTreeSet<TargetId>,
    reports: mpsc::Sender<(TargetId, DeliveryReport)>,
}

/// Where a recording is written, and its writer while a Take runs.
struct Recording {
    rendition: usize,
    /// `None` while it is being made.
    folder: Option<PathBuf>,
    take: TakeId,
    /// Name of the file that grows.
    file: String,
    writer: Option<RecordingTarget>,
    /// The Takes that follow when the writer has closed the one before, and the folder is known; they hold their packets meanwhile.
    next: VecDeque<NextTake>,
    /// What follows the Take that was told its end.
    then: After,
}

/// A Take that waits for its turn.
struct NextTake {
    take: TakeId,
    at: SessionTime,
    packets: Cursor,
    /// Known when it was ended before it could begin.
    end: Option<SessionTime>,
}

struct Live {
    job: LiveJob,
    /// The supervisor has nothing against it.
    permitted: bool,
    running: Option<LiveTarget>,
    /// What is to be sent when, before it may begin.
    waiting: Option<Splice>,
}

/// What a Target whose Take is closed tells the Session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    /// Nothing: the next Take has begun.
    GoesOn,
    /// It is paused.
    Parked,
    /// Nothing of it runs any more.
    Ended,
}

impl Deliveries {
    /// Nothing runs yet.
    pub(super) fn new(
        targets: &[TargetJob],
        rules: LiveRules,
        outlets: Vec<Outlet>,
        first_take: TakeId,
        clock: SessionClock,
    ) -> (Self, mpsc::Receiver<(TargetId, DeliveryReport)>) {
        let (reports, receiver) = mpsc::channel(REPORTS);
        let (recordings, lives) = (BTreeMap::new(), BTreeMap::new());
        let mut all = Self { outlets, clock, rules, environment: None, recordings, lives, open: BTreeSet::new(), reports };
        for target in targets {
            match target.clone() {
                TargetJob::Recording { id, rendition, folder } => all.open_recording(id, rendition, Some(folder), first_take),
                TargetJob::Live(job) => all.open_live(job, true),
            }
        }
        (all, receiver)
    }

    /// A recording that may begin. Without its folder Takes wait, and lose nothing, until [`Self::permit`].
    pub(super) fn open_recording(&mut self, id: TargetId, rendition: usize, folder: Option<PathBuf>, first_take: TakeId) {
        let (writer, next) = (None, VecDeque::new());
        let recording = Recording { rendition, folder, take: first_take, file: String::new(), writer, next, then: After::Stop };
        self.recordings.insert(id, recording);
    }

    /// A live destination, which may begin when it is permitted.
    pub(super) fn open_live(&mut self, job: LiveJob, permitted: bool) {
        self.lives.insert(job.id.clone(), Live { job, permitted, running: None, waiting: None });
    }

    /// A Target may begin; a recording in this folder.
    pub(super) fn permit(&mut self, target: &TargetId, folder: Option<PathBuf>) {
        if let Some(recording) = self.recordings.get_mut(target) {
            recording.folder = folder;
        } else if let Some(live) = self.lives.get_mut(target) {
            live.permitted = true;
        }
        self.go_on(target);
    }

    /// Nobody is left who could permit anything: Takes that wait for their folder will have none, and are over when they are told their end.
    pub(super) fn forsake(&mut self) {
        self.recordings.values_mut().filter(|recording| recording.folder.is_none()).for_each(|recording| recording.next.clear());
    }

    /// What is wanted cannot be delivered at all.
    pub(super) fn cannot(&mut self, target: &TargetId, fault: Fault) {
        self.open.remove(target);
        self.recordings.remove(target);
        self.lives.remove(target);
        self.report(target, RecordingReport::Failed(fault));
        self.report(target, RecordingReport::Ended { until: None, bytes: 0 });
    }

    /// Starts a Take. What cannot begin is reported as failed.
    pub(super) fn begin(&mut self, target: &TargetId, take: TakeId, at: SessionTime) {
        self.open.insert(target.clone());
        if let Some(recording) = self.recordings.get_mut(target) {
            match self.outlets.get(recording.rendition) {
                Some(outlet) => {
                    let packets = outlet.ring.record_from(at);
                    recording.next.push_back(NextTake { take, at, packets, end: None });
                }
                None => return self.cannot_begin(target, "The recording", &no_rendition()),
            }
        } else if let Some(live) = self.lives.get_mut(target) {
            match (&live.running, &mut live.waiting) {
                (Some(running), _) => return running.resume(at),
                (None, Some(waiting)) => waiting.resume(at),
                (None, waiting @ None) => *waiting = Some(Splice::new(at, Shows::Programme)),
            }
        }
        self.go_on(target);
    }

    /// Shows the slate at a live destination, from this instant on.
    pub(super) fn show_slate(&mut self, target: &TargetId, from: SessionTime) {
        if let Some(live) = self.lives.get_mut(target) {
            live.waiting = Some(Splice::new(from, Shows::Slate));
            self.go_on(target);
        }
    }

    /// Whether no Take is open.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Which Rendition a live destination gets; `None` for anything else.
    pub(super) fn live_rendition(&self, target: &TargetId) -> Option<usize> {
        self.lives.get(target).map(|live| live.job.rendition)
    }

    /// Begins the Take that waits, if nothing keeps it waiting.
    fn go_on(&mut self, target: &TargetId) {
        let begun = match self.recordings.contains_key(target) {
            true => self.begin_recording(target).map_err(|why| ("The recording", why)),
            false => self.begin_live(target).map_err(|why| ("The stream", why)),
        };
        if let Err((what, why)) = begun {
            self.cannot_begin(target, what, &why);
        }
    }

    fn cannot_begin(&mut self, target: &TargetId, what: &str, why: &std::io::Error) {
        let sentence = format!("{what} cannot begin: {why}.");
        let retry = Retry::After(std::time::Duration::from_secs(1));
        let fault = Fault { scope: Scope::Process, blame: Blame::Us, retry, sentence };
        self.report(target, RecordingReport::Failed(fault));
        self.report(target, RecordingReport::Ended { until: None, bytes: 0 });
    }

    /// Tells a Take its end. Returns whether it was the last one that was open.
    pub(super) fn end(&mut self, target: &TargetId, at: SessionTime, then: After) -> bool {
        let nothing_runs = if let Some(recording) = self.recordings.get_mut(target) {
            recording.then = then;
            match (recording.next.back_mut(), &recording.writer) {
                (Some(waiting), _) => waiting.end = Some(waiting.end.map_or(at, |end| end.min(at))),
                (None, Some(writer)) => writer.end_take(at),
                (None, None) => {}
            }
            recording.next.is_empty() && recording.writer.is_none()
        } else if let Some(live) = self.lives.get_mut(target) {
            match (&live.running, then) {
                (Some(running), After::Pause) => running.pause(at),
                (Some(running), After::Stop) => running.end_take(at),
                (None, After::Pause) => {
                    live.waiting.iter_mut().for_each(|waiting| waiting.pause(at));
                    // Nothing was sent yet.
                    let _ = self.reports.try_send((target.clone(), DeliveryReport::Live(LiveReport::Parked)));
                }
                (None, After::Stop) => live.waiting = None,
            }
            live.running.is_none()
        } else {
            false
        };
        if nothing_runs && then == After::Stop {
            // There is no Take whose end would be reported.
            self.report(target, RecordingReport::Ended { until: None, bytes: 0 });
        }
        self.open.remove(target) && self.open.is_empty()
    }

    /// A Target has reported the end of a Take.
    pub(super) fn closed(&mut self, target: &TargetId) -> Closed {
        let then = if let Some(recording) = self.recordings.get_mut(target) {
            recording.writer = None;
            if !recording.next.is_empty() {
                self.go_on(target);
                return Closed::GoesOn;
            }
            recording.then
        } else if let Some(live) = self.lives.get_mut(target) {
            // It ends when it is stopped, and not when it is paused.
            live.running = None;
            After::Stop
        } else {
            After::Stop
        };
        match then {
            // One that ended although nobody told it to is not paused.
            After::Pause if !self.open.contains(target) => Closed::Parked,
            After::Pause | After::Stop => Closed::Ended,
        }
    }

    /// Does not wait for the time of a live destination's next attempt.
    pub(super) fn try_now(&self, target: &TargetId) {
        if let Some(running) = self.lives.get(target).and_then(|live| live.running.as_ref()) {
            running.try_now();
        }
    }

    /// Nothing more will come: recordings end with what they have, streams with what has left. Returns how many have still to report their end.
    pub(super) fn end_at_once(&self) -> usize {
        let writers = self.recordings.values().filter_map(|recording| recording.writer.as_ref()).filter(|w| !w.is_ended());
        let lives = self.lives.values().filter_map(|live| live.running.as_ref()).filter(|live| !live.is_ended());
        writers.inspect(|writer| writer.end_at_once()).count() + lives.inspect(|live| live.end_at_once()).count()
    }

    /// Which Take of a recording runs.
    pub(super) fn take(&self, target: &TargetId) -> TakeId {
        self.recordings.get(target).map_or(TakeId(1), |recording| recording.take)
    }

    /// The file of a recording has this name from now on.
    pub(super) fn names(&mut self, target: &TargetId, file: &Path) {
        if let (Some(recording), Some(name)) = (self.recordings.get_mut(target), file.file_name()) {
            recording.file = name.to_string_lossy().into_owned();
        }
    }

    /// Name of the file that grows.
    pub(super) fn file(&self, target: &TargetId) -> String {
        self.recordings.get(target).map(|recording| recording.file.clone()).unwrap_or_default()
    }

    fn report(&self, target: &TargetId, report: RecordingReport) {
        // On the worker's own task, which reads the channel: there is room, or it is told by the deadline of the Target.
        let _ = self.reports.try_send((target.clone(), DeliveryReport::Recording(report)));
    }

    fn begin_recording(&mut self, target: &TargetId) -> std::io::Result<()> {
        let Some(recording) = self.recordings.get_mut(target) else { return Ok(()) };
        let (None, Some(folder)) = (&recording.writer, &recording.folder) else { return Ok(()) };
        let Some(NextTake { take, at, packets, end }) = recording.next.pop_front() else { return Ok(()) };
        recording.take = take;
        let settings = RecordingSettings { id: target.clone(), folder: folder.clone(), take, start: at };
        let (reports, id) = (self.reports.clone(), target.clone());
        let report = move |report| {
            // A recording's own thread may wait for the worker's task; after the worker's end nobody listens.
            let _ = reports.blocking_send((id.clone(), DeliveryReport::Recording(report)));
        };
        let writer = recording.writer.insert(RecordingTarget::start(settings, packets, report)?);
        if let Some(end) = end {
            writer.end_take(end);
        }
        Ok(())
    }

    fn begin_live(&mut self, target: &TargetId) -> std::io::Result<()> {
        let Some(live) = self.lives.get_mut(target).filter(|live| live.permitted && live.running.is_none()) else {
            return Ok(());
        };
        let Some(splice) = live.waiting.take() else { return Ok(()) };
        let outlet = self.outlets.get(live.job.rendition).ok_or_else(no_rendition)?;
        let environment = match &self.environment {
            Some(environment) => environment.clone(),
            None => {
                let made = LiveEnvironment::new(self.rules.policy.clone(), self.rules.ca_file.as_deref())
                    .map_err(std::io::Error::other)?;
                self.environment.insert(made).clone()
            }
        };
        let settings = LiveSettings {
            id: target.clone(),
            destination: Destination::new(&live.job.address, live.job.key.clone()).map_err(std::io::Error::other)?,
            splice,
            slate: outlet.slate.clone(),
            bytes_per_s: outlet.bytes_per_s,
            seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), target),
        };
        let report = reporter(target.clone(), self.reports.clone());
        live.running = Some(LiveTarget::start(environment, settings, outlet.ring.clone(), self.clock, report)?);
        Ok(())
    }
}

/// A Target that names a Rendition which the job does not have.
fn no_rendition() -> std::io::Error {
    std::io::Error::other("the programme has no such rendition")
}

/// Passes on what a live destination says, without ever holding its thread up: figures are dropped while the worker does not look, states wait.
fn reporter(id: TargetId, reports: mpsc::Sender<(TargetId, DeliveryReport)>) -> impl FnMut(LiveReport) + Send + 'static {
    let mut waiting = VecDeque::new();
    move |report| {
        let is_last = report == LiveReport::State(LiveState::Ended);
        if !matches!(report, LiveReport::Figures(_)) || waiting.is_empty() {
            waiting.push_back(report);
        }
        while waiting.len() > STATES {
            waiting.pop_front();
        }
        while let Some(next) = waiting.pop_front() {
            let message = (id.clone(), DeliveryReport::Live(next));
            if is_last {
                // Nothing is sent any more, so nothing is held up.
                let _ = reports.blocking_send(message);
            } else if let Err(TrySendError::Full((_, DeliveryReport::Live(back)))) = reports.try_send(message) {
                waiting.push_front(back);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::address::AddressPolicy;
    use recorder_core::live::{Reason, Step};

    use super::*;
    use crate::target::rtmp::LiveFigures;

    /// Otherwise a worker whose supervisor died waits for a folder that nobody makes.
    #[test]
    fn a_recording_that_nobody_will_permit_is_over_when_it_is_told_its_end() {
        let outlet = Outlet { ring: Ring::default(), slate: SlateSource::default(), bytes_per_s: 1 };
        let rules = LiveRules { policy: AddressPolicy::default(), ca_file: None };
        let (mut all, mut reports) = Deliveries::new(&[], rules, vec![outlet], TakeId(1), SessionClock::start());
        let file = TargetId::new("file");
        all.open_recording(file.clone(), 0, None, TakeId(1));
        all.begin(&file, TakeId(1), SessionTime::from_millis(1_000));
        all.forsake();
        assert!(reports.try_recv().is_err(), "nothing was told to end");
        assert!(all.end(&file, SessionTime::from_millis(2_000), After::Stop), "it was the last");
        let ended = DeliveryReport::Recording(RecordingReport::Ended { until: None, bytes: 0 });
        assert_eq!(reports.try_recv(), Ok((file, ended)));
    }

    /// A worker that stands still loses figures, and no state.
    #[test]
    fn states_wait_for_a_busy_worker_and_figures_do_not() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut report = reporter(TargetId::new("a"), sender);
        let retrying =
            LiveState::Retrying { attempt: 2, at: SessionTime::from_millis(5), reason: Reason::NoAnswer(Step::Connect) };
        report(LiveReport::State(LiveState::Connecting));
        report(LiveReport::State(LiveState::Live));
        report(LiveReport::Figures(LiveFigures { resent: 1, ..LiveFigures::default() }));
        report(LiveReport::State(retrying.clone()));
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while let Some((_, DeliveryReport::Live(said))) = receiver.blocking_recv() {
                seen.push(said);
            }
            seen
        });
        report(LiveReport::State(LiveState::Ended));
        drop(report);
        let states = [LiveState::Connecting, LiveState::Live, retrying, LiveState::Ended];
        assert_eq!(reader.join().unwrap(), states.map(LiveReport::State));
    }
}
