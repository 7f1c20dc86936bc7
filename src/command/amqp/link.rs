//! One connection to the broker, and what is done over it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compat::Compat;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::RustlsConnector;
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use tokio::net::TcpStream;

use super::BrokerSettings;

/// One question to the broker.
const ANSWER: Duration = Duration::from_secs(5);
/// From the first packet until the broker has let us in.
const CONNECT: Duration = Duration::from_secs(10);

/// Why the broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not an address of a broker.
    #[error("The address of the message broker is not understood: correct [rabbitmq] url.")]
    Address,
    /// No connection.
    #[error("The message broker cannot be reached.")]
    Unreachable(#[source] std::io::Error),
    /// Its certificate is not accepted, or it speaks no TLS.
    #[error(
        "No secure connection to the message broker is possible: its certificate is not trusted here ([rabbitmq] ca_file) or not for its name."
    )]
    NotSecure(#[source] std::io::Error),
    /// User or password.
    #[error("The message broker does not let us in: correct [rabbitmq] user and password.")]
    WrongUser,
    /// The virtual host.
    #[error(
        "The message broker does not let us into its virtual host: correct the path of [rabbitmq] url, or give the user its permissions."
    )]
    NoVirtualHost,
    /// Permissions of the user.
    #[error(
        "The message broker does not allow it: give the user of [rabbitmq] permission to configure and read the queue and roomcast.*, and to write amq.default."
    )]
    NotAllowed,
    /// The queue is somebody's own.
    #[error("Somebody else uses the queue of start commands for himself alone: end that, or correct [rabbitmq] queue.")]
    QueueTaken,
    /// No answer in time.
    #[error("The message broker does not answer in time.")]
    TooSlow,
    /// It was there.
    #[error("The connection to the message broker is lost.")]
    Lost(#[source] lapin::Error),
    /// It ended our consumer: the queue was deleted.
    #[error("The queue of start commands was deleted.")]
    QueueGone,
}

impl LinkError {
    /// The same for whoever shows it.
    pub fn fault(&self) -> Fault {
        let operator = matches!(
            self,
            Self::Address | Self::NotSecure(_) | Self::WrongUser | Self::NoVirtualHost | Self::NotAllowed | Self::QueueTaken
        );
        let blame = if operator { Blame::Operator } else { Blame::Conference };
        Fault { scope: Scope::Process, blame, retry: Retry::After(Duration::from_secs(5)), sentence: self.to_string() }
    }
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ProtocolError(refused) => Some(refused.kind().clone()),
            _ => None,
        };
        match kind {
            Some(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) => Self::NotAllowed,
            Some(AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED)) => Self::QueueTaken,
            _ => Self::Lost(error),
        }
    }
}

/// What became of a claim.
pub(super) enum Claimed {
    /// The mailbox is ours, on a channel of its own.
    Ours(Box<(Channel, Consumer)>),
    /// Another service has it.
    Elsewhere,
}

/// A connection.
pub(super) struct Link {
    pub(super) connection: Connection,
    socket: Socket,
    queue: String,
    /// Where commands come.
    commands: Channel,
    /// Everything that may be refused, so that a refusal costs no commands.
    aside: Channel,
}

/// The socket below a connection. Shutting it down ends what lapin runs for it, also when the broker does not answer.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<OwnedFd>>>);

impl Socket {
    fn set(&self, fd: Option<OwnedFd>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fd;
    }

    fn shut(&self) {
        if let Some(fd) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be gone already.
            _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.shut();
    }
}

/// Whatever is asked of the broker is answered soon, or the connection is worth nothing.
async fn soon<T, E>(asked: impl Future<Output = Result<T, E>>) -> Result<T, LinkError>
where
    LinkError: From<E>,
{
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LinkError::TooSlow),
    }
}

impl Link {
    /// Connects, and makes the queue of start commands if there is none.
    pub(super) async fn open(settings: &BrokerSettings) -> Result<Self, LinkError> {
        let link = Self::connect(settings).await?;
        link.make_queue().await?;
        Ok(link)
    }

