//! How high a signal gets between its samples, where a player's converter and a codec go through.
//!
//! ITU-R BS.1770-4 annex 2 looks at four times the sample rate; so does this, with the longer kernel of [`super::sinc`]. Almost all sound is far below any
//! ceiling: there only the samples are looked at.

use std::sync::LazyLock;

use super::sinc::{AFTER, BEFORE, TAPS, dot, kernel};

/// Samples that are looked at together.
const CHUNK: usize = 32;

/// The places between two samples.
static BETWEEN: LazyLock<[[f32; TAPS]; 3]> = LazyLock::new(|| [kernel(0.25), kernel(0.5), kernel(0.75)]);

/// No place between samples is higher than the samples around it by more than this.
static MOST: LazyLock<f32> = LazyLock::new(|| {
    let sums = BETWEEN.iter().map(|taps| taps.iter().map(|tap| tap.abs()).sum::<f32>());
    sums.fold(1.0, f32::max)
});

/// Finds the peaks of one stereo stream.
pub(super) struct TruePeaks {
    /// Ends with what is not yet looked at and what the kernel needs before it.
    left: Vec<f32>,
    right: Vec<f32>,
}

impl TruePeaks {
    /// A sample's peak is known so many samples later.
    pub(super) const DELAY: usize = AFTER as usize - 1;

    const KEPT: usize = BEFORE as usize + Self::DELAY;

    pub(super) fn new() -> Self {
        Self { left: vec![0.0; Self::KEPT], right: vec![0.0; Self::KEPT] }
    }

    /// Forgets what was before.
    pub(super) fn clear(&mut self) {
        self.left.fill(0.0);
        self.right.fill(0.0);
    }

    /// Takes finite samples, and puts as many peaks into `peaks`: of each sample [`Self::DELAY`] earlier, and of the way to the one after it, the higher side. Peaks
    /// that are surely below `ceiling` may be told too low.
    pub(super) fn find(
        &mut self,
        left: impl Iterator<Item = f32>,
        right: impl Iterator<Item = f32>,
        ceiling: f32,
        peaks: &mut Vec<f32>,
    ) {
        self.left.extend(left);
        self.right.extend(right);
        peaks.clear();
        peaks.resize(self.left.len() - Self::KEPT, 0.0);
        for (n, chunk) in peaks.chunks_mut(CHUNK).enumerate() {
            let around = n * CHUNK..n * CHUNK + chunk.len() + Self::KEPT;
            let (left, right) = (&self.left[around.clone()], &self.right[around]);
            raise(chunk, left, ceiling);
            // Most voices are the same on both sides.
            if left != right {
                raise(chunk, right, ceiling);
            }
        }
        for channel in [&mut self.left, &mut self.right] {
            channel.drain(..channel.len() - Self::KEPT);
        }
    }
}

/// Raises each peak to what one channel has there; `around` begins [`BEFORE`] samples earlier.
fn raise(peaks: &mut [f32], around: &[f32], ceiling: f32) {
    let highest = around.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let looks_between = highest * *MOST > ceiling;
    for (at, peak) in peaks.iter_mut().enumerate() {
        *peak = peak.max(around[at + BEFORE as usize].abs());
        if looks_between {
            *peak = BETWEEN.iter().fold(*peak, |most, taps| most.max(dot(taps, &around[at..at + TAPS]).abs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn highest(wave: impl Fn(f64) -> f64, pieces: usize) -> (f32, f32) {
        let samples: Vec<f32> = (0..9_600).map(|n| wave(f64::from(n)) as f32).collect();
        let (mut finder, mut peaks, mut all) = (TruePeaks::new(), Vec::new(), Vec::new());
        for piece in samples.chunks(pieces) {
            finder.find(piece.iter().copied(), piece.iter().map(|x| x / 2.0), 0.5, &mut peaks);
            assert_eq!(peaks.len(), piece.len());
            all.extend_from_slice(&peaks);
        }
        let most = |of: &[f32]| of.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        (most(&samples[1_000..9_000]), most(&all[1_000..9_000]))
    }

    #[test]
    fn a_tone_between_its_samples_is_seen() {
        // A quarter of the sample rate, sampled at 45 degrees: no sample above 0.707.
        for pieces in [1, 7, 960, 1_024] {
            let (samples, peaks) = highest(|n| (TAU / 4.0 * n + TAU / 8.0).sin(), pieces);
            assert!((samples - 0.707).abs() < 0.001 && (peaks - 1.0).abs() < 0.001, "{samples} {peaks}");
        }
        for hz in [100.0, 997.0, 5_000.0, 12_345.0, 17_000.0] {
            let (_, peaks) = highest(|n| 0.9 * (TAU * hz / 48_000.0 * n + 0.3).sin(), 960);
            // Four times the sample rate sees a tone of 17 kHz 0.7 dB too low at worst (BS.1770-4 annex 2, attachment 1).
            assert!((0.9 * 0.92..0.9 * 1.002).contains(&peaks), "{hz} Hz: {peaks}");
        }
    }

    #[test]
    fn a_peak_stands_at_its_sample() {
        let mut samples = vec![0.0_f32; 200];
        (samples[100], samples[101]) = (0.7, 0.7);
        let (mut finder, mut peaks) = (TruePeaks::new(), Vec::new());
        finder.find(samples.iter().copied(), samples.iter().copied(), 0.5, &mut peaks);
        let highest = (0..200).max_by(|&a, &b| peaks[a].total_cmp(&peaks[b])).unwrap();
        assert_eq!(highest, 100 + TruePeaks::DELAY);
        assert!(peaks[highest] > 0.8, "{}", peaks[highest]);
    }
}
