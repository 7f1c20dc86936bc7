//! Hears tones, beeps, gaps and clicks in a mixed sound.
//!
//! Every tone is a whole multiple of 30 Hz, so a rectangular window of 1/30 s hears one tone and none of the others. A tone that is
//! away for a part of the window is heard weaker by that part, which is how gaps shorter than the window are measured.

use std::f64::consts::TAU;
use std::ops::Range;

use roomcast::rehearsal::card::{self, Person};

/// Samples a second.
pub const RATE: usize = 48_000;
/// 1/30 s: no tone leaks into another.
const TONE_WINDOW: usize = RATE / 30;
/// Beeps are multiples of 300 Hz apart, so none leaks into another in 1/300 s. The window is twice that: at an onset one half of it is
/// filled, which is when the onset is read, and people whose beeps begin together do not disturb each other then either.
const BEEP_WINDOW: usize = RATE / 150;
/// Distance of two tone readings.
const HOP: usize = RATE / 200;

/// Sound of a film, mixed to one channel.
pub struct Sound {
    /// Presentation time of the first sample in seconds.
    pub start_s: f64,
    /// Samples at [`RATE`].
    pub samples: Vec<f32>,
}

/// A stretch in which a tone is away, or jumps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gap {
    /// Middle of the gap, seconds.
    pub at_s: f64,
    /// How long the tone is away.
    pub length_ms: f64,
}

impl Sound {
    /// Sound whose first sample is due at `start_s`.
    pub fn new(start_s: f64, samples: Vec<f32>) -> Self {
        Sound { start_s, samples }
    }

    /// Presentation time of the end in seconds.
    pub fn end_s(&self) -> f64 {
        self.start_s + self.samples.len() as f64 / RATE as f64
    }

    fn time(&self, sample: f64) -> f64 {
        self.start_s + sample / RATE as f64
    }

    fn clip(&self, range: &Range<f64>) -> Range<usize> {
        let index = |at: f64| (((at - self.start_s) * RATE as f64).round().max(0.0) as usize).min(self.samples.len());
        index(range.start)..index(range.end)
    }

    /// Running sum of the sound times a turning pointer of `hz`, so that the amplitude of any window is one subtraction.
    fn turned(&self, clip: &Range<usize>, hz: u32) -> Vec<(f64, f64)> {
        let mut sums = Vec::with_capacity(clip.len() + 1);
        let (mut re, mut im) = (0.0, 0.0);
        sums.push((re, im));
        for index in clip.clone() {
            // The period in samples is a whole number for whole frequencies over one second: the angle stays exact.
            let angle = TAU * ((index * hz as usize) % RATE) as f64 / RATE as f64;
            let value = f64::from(self.samples[index]);
            re += value * angle.cos();
            im -= value * angle.sin();
            sums.push((re, im));
        }
        sums
    }

    /// Amplitude of a person's tone, of full scale, each 5 ms: (middle of the window in seconds, amplitude).
    pub fn tone(&self, person: &Person, range: Range<f64>) -> Vec<(f64, f64)> {
        let clip = self.clip(&range);
        let sums = self.turned(&clip, person.tone_hz);
        (0..clip.len().saturating_sub(TONE_WINDOW))
            .step_by(HOP)
            .map(|from| (self.time((clip.start + from + TONE_WINDOW / 2) as f64), amplitude(&sums, from, TONE_WINDOW)))
            .collect()
    }

    /// Usual amplitude of a person's tone: the median.
    pub fn tone_level(&self, person: &Person, range: Range<f64>) -> f64 {
        median(self.tone(person, range).into_iter().map(|(_, amplitude)| amplitude)).unwrap_or(0.0)
    }

    /// Where the tone is away for more than about 3 ms, or jumps in phase. All of the range if the tone is not there.
    pub fn tone_gaps(&self, person: &Person, range: Range<f64>) -> Vec<Gap> {
        let tone = self.tone(person, range.clone());
        let usual = median(tone.iter().map(|(_, amplitude)| *amplitude)).unwrap_or(0.0);
        if usual < f64::from(card::TONE_AMPLITUDE) * 0.2 {
            return vec![Gap { at_s: (range.start + range.end) / 2.0, length_ms: (range.end - range.start) * 1000.0 }];
        }
        let window_ms = TONE_WINDOW as f64 * 1000.0 / RATE as f64;
        let hop_ms = HOP as f64 * 1000.0 / RATE as f64;
        let mut gaps = Vec::new();
        for dip in tone.chunk_by(|a, b| (a.1 < usual * 0.9) == (b.1 < usual * 0.9)).filter(|run| run[0].1 < usual * 0.9) {
            let deepest = dip.iter().map(|(_, amplitude)| *amplitude).fold(f64::MAX, f64::min) / usual;
            let empty = dip.iter().filter(|(_, amplitude)| *amplitude < usual * 0.08).count();
            let length_ms = (1.0 - deepest) * window_ms + (empty.saturating_sub(1)) as f64 * hop_ms;
            gaps.push(Gap { at_s: (dip[0].0 + dip[dip.len() - 1].0) / 2.0, length_ms });
        }
        gaps
    }

