//! A service whose machine fails it: no space, no descriptors, another time of day. What runs is complete, and what cannot be is told with its reason.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use world::books::{Book, seconds_after};
use world::controller::{Controller, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::meeting::Meeting;
use world::opentalk::{Installation, films, keep_if_asked};
use world::product::{Outcome, Product};
use world::recording::{film_begins, one_room_at_a_time};
use world::rtmp::{Nginx, decode};
use world::s3::S3Server;
use world::small_disk::{self, SmallDisk, with_small_disk};
use world::stalls::Watch;
use world::wall_clock::WallClock;
use world::{descriptors, until};

/// Nothing takes longer.
const LONG: Duration = Duration::from_secs(30);
/// Small pictures, of a room in which nobody need be.
const SMALL: &str = "[programme]\nsize = \"320x180\"\nfps = 10\n[session]\nroom_empty_grace = \"5m\"\n[live]\nallowed_addresses = [\"127.0.0.1\"]\n";
const HOUR_S: i64 = 3600;

/// The rest of a configuration: the limits of admission, and where recordings go beside a folder of this machine.
fn configuration(folder: &Path, first: &str, limits: &str, other_places: &str) -> String {
    let recordings = folder.join("recordings").display().to_string();
    format!(
        "{first}[admission]\nlimits = [{limits}]\n[serve]\nconsent = \"not_asked\"\nrecordings = [\"{recordings}/{{start}}-{{session}}.mp4\"{other_places}]\n"
    )
}

/// Lets a recording grow.
fn pass(time: Duration) {
    let begin = Instant::now();
    until(LONG, "time passes", || (begin.elapsed() >= time).then_some(()));
}

/// So many films, in the order in which they began.
fn has_films(folder: &Path, count: usize) -> Vec<PathBuf> {
    until(LONG, "the recordings are files", || Some(films(&folder.join("recordings"))).filter(|films| films.len() == count))
}

/// A film that decodes, of at least so many seconds; how long it is.
fn is_whole(film: &Path, least_s: f64) -> f64 {
    let film = Film::watch(film, &[]);
    assert_eq!(film.complaints, "");
    assert!(film.duration_s >= least_s, "{}: {:.2} s of {least_s:.2} s", film.path.display(), film.duration_s);
    film.duration_s
}

fn ends(service: Product, folder: &Path, controller: &Controller) -> Outcome {
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(LONG);
    assert!(outcome.status.success(), "{}", outcome.log);
    let mut secrets: Vec<String> = controller.secrets();
    secrets.extend([world::keycloak::SECRET, world::rabbitmq::PASSWORD, world::s3::SECRET_KEY, "canary-key"].map(str::to_owned));
    outcome.keeps_secret(folder, &secrets.iter().map(String::as_str).collect::<Vec<_>>());
    outcome
}

/// With the disk nearly full the recording is finished, the stream goes on, and everybody reads why; nobody else may begin. With space it is recorded anew.
#[test]
fn a_disk_that_fills_up_finishes_recordings_and_no_streams() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let controller = &installation.controller;
    let (nginx, folder) = (Nginx::start(), tempfile::tempdir().expect("folder"));
    let first = format!("{SMALL}[spool]\ndir = \"{}/spool\"\n", small_disk::FOLDER);
    let more = configuration(folder.path(), &first, "\"disk\"", "");
    let service = installation.serve_by(&with_small_disk(), folder.path(), &more);
    let disk = SmallDisk::of(service.pid(), folder.path());

    let plan = RoomPlan::titled("Weekly").streaming_to("main", &format!("{}/good-canary-key", nginx.address()));
    let stream = plan.streams[0].id.clone();
    let meeting = Meeting::of(controller, plan);
    let clicked = Instant::now();
    controller.click_start(&meeting.moderator, &[meeting.recording.clone(), stream.clone()]);
    meeting.shows("active");
    let active = Instant::now();
    controller.shows(&meeting.room, &stream, "active");
    pass(Duration::from_secs(4));
    disk.leave_free(4);
    meeting.shows("error");
    let finished = Instant::now();
    let nearly_full = "The disk of the recorder is nearly full, so recordings have been finished. Its operator can make room.";
    assert_eq!(meeting.reason(), nearly_full);
    let film = has_films(folder.path(), 1).remove(0);
    let lasts_s = is_whole(&film, (finished - active).as_secs_f64() - 2.5);
    assert!(lasts_s <= (finished - clicked).as_secs_f64(), "{lasts_s} s");

    let refused = Meeting::of(controller, RoomPlan::titled("No space"));
    refused.click();
    refused.shows("error");
    assert_eq!(refused.reason(), "The recorder has too little space for another recording. Its operator can make room.");
    pass(Duration::from_secs(2));
    assert_eq!(controller.what_everybody_sees(&meeting.room, &stream), "active", "the stream goes on");

    disk.leave_free(99);
    service.logs("the disk has room for recordings again", LONG);
    controller.has_recorders(&refused.room, 0);
    let again = Instant::now();
    for one in [&meeting, &refused] {
        one.click();
        one.shows("active");
    }
    let active_s = again.elapsed().as_secs_f64();
    pass(Duration::from_secs(3));
    refused.stop();
    // Full at once, while the other one is written.
    let full_s = again.elapsed().as_secs_f64();
    disk.leave_free(0);
    meeting.shows("error");
    // Whoever sees it first: the disk's owner, or whoever writes.
    let reason = meeting.reason();
    assert!(reason == nearly_full || reason.starts_with("The disk is full: "), "{reason}");
    let films = has_films(folder.path(), 3);
    is_whole(&films[1], full_s - active_s - 1.0);
    is_whole(&films[2], 2.0);
    disk.leave_free(99);

    pass(Duration::from_secs(1));
    assert_eq!(controller.what_everybody_sees(&meeting.room, &stream), "active", "the stream goes on");
    let streamed_s = clicked.elapsed().as_secs_f64();
    controller.click_stop(&meeting.moderator, std::slice::from_ref(&stream));
    controller.has_recorders(&meeting.room, 0);
    assert_eq!(meeting.told(), [] as [&str; 0], "no error of the recorder as a whole");
    let errors = [
        "the disk of the spool is nearly full: recordings are finished",
        "the recording has failed",
        "the books of the recording cannot be written",
    ];
    ends(service, folder.path(), controller).errors_only(&errors);
    let received = nginx.recordings("good-canary-key");
    assert_eq!(received.len(), 1, "one stream, without an end between: {received:?}");
    let pictures = decode(&received[0]) as f64;
    assert!(pictures >= 10.0 * (streamed_s - 3.0), "{pictures} pictures were streamed in {streamed_s:.1} s");
}

