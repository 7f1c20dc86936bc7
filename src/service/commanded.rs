//! The supervisor's part of a Session whose Targets are commanded by the moderators of a room.
//!
//! In: what the worker says of such Targets, and answers of the [`Steward`]. Out: what the worker is told, and what a worker that replaces it has to know.
//! Lives on the Session's task, and never waits: whatever takes time is a task of its own whose answer comes back by a channel.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use recorder_core::claim::{Claimed, ClaimedTarget};
use recorder_core::fault::Fault;
use recorder_core::ids::{SessionId, TakeId, TargetId};
use recorder_core::secret::Secret;
use recorder_core::stage::ConsentRule;
use recorder_core::time::SessionTime;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::books::Books;
use super::job::{CommandedJob, FormerTarget, FromWorker, ResumedTarget, ToWorker, WantedTarget, Withheld};
use crate::storage::RecordingUploads;
use crate::storage::books::Closing;
use crate::target::claim::Claim;

/// What comes later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How such a Session is to go on.
pub struct CommandedOrder {
    /// Who may be recorded.
    pub consent: ConsentRule,
    /// What still comes is kept for so long when nobody can withdraw their consent.
    pub signaling_grace: Duration,
    /// How long a live destination may be lost.
    pub reconnect_grace: Duration,
    /// How long to stay in the room for the news that a recording is stored.
    pub delivery_grace: Duration,
    /// What is not delivered, and what moderators are told about it.
    pub withheld: Withheld,
    /// What the Session was at when an earlier supervisor of it was killed.
    pub former: Former,
    /// The folder of the Session's claim, for its workers to hold.
    pub claim: Option<PathBuf>,
    /// Who gives tickets, permits Targets, and stores what was recorded.
    pub steward: Box<dyn Steward>,
    /// What is said to the Session while it runs.
    pub words: mpsc::Receiver<Word>,
}

/// What is said to a Session that runs.
#[derive(Clone, Debug)]
pub enum Word {
    /// The Conference has asked for the Session once more.
    OrderedAgain,
    /// This is not delivered from now on. After [`Withheld::Everything`] nothing else counts.
    Withhold(Withheld),
}

/// What a Session was at when its supervisor was killed.
#[derive(Debug, Default)]
pub struct Former {
    /// Recordings that go on in their folders.
    pub recordings: Vec<FormerRecording>,
    /// What is known by its name only.
    pub wanted: Vec<FormerTarget>,
}

/// A recording that goes on.
#[derive(Debug)]
pub struct FormerRecording {
    /// Which Target.
    pub target: TargetId,
    /// Which of its deliveries.
    pub run: u32,
    /// The Take that comes next.
    pub next: TakeId,
    /// A moderator had paused it.
    pub paused: bool,
    /// Where it is.
    pub kept: Kept,
}

/// Who does for a Session what needs more than the Session has. The futures run as tasks; dropping the Session does not end them.
pub trait Steward: Send {
    /// A new ticket to the room.
    fn ticket(&mut self) -> Later<Result<Secret, Fault>>;
    /// Whether a Target may begin, and what it needs.
    fn admit(&mut self, wanted: Wanted) -> Later<Result<Admitted, Fault>>;
    /// Ends the files of a recording, and stores them, and its books with them. `None` when every place that it is meant for has it: a storage says so, a
    /// controller has taken all of it.
    fn deliver(&mut self, recording: Kept, books: Option<Closing>) -> Later<Option<Fault>>;
    /// What the Session is at, complete, for whoever has to go on with it.
    fn note(&mut self, targets: Vec<ClaimedTarget>);
}

/// A Target that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// In which Session.
    pub session: SessionId,
    /// Which.
    pub target: TargetId,
    /// Which of its deliveries, counted from 1.
    pub run: u32,
    /// What.
    pub what: WantedTarget,
}

/// What a Target needs.
#[derive(Debug)]
pub enum Admitted {
    /// A recording has a place.
    Recording(Kept),
    /// A stream is this Session's for as long as this is held.
    Live(Claim),
}

/// Where a recording is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its spool folder.
    pub folder: PathBuf,
    /// Who uploads it while it grows.
    pub uploads: Option<Arc<RecordingUploads>>,
}

