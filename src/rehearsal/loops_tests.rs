use std::collections::HashMap;

use super::*;
use crate::mixer::picture::Picture;
use crate::rehearsal::encode::{PACKET_SAMPLES, SAMPLE_RATE_HZ, sound_sample};
use crate::rehearsal::picture::read_counter;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

/// Bit 0 of a VP8 frame is clear for a keyframe (RFC 6386 §9.1).
fn is_keyframe(picture: &[u8]) -> bool {
    picture[0] & 1 == 0
}

fn decode(pictures: &[Arc<[u8]>]) -> Vec<Picture> {
    let graph = gst::parse::launch(
        "appsrc name=source format=time caps=video/x-vp8 ! vp8dec threads=1 ! video/x-raw,format=I420 ! appsink name=sink sync=false",
    );
    let graph = graph.unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = graph.by_name("source").unwrap().downcast::<AppSrc>().unwrap();
    let sink = graph.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    graph.set_state(gst::State::Playing).unwrap();
    for (n, picture) in (0..).zip(pictures) {
        let mut buffer = gst::Buffer::from_slice(Arc::clone(picture));
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(33 * n));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let mut decoded = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let caps = sample.caps().unwrap().structure(0).unwrap();
        let side = |name| caps.get::<i32>(name).unwrap() as u32;
        let map = sample.buffer().unwrap().map_readable().unwrap();
        // The sizes of the tests leave no padding.
        decoded.push(Picture::new(side("width"), side("height"), Arc::from(map.as_slice())).unwrap());
    }
    while let Some(message) = graph.bus().unwrap().pop() {
        assert!(!matches!(message.type_(), gst::MessageType::Error | gst::MessageType::Warning), "{message:?}");
    }
    graph.set_state(gst::State::Null).unwrap();
    decoded
}

fn mean_difference(a: &Picture, b: &Picture) -> f64 {
    let (a, b) = (a.planes().0, b.planes().0);
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn twins_can_stand_in_for_any_picture_of_the_chain() {
    gst::init().unwrap();
    let person = &card::PEOPLE[2];
    let (width, height) = (256, 144);
    let main = encode_pictures(Surface::Plain, person, width, height, 100_000, LoopChain::Main).unwrap();
    let twin = encode_pictures(Surface::Plain, person, width, height, 100_000, LoopChain::Keyframes).unwrap();
    let keyframes: Vec<usize> = (0..main.len()).filter(|&n| is_keyframe(&main[n])).collect();
    assert_eq!(keyframes, (0..10).map(|second| second * 30).collect::<Vec<_>>());
    assert!(twin.iter().all(|picture| is_keyframe(picture)));

    // Two rounds, so that the seam is in it, with a twin at scattered places, some of them neighbours.
    let spliced_at = [7_usize, 8, 41, 59, 60, 61, 133, 170, 299, 301, 333, 416, 598];
    let whole: Vec<Arc<[u8]>> = main.iter().chain(&main).cloned().collect();
    let mut spliced = whole.clone();
    for at in spliced_at {
        spliced[at] = Arc::clone(&twin[at % 300]);
    }
    let (whole, spliced) = (decode(&whole), decode(&spliced));
    assert_eq!((whole.len(), spliced.len()), (600, 600));
    for (n, picture) in spliced.iter().enumerate() {
        assert_eq!(read_counter(picture), Some(n as u32 % 300), "picture {n}");
        // A twin is coarser, but no picture after it is garbage.
        let difference = mean_difference(picture, &whole[n]);
        assert!(difference < 2.0, "picture {n} differs by {difference}");
    }
    assert_eq!(whole[6], spliced[6]);
    assert_eq!(whole[90], spliced[90], "the next keyframe must end the difference");
}

#[test]
fn decoded_sound_is_in_time_over_the_seam() {
    let person = &card::PEOPLE[1];
    let packets = encode_sound(person).unwrap();
    assert_eq!(packets.len(), 500);
    assert!(packets.iter().all(|packet| packet.len() == 160), "constant rate");
    let mut decoder = opus::Decoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono).unwrap();
    let mut decoded = Vec::new();
    let mut out = [0.0_f32; PACKET_SAMPLES as usize];
    for packet in packets.iter().chain(&packets) {
        assert_eq!(decoder.decode_float(packet, &mut out, false).unwrap(), out.len());
        decoded.extend(out);
    }
    // What any Opus encoder of this kind looks ahead, and so every decoder gives too late (RFC 7845 §4.2 calls it pre-skip).
    decoded.drain(..312);
    decoded.extend([0.0; 312]);
    // Which shift of the true sound is nearest to what was decoded: around a beep, within the first round and at the seam.
    let rate = SAMPLE_RATE_HZ as usize;
    for around in [3 * rate, 10 * rate, 13 * rate] {
        let distance = |shift: i64| -> f32 {
            let window = around - rate / 100..around + rate / 50;
            window.map(|at| (decoded[at] - sound_sample(person, (at as i64 - shift) as u32)).powi(2)).sum()
        };
        let best = (-480_i64..=480).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
        assert!(best.abs() <= 2, "shifted by {best} samples at {around}");
    }
    // A click at the seam would stand out of the rest.
    let error = |at: usize| (decoded[at] - sound_sample(person, at as u32)).abs();
    let worst = |range: std::ops::Range<usize>| range.map(error).fold(0.0, f32::max);
    let (seam, beside) = (worst(10 * rate - 960..10 * rate + 960), worst(12 * rate - 960..12 * rate + 960));
    assert!(seam < beside * 1.5 + 0.002, "{seam} at the seam, {beside} elsewhere");
}

