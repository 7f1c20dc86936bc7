//! Which picture a viewer gets next, and at which instant of the programme it is shown to them.
//!
//! In: pictures as they are received, in a [`Gop`]; a viewer's wish to begin anew. Out: pictures. Pure: no clock, no I/O.
//!
//! A viewer who joins, or lost something, gets the pictures since the newest keyframe quickly one after another and then each as it comes. Pictures that are caught up with are shown
//! close before the newest one: with their own instants a viewer's player would believe that the programme is seconds late, and wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recorder_core::time::SessionTime;

/// Pictures that are caught up with are shown so long one after another: far below the time between two pictures, even for a whole GOP of them.
const CATCHING_UP_STEP: Duration = Duration::from_micros(100);

/// One picture, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Picture {
    /// The programme instant that it shows.
    pub(super) pts: SessionTime,
    /// RTP payloads.
    pub(super) payloads: Vec<Bytes>,
}

/// The pictures since the newest keyframe.
#[derive(Default, Debug)]
pub(super) struct Gop {
    pictures: VecDeque<Arc<Picture>>,
    /// Number of the keyframe; numbers count all pictures.
    first: u64,
}

impl Gop {
    /// Adds what was received. Before the first keyframe there is nothing that could be shown.
    pub(super) fn push(&mut self, picture: Picture, keyframe: bool) {
        if keyframe {
            self.clear();
        }
        if keyframe || !self.pictures.is_empty() {
            self.pictures.push_back(Arc::new(picture));
        }
    }

    /// What follows does not fit to what is here.
    pub(super) fn clear(&mut self) {
        self.first += self.pictures.len() as u64;
        self.pictures.clear();
    }

    fn end(&self) -> u64 {
        self.first + self.pictures.len() as u64
    }
}

/// One viewer's place in the programme.
#[derive(Default, Debug)]
pub(super) struct Follower {
    /// Number of the next picture.
    next: u64,
    catching_up: bool,
    /// When the picture before was shown.
    shown: Option<SessionTime>,
}

impl Follower {
    /// One who has seen nothing.
    pub(super) fn new() -> Self {
        Self { next: 0, catching_up: true, shown: None }
    }

    /// Begins again at the newest keyframe.
    pub(super) fn begin_anew(&mut self) {
        self.next = 0;
        self.catching_up = true;
    }

    /// Whether pictures wait that are sent one after another, and not at once.
    pub(super) fn is_catching_up(&self, gop: &Gop) -> bool {
        self.catching_up && self.next < gop.end()
    }

    /// The next picture and when it is shown; `None` when there is none.
    pub(super) fn next(&mut self, gop: &Gop) -> Option<(Arc<Picture>, SessionTime)> {
        // Somebody who is a keyframe late goes on at that.
        self.next = self.next.max(gop.first);
        let picture = Arc::clone(gop.pictures.get((self.next - gop.first) as usize)?);
        self.next += 1;
        let left = gop.end() - self.next;
        let newest = gop.pictures.back().map_or(picture.pts, |newest| newest.pts);
        let wished = if self.catching_up { newest - CATCHING_UP_STEP * left as u32 } else { picture.pts };
        self.catching_up &= left > 0;
        let shown = self.shown.map_or(wished, |before| wished.max(before + CATCHING_UP_STEP));
        self.shown = Some(shown);
        Some((picture, shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(gop: &mut Gop, range: std::ops::Range<u64>) {
        for n in range {
            gop.push(Picture { pts: SessionTime::from_millis(n * 33), payloads: Vec::new() }, n % 60 == 0);
        }
    }

    /// Numbers of the pictures, and how long before the newest they are shown, in microseconds.
    fn all(follower: &mut Follower, gop: &Gop, newest: u64) -> Vec<(u64, i64)> {
        let newest = SessionTime::from_millis(newest * 33);
        std::iter::from_fn(|| follower.next(gop))
            .map(|(picture, shown)| (picture.pts.as_nanos() / 33_000_000, newest.signed_since(shown) / 1000))
            .collect()
    }

    #[test]
    fn who_joins_gets_the_pictures_since_the_keyframe_shown_just_before_the_newest() {
        let (mut gop, mut follower) = (Gop::default(), Follower::new());
        push(&mut gop, 10..60);
        assert!(follower.next(&gop).is_none() && !follower.is_catching_up(&gop), "nothing can be shown before a keyframe");
        push(&mut gop, 60..64);
        assert!(follower.is_catching_up(&gop));
        assert_eq!(all(&mut follower, &gop, 63), [(60, 300), (61, 200), (62, 100), (63, 0)]);
        push(&mut gop, 64..66);
        assert!(!follower.is_catching_up(&gop));
        assert_eq!(all(&mut follower, &gop, 65), [(64, 33_000), (65, 0)], "then each at its own instant");
    }

    #[test]
    fn who_lost_something_begins_anew_and_time_never_goes_back() {
        let (mut gop, mut follower) = (Gop::default(), Follower::new());
        push(&mut gop, 60..63);
        all(&mut follower, &gop, 62);
        follower.begin_anew();
        assert_eq!(all(&mut follower, &gop, 62), [(60, -100), (61, -200), (62, -300)]);
        push(&mut gop, 63..64);
        assert_eq!(all(&mut follower, &gop, 63), [(63, 0)]);
    }

    #[test]
    fn who_is_a_keyframe_late_goes_on_there() {
        let (mut gop, mut follower) = (Gop::default(), Follower::new());
        push(&mut gop, 60..119);
        assert_eq!(follower.next(&gop).unwrap().0.pts, SessionTime::from_millis(60 * 33));
        push(&mut gop, 119..122);
        assert_eq!(all(&mut follower, &gop, 121), [(120, 100), (121, 0)]);
        gop.clear();
        push(&mut gop, 122..181);
        assert_eq!(all(&mut follower, &gop, 180), [(180, 0)]);
    }
}
