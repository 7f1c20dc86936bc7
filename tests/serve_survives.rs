//! A service whose counterparts go away, one after the other, while it records: the recording goes on, its moderator sees what is true, and the next click is
//! answered when they are back. ROOMCAST_OUTAGE sets for how many seconds they are away.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use world::bad_http::{BadHttp, Fate};
use world::controller::{Controller, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::line::Condition;
use world::livekit::LiveKit;
use world::meeting::Meeting;
use world::opentalk::{Broker, Installation, Lines, OPERATORS, films, is_served, keep_if_asked, operators_see};
use world::product::Product;
use world::rabbitmq::{PASSWORD, RabbitMq};
use world::recording::{film_begins, one_room_at_a_time};
use world::rtmp::decode;
use world::s3::S3Server;
use world::stalls::Watch;
use world::until;

/// Nothing takes longer once everything is there again.
const LONG: Duration = Duration::from_secs(40);
/// Whoever is alone in the room.
const TILE: TileRect = TileRect { x: 0, y: 0, width: 640, height: 360 };
const ALONE: usize = 0;
/// For so long people stay in the picture while nobody can withdraw their consent.
const SIGNALING_GRACE: Duration = Duration::from_secs(30);
/// As long as the access token of the client `ShortLived` is good.
const TOKEN_LIFE: Duration = Duration::from_secs(4);

/// For how long something is away.
fn outage(usual_s: u64) -> Duration {
    Duration::from_secs(std::env::var("ROOMCAST_OUTAGE").map_or(usual_s, |text| text.parse().expect("a number of seconds")))
}

/// Lets recordings grow.
fn pass(time: Duration) {
    let begin = Instant::now();
    until(time + LONG, "time passes", || (begin.elapsed() >= time).then_some(()));
}

/// A service that records Ada's meeting all the time, and everything around it.
struct Day<'a> {
    controller: &'a Controller,
    broker: &'a mut Broker,
    livekit: &'a mut LiveKit,
    lines: &'a Lines,
    storage: &'a mut BadHttp,
    s3: &'a S3Server,
    service: &'a Product,
    folder: &'a Path,
    ada: Meeting<'a>,
}

impl Day<'_> {
    /// Ada is shown nothing but that she is recorded, since she came: so often anew.
    fn ada_sees_active(&self, times: usize) {
        self.ada.shows("active");
        let mut told = self.controller.told_everybody(&self.ada.moderator, &self.ada.recording);
        // What is shown already may be said once more.
        told.retain(|shown| shown != "starting");
        told.dedup();
        let mut expected = vec!["active"];
        (1..times).for_each(|_| expected.extend(["inactive", "active"]));
        assert_eq!(told, expected);
        assert_eq!(self.ada.told(), [] as [&str; 0], "no error of the recorder as a whole");
        assert_eq!(self.controller.recorders(&self.ada.room).len(), 1, "one recorder");
    }

    /// Somebody else presses record, and later stop: they get a whole film.
    fn a_click_works(&self, title: &str) {
        let meeting = Meeting::of(self.controller, RoomPlan::titled(title));
        self.is_recorded(&meeting);
        meeting.stop();
        self.is_whole(&meeting);
        assert_eq!(meeting.told(), [] as [&str; 0], "{title}");
    }

    fn is_recorded(&self, meeting: &Meeting<'_>) {
        self.controller.consent(&meeting.moderator, true);
        meeting.click();
        meeting.shows("active");
        pass(Duration::from_millis(1500));
    }

    /// The one recording of a room is a file that decodes, and the object in the storage is that file.
    fn is_whole(&self, meeting: &Meeting<'_>) {
        let film = self.film(meeting);
        let pictures = decode(&film);
        assert!(pictures >= 30, "{}: {pictures} pictures", film.display());
        let key = until(LONG, "it is in the storage", || self.object(meeting));
        assert!(self.s3.object(&key) == std::fs::read(&film).expect("the film"), "{key}");
    }

    fn film(&self, meeting: &Meeting<'_>) -> PathBuf {
        let of_room = |film: &PathBuf| film.to_string_lossy().contains(&meeting.room);
        let folder = self.folder.join("recordings");
        until(LONG, "the recording is a file", || films(&folder).into_iter().find(of_room))
    }

    /// The key of its object, if the storage has one.
    fn object(&self, meeting: &Meeting<'_>) -> Option<String> {
        self.s3.keys().into_iter().find(|key| key.starts_with(&meeting.room) && key.ends_with(".mp4"))
    }

    fn status(&self) -> Value {
        serde_json::from_str(&operators_see(self.folder, "/status")).expect("JSON")
    }

    /// Waits until operators see the upload of this room's film in this state.
    fn uploads(&self, meeting: &Meeting<'_>, state: &str) {
        let is_it = |target: &Value| {
            let id = target["id"].as_str().unwrap_or_default();
            id.contains(&meeting.room) && id.ends_with(".mp4") && target["state"] == state
        };
        until(LONG, state, || {
            let status = self.status();
            let mut targets =
                status["deliveries"].as_array()?.iter().filter_map(|delivery| delivery["targets"].as_array()).flatten();
            targets.any(is_it).then_some(())
        });
    }
}

