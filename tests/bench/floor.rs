//! The least that the same pictures and sound can cost: bare decoders and bare encoders, each run in a process of its own that tells its processor time.
//!
//! Starting a process, GStreamer's start and the reading of files are not counted.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use recorder_core::effort::Effort;
use recorder_core::scene::{CanvasSize, Scene};
use recorder_core::time::SessionTime;
use roomcast::graph::{EncoderKind, SoundEncoder, VideoEncoder, VideoSettings};
use roomcast::mixer::picture::Picture;
use roomcast::mixer::video::VideoMixer;
use roomcast::rehearsal::card;

use super::process::own_s;

/// First argument of such a process.
pub(crate) const CHILD: &str = "--one-floor";
/// Seconds of pictures and sound that are encoded.
pub(crate) const ENCODED_S: u32 = 5;

/// How the work comes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As fast as it is done.
    Rushed,
    /// Each picture when it is due, as in a meeting.
    InTime,
}

impl Pace {
    fn argument(self) -> String {
        match self {
            Self::Rushed => "rushed".into(),
            Self::InTime => "in-time".into(),
        }
    }

    fn of(argument: &str) -> Self {
        if argument == "in-time" { Self::InTime } else { Self::Rushed }
    }
}

/// Cores that the bare decoder needs for these loops, each decoded once.
pub(crate) fn decode(loops: &[PathBuf], pace: Pace) -> f64 {
    let mut arguments = vec!["decode".to_owned(), pace.argument()];
    arguments.extend(loops.iter().map(|path| path.to_string_lossy().into_owned()));
    child(&arguments) / f64::from(card::LOOP_SECONDS)
}

/// Cores that the picture encoder needs for these pictures ([`draw`]).
pub(crate) fn encode(pictures: &Path, canvas: CanvasSize, kbps: u32, pace: Pace) -> f64 {
    let text = |value: u32| value.to_string();
    let path = pictures.to_string_lossy().into_owned();
    let spent_s = child(&["pictures".into(), pace.argument(), path, text(canvas.width_px), text(canvas.height_px), text(kbps)]);
    spent_s / f64::from(ENCODED_S)
}

/// Cores that the sound encoder needs for the sound of the film.
pub(crate) fn encode_film_sound(film: &Path, folder: &Path, pace: Pace) -> f64 {
    let sound = folder.join("sound.f32");
    raw(film, &["-map", "0:a:0", "-ac", "2", "-ar", "48000", "-f", "f32le"], &sound);
    child(&["sound".into(), pace.argument(), sound.to_string_lossy().into_owned()]) / f64::from(ENCODED_S)
}

