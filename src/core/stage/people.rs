//! Who is in the room, with which Tracks, and who speaks: everything that a Session remembers about people.

use std::collections::BTreeMap;

use crate::conference::{Facts, Hand, Role};
use crate::ids::{ParticipantId, TrackId, TrackKind};
use crate::secret::Pii;
use crate::supervision::Caution;
use crate::time::SessionTime;

use super::floor::Floor;
use super::voice::Voice;
use super::{Loudness, Part, Seat, Stage};

/// Whether the Conference has told about somebody since we last entered it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// In the room for certain.
    Now,
    /// Was there before the connection was lost; keeps the place until the Conference has told its list.
    Before,
}

#[derive(Clone, Debug)]
struct Track {
    muted: bool,
    told: Told,
    arrival: u64,
}

/// Ordered by who raised it first: by the Conference's clock where it tells, behind those by when it was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RaisedHand {
    unix_ms: u64,
    told: u64,
}

#[derive(Clone, Debug)]
struct Person {
    name: Pii,
    told: Told,
    arrival: u64,
    /// When they last began or stopped to speak; 0 for never.
    spoke: u64,
    role: Role,
    hand: Option<RaisedHand>,
    /// Has agreed to be recorded.
    consents: bool,
    call_in: bool,
    /// At most one of each [`TrackKind`].
    tracks: BTreeMap<TrackKind, Track>,
    voice: Voice,
}

impl Person {
    fn may_be_recorded(&self, rule: ConsentRule, unheard: bool) -> bool {
        match rule {
            ConsentRule::NotAsked => true,
            ConsentRule::Asked { call_in_included } => !unheard && (self.consents || self.call_in && call_in_included),
        }
    }
}

/// Who may be recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRule {
    /// Everybody: the Conference does not ask, and whoever ordered the Session answers for it.
    #[default]
    NotAsked,
    /// Who has agreed in the room.
    Asked {
        /// Whoever takes part by telephone is recorded although nothing asked them.
        call_in_included: bool,
    },
}

/// Everybody in the room but us.
#[derive(Clone, Debug, Default)]
pub struct People {
    rule: ConsentRule,
    /// Nobody can withdraw consent at the moment, so nobody counts as having given it.
    unheard: bool,
    persons: BTreeMap<ParticipantId, Person>,
    /// Places of those who were not there any more after the last lost connection: a media server that was restarted lets people back one by one.
    places: BTreeMap<ParticipantId, u64>,
    floor: Floor,
    /// Counts arrivals and beginnings of speech, to order them.
    counter: u64,
    revision: u64,
}

