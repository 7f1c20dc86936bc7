//! The K weighting of ITU-R BS.1770-4: how loud samples are to a listener, not to a meter of volts.
//!
//! Two filters one after the other: a shelf that lifts what the head reflects (above 1.5 kHz, by 4 dB), and a high pass at 38 Hz. The coefficients are
//! those of the recommendation, for 48 kHz.

/// Numerator and denominator (without its leading one) of each filter.
const SHELF: ([f64; 3], [f64; 2]) =
    ([1.535_124_859_586_97, -2.691_696_189_406_38, 1.198_392_810_852_85], [-1.690_659_293_182_41, 0.732_480_774_215_85]);
const HIGH_PASS: ([f64; 3], [f64; 2]) = ([1.0, -2.0, 1.0], [-1.990_047_454_833_98, 0.990_072_250_366_21]);

/// Samples beyond this (12 dB over full scale) are no sound; a [`super::lane`] keeps no larger ones either.
const LARGEST: f64 = 4.0;

/// What a filter remembers of silence is set to zero, because subnormal numbers are slow.
const FORGOTTEN: f64 = 1e-25;

/// The loudness of silence, and of everything quieter: the absolute gate of BS.1770.
pub(super) const SILENT_LUFS: f32 = -70.0;

/// The loudness of a mean power, summed over the channels, in LUFS.
pub(super) fn lufs(power: f32) -> f32 {
    if power > 0.0 { (10.0 * power.log10() - 0.691).max(SILENT_LUFS) } else { SILENT_LUFS }
}

/// The filters of one stereo stream.
#[derive(Clone, Default)]
pub(super) struct Weighting {
    left: Channel,
    right: Channel,
}

impl Weighting {
    /// The sum of the squares of both weighted channels. Where both sides are the same, one of them is enough.
    pub(super) fn energy(&mut self, interleaved: &[f32], stereo: bool) -> f64 {
        let mut sum = 0.0;
        for pair in interleaved.chunks_exact(2) {
            let left = self.left.next(pair[0]);
            sum += left * left;
            if stereo {
                let right = self.right.next(pair[1]);
                sum += right * right;
            }
        }
        if !stereo {
            sum *= 2.0;
            self.right = self.left.clone();
        }
        if !sum.is_finite() {
            *self = Self::default();
            return 0.0;
        }
        self.left.forget();
        self.right.forget();
        sum
    }
}

/// The memories of both filters, in transposed direct form II.
#[derive(Clone, Default)]
struct Channel {
    shelf: [f64; 2],
    high_pass: [f64; 2],
}

impl Channel {
    fn next(&mut self, sample: f32) -> f64 {
        let input = f64::from(sample).clamp(-LARGEST, LARGEST);
        filter(&HIGH_PASS, &mut self.high_pass, filter(&SHELF, &mut self.shelf, input))
    }

    fn forget(&mut self) {
        for memory in self.shelf.iter_mut().chain(&mut self.high_pass).filter(|memory| memory.abs() < FORGOTTEN) {
            *memory = 0.0;
        }
    }
}

fn filter((b, a): &([f64; 3], [f64; 2]), memory: &mut [f64; 2], input: f64) -> f64 {
    let output = b[0] * input + memory[0];
    memory[0] = b[1] * input - a[0] * output + memory[1];
    memory[1] = b[2] * input - a[1] * output;
    output
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(hz: f64, gain: f64, stereo: bool) -> f32 {
        let mut weighting = Weighting::default();
        let samples: Vec<f32> = (0..96_000)
            .flat_map(|n| {
                let x = ((TAU * hz / 48_000.0 * f64::from(n)).sin() * gain) as f32;
                [x, if stereo { 0.0 } else { x }]
            })
            .collect();
        weighting.energy(&samples[..96_000], stereo);
        lufs((weighting.energy(&samples[96_000..], stereo) / 48_000.0) as f32)
    }

    #[test]
    fn tones_are_as_loud_as_the_recommendation_says() {
        // BS.1770-4: a sine of 997 Hz at full scale on one side is −3.01 LUFS; on both sides 3 dB more.
        assert!((sine(997.0, 1.0, true) + 3.01).abs() < 0.02);
        assert!((sine(997.0, 1.0, false)).abs() < 0.02);
        // EBU Tech 3341, case 1: 1 kHz at −23 dBFS on both sides is −23 LUFS.
        assert!((sine(1_000.0, 10_f64.powf(-23.0 / 20.0), false) + 23.0).abs() < 0.1);
        assert!((sine(10_000.0, 0.1, false) + 16.7).abs() < 0.2, "the shelf lifts by 4 dB: {}", sine(10_000.0, 0.1, false));
        assert!(sine(20.0, 0.1, false) < -32.0, "rumble does not count");
    }

    #[test]
    fn garbage_is_forgotten() {
        let mut weighting = Weighting::default();
        assert_eq!(weighting.energy(&[f32::NAN, f32::INFINITY, 1.0, 1.0], true), 0.0);
        assert!(weighting.energy(&[f32::MAX; 960], false).is_finite());
        weighting.energy(&vec![0.0; 2 * 480_000], true);
        assert_eq!(weighting.energy(&[0.0; 960], true), 0.0, "silence comes to rest");
    }
}
