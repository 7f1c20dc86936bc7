//! A value that follows a target without stepping, but for its very beginning.

/// Once settled: 5 ms a second. The sound's resampler follows this exactly, without being heard.
const CALM_PPM: f64 = 5_000.0;

/// While settling: half of real time, so that capture times still grow.
const HASTY_PPM: f64 = 500_000.0;

/// An error above this is not drift: a route changed, a sender was suspended. Following it calmly would take minutes, in which every
/// frame would come too late for the mixer.
const HASTE_FROM_NS: f64 = 150_000_000.0;

/// Haste ends when the error is below this.
const HASTE_UNTIL_NS: f64 = 4_000_000.0;

/// A hasty value goes this part of the way in a second.
const HASTE_PER_SECOND: f64 = 1.0;

/// Whether a jump of the target may be followed faster than calmly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// The first seconds: every error is followed fast.
    Settling,
    /// Afterwards: only a large error is.
    Settled,
}

/// A value in nanoseconds that follows its target at a bounded rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slewed {
    value_ns: f64,
    hasty: bool,
}

impl Slewed {
    /// Starts at `ns`.
    pub(super) fn at(ns: i64) -> Self {
        Self { value_ns: ns as f64, hasty: false }
    }

    /// Moves towards `target_ns`, as far as `elapsed_ns` allows, and returns the new value.
    pub(super) fn follow(&mut self, target_ns: i64, elapsed_ns: i64, pace: Pace, calm_share: f64) -> i64 {
        let error = target_ns as f64 - self.value_ns;
        let size = error.abs();
        if size > HASTE_FROM_NS || (pace == Pace::Settling && size > HASTE_UNTIL_NS) {
            self.hasty = true;
        } else if size < HASTE_UNTIL_NS {
            self.hasty = false;
        }
        let elapsed = elapsed_ns.max(0) as f64;
        let calm = CALM_PPM * calm_share * 1e-6 * elapsed;
        let most =
            if self.hasty { (size * HASTE_PER_SECOND * elapsed * 1e-9).min(HASTY_PPM * 1e-6 * elapsed).max(calm) } else { calm };
        self.value_ns += error.clamp(-most, most);
        self.value()
    }

    /// Steps to `target_ns` if that is earlier: nothing of it was shown yet.
    pub(super) fn hurry(&mut self, target_ns: i64) {
        self.value_ns = self.value_ns.min(target_ns as f64);
    }

    /// The value, in nanoseconds.
    pub(super) fn value(&self) -> i64 {
        self.value_ns.round() as i64
    }
}
