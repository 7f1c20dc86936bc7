//! Counts what one person's tile showed.
//!
//! In: for each programme picture, what was read in the tile. Out: how many pictures were shown once, repeated, missed, and when flashes
//! began. Pure.

use crate::rehearsal::card::LOOP_FRAMES;

/// After this long without a tile the count begins anew: the person left, or switched the camera off.
const ABSENT_S: f64 = 0.5;
/// A jump by more pictures than this is another run of the loop, not a loss.
const FAR: u32 = LOOP_FRAMES / 2;

/// What was read in a tile at one programme picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Reading {
    /// When the programme picture is shown.
    pub(super) at_s: f64,
    /// The frame counter, if it could be read.
    pub(super) counter: Option<u32>,
    /// Whether the flash is on, if it could be read.
    pub(super) flash: Option<bool>,
}

/// One person's count.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Tally {
    /// Different source pictures.
    pub(super) shown: u32,
    /// Programme pictures that showed the same source picture as the one before.
    pub(super) repeated: u32,
    /// Source pictures that were left out.
    pub(super) missed: u32,
    /// Programme pictures with a tile in which no counter could be read.
    pub(super) unread: u32,
    /// Longest time that one source picture stood, in seconds.
    pub(super) longest_still_s: f64,
    /// First and last time that the tile was seen.
    pub(super) seen_s: Option<(f64, f64)>,
    /// When flashes began.
    pub(super) flashes_s: Vec<f64>,
    last: Option<Last>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Last {
    at_s: f64,
    /// The counter, and since when it has stood.
    counter: Option<(u32, f64)>,
    flash: Option<bool>,
}

impl Tally {
    /// Takes the next reading of a tile that is there.
    pub(super) fn take(&mut self, reading: Reading) {
        let at_s = reading.at_s;
        let last = self.last.filter(|last| at_s - last.at_s < ABSENT_S);
        self.seen_s = Some((self.seen_s.map_or(at_s, |(first, _)| first), at_s));
        let before = last.and_then(|last| last.counter);
        let counter = match (reading.counter, before) {
            (None, before) => {
                self.unread += 1;
                before
            }
            (Some(counter), Some((same, since))) if same == counter => {
                self.repeated += 1;
                self.longest_still_s = self.longest_still_s.max(at_s - since);
                before
            }
            (Some(counter), before) => {
                self.shown += 1;
                if let Some((old, since)) = before {
                    self.longest_still_s = self.longest_still_s.max(at_s - since);
                    let ahead = (counter + LOOP_FRAMES - old) % LOOP_FRAMES;
                    self.missed += if ahead <= FAR { ahead - 1 } else { 0 };
                }
                Some((counter, at_s))
            }
        };
        if reading.flash == Some(true) && last.and_then(|last| last.flash) == Some(false) {
            self.flashes_s.push(at_s);
        }
        self.last = Some(Last { at_s, counter, flash: reading.flash });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(counters: &[Option<u32>]) -> Tally {
        let mut tally = Tally::default();
        for (n, &counter) in counters.iter().enumerate() {
            let flash = counter.map(|counter| counter % 30 < 3);
            tally.take(Reading { at_s: n as f64 / 30.0, counter, flash });
        }
        tally
    }

    #[test]
    fn each_picture_once_is_counted_so_over_the_end_of_the_loop() {
        let counters: Vec<Option<u32>> = (290..330).map(|n| Some(n % 300)).collect();
        let tally = tally(&counters);
        assert_eq!((tally.shown, tally.repeated, tally.missed, tally.unread), (40, 0, 0, 0));
        assert!((tally.longest_still_s - 1.0 / 30.0).abs() < 1e-9);
        assert_eq!(tally.flashes_s, [10.0 / 30.0]);
    }

    #[test]
    fn repeated_missed_and_unreadable_pictures_are_told_apart() {
        let tally = tally(&[Some(3), Some(4), Some(4), Some(4), Some(6), None, Some(7), Some(9)]);
        assert_eq!((tally.shown, tally.repeated, tally.missed, tally.unread), (5, 2, 2, 1));
        assert!((tally.longest_still_s - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_rejoin_begins_anew() {
        let mut tally = tally(&[Some(100), Some(101)]);
        tally.take(Reading { at_s: 3.0, counter: Some(0), flash: Some(true) });
        tally.take(Reading { at_s: 3.0 + 1.0 / 30.0, counter: Some(1), flash: Some(true) });
        assert_eq!((tally.shown, tally.missed), (4, 0));
        assert!(tally.flashes_s.is_empty(), "nobody saw it begin");
        assert!(tally.longest_still_s < 0.1);
    }
}
