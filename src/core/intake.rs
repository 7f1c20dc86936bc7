//! Which messages of a queue this service takes, and when it connects again.
//!
//! In: how many Sessions may still begin here, what was seen of the queue, and the time. Out: a [`Post`], and whether to take a message only to say that nobody
//! can serve it. Pure: it knows no broker and reads no clock; its random numbers come from a seed.
//!
//! Services share a queue and do not know of each other. One with a free slot consumes; one without does not, so that what comes waits for the others. When all
//! are full nobody would say so, and whoever pressed the button waits in vain. So a full service watches the queue: once messages have waited for
//! [`PATIENCE`] and in all that time nobody consumed, it takes one after the other, until none is left or somebody consumes again.

use std::time::Duration;

use crate::dice::Dice;
use crate::time::SessionTime;

/// So long a message waits for a service with a free slot. Whoever pressed the button is to know within two seconds, and half of that is the way into the room.
pub const PATIENCE: Duration = Duration::from_millis(900);
/// How often a full service looks at the queue.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Nothing is taken for so long after an Order that was not wanted here.
pub const STUMBLE: Duration = Duration::from_secs(1);
/// First pause before a lost connection is made again.
const FIRST: Duration = Duration::from_millis(200);
/// Longest such pause: a broker that is back is found again within this time.
const LONGEST: Duration = Duration::from_secs(5);

/// What this service does at the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Post {
    /// Nothing.
    Away,
    /// Takes what comes.
    Consume,
    /// Looks whether anybody does.
    Watch,
}

/// What this service takes.
#[derive(Debug, Default)]
pub struct Intake {
    free: Option<u32>,
    /// Since when messages have been seen to wait without anybody who consumes.
    waiting_since: Option<SessionTime>,
    stumbled_until: SessionTime,
}

impl Intake {
    /// So many Sessions may still begin here. Until the first time nothing is taken.
    pub fn set_free(&mut self, slots: u32) {
        if self.free != Some(slots) {
            self.waiting_since = None;
        }
        self.free = Some(slots);
    }

    /// An Order was taken and then not wanted: another one is better off elsewhere for a moment.
    pub fn stumbled(&mut self, now: SessionTime) {
        self.stumbled_until = now + STUMBLE;
    }

    /// What to do at the queue.
    pub fn post(&self, now: SessionTime) -> Post {
        match self.free {
            None => Post::Away,
            Some(_) if now < self.stumbled_until => Post::Away,
            Some(0) => Post::Watch,
            Some(_) => Post::Consume,
        }
    }

    /// A full service has looked at the queue: so many messages wait there, and so many others consume. Whether it takes one to refuse it.
    pub fn saw(&mut self, messages: u32, consumers: u32, now: SessionTime) -> bool {
        if messages == 0 || consumers > 0 || self.free != Some(0) {
            self.waiting_since = None;
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        now.since(since) >= PATIENCE
    }
}

/// When a lost connection is made again.
#[derive(Debug)]
pub struct Reconnect {
    failures: u32,
    dice: Dice,
}

impl Reconnect {
    /// With a seed that differs from other services'.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, dice: Dice::new(seed) }
    }

    /// The connection is there.
    pub fn connected(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after another failure.
    pub fn pause(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.dice.between(pause / 2, pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::at;

    #[test]
    fn whoever_has_slots_consumes_and_whoever_has_none_watches() {
        let mut intake = Intake::default();
        assert_eq!(intake.post(at(0)), Post::Away);
        intake.set_free(3);
        assert_eq!(intake.post(at(0)), Post::Consume);
        intake.set_free(0);
        assert_eq!(intake.post(at(0)), Post::Watch);
        intake.set_free(1);
        intake.stumbled(at(5000));
        assert_eq!(intake.post(at(5999)), Post::Away);
        assert_eq!(intake.post(at(6000)), Post::Consume);
    }

    #[test]
    fn messages_are_refused_only_after_they_waited_for_somebody_else() {
        let mut intake = Intake::default();
        intake.set_free(0);
        let mut look = |ms, messages, consumers| intake.saw(messages, consumers, at(ms));
        assert!(!look(0, 4, 0));
        assert!(!look(899, 4, 0));
        assert!(look(900, 4, 0));
        // The others have waited as long, or came when nobody was to be had.
        assert!(look(910, 3, 0));
        // None is left: the next one waits again.
        assert!(!look(1150, 0, 0));
        assert!(!look(1400, 1, 0));
        // Somebody with a free slot is there.
        assert!(!look(2250, 1, 1));
        assert!(!look(2500, 1, 0));
        assert!(!look(3399, 1, 0));
        assert!(look(3400, 1, 0));
    }

    #[test]
    fn a_slot_that_was_free_for_a_moment_begins_the_wait_anew() {
        let mut intake = Intake::default();
        intake.set_free(0);
        assert!(!intake.saw(1, 0, at(0)));
        intake.set_free(1);
        assert!(!intake.saw(1, 0, at(2000)));
        intake.set_free(0);
        assert!(!intake.saw(1, 0, at(2250)));
        assert!(!intake.saw(1, 0, at(3149)));
        assert!(intake.saw(1, 0, at(3150)));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let mut reconnect = Reconnect::new(7);
        let pauses: Vec<_> = (0..100).map(|_| reconnect.pause()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses[10..].iter().all(|&pause| pause >= LONGEST / 2 && pause <= LONGEST));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
        reconnect.connected();
        assert!(reconnect.pause() <= FIRST);
    }
}
