//! A meeting at the controller, with a moderator who clicks for its recording.

use std::slice::from_ref;

use super::controller::{Controller, Kind, Person, RoomPlan};

/// A room with Ada in it, its moderator.
pub struct Meeting<'a> {
    controller: &'a Controller,
    /// The room.
    pub room: String,
    /// Ada.
    pub moderator: Person,
    /// The Target that is the room's recording.
    pub recording: String,
}

impl<'a> Meeting<'a> {
    /// Plans the room, and Ada joins.
    pub fn of(controller: &'a Controller, plan: RoomPlan) -> Meeting<'a> {
        let room = controller.plan(plan);
        let moderator = controller.joins(&room, Kind::Moderator, "Ada");
        let recording = controller.recording_target(&room);
        Meeting { controller, room, moderator, recording }
    }

    /// In a room that is planned already, Ada joins under an id of the test's choice: that of a publisher.
    pub fn in_room(controller: &'a Controller, room: String, id: &str) -> Meeting<'a> {
        let moderator = controller.joins_as(&room, Kind::Moderator, "Ada", id);
        let recording = controller.recording_target(&room);
        Meeting { controller, room, moderator, recording }
    }

    /// One as every week.
    pub fn weekly(controller: &'a Controller) -> Meeting<'a> {
        Meeting::of(controller, RoomPlan::titled("Weekly"))
    }

    /// Ada clicks for the recording to run.
    pub fn click(&self) {
        self.controller.click_start(&self.moderator, from_ref(&self.recording));
    }

    /// Ada clicks for the recording to run, and everybody is shown that it does.
    pub fn is_recorded(&self) {
        self.click();
        self.shows("active");
    }

    /// Ada clicks for the recording to end, and the recorder leaves.
    pub fn stop(&self) {
        self.controller.click_stop(&self.moderator, from_ref(&self.recording));
        self.controller.has_recorders(&self.room, 0);
    }

    /// Waits until everybody is shown this of the recording.
    pub fn shows(&self, status: &str) {
        self.controller.shows(&self.room, &self.recording, status);
    }

    /// What everybody is shown of the recording now.
    pub fn shown(&self) -> String {
        self.controller.what_everybody_sees(&self.room, &self.recording)
    }

    /// Errors of the recorder as a whole that Ada was told.
    pub fn told(&self) -> Vec<String> {
        self.controller.moderator_was_told(&self.moderator)
    }

    /// The reason that everybody was told last for an error of the recording.
    pub fn reason(&self) -> String {
        self.controller.reason(&self.moderator, &self.recording)
    }

    /// What everybody was told of errors of the room's Targets, a line for each.
    pub fn reasons(&self) -> String {
        let heard = self.controller.heard(&self.moderator);
        heard.iter().filter_map(|message| message["payload"]["reason"]["message"].as_str()).collect::<Vec<_>>().join("\n")
    }
}
