//! Reading samples between samples: a windowed sinc in many phases.
//!
//! The kernel's cut-off is half the sample rate, so at a whole place it is a copy, and a voice may change between copying and
//! interpolating without a seam. Ratios stay within half a percent of one; what folds back lies above 23 kHz.

use std::sync::LazyLock;

/// Taps of the kernel. The place lies between tap 15 and 16.
pub(super) const TAPS: usize = 32;

/// Samples before the place that the kernel needs.
pub(super) const BEFORE: i64 = 15;

/// Samples from the place on that it needs.
pub(super) const AFTER: i64 = 17;

/// Phases in the table; between two of them the taps are interpolated, which leaves errors below −100 dB.
const PHASES: usize = 256;

/// Shape of the Kaiser window: side lobes below −80 dB.
const KAISER_BETA: f64 = 8.5;

static TABLE: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(|| (0..=PHASES).map(|p| kernel(p as f64 / PHASES as f64)).collect());

/// The taps for a place that lies `fraction` of a sample behind tap 15.
pub(super) fn kernel(fraction: f64) -> [f32; TAPS] {
    let mut taps = [0.0_f64; TAPS];
    for (n, tap) in taps.iter_mut().enumerate() {
        let x = n as f64 - BEFORE as f64 - fraction;
        let sinc = if x.abs() < 1e-12 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
        let edge = x / (TAPS as f64 / 2.0);
        let window = if edge.abs() >= 1.0 { 0.0 } else { bessel(KAISER_BETA * (1.0 - edge * edge).sqrt()) / bessel(KAISER_BETA) };
        *tap = if (x - x.round()).abs() < 1e-12 && x.abs() > 0.5 { 0.0 } else { sinc * window };
    }
    // The same loudness in every phase.
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| (tap / sum) as f32)
}

/// The modified Bessel function of order 0, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / 2.0) * (x / 2.0) / f64::from(k * k);
        sum += term;
    }
    sum
}

/// Interpolates along a path: sample `n` of `out` lies at `offset + ratio * n + bend * n * n` in the input, where offset 0 is
/// `input[BEFORE]`.
pub(super) fn interpolate(path: Path, left: &[f32], right: Option<&[f32]>, out_left: &mut [f32], out_right: &mut [f32]) {
    let table: &[[f32; TAPS]] = &TABLE;
    for n in 0..out_left.len() {
        let at = path.at(n);
        let whole = at.floor();
        let phase = (at - whole) as f32 * PHASES as f32;
        let row = (phase as usize).min(PHASES - 1);
        let share = phase - row as f32;
        let (a, b) = (&table[row], &table[row + 1]);
        let mut taps = [0.0_f32; TAPS];
        for t in 0..TAPS {
            taps[t] = a[t] + (b[t] - a[t]) * share;
        }
        let start = whole as usize;
        out_left[n] = dot(&taps, &left[start..start + TAPS]);
        out_right[n] = match right {
            Some(right) => dot(&taps, &right[start..start + TAPS]),
            None => out_left[n],
        };
    }
}

/// In eight lanes, so that it becomes vector instructions.
pub(super) fn dot(taps: &[f32; TAPS], input: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (t, x) in taps.chunks_exact(8).zip(input.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += t[lane] * x[lane];
        }
    }
    (sums[0] + sums[4]) + (sums[1] + sums[5]) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

/// Where in the input each output sample lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) offset: f64,
    pub(super) ratio: f64,
    pub(super) bend: f64,
}

impl Path {
    pub(super) fn at(&self, n: usize) -> f64 {
        let n = n as f64;
        self.offset + n * (self.ratio + n * self.bend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_place_is_a_copy() {
        let input: Vec<f32> = (0..200).map(|n| ((n * n) as f32 * 0.37).sin()).collect();
        let (mut l, mut r) = (vec![0.0; 100], vec![0.0; 100]);
        interpolate(Path { offset: 3.0, ratio: 1.0, bend: 0.0 }, &input, None, &mut l, &mut r);
        for n in 0..100 {
            assert!((l[n] - input[n + 3 + BEFORE as usize]).abs() < 1e-6);
        }
    }

    #[test]
    fn tones_between_samples_are_exact_to_70_db() {
        for hz in [100.0, 1_000.0, 8_000.0, 15_000.0] {
            let tone = |x: f64| (std::f64::consts::TAU * hz / 48_000.0 * x).sin();
            let input: Vec<f32> = (0..1_200).map(|n| tone(f64::from(n)) as f32).collect();
            let (mut l, mut r) = (vec![0.0; 1_000], vec![0.0; 1_000]);
            let path = Path { offset: 0.123, ratio: 1.0037, bend: 1e-8 };
            interpolate(path, &input, Some(&input), &mut l, &mut r);
            for n in 0..1_000 {
                let wanted = tone(path.at(n) + BEFORE as f64);
                assert!((f64::from(l[n]) - wanted).abs() < 3e-4, "{hz} Hz, {n}: {} {wanted}", l[n]);
                assert!((l[n] - r[n]).abs() < 1e-9);
            }
        }
    }
}
