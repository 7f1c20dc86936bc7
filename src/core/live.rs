//! One live destination: when to connect, when to give a connection up, and what is told about it.
//!
//! In: what the connection did ([`Input`]), and the time. Out: [`Action`]s. Pure: it opens no connection and reads no clock; its random numbers come
//! from a seed that is given to it. How much may be on the way, and when pictures are left out, is decided by [`pace::Pace`].
//!
//! Rules:
//! - `Live` after 3 s in which the server's machine confirmed bytes without a pause of a second.
//! - Unreachable, refused, reset, stalled: the next attempt begins after 1 to 4 s.
//! - Rejected, wrong certificate, forbidden address, or cut within 10 s of publishing twice in a row: `Refused`, 30 to 60 s between attempts. From
//!   there `Live` takes the full 10 s, because some servers check a key seconds after they have accepted it.
//! - Every step of an attempt has a limit below 5 s. No progress for 6 s though data waits is a
//!   stall: what a server no longer reads fills its buffers for a while, and it is to be told after 8 s.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Retry};
use crate::time::SessionTime;

pub mod pace;
mod reason;
pub mod splice;

use crate::dice::Dice;
use reason::Verdict;
pub use reason::{CertificateFault, Reason, Step};

/// Progress without a pause for so long is `Live`.
pub const LIVE_AFTER: Duration = Duration::from_secs(3);
/// A connection that ended within this time of publishing was cut early.
pub const EARLY: Duration = Duration::from_secs(10);
/// Data waits and nothing moves for so long: the connection is given up.
pub const STALL: Duration = Duration::from_secs(6);
/// Data waits and nothing moves for so long: not progress without a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a polite end may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// From this lag on a destination is shown as behind, until it is below half of it.
const BEHIND: Duration = Duration::from_secs(2);
/// The server counts what it has got in steps; it is late when so many of them are missing.
const LATE_WINDOWS: u64 = 2;
/// So many early ends in a row are a refusal.
const EARLY_ENDS_TO_REFUSE: u32 = 2;

/// What the connection, or the Session, tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The attempt has come to this step.
    Reached(Step),
    /// NetStream.Publish.Start came.
    Publishing,
    /// What was seen on the publishing connection; a few times a second.
    Evidence(Evidence),
    /// The connection is gone, or could not be made. Not told after [`Action::Abort`].
    Failed(Reason),
    /// Somebody does not want to wait for the time of the next attempt.
    TryNow,
    /// Nothing more is to be streamed.
    End,
    /// The connection was ended politely, after [`Action::Close`].
    Closed,
    /// [`Live::poll_wake`] is reached.
    Woken,
}

/// Signs of life of one connection. Numbers count from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Evidence {
    /// Bytes that the other side's TCP has confirmed.
    pub confirmed: u64,
    /// Bytes lie in our buffers that are not confirmed.
    pub waiting: bool,
    /// Bytes of the RTMP stream handed over for sending.
    pub sent: u64,
    /// Bytes that the server itself has counted (RTMP Acknowledgement); `None` until it said so once.
    pub counted: Option<u64>,
    /// The step in which it was asked to count.
    pub count_step: u64,
    /// Programme time between the newest packet and the oldest one that is not confirmed.
    pub behind: Duration,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Begin attempt number `number`, counted from 1 since the last time that it was live.
    Attempt {
        /// Which.
        number: u32,
    },
    /// Drop the connection at once; nothing more is to be told about it.
    Abort,
    /// End the stream politely; then [`Input::Closed`].
    Close,
    /// The state has changed.
    Tell(LiveState),
}

/// Where a live destination stands, as it was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LiveState {
    /// The first attempt.
    Connecting,
    /// The destination takes the stream in time.
    Live,
    /// The destination takes the stream, late.
    Behind {
        /// Whole seconds.
        by_s: u64,
    },
    /// It is tried again and again, soon.
    Retrying {
        /// Number of the attempt that runs or comes next, from 1 since it was last live.
        attempt: u32,
        /// When that attempt begins or began.
        at: SessionTime,
        /// What ended the attempt before.
        reason: Reason,
    },
    /// The destination does not want us; it is tried again from time to time.
    Refused {
        /// As in `Retrying`.
        attempt: u32,
        /// As in `Retrying`.
        at: SessionTime,
        /// As in `Retrying`.
        reason: Reason,
    },
    /// Nothing more is streamed.
    Ended,
}

