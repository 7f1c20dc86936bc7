//! What `roster` promises.

use livekit_protocol::{ParticipantPermission, Room};
use recorder_core::conference::ConferenceEvent::*;
use recorder_core::conference::{Hand, Role};

use super::*;

fn track(sid: &str, kind: TrackType, source: TrackSource) -> TrackInfo {
    TrackInfo { sid: sid.into(), r#type: kind.into(), source: source.into(), ..Default::default() }
}

fn camera(sid: &str) -> TrackInfo {
    track(sid, TrackType::Video, TrackSource::Camera)
}

fn person(identity: &str, sid: &str, tracks: Vec<TrackInfo>) -> ParticipantInfo {
    let state = participant_info::State::Active.into();
    ParticipantInfo {
        identity: identity.into(),
        sid: sid.into(),
        name: identity.to_uppercase(),
        state,
        tracks,
        ..Default::default()
    }
}

fn joined(others: Vec<ParticipantInfo>) -> (Roster, Vec<ConferenceEvent>) {
    let mut roster = Roster::default();
    let events = roster.joined(&JoinResponse {
        room: Some(Room { name: "r".into(), ..Default::default() }),
        participant: Some(person("us", "PA_us", vec![])),
        other_participants: others,
        ..Default::default()
    });
    (roster, events)
}

fn id(identity: &str) -> ParticipantId {
    ParticipantId::new(identity)
}

fn cam(identity: &str) -> TrackId {
    TrackId::new(id(identity), TrackKind::Camera)
}

#[test]
fn entering_tells_everybody_and_ends_with_listed() {
    let (roster, events) = joined(vec![person("a", "PA_a", vec![camera("TR_1")])]);
    let expected = vec![
        Entered { title: Some(Pii::new("r")) },
        Joined { participant: id("a"), name: Pii::new("A") },
        ConferenceEvent::Facts { participant: id("a"), facts: recorder_core::conference::Facts::default() },
        TrackUp { track: cam("a"), muted: false },
        Listed,
    ];
    assert_eq!(events, expected);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_1"));
    assert_eq!(roster.track_of("TR_1"), Some(cam("a")));
}

#[test]
fn roles_and_hands_are_told_when_they_change() {
    let told = |hand: &str| ParticipantInfo {
        attributes: [("roomcast.role", "moderator"), ("roomcast.hand", hand)]
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        ..person("a", "PA_a", vec![])
    };
    let facts = |hand| {
        let facts = recorder_core::conference::Facts { role: Role::Moderator, hand, avatar: None, call_in: false };
        ConferenceEvent::Facts { participant: id("a"), facts }
    };
    let (mut roster, events) = joined(vec![told("")]);
    assert_eq!(events[2], facts(Hand::Down));
    assert_eq!(roster.updated(&[told("yes")]), [facts(Hand::Raised { unix_ms: None })]);
    assert_eq!(roster.updated(&[told("yes")]), []);
    assert_eq!(roster.listing()[2], facts(Hand::Raised { unix_ms: None }));
    let none = ConferenceEvent::Facts { participant: id("a"), facts: recorder_core::conference::Facts::default() };
    assert_eq!(roster.updated(&[person("a", "PA_a", vec![])]), [none]);
}

#[test]
fn a_camera_that_is_switched_is_the_same_track_with_another_sid() {
    let (mut roster, _) = joined(vec![person("a", "PA_a", vec![camera("TR_1")])]);
    assert_eq!(roster.updated(&[person("a", "PA_a", vec![camera("TR_1"), camera("TR_2")])]), []);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_2"), "the newer one");
    assert_eq!(roster.track_of("TR_1"), None);
    assert_eq!(roster.updated(&[person("a", "PA_a", vec![])]), [TrackDown { track: cam("a") }]);
    assert_eq!(roster.updated(&[person("a", "PA_a", vec![camera("TR_3")])]), [TrackUp { track: cam("a"), muted: false }]);
}

#[test]
fn muting_is_told_and_a_muted_second_camera_does_not_win() {
    let (mut roster, _) = joined(vec![person("a", "PA_a", vec![camera("TR_1")])]);
    let muted = TrackInfo { muted: true, ..camera("TR_1") };
    assert_eq!(roster.updated(&[person("a", "PA_a", vec![muted.clone()])]), [TrackUp { track: cam("a"), muted: true }]);
    roster.updated(&[person("a", "PA_a", vec![camera("TR_0"), TrackInfo { muted: true, ..camera("TR_9") }])]);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_0"));
}

#[test]
fn tracks_of_unknown_source_take_a_free_place() {
    let unknown = |sid| track(sid, TrackType::Video, TrackSource::Unknown);
    let (roster, _) = joined(vec![
        person("a", "PA_a", vec![unknown("TR_1"), track("TR_2", TrackType::Audio, TrackSource::Unknown)]),
        person("b", "PA_b", vec![unknown("TR_3"), camera("TR_4")]),
        person("c", "PA_c", vec![track("TR_5", TrackType::Audio, TrackSource::Camera)]),
    ]);
    assert_eq!(roster.track_of("TR_1"), Some(cam("a")));
    assert_eq!(roster.track_of("TR_2"), Some(TrackId::new(id("a"), TrackKind::Microphone)));
    assert_eq!(roster.track_of("TR_3"), Some(TrackId::new(id("b"), TrackKind::Screen)));
    assert_eq!(
        roster.track_of("TR_5"),
        Some(TrackId::new(id("c"), TrackKind::Microphone)),
        "a source that its media type contradicts"
    );
}

#[test]
fn machines_and_ourselves_are_no_people() {
    let kind = |kind: participant_info::Kind, identity: &str| ParticipantInfo {
        kind: kind.into(),
        ..person(identity, identity, vec![])
    };
    let hidden = ParticipantPermission { hidden: true, ..Default::default() };
    let (_, events) = joined(vec![
        kind(participant_info::Kind::Egress, "egress"),
        kind(participant_info::Kind::Agent, "agent"),
        ParticipantInfo { permission: Some(hidden), ..person("hidden", "PA_h", vec![]) },
        ParticipantInfo { kind: 99, ..person("future", "PA_f", vec![]) },
        person("us", "PA_us", vec![]),
        kind(participant_info::Kind::Sip, "phone"),
    ]);
    let who: Vec<_> = events
        .iter()
        .filter_map(|e| if let Joined { participant, .. } = e { Some(participant.as_str()) } else { None })
        .collect();
    assert_eq!(who, ["phone"]);
}

#[test]
fn a_late_farewell_of_an_older_session_removes_nobody() {
    let gone = |sid| ParticipantInfo { state: participant_info::State::Disconnected.into(), ..person("a", sid, vec![]) };
    let (mut roster, _) = joined(vec![person("a", "PA_1", vec![camera("TR_1")])]);
    roster.updated(&[person("a", "PA_2", vec![camera("TR_2")])]);
    assert_eq!(roster.updated(&[gone("PA_1")]), []);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_2"));
    assert_eq!(roster.updated(&[gone("PA_2")]), [TrackDown { track: cam("a") }, Left { participant: id("a") }]);
}

#[test]
fn the_list_after_a_resume_says_who_left_meanwhile() {
    let (mut roster, _) = joined(vec![person("a", "PA_a", vec![]), person("b", "PA_b", vec![])]);
    let list = [person("us", "PA_us", vec![]), person("b", "PA_b", vec![])];
    assert!(roster.names_us(&list));
    assert_eq!(roster.replaced(&list), [Left { participant: id("a") }]);
}

#[test]
fn speakers_are_told_loudest_first() {
    let (mut roster, _) = joined(vec![person("a", "PA_a", vec![]), person("b", "PA_b", vec![])]);
    let speaks = |sid: &str, level, active| SpeakerInfo { sid: sid.into(), level, active };
    roster.speakers(&[speaks("PA_a", 0.2, true), speaks("PA_x", 0.9, true)]);
    let both = roster.speakers(&[speaks("PA_b", 0.5, true)]);
    assert_eq!(both, Speaking { participants: vec![id("b"), id("a")] });
    assert_eq!(roster.speakers(&[speaks("PA_b", 0.0, false)]), Speaking { participants: vec![id("a")] });
}

#[test]
fn two_cameras_keep_their_choice_in_whatever_order_the_server_lists_them() {
    let (mut roster, _) = joined(vec![person("a", "PA_a", vec![camera("TR_1")])]);
    roster.updated(&[person("a", "PA_a", vec![camera("TR_2"), camera("TR_1")])]);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_2"), "the newer one");
    roster.updated(&[person("a", "PA_a", vec![camera("TR_1"), camera("TR_2")])]);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_2"));
    roster.updated(&[person("a", "PA_a", vec![camera("TR_2"), camera("TR_1")])]);
    assert_eq!(roster.sid_of(&cam("a")), Some("TR_2"), "nothing has changed");
}

#[test]
fn somebody_who_becomes_hidden_or_a_machine_has_left_and_may_come_again() {
    let ada = || person("a", "PA_a", vec![camera("TR_1")]);
    let permission = Some(ParticipantPermission { hidden: true, ..Default::default() });
    let hidden = ParticipantInfo { permission, ..ada() };
    let machine = ParticipantInfo { kind: participant_info::Kind::Agent.into(), ..ada() };
    for gone in [hidden, machine] {
        let (mut roster, _) = joined(vec![ada()]);
        assert_eq!(roster.updated(std::slice::from_ref(&gone)), [TrackDown { track: cam("a") }, Left { participant: id("a") }]);
        assert_eq!((roster.sid_of(&cam("a")), roster.track_of("TR_1")), (None, None), "nothing of them is subscribed");
        assert_eq!(roster.updated(std::slice::from_ref(&gone)), [], "told once");
        assert_eq!(roster.updated(&[ada()]).len(), 2, "back again");
        // In the complete list after a resume, too.
        assert_eq!(roster.replaced(std::slice::from_ref(&gone)), [TrackDown { track: cam("a") }, Left { participant: id("a") }]);
        // The farewell of an older, hidden session of somebody who is there.
        roster.updated(&[ada()]);
        let farewell = ParticipantInfo { sid: "PA_old".into(), state: participant_info::State::Disconnected.into(), ..gone };
        assert_eq!(roster.updated(&[farewell]), []);
    }
}
