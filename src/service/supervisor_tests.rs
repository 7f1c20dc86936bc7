//! The supervisor against workers that are tasks of this test.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use recorder_core::ids::{ParticipantId, SessionId, TakeId, TargetId, TrackId, TrackKind};
use recorder_core::layout::{LookText, NamedText};
use recorder_core::live::LiveState;
use tokio::sync::oneshot;

use recorder_core::secret::Secret;

use super::*;
use crate::avatar::AvatarRules;
use crate::graph::EncoderWish;
use crate::mixer::sound::LevelSettings;
use crate::service::board::Board;
use crate::service::job::{Course, LiveJob, LiveRules, Rendition};
use crate::service::link::{self, WorkerLink};
use crate::service::process::Exit;
use crate::target::rtmp::LiveFigures;

/// What a fake worker has: its job, its socket, and the signals that it is sent.
struct Fake {
    number: usize,
    job: Job,
    link: WorkerLink,
    signals: mpsc::UnboundedReceiver<Signal>,
    /// The same socket, for saying what no worker should say.
    raw: std::os::unix::net::UnixStream,
}

/// Plays `script` for each worker; notes the jobs.
struct Fakes<F> {
    script: Arc<F>,
    jobs: Arc<Mutex<Vec<Job>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl<F, P> Launcher for Fakes<F>
where
    F: Fn(Fake) -> P + Send + Sync + 'static,
    P: Future<Output = Death> + Send + 'static,
{
    fn launch(&mut self) -> std::io::Result<Running> {
        let (ours, theirs) = link::pair().unwrap();
        let (ended, exited) = oneshot::channel();
        let (signal, signals) = mpsc::unbounded_channel();
        let (script, jobs) = (Arc::clone(&self.script), Arc::clone(&self.jobs));
        let raw = theirs.try_clone().unwrap();
        let task = tokio::spawn(async move {
            let mut link = WorkerLink::open(theirs).unwrap();
            let Some(ToWorker::Job(job)) = link.incoming.next().await.unwrap() else { panic!("no job first") };
            let number = {
                let mut jobs = jobs.lock().unwrap();
                jobs.push((*job).clone());
                jobs.len()
            };
            let how = script(Fake { number, job: *job, link, signals, raw }).await;
            let _ = ended.send(Exit { how, cpu: Duration::from_secs(1) });
        });
        self.tasks.push(task);
        let signal = Box::new(move |s| {
            let _ = signal.send(s);
        });
        Ok(Running { socket: ours, exited, signal, pid: None })
    }
}

#[derive(Default)]
struct Told(Vec<String>);

impl View for Told {
    fn progress(&mut self, _: &Snapshot) {}
    fn tell(&mut self, fault: &Fault) {
        self.0.push(fault.sentence.clone());
    }
    fn live(&mut self, id: &TargetId, state: &LiveState) {
        self.0.push(format!("{id}: {state:?}"));
    }
}

struct OneToken(Option<Secret>);

impl Tokens for OneToken {
    fn fresh(&mut self) -> Option<Secret> {
        self.0.take()
    }
}

fn order() -> SessionOrder {
    SessionOrder {
        course: course(),
        room: Room::LiveKit {
            url: "ws://localhost".into(),
            token: Secret::new("first"),
            tokens: Box::new(OneToken(Some(Secret::new("second")))),
            ca_file: None,
        },
        duration: Some(Duration::from_secs(60)),
        recordings: vec![recording("recording", 0)],
        lives: Vec::new(),
        books: false,
        commanded: None,
    }
}

fn course() -> Course {
    Course {
        session: SessionId::new("s"),
        epoch_ns: 4711,
        look: LookText::plain(NamedText { name: "grid".into(), text: String::new() }),
        renditions: vec![rendition("programme", 1280, 720)],
        mixer_delay: Duration::from_millis(500),
        encoder: EncoderWish::Auto,
        level: LevelSettings::default(),
        live: LiveRules::default(),
        avatars: AvatarRules::default(),
        room_empty_grace: Duration::from_secs(60),
        conference_grace: Duration::from_secs(120),
        max_duration: Duration::from_secs(12 * 3600),
        monitor: None,
    }
}

fn rendition(name: &str, width_px: u32, height_px: u32) -> Rendition {
    Rendition { name: name.into(), width_px, height_px, fps: 30, video_kbps: 3000, sound_kbps: 128, layout: None }
}

fn recording(id: &str, rendition: usize) -> RecordingOrder {
    RecordingOrder { id: TargetId::new(id), rendition, folder: PathBuf::from("/spool").join(id), uploads: None }
}

/// Looks often; patient enough for a busy machine.
const PATIENT: Patience =
    Patience { tick: Duration::from_millis(2), silence: Duration::from_secs(9), exit: Duration::from_secs(5) };
/// For a worker that is meant to be found wanting.
const QUICK: Patience = Patience { silence: Duration::from_millis(60), exit: Duration::from_millis(40), ..PATIENT };

/// Session time that runs `speed` times as fast as the real one.
fn fast_clock(speed: u32) -> Clock {
    let start = std::time::Instant::now();
    Arc::new(move || SessionTime::ZERO + start.elapsed() * speed)
}

async fn supervise<F, P>(script: F, stops: mpsc::Receiver<()>, order: SessionOrder, clock: Clock) -> (Outcome, Vec<Job>, Told)
where
    F: Fn(Fake) -> P + Send + Sync + 'static,
    P: Future<Output = Death> + Send + 'static,
{
    supervise_with(PATIENT, script, stops, order, clock).await
}

async fn supervise_with<F, P>(
    patience: Patience,
    script: F,
    mut stops: mpsc::Receiver<()>,
    order: SessionOrder,
    clock: Clock,
) -> (Outcome, Vec<Job>, Told)
where
    F: Fn(Fake) -> P + Send + Sync + 'static,
    P: Future<Output = Death> + Send + 'static,
{
    let jobs = Arc::default();
    let mut fakes = Fakes { script: Arc::new(script), jobs: Arc::clone(&jobs), tasks: Vec::new() };
    let mut told = Told::default();
    let board = Board::new(1);
    let mut entry = board.session(order.course.session.clone(), order.course.look.layout.clone());
    let running = run(order, &mut fakes, &mut stops, &mut told, &mut entry, clock, patience);
    let outcome = tokio::time::timeout(Duration::from_secs(10), running).await.expect("the Session must end");
    for task in fakes.tasks {
        // What a worker finds wrong fails the test.
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("the worker must end").unwrap();
    }
    let jobs = jobs.lock().unwrap().clone();
    (outcome, jobs, told)
}

fn no_stops() -> mpsc::Receiver<()> {
    mpsc::channel(1).1
}

fn ended(reason: &str) -> FromWorker {
    FromWorker::Ended { reason: reason.into(), fault: None }
}

async fn end_well(fake: Fake) -> Death {
    fake.link.outgoing.send(ended("room closed")).unwrap();
    fake.link.outgoing.flush().await.unwrap();
    Death::Exit(0)
}

fn screen_of(who: &str) -> TrackId {
    TrackId::new(ParticipantId::new(who), TrackKind::Screen)
}

fn recorded(fake: &Fake, from_s: u64, until_s: u64) {
    recorded_as("recording", fake, from_s, until_s);
}

fn recorded_as(id: &str, fake: &Fake, from_s: u64, until_s: u64) {
    let target = TargetId::new(id);
    let at = SessionTime::from_millis(from_s * 1000);
    let take = TakeId(fake.number as u32);
    fake.link.outgoing.send(FromWorker::TakeBegan { target: target.clone(), take, at, film: Duration::ZERO }).unwrap();
    let until = SessionTime::from_millis(until_s * 1000);
    fake.link.outgoing.send(FromWorker::Written { target, file: "recording.mp4".into(), until, bytes: until_s }).unwrap();
    let status = Status { pictures: 30 * (until_s - from_s), ..Status::default() };
    fake.link.outgoing.send(FromWorker::Status(status)).unwrap();
}

#[tokio::test]
async fn a_worker_that_ends_well_ends_the_session() {
    let script = |fake: Fake| {
        recorded(&fake, 1, 11);
        end_well(fake)
    };
    let (outcome, jobs, told) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((outcome.reason.as_str(), outcome.fault, outcome.workers), ("room closed", None, 1));
    assert_eq!(outcome.recorded, Duration::from_secs(10));
    assert_eq!(outcome.last.status.pictures, 300);
    assert!(outcome.cpu >= Duration::from_secs(1));
    assert_eq!(jobs.len(), 1);
    assert!(told.0.is_empty());
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_on_the_same_clock_with_a_fresh_token() {
    let script = |fake: Fake| async move {
        if fake.number == 1 {
            recorded(&fake, 0, 20);
            fake.link.outgoing.flush().await.unwrap();
            return Death::Signal(11);
        }
        recorded(&fake, 21, 40);
        end_well(fake).await
    };
    let (outcome, jobs, told) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((jobs.len(), outcome.workers, outcome.fault), (2, 2, None));
    assert!(jobs.iter().all(|job| job.course.epoch_ns == 4711 && job.course.session == SessionId::new("s")));
    let tokens: Vec<_> = jobs
        .iter()
        .map(|job| match &job.conference {
            ConferenceJob::LiveKit { token, .. } => token.expose(),
            _ => panic!("wrong room"),
        })
        .collect();
    assert_eq!(tokens, ["first", "second"]);
    assert_eq!(jobs[1].caution, Caution::None);
    assert_eq!(
        [jobs[0].course.encoder, jobs[1].course.encoder],
        [EncoderWish::Auto, EncoderWish::Software],
        "hardware may be what broke"
    );
    assert_eq!(jobs[1].duration, Some(Duration::from_secs(40)), "the first 20 s count");
    assert_eq!(outcome.last.status.pictures, 30 * (20 + 19));
    assert_eq!(outcome.recorded, Duration::from_secs(20 + 19), "the second between two Takes is in no file");
    assert_eq!(told.0.len(), 1);
}

#[tokio::test]
async fn the_newest_token_of_a_dead_worker_is_handed_to_the_next() {
    let script = |mut fake: Fake| async move {
        let refreshed = |text: &str| FromWorker::TokenRefreshed { token: Secret::new(text) };
        match fake.number {
            // Of a token from elsewhere every later worker knows.
            1 => {
                fake.link.outgoing.send(refreshed("older")).unwrap();
                fake.link.outgoing.send(FromWorker::NeedToken).unwrap();
                assert!(matches!(fake.link.incoming.next().await.unwrap(), Some(ToWorker::Token { token: Some(_) })));
            }
            2 => {
                fake.link.outgoing.send(refreshed("third")).unwrap();
                fake.link.outgoing.send(refreshed("fourth")).unwrap();
            }
            _ => return end_well(fake).await,
        }
        fake.link.outgoing.flush().await.unwrap();
        Death::Signal(11)
    };
    let (_, jobs, _) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    let tokens: Vec<_> = jobs
        .iter()
        .map(|job| match &job.conference {
            ConferenceJob::LiveKit { token, refreshed, .. } => (token.expose(), refreshed.as_ref().map(Secret::expose)),
            _ => panic!("wrong room"),
        })
        .collect();
    assert_eq!(tokens, [("first", None), ("second", None), ("second", Some("fourth"))]);
}

#[tokio::test]
async fn after_two_deaths_the_pictures_decoded_last_are_left_out() {
    let script = |fake: Fake| async move {
        if fake.number > 2 {
            return end_well(fake).await;
        }
        fake.link.outgoing.send(FromWorker::Decoding { tracks: vec![screen_of("p")] }).unwrap();
        fake.link.outgoing.flush().await.unwrap();
        Death::Signal(11)
    };
    let (outcome, jobs, _) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    let cautions: Vec<_> = jobs.iter().map(|job| job.caution.clone()).collect();
    assert_eq!(cautions, [Caution::None, Caution::None, Caution::Without(vec![screen_of("p")])]);
    assert_eq!(outcome.fault, None);
}

#[tokio::test]
async fn a_worker_that_always_dies_is_given_up() {
    let script = |_: Fake| async { Death::Exit(101) };
    let (outcome, jobs, _) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!(jobs.len(), recorder_core::supervision::DEATHS_TO_GIVE_UP);
    assert!(outcome.fault.unwrap().sentence.contains("exit code 101"));
}

#[tokio::test]
async fn a_worker_that_hangs_is_aborted_then_killed_and_replaced() {
    let script = |mut fake: Fake| async move {
        if fake.number == 2 {
            return end_well(fake).await;
        }
        // Says nothing, holds its socket, and ignores the first signal.
        assert_eq!(fake.signals.recv().await, Some(Signal::SIGABRT));
        assert_eq!(fake.signals.recv().await, Some(Signal::SIGKILL));
        Death::Signal(9)
    };
    let (outcome, jobs, told) = supervise_with(QUICK, script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((jobs.len(), outcome.fault), (2, None));
    assert!(told.0[0].contains("standstill"), "{:?}", told.0);
}

#[tokio::test]
async fn a_worker_that_speaks_garbage_is_killed_and_replaced() {
    let script = |mut fake: Fake| async move {
        if fake.number == 2 {
            return end_well(fake).await;
        }
        std::io::Write::write_all(&mut fake.raw, b"\0\0\0\x02{]").unwrap();
        assert_eq!(fake.signals.recv().await, Some(Signal::SIGKILL));
        Death::Signal(9)
    };
    let (outcome, jobs, _) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((jobs.len(), outcome.fault), (2, None));
}

#[tokio::test]
async fn a_worker_that_closes_its_socket_but_stays_is_killed_and_replaced() {
    let script = |fake: Fake| async move {
        if fake.number == 2 {
            return end_well(fake).await;
        }
        let Fake { link, raw, mut signals, .. } = fake;
        drop((link, raw));
        assert_eq!(signals.recv().await, Some(Signal::SIGKILL));
        Death::Signal(9)
    };
    let (outcome, jobs, _) = supervise_with(QUICK, script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((jobs.len(), outcome.fault), (2, None));
}

#[tokio::test]
async fn a_token_is_renewed_once_and_then_refused() {
    let script = |mut fake: Fake| async move {
        let mut got = Vec::new();
        for _ in 0..2 {
            fake.link.outgoing.send(FromWorker::NeedToken).unwrap();
            let Some(ToWorker::Token { token }) = fake.link.incoming.next().await.unwrap() else { panic!("no answer") };
            got.push(token.map(|t| t.expose().to_owned()));
        }
        assert_eq!(got, [Some("second".to_owned()), None]);
        assert_eq!(fake.job.targets.len(), 1);
        end_well(fake).await
    };
    let (outcome, _, _) = supervise(script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((outcome.reason.as_str(), outcome.workers), ("room closed", 1));
}

#[tokio::test]
async fn a_worker_that_cannot_be_killed_is_not_waited_for() {
    let script = |mut fake: Fake| async move {
        fake.link.outgoing.send(ended("room closed")).unwrap();
        fake.link.outgoing.flush().await.unwrap();
        assert_eq!(fake.signals.recv().await, Some(Signal::SIGKILL));
        // Until the supervisor drops its end, whatever it is sent.
        while fake.signals.recv().await.is_some() {}
        Death::Signal(9)
    };
    let (outcome, jobs, _) = supervise_with(QUICK, script, no_stops(), order(), fast_clock(1)).await;
    assert_eq!((jobs.len(), outcome.reason.as_str(), outcome.fault), (1, "room closed", None));
}

/// A watcher that holds up the supervisor once, as a suspended process is.
struct Sleepy(Duration);

impl View for Sleepy {
    fn progress(&mut self, _: &Snapshot) {
        std::thread::sleep(std::mem::take(&mut self.0));
    }
    fn live(&mut self, _: &TargetId, _: &LiveState) {}
    fn tell(&mut self, fault: &Fault) {
        panic!("{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_stood_still_does_not_blame_its_worker() {
    let script = |fake: Fake| async move {
        for _ in 0..30 {
            fake.link.outgoing.send(FromWorker::Joined { at: SessionTime::ZERO }).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        end_well(fake).await
    };
    let jobs = Arc::default();
    let mut fakes = Fakes { script: Arc::new(script), jobs: Arc::clone(&jobs), tasks: Vec::new() };
    let patience = Patience { silence: Duration::from_millis(150), ..PATIENT };
    let mut view = Sleepy(Duration::from_millis(200));
    let order = order();
    let mut entry = Board::new(1).session(order.course.session.clone(), order.course.look.layout.clone());
    let outcome = run(order, &mut fakes, &mut no_stops(), &mut view, &mut entry, fast_clock(1), patience).await;
    assert_eq!((outcome.workers, outcome.fault), (1, None));
}

#[path = "supervisor_board_tests.rs"]
mod board;
#[path = "supervisor_live_tests.rs"]
mod live;
#[path = "supervisor_recordings_tests.rs"]
mod recordings;
#[path = "supervisor_stop_tests.rs"]
mod stops;
