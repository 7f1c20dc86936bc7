//! What the sound costs: CPU seconds of one core for each second of one active Track, decoding included.
//!
//! `cargo run --release --example sound_cost [-- TRACKS [SECONDS]]` prints one line for Tracks whose clock is ours (copied) and one
//! for Tracks that are 50 ppm off (interpolated). Packets are encoded beforehand, and not counted.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for developers, which has nothing to do but to say a number"
)]

use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use opus::{Application, Bitrate, Channels, Encoder};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Rgb, Scene};
use recorder_core::time::SessionTime;
use roomcast::media::{Codec, MediaFrame};
use roomcast::mixer::sound::{SoundMixer, SoundSettings};

/// Packets that go round: 2 s.
const PACKETS: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let tracks = arguments.next().unwrap_or(9);
    let seconds = arguments.next().unwrap_or(60);
    let packets = encode();
    for (name, ppm) in [("same clock", 0), ("50 ppm off", 50)] {
        let cpu = run(&packets, tracks, seconds, ppm);
        let percent = 100.0 * cpu / (tracks * seconds) as f64;
        println!("{name}: {tracks} tracks, {seconds} s: {cpu:.3} s CPU, {percent:.3} % of a core for each track");
    }
}

/// Something between speech and music, in mono at 32 kbit/s as browsers send it.
fn encode() -> Vec<Arc<[u8]>> {
    let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::Bits(32_000)).unwrap();
    let mut noise = 1_u32;
    (0..PACKETS)
        .map(|p| {
            let input: Vec<f32> = (0..960)
                .map(|n| {
                    let t = (p * 960 + n) as f32 / 48_000.0;
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let hiss = (noise >> 16) as f32 / 65_536.0 - 0.5;
                    let voice = (1..12).map(|k| (t * 140.0 * k as f32 * std::f32::consts::TAU).sin() / k as f32).sum::<f32>();
                    (voice * 0.1 + hiss * 0.02) * (t * 9.0).sin().abs()
                })
                .collect();
            encoder.encode_vec_float(&input, 1_500).unwrap().into()
        })
        .collect()
}

fn run(packets: &[Arc<[u8]>], tracks: usize, seconds: usize, ppm: u64) -> f64 {
    let ids: Vec<_> = (0..tracks).map(|n| TrackId::new(ParticipantId::new(format!("p{n}")), TrackKind::Microphone)).collect();
    let mut mixer = SoundMixer::new(SoundSettings::default());
    let canvas = CanvasSize { width_px: 16, height_px: 16 };
    mixer.show(Arc::new(Scene { audible: ids.clone(), ..Scene::empty(SessionTime::ZERO, canvas, Rgb(0, 0, 0)) }));
    let mut out = vec![0.0; 1_920];
    let before = cpu_seconds();
    for n in 0..(seconds * 50) as u64 {
        for id in &ids {
            let capture = SessionTime::from_nanos(1_500_000_000 + n * (20_000_000 + 20 * ppm));
            mixer.offer(MediaFrame {
                track: id.clone(),
                codec: Codec::Opus,
                rtp_time: n * 960,
                stream: 1,
                capture,
                arrival: capture,
                contiguous: true,
                keyframe: true,
                data: packets[n as usize % PACKETS].clone(),
            });
        }
        mixer.mix(SessionTime::from_millis(1_000 + 20 * n), &mut out);
    }
    cpu_seconds() - before
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9
}
