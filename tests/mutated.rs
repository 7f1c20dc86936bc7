//! Damaged media, from damaged RTP packets to damaged meetings, through the real decoders: nothing worse than a decoder or a worker that is replaced.
//!
//! `ROOMCAST_MUTATED_SESSIONS` and `ROOMCAST_MUTATED_MEETINGS` say how many; scripts/campaign asks for many.

#![allow(clippy::expect_used, clippy::panic)]

use roomcast_world as world;

#[path = "mutated/mutator.rs"]
mod mutator;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mutator::{Dice, damage, disturb, payloads};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Fit, Rect, Rgb, Scene, Tile};
use recorder_core::time::SessionTime;
use roomcast::decode::Feeds;
use roomcast::graph::{Decoded, DecoderGraph};
use roomcast::ingest::offline::{OfflineContent, OfflinePacket, OfflineStream};
use roomcast::media::{Codec, MediaFrame};
use roomcast::mixer::sound::{SoundMixer, SoundSettings};
use roomcast::mixer::video::VideoMixer;
use roomcast::rehearsal::loops;
use world::codecs::{Rare, ensure};
use world::film::Film;
use world::product::Product;

const CANVAS: CanvasSize = CanvasSize { width_px: 320, height_px: 180 };
/// Pictures of each session.
const PICTURES: usize = 24;
const PICTURE: Duration = Duration::from_millis(33);
/// Samples of both channels that the sound mixer makes in a step.
const BLOCK: usize = 2 * 1024;
/// How many sessions a process plays: others are not lost with it.
const SESSIONS_OF_A_CHILD: u64 = 100;
/// A session takes a tenth of a second; so long only one that hangs.
const HANGS: Duration = Duration::from_secs(60);

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().expect("a number"))
}

/// What is sent: the encoded pictures of one second, the first of them a keyframe, and a second of sound.
struct Material {
    codec: Codec,
    frames: Vec<Vec<u8>>,
    sound: Vec<Vec<u8>>,
}

impl Material {
    /// In each of the codecs.
    fn all() -> Vec<Material> {
        const VP9: usize = 1;
        const H264: usize = 2;
        let folder = loops::cache_folder().expect("a cache folder");
        let set = loops::ensure(&folder, 1, &[loops::Layer::L180]).expect("loops");
        ensure(Rare::Vp9, VP9);
        ensure(Rare::H264, H264);
        let person = &set.people[0];
        let copied = |packets: &[Arc<[u8]>], count: usize| packets.iter().take(count).map(|packet| packet.to_vec()).collect();
        let sound: Vec<Vec<u8>> = copied(&person.sound, 50);
        let read = |name: &str| fs::read(folder.join(name)).expect("a loop");
        let frames_of = |codec| match codec {
            Codec::Vp9 => ivf(&read("bjoern_360_vp9.ivf")).into_iter().take(PICTURES).collect(),
            Codec::H264 => access_units(&read("chiara_360.h264")).into_iter().take(PICTURES).collect(),
            _ => copied(&person.layers[0].main, PICTURES),
        };
        let codecs = [Codec::Vp8, Codec::Vp9, Codec::H264];
        codecs.map(|codec| Material { codec, frames: frames_of(codec), sound: sound.clone() }).into()
    }
}

fn ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while rest.len() > 12 {
        let length = u32::from_le_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
        frames.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    frames
}

/// Each begins with a delimiter.
fn access_units(file: &[u8]) -> Vec<Vec<u8>> {
    const DELIMITER: [u8; 5] = [0, 0, 0, 1, 9];
    let mut starts: Vec<usize> = (0..file.len().saturating_sub(5)).filter(|at| file[*at..*at + 5] == DELIMITER).collect();
    starts.push(file.len());
    starts.windows(2).map(|pair| file[pair[0]..pair[1]].to_vec()).collect()
}

fn track(kind: TrackKind) -> TrackId {
    TrackId::new(ParticipantId::new("ada"), kind)
}

/// What came of one or more sessions.
#[derive(Default)]
struct Tally {
    packets: u64,
    unreadable: u64,
    frames: u64,
    pictures: u64,
    replaced: u64,
}

/// One person whose packets are damaged, from reception to the mixers.
struct Session {
    began: Instant,
    video: OfflineStream,
    sound: OfflineStream,
    feeds: Feeds<DecoderGraph>,
    mixer: VideoMixer,
    sound_mixer: SoundMixer,
    decoded: Receiver<Decoded>,
    sender: Sender<Decoded>,
    now: Duration,
    tally: Tally,
}

