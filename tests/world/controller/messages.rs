//! The long messages, with all that the real ones carry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::room::{Kind, Room, Sitting, Target};
use crate::livekit;

/// The wall clock, as the controller writes it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A person, as everybody is told of them.
pub(super) fn participant(id: &str, person: &Sitting) -> Value {
    let mut control = json!({
        "display_name": person.name, "hand_is_up": person.hand_is_up, "hand_updated_at": person.hand_updated_at,
        "is_room_owner": person.kind == Kind::Moderator, "joined_at": person.joined_at, "left_at": person.left_at,
        "participation_kind": person.kind.word(), "role": person.role,
    });
    if let Some(avatar) = &person.avatar {
        control["avatar_url"] = json!(avatar);
    }
    let mut participant = json!({"id": id, "control": control});
    if person.kind == Kind::Moderator {
        participant["chat"] = json!({"groups": []});
    }
    if let Some(consents) = person.consents {
        participant["recording"] = json!({"consents_recording": consents});
    }
    participant
}

/// The state of the room for somebody who enters it.
pub(super) fn join_success(room: &Room, id: &str, livekit_url: &str) -> Value {
    let person = &room.people[id];
    let others: Vec<Value> = room
        .people
        .iter()
        .filter(|(other, sitting)| other.as_str() != id && sitting.kind != Kind::Recorder && sitting.joined_at.is_some())
        .map(|(other, sitting)| participant(other, sitting))
        .collect();
    let mut features = json!({
        "automod": {"features": []}, "breakout": {"features": []}, "chat": {"features": []},
        "core": {"features": ["call_in", "storage_upgradable"]}, "echo": {"features": []}, "integration": {"features": ["outlook"]},
        "livekit": {"features": []}, "meeting_report": {"features": []}, "moderation": {"features": []}, "polls": {"features": []},
        "recording": {"features": ["record", "stream"]}, "recording_service": {"features": []}, "timer": {"features": []},
        "training_participation_report": {"features": []},
    });
    if room.plan.is_encrypted
        && let Some(features) = features.as_object_mut()
    {
        features.remove("recording");
        features.remove("recording_service");
    }
    let creator = json!({"title": "", "firstname": "Alice", "lastname": "Adams", "display_name": "Alice Adams",
        "avatar_url": "https://example.org/avatar/alice"});
    let mut state = json!({
        "message": "join_success", "id": id, "display_name": person.name, "role": person.role,
        "tariff": {"id": "76060412-17f1-41a5-8057-357803fb2855", "name": "OpenTalkDefaultTariff", "quotas": {}, "modules": features},
        "chat": {"enabled": true, "groups_history": [], "last_seen_timestamp_global": null, "last_seen_timestamps_group": {},
            "last_seen_timestamps_private": {}, "private_history": [], "room_history": []},
        "livekit": credentials(room, id, livekit_url),
        "moderation": {"raise_hands_enabled": true},
        "recording": {"targets": room.targets_for(|target| target.public())},
        "training_participation_report": {"state": "disabled"},
        "participants": others,
        "event_info": {"id": room.plan.event, "room_id": room.id, "title": room.plan.title, "is_adhoc": false,
            "e2e_encryption": room.plan.is_encrypted},
        "room_info": {"id": room.id, "created_by": creator},
        "is_room_owner": person.kind == Kind::Moderator,
    });
    state["livekit"]["microphone_restriction_state"] = json!({"type": "disabled"});
    if let Some(avatar) = &person.avatar {
        state["avatar_url"] = json!(avatar);
    }
    if person.kind == Kind::Recorder {
        state["recording_service"] = json!({"streams": room.targets_for(Target::service)});
    }
    if let Some(breakout) = &person.breakout {
        state["breakout"] =
            json!({"current": breakout, "expires": null, "participants": [], "rooms": [{"id": breakout, "name": "Group 1"}]});
        state["recording"]["targets"] = json!({});
        state["recording_service"] = json!({"streams": {}});
    }
    state
}

/// What somebody needs to enter the media server: good for 32 s; the recorder's is hidden, and has the way past the proxy.
pub(super) fn credentials(room: &Room, id: &str, livekit_url: &str) -> Value {
    let person = &room.people[id];
    let name = match &person.breakout {
        Some(breakout) => format!("{}:{breakout}", room.id),
        None => room.id.clone(),
    };
    let is_recorder = person.kind == Kind::Recorder;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let token = livekit::signed(&json!({
        "iss": livekit::API_KEY, "sub": id, "name": id, "nbf": now, "exp": now + 32,
        "video": {"roomCreate": false, "roomList": false, "roomRecord": false, "roomAdmin": false, "roomJoin": true, "room": name,
            "canPublish": true, "canSubscribe": true, "canPublishData": false,
            "canPublishSources": ["camera", "microphone", "screen_share", "screen_share_audio"],
            "ingressAdmin": false, "canUpdateOwnMetadata": false, "hidden": is_recorder, "recorder": false},
        "metadata": "",
    }));
    let mut credentials = json!({"room": name, "token": token, "public_url": livekit_url});
    if is_recorder || person.kind == Kind::Caller {
        credentials["service_url"] = json!(livekit_url);
    }
    credentials
}
