//! The media server of the room, and the one after it.
//!
//! In: credentials, wishes of the Session, tokens. Out: what [`livekit_room`] says. Runs on the room's task, which polls [`Media::next`].
//! Each entry is another identity, so a connection ends before the next begins; the clock model and the numbers of RTP streams go on, so that nothing
//! behind reception notices.

use std::time::Duration;

use recorder_core::conference::{ConferenceCommand, ConferenceEvent, EndReason, Subscription};
use recorder_core::ids::TrackId;
use recorder_core::secret::Secret;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::b_words::Credentials;
use crate::conference::ConferenceHandle;
use crate::conference::livekit_room::{self, LiveKitSettings};
use crate::ingest::IngestSettings;
use crate::ingest::capture::SharedCapture;
use crate::livekit::token_source::{TokenDesk, TokenRequest, TokenSource};
use crate::media::MediaSink;
use crate::trust::Trust;

/// How long leaving may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// RTP streams that a Track has at most in one connection.
const STREAMS_EACH: u32 = 1 << 16;

/// How each entry is made.
pub(super) struct MediaSettings {
    pub(super) ingest: IngestSettings,
    pub(super) trust: Trust,
    pub(super) capture: SharedCapture,
    pub(super) sink: MediaSink,
}

/// What the media server's adapter says.
#[derive(Debug)]
pub(super) enum MediaEvent {
    /// This happened.
    Said(ConferenceEvent),
    /// It needs a new token; see [`Media::give_token`].
    WantsToken,
}

/// The connection to the media server.
pub(super) struct Media {
    settings: MediaSettings,
    inside: Option<Inside>,
    /// To be entered when the one before is left.
    next: Option<Credentials>,
    wish: Vec<Subscription>,
    /// The wish was not told to the adapter that runs.
    is_untold: bool,
    token_request: Option<TokenRequest>,
}

struct Inside {
    handle: ConferenceHandle,
    desk: TokenDesk,
    leaving_by: Option<Instant>,
}

impl Media {
    /// Nothing is entered yet.
    pub(super) fn new(settings: MediaSettings) -> Self {
        Self { settings, inside: None, next: None, wish: Vec::new(), is_untold: false, token_request: None }
    }

    /// Enters with these, once what was entered before is left.
    pub(super) fn enter(&mut self, credentials: Credentials) {
        self.next = Some(credentials);
        self.leave();
        self.enter_next();
    }

    /// Receives these from now on.
    pub(super) fn subscribe(&mut self, wish: Vec<Subscription>) {
        self.wish = wish;
        self.is_untold = true;
    }

    /// Asks for a keyframe; a decoder that gets none asks again.
    pub(super) fn request_keyframe(&self, track: TrackId) {
        if let Some(inside) = &self.inside
            && let Err(TrySendError::Full(_)) = inside.handle.commands.try_send(ConferenceCommand::RequestKeyframe(track))
        {
            tracing::debug!("the media server's adapter is busy; a keyframe is not asked for");
        }
    }

    /// Answers the last [`MediaEvent::WantsToken`].
    pub(super) fn give_token(&mut self, token: Option<Secret>) {
        if let Some(request) = self.token_request.take() {
            // An error means that nobody waits any more.
            _ = request.send(token);
        }
    }

    /// What happens next; never, while nothing is entered. Cancel-safe.
    pub(super) async fn next(&mut self) -> MediaEvent {
        loop {
            let Some(Inside { handle, desk, leaving_by }) = &mut self.inside else { return std::future::pending().await };
            if let Some(by) = *leaving_by {
                let is_left = tokio::select! {
                    event = handle.events.recv() => matches!(event, None | Some(ConferenceEvent::Ended { .. })),
                    () = tokio::time::sleep_until(by) => true,
                };
                if is_left {
                    self.inside = None;
                    self.enter_next();
                }
                continue;
            }
            let next = tokio::select! {
                // An adapter that ends without a word has broken: to us it is the same.
                event = handle.events.recv() => {
                    MediaEvent::Said(event.unwrap_or(ConferenceEvent::Ended { reason: EndReason::Removed }))
                }
                Some(request) = desk.requests.recv() => {
                    self.token_request = Some(request);
                    MediaEvent::WantsToken
                }
                Ok(permit) = handle.commands.reserve(), if self.is_untold => {
                    self.is_untold = false;
                    permit.send(ConferenceCommand::Subscribe(self.wish.clone()));
                    continue;
                }
            };
            if let MediaEvent::Said(ConferenceEvent::Ended { .. }) = &next {
                self.inside = None;
            }
            return next;
        }
    }

    /// Leaves for good; at most two seconds.
    pub(super) async fn finish(&mut self) {
        self.next = None;
        self.leave();
        let Some(inside) = &mut self.inside else { return };
        let leaving = async { while !matches!(inside.handle.events.recv().await, None | Some(ConferenceEvent::Ended { .. })) {} };
        if tokio::time::timeout(LEAVE_LIMIT, leaving).await.is_err() {
            tracing::debug!("the media server was not left in time");
        }
        self.inside = None;
    }

    fn leave(&mut self) {
        self.token_request = None;
        let Some(inside) = &mut self.inside else { return };
        if inside.leaving_by.is_some() {
            return;
        }
        match inside.handle.commands.try_send(ConferenceCommand::Leave) {
            Ok(()) => inside.leaving_by = Some(Instant::now() + LEAVE_LIMIT),
            // It is over, or so busy that it hears nothing: then it is dropped, which ends it without a word.
            Err(_) => self.inside = None,
        }
    }

    fn enter_next(&mut self) {
        if self.inside.is_some() {
            return;
        }
        let Some(Credentials { url, token }) = self.next.take() else { return };
        let MediaSettings { ingest, trust, capture, sink } = &mut self.settings;
        let (tokens, desk) = TokenSource::new();
        let (trust, capture) = (trust.clone(), Box::new(capture.clone()));
        let settings = LiveKitSettings { url, token, refreshed: None, trust, ingest: ingest.clone(), capture };
        ingest.first_stream = ingest.first_stream.wrapping_add(STREAMS_EACH);
        let handle = livekit_room::enter(settings, sink.clone(), tokens);
        self.inside = Some(Inside { handle, desk, leaving_by: None });
        self.is_untold = true;
    }
}
