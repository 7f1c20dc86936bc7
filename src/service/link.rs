//! The private socket between the supervisor and one worker.
//!
//! In: typed messages of [`super::job`]. Out: the same on the other side. On the wire each message is a length of four bytes (big
//! endian) and that many bytes of JSON, at most [`MAX_FRAME_BYTES`].
//! Runs on the tokio runtime of either process; [`Outbox::send`] may be called from any thread and never blocks.
//! Refuses to wait for a slow peer (a message that a newer one replaces is dropped and counted; anything else waits in a bounded
//! queue, and a full queue is an error), and refuses to repeat the content of a broken message in an error: it may hold a token.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::discriminant;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::job::{FromWorker, ToWorker};

/// Largest message. The largest real one is a Job with the texts of its layout and slates.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Messages that may wait for a peer that does not read. Replaced messages do not count, so this is reached only by a peer that hangs.
const MAX_WAITING: usize = 1024;

const LENGTH_BYTES: usize = 4;

/// What can go wrong on the private socket.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The operating system refused.
    #[error("the private socket failed")]
    Io(#[from] io::Error),
    /// The peer announced, or we were given, a message above the limit.
    #[error("a message of {bytes} bytes is above the limit of {MAX_FRAME_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, or not a message that we know. The content is not kept.
    #[error("a message of {bytes} bytes is not understood (column {column})")]
    Garbage {
        /// Its length.
        bytes: usize,
        /// Where in it.
        column: usize,
    },
    /// The peer closed in the middle of a message.
    #[error("the private socket closed in the middle of a message")]
    Truncated,
    /// The peer has not read for long.
    #[error("{MAX_WAITING} messages wait on the private socket: the other process does not read")]
    Backlog,
    /// The peer is gone, or we closed.
    #[error("the private socket is closed")]
    Closed,
    /// The worker role was started without its socket.
    #[error("file descriptor {0} is not the private socket: a worker is started by the supervisor, not by hand")]
    NotInherited(RawFd),
    /// The monitor role was started without its listening socket.
    #[error("file descriptor {0} is not a listening socket: a monitor is started by the supervisor, not by hand")]
    NotListening(RawFd),
}

/// A message, and which older one it makes needless.
pub trait Message: Serialize + Send + 'static {
    /// Whether `older`, still waiting, can be dropped because of this one.
    fn replaces(&self, older: &Self) -> bool;
}

impl Message for ToWorker {
    fn replaces(&self, older: &Self) -> bool {
        matches!((self, older), (Self::Layout(_), Self::Layout(_)))
    }
}

impl Message for FromWorker {
    fn replaces(&self, older: &Self) -> bool {
        match (self, older) {
            // Of another file of the same Target each is worth knowing.
            (Self::Written { target, file, .. }, Self::Written { target: old, file: old_file, .. }) => {
                target == old && file == old_file
            }
            (Self::LiveFigures { target: new, .. }, Self::LiveFigures { target: old, .. }) => new == old,
            (Self::Status(_) | Self::Decoding { .. } | Self::NeedToken | Self::TokenRefreshed { .. }, _) => {
                discriminant(self) == discriminant(older)
            }
            _ => false,
        }
    }
}

/// One end of the private socket: `In` arrives, `Out` is sent.
pub struct Link<In, Out: Message> {
    /// What the peer says.
    pub incoming: Reader<In>,
    /// What the peer is told.
    pub outgoing: Outbox<Out>,
}

/// The supervisor's end. Its end of stream means that the worker died.
pub type SupervisorLink = Link<FromWorker, ToWorker>;
/// The worker's end. Its end of stream means that the supervisor is gone: end all Takes, sync, exit.
pub type WorkerLink = Link<ToWorker, FromWorker>;

