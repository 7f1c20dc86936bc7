//! Who is in the room, and which Tracks they offer.
//!
//! In: the server's participant lists and updates. Out: [`ConferenceEvent`]s, and which sid a Track has at the moment. Pure.
//!
//! **People** are participants of kind STANDARD, SIP, INGRESS, CONNECTOR and BRIDGE. Recorders, other egress and agents are machines: they get
//! no tile and no sound. Hidden participants are not shown to us by the server; somebody who becomes hidden has left.
//! **Tracks** are named by person and kind, so one kind has one sid at a time. Where a person offers two of the same kind, one that is not muted
//! wins, then the newer. A track of unknown source takes the camera's or microphone's place if that is free, else the screen's.

use std::collections::BTreeMap;

use livekit_protocol::{JoinResponse, ParticipantInfo, SpeakerInfo, TrackInfo, TrackSource, TrackType, participant_info};
use recorder_core::conference::{ConferenceEvent, Facts};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::secret::Pii;

use super::facts;

/// People in one room at most; a server that tells of more is not believed.
const MAX_PEOPLE: usize = 5000;

#[derive(PartialEq, Clone)]
struct Person {
    sid: String,
    name: Pii,
    facts: Facts,
    tracks: BTreeMap<TrackKind, Offered>,
    /// The sids of all their tracks, in the order in which they were first told: the server lists them in any order.
    order: Vec<String>,
}

#[derive(PartialEq, Clone, Debug)]
struct Offered {
    sid: String,
    muted: bool,
}

/// The room as the server has told it.
#[derive(Default)]
pub struct Roster {
    own_sid: String,
    title: Option<Pii>,
    people: BTreeMap<ParticipantId, Person>,
    speaking: BTreeMap<String, f32>,
}

impl Roster {
    /// A new session: everything that was known is replaced. The events are complete, from `Entered` to `Listed`.
    pub fn joined(&mut self, join: &JoinResponse) -> Vec<ConferenceEvent> {
        *self = Self { own_sid: join.participant.as_ref().map(|p| p.sid.clone()).unwrap_or_default(), ..Self::default() };
        self.title = join.room.as_ref().filter(|room| !room.name.is_empty()).map(|room| Pii::new(room.name.as_str()));
        self.updated(&join.other_participants);
        self.listing()
    }

    /// Everything that is known, from `Entered` to `Listed`.
    pub fn listing(&self) -> Vec<ConferenceEvent> {
        let mut events = vec![ConferenceEvent::Entered { title: self.title.clone() }];
        for (id, person) in &self.people {
            events.push(ConferenceEvent::Joined { participant: id.clone(), name: person.name.clone() });
            // Also that there is nothing to say: before, there may have been.
            events.push(ConferenceEvent::Facts { participant: id.clone(), facts: person.facts.clone() });
            for (kind, offered) in &person.tracks {
                events.push(ConferenceEvent::TrackUp { track: TrackId::new(id.clone(), *kind), muted: offered.muted });
            }
        }
        events.push(ConferenceEvent::Listed);
        events
    }

    /// Applies an update: only what it names changes.
    pub fn updated(&mut self, infos: &[ParticipantInfo]) -> Vec<ConferenceEvent> {
        let mut events = Vec::new();
        for info in infos {
            self.one(info, &mut events);
        }
        events
    }

    /// Applies the complete list that follows a resume: whoever is not in it has left meanwhile.
    pub fn replaced(&mut self, infos: &[ParticipantInfo]) -> Vec<ConferenceEvent> {
        let mut events = Vec::new();
        let gone: Vec<_> = self.people.keys().filter(|id| !infos.iter().any(|i| i.identity == id.as_str())).cloned().collect();
        for participant in gone {
            self.remove(&participant, &mut events);
        }
        events.extend(self.updated(infos));
        events
    }

    /// Whether an update tells of ourselves; only the complete list after a resume does so together with others.
    pub fn names_us(&self, infos: &[ParticipantInfo]) -> bool {
        infos.iter().any(|info| info.sid == self.own_sid)
    }

    /// Our own participant sid in this session.
    pub fn own_sid(&self) -> &str {
        &self.own_sid
    }

    /// Who speaks now, loudest first, after a change that the server told.
    pub fn speakers(&mut self, changed: &[SpeakerInfo]) -> ConferenceEvent {
        for speaker in changed {
            if speaker.active && self.speaking.len() < MAX_PEOPLE {
                self.speaking.insert(speaker.sid.clone(), speaker.level);
            } else {
                self.speaking.remove(&speaker.sid);
            }
        }
        let mut loud: Vec<_> =
            self.people.iter().filter_map(|(id, person)| Some((*self.speaking.get(&person.sid)?, id.clone()))).collect();
        loud.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        ConferenceEvent::Speaking { participants: loud.into_iter().map(|(_, id)| id).collect() }
    }

    /// The sid that this Track has at the moment.
    pub fn sid_of(&self, track: &TrackId) -> Option<&str> {
        Some(self.people.get(&track.participant)?.tracks.get(&track.kind)?.sid.as_str())
    }

    /// The sids of all Tracks.
    pub fn sids(&self) -> impl Iterator<Item = &str> {
        self.people.values().flat_map(|person| person.tracks.values().map(|offered| offered.sid.as_str()))
    }