/// A service that may open few files more refuses another room with its reason. When it may open none nothing is lost of what runs, and it serves again as soon
/// as it may open files.
#[test]
fn a_service_without_descriptors_says_so_and_loses_nothing() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let controller = &installation.controller;
    let folder = tempfile::tempdir().expect("folder");
    let service = installation.serve(folder.path(), &configuration(folder.path(), SMALL, "\"files\"", ""), &[]);
    let usual = descriptors::most(service.pid());
    let meeting = Meeting::of(controller, RoomPlan::titled("Weekly"));
    meeting.click();
    meeting.shows("active");
    let active = Instant::now();

    let few = descriptors::open(service.pid()) as u64 + 40;
    descriptors::allow(service.pid(), few);
    service.logs("orders are not taken of=\"files\"", LONG);
    let refused = Meeting::of(controller, RoomPlan::titled("Few files"));
    refused.click();
    refused.shows("error");
    assert_eq!(refused.reason(), "The recorder may not open enough files for another recording. Its operator can allow it more.");
    controller.has_recorders(&refused.room, 0);

    // With none at all nobody can go into the room to say anything: the moderator hears from the controller that nobody came.
    let none = Meeting::of(controller, RoomPlan::titled("No files"));
    descriptors::allow(service.pid(), 3);
    none.click();
    until(LONG, "the five seconds are over", || (none.told() == ["timeout"]).then_some(()));
    assert_eq!(controller.what_everybody_sees(&meeting.room, &meeting.recording), "active");
    descriptors::allow(service.pid(), usual);
    service.logs("there is room for another session again", LONG);

    refused.click();
    refused.shows("active");
    pass(Duration::from_secs(2));
    let active_s = active.elapsed().as_secs_f64();
    refused.stop();
    meeting.stop();
    assert_eq!(meeting.told(), [] as [&str; 0], "no error of the recorder as a whole");
    let films = has_films(folder.path(), 2);
    is_whole(&films[0], active_s);
    is_whole(&films[1], 1.5);
    ends(service, folder.path(), controller).errors_only(&["a worker cannot be started"]);
}

