//! Quiet, usual and loud people in one meeting, through Opus, the mixer and the AAC encoder; what comes out is judged by ffmpeg's EBU R128 meter.
//!
//! The voices are those of ffmpeg's speech synthesis; nothing here waits for real time.

#![allow(clippy::unwrap_used)] // Helpers of tests stop a test as the tests themselves do.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use opus::{Application, Bitrate, Channels, Encoder};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Rgb, Scene};
use recorder_core::time::SessionTime;
use roomcast::graph::SoundEncoder;
use roomcast::media::{Codec, MediaFrame};
use roomcast::mixer::sound::{LevelSettings, SoundMixer, SoundSettings};

const RATE: usize = 48_000;
const PACKET: usize = 960;
const AAC_FRAME: usize = 1_024;
/// What the mixer is behind the arrivals.
const DELAY_NS: u64 = 500_000_000;
/// Somebody's turn, with the pause behind it.
const TURN_S: usize = 10;
const PAUSE_S: usize = 2;
const TARGET_LUFS: f64 = -16.0;

const TEXT: &str = "Good morning everybody. The first point of today is the budget for next year, and I would like to hear what each of you \
    thinks of it. As you know, we have spent more on travel than we had planned. Could somebody tell me why that is, and what we can do about it? \
    I have asked the others to bring their figures with them, so that we can compare them here.";

/// Runs ffmpeg on `input`; gives its output and what it said.
fn ffmpeg(arguments: &[&str], input: Vec<u8>) -> (Vec<u8>, String) {
    let mut child = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A source that needs no input closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut errors = child.stderr.take().unwrap();
    let listener = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    let said = listener.join().unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    (output, said)
}

fn samples_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|sample| f32::from_le_bytes(*sample)).collect()
}

/// A voice that says the text, at 48 kHz, brought to a mean power of 0 dB of full scale.
fn voice(name: &str) -> Vec<f32> {
    let source = format!("flite=voice={name}:text='{TEXT}'");
    let (bytes, _) = ffmpeg(&["-f", "lavfi", "-i", &source, "-ar", "48000", "-ac", "1", "-f", "f32le", "-"], Vec::new());
    let samples = samples_of(&bytes);
    let power = samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / samples.len() as f64;
    samples.iter().map(|x| x / power.sqrt() as f32).collect()
}

/// Integrated loudness in LUFS and true peak in dBTP of interleaved stereo.
fn measured(samples: &[f32]) -> (f64, f64) {
    let bytes = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
    summary(&["-f", "f32le", "-ar", "48000", "-ac", "2", "-i", "-", "-af", "ebur128=peak=true", "-f", "null", "-"], bytes)
}

fn measured_file(path: &Path) -> (f64, f64) {
    summary(&["-i", path.to_str().unwrap(), "-af", "ebur128=peak=true", "-f", "null", "-"], Vec::new())
}

fn summary(arguments: &[&str], input: Vec<u8>) -> (f64, f64) {
    let (_, said) = ffmpeg(arguments, input);
    let summary = said.rsplit("Summary:").next().unwrap();
    let figure = |name: &str| summary.split(name).nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    (figure("I:"), figure("Peak:"))
}

/// Somebody in the meeting.
struct Talker {
    track: TrackId,
    sound: Vec<f32>,
    encoder: Encoder,
    sent: usize,
}

impl Talker {
    /// Says the text at `level_db` in each `every`th turn, beginning with turn `first`; behind it there is always noise.
    fn new(
        name: &str,
        kind: TrackKind,
        said: &[f32],
        level_db: f32,
        noise_db: f32,
        turns: impl Iterator<Item = usize>,
        seconds: usize,
    ) -> Self {
        let amplitude = |db: f32| 10_f32.powf(db / 20.0);
        let mut seed = 1_u32;
        let mut sound: Vec<f32> = (0..seconds * RATE)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Even noise of amplitude 1 has a power of a third.
                (seed as f32 / 2_f32.powi(31) - 1.0) * 3_f32.sqrt() * amplitude(noise_db)
            })
            .collect();
        for turn in turns {
            let place = turn * TURN_S * RATE;
            for (to, from) in sound[place..place + (TURN_S - PAUSE_S) * RATE].iter_mut().zip(said) {
                *to += from * amplitude(level_db);
            }
        }
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(40_000)).unwrap();
        Self { track: TrackId::new(ParticipantId::new(name), kind), sound, encoder, sent: 0 }
    }

    fn send(&mut self, mixer: &mut SoundMixer, until_ns: u64) {
        while let Some(samples) = self.sound.get(self.sent..self.sent + PACKET) {
            let capture_ns = (self.sent as u64) * 62_500 / 3;
            if capture_ns >= until_ns {
                return;
            }
            let capture = SessionTime::from_nanos(capture_ns);
            mixer.offer(MediaFrame {
                track: self.track.clone(),
                codec: Codec::Opus,
                rtp_time: self.sent as u64,
                stream: 1,
                capture,
                arrival: capture,
                contiguous: true,
                keyframe: true,
                data: self.encoder.encode_vec_float(samples, 4_000).unwrap().into(),
            });
            self.sent += PACKET;
        }
    }
}

