use crate::ids::TrackKind;
use crate::made_up::track;

use super::*;

fn at(seconds: u64) -> SessionTime {
    SessionTime::from_millis(seconds * 1000)
}

/// All actions since the last call.
fn drain(supervision: &mut Supervision) -> Vec<Action> {
    std::iter::from_fn(|| supervision.poll_action()).collect()
}

fn die(supervision: &mut Supervision, seconds: u64) -> Vec<Action> {
    supervision.handle(Input::WorkerDied { how: Death::Signal(11) }, at(seconds));
    drain(supervision)
}

fn started_with(actions: &[Action]) -> Vec<(Caution, u32)> {
    let start = |action: &Action| match action {
        Action::Start { caution, attempt } => Some((caution.clone(), *attempt)),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

#[test]
fn caution_grows_with_deaths_within_a_minute() {
    let mut supervision = Supervision::new();
    assert_eq!(drain(&mut supervision), [Action::Start { caution: Caution::None, attempt: 1 }]);
    supervision.handle(Input::WorkerStarted, at(0));
    assert_eq!(started_with(&die(&mut supervision, 10)), [(Caution::None, 2)]);
    let (camera, sound) = (track("ada", TrackKind::Camera), track("ada", TrackKind::Microphone));
    supervision.handle(Input::WorkerDecodes(vec![track("bob", TrackKind::Camera)]), at(11));
    supervision.handle(Input::WorkerDecodes(vec![camera.clone(), sound]), at(12));
    let actions = die(&mut supervision, 20);
    assert_eq!(started_with(&actions), [(Caution::Without(vec![camera]), 3)]);
    let Action::Tell(fault) = &actions[0] else { panic!("the moderator is not told: {actions:?}") };
    assert_eq!(fault.sentence, "The worker died (signal 11); the recording goes on without the pictures shown last.");
    assert_eq!(started_with(&die(&mut supervision, 30)), [(Caution::SoundOnly, 4)]);
    assert_eq!(started_with(&die(&mut supervision, 40)), [(Caution::SoundOnly, 5)]);
    let Action::Finish { fault: Some(fault) } = &die(&mut supervision, 50)[0] else { panic!("goes on for ever") };
    assert_eq!(fault.sentence, "The worker died 5 times within a minute, the last time by signal 11; what was written is kept.");
    assert_eq!((fault.scope, fault.retry), (Scope::Session, Retry::Never));
    assert!(supervision.is_over());
    assert_eq!(die(&mut supervision, 51), []);
}

#[test]
fn deaths_far_apart_do_not_count_together() {
    let mut supervision = Supervision::new();
    drain(&mut supervision);
    for n in 0..1000 {
        assert_eq!(started_with(&die(&mut supervision, 61 * n)), [(Caution::None, n as u32 + 2)]);
        assert_eq!(supervision.deaths.len(), 1);
    }
    assert_eq!(started_with(&die(&mut supervision, 61 * 999 + 60))[0].0, Caution::Without(vec![]));
}

#[test]
fn an_end_is_an_end() {
    let fault = Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence: "Bad token.".into() };
    let mut supervision = Supervision::new();
    drain(&mut supervision);
    supervision.handle(Input::WorkerEnded { fault: Some(fault.clone()) }, at(3));
    assert_eq!(drain(&mut supervision), [Action::Finish { fault: Some(fault) }]);
    // The process exits after its last message; that is no death.
    assert_eq!(die(&mut supervision, 3), []);
}

#[test]
fn a_worker_that_dies_while_stopping_is_not_replaced() {
    let mut supervision = Supervision::new();
    drain(&mut supervision);
    supervision.handle(Input::Stop, at(5));
    supervision.handle(Input::Stop, at(6));
    assert_eq!(drain(&mut supervision), [Action::TellStop]);
    let actions = die(&mut supervision, 7);
    assert_eq!(started_with(&actions), []);
    assert!(matches!(&actions[..], [Action::Finish { fault: Some(_) }]));
}

#[test]
fn a_worker_that_does_not_stop_is_killed_once() {
    let mut supervision = Supervision::new();
    drain(&mut supervision);
    supervision.handle(Input::Stop, at(5));
    assert_eq!(drain(&mut supervision), [Action::TellStop]);
    // It was still starting, and could not hear.
    supervision.handle(Input::WorkerStarted, at(6));
    assert_eq!(drain(&mut supervision), [Action::TellStop]);
    assert_eq!(supervision.poll_wake(), Some(at(95)));
    supervision.handle(Input::Woken, at(94));
    assert_eq!(drain(&mut supervision), []);
    supervision.handle(Input::Woken, at(95));
    assert_eq!(drain(&mut supervision), [Action::Kill]);
    supervision.handle(Input::Woken, at(200));
    assert_eq!(drain(&mut supervision), []);
    assert_eq!(supervision.poll_wake(), None);
    assert!(matches!(&die(&mut supervision, 201)[..], [Action::Finish { fault: Some(_) }]));
}
