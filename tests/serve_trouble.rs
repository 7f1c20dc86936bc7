//! A service on bad days, in a whole OpenTalk installation: each trouble has its outcome, which the moderator is told, operators see, and the books keep;
//! and whatever it is, the next click is answered.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use world::books::Book;
use world::controller::{Controller, Kind, Misbehaviour, RoomPlan, StreamPlan};
use world::meeting::Meeting;
use world::opentalk::{Installation, OPERATORS, QUEUE, films, operators_see};
use world::product::{Outcome, Product};
use world::recording::one_room_at_a_time;
use world::rtmp::{Nginx, decode};
use world::{rabbitmq, until};

const LIMIT: Duration = Duration::from_secs(30);
/// Small pictures, of a room in which nobody need be.
const SETTINGS: &str = "[programme]\nsize = \"320x180\"\nfps = 10\n[session]\nroom_empty_grace = \"5m\"\n\
                        [live]\nallowed_addresses = [\"127.0.0.1\"]\n[serve]\nconsent = \"not_asked\"\nreconnect_grace = \"5s\"\n";

fn serve(installation: &Installation, folder: &Path) -> Product {
    let recordings = folder.join("recordings");
    let more = format!("{SETTINGS}recordings = [\"{}/{{start}}-{{room}}.mp4\"]\n", recordings.display());
    installation.serve(folder, &more, &[])
}

fn status(folder: &Path) -> Value {
    serde_json::from_str(&operators_see(folder, "/status")).expect("JSON")
}

/// Waits until operators see this of a Target of the one Session that runs: what they see is a second old at most.
fn sees(folder: &Path, target: &str, is_it: impl Fn(&Value) -> bool) {
    until(LIMIT, "operators see it", || {
        let status = status(folder);
        let targets = status["sessions"][0]["targets"].as_array()?;
        targets.iter().find(|one| one["id"] == target).filter(|seen| is_it(seen)).map(drop)
    });
}

/// It ends in order, has logged no other error than these, and has kept its secrets.
fn ends(service: Product, folder: &Path, controller: &Controller, errors: &[&str], more: &[&str]) -> Outcome {
    service.signal(Signal::SIGTERM);
    let outcome = service.finish(LIMIT);
    assert!(outcome.status.success(), "{}", outcome.log);
    outcome.errors_only(errors);
    let mut secrets: Vec<String> = controller.secrets();
    secrets.extend([world::keycloak::SECRET, rabbitmq::PASSWORD, OPERATORS].map(str::to_owned));
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).chain(more.iter().copied()).collect();
    outcome.keeps_secret(folder, &secrets);
    outcome
}

