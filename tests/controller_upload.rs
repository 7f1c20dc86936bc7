//! Finished recordings, handed to the controller of their room in each way in which that goes wrong: what people are told, what the controller lists, and
//! what is kept. The recordings are made as fast as the disk takes them, without a room; but for the last test, in which a moderator clicks.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use recorder_core::controller_upload::{Refusal, State};
use recorder_core::fault::{Blame, Fault};
use recorder_core::ids::SessionId;
use recorder_core::keep::{Keep, Verdict};
use recorder_core::secret::Secret;
use roomcast::conference::opentalk::controller::Controller as Address;
use roomcast::service::board::Board;
use roomcast::service::courier::connect;
use roomcast::service::keeping::{Keeping, Naming};
use roomcast::storage::controller_upload::{Courier, HandOver, Passage};
use roomcast::storage::disk::SystemDisk;
use roomcast::storage::inventory::inventory;
use roomcast::storage::recording_uploads::Stores;
use roomcast::trust::Trust;
use tokio::sync::oneshot;
use world::controller::{Asset, Controller, Roles, RoomPlan, Setup, Tokens, UploadFate};
use world::log::Log;
use world::meeting::Meeting;
use world::opentalk::{Installation, OPERATORS};
use world::product::Product;
use world::recording::one_room_at_a_time;
use world::s3::S3Server;
use world::spool::{Take, headers};
use world::until;

const MIB: u64 = 1 << 20;
/// So large is a part of a small film.
const PART: u64 = 5 * MIB;
/// The controller is no slower than memory.
const FAST: u64 = 1 << 30;
const TOKEN: &str = "canary-token-of-the-recorder";
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Nothing takes longer, on a busy machine either: two connections, and the pause between them.
const LONG: Duration = Duration::from_secs(40);
const GIVEN_UP: &str = "the upload to the controller is given up until the next start";

/// Asks nobody for its token.
struct TokenBearer(Address);

impl Courier for TokenBearer {
    fn open(&self, room: String, began_at: u64) -> BoxFuture<'static, Result<Box<dyn Passage>, Refusal>> {
        let address = self.0.clone();
        Box::pin(async move {
            let link: Box<dyn Passage> = Box::new(connect(&address, &Secret::new(TOKEN), &room, began_at).await?);
            Ok(link)
        })
    }
}

/// A service without rooms, beside a controller.
struct Desk {
    controller: Controller,
    room: String,
    base: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    keeping: Keeping,
    log: Log,
}

impl Desk {
    fn new(rate: u64) -> Desk {
        let log = Log::start();
        let tokens = Tokens::Listed(vec![(TOKEN.into(), Roles::Recorder)]);
        let controller = Controller::start(Setup { tokens, ..Setup::simple("ws://127.0.0.1:1") });
        let room = controller.plan(RoomPlan::titled("Weekly: Straße"));
        let base = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let address = Address::at(&controller.url(), Trust::load(None).expect("the system's")).expect("an address");
        let keeping = Keeping {
            spool: base.path().to_owned(),
            file: None,
            objects: Vec::new(),
            stores: Arc::new(|_| Ok(Stores::new())),
            to_controller: true,
            hand_over: HandOver { courier: Arc::new(TokenBearer(address)), disk: Arc::new(SystemDisk), rate },
            keep: Keep { confirmed: Duration::ZERO, delivered: WEEK },
            board: Board::new(1),
        };
        Desk { controller, room, base, runtime, keeping, log }
    }

    /// Records files of these lengths, and begins to deliver them. What people will be told.
    fn records(&self, room: &str, files: &[u64]) -> oneshot::Receiver<Option<Fault>> {
        let start = "2026-11-21T05:00:00.7Z".parse().expect("a time");
        let naming = Naming { session: SessionId::new("session-1"), room: room.into(), start };
        let kept = self.runtime.block_on(self.keeping.open(naming)).expect("a place");
        for (number, bytes) in files.iter().enumerate() {
            // Other headers are another file.
            let headers = headers(360 + number as u32 * 2);
            let mut take = Take::begin(&kept.folder, number as u32 + 1, headers, 60_000.min(*bytes as usize / 64));
            take.grow_to(*bytes);
            kept.uploads.as_ref().expect("it goes somewhere").written(&take.file, take.bytes);
            take.end();
        }
        let (news, told) = oneshot::channel();
        self.runtime.spawn(self.keeping.clone().deliver(kept, None, news));
        told
    }

    /// What people are told of it.
    fn told(&self, news: oneshot::Receiver<Option<Fault>>) -> Option<Fault> {
        let told = self.runtime.block_on(async { tokio::time::timeout(LONG, news).await });
        told.expect("people are told in time").expect("they are told")
    }

