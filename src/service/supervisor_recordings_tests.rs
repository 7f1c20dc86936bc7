//! Several recordings of one Session.

use super::*;

/// Each Rendition has a recording of its own; a worker that follows records what is left of the longest of them.
#[tokio::test]
async fn recordings_of_several_renditions_are_counted_together() {
    let script = |fake: Fake| async move {
        let targets: Vec<_> = fake.job.targets.iter().map(|job| (job.id().to_string(), job.clone())).collect();
        let [(wide, _), (upright, TargetJob::Recording { rendition: 1, folder, .. })] = targets.as_slice() else {
            panic!("two recordings: {targets:?}");
        };
        assert_eq!((wide.as_str(), upright.as_str()), ("recording", "recording-upright"));
        assert_eq!(folder, &PathBuf::from("/spool/recording-upright"));
        assert_eq!(fake.job.course.renditions.iter().map(|it| it.height_px).collect::<Vec<_>>(), [720, 1280]);
        if fake.number == 1 {
            recorded_as(wide, &fake, 0, 20);
            recorded_as(upright, &fake, 0, 15);
            fake.link.outgoing.flush().await.unwrap();
            return Death::Signal(11);
        }
        recorded_as(wide, &fake, 21, 30);
        recorded_as(upright, &fake, 21, 40);
        end_well(fake).await
    };
    let renditions = vec![rendition("programme", 1280, 720), rendition("upright", 720, 1280)];
    let recordings = vec![recording("recording", 0), recording("recording-upright", 1)];
    let order = SessionOrder { course: Course { renditions, ..course() }, recordings, ..order() };
    let (outcome, jobs, _) = supervise(script, no_stops(), order, fast_clock(1)).await;
    assert_eq!(jobs[1].duration, Some(Duration::from_secs(40)), "20 s of the longer one count");
    assert_eq!(jobs[1].first_take, TakeId(2));
    assert_eq!(outcome.recorded, Duration::from_secs(15 + 19));
    assert_eq!(outcome.last.bytes, 30 + 40, "of both");
}
