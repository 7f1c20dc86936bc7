//! What `pictures` promises, in virtual time.

use proptest::prelude::*;

use super::*;

const DELAY: Duration = Duration::from_millis(500);
/// Where the sequence number of the wire wraps.
const WRAP: u64 = 65_536;

/// What came out: the time, whether it follows the frame before it, and whether it is a keyframe.
type Seen = (u64, bool, bool);

struct World {
    start: Instant,
    ms: u64,
    pictures: Pictures,
    unreadable: usize,
}

impl World {
    fn new() -> Self {
        Self { start: Instant::now(), ms: 0, pictures: Pictures::new(DELAY), unreadable: 0 }
    }

    /// In the middle of a stream: the frame of time 1, one packet, was a keyframe.
    fn under_way(first: u64) -> Self {
        let mut world = Self::new();
        assert_eq!(world.comes(&key(first - 1, 1)), [(1, false, true)]);
        world
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// A packet comes now.
    fn comes(&mut self, packet: &Wire) -> Vec<Seen> {
        let Wire { seq, time, marker, codec, payload } = packet.clone();
        let arrival = self.now();
        let put =
            self.pictures.put(Packet { seq, time, marker, arrival, content: Content::Plain(codec), payload: payload.into() });
        self.unreadable += usize::from(put.is_err());
        self.out()
    }

    fn out(&mut self) -> Vec<Seen> {
        let now = self.now();
        std::iter::from_fn(|| self.pictures.take(now)).map(|frame| (frame.time, frame.contiguous, frame.keyframe)).collect()
    }

    /// Lets time pass; what comes out by itself, and when.
    fn waits(&mut self, ms: u64) -> Vec<(u64, Vec<Seen>)> {
        let mut seen = Vec::new();
        for _ in 0..ms {
            self.ms += 1;
            let is_due = self.pictures.wake().is_some_and(|at| at <= self.now());
            let out = self.out();
            assert!(is_due || out.is_empty(), "nothing comes out of itself but when it was said");
            if !out.is_empty() {
                seen.push((self.ms, out));
            }
        }
        seen
    }

    fn asks_in_ms(&self) -> Option<u64> {
        self.pictures.ask_at().map(|at| at.saturating_duration_since(self.start).as_millis() as u64)
    }
}

#[derive(Clone, Debug)]
struct Wire {
    seq: u64,
    time: u64,
    marker: bool,
    codec: Codec,
    payload: Vec<u8>,
}

fn vp8(seq: u64, time: u64, marker: bool, payload: &[u8]) -> Wire {
    Wire { seq, time, marker, codec: Codec::Vp8, payload: payload.to_vec() }
}

/// A keyframe of one packet.
fn key(seq: u64, time: u64) -> Wire {
    vp8(seq, time, true, &[0x10, 0x00, seq as u8])
}

/// Another frame of one packet.
fn delta(seq: u64, time: u64) -> Wire {
    vp8(seq, time, true, &[0x10, 0x01, seq as u8])
}

/// One of a time layer: the number of the base frame, and that of the layer.
fn layered(seq: u64, time: u64, base: u8, layer: u8, sync: bool) -> Wire {
    vp8(seq, time, true, &[0x90, 0x60, base, layer << 6 | u8::from(sync) << 5, 0x01])
}

/// A frame of so many packets.
fn long(seq: u64, time: u64, packets: u64, is_key: bool) -> Vec<Wire> {
    let first = u8::from(!is_key);
    let piece = |n| {
        let head: &[u8] = if n == 0 { &[0x10, first] } else { &[0x00] };
        vp8(seq + n, time, n + 1 == packets, &[head, &[n as u8]].concat())
    };
    (0..packets).map(piece).collect()
}

#[test]
fn frames_are_put_together_in_order_whatever_order_their_packets_have() {
    let mut world = World::under_way(10);
    let frames = [long(10, 2, 3, false), long(13, 3, 2, false), vec![delta(15, 4)]].concat();
    for at in [4, 5, 2, 1, 1, 3, 5] {
        assert_eq!(world.comes(&frames[at]), [], "packet {at}");
    }
    assert_eq!(world.comes(&frames[0]), [(2, true, false), (3, true, false), (4, true, false)]);
    assert_eq!(world.comes(&frames[0]), [], "late");
    assert!(world.pictures.packets.is_empty() && world.pictures.bytes == 0);
    assert_eq!(world.pictures.ask_at(), None);
}

#[test]
fn a_frame_has_the_bytes_of_its_packets_and_the_arrival_of_the_first_of_them() {
    let mut world = World::under_way(10);
    let [a, b, c] = long(10, 2, 3, false).try_into().unwrap();
    for (ms, packet) in [(5, &c), (10, &a)] {
        world.ms = ms;
        world.comes(packet);
    }
    world.ms = 20;
    let put = Packet {
        seq: b.seq,
        time: 2,
        marker: false,
        arrival: world.now(),
        content: Content::Plain(Codec::Vp8),
        payload: b.payload.into(),
    };
    world.pictures.put(put).unwrap();
    let frame = world.pictures.take(world.now()).unwrap();
    assert_eq!((&*frame.data, frame.codec), (&[1, 0, 1, 2][..], Codec::Vp8));
    assert_eq!(frame.arrival, world.start + Duration::from_millis(5));
}

#[test]
fn numbers_may_pass_the_end_of_the_wires_range() {
    let mut world = World::under_way(WRAP - 2);
    assert_eq!(world.comes(&delta(WRAP + 1, 5)), []);
    assert_eq!(world.comes(&delta(WRAP - 1, 3)), []);
    assert_eq!(world.comes(&delta(WRAP - 2, 2)), [(2, true, false), (3, true, false)]);
    assert_eq!(world.comes(&delta(WRAP, 4)), [(4, true, false), (5, true, false)]);
}

#[test]
fn a_repeat_that_comes_in_time_is_not_seen() {
    let mut world = World::under_way(10);
    for n in 1..15 {
        assert_eq!(world.comes(&delta(10 + n, 2 + n)), []);
        assert_eq!(world.waits(40), []);
    }
    assert_eq!(world.comes(&delta(10, 2)).len(), 15);
}

#[test]
fn a_keyframe_passes_a_hole_when_a_repeat_would_be_too_late() {
    let mut world = World::under_way(10);
    world.ms = 1000;
    assert_eq!(world.comes(&delta(11, 3)), []);
    assert_eq!(world.waits(100), []);
    assert_eq!(world.asks_in_ms(), Some(1320));
    for packet in long(12, 4, 3, true) {
        assert_eq!(world.comes(&packet), []);
    }
    assert_eq!(world.asks_in_ms(), None, "what was to be asked for is there");
    assert_eq!(world.comes(&delta(15, 5)), []);
    // 460 ms after the packet was missed; the frame between is left out.
    assert_eq!(world.waits(400), [(1460, vec![(4, false, true), (5, true, false)])]);
    assert_eq!(world.comes(&delta(10, 2)), [], "too late");
}

#[test]
fn a_keyframe_is_asked_for_when_a_repeat_hardly_comes_and_then_given_its_own_time() {
    let mut world = World::under_way(10);
    world.ms = 1000;
    world.comes(&delta(12, 4));
    world.ms = 1020;
    world.comes(&delta(11, 3));
    assert_eq!(world.asks_in_ms(), Some(1320), "for the tenth, which was missed with the first one behind it");
    world.ms = 1370;
    let [first, second, third] = long(13, 5, 3, true).try_into().unwrap();
    assert_eq!(world.comes(&first), []);
    assert_eq!(world.comes(&third), []);
    assert_eq!(world.asks_in_ms(), Some(1370 + 320), "the keyframe is being repaired");
    world.ms = 1450;
    assert_eq!(world.comes(&long(16, 6, 2, true)[0]), []);
    assert_eq!(world.asks_in_ms(), Some(1450 + 320), "and now another one");
    world.ms = 1500;
    assert_eq!(world.comes(&second), [(5, false, true)]);
    assert_eq!(world.asks_in_ms(), None);
}

#[test]
fn no_other_frame_passes_a_hole_before_it_is_given_up() {
    let mut world = World::under_way(10);
    world.ms = 1000;
    for n in 1..10 {
        world.comes(&delta(10 + n, 2 + n));
    }
    let passed = world.waits(700);
    assert_eq!(passed.len(), 1);
    assert_eq!(passed[0].0, 1650);
    assert_eq!((passed[0].1[0], passed[0].1[1], passed[0].1.len()), ((3, false, false), (4, true, false), 9));
    // Now only a keyframe can be shown, so one is not kept waiting.
    world.comes(&delta(21, 14));
    assert_eq!(world.comes(&key(22, 15)), [(15, false, true)]);
    assert_eq!(world.comes(&delta(24, 17)), []);
    assert_eq!(world.comes(&key(25, 18)), [], "but here a repeat may show what is between");
}

#[test]
fn a_mixer_that_waits_less_is_not_kept_waiting() {
    let mut world = World { pictures: Pictures::new(Duration::from_millis(200)), ..World::new() };
    world.comes(&key(9, 1));
    world.comes(&key(11, 3));
    assert_eq!(world.waits(400), [(160, vec![(3, false, true)])]);
}

#[test]
fn what_is_too_far_behind_to_be_repaired_is_not_waited_for() {
    let mut world = World::under_way(10);
    for n in 1..=100 {
        assert_eq!(world.comes(&delta(10 + n, 2 + n)), []);
    }
    assert_eq!(world.comes(&delta(111, 200)).len(), 101);
    assert_eq!(world.comes(&key(5000, 300)), [(300, false, true)], "a jump");
}

#[test]
fn a_frame_of_the_base_layer_passes_a_hole_in_the_others() {
    let mut world = World::new();
    world.comes(&vp8(9, 1, true, &[0x90, 0x60, 7, 0, 0x00]));
    world.ms = 1000;
    // Missing: 10, of the second layer.
    assert_eq!(world.comes(&layered(11, 3, 7, 1, true)), []);
    assert_eq!(world.asks_in_ms(), Some(1320));
    assert_eq!(world.comes(&layered(12, 4, 8, 0, false)), []);
    assert_eq!(world.asks_in_ms(), None);
    assert_eq!(world.comes(&layered(13, 5, 8, 2, false)), []);
    assert_eq!(world.comes(&layered(14, 6, 8, 1, true)), []);
    assert_eq!(world.comes(&layered(15, 7, 8, 1, false)), []);
    assert_eq!(world.comes(&layered(16, 8, 8, 2, false)), []);
    // What may refer to something in the hole is left out, and nobody needs a keyframe.
    assert_eq!(world.waits(500), [(1460, vec![(4, true, false), (6, true, false), (7, true, false)])]);
    assert_eq!(world.comes(&layered(17, 9, 9, 0, false)), [(9, true, false)]);
}

#[test]
fn a_hole_in_the_base_layer_is_passed_by_a_keyframe_only() {
    let mut world = World::new();
    world.comes(&vp8(9, 1, true, &[0x90, 0x60, 255, 0, 0x00]));
    // Missing: base frame 0, behind 255.
    world.comes(&layered(11, 3, 1, 0, false));
    world.comes(&layered(12, 4, 1, 1, true));
    assert_eq!(world.waits(649), []);
    assert_eq!(world.waits(1), [(650, vec![(3, false, false), (4, true, false)])]);
}

#[test]
fn a_stream_begins_with_a_whole_frame() {
    let mut world = World::new();
    let keyframe = long(10, 1, 3, true);
    assert_eq!(world.comes(&keyframe[1]), []);
    assert_eq!(world.comes(&keyframe[2]), []);
    assert_eq!(world.comes(&delta(13, 2)), [(2, false, false)]);
    assert_eq!(world.comes(&key(15, 4)), [(4, false, true)], "until a keyframe nothing is to be waited for");
}

#[test]
fn padding_is_no_frame_and_no_hole() {
    let mut world = World::under_way(10);
    let padding = |seq, time| vp8(seq, time, false, &[]);
    assert_eq!(world.comes(&padding(10, 1)), []);
    assert_eq!(world.comes(&padding(12, 1)), []);
    assert_eq!(world.comes(&padding(11, 1)), []);
    let [a, _, c] = long(13, 2, 3, false).try_into().unwrap();
    assert_eq!([world.comes(&a), world.comes(&padding(14, 1))].concat(), []);
    assert_eq!(world.comes(&c), [(2, true, false)]);
}

#[test]
fn the_next_frame_ends_one_without_a_marker() {
    let mut world = World::under_way(10);
    assert_eq!(world.comes(&Wire { marker: false, ..delta(10, 2) }), []);
    assert_eq!(world.comes(&delta(11, 3)), [(2, true, false), (3, true, false)]);
    world.comes(&delta(13, 5));
    world.comes(&Wire { marker: false, ..key(14, 6) });
    world.comes(&delta(15, 7));
    assert_eq!(world.waits(500), [(460, vec![(6, false, true), (7, true, false)])], "behind a hole, too");
}

#[test]
fn an_unreadable_packet_costs_its_frame_and_is_not_waited_for() {
    let mut world = World::under_way(10);
    let mut frame = long(10, 2, 3, false);
    frame[1].payload = vec![0x90];
    assert_eq!(frame.iter().flat_map(|packet| world.comes(packet)).collect::<Vec<_>>(), []);
    assert_eq!(world.unreadable, 1);
    assert_eq!(world.comes(&delta(13, 3)), [(3, false, false)]);
    assert_eq!(world.comes(&vp8(14, 4, true, &[0x80])), []);
    assert_eq!(world.comes(&delta(15, 5)), [(5, false, false)]);
}

#[test]
fn h264_frames_are_told_apart_by_what_is_known_of_their_ends() {
    let unit = |seq, time, marker, payload: &[u8]| Wire { seq, time, marker, codec: Codec::H264, payload: payload.to_vec() };
    let slice = |seq, time, marker| unit(seq, time, marker, &[0x61, 1]);
    let mut world = World::new();
    assert_eq!(world.comes(&unit(10, 1, false, &[0x67, 1])), []);
    assert_eq!(world.comes(&unit(11, 1, true, &[0x65, 1])), [(1, false, true)]);
    assert_eq!(world.comes(&slice(12, 2, false)), []);
    assert_eq!(world.comes(&slice(13, 2, true)), [(2, true, false)]);
    // Behind a hole a slice may be the second one of its picture; a parameter set is always the first.
    assert_eq!([world.comes(&unit(15, 3, true, &[0x65, 1])), world.comes(&slice(16, 4, true))].concat(), []);
    assert_eq!(world.comes(&unit(18, 6, false, &[0x67, 1])), []);
    assert_eq!(world.comes(&unit(19, 6, true, &[0x65, 1])), []);
    assert_eq!(world.waits(500), [(460, vec![(6, false, true)])]);
}

#[test]
fn a_frame_without_an_end_does_not_fill_the_memory() {
    let mut world = World::under_way(10);
    let endless = |n: u64| vp8(10 + n, 2, false, &[&[if n == 0 { 0x10 } else { 0x00 }, 1][..], &[0; 1000]].concat());
    let mut most = (0, 0);
    for n in 0..20_000 {
        assert_eq!(world.comes(&endless(n)), []);
        most = (most.0.max(world.pictures.packets.len()), most.1.max(world.pictures.bytes));
    }
    assert!(most.0 <= MAX_PACKETS && most.1 <= MAX_BYTES && most.0 > MAX_PACKETS / 2, "{most:?}");
    assert_eq!(world.comes(&key(30_000, 3)), [(3, false, true)]);
}

proptest! {
    /// A stream through a network that loses, doubles and swaps: what comes out is in order, is what went in, and follows from what was shown.
    #[test]
    fn what_comes_out_can_be_shown(
        sizes in proptest::collection::vec((1..5_u64, 0..12_u8), 1..80),
        fates in proptest::collection::vec((0..100_u8, 0..200_u64), 400),
    ) {
        let mut wires = Vec::new();
        let mut seq = WRAP - 50;
        for (n, (packets, kind)) in sizes.iter().enumerate() {
            wires.extend(long(seq, n as u64, *packets, *kind == 0 || n == 0).into_iter().map(|wire| (n as u64 * 40, wire)));
            seq += packets;
        }
        let mut arrivals = Vec::new();
        for ((sent, wire), (fate, late)) in wires.into_iter().zip(&fates) {
            match fate {
                0..10 => {}
                10..20 => arrivals.push((sent + late, wire)),
                20..25 => arrivals.extend([(sent, wire.clone()), (sent + late, wire)]),
                _ => arrivals.push((sent, wire)),
            }
        }
        arrivals.sort_by_key(|(at, wire)| (*at, wire.seq));
        let mut world = World::new();
        let mut seen = Vec::new();
        for (at, wire) in arrivals {
            while world.ms < at {
                world.ms += 1;
                seen.extend(world.out());
            }
            seen.extend(world.comes(&wire));
            let hole = world.pictures.hole();
            prop_assert!(hole.is_none_or(|hole| world.now() - hole.since < GIVE_UP_AFTER), "none is waited for longer");
        }
        prop_assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", seen);
        for pair in seen.windows(2) {
            prop_assert!(!pair[1].1 || pair[1].0 == pair[0].0 + 1, "nothing is missing before {:?}", pair[1]);
        }
        prop_assert!(seen.iter().all(|(time, _, keyframe)| (sizes[*time as usize].1 == 0 || *time == 0) == *keyframe));
    }

    #[test]
    fn garbage_does_no_harm(
        packets in proptest::collection::vec(
            (0..300_u64, 0..4_u64, any::<bool>(), 0..3_usize, 0..400_u64, proptest::collection::vec(any::<u8>(), 0..20)), 0..300),
    ) {
        let mut world = World::new();
        for (seq, time, marker, codec, later, payload) in packets {
            world.ms += later / 10;
            let codec = [Codec::Vp8, Codec::Vp9, Codec::H264][codec];
            world.comes(&Wire { seq: WRAP - 100 + seq, time, marker, codec, payload });
            prop_assert_eq!(world.pictures.bytes, world.pictures.packets.values().map(|held| held.packet.payload.len()).sum::<usize>());
            prop_assert!(world.pictures.wake().is_none_or(|at| at > world.now()), "what is due was done");
        }
    }
}
