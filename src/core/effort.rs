//! How much effort the picture encoder makes: less before pictures must be left out, more again when the machine has room.
//!
//! In: how many pictures wait for the encoder, at each tick, and the time. Out: another [`Effort`], whenever one is due. Pure: the time comes in as a
//! parameter. It changes nothing by itself: a change costs a new encoder and a keyframe, so it is slow to ask for one.
//!
//! The rule. One step down when at least [`WAITING`] pictures have waited at each tick for [`BUSY`]; the next not before [`SETTLE`] has passed. One step up
//! when nothing but the newest picture has waited for [`CALM`]; each step up that is regretted within that time doubles the wait for the next, up to
//! [`LONGEST_CALM`].

use std::time::Duration;

use crate::time::SessionTime;

/// So many pictures that wait at a tick are too many. One may wait: it has just been handed over.
pub const WAITING: u64 = 2;
/// For so long they must have waited.
pub const BUSY: Duration = Duration::from_millis(300);
/// What a step changes shows only after this time.
pub const SETTLE: Duration = Duration::from_secs(2);
/// So long nothing has waited before more effort is tried.
pub const CALM: Duration = Duration::from_secs(20);
/// However often that was regretted.
pub const LONGEST_CALM: Duration = Duration::from_secs(320);

/// How hard the encoder tries to make small packets look good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Effort {
    /// As little as is possible with the same codec headers.
    Least,
    /// Less.
    Less,
    /// What quality asks for.
    #[default]
    Full,
}

impl Effort {
    fn down(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Less),
            Self::Less => Some(Self::Least),
            Self::Least => None,
        }
    }

    fn up(self) -> Option<Self> {
        match self {
            Self::Full => None,
            Self::Less => Some(Self::Full),
            Self::Least => Some(Self::Less),
        }
    }
}

/// Watches one encoder.
#[derive(Clone, Debug)]
pub struct EffortControl {
    effort: Effort,
    /// Since when too many have waited at each tick.
    busy_since: Option<SessionTime>,
    /// Since when none has waited.
    calm_since: Option<SessionTime>,
    changed: Option<(SessionTime, Direction)>,
    calm: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Up,
    Down,
}

impl Default for EffortControl {
    fn default() -> Self {
        Self { effort: Effort::Full, busy_since: None, calm_since: None, changed: None, calm: CALM }
    }
}

impl EffortControl {
    /// Looks at how many pictures wait at a tick. `Some` when the encoder is to make another effort from now on.
    pub fn look(&mut self, waiting: u64, now: SessionTime) -> Option<Effort> {
        let is_busy = waiting >= WAITING;
        self.busy_since = if is_busy { self.busy_since.or(Some(now)) } else { None };
        self.calm_since = if is_busy { None } else { self.calm_since.or(Some(now)) };
        if self.changed.is_some_and(|(at, _)| now.since(at) < SETTLE) {
            return None;
        }
        let lasted = |since: Option<SessionTime>, time: Duration| since.is_some_and(|since| now.since(since) >= time);
        if lasted(self.busy_since, BUSY) {
            let lower = self.effort.down()?;
            if self.changed.is_some_and(|(at, direction)| direction == Direction::Up && now.since(at) < self.calm) {
                self.calm = (self.calm * 2).min(LONGEST_CALM);
            }
            return Some(self.change(lower, Direction::Down, now));
        }
        if lasted(self.calm_since, self.calm) {
            let higher = self.effort.up()?;
            return Some(self.change(higher, Direction::Up, now));
        }
        None
    }

    fn change(&mut self, effort: Effort, direction: Direction, now: SessionTime) -> Effort {
        self.effort = effort;
        self.changed = Some((now, direction));
        (self.busy_since, self.calm_since) = (None, None);
        effort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encoder on a machine: with how much effort it keeps up is said per second. Returns the seconds at which the effort changed.
    fn play(control: &mut EffortControl, seconds: std::ops::Range<u64>, keeps_up_with: Effort) -> Vec<(u64, Effort)> {
        let mut changes = vec![];
        for tick in seconds.start * 30..seconds.end * 30 {
            let now = SessionTime::from_millis(tick * 1000 / 30);
            let waiting = if control.effort <= keeps_up_with { 1 } else { 4 };
            if let Some(effort) = control.look(waiting, now) {
                changes.push((tick / 30, effort));
            }
        }
        changes
    }

    #[test]
    fn a_machine_with_room_is_left_alone() {
        let mut control = EffortControl::default();
        assert_eq!(play(&mut control, 0..3600, Effort::Full), []);
    }

    #[test]
    fn a_hiccup_is_no_reason() {
        let mut control = EffortControl::default();
        for tick in 0..10_000_u64 {
            let waiting = if tick % 100 < 8 { 5 } else { 0 };
            assert_eq!(control.look(waiting, SessionTime::from_millis(tick * 33)), None, "tick {tick}");
        }
    }

    #[test]
    fn it_steps_down_as_far_as_it_must_and_up_again() {
        let mut control = EffortControl::default();
        assert_eq!(play(&mut control, 0..10, Effort::Least), [(0, Effort::Less), (2, Effort::Least)]);
        assert_eq!(play(&mut control, 10..60, Effort::Full), [(22, Effort::Less), (42, Effort::Full)]);
    }

    #[test]
    fn what_was_regretted_is_tried_less_and_less_often() {
        let mut control = EffortControl::default();
        let changes = play(&mut control, 0..1500, Effort::Less);
        let tried: Vec<u64> = changes.iter().filter(|(_, effort)| *effort == Effort::Full).map(|(second, _)| *second).collect();
        let waits: Vec<u64> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits, [42, 82, 162, 322, 322, 322], "{changes:?}");
        assert_eq!(control.effort, Effort::Less);
    }
}
