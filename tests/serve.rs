//! The service in a whole OpenTalk installation: what a moderator's clicks become.

#![allow(clippy::expect_used)]

use roomcast_world as world;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use world::controller::{Kind, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::film::Film;
use world::film::judge::Judge;
use world::meeting::Meeting;
use world::opentalk::{Installation, films, keep_if_asked};
use world::recording::{name, one_room_at_a_time, tiles_of_up_to_four};
use world::rtmp::Nginx;
use world::s3::S3Server;
use world::{after, rabbitmq};

const LOOK: &str = "[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n";
/// The tile of [`tiles_of_up_to_four`].
const ALONE: usize = 7;

/// A person who watches the stream sees Ada from the click to the stop; the recording goes on when a stream is stopped, refused or not reached, and each
/// of them is told as it is.
#[test]
fn each_stream_has_its_own_fate_and_the_recording_goes_on() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let (storage, nginx) = (S3Server::start(), Nginx::start());
    let folder = tempfile::tempdir().expect("folder");
    let more = format!(
        "{LOOK}[serve]\nreconnect_grace = \"5s\"\nrecordings = [\"s3://recordings/{{room}}/{{start}}.mp4\"]\n\
         [storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n[live]\nallowed_addresses = [\"127.0.0.1\"]\n",
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let service = installation.serve(folder.path(), &more, &[("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY)]);

    let closed = format!("rtmp://127.0.0.1:{}/live/canary-key-closed", world::free_tcp_port());
    let plan = RoomPlan::titled("Weekly")
        .streaming_to("taken", &format!("{}/good-canary-key", nginx.address()))
        .streaming_to("unreachable", &closed)
        .streaming_to("odd", "srt://127.0.0.1:9000/canary-key-odd");
    let streams: Vec<String> = plan.streams.iter().map(|stream| stream.id.clone()).collect();
    let [taken, unreachable, odd] = streams.as_slice() else { panic!("three streams") };
    let room = controller.plan(plan);
    let mut crowd = Crowd::gather(1);
    let ada = controller.joins_as(&room, Kind::Moderator, name(0), &who(0));
    crowd.join_all(livekit, &room, &[Joining::usual(0)]);
    controller.consent(&ada, true);
    let recording = controller.recording_target(&room);

    let clicked = Instant::now();
    controller.click_start(&ada, &[recording.clone(), taken.clone(), unreachable.clone(), odd.clone()]);
    controller.shows(&room, &recording, "active");
    controller.shows(&room, odd, "error");
    controller.shows(&room, taken, "active");
    controller.shows(&room, unreachable, "error");
    after(clicked, 12.0);
    controller.click_stop(&ada, std::slice::from_ref(taken));
    controller.shows(&room, taken, "inactive");
    after(clicked, 14.0);
    assert_eq!(controller.what_everybody_sees(&room, &recording), "active", "the recording goes on");
    controller.click_stop(&ada, std::slice::from_ref(&recording));
    controller.has_recorders(&room, 0);
    assert_eq!(controller.moderator_was_told(&ada), [] as [&str; 0], "no error of the recorder as a whole");
    let keys = storage.keys();
    assert_eq!(keys.len(), 3, "a film and its books: {keys:?}");
    assert!(keys.iter().all(|key| key.starts_with(&format!("{room}/"))), "{keys:?}");
    let film = keys.iter().find(|key| key.ends_with(".mp4")).expect("a film");

    service.signal(Signal::SIGTERM);
    let outcome = service.finish(Duration::from_secs(20));
    let object = storage.object_file(film);
    keep_if_asked(&object, &outcome.log);
    outcome.is_well();
    outcome.keeps_secret(folder.path(), &["canary-key", world::s3::SECRET_KEY, world::keycloak::SECRET, rabbitmq::PASSWORD]);
    let film = Film::watch(&object, &tiles_of_up_to_four());
    let mut judge = Judge::new(&film);
    let all = 2.0..film.duration_s - 0.3;
    judge.decodes_clean().has_constant_rate(30.0).shows(ALONE, 0, all.clone()).hears(0, 25.0, all);
    judge.promise((13.0..17.0).contains(&film.duration_s), format!("the recording lasts {:.1} s", film.duration_s));
    let streamed = nginx.recordings("good-canary-key");
    judge.promise(streamed.len() == 1, format!("one stream was received: {streamed:?}"));
    let pictures = streamed.first().map_or(0, |file| world::rtmp::decode(file));
    judge.promise((270..=400).contains(&pictures), format!("{pictures} pictures were streamed in about 12 s"));
    judge.finish();
    crowd.disperse();
}

/// Two services share a queue: each room has one recorder, whoever is commanded twice; the room for which nobody has a slot is told why.
#[test]
fn two_services_share_the_rooms_and_a_full_house_says_so() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, .. } = &installation;
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let more = |folder: &tempfile::TempDir| {
        let recordings = folder.path().join("recordings").display().to_string();
        format!(
            "[programme]\nsize = \"320x180\"\nfps = 10\n[session]\nroom_empty_grace = \"5m\"\n[admission]\nlimits = []\n[serve]\nslots = 3\nconsent = \"not_asked\"\n\
             recordings = [\"{recordings}/{{start}}-{{room}}.mp4\"]\n"
        )
    };
    let services = folders.each_ref().map(|folder| installation.serve(folder.path(), &more(folder), &[]));

    // Ten rooms, and places for six.
    let meetings: Vec<_> = (0..10).map(|_| Meeting::weekly(controller)).collect();
    let (served, refused) = meetings.split_at(6);
    served.iter().for_each(Meeting::is_recorded);
    for meeting in refused {
        meeting.click();
        meeting.shows("error");
        assert_eq!(
            controller.reason(&meeting.moderator, &meeting.recording),
            "All recorders are busy. Try again when another meeting is over."
        );
        controller.has_recorders(&meeting.room, 0);
    }
    for meeting in served {
        assert_eq!(controller.recorders(&meeting.room).len(), 1, "one recorder in room {:?}", meeting.room);
        assert_eq!(meeting.shown(), "active");
    }
    // A slot that becomes free is used.
    meetings[0].stop();
    meetings[9].is_recorded();
    for (service, folder) in services.into_iter().zip(&folders) {
        service.signal(Signal::SIGTERM);
        let outcome = service.finish(Duration::from_secs(30));
        outcome.is_well();
        let films = films(&folder.path().join("recordings"));
        assert!((3..=4).contains(&films.len()), "{films:?}");
    }
}
