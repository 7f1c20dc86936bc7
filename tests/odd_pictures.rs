//! Pictures of every odd size, and what is none, through the real decoder graph into the mixer.

#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::scene::{CanvasSize, Fit, Rect, Rgb, Scene, Tile};
use recorder_core::time::SessionTime;
use roomcast::decode::Feeds;
use roomcast::graph::{Decoded, DecoderGraph};
use roomcast::media::{Codec, MediaFrame};
use roomcast::mixer::video::{Offered, VideoMixer};

const CANVAS: CanvasSize = CanvasSize { width_px: 320, height_px: 180 };
/// 1x1, a macroblock's half, odd sides, tall and wide, far above what a camera sends.
const SIZES: [(u32, u32); 8] = [(1, 1), (8, 8), (17, 33), (641, 359), (2, 1080), (1920, 2), (4096, 4096), (320, 180)];

/// Encoded pictures of one colour. The encoder is GStreamer's, in the environment of the test.
fn encoded(encoder: &str, (width, height): (u32, u32), argb: u32, count: u32) -> Vec<Vec<u8>> {
    gst::init().expect("GStreamer");
    let text = format!(
        "videotestsrc pattern=solid-color foreground-color={argb} num-buffers={count} \
         ! video/x-raw,format=I420,width={width},height={height},framerate=30/1 ! {encoder} ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let sink = pipeline.by_name("out").expect("sink").downcast::<gst_app::AppSink>().expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let mut frames = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        frames.push(sample.buffer().expect("a buffer").map_readable().expect("readable").to_vec());
    }
    pipeline.set_state(gst::State::Null).expect("ends");
    assert_eq!(frames.len(), count as usize, "{encoder} {width}x{height}");
    frames
}

const VP8: &str = "vp8enc deadline=1 cpu-used=8 threads=1";
const VP9: &str = "vp9enc deadline=1 cpu-used=8 threads=1";

struct World {
    mixer: VideoMixer,
    feeds: Feeds<DecoderGraph>,
    decoded: Receiver<Decoded>,
    sender: Sender<Decoded>,
    now: SessionTime,
    rtp_time: u64,
}

fn track() -> TrackId {
    TrackId::new(ParticipantId::new("ada"), TrackKind::Camera)
}

impl World {
    fn new() -> World {
        let mut mixer = VideoMixer::new(CANVAS, 30).expect("a mixer");
        let rect = Rect { x: 0, y: 0, width: 320, height: 180 };
        let tile = Tile {
            participant: ParticipantId::new("ada"),
            video: Some(track()),
            rect,
            fit: Fit::Cover,
            label: None,
            speaking: false,
        };
        let now = SessionTime::from_millis(1000);
        let background = Rgb(0, 0, 0);
        mixer.show(Arc::new(Scene { tiles: vec![tile], ..Scene::empty(now, CANVAS, background) }));
        let mut feeds = Feeds::default();
        feeds.show(BTreeSet::from([track()]));
        let (sender, decoded) = channel();
        World { mixer, feeds, decoded, sender, now, rtp_time: 0 }
    }

    /// Gives one frame, as received; the wishes for keyframes.
    fn give(&mut self, codec: Codec, stream: u32, keyframe: bool, data: &[u8]) -> usize {
        self.now = self.now + Duration::from_nanos(33_333_333);
        self.rtp_time += 3000;
        self.feeds.accept(MediaFrame {
            track: track(),
            codec,
            rtp_time: self.rtp_time,
            stream,
            capture: self.now,
            arrival: self.now,
            contiguous: true,
            keyframe,
            data: data.into(),
        });
        self.advance()
    }

    fn advance(&mut self) -> usize {
        let sender = self.sender.clone();
        let start = |_: &TrackId, codec| {
            let sender = sender.clone();
            DecoderGraph::start(codec, Arc::new(move |decoded| drop(sender.send(decoded))))
        };
        self.feeds.advance(self.now, self.now, |track| self.mixer.room(track), start).len()
    }

