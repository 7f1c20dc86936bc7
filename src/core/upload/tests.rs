use super::fake_storage::{FakeStorage, Fate, Fates, Stored, World, kind};
use super::*;
use crate::fault::Blame;

const MIB: u64 = 1 << 20;
const KEY: &str = "a/standup.mp4";
const SECOND: Duration = Duration::from_secs(1);

/// Grows by half a MiB a second to this length, then is ended a little longer.
fn meeting(world: &mut World, bytes: u64) {
    let mut grown = world.grown;
    while grown + MIB / 2 < bytes {
        grown += MIB / 2;
        world.grow_to(grown);
        world.run_for(SECOND);
    }
    world.end_at(bytes);
}

fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Three of ten fail, in every way.
fn bad_days(seed: u64) -> Fates {
    let mut roll = dice(seed);
    Box::new(move |_, _| match roll() % 40 {
        0..=2 => Fate::AnswerLost,
        3..=5 => Fate::Lost,
        6..=8 => Fate::Unavailable,
        9..=11 => Fate::DoneButUnavailable,
        _ => Fate::Done,
    })
}

#[test]
fn all_but_the_head_and_the_rest_is_sent_while_the_file_grows() {
    let mut world = World::new();
    meeting(&mut world, 100 * MIB);
    let sent = world.upload.status().sent;
    assert!(sent >= 100 * MIB - plan::HEAD_LEN - 2 * plan::PART_LEN, "{sent}");
    assert!(world.run_to_the_end() < 10 * SECOND);
    world.assert_whole(KEY);
    assert_eq!(world.told, [State::Following, State::Finishing, State::Stored]);
    assert_eq!(world.storage.asked["Create"], 1);
    assert_eq!(world.storage.asked["SendPart"] as usize, plan::pieces(100 * MIB).count());
}

#[test]
fn twelve_hours_are_complete_within_ten_seconds_of_the_stop() {
    let mut world = World::new();
    let len = 12 * 3600 * 575_000;
    // The storage is far faster than the programme, so that growth in large steps is the same.
    for grown in (0..len).step_by(6 << 20) {
        world.grow_to(grown);
        world.run_for(11 * SECOND);
    }
    world.end_at(len + 13 * MIB);
    assert!(world.run_to_the_end() < 10 * SECOND);
    world.assert_whole(KEY);
}

#[test]
fn a_small_recording_is_one_request() {
    for len in [1, 4 * MIB, plan::SINGLE_MAX] {
        let mut world = World::new();
        meeting(&mut world, len);
        world.run_to_the_end();
        world.assert_whole(KEY);
        assert_eq!(world.storage.asked["Put"], 1);
        assert!(!world.storage.asked.contains_key("Create"));
    }
}

#[test]
fn a_storage_that_was_away_the_whole_time_gets_it_later() {
    let mut world = World::new();
    world.fate = Box::new(|_, _| Fate::Lost);
    meeting(&mut world, 40 * MIB);
    world.run_for(3600 * SECOND);
    let State::Retrying(fault) = world.upload.status().state else { panic!("{:?}", world.upload.status()) };
    assert!(fault.sentence.contains("does not answer in time"), "{fault}");
    assert_eq!(fault.blame, Blame::Destination);
    let requests: u32 = world.storage.asked.values().sum();
    assert!((60..200).contains(&requests), "{requests}");
    world.fate = Box::new(|_, _| Fate::Done);
    assert!(world.run_to_the_end() < 60 * SECOND);
    world.assert_whole(KEY);
}

#[test]
fn three_of_ten_answers_lost_or_late_do_no_harm() {
    for seed in 0..300 {
        let mut world = World::new();
        world.fate = bad_days(seed);
        meeting(&mut world, (1 + seed % 60) * MIB);
        world.run_to_the_end();
        world.assert_whole(KEY);
    }
}

