use std::cell::{Cell, RefCell};
use std::rc::Rc;

use recorder_core::ids::{ParticipantId, TrackKind};

use super::*;
use crate::mixer::video::HELD_PICTURES;

/// Decoded pictures of a Track that may wait.
const ROOM: usize = HELD_PICTURES - 1;

/// A decoder that notes what it gets, and gives pictures back when told.
#[derive(Clone)]
struct Noting {
    codec: Codec,
    got: Rc<RefCell<Vec<u64>>>,
    in_flight: Rc<Cell<usize>>,
    pictures: Rc<Cell<u64>>,
    broken: Rc<Cell<bool>>,
}

impl Decoder for Noting {
    fn codec(&self) -> Codec {
        self.codec
    }
    fn push(&self, frame: &MediaFrame) -> Result<(), GraphError> {
        self.got.borrow_mut().push(frame.rtp_time);
        self.in_flight.set(self.in_flight.get() + 1);
        Ok(())
    }
    fn in_flight(&self) -> usize {
        self.in_flight.get()
    }
    fn pictures(&self) -> u64 {
        self.pictures.get()
    }
    fn settle(&self) {
        self.in_flight.set(0);
    }
    fn is_broken(&self) -> bool {
        self.broken.take()
    }
}

struct World {
    feeds: Feeds<Noting>,
    got: Rc<RefCell<Vec<u64>>>,
    in_flight: Rc<Cell<usize>>,
    pictures: Rc<Cell<u64>>,
    broken: Rc<Cell<bool>>,
    /// Decoded pictures that wait.
    waiting: usize,
}

fn track() -> TrackId {
    TrackId::new(ParticipantId::new("ada"), TrackKind::Camera)
}

fn frame(n: u64, keyframe: bool) -> MediaFrame {
    let capture = SessionTime::from_millis(n * 33);
    MediaFrame {
        track: track(),
        codec: Codec::Vp8,
        rtp_time: n,
        stream: 1,
        capture,
        arrival: capture,
        contiguous: true,
        keyframe,
        data: vec![0; 100].into(),
    }
}

impl World {
    fn new() -> Self {
        let mut feeds = Feeds::default();
        feeds.show([track()].into());
        let (got, in_flight, pictures, broken) = (Rc::default(), Rc::default(), Rc::default(), Rc::default());
        Self { feeds, got, in_flight, pictures, broken, waiting: 0 }
    }

    fn advance(&mut self, at_ms: u64) -> Vec<TrackId> {
        let (got, in_flight, pictures, broken) =
            (self.got.clone(), self.in_flight.clone(), self.pictures.clone(), self.broken.clone());
        let at = SessionTime::from_millis(at_ms);
        let start = |_: &TrackId, codec| {
            Ok(Noting {
                codec,
                got: got.clone(),
                in_flight: in_flight.clone(),
                pictures: pictures.clone(),
                broken: broken.clone(),
            })
        };
        self.feeds.advance(at, at, |_| ROOM - self.waiting, start)
    }

    fn got(&self) -> Vec<u64> {
        self.got.borrow().clone()
    }
}

#[test]
fn frames_wait_encoded_until_shortly_before_they_are_due() {
    let mut world = World::new();
    (0..20).for_each(|n| world.feeds.accept(frame(n, n == 0)));
    world.advance(0);
    assert_eq!(world.got(), (0..10).collect::<Vec<_>>(), "at most ten are decoded ahead");
    for (free, got) in [(1, 10), (2, 10), (3, 10), (4, 14), (1, 14)] {
        world.in_flight.set(ROOM - free);
        world.advance(33 * free as u64);
        assert_eq!(world.got().len(), got, "with room for {free} more: a few at once, then none");
    }
}

#[test]
fn nothing_is_decoded_long_before_it_is_due() {
    let mut world = World::new();
    for n in 0..20 {
        world.feeds.accept(MediaFrame { capture: SessionTime::from_millis(n * 100), ..frame(n, n == 0) });
    }
    world.advance(0);
    assert_eq!(world.got(), [0, 1, 2, 3], "333 ms, and nothing later");
    world.in_flight.set(2);
    world.advance(100);
    assert_eq!(world.got(), [0, 1, 2, 3, 4], "a slow camera's decoder has room and gets single frames");
}

