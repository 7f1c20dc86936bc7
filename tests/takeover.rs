//! The service that is killed, ended, or full: what becomes of its rooms, and what moderators see.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use world::controller::{Kind, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::family::{Family, Role, process, runs, send};
use world::film::Film;
use world::film::judge::Judge;
use world::meeting::Meeting;
use world::opentalk::{Installation, OPERATORS, films, keep_if_asked};
use world::product::{Outcome, Product};
use world::recording::{name, one_room_at_a_time, tiles_of_up_to_four};
use world::rtmp::Nginx;
use world::{after, rabbitmq, until};

/// Of [`tiles_of_up_to_four`].
const ALONE: usize = 7;
/// Nothing takes longer.
const LONG: Duration = Duration::from_secs(30);
/// What a new Take may cost beside the gap: the newest fragment, the way to the first keyframe.
const LOST_S: f64 = 1.0;

/// Small pictures, so that the machine is not what is measured.
const SMALL: &str = "[programme]\nsize = \"320x180\"\nfps = 10\n";

fn configuration(folder: &Path, more: &str) -> String {
    let recordings = folder.join("recordings").display().to_string();
    format!("{more}[serve]\nrecordings = [\"{recordings}/{{start}}-{{room}}.mp4\"]\n")
}

/// Lets a recording grow.
fn pass(seconds: f64) {
    after(Instant::now(), seconds);
}

fn film_in(folder: &Path) -> PathBuf {
    let film = until(LONG, "the recording is a file", || films(&folder.join("recordings")).first().cloned());
    assert_eq!(films(&folder.join("recordings")), std::slice::from_ref(&film), "one file");
    film
}

/// Nothing is wrong with the film, and it lasts so many seconds at least.
fn plays(film: &Path, least_s: f64) {
    let film = Film::watch(film, &[]);
    assert_eq!(film.complaints, "");
    assert!(film.duration_s >= least_s, "{} s, and not {least_s} s", film.duration_s);
}

fn ends(service: Product) -> Outcome {
    service.signal(Signal::SIGTERM);
    service.finish(Duration::from_secs(40))
}

/// Nothing of a Session is left: its claim, and its folder in the spool.
fn nothing_is_left(folder: &Path) {
    let spool = folder.join("spool");
    let left = |folder: &Path| std::fs::read_dir(folder).map_or(0, |entries| entries.flatten().count());
    let spools = std::fs::read_dir(&spool).expect("the spool").flatten().filter(|entry| entry.file_name() != "claims");
    assert_eq!((left(&spool.join("claims")), spools.count()), (0, 0), "in {}", spool.display());
}