#[test]
fn killed_at_any_action_the_next_process_ends_it() {
    let actions = {
        let mut world = World::new();
        meeting(&mut world, 40 * MIB);
        world.run_to_the_end();
        world.actions_done
    };
    for kill in 0..actions {
        let mut world = World::new();
        world.actions_left = Some(kill);
        meeting(&mut world, 40 * MIB);
        world.run_to_the_end();
        assert_eq!(world.crashes, 1, "{kill}");
        world.assert_whole(KEY);
    }
    assert!(actions > 40, "{actions}");
}

#[test]
fn killed_again_and_again_on_a_bad_day() {
    for seed in 0..600 {
        let mut roll = dice(seed);
        let mut world = World::new();
        world.fate = bad_days(seed);
        let len = if roll().is_multiple_of(4) { 10 * MIB } else { 30 * MIB };
        meeting_with_crashes(&mut world, len, &mut roll);
        for _ in 0..roll() % 4 {
            world.actions_left = Some((roll() % 12) as u32);
            world.run_for(20 * SECOND);
        }
        world.actions_left = None;
        world.run_to_the_end();
        world.assert_whole(KEY);
    }
}

fn meeting_with_crashes(world: &mut World, bytes: u64, roll: &mut dyn FnMut() -> u64) {
    for step in 1..=4 {
        if roll().is_multiple_of(2) {
            world.actions_left = Some((roll() % 10) as u32);
        }
        world.grow_to(bytes * step / 5);
        world.run_for(15 * SECOND);
    }
    world.end_at(bytes);
}

#[test]
fn what_is_there_already_is_neither_overwritten_nor_aborted() {
    let mut world = World::new();
    let other = Stored { identity: "other".into(), content: vec![(Piece { number: 1, offset: 0, len: 7 }, true)] };
    for key in [KEY, "a/standup-2.mp4"] {
        world.storage.objects.insert(key.into(), other.clone());
    }
    world.storage.uploads.insert("theirs".into(), ("a/standup-3.mp4".into(), "other".into(), Default::default()));
    world.fate = bad_days(3);
    meeting(&mut world, 40 * MIB);
    world.run_to_the_end();
    world.assert_whole("a/standup-3.mp4");
    assert_eq!(world.storage.objects[KEY], other);
    assert_eq!(world.storage.uploads.keys().collect::<Vec<_>>(), ["theirs"]);
    assert_eq!(world.upload.status().key, "a/standup-3.mp4");
}

#[test]
fn a_refusal_is_told_at_once_and_mended_any_time_later() {
    for (refusal, words) in [
        (Refusal::WrongKey, "does not accept the access key"),
        (Refusal::NoSuchBucket, "the bucket does not exist"),
        (Refusal::ClockDiffers, "clock"),
        (Refusal::WrongRegion, "region"),
    ] {
        let mut world = World::new();
        world.storage.refuses = Some(refusal);
        world.grow_to(1);
        world.run_for(SECOND);
        let State::Refused(fault) = world.upload.status().state else { panic!("{:?}", world.upload.status()) };
        assert!(fault.sentence.contains(words), "{fault}");
        assert_eq!(fault.blame, Blame::Operator);
        meeting(&mut world, 30 * MIB);
        world.run_for(3600 * SECOND);
        let asked: u32 = world.storage.asked.values().sum();
        assert!((60..150).contains(&asked), "{asked}");
        world.storage.refuses = None;
        assert!(world.run_to_the_end() < 90 * SECOND);
        world.assert_whole(KEY);
    }
}

#[test]
fn a_key_that_may_only_write_is_enough_until_it_must_be_looked_at() {
    let mut world = World::new();
    world.storage.refuses = Some(Refusal::AccessDenied);
    world.storage.refuses_only = ["Look", "FindUploads", "ListParts"].into();
    meeting(&mut world, 40 * MIB);
    world.run_for(600 * SECOND);
    assert_eq!(world.storage.objects.len(), 1);
    let State::Refused(fault) = world.upload.status().state else { panic!("{:?}", world.upload.status()) };
    assert!(fault.sentence.contains("to read what it wrote"), "{fault}");
    assert_ne!(world.saved.step, Step::Stored, "not confirmed");
    world.storage.refuses_only = ["FindUploads", "ListParts"].into();
    world.run_to_the_end();
    world.assert_whole(KEY);
}