impl Session {
    fn new(codec: Codec) -> Session {
        let mut mixer = VideoMixer::new(CANVAS, 30).expect("a mixer");
        let camera = track(TrackKind::Camera);
        let rect = Rect { x: 0, y: 0, width: CANVAS.width_px, height: CANVAS.height_px };
        let participant = ParticipantId::new("ada");
        let tile = Tile { participant, video: Some(camera.clone()), rect, fit: Fit::Cover, label: None, speaking: false };
        let background = Rgb(0, 0, 0);
        let audible = BTreeSet::from([track(TrackKind::Microphone)]).into_iter().collect();
        let scene = Arc::new(Scene { tiles: vec![tile], audible, ..Scene::empty(SessionTime::ZERO, CANVAS, background) });
        mixer.show(scene.clone());
        let mut sound_mixer = SoundMixer::new(SoundSettings::default());
        sound_mixer.show(scene);
        let mut feeds = Feeds::default();
        feeds.show(BTreeSet::from([camera.clone()]));
        let (sender, decoded) = channel();
        let began = Instant::now();
        let delay = Duration::from_millis(500);
        let stream = |content, kind| OfflineStream::new(content, track(kind), began, delay);
        Session {
            began,
            video: stream(OfflineContent::Plain(codec), TrackKind::Camera),
            sound: stream(OfflineContent::Plain(Codec::Opus), TrackKind::Microphone),
            feeds,
            mixer,
            sound_mixer,
            decoded,
            sender,
            now: Duration::ZERO,
            tally: Tally::default(),
        }
    }

    fn session_time(&self) -> SessionTime {
        SessionTime::ZERO + self.now
    }

    /// Packets arrive, and a picture's time passes.
    fn step(&mut self, video: Vec<OfflinePacket>, sound: Vec<OfflinePacket>) {
        let instant = self.began + self.now;
        self.tally.packets += (video.len() + sound.len()) as u64;
        video.into_iter().for_each(|packet| self.video.put(packet, instant));
        sound.into_iter().for_each(|packet| self.sound.put(packet, instant));
        while let Some(frame) = self.video.take(instant) {
            self.tally.frames += 1;
            self.feeds.accept(frame);
        }
        while let Some(frame) = self.sound.take(instant) {
            self.tally.frames += 1;
            self.sound_mixer.offer(frame);
        }
        self.decode(Duration::ZERO);
        self.draw();
        self.now += PICTURE;
    }

    /// Hands on what there is room for, and takes what comes within `patience`.
    fn decode(&mut self, patience: Duration) -> Option<SessionTime> {
        let sender = self.sender.clone();
        let start = |_: &TrackId, codec| {
            let sender = sender.clone();
            DecoderGraph::start(codec, Arc::new(move |decoded| drop(sender.send(decoded))))
        };
        let now = self.session_time();
        self.feeds.advance(now, now, |track| self.mixer.room(track), start);
        let mut newest = None;
        while let Ok(decoded) = self.decoded.recv_timeout(patience) {
            self.tally.pictures += 1;
            newest = Some(decoded.capture);
            self.mixer.offer(&track(TrackKind::Camera), decoded.capture, decoded.picture);
        }
        newest
    }

    fn draw(&mut self) {
        self.mixer.draw(self.session_time());
        let mut block = vec![0.0; BLOCK];
        self.sound_mixer.mix(self.session_time(), &mut block);
        assert!(block.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0), "what is heard is sound");
    }

    /// What is damaged has passed: a whole keyframe is decoded and shown again.
    fn recovers(&mut self, codec: Codec, keyframe: &[u8]) {
        while self.decode(Duration::from_millis(5)).is_some() {}
        // So that whatever was swallowed is seen to be, and the mixer has shown what it had.
        for _ in 0..60 {
            self.now += PICTURE;
            self.decode(Duration::ZERO);
            self.draw();
        }
        // A decoder that breaks takes a frame with it, and a camera is asked for the next keyframe then.
        let is_shown = (0..10).any(|_| {
            self.now += Duration::from_millis(500);
            let capture = self.session_time();
            self.feeds.accept(MediaFrame {
                track: track(TrackKind::Camera),
                codec,
                rtp_time: 0,
                stream: 2,
                capture,
                arrival: capture,
                contiguous: true,
                keyframe: true,
                data: keyframe.into(),
            });
            let begun = Instant::now();
            loop {
                // What a decoder gives late makes room by being passed.
                self.draw();
                match self.decode(Duration::from_millis(10)) {
                    Some(newest) if newest == capture => break true,
                    _ if begun.elapsed() > Duration::from_secs(3) => break false,
                    _ => {}
                }
            }
        });
        assert!(is_shown, "no picture after the damage");
        self.tally.replaced += self.feeds.counts().replaced;
        self.tally.unreadable += self.video.unreadable() + self.sound.unreadable();
    }
}

