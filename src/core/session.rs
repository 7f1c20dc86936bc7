//! Decides what a Session does next.
//!
//! In: what happens in the Conference, what our meter hears, what the Targets report, and the time. Out: [`Action`]s.
//! Pure: no I/O, no clock, no thread. Call [`Session::handle`], then drain [`Session::poll_action`], then sleep until
//! [`Session::poll_wake`], and then send [`Input::Woken`].
//!
//! Promises: every `BeginTake` is followed by exactly one `EndTake`; no Take begins before we are in the room; `Over` comes exactly once and
//! is the last action; whoever is not known to be in the room, or is left out by [`Caution`], is never subscribed.
//! It does not retry the Conference (the adapter does) and does not know how media flow.

mod outcome;
mod picture;
mod room;
mod settings;
#[cfg(test)]
mod tests;
mod waking;
mod wishes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::conference::{ConferenceCommand, ConferenceEvent, Delivery, Subscription};
use crate::fault::Fault;
use crate::ids::{TakeId, TargetId};
use crate::layout::{Layout, Seating};
use crate::scene::{Rgb, Scene, Scenes};
use crate::secret::Pii;
use crate::stage::{Loudness, People};
use crate::standing::Reporter;
use crate::target::{Target, TargetReport, TargetState};
use crate::time::SessionTime;

pub use crate::supervision::Caution;
pub use outcome::{Outcome, WhyOver};
pub use settings::{Commanded, Framing, Resumed, SessionSettings, Withheld};
pub use waking::Wake;

/// What the Session is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Something happened in the Conference.
    Conference(ConferenceEvent),
    /// Our own meter heard this, for everybody whose sound is received; about every 100 ms.
    Heard(Vec<Loudness>),
    /// A Target says something about itself.
    Target {
        /// Which.
        id: TargetId,
        /// What it says.
        report: TargetReport,
    },
    /// What a Target has recorded is stored, or cannot be.
    Delivered {
        /// Which.
        target: TargetId,
        /// Which of its deliveries, as in [`Action::Open`].
        run: u32,
        /// Why not.
        fault: Option<Fault>,
    },
    /// The Conference has asked for us once more, although we are here: a moderator wants something that we may not have been told.
    OrderedAgain,
    /// This is not delivered from now on: what runs of it ends, with the reason told, and so is answered who wants it.
    Withhold(Withheld),
    /// Show people in this layout from now on, in all Renditions that have none of their own; nothing else changes.
    Layout(Layout),
    /// No programme can be made any more, and no other worker would do better: end all Takes with what they have, and leave.
    ProgrammeFailed(Fault),
    /// End all Takes now, and leave.
    Stop,
    /// The time of [`Session::poll_wake`] is reached.
    Woken,
}

/// What is to be done. Each is whole: only the newest `Show` and `Tell(Subscribe)` count.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Tell the Conference.
    Tell(ConferenceCommand),
    /// Show this from its time on, in each Rendition its own Scene.
    Show(Scenes),
    /// A moderator wants this Target: make it ready. Its first Take follows.
    Open {
        /// Which.
        target: TargetId,
        /// Its n-th delivery, counted from 1: one that was stopped and is wanted again is another one, for example another file.
        run: u32,
        /// What it is.
        delivery: Delivery,
    },
    /// Do not wait for the time of the next attempt.
    TryNow {
        /// A live destination.
        target: TargetId,
    },
    /// Show the slate from the programme instant `from` on: a live destination that an earlier worker has served is paused. A Take may follow.
    ShowSlate {
        /// Which.
        target: TargetId,
        /// The first instant.
        from: SessionTime,
    },
    /// Begin a Take with the programme instant `at`.
    BeginTake {
        /// Of which Target.
        target: TargetId,
        /// Which.
        take: TakeId,
        /// Its first programme instant.
        at: SessionTime,
    },
    /// End the running Take; nothing from the programme instant `at` on belongs to it.
    EndTake {
        /// Of which Target.
        target: TargetId,
        /// The first programme instant after it.
        at: SessionTime,
        /// What comes after it.
        then: After,
    },
    /// Nothing more will happen.
    Over(Outcome),
}

/// What follows the end of a Take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Perhaps another Take of the same delivery. A live destination shows the slate until then. The Target reports [`TargetReport::Parked`].
    Pause,
    /// Nothing: the delivery is complete. The Target reports [`TargetReport::Ended`]. Also said while it is paused, then without a running Take.
    Stop,
}

/// Where a Session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// On the way into the room; no Take yet.
    Entering,
    /// Takes are open. This includes a lost connection.
    Live,
    /// Takes are ended; Targets finish, and we leave.
    Ending,
    /// Done.
    Over,
}

