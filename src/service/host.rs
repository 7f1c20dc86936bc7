//! Runs many Sessions: takes Orders, gives each a Session, and ends in order.
//!
//! In: Orders from a broker, Sessions that a process before this one has left, wishes to stop. Out: Sessions, each a task with a worker of its own. One task
//! owns the list; a Session that fails takes no other with it. It refuses what it has no room for, and says so in the room. It touches no media, and
//! survives whatever happens to a worker.
//!
//! Asked to stop, it takes no Orders, and lets Sessions go on for as long as it may. Then it ends their Targets with a reason that moderators see, and waits
//! until everything is stored. Asked again, it ends at once: workers end their Takes by themselves, and the next process goes on.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use recorder_core::admission::{Admission, Limits, Shortage};
use recorder_core::ids::SessionId;
use recorder_core::session::Withheld;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::admission::Measured;
use super::board::Board;
use super::claims::Claims;
use super::commanded::Word;
use super::door::{Door, ending};
use super::hosted::{Hosted, Origin};
use super::keeping::Keeping;
use super::order::{Outcome, SessionOrder};
use super::steward::{Business, RoomSteward};
use super::takeover::{Return, Settled};
use crate::clock::SessionClock;
use crate::command::amqp::{self, Capacity, OrderReceived, Orders, Standing};
use crate::conference::opentalk::controller::Controller;
use crate::conference::opentalk::start::StartRoom;
use crate::identity::Identity;

/// Words that may wait for a Session: one from each who has something to say.
const WORDS: usize = 8;

/// Everything that the Sessions of a service have in common.
pub struct HostSettings {
    /// Sessions at once.
    pub slots: u32,
    /// What the machine must have left for another one.
    pub limits: Limits,
    /// How the machine stands.
    pub measured: watch::Receiver<Option<Measured>>,
    /// How long Sessions may go on when the service is asked to stop.
    pub drain_timeout: Duration,
    /// Makes an Order; a ticket says for which room.
    pub plan: Box<dyn Fn(SessionId, u64) -> SessionOrder + Send>,
    /// What holds for every Session.
    pub terms: Terms,
    /// Who we are.
    pub identity: Identity,
    /// Where the rooms are.
    pub controller: Controller,
    /// Where recordings go.
    pub keeping: Keeping,
    /// Arguments of a worker.
    pub worker: Vec<String>,
    /// Where Sessions are posted.
    pub board: Board,
}

/// What holds for every Session.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Who may be recorded.
    pub consent: recorder_core::stage::ConsentRule,
    /// As in [`CommandedOrder`](super::commanded::CommandedOrder).
    pub signaling_grace: Duration,
    /// As in [`CommandedOrder`](super::commanded::CommandedOrder).
    pub reconnect_grace: Duration,
    /// As in [`CommandedOrder`](super::commanded::CommandedOrder).
    pub delivery_grace: Duration,
}

/// How one Session ended.
struct Ended {
    room: amqp::Room,
    took_slot: bool,
    outcome: Outcome,
}

/// A Session that runs.
struct Running {
    session: SessionId,
    words: mpsc::Sender<Word>,
    stop: mpsc::Sender<()>,
}

/// What an earlier process has left, and what becomes of it.
pub struct Left {
    /// Claims that will be settled.
    pub count: u32,
    /// One word for each.
    pub settled: mpsc::UnboundedReceiver<Settled>,
}

/// The service.
pub struct Host {
    settings: HostSettings,
    orders: Orders,
    running: BTreeMap<amqp::Room, Running>,
    tasks: JoinSet<Ended>,
    business: Business,
    door: Door,
    /// When Sessions must end, once it is asked to stop.
    end_at: Option<Instant>,
    /// Sessions that were begun, so that each has a name of its own.
    begun: u64,
    /// What operators were told last that there is too little of. It comes and goes with Sessions, too, not only with what is measured.
    told: Option<Shortage>,
}