#[test]
fn a_decoder_that_gets_no_processor_for_200_ms_is_not_seen() {
    // Whenever that begins: shortly before it is given frames, or when it has just got them.
    for stands_from in 40..50 {
        let mut world = World::new();
        for tick in 0..80 {
            // Received fifteen pictures before its instant.
            world.feeds.accept(frame(tick + 15, tick == 0));
            // What was given at the tick before is decoded by now. Five ticks without: the sixth is 200 ms after the last frames were given.
            if !(stands_from..stands_from + 5).contains(&tick) {
                world.waiting += world.in_flight.replace(0);
                world.pictures.set(tick);
            }
            world.advance(tick * 33);
            assert!(tick < 16 || world.waiting > 0, "standing from tick {stands_from}, nothing to show at tick {tick}");
            world.waiting = world.waiting.saturating_sub(usize::from(tick >= 15));
        }
    }
}

#[test]
fn a_track_begins_with_a_keyframe_and_asks_for_it() {
    let mut world = World::new();
    world.feeds.accept(frame(1, false));
    world.feeds.accept(frame(2, false));
    assert_eq!(world.advance(66), [track()]);
    assert!(world.advance(100).is_empty(), "it does not ask again at once");
    assert_eq!(world.advance(700), [track()]);
    world.feeds.accept(frame(22, true));
    assert!(world.advance(733).is_empty());
    assert_eq!(world.got(), [22]);
}

#[test]
fn after_a_loss_the_last_good_picture_stays_until_a_keyframe() {
    let mut world = World::new();
    world.feeds.accept(frame(0, true));
    world.feeds.accept(MediaFrame { contiguous: false, ..frame(2, false) });
    world.feeds.accept(frame(3, false));
    assert_eq!(world.advance(0), [track()], "asked for long before the hole is due");
    world.feeds.accept(frame(4, true));
    world.advance(132);
    assert_eq!(world.got(), [0, 4]);
}

#[test]
fn a_new_stream_of_the_same_track_begins_with_its_keyframe() {
    let mut world = World::new();
    world.feeds.accept(frame(0, true));
    world.feeds.accept(MediaFrame { stream: 2, ..frame(1, false) });
    world.feeds.accept(MediaFrame { stream: 2, ..frame(2, true) });
    world.advance(66);
    assert_eq!(world.got(), [0, 2]);
}

#[test]
fn a_broken_decoder_is_replaced_at_the_next_keyframe() {
    let mut world = World::new();
    world.feeds.accept(frame(0, true));
    world.advance(0);
    world.broken.set(true);
    world.feeds.accept(frame(1, false));
    assert_eq!(world.advance(33), [track()]);
    world.feeds.accept(frame(2, true));
    world.advance(66);
    assert_eq!(world.got(), [0, 2]);
    assert_eq!(world.feeds.counts().replaced, 1);
}

#[test]
fn a_decoder_that_swallows_frames_is_fed_again_from_a_keyframe() {
    let mut world = World::new();
    (0..12).for_each(|n| world.feeds.accept(frame(n, n == 0)));
    world.advance(1);
    world.advance(133);
    assert_eq!(world.got().len(), ROOM, "ten in flight, no picture: it waits");
    world.advance(1200);
    world.feeds.accept(frame(37, true));
    world.advance(1233);
    assert_eq!(world.got().last(), Some(&37));
}

#[test]
fn a_decoder_that_is_only_slow_is_not_disturbed() {
    let mut world = World::new();
    for n in 0..100 {
        world.feeds.accept(frame(n, n == 0));
        world.in_flight.set(2);
        world.pictures.set(n);
        world.advance(n * 33);
    }
    assert_eq!(world.got(), (0..100).collect::<Vec<_>>(), "nothing skipped, no keyframe waited for");
}

#[test]
fn what_waits_is_bounded_in_time_and_bytes() {
    let mut world = World::new();
    (0..1000).for_each(|n| world.feeds.accept(frame(n, n == 0)));
    assert!(world.feeds.feeds[&track()].queue.len() <= 122);
    let big = MediaFrame { data: vec![0; QUEUE_BYTES / 2].into(), ..frame(1001, true) };
    (0..10).for_each(|_| world.feeds.accept(big.clone()));
    assert!(world.feeds.feeds[&track()].bytes <= QUEUE_BYTES);
    assert!(world.feeds.counts().overflowed > 800);
}

#[test]
fn nothing_is_kept_or_decoded_of_a_track_that_nobody_sees() {
    let mut world = World::new();
    world.feeds.show(BTreeSet::new());
    world.feeds.accept(frame(0, true));
    assert!(world.advance(33).is_empty());
    assert_eq!(world.got(), [] as [u64; 0]);
    assert_eq!(world.feeds.counts().skipped, 1);
}