/// How we stand to the Conference.
#[derive(Clone, PartialEq, Debug)]
enum Connection {
    /// Not in it: not yet, or lost.
    Outside { since: SessionTime, fault: Option<Fault> },
    /// In it; the list of people is being told.
    Listing,
    /// In it, and it is known who else is.
    Inside,
    /// It ended for us; it says no more.
    Gone,
}

/// How far leaving has come, once the Session is ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    /// Told at this time at the latest; until then the last words arrive.
    At(SessionTime),
    /// Told; an answer is awaited until this time.
    Until(SessionTime),
    /// We are out, or no longer wait.
    Done,
}

/// The decision maker of one Session.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    actions: VecDeque<Action>,
    phase: Phase,
    connection: Connection,
    people: People,
    targets: Vec<Target>,
    /// Since when nobody but us has been in the room.
    alone_since: Option<SessionTime>,
    /// One for each Rendition.
    seating: Vec<Seating>,
    /// What the room calls itself.
    title: Option<Pii>,
    shown: Scenes,
    /// What people and Conference were when the Scene was last derived.
    derived_from: Option<(u64, Connection)>,
    /// `None` after each entry: a new connection has to be told everything.
    subscribed: Option<Vec<Subscription>>,
    leaving: Leaving,
    outcome: Option<Outcome>,
    /// What the Conference was told about each Target that its moderators command.
    reporters: BTreeMap<TargetId, Reporter>,
    /// The list of the first entry is not complete yet.
    first_list: bool,
    /// Takes have ended whose last words may still arrive until then.
    last_word: Option<SessionTime>,
    /// Since when nothing has been wanted of us.
    idle_since: Option<SessionTime>,
    /// The next Scene holds at once, also for what was received before it and not mixed yet.
    at_once: bool,
    now: SessionTime,
}

impl Session {
    /// A Session that is on its way into the room. `now` need not be zero: a replacement worker continues the session time.
    pub fn new(settings: SessionSettings, now: SessionTime) -> Self {
        let ordered = settings.targets.iter().map(|id| Target::new(id.clone(), settings.first_take));
        let resumed = settings.commanded.iter().flat_map(|commanded| &commanded.resumed).map(Resumed::target);
        let targets: Vec<Target> = ordered.chain(resumed).collect();
        let people = People::new(settings.consent);
        // What the first derivation replaces.
        let shown = settings.renditions.iter().map(|framing| Arc::new(Scene::empty(now, framing.canvas, Rgb(0, 0, 0)))).collect();
        let mut session = Self {
            actions: VecDeque::new(),
            phase: Phase::Entering,
            connection: Connection::Outside { since: now, fault: None },
            people,
            targets,
            alone_since: None,
            seating: vec![Seating::default(); settings.renditions.len()],
            title: None,
            shown,
            derived_from: None,
            subscribed: None,
            leaving: Leaving::Done,
            outcome: None,
            reporters: BTreeMap::new(),
            first_list: true,
            last_word: None,
            idle_since: None,
            at_once: false,
            now,
            settings,
        };
        session.end_withheld(now);
        session.derive(now);
        session
    }