/// Nothing comes from the broker and nothing is refused, as behind a switch that is off; then it is stopped, and then it dies.
fn the_broker_goes_away(day: &mut Day<'_>) {
    day.lines.broker.set(Condition::Dead);
    pass(outage(8));
    day.lines.broker.set(Condition::Up);
    is_served(day.broker, day.service);
    day.ada_sees_active(1);
    day.a_click_works("After a partition");

    type End = fn(&mut RabbitMq);
    let ends: [(End, &str); 2] = [(RabbitMq::stop, "After a stop"), (RabbitMq::kill, "After a crash")];
    for (end, title) in ends {
        let Broker::Own(broker) = &mut *day.broker else { panic!("nobody else uses it") };
        end(broker);
        broker.come_back();
        is_served(day.broker, day.service);
        day.ada_sees_active(1);
        day.a_click_works(title);
    }
}

/// The identity provider is away from the beginning of a meeting to after its end, and for much longer than a token is good.
fn the_identity_provider_goes_away(day: &Day<'_>) {
    let meeting = Meeting::of(day.controller, RoomPlan::titled("Without a provider"));
    day.is_recorded(&meeting);
    day.lines.keycloak.set(Condition::Cut);
    pass(outage(2 + TOKEN_LIFE.as_secs()));
    meeting.shows("active");
    meeting.stop();
    day.is_whole(&meeting);
    assert_eq!(meeting.told(), [] as [&str; 0], "nobody has noticed");

    // A click is told: by the controller, which has waited, and with its reason by us to operators.
    let refused = Meeting::of(day.controller, RoomPlan::titled("No ticket"));
    refused.click();
    until(LONG, "the five seconds are over", || (refused.told() == ["timeout"]).then_some(()));
    refused.shows("inactive");
    let sentence = "The identity provider cannot be reached.";
    until(LONG, "operators see why", || (day.status()["over"][0]["fault"]["sentence"] == sentence).then_some(()));
    assert!(day.controller.recorders(&refused.room).is_empty());
    day.ada_sees_active(1);

    day.lines.keycloak.set(Condition::Up);
    day.service.logs("the identity provider gives access tokens again", LONG);
    day.is_recorded(&refused);
    refused.stop();
    day.is_whole(&refused);
}

/// The controller is cut off for a moment and for a while, and answers nonsense. Everybody is shown what it makes of it; the recording is untouched.
fn the_controller_goes_away(day: &Day<'_>) {
    let troubles =
        [(Condition::Cut, Duration::from_secs(3)), (Condition::Cut, outage(12)), (Condition::Nonsense, Duration::from_secs(3))];
    for (times, (trouble, time)) in troubles.into_iter().enumerate() {
        day.lines.controller.set(trouble);
        // It looks from there as if the recorder had left.
        day.ada.shows("inactive");
        pass(time);
        day.lines.controller.set(Condition::Up);
        day.ada_sees_active(times + 2);
        day.a_click_works(&format!("After {trouble:?} for {time:?}"));
    }
}

/// The controller is restarted: everybody comes back into the room, where the recording has another id.
fn the_controller_is_restarted(day: &mut Day<'_>) {
    let (controller, room) = (day.controller, day.ada.room.clone());
    controller.restart();
    let ada = Meeting::in_room(controller, room, &who(0));
    assert_ne!(ada.recording, day.ada.recording);
    controller.consent(&ada.moderator, true);
    day.ada = ada;
    day.ada_sees_active(1);
    day.a_click_works("After a restart");
}

/// The storage refuses a recording that has ended: its moderator reads that, the film stays here, and comes when the storage takes it.
fn the_storage_refuses(day: &Day<'_>) {
    let meeting = Meeting::of(day.controller, RoomPlan::titled("Refused"));
    day.is_recorded(&meeting);
    day.storage.judge(|_| Fate::Answer(403));
    day.controller.click_stop(&meeting.moderator, std::slice::from_ref(&meeting.recording));
    meeting.shows("error");
    assert!(meeting.reason().contains("is not in the storage yet"), "{}", meeting.reason());
    assert!(decode(&day.film(&meeting)) >= 30);
    day.uploads(&meeting, "refused");
    assert_eq!(day.object(&meeting), None);
    day.storage.judge(|_| Fate::Pass);
    day.is_whole(&meeting);
    day.controller.has_recorders(&meeting.room, 0);
}

/// The storage cannot be reached when Ada's recording ends: nobody waits for it for ever, and it comes when the storage is back.
fn the_storage_goes_away(day: &mut Day<'_>) {
    day.storage.set_open(false);
    day.ada.stop();
    day.ada.shows("inactive");
    day.uploads(&day.ada, "retrying");
    day.film(&day.ada);
    day.storage.set_open(true);
    day.is_whole(&day.ada);
}

