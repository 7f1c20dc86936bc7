//! How a worker does what its Session has decided.

use recorder_core::books::Note;
use recorder_core::conference::ConferenceCommand;
use recorder_core::session::{Action, After, Phase};

use super::{Worker, targets};
use crate::service::job::FromWorker;

impl Worker {
    /// Does what the Session has decided.
    pub(super) fn obey(&mut self) {
        self.note_end();
        while let Some(action) = self.session.poll_action() {
            self.note(Note::of_action(&action));
            match action {
                Action::Tell(command) => {
                    if let ConferenceCommand::Report { target, standing } = &command {
                        targets::log_standing(target, standing);
                    }
                    self.queue(command);
                }
                Action::Show(scenes) => {
                    self.avatars.show(&scenes);
                    self.programme.show(&scenes);
                    self.hang_avatars();
                }
                Action::Open { target, run, delivery } => self.open(target, run, delivery),
                Action::TryNow { target } => self.deliveries.try_now(&target),
                Action::BeginTake { target, take, at } => {
                    if self.commanded {
                        self.say(FromWorker::Begins { target: target.clone(), take });
                    }
                    self.programme.begin(at);
                    self.deliveries.begin(&target, take, at);
                }
                Action::ShowSlate { target, from } => {
                    self.prepare_slate(&target);
                    self.programme.begin(from);
                    if self.deliveries.is_idle() {
                        self.programme.rest(from);
                    }
                    self.deliveries.show_slate(&target, from);
                }
                Action::EndTake { target, at, then } => {
                    if self.commanded {
                        self.say(FromWorker::Ends { target: target.clone(), for_good: then == After::Stop });
                    }
                    if then == After::Pause {
                        self.prepare_slate(&target);
                    }
                    let is_last = self.deliveries.end(&target, at, then);
                    // As long as moderators may want another Take, the programme only rests.
                    if is_last && self.commanded && self.session.phase() != Phase::Ending {
                        self.programme.rest(at);
                    } else if is_last {
                        self.programme.end(at);
                    }
                }
                Action::Over(outcome) => {
                    self.outcome = Some(outcome);
                    self.note_end();
                }
            }
        }
    }

    /// The newest subscription list says everything that older ones said.
    pub(super) fn queue(&mut self, command: ConferenceCommand) {
        if matches!(command, ConferenceCommand::Subscribe(_)) {
            self.to_conference.retain(|waiting| !matches!(waiting, ConferenceCommand::Subscribe(_)));
        }
        self.to_conference.push_back(command);
    }
}
