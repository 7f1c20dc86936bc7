//! Recordings on their way into a real S3 storage: while they grow, on bad days, and when processes die.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

#[path = "s3/crashes.rs"]
mod crashes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder_core::keep::Keep;
use recorder_core::secret::Secret;
use recorder_core::upload::State;
use roomcast::storage::StorageError;
use roomcast::storage::disk::SystemDisk;
use roomcast::storage::inventory::{inventory, sweep};
use roomcast::storage::recording_uploads::{RecordingUploads, Stores, Uploads};
use roomcast::storage::s3::{Checksums, S3Settings, S3Store};
use world::bad_http::{Asked, BadHttp, Fate};
use world::s3::{S3Server, SECRET_KEY, settings};
use world::spool::{Take, headers};
use world::uploads::{Local, PICTURE, Session};

const MIB: u64 = 1 << 20;
const DAY: Keep = Keep::both(Duration::from_secs(86_400));

#[test]
fn a_recording_is_in_the_storage_seconds_after_its_end() {
    let server = S3Server::start();
    let session = Session::started(Local::Wanted, &server.settings());
    let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
    session.record(&mut take, 64 * MIB);
    // While it is recorded: all but the head, and the part that is not full.
    let sent = |uploads: &Uploads| uploads.each.first().map_or(0, |upload| upload.status.sent);
    session.until(Duration::from_secs(20), "all full parts are sent", |uploads| sent(uploads) >= 48 * MIB);
    assert_eq!(server.keys(), [""; 0]);
    assert_eq!(server.uploads(), ["team/standup.mp4"]);
    let stop = Instant::now();
    take.end();
    let finished = session.finalise();
    let uploads = session.until_over(Duration::from_secs(10));
    println!("64 MiB: {:?} from the stop to the confirmed object", stop.elapsed());
    assert_eq!(uploads.each[0].status.state, State::Stored);
    session.assert_stored(&server, "team/standup.mp4");
    assert_eq!(finished[0].file, session.base.path().join("standup.mp4"));
    assert!(std::fs::read(&finished[0].file).expect("the local file") == server.object("team/standup.mp4"));
    // Kept for a day, then not.
    assert_eq!(sweep(&SystemDisk, session.base.path(), DAY).expect("swept"), [""; 0].map(PathBuf::from));
    assert_eq!(sweep(&SystemDisk, session.base.path(), Keep::both(Duration::ZERO)).expect("swept"), [session.kept_file()]);
    assert!(!session.folder.exists());
    assert!(finished[0].file.exists(), "what the user wanted is not ours to delete");
}

#[test]
fn a_small_recording_for_the_storage_only() {
    let server = S3Server::start();
    let session = Session::started(Local::StorageOnly, &server.settings());
    session.recorded(2 * MIB);
    session.is_stored_within(Duration::from_secs(10), &server);
    let names: Vec<_> = std::fs::read_dir(session.base.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "nothing beside the spool: {names:?}");
    let kept = inventory(&SystemDisk, session.base.path(), DAY).expect("a list");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].storages[0].object, "recordings/team/standup.mp4");
    assert!(kept[0].storages[0].confirmed_at.is_some());
}

#[test]
fn each_file_of_a_recording_is_an_object() {
    let server = S3Server::start();
    let session = Session::started(Local::Wanted, &server.settings());
    for (number, height_px) in [(1, 360), (2, 480)] {
        let mut take = Take::begin(&session.folder, number, headers(height_px), PICTURE);
        session.record(&mut take, 20 * MIB);
        take.end();
    }
    let finished = session.finalise();
    session.until_over(Duration::from_secs(20));
    assert_eq!(server.keys(), ["team/standup-part2.mp4", "team/standup.mp4"]);
    assert_eq!(server.uploads(), [""; 0]);
    for (finished, key) in finished.iter().zip(["team/standup.mp4", "team/standup-part2.mp4"]) {
        assert!(std::fs::read(&finished.file).expect("the file") == server.object(key), "{key}");
    }
}

#[test]
fn a_take_that_is_appended_goes_into_the_same_object() {
    let server = S3Server::start();
    let session = Session::started(Local::Wanted, &server.settings());
    for number in [1, 2] {
        let mut take = Take::begin(&session.folder, number, headers(360), PICTURE);
        session.record(&mut take, u64::from(number) * 20 * MIB);
        take.end();
    }
    session.finalise();
    session.is_stored_within(Duration::from_secs(20), &server);
}

