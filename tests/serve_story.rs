//! A whole meeting in a whole OpenTalk installation: who agreed is recorded and streamed, nobody else is, and the books say the same as the films and
//! as what the moderator was told. And how long a moderator waits.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use world::books::{Book, seconds_after};
use world::controller::{Controller, Kind, Person, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::film::Film;
use world::film::judge::Judge;
use world::meeting::Meeting;
use world::opentalk::{Installation, OPERATORS, films, keep_if_asked, operators_see};
use world::recording::{film_begins, name, one_room_at_a_time, tiles_of_up_to_four};
use world::rtmp::Nginx;
use world::s3::S3Server;
use world::{after, rabbitmq};

const LOOK: &str = "[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n";
/// Tiles of [`tiles_of_up_to_four`].
const FIRST_OF_TWO: usize = 5;
const SECOND_OF_TWO: usize = 6;
const ALONE: usize = 7;
/// What is promised is asserted at three times that, because others use the machine, too.
const TOLERANCE: f64 = 3.0;

/// When the people of the story did what matters, on both clocks.
struct Deeds {
    clicked: Instant,
    streamed: Instant,
    withdrew: (Instant, SystemTime),
    agreed: (Instant, SystemTime),
}

/// Ada always agrees, Björn late, Chiara withdraws, Djamila never does, and Emre calls by telephone, where nobody can ask him. A person who watches the
/// recording or a stream sees and hears each of them exactly while they had agreed, and nobody else.
#[test]
fn who_agreed_is_recorded_and_streamed_and_the_books_say_so() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let (storage, nginx) = (S3Server::start(), Nginx::start());
    let folder = tempfile::tempdir().expect("folder");
    let recordings = folder.path().join("recordings");
    let more = format!(
        "{LOOK}[serve]\nrecordings = [\"{}/{{start}}.mp4\", \"s3://recordings/{{room}}/{{start}}.mp4\"]\n\
         [storage]\nendpoint = \"{}\"\naccess_key = \"{}\"\n[live]\nallowed_addresses = [\"127.0.0.1\"]\n",
        recordings.display(),
        storage.url(),
        world::s3::ACCESS_KEY,
    );
    let service = installation.serve(folder.path(), &more, &[("ROOMCAST_STORAGE__SECRET_KEY", world::s3::SECRET_KEY)]);

    let address = |key: &str| format!("{}/{key}", nginx.address());
    let plan = RoomPlan::titled("Weekly")
        .streaming_to("one", &address("good-canary-one"))
        .streaming_to("two", &address("good-canary-two"));
    let streams: Vec<String> = plan.streams.iter().map(|stream| stream.id.clone()).collect();
    let [one, two] = streams.as_slice() else { panic!("two streams") };
    let room = controller.plan(plan);
    let mut crowd = Crowd::gather(5);
    let kinds = [Kind::Moderator, Kind::Guest, Kind::Guest, Kind::Guest, Kind::Caller];
    let people: Vec<_> =
        kinds.iter().enumerate().map(|(person, kind)| controller.joins_as(&room, *kind, name(person), &who(person))).collect();
    let telephone = Joining::calling(4);
    crowd.join_all(livekit, &room, &[Joining::usual(0), Joining::usual(1), Joining::usual(2), Joining::usual(3), telephone]);
    controller.consent(&people[0], true);
    controller.consent(&people[2], true);
    let recording = controller.recording_target(&room);
    let now = || (Instant::now(), SystemTime::now());

    let clicked = Instant::now();
    controller.click_start(&people[0], std::slice::from_ref(&recording));
    controller.shows(&room, &recording, "active");
    after(clicked, 2.0);
    let streamed = Instant::now();
    controller.click_start(&people[0], &streams);
    controller.shows(&room, one, "active");
    controller.shows(&room, two, "active");
    after(clicked, 8.0);
    controller.consent(&people[2], false);
    let withdrew = now();
    after(clicked, 12.0);
    // From this instant on he may be heard.
    let agreed = now();
    controller.consent(&people[1], true);
    let seen = ["/status", "/metrics"].map(|path| operators_see(folder.path(), path)).concat() + &service.argument_lists();
    after(clicked, 15.0);
    controller.click_stop(&people[0], std::slice::from_ref(one));
    controller.shows(&room, one, "inactive");
    assert_eq!([&recording, two].map(|target| controller.what_everybody_sees(&room, target)), ["active"; 2]);
    after(clicked, 18.0);
    controller.click_stop(&people[0], &[recording.clone(), two.clone()]);
    controller.has_recorders(&room, 0);
    let deeds = Deeds { clicked, streamed, withdrew, agreed };
    assert_eq!(controller.moderator_was_told(&people[0]), [] as [&str; 0], "no error");

    service.signal(Signal::SIGTERM);
    let outcome = service.finish(Duration::from_secs(30));
    let film = films(&recordings).first().cloned().expect("the recording is a file");
    keep_if_asked(&film, &outcome.log);
    outcome.is_well();
    let mut secrets: Vec<String> = controller.secrets();
    assert!(secrets.len() >= 2, "a ticket and an access token");
    let known =
        [world::keycloak::SECRET, rabbitmq::PASSWORD, OPERATORS, world::livekit::API_SECRET, world::s3::SECRET_KEY, "canary"];
    secrets.extend(known.map(str::to_owned));
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    outcome.keeps_secret(folder.path(), &secrets);
    assert!(seen.contains("roomcast_") && seen.contains(&recording), "{seen}");
    assert!(!secrets.iter().any(|secret| seen.contains(secret)), "a secret is in the status, the metrics or an argument list");
    for person in 0..5 {
        assert!(!outcome.log.contains(name(person)), "{} is named in the log", name(person));
    }
    for person in [2, 3, 4] {
        assert!(!seen.contains(name(person)), "{} is named to operators", name(person));
    }

    // The object is the file, and so are its books.
    let stem = film.with_extension("");
    let books = ["ledger.jsonl", "events.jsonl"].map(|ending| std::fs::read(stem.with_extension(ending)).expect("a book"));
    let key = |ending: &str| format!("{room}/{}.{ending}", stem.file_name().expect("a name").to_string_lossy());
    assert_eq!(storage.keys(), ["events.jsonl", "ledger.jsonl", "mp4"].map(key));
    assert!(storage.object(&key("mp4")) == std::fs::read(&film).expect("a film"));
    assert_eq!(storage.content_type(&key("mp4")).as_deref(), Some("video/mp4"));
    for (ending, book) in ["ledger.jsonl", "events.jsonl"].iter().zip(&books) {
        assert!(storage.object(&key(ending)) == *book, "{ending}");
        assert_eq!(storage.content_type(&key(ending)).as_deref(), Some("application/x-ndjson"));
    }
    let [ledger, events] = books.each_ref().map(|book| Book::read(book));

    let film = Film::watch(&film, &tiles_of_up_to_four());
    let mut judge = Judge::new(&film);
    judge.decodes_clean().has_constant_rate(30.0);
    let withdrawn_s = as_agreed(&mut judge, &film, &crowd, &deeds, deeds.clicked, 2.0);
    ledger_says(&mut judge, &ledger, &deeds, withdrawn_s);
    events_say(&mut judge, &events, controller, &people[0], [&recording, one, two]);
    judge.finish();
    for (key, seconds) in [("good-canary-one", 12.0), ("good-canary-two", 15.0)] {
        let files = nginx.recordings(key);
        let [file] = files.as_slice() else { panic!("one stream was received as {key}: {files:?}; {}", nginx.log()) };
        let film = Film::watch(file, &tiles_of_up_to_four());
        let mut judge = Judge::new(&film);
        let shown = film.pictures.last().map_or(0.0, |last| last.at_s) - film.pictures.first().map_or(0.0, |first| first.at_s);
        judge.promise((seconds - 1.5..seconds + 1.2).contains(&shown), format!("{key} shows {shown:.1} s of about {seconds} s"));
        as_agreed(&mut judge, &film, &crowd, &deeds, deeds.streamed, 3.0);
        judge.finish();
    }
    crowd.disperse();
}

