//! What the supervisor posts for operators, and how it obeys them.

use super::*;

fn layout(name: &str) -> NamedText {
    NamedText { name: name.into(), text: format!("# {name}") }
}

/// One Session whose workers play `script`; what `watch` sees of its board meanwhile.
async fn watched<F, P, W>(script: F, watch: impl FnOnce(Board) -> W) -> (Outcome, Vec<Job>, W::Output, Board)
where
    F: Fn(Fake) -> P + Send + Sync + 'static,
    P: Future<Output = Death> + Send + 'static,
    W: Future,
{
    let (order, board, jobs) = (order(), Board::new(1), Arc::default());
    let mut entry = board.session(order.course.session.clone(), order.course.look.layout.clone());
    let mut fakes = Fakes { script: Arc::new(script), jobs: Arc::clone(&jobs), tasks: Vec::new() };
    let (mut stops, mut told) = (no_stops(), Told::default());
    let running = run(order, &mut fakes, &mut stops, &mut told, &mut entry, fast_clock(1), PATIENT);
    let both = async { tokio::join!(running, watch(board.clone())) };
    let (outcome, seen) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("the Session must end");
    for task in fakes.tasks {
        task.await.unwrap();
    }
    drop(entry);
    let jobs = jobs.lock().unwrap().clone();
    (outcome, jobs, seen, board)
}

/// Waits until the board says so.
async fn until(board: &Board, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let now = board.find("s").map(|(posted, _)| posted.snapshot).unwrap_or_default();
        if is_so(&now) {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_layout_reaches_the_worker_and_whoever_takes_its_place() {
    let script = |mut fake: Fake| async move {
        if fake.number == 2 {
            return end_well(fake).await;
        }
        fake.link.outgoing.send(FromWorker::Joined { at: SessionTime::ZERO }).unwrap();
        let Some(ToWorker::Layout(text)) = fake.link.incoming.next().await.unwrap() else { panic!("no layout") };
        assert_eq!(text, layout("/layouts/own.toml"));
        Death::Signal(11)
    };
    let (_, jobs, posted, board) = watched(script, |board| async move {
        until(&board, |now| now.state == SessionState::Live).await;
        board.switch_layout("s", "own", layout("/layouts/own.toml")).await.unwrap();
        // Seen by whoever looks next.
        board.find("s").unwrap().0.snapshot.layout
    })
    .await;
    assert_eq!(posted, "own");
    assert_eq!(jobs.iter().map(|job| job.course.look.layout.name.as_str()).collect::<Vec<_>>(), ["grid", "/layouts/own.toml"]);
    assert_eq!(board.totals().workers_replaced, 1);
}

#[tokio::test]
async fn a_session_is_posted_from_its_beginning_to_its_end() {
    let seen = Arc::new(tokio::sync::Notify::new());
    let may_go = Arc::clone(&seen);
    let script = move |mut fake: Fake| {
        let may_go = Arc::clone(&may_go);
        async move {
            recorded(&fake, 1, 11);
            fake.link.outgoing.send(FromWorker::Joined { at: SessionTime::ZERO }).unwrap();
            let sentence = "A packet is missing.".to_owned();
            let fault = Fault { scope: Scope::Target, blame: Blame::Us, retry: Retry::Never, sentence };
            fake.link.outgoing.send(FromWorker::Fault(fault)).unwrap();
            assert!(matches!(fake.link.incoming.next().await.unwrap(), Some(ToWorker::Layout(_))));
            fake.link.outgoing.send(ended("room closed")).unwrap();
            may_go.notified().await;
            Death::Exit(0)
        }
    };
    let (outcome, _, refused, board) = watched(script, |board| async move {
        let live = until(&board, |now| now.state == SessionState::Live && now.fault.is_some()).await;
        assert_eq!((live.recorded, live.status.pictures, live.recordings.len()), (Duration::from_secs(10), 300, 1));
        assert_eq!(live.fault.unwrap().sentence, "A packet is missing.");
        board.switch_layout("s", "grid", layout("grid")).await.unwrap();
        until(&board, |now| now.state == SessionState::Ending).await;
        let refused = board.switch_layout("s", "speaker", layout("speaker")).await;
        seen.notify_one();
        refused
    })
    .await;
    assert_eq!(refused, Err(Refusal::Ending));
    assert_eq!(outcome.reason, "room closed");
    assert_eq!(board.over().len(), 1);
    let over = board.over().remove(0);
    assert_eq!((over.snapshot.state, over.snapshot.layout.as_str()), (SessionState::Over, "grid"));
    assert_eq!(over.snapshot.recorded, Duration::from_secs(10));
    assert_eq!((board.totals().ended_well, board.totals().recorded), (1, Duration::from_secs(10)));
}
