//! Throttles keyframe requests.
//!
//! In: wishes, and from when on a Track misses a packet that hardly comes any more. Out: the Tracks to ask now. Pure; time comes in. The first wish
//! is granted at once, the next a second later: an SFU ignores more, and every keyframe costs the sender bandwidth.
//!
//! A Track that misses a packet is asked again soon, because what lost the packet may lose the request. Not too soon: LiveKit repeats no packet
//! between a request and the keyframe, and a second request that meets the keyframe on its way would keep the keyframe from being repaired. A packet that
//! is missed behind the request may be the first of the keyframe: its repeat is waited for (decision 0020).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use recorder_core::ids::TrackId;

/// Shortest time between two requests for the same Track.
const SPACING: Duration = Duration::from_secs(1);

/// So often is a Track asked because of one missing packet, at this distance: by then the keyframe that was asked for has come, or something of it.
/// After that, nobody may be there any more.
const MISSING_REQUESTS: u32 = 3;
const MISSING_AGAIN: Duration = Duration::from_millis(75);
/// In this time a packet that was missed is repeated, unless the repeat is lost, too.
const REPEAT: Duration = Duration::from_millis(50);
/// Longest distance, if always another packet is missed.
const MISSING_AGAIN_AT_LAST: Duration = Duration::from_millis(150);

#[derive(Default)]
pub(crate) struct KeyframeRequests {
    tracks: BTreeMap<TrackId, State>,
}

#[derive(Default)]
struct State {
    asked: Option<Instant>,
    wanted: bool,
    missing: Option<Missing>,
}

/// What a Track misses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Misses {
    /// From when on a keyframe is needed, because a packet hardly comes any more.
    pub(crate) since: Instant,
    /// When a packet was missed last.
    pub(crate) newest: Instant,
}

/// A packet that hardly comes any more.
struct Missing {
    misses: Misses,
    /// How often a keyframe was asked for.
    asked: u32,
}

impl State {
    /// Whether a wish is to be granted.
    fn grants(&self, now: Instant) -> bool {
        self.wanted && self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= SPACING)
    }

    /// When a keyframe must be asked for because of a missing packet.
    fn missing_at(&self) -> Option<Instant> {
        let missing = self.missing.as_ref().filter(|missing| missing.asked < MISSING_REQUESTS)?;
        let Misses { since, newest } = missing.misses;
        let Some(asked) = self.asked else { return Some(since) };
        let is_answer_damaged = missing.asked > 0 && newest > asked;
        let repaired = if is_answer_damaged { (newest + REPEAT).min(asked + MISSING_AGAIN_AT_LAST) } else { since };
        Some(since.max(asked + MISSING_AGAIN).max(repaired))
    }
}

impl KeyframeRequests {
    /// Somebody needs a keyframe of `track`.
    pub(crate) fn want(&mut self, track: &TrackId) {
        self.state(track).wanted = true;
    }

    /// What `track` misses so that it needs a keyframe; `None` when it needs none.
    pub(crate) fn misses(&mut self, track: &TrackId, misses: Option<Misses>) {
        match misses {
            None => {
                if let Some(state) = self.tracks.get_mut(track) {
                    state.missing = None;
                }
            }
            Some(misses) => match &mut self.state(track).missing {
                Some(missing) if missing.misses.since == misses.since => missing.misses = misses,
                other => *other = Some(Missing { misses, asked: 0 }),
            },
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
            let misses = state.missing_at().is_some_and(|at| at <= now);
            if misses || state.grants(now) {
                state.asked = Some(now);
                if let Some(missing) = &mut state.missing
                    && misses
                {
                    missing.asked += 1;
                }
                due.push(track.clone());
            }
        }
        due
    }

    /// When `due` has something next; wishes that were never granted are due at once.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let wished = |state: &State| state.wanted.then_some(state.asked? + SPACING);
        self.tracks.values().flat_map(|state| [wished(state), state.missing_at()]).flatten().min()
    }

    fn state(&mut self, track: &TrackId) -> &mut State {
        self.tracks.entry(track.clone()).or_default()
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
    fn a_track_that_misses_a_packet_is_asked_in_time_and_a_few_times() {
        let track = TrackId::new(ParticipantId::new("a"), TrackKind::Camera);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        let asked = |requests: &mut KeyframeRequests, from: u64, until: u64, since: Option<u64>| {
            let is_asked = |ms: &u64| {
                requests.misses(&track, since.map(|since| Misses { since: at(since), newest: at(0) }));
                !requests.due(at(*ms)).is_empty()
            };
            (from..until).filter(is_asked).collect::<Vec<_>>()
        };
        assert_eq!(asked(&mut requests, 0, 320, Some(320)), [0; 0]);
        assert_eq!(requests.wake(), Some(at(320)));
        assert_eq!(asked(&mut requests, 320, 5000, Some(320)), [320, 395, 470]);
        assert_eq!(requests.wake(), None);
        // The packet came after the first request, and the next is missed soon: what was just asked for is waited for.
        assert_eq!(asked(&mut requests, 5000, 5010, Some(5000)), [5000]);
        assert_eq!(asked(&mut requests, 5010, 5050, None), [0; 0]);
        assert_eq!(asked(&mut requests, 5050, 5300, Some(5060)), [5075, 5150, 5225]);
        // A keyframe that comes meanwhile has its own time.
        assert_eq!(asked(&mut requests, 5300, 5750, Some(5700)), [5700]);
    }

    #[test]
    fn the_first_packet_of_a_keyframe_may_be_repeated_before_another_is_asked_for() {
        let track = TrackId::new(ParticipantId::new("a"), TrackKind::Camera);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let asked = |newest: &dyn Fn(u64) -> u64| {
            let mut requests = KeyframeRequests::default();
            let is_asked = |ms: &u64| {
                requests.misses(&track, Some(Misses { since: at(320), newest: at(newest(*ms)) }));
                !requests.due(at(*ms)).is_empty()
            };
            (0..1000).filter(is_asked).collect::<Vec<_>>()
        };
        assert_eq!(asked(&|ms| ms.min(310)), [320, 395, 470], "what was missed before the request is not of the keyframe");
        assert_eq!(asked(&|ms| ms.min(366)), [320, 416, 491], "missed 46 ms after the request");
        assert_eq!(asked(&|ms| ms), [320, 470, 620], "always something else");
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
