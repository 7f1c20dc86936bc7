//! What is told about a Target, and when, on virtual time.

use super::*;
use crate::made_up::at;

fn failed() -> Standing {
    Standing::Error { code: "destination_failed", message: "The destination refuses the stream.".to_owned() }
}

/// What is told of `standing` at each of these times, when nothing else happens.
fn told(reporter: &mut Reporter, standing: &Standing, times: &[u64]) -> Vec<u64> {
    times.iter().copied().filter(|ms| reporter.look(standing, at(*ms)).is_some()).collect()
}

#[test]
fn a_click_is_answered_at_once_and_what_a_silent_reset_undid_is_told_again() {
    let mut reporter = Reporter::default();
    assert_eq!(reporter.look(&Standing::Inactive, at(0)), None, "of what never began nothing is said");
    reporter.acted(at(1000));
    assert_eq!(reporter.look(&Standing::Starting, at(1010)), Some(Standing::Starting));
    assert_eq!(reporter.wake(), Some(at(6100)), "five seconds after the click the controller may have reset it");
    assert_eq!(told(&mut reporter, &Standing::Starting, &[2000, 6099, 6100, 6101, 60_000]), [6100]);
    assert_eq!(reporter.wake(), None);
    assert_eq!(reporter.look(&Standing::Active, at(60_001)), Some(Standing::Active));
}

#[test]
fn active_within_five_seconds_is_not_reset_and_not_repeated() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert!(reporter.look(&Standing::Starting, at(10)).is_some());
    assert_eq!(reporter.look(&Standing::Active, at(900)), Some(Standing::Active));
    assert_eq!(told(&mut reporter, &Standing::Active, &[5100, 5200, 100_000]), [] as [u64; 0]);
}

#[test]
fn an_early_error_is_told_again_because_it_is_reset_too() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert_eq!(told(&mut reporter, &failed(), &[300, 400, 5000, 5100, 5200]), [300, 5100]);
}

#[test]
fn changes_that_no_moderator_caused_are_told_at_most_once_in_ten_seconds() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert!(reporter.look(&Standing::Active, at(500)).is_some());
    assert_eq!(reporter.look(&failed(), at(1000)), None);
    assert_eq!(reporter.wake(), Some(at(10_500)));
    assert_eq!(reporter.look(&Standing::Active, at(2000)), None, "back before anybody saw it");
    assert_eq!(reporter.look(&failed(), at(7000)), None);
    assert_eq!(reporter.wake(), Some(at(10_500)));
    assert_eq!(reporter.look(&failed(), at(10_500)), Some(failed()));
    // The moderator's own action is answered at once.
    reporter.acted(at(11_000));
    assert_eq!(reporter.look(&Standing::Inactive, at(11_000)), Some(Standing::Inactive));
}

#[test]
fn who_wants_what_is_so_already_is_answered() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert!(reporter.look(&Standing::Active, at(100)).is_some());
    reporter.acted(at(20_000));
    assert_eq!(told(&mut reporter, &Standing::Active, &[20_000, 20_001, 30_000]), [20_000]);
}

#[test]
fn a_conference_that_contradicts_is_told_again_and_not_more_than_once_a_second() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert!(reporter.look(&Standing::Starting, at(10)).is_some());
    assert!(reporter.look(&Standing::Active, at(500)).is_some());
    // Echoes of both reports, one after the other.
    reporter.shown(Light::Starting, at(510));
    reporter.shown(Light::Active, at(520));
    assert_eq!(reporter.look(&Standing::Active, at(530)), None);
    // Another recorder's socket ended, and everything was reset.
    reporter.shown(Light::Inactive, at(20_000));
    assert_eq!(reporter.look(&Standing::Active, at(20_000)), Some(Standing::Active));
    reporter.shown(Light::Inactive, at(20_001));
    assert_eq!(reporter.wake(), Some(at(21_000)));
    assert_eq!(told(&mut reporter, &Standing::Active, &[20_500, 21_000, 22_000]), [21_000]);
}

#[test]
fn a_new_connection_is_told_everything_that_is_not_inactive() {
    let mut reporter = Reporter::default();
    reporter.acted(at(0));
    assert!(reporter.look(&Standing::Active, at(100)).is_some());
    reporter.forgotten();
    assert_eq!(reporter.look(&Standing::Active, at(200)), Some(Standing::Active));
    reporter.forgotten();
    assert_eq!(reporter.look(&Standing::Inactive, at(300)), None);
}