impl Host {
    /// A service that takes its first Order when it runs.
    pub fn new(settings: HostSettings, orders: Orders) -> Self {
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        let door = Door::new(settings.slots, Admission::new(settings.limits));
        Self { settings, orders, running, tasks, business: Business::new(), door, end_at: None, begun: 0, told: None }
    }

    /// Runs until somebody wants it to stop, and everything that was accepted is stored. A second wish ends it at once.
    pub async fn run(mut self, mut received: mpsc::Receiver<OrderReceived>, mut left: Left, stops: &mut mpsc::Receiver<()>) {
        self.door.reserve(left.count);
        self.tell_slots();
        let mut standing = self.orders.standing();
        let mut measured = self.settings.measured.clone();
        while !self.door.is_closed() || !self.tasks.is_empty() {
            let told = standing.borrow_and_update().clone();
            self.tell_standing(&told);
            tokio::select! {
                Ok(()) = standing.changed() => {}
                Some(order) = received.recv() => self.take(order),
                Some(settled) = left.settled.recv() => self.settled(settled),
                Ok(()) = measured.changed() => {
                    let seen = measured.borrow_and_update().clone();
                    self.measured(&seen.unwrap_or_default());
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(ended.ok()),
                () = until(self.end_at), if self.end_at.is_some() => self.end_sessions(),
                _ = stops.recv() => match self.door.is_closed() {
                    false => self.drain(),
                    true => return end_at_once(),
                },
            }
        }
        drop(received);
        tokio::select! {
            () = self.business.over() => tracing::info!("everything that was accepted is stored"),
            _ = stops.recv() => end_at_once(),
        }
    }

    /// Takes no more Orders.
    fn drain(&mut self) {
        let limit = self.settings.drain_timeout;
        tracing::info!(sessions = self.running.len(), limit_s = limit.as_secs(), "stopping: no more orders are taken");
        self.door.close();
        self.tell_slots();
        self.end_at = Some(Instant::now() + limit);
    }

    /// Ends what still runs, with a reason.
    fn end_sessions(&mut self) {
        self.end_at = None;
        tracing::info!(sessions = self.running.len(), "all takes end");
        self.say_to_all(&Word::Withhold(Withheld::Everything(ending())));
    }

    fn say_to_all(&self, word: &Word) {
        for running in self.running.values() {
            if running.words.try_send(word.clone()).is_err() {
                // One that hears nothing is ended without a reason.
                tracing::warn!(session.id = %running.session, "a session does not listen");
                _ = running.stop.try_send(());
            }
        }
    }

    /// Tells operators whether orders can come.
    fn tell_standing(&mut self, standing: &Standing) {
        let ready = match standing {
            _ if self.door.is_closed() => Err("The service is stopping, and takes no more Orders.".to_owned()),
            Standing::Connected => Ok(()),
            Standing::Connecting => Err("The message broker was not reached yet.".to_owned()),
            Standing::Away(fault) => Err(fault.sentence.clone()),
        };
        if ready.is_ok() && self.settings.board.not_ready().is_some() {
            tracing::info!(slots = self.settings.slots, "ready for orders");
        }
        self.settings.board.set_ready(ready);
    }

    fn tell_slots(&self) {
        self.orders.slots_free(self.door.free());
        if let Some(load) = self.door.load() {
            self.settings.board.set_load(load);
        }
    }

    fn measured(&mut self, measured: &Measured) {
        let has_changed = self.door.measured(measured);
        let shortage = self.door.shortage();
        if shortage != std::mem::replace(&mut self.told, shortage) {
            match shortage {
                Some(shortage) => tracing::info!(of = shortage.word(), "too little for another session: orders are not taken"),
                None => tracing::info!("there is room for another session again"),
            }
        }
        self.tell_slots();
        if has_changed {
            let withheld = self.door.withheld();
            match &withheld {
                Withheld::Nothing => tracing::info!("the disk has room for recordings again"),
                _ => tracing::error!("the disk of the spool is nearly full: recordings are finished"),
            }
            self.say_to_all(&Word::Withhold(withheld));
        }
    }

    fn take(&mut self, order: OrderReceived) {
        let OrderReceived { room, capacity, claim, ack, is_repeated } = order;
        let refusal = match capacity {
            // It was on its way when we were asked to stop: another service takes it, or it comes again to be refused. At the end nobody is kept by it.
            Capacity::Serve if self.door.is_closed() => return,
            Capacity::Refuse if self.door.is_closed() && self.end_at.is_none() => return,
            Capacity::Serve => self.door.shortage().map(|_| self.door.refusal()),
            Capacity::Refuse => Some(self.door.refusal()),
        };
        self.begun += 1;
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let session = SessionId::new(format!("{seconds}-{}-{}", std::process::id(), self.begun));
        let refused = refusal.as_ref().map(|fault| fault.sentence.as_str());
        tracing::info!(session.id = %session, room = %room, repeated = is_repeated, refused, "an order");
        let took_slot = refusal.is_none();
        match took_slot {
            true => self.door.reserve(1),
            false => self.settings.board.refused(),
        }
        self.begin(session, claim, Origin::Command(ack, refusal), SessionClock::start(), took_slot);
    }

    /// It is known what becomes of a Session that an earlier process has left.
    fn settled(&mut self, settled: Settled) {
        match settled {
            // Its claim stays for the next process.
            Settled::Returned(returned) if self.door.is_closed() => {
                tracing::info!(session.id = %returned.claim.session, "a session does not go on, because this service stops");
            }
            Settled::Returned(returned) => {
                let Return { room, file, claim, former } = *returned;
                tracing::info!(session.id = %claim.session, room = %room.room(), "going on with a session that was left");
                let clock = SessionClock::with_epoch(claim.epoch_ns);
                let session = claim.session.clone();
                self.begin(session, room, Origin::Takeover(file, Box::new(claim), former), clock, true);
            }
            Settled::Over => {
                self.door.release();
                self.tell_slots();
            }
        }
    }

    fn begin(&mut self, session: SessionId, claim: amqp::Claim, origin: Origin, clock: SessionClock, took_slot: bool) {
        let room = claim.room().clone();
        let (words, heard) = mpsc::channel(WORDS);
        let (stop, stops) = mpsc::channel(2);
        if took_slot {
            self.door.began(session.clone());
        }
        // Before the command is acknowledged: the next one may come right after it.
        self.tell_slots();
        let settings = &self.settings;
        let order = (settings.plan)(session.clone(), clock.epoch_ns());
        let hosted = Hosted {
            origin,
            room: claim,
            terms: settings.terms,
            withheld: self.door.withheld(),
            steward: RoomSteward {
                identity: settings.identity.clone(),
                controller: settings.controller.clone(),
                room: StartRoom { room: room.room.clone(), breakout: room.breakout.clone() },
                keeping: settings.keeping.clone(),
                busy: self.business.busy(),
                noting: None,
            },
            words: heard,
            again: words.clone(),
            stops,
            clock,
            claims: Claims::of_spool(&settings.keeping.spool),
            worker: settings.worker.clone(),
            entry: settings.board.session(session.clone(), order.course.look.layout.clone()),
            order,
        };
        self.running.insert(room.clone(), Running { session, words, stop });
        self.tasks.spawn(async move { Ended { room, took_slot, outcome: hosted.run().await } });
    }

    fn ended(&mut self, ended: Option<Ended>) {
        let Some(Ended { room, took_slot, outcome }) = ended else {
            // A defect; the slot is lost, the other Sessions are not.
            tracing::error!("a Session's task ended by a panic");
            return;
        };
        let Some(running) = self.running.remove(&room) else { return };
        let recorded_s = outcome.recorded.as_secs();
        match &outcome.fault {
            None => tracing::info!(session.id = %running.session, reason = outcome.reason, recorded_s, "the session is over"),
            Some(fault) => {
                tracing::warn!(session.id = %running.session, reason = %fault, recorded_s, "the session is over, and not as it should");
            }
        }
        if took_slot {
            self.door.ended(&running.session);
            self.tell_slots();
        }
    }
}

fn end_at_once() {
    tracing::warn!("ended at once; what is not stored is kept in the spool");
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
