//! A whole OpenTalk installation around the product: broker, identity provider, media server, storage, live platform, and the controller's stand-in.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;

use super::controller::{Controller, Setup, Tokens};
use super::keycloak::{Keycloak, SECRET};
use super::line::Line;
use super::livekit::LiveKit;
use super::product::Product;
use super::rabbitmq::{PASSWORD, RabbitMq, Somebody, USER};
use super::until;

/// The operators' token of the tests.
pub const OPERATORS: &str = "canary-operators-token";
/// The queue of start commands.
pub const QUEUE: &str = "recorders";

/// Everything but the product, the storage and the live platforms.
pub struct Installation {
    /// The broker.
    pub broker: Broker,
    /// The identity provider.
    pub keycloak: &'static Keycloak,
    /// The media server.
    pub livekit: LiveKit,
    /// The controller.
    pub controller: Controller,
    /// The ways of services to them, where they can be disturbed.
    pub lines: Option<Lines>,
}

/// The message broker.
pub enum Broker {
    /// That of all tests of this program.
    Shared(&'static RabbitMq),
    /// One that may be killed.
    Own(RabbitMq),
}

impl Deref for Broker {
    type Target = RabbitMq;

    fn deref(&self) -> &RabbitMq {
        match self {
            Self::Shared(broker) => broker,
            Self::Own(broker) => broker,
        }
    }
}

/// What is between a service and everything else. The controller has ways of its own to the broker and to the provider.
pub struct Lines {
    /// To the broker.
    pub broker: Line,
    /// To the identity provider.
    pub keycloak: Line,
    /// To the controller.
    pub controller: Line,
}

impl Installation {
    /// Starts it. Start commands go to [`QUEUE`] of the broker.
    pub fn start() -> Installation {
        Self::around(|| Broker::Shared(RabbitMq::shared()))
    }

    /// Starts one whose broker may be killed, and whose services have lines to everything.
    pub fn start_exposed() -> Installation {
        let mut installation = Self::around(|| Broker::Own(RabbitMq::start()));
        let Installation { broker, keycloak, controller, .. } = &installation;
        let [broker, keycloak, controller] = [broker.port(), keycloak.port, controller.port()].map(Line::to);
        installation.lines = Some(Lines { broker, keycloak, controller });
        installation
    }

