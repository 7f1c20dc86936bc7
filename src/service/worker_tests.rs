//! The worker's task against a simulated meeting that only listens.

use std::path::Path;

use recorder_core::ids::{SessionId, TakeId};
use recorder_core::layout::{Layout, LookText, NamedText};
use recorder_core::stage::ConsentRule;
use tokio::io::BufReader;
use tokio::net::UnixListener;

use super::*;
use crate::avatar::AvatarRules;
use crate::graph::EncoderWish;
use crate::mixer::sound::LevelSettings;
use crate::rehearsal::talk::{Ear, FromActors, ToActors, say};
use crate::service::job::{Caution, ConferenceJob, Course, LiveRules, Rendition};
use crate::service::link::{self, SupervisorLink};
use crate::storage::Spool;
use crate::storage::disk::SystemDisk;

const LIMIT: Duration = Duration::from_secs(20);

fn rendition(fps: u32) -> Rendition {
    Rendition { name: format!("at-{fps}"), width_px: 128, height_px: 128, fps, video_kbps: 200, sound_kbps: 64, layout: None }
}

fn job(socket: &Path, folder: &Path) -> Job {
    Job {
        course: course(vec![rendition(10)]),
        conference: ConferenceJob::Rehearsal { socket: socket.to_owned() },
        targets: vec![TargetJob::Recording { id: TargetId::new("recording"), rendition: 0, folder: folder.to_owned() }],
        duration: None,
        first_take: TakeId(1),
        caution: Caution::None,
        consent: ConsentRule::NotAsked,
        signaling_grace: Duration::from_secs(3),
        commanded: None,
    }
}

fn course(renditions: Vec<Rendition>) -> Course {
    Course {
        session: SessionId::new("s"),
        epoch_ns: SessionClock::start().epoch_ns(),
        look: LookText::plain(NamedText { name: "grid".into(), text: Layout::built_in_text("grid").unwrap().into() }),
        renditions,
        mixer_delay: Duration::from_millis(200),
        encoder: EncoderWish::Software,
        level: LevelSettings::default(),
        live: LiveRules::default(),
        avatars: AvatarRules::default(),
        room_empty_grace: Duration::from_secs(60),
        conference_grace: Duration::from_secs(60),
        max_duration: Duration::from_secs(3600),
        monitor: None,
    }
}

#[tokio::test]
async fn a_worker_without_a_programme_leaves_the_room_and_says_why() {
    let base = tempfile::tempdir().unwrap();
    let (socket, wanted) = (base.path().join("actors"), base.path().join("standup.mp4"));
    let spool = Spool::create(&SystemDisk, &wanted, &SessionId::new("s")).unwrap();
    let folder = spool.folder().to_owned();
    drop(spool);
    let listener = UnixListener::bind(&socket).unwrap();
    let (ours, theirs) = link::pair().unwrap();
    let mut supervisor = SupervisorLink::open(ours).unwrap();
    let mut worker = Worker::start(job(&socket, &folder), WorkerLink::open(theirs).unwrap()).unwrap();
    let (programme, events) = mpsc::channel(1);
    worker.programme_events = events;

    let meeting = async {
        let (from, mut to) = listener.accept().await.unwrap().0.into_split();
        let mut ear = Ear::new(BufReader::new(from));
        assert_eq!(ear.hear().await.unwrap(), Some(ToActors::Hello));
        say(&mut to, &FromActors::Welcome { title: "Rehearsal".into() }).await.unwrap();
        say(&mut to, &FromActors::Listed).await.unwrap();
        assert_eq!(ear.hear().await.unwrap(), Some(ToActors::Subscribe { tracks: vec![] }));
        let sentence = "No programme can be made.".to_owned();
        let fault = Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence };
        programme.send(ProgrammeEvent::Failed(fault.clone())).await.unwrap();
        // The last thing that the room hears; a worker that only vanishes closes the socket.
        assert_eq!(ear.hear().await.unwrap(), Some(ToActors::Leave));
        fault
    };
    let hearing = async {
        loop {
            if let Some(FromWorker::Ended { reason, fault }) = supervisor.incoming.next().await.unwrap() {
                return (reason, fault);
            }
        }
    };
    let all = async { tokio::join!(worker.work(), meeting, hearing) };
    let (worked, fault, last_word) = tokio::time::timeout(LIMIT, all).await.expect("a bounded end");
    worked.unwrap();
    assert_eq!(last_word, ("No programme can be made.".to_owned(), Some(fault)));
}

#[test]
fn renditions_that_do_not_fit_together_are_refused() {
    let refused = |given: Vec<Rendition>| {
        let course = course(given);
        let settings = renditions::framings(&course).and_then(|framings| renditions::programme(&course, &framings));
        settings.unwrap_err().to_string()
    };
    let sentence = "the renditions of a programme have one rate of pictures, and at-15 has another";
    assert_eq!(refused(vec![rendition(30), rendition(30), rendition(15)]), sentence);
    assert_eq!(refused(Vec::new()), "a programme has at least one rendition");
    let odd = Rendition { width_px: 129, ..rendition(30) };
    assert_eq!(refused(vec![odd]), "a canvas of 129x128 pixels is not possible: each side must be even");
    let bad = Rendition { layout: Some(NamedText { name: "own.toml".into(), text: "[[".into() }), ..rendition(30) };
    assert!(refused(vec![rendition(30), bad]).contains("own.toml"));
}
