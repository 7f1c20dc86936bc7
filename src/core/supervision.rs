//! What the supervisor does about the worker of one Session: start it, replace it with growing caution, or give up.
//!
//! In: what happened to the worker, and the time. Out: [`Action`]s. Pure: it starts no process and reads no socket.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::{Blame, Fault, Retry, Scope};
use crate::ids::TrackId;
use crate::time::SessionTime;

/// How much a replacement worker attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caution {
    /// Everything.
    None,
    /// Everything but these Tracks, which were decoded when two earlier workers died.
    Without(Vec<TrackId>),
    /// Sound only.
    SoundOnly,
}

impl Caution {
    /// Whether a Track may be received at all.
    pub fn allows(&self, track: &TrackId) -> bool {
        match self {
            Self::None => true,
            Self::Without(tracks) => !tracks.contains(track),
            Self::SoundOnly => !track.kind.is_video(),
        }
    }
}

/// Deaths within this time count together.
pub const DEATHS_WITHIN: Duration = Duration::from_secs(60);
/// So many deaths in [`DEATHS_WITHIN`], and no further worker is started.
pub const DEATHS_TO_GIVE_UP: usize = 5;
/// A worker that was told to stop and has not ended after this time is killed. Longer than a Session waits for its Targets.
pub const STOP_GRACE: Duration = Duration::from_secs(90);

/// How a worker died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// By a signal, for example 11 after a crash or 9 from the kernel when memory is short.
    Signal(i32),
    /// It exited with this code and without a last message.
    Exit(i32),
    /// It could not be started.
    NotStarted,
    /// It said nothing for too long and was killed by us.
    Stuck,
}

/// What the supervisor tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The process runs.
    WorkerStarted,
    /// These Tracks are being decoded now, newest last.
    WorkerDecodes(Vec<TrackId>),
    /// The process is gone without its last message.
    WorkerDied {
        /// How.
        how: Death,
    },
    /// Its last message came: all Takes are ended and synced.
    WorkerEnded {
        /// Set when the Session failed.
        fault: Option<Fault>,
    },
    /// The Session is to end.
    Stop,
    /// [`Supervision::poll_wake`] is reached.
    Woken,
}

/// What the supervisor is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Start a worker.
    Start {
        /// What it attempts.
        caution: Caution,
        /// 1 for the first worker of the Session.
        attempt: u32,
    },
    /// Tell the moderator.
    Tell(Fault),
    /// Tell the worker to stop.
    TellStop,
    /// End the worker's process now; `WorkerDied` follows.
    Kill,
    /// No worker runs, and none will be started: recover what is in the spool, and deliver it. Comes once, as the last action.
    Finish {
        /// Set when the Session failed.
        fault: Option<Fault>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    No,
    /// Told at this time.
    Since(SessionTime),
    /// Too late: killed.
    Killed,
}

/// Watches over the workers of one Session.
#[derive(Debug)]
pub struct Supervision {
    actions: VecDeque<Action>,
    /// Deaths not older than [`DEATHS_WITHIN`]; at most [`DEATHS_TO_GIVE_UP`].
    deaths: VecDeque<SessionTime>,
    decoding: Vec<TrackId>,
    attempt: u32,
    stopping: Stopping,
    over: bool,
}

impl Supervision {
    /// A Session begins: the first action is to start a worker.
    pub fn new() -> Self {
        let first = Action::Start { caution: Caution::None, attempt: 1 };
        Self {
            actions: VecDeque::from([first]),
            deaths: VecDeque::new(),
            decoding: Vec::new(),
            attempt: 1,
            stopping: Stopping::No,
            over: false,
        }
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        if self.over {
            return;
        }
        match input {
            // Between its start and its death nothing about a worker is decided; a stop told before the start is repeated.
            Input::WorkerStarted if self.stopping != Stopping::No => self.actions.push_back(Action::TellStop),
            Input::WorkerStarted | Input::Woken => {}
            Input::WorkerDecodes(tracks) => self.decoding = tracks,
            Input::WorkerDied { how } => self.died(how, now),
            Input::WorkerEnded { fault } => self.finish(fault),
            Input::Stop => {
                if self.stopping == Stopping::No {
                    self.stopping = Stopping::Since(now);
                    self.actions.push_back(Action::TellStop);
                }
            }
        }
        if let Stopping::Since(since) = self.stopping
            && !self.over
            && now.since(since) >= STOP_GRACE
        {
            self.stopping = Stopping::Killed;
            self.actions.push_back(Action::Kill);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to send [`Input::Woken`]: a worker that was told to stop is waited for until then.
    pub fn poll_wake(&self) -> Option<SessionTime> {
        match self.stopping {
            Stopping::Since(since) if !self.over => Some(since + STOP_GRACE),
            _ => None,
        }
    }

    /// Whether [`Action::Finish`] was decided.
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn died(&mut self, how: Death, now: SessionTime) {
        let fault = |retry, sentence: String| Fault { scope: Scope::Process, blame: Blame::Us, retry, sentence };
        if self.stopping != Stopping::No {
            let sentence = format!("The worker did not end properly ({how}); what it had written is kept.");
            self.finish(Some(fault(Retry::Never, sentence)));
            return;
        }
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|death| now.since(*death) > DEATHS_WITHIN) {
            self.deaths.pop_front();
        }
        let count = self.deaths.len();
        if count >= DEATHS_TO_GIVE_UP {
            let sentence =
                format!("The worker died {count} times within a minute, the last time by {how}; what was written is kept.");
            self.finish(Some(Fault { scope: Scope::Session, ..fault(Retry::Never, sentence) }));
            return;
        }
        let (caution, goes_on) = match count {
            1 => (Caution::None, "goes on after a short gap"),
            2 => {
                // Sound is never left out for this: it is decoded in the same way for everybody, so it tells nothing about the cause.
                let tracks = self.decoding.iter().filter(|track| track.kind.is_video()).cloned().collect();
                (Caution::Without(tracks), "goes on without the pictures shown last")
            }
            _ => (Caution::SoundOnly, "goes on with sound only"),
        };
        let sentence = format!("The worker died ({how}); the recording {goes_on}.");
        self.actions.push_back(Action::Tell(fault(Retry::After(Duration::ZERO), sentence)));
        self.attempt += 1;
        self.actions.push_back(Action::Start { caution, attempt: self.attempt });
    }

    fn finish(&mut self, fault: Option<Fault>) {
        self.over = true;
        self.actions.push_back(Action::Finish { fault });
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::NotStarted => f.write_str("failed start"),
            Self::Stuck => f.write_str("standstill"),
        }
    }
}

#[cfg(test)]
mod tests;