/// Everybody is in the film exactly while they had agreed. Gives when the withdrawal was, in the film.
fn as_agreed(judge: &mut Judge<'_>, film: &Film, crowd: &Crowd, deeds: &Deeds, began: Instant, settled: f64) -> f64 {
    let begins = film_begins(film, FIRST_OF_TWO, crowd, began);
    let at = |instant: Instant| instant.saturating_duration_since(begins).as_secs_f64();
    let (withdrawn, agreed) = (at(deeds.withdrew.0), at(deeds.agreed.0));
    let end = film.pictures.last().map_or(0.0, |last| last.at_s) - 0.3;
    // What was said just before it, and is not mixed yet, is discarded, too.
    let both = settled..withdrawn - 0.8;
    judge.shows(FIRST_OF_TWO, 0, both.clone()).shows(SECOND_OF_TWO, 2, both.clone());
    judge.hears(0, 25.0, settled..end).hears(2, 25.0, both.clone());
    // Nothing captured later than one second after the withdrawal is anywhere.
    judge.shows(ALONE, 0, withdrawn + 1.0..agreed - 0.2).hears_not(2, withdrawn + 1.0..end);
    judge.shows(FIRST_OF_TWO, 0, agreed + 1.5..end).shows(SECOND_OF_TWO, 1, agreed + 1.5..end);
    judge.hears_not(1, 0.0..agreed).hears(1, 25.0, agreed + 1.5..end);
    judge.hears_not(3, 0.0..end).hears_not(4, 0.0..end);
    withdrawn
}

