use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};

use recorder_core::ids::SessionId;

use super::*;
use crate::programme::packet::{Packet, Stream};
use crate::storage::torn_disk::{Folders, Stop, TornDisk};
use crate::storage::{Spool, finalise, recover};
use crate::target::mp4::samples::{Real, frame, look, made_up_headers, picture, real};
use crate::target::mp4::{Scanner, TrackEnds};

struct FromTest {
    headers: CodecHeaders,
    packets: Receiver<Next>,
}

impl PacketSource for FromTest {
    fn next(&mut self, wait: Duration) -> Next {
        match self.packets.recv_timeout(wait) {
            Ok(next) => next,
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }

    fn headers(&self) -> Option<CodecHeaders> {
        Some(self.headers.clone())
    }
}

struct Running {
    target: RecordingTarget,
    packets: SyncSender<Next>,
    reports: Receiver<RecordingReport>,
}

fn start(disk: Arc<dyn Disk>, folder: &Path, headers: CodecHeaders, take: u32, at: SessionTime) -> Running {
    let (packets, receiver) = sync_channel(10_000);
    let (sender, reports) = channel();
    let settings = RecordingSettings { folder: folder.to_path_buf(), id: TargetId::new("file"), take: TakeId(take), start: at };
    let target = RecordingTarget::start_on(disk, settings, FromTest { headers, packets: receiver }, move |report| {
        let _ = sender.send(report);
    })
    .unwrap();
    Running { target, packets, reports }
}

impl Running {
    fn put(&self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            let _ = self.packets.send(Next::Packet(Arc::new(packet)));
        }
    }

    fn finish(self) -> Vec<RecordingReport> {
        let Self { target, packets, reports } = self;
        drop(packets);
        target.join();
        reports.into_iter().collect()
    }
}

fn spool(base: &Path) -> Spool {
    Spool::create(&SystemDisk, &base.join("standup.mp4"), &SessionId::new("s")).unwrap()
}

fn ends(file: &Path) -> TrackEnds {
    Scanner::open(&std::fs::File::open(file).unwrap()).unwrap().ends().unwrap()
}

/// A made-up programme that has run since long before and goes on long after.
fn programme(from: u64, to: u64) -> Vec<Packet> {
    let mut packets: Vec<Packet> = (from * 30..to * 30).map(|n| picture(SessionTime::ZERO, 30, n, n % 30 == 0, 100)).collect();
    packets.extend((from * 48_000 / 1024..to * 48_000 / 1024).map(|n| frame(SessionTime::ZERO, n as i64, 30)));
    packets.sort_by_key(|packet| packet.pts + packet.duration);
    packets
}

/// Paused, and then stopped for good: the programme rests from the pause on, and a Take that waited for the later end would wait in vain.
#[test]
fn a_take_ends_with_the_first_of_its_ends() {
    let base = tempfile::tempdir().unwrap();
    let folder = spool(base.path()).folder().to_path_buf();
    let begin = SessionTime::from_millis(10_000);
    let running = start(Arc::new(SystemDisk), &folder, made_up_headers(30), 1, begin);
    running.target.end_take(begin + Duration::from_secs(2));
    running.target.end_take(begin + Duration::from_secs(4));
    running.put(programme(9, 16));
    let reports: Vec<_> = running.reports.iter().collect();
    let Some(RecordingReport::Ended { until: Some(until), .. }) = reports.last() else { panic!("{reports:?}") };
    assert!(*until <= begin + Duration::from_secs(2), "{until}");
    running.finish();
}

#[test]
fn two_takes_hold_exactly_what_lies_between_their_borders() {
    let base = tempfile::tempdir().unwrap();
    let folder = spool(base.path()).folder().to_path_buf();
    for (take, from) in [(1, 10), (2, 20)] {
        let begin = SessionTime::from_millis(from * 1000);
        let running = start(Arc::new(SystemDisk), &folder, made_up_headers(30), take, begin);
        running.target.end_take(begin + Duration::from_secs(3));
        running.put(programme(from - 2, from + 5));
        // Still connected: it ends by itself.
        let reports: Vec<_> = running.reports.iter().collect();
        let film = Duration::from_secs(3 * u64::from(take - 1));
        assert_eq!(reports[0], RecordingReport::Began { at: begin, file: folder.join("recording.mp4"), film });
        let Some(RecordingReport::Ended { until: Some(until), bytes }) = reports.last() else { panic!("{reports:?}") };
        assert!(*until <= begin + Duration::from_secs(3) && *until > begin + Duration::from_millis(2970), "{until}");
        assert_eq!(*bytes, std::fs::metadata(folder.join("recording.mp4")).unwrap().len());
        running.finish();
    }
    assert_eq!(ends(&folder.join("recording.mp4")).video, 180_000);
    let notes = Spool::open(&folder).unwrap().notes().clone();
    let takes: Vec<_> = notes.parts[0]
        .takes
        .iter()
        .map(|take| (take.take.0, take.began.as_nanos(), take.file_began_ns, take.ended.is_some()))
        .collect();
    assert_eq!(takes, [(1, 10_000_000_000, 0, true), (2, 20_000_000_000, 3_000_000_000, true)]);
}

