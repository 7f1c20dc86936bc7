//! The one state of a Target. What a moderator, a status page or a Conference is told about a Target is a projection of this.
//!
//! In: what the Session decides (begin, pause, end) and what the Target reports. Out: the state. Pure. It retries nothing and opens nothing.
//!
//! A Target that a moderator stops and starts again delivers anew: each such delivery is a run, counted from 1, with Takes of its own. Pausing
//! ends a Take, and resuming begins the next one of the same run.

use std::time::Duration;

use crate::conference::Delivery;
use crate::fault::{Blame, Fault, Retry, Scope};
use crate::ids::{TakeId, TargetId};
use crate::live::LiveState;
use crate::time::SessionTime;

/// What a Target says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetReport {
    /// Everything of the running Take before this programme instant is safe (a recording: synced to disk).
    TakeWritten {
        /// The first programme instant that is not yet safe.
        until: SessionTime,
    },
    /// A live destination stands so.
    Live(LiveState),
    /// It cannot go on. What it has written stays; `Ended` follows when that is closed properly.
    Failed(Fault),
    /// The Take that was paused is closed; a live destination shows the slate. Not sent when the next Take began meanwhile.
    Parked,
    /// Closed: nothing of it runs any more. Nothing follows.
    Ended,
}

/// Where a Target stands, as it was seen, not as it was wished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetState {
    /// No Take yet.
    Idle,
    /// Told to begin a Take; nothing is safe yet, and no destination takes it.
    Starting {
        /// Which.
        take: TakeId,
        /// First programme instant.
        from: SessionTime,
    },
    /// Something of the Take is safe, or the destination takes it. A destination that is lost for a while is still here.
    Live {
        /// Which.
        take: TakeId,
        /// First programme instant.
        from: SessionTime,
        /// Everything before this is safe; of a live destination: the first instant.
        written: SessionTime,
    },
    /// Told to pause; the Take is still being closed.
    Pausing {
        /// Told so at this time.
        since: SessionTime,
    },
    /// Delivers nothing until it is resumed.
    Paused,
    /// Told to end; the rest is still being written.
    Finishing {
        /// Told so at this time.
        since: SessionTime,
    },
    /// It failed. Once `closed` it will not say anything more.
    Failed {
        /// Why.
        fault: Fault,
        /// Failed at this time.
        since: SessionTime,
        /// Whether `Ended` followed.
        closed: bool,
    },
    /// Closed as it should.
    Ended,
}

/// One Target of a Session.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) state: TargetState,
    /// What a moderator wants it to be; `None` for one that was ordered with the Session.
    pub(crate) delivery: Option<Delivery>,
    /// The newest delivery, counted from 1; 0 before the first.
    pub(crate) run: u32,
    /// The newest Take of the run.
    pub(crate) take: TakeId,
    /// A Take is open: begun, and not yet told to end.
    open: bool,
    /// Since when a live destination does not take the stream.
    lost: Option<(SessionTime, Option<Fault>)>,
    /// A live destination has taken this run's stream.
    was_live: bool,
    /// Wanted again while the run before was still being closed.
    again: bool,
    /// What was recorded could not be stored.
    undelivered: Option<Fault>,
    /// What was recorded is on its way to where it is stored, since then.
    delivering: Option<SessionTime>,
}

impl Target {
    /// One that was ordered with the Session, whose first Take has this number.
    pub(crate) fn new(id: TargetId, first_take: TakeId) -> Self {
        Self {
            id,
            state: TargetState::Idle,
            delivery: None,
            run: 1,
            take: TakeId(first_take.0.saturating_sub(1)),
            open: false,
            lost: None,
            was_live: false,
            again: false,
            undelivered: None,
            delivering: None,
        }
    }