    /// Takes note of something. Time never goes back: an earlier `now` counts as the latest one.
    pub fn handle(&mut self, input: Input, now: SessionTime) {
        if self.phase == Phase::Over {
            return;
        }
        let now = now.max(self.now);
        self.now = now;
        // What was due before this input is decided before it.
        self.let_time_pass(now);
        match input {
            Input::Conference(event) => self.conference(event, now),
            Input::Heard(heard) => self.people.metered(&heard, now),
            Input::Target { id, report } => self.target_reports(&id, report, now),
            Input::Delivered { target, run, fault } => self.delivered(&target, run, fault),
            Input::OrderedAgain => self.ordered_again(now),
            Input::Withhold(withheld) => self.withhold(withheld, now),
            Input::Layout(layout) => {
                self.settings.layout = layout;
                let framed = self.seating.iter_mut().zip(&self.settings.renditions);
                framed.filter(|(_, framing)| framing.layout.is_none()).for_each(|(seating, _)| *seating = Seating::default());
                self.derived_from = None;
            }
            Input::ProgrammeFailed(fault) => {
                if let Some(outcome) = &mut self.outcome {
                    outcome.fault.get_or_insert_with(|| fault.clone());
                }
                self.end(Outcome::new(WhyOver::NoProgramme, Some(fault)), now, now);
                // No last word will be mixed any more.
                if let Leaving::At(_) = self.leaving {
                    self.leaving = Leaving::At(now);
                }
            }
            Input::Stop => self.end(Outcome::new(WhyOver::Stopped, None), now, now),
            Input::Woken => {}
        }
        self.let_time_pass(now);
        self.derive(now);
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Where the Session stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ends, as soon as that is known; after [`Action::Over`] that says it.
    pub fn ending(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// People in the room, without us.
    pub fn people(&self) -> usize {
        self.people.count()
    }

    /// The newest Scene of each Rendition.
    pub fn scenes(&self) -> &Scenes {
        &self.shown
    }

    /// The state of a Target.
    pub fn target(&self, id: &TargetId) -> Option<&TargetState> {
        self.targets.iter().find(|target| target.id == *id).map(|target| &target.state)
    }

    /// Entries in all collections: bounded by who is in the room and how many Targets there are, not by how long the Session runs.
    pub fn footprint(&self) -> usize {
        let scene = |scene: &Arc<Scene>| scene.tiles.len() + scene.ornaments.len() + scene.audible.len();
        let scenes: usize = self.shown.iter().map(scene).sum();
        let seating: usize = self.seating.iter().map(Seating::footprint).sum();
        let subscribed = self.subscribed.as_ref().map_or(0, Vec::len);
        let told = self.targets.len() + self.reporters.len();
        self.people.footprint() + seating + told + scenes + subscribed + self.actions.len()
    }

    fn target_reports(&mut self, id: &TargetId, report: TargetReport, now: SessionTime) {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == *id) else { return };
        let is_over = report == TargetReport::Ended;
        if is_over || matches!(report, TargetReport::Failed(_)) {
            self.derived_from = None;
        }
        if let TargetReport::Live(state) = &report
            && target.delivery.is_some()
            && target.is_refused(state)
        {
            // Somebody waits for the answer, and another attempt is theirs to want.
            target.report(report, now);
            self.give_up_destination(id, now);
            return;
        }
        target.report(report, now);
        if is_over && target.delivery == Some(Delivery::Recording) && self.phase != Phase::Over {
            target.delivery_begins(now);
        }
        if target.is_due_again() {
            self.begin(id, now);
            return;
        }
        if target.can_go_on() || self.phase == Phase::Ending {
            return;
        }
        if target.end(now) {
            self.actions.push_back(Action::EndTake { target: id.clone(), at: now, then: After::Stop });
        }
        if self.settings.commanded.is_some() {
            return;
        }
        if !self.targets.iter().any(Target::can_go_on) {
            let fault = self.targets.iter().find_map(Target::fault).cloned();
            self.end(Outcome::new(WhyOver::NoTargetLeft, fault), now, now);
        }
    }

    /// Ends all Takes with the programme instant `at`, unless that was done before.
    fn end(&mut self, outcome: Outcome, at: SessionTime, now: SessionTime) {
        if matches!(self.phase, Phase::Ending | Phase::Over) {
            return;
        }
        self.phase = Phase::Ending;
        let nothing_runs = outcome.why == WhyOver::NothingWanted;
        self.outcome = Some(outcome);
        for target in &mut self.targets {
            if target.end(now) {
                self.actions.push_back(Action::EndTake { target: target.id.clone(), at, then: After::Stop });
            }
        }
        self.leaving = match self.connection {
            Connection::Gone => Leaving::Done,
            // What was said before `at` is still on its way; there is nothing to wait for when we are outside.
            Connection::Listing | Connection::Inside if nothing_runs => Leaving::At(now),
            Connection::Listing | Connection::Inside => Leaving::At(now + self.settings.mixer_delay),
            Connection::Outside { .. } => Leaving::At(now),
        };
    }

    fn go_on_ending(&mut self, now: SessionTime) {
        if let Leaving::At(at) = self.leaving
            && at <= now
        {
            self.actions.push_back(Action::Tell(ConferenceCommand::Leave));
            self.leaving = Leaving::Until(now + self.settings.leave_grace);
        }
        if let Leaving::Until(at) = self.leaving
            && at <= now
        {
            self.leaving = Leaving::Done;
        }
        if self.leaving == Leaving::Done && self.targets.iter().all(|target| target.closing_since().is_none()) {
            let mut outcome = self.outcome.take().unwrap_or_else(|| Outcome::new(WhyOver::Stopped, None));
            outcome.fault = outcome.fault.or_else(|| self.targets.iter().find_map(Target::fault).cloned());
            self.actions.push_back(Action::Over(outcome));
            self.phase = Phase::Over;
        }
    }
}