/// What a task has brought.
#[derive(Debug)]
pub(super) enum Done {
    Ticket(Result<Secret, Fault>),
    Admitted { target: TargetId, run: u32, answer: Result<Admitted, Fault> },
    Delivered { target: TargetId, run: u32, fault: Option<Fault> },
}

/// What the Session's task wakes up for.
#[derive(Debug)]
pub(super) enum Woken {
    Done(Done),
    Said(Word),
}

/// A delivery that runs, is paused, or is being closed.
#[derive(Debug)]
struct Entry {
    target: TargetId,
    run: u32,
    what: WantedTarget,
    next: TakeId,
    paused: bool,
    /// Told to end for good.
    ending: bool,
    admitted: Option<Admitted>,
}

/// The commanded Targets of a Session.
pub(super) struct Commanded {
    order: CommandedOrder,
    session: SessionId,
    entries: Vec<Entry>,
    /// The worker waits for a ticket.
    ticket_wanted: bool,
    /// One that nobody has used, or that is on its way.
    ticket: Ticket,
    tasks: mpsc::UnboundedSender<Done>,
    done: mpsc::UnboundedReceiver<Done>,
    words_open: bool,
    /// What was noted last.
    noted: Vec<ClaimedTarget>,
}

enum Ticket {
    None,
    Asked,
    Here(Result<Secret, Fault>),
}

impl Commanded {
    /// Nothing is wanted yet; the first ticket is asked for at once, because people wait.
    pub(super) fn new(mut order: CommandedOrder, session: SessionId) -> Self {
        // Bounded by what is in progress: a ticket, and one answer for each Target.
        let (tasks, done) = mpsc::unbounded_channel();
        let resumed = std::mem::take(&mut order.former.recordings).into_iter().map(Entry::resumed);
        let (entries, ticket, noted) = (resumed.collect(), Ticket::None, Vec::new());
        let mut all = Self { order, session, entries, ticket_wanted: false, ticket, tasks, done, words_open: true, noted };
        all.ask_for_ticket();
        all
    }

    /// What the worker's job says of it.
    pub(super) fn job(&self) -> CommandedJob {
        let resumed = self.entries.iter().filter(|entry| !entry.ending).map(|entry| ResumedTarget {
            target: entry.target.clone(),
            what: entry.what.clone(),
            run: entry.run,
            next: entry.next,
            paused: entry.paused,
            permitted: entry.admitted.is_some(),
            folder: entry.kept().map(|kept| kept.folder.clone()),
        });
        CommandedJob {
            reconnect_grace: self.order.reconnect_grace,
            delivery_grace: self.order.delivery_grace,
            withheld: self.order.withheld.clone(),
            resumed: resumed.collect(),
            wanted: self.order.former.wanted.clone(),
            claim: self.order.claim.clone(),
        }
    }

    /// The recordings that go on keep their books.
    pub(super) fn open_books(&self, books: &mut Books, now: SessionTime) {
        for entry in &self.entries {
            if let Some(kept) = entry.kept() {
                books.go_on(&entry.target, entry.run, kept.folder.clone(), now);
            }
        }
    }

    /// Whether an earlier supervisor had the Session.
    pub(super) fn goes_on(&self) -> bool {
        !self.entries.is_empty() || !self.order.former.wanted.is_empty()
    }

    /// Who may be recorded.
    pub(super) fn consent(&self) -> ConsentRule {
        self.order.consent
    }

    /// As in [`CommandedOrder`].
    pub(super) fn signaling_grace(&self) -> Duration {
        self.order.signaling_grace
    }

    /// Waits for the next thing that a task brings, or that somebody orders. Cancel-safe.
    pub(super) async fn woken(&mut self) -> Woken {
        loop {
            tokio::select! {
                Some(done) = self.done.recv() => return Woken::Done(done),
                word = self.order.words.recv(), if self.words_open => match word {
                    Some(word) => return Woken::Said(word),
                    None => self.words_open = false,
                },
            }
        }
    }

