use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::*;
use crate::rehearsal::card;
use crate::rehearsal::encode::sound_sample;
use crate::rehearsal::picture::card_picture;

/// How a synthetic film is made.
struct Film {
    seconds: u32,
    /// The sound is this much later than the picture.
    sound_late_samples: usize,
    /// Programme pictures that show this much older a source picture.
    stuck: std::ops::Range<u32>,
}

/// Two people side by side, Ada and Chiara, at 640x180, with the elements that a Debian 12 installation of ours has.
fn make(film: &Film, file: &Path) {
    gst::init().unwrap();
    let graph = gst::parse::launch(
        "appsrc name=pictures format=time caps=video/x-raw,format=I420,width=640,height=180,framerate=30/1 \
           ! x264enc speed-preset=ultrafast tune=zerolatency threads=1 bitrate=1500 ! h264parse ! qtmux name=mux ! filesink name=file \
         appsrc name=sound format=time caps=audio/x-raw,format=F32LE,rate=48000,channels=1,layout=interleaved \
           ! audioconvert ! audio/x-raw,format=S16LE ! mux.",
    )
    .unwrap();
    let graph = graph.downcast::<gst::Pipeline>().unwrap();
    graph.by_name("file").unwrap().set_property("location", file);
    let source = |name: &str| graph.by_name(name).unwrap().downcast::<AppSrc>().unwrap();
    let (pictures, sound) = (source("pictures"), source("sound"));
    graph.set_state(gst::State::Playing).unwrap();
    let push = |to: &AppSrc, data: Vec<u8>, at: u64, per_second: u64, units: u64| {
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let time = |n: u64| gst::ClockTime::from_nseconds(n * 1_000_000_000 / per_second);
        buffer.get_mut().unwrap().set_pts(time(at));
        buffer.get_mut().unwrap().set_duration(time(at + units) - time(at));
        to.push_buffer(buffer).unwrap();
    };
    for n in 0..film.seconds * card::FPS {
        let number = 10 + if film.stuck.contains(&n) { film.stuck.start } else { n };
        let cards = [0, 2].map(|person| card_picture(&PEOPLE[person], number, 320, 180).unwrap());
        let mut data = Vec::new();
        for (plane, width) in [(0, 320), (1, 160), (2, 160)] {
            let [left, right] = cards.each_ref().map(|card| [card.planes().0, card.planes().1, card.planes().2][plane]);
            left.chunks(width).zip(right.chunks(width)).for_each(|(left, right)| data.extend([left, right].concat()));
        }
        push(&pictures, data, u64::from(n), u64::from(card::FPS), 1);
    }
    for block in 0..film.seconds as usize * 10 {
        // Media time begins with picture 10 here, as if one had come later.
        let at = |n: usize| 16_000 + (block * 4_800 + n + 480_000 - film.sound_late_samples) as u32;
        let both = |n| sound_sample(&PEOPLE[0], at(n)) + sound_sample(&PEOPLE[2], at(n));
        push(&sound, (0..4_800).flat_map(|n| f32::to_le_bytes(both(n))).collect(), block as u64 * 4_800, 48_000, 4_800);
    }
    pictures.end_of_stream().unwrap();
    sound.end_of_stream().unwrap();
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = graph.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(30), &end).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    graph.set_state(gst::State::Null).unwrap();
}

fn inspected(film: &Film) -> Inspection {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    make(film, &file);
    inspect(&file).unwrap()
}

#[test]
fn a_film_in_time_is_measured_as_such() {
    let inspection = inspected(&Film { seconds: 4, sound_late_samples: 0, stuck: 0..0 });
    assert!((inspection.duration_s - 4.0).abs() < 0.05, "{inspection:?}");
    assert_eq!((inspection.width_px, inspection.height_px, inspection.pictures), (640, 180, 120));
    assert!((inspection.sound_s - 4.0).abs() < 0.01 && inspection.sound_gaps_ms == 0.0);
    let (least, most) = inspection.picture_interval_ms;
    assert!(least > 33.0 && most < 34.0, "{least} {most}");
    let names: Vec<&str> = inspection.people.iter().map(|person| person.name.as_str()).collect();
    assert_eq!(names, ["Ada", "Chiara"]);
    for person in &inspection.people {
        assert_eq!((person.shown, person.repeated, person.missed, person.unread), (120, 0, 0, 0), "{person:?}");
        assert_eq!((person.flashes, person.beeps), (4, 4));
        let offset = person.av_offset.unwrap();
        assert!(offset.median_ms.abs() < 1.0 && offset.worst_ms.abs() < 1.5, "{offset:?}");
    }
    assert_eq!(inspection.av_offset.unwrap().count, 8);
    let text = serde_json::to_string(&inspection).unwrap();
    assert_eq!(serde_json::from_str::<Inspection>(&text).unwrap().people.len(), 2);
}

#[test]
fn late_sound_and_a_picture_that_stands_still_are_seen() {
    let inspection = inspected(&Film { seconds: 4, sound_late_samples: 1_920, stuck: 65..70 });
    let offset = inspection.av_offset.unwrap();
    assert!((offset.median_ms + 40.0).abs() < 1.5, "the picture is 40 ms early: {offset:?}");
    for person in &inspection.people {
        assert_eq!((person.shown, person.repeated, person.missed), (116, 4, 4), "{person:?}");
        assert!((person.longest_still_ms - 5_000.0 / 30.0).abs() < 1.0, "{person:?}");
    }
}

#[test]
fn what_is_no_film_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    assert!(matches!(inspect(&file), Err(InspectError::Decode(_))));
    std::fs::write(&file, vec![7; 10_000]).unwrap();
    assert!(matches!(inspect(&file), Err(InspectError::Decode(_))));
}
