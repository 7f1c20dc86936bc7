//! What the supervisor makes of what its worker says.

use nix::sys::signal::Signal;
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::secret::Secret;
use recorder_core::supervision::Input;
use tokio::time::Instant;

use super::{LiveStand, Room, Session, SessionState, Worker, added, tell};
use crate::service::job::{FromWorker, ToWorker};
use crate::service::link::LinkError;
use crate::service::order::RecordingStand;

impl Session<'_> {
    fn live_stands(&mut self, target: &TargetId, state: LiveState) {
        self.streaming_since.get_or_insert_with(|| (self.clock)());
        let stood = self.outcome.last.lives.iter().find(|stand| stand.id == *target).and_then(|stand| stand.state.as_ref());
        match &state {
            LiveState::Retrying { attempt, reason, .. } | LiveState::Refused { attempt, reason, .. } => {
                tracing::warn!(target.id = %target, attempt, reason = reason.sentence(), "not on air");
            }
            LiveState::Connecting => tracing::debug!(target.id = %target, "connecting"),
            LiveState::Live => tracing::info!(target.id = %target, "on air"),
            // How late it is changes all the time, and the status says it.
            LiveState::Behind { by_s } if matches!(stood, Some(LiveState::Behind { .. })) => {
                tracing::debug!(target.id = %target, by_s, "still late");
            }
            LiveState::Behind { by_s } => tracing::warn!(target.id = %target, by_s, "on air, late"),
            LiveState::Ended => tracing::info!(target.id = %target, "no longer on air"),
        }
        self.view.live(target, &state);
        let fault = state.fault((self.clock)());
        let lives = &mut self.outcome.last.lives;
        if !lives.iter().any(|stand| stand.id == *target) {
            // One that a moderator wants.
            lives.push(LiveStand::new(target.clone()));
        }
        let Some(stand) = lives.iter_mut().find(|stand| stand.id == *target) else { return };
        if let Some(fault) = fault {
            // Once for each trouble, not for each attempt.
            let is_new = stand.fault.as_ref().is_none_or(|before| before.sentence != fault.sentence);
            if is_new || !stand.in_trouble {
                self.books.fault(Some(target), &fault, (self.clock)());
            }
            stand.in_trouble = true;
            stand.fault = Some(fault);
            stand.retries += 1;
        }
        stand.in_trouble &= state != LiveState::Live;
        stand.state = Some(state);
    }

    /// How a recording stands; one that a moderator wants is heard of when it begins.
    fn recording_stand(&mut self, target: &TargetId) -> &mut RecordingStand {
        let index = self.recordings.iter().position(|stand| stand.id == *target).unwrap_or_else(|| {
            self.recordings.push(RecordingStand::new(target.clone()));
            self.recordings.len() - 1
        });
        &mut self.recordings[index]
    }

    pub(super) fn said(&mut self, worker: &mut Worker, said: Result<Option<FromWorker>, LinkError>) {
        let message = match said {
            Ok(Some(message)) => message,
            Ok(None) => {
                worker.socket_ended = true;
                worker.leave_within(self.patience.exit);
                return;
            }
            Err(error) if worker.last_word.is_some() => {
                // It has gone while it was told something.
                tracing::debug!(%error, "the private socket of a worker that has ended");
                worker.socket_ended = true;
                worker.leave_within(self.patience.exit);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the worker cannot be understood any more");
                worker.socket_ended = true;
                (worker.process.signal)(Signal::SIGKILL);
                return;
            }
        };
        worker.heard = Instant::now();
        let message = match &mut self.commanded {
            Some(commanded) => match commanded.hear(message, &mut self.books, (self.clock)()) {
                Ok(answer) => return answer.into_iter().for_each(|answer| tell(worker, answer)),
                Err(other) => other,
            },
            None => message,
        };
        match message {
            FromWorker::Joined { at } => {
                tracing::info!(%at, "joined");
                if !self.stop_asked {
                    self.stands(SessionState::Live);
                }
            }
            FromWorker::TakeBegan { target, take, at, film } => {
                tracing::info!(target.id = %target, take = take.0, %at, "recording");
                self.books.take_lies(&target, at, film);
                self.recording_stand(&target).began(at);
                self.takes = self.takes.max(take.0);
                self.outcome.last.recording = true;
                self.outcome.last.recordings = self.recordings.iter().map(RecordingStand::snapshot).collect();
            }
            FromWorker::Written { target, until, bytes, file } => {
                tracing::debug!(target.id = %target, %until, bytes, "written");
                let ordered =
                    self.order.recordings.iter().find(|order| order.id == target).and_then(|order| order.uploads.as_ref());
                let commanded = self.commanded.as_ref().and_then(|commanded| commanded.uploads(&target));
                if let Some(uploads) = ordered.or(commanded) {
                    uploads.written(file.as_ref(), bytes);
                }
                self.recording_stand(&target).written(until, bytes);
                self.outcome.last.bytes = self.recordings.iter().map(|stand| stand.bytes).sum();
                self.outcome.last.recorded = self.recorded();
                self.outcome.last.recordings = self.recordings.iter().map(RecordingStand::snapshot).collect();
            }
            FromWorker::Status(status) => self.outcome.last.status = added(&self.pictures_before, status),
            FromWorker::Live { target, state } => self.live_stands(&target, state),
            FromWorker::LiveFigures { target, figures } => {
                if let Some(stand) = self.outcome.last.lives.iter_mut().find(|stand| stand.id == target) {
                    stand.heard(figures);
                }
            }
            FromWorker::NeedToken => {
                let token = self.fresh_token();
                tell(worker, ToWorker::Token { token });
            }
            FromWorker::TokenRefreshed { token } => self.refreshed = Some(token),
            FromWorker::Decoding { tracks } => self.supervision.handle(Input::WorkerDecodes(tracks), (self.clock)()),
            // Only of Targets that are commanded.
            FromWorker::NeedTicket
            | FromWorker::Opens { .. }
            | FromWorker::Begins { .. }
            | FromWorker::Ends { .. }
            | FromWorker::Closed { .. } => tracing::warn!("the worker speaks of Targets that nobody commands"),
            FromWorker::Note { at, note } => self.books.note(at, note),
            FromWorker::Fault(fault) => self.tell_people(fault),
            FromWorker::Ended { reason, fault } => {
                worker.last_word = Some((reason, fault));
                self.stands(SessionState::Ending);
                worker.leave_within(self.patience.exit);
            }
        }
    }

    /// A token that nobody has had yet; it is kept for later workers.
    pub(super) fn fresh_token(&mut self) -> Option<Secret> {
        let Room::LiveKit { token, tokens, .. } = &mut self.order.room else { return None };
        let fresh = tokens.fresh()?;
        token.clone_from(&fresh);
        self.refreshed = None;
        Some(fresh)
    }
}
