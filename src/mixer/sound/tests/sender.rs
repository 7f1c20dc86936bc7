//! Somebody who sends, the mix that hears them, and what is measured in it.

use std::f64::consts::TAU;
use std::sync::Arc;

use opus::{Application, Bitrate, Channels, Encoder};
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Rgb, Scene};
use recorder_core::time::SessionTime;

use crate::media::{Codec, MediaFrame};
use crate::mixer::sound::{SoundMixer, SoundSettings, samples_to_ns};

pub(in crate::mixer::sound) const RATE: f64 = 48_000.0;
/// What the mixer is behind the arrivals in these tests.
pub(in crate::mixer::sound) const DELAY_NS: i64 = 500_000_000;

pub(in crate::mixer::sound) fn track(name: &str) -> TrackId {
    TrackId::new(ParticipantId::new(name), TrackKind::Microphone)
}

pub(in crate::mixer::sound) fn scene(from_ms: u64, names: &[&str]) -> Arc<Scene> {
    let canvas = CanvasSize { width_px: 16, height_px: 16 };
    Arc::new(Scene {
        audible: names.iter().map(|name| track(name)).collect(),
        ..Scene::empty(SessionTime::from_millis(from_ms), canvas, Rgb(0, 0, 0))
    })
}

/// Somebody who sends: a wave (a function of true seconds), encoded in frames.
pub(in crate::mixer::sound) struct Sender<F: Fn(f64) -> (f32, f32)> {
    pub(in crate::mixer::sound) id: TrackId,
    pub(in crate::mixer::sound) wave: F,
    pub(in crate::mixer::sound) encoder: Encoder,
    pub(in crate::mixer::sound) channels: usize,
    pub(in crate::mixer::sound) frame: usize,
    pub(in crate::mixer::sound) ppm: f64,
    pub(in crate::mixer::sound) from_ns: i64,
    pub(in crate::mixer::sound) rtp0: u64,
    pub(in crate::mixer::sound) stream: u32,
    pub(in crate::mixer::sound) sent: u64,
}

impl<F: Fn(f64) -> (f32, f32)> Sender<F> {
    pub(in crate::mixer::sound) fn new(name: &str, wave: F) -> Self {
        Self::with(name, 960, Channels::Mono, wave)
    }

    pub(in crate::mixer::sound) fn with(name: &str, frame: usize, channels: Channels, wave: F) -> Self {
        let mut encoder = Encoder::new(48_000, channels, Application::Audio).unwrap();
        encoder.set_bitrate(Bitrate::Bits(128_000)).unwrap();
        encoder.set_complexity(5).unwrap();
        let channels = if channels == Channels::Stereo { 2 } else { 1 };
        let from_ns = 1_000_000_000;
        Self { id: track(name), wave, encoder, channels, frame, ppm: 0.0, from_ns, rtp0: 77_777, stream: 1, sent: 0 }
    }

    /// True time of the next packet's first sample.
    pub(in crate::mixer::sound) fn next_ns(&self) -> i64 {
        self.from_ns + (self.sent as f64 / RATE / (1.0 + self.ppm * 1e-6) * 1e9).round() as i64
    }

    /// The next packet, captured when it truly was.
    pub(in crate::mixer::sound) fn packet(&mut self) -> MediaFrame {
        let capture_ns = self.next_ns();
        let step = 1.0 / RATE / (1.0 + self.ppm * 1e-6);
        let mut input = Vec::with_capacity(self.frame * self.channels);
        for n in 0..self.frame {
            let (l, r) = (self.wave)(capture_ns as f64 * 1e-9 + n as f64 * step);
            input.push(l);
            if self.channels == 2 {
                input.push(r);
            }
        }
        let data = self.encoder.encode_vec_float(&input, 4_000).unwrap();
        let rtp_time = self.rtp0 + self.sent;
        self.sent += self.frame as u64;
        MediaFrame {
            track: self.id.clone(),
            codec: Codec::Opus,
            rtp_time,
            stream: self.stream,
            capture: SessionTime::from_nanos(capture_ns as u64),
            arrival: SessionTime::from_nanos((capture_ns + 30_000_000) as u64),
            contiguous: true,
            keyframe: true,
            data: data.into(),
        }
    }

    pub(in crate::mixer::sound) fn skip(&mut self, samples: usize) {
        self.sent += samples as u64;
    }
}

/// Mixes in blocks, so long as `feed` gives what arrives until a block's instant plus the delay. Starts at 1 s.
pub(in crate::mixer::sound) fn mix(
    mixer: &mut SoundMixer,
    seconds: f64,
    block: usize,
    mut feed: impl FnMut(&mut SoundMixer, i64),
) -> (Vec<f32>, Vec<f32>) {
    let blocks = (seconds * RATE / block as f64).ceil() as u64;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut out = vec![9.0; 2 * block];
    for b in 0..blocks {
        let at = 1_000_000_000 + samples_to_ns(b * block as u64);
        feed(mixer, at + DELAY_NS);
        let report = mixer.mix(SessionTime::from_nanos(at as u64), &mut out);
        assert_eq!(report.counts.restarts, 0);
        left.extend(out.iter().step_by(2));
        right.extend(out.iter().skip(1).step_by(2));
    }
    (left, right)
}

pub(in crate::mixer::sound) fn feed_all<F: Fn(f64) -> (f32, f32)>(mixer: &mut SoundMixer, sender: &mut Sender<F>, until_ns: i64) {
    while sender.next_ns() < until_ns {
        let packet = sender.packet();
        mixer.offer(packet);
    }
}

pub(in crate::mixer::sound) fn tone(hz: f64, gain: f64) -> impl Fn(f64) -> (f32, f32) {
    move |t| {
        let x = ((TAU * hz * t).sin() * gain) as f32;
        (x, x)
    }
}

/// Amplitude and phase of a tone in a piece that begins at sample `from` (counted from 1 s).
pub(in crate::mixer::sound) fn measure(samples: &[f32], from: usize, len: usize, hz: f64) -> (f64, f64) {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, x) in samples.iter().enumerate().skip(from).take(len) {
        let angle = TAU * hz * (1.0 + n as f64 / RATE);
        re += f64::from(*x) * angle.sin();
        im += f64::from(*x) * angle.cos();
    }
    (2.0 * re.hypot(im) / len as f64, im.atan2(re))
}

pub(in crate::mixer::sound) fn largest_step(samples: &[f32]) -> f64 {
    samples.windows(2).fold(0.0, |most: f64, w| most.max(f64::from((w[1] - w[0]).abs())))
}

/// The longest stretch in which every sample is below `level`, in ms.
pub(in crate::mixer::sound) fn longest_quiet_ms(samples: &[f32], level: f32) -> f64 {
    let (mut longest, mut run) = (0_usize, 0_usize);
    for x in samples {
        run = if x.abs() < level { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest as f64 / 48.0
}

pub(in crate::mixer::sound) fn mixer_for(names: &[&str]) -> SoundMixer {
    let mut mixer = SoundMixer::new(SoundSettings::default());
    mixer.show(scene(0, names));
    mixer
}
