//! How long to wait before a request is tried again.
//!
//! In: how often it failed, and how. Out: a pause with jitter, so that many uploads do not return in one instant. Pure.

use std::time::Duration;

use super::trouble::Trouble;

/// First pause after a failure that may pass by itself.
const FIRST: Duration = Duration::from_millis(250);
/// Longest pause after such a failure: a storage that is back is found again within this time.
const LONGEST: Duration = Duration::from_secs(20);
/// First pause after a refusal, which somebody must mend.
const FIRST_REFUSED: Duration = Duration::from_secs(10);
/// Longest pause after a refusal.
const LONGEST_REFUSED: Duration = Duration::from_secs(60);
/// Pause before everything is sent anew for the second time.
const FIRST_ANEW: Duration = Duration::from_secs(60);
/// Longest pause before everything is sent anew.
const LONGEST_ANEW: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Pace {
    state: u64,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The pause after failure number `failures`, from 1.
    pub(super) fn pause(&mut self, trouble: &Trouble, failures: u32) -> Duration {
        let (first, longest) = if trouble.is_refusal() { (FIRST_REFUSED, LONGEST_REFUSED) } else { (FIRST, LONGEST) };
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        // From half of it to all of it.
        doubled / 2 + doubled.mul_f64(self.chance() / 2.0)
    }

    /// The pause before everything is sent anew for the `times`-th time, which is dear.
    pub(super) fn pause_anew(&self, times: u32) -> Duration {
        match times {
            0 | 1 => FIRST,
            _ => FIRST_ANEW.saturating_mul(1 << (times - 2).min(16)).min(LONGEST_ANEW),
        }
    }

    /// A number from 0 to 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::trouble::Refusal;
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_none() {
        for (trouble, first, longest) in
            [(Trouble::Unavailable, FIRST, LONGEST), (Trouble::Refused(Refusal::AccessDenied), FIRST_REFUSED, LONGEST_REFUSED)]
        {
            let mut pace = Pace::new(7);
            let pauses: Vec<_> = (1..200).map(|failures| pace.pause(&trouble, failures)).collect();
            assert!(pauses[0] >= first / 2 && pauses[0] <= first);
            assert!(pauses[20..].iter().all(|&pause| pause >= longest / 2 && pause <= longest));
            assert!(pauses[20..].windows(2).any(|pair| pair[0] != pair[1]));
        }
    }
}
