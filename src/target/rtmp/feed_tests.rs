use recorder_core::scene::CanvasSize;
use recorder_core::secret::Secret;

use super::*;
use crate::programme::ring::Ring;
use crate::target::rtmp::protocol::{Goal, Place};

const FPS: u64 = 30;
const GOP: u64 = 60;
const BASE_MS: u64 = 10_000;

fn headers() -> CodecHeaders {
    CodecHeaders {
        avc_config: b"avcC".as_slice().into(),
        aac_config: b"asc".as_slice().into(),
        width_px: 1280,
        height_px: 720,
        fps: 30,
        sample_rate_hz: 48_000,
        channels: 2,
    }
}

fn picture(n: u64) -> Packet {
    Packet {
        stream: Stream::Video,
        pts: SessionTime::from_nanos(BASE_MS * 1_000_000 + n * 1_000_000_000 / FPS),
        duration: Duration::from_nanos(1_000_000_000 / FPS),
        keyframe: n.is_multiple_of(GOP),
        data: n.to_be_bytes().as_slice().into(),
    }
}

/// AAC frame `n`: its first sample is the n·1024th.
fn sound(n: u64) -> Packet {
    Packet {
        stream: Stream::Sound,
        pts: SessionTime::from_nanos(BASE_MS * 1_000_000 + n * 1024 * 1_000_000_000 / 48_000),
        duration: Duration::from_nanos(1024 * 1_000_000_000 / 48_000),
        keyframe: true,
        data: n.to_be_bytes().as_slice().into(),
    }
}

/// Pictures `from..to` and the sound beside them, in the order of encoders whose sound is `late_ms` behind.
fn publish(ring: &Ring, from: u64, to: u64, late_ms: u64) {
    let ms = |n: u64| n * 1000 / FPS;
    let mut packets: Vec<_> = (from..to).map(|n| (ms(n), picture(n))).collect();
    let frames = (ms(from) * 48).div_ceil(1024)..(ms(to) * 48).div_ceil(1024);
    packets.extend(frames.map(|n| (n * 1024 / 48 + late_ms, sound(n))));
    packets.sort_by_key(|(at, _)| *at);
    packets.into_iter().for_each(|(_, packet)| ring.publish(packet));
}

fn ready_ring() -> Ring {
    let ring = Ring::default();
    ring.set_headers(headers());
    ring.set_grid(grid());
    ring
}

fn grid() -> Grid {
    let canvas = CanvasSize { width_px: 1280, height_px: 720 };
    Grid { canvas, fps: FPS as u32, first: SessionTime::from_millis(BASE_MS) }
}

/// A destination that nobody pauses.
fn of_programme(ring: &Ring, from: SessionTime) -> (Feed, Splice, Protocol) {
    let splice = Splice::new(from, Shows::Programme);
    (Feed::new(ring.live(), SlateSource::default(), &splice, 375_000), splice, ready())
}

fn ready() -> Protocol {
    let place = Place { app: "a".into(), tc_url: "t".into(), key: Secret::new("k") };
    Protocol::made_ready(place, Goal::Publish)
}

/// Messages as (kind, time, second byte of the body, last eight bytes of it).
fn messages(protocol: &mut Protocol) -> Vec<(u8, u32, u8, u64)> {
    let mut out = Vec::new();
    protocol.take_output(&mut out);
    let mut rest = out.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let field = |at: usize| u32::from_be_bytes([0, rest[at], rest[at + 1], rest[at + 2]]);
        let (time, length, kind) = (field(1), field(4) as usize, rest[7]);
        let is_extended = time == 0xff_ffff;
        let time = if is_extended { u32::from_be_bytes(rest[12..16].try_into().unwrap()) } else { time };
        let begin = if is_extended { 16 } else { 12 };
        let body = &rest[begin..begin + length];
        let number = body.len().checked_sub(8).map_or(0, |at| u64::from_be_bytes(body[at..].try_into().unwrap()));
        messages.push((kind, time, body[1], number));
        rest = &rest[begin + length..];
    }
    messages
}

fn feed_all(feed: &mut Feed, protocol: &mut Protocol, splice: &Splice, end: Option<SessionTime>, times: usize) -> Fed {
    let mut last = Fed::Nothing;
    for _ in 0..times {
        last = feed.feed(protocol, splice, end, Duration::ZERO);
        if last == Fed::Ended {
            break;
        }
    }
    last
}

