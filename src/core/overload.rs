//! Whether the machine keeps up with the programme, and when that is worth telling a moderator.
//!
//! In: how many pictures were due and left out so far, how late the programme is, and the time. Out: a [`Fault`] when an episode begins, and one when
//! it is over. Pure: the time comes in as a parameter. It changes nothing: pictures are left out by whoever makes them.
//!
//! The rule. An episode begins when the programme is [`LATE`] late, when no picture came due in a window of [`WINDOW`], or when at least one picture in
//! [`MANY_ONE_IN`] was left out in one. Lag alone does not show a slow machine, because leaving pictures out bounds it. An episode is over after [`CALM`] in
//! which each window had fewer than one picture in [`FEW_ONE_IN`] left out and was never more than half of [`LATE`] late. So a machine at its limit is told
//! of once, not each time that it breathes.

use std::time::Duration;

use crate::fault::{Blame, Fault, Retry, Scope};
use crate::time::SessionTime;

/// A programme so late is told of at once.
pub const LATE: Duration = Duration::from_secs(2);
/// Left out pictures are counted over this time.
pub const WINDOW: Duration = Duration::from_secs(2);
/// At least one picture in so many left out: an episode begins.
pub const MANY_ONE_IN: u64 = 4;
/// Fewer than one picture in so many left out: the window was calm.
pub const FEW_ONE_IN: u64 = 20;
/// Calm for this long: the episode is over.
pub const CALM: Duration = Duration::from_secs(10);

/// How the making of the programme goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Pictures whose turn has come since the beginning, left out or not.
    pub due: u64,
    /// Of these, left out because the machine was too slow.
    pub left_out: u64,
    /// How late the programme is now.
    pub lag: Duration,
}

/// Watches one programme.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    window: Option<Window>,
    episode: Option<Episode>,
}

/// What is counted now.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: SessionTime,
    at_first: Load,
    worst_lag: Duration,
}

/// The machine is too slow.
#[derive(Clone, Copy, Debug)]
struct Episode {
    since: SessionTime,
    left_out_before: u64,
    calm_since: Option<SessionTime>,
}

impl Overload {
    /// Looks at how it goes; call it about once a second while a programme is made. Says what the moderator is to be told.
    pub fn look(&mut self, load: Load, now: SessionTime) -> Option<Fault> {
        let Some(window) = &mut self.window else {
            // Nothing is late before the first picture.
            self.window = (load.due > 0).then_some(Window { since: now, at_first: load, worst_lag: load.lag });
            return None;
        };
        window.worst_lag = window.worst_lag.max(load.lag);
        let seen = *window;
        let watched = now.since(seen.since);
        let is_whole = watched >= WINDOW;
        if is_whole {
            *window = Window { since: now, at_first: load, worst_lag: load.lag };
        }
        let due = load.due.saturating_sub(seen.at_first.due);
        let left_out = load.left_out.saturating_sub(seen.at_first.left_out);
        let Some(episode) = &mut self.episode else {
            let complaint = complaint(load.lag, is_whole.then_some((due, left_out, watched)))?;
            self.episode = Some(Episode { since: seen.since, left_out_before: seen.at_first.left_out, calm_since: None });
            return Some(told(format!("This machine is too slow: {complaint}. The sound is complete.")));
        };
        if is_whole {
            let calm = due > 0 && left_out * FEW_ONE_IN < due && seen.worst_lag < LATE / 2;
            episode.calm_since = if calm { episode.calm_since.or(Some(seen.since)) } else { None };
        }
        let calm_since = episode.calm_since.filter(|since| now.since(*since) >= CALM)?;
        let (seconds, lost) =
            (calm_since.since(episode.since).as_secs().max(1), load.left_out.saturating_sub(episode.left_out_before));
        self.episode = None;
        Some(told(format!("This machine keeps up again; {lost} pictures were left out in {seconds} seconds.")))
    }
}

/// What is wrong, if anything; `counted` has the pictures due and left out of a whole window, and how long it was.
fn complaint(lag: Duration, counted: Option<(u64, u64, Duration)>) -> Option<String> {
    if lag >= LATE {
        return Some(format!("the programme is {:.1} seconds late", lag.as_secs_f32()));
    }
    match counted? {
        (0, _, watched) => Some(format!("no picture was made for {:.0} seconds", watched.as_secs_f32())),
        (due, left_out, watched) if left_out * MANY_ONE_IN >= due => {
            Some(format!("it left out {} of {due} pictures in {:.0} seconds", left_out.min(due), watched.as_secs_f32()))
        }
        _ => None,
    }
}

