//! Records real LiveKit rooms in which people come, go and change, packets are lost, and servers die; and judges the films.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::ops::Range;
use std::time::{Duration, Instant};

use roomcast::rehearsal::card::PEOPLE;
use serde_json::json;
use world::crowd::{Crowd, Joining, who};
use world::film::judge::{Cadence, Judge};
use world::film::{Film, TileRect};
use world::livekit::LiveKit;
use world::recording::{Recording, film_begins, four_tiles, name, one_room_at_a_time, record, tiles_of_up_to_four};
use world::relay::{Relay, Weather};

const ADA: usize = 0;
const BJOERN: usize = 1;
const CHIARA: usize = 2;
const DMITRI: usize = 3;

/// Seconds of film time of an instant of the test.
fn film_s(begin: Instant, at: Instant) -> f64 {
    at.saturating_duration_since(begin).as_secs_f64()
}

fn length_ms(stretch: &Range<f64>) -> f64 {
    (stretch.end - stretch.start) * 1000.0
}

/// Stretches in which a tile shows this person, joined over pauses of up to 0.3 s.
fn appearances(film: &Film, tile: usize, person: usize) -> Vec<Range<f64>> {
    let mut stretches: Vec<Range<f64>> = Vec::new();
    for picture in film.pictures.iter().filter(|picture| picture.tiles[tile].person == Some(person)) {
        match stretches.last_mut() {
            Some(last) if picture.at_s - last.end < 0.3 => last.end = picture.at_s,
            _ => stretches.push(picture.at_s..picture.at_s),
        }
    }
    stretches
}

#[test]
fn whatever_one_does_the_others_have_no_gap() {
    const REJOINS: usize = 10;
    const SECONDS: f64 = 46.0;
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let mut crowd = Crowd::gather(4);
    crowd.join(&server, "room", &Joining::usual(ADA));
    let began = Instant::now();
    let recording = record(&server.url(), "room", Some("46s"));
    // One person fills the canvas; with the next ones tiles become smaller, and other layers are asked for.
    recording.is_under_way(Duration::from_secs(3));
    crowd.join(&server, "room", &Joining::usual(BJOERN));
    recording.is_under_way(Duration::from_secs(5));
    crowd.join(&server, "room", &Joining::usual(DMITRI));
    recording.is_under_way(Duration::from_secs(7));
    crowd.join(&server, "room", &Joining::usual(CHIARA));
    let everybody = Instant::now();
    let (mut muted, mut unmuted_ms, mut silent_ms) = (everybody, 0, 0);
    for round in 0..REJOINS {
        recording.is_under_way(Duration::from_millis(9000 + 3000 * round as u64));
        crowd.ask(CHIARA, "leave", json!({}));
        match round {
            1 => {
                silent_ms = crowd.ask(BJOERN, "mute", json!({"what": "microphone"})).media_ms + 20;
                muted = Instant::now();
            }
            3 => unmuted_ms = crowd.ask(BJOERN, "unmute", json!({"what": "microphone"})).media_ms,
            // Another camera, one that changes its size each second.
            5 => {
                let resizing = json!({"layers": [720, 360, 180], "resizing": true});
                crowd.ask(DMITRI, "switch", json!({"what": "camera", "track": resizing}));
            }
            _ => {}
        }
        recording.is_under_way(Duration::from_millis(10_300 + 3000 * round as u64));
        crowd.join(&server, "room", &Joining::usual(CHIARA));
    }
    let last_join = Instant::now();
    let (mut film, _) = recording.film(Duration::from_secs(80), &tiles_of_up_to_four());

    // Ada and Björn have their places from the third person on.
    let begin = film_begins(&film, 7, &crowd, began);
    let (settled, end) = (film_s(begin, everybody), SECONDS - 0.2);
    let (ada, dmitri, chiara) = (film.follow(ADA, &[0, 5, 7]), film.follow(DMITRI, &[2, 4]), film.follow(CHIARA, &[3]));
    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(1280, 720, SECONDS).has_constant_rate(30.0);
    for steady in [ADA, BJOERN] {
        judge.shows(steady, steady, settled..end).shows_each_once(steady, settled..end);
    }
    judge.hears(ADA, 25.0, 1.0..end).is_in_sync(ada, ADA, 20.0, 45.0, 1.0..end);
    judge.hears(DMITRI, 25.0, settled..end);
    // While Ada's layers change with the size of her tile.
    judge.never_still(ada, 100.0, 1.0..end);
    // Sizes that change each second, after the cameras changed.
    judge.never_still(dmitri, 100.0, film_s(begin, last_join) - 6.0..end);

    let shown = appearances(&film, chiara, CHIARA);
    judge.promise(shown.len() == REJOINS + 1, format!("Chiara is seen in {} stretches: {shown:.2?}", shown.len()));
    let shortest = shown.iter().map(|stretch| stretch.end - stretch.start).fold(f64::MAX, f64::min);
    judge.promise(shortest > 0.5, format!("the shortest stretch of Chiara lasts {shortest:.2} s"));
    for stretch in &shown {
        judge.never_still(chiara, 100.0, stretch.start + 0.1..stretch.end);
        let heard = stretch.start.max(0.0) + 0.1..(stretch.end - 0.15).max(stretch.start + 0.3);
        judge.hears(CHIARA, 25.0, heard);
    }
    judge_the_mute(&mut judge, &film, begin, &crowd, settled, muted, silent_ms, unmuted_ms);
    judge.finish();
    crowd.disperse();
}

