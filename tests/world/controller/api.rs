//! What tests do with the controller: they plan rooms, play the people in them, and look at what those see.

use serde_json::{Value, json};

use super::house::Asset;
use super::messages;
use super::room::{Kind, Outlet, RoomPlan, Sitting};
use super::signaling::Out;
use super::upload::UploadFate;
use super::{Controller, PATIENCE, until, uuid};

/// Somebody whom the test plays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    pub room: String,
    /// Also their identity in the media server.
    pub id: String,
}

impl Controller {
    /// Plans a room; its id.
    pub fn plan(&self, plan: RoomPlan) -> String {
        self.house().plan(plan)
    }

    /// Somebody joins.
    pub fn joins(&self, room: &str, kind: Kind, name: &str) -> Person {
        self.joins_as(room, kind, name, &uuid())
    }

    /// Somebody joins under an id of the test's choice: that of a publisher, or one who was there before.
    pub fn joins_as(&self, room: &str, kind: Kind, name: &str, id: &str) -> Person {
        let person = Person { room: room.into(), id: id.into() };
        let mut house = self.house();
        house.room(room).people.insert(id.into(), Sitting::new(kind, name, Outlet::Heard));
        drop(house);
        self.says(&person, "control", json!({"action": "join", "display_name": name}));
        person
    }

    /// Somebody leaves.
    pub fn leaves(&self, person: &Person) {
        self.house().room(&person.room).leave(&person.id, "quit");
    }

    /// Somebody says this.
    pub fn says(&self, person: &Person, namespace: &str, payload: Value) {
        let said = json!({"namespace": namespace, "payload": payload});
        let click = self.house().hear(&person.room, &person.id, &said);
        if let Some(click) = click {
            self.after_five_seconds(person.room.clone(), click);
        }
    }

    /// What somebody was told, from the join on.
    pub fn heard(&self, person: &Person) -> Vec<Value> {
        self.house().room(&person.room).people.get(&person.id).map(|sitting| sitting.heard.clone()).unwrap_or_default()
    }

    /// A moderator clicks for these Targets to run.
    pub fn click_start(&self, moderator: &Person, targets: &[String]) {
        self.says(moderator, "recording", json!({"action": "start_stream", "target_ids": targets}));
    }

    /// A moderator clicks for these Targets to pause.
    pub fn click_pause(&self, moderator: &Person, targets: &[String]) {
        self.says(moderator, "recording", json!({"action": "pause_stream", "target_ids": targets}));
    }

    /// A moderator clicks for these Targets to end.
    pub fn click_stop(&self, moderator: &Person, targets: &[String]) {
        self.says(moderator, "recording", json!({"action": "stop_stream", "target_ids": targets}));
    }

    /// Somebody agrees to be recorded, or does not.
    pub fn consent(&self, person: &Person, consent: bool) {
        self.says(person, "recording", json!({"action": "set_consent", "consent": consent}));
    }

    /// Somebody raises a hand, or lowers it.
    pub fn hand(&self, person: &Person, is_up: bool) {
        self.says(person, "control", json!({"action": if is_up { "raise_hand" } else { "lower_hand" }}));
    }

    /// A moderator gives somebody another name.
    pub fn rename(&self, moderator: &Person, person: &Person, name: &str) {
        self.says(moderator, "moderation", json!({"action": "change_display_name", "target": person.id, "new_name": name}));
    }

    /// A moderator throws all recorders out.
    pub fn kick_recorder(&self, moderator: &Person) {
        for recorder in self.recorders(&moderator.room) {
            self.says(moderator, "moderation", json!({"action": "kick", "target": recorder}));
        }
    }

    /// A moderator sends all guests away; recorders are such.
    pub fn debrief(&self, moderator: &Person) {
        self.says(moderator, "moderation", json!({"action": "debrief", "kick_scope": "guests"}));
    }

    /// The owner deletes the room.
    pub fn delete_room(&self, room: &str) {
        self.house().close_room(room, "room_deleted");
    }

    /// The time of the owner's tariff is over.
    pub fn time_is_up(&self, room: &str) {
        self.house().close_room(room, "time_limit_quota_elapsed");
    }

    /// Closes the recorders' signaling with this code and no other word.
    pub fn close_recorders(&self, room: &str, code: u16) {
        self.house().tell_recorders(room, || Out::Close(code));
    }

    /// Says nothing more to the recorders, and pings no more; TCP stays.
    pub fn fall_silent(&self, room: &str) {
        self.house().tell_recorders(room, || Out::Silence);
    }

