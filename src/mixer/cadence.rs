//! Which picture a tile shows at a tick.
//!
//! In: the tick's instant, and the capture times of the pictures that wait, in order. Out: how many of them are taken, the last of which is
//! shown. Pure arithmetic on whichever thread draws; it holds no pictures, reads no clock, and never looks at pictures that have not arrived.
//!
//! A source of the programme's own rate has a fixed phase against our ticks, known only through capture times that tremble. Asking
//! "is it due?" of each picture alone would show some twice and others never whenever that phase lies near a boundary. So the phase is
//! remembered: `e` is the tick minus the capture time of the candidate, `m` the running mean of `e` over the pictures shown. The candidate that
//! lies nearest to `m` is taken if it lies within half a period of it. A tremble of a quarter period on either side thus changes nothing, at any phase.
//! A source whose clock drifts moves `m`; when `m` has gone [`TURN`] of a period away, one picture is shown twice or left out, `m` returns by
//! one whole period, and the next such event is a whole period of drift away.
//! Sources of other rates go by the same rule, and each repeat or skip draws `m` a little towards zero.

use std::time::Duration;

use recorder_core::time::SessionTime;

/// How far, in periods, the mean may lie from the tick before a picture is repeated or left out. At least 0.5 (the first choice)
/// plus a margin that keeps two such events apart; the shown picture lies no further than this, plus its own tremble, from its instant.
pub const TURN: f64 = 0.85;

/// Weight of the newest picture in the mean.
const MEAN_WEIGHT: f64 = 1.0 / 32.0;

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
}

impl Cadence {
    /// The cadence of a Track that nothing was shown of, for ticks of this period.
    pub fn new(period: Duration) -> Self {
        Self { period_ns: (period.as_nanos() as f64).max(1.0), phase_ns: None }
    }

    /// Chooses among the pictures with these capture times, oldest first, at the tick `at`. The caller must do what is chosen.
    pub fn choose(&mut self, at: SessionTime, waiting: impl IntoIterator<Item = SessionTime>) -> Choice {
        let half = self.period_ns / 2.0;
        let wanted = self.phase_ns.unwrap_or(0.0);
        let mut best: Option<(usize, f64)> = None;
        for (position, capture) in waiting.into_iter().enumerate() {
            let e = at.signed_since(capture) as f64;
            let nearer = best.is_none_or(|(_, chosen)| (e - wanted).abs() < (chosen - wanted).abs());
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
            None => self.phase_ns = Some(e.clamp(-half, half)),
            Some(phase) => {
                if position > 0 {
                    self.draw_back();
                }
                // One that came too late says nothing about the phase.
                if (e - phase).abs() <= half {
                    self.settle(phase + (e - phase) * MEAN_WEIGHT);
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

    fn settle(&mut self, phase_ns: f64) {
        let turn = TURN * self.period_ns;
        self.phase_ns = Some(if phase_ns > turn {
            phase_ns - self.period_ns
        } else if phase_ns < -turn {
            phase_ns + self.period_ns
        } else {
            phase_ns
        });
    }
}

#[cfg(test)]
#[path = "cadence_tests.rs"]
mod tests;
