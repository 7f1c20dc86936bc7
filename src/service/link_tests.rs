use std::time::Duration;

use recorder_core::ids::{ParticipantId, TargetId, TrackId, TrackKind};
use recorder_core::layout::NamedText;
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use tokio::time::timeout;

use super::*;
use crate::service::job::Status;

fn written(target: &str, ms: u64) -> FromWorker {
    FromWorker::Written {
        target: TargetId::new(target),
        file: "recording.mp4".into(),
        until: SessionTime::from_millis(ms),
        bytes: ms,
    }
}

fn status(people: u32) -> FromWorker {
    FromWorker::Status(Status { people, ..Status::default() })
}

async fn reader_fed_by(bytes: &[u8]) -> Reader<FromWorker> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_, mut write) = theirs.into_split();
    write.write_all(bytes).await.unwrap();
    Reader::new(ours.into_split().0)
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order_whatever_the_pieces() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut reader = Reader::<FromWorker>::new(ours.into_split().0);
    let sent = [written("a", 1), status(3), FromWorker::NeedToken];
    let bytes: Vec<u8> = sent.iter().flat_map(|m| frame(m).unwrap()).collect();
    let feed = tokio::spawn(async move {
        let (_read, mut write) = theirs.into_split();
        for piece in bytes.chunks(3) {
            write.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for expected in &sent {
        let mut got = None;
        while got.is_none() {
            // Cancelled again and again: nothing may be lost by it.
            got = timeout(Duration::from_micros(1), reader.next()).await.ok();
        }
        let got = got.unwrap().unwrap().unwrap();
        assert_eq!(serde_json::to_string(&got).unwrap(), serde_json::to_string(expected).unwrap());
    }
    feed.await.unwrap();
    assert!(reader.next().await.unwrap().is_none(), "a close between messages is a clean end");
}

#[tokio::test]
async fn an_oversized_message_is_refused_before_it_is_read() {
    let mut reader = reader_fed_by(&(MAX_FRAME_BYTES as u32 + 1).to_be_bytes()).await;
    assert!(matches!(reader.next().await, Err(LinkError::TooLarge { bytes }) if bytes == MAX_FRAME_BYTES + 1));
    let long = FromWorker::Ended { reason: "x".repeat(MAX_FRAME_BYTES), fault: None };
    assert!(matches!(frame(&long), Err(LinkError::TooLarge { .. })));
}

#[tokio::test]
async fn garbage_is_a_typed_error_that_does_not_repeat_it() {
    let text = br#"{"say":"canary-4711"}"#;
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    let error = reader_fed_by(&bytes).await.next().await.unwrap_err();
    assert!(matches!(error, LinkError::Garbage { bytes: 21, .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("canary"));
    let mut not_json = reader_fed_by(&[0, 0, 0, 2, 0xff, 0xfe]).await;
    assert!(matches!(not_json.next().await, Err(LinkError::Garbage { bytes: 2, .. })));
}

#[tokio::test]
async fn an_end_inside_a_message_is_told_apart_from_a_clean_end() {
    for cut in 1..9 {
        let bytes = frame(&FromWorker::NeedToken).unwrap();
        let mut reader = reader_fed_by(&bytes[..cut]).await;
        assert!(matches!(reader.next().await, Err(LinkError::Truncated)), "cut after {cut} bytes");
    }
}

#[tokio::test]
async fn the_job_crosses_with_its_token_and_never_shows_it() {
    let (here, there) = pair().unwrap();
    let supervisor = SupervisorLink::open(here).unwrap();
    let mut worker = WorkerLink::open(there).unwrap();
    let token = ToWorker::Token { token: Some(Secret::new("canary-token")) };
    assert!(!format!("{token:?}").contains("canary"));
    supervisor.outgoing.send(token).unwrap();
    supervisor.outgoing.send(ToWorker::Stop).unwrap();
    let Some(ToWorker::Token { token: Some(token) }) = worker.incoming.next().await.unwrap() else { panic!("no token") };
    assert_eq!(token.expose(), "canary-token");
    assert!(matches!(worker.incoming.next().await.unwrap(), Some(ToWorker::Stop)));
}

/// Fills the socket of a peer that does not read, then says much more.
#[tokio::test]
async fn a_slow_peer_gets_the_newest_status_and_every_event() {
    let (here, there) = pair().unwrap();
    let worker = WorkerLink::open(there).unwrap();
    let big = FromWorker::Decoding { tracks: vec![TrackId::new(ParticipantId::new("p".repeat(900_000)), TrackKind::Camera)] };
    worker.outgoing.send(big).unwrap();
    // The writer takes the big one and is stuck with it.
    while !worker.outgoing.handle.0.queue().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 0..10_000 {
        worker.outgoing.send(status(n)).unwrap();
        worker.outgoing.send(written("a", u64::from(n))).unwrap();
        worker.outgoing.send(written("b", u64::from(n))).unwrap();
    }
    assert_eq!(worker.outgoing.replaced(), 3 * 9_999);
    worker.outgoing.send(FromWorker::Joined { at: SessionTime::ZERO }).unwrap();

    let mut supervisor = SupervisorLink::open(here).unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(supervisor.incoming.next().await.unwrap().unwrap());
    }
    assert!(matches!(&seen[0], FromWorker::Decoding { .. }));
    assert!(matches!(&seen[1], FromWorker::Status(s) if s.people == 9_999));
    assert!(matches!(&seen[2], FromWorker::Written { bytes: 9_999, .. }));
    assert!(matches!(&seen[3], FromWorker::Written { bytes: 9_999, .. }));
    assert!(matches!(&seen[4], FromWorker::Joined { .. }));
    worker.outgoing.flush().await.unwrap();
}

/// A worker that was busy shows the layout that was wanted last, and none in between.
#[tokio::test]
async fn of_layouts_only_the_newest_waits() {
    let (here, there) = pair().unwrap();
    let supervisor = SupervisorLink::open(here).unwrap();
    let layout = |name: &str| ToWorker::Layout(NamedText { name: name.into(), text: String::new() });
    for message in [layout("grid"), ToWorker::Stop, layout("speaker")] {
        supervisor.outgoing.send(message).unwrap();
    }
    let mut worker = WorkerLink::open(there).unwrap();
    assert!(matches!(worker.incoming.next().await.unwrap(), Some(ToWorker::Stop)));
    assert!(matches!(worker.incoming.next().await.unwrap(), Some(ToWorker::Layout(text)) if text.name == "speaker"));
}

#[tokio::test]
async fn a_peer_that_never_reads_is_an_error_and_not_a_growing_queue() {
    let (_here, there) = pair().unwrap();
    let worker = WorkerLink::open(there).unwrap();
    let joined = || FromWorker::Joined { at: SessionTime::ZERO };
    // No task runs between these calls, so nothing is written.
    for _ in 0..MAX_WAITING {
        worker.outgoing.send(joined()).unwrap();
    }
    assert!(matches!(worker.outgoing.send(joined()), Err(LinkError::Backlog)));
}

#[tokio::test]
async fn what_waits_is_written_before_the_close() {
    let (here, there) = pair().unwrap();
    let mut supervisor = SupervisorLink::open(here).unwrap();
    let worker = WorkerLink::open(there).unwrap();
    worker.outgoing.send(FromWorker::Ended { reason: "done".into(), fault: None }).unwrap();
    drop(worker);
    assert!(matches!(supervisor.incoming.next().await.unwrap(), Some(FromWorker::Ended { .. })));
    assert!(supervisor.incoming.next().await.unwrap().is_none());
}

#[tokio::test]
async fn sending_to_a_dead_peer_fails() {
    let (here, there) = pair().unwrap();
    let worker = WorkerLink::open(there).unwrap();
    drop(here);
    worker.outgoing.send(FromWorker::NeedToken).unwrap();
    assert!(matches!(worker.outgoing.flush().await, Err(LinkError::Closed)));
    assert!(matches!(worker.outgoing.send(FromWorker::NeedToken), Err(LinkError::Closed)));
}

#[test]
fn a_descriptor_that_is_no_socket_is_refused() {
    assert!(matches!(inherited(0), Err(LinkError::NotInherited(0))));
    assert!(matches!(inherited(987), Err(LinkError::NotInherited(987))));
    assert!(matches!(inherited_listener(987), Err(LinkError::NotListening(987))));
    let (pair, _) = pair().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&pair);
    assert!(matches!(inherited_listener(fd), Err(LinkError::NotListening(_))));
}

#[test]
fn a_rate_that_is_no_number_does_not_break_the_status() {
    let bytes = frame(&FromWorker::Status(Status { fps: f32::NAN, ..Status::default() })).unwrap();
    let got = take_frame::<FromWorker>(&mut BytesMut::from(&bytes[..])).unwrap();
    assert!(matches!(got, Some(FromWorker::Status(Status { fps: 0.0, .. }))));
}
