//! Everything that the controller knows: rooms, tickets, stored recordings, and how it misbehaves.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::room::{Kind, Outlet, Room, RoomPlan, Sitting};
use super::signaling::{Out, Seat};
use super::token::Tokens;
use super::upload::UploadFate;
use super::{Publish, message, messages, uuid};

/// How long a ticket lives.
const TICKET_LIFE: Duration = Duration::from_secs(30);

/// What can go wrong on command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Misbehaviour {
    #[default]
    None,
    /// 500 on every start.
    FailStart,
    /// A refusal of its own, as from version 0.32 on.
    RefuseQuota,
    /// Tickets are too old when they are used.
    ExpireTickets,
    /// The broker is away: nobody can join, and clicks are lost.
    NoBroker,
    /// Something that is no JSON before each message.
    Garbage,
    /// 20 MiB before each message.
    Oversized,
    /// Joins are never answered.
    Deaf,
}

/// A stored recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    pub room: String,
    pub filename: String,
    /// As listed; every part that was ever sent counts.
    pub size: u64,
    /// What a download gives; `None` is an internal error.
    pub bytes: Option<Vec<u8>>,
}

struct Ticket {
    room: String,
    breakout: Option<String>,
    until: Instant,
}

/// See the module.
pub(super) struct House {
    pub(super) tokens: Tokens,
    livekit_url: String,
    publish: Publish,
    pub(super) misbehaviour: Misbehaviour,
    pub(super) rooms: BTreeMap<String, Room>,
    tickets: BTreeMap<String, Ticket>,
    pub(super) assets: Vec<Asset>,
    /// What happens to the next uploads.
    pub(super) upload_fates: VecDeque<UploadFate>,
    /// Lengths of the frames of each upload that is over.
    pub(super) upload_frames: Vec<Vec<usize>>,
    /// Answers to pings in uploads so far.
    pub(super) upload_pongs: u64,
    /// Start calls so far.
    pub(super) starts: u64,
    /// Close frames of recorders so far.
    pub(super) close_frames: u64,
    /// What recorders were given or proved themselves by, and nobody else may see.
    pub(super) secrets: Vec<String>,
}

impl House {
    pub(super) fn new(tokens: Tokens, livekit_url: String, publish: Publish) -> House {
        House {
            tokens,
            livekit_url,
            publish,
            misbehaviour: Misbehaviour::None,
            rooms: BTreeMap::new(),
            tickets: BTreeMap::new(),
            assets: Vec::new(),
            upload_fates: VecDeque::new(),
            upload_frames: Vec::new(),
            upload_pongs: 0,
            starts: 0,
            close_frames: 0,
            secrets: Vec::new(),
        }
    }

    /// What a restart leaves of it: the plans of rooms.
    pub(super) fn forget_everything(&mut self) {
        self.tickets.clear();
        for room in self.rooms.values_mut() {
            *room = Room::new(room.id.clone(), room.plan.clone());
        }
    }

    pub(super) fn plan(&mut self, plan: RoomPlan) -> String {
        let id = uuid();
        self.rooms.insert(id.clone(), Room::new(id.clone(), plan));
        id
    }

    pub(super) fn room(&mut self, id: &str) -> &mut Room {
        self.rooms.get_mut(id).expect("a room")
    }

    /// A ticket for a recorder; `None` for a room that is not there. Breakout rooms need not exist.
    pub(super) fn recorder_ticket(&mut self, room: &str, breakout: Option<&str>) -> Option<String> {
        self.rooms.get(room)?;
        let ticket = format!("{room}#{}", &uuid().replace('-', "")[..27]);
        let life = if self.misbehaviour == Misbehaviour::ExpireTickets { Duration::ZERO } else { TICKET_LIFE };
        let breakout = breakout.map(str::to_owned);
        self.secrets.extend(ticket.split_once('#').map(|(_, secret)| secret.to_owned()));
        self.tickets.insert(ticket.clone(), Ticket { room: room.into(), breakout, until: Instant::now() + life });
        Some(ticket)
    }