#[test]
fn a_connection_begins_with_headers_and_the_newest_keyframe_at_time_zero() {
    let ring = ready_ring();
    publish(&ring, 0, 150, 30);
    let (mut feed, splice, mut protocol) = of_programme(&ring, SessionTime::ZERO);
    feed_all(&mut feed, &mut protocol, &splice, None, 200);
    let messages = messages(&mut protocol);
    let kinds: Vec<_> = messages.iter().take(5).map(|(kind, time, what, _)| (*kind, *time, *what)).collect();
    assert_eq!(kinds[..4], [(18, 0, 0), (9, 0, 0), (8, 0, 0), (9, 0, 1)], "metadata, both headers, keyframe");
    assert_eq!(messages[3].3, 120, "the newest keyframe");
    let times: Vec<_> = messages.iter().map(|(_, time, ..)| *time).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Every later packet is there once, at the time that it has in the programme.
    for (kind, time, _, n) in &messages[4..] {
        let packet = if *kind == 9 { picture(*n) } else { sound(*n) };
        assert_eq!(*time, flv::time_ms(packet.pts, picture(120).pts));
    }
    let pictures: Vec<_> = messages[3..].iter().filter(|m| m.0 == 9).map(|m| m.3).collect();
    assert_eq!(pictures, (120..120 + pictures.len() as u64).collect::<Vec<_>>());
    assert!(pictures.len() >= 28, "{}", pictures.len());
    let sounds: Vec<_> = messages[4..].iter().filter(|m| m.0 == 8).map(|m| m.3).collect();
    assert!(sound(sounds[0]).pts >= picture(120).pts && sound(sounds[0] - 1).pts < picture(120).pts);
    assert_eq!(sounds, (sounds[0]..sounds[0] + sounds.len() as u64).collect::<Vec<_>>());
}

#[test]
fn nothing_of_before_the_start_or_after_the_end_is_sent() {
    let ring = ready_ring();
    let (mut feed, splice, mut protocol) = of_programme(&ring, picture(60).pts);
    publish(&ring, 0, 200, 30);
    let end = picture(100).pts;
    assert_eq!(feed_all(&mut feed, &mut protocol, &splice, Some(end), 2 * 101 + 60), Fed::Ended);
    let messages = messages(&mut protocol);
    let pictures: Vec<_> = messages.iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.3).collect();
    assert_eq!(pictures, (60..100).collect::<Vec<_>>());
    for (_, _, _, n) in messages.iter().filter(|m| m.0 == 8 && m.2 == 1) {
        assert!(sound(*n).pts >= picture(60).pts && sound(*n).pts + sound(*n).duration <= end);
    }
}

#[test]
fn whole_gops_are_left_out_and_counted() {
    let ring = ready_ring();
    publish(&ring, 0, 10, 0);
    let (mut feed, splice, mut protocol) = of_programme(&ring, SessionTime::ZERO);
    feed_all(&mut feed, &mut protocol, &splice, None, 10);
    publish(&ring, 10, 260, 0);
    assert!(feed.behind() > Duration::from_secs(7));
    feed.skip(&mut protocol, &splice);
    feed_all(&mut feed, &mut protocol, &splice, None, 400);
    assert_eq!(feed.behind(), Duration::ZERO);
    let pictures: Vec<_> = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.3).collect();
    let gap = pictures.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(pictures[gap + 1], 240, "goes on at the newest keyframe");
    assert!(pictures[gap + 1..].windows(2).all(|pair| pair[1] == pair[0] + 1));
    let sent_of_gop = (240 - pictures[gap] - 1) as f64;
    let expected = sent_of_gop * (1.0 + 48_000.0 / 1024.0 / 30.0);
    assert!((feed.left_out() as f64 - expected).abs() < 10.0, "{} left out, about {expected} expected", feed.left_out());
}

#[test]
fn times_beyond_2_to_the_24_are_exact() {
    let ring = ready_ring();
    let first = SessionTime::from_millis(1000);
    let key = |ms: u64| Packet { pts: first + Duration::from_millis(ms), keyframe: true, ..picture(0) };
    ring.publish(key(0));
    let (mut feed, splice, mut protocol) = of_programme(&ring, SessionTime::ZERO);
    feed_all(&mut feed, &mut protocol, &splice, None, 1);
    // One after another, because the ring keeps 15 s.
    for ms in [0xff_fffe, 0xff_ffff, 0x100_0000, 0x100_0021, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0021_u64] {
        ring.publish(key(ms));
        feed_all(&mut feed, &mut protocol, &splice, None, 1);
    }
    ring.close();
    assert_eq!(feed_all(&mut feed, &mut protocol, &splice, None, 2), Fed::Ended);
    let times: Vec<_> = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).map(|m| m.1).collect();
    assert_eq!(times, [0, 0xff_fffe, 0xff_ffff, 0x100_0000, 0x100_0021, u32::MAX, 0, 0x21]);
}

#[test]
fn a_stream_that_stays_away_holds_the_other_for_a_moment_only() {
    let ring = ready_ring();
    (0..30).for_each(|n| ring.publish(picture(n)));
    let (mut feed, splice, mut protocol) = of_programme(&ring, SessionTime::ZERO);
    feed_all(&mut feed, &mut protocol, &splice, None, 30);
    let pictures = messages(&mut protocol).iter().filter(|m| m.0 == 9 && m.2 == 1).count();
    assert_eq!(pictures, 30 - 9, "300 ms are held");
}

