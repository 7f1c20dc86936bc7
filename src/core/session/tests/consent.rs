//! Nothing of anybody without consent: not subscribed, not drawn, not heard, not named.

use super::*;
use crate::conference::Facts;
use crate::stage::ConsentRule;

fn asked() -> SessionSettings {
    SessionSettings { consent: ConsentRule::Asked { call_in_included: false }, ..settings() }
}

impl Play {
    fn consents(&mut self, ms: u64, name: &str, given: bool) {
        self.event(ms, ConferenceEvent::Consent { participant: id(name), given, by: "update" });
    }
}

#[test]
fn only_who_agreed_is_received_drawn_heard_and_named() {
    let mut play = Play::entered(asked(), &["ada", "bob"]);
    assert!(play.subscribed().is_empty());
    assert_eq!(play.tiles(), [] as [&str; 0]);
    assert!(play.notice().is_some_and(|text| text.contains("agreed") || text.contains("consent")), "{:?}", play.notice());
    play.consents(1000, "ada", true);
    assert_eq!(play.tiles(), ["ada"]);
    let received: Vec<_> = play.subscribed().into_iter().map(|subscription| subscription.track).collect();
    assert_eq!(received, [track("ada", TrackKind::Camera), track("ada", TrackKind::Microphone)]);
    assert!(!format!("{:?}", play.shown()).contains("bob"));
    // What Bob does changes nothing for the others.
    let before = play.log.len();
    play.event(2000, ConferenceEvent::Speaking { participants: vec![id("bob")] });
    play.up(2100, "bob", TrackKind::Screen);
    play.sleep_until(4000);
    assert_eq!(play.log.len(), before, "{:?}", &play.log[before..]);
}

#[test]
fn a_withdrawal_holds_for_everything_that_is_not_mixed_yet() {
    let mut play = Play::entered(asked(), &["ada", "bob"]);
    play.consents(1000, "ada", true);
    play.consents(1000, "bob", true);
    play.consents(5000, "bob", false);
    assert_eq!(play.tiles(), ["ada"]);
    assert_eq!(play.shown().from, SessionTime::ZERO, "applied at once, not when the mixer gets there");
    assert_eq!(play.shown().audible, [track("ada", TrackKind::Microphone)]);
    assert_eq!(play.layer("bob", TrackKind::Microphone), None);
    // Scenes after it begin in their own time again.
    play.consents(9000, "bob", true);
    assert_eq!(play.shown().from, at(9000));
}

#[test]
fn after_a_rejoin_holds_what_the_room_states_now() {
    let mut play = Play::entered(asked(), &["ada", "bob"]);
    play.consents(1000, "ada", true);
    play.consents(1000, "bob", true);
    play.lost(5000);
    let before = play.log.len();
    play.event(6000, ConferenceEvent::Entered { title: None });
    for name in ["ada", "bob"] {
        play.joins(6000, name);
        play.up(6000, name, TrackKind::Camera);
        play.consents(6000, name, name == "ada");
    }
    assert_eq!(play.log.len(), before, "nothing changes while the list is told: {:?}", &play.log[before..]);
    play.event(6000, ConferenceEvent::Listed);
    assert_eq!(play.tiles(), ["ada"]);
    assert_eq!(play.shown().from, SessionTime::ZERO);
    assert_eq!(play.layer("bob", TrackKind::Camera), None);
}

#[test]
fn who_leaves_has_to_agree_again() {
    let mut play = Play::entered(asked(), &["ada", "bob"]);
    play.consents(1000, "bob", true);
    play.leaves(2000, "bob");
    play.joins(3000, "bob");
    play.up(3000, "bob", TrackKind::Microphone);
    assert!(play.subscribed().is_empty());
}

#[test]
fn callers_are_left_out_or_included_as_configured() {
    for included in [false, true] {
        let settings = SessionSettings { consent: ConsentRule::Asked { call_in_included: included }, ..settings() };
        let mut play = Play::entered(settings, &["phone"]);
        let facts = Facts { call_in: true, ..Facts::default() };
        play.event(500, ConferenceEvent::Facts { participant: id("phone"), facts });
        assert_eq!(play.layer("phone", TrackKind::Microphone).is_some(), included);
        // One that could be asked is recorded either way.
        play.consents(1000, "phone", true);
        assert!(play.layer("phone", TrackKind::Microphone).is_some());
    }
}

#[test]
fn where_nobody_is_asked_media_go_on_until_the_room_is_joined_again() {
    let settings = SessionSettings { commanded: Some(Commanded::default()), ..settings() };
    let mut play = Play::entered(settings, &["ada"]);
    play.lost(10_000);
    play.sleep_until(40_000);
    assert_eq!((play.tiles(), play.notice()), (vec!["ada".to_owned()], None), "the picture goes on");
    assert_eq!(play.shown().audible, [track("ada", TrackKind::Microphone)]);
    // A room whose media server is all there is has nothing to show.
    let mut play = Play::entered(super::settings(), &["ada"]);
    play.lost(10_000);
    assert!(play.notice().is_some());
}

#[test]
fn while_nobody_can_withdraw_media_are_kept_for_three_seconds_and_then_a_card_is_shown() {
    let mut play = Play::entered(asked(), &["ada"]);
    play.consents(1000, "ada", true);
    play.lost(10_000);
    assert_eq!(play.tiles(), ["ada"], "the picture goes on");
    assert_eq!(play.notice(), None);
    play.sleep_until(12_999);
    assert_eq!(play.tiles(), ["ada"]);
    play.sleep_until(13_000);
    assert_eq!(play.tiles(), [] as [&str; 0]);
    assert!(play.shown().audible.is_empty());
    assert!(play.subscribed().is_empty());
    assert!(play.notice().is_some());
    play.event(20_000, ConferenceEvent::Entered { title: None });
    play.joins(20_000, "ada");
    play.up(20_000, "ada", TrackKind::Camera);
    play.consents(20_000, "ada", true);
    play.event(20_000, ConferenceEvent::Listed);
    assert_eq!(play.tiles(), ["ada"]);
}
