//! The monitor role: the process that lets people see what goes out.
//!
//! In: a [`MonitorJob`] and the state of the Session over the private socket, the listening socket for viewers, packets over the worker's private socket. Out: the page, WHEP, and a
//! sign of life to the supervisor. It may die at any time; when its own socket closes, it exits.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::job::optional_secret;
use super::link::{Link, LinkError, Message};
use super::process::allow_many_descriptors;
use crate::clock::SessionClock;
use crate::graph::lower_this_thread;
use crate::target::monitor::server::{MonitorSettings, serve};
use crate::target::monitor::standing::Standing;

/// Time between two signs of life.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// How much lower than the supervisor it stands, so that on a full machine it goes first.
const BELOW: i32 = 10;

/// What a monitor must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MonitorJob {
    /// CLOCK_MONOTONIC at session time zero, in nanoseconds.
    pub epoch_ns: u64,
    /// Path of the worker's private Unix socket.
    pub feed: PathBuf,
    /// What viewers must know, if anything.
    #[serde(with = "optional_secret")]
    pub token: Option<Secret>,
}

/// Supervisor to monitor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToMonitor {
    /// The first message.
    Job(MonitorJob),
    /// How the Session stands now; may be dropped.
    Standing(Standing),
}

/// Monitor to supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromMonitor {
    /// It is there; may be dropped.
    Alive {
        /// How many watch.
        viewers: usize,
    },
}

impl Message for ToMonitor {
    fn replaces(&self, older: &Self) -> bool {
        matches!((self, older), (Self::Standing(_), Self::Standing(_)))
    }
}

impl Message for FromMonitor {
    fn replaces(&self, _older: &Self) -> bool {
        true
    }
}

/// Why a monitor could not go on.
#[derive(Debug, thiserror::Error)]
enum MonitorError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the supervisor sent no job")]
    NoJob,
    #[error("the monitor cannot listen")]
    Listen(#[from] io::Error),
}

/// Runs the monitor role on the inherited sockets; returns when the supervisor is gone or does not want it any more.
///
/// # Errors
/// The monitor cannot go on; another one may.
pub fn run(stream: UnixStream, listener: TcpListener) -> Result<(), Fault> {
    // All threads that come later stand as low as this one.
    lower_this_thread(BELOW);
    allow_many_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MonitorError::Listen);
    runtime
        .and_then(|runtime| {
            let served = runtime.block_on(watched(stream, listener));
            // Graphs of viewers that do not end must not keep the process.
            runtime.shutdown_background();
            served
        })
        .map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the monitor cannot go on");
            let sentence = format!("{error}.");
            Fault { scope: Scope::Process, blame: Blame::Us, retry: Retry::After(Duration::ZERO), sentence }
        })
}

async fn watched(stream: UnixStream, listener: TcpListener) -> Result<(), MonitorError> {
    let mut link: Link<ToMonitor, FromMonitor> = Link::open(stream)?;
    let Some(ToMonitor::Job(job)) = link.incoming.next().await? else { return Err(MonitorError::NoJob) };
    let (standing_told, standing) = watch::channel(Standing::default());
    let (count, viewers) = watch::channel(0);
    let clock = SessionClock::with_epoch(job.epoch_ns);
    let serving = serve(MonitorSettings { listener, feed: job.feed, clock, token: job.token, standing, count });
    tokio::pin!(serving);
    let mut alive = interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            served = &mut serving => return Ok(served?),
            message = link.incoming.next() => match message? {
                Some(ToMonitor::Standing(now)) => _ = standing_told.send_replace(now),
                Some(ToMonitor::Job(_)) => tracing::warn!("a second job was ignored"),
                None => return Ok(()),
            },
            _ = alive.tick() => link.outgoing.send(FromMonitor::Alive { viewers: *viewers.borrow() })?,
        }
    }
}