/// The broker, the identity provider, the controller, the media server and the storage: each is away in several ways, while a person watches a recording that
/// began before and ends after all of it.
#[test]
fn a_recording_outlives_everything_around_it() {
    let _alone = one_room_at_a_time();
    let mut installation = Installation::start_exposed();
    let s3 = S3Server::start();
    let mut storage = BadHttp::before(s3.port, |_| Fate::Pass);
    let folder = tempfile::tempdir().expect("folder");
    let more = format!(
        "[programme]\nsize = \"640x360\"\n[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n[session]\nroom_empty_grace = \"5m\"\n\
         [admission]\nlimits = []\n[serve]\nsignaling_grace = \"{}s\"\ndelivery_grace = \"3s\"\n\
         recordings = [\"{}/{{room}}-{{start}}.mp4\", \"s3://recordings/{{room}}/{{start}}.mp4\"]\n\
         [storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n",
        SIGNALING_GRACE.as_secs(),
        folder.path().join("recordings").display(),
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let secrets = [("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY)];
    let service = installation.serve_as("ShortLived", folder.path(), &more, &secrets);
    let Installation { broker, livekit, controller, lines: Some(lines), .. } = &mut installation else { panic!("it is exposed") };
    let (controller, lines) = (&*controller, &*lines);

    let room = controller.plan(RoomPlan::titled("Weekly"));
    let mut crowd = Crowd::gather(1);
    crowd.join_all(livekit, &room, &[Joining::usual(0)]);
    let ada = Meeting::in_room(controller, room, &who(0));
    controller.consent(&ada.moderator, true);
    let mut day =
        Day { controller, broker, livekit, lines, storage: &mut storage, s3: &s3, service: &service, folder: folder.path(), ada };

    let (watch, clicked) = (Watch::begin(), Instant::now());
    day.ada.click();
    day.ada.shows("active");
    let active = Instant::now();
    the_broker_goes_away(&mut day);
    the_identity_provider_goes_away(&day);
    let cut = Instant::now();
    the_controller_goes_away(&day);
    the_controller_is_restarted(&mut day);
    let away = cut..Instant::now();
    the_storage_refuses(&day);
    let killed = Instant::now();
    day.livekit.restart();
    let event = crowd.wait_for("Ada to come back", |event| event.event == "reconnected" && event.who == who(0));
    let returned = crowd.media_zero() + Duration::from_secs_f64(event.at_ms / 1000.0);
    pass(Duration::from_secs(8));
    day.ada_sees_active(1);
    let stopped = Instant::now();
    the_storage_goes_away(&mut day);
    let film = day.film(&day.ada);

    service.signal(Signal::SIGTERM);
    let outcome = service.finish(LONG);
    keep_if_asked(&film, &outcome.log);
    assert!(outcome.status.success(), "{}", outcome.log);
    outcome.errors_only(&["the upload is refused"]);
    let mut secrets: Vec<String> = controller.secrets();
    secrets.extend([world::keycloak::SECRET, PASSWORD, OPERATORS, world::s3::SECRET_KEY].map(str::to_owned));
    outcome.keeps_secret(folder.path(), &secrets.iter().map(String::as_str).collect::<Vec<_>>());

    let mut film = Film::watch(&film, &[TILE]);
    let begins = film_begins(&film, ALONE, &crowd, clicked);
    film.stalls = watch.end(begins);
    let at = |instant: Instant| instant.saturating_duration_since(begins).as_secs_f64();
    let (away_s, back_s) = (at(away.start), at(away.end));
    let (lost_s, returned_s, end_s) = (at(killed), at(returned), film.duration_s - 0.3);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().has_constant_rate(30.0);
    let (least_s, most_s) = ((stopped - active).as_secs_f64() - 0.2, (stopped - clicked).as_secs_f64() + 1.0);
    let length = format!("the film lasts {:.2} s of {least_s:.2} s to {most_s:.2} s", film.duration_s);
    judge.promise((least_s..most_s).contains(&film.duration_s), length);
    for whole in [1.0..away_s - 0.2, back_s + 3.0..lost_s - 0.2, returned_s + 3.0..end_s] {
        judge.shows(ALONE, 0, whole.clone()).never_still(ALONE, 200.0, whole.clone());
        judge.hears(0, 25.0, whole.clone()).is_in_sync(ALONE, 0, 20.0, 45.0, whole);
    }
    // Each time that the controller is there again, so is the media connection made anew: of Ada nothing is missing but a moment.
    if outage(0) < SIGNALING_GRACE {
        judge.never_still(ALONE, 1500.0, away_s..back_s + 3.0).hears(0, 300.0, away_s..back_s + 3.0);
    }
    judge.finish();
    println!("a recording of {:.0} s has outlived everything around it", film.duration_s);
    crowd.disperse();
}
