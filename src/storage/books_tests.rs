use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::SystemDisk;
use super::super::finalise_tests::{base, interrupted_anywhere, names};
use super::super::inventory::inventory;
use super::super::outbox::{Fortune, fortune, outgoing};
use super::super::torn_disk::{Folders, Stop, TornDisk};
use super::super::{finalise, outbox_tests};
use super::*;

const LEDGER: &str = "{\"entry\":\"rule\"}\n";
const EVENTS: &str = "{\"event\":\"begins\"}\n{\"event\":\"closed\"}\n";

/// A spool folder as a supervisor and a worker leave it that were killed in the middle of a line.
fn killed(base: &Path, is_wanted_here: bool) -> PathBuf {
    let folder = outbox_tests::killed(base, &["a"], is_wanted_here);
    fs::write(folder.join("recording.ledger.jsonl"), LEDGER).unwrap();
    fs::write(folder.join("recording.events.jsonl"), format!("{EVENTS}{{\"event\":\"lef")).unwrap();
    folder
}

fn text(file: PathBuf) -> String {
    String::from_utf8(fs::read(file).unwrap()).unwrap()
}

#[test]
fn lines_are_on_the_disk_in_their_order_when_they_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    // What an earlier process wrote stays.
    fs::write(folder.path().join("recording.ledger.jsonl"), LEDGER).unwrap();
    let writer = BookWriter::start(Arc::new(SystemDisk), folder.path().into()).unwrap();
    for n in 0..500 {
        writer.write(Book::Events, format!("{{\"n\":{n}}}"));
    }
    writer.write(Book::Ledger, "{\"entry\":\"closed\"}".into());
    assert_eq!(writer.missed(), 0);
    writer.close().wait();
    let expected: String = (0..500).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(text(folder.path().join("recording.events.jsonl")), expected);
    assert_eq!(text(folder.path().join("recording.ledger.jsonl")), format!("{LEDGER}{{\"entry\":\"closed\"}}\n"));
}

/// A disk that is killed at any byte has whole lines, and at most a torn one behind them.
#[test]
fn a_writer_that_is_killed_leaves_whole_lines() {
    let lines: Vec<String> = (0..5).map(|n| format!("{{\"line\":{n}}}")).collect();
    for units in 0..80 {
        let folder = base();
        let torn = TornDisk::new(units, Stop::Kill, Folders::Together);
        let mut pen = Pen::new(Arc::new(torn), folder.path().into(), Arc::default());
        for line in &lines {
            pen.take((Book::Events, line.clone()));
            let _ = pen.sync();
        }
        let file = folder.path().join("recording.events.jsonl");
        let Ok(opened) = SystemDisk.open(&file) else { continue };
        cut(&*opened).unwrap();
        let kept = text(file);
        assert_eq!(kept.lines().collect::<Vec<_>>(), lines[..kept.lines().count()], "after {units}");
        assert!(kept.is_empty() || kept.ends_with('\n'));
    }
}

#[test]
fn what_a_disk_refused_is_written_when_it_does_not() {
    let folder = base();
    let torn = TornDisk::full_after(30);
    let mut pen = Pen::new(Arc::new(torn), folder.path().into(), Arc::default());
    for n in 0..4 {
        pen.take((Book::Events, format!("{{\"line\":{n}}}")));
        let _ = pen.sync();
    }
    let missing = pen.pages[1].unsafe_lines.lines().count();
    assert!((1..4).contains(&missing), "{missing}");
    // Somebody made room.
    pen.disk = Arc::new(SystemDisk);
    pen.pages[1].file = Some(SystemDisk.open(&folder.path().join("recording.events.jsonl")).unwrap());
    pen.sync().unwrap();
    let expected: String = (0..4).map(|n| format!("{{\"line\":{n}}}\n")).collect();
    assert_eq!(text(folder.path().join("recording.events.jsonl")), expected);
}

/// A disk that refuses for long costs no memory without end; what is lost is counted.
#[test]
fn what_waits_for_a_disk_is_bounded() {
    let folder = base();
    let mut pen = Pen::new(Arc::new(SystemDisk), folder.path().into(), Arc::default());
    let line = "x".repeat(1023);
    for _ in 0..2000 {
        pen.take((Book::Ledger, line.clone()));
    }
    assert_eq!(pen.pages[0].unsafe_lines.len(), UNSAFE_BYTES);
    assert_eq!(pen.missed.load(Ordering::Relaxed), 2000 - 1024);
}

#[test]
fn however_the_ending_is_interrupted_the_books_come_with_the_film() {
    for is_wanted_here in [true, false] {
        let killed = |base: &Path| killed(base, is_wanted_here);
        interrupted_anywhere(13, killed, |base, folder, case| {
            assert_eq!(names(folder), ["upload"], "{case}");
            let kept = folder.join("upload");
            let (place, stem) = if is_wanted_here { (base, "standup") } else { (&*kept, "recording") };
            assert_eq!(text(place.join(format!("{stem}.ledger.jsonl"))), LEDGER, "{case}");
            assert_eq!(text(place.join(format!("{stem}.events.jsonl"))), EVENTS, "{case}");
            if is_wanted_here {
                let expected = ["standup.events.jsonl", "standup.ledger.jsonl", "standup.mp4", "standup.mp4.roomcast"];
                assert_eq!(names(base), expected, "{case}");
            }
            let files: Vec<_> = outgoing(folder).unwrap().into_iter().map(|out| (out.file, out.journal.upload.key)).collect();
            let keys: Vec<_> = files.iter().map(|(_, key)| key.as_str()).collect();
            assert_eq!(keys, ["k/standup.mp4", "k/standup.ledger.jsonl", "k/standup.events.jsonl"], "{case}");
            assert_eq!(fortune(&SystemDisk, &files[2].0).unwrap(), Fortune::Ended(EVENTS.len() as u64));
        });
    }
}

#[test]
fn books_never_take_the_place_of_another_file() {
    let base = base();
    fs::write(base.path().join("standup.events.jsonl"), "somebody's\n").unwrap();
    let folder = killed(base.path(), true);
    finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(text(base.path().join("standup.events.jsonl")), "somebody's\n");
    assert_eq!(text(base.path().join("standup.events-2.jsonl")), EVENTS);
}

#[test]
fn books_of_a_film_that_cannot_be_used_stay_with_it() {
    let base = base();
    let folder = killed(base.path(), true);
    fs::write(folder.join("recording.mp4"), b"no film").unwrap();
    finalise(&SystemDisk, &folder).unwrap_err();
    assert!(folder.join("recording.events.jsonl").exists());
    assert!(outgoing(&folder).unwrap().iter().all(|out| !is_book(&out.file)), "nothing of them is uploaded");
}

#[test]
fn books_are_listed_and_swept_with_the_film() {
    let base = base();
    let folder = killed(base.path(), true);
    finalise(&SystemDisk, &folder).unwrap();
    let kept = inventory(&SystemDisk, base.path(), recorder_core::keep::Keep::both(std::time::Duration::ZERO)).unwrap();
    let files: Vec<_> = kept.iter().map(|kept| kept.file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(files, ["recording.mp4", "recording.ledger.jsonl", "recording.events.jsonl"]);
    outbox_tests::confirm(&folder, "a", 1);
    let deleted =
        super::super::inventory::sweep(&SystemDisk, base.path(), recorder_core::keep::Keep::both(std::time::Duration::ZERO))
            .unwrap();
    assert_eq!(deleted.len(), 3, "{deleted:?}");
    assert_eq!(names(base.path()), ["standup.events.jsonl", "standup.ledger.jsonl", "standup.mp4"]);
}
