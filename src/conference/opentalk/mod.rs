//! An OpenTalk room as a Conference; generation B: controllers 0.20 to 0.33 with LiveKit, RabbitMQ and Keycloak.
//!
//! In: [`ConferenceCommand`](recorder_core::conference::ConferenceCommand)s, the controller's signaling, tickets. Out:
//! [`ConferenceEvent`](recorder_core::conference::ConferenceEvent)s; media go from reception straight into the [`MediaSink`]. One tokio task owns the
//! signaling connection, and the connection to the LiveKit room that signaling names.
//!
//! `signaling` decides, on virtual time; `room` obeys it. `b_words` is the only file that knows the generation's words; `people`, `targets` and `tracks` are
//! what the room consists of. `start` asks for tickets and `upload` hands over what was recorded; both belong to the supervisor, which has the access token.
//!
//! Wishes of a join come between `Entered` and `Listed`: a Session that wants nothing by then has no reason to stay. While signaling is lost media go on as
//! long as the media server lets them; when both are back, only what changed is told. It refuses breakout rooms and rooms that are
//! encrypted from end to end, to send a chat message, and to log a name or an identity. A Session that was away longer than it likes decides itself to send
//! `Leave`; this task tries for ever.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use recorder_core::ids::TargetId;
use recorder_core::secret::Secret;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use self::controller::Controller;
use self::media::{Media, MediaSettings};
use self::room::Room;
use self::signaling::{Action, Signaling};
use self::ticket_source::TicketSource;
use super::ConferenceHandle;
use crate::clock::SessionClock;
use crate::ingest::capture::SharedCapture;
use crate::ingest::{CaptureTimes, IngestSettings};
use crate::media::MediaSink;
use crate::trust::Trust;

pub mod controller;
pub mod start;
pub mod ticket_source;
pub mod upload;

mod b_words;
mod media;
mod pace;
mod people;
mod refusal;
mod room;
mod signaling;
mod socket;
mod targets;
mod tracks;

/// How to enter a room.
pub struct OpenTalkSettings {
    /// Where the controller is.
    pub controller: Controller,
    /// What others would see if the recorder were not hidden; 1 to 100 characters.
    pub display_name: String,
    /// A ticket that is younger than 30 s, if there is one; the next are asked for.
    pub ticket: Option<Secret>,
    /// What an earlier worker of the Session was in this room, if there was one.
    pub former: Option<FormerWorker>,
    /// Who may vouch for the media server.
    pub media_trust: Trust,
    /// How reception is set up.
    pub ingest: IngestSettings,
    /// The clock model.
    pub capture: Box<dyn CaptureTimes>,
}

/// An earlier worker of the same Session: its Targets are known, and what the room shows of them may be out of date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormerWorker {
    /// What the Session calls the recording, if it has one. The controller may call it otherwise by now.
    pub recording: Option<TargetId>,
    /// What was running, and is known by its name only: wanted once more when the controller has said what it is.
    pub wanted: Vec<FormerTarget>,
}

/// A Target of which only the name is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormerTarget {
    /// Which.
    pub target: TargetId,
    /// A moderator had paused it.
    pub paused: bool,
}

impl OpenTalkSettings {
    /// The defaults of reception, with this clock and clock model, for a Session that begins.
    pub fn new(
        controller: Controller,
        display_name: impl Into<String>,
        media_trust: Trust,
        clock: SessionClock,
        capture: Box<dyn CaptureTimes>,
    ) -> Self {
        let ingest = IngestSettings::new(clock);
        Self { controller, display_name: display_name.into(), ticket: None, former: None, media_trust, ingest, capture }
    }
}

/// Enters a room: at once, in the background. Must be called inside a tokio runtime.
pub fn enter(settings: OpenTalkSettings, media: MediaSink, tickets: TicketSource) -> ConferenceHandle {
    let OpenTalkSettings { controller, display_name, ticket, former, media_trust, ingest, capture } = settings;
    let (events, event_end) = mpsc::channel(256);
    let (command_end, commands) = mpsc::channel(64);
    // Many recorders must not return in one instant.
    let jitter = std::hash::RandomState::new().hash_one(0) as u8;
    let signaling = Signaling::new(display_name, former, jitter, Instant::now());
    let media = Media::new(MediaSettings { ingest, trust: media_trust, capture: SharedCapture::new(capture), sink: media });
    let room = Room { controller, ticket, tickets, signaling, media, commands, events };
    tokio::spawn(room.run().in_current_span());
    ConferenceHandle { events: event_end, commands: command_end }
}

/// An error's text as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// Takes part in a conversation of which the controller's half is given, a message a line, and does nothing of what follows: for fuzzing.
pub(crate) fn overhear<'a>(messages: impl Iterator<Item = &'a str>) {
    let mut now = Instant::now();
    let mut signaling = Signaling::new("Roomcast".into(), None, 0, now);
    signaling.opened(now);
    for message in messages {
        signaling.heard(message, now);
        while let Some(action) = signaling.poll_action() {
            if matches!(action, Action::Connect) {
                signaling.opened(now);
            }
        }
        now += Duration::from_millis(300);
        if signaling.poll_wake().is_some_and(|at| at <= now) {
            signaling.woken(now);
        }
    }
}
