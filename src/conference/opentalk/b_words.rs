//! The words of generation B (controllers 0.20 to 0.33), not what follows from them.
//!
//! In: the text of signaling messages. Out: [`Heard`], in Roomcast's words; and the text of what we say. Pure.
//! Whatever is not known here (namespaces, messages, fields, values) is passed over, and a field of another type than ours counts as absent: a
//! newer controller must not end a recording. What cannot be passed over is a message without the one thing that it is about.

use std::collections::BTreeMap;

use recorder_core::conference::{Delivery, EndReason, Facts, Hand, Light, Role, Standing};
use recorder_core::ids::ParticipantId;
use recorder_core::secret::{Pii, Secret};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// The protocol's name in the upgrade.
pub(super) const PROTOCOL: &str = "opentalk-signaling-json-v1.0";

/// What is said about people, by namespace and message.
const JOIN_SUCCESS: &str = "control join_success";
const JOINED: &str = "control joined";
const UPDATE: &str = "control update";

/// The controller drops a connection that sends a larger frame.
pub(super) const LARGEST_FRAME: usize = 64 << 10;

/// Longer sentences are cut before they are told.
const LONGEST_SENTENCE: usize = 1000;

/// What the controller said.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// We are in the room, and this is what it is like.
    Joined(Box<Arrival>),
    /// There is no place left.
    Full,
    /// We have to wait outside.
    Outside,
    /// Our request to join is refused: our name is not one.
    BadName,
    /// Somebody is in the room, or is now so.
    Person(Person),
    /// Somebody is gone.
    Left(ParticipantId),
    /// Targets shall run.
    Start(Vec<String>),
    /// Targets shall pause.
    Pause(Vec<String>),
    /// Targets shall end.
    Stop(Vec<String>),
    /// What everybody is shown about a Target now.
    Shown {
        /// Which.
        stream: String,
        /// What.
        light: Light,
    },
    /// What was asked for to enter the media server.
    Credentials(Credentials),
    /// We are out.
    Over(EndReason),
    /// Nothing that concerns us.
    Nothing,
}

/// The room as it is when we enter.
#[derive(Debug, PartialEq)]
pub(super) struct Arrival {
    /// Who we are in this connection.
    pub(super) own: ParticipantId,
    /// What the meeting is called.
    pub(super) title: Option<Pii>,
    /// How to enter the media server.
    pub(super) credentials: Option<Credentials>,
    /// Everybody, those who left and machines among them.
    pub(super) people: Vec<Person>,
    /// What can be delivered, by the controller's name for it.
    pub(super) streams: BTreeMap<String, Stream>,
    /// What keeps us from recording.
    pub(super) hindrance: Option<Hindrance>,
}

/// What keeps a recorder from recording a room that it could enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hindrance {
    /// Media are encrypted from person to person.
    EndToEnd,
    /// A breakout room: it has no Targets, and everybody sees us there.
    Breakout,
}

/// How to enter the media server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Credentials {
    /// Its address.
    pub(super) url: String,
    /// Lives for 32 s.
    pub(super) token: Secret,
}

/// Somebody, complete.
#[derive(Debug, PartialEq)]
pub(super) struct Person {
    pub(super) id: ParticipantId,
    pub(super) name: Pii,
    pub(super) facts: Facts,
    /// Agrees to be recorded. Who was not asked yet does not.
    pub(super) consents: bool,
    /// Whether it is to be seen and heard; not somebody who left, and not a service.
    pub(super) is_here: bool,
    /// The message that said all this.
    pub(super) by: &'static str,
}

/// One Target, as the controller keeps it.
#[derive(Debug, PartialEq)]
pub(super) struct Stream {
    pub(super) delivery: Result<Delivery, Unfit>,
    /// `None` for a state that this version does not know.
    pub(super) light: Option<Light>,
}

/// Why a Target cannot be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// A kind of Target that this version does not know.
    Kind,
    /// A live destination without an address.
    Address,
}

/// A message that says nothing about what it should be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message of the OpenTalk controller cannot be read")]
pub(super) struct Unreadable;

