//! Keeps the sum below the ceiling, between the samples too, without a click and without touching what is below it.
//!
//! A sample's gain is the mean, over a window that contains it, of the least gains that the samples of such windows ask for: it sinks
//! smoothly before a peak and is there in time. So the output is [`Limiter::DELAY`] samples behind the input; the mixer renders
//! that much ahead.

use std::collections::VecDeque;

use super::true_peak::TruePeaks;

/// Samples of both windows.
const WINDOW: usize = 241;

/// How fast the gain comes back: 80 ms for two thirds.
const RELEASE: f64 = 1.0 / (0.080 * 48_000.0);

/// A gain so near to one is one.
const RELEASED: f64 = 0.999_95;

/// A look-ahead limiter for one stereo stream.
pub(super) struct Limiter {
    ceiling: f32,
    true_peaks: TruePeaks,
    /// The peaks of the piece that was pushed last.
    peaks: Vec<f32>,
    /// Input that waits, interleaved; at most the delay and one piece.
    waiting: VecDeque<[f32; 2]>,
    /// Gains of the samples that wait, oldest first: each the mean of a whole window. Shorter than `waiting` by the delay.
    gains: VecDeque<f32>,
    /// Least gains of the last `WINDOW` samples, as a monotonic queue of (sample number, gain).
    least: VecDeque<(u64, f32)>,
    count: u64,
    /// The least gain, rising slowly; in f32 it would come to rest before one.
    held: f64,
    /// The last `WINDOW` values of `held` and their sum.
    mean: VecDeque<f64>,
    sum: f64,
    /// Samples since the limiter last did anything; from `WINDOW` on it is transparent.
    calm: usize,
    least_gain: f32,
}

impl Limiter {
    /// Samples that must be pushed before the first comes out.
    pub(super) const DELAY: usize = WINDOW - 1 + TruePeaks::DELAY;

    /// A limiter whose output stays within ±`ceiling`, at its samples and between them.
    pub(super) fn new(ceiling: f32) -> Self {
        let mut limiter = Self {
            ceiling: ceiling.clamp(0.01, 1.0),
            true_peaks: TruePeaks::new(),
            peaks: Vec::new(),
            waiting: VecDeque::new(),
            gains: VecDeque::new(),
            least: VecDeque::new(),
            count: 0,
            held: 1.0,
            mean: VecDeque::new(),
            sum: 0.0,
            calm: 0,
            least_gain: 1.0,
        };
        limiter.clear();
        limiter
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.true_peaks.clear();
        self.waiting.clear();
        self.gains.clear();
        self.least.clear();
        self.held = 1.0;
        self.rest();
        self.calm = WINDOW;
        // The first sample's gain is known only a delay later.
        self.count = 0;
    }

    fn rest(&mut self) {
        self.mean.clear();
        self.mean.extend(std::iter::repeat_n(1.0, WINDOW));
        self.sum = WINDOW as f64;
    }

    /// Takes samples.
    pub(super) fn push(&mut self, left: &[f32], right: &[f32]) {
        self.waiting.extend(left.iter().zip(right).map(|(l, r)| [whole(*l), whole(*r)]));
        let mut peaks = std::mem::take(&mut self.peaks);
        self.true_peaks.find(left.iter().copied().map(whole), right.iter().copied().map(whole), self.ceiling, &mut peaks);
        self.follow(&peaks);
        self.peaks = peaks;
    }

    /// Makes gains from peaks.
    fn follow(&mut self, peaks: &[f32]) {
        if self.calm >= WINDOW {
            if peaks.iter().all(|peak| *peak <= self.ceiling) {
                let before = self.count;
                self.count += peaks.len() as u64;
                // The gain of sample n is known with sample n + DELAY.
                let known = self.count.saturating_sub(Self::DELAY as u64) - before.saturating_sub(Self::DELAY as u64);
                self.gains.extend(std::iter::repeat_n(1.0, known as usize));
                return;
            }
            self.rest();
            self.least.clear();
        }
        for peak in peaks {
            self.one(*peak);
        }
    }

    /// Gives out `out.len() / 2` samples; there must be enough of them.
    pub(super) fn pull(&mut self, out: &mut [f32]) {
        for pair in out.chunks_exact_mut(2) {
            let gain = self.gains.pop_front().unwrap_or(1.0);
            let [l, r] = self.waiting.pop_front().unwrap_or_default();
            self.least_gain = self.least_gain.min(gain);
            // The mean of floats may be off in the last digit.
            pair[0] = (l * gain).clamp(-self.ceiling, self.ceiling);
            pair[1] = (r * gain).clamp(-self.ceiling, self.ceiling);
        }
    }

    /// The least gain since the last call.
    pub(super) fn take_least_gain(&mut self) -> f32 {
        std::mem::replace(&mut self.least_gain, 1.0)
    }

    fn one(&mut self, peak: f32) {
        let asked = if peak > self.ceiling { self.ceiling / peak } else { 1.0 };
        while self.least.back().is_some_and(|&(_, gain)| gain >= asked) {
            self.least.pop_back();
        }
        self.least.push_back((self.count, asked));
        if self.least.front().is_some_and(|&(n, _)| n + WINDOW as u64 <= self.count) {
            self.least.pop_front();
        }
        let least = self.least.front().map_or(1.0, |&(_, gain)| f64::from(gain));
        self.held = if least <= self.held { least } else { self.held + (least - self.held) * RELEASE };
        if least >= 1.0 && self.held > RELEASED {
            self.held = 1.0;
        }
        self.calm = if self.held < 1.0 { 0 } else { self.calm + 1 };
        self.mean.push_back(self.held);
        self.sum += self.held - self.mean.pop_front().unwrap_or(1.0);
        self.count += 1;
        if self.count > Self::DELAY as u64 {
            self.gains.push_back((self.sum / WINDOW as f64).min(1.0) as f32);
        }
    }
}

