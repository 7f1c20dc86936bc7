//! A room with a moderator, who clicks for its recording.

use super::controller::{Controller, Kind, Person, RoomPlan};

/// A room, its moderator, and its recording.
pub struct Meeting<'a> {
    /// Where it is.
    pub controller: &'a Controller,
    /// Its id.
    pub room: String,
    /// Who clicks.
    pub moderator: Person,
    /// The Target that is a recording.
    pub recording: String,
}

impl<'a> Meeting<'a> {
    /// A planned room, which its moderator has joined.
    pub fn of(controller: &'a Controller, plan: RoomPlan) -> Meeting<'a> {
        let room = controller.plan(plan);
        let moderator = controller.joins(&room, Kind::Moderator, "Ada");
        let recording = controller.recording_target(&room);
        Meeting { controller, room, moderator, recording }
    }

    /// The moderator wants it recorded.
    pub fn click(&self) {
        self.controller.click_start(&self.moderator, std::slice::from_ref(&self.recording));
    }

    /// The moderator does not any more; the recorder leaves.
    pub fn stop(&self) {
        self.controller.click_stop(&self.moderator, std::slice::from_ref(&self.recording));
        self.controller.has_recorders(&self.room, 0);
    }

    /// Waits until everybody is shown this of the recording.
    pub fn shows(&self, status: &str) {
        self.controller.shows(&self.room, &self.recording, status);
    }

    /// What only the moderator was told: errors of the recorder as a whole.
    pub fn told(&self) -> Vec<String> {
        self.controller.moderator_was_told(&self.moderator)
    }

    /// The reason that everybody was told for an error of the recording.
    pub fn reason(&self) -> String {
        self.controller.reason(&self.moderator, &self.recording)
    }
}