impl People {
    /// Nobody is there yet.
    pub fn new(rule: ConsentRule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// Somebody agrees to be recorded, or no longer. True when somebody who could be recorded now cannot any more.
    pub fn consents(&mut self, participant: &ParticipantId, given: bool) -> bool {
        let (rule, unheard) = (self.rule, self.unheard);
        let Some(person) = self.persons.get_mut(participant).filter(|person| person.consents != given) else { return false };
        let before = person.may_be_recorded(rule, unheard);
        person.consents = given;
        self.revision += 1;
        before && !person.may_be_recorded(rule, unheard)
    }

    /// Nobody has agreed until they are told to have.
    pub fn forget_consents(&mut self) {
        self.persons.values_mut().for_each(|person| person.consents = false);
        self.revision += 1;
    }

    /// Nobody can be heard withdrawing their consent from now on, or they can again. Says whether that changed anything.
    pub fn set_unheard(&mut self, unheard: bool) -> bool {
        let changes = self.unheard != unheard && self.rule != ConsentRule::NotAsked;
        if changes {
            self.unheard = unheard;
            self.revision += 1;
        }
        changes
    }

    /// Whether somebody may be recorded. Nobody may who is not known to be in the room.
    pub fn may_be_recorded(&self, participant: &ParticipantId) -> bool {
        self.persons.get(participant).is_some_and(|person| person.may_be_recorded(self.rule, self.unheard))
    }

    /// How many may be recorded.
    pub fn recordable(&self) -> usize {
        self.persons.values().filter(|person| person.may_be_recorded(self.rule, self.unheard)).count()
    }

    /// Changes whenever [`Self::stage`], [`Self::tracks`] or [`Self::is_awaited`] may answer differently.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many are in the room, we ourselves not counted. Who may come back after a lost connection counts until the list is told.
    pub fn count(&self) -> usize {
        self.persons.len()
    }

    /// Somebody is there, or has a new name.
    pub fn joined(&mut self, participant: ParticipantId, name: Pii, now: SessionTime) {
        self.revision += 1;
        self.counter += 1;
        let arrival = self.places.remove(&participant).unwrap_or(self.counter);
        let person = self.persons.entry(participant).or_insert_with(|| Person {
            name: name.clone(),
            told: Told::Now,
            arrival,
            spoke: 0,
            role: Role::default(),
            hand: None,
            consents: false,
            call_in: false,
            tracks: BTreeMap::new(),
            voice: Voice::new(now),
        });
        person.name = name;
        person.told = Told::Now;
    }

    /// What somebody is in the room, and whether they want to say something. Of somebody who has not joined it is ignored.
    pub fn told_facts(&mut self, participant: &ParticipantId, facts: &Facts) {
        self.counter += 1;
        let told = self.counter;
        let Some(person) = self.persons.get_mut(participant) else { return };
        let hand = match facts.hand {
            Hand::Down => None,
            // Said again, it keeps its place.
            Hand::Raised { unix_ms: None } => person.hand.or(Some(RaisedHand { unix_ms: u64::MAX, told })),
            Hand::Raised { unix_ms: Some(unix_ms) } => {
                Some(RaisedHand { unix_ms, told: person.hand.map_or(told, |hand| hand.told) })
            }
        };
        if (person.role, person.hand, person.call_in) != (facts.role, hand, facts.call_in) {
            self.revision += 1;
            (person.role, person.hand, person.call_in) = (facts.role, hand, facts.call_in);
        }
    }

    /// Somebody left; nothing of them is kept.
    pub fn left(&mut self, participant: &ParticipantId) {
        if self.persons.remove(participant).is_some() {
            self.revision += 1;
        }
    }

    /// A Track exists, or was muted or unmuted. Of somebody who has not joined (or has left) it is ignored: who is not known to be in
    /// the room is never recorded.
    pub fn track_up(&mut self, track: &TrackId, muted: bool) {
        let Some(person) = self.persons.get_mut(&track.participant) else { return };
        self.revision += 1;
        self.counter += 1;
        let arrival = self.counter;
        let known = person.tracks.entry(track.kind).or_insert(Track { muted, told: Told::Now, arrival });
        known.muted = muted;
        known.told = Told::Now;
    }

    /// A Track is gone.
    pub fn track_down(&mut self, track: &TrackId) {
        if self.persons.get_mut(&track.participant).is_some_and(|person| person.tracks.remove(&track.kind).is_some()) {
            self.revision += 1;
        }
    }

    /// The connection is lost, or made anew: everybody keeps their place, but has to be told again.
    pub fn doubt_everybody(&mut self) {
        self.revision += 1;
        for person in self.persons.values_mut() {
            person.told = Told::Before;
            person.tracks.values_mut().for_each(|track| track.told = Told::Before);
        }
    }

    /// The list is complete: who and what was not told again is gone. Who comes back later gets the place of before.
    pub fn listed(&mut self) {
        self.revision += 1;
        let gone = self.persons.iter().filter(|(_, person)| person.told == Told::Before);
        let gone: BTreeMap<_, _> = gone.map(|(id, person)| (id.clone(), person.arrival)).collect();
        if !gone.is_empty() {
            self.places = gone;
        }
        self.persons.retain(|_, person| {
            person.tracks.retain(|_, track| track.told == Told::Now);
            person.told == Told::Now
        });
    }

    /// What our own meter heard. Who is not in the list is left as they were.
    pub fn metered(&mut self, heard: &[Loudness], now: SessionTime) {
        for Loudness { participant, dbfs } in heard {
            if let Some(person) = self.persons.get_mut(participant) {
                person.voice.meter(*dbfs, now);
            }
        }
    }

    /// The Conference's hint of everybody who speaks.
    pub fn hinted(&mut self, speaking: &[ParticipantId], now: SessionTime) {
        for (participant, person) in &mut self.persons {
            person.voice.hint(speaking.contains(participant), now);
        }
    }

    /// Lets time pass for voices and the floor; call it after every change and whenever [`Self::next_change`] is reached.
    pub fn settle(&mut self, now: SessionTime) {
        for person in self.persons.values_mut() {
            if person.voice.settle(now) {
                self.revision += 1;
                self.counter += 1;
                person.spoke = self.counter;
            }
        }
        let (rule, unheard) = (self.rule, self.unheard);
        // Who may not be recorded must not be seen to speak by what happens to the others.
        let recordable = self.persons.iter().filter(|(_, person)| person.may_be_recorded(rule, unheard));
        if self.floor.settle(recordable.map(|(id, person)| (id, &person.voice)), now) {
            self.revision += 1;
        }
    }

    /// When [`Self::settle`] may change something although nothing new is heard; never before `now`.
    pub fn next_change(&self, now: SessionTime) -> Option<SessionTime> {
        let voices = self.persons.values().filter_map(|person| person.voice.next_change());
        let free_at = self.floor.free_at();
        let wants = |id, person: &Person| person.voice.speaking() && self.floor.holder() != Some(id);
        let wanted =
            || self.persons.iter().any(|(id, person)| wants(id, person) && person.may_be_recorded(self.rule, self.unheard));
        let floor = (free_at > now && wanted()).then_some(free_at);
        voices.chain(floor).min()
    }

    /// Every Track that exists and may be recorded, whether anybody sees or hears it.
    pub fn tracks(&self) -> impl Iterator<Item = TrackId> + '_ {
        let recordable = self.persons.iter().filter(|(_, person)| person.may_be_recorded(self.rule, self.unheard));
        recordable.flat_map(|(id, person)| person.tracks.keys().map(|kind| TrackId::new(id.clone(), *kind)))
    }