fn whole(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[[f32; 2]], piece: usize) -> Vec<[f32; 2]> {
        let mut limiter = Limiter::new(0.891_25);
        let mut out = Vec::new();
        let mut padded = input.to_vec();
        padded.extend(std::iter::repeat_n([0.0; 2], Limiter::DELAY));
        let mut ready = 0;
        for chunk in padded.chunks(piece) {
            let (l, r): (Vec<_>, Vec<_>) = chunk.iter().map(|p| (p[0], p[1])).unzip();
            limiter.push(&l, &r);
            ready += chunk.len();
            let n = ready.saturating_sub(Limiter::DELAY) - out.len();
            let mut piece = vec![0.0; 2 * n];
            limiter.pull(&mut piece);
            out.extend(piece.chunks_exact(2).map(|p| [p[0], p[1]]));
        }
        assert_eq!(out.len(), input.len());
        out
    }

    #[test]
    fn below_the_ceiling_it_is_transparent_and_exact_in_time() {
        let input: Vec<_> = (0..5_000).map(|n| [(n as f32 * 0.1).sin() * 0.89, (n as f32 * 0.013).cos() * 0.5]).collect();
        assert_eq!(run(&input, 333), input);
    }

    #[test]
    fn nothing_is_above_the_ceiling_and_the_gain_is_smooth() {
        let tone = |n: usize| (n as f32 * 0.2).sin();
        let loud = |n: usize| if (9_000..9_400).contains(&n) { 3.0 } else { 0.6 };
        let input: Vec<_> = (0..60_000).map(|n| [tone(n) * loud(n), tone(n) * 0.5]).collect();
        let out = run(&input, 960);
        let gain: Vec<f32> =
            (0..input.len()).map(|n| if input[n][1].abs() > 0.05 { out[n][1] / input[n][1] } else { f32::NAN }).collect();
        assert!(out.iter().flatten().all(|x| x.abs() <= 0.891_26));
        assert!(out[9_000..9_400].iter().any(|x| x[0].abs() > 0.85), "no more than needed");
        let mut last = 1.0;
        for (n, g) in gain.iter().enumerate().filter(|(_, g)| !g.is_nan()) {
            // A window's way from 1 to 0.3 in steps of the samples between two that could be measured.
            assert!((g - last).abs() < 0.05, "{n}: {last} {g}");
            last = *g;
        }
        assert_eq!(out[8_700], input[8_700]);
        assert_eq!(out[59_000], input[59_000], "comes back to exactly one");
        assert!(gain[9_500..10_000].iter().any(|g| *g < 0.5));
    }

    #[test]
    fn peaks_between_samples_are_caught() {
        // A quarter of the sample rate, sampled at 45 degrees: the samples are 3 dB below the wave.
        for gain in [1.0_f32, 1.2, 3.0] {
            let wave = |n: usize| (std::f32::consts::FRAC_PI_2 * (n % 4) as f32 + std::f32::consts::FRAC_PI_4).sin() * gain;
            let input: Vec<_> = (0..20_000).map(|n| [wave(n) * 0.1, wave(n)]).collect();
            let out = run(&input, 960);
            let highest = out[2_000..18_000].iter().fold(0.0_f32, |most, x| most.max(x[1].abs()));
            let between = highest * std::f32::consts::SQRT_2;
            assert!(between <= 0.892 && between > 0.88, "{gain}: {between}");
        }
    }

    #[test]
    fn the_gain_is_there_when_a_peak_between_samples_is() {
        let wave = |n: usize| (std::f32::consts::FRAC_PI_2 * (n % 4) as f32 + std::f32::consts::FRAC_PI_4).sin();
        let loud = |n: usize| if (2_000..2_200).contains(&n) { 3.0 } else { 0.1 };
        let input: Vec<_> = (0..5_000).map(|n| [wave(n) * loud(n); 2]).collect();
        let out = run(&input, 960);
        let mut peaks = Vec::new();
        TruePeaks::new().find(out.iter().map(|pair| pair[0]), out.iter().map(|pair| pair[1]), 0.1, &mut peaks);
        let highest = peaks.iter().fold(0.0_f32, |most, peak| most.max(*peak));
        assert!(highest < 0.9 && highest > 0.7, "{highest}");
    }

    #[test]
    fn a_single_sample_at_any_phase_is_caught() {
        for at in 600..900 {
            let mut input = vec![[0.1_f32; 2]; 2_000];
            input[at] = [-50.0, 0.0];
            input[at + 100] = [0.0, 9.0];
            assert!(run(&input, 128).iter().flatten().all(|x| x.abs() <= 0.891_26));
        }
    }

    #[test]
    fn infinities_do_not_stay() {
        let mut input = vec![[0.1_f32; 2]; 30_000];
        input[700] = [f32::NAN, f32::INFINITY];
        let out = run(&input, 960);
        assert!(out.iter().flatten().all(|x| x.is_finite()));
        assert_eq!(out[29_000], [0.1; 2]);
    }
}