#[test]
fn a_storage_that_keeps_no_identities_is_believed_by_its_sums() {
    let mut world = World::new();
    world.storage.keeps_identities = false;
    world.fate = bad_days(9);
    meeting(&mut world, 40 * MIB);
    world.run_to_the_end();
    world.assert_whole(KEY);
}

#[test]
fn what_is_shown_with_the_wrong_length_is_never_confirmed() {
    let mut world = World::new();
    world.storage.shows_wrong_length = true;
    meeting(&mut world, 30 * MIB);
    world.run_for(4 * 3600 * SECOND);
    assert_ne!(world.saved.step, Step::Stored);
    let creates = world.storage.asked["Create"];
    assert!((3..12).contains(&creates), "sent anew {creates} times");
    assert!(!world.told.contains(&State::Stored));
    world.storage.shows_wrong_length = false;
    world.run_to_the_end();
    world.assert_whole(KEY);
}

#[test]
fn an_upload_that_the_storage_forgot_is_begun_anew() {
    let mut world = World::new();
    world.grow_to(40 * MIB);
    world.run_for(20 * SECOND);
    world.storage.uploads.clear();
    meeting(&mut world, 60 * MIB);
    world.run_to_the_end();
    world.assert_whole(KEY);
}

#[test]
fn a_lost_answer_to_complete_is_decided_by_looking() {
    for fate in [Fate::AnswerLost, Fate::DoneButUnavailable, Fate::Lost, Fate::Unavailable] {
        let mut world = World::new();
        let mut times = 0;
        world.fate = Box::new(move |_, request| {
            times += u32::from(kind(request) == "Complete");
            if kind(request) == "Complete" && times <= 2 { fate } else { Fate::Done }
        });
        meeting(&mut world, 30 * MIB);
        world.run_to_the_end();
        world.assert_whole(KEY);
        let done = matches!(fate, Fate::AnswerLost | Fate::DoneButUnavailable);
        assert_eq!(world.storage.asked["Complete"], if done { 1 } else { 3 }, "{fate:?}");
        assert_eq!(world.storage.asked["SendPart"] as usize, plan::pieces(30 * MIB).count(), "nothing is sent twice");
    }
}

#[test]
fn what_is_abandoned_leaves_nothing() {
    for seed in 0..200 {
        let mut world = World::new();
        world.fate = bad_days(seed);
        world.grow_to((seed % 5) * 10 * MIB);
        world.run_for(Duration::from_millis(seed * 37));
        world.abandon();
        world.run_to_the_end();
        assert_eq!(world.upload.status().state, State::Abandoned);
        assert!(world.storage.objects.is_empty());
        assert!(world.storage.uploads.is_empty(), "{seed}: {:?}", world.saved);
    }
}

#[test]
fn an_ended_file_is_never_abandoned() {
    let mut world = World::new();
    meeting(&mut world, 20 * MIB);
    world.abandon();
    world.run_to_the_end();
    world.assert_whole(KEY);
}

#[test]
fn keys_are_numbered_before_their_ending() {
    for (key, numbered) in [("a.b/c.mp4", "a.b/c-2.mp4"), ("c", "c-2"), ("a.b/c", "a.b/c-2"), (".mp4", ".mp4-2")] {
        assert_eq!(with_stem_ending(key, "-2"), numbered);
    }
}

#[test]
fn the_fake_storage_knows_right_from_wrong() {
    let mut world = World::new();
    meeting(&mut world, 30 * MIB);
    world.run_to_the_end();
    let stored = world.storage.objects.get_mut(KEY).unwrap();
    stored.content[0].1 = false;
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.assert_whole(KEY))).is_err());
    assert!(FakeStorage::new().uploads.is_empty());
}
