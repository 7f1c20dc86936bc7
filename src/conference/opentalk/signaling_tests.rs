//! The conversation on virtual time: what a real controller was recorded to say, and each rule by itself.

use recorder_core::conference::{Delivery, Facts, Hand, Light, Role, TargetWish};
use recorder_core::ids::{TrackId, TrackKind};
use serde_json::{Value, json};

use super::super::FormerTarget;
use super::*;

#[path = "signaling_tests/any_room.rs"]
mod any_room;
#[path = "signaling_tests/media.rs"]
mod media;
#[path = "signaling_tests/replay.rs"]
mod replay;
#[path = "signaling_tests/rules.rs"]
mod rules;

/// A state machine, its clock, and what it wanted so far.
struct Desk {
    signaling: Signaling,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self::of(None)
    }

    fn of(former: Option<FormerWorker>) -> Self {
        let now = Instant::now();
        let mut desk = Self { signaling: Signaling::new("recorder".into(), former, 0, now), now };
        assert_eq!(desk.drain(), [Action::Connect]);
        desk
    }

    /// One that has joined this room; what it did for that is forgotten.
    fn inside(join: &Value) -> Self {
        let mut desk = Self::new();
        desk.connect();
        desk.hear("control", join.clone());
        desk
    }

    fn connect(&mut self) {
        self.signaling.opened(self.now);
        let join = json!({"namespace": "control", "payload": {"action": "join", "display_name": "recorder"}});
        assert_eq!(self.said(), [join]);
    }

    fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.signaling.poll_action()).collect()
    }

    fn hear(&mut self, namespace: &str, payload: Value) -> Vec<Action> {
        let message = json!({"namespace": namespace, "timestamp": "2026-11-21T06:15:44.332050878Z", "payload": payload});
        self.signaling.heard(&message.to_string(), self.now);
        self.drain()
    }

    /// What is said to the controller next; nothing else may be wanted.
    fn said(&mut self) -> Vec<Value> {
        let said = self.drain().into_iter().map(|action| match action {
            Action::Say(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    /// Lets time pass until the next wake, which must be this far away.
    fn wait(&mut self, wait: Duration) -> Vec<Action> {
        let at = self.signaling.poll_wake().expect("a wake");
        assert_eq!(at - self.now, wait);
        self.now = at;
        self.signaling.woken(at);
        self.drain()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn told(actions: &[Action]) -> Vec<&ConferenceEvent> {
    actions.iter().filter_map(|action| if let Action::Tell(event) = action { Some(event) } else { None }).collect()
}

fn lost(actions: &[Action]) -> bool {
    told(actions).iter().any(|event| matches!(event, ConferenceEvent::Lost { .. }))
}

/// A room as it is told to a recorder, with these streams and people.
fn join(streams: Value, participants: Value) -> Value {
    json!({
        "message": "join_success", "id": "us", "display_name": "recorder", "role": "guest",
        "livekit": {"room": "r", "token": "lk-1", "public_url": "wss://public", "service_url": "ws://inner"},
        "recording_service": {"streams": streams}, "participants": participants,
        "event_info": {"title": "Weekly", "e2e_encryption": false},
    })
}

fn recording(status: &str) -> Value {
    json!({"rec": {"stream_kind": "recording", "status": {"status": status}, "auto_connect": false, "start_paused": false}})
}

fn somebody(id: &str, name: &str) -> Value {
    json!({"id": id, "control": {"display_name": name, "role": "guest", "participation_kind": "guest", "left_at": null,
        "hand_is_up": false}})
}

/// The same person, in a message, with more fields.
fn message(name: &str, mut person: Value, more: Value) -> Value {
    let fields = person.as_object_mut().unwrap();
    fields.insert("message".into(), name.into());
    fields.extend(more.as_object().unwrap().clone());
    person
}

fn id(text: &str) -> ParticipantId {
    ParticipantId::new(text)
}

fn target(text: &str) -> TargetId {
    TargetId::new(text)
}

fn wish(name: &str, wish: TargetWish) -> Action {
    Action::Tell(ConferenceEvent::Wish { target: target(name), wish })
}

fn shown(name: &str, light: Light) -> Action {
    Action::Tell(ConferenceEvent::Shown { target: target(name), light })
}