    async fn connect(settings: &BrokerSettings) -> Result<Self, LinkError> {
        let uri = address(settings)?;
        let runtime = lapin::runtime::default_runtime()?;
        let name = concat!("roomcast ", env!("CARGO_PKG_VERSION"));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let socket = Socket::default();
        // Why the transport failed: what lapin passes on does not tell it from a connection that was lost.
        let failed = Arc::new(Mutex::new(None));
        let transport = {
            let (socket, failed, trust) = (socket.clone(), failed.clone(), settings.trust.clone());
            async move |uri: AMQPUri, _| {
                let made = tokio::time::timeout(ANSWER, dial(&uri, &socket, trust.config.clone())).await;
                made.unwrap_or(Err(LinkError::TooSlow)).map_err(|error| {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    std::io::Error::from(std::io::ErrorKind::NotConnected).into()
                })
            }
        };
        let connecting = Connection::connector(uri, runtime, transport, properties);
        let connection = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                socket.shut();
                let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(failed.unwrap_or_else(|| not_let_in(error)));
            }
            Err(_) => {
                socket.shut();
                return Err(LinkError::TooSlow);
            }
        };
        let commands = soon(connection.create_channel()).await?;
        soon(commands.basic_qos(1, BasicQosOptions::default())).await?;
        let aside = soon(connection.create_channel()).await?;
        soon(aside.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, socket, queue: settings.queue.clone(), commands, aside })
    }

    /// A queue that is there is taken as it is; otherwise it is made as recorders that controllers know make it.
    async fn make_queue(&self) -> Result<(), LinkError> {
        let channel = soon(self.connection.create_channel()).await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = soon(channel.queue_declare(self.queue.as_str().into(), passive, FieldTable::default())).await;
        match found {
            Ok(_) => soon(channel.close(200, "".into())).await,
            Err(error) if is_not_found(&error) => {
                let channel = soon(self.connection.create_channel()).await?;
                let options = QueueDeclareOptions::default();
                soon(channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default())).await?;
                soon(channel.close(200, "".into())).await
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to take commands, one at a time.
    pub(super) async fn consume(&self) -> Result<Consumer, LinkError> {
        let options = BasicConsumeOptions::default();
        soon(self.commands.basic_consume(self.queue.as_str().into(), "".into(), options, FieldTable::default())).await
    }

    /// Takes no more commands.
    pub(super) async fn cancel(&self, consumer: &Consumer) -> Result<(), LinkError> {
        soon(self.commands.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await
    }

    /// How many commands wait, and how many consumers there are, whosever they are.
    pub(super) async fn depth(&self) -> Result<(u32, u32), LinkError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = soon(self.aside.queue_declare(self.queue.as_str().into(), passive, FieldTable::default())).await?;
        Ok((found.message_count(), found.consumer_count()))
    }

    /// Takes one command without consuming.
    pub(super) async fn get(&self) -> Result<Option<lapin::message::Delivery>, LinkError> {
        let got = soon(self.commands.basic_get(self.queue.as_str().into(), BasicGetOptions::default())).await?;
        Ok(got.map(|got| got.delivery))
    }

    /// Tries to make a room ours.
    pub(super) async fn claim(&self, mailbox: &str) -> Result<Claimed, LinkError> {
        // A refusal costs the channel, so each claim has its own.
        let channel = soon(self.connection.create_channel()).await?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        match soon(channel.queue_declare(mailbox.into(), options, FieldTable::default())).await {
            Ok(_) => {}
            Err(LinkError::QueueTaken) => return Ok(Claimed::Elsewhere),
            Err(error) => return Err(error),
        }
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consumer = soon(channel.basic_consume(mailbox.into(), "".into(), options, FieldTable::default())).await?;
        Ok(Claimed::Ours(Box::new((channel, consumer))))
    }

    /// Gives a mailbox up. Whether commands were found in it.
    pub(super) async fn give_up(&self, mailbox: &str, mut channel: Channel, tag: &str) -> Result<bool, LinkError> {
        soon(channel.basic_cancel(tag.into(), BasicCancelOptions::default())).await?;
        let mut has_left = false;
        loop {
            while soon(channel.basic_get(mailbox.into(), BasicGetOptions { no_ack: true })).await?.is_some() {
                has_left = true;
            }
            let options = QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() };
            match soon(channel.queue_delete(mailbox.into(), options)).await {
                Ok(_) => break,
                // One came in between, and the refusal cost the channel.
                Err(error) if is_not_empty(&error) => channel = soon(self.connection.create_channel()).await?,
                Err(error) => return Err(error),
            }
        }
        soon(channel.close(200, "".into())).await?;
        Ok(has_left)
    }

    /// Writes a message; `false` when there is no such queue.
    pub(super) async fn write(&self, queue: &str, message: &[u8]) -> Result<bool, LinkError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default();
        let sent = soon(self.aside.basic_publish("".into(), queue.into(), options, message, properties)).await?;
        Ok(matches!(soon(sent).await?, Confirmation::Ack(None)))
    }

    /// Writes a command to the queue of start commands.
    pub(super) async fn write_command(&self, message: &[u8]) -> Result<bool, LinkError> {
        self.write(&self.queue, message).await
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        // One that does not answer is closed all the same.
        _ = soon(self.connection.close(200, "".into())).await;
    }
}