fn ledger_says(judge: &mut Judge<'_>, ledger: &Book, deeds: &Deeds, withdrawn_s: f64) {
    let given: Vec<_> = ledger.lines("entry", "given").map(|line| (line["name"].as_str(), line["by"].as_str())).collect();
    let expected = [(0, "control join_success"), (2, "control join_success"), (1, "control update")];
    let expected = expected.map(|(person, by)| (Some(name(person)), Some(by)));
    let is_told = given.len() == 3 && expected.iter().all(|one| given.contains(one)) && given[2] == expected[2];
    judge.promise(is_told, format!("the ledger says of who agreed: {given:?}"));
    let withdrawn: Vec<&Value> = ledger.lines("entry", "withdrawn").collect();
    let of_chiara = ledger.lines("entry", "given").find(|line| line["name"] == name(2)).map(|line| &line["who"]);
    let is_told = matches!(withdrawn.as_slice(), [one] if Some(&one["who"]) == of_chiara && one["name"].is_null());
    judge.promise(is_told, format!("and of who withdrew: {withdrawn:?}"));
    let agreed = ledger.lines("entry", "given").last();
    let late: Vec<f64> = [(withdrawn.first().copied(), deeds.withdrew.1), (agreed, deeds.agreed.1)]
        .iter()
        .filter_map(|(line, since)| Some(seconds_after(*since, (*line)?)))
        .collect();
    let in_time = late.len() == 2 && late.iter().all(|late| (-0.2..0.5).contains(late));
    judge.promise(in_time, format!("so many seconds after they did: {late:.3?}"));
    let film_s = withdrawn.first().and_then(|line| line["film_s"].as_f64()).unwrap_or(f64::NAN);
    judge.promise((film_s - withdrawn_s).abs() < 0.4, format!("in the film at {film_s:.2} s, seen at {withdrawn_s:.2} s"));
    judge.promise(ledger.is_closed("entry"), "the ledger is complete");
    let text = format!("{ledger:?}");
    judge.promise(!text.contains(name(3)) && !text.contains(name(4)), "it names nobody who has not agreed");
}

fn events_say(judge: &mut Judge<'_>, events: &Book, controller: &Controller, moderator: &Person, targets: [&String; 3]) {
    for target in targets {
        let (written, told) = (events.told(target), controller.told_everybody(moderator, target));
        judge.promise(written == told && told.contains(&"active".to_owned()), format!("told {told:?}, and written {written:?}"));
        let takes = |about: &str| events.lines("event", about).filter(|line| line["target"] == **target).count();
        judge.promise((takes("take_began"), takes("take_ended")) == (1, 1), "one Take of each");
    }
    let joined = events.lines("event", "joined").count();
    judge.promise(joined == 5 && events.lines("event", "calls_in").count() == 1, format!("{joined} people have joined"));
    judge.promise(events.lines("event", "fault").count() == 0, "nothing went wrong");
    judge.promise(events.is_closed("event"), "the events are complete");
    let text = format!("{events:?}");
    let unnamed = [1, 3, 4].iter().all(|person| !text.contains(name(*person)));
    judge.promise(unnamed, "nobody is named before they agreed");
}

/// A small, quick recording.
const SMALL: &str = "[programme]\nsize = \"320x180\"\nfps = 10\n";

/// The books of the newest recording of a folder.
fn newest_books(folder: &Path) -> [Book; 2] {
    let newest = films(folder).pop().expect("a film");
    ["ledger.jsonl", "events.jsonl"].map(|ending| Book::read(&std::fs::read(newest.with_extension(ending)).expect("a book")))
}

/// Of so many clicks, the one that only one in twenty is slower than.
fn p95(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let index = (seconds.len() * 95).div_ceil(100) - 1;
    seconds[index]
}

