//! The one state of a Target. What a moderator, a status page or a Conference is told about a Target is a projection of this.
//!
//! In: what the Session decides (begin, end) and what the Target reports. Out: the state. Pure. It retries nothing and opens nothing.

use std::time::Duration;

use crate::fault::{Blame, Fault, Retry, Scope};
use crate::ids::{TakeId, TargetId};
use crate::time::SessionTime;

/// What a Target says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetReport {
    /// Everything of the running Take before this programme instant is safe (a recording: synced to disk).
    TakeWritten {
        /// The first programme instant that is not yet safe.
        until: SessionTime,
    },
    /// It cannot go on. What it has written stays; `Ended` follows when that is closed properly.
    Failed(Fault),
    /// Closed: nothing of it runs any more. Nothing follows.
    Ended,
}

/// Where a Target stands, as it was seen, not as it was wished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetState {
    /// No Take yet.
    Idle,
    /// Told to begin a Take; nothing is safe yet.
    Starting {
        /// Which.
        take: TakeId,
        /// First programme instant.
        from: SessionTime,
    },
    /// Something of the Take is safe.
    Live {
        /// Which.
        take: TakeId,
        /// First programme instant.
        from: SessionTime,
        /// Everything before this is safe.
        written: SessionTime,
    },
    /// Told to end the Take; the rest is still being written.
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
    /// A Take is open: begun, and not yet told to end.
    open: bool,
}

impl Target {
    pub(crate) fn new(id: TargetId) -> Self {
        Self { id, state: TargetState::Idle, open: false }
    }

    /// Begins the first Take. False when it cannot, because one was begun before.
    pub(crate) fn begin(&mut self, take: TakeId, from: SessionTime) -> bool {
        let idle = self.state == TargetState::Idle;
        if idle {
            self.state = TargetState::Starting { take, from };
            self.open = true;
        }
        idle
    }

    /// Closes the open Take. True when there was one, so that it must be told; never true twice for one Take.
    pub(crate) fn end(&mut self, now: SessionTime) -> bool {
        let was_open = std::mem::take(&mut self.open);
        if let TargetState::Starting { .. } | TargetState::Live { .. } = self.state {
            self.state = TargetState::Finishing { since: now };
        }
        was_open
    }

    /// Takes note of a report. Late or repeated ones change nothing.
    pub(crate) fn report(&mut self, report: TargetReport, now: SessionTime) {
        use TargetState::{Ended, Failed, Finishing, Idle, Live, Starting};
        match (report, &mut self.state) {
            (TargetReport::TakeWritten { until }, Starting { take, from }) => {
                self.state = Live { take: *take, from: *from, written: until };
            }
            (TargetReport::TakeWritten { until }, Live { written, .. }) => *written = until.max(*written),
            (TargetReport::Failed(fault), Idle | Starting { .. } | Live { .. } | Finishing { .. }) => {
                self.state = Failed { fault, since: now, closed: false };
            }
            (TargetReport::Ended, Failed { closed, .. }) => *closed = true,
            (TargetReport::Ended, Idle | Starting { .. } | Live { .. } | Finishing { .. }) => self.state = Ended,
            (TargetReport::TakeWritten { .. } | TargetReport::Failed(_) | TargetReport::Ended, _) => {}
        }
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
        matches!(self.state, TargetState::Idle | TargetState::Starting { .. } | TargetState::Live { .. })
    }

    /// Since when its `Ended` is awaited.
    pub(crate) fn closing_since(&self) -> Option<SessionTime> {
        match self.state {
            TargetState::Finishing { since } | TargetState::Failed { since, closed: false, .. } => Some(since),
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
