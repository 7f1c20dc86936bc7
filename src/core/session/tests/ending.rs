//! When Takes begin and end, and how a Session comes to its end.

use std::time::Duration;

use super::*;

/// The Target closes and the Conference lets go, both at this time.
fn close(play: &mut Play, ms: u64) {
    play.report(ms, TargetReport::Ended);
    play.ended(ms, EndReason::Left);
}

#[test]
fn a_take_begins_when_we_enter_and_a_stop_ends_it_in_order() {
    let mut play = Play::entered(settings(), &["ada"]);
    assert_eq!(play.deeds(), [begin(100)]);
    play.report(700, TargetReport::TakeWritten { until: at(600) });
    play.input(5000, Input::Stop);
    play.input(5001, Input::Stop);
    assert_eq!(play.session.phase(), Phase::Ending);
    // The last word is awaited for one delay of the mixer before we leave.
    close(&mut play, 6200);
    assert_eq!(play.deeds(), [begin(100), end(5000), leave(5500), over(6200, WhyOver::Stopped, None)]);
    assert_eq!(play.session.poll_wake(), None);
    play.enter(7000, &["ada"]);
    assert_eq!(play.session.phase(), Phase::Over);
}

#[test]
fn a_session_without_a_programme_leaves_at_once_and_in_order() {
    let missing = Fault { scope: Scope::Session, blame: Blame::Operator, ..fault("No programme can be made.") };
    let mut play = Play::entered(settings(), &["ada"]);
    play.input(2000, Input::ProgrammeFailed(missing.clone()));
    assert_eq!(play.deeds(), [begin(100), end(2000), leave(2000)]);
    close(&mut play, 2100);
    assert_eq!(play.deeds().last(), Some(&over(2100, WhyOver::NoProgramme, Some(missing.clone()))));

    // On the way into the room, and with a Conference that does not answer.
    let mut play = Play::new(settings());
    play.input(300, Input::ProgrammeFailed(missing.clone()));
    play.sleep_until(1_000_000);
    assert_eq!(play.deeds(), [leave(300), over(2300, WhyOver::NoProgramme, Some(missing))]);
}

#[test]
fn over_waits_for_the_target_and_for_the_conference() {
    for target_first in [true, false] {
        let mut play = Play::entered(settings(), &["ada"]);
        play.input(1000, Input::Stop);
        if target_first {
            play.report(1600, TargetReport::Ended);
            assert_eq!(play.outcome(), None);
            play.ended(1700, EndReason::Left);
        } else {
            play.ended(1600, EndReason::Left);
            assert_eq!(play.outcome(), None);
            play.report(1700, TargetReport::Ended);
        }
        assert_eq!(play.deeds().last(), Some(&over(1700, WhyOver::Stopped, None)));
    }
}

#[test]
fn who_does_not_answer_is_waited_for_only_so_long() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.input(1000, Input::Stop);
    play.sleep_until(1_000_000);
    let sentence = "The target could not be finished within 60 seconds.".to_owned();
    let late = Fault { scope: Scope::Target, blame: Blame::Us, retry: Retry::Never, sentence };
    assert_eq!(play.deeds(), [begin(100), end(1000), leave(1500), over(61_000, WhyOver::Stopped, Some(late))]);

    let mut play = Play::entered(settings(), &["ada"]);
    play.input(1000, Input::Stop);
    play.report(1100, TargetReport::Ended);
    play.sleep_until(1_000_000);
    assert_eq!(play.deeds().last(), Some(&over(3500, WhyOver::Stopped, None)));
}

#[test]
fn a_refusal_before_we_are_in_begins_no_take() {
    let mut play = Play::new(settings());
    play.ended(300, EndReason::Refused(fault("The token is expired.")));
    assert_eq!(play.deeds(), [over(300, WhyOver::Refused, Some(fault("The token is expired.")))]);

    let mut play = Play::new(settings());
    play.ended(300, EndReason::RoomClosed);
    assert_eq!(play.deeds(), [over(300, WhyOver::RoomClosed, Some(fault("The room was closed before Roomcast was in it.")))]);
}

#[test]
fn a_stop_before_we_are_in_begins_no_take() {
    let mut play = Play::new(settings());
    play.input(300, Input::Stop);
    play.event(400, ConferenceEvent::Entered { title: None });
    play.ended(500, EndReason::Left);
    assert_eq!(play.deeds(), [leave(300), over(500, WhyOver::Stopped, None)]);
}