    /// Longest gap of the tone in milliseconds; 0 if there is none.
    pub fn longest_gap_ms(&self, person: &Person, range: Range<f64>) -> f64 {
        self.tone_gaps(person, range).iter().map(|gap| gap.length_ms).fold(0.0, f64::max)
    }

    /// Times at which a person's beep begins, exact to a fraction of a millisecond.
    pub fn beeps(&self, person: &Person, range: Range<f64>) -> Vec<f64> {
        let clip = self.clip(&range);
        let sums = self.turned(&clip, person.beep_hz);
        let levels: Vec<f64> =
            (0..clip.len().saturating_sub(BEEP_WINDOW)).map(|from| amplitude(&sums, from, BEEP_WINDOW)).collect();
        let mut sorted: Vec<f64> = levels.iter().step_by(16).copied().collect();
        sorted.sort_by(f64::total_cmp);
        // A beep sounds for a tenth of the time, so this is inside one even if its person was there for a fifth of it.
        let loud = sorted.get(sorted.len() * 99 / 100).copied().unwrap_or(0.0);
        if loud < f64::from(card::BEEP_AMPLITUDE) * 0.2 {
            return Vec::new();
        }
        let half = loud / 2.0;
        let mut onsets = Vec::new();
        let mut quiet = 0;
        for (index, level) in levels.iter().enumerate() {
            if *level < half {
                quiet += 1;
                continue;
            }
            let stays = levels.get(index..index + RATE / 20).is_some_and(|run| run.iter().all(|level| *level > half * 0.8));
            if quiet > RATE / 10 && !stays {
                // What does not last is no beep, but what the codec puts before one; the quiet goes on.
                quiet += 1;
                continue;
            }
            if quiet > RATE / 10 && index > 0 {
                let before = levels[index - 1];
                let part = (half - before) / (level - before);
                onsets.push(self.time((clip.start + index - 1 + BEEP_WINDOW / 2) as f64 + part));
            }
            quiet = 0;
        }
        onsets
    }

    /// Stretches of at least `least_ms` in which nobody is heard at all: (begin in seconds, length in milliseconds).
    pub fn silences(&self, least_ms: f64, range: Range<f64>) -> Vec<(f64, f64)> {
        let clip = self.clip(&range);
        let mut found = Vec::new();
        let mut begin = clip.start;
        for index in clip.clone().chain(std::iter::once(clip.end)) {
            if index < clip.end && self.samples[index].abs() < 0.002 {
                continue;
            }
            let length_ms = (index - begin) as f64 * 1000.0 / RATE as f64;
            if length_ms >= least_ms {
                found.push((self.time(begin as f64), length_ms));
            }
            begin = index + 1;
        }
        found
    }

    /// Largest step from one sample to the next outside the beeps, against the largest that the given tones can make together:
    /// above 1 something clicks. `beat` is the media second's phase in the film: beeps begin there, and whole seconds later.
    pub fn largest_step(&self, people: &[Person], beat_s: f64, range: Range<f64>) -> f64 {
        let natural: f64 = people
            .iter()
            .map(|person| {
                self.tone_level(person, range.clone()) * 2.0 * (TAU / 2.0 * f64::from(person.tone_hz) / RATE as f64).sin()
            })
            .sum();
        let clip = self.clip(&range);
        let margin_s = 0.06;
        let is_beep = |index: usize| {
            let phase = (self.time(index as f64) - beat_s + margin_s).rem_euclid(1.0);
            phase < f64::from(card::BEEP_MS) / 1000.0 + 2.0 * margin_s
        };
        let steps = clip.clone().skip(1).filter(|index| !is_beep(*index));
        steps.map(|index| f64::from((self.samples[index] - self.samples[index - 1]).abs())).fold(0.0, f64::max) / natural
    }
}

fn amplitude(sums: &[(f64, f64)], from: usize, length: usize) -> f64 {
    let (re, im) = (sums[from + length].0 - sums[from].0, sums[from + length].1 - sums[from].1);
    2.0 * re.hypot(im) / length as f64
}

/// The middle value.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| sorted[sorted.len() / 2])
}
