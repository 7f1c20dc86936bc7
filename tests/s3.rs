//! Recordings on their way into a real S3 storage: while they grow, on bad days, and when processes die.

#![allow(clippy::expect_used, clippy::panic)]

mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder_core::ids::SessionId;
use recorder_core::secret::Secret;
use recorder_core::upload::State;
use roomcast::storage::disk::SystemDisk;
use roomcast::storage::inventory::{inventory, sweep};
use roomcast::storage::outbox::{self, UploadTarget};
use roomcast::storage::recording_uploads::Uploads;
use roomcast::storage::s3::{Checksums, S3Settings, S3Store};
use roomcast::storage::{RecordingUploads, Spool, finalise};
use world::bad_http::{Asked, BadHttp, Fate};
use world::s3::{S3Server, SECRET_KEY, settings};
use world::spool::{Take, headers};

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
/// Of a picture, so that a recording is large soon.
const PICTURE: usize = 300_000;

/// A supervisor's part of a Session whose recording goes into the storage `archive`.
struct Session {
    base: tempfile::TempDir,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
    uploads: Option<RecordingUploads>,
}

/// Where the recording is wanted beside the storage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Local {
    Wanted,
    StorageOnly,
}

impl Session {
    fn new(local: Local) -> Self {
        let base = tempfile::tempdir().expect("a folder");
        let wanted = base.path().join("standup.mp4");
        let id = SessionId::new("session-1");
        let spool = match local {
            Local::Wanted => Spool::create(&SystemDisk, &wanted, &id),
            Local::StorageOnly => Spool::create_for_uploads(&SystemDisk, &base.path().join("session-1.roomcast"), &id),
        };
        let folder = spool.expect("a spool").folder().to_path_buf();
        let target = UploadTarget { storage: "archive".into(), bucket: "recordings".into(), key: "team/standup.mp4".into() };
        outbox::declare(&SystemDisk, &folder, &id, &[target]).expect("declared");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        Self { base, folder, runtime, uploads: None }
    }

    /// Starts the uploads, or goes on with them as a new process does.
    fn start(&mut self, settings: &S3Settings) {
        self.uploads = None;
        let store = S3Store::new(settings).expect("a client");
        let _inside = self.runtime.enter();
        let stores = BTreeMap::from([("archive".to_owned(), Arc::new(store) as Arc<_>)]);
        self.uploads = Some(RecordingUploads::start(stores, Arc::new(SystemDisk), self.folder.clone()));
    }

    fn uploads(&self) -> &RecordingUploads {
        self.uploads.as_ref().expect("started")
    }

    /// Records until the disk has so many bytes, and tells the uploads on the way.
    fn record(&self, take: &mut Take, bytes: u64) {
        while take.bytes < bytes {
            take.grow_to((take.bytes + MIB).min(bytes));
            self.uploads().written(&take.file, take.bytes);
        }
    }

    /// A recording of this length, ended, with uploads that run.
    fn recorded(&self, bytes: u64) {
        let mut take = Take::begin(&self.folder, 1, headers(360), PICTURE.min(bytes as usize / 4));
        self.record(&mut take, bytes);
        take.end();
        finalise(&SystemDisk, &self.folder).expect("finalised");
        self.uploads().finalised();
    }

    /// Waits until the uploads stand so.
    fn until(&self, limit: Duration, what: &str, is_so: impl Fn(&Uploads) -> bool) -> Uploads {
        let mut status = self.uploads().status();
        let last = status.clone();
        let seen = self.runtime.block_on(async {
            tokio::time::timeout(limit, status.wait_for(|uploads| is_so(uploads)))
                .await
                .map(|seen| seen.expect("it runs").clone())
        });
        seen.unwrap_or_else(|_| panic!("not within {limit:?}: {what}; {:?}", last.borrow()))
    }

    fn until_over(&self, limit: Duration) -> Uploads {
        self.until(limit, "all uploads are over", |uploads| uploads.over)
    }

    fn until_refused(&self, words: &str) {
        let refused = |uploads: &Uploads| {
            uploads
                .each
                .iter()
                .any(|upload| matches!(&upload.status.state, State::Refused(fault) if fault.sentence.contains(words)))
        };
        self.until(Duration::from_secs(5), words, refused);
    }

    fn kept_file(&self) -> PathBuf {
        self.folder.join("upload/recording.mp4")
    }

    /// Exactly one object, with the bytes of the local copy, which is kept; nothing unfinished; and nothing secret in the folder.
    fn assert_stored(&self, server: &S3Server, key: &str) {
        assert_eq!(server.keys(), [key]);
        assert_eq!(server.uploads(), [""; 0]);
        let kept = std::fs::read(self.kept_file()).expect("the local copy is kept");
        assert!(server.object(key) == kept, "other bytes");
        assert!(outbox::ended_len(&SystemDisk, &self.kept_file()).expect("readable").is_some(), "an ordinary MP4");
        for entry in std::fs::read_dir(self.folder.join("upload")).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = std::fs::read_to_string(path).expect("a journal");
                assert!(!text.contains(SECRET_KEY), "{text}");
            }
        }
    }
}

