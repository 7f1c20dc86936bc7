//! Decides how one finished film is handed to a controller, which never says what it has stored.
//!
//! In: how a connection gets on ([`Input`]), and the time. Out: [`Action`]s: what to save, to send, to drop, and to tell. Pure: no I/O, no clock. Refuses to
//! call a film confirmed: when everything was taken and both sides said goodbye it is delivered, and that is all that can be known.
//!
//! A connection that is not given costs nothing and is tried for ever, with pauses that grow to a limit. A connection that breaks costs more: the controller
//! stores what came so far and lists it as if it were whole, and nobody but the room's owner can delete it. So a film is sent twice at most, and what was left
//! behind is counted before a byte is sent again. What was given up is tried again by the next process, whose operator has had time to look.
//!
//! The controller puts no pressure back on a sender that is faster than its storage, and keeps the rest in memory. So parts follow each other no faster than
//! at a given rate, and what was missed is not made up for.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::time::SessionTime;

pub mod plan;
mod trouble;

#[cfg(test)]
mod tests;

pub use plan::{Part, Plan};
pub use trouble::Refusal;

use trouble::Break;

/// One part may take so long. A controller that gets no answer to its pings for 30 s ends the connection itself.
pub const PART_LIMIT: Duration = Duration::from_secs(60);
/// The controller answers the goodbye when it has read all that is on its way to it.
pub const GOODBYE_LIMIT: Duration = Duration::from_secs(30);
/// Connections of one process that may break.
pub const ATTEMPTS: u32 = 2;
/// A controller that does not want a film says so when it has the first part, which nothing else tells from one that does. It is listened to for so long.
pub const LISTENING: Duration = Duration::from_secs(1);
/// Pause before a film is sent once more.
pub const AGAIN: Duration = Duration::from_secs(5);
/// First pause after a refusal that may pass by itself.
const FIRST: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST: Duration = Duration::from_secs(30);
/// First pause after a refusal that somebody must mend.
const FIRST_FOR_PEOPLE: Duration = Duration::from_secs(20);
/// Longest such pause.
const LONGEST_FOR_PEOPLE: Duration = Duration::from_secs(300);
/// What a WebSocket ends with when all is well (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;

/// What of it outlives the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// How far it is.
    pub step: Step,
    /// Broken connections, each of which may have left a shortened film at the controller.
    pub left_behind: u32,
}

/// How far a film is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nothing is being sent.
    #[default]
    Waiting,
    /// A connection is open. A process that dies now leaves a shortened film behind.
    Sending,
    /// Everything was taken, and both sides have said goodbye.
    Delivered,
}

/// What is told to the upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The connection is there.
    Opened,
    /// It is not given.
    Refused(Refusal),
    /// The part that was to be sent has been handed to the network.
    Sent,
    /// The connection is over.
    Ended(End),
    /// The file cannot be read.
    Unreadable(String),
    /// [`ControllerUpload::poll_wake`] is reached.
    Woken,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By a close frame of the controller, with this code if it had one.
    Closed(Option<u16>),
    /// Without one.
    Gone,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Save the record so that it survives a power cut, before any later action.
    Save(Record),
    /// Open a connection; [`Input::Opened`] or [`Input::Refused`] follows. Each that may leave something behind has another number, so that no two films
    /// need have the same name.
    Open {
        /// From 0.
        number: u32,
    },
    /// Send a part; [`Input::Sent`] follows, or another end of it.
    Send(Part),
    /// Send a close frame; [`Input::Ended`] follows.
    Goodbye,
    /// Drop the connection.
    Drop,
    /// Tell operators that the controller may list a shortened film now.
    LeftBehind {
        /// Number of its connection.
        number: u32,
    },
    /// Tell how it stands.
    Tell(Status),
}

/// How it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Bytes that this connection has taken.
    pub sent: u64,
    /// Length of the film.
    pub len: u64,
}

