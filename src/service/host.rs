//! Runs many Sessions: takes Orders, gives each a Session, and ends in order.
//!
//! In: Orders from a broker, wishes to stop. Out: Sessions, each a task with a worker of its own. One task owns the list; a Session that fails takes no other
//! with it. It refuses what it has no slot for, and says so in the room. It touches no media, and survives whatever happens to a worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::{SessionId, TargetId};
use recorder_core::live::LiveState;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::board::Board;
use super::commanded::CommandedOrder;
use super::keeping::Keeping;
use super::order::{Clock, Outcome, Patience, Room, SessionOrder, Snapshot, View};
use super::process::OwnProgram;
use super::steward::{Business, RoomSteward};
use super::supervisor;
use crate::clock::SessionClock;
use crate::command::amqp::{self, Capacity, OrderReceived, Orders, Standing};
use crate::conference::opentalk::controller::Controller;
use crate::conference::opentalk::start::StartRoom;
use crate::identity::Identity;

/// Everything that the Sessions of a service have in common.
pub struct HostSettings {
    /// Sessions at once.
    pub slots: u32,
    /// Makes the part of an Order that does not depend on the room.
    pub plan: Box<dyn Fn(SessionId, u64) -> SessionOrder + Send>,
    /// As in [`CommandedOrder`], but for the Steward.
    pub terms: Terms,
    /// Who we are.
    pub identity: Identity,
    /// Where the rooms are.
    pub controller: Controller,
    /// The same for workers.
    pub controller_address: String,
    /// Whom workers believe there, beside the system's authorities.
    pub controller_ca: Option<std::path::PathBuf>,
    /// The same for the media server that the controller names.
    pub livekit_ca: Option<std::path::PathBuf>,
    /// The recorder's name in a room.
    pub display_name: String,
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
    /// As in [`CommandedOrder`].
    pub signaling_grace: Duration,
    /// As in [`CommandedOrder`].
    pub reconnect_grace: Duration,
    /// As in [`CommandedOrder`].
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
    stop: mpsc::Sender<()>,
}

/// The service.
pub struct Host {
    settings: HostSettings,
    orders: Orders,
    running: BTreeMap<amqp::Room, Running>,
    tasks: JoinSet<Ended>,
    business: Business,
    /// Slots that are taken.
    taken: u32,
    /// Sessions that were begun, so that each has a name of its own.
    begun: u64,
}

impl Host {
    /// A service that takes its first Order when it runs.
    pub fn new(settings: HostSettings, orders: Orders) -> Self {
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { settings, orders, running, tasks, business: Business::new(), taken: 0, begun: 0 }
    }

    /// Runs until somebody wants it to stop, and everything that was accepted is stored. A second wish ends it at once.
    pub async fn run(mut self, mut received: mpsc::Receiver<OrderReceived>, stops: &mut mpsc::Receiver<()>) {
        self.tell_slots();
        let mut standing = self.orders.standing();
        loop {
            let told = standing.borrow_and_update().clone();
            self.tell_standing(&told);
            tokio::select! {
                Ok(()) = standing.changed() => {}
                Some(order) = received.recv() => self.take(order),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(ended.ok()),
                stop = stops.recv() => {
                    if stop.is_some() {
                        tracing::info!(sessions = self.running.len(), "stopping: no more orders are taken, and all takes end");
                    }
                    break;
                }
            }
        }
        self.orders.slots_free(0);
        drop(received);
        self.running.values().for_each(|running| _ = running.stop.try_send(()));
        let finishing = async {
            while let Some(ended) = self.tasks.join_next().await {
                self.ended(ended.ok());
            }
            self.business.over().await;
        };
        tokio::select! {
            () = finishing => tracing::info!("everything that was accepted is stored"),
            _ = stops.recv() => tracing::warn!("ended at once; what is not stored is kept in the spool"),
        }
    }

    /// Tells operators whether orders can come.
    fn tell_standing(&mut self, standing: &Standing) {
        let ready = match standing {
            Standing::Connected => Ok(()),
            Standing::Connecting => Err("The message broker was not reached yet.".to_owned()),
            Standing::Away(fault) => Err(fault.sentence.clone()),
        };
        if *standing == Standing::Connected && self.settings.board.not_ready().is_some() {
            tracing::info!(slots = self.settings.slots, "ready for orders");
        }
        self.settings.board.set_ready(ready);
    }

