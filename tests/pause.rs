//! Pause and resume as a moderator does it: what the recording keeps, what the stream shows meanwhile, and what a crash in between costs.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use world::controller::{Kind, Person, RoomPlan};
use world::crowd::{Crowd, Joining, who};
use world::family::{Family, Role, send};
use world::film::judge::Judge;
use world::film::{Film, TileRect};
use world::opentalk::{Installation, OPERATORS, films, keep_if_asked};
use world::product::Product;
use world::recording::{name, one_room_at_a_time};
use world::rtmp::{Nginx, Tag, read_flv};
use world::{after, rabbitmq, until};

const LOOK: &str = "[strip]\nshow = false\n[layout]\ndefault = \"grid\"\n";
/// The only person, alone in the picture.
const ADA: usize = 0;
const FPS: f64 = 30.0;
/// By then a person who was in the room when it began is received.
const SETTLED_S: f64 = 2.0;
/// AVC and AAC as FLV names them (Adobe FLV 10.1, E.4).
const SOUND: u8 = 8;
const VIDEO: u8 = 9;

fn whole() -> [TileRect; 1] {
    [TileRect { x: 0, y: 0, width: 1280, height: 720 }]
}

/// A room with a recording and two streams, which Ada moderates and is alone in.
struct Meeting<'a> {
    installation: &'a Installation,
    nginx: Nginx,
    folder: tempfile::TempDir,
    service: Product,
    room: String,
    crowd: Crowd,
    ada: Person,
    recording: String,
    streams: Vec<String>,
}