impl<In: DeserializeOwned, Out: Message> Link<In, Out> {
    /// Takes one end of [`pair`]. Must be called inside a tokio runtime; starts the task that writes.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking or registered.
    pub fn open(stream: StdUnixStream) -> Result<Self, LinkError> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        Ok(Self { incoming: Reader::new(read), outgoing: Outbox::start(write) })
    }
}

/// A connected pair; both ends close on exec.
///
/// # Errors
/// No file descriptors are left.
pub fn pair() -> Result<(StdUnixStream, StdUnixStream), LinkError> {
    Ok(StdUnixStream::pair()?)
}

/// The socket that the supervisor left open for this process as descriptor `fd`. Call once, first of all.
///
/// # Errors
/// `fd` is not an open Unix socket.
pub fn inherited(fd: RawFd) -> Result<StdUnixStream, LinkError> {
    let is_unix = getsockname::<SockaddrStorage>(fd).is_ok_and(|name| name.family() == Some(AddressFamily::Unix));
    if fd <= libc::STDERR_FILENO || !is_unix {
        return Err(LinkError::NotInherited(fd));
    }
    // SAFETY: the descriptor is open (checked above), and was left to this process for this one call to own.
    let stream = unsafe { StdUnixStream::from_raw_fd(fd) };
    fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
    Ok(stream)
}

/// The listening socket that the supervisor left open for this process as descriptor `fd`. Call once, first of all.
///
/// # Errors
/// `fd` is not a listening TCP socket.
pub fn inherited_listener(fd: RawFd) -> Result<TcpListener, LinkError> {
    let is_inet = getsockname::<SockaddrStorage>(fd)
        .is_ok_and(|name| matches!(name.family(), Some(AddressFamily::Inet | AddressFamily::Inet6)));
    if fd <= libc::STDERR_FILENO || !is_inet {
        return Err(LinkError::NotListening(fd));
    }
    // SAFETY: the descriptor is open (checked above), and was left to this process for this one call to own.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
    Ok(listener)
}

/// Reads messages.
pub struct Reader<In> {
    half: OwnedReadHalf,
    buffer: BytesMut,
    message: PhantomData<fn() -> In>,
}

impl<In: DeserializeOwned> Reader<In> {
    fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: BytesMut::with_capacity(8 << 10), message: PhantomData }
    }

    /// The next message, or `None` when the peer closed between two messages. May be cancelled at any time without loss.
    ///
    /// # Errors
    /// I/O, a message that is too large or not understood, or an end in the middle of one. Nothing useful can follow an error.
    pub async fn next(&mut self) -> Result<Option<In>, LinkError> {
        loop {
            if let Some(message) = take_frame(&mut self.buffer)? {
                return Ok(Some(message));
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LinkError::Truncated) };
            }
        }
    }
}

/// Takes one whole message from the front of `buffer`, if there is one.
fn take_frame<In: DeserializeOwned>(buffer: &mut BytesMut) -> Result<Option<In>, LinkError> {
    let Some(header) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let bytes = u32::from_be_bytes(*header) as usize;
    if bytes > MAX_FRAME_BYTES {
        return Err(LinkError::TooLarge { bytes });
    }
    if buffer.len() < LENGTH_BYTES + bytes {
        buffer.reserve(LENGTH_BYTES + bytes - buffer.len());
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    let frame = buffer.split_to(bytes);
    serde_json::from_slice(&frame).map(Some).map_err(|e| LinkError::Garbage { bytes, column: e.column() })
}

/// A message with its length in front.
fn frame<Out: Serialize>(message: &Out) -> Result<Vec<u8>, LinkError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(io::Error::from)?;
    let bytes = frame.len() - LENGTH_BYTES;
    if bytes > MAX_FRAME_BYTES {
        return Err(LinkError::TooLarge { bytes });
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(bytes as u32).to_be_bytes());
    Ok(frame)
}

/// Sends messages, from any thread, without blocking. When the last clone is dropped, what waits is still written, then the
/// direction is closed.
pub struct Outbox<Out: Message> {
    handle: Arc<CloseOnDrop<Out>>,
}

