//! Which Tracks there are: those that the media server offers of people whom signaling knows.
//!
//! In: the media server's events, people who come and go, media servers that are lost and entered anew. Out: `TrackUp` and `TrackDown`, only where
//! something differs from what was told. Pure. So a Track that is found again after a rejoin was never away, and its tile keeps its place.

use std::collections::BTreeMap;

use recorder_core::conference::ConferenceEvent;
use recorder_core::ids::{ParticipantId, TrackId};

use super::people::People;

/// All Tracks, each with whether it is muted.
#[derive(Default)]
pub(super) struct Tracks {
    /// What the media server offers, of whomever.
    offered: BTreeMap<TrackId, bool>,
    /// What the Session has been told.
    told: BTreeMap<TrackId, bool>,
    /// What the list of a media server that was just entered has named so far. Until it is complete, nothing is missing.
    listing: Option<BTreeMap<TrackId, bool>>,
}

impl Tracks {
    /// The media server begins its list.
    pub(super) fn entered(&mut self) {
        self.listing = Some(BTreeMap::new());
    }

    /// Its list is complete.
    pub(super) fn listed(&mut self) {
        if let Some(list) = self.listing.take() {
            self.offered = list;
        }
    }

    /// It offers a Track, or the Track's facts changed.
    pub(super) fn up(&mut self, track: TrackId, muted: bool) {
        if let Some(list) = &mut self.listing {
            list.insert(track.clone(), muted);
        }
        self.offered.insert(track, muted);
    }

    /// It offers one no more.
    pub(super) fn down(&mut self, track: &TrackId) {
        if let Some(list) = &mut self.listing {
            list.remove(track);
        }
        self.offered.remove(track);
    }

    /// It is lost, and with it all that it offered.
    pub(super) fn lose(&mut self) {
        self.listing = None;
        self.offered.clear();
    }

    /// Signaling was joined anew: what was told of people who are still there, to be told again. Nothing goes down before the media server that
    /// is entered next has listed what it has.
    pub(super) fn retell(&mut self, people: &People) -> Vec<ConferenceEvent> {
        self.told.retain(|track, _| people.knows(&track.participant));
        self.offered.clone_from(&self.told);
        self.told.iter().map(|(track, muted)| ConferenceEvent::TrackUp { track: track.clone(), muted: *muted }).collect()
    }

    /// What has to be told now.
    pub(super) fn reconcile(&mut self, people: &People) -> Vec<ConferenceEvent> {
        let is_there = |track: &TrackId| self.offered.contains_key(track) && people.knows(&track.participant);
        let gone: Vec<TrackId> = self.told.keys().filter(|track| !is_there(track)).cloned().collect();
        let mut events = Vec::new();
        for track in gone {
            self.told.remove(&track);
            events.push(ConferenceEvent::TrackDown { track });
        }
        for (track, muted) in self.offered.iter().filter(|(track, _)| people.knows(&track.participant)) {
            if self.told.get(track) != Some(muted) {
                self.told.insert(track.clone(), *muted);
                events.push(ConferenceEvent::TrackUp { track: track.clone(), muted: *muted });
            }
        }
        events
    }

    /// Those of the people named whom signaling knows.
    pub(super) fn speaking(&self, mut participants: Vec<ParticipantId>, people: &People) -> ConferenceEvent {
        participants.retain(|id| people.knows(id));
        ConferenceEvent::Speaking { participants }
    }
}
