//! Proves the ruler of the live tests on films whose faults are known.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::path::PathBuf;

use roomcast::rehearsal::card::PEOPLE;
use world::drawing::Synthetic;
use world::film::judge::{Cadence, Judge, sync_offsets};
use world::film::{Film, Part, Stall, TileRect, ear};

const SECONDS: u32 = 4;
const ALL: std::ops::Range<f64> = 0.0..4.0;

fn four_people() -> Synthetic {
    let tiles = (0..4).map(|index| (index, TileRect::in_grid(index, 2, 320, 180))).collect();
    Synthetic::perfect((640, 360), tiles, SECONDS)
}

fn film_of(synthetic: &Synthetic) -> (Film, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("film.mp4");
    synthetic.write(&path);
    let tiles: Vec<TileRect> = synthetic.tiles.iter().map(|(_, tile)| *tile).collect();
    (Film::watch(&path, &tiles), folder)
}

#[test]
fn a_perfect_film_breaks_no_promise() {
    let (film, _folder) = film_of(&four_people());
    let mut judge = Judge::new(&film);
    judge.decodes_clean().is_of(640, 360, f64::from(SECONDS)).has_constant_rate(30.0);
    for index in 0..4 {
        judge.shows(index, index, ALL).shows_each_once(index, 0.0..3.99).never_still(index, 35.0, ALL);
        // The encoder's first frames swing in.
        judge.hears(index, 3.0, 0.1..3.9).is_in_sync(index, index, 1.0, 2.0, 0.5..3.9);
    }
    for (index, _) in PEOPLE.iter().enumerate().skip(4) {
        judge.hears_not(index, ALL);
    }
    let step = film.sound().largest_step(&PEOPLE[..4], 0.0, 0.1..3.9);
    judge.promise(step < 1.1, format!("largest step {step:.2} of the tones' own")).finish();
}

/// Whether the judge is content with the first tile's pictures.
fn forgives(film: &Film) -> bool {
    let judged = std::panic::catch_unwind(|| {
        let mut judge = Judge::new(film);
        judge.shows_each_once(0, 0.0..3.99).never_still(0, 50.0, ALL);
        judge.finish();
    });
    judged.is_ok()
}

#[test]
fn a_late_picture_is_excused_by_a_thread_that_stood_just_then_and_by_nothing_else() {
    let mut synthetic = four_people();
    synthetic.counters[60] = Some(59); // shown again at 2.0 s, and 60 left out
    let (mut film, _folder) = film_of(&synthetic);
    let stall = |part, during_s| Stall { during_s, who: "a decoder".into(), part, waited_ms: 120.0 };
    assert!(!forgives(&film));
    for (part, during_s, is_excuse) in [
        (Part::Way, 2.3..2.5, true),
        (Part::Way, 1.5..1.9, false), // before the picture was captured
        (Part::Way, 2.8..3.0, false), // after it should have been shown
        (Part::Encoder, 2.3..2.5, false),
    ] {
        film.stalls = vec![stall(part, during_s.clone())];
        assert_eq!(forgives(&film), is_excuse, "{part:?} {during_s:?}");
    }
    // More than a few are no accident, however long something stood.
    (10..110).step_by(20).for_each(|late| synthetic.counters[late] = Some(late as u32 - 1));
    let (mut film, _folder) = film_of(&synthetic);
    film.stalls = vec![stall(Part::Way, 0.0..4.0)];
    assert!(!forgives(&film));
}

#[test]
fn a_sound_that_is_late_by_40_ms_is_measured() {
    let mut synthetic = four_people();
    synthetic.sound_delay = 40 * ear::RATE / 1000;
    let (film, _folder) = film_of(&synthetic);
    for index in 0..4 {
        let (offsets, lonely) = sync_offsets(&film, index, index, &(0.5..3.9));
        assert_eq!((offsets.len(), lonely), (3, 0));
        assert!(offsets.iter().all(|offset| (offset + 40.0).abs() < 1.0), "{offsets:?}");
    }
}

