//! Tracks, and the media server's comings and goings.

use super::*;

fn up(person: &str, kind: TrackKind, muted: bool) -> ConferenceEvent {
    ConferenceEvent::TrackUp { track: TrackId::new(id(person), kind), muted }
}

fn down(person: &str, kind: TrackKind) -> ConferenceEvent {
    ConferenceEvent::TrackDown { track: TrackId::new(id(person), kind) }
}

fn ended() -> ConferenceEvent {
    ConferenceEvent::Ended { reason: EndReason::Removed }
}

fn entered() -> ConferenceEvent {
    ConferenceEvent::Entered { title: None }
}

fn fault() -> Fault {
    super::super::lost("Away.")
}

impl Desk {
    fn media(&mut self, events: impl IntoIterator<Item = ConferenceEvent>) -> Vec<ConferenceEvent> {
        for event in events {
            self.signaling.media(event, self.now);
        }
        self.drain()
            .iter()
            .map(|action| if let Action::Tell(event) = action { event.clone() } else { panic!("{action:?}") })
            .collect()
    }

    /// Ada's camera and microphone are there.
    fn with_ada() -> Self {
        let mut desk = Self::inside(&join(recording("starting"), json!([somebody("ada", "Ada")])));
        let all = [up("ada", TrackKind::Camera, false), up("ada", TrackKind::Microphone, true)];
        let list = [entered(), all[0].clone(), all[1].clone(), ConferenceEvent::Listed];
        assert_eq!(desk.media(list), all);
        desk
    }

    /// Signaling is lost and joined again.
    fn rejoin(&mut self, participants: Value) -> Vec<Action> {
        self.signaling.broken(Broken::Cut, self.now);
        self.drain();
        self.wait(Duration::ZERO);
        self.connect();
        self.hear("control", join(recording("inactive"), participants))
    }
}

#[test]
fn only_people_of_signaling_are_there() {
    let mut desk = Desk::with_ada();
    let stranger = [
        ConferenceEvent::Joined { participant: id("ada-popout1"), name: Pii::new("x") },
        up("ada-popout1", TrackKind::Screen, false),
        ConferenceEvent::Facts { participant: id("ada"), facts: Facts { call_in: true, ..Facts::default() } },
        ConferenceEvent::Left { participant: id("ada") },
    ];
    assert_eq!(desk.media(stranger), []);
    let speaking = |who: &[&str]| ConferenceEvent::Speaking { participants: who.iter().map(|p| id(p)).collect() };
    assert_eq!(desk.media([speaking(&["ghost", "ada"])]), [speaking(&["ada"])]);
}

#[test]
fn media_that_come_before_their_person_wait_for_them() {
    let mut desk = Desk::with_ada();
    assert_eq!(desk.media([up("bob", TrackKind::Camera, false)]), []);
    let actions = desk.hear("control", message("joined", somebody("bob", "Bob"), json!({})));
    assert_eq!(told(&actions).last(), Some(&&up("bob", TrackKind::Camera, false)));
    // Both orders of leaving.
    let actions = desk.hear("control", json!({"message": "left", "id": "bob"}));
    let left = ConferenceEvent::Left { participant: id("bob") };
    assert_eq!(told(&actions), [&down("bob", TrackKind::Camera), &left]);
    assert_eq!(desk.media([down("bob", TrackKind::Camera)]), []);
    assert_eq!(desk.media([down("ada", TrackKind::Camera)]), [down("ada", TrackKind::Camera)]);
}

#[test]
fn tracks_go_down_with_the_media_server_and_people_stay() {
    let mut desk = Desk::with_ada();
    let all_down = [down("ada", TrackKind::Camera), down("ada", TrackKind::Microphone)];
    assert_eq!(desk.media([ConferenceEvent::Lost { fault: fault() }]), all_down);
    let back = [entered(), up("ada", TrackKind::Camera, false), ConferenceEvent::Listed];
    assert_eq!(desk.media(back), [up("ada", TrackKind::Camera, false)]);
}

#[test]
fn a_complete_list_takes_down_what_it_does_not_name() {
    let mut desk = Desk::with_ada();
    let list = [entered(), up("ada", TrackKind::Camera, false)];
    assert_eq!(desk.media(list), []);
    assert_eq!(desk.media([ConferenceEvent::Listed]), [down("ada", TrackKind::Microphone)]);
}