/// Reads one message.
///
/// # Errors
/// Not JSON, not a message, or one without the thing that it is about.
pub(super) fn read(text: &str) -> Result<Heard, Unreadable> {
    #[derive(Deserialize)]
    struct Message {
        namespace: String,
        payload: Value,
    }
    let Message { namespace, payload } = serde_json::from_str(text).map_err(|_| Unreadable)?;
    // What is said to recorders only names itself `action`, although it is told and not asked.
    let name = payload.get("message").or_else(|| payload.get("action")).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (namespace.as_str(), name.as_str()) {
        ("control", "join_success") => parse::<JoinSuccess>(payload).map(|join| Heard::Joined(Box::new(join.into()))),
        ("control", "join_blocked") => Ok(Heard::Full),
        ("control", "joined") => parse::<Participant>(payload)?.read(JOINED).map(Heard::Person).ok_or(Unreadable),
        ("control", "update") => parse::<Participant>(payload)?.read(UPDATE).map(Heard::Person).ok_or(Unreadable),
        ("control", "left") => parse::<Named>(payload).map(|named| Heard::Left(ParticipantId::new(named.id))),
        ("control", "error") if payload.get("error").and_then(Value::as_str) == Some("invalid_username") => Ok(Heard::BadName),
        ("control", "room_deleted" | "time_limit_quota_elapsed") => Ok(Heard::Over(EndReason::RoomClosed)),
        ("moderation", "session_ended") => Ok(Heard::Over(EndReason::RoomClosed)),
        ("moderation", "kicked" | "banned" | "sent_to_waiting_room") => Ok(Heard::Over(EndReason::Removed)),
        ("moderation", "in_waiting_room") => Ok(Heard::Outside),
        ("recording_service", "start_streams") => parse::<Listed>(payload).map(|list| Heard::Start(list.target_ids)),
        ("recording_service", "pause_streams") => parse::<Listed>(payload).map(|list| Heard::Pause(list.target_ids)),
        ("recording_service", "stop_streams") => parse::<Listed>(payload).map(|list| Heard::Stop(list.target_ids)),
        ("recording", "stream_updated") => {
            let StreamUpdated { target_id, status } = parse(payload)?;
            Ok(light_of(&status).map_or(Heard::Nothing, |light| Heard::Shown { stream: target_id, light }))
        }
        ("livekit", "credentials") => parse::<LiveKit>(payload)?.read().map(Heard::Credentials).ok_or(Unreadable),
        _ => Ok(Heard::Nothing),
    }
}

/// Asks to be let in under this name; without one, nobody is.
pub(super) fn join(name: &str) -> String {
    json!({"namespace": "control", "payload": {"action": "join", "display_name": name}}).to_string()
}

/// Asks for new [`Credentials`].
pub(super) fn ask_for_credentials() -> String {
    json!({"namespace": "livekit", "payload": {"action": "create_new_access_token"}}).to_string()
}

/// Tells how a Target stands. It names itself `message`, although it is asked and not told.
pub(super) fn report(stream: &str, standing: &Standing) -> String {
    let mut payload = json!({"message": "stream_updated", "target_id": stream, "status": word_of(standing.light())});
    if let Standing::Error { code, message } = standing {
        let message: String = message.chars().take(LONGEST_SENTENCE).collect();
        payload["reason"] = json!({"code": code, "message": message});
    }
    json!({"namespace": "recording_service", "payload": payload}).to_string()
}

fn word_of(light: Light) -> &'static str {
    match light {
        Light::Inactive => "inactive",
        Light::Starting => "starting",
        Light::Active => "active",
        Light::Paused => "paused",
        Light::Error => "error",
    }
}

fn light_of(word: &str) -> Option<Light> {
    [Light::Inactive, Light::Starting, Light::Active, Light::Paused, Light::Error]
        .into_iter()
        .find(|light| word_of(*light) == word)
}

fn parse<T: DeserializeOwned>(payload: Value) -> Result<T, Unreadable> {
    serde_json::from_value(payload).map_err(|_| Unreadable)
}

/// Reads a field; one of another type counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// Reads a list; what is not an entry counts as absent.
fn lenient_list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let Value::Array(entries) = Value::deserialize(from)? else { return Ok(Vec::new()) };
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

/// Reads a map; what is not an entry counts as absent.
fn lenient_map<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<BTreeMap<String, T>, D::Error> {
    let Value::Object(entries) = Value::deserialize(from)? else { return Ok(BTreeMap::new()) };
    Ok(entries.into_iter().filter_map(|(name, entry)| Some((name, serde_json::from_value(entry).ok()?))).collect())
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default, deserialize_with = "lenient_list")]
    target_ids: Vec<String>,
}

#[derive(Deserialize)]
struct StreamUpdated {
    target_id: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
}

/// Module states stand beside the fields of the message itself, by namespace.
#[derive(Deserialize)]
struct JoinSuccess {
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    livekit: Option<LiveKit>,
    #[serde(default, deserialize_with = "lenient")]
    recording_service: RecordingService,
    #[serde(default, deserialize_with = "lenient")]
    breakout: Breakout,
    #[serde(default, deserialize_with = "lenient_list")]
    participants: Vec<Participant>,
    #[serde(default, deserialize_with = "lenient")]
    event_info: Option<EventInfo>,
}

#[derive(Deserialize)]
struct LiveKit {
    #[serde(default, deserialize_with = "lenient")]
    token: String,
    #[serde(default, deserialize_with = "lenient")]
    public_url: String,
    /// For services: the way without the public proxy.
    #[serde(default, deserialize_with = "lenient")]
    service_url: Option<String>,
}