    /// What woke the task; the answer is for the worker.
    pub(super) fn take(&mut self, woken: Woken, books: &mut Books) -> Option<ToWorker> {
        let answer = match woken {
            Woken::Said(Word::OrderedAgain) => Some(ToWorker::OrderedAgain),
            // A Session that delivers nothing does not begin to: it was refused, or it ends.
            Woken::Said(Word::Withhold(_)) if matches!(self.order.withheld, Withheld::Everything(_)) => None,
            Woken::Said(Word::Withhold(withheld)) => {
                // Also for a worker that takes the place of this one.
                self.order.withheld.clone_from(&withheld);
                Some(ToWorker::Withhold(withheld))
            }
            Woken::Done(done) => self.brought(done, books),
        };
        self.note();
        answer
    }

    fn brought(&mut self, done: Done, books: &mut Books) -> Option<ToWorker> {
        match done {
            Done::Ticket(answer) => {
                self.ticket = Ticket::Here(answer);
                self.hand_over_ticket()
            }
            Done::Admitted { target, run, answer } => {
                let entry = self.entries.iter_mut().find(|entry| entry.target == target && entry.run == run);
                match (entry, answer) {
                    (Some(entry), Ok(admitted)) => {
                        let folder = match &admitted {
                            Admitted::Recording(kept) => Some(kept.folder.clone()),
                            Admitted::Live(_) => None,
                        };
                        if let Some(folder) = &folder {
                            books.place(&target, run, folder.clone());
                        }
                        entry.admitted = Some(admitted);
                        Some(ToWorker::Permit { target, folder })
                    }
                    (_, Err(fault)) => {
                        tracing::warn!(target.id = %target, reason = %fault, "a target cannot begin");
                        self.entries.retain(|entry| !(entry.target == target && entry.run == run));
                        books.forget(&target, run);
                        Some(ToWorker::Forbid { target, fault })
                    }
                    // Its worker died and nobody wanted it any more; an empty recording is swept up.
                    (None, Ok(Admitted::Recording(kept))) => {
                        self.deliver(target, run, kept, None);
                        None
                    }
                    (None, Ok(Admitted::Live(_))) => None,
                }
            }
            Done::Delivered { target, run, fault } => Some(ToWorker::Delivered { target, run, fault }),
        }
    }

    /// What the worker says of its Targets. Everything else is given back.
    pub(super) fn hear(
        &mut self,
        message: FromWorker,
        books: &mut Books,
        now: SessionTime,
    ) -> Result<Option<ToWorker>, FromWorker> {
        let answer = self.heard(message, books, now)?;
        self.note();
        Ok(answer)
    }

    fn heard(&mut self, message: FromWorker, books: &mut Books, now: SessionTime) -> Result<Option<ToWorker>, FromWorker> {
        match message {
            FromWorker::NeedTicket => {
                self.ticket_wanted = true;
                self.ask_for_ticket();
                return Ok(self.hand_over_ticket());
            }
            FromWorker::Opens { target, run, what } => {
                if what == WantedTarget::Recording {
                    books.begin(&target, run, now);
                }
                books.wanted(&target, (&what).into(), now);
                let wanted = Wanted { session: self.session.clone(), target: target.clone(), run, what: what.clone() };
                let (next, of) = (TakeId(1), target.clone());
                self.entries.retain(|entry| entry.target != target);
                self.order.former.wanted.retain(|former| former.target != target);
                self.entries.push(Entry { target, run, what, next, paused: false, ending: false, admitted: None });
                let asking = self.order.steward.admit(wanted);
                self.spawn(async move { Done::Admitted { target: of, run, answer: asking.await } });
            }
            FromWorker::Begins { target, take } => {
                if let Some(entry) = self.entry(&target) {
                    (entry.next, entry.paused) = (TakeId(take.0 + 1), false);
                }
            }
            FromWorker::Ends { target, for_good } => {
                if let Some(entry) = self.entry(&target) {
                    (entry.paused, entry.ending) = (!for_good, for_good);
                }
            }
            FromWorker::Closed { target } => self.close(books, now, |entry| entry.target == target),
            other => return Err(other),
        }
        Ok(None)
    }