    /// One that a moderator wants.
    pub(crate) fn wished(id: TargetId, delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), run: 0, ..Self::new(id, TakeId(1)) }
    }

    /// One that a moderator wants and nobody will serve.
    pub(crate) fn refused(id: TargetId, delivery: Delivery, fault: Fault, now: SessionTime) -> Self {
        let state = TargetState::Failed { fault, since: now, closed: true };
        Self { state, ..Self::wished(id, delivery) }
    }

    /// One that an earlier worker served: the next Take of this run follows.
    pub(crate) fn resumed(id: TargetId, delivery: Delivery, run: u32, next: TakeId, paused: bool) -> Self {
        let state = if paused { TargetState::Paused } else { TargetState::Idle };
        Self { delivery: Some(delivery), run, state, ..Self::new(id, next) }
    }

    /// Begins the next Take, of a new run if the one before is over. `None` when it cannot.
    pub(crate) fn begin(&mut self, from: SessionTime) -> Option<TakeId> {
        let is_over = matches!(self.state, TargetState::Ended | TargetState::Failed { closed: true, .. });
        if is_over && self.delivery.is_some() || self.run == 0 {
            self.run += 1;
            self.take = TakeId(0);
            self.undelivered = None;
            (self.lost, self.was_live) = (None, false);
        } else if !matches!(self.state, TargetState::Idle | TargetState::Pausing { .. } | TargetState::Paused) {
            return None;
        }
        self.again = false;
        let take = TakeId(self.take.0 + 1);
        self.take = take;
        // A destination that takes the slate takes the programme: its connection stays, so it will not say so again.
        self.state = match self.was_live && self.lost.is_none() {
            true => TargetState::Live { take, from, written: from },
            false => TargetState::Starting { take, from },
        };
        self.open = true;
        Some(self.take)
    }

    /// Closes the open Take, and lets the next one wait. True when there was one, so that it must be told.
    pub(crate) fn pause(&mut self, now: SessionTime) -> bool {
        if !matches!(self.state, TargetState::Starting { .. } | TargetState::Live { .. }) {
            return false;
        }
        self.state = TargetState::Pausing { since: now };
        std::mem::take(&mut self.open)
    }

    /// Ends the run. True when it must be told: a Take is open, or was paused; never true twice for one run.
    pub(crate) fn end(&mut self, now: SessionTime) -> bool {
        self.again = false;
        let parked = self.is_parked();
        let was_open = std::mem::take(&mut self.open);
        if parked || matches!(self.state, TargetState::Starting { .. } | TargetState::Live { .. }) {
            self.state = TargetState::Finishing { since: now };
        }
        was_open || parked
    }

    /// Wanted again as soon as the run before is closed. False when nothing is being closed.
    pub(crate) fn begin_when_closed(&mut self) -> bool {
        self.again = matches!(self.state, TargetState::Finishing { .. } | TargetState::Failed { closed: false, .. });
        self.again
    }

    /// Whether it was wanted again, and waits for that.
    pub(crate) fn is_wanted_again(&self) -> bool {
        self.again
    }

    /// Whether it was wanted again, and the run before is closed now.
    pub(crate) fn is_due_again(&self) -> bool {
        self.again && matches!(self.state, TargetState::Ended | TargetState::Failed { closed: true, .. })
    }

    /// Takes note of a report. Late or repeated ones change nothing.
    pub(crate) fn report(&mut self, report: TargetReport, now: SessionTime) {
        use TargetState::{Ended, Failed, Finishing, Idle, Live, Paused, Pausing, Starting};
        match (report, &mut self.state) {
            (TargetReport::TakeWritten { until }, Starting { take, from }) => {
                self.state = Live { take: *take, from: *from, written: until };
            }
            (TargetReport::TakeWritten { until }, Live { written, .. }) => *written = until.max(*written),
            // One that is paused is sent the slate, and can be lost as well.
            (TargetReport::Live(state), Starting { .. } | Live { .. } | Pausing { .. } | Paused) => self.destination(&state, now),
            (TargetReport::Failed(fault), Idle | Starting { .. } | Live { .. } | Pausing { .. } | Paused | Finishing { .. }) => {
                self.state = Failed { fault, since: now, closed: false };
            }
            (TargetReport::Parked, Pausing { .. }) => self.state = Paused,
            (TargetReport::Ended, Failed { closed, .. }) => *closed = true,
            (TargetReport::Ended, Idle | Starting { .. } | Live { .. } | Pausing { .. } | Paused | Finishing { .. }) => {
                self.state = Ended;
            }
            _ => {}
        }
    }

    fn destination(&mut self, state: &LiveState, now: SessionTime) {
        match state {
            LiveState::Live | LiveState::Behind { .. } => {
                (self.lost, self.was_live) = (None, true);
                if let TargetState::Starting { take, from } = self.state {
                    self.state = TargetState::Live { take, from, written: from };
                }
            }
            LiveState::Retrying { .. } | LiveState::Refused { .. } => {
                let fault = state.fault(now);
                match &mut self.lost {
                    Some((_, known)) => *known = fault,
                    None => self.lost = Some((now, fault)),
                }
            }
            LiveState::Connecting | LiveState::Ended => {}
        }
    }

    /// When a live destination that does not take the stream has had `grace` to come back.
    pub(crate) fn lost_for_good_at(&self, grace: Duration) -> Option<SessionTime> {
        let sends = self.is_parked() || matches!(self.state, TargetState::Starting { .. } | TargetState::Live { .. });
        self.lost.as_ref().filter(|_| sends).map(|(since, _)| *since + grace)
    }

    /// Gives a live destination up. True when it must be told: a Take is open, or was paused.
    pub(crate) fn give_up_destination(&mut self, now: SessionTime) -> bool {
        let fault = self.lost.take().and_then(|(_, fault)| fault);
        let sentence = || "The destination does not take the stream.".to_owned();
        let fault = fault.unwrap_or_else(|| Fault {
            scope: Scope::Target,
            blame: Blame::Destination,
            retry: Retry::Never,
            sentence: sentence(),
        });
        let parked = self.is_parked();
        self.state = TargetState::Failed { fault: Fault { retry: Retry::Never, ..fault }, since: now, closed: false };
        std::mem::take(&mut self.open) || parked
    }

    /// It may not go on. True when it must be told: a Take is open, was paused, or was about to begin.
    pub(crate) fn fail(&mut self, fault: Fault, now: SessionTime) -> bool {
        use TargetState::{Idle, Live, Paused, Pausing, Starting};
        self.again = false;
        if !matches!(self.state, Idle | Starting { .. } | Live { .. } | Pausing { .. } | Paused) {
            return false;
        }
        (self.state, self.open) = (TargetState::Failed { fault, since: now, closed: false }, false);
        true
    }

    /// Nobody will serve it. One that is being closed is left to that.
    pub(crate) fn refuse(&mut self, fault: Fault, now: SessionTime) {
        if matches!(self.state, TargetState::Ended | TargetState::Failed { closed: true, .. }) {
            self.state = TargetState::Failed { fault, since: now, closed: true };
        }
    }

    /// Whether the destination refuses the stream although it has never taken it.
    pub(crate) fn is_refused(&self, state: &LiveState) -> bool {
        matches!(state, LiveState::Refused { .. }) && !self.was_live
    }

    /// What was recorded goes to where it is stored.
    pub(crate) fn delivery_begins(&mut self, now: SessionTime) {
        self.delivering = Some(now);
    }

    /// It is stored, or cannot be. Only the newest run is told about.
    pub(crate) fn delivered(&mut self, run: u32, fault: Option<Fault>) {
        if run == self.run {
            (self.delivering, self.undelivered) = (None, fault);
        }
    }

    /// Since when the delivery of what was recorded is awaited.
    pub(crate) fn delivering_since(&self) -> Option<SessionTime> {
        self.delivering
    }

    /// Why what was recorded could not be stored.
    pub(crate) fn undelivered(&self) -> Option<&Fault> {
        self.undelivered.as_ref()
    }

    /// First programme instant of the running Take.
    pub(crate) fn take_from(&self) -> Option<SessionTime> {
        match self.state {
            TargetState::Starting { from, .. } | TargetState::Live { from, .. } => Some(from),
            _ => None,
        }
    }

    /// Can still deliver something.
    pub(crate) fn can_go_on(&self) -> bool {
        use TargetState::{Idle, Live, Paused, Pausing, Starting};
        self.again || matches!(self.state, Idle | Starting { .. } | Live { .. } | Pausing { .. } | Paused)
    }

    /// Paused, or about to be.
    fn is_parked(&self) -> bool {
        matches!(self.state, TargetState::Pausing { .. } | TargetState::Paused)
    }

    /// A live destination that is paused: it is sent the slate.
    pub(crate) fn shows_slate(&self) -> bool {
        self.is_parked() && matches!(self.delivery, Some(Delivery::Live { .. }))
    }

    /// Delivers, or is about to.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Since when its `Ended` (or `Parked`) is awaited.
    pub(crate) fn closing_since(&self) -> Option<SessionTime> {
        match self.state {
            TargetState::Finishing { since }
            | TargetState::Pausing { since }
            | TargetState::Failed { since, closed: false, .. } => Some(since),
            _ => None,
        }
    }

    /// No longer waits for `Ended`.
    pub(crate) fn give_up(&mut self, waited: Duration, now: SessionTime) {
        match &mut self.state {
            TargetState::Failed { closed, .. } => *closed = true,
            state => {
                let sentence = format!("The target could not be finished within {} seconds.", waited.as_secs());
                let fault = Fault { scope: Scope::Target, blame: Blame::Us, retry: Retry::Never, sentence };
                *state = TargetState::Failed { fault, since: now, closed: true };
            }
        }
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        match &self.state {
            TargetState::Failed { fault, .. } => Some(fault),
            _ => None,
        }
    }
}
