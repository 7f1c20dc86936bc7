//! Records real LiveKit rooms in which all goes well, and judges the films: what is promised of picture, sound, time and the beginning.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::time::{Duration, Instant};

use roomcast::rehearsal::card::{PEOPLE, TONE_AMPLITUDE};
use serde_json::json;
use world::crowd::{Crowd, Joining};
use world::film::TileRect;
use world::film::judge::Judge;
use world::livekit::LiveKit;
use world::recording::{film_begins, four_tiles, one_room_at_a_time, record};

/// Length of the recordings, and how it is said on the command line.
const SECONDS: f64 = 20.0;
const LENGTH: &str = "20s";
const LONGEST: Duration = Duration::from_secs(50);

/// What must hold for everybody who was there all the time.
fn judge_everybody(judge: &mut Judge<'_>) {
    judge.decodes_clean().is_of(1280, 720, SECONDS).has_constant_rate(30.0);
    // The first pictures wait for a keyframe and the sound for its first packet: a second of grace, as promised.
    let steady = 1.0..SECONDS - 0.2;
    for person in 0..4 {
        judge
            .shows(person, person, steady.clone())
            .never_still(person, 100.0, steady.clone())
            .hears(person, 25.0, steady.clone())
            .is_in_sync(person, person, 20.0, 45.0, steady.clone());
    }
}

#[test]
fn four_people_are_recorded_as_they_were() {
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(4);
    crowd.join_all(&server, "room", &[0, 1, 2, 3].map(Joining::usual));
    let recording = record(&server.url(), "room", Some(LENGTH));
    let (film, _) = recording.film(LONGEST, &four_tiles());
    let mut judge = Judge::new(&film);
    judge_everybody(&mut judge);
    for person in 0..4 {
        judge.shows_each_once(person, 1.0..SECONDS - 0.2);
    }
    for absent in 4..PEOPLE.len() {
        judge.hears_not(absent, 1.0..SECONDS);
    }
    judge.finish();
    crowd.disperse();
}

#[test]
fn clocks_that_are_wrong_do_not_matter() {
    const HOUR_MS: f64 = 3_600_000.0;
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(4);
    crowd.join_all(
        &server,
        "room",
        &[
            Joining::with(0, json!({"ntp_offset_ms": HOUR_MS, "phase_ms": 7})),
            Joining::with(1, json!({"ntp_offset_ms": -HOUR_MS, "phase_ms": 13, "ppm": 100})),
            Joining::with(2, json!({"ppm": -100, "phase_ms": 21})),
            Joining::with(3, json!({"phase_ms": 29})),
        ],
    );
    let recording = record(&server.url(), "room", Some(LENGTH));
    // In the middle of the stream one wall clock is set two seconds ahead.
    recording.is_under_way(Duration::from_secs(8));
    crowd.ask(3, "ntp_step", json!({"step_ms": 2000}));
    let (film, _) = recording.film(LONGEST, &four_tiles());
    let mut judge = Judge::new(&film);
    judge_everybody(&mut judge);
    // Those whose pictures come at exactly the programme's rate.
    for person in [0, 3] {
        judge.shows_each_once(person, 1.0..SECONDS - 0.2);
    }
    judge.finish();
    crowd.disperse();
}

/// How long the start may take, in milliseconds.
const FIRST_FRAME_MS: f64 = 500.0;
const FIRST_PERSON_MS: f64 = 1000.0;
const STARTS: usize = 20;
/// A shared machine may be this many times slower than what is promised.
const SLACK: f64 = 3.0;

/// From the moment at which the command was given to the instant that the first picture of the file shows, and to the instant from which
/// a publisher is both seen and heard in it; all read from the file, by the publisher's picture counter.
#[test]
fn a_recording_begins_at_once() {
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(1);
    crowd.join(&server, "room", &Joining::usual(0));
    let whole = [TileRect { x: 0, y: 0, width: 1280, height: 720 }];
    let (mut first_frame_ms, mut first_person_ms) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let command = Instant::now();
        let recording = record(&server.url(), "room", Some("1700ms"));
        let (film, _) = recording.film(LONGEST, &whole);
        let begin_s = film_begins(&film, 0, &crowd, command).saturating_duration_since(command).as_secs_f64();
        let seen_s = film.pictures.iter().find(|picture| picture.tiles[0].person == Some(0)).expect("the person is seen").at_s;
        let tone = film.sound().tone(&PEOPLE[0], 0.0..film.duration_s);
        let heard_s = tone.iter().find(|(_, level)| *level > f64::from(TONE_AMPLITUDE) * 0.4).expect("the person is heard").0;
        first_frame_ms.push(begin_s * 1000.0);
        first_person_ms.push((begin_s + seen_s.max(heard_s)) * 1000.0);
    }
    crowd.disperse();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}", load.trim());
    println!("to the first programme frame: {first_frame_ms:.0?} ms, promised {FIRST_FRAME_MS} ms");
    println!("to a frame with colour and sound: {first_person_ms:.0?} ms, promised {FIRST_PERSON_MS} ms");
    let (first_frame, first_person) = (p95(&mut first_frame_ms), p95(&mut first_person_ms));
    println!("p95 of {STARTS}: {first_frame:.0} ms and {first_person:.0} ms");
    assert!(first_frame <= FIRST_FRAME_MS * SLACK, "first programme frame after {first_frame:.0} ms");
    assert!(first_person <= FIRST_PERSON_MS * SLACK, "colour and sound after {first_person:.0} ms");
}

/// The value that 19 of 20 do not exceed.
fn p95(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * 95).div_ceil(100) - 1]
}
