//! What is written down beside a recording: a ledger of who agreed to be recorded, and a log of what happened.
//!
//! In: what a worker saw ([`Note`]), what its supervisor did, and when. Out: [`Line`]s for one of the two books. Pure: no file, no clock.
//! It decides who may be named: whoever agrees to be recorded, in what is written while they do, and everybody where nobody is asked. Anybody else is a
//! number of this Session, from when they came until they leave.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::conference::{ConferenceCommand, ConferenceEvent, Light, Standing};
use crate::fault::Fault;
use crate::ids::{ParticipantId, SessionId, TakeId, TargetId};
use crate::secret::Pii;
use crate::session::{Action, After};
use crate::stage::ConsentRule;
use crate::time::SessionTime;

mod lines;
#[cfg(test)]
mod tests;

pub use lines::{Asked, CallIn, Entry, Event, Line, What, Who, WhyEnded};

/// Version of both forms.
pub const VERSION: u32 = 1;

/// What a worker saw that belongs into the books.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// We are in the room; the list of people follows.
    Entered,
    /// The list is complete.
    Listed,
    /// Somebody is in the room, or has another name.
    Joined {
        /// Who.
        participant: ParticipantId,
        /// What they are called.
        name: Pii,
    },
    /// Somebody takes part by telephone.
    CallsIn {
        /// Who.
        participant: ParticipantId,
    },
    /// Somebody left.
    Left {
        /// Who.
        participant: ParticipantId,
    },
    /// Whether somebody agrees to be recorded.
    Consent {
        /// Who.
        participant: ParticipantId,
        /// Agrees.
        given: bool,
        /// The message that said so, as the Conference calls it.
        by: String,
    },
    /// The room is lost.
    Lost(Fault),
    /// A Take begins.
    TakeBegins {
        /// Of which Target.
        target: TargetId,
        /// Which.
        take: TakeId,
        /// Its first programme instant.
        from: SessionTime,
    },
    /// A Take ends.
    TakeEnds {
        /// Of which Target.
        target: TargetId,
        /// The first programme instant after it.
        until: SessionTime,
        /// Perhaps another one follows.
        pauses: bool,
    },
    /// What people in the room are shown about a Target.
    Told {
        /// Which.
        target: TargetId,
        /// What.
        shown: Light,
        /// Of an error: one word for programs.
        code: Option<String>,
        /// Of an error: one sentence.
        message: Option<String>,
    },
    /// The Session ends.
    Ending {
        /// Why.
        reason: String,
        /// Set when it failed.
        fault: Option<Fault>,
    },
}

impl Note {
    /// What of a Conference belongs into the books.
    pub fn of_event(event: &ConferenceEvent) -> Option<Self> {
        Some(match event {
            ConferenceEvent::Entered { .. } => Self::Entered,
            ConferenceEvent::Listed => Self::Listed,
            ConferenceEvent::Joined { participant, name } => {
                Self::Joined { participant: participant.clone(), name: name.clone() }
            }
            ConferenceEvent::Facts { participant, facts } if facts.call_in => Self::CallsIn { participant: participant.clone() },
            ConferenceEvent::Left { participant } => Self::Left { participant: participant.clone() },
            ConferenceEvent::Consent { participant, given, by } => {
                Self::Consent { participant: participant.clone(), given: *given, by: (*by).to_owned() }
            }
            ConferenceEvent::Lost { fault } => Self::Lost(fault.clone()),
            _ => return None,
        })
    }

    /// What of a Session's decisions belongs into the books.
    pub fn of_action(action: &Action) -> Option<Self> {
        Some(match action {
            Action::BeginTake { target, take, at } => Self::TakeBegins { target: target.clone(), take: *take, from: *at },
            Action::EndTake { target, at, then } => {
                Self::TakeEnds { target: target.clone(), until: *at, pauses: *then == After::Pause }
            }
            Action::Tell(ConferenceCommand::Report { target, standing }) => {
                let (code, message) = match standing {
                    Standing::Error { code, message } => (Some((*code).to_owned()), Some(message.clone())),
                    _ => (None, None),
                };
                Self::Told { target: target.clone(), shown: standing.light(), code, message }
            }
            _ => return None,
        })
    }
}

/// A line and its session time.
pub type Dated = (SessionTime, Line);

#[derive(Clone, Debug)]
struct Person {
    number: u64,
    name: Pii,
    joined: SessionTime,
    call_in: bool,
    /// Since when they agree, and by which message.
    agrees: Option<(SessionTime, String)>,
    /// Told of since we entered the room.
    told: bool,
}

/// What the books of a Session are made of. Recordings begin and end in it; each gets a head that says how things stood.
#[derive(Clone, Debug)]
pub struct Chronicle {
    session: SessionId,
    rule: ConsentRule,
    layout: String,
    people: BTreeMap<ParticipantId, Person>,
    /// People so far.
    numbers: u64,
    /// Takes that run.
    takes: BTreeMap<TargetId, (TakeId, SessionTime)>,
}

