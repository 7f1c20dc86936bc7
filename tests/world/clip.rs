//! A stream that decodes: eight seconds, encoded once by the product's encoders, and played over and over into a ring in real time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use recorder_core::effort::Effort;
use recorder_core::scene::CanvasSize;
use recorder_core::time::SessionTime;
use roomcast::clock::SessionClock;
use roomcast::graph::{EncodedPacket, EncoderKind, SoundEncoder, VideoEncoder, VideoSettings};
use roomcast::programme::packet::{CodecHeaders, Packet, Stream};
use roomcast::programme::ring::Ring;

const FPS: u64 = 30;
const SECONDS: u64 = 8;
const CANVAS: CanvasSize = CanvasSize { width_px: 640, height_px: 360 };
const KBPS: u32 = 1000;
/// Bytes a second of the stream, sound included.
pub const BYTES_PER_S: u64 = (KBPS as u64 + 128) * 125;
const SECOND_NS: u64 = 1_000_000_000;
/// What encoders take until a packet is in the ring.
const ENCODING: Duration = Duration::from_millis(40);

/// The encoded stream.
pub struct Clip {
    /// Pictures; the first of each two seconds is a keyframe.
    pub video: Vec<EncodedPacket>,
    /// AAC frames: 375 in 8 s.
    pub sound: Vec<EncodedPacket>,
    /// Programme time of the first picture.
    pub begin_ns: u64,
}

type Encoded = Arc<Mutex<Vec<EncodedPacket>>>;

impl Clip {
    /// Encodes it.
    pub fn encode() -> Clip {
        let frames = SECONDS * 48_000 / 1024;
        let (video, sound): (Encoded, Encoded) = Default::default();
        let (done, ended) = channel();
        let collect = |into: &Encoded| {
            let (into, done) = (Arc::clone(into), Mutex::new(done.clone()));
            move |packet: Option<EncodedPacket>| match packet {
                Some(packet) => into.lock().expect("packets").push(packet),
                None => done.lock().expect("the sender").send(()).expect("the test waits"),
            }
        };
        let settings = VideoSettings {
            canvas: CANVAS,
            fps: FPS as u32,
            kbps: KBPS,
            gop_seconds: 2,
            effort: Effort::Full,
            by: EncoderKind::X264,
        };
        let pictures = VideoEncoder::start(settings, collect(&video)).expect("an encoder");
        let sounds = SoundEncoder::start(2, 128, collect(&sound)).expect("an encoder");
        for n in 0..SECONDS * FPS {
            pictures.push(&canvas(n), n * SECOND_NS / FPS).expect("the encoder takes it");
        }
        for block in 0..=frames {
            let sample = |n: u64| ((n as f32) * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.3;
            let samples: Vec<f32> = (block * 1024..(block + 1) * 1024).flat_map(|n| [sample(n); 2]).collect();
            sounds.push(&samples, block * 1024, 2).expect("the encoder takes it");
        }
        pictures.finish();
        sounds.finish();
        (0..2).for_each(|_| ended.recv_timeout(Duration::from_secs(60)).expect("the encoders end"));
        let video = std::mem::take(&mut *video.lock().expect("packets"));
        // Without the encoder's priming frame.
        let sound: Vec<_> = sound.lock().expect("packets").drain(..).skip(1).take(frames as usize).collect();
        assert_eq!((video.len() as u64, sound.len() as u64), (SECONDS * FPS, frames));
        assert!(video.iter().enumerate().all(|(n, packet)| packet.keyframe == (n as u64).is_multiple_of(2 * FPS)));
        Clip { video, sound, begin_ns: SECOND_NS }
    }

    /// When picture `n` is due, in nanoseconds since the first.
    pub fn video_ns(&self, n: u64) -> u64 {
        n * SECOND_NS / FPS
    }

    /// When AAC frame `n` begins.
    pub fn sound_ns(&self, n: u64) -> u64 {
        n * 1024 * SECOND_NS / 48_000
    }

    /// Plays it into the ring, in real time, until `is_over`.
    pub fn play(self: &Arc<Self>, ring: &Ring, clock: SessionClock, is_over: &Arc<AtomicBool>) -> JoinHandle<()> {
        let (clip, ring, is_over) = (Arc::clone(self), ring.clone(), Arc::clone(is_over));
        let headers = CodecHeaders {
            avc_config: clip.video[0].config.clone().expect("known with the first packet"),
            aac_config: clip.sound[0].config.clone().expect("known with the first packet"),
            width_px: CANVAS.width_px,
            height_px: CANVAS.height_px,
            fps: FPS as u32,
            sample_rate_hz: 48_000,
            channels: 2,
        };
        std::thread::spawn(move || {
            ring.set_headers(headers);
            let (mut picture, mut sound) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let video_first = clip.video_ns(picture) <= clip.sound_ns(sound);
                let (n, of, stream) = if video_first {
                    (&mut picture, &clip.video, Stream::Video)
                } else {
                    (&mut sound, &clip.sound, Stream::Sound)
                };
                let due = |n| if video_first { clip.video_ns(n) } else { clip.sound_ns(n) };
                let encoded = &of[*n as usize % of.len()];
                let pts = SessionTime::from_nanos(clip.begin_ns + due(*n));
                let packet = Packet {
                    stream,
                    pts,
                    duration: Duration::from_nanos(due(*n + 1) - due(*n)),
                    keyframe: encoded.keyframe || stream == Stream::Sound,
                    data: encoded.data.clone(),
                };
                std::thread::sleep((pts + ENCODING).since(clock.now()));
                ring.publish(packet);
                *n += 1;
            }
            ring.close();
        })
    }
}

/// Picture `n`: moving stripes with noise, so that it costs bits.
fn canvas(n: u64) -> Arc<[u8]> {
    let (width, height) = (CANVAS.width_px as usize, CANVAS.height_px as usize);
    let mut noise = n + 1;
    let luma = (0..width * height).map(|at| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let stripe = (at % width + at / width + n as usize * 4) / 16 % 2 * 100;
        (60 + stripe + (noise >> 59) as usize) as u8
    });
    luma.chain((0..width * height / 2).map(|at| (100 + at / 64 % 50) as u8)).collect()
}