/// Six streams and a recording of one room. A moderator sees of each what is true, and none of them disturbs another.
#[test]
fn each_stream_in_trouble_is_told_by_itself() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let controller = &installation.controller;
    let (nginx, mut dying) = (Nginx::start(), Nginx::start());
    let folder = tempfile::tempdir().expect("folder");
    let service = serve(&installation, folder.path());

    let keys =
        ["bad-canary", "good-canary-'quoted\"", "good-canary-hash#tag", "good-canary-query?auth=1&x=2", "good canary space"];
    let plan =
        keys.iter().fold(RoomPlan::titled("Weekly"), |plan, key| plan.streaming_to(key, &format!("{}/{key}", nginx.address())));
    let plan = plan.streaming_to("dying", &format!("{}/good-canary-dying", dying.address()));
    let streams: Vec<String> = plan.streams.iter().map(|stream| stream.id.clone()).collect();
    let [refused, quoted, hash, query, space, dies] = streams.as_slice() else { panic!("six streams") };
    let meeting = Meeting::of(controller, plan);
    meeting.is_recorded();
    controller.click_start(&meeting.moderator, &streams);
    let shows = |target: &String, status: &str| controller.shows(&meeting.room, target, status);
    let reason = |target: &String| controller.reason(&meeting.moderator, target);

    shows(space, "error");
    let unusable = "The stream cannot begin: the stream key is too long, or contains spaces or control characters.";
    assert_eq!(reason(space), unusable);
    for taken in [quoted, hash, query, dies] {
        shows(taken, "active");
        sees(folder.path(), taken, |seen| seen["state"] == "live");
    }
    shows(refused, "error");
    let wrong_key = "The server ends the connection when the stream is begun: the stream key may be wrong.";
    assert_eq!(reason(refused), wrong_key);
    sees(folder.path(), refused, |seen| seen["fault"]["sentence"] == wrong_key);

    dying.kill();
    let died = Instant::now();
    sees(folder.path(), dies, |seen| seen["state"] == "retrying");
    assert_eq!(controller.what_everybody_sees(&meeting.room, dies), "active", "it may come back");
    shows(dies, "error");
    assert!(died.elapsed() >= Duration::from_secs(5), "after the grace, not before");
    assert_eq!(reason(dies), "The server refuses the connection.");
    sees(folder.path(), dies, |seen| seen["fault"]["sentence"] == "The server refuses the connection.");
    // Wanted again, it is tried again; the server is back.
    dying.come_back();
    controller.click_start(&meeting.moderator, std::slice::from_ref(dies));
    shows(dies, "active");
    for target in [&meeting.recording, quoted, hash, query] {
        assert_eq!(controller.what_everybody_sees(&meeting.room, target), "active", "none disturbs another");
    }
    let mut all = streams.clone();
    all.push(meeting.recording.clone());
    controller.click_stop(&meeting.moderator, &all);
    controller.has_recorders(&meeting.room, 0);
    assert_eq!(meeting.told(), [] as [&str; 0], "no error of the recorder as a whole");

    ends(service, folder.path(), controller, &["the live destination refuses the stream"], &["canary"]);
    // The server writes some of the characters in its own way into the names of its files.
    for key in ["quoted", "hash", "query"] {
        let files: Vec<_> = nginx.all_recordings().into_iter().filter(|(name, _)| name.contains(key)).collect();
        let [(_, file)] = files.as_slice() else { panic!("one stream was received as {key}: {files:?}") };
        assert!(decode(file) >= 30, "{key} shows a few seconds");
    }
    let films = films(&folder.path().join("recordings"));
    let [film] = films.as_slice() else { panic!("one film: {films:?}") };
    assert!(decode(film) >= 100, "the recording went on");
    let events = Book::read(&std::fs::read(film.with_extension("events.jsonl")).expect("events"));
    for target in &all {
        let (mut written, mut told) = (events.told(target), controller.told_everybody(&meeting.moderator, target));
        // What is shown already may be said once more, by us and by the controller.
        written.dedup();
        told.dedup();
        // When a recorder leaves, this controller makes everything inactive by itself.
        let by_itself = told.strip_prefix(written.as_slice()).is_some_and(|rest| rest.iter().all(|shown| shown == "inactive"));
        assert!(by_itself && !written.is_empty(), "{target}: told {told:?}, and written {written:?}");
    }
    let errors: Vec<_> = events.lines("event", "told").filter(|line| line["shown"] == "error").collect();
    let said = |target: &String| errors.iter().find(|line| line["target"] == **target).map(|line| line["message"].clone());
    assert_eq!(said(refused), Some(wrong_key.into()));
    assert_eq!(said(space), Some(unusable.into()));
    let faults: Vec<_> = events.lines("event", "fault").filter(|line| line["target"] == **dies).collect();
    assert!(!faults.is_empty() && faults.len() <= 3, "once for each trouble: {faults:?}");
}

