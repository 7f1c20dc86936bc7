use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recorder_core::ids::SessionId;
use recorder_core::keep::{Keep, Verdict};
use recorder_core::upload::Step;

use super::disk::{Disk, SystemDisk, is_same_file};
use super::finalise_tests::{base, growing, interrupted_anywhere, names, part};
use super::inventory::{inventory, sweep, table};
use super::outbox::{Fortune, UploadTarget, declare, fortune, keep_for_uploads, outgoing, unix_now, waiting};
use super::spool::FOLDER_ENDING;
use super::torn_disk::{Folders, Stop, TornDisk};
use super::{Spool, StorageError, finalise};

const DAY: Keep = Keep::both(Duration::from_secs(86_400));
const NO_TIME: Keep = Keep::both(Duration::ZERO);

fn targets(names: &[&str]) -> Vec<UploadTarget> {
    let target = |name: &&str| UploadTarget { storage: name.to_string(), bucket: "b".into(), key: "k/standup.mp4".into() };
    names.iter().map(target).collect()
}

/// A spool folder as a killed recording leaves it, with these storages.
pub(super) fn killed(base: &Path, storages: &[&str], is_wanted_here: bool) -> PathBuf {
    let id = SessionId::new("s");
    let mut spool = match is_wanted_here {
        true => Spool::create(&SystemDisk, &base.join("standup.mp4"), &id),
        false => Spool::create_for_uploads(&SystemDisk, &base.join(format!("standup{FOLDER_ENDING}")), &id),
    }
    .unwrap();
    declare(&SystemDisk, spool.folder(), &id, &targets(storages)).unwrap();
    spool.notes_mut().parts.push(part("recording.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(spool.folder().join("recording.mp4"), growing()).unwrap();
    spool.folder().to_path_buf()
}

/// Notes that the storage has confirmed what lies in the folder, at this time.
pub(super) fn confirm(folder: &Path, storage: &str, at: u64) {
    for mut out in outgoing(folder).unwrap().into_iter().filter(|out| out.journal.storage == storage) {
        out.journal.confirmed_at = Some(at);
        let stored = recorder_core::upload::Record { step: Step::Stored, ended: Some(7), ..out.journal.upload.clone() };
        out.save(&SystemDisk, stored).unwrap();
    }
}

#[test]
fn however_the_ending_is_interrupted_the_upload_keeps_its_file() {
    for is_wanted_here in [true, false] {
        let undisturbed = base();
        let folder = killed(undisturbed.path(), &["a"], is_wanted_here);
        finalise(&SystemDisk, &folder).unwrap();
        let expected = fs::read(folder.join("upload/recording.mp4")).unwrap();
        let killed = |base: &Path| killed(base, &["a"], is_wanted_here);
        interrupted_anywhere(3, killed, |base, folder, case| {
            let kept = folder.join("upload/recording.mp4");
            assert!(fs::read(&kept).unwrap() == expected, "{case}");
            assert_eq!(fortune(&SystemDisk, &kept).unwrap(), Fortune::Ended(expected.len() as u64));
            assert_eq!(names(folder), ["upload"], "{case}");
            if is_wanted_here {
                assert!(fs::read(base.join("standup.mp4")).unwrap() == expected);
            } else {
                assert_eq!(names(&folder.join("upload")), ["recording.mp4", "targets.json"]);
            }
        });
    }
}

#[test]
fn a_file_that_grows_has_its_second_name_at_once() {
    let base = base();
    let folder = killed(base.path(), &["a"], true);
    for _ in 0..2 {
        keep_for_uploads(&SystemDisk, &folder, "recording.mp4").unwrap();
    }
    assert!(is_same_file(&folder.join("recording.mp4"), &folder.join("upload/recording.mp4")));
    assert_eq!(fortune(&SystemDisk, &folder.join("upload/recording.mp4")).unwrap(), Fortune::Growing);
    fs::write(base.path().join("torn"), &growing()[..300]).unwrap();
    assert_eq!(fortune(&SystemDisk, &base.path().join("torn")).unwrap(), Fortune::Unusable);
    let out = outgoing(&folder).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].journal.upload.key.as_str(), out[0].begun), ("k/standup.mp4", false));
}