/// What the mixer makes of the meeting.
fn mixed(level: LevelSettings, talkers: &mut [Talker]) -> Vec<f32> {
    let mut mixer = SoundMixer::new(SoundSettings { level, ..SoundSettings::default() });
    let canvas = CanvasSize { width_px: 16, height_px: 16 };
    mixer.show(Arc::new(Scene {
        audible: talkers.iter().map(|talker| talker.track.clone()).collect(),
        ..Scene::empty(SessionTime::ZERO, canvas, Rgb(0, 0, 0))
    }));
    let length = talkers[0].sound.len();
    let mut programme = Vec::new();
    let mut block = vec![0.0; 2 * AAC_FRAME];
    for done in (0..length as u64).step_by(AAC_FRAME) {
        let at_ns = done * 62_500 / 3;
        talkers.iter_mut().for_each(|talker| talker.send(&mut mixer, at_ns + DELAY_NS));
        mixer.mix(SessionTime::from_nanos(at_ns), &mut block);
        programme.extend_from_slice(&block);
    }
    programme
}

/// The programme as AAC in a file of ADTS frames.
fn encoded(programme: &[f32], kbps: u32, path: &Path) {
    let (packets, made) = mpsc::channel();
    let encoder = SoundEncoder::start(2, kbps, move |packet| _ = packets.send(packet)).unwrap();
    for (n, block) in programme.chunks(2 * AAC_FRAME).enumerate() {
        encoder.push(block, (n * AAC_FRAME) as u64, 2).unwrap();
    }
    encoder.finish();
    let mut file = Vec::new();
    while let Some(packet) = made.recv().unwrap() {
        // ISO 14496-3 section 1.A.2.2: AAC-LC, 48 kHz, two channels, no checksum.
        let length = packet.data.len() + 7;
        file.extend([0xFF, 0xF1, 0x4C, 0x80 | (length >> 11) as u8, (length >> 3) as u8, (length << 5) as u8 | 0x1F, 0xFC]);
        file.extend_from_slice(&packet.data);
    }
    std::fs::write(path, file).unwrap();
}

fn turns(first: usize, every: usize, count: usize) -> impl Iterator<Item = usize> {
    (first..count).step_by(every)
}

fn seconds(samples: &[f32], from: f64, until: f64) -> &[f32] {
    let index = |at: f64| 2 * (at * RATE as f64) as usize;
    &samples[index(from)..index(until).min(samples.len())]
}

#[test]
fn quiet_usual_and_loud_people_are_equally_loud_in_the_file() {
    const TURNS: usize = 15;
    let people = [("ann", "slt", -40.0, -75.0), ("bob", "awb", -26.0, -65.0), ("cem", "rms", -12.0, -60.0)];
    let mut talkers: Vec<_> = people
        .iter()
        .enumerate()
        .map(|(n, (name, said_by, level, noise))| {
            Talker::new(name, TrackKind::Microphone, &voice(said_by), *level, *noise, turns(n, 3, TURNS), TURNS * TURN_S)
        })
        .collect();
    let programme = mixed(LevelSettings::default(), &mut talkers);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meeting.aac");
    encoded(&programme, 128, &path);
    let (integrated, true_peak) = measured_file(&path);
    let (decoded, _) = ffmpeg(&["-i", path.to_str().unwrap(), "-f", "f32le", "-"], Vec::new());
    let decoded = samples_of(&decoded);
    let turn = |n: usize| {
        let from = (n * TURN_S) as f64;
        measured(seconds(&decoded, from, from + (TURN_S - PAUSE_S) as f64)).0
    };
    let loudness: Vec<f64> = (0..TURNS).map(turn).collect();
    assert!((integrated - TARGET_LUFS).abs() < 2.0, "{integrated} LUFS");
    assert!(true_peak < -1.0, "{true_peak} dBTP");
    for (n, loudness) in loudness.iter().enumerate().skip(3) {
        assert!((loudness - TARGET_LUFS).abs() < 1.5, "turn {n}: {loudness} LUFS");
    }
}

#[test]
fn people_who_shout_together_stay_below_the_peak_in_the_file() {
    let off = LevelSettings { speech_lufs: None, ..LevelSettings::default() };
    let mut talkers: Vec<_> = ["slt", "awb", "rms"]
        .into_iter()
        .map(|name| Talker::new(name, TrackKind::Microphone, &voice(name), -6.0, -60.0, turns(0, 1, 3), 3 * TURN_S))
        .collect();
    let programme = mixed(off, &mut talkers);
    let (integrated, _) = measured(&programme);
    assert!(integrated > -11.0, "the limiter has work to do: {integrated} LUFS");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shouting.aac");
    for kbps in [64, 96, 128, 160, 256] {
        encoded(&programme, kbps, &path);
        let (_, true_peak) = measured_file(&path);
        assert!(true_peak < -1.0, "{kbps} kbit/s: {true_peak} dBTP");
    }
}
