//! A real RabbitMQ with a private folder, and somebody who publishes and counts there as a controller and an operator do.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;

use super::certificates::Certificates;
use super::kept::{Kept, Program};
use super::{cache, free_tcp_port, until};

/// Who may do everything.
pub const USER: &str = "recorder";
/// Who may read, and declare nothing.
pub const READER: &str = "reader";
/// Who may do everything but write.
pub const LISTENER: &str = "listener";
/// Who may do what operators are told to allow: [`SERVICE_MAY`].
pub const SERVICE: &str = "roomcast";
/// What that is, with the queue `opentalk_recorder`: to configure, to write, to read.
pub const SERVICE_MAY: [&str; 3] =
    [r"^(opentalk_recorder|roomcast\..*)$", r"^amq\.default$", r"^(opentalk_recorder|roomcast\..*)$"];
/// The password of all: easy to find where it must not be.
pub const PASSWORD: &str = "canary-amqp-password";

/// A running broker.
pub struct RabbitMq {
    broker: Option<Kept>,
    names: Option<Kept>,
    folder: Folder,
    ports: Ports,
    certificates: Certificates,
}

/// Where a broker keeps its data: for as long as itself, or as long as this process.
enum Folder {
    Own(tempfile::TempDir),
    Shared { broker: std::path::PathBuf, names: std::path::PathBuf },
}

struct Ports {
    amqp: u16,
    amqps: u16,
    names: u16,
    distribution: u16,
}

impl RabbitMq {
    /// The broker that all tests of this program share; queues have names of their own.
    pub fn shared() -> &'static RabbitMq {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        let keep = || tempfile::tempdir().expect("a folder").keep();
        SHARED.get_or_init(|| Self::with(Folder::Shared { broker: keep(), names: keep() }))
    }

    /// A broker of this test's own, which may be killed.
    pub fn start() -> RabbitMq {
        Self::with(Folder::Own(tempfile::tempdir().expect("a folder")))
    }

    fn with(folder: Folder) -> RabbitMq {
        let ports =
            Ports { amqp: free_tcp_port(), amqps: free_tcp_port(), names: free_tcp_port(), distribution: free_tcp_port() };
        let mut broker = RabbitMq { broker: None, names: None, folder, ports, certificates: Certificates::make() };
        broker.come_back();
        broker
    }

    /// Starts it, or starts it again after its end with what it had on disk.
    pub fn come_back(&mut self) {
        let erlang = cache().join("rabbitmq/usr/lib/erlang");
        assert!(erlang.exists(), "{} is missing: run scripts/servers all first", erlang.display());
        let (folder, names_folder) = match &self.folder {
            Folder::Own(folder) => (folder.path(), None),
            Folder::Shared { broker, names } => (broker.as_path(), Some(names.clone())),
        };
        let log = folder.join("log");
        self.configure(folder);
        if self.names.is_none() {
            let epmd = erlang.join("bin/epmd");
            let port = self.ports.names.to_string();
            let words =
                [epmd.as_os_str(), OsStr::new("-address"), OsStr::new("127.0.0.1"), OsStr::new("-port"), OsStr::new(&port)];
            // Its log lies in the folder that it removes.
            let log = names_folder.as_deref().unwrap_or(folder).join("names.log");
            self.names =
                Some(Kept::start(Program { words: words.into(), variables: Vec::new(), log: &log, folder: names_folder }));
            let port = self.ports.names;
            until(Duration::from_secs(10), "names are kept", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        let at = |name: &str| folder.join(name).display().to_string();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let variables = vec![
            ("PATH", format!("{}:{}", erlang.join("bin").display(), path.display())),
            ("HOME", folder.display().to_string()),
            ("RUNNING_UNDER_SYSTEMD", "1".into()),
            ("ERL_EPMD_PORT", self.ports.names.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("ERL_CRASH_DUMP_BYTES", "0".into()),
            ("RABBITMQ_DIST_PORT", self.ports.distribution.to_string()),
            ("RABBITMQ_NODENAME", format!("roomcast{}@localhost", self.ports.amqp)),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("logs")),
            ("RABBITMQ_PID_FILE", at("pid")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}".into()),
        ];
        let program = cache().join("rabbitmq/usr/lib/rabbitmq/bin/rabbitmq-server");
        let removed = matches!(self.folder, Folder::Shared { .. }).then(|| folder.to_owned());
        self.broker = Some(Kept::start(Program { words: vec![program.as_os_str()], variables, log: &log, folder: removed }));
        let port = self.ports.amqp;
        until(Duration::from_secs(90), "RabbitMQ answers", || greets(port).then_some(()));
    }

    fn configure(&self, folder: &Path) {
        let certificate = |name: &str| self.certificates.path(name).display().to_string();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlisteners.ssl.1 = 127.0.0.1:{}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_none\nload_definitions = {}\nlog.console = true\nlog.file = false\n\
             disk_free_limit.absolute = 50MB\n",
            self.ports.amqp,
            self.ports.amqps,
            certificate("ca.pem"),
            certificate("good.pem"),
            certificate("good.key"),
            folder.join("definitions.json").display(),
        );
        let may = |user: &str, [configure, write, read]: [&str; 3]| json!({"user": user, "vhost": "/", "configure": configure, "write": write, "read": read});
        let users = [USER, READER, LISTENER, SERVICE].map(|name| json!({"name": name, "password": PASSWORD, "tags": ""}));
        let definitions = json!({
            "users": users,
            "vhosts": [{"name": "/"}],
            "permissions": [
                may(USER, [".*", ".*", ".*"]),
                may(READER, ["^$", ".*", ".*"]),
                may(LISTENER, [".*", "^$", ".*"]),
                may(SERVICE, SERVICE_MAY),
            ],
        });
        std::fs::write(folder.join("rabbitmq.conf"), config).expect("written");
        std::fs::write(folder.join("definitions.json"), definitions.to_string()).expect("written");
        std::fs::write(folder.join("plugins"), "[].").expect("written");
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.kill();
        }
    }

    /// Ends it in order: it closes its connections first.
    pub fn stop(&mut self) {
        drop(self.broker.take());
    }

    /// Stops it where it is, or lets it go on: its connections stay open.
    pub fn freeze(&self, is_frozen: bool) {
        if let Some(broker) = &self.broker {
            broker.freeze(is_frozen);
        }
    }

    /// Where it is, in plain text.
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.ports.amqp)
    }

    /// Its TCP port on 127.0.0.1, for plain text.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// Where it is behind TLS; its name is `localhost`.
    pub fn tls_url(&self) -> String {
        format!("amqps://localhost:{}", self.ports.amqps)
    }

    /// Who signed its certificate.
    pub fn ca_file(&self) -> std::path::PathBuf {
        self.certificates.path("ca.pem")
    }

    /// Somebody who is connected to it and is not the product.
    pub async fn somebody(&self) -> Somebody {
        Somebody::at(self.ports.amqp).await
    }
}

