//! When to try again something that was lost.
//!
//! In: when it came, when it was lost. Out: when to try. Pure. Something that comes and goes at once counts as one trouble, so that a door that is shut
//! behind us each time is not knocked at twenty times a second.

use std::time::{Duration, Instant};

use crate::livekit::backoff;

/// What has lasted for so long was no part of the trouble before.
const STEADY: Duration = Duration::from_secs(10);

/// The pace of one thing's attempts.
pub(super) struct Pace {
    first: u32,
    attempt: u32,
    lost_at: Option<Instant>,
    up_since: Option<Instant>,
    jitter: u8,
}

impl Pace {
    /// The first attempt after a loss is made at once (`first` 0), or after a moment (1). `jitter` is random.
    pub(super) fn new(first: u32, jitter: u8) -> Self {
        Self { first, attempt: first, lost_at: None, up_since: None, jitter }
    }

    /// It is there.
    pub(super) fn came(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// It is lost, or an attempt failed: when to make the next.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let was_steady = self.up_since.take().is_some_and(|since| now.saturating_duration_since(since) >= STEADY);
        if was_steady {
            (self.attempt, self.lost_at) = (self.first, None);
        }
        let lost_at = *self.lost_at.get_or_insert(now);
        let wait = backoff::delay(self.attempt, now.saturating_duration_since(lost_at), self.jitter);
        self.attempt = self.attempt.saturating_add(1);
        now + wait
    }
}