/// Plays the session of this number.
fn play(number: u64, material: &[Material]) -> Tally {
    let Material { codec, frames, sound } = &material[number as usize % material.len()];
    let mut dice = Dice::new(number);
    // Now the frames themselves, now the network, now both; now a little, now much.
    let (in_frames, in_packets) = ([0, 10, 60][dice.below(3)], [0, 3, 25][dice.below(3)]);
    let mut session = Session::new(*codec);
    let (mut seq, mut sound_seq) = (1 << 16, 1 << 16);
    for (n, frame) in frames.iter().enumerate() {
        let mut frame = frame.clone();
        if dice.percent(in_frames) {
            damage(&mut frame, frames, &mut dice);
        }
        let pieces = payloads(*codec, &frame, n == 0);
        let count = pieces.len();
        let time = (1 << 32) + 3000 * n as u64;
        let packet = |(place, payload): (usize, Vec<u8>)| OfflinePacket {
            seq: seq + place as u64,
            time,
            marker: place + 1 == count,
            payload,
        };
        let mut video: Vec<_> = pieces.into_iter().enumerate().map(packet).collect();
        seq += count as u64;
        disturb(&mut video, in_packets, &mut dice);
        let spoken = (n * 33 / 20..(n + 1) * 33 / 20).map(|n| {
            let mut payload = sound[n % sound.len()].clone();
            if dice.percent(in_frames) {
                damage(&mut payload, sound, &mut dice);
            }
            sound_seq += 1;
            OfflinePacket { seq: sound_seq, time: (1 << 32) + 960 * n as u64, marker: false, payload }
        });
        let mut spoken: Vec<_> = spoken.collect();
        disturb(&mut spoken, in_packets, &mut dice);
        session.step(video, spoken);
    }
    session.recovers(*codec, &frames[0]);
    session.tally
}

/// Not a test of its own: what the processes of the test below do. They write down which session they begin, so that it is known when they die of it. It stands
/// here because Cargo builds no other program for a single test: an example, or a program of another package, would be an old one, or missing, under `--test`.
#[test]
#[ignore = "the part that runs in processes of their own"]
fn child() {
    let (from, to) = (number("ROOMCAST_MUTATED_FROM", 0), number("ROOMCAST_MUTATED_TO", 3));
    let progress = std::env::var("ROOMCAST_MUTATED_PROGRESS").unwrap_or("/dev/null".into());
    gstreamer::init().expect("GStreamer");
    let material = Material::all();
    let mut all = Tally::default();
    for number in from..to {
        fs::write(&progress, number.to_string()).expect("progress");
        let Tally { packets, unreadable, frames, pictures, replaced } = play(number, &material);
        all.packets += packets;
        all.unreadable += unreadable;
        all.frames += frames;
        all.pictures += pictures;
        all.replaced += replaced;
    }
    let Tally { packets, unreadable, frames, pictures, replaced } = all;
    println!("tally {packets} {unreadable} {frames} {pictures} {replaced}");
}

/// How a process of sessions ended.
enum End {
    /// Well, with its figures.
    Well(Vec<u64>),
    /// By a signal, in this session: a decoder has crashed.
    Crashed { session: u64, signal: i32 },
}

/// Plays these sessions in a process of their own. A panic and a hang are failures.
fn in_a_child(from: u64, to: u64, folder: &Path) -> End {
    let (progress, output) = (folder.join("progress"), folder.join("output"));
    fs::write(&progress, from.to_string()).expect("progress");
    let out = fs::File::create(&output).expect("output");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("ROOMCAST_MUTATED_FROM", from.to_string())
        .env("ROOMCAST_MUTATED_TO", to.to_string())
        .env("ROOMCAST_MUTATED_PROGRESS", &progress)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("output"))
        .stderr(out)
        .spawn()
        .expect("a child");
    let session = || fs::read_to_string(&progress).ok().and_then(|text| text.parse().ok()).unwrap_or(from);
    let said = || String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned();
    let (mut seen, mut since) = (from, Instant::now());
    loop {
        if let Some(status) = world::wait(&mut child, Duration::from_secs(1)) {
            if let Some(signal) = status.signal() {
                return End::Crashed { session: session(), signal };
            }
            assert!(status.success(), "session {}: {status}\n{}", session(), said());
            let said = said();
            let tally = said.lines().find_map(|line| line.split_once("tally ").map(|(_, figures)| figures)).expect("figures");
            return End::Well(tally.split_whitespace().map(|word| word.parse().expect("a number")).collect());
        }
        if session() != seen {
            (seen, since) = (session(), Instant::now());
        }
        if since.elapsed() > HANGS {
            child.kill().expect("killed");
            panic!("session {seen} hangs\n{}", said());
        }
    }
}

