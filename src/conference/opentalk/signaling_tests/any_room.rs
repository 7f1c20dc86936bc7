//! Any order of anything: what must hold whatever a controller, a media server and the network do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Opened,
    Refused(u16),
    Broken(Broken),
    Hear(&'static str, Value),
    Text(String),
    Media(ConferenceEvent),
    TokenAsked,
    Report(Standing),
    Wait(u64),
    Woken,
}

fn any_input() -> impl Strategy<Value = Input> {
    let person = (0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(who, consents, is_service)| {
        let mut person = somebody(&format!("p{who}"), "Somebody");
        person["recording"] = json!({"consents_recording": consents});
        if is_service {
            person["control"]["participation_kind"] = "recorder".into();
        }
        person
    });
    let names = proptest::collection::vec(prop_oneof![Just("rec"), Just("live"), Just("nobody")], 0..3);
    let status = prop_oneof![Just("starting"), Just("active"), Just("paused"), Just("inactive"), Just("error"), Just("odd")];
    let arrival =
        (status.clone(), proptest::collection::vec(person.clone(), 0..3), 0..20_u8).prop_map(|(status, people, odd)| {
            let mut arrival = join(recording(status), json!(people));
            match odd {
                0 => arrival["event_info"]["e2e_encryption"] = true.into(),
                1 => arrival["livekit"] = Value::Null,
                _ => {}
            }
            Input::Hear("control", arrival)
        });
    let track = || {
        (0..3_u8, any::<bool>()).prop_map(|(who, is_camera)| {
            let kind = if is_camera { TrackKind::Camera } else { TrackKind::Microphone };
            TrackId::new(id(&format!("p{who}")), kind)
        })
    };
    let media = prop_oneof![
        3 => (track(), any::<bool>()).prop_map(|(track, muted)| ConferenceEvent::TrackUp { track, muted }),
        2 => track().prop_map(|track| ConferenceEvent::TrackDown { track }),
        1 => Just(ConferenceEvent::Entered { title: None }),
        1 => Just(ConferenceEvent::Listed),
        1 => Just(ConferenceEvent::Ended { reason: EndReason::Removed }),
        1 => Just(ConferenceEvent::Lost { fault: super::super::lost("Away.") }),
    ];
    let how = prop_oneof![Just(Broken::Cut), Just(Broken::Closed(Some(1001))), Just(Broken::Closed(None))];
    prop_oneof![
        4 => Just(Input::Opened),
        6 => arrival,
        4 => person.clone().prop_map(|person| Input::Hear("control", message("joined", person, json!({})))),
        4 => person.prop_map(|person| Input::Hear("control", message("update", person, json!({})))),
        3 => (0..3_u8).prop_map(|who| Input::Hear("control", json!({"message": "left", "id": format!("p{who}")}))),
        3 => (prop_oneof![Just("start_streams"), Just("pause_streams"), Just("stop_streams")], names)
            .prop_map(|(action, names)| Input::Hear("recording_service", json!({"action": action, "target_ids": names}))),
        2 => status.prop_map(|status| {
            Input::Hear("recording", json!({"message": "stream_updated", "target_id": "rec", "status": status}))
        }),
        2 => Just(Input::Hear("livekit", json!({"message": "credentials", "token": "t", "public_url": "ws://h"}))),
        1 => Just(Input::Hear("control", json!({"message": "join_blocked"}))),
        1 => ".{0,30}".prop_map(Input::Text),
        8 => media.prop_map(Input::Media),
        1 => Just(Input::TokenAsked),
        2 => Just(Input::Report(Standing::Active)),
        2 => how.prop_map(Input::Broken),
        2 => prop_oneof![Just(401_u16), Just(500), Just(404)].prop_map(Input::Refused),
        4 => (0..40_000_u64).prop_map(Input::Wait),
        8 => Just(Input::Woken),
    ]
}

/// What a Session knows by what it was told, and what an actor holds by what it was asked to do.
#[derive(Default)]
struct Witness {
    people: BTreeSet<ParticipantId>,
    listed: BTreeSet<ParticipantId>,
    tracks: BTreeMap<TrackId, bool>,
    consents: BTreeMap<ParticipantId, bool>,
    connections: u32,
    ended: bool,
}