/// The supervisor is killed while it records and streams: the next one goes on in the same file, streams again, and the moderator sees it.
#[test]
fn a_killed_supervisor_is_followed_by_one_that_goes_on_in_the_same_recording() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let (nginx, folder) = (Nginx::start(), tempfile::tempdir().expect("folder"));
    let more = "[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n[live]\nallowed_addresses = [\"127.0.0.1\"]\n";
    let more = configuration(folder.path(), more);
    let service = installation.serve(folder.path(), &more, &[]);

    let plan = RoomPlan::titled("Weekly").streaming_to("main", &format!("{}/good-canary-key", nginx.address()));
    let stream = plan.streams[0].id.clone();
    let room = controller.plan(plan);
    let mut crowd = Crowd::gather(1);
    let ada = controller.joins_as(&room, Kind::Moderator, name(0), &who(0));
    crowd.join_all(livekit, &room, &[Joining::usual(0)]);
    controller.consent(&ada, true);
    let recording = controller.recording_target(&room);
    let targets = [recording, stream];
    controller.click_start(&ada, &targets);
    targets.iter().for_each(|target| controller.shows(&room, target, "active"));
    let first = Instant::now();
    pass(6.0);
    let worker = process(service.pid(), Role::Worker);
    service.signal(Signal::SIGKILL);
    let first_s = first.elapsed().as_secs_f64();
    let killed = service.finish(LONG);
    assert!(!killed.status.success());

    let service = installation.serve(folder.path(), &more, &[]);
    service.logs("going on with a session that was left", LONG);
    assert!(!runs(worker), "the worker before is gone");
    service.logs(" take=2 at=", LONG);
    targets.iter().for_each(|target| controller.shows(&room, target, "active"));
    assert_eq!(controller.recorders(&room).len(), 1, "one recorder");
    let second = Instant::now();
    // Long enough for a person to be seen in full again.
    pass(8.0);
    controller.click_stop(&ada, &targets);
    targets.iter().for_each(|target| controller.shows(&room, target, "inactive"));
    let second_s = second.elapsed().as_secs_f64();
    controller.has_recorders(&room, 0);
    assert_eq!(controller.moderator_was_told(&ada), [] as [&str; 0], "no error");
    let film = film_in(folder.path());
    let outcome = ends(service);
    keep_if_asked(&film, &format!("{}\n{}", killed.log, outcome.log));
    outcome.is_well();
    killed.errors_only(&[]);
    let secrets = ["canary-key", world::keycloak::SECRET, rabbitmq::PASSWORD, OPERATORS];
    outcome.keeps_secret(folder.path(), &secrets);
    killed.keeps_secret(folder.path(), &secrets);
    nothing_is_left(folder.path());

    let film = Film::watch(&film, &tiles_of_up_to_four());
    let mut judge = Judge::new(&film);
    let least = first_s + second_s - 2.0 * LOST_S;
    judge.promise(
        film.duration_s >= least,
        format!("the film lasts {:.2} s of {first_s:.2} s and {second_s:.2} s", film.duration_s),
    );
    judge.decodes_clean();
    // Ada in both Takes; the second begins with a card, until she is seen again.
    let end = film.duration_s - 0.3;
    judge.shows(ALONE, 0, 2.0..first_s - 1.0).shows(ALONE, 0, end - 2.0..end).hears(0, 50.0, end - 2.0..end);
    let streamed = nginx.recordings("good-canary-key");
    judge.promise(!streamed.is_empty(), "the stream was received");
    let pictures: usize = streamed.iter().map(|file| world::rtmp::decode(file)).sum();
    let expected = (first_s + second_s) * 30.0;
    judge.promise(pictures as f64 > expected * 0.7, format!("{pictures} pictures were streamed in {:.1} s", first_s + second_s));
    judge.finish();
    crowd.disperse();
}

/// A worker is killed: within five seconds another one goes on in the same file, and the moderator sees `active` again.
#[test]
fn a_killed_worker_is_followed_by_one_that_goes_on_in_the_same_recording() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let service = installation.serve(folder.path(), &(configuration(folder.path(), SMALL) + "consent = \"not_asked\"\n"), &[]);
    let meeting = Meeting::weekly(controller);
    meeting.is_recorded();
    let first = Instant::now();
    pass(4.0);
    send(process(service.pid(), Role::Worker), Signal::SIGKILL);
    let killed = Instant::now();
    let first_s = first.elapsed().as_secs_f64();
    meeting.shows("inactive");
    meeting.shows("active");
    let gap = killed.elapsed();
    println!("killed to active again: {} ms (at most 5000 ms are promised)", gap.as_millis());
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    let second = Instant::now();
    pass(4.0);
    meeting.stop();
    let second_s = second.elapsed().as_secs_f64();
    let film = film_in(folder.path());
    let outcome = ends(service);
    outcome.is_well();
    assert!(outcome.log.contains(" take=2 at="), "{}", outcome.log);
    nothing_is_left(folder.path());
    plays(&film, first_s + second_s - 2.0 * LOST_S);
}

/// A node is lost: its room shows `inactive`, and the next click starts on another node. Back, the first one finishes its part, and leaves the room alone.
#[test]
fn a_lost_nodes_room_is_taken_by_another_and_its_part_is_finished_when_it_is_back() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let more = folders.each_ref().map(|folder| configuration(folder.path(), SMALL) + "consent = \"not_asked\"\n");
    let lost = installation.serve(folders[0].path(), &more[0], &[]);
    let meeting = Meeting::weekly(controller);
    meeting.is_recorded();
    pass(3.0);
    let family = Family::of(lost.pid());
    family.kill();
    family.is_gone_within(Duration::from_secs(5));
    lost.finish(LONG).errors_only(&[]);
    meeting.shows("inactive");

    let other = installation.serve(folders[1].path(), &more[1], &[]);
    meeting.is_recorded();
    let back = installation.serve(folders[0].path(), &more[0], &[]);
    back.logs("does not go on", LONG);
    let part = film_in(folders[0].path());
    assert_eq!(controller.recorders(&meeting.room).len(), 1, "one recorder");
    assert_eq!(meeting.shown(), "active");
    meeting.stop();
    let rest = film_in(folders[1].path());
    for (service, folder) in [(back, &folders[0]), (other, &folders[1])] {
        ends(service).is_well();
        nothing_is_left(folder.path());
    }
    plays(&part, 3.0 - LOST_S);
    plays(&rest, 0.1);
}