#[test]
fn no_damage_to_packets_or_frames_breaks_reception_or_keeps_the_next_keyframe_away() {
    let sessions = number("ROOMCAST_MUTATED_SESSIONS", 200);
    let folder = tempfile::tempdir().expect("folder");
    let mut figures = [0; 5];
    let mut crashed = Vec::new();
    let mut from = 0;
    let begun = Instant::now();
    while from < sessions {
        let to = sessions.min(from + SESSIONS_OF_A_CHILD);
        match in_a_child(from, to, folder.path()) {
            End::Well(tally) => {
                figures.iter_mut().zip(tally).for_each(|(sum, figure)| *sum += figure);
                from = to;
            }
            End::Crashed { session, signal } => {
                crashed.push((session, signal));
                from = session + 1;
            }
        }
    }
    let [packets, unreadable, frames, pictures, replaced] = figures;
    println!(
        "{sessions} sessions in {:.0} s: {packets} packets, {unreadable} of them unreadable, {frames} frames, {pictures} pictures, {replaced} decoders \
         replaced, {} crashes of a decoder {crashed:?}",
        begun.elapsed().as_secs_f64(),
        crashed.len()
    );
    assert!(pictures > 3 * sessions, "the decoders had something to decode");
    assert!(unreadable > 0 && frames < packets, "there was damage");
    assert!(crashed.is_empty(), "a decoder has crashed: session and signal {crashed:?}");
}

/// The loops of the simulated people, with every tenth frame damaged.
fn damaged_loops(number: u64, cache: &Path) {
    let whole = loops::cache_folder().expect("a cache folder");
    loops::ensure(&whole, 4, &loops::Layer::ALL).expect("loops");
    let damaged = cache.join(whole.file_name().expect("a name"));
    fs::create_dir_all(&damaged).expect("folder");
    let mut dice = Dice::new(number);
    let mut paths: Vec<_> = fs::read_dir(&whole).expect("loops").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let to = damaged.join(path.file_name().expect("a name"));
        let bytes = fs::read(&path).expect("a loop");
        if path.extension().is_none_or(|ending| ending != "ivf") {
            fs::write(to, bytes).expect("a loop");
            continue;
        }
        let frames = ivf(&bytes);
        let mut out = bytes[..32].to_vec();
        for (n, frame) in frames.iter().enumerate() {
            let mut frame = frame.clone();
            // The first one says how large the picture is, by which the loops are known.
            if n > 0 && dice.percent(10) {
                damage(&mut frame, &frames, &mut dice);
            }
            out.extend((frame.len() as u32).to_le_bytes());
            out.extend((n as u64).to_le_bytes());
            out.extend(frame);
        }
        fs::write(to, out).expect("a loop");
    }
}

#[test]
fn a_meeting_of_damaged_pictures_ends_in_a_whole_recording() {
    const SECONDS: f64 = 6.0;
    for number in 0..number("ROOMCAST_MUTATED_MEETINGS", 1) {
        let folder = tempfile::tempdir().expect("folder");
        let cache = folder.path().join("cache");
        damaged_loops(number, &cache);
        let arguments = ["rehearse", "--duration", "6s", "--to", "out.mp4", "--size", "320x180", "--layout", "grid"];
        let environment = [("ROOMCAST_CACHE", cache.to_str().expect("a path"))];
        let outcome = Product::start(folder.path(), &arguments, &environment, "").finish(Duration::from_secs(90));
        assert!(outcome.status.success(), "meeting {number}: {}", outcome.log);
        let film = Film::watch(&folder.path().join("out.mp4"), &[]);
        assert_eq!(film.complaints, "", "meeting {number}");
        assert!((SECONDS - 0.1..SECONDS + 0.65).contains(&film.duration_s), "meeting {number}: {} s", film.duration_s);
        assert!((film.sound().end_s() - film.duration_s).abs() < 0.1, "meeting {number}");
        let replaced = outcome.said.lines().find_map(|line| line.trim().strip_prefix("workers replaced")).unwrap_or("0").trim();
        println!("meeting {number}: {:.1} s, {replaced} workers replaced", film.duration_s);
    }
}
