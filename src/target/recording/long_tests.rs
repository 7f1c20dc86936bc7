//! Twelve hours of ring, Take and writer, as fast as the machine can.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use recorder_core::ids::SessionId;

use super::*;
use crate::programme::packet::{Packet, Stream};
use crate::programme::ring::Ring;
use crate::storage::{Spool, finalise};
use crate::target::mp4::samples::{frame, made_up_headers, picture};

const HOURS: u64 = 12;
/// The recording may be this much behind the programme, in seconds.
const AHEAD_S: u64 = 20;

/// Memory that this process has now, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One second of a programme, in ring order.
fn second(begin: SessionTime, n: u64) -> Vec<Packet> {
    let mut packets: Vec<Packet> =
        (n * 30..(n + 1) * 30).map(|picture_n| picture(begin, 30, picture_n, picture_n % 60 == 0, 40)).collect();
    let frames = |seconds: u64| (seconds * 48_000).div_ceil(1024) as i64;
    packets.extend((frames(n)..frames(n + 1)).map(|frame_n| frame(begin, frame_n, 16)));
    packets.sort_by_key(|packet| packet.pts + packet.duration);
    packets
}

/// Set for the process whose memory is measured: the folder that it records into.
const RECORD_INTO: &str = "ROOMCAST_TEST_RECORD_TWELVE_HOURS_INTO";

fn record_twelve_hours(base: &Path) {
    let spool = Spool::create(&SystemDisk, &base.join("long.mp4"), &SessionId::new("s")).unwrap();
    let folder = spool.folder().to_path_buf();
    let begin = SessionTime::from_millis(1000);
    let ring = Ring::default();
    ring.set_headers(made_up_headers(30));
    let (sender, reports) = channel();
    let settings = RecordingSettings { folder: folder.clone(), id: TargetId::new("file"), take: TakeId(1), start: begin };
    let target = RecordingTarget::start(settings, ring.record_from(begin), move |report| {
        let _ = sender.send(report);
    })
    .unwrap();
    let mut written = begin;
    let (mut ring_bytes, mut memory) = (Vec::new(), Vec::new());
    let mut see = |report: RecordingReport| match report {
        RecordingReport::Written { until, .. } => {
            assert!(until > written, "time goes on: {until} after {written}");
            assert!(until.since(written) <= Duration::from_millis(1100), "{until} after {written}");
            written = until;
            written
        }
        RecordingReport::Began { at, .. } => {
            assert_eq!(at, begin);
            written
        }
        other => panic!("{other:?}"),
    };
    for n in 0..HOURS * 3600 {
        second(begin, n).into_iter().for_each(|packet| ring.publish(packet));
        let needed = begin + Duration::from_secs(n.saturating_sub(AHEAD_S));
        while see(reports.recv().unwrap()) < needed {}
        if n % 1800 == 1799 {
            ring_bytes.push(ring.bytes());
            memory.push(resident_kib());
        }
    }
    let end = begin + Duration::from_secs(HOURS * 3600);
    target.end_take(end);
    ring.publish(picture(begin, 30, HOURS * 3600 * 30, true, 40));
    ring.publish(frame(begin, (HOURS * 3600 * 48_000).div_ceil(1024) as i64, 16));
    ring.close();
    target.join();
    let last = reports.into_iter().last().unwrap();
    assert!(
        matches!(last, RecordingReport::Ended { until: Some(until), .. } if end.since(until) < Duration::from_millis(40)),
        "{last:?}"
    );
    println!("KiB each half hour: {memory:?}; bytes in the ring: {ring_bytes:?}");
    assert!(ring_bytes.iter().all(|bytes| *bytes < 100_000), "{ring_bytes:?}");
    // After the first half hour nothing grows.
    assert!(memory.iter().all(|kib| *kib < memory[0] + 3 * 1024), "{memory:?}");
    let finished = finalise(&SystemDisk, &folder).unwrap();
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_type,nb_frames,duration", "-of", "csv=p=0"])
        .arg(&finished.files[0].file)
        .output()
        .unwrap();
    let said = String::from_utf8(probe.stdout).unwrap() + &String::from_utf8(probe.stderr).unwrap();
    assert_eq!(said.lines().next().unwrap(), "video,43200.000000,1296000", "{said}");
    let sound: Vec<&str> = said.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(sound[0], "audio");
    assert!((sound[1].parse::<f64>().unwrap() - 43_200.0).abs() < 0.03, "{said}");
}

#[test]
fn twelve_hours_of_ring_and_writer_keep_their_time_and_need_no_more_memory_than_one() {
    // A process of its own, this very test again, because its memory is measured.
    if let Some(base) = std::env::var_os(RECORD_INTO) {
        return record_twelve_hours(Path::new(&base));
    }
    let this = "target::recording::long_tests::twelve_hours_of_ring_and_writer_keep_their_time_and_need_no_more_memory_than_one";
    // Memory, because each of 86400 fragments is synced.
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(RECORD_INTO, base.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("KiB each half hour"), "it has run: {said}");
}

#[test]
fn a_second_of_the_programme_has_all_its_packets() {
    let begin = SessionTime::ZERO;
    let count = |stream| (0..128).flat_map(|n| second(begin, n)).filter(|packet| packet.stream == stream).count();
    assert_eq!((count(Stream::Video), count(Stream::Sound)), (128 * 30, 128 * 48_000 / 1024));
}