/// Draws the pictures that the encoder gets, from the loops in their sizes: I420, one after the other. Those of a finished film would not do: what was
/// encoded once is smoother, and 6 % cheaper to encode again.
pub(crate) fn draw(scene: &Scene, loops: &[(PathBuf, (u32, u32))], to: &Path) {
    const PICTURES: u32 = ENCODED_S * card::FPS;
    let frames = PICTURES.to_string();
    let mut decoders: Vec<Child> = loops
        .iter()
        .map(|(path, _)| {
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-v", "error", "-i"]).arg(path);
            command.args(["-frames:v", &frames, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
            command.stdout(Stdio::piped()).spawn().expect("ffmpeg starts")
        })
        .collect();
    let mut mixer = VideoMixer::new(scene.canvas, card::FPS).expect("mixer");
    mixer.show(Arc::new(scene.clone()));
    let mut file = BufWriter::new(File::create(to).expect("file"));
    for number in 0..u64::from(PICTURES) {
        let at = SessionTime::from_nanos(1_000_000_000 + number * 1_000_000_000 / u64::from(card::FPS));
        for ((tile, (_, (width, height))), decoder) in scene.tiles.iter().zip(loops).zip(&mut decoders) {
            let mut bytes = vec![0; (width * height * 3 / 2) as usize];
            decoder.stdout.as_mut().expect("piped").read_exact(&mut bytes).expect("a picture");
            mixer.offer(tile.video.as_ref().expect("a camera"), at, Picture::new(*width, *height, bytes.into()).expect("even"));
        }
        file.write_all(mixer.draw(at).i420).expect("written");
    }
    for mut decoder in decoders {
        assert!(decoder.wait().expect("ffmpeg ends").success(), "ffmpeg decodes");
    }
    file.flush().expect("written");
}

fn raw(film: &Path, output: &[&str], to: &Path) {
    let seconds = ENCODED_S.to_string();
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-ss", "4", "-i"])
        .arg(film)
        .args(["-t", &seconds])
        .args(output)
        .arg(to)
        .status()
        .expect("ffmpeg starts");
    assert!(status.success(), "ffmpeg reads {}", film.display());
}

fn child(arguments: &[String]) -> f64 {
    let program = std::env::current_exe().expect("own path");
    let output = Command::new(program).arg(CHILD).args(arguments).output().expect("a floor starts");
    assert!(output.status.success(), "floor {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("seconds")
}

/// Body of such a process: does one thing and gives its processor seconds.
pub(crate) fn be_child(arguments: &[String]) -> f64 {
    gst::init().expect("GStreamer");
    let number = |index: usize| arguments[index].parse::<u32>().expect("a number");
    let pace = Pace::of(&arguments[1]);
    match arguments[0].as_str() {
        "decode" => decode_all(&arguments[2..], pace),
        "pictures" => {
            let canvas = CanvasSize { width_px: number(3), height_px: number(4) };
            encode_pictures(&arguments[2], canvas, number(5), pace)
        }
        "sound" => encode_sound(&arguments[2], pace),
        other => panic!("no floor is called {other}"),
    }
}

/// Waits until something is due.
fn wait(begin: Instant, due: Duration, pace: Pace) {
    if pace == Pace::InTime {
        std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
    }
}

fn decode_all(loops: &[String], pace: Pace) -> f64 {
    let sync = pace == Pace::InTime;
    let graphs: Vec<gst::Element> = loops
        .iter()
        .map(|path| {
            let graph = gst::parse::launch(&format!("filesrc name=file ! ivfparse ! vp8dec threads=1 ! fakesink sync={sync}"))
                .expect("graph");
            let file = graph.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("file")).expect("file");
            file.set_property("location", path);
            graph
        })
        .collect();
    let before = own_s();
    if sync {
        // All at once, as in a meeting.
        for graph in &graphs {
            graph.set_state(gst::State::Playing).expect("it decodes");
        }
    }
    for graph in graphs {
        graph.set_state(gst::State::Playing).expect("it decodes");
        let end = graph.bus().expect("bus").timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]);
        assert!(end.is_some_and(|message| message.type_() == gst::MessageType::Eos), "a loop is not decoded");
        graph.set_state(gst::State::Null).expect("it ends");
    }
    own_s() - before
}

fn encode_pictures(path: &str, canvas: CanvasSize, kbps: u32, pace: Pace) -> f64 {
    let bytes = std::fs::read(path).expect("pictures");
    let length = (canvas.width_px * canvas.height_px * 3 / 2) as usize;
    let pictures: Vec<Arc<[u8]>> = bytes.chunks_exact(length).map(Arc::from).collect();
    assert_eq!(pictures.len(), (ENCODED_S * card::FPS) as usize, "pictures in {ENCODED_S} s");
    let (done, end) = channel();
    let settings = VideoSettings { canvas, fps: card::FPS, kbps, gop_seconds: 2, effort: Effort::Full, by: EncoderKind::X264 };
    let before = own_s();
    let encoder = VideoEncoder::start(settings, move |packet| {
        if packet.is_none() {
            done.send(()).expect("awaited");
        }
    })
    .expect("encoder");
    let begin = Instant::now();
    for (number, picture) in (0_u64..).zip(&pictures) {
        wait(begin, Duration::from_nanos(number * 1_000_000_000 / u64::from(card::FPS)), pace);
        encoder.push(picture, number * 1_000_000_000 / u64::from(card::FPS)).expect("taken");
    }
    encoder.finish();
    end.recv().expect("it ends");
    own_s() - before
}

fn encode_sound(path: &str, pace: Pace) -> f64 {
    let bytes = std::fs::read(path).expect("sound");
    let samples: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|sample| f32::from_le_bytes(*sample)).collect();
    let (done, end) = channel();
    let before = own_s();
    let encoder = SoundEncoder::start(2, 128, move |packet| {
        if packet.is_none() {
            done.send(()).expect("awaited");
        }
    })
    .expect("encoder");
    let begin = Instant::now();
    for (number, block) in (0_u64..).zip(samples.chunks_exact(2048)) {
        wait(begin, Duration::from_nanos(number * 1024 * 1_000_000_000 / 48_000), pace);
        encoder.push(block, number * 1024, 2).expect("taken");
    }
    encoder.finish();
    end.recv().expect("it ends");
    own_s() - before
}
