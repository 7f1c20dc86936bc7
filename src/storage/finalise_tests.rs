use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use recorder_core::ids::SessionId;
use recorder_core::time::SessionTime;

use super::disk::SystemDisk;
use super::spool::{Encoding, NOTES, Part, RESERVE};
use super::torn_disk::{Folders, Stop, TornDisk};
use super::*;
use crate::programme::packet::Packet;
use crate::target::mp4::Writer;
use crate::target::mp4::samples::{frame, made_up_headers, picture, real};

pub(super) fn growing() -> Vec<u8> {
    let start = SessionTime::ZERO;
    let mut writer = Writer::new(made_up_headers(30)).unwrap();
    writer.begin_take(start).unwrap();
    let mut file = Vec::new();
    let mut packets: Vec<Packet> = (0..30).map(|n| picture(start, 30, n, n % 15 == 0, 40)).collect();
    packets.extend((-1..45).map(|n| frame(start, n, 8)));
    packets.sort_by_key(|packet| packet.pts);
    for packet in &packets {
        file.extend(writer.push(packet).unwrap().into_iter().flat_map(|fragment| fragment.bytes));
    }
    file.extend(writer.flush().unwrap().unwrap().bytes);
    file.extend_from_slice(b"\0\0\x02\0moof and so on, torn");
    file
}

pub(super) fn part(file: &str) -> Part {
    let encoding = Encoding {
        avc_config: String::new(),
        aac_config: String::new(),
        width_px: 640,
        height_px: 360,
        fps: 30,
        sample_rate_hz: 48_000,
        channels: 2,
    };
    Part { file: file.into(), encoding, takes: Vec::new(), delivered: None }
}