#[test]
fn a_rejoin_tells_what_was_there_and_then_only_what_changed() {
    let mut desk = Desk::with_ada();
    let actions = desk.rejoin(json!([somebody("ada", "Ada")]));
    let tracks: Vec<_> = told(&actions).into_iter().filter(|e| matches!(e, ConferenceEvent::TrackUp { .. })).cloned().collect();
    assert_eq!(tracks, [up("ada", TrackKind::Camera, false), up("ada", TrackKind::Microphone, true)]);
    let listed = actions.iter().position(|a| *a == Action::Tell(ConferenceEvent::Listed)).unwrap();
    assert!(matches!(&actions[listed + 1..], [Action::EnterMedia(_)]), "{actions:?}");
    let list = [entered(), up("ada", TrackKind::Camera, false), up("ada", TrackKind::Microphone, false), ConferenceEvent::Listed];
    assert_eq!(desk.media(list), [up("ada", TrackKind::Microphone, false)], "unmuted meanwhile");
}

#[test]
fn while_signaling_is_lost_nothing_goes_down() {
    let mut desk = Desk::with_ada();
    desk.signaling.broken(Broken::Cut, desk.now);
    desk.drain();
    assert_eq!(desk.media([ended()]), []);
    desk.wait(Duration::ZERO);
    desk.connect();
    let actions = desk.hear("control", join(recording("inactive"), json!([somebody("bob", "Bob")])));
    assert!(!told(&actions).iter().any(|e| matches!(e, ConferenceEvent::TrackUp { .. })), "Ada left meanwhile");
    assert!(actions.iter().any(|a| matches!(a, Action::EnterMedia(_))));
    assert_eq!(desk.media([entered(), up("ada", TrackKind::Camera, false), ConferenceEvent::Listed]), []);
}

#[test]
fn a_media_server_that_lets_go_is_entered_again_with_new_credentials() {
    let mut desk = Desk::with_ada();
    desk.media([ended()]);
    let ask = json!({"namespace": "livekit", "payload": {"action": "create_new_access_token"}});
    let asked =
        |actions: Vec<Action>| matches!(&actions[..], [Action::Say(text)] if serde_json::from_str::<Value>(text).unwrap() == ask);
    let actions = desk.wait(Duration::from_millis(300));
    assert!(asked(actions), "after a moment in which we may be told that we were thrown out");
    // No answer: later again.
    assert_eq!(desk.wait(CREDENTIALS_LIMIT), []);
    let actions = desk.wait(Duration::from_millis(600));
    assert!(asked(actions));
    let credentials =
        json!({"message": "credentials", "room": "r", "token": "lk-2", "public_url": "wss://public", "service_url": null});
    let expected = Action::EnterMedia(Credentials { url: "wss://public".into(), token: Secret::new("lk-2") });
    assert_eq!(desk.hear("livekit", credentials.clone()), [expected]);
    assert_eq!(desk.hear("livekit", credentials), [], "nobody asked for these");
}

#[test]
fn whoever_is_kicked_is_let_go_by_the_media_server_first() {
    let mut desk = Desk::with_ada();
    desk.media([ended()]);
    desk.pass(Duration::from_millis(60));
    assert_eq!(desk.hear("moderation", json!({"message": "kicked"})), [Action::End(EndReason::Removed)]);
    assert_eq!(desk.signaling.poll_wake(), None);
}

#[test]
fn the_media_servers_adapter_gets_the_token_that_it_asks_for() {
    let mut desk = Desk::with_ada();
    desk.signaling.token_asked();
    assert_eq!(desk.said()[0]["payload"], json!({"action": "create_new_access_token"}));
    let credentials = json!({"message": "credentials", "token": "lk-2", "public_url": "wss://public"});
    assert_eq!(desk.hear("livekit", credentials), [Action::GiveToken(Some(Secret::new("lk-2")))]);
    desk.signaling.token_asked();
    desk.drain();
    desk.signaling.broken(Broken::Cut, desk.now);
    assert!(desk.drain().contains(&Action::GiveToken(None)), "there will be none");
    desk.signaling.token_asked();
    assert_eq!(desk.drain(), [Action::GiveToken(None)]);
}