/// What a look at the broker has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Commands that wait, and who else consumes; `None` when the queue is not there yet.
    pub queue: Option<(u32, u32)>,
}

/// Looks whether the broker can be used, and leaves nothing behind there.
///
/// # Errors
/// See [`LinkError`].
pub async fn look(settings: &BrokerSettings) -> Result<Seen, LinkError> {
    let link = Link::connect(settings).await?;
    let mailbox = format!("roomcast.check.{}.{}", std::process::id(), crate::clock::SessionClock::start().epoch_ns());
    if let Claimed::Ours(ours) = link.claim(&mailbox).await? {
        let (channel, consumer) = *ours;
        // Commands are handed on, and written to mailboxes of other services.
        link.write(&mailbox, b"").await?;
        link.give_up(&mailbox, channel, consumer.tag().as_str()).await?;
    }
    // Last, because one that is not there costs the channel.
    let queue = match link.depth().await {
        Ok(depth) => Some(depth),
        Err(error) if is_not_found(&error) => None,
        Err(error) => return Err(error),
    };
    link.close().await;
    Ok(Seen { queue })
}

/// The address as lapin wants it.
fn address(settings: &BrokerSettings) -> Result<AMQPUri, LinkError> {
    let mut uri: AMQPUri = settings.url.parse().map_err(|_| LinkError::Address)?;
    // `amqp://host/` is the same as `amqp://host` to people; the virtual host without a name is nobody's.
    if uri.vhost.is_empty() {
        uri.vhost = "/".into();
    }
    uri.authority.userinfo.username.clone_from(&settings.user);
    uri.authority.userinfo.password = settings.password.expose().to_owned();
    uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
    Ok(uri)
}

type Transport = AsyncTcpStream<Compat<TcpStream>>;

/// Connects, and secures the connection where that is wanted.
async fn dial(uri: &AMQPUri, socket: &Socket, config: Arc<rustls::ClientConfig>) -> Result<Transport, LinkError> {
    let host = uri.authority.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.authority.port)).await.map_err(LinkError::Unreachable)?;
    socket.set(stream.as_fd().try_clone_to_owned().ok());
    let stream = AsyncTcpStream::Plain(Compat::new(stream));
    match uri.scheme {
        AMQPScheme::AMQP => Ok(stream),
        AMQPScheme::AMQPS => stream.into_rustls(&RustlsConnector::from(config), host).await.map_err(LinkError::NotSecure),
    }
}

/// Why a broker that was reached did not let us in.
fn not_let_in(error: lapin::Error) -> LinkError {
    let ErrorKind::ProtocolError(refused) = error.kind() else { return LinkError::Lost(error) };
    match refused.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => LinkError::WrongUser,
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => LinkError::NoVirtualHost,
        _ => LinkError::Lost(error),
    }
}

fn is_soft(error: &LinkError, wanted: AMQPSoftError) -> bool {
    let LinkError::Lost(error) = error else { return false };
    matches!(error.kind(), ErrorKind::ProtocolError(refused) if *refused.kind() == AMQPErrorKind::Soft(wanted))
}

fn is_not_found(error: &LinkError) -> bool {
    is_soft(error, AMQPSoftError::NOTFOUND)
}

fn is_not_empty(error: &LinkError) -> bool {
    is_soft(error, AMQPSoftError::PRECONDITIONFAILED)
}
