//! The mixer's canvas against GStreamer's compositor: the same Scene (`pipelines/reference-mix.launch`), the same pictures. Then each layout against a compositor with
//! the same tiles.

#![allow(clippy::unwrap_used)] // Helpers of tests stop a test as the tests themselves do.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use recorder_core::conference::Role;
use recorder_core::ids::{ParticipantId, TrackId, TrackKind};
use recorder_core::layout::Layout;
use recorder_core::scene::{CanvasSize, Fit, Rect, Rgb, Scene, Tile};
use recorder_core::secret::Pii;
use recorder_core::stage::{Part, Seat, Stage};
use recorder_core::time::SessionTime;
use roomcast::mixer::picture::Picture;
use roomcast::mixer::video::VideoMixer;

const CANVAS: CanvasSize = CanvasSize { width_px: 1280, height_px: 720 };
const TICK_NS: u64 = 33_333_333;
const PICTURES: u64 = 6;

/// Size of each source, how it fits, and what the tile may differ from the compositor's: mean of the absolute luma differences, and SSIM at least.
/// Chroma rows are multiples of 4 bytes, so that packed planes are what GStreamer expects. The compositor scales with a cubic kernel that sharpens, the mixer by area and bilinear; what is copied must be equal.
const SOURCES: [(u32, u32, Fit, f64, f64); 4] = [
    (640, 360, Fit::Cover, 0.0, 1.0),
    (1280, 720, Fit::Cover, 0.5, 0.99),
    (320, 240, Fit::Cover, 0.5, 0.995),
    (512, 384, Fit::Contain, 0.5, 0.995),
];

fn tile_rect(n: u32) -> Rect {
    Rect { x: n % 2 * 640, y: n / 2 * 360, width: 640, height: 360 }
}

/// Waves across, hard edges, a bar that moves with `n`, and colours of its own.
fn picture(width: u32, height: u32, source: u32, n: u64) -> Vec<u8> {
    let (w, h) = (f64::from(width), f64::from(height));
    let bar = (n as f64 * 0.07 + 0.2)..(n as f64 * 0.07 + 0.25);
    let luma = |x: u32, y: u32| {
        let (fx, fy) = (f64::from(x) / w, f64::from(y) / h);
        if (0.18..0.32).contains(&fy) && bar.contains(&fx) {
            235
        } else if (0.40..0.52).contains(&fy) && (0.2..0.8).contains(&fx) {
            if ((fx - 0.2) * 20.0) as u64 % 2 == (n % 2) { 225 } else { 25 }
        } else {
            (120.0 + 50.0 * (fx * 60.0 + f64::from(source)).sin() * (fy * 40.0).cos()) as u8
        }
    };
    let mut data: Vec<u8> = (0..height).flat_map(|y| (0..width).map(move |x| luma(x, y))).collect();
    for plane in [60, 190] {
        let chroma = |y: u32| (plane + 15 * (source % 4) + y * 40 / height) as u8;
        data.extend((0..height.div_ceil(2)).flat_map(|y| (0..width.div_ceil(2)).map(move |_| chroma(y))));
    }
    data
}

/// What the compositor and the audiomixer make of the pictures, and of voices that are each one constant level.
fn reference() -> (Vec<Vec<u8>>, Vec<i16>) {
    gst::init().unwrap();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/reference-mix.launch")).unwrap();
    let graph: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let pipeline = gst::parse::launch(&graph.join("\n")).unwrap().downcast::<gst::Pipeline>().unwrap();
    let named = |name: String| pipeline.by_name(&name).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (source, (width, height, ..)) in (0..).zip(SOURCES) {
        let into = named(format!("picture_{source}")).downcast::<AppSrc>().unwrap();
        for n in 0..PICTURES {
            // Whole multiples of the compositor's own period, which it rounds.
            let (start, end) = (n * 1_000_000_000 / 30, (n + 1) * 1_000_000_000 / 30);
            let mut buffer = gst::Buffer::from_mut_slice(picture(width, height, source, n));
            let filled = buffer.get_mut().unwrap();
            filled.set_pts(gst::ClockTime::from_nseconds(start));
            filled.set_duration(gst::ClockTime::from_nseconds(end - start));
            into.push_buffer(buffer).unwrap();
        }
        into.end_of_stream().unwrap();
        let into = named(format!("sound_{source}")).downcast::<AppSrc>().unwrap();
        let level = 1000 * (source as i16 + 1);
        let mut buffer = gst::Buffer::from_mut_slice(level.to_le_bytes().repeat(2 * 4800));
        let filled = buffer.get_mut().unwrap();
        filled.set_pts(gst::ClockTime::ZERO);
        filled.set_duration(gst::ClockTime::from_mseconds(100));
        into.push_buffer(buffer).unwrap();
        into.end_of_stream().unwrap();
    }
    let pull = |name: &str| {
        let sink = named(name.to_owned()).downcast::<AppSink>().unwrap();
        std::iter::from_fn(move || sink.try_pull_sample(gst::ClockTime::from_seconds(20)))
            .map(|sample| sample.buffer().unwrap().map_readable().unwrap().to_vec())
            .collect::<Vec<_>>()
    };
    let (pictures, sound) = (pull("picture"), pull("sound").concat());
    let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(error.is_none(), "{error:?}");
    (pictures, sound.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect())
}