impl LiveState {
    /// What is wrong, for whoever handles Faults: `None` while all is well.
    pub fn fault(&self, now: SessionTime) -> Option<Fault> {
        match self {
            Self::Retrying { at, reason, .. } | Self::Refused { at, reason, .. } => {
                Some(reason.fault(Retry::After(at.since(now))))
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// For the next attempt.
    Waiting {
        until: SessionTime,
    },
    /// An attempt began, and is at a step since then.
    Trying {
        begun: SessionTime,
        step: Step,
        since: SessionTime,
    },
    /// Publishing.
    Publishing(Watch),
    /// Told to close.
    Closing {
        until: SessionTime,
    },
    Over,
}

/// What is known of a publishing connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watch {
    since: SessionTime,
    /// Progress without a pause since then.
    moving_since: Option<SessionTime>,
    /// Bytes last moved at, or there was nothing to move.
    moved: SessionTime,
    confirmed: u64,
    waiting: bool,
    counted: Option<u64>,
    counted_at: SessionTime,
    count_late: bool,
    proven: bool,
}

/// One live destination.
#[derive(Debug)]
pub struct Live {
    actions: VecDeque<Action>,
    dice: Dice,
    state: LiveState,
    stage: Stage,
    /// Attempts since it was last live.
    attempt: u32,
    /// Early ends in a row.
    early_ends: u32,
}

impl Live {
    /// A destination that is wanted from now on: the first action is the first attempt. `seed`: any number, another one for each destination, so that they do
    /// not all return in one instant.
    pub fn new(now: SessionTime, seed: u64) -> Self {
        let mut live = Self {
            actions: VecDeque::from([Action::Tell(LiveState::Connecting)]),
            dice: Dice::new(seed),
            state: LiveState::Connecting,
            stage: Stage::Waiting { until: now },
            attempt: 0,
            early_ends: 0,
        };
        live.begin_attempt(now);
        live
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        match (input, &mut self.stage) {
            (_, Stage::Over) => return,
            (Input::Closed | Input::Failed(_), Stage::Closing { .. }) => self.end(),
            (Input::TryNow, Stage::Waiting { .. }) => self.begin_attempt(now),
            (Input::End, Stage::Waiting { .. }) => self.end(),
            (Input::End, Stage::Trying { .. }) => {
                self.actions.push_back(Action::Abort);
                self.end();
            }
            (Input::End, Stage::Publishing(_)) => {
                self.stage = Stage::Closing { until: now + FAREWELL };
                self.actions.push_back(Action::Close);
            }
            (Input::Reached(reached), Stage::Trying { step, since, .. }) if reached > *step => {
                *step = reached;
                *since = now;
            }
            (Input::Publishing, Stage::Trying { .. }) => self.stage = Stage::Publishing(Watch::new(now)),
            (Input::Evidence(evidence), Stage::Publishing(watch)) => {
                watch.take(evidence, now);
                self.judge(evidence.behind, now);
            }
            (Input::Failed(reason), Stage::Trying { .. } | Stage::Publishing(_)) => self.lost(reason, now),
            // Late or repeated words of a connection that is no longer ours change nothing.
            _ => {}
        }
        self.watch_clock(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to send [`Input::Woken`].
    pub fn poll_wake(&self) -> Option<SessionTime> {
        match &self.stage {
            Stage::Waiting { until } | Stage::Closing { until } => Some(*until),
            Stage::Trying { step, since, .. } => Some(*since + limit(*step)),
            Stage::Publishing(watch) => watch.stalls_at(),
            Stage::Over => None,
        }
    }

    /// The state that was told last.
    pub fn state(&self) -> &LiveState {
        &self.state
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn watch_clock(&mut self, now: SessionTime) {
        match &self.stage {
            Stage::Waiting { until } if now >= *until => self.begin_attempt(now),
            Stage::Trying { step, since, .. } if now >= *since + limit(*step) => {
                let step = *step;
                self.actions.push_back(Action::Abort);
                self.lost(Reason::NoAnswer(step), now);
            }
            Stage::Publishing(watch) if watch.stalls_at().is_some_and(|at| now >= at) => {
                self.actions.push_back(Action::Abort);
                self.lost(Reason::Stalled, now);
            }
            Stage::Closing { until } if now >= *until => {
                self.actions.push_back(Action::Abort);
                self.end();
            }
            _ => {}
        }
    }

    fn begin_attempt(&mut self, now: SessionTime) {
        self.attempt = self.attempt.saturating_add(1);
        self.stage = Stage::Trying { begun: now, step: Step::Lookup, since: now };
        self.actions.push_back(Action::Attempt { number: self.attempt });
    }

    /// Whether what was seen is `Live`, and how late.
    fn judge(&mut self, behind: Duration, now: SessionTime) {
        let is_refused = matches!(self.state, LiveState::Refused { .. });
        let proof = if is_refused { EARLY } else { LIVE_AFTER };
        let Stage::Publishing(watch) = &mut self.stage else { return };
        watch.proven |= watch.moving_since.is_some_and(|since| now.since(since) >= proof);
        if now.since(watch.since) >= EARLY && watch.moving_since.is_some() {
            self.early_ends = 0;
        }
        if !watch.proven {
            return;
        }
        self.attempt = 0;
        let was_behind = matches!(self.state, LiveState::Behind { .. });
        let is_behind = behind >= if was_behind { BEHIND / 2 } else { BEHIND };
        self.tell(if is_behind { LiveState::Behind { by_s: behind.as_secs().max(1) } } else { LiveState::Live });
    }

    fn lost(&mut self, reason: Reason, now: SessionTime) {
        let (begun, published) = match &self.stage {
            Stage::Trying { begun, .. } => (*begun, None),
            Stage::Publishing(watch) => (now, Some(now.since(watch.since))),
            _ => return,
        };
        let early = match (published, reason.verdict()) {
            (Some(lasted), _) => lasted < EARLY && reason != Reason::Stalled,
            (None, verdict) => verdict == Verdict::Suspicious,
        };
        if early {
            self.early_ends += 1;
        }
        let is_refusal = reason.verdict() == Verdict::Refusal
            || early && self.early_ends >= EARLY_ENDS_TO_REFUSE
            || self.is_still_refused(reason);
        let until = if is_refusal {
            now + self.dice.between(Duration::from_secs(30), Duration::from_secs(60))
        } else if self.attempt <= 1 || early {
            now + self.dice.between(Duration::from_secs(1), Duration::from_millis(1500))
        } else {
            // Counted from the attempt's beginning, so that slow failures do not make attempts rare.
            let spaced = begun + self.dice.between(Duration::from_millis(2000), Duration::from_millis(3800));
            spaced.max(now + self.dice.between(Duration::from_secs(1), Duration::from_millis(1300)))
        };
        let attempt = self.attempt.saturating_add(1);
        self.stage = Stage::Waiting { until };
        self.tell(if is_refusal {
            LiveState::Refused { attempt, at: until, reason }
        } else {
            LiveState::Retrying { attempt, at: until, reason }
        });
    }

    /// A hang-up after a refusal is the same refusal. A server that has gone away since is another matter.
    fn is_still_refused(&self, reason: Reason) -> bool {
        matches!(self.state, LiveState::Refused { .. }) && reason.verdict() != Verdict::Again
    }

    fn end(&mut self) {
        self.stage = Stage::Over;
        self.tell(LiveState::Ended);
    }

    fn tell(&mut self, state: LiveState) {
        if self.state != state {
            self.state = state.clone();
            self.actions.push_back(Action::Tell(state));
        }
    }
}

impl Watch {
    fn new(now: SessionTime) -> Self {
        Self {
            since: now,
            moving_since: None,
            moved: now,
            confirmed: 0,
            waiting: false,
            counted: None,
            counted_at: now,
            count_late: false,
            proven: false,
        }
    }

    fn take(&mut self, evidence: Evidence, now: SessionTime) {
        if evidence.confirmed > self.confirmed {
            // The first report also holds what was confirmed before publishing: it sets the mark, and proves nothing.
            if self.confirmed > 0 {
                self.moving_since.get_or_insert(now);
            }
            self.confirmed = evidence.confirmed;
            self.moved = now;
        } else if !evidence.waiting {
            self.moved = now;
        } else if now.since(self.moved) > PAUSE {
            self.moving_since = None;
        }
        self.waiting = evidence.waiting;
        self.count_late = evidence.counted.is_some_and(|counted| evidence.sent > counted + LATE_WINDOWS * evidence.count_step);
        if evidence.counted != self.counted {
            self.counted = evidence.counted;
            self.counted_at = now;
        }
    }

    fn stalls_at(&self) -> Option<SessionTime> {
        let by_tcp = self.waiting.then(|| self.moved + STALL);
        let by_count = self.count_late.then(|| self.counted_at + STALL);
        by_tcp.into_iter().chain(by_count).min()
    }
}

/// How long a step may take. All below 5 s: a black hole shows by then.
fn limit(step: Step) -> Duration {
    match step {
        Step::Lookup => Duration::from_secs(4),
        Step::Connect => Duration::from_millis(3500),
        Step::Secure | Step::Handshake | Step::Enter | Step::Publish => Duration::from_millis(4500),
    }
}

#[cfg(test)]
mod tests;