/// Killed before the first bytes were confirmed, a recording has no second name yet; whoever goes on with it uploads it all the same.
#[test]
fn a_storage_waits_from_the_first_moment_until_it_has_everything() {
    let base = base();
    let folder = killed(base.path(), &["a", "b"], false);
    let waiting = || waiting(&folder).unwrap().into_iter().map(|target| target.storage).collect::<Vec<_>>();
    assert!(outgoing(&folder).unwrap().is_empty());
    assert_eq!(waiting(), ["a", "b"]);
    finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(waiting(), ["a", "b"]);
    confirm(&folder, "a", 1);
    assert_eq!(waiting(), ["b"]);
    confirm(&folder, "b", 1);
    assert_eq!(waiting(), [] as [&str; 0]);
}

#[test]
fn without_uploads_nothing_is_kept() {
    let base = base();
    let mut spool = Spool::create(&SystemDisk, &base.path().join("standup.mp4"), &SessionId::new("s")).unwrap();
    spool.notes_mut().parts.push(part("recording.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(spool.folder().join("recording.mp4"), growing()).unwrap();
    finalise(&SystemDisk, spool.folder()).unwrap();
    assert_eq!(names(base.path()), ["standup.mp4"]);
}

#[test]
fn names_of_storages_cannot_leave_the_folder() {
    let base = base();
    for name in ["", "../up", "a/b", "a.b", "ä", "controller"] {
        let refused = declare(&SystemDisk, base.path(), &SessionId::new("s"), &targets(&[name])).unwrap_err();
        assert!(matches!(refused, StorageError::BadName { .. }), "{name}: {refused}");
    }
}

#[test]
fn what_is_kept_and_why() {
    let base = base();
    let folder = killed(base.path(), &["a", "b"], true);
    let verdicts = |keep| inventory(&SystemDisk, base.path(), keep).unwrap().iter().map(|kept| kept.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts(DAY), [Verdict::Growing]);
    finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(verdicts(NO_TIME), [Verdict::Unconfirmed]);
    confirm(&folder, "a", 1000);
    assert_eq!(verdicts(NO_TIME), [Verdict::Unconfirmed], "b has not confirmed it");
    let now = unix_now();
    confirm(&folder, "b", now);
    assert_eq!(verdicts(DAY), [Verdict::KeptUntil { until: now + 86_400 }]);
    let kept = inventory(&SystemDisk, base.path(), DAY).unwrap();
    let lines = table(&kept, now + 400);
    assert!(lines.contains("confirmed; deleted in 23 h 53 min\n    a: b/k/standup.mp4, confirmed\n"), "{lines}");
    let json = serde_json::to_value(&kept).unwrap();
    assert_eq!(json[0]["verdict"], "kept_until");
    assert_eq!(json[0]["storages"][1]["confirmed_at"], now);
    assert_eq!(verdicts(NO_TIME), [Verdict::Expired]);
}

#[test]
fn only_what_is_confirmed_is_swept_and_that_at_any_interruption() {
    let base_of_rest = base();
    let rest = killed(base_of_rest.path(), &["a", "b"], true);
    finalise(&SystemDisk, &rest).unwrap();
    confirm(&rest, "a", 1000);
    assert_eq!(sweep(&SystemDisk, base_of_rest.path(), NO_TIME).unwrap().len(), 0);
    assert!(rest.join("upload/recording.mp4").exists());
    for units in 0.. {
        let base = base();
        let folder = killed(base.path(), &["a", "b"], true);
        finalise(&SystemDisk, &folder).unwrap();
        confirm(&folder, "a", 1000);
        confirm(&folder, "b", 2000);
        let torn = TornDisk::new(units, Stop::Kill, Folders::Together);
        sweep(&torn, base.path(), NO_TIME).unwrap();
        let whole = !folder.exists();
        sweep(&SystemDisk, base.path(), NO_TIME).unwrap();
        assert_eq!(names(base.path()), ["standup.mp4"], "after {units}");
        if whole {
            assert!(units > 4, "{units}");
            break;
        }
    }
}

#[test]
fn a_recording_that_runs_is_not_touched() {
    let base = base();
    let folder = killed(base.path(), &["a"], true);
    let _lock = Spool::lock(&folder).unwrap();
    assert_eq!(sweep(&SystemDisk, base.path(), NO_TIME).unwrap().len(), 0);
    assert!(folder.join("recording.mp4").exists());
    assert!(SystemDisk.link(&folder.join("recording.mp4"), &folder.join("recording.mp4")).is_err(), "never over a file");
}
