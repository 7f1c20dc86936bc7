//! What a live destination is sent when: the programme, or the slate while it is paused.
//!
//! In: the programme instants of pauses and resumptions, in order. Out: what a picture or a stretch of sound of an instant is taken from. Pure. It
//! belongs to the destination, not to a connection: whoever connects during a pause gets the slate.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::SessionTime;

/// What was so long ago is nobody's concern any more: nothing that old is sent.
const KEPT: Duration = Duration::from_secs(60);
/// More changes than these in [`KEPT`] are not followed: the slate stays.
const MOST_CHANGES: usize = 256;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shows {
    /// What the mixer makes.
    Programme,
    /// A still picture, and silence.
    Slate,
}

/// When what is sent. Bounded, however often it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Splice {
    /// From when on what is sent; never empty, and never twice the same in a row.
    changes: VecDeque<(SessionTime, Shows)>,
}

impl Splice {
    /// Sends this from `from` on, and nothing of before.
    pub fn new(from: SessionTime, shows: Shows) -> Self {
        Self { changes: VecDeque::from([(from, shows)]) }
    }

    /// Nothing of the programme of `at` or later is sent. Changes nothing while it is paused.
    pub fn pause(&mut self, at: SessionTime) {
        if self.newest() == Shows::Slate {
            return;
        }
        if self.changes.len() >= MOST_CHANGES {
            // It has not been resumed, then.
            self.changes.pop_back();
        } else {
            self.change(at, Shows::Slate);
        }
    }

    /// The programme is sent again, from `at` on. Changes nothing while it is not paused.
    pub fn resume(&mut self, at: SessionTime) {
        if self.newest() == Shows::Slate {
            self.change(at, Shows::Programme);
        }
    }

    /// What comes last, as far as it is known.
    pub fn newest(&self) -> Shows {
        self.changes.back().map_or(Shows::Slate, |(_, shows)| *shows)
    }

    /// The first instant of which anything is sent.
    pub fn begin(&self) -> SessionTime {
        self.changes.front().map_or(SessionTime::ZERO, |(from, _)| *from)
    }

    /// Where a picture of this instant comes from; `None` before the beginning.
    pub fn picture(&self, at: SessionTime) -> Option<Shows> {
        self.changes.iter().rev().find(|(from, _)| *from <= at).map(|(_, shows)| *shows)
    }

    /// Where a frame of sound comes from that begins at this instant. It is the programme's only if nothing in it lies in a pause: a frame of AAC
    /// holds something of its own length, and of the length that follows it.
    pub fn sound(&self, at: SessionTime, length: Duration) -> Option<Shows> {
        let shows = self.picture(at)?;
        let is_cut = self.next_change(at).is_some_and(|change| at + 2 * length > change);
        Some(if is_cut { Shows::Slate } else { shows })
    }

    /// The first change after this instant.
    pub fn next_change(&self, at: SessionTime) -> Option<SessionTime> {
        self.changes.iter().map(|(from, _)| *from).find(|from| *from > at)
    }

    /// Everything of before `now` was sent: forgets what was long ago.
    pub fn sent(&mut self, now: SessionTime) {
        while self.changes.get(1).is_some_and(|(from, _)| *from + KEPT <= now) {
            self.changes.pop_front();
        }
    }

    fn change(&mut self, at: SessionTime, shows: Shows) {
        // Both may be wished in one instant, and a clock may stand still meanwhile; the later word holds.
        let at = self.changes.back().map_or(at, |(from, _)| at.max(*from));
        self.changes.push_back((at, shows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::at;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn pictures_are_the_slates_from_the_pause_to_the_resumption() {
        let mut splice = Splice::new(at(1000), Shows::Programme);
        splice.pause(at(2000));
        splice.pause(at(2100));
        splice.resume(at(3000));
        splice.resume(at(3100));
        let shows = [999, 1000, 1999, 2000, 2999, 3000, 9000].map(|ms| splice.picture(at(ms)));
        use Shows::{Programme, Slate};
        let expected = [None, Some(Programme), Some(Programme), Some(Slate), Some(Slate), Some(Programme), Some(Programme)];
        assert_eq!(shows, expected);
        assert_eq!((splice.next_change(at(1000)), splice.next_change(at(3000))), (Some(at(2000)), None));
        assert_eq!((splice.begin(), splice.newest()), (at(1000), Programme));
    }

    #[test]
    fn no_sound_reaches_into_a_pause() {
        let mut splice = Splice::new(at(1000), Shows::Programme);
        splice.pause(at(2000));
        splice.resume(at(3000));
        let programme = |ms| splice.sound(at(ms), FRAME) == Some(Shows::Programme);
        assert_eq!(
            [1940, 1960, 1961, 1980, 2000, 2970, 2999, 3000].map(programme),
            [true, true, false, false, false, false, false, true]
        );
        assert_eq!(splice.sound(at(999), FRAME), None);
    }

    #[test]
    fn one_that_begins_paused_shows_the_slate_until_it_is_resumed() {
        let mut splice = Splice::new(at(1000), Shows::Slate);
        assert_eq!([splice.picture(at(999)), splice.picture(at(50_000))], [None, Some(Shows::Slate)]);
        splice.resume(at(60_000));
        assert_eq!([splice.picture(at(59_999)), splice.picture(at(60_000))], [Some(Shows::Slate), Some(Shows::Programme)]);
    }

    #[test]
    fn what_is_long_past_is_forgotten_and_never_becomes_the_programme() {
        let mut splice = Splice::new(at(0), Shows::Programme);
        for minute in 0..600 {
            splice.pause(at(minute * 60_000 + 10_000));
            splice.resume(at(minute * 60_000 + 20_000));
            splice.sent(at(minute * 60_000 + 30_000));
            assert!(splice.changes.len() <= 5, "{}", splice.changes.len());
        }
        assert_eq!(splice.picture(at(599 * 60_000 + 15_000)), Some(Shows::Slate));
        assert_eq!(splice.picture(at(15_000)), None, "forgotten, so not sent");
    }

    #[test]
    fn somebody_who_plays_with_the_button_gets_the_slate() {
        let mut splice = Splice::new(at(0), Shows::Programme);
        for n in 0..10_000 {
            splice.resume(at(n * 2));
            splice.pause(at(n * 2 + 1));
            assert_eq!(splice.newest(), Shows::Slate);
        }
        assert!(splice.changes.len() <= MOST_CHANGES);
        assert_eq!(splice.picture(at(19_998)), Some(Shows::Slate));
    }
}