#[test]
fn a_recording_is_in_the_storage_seconds_after_its_end() {
    let server = S3Server::start();
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
    let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
    session.record(&mut take, 64 * MIB);
    // While it is recorded: all but the head, and the part that is not full.
    let sent = |uploads: &Uploads| uploads.each.first().map_or(0, |upload| upload.status.sent);
    session.until(Duration::from_secs(20), "all full parts are sent", |uploads| sent(uploads) >= 48 * MIB);
    assert_eq!(server.keys(), [""; 0]);
    assert_eq!(server.uploads(), ["team/standup.mp4"]);
    let stop = Instant::now();
    take.end();
    let finished = finalise(&SystemDisk, &session.folder).expect("finalised");
    session.uploads().finalised();
    let uploads = session.until_over(Duration::from_secs(10));
    println!("64 MiB: {:?} from the stop to the confirmed object", stop.elapsed());
    assert_eq!(uploads.each[0].status.state, State::Stored);
    session.assert_stored(&server, "team/standup.mp4");
    assert_eq!(finished[0].file, session.base.path().join("standup.mp4"));
    assert!(std::fs::read(&finished[0].file).expect("the local file") == server.object("team/standup.mp4"));
    // Kept for a day, then not.
    assert_eq!(sweep(&SystemDisk, session.base.path(), DAY).expect("swept"), [""; 0].map(PathBuf::from));
    assert_eq!(sweep(&SystemDisk, session.base.path(), Duration::ZERO).expect("swept"), [session.kept_file()]);
    assert!(!session.folder.exists());
    assert!(finished[0].file.exists(), "what the user wanted is not ours to delete");
}

#[test]
fn a_small_recording_for_the_storage_only() {
    let server = S3Server::start();
    let mut session = Session::new(Local::StorageOnly);
    session.start(&server.settings());
    session.recorded(2 * MIB);
    session.until_over(Duration::from_secs(10));
    session.assert_stored(&server, "team/standup.mp4");
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
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
    for (number, height_px) in [(1, 360), (2, 480)] {
        let mut take = Take::begin(&session.folder, number, headers(height_px), PICTURE);
        session.record(&mut take, 20 * MIB);
        take.end();
    }
    let finished = finalise(&SystemDisk, &session.folder).expect("finalised");
    session.uploads().finalised();
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
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
    for number in [1, 2] {
        let mut take = Take::begin(&session.folder, number, headers(360), PICTURE);
        session.record(&mut take, u64::from(number) * 20 * MIB);
        take.end();
    }
    finalise(&SystemDisk, &session.folder).expect("finalised");
    session.uploads().finalised();
    session.until_over(Duration::from_secs(20));
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn an_object_of_somebody_else_stays() {
    let server = S3Server::start();
    server.store("team/standup.mp4", b"somebody else's");
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
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
        let mut session = Session::new(Local::Wanted);
        session.start(&wrong);
        let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
        session.record(&mut take, MIB);
        session.until_refused("does not accept the access key or its secret");
        // The recording does not care.
        session.record(&mut take, 20 * MIB);
        take.end();
        finalise(&SystemDisk, &session.folder).expect("finalised");
        session.uploads().finalised();
        session.until_refused("does not accept the access key or its secret");
        assert_eq!(sweep(&SystemDisk, session.base.path(), Duration::ZERO).expect("swept").len(), 0, "never deleted");
        if access == "nobody" {
            session.start(&server.settings());
            session.uploads().finalised();
            session.until_over(Duration::from_secs(20));
            session.assert_stored(&server, "team/standup.mp4");
        }
    }
}