/// Whether a broker greets whoever connects.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut first = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(b"AMQP\0\0\x09\x01").is_ok()
        && stream.read_exact(&mut first).is_ok()
        && first == [1]
}

/// A connection that is not the product's.
pub struct Somebody {
    connection: Connection,
    channel: lapin::Channel,
}

impl Somebody {
    /// Connects to the broker at a port of 127.0.0.1.
    pub async fn at(port: u16) -> Somebody {
        let uri = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}/%2f");
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await.expect("the broker is there");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Somebody { connection, channel }
    }

    /// Declares a queue as the recorder that controllers know does.
    pub async fn declare(&self, queue: &str) {
        self.declare_with(queue, QueueDeclareOptions::default(), FieldTable::default()).await;
    }

    /// Declares a queue of another shape.
    pub async fn declare_with(&self, queue: &str, options: QueueDeclareOptions, arguments: FieldTable) {
        self.channel.queue_declare(queue.into(), options, arguments).await.expect("declared");
    }

    /// Whether the broker is still there.
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Publishes as a controller does: without any property.
    pub async fn publish(&self, queue: &str, body: &[u8]) {
        let sent =
            self.channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, BasicProperties::default());
        sent.await.expect("published").await.expect("confirmed");
    }

    /// Whether a queue is there and somebody's own.
    pub async fn is_locked(&self, queue: &str) -> bool {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let refused = channel.queue_declare(queue.into(), options, FieldTable::default()).await.err();
        refused.is_some_and(|refused| {
            let lapin::ErrorKind::ProtocolError(refused) = refused.kind() else { return false };
            *refused.kind() == AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED)
        })
    }

    /// How many messages wait, and how many consume; `None` when there is no such queue.
    pub async fn looks_at(&self, queue: &str) -> Option<(u32, u32)> {
        // A queue that is not there, or is somebody's own, costs the channel; that the broker has refused the one before may still be on its way.
        let channel = self.connection.create_channel().await.ok()?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?;
        let counts = (found.message_count(), found.consumer_count());
        channel.close(200, "".into()).await.expect("closed");
        Some(counts)
    }
}