/// Whoever runs the machine can mend it; meanwhile the Session goes on.
fn told(sentence: String) -> Fault {
    Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::After(Duration::ZERO), sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A programme of 30 pictures a second that is looked at each second.
    #[derive(Default)]
    struct Play {
        overload: Overload,
        second: u64,
        load: Load,
        told: Vec<(u64, String)>,
    }

    impl Play {
        /// So many seconds in which `left_out` of 30 pictures were left out.
        fn run(&mut self, seconds: u64, left_out: u64, lag_ms: u64) -> &mut Self {
            for _ in 0..seconds {
                self.load.left_out += left_out;
                self.load.due += 30;
                self.stand(1, lag_ms);
            }
            self
        }

        /// So many seconds in which no picture was due.
        fn stand(&mut self, seconds: u64, lag_ms: u64) -> &mut Self {
            for _ in 0..seconds {
                self.second += 1;
                self.load.lag = Duration::from_millis(lag_ms);
                let told = self.overload.look(self.load, SessionTime::from_millis(self.second * 1000));
                self.told.extend(told.map(|fault| (self.second, fault.sentence)));
            }
            self
        }

        fn expect(&self, told: &[(u64, &str)]) {
            let expected: Vec<_> = told.iter().map(|(second, sentence)| (*second, (*sentence).to_owned())).collect();
            assert_eq!(self.told, expected);
        }
    }

    #[test]
    fn a_machine_that_keeps_up_is_never_told_of() {
        let mut play = Play::default();
        // Nothing is made for long before the room lets us in; then an hour with a hiccup each minute.
        play.stand(100, 0);
        (0..60).for_each(|_| {
            play.run(58, 0, 30).run(1, 7, 1500).run(1, 0, 200);
        });
        play.expect(&[]);
    }

    #[test]
    fn a_considerable_share_of_pictures_left_out_is_told_once_and_so_is_the_end() {
        let mut play = Play::default();
        play.run(11, 0, 30).run(60, 12, 150);
        let began = (13, "This machine is too slow: it left out 24 of 60 pictures in 2 seconds. The sound is complete.");
        play.expect(&[began]);
        // A little less is no end of it, and neither is a breath of nine seconds.
        play.run(60, 4, 100).run(9, 0, 30).run(3, 12, 150);
        play.expect(&[began]);
        play.run(30, 0, 30);
        let lost = 60 * 12 + 60 * 4 + 3 * 12;
        let over = format!("This machine keeps up again; {lost} pictures were left out in 132 seconds.");
        play.expect(&[began, (153, &over)]);
        play.run(100, 0, 30).run(5, 30, 150);
        assert_eq!(play.told.len(), 3, "the next episode is told of again");
    }

    #[test]
    fn a_late_programme_is_told_at_once_and_a_standstill_after_two_seconds() {
        let mut play = Play::default();
        play.run(4, 0, 1999).run(3, 0, 2400);
        play.expect(&[(5, "This machine is too slow: the programme is 2.4 seconds late. The sound is complete.")]);
        let mut play = Play::default();
        play.run(5, 0, 30).stand(10, 30);
        play.expect(&[(7, "This machine is too slow: no picture was made for 2 seconds. The sound is complete.")]);
    }

    #[test]
    fn a_programme_that_stays_late_does_not_count_as_mended() {
        let mut play = Play::default();
        play.run(4, 0, 2500).run(100, 0, 1200);
        assert_eq!(play.told.len(), 1);
        play.run(30, 0, 900);
        assert_eq!(play.told.len(), 2);
    }

    #[test]
    fn a_look_that_comes_late_judges_the_time_that_has_passed() {
        let mut overload = Overload::default();
        let mut look =
            |ms, due, left_out| overload.look(Load { due, left_out, lag: Duration::ZERO }, SessionTime::from_millis(ms));
        assert_eq!(look(0, 1, 0), None);
        assert_eq!(look(60_000, 1_801, 449), None);
        assert!(look(61_999, 1_860, 500).is_none() && look(62_000, 1_861, 500).is_some());
    }
}
