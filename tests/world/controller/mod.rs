//! A stand-in for an OpenTalk controller of generation B, as a recorder sees one: the start service, tickets, signaling, uploads.
//!
//! It keeps to what a real one was recorded to do (`tests/opentalk_world.rs` compares them), its odd ways among them. Moderators, participants and
//! callers are played by the test through [`Controller`]; what each of them is told is kept. It publishes start commands through a given function.

mod api;
mod frames;
mod house;
mod http;
mod messages;
mod room;
mod signaling;
mod token;
mod upload;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

#[allow(unused_imports, reason = "each test program plays with others")]
pub use api::Person;
#[allow(unused_imports, reason = "each test program plays with others")]
pub use house::{Asset, Misbehaviour};
#[allow(unused_imports, reason = "each test program plays with others")]
pub use room::{Kind, RoomPlan, StreamPlan};
pub use token::{Roles, Tokens};
pub use upload::UploadFate;

use super::until;
use house::House;

/// Longest wait for something that has been set going.
const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes the body of a start command; false when the broker is away. Nobody who listens is no trouble.
pub type Publish = Box<dyn Fn(&str) -> bool + Send>;

/// What a controller is made of.
pub struct Setup {
    /// Which access tokens it believes.
    pub tokens: Tokens,
    /// The LiveKit server that it sends everybody to; tokens are made with the key of the tests.
    pub livekit_url: String,
    /// Where start commands go.
    pub publish: Publish,
    /// A certificate and a key (PEM) to be spoken to by TLS.
    pub tls: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Setup {
    /// One that believes `good` as the recorder's token, and publishes to nobody.
    pub fn simple(livekit_url: &str) -> Setup {
        Setup {
            tokens: Tokens::Listed(vec![("good".into(), token::Roles::Recorder), ("roleless".into(), token::Roles::None)]),
            livekit_url: livekit_url.into(),
            publish: Box::new(|_| true),
            tls: None,
        }
    }
}

/// A running controller.
pub struct Controller {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What its tasks share. The lock is held for one step of the house.
struct Shared {
    house: Mutex<House>,
    /// Counts restarts: every connection of an earlier life is cut.
    life: watch::Sender<u64>,
}

impl Shared {
    fn house(&self) -> MutexGuard<'_, House> {
        self.house.lock().expect("house")
    }
}

impl Controller {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start(setup: Setup) -> Controller {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("bound");
        let Setup { tokens, livekit_url, publish, tls } = setup;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let house = House::new(tokens, livekit_url, publish);
        let shared = Arc::new(Shared { house: Mutex::new(house), life: watch::channel(0).0 });
        runtime.spawn(http::accept(Arc::clone(&shared), listener, tls.map(|(cert, key)| http::acceptor(&cert, &key))));
        Controller { address, scheme, shared, runtime: Some(runtime) }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Dies and lives again: TCP is cut without a word, rooms are gone with everybody in them, and are made anew with other ids for their recordings.
    pub fn restart(&self) {
        self.shared.house().forget_everything();
        self.shared.life.send_modify(|life| *life += 1);
    }

    /// Cuts all TCP connections, as a network does.
    pub fn cut(&self) {
        self.shared.life.send_modify(|life| *life += 1);
    }

    /// Does this from now on.
    pub fn misbehave(&self, how: Misbehaviour) {
        self.shared.house().misbehaviour = how;
    }

    /// Runs five seconds after a click, which is what the rule of five seconds needs.
    fn after_five_seconds(&self, room: String, click: u64) {
        let shared = Arc::clone(&self.shared);
        let runtime = self.runtime.as_ref().expect("runs");
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            shared.house().deadline(&room, click);
        });
    }

    fn house(&self) -> MutexGuard<'_, House> {
        self.shared.house()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A message as it is on the wire.
fn message(namespace: &str, payload: Value) -> Value {
    json!({"namespace": namespace, "timestamp": messages::now(), "payload": payload})
}

/// A random UUID.
fn uuid() -> String {
    use std::hash::{BuildHasher, RandomState};
    let (a, b) = (RandomState::new().hash_one(1), RandomState::new().hash_one(2));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 52) & 0xfff,
        b & 0xffff_ffff_ffff
    )
}
