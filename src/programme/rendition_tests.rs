use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use recorder_core::scene::CanvasSize;

use super::*;
use crate::clock::SessionClock;
use crate::graph::EncodedPacket;
use crate::programme::assemble::Assembled;
use crate::programme::packet::{Packet, Stream};
use crate::programme::ring::{Next, Ring};

const CANVAS: CanvasSize = CanvasSize { width_px: 320, height_px: 180 };
const TICKS: u64 = 150;

/// The pictures as a decoder's input: H.264 with start codes, the parameter sets of the header first.
fn annex_b(header: &[u8], packets: &[Arc<Packet>]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut unit = |bytes: &[u8]| {
        stream.extend_from_slice(&[0, 0, 0, 1]);
        stream.extend_from_slice(bytes);
    };
    // avcC: six bytes, then one SPS and one PPS, each behind its length.
    let length = |at: usize| usize::from(header[at]) << 8 | usize::from(header[at + 1]);
    let sps = 8..8 + length(6);
    let pps = sps.end + 3..sps.end + 3 + length(sps.end + 1);
    unit(&header[sps]);
    unit(&header[pps]);
    for packet in packets {
        let mut rest = packet.data.as_ref();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (bytes, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
            unit(bytes);
            rest = next;
        }
    }
    stream
}

fn decoded_pictures(stream: &[u8]) -> usize {
    let mut player = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-f", "h264", "-i", "-", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = player.stdin.take().unwrap();
    let stream = stream.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&stream));
    let output = player.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the stream decodes without an error");
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count()
}

/// A viewer sees one stream without a break, although three encoders made it.
#[test]
fn another_effort_changes_neither_headers_nor_order() {
    let settings = RenditionSettings { canvas: CANVAS, video_kbps: 400, sound_kbps: 64 };
    let mut rendition = RenditionPictures::new(settings, EncoderKind::X264, 30, WallClock::of(SessionClock::start())).unwrap();
    let ring = Ring::default();
    let grid = Grid { canvas: CANVAS, fps: 30, first: SessionTime::ZERO };
    let assembler = Assembler::new(ring.clone(), grid, |said| said == Assembled::Ended);
    let mut cursor = ring.record_from(SessionTime::ZERO);
    rendition.begin(grid, assembler.clone()).unwrap();
    let header = EncodedPacket { pts_ns: 0, keyframe: true, data: [0].into(), config: Some([0].into()) };
    assembler.sound(Some(header));
    for number in 0..TICKS {
        let tick = Tick { number, at: grid.picture(number), is_late: false, is_last: false, is_ending: false };
        match number {
            50 => rendition.output.as_mut().unwrap().replace(Effort::Less, tick).unwrap(),
            100 => rendition.output.as_mut().unwrap().replace(Effort::Least, tick).unwrap(),
            _ => {}
        }
        // As on a machine that keeps up: no picture is left out.
        while rendition.backlog() > 1 {
            rendition.output.as_mut().unwrap().hand_over().unwrap();
            std::thread::yield_now();
        }
        assert!(rendition.tick(tick).unwrap());
    }
    while !rendition.finish().unwrap() {
        std::thread::yield_now();
    }
    let mut pictures = Vec::new();
    while pictures.len() < TICKS as usize {
        match cursor.next(Duration::from_secs(20)) {
            Next::Packet(packet) if packet.stream == Stream::Video => pictures.push(packet),
            Next::Packet(_) => {}
            other => panic!("after {} pictures: {other:?}", pictures.len()),
        }
    }
    let times: Vec<SessionTime> = pictures.iter().map(|packet| packet.pts).collect();
    assert_eq!(times, (0..TICKS).map(|number| grid.picture(number)).collect::<Vec<_>>());
    let keyframes: Vec<usize> = (0..pictures.len()).filter(|index| pictures[*index].keyframe).collect();
    assert_eq!(keyframes, [0, 50, 100], "a new encoder begins with a keyframe");
    let headers = cursor.headers().unwrap();
    assert_eq!(decoded_pictures(&annex_b(&headers.avc_config, &pictures)), TICKS as usize);
}

#[test]
fn the_headers_of_all_efforts_are_the_same() {
    for (width_px, height_px, kbps) in [(1280, 720, 3000), (1920, 1080, 4500), (854, 480, 1200), (720, 1280, 3000)] {
        let headers = [Effort::Full, Effort::Less, Effort::Least].map(|effort| {
            let canvas = CanvasSize { width_px, height_px };
            let settings = VideoSettings { canvas, fps: 30, kbps, gop_seconds: 2, effort, by: EncoderKind::X264 };
            let (sender, receiver) = std::sync::mpsc::channel();
            let encoder = VideoEncoder::start(settings, move |packet| drop(sender.send(packet))).unwrap();
            let grey: Arc<[u8]> = vec![128; (width_px * height_px * 3 / 2) as usize].into();
            encoder.push(&grey, 0).unwrap();
            encoder.finish();
            receiver.recv().unwrap().unwrap().config.unwrap()
        });
        assert_eq!(headers[0], headers[1], "{width_px}x{height_px}");
        assert_eq!(headers[0], headers[2], "{width_px}x{height_px}");
    }
}