#[test]
fn a_conference_that_does_not_answer_at_all_is_given_up() {
    let mut play = Play::new(settings());
    play.sleep_until(100_000);
    let why = fault("The conference did not answer within 60 seconds.");
    assert_eq!(play.deeds(), [leave(60_000), over(62_000, WhyOver::ConferenceLost, Some(why))]);
}

#[test]
fn a_closed_room_ends_the_session() {
    for (reason, why) in [(EndReason::RoomClosed, WhyOver::RoomClosed), (EndReason::Removed, WhyOver::Removed)] {
        let mut play = Play::entered(settings(), &["ada"]);
        play.ended(5000, reason);
        play.report(5600, TargetReport::Ended);
        assert_eq!(play.deeds(), [begin(100), end(5000), over(5600, why, None)]);
    }
}

#[test]
fn an_adapter_that_leaves_unasked_is_a_fault_of_ours() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.ended(5000, EndReason::Left);
    play.report(5600, TargetReport::Ended);
    assert_eq!(play.outcome().unwrap().fault.as_ref().unwrap().blame, Blame::Us);
}

#[test]
fn an_empty_room_ends_the_session_also_from_the_start() {
    let mut play = Play::entered(settings(), &[]);
    play.sleep_until(59_000);
    assert_eq!(play.deeds(), [begin(100)]);
    play.sleep_until(61_000);
    close(&mut play, 61_000);
    assert_eq!(play.deeds()[1..], [end(60_100), leave(60_600), over(61_000, WhyOver::RoomEmpty, None)]);
}

#[test]
fn somebody_who_comes_in_time_keeps_the_session_and_the_grace_begins_anew() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.leaves(10_000, "ada");
    play.joins(69_000, "bob");
    play.leaves(80_000, "bob");
    play.sleep_until(139_999);
    assert_eq!(play.session.phase(), Phase::Live);
    play.sleep_until(140_000);
    assert_eq!(play.deeds()[1], end(140_000));
}

#[test]
fn a_room_that_was_empty_when_the_connection_was_lost_is_looked_at_again() {
    let mut play = Play::entered(settings(), &[]);
    play.lost(50_000);
    play.sleep_until(70_000);
    assert_eq!(play.session.phase(), Phase::Live);
    play.enter(80_000, &["ada"]);
    play.sleep_until(1_000_000);
    assert_eq!(play.session.phase(), Phase::Live);
}

#[test]
fn the_ordered_duration_is_exact_however_late_the_wake_up() {
    let ordered = SessionSettings { duration: Some(Duration::from_secs(20)), ..settings() };
    let mut play = Play::entered(ordered, &["ada"]);
    assert_eq!(play.session.poll_wake(), Some((at(20_100), Wake::Duration)));
    play.session.handle(Input::Woken, at(20_390));
    play.now = at(20_390);
    play.drain();
    close(&mut play, 21_000);
    let cut = (at(20_390), Action::EndTake { target: file(), at: at(20_100), then: After::Stop });
    assert_eq!(play.deeds(), [begin(100), cut, leave(20_890), over(21_000, WhyOver::DurationReached, None)]);
}

#[test]
fn twelve_hours_are_the_most() {
    let mut play = Play::entered(settings(), &["ada"]);
    let twelve_hours = 12 * 3600 * 1000;
    play.sleep_until(twelve_hours - 1);
    assert_eq!(play.deeds(), [begin(100)]);
    play.sleep_until(twelve_hours + 600);
    close(&mut play, twelve_hours + 700);
    assert_eq!(play.deeds()[1], end(twelve_hours));
    assert_eq!(play.outcome().unwrap().why, WhyOver::MaxDurationReached);
}

#[test]
fn a_connection_that_stays_lost_ends_the_session_with_its_fault() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.lost(10_000);
    // Repeated attempts do not make the wait longer.
    play.event(60_000, ConferenceEvent::Lost { fault: fault("Still away.") });
    play.report(80_000, TargetReport::Ended);
    let expected = [begin(100), end(70_000), leave(70_000), over(80_000, WhyOver::ConferenceLost, Some(fault("Still away.")))];
    assert_eq!(play.deeds(), expected);
}

