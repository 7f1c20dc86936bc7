//! A LiveKit room as a Conference.
//!
//! In: [`ConferenceCommand`]s, the server's signaling, reception's events. Out: [`ConferenceEvent`]s; media goes from reception straight into the
//! [`MediaSink`]. One tokio task owns the signaling connection and the reception thread's handle.
//! It joins with nothing subscribed, subscribes exactly the wish, resumes a lost signaling connection, rejoins a lost session, and ends only
//! when told to or when the room says so. It refuses to publish, and to log a name or an identity.
//!
//! A Session that was away longer than it likes decides itself to send `Leave`; this task tries for ever.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use livekit_protocol::SessionDescription;
use recorder_core::conference::{ConferenceCommand, ConferenceEvent, EndReason};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::secret::Secret;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::ConferenceHandle;
use crate::clock::SessionClock;
use crate::ingest::{CaptureTimes, Ingest, IngestEvent, IngestHandle, IngestSettings, MidTrack};
use crate::livekit::roster::Roster;
use crate::livekit::token_source::TokenSource;
use crate::livekit::wish::Subscriptions;
use crate::media::MediaSink;
use crate::trust::Trust;

mod arrival;
mod presence;

/// How to enter a room.
pub struct LiveKitSettings {
    /// `ws://`, `wss://`, `http://` or `https://` address of the server, with a path prefix if it has one.
    pub url: String,
    /// Access token for the room.
    pub token: Secret,
    /// What the server gave for the same room after that token, if anything; tried when the token is refused.
    pub refreshed: Option<Secret>,
    /// Who may vouch for the server.
    pub trust: Trust,
    /// How reception is set up.
    pub ingest: IngestSettings,
    /// The clock model.
    pub capture: Box<dyn CaptureTimes>,
}

impl LiveKitSettings {
    /// The defaults of reception, with this clock and clock model.
    pub fn new(url: impl Into<String>, token: Secret, trust: Trust, clock: SessionClock, capture: Box<dyn CaptureTimes>) -> Self {
        Self { url: url.into(), token, refreshed: None, trust, ingest: IngestSettings::new(clock), capture }
    }
}

/// Enters a room: at once, in the background. Must be called inside a tokio runtime.
pub fn enter(settings: LiveKitSettings, media: MediaSink, tokens: TokenSource) -> ConferenceHandle {
    let (events, event_end) = mpsc::channel(256);
    let (command_end, commands) = mpsc::channel(64);
    let task = async move {
        let (ingest_events, reception) = mpsc::channel(64);
        let ended = match Ingest::start(settings.ingest, settings.capture, media, ingest_events) {
            Ok(ingest) => {
                let room = Room {
                    url: settings.url,
                    trust: settings.trust,
                    token: settings.token,
                    refresh: settings.refreshed,
                    tokens,
                    ingest,
                    reception,
                    commands,
                    outbox: Outbox { waiting: VecDeque::new(), events: events.clone() },
                    roster: Roster::default(),
                    subscriptions: Subscriptions::default(),
                    sources: BTreeMap::new(),
                    mapped: Vec::new(),
                    last_answer: None,
                    entered: Entered::NotYet,
                    lost_at: None,
                    lost_told_at: None,
                    attempt: 0,
                    resumable: false,
                };
                room.run().await
            }
            Err(error) => {
                let sentence = error.to_string();
                Some(EndReason::Refused(Fault { scope: Scope::Process, blame: Blame::Us, retry: Retry::Never, sentence }))
            }
        };
        if let Some(reason) = ended {
            // An error means that nobody listens any more.
            _ = events.send(ConferenceEvent::Ended { reason }).await;
        }
    };
    tokio::spawn(task.in_current_span());
    ConferenceHandle { events: event_end, commands: command_end }
}

#[derive(PartialEq, Clone, Copy)]
enum Entered {
    NotYet,
    Once,
}

struct Room {
    url: String,
    trust: Trust,
    token: Secret,
    refresh: Option<Secret>,
    tokens: TokenSource,
    ingest: IngestHandle,
    reception: mpsc::Receiver<IngestEvent>,
    commands: mpsc::Receiver<ConferenceCommand>,
    outbox: Outbox,
    roster: Roster,
    subscriptions: Subscriptions,
    /// Track sid by mid, of the last offer.
    sources: BTreeMap<String, String>,
    /// What reception was told last.
    mapped: Vec<MidTrack>,
    last_answer: Option<SessionDescription>,
    entered: Entered,
    lost_at: Option<Instant>,
    /// When the Session was told of a loss that is not over.
    lost_told_at: Option<Instant>,
    attempt: u32,
    resumable: bool,
}

/// Events on their way to a Session that may be busy.
struct Outbox {
    waiting: VecDeque<ConferenceEvent>,
    events: mpsc::Sender<ConferenceEvent>,
}

impl Outbox {
    /// Sends the oldest event as soon as there is room; waits for ever when there is none. Cancel-safe.
    async fn send_one(&mut self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        match self.events.reserve().await {
            Ok(permit) => {
                if let Some(event) = self.waiting.pop_front() {
                    permit.send(event);
                }
            }
            // Nobody listens any more.
            Err(_) => self.waiting.clear(),
        }
    }
}

/// Why the connected state was left.
enum Exit {
    Resume,
    Rejoin,
    /// `None`: the handle was dropped.
    End(Option<EndReason>),
}

impl Room {
    /// Returns why it ended, or `None` when the handle was dropped.
    async fn run(mut self) -> Option<EndReason> {
        let reason = loop {
            let link = match self.connect().await {
                Ok(link) => link,
                Err(reason) => break reason,
            };
            match self.stay(link).await {
                Exit::End(reason) => break reason,
                Exit::Resume => self.lose(Instant::now()),
                Exit::Rejoin => {
                    self.resumable = false;
                    self.lose(Instant::now());
                }
            }
        };
        self.ingest.clone().close().await;
        while !self.outbox.waiting.is_empty() {
            self.outbox.send_one().await;
        }
        reason
    }

    fn lose(&mut self, now: Instant) {
        self.lost_at.get_or_insert(now);
    }

    fn tell_lost(&mut self, fault: Fault) {
        if self.lost_told_at.is_none() {
            self.lost_told_at = Some(Instant::now());
            tracing::warn!(reason = %fault, "connection to the LiveKit room lost; trying again");
            self.outbox.waiting.push_back(ConferenceEvent::Lost { fault });
        }
    }
}

/// An error's text as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

fn operator_fault(error: &dyn std::error::Error) -> Fault {
    Fault { scope: Scope::Session, blame: Blame::Operator, retry: Retry::Never, sentence: sentence(error) }
}

fn us_fault() -> Fault {
    let sentence = "Reception has ended unexpectedly.".into();
    Fault { scope: Scope::Process, blame: Blame::Us, retry: Retry::After(Duration::from_secs(1)), sentence }
}

#[cfg(test)]
#[path = "livekit_room_tests.rs"]
mod tests;
