use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recorder_core::controller_upload::{Record, Step};
use recorder_core::ids::SessionId;
use recorder_core::keep::{Keep, Verdict};

use super::controller_outbox::{FilmNote, Plan, is_waiting};
use super::disk::SystemDisk;
use super::finalise_tests::{base, growing, names, part};
use super::inventory::{inventory, sweep, table};
use super::outbox::{self, UploadTarget, unix_now};
use super::spool::{FOLDER_ENDING, remove_unrecorded};
use super::torn_disk::{Folders, Stop, TornDisk};
use super::{Spool, StorageError, finalise};

const NO_TIME: Keep = Keep::both(Duration::ZERO);
const ROOM: &str = "266e89b7-016a-480a-9384-4de7ccc9e62d";
/// 2026-11-21T05:00:00Z
const BEGAN_AT: u64 = 1_795_237_200;

/// A spool folder of a killed recording that is meant for the controller.
fn killed(base: &Path) -> PathBuf {
    let id = SessionId::new("s");
    let mut spool = Spool::create_for_uploads(&SystemDisk, &base.join(format!("s{FOLDER_ENDING}")), &id).unwrap();
    Plan::new(id, ROOM, BEGAN_AT).save(&SystemDisk, spool.folder()).unwrap();
    spool.notes_mut().parts.push(part("recording.mp4"));
    spool.save(&SystemDisk).unwrap();
    fs::write(spool.folder().join("recording.mp4"), growing()).unwrap();
    spool.folder().to_path_buf()
}

fn note(folder: &Path, step: Step, left_behind: u32, delivered_at: Option<u64>) {
    let mut plan = Plan::read(folder).unwrap().unwrap();
    plan.films.insert("recording.mp4".into(), FilmNote { record: Record { step, left_behind }, delivered_at });
    plan.save(&SystemDisk, folder).unwrap();
}

fn verdicts(base: &Path, keep: Keep) -> Vec<Verdict> {
    inventory(&SystemDisk, base, keep).unwrap().iter().map(|kept| kept.verdict).collect()
}

#[test]
fn a_plan_is_there_before_the_first_byte_and_outlives_whoever_made_it() {
    let base = base();
    let folder = killed(base.path());
    assert!(is_waiting(&folder).unwrap(), "there may be something soon");
    finalise(&SystemDisk, &folder).unwrap();
    assert_eq!(names(&folder.join("upload")), ["controller.json", "recording.mp4"]);
    let plan = Plan::read(&folder).unwrap().unwrap();
    let films = plan.films(&folder);
    assert_eq!((films.len(), films[0].name.as_str(), films[0].note), (1, "recording.mp4", FilmNote::default()));
    assert!(is_waiting(&folder).unwrap());
    note(&folder, Step::Delivered, 0, Some(7));
    assert!(!is_waiting(&folder).unwrap());
    assert!(!is_waiting(base.path()).unwrap(), "of no plan");
    fs::write(folder.join("upload/controller.json"), "{\"version\":1}").unwrap();
    assert!(matches!(is_waiting(&folder), Err(StorageError::Notes { .. })));
}

#[test]
fn no_two_films_are_told_the_same_beginning() {
    let base = base();
    let folder = killed(base.path());
    finalise(&SystemDisk, &folder).unwrap();
    fs::write(folder.join("upload/recording-2.mp4"), growing()).unwrap();
    let plan = Plan::read(&folder).unwrap().unwrap();
    let films = plan.films(&folder);
    assert_eq!(plan.told_beginning(&films[0], 0), BEGAN_AT);
    let all: std::collections::BTreeSet<u64> =
        films.iter().flat_map(|film| (0..5).map(|connection| plan.told_beginning(film, connection))).collect();
    assert_eq!((films.len(), all.len()), (2, 10));
}

