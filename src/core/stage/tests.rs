use crate::conference::{Facts, Hand, Role};
use crate::ids::TrackKind;
use crate::made_up::{at, id, track};
use crate::supervision::Caution;

use super::*;

fn room(names: &[&str]) -> People {
    let mut people = People::default();
    for name in names {
        people.joined(id(name), Pii::new(*name), at(0));
        people.track_up(&track(name, TrackKind::Camera), false);
        people.track_up(&track(name, TrackKind::Microphone), false);
    }
    people
}

/// Every 100 ms from `from` to before `to`: these are loud (or how loud), and the time at which the seats' order or speakers changed.
fn talk(people: &mut People, from: u64, to: u64, levels: &[(&str, f32)]) -> Vec<u64> {
    let mut changes = vec![];
    for ms in (from..to).step_by(100) {
        let before = people.revision();
        let heard: Vec<_> = levels.iter().map(|(name, dbfs)| Loudness { participant: id(name), dbfs: *dbfs }).collect();
        people.metered(&heard, at(ms));
        people.settle(at(ms));
        if people.revision() != before {
            changes.push(ms);
        }
    }
    changes
}

fn order(people: &People) -> Vec<String> {
    people.stage(&Caution::None).seats.iter().map(|seat| seat.participant.to_string()).collect()
}

fn speakers(people: &People) -> Vec<String> {
    let mut speakers: Vec<_> =
        people.stage(&Caution::None).seats.iter().filter(|seat| seat.speaking).map(|seat| seat.participant.to_string()).collect();
    speakers.sort();
    speakers
}

#[test]
fn a_click_is_not_speech_and_a_pause_is_not_silence() {
    let mut people = room(&["ada"]);
    talk(&mut people, 0, 200, &[("ada", -20.0)]);
    assert_eq!(speakers(&people), [""; 0]);
    talk(&mut people, 200, 1000, &[("ada", -80.0)]);
    assert_eq!(speakers(&people), [""; 0]);
    talk(&mut people, 1000, 1300, &[("ada", -20.0)]);
    assert_eq!(speakers(&people), ["ada"]);
    assert_eq!(talk(&mut people, 1300, 2200, &[("ada", -80.0)]), [] as [u64; 0]);
    assert_eq!(talk(&mut people, 2200, 2300, &[("ada", -20.0)]), [] as [u64; 0]);
    assert_eq!(talk(&mut people, 2300, 4000, &[("ada", -80.0)]), [3300]);
    assert_eq!(speakers(&people), [""; 0]);
}

#[test]
fn levels_between_the_thresholds_change_nothing() {
    let mut people = room(&["ada"]);
    assert_eq!(talk(&mut people, 0, 2000, &[("ada", -47.0)]), [] as [u64; 0]);
    talk(&mut people, 2000, 2500, &[("ada", -40.0)]);
    assert_eq!(talk(&mut people, 2500, 5000, &[("ada", -47.0)]), [] as [u64; 0]);
    assert_eq!(speakers(&people), ["ada"]);
    // Not a number is silence, and does not stick.
    talk(&mut people, 5000, 6500, &[("ada", f32::NAN)]);
    assert_eq!(speakers(&people), [""; 0]);
    talk(&mut people, 6500, 7000, &[("ada", f32::INFINITY)]);
    assert_eq!(speakers(&people), ["ada"]);
}

#[test]
fn our_meter_has_precedence_and_the_hint_counts_without_it() {
    let mut people = room(&["ada", "bob"]);
    people.hinted(&[id("bob")], at(0));
    people.settle(at(0));
    assert_eq!(people.next_change(at(0)), Some(at(200)));
    people.settle(at(200));
    assert_eq!(speakers(&people), ["bob"]);
    talk(&mut people, 300, 2000, &[("ada", -20.0), ("bob", -90.0)]);
    assert_eq!(speakers(&people), ["ada"]);
    people.hinted(&[id("bob")], at(2000));
    people.settle(at(3500));
    assert_eq!(speakers(&people), ["ada"]);
    // The meter said its last word at 1.9 s: 2 s later the hint counts again, and a second later Ada no longer speaks.
    assert_eq!(people.next_change(at(3500)), Some(at(3900)));
    for _ in 0..9 {
        let Some(next) = people.next_change(at(3900)) else { break };
        people.settle(next);
    }
    assert_eq!(speakers(&people), ["bob"]);
    assert_eq!(people.next_change(at(9000)), None);
}

#[test]
fn the_floor_is_held_for_two_seconds_and_does_not_flicker() {
    let mut people = room(&["ada", "bob", "cem"]);
    talk(&mut people, 0, 300, &[("cem", -20.0)]);
    assert_eq!(order(&people)[0], "cem");
    // A short word of Cem, then Bob at once: Bob gets it when Cem counts as silent.
    talk(&mut people, 300, 1100, &[("cem", -90.0), ("bob", -30.0)]);
    assert_eq!(order(&people)[0], "cem");
    assert_eq!(talk(&mut people, 1100, 2200, &[("cem", -90.0), ("bob", -30.0)]), [1300]);
    assert_eq!(order(&people)[0], "cem");
    talk(&mut people, 2200, 2300, &[("cem", -90.0), ("bob", -30.0)]);
    assert_eq!(order(&people), ["bob", "cem", "ada"]);
    // Both go on at the same loudness: nothing changes for a minute but that Cem's border appears.
    talk(&mut people, 2300, 3000, &[("cem", -30.0), ("bob", -30.0)]);
    assert_eq!(talk(&mut people, 3000, 60_000, &[("cem", -30.0), ("bob", -30.0)]), [] as [u64; 0]);
    // Nobody speaks: whoever spoke last keeps the floor.
    talk(&mut people, 60_000, 90_000, &[("cem", -90.0), ("bob", -90.0)]);
    assert_eq!(order(&people)[0], "bob");
}

