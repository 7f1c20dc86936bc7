//! Getting into the room, and into it again: which token, which address, what a refusal means.
//!
//! In: the state of [`Room`], the answers of the server. Out: a signaling connection, or why there will never be one. Runs on the room's task.
//! It refuses to give up by itself after the room has been entered once, unless a token or the room is gone.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use recorder_core::conference::{ConferenceCommand, EndReason};
use recorder_core::secret::Secret;

use super::{Entered, Room, operator_fault, sentence};
use crate::ingest::IngestEvent;
use crate::livekit::address::{Purpose, endpoint};
use crate::livekit::backoff;
use crate::livekit::signal::{SignalError, SignalLink};
use crate::livekit::token::has_expired;
use crate::livekit::verdict::{Refusal, lost};

/// Attempts to resume before a full rejoin; the server keeps a session for 5 s.
const RESUME_ATTEMPTS: u32 = 2;
/// A room that cannot be found for this long after a loss has been closed.
const ROOM_GONE_AFTER: Duration = Duration::from_secs(30);

/// Which token is tried; each refusal moves on.
#[derive(PartialEq, Clone, Copy)]
enum TokenStep {
    Current,
    Source,
    Refresh,
}

impl TokenStep {
    /// Whether there is another to try.
    fn advance(&mut self) -> bool {
        *self = match self {
            Self::Current => Self::Source,
            Self::Source => Self::Refresh,
            Self::Refresh => return false,
        };
        true
    }
}

impl Room {
    /// Gets a signaling connection, however long it takes.
    pub(super) async fn connect(&mut self) -> Result<SignalLink, Option<EndReason>> {
        let mut step = TokenStep::Current;
        loop {
            let since = self.lost_at.map_or(Duration::ZERO, |at| at.elapsed());
            let jitter = std::hash::RandomState::new().hash_one(self.attempt) as u8;
            let wait = tokio::time::sleep(backoff::delay(self.attempt, since, jitter));
            self.meanwhile(wait).await?;
            self.attempt = self.attempt.saturating_add(1);

            let resume = self.resumable && self.attempt <= RESUME_ATTEMPTS;
            let Some(token) = self.pick_token(&mut step, resume).await else {
                return Err(Some(EndReason::Refused(Refusal::ExpiredToken.fault())));
            };
            let purpose = if resume { Purpose::Resume(self.roster.own_sid()) } else { Purpose::Join };
            let address = match endpoint(&self.url, purpose) {
                Ok(address) => address,
                Err(error) => return Err(Some(EndReason::Refused(operator_fault(&error)))),
            };
            if !resume {
                self.forget_session().await;
            }
            let trust = self.trust.clone();
            let connecting = async move { SignalLink::connect(&address, &token, &trust).await };
            match self.meanwhile(connecting).await? {
                Ok(link) => return Ok(link),
                Err(SignalError::Refused(Refusal::BadToken | Refusal::ExpiredToken)) if resume && self.refresh.is_some() => {
                    // The refreshed token was refused; the one that we came with was not tried.
                    self.lose(Instant::now());
                    self.refresh = None;
                    self.resumable = false;
                    self.attempt = self.attempt.min(1);
                }
                Err(error) => self.judge(error, &mut step)?,
            }
        }
    }

    /// What a failed attempt means: `Ok` to try again.
    fn judge(&mut self, error: SignalError, step: &mut TokenStep) -> Result<(), Option<EndReason>> {
        self.lose(Instant::now());
        let returning = self.entered == Entered::Once;
        let away = self.lost_at.map_or(Duration::ZERO, |at| at.elapsed());
        let end = |refusal: Refusal| Err(Some(EndReason::Refused(refusal.fault())));
        match error {
            SignalError::Refused(refusal @ (Refusal::BadToken | Refusal::ExpiredToken)) => {
                if !self.has_other_tokens() || !step.advance() {
                    return end(refusal);
                }
                // Another token need not wait.
                self.attempt = self.attempt.min(1);
                self.resumable = false;
            }
            SignalError::Refused(Refusal::NoRoom) if returning && away > ROOM_GONE_AFTER => {
                return Err(Some(EndReason::RoomClosed));
            }
            SignalError::Refused(refusal @ (Refusal::NoRoom | Refusal::NoLiveKit)) if !returning => return end(refusal),
            SignalError::TokenText => return end(Refusal::BadToken),
            SignalError::Tls if !returning => return Err(Some(EndReason::Refused(operator_fault(&SignalError::Tls)))),
            SignalError::Refused(refusal) => self.tell_lost(refusal.fault()),
            other => {
                let sentence = sentence(&other);
                self.tell_lost(lost(&sentence));
            }
        }
        Ok(())
    }

    /// Whether there may be a token that is younger than the one that we came with: since we were in the room, or an earlier process was.
    fn has_other_tokens(&self) -> bool {
        self.entered == Entered::Once || self.refresh.is_some()
    }

    async fn pick_token(&mut self, step: &mut TokenStep, resume: bool) -> Option<Secret> {
        if resume {
            return Some(self.refresh.clone().unwrap_or_else(|| self.token.clone()));
        }
        if *step == TokenStep::Current && self.has_other_tokens() && has_expired(&self.token) {
            step.advance();
        }
        if *step == TokenStep::Source {
            match self.tokens.fresh().await {
                Some(token) => self.token = token,
                None => _ = step.advance(),
            }
        }
        match step {
            TokenStep::Current | TokenStep::Source => Some(self.token.clone()),
            TokenStep::Refresh => self.refresh.clone(),
        }
    }

    /// A new session knows nothing of the old one's subscriptions and connection.
    async fn forget_session(&mut self) {
        self.resumable = false;
        self.subscriptions.forget_told();
        self.sources.clear();
        self.mapped.clear();
        self.last_answer = None;
        // An error is seen at the next use.
        _ = self.ingest.restart().await;
    }

    /// Waits for `what`, and keeps listening to the Session.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Option<EndReason>> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                biased;
                result = &mut what => return Ok(result),
                command = self.commands.recv() => match command {
                    Some(ConferenceCommand::Subscribe(wish)) => self.subscriptions.wish(wish),
                    // Nothing is received; the first frame after the return asks by itself.
                    Some(ConferenceCommand::RequestKeyframe(_)) => {}
                    // A LiveKit room has no place to show it.
                    Some(ConferenceCommand::Report { .. }) => {}
                    Some(ConferenceCommand::Leave) => return Err(Some(EndReason::Left)),
                    None => return Err(None),
                },
                Some(event) = self.reception.recv() => match event {
                    IngestEvent::Failed { .. } => self.resumable = false,
                    IngestEvent::Disconnected => self.tell_lost(lost("The connection to the LiveKit server is lost.")),
                    _ => {}
                },
                () = self.outbox.send_one() => {}
            }
        }
    }
}