#[test]
fn what_is_not_delivered_is_kept_for_ever_and_what_is_for_some_days() {
    let base = base();
    let folder = killed(base.path());
    assert_eq!(verdicts(base.path(), NO_TIME), [Verdict::Growing]);
    finalise(&SystemDisk, &folder).unwrap();
    for step in [Step::Waiting, Step::Sending] {
        note(&folder, step, 1, None);
        assert_eq!(verdicts(base.path(), NO_TIME), [Verdict::Unconfirmed]);
        assert_eq!(sweep(&SystemDisk, base.path(), NO_TIME).unwrap().len(), 0);
    }
    let kept = inventory(&SystemDisk, base.path(), NO_TIME).unwrap();
    let lines = table(&kept, 0);
    let told = format!(
        "not delivered: kept until it is\n    controller: room {ROOM}, not delivered; `roomcast serve` goes on with it; \
         shortened recordings that it may list beside it: 1\n"
    );
    assert!(lines.ends_with(&told), "{lines}");

    let now = unix_now();
    note(&folder, Step::Delivered, 0, Some(now));
    let keep = Keep { confirmed: Duration::ZERO, delivered: Duration::from_secs(7 * 86_400) };
    assert_eq!(verdicts(base.path(), keep), [Verdict::KeptUntil { until: now + 7 * 86_400 }]);
    let kept = inventory(&SystemDisk, base.path(), keep).unwrap();
    let lines = table(&kept, now);
    assert!(
        lines.contains(&format!("delivered; deleted in 168 h 0 min\n    controller: room {ROOM}, delivered, not confirmed\n")),
        "{lines}"
    );
    let json = serde_json::to_value(&kept).unwrap();
    assert_eq!(json[0]["storages"][0]["delivered_at"], now);
    assert_eq!(json[0]["storages"][0]["sent"], kept[0].bytes);
}

#[test]
fn a_storage_and_the_controller_both_must_have_it() {
    let base = base();
    let folder = killed(base.path());
    let target = UploadTarget { storage: "a".into(), bucket: "b".into(), key: "k.mp4".into() };
    outbox::declare(&SystemDisk, &folder, &SessionId::new("s"), &[target]).unwrap();
    finalise(&SystemDisk, &folder).unwrap();
    note(&folder, Step::Delivered, 0, Some(1000));
    assert_eq!(verdicts(base.path(), NO_TIME), [Verdict::Unconfirmed], "the storage has nothing");
    for mut out in outbox::outgoing(&folder).unwrap() {
        let stored = recorder_core::upload::Record { step: recorder_core::upload::Step::Stored, ..out.journal.upload.clone() };
        out.save(&SystemDisk, stored).unwrap();
    }
    let kept = inventory(&SystemDisk, base.path(), Keep::both(Duration::from_secs(86_400))).unwrap();
    assert_eq!(kept.len(), 1, "one file: {kept:?}");
    assert!(table(&kept, unix_now()).contains("  confirmed and delivered; deleted in 2"), "{}", table(&kept, unix_now()));
    note(&folder, Step::Sending, 0, None);
    assert_eq!(verdicts(base.path(), NO_TIME), [Verdict::Unconfirmed], "the controller has nothing");
}

#[test]
fn what_is_delivered_is_swept_at_any_interruption() {
    for units in 0.. {
        let base = base();
        let folder = killed(base.path());
        finalise(&SystemDisk, &folder).unwrap();
        note(&folder, Step::Delivered, 0, Some(1000));
        let torn = TornDisk::new(units, Stop::Kill, Folders::Together);
        sweep(&torn, base.path(), NO_TIME).unwrap();
        let whole = !folder.exists();
        sweep(&SystemDisk, base.path(), NO_TIME).unwrap();
        assert_eq!(names(base.path()), [""; 0], "after {units}");
        if whole {
            assert!(units > 3, "{units}");
            break;
        }
    }
}

#[test]
fn a_folder_in_which_nothing_was_recorded_is_removed_with_its_plan() {
    let base = base();
    let folder = killed(base.path());
    fs::remove_file(folder.join("recording.mp4")).unwrap();
    assert!(remove_unrecorded(&folder));
    assert_eq!(names(base.path()), [""; 0]);
}
