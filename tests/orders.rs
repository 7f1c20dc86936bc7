//! Start commands through a real RabbitMQ: who gets which, what becomes of bad ones, and what a broker that goes away costs.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use recorder_core::secret::Secret;
use roomcast::command::amqp::{BrokerSettings, Capacity, LinkError, OrderReceived, Orders, Standing, look};
use roomcast::trust::Trust;
use tokio::sync::mpsc;
use world::log::Log;
use world::rabbitmq::{LISTENER, PASSWORD, READER, RabbitMq, SERVICE, SERVICE_MAY, Somebody, USER};

/// Nothing takes longer, on a busy machine either.
const LONG: Duration = Duration::from_secs(30);

/// A number that no other test has.
fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// A queue of this test's own.
fn queue() -> String {
    format!("orders-{}", number())
}

/// A room of this test's own.
fn room() -> String {
    format!("0192d8a5-8c2f-7c3e-9b1a-{:012x}", number())
}

fn command(room: &str) -> Vec<u8> {
    format!(r#"{{"room":"{room}","breakout":null}}"#).into_bytes()
}

fn settings(broker: &RabbitMq, queue: &str) -> BrokerSettings {
    BrokerSettings {
        url: broker.url(),
        user: USER.into(),
        password: Secret::new(PASSWORD),
        queue: queue.into(),
        trust: Trust::load(None).expect("the system's"),
        heartbeat: Duration::from_secs(2),
    }
}

async fn within<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wanted).await.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"))
}