#[test]
fn an_object_of_somebody_else_stays() {
    let server = S3Server::start();
    server.store("team/standup.mp4", b"somebody else's");
    let session = Session::started(Local::Wanted, &server.settings());
    session.recorded(20 * MIB);
    let uploads = session.until_over(Duration::from_secs(20));
    assert_eq!(uploads.each[0].status.key, "team/standup-2.mp4");
    assert_eq!(server.object("team/standup.mp4"), b"somebody else's");
    assert!(server.object("team/standup-2.mp4") == std::fs::read(session.kept_file()).expect("kept"));
}

#[test]
fn a_wrong_key_is_told_at_once_and_mended_by_the_right_one() {
    let server = S3Server::start();
    for (access, secret) in [(world::s3::ACCESS_KEY, "wrong"), ("nobody", SECRET_KEY)] {
        let wrong = S3Settings { access_key: Secret::new(access), secret_key: Secret::new(secret), ..server.settings() };
        let mut session = Session::started(Local::Wanted, &wrong);
        let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
        session.record(&mut take, MIB);
        session.until_refused("does not accept the access key or its secret");
        // The recording does not care.
        session.record(&mut take, 20 * MIB);
        take.end();
        session.finalise();
        session.until_refused("does not accept the access key or its secret");
        assert_eq!(sweep(&SystemDisk, session.base.path(), Keep::both(Duration::ZERO)).expect("swept").len(), 0, "never deleted");
        if access == "nobody" {
            session.go_on(&server.settings());
            session.is_stored_within(Duration::from_secs(20), &server);
        }
    }
}

#[test]
fn nobody_else_uploads_from_a_folder_that_is_being_uploaded() {
    let server = S3Server::start();
    let session = Session::started(Local::Wanted, &server.settings());
    let second = RecordingUploads::start(Stores::new(), Arc::new(SystemDisk), session.folder.clone());
    assert!(matches!(second, Err(StorageError::Busy { .. })), "{second:?}");
    session.recorded(2 * MIB);
    session.is_stored_within(Duration::from_secs(20), &server);
}

#[test]
fn a_missing_bucket_is_told_at_once_and_found_when_it_is_made() {
    let server = S3Server::start();
    let session = Session::started(Local::Wanted, &S3Settings { bucket: "missing".into(), ..server.settings() });
    session.recorded(2 * MIB);
    session.until_refused("the bucket does not exist");
    server.make_bucket("missing");
    session.until_over(Duration::from_secs(30));
}

#[test]
fn a_storage_that_knows_no_checksums_gets_none() {
    let server = S3Server::start();
    let proxy = BadHttp::before(server.port, |asked| {
        let carries =
            ["x-amz-checksum-", "x-amz-sdk-checksum-algorithm", "x-amz-trailer"].iter().any(|name| asked.headers.contains(name));
        if carries { Fate::Answer(501) } else { Fate::Pass }
    });
    let mut session =
        Session::started(Local::Wanted, &S3Settings { checksums: Checksums::WhenSupported, ..settings(&proxy.url()) });
    session.recorded(20 * MIB);
    session.until_refused("the storage refuses it (status 501)");
    session.go_on(&settings(&proxy.url()));
    session.is_stored_within(Duration::from_secs(20), &server);
}

#[test]
fn a_certificate_of_its_own_is_trusted_only_when_it_is_named() {
    let (server, certificate) = S3Server::start_with_tls();
    let mut session = Session::started(Local::Wanted, &server.settings());
    session.recorded(20 * MIB);
    session.until_refused("certificate is not trusted");
    session.go_on(&S3Settings { ca_file: Some(certificate), ..server.settings() });
    session.is_stored_within(Duration::from_secs(20), &server);
}

#[test]
fn three_answers_of_ten_are_errors() {
    let server = S3Server::start();
    let mut dice = Dice(30);
    let proxy = BadHttp::before(server.port, move |_| match dice.below(100) {
        0..=9 => Fate::Answer(503),
        10..=19 => Fate::Answer(500),
        20..=29 => Fate::PassButAnswer(500),
        _ => Fate::Pass,
    });
    let session = Session::started(Local::Wanted, &settings(&proxy.url()));
    session.recorded(100 * MIB);
    session.is_stored_within(Duration::from_secs(60), &server);
}

