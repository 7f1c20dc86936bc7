//! Where each Session of this process is posted, for operators to see and to command; and what becomes of recordings after their end ([`Delivery`]).
//!
//! In: a [`Snapshot`] at each tick of a Session's supervisor, and how it ended; commands of operators. Out: [`Posted`] copies, [`Totals`], and commands in
//! the Session's own queue. Passive: a lock that is held for a copy. A supervisor with one Session uses it as one with many does.
//! It refuses to make a Session wait: what it cannot take at once is answered with a [`Refusal`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use recorder_core::admission::{Machine, Shortage};
use recorder_core::fault::Fault;
use recorder_core::ids::SessionId;
use recorder_core::layout::NamedText;
use tokio::sync::{mpsc, oneshot};

mod delivery;

pub use delivery::{Delivery, DeliveryEntry};

use delivery::Deliveries;

use super::order::{Outcome, SessionState, Snapshot};
use crate::storage::recording_uploads::Uploads;

/// Sessions that are over and still shown.
const OVER_SHOWN: usize = 20;
/// Commands that may wait for one Session.
const COMMANDS: usize = 4;
/// A supervisor that stands still for so long is not waited for any more.
const ANSWER: Duration = Duration::from_secs(5);

/// What an operator wants of a Session.
#[derive(Debug)]
pub enum Command {
    /// Show people in this layout from now on.
    Layout {
        /// What operators call it.
        name: String,
        /// Its text; was checked.
        text: NamedText,
        /// Gets the answer.
        done: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// Why a command is not obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such Session.
    #[error("there is no Session of this name")]
    Unknown,
    /// Nothing can be changed any more.
    #[error("the Session is ending, or is over; nothing of it can be changed any more")]
    Ending,
    /// Other commands wait.
    #[error("the Session is busy with earlier commands; try again")]
    Busy,
}

/// What is posted of one Session.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its name.
    pub id: SessionId,
    /// How it stands.
    pub snapshot: Snapshot,
    /// How it ended, once it did.
    pub ended: Option<Ended>,
}

/// How a Session ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why, in one sentence.
    pub reason: String,
    /// Set when it failed.
    pub fault: Option<Fault>,
}

/// How much work this process takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Sessions that run.
    pub running: usize,
    /// Sessions that may run at the same time.
    pub most: usize,
}

/// What the machine has and uses, and what another Session would have too little of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// The machine.
    pub machine: Machine,
    /// What there is too little of.
    pub shortage: Option<Shortage>,
}

/// What all Sessions since the start of this process have done, those that are over included. Nothing in it ever falls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sessions that are over and did not fail.
    pub ended_well: u64,
    /// Sessions that failed.
    pub failed: u64,
    /// Workers that took the place of one that died.
    pub workers_replaced: u64,
    /// Programme pictures made.
    pub pictures: u64,
    /// Of these, repeated because the machine was too slow.
    pub repeated: u64,
    /// Received frames that were dropped before decoding.
    pub dropped: u64,
    /// Bytes that encoders made.
    pub encoded_bytes: u64,
    /// Programme time that is safe on disk.
    pub recorded: Duration,
    /// Bytes that live destinations have confirmed.
    pub live_bytes: u64,
    /// Pictures that live destinations did not get because they were behind.
    pub live_left_out: u64,
    /// Times that a live destination had to be tried again.
    pub live_retries: u64,
    /// Processor time of all workers.
    pub cpu: Duration,
    /// Orders that were refused, because there was no room for them.
    pub refused: u64,
}

/// All Sessions of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    /// Why no new Session can be taken, when it is not for lack of room.
    not_ready: Option<String>,
    load: Option<Load>,
    running: BTreeMap<SessionId, Place>,
    /// Newest last.
    over: VecDeque<Posted>,
    /// Of those that are over.
    past: Totals,
    serial: u64,
    deliveries: Deliveries,
}

#[derive(Debug)]
struct Place {
    posted: Posted,
    /// The layout that the Session began with, which need not be among those that operators can name otherwise.
    began_with: NamedText,
    commands: mpsc::Sender<Command>,
    serial: u64,
}

/// A Session's own place on the board. It is over when this is dropped.
#[derive(Debug)]
pub struct SessionEntry {
    board: Board,
    id: SessionId,
    commands: mpsc::Receiver<Command>,
    serial: u64,
}