impl Witness {
    fn see(&mut self, action: &Action) {
        assert!(!self.ended, "something after the end: {action:?}");
        match action {
            Action::Connect => {
                self.connections += 1;
                assert_eq!(self.connections, 1, "two connections at a time");
            }
            Action::HangUp => self.connections = 0,
            Action::End(_) => self.ended = true,
            Action::Say(text) => assert!(text.len() <= b_words::LARGEST_FRAME),
            Action::Tell(event) => self.hear(event),
            Action::EnterMedia(_) | Action::GiveToken(_) => {}
        }
    }

    fn hear(&mut self, event: &ConferenceEvent) {
        match event {
            ConferenceEvent::Entered { .. } => {
                self.listed = BTreeSet::new();
                self.consents.clear();
                // Those that are still there are told again.
                self.tracks.clear();
            }
            ConferenceEvent::Listed => self.people.retain(|id| self.listed.contains(id)),
            ConferenceEvent::Joined { participant, .. } => {
                assert_ne!(participant.as_str(), "us");
                self.people.insert(participant.clone());
                self.listed.insert(participant.clone());
            }
            ConferenceEvent::Consent { participant, given, .. } => {
                assert!(self.people.contains(participant));
                self.consents.insert(participant.clone(), *given);
            }
            ConferenceEvent::Left { participant } => {
                assert!(self.people.remove(participant));
                self.consents.remove(participant);
                assert!(!self.tracks.keys().any(|track| track.participant == *participant), "Tracks go before their person");
            }
            ConferenceEvent::TrackUp { track, muted } => {
                assert!(self.people.contains(&track.participant), "a Track of nobody");
                assert!(self.consents.contains_key(&track.participant), "a Track before it is known whether it may be received");
                self.tracks.insert(track.clone(), *muted);
            }
            ConferenceEvent::TrackDown { track } => assert!(self.tracks.remove(track).is_some(), "down twice"),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn what_must_hold_holds_whatever_happens(inputs in proptest::collection::vec(any_input(), 1..120)) {
        let now = Instant::now();
        let mut desk = Desk { signaling: Signaling::new("recorder".into(), None, 77, now), now };
        let mut witness = Witness::default();
        desk.drain().iter().for_each(|action| witness.see(action));
        for input in inputs {
            let before = witness.ended;
            match input {
                Input::Opened => desk.signaling.opened(desk.now),
                Input::Refused(status) => {
                    if desk.signaling.phase == Phase::Connecting {
                        witness.connections = 0;
                    }
                    desk.signaling.refused(&Refusal::of_http(status), desk.now);
                }
                Input::Broken(how) => {
                    if matches!(desk.signaling.phase, Phase::Joining { .. } | Phase::Inside) {
                        witness.connections = 0;
                    }
                    desk.signaling.broken(how, desk.now);
                }
                Input::Hear(namespace, payload) => {
                    let text = json!({"namespace": namespace, "payload": payload}).to_string();
                    desk.signaling.heard(&text, desk.now);
                }
                Input::Text(text) => desk.signaling.heard(&text, desk.now),
                Input::Media(event) => desk.signaling.media(event, desk.now),
                Input::TokenAsked if before => {}
                Input::TokenAsked => desk.signaling.token_asked(),
                Input::Report(standing) => desk.signaling.report(&target("rec"), &standing),
                Input::Wait(ms) => desk.pass(Duration::from_millis(ms)),
                Input::Woken => {
                    if let Some(at) = desk.signaling.poll_wake() {
                        desk.now = desk.now.max(at);
                        // One thing may follow from another at once, but not for ever.
                        for _ in 0..3 {
                            desk.signaling.woken(desk.now);
                        }
                        let next = desk.signaling.poll_wake();
                        prop_assert!(next.is_none_or(|next| next > desk.now), "a wake that changes nothing");
                    }
                }
            }
            for action in desk.drain() {
                if !before || action != Action::GiveToken(None) {
                    witness.see(&action);
                }
            }
        }
    }
}
