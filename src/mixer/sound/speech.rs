//! Hears whether somebody speaks, and how loud.
//!
//! In: the weighted power of 20 ms after 20 ms. Out: each 100 ms whether the last 400 ms are speech, and the loudness of the last ten seconds of it, gated as
//! BS.1770 gates a programme. Pure arithmetic of fixed size; nothing is summed up for longer than ten seconds, so nothing drifts.
//!
//! Three things together are speech: it is louder than the Track's own background, for a good part of the block, and it comes in syllables. So a tone, a
//! fan, a hum are not (they do not swing), typing and knocks are not (they are short), and nothing that is quieter than [`QUIETEST_LUFS`] is.

use super::weighting::{SILENT_LUFS, lufs};

/// Samples of a hop: 20 ms.
pub(super) const HOP: usize = 960;

/// Hops of a block, 400 ms, as BS.1770 has them; one ends each 100 ms.
const BLOCK: usize = 20;
const STEP: u64 = 5;

/// What is quieter is never speech.
const QUIETEST_LUFS: f32 = -52.0;

/// Speech is so much louder than the background, in at least so many hops of a block.
const ABOVE_FLOOR: f32 = 8.0;
const LEAST_HOPS: usize = 8;

/// Syllables: so many rises of at least 6 dB, with falls of 6 dB between them, in 1.8 s. A ringing or beeping of once a second has fewer.
const RISES: usize = 3;
const RISES_WITHIN: u64 = 90;
const SWING: f32 = 6.0;

/// The background is the quietest hop of about the last 12 s, in buckets of 1.5 s: a sentence has a gap within that.
const BUCKETS: usize = 8;
const BUCKET: u64 = 75;

/// Blocks that are remembered: ten seconds of speech.
const REMEMBERED: usize = 100;

/// A block counts as at most so many times (6 dB) one that is louder than four of five: a cough among words is not how loud somebody speaks.
const OUTLIER: f32 = 4.0;

/// The relative gate of BS.1770: what is 10 LU below the mean does not count.
const RELATIVE: f32 = 0.1;

/// What is listened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// Speech alone.
    Speech,
    /// Whatever is not silence: of a shared screen, which may play anything.
    Sound,
}

/// Hears one Track.
#[derive(Clone)]
pub(super) struct SpeechMeter {
    subject: Subject,
    hops: [f32; BLOCK],
    count: u64,
    /// Quietest hop of each bucket, in LUFS; infinite before the first.
    quietest: [f32; BUCKETS],
    /// The largest or smallest loudness since the last turn, and whether it is a rise that began there.
    extreme: f32,
    rising: bool,
    /// When the last rises began, in hops.
    rises: [u64; RISES],
    heard: Heard,
}

impl SpeechMeter {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            hops: [0.0; BLOCK],
            // So that no rise seems to be recent.
            count: 10 * RISES_WITHIN,
            quietest: [f32::INFINITY; BUCKETS],
            extreme: SILENT_LUFS,
            rising: false,
            rises: [0; RISES],
            heard: Heard::new(),
        }
    }

    /// Takes the mean power of the next hop. Returns, at the end of a step, whether the block that ends there counts.
    pub(super) fn hop(&mut self, power: f32) -> bool {
        self.hops[(self.count % BLOCK as u64) as usize] = power;
        let loudness = lufs(power);
        self.learn_background(loudness);
        let gate = self.gate();
        self.swing(loudness, gate);
        self.count += 1;
        if !self.count.is_multiple_of(STEP) {
            return false;
        }
        let block = self.hops.iter().sum::<f32>() / BLOCK as f32;
        let does_count = match self.subject {
            Subject::Speech => self.in_syllables() && lufs(block) > gate && self.is_filled(gate),
            Subject::Sound => lufs(block) > SILENT_LUFS,
        };
        if does_count {
            self.heard.push(block);
        }
        does_count
    }

    /// How loud the last ten seconds of what counts were, in LUFS; `None` before the first.
    pub(super) fn loudness(&self) -> Option<f32> {
        self.heard.loudness()
    }

    /// Seconds heard of what counts, up to the ten that are remembered.
    pub(super) fn heard_s(&self) -> f32 {
        self.heard.len as f32 * (STEP as f32 * HOP as f32 / 48_000.0)
    }

    /// How loud the background is, in LUFS.
    pub(super) fn background(&self) -> f32 {
        self.quietest.iter().copied().fold(f32::INFINITY, f32::min)
    }

    fn gate(&self) -> f32 {
        (self.background() + ABOVE_FLOOR).max(QUIETEST_LUFS)
    }

    fn learn_background(&mut self, loudness: f32) {
        let bucket = (self.count / BUCKET % BUCKETS as u64) as usize;
        if self.count.is_multiple_of(BUCKET) {
            self.quietest[bucket] = f32::INFINITY;
        }
        self.quietest[bucket] = self.quietest[bucket].min(loudness);
    }

    /// Follows the loudness up and down. A rise counts when it passes the gate; below it the background may do what it likes.
    fn swing(&mut self, loudness: f32, gate: f32) {
        if self.rising {
            self.extreme = self.extreme.max(loudness);
            if loudness < self.extreme - SWING {
                self.rising = false;
                self.extreme = loudness;
            }
        } else {
            self.extreme = self.extreme.min(loudness);
            if loudness > self.extreme + SWING && loudness > gate {
                self.rising = true;
                self.extreme = loudness;
                self.rises.rotate_left(1);
                self.rises[RISES - 1] = self.count;
            }
        }
    }

    fn is_filled(&self, gate: f32) -> bool {
        self.hops.iter().filter(|hop| lufs(**hop) > gate).count() >= LEAST_HOPS
    }

    fn in_syllables(&self) -> bool {
        self.count - self.rises[0] <= RISES_WITHIN
    }
}

/// The newest blocks of speech.
#[derive(Clone)]
struct Heard {
    powers: [f32; REMEMBERED],
    next: usize,
    len: usize,
}

impl Heard {
    fn new() -> Self {
        Self { powers: [0.0; REMEMBERED], next: 0, len: 0 }
    }

    fn push(&mut self, power: f32) {
        self.powers[self.next] = power;
        self.next = (self.next + 1) % REMEMBERED;
        self.len = (self.len + 1).min(REMEMBERED);
    }

    fn loudness(&self) -> Option<f32> {
        let mut sorted = self.powers;
        let sorted = &mut sorted[..self.len];
        sorted.sort_unstable_by(f32::total_cmp);
        let most = *sorted.get(self.len * 4 / 5)? * OUTLIER;
        let mean = |powers: &[f32]| powers.iter().map(|power| power.min(most)).sum::<f32>() / powers.len().max(1) as f32;
        let gate = mean(sorted) * RELATIVE;
        let counting = sorted.partition_point(|power| *power < gate);
        Some(lufs(mean(&sorted[counting..])))
    }
}