#[test]
fn other_headers_begin_the_next_part_and_gaps_wait_for_a_keyframe() {
    let base = tempfile::tempdir().unwrap();
    let folder = spool(base.path()).folder().to_path_buf();
    for (take, fps) in [(1, 30), (2, 25)] {
        let begin = SessionTime::from_millis(1000);
        let running = start(Arc::new(SystemDisk), &folder, made_up_headers(fps), take, begin);
        running.put((0..10).map(|n| picture(begin, fps, n, n == 0, 100)));
        running.packets.send(Next::Gap { missed: 7 }).unwrap();
        running.put((17..40).map(|n| picture(begin, fps, n, n == 30, 100)));
        let reports = running.finish();
        assert!(reports.iter().any(|report| matches!(report, RecordingReport::Gap { missed: 7, .. })));
        assert_eq!(ends(&folder.join(crate::storage::spool::part_name(take))).video, 40_000);
    }
    assert_eq!(Spool::open(&folder).unwrap().notes().parts.len(), 2);
}

#[test]
fn a_full_disk_ends_the_recording_with_a_sentence_and_what_was_written_is_usable() {
    let base = tempfile::tempdir().unwrap();
    let folder = spool(base.path()).folder().to_path_buf();
    let begin = SessionTime::from_millis(1000);
    let running = start(Arc::new(TornDisk::full_after(60_000)), &folder, made_up_headers(30), 1, begin);
    running.put(programme(1, 60));
    let reports = running.finish();
    let [
        ..,
        RecordingReport::Written { until, bytes },
        RecordingReport::Failed(fault),
        RecordingReport::Ended { until: Some(ended), bytes: len },
    ] = &reports[..]
    else {
        panic!("{reports:?}")
    };
    assert_eq!((until, bytes), (ended, len));
    assert_eq!(fault.sentence, format!("The disk is full: {} cannot grow.", folder.join("recording.mp4").display()));
    assert_eq!(std::fs::metadata(folder.join("recording.mp4")).unwrap().len(), *bytes);
    let finished = finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(finished.files[0].file, base.path().join("standup.mp4"));
}

#[test]
fn what_was_said_to_be_written_survives_a_power_cut() {
    for stop in [Stop::PowerCut, Stop::PowerCutButNewest] {
        let base = tempfile::tempdir().unwrap();
        let folder = spool(base.path()).folder().to_path_buf();
        let begin = SessionTime::from_millis(1000);
        let torn = TornDisk::new(100_000, stop, Folders::Together);
        let running = start(Arc::new(torn.clone()), &folder, made_up_headers(30), 1, begin);
        running.put(programme(1, 60));
        let reports = running.finish();
        torn.lose_unsynced();
        let said = reports.iter().rev().find_map(|report| match report {
            RecordingReport::Written { until, .. } => Some(*until),
            _ => None,
        });
        let said = said.expect("fragments were written").since(begin);
        // 30 pictures a second, 1000 ticks each.
        let kept = Duration::from_millis(ends(&folder.join("recording.mp4")).video / 30);
        assert!(
            said > Duration::from_secs(3) && kept >= said - Duration::from_millis(34),
            "{stop:?}: said {said:?}, kept {kept:?}"
        );
    }
}

#[test]
fn a_folder_that_is_gone_is_named() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("gone");
    let running = start(Arc::new(SystemDisk), &folder, made_up_headers(30), 1, SessionTime::ZERO);
    let reports = running.finish();
    let [RecordingReport::Failed(fault), RecordingReport::Ended { until: None, bytes: 0 }] = &reports[..] else {
        panic!("{reports:?}")
    };
    assert!(fault.sentence.starts_with(&format!("The folder {} cannot be read: ", folder.display())), "{}", fault.sentence);
}

/// Set for the process that is to be killed: the folder that it records into.
const RECORD_INTO: &str = "ROOMCAST_TEST_RECORD_INTO";