#[test]
fn coming_back_opens_nothing_twice() {
    let mut play = Play::entered(settings(), &["ada"]);
    for ms in [10_000, 20_000, 30_000] {
        play.lost(ms);
        play.enter(ms + 5000, &["ada"]);
    }
    // An adapter may enter anew without having said that it lost the connection.
    play.enter(40_000, &["ada"]);
    play.sleep_until(200_000);
    assert_eq!(play.deeds(), [begin(100)]);
    assert_eq!(play.tiles(), ["ada"]);
}

#[test]
fn a_target_is_live_when_something_is_safe_and_not_before() {
    let mut play = Play::new(settings());
    let state = |play: &Play| play.session.target(&file()).unwrap().clone();
    assert_eq!(state(&play), TargetState::Idle);
    play.enter(100, &["ada"]);
    assert_eq!(state(&play), TargetState::Starting { take: TakeId(1), from: at(100) });
    play.report(1000, TargetReport::TakeWritten { until: at(600) });
    play.report(1001, TargetReport::TakeWritten { until: at(500) });
    assert_eq!(state(&play), TargetState::Live { take: TakeId(1), from: at(100), written: at(600) });
    play.input(2000, Input::Stop);
    assert_eq!(state(&play), TargetState::Finishing { since: at(2000) });
    play.report(2100, TargetReport::TakeWritten { until: at(2000) });
    play.report(2200, TargetReport::Ended);
    assert_eq!(state(&play), TargetState::Ended);
}

#[test]
fn a_failed_target_does_not_end_another_and_the_last_one_ends_the_session() {
    let second = TargetId::new("copy");
    let mut play = Play::entered(SessionSettings { targets: vec![file(), second.clone()], ..settings() }, &["ada"]);
    play.report(1000, TargetReport::Failed(fault("The disk is full.")));
    play.report(1000, TargetReport::Failed(fault("Again.")));
    play.report(1100, TargetReport::Ended);
    assert_eq!(play.deeds()[2..], [end(1000)]);
    assert_eq!(play.session.phase(), Phase::Live);
    play.input(2000, Input::Target { id: second.clone(), report: TargetReport::Failed(fault("Full, too.")) });
    play.input(2100, Input::Target { id: second.clone(), report: TargetReport::Ended });
    play.ended(2600, EndReason::Left);
    let cut = (at(2000), Action::EndTake { target: second, at: at(2000), then: After::Stop });
    assert_eq!(play.deeds()[3..], [cut, leave(2500), over(2600, WhyOver::NoTargetLeft, Some(fault("The disk is full.")))]);
}

#[test]
fn a_failure_while_finishing_is_in_the_outcome() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.input(1000, Input::Stop);
    play.report(1100, TargetReport::Failed(fault("The disk is full.")));
    play.ended(1600, EndReason::Left);
    assert_eq!(play.outcome(), None);
    play.report(1700, TargetReport::Ended);
    assert_eq!(play.outcome(), Some(&Outcome { why: WhyOver::Stopped, fault: Some(fault("The disk is full.")) }));
}

#[test]
fn a_target_that_closes_by_itself_has_its_take_ended_once() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.report(1000, TargetReport::Ended);
    play.report(1100, TargetReport::Ended);
    play.input(1200, Input::Stop);
    play.ended(1600, EndReason::Left);
    assert_eq!(play.deeds(), [begin(100), end(1000), leave(1500), over(1600, WhyOver::NoTargetLeft, None)]);
}

#[test]
fn a_replacement_worker_continues_time_and_takes() {
    let again = SessionSettings { first_take: TakeId(3), ..settings() };
    let mut session = Session::new(again, at(500_000));
    session.handle(Input::Conference(ConferenceEvent::Entered { title: None }), at(500_300));
    let actions: Vec<_> = std::iter::from_fn(|| session.poll_action()).collect();
    assert!(actions.contains(&Action::BeginTake { target: file(), take: TakeId(3), at: at(500_300) }), "{actions:?}");
}

#[test]
fn time_never_goes_back() {
    let mut play = Play::entered(settings(), &["ada"]);
    play.session.handle(Input::Stop, at(50));
    play.drain();
    assert_eq!(play.deeds()[1], (at(100), Action::EndTake { target: file(), at: at(100), then: After::Stop }));
}