/// Twenty recordings of one room, one after the other, by one service. A caller is in the room whom the operator includes.
#[test]
fn clicks_one_after_the_other_are_answered_at_once() {
    let clicks = std::env::var("ROOMCAST_CLICKS").map_or(6, |text| text.parse().expect("a number"));
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let Installation { controller, livekit, .. } = &installation;
    let folder = tempfile::tempdir().expect("folder");
    let recordings = folder.path().join("recordings");
    let more = format!(
        "{SMALL}{LOOK}[serve]\ncall_in_without_consent = \"include\"\nrecordings = [\"{}/{{start}}-{{session}}.mp4\"]\n",
        recordings.display()
    );
    let service = installation.serve(folder.path(), &more, &[]);
    let room = controller.plan(RoomPlan::titled("Weekly"));
    let mut crowd = Crowd::gather(5);
    let ada = controller.joins_as(&room, Kind::Moderator, name(0), &who(0));
    let caller = controller.joins_as(&room, Kind::Caller, name(4), &who(4));
    crowd.join(livekit, &room, &Joining::calling(4));
    let target = controller.recording_target(&room);

    let begun = Instant::now();
    let (mut first_frames, mut actives) = (Vec::new(), Vec::new());
    for number in 1..=clicks {
        let (clicked, at) = (Instant::now(), SystemTime::now());
        controller.click_start(&ada, std::slice::from_ref(&target));
        controller.shows(&room, &target, "active");
        actives.push(clicked.elapsed().as_secs_f64());
        if number == clicks {
            // Long enough to hear something.
            after(clicked, 4.0);
        }
        controller.click_stop(&ada, std::slice::from_ref(&target));
        controller.has_recorders(&room, 0);
        // Five seconds after a click this controller looks whether anything is still starting, whoever has started it.
        after(clicked, 5.5);
        assert_eq!(films(&recordings).len(), number);
        let [_, events] = newest_books(&recordings);
        let began = events.lines("event", "take_began").next().expect("a Take");
        first_frames.push(seconds_after(at, began));
    }
    let took_s = begun.elapsed().as_secs_f64();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (first_frame, active) = (p95(first_frames), p95(actives));
    println!(
        "p95 of {clicks} clicks: {first_frame:.2} s to the first programme frame (1 s), {active:.2} s to active (2 s); load {load}"
    );
    println!("{clicks} recordings in sequence took {took_s:.0} s");
    assert!(first_frame <= TOLERANCE && active <= 2.0 * TOLERANCE);

    service.signal(Signal::SIGTERM);
    let outcome = service.finish(Duration::from_secs(20));
    outcome.is_well();
    let [ledger, events] = newest_books(&recordings);
    let included: Vec<_> = ledger.lines("entry", "included").collect();
    assert_eq!((included.len(), ledger.lines("entry", "given").count()), (1, 0), "{ledger:?}");
    assert!(!format!("{ledger:?}{events:?}").contains(name(4)), "included is not agreed");
    let film = Film::watch(&films(&recordings).pop().expect("a film"), &[]);
    let mut judge = Judge::new(&film);
    judge.decodes_clean().hears(4, 25.0, 1.0..film.duration_s - 0.3).finish();
    controller.leaves(&caller);
    crowd.disperse();
}

/// Overnight nobody records, and the access token expires again and again. The first click of the morning is answered in time.
#[test]
fn the_first_click_after_a_night_is_answered_in_time() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let controller = &installation.controller;
    let folder = tempfile::tempdir().expect("folder");
    let recordings = folder.path().join("recordings");
    let more = format!("{SMALL}[serve]\nconsent = \"not_asked\"\nrecordings = [\"{}/{{start}}.mp4\"]\n", recordings.display());
    // A client whose tokens live for 4 s: this night is over after three of them.
    let service = installation.serve_as("ShortLived", folder.path(), &more, &[]);
    let begun = Instant::now();
    after(begun, 12.0);
    let meeting = Meeting::weekly(controller);
    let clicked = Instant::now();
    meeting.is_recorded();
    let active_s = clicked.elapsed().as_secs_f64();
    println!("first click after a night: {active_s:.2} s to active (5 s)");
    assert!(active_s <= 5.0);
    assert_eq!(controller.starts(), 1, "with a token that is good");
    // Five seconds after a click this controller asks whether anything is active.
    after(clicked, 5.5);
    assert_eq!(meeting.told(), [] as [&str; 0]);
    meeting.stop();
    service.signal(Signal::SIGTERM);
    service.finish(Duration::from_secs(20)).is_well();
}
