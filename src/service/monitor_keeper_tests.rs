//! The keeper against monitors that are tasks of this test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use recorder_core::live::{LiveState, Reason, Step};
use recorder_core::secret::Secret;
use recorder_core::supervision::Death;
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;

use super::*;
use crate::service::link;
use crate::service::process::Exit;

const PATIENT: MonitorPatience =
    MonitorPatience { pause: Duration::from_millis(30), silence: Duration::from_secs(9), exit: Duration::from_secs(5) };
/// For a monitor that is meant to be found wanting.
const QUICK: MonitorPatience = MonitorPatience { silence: Duration::from_millis(60), ..PATIENT };

/// A monitor of the test.
struct Fake {
    number: usize,
    link: Link<ToMonitor, FromMonitor>,
    signals: mpsc::UnboundedReceiver<Signal>,
}

/// Hands each monitor to the test.
struct Fakes {
    count: Arc<AtomicUsize>,
    there: mpsc::UnboundedSender<(Fake, oneshot::Sender<Exit>)>,
}

impl Launcher for Fakes {
    fn launch(&mut self) -> std::io::Result<Running> {
        let (ours, theirs) = link::pair().map_err(std::io::Error::other)?;
        let (ended, exited) = oneshot::channel();
        let (signal, signals) = mpsc::unbounded_channel();
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let link = Link::open(theirs).map_err(std::io::Error::other)?;
        self.there.send((Fake { number, link, signals }, ended)).map_err(std::io::Error::other)?;
        Ok(Running { socket: ours, exited, signal: Box::new(move |s| _ = signal.send(s)), pid: None })
    }
}

fn keeper(patience: MonitorPatience) -> (MonitorKeeper, mpsc::UnboundedReceiver<(Fake, oneshot::Sender<Exit>)>) {
    let (there, monitors) = mpsc::unbounded_channel();
    let job = MonitorJob { epoch_ns: 7, feed: "/private/feed".into(), token: Some(Secret::new("canary")) };
    (MonitorKeeper::start(Box::new(Fakes { count: Arc::default(), there }), job, patience), monitors)
}

const DEAD: Exit = Exit { how: Death::Signal(9), cpu: Duration::ZERO };

struct Nobody;

impl View for Nobody {
    fn progress(&mut self, _: &Snapshot) {}
    fn tell(&mut self, _: &Fault) {}
    fn live(&mut self, _: &TargetId, _: &LiveState) {}
}

#[tokio::test]
async fn each_monitor_gets_its_job_and_the_newest_state_and_a_dead_one_is_replaced() {
    let (keeper, mut monitors) = keeper(PATIENT);
    let (mut first, died) = monitors.recv().await.unwrap();
    let Some(ToMonitor::Job(job)) = first.link.incoming.next().await.unwrap() else { panic!("no job first") };
    assert_eq!((job.epoch_ns, job.token.unwrap().expose()), (7, "canary"));
    let snapshot = Snapshot { elapsed: Duration::from_secs(9), ..Snapshot::default() };
    keeper.beside(&mut Nobody).progress(&snapshot);
    let begun = Instant::now();
    died.send(DEAD).unwrap();
    let (mut second, ended) = monitors.recv().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5) && second.number == 2);
    assert!(matches!(second.link.incoming.next().await.unwrap(), Some(ToMonitor::Job(_))));
    let Some(ToMonitor::Standing(standing)) = second.link.incoming.next().await.unwrap() else { panic!("no state") };
    assert_eq!(standing.elapsed_s, 9);
    let end = tokio::spawn(keeper.end());
    assert!(second.link.incoming.next().await.unwrap().is_none(), "the end is told by the socket");
    ended.send(DEAD).unwrap();
    end.await.unwrap();
    assert!(monitors.recv().await.is_none());
}

#[tokio::test]
async fn one_that_says_nothing_is_killed() {
    let (keeper, mut monitors) = keeper(QUICK);
    let (mut first, died) = monitors.recv().await.unwrap();
    assert_eq!(first.signals.recv().await, Some(Signal::SIGKILL));
    died.send(DEAD).unwrap();
    let (second, died) = monitors.recv().await.unwrap();
    assert_eq!(second.number, 2);
    drop(second);
    died.send(DEAD).unwrap();
    keeper.end().await;
}

#[test]
fn the_page_learns_names_and_states_and_no_addresses() {
    let live = |name: &str, state| LiveStand { state, ..LiveStand::new(TargetId::new(name)) };
    let recording = |name: &str, began| RecordingSnapshot {
        id: TargetId::new(name),
        began,
        recorded: if began { Duration::from_millis(61_900) } else { Duration::ZERO },
        bytes: 5,
    };
    let reason = Reason::NoAnswer(Step::Connect);
    let snapshot = Snapshot {
        state: SessionState::Live,
        recordings: vec![recording("recording", true), recording("recording-upright", false)],
        lives: vec![
            live("youtube", Some(LiveState::Live)),
            live("rtmp://secret.example.org/app", Some(LiveState::Retrying { attempt: 3, at: SessionTime::ZERO, reason })),
        ],
        ..Snapshot::default()
    };
    let standing = standing_of(&snapshot);
    let seconds = 61;
    let seen: Vec<_> = standing.targets.iter().map(|target| (target.name.as_str(), target.state.clone())).collect();
    let retrying = TargetState::Retrying { attempt: 3, reason: reason.sentence().into() };
    let expected = [
        ("recording", TargetState::Recording { seconds }),
        ("recording-upright", TargetState::Waiting),
        ("youtube", TargetState::Live),
        ("RTMP 2", retrying),
    ];
    assert_eq!(seen, expected);
    assert!(!serde_json::to_string(&standing).unwrap().contains("example"));
    // A worker has died: the recording goes on with the next one.
    let broken = standing_of(&Snapshot { state: SessionState::Entering, ..snapshot });
    assert_eq!(broken.targets[0].state, TargetState::Interrupted { seconds });
    assert_eq!(broken.targets[1].state, TargetState::Waiting);
}