fn ours() -> Vec<Vec<u8>> {
    let mut mixer = VideoMixer::new(CANVAS, 30).unwrap();
    let tiles: Vec<Tile> = (0..)
        .zip(SOURCES)
        .map(|(n, (_, _, fit, ..))| {
            let participant = ParticipantId::new(format!("person {n}"));
            let video = Some(TrackId::new(participant.clone(), TrackKind::Camera));
            Tile { participant, video, rect: tile_rect(n), fit, label: None, speaking: false }
        })
        .collect();
    let ids: Vec<TrackId> = tiles.iter().filter_map(|tile| tile.video.clone()).collect();
    let from = SessionTime::from_millis(1000);
    mixer.show(Arc::new(Scene { tiles, ..Scene::empty(from, CANVAS, Rgb(0, 0, 0)) }));
    let draw = |n: u64| {
        let at = SessionTime::from_nanos(from.as_nanos() + n * TICK_NS);
        for ((source, (width, height, ..)), id) in (0..).zip(SOURCES).zip(&ids) {
            mixer.offer(id, at, Picture::new(width, height, picture(width, height, source, n).into()).unwrap());
        }
        mixer.draw(at).i420.to_vec()
    };
    (0..PICTURES).map(draw).collect()
}

/// The luma of one tile.
fn luma(canvas: &[u8], rect: Rect) -> Vec<f64> {
    luma_of(canvas, rect, CANVAS.width_px)
}

/// The same on a canvas of this width.
fn luma_of(canvas: &[u8], rect: Rect, width_px: u32) -> Vec<f64> {
    let row = |y: u32| {
        let from = (y * width_px + rect.x) as usize;
        canvas[from..from + rect.width as usize].iter().map(|value| f64::from(*value))
    };
    (rect.y..rect.y + rect.height).flat_map(row).collect()
}

fn mean_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