impl Chronicle {
    /// Nothing has happened yet.
    pub fn new(session: SessionId, rule: ConsentRule, layout: impl Into<String>) -> Self {
        let (people, takes) = (BTreeMap::new(), BTreeMap::new());
        Self { session, rule, layout: layout.into(), people, numbers: 0, takes }
    }

    /// The first lines of the books of a recording that begins now: who is there, since when, and who agrees.
    pub fn head(&self, recording: &TargetId, at: SessionTime) -> Vec<Dated> {
        let (consent, call_in_without_consent) = match self.rule {
            ConsentRule::NotAsked => (Asked::NotAsked, None),
            ConsentRule::Asked { call_in_included: true } => (Asked::Asked, Some(CallIn::Include)),
            ConsentRule::Asked { call_in_included: false } => (Asked::Asked, Some(CallIn::Exclude)),
        };
        let (session, version) = (self.session.clone(), VERSION);
        let recording = recording.clone();
        let begins = Event::Begins { version, session: session.clone(), recording: recording.clone() };
        let mut head = vec![
            (at, Line::Ledger(Entry::Rule { version, session, recording, consent, call_in_without_consent })),
            (at, Line::Event(begins)),
            (at, Line::Event(Event::Layout { name: self.layout.clone() })),
        ];
        let mut people: Vec<_> = self.people.iter().collect();
        people.sort_by_key(|(_, person)| person.number);
        for (participant, person) in people {
            let who = self.who(participant, person);
            head.push((person.joined, Line::Event(Event::Joined { who: who.clone() })));
            if person.call_in {
                head.push((person.joined, Line::Event(Event::CallsIn { who: who.clone() })));
            }
            match &person.agrees {
                Some((since, by)) => head.push((*since, Line::Ledger(Entry::Given { who, by: by.clone() }))),
                None if self.includes(person) => head.push((person.joined, Line::Ledger(Entry::Included { who }))),
                None => {}
            }
        }
        let running = self.takes.iter();
        head.extend(
            running.map(|(target, (take, from))| (*from, Line::Event(Event::TakeBegan { target: target.clone(), take: *take }))),
        );
        head
    }

    /// A worker saw something at this time.
    pub fn note(&mut self, at: SessionTime, note: Note) -> Vec<Dated> {
        let event = |event| vec![(at, Line::Event(event))];
        match note {
            Note::Entered => {
                self.people.values_mut().for_each(|person| person.told = false);
                event(Event::RoomEntered)
            }
            Note::Listed => {
                let gone: Vec<_> = self.people.iter().filter(|(_, person)| !person.told).map(|(id, _)| id.clone()).collect();
                gone.iter().flat_map(|participant| self.leaves(participant, at)).collect()
            }
            Note::Joined { participant, name } => self.joins(participant, name, at),
            Note::CallsIn { participant } => self.calls_in(&participant, at),
            Note::Left { participant } => self.leaves(&participant, at),
            Note::Consent { participant, given, by } => self.consents(&participant, given, by, at),
            Note::Lost(fault) => event(Event::RoomLost { sentence: fault.sentence }),
            Note::TakeBegins { target, take, from } => {
                self.takes.insert(target.clone(), (take, from));
                vec![(from, Line::Event(Event::TakeBegan { target, take }))]
            }
            Note::TakeEnds { target, until, pauses } => {
                let why = if pauses { WhyEnded::Paused } else { WhyEnded::Stopped };
                self.take_ends(&target, until, why).into_iter().collect()
            }
            Note::Told { target, shown, code, message } => event(Event::Told { target, shown, code, message }),
            Note::Ending { reason, fault } => event(Event::SessionEnds { reason, fault: fault.map(|fault| fault.sentence) }),
        }
    }

    /// The worker died: its Takes end with what is safe of each.
    pub fn worker_died(&mut self, safe: impl Fn(&TargetId) -> Option<SessionTime>) -> Vec<Dated> {
        let running: Vec<_> = self.takes.iter().map(|(target, (_, from))| (target.clone(), *from)).collect();
        let ended = running.into_iter().filter_map(|(target, from)| {
            let until = safe(&target).map_or(from, |until| until.max(from));
            self.take_ends(&target, until, WhyEnded::Crashed)
        });
        ended.collect()
    }

    /// An operator wants another layout.
    pub fn layout(&mut self, name: &str, at: SessionTime) -> Dated {
        self.layout.clear();
        self.layout.push_str(name);
        (at, Line::Event(Event::Layout { name: name.to_owned() }))
    }

