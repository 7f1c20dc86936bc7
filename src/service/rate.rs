//! How fast a count rises.
//!
//! In: totals, and the time. Out: how many a second since the question before. Pure; zero at the first question.

use std::time::Instant;

/// Pictures a second since the last question.
#[derive(Default)]
pub(super) struct RateMeter {
    last: Option<(u64, Instant)>,
}

impl RateMeter {
    /// `count` is the total so far.
    pub(super) fn per_second(&mut self, count: u64, now: Instant) -> f32 {
        let rate = self.last.map_or(0.0, |(before, then)| {
            let seconds = now.duration_since(then).as_secs_f32();
            if seconds > 0.0 { (count.saturating_sub(before)) as f32 / seconds } else { 0.0 }
        });
        self.last = Some((count, now));
        rate
    }
}