impl<'a> Meeting<'a> {
    fn begin(installation: &'a Installation) -> Meeting<'a> {
        let Installation { controller, livekit, .. } = installation;
        let (nginx, folder) = (Nginx::start(), tempfile::tempdir().expect("folder"));
        let recordings = folder.path().join("recordings");
        let more = format!(
            "{LOOK}[serve]\nrecordings = [\"{}/{{start}}-{{room}}.mp4\"]\n[live]\nallowed_addresses = [\"127.0.0.1\"]\n",
            recordings.display()
        );
        let service = installation.serve(folder.path(), &more, &[]);
        let plan = RoomPlan::titled("Weekly")
            .streaming_to("paused", &format!("{}/good-canary-paused", nginx.address()))
            .streaming_to("steady", &format!("{}/good-canary-steady", nginx.address()));
        let streams = plan.streams.iter().map(|stream| stream.id.clone()).collect();
        let room = controller.plan(plan);
        let mut crowd = Crowd::gather(1);
        let ada = controller.joins_as(&room, Kind::Moderator, name(ADA), &who(ADA));
        crowd.join_all(livekit, &room, &[Joining::usual(ADA)]);
        controller.consent(&ada, true);
        let recording = controller.recording_target(&room);
        Meeting { installation, nginx, folder, service, room, crowd, ada, recording, streams }
    }

    fn shows(&self, targets: &[String], light: &str) {
        targets.iter().for_each(|target| self.installation.controller.shows(&self.room, target, light));
    }

    fn start(&self, targets: &[String]) {
        self.installation.controller.click_start(&self.ada, targets);
    }

    fn pause(&self, targets: &[String]) {
        self.installation.controller.click_pause(&self.ada, targets);
    }

    /// Stops everything and ends the service, and gives the recording.
    fn end(self, targets: &[String], look: impl FnOnce(&Nginx, &Path)) {
        let controller = &self.installation.controller;
        controller.click_stop(&self.ada, targets);
        controller.has_recorders(&self.room, 0);
        let recordings = self.folder.path().join("recordings");
        let film = until(Duration::from_secs(20), "the recording is a file", || films(&recordings).first().cloned());
        self.service.signal(Signal::SIGTERM);
        let outcome = self.service.finish(Duration::from_secs(20));
        keep_if_asked(&film, &outcome.log);
        outcome.is_well();
        let secrets = [world::keycloak::SECRET, rabbitmq::PASSWORD, OPERATORS, "canary-paused", "canary-steady"];
        outcome.keeps_secret(self.folder.path(), &secrets);
        look(&self.nginx, &film);
        self.crowd.disperse();
    }
}

/// What a stream is, tag by tag: times on their grids without a gap, and one header of each codec.
fn is_one_stream(tags: &[Tag]) {
    let of = |kind: u8, what: u8| tags.iter().filter(move |tag| tag.kind == kind && tag.body[1] == what);
    for kind in [VIDEO, SOUND] {
        // This server may write down at the beginning what it knows of a stream, and then the same once more as it comes.
        let is = |what: u8| move |tag: &Tag| tag.kind == kind && tag.body[1] == what;
        let (last, first) = (tags.iter().rposition(is(0)), tags.iter().position(is(1)));
        assert!(last.is_some() && last < first, "a header comes before its media, and never again");
        let mut headers = of(kind, 0).map(|tag| &tag.body);
        let header = headers.next().expect("a header");
        assert!(headers.all(|other| other == header), "one header of each codec");
    }
    assert!(tags.is_sorted_by_key(|tag| tag.time_ms), "times go back");
    for (kind, step_ms) in [(VIDEO, 1000.0 / FPS), (SOUND, 1024.0 / 48.0)] {
        let times: Vec<u32> = of(kind, 1).map(|tag| tag.time_ms).collect();
        let first = f64::from(*times.first().expect("media"));
        for (n, time) in times.iter().enumerate() {
            let due = first + n as f64 * step_ms;
            assert!((f64::from(*time) - due).abs() <= 1.01, "{n} of {kind}: {time} ms, due {due:.1}");
        }
    }
}

/// Which pictures are the slate: its ground in the corners and at the sides, and white words in the middle. Read small, by ffmpeg.
fn slates(path: &Path) -> Vec<bool> {
    const WIDTH: usize = 160;
    const HEIGHT: usize = 90;
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", "scale=160:90:flags=area,format=gray", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let is_slate = |picture: &[u8]| {
        let at = |x: usize, y: usize| picture[y * WIDTH + x];
        let ground = [(4, 4), (155, 4), (4, 85), (155, 85), (4, 45), (155, 45), (80, 10), (80, 80)];
        // #14161c is 22 of 255, as grey is written.
        let is_ground = ground.iter().all(|(x, y)| (16..=28).contains(&at(*x, *y)));
        let words = (HEIGHT * 2 / 5..HEIGHT * 3 / 5).flat_map(|y| (20..140).map(move |x| (x, y)));
        is_ground && words.filter(|(x, y)| at(*x, *y) > 100).count() > 30
    };
    output.stdout.chunks_exact(WIDTH * HEIGHT).map(is_slate).collect()
}

/// Stretches of equal values: numbers of their first pictures and the ones behind their last, and the value.
fn stretches(values: &[bool]) -> Vec<(Range<usize>, bool)> {
    let mut at = 0;
    let runs = values.chunk_by(|a, b| a == b).map(|run| {
        let from = at;
        at += run.len();
        (from..at, run[0])
    });
    runs.collect()
}

fn seconds(pictures: &Range<usize>) -> Range<f64> {
    pictures.start as f64 / FPS..pictures.end as f64 / FPS
}

