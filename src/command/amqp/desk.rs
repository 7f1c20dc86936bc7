//! The task that owns the connection to the broker, and the book of rooms that are ours.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, SelectAll};
use futures_util::{Stream, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::{Acker, Channel, Consumer, Event};
use recorder_core::intake::{Intake, LOOK_EVERY, Post, Reconnect};
use recorder_core::time::SessionTime;
use tokio::sync::{mpsc, watch};

use super::claim::Holding;
use super::link::{Claimed, Link};
use super::{Ack, BrokerSettings, Capacity, Claim, LinkError, OrderReceived, Room, Standing, Wanted};
use crate::clock::SessionClock;

/// A room that changes hands while a command for it is here is tried for so many times.
const TRIES: u32 = 5;

/// Something that ends outside of the connection.
enum Outside {
    /// An Order is safe, or is given back.
    Decided { acker: Acker, is_taken: bool, link: u64 },
    /// Its owner has given a room up.
    GivenUp(Room),
}

type Waiting = Pin<Box<dyn Future<Output = Outside> + Send>>;
type Mail = Pin<Box<dyn Stream<Item = Room> + Send>>;

/// Why a connection is not used any longer.
enum Over {
    /// Nobody takes Orders any more.
    Ended,
    Lost(LinkError),
}

impl From<LinkError> for Over {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

/// The task.
pub(super) struct Desk {
    settings: BrokerSettings,
    slots: watch::Receiver<Option<u32>>,
    /// Rooms that are wanted without a command.
    wanted: mpsc::Receiver<Wanted>,
    orders: mpsc::Sender<OrderReceived>,
    standing: watch::Sender<Standing>,
    clock: SessionClock,
    intake: Intake,
    /// Rooms that are ours, whether the broker is there or not.
    book: HashMap<Room, Holding>,
    waiting: FuturesUnordered<Waiting>,
    /// Orders that are neither taken nor given back.
    undecided: u32,
    /// Counts connections: an acknowledgement belongs to one.
    links: u64,
}

/// What belongs to one connection.
struct Counter {
    link: Link,
    consumer: Option<Consumer>,
    mail: SelectAll<Mail>,
    /// Mailboxes of ours: their channels, and the tags of their consumers.
    mailboxes: HashMap<Room, (Channel, String)>,
}

impl Desk {
    pub(super) fn new(
        settings: BrokerSettings,
        slots: watch::Receiver<Option<u32>>,
        wanted: mpsc::Receiver<Wanted>,
        orders: mpsc::Sender<OrderReceived>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        Self {
            settings,
            slots,
            wanted,
            orders,
            standing,
            clock: SessionClock::start(),
            intake: Intake::default(),
            book: HashMap::new(),
            waiting: FuturesUnordered::new(),
            undecided: 0,
            links: 0,
        }
    }

    /// Connects and serves, until nobody wants Orders any more.
    pub(super) async fn run(mut self) {
        let mut reconnect = Reconnect::new(self.clock.epoch_ns() ^ (u64::from(std::process::id()) << 32));
        loop {
            let error = match self.open().await {
                Ok(link) => {
                    tracing::info!("start commands come from the message broker");
                    self.standing.send_replace(Standing::Connected);
                    reconnect.connected();
                    match self.serve(link).await {
                        Over::Ended => return,
                        Over::Lost(error) => error,
                    }
                }
                Err(Over::Ended) => return,
                Err(Over::Lost(error)) => error,
            };
            let fault = error.fault();
            if *self.standing.borrow() != Standing::Away(fault.clone()) {
                tracing::warn!("{} It is tried again and again.", fault.sentence);
            }
            self.standing.send_replace(Standing::Away(fault));
            if let Err(Over::Ended) = self.outside(tokio::time::sleep(reconnect.pause())).await {
                return;
            }
        }
    }

    async fn open(&mut self) -> Result<Link, Over> {
        self.links += 1;
        let settings = self.settings.clone();
        Ok(self.outside(async move { Link::open(&settings).await }).await??)
    }

    /// Waits for something while there is no connection.
    async fn outside<T>(&mut self, wanted: impl Future<Output = T>) -> Result<T, Over> {
        tokio::pin!(wanted);
        loop {
            tokio::select! {
                done = &mut wanted => return Ok(done),
                changed = self.slots.changed() => if changed.is_err() { return Err(Over::Ended) },
                Some(outside) = self.waiting.next(), if !self.waiting.is_empty() => match outside {
                    Outside::GivenUp(room) => _ = self.book.remove(&room),
                    // The command of a lost connection comes again.
                    Outside::Decided { .. } => self.undecided -= 1,
                },
            }
        }
    }

    async fn serve(&mut self, link: Link) -> Over {
        let mut counter = Counter { link, consumer: None, mail: SelectAll::new(), mailboxes: HashMap::new() };
        let over = self.served(&mut counter).await;
        if matches!(over, Over::Ended) {
            counter.link.close().await;
        }
        over
    }

    async fn served(&mut self, counter: &mut Counter) -> Over {
        let mut events = Box::pin(counter.link.connection.events_listener());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let done = async {
                // Before any command of the same room can come.
                while let Ok(wanted) = self.wanted.try_recv() {
                    self.want(counter, wanted).await?;
                }
                self.slots_told(counter).await?;
                let is_claimed = self.book.keys().all(|room| counter.mailboxes.contains_key(room));
                let is_busy = !is_claimed || counter.consumer.is_none();
                tokio::select! {
                    changed = self.slots.changed() => changed.map_err(|_| Over::Ended),
                    Some(wanted) = self.wanted.recv() => self.want(counter, wanted).await,
                    Some(outside) = self.waiting.next(), if !self.waiting.is_empty() => self.decided(counter, outside).await,
                    delivery = next(&mut counter.consumer) => match delivery {
                        Some(Ok(delivery)) => self.command(counter, delivery, Capacity::Serve).await,
                        Some(Err(error)) => Err(Over::Lost(error.into())),
                        None => Err(Over::Lost(LinkError::QueueGone)),
                    },
                    Some(room) = counter.mail.next(), if !counter.mail.is_empty() => self.mail(counter, room).await,
                    Some(event) = events.next() => match event {
                        // The end of a channel is told here, too, and belongs to whoever used it.
                        Event::Error(error) if !counter.link.connection.status().connected() => {
                            Err(Over::Lost(LinkError::Lost(error)))
                        }
                        _ => Ok(()),
                    },
                    _ = look.tick(), if is_busy => self.look(counter).await,
                }
            };
            if let Err(over) = done.await {
                return over;
            }
        }
    }

    fn now(&self) -> SessionTime {
        self.clock.now()
    }

    /// Begins or ends to consume, as the slots want it.
    async fn slots_told(&mut self, counter: &mut Counter) -> Result<(), Over> {
        let told = *self.slots.borrow_and_update();
        if let Some(free) = told {
            self.intake.set_free(free);
        }
        match (self.intake.post(self.now()), counter.consumer.take()) {
            (Post::Consume, None) => counter.consumer = Some(counter.link.consume().await?),
            (Post::Consume, Some(consumer)) => counter.consumer = Some(consumer),
            (Post::Watch | Post::Away, Some(mut consumer)) => {
                counter.link.cancel(&consumer).await?;
                // What came in between waits for others.
                while let Some(delivery) = consumer.next().await {
                    give_back(&delivery.map_err(LinkError::from)?.acker).await?;
                }
            }
            (Post::Watch | Post::Away, None) => {}
        }
        Ok(())
    }

    /// Regularly while something is to be waited for: claims rooms again that are ours, and looks whether commands wait for nobody.
    async fn look(&mut self, counter: &mut Counter) -> Result<(), Over> {
        let lost: Vec<Room> = self.book.keys().filter(|room| !counter.mailboxes.contains_key(room)).cloned().collect();
        for room in lost {
            // Its mailbox may still be held by our own connection before this one, which the broker has not missed yet.
            if let Claimed::Ours(ours) = counter.link.claim(&room.mailbox()).await? {
                let (channel, consumer) = *ours;
                counter.hold(&room, channel, consumer);
            }
        }
        if self.intake.post(self.now()) == Post::Watch && self.undecided == 0 {
            let (messages, consumers) = counter.link.depth().await?;
            if self.intake.saw(messages, consumers, self.now())
                && let Some(delivery) = counter.link.get().await?
            {
                return self.command(counter, delivery, Capacity::Refuse).await;
            }
        }
        Ok(())
    }

    /// A command has come.
    async fn command(&mut self, counter: &mut Counter, delivery: Delivery, capacity: Capacity) -> Result<(), Over> {
        let room = match Room::read(&delivery.data) {
            Ok(room) => room,
            Err(bad) => {
                tracing::warn!(
                    bytes = delivery.data.len(),
                    "a message in the queue of start commands is none, and is dropped: {bad}"
                );
                return Ok(checked(delivery.acker.reject(BasicRejectOptions { requeue: false }).await)?);
            }
        };
        for _ in 0..TRIES {
            if let Some(holding) = self.book.get(&room) {
                if holding.tell() {
                    tracing::info!(%room, "a room that is ours was commanded again");
                    return Ok(checked(delivery.acker.ack(BasicAckOptions::default()).await)?);
                }
                self.given_up(counter, &room).await?;
            }
            match counter.link.claim(&room.mailbox()).await? {
                Claimed::Ours(ours) => {
                    let (channel, consumer) = *ours;
                    counter.hold(&room, channel, consumer);
                    return self.order(room, delivery, capacity).await;
                }
                Claimed::Elsewhere => {
                    if counter.link.write(&room.mailbox(), &delivery.data).await? {
                        tracing::info!(%room, "a command was handed to the service that has the room");
                        return Ok(checked(delivery.acker.ack(BasicAckOptions::default()).await)?);
                    }
                }
            }
        }
        Ok(give_back(&delivery.acker).await?)
    }

    /// A room is wanted that nobody has commanded.
    async fn want(&mut self, counter: &mut Counter, wanted: Wanted) -> Result<(), Over> {
        let Wanted { room, answer } = wanted;
        if answer.is_closed() {
            return Ok(());
        }
        let mut claim = None;
        if !self.book.contains_key(&room)
            && let Claimed::Ours(ours) = counter.link.claim(&room.mailbox()).await?
        {
            let (channel, consumer) = *ours;
            counter.hold(&room, channel, consumer);
            claim = Some(self.book_in(room));
        }
        // Whoever does not wait any more gives the room up by it.
        _ = answer.send(claim);
        Ok(())
    }

    /// Keeps note that a room is ours, until its owner gives it up.
    fn book_in(&mut self, room: Room) -> Claim {
        let (holding, claim) = Holding::new(room.clone());
        self.book.insert(room.clone(), holding.clone());
        self.waiting.push(Box::pin(async move {
            holding.given_up().await;
            Outside::GivenUp(room)
        }));
        claim
    }

    /// Hands an Order out whose room is ours.
    async fn order(&mut self, room: Room, delivery: Delivery, capacity: Capacity) -> Result<(), Over> {
        let claim = self.book_in(room.clone());
        let (ack, taken) = Ack::new();
        let order = OrderReceived { room, capacity, claim, ack, is_repeated: delivery.redelivered };
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                // Its parts are dropped, which gives room and command back.
                tracing::warn!("Orders are not taken; a command is given back");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Over::Ended),
        }
        let link = self.links;
        self.undecided += 1;
        self.waiting.push(Box::pin(async move {
            let is_taken = taken.await.is_ok();
            Outside::Decided { acker: delivery.acker, is_taken, link }
        }));
        Ok(())
    }

    async fn decided(&mut self, counter: &mut Counter, outside: Outside) -> Result<(), Over> {
        match outside {
            Outside::GivenUp(room) => self.given_up(counter, &room).await,
            Outside::Decided { acker, is_taken, link } => {
                self.undecided -= 1;
                if link != self.links {
                    // The command of a lost connection comes again.
                    return Ok(());
                }
                if !is_taken {
                    self.intake.stumbled(self.now());
                }
                // The last slot may be taken now: the next command must not come here.
                self.slots_told(counter).await?;
                match is_taken {
                    true => Ok(checked(acker.ack(BasicAckOptions::default()).await)?),
                    false => Ok(give_back(&acker).await?),
                }
            }
        }
    }

    /// A room is nobody's any more; a command that its owner did not hear is for everybody again.
    async fn given_up(&mut self, counter: &mut Counter, room: &Room) -> Result<(), Over> {
        // One that has a new owner meanwhile was given up before.
        let Some(holding) = self.book.get(room).filter(|holding| !holding.is_held()) else { return Ok(()) };
        let mut has_left = holding.has_left();
        if let Some((channel, tag)) = counter.mailboxes.remove(room) {
            has_left |= counter.link.give_up(&room.mailbox(), channel, &tag).await?;
        }
        self.book.remove(room);
        if has_left {
            counter.link.write_command(&room.message()).await?;
        }
        Ok(())
    }

    /// Another service has got a command for a room of ours.
    async fn mail(&mut self, counter: &mut Counter, room: Room) -> Result<(), Over> {
        if !self.book.get(&room).is_some_and(Holding::tell) {
            // The owner gave it up while this was on its way.
            counter.link.write_command(&room.message()).await?;
        }
        Ok(())
    }
}

impl Counter {
    fn hold(&mut self, room: &Room, channel: Channel, consumer: Consumer) {
        self.mailboxes.insert(room.clone(), (channel, consumer.tag().to_string()));
        let room = room.clone();
        let mail = consumer.filter_map(move |delivery| std::future::ready(delivery.is_ok().then(|| room.clone())));
        self.mail.push(Box::pin(mail));
    }
}

/// The next command, if any are consumed.
async fn next(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}

fn checked(answered: lapin::Result<bool>) -> Result<(), LinkError> {
    Ok(answered.map(drop)?)
}

/// Puts a command back to where it was.
async fn give_back(acker: &Acker) -> Result<(), LinkError> {
    checked(acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await)
}