#[test]
fn a_missing_a_repeated_and_an_unreadable_picture_are_found() {
    let mut synthetic = four_people();
    synthetic.counters[40] = Some(39); // 40 is missing, 39 is shown twice
    synthetic.counters[70] = None;
    let (film, _folder) = film_of(&synthetic);
    let cadence = Cadence::of(&film, 2, &(0.0..3.99));
    assert_eq!((cadence.repeated, cadence.skipped, cadence.unreadable, cadence.backwards), (1, 2, 1, 0), "{cadence:?}");
    assert!((cadence.longest_still_ms - 66.7).abs() < 1.0, "{cadence:?}");
    let seen = &film.pictures[70].tiles[0];
    assert_eq!((seen.person, seen.counter), (None, None));
}

#[test]
fn a_tile_that_stands_still_is_found() {
    let mut synthetic = four_people();
    for counter in &mut synthetic.counters[60..66] {
        *counter = Some(59);
    }
    let (film, _folder) = film_of(&synthetic);
    let still = Cadence::of(&film, 1, &ALL).longest_still_ms;
    assert!((still - 7.0 * 1000.0 / 30.0).abs() < 1.0, "{still}");
}

#[test]
fn a_silence_of_30_ms_is_found_and_measured() {
    let mut synthetic = four_people();
    let begin = 2 * ear::RATE + ear::RATE / 2;
    synthetic.mute = begin..begin + 30 * ear::RATE / 1000;
    let (film, _folder) = film_of(&synthetic);
    for person in &PEOPLE[..4] {
        let gaps = film.sound().tone_gaps(person, 0.1..3.9);
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!((gaps[0].length_ms - 30.0).abs() < 4.0 && (gaps[0].at_s - 2.515).abs() < 0.005, "{gaps:?}");
    }
    let silences = film.sound().silences(15.0, 0.1..3.9);
    assert_eq!(silences.len(), 1, "{silences:?}");
    assert!((silences[0].1 - 30.0).abs() < 8.0, "{silences:?}");
    let step = film.sound().largest_step(&PEOPLE[..4], 0.0, 2.4..2.9);
    assert!(step < 8.0, "{step}");
}

#[test]
fn one_person_who_is_cut_out_for_20_ms_is_found_among_the_others() {
    let sound: Vec<f32> = (0..3 * ear::RATE)
        .map(|index| {
            let is_away = (72_000..72_960).contains(&index);
            (0..4).filter(|person| !(is_away && *person == 1)).map(|person| world::drawing::heard(person, index)).sum()
        })
        .collect();
    let sound = ear::Sound::new(0.0, sound);
    let gaps = sound.tone_gaps(&PEOPLE[1], 0.0..3.0);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!((gaps[0].length_ms - 20.0).abs() < 1.0 && (gaps[0].at_s - 1.51).abs() < 0.005, "{gaps:?}");
    assert_eq!(sound.tone_gaps(&PEOPLE[0], 0.0..3.0), []);
}

#[test]
fn a_click_is_a_step_above_the_tone() {
    let mut samples: Vec<f32> = (0..2 * ear::RATE).map(|index| world::drawing::heard(0, index)).collect();
    let smooth = ear::Sound::new(0.0, samples.clone());
    assert!(smooth.largest_step(&PEOPLE[..1], 0.0, 0.2..1.9) < 1.05);
    samples.drain(24_000..24_040);
    let jumped = ear::Sound::new(0.0, samples);
    assert!(jumped.largest_step(&PEOPLE[..1], 0.0, 0.2..1.9) > 3.0);
}

#[test]
fn a_beep_is_found_to_a_tenth_of_a_millisecond() {
    let sound = ear::Sound::new(
        10.0,
        (0..3 * ear::RATE).map(|index| (0..4).map(|person| world::drawing::heard(person, index + 12_345)).sum()).collect(),
    );
    for person in &PEOPLE[..4] {
        let beeps = sound.beeps(person, 10.0..13.0);
        let first = 10.0 + (ear::RATE - 12_345) as f64 / ear::RATE as f64;
        assert_eq!(beeps.len(), 3, "{beeps:?}");
        assert!(
            beeps.iter().enumerate().all(|(second, beep)| (beep - first - second as f64).abs() < 0.0003),
            "{beeps:?} {first}"
        );
    }
}
