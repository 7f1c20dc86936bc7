//! The smallest value of the last ten seconds, in constant memory.

use std::collections::VecDeque;

use crate::time::SessionTime;

/// How far back the minimum looks. Long enough that a burst of jitter is always beside a moment without; short enough that a
/// clock that drifts by 100 ppm is off by 1 ms only.
const SPAN_NS: u64 = 10_000_000_000;

/// Values of one bucket are merged, so that the memory does not depend on how many frames arrive.
const BUCKET_NS: u64 = 250_000_000;

/// A sliding minimum of offsets in nanoseconds: a monotonic queue over buckets, at most `SPAN_NS / BUCKET_NS + 1` entries.
#[derive(Debug, Default)]
pub(super) struct SlidingMin {
    /// Bucket number and its minimum; both grow from front to back.
    buckets: VecDeque<(u64, i64)>,
    /// The newest bucket that was seen; time that goes back is counted to it.
    newest: u64,
}

impl SlidingMin {
    /// Takes a value that was measured at `now`.
    pub(super) fn push(&mut self, now: SessionTime, value: i64) {
        let bucket = (now.as_nanos() / BUCKET_NS).max(self.newest);
        self.newest = bucket;
        while self.buckets.front().is_some_and(|&(b, _)| b + SPAN_NS / BUCKET_NS < bucket) {
            self.buckets.pop_front();
        }
        if self.buckets.back().is_some_and(|&(b, v)| b == bucket && v <= value) {
            return;
        }
        while self.buckets.back().is_some_and(|&(_, v)| v >= value) {
            self.buckets.pop_back();
        }
        self.buckets.push_back((bucket, value));
    }

    /// The smallest value of the window, `None` before the first.
    pub(super) fn min(&self) -> Option<i64> {
        self.buckets.front().map(|&(_, v)| v)
    }

    /// Entries held, for the tests of memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_leaves_after_ten_seconds() {
        let mut window = SlidingMin::default();
        window.push(SessionTime::from_millis(1_000), -5);
        for ms in (1_020..10_900).step_by(20) {
            window.push(SessionTime::from_millis(ms), 7);
            assert_eq!(window.min(), Some(-5), "at {ms} ms");
        }
        window.push(SessionTime::from_millis(11_300), 9);
        assert_eq!(window.min(), Some(7));
    }

    #[test]
    fn it_equals_a_slow_minimum_in_constant_memory() {
        let mut window = SlidingMin::default();
        let mut all: Vec<(u64, i64)> = Vec::new();
        let mut seed = 1_u64;
        for n in 0..5_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (seed >> 40) as i64;
            let ms = n * 20;
            window.push(SessionTime::from_millis(ms), value);
            all.push((ms / 250, value));
            let slow = all.iter().filter(|(b, _)| b + 40 >= ms / 250).map(|&(_, v)| v).min();
            assert_eq!(window.min(), slow, "at {ms} ms");
            assert!(window.len() <= 41);
        }
    }
}
