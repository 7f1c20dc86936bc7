//! What `sounds` promises, in virtual time.

use proptest::prelude::*;

use super::*;

const OPUS: u8 = 111;

struct World {
    start: Instant,
    sounds: Sounds,
}

impl World {
    fn new() -> Self {
        Self { start: Instant::now(), sounds: Sounds::default() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// What comes out at this time: number, and whether it follows the one before it.
    fn out(&mut self, ms: u64) -> Vec<(u64, bool)> {
        let now = self.at(ms);
        std::iter::from_fn(|| self.sounds.take(now)).map(|frame| (frame.time / 960, frame.contiguous)).collect()
    }

    fn put(&mut self, ms: u64, content: Content, n: u64, payload: &[u8]) -> Result<(), Unreadable> {
        let arrival = self.at(ms);
        self.sounds.put(Packet { seq: n, time: n * 960, marker: false, arrival, content, payload: payload.into() })
    }

    /// Packet number `n`, 20 ms of sound, in its time.
    fn comes(&mut self, n: u64) -> Vec<(u64, bool)> {
        self.put(n * 20, Content::Plain(Codec::Opus), n, &[n as u8; 9]).unwrap();
        self.out(n * 20)
    }

    /// The same with the sound of this many packets before it, oldest first.
    fn comes_with(&mut self, n: u64, before: &[u64]) -> Vec<(u64, bool)> {
        let mut payload = Vec::new();
        for past in before {
            let header = 1 << 31 | u32::from(OPUS) << 24 | ((n - past) as u32 * 960) << 10 | 9;
            payload.extend(header.to_be_bytes());
        }
        payload.push(OPUS);
        before.iter().chain([&n]).for_each(|n| payload.extend([*n as u8; 9]));
        self.put(n * 20, Content::RedundantOpus { opus: OPUS }, n, &payload).unwrap();
        self.out(n * 20)
    }
}

#[test]
fn packets_come_out_in_order_and_once() {
    let mut world = World::new();
    // The first has nothing before it.
    assert_eq!(world.comes(10), [(10, false)]);
    assert_eq!(world.comes(12), []);
    assert_eq!(world.comes(12), []);
    assert_eq!(world.comes(11), [(11, true), (12, true)]);
    assert_eq!(world.comes(11), []);
    assert_eq!(world.comes(9), [], "too late");
    assert_eq!(world.comes(13), [(13, true)]);
}

#[test]
fn one_that_is_missing_is_waited_for_300_ms() {
    let mut world = World::new();
    world.comes(10);
    assert_eq!(world.comes(12), []);
    assert_eq!(world.comes(13), []);
    assert_eq!(world.sounds.wake(), Some(world.at(12 * 20 + 300)));
    assert_eq!(world.out(12 * 20 + 299), []);
    assert_eq!(world.out(12 * 20 + 300), [(12, false), (13, true)]);
    assert_eq!(world.sounds.wake(), None);
}

#[test]
fn never_more_wait_than_15() {
    let mut world = World::new();
    world.comes(10);
    let at = world.at(240);
    for n in 12..26 {
        world
            .sounds
            .put(Packet {
                seq: n,
                time: n * 960,
                marker: false,
                arrival: at,
                content: Content::Plain(Codec::Opus),
                payload: [1].into(),
            })
            .unwrap();
        assert_eq!(world.out(240), [], "{n}");
    }
    world.put(240, Content::Plain(Codec::Opus), 26, &[1]).unwrap();
    assert_eq!(world.out(240).len(), 15);
}

#[test]
fn a_lost_one_is_taken_from_those_that_repeat_it() {
    let mut world = World::new();
    assert_eq!(world.comes_with(10, &[9]), [(10, false)]);
    assert_eq!(world.comes_with(12, &[11]), [(11, true), (12, true)], "one");
    assert_eq!(world.comes_with(15, &[14]), [], "the second of two is known by its distance");
    assert_eq!(world.out(15 * 20 + 300), [(14, false), (15, true)]);
    assert_eq!(world.comes_with(18, &[15, 16, 17]), [(16, true), (17, true), (18, true)], "two");
    assert_eq!(world.comes_with(17, &[16]), []);
}

#[test]
fn what_cannot_be_placed_is_left_out() {
    let mut world = World::new();
    world.comes_with(10, &[]);
    // 30 ms after the tenth: between two packets of 20 ms.
    let header = 1_u32 << 31 | u32::from(OPUS) << 24 | (960 * 3 / 2) << 10 | 1;
    world.put(260, Content::RedundantOpus { opus: OPUS }, 13, &[&header.to_be_bytes()[..], &[OPUS, 1, 2]].concat()).unwrap();
    assert_eq!(world.out(560), [(13, false)]);
}

#[test]
fn another_codec_and_garbage_are_refused_and_not_waited_for() {
    let mut world = World::new();
    world.comes(10);
    let red = Content::RedundantOpus { opus: OPUS };
    assert_eq!(world.put(220, red, 11, &[0, 1, 2]), Err(Unreadable), "of another payload type");
    assert_eq!(world.put(240, red, 12, &[0x80, 1]), Err(Unreadable), "cut off");
    assert_eq!(world.put(260, red, 13, &[]), Ok(()), "padding");
    assert_eq!(world.comes(14), [(14, true)]);
}

proptest! {
    #[test]
    fn whatever_comes_goes_out_in_order_and_bounded(
        packets in proptest::collection::vec((0..60_u64, 0..5_u64, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..30)), 0..200),
    ) {
        let mut world = World::new();
        let (mut ms, mut last) = (0, None);
        for (ahead, pause, is_red, payload) in packets {
            ms += pause;
            let content = if is_red { Content::RedundantOpus { opus: OPUS } } else { Content::Plain(Codec::Opus) };
            let seq = 65_530 + ms / 20 + ahead;
            let packet = Packet { seq, time: seq * 960, marker: false, arrival: world.at(ms), content, payload: payload.into() };
            _ = world.sounds.put(packet);
            let now = world.at(ms);
            while let Some(frame) = world.sounds.take(now) {
                prop_assert!(last.is_none_or(|last| last < frame.time));
                last = Some(frame.time);
            }
            prop_assert!(world.sounds.packets.len() < MAX_WAITING);
        }
        let now = world.at(ms + 300);
        while world.sounds.take(now).is_some() {}
        prop_assert!(world.sounds.packets.is_empty());
    }
}
