//! The monitor's own process: the door, and the hall behind it.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use recorder_core::secret::Secret;
use tokio::sync::{mpsc, watch};

use super::hall::Hall;
use super::http::Door;
use super::standing::Standing;
use crate::clock::SessionClock;

/// Requests that may wait for the hall; each belongs to a connection.
const WAITING: usize = 64;

/// What a monitor is told.
#[derive(Debug)]
pub struct MonitorSettings {
    /// Where viewers come to; listens already.
    pub listener: TcpListener,
    /// The worker's private socket.
    pub feed: PathBuf,
    /// The Session's clock.
    pub clock: SessionClock,
    /// What everybody must know who wants to see anything.
    pub token: Option<Secret>,
    /// How the Session stands.
    pub standing: watch::Receiver<Standing>,
    /// Told how many watch.
    pub count: watch::Sender<usize>,
}

/// Serves viewers on the tokio runtime that this is called on; never returns unless it cannot go on.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(settings: MonitorSettings) -> io::Result<()> {
    let MonitorSettings { listener, feed, clock, token, standing, count } = settings;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (requests, receiver) = mpsc::channel(WAITING);
    let door = Door { token, clock, standing, viewers: count.subscribe(), requests };
    tokio::select! {
        () = Hall::new(feed, count).serve(receiver) => Ok(()),
        never = door.open(listener) => never,
    }
}
