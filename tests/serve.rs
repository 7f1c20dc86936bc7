//! The service in a whole OpenTalk installation: what a moderator's clicks become.

#![allow(clippy::expect_used)]

mod world;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use world::controller::{Kind, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::film::Film;
use world::film::judge::Judge;
use world::opentalk::{Installation, OPERATORS, films, keep_if_asked};
use world::recording::{film_begins, name, one_room_at_a_time, tiles_of_up_to_four};
use world::{rabbitmq, until};

const LOOK: &str = "[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n";
/// Tiles of [`tiles_of_up_to_four`].
const FIRST_OF_TWO: usize = 5;
const SECOND_OF_TWO: usize = 6;
const ALONE: usize = 7;

/// Waits until so much time has passed since `since`, as a person with a watch would.
fn after(since: Instant, seconds: f64) {
    let at = since + Duration::from_secs_f64(seconds);
    until(Duration::from_secs(60), "time passes", || (Instant::now() >= at).then_some(()));
}

/// Ada always consents, Björn late, Chiara withdraws, Djamila never does. A person who watches the recording sees and hears each of them exactly while
/// they had agreed, and nobody else; the moderator sees "starting", "active", "inactive", and never a lie.
#[test]
fn who_agreed_is_recorded_and_nobody_else() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let recordings = folder.path().join("recordings");
    let more = format!("{LOOK}[serve]\nrecordings = [\"{}/{{start}}-{{room}}.mp4\"]\n", recordings.display());
    let service = installation.serve(folder.path(), &more, &[]);

    let room = controller.plan(RoomPlan::titled("Weekly"));
    let mut crowd = Crowd::gather(4);
    let kinds = [Kind::Moderator, Kind::Guest, Kind::Guest, Kind::Guest];
    let people: Vec<_> =
        kinds.iter().enumerate().map(|(person, kind)| controller.joins_as(&room, *kind, name(person), &who(person))).collect();
    crowd.join_all(livekit, &room, &[0, 1, 2, 3].map(Joining::usual));
    controller.consent(&people[0], true);
    controller.consent(&people[2], true);
    let target = controller.recording_target(&room);

    let clicked = Instant::now();
    controller.click_start(&people[0], std::slice::from_ref(&target));
    controller.shows(&room, &target, "active");
    let active_ms = clicked.elapsed().as_millis();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("click to active: {active_ms} ms (at most 2000 ms are promised), load {load}");
    assert!(active_ms <= 3 * 2000);
    after(clicked, 6.0);
    controller.consent(&people[2], false);
    let withdrawn = Instant::now();
    after(clicked, 10.0);
    controller.consent(&people[1], true);
    let agreed = Instant::now();
    after(clicked, 15.0);
    controller.click_stop(&people[0], std::slice::from_ref(&target));
    controller.shows(&room, &target, "inactive");
    controller.has_recorders(&room, 0);
    assert_eq!(controller.moderator_was_told(&people[0]), [] as [&str; 0], "no error");

    let film = until(Duration::from_secs(20), "the recording is a file", || films(&recordings).first().cloned());
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(Duration::from_secs(20));
    keep_if_asked(&film, &outcome.log);
    outcome.is_well();
    let secrets = [world::keycloak::SECRET, rabbitmq::PASSWORD, OPERATORS, world::livekit::API_SECRET];
    outcome.keeps_secret(folder.path(), &secrets);
    for person in 0..4 {
        assert!(!outcome.log.contains(name(person)), "{} is named in the log", name(person));
    }

    let film = Film::watch(&film, &tiles_of_up_to_four());
    let begins = film_begins(&film, FIRST_OF_TWO, &crowd, clicked);
    let at = |instant: Instant| instant.saturating_duration_since(begins).as_secs_f64();
    let (withdrawn, agreed, end) = (at(withdrawn), at(agreed), film.duration_s - 0.3);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().has_constant_rate(30.0);
    let both = 2.0..withdrawn - 0.2;
    judge.shows(FIRST_OF_TWO, 0, both.clone()).shows(SECOND_OF_TWO, 2, both.clone());
    judge.hears(0, 25.0, 2.0..end).hears(2, 25.0, both.clone());
    // Nothing captured later than one second after the withdrawal is anywhere.
    judge.shows(ALONE, 0, withdrawn + 1.0..agreed - 0.2).hears_not(2, withdrawn + 1.0..end);
    judge.shows(FIRST_OF_TWO, 0, agreed + 1.5..end).shows(SECOND_OF_TWO, 1, agreed + 1.5..end);
    judge.hears_not(1, 0.0..agreed).hears(1, 25.0, agreed + 1.5..end);
    judge.hears_not(3, 0.0..end);
    judge.finish();
    crowd.disperse();
}
