//! WebRTC reception.
//!
//! In: the SFU's offers and candidates (as commands from a Conference adapter), and its packets. Out: answers, whole encoded frames with a
//! capture time (through [`MediaSink`]), and a few [`IngestEvent`]s.
//! It runs on an own thread named `ingest`, which decodes nothing, logs no packet and waits for nobody: sinks drop when full.
//! It refuses to speak signaling, to send media, and to know who may be recorded: what is not mapped to a Track is thrown away.
//!
//! The protocol work (ICE, DTLS, SRTP, SCTP, NACK, RTX) is str0m's, which does no I/O; `reorder` makes frames of its packets. [`receiver`] wraps
//! both without I/O either, so that tests run it in virtual time; `run` is the loop around it, `sockets` and `tcp` are its network.

use std::net::IpAddr;
use std::time::Duration;

use recorder_core::ids::TrackId;
use tokio::sync::{mpsc, oneshot};

use crate::clock::SessionClock;
use crate::media::MediaSink;

pub mod blank;
pub mod capture;
mod speech;
mod keyframes;
#[doc(hidden)]
pub mod offline;
pub mod receiver;
mod reorder;
mod run;
pub mod sdp;
mod sockets;
mod tcp;

pub use capture::CaptureTimes;
pub use receiver::MidTrack;
pub use sockets::effective_receive_buffer;

/// Kernel receive buffer of each UDP socket, in bytes.
pub const WANTED_RECEIVE_BUFFER: usize = 4 << 20;

/// How reception is set up.
#[derive(Clone, Debug)]
pub struct IngestSettings {
    /// The session clock.
    pub clock: SessionClock,
    /// Local addresses to receive on. Empty: for each candidate of the SFU the address that routes to it.
    pub bind: Vec<IpAddr>,
    /// Kernel receive buffer of each UDP socket, in bytes. A starved thread loses nothing while it lasts: 4 MB is 7 s of 9 people.
    pub receive_buffer_bytes: usize,
    /// Which transports are tried.
    pub transports: Transports,
    /// Nothing received for this long after being connected means [`IngestEvent::Disconnected`]. An SFU answers connectivity checks every
    /// few seconds even in a silent room.
    pub silence_limit: Duration,
    /// Not connected this long after the first offer means [`IngestEvent::Failed`].
    pub connect_limit: Duration,
    /// How long after its capture a picture is shown: a frame waits at most so long for a packet before it.
    pub mixer_delay: Duration,
    /// Number of each Track's first RTP stream: higher than any that an earlier reception of the same Session gave.
    pub first_stream: u32,
}

impl IngestSettings {
    /// The defaults, on this clock.
    pub fn new(clock: SessionClock) -> Self {
        Self {
            clock,
            bind: Vec::new(),
            receive_buffer_bytes: WANTED_RECEIVE_BUFFER,
            transports: Transports::UdpThenTcp,
            silence_limit: Duration::from_secs(8),
            connect_limit: Duration::from_secs(10),
            mixer_delay: Duration::from_millis(500),
            first_stream: 1,
        }
    }
}

/// Which transports ICE may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transports {
    /// UDP, and TCP to the SFU's passive candidates when UDP has not connected within half a second.
    UdpThenTcp,
    /// TCP only, for networks that let no UDP out.
    TcpOnly,
}

/// What reception tells its Conference adapter.
#[derive(Clone, PartialEq, Debug)]
pub enum IngestEvent {
    /// ICE and DTLS are up, for the first time, after an ICE restart, or after a disconnect that healed.
    Connected,
    /// Packets have stopped; an ICE restart (a resumed signaling connection) may heal it.
    Disconnected,
    /// This connection cannot be used any more: [`IngestHandle::restart`] and a new offer are needed.
    Failed {
        /// Why, for the log.
        reason: String,
    },
    /// A local candidate, as the text of `a=` (`candidate:…`), to be trickled.
    Candidate(String),
    /// No packets of this Track for 1.5 s (muted, disabled, sender gone), or again some.
    Paused {
        /// Which.
        track: TrackId,
        /// Whether it stopped or goes on.
        flow: Flow,
    },
}

/// Whether a Track's packets come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// They come again.
    Flowing,
    /// They have stopped.
    Stopped,
}