    fn folder(&self) -> PathBuf {
        self.base.path().join("session-1.roomcast/upload")
    }

    /// The local copy of one of the files.
    fn film(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(name)).expect("the local copy is kept")
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let kept = inventory(&SystemDisk, self.base.path(), self.keeping.keep).expect("a list");
        kept.iter().map(|kept| kept.verdict).collect()
    }

    /// All that is delivered is kept for a week, and nothing is under way.
    fn is_delivered(&self) {
        until(LONG, "nothing is under way", || self.keeping.board.deliveries().is_empty().then_some(()));
        let is_kept = |verdict: &Verdict| matches!(verdict, Verdict::KeptUntil { .. });
        assert!(self.verdicts().iter().all(is_kept), "{:?}", self.verdicts());
    }

    /// Another process of the service goes on with the folder.
    fn goes_on(&self) {
        let going = {
            let _inside = self.runtime.enter();
            self.keeping.go_on(self.base.path().join("session-1.roomcast"))
        };
        self.runtime.block_on(async { tokio::time::timeout(LONG, going).await }).expect("in time").expect("no panic");
    }

    /// Of the token nothing was written anywhere.
    fn keeps_secret(&self) {
        self.log.holds_none_of(&[TOKEN]);
        let mut folders = vec![self.base.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => assert!(!holds(&path, TOKEN), "{}", path.display()),
                }
            }
        }
    }
}

fn holds(path: &Path, words: &str) -> bool {
    let is_notes = path.extension().is_some_and(|ending| ending == "json");
    is_notes && std::fs::read_to_string(path).expect("text").contains(words)
}

/// A whole film, under this name.
fn is_whole(asset: &Asset, film: &[u8], second: &str) {
    assert_eq!(asset.filename, format!("Weekly_ Straße_recording_2026-11-21_05-00-{second}-UTC.mp4"));
    assert_eq!(asset.size, film.len() as u64);
    assert!(asset.bytes.as_deref() == Some(film), "other bytes");
}

/// The beginning of a film, under this name: so many parts.
fn is_shortened(asset: &Asset, film: &[u8], parts: u64, second: &str) {
    is_whole(asset, &film[..(parts * PART) as usize], second);
}

fn sentence(fault: Option<Fault>) -> String {
    let fault = fault.expect("people are told of trouble");
    assert_eq!(fault.blame, Blame::Conference);
    fault.sentence
}

#[test]
fn a_film_arrives_byte_for_byte_no_faster_than_allowed_and_is_kept_for_a_week() {
    let desk = Desk::new(10 * MIB);
    let begun = Instant::now();
    let news = desk.records(&desk.room, &[11 * MIB]);
    assert_eq!(desk.told(news), None);
    // After the first of three parts the controller is listened to for a second; the others are half a second apart.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    let film = desk.film("recording.mp4");
    is_whole(&desk.controller.has_assets(1)[0], &film, "00");
    let last = film.len() - 2 * PART as usize;
    assert_eq!(desk.controller.upload_frames(), [[PART as usize + 4, PART as usize + 4, last + 4]]);
    desk.is_delivered();
    desk.log.holds("which does not confirm it");
    desk.keeps_secret();
    // Nobody sends it again.
    desk.goes_on();
    assert_eq!(desk.controller.assets().len(), 1);
}

#[test]
fn each_file_of_a_recording_has_a_name_of_its_own() {
    let desk = Desk::new(FAST);
    let news = desk.records(&desk.room, &[6 * MIB, MIB]);
    assert_eq!(desk.told(news), None);
    let assets = desk.controller.has_assets(2);
    is_whole(&assets[0], &desk.film("recording.mp4"), "00");
    is_whole(&assets[1], &desk.film("recording-2.mp4"), "10");
    desk.is_delivered();
}

#[test]
fn what_breaks_in_the_middle_is_sent_once_more_and_the_shortened_one_is_named() {
    for (fate, parts) in [(UploadFate::CutAfter(1), 1), (UploadFate::RubbishAfter(2), 2)] {
        let desk = Desk::new(FAST);
        desk.controller.uploads_go(&[fate]);
        let news = desk.records(&desk.room, &[11 * MIB]);
        assert_eq!(desk.told(news), None, "{fate:?}");
        let (film, assets) = (desk.film("recording.mp4"), desk.controller.has_assets(2));
        is_shortened(&assets[0], &film, parts, "00");
        is_whole(&assets[1], &film, "01");
        desk.log
            .holds("the controller may list a shortened recording now, whose name ends so; only the room's owner can delete it");
        desk.log.holds("recording_2026-11-21_05-00-00-UTC.mp4");
        desk.is_delivered();
    }
}

