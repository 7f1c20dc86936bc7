//! The instants at which the programme has pictures and samples.

use recorder_core::scene::CanvasSize;
use recorder_core::time::SessionTime;

/// Picture `n` and sample `n` of a programme, counted from its first instant, as exact session times (rounded down to a nanosecond).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Size of the canvas.
    pub canvas: CanvasSize,
    /// Pictures a second.
    pub fps: u32,
    /// The first instant; picture 0 and sample 0.
    pub first: SessionTime,
}

impl Grid {
    /// The instant that picture `n` shows.
    pub fn picture(&self, n: u64) -> SessionTime {
        self.first.offset((u128::from(n) * 1_000_000_000 / u128::from(self.fps.max(1))) as i64)
    }

    /// The instant of sample `n` at 48 kHz; negative before the first instant.
    pub fn sample(&self, n: i64) -> SessionTime {
        self.first.offset((i128::from(n) * 1_000_000_000).div_euclid(48_000) as i64)
    }

    /// The number of the first picture at or after `at`.
    pub fn picture_at_or_after(&self, at: SessionTime) -> u64 {
        let ns = u128::from(at.as_nanos().saturating_sub(self.first.as_nanos()));
        let n = (ns * u128::from(self.fps) / 1_000_000_000) as u64;
        if self.picture(n) >= at { n } else { n + 1 }
    }

    /// How many samples there are before `at`, rounded up.
    pub fn samples_before(&self, at: SessionTime) -> u64 {
        let ns = u128::from(at.as_nanos().saturating_sub(self.first.as_nanos()));
        (ns * 48_000).div_ceil(1_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_hours_of_pictures_and_samples_never_drift() {
        let canvas = CanvasSize { width_px: 16, height_px: 16 };
        let grid = Grid { canvas, fps: 30, first: SessionTime::from_millis(7) };
        let hours = 12 * 3600;
        assert_eq!(grid.picture(30 * hours), SessionTime::from_millis(hours * 1000 + 7));
        assert_eq!(grid.sample(48_000 * hours as i64), SessionTime::from_millis(hours * 1000 + 7));
        for n in [0, 1, 2, 29, 30, 31, 1_000_001] {
            assert_eq!(grid.picture_at_or_after(grid.picture(n)), n);
            assert_eq!(grid.picture_at_or_after(grid.picture(n).offset(1)), n + 1);
        }
        assert_eq!(grid.samples_before(SessionTime::from_millis(1007)), 48_000);
    }
}
