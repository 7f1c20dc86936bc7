//! When to try again after a connection is lost.
//!
//! In: how many attempts there were, and how long ago the loss was. Out: how long to wait. Pure.
//! A server that restarts is found again within two seconds of its return in the first half minute, later within a quarter of one.

use std::time::Duration;

/// Time to wait before attempt number `attempt` (0 is the first after the loss), `lost_for` after the loss. `jitter` is random in 0..=255,
/// so that many recorders do not return in one instant.
pub fn delay(attempt: u32, lost_for: Duration, jitter: u8) -> Duration {
    let base_ms: u64 = match (attempt, lost_for.as_secs()) {
        (0, _) => 0,
        (1, _) => 300,
        (2, _) => 600,
        (3, _) => 1000,
        (_, 0..30) => 1700,
        (_, 30..300) => 5000,
        _ => 12_000,
    };
    Duration::from_millis(base_ms + base_ms * u64::from(jitter) * 17 / 25_500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_never_more_than_two_seconds_apart_in_the_first_half_minute() {
        let mut lost_for = Duration::ZERO;
        for attempt in 0.. {
            let wait = delay(attempt, lost_for, 255);
            assert!(attempt == 0 || wait >= Duration::from_millis(300));
            if lost_for < Duration::from_secs(30) {
                assert!(wait <= Duration::from_secs(2), "{wait:?}");
            } else {
                assert!(wait <= Duration::from_secs(15), "{wait:?}");
            }
            lost_for += wait;
            if lost_for > Duration::from_secs(3600) {
                break;
            }
        }
    }
}
