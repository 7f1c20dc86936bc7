//! What the supervisor tells of live destinations.

use super::*;

/// A destination is served by each worker in turn; a person sees one row for it, with sums, and every change.
#[tokio::test]
async fn a_live_destination_is_told_and_counted_over_all_workers() {
    let script = |fake: Fake| async move {
        let target = TargetId::new("owncast");
        let TargetJob::Live(job) = &fake.job.targets[0] else { panic!("the first Target is the live one") };
        assert_eq!((fake.job.targets.len(), job.key.expose()), (1, "canary-key"));
        let figures =
            LiveFigures { confirmed_bytes: 100, publishings: 1, behind: Duration::from_secs(1), ..LiveFigures::default() };
        for state in [LiveState::Connecting, LiveState::Live] {
            fake.link.outgoing.send(FromWorker::Live { target: target.clone(), state }).unwrap();
        }
        fake.link.outgoing.send(FromWorker::LiveFigures { target: target.clone(), figures }).unwrap();
        if fake.number == 1 {
            fake.link.outgoing.flush().await.unwrap();
            return Death::Signal(11);
        }
        fake.link.outgoing.send(FromWorker::Live { target, state: LiveState::Ended }).unwrap();
        end_well(fake).await
    };
    let job = LiveJob {
        id: TargetId::new("owncast"),
        rendition: 0,
        address: "rtmp://example.org/live".into(),
        key: Secret::new("canary-key"),
    };
    let order = SessionOrder { recordings: Vec::new(), lives: vec![job], ..order() };
    let (outcome, jobs, told) = supervise(script, no_stops(), order, fast_clock(1)).await;
    assert_eq!(jobs.len(), 2);
    assert!(jobs[1].duration < Some(Duration::from_secs(60)), "what the first worker streamed counts: {:?}", jobs[1].duration);
    let [stand] = outcome.last.lives.as_slice() else { panic!("one row") };
    assert_eq!(stand.state, Some(LiveState::Ended));
    assert_eq!((stand.figures.confirmed_bytes, stand.figures.publishings), (200, 2));
    assert_eq!(stand.figures.behind, Duration::from_secs(1), "not a sum");
    let changes: Vec<&str> = told.0.iter().filter_map(|line| line.strip_prefix("owncast: ")).collect();
    assert_eq!(changes, ["Connecting", "Live", "Connecting", "Live", "Ended"]);
    assert!(!format!("{outcome:?}{jobs:?}").contains("canary"));
}
