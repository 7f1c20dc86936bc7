//! Whether one person speaks: loudness with hysteresis in level and in time, so that a tile's border does not flicker between words.

use std::time::Duration;

use crate::time::SessionTime;

/// From this level on somebody may speak. Quiet speech through a laptop microphone with gain control is around -35 dBFS.
pub const LOUD_DBFS: f32 = -45.0;
/// Below this level they may have stopped; between the two nothing changes.
pub const QUIET_DBFS: f32 = -50.0;
/// How long somebody must be loud before they speak: longer than a click or a cough.
pub const ATTACK: Duration = Duration::from_millis(200);
/// How long somebody must be quiet before they no longer speak: longer than a pause between words.
pub const RELEASE: Duration = Duration::from_millis(1000);
/// How long our meter's last word outweighs the Conference's hint.
pub const METER_TRUST: Duration = Duration::from_secs(2);
/// Time constant of the slow loudness by which speakers are compared.
const COMPARE_OVER: Duration = Duration::from_millis(1500);
/// Taken for silence, so that averages stay finite.
const SILENCE_DBFS: f32 = -100.0;

/// Hears one person.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    loud: bool,
    loud_changed: SessionTime,
    speaking: bool,
    metered: Option<SessionTime>,
    hinted: bool,
    slow_dbfs: f32,
}

impl Voice {
    pub(crate) fn new(now: SessionTime) -> Self {
        Self { loud: false, loud_changed: now, speaking: false, metered: None, hinted: false, slow_dbfs: SILENCE_DBFS }
    }

    /// Our own meter's word.
    pub(crate) fn meter(&mut self, dbfs: f32, now: SessionTime) {
        let dbfs = if dbfs.is_nan() { SILENCE_DBFS } else { dbfs.clamp(SILENCE_DBFS, 0.0) };
        let elapsed = self.metered.map_or(COMPARE_OVER, |before| now.since(before));
        let weight = (elapsed.as_secs_f32() / COMPARE_OVER.as_secs_f32()).min(1.0);
        self.slow_dbfs += (dbfs - self.slow_dbfs) * weight;
        self.metered = Some(now);
        if dbfs >= LOUD_DBFS {
            self.set_loud(true, now);
        } else if dbfs < QUIET_DBFS {
            self.set_loud(false, now);
        }
    }

    /// The Conference's word; counts only while our meter is silent about this person.
    pub(crate) fn hint(&mut self, speaks: bool, now: SessionTime) {
        self.hinted = speaks;
        if !self.meter_counts(now) {
            self.set_loud(speaks, now);
        }
    }

    /// Lets time pass. True when `speaking` changed.
    pub(crate) fn settle(&mut self, now: SessionTime) -> bool {
        if self.metered.is_some() && !self.meter_counts(now) {
            self.metered = None;
            self.slow_dbfs = SILENCE_DBFS;
            self.set_loud(self.hinted, now);
        }
        if self.loud == self.speaking || now.since(self.loud_changed) < self.patience() {
            return false;
        }
        self.speaking = self.loud;
        true
    }

    /// When `settle` can next change something without news from outside.
    pub(crate) fn next_change(&self) -> Option<SessionTime> {
        let settled = (self.loud != self.speaking).then(|| self.loud_changed + self.patience());
        let distrusted = self.metered.filter(|_| self.loud != self.hinted).map(|at| at + METER_TRUST);
        settled.into_iter().chain(distrusted).min()
    }

    pub(crate) fn speaking(&self) -> bool {
        self.speaking
    }

    /// Since when they have been loud (or quiet) without a break.
    pub(crate) fn loud_changed(&self) -> SessionTime {
        self.loud_changed
    }

    /// Loudness averaged over about 1.5 s.
    pub(crate) fn slow_dbfs(&self) -> f32 {
        self.slow_dbfs
    }

    fn patience(&self) -> Duration {
        if self.loud { ATTACK } else { RELEASE }
    }

    fn meter_counts(&self, now: SessionTime) -> bool {
        self.metered.is_some_and(|at| now.since(at) < METER_TRUST)
    }

    fn set_loud(&mut self, loud: bool, now: SessionTime) {
        if self.loud != loud {
            self.loud = loud;
            self.loud_changed = now;
        }
    }
}
