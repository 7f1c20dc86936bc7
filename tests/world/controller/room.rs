//! One room: who is in it, what can be delivered, and the rules by which the real controller plays.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::signaling::Out;
use super::{message, messages, uuid};

/// What a room is planned to be.
#[derive(Clone, Debug)]
pub struct RoomPlan {
    pub title: String,
    /// Id of its event.
    pub event: String,
    /// Beside the recording.
    pub streams: Vec<StreamPlan>,
    /// End-to-end encrypted: nothing can be recorded.
    pub is_encrypted: bool,
    /// At most so many, recorders too.
    pub places: Option<usize>,
}

/// A live destination, as a planner of meetings sets it.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    pub id: String,
    pub name: String,
    /// Its kind on the wire; real ones are all `streaming`.
    pub kind: String,
    pub location: Option<String>,
}

impl RoomPlan {
    /// A room with this title and nothing special.
    pub fn titled(title: &str) -> RoomPlan {
        RoomPlan { title: title.into(), event: uuid(), streams: Vec::new(), is_encrypted: false, places: None }
    }

    /// The same with a live destination.
    pub fn streaming_to(mut self, name: &str, location: &str) -> RoomPlan {
        let (id, kind, location) = (uuid(), "streaming".into(), Some(location.into()));
        self.streams.push(StreamPlan { id, name: name.into(), kind, location });
        self
    }
}

/// What somebody is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The owner of the room.
    Moderator,
    Guest,
    /// By telephone.
    Caller,
    Recorder,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Moderator => "user",
            Self::Guest => "guest",
            Self::Caller => "sip",
            Self::Recorder => "recorder",
        }
    }
}

/// Where messages for somebody go.
pub(super) enum Outlet {
    /// Over a socket.
    Wire(mpsc::UnboundedSender<Out>),
    /// Kept for the test.
    Heard,
    /// Nowhere: gone.
    Gone,
}

/// Somebody who is or was in the room.
pub(super) struct Sitting {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) role: String,
    pub(super) hand_is_up: bool,
    pub(super) hand_updated_at: String,
    /// `None` before the join.
    pub(super) joined_at: Option<String>,
    pub(super) left_at: Option<String>,
    /// `None` before the first answer.
    pub(super) consents: Option<bool>,
    pub(super) avatar: Option<String>,
    pub(super) breakout: Option<String>,
    pub(super) outlet: Outlet,
    /// What they were told; people of the test only.
    pub(super) heard: Vec<Value>,
}

impl Sitting {
    pub(super) fn new(kind: Kind, name: &str, outlet: Outlet) -> Sitting {
        Sitting {
            name: name.into(),
            kind,
            role: if kind == Kind::Moderator { "moderator" } else { "guest" }.into(),
            hand_is_up: false,
            hand_updated_at: messages::now(),
            joined_at: None,
            left_at: None,
            consents: None,
            avatar: (kind == Kind::Moderator).then(|| "https://example.org/avatar/alice".into()),
            breakout: None,
            outlet,
            heard: Vec::new(),
        }
    }

    fn is_in(&self) -> bool {
        self.joined_at.is_some() && self.left_at.is_none() && !matches!(self.outlet, Outlet::Gone)
    }
}

/// Something that can be delivered.
pub(super) struct Target {
    name: String,
    /// On the wire, for recorders.
    kind: String,
    location: Option<String>,
    /// A word, or for an error the whole object.
    status: String,
    reason: Option<Value>,
}

impl Target {
    /// As everybody sees it.
    pub(super) fn public(&self) -> Value {
        let is_recording = self.kind == "recording";
        let mut target = json!({"name": self.name, "status": self.status,
            "streaming_kind": if is_recording { "recording" } else { "livestream" }});
        if !is_recording {
            target["public_url"] = json!("https://stream.example.org/watch");
        }
        target
    }

    /// As recorders see it.
    pub(super) fn service(&self) -> Value {
        let mut status = json!({"status": self.status});
        if let Some(reason) = &self.reason {
            status["reason"] = reason.clone();
        }
        let mut target = json!({"auto_connect": false, "start_paused": false, "status": status, "stream_kind": self.kind});
        if let Some(location) = &self.location {
            target["location"] = json!(location);
        }
        target
    }
}

/// A click that is younger than five seconds.
struct Click {
    number: u64,
    moderator: String,
    targets: Vec<String>,
}

