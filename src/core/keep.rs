//! What of the spool stays on the disk, and why.
//!
//! In: how a file stands with each place that it was meant for, and the time. Out: a [`Verdict`]. Pure. Refuses to delete what any place
//! has neither confirmed nor, where a place never confirms, taken as a whole, however old it is.

use std::time::Duration;

use serde::Serialize;

/// How a file stands with one storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The storage has not confirmed it.
    Unconfirmed,
    /// The storage has it.
    Confirmed {
        /// Since when, in seconds since 1970.
        at: u64,
    },
    /// It was taken as a whole by a place that never says what it has stored.
    Delivered {
        /// Since when, in seconds since 1970.
        at: u64,
    },
    /// There is nothing that could be uploaded: the file cannot be used.
    Unusable,
}

/// How long the local copy is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// After a confirmation.
    pub confirmed: Duration,
    /// After a delivery that is never confirmed, so that somebody can look whether it is there.
    pub delivered: Duration,
}

impl Keep {
    /// The same after both.
    pub const fn both(time: Duration) -> Self {
        Self { confirmed: time, delivered: time }
    }
}

/// What becomes of the local copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It is being recorded, or was not ended yet.
    Growing,
    /// A place does not have it, as far as can be known. Never deleted.
    Unconfirmed,
    /// It holds nothing that can be used as it is, and waits for a person. Never deleted.
    Unusable,
    /// All places have it; it is kept for some time still.
    KeptUntil {
        /// Deleted then, in seconds since 1970.
        until: u64,
    },
    /// It has been kept for long enough.
    Expired,
}

/// What becomes of a file that is meant for these places. The one that asks for the longest time counts. The clock of the machine may be
/// wrong: a confirmation in the future counts from now on at most.
pub fn verdict(is_ended: bool, standings: &[Standing], keep: Keep, now: u64) -> Verdict {
    if !is_ended && !standings.contains(&Standing::Unusable) {
        return Verdict::Growing;
    }
    let mut last = None;
    for standing in standings {
        let (at, time) = match standing {
            Standing::Unconfirmed => return Verdict::Unconfirmed,
            Standing::Unusable => return Verdict::Unusable,
            Standing::Confirmed { at } => (at, keep.confirmed),
            Standing::Delivered { at } => (at, keep.delivered),
        };
        last = last.max(Some(now.min(*at).saturating_add(time.as_secs())));
    }
    // Meant for nobody: that is no confirmation.
    let Some(until) = last else { return Verdict::Unconfirmed };
    if until <= now { Verdict::Expired } else { Verdict::KeptUntil { until } }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Confirmed, Delivered, Unconfirmed, Unusable};
    use super::*;

    const DAY_S: u64 = 86_400;
    const KEEP: Keep = Keep { confirmed: Duration::from_secs(DAY_S), delivered: Duration::from_secs(7 * DAY_S) };

    #[test]
    fn only_what_everybody_has_confirmed_is_ever_deleted() {
        let long_ago = Confirmed { at: 1 };
        let now = 1_800_000_000;
        for (is_ended, standings, expected) in [
            (true, vec![long_ago], Verdict::Expired),
            (true, vec![long_ago, long_ago], Verdict::Expired),
            (true, vec![long_ago, Unconfirmed], Verdict::Unconfirmed),
            (true, vec![Unconfirmed], Verdict::Unconfirmed),
            (true, vec![], Verdict::Unconfirmed),
            (true, vec![long_ago, Unusable], Verdict::Unusable),
            (false, vec![Unusable], Verdict::Unusable),
            (false, vec![Unconfirmed], Verdict::Growing),
            (false, vec![long_ago], Verdict::Growing),
            (true, vec![long_ago, Confirmed { at: now - 86_399 }], Verdict::KeptUntil { until: now + 1 }),
            (true, vec![Confirmed { at: now - 86_400 }], Verdict::Expired),
            // The longest counts, not the last.
            (true, vec![Delivered { at: now - 6 * DAY_S }, Confirmed { at: now }], Verdict::KeptUntil { until: now + DAY_S }),
            (true, vec![Delivered { at: now - 5 * DAY_S }, long_ago], Verdict::KeptUntil { until: now + 2 * DAY_S }),
            (true, vec![Delivered { at: now - 7 * DAY_S }, long_ago], Verdict::Expired),
            (true, vec![Delivered { at: 1 }, Unconfirmed], Verdict::Unconfirmed),
            // A clock that ran ahead.
            (true, vec![Confirmed { at: now + 5_000_000 }], Verdict::KeptUntil { until: now + 86_400 }),
        ] {
            assert_eq!(verdict(is_ended, &standings, KEEP, now), expected, "{is_ended} {standings:?}");
        }
    }

    #[test]
    fn kept_for_no_time_means_until_it_is_confirmed() {
        assert_eq!(verdict(true, &[Confirmed { at: 7 }, Delivered { at: 7 }], Keep::both(Duration::ZERO), 7), Verdict::Expired);
        assert_eq!(verdict(true, &[Unconfirmed], Keep::both(Duration::ZERO), u64::MAX), Verdict::Unconfirmed);
    }
}