    /// The Track that has this sid at the moment.
    pub fn track_of(&self, sid: &str) -> Option<TrackId> {
        self.people.iter().find_map(|(id, person)| {
            let kind = person.tracks.iter().find(|(_, offered)| offered.sid == sid)?.0;
            Some(TrackId::new(id.clone(), *kind))
        })
    }

    fn one(&mut self, info: &ParticipantInfo, events: &mut Vec<ConferenceEvent>) {
        if info.sid == self.own_sid || info.identity.is_empty() {
            return;
        }
        let id = ParticipantId::new(info.identity.as_str());
        if info.state() == participant_info::State::Disconnected {
            // The farewell of an older session of somebody who is already back.
            if self.people.get(&id).is_some_and(|known| known.sid == info.sid) {
                self.remove(&id, events);
            }
            return;
        }
        if !is_person(info) {
            // Rights change in the middle of a meeting: whoever is hidden from now on is not to be shown, and not to be subscribed.
            self.remove(&id, events);
            return;
        }
        if !self.people.contains_key(&id) && self.people.len() >= MAX_PEOPLE {
            return;
        }
        let name = if info.name.is_empty() { &info.identity } else { &info.name };
        let known = self.people.get(&id).map(|p| p.order.as_slice()).unwrap_or_default();
        let age = |track: &&TrackInfo| known.iter().position(|sid| *sid == track.sid).unwrap_or(known.len());
        let mut tracks: Vec<&TrackInfo> = info.tracks.iter().collect();
        tracks.sort_by_key(age);
        let order = tracks.iter().map(|track| track.sid.clone()).collect();
        let (name, facts) = (Pii::new(name.as_str()), facts::of(info));
        let person = Person { sid: info.sid.clone(), name, facts, tracks: offered(&tracks), order };
        let before = self.people.insert(id.clone(), person.clone());
        if before.as_ref().is_none_or(|b| b.name != person.name) {
            events.push(ConferenceEvent::Joined { participant: id.clone(), name: person.name.clone() });
        }
        if before.as_ref().map_or(person.facts != Facts::default(), |b| b.facts != person.facts) {
            events.push(ConferenceEvent::Facts { participant: id.clone(), facts: person.facts.clone() });
        }
        let before = before.map(|b| b.tracks).unwrap_or_default();
        for kind in before.keys().filter(|kind| !person.tracks.contains_key(kind)) {
            events.push(ConferenceEvent::TrackDown { track: TrackId::new(id.clone(), *kind) });
        }
        for (kind, offered) in &person.tracks {
            if before.get(kind).is_none_or(|b| b.muted != offered.muted) {
                events.push(ConferenceEvent::TrackUp { track: TrackId::new(id.clone(), *kind), muted: offered.muted });
            }
        }
    }

    fn remove(&mut self, id: &ParticipantId, events: &mut Vec<ConferenceEvent>) {
        let Some(person) = self.people.remove(id) else { return };
        self.speaking.remove(&person.sid);
        for kind in person.tracks.keys() {
            events.push(ConferenceEvent::TrackDown { track: TrackId::new(id.clone(), *kind) });
        }
        events.push(ConferenceEvent::Left { participant: id.clone() });
    }
}

fn is_person(info: &ParticipantInfo) -> bool {
    use participant_info::Kind::{Bridge, Connector, Ingress, Sip, Standard};
    let is_machine = info.permission.as_ref().is_some_and(|p| p.hidden);
    !is_machine && matches!(participant_info::Kind::try_from(info.kind), Ok(Standard | Sip | Ingress | Connector | Bridge))
}

/// Which track has which kind; `tracks` come oldest first.
fn offered(tracks: &[&TrackInfo]) -> BTreeMap<TrackKind, Offered> {
    let mut out: BTreeMap<TrackKind, Offered> = BTreeMap::new();
    let (known, unknown): (Vec<_>, Vec<_>) = tracks
        .iter()
        .copied()
        .filter(|t| !t.sid.is_empty() && matches!(t.r#type(), TrackType::Audio | TrackType::Video))
        .partition(|t| kind_of(t).is_some());
    for track in known {
        let Some(kind) = kind_of(track) else { continue };
        let replaces = out.get(&kind).is_none_or(|other| other.muted || !track.muted);
        if replaces {
            out.insert(kind, Offered { sid: track.sid.clone(), muted: track.muted });
        }
    }
    for track in unknown {
        let places = match track.r#type() {
            TrackType::Video => [TrackKind::Camera, TrackKind::Screen],
            _ => [TrackKind::Microphone, TrackKind::ScreenAudio],
        };
        if let Some(free) = places.into_iter().find(|kind| !out.contains_key(kind)) {
            out.insert(free, Offered { sid: track.sid.clone(), muted: track.muted });
        }
    }
    out
}

/// The kind that the source names, if it agrees with the media type.
fn kind_of(track: &TrackInfo) -> Option<TrackKind> {
    let kind = match track.source() {
        TrackSource::Camera => TrackKind::Camera,
        TrackSource::Microphone => TrackKind::Microphone,
        TrackSource::ScreenShare => TrackKind::Screen,
        TrackSource::ScreenShareAudio => TrackKind::ScreenAudio,
        TrackSource::Unknown => return None,
    };
    (kind.is_video() == (track.r#type() == TrackType::Video)).then_some(kind)
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
