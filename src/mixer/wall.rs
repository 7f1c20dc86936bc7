//! What a clock in the picture shows.
//!
//! In: the wall-clock time at session time zero, and instants of the programme. Out: their text. It reads no clock: the mapping is made once, so that the clock runs
//! with the programme, also where the system's time is set meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use recorder_core::time::SessionTime;

use crate::clock::SessionClock;

/// Maps instants of the programme to wall-clock time in one time zone.
#[derive(Clone, Debug)]
pub struct WallClock {
    zero: Timestamp,
    zone: TimeZone,
}

impl WallClock {
    /// Session time zero was at `zero`; shown as in `zone`.
    pub fn new(zero: Timestamp, zone: TimeZone) -> Self {
        Self { zero, zone }
    }

    /// What `clock` and the system's time say now, in the system's time zone (the variable `TZ`, else `/etc/localtime`).
    pub fn of(clock: SessionClock) -> Self {
        let (now, since_zero) = (Timestamp::now(), clock.now().since(SessionTime::ZERO));
        Self { zero: now.checked_sub(since_zero).unwrap_or(now), zone: TimeZone::system() }
    }

    /// The text of a `strftime` format at an instant; `None` for a format that cannot be written.
    pub(crate) fn text(&self, format: &str, at: SessionTime) -> Option<String> {
        let time = self.zero.checked_add(at.since(SessionTime::ZERO)).ok()?.to_zoned(self.zone.clone());
        jiff::fmt::strtime::format(format, &time).ok()
    }

    /// The first instant after `at` at which a text may differ: the next whole second of wall-clock time.
    pub(crate) fn next_second(&self, at: SessionTime) -> SessionTime {
        let into_second = (self.zero.as_nanosecond() + i128::from(at.as_nanos())).rem_euclid(1_000_000_000);
        at + Duration::from_nanos(1_000_000_000 - into_second as u64)
    }
}

impl Default for WallClock {
    /// Session time zero is 1970-01-01 00:00:00 UTC.
    fn default() -> Self {
        Self { zero: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> WallClock {
        WallClock::new("2026-03-29T00:59:58.250Z".parse().unwrap(), TimeZone::get("Europe/Berlin").unwrap())
    }

    #[test]
    fn the_clock_runs_with_the_programme_also_over_a_change_to_summer_time() {
        let text = |ms: u64| clock().text("%d.%m.%Y %H:%M:%S", SessionTime::from_millis(ms)).unwrap();
        assert_eq!(text(0), "29.03.2026 01:59:58");
        assert_eq!(text(1749), "29.03.2026 01:59:59");
        assert_eq!(text(1750), "29.03.2026 03:00:00");
    }

    #[test]
    fn the_next_text_is_known_in_advance() {
        assert_eq!(clock().next_second(SessionTime::ZERO), SessionTime::from_millis(750));
        assert_eq!(clock().next_second(SessionTime::from_millis(750)), SessionTime::from_millis(1750));
    }

    #[test]
    fn a_format_that_cannot_be_written_is_no_text() {
        assert_eq!(clock().text("%H:%", SessionTime::ZERO), None);
        assert_eq!(clock().text("%é", SessionTime::ZERO), None);
        assert_eq!(clock().text("Uhr", SessionTime::ZERO).as_deref(), Some("Uhr"));
    }
}