    fn around(broker: impl FnOnce() -> Broker) -> Installation {
        let keycloak = std::thread::spawn(Keycloak::shared);
        let broker = broker();
        let livekit = LiveKit::start();
        let keycloak = keycloak.join().expect("Keycloak starts");
        let (commands, mut waiting) = tokio::sync::mpsc::unbounded_channel::<String>();
        let port = broker.port();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let mut somebody = Somebody::at(port).await;
                while let Some(command) = waiting.recv().await {
                    if !somebody.is_connected() {
                        somebody = Somebody::at(port).await;
                    }
                    somebody.publish(QUEUE, command.as_bytes()).await;
                }
            });
        });
        let setup = Setup {
            tokens: Tokens::Signed(keys_of(keycloak)),
            livekit_url: livekit.url(),
            publish: Box::new(move |body| commands.send(body.to_owned()).is_ok()),
            tls: None,
        };
        Installation { broker, keycloak, livekit, controller: Controller::start(setup), lines: None }
    }

    /// Starts a service in this folder, with `more` in its configuration, and waits until it takes orders.
    pub fn serve(&self, folder: &Path, more: &str, secrets: &[(&str, &str)]) -> Product {
        self.serve_as("Recorder", folder, more, secrets)
    }

    /// The same as another client of the identity provider.
    pub fn serve_as(&self, client: &str, folder: &Path, more: &str, secrets: &[(&str, &str)]) -> Product {
        let product = self.start_service(client, folder, more, secrets);
        is_served(&self.broker, &product);
        product
    }

    /// The same by another program, which takes ours and its arguments as its last ones, and becomes it.
    pub fn serve_by(&self, words: &[&str], folder: &Path, more: &str) -> Product {
        let product = self.start_service_by(words, "Recorder", folder, more, &[]);
        is_served(&self.broker, &product);
        product
    }

    /// Starts a service in this folder, with `more` in its configuration, as this client of the identity provider.
    pub fn start_service(&self, client: &str, folder: &Path, more: &str, secrets: &[(&str, &str)]) -> Product {
        self.start_service_by(&[], client, folder, more, secrets)
    }

    fn start_service_by(&self, words: &[&str], client: &str, folder: &Path, more: &str, secrets: &[(&str, &str)]) -> Product {
        let config = self.configuration(client, more);
        std::fs::write(folder.join("roomcast.toml"), config).expect("written");
        let own = [
            ("ROOMCAST_KEYCLOAK__CLIENT_SECRET", SECRET),
            ("ROOMCAST_RABBITMQ__PASSWORD", PASSWORD),
            ("ROOMCAST_HTTP__TOKEN", OPERATORS),
        ];
        let environment: Vec<_> = own.iter().chain(secrets).copied().collect();
        Product::start_by(words, folder, &["--config", "roomcast.toml", "serve"], &environment, "")
    }

    fn configuration(&self, client: &str, more: &str) -> String {
        let issuer = self.keycloak.issuer();
        let (controller, broker, endpoint) = match &self.lines {
            None => (self.controller.url(), self.broker.url(), String::new()),
            Some(Lines { broker, keycloak, controller }) => {
                let realm = self.keycloak.issuer_at(&format!("http://127.0.0.1:{}", keycloak.port()));
                (
                    format!("http://127.0.0.1:{}", controller.port()),
                    format!("amqp://127.0.0.1:{}", broker.port()),
                    format!("token_endpoint = \"{realm}/protocol/openid-connect/token\"\n"),
                )
            }
        };
        format!(
            "[http]\nlisten = \"127.0.0.1:{}\"\n[controller]\nurl = \"{controller}\"\n[keycloak]\nissuer = \"{issuer}\"\nclient_id = \"{client}\"\n\
             {endpoint}[rabbitmq]\nurl = \"{broker}\"\nuser = \"{USER}\"\nqueue = \"{QUEUE}\"\n{more}",
            super::free_tcp_port(),
        )
    }
}

/// Waits until a service takes orders.
pub fn is_served(broker: &RabbitMq, product: &Product) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let somebody = runtime.block_on(broker.somebody());
    until(Duration::from_secs(30), "a service consumes", || {
        let seen = runtime.block_on(somebody.looks_at(QUEUE));
        seen.filter(|(_, consumers)| *consumers > 0).map(drop).or_else(|| {
            assert!(!product.log().contains("roomcast: "), "{}", product.log());
            None
        })
    });
}

/// What operators of the service in this folder are answered, for example at `/status`.
pub fn operators_see(folder: &Path, path: &str) -> String {
    let config = std::fs::read_to_string(folder.join("roomcast.toml")).expect("a configuration");
    let listen = config.lines().find_map(|line| line.strip_prefix("listen = \"")?.strip_suffix('"')).expect("an address");
    let header = format!("Authorization: Bearer {OPERATORS}");
    let address = format!("http://{listen}{path}");
    let said = std::process::Command::new("curl").args(["--silent", "--fail", "--header", &header, &address]).output();
    String::from_utf8(said.expect("curl runs").stdout).expect("text")
}

/// The keys that the provider signs with.
fn keys_of(keycloak: &Keycloak) -> JwkSet {
    let address = format!("{}/protocol/openid-connect/certs", keycloak.issuer());
    let said = std::process::Command::new("curl").args(["--silent", "--fail", &address]).output().expect("curl runs");
    serde_json::from_slice(&said.stdout).expect("keys")
}

/// The files in a folder that end in .mp4, in order of their names.
pub fn films(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut films: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "mp4")).collect();
    films.sort();
    films
}

/// With ROOMCAST_KEEP=FOLDER a film and the log are copied there, to be looked at.
pub fn keep_if_asked(film: &Path, log: &str) {
    if let Some(folder) = std::env::var_os("ROOMCAST_KEEP") {
        let name = std::thread::current().name().unwrap_or("film").replace("::", "-");
        let folder = PathBuf::from(folder);
        std::fs::copy(film, folder.join(format!("{name}.mp4"))).expect("the film is kept");
        std::fs::write(folder.join(format!("{name}.log")), log).expect("the log is kept");
    }
}