impl Board {
    /// An empty board of a process that runs at most so many Sessions at the same time.
    pub fn new(most: usize) -> Self {
        let (running, over, past) = (BTreeMap::new(), VecDeque::new(), Totals::default());
        let deliveries = Deliveries::default();
        let shared = Shared { most, not_ready: None, load: None, running, over, past, serial: 0, deliveries };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A place for a Session that begins, with the layout that it begins with. A second one of the same name takes the place of the first.
    pub fn session(&self, id: SessionId, layout: NamedText) -> SessionEntry {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let mut shared = self.shared();
        shared.serial += 1;
        let serial = shared.serial;
        let snapshot = Snapshot { layout: layout.name.clone(), ..Snapshot::default() };
        let posted = Posted { id: id.clone(), snapshot, ended: None };
        shared.running.insert(id.clone(), Place { posted, began_with: layout, commands: sender, serial });
        drop(shared);
        SessionEntry { board: self.clone(), id, commands, serial }
    }

    /// Whether new Sessions can be taken; if not, why, in one sentence for operators.
    pub fn set_ready(&self, ready: Result<(), String>) {
        self.shared().not_ready = ready.err();
    }

    /// Why no new Session can be taken, when it is not for lack of room.
    pub fn not_ready(&self) -> Option<String> {
        self.shared().not_ready.clone()
    }

    /// How the machine stands.
    pub fn set_load(&self, load: Load) {
        self.shared().load = Some(load);
    }

    /// How the machine stands, where that is looked at.
    pub fn load(&self) -> Option<Load> {
        self.shared().load
    }

    /// An Order was refused, because there was no room for it.
    pub fn refused(&self) {
        self.shared().past.refused += 1;
    }

    /// How much work this process takes.
    pub fn capacity(&self) -> Capacity {
        let shared = self.shared();
        Capacity { running: shared.running.len(), most: shared.most }
    }

    /// The Sessions that run, by their names.
    pub fn running(&self) -> Vec<Posted> {
        self.shared().running.values().map(|place| place.posted.clone()).collect()
    }

    /// The last Sessions that are over, the newest first.
    pub fn over(&self) -> Vec<Posted> {
        self.shared().over.iter().rev().cloned().collect()
    }

    /// A Session that runs, and the layout that it began with.
    pub fn find(&self, id: &str) -> Option<(Posted, NamedText)> {
        let shared = self.shared();
        let place = shared.running.get(&SessionId::new(id))?;
        Some((place.posted.clone(), place.began_with.clone()))
    }

    /// Sums over all Sessions since the start of this process.
    pub fn totals(&self) -> Totals {
        let shared = self.shared();
        shared.running.values().fold(shared.past.clone(), |sum, place| sum.with(&place.posted.snapshot))
    }

    /// Shows people of a Session in another layout, which was checked.
    ///
    /// # Errors
    /// See [`Refusal`]. Then nothing has changed.
    pub async fn switch_layout(&self, id: &str, name: &str, text: NamedText) -> Result<(), Refusal> {
        let commands = {
            let shared = self.shared();
            let place = shared.running.get(&SessionId::new(id)).ok_or(Refusal::Unknown)?;
            place.commands.clone()
        };
        let (done, answer) = oneshot::channel();
        commands.try_send(Command::Layout { name: name.to_owned(), text, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Ending,
        })?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Refusal::Ending),
            Err(_) => Err(Refusal::Busy),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionEntry {
    /// The next command; never, once the Session has ended.
    pub async fn command(&mut self) -> Command {
        match self.commands.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        }
    }

    /// Posts how it goes.
    pub fn update(&self, snapshot: &Snapshot) {
        self.with(|posted| posted.snapshot.clone_from(snapshot));
    }

    /// Posts how the Session ended. What is left is to make its files, and to upload them.
    pub fn ended(&mut self, outcome: &Outcome) {
        self.commands.close();
        let ended = Ended { reason: outcome.reason.clone(), fault: outcome.fault.clone() };
        self.with(|posted| {
            posted.snapshot = Snapshot { state: SessionState::Finishing, ..outcome.last.clone() };
            posted.ended = Some(ended);
        });
    }

    /// Posts how the uploads get on after the Session has ended.
    pub fn uploads(&self, uploads: &Uploads) {
        self.with(|posted| posted.snapshot.uploads.clone_from(uploads));
    }

    /// The work after the Session failed.
    pub fn failed(&self, fault: &Fault) {
        self.with(|posted| {
            posted.ended.get_or_insert_with(|| Ended { reason: String::new(), fault: None }).fault = Some(fault.clone());
        });
    }

    fn with(&self, change: impl FnOnce(&mut Posted)) {
        let mut shared = self.board.shared();
        if let Some(place) = shared.running.get_mut(&self.id).filter(|place| place.serial == self.serial) {
            change(&mut place.posted);
        }
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        let mut shared = self.board.shared();
        if shared.running.get(&self.id).is_none_or(|place| place.serial != self.serial) {
            return;
        }
        let Some(Place { mut posted, .. }) = shared.running.remove(&self.id) else { return };
        posted.snapshot.state = SessionState::Over;
        let has_failed = posted.ended.as_ref().is_none_or(|ended| ended.fault.is_some());
        let mut past = std::mem::take(&mut shared.past).with(&posted.snapshot);
        *(if has_failed { &mut past.failed } else { &mut past.ended_well }) += 1;
        shared.past = past;
        shared.over.push_back(posted);
        while shared.over.len() > OVER_SHOWN {
            shared.over.pop_front();
        }
    }
}

impl Totals {
    /// And what this Session has done.
    fn with(self, snapshot: &Snapshot) -> Self {
        let Snapshot { status, lives, .. } = snapshot;
        let lives = |of: fn(&super::order::LiveStand) -> u64| lives.iter().map(of).sum::<u64>();
        Self {
            workers_replaced: self.workers_replaced + u64::from(snapshot.workers.saturating_sub(1)),
            pictures: self.pictures + status.pictures,
            repeated: self.repeated + status.repeated,
            dropped: self.dropped + status.dropped,
            encoded_bytes: self.encoded_bytes + status.encoded_bytes,
            recorded: self.recorded + snapshot.recorded,
            live_bytes: self.live_bytes + lives(|live| live.figures.confirmed_bytes),
            live_left_out: self.live_left_out + lives(|live| live.figures.left_out),
            live_retries: self.live_retries + lives(|live| live.retries),
            cpu: self.cpu + snapshot.cpu,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use recorder_core::fault::{Blame, Retry, Scope};

    use super::*;
    use crate::service::job::Status;

    fn text(name: &str) -> NamedText {
        NamedText { name: name.into(), text: String::new() }
    }

    fn made(pictures: u64) -> Snapshot {
        Snapshot { status: Status { pictures, ..Status::default() }, workers: 2, ..Snapshot::default() }
    }

    #[test]
    fn sums_never_fall_when_a_session_is_over() {
        let board = Board::new(2);
        let first = board.session(SessionId::new("a"), text("grid"));
        let mut second = board.session(SessionId::new("b"), text("grid"));
        first.update(&made(100));
        second.update(&made(10));
        assert_eq!((board.totals().pictures, board.totals().workers_replaced), (110, 2));
        assert_eq!(board.capacity(), Capacity { running: 2, most: 2 });
        second.ended(&Outcome { reason: "room closed".into(), last: made(30), ..Outcome::default() });
        assert_eq!(board.find("b").unwrap().0.snapshot.state, SessionState::Finishing);
        drop(second);
        // One that never said how it ended has failed.
        drop(first);
        let totals = board.totals();
        assert_eq!((totals.pictures, totals.ended_well, totals.failed), (130, 1, 1));
        let over: Vec<_> = board.over().iter().map(|posted| (posted.id.to_string(), posted.snapshot.state)).collect();
        assert_eq!(over, [("a".into(), SessionState::Over), ("b".into(), SessionState::Over)]);
        assert_eq!(board.capacity().running, 0);
    }

    #[test]
    fn only_the_last_sessions_that_are_over_are_shown() {
        let board = Board::new(1);
        for n in 0..OVER_SHOWN + 5 {
            let mut entry = board.session(SessionId::new(format!("s{n}")), text("grid"));
            entry.ended(&Outcome { last: made(1), ..Outcome::default() });
        }
        assert_eq!((board.over().len(), board.totals().pictures), (OVER_SHOWN, (OVER_SHOWN + 5) as u64));
        assert_eq!(board.over()[0].id.as_str(), format!("s{}", OVER_SHOWN + 4));
    }

    #[test]
    fn work_after_the_end_can_still_fail() {
        let board = Board::new(1);
        let mut entry = board.session(SessionId::new("a"), text("grid"));
        entry.ended(&Outcome::default());
        let sentence = "The disk is full.".to_owned();
        entry.failed(&Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence });
        drop(entry);
        assert_eq!((board.totals().ended_well, board.totals().failed), (0, 1));
        assert_eq!(board.over()[0].ended.as_ref().unwrap().fault.as_ref().unwrap().sentence, "The disk is full.");
    }

    #[test]
    fn the_newer_of_two_with_one_name_stays() {
        let board = Board::new(2);
        let older = board.session(SessionId::new("a"), text("grid"));
        let newer = board.session(SessionId::new("a"), text("speaker"));
        older.update(&made(100));
        drop(older);
        assert_eq!(board.find("a").unwrap().1.name, "speaker");
        assert_eq!(board.totals().pictures, 0);
        drop(newer);
        assert!(board.find("a").is_none());
    }

    #[tokio::test]
    async fn commands_are_bounded_and_answered() {
        let board = Board::new(1);
        assert_eq!(board.switch_layout("a", "grid", text("grid")).await, Err(Refusal::Unknown));
        let mut entry = board.session(SessionId::new("a"), text("grid"));
        let switch = || board.switch_layout("a", "speaker", text("speaker"));
        let obey = async {
            let Command::Layout { name, text, done } = entry.command().await;
            done.send(Ok(())).unwrap();
            (name, text.name)
        };
        let (answer, seen) = tokio::join!(switch(), obey);
        assert_eq!((answer, seen), (Ok(()), ("speaker".into(), "speaker".into())));
        // Nobody takes these.
        let waiting: Vec<_> = (0..COMMANDS).map(|_| Box::pin(switch())).collect();
        let waiting = futures_util::future::join_all(waiting);
        tokio::pin!(waiting);
        std::future::poll_fn(|context| {
            assert!(waiting.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(switch().await, Err(Refusal::Busy));
        entry.ended(&Outcome::default());
        assert_eq!(switch().await, Err(Refusal::Ending));
        drop(entry);
        assert_eq!(waiting.await, vec![Err(Refusal::Ending); COMMANDS]);
        assert_eq!(switch().await, Err(Refusal::Unknown));
    }
}