    /// Cuts the recorders' TCP connections.
    pub fn cut_recorders(&self, room: &str) {
        self.house().tell_recorders(room, || Out::Cut);
    }

    /// The Target that is a recording; its id changes when the controller is restarted.
    pub fn recording_target(&self, room: &str) -> String {
        self.house().room(room).recording().expect("a room that can be recorded")
    }

    /// What everybody is shown of a Target.
    pub fn what_everybody_sees(&self, room: &str, target: &str) -> String {
        self.house().room(room).status(target).to_owned()
    }

    /// Waits until everybody is shown this.
    pub fn shows(&self, room: &str, target: &str, status: &str) {
        until(PATIENCE, status, || (self.what_everybody_sees(room, target) == status).then_some(()));
    }

    /// Errors of the recording that only this moderator was told.
    pub fn moderator_was_told(&self, moderator: &Person) -> Vec<String> {
        let heard = self.heard(moderator).into_iter().filter(|message| message["namespace"] == "recording");
        heard.filter_map(|message| message["payload"]["error"].as_str().map(str::to_owned)).collect()
    }

    /// Ids of the recorders in a room.
    pub fn recorders(&self, room: &str) -> Vec<String> {
        self.house().room(room).recorders()
    }

    /// Waits until so many recorders are in a room.
    pub fn has_recorders(&self, room: &str, count: usize) {
        until(PATIENCE, "recorders in the room", || (self.recorders(room).len() == count).then_some(()));
    }

    /// A token with which somebody publishes.
    pub fn livekit_token(&self, person: &Person, livekit_url: &str) -> String {
        let mut house = self.house();
        let credentials = messages::credentials(house.room(&person.room), &person.id, livekit_url);
        credentials["token"].as_str().expect("a token").to_owned()
    }

    /// Tickets that were given and not used are too old from now on.
    pub fn age_tickets(&self) {
        self.house().age_tickets();
    }

    /// Start calls so far.
    pub fn starts(&self) -> u64 {
        self.house().starts
    }

    /// What recorders were given or proved themselves by so far: tickets and access tokens, to look for them where they must not be.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.house().secrets.clone();
        secrets.sort();
        secrets.dedup();
        secrets
    }

    /// What everybody was shown of a Target since a moderator came, in its order: only what was reported, not what a click made of it.
    pub fn told_everybody(&self, moderator: &Person, target: &str) -> Vec<String> {
        let heard = self.heard(moderator).into_iter().map(|message| message["payload"].clone());
        let updates = heard.filter(|payload| payload["message"] == "stream_updated" && payload["target_id"] == target);
        updates.filter_map(|payload| payload["status"].as_str().map(str::to_owned)).collect()
    }

    /// The reason that everybody was told last for a Target's error.
    pub fn reason(&self, moderator: &Person, target: &str) -> String {
        let heard = self.heard(moderator).into_iter().rev().map(|message| message["payload"].clone());
        let mut errors = heard.filter(|payload| payload["target_id"] == target && payload["status"] == "error");
        errors.find_map(|payload| payload["reason"]["message"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Close frames of recorders so far.
    pub fn close_frames(&self) -> u64 {
        self.house().close_frames
    }

    /// This happens to the next uploads, one after the other; to later ones nothing.
    pub fn uploads_go(&self, fates: &[UploadFate]) {
        self.house().upload_fates.extend(fates);
    }

    /// Lengths of the frames of each upload that is over.
    pub fn upload_frames(&self) -> Vec<Vec<usize>> {
        self.house().upload_frames.clone()
    }

    /// Answers to pings in uploads so far.
    pub fn upload_pongs(&self) -> u64 {
        self.house().upload_pongs
    }

    /// Waits until so many recordings are stored: what came last is stored when its connection has ended.
    pub fn has_assets(&self, count: usize) -> Vec<Asset> {
        until(PATIENCE, "recordings that are stored", || Some(self.assets()).filter(|assets| assets.len() == count))
    }

    /// Stored recordings.
    pub fn assets(&self) -> Vec<Asset> {
        self.house().assets.clone()
    }

    /// Somebody with a recorder's ticket connects, and has not joined yet.
    pub fn seats_recorder(&self, room: &str, id: &str) -> Person {
        self.house().room(room).people.insert(id.into(), Sitting::new(Kind::Recorder, "", Outlet::Heard));
        Person { room: room.into(), id: id.into() }
    }
}