/// A room.
pub(super) struct Room {
    pub(super) id: String,
    pub(super) plan: RoomPlan,
    pub(super) people: BTreeMap<String, Sitting>,
    targets: BTreeMap<String, Target>,
    clicks: Vec<Click>,
    next_click: u64,
}

impl Room {
    pub(super) fn new(id: String, plan: RoomPlan) -> Room {
        let mut targets = BTreeMap::new();
        let target = |name: &str, kind: &str, location| Target {
            name: name.into(),
            kind: kind.into(),
            location,
            status: "inactive".into(),
            reason: None,
        };
        if !plan.is_encrypted {
            targets.insert(uuid(), target("Recording", "recording", None));
            for stream in &plan.streams {
                targets.insert(stream.id.clone(), target(&stream.name, &stream.kind, stream.location.clone()));
            }
        }
        Room { id, plan, people: BTreeMap::new(), targets, clicks: Vec::new(), next_click: 0 }
    }

    pub(super) fn targets_for(&self, see: impl Fn(&Target) -> Value) -> Value {
        Value::Object(self.targets.iter().map(|(id, target)| (id.clone(), see(target))).collect::<Map<_, _>>())
    }

    pub(super) fn recording(&self) -> Option<String> {
        self.targets.iter().find(|(_, target)| target.kind == "recording").map(|(id, _)| id.clone())
    }

    pub(super) fn status(&self, target: &str) -> &str {
        self.targets.get(target).map_or("", |target| &target.status)
    }

