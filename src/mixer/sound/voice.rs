//! One reader of a lane: where it is, how fast it goes, how loud it is.

use super::lane::Lane;
use super::sinc::{AFTER, BEFORE, Path, TAPS, interpolate};

/// Crossfades between voices, and fades of a Track: 5 ms.
pub(super) const FADE: usize = 240;

/// The ratio is never further from one: not heard as a change of pitch.
const MOST: f64 = 0.005;

/// An error is halved in about so many samples (2 s): slow enough to smooth what the capture times wobble, fast enough that a clock
/// that is 100 ppm off is followed with 0.2 ms of lag.
const REACH: f64 = 96_000.0;

/// In 20 ms the ratio changes by no more than this.
const BEND_PER_SAMPLE: f64 = 0.000_5 / 960.0;

/// A voice that runs at exactly one, from whole place to whole place, does so until it is 0.5 ms off.
const UNLOCK: f64 = 24.0;

/// So near to the target, and going so nearly straight, a voice locks.
const LOCK: f64 = 1.0;
const LOCK_RATIO: f64 = 2e-5;

/// A gain that moves linearly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    gain: f32,
    target: f32,
    /// Samples before it begins to move.
    wait: usize,
}

impl Ramp {
    pub(super) fn at(gain: f32) -> Self {
        Self { gain, target: gain, wait: 0 }
    }

    /// Moves to `target` within [`FADE`], beginning after `wait` samples.
    pub(super) fn to(&mut self, target: f32, wait: usize) {
        self.target = target;
        self.wait = wait;
    }

    pub(super) fn silent(&self) -> bool {
        self.gain == 0.0 && self.target == 0.0
    }

    pub(super) fn ending(&self) -> bool {
        self.target == 0.0
    }

    fn full(&self) -> bool {
        self.gain == 1.0 && self.target == 1.0
    }

    fn next(&mut self) -> f32 {
        if self.wait > 0 {
            self.wait -= 1;
        } else if self.gain != self.target {
            let step = 1.0 / FADE as f32;
            self.gain =
                if self.target > self.gain { (self.gain + step).min(self.target) } else { (self.gain - step).max(self.target) };
        }
        self.gain
    }

    /// Multiplies.
    pub(super) fn apply(&mut self, left: &mut [f32], right: &mut [f32]) {
        if self.full() {
            return;
        }
        for (l, r) in left.iter_mut().zip(right) {
            let gain = self.next();
            *l *= gain;
            *r *= gain;
        }
    }
}

/// A reader.
pub(super) struct Voice {
    pub(super) lane: u32,
    /// The place read next.
    pub(super) place: f64,
    ratio: f64,
    /// Reads whole places at exactly the sample rate.
    locked: bool,
    pub(super) ramp: Ramp,
}

impl Voice {
    /// A voice at a whole place near `place`; it fades in unless `gain` is one.
    pub(super) fn new(lane: u32, place: f64, gain: f32) -> Self {
        let mut ramp = Ramp::at(gain);
        ramp.to(1.0, 0);
        Self { lane, place: place.round(), ratio: 1.0, locked: true, ramp }
    }

    /// Goes to a whole place near `place`; only in silence.
    pub(super) fn jump(&mut self, place: f64) {
        self.place = place.round();
        self.ratio = 1.0;
        self.locked = true;
    }

    /// The way through the next `n` samples, when the first of them should be at `target`.
    pub(super) fn path(&mut self, target: f64, n: usize) -> Path {
        let error = target - self.place;
        let straight = Path { offset: self.place, ratio: 1.0, bend: 0.0 };
        if self.locked && error.abs() < UNLOCK {
            return straight;
        }
        self.locked = false;
        let wanted = 1.0 + (error / REACH).clamp(-MOST, MOST);
        let samples = n as f64;
        if error.abs() < LOCK && (self.ratio - 1.0).abs() < LOCK_RATIO && n >= 900 {
            // Onto the nearest whole place within this piece; half a sample in a piece is not heard.
            self.locked = true;
            let end = (self.place + samples).round();
            self.ratio = 1.0;
            return Path { ratio: (end - self.place) / samples, ..straight };
        }
        let most = BEND_PER_SAMPLE * samples;
        let before = self.ratio;
        self.ratio = wanted.clamp(before - most, before + most);
        Path { offset: self.place, ratio: before, bend: (self.ratio - before) / (2.0 * samples) }
    }

    /// Reads along the path into `left` and `right`, and goes on to its end. Returns false if there is nothing but silence.
    pub(super) fn read(&mut self, lane: &Lane, path: Path, scratch: &mut Scratch, left: &mut [f32], right: &mut [f32]) -> bool {
        let n = left.len();
        let first = path.offset.floor();
        let end = path.at(n);
        let end = if self.locked { end.round() } else { end };
        self.place = end;
        let from = first as i64 - BEFORE;
        let len = (end.floor() as i64 + AFTER + 1 - from) as usize;
        if !lane.holds(from, len) {
            // The ramp goes on in silence.
            left.fill(0.0);
            right.fill(0.0);
            self.ramp.apply(left, right);
            return false;
        }
        if path.ratio == 1.0 && path.bend == 0.0 && path.offset == first {
            lane.read(first as i64, left, Some(right));
        } else {
            scratch.left.resize(len.max(TAPS), 0.0);
            scratch.right.resize(len.max(TAPS), 0.0);
            let mono = lane.mono_from(from);
            let inner = Path { offset: path.offset - first, ..path };
            if mono {
                lane.read(from, &mut scratch.left, None);
                interpolate(inner, &scratch.left, None, left, right);
            } else {
                lane.read(from, &mut scratch.left, Some(&mut scratch.right));
                interpolate(inner, &scratch.left, Some(&scratch.right), left, right);
            }
        }
        self.ramp.apply(left, right);
        true
    }
}

/// Room for what is read before it is interpolated.
#[derive(Default)]
pub(super) struct Scratch {
    left: Vec<f32>,
    right: Vec<f32>,
}