    /// Waits for the decoder's picture of now and draws it: the colour in the middle of the canvas.
    fn drawn(&mut self, what: &str) -> (u8, u8, u8) {
        let begun = Instant::now();
        loop {
            self.advance();
            match self.decoded.recv_timeout(Duration::from_millis(50)) {
                Ok(decoded) if decoded.capture == self.now => {
                    assert_eq!(self.mixer.offer(&track(), decoded.capture, decoded.picture), Offered::Taken, "{what}");
                    break;
                }
                _ => assert!(begun.elapsed() < Duration::from_secs(20), "no picture of {what}"),
            }
        }
        let drawn = self.mixer.draw(self.now);
        let (width, height) = (drawn.size.width_px as usize, drawn.size.height_px as usize);
        let chroma = height / 4 * (width / 2) + width / 4;
        let planes = drawn.i420;
        (planes[height / 2 * width + width / 2], planes[width * height + chroma], planes[width * height * 5 / 4 + chroma])
    }
}

/// Green as BT.601 and, for pictures above 720 lines, BT.709 have it; the encoder takes the edge off colours.
fn is_green(colour: (u8, u8, u8)) -> bool {
    [(145, 54, 34), (173, 42, 26)].into_iter().any(|green: (u8, u8, u8)| {
        colour.0.abs_diff(green.0) < 25 && colour.1.abs_diff(green.1) < 25 && colour.2.abs_diff(green.2) < 25
    })
}

const GREEN: u32 = 0xff00_ff00;
const BLACK: u32 = 0xff00_0000;

#[test]
fn pictures_of_every_size_fill_the_tile_one_after_the_other() {
    let mut world = World::new();
    for (codec, encoder) in [(Codec::Vp8, VP8), (Codec::Vp9, VP9)] {
        for (number, size) in SIZES.into_iter().enumerate() {
            // Also in one stream, as a sender does that changes its layers; then in another.
            let (colour, wanted) = if number % 2 == 0 { (GREEN, true) } else { (BLACK, false) };
            for (n, frame) in encoded(encoder, size, colour, 2).iter().enumerate() {
                world.give(codec, codec as u32, n == 0, frame);
                let seen = world.drawn(&format!("{codec:?} {size:?}"));
                assert_eq!(is_green(seen), wanted, "{codec:?} {size:?}: {seen:?}");
            }
        }
    }
}

#[test]
fn what_is_no_picture_does_no_harm_and_the_next_keyframe_is_shown() {
    let good = encoded(VP8, (64, 48), GREEN, 2);
    let large = encoded(VP8, (4096, 4096), BLACK, 1);
    let mut random = 0x2545_f491_u32;
    let mut noise = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                random as u8
            })
            .collect()
    };
    let mut bad: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0; 9], vec![0xff; 10], noise(1000), noise(100_000)];
    // A head that promises the largest picture that VP8 can have, and nothing behind it.
    bad.push([&large[0][..3], &[0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f]].concat());
    // A head with no size.
    bad.push([&good[0][..3], &[0x9d, 0x01, 0x2a, 0, 0, 0, 0], &good[0][10..]].concat());
    bad.push(large[0][..large[0].len() / 2].to_vec());
    bad.push(good[0][..good[0].len() - 1].to_vec());
    bad.push([&good[0][..], &noise(50)].concat());
    for (number, data) in bad.iter().enumerate() {
        for keyframe in [true, false] {
            let mut world = World::new();
            world.give(Codec::Vp8, 1, true, &good[0]);
            assert!(is_green(world.drawn("the good one before")));
            world.give(Codec::Vp8, 1, keyframe, data);
            // The decoder has looked at it, or has broken and is replaced.
            while world.decoded.recv_timeout(Duration::from_millis(30)).is_ok() {}
            world.give(Codec::Vp8, 2, true, &good[0]);
            assert!(is_green(world.drawn(&format!("the good one after bad frame {number}"))), "after bad frame {number}");
        }
    }
}