    /// Whether nothing of this Track can be shown now: muted, not told again yet, or unknown.
    pub fn is_awaited(&self, track: &TrackId) -> bool {
        let known = self.persons.get(&track.participant).and_then(|person| Some((person, person.tracks.get(&track.kind)?)));
        known.is_none_or(|(person, known)| known.muted || known.told == Told::Before || person.told == Told::Before)
    }

    /// Who should be seen and heard now. `caution` says what must be left out. A muted camera keeps its Track here (see
    /// [`Self::is_awaited`]), so that it can be wished for before it is unmuted; a paused screen has no seat.
    pub fn stage(&self, caution: &Caution) -> Stage {
        let mut seats = Vec::with_capacity(self.persons.len());
        let mut rank = Vec::with_capacity(self.persons.len());
        let mut audible = Vec::with_capacity(self.persons.len());
        let recordable = |person: &&Person| person.may_be_recorded(self.rule, self.unheard);
        let mut hands: Vec<RaisedHand> = self.persons.values().filter(recordable).filter_map(|person| person.hand).collect();
        hands.sort_unstable();
        for (id, person) in self.persons.iter().filter(|(_, person)| recordable(person)) {
            let allowed = |kind: TrackKind| {
                Some(TrackId::new(id.clone(), kind)).filter(|track| person.tracks.contains_key(&kind) && caution.allows(track))
            };
            audible.extend(allowed(TrackKind::Microphone));
            audible.extend(allowed(TrackKind::ScreenAudio));
            if let Some(screen) = person.tracks.get(&TrackKind::Screen).filter(|screen| !screen.muted) {
                rank.push((0, u64::MAX - screen.arrival, 0, seats.len()));
                seats.push(Seat {
                    video: allowed(TrackKind::Screen),
                    role: person.role,
                    ..Seat::new(id.clone(), person.name.clone(), Part::Screen, screen.arrival)
                });
            }
            let floor = self.floor.holder() == Some(id);
            let speaking = person.voice.speaking() && person.told == Told::Now;
            let group = match (floor, speaking) {
                (true, _) => 1,
                (false, true) => 2,
                (false, false) => 3,
            };
            rank.push((group, u64::MAX - person.spoke, person.arrival, seats.len()));
            seats.push(Seat {
                participant: id.clone(),
                name: person.name.clone(),
                part: Part::Person,
                video: allowed(TrackKind::Camera),
                muted: person.tracks.get(&TrackKind::Microphone).is_none_or(|microphone| microphone.muted),
                speaking,
                role: person.role,
                hand: person.hand.and_then(|hand| hands.binary_search(&hand).ok()).map(|place| place as u64),
                floor,
                arrival: person.arrival,
            });
        }
        rank.sort_unstable();
        let mut seats: Vec<Option<Seat>> = seats.into_iter().map(Some).collect();
        let seats = rank.iter().filter_map(|(.., index)| seats.get_mut(*index)?.take()).collect();
        Stage { seats, audible }
    }

    /// Entries in all collections: grows with who is, or was when the connection was lost, in the room, and with nothing else.
    pub fn footprint(&self) -> usize {
        self.places.len() + self.persons.values().map(|person| 1 + person.tracks.len()).sum::<usize>()
    }
}
