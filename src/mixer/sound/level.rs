//! Makes everybody equally loud: a slow gain for each Track, that moves only while its person speaks.
//!
//! In: what a Track brought, when it is decoded ([`Leveller::listen`]); what of it is played, a mixer delay later ([`Leveller::swell`]). So the gain is on its
//! way when the first word is played. Out: the same sound, louder or quieter by at most [`LOUDER_DB`] and [`QUIETER_DB`], without a step.
//!
//! What it refuses to do: to move in pauses, which would bring up the background; to bring up the background of a bad microphone above
//! [`BACKGROUND_DB`]; to touch what is no speech (a tone keeps its level to the bit). Made-up sound is not listened to.

use super::speech::{HOP, SpeechMeter, Subject};
use super::weighting::Weighting;

/// The bounds of a person's gain.
const LOUDER_DB: f32 = 24.0;
const QUIETER_DB: f32 = -12.0;

/// The background of a microphone is brought up to this much below the wanted loudness at most.
const BACKGROUND_DB: f32 = -20.0;

/// Seconds of speech in which somebody is new, and brought to the wanted loudness faster.
const NEW_S: f32 = 3.0;

/// How fast a gain rises and falls, in dB a second: of somebody new, of somebody known, and of a shared screen, whose music must not pump.
const NEW_PACE: Pace = Pace { up: 9.0, down: 12.0 };
const KNOWN_PACE: Pace = Pace { up: 3.0, down: 6.0 };
const SCREEN_PACE: Pace = Pace { up: 1.0, down: 6.0 };

/// From the beginning of a block to its end, and to the next one's.
const BLOCK_NS: i64 = 400_000_000;
const STEP_NS: i64 = 100_000_000;

/// Pauses between words are shorter.
const WORDS_NS: i64 = 500_000_000;

/// dB a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) up: f32,
    pub(super) down: f32,
}

/// A gain at the beginning and behind the end of a piece; between them it moves linearly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Swell {
    pub(super) from: f32,
    pub(super) to: f32,
}

impl Swell {
    /// Nothing is changed.
    pub(super) const NONE: Self = Self { from: 1.0, to: 1.0 };

    /// Both, one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        Self { from: self.from * other.from, to: self.to * other.to }
    }

    /// Multiplies.
    pub(super) fn apply(self, left: &mut [f32], right: &mut [f32]) {
        if self == Self::NONE {
            return;
        }
        let step = (self.to - self.from) / left.len().max(1) as f32;
        for (n, (l, r)) in left.iter_mut().zip(right).enumerate() {
            let gain = self.from + step * n as f32;
            *l *= gain;
            *r *= gain;
        }
    }
}

/// A gain that goes where it is wanted at a bounded pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    db: f32,
    gain: f32,
}

impl Slide {
    pub(super) fn new() -> Self {
        Self { db: 0.0, gain: 1.0 }
    }

    /// Goes towards `wanted_db` for `samples`.
    pub(super) fn towards(&mut self, wanted_db: f32, pace: Pace, samples: usize) -> Swell {
        let from = self.gain;
        if wanted_db != self.db {
            let seconds = samples as f32 / super::SAMPLE_RATE_HZ as f32;
            self.db = wanted_db.clamp(self.db - pace.down * seconds, self.db + pace.up * seconds);
            self.gain = 10_f32.powf(self.db / 20.0);
        }
        Swell { from, to: self.gain }
    }

    /// Stays.
    pub(super) fn hold(&self) -> Swell {
        Swell { from: self.gain, to: self.gain }
    }
}

/// The level of one Track.
#[derive(Clone)]
pub(super) struct Leveller {
    subject: Subject,
    weighting: Weighting,
    meter: SpeechMeter,
    /// How loud the person is, in LUFS, once known.
    loudness: Option<f32>,
    /// Energy and samples of the hop that is not complete.
    energy: f64,
    samples: usize,
    /// The newest stretch that counts, in capture time: the gain moves within it.
    from_ns: i64,
    until_ns: i64,
    slide: Slide,
}

impl Leveller {
    /// The level of somebody who has not been heard.
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            weighting: Weighting::default(),
            meter: SpeechMeter::new(subject),
            loudness: None,
            energy: 0.0,
            samples: 0,
            from_ns: i64::MIN,
            until_ns: i64::MIN,
            slide: Slide::new(),
        }
    }

    /// Listens to what was captured from `capture_ns` on.
    pub(super) fn listen(&mut self, interleaved: &[f32], stereo: bool, capture_ns: i64) {
        let mut rest = interleaved;
        let mut heard = 0;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(2 * (HOP - self.samples)));
            rest = behind;
            self.energy += self.weighting.energy(piece, stereo);
            self.samples += piece.len() / 2;
            heard += piece.len() / 2;
            if self.samples < HOP {
                return;
            }
            let power = (self.energy / HOP as f64) as f32;
            (self.energy, self.samples) = (0.0, 0);
            if self.meter.hop(power) {
                self.counted(capture_ns + super::samples_to_ns(heard as u64));
            }
        }
    }

    /// A block that counts ended at `end_ns`.
    fn counted(&mut self, end_ns: i64) {
        // A stretch that ended long ago has been played, or nearly.
        if self.until_ns < end_ns - WORDS_NS || self.from_ns > end_ns {
            self.from_ns = end_ns - BLOCK_NS;
        }
        self.until_ns = end_ns;
        self.loudness = self.meter.loudness();
    }

    /// Whether the person speaks at this instant, or did just before.
    pub(super) fn speaks(&self, at_ns: i64) -> bool {
        self.subject == Subject::Speech && (self.from_ns..self.until_ns.saturating_add(WORDS_NS)).contains(&at_ns)
    }

    /// The gain of the `samples` that were captured from `at_ns` on, for a programme that is to be `wanted_lufs` loud.
    pub(super) fn swell(&mut self, at_ns: i64, samples: usize, wanted_lufs: f32) -> Swell {
        if !(self.from_ns..self.until_ns.saturating_add(STEP_NS)).contains(&at_ns) {
            return self.slide.hold();
        }
        let Some(loudness) = self.loudness else { return self.slide.hold() };
        let wanted = wanted_lufs - loudness;
        let (wanted, pace) = match self.subject {
            Subject::Sound => (wanted.clamp(QUIETER_DB, 0.0), SCREEN_PACE),
            Subject::Speech => {
                let most = (wanted_lufs + BACKGROUND_DB - self.meter.background()).clamp(0.0, LOUDER_DB);
                let pace = if self.meter.heard_s() < NEW_S { NEW_PACE } else { KNOWN_PACE };
                (wanted.clamp(QUIETER_DB, most), pace)
            }
        };
        self.slide.towards(wanted, pace, samples)
    }
}