/// Björn's sound ends at the mute, is away, and comes back with its first word.
#[allow(clippy::too_many_arguments)]
fn judge_the_mute(
    judge: &mut Judge<'_>,
    film: &Film,
    begin: Instant,
    crowd: &Crowd,
    settled: f64,
    muted: Instant,
    silent_ms: i64,
    unmuted_ms: i64,
) {
    // By the counters: media time and film time differ by a constant.
    let at = |media_ms: i64| film_s(begin, crowd.media_zero() + Duration::from_millis(media_ms.unsigned_abs()));
    let (silent, back, end) = (at(silent_ms), at(unmuted_ms), film.duration_s - 0.2);
    let asked = film_s(begin, muted);
    judge.promise((silent - asked).abs() < 0.5 && back > silent + 3.0, format!("muted at {silent:.2} s, back at {back:.2} s"));
    // His own beeps before the mute say where those after it belong: whole seconds later.
    let beeps = |range| film.sound().beeps(&PEOPLE[BJOERN], range);
    let before = beeps(settled..silent - 0.2).last().copied().unwrap_or(f64::NAN);
    let first = beeps(back - 0.5..back + 3.0).first().copied().unwrap_or(f64::NAN);
    let off_ms = ((first - before + 0.5).rem_euclid(1.0) - 0.5) * 1000.0;
    judge.promise(
        (first - back).abs() < 0.2 && off_ms.abs() < 20.0,
        format!("the first beep after the mute is at {first:.3} s, the first word at {back:.3} s; {off_ms:.1} ms from its beat"),
    );
    judge.hears(BJOERN, 25.0, settled..silent - 0.05).hears_not(BJOERN, silent + 0.3..back - 0.3);
    // The first word whole, and in time with the picture, which went on.
    judge.hears(BJOERN, 25.0, back + 0.05..end).is_in_sync(BJOERN, BJOERN, 20.0, 45.0, back - 0.1..end);
}

#[test]
fn a_server_that_dies_is_found_again() {
    const SECONDS: f64 = 24.0;
    let _alone = one_room_at_a_time();
    let mut server = LiveKit::start();
    let mut crowd = Crowd::gather(2);
    crowd.join_all(&server, "room", &[ADA, BJOERN].map(Joining::usual));
    let began = Instant::now();
    let recording = record(&server.url(), "room", Some("24s"));
    recording.is_under_way(Duration::from_secs(6));
    let killed = Instant::now();
    server.kill();
    recording.is_under_way(Duration::from_secs(8));
    server.come_back();
    let returned = Instant::now();
    let inside_again = rejoined(&recording);
    let publishers_back: Vec<Instant> = [ADA, BJOERN].map(|person| came_back(&crowd, person)).to_vec();
    let media_back = *publishers_back.iter().max().expect("two");
    let (film, _) =
        recording.film(Duration::from_secs(60), &[(0, 180), (640, 180)].map(|(x, y)| TileRect { x, y, width: 640, height: 360 }));

    let begin = film_begins(&film, 0, &crowd, began);
    let (lost, back) = (film_s(begin, killed), film_s(begin, media_back.max(inside_again)));
    let mut judge = Judge::new(&film);
    let rejoin_s = inside_again.saturating_duration_since(returned).as_secs_f64();
    judge.promise(
        rejoin_s < 10.0,
        format!("in the room again {rejoin_s:.2} s after the server's return; people publish from {back:.2} s on"),
    );
    judge.decodes_clean().is_of(1280, 720, SECONDS).has_constant_rate(30.0);
    for person in [ADA, BJOERN] {
        judge.shows(person, person, 1.0..lost - 0.15).shows_each_once(person, 1.0..lost - 0.15).hears(
            person,
            25.0,
            1.0..lost - 0.15,
        );
        // A placeholder, not a frozen face.
        let frozen = film
            .pictures
            .iter()
            .filter(|p| (lost + 4.0..film_s(begin, returned)).contains(&p.at_s) && p.tiles[person].counter.is_some());
        judge.promise(frozen.count() == 0, format!("no old picture of {} is left standing", name(person)));
        let again = film
            .pictures
            .iter()
            .find(|p| p.at_s > lost + 1.0 && p.tiles[person].person == Some(person))
            .map_or(f64::NAN, |p| p.at_s);
        judge.promise(again - back < 2.0, format!("{} is seen again {:.2} s after both are back", name(person), again - back));
        let after = again + 1.0..SECONDS - 0.2;
        judge.shows(person, person, after.clone()).never_still(person, 100.0, after.clone());
        judge.hears(person, 25.0, after.clone()).is_in_sync(person, person, 20.0, 45.0, after);
    }
    judge.finish();
    crowd.disperse();
}