#[test]
fn a_noisy_microphone_does_not_keep_the_floor_for_ever() {
    let mut people = room(&["fan", "ada"]);
    talk(&mut people, 0, 10_000, &[("fan", -42.0), ("ada", -90.0)]);
    assert_eq!(order(&people)[0], "fan");
    talk(&mut people, 10_000, 12_900, &[("fan", -42.0), ("ada", -25.0)]);
    assert_eq!(order(&people)[0], "fan");
    talk(&mut people, 12_900, 13_100, &[("fan", -42.0), ("ada", -25.0)]);
    assert_eq!(order(&people)[0], "ada");
    assert_eq!(talk(&mut people, 13_100, 60_000, &[("fan", -42.0), ("ada", -25.0)]), [] as [u64; 0]);
}

#[test]
fn who_leaves_gives_up_the_floor() {
    let mut people = room(&["ada", "bob"]);
    talk(&mut people, 0, 500, &[("bob", -20.0)]);
    people.left(&id("bob"));
    people.settle(at(600));
    assert_eq!(order(&people), ["ada"]);
    people.joined(id("bob"), Pii::new("bob"), at(700));
    assert_eq!(order(&people), ["ada", "bob"]);
}

#[test]
fn screens_come_first_the_newest_at_the_front_and_a_paused_one_has_no_seat() {
    let mut people = room(&["ada", "bob"]);
    people.track_up(&track("bob", TrackKind::Screen), false);
    people.track_up(&track("ada", TrackKind::Screen), false);
    let parts = |people: &People| -> Vec<_> {
        people.stage(&Caution::None).seats.iter().map(|seat| (seat.participant.to_string(), seat.part)).collect()
    };
    let (screen, person) = (Part::Screen, Part::Person);
    assert_eq!(parts(&people), [("ada".into(), screen), ("bob".into(), screen), ("ada".into(), person), ("bob".into(), person)]);
    people.track_up(&track("ada", TrackKind::Screen), true);
    assert_eq!(parts(&people), [("bob".into(), screen), ("ada".into(), person), ("bob".into(), person)]);
    people.track_down(&track("bob", TrackKind::Screen));
    assert_eq!(parts(&people), [("ada".into(), person), ("bob".into(), person)]);
}

#[test]
fn a_muted_or_absent_microphone_is_seen_and_a_muted_one_is_heard_on() {
    let mut people = room(&["ada"]);
    let muted = |people: &People| people.stage(&Caution::None).seats[0].muted;
    assert!(!muted(&people));
    people.track_up(&track("ada", TrackKind::Microphone), true);
    assert!(muted(&people));
    assert_eq!(people.stage(&Caution::None).audible, [track("ada", TrackKind::Microphone)]);
    people.track_down(&track("ada", TrackKind::Microphone));
    assert!(muted(&people));
    assert_eq!(people.stage(&Caution::None).audible, []);
}

#[test]
fn hands_are_in_the_order_of_raising_and_a_repeated_one_keeps_its_place() {
    let mut people = room(&["ada", "bob", "cem", "dia"]);
    let raise = |people: &mut People, name: &str, unix_ms| {
        people.told_facts(&id(name), &Facts { hand: Hand::Raised { unix_ms }, ..Facts::default() });
    };
    raise(&mut people, "dia", None);
    raise(&mut people, "bob", None);
    raise(&mut people, "dia", None);
    let hands = |people: &People| {
        let mut hands: Vec<_> = people
            .stage(&Caution::None)
            .seats
            .iter()
            .filter_map(|seat| Some((seat.hand?, seat.participant.to_string())))
            .collect();
        hands.sort();
        hands.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(hands(&people), ["dia", "bob"]);
    // Who says when comes before those of whom it is only known when it was told.
    raise(&mut people, "cem", Some(2000));
    raise(&mut people, "ada", Some(1000));
    assert_eq!(hands(&people), ["ada", "cem", "dia", "bob"]);
    let revision = people.revision();
    raise(&mut people, "ada", Some(1000));
    assert_eq!(people.revision(), revision, "nothing new");
    people.told_facts(&id("cem"), &Facts { role: Role::Moderator, ..Facts::default() });
    assert_eq!(hands(&people), ["ada", "dia", "bob"]);
    assert_eq!(people.stage(&Caution::None).seats.iter().filter(|seat| seat.role == Role::Moderator).count(), 1);
}

#[test]
fn a_track_of_somebody_unknown_is_ignored() {
    let mut people = room(&["ada"]);
    people.track_up(&track("eve", TrackKind::Microphone), false);
    people.left(&id("ada"));
    people.track_up(&track("ada", TrackKind::Camera), false);
    assert_eq!((people.count(), people.tracks().count(), people.footprint()), (0, 0, 0));
}

#[test]
fn whoever_a_restarted_server_lets_back_later_has_the_place_of_before() {
    let mut people = room(&["ada", "bjoern", "chiara"]);
    people.doubt_everybody();
    people.listed();
    assert_eq!(order(&people), [""; 0], "nobody is back yet");
    for name in ["chiara", "dmitri", "ada", "bjoern"] {
        people.joined(id(name), Pii::new(name), at(1000));
    }
    assert_eq!(order(&people), ["ada", "bjoern", "chiara", "dmitri"]);
    people.left(&id("ada"));
    people.joined(id("ada"), Pii::new("ada"), at(2000));
    assert_eq!(order(&people), ["bjoern", "chiara", "dmitri", "ada"], "who leaves by themselves comes back behind the others");
}
