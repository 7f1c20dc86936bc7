//! Throttles keyframe requests.
//!
//! In: wishes. Out: the Tracks to ask now. Pure; time comes in. The first wish is granted at once, the next a second later: an SFU ignores
//! more, and every keyframe costs the sender bandwidth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use recorder_core::ids::TrackId;

/// Shortest time between two requests for the same Track.
const SPACING: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct KeyframeRequests {
    tracks: BTreeMap<TrackId, State>,
}

struct State {
    asked: Option<Instant>,
    wanted: bool,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe of `track`.
    pub(crate) fn want(&mut self, track: &TrackId) {
        match self.tracks.get_mut(track) {
            Some(state) => state.wanted = true,
            None => _ = self.tracks.insert(track.clone(), State { asked: None, wanted: true }),
        }
    }

    /// A keyframe came.
    pub(crate) fn satisfied(&mut self, track: &TrackId) {
        if let Some(state) = self.tracks.get_mut(track) {
            state.wanted = false;
        }
    }

    pub(crate) fn forget(&mut self, track: &TrackId) {
        self.tracks.remove(track);
    }

    /// Takes the Tracks to ask now. A Track stays wanted until a keyframe comes, so a lost request is repeated.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<TrackId> {
        let mut due = Vec::new();
        for (track, state) in &mut self.tracks {
            if state.wanted && state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= SPACING) {
                state.asked = Some(now);
                due.push(track.clone());
            }
        }
        due
    }

    /// When `due` has something next.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.tracks.values().filter(|state| state.wanted).filter_map(|state| state.asked.map(|asked| asked + SPACING)).min()
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::ids::{ParticipantId, TrackKind};

    use super::*;

    #[test]
    fn the_first_wish_is_granted_at_once_and_the_next_after_a_second() {
        let track = TrackId::new(ParticipantId::new("a"), TrackKind::Camera);
        let other = TrackId::new(ParticipantId::new("b"), TrackKind::Camera);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        requests.want(&track);
        assert_eq!(requests.due(at(0)), std::slice::from_ref(&track));
        requests.want(&track);
        requests.want(&other);
        assert_eq!(requests.due(at(999)), std::slice::from_ref(&other), "another Track is not held back");
        assert_eq!(requests.wake(), Some(at(1000)));
        assert_eq!(requests.due(at(1000)), std::slice::from_ref(&track));
        requests.satisfied(&track);
        requests.satisfied(&other);
        assert_eq!(requests.due(at(5000)), []);
        assert_eq!(requests.wake(), None);
    }

    #[test]
    fn an_unanswered_request_is_repeated_each_second() {
        let track = TrackId::new(ParticipantId::new("a"), TrackKind::Camera);
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want(&track);
        let asked = (0..50).filter(|tick| !requests.due(start + Duration::from_millis(100 * tick)).is_empty()).count();
        assert_eq!(asked, 5);
    }
}
