//! How a Session is ended: by wishes to stop, and by the longest duration.

use super::*;

/// A Session whose workers can wish for its stop, as a person with Ctrl-C can.
async fn supervise_stoppable<F, P>(script: F, order: SessionOrder, clock: Clock) -> (Outcome, Vec<Job>, Told)
where
    F: Fn(Fake, mpsc::Sender<()>) -> P + Send + Sync + 'static,
    P: Future<Output = Death> + Send + 'static,
{
    let (wish, stops) = mpsc::channel(2);
    supervise(move |fake| script(fake, wish.clone()), stops, order, clock).await
}

#[tokio::test]
async fn the_first_wish_to_stop_ends_cleanly() {
    let script = |mut fake: Fake, wish: mpsc::Sender<()>| async move {
        wish.send(()).await.unwrap();
        assert!(matches!(fake.link.incoming.next().await.unwrap(), Some(ToWorker::Stop)));
        end_well(fake).await
    };
    let (outcome, jobs, _) = supervise_stoppable(script, order(), fast_clock(1)).await;
    assert!(!outcome.at_once && outcome.fault.is_none() && outcome.reason == "room closed");
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn the_second_wish_to_stop_kills_at_once() {
    let script = |mut fake: Fake, wish: mpsc::Sender<()>| async move {
        wish.send(()).await.unwrap();
        wish.send(()).await.unwrap();
        assert_eq!(fake.signals.recv().await, Some(Signal::SIGKILL));
        Death::Signal(9)
    };
    let (outcome, jobs, _) = supervise_stoppable(script, order(), fast_clock(1)).await;
    assert!(outcome.at_once);
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_worker_that_ignores_stop_is_killed() {
    let script = |mut fake: Fake, wish: mpsc::Sender<()>| async move {
        wish.send(()).await.unwrap();
        loop {
            tokio::select! {
                signal = fake.signals.recv() => {
                    assert_eq!(signal, Some(Signal::SIGKILL));
                    return Death::Signal(9);
                }
                // Lively, but deaf.
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    fake.link.outgoing.send(FromWorker::Status(Status::default())).unwrap();
                }
            }
        }
    };
    // 90 s in 90 ms.
    let (outcome, jobs, _) = supervise_stoppable(script, order(), fast_clock(1000)).await;
    assert_eq!(jobs.len(), 1);
    assert!(outcome.fault.unwrap().sentence.contains("signal 9"));
}

#[tokio::test]
async fn the_longest_duration_ends_the_session() {
    let script = |mut fake: Fake| async move {
        assert!(matches!(fake.link.incoming.next().await.unwrap(), Some(ToWorker::Stop)));
        end_well(fake).await
    };
    let order = SessionOrder { course: Course { max_duration: Duration::from_secs(20), ..course() }, ..order() };
    let (outcome, _, _) = supervise(script, no_stops(), order, fast_clock(1000)).await;
    assert!(outcome.last.elapsed >= Duration::from_secs(20));
    assert_eq!(outcome.reason, "room closed");
}

#[tokio::test]
async fn the_first_wish_after_the_longest_duration_is_still_a_clean_one() {
    let script = |mut fake: Fake, wish: mpsc::Sender<()>| async move {
        assert!(matches!(fake.link.incoming.next().await.unwrap(), Some(ToWorker::Stop)));
        wish.send(()).await.unwrap();
        while wish.capacity() < wish.max_capacity() {
            tokio::task::yield_now().await;
        }
        end_well(fake).await
    };
    let order = SessionOrder { course: Course { max_duration: Duration::from_secs(1), ..course() }, ..order() };
    let (outcome, _, _) = supervise_stoppable(script, order, fast_clock(1000)).await;
    assert!(!outcome.at_once);
    assert_eq!(outcome.reason, "room closed");
}