#[test]
fn what_breaks_twice_is_given_up_and_gone_on_with_by_the_next_process() {
    let mut desk = Desk::new(FAST);
    desk.log.expects(GIVEN_UP);
    desk.controller.uploads_go(&[UploadFate::CutAfter(1), UploadFate::CutAfter(0)]);
    let news = desk.records(&desk.room, &[7 * MIB]);
    assert_eq!(
        sentence(desk.told(news)),
        "The recording could not be handed to the controller: the connection to the controller broke. It is kept on the recorder's machine."
    );
    let (film, assets) = (desk.film("recording.mp4"), desk.controller.has_assets(2));
    is_shortened(&assets[0], &film, 1, "00");
    assert_eq!((assets[1].size, &assets[1].bytes), (0, &None), "a name and nothing behind it");
    assert_eq!(desk.verdicts(), [Verdict::Unconfirmed], "kept until it is delivered");
    let posted = until(LONG, "operators see it", || desk.keeping.board.deliveries().pop());
    assert!(matches!(posted.films[0].status.state, State::GivenUp(_)), "{posted:?}");

    // What was given up stays to be seen for as long as that process lives.
    desk.keeping.board = Board::new(1);
    desk.goes_on();
    is_whole(&desk.controller.has_assets(3)[2], &film, "02");
    desk.is_delivered();
    desk.keeps_secret();
}

#[test]
fn a_full_storage_and_a_room_that_is_gone_are_told_and_leave_nothing() {
    for is_gone in [false, true] {
        let mut desk = Desk::new(FAST);
        desk.log.expects(GIVEN_UP);
        desk.controller.uploads_go(&[UploadFate::Full, UploadFate::Full]);
        let nowhere = "00000000-0000-4000-8000-000000000000";
        let news = desk.records(if is_gone { nowhere } else { desk.room.as_str() }, &[7 * MIB]);
        assert_eq!(
            sentence(desk.told(news)),
            "The recording could not be handed to the controller: the controller does not take it: its room is gone, or the storage of the \
             room's owner is full. It is kept on the recorder's machine."
        );
        assert!(desk.controller.assets().is_empty(), "nothing is listed");
        assert_eq!(desk.verdicts(), [Verdict::Unconfirmed]);
        desk.log.holds("the upload to the controller is tried again");
    }
}

