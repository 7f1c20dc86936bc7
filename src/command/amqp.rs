//! Orders from a message broker (RabbitMQ): start commands that an OpenTalk controller writes to a queue.
//!
//! In: the `[rabbitmq]` section, and how many Sessions may still begin here. Out: [`OrderReceived`], each with a [`Claim`] of its room and an [`Ack`] of the
//! command. One task owns the connection; it runs on tokio, makes a lost connection again for ever, and never ends a Session because of one.
//!
//! Several services may consume from one queue. A room belongs to the service that has declared an exclusive queue named after it: the broker gives it to
//! one of them only, and takes it back when that one's connection is gone. The queue is the owner's mailbox, too: whoever gets a command for a room that is
//! taken writes it there, and the owner hears of it by [`Claim::commanded_again`].
//!
//! Promises: a command is acknowledged when its Order is safe ([`Ack::taken`]), when its owner's mailbox has it, or never. A message that is no command is
//! dropped with its reason in the log. What a service cannot serve waits for the others; what nobody serves is handed out as [`Capacity::Refuse`].
//! Refuses to log what stands in a message, and to declare anew a queue that is there in another shape.

use std::time::Duration;

use recorder_core::fault::Fault;
use recorder_core::secret::Secret;
use tokio::sync::{mpsc, oneshot, watch};

use crate::trust::Trust;

mod claim;
mod desk;
mod link;
mod room;

pub use claim::{Ack, Claim};
pub use link::{LinkError, Seen, look};
pub use room::{BadCommand, Room};

/// Orders that may wait to be taken. There is one at a time for each way in which they come.
const ORDERS: usize = 4;

/// Rooms that may be wanted without a command at the same time: as many as any service has Sessions.
const WISHES: usize = 256;

/// Where the broker is, and who we are there.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `amqp://` or `amqps://`, host, port, and the virtual host.
    pub url: String,
    /// User.
    pub user: String,
    /// Password of the user.
    pub password: Secret,
    /// The queue of start commands.
    pub queue: String,
    /// Whom we believe.
    pub trust: Trust,
    /// A connection without a sign of life for twice this time is lost. Whole seconds.
    pub heartbeat: Duration,
}

impl BrokerSettings {
    /// For [`BrokerSettings::heartbeat`] outside of tests.
    pub const HEARTBEAT: Duration = Duration::from_secs(10);
}

/// Whether this service can do what is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capacity {
    /// A slot was free when the command came.
    Serve,
    /// No service has a free slot, and the command has waited for one: whoever gave it is to be told so.
    Refuse,
}

/// A start command.
#[derive(Debug)]
pub struct OrderReceived {
    /// For which room.
    pub room: Room,
    /// Whether it can be served.
    pub capacity: Capacity,
    /// The room is ours while this lives.
    pub claim: Claim,
    /// To be used once the Order is safe.
    pub ack: Ack,
    /// The command was handed out before, and not acknowledged: perhaps to ourselves, before a crash.
    pub is_repeated: bool,
}

/// How it stands with the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It was not reached yet.
    Connecting,
    /// Commands come from there.
    Connected,
    /// It is tried again and again.
    Away(Fault),
}

/// The way in for Orders from a broker. Ends when dropped; Claims that live on are given up then.
#[derive(Debug)]
pub struct Orders {
    slots: watch::Sender<Option<u32>>,
    standing: watch::Receiver<Standing>,
    wanted: mpsc::Sender<Wanted>,
}

/// A room that is wanted without a command.
#[derive(Debug)]
struct Wanted {
    room: Room,
    answer: oneshot::Sender<Option<Claim>>,
}

impl Orders {
    /// Begins to connect. Nothing is taken before [`Orders::slots_free`] was called once.
    pub fn start(settings: BrokerSettings) -> (Self, mpsc::Receiver<OrderReceived>) {
        let (slots, free) = watch::channel(None);
        let (told, standing) = watch::channel(Standing::Connecting);
        let (orders, received) = mpsc::channel(ORDERS);
        let (wanted, wishes) = mpsc::channel(WISHES);
        tokio::spawn(desk::Desk::new(settings, free, wishes, orders, told).run());
        (Self { slots, standing, wanted }, received)
    }

    /// Makes a room ours without a command, as soon as the broker is there; `None` when it is somebody's, ourselves included. Rooms that are wanted before
    /// [`Orders::slots_free`] is called come before all commands.
    pub fn claim(&self, room: Room) -> impl Future<Output = Option<Claim>> + use<> {
        let (answer, answered) = oneshot::channel();
        let asked = self.wanted.try_send(Wanted { room, answer });
        async move { if asked.is_ok() { answered.await.unwrap_or(None) } else { None } }
    }

    /// So many Sessions may still begin here. To be called before [`Ack::taken`] when an Order takes a slot: the next command may come right after that.
    pub fn slots_free(&self, slots: u32) {
        self.slots.send_replace(Some(slots));
    }

    /// How it stands with the broker, now and later.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}