#[test]
fn makers_at_the_same_time_leave_whole_files_and_damage_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let make = || ensure(dir.path(), 1, &[Layer::L180]).unwrap();
    let sets = std::thread::scope(|scope| [scope.spawn(make), scope.spawn(make)].map(|maker| maker.join().unwrap()));
    for set in &sets {
        let [person] = &set.people[..] else { panic!("one person") };
        assert_eq!((person.person.name, person.sound.len(), person.layers.len()), ("Ada", 500, 1));
        assert_eq!((person.layers[0].main.len(), person.layers[0].twin.len()), (300, 300));
    }
    let files = || -> HashMap<String, u64> {
        let entries = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
    };
    let whole = files();
    let mut names: Vec<&str> = whole.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["ada.opuspackets", "ada_180.ivf", "ada_180_key.ivf", "lock"]);

    let path = dir.path().join("ada.opuspackets");
    fs::write(&path, &fs::read(&path).unwrap()[..70_000]).unwrap();
    make();
    assert_eq!(files(), whole);
}

#[test]
fn damaged_files_are_seen() {
    assert!(read_ivf(b"").is_none() && read_ivf(b"DKIF").is_none());
    let file = ivf(16, 16, &[Arc::from(*b"abc"), Arc::from(*b"defg")]);
    assert_eq!(read_ivf(&file).unwrap().len(), 2);
    assert!((33..file.len()).filter(|&cut| cut != 47).all(|cut| read_ivf(&file[..cut]).is_none()));
    assert!(read_packet_file(&[5, 0, 1, 2]).is_none());
    assert_eq!(read_packet_file(&[2, 0, 1, 2]).unwrap(), [Arc::from([1, 2])]);
}

#[test]
fn a_file_is_named_in_ascii() {
    let stems: Vec<String> = card::PEOPLE.iter().map(file_stem).collect();
    assert_eq!(stems, ["ada", "bjoern", "chiara", "dmitri", "emeka", "fatima", "guel", "hana", "ivo"]);
}

#[test]
fn the_smallest_sufficient_layer_is_chosen() {
    assert_eq!(Layer::fitting(Layer::ALL, 320, 180), Some(Layer::L180));
    assert_eq!(Layer::fitting(Layer::ALL, 322, 180), Some(Layer::L360));
    assert_eq!(Layer::fitting(Layer::ALL, 1920, 1080), Some(Layer::L720));
    assert_eq!(Layer::fitting([Layer::L360, Layer::L180], 1280, 720), Some(Layer::L360));
    assert_eq!(Layer::fitting([], 1, 1), None);
}

#[test]
fn a_turn_begins_and_ends_without_a_click_and_silence_is_silent() {
    let silence = crate::rehearsal::encode::encode_silence().unwrap();
    let person = &card::PEOPLE[0];
    let packets = encode_sound(person).unwrap();
    // Half a second of silence, a turn from packet 25 to packet 75, and silence again.
    let sent = (0..25).map(|_| &silence).chain(&packets[25..75]).chain((0..50).map(|_| &silence));
    let mut decoder = opus::Decoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono).unwrap();
    let mut heard = Vec::new();
    for packet in sent {
        let mut samples = [0.0_f32; PACKET_SAMPLES as usize];
        assert_eq!(decoder.decode_float(packet, &mut samples, false).unwrap(), PACKET_SAMPLES as usize);
        heard.extend(samples);
    }
    let loudest = |from: usize, until: usize| heard[from..until].iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
    let (begin, end) = (25 * PACKET_SAMPLES as usize, 75 * PACKET_SAMPLES as usize);
    assert!(loudest(0, begin) < 1e-4 && loudest(end + 4_800, heard.len()) < 1e-3, "silence");
    assert!(loudest(begin, end) > 0.15, "the beep is in it");
    // The beep is the loudest; at the ends of the turn there is nothing above the tone.
    assert!(
        loudest(begin, begin + 4_800) < 1.5 * card::TONE_AMPLITUDE
            && loudest(end - 4_800, end + 4_800) < 1.5 * card::TONE_AMPLITUDE
    );
}
