//! What a worker's Targets say, and those that moderators command.

use recorder_core::conference::{Delivery, Standing};
use recorder_core::fault::{Blame, Fault, Retry, Scope};
use recorder_core::ids::TargetId;
use recorder_core::live::LiveState;
use recorder_core::session::{Commanded, Input, Resumed};
use recorder_core::target::TargetReport;

use super::Worker;
use crate::service::deliveries::{Closed, Deliveries, DeliveryReport};
use crate::service::job::{CommandedJob, FromWorker, LiveJob, ResumedTarget, WantedTarget};
use crate::target::recording::RecordingReport;
use crate::target::rtmp::{Destination, DestinationError, LiveReport};

/// The Rendition that Targets get which moderators command.
const COMMANDED_RENDITION: usize = 0;

/// What the Session needs to know of a commanded job.
pub(super) fn commanded(job: &CommandedJob) -> Commanded {
    let resumed = job.resumed.iter().map(|resumed| Resumed {
        target: resumed.target.clone(),
        delivery: resumed.what.clone().into(),
        run: resumed.run,
        next: resumed.next,
        paused: resumed.paused,
    });
    Commanded {
        reconnect_grace: job.reconnect_grace,
        delivery_grace: job.delivery_grace,
        withheld: job.withheld.clone(),
        resumed: resumed.collect(),
        ..Commanded::default()
    }
}

/// Makes ready what an earlier worker was at.
pub(super) fn resume(deliveries: &mut Deliveries, resumed: &[ResumedTarget]) {
    for one in resumed {
        match &one.what {
            WantedTarget::Recording => {
                deliveries.open_recording(one.target.clone(), COMMANDED_RENDITION, one.folder.clone(), one.next);
            }
            WantedTarget::Live { location } => {
                // It was checked when it was wanted.
                if let Ok((address, key)) = Destination::split(location) {
                    let job = LiveJob { id: one.target.clone(), rendition: COMMANDED_RENDITION, address, key };
                    deliveries.open_live(job, one.permitted);
                }
            }
        }
    }
}

/// The answer of a supervisor that says nothing.
pub(super) fn no_ticket() -> Fault {
    let sentence = "There is no ticket for the room.".to_owned();
    Fault { scope: Scope::Session, blame: Blame::Us, retry: Retry::After(std::time::Duration::from_secs(1)), sentence }
}

fn unusable(why: DestinationError) -> Fault {
    let sentence = format!("The stream cannot begin: {why}.");
    Fault { scope: Scope::Target, blame: Blame::Destination, retry: Retry::Never, sentence }
}

/// Notes what the room is shown, so that a moderator's question can be answered later.
pub(super) fn log_standing(target: &TargetId, standing: &Standing) {
    match standing {
        Standing::Error { code, message } => {
            tracing::warn!(target.id = %target, code, reason = message, "the room is shown an error")
        }
        other => tracing::info!(target.id = %target, shown = ?other.light(), "the room is shown"),
    }
}

impl Worker {
    /// A moderator wants a Target: the supervisor is asked whether it may begin, and its Takes wait until then.
    pub(super) fn open(&mut self, target: TargetId, run: u32, delivery: Delivery) {
        if self.resumed.remove(&(target.clone(), run)) {
            return;
        }
        match &delivery {
            Delivery::Recording => {
                let first = recorder_core::ids::TakeId(1);
                self.deliveries.open_recording(target.clone(), COMMANDED_RENDITION, None, first);
            }
            Delivery::Live { location } => {
                let checked = Destination::at(location).and_then(|_| Destination::split(location));
                match checked {
                    Ok((address, key)) => {
                        let job = LiveJob { id: target.clone(), rendition: COMMANDED_RENDITION, address, key };
                        self.deliveries.open_live(job, false);
                    }
                    Err(why) => return self.deliveries.cannot(&target, unusable(why)),
                }
            }
        }
        self.say(FromWorker::Opens { target, run, what: delivery.into() });
    }

    /// Has the slate made that a paused live destination shows.
    pub(super) fn prepare_slate(&self, target: &TargetId) {
        if let Some(rendition) = self.deliveries.live_rendition(target) {
            self.programme.prepare_slate(rendition, || self.session.paused_scene(rendition));
        }
    }

    pub(super) fn target_says(&mut self, target: TargetId, report: DeliveryReport) {
        match report {
            DeliveryReport::Recording(report) => self.recording_says(target, report),
            DeliveryReport::Live(LiveReport::Figures(figures)) => self.say(FromWorker::LiveFigures { target, figures }),
            DeliveryReport::Live(LiveReport::Parked) => self.tell(Input::Target { id: target, report: TargetReport::Parked }),
            DeliveryReport::Live(LiveReport::State(state)) => {
                let is_over = state == LiveState::Ended;
                self.say(FromWorker::Live { target: target.clone(), state: state.clone() });
                if is_over {
                    self.closed(target);
                } else {
                    self.tell(Input::Target { id: target, report: TargetReport::Live(state) });
                }
            }
        }
    }

    fn recording_says(&mut self, target: TargetId, report: RecordingReport) {
        let report = match report {
            RecordingReport::Began { at, file, film } => {
                self.deliveries.names(&target, &file);
                let take = self.deliveries.take(&target);
                self.say(FromWorker::TakeBegan { target, take, at, film });
                return;
            }
            RecordingReport::Gap { missed, fault } => {
                tracing::warn!(target.id = %target, missed, "packets are missing in a recording");
                self.say(FromWorker::Fault(fault));
                return;
            }
            RecordingReport::Written { until, bytes } => {
                let file = self.deliveries.file(&target);
                self.say(FromWorker::Written { target: target.clone(), file, until, bytes });
                TargetReport::TakeWritten { until }
            }
            RecordingReport::Failed(fault) => {
                self.say(FromWorker::Fault(fault.clone()));
                TargetReport::Failed(fault)
            }
            RecordingReport::Ended { .. } => return self.closed(target),
        };
        self.tell(Input::Target { id: target, report });
    }

    /// A Take is closed.
    fn closed(&mut self, target: TargetId) {
        let report = match self.deliveries.closed(&target) {
            Closed::GoesOn => return,
            Closed::Parked => TargetReport::Parked,
            Closed::Ended => {
                if self.commanded {
                    self.say(FromWorker::Closed { target: target.clone() });
                }
                TargetReport::Ended
            }
        };
        self.tell(Input::Target { id: target, report });
    }
}