/// Orders that come to nothing, tickets that are too old, words that nobody understands: the next click is answered as ever.
#[test]
fn a_service_outlives_what_its_controller_and_its_broker_do() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let controller = &installation.controller;
    let folder = tempfile::tempdir().expect("folder");
    let service = serve(&installation, folder.path());

    // The controller fails: the moderator is told by the controller, and operators by us.
    controller.misbehave(Misbehaviour::FailStart);
    let failed = Meeting::of(controller, RoomPlan::titled("Failing"));
    failed.click();
    until(LIMIT, "the five seconds are over", || (failed.told() == ["timeout"]).then_some(()));
    failed.shows("inactive");
    let sentence = "The OpenTalk controller gives no ticket for this room.";
    let over = || status(folder.path())["over"][0]["fault"]["sentence"] == sentence;
    until(LIMIT, "operators see why", || over().then_some(()));
    assert_eq!(controller.recorders(&failed.room).len(), 0);

    // Tickets are too old when they come: another one is asked for.
    controller.misbehave(Misbehaviour::ExpireTickets);
    let starts = controller.starts();
    let late = Meeting::of(controller, RoomPlan::titled("Late"));
    late.click();
    until(LIMIT, "a second ticket", || (controller.starts() >= starts + 2).then_some(()));
    controller.misbehave(Misbehaviour::None);
    late.shows("active");
    assert_eq!(late.told(), [] as [&str; 0]);
    late.stop();

    // What is no command is dropped; a command behind it is not.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for body in ["canary-no-json", "{\"room\":\"canary\"}", ""] {
        runtime.block_on(async { installation.broker.somebody().await.publish(QUEUE, body.as_bytes()).await });
    }
    // A kind of Target that nobody knows: an error by itself.
    let mut plan = RoomPlan::titled("Weekly");
    plan.streams.push(StreamPlan {
        id: "7d9e3f0c-1111-4222-8333-944455566677".into(),
        name: "x".into(),
        kind: "holodeck".into(),
        location: None,
    });
    let odd = plan.streams[0].id.clone();
    let meeting = Meeting::of(controller, plan);
    controller.click_start(&meeting.moderator, &[meeting.recording.clone(), odd.clone()]);
    meeting.shows("active");
    controller.shows(&meeting.room, &odd, "error");
    assert_eq!(controller.reason(&meeting.moderator, &odd), "This kind of target is not supported.");

    // Messages that are no JSON are passed over; one that is too large costs a connection, and no recording.
    controller.misbehave(Misbehaviour::Garbage);
    let bob = controller.joins(&meeting.room, Kind::Guest, "Bob");
    let people = || status(folder.path())["sessions"][0]["people"].as_u64();
    until(LIMIT, "Bob is seen behind it", || people().filter(|people| *people == 2));
    controller.misbehave(Misbehaviour::Oversized);
    let lost = || service.log().matches("the OpenTalk room is lost").count();
    let (starts, losses) = (controller.starts(), lost());
    controller.leaves(&bob);
    until(LIMIT, "the connection is given up", || (lost() > losses).then_some(()));
    controller.misbehave(Misbehaviour::None);
    until(LIMIT, "another ticket", || (controller.starts() > starts).then_some(()));
    until(LIMIT, "Bob is not seen any more", || people().filter(|people| *people == 1));
    meeting.shows("active");
    meeting.stop();
    assert_eq!(meeting.told(), [] as [&str; 0], "no error of the recorder as a whole");

    let outcome = ends(service, folder.path(), controller, &[], &["canary"]);
    assert!(outcome.log.contains("its field room is no UUID"), "{}", outcome.log);
    let films = films(&folder.path().join("recordings"));
    let [_, film] = films.as_slice() else { panic!("a film of each room that was recorded: {films:?}") };
    assert!(decode(film) >= 10);
    let events = Book::read(&std::fs::read(film.with_extension("events.jsonl")).expect("events"));
    let count = |about: &str| events.lines("event", about).count();
    let counts = ["take_began", "joined", "left", "room_lost", "room_entered"].map(count);
    assert_eq!((counts[0], counts[1], counts[2]), (1, 2, 1), "one Take, Ada and Bob, and Bob has left: {events:?}");
    assert!(counts[3] >= 1 && counts[4] >= 1, "{events:?}");
}
