//! What is noted of commanded Targets, and what a worker is told that goes on with them.

use std::sync::Mutex;

use jiff::Timestamp;
use recorder_core::fault::{Blame, Retry, Scope};

use super::*;

type Notes = Arc<Mutex<Vec<Vec<ClaimedTarget>>>>;

/// Permits everything, and keeps the notes.
struct Fake(Notes);

impl Steward for Fake {
    fn ticket(&mut self) -> Later<Result<Secret, Fault>> {
        Box::pin(std::future::ready(Ok(Secret::new("ticket"))))
    }

    fn admit(&mut self, wanted: Wanted) -> Later<Result<Admitted, Fault>> {
        assert_eq!(wanted.what, WantedTarget::Recording);
        Box::pin(std::future::ready(Ok(Admitted::Recording(kept()))))
    }

    fn deliver(&mut self, _: Kept, _: Option<Closing>) -> Later<Option<Fault>> {
        Box::pin(std::future::ready(None))
    }

    fn note(&mut self, targets: Vec<ClaimedTarget>) {
        self.0.lock().unwrap().push(targets);
    }
}

fn kept() -> Kept {
    Kept { folder: "/spool/s-1.roomcast".into(), uploads: None }
}

/// None are kept.
fn books() -> Books {
    Books::new(false, SessionId::new("s-1"), ConsentRule::NotAsked, "grid", (Timestamp::now(), SessionTime::ZERO))
}

fn hear(commanded: &mut Commanded, message: FromWorker) {
    drop(commanded.hear(message, &mut books(), SessionTime::ZERO).unwrap());
}

fn id(name: &str) -> TargetId {
    TargetId::new(name)
}

fn commanded(former: Former) -> (Commanded, Notes, mpsc::Sender<Word>) {
    let (notes, (say, words)) = (Notes::default(), mpsc::channel(4));
    let order = CommandedOrder {
        consent: ConsentRule::NotAsked,
        signaling_grace: Duration::ZERO,
        reconnect_grace: Duration::ZERO,
        delivery_grace: Duration::ZERO,
        withheld: Withheld::Nothing,
        former,
        claim: Some("/spool/claims/s-1".into()),
        steward: Box::new(Fake(notes.clone())),
        words,
    };
    (Commanded::new(order, SessionId::new("s-1")), notes, say)
}

fn opens(name: &str, what: WantedTarget) -> FromWorker {
    FromWorker::Opens { target: id(name), run: 1, what }
}

fn claimed(name: &str, next: u32, paused: bool, what: Claimed) -> ClaimedTarget {
    ClaimedTarget { target: id(name), run: 1, next: TakeId(next), paused, what }
}

fn recording(folder: Option<&str>) -> Claimed {
    Claimed::Recording { folder: folder.map(str::to_owned) }
}

#[tokio::test]
async fn each_change_of_a_target_is_noted_and_nothing_that_is_none() {
    let (mut commanded, notes, _say) = commanded(Former::default());
    hear(&mut commanded, opens("rec", WantedTarget::Recording));
    // The ticket is brought, too.
    while notes.lock().unwrap().len() < 2 {
        let woken = commanded.woken().await;
        commanded.take(woken, &mut books());
    }
    hear(&mut commanded, FromWorker::Begins { target: id("rec"), take: TakeId(1) });
    hear(&mut commanded, FromWorker::Begins { target: id("rec"), take: TakeId(1) });
    hear(&mut commanded, FromWorker::Ends { target: id("rec"), for_good: false });
    hear(&mut commanded, FromWorker::Ends { target: id("rec"), for_good: true });
    let folder = || recording(Some("s-1.roomcast"));
    let expected = [
        vec![claimed("rec", 1, false, recording(None))],
        vec![claimed("rec", 1, false, folder())],
        vec![claimed("rec", 2, false, folder())],
        vec![claimed("rec", 2, true, folder())],
        // What was stopped must not begin again.
        vec![],
    ];
    assert_eq!(*notes.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_worker_after_a_takeover_goes_on_and_wants_what_is_known_by_name_until_it_was_opened() {
    let (target, run, next, paused) = (id("rec"), 2, TakeId(5), true);
    let former = Former {
        recordings: vec![FormerRecording { target, run, next, paused, kept: kept() }],
        wanted: vec![FormerTarget { target: id("stream"), paused: false }],
    };
    let (mut commanded, notes, _say) = commanded(former);
    assert!(commanded.goes_on());
    let job = commanded.job();
    assert_eq!(job.claim, Some("/spool/claims/s-1".into()));
    let [resumed] = job.resumed.as_slice() else { panic!("{:?}", job.resumed) };
    assert_eq!((&resumed.target, resumed.run, resumed.next, resumed.paused), (&id("rec"), 2, TakeId(5), true));
    assert_eq!((resumed.permitted, &resumed.folder), (true, &Some(kept().folder)));
    assert_eq!(job.wanted, [FormerTarget { target: id("stream"), paused: false }]);
    hear(&mut commanded, FromWorker::Begins { target: id("rec"), take: TakeId(5) });
    let of_recording = |next, paused| ClaimedTarget { run: 2, ..claimed("rec", next, paused, recording(Some("s-1.roomcast"))) };
    let noted = |notes: &Notes| notes.lock().unwrap().last().cloned().unwrap();
    assert_eq!(noted(&notes), [of_recording(6, false), claimed("stream", 1, false, Claimed::Live)]);
    // It is what the room says that it is; from then on it is a Target like others.
    hear(&mut commanded, opens("stream", WantedTarget::Recording));
    assert!(commanded.job().wanted.is_empty());
    assert_eq!(noted(&notes).len(), 2);
}

#[tokio::test]
async fn what_is_withheld_is_withheld_from_the_next_worker_too() {
    let (mut commanded, _notes, say) = commanded(Former::default());
    let fault = Fault { scope: Scope::Target, blame: Blame::Operator, retry: Retry::Never, sentence: "Full.".into() };
    say.send(Word::Withhold(Withheld::Recordings(fault.clone()))).await.unwrap();
    loop {
        let woken = commanded.woken().await;
        if let Some(ToWorker::Withhold(withheld)) = commanded.take(woken, &mut books()) {
            assert_eq!(withheld, Withheld::Recordings(fault.clone()));
            break;
        }
    }
    assert_eq!(commanded.job().withheld, Withheld::Recordings(fault.clone()));
    // The end of it is not taken back.
    assert!(commanded.take(Woken::Said(Word::Withhold(Withheld::Everything(fault.clone()))), &mut books()).is_some());
    assert!(commanded.take(Woken::Said(Word::Withhold(Withheld::Nothing)), &mut books()).is_none());
    assert_eq!(commanded.job().withheld, Withheld::Everything(fault));
}