    /// Every ticket that was given is too old from now on.
    pub(super) fn age_tickets(&mut self) {
        self.tickets.values_mut().for_each(|ticket| ticket.until = Instant::now());
    }

    /// Uses a ticket up.
    pub(super) fn use_ticket(&mut self, ticket: &str) -> Option<Seat> {
        let Ticket { room, breakout, until } = self.tickets.remove(ticket)?;
        if Instant::now() >= until {
            return None;
        }
        let (wire, messages) = mpsc::unbounded_channel();
        let person = uuid();
        let mut sitting = Sitting::new(Kind::Recorder, "", Outlet::Wire(wire));
        sitting.breakout = breakout;
        self.rooms.get_mut(&room)?.people.insert(person.clone(), sitting);
        Some(Seat { room, person, messages })
    }

    pub(super) fn socket_ended(&mut self, room: &str, person: &str) {
        // A restart has forgotten it already.
        if let Some(room) = self.rooms.get_mut(room) {
            room.leave(person, "quit");
        }
    }

    pub(super) fn close_frame(&mut self, room: &str, person: &str) {
        self.close_frames += 1;
        self.room(room).leave(person, "quit");
    }

    /// Something that is no JSON.
    pub(super) fn garbage(&mut self, room: &str, person: &str) {
        self.room(room).send(person, message("control", json!({"message": "error", "error": "invalid_json"})));
    }

