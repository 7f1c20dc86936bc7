//! The decoded pictures of one Track on their way to a tile.
//!
//! In: pictures in order, and ticks. Out: the picture to show, and counts. Holds at most [`HELD_PICTURES`] pictures, the shown one among them.

use std::collections::VecDeque;
use std::time::Duration;

use recorder_core::time::SessionTime;

use super::cadence::{Cadence, Choice};
use super::picture::Picture;

/// Decoded pictures of one Track that are kept: the shown one, which a change of layout needs again, and those that wait.
pub const HELD_PICTURES: usize = 11;

/// What became of a Track's pictures while it was visible.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrackCounts {
    /// Pictures shown.
    pub shown: u64,
    /// Pictures that came, and were left out because a later one was due.
    pub skipped: u64,
    /// Ticks at which the picture before was shown again.
    pub repeated: u64,
    /// Those of them at which no picture was waiting.
    pub starved: u64,
}

impl TrackCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.shown += other.shown;
        self.skipped += other.skipped;
        self.repeated += other.repeated;
        self.starved += other.starved;
    }
}

/// Whether a Track is drawn now, or only expected by a later Scene.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visibility {
    Visible,
    Expected,
}

/// One Track.
pub(crate) struct TrackPictures {
    cadence: Cadence,
    waiting: VecDeque<(SessionTime, Picture)>,
    shown: Option<Picture>,
    /// Changes whenever `shown` does; never returns to an older value.
    version: u64,
    pub(crate) counts: TrackCounts,
}

impl TrackPictures {
    pub(crate) fn new(period: Duration) -> Self {
        let waiting = VecDeque::with_capacity(HELD_PICTURES);
        Self { cadence: Cadence::new(period), waiting, shown: None, version: 0, counts: TrackCounts::default() }
    }

    /// How many more pictures may be offered.
    pub(crate) fn room(&self) -> usize {
        HELD_PICTURES - 1 - self.waiting.len()
    }

    /// Takes a picture; gives it back when there is no room.
    pub(crate) fn offer(&mut self, capture: SessionTime, picture: Picture) -> Result<(), Picture> {
        if self.waiting.len() >= HELD_PICTURES - 1 {
            return Err(picture);
        }
        self.waiting.push_back((capture, picture));
        Ok(())
    }

    /// Moves on to the picture that is due at the tick `at`.
    pub(crate) fn advance(&mut self, at: SessionTime, visibility: Visibility) {
        let mut counts = TrackCounts::default();
        match self.cadence.choose(at, self.waiting.iter().map(|(capture, _)| *capture)) {
            Choice::Show(position) => {
                self.waiting.drain(..position);
                self.shown = self.waiting.pop_front().map(|(_, picture)| picture);
                self.version += 1;
                counts.shown = 1;
                counts.skipped = position as u64;
            }
            Choice::Hold if self.shown.is_some() => {
                counts.repeated = 1;
                counts.starved = u64::from(self.waiting.is_empty());
            }
            Choice::Hold => {}
        }
        if visibility == Visibility::Visible {
            self.counts.add(counts);
        }
    }

    /// Drops all pictures, also the one that is shown.
    pub(crate) fn forget(&mut self, period: Duration) {
        self.waiting.clear();
        self.shown = None;
        self.version += 1;
        self.cadence = Cadence::new(period);
    }

    /// Pictures that it holds.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + usize::from(self.shown.is_some())
    }

    /// The picture to show, and its version.
    pub(crate) fn shown(&self) -> Option<(&Picture, u64)> {
        self.shown.as_ref().map(|picture| (picture, self.version))
    }
}
