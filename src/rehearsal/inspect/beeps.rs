//! Hears when each person's beep begins.
//!
//! In: mono samples at 48 kHz, in order. Out: instants. Pure; keeps a third of a second. A beep is looked for at each person's own
//! frequency, in windows short enough for a millisecond and long enough to tell two people apart who are 300 Hz apart.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use crate::rehearsal::card::PEOPLE;

const RATE_HZ: usize = 48_000;
/// Window of the measurement: 10 ms. A Hann window of this length separates 300 Hz.
const WINDOW: usize = 480;
/// A measurement each half millisecond.
const HOP: usize = 24;
const HOPS_PER_MS: usize = RATE_HZ / HOP / 1000;
/// Amplitudes below this are no beep; a beep is sent at 0.15.
const LEAST_AMPLITUDE: f32 = 0.02;
/// A beep begins after at least this long without.
const QUIET_HOPS: usize = 300 * HOPS_PER_MS;
/// The level of a beep is its median from here to there behind the first sign of it.
const LEVEL_HOPS: (usize, usize) = (10 * HOPS_PER_MS, 60 * HOPS_PER_MS);

/// Hears all people.
pub(super) struct Ears {
    ears: Vec<Ear>,
    samples: VecDeque<f32>,
    /// Position of the first of `samples` since the beginning.
    at: usize,
    window: Vec<f32>,
}

/// One person's beep.
struct Ear {
    /// e^(-iωn) over a window, times the window: cosine and sine.
    probe: Vec<(f32, f32)>,
    quiet: usize,
    /// Amplitudes since shortly before the first sign of a beep.
    rising: Vec<f32>,
    before: f32,
    /// Seconds since the beginning of the sound.
    onsets_s: Vec<f64>,
}

impl Default for Ears {
    fn default() -> Self {
        let hann = |n: usize| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / WINDOW as f32).cos();
        // An amplitude of 1 measures as 1.
        let scale = 2.0 / (0..WINDOW).map(hann).sum::<f32>();
        let ear = |hz: u32| {
            let probe = |n: usize| {
                let (sin, cos) = (TAU * hz as f32 * n as f32 / RATE_HZ as f32).sin_cos();
                (cos * hann(n) * scale, sin * hann(n) * scale)
            };
            let probe = (0..WINDOW).map(probe).collect();
            Ear { probe, quiet: QUIET_HOPS, rising: Vec::new(), before: 0.0, onsets_s: Vec::new() }
        };
        let ears = PEOPLE.iter().map(|person| ear(person.beep_hz)).collect();
        Self { ears, samples: VecDeque::new(), at: 0, window: vec![0.0; WINDOW] }
    }
}

impl Ears {
    /// Hears the next samples.
    pub(super) fn hear(&mut self, samples: &[f32]) {
        self.samples.extend(samples);
        while self.samples.len() >= WINDOW {
            for (to, from) in self.window.iter_mut().zip(&self.samples) {
                *to = *from;
            }
            let middle_s = (self.at as f64 + WINDOW as f64 / 2.0) / RATE_HZ as f64;
            for ear in &mut self.ears {
                ear.hear(&self.window, middle_s);
            }
            self.samples.drain(..HOP);
            self.at += HOP;
        }
    }

    /// When the beeps of each of [`PEOPLE`] began, in seconds since the first sample.
    pub(super) fn onsets_s(self) -> Vec<Vec<f64>> {
        self.ears.into_iter().map(|ear| ear.onsets_s).collect()
    }
}

impl Ear {
    fn hear(&mut self, window: &[f32], middle_s: f64) {
        let (mut re, mut im) = (0.0, 0.0);
        for (sample, (cos, sin)) in window.iter().zip(&self.probe) {
            re += sample * cos;
            im += sample * sin;
        }
        let amplitude = re.hypot(im);
        if !self.rising.is_empty() {
            self.rising.push(amplitude);
            if self.rising.len() > LEVEL_HOPS.1 {
                self.judge(middle_s);
            }
        } else if amplitude < LEAST_AMPLITUDE {
            self.quiet += 1;
        } else {
            if self.quiet >= QUIET_HOPS {
                self.rising = vec![self.before, amplitude];
            }
            self.quiet = 0;
        }
        self.before = amplitude;
    }

    /// The onset is where the amplitude passes half of its level: there half of the window is beep.
    fn judge(&mut self, last_s: f64) {
        let rising = std::mem::take(&mut self.rising);
        let mut later = rising[LEVEL_HOPS.0..].to_vec();
        later.sort_by(f32::total_cmp);
        let half = later[later.len() / 2] / 2.0;
        if half * 2.0 < LEAST_AMPLITUDE {
            return;
        }
        if let Some(behind) = rising.iter().position(|&amplitude| amplitude >= half).filter(|&behind| behind > 0) {
            let (a, b) = (rising[behind - 1], rising[behind]);
            let place = behind as f64 - 1.0 + f64::from((half - a) / (b - a).max(f32::EPSILON));
            self.onsets_s.push(last_s - (rising.len() as f64 - 1.0 - place) * HOP as f64 / RATE_HZ as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::encode::sound_sample;

    #[test]
    fn beeps_of_all_people_at_once_are_heard_to_the_millisecond() {
        // Each person is 37 ms later than the one before, so that the beeps overlap.
        let late = |person: usize| person * 37 * 48;
        let mut ears = Ears::default();
        let samples: Vec<f32> = (0..4 * RATE_HZ)
            .map(|at| (0..9).filter_map(|p| Some(sound_sample(&PEOPLE[p], at.checked_sub(late(p))? as u32))).sum())
            .collect();
        samples.chunks(1_000).for_each(|chunk| ears.hear(chunk));
        for (person, onsets) in ears.onsets_s().iter().enumerate() {
            let expected: Vec<f64> = (0..4).map(|second| f64::from(second) + late(person) as f64 / RATE_HZ as f64).collect();
            // The beep of second 0 has no quiet before it to rise from; whether it is heard is open.
            let heard: Vec<f64> = onsets.iter().copied().filter(|at| *at > 0.5).collect();
            assert_eq!(heard.len(), 3, "person {person}: {onsets:?}");
            for (heard, expected) in heard.iter().zip(&expected[1..]) {
                assert!((heard - expected).abs() < 0.001_5, "person {person}: {heard} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_tone_without_a_beep_and_silence_have_no_onset() {
        let mut ears = Ears::default();
        let tone: Vec<f32> = (0..2 * RATE_HZ).map(|at| 0.3 * (TAU * 440.0 * at as f32 / RATE_HZ as f32).sin()).collect();
        ears.hear(&tone);
        ears.hear(&vec![0.0; RATE_HZ]);
        assert!(ears.onsets_s().iter().all(Vec::is_empty));
    }
}
