//! The simulated meeting as a Conference.
//!
//! In: what the actors say on their private Unix socket, and commands. Out: Conference events, and media by [`crate::ingest`], as with a
//! real room. One tokio task; it ends when it was told to leave, when the meeting is over, or when its handle is dropped.
//! It refuses to start the actors (that is the supervisor's), and to reconnect to actors that died.

use std::path::PathBuf;
use std::time::Duration;

use recorder_core::conference::{ConferenceCommand, ConferenceEvent, EndReason, Subscription};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Pii;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::ConferenceHandle;
use crate::clock::SessionClock;
use crate::ingest::{CaptureTimes, Ingest, IngestError, IngestEvent, IngestHandle, IngestSettings, MidTrack};
use crate::media::MediaSink;
use crate::rehearsal::talk::{Ear, FromActors, TalkError, ToActors, Wish, say};

/// The actors' socket is there at once after they were started; this is for a busy machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Events and commands that may wait.
const WAITING: usize = 256;

/// How to come to the meeting.
#[derive(Clone, Debug)]
pub struct RehearsalSettings {
    /// The actors' Unix socket.
    pub socket: PathBuf,
    /// The session clock.
    pub clock: SessionClock,
}

/// Why the meeting cannot go on.
#[derive(Debug, thiserror::Error)]
enum RehearsalError {
    #[error("the actors do not listen")]
    Connect(#[source] std::io::Error),
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error("the actors have vanished")]
    Vanished,
    #[error("reception failed: {0}")]
    Reception(String),
}

/// Enters the meeting. Must be called within a tokio runtime; returns at once.
pub fn enter(settings: RehearsalSettings, capture: Box<dyn CaptureTimes>, media: MediaSink) -> ConferenceHandle {
    let (events, events_out) = mpsc::channel(WAITING);
    let (commands_in, commands) = mpsc::channel(WAITING);
    tokio::spawn(attend(settings, capture, media, events, commands).in_current_span());
    ConferenceHandle { events: events_out, commands: commands_in }
}

async fn attend(
    settings: RehearsalSettings,
    capture: Box<dyn CaptureTimes>,
    media: MediaSink,
    events: mpsc::Sender<ConferenceEvent>,
    commands: mpsc::Receiver<ConferenceCommand>,
) {
    let (ingest_events, receiving) = mpsc::channel(64);
    let reason = match Ingest::start(IngestSettings::new(settings.clock), capture, media, ingest_events) {
        Ok(ingest) => {
            let ended = match connect(&settings).await {
                Ok((ear, to)) => {
                    Guest { ear, to, ingest: ingest.clone(), receiving, commands, events: events.clone() }.stay().await
                }
                Err(error) => Err(error),
            };
            ingest.close().await;
            ended
        }
        Err(error) => Err(error.into()),
    };
    let reason = reason.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the simulated meeting failed");
        let sentence = "The simulated meeting on this machine failed.".to_owned();
        EndReason::Refused(Fault { scope: Scope::Session, blame: Blame::Us, retry: Retry::Never, sentence })
    });
    // A closed channel means that nobody wants to know.
    let _ = events.send(ConferenceEvent::Ended { reason }).await;
}

type Mouth = OwnedWriteHalf;
type ActorEar = Ear<BufReader<OwnedReadHalf>>;

async fn connect(settings: &RehearsalSettings) -> Result<(ActorEar, Mouth), RehearsalError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    loop {
        match UnixStream::connect(&settings.socket).await {
            Ok(stream) => {
                let (from, to) = stream.into_split();
                return Ok((Ear::new(BufReader::new(from)), to));
            }
            Err(error) if Instant::now() >= deadline => return Err(RehearsalError::Connect(error)),
            Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
        }
    }
}

/// We, in the meeting.
struct Guest {
    ear: ActorEar,
    to: Mouth,
    ingest: IngestHandle,
    receiving: mpsc::Receiver<IngestEvent>,
    commands: mpsc::Receiver<ConferenceCommand>,
    events: mpsc::Sender<ConferenceEvent>,
}

impl Guest {
    async fn stay(mut self) -> Result<EndReason, RehearsalError> {
        say(&mut self.to, &ToActors::Hello).await?;
        loop {
            tokio::select! {
                heard = self.ear.hear() => match heard? {
                    None => return Err(RehearsalError::Vanished),
                    Some(FromActors::Over) => {
                        say(&mut self.to, &ToActors::Leave).await?;
                        return Ok(EndReason::RoomClosed);
                    }
                    Some(message) => self.take(message).await?,
                },
                command = self.commands.recv() => match command {
                    Some(ConferenceCommand::Subscribe(all)) => {
                        let tracks = all.into_iter().map(wish).collect();
                        say(&mut self.to, &ToActors::Subscribe { tracks }).await?;
                    }
                    Some(ConferenceCommand::RequestKeyframe(track)) => self.ingest.request_keyframe(track).await?,
                    // Nobody in a rehearsal watches Targets.
                    Some(ConferenceCommand::Report { .. }) => {}
                    Some(ConferenceCommand::Leave) => {
                        say(&mut self.to, &ToActors::Leave).await?;
                        return Ok(EndReason::Left);
                    }
                    None => return Ok(EndReason::Left),
                },
                event = self.receiving.recv() => match event {
                    Some(IngestEvent::Candidate(candidate)) => say(&mut self.to, &ToActors::Candidate { candidate }).await?,
                    Some(IngestEvent::Failed { reason }) => return Err(RehearsalError::Reception(reason)),
                    Some(IngestEvent::Connected | IngestEvent::Disconnected | IngestEvent::Paused { .. }) => {}
                    None => return Err(RehearsalError::Ingest(IngestError::Closed)),
                },
            }
        }
    }

    async fn take(&mut self, message: FromActors) -> Result<(), RehearsalError> {
        let event = match message {
            FromActors::Welcome { title } => ConferenceEvent::Entered { title: Some(Pii::new(title)) },
            FromActors::Listed => ConferenceEvent::Listed,
            FromActors::Joined { participant, name } => ConferenceEvent::Joined { participant, name: Pii::new(name) },
            FromActors::Left { participant } => ConferenceEvent::Left { participant },
            FromActors::TrackUp { track, muted } => ConferenceEvent::TrackUp { track, muted },
            FromActors::TrackDown { track } => ConferenceEvent::TrackDown { track },
            FromActors::Speaking { participants } => ConferenceEvent::Speaking { participants },
            FromActors::Offer { sdp, lines } => {
                let carried =
                    |line: crate::rehearsal::talk::Line| MidTrack { mid: line.mid, track: line.track, source: line.source };
                let answer = self.ingest.accept_offer(sdp, lines.into_iter().map(carried).collect()).await?;
                return Ok(say(&mut self.to, &ToActors::Answer { sdp: answer }).await?);
            }
            FromActors::Candidate { candidate } => return Ok(self.ingest.add_candidate(candidate).await?),
            FromActors::Over => return Ok(()),
        };
        // A closed channel shows as closed commands, too.
        let _ = self.events.send(event).await;
        Ok(())
    }
}

fn wish(subscription: Subscription) -> Wish {
    Wish { track: subscription.track, size_px: subscription.layer.map(|layer| (layer.width_px, layer.height_px)) }
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