/// A slate whose pictures are 1,000,000 and following, and whose silence is 2,000,000.
fn slate() -> Slate {
    Slate {
        pictures: (0..GOP).map(|n| (1_000_000 + n).to_be_bytes().as_slice().into()).collect(),
        silence: 2_000_000u64.to_be_bytes().as_slice().into(),
        avc_config: headers().avc_config,
        aac_config: headers().aac_config,
    }
}

/// Time and number of each message.
type Timed = Vec<(u32, u64)>;

/// Pictures and sounds of messages, headers left out.
fn media(messages: &[(u8, u32, u8, u64)]) -> (Timed, Timed) {
    let of = |wanted: u8| {
        let of_kind = messages.iter().filter(move |(kind, _, what, _)| *kind == wanted && *what == 1);
        of_kind.map(|(_, time, _, n)| (*time, *n)).collect()
    };
    (of(9), of(8))
}

/// The times of both streams stand on their grids without a gap, and there is one header for each.
fn is_one_stream(messages: &[(u8, u32, u8, u64)], first: u64) {
    let headers = |wanted: u8| messages.iter().filter(|(kind, _, what, _)| *kind == wanted && *what == 0).count();
    assert_eq!((headers(9), headers(8)), (1, 1), "one header of each stream");
    assert!(messages.is_sorted_by_key(|(_, time, ..)| *time), "times go back");
    let (pictures, sounds) = media(messages);
    let zero = picture(first).pts;
    let times: Vec<_> = (first..).take(pictures.len()).map(|n| flv::time_ms(picture(n).pts, zero)).collect();
    assert_eq!(pictures.iter().map(|(time, _)| *time).collect::<Vec<_>>(), times);
    let first_sound = (0..).find(|n| sound(*n).pts >= zero).unwrap();
    let times: Vec<_> = (first_sound..).take(sounds.len()).map(|n| flv::time_ms(sound(n).pts, zero)).collect();
    assert_eq!(sounds.iter().map(|(time, _)| *time).collect::<Vec<_>>(), times);
}

/// Pictures rest in `rest`, as they do when nobody else wants them, and sound goes on; there is a keyframe behind it.
fn publish_resting(ring: &Ring, to: u64, rest: std::ops::Range<u64>, late_ms: u64) {
    publish(ring, 0, rest.start, late_ms);
    let frames = |n: u64| (n * 1000 / FPS * 48).div_ceil(1024);
    (frames(rest.start)..frames(rest.end)).for_each(|n| ring.publish(sound(n)));
    let mut key = Packet { keyframe: true, ..picture(rest.end) };
    for n in rest.end..to {
        ring.publish(std::mem::replace(&mut key, picture(n + 1)));
        (frames(n)..frames(n + 1)).for_each(|n| ring.publish(sound(n)));
    }
}

#[test]
fn a_pause_shows_the_slate_without_a_gap_and_nothing_of_the_programme() {
    let pause = picture(100).pts.offset(-5_000_000);
    let resume = picture(240).pts.offset(-5_000_000);
    // Whoever else is there goes on: the programme has pictures all the time, or none while it rests. Sound is early or late.
    for (rests, late_ms) in [(false, 30), (false, 0), (true, 30), (true, 0), (true, 200)] {
        let ring = ready_ring();
        let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
        let (mut feed, mut protocol) = (Feed::new(ring.live(), SlateSource::of(slate()), &splice, 375_000), ready());
        splice.pause(pause);
        splice.resume(resume);
        if rests {
            publish_resting(&ring, 330, 100..240, late_ms);
        } else {
            publish(&ring, 0, 330, late_ms);
        }
        ring.close();
        feed_all(&mut feed, &mut protocol, &splice, None, 2000);
        let messages = messages(&mut protocol);
        is_one_stream(&messages, 0);
        let (pictures, sounds) = media(&messages);
        let numbers: Vec<u64> = pictures.iter().map(|(_, n)| *n).collect();
        assert_eq!(numbers[..100], (0..100).collect::<Vec<_>>());
        let group = |n: u64| 1_000_000 + n % GOP;
        assert_eq!(
            numbers[100..240],
            (0..140).map(group).collect::<Vec<_>>(),
            "the slate begins with its keyframe, and is repeated"
        );
        assert_eq!(numbers[240..330], (240..330).collect::<Vec<_>>());
        for (number, (_, n)) in sounds.iter().enumerate() {
            let frame = sound(number as u64);
            let reach = frame.pts + 2 * frame.duration;
            let is_programme = reach <= pause || frame.pts >= resume;
            assert_eq!(*n, if is_programme { number as u64 } else { 2_000_000 }, "sound {number}");
        }
        assert!(feed.reached() >= picture(328).pts);
    }
}

