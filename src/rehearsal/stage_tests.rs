use super::*;
use crate::rehearsal::loops::LayerLoop;

const SILENCE: &[u8; 3] = b"...";

/// Loops whose pictures say what they are: layer, chain, number.
fn loops(card: usize) -> PersonLoops {
    let chain = |layer: Layer, twin: u8| {
        let picture = |n: u32| Arc::from([layer.size_px().1 as u8, twin, (n / 256) as u8, n as u8]);
        (0..card::LOOP_FRAMES).map(picture).collect()
    };
    let layers = Layer::ALL.map(|layer| LayerLoop { layer, main: chain(layer, 0), twin: chain(layer, 1) });
    let sound = (0..LOOP_PACKETS).map(|n| Arc::from([(n / 256) as u8, n as u8])).collect();
    PersonLoops { person: &PEOPLE[card], layers: layers.into(), sound }
}

fn stage() -> Stage {
    let mut stage = Stage::new(vec![loops(0), loops(1)], Arc::from(*SILENCE));
    stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Join }, 0);
    stage
}

fn camera() -> TrackId {
    TrackId::new(participant(0), TrackKind::Camera)
}

fn wish(track: TrackId, size_px: Option<(u32, u32)>) -> Wish {
    Wish { track, size_px }
}

const MS: u64 = 1_000_000;

fn height(layer: Layer) -> u8 {
    layer.size_px().1 as u8
}

#[test]
fn pictures_and_packets_have_exact_times_that_share_one_zero() {
    let mut stage = stage();
    let sound = TrackId::new(participant(0), TrackKind::Microphone);
    stage.wish(&[wish(camera(), Some((320, 180))), wish(sound.clone(), None)]);
    let due = stage.due(1_000 * MS);
    let of = |track: &TrackId| due.iter().filter(|due| due.track == *track).cloned().collect::<Vec<_>>();
    let (pictures, packets) = (of(&camera()), of(&sound));
    assert_eq!((pictures.len(), packets.len()), (31, 51), "both ends of the second");
    assert!(pictures.windows(2).all(|two| two[1].rtp_time - two[0].rtp_time == 3_000));
    assert!(packets.windows(2).all(|two| two[1].rtp_time - two[0].rtp_time == 960));
    assert_eq!((pictures[30].captured_ns, packets[50].captured_ns), (1_000 * MS, 1_000 * MS));
    assert_eq!(stage.due(1_000 * MS).len(), 0, "nothing comes twice");
    assert_eq!(stage.next_due_ns(), Some(1_020 * MS));
}

#[test]
fn only_what_is_wanted_is_sent_and_it_begins_with_a_keyframe() {
    let mut stage = stage();
    assert!(stage.due(100 * MS).is_empty());
    assert!(stage.wanted().is_empty());
    stage.wish(&[wish(camera(), Some((640, 360)))]);
    assert_eq!(stage.wanted(), [camera()]);
    let due = stage.due(180 * MS);
    let bytes: Vec<&[u8]> = due.iter().map(|due| &due.data[..]).collect();
    let layer = height(Layer::L360);
    assert_eq!(bytes, [[layer, 1, 0, 4], [layer, 0, 0, 5]], "picture 4 as a keyframe, then the chain");
    stage.wish(&[wish(camera(), None)]);
    assert!(stage.due(300 * MS).is_empty(), "subscribed, but not in the Scene");
    assert_eq!(stage.wanted(), [camera()]);
}

#[test]
fn a_keyframe_request_and_a_layer_switch_are_answered_by_the_next_picture() {
    let mut stage = stage();
    stage.wish(&[wish(camera(), Some((320, 180)))]);
    let first = |stage: &mut Stage, ms: u64| stage.due(ms * MS).first().map(|due| due.data.to_vec()).unwrap();
    let (small, large) = (height(Layer::L180), height(Layer::L720));
    assert_eq!(first(&mut stage, 0), [small, 1, 0, 0]);
    assert_eq!(first(&mut stage, 34), [small, 0, 0, 1]);
    stage.want_keyframe(&camera());
    assert_eq!(first(&mut stage, 67), [small, 1, 0, 2]);
    assert_eq!(first(&mut stage, 100), [small, 0, 0, 3]);
    stage.wish(&[wish(camera(), Some((1280, 720)))]);
    assert_eq!(first(&mut stage, 134), [large, 1, 0, 4]);
    assert_eq!(first(&mut stage, 167), [large, 0, 0, 5]);
}

#[test]
fn mute_keeps_time_and_a_new_join_begins_anew() {
    let mut stage = stage();
    stage.wish(&[wish(camera(), Some((320, 180)))]);
    stage.due(0);
    let told = stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Mute(TrackKind::Camera) }, 0);
    assert_eq!(told, [FromActors::TrackUp { track: camera(), muted: true }]);
    assert!(stage.due(990 * MS).is_empty());
    stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Unmute(TrackKind::Camera) }, 0);
    let due = stage.due(1_000 * MS);
    assert_eq!(due[0].data[..], [height(Layer::L180), 1, 0, 30]);
    assert_eq!(due[0].rtp_time - RTP_BASE, 90_000);

    stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Leave }, 1_100 * MS);
    assert!(stage.wanted().is_empty() && stage.due(2_000 * MS).is_empty());
    stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Join }, 3_000 * MS);
    assert_eq!(stage.wanted(), [camera()], "a wish outlives the leaving");
    assert_eq!(stage.due(3_000 * MS)[0].rtp_time, RTP_BASE);
}

#[test]
fn who_comes_later_is_told_everything() {
    let mut stage = stage();
    stage.perform(&Act { at_ms: 0, person: 0, deed: Deed::Speak }, 0);
    let sound = TrackId::new(participant(0), TrackKind::Microphone);
    let expected = [
        FromActors::Joined { participant: participant(0), name: "Ada".into() },
        FromActors::TrackUp { track: camera(), muted: false },
        FromActors::TrackUp { track: sound, muted: false },
        FromActors::Speaking { participants: vec![participant(0)] },
    ];
    assert_eq!(stage.tell_all(), expected);
}

#[test]
fn people_take_turns_and_change_half_way_between_two_beeps() {
    let mut stage = stage();
    let act = |person, deed| Act { at_ms: 0, person, deed };
    let sound = |person| TrackId::new(participant(person), TrackKind::Microphone);
    stage.perform(&act(0, Deed::Speak), 0);
    stage.perform(&act(1, Deed::Join), 0);
    stage.wish(&[wish(sound(0), None), wish(sound(1), None)]);
    // When each person's own second has passed so far, in milliseconds of their media time.
    let heard = |due: &[Due], person| {
        let own = due.iter().filter(|due| due.track == sound(person));
        let spoken = own.filter(|due| due.data[..] != SILENCE[..]).map(|due| (due.rtp_time - RTP_BASE) / 48);
        let spoken: Vec<u64> = spoken.collect();
        (spoken.len(), spoken.first().copied(), spoken.last().copied())
    };
    let first = stage.due(1_990 * MS);
    assert_eq!(first.len(), 100 + 100, "silence is sent, too");
    assert_eq!((heard(&first, 0), heard(&first, 1)), ((100, Some(0), Some(1_980)), (0, None, None)));
    stage.perform(&act(1, Deed::Speak), 2_000 * MS);
    let second = stage.due(3_990 * MS);
    assert_eq!(heard(&second, 0), (25, Some(2_000), Some(2_480)), "the last word ends behind the beep");
    assert_eq!(heard(&second, 1).1, Some(2_500), "the next one begins before a beep");
}