/// A spool folder as a killed recording leaves it.
fn killed(base: &Path, recording: &[u8]) -> PathBuf {
    let mut spool = Spool::create(&SystemDisk, &base.join("standup.mp4"), &SessionId::new("s")).unwrap();
    spool.notes_mut().parts.push(part("recording.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(spool.folder().join("recording.mp4"), recording).unwrap();
    fs::write(spool.folder().join(RESERVE), [0; 64]).unwrap();
    spool.folder().to_path_buf()
}

/// Memory, because thousands of files are made.
pub(super) fn base() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Has the ending of what `killed` leaves interrupted in each way, each time `step` units of work later, and then repeated in peace. `check` is given the base, the
/// folder, and which case it is. The last ending of each way is a whole one.
pub(super) fn interrupted_anywhere(step: u64, killed: impl Fn(&Path) -> PathBuf, check: impl Fn(&Path, &Path, &str)) {
    for (stop, folders) in [
        (Stop::Kill, Folders::Together),
        (Stop::PowerCut, Folders::Together),
        (Stop::Kill, Folders::Apart),
        (Stop::PowerCut, Folders::Apart),
    ] {
        for units in (0..).map(|n| n * step) {
            let base = base();
            let folder = killed(base.path());
            let torn = TornDisk::new(units, stop, folders);
            let whole = finalise(&torn, &folder).is_ok();
            torn.lose_unsynced();
            if !whole {
                finalise(&TornDisk::new(u64::MAX, stop, folders), &folder).unwrap();
            }
            check(base.path(), &folder, &format!("{stop:?} {folders:?} after {units}"));
            if whole {
                assert!(units > 300, "{units}");
                break;
            }
        }
    }
}

#[test]
fn interrupted_at_any_byte_it_can_be_repeated_with_the_same_result() {
    let recording = growing();
    let undisturbed = base();
    let folder = killed(undisturbed.path(), &recording);
    let finished = finalise(&SystemDisk, &folder).unwrap();
    let expected = fs::read(&finished.files[0].file).unwrap();
    assert_eq!(names(undisturbed.path()), ["standup.mp4"]);
    assert_eq!(finished.files[0].bytes, expected.len() as u64);
    for (stop, folders) in [
        (Stop::Kill, Folders::Together),
        (Stop::PowerCut, Folders::Together),
        (Stop::Kill, Folders::Apart),
        (Stop::PowerCut, Folders::Apart),
        (Stop::PowerCutButNewest, Folders::Together),
        (Stop::PowerCutButNewest, Folders::Apart),
    ] {
        let mut units = 0;
        let mut stops = 0;
        loop {
            let base = base();
            let folder = killed(base.path(), &recording);
            // Twice interrupted, then in peace.
            let torn = TornDisk::new(units, stop, folders);
            let first = finalise(&torn, &folder);
            // Also right after the success was told: what is told is on the disk.
            torn.lose_unsynced();
            let whole = first.is_ok();
            if !whole {
                stops += 1;
                let again = TornDisk::new(units / 2 + 1, stop, folders);
                if folder.exists() && finalise(&again, &folder).is_err() {
                    again.lose_unsynced();
                }
                if folder.exists() {
                    finalise(&TornDisk::new(u64::MAX, stop, folders), &folder).unwrap();
                }
            }
            assert_eq!(names(base.path()), ["standup.mp4"], "{stop:?} {folders:?} after {units}");
            assert!(fs::read(base.path().join("standup.mp4")).unwrap() == expected, "{stop:?} {folders:?} after {units}");
            if whole {
                break;
            }
            // Every operation, and many bytes of the writes.
            units += if units < 300 { 1 } else { 5 };
        }
        assert!(stops > 500, "{stops}");
    }
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    let base = base();
    let folder = killed(base.path(), &growing());
    fs::write(base.path().join("standup.mp4"), "another").unwrap();
    let finished = finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(finished.files[0].file, base.path().join("standup-2.mp4"));
    assert_eq!(fs::read(base.path().join("standup.mp4")).unwrap(), b"another");
}

#[test]
fn every_part_has_a_name_of_its_own() {
    let base = base();
    let folder = killed(base.path(), &growing());
    let mut spool = Spool::open(&folder).unwrap();
    spool.notes_mut().parts.push(part("recording-2.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(folder.join("recording-2.mp4"), growing()).unwrap();
    finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(names(base.path()), ["standup-part2.mp4", "standup.mp4"]);
}

#[test]
fn a_part_that_cannot_be_used_is_told_beside_those_that_can() {
    let base = base();
    let folder = killed(base.path(), &growing());
    let mut spool = Spool::open(&folder).unwrap();
    spool.notes_mut().parts.push(part("recording-2.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(folder.join("recording-2.mp4"), &growing()[..300]).unwrap();
    // Told each time, until somebody has looked at it.
    for _ in 0..2 {
        let finished = finalise(&SystemDisk, &folder).unwrap();
        assert_eq!(finished.files.iter().map(|one| one.file.clone()).collect::<Vec<_>>(), [base.path().join("standup.mp4")]);
        let left = folder.join("recording-2.mp4");
        assert!(matches!(&finished.left[..], [StorageError::Unusable { file, .. }] if *file == left), "{finished:?}");
        assert_eq!(fs::read(&left).unwrap().len(), 300, "left as it was");
    }
    assert_eq!(names(base.path()), ["standup.mp4", "standup.mp4.roomcast"]);
}

#[test]
fn recover_finds_what_can_be_used_and_leaves_what_cannot() {
    let base = base();
    let mut recording = growing();
    killed(base.path(), &recording);
    // Notes are lost, but the name says what it is.
    let lost = base.path().join("retro.mp4.roomcast");
    fs::create_dir(&lost).unwrap();
    fs::write(lost.join("recording.mp4"), &recording).unwrap();
    let torn = base.path().join("torn.mp4.roomcast");
    fs::create_dir(&torn).unwrap();
    recording.truncate(300);
    fs::write(torn.join("recording.mp4"), &recording).unwrap();
    let recovered = recover(&SystemDisk, base.path()).unwrap();
    let sentences: Vec<_> = recovered.iter().map(|one| one.result.as_ref().map_err(|error| error.to_fault().sentence)).collect();
    assert_eq!(sentences[0].as_ref().unwrap().files[0].file, base.path().join("retro.mp4"));
    assert_eq!(sentences[1].as_ref().unwrap().files[0].file, base.path().join("standup.mp4"));
    let expected = format!(
        "The file {} holds no recording that can be used: the file does not begin like a recording of ours (moov).",
        torn.join("recording.mp4").display()
    );
    assert_eq!(sentences[2].as_ref().err(), Some(&expected));
    assert_eq!(fs::read(torn.join("recording.mp4")).unwrap(), recording, "left as it was");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(recover(&SystemDisk, empty.path()), Err(StorageError::Nothing { .. })));
    assert!(matches!(recover(&SystemDisk, &empty.path().join("no")), Err(StorageError::Folder { action: "read", .. })));
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let base = base();
    let folder = killed(base.path(), &growing());
    let lock = Spool::lock(&folder).unwrap();
    assert!(matches!(finalise(&SystemDisk, &folder), Err(StorageError::Busy { .. })));
    assert!(folder.join(NOTES).exists());
    drop(lock);
    finalise(&SystemDisk, &folder).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let base = base();
    fs::write(base.path().join("file"), "").unwrap();
    let wanted = base.path().join("file/standup.mp4");
    let error = Spool::create(&SystemDisk, &wanted, &SessionId::new("s")).unwrap_err();
    let sentence = error.to_fault().sentence;
    assert!(sentence.starts_with(&format!("The folder {} cannot be made: ", base.path().join("file").display())), "{sentence}");
}

/// The bytes of a fragment whose `mdat` ends in a hole of `len` bytes, and its length.
fn with_hole(mut fragment: Vec<u8>, len: u32) -> (Vec<u8>, u64) {
    let moof_len = u32::from_be_bytes(fragment[..4].try_into().unwrap()) as usize;
    let mdat_len = (fragment.len() - moof_len) as u32 + len;
    fragment[moof_len..moof_len + 4].copy_from_slice(&mdat_len.to_be_bytes());
    let total = fragment.len() as u64 + u64::from(len);
    (fragment, total)
}

#[test]
fn above_four_gib_it_opens_and_seeks() {
    use std::os::unix::fs::FileExt;
    const HOLE: u32 = 900 << 20;
    let base = tempfile::tempdir().unwrap();
    let folder = killed(base.path(), b"");
    let file = fs::File::create(folder.join("recording.mp4")).unwrap();
    let start = SessionTime::from_millis(100);
    let real = real(30);
    let mut writer = Writer::new(real.headers.clone()).unwrap();
    writer.begin_take(start).unwrap();
    let mut at = 0;
    let mut put = |bytes: &[u8], len: u64| {
        file.write_all_at(bytes, at).unwrap();
        at += len;
    };
    let packets = real.packets(start);
    let second_gop = start + Duration::from_secs(2);
    for packet in packets.iter().filter(|packet| packet.pts < second_gop) {
        if let Some(fragment) = writer.push(packet).unwrap() {
            put(&fragment.bytes, fragment.bytes.len() as u64);
        }
    }
    let fragment = writer.flush().unwrap().unwrap();
    put(&fragment.bytes, fragment.bytes.len() as u64);
    for n in 60..65 {
        writer.push(&Packet { data: real.video[1].1.clone(), ..picture(start, 30, n, false, 0) }).unwrap();
        let small = writer.flush().unwrap().unwrap();
        let (bytes, len) = with_hole(small.bytes, HOLE);
        put(&bytes, len);
    }
    for packet in packets.iter().filter(|packet| packet.pts >= second_gop) {
        let later = Packet { pts: packet.pts + Duration::from_nanos(166_666_667), ..packet.clone() };
        if let Some(fragment) = writer.push(&later).unwrap() {
            put(&fragment.bytes, fragment.bytes.len() as u64);
        }
    }
    let fragment = writer.flush().unwrap().unwrap();
    put(&fragment.bytes, fragment.bytes.len() as u64);
    file.set_len(at).unwrap();
    let finished = finalise(&SystemDisk, &folder).unwrap();
    assert!(finished.files[0].bytes > 4_500_000_000);
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts,pos", "-of", "csv=p=0"])
        .arg(&finished.files[0].file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&probe.stderr), "");
    let packets = String::from_utf8(probe.stdout).unwrap();
    assert_eq!(packets.lines().count(), 125);
    let last: u64 = packets.lines().last().unwrap().split(',').nth(1).unwrap().parse().unwrap();
    assert!(last > u64::from(u32::MAX));
    let seek = Command::new("ffmpeg")
        .args(["-v", "error", "-ss", "3.5", "-i"])
        .arg(&finished.files[0].file)
        .args(["-f", "framehash", "-map", "0:v", "-"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&seek.stderr), "");
    let pictures = String::from_utf8(seek.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(pictures, 20, "125 pictures end at 4.17 s");
}

#[test]
fn a_folder_that_a_crash_left_empty_after_the_delivery_is_removed_and_is_no_failure() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("standup.mp4.roomcast");
    std::fs::create_dir(&folder).unwrap();
    let recovered = recover(&SystemDisk, &folder).unwrap();
    assert!(
        matches!(&recovered[..], [one] if one.result.as_ref().is_ok_and(|all| all.files.is_empty() && all.left.is_empty())),
        "{recovered:?}"
    );
    assert!(!folder.exists());
}
