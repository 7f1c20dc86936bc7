//! Who is in the room, as signaling tells it.
//!
//! In: [`Person`]s, each complete. Out: the [`ConferenceEvent`]s that say what changed. Pure. People of the media server who are not here are
//! nobody: it knows neither names nor consent.

use std::collections::BTreeMap;

use recorder_core::conference::{ConferenceEvent, Facts};
use recorder_core::ids::ParticipantId;
use recorder_core::secret::Pii;

use super::b_words::Person;

/// People in one room at most; a server that tells of more is not believed.
const MAX_PEOPLE: usize = 5000;

/// Everybody.
#[derive(Default)]
pub(super) struct People {
    own: Option<ParticipantId>,
    known: BTreeMap<ParticipantId, Known>,
}

struct Known {
    name: Pii,
    facts: Facts,
    consents: bool,
    /// The message that said so.
    by: &'static str,
}

/// What a message about somebody did.
pub(super) enum Change {
    /// They are in the room, and this changed.
    Here(Vec<ConferenceEvent>),
    /// They are not in the room any more.
    Gone,
    /// Nothing.
    Nothing,
}

impl People {
    /// Everything anew: we are `own`, and these are there.
    pub(super) fn arrive(&mut self, own: ParticipantId, people: Vec<Person>) {
        *self = Self { own: Some(own), known: BTreeMap::new() };
        for person in people {
            self.told(person);
        }
    }

    /// Who they are, one after the other.
    pub(super) fn listing(&self) -> impl Iterator<Item = ConferenceEvent> {
        self.known.iter().flat_map(|(id, known)| {
            [
                ConferenceEvent::Joined { participant: id.clone(), name: known.name.clone() },
                // Also that there is nothing to say: before, there may have been.
                ConferenceEvent::Facts { participant: id.clone(), facts: known.facts.clone() },
                ConferenceEvent::Consent { participant: id.clone(), given: known.consents, by: known.by },
            ]
        })
    }

    /// Somebody joined, or is now so.
    pub(super) fn told(&mut self, person: Person) -> Change {
        let Person { id, name, facts, consents, is_here, by } = person;
        if !is_here {
            return self.left(&id);
        }
        let before = self.known.get(&id);
        if self.own.as_ref() == Some(&id) || (before.is_none() && self.known.len() >= MAX_PEOPLE) {
            return Change::Nothing;
        }
        let mut events = Vec::new();
        if before.is_none_or(|known| known.name != name) {
            events.push(ConferenceEvent::Joined { participant: id.clone(), name: name.clone() });
        }
        if before.map_or(facts != Facts::default(), |known| known.facts != facts) {
            events.push(ConferenceEvent::Facts { participant: id.clone(), facts: facts.clone() });
        }
        // Also said when it is no: whoever returns has not agreed again.
        if before.is_none_or(|known| known.consents != consents) {
            events.push(ConferenceEvent::Consent { participant: id.clone(), given: consents, by });
        }
        self.known.insert(id, Known { name, facts, consents, by });
        Change::Here(events)
    }

    /// Somebody left.
    pub(super) fn left(&mut self, id: &ParticipantId) -> Change {
        if self.known.remove(id).is_some() { Change::Gone } else { Change::Nothing }
    }

    /// Whether they are in the room.
    pub(super) fn knows(&self, id: &ParticipantId) -> bool {
        self.known.contains_key(id)
    }
}
