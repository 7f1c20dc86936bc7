//! Keeps those who sound together in balance: several who speak at once, and speech over the sound of a shared screen.

use super::LevelSettings;
use super::level::{Pace, Slide, Swell};

/// How fast people make room for each other: slowly enough not to be heard as such.
const ROOM_PACE: Pace = Pace { up: 3.0, down: 6.0 };

/// More people than this (9 dB) are left to the limiter.
const MOST_PEOPLE: usize = 8;

/// The gains of all microphones and of all shared screens, beside each Track's own.
pub(super) struct Balance {
    settings: LevelSettings,
    people: Slide,
    screens: Slide,
}

impl Balance {
    pub(super) fn new(settings: LevelSettings) -> Self {
        Self { settings, people: Slide::new(), screens: Slide::new() }
    }

    /// The gains of microphones and of screens for the next `samples`, in which so many people speak. Two voices have twice the power of one: both
    /// are turned down by 3 dB, four by 6 dB, so that the programme stays as loud as it was.
    pub(super) fn next(&mut self, speaking: usize, samples: usize) -> (Swell, Swell) {
        let people = match self.settings.speech_lufs {
            Some(_) => self.people.towards(-10.0 * (speaking.clamp(1, MOST_PEOPLE) as f32).log10(), ROOM_PACE, samples),
            None => Swell::NONE,
        };
        let depth = self.settings.duck_db;
        let pace = Pace { up: pace(depth, self.settings.duck_release), down: pace(depth, self.settings.duck_attack) };
        let screens = self.screens.towards(if speaking > 0 { -depth } else { 0.0 }, pace, samples);
        (people, screens)
    }
}

/// The pace that goes `depth_db` in `time`.
fn pace(depth_db: f32, time: std::time::Duration) -> f32 {
    depth_db / time.as_secs_f32().max(0.01)
}