/// Mean structural similarity over windows of 8x8 pixels, every fourth pixel (Wang et al. 2004, uniform windows).
fn ssim(a: &[f64], b: &[f64], width: usize) -> f64 {
    let (c1, c2) = ((0.01f64 * 255.0).powi(2), (0.03f64 * 255.0).powi(2));
    let (mut sum, mut windows) = (0.0, 0.0);
    for top in (0..a.len() / width - 7).step_by(4) {
        for left in (0..width - 7).step_by(4) {
            let (mut ma, mut mb, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for at in (0..64).map(|i| (top + i / 8) * width + left + i % 8) {
                (ma, mb) = (ma + a[at], mb + b[at]);
                (aa, bb, ab) = (aa + a[at] * a[at], bb + b[at] * b[at], ab + a[at] * b[at]);
            }
            (ma, mb) = (ma / 64.0, mb / 64.0);
            let (va, vb, cov) = (aa / 64.0 - ma * ma, bb / 64.0 - mb * mb, ab / 64.0 - ma * mb);
            sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            windows += 1.0;
        }
    }
    sum / windows
}

#[test]
fn the_canvas_agrees_with_the_compositor() {
    let (reference, sound) = reference();
    let ours = ours();
    assert_eq!((reference.len(), ours.len()), (PICTURES as usize, PICTURES as usize));
    let mut failures = Vec::new();
    for (n, (theirs, ours)) in reference.iter().zip(&ours).enumerate() {
        assert_eq!(theirs.len(), ours.len());
        for (tile, (width, height, fit, difference_limit, ssim_limit)) in (0..).zip(SOURCES) {
            let (a, b) = (luma(theirs, tile_rect(tile)), luma(ours, tile_rect(tile)));
            let (difference, likeness) = (mean_difference(&a, &b), ssim(&a, &b, 640));
            let line = format!("picture {n}, {width}x{height} {fit:?}: mean difference {difference:.3}, SSIM {likeness:.4}");
            println!("{line}");
            if difference > difference_limit || likeness < ssim_limit {
                failures.push(line);
            }
        }
        // Colours, over the whole canvas.
        let from = (CANVAS.width_px * CANVAS.height_px) as usize;
        let chroma = |canvas: &[u8]| canvas[from..].iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let difference = mean_difference(&chroma(theirs), &chroma(ours));
        if difference > 0.5 {
            failures.push(format!("picture {n}: colours differ by {difference:.3}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(sound.len(), 2 * 4800);
    assert!(sound.iter().all(|sample| *sample == 10_000), "four voices of 1000 to 4000 are summed");
}

#[test]
fn the_measures_see_what_they_should() {
    let (same, moved) = (picture(640, 360, 0, 0), picture(640, 360, 0, 1));
    let tile = |data: &[u8]| data[..640 * 360].iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    assert!((ssim(&tile(&same), &tile(&same), 640) - 1.0).abs() < 1e-9);
    assert!(ssim(&tile(&same), &tile(&moved), 640) < 0.98 && mean_difference(&tile(&same), &tile(&moved)) > 2.0);
}

/// What the tiles of a layout may differ from the compositor's: mean of the absolute luma differences, and SSIM at least. The compositor's cubic kernel sharpens
/// what it makes much smaller or larger, which the mixer does not; most differs `interview`, whose tiles enlarge the middle of a picture.
const LAYOUT_DIFFERENCE: f64 = 3.0;
const LAYOUT_LIKENESS: f64 = 0.98;

/// Size of a source: a camera in the layer that simulcast gives, or a screen.
fn source_size(tile: &Tile) -> (u32, u32) {
    if tile.video.as_ref().is_some_and(|track| track.kind == TrackKind::Screen) { (1280, 720) } else { (640, 360) }
}

/// What the compositor makes of a Scene whose tiles all show something.
fn composed(scene: &Scene) -> Vec<u8> {
    use std::fmt::Write as _;
    gst::init().unwrap();
    let CanvasSize { width_px, height_px } = scene.canvas;
    let mut text = "compositor name=canvas background=black max-threads=1".to_owned();
    for (n, tile) in scene.tiles.iter().enumerate() {
        let Rect { x, y, width, height } = tile.rect;
        write!(text, " sink_{n}::xpos={x} sink_{n}::ypos={y} sink_{n}::width={width} sink_{n}::height={height}").unwrap();
        if tile.fit == Fit::Contain {
            write!(text, " sink_{n}::sizing-policy=keep-aspect-ratio").unwrap();
        }
    }
    let caps = |width: u32, height: u32| {
        format!("video/x-raw,format=I420,width={width},height={height},framerate=30/1,colorimetry=bt601")
    };
    write!(text, " ! {} ! appsink name=picture sync=false", caps(width_px, height_px)).unwrap();
    for (n, tile) in scene.tiles.iter().enumerate() {
        let (width, height) = source_size(tile);
        let (across, down) = if tile.fit == Fit::Cover { hanging_over((width, height), tile.rect) } else { (0, 0) };
        write!(text, " appsrc name=source_{n} format=time caps={}", caps(width, height)).unwrap();
        write!(text, " ! videocrop left={across} right={across} top={down} bottom={down} ! canvas.sink_{n}").unwrap();
    }
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (n, tile) in (0..).zip(&scene.tiles) {
        let into = pipeline.by_name(&format!("source_{n}")).unwrap().downcast::<AppSrc>().unwrap();
        let (width, height) = source_size(tile);
        let mut buffer = gst::Buffer::from_mut_slice(picture(width, height, n, 0));
        let filled = buffer.get_mut().unwrap();
        filled.set_pts(gst::ClockTime::ZERO);
        filled.set_duration(gst::ClockTime::from_nseconds(33_333_333));
        into.push_buffer(buffer).unwrap();
        into.end_of_stream().unwrap();
    }
    let sink = pipeline.by_name("picture").unwrap().downcast::<AppSink>().unwrap();
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(20)).unwrap();
    let bytes = sample.buffer().unwrap().map_readable().unwrap().to_vec();
    pipeline.set_state(gst::State::Null).unwrap();
    bytes
}

/// What a tile cuts off a picture on each side: left and right, above and below. Even, so that colours stay where they are.
fn hanging_over((width, height): (u32, u32), tile: Rect) -> (u32, u32) {
    let ratio = f64::from(tile.width) / f64::from(tile.height);
    let off = |side: u32, shown: f64| ((f64::from(side) - shown).max(0.0) / 4.0).round() as u32 * 2;
    (off(width, f64::from(height) * ratio), off(height, f64::from(width) / ratio))
}

/// What the mixer makes of the same.
fn mixed(scene: &Scene) -> Vec<u8> {
    let mut mixer = VideoMixer::new(scene.canvas, 30).unwrap();
    mixer.show(Arc::new(scene.clone()));
    for (n, tile) in (0..).zip(&scene.tiles) {
        let (width, height) = source_size(tile);
        let shown = Picture::new(width, height, picture(width, height, n, 0).into()).unwrap();
        mixer.offer(tile.video.as_ref().unwrap(), scene.from, shown);
    }
    mixer.draw(scene.from).i420.to_vec()
}

/// A layout with this many people, of whom the first shares a screen if there is one; only the tiles, without names and borders.
fn tiles_of(layout: &str, people: u64, screens: u64, canvas: CanvasSize) -> Scene {
    let seat = |n: u64, part: Part| {
        let role = if n < 2 { Role::Presenter } else { Role::Attendee };
        let seat = Seat::new(ParticipantId::new(format!("p{n}")), Pii::new("nobody"), part, n);
        Seat { role, ..seat.with_video() }
    };
    let seats = (0..screens).map(|n| seat(n, Part::Screen)).chain((0..people).map(|n| seat(n, Part::Person))).collect();
    let stage = Stage { seats, audible: Vec::new() };
    let mut scene = Layout::built_in(layout).unwrap().arrange(&stage, canvas, SessionTime::from_millis(1000));
    scene.ornaments.clear();
    (scene.background, scene.backdrop) = (Rgb(0, 0, 0), None);
    for tile in &mut scene.tiles {
        (tile.label, tile.speaking) = (None, false);
    }
    scene
}

#[test]
fn each_layout_agrees_with_the_compositor() {
    let upright = CanvasSize { width_px: 720, height_px: 1280 };
    let cases = [
        ("grid", 1, 0, CANVAS),
        ("grid", 4, 0, CANVAS),
        ("grid", 9, 0, CANVAS),
        ("grid", 25, 0, CANVAS),
        ("speaker", 6, 0, CANVAS),
        ("screen", 5, 1, CANVAS),
        ("stage", 6, 0, CANVAS),
        ("interview", 2, 0, CANVAS),
        ("portrait", 3, 0, upright),
    ];
    let mut failures = Vec::new();
    for (layout, people, screens, canvas) in cases {
        let scene = tiles_of(layout, people, screens, canvas);
        assert!(!scene.tiles.is_empty() && scene.tiles.len() as u64 <= people + screens, "{layout}");
        let (theirs, ours) = (composed(&scene), mixed(&scene));
        assert_eq!(theirs.len(), ours.len());
        let (mut most, mut least) = (0.0_f64, 1.0_f64);
        for tile in &scene.tiles {
            let width = canvas.width_px;
            let (a, b) = (luma_of(&theirs, tile.rect, width), luma_of(&ours, tile.rect, width));
            most = most.max(mean_difference(&a, &b));
            least = least.min(ssim(&a, &b, tile.rect.width as usize));
        }
        let line = format!("{layout} with {people}: mean difference up to {most:.3}, SSIM down to {least:.4}");
        println!("{line}");
        if most > LAYOUT_DIFFERENCE || least < LAYOUT_LIKENESS {
            failures.push(line);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