    pub(super) fn recorders(&self) -> Vec<String> {
        self.people
            .iter()
            .filter(|(_, sitting)| sitting.kind == Kind::Recorder && sitting.is_in())
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn send(&mut self, id: &str, message: Value) {
        let Some(sitting) = self.people.get_mut(id) else { return };
        match &sitting.outlet {
            // Whoever does not read any more does not matter.
            Outlet::Wire(wire) => _ = wire.send(Out::Text(message.to_string())),
            Outlet::Heard => sitting.heard.push(message),
            Outlet::Gone => {}
        }
    }

    pub(super) fn broadcast(&mut self, but: Option<&str>, namespace: &str, payload: &Value) {
        let all: Vec<String> = self
            .people
            .iter()
            .filter(|(id, sitting)| Some(id.as_str()) != but && sitting.is_in())
            .map(|(id, _)| id.clone())
            .collect();
        for id in all {
            self.send(&id, message(namespace, payload.clone()));
        }
    }

    /// Tells everybody else how somebody is now; nobody is told of recorders.
    pub(super) fn tell_of(&mut self, id: &str, name: &str) {
        let person = &self.people[id];
        if person.kind == Kind::Recorder {
            return;
        }
        let mut payload = messages::participant(id, person);
        payload["message"] = json!(name);
        if name == "update"
            && let Some(fields) = payload.as_object_mut()
        {
            // Other modules add what is theirs only when somebody joins.
            fields.remove("chat");
        }
        self.broadcast(Some(id), "control", &payload);
    }

    pub(super) fn join(&mut self, id: &str, name: Option<&str>, livekit_url: &str) {
        let occupied = self.people.values().filter(|sitting| sitting.is_in()).count();
        let Some(name) = name.filter(|name| !name.is_empty() && name.chars().count() <= 100) else {
            return self.send(id, message("control", json!({"message": "error", "error": "invalid_username"})));
        };
        if self.plan.places.is_some_and(|places| occupied >= places) {
            return self.send(id, message("control", json!({"message": "join_blocked", "reason": "participant_limit_reached"})));
        }
        let Some(person) = self.people.get_mut(id) else { return };
        person.name = name.into();
        person.joined_at = Some(messages::now());
        let state = messages::join_success(self, id, livekit_url);
        self.send(id, message("control", state));
        self.tell_of(id, "joined");
    }

    /// Somebody's connection ended, or is to be taken for ended. Any recorder's, joined or not, makes every Target inactive.
    pub(super) fn leave(&mut self, id: &str, reason: &str) {
        let Some(person) = self.people.get_mut(id) else { return };
        let was_in = person.is_in();
        if matches!(person.outlet, Outlet::Gone) {
            return;
        }
        person.outlet = Outlet::Gone;
        person.left_at = Some(messages::now());
        person.consents = None;
        if person.kind == Kind::Recorder {
            let ids: Vec<String> =
                self.targets.iter().filter(|(_, t)| t.status != "inactive").map(|(id, _)| id.clone()).collect();
            for id in ids {
                self.set(&id, "inactive", None);
            }
        } else if was_in {
            self.broadcast(None, "control", &json!({"message": "left", "id": id, "reason": reason}));
        }
    }

    /// Sends somebody away: a message, a close frame, and the socket stays.
    pub(super) fn send_away(&mut self, id: &str, namespace: &str, payload: Value, reason: &str) {
        self.send(id, message(namespace, payload));
        if let Some(Outlet::Wire(wire)) = self.people.get(id).map(|person| &person.outlet) {
            _ = wire.send(Out::Close(1000));
        }
        self.leave(id, reason);
    }

    fn set(&mut self, id: &str, status: &str, reason: Option<Value>) {
        let Some(target) = self.targets.get_mut(id) else { return };
        target.status = status.into();
        target.reason.clone_from(&reason);
        let mut payload = json!({"message": "stream_updated", "target_id": id, "status": status});
        if let Some(reason) = reason {
            payload["reason"] = reason;
        }
        self.broadcast(None, "recording", &payload);
    }

    /// What a recorder reports. Whatever is not well formed is ignored without a word, and nobody asks whether it was wished for.
    pub(super) fn report(&mut self, id: &str, payload: &Value) {
        let is_recorder = self.people.get(id).is_some_and(|person| person.kind == Kind::Recorder);
        if !is_recorder || payload["message"] != "stream_updated" {
            return;
        }
        let (Some(target), Some(status)) = (payload["target_id"].as_str(), payload["status"].as_str()) else { return };
        let reason = &payload["reason"];
        let reason = (reason["code"].is_string() && reason["message"].is_string()).then(|| reason.clone());
        let is_well_formed = match status {
            "inactive" | "starting" | "active" | "paused" => true,
            "error" => reason.is_some(),
            _ => false,
        };
        if is_well_formed && self.targets.contains_key(target) {
            let reason = reason.filter(|_| status == "error");
            self.set(target, status, reason);
        }
    }

    /// What somebody wants of Targets. The number of a click that has to be looked at after five seconds, if there is one.
    pub(super) fn wish(&mut self, id: &str, payload: &Value, publish: impl Fn(&str) -> bool) -> Option<u64> {
        let action = payload["action"].as_str()?;
        let targets: Vec<String> = serde_json::from_value(payload["target_ids"].clone()).unwrap_or_default();
        let error = |error: &str| message("recording", json!({"message": "error", "error": error}));
        if self.people.get(id)?.role != "moderator" {
            self.send(id, error("insufficient_permissions"));
            return None;
        }
        if targets.iter().any(|target| !self.targets.contains_key(target)) {
            self.send(id, error("invalid_streaming_id"));
            return None;
        }
        let runs = self.targets.values().any(|target| matches!(target.status.as_str(), "starting" | "active" | "paused"));
        match action {
            "start_stream" => {
                for target in &targets {
                    if let Some(target) = self.targets.get_mut(target) {
                        (target.status, target.reason) = ("starting".into(), None);
                    }
                }
                if runs {
                    self.tell_recorders("start_streams", &targets);
                    return None;
                }
                // With the broker away nobody looks again: what is starting stays so.
                if !publish(&json!({"room": self.id, "breakout": null}).to_string()) {
                    return None;
                }
                self.next_click += 1;
                self.clicks.push(Click { number: self.next_click, moderator: id.into(), targets });
                return Some(self.next_click);
            }
            "pause_stream" => self.tell_recorders("pause_streams", &targets),
            "stop_stream" if !runs => self.send(id, error("recorder_not_started")),
            "stop_stream" => self.tell_recorders("stop_streams", &targets),
            _ => {}
        }
        None
    }

    /// Five seconds after a click: is anything active? A moderator who has left does not ask.
    pub(super) fn deadline(&mut self, number: u64) {
        let Some(place) = self.clicks.iter().position(|click| click.number == number) else { return };
        let click = self.clicks.remove(place);
        let asks = self.people.get(&click.moderator).is_some_and(Sitting::is_in);
        if !asks || self.targets.values().any(|target| target.status == "active") {
            return;
        }
        for target in &click.targets {
            if let Some(target) = self.targets.get_mut(target) {
                (target.status, target.reason) = ("inactive".into(), None);
            }
        }
        self.send(&click.moderator, message("recording", json!({"message": "recorder_error", "error": "timeout"})));
    }

    fn tell_recorders(&mut self, action: &str, targets: &[String]) {
        for recorder in self.recorders() {
            self.send(&recorder, message("recording_service", json!({"action": action, "target_ids": targets})));
        }
    }
}