#[test]
fn a_missing_bucket_is_told_at_once_and_found_when_it_is_made() {
    let server = S3Server::start();
    let mut session = Session::new(Local::Wanted);
    session.start(&S3Settings { bucket: "missing".into(), ..server.settings() });
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
    let mut session = Session::new(Local::Wanted);
    session.start(&S3Settings { checksums: Checksums::WhenSupported, ..settings(&proxy.url()) });
    session.recorded(20 * MIB);
    session.until_refused("the storage refuses it (status 501)");
    session.start(&settings(&proxy.url()));
    session.uploads().finalised();
    session.until_over(Duration::from_secs(20));
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn a_certificate_of_its_own_is_trusted_only_when_it_is_named() {
    let (server, certificate) = S3Server::start_with_tls();
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
    session.recorded(20 * MIB);
    session.until_refused("certificate is not trusted");
    session.start(&S3Settings { ca_file: Some(certificate), ..server.settings() });
    session.uploads().finalised();
    session.until_over(Duration::from_secs(20));
    session.assert_stored(&server, "team/standup.mp4");
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
    let mut session = Session::new(Local::Wanted);
    session.start(&settings(&proxy.url()));
    session.recorded(100 * MIB);
    session.until_over(Duration::from_secs(60));
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn a_storage_that_refuses_connections_for_a_while() {
    let server = S3Server::start();
    let mut proxy = BadHttp::before(server.port, |_| Fate::Pass);
    let mut session = Session::new(Local::Wanted);
    session.start(&settings(&proxy.url()));
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
    finalise(&SystemDisk, &session.folder).expect("finalised");
    assert!(stop.elapsed() < Duration::from_secs(5), "{:?}", stop.elapsed());
    session.uploads().finalised();
    proxy.set_open(true);
    session.until_over(Duration::from_secs(30));
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn the_storage_itself_is_killed_in_the_middle() {
    let mut server = S3Server::start();
    let mut session = Session::new(Local::Wanted);
    session.start(&server.settings());
    let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
    session.record(&mut take, 40 * MIB);
    session.until(Duration::from_secs(10), "a part is sent", |uploads| uploads.each[0].status.sent >= 8 * MIB);
    server.kill();
    session.record(&mut take, 60 * MIB);
    server.come_back();
    take.end();
    finalise(&SystemDisk, &session.folder).expect("finalised");
    session.uploads().finalised();
    session.until_over(Duration::from_secs(30));
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn one_megabit_a_second_is_slow_and_no_error() {
    let server = S3Server::start();
    let proxy = BadHttp::before(server.port, |_| Fate::Pass);
    proxy.limit(1_000_000);
    let mut session = Session::new(Local::Wanted);
    session.start(&settings(&proxy.url()));
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
        let mut session = Session::new(Local::Wanted);
        session.start(&settings(&proxy.url()));
        session.recorded(30 * MIB);
        session.until_over(Duration::from_secs(30));
        println!("{name}: {} requests", proxy.asked());
        session.assert_stored(&server, "team/standup.mp4");
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

mod crashes {
    //! The uploading process dies before or after any request.

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use recorder_core::upload::{Answer, Request, Trouble};
    use roomcast::storage::uploader::ObjectStore;
    use tokio::sync::Notify;

    use super::*;

    /// When it dies.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum When {
        /// What goes before is saved; the request is not made.
        Before,
        /// The storage did it; nobody heard, and nothing was saved of it.
        After,
    }

    /// A storage whose n-th request is the process's last.
    pub(super) struct Deadly {
        store: S3Store,
        left: std::sync::atomic::AtomicU64,
        when: When,
        died: Arc<Notify>,
    }

    impl ObjectStore for Deadly {
        fn perform(&self, request: Request, file: Arc<Path>) -> BoxFuture<'static, Result<Answer, Trouble>> {
            use std::sync::atomic::Ordering;
            let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if left.is_ok() {
                return self.store.perform(request, file);
            }
            let done = match self.when {
                When::Before => None,
                When::After => Some(self.store.perform(request, file)),
            };
            let died = self.died.clone();
            async move {
                if let Some(done) = done {
                    let _ = done.await;
                }
                died.notify_one();
                std::future::pending().await
            }
            .boxed()
        }
    }

    impl Session {
        /// Starts a process that dies at its n-th request.
        pub(super) fn start_deadly(&mut self, server: &S3Server, requests: u64, when: When) -> Arc<Notify> {
            self.uploads = None;
            let died = Arc::new(Notify::new());
            let store = S3Store::new(&server.settings()).expect("a client");
            let store = Deadly { store, left: requests.into(), when, died: died.clone() };
            let _inside = self.runtime.enter();
            let stores = BTreeMap::from([("archive".to_owned(), Arc::new(store) as Arc<_>)]);
            self.uploads = Some(RecordingUploads::start(stores, Arc::new(SystemDisk), self.folder.clone()));
            died
        }

        /// Until it died, or has nothing left to do.
        pub(super) fn until_dead(&self, died: &Notify) -> bool {
            let mut status = self.uploads().status();
            self.runtime.block_on(async {
                let over = status.wait_for(|uploads| uploads.over);
                tokio::time::timeout(Duration::from_secs(30), async {
                    tokio::select! { () = died.notified() => true, _ = over => false }
                })
                .await
                .expect("it neither dies nor ends")
            })
        }
    }
}

#[test]
fn killed_between_any_two_steps_fifty_times() {
    use crashes::When;
    let mut deaths = 0;
    let begin = Instant::now();
    for seed in 0..50 {
        let mut dice = Dice(seed);
        // A storage for some of them, so that each begins with an empty one.
        let server = S3Server::start();
        let mut session = Session::new(if seed % 2 == 0 { Local::Wanted } else { Local::StorageOnly });
        let len = [2 * MIB, 14 * MIB, 22 * MIB, 30 * MIB][dice.below(4) as usize];
        let when = |dice: &mut Dice| if dice.below(2) == 0 { When::Before } else { When::After };
        let first = (dice.below(8), when(&mut dice));
        let mut died = session.start_deadly(&server, first.0, first.1);
        let mut take = Take::begin(&session.folder, 1, headers(360), PICTURE);
        session.record(&mut take, len / 2);
        if dice.below(2) == 0 {
            // While it records: the new process hears of the file as it is now.
            deaths += 1;
            died = session.start_deadly(&server, dice.below(6), when(&mut dice));
            session.uploads().written(&take.file, take.bytes);
        }
        session.record(&mut take, len);
        take.end();
        finalise(&SystemDisk, &session.folder).expect("finalised");
        session.uploads().finalised();
        for _ in 0..1 + dice.below(4) {
            if !session.until_dead(&died) {
                break;
            }
            deaths += 1;
            assert!(session.kept_file().exists());
            assert_eq!(sweep(&SystemDisk, session.base.path(), Duration::ZERO).expect("swept").len(), 0);
            died = session.start_deadly(&server, dice.below(6), when(&mut dice));
            session.uploads().finalised();
        }
        session.start(&server.settings());
        session.uploads().finalised();
        session.until_over(Duration::from_secs(30));
        session.assert_stored(&server, "team/standup.mp4");
    }
    println!("{deaths} deaths in 50 recordings, {:?}", begin.elapsed());
    assert!(deaths > 80, "{deaths}");
}

/// What a child process uploads; see [`a_process_is_killed_while_it_uploads`].
const CHILD: &str = "ROOMCAST_TEST_UPLOAD";

/// Not a test by itself: the process that is killed.
#[test]
fn child_process_that_uploads() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (url, folder) = text.split_once(' ').expect("an address and a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let store = S3Store::new(&settings(url)).expect("a client");
    let stores = BTreeMap::from([("archive".to_owned(), Arc::new(store) as Arc<_>)]);
    runtime.block_on(async {
        let mut uploads = RecordingUploads::start(stores, Arc::new(SystemDisk), folder.into());
        uploads.finalised();
        uploads.over().await;
    });
}

#[test]
fn a_process_is_killed_while_it_uploads() {
    let server = S3Server::start();
    let requests = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let kill_at = Arc::new(std::sync::atomic::AtomicU64::new(0));
    // A process is killed while its n-th request is under way: the proxy tells, and keeps the answer back.
    let (tell, told) = std::sync::mpsc::channel();
    let proxy = BadHttp::before(server.port, {
        let (requests, kill_at) = (requests.clone(), kill_at.clone());
        move |asked| {
            use std::sync::atomic::Ordering::SeqCst;
            if requests.fetch_add(1, SeqCst) == kill_at.load(SeqCst) {
                let _ = tell.send(());
                return if asked.is_part() { Fate::CutAfter(2 * MIB) } else { Fate::LoseAnswer };
            }
            Fate::Pass
        }
    });
    let mut session = Session::new(Local::Wanted);
    // Uploads that never get anywhere, so that the file is left for the processes.
    session.start(&settings("http://127.0.0.1:1"));
    session.recorded(40 * MIB);
    session.uploads = None;
    let child = || {
        std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_process_that_uploads"])
            .env(CHILD, format!("{} {}", proxy.url(), session.folder.display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it runs")
    };
    let mut dice = Dice(9);
    for round in 0..10 {
        use std::sync::atomic::Ordering::SeqCst;
        requests.store(0, SeqCst);
        kill_at.store(dice.below(5), SeqCst);
        let mut child = child();
        told.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("round {round}: it asks nothing"));
        world::signal(&child, nix::sys::signal::Signal::SIGKILL);
        let _ = child.wait();
        if inventory(&SystemDisk, session.base.path(), DAY).expect("a list")[0].storages[0].confirmed_at.is_some() {
            println!("confirmed after {round} rounds");
            break;
        }
    }
    kill_at.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
    let mut last = child();
    let ended = world::wait(&mut last, Duration::from_secs(60));
    if ended.is_none() {
        let _ = last.kill();
    }
    assert!(ended.expect("it ends").success());
    session.assert_stored(&server, "team/standup.mp4");
}

#[test]
fn secrets_are_in_no_text() {
    let settings = settings("http://127.0.0.1:1");
    let store = S3Store::new(&settings).expect("a client");
    for text in [format!("{settings:?}"), format!("{store:?}")] {
        assert!(!text.contains(SECRET_KEY), "{text}");
    }
}