/// Why reception could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The thread could not be started.
    #[error("the reception thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The thread has ended.
    #[error("reception has ended")]
    Closed,
    /// The offer is no session description.
    #[error("the media server's offer cannot be read: {0}")]
    Sdp(#[from] sdp::SdpError),
    /// The offer is a session description, but not one that can be answered.
    #[error("the media server's offer cannot be answered: {0}")]
    Offer(#[source] str0m::error::RtcError),
    /// The candidate cannot be read.
    #[error("a candidate of the media server cannot be read")]
    Candidate,
}

pub(crate) enum Command {
    AcceptOffer { sdp: String, tracks: Vec<MidTrack>, answer: oneshot::Sender<Result<String, IngestError>> },
    AddCandidate(String),
    MapTracks(Vec<MidTrack>),
    RequestKeyframe(TrackId),
    Restart,
    Close(oneshot::Sender<()>),
}

/// Reception, started.
pub struct Ingest;

impl Ingest {
    /// Starts the reception thread. Its sockets are opened when the first candidate of the SFU is known.
    /// `events` should hold 64 or more; while it is full events wait (bounded), media does not.
    ///
    /// # Errors
    /// [`IngestError::Thread`].
    pub fn start(
        settings: IngestSettings,
        capture: Box<dyn CaptureTimes>,
        media: MediaSink,
        events: mpsc::Sender<IngestEvent>,
    ) -> Result<IngestHandle, IngestError> {
        let (commands, received) = mpsc::channel(64);
        std::thread::Builder::new()
            .name("ingest".into())
            .spawn(crate::span::carried(move || run::thread(settings, capture, media, events, received)))
            .map_err(IngestError::Thread)?;
        Ok(IngestHandle { commands })
    }
}

/// An answer on its way.
pub type PendingAnswer = oneshot::Receiver<Result<String, IngestError>>;

/// The reins of the reception thread. Dropping the last clone ends it.
#[derive(Clone)]
pub struct IngestHandle {
    commands: mpsc::Sender<Command>,
}

impl IngestHandle {
    /// Applies an offer of the SFU and makes the answer. `tracks` says which m-lines are which Tracks from now on; others are not passed on.
    ///
    /// # Errors
    /// An offer that cannot be read or answered, or a thread that has ended.
    pub async fn accept_offer(&self, sdp: String, tracks: Vec<MidTrack>) -> Result<String, IngestError> {
        self.begin_offer(sdp, tracks).await?.await.map_err(|_| IngestError::Closed)?
    }

    /// Like [`Self::accept_offer`], but the answer comes later, so that the caller can go on meanwhile.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn begin_offer(&self, sdp: String, tracks: Vec<MidTrack>) -> Result<PendingAnswer, IngestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::AcceptOffer { sdp, tracks, answer }).await?;
        Ok(answered)
    }

    /// Adds a candidate of the SFU (`candidate:…`), also before the first offer. One that cannot be used is logged and left out.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn add_candidate(&self, candidate: String) -> Result<(), IngestError> {
        self.send(Command::AddCandidate(candidate)).await
    }

    /// Says anew which m-lines are which Tracks: the whole list.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn map_tracks(&self, tracks: Vec<MidTrack>) -> Result<(), IngestError> {
        self.send(Command::MapTracks(tracks)).await
    }

    /// Asks the sender of a video Track for a keyframe: at once, then at most once a second.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn request_keyframe(&self, track: TrackId) -> Result<(), IngestError> {
        self.send(Command::RequestKeyframe(track)).await
    }

    /// Throws the connection away and is ready for a first offer again (after a full rejoin). Stream numbers go on counting.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn restart(&self) -> Result<(), IngestError> {
        self.send(Command::Restart).await
    }

    /// Says goodbye to the SFU (DTLS close), and ends the thread.
    pub async fn close(self) {
        let (done, ended) = oneshot::channel();
        if self.send(Command::Close(done)).await.is_ok() {
            // An error means that the thread is gone, which is what was wanted.
            _ = ended.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), IngestError> {
        self.commands.send(command).await.map_err(|_| IngestError::Closed)
    }
}

/// str0m and rustls share aws-lc-rs; each must be told once a process.
pub(crate) fn install_crypto() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
}