    fn joins(&mut self, participant: ParticipantId, name: Pii, at: SessionTime) -> Vec<Dated> {
        if let Some(person) = self.people.get_mut(&participant) {
            person.told = true;
            if person.name == name {
                return Vec::new();
            }
            person.name = name;
            let who = self.who(&participant, &self.people[&participant]);
            return who.name.is_some().then_some((at, Line::Event(Event::Renamed { who }))).into_iter().collect();
        }
        self.numbers += 1;
        let person = Person { number: self.numbers, name, joined: at, call_in: false, agrees: None, told: true };
        let who = self.who(&participant, &person);
        self.people.insert(participant, person);
        vec![(at, Line::Event(Event::Joined { who }))]
    }

    fn calls_in(&mut self, participant: &ParticipantId, at: SessionTime) -> Vec<Dated> {
        let Some(person) = self.people.get_mut(participant).filter(|person| !person.call_in) else { return Vec::new() };
        person.call_in = true;
        let person = &self.people[participant];
        let who = self.who(participant, person);
        let included = self.includes(person).then(|| (at, Line::Ledger(Entry::Included { who: who.clone() })));
        std::iter::once((at, Line::Event(Event::CallsIn { who }))).chain(included).collect()
    }

    fn consents(&mut self, participant: &ParticipantId, given: bool, by: String, at: SessionTime) -> Vec<Dated> {
        let Some(person) = self.people.get_mut(participant) else { return Vec::new() };
        if person.agrees.is_some() == given {
            return Vec::new();
        }
        person.agrees = given.then(|| (at, by.clone()));
        let person = &self.people[participant];
        let who = self.who(participant, person);
        if given {
            return vec![(at, Line::Ledger(Entry::Given { who, by }))];
        }
        let included = self.includes(person).then(|| (at, Line::Ledger(Entry::Included { who: who.clone() })));
        std::iter::once((at, Line::Ledger(Entry::Withdrawn { who, by }))).chain(included).collect()
    }

    fn leaves(&mut self, participant: &ParticipantId, at: SessionTime) -> Vec<Dated> {
        let Some(person) = self.people.remove(participant) else { return Vec::new() };
        let who = self.who(participant, &person);
        let ledger = person.agrees.is_some().then(|| (at, Line::Ledger(Entry::Left { who: who.clone() })));
        std::iter::once((at, Line::Event(Event::Left { who }))).chain(ledger).collect()
    }

    fn take_ends(&mut self, target: &TargetId, until: SessionTime, why: WhyEnded) -> Option<Dated> {
        let (take, _) = self.takes.remove(target)?;
        Some((until, Line::Event(Event::TakeEnded { target: target.clone(), take, why })))
    }

    fn who(&self, participant: &ParticipantId, person: &Person) -> Who {
        let is_named = self.rule == ConsentRule::NotAsked || person.agrees.is_some();
        Who {
            who: format!("person-{}", person.number),
            participant: is_named.then(|| participant.clone()),
            name: is_named.then(|| person.name.clone()),
        }
    }

    /// Recorded although they have not agreed.
    fn includes(&self, person: &Person) -> bool {
        self.rule == ConsentRule::Asked { call_in_included: true } && person.call_in && person.agrees.is_none()
    }
}

/// Where instants of a Session lie in one recording of it.
#[derive(Clone, Copy, Debug)]
pub struct FilmClock {
    /// Length of the Takes before the running one, as far as it is known.
    before: Option<std::time::Duration>,
    /// Where the running one begins.
    from: Option<SessionTime>,
}

impl FilmClock {
    /// Of a film that begins now.
    pub fn new() -> Self {
        Self { before: Some(std::time::Duration::ZERO), from: None }
    }

    /// Of a film that somebody else began: where its next Take lies will be told, see [`Self::lies`].
    pub fn of_a_begun_film() -> Self {
        Self { before: None, from: None }
    }

    /// A Take begins with this instant.
    pub fn begins(&mut self, from: SessionTime) {
        self.from = Some(from);
    }

    /// The running Take ends before this instant.
    pub fn ends(&mut self, until: SessionTime) {
        if let Some(from) = self.from.take() {
            self.before = self.before.map(|before| before + until.since(from));
        }
    }

    /// Whoever writes the film says where the running Take lies in it: its first picture is of the instant `at`.
    pub fn lies(&mut self, at: SessionTime, film: std::time::Duration) {
        if let Some(from) = &mut self.from {
            *from = at;
            self.before = Some(film);
        }
    }

    /// Where an instant lies in the film; `None` while nothing is recorded, or that is not known yet.
    pub fn position(&self, at: SessionTime) -> Option<std::time::Duration> {
        let from = self.from.filter(|from| at >= *from)?;
        self.before.map(|before| before + at.since(from))
    }
}

impl Default for FilmClock {
    fn default() -> Self {
        Self::new()
    }
}