/// The largest step from one sample to the next.
fn largest_step(film: &Film, range: Range<f64>) -> f32 {
    let sound = film.sound();
    let index = |at: f64| (((at - sound.start_s) * 48_000.0).max(0.0) as usize).min(sound.samples.len());
    let samples = &sound.samples[index(range.start)..index(range.end)];
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// A recording and a stream are paused and resumed together, while another stream goes on.
fn pauses(times: usize, cycle_s: f64) {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let meeting = Meeting::begin(&installation);
    let [paused, steady] = [meeting.streams[0].clone(), meeting.streams[1].clone()];
    let together = [meeting.recording.clone(), paused.clone()];
    let all = [meeting.recording.clone(), paused, steady.clone()];
    meeting.start(&all);
    meeting.shows(&all, "active");
    let begun = Instant::now();
    for n in 0..times {
        after(begun, 1.0 + n as f64 * cycle_s);
        meeting.pause(&together);
        meeting.shows(&together, "paused");
        after(begun, 1.0 + (n as f64 + 0.5) * cycle_s);
        meeting.start(&together);
        meeting.shows(&together, "active");
    }
    after(begun, 1.0 + times as f64 * cycle_s + 1.0);
    meeting.end(&all, |nginx, film| {
        let one = |name: &str| match &nginx.recordings(name)[..] {
            [file] => file.clone(),
            several => panic!("one connection of {name}: {several:?}\n{}", nginx.log()),
        };
        // The other one has never heard of it.
        let steady = one("good-canary-steady");
        is_one_stream(&read_flv(&steady));
        let steady = Film::watch(&steady, &whole());
        let mut judge = Judge::new(&steady);
        let all = SETTLED_S..steady.duration_s - 0.3;
        judge.decodes_clean().shows(0, ADA, all.clone()).hears(ADA, 25.0, all);
        judge.finish();

        let stream = one("good-canary-paused");
        is_one_stream(&read_flv(&stream));
        let shown = stretches(&slates(&stream));
        let stream = Film::watch(&stream, &whole());
        let mut judge = Judge::new(&stream);
        judge.decodes_clean();
        judge.promise(shown.len() == 2 * times + 1, format!("programme and slate take turns: {shown:?}"));
        let usual_step = largest_step(&stream, SETTLED_S..SETTLED_S + 1.2);
        for (pictures, is_slate) in &shown {
            let Range { start, end } = seconds(pictures);
            if *is_slate {
                judge.promise(
                    (end - start - cycle_s / 2.0).abs() < 0.4,
                    format!("a pause shows the slate from {start:.2} to {end:.2} s"),
                );
                // A frame that reaches over an end is silence.
                judge.hears_not(ADA, start + 0.01..end - 0.01);
                let loudest = largest_step(&stream, start + 0.03..end - 0.03);
                judge.promise(loudest < 0.001, format!("silence from {start:.2} to {end:.2} s: steps of {loudest}"));
                for edge in [start, end] {
                    let step = largest_step(&stream, edge - 0.05..edge + 0.05);
                    judge.promise(step <= usual_step * 1.2, format!("no click at {edge:.2} s: {step} after {usual_step}"));
                }
            } else {
                let start = start.max(SETTLED_S);
                // Times in a stream are whole milliseconds, so the slate's first picture may seem to lie before its time.
                let half_s = 0.5 / FPS;
                judge.shows(0, ADA, start - half_s..end - half_s).hears(ADA, 25.0, start + 0.07..end - 0.07);
            }
        }
        judge.finish();

        let recording = Film::watch(film, &whole());
        let mut judge = Judge::new(&recording);
        judge.decodes_clean().has_constant_rate(FPS).shows(0, ADA, SETTLED_S..recording.duration_s - 0.05);
        judge.promise(!slates(film).contains(&true), "the slate is not in the recording");
        // Takes of recording and stream are cut at the same wishes, which are a moment apart: each Take differs by a picture at most. The stream
        // begins at a later keyframe, which the first Take leaves open.
        let of_stream: Vec<usize> = shown.iter().filter(|(_, is_slate)| !is_slate).map(|(pictures, _)| pictures.len()).collect();
        let counters: Vec<u32> = recording.pictures.iter().filter_map(|picture| picture.tiles[0].counter).collect();
        let mut takes = vec![1_usize];
        for pair in counters.windows(2) {
            match (pair[1] + 300 - pair[0]) % 300 {
                0..10 => *takes.last_mut().expect("one") += 1,
                _ => takes.push(1),
            }
        }
        println!("pictures of the Takes: recording {takes:?}, stream {of_stream:?}");
        judge.promise(takes.len() == times + 1, format!("{} Takes are in the recording: {takes:?}", times + 1));
        for (take, of_stream) in takes.iter().zip(&of_stream).skip(1) {
            judge.promise(take.abs_diff(*of_stream) <= 2, format!("a Take of {take} pictures, and {of_stream} in the stream"));
        }
        let pictures = recording.pictures.len();
        judge.promise(
            (recording.duration_s - pictures as f64 / FPS).abs() < 0.05,
            format!("{pictures} pictures last {:.3} s", recording.duration_s),
        );
        judge.finish();
    });
}

/// Every three seconds; `scripts/campaign` does it for a minute.
#[test]
fn a_paused_stream_shows_the_slate_and_everything_goes_on_without_a_gap() {
    let times = std::env::var("ROOMCAST_PAUSES").map_or(5, |text| text.parse().expect("a number"));
    pauses(times, 3.0);
}

/// With everything paused nobody is received and next to nothing is done; a worker that is killed meanwhile is replaced by one that is paused, too.
#[test]
fn everything_paused_survives_a_killed_worker_and_comes_back() {
    let _alone = one_room_at_a_time();
    let installation = Installation::start();
    let meeting = Meeting::begin(&installation);
    let both = [meeting.recording.clone(), meeting.streams[0].clone()];
    meeting.start(&both);
    meeting.shows(&both, "active");
    after(Instant::now(), 2.0);
    meeting.pause(&both);
    meeting.shows(&both, "paused");
    let paused = Instant::now();
    after(paused, 2.0);
    let worker = || Family::of(meeting.service.pid()).the(Role::Worker);
    let first = worker().expect("a worker");
    let cpu = || world::cpu_of_process(first);
    let (before, since) = (cpu(), Instant::now());
    after(paused, 7.0);
    let cores = (cpu() - before) / since.elapsed().as_secs_f64();
    println!("a paused worker takes {:.1} % of a core", cores * 100.0);
    assert!(cores < 0.06, "{cores}");
    send(first, Signal::SIGKILL);
    until(Duration::from_secs(20), "another worker", || worker().filter(|pid| *pid != first));
    meeting.shows(&both, "paused");
    let name = "good-canary-paused";
    until(Duration::from_secs(20), "the stream comes back", || (meeting.nginx.recordings(name).len() == 2).then_some(()));
    let back = Instant::now();
    after(back, 4.0);
    meeting.start(&both);
    meeting.shows(&both, "active");
    after(back, 9.0);
    meeting.end(&both, |nginx, film| {
        let recordings = nginx.recordings(name);
        let [before, behind] = &recordings[..] else { panic!("two connections: {recordings:?}") };
        for (stream, begins_with_slate) in [(before, false), (behind, true)] {
            // The server closes the file of a connection that died with what it has.
            is_one_stream(&read_flv(stream));
            let shown = stretches(&slates(stream));
            println!("{shown:?}");
            assert_eq!((shown.len(), shown[0].1), (2, begins_with_slate), "{shown:?}");
        }
        let headers = [before, behind].map(|stream| {
            let headers = read_flv(stream).into_iter().filter(|tag| tag.kind != 18 && tag.body[1] == 0);
            headers.map(|tag| tag.body).collect::<Vec<_>>()
        });
        assert_eq!(headers[0], headers[1], "both workers say the same headers");
        let shown = stretches(&slates(behind));
        let resumed_s = shown[0].0.end as f64 / FPS;
        let stream = Film::watch(behind, &whole());
        let mut judge = Judge::new(&stream);
        let comes =
            stream.pictures.iter().find(|picture| picture.tiles[0].person == Some(ADA)).map_or(f64::MAX, |first| first.at_s);
        println!("Ada is there {:.2} s after the resumption", comes - resumed_s);
        judge.promise(comes - resumed_s < 3.0, format!("Ada is there again {:.2} s after the resumption", comes - resumed_s));
        let rest = comes + 0.5..stream.duration_s - 0.3;
        judge.hears_not(ADA, 0.0..resumed_s).shows(0, ADA, rest.clone()).hears(ADA, 25.0, rest);
        judge.finish();
        let recording = Film::watch(film, &whole());
        let mut judge = Judge::new(&recording);
        judge.decodes_clean().has_constant_rate(FPS);
        judge.promise(!slates(film).contains(&true), "the slate is not in the recording");
        judge.promise((6.0..16.0).contains(&recording.duration_s), format!("the recording lasts {:.1} s", recording.duration_s));
        judge.finish();
    });
}