/// Sends a real programme again and again, ten times as fast as it plays, until it is killed.
fn record_until_killed(folder: &Path) {
    let real: &Real = real(30);
    let begin = SessionTime::from_millis(1000);
    let (packets, receiver) = sync_channel(8);
    let settings = RecordingSettings { folder: folder.to_owned(), id: TargetId::new("file"), take: TakeId(1), start: begin };
    let out = Mutex::new(std::io::stdout());
    let target = RecordingTarget::start(settings, FromTest { headers: real.headers.clone(), packets: receiver }, move |report| {
        if let RecordingReport::Written { until, .. } = report {
            let mut out = out.lock().unwrap();
            writeln!(out, "\nwritten {}", until.as_nanos()).unwrap();
            out.flush().unwrap();
        }
    })
    .unwrap();
    for turn in 0..1000 {
        let from = begin + Duration::from_secs(4) * turn;
        for packet in
            real.packets(from).into_iter().filter(|packet| turn == 0 || packet.stream == Stream::Video || packet.pts >= from)
        {
            std::thread::sleep(Duration::from_millis(1));
            packets.send(Next::Packet(Arc::new(packet))).unwrap();
        }
    }
    target.join();
}

#[test]
fn killed_at_any_instant_it_plays_and_what_was_shown_as_written_is_there() {
    // The process that is killed is this very test again.
    if let Some(folder) = std::env::var_os(RECORD_INTO) {
        return record_until_killed(Path::new(&folder));
    }
    let this = "target::recording::tests::killed_at_any_instant_it_plays_and_what_was_shown_as_written_is_there";
    let begin = SessionTime::from_millis(1000);
    for reports in [1, 2, 5, 8] {
        let base = tempfile::tempdir().unwrap();
        let folder = spool(base.path()).folder().to_path_buf();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(RECORD_INTO, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut written = SessionTime::ZERO;
        for _ in 0..reports {
            let line = lines.by_ref().find(|line| line.starts_with("written ")).unwrap();
            written = SessionTime::from_nanos(line[8..].parse().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let file = folder.join("recording.mp4");
        let seen = look(&file);
        assert_eq!(seen.complaints, "", "as it was left");
        let recovered = recover(&SystemDisk, base.path()).unwrap();
        let finished = recovered[0].result.as_ref().unwrap();
        let seen = look(&finished.files[0].file);
        assert_eq!(seen.complaints, "");
        let pictures_written = written.since(begin).as_nanos() * 30 / 1_000_000_000;
        assert!(seen.pictures.len() as u128 >= pictures_written, "{} of {pictures_written}", seen.pictures.len());
        let sound_written = written.since(begin).as_secs_f64() * 48_000.0;
        assert!((seen.sound_ticks.last().unwrap() + 1024) as f64 >= sound_written - 1.0);
    }
}

#[test]
fn an_end_that_lies_before_what_is_on_disk_ends_the_take_with_that() {
    let base = tempfile::tempdir().unwrap();
    let folder = spool(base.path()).folder().to_path_buf();
    let begin = SessionTime::from_millis(10_000);
    let running = start(Arc::new(SystemDisk), &folder, made_up_headers(30), 1, begin);
    running.put(programme(8, 14));
    let past = |report: &RecordingReport| matches!(report, RecordingReport::Written { until, .. } if *until > begin + Duration::from_secs(2));
    let before: Vec<_> = running.reports.iter().take_while(|report| !past(report)).collect();
    assert!(matches!(before[0], RecordingReport::Began { .. }));
    running.target.end_take(begin + Duration::from_secs(1));
    // Still connected, and the programme goes on: it ends by itself, and nothing that comes later is kept.
    running.put(programme(14, 20));
    let reports: Vec<_> = running.reports.iter().collect();
    let Some(RecordingReport::Ended { until: Some(until), bytes }) = reports.last() else { panic!("{reports:?}") };
    let last_written = reports.iter().rev().find_map(|report| match report {
        RecordingReport::Written { until, .. } => Some(*until),
        _ => None,
    });
    assert!(*until >= begin + Duration::from_secs(2) && last_written.is_none_or(|last| last == *until), "{until}");
    assert!(*until < begin + Duration::from_secs(5), "{until}");
    assert_eq!(*bytes, std::fs::metadata(folder.join("recording.mp4")).unwrap().len());
    let takes = Spool::open(&folder).unwrap().notes().parts[0].takes.clone();
    assert_eq!(takes[0].ended, Some(*until));
    let ticks = u128::from(ends(&folder.join("recording.mp4")).video);
    assert!(ticks >= until.since(begin).as_nanos() * 30_000 / 1_000_000_000, "{ticks} until {until}");
    running.finish();
    finalise(&SystemDisk, &folder).unwrap();
}