/// Asked to stop, the service takes no more Orders and says so; what runs goes on for as long as it may, and is then finished, stored, and told.
#[test]
fn a_service_that_stops_takes_nothing_finishes_everything_and_says_so() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let more = configuration(folder.path(), SMALL) + "consent = \"not_asked\"\ndrain_timeout = \"8s\"\n";
    let service = installation.serve(folder.path(), &more, &[]);
    let [runs, comes] = [0, 1].map(|_| Meeting::weekly(controller));
    runs.is_recorded();

    service.signal(Signal::SIGTERM);
    let asked = Instant::now();
    until(LONG, "it is not ready any more", || {
        let (is_ready, said) = service.health(folder.path());
        (!is_ready && said.contains("The service is stopping")).then_some(())
    });
    comes.click();
    comes.shows("error");
    assert!(comes.reasons().contains("being shut down"), "{}", comes.reasons());
    assert_eq!(runs.shown(), "active", "what runs goes on");
    runs.shows("error");
    let ended_s = asked.elapsed().as_secs_f64();
    assert!((8.0..12.0).contains(&ended_s), "after {ended_s} s");
    assert!(runs.reasons().contains("being shut down"), "{}", runs.reasons());
    let film = film_in(folder.path());
    let outcome = service.finish(Duration::from_secs(40));
    outcome.is_well();
    assert!(outcome.log.contains("everything that was accepted is stored"), "{}", outcome.log);
    nothing_is_left(folder.path());
    plays(&film, ended_s - LOST_S);
}

/// Asked twice, it ends at once; the next one goes on as after a crash, and nothing is lost.
#[test]
fn a_service_that_is_asked_twice_ends_at_once_and_nothing_is_lost() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let more = configuration(folder.path(), SMALL) + "consent = \"not_asked\"\ndrain_timeout = \"1h\"\n";
    let service = installation.serve(folder.path(), &more, &[]);
    let meeting = Meeting::weekly(controller);
    meeting.is_recorded();
    pass(3.0);
    service.signal(Signal::SIGTERM);
    service.logs("no more orders are taken", LONG);
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(Duration::from_secs(5));
    outcome.is_well();
    let service = installation.serve(folder.path(), &more.replace("1h", "0s"), &[]);
    service.logs(" take=2 at=", LONG);
    meeting.shows("active");
    let outcome = ends(service);
    outcome.is_well();
    controller.has_recorders(&meeting.room, 0);
    plays(&film_in(folder.path()), 3.0 - LOST_S);
    nothing_is_left(folder.path());
}

/// A machine without the memory for a Session refuses an Order, and the moderator reads why within two seconds.
#[test]
fn an_order_that_there_is_no_room_for_is_refused_with_its_reason() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let more = format!("{SMALL}[admission]\nlimits = [\"memory\"]\nsession_memory_mib = 65536\n");
    // It never consumes, so it is waited for by what it says.
    let service = installation.start_service("Recorder", folder.path(), &configuration(folder.path(), &more), &[]);
    service.logs("orders are not taken of=\"memory\"", LONG);
    service.logs("ready for orders", LONG);
    let (is_ready, said) = service.health(folder.path());
    assert!(is_ready && said.contains("too little memory"), "{said}");
    let meeting = Meeting::weekly(controller);
    let clicked = Instant::now();
    meeting.click();
    meeting.shows("error");
    let told_ms = clicked.elapsed().as_millis();
    println!("click to refusal: {told_ms} ms (at most 2000 ms are promised)");
    assert!(told_ms <= 2 * 2000, "{told_ms} ms");
    assert!(meeting.reasons().contains("no memory left"), "{}", meeting.reasons());
    controller.has_recorders(&meeting.room, 0);
    ends(service).is_well();
    assert!(films(&folder.path().join("recordings")).is_empty());
    nothing_is_left(folder.path());
}
