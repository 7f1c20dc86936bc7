//! Reads the session clock: CLOCK_MONOTONIC minus the epoch that the supervisor fixed. Cheap, shareable, never goes back.

use recorder_core::time::SessionTime;

/// The session clock of one Session.
#[derive(Clone, Copy, Debug)]
pub struct SessionClock {
    epoch_ns: u64,
}

impl SessionClock {
    /// A clock whose zero is now; only the supervisor does this, once a Session.
    pub fn start() -> Self {
        Self { epoch_ns: monotonic_ns() }
    }

    /// The clock that a supervisor started: `epoch_ns` is CLOCK_MONOTONIC in nanoseconds, valid on this machine until it reboots. A Session that is older
    /// than the machine's life has one below zero, which wraps.
    pub fn with_epoch(epoch_ns: u64) -> Self {
        Self { epoch_ns }
    }

    /// CLOCK_MONOTONIC at session time zero, in nanoseconds.
    pub fn epoch_ns(self) -> u64 {
        self.epoch_ns
    }

    /// Now.
    pub fn now(self) -> SessionTime {
        // Before the epoch it is zero.
        SessionTime::from_nanos(monotonic_ns().wrapping_sub(self.epoch_ns).cast_signed().max(0).cast_unsigned())
    }

    /// The session time of a [`std::time::Instant`] (which reads the same clock).
    pub fn at(self, instant: std::time::Instant) -> SessionTime {
        let now = std::time::Instant::now();
        let here = self.now();
        match now.checked_duration_since(instant) {
            Some(ago) => here - ago,
            None => here + instant.duration_since(now),
        }
    }
}

/// CLOCK_MONOTONIC, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    // CLOCK_MONOTONIC cannot fail on Linux; the zero would only make session time stand still.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(|t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_older_than_the_machine_goes_on_in_its_time() {
        let now = monotonic_ns();
        let older = SessionClock::with_epoch(now.wrapping_sub(u64::from(u32::MAX) * 1_000_000_000));
        assert!(older.now() >= SessionTime::from_nanos(u64::from(u32::MAX) * 1_000_000_000));
        assert_eq!(SessionClock::with_epoch(now + 3_600_000_000_000).now(), SessionTime::ZERO);
    }
}
