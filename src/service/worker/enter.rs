//! The way into a room, whichever system it lives in.

use recorder_core::clock_model::ClockModel;

use super::WorkerError;
use crate::clock::SessionClock;
use crate::conference::ConferenceHandle;
use crate::conference::livekit_room::{self, LiveKitSettings};
use crate::conference::opentalk::controller::Controller;
use crate::conference::opentalk::ticket_source::TicketSource;
use crate::conference::opentalk::{self, FormerTarget, FormerWorker, OpenTalkSettings};
use crate::conference::rehearsal::{self, RehearsalSettings};
use crate::livekit::token_source::TokenSource;
use crate::media::MediaSink;
use crate::service::job::{ConferenceJob, Job, OpenTalkEntrance, WantedTarget};
use crate::trust::Trust;

/// Enters, at once and in the background.
///
/// # Errors
/// An address or a file with certificates, although the supervisor has checked them.
pub(super) fn enter(
    job: &Job,
    clock: SessionClock,
    media: MediaSink,
    tokens: TokenSource,
    tickets: TicketSource,
) -> Result<ConferenceHandle, WorkerError> {
    let capture = Box::new(ClockModel::new());
    Ok(match &job.conference {
        ConferenceJob::OpenTalk { entrance, follows } => {
            let OpenTalkEntrance { controller, ca_file, livekit_ca_file, display_name } = entrance;
            let controller = Controller::at(controller, Trust::load(ca_file.as_deref())?)?;
            let media_trust = Trust::load(livekit_ca_file.as_deref())?;
            let mut settings = OpenTalkSettings::new(controller, display_name, media_trust, clock, capture);
            settings.ingest.mixer_delay = job.course.mixer_delay;
            let mut resumed = job.commanded.iter().flat_map(|commanded| &commanded.resumed);
            let recording = resumed.find(|resumed| resumed.what == WantedTarget::Recording).map(|resumed| resumed.target.clone());
            let wanted = job.commanded.iter().flat_map(|commanded| &commanded.wanted);
            let wanted = wanted.map(|one| FormerTarget { target: one.target.clone(), paused: one.paused }).collect();
            settings.former = follows.then_some(FormerWorker { recording, wanted });
            opentalk::enter(settings, media, tickets)
        }
        ConferenceJob::LiveKit { url, token, refreshed, ca_file } => {
            let mut settings = LiveKitSettings::new(url.clone(), token.clone(), Trust::load(ca_file.as_deref())?, clock, capture);
            settings.refreshed.clone_from(refreshed);
            settings.ingest.mixer_delay = job.course.mixer_delay;
            livekit_room::enter(settings, media, tokens)
        }
        ConferenceJob::Rehearsal { socket } => {
            rehearsal::enter(RehearsalSettings { socket: socket.clone(), clock }, capture, media)
        }
    })
}