    pub(super) fn deadline(&mut self, room: &str, click: u64) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.deadline(click);
        }
    }

    /// Somebody says something over a socket.
    pub(super) fn said(&mut self, room: &str, person: &str, said: &Value) {
        self.hear(room, person, said);
    }

    /// Somebody says something. The number of a click that has to be looked at after five seconds, if there is one.
    pub(super) fn hear(&mut self, room_id: &str, person: &str, said: &Value) -> Option<u64> {
        let is_deaf = self.misbehaviour == Misbehaviour::Deaf;
        let has_broker = self.misbehaviour != Misbehaviour::NoBroker;
        let House { rooms, publish, livekit_url, .. } = self;
        let room = rooms.get_mut(room_id)?;
        let payload = &said["payload"];
        let (namespace, action) =
            (said["namespace"].as_str().unwrap_or_default(), payload["action"].as_str().unwrap_or_default());
        let error = |error: &str| message("control", json!({"message": "error", "error": error}));
        let sitting = room.people.get_mut(person)?;
        if namespace == "echo" {
            room.send(person, message("echo", payload.clone()));
            return None;
        }
        if sitting.joined_at.is_none() {
            match (namespace, action) {
                ("control", "join") if is_deaf => {}
                ("control", "join") => room.join(person, payload["display_name"].as_str(), livekit_url),
                ("control", _) => room.send(person, error("invalid_json")),
                // Before the join, everything else is ignored.
                _ if said["namespace"].is_string() && payload.is_object() => {}
                _ => room.send(person, error("invalid_json")),
            }
            return None;
        }
        if sitting.left_at.is_some() {
            return None;
        }
        let target = payload["target"].as_str().unwrap_or_default().to_owned();
        match (namespace, action) {
            ("control", "join") => room.send(person, error("already_joined")),
            ("control", "raise_hand" | "lower_hand") => {
                (sitting.hand_is_up, sitting.hand_updated_at) = (action == "raise_hand", messages::now());
                let told = if sitting.hand_is_up { "hand_raised" } else { "hand_lowered" };
                room.send(person, message("control", json!({"message": told})));
                room.tell_of(person, "update");
            }
            ("control", "grant_moderator_role" | "revoke_moderator_role") => {
                let (role, told) = if action.starts_with('g') { ("moderator", "granted") } else { ("guest", "revoked") };
                room.send(person, message("control", json!({"message": format!("moderator_role_{told}"), "target": target})));
                room.people.get_mut(&target)?.role = role.into();
                room.send(&target, message("control", json!({"message": "role_updated", "new_role": role})));
                room.tell_of(&target, "update");
            }
            ("recording", "set_consent") => {
                sitting.consents = payload["consent"].as_bool();
                room.tell_of(person, "update");
            }
            ("recording", _) => return room.wish(person, payload, |body| has_broker && publish(body)),
            ("recording_service", _) => room.report(person, payload),
            ("livekit", "create_new_access_token") => {
                let mut credentials = messages::credentials(room, person, livekit_url);
                credentials["message"] = json!("credentials");
                room.send(person, message("livekit", credentials));
            }
            ("moderation", "change_display_name") => {
                let (old, new) = (room.people.get(&target)?.name.clone(), payload["new_name"].as_str()?.to_owned());
                let told = json!({"message": "display_name_changed", "target": target, "issued_by": person, "old_name": old, "new_name": new});
                room.people.get_mut(&target)?.name = new;
                room.broadcast(None, "moderation", &told);
                room.tell_of(&target, "update");
            }
            ("moderation", "enable_raise_hands" | "disable_raise_hands") => {
                let told = if action.starts_with('e') { "raise_hands_enabled" } else { "raise_hands_disabled" };
                room.broadcast(None, "moderation", &json!({"message": told, "issued_by": person}));
            }
            ("moderation", "reset_raised_hands") => {
                let raised: Vec<String> = room.people.iter().filter(|(_, s)| s.hand_is_up).map(|(id, _)| id.clone()).collect();
                for id in raised {
                    let sitting = room.people.get_mut(&id)?;
                    (sitting.hand_is_up, sitting.hand_updated_at) = (false, messages::now());
                    let told = json!({"message": "raised_hand_reset_by_moderator", "issued_by": person});
                    room.send(&id, message("moderation", told));
                    room.tell_of(&id, "update");
                }
            }
            ("moderation", "kick") => room.send_away(&target, "moderation", json!({"message": "kicked"}), "kicked"),
            ("moderation", "send_to_waiting_room") => {
                room.broadcast(None, "moderation", &json!({"message": "waiting_room_enabled"}));
                room.send(&target, message("moderation", json!({"message": "sent_to_waiting_room"})));
                room.send(&target, message("moderation", json!({"message": "in_waiting_room"})));
                room.broadcast(
                    Some(&target),
                    "moderation",
                    &json!({"message": "joined_waiting_room", "id": target, "control": {}}),
                );
                room.broadcast(
                    Some(&target),
                    "control",
                    &json!({"message": "left", "id": target, "reason": "sent_to_waiting_room"}),
                );
            }
            ("moderation", "debrief") => {
                room.broadcast(None, "moderation", &json!({"message": "waiting_room_enabled"}));
                let is_all = payload["kick_scope"] == "all";
                let guests: Vec<String> =
                    room.people.iter().filter(|(_, s)| is_all || s.role == "guest").map(|(id, _)| id.clone()).collect();
                for id in guests {
                    room.send_away(&id, "moderation", json!({"message": "session_ended", "issued_by": person}), "kicked");
                }
                room.broadcast(None, "moderation", &json!({"message": "debriefing_started", "issued_by": person}));
            }
            ("control", _) => room.send(person, error("invalid_json")),
            ("moderation" | "livekit" | "chat" | "timer" | "automod" | "breakout", _) => {}
            _ => room.send(person, error("invalid_namespace")),
        }
        None
    }

    /// The room ends for everybody with this message.
    pub(super) fn close_room(&mut self, room: &str, why: &str) {
        let room = self.room(room);
        let all: Vec<String> = room.people.keys().cloned().collect();
        for id in all {
            room.send_away(&id, "control", json!({"message": why}), "quit");
        }
    }

    /// Does something to the sockets of all recorders of a room.
    pub(super) fn tell_recorders(&mut self, room: &str, what: impl Fn() -> Out) {
        let room = self.room(room);
        for id in room.recorders() {
            if let Some(Outlet::Wire(wire)) = room.people.get(&id).map(|person| &person.outlet) {
                _ = wire.send(what());
            }
        }
    }
}
