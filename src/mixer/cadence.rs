//! Which picture a tile shows at a tick.
//!
//! In: the tick's instant, and the capture times of the pictures that wait, in order. Out: how many of them are taken, the last of which is
//! shown. Pure arithmetic on whichever thread draws; it holds no pictures, reads no clock, and never looks at pictures that have not arrived.
//!
//! A source of the programme's own rate has a fixed phase against our ticks, known only through capture times that tremble. Asking
//! "is it due?" of each picture alone would show some twice and others never whenever that phase lies near a boundary. So the phase is
//! remembered: `e` is the tick minus the capture time of the candidate, `m` the running mean of `e` over the pictures shown. The candidate that
//! lies nearest to `m` is taken if it lies within half a period of it. A tremble of a quarter period on either side thus changes nothing, at any phase.
//!
//! Where `m` begins is chosen: a phase is known only but for whole periods. Of the possible ones that nearest to a little below zero is taken, and the
//! first pictures may still change it. Before sender reports tell otherwise, a picture counts as captured when it arrived, and camera and encoder made it
//! later than the sound; when the clock model learns of that, capture times only ever move earlier, which raises `m`. Beginning low leaves it the room,
//! and brings lips and voice together from the first picture on.
//!
//! A source whose clock drifts moves `m`; when `m` has gone [`TURN`] of a period away, one picture is shown twice or left out, `m` returns by
//! one whole period, and the next such event is a whole period of drift away.
//! Sources of other rates go by the same rule, and each repeat or skip draws `m` a little towards zero.

use std::time::Duration;

use recorder_core::time::SessionTime;

/// How far, in periods, the mean may lie from the tick before a picture is repeated or left out. At least 0.78 (the first choice)
/// plus a margin that keeps two such events apart; the shown picture lies no further than this, plus its own tremble, from its instant.
pub const TURN: f64 = 0.9;

/// Weight of the newest picture in the mean, once it is settled.
const MEAN_WEIGHT: f64 = 1.0 / 32.0;

/// So many pictures make the first mean; until then it is that of all pictures, and may still be taken as another one by whole periods.
const SETTLING_PICTURES: u32 = 15;

/// What a camera and its encoder usually take until a picture is sent, in nanoseconds, and at most in periods: so far below zero lies the
/// middle of the phases with which a source may begin.
const USUAL_ENCODING_NS: f64 = 10_000_000.0;
const MOST_BELOW: f64 = 0.25;

/// How far, in periods, a mean that settles may go beyond half a period from that middle.
const SETTLING_MARGIN: f64 = 0.03;

/// What each repeat or skip takes from the mean.
const RETURN_WEIGHT: f64 = 1.0 / 32.0;

/// What to do with the waiting pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Keep showing what is shown: nothing is due.
    Hold,
    /// Show the picture at this position; those before it are left out.
    Show(usize),
}

/// The cadence of one Track.
#[derive(Clone, Debug)]
pub struct Cadence {
    period_ns: f64,
    /// Mean of tick minus capture time over the pictures shown, in nanoseconds; `None` before the first.
    phase_ns: Option<f64>,
    /// Pictures in the mean, until it is settled.
    settled_by: u32,
}

impl Cadence {
    /// The cadence of a Track that nothing was shown of, for ticks of this period.
    pub fn new(period: Duration) -> Self {
        Self { period_ns: (period.as_nanos() as f64).max(1.0), phase_ns: None, settled_by: 0 }
    }

    /// Chooses among the pictures with these capture times, oldest first, at the tick `at`. The caller must do what is chosen.
    pub fn choose(&mut self, at: SessionTime, waiting: impl IntoIterator<Item = SessionTime>) -> Choice {
        let half = self.period_ns / 2.0;
        let wanted = self.phase_ns.unwrap_or_else(|| self.first_middle_ns());
        let mut best: Option<(usize, f64)> = None;
        for (position, capture) in waiting.into_iter().enumerate() {
            let e = at.signed_since(capture) as f64;
            // Of several with the same capture time, which is how a burst begins, the newest.
            let nearer = best.is_none_or(|(_, chosen)| (e - wanted).abs() <= (chosen - wanted).abs());
            if nearer {
                best = Some((position, e));
            } else {
                // Capture times rise; what follows lies further away still.
                break;
            }
        }
        let Some((position, e)) = best else { return Choice::Hold };
        if e < wanted - half {
            self.draw_back();
            return Choice::Hold;
        }
        match self.phase_ns {
            None => {
                let middle = self.first_middle_ns();
                self.phase_ns = Some(middle + (e - middle + half).rem_euclid(self.period_ns) - half);
                self.settled_by = 1;
            }
            Some(phase) => {
                if position > 0 {
                    self.draw_back();
                }
                // One that came too late says nothing about the phase.
                if (e - phase).abs() <= half {
                    self.settle(phase, e - phase);
                }
            }
        }
        Choice::Show(position)
    }

    fn draw_back(&mut self) {
        if let Some(phase) = &mut self.phase_ns {
            *phase -= *phase * RETURN_WEIGHT;
        }
    }

    /// Takes a picture that lies `off_ns` beside the mean into it.
    fn settle(&mut self, phase_ns: f64, off_ns: f64) {
        let is_settling = self.settled_by < SETTLING_PICTURES;
        let (weight, middle, turn) = if is_settling {
            self.settled_by += 1;
            (1.0 / f64::from(self.settled_by), self.first_middle_ns(), (0.5 + SETTLING_MARGIN) * self.period_ns)
        } else {
            (MEAN_WEIGHT, 0.0, TURN * self.period_ns)
        };
        let phase = phase_ns + off_ns * weight;
        self.phase_ns = Some(if phase > middle + turn {
            phase - self.period_ns
        } else if phase < middle - turn {
            phase + self.period_ns
        } else {
            phase
        });
    }

    fn first_middle_ns(&self) -> f64 {
        -USUAL_ENCODING_NS.min(MOST_BELOW * self.period_ns)
    }
}

#[cfg(test)]
#[path = "cadence_tests.rs"]
mod tests;