#[test]
fn a_storage_that_refuses_connections_for_a_while() {
    let server = S3Server::start();
    let mut proxy = BadHttp::before(server.port, |_| Fate::Pass);
    let session = Session::started(Local::Wanted, &settings(&proxy.url()));
    let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
    session.record(&mut take, 24 * MIB);
    session.until(Duration::from_secs(10), "a part is sent", |uploads| uploads.each[0].status.sent >= 8 * MIB);
    proxy.set_open(false);
    session.record(&mut take, 60 * MIB);
    let refused = |uploads: &Uploads| matches!(&uploads.each[0].status.state, State::Retrying(fault) if fault.sentence.contains("cannot be reached"));
    session.until(Duration::from_secs(5), "it is told", refused);
    // The end of the recording does not wait for it either.
    let stop = Instant::now();
    take.end();
    session.finalise();
    assert!(stop.elapsed() < Duration::from_secs(5), "{:?}", stop.elapsed());
    proxy.set_open(true);
    session.is_stored_within(Duration::from_secs(30), &server);
}

#[test]
fn the_storage_itself_is_killed_in_the_middle() {
    let mut server = S3Server::start();
    let session = Session::started(Local::Wanted, &server.settings());
    let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
    session.record(&mut take, 40 * MIB);
    session.until(Duration::from_secs(10), "a part is sent", |uploads| uploads.each[0].status.sent >= 8 * MIB);
    server.kill();
    session.record(&mut take, 60 * MIB);
    server.come_back();
    take.end();
    session.finalise();
    session.is_stored_within(Duration::from_secs(30), &server);
}

#[test]
fn one_megabit_a_second_is_slow_and_no_error() {
    let server = S3Server::start();
    let proxy = BadHttp::before(server.port, |_| Fate::Pass);
    proxy.limit(1_000_000);
    let session = Session::started(Local::Wanted, &settings(&proxy.url()));
    let begin = Instant::now();
    session.recorded(1_200_000);
    assert!(begin.elapsed() < Duration::from_secs(2), "recording and ending do not wait for the storage: {:?}", begin.elapsed());
    let seen = session.until_over(Duration::from_secs(40));
    assert!(begin.elapsed() > Duration::from_secs(8), "it was slow: {:?}", begin.elapsed());
    assert_eq!(seen.each[0].status.state, State::Stored);
    session.assert_stored(&server, "team/standup.mp4");
    // The SDK's protection against streams that stand still did not take it for one.
    assert!(proxy.asked() <= 5, "{} requests", proxy.asked());
}

#[test]
fn lost_answers_and_cut_bodies() {
    let lost_complete: fn(&Asked, u64) -> Fate = |asked, before| match asked.is_complete() && before < 2 {
        true => Fate::LoseAnswer,
        false => Fate::Pass,
    };
    let complete_answers_500: fn(&Asked, u64) -> Fate = |asked, before| match asked.is_complete() && before < 1 {
        true => Fate::PassButAnswer(500),
        false => Fate::Pass,
    };
    let complete_never_arrives: fn(&Asked, u64) -> Fate = |asked, before| match asked.is_complete() && before < 2 {
        true => Fate::CutAfter(10),
        false => Fate::Pass,
    };
    let cut_parts: fn(&Asked, u64) -> Fate = |asked, before| match asked.is_part() && before < 3 {
        true => Fate::CutAfter(3 * MIB),
        false => Fate::Pass,
    };
    let lost_create: fn(&Asked, u64) -> Fate =
        |asked, before| match asked.target.ends_with("?uploads") && before < 2 && asked.method == "POST" {
            true => Fate::LoseAnswer,
            false => Fate::Pass,
        };
    for (name, judge) in [
        ("the answer to Complete is lost", lost_complete),
        ("Complete is done, and answered with an error", complete_answers_500),
        ("Complete is cut", complete_never_arrives),
        ("parts are cut", cut_parts),
        ("the answer to Create is lost", lost_create),
    ] {
        let server = S3Server::start();
        let mut times = 0;
        let proxy = BadHttp::before(server.port, move |asked| {
            let fate = judge(asked, times);
            times += u64::from(fate != Fate::Pass);
            fate
        });
        let session = Session::started(Local::Wanted, &settings(&proxy.url()));
        session.recorded(30 * MIB);
        session.until_over(Duration::from_secs(30));
        println!("{name}: {} requests", proxy.asked());
        session.assert_stored(&server, "team/standup.mp4");
    }
}

#[test]
fn secrets_are_in_no_text() {
    let settings = settings("http://127.0.0.1:1");
    let store = S3Store::new(&settings).expect("a client");
    for text in [format!("{settings:?}"), format!("{store:?}")] {
        assert!(!text.contains(SECRET_KEY), "{text}");
    }
}

/// Random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