#[test]
fn whoever_connects_during_a_pause_begins_with_the_slate_at_once() {
    let ring = ready_ring();
    let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
    splice.pause(picture(40).pts);
    publish_resting(&ring, 40, 40..200, 0);
    let mut feed = Feed::new(ring.live(), SlateSource::of(slate()), &splice, 375_000);
    let mut protocol = ready();
    let ms = |n: u64| n * 1000 / FPS;
    let frames = (ms(200) * 48).div_ceil(1024)..(ms(300) * 48).div_ceil(1024);
    frames.for_each(|n| ring.publish(sound(n)));
    feed_all(&mut feed, &mut protocol, &splice, None, 1000);
    let messages = messages(&mut protocol);
    // The first picture at or behind the first sound.
    is_one_stream(&messages, 201);
    let (pictures, sounds) = media(&messages);
    assert!(pictures.iter().enumerate().all(|(at, (_, n))| *n == 1_000_000 + at as u64 % GOP) && pictures.len() >= 97);
    assert!(sounds.iter().all(|(_, n)| *n == 2_000_000));
    assert_eq!(feed.left_out(), 0);
}

#[test]
fn a_slate_that_is_not_made_yet_is_waited_for_and_none_of_the_pause_is_lost() {
    let ring = ready_ring();
    let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
    let source = SlateSource::default();
    let (mut feed, mut protocol) = (Feed::new(ring.live(), source.clone(), &splice, 375_000), ready());
    splice.pause(picture(40).pts);
    publish_resting(&ring, 40, 40..100, 0);
    feed_all(&mut feed, &mut protocol, &splice, None, 1000);
    assert!(feed.reached() < picture(40).pts, "the pause is not shown, so it is not told");
    source.put(slate());
    feed_all(&mut feed, &mut protocol, &splice, None, 1000);
    let messages = messages(&mut protocol);
    is_one_stream(&messages, 0);
    assert!(media(&messages).0.len() >= 98, "{messages:?}");
    assert!(feed.reached() >= picture(98).pts);
}

/// Better nothing than something that no player can follow.
#[test]
fn without_a_slate_that_fits_a_pause_is_a_gap_and_the_programme_comes_back() {
    let ring = ready_ring();
    let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
    let other = Slate { avc_config: b"other".as_slice().into(), ..slate() };
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SlateSource::of(other), &splice, 375_000), ready());
    splice.pause(picture(40).pts);
    splice.resume(picture(100).pts);
    publish_resting(&ring, 160, 40..100, 0);
    feed_all(&mut feed, &mut protocol, &splice, None, 1000);
    let (pictures, sounds) = media(&messages(&mut protocol));
    let numbers: Vec<u64> = pictures.iter().map(|(_, n)| *n).collect();
    assert_eq!(numbers[..60], (0..40).chain(100..120).collect::<Vec<_>>());
    assert!(sounds.iter().all(|(_, n)| *n < 2_000_000));
}

#[test]
fn a_late_destination_leaves_out_what_it_missed_of_a_pause_and_begins_anew() {
    let ring = ready_ring();
    let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SlateSource::of(slate()), &splice, 375_000), ready());
    splice.pause(picture(40).pts);
    publish_resting(&ring, 40, 40..400, 0);
    feed_all(&mut feed, &mut protocol, &splice, None, 100);
    feed.skip(&mut protocol, &splice);
    assert_eq!(feed.behind(), Duration::ZERO);
    assert!(feed.left_out() > 100);
    let before = media(&messages(&mut protocol)).0.len();
    assert!(before > 10);
    (625..700).for_each(|n| ring.publish(sound(n)));
    feed_all(&mut feed, &mut protocol, &splice, None, 1000);
    let (pictures, sounds) = media(&messages(&mut protocol));
    assert_eq!(pictures[0].1, 1_000_000, "with a keyframe");
    assert!(pictures.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 34) && sounds.iter().all(|(_, n)| *n == 2_000_000));
}

#[test]
fn a_stream_that_is_stopped_while_it_is_paused_ends_with_the_slate() {
    let ring = ready_ring();
    let mut splice = Splice::new(SessionTime::ZERO, Shows::Programme);
    let (mut feed, mut protocol) = (Feed::new(ring.live(), SlateSource::of(slate()), &splice, 375_000), ready());
    splice.pause(picture(40).pts);
    publish_resting(&ring, 40, 40..400, 0);
    assert_eq!(feed_all(&mut feed, &mut protocol, &splice, Some(picture(100).pts), 2000), Fed::Ended);
    let messages = messages(&mut protocol);
    is_one_stream(&messages, 0);
    assert_eq!(media(&messages).0.len(), 100);
}
