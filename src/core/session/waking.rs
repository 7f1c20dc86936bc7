//! When a Session wants to be woken, and what happens by itself then.

use crate::ids::TargetId;
use crate::layout::Seating;
use crate::target::Target;
use crate::time::SessionTime;

use super::{Connection, Leaving, Outcome, Phase, Session, WhyOver, outcome};

/// Why the Session wants to be woken; for logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wake {
    /// Somebody may count as speaking, or no longer.
    Speaker,
    /// Somebody may take a place in the picture that was held for another, or the arrangement may change.
    Place,
    /// Nobody but us has been in the room for too long.
    RoomEmpty,
    /// We have been outside the Conference for too long.
    ConferenceGrace,
    /// The Take is as long as was ordered.
    Duration,
    /// The Session is as old as any may become.
    MaxDuration,
    /// The last word has arrived: leave, or receive nobody while everything is paused.
    LastWord,
    /// A Target did not finish in time.
    TargetDeadline(TargetId),
    /// A live destination was lost for too long.
    Destination(TargetId),
    /// People are to be told how a Target stands.
    Report(TargetId),
    /// Nobody wants anything of us any more.
    NothingWanted,
    /// Nobody could withdraw their consent for too long.
    Unheard,
    /// The Conference did not let us go in time.
    LeaveDeadline,
}

impl Session {
    /// When to send [`Input::Woken`](super::Input::Woken), and why; `None` once it is over. May be in the past: then at once.
    pub fn poll_wake(&self) -> Option<(SessionTime, Wake)> {
        let grace = self.settings.target_grace;
        let closing = self.targets.iter().filter_map(|t| Some((t.closing_since()? + grace, Wake::TargetDeadline(t.id.clone()))));
        let closing = closing.chain(self.commanded_wakes());
        let own = match self.phase {
            Phase::Over => return None,
            Phase::Entering | Phase::Live => [
                self.people.next_change(self.now).map(|at| (at, Wake::Speaker)),
                self.place_due_at().map(|at| (at, Wake::Place)),
                self.room_empty_at().map(|at| (at, Wake::RoomEmpty)),
                self.conference_grace_at().map(|at| (at, Wake::ConferenceGrace)),
                self.duration_at().map(|at| (at, Wake::Duration)),
                Some((self.max_duration_at(), Wake::MaxDuration)),
            ],
            Phase::Ending => {
                let leaving = match self.leaving {
                    Leaving::At(at) => Some((at, Wake::LastWord)),
                    Leaving::Until(at) => Some((at, Wake::LeaveDeadline)),
                    Leaving::Done => None,
                };
                [leaving, None, None, None, None, None]
            }
        };
        own.into_iter().flatten().chain(closing).min()
    }

    /// Everything that happens by itself.
    pub(super) fn let_time_pass(&mut self, now: SessionTime) {
        let due = |at: Option<SessionTime>| at.is_some_and(|at| at <= now);
        if matches!(self.phase, Phase::Entering | Phase::Live) {
            self.people.settle(now);
            self.let_wishes_pass(now);
            if let Some(end) = self.duration_at().filter(|end| *end <= now) {
                // The mixer is behind real time, so the Take can still be cut exactly, however late the wake-up is.
                self.end(Outcome::new(WhyOver::DurationReached, None), end, now);
            } else if self.max_duration_at() <= now {
                self.end(Outcome::new(WhyOver::MaxDurationReached, None), now, now);
            } else if due(self.conference_grace_at()) {
                let outcome = outcome::of_lost_conference(&self.connection, self.settings.conference_grace);
                self.end(outcome, now, now);
            } else if due(self.room_empty_at()) {
                self.end(Outcome::new(WhyOver::RoomEmpty, None), now, now);
            } else if due(self.nothing_wanted_at()) {
                self.end(Outcome::new(WhyOver::NothingWanted, None), now, now);
            }
        }
        let grace = self.settings.target_grace;
        for target in &mut self.targets {
            if target.closing_since().is_some_and(|since| since + grace <= now) {
                target.give_up(grace, now);
            }
        }
        if self.phase == Phase::Ending {
            self.go_on_ending(now);
        }
    }

    /// When the picture may change by itself.
    pub(super) fn place_due_at(&self) -> Option<SessionTime> {
        self.seating.iter().filter_map(Seating::wake).min()
    }

    fn room_empty_at(&self) -> Option<SessionTime> {
        let known = self.connection == Connection::Inside;
        self.alone_since.filter(|_| known).map(|since| since + self.settings.room_empty_grace)
    }

    fn conference_grace_at(&self) -> Option<SessionTime> {
        match self.connection {
            Connection::Outside { since, .. } => Some(since + self.settings.conference_grace),
            _ => None,
        }
    }

    fn duration_at(&self) -> Option<SessionTime> {
        let began = self.targets.iter().filter_map(Target::take_from).min()?;
        Some(began + self.settings.duration?)
    }

    fn max_duration_at(&self) -> SessionTime {
        SessionTime::ZERO + self.settings.max_duration
    }
}
