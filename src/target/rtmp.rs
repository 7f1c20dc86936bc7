//! The live Target: the programme to one RTMP or RTMPS destination, and the slate while it is paused.
//!
//! In: packets from the programme ring, through a live cursor that holds nothing back. Out: a published stream, and reports of what was seen. Runs on an own OS thread for each
//! destination, so that none can wait for another; the thread is woken by packets, and costs about a thousandth of a core beside them. Refuses to say "live" before the other side's
//! TCP has confirmed three seconds of it, to connect to addresses that the operator does not allow, and to send anything of before the start, of a pause, or of after the end.
//!
//! [`recorder_core::live`] decides when to connect and when to give up; this module does it. The stream key goes to the server and nowhere else.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder_core::address::AddressPolicy;
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::live::splice::Splice;
use recorder_core::secret::Secret;
use recorder_core::time::SessionTime;
use serde::{Deserialize, Serialize};

use crate::clock::SessionClock;
use crate::programme::ring::Ring;
use crate::programme::slate::SlateSource;
use crate::span::carried;

mod amf;
mod chunk;
mod connection;
mod destination;
mod feed;
mod flv;
mod link;
mod probe;
mod protocol;
mod run;

pub use crate::trust::{Trust, TrustError};
pub use connection::{Names, SystemNames};
pub use destination::{Destination, DestinationError, Transport};
pub use probe::{ProbeAnswer, ProbeDepth, probe};

/// Lets a publisher hear a server of which all words are given, and throws away what it says: for fuzzing. The words come in pieces, as by a network.
pub(crate) fn overhear(words: &[u8]) {
    let place = protocol::Place { app: "live".into(), tc_url: "rtmp://localhost/live".into(), key: Secret::new("key") };
    for goal in [protocol::Goal::Enter, protocol::Goal::Publish] {
        let mut publisher = protocol::Protocol::new(place.clone(), goal, 1);
        for piece in words.chunks(1000) {
            if publisher.handle(piece).is_err() {
                break;
            }
            while publisher.poll_event().is_some() {}
            publisher.video(40, &[&[0x17, 1, 0, 0, 0][..], piece]);
            publisher.take_output(&mut Vec::new());
        }
        _ = publisher.counted();
        publisher.farewell();
    }
}

/// What all live destinations of a process share. Cheap to clone.
#[derive(Clone)]
pub struct LiveEnvironment {
    /// Whom encrypted connections believe.
    pub trust: Trust,
    /// Where streams may go.
    pub policy: AddressPolicy,
    /// Who finds addresses.
    pub names: Arc<dyn Names>,
}

impl LiveEnvironment {
    /// The system's resolver and authorities, and those of `ca_file`.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn new(policy: AddressPolicy, ca_file: Option<&Path>) -> Result<Self, TrustError> {
        Ok(Self { trust: Trust::load(ca_file)?, policy, names: Arc::new(SystemNames) })
    }
}

/// What to stream, and where to.
#[derive(Clone)]
pub struct LiveSettings {
    /// Name of the Target.
    pub id: TargetId,
    /// Where to.
    pub destination: Destination,
    /// From when on what is sent: nothing older is.
    pub splice: Splice,
    /// What is sent while it is paused.
    pub slate: SlateSource,
    /// Bytes a second of the Rendition, sound included; how much may be on the way follows from it.
    pub bytes_per_s: u64,
    /// Any number, another one for each destination: spreads their attempts.
    pub seed: u64,
}

/// What a live destination says about itself.
#[derive(Clone, PartialEq, Debug)]
pub enum LiveReport {
    /// The state has changed. [`LiveState::Ended`] is the last report.
    State(LiveState),
    /// It is paused, and nothing of the programme is sent any more: the slate stands. Not told when it was resumed before.
    Parked,
    /// How it gets on; once a second while a connection exists.
    Figures(LiveFigures),
}

/// Numbers of a live destination, over all its connections.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LiveFigures {
    /// Bytes that the other side's TCP has confirmed.
    pub confirmed_bytes: u64,
    /// Connections that published.
    pub publishings: u64,
    /// Packets left out because the destination was late.
    pub left_out: u64,
    /// Segments sent again.
    pub resent: u64,
    /// Smoothed round trip of the connection.
    pub round_trip: Duration,
    /// Programme time between the newest packet and the oldest that is not confirmed.
    pub behind: Duration,
}

/// A running live destination.
pub struct LiveTarget {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// What the thread is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    TryNow,
    Pause(SessionTime),
    Resume(SessionTime),
    EndTake(SessionTime),
    EndAtOnce,
}

impl LiveTarget {
    /// Starts the thread, which connects at once. `reports` is called on it and must not block.
    ///
    /// # Errors
    /// Those of the system when it has no thread to give; everything else is reported.
    pub fn start<R>(
        environment: LiveEnvironment,
        settings: LiveSettings,
        ring: Ring,
        clock: SessionClock,
        reports: R,
    ) -> std::io::Result<Self>
    where
        R: FnMut(LiveReport) + Send + 'static,
    {
        let (orders, receiver) = channel();
        let run = carried(move || run::run(&environment, &settings, &ring, clock, reports, &Orders(receiver)));
        let thread = std::thread::Builder::new().name("live".into()).spawn(run)?;
        Ok(Self { orders, thread })
    }

    /// Does not wait for the time of the next attempt; nothing changes while a connection exists.
    pub fn try_now(&self) {
        // A thread that has ended has reported so.
        let _ = self.orders.send(Order::TryNow);
    }

    /// Ends the Take at a programme instant, and shows the slate from there on, in the same connection. [`LiveReport::Parked`] follows.
    pub fn pause(&self, at: SessionTime) {
        // A thread that has ended has reported so.
        let _ = self.orders.send(Order::Pause(at));
    }

    /// Begins the next Take at a programme instant. The first picture at or after it must be a keyframe.
    pub fn resume(&self, at: SessionTime) {
        // A thread that has ended has reported so.
        let _ = self.orders.send(Order::Resume(at));
    }

    /// Ends the stream at a programme instant: nothing of `at` or later is sent. The thread ends when the programme has reached `at` and the server has been told, or at once when
    /// nothing is being published.
    pub fn end_take(&self, at: SessionTime) {
        // A thread that has ended has reported so.
        let _ = self.orders.send(Order::EndTake(at));
    }

    /// Ends the Take with what has left this machine: everything that is still buffered is thrown away, and the server gets no farewell.
    pub fn end_at_once(&self) {
        let _ = self.orders.send(Order::EndAtOnce);
    }

    /// Whether the thread has ended.
    pub fn is_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread has ended: at most some 6 s after the end of the Take, so one of both is called before. Blocks: not on a tokio task.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread of a live destination has panicked");
        }
    }
}

/// The thread's end of the orders. Whoever drops the handle wants the end at once.
struct Orders(Receiver<Order>);

impl Orders {
    fn wait(&self, time: Duration) -> Option<Order> {
        match self.0.recv_timeout(time) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Order::EndAtOnce),
        }
    }
}