#[derive(Deserialize, Default)]
struct RecordingService {
    #[serde(default, deserialize_with = "lenient_map")]
    streams: BTreeMap<String, StreamState>,
}

#[derive(Deserialize)]
struct StreamState {
    #[serde(default, deserialize_with = "lenient")]
    stream_kind: String,
    /// An object here, and a word in `stream_updated`.
    #[serde(default, deserialize_with = "lenient")]
    status: Status,
    #[serde(default, deserialize_with = "lenient")]
    location: Option<String>,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default, deserialize_with = "lenient")]
    status: String,
}

#[derive(Deserialize, Default)]
struct Breakout {
    /// The breakout room that this connection is in; nothing in the main room.
    #[serde(default, deserialize_with = "lenient")]
    current: Option<String>,
}

#[derive(Deserialize)]
struct EventInfo {
    #[serde(default, deserialize_with = "lenient")]
    title: String,
    #[serde(default, deserialize_with = "lenient")]
    e2e_encryption: bool,
}

#[derive(Deserialize)]
struct Participant {
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    control: Option<Control>,
    /// Not there before the person was asked.
    #[serde(default, deserialize_with = "lenient")]
    recording: Consent,
}

#[derive(Deserialize)]
struct Control {
    #[serde(default, deserialize_with = "lenient")]
    display_name: String,
    #[serde(default, deserialize_with = "lenient")]
    avatar_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    role: String,
    #[serde(default, deserialize_with = "lenient")]
    participation_kind: String,
    #[serde(default, deserialize_with = "lenient")]
    hand_is_up: bool,
    #[serde(default, deserialize_with = "lenient")]
    hand_updated_at: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    left_at: Value,
}

#[derive(Deserialize, Default)]
struct Consent {
    #[serde(default, deserialize_with = "lenient")]
    consents_recording: bool,
}

impl From<JoinSuccess> for Arrival {
    fn from(join: JoinSuccess) -> Self {
        let is_secret = join.event_info.as_ref().is_some_and(|event| event.e2e_encryption);
        let hindrance = match join.breakout.current {
            Some(_) => Some(Hindrance::Breakout),
            None => is_secret.then_some(Hindrance::EndToEnd),
        };
        Self {
            own: ParticipantId::new(join.id),
            title: join.event_info.map(|event| event.title).filter(|title| !title.is_empty()).map(Pii::new),
            credentials: join.livekit.and_then(LiveKit::read),
            people: join.participants.into_iter().filter_map(|person| person.read(JOIN_SUCCESS)).collect(),
            streams: join.recording_service.streams.into_iter().map(|(id, stream)| (id, stream.into())).collect(),
            hindrance,
        }
    }
}

impl LiveKit {
    fn read(self) -> Option<Credentials> {
        let url = self.service_url.filter(|url| !url.is_empty()).unwrap_or(self.public_url);
        (!url.is_empty() && !self.token.is_empty()).then(|| Credentials { url, token: Secret::new(self.token) })
    }
}

impl From<StreamState> for Stream {
    fn from(stream: StreamState) -> Self {
        let delivery = match (stream.stream_kind.as_str(), stream.location) {
            ("recording", _) => Ok(Delivery::Recording),
            ("streaming" | "livestream" | "rtmp" | "rtmps", Some(location)) if !location.is_empty() => {
                Ok(Delivery::Live { location: Secret::new(location) })
            }
            ("streaming" | "livestream" | "rtmp" | "rtmps", _) => Err(Unfit::Address),
            _ => Err(Unfit::Kind),
        };
        Self { delivery, light: light_of(&stream.status.status) }
    }
}

impl Participant {
    fn read(self, by: &'static str) -> Option<Person> {
        let control = self.control?;
        let is_service = matches!(control.participation_kind.as_str(), "recorder" | "transcription");
        let facts = Facts {
            role: if control.role == "moderator" { Role::Moderator } else { Role::Attendee },
            hand: if control.hand_is_up { Hand::Raised { unix_ms: unix_ms(control.hand_updated_at) } } else { Hand::Down },
            avatar: control.avatar_url.filter(|url| !url.is_empty()).map(Pii::new),
            call_in: control.participation_kind == "sip",
        };
        Some(Person {
            id: ParticipantId::new(self.id),
            name: Pii::new(control.display_name),
            facts,
            consents: self.recording.consents_recording,
            is_here: control.left_at.is_null() && !is_service,
            by,
        })
    }
}

fn unix_ms(rfc3339: Option<String>) -> Option<u64> {
    rfc3339?.parse::<jiff::Timestamp>().ok()?.as_millisecond().try_into().ok()
}

#[cfg(test)]
#[path = "b_words_tests.rs"]
mod tests;