    /// The worker died: what it was ending will not be ended by anybody else.
    pub(super) fn worker_died(&mut self, books: &mut Books, now: SessionTime) {
        self.ticket_wanted = false;
        self.close(books, now, |entry| entry.ending);
        self.note();
    }

    /// Tells whoever keeps note of it what changed.
    fn note(&mut self) {
        let wanted = self.order.former.wanted.iter().map(FormerTarget::claimed);
        let now: Vec<_> = self.entries.iter().filter(|entry| !entry.ending).map(Entry::claimed).chain(wanted).collect();
        if now != self.noted {
            self.noted.clone_from(&now);
            self.order.steward.note(now);
        }
    }

    /// The Session is over: everything that was recorded is stored, by tasks that go on without it.
    pub(super) fn over(mut self, books: &mut Books, now: SessionTime) {
        self.close(books, now, |_| true);
    }

    /// The uploads of recordings that grow, by their Targets.
    pub(super) fn uploads(&self, target: &TargetId) -> Option<&Arc<RecordingUploads>> {
        let entry = self.entries.iter().find(|entry| entry.target == *target)?;
        entry.kept()?.uploads.as_ref()
    }

    /// The uploads of all recordings that grow.
    pub(super) fn all_uploads(&self) -> impl Iterator<Item = &Arc<RecordingUploads>> {
        self.entries.iter().filter_map(|entry| entry.kept()?.uploads.as_ref())
    }

    fn close(&mut self, books: &mut Books, now: SessionTime, which: impl Fn(&Entry) -> bool) {
        let closed: Vec<Entry> = self.entries.extract_if(.., |entry| which(entry)).collect();
        for Entry { target, run, admitted, .. } in closed {
            let closing = books.close(&target, run, now);
            if let Some(Admitted::Recording(kept)) = admitted {
                self.deliver(target, run, kept, closing);
            }
        }
    }

    fn deliver(&mut self, target: TargetId, run: u32, kept: Kept, books: Option<Closing>) {
        let delivering = self.order.steward.deliver(kept, books);
        self.spawn(async move { Done::Delivered { target, run, fault: delivering.await } });
    }

    fn entry(&mut self, target: &TargetId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.target == *target)
    }

    fn ask_for_ticket(&mut self) {
        if let Ticket::None = self.ticket {
            self.ticket = Ticket::Asked;
            let asking = self.order.steward.ticket();
            self.spawn(async move { Done::Ticket(asking.await) });
        }
    }

    fn hand_over_ticket(&mut self) -> Option<ToWorker> {
        if !self.ticket_wanted || !matches!(self.ticket, Ticket::Here(_)) {
            return None;
        }
        self.ticket_wanted = false;
        match std::mem::replace(&mut self.ticket, Ticket::None) {
            Ticket::Here(Ok(ticket)) => Some(ToWorker::Ticket { ticket: Some(ticket), fault: None }),
            Ticket::Here(Err(fault)) => Some(ToWorker::Ticket { ticket: None, fault: Some(fault) }),
            Ticket::None | Ticket::Asked => None,
        }
    }

    fn spawn(&self, task: impl Future<Output = Done> + Send + 'static) {
        let tasks = self.tasks.clone();
        // When nobody waits any more the work was done all the same.
        tokio::spawn(async move { drop(tasks.send(task.await)) }.in_current_span());
    }
}

impl Entry {
    fn resumed(former: FormerRecording) -> Self {
        let FormerRecording { target, run, next, paused, kept } = former;
        let (what, admitted) = (WantedTarget::Recording, Some(Admitted::Recording(kept)));
        Self { target, run, what, next, paused, ending: false, admitted }
    }

    fn claimed(&self) -> ClaimedTarget {
        let folder = || Some(self.kept()?.folder.file_name()?.to_string_lossy().into_owned());
        let what = match &self.what {
            WantedTarget::Recording => Claimed::Recording { folder: folder() },
            WantedTarget::Live { .. } => Claimed::Live,
        };
        ClaimedTarget { target: self.target.clone(), run: self.run, next: self.next, paused: self.paused, what }
    }

    fn kept(&self) -> Option<&Kept> {
        match &self.admitted {
            Some(Admitted::Recording(kept)) => Some(kept),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "commanded_tests.rs"]
mod tests;