#[test]
fn a_controller_that_is_not_ready_is_waited_for_and_a_refusal_is_told_at_once() {
    let mut desk = Desk::new(FAST);
    desk.controller.uploads_go(&[UploadFate::Refused(503), UploadFate::Refused(500)]);
    let news = desk.records(&desk.room, &[MIB]);
    assert_eq!(desk.told(news), None, "that passed by itself");
    is_whole(&desk.controller.has_assets(1)[0], &desk.film("recording.mp4"), "00");
    desk.is_delivered();

    desk.log.expects("the controller refuses the upload");
    std::fs::remove_dir_all(desk.base.path().join("session-1.roomcast")).expect("removed");
    desk.controller.uploads_go(&[UploadFate::Refused(403)]);
    let begun = Instant::now();
    let news = desk.records(&desk.room, &[MIB]);
    let fault = desk.told(news).expect("people are told");
    assert!(fault.sentence.contains("the access token lacks the recorder's role"), "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(10), "before anybody has left the room");
    assert_eq!(desk.verdicts(), [Verdict::Unconfirmed]);
}

#[test]
fn a_slow_controller_gets_it_and_is_answered_its_pings() {
    let desk = Desk::new(FAST);
    desk.controller.uploads_go(&[UploadFate::Slow(Duration::from_millis(300))]);
    let news = desk.records(&desk.room, &[22 * MIB]);
    assert_eq!(desk.told(news), None);
    is_whole(&desk.controller.has_assets(1)[0], &desk.film("recording.mp4"), "00");
    assert!(desk.controller.upload_pongs() >= 3, "{}", desk.controller.upload_pongs());
}

#[test]
fn a_controller_that_is_stopped_before_it_says_goodbye_gets_it_again() {
    let desk = Desk::new(FAST);
    desk.controller.uploads_go(&[UploadFate::StoppedAtGoodbye]);
    let news = desk.records(&desk.room, &[MIB]);
    assert_eq!(desk.told(news), None);
    is_whole(&desk.controller.has_assets(1)[0], &desk.film("recording.mp4"), "01");
    desk.is_delivered();
}

#[test]
fn a_process_that_dies_in_the_middle_is_followed_by_one_that_sends_it_anew() {
    // One part a second: it dies between two of them.
    let mut desk = Desk::new(PART);
    let news = desk.records(&desk.room, &[11 * MIB]);
    until(LONG, "a part is taken", || {
        let films = desk.keeping.board.deliveries().pop()?.films;
        films.first().filter(|film| film.status.sent == PART).map(drop)
    });
    let new = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    std::mem::replace(&mut desk.runtime, new).shutdown_background();
    drop(news);
    let film = desk.film("recording.mp4");
    is_shortened(&desk.controller.has_assets(1)[0], &film, 1, "00");
    assert_eq!(desk.verdicts(), [Verdict::Unconfirmed]);
    let notes = std::fs::read_to_string(desk.folder().join("controller.json")).expect("notes");
    assert!(notes.contains("\"step\": \"sending\""), "{notes}");

    desk.keeping.hand_over.rate = FAST;
    desk.goes_on();
    is_whole(&desk.controller.has_assets(2)[1], &film, "01");
    desk.log.holds("recording_2026-11-21_05-00-00-UTC.mp4");
    desk.is_delivered();
    desk.keeps_secret();
}

/// Records for some seconds, as a moderator does.
fn record(controller: &Controller, meeting: &Meeting<'_>) {
    meeting.is_recorded();
    world::after(Instant::now(), 3.0);
    controller.click_stop(&meeting.moderator, std::slice::from_ref(&meeting.recording));
}

/// What a command of an operator says, beside the service.
fn operator(folder: &Path, arguments: &[&str]) -> String {
    let apart = tempfile::tempdir().expect("a folder");
    let config = folder.join("roomcast.toml").display().to_string();
    let arguments = [&["--config", config.as_str()][..], arguments].concat();
    let outcome = Product::start(apart.path(), &arguments, &[("ROOMCAST_HTTP__TOKEN", OPERATORS)], "").finish(LONG);
    assert!(outcome.status.success(), "{}", outcome.log);
    outcome.said
}

/// A moderator finds the recording at the meeting as it is in the storage, and is told when the meeting's owner has no space for it. It is kept, operators
/// see it, and it comes when the service is started again.
#[test]
fn a_meeting_gets_its_recordings_and_is_told_of_one_that_it_does_not_get() {
    let _alone = one_room_at_a_time();
    let (installation, storage) = (Installation::start(), S3Server::start());
    let controller = &installation.controller;
    let folder = tempfile::tempdir().expect("folder");
    let more = format!(
        "[programme]\nsize = \"320x180\"\nfps = 10\n[serve]\nconsent = \"not_asked\"\nrecordings = [\"controller\", \"s3://recordings/{{start}}.mp4\"]\n\
         [storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n",
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let secrets = [("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY)];
    let service = installation.serve(folder.path(), &more, &secrets);
    let meeting = Meeting::weekly(controller);
    let room = &meeting.room;

    record(controller, &meeting);
    meeting.shows("inactive");
    controller.has_recorders(room, 0);
    let assets = controller.has_assets(1);
    assert!(
        assets[0].filename.starts_with("Weekly_recording_") && assets[0].filename.ends_with("-UTC.mp4"),
        "{}",
        assets[0].filename
    );
    let films = || -> Vec<String> { storage.keys().into_iter().filter(|key| key.ends_with(".mp4")).collect() };
    let keys = films();
    assert_eq!(keys.len(), 1);
    assert!(assets[0].bytes == Some(storage.object(&keys[0])), "the same film in both places");

    controller.uploads_go(&[UploadFate::Full, UploadFate::Full]);
    record(controller, &meeting);
    meeting.shows("error");
    let heard = serde_json::Value::from(controller.heard(&meeting.moderator)).to_string();
    assert!(heard.contains("or the storage of the room's owner is full. It is kept on the recorder's machine."), "{heard}");
    let status = operator(folder.path(), &["status"]);
    assert!(status.contains("given_up") && status.contains("could not be handed to the controller"), "{status}");
    let spool = operator(folder.path(), &["spool", &folder.path().join("spool").display().to_string()]);
    assert!(spool.contains(&format!("controller: room {room}, not delivered; `roomcast serve` goes on with it")), "{spool}");
    assert!(spool.contains(&format!("controller: room {room}, delivered, not confirmed")), "{spool}");
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(LONG);
    assert!(outcome.status.success(), "{}", outcome.log);
    outcome.errors_only(&[GIVEN_UP]);
    assert_eq!(controller.assets().len(), 1);

    let service = installation.serve(folder.path(), &more, &secrets);
    let second = controller.has_assets(2).pop().expect("two");
    let keys = films();
    assert_eq!(keys.len(), 2);
    assert!(second.bytes == Some(storage.object(&keys[1])), "the same film in both places");
    service.logs("which does not confirm it", LONG);
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(LONG);
    outcome.is_well();
    outcome.keeps_secret(
        folder.path(),
        &[world::s3::SECRET_KEY, world::keycloak::SECRET, world::rabbitmq::PASSWORD, OPERATORS, "eyJhbGciOi"],
    );
}