/// The time of day jumps by an hour, and back. A person who watches the recording notices nothing, nor does who reads its books.
#[test]
fn a_clock_that_is_stepped_by_an_hour_is_not_seen_in_the_film() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let (clock, storage, folder) = (WallClock::make(), S3Server::start(), tempfile::tempdir().expect("folder"));
    let first = format!(
        "[programme]\nsize = \"640x360\"\n[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n[storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n",
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let more = configuration(folder.path(), &first, "", ", \"s3://recordings/{session}.mp4\"");
    let [library, wrong_by] = clock.environment();
    let environment = [
        ("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY),
        (library.0, library.1.as_str()),
        (wrong_by.0, wrong_by.1.as_str()),
    ];
    let service = installation.serve(folder.path(), &more, &environment);
    let room = controller.plan(RoomPlan::titled("Weekly"));
    let mut crowd = Crowd::gather(1);
    crowd.join_all(livekit, &room, &[Joining::usual(0)]);
    let meeting = Meeting::in_room(controller, room, &who(0));

    let (watch, clicked) = (Watch::begin(), Instant::now());
    meeting.click();
    meeting.shows("active");
    let active = Instant::now();
    for wrong_by_s in [HOUR_S, -HOUR_S] {
        pass(Duration::from_secs(5));
        clock.step_to(wrong_by_s);
    }
    pass(Duration::from_secs(5));
    let (least_s, most_s) = (active.elapsed().as_secs_f64() - 0.2, clicked.elapsed().as_secs_f64() + 1.0);
    meeting.stop();
    assert_eq!(meeting.told(), [] as [&str; 0], "no error");
    let told = controller.told_everybody(&meeting.moderator, &meeting.recording);
    assert!(!told.contains(&"error".to_owned()), "{told:?}");
    let film = has_films(folder.path(), 1).remove(0);
    let is_film = |key: &String| key.ends_with(".mp4");
    let key = until(LONG, "the storage has it", || storage.keys().into_iter().find(is_film));
    assert!(storage.object(&key) == std::fs::read(&film).expect("the film"));
    let outcome = ends(service, folder.path(), controller);
    outcome.is_well();
    keep_if_asked(&film, &outcome.log);

    let events = Book::read(&std::fs::read(film.with_extension("events.jsonl")).expect("events"));
    let line = |about: &'static str| events.lines("event", about).next().expect("a Take");
    let ended = line("take_ended")["film_s"].as_f64();
    let since_s = |line: &serde_json::Value| seconds_after(SystemTime::UNIX_EPOCH, line);
    let by_the_book_s = since_s(line("take_ended")) - since_s(line("take_began"));
    assert!((least_s - 1.0..most_s).contains(&by_the_book_s), "the books go on in the Session's time: {by_the_book_s:.1} s");
    let logged = |words: &str| -> jiff::Timestamp {
        let line = outcome.log.lines().find(|line| line.contains(words)).expect("a line");
        line.split(' ').next().and_then(|at| at.parse().ok()).expect("a time")
    };
    let by_the_log_s = logged("the recording is an ordinary file").as_second() - logged("worker started").as_second();
    assert!(by_the_log_s < 60 - HOUR_S, "the clock was stepped: {by_the_log_s} s from begin to end");
    let mut film = Film::watch(&film, &[TileRect { x: 0, y: 0, width: 640, height: 360 }]);
    let begins = film_begins(&film, 0, &crowd, clicked);
    film.stalls = watch.end(begins);
    let mut judge = Judge::new(&film);
    let lasts = format!("the film lasts {:.2} s of {least_s:.2} s to {most_s:.2} s, and by its book {ended:?}", film.duration_s);
    let is_as_long = ended.is_some_and(|ended| (ended - film.duration_s).abs() < 0.5);
    judge.promise((least_s..most_s).contains(&film.duration_s) && is_as_long, lasts);
    // The recording begins with the click, before anybody is received.
    let all = 2.0..film.duration_s - 0.3;
    judge.decodes_clean().has_constant_rate(30.0).shows(0, 0, all.clone()).never_still(0, 100.0, all.clone());
    judge.hears(0, 25.0, all.clone()).is_in_sync(0, 0, 20.0, 45.0, all);
    judge.finish();
    crowd.disperse();
}