/// What an upload does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// A connection is being opened.
    Waiting,
    /// The film is being sent.
    Sending,
    /// It did not work, and is tried again soon.
    Retrying(Fault),
    /// It does not work until somebody mends something, and is tried again all the same.
    Refused(Fault),
    /// It is not tried again by this process.
    GivenUp(Fault),
    /// Everything was taken. Whether it is stored is not known.
    Delivered,
}

/// The upload of one film.
#[derive(Debug)]
pub struct ControllerUpload {
    record: Record,
    plan: Option<Plan>,
    /// Bytes a second.
    rate: u64,
    dice: Dice,
    phase: Phase,
    /// Connections in a row that were not given.
    refused: u32,
    /// Connections of this process that broke.
    broken: u32,
    /// Parts that this connection has taken.
    taken: u32,
    status: Status,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Pausing {
        until: SessionTime,
    },
    Opening,
    Sending {
        part: Part,
        since: SessionTime,
    },
    /// Before the next part, or before the goodbye.
    Pacing {
        next: Option<Part>,
        at: SessionTime,
    },
    SayingGoodbye {
        since: SessionTime,
    },
    Over,
}

impl ControllerUpload {
    /// Begins, or goes on with what an earlier process left. `len` is that of the film in bytes, `rate` bytes a second, `seed` any number, so that many
    /// uploads do not return in one instant.
    pub fn begin(record: Record, len: u64, rate: u64, seed: u64) -> Self {
        let status = Status { state: State::Waiting, sent: 0, len };
        let (plan, phase) = (Plan::of(len), Phase::Opening);
        let (dice, rate, actions) = (Dice::new(seed), rate.max(1), VecDeque::new());
        let mut this = Self { record, plan: plan.ok(), rate, dice, phase, refused: 0, broken: 0, taken: 0, status, actions };
        match (this.record.step, plan) {
            (Step::Delivered, _) => this.over(State::Delivered, len),
            (_, Err(error)) => this.over(State::GivenUp(trouble::too_large(error)), 0),
            (Step::Sending, Ok(_)) => {
                this.left_behind();
                this.open();
            }
            (Step::Waiting, Ok(_)) => this.open(),
        }
        this
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        match (input, self.phase) {
            (Input::Opened, Phase::Opening) => self.opened(now),
            (Input::Refused(refusal), Phase::Opening) => self.not_given(&refusal, now),
            (Input::Sent, Phase::Sending { part, since }) => self.sent(part, since, now),
            (Input::Ended(End::Closed(None | Some(NORMAL))), Phase::SayingGoodbye { .. }) => self.delivered(),
            (Input::Ended(end), Phase::Sending { .. } | Phase::Pacing { .. } | Phase::SayingGoodbye { .. }) => {
                let how = if matches!(end, End::Closed(_)) { Break::Closed } else { Break::Gone };
                self.broke(how, now);
            }
            (Input::Unreadable(reason), Phase::Sending { .. }) => {
                self.actions.push_back(Action::Drop);
                self.left_behind();
                self.over(State::GivenUp(trouble::unreadable(&reason)), 0);
            }
            (Input::Woken, phase) => self.woken(phase, now),
            // Of a connection that is dropped already.
            _ => {}
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Woken`] is due if nothing else happens.
    pub fn poll_wake(&self) -> Option<SessionTime> {
        match self.phase {
            Phase::Pausing { until } => Some(until),
            Phase::Pacing { at, .. } => Some(at),
            Phase::Sending { since, .. } => Some(since + PART_LIMIT),
            Phase::SayingGoodbye { since } => Some(since + GOODBYE_LIMIT),
            Phase::Opening | Phase::Over => None,
        }
    }

    /// Whether nothing is left to do for this process.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn woken(&mut self, phase: Phase, now: SessionTime) {
        if self.poll_wake().is_none_or(|wake| now < wake) {
            return;
        }
        match phase {
            Phase::Pausing { .. } => self.open(),
            Phase::Pacing { next, .. } => self.send_or_go(next, now),
            Phase::Sending { .. } => self.broke(Break::Stalled, now),
            Phase::SayingGoodbye { .. } => self.broke(Break::NoGoodbye, now),
            Phase::Opening | Phase::Over => {}
        }
    }

    fn open(&mut self) {
        self.phase = Phase::Opening;
        self.actions.push_back(Action::Open { number: self.record.left_behind });
    }

    fn opened(&mut self, now: SessionTime) {
        (self.refused, self.taken) = (0, 0);
        self.save(Step::Sending);
        self.send_or_go(self.plan.and_then(|plan| plan.part(0)), now);
        self.tell(State::Sending, 0);
    }

    fn not_given(&mut self, refusal: &Refusal, now: SessionTime) {
        self.refused = self.refused.saturating_add(1);
        let is_for_people = refusal.is_for_people();
        let (first, longest) = if is_for_people { (FIRST_FOR_PEOPLE, LONGEST_FOR_PEOPLE) } else { (FIRST, LONGEST) };
        let pause = first.saturating_mul(1 << (self.refused - 1).min(16)).min(longest);
        let pause = self.dice.between(pause / 2, pause);
        self.phase = Phase::Pausing { until: now + pause };
        let fault = refusal.to_fault(pause);
        self.tell(if is_for_people { State::Refused(fault) } else { State::Retrying(fault) }, 0);
    }

    /// Sends this part, or says goodbye when there is none.
    fn send_or_go(&mut self, part: Option<Part>, now: SessionTime) {
        match part {
            Some(part) => {
                self.phase = Phase::Sending { part, since: now };
                self.actions.push_back(Action::Send(part));
            }
            None => {
                self.phase = Phase::SayingGoodbye { since: now };
                self.actions.push_back(Action::Goodbye);
            }
        }
    }

    fn sent(&mut self, part: Part, since: SessionTime, now: SessionTime) {
        self.taken = part.index + 1;
        self.tell(State::Sending, part.at + part.len);
        let next = self.plan.and_then(|plan| plan.part(part.index + 1));
        let paced = next.map(|_| since + Duration::from_secs_f64(part.len as f64 / self.rate as f64));
        let heard = (part.index == 0).then(|| now + LISTENING);
        match paced.max(heard) {
            Some(at) if at > now => self.phase = Phase::Pacing { next, at },
            _ => self.send_or_go(next, now),
        }
    }

    fn delivered(&mut self) {
        // Only the end of TCP makes the controller store it.
        self.actions.push_back(Action::Drop);
        self.save(Step::Delivered);
        self.over(State::Delivered, self.status.len);
    }

    fn broke(&mut self, how: Break, now: SessionTime) {
        self.actions.push_back(Action::Drop);
        // A controller that does not want the film says so when it has the first part, and stores nothing.
        if how == Break::Closed && self.taken <= 1 {
            self.save(Step::Waiting);
        } else {
            self.left_behind();
        }
        self.broken += 1;
        if self.broken >= ATTEMPTS {
            return self.over(State::GivenUp(how.given_up()), 0);
        }
        self.phase = Phase::Pausing { until: now + AGAIN };
        self.tell(State::Retrying(how.tried_again(AGAIN)), 0);
    }

    fn left_behind(&mut self) {
        let number = self.record.left_behind;
        self.record.left_behind = number.saturating_add(1);
        self.save(Step::Waiting);
        self.actions.push_back(Action::LeftBehind { number });
    }

    fn save(&mut self, step: Step) {
        self.record.step = step;
        self.actions.push_back(Action::Save(self.record));
    }

    fn over(&mut self, state: State, sent: u64) {
        self.phase = Phase::Over;
        self.tell(state, sent);
    }

    fn tell(&mut self, state: State, sent: u64) {
        (self.status.state, self.status.sent) = (state, sent);
        self.actions.push_back(Action::Tell(self.status.clone()));
    }
}
