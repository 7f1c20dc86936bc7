use std::sync::atomic::{AtomicU32, Ordering};

use recorder_core::effort::Effort;
use recorder_core::scene::{Align, CanvasSize, Content, Ornament, Rect, Rgb};
use recorder_core::secret::Pii;

use super::*;
use crate::graph::VideoSettings;

const SETTINGS: RenditionSettings =
    RenditionSettings { canvas: CanvasSize { width_px: 640, height_px: 360 }, video_kbps: 900, sound_kbps: 128 };
const FPS: u32 = 30;

fn scene() -> Scene {
    let words = Ornament {
        rect: Rect { x: 64, y: 120, width: 512, height: 120 },
        align: Align::Center,
        content: Content::Text(Pii::new("Back soon")),
        text_px: 36,
        colour: Rgb(255, 255, 255),
        plate: None,
        lines: 1,
    };
    Scene { ornaments: vec![words], ..Scene::empty(SessionTime::from_millis(5000), SETTINGS.canvas, Rgb(20, 22, 28)) }
}

fn x264() -> ChosenEncoder {
    Arc::new(EncoderKind::X264.into())
}

/// Headers of the programme's own encoders, which encode something else, and with any effort.
fn headers_of_programme(effort: Effort) -> [Option<Arc<[u8]>>; 2] {
    let (told, packets) = channel();
    let video = VideoSettings {
        canvas: SETTINGS.canvas,
        fps: FPS,
        kbps: SETTINGS.video_kbps,
        gop_seconds: GOP_SECONDS,
        effort,
        by: EncoderKind::X264,
    };
    let encoder = VideoEncoder::start(video, move |packet| drop(told.send(packet))).unwrap();
    for n in 0..3_u8 {
        let canvas: Vec<u8> = (0..640 * 360 * 3 / 2).map(|at: u32| (at as u8).wrapping_mul(31).wrapping_add(n * 40)).collect();
        encoder.push(&canvas.into(), 12_345_678_901 + u64::from(n) * 33_333_333).unwrap();
    }
    encoder.finish();
    let avc = all(&packets).unwrap()[0].config.clone();
    let (told, packets) = channel();
    let encoder = SoundEncoder::start(CHANNELS, SETTINGS.sound_kbps, move |packet| drop(told.send(packet))).unwrap();
    let block: Vec<f32> = (0..2048).map(|n| (n as f32 * 0.05).sin() * 0.3).collect();
    (0..5).for_each(|n| encoder.push(&block, n * AAC_FRAME_SAMPLES, CHANNELS).unwrap());
    encoder.finish();
    [avc, all(&packets).unwrap()[0].config.clone()]
}

#[test]
fn a_slate_is_one_group_of_pictures_with_the_headers_of_the_programme() {
    let begin = Instant::now();
    let slate = Slate::encode(SETTINGS, FPS, EncoderKind::X264, scene()).unwrap();
    let bytes: usize = slate.pictures.iter().map(|picture| picture.len()).sum();
    println!(
        "{} pictures, {bytes} bytes, silence of {} bytes, made in {:?}",
        slate.pictures.len(),
        slate.silence.len(),
        begin.elapsed()
    );
    assert_eq!(slate.pictures.len(), 60);
    // NAL units with a length of four bytes; type 5 is a picture that can be decoded alone (H.264 7.4.1).
    let has_key = |picture: &[u8]| {
        let mut rest = picture;
        let mut found = false;
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            found |= more.first().is_some_and(|kind| kind & 0x1f == 5);
            rest = more.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
        }
        found
    };
    let keys: Vec<bool> = slate.pictures.iter().map(|picture| has_key(picture)).collect();
    assert_eq!(keys, (0..60).map(|n| n == 0).collect::<Vec<_>>());
    for effort in [Effort::Full, Effort::Least] {
        let headers = headers_of_programme(effort);
        assert_eq!(headers, [Some(slate.avc_config.clone()), Some(slate.aac_config.clone())]);
    }
}

#[test]
fn a_slate_is_made_once_however_often_it_is_wanted() {
    let (source, asked) = (SlateSource::default(), AtomicU32::new(0));
    assert_eq!(source.wait(Duration::ZERO), Awaited::NotYet);
    let prepare = || {
        source.prepare(SETTINGS, FPS, &x264(), || {
            asked.fetch_add(1, Ordering::Relaxed);
            Some(scene())
        });
    };
    (0..3).for_each(|_| prepare());
    let Awaited::Here(first) = source.wait(LONGEST) else { panic!("no slate") };
    prepare();
    let Awaited::Here(second) = source.wait(Duration::ZERO) else { panic!("no slate") };
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(asked.into_inner(), 1);
}

#[test]
fn whoever_waits_for_a_slate_that_there_cannot_be_is_told() {
    let source = SlateSource::default();
    source.prepare(SETTINGS, FPS, &x264(), || None);
    assert_eq!(source.wait(LONGEST), Awaited::Impossible);
    let source = SlateSource::default();
    let no_size = RenditionSettings { canvas: CanvasSize { width_px: 0, height_px: 0 }, ..SETTINGS };
    source.prepare(no_size, FPS, &x264(), || Some(scene()));
    assert_eq!(source.wait(LONGEST), Awaited::Impossible);
}