/// When the product says for the second time that it is in the room.
fn rejoined(recording: &Recording) -> Instant {
    world::until(Duration::from_secs(30), "the product is in the room again", || {
        (recording.product.log().matches("in the LiveKit room").count() >= 2).then(Instant::now)
    })
}

/// When somebody has come back to the server by themselves.
fn came_back(crowd: &Crowd, person: usize) -> Instant {
    let event = crowd.wait_for("a publisher to come back", |event| event.event == "reconnected" && event.who == who(person));
    crowd.media_zero() + Duration::from_secs_f64(event.at_ms / 1000.0)
}

#[test]
fn five_percent_loss_is_neither_seen_nor_heard() {
    const SECONDS: f64 = 24.0;
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let relay = Relay::before(&server, 1);
    relay.delay_datagrams(Duration::from_millis(5));
    let mut crowd = Crowd::gather(4);
    crowd.join_all(&server, "room", &[ADA, BJOERN, CHIARA, DMITRI].map(Joining::usual));
    relay.set(Weather::Uniform(0.05));
    let began = Instant::now();
    let recording = record(&relay.url(), "room", Some("24s"));
    recording.is_under_way(Duration::from_secs(12));
    let (_, uniformly_lost) = relay.counts();
    relay.set(Weather::Bursts { share: 0.05, length: 4 });
    recording.is_under_way(Duration::from_secs(24));
    let (passed, lost) = relay.counts();
    let (film, _) = recording.film(Duration::from_secs(60), &four_tiles());
    let mut judge = Judge::new(&film);
    let share = lost as f64 / (passed + lost) as f64;
    judge.promise(
        uniformly_lost > 100 && lost > uniformly_lost + 100 && (0.04..0.06).contains(&share),
        format!("{lost} of {} datagrams lost, {uniformly_lost} of them before the bursts", passed + lost),
    );
    judge.decodes_clean().is_of(1280, 720, SECONDS).has_constant_rate(30.0);
    // Connecting through the loss may take longer.
    let steady = 3.0..SECONDS - 0.2;
    // LiveKit repeats a packet three times at most: of some thousands one never comes, and its camera stands until a keyframe. If the network loses the
    // request for that, too, so often does it stand longer, by the time until the request is repeated, up to a picture (decision 0020).
    let begin = film_begins(&film, 0, &crowd, began);
    let lost_requests: Vec<f64> = relay.lost_requests().into_iter().map(|at| film_s(begin, at)).collect();
    for person in 0..4 {
        let worst = Cadence::of(&film, person, &steady).stills.into_iter().max_by(|a, b| length_ms(a).total_cmp(&length_ms(b)));
        let still = worst.unwrap_or(steady.start..steady.start);
        let lost = lost_requests.iter().filter(|at| still.contains(at)).count();
        let most_ms = 500.0 + 166.7 * lost as f64;
        judge.promise(
            length_ms(&still) <= most_ms + 0.5,
            format!("{} stands still for {:.0} ms of {most_ms:.0} ms; {lost} requests lost", name(person), length_ms(&still)),
        );
        judge.shows(person, person, steady.clone());
        // What three repeats could not repair stands still for a moment, and may hide a flash; what is seen belongs to what is heard.
        judge.hears(person, 40.0, steady.clone()).is_in_sync_but_for(2, person, person, 20.0, 150.0, steady.clone());
    }
    judge.finish();
    crowd.disperse();
}

#[test]
fn a_room_that_closes_ends_its_recording() {
    let _alone = one_room_at_a_time();
    let server = LiveKit::start();
    let relay = Relay::before(&server, 1);
    // Media and signaling end by different ways; the worse order.
    relay.delay_farewells(Duration::from_millis(300));
    let mut crowd = Crowd::gather(1);
    crowd.join(&server, "room", &Joining::usual(ADA));
    let began = Instant::now();
    let recording = record(&relay.url(), "room", None);
    recording.is_under_way(Duration::from_secs(5));
    server.close_room("room");
    let closed = Instant::now();
    let (film, _) = recording.film(Duration::from_secs(20), &[TileRect { x: 0, y: 0, width: 1280, height: 720 }]);
    let begin = film_begins(&film, 0, &crowd, began);
    let until = film_s(begin, closed);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().has_constant_rate(30.0);
    judge.promise((film.duration_s - until).abs() < 0.8, format!("closed at {until:.2} s, lasts {:.2} s", film.duration_s));
    // Through the relay the connection takes a little longer.
    let steady = 1.5..until - 0.3;
    judge.shows(0, ADA, steady.clone()).shows_each_once(0, steady.clone()).hears(ADA, 25.0, steady);
    judge.finish();
    crowd.disperse();
}