    fn tell_slots(&self) {
        self.orders.slots_free(self.settings.slots.saturating_sub(self.taken));
    }

    fn take(&mut self, order: OrderReceived) {
        let OrderReceived { room, capacity, mut claim, ack, is_repeated } = order;
        self.begun += 1;
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let session = SessionId::new(format!("{seconds}-{}-{}", std::process::id(), self.begun));
        let took_slot = capacity == Capacity::Serve;
        let (again, commands) = mpsc::channel(1);
        let (stop, stops) = mpsc::channel(2);
        tracing::info!(session.id = %session, room = %room, repeated = is_repeated, refused = !took_slot, "an order");
        let order = self.order(&room, session.clone(), took_slot, commands);
        self.running.insert(room.clone(), Running { session, stop });
        if took_slot {
            self.taken += 1;
            // Before the command is acknowledged: the next one may come right after it.
            self.tell_slots();
        }
        ack.taken();
        let worker = self.settings.worker.clone();
        let mut entry = self.settings.board.session(order.0.session.clone(), order.0.look.layout.clone());
        let running = async move {
            let (order, clock) = order;
            let mut launcher = OwnProgram { arguments: worker };
            let mut stops = stops;
            let mut view = Log;
            let session = supervisor::run(order, &mut launcher, &mut stops, &mut view, &mut entry, clock, Patience::default());
            tokio::pin!(session);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut session => break outcome,
                    // One that is not heard yet says the same.
                    () = claim.commanded_again() => drop(again.try_send(())),
                }
            };
            Ended { room, took_slot, outcome }
        };
        self.tasks.spawn(running);
    }

    fn order(&self, room: &amqp::Room, session: SessionId, is_served: bool, again: mpsc::Receiver<()>) -> (SessionOrder, Clock) {
        let HostSettings { terms, .. } = &self.settings;
        let clock = SessionClock::start();
        let steward = RoomSteward {
            identity: self.settings.identity.clone(),
            controller: self.settings.controller.clone(),
            room: StartRoom { room: room.room.clone(), breakout: room.breakout.clone() },
            keeping: self.settings.keeping.clone(),
            busy: self.business.busy(),
        };
        let commanded = CommandedOrder {
            consent: terms.consent,
            signaling_grace: terms.signaling_grace,
            reconnect_grace: terms.reconnect_grace,
            delivery_grace: terms.delivery_grace,
            refusal: (!is_served).then(no_capacity),
            steward: Box::new(steward),
            again,
        };
        let room = Room::OpenTalk {
            controller: self.settings.controller_address.clone(),
            ca_file: self.settings.controller_ca.clone(),
            livekit_ca_file: self.settings.livekit_ca.clone(),
            display_name: self.settings.display_name.clone(),
        };
        let order = SessionOrder { room, commanded: Some(commanded), ..(self.settings.plan)(session, clock.epoch_ns()) };
        (order, Arc::new(move || clock.now()))
    }

    fn ended(&mut self, ended: Option<Ended>) {
        let Some(Ended { room, took_slot, outcome }) = ended else {
            // A defect; the slot is lost, the other Sessions are not.
            tracing::error!("a Session's task ended by a panic");
            return;
        };
        if let Some(running) = self.running.remove(&room) {
            let recorded_s = outcome.recorded.as_secs();
            match &outcome.fault {
                None => tracing::info!(session.id = %running.session, reason = outcome.reason, recorded_s, "the session is over"),
                Some(fault) => {
                    tracing::warn!(session.id = %running.session, reason = %fault, recorded_s, "the session is over, and not as it should");
                }
            }
        }
        if took_slot {
            self.taken = self.taken.saturating_sub(1);
            self.tell_slots();
        }
    }
}

/// Tells the log.
struct Log;

impl View for Log {
    fn progress(&mut self, _: &Snapshot) {}

    fn tell(&mut self, fault: &Fault) {
        tracing::warn!(reason = %fault, "trouble in a session");
    }

    fn live(&mut self, _: &TargetId, _: &LiveState) {}
}

/// What a moderator reads when every service is full.
fn no_capacity() -> Fault {
    let sentence = "All recorders are busy. Try again when another meeting is over.".to_owned();
    Fault { scope: Scope::Target, blame: Blame::Operator, retry: Retry::Never, sentence }
}
