//! Throttles keyframe requests.
//!
//! In: wishes, and that frames come. Out: the Tracks to ask now. Pure; time comes in. The first wish is granted at once, the next a second
//! later: an SFU ignores more, and every keyframe costs the sender bandwidth.
//!
//! A frame that misses a packet is held back while the packet is asked for again, and all frames behind it with it, keyframes too: no
//! keyframe ends that stand-still. A request for one would make it longer, because LiveKit repeats no packet any more from the request until it
//! has forwarded the keyframe. So a camera is asked only when all requests for the packet are over; decision 0012 has the figures. It is asked
//! again, because what lost the packet may lose the request. Screens may stand still by themselves, and are not watched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use recorder_core::ids::TrackId;

/// Shortest time between two requests for the same Track.
const SPACING: Duration = Duration::from_secs(1);

/// A camera of usual rate that stands still for so long misses a packet that will not come. The protocol library asks for it up to 66 ms after
/// the last whole frame, then every 132 ms (it assumes a round trip of 100 ms, because LiveKit's answers about it carry no delay and are not
/// taken, and looks every 33 ms); five times, and gives up 0.3 s after the last.
const STILL: Duration = Duration::from_millis(630);

/// One of a lower rate: so many of its own intervals.
const STILL_INTERVALS: u32 = 4;

/// So often is it asked while it stands still, at this distance: after that, nobody may be there any more.
const STILL_REQUESTS: u32 = 3;
const STILL_AGAIN: Duration = Duration::from_millis(100);

/// Weight of the newest interval in the mean: one in so many.
const INTERVAL_WEIGHT: u32 = 8;

/// Nobody's rate is lower; a longer interval was a pause.
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(crate) struct KeyframeRequests {
    tracks: BTreeMap<TrackId, State>,
}

#[derive(Default)]
struct State {
    asked: Option<Instant>,
    wanted: bool,
    flow: Option<Flow>,
}

/// The frames of a camera.
struct Flow {
    last: Instant,
    interval: Duration,
    /// How often it was asked since it stands still.
    asked: u32,
}

impl Flow {
    /// When it must be asked for standing still.
    fn ask_at(&self) -> Option<Instant> {
        (self.asked < STILL_REQUESTS).then(|| self.last + STILL.max(self.interval * STILL_INTERVALS) + STILL_AGAIN * self.asked)
    }
}

impl KeyframeRequests {
    /// Somebody needs a keyframe of `track`.
    pub(crate) fn want(&mut self, track: &TrackId) {
        match self.tracks.get_mut(track) {
            Some(state) => state.wanted = true,
            None => _ = self.tracks.insert(track.clone(), State { wanted: true, ..State::default() }),
        }
    }

    /// A frame of a camera came out.
    pub(crate) fn flows(&mut self, track: &TrackId, now: Instant) {
        let state = match self.tracks.get_mut(track) {
            Some(state) => state,
            None => self.tracks.entry(track.clone()).or_default(),
        };
        match &mut state.flow {
            None => state.flow = Some(Flow { last: now, interval: LONGEST_INTERVAL, asked: 0 }),
            Some(flow) => {
                let newest = now.saturating_duration_since(flow.last).min(LONGEST_INTERVAL);
                flow.interval = (flow.interval * (INTERVAL_WEIGHT - 1) + newest) / INTERVAL_WEIGHT;
                (flow.last, flow.asked) = (now, 0);
            }
        }
    }

    /// The Track may stand still: it is muted, or not sent.
    pub(crate) fn rests(&mut self, track: &TrackId) {
        if let Some(state) = self.tracks.get_mut(track) {
            state.flow = None;
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
            let still = state.flow.as_mut().filter(|flow| flow.ask_at().is_some_and(|at| now >= at));
            let is_wanted = state.wanted && state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= SPACING);
            if still.is_some() || is_wanted {
                state.asked = Some(now);
                due.push(track.clone());
            }
            if let Some(flow) = still {
                flow.asked += 1;
            }
        }
        due
    }

    /// When `due` has something next.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let wanted =
            self.tracks.values().filter(|state| state.wanted).filter_map(|state| state.asked.map(|asked| asked + SPACING));
        let flows = self.tracks.values().filter_map(|state| state.flow.as_ref());
        wanted.chain(flows.filter_map(Flow::ask_at)).min()
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
    fn a_camera_that_stands_still_is_asked_early_and_a_few_times() {
        let track = TrackId::new(ParticipantId::new("a"), TrackKind::Camera);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        // 25 a second, then a pause, then again.
        for ms in (0..2000).step_by(40).chain((5000..6000).step_by(40)) {
            assert_eq!(requests.due(at(ms)), [], "at {ms} ms");
            requests.flows(&track, at(ms));
            if ms == 1960 {
                assert_eq!(requests.wake(), Some(at(2590)));
                assert_eq!(requests.due(at(2589)), []);
                assert_eq!(requests.due(at(2590)), std::slice::from_ref(&track));
                assert_eq!((requests.due(at(2591)), requests.wake()), (vec![], Some(at(2690))));
                let asked = (2592..5000).filter(|ms| !requests.due(at(*ms)).is_empty());
                assert_eq!(asked.collect::<Vec<_>>(), [2690, 2790]);
            }
        }
        requests.rests(&track);
        assert_eq!((requests.due(at(9000)), requests.wake()), (vec![], None), "a muted one may stand still");
        // Five a second is slow, and not still.
        for ms in (10_000..14_000).step_by(200) {
            assert_eq!(requests.due(at(ms)), [], "at {ms} ms");
            requests.flows(&track, at(ms));
        }
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