impl<Out: Message> Clone for Outbox<Out> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

struct CloseOnDrop<Out>(Arc<Shared<Out>>);

impl<Out> Drop for CloseOnDrop<Out> {
    fn drop(&mut self) {
        self.0.queue().closing = true;
        self.0.ready.notify_one();
    }
}

struct Shared<Out> {
    /// The only lock here; held for a push or a pop, never across an await.
    queue: Mutex<Queue<Out>>,
    /// Something waits, or the outbox closed.
    ready: Notify,
    /// Nothing waits any more, or writing failed.
    idle: Notify,
}

struct Queue<Out> {
    waiting: VecDeque<Out>,
    writing: bool,
    closing: bool,
    failed: bool,
    replaced: u64,
}

impl<Out> Shared<Out> {
    fn queue(&self) -> MutexGuard<'_, Queue<Out>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Out: Message> Outbox<Out> {
    fn start(half: OwnedWriteHalf) -> Self {
        let queue = Queue { waiting: VecDeque::new(), writing: false, closing: false, failed: false, replaced: 0 };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), ready: Notify::new(), idle: Notify::new() });
        tokio::spawn(write_all(half, Arc::clone(&shared)));
        Self { handle: Arc::new(CloseOnDrop(shared)) }
    }

    /// Queues a message; never blocks. A waiting message that this one replaces is dropped and counted.
    ///
    /// # Errors
    /// The peer is gone, or has not read for so long that [`LinkError::Backlog`] is reached.
    pub fn send(&self, message: Out) -> Result<(), LinkError> {
        let shared = &self.handle.0;
        let mut queue = shared.queue();
        if queue.failed {
            return Err(LinkError::Closed);
        }
        if let Some(older) = queue.waiting.iter().position(|older| message.replaces(older)) {
            queue.waiting.remove(older);
            queue.replaced += 1;
        } else if queue.waiting.len() >= MAX_WAITING {
            return Err(LinkError::Backlog);
        }
        queue.waiting.push_back(message);
        drop(queue);
        shared.ready.notify_one();
        Ok(())
    }

    /// Messages dropped because a newer one said the same.
    pub fn replaced(&self) -> u64 {
        self.handle.0.queue().replaced
    }

    /// Waits until everything queued is in the socket. Call before the process exits.
    ///
    /// # Errors
    /// The peer is gone.
    pub async fn flush(&self) -> Result<(), LinkError> {
        let shared = &self.handle.0;
        loop {
            let idle = shared.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let queue = shared.queue();
                if queue.failed {
                    return Err(LinkError::Closed);
                }
                if queue.waiting.is_empty() && !queue.writing {
                    return Ok(());
                }
            }
            idle.await;
        }
    }
}

/// What the writing task does next.
enum Next<Out> {
    Write(Out),
    Wait,
    End,
}

async fn write_all<Out: Message>(mut half: OwnedWriteHalf, shared: Arc<Shared<Out>>) {
    loop {
        match next(&shared) {
            Next::Write(message) => {
                let result = match frame(&message) {
                    Ok(frame) => half.write_all(&frame).await.map_err(LinkError::Io),
                    Err(error) => Err(error),
                };
                if let Err(error) = result {
                    // A peer that is gone is seen by the reading side too, which tells it; anything else would be lost here.
                    tracing::debug!(%error, "private socket: writing ended");
                    shared.queue().failed = true;
                    shared.idle.notify_waiters();
                    return;
                }
            }
            Next::Wait => {
                shared.idle.notify_waiters();
                shared.ready.notified().await;
            }
            Next::End => return,
        }
    }
}

fn next<Out>(shared: &Shared<Out>) -> Next<Out> {
    let mut queue = shared.queue();
    let message = queue.waiting.pop_front();
    queue.writing = message.is_some();
    match message {
        Some(message) => Next::Write(message),
        None if queue.closing => Next::End,
        None => Next::Wait,
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