/// Waits until the queue looks like this: messages that wait, and consumers.
async fn looks(somebody: &Somebody, queue: &str, wanted: Option<(u32, u32)>) {
    let mut seen = None;
    let looking = async {
        loop {
            seen = somebody.looks_at(queue).await;
            if seen == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_in_time = tokio::time::timeout(LONG, looking).await.is_ok();
    assert!(is_in_time, "{queue} is {seen:?} and not {wanted:?}");
}

/// Waits until a room is somebody's, or nobody's.
async fn locked(somebody: &Somebody, room: &str, wanted: bool) {
    let mailbox = format!("roomcast.room.{room}");
    within("the room to change hands", async {
        while somebody.is_locked(&mailbox).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A service that takes what comes, as a supervisor does.
struct Service {
    orders: Orders,
    received: mpsc::Receiver<OrderReceived>,
    free: u32,
}

impl Service {
    fn start(settings: BrokerSettings, free: u32) -> Service {
        let (orders, received) = Orders::start(settings);
        orders.slots_free(free);
        Service { orders, received, free }
    }

    async fn connected(&self) {
        let mut standing = self.orders.standing();
        within("a connection", standing.wait_for(|standing| *standing == Standing::Connected)).await.expect("it runs");
    }

    /// The broker is away, and these words are said about it.
    async fn away(&self, words: &str) {
        let mut standing = self.orders.standing();
        let is_said = |standing: &Standing| matches!(standing, Standing::Away(fault) if fault.sentence.contains(words));
        within("a loss", standing.wait_for(is_said)).await.expect("it runs");
    }

    async fn next(&mut self) -> OrderReceived {
        within("an Order", self.received.recv()).await.expect("it runs")
    }

    /// Takes an Order as a supervisor does: the slot first, then the command.
    async fn take(&mut self) -> Taken {
        let OrderReceived { room, capacity, claim, ack, .. } = self.next().await;
        if capacity == Capacity::Serve {
            self.free -= 1;
            self.orders.slots_free(self.free);
        }
        ack.taken();
        Taken { room: room.room, capacity, claim }
    }
}

/// A service with a queue of its own and so many slots, and somebody who commands.
async fn beside_somebody(broker: &RabbitMq, slots: u32) -> (Service, Somebody, String) {
    let queue = queue();
    let service = Service::start(settings(broker, &queue), slots);
    let somebody = broker.somebody().await;
    looks(&somebody, &queue, Some((0, 1))).await;
    (service, somebody, queue)
}

struct Taken {
    room: String,
    capacity: Capacity,
    claim: roomcast::command::amqp::Claim,
}

#[tokio::test]
async fn the_same_room_commanded_at_two_services_is_one_order() {
    let log = Log::start();
    let broker = RabbitMq::shared();
    let (mut first, somebody, queue) = beside_somebody(broker, 1).await;
    let room = room();
    somebody.publish(&queue, &command(&room)).await;
    let mut taken = first.take().await;
    assert_eq!((taken.room.as_str(), taken.capacity), (room.as_str(), Capacity::Serve));
    // It is full now, so the second command comes to the other one, which hands it over.
    let mut second = Service::start(settings(broker, &queue), 3);
    looks(&somebody, &queue, Some((0, 1))).await;
    somebody.publish(&queue, &command(&room)).await;
    within("the owner to hear of it", taken.claim.commanded_again()).await;
    looks(&somebody, &queue, Some((0, 1))).await;
    assert!(second.received.try_recv().is_err());
    // Given up, the room is anybody's.
    drop(taken);
    locked(&somebody, &room, false).await;
    somebody.publish(&queue, &command(&room)).await;
    assert_eq!(second.take().await.room, room);
    log.holds("handed to the service that has the room");
    log.holds_none_of(&[PASSWORD]);
}

/// Six are served, and four are told why they are not, all within the five seconds that a moderator waits.
#[tokio::test]
async fn ten_rooms_at_two_services_with_three_slots_each() {
    let broker = RabbitMq::shared();
    let queue = queue();
    let mut services = [Service::start(settings(broker, &queue), 3), Service::start(settings(broker, &queue), 3)];
    let somebody = broker.somebody().await;
    looks(&somebody, &queue, Some((0, 2))).await;
    let begun = Instant::now();
    let rooms: Vec<_> = (0..10).map(|_| room()).collect();
    for room in &rooms {
        somebody.publish(&queue, &command(room)).await;
    }
    let mut taken = Vec::new();
    let [first, second] = &mut services;
    while taken.len() < 10 {
        let one = tokio::select! {
            one = first.take() => one,
            one = second.take() => one,
        };
        if one.capacity == Capacity::Refuse {
            assert!(begun.elapsed() >= Duration::from_millis(900), "refused before anybody else could come");
        }
        taken.push(one);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert_eq!(taken.iter().filter(|one| one.capacity == Capacity::Serve).count(), 6);
    let mut seen: Vec<_> = taken.iter().map(|one| one.room.clone()).collect();
    seen.sort();
    assert_eq!(seen, rooms);
    assert_eq!((first.free, second.free), (0, 0));
    // A slot that is free again serves the next one.
    taken.retain(|one| one.capacity == Capacity::Serve);
    second.free = 1;
    second.orders.slots_free(1);
    looks(&somebody, &queue, Some((0, 1))).await;
    somebody.publish(&queue, &command(&room())).await;
    assert_eq!(second.take().await.capacity, Capacity::Serve);
}

/// What waits for a full service is served by one that comes in time, and never refused beside one that has slots.
#[tokio::test]
async fn a_service_with_slots_gets_what_a_full_one_leaves() {
    let broker = RabbitMq::shared();
    let queue = queue();
    let mut full = Service::start(settings(broker, &queue), 0);
    let mut other = Service::start(settings(broker, &queue), 0);
    full.connected().await;
    other.connected().await;
    let somebody = broker.somebody().await;
    somebody.publish(&queue, &command(&room())).await;
    other.free = 2;
    other.orders.slots_free(2);
    assert_eq!(other.take().await.capacity, Capacity::Serve);
    assert!(full.received.try_recv().is_err());
}

#[tokio::test]
async fn messages_that_are_no_commands_are_dropped_with_their_reason() {
    let log = Log::start();
    let broker = RabbitMq::shared();
    let (mut service, somebody, queue) = beside_somebody(broker, 5).await;
    let room = room();
    let mut bad: Vec<Vec<u8>> =
        ["", "canary-not-json", "[]", r#"{"room":"canary-name"}"#, "\u{0}"].map(|text| text.as_bytes().to_vec()).into();
    bad.push(vec![b'x'; 200_000]);
    for message in &bad {
        somebody.publish(&queue, message).await;
    }
    somebody.publish(&queue, &command(&room)).await;
    // The good one behind them comes, and none of them again.
    assert_eq!(service.take().await.room, room);
    looks(&somebody, &queue, Some((0, 1))).await;
    log.holds("its field room is no UUID");
    log.holds("it is longer than 4 KiB");
    log.holds_none_of(&["canary"]);
}

/// An Order that is not wanted goes back to the queue, and is handed out again as a repeated one.
#[tokio::test]
async fn a_command_whose_order_is_dropped_comes_again() {
    let broker = RabbitMq::shared();
    let (mut service, somebody, queue) = beside_somebody(broker, 1).await;
    let room = room();
    somebody.publish(&queue, &command(&room)).await;
    let order = service.next().await;
    assert!(!order.is_repeated);
    drop(order);
    let order = service.next().await;
    assert!(order.is_repeated);
    assert_eq!(order.room.room, room);
    order.ack.taken();
    looks(&somebody, &queue, Some((0, 1))).await;
}

/// Commands that nobody took for a long time: each room is one Order, however often it was commanded.
#[tokio::test]
async fn commands_that_have_piled_up_are_one_order_for_each_room() {
    let broker = RabbitMq::shared();
    let queue = queue();
    let somebody = broker.somebody().await;
    somebody.declare(&queue).await;
    let rooms = [room(), room()];
    for _ in 0..10 {
        for room in &rooms {
            somebody.publish(&queue, &command(room)).await;
        }
    }
    let mut service = Service::start(settings(broker, &queue), 3);
    let mut taken = [service.take().await, service.take().await];
    looks(&somebody, &queue, Some((0, 1))).await;
    assert_eq!(taken.each_ref().map(|one| one.room.clone()), rooms);
    for one in &mut taken {
        within("the other commands", one.claim.commanded_again()).await;
    }
    assert!(service.received.try_recv().is_err());
}

/// A command that its owner never heard of, because it was just leaving, is a new Order.
#[tokio::test]
async fn a_command_that_the_owner_left_behind_is_an_order_of_its_own() {
    let broker = RabbitMq::shared();
    let (mut service, somebody, queue) = beside_somebody(broker, 3).await;
    let room = room();
    somebody.publish(&queue, &command(&room)).await;
    let taken = service.take().await;
    somebody.publish(&queue, &command(&room)).await;
    somebody.publish(&queue, &command(&room)).await;
    looks(&somebody, &queue, Some((0, 1))).await;
    drop(taken);
    assert_eq!(service.take().await.room, room);
}

/// A queue that is there in another shape is used as it is.
#[tokio::test]
async fn queues_of_other_shapes_are_taken_as_they_are() {
    let broker = RabbitMq::shared();
    let somebody = broker.somebody().await;
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for arguments in [FieldTable::default(), quorum] {
        let (queue, room) = (queue(), room());
        somebody.declare_with(&queue, durable, arguments).await;
        let mut service = Service::start(settings(broker, &queue), 1);
        somebody.publish(&queue, &command(&room)).await;
        assert_eq!(service.take().await.room, room);
    }
}

/// The broker dies and comes back: the Session that runs keeps its room, a command that was not acknowledged comes again, and new ones come.
#[tokio::test]
async fn a_broker_that_is_restarted_is_found_again_and_rooms_stay_claimed() {
    let log = Log::start();
    let mut broker = RabbitMq::start();
    let (queue, running, next) = (queue(), room(), room());
    let somebody = broker.somebody().await;
    // A durable one, so that commands outlive the broker.
    somebody
        .declare_with(&queue, QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }, FieldTable::default())
        .await;
    let mut service = Service::start(settings(&broker, &queue), 3);
    somebody.publish(&queue, &command(&running)).await;
    let mut taken = service.take().await;
    broker.kill();
    service.away("cannot be reached").await;
    broker.come_back();
    service.connected().await;
    let somebody = broker.somebody().await;
    looks(&somebody, &queue, Some((0, 1))).await;
    // Another service finds the room claimed, as before.
    service.free = 0;
    service.orders.slots_free(0);
    looks(&somebody, &queue, Some((0, 0))).await;
    let mut other = Service::start(settings(&broker, &queue), 3);
    looks(&somebody, &queue, Some((0, 1))).await;
    locked(&somebody, &running, true).await;
    somebody.publish(&queue, &command(&running)).await;
    within("the owner to hear of it", taken.claim.commanded_again()).await;
    somebody.publish(&queue, &command(&next)).await;
    assert_eq!(other.take().await.room, next);
    log.holds("The message broker cannot be reached. It is tried again and again.");
    log.holds_none_of(&[PASSWORD]);
}

/// A broker that says nothing any more, while its connection stays open, is given up after two heartbeats.
#[tokio::test]
async fn a_connection_that_is_open_and_silent_is_given_up() {
    let broker = RabbitMq::start();
    let queue = queue();
    let mut service = Service::start(settings(&broker, &queue), 1);
    service.connected().await;
    broker.freeze(true);
    let frozen = Instant::now();
    service.away("is lost").await;
    assert!(frozen.elapsed() < Duration::from_secs(12), "after {:?}", frozen.elapsed());
    broker.freeze(false);
    service.connected().await;
    let somebody = broker.somebody().await;
    let room = room();
    looks(&somebody, &queue, Some((0, 1))).await;
    somebody.publish(&queue, &command(&room)).await;
    assert_eq!(service.take().await.room, room);
}

#[tokio::test]
async fn each_thing_that_an_operator_can_get_wrong_has_its_sentence() {
    let broker = RabbitMq::shared();
    let queue = queue();
    let good = settings(broker, &queue);
    let seen = look(&good).await.expect("all is well");
    assert_eq!(seen.queue, None, "looking makes no queue");
    let secure =
        BrokerSettings { url: broker.tls_url(), trust: Trust::load(Some(&broker.ca_file())).expect("a file"), ..good.clone() };
    look(&secure).await.expect("TLS with an authority of our own");
    let wrong = |change: &dyn Fn(&mut BrokerSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        async move { look(&settings).await.expect_err("refused") }
    };
    assert!(matches!(wrong(&|s| s.password = Secret::new("wrong")).await, LinkError::WrongUser));
    assert!(matches!(wrong(&|s| s.url += "/elsewhere").await, LinkError::NoVirtualHost));
    assert!(matches!(wrong(&|s| s.url = "amqp://127.0.0.1:1".into()).await, LinkError::Unreachable(_)));
    assert!(matches!(wrong(&|s| s.url = broker.tls_url()).await, LinkError::NotSecure(_)));
    assert!(matches!(wrong(&|s| s.user = READER.into()).await, LinkError::NotAllowed));
    assert!(matches!(wrong(&|s| s.user = LISTENER.into()).await, LinkError::NotAllowed));
    assert!(matches!(wrong(&|s| s.url = "rabbitmq".into()).await, LinkError::Address));
    // A queue that somebody has for himself.
    let somebody = broker.somebody().await;
    somebody
        .declare_with(&queue, QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() }, FieldTable::default())
        .await;
    assert!(matches!(look(&good).await.expect_err("refused"), LinkError::QueueTaken));
}

/// What the page for operators says to allow is enough: to look, to make the queue, to take a room, and to hand a command to the service that has it.
#[tokio::test]
async fn the_permissions_that_operators_are_told_to_give_are_enough() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/with-your-opentalk.md")).expect("a page");
    let told = SERVICE_MAY.map(|pattern| format!("'{pattern}'")).join(" ");
    assert!(page.contains(&told), "the page does not say {told}");
    let (broker, queue, room) = (RabbitMq::shared(), "opentalk_recorder", room());
    let allowed = BrokerSettings { user: SERVICE.into(), ..settings(broker, queue) };
    look(&allowed).await.expect("all is well");
    let mut first = Service::start(allowed.clone(), 1);
    first.connected().await;
    let somebody = broker.somebody().await;
    looks(&somebody, queue, Some((0, 1))).await;
    somebody.publish(queue, &command(&room)).await;
    let mut taken = first.take().await;
    let _second = Service::start(allowed, 3);
    looks(&somebody, queue, Some((0, 1))).await;
    somebody.publish(queue, &command(&room)).await;
    within("the owner to hear of it", taken.claim.commanded_again()).await;
}
